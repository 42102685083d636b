//! The clocks of a causal context, sorted by replica, in a tree that contexts share. Not responsible for what a clock
//! means: `context` is.
//!
//! A context is mostly another one and a little more: a snapshot, what a peer is known to have, what was said last on a
//! link. Among a thousand replicas each push would cost a dozen passes over all of them. So the clocks of many replicas are
//! the leaves of a tree, by the first bits of their ids; copies share all of it until one of them changes a clock, which
//! costs the way to it, and what is shared need not be compared. Ids are random, so leaves are of one size; where they are
//! not, a leaf costs what a list costs.
//!
//! Replicas come seldom, and their counters change with every write: a leaf has the two apart, so that one that changed
//! shares its ids with what it was, and two such are compared by their counters alone.

use super::ReplicaId;
use smallvec::SmallVec;
use std::iter::FusedIterator;
use std::sync::Arc;

/// A replica and its counter, which is not 0.
pub(super) type Clock = (ReplicaId, u64);

/// So many stand in one leaf: it costs less than a tree does, and most clusters are no larger.
const LIST_MAX: usize = 48;
/// In a leaf of a tree there are no more on average. Copying them costs less than another level would.
const LEAF_MAX: usize = 32;
/// Each level takes so many bits of an id,
const LEVEL_BITS: u32 = 3;
/// and so a branch has so many children.
const WIDTH: usize = 1 << LEVEL_BITS;
/// With so many levels the bits that are looked at are used up.
const LEVELS_MAX: u32 = 10;
/// So many counters are compared at once.
const STRIDE: usize = 8;

/// Equal sets are equal values: how many levels there are follows from the number of clocks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Clocks {
    /// `None` if there are none.
    root: Option<Node>,
}

