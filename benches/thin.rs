//! What a thin link costs: `cargo bench --bench thin [-- ROW...]`, with real processes on links of 64 kbit/s and 300 ms
//! there and back. Everything is measured from outside: bytes by the switch between the nodes, headers included, times
//! by this process, which writes at one node and watches the other.
//!
//! The floor of a transfer is the time that the link takes for keys and values alone. Needs root, python3 and ip.

#[path = "../tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
mod measure;
#[path = "../tests/netns/wan.rs"]
mod wan;

use measure::{Target, figure, row};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::OnceLock;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use wan::{OPEN, Shape, THIN, Wan, WanNode, agree, sent, wait_for};

type Entry = (Vec<u8>, Vec<u8>);

const BITS_PER_S: f64 = 64_000.0;
const ROUND_TRIP: Duration = Duration::from_millis(300);
const KEY_BYTES: usize = 16;
/// Of the transfers, key and value together; `reconnect` has those of the other benches.
const ENTRY_BYTES: usize = 60;
const ENTRY_BYTES_RECONNECT: usize = 80;
const DIFFERING: usize = 10_000;
/// No transfer takes so long that is not broken,
const PATIENCE: Duration = Duration::from_secs(300);
/// and nothing else so long.
const PATIENCE_BRIEF: Duration = Duration::from_secs(60);

/// What can be asked for by name: `cargo bench --bench thin -- write idle`. Without a name, all of it.
const ROWS: [(&str, fn()); 11] = [
    ("write", fresh_write),
    ("plain", plain),
    ("random", random),
    ("catchup", catch_up),
    ("fresh", fresh_beside_catch_up),
    ("cuts", cuts),
    ("heal", healed),
    ("reconnect", reconnection),
    ("limit", upload_limit),
    ("idle", idle),
    ("ledger", ledger),
];

fn main() {
    // Cargo adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if Wan::new(1).is_none() {
        return;
    }
    println!("64 kbit/s and 300 ms there and back, unless a row says otherwise. A ratio is that to the floor.\n");
    measure::head();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|part| part == name);
    ROWS.iter().filter(|(name, _)| wanted(name)).for_each(|(_, run)| run());
}

// --- Entries

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Over an alphabet of 64, so that three quarters of each byte are entropy.
fn text(rng: &mut StdRng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| ALPHABET[usize::from(rng.random::<u8>() % 64)]).collect()
}

fn noise(rng: &mut StdRng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rng.random()).collect()
}

type Bytes = fn(&mut StdRng, usize) -> Vec<u8>;

fn entries(count: usize, entry_bytes: usize, of: Bytes, seed: u64) -> Vec<Entry> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| (of(&mut rng, KEY_BYTES), of(&mut rng, entry_bytes - KEY_BYTES))).collect()
}

/// Other values for the same keys.
fn overwritten(entries: &[Entry], of: Bytes, seed: u64) -> Vec<Entry> {
    let mut rng = StdRng::seed_from_u64(seed);
    entries.iter().map(|(key, value)| (key.clone(), of(&mut rng, value.len()))).collect()
}

// --- The table

/// Seconds beside the floor's.
fn times(work: &str, floor_s: f64, ours: Option<f64>, target: Target) {
    let floor = format!("{floor_s:.1} s");
    match ours {
        Some(ours_s) => {
            let ratio = ours_s / floor_s;
            row(work, &floor, &format!("{ours_s:.1} s"), &format!("{ratio:.2}"), target, target.verdict(ratio));
        }
        None => row(work, &floor, "never", "", target, "NO"),
    }
}

fn note(work: &str, ours: &str) {
    row(work, "", ours, "", Target::None, "");
}

fn refused(work: &str, target: Target, reason: &str) {
    row(work, "", "", "", target, &format!("not run, refused: {reason}"));
}

