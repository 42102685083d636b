//! What has changed since the last commit, and how to take it back. Not responsible for where it is kept: storage is.
//!
//! A map that is kept on disk runs ahead of it by two commits at most: one that is under way, and what has changed since
//! it began. The first time that either touches a key, it keeps what the key had before. So a commit is as long as what
//! changed, and one that fails can be undone: the map is then what the disk is known to hold, and may be told to others.

use super::pending::{EntryContext, Settled};
use super::stored::{RegisterRef, Stored};
use super::table::{Place, Table};
use super::{CausalContext, Dot, Key, OrMap, ReplicaId, Section, Timestamp};
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::sync::Arc;

/// The changes that one commit makes durable.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    touched: Vec<Touched>,
    by_key: HashTable<u32>,
    /// What left the pending keys without being touched, and how many were touched before.
    settled: Vec<(usize, Settled)>,
    /// `R` and `T` before.
    context: CausalContext,
    truncated: CausalContext,
}

/// The open journal, and that of the commit under way.
#[derive(Clone, Debug)]
pub(super) struct Journals {
    open: Journal,
    sealed: Option<Journal>,
}

#[derive(Clone, Debug)]
struct Touched {
    section: Section,
    key: Box<[u8]>,
    /// Its registers before; none if it was not kept.
    registers: SmallVec<[Stored; 1]>,
    pending: Option<Arc<EntryContext>>,
}

/// One register of an entry as storage keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterState<'a> {
    /// The replica of its dot, by the map's own number.
    pub(crate) replica: u32,
    pub(crate) counter: u64,
    pub(crate) register: RegisterRef<'a>,
    /// From when its retention runs, if it will be dropped some day.
    pub(crate) dead_from: Option<u64>,
}

/// A commit that is not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncommitted {
    /// The one that has begun,
    UnderWay,
    /// or the one after it.
    Next,
}

/// What the map says of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaState {
    /// The map's own number for it.
    pub(crate) number: u32,
    pub(crate) id: ReplicaId,
    /// Its highest counter in `R`,
    pub(crate) context: u64,
    /// and in `T`.
    pub(crate) truncated: u64,
}

impl Journal {
    fn new(context: CausalContext, truncated: CausalContext) -> Self {
        Self { touched: Vec::new(), by_key: HashTable::new(), settled: Vec::new(), context, truncated }
    }

    fn position(&self, hash: u64, key: Key<'_>) -> Option<usize> {
        let found = self.by_key.find(hash, |&i| self.touched[i as usize].key() == key);
        found.map(|&i| i as usize)
    }

    fn push(&mut self, hash: u64, touched: Touched, table: &Table) {
        let number = u32::try_from(self.touched.len()).expect("a commit touches fewer than 2^32 keys");
        self.touched.push(touched);
        let Self { touched, by_key, .. } = self;
        by_key.insert_unique(hash, number, |&i| table.hash(touched[i as usize].key()));
    }
}

impl Touched {
    fn key(&self) -> Key<'_> {
        Key { section: self.section, bytes: &self.key }
    }
}

impl OrMap {
    /// From now on the map remembers what changes, for storage to keep.
    pub(crate) fn keep_journal(&mut self) {
        let open = Journal::new(self.context.clone(), self.truncated.clone());
        self.journals = Some(Box::new(Journals { open, sealed: None }));
    }

    /// To be called before a key's entry or its pending context changes; `place` is where the entry is.
    pub(super) fn touch(&mut self, place: Place, key: Key<'_>) {
        self.note_touched(key);
        let Some(journals) = &mut self.journals else { return };
        if journals.open.position(place.hash, key).is_some() {
            return;
        }
        let registers = place.slot.into_iter().flat_map(|slot| self.table.registers(slot)).cloned().collect();
        let pending = self.pending.get(key).cloned();
        let touched = Touched { section: key.section, key: key.bytes.into(), registers, pending };
        journals.open.push(place.hash, touched, &self.table);
    }

