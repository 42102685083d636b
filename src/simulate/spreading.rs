//! How long each write takes to be everywhere. Not responsible for what is in it.

use crate::crdt::{CausalContext, Dot, ReplicaId};
use std::collections::{BTreeMap, VecDeque};

/// A curve has so many points: at none, a fortieth, … all of the nodes.
pub const SHARES: usize = 41;
const NEVER: u64 = u64::MAX;

/// When a write had reached which share of the nodes, in microseconds after it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve(pub [u64; SHARES]);

impl Curve {
    /// When it was everywhere.
    pub fn last_us(&self) -> u64 {
        self.0[SHARES - 1]
    }

    fn new(times: &[u64]) -> Self {
        let mut times: Vec<u64> = times.iter().copied().filter(|time| *time != NEVER).collect();
        times.sort_unstable();
        let at = |point: usize| (times.len().saturating_sub(1) * point) / (SHARES - 1);
        Self(std::array::from_fn(|point| times.get(at(point)).copied().unwrap_or(0)))
    }
}

/// A write that is not everywhere.
#[derive(Clone, Debug)]
struct Open {
    counter: u64,
    made_us: u64,
    /// When each node had it.
    times: Vec<u64>,
    /// How many nodes that run have it.
    count: usize,
}

#[derive(Clone, Debug)]
struct Writer {
    /// What each node has of it.
    seen: Vec<u64>,
    open: VecDeque<Open>,
}

/// All writes, on their way or there.
#[derive(Clone, Debug)]
pub struct Spread {
    nodes: usize,
    up: usize,
    /// Those of which some write is not everywhere.
    writers: BTreeMap<ReplicaId, Writer>,
    curves: Vec<Curve>,
}

impl Spread {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes, up: nodes, writers: BTreeMap::new(), curves: Vec::new() }
    }

    /// Of the writes that are everywhere, in the order of their being so.
    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// How many writes that a running node has are not everywhere.
    pub fn open(&self) -> usize {
        self.writers.values().flat_map(|writer| &writer.open).filter(|open| open.count > 0).count()
    }

    pub(super) fn begin(&mut self, dot: Dot, made_us: u64) {
        let open = Open { counter: dot.counter, made_us, times: vec![NEVER; self.nodes], count: 0 };
        let nodes = self.nodes;
        let new = || Writer { seen: vec![0; nodes], open: VecDeque::new() };
        self.writers.entry(dot.replica).or_insert_with(new).open.push_back(open);
    }

    /// A node has incorporated all of this, and had what was `before` when this was asked last. Costs what differs.
    pub(super) fn on_context(&mut self, who: usize, before: &CausalContext, context: &CausalContext, now_us: u64) {
        let up = self.up;
        let mut done = false;
        for dot in context.missing_from(before) {
            let writer = self.writers.get_mut(&dot.replica);
            done |= writer.is_some_and(|writer| writer.on_counter(who, dot.counter, now_us, up));
        }
        if done {
            self.close();
        }
    }

    /// A node is down, and has lost what it had unless that is `kept`. What nobody else has heard of waits with it, or is
    /// gone.
    pub(super) fn forget(&mut self, who: usize, kept: bool) {
        for writer in self.writers.values_mut() {
            writer.seen[who] = 0;
            for open in writer.open.iter_mut().filter(|open| open.times[who] != NEVER) {
                open.count -= 1;
                if !kept {
                    open.times[who] = NEVER;
                }
            }
            writer.open.retain(|open| open.count > 0 || open.times.iter().any(|time| *time != NEVER));
        }
    }

    /// So many nodes are to have each write from now on.
    pub(super) fn set_up(&mut self, up: usize) {
        self.up = up;
        self.close();
    }

    fn close(&mut self) {
        let (up, curves) = (self.up, &mut self.curves);
        for writer in self.writers.values_mut() {
            writer.open.retain(|open| {
                let everywhere = open.count >= up.max(1);
                curves.extend(everywhere.then(|| Curve::new(&open.times)));
                !everywhere
            });
        }
        self.writers.retain(|_, writer| !writer.open.is_empty());
    }
}

