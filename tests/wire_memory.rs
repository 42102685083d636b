//! What decoding may cost: memory within a stated multiple of the frame, and none for a length that only says it is
//! large. Counted by the allocator itself, in a process of its own, one thing after the other.

#![allow(unsafe_code)]

#[path = "wire/hostile.rs"]
mod hostile;

use bytes::Bytes;
use hostile::{
    BEGIN, BY_DOT, CHUNK, COMPRESSED, CONTEXT, KINDS, KINDS_END, LIVE, PULL, PUSH, Raw, SIZES, SYMBOLS, amplified,
    hostile, signed,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tidings::Delta;
use tidings::crdt::{CausalContext, OrMap, ReplicaId};
use tidings::proto::codec::{Compressor, FRAME_BYTES_MAX, decode, encode};
use tidings::proto::message::{Begin, Pull};
use tidings::proto::sync::Sender;

/// A frame without entries: contexts, sets of dots, keys.
const CONTROL_MULTIPLE: usize = 32;
/// One with entries: a register in memory is larger than the byte that its key may have.
const ENTRIES_MULTIPLE: usize = 112;
/// One with entries that are named by dots: each name is a dot in memory too, and one byte.
const NAMES_MULTIPLE: usize = 136;
/// And what the contexts of entries may take beyond that, as changes of one that came before.
const CONTEXTS_BYTES: usize = 32 << 20;
/// The last counter that is known of the replica in all this.
const LAST: u64 = 1 << 40;
/// For errors and the first pieces of things.
const SMALL: usize = 1 << 10;

/// The system's allocator, which keeps count of what is in use and of the most that ever was.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that was in use at once, beyond what was before.
fn peak_of<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (PEAK.load(Ordering::Relaxed) - before, result)
}

#[track_caller]
fn assert_bounded(what: &str, frame: &Bytes, begun: Option<&Begin>, bound: usize) {
    let (peak, result) = peak_of(|| decode(frame, begun));
    let times = peak as f64 / frame.len() as f64;
    println!("{what}: {} bytes, {peak} in memory, {times:.1} times, {}", frame.len(), said(&result));
    assert!(peak <= bound, "{what}: {peak} bytes of memory for a frame of {}, and not {bound}", frame.len());
}

fn said<T>(result: &Result<T, tidings::proto::DecodeError>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |_| "accepted".to_owned())
}

/// One test, because a second beside it would be counted with it.
#[test]
fn decoding_takes_no_more_memory_than_it_may() {
    honest_frames();
    control_frames();
    frames_with_entries();
    hostile_lengths();
    library_deltas();
    compressed_frames();
}

fn honest_frames() {
    let mut map = OrMap::new(ReplicaId::from(1));
    for i in 0..5_000_u64 {
        map.put(&i.to_be_bytes(), [b'v'; 64], 1_700_000_000_000 + i);
    }
    let mut sender = Sender::new(&mut map, &Pull::default());
    let begin = sender.begin().clone();
    while let Some(message) = sender.next(&map) {
        let frame = encode(&message, Some(&begin));
        assert_bounded(message.name(), &frame, Some(&begin), 2 * frame.len() + SMALL);
    }
}

