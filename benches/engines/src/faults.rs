//! What each engine does when the disk is full, becomes read-only, or has lied; and how it gives room back.

use crate::engine::{Engine, Op, Res, Spec, Store};
use crate::{CONTEXT, Random, fill, key, number_of, stamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// All that an engine offers to shrink; with fjall a writer goes on meanwhile, with redb the type forbids it.
pub(crate) fn give_back(engine: &mut Engine, show: &dyn Fn(&str, Instant)) -> Res<()> {
    if let Store::Fjall(_, keyspace) = &engine.store {
        let keyspace = keyspace.clone();
        let start = Instant::now();
        let compaction = std::thread::spawn(move || {
            keyspace.rotate_memtable_and_wait()?;
            keyspace.major_compact()
        });
        let mut longest = Duration::ZERO;
        while !compaction.is_finished() {
            let one = Instant::now();
            commit(engine, 9_000_000)?;
            longest = longest.max(one.elapsed());
        }
        println!("  rotate, major_compact: {:?}; longest commit meanwhile {longest:?}", compaction.join().unwrap());
        show("compacted", start);
        let start = Instant::now();
        engine.settle();
        show("settled", start);
    }
    if let Store::Redb { db, .. } = &mut engine.store {
        let start = Instant::now();
        let mut rounds = 1;
        while db.compact().map_err(|e| format!("{e:?}"))? {
            rounds += 1;
        }
        println!("  compact: {rounds} calls, &mut self: no writer meanwhile");
        show("compacted", start);
    }
    Ok(())
}

fn commit(engine: &Engine, number: u64) -> Res<()> {
    let mut ops: Vec<Op> = vec![(key(number), Some(vec![0; 79]))];
    stamp(&mut ops, number);
    engine.commit(ops)
}

/// A call that may never return is made by a thread of its own.
fn timed<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(call()));
    receiver.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
        println!("  {what}: HANGS (or panics)");
        std::process::exit(0);
    })
}

fn shell(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().is_ok_and(|status| status.success())
}

/// Which batches are there, whole: "1..=n", and whether one of them is the batch that failed.
fn present(engine: &Engine, failed: u64) -> String {
    let mut batches = BTreeMap::<u64, u32>::new();
    let mut context = 0;
    let scanned = engine.scan(|key, value| match key == CONTEXT {
        true => context = number_of(value),
        false => *batches.entry(number_of(value)).or_default() += 1,
    });
    let whole = (1..).take_while(|n| batches.get(n) == Some(&64)).count() as u64;
    let there = if batches.contains_key(&failed) { "there" } else { "not there" };
    format!("scan {scanned:?}: batches 1..={whole} whole, context {context}, the failed one ({failed}) {there}")
}

fn fill_up(engine: Engine) -> (Engine, u64, String) {
    timed("commit until full", move || {
        let failed = (1..).find_map(|batch| Some((batch, fill(&engine, 64, batch).err()?)));
        let (failed, error) = failed.unwrap();
        (engine, failed, error)
    })
}

/// A commit by a thread, since it may hang.
fn try_commit(what: &str, engine: Engine, number: u64) -> Engine {
    let (engine, result) = timed(what, move || {
        let result = commit(&engine, number);
        (engine, result)
    });
    println!("  {what}: {result:?}");
    engine
}

fn reopen(what: &str, spec: &Spec, dir: &Path, failed: u64) -> Option<Engine> {
    let (spec, dir) = (spec.clone(), dir.to_path_buf());
    let engine = timed(what, move || Engine::open(&spec, &dir));
    match &engine {
        Ok(engine) => println!("  {what}: opened; {}", present(engine, failed)),
        Err(error) => println!("  {what}: {error}"),
    }
    engine.ok()
}

fn close(engine: Engine) {
    let start = Instant::now();
    timed("close", move || drop(engine));
    println!("  close: {:?}", start.elapsed());
}

