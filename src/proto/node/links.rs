//! What links say. Not responsible for syncs and records: it hands them on.

use super::boots::Boot;
use super::offline::OFFLINE;
use super::spread::CONTROL_IN_FLIGHT_MAX;
use super::{Node, PeerInfo};
use crate::crdt::{CausalContext, Delta, ReplicaId};
use crate::proto::codec;
use crate::proto::link::{CLONED, CONTROL, DUPLICATE, ITSELF, Introduced, Link, LinkId, Role};
use crate::proto::membership::MemberState;
use crate::proto::membership::active::MESH_MAX;
use crate::proto::message::{Ask, Digest, FEATURE_LEAF, Hello, Message};
use crate::proto::node::LinkInfo;
use crate::proto::time::Now;
use bytes::Bytes;
use std::time::Duration;
use tracing::{debug, debug_span, error, info, warn};

/// How many frames may overtake the hello: a peer pulls once as soon as it has heard ours.
const EARLY_FRAMES_MAX: usize = 4;

/// Why the link to a barred peer is closed.
const REMOVED: &str = "the peer was removed here";

/// Why a link must go: a peer broke the protocol. Its frame has changed nothing.
type Broken = String;

impl Node {
    pub(super) fn on_connected(&mut self, link: LinkId, mut state: Link) {
        let (dialed, identity) = (state.dialed, state.identity);
        // The own id may be this node itself, or another process with it: the hello says which.
        if let Some(id) = identity.filter(|id| dialed && *id != self.map.id()) {
            self.dials.on_answer(&state.address, id);
        }
        // Before a hello, so that the peer does not count the link as one that was up and is lost, at each attempt.
        let barred = self.dials.is_barred(&state.address, identity) && !self.lets_in(&state.address, dialed);
        let ask = if dialed { self.ask_of(&state.address, identity) } else { Ask::Active };
        // Of a link that was accepted the hello says what it is for.
        state.role = if dialed && ask != Ask::Passing { Role::Active } else { Role::Passing };
        self.links.insert(link, state);
        if barred {
            return self.close_link(link, REMOVED.to_owned());
        }
        if self.offline {
            return self.close_link(link, OFFLINE.to_owned());
        }
        let (context, bound) = (self.map.context().clone(), self.map.truncated().clone());
        let hello = Hello {
            cluster: self.config.cluster,
            replica: self.map.id(),
            boot: self.config.boot,
            name: self.config.name.clone(),
            address: self.config.address.clone(),
            audit: self.map.audit(),
            bound: self.map.bound_sum(),
            ask,
            features: codec::FEATURES | if self.config.leaf { FEATURE_LEAF } else { 0 },
        };
        self.send(link, CONTROL, &Message::Hello(hello.clone()), None);
        if let Some(state) = self.links.get_mut(&link) {
            state.introduced = Some(Introduced { hello, context, bound });
        }
    }

    pub(super) fn on_frame(&mut self, link: LinkId, channel: u64, frame: &Bytes) {
        let now = self.now.instant;
        let Some(state) = self.links.get_mut(&link).filter(|state| !state.closing) else { return };
        let _span = debug_span!("link", peer = state.identity.map(tracing::field::display)).entered();
        state.last_heard = now;
        if let Some(id) = state.identity.filter(|_| state.is_up()) {
            self.hear(id, Duration::ZERO);
        }
        let result = self.on_message(link, channel, frame);
        self.close_if_broken(link, result);
    }