/// Median and worst; the target is held to the worst. What never came is the worst.
fn spread_of(work: &str, mut all: Vec<Option<f64>>, unit: &str, target: Target) {
    all.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
    let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
    let Some(median) = median else { return row(work, "", "never", "", target, "NO") };
    figure(&format!("{work}, median of {}", all.len()), "", median.round(), unit, target);
    match worst {
        Some(worst) => figure("   worst", "", worst.round(), unit, target),
        None => row("   worst", "", "never", "", target, "NO"),
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

// --- Two nodes

struct Pair {
    a: WanNode,
    b: WanNode,
    // The last to go: it ends what still runs in its namespaces.
    wan: Wan,
}

/// Linked, agreed, on an open link.
fn pair(flags: &[&str]) -> Result<Pair, String> {
    let wan = Wan::new(2).ok_or("no namespaces")?;
    let (a, b) = (wan.try_start(1, &[2], flags)?, wan.try_start(2, &[1], flags)?);
    let pair = Pair { a, b, wan };
    pair.agreed().ok_or("two nodes that do not agree")?;
    // Both have dialled, and one of two links goes.
    std::thread::sleep(Duration::from_secs(2));
    Ok(pair)
}

impl Pair {
    fn agreed(&self) -> Option<Duration> {
        wait_for(PATIENCE, || self.is_agreed())
    }

    fn is_agreed(&self) -> bool {
        linked(&self.a) && linked(&self.b) && agree(&[&self.a, &self.b])
    }

    /// Both have noticed, and the link is thin when it comes back.
    fn cut(&self) {
        self.wan.shape_all(THIN);
        self.wan.cut(2);
        wait_for(PATIENCE_BRIEF, || !linked(&self.a) && !linked(&self.b)).expect("a cut link is noticed");
    }
}

fn linked(node: &WanNode) -> bool {
    node.status()["links"].as_array().is_some_and(|links| !links.is_empty())
}

/// What `b` has missed while it was cut off.
struct Missed {
    of: Bytes,
    /// Deletes among it that `a` no longer remembers.
    forgotten: bool,
}

const TEXT: Missed = Missed { of: text, forgotten: false };
const NOISE: Missed = Missed { of: noise, forgotten: false };
const FORGOTTEN: Missed = Missed { of: text, forgotten: true };

impl Missed {
    const DELETED: usize = 100;

    /// 20,000 keys at both; while `b` is cut off, 10,000 of them are overwritten. The cut is still there.
    fn pair(&self, flags: &[&str]) -> Result<Pair, String> {
        let mut flags = flags.to_vec();
        if self.forgotten {
            flags.extend(["--tombstone-age", "1s"]);
        }
        let pair = pair(&flags)?;
        let entries = entries(2 * DIFFERING, ENTRY_BYTES, self.of, 1);
        let doomed: Vec<Entry> = (0..Self::DELETED).map(|i| (format!("doomed/{i}").into(), vec![b'x'])).collect();
        pair.a.import(&entries);
        pair.a.import(&doomed);
        pair.agreed().ok_or("no sync on an open link")?;
        pair.cut();
        pair.a.import(&overwritten(&entries[..DIFFERING], self.of, 2));
        if self.forgotten {
            for (key, _) in &doomed {
                let path = format!("/v1/kv/{}", String::from_utf8_lossy(key));
                assert_eq!(pair.a.ask("DELETE", &path, b"").status, 204);
            }
            let forgotten = || pair.a.status()["tombstones"] == 0;
            wait_for(PATIENCE_BRIEF, forgotten).ok_or("the deletes are not forgotten")?;
        }
        Ok(pair)
    }
}

/// The link's own time for the keys and values that differ.
fn payload_s() -> f64 {
    (DIFFERING * ENTRY_BYTES) as f64 * 8.0 / BITS_PER_S
}

struct Transfer {
    s: Option<f64>,
    bytes: u64,
}

impl Transfer {
    fn print(&self, work: &str, target: Target) {
        times(work, payload_s(), self.s, target);
        note("   bytes on the link, both ways", &format!("{} B", self.bytes));
    }
}

/// From the moment that the link is healed to agreement, a new connection included.
fn transfer(missed: &Missed, flags: &[&str]) -> Result<Transfer, String> {
    let pair = missed.pair(flags)?;
    let before = pair.wan.counters();
    pair.wan.heal(2);
    let took = pair.agreed();
    Ok(Transfer { s: took.map(seconds), bytes: sent(&pair.wan.counted_since(&before)) })
}

// --- The rows

fn fresh_write() {
    let work = "one fresh write, warm link: until it shows";
    let limit_ms = 1.5 * ms(ROUND_TRIP) + 50.0;
    let pair = pair(&[]).expect("two nodes");
    pair.wan.shape_all(THIN);
    // The path's round trip is measured anew.
    std::thread::sleep(Duration::from_secs(3));
    let mut rng = StdRng::seed_from_u64(3);
    let mut clock = Clock::new(&pair.a, &pair.b, "fresh");
    for _ in 0..20 {
        clock.write();
        std::thread::sleep(Duration::from_millis(rng.random_range(1_500..2_500)));
    }
    let all = clock.latencies(PATIENCE_BRIEF).into_iter().map(|latency| latency.map(ms)).collect();
    spread_of(work, all, "ms", Target::AtMost(limit_ms, limit_ms));
}

/// Writes at one node, and when another shows them.
struct Clock<'a> {
    at: &'a WanNode,
    name: &'static str,
    heard: Receiver<(String, Instant)>,
    written: Vec<(String, Instant)>,
}

impl<'a> Clock<'a> {
    fn new(at: &'a WanNode, seen_at: &WanNode, name: &'static str) -> Self {
        Self { at, name, heard: seen_at.watch(&format!("{name}/")), written: Vec::new() }
    }

    fn write(&mut self) {
        let key = format!("{}/{:04}", self.name, self.written.len());
        self.written.push((key.clone(), Instant::now()));
        self.at.put(&key, &[b'x'; ENTRY_BYTES - KEY_BYTES]);
    }

    /// None for what has not come in time.
    fn latencies(&self, at_most: Duration) -> Vec<Option<Duration>> {
        let deadline = Instant::now() + at_most;
        let mut shown = Vec::new();
        while shown.len() < self.written.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(change) = self.heard.recv_timeout(left) else { break };
            shown.push(change);
        }
        let latency = |(key, at): &(String, Instant)| {
            shown.iter().find(|(shown, _)| shown == key).map(|(_, seen)| seen.saturating_duration_since(*at))
        };
        self.written.iter().map(latency).collect()
    }
}