/// The clocks of the replicas whose ids begin with the same bits.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Node {
    Leaf(Leaf),
    Branch(Arc<Branch>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Leaf {
    ids: Arc<[ReplicaId]>,
    /// Of the replica in the same place.
    counters: Arc<[u64]>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Branch {
    /// How many clocks each child has.
    lens: [usize; WIDTH],
    children: [Node; WIDTH],
}

/// A replica whose counter is not the same in two contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differing {
    pub(crate) replica: ReplicaId,
    /// Where it stands in the first, if it does.
    pub(crate) place: Option<usize>,
    /// Its counter in the first, 0 if it has none,
    pub(crate) ours: u64,
    /// and in the second.
    pub(crate) theirs: u64,
}

/// The number of the child on a level, counted from the root, below which a replica is.
fn child_at(replica: ReplicaId, level: u32) -> usize {
    let [first, second, third, fourth, ..] = *replica.as_bytes();
    let bits = u32::from_be_bytes([first, second, third, fourth]);
    (bits >> (u32::BITS - LEVEL_BITS * (level + 1))) as usize % WIDTH
}

fn levels_for(len: usize) -> u32 {
    if len <= LIST_MAX {
        return 0;
    }
    (1..LEVELS_MAX).find(|levels| len <= LEAF_MAX << (LEVEL_BITS * levels)).unwrap_or(LEVELS_MAX)
}

impl Clocks {
    pub(super) const fn new() -> Self {
        Self { root: None }
    }

    /// From clocks in the order of the replicas, each of which stands once. Linear.
    pub(super) fn from_sorted(clocks: impl IntoIterator<Item = Clock>) -> Self {
        let (ids, counters): (Vec<_>, Vec<_>) = clocks.into_iter().unzip();
        let all = Run { ids: &ids, counters: &counters };
        Self { root: (!ids.is_empty()).then(|| Node::from_sorted(all, 0, levels_for(ids.len()))) }
    }

    pub(super) fn len(&self) -> usize {
        self.root().len()
    }

    fn root(&self) -> Below<'_> {
        self.root.as_ref().map_or(Below::Clocks(Run { ids: &[], counters: &[] }), Node::below)
    }

    pub(super) fn get(&self, replica: ReplicaId) -> u64 {
        let (mut below, mut level) = (self.root(), 0);
        loop {
            match below {
                Below::Clocks(run) => return run.ids.binary_search(&replica).map_or(0, |at| run.counters[at]),
                Below::Branch(branch) => below = branch.children[child_at(replica, level)].below(),
            }
            level += 1;
        }
    }

    /// Where `replica` stands in the order of the replicas.
    pub(super) fn place(&self, replica: ReplicaId) -> Option<usize> {
        let (mut below, mut level, mut before) = (self.root(), 0, 0);
        loop {
            match below {
                Below::Clocks(run) => return run.ids.binary_search(&replica).ok().map(|at| before + at),
                Below::Branch(branch) => {
                    let child = child_at(replica, level);
                    before += branch.lens[..child].iter().sum::<usize>();
                    below = branch.children[child].below();
                }
            }
            level += 1;
        }
    }

    /// The clock in that place.
    pub(super) fn at(&self, place: usize) -> Option<Clock> {
        let (mut below, mut left) = (self.root(), place);
        loop {
            match below {
                Below::Clocks(run) => return Some((*run.ids.get(left)?, *run.counters.get(left)?)),
                Below::Branch(branch) => {
                    let mut child = 0;
                    while left >= *branch.lens.get(child)? {
                        left -= branch.lens[child];
                        child += 1;
                    }
                    below = branch.children[child].below();
                }
            }
        }
    }

    /// Sets the replica's counter, which is not 0. Costs the way to it; and with a replica that was not there, and with
    /// which there are too many for so few levels, all of them.
    pub(super) fn set(&mut self, replica: ReplicaId, counter: u64) {
        let Some(root) = &mut self.root else {
            *self = Self::from_sorted([(replica, counter)]);
            return;
        };
        if root.set(replica, counter, 0) {
            let len = self.len();
            if levels_for(len) != levels_for(len - 1) {
                *self = Self::from_sorted(self.iter());
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { below: SmallVec::from_slice(&[self.root()]), run: Run { ids: &[], counters: &[] }, left: self.len() }
    }

    /// Where the two differ, in the order of the replicas.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> Differences<'a> {
        let (ours, theirs) = (self.root(), other.root());
        let pair = (!ours.is(theirs)).then_some((ours, theirs, 0, 0));
        Differences { pairs: pair.into_iter().collect(), only_ours: false, beside: None }
    }

    /// Shares with `other` what is the same in both.
    pub(super) fn share(&mut self, other: &Self) {
        let (Some(ours), Some(theirs)) = (&mut self.root, &other.root) else { return };
        if let Some(shared) = ours.shared_with(theirs) {
            *ours = shared;
        }
    }
}

impl Node {
    fn from_sorted(clocks: Run<'_>, level: u32, levels: u32) -> Self {
        if level == levels {
            return Self::Leaf(Leaf { ids: clocks.ids.into(), counters: clocks.counters.into() });
        }
        let parts: [Run<'_>; WIDTH] = std::array::from_fn(|child| clocks.part(level, child));
        let children = parts.map(|part| Self::from_sorted(part, level + 1, levels));
        Self::Branch(Arc::new(Branch { lens: parts.map(|part| part.ids.len()), children }))
    }

    fn below(&self) -> Below<'_> {
        match self {
            Self::Leaf(leaf) => Below::Clocks(Run { ids: &leaf.ids, counters: &leaf.counters }),
            Self::Branch(branch) => Below::Branch(branch),
        }
    }

    /// Whether the replica was not there.
    fn set(&mut self, replica: ReplicaId, counter: u64, level: u32) -> bool {
        match self {
            Self::Leaf(leaf) => match leaf.ids.binary_search(&replica) {
                Ok(at) => {
                    Arc::make_mut(&mut leaf.counters)[at] = counter;
                    false
                }
                Err(at) => {
                    leaf.ids = [&leaf.ids[..at], &[replica], &leaf.ids[at..]].concat().into();
                    leaf.counters = [&leaf.counters[..at], &[counter], &leaf.counters[at..]].concat().into();
                    true
                }
            },
            Self::Branch(branch) => {
                let (branch, child) = (Arc::make_mut(branch), child_at(replica, level));
                let is_new = branch.children[child].set(replica, counter, level + 1);
                branch.lens[child] += usize::from(is_new);
                is_new
            }
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(ours), Self::Leaf(theirs)) => {
                Arc::ptr_eq(&ours.counters, &theirs.counters) && Arc::ptr_eq(&ours.ids, &theirs.ids)
            }
            (Self::Branch(ours), Self::Branch(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// The same, with what is equal in the other taken from there; `None` if nothing is that is not shared already.
    fn shared_with(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            _ if self.is(other) => None,
            (Self::Branch(ours), Self::Branch(theirs)) => {
                let pairs = || ours.children.iter().zip(&theirs.children);
                let shared: [Option<Self>; WIDTH] = {
                    let mut pairs = pairs();
                    std::array::from_fn(|_| pairs.next().and_then(|(one, other)| one.shared_with(other)))
                };
                let mut after =
                    pairs().zip(&shared).map(|((one, other), shared)| shared.as_ref().unwrap_or(one).is(other));
                if after.all(|is_one| is_one) {
                    return Some(other.clone());
                }
                if shared.iter().all(Option::is_none) {
                    return None;
                }
                let mut branch = Branch::clone(ours);
                let changed = branch.children.iter_mut().zip(shared);
                changed.for_each(|(child, shared)| shared.into_iter().for_each(|shared| *child = shared));
                Some(Self::Branch(Arc::new(branch)))
            }
            (Self::Leaf(ours), Self::Leaf(theirs)) => ours.shared_with(theirs).map(Self::Leaf),
            _ => None,
        }
    }
}

impl Leaf {
    fn shared_with(&self, other: &Self) -> Option<Self> {
        let ids_shared = Arc::ptr_eq(&self.ids, &other.ids);
        match (ids_shared || self.ids == other.ids, self.counters == other.counters) {
            (true, true) => Some(other.clone()),
            (true, false) if !ids_shared => Some(Self { ids: other.ids.clone(), counters: self.counters.clone() }),
            _ => None,
        }
    }
}

/// Some clocks of one leaf, or all.
#[derive(Clone, Copy)]
struct Run<'a> {
    ids: &'a [ReplicaId],
    counters: &'a [u64],
}

impl<'a> Run<'a> {
    fn first(self) -> Option<Clock> {
        Some((*self.ids.first()?, *self.counters.first()?))
    }

    /// Without the first ones.
    fn after(self, count: usize) -> Self {
        Self { ids: &self.ids[count..], counters: &self.counters[count..] }
    }

    /// Those of one child on a level, of clocks that are all below one node there.
    fn part(self, level: u32, child: usize) -> Self {
        let first = self.ids.partition_point(|id| child_at(*id, level) < child);
        let end = self.ids.partition_point(|id| child_at(*id, level) <= child);
        Self { ids: &self.ids[first..end], counters: &self.counters[first..end] }
    }
}

/// What is below some point of a tree, or of a leaf as if it were one.
#[derive(Clone, Copy)]
enum Below<'a> {
    Clocks(Run<'a>),
    Branch(&'a Branch),
}

impl<'a> Below<'a> {
    fn len(self) -> usize {
        match self {
            Self::Clocks(run) => run.ids.len(),
            Self::Branch(branch) => branch.lens.iter().sum(),
        }
    }

    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Clocks(ours), Self::Clocks(theirs)) => {
                std::ptr::eq(ours.counters, theirs.counters) && std::ptr::eq(ours.ids, theirs.ids)
            }
            (Self::Branch(ours), Self::Branch(theirs)) => std::ptr::eq(ours, theirs),
            _ => false,
        }
    }

    fn child(self, level: u32, child: usize) -> Self {
        match self {
            Self::Clocks(run) => Self::Clocks(run.part(level, child)),
            Self::Branch(branch) => branch.children[child].below(),
        }
    }

    /// How many clocks a child has.
    fn len_of(self, level: u32, child: usize) -> usize {
        match self {
            Self::Clocks(run) => run.part(level, child).ids.len(),
            Self::Branch(branch) => branch.lens[child],
        }
    }
}

