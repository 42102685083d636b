//! The laws of the map: joins commute, associate and repeat without effect; a delta is as good as the state; the sums,
//! the winner and the order of keys are what they would be if worked out from scratch.
//!
//! Each law is tried on states that random stories lead to, with truncation, cut syncs and deadlines. A failing run
//! names its seed. Not responsible for what the states ought to be: `runs.rs` is.

mod oracle;
mod replicas;

use crdts::{CmRDT, CvRDT};
use oracle::Name;
use replicas::{Dice, End, Pull, Replica, START, for_each_seed, id, key, look, name, pull};
use std::collections::BTreeMap;
use tidings::crdt::{Audit, DotSet, Register};
use tidings::{CausalContext, Delta, Dot, Key, OrMap};

const KEYS: usize = 3;

/// All that can be told of a state from outside, but the name of its replica.
#[derive(Clone, Debug, PartialEq)]
struct Whole {
    context: CausalContext,
    truncated: CausalContext,
    audit: Audit,
    entries: Vec<(CausalContext, Vec<(Dot, Register)>)>,
}

fn whole(map: &OrMap) -> Whole {
    Whole {
        context: map.context().clone(),
        truncated: map.truncated().clone(),
        audit: map.audit(),
        entries: (0..KEYS).map(|k| (map.context_of(key(k)), map.registers(key(k)))).collect(),
    }
}

/// The same without what replicas drop at different times: tombstones, what is past its deadline, and what they say of
/// that. Two joins in different orders may keep a tombstone that one of them had got before it was truncated.
fn lasting(map: &OrMap) -> (CausalContext, Vec<(CausalContext, Vec<Dot>)>) {
    let keys = (0..KEYS).map(|k| {
        let live = map.registers(key(k)).into_iter().filter(|(_, r)| !r.is_dead(START + 1_000_000));
        (map.context_of(key(k)), live.map(|(dot, _)| dot).collect())
    });
    (map.context().clone(), keys.collect())
}

/// Whether a story has truncation and deadlines, and cut syncs.
#[derive(Clone, Copy)]
struct Story {
    truncates: bool,
    cuts: bool,
}

/// A few replicas after a random story, none of them in the middle of a sync.
fn states(dice: &mut Dice, story: Story) -> Vec<Replica> {
    let mut all: Vec<Replica> = (0..4).map(Replica::new).collect();
    for step in 0..dice.below(30) {
        let (one, other) = dice.two_below(all.len());
        all[one].now = START + step as u64 + 5 * one as u64;
        write(dice, &mut all[one], story.truncates);
        if story.truncates && dice.percent(25) {
            all[one].truncate();
        }
        if dice.percent(50) {
            let [from, to] = all.get_disjoint_mut([one, other]).unwrap();
            let cut = story.cuts && dice.percent(40);
            let pull = Pull::start(from, to);
            if cut { pull.run_cut_after(dice.below(3), from, to) } else { assert_eq!(pull.run(from, to), End::Done) }
        }
    }
    all
}

fn write(dice: &mut Dice, replica: &mut Replica, deadlines: bool) {
    let (number, now) = (dice.below(KEYS), replica.now);
    let value = (dice.below(1_000_000) as u64).to_le_bytes();
    match dice.below(10) {
        0..4 => drop(replica.map.delete(key(number), now)),
        4..6 if deadlines => {
            replica.map.put_until(key(number), value, now + dice.below(20) as u64, now);
        }
        _ => {
            replica.map.put(key(number), value, now);
        }
    }
}

fn any_story(dice: &mut Dice) -> Story {
    Story { truncates: dice.percent(60), cuts: dice.percent(50) }
}

fn merged(map: &OrMap, deltas: &[&Delta]) -> OrMap {
    let mut map = map.clone();
    for &delta in deltas {
        let _ = map.merge(delta.clone());
    }
    map
}

#[test]
fn merge_is_commutative() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let all = states(dice, story);
        let (to, left, right) = (&all[0].map, &all[1].map, &all[2].map);
        let (left, right) = (left.delta_since(to.context()), right.delta_since(to.context()));
        let (one, other) = (merged(to, &[&left, &right]), merged(to, &[&right, &left]));
        assert_eq!(lasting(&one), lasting(&other));
        if !story.truncates {
            assert_eq!(whole(&one), whole(&other));
        }
    });
}

#[test]
fn merge_is_idempotent() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let all = states(dice, story);
        // From any base, one that the receiver lacks part of included.
        let base = all[dice.below(4)].map.context();
        let delta = all[1].map.delta_since(base);
        let once = merged(&all[0].map, &[&delta]);
        let mut twice = once.clone();
        let again = twice.merge(delta);
        assert_eq!(whole(&once), whole(&twice));
        assert_eq!((again.changes.len(), again.received.new), (0, 0), "the second time brings nothing");
    });
}

