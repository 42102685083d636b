//! Durations in little room, however many there are. Not responsible for where they come from.

use std::collections::BTreeMap;
use std::time::Duration;

/// A power of two is divided into so many steps: no value is off by more than 1 %.
const STEPS_BITS: u32 = 7;

/// How often each duration came, in microseconds, to a hundredth.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: BTreeMap<u64, u64>,
    pub(super) count: u64,
    max_us: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        *self.counts.entry(rounded(us)).or_default() += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn plus(mut self, other: Self) -> Self {
        other.counts.into_iter().for_each(|(us, count)| *self.counts.entry(us).or_default() += count);
        Self { counts: self.counts, count: self.count + other.count, max_us: self.max_us.max(other.max_us) }
    }

    /// What so many of a hundred stay below, in milliseconds; nothing of nothing.
    pub(super) fn percentile_ms(&self, percent: f64) -> Option<f64> {
        let rank = (self.count as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |(us, count): (&u64, &u64)| {
            seen += count;
            (seen >= rank).then_some(*us)
        };
        self.counts.iter().find_map(reached).map(|us| us.min(self.max_us) as f64 / 1_000.0)
    }

    pub(super) fn max_ms(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max_us as f64 / 1_000.0)
    }
}

/// Up to the end of its step.
fn rounded(us: u64) -> u64 {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    us | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|us| histogram.add(Duration::from_micros(us)));
        for (percent, exact) in [(50.0, 5.0), (90.0, 9.0), (99.0, 9.9), (100.0, 10.0)] {
            let found = histogram.percentile_ms(percent).expect("some");
            assert!((exact..=exact * 1.01).contains(&found), "{percent}: {found}");
        }
        assert_eq!(histogram.max_ms(), Some(10.0));
        assert!(histogram.counts.len() < 1_200, "{}", histogram.counts.len());
    }

    #[test]
    fn sums_are_those_of_all_and_nothing_has_no_percentile() {
        let one = |ms| {
            let mut histogram = Histogram::default();
            histogram.add(Duration::from_millis(ms));
            histogram
        };
        let both = one(1).plus(one(100));
        assert_eq!((both.count, both.percentile_ms(50.0).map(f64::round), both.max_ms()), (2, Some(1.0), Some(100.0)));
        assert_eq!((Histogram::default().percentile_ms(50.0), Histogram::default().max_ms()), (None, None));
    }
}