/// What is below the same point in each of two, on what level that is, and the place of the first clock of ours there.
type Pair<'a> = (Below<'a>, Below<'a>, u32, usize);

/// Where two differ.
pub(super) struct Differences<'a> {
    /// The next to look at is the last.
    pairs: SmallVec<[Pair<'a>; 2 * WIDTH]>,
    /// Where there are none of ours is passed over.
    only_ours: bool,
    /// The leaves that are being looked at.
    beside: Option<Beside<'a>>,
}

impl Differences<'_> {
    /// Only where there are clocks of ours, and perhaps others.
    pub(super) fn where_ours_are(self) -> Self {
        Self { only_ours: true, ..self }
    }
}

impl Iterator for Differences<'_> {
    type Item = Differing;

    fn next(&mut self) -> Option<Differing> {
        loop {
            if let Some(differing) = self.beside.as_mut().and_then(Beside::next) {
                return Some(differing);
            }
            self.beside = None;
            match self.pairs.pop()? {
                (ours, ..) if self.only_ours && ours.len() == 0 => {}
                (Below::Clocks(ours), Below::Clocks(theirs), _, place) => {
                    let same_ids = std::ptr::eq(ours.ids, theirs.ids) || ours.ids == theirs.ids;
                    self.beside = Some(Beside { ours, theirs, place, same_ids });
                }
                (ours, theirs, level, place) => {
                    let mut place = place + ours.len();
                    for child in (0..WIDTH).rev() {
                        place -= ours.len_of(level, child);
                        let (ours, theirs) = (ours.child(level, child), theirs.child(level, child));
                        if !ours.is(theirs) {
                            self.pairs.push((ours, theirs, level + 1, place));
                        }
                    }
                }
            }
        }
    }
}

