//! Peers that are heard again after a silence: what they push is held for a while before it is joined, for links that
//! flap. Not responsible for finding out that a link is silent: whoever drives the node sees every sign of life.
//!
//! Only what changes the state is held: pushes, in their order; pulls from such a peer wait. What it asks for it gets, and
//! this node's own writes go out.

use super::{Node, Output};
use crate::crdt::ReplicaId;
use crate::proto::link::{CONTROL, Link, LinkId};
use crate::proto::time::Instant;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::debug;

/// A peer that gave no sign of life for so long is heard again by the next one.
const SILENCE: Duration = Duration::from_millis(700);
/// So many pushes of a link are held,
const HELD_FRAMES_MAX: usize = 256;
/// of so many bytes. Beyond either they are dropped, and pulled afterwards.
const HELD_BYTES_MAX: usize = 4 << 20;
/// So many peers are remembered across their links.
const PEERS_MAX: usize = 1024;

/// When peers were heard.
#[derive(Debug, Default)]
pub(super) struct Holding(BTreeMap<ReplicaId, Peer>);

#[derive(Clone, Copy, Debug)]
struct Peer {
    heard: Instant,
    /// Until when what it sends is held.
    until: Option<Instant>,
}

impl Holding {
    fn peer(&mut self, id: ReplicaId, now: Instant) -> &mut Peer {
        if !self.0.contains_key(&id) && self.0.len() >= PEERS_MAX {
            let longest_silent = self.0.iter().min_by_key(|(_, peer)| peer.heard).map(|(id, _)| *id);
            longest_silent.map(|id| self.0.remove(&id));
        }
        self.0.entry(id).or_insert(Peer { heard: now, until: None })
    }

    fn silence(&self, id: ReplicaId, now: Instant) -> Duration {
        self.0.get(&id).map_or(Duration::ZERO, |peer| now.since(peer.heard))
    }
}

impl Node {
    /// A sign of life on a link, after so long without one.
    pub(super) fn on_heard(&mut self, link: LinkId, silence: Duration) {
        if let Some(id) = self.links.get(&link).filter(|state| state.is_up()).map(|state| state.identity) {
            self.hear(id, silence);
        }
    }

    /// A link has come up: of a peer that had one before, it may end a silence.
    pub(super) fn hear_anew(&mut self, id: ReplicaId) {
        self.hear(id, self.holding.silence(id, self.now.instant));
    }

    /// The peer was there until now, as far as is known.
    pub(super) fn hear(&mut self, id: ReplicaId, silence: Duration) {
        if self.config.link_settle.is_zero() {
            return;
        }
        let now = self.now.instant;
        let peer = self.holding.peer(id, now);
        peer.heard = now;
        if silence >= SILENCE {
            peer.until = Some(now + self.config.link_settle);
            debug!(peer = %id, ?silence, "heard again: what it sends is held");
            self.give_up_pulls_from(id);
        }
    }

    /// Whether what comes on the link has to wait.
    pub(super) fn is_held(&self, link: LinkId) -> bool {
        let Some(state) = self.links.get(&link) else { return false };
        self.holding.0.get(&state.identity).is_some_and(|peer| peer.until.is_some_and(|until| self.now.instant < until))
    }

    /// Holds a push.
    pub(super) fn hold(&mut self, link: LinkId, frame: &Bytes) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let bytes: usize = state.held.iter().map(Bytes::len).sum();
        if state.held.len() < HELD_FRAMES_MAX && bytes + frame.len() <= HELD_BYTES_MAX {
            state.held.push(frame.clone());
        } else {
            // A push builds on those before it: without one of them the others are of little use.
            state.held.clear();
            state.pull_wanted = true;
        }
    }

    fn give_up_pulls_from(&mut self, id: ReplicaId) {
        let of_peer = self.links.iter_mut().filter(|(_, state)| state.identity == id);
        let pulls: Vec<_> = of_peer.filter_map(|(link, state)| Some((*link, state.pull.take()?))).collect();
        for (link, pull) in pulls {
            self.outputs.push_back(Output::Reset { link, channel: pull.channel });
            self.end_catch_up(link, pull.channel);
            if let Some(state) = self.links.get_mut(&link) {
                state.pull_wanted = true;
            }
        }
    }

    /// Takes in what was held for long enough.
    pub(super) fn release_held(&mut self) {
        let now = self.now.instant;
        let due = |peer: &mut Peer| peer.until.take_if(|until| *until <= now).is_some();
        let due: Vec<ReplicaId> = self.holding.0.iter_mut().filter_map(|(id, peer)| due(peer).then_some(*id)).collect();
        for id in due {
            debug!(peer = %id, "what it sent is joined");
            let of_peer = self.links.iter_mut().filter(|(_, state)| state.identity == id && state.is_up());
            let held: Vec<_> = of_peer.map(|(link, state)| (*link, std::mem::take(&mut state.held))).collect();
            held.into_iter().for_each(|(link, frames)| self.take_in(link, &frames));
        }
    }

    fn take_in(&mut self, link: LinkId, frames: &[Bytes]) {
        for frame in frames {
            let open = |state: &&Link| !state.closing;
            if self.links.get(&link).filter(open).is_none() {
                return;
            }
            let result = self.on_message(link, CONTROL, frame);
            self.close_if_broken(link, result);
        }
    }

    pub(super) fn next_release(&self) -> Option<Instant> {
        self.holding.0.values().filter_map(|peer| peer.until).min()
    }
}
