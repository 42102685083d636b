//! Causal contexts: sets of dots that say what has been incorporated. Not responsible for what the dots did.
//!
//! [`CausalContext`] is a version vector. The contexts of replicas, snapshots, pending keys and tokens never have gaps:
//! each is a replica's context, or a join of such. Only what a receiver holds beyond its context (`have`, from syncs
//! that were cut off) has gaps; that is a [`DotSet`].

use super::clocks::{Clock, Clocks, Differing};
use super::{Dot, ReplicaId};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::fmt;

/// The four results of a causal comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Causality {
    /// Everything on the left is on the right, and more.
    Before,
    /// Everything on the right is on the left, and more.
    After,
    /// The same.
    Equal,
    /// Each has something that the other lacks.
    Concurrent,
}

/// A set of dots without gaps: a version vector (Parker et al. 1983), for each replica the dots 1 to a counter.
///
/// Costs: `get` and `contains` are logarithmic in the number of replicas. `join`, `includes` and `compare` are linear in it at
/// most; of contexts that come of one another, as a clone does that was changed, they look only at what was changed. A clone
/// is a reference.
///
/// ```
/// use tidings::{CausalContext, Dot, ReplicaId, crdt::Causality};
/// let (a, b) = (ReplicaId::from(1), ReplicaId::from(2));
/// let mut left: CausalContext = [(a, 2)].into_iter().collect();
/// let right: CausalContext = [(a, 1), (b, 1)].into_iter().collect();
/// assert_eq!(left.compare(&right), Causality::Concurrent);
/// left.join(&right);
/// assert_eq!(left.compare(&right), Causality::After);
/// assert!(left.contains(Dot::new(b, 1)));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<(ReplicaId, u64)>", into = "Vec<(ReplicaId, u64)>")]
pub struct CausalContext {
    /// The normal form: equal sets are equal values.
    clocks: Clocks,
}

/// A join that brings more replicas than this that were not there is one pass over both contexts.
const INSERTED_MAX: usize = 16;

impl Default for CausalContext {
    fn default() -> Self {
        Self::new()
    }
}

impl CausalContext {
    /// The empty context, ⊥.
    pub const fn new() -> Self {
        Self { clocks: Clocks::new() }
    }

