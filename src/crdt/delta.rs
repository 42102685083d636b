//! Choosing what to send: entries with their contexts, and deltas. Not responsible for bytes: `proto::codec` is.

use super::dot_log::Slot;
use super::join::{Change, Received};
use super::pending::EntryContext;
use super::stored::RegisterRef;
use super::{CausalContext, Dot, DotSet, Key, KeyList, OrMap, Section, Timestamp};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Entries on their way, each under the context it was read under. Keys and values stand in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    pub(crate) contexts: Vec<Arc<EntryContext>>,
    pub(crate) rows: Vec<Row>,
    pub(crate) registers: Vec<RegisterRow>,
    pub(crate) buffer: Bytes,
    /// The names of the rows that have no key, in their order: writes that were live under it.
    pub(crate) named: Vec<Dot>,
    /// How many values are not in the buffer, but were given before.
    pub(crate) given: usize,
}

/// One entry: where its key and its registers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) section: Section,
    pub(crate) context: u32,
    /// Empty if it is named by a dot.
    pub(crate) key: Range<usize>,
    /// The end of its registers; they begin where those of the row before end.
    pub(crate) registers_end: usize,
}

impl Row {
    pub(crate) fn is_named(&self) -> bool {
        self.key.is_empty()
    }
}

/// One live register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisterRow {
    pub(crate) dot: Dot,
    pub(crate) timestamp: Timestamp,
    pub(crate) deadline: Option<u64>,
    pub(crate) value: RowValue,
}

/// Where a register's value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RowValue {
    /// It has none.
    #[default]
    Tombstone,
    /// Here in the buffer.
    At(Range<usize>),
    /// So many bytes, given before in pieces.
    Given(usize),
}

impl RowValue {
    pub(crate) fn range(&self) -> Option<Range<usize>> {
        if let Self::At(range) = self { Some(range.clone()) } else { None }
    }
}

/// One entry as joining sees it.
#[derive(Clone, Copy)]
pub(crate) struct EntryView<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) context: usize,
    row: &'a Row,
    registers: &'a [RegisterRow],
    buffer: &'a Bytes,
}

impl Entries {
    /// The contexts that the entries were read under. Costs nothing.
    pub fn contexts(&self) -> &[Arc<EntryContext>] {
        &self.contexts
    }

    /// How many entries there are. O(1).
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none. O(1).
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The keys, in the order in which the entries stand; empty where one is named by a dot. A step for each.
    pub fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.iter().map(|entry| entry.key)
    }

    /// How many bytes are keys and values of a section.
    pub(crate) fn bytes_of(&self, section: Section) -> usize {
        let of_section = self.iter().filter(|entry| entry.key.section == section);
        let values = |entry: &EntryView<'_>| {
            entry.registers.iter().filter_map(|r| r.value.range()).map(|r| r.len()).sum::<usize>()
        };
        of_section.map(|entry| entry.key.bytes.len() + values(&entry)).sum()
    }

    /// How many keys will be in the map at least, once it has joined these into nothing.
    pub(super) fn keys_with_registers(&self) -> usize {
        self.rows.len().min(self.registers.len())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = EntryView<'_>> {
        let mut start = 0;
        self.rows.iter().map(move |row| {
            let registers = &self.registers[std::mem::replace(&mut start, row.registers_end)..row.registers_end];
            let key = Key { section: row.section, bytes: &self.buffer[row.key.clone()] };
            EntryView { key, context: row.context as usize, row, registers, buffer: &self.buffer }
        })
    }
}

impl<'a> EntryView<'a> {
    pub(super) fn dots(&self) -> impl Iterator<Item = Dot> + 'a {
        self.registers.iter().map(|register| register.dot)
    }

    pub(super) fn register(&self, i: usize) -> (Dot, RegisterRef<'a>) {
        let row = &self.registers[i];
        let value = row.value.range().map(|range| &self.buffer[range]);
        (row.dot, RegisterRef { value, timestamp: row.timestamp, deadline: row.deadline })
    }

    pub(super) fn row(&self) -> &'a Row {
        self.row
    }

    pub(super) fn register_rows(&self) -> &'a [RegisterRow] {
        self.registers
    }

    pub(super) fn key_bytes(&self) -> Bytes {
        self.buffer.slice(self.row.key.clone())
    }

    pub(super) fn value_of(&self, dot: Dot) -> Option<Bytes> {
        let row = self.registers.iter().find(|register| register.dot == dot)?;
        row.value.range().map(|range| self.buffer.slice(range))
    }
}

