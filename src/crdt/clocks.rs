//! The clocks of a causal context, sorted by replica, in chunks that contexts share. Not responsible for what a clock
//! means: `context` is.
//!
//! A context is mostly another one and a little more: a snapshot, what a peer is known to have, what was said last on a
//! link. Among a thousand replicas each push would cost a dozen passes over all of them. So the clocks of many replicas
//! stand in chunks, by the first bits of their ids; copies share a chunk until one of them changes it, and what is shared
//! need not be compared. Ids are random, so chunks are of one size; where they are not, a chunk costs what a list costs.

use super::ReplicaId;
use std::iter::FusedIterator;
use std::sync::Arc;

/// A replica and its counter, which is not 0.
pub(super) type Clock = (ReplicaId, u64);

/// So many stand in a list: it costs less than chunks do, and most clusters are no larger.
const LIST_MAX: usize = 48;
/// In a chunk, about: copying one costs as much as copying the list of chunks among a thousand.
const CHUNK_LEN: usize = 12;

/// Equal sets are equal values: how many chunks there are follows from the number of clocks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Clocks {
    List(Vec<Clock>),
    Chunks(Arc<Chunks>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Chunks {
    len: usize,
    /// A power of two of them: in the first are the replicas whose ids begin with so many bits of 0.
    chunks: Vec<Arc<[Clock]>>,
}

/// Where two may differ: clocks of the same range of replicas, as far as they are not shared.
pub(super) struct Runs<'a> {
    /// The place of the first of ours among all of ours.
    pub(super) place: usize,
    pub(super) ours: &'a [Clock],
    pub(super) theirs: &'a [Clock],
}

/// The first bits of an id, as a number.
fn prefix(replica: ReplicaId, bits: u32) -> usize {
    let [first, second, third, fourth, ..] = *replica.as_bytes();
    (u64::from(u32::from_be_bytes([first, second, third, fourth])) >> (32 - bits)) as usize
}

fn bits_for(len: usize) -> u32 {
    if len <= LIST_MAX { 0 } else { (len / CHUNK_LEN).ilog2().min(31) }
}

fn search(clocks: &[Clock], replica: ReplicaId) -> Result<usize, usize> {
    clocks.binary_search_by(|(id, _)| id.cmp(&replica))
}

impl Clocks {
    pub(super) const fn new() -> Self {
        Self::List(Vec::new())
    }

