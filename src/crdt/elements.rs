//! Dots as numbers, and back. Not responsible for comparing sets of them: `symbols.rs` and `proto::reconcile` are.
//!
//! The element of a dot is a keyed hash of its replica plus its counter, modulo 2^64. So what is only known by its element
//! can be named again by whoever knows the replica: it is the one whose hash is the next below.

use super::stored::LocalDot;
use super::{AuditKey, CausalContext, Dot, ReplicaId};
use std::collections::BTreeMap;

/// Counters are below this: see `proto-docs/wire.md`.
const COUNTER_END: u64 = 1 << 56;

/// The replicas that a map has met, as elements.
#[derive(Clone, Debug)]
pub(crate) struct Elements {
    key: AuditKey,
    /// The hash of each replica, by the map's number for it.
    starts: Vec<u64>,
    by_start: BTreeMap<u64, ReplicaId>,
}

impl Elements {
    pub(super) fn new(key: AuditKey) -> Self {
        Self { key, starts: Vec::new(), by_start: BTreeMap::new() }
    }

    /// The next replica that has a number.
    pub(super) fn meet(&mut self, replica: ReplicaId) {
        let start = self.key.of_replica(replica);
        self.starts.push(start);
        self.by_start.insert(start, replica);
    }

    /// Of the replicas of a context.
    pub(crate) fn of_context(key: AuditKey, context: &CausalContext) -> Self {
        let mut elements = Self::new(key);
        context.iter().for_each(|dot| elements.meet(dot.replica));
        elements
    }

    /// The element of a dot.
    #[inline]
    pub(super) fn of_local(&self, dot: LocalDot) -> u64 {
        self.starts[dot.replica as usize].wrapping_add(dot.counter)
    }

    /// The key of all hashes.
    pub(crate) fn key(&self) -> AuditKey {
        self.key
    }

    /// The dots of replicas that were met which may have this element, the likeliest first: hardly ever more than a few.
    pub(crate) fn dots_of(&self, element: u64) -> impl Iterator<Item = Dot> + '_ {
        let below = self.by_start.range(..=element).rev();
        let around = self.by_start.range(element..).rev();
        let dots = below.chain(around).map(move |(start, &replica)| Dot::new(replica, element.wrapping_sub(*start)));
        dots.skip_while(|dot| dot.counter == 0).take_while(|dot| (1..COUNTER_END).contains(&dot.counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(starts: &[u64]) -> Elements {
        let mut elements = Elements::new(AuditKey::default());
        for (&start, id) in starts.iter().zip(1_u128..) {
            elements.starts.push(start);
            elements.by_start.insert(start, ReplicaId::from(id));
        }
        elements
    }

    #[test]
    fn an_element_is_that_of_the_replica_below_or_of_one_before_it() {
        let elements = met(&[1_000, 1_010, u64::MAX - 4]);
        let named =
            |element| elements.dots_of(element).map(|d| (d.replica.as_bytes()[15], d.counter)).collect::<Vec<_>>();
        assert_eq!(named(1_012), [(2, 2), (1, 12), (3, 1_017)]);
        assert_eq!(named(1_010), [(1, 10), (3, 1_015)], "no write has the number 0");
        assert_eq!(named(3), [(3, 8)], "around the end of the numbers");
        assert_eq!(named(1 << 60), [], "no counter is so great");
    }

    #[test]
    fn the_element_of_a_dot_names_it_again() {
        let mut elements = Elements::new(AuditKey::new([7; 16]));
        (0..1_000_u128).for_each(|id| elements.meet(ReplicaId::from(id)));
        for id in 0..1_000 {
            let dot = Dot::new(ReplicaId::from(id), 1 + (id as u64).pow(4));
            assert!(elements.dots_of(elements.key().element(dot)).any(|found| found == dot), "{dot}");
        }
    }
}
