//! The traits of the `crdts` crate for the map, by the textbook: slow, and what the fast path is held equal to by a
//! property test. Not for use where speed matters.

use super::delta::EntriesBuilder;
use super::{Delta, Key, OrMap};
use crdts::{CmRDT, CvRDT};
use std::collections::BTreeSet;
use std::convert::Infallible;

fn keys_of(map: &OrMap) -> BTreeSet<Key<'_>> {
    map.kept_keys().collect()
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
        keys_of(&own).union(&keys_of(&other)).for_each(|key| entries.push(&other, *key));
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
