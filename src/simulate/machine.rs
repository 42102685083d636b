//! One computer: its node, its disk and its clock. Not responsible for the network.

use super::wires::WireId;
use crate::crdt::{CausalContext, ReplicaId};
use crate::proto::config::NodeConfig;
use crate::proto::durable::{Batch, Identity, Kept, Loader};
use crate::proto::ledger::Ledger;
use crate::proto::node::Node;
use crate::proto::time::{Instant, Now};
use std::collections::BTreeMap;

/// When the simulation begins, for clocks that are right: milliseconds since 1970.
pub(super) const START_MS: u64 = 1_700_000_000_000;
const PORT: &str = "7400";

/// Where the node of a machine listens.
pub(super) fn address_of(number: usize) -> String {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    format!("10.{a}.{b}.{c}:{PORT}")
}

/// Whose address it is.
pub(super) fn number_at(address: &str) -> Option<usize> {
    let mut parts = address.strip_prefix("10.")?.strip_suffix(PORT)?.strip_suffix(':')?.split('.');
    let mut part = || parts.next()?.parse::<u8>().ok();
    Some(u32::from_be_bytes([0, part()?, part()?, part()?]) as usize)
}

/// Records on a disk that never fails.
pub(super) type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(disk: &mut Disk, batch: &Batch) {
    for (key, value) in batch.iter() {
        match value {
            Some(value) => _ = disk.insert(key.to_vec(), value.to_vec()),
            None => _ = disk.remove(key),
        }
    }
}

/// What the machine has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// On the network, headers and what was lost included.
    pub(super) sent_bytes: u64,
    pub(super) frames: u64,
    pub(super) dials: u64,
    pub(super) connections: u64,
    pub(super) links_max: usize,
    /// The most that waited for its upload at one moment.
    pub(super) queued_bytes_max: u64,
    /// Of its nodes that are no more.
    pub(super) past: [Ledger; 2],
    pub(super) past_received: [u64; 3],
}

/// A machine, which may be down.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) node: Option<Box<Node>>,
    pub(super) replica: ReplicaId,
    /// Its state outlives its node.
    pub(super) disk: Option<Disk>,
    pub(super) skew_ms: i64,
    pub(super) join: Vec<usize>,
    pub(super) boots: u64,
    /// The timer that counts; events of others are stale.
    pub(super) timer_us: u64,
    /// How often a timer has come at the same moment.
    pub(super) stuck: (u64, u32),
    pub(super) upload_free_us: u64,
    pub(super) wires: Vec<WireId>,
    /// Those that a crash has cut off, whose peers may not know it yet.
    pub(super) orphans: Vec<WireId>,
    /// Its context, when it was looked at last.
    pub(super) looked: CausalContext,
    pub(super) tally: Tally,
}

impl Machine {
    pub(super) fn new(replica: ReplicaId, kept: bool, join: Vec<usize>) -> Self {
        Self {
            node: None,
            replica,
            disk: kept.then(Disk::new),
            skew_ms: 0,
            join,
            boots: 0,
            timer_us: u64::MAX,
            stuck: (0, 0),
            upload_free_us: 0,
            wires: Vec::new(),
            orphans: Vec::new(),
            looked: CausalContext::new(),
            tally: Tally::default(),
        }
    }

    pub(super) fn now(&self, now_us: u64) -> Now {
        let wall_ms = (START_MS + now_us / 1_000).saturating_add_signed(self.skew_ms);
        Now { instant: Instant::from_micros(now_us), wall_ms }
    }

    /// Starts its node, with what is on its disk, if it has one.
    pub(super) fn start(&mut self, number: usize, template: &NodeConfig, now_us: u64) {
        self.boots += 1;
        let config = NodeConfig {
            replica: self.replica,
            boot: self.boots,
            name: format!("node{number}"),
            address: address_of(number),
            join: self.join.iter().map(|&other| address_of(other)).collect(),
            ..template.clone()
        };
        let now = self.now(now_us);
        let node = match &self.disk {
            Some(disk) => Node::kept(config.clone(), kept(disk, &config), now),
            None => Node::new(config, now),
        };
        (self.node, self.timer_us) = (Some(Box::new(node)), u64::MAX);
    }

    /// The power fails. Without a disk, what starts here next is another replica.
    pub(super) fn stop(&mut self, next: impl FnOnce() -> ReplicaId) {
        if let Some(node) = self.node.take() {
            let [sent, received] = node.ledgers();
            self.tally.past[0].join(&sent);
            self.tally.past[1].join(&received);
            let dots = node.received();
            self.tally.past_received.iter_mut().zip([dots.new, dots.known, dots.void]).for_each(|(sum, n)| *sum += n);
        }
        (self.timer_us, self.looked) = (u64::MAX, CausalContext::new());
        if self.disk.is_none() {
            self.replica = next();
        }
    }

    /// Makes durable what has changed.
    pub(super) fn commit(&mut self, now_us: u64) {
        let now = self.now(now_us);
        let (Some(node), Some(disk)) = (&mut self.node, &mut self.disk) else { return };
        if let Some(batch) = node.begin_commit() {
            write(disk, &batch);
            node.end_commit(now);
        }
    }
}

fn kept(disk: &Disk, config: &NodeConfig) -> Kept {
    if disk.is_empty() {
        return Kept::nothing(Identity { replica: config.replica, cluster: config.cluster }, config.drift_ms);
    }
    let mut loader = Loader::new(config.drift_ms);
    disk.iter().for_each(|(key, value)| loader.record(key, value).expect("what was written can be read"));
    loader.finish().expect("a disk that never fails holds a whole state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_its_machine() {
        for number in [0, 1, 255, 256, 9_999, 1 << 20] {
            assert_eq!(number_at(&address_of(number)), Some(number));
        }
        assert_eq!(["10.0.0.1:80", "10.0.0:7400", "host:7400"].map(number_at), [None; 3]);
    }
}
