//! Stories of disks: what is lost, what is full, what is copied back. Not responsible for chance: `crashes` is.

use crate::dense::Dense;
use crate::dice::Dice;
use crate::disk::Fault;
use crate::stories::{all_agree, calm, delete, meet, meet_and_break, put, with_a_difference};
use crate::world::{START, World, id, usr};
use std::time::Duration;
use tidings::proto::codec;
use tidings::proto::link::CONTROL;
use tidings::proto::message::Message;
use tidings::proto::time::{Instant, Now};
use tidings::{Key, Timestamp};

const TICK: Duration = Duration::from_millis(1);
const HOUR_MS: u64 = 3_600_000;
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn now() -> Now {
    Now { instant: Instant::from_micros(0), wall_ms: START }
}

/// Nodes whose state is kept, and durable at once until a story says otherwise.
fn kept(nodes: usize, keys: usize) -> Dense {
    let mut dense = Dense::new(World::new(keys));
    for _ in 0..nodes {
        let who = dense.world.add_kept(now(), calm);
        dense.drain(who);
    }
    dense
}

/// From now on a commit of the node gets on only when the story says so.
fn slow_disk(dense: &mut Dense, who: usize) {
    dense.world.set_prompt(who, false);
}

fn is_writable(dense: &Dense, who: usize) -> bool {
    dense.world.members[who].node.is_writable()
}

fn counter(dense: &Dense, at: usize, of: usize) -> u64 {
    dense.world.map(at).context().get(id(of))
}

/// What went wrong elsewhere: a node was restored from yesterday's backup and went on counting from there. Its new writes
/// had names that others knew, and were ignored; or what had been deleted since came back.
#[test]
fn restored_backup() {
    let mut dense = kept(2, 4);
    for key in 0..3 {
        put(&mut dense, A, key);
    }
    let backup = dense.world.back_up(A);
    delete(&mut dense, A, 0);
    let newer = put(&mut dense, A, 1);
    meet(&mut dense, A, B);
    dense.pass(B, TICK);
    dense.lose(A);

    let restored = dense.world.restore(&backup, now(), calm);
    dense.drain(restored);
    assert!(dense.world.get(restored, 0).is_some() && dense.world.get(restored, 1) != Some(newer), "as it was then");
    let of_restored = put(&mut dense, restored, 3);
    // Its own disk has all of it, not only what is new.
    dense.crash(restored, &mut Dice::new(1));
    assert!(dense.world.get(restored, 2).is_some(), "what was in the backup only is lost");
    meet(&mut dense, restored, B);
    all_agree(&dense, &[restored, B]);
    for who in [restored, B] {
        assert_eq!(dense.world.get(who, 0), None, "it has come back");
        assert_eq!(dense.world.get(who, 1), Some(newer));
        assert_eq!(dense.world.get(who, 3), Some(of_restored), "the new write is taken for known");
    }
}

/// What went wrong elsewhere: after a power cut counters were used again, and the second write of a name was ignored by
/// all who knew the first.
#[test]
fn lost_tail() {
    // The write is in no commit yet, in one that has begun, that is written, that is synced, that the node was told of.
    for steps in 0..4 {
        for seed in 0..4 {
            let mut dense = kept(2, 2);
            let before = put(&mut dense, A, 0);
            let link = dense.reconnect(A, B);
            dense.settle(Some(link));
            slow_disk(&mut dense, A);
            let durable = counter(&dense, A, A);
            let after = put(&mut dense, A, 0);
            let token = counter(&dense, A, A);
            (0..steps).for_each(|_| dense.go_on_with_commit(A));
            dense.settle(Some(link));
            let known = dense.world.get(B, 0) == Some(after);
            assert_eq!(known, steps == 3, "B knows of it exactly when it is durable, and A was told so");

            dense.crash(A, &mut Dice::new(seed));
            let survived = dense.world.get(A, 0) == Some(after);
            assert!(survived || dense.world.get(A, 0) == Some(before));
            assert!(survived || counter(&dense, B, A) == durable, "B knows a write that is lost");
            assert!(counter(&dense, A, A) > token, "the name of the write is not void");
            let last = put(&mut dense, A, 1);
            assert!(counter(&dense, A, A) > token + 1, "a name that a client was told of names another write");
            dense.world.set_prompt(A, true);
            dense.finish_commits(A);
            meet(&mut dense, A, B);
            all_agree(&dense, &[A, B]);
            assert_eq!(dense.world.get(B, 1), Some(last));
            assert_eq!(dense.world.get(B, 0), Some(if survived { after } else { before }));
        }
    }
}

