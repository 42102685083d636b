//! The codec: time for each entry and bytes for each entry, of a bulk sync as it is sent; and what small differences cost
//! on a link on which both ends have spoken before. `cargo bench --bench codec`, `-- small` for those alone.
//!
//! Entries have keys of 16 bytes and values of 64 over the base64 alphabet, and once of random bytes. Beside the code
//! stands its floor on the same machine: copying the bytes of keys and values once, and zstd on those bytes alone.

#[allow(dead_code)] // the other benches measure more
mod measure;

use measure::{CountingAllocator, Target, cpu_ns_of, figure, growth, least_of};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tidings::Delta;
use tidings::crdt::{CausalContext, OrMap, ReplicaId};
use tidings::proto::codec::{Compressor, Spoken, decode, decode_control, encode, encode_control};
use tidings::proto::message::{Begin, Digest, Message, Pull};
use tidings::proto::sync::Sender;

const ENTRIES: usize = 100_000;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 64;
const NOW: u64 = 1_700_000_000_000;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Not looked at here; the tables come from where it is.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() {
    small_differences();
    if std::env::args().any(|word| word == "small") {
        return;
    }
    println!();
    println!("{:<34} {:>9} {:>9} {:>9} {:>11} {:>11}", "entries", "encode", "decode", "copy", "bytes", "zstd -3");
    let plain = |writers| Shape { writers, random: false, apart_ms: 0 };
    measure("one writer, base64 values", &plain(1));
    measure("one writer, random values", &Shape { random: true, ..plain(1) });
    measure("one writer, 0 to 5 ms apart", &Shape { apart_ms: 5, ..plain(1) });
    measure("16 writers, 0 to 5 ms apart", &Shape { apart_ms: 5, ..plain(16) });
}

// --- Small differences between two that have met

/// What happens at one end of a link after both have the same.
#[derive(Clone, Copy)]
enum Work {
    Overwrite(usize),
    Delete(usize),
    Insert(usize),
}

/// What it then costs to tell the other end.
#[derive(Clone, Copy)]
struct Cost {
    plain: usize,
    /// Compressed, where that pays.
    least: usize,
    cpu_ns: f64,
}

fn small_differences() {
    let sizes = [ENTRIES, 10 * ENTRIES].map(|entries| met(entries, 3));
    measure::head();
    let audit = sizes[0].audit();
    let digest = encode(&Message::Digest(Digest { audit, reply: true }), None);
    figure("sync, nothing differs: bytes of a digest", "", digest.len() as f64, "B", Target::AtMost(18.0, 16.0));
    let none = Target::None;
    let churned = churned(&sizes[0]);
    for (name, map) in [("", &sizes[0]), (" after 100k overwrites and deletes", &churned)] {
        let ms = cpu_ns_of_nothing(map) / 1e6;
        figure(&format!("   CPU of both sides{name}"), "", ms, "ms", Target::AtMost(0.02, 0.02));
    }
    let of_one = Target::AtMost(100.0, 95.0);
    compare("1 overwritten", Work::Overwrite(1), &sizes, [of_one, of_one]);
    compare("1 new", Work::Insert(1), &sizes, [of_one, none]);
    let thousand = [Target::AtMost(78_000.0, 78_000.0), Target::AtMost(66_000.0, 66_000.0)];
    compare("1,000 overwritten", Work::Overwrite(1_000), &sizes, thousand);
    compare("1 deleted", Work::Delete(1), &sizes, [Target::AtMost(90.0, 60.0), none]);
    compare("100 deleted", Work::Delete(100), &sizes, [Target::AtMost(1_200.0, 600.0), none]);
    let [few, many] = [3, 1_000].map(|writers| cost(&met(ENTRIES, writers), Work::Overwrite(1)));
    println!("1 overwritten among 3 writers: {} B, among 1,000: {} B", few.plain, many.plain);
}

/// The same map after as many overwrites and deletes as it has entries.
fn churned(map: &OrMap) -> OrMap {
    let (mut map, mut rng) = (map.clone(), StdRng::seed_from_u64(9));
    let keys = keys_of(&map);
    do_work(&mut map, Work::Overwrite(ENTRIES / 2), &keys, NOW + 30_000, &mut rng);
    do_work(&mut map, Work::Delete(ENTRIES / 2), &keys, NOW + 60_000, &mut rng);
    map
}