pub(crate) fn faults(spec: &Spec, dir: &Path) -> Res<()> {
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let (mount, data) = (dir.display(), dir.join("data"));
    for reopen_full in [false, true] {
        assert!(shell(&format!("mount -t tmpfs -o size=8m engines {mount}")), "mount needs root");
        println!("{}: disk full, then {}", spec.0, if reopen_full { "reopened while full" } else { "room comes back" });
        let (engine, failed, error) = fill_up(Engine::open(spec, &data)?);
        println!("  commit of batch {failed}: {error}");
        let mut engine = Some(try_commit("commit again, still full", engine, 9_000_001));
        println!("  read by the same handle: {}", present(engine.as_ref().unwrap(), failed));
        if reopen_full {
            close(engine.take().unwrap());
            engine = reopen("open, still full", spec, &data, failed);
            engine = engine.map(|engine| try_commit("commit, still full", engine, 9_000_002));
        }
        assert!(shell(&format!("mount -o remount,size=64m {mount}")));
        engine = engine.map(|engine| try_commit("commit, same handle, room is back", engine, 9_000_003));
        if let Some(engine) = engine {
            close(engine);
        }
        if let Some(engine) = reopen("open, room is back", spec, &data, failed) {
            close(try_commit("commit", engine, 9_000_004));
        }
        shell(&format!("umount -l {mount}"));
    }
    println!("{}: read-only", spec.0);
    // a plain remount is refused while a file is open for writing; ext4 goes read-only by itself after an error
    let image = dir.with_extension("image");
    let image = image.display();
    let made = shell(&format!("truncate -s 256m {image} && mkfs.ext4 -q -F {image} && mount -o loop {image} {mount}"));
    if made {
        let engine = Engine::open(spec, &data)?;
        fill(&engine, 6400, 1)?;
        shell(&format!("mount -o remount,abort {mount}"));
        let engine = try_commit("commit after the file system gave up", engine, 9_000_005);
        close(try_commit("commit again", engine, 9_000_006));
        if let Some(engine) = reopen("open, read-only", spec, &data, 0) {
            close(try_commit("commit, read-only", engine, 9_000_007));
        }
        shell(&format!("umount {mount}; mount -o loop {image} {mount}"));
        if let Some(engine) = reopen("open, writable again", spec, &data, 0) {
            close(try_commit("commit", engine, 9_000_008));
        }
    }
    shell(&format!("umount -l {mount}; rm -f {image}"));
    Ok(())
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(spec: &Spec, dir: &Path) -> Res<Content> {
    let engine = Engine::open(spec, dir).map_err(|e| format!("open: {e}"))?;
    let mut found = Content::new();
    engine.scan(|key, value| drop(found.insert(key.to_vec(), value.to_vec()))).map_err(|e| format!("scan: {e}"))?;
    Ok(found)
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), into);
        } else if entry.metadata().unwrap().len() > 0 {
            into.push(entry.path());
        }
    }
}

/// What became of the records after the damage, in a few words that can be counted.
pub(crate) fn judge(spec: &Spec, dir: &Path, whole: &Path) -> Res<()> {
    let expected = content(spec, whole)?;
    println!("{}", verdict(&expected, content(spec, dir)));
    Ok(())
}

fn verdict(expected: &Content, found: Res<Content>) -> String {
    let found = match found {
        // the numbers in an error differ each time
        Err(error) => {
            let text: String = error.chars().filter(|c| !c.is_ascii_digit()).collect();
            return format!("error {}", text.chars().take(120).collect::<String>());
        }
        Ok(found) => found,
    };
    let lost = expected.keys().filter(|key| !found.contains_key(*key)).count();
    let wrong = found.iter().filter(|(key, value)| *key != &CONTEXT && expected.get(*key) != Some(value)).count();
    let batches = |content: &Content| {
        let mut counts = BTreeMap::<u64, u32>::new();
        content
            .iter()
            .filter(|(key, _)| *key != &CONTEXT)
            .for_each(|(_, v)| *counts.entry(number_of(v)).or_default() += 1);
        counts
    };
    let (before, after) = (batches(expected), batches(&found));
    let last = after.keys().next_back().copied().unwrap_or(0);
    let prefix = before.range(..=last).eq(after.iter());
    match (lost, wrong) {
        (0, 0) => "no effect".into(),
        (_, 0) if prefix => "SILENT loss of the last batches (a prefix is left)".into(),
        (_, 0) => "SILENT loss of other batches".into(),
        _ => "SILENT wrong records".into(),
    }
}