/// What went wrong elsewhere: a kill between two writes to the disk left a context that claimed entries which were not
/// there, or entries without the context that they needed: data was lost, or asked for without end.
#[test]
fn crash_between_persists() {
    for (who, truncated) in [(B, false), (B, true), (A, false), (A, true)] {
        let (mut more, mut frames) = (true, 0);
        while more {
            for steps in 0..4 {
                more = crash_after(who, truncated, frames, steps);
            }
            frames += 1;
        }
        assert!(frames > 10, "only {frames} frames were gone through");
    }
}

/// A sync from A to B breaks after so many frames, and `who` crashes when its commit is so many steps further.
fn crash_after(who: usize, truncated: bool, frames: usize, steps: usize) -> bool {
    let mut dense = with_a_difference(kept(3, 5));
    if truncated {
        dense.pass(A, TICK);
    }
    slow_disk(&mut dense, who);
    if who == A {
        put(&mut dense, A, 1);
        (0..steps).for_each(|_| dense.go_on_with_commit(A));
    }
    let more = meet_and_break(&mut dense, A, B, frames);
    (0..steps).for_each(|_| dense.go_on_with_commit(who));
    dense.crash(who, &mut Dice::new((frames * 4 + steps) as u64));
    dense.world.set_prompt(who, true);
    dense.drain(who);
    dense.finish_commits(who);
    for (one, other) in [(B, C), (A, B), (A, C), (B, C)] {
        meet(&mut dense, one, other);
    }
    all_agree(&dense, &[A, B, C]);
    for key in 0..5 {
        assert_eq!(dense.world.get(C, key).is_some(), [1, 2, 4].contains(&key), "key {key} after {frames} frames");
    }
    more
}

/// What went wrong elsewhere: a store with a full disk restarted in a loop, or acknowledged what it could not keep.
#[test]
fn disk_full() {
    let mut dense = kept(3, 3);
    let old = put(&mut dense, A, 0);
    let link = dense.reconnect(A, B);
    dense.settle(Some(link));
    dense.world.disk(A).fault = Fault::Full;
    put(&mut dense, A, 0);
    assert_eq!(dense.link_between(A, B), None, "what was on its way is lost, and with it the links");
    let refused = counter(&dense, A, A) + 1;
    assert!(!is_writable(&dense, A), "whoever drives it refuses writes from now on");
    assert_eq!(dense.world.get(A, 0), Some(old), "what could not be kept is not shown");

    // It goes on serving what it has.
    meet(&mut dense, A, B);
    assert_eq!(dense.world.get(B, 0), Some(old));
    dense.mend_disk(A);
    assert!(!is_writable(&dense, A), "there is still no room");

    dense.world.disk(A).fault = Fault::None;
    dense.mend_disk(A);
    assert!(is_writable(&dense, A), "there is room again");
    assert!(counter(&dense, A, A) >= refused, "the name of the write that was lost is not void");
    let new = put(&mut dense, A, 0);
    for (one, other) in [(A, B), (A, C), (B, C)] {
        meet(&mut dense, one, other);
    }
    all_agree(&dense, &[A, B, C]);
    assert_eq!(dense.world.get(C, 0), Some(new));
    dense.crash(A, &mut Dice::new(1));
    assert_eq!(dense.world.get(A, 0), Some(new));
}

/// The same of a disk that takes nothing for a long time, while others write and a new node joins.
#[test]
fn read_only_disk() {
    let mut dense = kept(3, 4);
    let (durable, deleted) = (put(&mut dense, A, 0), put(&mut dense, A, 1));
    meet(&mut dense, A, B);
    dense.world.disk(A).fault = Fault::Full;
    put(&mut dense, A, 2);
    assert!(!is_writable(&dense, A));

    // B pushes to it what it cannot take, and pulls nothing that it does not have.
    let link = dense.reconnect(A, B);
    dense.settle(Some(link));
    let pushed = put(&mut dense, B, 3);
    delete(&mut dense, B, 1);
    dense.settle(Some(link));
    assert_eq!((dense.world.get(A, 3), dense.world.get(A, 1)), (None, Some(deleted)), "it takes nothing in");
    let shown = (dense.world.get(B, 0), dense.world.get(B, 3));
    assert_eq!(shown, (Some(durable), Some(pushed)), "and loses nothing of others");

    // C joins, and knows nobody else.
    meet(&mut dense, A, C);
    assert_eq!((dense.world.get(C, 0), dense.world.get(C, 2)), (Some(durable), None), "all that is durable");

    dense.world.disk(A).fault = Fault::None;
    dense.mend_disk(A);
    dense.settle(Some(link));
    assert_eq!((dense.world.get(A, 3), dense.world.get(A, 1)), (Some(pushed), None), "nobody had to write again");
    meet(&mut dense, A, C);
    meet(&mut dense, B, C);
    all_agree(&dense, &[A, B, C]);
}

