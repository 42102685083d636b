//! Clocks that are equal, ahead, set back or missing, and deadlines by clocks that disagree.

use crate::replicas::{Replica, pull};
use tidings::Timestamp;

fn timestamp(replica: &Replica, key: &str) -> Timestamp {
    replica.map.read(key, replica.now).unwrap().timestamp
}

/// What went wrong elsewhere: at equal physical times the counter of what had been received was left out of account, and
/// a later event tied with what it had seen, or preceded it.
#[test]
fn equal_times() {
    let [mut a, mut b] = [0, 1].map(Replica::new);
    for i in 0..100 {
        a.put("busy", i.to_string());
    }
    pull(&mut a, &mut b);
    let seen = timestamp(&a, "busy");
    assert!(seen.logical() > 50, "the same millisecond");
    b.put("other", "1");
    assert!(timestamp(&b, "other") > seen);
    b.put("busy", "last");
    assert!(timestamp(&b, "busy") > seen);
    pull(&mut b, &mut a);
    assert_eq!(a.get("busy"), Some("last"));
}

/// What went wrong elsewhere: two replicas wrote one key in the same instant, and each showed its own.
#[test]
fn same_second_writes() {
    let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(Replica::new);
    a.put("k", "of a");
    b.put("k", "of b");
    assert_eq!(timestamp(&a, "k"), timestamp(&b, "k"));
    for (from, to) in [(&a, &mut c), (&b, &mut d)] {
        pull(&mut from.clone(), to);
    }
    pull(&mut c, &mut b);
    pull(&mut d, &mut a);
    pull(&mut d, &mut c);
    pull(&mut a, &mut d);
    for replica in [&a, &b, &c, &d] {
        let reading = replica.map.read("k", replica.now).unwrap();
        assert_eq!((reading.value, reading.siblings), (&b"of b"[..], 1), "equal times: the greater dot wins");
        assert_eq!(replica.map.siblings("k", replica.now)[0].value, b"of a", "and the other is not lost silently");
    }
    c.put("k", "of both");
    pull(&mut c, &mut a);
    assert_eq!((a.get("k"), a.map.counts().siblings), (Some("of both"), 0));
}

/// What went wrong elsewhere: a node one hour ahead wrote a key, and nobody could write it until that hour had come; or
/// all clocks of the cluster followed.
#[test]
fn far_future_clock() {
    let [mut a, mut b] = [0, 1].map(Replica::new);
    let hour = 3_600_000;
    a.now += hour;
    a.put("k", "from the future");
    pull(&mut a, &mut b);
    assert_eq!((b.get("k"), b.map.clocks_ahead()), (Some("from the future"), 1), "joined all the same, and counted");
    b.put("k", "now");
    assert!(timestamp(&b, "k") > timestamp(&a, "k"));
    b.put("other", "now");
    assert_eq!(timestamp(&b, "other").millis(), b.now, "the clock did not follow");
    a.now -= hour;
    pull(&mut b, &mut a);
    assert_eq!(a.get("k"), Some("now"));
    a.put("k", "corrected");
    pull(&mut a, &mut b);
    assert_eq!(b.get("k"), Some("corrected"));
}

/// What went wrong elsewhere: the clock was set back, and the order of a machine's own writes turned round.
#[test]
fn clock_set_back() {
    let [mut a, mut b, mut c] = [0, 1, 2].map(Replica::new);
    a.put("k", "before");
    pull(&mut a, &mut b);
    let before = timestamp(&a, "k");
    a.now -= 3_600_000;
    a.put("k", "after");
    a.put("other", "after");
    assert!(timestamp(&a, "k") > before && timestamp(&a, "other") > timestamp(&a, "k"));
    pull(&mut a, &mut c);
    pull(&mut a, &mut b);
    pull(&mut b, &mut c);
    assert_eq!((b.get("k"), c.get("k")), (Some("after"), Some("after")));
    assert_eq!(c.map.counts().siblings, 0);
    let dropped = (a.delete("k").is_some(), a.truncate());
    assert_eq!(dropped, (true, 1), "retention goes by the clock as it is now");
}

/// What went wrong elsewhere: the writes of a machine that boots in 1970 always lost.
#[test]
fn no_clock() {
    let [mut a, mut b, mut sensor] = [0, 1, 2].map(Replica::new);
    sensor.now = 5_000;
    a.put("k", "with a clock");
    b.now -= 500;
    b.put("other", "half a second before");
    pull(&mut a, &mut sensor);
    sensor.put("k", "without");
    sensor.put("other", "after what it had seen");
    assert_eq!(timestamp(&sensor, "k").millis(), timestamp(&a, "k").millis());
    for from in [&mut sensor, &mut b] {
        pull(from, &mut a);
    }
    assert_eq!(a.get("k"), Some("without"), "it had seen the other");
    let other = a.map.read("other", a.now).unwrap();
    assert_eq!((other.value, other.siblings), (&b"after what it had seen"[..], 1));
    assert_eq!(sensor.map.clocks_ahead(), 0, "nothing is ahead of no clock");
}

/// What went wrong elsewhere: with clocks apart a value was kept for ever, revived by one whose clock was behind, or
/// went without anybody being told.
#[test]
fn expiry_under_skew() {
    let [mut a, mut fast, mut slow] = [0, 1, 2].map(Replica::new);
    let minute = 60_000;
    fast.now += minute;
    slow.now -= minute;
    a.map.put_until("lease", "1", a.now + 30_000, a.now);
    let merged = fast.merge(a.delta_since(fast.map.context()));
    assert_eq!(merged.changes, [], "it never showed there, so nobody is told");
    pull(&mut a, &mut slow);
    assert_eq!((a.get("lease"), fast.get("lease"), slow.get("lease")), (Some("1"), None, Some("1")));

    // Renewed while it is expiring: who sees nothing cannot delete it, and the renewal is seen by all.
    assert_eq!(fast.delete("lease"), None);
    a.now += 29_999;
    a.map.put_until("lease", "2", a.now + 2 * minute, a.now);
    let merged = fast.merge(a.delta_since(fast.map.context()));
    assert_eq!((merged.changes.len(), merged.changes[0].old.clone()), (1, None), "it appears");
    assert_eq!(fast.get("lease"), Some("2"));

    // The fast one forgets it first; nobody brings it back, and nobody keeps it.
    fast.now += 2 * minute;
    assert_eq!(fast.get("lease"), None);
    assert_eq!(fast.truncate(), 1);
    pull(&mut slow, &mut fast);
    pull(&mut a, &mut fast);
    assert!(fast.map.registers("lease").is_empty(), "what is forgotten stays so");
    pull(&mut fast, &mut slow);
    assert_eq!(slow.get("lease"), None);
    a.now += 3 * minute;
    assert_eq!(a.get("lease"), None);
    assert_eq!(a.truncate(), 1);
    pull(&mut slow, &mut a);
    pull(&mut a, &mut fast);
    for replica in [&a, &fast, &slow] {
        assert!(replica.map.registers("lease").is_empty());
        assert_eq!(replica.map.audit(), a.map.audit());
    }
}