    /// The highest counter of `replica` in the set; 0 if there is none. Logarithmic in the replicas.
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.clocks.get(replica)
    }

    /// Where `replica` stands in the order of the replicas.
    pub(crate) fn place(&self, replica: ReplicaId) -> Option<usize> {
        self.clocks.place(replica)
    }

    /// The replica in that place, and its highest counter.
    pub(crate) fn at(&self, place: usize) -> Option<Dot> {
        self.clocks.at(place).map(|(id, counter)| Dot::new(id, counter))
    }

    /// Whether the dot is in the set. Logarithmic in the replicas.
    pub fn contains(&self, dot: Dot) -> bool {
        dot.counter <= self.get(dot.replica)
    }

    /// Adds a dot, which must be in the set or next to it.
    /// A search; and moves, or copies if they are shared, 48 clocks at most or, of more replicas, what was changed lately.
    pub fn insert(&mut self, dot: Dot) {
        debug_assert!(dot.counter <= self.get(dot.replica) + 1, "{dot} would leave a gap");
        self.extend_to(dot);
    }

    /// Adds a dot and all of the same replica below it. Costs what [`insert`](Self::insert) does.
    pub fn extend_to(&mut self, dot: Dot) {
        if dot.counter > self.get(dot.replica) {
            self.clocks.set(dot.replica, dot.counter);
        }
    }

    /// The union, in place. Linear in both at most.
    pub fn join(&mut self, other: &Self) {
        if self.clocks.join_beside(&other.clocks) {
            return;
        }
        let missing: SmallVec<[Dot; 16]> = other.missing_from(self).collect();
        if missing.is_empty() {
            return;
        }
        if other.includes(self) {
            self.clone_from(other);
            return;
        }
        let is_new = |dot: &&Dot| self.get(dot.replica) == 0;
        if missing.len() > INSERTED_MAX && missing.iter().filter(is_new).count() > INSERTED_MAX {
            self.clocks = Clocks::from_sorted(merge_sorted(self.clocks.iter(), other.clocks.iter()));
        } else {
            missing.into_iter().for_each(|dot| self.extend_to(dot));
        }
    }

    /// The context with other counters, none of them 0: of replicas in it, each with its place and in their order, and of others.
    pub(crate) fn with(&self, known: &[(usize, (ReplicaId, u64))], fresh: &[(ReplicaId, u64)]) -> Self {
        let mut context = self.clone();
        context.clocks.set_at(known);
        fresh.iter().for_each(|&(replica, counter)| context.clocks.set(replica, counter));
        context
    }

    /// Keeps in common with `other` what is the same in both: that costs no memory twice, and comparing it nothing. For two that
    /// will be compared often. Linear in how they differ if `other` was folded last after the two were shared; else in both.
    pub(crate) fn share(&mut self, other: &Self) {
        self.clocks.share(&other.clocks);
    }

    /// How often two contexts of many replicas were compared in full by this thread.
    #[cfg(test)]
    pub(crate) fn compared_whole() -> u64 {
        super::clocks::COMPARED_WHOLE.get()
    }

    /// How many of its counters are not as in the list that is shared.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> usize {
        self.clocks.changes().len()
    }

    /// For the context that others are kept in common with, after it has changed: they share what is here now, and how they differ
    /// from it stays little. Linear, once in a while.
    pub(crate) fn fold(&mut self) {
        self.clocks.fold();
    }

    /// The intersection. Linear in this one, times the logarithm of the other.
    pub fn meet(&self, other: &Self) -> Self {
        self.clocks.iter().map(|(id, counter)| (id, counter.min(other.get(id)))).collect()
    }

    /// Whether all of `other` is in this set. Linear in both at most; of what is shared, nothing.
    pub fn includes(&self, other: &Self) -> bool {
        other.missing_from(self).next().is_none()
    }

    /// For each replica with dots here that `other` lacks: the highest of them. Linear in both at most.
    pub fn missing_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Dot> + 'a {
        let more = self.clocks.differing(&other.clocks).where_ours_are().filter(|one| one.ours > one.theirs);
        more.map(|differing| Dot::new(differing.replica, differing.ours))
    }

    /// Where the two differ: the replica's place and counter here, and its counter there, 0 where it has none. In the order of
    /// the replicas.
    pub(crate) fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Differing> + 'a {
        self.clocks.differing(&other.clocks)
    }

    /// How many dots are here that `other` lacks. Linear in both at most.
    pub fn count_missing_from(&self, other: &Self) -> u64 {
        let differing = self.clocks.differing(&other.clocks).where_ours_are();
        let lacking = differing.map(|differing| differing.ours.saturating_sub(differing.theirs));
        lacking.fold(0, u64::saturating_add)
    }

    /// The causal comparison. Linear in both.
    pub fn compare(&self, other: &Self) -> Causality {
        match (other.includes(self), self.includes(other)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        }
    }

    /// The replicas in it and their highest counters, in the order of replica ids. A step for each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Dot> + '_ {
        self.clocks.iter().map(|(id, counter)| Dot::new(id, counter))
    }

    /// How many replicas have a dot in it. O(1).
    pub fn len(&self) -> usize {
        self.clocks.len()
    }

    /// Whether it is ⊥. O(1).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One pass over both, so that joining a context of many replicas stays linear.
fn merge_sorted(left: impl ExactSizeIterator<Item = Clock>, right: impl ExactSizeIterator<Item = Clock>) -> Vec<Clock> {
    let mut joined = Vec::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (left.peekable(), right.peekable());
    while let (Some(l), Some(r)) = (left.peek().copied(), right.peek().copied()) {
        joined.push(if l.0 <= r.0 { (l.0, if l.0 == r.0 { l.1.max(r.1) } else { l.1 }) } else { r });
        left.next_if(|_| l.0 <= r.0);
        right.next_if(|_| r.0 <= l.0);
    }
    joined.extend(left);
    joined.extend(right);
    joined
}

