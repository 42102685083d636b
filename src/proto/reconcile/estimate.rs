//! How much two sets differ, judged by the first symbols of the difference. Not responsible for being right: it decides
//! how much is asked for, and nothing else.

use crate::crdt::Symbol;

/// Beyond this the counts of the first symbols have gone round so often that they say nothing.
const ESTIMATE_MAX: f64 = 4_000_000.0;
/// The mapping keeps to its probabilities the better the later the symbol; the first are too far off to judge by.
const FIRST: usize = 3;

/// About how many elements the two sets do not share. `surplus` is by how many more there are of theirs, which both know.
///
/// A symbol's count is the sum of +1 for each of theirs in it and -1 for each of ours. Symbol `i` has each with probability
/// p = 1 / (1 + i / 2), so the count is `p * surplus` in the mean, and its variance is p (1 - p) d. The squares of what
/// the counts are off, summed up and divided by the sum of the p (1 - p), are an estimate of d whose relative error is
/// about sqrt(2 / symbols): a third to a half at 16, an eighth at 128. It is never below the surplus, which is all of it where one
/// side has nothing of its own. Counts are modulo 256: to be off by more than 128 is rare as long as p d < 1,000.
pub(super) fn estimate(difference: &[Symbol], surplus: i64) -> u64 {
    let (mut squares, mut weights) = (0.0, 0.0);
    for (i, symbol) in difference.iter().enumerate().skip(FIRST) {
        let p = 1.0 / (1.0 + i as f64 / 2.0);
        let expected = p * surplus as f64;
        let off = f64::from(symbol.count) - expected;
        let off = off - 256.0 * (off / 256.0).round();
        squares += off * off;
        weights += p * (1.0 - p);
    }
    let judged = if weights > 0.0 { (squares / weights).min(ESTIMATE_MAX) } else { 0.0 };
    let uneven = u64::from(difference.first().is_some_and(|symbol| *symbol != Symbol::default()));
    (judged.round() as u64).max(surplus.unsigned_abs()).max(uneven)
}

/// How many symbols that takes, most of the time.
pub(super) fn symbols_for(differences: u64) -> u64 {
    let differences = differences.min(1 << 40);
    // The overhead falls from 1.7 at ten to 1.35 at thousands; the root is for the spread.
    differences + differences * 35 / 100 + 2 * differences.isqrt() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::symbols_between;
    use rand::{RngExt, SeedableRng};

    /// The symbols of a difference of which so many are theirs and ours.
    fn symbols(theirs: u64, ours: u64, count: u64, seed: u64) -> Vec<Symbol> {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let mut of = |n: u64| {
            let elements: Vec<(u64, u64)> = (0..n).map(|_| (rng.random(), rng.random())).collect();
            symbols_between(elements.into_iter(), 0, count)
        };
        let (theirs, ours) = (of(theirs), of(ours));
        theirs.into_iter().zip(ours).map(|(a, b)| a.less(b)).collect()
    }

    #[test]
    fn the_estimate_is_near_enough() {
        for (theirs, ours) in [(0, 20), (10, 10), (50, 150), (500, 500), (0, 1_000), (4_000, 6_000)] {
            for (count, allowed) in [(16, 0.8), (128, 0.25), (512, 0.2)] {
                let total = theirs + ours;
                let surplus = theirs as i64 - ours as i64;
                let off = |seed| estimate(&symbols(theirs, ours, count, seed), surplus) as f64 / total as f64 - 1.0;
                let mean_square = (0..40).map(|seed| off(seed) * off(seed)).sum::<f64>() / 40.0;
                assert!(mean_square.sqrt() < allowed, "{theirs} and {ours} by {count}: {}", mean_square.sqrt());
            }
        }
    }

    #[test]
    fn no_difference_is_estimated_as_none_and_any_as_one_at_least() {
        assert_eq!(estimate(&symbols(0, 0, 16, 1), 0), 0);
        for seed in 0..100 {
            assert!(estimate(&symbols(1, 1, 16, seed), 0) >= 1, "seed {seed}");
        }
    }
}
