//! Stories of named nodes. Not responsible for random runs: `runs` and `clusters` are.

use crate::dense::{Dense, Way};
use crate::dice::Dice;
use crate::timed::Timed;
use crate::world::{START, World, address, id, usr};
use std::time::Duration;
use tidings::crdt::Retention;
use tidings::proto::codec;
use tidings::proto::config::NodeConfig;
use tidings::proto::link::CONTROL;
use tidings::proto::membership::MemberState;
use tidings::proto::message::Message;
use tidings::proto::time::{Instant, Now};
use tidings::{CausalContext, Delta, Key, OrMap, ReplicaId, Session};

const TICK: Duration = Duration::from_millis(1);
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// A node that sends one entry in a frame, truncates at each tick, and whose other timers never run.
pub(crate) fn calm(config: &mut NodeConfig) {
    let never = Duration::from_secs(1_000_000);
    config.retention = Retention { keep_ms: 0, count_max: usize::MAX, spare_ms: 0 };
    config.truncate_every = TICK;
    config.coalesce = Duration::ZERO;
    (config.announce_after, config.forward_after) = (never, never);
    (config.anti_entropy, config.anti_entropy_max) = (never, never);
    config.chunk_entries = 1;
}

fn dense(nodes: usize, keys: usize) -> Dense {
    let mut world = World::new(keys);
    for _ in 0..nodes {
        world.add(Now { instant: Instant::from_micros(0), wall_ms: START }, calm);
    }
    Dense::new(world)
}

/// They meet, tell each other everything, and part.
pub(crate) fn meet(dense: &mut Dense, one: usize, other: usize) {
    let link = dense.reconnect(one, other);
    dense.settle(Some(link));
    dense.part(link);
}

/// They meet, so many frames arrive, and the link breaks. Whether there was one frame more.
pub(crate) fn meet_and_break(dense: &mut Dense, one: usize, other: usize, frames: usize) -> bool {
    let link = dense.reconnect(one, other);
    for _ in 0..frames {
        let Some(way) = dense.ways(Some(link)).first().copied() else { break };
        dense.deliver(way);
    }
    let more = !dense.ways(Some(link)).is_empty();
    dense.part(link);
    more
}

pub(crate) fn all_agree(dense: &Dense, all: &[usize]) {
    dense.world.agree(all).unwrap_or_else(|what| panic!("{what}"));
    all.iter().for_each(|&who| assert_eq!(dense.world.map(who).pending(), 0, "pending at node {who}"));
}

pub(crate) fn put(dense: &mut Dense, who: usize, key: usize) -> u64 {
    let value = dense.world.put(who, key, None);
    dense.drain(who);
    value
}

pub(crate) fn delete(dense: &mut Dense, who: usize, key: usize) {
    assert!(dense.world.delete(who, key).is_some(), "there was something to delete");
    dense.drain(who);
}

/// A has put, overwritten and deleted, some of it known to B and C. The order of the syncs is left to the caller.
fn five_keys_and_a_difference() -> Dense {
    with_a_difference(dense(3, 5))
}

/// The same of any three nodes with five keys.
pub(crate) fn with_a_difference(mut dense: Dense) -> Dense {
    (0..3).for_each(|key| {
        put(&mut dense, A, key);
    });
    meet(&mut dense, A, B);
    meet(&mut dense, A, C);
    delete(&mut dense, A, 0);
    (1..5).for_each(|key| {
        put(&mut dense, A, key);
    });
    delete(&mut dense, A, 3);
    dense
}

#[test]
fn a_pull_cut_after_any_frame_is_resumed_with_the_same_peer() {
    resume_after_each_frame(A);
}

#[test]
fn a_pull_cut_after_any_frame_is_resumed_with_another_peer() {
    resume_after_each_frame(C);
}

