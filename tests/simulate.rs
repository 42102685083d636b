//! The simulator of many nodes: the same seed is the same run, faults of every kind end in agreement, and it tells when
//! something is wrong. Not responsible for looking at each step of few nodes: `sim` is.
//!
//! Each failure prints its seed: `TIDINGS_SEED=n cargo test --test simulate NAME`. `TIDINGS_RUNS=n` sets how many are tried.
#![cfg(feature = "cli")]

#[path = "replicas/dice.rs"]
mod dice;

use dice::{Dice, for_each_seed};
use std::time::Duration;
use tidings::crdt::Retention;
use tidings::simulate::{Cluster, Crash, Joins, Network, Outcome, Partition, Plan, Run, Settings, Writers};

const SECOND: u64 = 1_000_000;

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

fn drawn(dice: &mut Dice) -> Plan {
    // Of more nodes not all dial each other: if the one that all were told of is gone, halves may never meet again.
    let mut settings = Settings { nodes: 2 + dice.below(8), seed: dice.below(1 << 30) as u64, ..Settings::default() };
    settings.network = Network {
        latency_us: (*dice.pick(&[100, 10_000]), *dice.pick(&[10_000, 50_000, 150_000])),
        jitter_us: *dice.pick(&[0, 1_000, 50_000]),
        loss: *dice.pick(&[0.0, 0.01, 0.2]),
        upload: *dice.pick(&[None, Some(20_000), Some(1_000_000)]),
        ..Network::default()
    };
    settings.joins = *dice.pick(&[Joins::First, Joins::Random(3), Joins::All]);
    settings.kept = dice.percent(50);
    settings.skew_ms = *dice.pick(&[0, 300, 5_000]);
    // So short that most runs truncate what somebody has missed.
    let keep_ms = *dice.pick(&[0, 200, 2_000]);
    settings.template.retention = Retention { keep_ms, count_max: usize::MAX, spare_ms: 0 };
    settings.template.truncate_every = Duration::from_millis(100);
    let partition = Partition { share: 0.4, from_s: 0.5, to_s: *dice.pick(&[2.0, 6.0]), one_way: dice.percent(50) };
    let back_after_s = *dice.pick(&[None, Some(0.3), Some(4.0)]);
    // Nobody can find those of whom only nodes knew that are gone.
    let gather_s = if back_after_s.is_none() { 20.0 } else { *dice.pick(&[0.5, 20.0]) };
    Plan {
        settings,
        gather_s,
        seconds: *dice.pick(&[1.0, 8.0]),
        writes_per_second: *dice.pick(&[2.0, 30.0]),
        writers: *dice.pick(&[Writers::One, Writers::Any, Writers::Some(2)]),
        keys: *dice.pick(&[1, 3, 50]),
        value_bytes: *dice.pick(&[8, 64, 5_000]),
        deletes: *dice.pick(&[0.0, 0.4]),
        partition: dice.percent(60).then_some(partition),
        crash: dice.percent(60).then_some(Crash { share: 0.3, at_s: 1.5, back_after_s }),
        resets_per_second: *dice.pick(&[0.0, 2.0]),
        patience_s: 120.0,
    }
}

/// Safety while things go wrong, and agreement within two minutes when they do not any more.
#[test]
fn whatever_goes_wrong_they_agree_in_the_end() {
    let mut slowest_us = 0;
    for_each_seed(200, |dice| {
        let plan = drawn(dice);
        dice.tell(|| format!("{plan:#?}"));
        let (outcome, _) = run(&plan);
        assert_eq!(outcome.wrong, None);
        slowest_us = slowest_us.max(outcome.converged_us.expect("nothing is wrong"));
    });
    eprintln!("the slowest agreed {} ms after all was over", slowest_us / 1_000);
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

/// What a cluster of that size is for: it comes together through one node, and half of it crashes at once.
#[test]
#[ignore = "takes many minutes: contexts of a thousand replicas are joined and copied for each frame; README.md has the command"]
fn a_thousand_nodes_agree_also_when_half_of_them_crash() {
    let settings = Settings { nodes: 1_000, joins: Joins::First, ..Settings::default() };
    let crash = Some(Crash { share: 0.5, at_s: 2.0, back_after_s: None });
    let (outcome, cluster) = run(&Plan { settings, crash, seconds: 5.0, ..Plan::default() });
    assert_eq!((outcome.wrong, cluster.up().len()), (None, 500));
    assert!(outcome.gathered_us.is_some(), "they come together in a minute");
}