/// Of text as it comes; every row that is about a part of it asks for the same run.
fn text_transfer() -> &'static Result<Transfer, String> {
    static RUN: OnceLock<Result<Transfer, String>> = OnceLock::new();
    RUN.get_or_init(|| transfer(&TEXT, &[]))
}

fn plain() {
    match text_transfer() {
        Ok(run) => run.print("10,000 differing of 60 B", Target::AtMost(1.0, 1.0)),
        Err(reason) => refused("10,000 differing of 60 B", Target::AtMost(1.0, 1.0), reason),
    }
}

fn random() {
    let (work, target) = ("10,000 differing of 60 random bytes", Target::AtMost(1.15, 1.15));
    match transfer(&NOISE, &[]) {
        Ok(run) => run.print(work, target),
        Err(reason) => refused(work, target, &reason),
    }
}

fn catch_up() {
    let (work, target) = ("the same text through a catch-up", Target::AtMost(1.6, 1.45));
    match transfer(&FORGOTTEN, &[]) {
        Ok(run) => run.print(work, target),
        Err(reason) => refused(work, target, &reason),
    }
}

/// One write a second at each end while the catch-up is under way.
fn fresh_beside_catch_up() {
    let (work, target) = ("one write a second during a catch-up", Target::AtMost(3_000.0, 3_000.0));
    let pair = match FORGOTTEN.pair(&[]) {
        Ok(pair) => pair,
        Err(reason) => return refused(work, target, &reason),
    };
    let mut clocks = [Clock::new(&pair.a, &pair.b, "fresh"), Clock::new(&pair.b, &pair.a, "back")];
    pair.wan.heal(2);
    if wait_for(PATIENCE_BRIEF, || linked(&pair.a)).is_none() {
        return row(work, "", "no link", "", target, "NO");
    }
    let mut next = Instant::now();
    let took = wait_for(PATIENCE, || {
        if Instant::now() >= next {
            clocks.iter_mut().for_each(Clock::write);
            next += Duration::from_secs(1);
        }
        agree(&[&pair.a, &pair.b])
    });
    times("   the catch-up meanwhile", payload_s(), took.map(seconds), Target::None);
    for (clock, from) in clocks.iter().zip(["its sender", "its receiver"]) {
        let mut all: Vec<Option<f64>> =
            clock.latencies(PATIENCE_BRIEF).into_iter().map(|latency| latency.map(ms)).collect();
        all.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
        let at = |part: f64| all[((all.len() as f64 * part).ceil() as usize).clamp(1, all.len()) - 1];
        let work = format!("{work}, at {from}: p99 of {}", all.len());
        match at(0.99) {
            Some(p99) => figure(&work, "", p99.round(), "ms", target),
            None => row(&work, "", "never", "", target, "NO"),
        }
        note("   median", &at(0.5).map_or("never".to_owned(), |median| format!("{median:.0} ms")));
    }
}

