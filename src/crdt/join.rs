//! Joining what others send. Not responsible for the order in which it comes: any order will do.
//!
//! The join of one entry, given the sender's live dots `L'` and the context `C'` they were read under, where `C` is the
//! replica's context `R` with the key's pending context:
//!
//! ```text
//! (L ∩ L') ∪ (L \ C') ∪ (L' \ C)
//! ```
//!
//! In words: both have it; or we have it and they have not heard of it; or they have it and we have not heard of it. A
//! dot that one side has heard of and does not have was removed there. Values are never compared: the winner among
//! concurrent ones is chosen when reading, because a join of winners only is not associative.

use super::delta::{Entries, EntryView};
use super::dot_log::Slot;
use super::pending::EntryContext;
use super::stored::{LocalDot, RegisterRef, Stored};
use super::table::Place;
use super::{CausalContext, Dot, Key, OrMap, Reading, Section};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// A key whose visible value changed by a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which half of the key space.
    pub section: Section,
    /// The key.
    pub key: Bytes,
    /// What it showed before.
    pub old: Option<Bytes>,
    /// What it shows now.
    pub new: Option<Bytes>,
    /// The first of the writes, in the order of dots, that were unknown before; `None` if something was only taken away.
    pub dot: Option<Dot>,
}

/// What became of the dots received, for a measure of redundancy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Live now, and unknown before.
    pub new: u64,
    /// Live before and after.
    pub known: u64,
    /// Superseded here already.
    pub void: u64,
}

/// A context as it was received, and what follows from it while `R` stays as it is.
struct Incoming {
    theirs: Arc<EntryContext>,
    /// RULES 2 and 6: what keys keep until `R` covers it; `None` if it does already.
    pending: Option<Arc<EntryContext>>,
    /// Whether `R` covers it as soon as these entries are joined: keys need not keep it for that long.
    settles: bool,
    /// Whether a key would have kept it otherwise.
    settled: bool,
}

impl OrMap {
    /// Joins entries, each under its context, and tells `report` what changed to the eye. Cost: their number.
    ///
    /// `R` is not touched: it may take in the sender's snapshot only after the last entry, see
    /// [`incorporate`](Self::incorporate). A replica whose `R` ran ahead of its data would take what is missing for
    /// deleted, and delete it everywhere. Entries that came by wire go through [`resolve`](Self::resolve) before.
    pub fn join_entries(&mut self, entries: &Entries, report: impl FnMut(Change)) -> Received {
        let context = self.context.clone();
        self.join_before(entries, &context, report)
    }

    /// The same, where `R` will be `covered` right after: what that settles need not be kept before.
    pub(super) fn join_before(
        &mut self,
        entries: &Entries,
        covered: &CausalContext,
        mut report: impl FnMut(Change),
    ) -> Received {
        let mut received = Received::default();
        debug_assert!(entries.is_whole(), "entries are resolved before they are joined");
        if !entries.is_whole() {
            return received;
        }
        let incoming = |context| self.incoming(context, covered);
        let mut contexts: Vec<_> = entries.contexts().iter().map(incoming).collect();
        self.table.reserve(entries.keys_with_registers());
        let (mut ahead, mut rest) = (entries.iter(), entries.iter());
        loop {
            // Nearly all of a look-up is waiting for memory: a few of them wait together.
            let places: SmallVec<[Place; 16]> =
                ahead.by_ref().take(16).map(|entry| self.table.place(entry.key)).collect();
            if places.is_empty() {
                break;
            }
            for (place, entry) in places.into_iter().zip(&mut rest) {
                let place = self.table.place_again(entry.key, place);
                received.add(self.join_entry(entry, place, &mut contexts[entry.context], &mut report));
            }
        }
        // RULE 6: the bound that a pending context came under joins T as that settles.
        let settled = contexts.iter().filter(|incoming| incoming.settled);
        settled.flat_map(|incoming| &incoming.pending).for_each(|pending| self.take_over_bound(&pending.bound));
        received
    }

    fn incoming(&self, theirs: &Arc<EntryContext>, covered: &CausalContext) -> Incoming {
        let pending = (!self.context.includes(&theirs.context)).then(|| {
            let within = theirs.bound.meet(&theirs.context);
            let bound = within.missing_from(&self.context).map(|dot| (dot.replica, dot.counter)).collect();
            Arc::new(EntryContext { context: theirs.context.clone(), bound })
        });
        Incoming { theirs: theirs.clone(), pending, settles: covered.includes(&theirs.context), settled: false }
    }

