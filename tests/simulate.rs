//! The simulator of many nodes: the same seed is the same run, faults of every kind end in agreement, and it tells when
//! something is wrong. Not responsible for looking at each step of few nodes: `sim` is.
//!
//! Each failure prints its seed: `TIDINGS_SEED=n cargo test --test simulate NAME`. `TIDINGS_RUNS=n` sets how many are tried.
#![cfg(feature = "cli")]

#[path = "replicas/dice.rs"]
mod dice;

use dice::{Dice, for_each_seed};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tidings::crdt::Retention;
use tidings::simulate::{Cluster, Crash, Joins, Network, Outcome, Partition, Plan, Random, Run, Settings, Writers};

const SECOND: u64 = 1_000_000;
/// So many random runs go on at once.
const THREADS: usize = 2;
/// After they have agreed nothing happens for so long.
const QUIET_S: f64 = 20.0;
/// More nodes than this do not all keep links to each other.
const SMALL: usize = 9;

fn run(plan: &Plan) -> (Outcome, Cluster) {
    let mut run = Run::new(plan.clone());
    let outcome = run.go(|_| true);
    (outcome, run.cluster)
}

/// Something of everything that can go wrong.
fn rough(seed: u64) -> Plan {
    let network = Network { loss: 0.05, jitter_us: 20_000, upload: Some(200_000), ..Network::default() };
    let settings = Settings { nodes: 6, seed, network, skew_ms: 500, ..Settings::default() };
    Plan {
        settings,
        gather_s: 20.0,
        seconds: 8.0,
        writes_per_second: 8.0,
        keys: 5,
        deletes: 0.3,
        partition: Some(Partition { share: 0.5, from_s: 1.0, to_s: 6.0, one_way: false }),
        crash: Some(Crash { share: 0.2, at_s: 3.0, back_after_s: Some(2.0) }),
        resets_per_second: 0.5,
        ..Plan::default()
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let told = |seed| {
        let (outcome, cluster) = run(&rough(seed));
        (cluster.digest(), cluster.events(), outcome.figures, outcome.converged_us)
    };
    let first = told(1);
    assert_eq!(first, told(1));
    assert_ne!(first.0, told(2).0);
}

/// Sizes, paths and what they are told at first. A small cluster, or one run in ten a larger one, with less to do.
fn drawn_settings(dice: &mut Dice, large: bool) -> Settings {
    let nodes = if large { 12 + dice.below(19) } else { *dice.pick(&[2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 8, 9]) };
    let joins = if large {
        [Joins::First, Joins::Random(3), Joins::Random(3)]
    } else {
        [Joins::First, Joins::Random(3), Joins::All]
    };
    let mut settings = Settings { nodes, seed: dice.below(1 << 30) as u64, ..Settings::default() };
    settings.network = Network {
        latency_us: (*dice.pick(&[100, 10_000]), *dice.pick(&[10_000, 50_000, 150_000])),
        jitter_us: *dice.pick(&[0, 1_000, 1_000, 50_000, 300_000]),
        loss: *dice.pick(&[0.0, 0.01, 0.2]),
        twice: *dice.pick(&[0.0, 0.0, 0.3]),
        upload: *dice.pick(&[None, Some(20_000), Some(1_000_000)]),
        ..Network::default()
    };
    settings.joins = *dice.pick(&joins);
    settings.kept = dice.percent(50);
    // The last is beyond the drift that is allowed.
    settings.skew_ms = *dice.pick(&[0, 300, 5_000, 25_000, 3_600_000]);
    // So short that most runs truncate what somebody has missed.
    let keep_ms = *dice.pick(&[0, 200, 2_000]);
    settings.template.retention = Retention { keep_ms, count_max: usize::MAX, spare_ms: 0 };
    settings.template.truncate_every = Duration::from_millis(100);
    settings
}

/// What goes wrong again and again: in every other run something, in one of eight everything.
fn drawn_trouble(dice: &mut Dice) -> Random {
    let all = dice.percent(12);
    let mut often = |rates: [f64; 2]| if all || dice.percent(25) { *dice.pick(&rates) } else { 0.0 };
    Random {
        cuts: often([0.5, 4.0]),
        crashes: often([0.2, 1.0]),
        stops: often([0.2, 1.0]),
        clock_steps: often([0.5, 2.0]),
        cut_s: *dice.pick(&[0.5, 5.0]),
        back_after_s: *dice.pick(&[0.1, 3.0]),
        clock_step_ms: *dice.pick(&[1_000, 30_000, 3_600_000]),
    }
}

fn drawn(dice: &mut Dice) -> Plan {
    let large = dice.percent(2);
    let mut settings = drawn_settings(dice, large);
    let partition = Partition { share: 0.4, from_s: 0.5, to_s: *dice.pick(&[2.0, 6.0]), one_way: dice.percent(50) };
    let back_after_s = *dice.pick(&[None, Some(0.3), Some(4.0)]);
    let crash = dice.percent(60).then_some(Crash { share: 0.3, at_s: 1.5, back_after_s });
    // Nobody can find those of whom only nodes knew that are gone: then all come together first, and nobody else fails.
    let for_good = crash.is_some_and(|crash| crash.back_after_s.is_none());
    let gather_s = if for_good { 20.0 } else { *dice.pick(&[0.5, 20.0]) };
    settings.start_within_us = if for_good { SECOND } else { *dice.pick(&[0, SECOND, SECOND, 6 * SECOND]) };
    let mut random = drawn_trouble(dice);
    if for_good {
        (random.crashes, random.stops) = (0.0, 0.0);
    }
    // So that what is written can be sent to all in the time.
    let thin = settings.network.upload == Some(20_000);
    Plan {
        settings,
        gather_s,
        seconds: if large { 3.0 } else { *dice.pick(&[1.0, 6.0]) },
        writes_per_second: if large || thin { 2.0 } else { *dice.pick(&[2.0, 30.0]) },
        writers: *dice.pick(&[Writers::One, Writers::Any, Writers::Some(2)]),
        keys: *dice.pick(&[1, 3, 50]),
        value_bytes: *dice.pick(if large { &[8, 64] } else { &[8, 64, 64, 64, 5_000] }),
        deletes: *dice.pick(&[0.0, 0.4]),
        deadlines: *dice.pick(&[0.0, 0.0, 0.5]),
        ttl_ms: *dice.pick(&[100, 2_000, 24 * 3_600_000]),
        partition: dice.percent(60).then_some(partition),
        crash,
        resets_per_second: *dice.pick(&[0.0, 2.0]),
        random,
        patience_s: 120.0,
        quiet_s: QUIET_S,
    }
}

/// Runs them on two threads. A run that fails ends all, and says how it can be seen again.
fn for_each_of_many(runs: u64, name: &str, run: impl Fn(&mut Dice) + Sync) {
    let setting = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if setting("TIDINGS_SEED").is_some() {
        return for_each_seed(1, run);
    }
    let (runs, next, failed) = (setting("TIDINGS_RUNS").unwrap_or(runs), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= runs {
                        break;
                    }
                    let result = catch_unwind(AssertUnwindSafe(|| run(&mut Dice::new(seed))));
                    if let Err(panic) = result {
                        failed.store(true, Ordering::Relaxed);
                        eprintln!(
                            "to see it again: TIDINGS_SEED={seed} cargo test --test simulate {name} -- --nocapture"
                        );
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
}

/// Safety while things go wrong, and agreement when they do not any more: within what the timers of the `lan` profile add up
/// to, and what the nodes have to send takes on their uploads.
///
/// Nothing else has been seen to take long: of 1,000 runs the slowest with room to send took 5 s, and the slowest on 20 kB/s 19 s.
/// With values of 5,000 bytes at 30 a second, as many as 80 s: they have to be sent, and to each of the others.
#[test]
fn whatever_goes_wrong_they_agree_in_the_end() {
    let slowest_us = AtomicU64::new(0);
    for_each_of_many(2_000, "whatever_goes_wrong", |dice| {
        let plan = drawn(dice);
        dice.tell(|| format!("{plan:#?}"));
        let (outcome, cluster) = run(&plan);
        assert_eq!(outcome.wrong, None);
        let took_us = outcome.converged_us.expect("nothing is wrong");
        dice.tell(|| format!("they agreed after {} ms; {:?}", took_us / 1_000, outcome.quiet));
        slowest_us.fetch_max(took_us, Ordering::Relaxed);
        demand_soon(&plan, &outcome, took_us);
        demand_little_traffic(&plan, &outcome, &cluster);
        demand_quiet(&plan, &outcome, &cluster);
        demand_little_kept(&plan, &cluster);
    });
    eprintln!("the slowest agreed {} ms after all was over", slowest_us.into_inner() / 1_000);
}

/// A silent link is lost after 2 s; its peer is dialled each 0.5 s, or each 8 s if it had dialled; a handshake takes up to 3 s,
/// and a pull that makes no progress 10 s. Of a large cluster parts may wait for an anchor, each 30 s.
fn demand_soon(plan: &Plan, outcome: &Outcome, took_us: u64) {
    let timers_s = if plan.settings.nodes > SMALL { 60 } else { 25 };
    let sent = outcome.figures.nodes.iter().map(|counts| counts.sent_bytes).max().unwrap_or(0);
    let upload_us = plan.settings.network.upload.map_or(0, |upload| sent * SECOND / upload);
    let bound_us = plan.settings.start_within_us + timers_s * SECOND + upload_us;
    assert!(took_us <= bound_us, "they agreed after {took_us} µs, which should take at most {bound_us}");
}

/// Bytes beyond what was written, dials, links and queues.
fn demand_little_traffic(plan: &Plan, outcome: &Outcome, cluster: &Cluster) {
    let nodes = plan.settings.nodes as f64;
    let seconds = cluster.now_us() as f64 / 1e6 - QUIET_S;
    let total = outcome.gathering.total().plus(&outcome.figures.total());
    let written = outcome.writes as f64 * (plan.value_bytes as f64 + 100.0) * (nodes - 1.0);
    // Where announcements come late or are lost, others send a write too.
    let bytes = written / (1.0 - plan.settings.network.loss) * 12.0;
    let bytes = bytes + total.connections as f64 * 6_000.0 + seconds * nodes * 3_000.0;
    assert!(total.sent_bytes as f64 <= bytes, "{} bytes were sent, and should be at most {bytes}", total.sent_bytes);
    let dials = seconds * nodes * (nodes - 1.0) * 2.2 + 20.0;
    assert!(total.dials as f64 <= dials, "{} dials, more than two a second of each by each other", total.dials);
    let links_max = 2 * plan.settings.nodes + 8;
    assert!(outcome.quiet.links_max <= links_max, "{} links at once", outcome.quiet.links_max);
    // On a link two pushes and two parts of a pull, each of up to 64 KiB.
    let queued_max = (outcome.quiet.links_max as u64) << 18;
    assert!(outcome.quiet.queued_bytes_max <= queued_max, "{} bytes were queued", outcome.quiet.queued_bytes_max);
}

/// When they agree, and nothing happens, little is said; of those that are gone for good the addresses are tried.
fn demand_quiet(plan: &Plan, outcome: &Outcome, cluster: &Cluster) {
    let (quiet, up) = (outcome.quiet.total(), cluster.up().len() as f64);
    let gone = plan.settings.nodes as f64 - up;
    // What was written last may only then be forwarded, by each to each, where announcements were lost.
    let forwarded = plan.writes_per_second * (plan.value_bytes as f64 + 100.0) * up * (up - 1.0);
    let bytes = QUIET_S * up * 3_000.0 + forwarded;
    assert!(quiet.sent_bytes as f64 <= bytes, "{} bytes in {QUIET_S} s in which nothing was written", quiet.sent_bytes);
    let dials = QUIET_S * up * (2.2 * gone + 1.0);
    assert!(quiet.dials as f64 <= dials, "{} dials in {QUIET_S} s", quiet.dials);
}

/// What is dead has gone, also where a clock went back, but what is pending on a replica that will not come back; there are no more
/// keys than were written to.
fn demand_little_kept(plan: &Plan, cluster: &Cluster) {
    for node in cluster.up().into_iter().filter_map(|who| cluster.node(who)) {
        let (counts, members) = (node.map().counts(), node.members().len());
        let pending = node.map().pending();
        let pending_max = if loses_replicas(plan) { plan.keys + members } else { 0 };
        assert!(pending <= pending_max, "{pending} entries are pending, and nobody is gone");
        // An entry that is pending may have several, of writers that did not know of each other.
        let tombstones_max = if pending == 0 { 0 } else { pending + counts.siblings };
        assert!(counts.tombstones <= tombstones_max, "{counts:?}, {pending} pending");
        assert!(counts.keys <= plan.keys + members, "{counts:?} with {members} members");
        assert!(node.map().context().len() <= members, "{} replicas, {members} members", node.map().context().len());
    }
}

/// Some that wrote do not come back as who they were.
fn loses_replicas(plan: &Plan) -> bool {
    let crash = plan.crash.is_some_and(|crash| !plan.settings.kept || crash.back_after_s.is_none());
    crash || !plan.settings.kept && plan.random.crashes + plan.random.stops > 0.0
}

/// The timestamp of what a key shows at a node, in milliseconds since 1970.
fn shown_ms(cluster: &Cluster, who: usize, key: usize) -> u64 {
    let key = format!("key/{key:08}");
    let registers = cluster.node(who).expect("it runs").map().registers(key.as_bytes());
    registers.iter().map(|(_, register)| register.timestamp.millis()).max().expect("it is there")
}

/// Within the drift that is allowed others follow a clock that is ahead, so that later writes are later. Beyond it they do not;
/// what was written by it is taken all the same, and what is written in its place is later still.
#[test]
fn a_clock_far_ahead_is_not_followed_and_what_it_wrote_is_not_lost() {
    for (skew_ms, followed) in [(50_000, true), (3_600_000, false)] {
        let mut cluster = Cluster::new(Settings { nodes: 3, ..Settings::default() });
        cluster.run_until_converged(20 * SECOND).expect("they come together");
        let right_ms = shown_after(&mut cluster, 1, 0) + 1_000;
        cluster.set_skew(0, skew_ms);
        let ahead_ms = shown_after(&mut cluster, 0, 1);
        assert!(ahead_ms >= right_ms - 1_000 + skew_ms as u64);
        let next_ms = shown_after(&mut cluster, 1, 2);
        assert_eq!(next_ms >= ahead_ms, followed, "{ahead_ms}, then {next_ms} elsewhere");
        assert!(followed || next_ms <= right_ms + 5_000, "only the one clock is ahead");
        let dot = cluster.put(1, 1, 64).expect("it runs");
        cluster.run_until_converged(20 * SECOND).expect("all have it");
        assert!(cluster.node(2).expect("it runs").map().is_live(dot));
        assert!(shown_ms(&cluster, 2, 1) >= ahead_ms, "it takes the place of what it replaced");
        cluster.set_skew(0, -skew_ms);
        assert!(shown_after(&mut cluster, 0, 1) >= ahead_ms, "though the clock goes back");
        cluster.check().expect("nothing is lost");
    }
}

/// A node puts a key, and all have it. Its timestamp.
fn shown_after(cluster: &mut Cluster, who: usize, key: usize) -> u64 {
    cluster.put(who, key, 64).expect("it runs");
    cluster.run_until_converged(20 * SECOND).expect("all have it");
    shown_ms(cluster, (who + 1) % 3, key)
}

/// Stopped in order, nodes are missed at once, and their links are gone; who has left comes back all the same.
#[test]
fn who_is_stopped_says_so_and_may_come_back() {
    for leaves in [false, true] {
        let mut cluster = Cluster::new(Settings { nodes: 4, kept: true, ..Settings::default() });
        cluster.run_until_converged(20 * SECOND).expect("they come together");
        let dot = cluster.put(3, 0, 64).expect("it runs");
        cluster.run_for(SECOND);
        cluster.stop(3, leaves);
        cluster.run_for(SECOND);
        assert_eq!([0, 1, 2].map(|who| cluster.links(who)), [2; 3], "nobody waits for silence");
        cluster.put(0, 1, 64).expect("it runs");
        cluster.restart(3);
        cluster.run_until_converged(20 * SECOND).expect("it is back");
        assert!(cluster.node(3).expect("it runs").map().context().contains(dot));
        cluster.check().expect("nothing is lost");
    }
}

#[test]
fn two_halves_do_not_agree_and_say_so() {
    let mut cluster = Cluster::new(Settings { nodes: 6, ..Settings::default() });
    cluster.run_until_converged(20 * SECOND).expect("they come together");
    cluster.cut(&[0, 1, 2], &[3, 4, 5], true);
    cluster.put(0, 0, 64).expect("it runs");
    assert_eq!(cluster.run_until_converged(20 * SECOND), None);
    let wrong = cluster.check().expect_err("they cannot");
    assert!(wrong.starts_with("3 of 6 nodes agree, 1 writes"), "{wrong}");
    cluster.heal();
    cluster.run_until_converged(20 * SECOND).expect("they are one again");
    cluster.check().expect("nothing is lost");
}

/// A node with a disk has all that it was told was written; one without comes back as another, with nothing.
#[test]
fn a_crash_takes_what_is_on_no_disk() {
    for kept in [true, false] {
        let mut cluster = Cluster::new(Settings { nodes: 3, kept, ..Settings::default() });
        cluster.run_until_converged(20 * SECOND).expect("they come together");
        let dot = cluster.put(0, 0, 64).expect("it runs");
        cluster.crash(0);
        cluster.run_for(5 * SECOND);
        assert_eq!(cluster.up(), [1, 2]);
        cluster.restart(0);
        cluster.run_until_converged(20 * SECOND).expect("it is back");
        cluster.check().expect("only what a dead replica had written can be lost");
        let replica = cluster.node(0).expect("it runs").config().replica;
        assert_eq!(replica == dot.replica, kept);
        let known = cluster.node(1).expect("it runs").map().context().contains(dot);
        assert!(known || !kept, "what is on a disk is passed on");
    }
}

/// What a node says is still heard, and what it is told is not: it has to find that out itself.
#[test]
fn a_path_that_is_cut_one_way_is_given_up_by_both() {
    let mut cluster = Cluster::new(Settings { nodes: 2, ..Settings::default() });
    cluster.run_until_converged(20 * SECOND).expect("they come together");
    assert_eq!((cluster.links(0), cluster.links(1)), (1, 1));
    cluster.cut(&[0], &[1], false);
    cluster.run_for(5 * SECOND);
    assert_eq!((cluster.links(0), cluster.links(1)), (0, 0));
    cluster.heal();
    cluster.put(0, 0, 64);
    cluster.run_until_converged(20 * SECOND).expect("they are one again");
}

/// The size that is claimed, in the time that there is at each change: nodes that know each other by their views alone.
#[test]
fn a_thousand_nodes_without_records_agree_also_when_half_of_them_crash() {
    let mut settings = Settings { nodes: 1_000, joins: Joins::First, ..Settings::default() };
    settings.template.writes_record = false;
    let crash = Some(Crash { share: 0.5, at_s: 2.0, back_after_s: None });
    let plan = Plan { settings, crash, seconds: 5.0, writes_per_second: 4.0, ..Plan::default() };
    let (outcome, cluster) = run(&plan);
    assert_eq!((outcome.wrong, cluster.up().len()), (None, 500));
    assert!(outcome.gathered_us.is_some(), "they come together in a minute");
    for who in cluster.up() {
        let active = cluster.node(who).expect("it runs").links().iter().filter(|link| link.active).count();
        assert!((1..=7).contains(&active), "node {who} has {active} active links");
    }
}

/// What a cluster of that size is for: it comes together through one node, and half of it crashes at once.
#[test]
#[ignore = "takes five minutes of a core: a thousand nodes with records of each other; README.md has the command"]
fn a_thousand_nodes_agree_also_when_half_of_them_crash() {
    let settings = Settings { nodes: 1_000, joins: Joins::First, ..Settings::default() };
    let crash = Some(Crash { share: 0.5, at_s: 2.0, back_after_s: None });
    let (outcome, cluster) = run(&Plan { settings, crash, seconds: 5.0, ..Plan::default() });
    assert_eq!((outcome.wrong, cluster.up().len()), (None, 500));
    assert!(outcome.gathered_us.is_some(), "they come together in a minute");
}