fn resume_after_each_frame(with: usize) {
    for truncated in [false, true] {
        let mut more = true;
        let mut frames = 0;
        while more {
            let mut dense = five_keys_and_a_difference();
            if with == C {
                meet(&mut dense, A, C);
            }
            if truncated {
                dense.pass(A, TICK);
            }
            more = meet_and_break(&mut dense, A, B, frames);
            let before = dense.world.members[B].node.received();
            meet(&mut dense, with, B);
            meet(&mut dense, A, B);
            meet(&mut dense, A, C);
            meet(&mut dense, B, C);
            all_agree(&dense, &[A, B, C]);
            let after = dense.world.members[B].node.received();
            if with == A && !truncated {
                assert_eq!(after.known, before.known, "what had arrived after {frames} frames came again");
            }
            frames += 1;
        }
        assert!(frames > 10, "only {frames} frames were gone through");
    }
}

/// Three clients wrote one key, each at its own node, and one was refused what it had just read there: a sync was under way,
/// and its token named what that had half brought.
#[test]
fn what_was_read_from_a_sync_under_way_is_arriving_until_the_link_is_lost() {
    let (mut more, mut frames, mut half_here) = (true, 0, 0);
    while more {
        let mut dense = five_keys_and_a_difference();
        let link = dense.reconnect(A, B);
        for _ in 0..frames {
            // The pull before a push, which would bring it all at once.
            let Some(way) = dense.ways(Some(link)).into_iter().max_by_key(|way| way.channel) else { break };
            dense.deliver(way);
        }
        more = !dense.ways(Some(link)).is_empty();
        let contexts = (0..5).map(|key| dense.world.map(B).context_of(Key::usr(&usr(key))));
        let seen: Vec<Session> = contexts.map(|context| Session::from(&context)).collect();
        let unmet = |dense: &Dense, session: &&Session| !session.is_within(dense.world.map(B).context());
        let half: Vec<&Session> = seen.iter().filter(|session| unmet(&dense, session)).collect();
        half.iter().for_each(|session| assert!(dense.world.members[B].node.is_arriving(session), "after {frames}"));
        dense.part(link);
        half.iter().for_each(|session| assert!(!dense.world.members[B].node.is_arriving(session), "after {frames}"));
        (frames, half_here) = (frames + 1, half_here + half.len());
    }
    assert!(half_here > 5, "only {half_here} reads were of what was half here");
}

/// A sync is cut after each frame, and what has arrived is passed on: nobody takes what has not arrived for deleted.
#[test]
fn context_ahead_of_data() {
    let (mut more, mut frames) = (true, 0);
    while more {
        let mut dense = five_keys_and_a_difference();
        let before = dense.world.map(B).context().clone();
        more = meet_and_break(&mut dense, A, B, frames);
        let now = dense.world.map(B).context();
        let of_a = (before.get(id(A)), now.get(id(A)), dense.world.map(A).context().get(id(A)));
        assert!(of_a.1 == of_a.0 || of_a.1 == of_a.2, "half a sync in the context: {of_a:?} after {frames} frames");
        meet(&mut dense, B, C);
        for key in [1, 2, 4] {
            let shown = dense.world.get(C, key).is_some() || key == 4;
            assert!(shown, "key {key} is lost at C after {frames} frames");
        }
        meet(&mut dense, A, C);
        meet(&mut dense, A, B);
        meet(&mut dense, B, C);
        all_agree(&dense, &[A, B, C]);
        (0..5).for_each(|key| assert_eq!(dense.world.get(B, key).is_some(), [1, 2, 4].contains(&key), "key {key}"));
        frames += 1;
    }
}

