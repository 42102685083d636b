//! What has changed in the map, as a batch of records. Not responsible for when: the node's gate is.

use super::record::{self, State};
use super::{Batch, Identity};
use crate::crdt::{EntryContext, Key, OrMap};
use crate::proto::dial::DialTable;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many counters are reserved at once: what a crash may leave void, and so often storage is told.
const RESERVED_BLOCK: u64 = 1 << 20;

/// Remembers what storage has of the contexts that entries share, of the replicas' numbers, and of what is reserved.
#[derive(Debug)]
pub struct Recorder {
    identity: Identity,
    /// Pending contexts that storage has, by where they are; held, so that none can be made where another was.
    contexts: BTreeMap<usize, (Arc<EntryContext>, u64)>,
    next_context: u64,
    /// Records of contexts of which nobody knows whether storage still has them.
    suspect_contexts: Vec<u64>,
    replicas_written: u32,
    reserved: u64,
    commits: u64,
    /// Whether the identity, the peers and all replicas are written with the next batch.
    all: bool,
    peers_version: Option<u64>,
}

/// What a batch is to say beside what has changed in the map.
#[derive(Debug)]
pub(crate) struct Also<'a> {
    pub(crate) dials: &'a DialTable,
    /// Own dots up to here have been issued for writes that were taken back: they are void.
    pub(crate) void_to: u64,
    /// No more writes will come: nothing need stay reserved.
    pub(crate) last: bool,
}

