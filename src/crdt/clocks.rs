//! The clocks of a causal context, sorted by replica, in a tree that contexts share. Not responsible for what a clock
//! means: `context` is.
//!
//! A context is mostly another one and a little more: a snapshot, what a peer is known to have, what was said last on a
//! link. Among a thousand replicas each push would cost a dozen passes over all of them. So the clocks of many replicas are
//! the leaves of a tree, by the first bits of their ids; copies share all of it until one of them changes a clock, which
//! costs the way to it, and what is shared need not be compared. Ids are random, so leaves are of one size; where they are
//! not, a leaf costs what a list costs.

use super::ReplicaId;
use smallvec::SmallVec;
use std::iter::FusedIterator;
use std::sync::Arc;

/// A replica and its counter, which is not 0.
pub(super) type Clock = (ReplicaId, u64);

/// So many stand in a list: it costs less than a tree does, and most clusters are no larger.
const LIST_MAX: usize = 48;
/// In a leaf of a tree there are no more on average. Copying them costs less than another level would.
const LEAF_MAX: usize = 32;
/// Each level takes so many bits of an id,
const LEVEL_BITS: u32 = 3;
/// and so a branch has so many children.
const WIDTH: usize = 1 << LEVEL_BITS;
/// With so many levels the bits that are looked at are used up.
const LEVELS_MAX: u32 = 10;

/// Equal sets are equal values: how many levels there are follows from the number of clocks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Clocks {
    List(Vec<Clock>),
    Tree(Node),
}

