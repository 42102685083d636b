//! Syncs that are cut, overlap, or build on what is not there.

use crate::replicas::{End, Pull, Replica, pull, pull_cut_after, pull_in_order, push};
use tidings::CausalContext;

/// What went wrong elsewhere: the context ran ahead of the data. What had not come yet looked deleted, and the next sync
/// deleted it everywhere.
#[test]
fn context_ahead_of_data() {
    const KEYS: [&str; 4] = ["kettle", "lamp", "mirror", "nail"];
    for cut_after in 0..=KEYS.len() {
        let [mut a, mut b, mut c] = [0, 1, 2].map(Replica::new);
        for key in KEYS {
            a.put(key, "v");
        }
        pull_cut_after(cut_after, &mut a, &mut b);
        assert!(b.map.context().is_empty(), "it has not got all of anything");
        assert_eq!(KEYS.iter().filter(|key| b.get(**key).is_some()).count(), cut_after, "what came can be read");

        pull(&mut b, &mut c);
        assert_eq!(KEYS.iter().filter(|key| c.get(**key).is_some()).count(), cut_after, "and passed on");
        pull(&mut b, &mut a);
        let rest = Pull::start(&mut a, &mut c);
        assert_eq!(rest.len(), KEYS.len() - cut_after, "the next attempt asks for the rest only");
        assert_eq!(rest.run(&mut a, &mut c), End::Done);
        for replica in [&a, &c] {
            assert!(KEYS.iter().all(|key| replica.get(*key) == Some("v")), "cut after {cut_after}");
            assert_eq!(replica.map.pending(), 0);
        }
    }
}

/// What went wrong elsewhere: what one replica had truncated was taken for removed by one that still served it, and a
/// third replica's old value came back through that one. Once with a tombstone, once with a value that expires.
#[test]
fn truncated_beside_put() {
    for expires in [false, true] {
        let [mut x, mut s, mut d, mut p, mut q] = [0, 1, 2, 3, 4].map(Replica::new);
        x.put("k", "old");
        for to in [&mut s, &mut d, &mut p] {
            pull(&mut x, to);
        }
        if expires {
            x.map.put_until("k", "for a while", x.now + 50, x.now);
        } else {
            x.delete("k");
        }
        q.put("k", "concurrent");
        pull(&mut q, &mut p);
        pull(&mut x, &mut d);
        pull(&mut x, &mut s);
        pull(&mut q, &mut s);
        s.now += 60;
        assert_eq!(s.truncate(), 1);
        pull(&mut s, &mut d);
        let served = d.map.registers("k").iter().filter(|(_, r)| r.value.is_none()).count();
        assert_eq!(served, usize::from(!expires), "a tombstone stays, and what expires goes");
        pull(&mut d, &mut p);

        let mut all = [x, s, d, p, q];
        all.iter_mut().for_each(|replica| replica.now = crate::replicas::START + 60);
        sync_all(&mut all);
        for replica in &all {
            assert_eq!(replica.map.registers("k").iter().filter(|(_, r)| !r.is_dead(replica.now)).count(), 1);
            assert_eq!(replica.get("k"), Some("concurrent"));
            assert_eq!(replica.map.audit(), all[0].map.audit());
        }
    }
}

/// `y` pulls from `s`, who truncates what it has deleted before it is sent: of the first key nothing is left but its context
/// and bound. Then the link breaks.
fn truncated_and_cut(s: &mut Replica, y: &mut Replica) {
    let pull = Pull::start(s, y);
    s.truncate();
    pull.run_cut_after(1, s, y);
}

/// What went wrong elsewhere: a catch-up was cut, an ordinary sync with somebody else settled what it had brought, and
/// the knowledge that a tombstone is no longer to be had was lost on the way. No later sync repaired it. Once directly,
/// once when a relay has passed on what the cut sync brought.
#[test]
fn catch_up_finished_by_another() {
    for relayed in [false, true] {
        let [mut s, mut y, mut z, mut v, mut relay] = [0, 1, 2, 3, 4].map(Replica::new);
        s.put("kettle", "on");
        s.put("lamp", "on");
        for to in [&mut y, &mut z, &mut v, &mut relay] {
            pull(&mut s, to);
        }
        s.delete("kettle");
        s.delete("lamp");
        pull(&mut s, &mut z);
        truncated_and_cut(&mut s, &mut y);
        assert_eq!((y.get("kettle"), y.get("lamp")), (None, Some("on")), "cut between the two");
        if relayed {
            pull(&mut y, &mut relay);
            std::mem::swap(&mut y, &mut relay);
        }
        pull(&mut z, &mut y);
        pull(&mut y, &mut v);
        for replica in [&y, &v] {
            assert_eq!((replica.get("kettle"), replica.get("lamp")), (None, None), "relayed: {relayed}");
        }
    }
}