/// B is pulling from C what A has deleted and truncated, and catches up with A at the same time. Whichever ends first:
/// nothing that C brings after A's dots were looked at comes back.
#[test]
fn overlapping_pulls() {
    for first in [A, C] {
        let mut dense = dense(3, 3);
        dense.late = true;
        (0..3).for_each(|key| {
            put(&mut dense, C, key);
        });
        meet(&mut dense, A, C);
        let from_c = dense.reconnect(B, C);
        // B's pull at C is under way: its first entry has arrived, the rest is on its way.
        for (side, frames) in [(0, 1), (1, 2)] {
            (0..frames).for_each(|_| dense.deliver(Way { link: from_c, side, channel: 1 }));
        }
        assert!(dense.world.map(B).pending() > 0, "the pull has begun");
        (0..3).for_each(|key| delete(&mut dense, A, key));
        dense.pass(A, TICK);
        let from_a = dense.reconnect(A, B);
        while dense.catch_ups == 0 {
            let way = dense.ways(Some(from_a))[0];
            dense.deliver(way);
        }
        // `Begin` has been made, and A's dots have been looked at.
        dense.deliver(Way { link: from_a, side: 0, channel: 2 });
        let (sooner, later) = if first == A { (from_a, from_c) } else { (from_c, from_a) };
        dense.settle(Some(sooner));
        dense.settle(Some(later));
        dense.settle(None);
        all_agree(&dense, &[A, B]);
        (0..3).for_each(|key| assert_eq!(dense.world.get(B, key), None, "key {key} is back"));
    }
}

/// B is catching up with A, where a write of C was deleted and the tombstone truncated; C, who has not heard of that, pushes
/// the write to B when A has already looked at its own dots.
#[test]
fn what_a_push_brings_during_a_catch_up_is_compared_too() {
    let mut dense = dense(3, 2);
    for (one, other) in [(A, B), (A, C), (B, C)] {
        meet(&mut dense, one, other);
    }
    put(&mut dense, C, 0);
    meet(&mut dense, A, C);
    delete(&mut dense, A, 0);
    put(&mut dense, A, 1);
    dense.pass(A, TICK);
    let from_c = dense.reconnect(B, C);
    let delta = dense.world.map(C).delta_since(dense.world.map(B).context());
    let from_a = dense.reconnect(A, B);
    dense.deliver(Way { link: from_a, side: 1, channel: 2 });
    (0..2).for_each(|_| dense.deliver(Way { link: from_a, side: 0, channel: 2 }));
    assert_eq!(dense.catch_ups, 1, "the catch-up has begun");
    dense.forge(from_c, 1, CONTROL, codec::encode(&Message::Push(delta), None));
    while dense.ways(Some(from_c)).iter().any(|way| way.side == 1 && way.channel == CONTROL) {
        dense.deliver(Way { link: from_c, side: 1, channel: CONTROL });
    }
    dense.settle(Some(from_a));
    assert_eq!(dense.world.get(B, 0), None, "it is back");
    assert!(dense.world.get(B, 1).is_some(), "the catch-up is over");
    dense.settle(None);
    for (one, other) in [(A, B), (A, C), (B, C)] {
        meet(&mut dense, one, other);
    }
    all_agree(&dense, &[A, B, C]);
}

/// What is written during a long pull does not wait for its end.
#[test]
fn a_fresh_write_overtakes_the_rest_of_a_pull() {
    let keys = 200;
    let mut dense = dense(2, keys);
    dense.world.blind = true;
    dense.slow = true;
    (0..keys - 1).for_each(|key| {
        put(&mut dense, A, key);
    });
    let link = dense.reconnect(A, B);
    let bulk = Way { link, side: 0, channel: 2 };
    dense.deliver(Way { link, side: 1, channel: 2 });
    (0..10).for_each(|_| dense.deliver(bulk));
    let fresh = put(&mut dense, A, keys - 1);
    let control = Way { link, side: 0, channel: CONTROL };
    while dense.ways(Some(link)).contains(&control) {
        dense.deliver(control);
    }
    assert_eq!(dense.world.get(B, keys - 1), Some(fresh));
    assert!(dense.world.map(B).counts().keys < 30, "and the rest is still to come");
    assert!(dense.world.map(B).pending() > 0, "and its context waits for that");
    dense.settle(None);
    assert_eq!(dense.world.map(B).pending(), 0);
    all_agree(&dense, &[A, B]);
}

