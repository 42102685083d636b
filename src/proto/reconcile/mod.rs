//! Finding out which live dots two replicas do not share. Not responsible for what is done about it: `sync` is.
//!
//! The sender offers its live dots within `base ∪ have`, the receiver finds which of its own are not among them: those
//! died at the sender, and their tombstones may be gone. As it stands the sender lists its dots as intervals, in parts:
//! correct, and linear in the size of the map. A coded exchange that costs what differs takes its place behind the same
//! two types.

use super::message::Part;
use crate::crdt::{CausalContext, DotSet, KeyList, OrMap};

/// How many intervals of dots go into one part.
const PART_INTERVALS: usize = 4096;
/// How many bytes of keys go into one part.
const PART_KEY_BYTES: usize = 64 << 10;

/// The sender's side: what is still to be offered.
#[derive(Debug)]
pub(crate) struct Offer {
    intervals: std::vec::IntoIter<(crate::crdt::ReplicaId, u64, u64)>,
    ended: bool,
}

impl Offer {
    /// Of the live dots as they are now. Cost: their number.
    pub(crate) fn new(map: &OrMap, base: &CausalContext, have: &DotSet) -> Self {
        let intervals: Vec<_> = map.live_within(base, have).iter().collect();
        Self { intervals: intervals.into_iter(), ended: false }
    }

    /// The next part, until the last was given.
    pub(crate) fn next_part(&mut self) -> Option<Part<DotSet>> {
        if self.ended {
            return None;
        }
        let mut part = DotSet::new();
        for (replica, first, last) in self.intervals.by_ref().take(PART_INTERVALS) {
            part.insert_range(replica, first, last);
        }
        self.ended = self.intervals.len() == 0;
        Some(Part { part, last: self.ended })
    }
}

/// The receiver's side: which of its own live dots have been offered so far.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    offered: DotSet,
}

impl Comparison {
    /// Takes in a part. After the last: the keys of our dots within the snapshot that were not offered, in parts.
    pub(crate) fn on_part(
        &mut self,
        map: &OrMap,
        snapshot: &CausalContext,
        part: &Part<DotSet>,
    ) -> Option<Vec<Part<KeyList>>> {
        for (replica, first, last) in part.part.iter() {
            // Others are not asked about at the end, and the peer may offer them without end.
            map.live_between(replica, first, last).for_each(|dot| self.offered.insert(dot));
        }
        part.last.then(|| parts_of(map.keys_dead_at(snapshot, &self.offered)))
    }
}

fn parts_of(mut keys: KeyList) -> Vec<Part<KeyList>> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (KeyList::new(), 0);
    while let Some(key) = keys.pop() {
        if bytes > PART_KEY_BYTES {
            parts.push(Part { part: std::mem::take(&mut part), last: false });
            bytes = 0;
        }
        bytes += key.bytes.len();
        part.push(key);
    }
    parts.push(Part { part, last: true });
    parts
}
