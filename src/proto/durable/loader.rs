//! A map of all records. Not responsible for reading them: storage gives them, in the order of their keys.

use super::record::{self, Record, State};
use super::{FORMAT, Identity, Recorder, RememberedPeers};
use crate::crdt::{AuditKey, Dot, EntryContext, Key, OrMap, Rebuild, RegisterState, ReplicaId, Section};
use crate::proto::DecodeError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records that are no state of a replica: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A newer release wrote it.
    #[error("it has format {0}, and this release reads up to {FORMAT}")]
    Newer(u64),
    /// Records are missing.
    #[error("{0}")]
    Missing(&'static str),
    /// A record cannot be what was written.
    #[error("the record of {record}: {problem}")]
    Record {
        /// Which one.
        record: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Takes records in the order of their keys.
#[derive(Debug, Default)]
pub struct Loader {
    drift_ms: u64,
    /// Whose copy it becomes, instead of that of the replica that wrote it.
    renamed: Option<ReplicaId>,
    identity: Option<Identity>,
    state: Option<State>,
    peers: RememberedPeers,
    replicas: u32,
    contexts: BTreeMap<u64, Arc<EntryContext>>,
    next_context: u64,
    rebuild: Option<Rebuild>,
    entries: u64,
}

/// What storage had kept.
#[derive(Debug)]
pub struct Kept {
    /// The map, which remembers from now on what changes.
    pub(crate) map: OrMap,
    pub(crate) recorder: Recorder,
    pub(crate) peers: RememberedPeers,
    /// The own counter that was durable. What is above it and in `R` is void: nobody can have it.
    pub(crate) void_from: u64,
    commits: u64,
}

impl Kept {
    /// Of a replica that has not written anything yet.
    pub fn nothing(identity: Identity, drift_ms: u64) -> Self {
        let map = OrMap::with_audit_key(identity.replica, AuditKey::new(identity.cluster)).with_drift_ms(drift_ms);
        Self::new(map, Recorder::new(identity))
    }

    fn new(mut map: OrMap, recorder: Recorder) -> Self {
        map.keep_journal();
        let void_from = map.context().get(map.id());
        Self { map, recorder, peers: RememberedPeers::default(), void_from, commits: 0 }
    }

    /// How many commits the state has had.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Whose state it is.
    pub fn identity(&self) -> Identity {
        self.recorder.identity()
    }

    /// The map.
    pub fn map(&self) -> &OrMap {
        &self.map
    }
}

impl Loader {
    /// For a map whose clock follows others no further than this.
    pub fn new(drift_ms: u64) -> Self {
        Self { drift_ms, ..Self::default() }
    }

    /// What is loaded becomes the state of another replica: that of a backup, which must never issue a dot of the old
    /// one, for that may have gone on. It has to be written as a [whole](Kept::whole) before it is read and used.
    #[must_use]
    pub fn renamed(mut self, replica: ReplicaId) -> Self {
        self.renamed = Some(replica);
        self
    }

    /// How many entries have been read, and how many there were at the last commit.
    pub fn progress(&self) -> (u64, u64) {
        (self.entries, self.state.map_or(0, |state| state.entries))
    }

    /// The next record.
    ///
    /// # Errors
    ///
    /// It cannot be what was written; nothing can be made of what follows.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        if self.identity.is_none() && key == [record::IDENTITY] {
            let format = record::read_format(value).map_err(|error| damaged(key, &error))?;
            if format > FORMAT {
                return Err(Damage::Newer(format));
            }
        }
        match record::read(key, value).map_err(|error| damaged(key, &error))? {
            Record::Identity(identity) => self.identity = Some(identity),
            Record::State(state) => self.state = Some(state),
            Record::Peers(peers) => self.peers = peers,
            Record::Replica(state) => {
                // The numbers of the map are those of the records only then.
                if state.number == 0 && self.identity.is_some_and(|identity| identity.replica != state.id) {
                    return Err(Damage::Missing("its own replica is not the first"));
                }
                self.replicas = state.number.saturating_add(1);
                self.rebuild()?.replica(state).map_err(|problem| wrong(key, problem))?;
            }
            Record::Context { number, context } => {
                self.next_context = self.next_context.max(number.saturating_add(1));
                if !self.rebuild()?.settles(&context) {
                    self.contexts.insert(number, Arc::new(context));
                }
            }
            Record::Entry { key: of, pending, registers } => self.entry(key, of, pending, &registers)?,
        }
        Ok(())
    }

    fn entry(
        &mut self,
        record: &[u8],
        key: Key<'_>,
        pending: Option<u64>,
        registers: &[RegisterState<'_>],
    ) -> Result<(), Damage> {
        self.entries += u64::from(!registers.is_empty());
        if let Some(number) = pending {
            self.next_context = self.next_context.max(number.saturating_add(1));
        }
        // One without a record has settled.
        let context = pending.and_then(|number| self.contexts.get(&number)).cloned();
        if registers.is_empty() && context.is_none() {
            return Ok(());
        }
        let rebuild = self.rebuild()?;
        rebuild.entry(key, registers.iter().copied(), context.as_ref()).map_err(|problem| wrong(record, problem))
    }

    fn rebuild(&mut self) -> Result<&mut Rebuild, Damage> {
        if self.rebuild.is_none() {
            let identity = self.identity.ok_or(Damage::Missing("the record of its identity is missing"))?;
            let state = self.state.ok_or(Damage::Missing("the record of its counters is missing"))?;
            let id = self.renamed.unwrap_or(identity.replica);
            let entries = usize::try_from(state.entries).unwrap_or(usize::MAX);
            self.rebuild = Some(Rebuild::new(id, AuditKey::new(identity.cluster), self.drift_ms, entries));
        }
        Ok(self.rebuild.as_mut().expect("it was just made"))
    }

    /// The state, once the last record was given.
    ///
    /// # Errors
    ///
    /// The records cannot be all of a state.
    pub fn finish(mut self) -> Result<Kept, Damage> {
        self.rebuild()?;
        let (identity, state) = (self.identity.expect("it was needed"), self.state.expect("it was needed"));
        if self.replicas == 0 {
            return Err(Damage::Missing("the record of its own replica is missing"));
        }
        if self.entries != state.entries {
            return Err(Damage::Missing("entries are missing"));
        }
        let rebuild = self.rebuild.take().expect("it was needed");
        let map = rebuild.finish(state.clock).map_err(Damage::Missing)?;
        if let Some(replica) = self.renamed {
            let recorder = Recorder::new(Identity { replica, ..identity });
            return Ok(Kept::new(map, recorder));
        }
        if map.id() != identity.replica {
            return Err(Damage::Missing("its identity is another one at the end"));
        }
        let contexts = self.contexts.into_iter();
        let recorder =
            Recorder::resume(identity, contexts, self.next_context, self.replicas, (state.reserved, state.commits));
        let mut kept = Kept { peers: self.peers, commits: state.commits, ..Kept::new(map, recorder) };
        // Dots that may have been told to clients, of writes that are lost: void, so that no number is used twice, and
        // none is missing.
        kept.map.skip_to(Dot::new(identity.replica, state.reserved));
        Ok(kept)
    }
}

fn damaged(key: &[u8], error: &DecodeError) -> Damage {
    wrong(key, &error.to_string())
}

fn wrong(key: &[u8], problem: &str) -> Damage {
    Damage::Record { record: record_name(key), problem: problem.to_owned() }
}

/// As people read it.
fn record_name(key: &[u8]) -> String {
    match record::read_key(key) {
        Some(Key { section: Section::Usr, bytes }) => format!("key \"{}\"", bytes.escape_ascii()),
        Some(Key { section: Section::Sys, bytes }) => format!("key \"sys/{}\"", bytes.escape_ascii()),
        None => match key.first() {
            Some(&record::IDENTITY) => "its identity".to_owned(),
            Some(&record::STATE) => "its counters".to_owned(),
            Some(&record::PEERS) => "its peers".to_owned(),
            Some(&record::REPLICA) => format!("replica {}", key.escape_ascii()),
            Some(&record::CONTEXT) => format!("pending context {}", key.escape_ascii()),
            _ => format!("{}", key.escape_ascii()),
        },
    }
}
