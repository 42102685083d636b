//! The OR-map: state, mutators and reads. Joining what others send is in `join.rs`, choosing what to send in `delta.rs`,
//! dropping what is dead in `retention.rs`. Not responsible for time or randomness: they come in as arguments.

use super::departures::Departures;
use super::dot_log::{DotLog, Slot};
use super::elements::Elements;
use super::journal::Journals;
use super::pending::{EntryContext, Pending};
use super::replaced::Replaced;
use super::stored::{LocalDot, RegisterRef, Stored};
use super::symbols::Sketch;
use super::table::{Place, Table};
use super::{Audit, AuditKey, CausalContext, Clock, Dot, Key, Reading, Register, ReplicaId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A map of LWW registers in which a delete removes exactly what it has seen, and a concurrent put beats it.
///
/// One copy of the replicated state. State is a set of entries with a causal context; [`delta_since`](Self::delta_since)
/// and [`merge`](Self::merge) carry it from copy to copy, in any order, any number of times, and all copies that have
/// merged the same things hold the same state. After Preguiça et al., "Dotted Version Vectors" (2012), and Almeida et
/// al., "Delta State Replicated Data Types" (2018).
///
/// Costs, n entries: `put`, `get`, `delete` O(1) expected; the first `scan` sorts the keys, later ones only what is new;
/// `delta_since` is linear in the number of entries that differ, `merge` in the size of the delta; neither in n.
///
/// ```
/// use tidings::{OrMap, ReplicaId};
/// let now = 1_700_000_000_000; // milliseconds since 1970
/// let (mut a, mut b) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
/// a.put(b"kettle", b"on", now);
/// b.merge(a.delta_since(b.context()));
/// b.delete(b"kettle", now);
/// a.put(b"kettle", b"boiling", now); // b has not seen this
/// a.merge(b.delta_since(a.context()));
/// assert_eq!(a.get(b"kettle", now), Some(&b"boiling"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct OrMap {
    pub(super) id: ReplicaId,
    /// `R`: the dots whose whole effect is incorporated.
    pub(super) context: CausalContext,
    /// `T`: for each replica the highest dot of a tombstone (or expired register) that is no longer to be had here.
    pub(super) truncated: CausalContext,
    /// No register of a user's key with a later deadline has been forgotten: see [`forgotten_ms`](Self::forgotten_ms).
    pub(super) forgotten_ms: u64,
    pub(super) clock: Clock,
    pub(super) table: Table,
    pub(super) index: Index,
    pub(super) pending: Pending,
    /// What will be dropped some day, by the moment from which its retention counts: tombstones, and registers with a
    /// deadline.
    pub(super) dated: [BTreeSet<(u64, LocalDot)>; 2],
    /// What was overwritten lately, for naming entries by it.
    pub(super) replaced: Replaced,
    /// What storage has still to keep, if there is one.
    pub(super) journals: Option<Box<Journals>>,
    /// Keys under `sys` that were touched, for whoever follows them.
    pub(super) touched_sys: Option<Vec<Box<[u8]>>>,
    /// The first coded symbols of all live dots.
    pub(super) sketch: Sketch,
    pub(super) departures: Departures,
    sums: Sums,
    counts: Counts,
}

/// Keys and what they show, in the order of the keys.
pub type Scan<'m> = Box<dyn Iterator<Item = (&'m [u8], Reading<'m>)> + 'm>;

/// The index from dot to entry: the replicas that have been met, by small numbers, and the live dots of each.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) numbers: HashMap<ReplicaId, u32, FixedState>,
    /// The replica asked for last: that of a neighbour is mostly the same.
    last: Option<(ReplicaId, u32)>,
    pub(super) logs: Vec<(ReplicaId, DotLog)>,
    pub(super) elements: Elements,
}

#[derive(Clone, Debug)]
struct Sums {
    key: AuditKey,
    context: u64,
    state: u64,
    /// The element of the clock that changed last, and its term in the sum: the next to change is mostly the same.
    last: Option<(u64, u64)>,
}

