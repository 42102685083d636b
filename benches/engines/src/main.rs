//! Which engine is to hold the log of a durable store: both candidates under our write pattern. See README.md.
//!
//! `engines all DIR` prints every table; `engines COMMAND SPEC DIR` one row. A row is a process of its own, so that
//! CPU and memory are those of the engine alone, and so that it can be killed.

mod engine;
mod faults;
mod guard;
mod probe;

use engine::{Engine, Op, Res, Spec};
use probe::Probe;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

pub(crate) const CONTEXT: [u8; 5] = [1, 0, 0, 0, 0];

/// xorshift64*: enough for keys, and the same run each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn base64(&mut self, bytes: usize, into: &mut Vec<u8>) {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        into.extend((0..bytes).map(|_| ALPHABET[(self.next() >> 58) as usize]));
    }
}

/// The key of entry `number` is a function of it, so that an overwrite hits the same key, and a delete finds it.
fn key(number: u64) -> Vec<u8> {
    let mut key = vec![3];
    // neighbouring seeds give alike first draws, so the number is spread first
    Random((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).base64(16, &mut key);
    key
}

fn value(random: &mut Random) -> Vec<u8> {
    let mut value = vec![0; 15];
    random.base64(64, &mut value);
    value
}

/// Writes the batch's number and length into the header of each record, and the number into the context that goes with
/// each batch: what is found later tells whether batches are whole.
pub(crate) fn stamp(batch: &mut Vec<Op>, number: u64) {
    let length = batch.len() as u32;
    for value in batch.iter_mut().filter_map(|op| op.1.as_mut()) {
        value[..8].copy_from_slice(&number.to_be_bytes());
        value[8..12].copy_from_slice(&length.to_be_bytes());
    }
    let mut context = number.to_be_bytes().to_vec();
    context.resize(30, 0);
    batch.push((CONTEXT.to_vec(), Some(context)));
}

pub(crate) fn number_of(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[..8].try_into().unwrap())
}

/// `count` entries in batches of 64 by this thread alone; gives the number of the last batch.
pub(crate) fn fill(engine: &Engine, count: u64, first: u64) -> Res<u64> {
    let mut random = Random(first + 1);
    let batches = count.div_ceil(64);
    for batch in first..first + batches {
        let mut ops: Vec<Op> = (batch * 64..batch * 64 + 64).map(|n| (key(n), Some(value(&mut random)))).collect();
        stamp(&mut ops, batch);
        engine.commit(ops)?;
    }
    Ok(first + batches - 1)
}

#[derive(Default)]
struct Gathered {
    queue: Vec<Op>,
    /// the number of the batch that the queue will be
    number: u64,
    committed: u64,
    writers: usize,
}

/// Group commit: `writers` threads each put one entry and wait for it; this thread commits whatever has gathered.
/// `next` gives a writer its next entry, `acked` learns of the key and its batch. Gives the number of batches.
fn group(
    engine: &Engine,
    writers: usize,
    first: u64,
    next: impl Fn(usize) -> Option<Op> + Sync,
    acked: impl Fn(&[u8], u64) + Sync,
) -> Res<u64> {
    let state = Mutex::new(Gathered { number: first, committed: first - 1, writers, ..Default::default() });
    let (gathered, committed) = (Condvar::new(), Condvar::new());
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (state, gathered, committed, next, acked) = (&state, &gathered, &committed, &next, &acked);
            scope.spawn(move || {
                while let Some(op) = next(writer) {
                    let key = op.0.clone();
                    let mut state = state.lock().unwrap();
                    let mine = state.number;
                    state.queue.push(op);
                    gathered.notify_one();
                    while state.committed < mine {
                        state = committed.wait(state).unwrap();
                    }
                    drop(state);
                    acked(&key, mine);
                }
                state.lock().unwrap().writers -= 1;
                gathered.notify_one();
            });
        }
        let mut locked = state.lock().unwrap();
        while locked.writers > 0 {
            if locked.queue.is_empty() {
                locked = gathered.wait(locked).unwrap();
                continue;
            }
            let mut batch = std::mem::take(&mut locked.queue);
            let number = locked.number;
            locked.number += 1;
            drop(locked);
            stamp(&mut batch, number);
            // the threads that wait cannot be told apart from those that hang: a failure ends the process
            engine.commit(batch).unwrap_or_else(|error| panic!("commit: {error}"));
            locked = state.lock().unwrap();
            locked.committed = number;
            committed.notify_all();
        }
        Ok(locked.number - first)
    })
}

