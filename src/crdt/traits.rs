//! The traits of the `crdts` crate for the map, by the textbook: slow, and what the fast path is held equal to by a
//! property test. Not for use where speed matters.

use super::delta::EntriesBuilder;
use super::{Delta, Key, OrMap};
use crdts::{CmRDT, CvRDT};
use std::collections::BTreeSet;
use std::convert::Infallible;

impl OrMap {
    /// All keys that have an entry or a pending context.
    fn all_keys(&self) -> BTreeSet<Key<'_>> {
        let slots = self.table.iter().map(|slot| self.table.key(slot));
        slots.chain(self.pending.iter().map(|(key, _)| key)).collect()
    }
}

impl CvRDT for OrMap {
    type Validation = Infallible;

    fn validate_merge(&self, _other: &Self) -> Result<(), Infallible> {
        Ok(())
    }

    /// Joins the whole of another state: every entry of either, then the contexts and bounds. Cost: the size of both.
    fn merge(&mut self, other: Self) {
        let mut entries = EntriesBuilder::default();
        let own = self.clone();
        own.all_keys().union(&other.all_keys()).for_each(|key| entries.push(&other, *key));
        self.join_entries(&entries.finish(), |_| {});
        self.adopt_bound(&other.truncated, &other.context);
        self.incorporate(&other.context);
    }
}

impl CmRDT for OrMap {
    type Op = Delta;
    type Validation = Infallible;

    fn validate_op(&self, _op: &Delta) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, op: Delta) {
        let _ = Self::merge(self, op);
    }
}
