//! The rounds in which sums are compared with one peer after the other: the safety net, and alone enough. Not responsible for what
//! follows if they differ: `pulls` is.

use super::Node;
use super::spread::{CONTROL_IN_FLIGHT_MAX, Flow};
use crate::proto::link::{CONTROL, Link, LinkId};
use crate::proto::message::{Digest, Message};
use crate::proto::time::Instant;
use std::time::Duration;

/// While something changes in a large cluster, sums are compared so many times more rarely.
const BUSY_FACTOR: u32 = 10;

/// When the next one is, and with whom.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) at: Instant,
    wait: Duration,
    turn: Option<LinkId>,
    /// What the map's version was at the last one.
    version: u64,
    /// While something changes, not sooner than this is anything pulled from a peer that is only met.
    pull_met_not_before: Instant,
}

impl Rounds {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self { at: now + interval, wait: interval, turn: None, version: 0, pull_met_not_before: now }
    }
}

impl Node {
    /// A round, if it is due: ever more rarely while nothing changes.
    pub(super) fn anti_entropy(&mut self) {
        if self.rounds.at > self.now.instant {
            return;
        }
        let (quiet, busy) = (self.is_quiet(), self.busy_interval());
        let wait = if quiet { self.rounds.wait * 2 } else { busy };
        self.rounds.version = self.any_version;
        self.rounds.wait = wait.min(self.config.anti_entropy_max.max(busy));
        self.rounds.at = self.now.instant + self.rounds.wait;
        let up = |state: &Link| self.flow(state) != Flow::None && state.control.in_flight() < CONTROL_IN_FLIGHT_MAX;
        let links: Vec<LinkId> = self.links.iter().filter(|(_, state)| up(state)).map(|(link, _)| *link).collect();
        let next = links.iter().find(|link| Some(**link) > self.rounds.turn).or(links.first()).copied();
        self.rounds.turn = next;
        if let Some(link) = next {
            let audit = self.map.audit();
            self.send(link, CONTROL, &Message::Digest(Digest { audit, reply: true }), None);
        }
    }

    /// Whether nothing has changed since sums were compared last.
    fn is_quiet(&self) -> bool {
        self.rounds.version == self.any_version
    }

    /// How often sums are compared while something changes: where writes come along the tree, sums differ by what is on its way,
    /// and compared often, it would be sent twice.
    fn busy_interval(&self) -> Duration {
        self.config.anti_entropy * if self.overlay.is_large() { BUSY_FACTOR } else { 1 }
    }

    /// A link has come up: the rounds begin again from the shortest interval.
    pub(super) fn anti_entropy_soon(&mut self) {
        self.rounds.wait = self.config.anti_entropy;
        self.rounds.at = self.rounds.at.min(self.now.instant + self.config.anti_entropy);
    }

    /// Where writes come along the tree, sums differ by what is on its way, and a peer that is only met has nothing else as a rule: it
    /// is then pulled from no more often than sums are compared.
    pub(super) fn may_pull(&mut self, link: LinkId) -> bool {
        let stays = self.links.get(&link).is_some_and(|state| self.flow(state) != Flow::None);
        if stays || self.is_quiet() {
            return true;
        }
        let due = self.rounds.pull_met_not_before <= self.now.instant;
        if due {
            self.rounds.pull_met_not_before = self.now.instant + self.busy_interval();
        }
        due
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::super::spread::Flow;
    use crate::crdt::ReplicaId;
    use crate::proto::link::LinkId;
    use crate::simulate::{Cluster, Settings};
    use std::collections::{BTreeMap, BTreeSet};

    /// Each meeting would be two pulls of what comes along the tree a moment later.
    #[test]
    fn while_writes_come_nobody_pulls_from_all_that_it_only_meets() {
        const NODES: usize = 60;
        let mut cluster = Cluster::new(Settings { nodes: NODES, ..Settings::default() });
        cluster.run_until_converged(60_000_000).expect("they come together");
        let mut pulled: BTreeMap<ReplicaId, BTreeSet<LinkId>> = BTreeMap::new();
        // For half as long as it has to wait between two. Who has dialled may have hoped for a link that stays.
        for write in 0..500 {
            cluster.put(write % NODES, write, 8);
            cluster.run_for(10_000);
            for node in (0..NODES).filter_map(|who| cluster.node(who)) {
                let met = node.links.iter().filter(|(_, state)| node.flow(state) == Flow::None && !state.dialed);
                let pulling = met.filter(|(_, state)| state.pull.is_some());
                pulled.entry(node.map.id()).or_default().extend(pulling.map(|(link, _)| *link));
            }
        }
        let counts: Vec<usize> = pulled.values().map(BTreeSet::len).filter(|count| *count > 0).collect();
        assert!(!counts.is_empty() && counts.iter().all(|count| *count == 1), "{counts:?}");
        cluster.run_until_converged(10_000_000).expect("they agree");
    }
}