/// How much of what the map holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys with a value, expired ones that are still kept included.
    pub keys: usize,
    /// Tombstones that are still kept.
    pub tombstones: usize,
    /// Live registers beyond the first of their entry: writes that were concurrent.
    pub siblings: usize,
}

impl Index {
    fn new(key: AuditKey) -> Self {
        Self {
            numbers: HashMap::with_hasher(FixedState::with_seed(key.seed())),
            last: None,
            logs: Vec::new(),
            elements: Elements::new(key),
        }
    }

    /// The small number of a replica, new if need be.
    pub(super) fn number(&mut self, id: ReplicaId) -> u32 {
        if let Some((last, number)) = self.last.filter(|last| last.0 == id) {
            debug_assert_eq!(self.logs[number as usize].0, last);
            return number;
        }
        let Self { logs, elements, .. } = self;
        let number = *self.numbers.entry(id).or_insert_with(|| {
            logs.push((id, DotLog::default()));
            elements.meet(id);
            u32::try_from(logs.len() - 1).expect("fewer than 2^32 replicas fit in memory")
        });
        self.last = Some((id, number));
        number
    }

    /// Its number, if it has been met.
    pub(super) fn find(&self, id: ReplicaId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn dot(&self, dot: LocalDot) -> Dot {
        Dot::new(self.logs[dot.replica as usize].0, dot.counter)
    }

    pub(super) fn slot(&self, dot: Dot) -> Option<Slot> {
        let number = *self.numbers.get(&dot.replica)?;
        self.logs[number as usize].1.get(dot.counter)
    }

    pub(super) fn slot_of(&self, dot: LocalDot) -> Option<Slot> {
        self.logs[dot.replica as usize].1.get(dot.counter)
    }
}

impl Sums {
    /// The clock of a replica whose elements begin at `start` goes from one counter to another.
    fn replace_clock(&mut self, start: u64, old: u64, new: u64) {
        let (was, is) = (start.wrapping_add(old), start.wrapping_add(new));
        let known = self.last.filter(|last| last.0 == was).map(|last| last.1);
        let taken_out = if old == 0 { 0 } else { known.unwrap_or_else(|| self.key.of_clock(was)) };
        let put_in = self.key.of_clock(is);
        self.context = self.context.wrapping_sub(taken_out).wrapping_add(put_in);
        self.last = Some((is, put_in));
    }
}

impl OrMap {
    /// An empty map. Its audit key is all zeros, see [`with_audit_key`](Self::with_audit_key).
    /// A few kilobytes, whatever is in it later.
    pub fn new(id: ReplicaId) -> Self {
        Self::with_audit_key(id, AuditKey::default())
    }

    /// An empty map whose sums are keyed: all maps that compare their [`audit`](Self::audit) must use the same key.
    /// Costs what [`new`](Self::new) does.
    pub fn with_audit_key(id: ReplicaId, key: AuditKey) -> Self {
        let mut index = Index::new(key);
        index.number(id);
        Self {
            id,
            context: CausalContext::new(),
            truncated: CausalContext::new(),
            forgotten_ms: 0,
            clock: Clock::new(Clock::DRIFT_MS),
            table: Table::new(key.seed()),
            index,
            pending: Pending::default(),
            dated: Default::default(),
            replaced: Replaced::default(),
            journals: None,
            touched_sys: None,
            sketch: Sketch::default(),
            departures: Departures::default(),
            sums: Sums { key, context: 0, state: 0, last: None },
            counts: Counts::default(),
        }
    }

    /// The same map with another allowed clock drift, in milliseconds, instead of [`Clock::DRIFT_MS`]. Costs nothing.
    #[must_use]
    pub fn with_drift_ms(mut self, drift_ms: u64) -> Self {
        self.clock = Clock::new(drift_ms);
        self
    }

    // --- Mutators