/// The same transfer on a link that is cut after every 10 s: for a blink, which connections survive, and for so long that
/// they are lost. Of the second only the time that the link was up is compared.
fn cuts() {
    let target = Target::AtMost(1.15, 1.15);
    let uninterrupted = match text_transfer() {
        Ok(Transfer { s: Some(s), .. }) => *s,
        _ => return refused("the same, link cut every 10 s", target, "the uninterrupted transfer never ended"),
    };
    let (up, blink, lost) = (Duration::from_secs(10), Duration::from_millis(500), Duration::from_secs(5));
    for (missed, down, work, target) in [
        (&TEXT, blink, "the same text, cut for 0.5 s every 10 s", target),
        (&TEXT, lost, "the same text, cut for 5 s every 10 s: time up", target),
        (&FORGOTTEN, lost, "a catch-up, cut for 5 s every 10 s: time up", Target::None),
    ] {
        let pair = match missed.pair(&[]) {
            Ok(pair) => pair,
            Err(reason) => return refused(work, target, &reason),
        };
        let before = pair.wan.counters();
        pair.wan.flap(2, up, down);
        let took = pair.agreed().map(|took| if down == blink { took } else { time_up(took, up, down) });
        times(work, uninterrupted, took.map(seconds), target);
        note("   bytes on the link, both ways", &format!("{} B", sent(&pair.wan.counted_since(&before))));
    }
}

fn time_up(took: Duration, up: Duration, down: Duration) -> Duration {
    let cycles = (seconds(took) / seconds(up + down)).floor() as u32;
    up * cycles + (took - (up + down) * cycles).min(up)
}

/// One of three is cut off for 10 s, in which both sides write once.
fn healed() {
    let wan = Wan::new(3).expect("namespaces");
    let nodes = [1, 2, 3].map(|node| wan.start(node, &[1, 2, 3], &[]));
    let all: Vec<&WanNode> = nodes.iter().collect();
    let agreed = || wait_for(PATIENCE_BRIEF, || agree(&all));
    agreed().expect("three nodes agree");
    std::thread::sleep(Duration::from_secs(2));
    wan.shape_all(THIN);
    let mut rng = StdRng::seed_from_u64(4);
    let (mut shown, mut settled) = (Vec::new(), Vec::new());
    for round in 0..7 {
        std::thread::sleep(Duration::from_millis(rng.random_range(2_000..3_000)));
        wan.cut(3);
        std::thread::sleep(Duration::from_secs(5));
        nodes[0].put(&format!("here{round}"), b"x");
        nodes[2].put(&format!("there{round}"), b"x");
        std::thread::sleep(Duration::from_millis(rng.random_range(5_000..5_500)));
        wan.heal(3);
        let start = Instant::now();
        let crossed = || nodes[2].has(&format!("here{round}")) && all.iter().all(|n| n.has(&format!("there{round}")));
        shown.push(wait_for(PATIENCE_BRIEF, crossed).map(ms));
        settled.push(agreed().map(|_| ms(start.elapsed())));
        if settled.last() == Some(&None) {
            break;
        }
    }
    let target = Target::AtMost(2_000.0, 2_000.0);
    spread_of("silent cut of 10 s healed: all show all", shown, "ms", Target::None);
    spread_of("silent cut of 10 s healed: all agree, members too", settled, "ms", target);
}