/// One sends its sums, the other compares them with its own and answers.
fn cpu_ns_of_nothing(map: &OrMap) -> f64 {
    const EXCHANGES: u32 = 1_000;
    let exchange = || {
        for reply in [true, false] {
            let frame = encode(&Message::Digest(Digest { audit: black_box(map).audit(), reply }), None);
            let Ok(Message::Digest(theirs)) = decode(&frame, None) else { panic!("it is a digest") };
            assert_eq!(theirs.audit, black_box(map).audit());
        }
    };
    least_of(5, || cpu_ns_of((), |()| (0..EXCHANGES).for_each(|_| exchange()))) / f64::from(EXCHANGES)
}

fn compare(name: &str, work: Work, maps: &[OrMap; 2], targets: [Target; 2]) {
    let [small, large] = [&maps[0], &maps[1]].map(|map| cost(map, work));
    let beside = format!("{} B at 100k", small.plain);
    figure(&format!("{name} of 1M: bytes of a push"), &beside, large.plain as f64, "B", targets[0]);
    figure("   the same, compressed if that pays", "", large.least as f64, "B", targets[1]);
    growth("   CPU of both sides: of 100k, of 1M", small.cpu_ns, large.cpu_ns, Target::AtMost(1.2, 1.0));
    if matches!(work, Work::Overwrite(1_000)) {
        figure("   CPU of both sides, 1M", "", large.cpu_ns / 1e6, "ms", Target::AtMost(3.0, 3.0));
    }
}

/// The least of several runs: each is a push on a link of its own.
fn cost(map: &OrMap, work: Work) -> Cost {
    let (mut sender, mut rng) = (map.clone(), StdRng::seed_from_u64(7));
    let keys = keys_of(map);
    let mut spoken = Spoken::default();
    encode_control(&Message::Context { context: map.context().clone(), replace: false }, &mut spoken);
    let first = sender.named_delta_within(map.context(), usize::MAX).expect("nothing to catch up with");
    encode_control(&Message::Push(first), &mut spoken);
    // A clone has no room, and moves all that it holds with the first that is added: no cost of a push.
    do_work(&mut sender, work, &keys, NOW + 30_000, &mut rng);
    let before = sender.clone();
    let warm = sender.named_delta_within(map.context(), usize::MAX).expect("nothing to catch up with");
    encode_control(&Message::Push(warm.clone()), &mut spoken);
    do_work(&mut sender, work, &keys, NOW + 60_000, &mut rng);
    let say = |spoken: &mut Spoken| {
        let delta = sender.named_delta_within(before.context(), usize::MAX).expect("nothing to catch up with");
        encode_control(&Message::Push(delta), spoken)
    };
    let plain = say(&mut spoken.clone());
    let least = Compressor::default().compress(plain.clone());
    let one_run = || {
        // The receiver is another replica with the same, which a clone would not be for long.
        let mut receiver = map.clone();
        let _ = receiver.merge(warm.clone());
        cpu_ns_of((receiver, spoken.clone(), spoken.clone()), |(mut receiver, mut said, mut heard)| {
            let frame = say(&mut said);
            let Ok(Message::Push(delta)) = decode_control(&frame, &mut heard) else { panic!("it is a push") };
            let merged = receiver.merge(delta);
            assert!(!merged.unresolved);
            receiver
        })
    };
    Cost { plain: plain.len(), least: least.len(), cpu_ns: least_of(5, one_run) }
}

fn do_work(map: &mut OrMap, work: Work, keys: &[Vec<u8>], now: u64, rng: &mut StdRng) {
    let any = |rng: &mut StdRng| &keys[rng.random_range(0..keys.len())];
    match work {
        Work::Overwrite(count) => (0..count).for_each(|_| {
            map.put(any(rng), text::<VALUE_BYTES>(rng), now);
        }),
        Work::Delete(count) => (0..count).for_each(|_| {
            map.delete(any(rng), now);
        }),
        Work::Insert(count) => (0..count).for_each(|_| {
            map.put(&text::<KEY_BYTES>(rng), text::<VALUE_BYTES>(rng), now);
        }),
    }
}

