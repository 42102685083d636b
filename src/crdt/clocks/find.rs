//! Where a replica stands in a sorted list. Not responsible for what else is there.
//!
//! Ids are drawn at random, so its place can be guessed to within a few (interpolation search: Perl, Itai, Avni, CACM 1978): of a
//! list that no cache holds, two or three lines are fetched instead of eight. If ids are not at random, the guess is
//! wrong, and the search no worse than by halves.

use super::ReplicaId;

/// Fewer are in a few lines, however they are searched.
const GUESSED_MIN: usize = 12;

/// Its place; if it is not there, that of the first after it. Logarithmic.
pub(super) fn find<T>(all: &[T], replica: ReplicaId, id: impl Fn(&T) -> ReplicaId) -> Result<usize, usize> {
    let from = if all.len() < GUESSED_MIN { 0..all.len() } else { around(all.len(), replica, |at| id(&all[at])) };
    let place = from.start + all[from].partition_point(|one| id(one) < replica);
    if all.get(place).is_some_and(|one| id(one) == replica) { Ok(place) } else { Err(place) }
}

/// The first that is not before it is in this range or right after it, found from a guess by steps that double.
fn around(len: usize, replica: ReplicaId, id: impl Fn(usize) -> ReplicaId) -> std::ops::Range<usize> {
    let part_of_len = |distance: i128| (distance * len as i128) >> 64;
    let guess = part_of_len(i128::from(replica.position()));
    let off = part_of_len(i128::from(replica.position()) - i128::from(id(guess as usize).position()));
    let at = (guess + off).clamp(0, len as i128 - 1) as usize;
    let mut step = 2;
    if id(at) < replica {
        let mut start = at + 1;
        while start + step < len && id(start + step) < replica {
            start += step + 1;
            step *= 2;
        }
        start..len.min(start + step)
    } else {
        let mut end = at;
        while end > step && id(end - step) >= replica {
            end -= step;
            step *= 2;
        }
        end.saturating_sub(step)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::cell::Cell;

    #[test]
    fn each_is_found_and_each_that_is_not_there_has_its_place() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            // Drawn from all ids, from a few, from a corner at one end or the other, or one after the other.
            let number = |rng: &mut StdRng, n: u128| match seed % 5 {
                0 => rng.random(),
                1 => rng.random_range(0..300),
                2 => u128::MAX - rng.random_range(0..1 << 70),
                3 => rng.random::<u128>() >> rng.random_range(0..128),
                _ => n << 64,
            };
            let mut ids: Vec<ReplicaId> =
                (0..rng.random_range(0..300)).map(|n| ReplicaId::from(number(&mut rng, n))).collect();
            ids.sort();
            ids.dedup();
            let others: Vec<_> = (0..50).map(|n| ReplicaId::from(number(&mut rng, 7 * n))).collect();
            let ends = [0, 1, u128::MAX].map(ReplicaId::from);
            for replica in ids.iter().chain(&others).chain(&ends) {
                assert_eq!(find(&ids, *replica, |id| *id), ids.binary_search(replica), "seed {seed}: {replica}");
            }
        }
    }

    #[test]
    fn among_many_a_few_are_looked_at_and_never_many() {
        let looked = |ids: &[ReplicaId]| {
            let count = Cell::new(0);
            let id = |id: &ReplicaId| {
                count.set(count.get() + 1);
                *id
            };
            let mut most = 0;
            for replica in ids {
                let before = count.get();
                assert!(find(ids, *replica, id).is_ok());
                most = most.max(count.get() - before);
            }
            (count.get() as f64 / ids.len() as f64, most)
        };
        let mut rng = StdRng::seed_from_u64(1);
        let mut ids: Vec<_> = (0..10_000).map(|_| ReplicaId::random(&mut rng)).collect();
        ids.sort();
        let (mean, most) = looked(&ids);
        assert!(mean < 10.0 && most < 30, "{mean}, {most}");
        // Half of them in one corner: the worst that a guess can be.
        let skewed: Vec<_> =
            (0..10_000).map(|n| ReplicaId::from(if n < 5_000 { n } else { u128::MAX - 10_000 + n })).collect();
        let (_, most) = looked(&skewed);
        assert!(most < 40, "{most}");
    }
}