fn reconnection() {
    let entries = entries(100_000, ENTRY_BYTES_RECONNECT, text, 5);
    let pair = pair(&[]).expect("two nodes");
    pair.a.import(&entries);
    pair.agreed().expect("they agree");
    let targets = [Target::AtMost(8_000.0, 6_000.0), Target::AtMost(110_000.0, 110_000.0)];
    for ((differing, rounds), target) in [(1, 5), (1_000, 3)].into_iter().zip(targets) {
        let mut all = Vec::new();
        for round in 0..rounds {
            pair.cut();
            pair.a.import(&overwritten(&entries[round * differing..][..differing], text, 6 + round as u64));
            std::thread::sleep(Duration::from_millis(3_000 + 170 * round as u64));
            let before = pair.wan.counters();
            pair.wan.heal(2);
            let agreed = wait_for(PATIENCE_BRIEF, || pair.is_agreed());
            let counted = pair.wan.counted_since(&before);
            all.push(agreed.map(|_| sent(&counted) as f64));
            if agreed.is_none() {
                break;
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        spread_of(&format!("reconnection, {differing} of 100k differ: bytes"), all, "B", target);
    }
}

fn upload_limit() {
    const LIMIT: f64 = 8_000.0;
    let work = "an upload limit of 8 kB/s: the most in any 10 s";
    let target = Target::AtMost(LIMIT * 1.05, LIMIT * 1.05);
    let pair = match pair(&["--upload-limit", "8000"]) {
        Ok(pair) => pair,
        Err(reason) => return refused(work, target, &reason),
    };
    pair.wan.shape_all(Shape { bits_per_s: 10_000_000, delay_ms: 10, ..OPEN });
    pair.wan.record();
    pair.a.import(&entries(5_000, ENTRY_BYTES, noise, 7));
    std::thread::sleep(Duration::from_secs(28));
    let packets: Vec<(f64, u64)> =
        pair.wan.recorded().into_iter().filter(|p| p.from == 1).map(|p| (p.at, p.bytes)).collect();
    let in_window = |from: f64, s: f64| -> u64 {
        let within = packets.iter().filter(|(at, _)| (from..from + s).contains(at));
        within.map(|(_, bytes)| bytes).sum()
    };
    let most = |s: f64| packets.iter().map(|(at, _)| in_window(*at, s)).max().unwrap_or(0) as f64 / s;
    let begin = packets.first().map_or(0.0, |(at, _)| *at);
    figure(work, "8000 B/s", most(10.0).round(), "B/s", target);
    figure("   the most in any second", "8000 B/s", most(1.0).round(), "B/s", Target::None);
    let used = in_window(begin + 5.0, 20.0) as f64 / 20.0;
    figure(
        "   used while there is more to send",
        "8000 B/s",
        used.round(),
        "B/s",
        Target::AtLeast(LIMIT * 0.95, LIMIT),
    );
}

/// Sent and received, headers included, of the node with the most.
fn idle() {
    let target = Target::AtMost(40.0, 40.0);
    let work = "idle, metered, 3 nodes, 2 minutes: a node, both ways";
    match idle_for(&["--profile", "metered"], Duration::from_secs(120)) {
        Ok(rate) => figure(work, "", (rate * 10.0).round() / 10.0, "B/s", target),
        Err(reason) => refused(work, target, &reason),
    }
    if let Ok(rate) = idle_for(&[], Duration::from_secs(30)) {
        figure("   the same with the profile `lan`, 30 s", "", rate.round(), "B/s", Target::None);
    }
}

fn idle_for(flags: &[&str], during: Duration) -> Result<f64, String> {
    let wan = Wan::new(3).ok_or("no namespaces")?;
    let nodes = [1, 2, 3].map(|node| wan.try_start(node, &[1, 2, 3], flags));
    let [a, b, c] = nodes;
    let nodes = [a?, b?, c?];
    let all: Vec<&WanNode> = nodes.iter().collect();
    let meshed = || all.iter().all(|node| node.status()["links"].as_array().is_some_and(|links| links.len() == 2));
    wait_for(PATIENCE_BRIEF, || meshed() && agree(&all)).ok_or("three nodes do not link or agree")?;
    wan.shape_all(THIN);
    // What follows a start is not idleness.
    std::thread::sleep(Duration::from_secs(30));
    let (before, start) = (wan.counters(), Instant::now());
    std::thread::sleep(during);
    let counted = wan.counted_since(&before);
    if !meshed() {
        return Err("the links were not kept".to_owned());
    }
    let most = counted.iter().map(|node| node.sent_bytes + node.received_bytes).max().unwrap_or(0);
    Ok(most as f64 / seconds(start.elapsed()))
}

/// What a node says that it has sent and received, beside what the switch has counted since its start.
fn ledger() {
    let pair = pair(&[]).expect("two nodes");
    pair.wan.shape_all(Shape { bits_per_s: 1_000_000, ..OPEN });
    pair.a.import(&entries(5_000, ENTRY_BYTES, noise, 8));
    pair.agreed().expect("they agree");
    compare_ledger("the ledger of a node: bytes sent, of those counted", &pair);
    pair.cut();
    pair.wan.heal(2);
    if pair.agreed().is_none() {
        return row("   after a lost link", "", "no link", "", Target::None, "NO");
    }
    compare_ledger("   after a lost link", &pair);
}

fn compare_ledger(work: &str, pair: &Pair) {
    let (said, counted) = (pair.a.ledger(), pair.wan.counters()[0]);
    for (way, said, counted) in [("sent", said.0, counted.sent_bytes), ("received", said.1, counted.received_bytes)] {
        let ratio = said as f64 / counted as f64;
        let verdict = if (ratio - 1.0).abs() <= 0.02 { "yes" } else { "NO (within 0.02 of 1)" };
        let (work, ratio) = (work.replace("sent", way), format!("{ratio:.3}"));
        row(&work, &format!("{counted} B"), &format!("{said} B"), &ratio, Target::None, verdict);
    }
}
