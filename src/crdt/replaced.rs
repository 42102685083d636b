//! Entries named by a write that they replace, instead of by their key. Not responsible for when that is done: whoever
//! sends decides, by what the receiver can know.
//!
//! An overwrite has a new dot and says nothing that the receiver does not know of its key, if it holds the write that was
//! replaced: a dot lives under one key for ever. So a bounded memory of what replaced what lets a sender say a few bytes
//! where the key would stand. A receiver that has overwritten it too finds the key by its own memory; if it cannot, it asks
//! again, by key.

use super::delta::{Entries, EntryView};
use super::dot_log::Slot;
use super::stored::LocalDot;
use super::{CausalContext, Dot, OrMap};
use bytes::Bytes;

/// So many overwrites are remembered at the most.
const PAIRS_MAX: usize = 1 << 16;
const PAIRS_MIN: usize = 1 << 6;
/// How many overwrites of one key are followed back.
const STEPS_MAX: usize = 16;
/// A key that is not longer than this is sent as it is: a dot takes about as much.
const KEY_BYTES_MIN: usize = 6;

/// Which write replaced which, of the last ones.
///
/// A pair stands where its new counter says, so the newest of a replica takes the place of its oldest.
#[derive(Clone, Debug, Default)]
pub(super) struct Replaced {
    /// None at all before the first overwrite; then a power of two.
    pairs: Vec<Pair>,
    count: usize,
    /// How many writes have been forgotten since it was last looked through.
    forgotten: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// 0 where there is none.
    new_counter: u64,
    old_counter: u64,
    new_replica: u32,
    old_replica: u32,
}

impl Pair {
    fn overwrite(&self) -> LocalDot {
        LocalDot { replica: self.new_replica, counter: self.new_counter }
    }

    fn overwritten(&self) -> LocalDot {
        LocalDot { replica: self.old_replica, counter: self.old_counter }
    }
}

impl Replaced {
    fn place(&self, new: LocalDot) -> usize {
        // Replicas begin at places far apart, so that the newest of each do not meet.
        let start = u64::from(new.replica).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (new.counter.wrapping_add(start) as usize) & (self.pairs.len() - 1)
    }

    pub(super) fn note(&mut self, new: LocalDot, old: LocalDot) {
        if self.count * 2 >= self.pairs.len() && self.pairs.len() < PAIRS_MAX {
            self.grow();
        }
        let place = self.place(new);
        self.count += usize::from(self.pairs[place].new_counter == 0);
        self.pairs[place] = Pair {
            new_counter: new.counter,
            old_counter: old.counter,
            new_replica: new.replica,
            old_replica: old.replica,
        };
    }

    fn grow(&mut self) {
        let room = vec![Pair::default(); (self.pairs.len() * 2).max(PAIRS_MIN)];
        let pairs = std::mem::replace(&mut self.pairs, room);
        self.count = 0;
        for pair in pairs.into_iter().filter(|pair| pair.new_counter > 0) {
            let place = self.place(pair.overwrite());
            self.count += usize::from(self.pairs[place].new_counter == 0);
            self.pairs[place] = pair;
        }
    }

    /// So many writes are no longer remembered: of those that are gone nothing need be known.
    pub(super) fn forget(&mut self, writes: usize, is_live: impl Fn(LocalDot) -> bool) {
        self.forgotten += writes;
        if 2 * self.forgotten < self.pairs.len() {
            return;
        }
        let of_live = |pair: &Pair| pair.new_counter > 0 && is_live(pair.overwrite());
        let pairs: Vec<Pair> = std::mem::take(self).pairs.into_iter().filter(of_live).collect();
        for pair in pairs {
            self.note(pair.overwrite(), pair.overwritten());
        }
    }

    fn get(&self, new: LocalDot) -> Option<LocalDot> {
        let pair = self.pairs.get(if self.pairs.is_empty() { 0 } else { self.place(new) })?;
        (pair.overwrite() == new).then_some(pair.overwritten())
    }

    /// What replaced each, in the order of what was replaced. Costs a sort of all that is remembered.
    fn successors(&self) -> Vec<(LocalDot, LocalDot)> {
        let pairs = self.pairs.iter().filter(|pair| pair.new_counter > 0);
        let mut successors: Vec<_> = pairs.map(|pair| (pair.overwritten(), pair.overwrite())).collect();
        successors.sort_unstable();
        successors
    }
}

/// Looks for entries by writes that are no longer live: by what replaced them here. Built when the first is not found.
#[derive(Default)]
struct Search(Option<Vec<(LocalDot, LocalDot)>>);