/// Puts per second by W writers, and what they cost.
fn puts(spec: &Spec, dir: &Path, writers: usize, count: u64, keys: u64) -> Res<()> {
    let engine = Engine::open(spec, dir)?;
    let before = Probe::new(dir);
    let done = AtomicU64::new(0);
    let next = |writer: usize| {
        let number = done.fetch_add(1, Relaxed);
        let mut random = Random(number * 64 + writer as u64 + 1);
        let chosen = if keys == 0 { number } else { random.next() % keys };
        (number < count).then(|| (key(chosen), Some(value(&mut random))))
    };
    let batches = group(&engine, writers, 1, next, |_, _| ())?;
    let (seconds, ..) = Probe::new(dir).since(&before);
    engine.settle();
    drop(engine);
    let (_, written, device, cpu) = Probe::new(dir).since(&before);
    let (length, room) = probe::size(dir);
    let each = |bytes: u64| bytes / count;
    println!(
        "{:<34} {writers:>3} {count:>8} {:>9.0} {:>6.1} {:>8} {:>8} {:>7.1} {:>6} {:>6} {:>6}",
        spec.0,
        count as f64 / seconds,
        count as f64 / batches as f64,
        each(written),
        each(device),
        cpu,
        length >> 20,
        room >> 20,
        probe::peak()
    );
    Ok(())
}

fn puts_head(title: &str) {
    println!("\n{title}");
    println!(
        "{:<34} {:>3} {:>8} {:>9} {:>6} {:>8} {:>8} {:>7} {:>6} {:>6} {:>6}",
        "engine", "W", "puts", "puts/s", "batch", "B/put", "disk B", "CPU s", "MiB", "du", "peak"
    );
}