    /// Writes a value without a deadline, whatever the old one had. Answers the name of the write.
    ///
    /// `now` is in milliseconds since 1970. A put of the equal value is a write like any other.
    ///
    /// O(1) expected, and the values it replaces; an entry takes about 60 bytes beside its key and value.
    ///
    /// # Panics
    /// If the key is empty, or longer than [`Key::BYTES_MAX`].
    pub fn put<'k>(&mut self, key: impl Into<Key<'k>>, value: impl AsRef<[u8]>, now: u64) -> Dot {
        self.write(key.into(), Some(value.as_ref()), None, now)
    }

    /// Writes a value that counts as deleted from `deadline` on (milliseconds since 1970, by each replica's own clock).
    /// Costs what [`put`](Self::put) does, and O(log n) for the list of what will expire.
    ///
    /// # Panics
    /// If the key is empty, or longer than [`Key::BYTES_MAX`].
    pub fn put_until<'k>(&mut self, key: impl Into<Key<'k>>, value: impl AsRef<[u8]>, deadline: u64, now: u64) -> Dot {
        self.write(key.into(), Some(value.as_ref()), Some(deadline), now)
    }

    /// Deletes what the map shows under the key. `None`, and nothing is written, if it shows nothing.
    ///
    /// A delete is a write, of a tombstone: it takes a dot, so that no two replicas with equal contexts can differ.
    ///
    /// O(1) expected, and O(log n) for the list of what will be truncated; what is left keeps the key's
    /// memory until it is.
    pub fn delete<'k>(&mut self, key: impl Into<Key<'k>>, now: u64) -> Option<Dot> {
        let key = key.into();
        self.read(key, now)?;
        Some(self.write(key, None, None, now))
    }

    fn write(&mut self, key: Key<'_>, value: Option<&[u8]>, deadline: Option<u64>, now: u64) -> Dot {
        let length = key.bytes.len();
        assert!((1..=Key::BYTES_MAX).contains(&length), "a key of {length} bytes; it has 1 to {}", Key::BYTES_MAX);
        self.set_time(now);
        let place = self.table.place(key);
        let replaced = place.slot.and_then(|slot| self.table.registers(slot).map(|r| r.register().timestamp).max());
        let register = RegisterRef { value, timestamp: self.clock.tick(replaced), deadline };
        let dot = Dot::new(self.id, self.context.get(self.id) + 1);
        let local = LocalDot { replica: self.index.number(self.id), counter: dot.counter };
        self.touch(place, key);
        self.put_alone(place, key, local, register);
        self.extend_context(dot);
        dot
    }

    /// Makes an entry of one register, in place of all that it had.
    pub(super) fn put_alone(&mut self, place: Place, key: Key<'_>, dot: LocalDot, register: RegisterRef<'_>) -> Slot {
        let arrival_ms = self.clock.now_ms();
        let slot = match place.slot {
            Some(slot) => {
                self.note_replaced(slot, dot);
                self.detach(slot);
                self.table.set_siblings(slot, Vec::new());
                self.table.first_mut(slot).replace(dot, register, arrival_ms);
                slot
            }
            None => {
                let sys = key.section == super::Section::Sys;
                self.table.insert(place, Stored::new(sys, key.bytes, dot, register, arrival_ms))
            }
        };
        self.attach(slot);
        slot
    }

    /// Tells the map the time, in milliseconds since 1970: it decides how far ahead a received timestamp may be, what
    /// counts as expired in a merge, and from when retention counts. Mutators do it too.
    /// Costs nothing; what has expired is not looked for.
    pub fn set_time(&mut self, now: u64) {
        self.clock.set(now);
    }

    // --- Reads

    /// The value that the key shows. See [`read`](Self::read) for more of it. O(1) expected; copies nothing.
    pub fn get<'k>(&self, key: impl Into<Key<'k>>, now: u64) -> Option<&[u8]> {
        self.read(key, now).map(|reading| reading.value)
    }

    /// The value that the key shows, and its write: of the live registers that are neither tombstones nor past their
    /// deadline, the one with the greatest (timestamp, dot).
    /// O(1) expected, and linear in the siblings, which there are none of as a rule.
    pub fn read<'k>(&self, key: impl Into<Key<'k>>, now: u64) -> Option<Reading<'_>> {
        self.table.find(key.into()).and_then(|slot| self.reading(slot, now))
    }

    /// The other live values of the key, which writes concurrent with the one shown have left, greatest first.
    /// A lookup, and their sorting.
    pub fn siblings<'k>(&self, key: impl Into<Key<'k>>, now: u64) -> Vec<Reading<'_>> {
        let Some(slot) = self.table.find(key.into()) else { return Vec::new() };
        let mut live: Vec<_> = self.live_readings(slot, now).collect();
        live.sort_unstable_by_key(|r| std::cmp::Reverse((r.timestamp, r.dot)));
        let others = live.len().saturating_sub(1);
        live.iter_mut().for_each(|r| r.siblings = others);
        live.into_iter().skip(1).collect()
    }

    /// All keys with a value that begin with `prefix`, in the order of their bytes.
    /// The first scan of a section sorts its n keys, O(n log n), later ones only what is new; then a search, and a step
    /// for each key.
    pub fn scan<'m, 'k>(&'m mut self, prefix: impl Into<Key<'k>>, now: u64) -> Scan<'m> {
        self.scan_from(prefix, b"", now)
    }

    /// As [`scan`](Self::scan), resumed at `start`, so that a long scan can be taken in pieces. Costs the same.
    pub fn scan_from<'m, 'k>(&'m mut self, prefix: impl Into<Key<'k>>, start: &[u8], now: u64) -> Scan<'m> {
        let prefix = prefix.into();
        let wanted = prefix.bytes.to_vec();
        self.table.update_order(prefix.section);
        let map = &*self;
        let slots = map.table.in_order(prefix.section, start.max(prefix.bytes));
        let matching = slots.take_while(move |&slot| map.table.key(slot).bytes.starts_with(&wanted));
        let shown = move |slot| map.reading(slot, now).map(|reading| (map.table.key(slot).bytes, reading));
        Box::new(matching.filter_map(shown))
    }

    pub(super) fn reading(&self, slot: Slot, now: u64) -> Option<Reading<'_>> {
        if !self.table.first(slot).has_siblings() {
            return self.live_readings(slot, now).next();
        }
        let others = self.live_readings(slot, now).count().saturating_sub(1);
        let winner = self.live_readings(slot, now).max_by_key(|r| (r.timestamp, r.dot));
        winner.map(|r| Reading { siblings: others, ..r })
    }

    fn live_readings(&self, slot: Slot, now: u64) -> impl Iterator<Item = Reading<'_>> {
        self.table.registers(slot).filter_map(move |stored| {
            let register = stored.register();
            let value = register.value.filter(|_| !register.is_dead(now))?;
            let dot = self.index.dot(stored.dot());
            Some(Reading { value, dot, timestamp: register.timestamp, deadline: register.deadline, siblings: 0 })
        })
    }

    // --- What it knows of itself

    /// The name of this copy. Costs nothing.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// `R`: the dots whose whole effect is incorporated here.
    /// Costs nothing; a clone of it is linear in the replicas, up to 48 of them, and then a reference.
    pub fn context(&self) -> &CausalContext {
        &self.context
    }

    /// `T`: for each replica, the highest dot of a tombstone that is no longer to be had here. Costs nothing.
    pub fn truncated(&self) -> &CausalContext {
        &self.truncated
    }

    /// What the key's entry has incorporated: `R`, and beyond it what an unfinished sync has brought.
    /// Linear in the replicas at most.
    pub fn context_of<'k>(&self, key: impl Into<Key<'k>>) -> CausalContext {
        let mut context = self.context.clone();
        if let Some(pending) = self.pending.get(key.into()) {
            context.join(&pending.context);
        }
        context
    }

    /// What all entries together have incorporated. Linear in the number of pending keys.
    pub fn context_of_all(&self) -> CausalContext {
        let mut context = self.context.clone();
        self.pending.contexts().for_each(|pending| context.join(pending));
        context
    }

    /// All live dots of the key with what each wrote, tombstones included, in the order of the dots.
    /// A lookup, and a copy of them.
    pub fn registers<'k>(&self, key: impl Into<Key<'k>>) -> Vec<(Dot, Register)> {
        let Some(slot) = self.table.find(key.into()) else { return Vec::new() };
        let of = |stored: &Stored| (self.index.dot(stored.dot()), stored.register().to_register());
        let mut registers: Vec<_> = self.table.registers(slot).map(of).collect();
        registers.sort_unstable_by_key(|r| r.0);
        registers
    }

    /// The three sums that two replicas compare first. O(1), but for what is pending.
    pub fn audit(&self) -> Audit {
        let terms = self.pending.iter().map(|(key, pending)| self.pending_term(key, pending));
        let pending = terms.fold(0, u64::wrapping_add);
        Audit { context: self.sums.context, state: self.sums.state, pending }
    }

    /// A sum of `R` alone, by which it is seen whether it has grown. O(1).
    pub(crate) fn context_sum(&self) -> u64 {
        self.sums.context
    }

    /// A sum of `T`, for two that meet to see at once whether theirs are equal. Costs the replicas in it.
    pub fn bound_sum(&self) -> u64 {
        self.truncated.iter().map(|dot| self.sums.key.of_clock(self.sums.key.element(dot))).fold(0, u64::wrapping_add)
    }

    /// What a pending key adds to its sum: the same at all that hold the same, however it came to them. So a bound counts
    /// as far as `R` lacks it, and what it covers and others may have truncated does not count.
    fn pending_term(&self, key: Key<'_>, pending: &EntryContext) -> u64 {
        let registers = self.table.find(key).into_iter().flat_map(|slot| self.table.registers(slot));
        let named = registers.map(|stored| (self.index.dot(stored.dot()), stored.is_audited()));
        let lasting = named.filter(|&(dot, audited)| audited || !pending.bound.contains(dot));
        let beyond = lasting.filter(|&(dot, _)| !self.context.contains(dot));
        let dots = beyond.map(|(dot, _)| self.sums.key.of_pending(dot)).fold(0, u64::wrapping_add);
        let bound: CausalContext = pending.bound.missing_from(&self.context).map(|d| (d.replica, d.counter)).collect();
        if bound.is_empty() { dots } else { dots.wrapping_add(self.sums.key.of_bound(key, &bound)) }
    }

    /// How many keys, tombstones and siblings there are. O(1).
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many keys have incorporated more than the replica's context, by syncs that were cut off. O(1).
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// About how many bytes of memory the entries take, without what finds them by their dots. Looks at a few of them only.
    pub fn bytes_estimate(&self) -> usize {
        self.table.bytes_estimate()
    }

    /// How far the clock is ahead of the time that it was told, in milliseconds: it has followed somebody else's. O(1).
    pub fn clock_lead_ms(&self) -> u64 {
        self.clock.last().millis().saturating_sub(self.clock.now_ms())
    }

    /// How many received timestamps were further ahead than the drift allowed. O(1).
    pub fn clocks_ahead(&self) -> u64 {
        self.clock.ahead()
    }

    /// Whether the write's register is live here. Logarithmic in the live dots of its replica.
    pub fn is_live(&self, dot: Dot) -> bool {
        self.index.slot(dot).is_some()
    }

    /// All live dots, replica by replica in the order they were met, each in the order of its counters.
    pub(crate) fn live_dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.index.logs.iter().flat_map(|(id, log)| log.after(0).map(|(counter, _)| Dot::new(*id, counter)))
    }

    /// The live dots of a replica from `first` to `last`. Costs a search and their number.
    pub(crate) fn live_between(&self, replica: ReplicaId, first: u64, last: u64) -> impl Iterator<Item = Dot> + '_ {
        let log = self.index.numbers.get(&replica).map(|&number| &self.index.logs[number as usize].1);
        let dots = log.into_iter().flat_map(move |log| log.after(first.saturating_sub(1)));
        dots.map(move |(counter, _)| Dot::new(replica, counter)).take_while(move |dot| dot.counter <= last)
    }

    /// The live dots that `R` does not cover. Costs the pending keys: all such dots are theirs.
    pub(super) fn dots_beyond_context(&self) -> impl Iterator<Item = Dot> + '_ {
        let slots = self.pending.iter().filter_map(|(key, _)| self.table.find(key));
        let dots = slots.flat_map(|slot| self.table.registers(slot).map(|stored| self.index.dot(stored.dot())));
        dots.filter(|&dot| !self.context.contains(dot))
    }

    pub(super) fn context_and_bound_of(&self, pending: &EntryContext) -> Arc<EntryContext> {
        let mut own = EntryContext { context: self.context.clone(), bound: self.truncated.clone() };
        own.context.join(&pending.context);
        own.bound.join(&pending.bound);
        Arc::new(own)
    }

    // --- Changing an entry: all that is derived from its registers is taken back before, and put in again after

    /// Takes an entry's registers out of the index, the sums, the sketch, the counts and the list of what will be dropped.
    pub(super) fn detach(&mut self, slot: Slot) {
        self.count(slot, usize::wrapping_sub);
        for stored in self.table.registers(slot) {
            let dot = stored.dot();
            self.index.logs[dot.replica as usize].1.remove(dot.counter);
            let element = self.index.elements.of_local(dot);
            let hash = self.sums.key.of_live(element);
            self.sketch.remove(element, hash);
            self.departures.note(dot);
            if let Some(from) = stored.dead_from() {
                self.dated[stored.kind_of_dated()].remove(&(from, dot));
            } else {
                self.sums.state = self.sums.state.wrapping_sub(hash);
            }
        }
    }

    /// Puts them in again.
    pub(super) fn attach(&mut self, slot: Slot) {
        self.count(slot, usize::wrapping_add);
        for stored in self.table.registers(slot) {
            let dot = stored.dot();
            self.index.logs[dot.replica as usize].1.insert(dot.counter, slot);
            let element = self.index.elements.of_local(dot);
            let hash = self.sums.key.of_live(element);
            self.sketch.insert(element, hash);
            if let Some(from) = stored.dead_from() {
                self.dated[stored.kind_of_dated()].insert((from, dot));
            } else {
                self.sums.state = self.sums.state.wrapping_add(hash);
            }
        }
    }

    pub(super) fn count(&mut self, slot: Slot, change: fn(usize, usize) -> usize) {
        let registers = self.table.registers(slot);
        let tombstones = registers.clone().filter(|r| r.is_tombstone()).count();
        let all = registers.count();
        self.counts.keys = change(self.counts.keys, usize::from(all > tombstones));
        self.counts.tombstones = change(self.counts.tombstones, tombstones);
        self.counts.siblings = change(self.counts.siblings, all - 1);
    }

    /// The context takes in the dot and all below it, and the sum follows.
    pub(super) fn extend_context(&mut self, dot: Dot) {
        self.replace_clock(dot);
        self.context.extend_to(dot);
        self.context.fold();
    }

    /// The sum follows what the context is about to take in.
    pub(super) fn replace_clock(&mut self, dot: Dot) {
        let old = self.context.get(dot.replica);
        if dot.counter > old {
            let number = self.index.number(dot.replica);
            let start = self.index.elements.of_local(LocalDot { replica: number, counter: 0 });
            self.sums.replace_clock(start, old, dot.counter);
        }
    }

    /// The sum of the state, and the sketch, of a map whose entries were put in all at once.
    pub(super) fn set_state_sum(&mut self, sum: u64, sketch: Sketch) {
        (self.sums.state, self.sketch) = (sum, sketch);
    }

    /// The context becomes another one, and the sum follows. Costs the replicas of it.
    pub(super) fn set_context(&mut self, context: CausalContext) {
        let terms = context.iter().map(|dot| self.sums.key.of_clock(self.sums.key.element(dot)));
        self.sums.context = terms.fold(0, u64::wrapping_add);
        self.sums.last = None;
        self.context = context;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the map takes, the wire must take: an empty key would make every peer close the link.
    #[test]
    #[should_panic(expected = "a key of 0 bytes")]
    fn an_empty_key_is_refused() {
        OrMap::new(ReplicaId::from(1)).put(b"", b"value", 0);
    }
}