impl Search {
    fn slot(&mut self, map: &OrMap, name: Dot) -> Option<Slot> {
        let successors = self.0.get_or_insert_with(|| map.replaced.successors());
        let mut local = LocalDot { replica: map.index.find(name.replica)?, counter: name.counter };
        for _ in 0..STEPS_MAX {
            let next = successors.partition_point(|(old, _)| *old < local);
            local = successors.get(next).filter(|(old, _)| *old == local)?.1;
            if let Some(slot) = map.index.slot_of(local) {
                return Some(slot);
            }
        }
        None
    }
}

/// Entries name a key by a write that is not live here, nor is what replaced it remembered. Nothing was joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry is named by a write that is not live here")]
pub struct Unresolved;

/// What is known of an entry that is named by a dot.
enum Resolved {
    Is(Slot),
    /// All that it says is known here already.
    Known,
}

impl OrMap {
    /// A write of the entry, or one that it replaced, which lies within `base`: who has `base` most likely holds it. `None`
    /// if there is none, or if the key is as short.
    pub(super) fn name_within(&self, base: &CausalContext, slot: Slot) -> Option<Dot> {
        if self.table.key(slot).bytes.len() <= KEY_BYTES_MIN {
            return None;
        }
        let mut local = self.table.first(slot).dot();
        for _ in 0..STEPS_MAX {
            let dot = self.index.dot(local);
            if base.contains(dot) {
                return Some(dot);
            }
            local = self.replaced.get(local)?;
        }
        None
    }

    /// The entry is about to become this one write: what it replaces is noted, if others can be expected to hold it.
    pub(super) fn note_replaced(&mut self, slot: Slot, new: LocalDot) {
        let old = self.table.first(slot);
        if !old.register().is_dead(self.clock.now_ms()) {
            self.replaced.note(new, old.dot());
        }
    }

    /// The same entries, each under its key: those that are named by a dot get the key under which that is live here.
    /// What is known here anyway is left out. To be called before they are joined; nothing is joined if it fails.
    pub fn resolve(&self, entries: Entries) -> Result<Entries, Unresolved> {
        if entries.given > 0 {
            return Err(Unresolved);
        }
        if entries.named.is_empty() {
            return Ok(entries);
        }
        let (mut rows, mut registers) = (Vec::with_capacity(entries.rows.len()), Vec::new());
        let mut buffer = Vec::with_capacity(entries.buffer.len() + 32 * entries.named.len());
        buffer.extend_from_slice(&entries.buffer);
        let (mut named, mut search) = (entries.named.iter(), Search::default());
        for entry in entries.iter() {
            let mut row = entry.row().clone();
            if row.is_named() {
                let name = *named.next().ok_or(Unresolved)?;
                let Resolved::Is(slot) = self.resolve_one(name, &entry, &entries, &mut search)? else { continue };
                let key = self.table.key(slot);
                let start = buffer.len();
                buffer.extend_from_slice(key.bytes);
                (row.section, row.key) = (key.section, start..buffer.len());
            }
            registers.extend_from_slice(entry.register_rows());
            row.registers_end = registers.len();
            rows.push(row);
        }
        Ok(Entries {
            contexts: entries.contexts,
            rows,
            registers,
            buffer: Bytes::from(buffer),
            named: Vec::new(),
            given: 0,
        })
    }

    fn resolve_one(
        &self,
        name: Dot,
        entry: &EntryView<'_>,
        entries: &Entries,
        search: &mut Search,
    ) -> Result<Resolved, Unresolved> {
        // Its own writes may have come another way.
        let live = std::iter::once(name).chain(entry.dots()).find_map(|dot| self.index.slot(dot));
        if let Some(slot) = live {
            return Ok(Resolved::Is(slot));
        }
        // Read under a context that is within ours, it can neither add nor remove anything.
        if self.context.includes(&entries.contexts[entry.context].context) {
            return Ok(Resolved::Known);
        }
        search.slot(self, name).map(Resolved::Is).ok_or(Unresolved)
    }
}

impl Entries {
    /// Whether every entry has its key and its values: only then may they be joined. See [`OrMap::resolve`].
    pub fn is_whole(&self) -> bool {
        self.named.is_empty() && self.given == 0
    }

