//! What durability costs: `cargo bench --bench durable -- [DIR] [ENTRIES]`, in a directory on a real disk.
//!
//! Beside the store stand the engine alone, committing batches as large as the store's were on average, and a plain log: the
//! same bytes appended to a file, with `fdatasync` after each batch. Wall time, since waiting for the disk is the point:
//! only ratios within one run mean anything.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tidings::{Config, Secret, Store};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 64;
/// What the store writes for an entry beside its key and value, and with each commit beside the entries.
const ENTRY_OVERHEAD: usize = 16;
const COMMIT_RECORDS: [usize; 2] = [30, 25];

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut next = words.next();
    if next.as_deref() == Some("fill-and-wait") {
        let (directory, entries) = (words.next().expect("a directory"), words.next().expect("a number"));
        return runtime.block_on(fill_and_wait(Path::new(&directory), entries.parse().expect("a number")));
    }
    let entries = words.next().map_or(1_000_000, |word| word.parse().expect("a number"));
    let base = next.take().map_or_else(std::env::temp_dir, PathBuf::from).join("tidings-bench-durable");
    let _ = fs::remove_dir_all(&base);
    fs::create_dir_all(&base).expect("a directory");
    println!(
        "| writers | puts | batch | store | engine alone | plain log | of the engine | of the log | bytes written an entry |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (writers, puts) in [(1, entries / 250), (8, entries / 50), (64, entries)] {
        runtime.block_on(puts_by(&base, writers, puts));
    }
    opening(&runtime, &base, entries);
    let _ = fs::remove_dir_all(&base);
}

// --- Puts

async fn puts_by(base: &Path, writers: usize, puts: usize) {
    let directory = base.join("store");
    let store = open(&directory).await;
    let (commits, written) = (commits_of(&directory), bytes_written());
    let begin = Instant::now();
    fill(&store, writers, puts).await;
    let seconds = begin.elapsed().as_secs_f64();
    let commits = commits_of(&directory) - commits;
    store.close().await;
    // What the engine has put off is part of it.
    let written = (bytes_written() - written) as f64 / puts as f64;
    let batch = (puts as f64 / commits as f64).round().max(1.0) as usize;
    let commits = puts / batch;
    let ours = puts as f64 / seconds;
    let engine = (commits * batch) as f64 / engine_alone(&base.join("engine"), commits, batch);
    let log = (commits * batch) as f64 / plain_log(&base.join("log"), commits, batch);
    println!(
        "| {writers} | {puts} | {batch} | {ours:.0}/s | {engine:.0}/s | {log:.0}/s | {:.2} | {:.2} | {written:.0} B |",
        ours / engine,
        ours / log,
    );
    for left in ["store", "engine", "log"] {
        let _ = fs::remove_dir_all(base.join(left)).or_else(|_| fs::remove_file(base.join(left)));
    }
}

async fn open(directory: &Path) -> Store {
    let secret: Secret = "07".repeat(32).parse().expect("a secret");
    let config = Config::builder().data_dir(directory).listen("127.0.0.1:0").secret(secret).build();
    Store::open(config.expect("settings")).await.expect("a store")
}

async fn fill(store: &Store, writers: usize, puts: usize) {
    let tasks = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(writer as u64);
            for _ in 0..puts / writers {
                let (key, value) = (text(&mut rng, KEY_BYTES), text(&mut rng, VALUE_BYTES));
                store.put(key, value).await.expect("written");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it ends");
    }
}

fn text(rng: &mut StdRng, length: usize) -> Vec<u8> {
    (0..length).map(|_| BASE64[rng.random_range(0..64)]).collect()
}

