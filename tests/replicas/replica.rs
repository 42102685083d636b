//! Replicas and the syncs between them. Not responsible for the map's part of a sync, nor for a link: whoever steps a
//! [`Pull`] decides what happens between two steps, and whether there is a next one.

use super::look::{AUDIT_KEY, id, key};
use std::collections::{BTreeSet, VecDeque};
use tidings::crdt::{Clock, DotSet, Entries, EntriesBuilder, EntryContext, KeyList, Retention};
use tidings::{CausalContext, Delta, Dot, Key, Merged, OrMap, Section};

/// When the stories begin, in milliseconds since 1970.
pub(crate) const START: u64 = Clock::VALID_FROM_MS + 1_000_000;

/// A replica with what a node keeps beside its map: its clock, the syncs that are coming in, and what is on its disk.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) map: OrMap,
    pub(crate) now: u64,
    /// Contexts it has had, as peers may remember them.
    pub(crate) past: Vec<CausalContext>,
    incoming: Vec<u64>,
    syncs: u64,
    /// Its disk, where crashes are part of the run.
    durable: Option<Box<OrMap>>,
    crashes: u64,
}

impl Replica {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            map: OrMap::with_audit_key(id(number), AUDIT_KEY),
            now: START,
            past: Vec::new(),
            incoming: Vec::new(),
            syncs: 0,
            durable: None,
            crashes: 0,
        }
    }

    pub(crate) fn put<'k>(&mut self, key: impl Into<Key<'k>>, value: impl AsRef<[u8]>) -> Dot {
        self.map.put(key, value, self.now)
    }

    pub(crate) fn delete<'k>(&mut self, key: impl Into<Key<'k>>) -> Option<Dot> {
        self.map.delete(key, self.now)
    }

    /// The value that the key shows, as text.
    pub(crate) fn get<'k>(&self, key: impl Into<Key<'k>>) -> Option<&str> {
        self.map.get(key, self.now).map(|value| std::str::from_utf8(value).expect("stories are told in text"))
    }

    /// Drops all that is dead: retention is a tuning knob, never a matter of correctness.
    pub(crate) fn truncate(&mut self) -> usize {
        self.map.truncate(Retention { keep_ms: 0, count_max: usize::MAX, spare_ms: 0 }, self.now)
    }

    /// Drops the oldest of what is dead until so many are left.
    pub(crate) fn truncate_to(&mut self, count_max: usize) -> usize {
        self.map.truncate(Retention { keep_ms: u64::MAX, count_max, spare_ms: 0 }, self.now)
    }

    /// What it has for a replica with that context. What leaves is durable first.
    pub(crate) fn delta_since(&mut self, base: &CausalContext) -> Delta {
        self.flush();
        self.map.delta_since(base)
    }

    /// Merges a delta.
    pub(crate) fn merge(&mut self, delta: Delta) -> Merged {
        self.map.set_time(self.now);
        self.past.push(self.map.context().clone());
        self.map.merge(delta)
    }

    /// From now on only what was flushed survives a crash.
    pub(crate) fn keep_on_disk(&mut self) {
        self.durable = Some(Box::new(self.map.clone()));
    }

    pub(crate) fn flush(&mut self) {
        if self.durable.is_some() {
            self.keep_on_disk();
        }
    }

    /// The power fails, and it comes up again with what is on its disk.
    pub(crate) fn crash(&mut self) {
        if let Some(durable) = &self.durable {
            self.map = (**durable).clone();
        }
        self.crashes += 1;
        self.drop_links();
    }

    /// All that was coming in has ended.
    pub(crate) fn drop_links(&mut self) {
        self.incoming.clear();
    }
}

/// What a step of a sync came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    End(End),
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The receiver took in the snapshot.
    Done,
    /// It had less than the sender built on: what came stays, but is pending.
    Uncovered,
    /// The link broke, or one of the two crashed.
    Broken,
}

/// One sync, from its beginning to wherever it gets. A pull builds on what the receiver says that it has, a push on any
/// context that the receiver is known (or believed) to have had.
#[derive(Debug)]
pub(crate) struct Pull {
    number: u64,
    crashes: (u64, u64),
    base: CausalContext,
    snapshot: CausalContext,
    /// The list belongs to the instant of the snapshot,
    keys: VecDeque<(Section, Vec<u8>)>,
    /// and so do, in a catch-up, the sender's live dots within it, and its bound.
    alive: Option<(DotSet, CausalContext)>,
    /// How many entries go in one chunk.
    pub(crate) chunk: usize,
    on_the_way: Option<Entries>,
    all_sent: bool,
}

impl Pull {
    pub(crate) fn start(from: &mut Replica, to: &mut Replica) -> Self {
        let (base, have) = (to.map.context().clone(), to.map.have());
        Self::open(from, to, base, have)
    }

    /// A sync unasked.
    pub(crate) fn push(from: &mut Replica, to: &mut Replica, base: CausalContext) -> Self {
        Self::open(from, to, base, DotSet::new())
    }