    /// How many of them are named by a write that they replace, and not by their key.
    pub fn named(&self) -> usize {
        self.named.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    const NOW: u64 = 1_700_000_000_000;
    const KEY: &[u8] = b"the kettle in the kitchen";

    fn dot(replica: u32, counter: u64) -> LocalDot {
        LocalDot { replica, counter }
    }

    #[test]
    fn the_last_overwrites_are_remembered_and_the_oldest_forgotten() {
        let mut replaced = Replaced::default();
        let all = 3 * PAIRS_MAX as u64;
        (2..=all).for_each(|counter| replaced.note(dot(0, counter), dot(0, counter - 1)));
        assert_eq!(replaced.pairs.len(), PAIRS_MAX);
        assert_eq!(replaced.get(dot(0, all)), Some(dot(0, all - 1)));
        assert_eq!(replaced.get(dot(0, all - PAIRS_MAX as u64 + 1)), Some(dot(0, all - PAIRS_MAX as u64)));
        assert_eq!(replaced.get(dot(0, all - PAIRS_MAX as u64)), None);
        assert_eq!(replaced.get(dot(1, all)), None);
    }

    #[test]
    fn nothing_is_kept_for_what_is_fresh() {
        let mut map = OrMap::new(ReplicaId::from(1));
        for i in 0..1_000_u32 {
            map.put(&i.to_be_bytes(), b"v", NOW);
        }
        assert_eq!(map.replaced.pairs.capacity(), 0);
    }

    fn put(map: &mut OrMap, times: usize) {
        for _ in 0..times {
            map.put(KEY, b"off", NOW);
        }
    }

    /// Two that have the same, and what `writer` says of it after `write`.
    fn said(write: impl Fn(&mut OrMap)) -> (OrMap, OrMap, crate::crdt::Delta) {
        let (mut writer, mut reader) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
        writer.put(KEY, b"on", NOW);
        let _ = reader.merge(writer.delta_since(reader.context()));
        write(&mut writer);
        let delta = writer.named_delta_within(reader.context(), usize::MAX).expect("no catch-up");
        (writer, reader, delta)
    }

    #[test]
    fn overwrites_and_deletes_are_named_by_what_they_replace() {
        for write in [
            |map: &mut OrMap| put(map, 1),
            |map: &mut OrMap| assert!(map.delete(KEY, NOW).is_some()),
            |map: &mut OrMap| put(map, STEPS_MAX - 1),
        ] {
            let (writer, mut reader, delta) = said(write);
            assert_eq!(delta.entries().named(), 1);
            let merged = reader.merge(delta);
            assert!(!merged.unresolved);
            assert_eq!((reader.audit(), reader.registers(KEY)), (writer.audit(), writer.registers(KEY)));
            assert_eq!(merged.changes.len(), 1);
            assert_eq!(&merged.changes[0].key[..], KEY);
        }
    }

    #[test]
    fn what_is_new_or_too_often_overwritten_goes_by_its_key() {
        let (_, _, delta) = said(|map| assert!(map.put(b"another key", b"on", NOW).counter > 0));
        assert_eq!(delta.entries().named(), 0);
        let (_, _, delta) = said(|map| put(map, 2 * STEPS_MAX));
        assert_eq!(delta.entries().named(), 0);
    }

    /// The receiver may have dropped the tombstone.
    #[test]
    fn what_follows_a_tombstone_goes_by_its_key() {
        let (mut writer, mut reader, delta) = said(|map| assert!(map.delete(KEY, NOW).is_some()));
        let _ = reader.merge(delta);
        writer.put(KEY, b"again", NOW + 1);
        let delta = writer.named_delta_within(reader.context(), usize::MAX).expect("no catch-up");
        assert_eq!(delta.entries().named(), 0);
    }

    #[test]
    fn a_concurrent_overwrite_is_found_by_what_it_replaced() {
        let (_, mut reader, delta) = said(|map| put(map, 1));
        (0..STEPS_MAX - 1).for_each(|_| assert!(reader.put(KEY, b"boiling", NOW).counter > 0));
        assert!(!reader.merge(delta.clone()).unresolved);
        assert_eq!(reader.registers(KEY).len(), 2);
    }

    #[test]
    fn where_nothing_is_remembered_it_is_unresolved_and_nothing_is_joined() {
        let (writer, mut reader, delta) = said(|map| put(map, 1));
        reader.put(KEY, b"boiling", NOW);
        reader.replaced = Replaced::default();
        let before = (reader.audit(), reader.context().clone());
        assert!(reader.merge(delta).unresolved);
        assert_eq!((reader.audit(), reader.context().clone()), before);
        // By key it works, and both values stay.
        let _ = reader.merge(writer.delta_since(reader.context()));
        assert_eq!(reader.registers(KEY).len(), 2);
    }

    #[test]
    fn what_has_come_another_way_is_no_obstacle() {
        let (mut writer, mut reader, delta) = said(|map| put(map, 1));
        let _ = reader.merge(writer.delta_since(reader.context()));
        assert!(!reader.merge(delta.clone()).unresolved, "its own write is live here");
        writer.put(KEY, b"on again", NOW);
        let _ = reader.merge(writer.delta_since(reader.context()));
        let audit = reader.audit();
        assert!(!reader.merge(delta).unresolved, "and what is known here can be left out");
        assert_eq!(reader.audit(), audit);
    }
}
