//! What is told to whom unasked: fresh writes at once, others' after a while. Not responsible for what a peer then asks for:
//! `pulls` is.

use super::Node;
use crate::crdt::{CausalContext, Received};
use crate::proto::link::{Awaited, CONTROL, Link, LinkId, Role};
use crate::proto::message::{Digest, Message};
use crate::proto::time::Instant;
use rand::RngExt;
use smallvec::SmallVec;
use std::time::Duration;

/// More dots than this are not pushed but pulled: a pull is paced, and can be resumed.
const PUSH_DOTS_MAX: u64 = 1000;
/// And while so many entries are pending here, which every push would have to repeat.
const PUSH_PENDING_MAX: usize = 100;
/// A link takes one push at a time; a second control frame may wait behind it.
pub(super) const CONTROL_IN_FLIGHT_MAX: usize = 2;
/// One late push in so many prunes its link: where several writers' messages meet on one cycle, each at another link, all of these
/// would be pruned at once, and the cycle be torn. With each further late push in a row it is twice as likely: a link that is late
/// for one writer only is of use to others, one that is always late to nobody.
const PRUNE_SHARE: u32 = 48;

/// What is told on a link unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// In a small cluster, where all are linked to all: own writes at once; what others wrote is announced, and pushed only
    /// if it does not come otherwise.
    Mesh,
    /// Along the tree: everything at once.
    Eager,
    /// Beside the tree: everything is announced.
    Lazy,
    /// The link will not stay, or is not up.
    None,
}

impl Node {
    pub(super) fn flow(&self, state: &Link) -> Flow {
        match (state.is_up(), self.overlay.is_large(), state.role) {
            (false, ..) | (true, true, Role::Passing) => Flow::None,
            (true, false, _) => Flow::Mesh,
            (true, true, Role::Active) if state.eager => Flow::Eager,
            (true, true, Role::Active) => Flow::Lazy,
        }
    }

    /// The transport has measured how long a frame and an answer take on a link: peers that are far away are given longer to
    /// say what they have. Without this, as if they were near. Nothing follows at once. A lookup.
    pub fn note_round_trip(&mut self, link: LinkId, round_trip: Duration) {
        if let Some(state) = self.links.get_mut(&link) {
            state.round_trip = round_trip;
        }
    }

    /// Tells each peer what it is due.
    pub(super) fn spread(&mut self) {
        let now = self.now.instant;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let any = |state: &Link| due(self.push_due(state)) || due(self.announce_due(state));
        let told: SmallVec<[LinkId; 8]> = self.links.iter().filter(|(_, s)| any(s)).map(|(link, _)| *link).collect();
        let mut announced = false;
        for link in told {
            if let Some(state) = self.links.get_mut(&link) {
                state.share(self.map.context(), self.map.truncated());
            }
            if self.links.get(&link).is_some_and(|state| due(self.push_due(state))) {
                self.push(link);
            }
            if self.links.get(&link).is_some_and(|state| due(self.announce_due(state))) {
                self.announce(link);
                announced = true;
            }
        }
        self.withhold();
        if announced {
            self.announce_not_before = now + self.config.announce_every;
        }
        let is_announced = |state: &Link| state.announced >= self.told_version() || self.flow(state) != Flow::Mesh;
        if self.received_at.is_some() && self.links.values().all(is_announced) {
            self.received_at = None;
        }
    }

    /// In a small cluster a peer probably has from others what they wrote: if it has not said so after a while, it gets that
    /// from here. What comes meanwhile waits its own time, since of that some is always on its way.
    fn withhold(&mut self) {
        let (told, version, mesh) = (self.told_version(), self.any_version, !self.overlay.is_large());
        let (after, context) = (self.now.instant + self.config.forward_after, self.map.context());
        for state in self.links.values_mut() {
            if !mesh || !state.is_up() || state.pushed >= told {
                state.withheld = None;
            } else if state.withheld.is_none() && state.known.as_ref().is_some_and(|known| known.includes(context)) {
                state.pushed = version;
            } else {
                state.withheld.get_or_insert_with(|| (after + state.round_trip, context.clone()));
            }
        }
    }

    /// Up to which version peers are told unasked: a leaf tells only what is its own.
    fn told_version(&self) -> u64 {
        if self.config.leaf { self.own_version } else { self.any_version }
    }

    pub(super) fn next_spread(&self) -> Option<Instant> {
        self.links.values().flat_map(|state| [self.push_due(state), self.announce_due(state)]).flatten().min()
    }