/// Collects entries of a map for sending.
#[derive(Debug, Default)]
pub struct EntriesBuilder {
    entries: Entries,
    buffer: Vec<u8>,
    /// The contexts already taken, by the pending context they come from; first the map's own.
    sources: Vec<Option<Arc<EntryContext>>>,
    context_bytes: usize,
    /// Who is to receive them knows the keys of what is live within this.
    known: Option<CausalContext>,
    /// Values longer than this go before, in pieces.
    value_bytes_max: Option<usize>,
    large: Vec<(Dot, Bytes)>,
}

impl EntriesBuilder {
    /// Names overwritten keys by what was overwritten, for a receiver that is known to have had `base`. It may have
    /// overwritten that itself; then it asks again, and is to be answered by key. Costs nothing.
    #[must_use]
    pub fn naming(mut self, base: CausalContext) -> Self {
        self.known = Some(base);
        self
    }

    /// Leaves out values longer than this: they are given before, in pieces. See [`large`](Self::large). Costs nothing.
    #[must_use]
    pub fn without_values_beyond(mut self, bytes: usize) -> Self {
        self.value_bytes_max = Some(bytes);
        self
    }

    /// The values that were left out, to be given in pieces before the entries. Costs nothing.
    pub fn large(&mut self) -> Vec<(Dot, Bytes)> {
        std::mem::take(&mut self.large)
    }

    /// Reads the key's entry as it is now, with its context. All that one builder collects must be read without the
    /// map's context growing in between. A key that has neither registers nor a pending context is sent as empty.
    /// A lookup and a copy of the entry.
    pub fn push(&mut self, map: &OrMap, key: Key<'_>) {
        self.push_at(map, key, map.table.find(key));
    }

    fn push_at(&mut self, map: &OrMap, key: Key<'_>, slot: Option<Slot>) {
        let context = self.context(map, map.pending.get(key));
        let name = self.known.as_ref().zip(slot).and_then(|(base, slot)| map.name_within(base, slot));
        let key_range = match name {
            Some(name) => {
                self.entries.named.push(name);
                0..0
            }
            None => self.copy(key.bytes),
        };
        if let Some(slot) = slot {
            for stored in map.table.registers(slot) {
                let register = stored.register();
                let dot = map.index.dot(stored.dot());
                let value = register.value.map_or(RowValue::Tombstone, |value| self.value(dot, value));
                let RegisterRef { timestamp, deadline, .. } = register;
                self.entries.registers.push(RegisterRow { dot, timestamp, deadline, value });
            }
        }
        let registers_end = self.entries.registers.len();
        self.entries.rows.push(Row { section: key.section, context, key: key_range, registers_end });
    }

    fn reserve(&mut self, registers: usize) {
        self.entries.rows.reserve(registers);
        self.entries.registers.reserve(registers);
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }

    fn value(&mut self, dot: Dot, value: &[u8]) -> RowValue {
        if self.value_bytes_max.is_none_or(|max| value.len() <= max) {
            return RowValue::At(self.copy(value));
        }
        self.large.push((dot, Bytes::copy_from_slice(value)));
        self.entries.given += 1;
        RowValue::Given(value.len())
    }

    fn context(&mut self, map: &OrMap, pending: Option<&Arc<EntryContext>>) -> u32 {
        let same = |source: &Option<Arc<EntryContext>>| match (source, pending) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let found = self.sources.iter().rposition(same).unwrap_or_else(|| {
            let own = EntryContext::default();
            let pair = map.context_and_bound_of(pending.map_or(&own, |p| p));
            // The first is told once; each further one takes about this much beside its entries.
            self.context_bytes +=
                if self.sources.is_empty() { 0 } else { 24 * (pair.context.len() + pair.bound.len()) };
            self.entries.contexts.push(pair);
            self.sources.push(pending.cloned());
            self.sources.len() - 1
        });
        u32::try_from(found).expect("fewer contexts than keys")
    }

    /// About how many bytes the entries take. O(1).
    pub fn bytes(&self) -> usize {
        self.buffer.len() + self.context_bytes + self.entries.registers.len() * 4
    }

    /// How many entries were collected. O(1).
    pub fn len(&self) -> usize {
        self.entries.rows.len()
    }

    /// Whether none was. O(1).
    pub fn is_empty(&self) -> bool {
        self.entries.rows.is_empty()
    }

    /// The entries. O(1).
    pub fn finish(mut self) -> Entries {
        self.entries.buffer = Bytes::from(self.buffer);
        self.entries
    }
}

