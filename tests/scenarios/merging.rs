//! Merging: what the order, loss and repetition of messages must not change.

use crate::replicas::{Replica, pull};
use tidings::Delta;

/// What went wrong elsewhere: x stays, "because it is on both sides".
#[test]
fn present_but_removed() {
    let [mut a, mut b, mut c] = [0, 1, 2].map(Replica::new);
    a.put("x", "of a");
    b.put("x", "of b");
    pull(&mut a, &mut c);
    a.delete("x");
    pull(&mut b, &mut a);
    assert_eq!(a.get("x"), Some("of b"), "the delete had not seen it");
    b.delete("x");
    pull(&mut c, &mut a);
    pull(&mut a, &mut b);
    assert_eq!(b.get("x"), None, "both writes were deleted, each by somebody who had seen it");
}

/// What went wrong elsewhere: bar survives a merge with a state that is strictly before its removal.
#[test]
fn strictly_descends() {
    let [mut a, mut b, mut c] = [0, 1, 2].map(Replica::new);
    a.put("foo", "1");
    a.put("bar", "2");
    b.put("baz", "3");
    pull(&mut a, &mut c);
    pull(&mut b, &mut c);
    a.delete("bar");
    pull(&mut c, &mut a);
    pull(&mut a, &mut c);
    for replica in [&mut a, &mut c] {
        let keys: Vec<_> = replica.map.scan("", replica.now).map(|(key, _)| key.to_vec()).collect();
        assert_eq!(keys, [b"baz".to_vec(), b"foo".to_vec()]);
    }
}

/// What went wrong elsewhere: of "remove" and "remove, then put again", one lost the concurrent value of the other side.
#[test]
fn remove_then_concurrent_write() {
    for put_again in [false, true] {
        let [mut a, mut b] = [0, 1].map(Replica::new);
        a.put("k", "old");
        pull(&mut a, &mut b);
        b.put("k", "of b");
        a.delete("k");
        if put_again {
            a.now += 1;
            a.put("k", "of a");
        }
        pull(&mut a, &mut b);
        pull(&mut b, &mut a);
        for replica in [&a, &b] {
            let siblings: Vec<_> = replica.map.siblings("k", replica.now).iter().map(|r| r.value.to_vec()).collect();
            if put_again {
                assert_eq!((replica.get("k"), siblings), (Some("of a"), vec![b"of b".to_vec()]));
            } else {
                assert_eq!((replica.get("k"), siblings), (Some("of b"), vec![]));
            }
        }
    }
}

/// What went wrong elsewhere: once two agreed on a removal they forgot it, and the third brought the old value back, or
/// lost its new one.
#[test]
fn agreed_removal_third_writer() {
    for c_writes in [false, true] {
        let [mut a, mut b, mut c] = [0, 1, 2].map(Replica::new);
        a.put("k", "old");
        pull(&mut a, &mut b);
        pull(&mut a, &mut c);
        a.delete("k");
        pull(&mut a, &mut b);
        assert_eq!((a.truncate(), b.truncate()), (1, 1), "they agree, and forget the tombstone");
        if c_writes {
            c.put("k", "of c");
        }
        pull(&mut c, &mut a);
        pull(&mut a, &mut b);
        pull(&mut b, &mut c);
        for replica in [&a, &b, &c] {
            assert_eq!(replica.get("k"), c_writes.then_some("of c"));
        }
    }
}

/// What went wrong elsewhere: a removal that came first had nothing to remove, and was forgotten when the data came.
#[test]
fn removal_before_data() {
    for writes_between in [false, true] {
        let [mut a, mut c] = [0, 1].map(Replica::new);
        let nothing = a.map.context().clone();
        a.put("k", "old");
        let data = a.delta_since(&nothing);
        let between = a.map.context().clone();
        a.delete("k");
        let removal = a.delta_since(&between);

        assert!(!c.merge(removal.clone()).missing.is_empty(), "it builds on what c lacks, and c says so");
        if writes_between {
            c.put("k", "of c");
            assert!(c.delete("k").is_some());
        }
        assert_eq!(c.delete("k"), None);
        assert!(c.merge(data).missing.is_empty());
        assert_eq!(c.get("k"), None);
        assert!(c.merge(removal).missing.is_empty());
        assert_eq!((c.get("k"), c.map.pending()), (None, 0));
        pull(&mut c, &mut a);
        assert_eq!(a.map.audit(), c.map.audit());
    }
}