impl Recorder {
    /// For a storage that has nothing yet.
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            contexts: BTreeMap::new(),
            next_context: 0,
            suspect_contexts: Vec::new(),
            replicas_written: 0,
            reserved: 0,
            commits: 0,
            all: true,
            peers_version: None,
        }
    }

    /// For a storage that was just read.
    pub(super) fn resume(
        identity: Identity,
        contexts: impl IntoIterator<Item = (u64, Arc<EntryContext>)>,
        next_context: u64,
        replicas_written: u32,
        (reserved, commits): (u64, u64),
    ) -> Self {
        let contexts = contexts.into_iter().map(|(number, context)| (address(&context), (context, number))).collect();
        Self { contexts, next_context, replicas_written, reserved, commits, all: false, ..Self::new(identity) }
    }

    /// Whose state it records.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The counters up to here are reserved, once the last batch is durable.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Whether the peers are to be written.
    pub(crate) fn lacks_peers(&self, version: u64) -> bool {
        self.peers_version != Some(version)
    }

    /// A batch has failed: nobody knows what storage has of it.
    pub(crate) fn distrust(&mut self) {
        self.suspect_contexts.extend(self.contexts.values().map(|(_, number)| *number));
        self.contexts.clear();
        self.all = true;
        self.peers_version = None;
    }

    /// What the commit that has begun in the map writes.
    pub(crate) fn batch(&mut self, map: &OrMap, also: &Also<'_>) -> Batch {
        let mut batch = self.head(map, also);
        for key in map.committed_keys() {
            self.entry(&mut batch, map, key);
        }
        self.drop_contexts(&mut batch, map);
        batch
    }

    /// All of a map, in batches of about so many bytes, for a storage that has nothing yet. Until it has the last of them
    /// it must not be taken for one that holds a state: together they are one commit.
    pub(super) fn whole<E>(
        &mut self,
        map: &OrMap,
        bytes_max: usize,
        mut write: impl FnMut(&Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let also = Also { dials: &DialTable::default(), void_to: 0, last: true };
        let mut batch = self.head(map, &also);
        let (number, entries) = (batch.number(), batch.entries());
        for key in map.kept_keys() {
            if batch.bytes() >= bytes_max {
                write(&batch)?;
                batch = Batch::default();
                batch.describe(number, entries);
            }
            self.entry(&mut batch, map, key);
        }
        write(&batch)
    }

    /// What a batch says beside entries.
    fn head(&mut self, map: &OrMap, also: &Also<'_>) -> Batch {
        let mut batch = Batch::default();
        if self.all {
            let identity = self.identity;
            batch.put(|key| key.push(record::IDENTITY), |value| record::write_identity(identity, value));
        }
        self.state(&mut batch, map, also);
        self.peers(&mut batch, also);
        self.replicas(&mut batch, map, also);
        self.all = false;
        batch
    }

    fn state(&mut self, batch: &mut Batch, map: &OrMap, also: &Also<'_>) {
        let counter = map.context().get(self.identity.replica).max(also.void_to);
        if also.last {
            self.reserved = counter;
        } else if counter + RESERVED_BLOCK / 2 > self.reserved {
            self.reserved = counter + RESERVED_BLOCK;
        }
        self.commits += 1;
        let (reserved, commits, clock) = (self.reserved, self.commits, map.clock_last());
        let state = State { reserved, clock, commits, entries: map.entry_count() as u64 };
        batch.describe(state.commits, state.entries);
        batch.put(|key| key.push(record::STATE), |value| record::write_state(state, value));
    }

    fn peers(&mut self, batch: &mut Batch, also: &Also<'_>) {
        if self.lacks_peers(also.dials.version()) {
            let (peers, version) = also.dials.remembered();
            self.peers_version = Some(version);
            batch.put(|key| key.push(record::PEERS), |value| record::write_peers(&peers, value));
        }
    }

    fn replicas(&mut self, batch: &mut Batch, map: &OrMap, also: &Also<'_>) {
        let first = if self.all { 0 } else { self.replicas_written };
        let changed = map.committed_replicas().into_iter().filter(|state| state.number < first);
        let own = map.replicas_from(0).take(usize::from(also.void_to > 0 && first > 0));
        let mut states: Vec<_> = changed.chain(map.replicas_from(first)).chain(own).collect();
        states.sort_unstable_by_key(|state| state.number);
        states.dedup_by_key(|state| state.number);
        for mut state in states {
            if state.id == self.identity.replica {
                state.context = state.context.max(also.void_to);
            }
            batch.put(
                |key| key.extend_from_slice(&record::replica_key(state.number)),
                |value| record::write_replica(&state, value),
            );
        }
        self.replicas_written = map.replica_count();
    }

    fn entry(&mut self, batch: &mut Batch, map: &OrMap, key: Key<'_>) {
        let (registers, pending) = (map.entry_state(key), map.pending_of(key));
        let number = pending.map(|pending| self.context(batch, pending));
        if number.is_none() && registers.clone().next().is_none() {
            batch.delete(|to| record::entry_key(key, to));
        } else {
            batch.put(|to| record::entry_key(key, to), |value| record::write_entry(registers, number, value));
        }
    }

    /// The number of a pending context, which is written with it if it is new.
    fn context(&mut self, batch: &mut Batch, context: &Arc<EntryContext>) -> u64 {
        if let Some((_, number)) = self.contexts.get(&address(context)) {
            return *number;
        }
        let number = self.next_context;
        self.next_context += 1;
        self.contexts.insert(address(context), (context.clone(), number));
        batch.put(
            |key| key.extend_from_slice(&record::context_key(number)),
            |value| record::write_context(context, value),
        );
        number
    }

    /// Contexts that have settled, and those that no key has any more. The entries that name them need not be written
    /// anew: a number is never used again, and one without a record has settled.
    fn drop_contexts(&mut self, batch: &mut Batch, map: &OrMap) {
        let dropped = &mut self.suspect_contexts;
        self.contexts.retain(|_, (context, number)| {
            let kept = Arc::strong_count(context) > 1 && !map.context().includes(&context.context);
            if !kept {
                dropped.push(*number);
            }
            kept
        });
        for number in dropped.drain(..) {
            batch.delete(|key| key.extend_from_slice(&record::context_key(number)));
        }
    }
}

fn address(context: &Arc<EntryContext>) -> usize {
    Arc::as_ptr(context).addr()
}