/// A map with so many entries, of so many writers, as everybody has it.
fn met(entries: usize, writers: u128) -> OrMap {
    let mut rng = StdRng::seed_from_u64(3);
    let mut maps: Vec<OrMap> = (0..writers).map(|_| OrMap::new(ReplicaId::random(&mut rng))).collect();
    for i in 0..entries {
        let writer = i % maps.len();
        maps[writer].put(&text::<KEY_BYTES>(&mut rng), text::<VALUE_BYTES>(&mut rng), NOW + i as u64 / 100);
    }
    let mut all = maps.remove(0);
    for map in maps {
        let _ = all.merge(map.delta_since(all.context()));
    }
    all
}

fn keys_of(map: &OrMap) -> Vec<Vec<u8>> {
    let mut keys = map.keys_since(&CausalContext::new(), &tidings::crdt::DotSet::new());
    std::iter::from_fn(|| keys.pop().map(|key| key.bytes.to_vec())).collect()
}

fn text<const N: usize>(rng: &mut StdRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes.map(|byte: u8| BASE64[usize::from(byte % 64)])
}

// --- In bulk

struct Shape {
    writers: u128,
    random: bool,
    apart_ms: u64,
}

fn measure(name: &str, shape: &Shape) {
    let map = filled(shape);
    let delta = map.delta_since(&CausalContext::new());
    let bytes = delta.encode();
    let encoding = fastest(|| drop(black_box(delta.encode())));
    let decoding = fastest(|| drop(black_box(Delta::decode(&bytes).expect("it decodes"))));
    let copying = fastest(|| drop(black_box(bytes.to_vec())));
    let per_entry = |time: Duration| format!("{:.1} ns", time.as_nanos() as f64 / ENTRIES as f64);
    println!(
        "{name:<34} {:>9} {:>9} {:>9} {:>9.2} B {:>9.2} B",
        per_entry(encoding),
        per_entry(decoding),
        per_entry(copying),
        bytes.len() as f64 / ENTRIES as f64,
        compressed(&bytes) as f64 / ENTRIES as f64,
    );
    in_chunks(&map);
}

/// As a pull sends them, 64 KiB at a time: the chunks alone, each compressed alone.
fn in_chunks(map: &OrMap) {
    let mut sender = Sender::new(&mut map.clone(), &Pull::default());
    let begin: Begin = sender.begin().clone();
    let (mut messages, mut frames) = (Vec::new(), Vec::new());
    while let Some(message) = sender.next(map) {
        frames.push(encode(&message, Some(&begin)));
        messages.push(message);
    }
    let chunk = |message: &&Message| matches!(message, Message::Chunk(_));
    let encoding =
        fastest(|| messages.iter().filter(chunk).for_each(|message| drop(black_box(encode(message, Some(&begin))))));
    let decoding = fastest(|| frames.iter().for_each(|frame| drop(black_box(decode(frame, Some(&begin))))));
    let (plain, small) = frames.iter().fold((0, 0), |sum, frame| (sum.0 + frame.len(), sum.1 + compressed(frame)));
    let each = |sum: usize| sum as f64 / ENTRIES as f64;
    let per_entry = |time: Duration| format!("{:.1} ns", time.as_nanos() as f64 / ENTRIES as f64);
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9.2} B {:>9.2} B",
        format!("  in {} chunks", messages.iter().filter(chunk).count()),
        per_entry(encoding),
        per_entry(decoding),
        "",
        each(plain),
        each(small)
    );
}

fn filled(shape: &Shape) -> OrMap {
    let mut rng = StdRng::seed_from_u64(1);
    let mut now = NOW;
    let mut maps: Vec<OrMap> = (0..shape.writers).map(|_| OrMap::new(ReplicaId::random(&mut rng))).collect();
    for i in 0..ENTRIES {
        let (mut key, mut value) = ([0; KEY_BYTES], [0; VALUE_BYTES]);
        rng.fill(&mut key);
        rng.fill(&mut value);
        if !shape.random {
            key.iter_mut().chain(&mut value).for_each(|byte| *byte = BASE64[usize::from(*byte % 64)]);
        }
        now += rng.random_range(0..=shape.apart_ms);
        maps[i % shape.writers as usize].put(&key, value, now);
    }
    let mut all = maps.remove(0);
    for map in maps {
        let _ = all.merge(map.delta_since(all.context()));
    }
    all
}

fn fastest(mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..30).map(once).min().expect("it ran")
}

fn compressed(bytes: &[u8]) -> usize {
    zstd::bulk::compress(bytes, 3).expect("it compresses").len()
}