    /// These keys are no longer pending. Those with registers need not be written for that: their context has settled.
    pub(super) fn note_settled(&mut self, settled: Settled) {
        let Self { journals: Some(journals), table, .. } = self else { return };
        let journal = &mut journals.open;
        let touched_before = journal.touched.len();
        settled.for_each(|key, pending| {
            let place = table.place(key);
            if place.slot.is_none() && journal.position(place.hash, key).is_none() {
                let (section, bytes) = (key.section, key.bytes.into());
                let touched =
                    Touched { section, key: bytes, registers: SmallVec::new(), pending: Some(pending.clone()) };
                journal.push(place.hash, touched, table);
            }
        });
        journal.settled.push((touched_before, settled));
    }

    /// Whether anything has changed since the last commit began.
    pub(crate) fn has_changed(&self) -> bool {
        self.journals.as_ref().is_some_and(|journals| {
            let open = &journals.open;
            !open.touched.is_empty() || open.context != self.context || open.truncated != self.truncated
        })
    }

    /// Which commit holds the key's last change that may not be durable yet, if there is one.
    pub(crate) fn change_of(&self, key: Key<'_>) -> Option<Uncommitted> {
        let journals = self.journals.as_ref()?;
        let hash = self.table.hash(key);
        let sealed = journals.sealed.as_ref();
        match (journals.open.position(hash, key), sealed.and_then(|journal| journal.position(hash, key))) {
            (Some(_), _) => Some(Uncommitted::Next),
            (None, Some(_)) => Some(Uncommitted::UnderWay),
            (None, None) => None,
        }
    }

    /// How many keys have changed since.
    pub(crate) fn changed_keys(&self) -> usize {
        self.journals.as_ref().map_or(0, |journals| journals.open.touched.len())
    }

    /// A commit begins: of what has changed until now. There is none under way.
    pub(crate) fn begin_commit(&mut self) {
        let fresh = Journal::new(self.context.clone(), self.truncated.clone());
        let journals = self.journals.as_mut().expect("a map that is committed keeps a journal");
        debug_assert!(journals.sealed.is_none(), "one commit at a time");
        let sealed = journals.sealed.insert(std::mem::replace(&mut journals.open, fresh));
        // A replica of which nothing is live has no number as yet, and storage knows it by that.
        let grown = self.context.missing_from(&sealed.context).chain(self.truncated.missing_from(&sealed.truncated));
        grown.for_each(|dot| {
            self.index.number(dot.replica);
        });
    }

    /// What the commit under way wrote is durable.
    pub(crate) fn end_commit(&mut self) {
        if let Some(journals) = &mut self.journals {
            journals.sealed = None;
        }
    }