pub(crate) fn damage(spec: &Spec, dir: &Path) -> Res<()> {
    let (base, trial, whole) = (dir.join("base"), dir.join("trial"), dir.join("whole"));
    let engine = Engine::open(spec, &base)?;
    fill(&engine, 20_000, 1)?;
    engine.settle();
    drop(engine);
    // opened once more, a journal that was set to its full length beforehand is cut to what is in it
    drop(content(spec, &base)?);
    assert!(shell(&format!("cp -r {} {}", base.display(), whole.display())));
    let mut all = Vec::new();
    files(&base, &mut all);
    let mut tally = BTreeMap::<(String, String, String), u32>::new();
    let mut attempt = |file: &Path, kind: &str, what: &str, harm: &dyn Fn(&mut Vec<u8>)| {
        let _ = std::fs::remove_dir_all(&trial);
        assert!(shell(&format!("cp -r {} {}", base.display(), trial.display())));
        let target = trial.join(file.strip_prefix(&base).unwrap());
        let mut bytes = std::fs::read(&target).unwrap();
        harm(&mut bytes);
        std::fs::write(&target, bytes).unwrap();
        // a process of its own: an engine may panic, or abort for want of memory, over a length that was damaged
        let mut judged = Command::new("timeout");
        judged.arg("20").arg(std::env::current_exe().unwrap()).args(["judge", &spec.0]).args([&trial, &whole]);
        let judged = judged.output().unwrap();
        let said = String::from_utf8_lossy(if judged.stdout.is_empty() { &judged.stderr } else { &judged.stdout });
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing said, or hangs");
        let code = if judged.status.success() { String::new() } else { format!(" [{}]", judged.status) };
        let text: String = first.chars().filter(|c| !c.is_ascii_digit()).take(150).collect();
        *tally.entry((kind.into(), what.into(), text + &code)).or_default() += 1;
    };
    let mut random = Random(7);
    for file in &all {
        let length = std::fs::metadata(file).unwrap().len();
        let name = file.file_name().unwrap().to_string_lossy();
        let below = file.strip_prefix(&base).unwrap().to_string_lossy().into_owned();
        let kind = match (name.ends_with(".jnl"), below.contains("tables")) {
            (true, _) => "journal",
            (_, true) => "table",
            _ if name == "redb" => "file",
            _ => "small files",
        };
        let big = length > 20_000;
        for _ in 0..if big { 150 } else { 15 } {
            let at = (random.next() % length) as usize;
            attempt(file, kind, "a byte flipped", &|bytes| bytes[at] ^= 0x55);
        }
        for _ in 0..if big { 30 } else { 0 } {
            let at = ((random.next() % length) as usize) & !4095;
            attempt(file, kind, "a 4 KiB page zeroed", &|bytes| {
                let end = bytes.len().min(at + 4096);
                bytes[at..end].fill(0);
            });
        }
        for cut in [1, 7, 100, 1000, 5000, 100_000] {
            attempt(file, kind, "the end cut off", &|bytes| bytes.truncate(bytes.len().saturating_sub(cut)));
        }
    }
    for ((kind, what, outcome), count) in &tally {
        println!("{:<18} {kind:<12} {what:<20} {count:>4}  {outcome}", spec.0);
    }
    Ok(())
}