/// What went wrong elsewhere: removals left no trace in the digest; digests were equal, and the states different for
/// ever. (`runs.rs` asks the same of every step of its runs.)
#[test]
fn equal_contexts_equal_states() {
    let [mut a, mut c] = [0, 1].map(Replica::new);
    c.put("k", "v");
    pull(&mut c, &mut a);
    assert_eq!(a.map.audit(), c.map.audit());
    c.delete("k");
    assert_ne!(a.map.audit().context, c.map.audit().context, "a delete shows in the context");
    pull(&mut c, &mut a);
    assert_eq!((a.map.audit(), a.get("k")), (c.map.audit(), None));
}

/// What went wrong elsewhere: joining the winners only; with the winner gone, it depends on the order who is left.
#[test]
fn winner_only_join() {
    let [mut a, mut b, mut c] = [0, 1, 2].map(Replica::new);
    a.put("k", "of a");
    b.put("k", "of b");
    pull(&mut b, &mut c);
    c.delete("k");
    let [mut d, mut e] = [3, 4].map(Replica::new);
    pull(&mut a, &mut d);
    pull(&mut b, &mut d);
    assert_eq!(d.get("k"), Some("of b"), "equal times: the greater dot wins");
    pull(&mut c, &mut e);
    let all = [a, b, c, d, e];
    let mut first = None;
    for order in permutations(all.len()) {
        let mut reader = Replica::new(5);
        for from in order {
            pull(&mut all[from].clone(), &mut reader);
        }
        assert_eq!(reader.get("k"), Some("of a"));
        assert_eq!(*first.get_or_insert(reader.map.audit()), reader.map.audit());
    }
}

/// What went wrong elsewhere: A's entry named only what A itself had seen as a dot, and B's value lived on beside it.
#[test]
fn skipped_ancestor() {
    let [mut a, mut b, mut c, mut reader] = [0, 1, 2, 3].map(Replica::new);
    b.put("k", "first");
    pull(&mut b, &mut reader);
    pull(&mut b, &mut c);
    c.put("k", "second");
    pull(&mut c, &mut a);
    a.put("k", "third");
    pull(&mut a, &mut reader);
    let reading = reader.map.read("k", reader.now).unwrap();
    assert_eq!((reading.value, reading.siblings), (&b"third"[..], 0));
}

/// What went wrong elsewhere: a delta that was lost left a gap, and the gap acted as a delete.
#[test]
fn out_of_order_lost_repeated() {
    let mut a = Replica::new(0);
    a.put("kept", "for ever");
    let start = a.map.context().clone();
    let mut deltas: Vec<Delta> = Vec::new();
    let mut write = |a: &mut Replica, value: Option<&str>| {
        let base = a.map.context().clone();
        let _ = if let Some(value) = value { Some(a.put("k", value)) } else { a.delete("k") };
        deltas.push(a.delta_since(&base));
    };
    write(&mut a, Some("1"));
    write(&mut a, Some("2"));
    write(&mut a, Some("3"));
    write(&mut a, None);
    let first = Replica::new(9).map.context().clone();

    for order in permutations(deltas.len()) {
        for lost in 0..=deltas.len() {
            let mut b = Replica::new(1);
            let mut old = Replica::new(0);
            old.put("kept", "for ever");
            let _ = b.merge(old.delta_since(&first));
            assert_eq!(b.map.context(), &start);
            for &i in order.iter().chain(&order).filter(|&&i| i != lost) {
                let _ = b.merge(deltas[i].clone());
                assert_eq!(b.get("kept"), Some("for ever"), "order {order:?} without {lost}");
            }
            assert_eq!(b.get("k"), (lost == 3).then_some("3"), "order {order:?} without {lost}");
            pull(&mut a, &mut b);
            assert_eq!((b.map.audit(), b.map.pending()), (a.map.audit(), 0), "order {order:?} without {lost}");
        }
    }
}