    fn open(from: &mut Replica, to: &mut Replica, base: CausalContext, have: DotSet) -> Self {
        from.flush();
        to.past.push(to.map.context().clone());
        to.syncs += 1;
        let (number, snapshot) = (to.syncs, from.map.context().clone());
        let keys = distinct(from.map.keys_since(&base, &have));
        let frozen = || (from.map.live_within(&snapshot), from.map.truncated().clone());
        let alive = from.map.needs_catch_up(&base).then(frozen);
        to.incoming.push(number);
        let crashes = (from.crashes, to.crashes);
        Self { number, crashes, base, snapshot, keys, alive, chunk: 1, on_the_way: None, all_sent: false }
    }

    pub(crate) fn is_catch_up(&self) -> bool {
        self.alive.is_some()
    }

    /// How many entries are still to be read.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn shuffle(&mut self, dice: &mut super::Dice) {
        dice.shuffle(self.keys.make_contiguous());
    }

    /// Puts a key before the rest of the list, as one written meanwhile.
    pub(crate) fn first(&mut self, key: Key<'_>) {
        self.keys.push_front((key.section, key.bytes.to_vec()));
    }

    /// Joins the chunk that is on its way, and reads the next one.
    pub(crate) fn step(&mut self, from: &mut Replica, to: &mut Replica) -> Step {
        if (from.crashes, to.crashes) != self.crashes || !to.incoming.contains(&self.number) {
            self.close(to);
            return Step::End(End::Broken);
        }
        to.map.set_time(to.now);
        if let Some(entries) = self.on_the_way.take() {
            to.map.join_entries(&entries, |_| {});
        }
        if !self.keys.is_empty() {
            self.on_the_way = Some(self.read_chunk(from));
            return Step::More;
        }
        if !std::mem::replace(&mut self.all_sent, true) {
            return Step::More;
        }
        let end = self.finish(from, to);
        self.close(to);
        Step::End(end)
    }

    /// Each entry travels with the context it was read under.
    fn read_chunk(&mut self, from: &mut Replica) -> Entries {
        from.flush();
        let mut builder = EntriesBuilder::default();
        let count = self.chunk.min(self.keys.len());
        for (section, bytes) in self.keys.drain(..count) {
            builder.push(&from.map, Key { section, bytes: &bytes });
        }
        builder.finish()
    }

    fn finish(&self, from: &Replica, to: &mut Replica) -> End {
        if !to.map.context().includes(&self.base) {
            return End::Uncovered;
        }
        let bound = from.map.truncated();
        if let Some((alive, bound_then)) = &self.alive {
            // RULE 4: the receiver's live dots of this moment.
            let here = to.map.live_within(&self.snapshot);
            let here = here.iter().flat_map(|(id, first, last)| (first..=last).map(move |n| Dot::new(id, n)));
            let dead = here.filter(|&dot| !alive.contains(dot)).collect();
            let theirs = EntryContext { context: self.snapshot.clone(), bound: bound_then.clone() };
            to.map.conclude(&dead, theirs, bound, |_| {});
            return End::Done;
        }
        if !self.base.includes(&bound.meet(&self.snapshot)) {
            to.map.adopt_bound(bound, &self.snapshot);
        }
        to.map.incorporate(&self.snapshot);
        End::Done
    }

    /// The link breaks, or there is nothing more to do.
    pub(crate) fn close(&self, to: &mut Replica) {
        to.incoming.retain(|&number| number != self.number);
    }

    /// All that is left of it.
    pub(crate) fn run(mut self, from: &mut Replica, to: &mut Replica) -> End {
        loop {
            if let Step::End(end) = self.step(from, to) {
                return end;
            }
        }
    }

    /// As many entries as that are joined, one by one, and then the link breaks.
    pub(crate) fn run_cut_after(mut self, entries: usize, from: &mut Replica, to: &mut Replica) {
        for _ in 0..=entries {
            if self.step(from, to) != Step::More {
                return;
            }
        }
        self.close(to);
    }
}

fn distinct(mut list: KeyList) -> VecDeque<(Section, Vec<u8>)> {
    let mut seen = BTreeSet::new();
    let all = std::iter::from_fn(|| list.pop().map(|key| (key.section, key.bytes.to_vec())));
    all.filter(|key| seen.insert(key.clone())).collect()
}

/// `to` pulls all that `from` has.
pub(crate) fn pull(from: &mut Replica, to: &mut Replica) -> End {
    Pull::start(from, to).run(from, to)
}

/// `to` pulls from `from`, and the link breaks when `entries` entries have been joined.
pub(crate) fn pull_cut_after(entries: usize, from: &mut Replica, to: &mut Replica) {
    Pull::start(from, to).run_cut_after(entries, from, to);
}

/// The same with the given key sent first.
pub(crate) fn pull_in_order(first: usize, entries: usize, from: &mut Replica, to: &mut Replica) {
    let mut pull = Pull::start(from, to);
    let wanted = key(first);
    pull.keys.make_contiguous().sort_by_key(|(_, bytes)| bytes != wanted.bytes);
    pull.run_cut_after(entries, from, to);
}

/// `from` pushes what it has beyond `base`.
pub(crate) fn push(from: &mut Replica, to: &mut Replica, base: &CausalContext) -> End {
    Pull::push(from, to, base.clone()).run(from, to)
}
