//! Entries column by column, against a context and a bound of which most entries' own are no change. Not responsible for
//! where that context comes from.
//!
//! What nearly all entries have in common costs nothing: a mask says which columns are there. This file has what writer and
//! reader share; `write` and `read` are the two, in the order of the bytes.

mod read;
mod write;

pub(super) use read::read_entries;
pub(super) use write::write_entries;

use crate::crdt::{CausalContext, ReplicaId, Row};
use std::collections::BTreeMap;

/// What entries are told against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference<'a> {
    /// Most were read under this context,
    pub(super) context: &'a CausalContext,
    /// and this bound.
    pub(super) bound: &'a CausalContext,
    /// The first timestamp is told by its distance from this.
    pub(super) millis: u64,
}

/// What a reader takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) entries_max: usize,
    /// Entries without a key or a value of their own.
    pub(super) parts: bool,
}

/// The mask: what is not as in nearly all frames. The usual ones come first, so that it mostly is one byte.
mod mask {
    /// Some entries are named by a dot.
    pub(super) const BY_DOT: u64 = 1;
    /// Not all registers are plain values.
    pub(super) const KINDS: u64 = 1 << 1;
    /// Not all logical times are 0.
    pub(super) const LOGICAL: u64 = 1 << 2;
    /// The first dots of entries are of several replicas.
    pub(super) const REPLICAS: u64 = 1 << 3;
    /// Not all entries are of `usr`.
    pub(super) const SECTIONS: u64 = 1 << 4;
    /// Not all entries have one register.
    pub(super) const SIZES: u64 = 1 << 5;
    /// Not all entries were read under the reference.
    pub(super) const CONTEXTS: u64 = 1 << 6;
    /// Some entries are named by a dot, and some by their key.
    pub(super) const MIXED: u64 = 1 << 7;
    /// Names are of several replicas.
    pub(super) const NAMES: u64 = 1 << 8;
    /// There are dots of replicas that the reference has not.
    pub(super) const BEYOND: u64 = 1 << 9;
    /// All that there are.
    pub(super) const ALL: u64 = (1 << 10) - 1;
}

/// Kinds of registers.
mod kind {
    pub(super) const TOMBSTONE: u64 = 0;
    pub(super) const VALUE: u64 = 1;
    pub(super) const VALUE_WITH_DEADLINE: u64 = 2;
    /// The value was given before, in pieces.
    pub(super) const GIVEN: u64 = 3;
    pub(super) const GIVEN_WITH_DEADLINE: u64 = 4;
}

/// How many registers each entry has.
fn sizes(rows: &[Row]) -> impl Iterator<Item = usize> {
    let mut start = 0;
    rows.iter().map(move |row| row.registers_end - std::mem::replace(&mut start, row.registers_end))
}

/// The counter of each replica that was told last; at first that of the reference. The next is told by its distance.
#[derive(Debug)]
struct Trail<'a> {
    reference: &'a CausalContext,
    told: BTreeMap<ReplicaId, u64>,
    /// That of a neighbour is mostly of the same replica.
    current: Option<(ReplicaId, u64)>,
}

impl<'a> Trail<'a> {
    fn new(reference: &'a CausalContext) -> Self {
        Self { reference, told: BTreeMap::new(), current: None }
    }

    /// The last one of the replica, to be replaced by the next.
    fn last(&mut self, replica: ReplicaId) -> &mut u64 {
        if self.current.is_none_or(|current| current.0 != replica) {
            self.told.extend(self.current);
            let last = self.told.get(&replica).copied().unwrap_or_else(|| self.reference.get(replica));
            self.current = Some((replica, last));
        }
        &mut self.current.get_or_insert((replica, 0)).1
    }
}