    fn join_entry(
        &mut self,
        entry: EntryView<'_>,
        place: Place,
        incoming: &mut Incoming,
        report: &mut impl FnMut(Change),
    ) -> Received {
        let now = self.clock.now_ms();
        let slot = place.slot;
        let dropped = slot.map_or_else(Vec::new, |slot| self.removed_by(slot, &entry, &incoming.theirs));
        let (added, received) = self.added_by(slot, &entry);
        if !dropped.is_empty() || !added.is_empty() {
            self.touch(place, entry.key);
            let before =
                slot.and_then(|slot| self.reading(slot, now)).map(|r| (r.dot, Bytes::copy_from_slice(r.value)));
            let added: SmallVec<[_; 1]> = added.into_iter().map(|i| self.localize(&entry, i)).collect();
            let first = added.iter().map(|&(dot, _)| self.index.dot(dot)).min();
            let after = self.rewrite(place, entry.key, &dropped, &added);
            self.report_change(entry, before, after.and_then(|slot| self.reading(slot, now)), first, report);
        }
        if let Some(pending) = &incoming.pending {
            if incoming.settles && self.pending.get(entry.key).is_none() {
                incoming.settled = true;
            } else {
                self.touch(place, entry.key);
                self.pending.add(entry.key, pending);
            }
        }
        received
    }

    /// Our dots that go: `L ∩ C' \ L'`, but for what the sender may only have truncated.
    fn removed_by(&mut self, slot: Slot, entry: &EntryView<'_>, theirs: &EntryContext) -> Vec<LocalDot> {
        let mut dropped = Vec::new();
        let mut expired = Vec::new();
        for stored in self.table.registers(slot) {
            let dot = self.index.dot(stored.dot());
            if !theirs.context.contains(dot) || entry.dots().any(|d| d == dot) {
                continue;
            }
            // RULE 1: what the sender's T covers is perhaps absent there only because it was truncated. A tombstone
            // stays: without it a third replica's older value would come back through us.
            let perhaps_truncated = theirs.bound.contains(dot);
            if perhaps_truncated && stored.is_tombstone() {
                continue;
            }
            // RULE 1, the other half: what would expire goes, and is then truncated here too.
            if let Some(deadline) = stored.register().deadline.filter(|_| perhaps_truncated) {
                expired.push((dot, deadline));
            }
            dropped.push(stored.dot());
        }
        for (dot, deadline) in expired {
            self.truncated.extend_to(dot);
            if entry.key.section == Section::Usr {
                self.forgotten_ms = self.forgotten_ms.max(deadline);
            }
        }
        dropped
    }

    /// Their dots that come: `L' \ C`. Indices into the entry's registers.
    fn added_by(&self, slot: Option<Slot>, entry: &EntryView<'_>) -> (SmallVec<[usize; 1]>, Received) {
        let pending = self.pending.get(entry.key);
        let (mut added, mut received) = (SmallVec::new(), Received::default());
        let is_live = |dot| slot.is_some_and(|slot| self.table.registers(slot).any(|r| self.index.dot(r.dot()) == dot));
        for (i, dot) in entry.dots().enumerate() {
            // A dot that lives under another key: no replica has written that, and a map keeps each dot once.
            let elsewhere = || self.index.slot(dot).is_some();
            if is_live(dot) {
                received.known += 1;
            } else if self.context.contains(dot) || pending.is_some_and(|p| p.context.contains(dot)) || elsewhere() {
                received.void += 1;
            } else {
                added.push(i);
                received.new += 1;
            }
        }
        (added, received)
    }

    fn localize<'a>(&mut self, entry: &EntryView<'a>, i: usize) -> (LocalDot, RegisterRef<'a>) {
        let (dot, register) = entry.register(i);
        self.clock.observe(register.timestamp);
        (LocalDot { replica: self.index.number(dot.replica), counter: dot.counter }, register)
    }

    fn report_change(
        &self,
        entry: EntryView<'_>,
        before: Option<(Dot, Bytes)>,
        after: Option<Reading<'_>>,
        dot: Option<Dot>,
        report: &mut impl FnMut(Change),
    ) {
        if before.as_ref().map(|b| b.0) == after.map(|a| a.dot) {
            return;
        }
        report(Change {
            section: entry.key.section,
            key: entry.key_bytes(),
            old: before.map(|b| b.1),
            new: after.map(|a| entry.value_of(a.dot).unwrap_or_else(|| Bytes::copy_from_slice(a.value))),
            dot,
        });
    }
}