/// The store counts its commits in a file of its own.
fn commits_of(directory: &Path) -> u64 {
    let bytes = fs::read(directory.join("commits")).unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn bytes_written() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn engine_at(directory: &Path) -> (Database, Keyspace) {
    let database = Database::builder(directory).cache_size(1 << 20).worker_threads(1).open().expect("an engine");
    let options = || {
        use fjall::config::{BlockSizePolicy, FilterPolicy};
        let strategy = fjall::compaction::Leveled::default().with_l0_threshold(16);
        KeyspaceCreateOptions::default()
            .max_memtable_size(16 << 20)
            .data_block_size_policy(BlockSizePolicy::all(16 << 10))
            .filter_policy(FilterPolicy::disabled())
            .compaction_strategy(std::sync::Arc::new(strategy))
    };
    // Of a state that is there these are its own.
    let log = database.keyspace("log", options).expect("a keyspace");
    (database, log)
}

/// Seconds for so many batches, each durable before the next.
fn engine_alone(directory: &Path, commits: usize, batch: usize) -> f64 {
    let (database, log) = engine_at(directory);
    let mut rng = StdRng::seed_from_u64(1);
    let begin = Instant::now();
    for _ in 0..commits {
        let mut writes = database.batch().durability(Some(PersistMode::SyncData));
        for (number, length) in COMMIT_RECORDS.into_iter().enumerate() {
            writes.insert(&log, [number as u8], vec![0; length]);
        }
        for _ in 0..batch {
            let key = [b" ".to_vec(), text(&mut rng, KEY_BYTES)].concat();
            writes.insert(&log, key, text(&mut rng, VALUE_BYTES + ENTRY_OVERHEAD));
        }
        writes.commit().expect("committed");
    }
    begin.elapsed().as_secs_f64()
}

fn plain_log(path: &Path, commits: usize, batch: usize) -> f64 {
    let mut file = File::create(path).expect("a file");
    let mut rng = StdRng::seed_from_u64(1);
    let each = 1 + KEY_BYTES + VALUE_BYTES + ENTRY_OVERHEAD;
    let begin = Instant::now();
    for _ in 0..commits {
        let bytes = text(&mut rng, COMMIT_RECORDS.iter().sum::<usize>() + batch * each);
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("on the disk");
    }
    begin.elapsed().as_secs_f64()
}

// --- Opening after a kill

async fn fill_and_wait(directory: &Path, entries: usize) {
    let store = open(directory).await;
    fill(&store, 64, entries).await;
    println!("filled");
    std::future::pending().await
}

/// Milliseconds to open so many entries after a kill, beside the engine that opens the same files and reads all.
fn opening(runtime: &tokio::runtime::Runtime, base: &Path, entries: usize) {
    let directory = base.join("killed");
    kill_when_filled(&directory, entries);
    let copy = base.join("copy");
    let state = directory.join("state-1");
    let (mut open_ms, mut scan_ms, mut ours_ms) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        // Opening is not free of traces: each of them meets what the kill has left.
        copy_all(&state, &copy);
        let begin = Instant::now();
        let (database, log) = engine_at(&copy);
        open_ms = open_ms.min(ms(begin));
        let begin = Instant::now();
        let read =
            database.snapshot().iter(&log).map(|record| record.into_inner().expect("whole").1.len()).sum::<usize>();
        scan_ms = scan_ms.min(ms(begin));
        assert!(read > entries * VALUE_BYTES);
        drop((log, database));
        let ours = base.join("ours");
        copy_all(&directory, &ours);
        let begin = Instant::now();
        let store = runtime.block_on(open(&ours));
        ours_ms = ours_ms.min(ms(begin));
        assert!(store.status().keys >= entries as u64 * 9 / 10);
        runtime.block_on(store.close());
    }
    println!(
        "\nopening {entries} entries after a kill: the store {ours_ms:.0} ms; the engine alone {open_ms:.0} ms, and {scan_ms:.0} ms to"
    );
    println!(
        "read all: {:.2} times both, {:.2} times the reading alone",
        ours_ms / (open_ms + scan_ms),
        ours_ms / scan_ms
    );
}

fn kill_when_filled(directory: &Path, entries: usize) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .arg("fill-and-wait")
        .arg(directory)
        .arg(entries.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("it says so");
    assert_eq!(line.trim(), "filled");
    child.kill().expect("killed");
    child.wait().expect("gone");
}

fn copy_all(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-r").arg("--sparse=always").arg(from).arg(to).status();
    assert!(status.expect("cp").success());
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