    pub(super) fn on_message(&mut self, link: LinkId, channel: u64, frame: &Bytes) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        let early = channel != CONTROL && state.hello.is_none();
        if early && state.early.len() < EARLY_FRAMES_MAX {
            state.early.push((channel, frame.clone()));
            return Ok(());
        }
        if early {
            Err("too many frames before the hello".to_owned())
        } else if channel == CONTROL {
            self.on_control_frame(link, frame)
        } else if state.is_theirs(channel) {
            self.on_sender_frame(link, channel, frame)
        } else {
            self.on_receiver_frame(link, channel, frame)
        }
    }

    pub(super) fn close_if_broken(&mut self, link: LinkId, result: Result<(), Broken>) {
        if let Err(reason) = result {
            self.meters.broken += 1;
            let address = self.links.get(&link).map_or("", |state| &state.address);
            warn!(peer = address, %reason, "link closed: the peer broke the protocol");
            self.close_link(link, reason);
        }
    }

    fn on_control_frame(&mut self, link: LinkId, frame: &Bytes) -> Result<(), Broken> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        state.share(self.map.context(), self.map.truncated());
        let message = codec::decode_control(frame, &mut state.heard).map_err(|e| e.to_string())?;
        state.count_received(&message, frame, state.heard.contexts_bytes());
        let greeted = state.hello.is_some();
        match message {
            Message::Hello(hello) if !greeted => self.on_hello(link, hello),
            message if !greeted => Err(format!("{} before the hello", message.name())),
            Message::Digest(digest) => {
                self.on_digest(link, digest);
                Ok(())
            }
            Message::Context { context, replace } => self.on_context(link, context, replace),
            Message::Push(delta) if self.is_held(link) => {
                self.hold(link, delta, frame.len());
                Ok(())
            }
            Message::Push(delta) => self.on_push(link, delta),
            Message::Prune => {
                self.set_eager(link, false);
                Ok(())
            }
            Message::Graft => {
                self.set_eager(link, true);
                Ok(())
            }
            Message::Surplus => {
                self.on_surplus(link);
                Ok(())
            }
            Message::Shuffle(shuffle) => {
                self.on_shuffle(link, shuffle);
                Ok(())
            }
            Message::Goodbye { left } => {
                debug!(peer = %link.0, left, "the peer says goodbye");
                if let Some(state) = self.links.get_mut(&link) {
                    state.goodbye = true;
                }
                Ok(())
            }
            message => Err(format!("{} on the control channel", message.name())),
        }
    }

    fn on_hello(&mut self, link: LinkId, hello: Hello) -> Result<(), Broken> {
        let Some(state) = self.links.get(&link) else { return Ok(()) };
        let (dialed, address, identity) = (state.dialed, state.address.clone(), state.identity);
        if hello.cluster != self.config.cluster {
            return Err(of_another_cluster(&self.config.cluster));
        }
        if let Some(identity) = identity.filter(|identity| *identity != hello.replica) {
            return Err(format!("it says it is {}, and its certificate says {identity}", hello.replica));
        }
        if hello.replica == self.map.id() && hello.boot == self.config.boot {
            self.on_itself(link, dialed, &address);
            return Ok(());
        }
        if dialed {
            self.dials.on_answer(&address, hello.replica);
        }
        if hello.replica == self.map.id() {
            return Err(on_clone(&hello));
        }
        if self.dials.is_barred(&hello.address, Some(hello.replica)) && !self.lets_in(&address, dialed) {
            self.close_link(link, REMOVED.to_owned());
            return Ok(());
        }
        if self.refuses_clone(&hello) {
            self.close_link(link, CLONED.to_owned());
            return Ok(());
        }
        if !self.wins_over_others(link, &hello) {
            self.close_link(link, DUPLICATE.to_owned());
            return Ok(());
        }
        let role = if dialed { None } else { Some(self.role_of(&hello)) };
        info!(peer = %hello.replica, name = hello.name, address, "link up");
        self.meters.links_up += 1;
        let (audit, peer) = (hello.audit, hello.replica);
        self.on_met(&hello);
        if let Some(state) = self.links.get_mut(&link) {
            state.greet(hello);
            state.up_at = self.now.instant;
            state.role = role.unwrap_or(state.role);
        }
        self.on_linked(link);
        self.synced_once |= audit == self.map.audit();
        self.hear_anew(peer);
        // Those who only meet compare their sums once, here.
        if self.links.get(&link).is_some_and(|state| !self.overlay.is_large() || state.role == Role::Active) {
            self.anti_entropy_soon();
        }
        self.compare(link, audit);
        let early = self.links.get_mut(&link).map(|state| std::mem::take(&mut state.early));
        early.into_iter().flatten().for_each(|(channel, frame)| self.on_frame(link, channel, &frame));
        Ok(())
    }

    /// This node under another address. The end that has dialled closes the link: before it has heard this, it would dial again.
    fn on_itself(&mut self, link: LinkId, dialed: bool, address: &str) {
        if !dialed {
            return;
        }
        let (own, again) = (self.map.id(), self.now.instant + self.config.anchor_every);
        if self.dials.on_own_answer(address, own, again) {
            info!(address, "an address to dial leads to this node itself");
        }
        self.close_link(link, ITSELF.to_owned());
        self.synced_once |= !self.config.joins_names && self.dials.are_own();
    }

    /// Whether several processes run with the peer's id. All links with it are closed then: a peer that took writes from
    /// one would take those of the other for known. One that has not tried for a few dials is taken for stopped.
    fn refuses_clone(&mut self, hello: &Hello) -> bool {
        let stopped = self.config.redial_max * 3;
        match self.boots.on_hello(hello.replica, hello.boot, self.now.instant, stopped) {
            Boot::Alone => return false,
            Boot::Clone => error!(replica = %hello.replica, address = hello.address, "peer refused: {CLONED}"),
            Boot::StillClone => debug!(replica = %hello.replica, address = hello.address, "peer still refused"),
        }
        let up = self.links.iter().filter(|(_, state)| state.is_up() && state.is_with(hello.replica));
        let up: Vec<LinkId> = up.map(|(link, _)| *link).collect();
        for link in up {
            self.close_link(link, CLONED.to_owned());
            self.drop_syncs(link);
        }
        true
    }

    fn lets_in(&self, address: &str, dialed: bool) -> bool {
        dialed && self.dials.targets.get(address).is_some_and(|target| target.lets_in)
    }

    /// Of several links to one peer the one with the newest key stays, of these the one that the lower id dialled; a restarted
    /// peer's new link always does. If it was no restart but a clone, the process whose link goes will come back, and
    /// `refuses_clone` finds it out. What the others were for does not pass to it: one end may have had them up, and the other not,
    /// and then only one of them would count it.
    fn wins_over_others(&mut self, link: LinkId, hello: &Hello) -> bool {
        let lower_dials = |state: &Link| state.dialed == (self.map.id() < hello.replica);
        let order = |state: &Link| (self.rank(state), !lower_dials(state));
        let Some(new) = self.links.get(&link).map(order) else { return false };
        let same_peer = |state: &Link| state.is_up() && state.is_with(hello.replica);
        let others: Vec<_> = self.links.iter().filter(|(_, state)| same_peer(state)).collect();
        let restarted = |state: &Link| state.hello.as_ref().is_some_and(|old| old.boot != hello.boot);
        if others.iter().any(|(_, old)| !restarted(old) && order(old) < new) {
            return false;
        }
        let losers: Vec<LinkId> = others.iter().map(|(id, _)| **id).collect();
        for loser in losers {
            self.overlay.fill_soon(self.now.instant);
            self.close_link(loser, DUPLICATE.to_owned());
            self.drop_syncs(loser);
        }
        true
    }

    fn on_digest(&mut self, link: LinkId, digest: Digest) {
        if self.compare(link, digest.audit) && digest.reply {
            let audit = self.map.audit();
            self.send(link, CONTROL, &Message::Digest(Digest { audit, reply: false }), None);
        }
    }

    fn on_context(&mut self, link: LinkId, context: CausalContext, replace: bool) -> Result<(), Broken> {
        self.check_claims(&context)?;
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        if replace {
            state.known = Some(context);
            state.pushed = 0;
        } else {
            state.learn(&context);
            self.note_announced(link, context);
        }
        Ok(())
    }

    pub(super) fn on_push(&mut self, link: LinkId, delta: Delta) -> Result<(), Broken> {
        self.check_claims(delta.snapshot())?;
        delta.entries().contexts().iter().try_for_each(|pair| self.check_claims(&pair.context))?;
        let (base, snapshot) = (delta.base().clone(), delta.snapshot().clone());
        let excluded = !self.is_writable();
        if let Some(state) = self.links.get_mut(&link) {
            state.learn(&snapshot);
            if excluded {
                // It would be repeated at once if the peer were told now: it is told when the disk takes writes again.
                state.refused = true;
                return Ok(());
            }
        }
        let before = self.map.context_sum();
        let merged = self.map.merge(delta);
        if merged.unresolved {
            // It names keys by writes that were overwritten here meanwhile. A pull tells them by key.
            self.want_keys(link);
            return Ok(());
        }
        self.received.add(merged.received);
        self.measure_push(&merged.changes);
        self.prune_if_late(link, merged.received);
        merged.changes.into_iter().for_each(|change| self.on_change(&change));
        self.on_context_grown(before);
        self.note_brought(link, &snapshot);
        if !merged.missing.is_empty() {
            self.defer(link, base, snapshot);
        }
        Ok(())
    }

    /// Others' dots have arrived, if the sum of the context is not what it was: they are passed on and announced after a while.
    pub(super) fn on_context_grown(&mut self, before: u64) {
        if before != self.map.context_sum() {
            self.any_version += 1;
            self.received_at.get_or_insert(self.now.instant);
        }
    }

    /// Whether anything follows from it: as a rule nothing waits for the transport.
    pub(super) fn on_sent(&mut self, link: LinkId, channel: u64) -> bool {
        let Some(state) = self.links.get_mut(&link) else { return false };
        if channel == CONTROL {
            let was_full = state.control.in_flight() >= CONTROL_IN_FLIGHT_MAX;
            state.control.on_taken(self.now.instant);
            return was_full;
        }
        let Some(sending) = state.sending.get_mut(&channel) else { return false };
        sending.pace.on_taken(self.now.instant);
        self.pump(link, channel);
        true
    }

    pub(super) fn on_disconnected(&mut self, link: LinkId) {
        self.drop_syncs(link);
        let Some(state) = self.links.remove(&link) else { return };
        self.past[0].join(&state.sent);
        self.past[1].join(&state.received);
        let Some(hello) = state.hello else { return };
        self.meters.links_lost += 1;
        let peer = hello.replica;
        if state.closing {
            self.hear(peer, Duration::ZERO);
        }
        // Perhaps both had dialled, and the other link is just coming up.
        if self.is_linked(peer) {
            return;
        }
        // A leaf meets others in a small cluster, too.
        if state.role == Role::Passing && (self.overlay.is_large() || hello.is_leaf()) {
            return debug!(peer = %hello.replica, name = hello.name, "passing link closed");
        }
        info!(peer = %hello.replica, name = hello.name, "link lost");
        self.on_active_lost();
        self.on_contact_failed(peer);
        self.dials.on_lost(peer, state.dialed, self.now.instant, &self.config);
        match (state.closing, state.goodbye) {
            (true, _) => {}
            (false, true) => self.write_down(peer),
            (false, false) => self.suspect(peer),
        }
    }

    pub(super) fn add_given_peer(&mut self, address: &str) -> bool {
        let at_address = |state: &&Link| state.hello.as_ref().is_some_and(|hello| hello.address == address);
        let linked = self.links.values().find(at_address).and_then(|state| state.identity);
        let known = linked.or_else(|| self.member_at(address));
        if let Some(id) = known {
            self.dials.unbar(id);
        }
        let new = self.dials.add(address, true, known, self.now.instant);
        self.dials.let_in(address);
        new
    }

    pub(super) fn bar_peer(&mut self, address_or_id: &str) -> bool {
        let id = address_or_id.parse::<ReplicaId>().ok();
        let matches = |state: &Link| {
            let listens = state.hello.as_ref().map(|hello| hello.address.as_str());
            id.map_or(state.address == address_or_id || listens == Some(address_or_id), |id| state.is_with(id))
        };
        let links: Vec<LinkId> = self.links.iter().filter(|(_, state)| matches(state)).map(|(link, _)| *link).collect();
        let of_target = self.dials.targets.get(address_or_id).and_then(|target| target.id);
        let of_link = links.first().and_then(|link| self.links.get(link)).and_then(|state| state.identity);
        let id = id.or(of_link).or(of_target);
        let dialed = self
            .dials
            .targets
            .iter()
            .filter(|(address, target)| *address == address_or_id || (id.is_some() && target.id == id));
        let mut addresses: Vec<String> = dialed.map(|(address, _)| address.clone()).collect();
        id.into_iter().for_each(|id| self.on_contact_failed(id));
        let found = !links.is_empty() || !addresses.is_empty();
        addresses.extend(
            links.iter().filter_map(|link| self.links.get(link)?.hello.as_ref()).map(|hello| hello.address.clone()),
        );
        if found {
            self.dials.bar(addresses, id);
        }
        for link in links {
            self.close_link(link, REMOVED.to_owned());
            self.drop_syncs(link);
        }
        found
    }

    /// Dials members that others have told of, where everybody is linked to everybody.
    pub(super) fn learn_addresses(&mut self) {
        if self.overlay.is_large() {
            return self.dials.retain_learned(|_| false);
        }
        let own = self.map.id();
        let useful = self.members.iter().filter(|(id, record)| *id != own && record.state != MemberState::Left);
        // Leaves look for their few links themselves.
        let useful = useful.filter(|(_, record)| !record.leaf);
        // Of a large cluster that has shrunk those that are down are too many to be dialled.
        let all = self.members.iter().count() <= MESH_MAX;
        let useful = useful.filter(|(_, record)| all || record.is_present());
        let useful: Vec<_> = useful.filter_map(|(id, record)| Some((id, record.addresses.first()?.clone()))).collect();
        self.dials.retain_learned(|address| useful.iter().any(|(_, known)| known == address));
        for (id, address) in useful {
            if !self.dials.is_barred(&address, Some(id)) && address != self.config.address {
                // Of two that may dial each other the lower id does; the other only if it has waited in vain.
                let patience = if own < id { self.config.coalesce } else { self.config.redial * 4 };
                self.dials.add(&address, false, Some(id), self.now.instant + patience);
            }
        }
    }

    /// The addresses to join have changed. One that is barred stays so, and one given by hand too: both were said here.
    /// Linear in them.
    pub fn rejoin(&mut self, now: Now, added: &[String], dropped: &[String]) {
        self.set_now(now);
        dropped.iter().for_each(|address| self.dials.release(address));
        for address in added {
            let known = self.member_at(address);
            if *address != self.config.address && !self.dials.is_barred(address, known) {
                self.dials.add(address, true, known, self.now.instant);
            }
        }
        self.learn_addresses();
        // What is behind the names is known; perhaps it is nobody else.
        self.config.joins_names = false;
        self.synced_once |= self.dials.are_own();
        self.on_time();
        self.settle();
    }

    /// The peers: all addresses that are dialled, and who has dialled this node. Linear in them, times the links.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let link_to = |id: ReplicaId| self.links.iter().find(|(_, state)| state.is_up() && state.is_with(id));
        let of = |address: &str, id: Option<ReplicaId>| {
            let link = id.and_then(link_to);
            PeerInfo {
                address: address.to_owned(),
                id,
                link: link.map(|(link, _)| *link),
                mode: link.map(|(_, state)| state.mode()),
                last_heard: link.map(|(_, state)| state.last_heard),
            }
        };
        let targets = self.dials.targets.iter().filter(|(_, target)| !target.own);
        let mut peers: Vec<PeerInfo> = targets.map(|(address, target)| of(address, target.id)).collect();
        for (_, state) in self.links.iter().filter(|(_, state)| state.is_up()) {
            if !peers.iter().any(|peer| peer.id == state.identity) {
                let address = state.hello.as_ref().map_or("", |hello| &hello.address);
                peers.push(of(address, state.identity));
            }
        }
        peers
    }

    /// The links that are up. Linear in them, and in the replicas at most for each.
    pub fn links(&self) -> Vec<LinkInfo> {
        let up = self.links.iter().filter(|(_, state)| state.is_up());
        up.filter_map(|(link, state)| Some((link, state, state.hello.as_ref()?)))
            .map(|(link, state, hello)| LinkInfo {
                link: *link,
                id: hello.replica,
                address: hello.address.clone(),
                mode: state.mode(),
                active: state.role == Role::Active,
                lag: state.known.as_ref().map_or(0, |known| self.map.context().count_missing_from(known)),
                last_heard: state.last_heard,
                ledgers: [state.sent, state.received],
            })
            .collect()
    }
}