/// What one replica has that another, with a known context, may lack: a small state, joined like any other.
///
/// It can be merged anywhere, in any order and repeatedly. Where the receiver lacks some of what the delta builds on,
/// what it brings is kept as pending, and [`Merged::missing`] says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub(crate) base: CausalContext,
    pub(crate) snapshot: CausalContext,
    pub(crate) bound: CausalContext,
    /// The sender's live dots within `base`, if tombstones that the receiver may lack are gone there.
    pub(crate) live: Option<DotSet>,
    pub(crate) entries: Entries,
}

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it says whether something is missing"]
pub struct Merged {
    /// The keys whose visible value changed.
    pub changes: Vec<Change>,
    /// What the delta builds on and this replica lacks: it is merged, but pending. Empty as a rule.
    pub missing: CausalContext,
    /// What became of the dots it brought.
    pub received: Received,
    /// It names keys by writes that are not live here: nothing was merged, and it has to be asked for by key. Never so
    /// with what [`OrMap::delta_since`] gives.
    pub unresolved: bool,
}

impl IntoIterator for Merged {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}

impl Delta {
    /// The context that it builds on. Costs nothing.
    pub fn base(&self) -> &CausalContext {
        &self.base
    }

    /// What a replica that has the base has incorporated after merging it. Costs nothing.
    pub fn snapshot(&self) -> &CausalContext {
        &self.snapshot
    }

    /// The entries that it carries. Costs nothing.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Whether it carries nothing that a replica with its base lacks. Linear in the replicas at most.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.live.is_none() && self.base.includes(&self.snapshot)
    }
}

impl OrMap {
    /// What this replica has that one with the context `base` may lack.
    ///
    /// Cost: linear in the entries that differ, and in the replicas of the contexts. If tombstones beyond `base` have
    /// been truncated, the delta also lists the live dots within `base`, which costs their number.
    pub fn delta_since(&self, base: &CausalContext) -> Delta {
        let mut entries = EntriesBuilder::default();
        let count = |number: u32| {
            let (id, log) = &self.index.logs[number as usize];
            log.count_after(base.get(*id))
        };
        entries.reserve(self.logs_beyond(base).into_iter().map(count).sum());
        self.listed_since(base, &DotSet::new()).for_each(|(key, slot)| entries.push_at(self, key, slot));
        Delta {
            base: base.clone(),
            snapshot: self.context.clone(),
            bound: self.truncated.clone(),
            live: self.needs_catch_up(base).then(|| self.live_dots().filter(|&dot| base.contains(dot)).collect()),
            entries: entries.finish(),
        }
    }

    /// The same for a small difference: `None` if it takes more than about `bytes_max`, or needs a catch-up. Cost: at most
    /// the keys that differ, and those bytes.
    pub fn delta_within(&self, base: &CausalContext, bytes_max: usize) -> Option<Delta> {
        self.delta_of(base, bytes_max, EntriesBuilder::default())
    }

    /// The same for a peer that is known to have had `base`: overwritten keys are named by what was overwritten, which
    /// is shorter. Who cannot tell what is meant merges nothing, and says so ([`Merged::unresolved`]). Costs the same.
    pub fn named_delta_within(&self, base: &CausalContext, bytes_max: usize) -> Option<Delta> {
        self.delta_of(base, bytes_max, EntriesBuilder::default().naming(base.clone()))
    }

    fn delta_of(&self, base: &CausalContext, bytes_max: usize, mut entries: EntriesBuilder) -> Option<Delta> {
        if self.needs_catch_up(base) {
            return None;
        }
        let nothing = DotSet::new();
        for (key, slot) in self.listed_since(base, &nothing) {
            entries.push_at(self, key, slot);
            if entries.bytes() > bytes_max {
                return None;
            }
        }
        let (base, snapshot, bound) = (base.clone(), self.context.clone(), self.truncated.clone());
        Some(Delta { base, snapshot, bound, live: None, entries: entries.finish() })
    }

    /// Whether a tombstone that a replica with the context `base` may lack is gone: `T ∩ R` is not within `base`.
    /// Linear in the replicas at most.
    pub fn needs_catch_up(&self, base: &CausalContext) -> bool {
        let mut beyond = self.truncated.missing_from(base);
        beyond.any(|dot| base.get(dot.replica) < self.context.get(dot.replica))
    }

    /// The keys with a live dot outside `base` and `have`, in the order of the dots, and those of RULE 7.
    /// Linear in what differs, and in the replicas.
    pub fn keys_since(&self, base: &CausalContext, have: &DotSet) -> KeyList {
        let mut keys = KeyList::new();
        self.listed_since(base, have).for_each(|(key, _)| keys.push(key));
        keys
    }