    /// From clocks in the order of the replicas, each of which stands once. Linear.
    pub(super) fn from_sorted(clocks: Vec<Clock>) -> Self {
        let bits = bits_for(clocks.len());
        if bits == 0 {
            return Self::List(clocks);
        }
        let len = clocks.len();
        let mut rest = clocks.as_slice();
        let chunks = (0..1 << bits).map(|number| {
            let chunk = rest.split_at(rest.partition_point(|clock| prefix(clock.0, bits) <= number));
            rest = chunk.1;
            Arc::from(chunk.0)
        });
        let chunks = chunks.collect();
        Self::Chunks(Arc::new(Chunks { len, chunks }))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Chunks(chunks) => chunks.len,
        }
    }

    fn bits(&self) -> u32 {
        match self {
            Self::List(_) => 0,
            Self::Chunks(chunks) => chunks.bits(),
        }
    }

    fn chunk(&self, number: usize) -> &[Clock] {
        match self {
            Self::List(list) => list,
            Self::Chunks(chunks) => &chunks.chunks[number],
        }
    }

    /// The clocks of replicas whose ids begin with these bits; not fewer than there are chunks for.
    fn run(&self, number: usize, bits: u32) -> &[Clock] {
        let chunk = self.chunk(number >> (bits - self.bits()));
        if bits == self.bits() || chunk.is_empty() {
            return chunk;
        }
        let first = chunk.partition_point(|clock| prefix(clock.0, bits) < number);
        let end = chunk.partition_point(|clock| prefix(clock.0, bits) <= number);
        &chunk[first..end]
    }

    pub(super) fn get(&self, replica: ReplicaId) -> u64 {
        let chunk = self.chunk(prefix(replica, self.bits()));
        search(chunk, replica).map_or(0, |at| chunk[at].1)
    }

    /// Where `replica` stands in the order of the replicas. Costs the chunks before it.
    pub(super) fn place(&self, replica: ReplicaId) -> Option<usize> {
        let number = prefix(replica, self.bits());
        let before: usize = (0..number).map(|number| self.chunk(number).len()).sum();
        search(self.chunk(number), replica).ok().map(|at| before + at)
    }

    /// The clock in that place. Costs the chunks before it.
    pub(super) fn at(&self, place: usize) -> Option<Clock> {
        let mut left = place;
        for number in 0..1_usize << self.bits() {
            let chunk = self.chunk(number);
            match chunk.get(left) {
                Some(clock) => return Some(*clock),
                None => left -= chunk.len(),
            }
        }
        None
    }

    /// Sets the replica's counter, which is not 0. A replica that was not there costs the length of its chunk, and one
    /// with which there are too many for so few chunks all of them.
    pub(super) fn set(&mut self, replica: ReplicaId, counter: u64) {
        match self {
            Self::List(list) => match search(list, replica) {
                Ok(at) => list[at].1 = counter,
                Err(at) => list.insert(at, (replica, counter)),
            },
            Self::Chunks(chunks) => Arc::make_mut(chunks).set(replica, counter),
        }
        if bits_for(self.len()) != self.bits() {
            *self = Self::from_sorted(self.iter().collect());
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { clocks: self, next: 0, chunk: [].iter(), left: self.len() }
    }

    /// Where the two may differ, in the order of the replicas.
    pub(super) fn beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Runs<'a>> {
        let bits = self.bits().max(other.bits());
        let mut next = 0;
        let runs = (0..1_usize << bits).map(move |number| {
            let (ours, theirs) = (self.run(number, bits), other.run(number, bits));
            let place = next;
            next += ours.len();
            Runs { place, ours, theirs }
        });
        runs.filter(|runs| !std::ptr::eq(runs.ours, runs.theirs))
    }

    /// Shares with `other` the chunks that are the same in both.
    pub(super) fn share(&mut self, other: &Self) {
        let (Self::Chunks(ours), Self::Chunks(theirs)) = (&mut *self, other) else { return };
        if Arc::ptr_eq(ours, theirs) || ours.bits() != theirs.bits() {
            return;
        }
        let pairs = || ours.chunks.iter().zip(&theirs.chunks);
        let shareable = |(one, other): (&Arc<[Clock]>, &Arc<[Clock]>)| !Arc::ptr_eq(one, other) && one == other;
        if !pairs().any(shareable) {
            return;
        }
        let mut all = true;
        for (one, other) in Arc::make_mut(ours).chunks.iter_mut().zip(&theirs.chunks) {
            if one == other {
                *one = other.clone();
            } else {
                all = false;
            }
        }
        if all {
            *self = other.clone();
        }
    }
}

impl Chunks {
    fn bits(&self) -> u32 {
        self.chunks.len().trailing_zeros()
    }

    fn set(&mut self, replica: ReplicaId, counter: u64) {
        let number = prefix(replica, self.bits());
        let chunk = &mut self.chunks[number];
        match search(chunk, replica) {
            Ok(at) => Arc::make_mut(chunk)[at].1 = counter,
            Err(at) => {
                *chunk = [&chunk[..at], &[(replica, counter)], &chunk[at..]].concat().into();
                self.len += 1;
            }
        }
    }
}

/// The clocks, in the order of the replicas.
pub(super) struct Iter<'a> {
    clocks: &'a Clocks,
    next: usize,
    chunk: std::slice::Iter<'a, Clock>,
    left: usize,
}

impl Iterator for Iter<'_> {
    type Item = Clock;

    fn next(&mut self) -> Option<Clock> {
        loop {
            if let Some(clock) = self.chunk.next() {
                self.left -= 1;
                return Some(*clock);
            }
            if self.left == 0 {
                return None;
            }
            self.chunk = self.clocks.chunk(self.next).iter();
            self.next += 1;
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
    fn of_a_copy_that_was_changed_one_chunk_is_looked_at() {
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