/// Another process with our replica id.
fn on_clone(hello: &Hello) -> Broken {
    error!(replica = %hello.replica, address = hello.address, "another process runs with this node's replica id: \
        a copied data directory must not be started twice");
    format!("another process runs with the replica id {}", hello.replica)
}

/// The peer has proved itself with a key of ours all the same.
fn of_another_cluster(own: &[u8; 16]) -> String {
    let own = u128::from_be_bytes(*own);
    format!(
        "it is of another cluster, though it holds a key of ours: beside a secret or authority that has replaced another \
         there has to be the line \"cluster {own:032x}\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::KeyId;
    use crate::proto::config::NodeConfig;
    use crate::proto::node::{Input, Output};
    use crate::proto::time::{Instant, Now};
    use std::collections::VecDeque;

    const SECOND_US: u64 = 1_000_000;

    /// A node that joins itself, at an address that it does not know as its own; and both ends of each link.
    struct Mirror {
        node: Node,
        links: u64,
        dials: u32,
        due: VecDeque<(LinkId, Input)>,
    }

    impl Mirror {
        fn new() -> Self {
            let config = NodeConfig {
                address: "10.0.0.1:7400".to_owned(),
                join: vec!["192.0.2.1:7400".to_owned()],
                anchor_every: Duration::from_secs(30),
                ..NodeConfig::new(ReplicaId::from(1))
            };
            Self { node: Node::new(config, at(0)), links: 0, dials: 0, due: VecDeque::new() }
        }

        fn run_until(&mut self, seconds: u64) {
            while let Some(due) = self.node.next_timeout().filter(|due| due.as_micros() <= seconds * SECOND_US) {
                let now = at(due.as_micros());
                self.node.handle(now, Input::Timeout);
                self.perform();
                while let Some((_, input)) = self.due.pop_front() {
                    self.node.handle(now, input);
                    self.perform();
                }
            }
        }

        fn perform(&mut self) {
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Dial { address } => self.dial(address),
                    Output::Send { link, channel, frame } => {
                        self.due.push_back((link, Input::Sent { link, channel }));
                        let link = other(link);
                        self.due.push_back((link, Input::Frame { link, channel, frame }));
                    }
                    // What is under way is lost with it.
                    Output::Close { link, .. } => {
                        let ends = [link, other(link)];
                        self.due.retain(|(link, _)| !ends.contains(link));
                        self.due.extend(ends.map(|link| (link, Input::Disconnected { link })));
                    }
                    Output::Finish { .. } | Output::Reset { .. } => {}
                }
            }
        }

        fn dial(&mut self, address: String) {
            self.dials += 1;
            let (link, identity, key) = (LinkId(self.links), Some(self.node.map().id()), KeyId::default());
            self.links += 2;
            let dialed = Input::Connected { link, address, dialed: true, identity, key };
            self.due.push_back((link, dialed));
            let (link, address) = (other(link), "192.0.2.1:50000".to_owned());
            self.due.push_back((link, Input::Connected { link, address, dialed: false, identity, key }));
        }
    }

    fn other(link: LinkId) -> LinkId {
        LinkId(link.0 ^ 1)
    }

    fn at(micros: u64) -> Now {
        Now { instant: Instant::from_micros(micros), wall_ms: 1_700_000_000_000 + micros / 1_000 }
    }

    /// The end that had not dialled was the first to see it, and closed the link: the other dialled again and again.
    #[test]
    fn a_node_that_joins_itself_is_told_so_by_one_attempt_and_tries_again_as_seldom_as_anchors() {
        let mut mirror = Mirror::new();
        assert!(!mirror.node.is_synced_once());
        mirror.run_until(29);
        assert_eq!((mirror.dials, mirror.node.peers().len()), (1, 0));
        assert!(mirror.node.is_synced_once(), "there is nobody else");
        mirror.run_until(30 * 20 + 1);
        assert_eq!(mirror.dials, 21);
        assert!(mirror.node.links.is_empty());
    }
}