/// Each is nothing but the shortest of the things that cost most.
fn control_frames() {
    let control = |what: &str, raw: Raw| {
        let frame = Bytes::from(raw.0);
        assert_bounded(what, &frame, None, CONTROL_MULTIPLE * frame.len() + SMALL);
    };
    let many = 100_000_u64;
    let replicas = (0..many).fold(Raw::default(), |raw, id| raw.replica(id.into()).number(1));
    control("a context of many", Raw::kind(CONTEXT).bytes(&[0, 1]).number(many).bytes(&replicas.0).bytes(&[0, 0]));
    let one_dot_each = (0..many).fold(Raw::default(), |raw, id| raw.replica(id.into()).numbers(&[1, 0, 0]));
    control("one dot of many each", Raw::kind(LIVE).bytes(&[1]).number(many).bytes(&one_dot_each.0));
    let intervals = (0..many).fold(Raw::default(), |raw, i| raw.numbers(&[u64::from(i > 0), 0]));
    let of_one = Raw::default().number(1).replica(7).number(many).bytes(&intervals.0);
    control("many intervals of one", Raw::kind(LIVE).bytes(&[1]).bytes(&of_one.0));
    control("a pull with many intervals", Raw::kind(PULL).bytes(&[4]).bytes(&of_one.0).bytes(&[0, 0]));
    let clocks = (0..many).fold(Raw::default(), |raw, i| raw.bytes(&(i << 40).to_be_bytes()));
    let near = Raw::default().number(many).bytes(&clocks.0).bytes(&vec![1; many as usize]).number(0);
    control("a pull with many clocks", Raw::kind(PULL).bytes(&[0]).bytes(&near.0));
    control("many symbols", Raw::kind(SYMBOLS).numbers(&[0, many]).bytes(&vec![7; 13 * many as usize]));
    let changes = (0..many).fold(Raw::default(), |raw, _| raw.bytes(&[0, 0]));
    control("many changes", Raw::kind(BEGIN).bytes(&[0, 1]).number(many).bytes(&changes.0));
    control("many intervals in a push", Raw::kind(PUSH).bytes(&[4, 0, 0, 0]).bytes(&of_one.0));
    let (two_dots, apart) = (Raw::default(), [2, 0, 0, 1, 0]);
    let two_dots = (0..many).fold(two_dots, |raw, id| raw.replica(id.into()).numbers(&apart));
    control("two intervals of many each", Raw::kind(LIVE).bytes(&[1]).number(many).bytes(&two_dots.0));
    let boot = Raw::kind(0).bytes(&[7; 32]).bytes(&[0]).number(100).bytes(&[b'n'; 100]);
    control("a hello", boot.bytes(&[100]).bytes(&[b'a'; 100]).bytes(&[0; 5]));
}

/// A column of `times` numbers that are all `value`.
fn all(times: u64, value: u64) -> Raw {
    match times {
        0..4 => Raw::default().numbers(&vec![value; times as usize]),
        _ => Raw::default().numbers(&[times << 1 | 1, value]),
    }
}

/// The counters 1, 2, 3 and so on, as distances from the last known.
fn counters(total: u64) -> Raw {
    let first = signed(1 - LAST as i64);
    match total {
        0..4 => Raw::default().number(first).numbers(&vec![2; total as usize - 1]),
        4 => Raw::default().numbers(&[8, first, 2, 2, 2]),
        _ => Raw::default().numbers(&[2, first]).bytes(&all(total - 1, 2).0),
    }
}

/// `entries` with `registers` tombstones each, at the least bytes that this can have.
fn entries(entries: u64, registers: u64) -> Raw {
    let (total, beyond) = (entries * registers, entries * (registers - 1));
    let raw = Raw::kind(CHUNK).numbers(&[entries, KINDS | if registers > 1 { SIZES } else { 0 }]);
    let raw = if registers > 1 { raw.bytes(&all(entries, registers).0) } else { raw };
    let raw = raw.bytes(&all(entries, 1).0).bytes(&vec![0; beyond as usize]).number(0).bytes(&counters(total).0);
    let zeros = all(total, 0);
    raw.bytes(&zeros.0).bytes(&zeros.0).bytes(&vec![b'k'; entries as usize])
}

/// The same with names that are dots, of one tombstone each.
fn named_entries(entries: u64) -> Raw {
    let raw = Raw::kind(CHUNK).numbers(&[entries, KINDS | BY_DOT]).number(0).number(signed(1 - LAST as i64));
    let raw = raw.bytes(&vec![2; entries as usize - 1]).number(0).bytes(&counters(entries).0);
    raw.bytes(&all(entries, 0).0).bytes(&all(entries, 0).0)
}

fn frames_with_entries() {
    let snapshot: CausalContext = [(ReplicaId::from(1), LAST)].into_iter().collect();
    let begin = Begin { snapshot, ..Begin::default() };
    let chunk = |what: &str, raw: Raw| {
        let frame = Bytes::from(raw.0);
        assert_bounded(what, &frame, Some(&begin), ENTRIES_MULTIPLE * frame.len() + SMALL);
        assert!(decode(&frame, Some(&begin)).is_ok(), "{what}: {}", said(&decode(&frame, Some(&begin))));
    };
    chunk("entries of one byte each", entries(1 << 16, 1));
    chunk("siblings of one byte each", entries(1 << 10, 128));
    chunk("one entry with many siblings", entries(1, 1 << 16));
    let named = Bytes::from(named_entries(1 << 16).0);
    assert_bounded("names of one byte each", &named, Some(&begin), NAMES_MULTIPLE * named.len() + SMALL);
    assert!(decode(&named, Some(&begin)).is_ok());
    let (begin, contexts) = amplified(0, 1 << 16);
    let frame = Bytes::from(contexts);
    assert_bounded("contexts of two bytes each", &frame, Some(&begin), ENTRIES_MULTIPLE * frame.len() + SMALL);
    for (replicas, times) in [(1000, 500), (1000, 1 << 16), (100_000, 1 << 16), (300_000, 2)] {
        let (begin, bytes) = amplified(replicas, times);
        let frame = Bytes::from(bytes);
        let bound = ENTRIES_MULTIPLE * frame.len() + CONTEXTS_BYTES;
        assert_bounded("one large context, told again and again", &frame, Some(&begin), bound);
    }
}