/// A receiver's context that the sender lacks some of used to come out of the bytes as the sender's own: the receiver then
/// took what the sender had not heard of for deleted.
#[test]
fn a_delta_on_a_base_that_its_sender_lacks_survives_the_bytes() {
    let (mut a, mut b) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    a.put(b"kettle", b"on", START);
    b.put(b"kettle", b"off", START);
    let delta = b.delta_since(a.context());
    let read = Delta::decode(&delta.encode()).expect("it was encoded so");
    assert_eq!((read.base(), read.snapshot()), (delta.base(), delta.snapshot()));
    let merged = a.merge(read);
    assert!(merged.missing.is_empty());
    assert_eq!(a.registers(b"kettle").len(), 2, "both writes live: neither had seen the other");
}

/// A push that builds on more than its receiver has is kept as pending, and answered with what the receiver has.
#[test]
fn a_push_on_a_wrong_base_is_not_taken_in() {
    let mut dense = dense(3, 2);
    put(&mut dense, A, 0);
    let before = dense.world.map(A).context().clone();
    put(&mut dense, A, 1);
    let delta = dense.world.map(A).delta_since(&before);
    let link = dense.connect(A, B);
    dense.deliver(Way { link, side: 0, channel: CONTROL });
    dense.forge(link, 0, CONTROL, codec::encode(&Message::Push(delta), None));
    dense.deliver(Way { link, side: 0, channel: CONTROL });
    assert_eq!(dense.world.map(B).context().get(id(A)), 0, "the context has run ahead of the data");
    assert!(dense.world.get(B, 1).is_some(), "what came can be read");
    dense.settle(None);
    all_agree(&dense, &[A, B]);
}

// --- In time

fn three(dice: &mut Dice, keys: usize) -> Timed<'_> {
    let mut timed = Timed::cluster(dice, keys, 3);
    timed.demand_agreement(3_000);
    assert_eq!((A..=C).map(|who| timed.node(who).links().len()).sum::<usize>(), 6, "each has a link to each");
    timed
}

#[test]
fn a_write_reaches_all_at_once() {
    let dice = &mut Dice::new(1);
    let mut timed = three(dice, 1);
    timed.run_for(60_000);
    let value = timed.put(A, 0);
    let took = timed.run_until(1_000, |timed| [B, C].iter().all(|&who| timed.get(who, 0) == Some(value)));
    assert!(took.is_some_and(|ms| ms <= 5), "it took {took:?} ms on a path of one");
}

#[test]
fn concurrent_writes_have_one_winner_and_siblings_until_the_next_write() {
    let dice = &mut Dice::new(2);
    let mut timed = three(dice, 1);
    let values = [A, B, C].map(|who| timed.put(who, 0));
    timed.demand_agreement(1_000);
    let winner = timed.get(A, 0).expect("one of them");
    assert!(values.contains(&winner));
    let bytes = usr(0);
    for who in [A, B, C] {
        let (map, now) = (timed.world.map(who), timed.world.members[who].now.wall_ms);
        assert_eq!(timed.get(who, 0), Some(winner));
        assert_eq!(map.siblings(Key::usr(&bytes), now).len(), 2, "siblings at {who}");
    }
    let last = timed.put(B, 0);
    timed.demand_agreement(1_000);
    for who in [A, B, C] {
        assert_eq!(timed.get(who, 0), Some(last));
        assert_eq!(timed.world.map(who).registers(Key::usr(&bytes)).len(), 1, "no siblings at {who}");
    }
}

#[test]
fn a_delete_concurrent_with_a_put_leaves_the_put() {
    let dice = &mut Dice::new(3);
    let mut timed = three(dice, 1);
    timed.put(A, 0);
    timed.demand_agreement(1_000);
    let kept = timed.put(B, 0);
    assert!(timed.delete(C, 0));
    timed.demand_agreement(1_000);
    [A, B, C].iter().for_each(|&who| assert_eq!(timed.get(who, 0), Some(kept)));
    assert!(timed.delete(A, 0));
    timed.demand_agreement(1_000);
    [A, B, C].iter().for_each(|&who| assert_eq!(timed.get(who, 0), None));
}