    /// When the link is due a push: at once what was written here, after a while what others wrote; not before the
    /// transport has taken the last one. While the peer pulls, pushes build on what the pull will have brought it to, and
    /// go before it: it is of lower priority.
    fn push_due(&self, state: &Link) -> Option<Instant> {
        if state.pushed >= self.told_version() || state.control.in_flight() >= CONTROL_IN_FLIGHT_MAX || !state.is_up() {
            return None;
        }
        state.known.as_ref()?;
        let pull_begins = state.expected.is_none() && !state.sending.is_empty();
        if pull_begins {
            return None;
        }
        let fresh = state.pushed < self.own_version;
        let at = match self.flow(state) {
            Flow::Mesh if !fresh => state.withheld.as_ref()?.0,
            Flow::Eager if !fresh => state.forward_not_before,
            Flow::Mesh | Flow::Eager => self.now.instant,
            Flow::Lazy | Flow::None => return None,
        };
        Some(at.max(state.push_not_before).max(self.now.instant))
    }

    fn push(&mut self, link: LinkId) {
        let version = self.any_version;
        let Some(state) = self.links.get_mut(&link) else { return };
        let Some(known) = state.push_base() else { return };
        let (fresh, withheld) = (state.pushed < self.own_version, state.withheld.take());
        if !fresh && withheld.is_some_and(|(_, context)| known.includes(&context)) {
            return;
        }
        state.pushed = version;
        let missing = self.map.context().count_missing_from(&known);
        if missing == 0 {
            return;
        }
        let bytes_max = state.control.bytes();
        state.push_not_before = self.now.instant + self.config.coalesce;
        state.pause_forwarding(self.now.instant, self.config.forward_pause);
        let few = missing <= PUSH_DOTS_MAX && self.map.pending() <= PUSH_PENDING_MAX;
        // A longer one would keep the next ones waiting, that may be small.
        let named = state.keys_until <= self.now.instant;
        let delta = match named {
            _ if !few => None,
            true => self.map.named_delta_within(&known, bytes_max),
            false => self.map.delta_within(&known, bytes_max),
        };
        match delta {
            Some(delta) => {
                self.send(link, CONTROL, &Message::Push(delta), None);
                if let Some(state) = self.links.get_mut(&link) {
                    state.on_pushed(self.map.context());
                    state.announced = version;
                }
            }
            None => {
                let audit = self.map.audit();
                self.send(link, CONTROL, &Message::Digest(Digest { audit, reply: false }), None);
            }
        }
    }

    /// The peer has pushed this: it knows that this node has it.
    pub(super) fn note_brought(&mut self, link: LinkId, snapshot: &CausalContext) {
        let all = !self.overlay.is_large() && snapshot.includes(self.map.context());
        if let Some(state) = self.links.get_mut(&link).filter(|_| all) {
            state.announced = self.any_version;
        }
    }

    /// When to tell the peer what others have brought, so that it does not send it: before it would.
    fn announce_due(&self, state: &Link) -> Option<Instant> {
        if state.announced >= self.told_version() || state.control.in_flight() >= CONTROL_IN_FLIGHT_MAX {
            return None;
        }
        match self.flow(state) {
            Flow::Mesh => Some(self.received_at? + self.config.announce_after),
            Flow::Lazy => Some(self.announce_not_before.max(self.now.instant)),
            Flow::Eager | Flow::None => None,
        }
    }

    fn announce(&mut self, link: LinkId) {
        let version = self.any_version;
        let Some(state) = self.links.get_mut(&link) else { return };
        state.announced = version;
        // In a small cluster it is told what it has itself, too: it does not know yet that this node has it.
        let large = self.overlay.is_large();
        if large && state.known.as_ref().is_some_and(|known| known.includes(self.map.context())) {
            return;
        }
        let context = self.map.context().clone();
        self.send(link, CONTROL, &Message::Context { context, replace: false }, None);
    }

    // --- The tree (Plumtree: Leitao, Pereira, Rodrigues, SRDS 2007), with the store itself as the cache of messages

