//! The log of commits in an LSM tree (fjall). Not responsible for whose directory it is, nor for what the records mean.
//!
//! One keyspace holds all records, so that one memtable and one journal serve all. Chosen by measuring, see
//! `proto-docs/decisions.md`; the settings are those that write least where many writers share small commits.

use super::torn::{self, PutAside};
use super::{EachRecord, Snapshot, StorageError, StorageProblem};
use crate::proto::durable::Batch;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What people read in `status`.
pub(crate) const KIND: &str = "fjall";

const KEYSPACE: &str = "log";
/// Nobody reads single records: all are read once, in order.
const CACHE_BYTES: u64 = 1 << 20;
const MEMTABLE_BYTES: u64 = 16 << 20;
/// The least that the engine allows.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Larger blocks and later compactions write less; reading is always a scan.
const BLOCK_BYTES: u32 = 16 << 10;
const L0_TABLES: u8 = 16;
/// So much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// An open engine in a directory of its own; none after an error, until it is opened again.
#[derive(Debug)]
pub(crate) struct Engine {
    directory: PathBuf,
    open: Option<Open>,
    reading: Arc<()>,
}

struct Open {
    log: Keyspace,
    database: Database,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Open {
    fn at(directory: &Path) -> fjall::Result<Self> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .journal_compression(CompressionType::None)
            .max_journaling_size(JOURNAL_BYTES)
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                .filter_policy(FilterPolicy::disabled())
                .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(L0_TABLES)))
        };
        let log = database.keyspace(KEYSPACE, options)?;
        Ok(Self { log, database })
    }

    fn commit(&self, batch: &Batch) -> fjall::Result<()> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in batch.iter() {
            match value {
                Some(value) => writes.insert(&self.log, key, value),
                None => writes.remove(&self.log, key),
            }
        }
        writes.commit()
    }
}

/// Opens the engine, without a torn batch at its end if there is one.
fn open(directory: &Path) -> Result<Open, StorageError> {
    if cfg!(debug_assertions) {
        torn::drop_unended(directory).map_err(|error| StorageError::from_io(&error))?;
    }
    let error = match Open::at(directory) {
        Ok(open) => return Ok(open),
        Err(error) => translate(&error),
    };
    if error.problem() != StorageProblem::Damaged {
        return Err(error);
    }
    let aside = PutAside::last_batch(directory).map_err(|error| StorageError::from_io(&error))?;
    let Some(aside) = aside else { return Err(error) };
    match Open::at(directory) {
        Ok(open) => {
            tracing::warn!(path = %directory.display(), "the last batch was torn, and is dropped: it was never durable");
            Ok(open)
        }
        Err(_) => {
            aside.put_back().map_err(|error| StorageError::from_io(&error))?;
            Err(error)
        }
    }
}

impl Engine {
    /// Opens what is there, or begins anew.
    pub(crate) fn open(directory: &Path) -> Result<Self, StorageError> {
        let open = open(directory)?;
        Ok(Self { directory: directory.to_owned(), open: Some(open), reading: Arc::default() })
    }

