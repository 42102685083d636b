//! Counts of what a node has done since its start, for the people who run it. Not responsible for how they are told, nor
//! for anything that the node decides: nothing in it reads them.
//!
//! Plain numbers that only grow: counting takes no lock and no memory.

/// What a node counts beside what it needs itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meters {
    /// Values written here.
    pub puts: u64,
    /// Deletes written here.
    pub deletes: u64,
    /// Messages to all nodes that were sent here.
    pub broadcasts: u64,
    /// Links that came up, with both hellos,
    pub links_up: u64,
    /// and those of them that are gone, for whatever reason.
    pub links_lost: u64,
    /// Links closed because the peer broke the protocol.
    pub broken: u64,
    /// Equal contexts with unequal states: each is a bug.
    pub defects: u64,
    /// Pulls that this node has asked for.
    pub pulls: Course,
    /// Those of them that were catch-ups.
    pub catch_ups: Course,
    /// Pulls of peers.
    pub served: Course,
    /// How long finished pulls have taken.
    pub pull_micros: Histogram<12>,
    /// How long pushed writes were on their way, by the clocks of both ends: one of each push.
    pub push_micros: Histogram<12>,
    /// Members that this node has suspected,
    pub suspected: u64,
    /// and written down.
    pub written_down: u64,
    /// How often it has taken back what others said of it.
    pub refuted: u64,
}

/// How something that may be interrupted has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// How often it was begun,
    pub started: u64,
    /// and came to its end.
    pub finished: u64,
}

impl Course {
    /// How often it was cut off, when so many are under way.
    pub const fn interrupted(&self, under_way: u64) -> u64 {
        self.started.saturating_sub(self.finished).saturating_sub(under_way)
    }
}

/// How often a measure was how large: up to each of the bounds, and beyond the last.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    counts: [u64; N],
    beyond: u64,
    sum: u64,
}

/// From half a millisecond to a minute, in microseconds.
pub const MICROS: &[u64; 12] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000, 60_000_000];

impl Default for Histogram<12> {
    fn default() -> Self {
        Self::new(MICROS)
    }
}

impl<const N: usize> Histogram<N> {
    /// Empty, with these bounds in ascending order.
    pub const fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, counts: [0; N], beyond: 0, sum: 0 }
    }

    /// Counts one.
    pub fn add(&mut self, measure: u64) {
        let at = self.bounds.partition_point(|bound| *bound < measure);
        *self.counts.get_mut(at).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(measure);
    }

    /// Counts a duration, in microseconds.
    pub fn add_micros(&mut self, duration: std::time::Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Each bound with how many were no larger.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let up_to = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(up_to)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// All of them together.
    pub const fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_counts_below_each_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[10, 20]);
        [1, 10, 11, 20, 21].into_iter().for_each(|measure| histogram.add(measure));
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(10, 2), (20, 4)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 63));
    }

    #[test]
    fn what_neither_ended_nor_is_under_way_was_interrupted() {
        let course = Course { started: 5, finished: 2 };
        assert_eq!([0, 1, 3, 4].map(|under_way| course.interrupted(under_way)), [3, 2, 0, 0]);
    }
}
