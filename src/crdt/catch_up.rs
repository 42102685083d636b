//! What a catch-up needs of the map: its live dots within a context as elements and symbols, as they are now or as they
//! were at an instant, and taking away what died elsewhere. Not responsible for comparing: `proto::reconcile` is.

use super::delta::{Entries, EntriesBuilder};
use super::departures::Handle;
use super::join::{Change, Received};
use super::pending::EntryContext;
use super::stored::LocalDot;
use super::symbols::{Sketch, symbols_between};
use super::{CausalContext, Dot, DotSet, Elements, KeyList, OrMap, ReplicaId, Symbol};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The live dots of a map within its context, as they were at one instant.
#[derive(Debug)]
pub(crate) struct FrozenDots {
    /// The map's context then.
    within: CausalContext,
    sketch: Sketch,
    count: u64,
    departed: Handle,
}

impl FrozenDots {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Within which context they are.
    pub(crate) fn within(&self) -> &CausalContext {
        &self.within
    }

    /// Their first symbols.
    pub(crate) fn sketch(&self) -> &[Symbol] {
        self.sketch.symbols()
    }
}

/// What there is to compare.
impl OrMap {
    /// The live dots within `R` as they are now, for as long as the answer is kept. Costs what is pending, and the index's
    /// blocks.
    pub(crate) fn freeze(&mut self) -> FrozenDots {
        let within = self.context.clone();
        let (sketch, count) = (self.sketch_within(&within), self.live_count_within(&within));
        FrozenDots { within, sketch, count, departed: self.departures.hold() }
    }

    /// Dots as numbers, and back.
    pub(crate) fn elements(&self) -> &Elements {
        &self.index.elements
    }

    /// The first symbols of the live dots within a context. Costs the live dots beyond it.
    pub(crate) fn sketch_within(&self, context: &CausalContext) -> Sketch {
        let mut sketch = self.sketch.clone();
        for (number, (id, log)) in (0..).zip(&self.index.logs) {
            for (counter, _) in log.after(context.get(*id)) {
                let (element, hash) = self.hashed(LocalDot { replica: number, counter });
                sketch.remove(element, hash);
            }
        }
        sketch
    }

    /// How many live dots are within a context. Costs a step for each block of the index.
    pub(crate) fn live_count_within(&self, context: &CausalContext) -> u64 {
        self.index.logs.iter().map(|(id, log)| (log.len() - log.count_after(context.get(*id))) as u64).sum()
    }

    /// The symbols from `first` to before `end` of the live dots within a context. Costs them all.
    pub(crate) fn symbols_within(&self, context: &CausalContext, first: u64, end: u64) -> Vec<Symbol> {
        symbols_between(self.live_local(context).map(|dot| self.hashed(dot)), first, end)
    }

    /// The same of what was live at an instant. `None` if too much has gone since: it has to be begun again.
    pub(crate) fn frozen_symbols(&self, frozen: &FrozenDots, first: u64, end: u64) -> Option<Vec<Symbol>> {
        let departed = self.departed(frozen)?;
        let dots = self.live_local(&frozen.within).chain(departed);
        Some(symbols_between(dots.map(|dot| self.hashed(dot)), first, end))
    }

    /// What was live at an instant, as intervals. `None` as above.
    pub(crate) fn frozen_intervals(&self, frozen: &FrozenDots) -> Option<DotSet> {
        let mut dots = self.live_within(&frozen.within);
        self.departed(frozen)?.into_iter().for_each(|dot| dots.insert(self.index.dot(dot)));
        Some(dots)
    }

    /// How many of those that were live at an instant have gone. `None` as above.
    pub(crate) fn departed_count(&self, frozen: &FrozenDots) -> Option<usize> {
        self.departures.since(&frozen.departed).map(<[_]>::len)
    }

    /// What has gone since, and was there then.
    fn departed(&self, frozen: &FrozenDots) -> Option<BTreeSet<LocalDot>> {
        let gone = self.departures.since(&frozen.departed)?.iter().copied();
        let was_there = |dot: &LocalDot| frozen.within.contains(self.index.dot(*dot));
        Some(gone.filter(|dot| was_there(dot) && self.index.slot_of(*dot).is_none()).collect())
    }

    /// The live dots within a context, as intervals, replica by replica in the order they were met. A block of the index
    /// without gaps costs one step.
    pub(crate) fn live_intervals(&self, within: &CausalContext) -> impl Iterator<Item = (ReplicaId, u64, u64)> {
        self.index.logs.iter().flat_map(|(id, log)| {
            let last = within.get(*id);
            log.intervals(last).map(|(first, last)| (*id, first, last))
        })
    }