#[test]
fn merge_is_associative() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let maps: Vec<OrMap> = states(dice, story).into_iter().map(|replica| replica.map).collect();
        let join = |left: &OrMap, right: &OrMap| {
            let mut joined = left.clone();
            CvRDT::merge(&mut joined, right.clone());
            joined
        };
        let [a, b, c, _] = &maps[..] else { unreachable!("four replicas") };
        let (left, right) = (join(&join(a, b), c), join(a, &join(b, c)));
        assert_eq!(lasting(&left), lasting(&right));
        assert_eq!(lasting(&join(a, b)), lasting(&join(b, a)), "and commutative");
        assert_eq!(whole(&join(&left, a)), whole(&left), "and idempotent");
        if !story.truncates {
            assert_eq!(whole(&left), whole(&right));
        }
    });
}

/// Deltas joined first, and passed on as one, do what they do one by one.
#[test]
fn a_batch_of_deltas_is_the_sequence() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let mut all = states(dice, story);
        let mut batch = Replica::new(5);
        pull(&mut all[0], &mut batch);
        let base = batch.map.context().clone();
        let deltas: Vec<Delta> = [1, 2, 3].map(|from| all[from].map.delta_since(&base)).to_vec();
        let in_between = merged(&batch.map, &deltas.iter().collect::<Vec<_>>());
        let at_once = merged(&batch.map, &[&in_between.delta_since(&base)]);
        assert_eq!(lasting(&at_once).0, lasting(&in_between).0);
        let values = |map: &OrMap| lasting(map).1.into_iter().map(|(_, dots)| dots).collect::<Vec<_>>();
        assert_eq!(values(&at_once), values(&in_between));
    });
}

/// A delta against what the receiver has does what joining the whole state does, by all three roads.
#[test]
fn a_delta_is_as_good_as_the_state() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let mut all = states(dice, story);
        let (from, to) = dice.two_below(all.len());
        let (to, from) = (all[to].map.clone(), &mut all[from]);
        let delta = from.map.delta_since(to.context());

        let by_delta = merged(&to, &[&delta]);
        let mut by_op = to.clone();
        CmRDT::apply(&mut by_op, delta);
        assert_eq!(whole(&by_delta), whole(&by_op));

        let mut by_state = to.clone();
        CvRDT::merge(&mut by_state, from.map.clone());
        let mut by_pull = Replica::new(6);
        by_pull.map = to;
        pull(from, &mut by_pull);
        for other in [&by_state, &by_pull.map] {
            let values = |map: &OrMap| lasting(map).1.into_iter().map(|(_, dots)| dots).collect::<Vec<_>>();
            assert_eq!(values(&by_delta), values(other));
            assert_eq!(by_delta.context(), other.context());
            if !story.cuts && !story.truncates {
                assert_eq!(whole(&by_delta), whole(other));
            }
        }
    });
}

/// Deltas from any base, in any order, some lost and some twice: once all have come that there are, all is the same.
#[test]
fn deltas_in_any_order_lost_and_doubled() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let mut all = states(dice, story);
        let mut deltas = Vec::new();
        for _ in 0..6 {
            let (one, other) = dice.two_below(all.len());
            write(dice, &mut all[one], story.truncates);
            let past = &all[other].past;
            let base = if past.is_empty() { CausalContext::new() } else { dice.pick(past).clone() };
            deltas.push(all[one].map.delta_since(&base));
            if story.truncates && dice.percent(40) {
                all[one].truncate();
            }
        }
        let nothing = CausalContext::new();
        deltas.extend(all.iter().map(|replica| replica.map.delta_since(&nothing)));
        let mut ends = Vec::new();
        for reader in [5, 6] {
            let mut map = Replica::new(reader).map;
            let mut order: Vec<usize> = (0..deltas.len()).chain(0..deltas.len()).collect();
            dice.shuffle(&mut order);
            order.truncate(dice.below(order.len()));
            // At last the whole states once more, for those that were lost.
            for i in order.into_iter().chain(deltas.len() - all.len()..deltas.len()) {
                let _ = map.merge(deltas[i].clone());
            }
            ends.push(map);
        }
        let values = |map: &OrMap| lasting(map).1.into_iter().map(|(_, dots)| dots).collect::<Vec<_>>();
        assert_eq!((ends[0].context(), values(&ends[0])), (ends[1].context(), values(&ends[1])));
        assert_eq!(ends[0].audit().state, ends[1].audit().state);
    });
}