/// The clocks of the replicas whose ids begin with the same bits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Leaf(Arc<[Clock]>),
    Branch(Arc<Branch>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Branch {
    /// How many clocks each child has.
    lens: [usize; WIDTH],
    children: [Node; WIDTH],
}

/// Where two may differ: clocks of the same range of replicas, as far as they are not shared.
pub(super) struct Runs<'a> {
    /// The place of the first of ours among all of ours.
    pub(super) place: usize,
    pub(super) ours: &'a [Clock],
    pub(super) theirs: &'a [Clock],
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

fn search(clocks: &[Clock], replica: ReplicaId) -> Result<usize, usize> {
    clocks.binary_search_by(|(id, _)| id.cmp(&replica))
}

/// Those of one child on a level, of clocks that are in order and of one node there.
fn part(clocks: &[Clock], level: u32, child: usize) -> &[Clock] {
    let first = clocks.partition_point(|clock| child_at(clock.0, level) < child);
    let end = clocks.partition_point(|clock| child_at(clock.0, level) <= child);
    &clocks[first..end]
}

impl Clocks {
    pub(super) const fn new() -> Self {
        Self::List(Vec::new())
    }

    /// From clocks in the order of the replicas, each of which stands once. Linear.
    pub(super) fn from_sorted(clocks: Vec<Clock>) -> Self {
        match levels_for(clocks.len()) {
            0 => Self::List(clocks),
            levels => Self::Tree(Node::from_sorted(&clocks, 0, levels)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.root().len()
    }

    fn root(&self) -> Below<'_> {
        match self {
            Self::List(list) => Below::Clocks(list),
            Self::Tree(node) => node.below(),
        }
    }

    pub(super) fn get(&self, replica: ReplicaId) -> u64 {
        let (mut below, mut level) = (self.root(), 0);
        loop {
            match below {
                Below::Clocks(clocks) => return search(clocks, replica).map_or(0, |at| clocks[at].1),
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
                Below::Clocks(clocks) => return search(clocks, replica).ok().map(|at| before + at),
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
                Below::Clocks(clocks) => return clocks.get(left).copied(),
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
        let before = self.len();
        match self {
            Self::List(list) => match search(list, replica) {
                Ok(at) => list[at].1 = counter,
                Err(at) => list.insert(at, (replica, counter)),
            },
            Self::Tree(node) => _ = node.set(replica, counter, 0),
        }
        if levels_for(self.len()) != levels_for(before) {
            *self = Self::from_sorted(self.iter().collect());
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { below: SmallVec::from_slice(&[self.root()]), clocks: [].iter(), left: self.len() }
    }

    /// Where the two may differ, in the order of the replicas.
    pub(super) fn beside<'a>(&'a self, other: &'a Self) -> Beside<'a> {
        let (ours, theirs) = (self.root(), other.root());
        let pair = (!ours.is(theirs)).then_some((ours, theirs, 0, 0));
        Beside { pairs: pair.into_iter().collect(), only_ours: false }
    }

    /// Shares with `other` what is the same in both.
    pub(super) fn share(&mut self, other: &Self) {
        let (Self::Tree(ours), Self::Tree(theirs)) = (&mut *self, other) else { return };
        if let Some(shared) = ours.shared_with(theirs) {
            *ours = shared;
        }
    }
}

impl Node {
    fn from_sorted(clocks: &[Clock], level: u32, levels: u32) -> Self {
        if level == levels {
            return Self::Leaf(clocks.into());
        }
        let parts: [&[Clock]; WIDTH] = std::array::from_fn(|child| part(clocks, level, child));
        let children = parts.map(|part| Self::from_sorted(part, level + 1, levels));
        Self::Branch(Arc::new(Branch { lens: parts.map(<[Clock]>::len), children }))
    }

    fn below(&self) -> Below<'_> {
        match self {
            Self::Leaf(clocks) => Below::Clocks(clocks),
            Self::Branch(branch) => Below::Branch(branch),
        }
    }

    /// Whether the replica was not there.
    fn set(&mut self, replica: ReplicaId, counter: u64, level: u32) -> bool {
        match self {
            Self::Leaf(clocks) => match search(clocks, replica) {
                Ok(at) => {
                    Arc::make_mut(clocks)[at].1 = counter;
                    false
                }
                Err(at) => {
                    *clocks = [&clocks[..at], &[(replica, counter)], &clocks[at..]].concat().into();
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
            (Self::Leaf(ours), Self::Leaf(theirs)) => Arc::ptr_eq(ours, theirs),
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
            (Self::Leaf(ours), Self::Leaf(theirs)) => (ours == theirs).then(|| other.clone()),
            _ => None,
        }
    }
}

/// What is below some point of a tree, or of a list as if it were one.
#[derive(Clone, Copy)]
enum Below<'a> {
    Clocks(&'a [Clock]),
    Branch(&'a Branch),
}

impl<'a> Below<'a> {
    fn len(self) -> usize {
        match self {
            Self::Clocks(clocks) => clocks.len(),
            Self::Branch(branch) => branch.lens.iter().sum(),
        }
    }

    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Clocks(ours), Self::Clocks(theirs)) => std::ptr::eq(ours, theirs),
            (Self::Branch(ours), Self::Branch(theirs)) => std::ptr::eq(ours, theirs),
            _ => false,
        }
    }

    fn child(self, level: u32, child: usize) -> Self {
        match self {
            Self::Clocks(clocks) => Self::Clocks(part(clocks, level, child)),
            Self::Branch(branch) => branch.children[child].below(),
        }
    }

    /// How many clocks a child has.
    fn len_of(self, level: u32, child: usize) -> usize {
        match self {
            Self::Clocks(clocks) => part(clocks, level, child).len(),
            Self::Branch(branch) => branch.lens[child],
        }
    }
}

/// What is below the same point in each of two, on what level that is, and the place of the first clock of ours there.
type Pair<'a> = (Below<'a>, Below<'a>, u32, usize);

/// The runs where two may differ.
pub(super) struct Beside<'a> {
    /// The next to look at is the last.
    pairs: SmallVec<[Pair<'a>; 2 * WIDTH]>,
    /// Where there are none of ours is passed over.
    only_ours: bool,
}

impl Beside<'_> {
    /// Only where there are clocks of ours.
    pub(super) fn where_ours_are(self) -> Self {
        Self { only_ours: true, ..self }
    }
}

impl<'a> Iterator for Beside<'a> {
    type Item = Runs<'a>;

    fn next(&mut self) -> Option<Runs<'a>> {
        loop {
            match self.pairs.pop()? {
                (ours, ..) if self.only_ours && ours.len() == 0 => {}
                (Below::Clocks(ours), Below::Clocks(theirs), _, place) => return Some(Runs { place, ours, theirs }),
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

/// The clocks, in the order of the replicas.
pub(super) struct Iter<'a> {
    /// What is to come after `clocks`, the next at the end.
    below: SmallVec<[Below<'a>; 2 * WIDTH]>,
    clocks: std::slice::Iter<'a, Clock>,
    left: usize,
}

impl Iterator for Iter<'_> {
    type Item = Clock;

    fn next(&mut self) -> Option<Clock> {
        loop {
            if let Some(clock) = self.clocks.next() {
                self.left -= 1;
                return Some(*clock);
            }
            match self.below.pop()? {
                Below::Clocks(clocks) => self.clocks = clocks.iter(),
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
    use std::collections::BTreeMap;

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
            let mut theirs = if rng.random() { ours.clone() } else { Clocks::from_sorted(sorted(&common)) };
            let changed = rng.random_range(0..20);
            (0..changed).for_each(|_| theirs.set(id(&mut rng, alike), 2));
            if rng.random() {
                theirs.share(&ours);
            }
            let before = theirs.clone();
            theirs.share(&ours);
            assert!(theirs == before, "seed {seed}: sharing changes nothing");
            let all =
                |side: fn(&Runs<'_>) -> Vec<Clock>| ours.beside(&theirs).flat_map(|r| side(&r)).collect::<Vec<_>>();
            let (left, right) = (all(|runs| runs.ours.to_vec()), all(|runs| runs.theirs.to_vec()));
            let differs = |clock: &Clock, other: &Clocks| other.get(clock.0) != clock.1;
            assert!(ours.iter().filter(|clock| differs(clock, &theirs)).all(|clock| left.contains(&clock)), "{seed}");
            assert!(theirs.iter().filter(|clock| differs(clock, &ours)).all(|clock| right.contains(&clock)), "{seed}");
            for Runs { place, ours: run, .. } in ours.beside(&theirs) {
                assert!(run.first().is_none_or(|first| ours.place(first.0) == Some(place)), "seed {seed}");
            }
        }
    }

    /// This is what it is for: what one has changed of a thousand is found in a few.
    #[test]
    fn of_a_copy_that_was_changed_one_leaf_is_looked_at() {
        let mut rng = StdRng::seed_from_u64(1);
        let all: BTreeMap<_, _> = (0..1_000).map(|_| (ReplicaId::random(&mut rng), 1)).collect();
        let ours = Clocks::from_sorted(sorted(&all));
        let mut theirs = ours.clone();
        assert_eq!(ours.beside(&theirs).count(), 0);
        let changed = *all.keys().nth(500).expect("there are a thousand");
        theirs.set(changed, 2);
        assert_eq!(ours.beside(&theirs).count(), 1);
        assert!(ours.beside(&theirs).all(|runs| runs.ours.len() < 100));
        let mut apart = Clocks::from_sorted(sorted(&all));
        apart.share(&theirs);
        assert_eq!(apart.beside(&theirs).count(), 1);
        assert!(apart == ours);
        apart.set(changed, 2);
        apart.share(&theirs);
        assert_eq!(apart.beside(&theirs).count(), 0);
    }
}
