//! What the map holds on the heap, counted by an allocator of its own. Not responsible for time.
//!
//! One test only: the allocator counts for the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use tidings::crdt::Retention;
use tidings::{OrMap, ReplicaId};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

#[allow(unsafe_code, reason = "the trait is unsafe; all that it does is handed on")]
// SAFETY: each call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const KEYS: usize = 100_000;
const NOW: u64 = 1_700_000_000_000;

/// After everything was deleted and truncated, at most one byte for each key that there was remains, however often.
/// What went wrong elsewhere: causal metadata and emptied tables grew with all the keys that there had ever been.
#[test]
fn what_is_deleted_and_truncated_leaves_nothing() {
    let mut map = OrMap::new(ReplicaId::from(1));
    let empty = HELD.load(Ordering::Relaxed);
    let mut reader = OrMap::new(ReplicaId::from(2));
    for round in 0..3_usize {
        for number in 0..KEYS {
            map.put(&key(round, number), b"a value of twenty-odd bytes", NOW);
        }
        assert_eq!(map.scan("", NOW).count(), KEYS, "the order of the keys was asked for");
        let full = HELD.load(Ordering::Relaxed) - empty;
        for number in 0..KEYS {
            map.delete(&key(round, number), NOW);
        }
        let dropped = map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW);
        let left = HELD.load(Ordering::Relaxed) - empty;
        println!("round {round}: {full} bytes for {KEYS} keys, {left} when all are gone");
        assert_eq!((dropped, map.scan("", NOW).count()), (KEYS, 0));
        assert!(left <= KEYS.cast_signed(), "{left} bytes are left of {KEYS} keys in round {round}");
    }

    // A reader that has had them all and catches up with nothing holds nothing either.
    let before = HELD.load(Ordering::Relaxed);
    for number in 0..KEYS {
        map.put(&key(9, number), b"a value of twenty-odd bytes", NOW);
    }
    let _ = reader.merge(map.delta_since(reader.context()));
    assert_eq!(reader.counts().keys, KEYS);
    for number in 0..KEYS {
        map.delete(&key(9, number), NOW);
    }
    map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW);
    let _ = reader.merge(map.delta_since(reader.context()));
    let now = Retention { keep_ms: 0, count_max: 0, spare_ms: 0 };
    reader.truncate(now, NOW);
    assert_eq!(reader.counts().keys, 0);
    let left = HELD.load(Ordering::Relaxed) - before;
    println!("with the reader: {left}");
    assert!(left <= KEYS.cast_signed(), "{left} bytes are left after a reader has caught up");
}

fn key(round: usize, number: usize) -> Vec<u8> {
    format!("{round}/a key of some length/{number}").into_bytes()
}
