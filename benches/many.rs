//! Many nodes in virtual time, by the production machines: `cargo bench --bench many`, or with `-- rounds digest` some of
//! it, and `-- --nodes 300` at another size. Not responsible for one or two nodes, nor for real networks.
//!
//! | work | what it is |
//! | --- | --- |
//! | `rounds` | anti-entropy alone: in each round each node meets one other, drawn, and both then have what either had |
//! | `spread` | copies beyond the first, and the time to the last node, on links of 10 to 50 ms |
//! | `crash` | half of the nodes crash at once |
//! | `split` | two halves for five minutes, 10,000 writes, then healed |
//! | `digest` | what two say who have nothing to say |
//! | `speed` | the simulator's own: 60 virtual seconds at 100 writes a second, and memory |
//!
//! A round lasts one interval; nodes begin theirs at moments of their own, so it takes parts of rounds.

#[allow(dead_code)] // the other benches measure more
mod measure;

use measure::{CountingAllocator, Target, cpu_ns_of, heap_of};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings::crdt::Audit;
use tidings::proto::codec::{Spoken, encode_control};
use tidings::proto::message::{Digest, Message};
use tidings::proto::sync::{Receiver, Sender, Step};
use tidings::simulate::{Cluster, Crash, Curve, Joins, Outcome, Partition, Plan, Run, Settings, Writers};
use tidings::{OrMap, ReplicaId};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const NOW: u64 = 1_700_000_000_000;
const SEEDS: u64 = 3;
/// All are told the same one.
const JOINS: Joins = Joins::First;

/// Prints its rows, at a size.
type Work = fn(usize);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let nodes = words.iter().skip_while(|word| *word != "--nodes").nth(1);
    let nodes = nodes.and_then(|nodes| nodes.parse().ok()).unwrap_or(1_000);
    let works: [(&str, Work); 6] = [
        ("rounds", rounds),
        ("spread", spread),
        ("crash", crash),
        ("split", split),
        ("digest", digest),
        ("speed", speed),
    ];
    let all = !works.iter().any(|(name, _)| words.iter().any(|word| word == name));
    println!("| {:62} | {:>16} | {:>10} | {:16} | met? |", "work", "reference", "ours", "target");
    println!("| {:-<62} | {:->16} | {:->10} | {:-<16} | ---- |", "", ":", ":", "");
    works.iter().filter(|(name, _)| all || words.iter().any(|word| word == name)).for_each(|(_, work)| work(nodes));
}

fn row(work: &str, reference: &str, ours: Option<f64>, target: Target) {
    let (figure, verdict) = match ours {
        Some(ours) => (format!("{ours:.2}"), target.verdict(ours)),
        None => ("never".to_owned(), "NO"),
    };
    println!("| {work:62} | {reference:>16} | {figure:>10} | {:16} | {verdict} |", target.to_string());
}

fn at_most(most: f64) -> Target {
    let most = (most * 100.0).round() / 100.0;
    Target::AtMost(most, most)
}

/// What so many of a hundred stay below.
fn percentile(mut all: Vec<f64>, percent: usize) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

// --- Anti-entropy alone

/// Writes of one run: each is made by another node.
const WRITES: usize = 20;
const ROUNDS_MAX: usize = 100;

fn rounds(_: usize) {
    for (failing, references) in [(0.0, [3.5, 5.6, 7.6, 9.3]), (0.3, [6.6, 9.6, 12.7, 16.1])] {
        for (nodes, reference) in [10, 100, 1_000, 10_000].into_iter().zip(references) {
            let seeds = if nodes > 1_000 { SEEDS } else { 5 * SEEDS };
            let all = (0..seeds).flat_map(|seed| rounds_of(nodes, failing, seed)).collect();
            let work = format!("rounds to all, p99, n = {nodes}, {:.0} % of exchanges fail", failing * 100.0);
            row(&work, &reference.to_string(), percentile(all, 99), at_most(reference * 1.15));
        }
    }
}

/// When each write was everywhere.
fn rounds_of(nodes: usize, failing: f64, seed: u64) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut maps: Vec<OrMap> = (0..nodes as u128).map(|n| OrMap::new(ReplicaId::from(n + 1))).collect();
    let writers: Vec<usize> = (0..WRITES.min(nodes)).map(|n| n * (nodes / WRITES.min(nodes))).collect();
    writers.iter().for_each(|&who| _ = maps[who].put(&(who as u64).to_be_bytes(), b"value", NOW));
    let mut turns: Vec<(f64, usize)> = (0..nodes).map(|who| (rng.random(), who)).collect();
    turns.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut missing: Vec<usize> = vec![nodes - 1; writers.len()];
    let mut done = vec![f64::NAN; writers.len()];
    for round in 0..ROUNDS_MAX {
        for &(phase, who) in &turns {
            let other = (who + rng.random_range(1..nodes)) % nodes;
            if rng.random_bool(failing) || maps[who].audit() == maps[other].audit() {
                continue;
            }
            let before = [who, other].map(|one| known(&maps[one], &writers));
            exchange(&mut maps, who, other);
            for (number, at) in (0..).zip([who, other]) {
                let news = known(&maps[at], &writers) & !before[number];
                for write in (0..writers.len()).filter(|write| news >> write & 1 == 1) {
                    missing[write] -= 1;
                    if missing[write] == 0 {
                        done[write] = round as f64 + phase;
                    }
                }
            }
        }
        if missing.iter().all(|missing| *missing == 0) {
            return done;
        }
    }
    done
}

fn known(map: &OrMap, writers: &[usize]) -> u32 {
    let has = |who: usize| map.context().get(ReplicaId::from(who as u128 + 1)) > 0;
    (0..).zip(writers).filter(|(_, who)| has(**who)).fold(0, |known, (write, _)| known | 1 << write)
}