impl Writer {
    /// Whether a write is now everywhere.
    fn on_counter(&mut self, who: usize, counter: u64, now_us: u64, up: usize) -> bool {
        let seen = std::mem::replace(&mut self.seen[who], counter);
        if seen >= counter {
            return false;
        }
        let first = self.open.partition_point(|open| open.counter <= seen);
        let mut done = false;
        for open in self.open.range_mut(first..).take_while(|open| open.counter <= counter) {
            // A node that was down, and is back with what it had, had it before.
            if open.times[who] == NEVER {
                open.times[who] = now_us - open.made_us;
            }
            open.count += 1;
            done |= open.count >= up;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(counter: u64) -> CausalContext {
        [(ReplicaId::from(1), counter), (ReplicaId::from(2), 9)].into_iter().collect()
    }

    impl Spread {
        /// A node has so much of the one writer's, and had so much before.
        fn grows(&mut self, who: usize, before: u64, counter: u64, now_us: u64) {
            self.on_context(who, &context(before), &context(counter), now_us);
        }
    }

    #[test]
    fn a_write_is_everywhere_when_the_last_node_has_it() {
        let mut spread = Spread::new(3);
        spread.begin(Dot::new(ReplicaId::from(1), 4), 100);
        spread.grows(0, 0, 4, 100);
        spread.grows(1, 0, 3, 150);
        spread.grows(2, 0, 5, 200);
        assert_eq!((spread.open(), spread.curves().len()), (1, 0));
        spread.grows(1, 3, 4, 400);
        assert_eq!(spread.open(), 0);
        let curve = spread.curves()[0];
        assert_eq!((curve.0[0], curve.0[20], curve.last_us()), (0, 100, 300));
    }

    #[test]
    fn what_takes_a_day_is_told_as_a_day() {
        const DAY_US: u64 = 86_400_000_000;
        let mut spread = Spread::new(2);
        spread.begin(Dot::new(ReplicaId::from(1), 4), 0);
        spread.grows(0, 0, 4, 0);
        spread.grows(1, 0, 4, DAY_US);
        assert_eq!(spread.curves()[0].last_us(), DAY_US);
    }

    #[test]
    fn who_is_down_is_not_waited_for_and_who_forgets_is() {
        let mut spread = Spread::new(3);
        spread.begin(Dot::new(ReplicaId::from(1), 1), 0);
        spread.grows(0, 0, 1, 0);
        spread.grows(1, 0, 1, 10);
        spread.forget(1, false);
        spread.grows(2, 0, 1, 20);
        assert_eq!(spread.open(), 1);
        spread.set_up(2);
        assert_eq!((spread.open(), spread.curves()[0].last_us()), (0, 20));
    }

    #[test]
    fn what_only_its_writer_had_waits_on_its_disk() {
        let mut spread = Spread::new(2);
        spread.begin(Dot::new(ReplicaId::from(1), 1), 0);
        spread.grows(0, 0, 1, 0);
        spread.forget(0, true);
        spread.set_up(1);
        assert_eq!((spread.open(), spread.curves().len()), (0, 0));
        spread.set_up(2);
        spread.grows(0, 0, 1, 500);
        assert_eq!(spread.open(), 1);
        spread.grows(1, 0, 1, 600);
        assert_eq!((spread.open(), spread.curves()[0].0[0], spread.curves()[0].last_us()), (0, 0, 600));
    }

    #[test]
    fn what_only_its_writer_had_is_gone_with_it() {
        let mut spread = Spread::new(2);
        spread.begin(Dot::new(ReplicaId::from(1), 1), 0);
        spread.grows(0, 0, 1, 0);
        spread.forget(0, false);
        assert_eq!((spread.open(), spread.curves().len()), (0, 0));
    }
}