/// What went wrong elsewhere: a batch of deltas, joined among themselves before they were applied, left another state
/// than the same deltas one by one.
#[test]
fn batch_is_sequence() {
    let [mut a, mut b, mut batch, mut sequence] = [0, 1, 2, 3].map(Replica::new);
    a.put("k", "1");
    for to in [&mut b, &mut batch, &mut sequence] {
        pull(&mut a, to);
    }
    let base = a.map.context().clone();
    let mut deltas = Vec::new();
    for step in 0..6 {
        let writer = if step % 2 == 0 { &mut a } else { &mut b };
        let before = writer.map.context().clone();
        let dot = if step == 4 { writer.delete("k") } else { Some(writer.put("k", step.to_string())) };
        assert!(dot.is_some());
        deltas.push(writer.delta_since(&before));
    }
    for delta in &deltas {
        let _ = batch.merge(delta.clone());
    }
    let joined = batch.delta_since(&base);
    let mut at_once = Replica::new(4);
    let _ = at_once.merge(a.delta_since(at_once.map.context()));
    for delta in &deltas {
        let _ = sequence.merge(delta.clone());
    }
    let _ = at_once.merge(joined);
    assert_eq!(at_once.map.audit(), sequence.map.audit());
    assert_eq!(at_once.map.registers("k"), sequence.map.registers("k"));
}

/// What went wrong elsewhere: the result depended on how the replicas' names compare.
#[test]
fn replica_order() {
    let story = |names: [usize; 3]| {
        let [mut a, mut b, mut c] = names.map(Replica::new);
        a.put("k", "1");
        a.put("gone", "1");
        pull(&mut a, &mut b);
        b.now += 1;
        b.put("k", "2");
        c.now += 2;
        c.put("k", "3");
        pull(&mut b, &mut c);
        b.delete("gone");
        a.now += 3;
        a.put("gone", "2");
        b.truncate();
        pull(&mut c, &mut a);
        pull(&mut b, &mut a);
        pull(&mut a, &mut c);
        pull(&mut a, &mut b);
        [a, b, c].map(|mut replica| {
            let now = replica.now;
            let siblings: Vec<_> = replica.map.siblings("k", now).iter().map(|r| r.value.to_vec()).collect();
            let shown: Vec<_> = replica.map.scan("", now).map(|(k, r)| (k.to_vec(), r.value.to_vec())).collect();
            (shown, siblings, replica.map.counts())
        })
    };
    let expected = story([0, 1, 2]);
    for names in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(story(names), expected, "{names:?}");
    }
}

/// What went wrong elsewhere: a full delta lists what is alive at its sender within the base, and a replica that lacked
/// part of the base took its own old value for dead, under a context that covers the value to come. The value, when it
/// came, was refused for ever.
#[test]
fn full_delta_without_base() {
    let [mut phone, mut server, mut tablet] = [0, 1, 2].map(Replica::new);
    phone.put("kettle", "off");
    pull(&mut phone, &mut tablet);
    phone.put("kettle", "on");
    phone.put("lamp", "on");
    pull(&mut phone, &mut server);
    let base = server.map.context().clone();
    server.delete("lamp");
    server.truncate();

    let full = server.delta_since(&base);
    assert!(full.entries().is_empty() && !full.is_empty(), "no entries, but a list of what is alive");
    assert!(!tablet.merge(full).missing.is_empty());
    assert_eq!(tablet.get("kettle"), Some("off"), "no better is known here");
    pull(&mut phone, &mut tablet);
    assert_eq!(tablet.get("kettle"), Some("on"));
    pull(&mut server, &mut tablet);
    assert_eq!((tablet.get("kettle"), tablet.get("lamp")), (Some("on"), None));
}

/// What went wrong elsewhere: deletes of absent keys took dots and memory, with nothing to show for it. A put of the
/// equal value is no such thing: it renews the deadline, and beats a concurrent delete.
#[test]
fn no_op_writes() {
    let [mut a, mut b] = [0, 1].map(Replica::new);
    assert_eq!(a.delete("never there"), None);
    a.put("k", "v");
    assert!(a.delete("k").is_some());
    assert_eq!(a.delete("k"), None, "deleted already");
    a.map.put_until("short", "v", a.now + 5, a.now);
    a.now += 5;
    assert_eq!(a.delete("short"), None, "expired already");
    assert_eq!(a.map.context().get(a.map.id()), 3);

    let first = a.put("k", "v");
    pull(&mut a, &mut b);
    b.delete("k");
    let again = a.put("k", "v");
    assert_ne!(first, again);
    pull(&mut b, &mut a);
    assert_eq!(a.get("k"), Some("v"));
}

/// All orders of the numbers below `n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..n {
        let place = |order: Vec<usize>| (0..=next).map(move |at| [&order[..at], &[next], &order[at..]].concat());
        all = all.into_iter().flat_map(place).collect();
    }
    all
}
