//! The engines behind one face: an atomic, durable batch; a scan of everything; what each can do to settle and compact.

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) type Key = Vec<u8>;
pub(crate) type Op = (Key, Option<Vec<u8>>); // no value: delete
pub(crate) type Res<T> = Result<T, String>;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("log");

/// The engine's name and its settings, as in `fjall,memtable=8,cache=2`; sizes are in MiB.
#[derive(Clone)]
pub(crate) struct Spec(pub(crate) String);

impl Spec {
    pub(crate) fn name(&self) -> &str {
        self.0.split(',').next().unwrap()
    }

    fn get(&self, option: &str, default: u64) -> u64 {
        let found = self.0.split(',').find_map(|part| part.strip_prefix(option)?.strip_prefix('='));
        found.map_or(default, |n| n.parse().expect("a number"))
    }
}

pub(crate) enum Store {
    Fjall(Database, Keyspace),
    Redb { db: redb::Database, quick: bool },
    Floor(Mutex<File>),
}

pub(crate) struct Engine {
    pub(crate) store: Store,
    /// "Log-structured": records are keyed by an increasing number, with the key before the value, so that only the
    /// right edge of the order is ever written.
    sequence: Option<AtomicU64>,
}

/// `Display` of fjall's errors is their `Debug`, redb's are sentences: the variant is what a caller matches on.
fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn open_fjall(spec: &Spec, dir: &Path) -> fjall::Result<Store> {
    let db = Database::builder(dir)
        .cache_size(spec.get("cache", 2) << 20)
        .worker_threads(spec.get("workers", 1) as usize)
        // the walk of guard.rs reads values as they are
        .journal_compression(CompressionType::None)
        .max_journaling_size(spec.get("journal", 64) << 20)
        .open()?;
    let compression = match spec.get("lz4", 0) {
        0 => CompressionType::None,
        _ => CompressionType::Lz4,
    };
    let strategy = Leveled::default()
        .with_l0_threshold(spec.get("l0", 4) as u8)
        .with_table_target_size(spec.get("table", 64) << 20);
    let mut options = KeyspaceCreateOptions::default()
        .max_memtable_size(spec.get("memtable", 16) << 20)
        .data_block_size_policy(BlockSizePolicy::all((spec.get("block", 4) as u32) << 10))
        .data_block_compression_policy(CompressionPolicy::all(compression))
        .compaction_strategy(Arc::new(strategy));
    if spec.get("filter", 1) == 0 {
        // nobody asks for single keys: everything is read back in one scan
        options = options.filter_policy(FilterPolicy::disabled());
    }
    // the options are stored with the keyspace: those given here count only when it is created
    let keyspace = db.keyspace("log", || options)?;
    Ok(Store::Fjall(db, keyspace))
}

fn open_redb(spec: &Spec, dir: &Path) -> Result<Store, redb::Error> {
    std::fs::create_dir_all(dir)?;
    // `create` opens what is there
    let cache = (spec.get("cache", 16) as usize) << 20;
    let mut db = redb::Database::builder().set_cache_size(cache).create(dir.join("redb"))?;
    // reading does not look at checksums: only this does
    if spec.get("check", 0) == 1 && !db.check_integrity()? {
        return Err(redb::Error::Corrupted("repaired by check_integrity".into()));
    }
    Ok(Store::Redb { db, quick: spec.get("quick", 0) == 1 })
}

impl Engine {
    pub(crate) fn open(spec: &Spec, dir: &Path) -> Res<Self> {
        let store = match spec.name() {
            "fjall" => {
                if spec.get("guard", 0) == 1 {
                    crate::guard::check(dir)?;
                }
                open_fjall(spec, dir).map_err(text)?
            }
            "redb" => open_redb(spec, dir).map_err(text)?,
            _ => {
                std::fs::create_dir_all(dir).map_err(text)?;
                let file = File::options().create(true).append(true).open(dir.join("floor")).map_err(text)?;
                Store::Floor(Mutex::new(file))
            }
        };
        Ok(Self { store, sequence: (spec.get("seq", 0) == 1).then(|| AtomicU64::new(0)) })
    }

    /// One atomic batch, on disk when this returns.
    pub(crate) fn commit(&self, mut batch: Vec<Op>) -> Res<()> {
        if let Some(sequence) = &self.sequence {
            for (key, value) in batch.iter_mut().filter(|op| op.0[0] == 3) {
                let number = sequence.fetch_add(1, Relaxed).to_be_bytes();
                let plain = std::mem::replace(key, [&[4], &number[..]].concat());
                *value = value.take().map(|value| [plain, value].concat());
            }
        }
        match &self.store {
            Store::Fjall(db, keyspace) => commit_fjall(db, keyspace, batch).map_err(text),
            Store::Redb { db, quick } => commit_redb(db, *quick, &batch).map_err(text),
            Store::Floor(file) => {
                let bytes = batch.into_iter().flat_map(|(key, value)| [key, value.unwrap_or_default()]).flatten();
                let mut file = file.lock().unwrap();
                file.write_all(&bytes.collect::<Vec<u8>>()).and_then(|()| file.sync_data()).map_err(text)
            }
        }
    }

    /// Every record, in order, from one snapshot.
    pub(crate) fn scan(&self, mut each: impl FnMut(&[u8], &[u8])) -> Res<()> {
        match &self.store {
            Store::Fjall(db, keyspace) => {
                for guard in db.snapshot().iter(keyspace) {
                    let (key, value) = guard.into_inner().map_err(text)?;
                    each(&key, &value);
                }
            }
            Store::Redb { db, .. } => {
                let table = match db.begin_read().map_err(text)?.open_table(TABLE) {
                    Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
                    table => table.map_err(text)?,
                };
                for pair in table.iter().map_err(text)? {
                    let (key, value) = pair.map_err(text)?;
                    each(key.value(), value.value());
                }
            }
            Store::Floor(_) => (),
        }
        Ok(())
    }

    /// Waits for what goes on in the background. (redb has no background.)
    pub(crate) fn settle(&self) {
        if let Store::Fjall(db, keyspace) = &self.store {
            let mut calm = 0;
            while calm < 20 {
                std::thread::sleep(Duration::from_millis(25));
                let busy = db.outstanding_flushes() + db.active_compactions() + keyspace.sealed_memtable_count();
                calm = if busy == 0 { calm + 1 } else { 0 };
            }
        }
    }
}

fn commit_fjall(db: &Database, keyspace: &Keyspace, batch: Vec<Op>) -> fjall::Result<()> {
    let mut write = db.batch().durability(Some(PersistMode::SyncData));
    for (key, value) in batch {
        match value {
            Some(value) => write.insert(keyspace, key, value),
            None => write.remove(keyspace, key),
        }
    }
    write.commit()
}

fn commit_redb(db: &redb::Database, quick: bool, batch: &[Op]) -> Result<(), redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    write.set_quick_repair(quick);
    {
        let mut table = write.open_table(TABLE)?;
        for (key, value) in batch {
            match value {
                Some(value) => drop(table.insert(&key[..], &value[..])?),
                None => drop(table.remove(&key[..])?),
            }
        }
    }
    Ok(write.commit()?)
}