/// What is left to look at of two leaves.
struct Beside<'a> {
    ours: Run<'a>,
    theirs: Run<'a>,
    /// Of the first of ours.
    place: usize,
    /// They have the same replicas.
    same_ids: bool,
}

impl Beside<'_> {
    fn next(&mut self) -> Option<Differing> {
        if self.same_ids {
            let same = first_differing(self.ours.counters, self.theirs.counters);
            self.skip(same, same);
        }
        loop {
            let (ours, theirs) = (self.ours.first(), self.theirs.first());
            let replica = ours.into_iter().chain(theirs).map(|clock| clock.0).min()?;
            let counter = |clock: Option<Clock>| clock.filter(|clock| clock.0 == replica).map_or(0, |clock| clock.1);
            let (ours, theirs) = (counter(ours), counter(theirs));
            let place = (ours > 0).then_some(self.place);
            self.skip(usize::from(ours > 0), usize::from(theirs > 0));
            if ours != theirs {
                return Some(Differing { replica, place, ours, theirs });
            }
        }
    }

    fn skip(&mut self, ours: usize, theirs: usize) {
        (self.ours, self.theirs, self.place) = (self.ours.after(ours), self.theirs.after(theirs), self.place + ours);
    }
}

/// Where two lists of counters of the same replicas first differ; their length if they do not.
fn first_differing(ours: &[u64], theirs: &[u64]) -> usize {
    let strides = ours.as_chunks::<STRIDE>().0.iter().zip(theirs.as_chunks::<STRIDE>().0);
    let same = STRIDE * strides.take_while(|(ours, theirs)| ours == theirs).count();
    same + ours[same..].iter().zip(&theirs[same..]).take_while(|(ours, theirs)| ours == theirs).count()
}

/// The clocks, in the order of the replicas.
pub(super) struct Iter<'a> {
    /// What is to come after `run`, the next at the end.
    below: SmallVec<[Below<'a>; 2 * WIDTH]>,
    run: Run<'a>,
    left: usize,
}

