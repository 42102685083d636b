//! The index from dot to entry, for one replica id. Not responsible for what the entries hold.
//!
//! Live dots in the order of their counters, in blocks, so that a new dot goes to the end, an overwritten one is taken
//! out, and "all dots after this one" are found at a cost in their number alone. 8 bytes a dot where blocks are full.

/// Where an entry is kept.
pub(super) type Slot = u32;

const BLOCK_DOTS_MAX: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct DotLog {
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
struct Block {
    base: u64,
    /// Counter beyond the base, and slot; never empty.
    dots: Vec<(u32, Slot)>,
}

impl Block {
    fn new(counter: u64, slot: Slot) -> Self {
        let mut dots = Vec::with_capacity(4);
        dots.push((0, slot));
        Self { base: counter, dots }
    }

    fn offset(&self, counter: u64) -> Option<u32> {
        counter.checked_sub(self.base).and_then(|offset| u32::try_from(offset).ok())
    }

    fn last(&self) -> u64 {
        self.base + u64::from(self.dots.last().map_or(0, |d| d.0))
    }
}

impl DotLog {
    /// A log of dots that are in the order of their counters, each of which stands once.
    pub(super) fn from_sorted(dots: &[(u64, Slot)]) -> Self {
        let mut blocks: Vec<Block> = Vec::with_capacity(dots.len() / BLOCK_DOTS_MAX + 1);
        for &(counter, slot) in dots {
            let room = blocks.last_mut().filter(|block| block.dots.len() < BLOCK_DOTS_MAX);
            match room.and_then(|block| block.offset(counter).map(|offset| (block, offset))) {
                Some((block, offset)) => block.dots.push((offset, slot)),
                None => blocks.push(Block::new(counter, slot)),
            }
        }
        Self { blocks }
    }

    /// The block in which `counter` is, if it is anywhere.
    fn block_of(&self, counter: u64) -> Option<usize> {
        // New dots go to the end.
        match self.blocks.last() {
            Some(last) if last.base <= counter => Some(self.blocks.len() - 1),
            _ => self.blocks.partition_point(|b| b.base <= counter).checked_sub(1),
        }
    }

    pub(super) fn insert(&mut self, counter: u64, slot: Slot) {
        let Some(i) = self.block_of(counter) else {
            return self.insert_block(0, counter, slot);
        };
        let block = &mut self.blocks[i];
        let Some(offset) = block.offset(counter) else {
            return self.insert_block(i + 1, counter, slot);
        };
        let is_last = block.dots.last().is_some_and(|last| last.0 < offset);
        let at = if is_last { block.dots.len() } else { block.dots.partition_point(|d| d.0 < offset) };
        debug_assert!(block.dots.get(at).is_none_or(|d| d.0 != offset), "a dot lives in one entry");
        if block.dots.len() < BLOCK_DOTS_MAX {
            block.dots.insert(at, (offset, slot));
        } else if at == block.dots.len() {
            self.insert_block(i + 1, counter, slot);
        } else {
            self.split(i);
            self.insert(counter, slot);
        }
    }

    fn insert_block(&mut self, at: usize, counter: u64, slot: Slot) {
        self.blocks.insert(at, Block::new(counter, slot));
    }

    fn split(&mut self, i: usize) {
        let block = &mut self.blocks[i];
        let tail = block.dots.split_off(BLOCK_DOTS_MAX / 2);
        let shift = tail[0].0;
        let dots = tail.into_iter().map(|(offset, slot)| (offset - shift, slot)).collect();
        let base = block.base + u64::from(shift);
        self.blocks.insert(i + 1, Block { base, dots });
    }

    pub(super) fn remove(&mut self, counter: u64) -> Option<Slot> {
        let i = self.block_of(counter)?;
        let block = &mut self.blocks[i];
        let offset = block.offset(counter)?;
        let at = block.dots.binary_search_by_key(&offset, |d| d.0).ok()?;
        let (_, slot) = block.dots.remove(at);
        if block.dots.is_empty() {
            self.blocks.remove(i);
            self.give_back();
        } else {
            self.fuse(i);
            self.fuse(i.saturating_sub(1));
        }
        Some(slot)
    }

    /// Puts a thinned-out block together with its successor, so that blocks stay filled.
    fn fuse(&mut self, i: usize) {
        let [block, next, ..] = &self.blocks[i..] else { return };
        let together = block.dots.len() + next.dots.len();
        let Some(shift) = block.offset(next.last()).and(block.offset(next.base)) else { return };
        if together > BLOCK_DOTS_MAX * 3 / 4 {
            return;
        }
        let next = self.blocks.remove(i + 1);
        let block = &mut self.blocks[i];
        block.dots.reserve_exact(next.dots.len());
        block.dots.extend(next.dots.into_iter().map(|(offset, slot)| (offset + shift, slot)));
        self.give_back();
    }

    fn give_back(&mut self) {
        if self.blocks.capacity() > 8 && self.blocks.len() < self.blocks.capacity() / 4 {
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
    }

    pub(super) fn get(&self, counter: u64) -> Option<Slot> {
        let block = &self.blocks[self.block_of(counter)?];
        // A dot that is asked for because it is new is beyond the end.
        let offset = block.offset(counter).filter(|_| counter <= block.last())?;
        block.dots.binary_search_by_key(&offset, |d| d.0).ok().map(|at| block.dots[at].1)
    }

    /// All live dots with a counter above `counter`, in order. Costs a search and their number.
    pub(super) fn after(&self, counter: u64) -> impl Iterator<Item = (u64, Slot)> + '_ {
        let (first, skip) = self.start_after(counter);
        let dots = self.blocks[first..]
            .iter()
            .flat_map(|b| b.dots.iter().map(|&(offset, slot)| (b.base + u64::from(offset), slot)));
        dots.skip(skip)
    }

    /// How many live dots have a counter above `counter`. Costs a search, and a step for each block of them.
    pub(super) fn count_after(&self, counter: u64) -> usize {
        let (first, skip) = self.start_after(counter);
        self.blocks[first..].iter().map(|b| b.dots.len()).sum::<usize>() - skip
    }

    /// The live dots up to `last`, as intervals: first and last counter. A block without gaps costs one step.
    pub(super) fn intervals(&self, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let pieces = self.blocks.iter().flat_map(|block| {
            let whole = block.last() - block.base + 1 == block.dots.len() as u64;
            let count = if whole { 1 } else { block.dots.len() };
            (0..count).map(move |i| {
                let counter = block.base + u64::from(block.dots[i].0);
                (counter, if whole { block.last() } else { counter })
            })
        });
        let within = pieces.take_while(move |piece| piece.0 <= last).map(move |(from, to)| (from, to.min(last)));
        let mut within = within.peekable();
        std::iter::from_fn(move || {
            let (from, mut to) = within.next()?;
            while let Some(next) = within.next_if(|next| next.0 == to + 1) {
                to = next.1;
            }
            Some((from, to))
        })
    }

    /// How many live dots there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.dots.len()).sum()
    }

    /// The block in which dots above `counter` begin, and how many of it are not above.
    fn start_after(&self, counter: u64) -> (usize, usize) {
        let first = self.block_of(counter).unwrap_or(0);
        let skip = self.blocks.get(first).map_or(0, |b| b.dots.partition_point(|d| b.base + u64::from(d.0) <= counter));
        (first, skip)
    }

    /// Renumbers the slots, after the entries have moved.
    pub(super) fn renumber(&mut self, moved: impl Fn(Slot) -> Slot) {
        self.blocks.iter_mut().flat_map(|b| &mut b.dots).for_each(|d| d.1 = moved(d.1));
        self.blocks.iter_mut().for_each(|b| b.dots.shrink_to_fit());
        self.blocks.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_sorted_map_under_any_order_of_inserts_and_removes() {
        for seed in 0..40 {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let span = [50, 3_000, u64::MAX - 1][rng.random_range(0..3)];
            let (mut log, mut plain) = (DotLog::default(), BTreeMap::new());
            for step in 0..4_000_u32 {
                let counter = rng.random_range(1..=span);
                if rng.random_bool(0.6) {
                    plain.entry(counter).or_insert_with(|| {
                        log.insert(counter, step);
                        step
                    });
                } else {
                    assert_eq!(log.remove(counter), plain.remove(&counter), "seed {seed}");
                }
                let from = rng.random_range(0..=span);
                assert_eq!(log.get(from), plain.get(&from).copied());
                let after: Vec<_> = log.after(from).take(5).collect();
                let expected: Vec<_> = plain.range(from + 1..).take(5).map(|(&c, &s)| (c, s)).collect();
                assert_eq!(after, expected, "seed {seed} after {from}");
                assert_eq!(log.count_after(from), plain.range(from + 1..).count(), "seed {seed} after {from}");
            }
            assert!(log.after(0).map(|d| d.0).eq(plain.keys().copied()), "seed {seed}");
            let end = rng.random_range(0..=span);
            let mut intervals: Vec<(u64, u64)> = Vec::new();
            for &counter in plain.range(..=end).map(|(counter, _)| counter) {
                match intervals.last_mut().filter(|interval| interval.1 + 1 == counter) {
                    Some(interval) => interval.1 = counter,
                    None => intervals.push((counter, counter)),
                }
            }
            assert!(log.intervals(end).eq(intervals), "seed {seed} up to {end}");
            assert_eq!(log.len(), plain.len());
            assert_eq!(log.blocks.is_empty(), plain.is_empty());
            let sorted: Vec<_> = plain.iter().map(|(&counter, &slot)| (counter, slot)).collect();
            assert!(DotLog::from_sorted(&sorted).after(0).eq(sorted), "seed {seed}");
        }
    }

    #[test]
    fn blocks_stay_filled_when_most_dots_are_overwritten() {
        let mut log = DotLog::default();
        (1..=100_000).for_each(|counter| log.insert(counter, 0));
        (1..=100_000).filter(|counter| counter % 50 != 0).for_each(|counter| assert!(log.remove(counter).is_some()));
        let capacity: usize = log.blocks.iter().map(|b| b.dots.capacity()).sum();
        assert_eq!(log.after(0).count(), 2_000);
        assert!(capacity < 2_000 * 8, "{capacity} places for 2,000 dots");
    }
}