    /// These keys, each with where its entry is.
    fn listed_since(&self, base: &CausalContext, have: &DotSet) -> impl Iterator<Item = (Key<'_>, Option<Slot>)> {
        let dots = self.logs_beyond(base).into_iter().flat_map(|number| {
            let (id, log) = &self.index.logs[number as usize];
            let after = log.after(base.get(*id));
            after.map(|(counter, slot)| (Dot::new(*id, counter), slot))
        });
        let slots = dots.filter(|(dot, _)| !have.contains(*dot)).map(|(_, slot)| slot);
        // An entry of several dots is listed once.
        let mut listed = BTreeSet::new();
        let once = slots.filter(move |&slot| !self.table.first(slot).has_siblings() || listed.insert(slot));
        let unbounded = self.pending.unbounded(base).map(|key| (key, self.table.find(key)));
        once.map(|slot| (self.table.key(slot), Some(slot))).chain(unbounded)
    }

    /// The numbers of the replicas of which dots outside `base` may live here. Dots beyond `R` are those of pending keys.
    fn logs_beyond(&self, base: &CausalContext) -> Vec<u32> {
        if !self.pending.is_empty() {
            return (0..self.index.logs.len() as u32).collect();
        }
        let beyond = self.context.missing_from(base);
        let mut numbers: Vec<u32> = beyond.filter_map(|dot| self.index.find(dot.replica)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// How long the longest live value of the key is.
    pub(crate) fn longest_value(&self, key: Key<'_>) -> usize {
        let registers = self.table.find(key).into_iter().flat_map(|slot| self.table.registers(slot));
        registers.filter_map(|stored| stored.register().value.map(<[u8]>::len)).max().unwrap_or(0)
    }

    /// The live dots held beyond the context, from syncs that were cut off: what a pull need not bring again.
    /// Linear in the pending keys.
    pub fn have(&self) -> DotSet {
        self.dots_beyond_context().collect()
    }

    /// Joins a delta. Cost: linear in the delta.
    ///
    /// The snapshot is taken in only if this replica has what the delta builds on; otherwise its entries are kept as
    /// pending, and the answer says what is missing. It may be merged while a catch-up is under way: see RULE 4 at
    /// [`conclude`](Self::conclude).
    pub fn merge(&mut self, mut delta: Delta) -> Merged {
        match self.resolve(delta.entries) {
            Ok(entries) => delta.entries = entries,
            Err(_) => return Merged { unresolved: true, ..Merged::default() },
        }
        let mut merged = Merged { changes: Vec::with_capacity(delta.entries.len()), ..Merged::default() };
        let covered = self.context.includes(&delta.base);
        let nothing = CausalContext::new();
        let settled = if covered { &delta.snapshot } else { &nothing };
        // What the list says is dead is only that to a replica that has all of the base.
        if let Some(live) = delta.live.as_ref().filter(|_| covered) {
            let dead = self.dead_at(&delta, live);
            let theirs = EntryContext { context: delta.snapshot.clone(), bound: delta.bound.clone() };
            merged.received.add(self.take_away(&dead, theirs, settled, |change| merged.changes.push(change)));
        }
        merged.received.add(self.join_before(&delta.entries, settled, |change| merged.changes.push(change)));
        if covered {
            if delta.live.is_some() {
                self.adopt_bound(&delta.bound, &delta.snapshot);
            }
            self.incorporate(&delta.snapshot);
        } else {
            let missing = delta.base.missing_from(&self.context);
            merged.missing = missing.map(|dot| (dot.replica, dot.counter)).collect();
        }
        merged
    }

    /// What died at the sender, of keys that it does not send: of the others it says so itself.
    fn dead_at(&self, delta: &Delta, live: &DotSet) -> DotSet {
        let sent: BTreeSet<Slot> = delta.entries.keys().filter_map(|key| self.table.find(key)).collect();
        let dead = self.dots_dead_at(&delta.snapshot, live);
        if sent.is_empty() {
            return dead;
        }
        dead.dots().filter(|&dot| self.index.slot(dot).is_none_or(|slot| !sent.contains(&slot))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    /// What settles with a merge is not kept as pending on the way, so a second copy meets no pending context.
    #[test]
    fn a_key_that_stands_twice_in_a_delta_is_joined_once() {
        let (mut a, mut b) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
        a.put(b"kettle", b"on", 1);
        let mut entries = EntriesBuilder::default();
        (0..2).for_each(|_| entries.push(&a, Key::usr(b"kettle")));
        let merged = b.merge(Delta { entries: entries.finish(), ..a.delta_since(b.context()) });
        assert_eq!(merged.received, Received { new: 1, known: 1, void: 0 });
        assert_eq!(merged.changes.len(), 1);
        assert_eq!((b.registers(b"kettle"), b.audit()), (a.registers(b"kettle"), a.audit()));
        assert_eq!(b.counts(), a.counts());
    }
}
