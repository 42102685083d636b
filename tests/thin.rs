//! Real nodes on links that are thin, come and go, or lead to somebody who does not read: what must hold whatever the
//! machine's speed. Bytes and attempts are counted by the switch between the nodes. Not responsible for how fast it is:
//! `benches/thin.rs` is. Needs root, python3 and ip; without, it says so and leaves them out.
//!
//! The flapping goes on for some seconds, or for `TIDINGS_SECONDS`.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod common;
#[path = "netns/wan.rs"]
mod wan;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use wan::{Counters, OPEN, THIN, Wan, WanNode, agree, sent, wait_for};

/// Longer than anything here takes on any machine: who waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(150);
/// Nodes that start at once dial each other at once, and drop one of two links.
const SETTLED: Duration = Duration::from_secs(2);
const IN_MEMORY: &[&str] = &["--in-memory"];

fn seconds(otherwise: u64) -> u64 {
    std::env::var("TIDINGS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Figures for whoever reads the log: the harness captures what macros print.
fn figure(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Bytes that do not compress, another sequence for each seed (xorshift).
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Of 60 bytes each, key and value.
fn entries(count: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|i| (format!("key{i:013}").into_bytes(), noise(44, i + 1))).collect()
}

#[track_caller]
fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(wait_for(PATIENCE, holds).is_some(), "never: {what}");
}

/// Each cut is long enough for the link to be lost, and no time between two of them is long enough for all the data. Who
/// started from the beginning each time would never have them.
#[test]
fn thin_join_what_arrived_before_a_cut_is_not_sent_again() {
    const ENTRIES: u64 = 3_000;
    const UP: Duration = Duration::from_secs(10);
    const DOWN: Duration = Duration::from_secs(4);
    let Some(wan) = Wan::new(4) else { return };
    // Two pairs that do not know of each other, with the same to send: the links of 2 and 4 are the thin ones.
    let sources = [1, 3].map(|node| wan.start(node, &[], IN_MEMORY));
    sources.iter().for_each(|source| source.import(&entries(ENTRIES)));
    // A queue would not only delay: QUIC waits for longer before it gives up a link that is slow.
    let thin = wan::Shape { delay_ms: 150, queue_ms: 500, ..THIN };
    [2, 4].into_iter().for_each(|node| wan.shape(node, thin));
    let before = wan.counters();
    let [steady, dropped] = [2, 4].map(|node| wan.start(node, &[node - 1], IN_MEMORY));
    wan.flap(4, UP, DOWN);

    let (mut uninterrupted, mut most, mut was_linked, mut lost) = (None, 0, false, 0);
    until("both have all", || {
        let (keys, is_linked) = (dropped.keys(), links(&dropped) > 0);
        assert!(keys >= most, "it had {most} keys, and now {keys}");
        lost += u32::from(was_linked && !is_linked);
        (most, was_linked) = (keys, is_linked);
        if uninterrupted.is_none() && agree(&[&sources[0], &steady]) {
            uninterrupted = Some(sent(&wan.counted_since(&before)[..2]));
        }
        uninterrupted.is_some() && agree(&[&sources[1], &dropped])
    });
    let (uninterrupted, interrupted) = (uninterrupted.unwrap_or(0), sent(&wan.counted_since(&before)[2..]));
    figure(&format!("a join: {uninterrupted} B; on a link that was lost {lost} times: {interrupted} B"));
    assert!(lost > 1, "the cuts were too short to matter");
    assert!(
        interrupted as f64 <= 1.35 * uninterrupted as f64,
        "{interrupted} bytes, where an uninterrupted join takes {uninterrupted}"
    );
}

/// One of three; both sides of it go on writing.
#[test]
fn flapping_link_makes_progress_and_no_storm() {
    const TURN: Duration = Duration::from_secs(1);
    let Some(wan) = Wan::new(3) else { return };
    let nodes = [1, 2, 3].map(|node| wan.start(node, &[1, 2, 3], IN_MEMORY));
    let all: Vec<&WanNode> = nodes.iter().collect();
    until("three nodes agree", || nodes.iter().all(|node| links(node) == 2) && agree(&all));
    std::thread::sleep(SETTLED);
    wan.shape_all(THIN);
    std::thread::sleep(SETTLED);

    let before = wan.counters();
    wan.flap(3, TURN, TURN);
    let turns = seconds(16);
    for turn in 0..turns {
        nodes[0].put(&format!("here{turn}"), b"x");
        nodes[2].put(&format!("there{turn}"), b"x");
        std::thread::sleep(TURN);
    }
    let counted = wan.counted_since(&before);
    let crossed = (0..turns)
        .map(|turn| (nodes[2].has(&format!("here{turn}")), nodes[0].has(&format!("there{turn}"))))
        .fold((0, 0), |sum, (here, there)| (sum.0 + u64::from(here), sum.1 + u64::from(there)));
    let sum = |of: fn(&Counters) -> u64| counted.iter().map(of).sum::<u64>();
    let (dials, packets) = (sum(|node| node.dials), sum(|node| node.sent_packets));
    figure(&format!("{turns} turns: {dials} attempts to connect, {packets} packets, {crossed:?} crossed meanwhile"));
    assert!(crossed.0 > turns / 2 && crossed.1 > turns / 2, "written {turns}, across by then: {crossed:?}");
    assert!(dials <= turns, "{dials} attempts to connect in {turns} turns: a storm");
    assert!(packets <= 60 * turns, "{packets} packets in {turns} turns: a storm");

    wan.steady(3);
    until("all agree afterwards", || agree(&all));
    assert!((0..turns).all(|turn| nodes[1].has(&format!("here{turn}")) && nodes[1].has(&format!("there{turn}"))));
}

/// Who dials too often, or for too short a time, fills the link with attempts of which none is finished.
#[test]
fn a_lost_link_comes_back_and_is_not_buried_under_attempts() {
    const LOST_AFTER: Duration = Duration::from_secs(4);
    let Some(wan) = Wan::new(3) else { return };
    let nodes = [1, 2, 3].map(|node| wan.start(node, &[1, 2, 3], IN_MEMORY));
    let all: Vec<&WanNode> = nodes.iter().collect();
    until("three nodes agree", || nodes.iter().all(|node| links(node) == 2) && agree(&all));
    std::thread::sleep(SETTLED);
    wan.shape_all(THIN);
    wan.cut(3);
    std::thread::sleep(LOST_AFTER);
    until("the cut is noticed", || links(&nodes[2]) == 0 && links(&nodes[0]) == 1 && links(&nodes[1]) == 1);
    nodes[0].put("here", b"x");
    nodes[2].put("there", b"x");

    let before = wan.counters();
    wan.heal(3);
    let back = || nodes.iter().all(|node| links(node) == 2) && agree(&all);
    let took = wait_for(PATIENCE / 3, back);
    let counted = wan.counted_since(&before);
    let dials = counted.iter().map(|node| node.dials).sum::<u64>();
    figure(&format!("{} B and {dials} attempts until all agree again", sent(&counted)));
    assert!(took.is_some(), "{dials} attempts to connect, and none in time");
    assert!(dials <= 20, "{dials} attempts to connect for two links");
}

fn links(node: &WanNode) -> usize {
    node.status()["links"].as_array().map_or(0, Vec::len)
}

/// The link takes more than two minutes for it.
#[test]
fn big_value_lets_small_fresh_ones_pass() {
    const BIG: usize = 1024 * 1024;
    const SMALL: usize = 8;
    let Some(wan) = Wan::new(2) else { return };
    let nodes = [1, 2].map(|node| wan.start(node, &[1, 2], IN_MEMORY));
    until("two nodes agree", || nodes.iter().all(|node| links(node) == 1) && agree(&[&nodes[0], &nodes[1]]));
    std::thread::sleep(SETTLED);
    wan.shape_all(THIN);
    let before = wan.counters();
    nodes[0].put("big", &noise(BIG, 1));
    until("the big one is under way", || sent(&wan.counted_since(&before)) > 20_000);

    for number in 0..SMALL {
        nodes[0].put(&format!("along{number}"), b"x");
        nodes[1].put(&format!("against{number}"), b"x");
        std::thread::sleep(Duration::from_millis(500));
    }
    let missing = || -> Vec<String> {
        let along = (0..SMALL).map(|number| (&nodes[1], format!("along{number}")));
        let against = (0..SMALL).map(|number| (&nodes[0], format!("against{number}")));
        along.chain(against).filter(|(node, key)| !node.has(key)).map(|(_, key)| key).collect()
    };
    // A third of the big one's time.
    let passed = wait_for(Duration::from_secs(40), || missing().is_empty());
    let counted = sent(&wan.counted_since(&before));
    figure(&format!("{counted} B on the link when the small ones have arrived"));
    assert!(passed.is_some(), "they wait behind it: {:?}", missing());
    assert!(!nodes[1].has("big") && counted < BIG as u64, "the big one was to be under way still");

    wan.shape_all(OPEN);
    until("the big one arrives, too", || nodes[1].has("big") && agree(&[&nodes[0], &nodes[1]]));
    assert_eq!(nodes[1].ask("GET", "/v1/kv/big", b"").body, noise(BIG, 1));
}

/// A watcher that never reads, and a peer that is stopped, while ten times as much is written as may be kept for them.
#[test]
fn slow_reader_neither_fills_the_memory_nor_holds_up_others() {
    const VALUE: usize = 64 * 1024;
    const ROUNDS: u64 = 1_000;
    const KEYS: u64 = 10;
    /// A ring of changes of 8 MiB, frames in flight, and what an allocator keeps.
    const GROWTH_MAX: u64 = 24 << 20;
    let Some(wan) = Wan::new(3) else { return };
    let nodes = [1, 2, 3].map(|node| wan.start(node, &[1, 2, 3], IN_MEMORY));
    let all: Vec<&WanNode> = nodes.iter().collect();
    until("three nodes agree", || nodes.iter().all(|node| links(node) == 2) && agree(&all));
    let write = |seed: u64| {
        for round in 0..ROUNDS {
            nodes[0].put(&format!("key{}", round % KEYS), &noise(VALUE, seed + round));
        }
    };
    // What it takes with readers that read, to begin with.
    let reading = nodes[0].watch("");
    write(1);
    until("all have it", || agree(&all));
    let heard = reading.try_iter().count();
    assert!(heard > 0, "the watcher that reads has heard nothing");
    let before = nodes[0].resident();

    let deaf: Vec<TcpStream> = (0..3).map(|_| watch_without_reading(&nodes[0])).collect();
    nodes[2].process.signal("STOP");
    write(1_000_000);
    nodes[0].put("last", b"x");
    until("the other peer goes on", || nodes[1].has("last"));
    until("the other watcher goes on", || reading.try_iter().any(|(key, _)| key == "last"));
    let after = nodes[0].resident();
    figure(&format!("{} MiB before, {} MiB after {} MiB", before >> 20, after >> 20, (ROUNDS * VALUE as u64) >> 20));
    assert!(after <= before + GROWTH_MAX, "from {before} to {after} bytes");

    nodes[2].process.signal("CONT");
    until("the stopped one catches up", || agree(&all));
    drop(deaf);
}

fn watch_without_reading(node: &WanNode) -> TcpStream {
    let address = node.http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    write!(stream, "GET /v1/watch HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sent");
    stream
}