/// What went wrong elsewhere: a replica lost its unsynced tail, a peer pushed on the context it had had before, and its
/// context then covered what it no longer had.
#[test]
fn went_backwards() {
    let mut dense = kept(3, 3);
    put(&mut dense, A, 0);
    meet(&mut dense, A, B);
    meet(&mut dense, A, C);
    slow_disk(&mut dense, B);
    delete(&mut dense, A, 0);
    let second = put(&mut dense, A, 1);
    meet(&mut dense, A, B);
    let believed = dense.world.map(A).context().clone();
    assert_eq!((dense.world.get(B, 0), dense.world.get(B, 1)), (None, Some(second)));
    dense.crash(B, &mut Dice::new(2));
    assert!(dense.world.get(B, 0).is_some() && dense.world.get(B, 1).is_none(), "the tail is gone");

    let third = put(&mut dense, A, 2);
    let delta = dense.world.map(A).delta_since(&believed);
    let link = dense.connect(A, B);
    dense.finish_commits(B);
    let to_b = crate::dense::Way { link, side: 0, channel: CONTROL };
    dense.deliver(to_b);
    dense.forge(link, 0, CONTROL, codec::encode(&Message::Push(delta), None));
    dense.deliver(to_b);
    assert_eq!(dense.world.get(B, 2), Some(third), "what came can be read");
    assert!(!dense.world.map(B).context().includes(&believed));
    dense.cut(link);
    dense.finish_commits(B);
    for (one, other) in [(B, C), (A, B), (B, C)] {
        meet(&mut dense, one, other);
        dense.finish_commits(B);
    }
    dense.world.set_prompt(B, true);
    meet(&mut dense, A, B);
    meet(&mut dense, B, C);
    all_agree(&dense, &[A, B, C]);
    assert_eq!(dense.world.get(C, 0), None);
}

// --- Clocks across restarts

fn timestamp(dense: &Dense, who: usize, key: usize) -> Timestamp {
    let bytes = usr(key);
    let reading = dense.world.map(who).read(Key::usr(&bytes), dense.world.members[who].now.wall_ms);
    reading.expect("it has a value").timestamp
}

fn restart(dense: &mut Dense, who: usize) {
    dense.crash(who, &mut Dice::new(1));
}

/// A node one hour ahead writes, and is restarted with its clock put right: it can write all keys, and others too.
#[test]
fn far_future_clock() {
    let mut dense = kept(2, 2);
    dense.world.members[A].now.wall_ms += HOUR_MS;
    put(&mut dense, A, 0);
    let ahead = timestamp(&dense, A, 0);
    meet(&mut dense, A, B);
    assert_eq!(dense.world.map(B).clocks_ahead(), 1);
    dense.world.members[A].now.wall_ms -= HOUR_MS;
    restart(&mut dense, A);
    restart(&mut dense, B);
    put(&mut dense, A, 1);
    assert!(timestamp(&dense, A, 1) > ahead, "its own writes stay in order");
    put(&mut dense, B, 1);
    assert_eq!(timestamp(&dense, B, 1).millis(), START, "the other's clock has not followed, not by its disk either");
    let corrected = put(&mut dense, B, 0);
    assert!(timestamp(&dense, B, 0) > ahead);
    meet(&mut dense, A, B);
    all_agree(&dense, &[A, B]);
    assert_eq!(dense.world.get(A, 0), Some(corrected));
}

/// The clock is set back between two runs: a node's own writes stay in order.
#[test]
fn clock_set_back() {
    let mut dense = kept(1, 3);
    put(&mut dense, A, 0);
    dense.world.members[A].now.wall_ms -= HOUR_MS;
    for key in 1..3 {
        let before = timestamp(&dense, A, key - 1);
        restart(&mut dense, A);
        put(&mut dense, A, key);
        assert!(timestamp(&dense, A, key) > before);
    }
}

/// A machine that boots in 1970, again and again, stamps just after what it has seen.
#[test]
fn no_clock() {
    let mut dense = kept(2, 2);
    dense.world.members[B].now.wall_ms = 5_000;
    put(&mut dense, A, 0);
    meet(&mut dense, A, B);
    restart(&mut dense, B);
    put(&mut dense, B, 1);
    assert!(timestamp(&dense, B, 1) > timestamp(&dense, A, 0), "what it had seen before it was restarted counts");
    meet(&mut dense, A, B);
    restart(&mut dense, B);
    let (before, last) = (timestamp(&dense, B, 1), put(&mut dense, B, 1));
    assert!(timestamp(&dense, B, 1) > before);
    meet(&mut dense, A, B);
    all_agree(&dense, &[A, B]);
    assert_eq!(dense.world.get(A, 1), Some(last));
}