/// Changing what an entry holds.
impl OrMap {
    /// The entry without the dots `dropped` and with the registers `added`. Answers where it is, if anything is left.
    fn rewrite(
        &mut self,
        place: Place,
        key: Key<'_>,
        dropped: &[LocalDot],
        added: &[(LocalDot, RegisterRef<'_>)],
    ) -> Option<Slot> {
        let kept: Vec<Stored> = match place.slot {
            Some(slot) => self.table.registers(slot).filter(|r| !dropped.contains(&r.dot())).cloned().collect(),
            None => Vec::new(),
        };
        match (place.slot, kept.is_empty(), added) {
            (_, true, &[(dot, register)]) => Some(self.put_alone(place, key, dot, register)),
            (Some(slot), true, []) => {
                self.detach(slot);
                self.table.remove(slot);
                None
            }
            (_, _, added) => self.put_all(place, key, &kept, added),
        }
    }

    fn put_all(
        &mut self,
        place: Place,
        key: Key<'_>,
        kept: &[Stored],
        added: &[(LocalDot, RegisterRef<'_>)],
    ) -> Option<Slot> {
        let arrival_ms = self.clock.now_ms();
        let sys = key.section == Section::Sys;
        let old = kept.iter().map(|r| (r.dot(), r.register(), r.dead_from().unwrap_or(arrival_ms)));
        let new = added.iter().map(|&(dot, register)| (dot, register, arrival_ms));
        let mut all: Vec<_> = old.chain(new).collect();
        // The same whatever came first: by the dots as everybody names them.
        all.sort_unstable_by_key(|&(dot, ..)| self.index.dot(dot));
        let mut all = all.into_iter();
        let (dot, register, arrival) = all.next()?;
        let siblings = all.map(|(dot, register, arrival)| Stored::new(sys, &[], dot, register, arrival)).collect();
        let slot = match place.slot {
            Some(slot) => {
                self.detach(slot);
                self.table.first_mut(slot).replace(dot, register, arrival);
                slot
            }
            None => self.table.insert(place, Stored::new(sys, key.bytes, dot, register, arrival)),
        };
        self.table.set_siblings(slot, siblings);
        self.attach(slot);
        Some(slot)
    }

    /// The end of a sync: `R` takes in the sender's snapshot, and what it now covers is settled.
    ///
    /// Only to be called when every entry that differs between `R` and the snapshot has been joined.
    ///
    /// Linear in the replicas at most, and in the pending keys that it settles.
    pub fn incorporate(&mut self, snapshot: &CausalContext) {
        let mut context = self.context.clone();
        context.join(snapshot);
        self.advance_to(context);
    }

    /// `R` becomes this, which includes it.
    pub(super) fn advance_to(&mut self, context: CausalContext) {
        let new: SmallVec<[Dot; 16]> = context.missing_from(&self.context).collect();
        new.into_iter().for_each(|dot| self.replace_clock(dot));
        self.context = context;
        self.context.fold();
        if !self.pending.is_empty() {
            // RULE 6: the bound that a pending context came under joins T with it, in one step.
            let (bounds, settled) = self.pending.settle(&self.context);
            self.take_over_bound(&bounds);
            if !settled.is_empty() {
                self.note_settled(settled);
            }
        }
    }

    /// RULE 5: takes over what a sender has truncated of its snapshot, at the end of a catch-up: it cannot be served
    /// from here either. Linear in the replicas.
    pub fn adopt_bound(&mut self, bound: &CausalContext, snapshot: &CausalContext) {
        self.take_over_bound(&bound.meet(snapshot));
    }

    /// What others have truncated. Nobody here knows whether it had a deadline.
    fn take_over_bound(&mut self, bound: &CausalContext) {
        if !self.truncated.includes(bound) {
            self.truncated.join(bound);
            self.forget_until_now();
        }
    }
}

impl Received {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.new += other.new;
        self.known += other.known;
        self.void += other.void;
    }
}