/// Both pull from each other: what two nodes do whose sums differ.
fn exchange(maps: &mut [OrMap], one: usize, other: usize) {
    let [one, other] = maps.get_disjoint_mut([one, other]).expect("two nodes");
    pull(one, other);
    pull(other, one);
}

fn pull(to: &mut OrMap, from: &mut OrMap) {
    let (mut receiver, request) = Receiver::start(to, false);
    let mut sender = Sender::new(from, &request);
    while let Some(message) = sender.next(from) {
        match receiver.on_message(to, message, |_| {}).expect("in turn") {
            Step::Reply(reply) | Step::Done { reply: Some(reply) } => sender.on_message(from, &reply).expect("in turn"),
            _ => {}
        }
    }
}

// --- Whole nodes

fn plan(nodes: usize, seed: u64) -> Plan {
    Plan { settings: Settings { nodes, seed, joins: JOINS, ..Settings::default() }, ..Plan::default() }
}

fn run(plan: Plan) -> (Outcome, Cluster) {
    let mut run = Run::new(plan);
    let outcome = run.go(|_| true);
    if let Some(wrong) = &outcome.wrong {
        eprintln!("seed {}: {wrong}", run.cluster.settings().seed);
    }
    (outcome, run.cluster)
}

fn spread(nodes: usize) {
    let cases = [
        (Writers::One, "one writer", 0.15, 400.0, "0.08", "364 ms"),
        (Writers::Any, "any writer", 0.5, 600.0, "0.42", "606 ms"),
    ];
    for (writers, name, copies_max, ms_max, copies_ref, ms_ref) in cases {
        let (mut copies, mut last) = (Vec::new(), Vec::new());
        for seed in 0..SEEDS {
            let (outcome, cluster) = run(Plan { writers, ..plan(nodes, seed) });
            copies.push(outcome.figures.total().copies());
            last.extend(cluster.spread().curves().iter().map(|curve: &Curve| curve.last_us() as f64 / 1_000.0));
        }
        row(
            &format!("copies beyond the first, n = {nodes}, {name}"),
            copies_ref,
            percentile(copies, 100),
            at_most(copies_max),
        );
        row(
            &format!("ms to the last node, p50, n = {nodes}, {name}"),
            ms_ref,
            percentile(last.clone(), 50),
            at_most(ms_max),
        );
        row(&format!("   p99, n = {nodes}, {name}"), "", percentile(last, 99), Target::None);
    }
}

/// From the crash on: they are found out after two seconds, and then there are seven rounds of a second.
fn crash(nodes: usize) {
    let all = (0..SEEDS).map(|seed| {
        let crash = Some(Crash { share: 0.5, at_s: 0.0, back_after_s: None });
        let (outcome, _) = run(Plan { crash, seconds: 2.0, ..plan(nodes, seed) });
        outcome.converged_us.map(|us| us as f64 / 1e6 + 2.0)
    });
    let slowest = all.collect::<Option<Vec<f64>>>().and_then(|all| percentile(all, 100));
    row(&format!("half of {nodes} crash at once: s until all agree again"), "detection + 7", slowest, at_most(9.0));
}

fn split(nodes: usize) {
    let nodes = nodes.min(100);
    let all = (0..SEEDS).map(|seed| {
        let partition = Some(Partition { share: 0.5, from_s: 0.0, to_s: 300.0, one_way: false });
        let plan = Plan { partition, seconds: 300.0, writes_per_second: 33.4, keys: 10_000, ..plan(nodes, seed) };
        run(plan).0.converged_us.map(|us| us as f64 / 1e6)
    });
    let slowest = all.collect::<Option<Vec<f64>>>().and_then(|all| percentile(all, 100));
    row(&format!("two halves of {nodes} for 5 min, 10,000 writes: s until one"), "none", slowest, at_most(60.0));
}

fn digest(_: usize) {
    for (writers, reference) in [(10_u64, "163 B"), (100, ""), (1_000, ""), (10_000, "6103 B")] {
        let mut map = OrMap::new(ReplicaId::from(u128::MAX));
        for n in 1..=writers {
            let mut other = OrMap::new(ReplicaId::from(u128::from(n)));
            other.put(&n.to_be_bytes(), b"value", NOW);
            let _ = map.merge(other.delta_since(map.context()));
        }
        let audit: Audit = map.audit();
        let message = Message::Digest(Digest { audit, reply: true });
        let bytes = encode_control(&message, &mut Spoken::default()).len();
        row(&format!("bytes of a digest, {writers} writers"), reference, Some(bytes as f64), at_most(32.0));
    }
}

fn speed(nodes: usize) {
    let busy = Plan { seconds: 60.0, writes_per_second: 100.0, ..plan(nodes, 1) };
    let ns = cpu_ns_of(busy, run);
    row(&format!("CPU s for {nodes} nodes, 60 virtual s, 100 writes/s"), "", Some(ns / 1e9), at_most(60.0));
    // What each node has for itself, and what it has for each other one. A record of each at each is too much for one machine.
    let heap = |nodes| {
        let gathered = || {
            let mut settings = plan(nodes, 1).settings;
            settings.template.writes_record = false;
            let mut cluster = Cluster::new(settings);
            let _ = cluster.run_until_converged(60_000_000);
            cluster
        };
        heap_of(gathered).1 as f64 / 1e6
    };
    let (few, many) = (nodes / 4, nodes / 2);
    let (less, more) = (heap(few) / few as f64, heap(many) / many as f64);
    let each = (more - less) / (many - few) as f64;
    let all = (less + each * (10_000 - few) as f64) * 10_000.0 / 1e3;
    row(&format!("GB for 10,000 nodes without records, from {few} and {many}"), "", Some(all), at_most(8.6));
}