/// What went wrong elsewhere: a removal by a cut catch-up has no dot that anybody still holds, so it was in no list, and
/// when its source had gone for good the others differed for ever.
#[test]
fn removal_without_a_dot() {
    let [mut s, mut y, mut z] = [0, 1, 2].map(Replica::new);
    s.put("kettle", "on");
    s.put("lamp", "on");
    pull(&mut s, &mut y);
    pull(&mut s, &mut z);
    s.delete("kettle");
    s.delete("lamp");
    truncated_and_cut(&mut s, &mut y);
    drop(s);
    assert_ne!(y.map.audit(), z.map.audit(), "the sums show that there is something to say");
    pull(&mut y, &mut z);
    assert_eq!((y.get("kettle"), z.get("kettle")), (None, None));
    assert_eq!((y.get("lamp"), z.get("lamp")), (Some("on"), Some("on")));
    assert_eq!(y.map.audit(), z.map.audit(), "and now there is not");
}

/// What went wrong elsewhere: a reader that saw a removal wrote another key because of it; who got that write had not
/// got the removal.
#[test]
fn a_write_travels_with_the_removal_its_writer_saw() {
    let [mut s, mut y, mut z] = [0, 1, 2].map(Replica::new);
    s.put("kettle", "on");
    s.put("lamp", "on");
    pull(&mut s, &mut y);
    pull(&mut s, &mut z);
    s.delete("kettle");
    s.delete("lamp");
    truncated_and_cut(&mut s, &mut y);
    assert_eq!(y.get("kettle"), None);
    y.put("note", "the kettle is gone");
    pull(&mut y, &mut z);
    assert_eq!((z.get("note"), z.get("kettle")), (Some("the kettle is gone"), None));
}

/// What went wrong elsewhere: what a lost source had left pending was summed up as each had come to it, and two that
/// held the same went on syncing for ever. Once a bound that is partly settled at one, once a tombstone that one has and
/// that had been truncated before the other asked.
#[test]
fn what_a_lost_source_left_comes_to_rest() {
    for half_settled in [true, false] {
        let [mut s, mut x, mut y, mut z] = [0, 1, 2, 3].map(Replica::new);
        s.put("kettle", "on");
        s.put("lamp", "on");
        for to in [&mut x, &mut y, &mut z] {
            pull(&mut s, to);
        }
        if half_settled {
            x.delete("lamp");
            pull(&mut x, &mut s);
            s.delete("kettle");
            truncated_and_cut(&mut s, &mut y);
            pull(&mut x, &mut y);
            pull(&mut x, &mut z);
        } else {
            s.delete("kettle");
            pull_in_order(0, 1, &mut s, &mut z);
            truncated_and_cut(&mut s, &mut y);
        }
        drop(s);
        let mut rest = [y, z];
        sync_all(&mut rest);
        assert_eq!([rest[0].get("kettle"), rest[1].get("kettle")], [None, None]);
        assert_ne!(rest[0].map.audit().pending, 0, "it stays pending");
        assert_eq!(rest[0].map.audit(), rest[1].map.audit(), "half settled: {half_settled}");
    }
}

/// What went wrong elsewhere: a tombstone that a cut sync had brought was truncated like any other. Its dot is beyond the
/// context, so no bound can say that it is gone: whoever synced from here kept the old value, beside later writes.
#[test]
fn truncated_while_pending() {
    let [mut s, mut y, mut z] = [0, 1, 2].map(Replica::new);
    s.put("kettle", "on");
    pull(&mut s, &mut y);
    pull(&mut s, &mut z);
    s.delete("kettle");
    pull_cut_after(1, &mut s, &mut y);
    assert_eq!(y.truncate(), 0, "a key whose context is pending keeps all that it has");
    assert_eq!(y.get("kettle"), None);
    y.put("note", "the kettle is gone");
    pull(&mut y, &mut z);
    assert_eq!((z.get("note"), z.get("kettle")), (Some("the kettle is gone"), None));
    pull(&mut s, &mut y);
    assert_eq!(y.truncate(), 1, "until it has settled");
}

/// What went wrong elsewhere: who had caught up with a truncated state passed it on as if nothing were missing in it.
#[test]
fn caught_up_and_passed_on() {
    let [mut s, mut y, mut z] = [0, 1, 2].map(Replica::new);
    s.put("kettle", "on");
    pull(&mut s, &mut z);
    s.delete("kettle");
    s.truncate();
    pull(&mut s, &mut y);
    assert!(y.map.needs_catch_up(z.map.context()), "y has never had the kettle, nor its tombstone to pass on");
    pull(&mut y, &mut z);
    assert_eq!((y.get("kettle"), z.get("kettle")), (None, None));
    assert_eq!(y.map.audit(), z.map.audit());
}