#[test]
fn cut_and_heal() {
    for seed in 0..20 {
        let dice = &mut Dice::new(seed);
        let mut timed = three(dice, 6);
        (0..4).for_each(|key| {
            timed.put(A, key);
        });
        timed.demand_agreement(1_000);
        timed.isolate(C);
        // Some cuts are noticed, and some are too short for that.
        timed.run_for([100, 1_000, 2_500, 30_000, 600_000][seed as usize % 5]);
        timed.delete(A, 0);
        timed.put(B, 1);
        timed.put(C, 1);
        timed.delete(C, 2);
        timed.put(C, 4);
        timed.put(B, 5);
        timed.run_for(200);
        timed.mend_all();
        let linked = |timed: &Timed<'_>| timed.world.members.iter().all(|member| member.node.links().len() == 2);
        let up = timed.run_until(12_000, linked).expect("the links come up again");
        let took = timed.demand_agreement(1_000);
        assert!(up + took <= 1_000 || timed.now_ms() > 300_000, "seed {seed}: {up} and {took} ms");
        let shown = |who| (0..6).map(|key| timed.get(who, key).is_some()).collect::<Vec<_>>();
        [A, B, C].iter().for_each(|&who| assert_eq!(shown(who), [false, true, false, true, true, true]));
    }
}

fn state_of(timed: &mut Timed<'_>, at: usize, of: usize) -> (MemberState, u64) {
    let members = timed.node(at).members();
    let member = members.into_iter().find(|member| member.id == id(of)).expect("there is a record");
    (member.record.state, member.record.incarnation)
}

#[test]
fn a_member_whose_link_is_lost_is_written_down_and_takes_it_back() {
    let dice = &mut Dice::new(4);
    let mut timed = three(dice, 1);
    let before = state_of(&mut timed, A, C);
    assert_eq!(before.0, MemberState::Alive);
    timed.isolate(C);
    timed.run_for(5_000);
    for at in [A, B] {
        assert_eq!(state_of(&mut timed, at, C), (MemberState::Down, before.1), "of C at {at}");
        assert_eq!(state_of(&mut timed, C, at).0, MemberState::Down, "of {at} at C");
    }
    timed.mend_all();
    timed.run_for(3_000);
    for at in [A, B, C] {
        for of in [A, B, C] {
            assert_eq!(state_of(&mut timed, at, of).0, MemberState::Alive, "of {of} at {at}");
        }
        assert!(state_of(&mut timed, at, C).1 > before.1, "a higher incarnation");
    }
}

#[test]
fn a_member_that_leaves_is_known_as_left() {
    let dice = &mut Dice::new(5);
    let mut timed = three(dice, 1);
    timed.act(C, |node, now| node.leave(now));
    timed.demand_agreement(1_000);
    timed.act(C, |node, now| node.close(now));
    timed.isolate(C);
    timed.run_for(30_000);
    [A, B].iter().for_each(|&at| assert_eq!(state_of(&mut timed, at, C).0, MemberState::Left));
}

#[test]
fn a_removed_peer_stays_out_until_it_is_added() {
    for by_address in [false, true] {
        let dice = &mut Dice::new(6);
        let mut timed = three(dice, 1);
        let named = if by_address { address(B) } else { id(B).to_string() };
        assert!(timed.act(A, |node, now| node.remove_peer(now, &named)));
        timed.run_for(60_000);
        let linked = |timed: &mut Timed<'_>| timed.node(A).links().iter().any(|link| link.id == id(B));
        assert!(!linked(&mut timed), "it is back");
        let value = timed.put(B, 0);
        timed.run_for(1_000);
        assert_eq!(timed.get(A, 0), Some(value), "what it writes comes by the others");
        assert!(timed.act(A, |node, now| node.add_peer(now, &address(B))));
        timed.run_for(15_000);
        assert!(linked(&mut timed), "it was added again");
        timed.demand_agreement(1_000);
    }
}