    /// Whether somebody reads a snapshot.
    pub(crate) fn is_read(&self) -> bool {
        Arc::strong_count(&self.reading) > 1
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts all records in, durable when this returns. For an engine that has none.
    pub(crate) fn copy(&self, records: &dyn Snapshot) -> Result<(), StorageError> {
        let Open { log, database } = self.opened()?;
        let (mut batch, mut outcome) = (database.batch(), Ok(()));
        let mut bytes = 0;
        records.for_each(&mut |key, value| {
            batch.insert(log, key, value);
            bytes += key.len() + value.len();
            if bytes >= COPY_BYTES {
                bytes = 0;
                outcome = std::mem::replace(&mut batch, database.batch()).commit();
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let committed = outcome.and_then(|()| batch.commit()).and_then(|()| database.persist(PersistMode::SyncAll));
        committed.map_err(|error| translate(&error))
    }

    /// As [`Storage::commit`](super::Storage::commit).
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let committed = self.opened()?.commit(batch).map_err(|error| translate(&error));
        if committed.is_err() {
            // It takes nothing more, and says so of the first failure only.
            self.open = None;
        }
        committed
    }

    /// As [`Storage::reopen`](super::Storage::reopen).
    pub(crate) fn reopen(&mut self) -> Result<(), StorageError> {
        // Two cannot be open at once.
        self.open = None;
        self.open = Some(open(&self.directory)?);
        Ok(())
    }

    /// As [`Storage::snapshot`](super::Storage::snapshot).
    pub(crate) fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        let Open { log, database } = self.opened()?;
        let _reading = self.reading.clone();
        Ok(Box::new(Records { snapshot: database.snapshot(), log: log.clone(), _reading }))
    }

    fn opened(&self) -> Result<&Open, StorageError> {
        self.open.as_ref().ok_or_else(|| StorageError::new(StorageProblem::Failed, "it is not open"))
    }
}

struct Records {
    snapshot: fjall::Snapshot,
    log: Keyspace,
    /// Says that somebody still reads.
    _reading: Arc<()>,
}

impl Snapshot for Records {
    fn for_each(&self, each: EachRecord<'_>) -> Result<(), StorageError> {
        for record in self.snapshot.iter(&self.log) {
            let (key, value) = record.into_inner().map_err(|error| translate(&error))?;
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// What the system has set aside for the files: the engine's journals are longer than what is in them.
pub(crate) fn bytes_on_disk(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_on_disk(&entry.path()),
        Ok(metadata) => set_aside(&metadata),
        // It has just gone.
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(unix)]
fn set_aside(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn set_aside(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}

/// The engine's errors are for programmers: what kind it is says the system's error within, if there is one.
fn translate(error: &fjall::Error) -> StorageError {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return StorageError::from_io(error);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break,
        }
    }
    match error {
        fjall::Error::Poisoned => {
            StorageError::new(StorageProblem::Failed, "an earlier write in the background failed")
        }
        fjall::Error::Locked => StorageError::new(StorageProblem::Failed, "it is still being closed"),
        other => StorageError::new(StorageProblem::Damaged, format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Key;
    use crate::crdt::ReplicaId;
    use crate::proto::config::NodeConfig;
    use crate::proto::durable::{Identity, Kept};
    use crate::proto::node::Node;
    use crate::proto::time::{Instant, Now};
    use std::os::unix::fs::FileExt;

    const NOW: Now = Now { instant: Instant::from_micros(1), wall_ms: 1_700_000_000_000 };

    fn node() -> Node {
        let identity = Identity { replica: ReplicaId::from(1), cluster: [1; 16] };
        Node::kept(
            NodeConfig { cluster: identity.cluster, ..NodeConfig::new(identity.replica) },
            Kept::nothing(identity, 60_000),
            NOW,
        )
    }

    fn commit(node: &mut Node, engine: &mut Engine, key: &str, value: &[u8]) {
        node.put(NOW, Key::from(key), value, None);
        engine.commit(&node.begin_commit().expect("a change")).expect("committed");
        node.end_commit(NOW);
    }

    fn keys(engine: &Engine) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let read = engine.snapshot().expect("open").for_each(&mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        });
        read.expect("whole");
        keys
    }

    /// A journal with a page that never came to the disk, in the large value of its last or of an earlier batch.
    fn with_a_hole(in_the_last: bool) -> (tempfile::TempDir, Result<Engine, StorageError>) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut engine = Engine::open(directory.path()).expect("new");
        let mut node = node();
        commit(&mut node, &mut engine, "kettle", b"on");
        commit(&mut node, &mut engine, "large", &[0xab; 50_000]);
        if !in_the_last {
            commit(&mut node, &mut engine, "lamp", b"off");
        }
        drop(engine);
        let journal = directory.path().join("0.jnl");
        let bytes = std::fs::read(&journal).expect("there");
        let large = bytes.windows(8).position(|bytes| bytes == [0xab; 8]).expect("the large value");
        let file = std::fs::File::options().write(true).open(journal).expect("there");
        file.write_all_at(&[0; 4096], large as u64 + 20_000).expect("written");
        let opened = Engine::open(directory.path());
        (directory, opened)
    }

    #[test]
    fn a_last_batch_with_a_hole_is_dropped() {
        let (_directory, engine) = with_a_hole(true);
        let keys = keys(&engine.expect("opened without it"));
        assert!(keys.iter().any(|key| key.ends_with(b"kettle")));
        assert!(!keys.iter().any(|key| key.ends_with(b"large")));
    }

    /// Wherever the pages end that came to the disk, and with zeros after them, as the engine sets its journal aside.
    #[test]
    fn a_last_batch_that_ends_anywhere_is_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut engine = Engine::open(directory.path()).expect("new");
        let mut node = node();
        commit(&mut node, &mut engine, "kettle", b"on");
        commit(&mut node, &mut engine, "lamp", b"off");
        drop(engine);
        let journal = directory.path().join("0.jnl");
        let whole = std::fs::read(&journal).expect("there");
        let batch = torn::batches(&whole).last.expect("a batch");
        // A length takes four bytes, so none is left out by steps of three.
        for cut in batch.clone().step_by(3) {
            std::fs::write(&journal, &whole[..cut]).expect("written");
            std::fs::File::options()
                .write(true)
                .open(&journal)
                .and_then(|file| file.set_len(64 << 10))
                .expect("longer");
            let keys = keys(
                &Engine::open(directory.path()).unwrap_or_else(|error| panic!("cut at {cut} of {batch:?}: {error}")),
            );
            assert!(keys.iter().any(|key| key.ends_with(b"kettle")), "cut at {cut} of {batch:?}");
            assert!(!keys.iter().any(|key| key.ends_with(b"lamp")), "cut at {cut} of {batch:?}");
        }
    }

    #[test]
    fn a_hole_before_the_last_batch_is_damage_and_nothing_is_cut_off() {
        let (directory, engine) = with_a_hole(false);
        assert_eq!(engine.expect_err("refused").problem(), StorageProblem::Damaged);
        let journal = directory.path().join("0.jnl");
        let before = std::fs::read(&journal).expect("there");
        assert!(Engine::open(directory.path()).is_err());
        assert!(std::fs::read(&journal).expect("there") == before, "the journal has changed");
    }
}