    /// A push brought mostly what others had brought before: this way is not part of the tree. The last one stays.
    pub(super) fn prune_if_late(&mut self, link: LinkId, received: Received) {
        let late = received.known + received.void > received.new;
        let is_fed = |state: &Link| state.fed && matches!(self.flow(state), Flow::Eager | Flow::Lazy);
        let feeding = self.links.values().filter(|state| is_fed(state) && !state.is_leaf()).count();
        let of_tree = self.links.get(&link).is_some_and(is_fed);
        let Some(state) = self.links.get_mut(&link) else { return };
        let share = (PRUNE_SHARE >> state.late.min(PRUNE_SHARE.ilog2())).max(1);
        state.late = if late { state.late.saturating_add(1) } else { 0 };
        if late && of_tree && feeding > 1 && self.rng.random_ratio(1, share) {
            self.set_fed(link, false);
            self.send(link, CONTROL, &Message::Prune, None);
        }
    }

    pub(super) fn set_eager(&mut self, link: LinkId, eager: bool) {
        if let Some(state) = self.links.get_mut(&link) {
            state.eager = eager;
        }
    }

    fn set_fed(&mut self, link: LinkId, fed: bool) {
        let leaf = self.config.leaf;
        if let Some(state) = self.links.get_mut(&link) {
            state.fed = fed;
            // A leaf tells what it wrote where it is told: to all, its upload would carry it several times.
            state.eager = if leaf { fed } else { state.eager };
        }
    }

    /// The peer has announced what it has: if that does not come from another soon, this way joins the tree.
    pub(super) fn note_announced(&mut self, link: LinkId, context: CausalContext) {
        let (until, large) = (self.now.instant + self.config.graft_after, self.overlay.is_large());
        let own = self.map.context();
        let Some(state) = self.links.get_mut(&link).filter(|state| large && state.role == Role::Active) else { return };
        if state.awaited.is_none() && !own.includes(&context) {
            let lacking = context.count_missing_from(own);
            state.awaited = Some(Awaited { until, context, lacking });
        }
    }

    /// Asks one peer at a time for what it has announced and nobody has brought.
    pub(super) fn graft(&mut self) {
        let now = self.now.instant;
        let due = self.links.iter_mut().filter(|(_, state)| state.awaited.as_ref().is_some_and(|of| of.until <= now));
        let due: SmallVec<[_; 4]> = due.filter_map(|(link, state)| Some((*link, state.awaited.take()?))).collect();
        let mut asked = false;
        for (link, awaited) in due {
            let left = awaited.context.count_missing_from(self.map.context());
            if left > 0 && !awaited.is_cut_off(left) {
                let until = now + self.config.graft_after;
                if let Some(state) = self.links.get_mut(&link) {
                    state.awaited = Some(Awaited { until, lacking: 0, ..awaited });
                }
                continue;
            }
            if left > 0 && !std::mem::replace(&mut asked, true) {
                self.set_fed(link, true);
                // With what is here before it, the peer pushes what is missing and no more.
                let context = self.map.context().clone();
                self.send(link, CONTROL, &Message::Context { context, replace: true }, None);
                self.send(link, CONTROL, &Message::Graft, None);
            }
            // What was announced meanwhile waits its own time.
            let known = self.links.get(&link).and_then(|state| state.known.clone());
            known.into_iter().for_each(|known| self.note_announced(link, known));
        }
    }

    pub(super) fn next_graft(&self) -> Option<Instant> {
        self.links.values().filter_map(|state| state.awaited.as_ref().map(|awaited| awaited.until)).min()
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use crate::crdt::CausalContext;
    use crate::simulate::{Cluster, Settings};

    /// Among many writers a push would cost several passes over all of them, were its contexts not kept beside one list.
    #[test]
    fn what_is_told_among_many_writers_costs_no_passes_over_all_of_them() {
        const NODES: usize = 80;
        let mut cluster = Cluster::new(Settings { nodes: NODES, ..Settings::default() });
        cluster.run_until_converged(60_000_000).expect("they come together");
        let counted = |cluster: &Cluster| (cluster.figures().total().frames, CausalContext::compared_whole());
        let before = counted(&cluster);
        for write in 0..10 * NODES {
            cluster.put(write % NODES, write, 8);
            cluster.run_for(20_000);
        }
        let (frames, passes) = (counted(&cluster).0 - before.0, counted(&cluster).1 - before.1);
        println!("{passes} passes for {frames} frames");
        assert!(passes * 7 < frames, "{passes} passes for {frames} frames");
        for node in (0..NODES).filter_map(|who| cluster.node(who)) {
            assert!(node.map.context().changes() < 32, "they are taken in at times");
        }
    }
}