impl FromIterator<(ReplicaId, u64)> for CausalContext {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, u64)>>(counters: I) -> Self {
        let mut clocks: Vec<_> = counters.into_iter().filter(|c| c.1 > 0).collect();
        clocks.sort_unstable_by(|a, b| (a.0, b.1).cmp(&(b.0, a.1)));
        clocks.dedup_by_key(|c| c.0);
        Self { clocks: Clocks::from_sorted(clocks) }
    }
}

impl fmt::Debug for CausalContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clocks.iter()).finish()
    }
}

impl From<Vec<(ReplicaId, u64)>> for CausalContext {
    fn from(clocks: Vec<(ReplicaId, u64)>) -> Self {
        clocks.into_iter().collect()
    }
}

impl From<CausalContext> for Vec<(ReplicaId, u64)> {
    fn from(context: CausalContext) -> Self {
        context.clocks.iter().collect()
    }
}

impl From<CausalContext> for crdts::VClock<ReplicaId> {
    fn from(context: CausalContext) -> Self {
        context.clocks.iter().map(|(id, counter)| crdts::Dot::new(id, counter)).collect()
    }
}

impl From<crdts::VClock<ReplicaId>> for CausalContext {
    fn from(clock: crdts::VClock<ReplicaId>) -> Self {
        clock.into_iter().map(|dot| (dot.actor, dot.counter)).collect()
    }
}

impl crdts::CvRDT for CausalContext {
    type Validation = std::convert::Infallible;

    fn validate_merge(&self, _other: &Self) -> Result<(), Self::Validation> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.join(&other);
    }
}

/// Any set of dots: intervals of counters for each replica, disjoint and not adjacent (the normal form).
///
/// Costs: `insert` at the end of a replica's intervals and `contains` are logarithmic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotSet {
    intervals: BTreeMap<ReplicaId, Vec<(u64, u64)>>,
}

impl DotSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { intervals: BTreeMap::new() }
    }

    /// Adds a dot.
    pub fn insert(&mut self, dot: Dot) {
        self.insert_range(dot.replica, dot.counter, dot.counter);
    }

    /// Adds the dots `first` to `last` of a replica.
    pub fn insert_range(&mut self, replica: ReplicaId, first: u64, last: u64) {
        debug_assert!(0 < first && first <= last, "dots {first} to {last}");
        let intervals = self.intervals.entry(replica).or_default();
        let from = intervals.partition_point(|i| i.1 < first - 1);
        let to = intervals.partition_point(|i| i.0 <= last.saturating_add(1));
        let touched = &intervals[from..to];
        let first = touched.first().map_or(first, |i| i.0.min(first));
        let last = touched.last().map_or(last, |i| i.1.max(last));
        intervals.splice(from..to, [(first, last)]);
    }

    /// Whether the dot is in the set.
    pub fn contains(&self, dot: Dot) -> bool {
        self.intervals.get(&dot.replica).is_some_and(|intervals| {
            let next = intervals.partition_point(|i| i.1 < dot.counter);
            intervals.get(next).is_some_and(|i| i.0 <= dot.counter)
        })
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The dots, one by one. Costs their number, whatever the number of intervals.
    pub(crate) fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.iter().flat_map(|(id, first, last)| (first..=last).map(move |counter| Dot::new(id, counter)))
    }

    /// The intervals (first and last counter) of each replica, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + '_ {
        self.intervals.iter().flat_map(|(&id, of_id)| of_id.iter().map(move |&(first, last)| (id, first, last)))
    }
}

impl FromIterator<Dot> for DotSet {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut set = Self::new();
        dots.into_iter().for_each(|dot| set.insert(dot));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const A: u128 = 1;
    const B: u128 = 2;

    fn context(counters: &[(u128, u64)]) -> CausalContext {
        counters.iter().map(|&(id, c)| (ReplicaId::from(id), c)).collect()
    }

    #[test]
    fn join_takes_the_greater_counters() {
        let cases: &[(&[_], &[_], &[_])] = &[
            (&[], &[], &[]),
            (&[], &[(A, 3)], &[(A, 3)]),
            (&[(A, 3), (B, 1)], &[(A, 2), (B, 4)], &[(A, 3), (B, 4)]),
            (&[(B, 1)], &[(A, 2), (3, 4)], &[(A, 2), (B, 1), (3, 4)]),
        ];
        for (left, right, joined) in cases {
            let mut got = context(left);
            got.join(&context(right));
            assert_eq!(got, context(joined), "{left:?} ⊔ {right:?}");
        }
    }