/// What went wrong elsewhere: a catch-up had compared what is alive on both sides, and while it went on another sync
/// brought an old value that had died at the catch-up's sender; its end then vouched for that value.
#[test]
fn catch_up_beside_an_old_value() {
    for merged in [false, true] {
        let [mut s, mut old, mut y] = [0, 1, 2].map(Replica::new);
        s.put("kettle", "on");
        pull(&mut s, &mut old);
        s.delete("kettle");
        s.put("lamp", "on");
        s.truncate();

        let mut from_old = Pull::start(&mut old, &mut y);
        from_old.step(&mut old, &mut y);
        let mut from_s = Pull::start(&mut s, &mut y);
        assert!(from_s.is_catch_up());
        from_s.step(&mut s, &mut y);
        if merged {
            let _ = y.merge(old.delta_since(&Replica::new(3).map.context().clone()));
        } else {
            from_old.step(&mut old, &mut y);
        }
        assert_eq!(from_s.run(&mut s, &mut y), End::Done);
        assert_eq!((y.get("kettle"), y.get("lamp")), (None, Some("on")));
        pull(&mut y, &mut old);
        assert_eq!(old.map.audit(), s.map.audit());
    }
}

/// What went wrong elsewhere: a replica lost its unsynced tail, a peer pushed on the context it had had before, and its
/// context then covered what it no longer had. A third of such runs diverged.
#[test]
fn went_backwards() {
    let [mut s, mut y, mut z] = [0, 1, 2].map(Replica::new);
    s.put("kettle", "on");
    pull(&mut s, &mut y);
    pull(&mut s, &mut z);
    y.keep_on_disk();
    s.delete("kettle");
    s.put("lamp", "on");
    pull(&mut s, &mut y);
    let believed = s.map.context().clone();
    y.crash();
    assert_eq!(y.get("kettle"), Some("on"), "the tail is gone");

    s.put("mirror", "clean");
    assert_eq!(push(&mut s, &mut y, &believed), End::Uncovered);
    assert_eq!(y.get("mirror"), Some("clean"), "what came can be read");
    assert!(!y.map.context().includes(&believed));
    pull(&mut y, &mut z);
    let mut all = [s, y, z];
    sync_all(&mut all);
    for replica in &all {
        let shown = ["kettle", "lamp", "mirror"].map(|key| replica.get(key));
        assert_eq!(shown, [None, Some("on"), Some("clean")]);
        assert_eq!(replica.map.audit(), all[0].map.audit());
    }
}

/// What went wrong elsewhere: of several pulls at once one was a catch-up; what another brought meanwhile was lost or
/// left over.
#[test]
fn overlapping_pulls() {
    let [mut a, mut b, mut c, mut hub] = [0, 1, 2, 3].map(Replica::new);
    for key in ["kettle", "lamp", "mirror"] {
        a.put(key, "old");
    }
    for to in [&mut b, &mut c, &mut hub] {
        pull(&mut a, to);
    }
    a.put("kettle", "new");
    b.put("lamp", "new");
    b.put("nail", "new");
    c.delete("mirror");
    c.delete("lamp");
    c.truncate();

    let mut from_a = Pull::start(&mut a, &mut hub);
    let mut from_b = Pull::start(&mut b, &mut hub);
    from_a.step(&mut a, &mut hub);
    from_b.step(&mut b, &mut hub);
    from_b.step(&mut b, &mut hub);
    hub.put("note", "written between");
    let mut from_c = Pull::start(&mut c, &mut hub);
    assert!(from_c.is_catch_up());
    from_a.step(&mut a, &mut hub);
    from_c.step(&mut c, &mut hub);
    let _ = hub.merge(a.delta_since(&CausalContext::new()));
    hub.put("nail", "of the hub");
    from_b.step(&mut b, &mut hub);
    assert_eq!(from_c.run(&mut c, &mut hub), End::Done);
    assert_eq!(hub.get("lamp"), Some("new"), "the delete had not seen it");
    assert_eq!(hub.get("mirror"), None);
    for (pull, from) in [(from_a, &mut a), (from_b, &mut b)] {
        assert_eq!(pull.run(from, &mut hub), End::Done);
    }

    let mut all = [a, b, c, hub];
    sync_all(&mut all);
    for replica in &all {
        let shown = ["kettle", "lamp", "mirror", "nail", "note"].map(|key| replica.get(key));
        let note = Some("written between");
        assert_eq!(shown, [Some("new"), Some("new"), None, Some("of the hub"), note], "{:?}", replica.map.id());
        assert_eq!(replica.map.audit(), all[0].map.audit());
    }
}

/// A few rounds of syncs between all.
fn sync_all(all: &mut [Replica]) {
    for _ in 0..3 {
        for from in 0..all.len() {
            for to in (0..all.len()).filter(|to| *to != from) {
                let [sender, receiver] = all.get_disjoint_mut([from, to]).unwrap();
                assert_eq!(pull(sender, receiver), End::Done);
            }
        }
    }
}