/// B and C have only been told of A, and never reach each other.
#[test]
fn a_star_passes_writes_on() {
    let dice = &mut Dice::new(7);
    let mut timed = Timed::new(dice, 2);
    for who in [A, B, C, D] {
        timed.add(0, |config| config.join.extend((who != A).then(|| address(A))));
    }
    for (one, other) in [(B, C), (B, D), (C, D)] {
        timed.cut(one, other);
    }
    timed.demand_agreement(5_000);
    timed.run_for(60_000);
    for who in [B, C, D, A] {
        let value = timed.put(who, 0);
        let all = |timed: &Timed<'_>| [A, B, C, D].iter().all(|&who| timed.get(who, 0) == Some(value));
        let took = timed.run_until(1_000, all);
        assert!(took.is_some_and(|ms| ms < 150), "the write of {who} took {took:?} ms");
        timed.demand_agreement(1_000);
    }
}

/// Nodes that only know one of the others learn of the rest from the records, and link to them.
#[test]
fn a_small_cluster_links_everybody_to_everybody() {
    let dice = &mut Dice::new(8);
    let mut timed = Timed::new(dice, 1);
    for who in [A, B, C, D] {
        timed.add(0, |config| config.join.extend((who != A).then(|| address(A))));
    }
    let linked = |timed: &Timed<'_>| timed.world.members.iter().all(|member| member.node.links().len() == 3);
    assert!(timed.run_until(10_000, linked).is_some(), "not everybody is linked");
    timed.demand_agreement(2_000);
}

/// Nobody writes: what is sent grows neither with the keys nor with time.
#[test]
fn a_quiet_hour_costs_little_and_not_by_the_key() {
    let bytes_of_an_hour = |keys: usize| {
        let dice = &mut Dice::new(9);
        let mut timed = Timed::cluster(dice, keys, 3);
        timed.world.blind = true;
        (0..keys).for_each(|key| {
            timed.put(key % 3, key);
        });
        timed.demand_agreement(5_000);
        let before = timed.bytes;
        timed.run_for(3_600_000);
        timed.world.check_all();
        timed.agree().unwrap_or_else(|what| panic!("{what}"));
        timed.bytes - before
    };
    let (few, many) = (bytes_of_an_hour(3), bytes_of_an_hour(600));
    eprintln!("{few} bytes with 3 keys, {many} with 600");
    assert!(many < 60_000 && many < few + few / 10, "{few} bytes with 3 keys, {many} with 600");
}

/// Frames of a peer that has everything and loses its links for good: what is pending on it stays, and hurts nobody.
#[test]
fn survivors_of_a_vanished_source_agree() {
    let (mut more, mut frames) = (true, 0);
    while more {
        let mut dense = five_keys_and_a_difference();
        dense.pass(A, TICK);
        more = meet_and_break(&mut dense, A, B, frames);
        for _ in 0..2 {
            meet(&mut dense, B, C);
        }
        dense.world.agree(&[B, C]).unwrap_or_else(|what| panic!("after {frames} frames: {what}"));
        frames += 1;
    }
}

#[test]
fn two_processes_with_one_replica_id_are_told_apart() {
    let mut world = World::new(1);
    let now = Now { instant: Instant::from_micros(0), wall_ms: START };
    world.add(now, |_| {});
    let mut clone = NodeConfig::new(id(A));
    clone.boot = 77;
    let mut dense = Dense::new(world);
    dense.drain(A);
    let twin = tidings::proto::node::Node::new(clone, now);
    let hello = tidings::proto::message::Hello {
        cluster: [0; 16],
        replica: id(A),
        boot: twin.config().boot,
        name: String::new(),
        address: "elsewhere".to_owned(),
        audit: twin.map().audit(),
        bound: 0,
        ask: tidings::proto::message::Ask::Active,
        features: 0,
    };
    let member = &mut dense.world.members[A];
    let link = tidings::proto::link::LinkId(9);
    let connected = tidings::proto::node::Input::Connected {
        link,
        address: "x".into(),
        dialed: false,
        identity: Some(id(A)),
        key: tidings::proto::KeyId::default(),
    };
    member.node.handle(now, connected);
    let frame = codec::encode(&Message::Hello(hello), None);
    member.node.handle(now, tidings::proto::node::Input::Frame { link, channel: CONTROL, frame });
    assert!(member.node.links().is_empty(), "no link to a twin");
    assert_eq!(CausalContext::new().len(), 0);
}