/// What only says that it is large costs nothing at all.
fn hostile_lengths() {
    let begin = hostile::begin();
    for case in hostile() {
        let says_it_is_large = case.name.contains("2^60") || case.name.contains("as long as memory");
        let frame = Bytes::from(case.bytes);
        let (peak, result) = peak_of(|| decode(&frame, Some(&begin)).map(drop));
        assert!(said(&result).contains(case.says), "{}", case.name);
        assert!(peak <= ENTRIES_MULTIPLE * frame.len() + SMALL, "{}: {peak} bytes", case.name);
        assert!(!says_it_is_large || peak <= SMALL, "{}: {peak} bytes", case.name);
    }
    for kind in 0..KINDS_END {
        let frame = Bytes::from(Raw::kind(kind).number(1 << 60).bytes(&[0xff; 11]).0);
        let (peak, result) = peak_of(|| decode(&frame, None).map(drop));
        assert!(result.is_err() && peak == 0, "kind {kind}: {peak} bytes of memory");
        let flagged = Bytes::from(Raw::kind(kind).bytes(&[0]).number(1 << 60).bytes(&[0xff; 11]).0);
        let (peak, result) = peak_of(|| decode(&flagged, None).map(drop));
        assert!(result.is_err() && peak <= SMALL, "kind {kind}, flagged: {peak} bytes of memory");
    }
    let too_long = Bytes::from(vec![LIVE; FRAME_BYTES_MAX + 1]);
    assert_eq!(peak_of(|| decode(&too_long, None).is_err()), (0, true));
}

/// No frame, and so no largest one: the multiple alone holds, and the bytes themselves are copied once.
fn library_deltas() {
    // The base by its id, and a snapshot that is the same.
    let raw = Raw::kind(1).bytes(&[1, 1]).clocks(&[(1, LAST)]).number(0);
    let hostile = raw.bytes(&entries(200_000, 1).0[1..]);
    let bound = (ENTRIES_MULTIPLE + 1) * hostile.0.len() + SMALL;
    let (peak, result) = peak_of(|| Delta::decode(&hostile.0).map(drop));
    println!("a library delta: {} bytes, {peak} in memory, {}", hostile.0.len(), said(&result));
    assert!(peak <= bound, "{peak} bytes of memory for a delta of {}", hostile.0.len());
    let large = Raw::kind(1).numbers(&[0, 0, 1 << 60]).bytes(&[0; 20]);
    let (peak, result) = peak_of(|| Delta::decode(&large.0).map(drop));
    assert!(result.is_err() && peak <= SMALL, "{peak} bytes of memory for a delta that says it is large");
}

/// What zstd itself takes is not counted here, being C: some hundred KiB, whatever the frame.
fn compressed_frames() {
    // A byte that is not 0 here and there: of zeros alone there would be more than a frame may expand to.
    let byte = |i: u32| if i.is_multiple_of(256) { (i.wrapping_mul(2_654_435_761) >> 24) as u8 } else { 0 };
    let zeros: Bytes = [CHUNK, 200].into_iter().chain((0..1 << 20).map(byte)).collect();
    let frame = Compressor::default().compress(zeros.clone());
    if cfg!(feature = "zstd") {
        assert!(frame.len() < zeros.len() / 50 && frame[0] == COMPRESSED, "{} bytes", frame.len());
    }
    let (peak, result) = peak_of(|| decode(&frame, None).map(drop));
    println!("a compressed frame: {} bytes, {peak} in memory, {}", frame.len(), said(&result));
    assert!(
        peak <= ENTRIES_MULTIPLE * zeros.len() + SMALL,
        "{peak} bytes of memory for {} that expand to {}",
        frame.len(),
        zeros.len()
    );
}