    /// The keys that the commit under way is about.
    pub(crate) fn committed_keys(&self) -> impl Iterator<Item = Key<'_>> {
        let sealed = self.journals.as_ref().and_then(|journals| journals.sealed.as_ref());
        sealed.into_iter().flat_map(|journal| journal.touched.iter().map(Touched::key))
    }

    /// The replicas of which `R` or `T` differs from before the commit under way.
    pub(crate) fn committed_replicas(&self) -> Vec<ReplicaState> {
        let Some(sealed) = self.journals.as_ref().and_then(|journals| journals.sealed.as_ref()) else {
            return Vec::new();
        };
        let grown = self.context.missing_from(&sealed.context).chain(self.truncated.missing_from(&sealed.truncated));
        let mut changed: Vec<ReplicaId> = grown.map(|dot| dot.replica).collect();
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().filter_map(|id| self.index.find(id)).map(|number| self.replica_state(number)).collect()
    }

    /// All replicas that the map has a number for, from that number on.
    pub(crate) fn replicas_from(&self, first: u32) -> impl Iterator<Item = ReplicaState> + '_ {
        (first..self.replica_count()).map(|number| self.replica_state(number))
    }

    /// How many replicas the map has numbers for.
    pub(crate) fn replica_count(&self) -> u32 {
        u32::try_from(self.index.logs.len()).expect("numbers are of that size")
    }

    fn replica_state(&self, number: u32) -> ReplicaState {
        let id = self.index.logs[number as usize].0;
        ReplicaState { number, id, context: self.context.get(id), truncated: self.truncated.get(id) }
    }

    /// The registers of a key; none if it is not kept.
    pub(crate) fn entry_state(&self, key: Key<'_>) -> impl Iterator<Item = RegisterState<'_>> + Clone {
        let slot = self.table.find(key);
        let registers = slot.into_iter().flat_map(|slot| self.table.registers(slot));
        registers.map(|stored| {
            let dot = stored.dot();
            let (replica, counter) = (dot.replica, dot.counter);
            RegisterState { replica, counter, register: stored.register(), dead_from: stored.dead_from() }
        })
    }

    /// The pending context of a key.
    pub(crate) fn pending_of(&self, key: Key<'_>) -> Option<&Arc<EntryContext>> {
        self.pending.get(key)
    }

    /// How many keys have live registers.
    pub(crate) fn entry_count(&self) -> usize {
        self.table.len()
    }

    /// The greatest timestamp that the clock has issued or followed.
    pub(crate) fn clock_last(&self) -> Timestamp {
        self.clock.last()
    }

    /// All keys that have an entry or a pending context, in no order that may matter.
    pub(crate) fn kept_keys(&self) -> impl Iterator<Item = Key<'_>> {
        let pending_only = self.pending.iter().map(|(key, _)| key).filter(|key| self.table.find(*key).is_none());
        self.table.iter().map(|slot| self.table.key(slot)).chain(pending_only)
    }

    /// The commit under way has failed, or will not be: the map is as it was before, and nothing is under way.
    ///
    /// What was touched counts as changed, and so does all that is pending: nobody knows what the disk holds of it.
    pub(crate) fn roll_back(&mut self) {
        let Some(mut journals) = self.journals.take() else { return };
        // What has gone comes back, and what has come goes: nobody's instant is one of this map any more.
        self.departures.give_up();
        let sealed = journals.sealed.take();
        let fresh = Journal::new(CausalContext::new(), CausalContext::new());
        let open = std::mem::replace(&mut journals.open, fresh);
        let mut suspects: Vec<(Section, Box<[u8]>)> = Vec::new();
        for journal in [Some(open), sealed].into_iter().flatten() {
            self.undo(&journal);
            suspects.extend(journal.touched.into_iter().map(|touched| (touched.section, touched.key)));
        }
        suspects.extend(self.pending.iter().map(|(key, _)| (key.section, key.bytes.into())));
        (journals.open.context, journals.open.truncated) = (self.context.clone(), self.truncated.clone());
        self.journals = Some(journals);
        for (section, bytes) in suspects {
            let key = Key { section, bytes: &bytes };
            self.touch(self.table.place(key), key);
        }
    }

    fn undo(&mut self, journal: &Journal) {
        for touched in journal.touched.iter().rev() {
            self.restore_entry(touched.key(), &touched.registers);
            self.pending.set(touched.key(), touched.pending.clone());
        }
        for (touched_before, settled) in journal.settled.iter().rev() {
            settled.for_each(|key, pending| {
                let touched = journal.position(self.table.hash(key), key);
                // Touched before it settled: what it had is put back already.
                if touched.is_none_or(|position| position >= *touched_before) {
                    self.pending.set(key, Some(pending.clone()));
                }
            });
        }
        self.set_context(journal.context.clone());
        self.truncated = journal.truncated.clone();
    }

    fn restore_entry(&mut self, key: Key<'_>, registers: &[Stored]) {
        let place = self.table.place(key);
        if let Some(slot) = place.slot {
            self.detach(slot);
            self.table.remove(slot);
        }
        let Some((first, siblings)) = registers.split_first() else { return };
        let place = self.table.place(key);
        let slot = self.table.insert(place, first.clone());
        self.table.set_siblings(slot, siblings.to_vec());
        self.attach(slot);
    }

    /// A dot that was issued for a write that was taken back is never issued again.
    pub(crate) fn skip_to(&mut self, dot: Dot) {
        self.extend_context(dot);
    }
}