/// Fills, settles, says what it cost, and waits to be killed.
fn load(spec: &Spec, dir: &Path, count: u64) -> Res<()> {
    let engine = Engine::open(spec, dir)?;
    let before = Probe::new(dir);
    fill(&engine, count, 1)?;
    let seconds = Probe::new(dir).since(&before).0;
    engine.settle();
    let (_, written, device, cpu) = Probe::new(dir).since(&before);
    let (_, room) = probe::size(dir);
    let rate = count as f64 / seconds;
    print!("{:<44} {rate:>8.0} {:>6} {:>6} {cpu:>6.1}", spec.0, written / count, device / count);
    println!(" {:>5} {:>5}", room >> 20, probe::peak());
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

/// Opening, then reading everything back as the store does; memory of a process that has done only this.
fn scan(spec: &Spec, dir: &Path) -> Res<()> {
    let start = Instant::now();
    let engine = Engine::open(spec, dir)?;
    let opened = start.elapsed();
    let (mut count, mut bytes) = (0_u64, 0);
    engine.scan(|key, value| {
        count += 1;
        bytes += key.len() + value.len();
    })?;
    let scanned = start.elapsed() - opened;
    let ratio = opened.as_secs_f64() / scanned.as_secs_f64();
    print!(" {:>7.0} {:>7.0} {ratio:>5.2}", opened.as_secs_f64() * 1e3, scanned.as_secs_f64() * 1e3);
    println!(" {count:>8} {:>5} {:>5}", probe::resident(), probe::peak());
    Ok(())
}

fn child(args: &[&str], dir: &Path) -> Child {
    let exe = std::env::current_exe().unwrap();
    Command::new(exe).args(&args[..2]).arg(dir).args(&args[2..]).stdout(Stdio::piped()).spawn().expect("a child")
}

fn reload_head(title: &str) {
    println!("\n{title}");
    print!("{:<44} {:>8} {:>6} {:>6} {:>6} {:>5} {:>5}", "engine", "puts/s", "B/put", "disk", "CPU s", "du", "peak");
    println!(" {:>7} {:>7} {:>5} {:>8} {:>5} {:>5}", "open ms", "scan ms", "ratio", "records", "RSS", "peak");
}

/// Loads, kills, and opens twice: the first opening may repair, the second comes after a clean close.
fn reload(spec: &str, dir: &Path, count: u64) {
    let mut loader = child(&["load", spec, &count.to_string()], dir);
    let mut line = String::new();
    BufReader::new(loader.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    loader.kill().and_then(|()| loader.wait()).unwrap();
    for head in [line.trim_end().to_string(), format!("{:<86}", "  and after a clean close")] {
        let scanned = child(&["scan", spec], dir).wait_with_output().unwrap();
        println!("{head}{}", String::from_utf8_lossy(&scanned.stdout).trim_end());
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// Puts with 8 writers for ever, from the batch after the last that is there; each acknowledged put is a line.
fn kill_child(spec: &Spec, dir: &Path) -> Res<()> {
    let engine = Engine::open(spec, dir)?;
    let mut last = 0;
    engine.scan(|key, value| last = if key == CONTEXT { number_of(value) } else { last })?;
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    say("open\n".into());
    let serial = AtomicU64::new((last + 1) * 1000);
    let next = |_| {
        let number = serial.fetch_add(1, Relaxed);
        Some((key(number), Some(value(&mut Random(number + 1)))))
    };
    let acked = |key: &[u8], batch: u64| say(format!("{} {batch}\n", str::from_utf8(&key[1..]).unwrap()));
    group(&engine, 8, last + 1, next, acked)?;
    Ok(())
}

#[derive(Default, Debug)]
struct Verdict {
    kills: u64,
    before_open: u64,
    acked: usize,
    batches: u64,
    lost: usize,
    torn: usize,
    gaps: u64,
    context_wrong: u64,
    open_failed: u64,
    /// openings whose first acknowledgement took over a second, and the longest time that one took
    halted: u64,
    longest_first_ms: u128,
    longest_open_ms: u128,
}

/// Kills a writing child again and again; every other time nothing opens the store in between but the next child.
fn kills(spec: &Spec, dir: &Path, count: u64) -> Res<()> {
    let mut random = Random(257);
    let mut acked: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut verdict = Verdict::default();
    for kill in 1..=count {
        let mut writer = child(&["kill-child", &spec.0], dir);
        let output = writer.stdout.take().unwrap();
        let (at_open, is_open) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let (mut lines, mut opened, mut first) = (Vec::new(), None, None);
            // a line without its end was cut by the kill: that put was not acknowledged
            let mut output = BufReader::new(output);
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
                match line.trim_end().split_once(' ') {
                    None => {
                        opened = Some(Instant::now());
                        let _ = at_open.send(());
                    }
                    Some((key, batch)) => {
                        first = first.or(Some(Instant::now()));
                        lines.push(([&[3], key.as_bytes()].concat(), batch.parse::<u64>().unwrap()));
                    }
                }
                line.clear();
            }
            (lines, opened, first)
        });
        // half of the kills may hit the opening, the others are to hit writes
        if kill % 4 < 2 {
            let _ = is_open.recv_timeout(Duration::from_secs(10));
        }
        std::thread::sleep(Duration::from_millis(5 + random.next() % 296));
        writer.kill().and_then(|()| writer.wait()).unwrap();
        let (lines, opened, first) = reader.join().unwrap();
        verdict.kills += 1;
        verdict.before_open += u64::from(opened.is_none());
        if let (Some(opened), Some(first)) = (opened, first) {
            verdict.longest_first_ms = verdict.longest_first_ms.max((first - opened).as_millis());
        }
        acked.extend(lines);
        if kill % 2 == 0 || kill == count {
            verify(spec, dir, &acked, &mut verdict)?;
        }
    }
    verdict.acked = acked.len();
    println!("{}: {verdict:?}", spec.0);
    Ok(())
}

fn verify(spec: &Spec, dir: &Path, acked: &HashMap<Vec<u8>, u64>, verdict: &mut Verdict) -> Res<()> {
    let start = Instant::now();
    let engine = match Engine::open(spec, dir) {
        Ok(engine) => engine,
        Err(error) => {
            println!("open: {error}");
            verdict.open_failed += 1;
            return Ok(());
        }
    };
    verdict.longest_open_ms = verdict.longest_open_ms.max(start.elapsed().as_millis());
    let (mut context, mut found, mut batches) = (0, HashMap::new(), HashMap::<u64, (u32, u32)>::new());
    engine.scan(|key, value| {
        if key == CONTEXT {
            context = number_of(value);
        } else {
            found.insert(key.to_vec(), number_of(value));
            let length = u32::from_be_bytes(value[8..12].try_into().unwrap());
            batches.entry(number_of(value)).or_insert((length, 0)).1 += 1;
        }
    })?;
    let last = batches.keys().copied().max().unwrap_or(0);
    verdict.lost += acked.iter().filter(|(key, batch)| found.get(*key) != Some(batch)).count();
    verdict.torn += batches.values().filter(|(length, seen)| length != seen).count();
    verdict.gaps += last - batches.len() as u64;
    verdict.context_wrong += u64::from(context != last);
    verdict.batches = last;
    // fjall-rs/fjall#257: can the very next start write?
    let start = Instant::now();
    let mut batch = vec![(key(u64::MAX - 1 - last), Some(vec![0; 79]))];
    stamp(&mut batch, last + 1);
    engine.commit(batch)?;
    verdict.halted += u64::from(start.elapsed() > Duration::from_secs(1));
    Ok(())
}

/// Deletes everything again: what gives the room back?
fn space(spec: &Spec, dir: &Path, count: u64) -> Res<()> {
    let mut engine = Engine::open(spec, dir)?;
    let show = |what: &str, start: Instant| {
        let (length, room) = probe::size(dir);
        let (seconds, mib) = (start.elapsed().as_secs_f64(), |bytes| bytes as f64 / f64::from(1 << 20));
        println!("{:<22} {what:<34} {seconds:>7.2} s {:>8.1} MiB {:>8.1} MiB on disk", spec.0, mib(length), mib(room));
    };
    let start = Instant::now();
    let last = fill(&engine, count, 1)?;
    show("filled", start);
    let start = Instant::now();
    for batch in 1..=last {
        let mut ops: Vec<Op> = (batch * 64..batch * 64 + 64).map(|n| (key(n), None)).collect();
        stamp(&mut ops, last + batch);
        engine.commit(ops)?;
    }
    show("all deleted", start);
    let start = Instant::now();
    engine.settle();
    show("settled", start);
    faults::give_back(&mut engine, &show)?;
    let start = Instant::now();
    drop(engine);
    show("closed", start);
    let start = Instant::now();
    drop(Engine::open(spec, dir)?);
    show("opened and closed", start);
    Ok(())
}

fn all(dir: &Path) {
    let run = |args: &[&str]| {
        let mut running = child(args, dir);
        let mut output = String::new();
        running.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        print!("{output}");
        if !running.wait().unwrap().success() {
            println!("{args:?} failed");
        }
        let _ = std::fs::remove_dir_all(dir);
    };
    puts_head("PUTS, new keys (B/put: /proc/self/io; disk B: the device's sectors, with those of all other users)");
    for spec in ["floor", "fjall", "redb", "redb,quick=1"] {
        for (writers, count) in [("1", "3000"), ("8", "20000"), ("64", "1000000")] {
            run(&["puts", spec, writers, count, "0"]);
        }
    }
    puts_head("PUTS that overwrite 100k keys");
    for spec in ["fjall", "redb"] {
        run(&["puts", spec, "64", "1000000", "100000"]);
    }
    reload_head("1M entries in batches of 64 by one thread, settled; SIGKILL; open, scan");
    for spec in ["fjall", "redb", "redb,quick=1", "redb,seq=1", "redb,seq=1,quick=1", "fjall,seq=1"] {
        reload(spec, dir, 1_000_000);
    }
    for spec in [
        "fjall,memtable=8",
        "fjall,memtable=8,l0=8",
        "fjall,memtable=8,lz4=1",
        "fjall,memtable=16,cache=1",
        "fjall,memtable=16,l0=16",
        "fjall,memtable=16,l0=16,filter=0,block=16",
        "fjall,memtable=32",
        "fjall,memtable=32,l0=16,filter=0,block=16",
        "fjall,memtable=64",
        "fjall,memtable=64,workers=2,journal=512,cache=32",
    ] {
        reload(spec, dir, 1_000_000);
    }
    println!("\nKILLS");
    ["fjall,memtable=1", "redb", "redb,quick=1"].iter().for_each(|spec| run(&["kills", spec, "200"]));
    println!("\nROOM GIVEN BACK: 1M entries put, then deleted");
    ["fjall", "redb"].iter().for_each(|spec| run(&["space", spec, "1000000"]));
    println!("\nFAULTS");
    ["fjall", "fjall,memtable=1", "redb"].iter().for_each(|spec| run(&["faults", spec]));
    ["fjall,memtable=1", "fjall,guard=1", "redb", "redb,check=1"].iter().for_each(|spec| run(&["damage", spec]));
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let spec = |text: &str| Spec(text.to_string());
    let done = match args[..] {
        ["all", dir] => {
            all(Path::new(dir));
            Ok(())
        }
        ["puts", s, dir, writers, count, keys] => {
            puts(&spec(s), Path::new(dir), number(writers) as usize, number(count), number(keys))
        }
        ["reload", s, dir, count] => {
            reload(s, Path::new(dir), number(count));
            Ok(())
        }
        ["load", s, dir, count] => load(&spec(s), Path::new(dir), number(count)),
        ["scan", s, dir] => scan(&spec(s), Path::new(dir)),
        ["kills", s, dir, count] => kills(&spec(s), Path::new(dir), number(count)),
        ["kill-child", s, dir] => kill_child(&spec(s), Path::new(dir)),
        ["space", s, dir, count] => space(&spec(s), Path::new(dir), number(count)),
        ["faults", s, dir] => faults::faults(&spec(s), Path::new(dir)),
        ["judge", s, dir, whole] => faults::judge(&spec(s), Path::new(dir), Path::new(whole)),
        ["damage", s, dir] => faults::damage(&spec(s), Path::new(dir)),
        _ => Err("engines all DIR, or a COMMAND SPEC DIR ... of main.rs".into()),
    };
    if let Err(error) = done {
        println!("{error}");
        std::process::exit(1);
    }
}
