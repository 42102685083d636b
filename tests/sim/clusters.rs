//! Clusters in virtual time: first faults of every kind, then all is mended, and everything is demanded.

use crate::dice::for_each_seed;
use crate::disk::Fault;
use crate::timed::{Path, Timed, between};
use crate::world::{START, address};
use tidings::crdt::Retention;
use tidings::proto::config::NodeConfig;

/// Retention so short that most runs truncate what somebody has missed.
fn forgetful(config: &mut NodeConfig, keep_ms: u64, chunk_entries: usize) {
    config.retention = Retention { keep_ms, count_max: usize::MAX, spare_ms: 0 };
    config.truncate_every = std::time::Duration::from_millis(100);
    config.chunk_entries = chunk_entries;
}

fn a_cluster<'d>(dice: &'d mut crate::dice::Dice, on_disks: bool) -> Timed<'d> {
    let nodes = 2 + dice.below(4);
    let (keep_ms, chunk_entries) = (*dice.pick(&[0, 200, 2_000]), *dice.pick(&[1, 3, 4096]));
    let path = Path {
        delay_us: *dice.pick(&[200, 2_000, 40_000]),
        jitter_us: *dice.pick(&[0, 5_000, 30_000]),
        bytes_per_ms: *dice.pick(&[8, 100, 10_000]),
    };
    let skews: Vec<i64> = (0..nodes).map(|_| dice.below(400) as i64 - 200).collect();
    let star = dice.percent(25);
    let mut timed = Timed::new(dice, 3);
    timed.path = path;
    for skew in skews {
        let configure = |config: &mut NodeConfig| {
            forgetful(config, keep_ms, chunk_entries);
            config.join = if star { vec![address(0)] } else { (0..nodes).map(address).collect() };
        };
        if on_disks {
            timed.add_kept(skew, configure);
        } else {
            timed.add(skew, configure);
        }
    }
    timed
}

fn network_fault(timed: &mut Timed<'_>) {
    let alive = timed.world.alive();
    let who = *timed.dice.pick(&alive);
    let (one, other) = timed.dice.two_below(alive.len());
    match timed.dice.below(100) {
        0..60 => write(timed, who),
        60..70 => timed.cut(alive[one], alive[other]),
        70..75 => timed.isolate(who),
        75..88 => timed.mend(alive[one], alive[other]),
        88..92 => timed.mend_all(),
        92..97 => timed.reset_a_link(),
        _ => {
            let skew = timed.dice.below(2_000) as i64 - 1_000;
            timed.set_skew(who, skew);
        }
    }
}

/// Of nodes in memory.
fn fault(timed: &mut Timed<'_>) {
    if timed.world.members.len() < crate::oracle::REPLICAS_MAX && timed.dice.percent(1) {
        let who = *timed.dice.pick(&timed.world.alive());
        restart(timed, who);
    } else {
        network_fault(timed);
    }
}

fn restart(timed: &mut Timed<'_>, who: usize) {
    let old = timed.world.config(who).clone();
    timed.dice.tell(|| format!("node {who} loses everything"));
    timed.restart(who, |new| forgetful(new, old.retention.keep_ms, old.chunk_entries));
}

fn write(timed: &mut Timed<'_>, who: usize) {
    if !timed.node(who).is_writable() {
        return;
    }
    let key = timed.dice.below(3);
    match timed.dice.below(10) {
        0..5 => drop(timed.delete(who, key)),
        5..7 => {
            let deadline = START + timed.now_ms() + timed.dice.below(3_000) as u64;
            timed.put_until(who, key, Some(deadline));
        }
        _ => drop(timed.put(who, key)),
    }
}

/// What happens to nodes that have disks.
fn disk_fault(timed: &mut Timed<'_>) {
    let alive = timed.world.alive();
    let who = *timed.dice.pick(&alive);
    match timed.dice.below(100) {
        0..60 => {
            timed.dice.tell(|| format!("node {who} crashes"));
            timed.crash(who);
        }
        60..80 => {
            let faults = [Fault::Full, Fault::Sync { stays: false }, Fault::Sync { stays: true }];
            timed.world.disk(who).fault = *timed.dice.pick(&faults);
        }
        _ => timed.mend_disk(who),
    }
}

/// Crashes, and disks that fail, in time: links that are dead on one side only, commits that take longer than frames.
#[test]
fn clusters_on_disks_come_to_agree_whatever_happened() {
    for_each_seed(150, |dice| {
        let mut timed = a_cluster(dice, true);
        for _ in 0..20 + timed.dice.below(80) {
            if timed.dice.percent(20) {
                disk_fault(&mut timed);
            } else {
                network_fault(&mut timed);
            }
            let pause = between(timed.dice, 0, 400);
            timed.run_for(pause.as_millis() as u64);
        }
        timed.mend_all();
        for _ in 0..2 {
            timed.world.alive().into_iter().for_each(|who| timed.mend_disk(who));
            timed.run_for(100);
        }
        timed.demand_agreement(30_000);
    });
}

#[test]
fn clusters_come_to_agree_whatever_happened() {
    let (mut catch_ups, mut runs, mut slowest) = (0, 0, 0);
    for_each_seed(400, |dice| {
        let mut timed = a_cluster(dice, false);
        for _ in 0..20 + timed.dice.below(100) {
            fault(&mut timed);
            let pause = between(timed.dice, 0, 400);
            timed.run_for(pause.as_millis() as u64);
        }
        timed.mend_all();
        slowest = slowest.max(timed.demand_agreement(30_000));
        let bytes = timed.bytes;
        timed.run_for(60_000);
        timed.agree().unwrap_or_else(|what| panic!("they agreed, and do no more: {what}"));
        let quiet = timed.bytes - bytes;
        assert!(quiet < 20_000, "{quiet} bytes in a quiet minute");
        catch_ups += usize::from(timed.catch_ups > 0);
        runs += 1;
    });
    eprintln!("{catch_ups} of {runs} runs had a catch-up; the slowest agreed after {slowest} ms");
    assert!(runs < 20 || catch_ups * 2 > runs, "only {catch_ups} of {runs} runs had a catch-up");
}