    /// The live dots within a context. Costs a step for each block of the index without gaps, and for each dot in others.
    pub fn live_within(&self, context: &CausalContext) -> DotSet {
        let mut dots = DotSet::new();
        self.live_intervals(context).for_each(|(id, first, last)| dots.insert_range(id, first, last));
        dots
    }

    /// The live dot within a context that has this element.
    pub(crate) fn live_dot_of(&self, element: u64, within: &CausalContext) -> Option<Dot> {
        self.elements().dots_of(element).find(|&dot| within.contains(dot) && self.is_live(dot))
    }

    /// The keys that show a value by one of these dots.
    pub(crate) fn keys_showing(&self, dots: &DotSet, now: u64) -> KeyList {
        let mut keys = KeyList::new();
        for dot in dots.dots() {
            let slot = self.index.slot(dot);
            let shows = |slot: &u32| self.reading(*slot, now).is_some_and(|reading| reading.dot == dot);
            slot.filter(shows).into_iter().for_each(|slot| keys.push(self.table.key(slot)));
        }
        keys
    }

    fn live_local(&self, within: &CausalContext) -> impl Iterator<Item = LocalDot> {
        (0..).zip(&self.index.logs).flat_map(|(replica, (id, log))| {
            let last = within.get(*id);
            log.after(0)
                .map(|(counter, _)| counter)
                .take_while(move |&counter| counter <= last)
                .map(move |counter| LocalDot { replica, counter })
        })
    }

    fn hashed(&self, dot: LocalDot) -> (u64, u64) {
        let element = self.index.elements.of_local(dot);
        (element, self.index.elements.key().of_live(element))
    }
}

/// What is done about it.
impl OrMap {
    /// Takes away dots that died at a replica with the given context and bound, as if it had sent each key's entry without
    /// them: the same join, and RULE 1 with it. `settled` as in `join_before`.
    pub(super) fn take_away(
        &mut self,
        dead: &DotSet,
        theirs: EntryContext,
        settled: &CausalContext,
        report: impl FnMut(Change),
    ) -> Received {
        let mut builder = EntriesBuilder::default();
        let mut listed = BTreeSet::new();
        for (id, first, last) in dead.iter() {
            let Some(number) = self.index.find(id) else { continue };
            let dots = self.index.logs[number as usize].1.after(first - 1);
            for (_, slot) in dots.take_while(|dot| dot.0 <= last) {
                if listed.insert(slot) {
                    builder.push(self, self.table.key(slot));
                }
            }
        }
        let mut entries = builder.finish();
        entries.contexts = vec![Arc::new(theirs)];
        retain_registers(&mut entries, |dot| !dead.contains(dot));
        self.join_before(&entries, settled, report)
    }

    /// The end of a catch-up, in one step: takes away what died at the sender, whose context was `snapshot` and bound
    /// `bound` when its live dots were looked at; takes over `last_bound`, the bound at its end (RULE 5); takes in the
    /// snapshot.
    ///
    /// RULE 4: `dead` is what is live here within the snapshot *now*, less what was live there. Whatever came in between by
    /// another sync is in it.
    ///
    /// Linear in `dead`, and in the replicas.
    pub fn conclude(
        &mut self,
        dead: &DotSet,
        theirs: EntryContext,
        last_bound: &CausalContext,
        report: impl FnMut(Change),
    ) -> Received {
        let snapshot = theirs.context.clone();
        let received = self.take_away(dead, theirs, &snapshot, report);
        self.adopt_bound(last_bound, &snapshot);
        self.incorporate(&snapshot);
        received
    }

    /// The live dots within `snapshot` that are not among `live`. Costs the live dots.
    pub(crate) fn dots_dead_at(&self, snapshot: &CausalContext, live: &DotSet) -> DotSet {
        let dots = self.live_local(snapshot).map(|dot| self.index.dot(dot));
        dots.filter(|&dot| !live.contains(dot)).collect()
    }
}

fn retain_registers(entries: &mut Entries, keep: impl Fn(Dot) -> bool) {
    let (mut start, mut kept) = (0, Vec::with_capacity(entries.registers.len()));
    for row in &mut entries.rows {
        let of_row = &entries.registers[start..row.registers_end];
        start = row.registers_end;
        kept.extend(of_row.iter().filter(|register| keep(register.dot)).cloned());
        (row.registers_end, row.context) = (kept.len(), 0);
    }
    entries.registers = kept;
}
