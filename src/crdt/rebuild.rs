//! A map from what storage kept of it. Not responsible for bytes: `proto::record` is.
//!
//! Whatever a disk gives back is looked at: what could not have been a map is an error, and never a panic later.

use super::dot_log::{DotLog, Slot};
use super::journal::{RegisterState, ReplicaState};
use super::pending::EntryContext;
use super::stored::{LocalDot, Stored};
use super::symbols::Sketch;
use super::{AuditKey, Dot, Key, OrMap, ReplicaId, Section, Timestamp};
use std::sync::Arc;

/// A map under construction. Replicas come first, in the order of their numbers, then entries in any order.
///
/// Costs the sum of what is added, with one sort of the dots at the end: much less than writing it all anew.
#[derive(Debug)]
pub(crate) struct Rebuild {
    map: OrMap,
    /// The map's number for each that was stored.
    numbers: Vec<u32>,
    /// By the map's number: counters, and where they live.
    dots: Vec<Vec<(u64, Slot)>>,
    /// How many entries it is said to have.
    said: usize,
}

/// So many entries have room before the first has come.
const ROOM: usize = 1 << 12;
/// And later so many times those that have: a damaged number must not cost memory that its entries do not.
const ROOM_TIMES: usize = 4;

type Result<T> = std::result::Result<T, &'static str>;

impl Rebuild {
    /// An empty map of `id`, which is said to have so many entries.
    pub(crate) fn new(id: ReplicaId, key: AuditKey, drift_ms: u64, entries: usize) -> Self {
        let map = OrMap::with_audit_key(id, key).with_drift_ms(drift_ms);
        Self { map, numbers: Vec::new(), dots: Vec::new(), said: entries }
    }

    /// What is known of the next replica.
    pub(crate) fn replica(&mut self, state: ReplicaState) -> Result<()> {
        if state.number as usize != self.numbers.len() {
            return Err("replicas are missing");
        }
        if self.map.index.find(state.id).is_some_and(|number| self.numbers.contains(&number)) {
            return Err("a replica stands twice");
        }
        let number = self.map.index.number(state.id);
        self.numbers.push(number);
        self.map.extend_context(Dot::new(state.id, state.context));
        self.map.truncated.extend_to(Dot::new(state.id, state.truncated));
        Ok(())
    }

    /// Whether a pending context has settled: `R` covers it.
    pub(crate) fn settles(&self, context: &EntryContext) -> bool {
        self.map.context.includes(&context.context)
    }

    /// One key with its live registers, and with its pending context if it has one.
    pub(crate) fn entry<'a>(
        &mut self,
        key: Key<'_>,
        registers: impl IntoIterator<Item = RegisterState<'a>>,
        pending: Option<&Arc<EntryContext>>,
    ) -> Result<()> {
        if !(1..=Key::BYTES_MAX).contains(&key.bytes.len()) {
            return Err("a key is empty, or too long");
        }
        let count = self.map.table.len();
        if count == self.map.table.room() {
            self.map.table.reserve(self.said.min(ROOM.max(count.saturating_mul(ROOM_TIMES))));
        }
        let place = self.map.table.place(key);
        if place.slot.is_some() || self.map.pending.get(key).is_some() {
            return Err("a key stands twice");
        }
        let mut stored = Vec::with_capacity(1);
        for state in registers {
            let first = stored.is_empty();
            stored.push(self.register(key, first, state, pending)?);
        }
        let mut stored = stored.into_iter();
        if let Some(first) = stored.next() {
            let slot = self.map.table.insert(place, first);
            self.map.table.set_siblings(slot, stored.collect());
            self.list(slot);
        } else if pending.is_none() {
            return Err("an entry is empty");
        }
        if let Some(pending) = pending {
            self.map.pending.set(key, Some(pending.clone()));
        }
        Ok(())
    }

    fn register(
        &mut self,
        key: Key<'_>,
        first: bool,
        state: RegisterState<'_>,
        pending: Option<&Arc<EntryContext>>,
    ) -> Result<Stored> {
        let replica = *self.numbers.get(state.replica as usize).ok_or("a write is of a replica that is not known")?;
        let local = LocalDot { replica, counter: state.counter };
        let dot = self.map.index.dot(local);
        let known = self.map.context.contains(dot) || pending.is_some_and(|pending| pending.context.contains(dot));
        if dot.counter == 0 || !known {
            return Err("a write is beyond what the replica knows");
        }
        let bytes = if first { key.bytes } else { &[] };
        let arrival = state.dead_from.unwrap_or_default();
        Ok(Stored::new(key.section == Section::Sys, bytes, local, state.register, arrival))
    }

    fn list(&mut self, slot: Slot) {
        self.dots.resize_with(self.map.index.logs.len(), Vec::new);
        for stored in self.map.table.registers(slot) {
            let dot = stored.dot();
            self.dots[dot.replica as usize].push((dot.counter, slot));
        }
    }

    /// The map, whose clock goes on from `last`.
    pub(crate) fn finish(mut self, last: Timestamp) -> Result<OrMap> {
        let map = &mut self.map;
        let (mut dated, mut sum, mut sketch) = ([Vec::new(), Vec::new()], 0_u64, Sketch::default());
        let slots: Vec<Slot> = map.table.iter().collect();
        for slot in slots {
            map.count(slot, usize::wrapping_add);
            for stored in map.table.registers(slot) {
                let element = map.index.elements.of_local(stored.dot());
                let hash = map.index.elements.key().of_live(element);
                sketch.insert(element, hash);
                match stored.dead_from() {
                    Some(from) => dated[stored.kind_of_dated()].push((from, stored.dot())),
                    None => sum = sum.wrapping_add(hash),
                }
            }
        }
        map.set_state_sum(sum, sketch);
        map.dated = dated.map(|dated| dated.into_iter().collect());
        map.clock.resume(last);
        for (log, mut dots) in map.index.logs.iter_mut().zip(self.dots) {
            dots.sort_unstable();
            if dots.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err("one write stands under two keys");
            }
            log.1 = DotLog::from_sorted(&dots);
        }
        Ok(self.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::stored::RegisterRef;

    /// Found by fuzzing: a checkpoint whose counters were damaged took room for 16 million entries before the first was read.
    #[test]
    fn a_number_of_entries_that_is_wrong_costs_no_memory_that_they_do_not() {
        const ALL: u64 = 20_000;
        let id = ReplicaId::from(1);
        let mut rebuild = Rebuild::new(id, AuditKey::new([0; 16]), 0, usize::MAX);
        rebuild.replica(ReplicaState { number: 0, id, context: ALL, truncated: 0 }).expect("the first");
        for counter in 1..=ALL {
            let timestamp = Timestamp::from_bits(1 << 20);
            let register = RegisterRef { value: Some(b"value"), timestamp, deadline: None };
            let state = RegisterState { replica: 0, counter, register, dead_from: None };
            rebuild.entry(Key::usr(&counter.to_be_bytes()), [state], None).expect("an entry");
            let room = rebuild.map.table.room();
            assert!(room <= 2 * ROOM_TIMES * ROOM.max(counter as usize), "room for {room} after {counter} entries");
        }
        assert!(rebuild.finish(Timestamp::from_bits(1 << 20)).is_ok_and(|map| map.entry_count() == ALL as usize));
    }
}