#[test]
fn the_winner_is_that_of_the_lww_register() {
    for_each_seed(6_000, |dice| {
        let mut all = states(dice, Story { truncates: false, cuts: true });
        for from in 1..all.len() {
            let [from, to] = all.get_disjoint_mut([from, 0]).unwrap();
            pull(from, to);
        }
        let map = &all[0].map;
        for number in 0..KEYS {
            let now = START;
            let mut live: Vec<_> = map.registers(key(number));
            live.retain(|(_, register)| !register.is_dead(now));
            dice.shuffle(&mut live);
            let registers = live.iter().map(|(dot, register)| register.to_lww(*dot));
            let winner = registers.reduce(|mut joined, register| {
                joined.merge(register);
                joined
            });
            let reading = map.read(key(number), now);
            assert_eq!(reading.map(|r| (r.timestamp, r.dot)), winner.as_ref().map(|w| w.marker));
            assert_eq!(reading.map(|r| r.value), winner.as_ref().map(|w| w.val.as_deref().unwrap()));
            let siblings = map.siblings(key(number), now);
            assert_eq!(siblings.len(), live.len().saturating_sub(1));
            assert!(siblings.is_sorted_by_key(|r| std::cmp::Reverse((r.timestamp, r.dot))));
        }
    });
}

/// The sums are kept up to date write by write. A map that is made anew from the whole of another has the same.
#[test]
fn the_sums_are_those_of_the_state() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        for replica in states(dice, story) {
            let mut copy = Replica::new(7);
            let _ = copy.map.merge(replica.map.delta_since(copy.map.context()));
            assert_eq!(copy.map.audit(), replica.map.audit());
            assert_eq!(copy.map.counts(), replica.map.counts());
            assert_eq!(replica.map.pending() == 0, look(&replica.map, KEYS, replica.now).pending_keys == 0);
            let dots: Vec<Name> = live_dots(&replica.map);
            assert_eq!(live_dots(&copy.map), dots);
            for (owner, counter) in dots {
                assert!(replica.map.is_live(Dot::new(id(owner), counter)));
            }
        }
    });
}

fn live_dots(map: &OrMap) -> Vec<Name> {
    let mut all: DotSet = map.live_within(map.context());
    map.have().iter().for_each(|(owner, first, last)| all.insert_range(owner, first, last));
    all.iter().flat_map(|(owner, first, last)| (first..=last).map(move |c| name(Dot::new(owner, c)))).collect()
}

/// What a merge reports is what reading before and after shows.
#[test]
fn changes_are_those_that_show() {
    for_each_seed(6_000, |dice| {
        let story = any_story(dice);
        let all = states(dice, story);
        let (from, to) = dice.two_below(all.len());
        let (from, now) = (&all[from].map, all[to].now);
        let before = all[to].map.clone();
        let mut after = before.clone();
        after.set_time(now);
        let merged = after.merge(from.delta_since(before.context()));
        for number in 0..KEYS {
            let dots = |map: &OrMap| map.read(key(number), now).map(|r| r.dot);
            let bytes = |map: &OrMap| map.get(key(number), now).map(<[u8]>::to_vec);
            let told: Vec<_> = merged.changes.iter().filter(|c| c.key == key(number).bytes).collect();
            if dots(&before) == dots(&after) {
                assert!(told.is_empty(), "{told:?}");
            } else {
                let shown = (bytes(&before), bytes(&after));
                assert!(
                    told.len() == 1
                        && shown
                            == (told[0].old.as_deref().map(<[u8]>::to_vec), told[0].new.as_deref().map(<[u8]>::to_vec))
                );
            }
        }
    });
}

/// A scan is the range of a sorted map, whatever was inserted, deleted and truncated since the last one.
#[test]
fn scan_is_the_range_of_a_sorted_map() {
    for_each_seed(150, |dice| {
        let mut replica = Replica::new(0);
        let mut plain: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let span = *dice.pick(&[20, 300, 5_000]);
        for step in 0..dice.below(4_000) as u64 {
            let number = dice.below(span);
            let name = format!("{}/{number:x}", number % 7).into_bytes();
            if dice.percent(55) {
                replica.put(&name, step.to_le_bytes());
                plain.insert(name, step);
            } else {
                assert_eq!(replica.delete(&name).is_some(), plain.remove(&name).is_some());
            }
            match dice.below(60) {
                0 => drop(replica.truncate()),
                1..3 => scan_and_compare(dice, &mut replica, &plain),
                _ => {}
            }
        }
        scan_and_compare(dice, &mut replica, &plain);
    });
}

fn scan_and_compare(dice: &mut Dice, replica: &mut Replica, plain: &BTreeMap<Vec<u8>, u64>) {
    let prefix = dice.pick(&["", "3/", "3/1", "9", "nothing"]).as_bytes().to_vec();
    let start = dice.pick(&["", "3/", "3/2", "5/"]).as_bytes().to_vec();
    let now = replica.now;
    let scanned: Vec<_> = replica
        .map
        .scan_from(Key::usr(&prefix), &start, now)
        .map(|(key, r)| (key.to_vec(), u64::from_le_bytes(r.value.try_into().unwrap())))
        .collect();
    let expected = plain.range(start..).filter(|(key, _)| key.starts_with(&prefix));
    assert_eq!(scanned, expected.map(|(key, value)| (key.clone(), *value)).collect::<Vec<_>>());
    assert_eq!(replica.map.counts().keys, plain.len());
}