impl Iterator for Iter<'_> {
    type Item = Clock;

    fn next(&mut self) -> Option<Clock> {
        loop {
            if let Some(clock) = self.run.first() {
                (self.run, self.left) = (self.run.after(1), self.left - 1);
                return Some(clock);
            }
            match self.below.pop()? {
                Below::Clocks(run) => self.run = run,
                Below::Branch(branch) => self.below.extend(branch.children.iter().rev().map(Node::below)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::{BTreeMap, BTreeSet};

    fn sorted(plain: &BTreeMap<ReplicaId, u64>) -> Vec<Clock> {
        plain.iter().map(|(id, counter)| (*id, *counter)).collect()
    }

    /// Ids as they are, and ids that all begin alike.
    fn id(rng: &mut StdRng, alike: bool) -> ReplicaId {
        if alike { ReplicaId::from(rng.random_range(0..3_000_u128)) } else { ReplicaId::random(rng) }
    }

    #[test]
    fn however_it_came_about_it_is_the_list_in_order() {
        for seed in 0..40 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut clocks, mut plain) = (Clocks::new(), BTreeMap::new());
            for step in 0..rng.random_range(0..1_500) {
                let known = plain.keys().nth(step % 7).copied().filter(|_| rng.random_bool(0.3));
                let replica = known.unwrap_or_else(|| id(&mut rng, seed % 2 == 0));
                let counter = rng.random_range(1..9);
                clocks.set(replica, counter);
                plain.insert(replica, counter);
            }
            assert!(clocks.iter().eq(sorted(&plain)), "seed {seed}");
            assert!(clocks == Clocks::from_sorted(sorted(&plain)), "seed {seed}: equal sets are equal values");
            assert_eq!(clocks.iter().len(), plain.len());
            for (place, (replica, counter)) in plain.iter().enumerate().step_by(5) {
                assert_eq!((clocks.place(*replica), clocks.get(*replica)), (Some(place), *counter));
                assert_eq!(clocks.at(place), Some((*replica, *counter)));
            }
            let stranger = ReplicaId::from(u128::MAX);
            assert_eq!((clocks.place(stranger), clocks.get(stranger), clocks.at(plain.len())), (None, 0, None));
        }
    }

    #[test]
    fn what_two_do_not_share_is_all_in_which_they_differ() {
        for seed in 0..40 {
            let mut rng = StdRng::seed_from_u64(seed);
            let alike = seed % 2 == 0;
            let count = rng.random_range(0..1_000);
            let common: BTreeMap<_, _> = (0..count).map(|_| (id(&mut rng, alike), 1)).collect();
            let ours = Clocks::from_sorted(sorted(&common));
            // The same replicas, shared or not; or as many of which one is another.
            let mut theirs = match seed % 3 {
                0 => ours.clone(),
                1 => Clocks::from_sorted(sorted(&common)),
                _ => {
                    let mut other = common.clone();
                    other.pop_first();
                    other.insert(id(&mut rng, alike), 1);
                    Clocks::from_sorted(sorted(&other))
                }
            };
            let changed = rng.random_range(0..20);
            (0..changed).for_each(|_| theirs.set(id(&mut rng, alike), 2));
            if rng.random() {
                theirs.share(&ours);
            }
            let before = theirs.clone();
            theirs.share(&ours);
            assert!(theirs == before, "seed {seed}: sharing changes nothing");
            let counters = |side: &Clocks| side.iter().collect::<BTreeMap<_, _>>();
            let (left, right) = (counters(&ours), counters(&theirs));
            let ids: BTreeSet<_> = left.keys().chain(right.keys()).copied().collect();
            let differing = |replica: ReplicaId| {
                let [ours, theirs] = [&left, &right].map(|side| side.get(&replica).copied().unwrap_or_default());
                let place = left.keys().position(|id| *id == replica);
                (ours != theirs).then_some(Differing { replica, place, ours, theirs })
            };
            let expected: Vec<_> = ids.into_iter().filter_map(differing).collect();
            assert_eq!(ours.differing(&theirs).collect::<Vec<_>>(), expected, "seed {seed}");
            let more: Vec<_> = expected.into_iter().filter(|differing| differing.ours > differing.theirs).collect();
            let found = ours.differing(&theirs).where_ours_are().filter(|differing| differing.ours > differing.theirs);
            assert_eq!(found.collect::<Vec<_>>(), more, "seed {seed}");
        }
    }

    /// This is what it is for: what one has changed of a thousand is found in a few, and in those by the counters alone.
    #[test]
    fn of_a_copy_that_was_changed_one_leaf_is_looked_at() {
        let mut rng = StdRng::seed_from_u64(1);
        let all: BTreeMap<_, _> = (0..1_000).map(|_| (ReplicaId::random(&mut rng), 1)).collect();
        let ours = Clocks::from_sorted(sorted(&all));
        let leaves = |one: &Clocks, other: &Clocks| {
            let (mut differences, mut leaves) = (one.differing(other), Vec::new());
            while differences.next().is_some() {
                let beside = differences.beside.as_ref().expect("it was found there");
                leaves.push((std::ptr::eq(beside.ours.ids, beside.theirs.ids), beside.ours.ids.len() < 100));
            }
            leaves
        };
        let mut theirs = ours.clone();
        assert_eq!(leaves(&ours, &theirs), []);
        let changed = *all.keys().nth(500).expect("there are a thousand");
        theirs.set(changed, 2);
        assert_eq!(leaves(&ours, &theirs), [(true, true)]);
        let mut apart = Clocks::from_sorted(sorted(&all));
        assert_eq!(leaves(&apart, &theirs), [(false, true)]);
        apart.share(&theirs);
        assert_eq!(leaves(&apart, &theirs), [(true, true)]);
        assert!(apart == ours);
        apart.set(changed, 2);
        apart.share(&theirs);
        assert!(apart.root().is(theirs.root()));
    }

    #[test]
    fn the_first_that_differs_is_found_wherever_it_stands() {
        for len in 0..30_usize {
            let ours: Vec<u64> = (0..len as u64).collect();
            assert_eq!(first_differing(&ours, &ours), len);
            for at in 0..len {
                let mut theirs = ours.clone();
                theirs[at..].fill(99);
                assert_eq!(first_differing(&ours, &theirs), at, "of {len}");
            }
        }
    }
}
