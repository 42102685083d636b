//! What clients' sessions ask of a node. Not responsible for waiting, nor for tokens: the store is.

use super::Node;
use crate::crdt::{CausalContext, Dot, Session};
use crate::proto::link::LinkId;
use crate::proto::time::Now;

/// A dot that stands for a context: whoever has the one has all of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// What it stands for, itself included.
    pub context: CausalContext,
    /// The dot: nothing was written under it.
    pub dot: Dot,
}

impl Node {
    /// Somebody waits for what the session has seen and this node lacks: pulls from a peer that is known to have it, or
    /// from all if none is. Linear in the links, times the replicas.
    pub fn pull_for(&mut self, now: Now, session: &Session) {
        self.set_now(now);
        if !session.is_within(self.map().context()) {
            let up = self.links.iter().filter(|(_, state)| state.is_up());
            let all: Vec<LinkId> = up.clone().map(|(link, _)| *link).collect();
            let has_it = |known: &CausalContext| session.is_within(known);
            let one =
                up.clone().find(|(_, state)| state.known.as_ref().is_some_and(has_it)).map(|(link, _)| vec![*link]);
            one.unwrap_or(all).into_iter().for_each(|link| self.want_pull(link, false));
        }
        self.settle();
    }

    /// Whether syncs under way will bring all that the session has seen and this node lacks, if they are not cut off.
    /// Linear in the links, times the replicas.
    pub fn is_arriving(&self, session: &Session) -> bool {
        let mut arriving = self.map().context().clone();
        for link in self.links.values().filter(|link| link.pull.is_some()) {
            let begun = link.pull.iter().map(|pull| &pull.receiver.begin().snapshot);
            let deferred = link.deferred.iter().map(|deferred| &deferred.snapshot);
            begun.chain(deferred).for_each(|snapshot| arriving.join(snapshot));
        }
        session.is_within(&arriving)
    }

    /// Takes a dot for nothing, so that it can stand for all that this node has now. A context is causally closed: it
    /// takes in a dot of another replica only with all that this had before. `None` while nothing can be written.
    ///
    /// It may be used once it is durable: a crash may take it back with something that it stands for.
    ///
    /// A write without a key.
    pub fn stand_in(&mut self, now: Now) -> Option<StandIn> {
        if !self.is_writable() {
            return None;
        }
        self.set_now(now);
        let own = self.map.id();
        let dot = Dot::new(own, self.map.context().get(own) + 1);
        self.map.skip_to(dot);
        self.any_version += 1;
        self.own_version = self.any_version;
        let context = self.map.context().clone();
        self.settle();
        Some(StandIn { context, dot })
    }
}
