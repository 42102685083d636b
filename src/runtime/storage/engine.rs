//! The log of commits in an LSM tree (fjall). Not responsible for whose directory it is, nor for what the records mean.
//!
//! One keyspace holds all records, so that one memtable and one journal serve all. Chosen by measuring, see
//! `proto-docs/decisions.md`; the settings are those that write least where many writers share small commits.

use super::{EachRecord, Snapshot, Storage, StorageError, StorageProblem};
use crate::proto::durable::Batch;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
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

/// An open engine in a directory of its own; none after an error, until it is opened again.
#[derive(Debug)]
pub(crate) struct Engine {
    directory: PathBuf,
    open: Option<Open>,
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

impl Engine {
    /// Opens what is there, or begins anew.
    pub(crate) fn open(directory: &Path) -> Result<Self, StorageError> {
        let open = Open::at(directory).map_err(|error| translate(&error))?;
        Ok(Self { directory: directory.to_owned(), open: Some(open) })
    }

    fn opened(&self) -> Result<&Open, StorageError> {
        self.open.as_ref().ok_or_else(|| StorageError::new(StorageProblem::Failed, "it is not open"))
    }
}

impl Storage for Engine {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let committed = self.opened()?.commit(batch).map_err(|error| translate(&error));
        if committed.is_err() {
            // It takes nothing more, and says so of the first failure only.
            self.open = None;
        }
        committed
    }

    fn reopen(&mut self) -> Result<(), StorageError> {
        // Two cannot be open at once.
        self.open = None;
        self.open = Some(Open::at(&self.directory).map_err(|error| translate(&error))?);
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        let Open { log, database } = self.opened()?;
        Ok(Box::new(Records { snapshot: database.snapshot(), log: log.clone() }))
    }

    fn bytes(&self) -> u64 {
        bytes_on_disk(&self.directory)
    }
}

struct Records {
    snapshot: fjall::Snapshot,
    log: Keyspace,
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