    /// Contexts of many replicas that come of one another, in all the ways in which they may be kept.
    #[test]
    fn however_contexts_are_kept_a_join_takes_the_greater_counters() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let replicas: Vec<_> = (0..rng.random_range(1..300_u128)).map(|_| ReplicaId::random(&mut rng)).collect();
            let all: CausalContext = replicas.iter().map(|id| (*id, 5)).collect();
            let change = |context: &mut CausalContext, rng: &mut StdRng| {
                for _ in 0..rng.random_range(0..80) {
                    let known = rng.random_bool(0.9);
                    let id = if known { replicas[rng.random_range(0..replicas.len())] } else { ReplicaId::random(rng) };
                    context.extend_to(Dot::new(id, rng.random_range(1..9)));
                }
            };
            let (mut ours, mut theirs) = (all.clone(), all);
            for _ in 0..rng.random_range(0..4) {
                change(&mut ours, &mut rng);
                change(&mut theirs, &mut rng);
                [&mut ours, &mut theirs].into_iter().for_each(|side| {
                    if rng.random() {
                        side.fold()
                    }
                });
                if rng.random() {
                    theirs.share(&ours);
                }
            }
            let plain = |context: &CausalContext| context.iter().map(|dot| (dot.replica, dot.counter)).collect();
            let (left, right): (BTreeMap<_, u64>, BTreeMap<_, u64>) = (plain(&ours), plain(&theirs));
            let mut expected = left.clone();
            right.iter().for_each(|(id, counter)| {
                let greater = expected.entry(*id).or_default();
                *greater = (*greater).max(*counter);
            });
            let mut joined = ours.clone();
            joined.join(&theirs);
            assert_eq!(plain(&joined), expected, "seed {seed}");
            assert_eq!((joined.includes(&ours), joined.includes(&theirs)), (true, true), "seed {seed}");
            assert_eq!(ours.includes(&theirs), left == expected, "seed {seed}");
            assert_eq!((plain(&ours), plain(&theirs)), (left, right), "seed {seed}: copies are copies");

            let places = (0..ours.len()).filter(|_| rng.random_bool(0.1));
            let known: Vec<_> = places.filter_map(|place| Some((place, (ours.at(place)?.replica, 99)))).collect();
            let fresh = [(ReplicaId::random(&mut rng), 7)];
            let mut expected: BTreeMap<_, _> = plain(&ours);
            expected.extend(known.iter().map(|(_, clock)| *clock).chain(fresh));
            assert_eq!(plain(&ours.with(&known, &fresh)), expected, "seed {seed}");
        }
    }

    #[test]
    fn missing_dots_are_the_difference() {
        let (left, right) = (context(&[(A, 5), (B, 2), (3, 1)]), context(&[(A, 3), (B, 2)]));
        let missing: Vec<_> = left.missing_from(&right).collect();
        assert_eq!(missing, [Dot::new(A.into(), 5), Dot::new(3.into(), 1)]);
        assert_eq!(left.count_missing_from(&right), 3);
        assert_eq!(left.meet(&right), right);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "gap")]
    fn a_context_has_no_gaps() {
        context(&[(A, 1)]).insert(Dot::new(A.into(), 3));
    }

    #[test]
    fn dot_sets_keep_their_normal_form() {
        let dots = |counters: &[u64]| counters.iter().map(|&c| Dot::new(A.into(), c)).collect::<DotSet>();
        assert_eq!(dots(&[1, 2, 3]), dots(&[3, 1, 2, 2]));
        assert_eq!(dots(&[5, 1, 3]).iter().count(), 3);
        let mut set = dots(&[1, 9, 5]);
        set.insert_range(A.into(), 2, 8);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(A.into(), 1, 9)]);
        assert!(!set.contains(Dot::new(A.into(), 10)) && !set.contains(Dot::new(B.into(), 1)));
    }
}
