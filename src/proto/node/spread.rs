//! What is told to whom unasked: fresh writes at once, others' after a while, sums at intervals. Not responsible for what
//! a peer then asks for: `pulls` is.

use super::Node;
use crate::proto::link::{CONTROL, Link, LinkId};
use crate::proto::message::{Digest, Message};
use crate::proto::time::Instant;

/// More dots than this are not pushed but pulled: a pull is paced, and can be resumed.
const PUSH_DOTS_MAX: u64 = 1000;
/// And while so many entries are pending here, which every push would have to repeat.
const PUSH_PENDING_MAX: usize = 100;
/// A link takes one push at a time; a second control frame may wait behind it.
const CONTROL_IN_FLIGHT_MAX: usize = 2;

impl Node {
    /// Tells each peer what it is due.
    pub(super) fn spread(&mut self) {
        let links: Vec<LinkId> = self.links.iter().filter(|(_, s)| s.is_up()).map(|(link, _)| *link).collect();
        for link in links {
            if self.push_due(link).is_some_and(|due| due <= self.now.instant) {
                self.push(link);
            }
            if self.announce_due(link).is_some_and(|due| due <= self.now.instant) {
                self.announce(link);
            }
        }
        let all_told =
            |state: &Link| !state.is_up() || (state.pushed >= self.any_version && state.announced >= self.any_version);
        if self.links.values().all(all_told) {
            self.received_at = None;
        }
    }

    pub(super) fn next_spread(&self) -> Option<Instant> {
        let links = self.links.iter().filter(|(_, state)| state.is_up()).map(|(link, _)| *link);
        links.flat_map(|link| [self.push_due(link), self.announce_due(link)]).flatten().min()
    }

    /// When the link is due a push: at once what was written here, after a while what others wrote; not before the
    /// transport has taken the last one. While the peer pulls, pushes build on what the pull will have brought it to, and
    /// go before it: it is of lower priority.
    fn push_due(&self, link: LinkId) -> Option<Instant> {
        let state = self.links.get(&link)?;
        state.known.as_ref()?;
        let pull_begins = state.expected.is_none() && !state.sending.is_empty();
        if state.control.in_flight() >= CONTROL_IN_FLIGHT_MAX || pull_begins || state.pushed >= self.any_version {
            return None;
        }
        let fresh = state.pushed < self.own_version;
        let at = if fresh { self.now.instant } else { self.received_at? + self.config.forward_after };
        Some(at.max(state.push_not_before))
    }

    fn push(&mut self, link: LinkId) {
        let version = self.any_version;
        let Some(state) = self.links.get_mut(&link) else { return };
        let Some(known) = state.push_base() else { return };
        state.pushed = version;
        if known.includes(self.map.context()) {
            return;
        }
        let bytes_max = state.control.bytes();
        state.push_not_before = self.now.instant + self.config.coalesce;
        let few =
            self.map.context().count_missing_from(&known) <= PUSH_DOTS_MAX && self.map.pending() <= PUSH_PENDING_MAX;
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

    /// When to tell the peer what others have brought, so that it does not send it: before it would.
    fn announce_due(&self, link: LinkId) -> Option<Instant> {
        let state = self.links.get(&link)?;
        let due = state.announced < self.any_version && state.control.in_flight() < CONTROL_IN_FLIGHT_MAX;
        if due { Some(self.received_at? + self.config.announce_after) } else { None }
    }

    fn announce(&mut self, link: LinkId) {
        let version = self.any_version;
        let Some(state) = self.links.get_mut(&link) else { return };
        state.announced = version;
        if state.known.as_ref().is_some_and(|known| known.includes(self.map.context())) {
            return;
        }
        let context = self.map.context().clone();
        self.send(link, CONTROL, &Message::Context { context, replace: false }, None);
    }

    /// The safety net, and alone enough: sums are compared with one peer after the other, ever more rarely while
    /// nothing changes.
    pub(super) fn anti_entropy(&mut self) {
        if self.anti_entropy_at > self.now.instant {
            return;
        }
        let quiet = self.anti_entropy_version == self.any_version;
        let wait = if quiet { self.anti_entropy_wait * 2 } else { self.config.anti_entropy };
        self.anti_entropy_version = self.any_version;
        self.anti_entropy_wait = wait.min(self.config.anti_entropy_max);
        self.anti_entropy_at = self.now.instant + self.anti_entropy_wait;
        let up = |state: &Link| state.is_up() && state.control.in_flight() < CONTROL_IN_FLIGHT_MAX;
        let links: Vec<LinkId> = self.links.iter().filter(|(_, state)| up(state)).map(|(link, _)| *link).collect();
        let next = links.iter().find(|link| Some(**link) > self.anti_entropy_turn).or(links.first()).copied();
        self.anti_entropy_turn = next;
        if let Some(link) = next {
            let audit = self.map.audit();
            self.send(link, CONTROL, &Message::Digest(Digest { audit, reply: true }), None);
        }
    }

    /// A link has come up: the rounds begin again from the shortest interval.
    pub(super) fn anti_entropy_soon(&mut self) {
        self.anti_entropy_wait = self.config.anti_entropy;
        self.anti_entropy_at = self.anti_entropy_at.min(self.now.instant + self.config.anti_entropy);
    }
}
