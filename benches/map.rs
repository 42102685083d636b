//! What the map costs beside the least that any store of this kind could: `cargo bench --bench map`.
//!
//! Floors are a `HashMap` of the same arrays, without any of what makes a map replicated. Times mean nothing on another
//! machine; their ratios do, and bytes are exact. `benches/README.md` says what was measured, and on what.

mod measure;

use measure::{CountingAllocator, Pair, Target, cpu_ns_of, figure, growth, heap_of, least_of, speed};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use tidings::crdt::Retention;
use tidings::{CausalContext, Delta, OrMap, ReplicaId};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

type Key = [u8; 16];
type Value = [u8; 64];
type Entries = Vec<(Key, Value)>;
type Floor = HashMap<Key, Value>;

const NOW: u64 = 1_700_000_000_000;
/// So many writes fall into one millisecond, unless a row says otherwise.
const WRITES_PER_MS: u64 = 100;
const SIZES: [usize; 2] = [100_000, 1_000_000];

/// What can be asked for by name: `cargo bench --bench map -- put get`. Without a name, all of it.
const PARTS: [(&str, fn()); 9] = [
    ("put", || SIZES.iter().for_each(|&count| put(&text_entries(count, 1)))),
    ("get", || SIZES.iter().for_each(|&count| get(&text_entries(count, 1)))),
    ("change", || SIZES.iter().for_each(|&count| overwrite_and_delete(&text_entries(count, 1)))),
    ("heap", || heap(&text_entries(1_000_000, 1))),
    ("difference", differences),
    ("all", all),
    ("bytes", || bytes_of_all(&text_entries(100_000, 1))),
    ("replicas", || replica_ids(&text_entries(5_000, 1))),
    ("truncated", || truncated(&text_entries(100_000, 1))),
];

fn main() {
    // Cargo adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("A row's times are of one key, or of all that it says. Ratios: the speed as a part of the floor's.\n");
    measure::head();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|part| part == name);
    PARTS.iter().filter(|(name, _)| wanted(name)).for_each(|(_, run)| run());
}

fn all() {
    let rates = SIZES.map(|count| take_all(&text_entries(count, 1)));
    let slowed_down = "an empty replica takes all: 1M beside 100k";
    speed(slowed_down, Pair { floor_ns: rates[0], ours_ns: rates[1] }, Target::AtLeast(0.6, 0.6));
}

// --- The entries

fn text_entries(count: usize, seed: u64) -> Entries {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = |byte: u8| ALPHABET[usize::from(byte % 64)];
    random_entries(count, seed).into_iter().map(|(key, value)| (key.map(text), value.map(text))).collect()
}

fn random_entries(count: usize, seed: u64) -> Entries {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| (rng.random(), rng.random())).collect()
}

fn shuffled(entries: &Entries) -> Entries {
    let mut shuffled = entries.clone();
    shuffled.shuffle(&mut StdRng::seed_from_u64(2));
    shuffled
}

fn moment(write: u64) -> u64 {
    NOW + write / WRITES_PER_MS
}

fn filled(entries: &Entries) -> OrMap {
    let mut map = OrMap::new(ReplicaId::from(1));
    for (i, (key, value)) in (0..).zip(entries) {
        map.put(key, value, moment(i));
    }
    map
}

fn empty() -> OrMap {
    OrMap::new(ReplicaId::from(2))
}

fn filled_floor(entries: &Entries) -> Floor {
    let mut map = Floor::new();
    for (key, value) in entries {
        map.insert(*key, *value);
    }
    map
}

fn size(count: usize) -> String {
    if count < 1_000_000 { format!("{}k", count / 1_000) } else { format!("{}M", count / 1_000_000) }
}

fn rounds(count: usize) -> usize {
    (3_000_000 / count).clamp(5, 15)
}

// --- One replica

fn put(entries: &Entries) {
    let count = entries.len();
    let pair = Pair::least_of(rounds(count), || cpu_ns_of(entries, filled_floor), || cpu_ns_of(entries, filled));
    // Twice what yrs reaches (0.14 and 0.16), and 0.30.
    let target = if count > 100_000 { 0.32 } else { 0.30 };
    speed(&format!("put, {} keys one by one", size(count)), pair.per(count), Target::AtLeast(target, 0.45));
}

fn get(entries: &Entries) {
    let (map, floor, count) = (filled(entries), filled_floor(entries), entries.len());
    let wanted: Vec<Key> = shuffled(entries).into_iter().map(|entry| entry.0).collect();
    let ours =
        |wanted: &Vec<Key>| wanted.iter().map(|key| map.get(key, NOW).map_or(0, |v| u64::from(v[0]))).sum::<u64>();
    let theirs =
        |wanted: &Vec<Key>| wanted.iter().map(|key| floor.get(key).map_or(0, |v| u64::from(v[0]))).sum::<u64>();
    assert_eq!(ours(&wanted), theirs(&wanted));
    let pair = Pair::least_of(rounds(count), || cpu_ns_of(&wanted, theirs), || cpu_ns_of(&wanted, ours));
    let target = if count > 100_000 { Target::AtLeast(0.30, 0.5) } else { Target::None };
    speed(&format!("random get, {}", size(count)), pair.per(count), target);
}

fn overwrite_and_delete(entries: &Entries) {
    let (mut map, mut floor, count) = (filled(entries), filled_floor(entries), entries.len());
    let (later, order) = (moment(count as u64), shuffled(entries));
    let overwrite_floor = || {
        cpu_ns_of(&order, |order| {
            order.iter().for_each(|(key, value)| {
                let _ = floor.insert(*key, *value);
            })
        })
    };
    let overwrite = || {
        cpu_ns_of(&order, |order| {
            order.iter().for_each(|(key, value)| {
                let _ = map.put(key, value, later);
            })
        })
    };
    let pair = Pair::least_of(5, overwrite_floor, overwrite);
    speed(&format!("overwrite, {} in random order", size(count)), pair.per(count), Target::None);

    let pair = Pair::least_of(
        1,
        || {
            cpu_ns_of(&order, |order| {
                order.iter().for_each(|(key, _)| {
                    let _ = floor.remove(key);
                })
            })
        },
        || {
            cpu_ns_of(&order, |order| {
                order.iter().for_each(|(key, _)| {
                    let _ = map.delete(key, later);
                })
            })
        },
    );
    speed(&format!("delete (a tombstone), {} in random order", size(count)), pair.per(count), Target::None);
    let everything = Retention { keep_ms: 0, count_max: 0, spare_ms: 0 };
    let truncate_ns = cpu_ns_of((), |()| map.truncate(everything, later)) / count as f64;
    figure(&format!("truncate, {} tombstones, each", size(count)), "", truncate_ns.round(), "ns", Target::None);
}

fn heap(entries: &Entries) {
    let each = |bytes: usize| bytes as f64 / entries.len() as f64;
    let hash_map = each(heap_of(|| filled_floor(entries)).1);
    let b_tree = each(heap_of(|| entries.iter().copied().collect::<BTreeMap<_, _>>()).1);
    let mut one_by_one = BTreeMap::new();
    let b_tree_random = each(heap_of(|| one_by_one.extend(entries.iter().copied())).1);
    let ours = each(heap_of(|| filled(entries)).1);
    let floor = format!("{:.0} B", b_tree_random.max(b_tree));
    figure("heap for each entry, 1M, beside a BTreeMap", &floor, ours, "B", Target::AtMost(160.0, 130.0));
    let floor = format!("{hash_map:.0} B");
    figure("heap for each entry, 1M, beside a HashMap", &floor, ours, "B", Target::None);
}

// --- Two replicas

/// What a difference costs must not depend on how much is the same.
fn differences() {
    for differing in [1, 10, 1_000] {
        let [little, much] = SIZES.map(|count| difference(&text_entries(count, 1), differing));
        let target = Target::AtMost(1.2, 1.0);
        growth(&format!("delta_since, {differing} differ: of 100k, of 1M"), little.since_ns, much.since_ns, target);
        growth("   encode, decode, merge of it: of 100k, of 1M", little.merge_ns, much.merge_ns, target);
        let target = match differing {
            // A delta stands for itself: of two that have met before, each knows what this one has to spell out.
            1 => Target::AtMost(140.0, 95.0),
            1_000 => Target::AtMost(78_000.0, 78_000.0),
            _ => Target::None,
        };
        figure(&format!("bytes of a delta, {differing} overwritten of 1M"), "", much.bytes as f64, "B", target);
        if differing == 1_000 {
            figure("the same, zstd -3", "", much.compressed as f64, "B", Target::AtMost(66_000.0, 66_000.0));
            let ms = (much.since_ns + much.merge_ns) / 1e6;
            figure("the same, CPU of both sides", "", ms, "ms", Target::AtMost(3.0, 3.0));
        }
    }
    let mut map = filled(&text_entries(100_000, 1));
    let entries = shuffled(&text_entries(100_000, 1));
    for (deleted, target) in [(1, Target::AtMost(90.0, 60.0)), (100, Target::AtMost(1_200.0, 600.0))] {
        let base = map.context().clone();
        entries[deleted..2 * deleted].iter().for_each(|(key, _)| {
            let _ = map.delete(key, NOW);
        });
        let bytes = map.delta_since(&base).encode().len();
        figure(&format!("bytes of a delta, {deleted} deleted of 100k"), "", bytes as f64, "B", target);
    }
}

struct Difference {
    since_ns: f64,
    merge_ns: f64,
    bytes: usize,
    compressed: usize,
}

fn difference(entries: &Entries, differing: usize) -> Difference {
    let mut map = filled(entries);
    let mut other = empty();
    let _ = other.merge(map.delta_since(other.context()));
    let order = shuffled(entries);
    let times = 20_000 / differing;
    let (mut least, mut base) = ((f64::INFINITY, f64::INFINITY), CausalContext::new());
    for round in 0..10 {
        base = map.context().clone();
        let now = moment(entries.len() as u64) + round;
        order[..differing].iter().for_each(|(key, _)| {
            let _ = map.put(key, [round as u8; 64], now);
        });
        let since = cpu_ns_of((), |()| (0..times).for_each(|_| drop(black_box(map.delta_since(black_box(&base))))));
        let delta = map.delta_since(&base);
        let merge = cpu_ns_of(delta, |delta| other.merge(Delta::decode(&delta.encode()).expect("it was encoded")));
        least = (least.0.min(since / times as f64), least.1.min(merge));
    }
    for (key, value) in &order[..differing] {
        map.put(key, value, moment(entries.len() as u64) + 10);
    }
    base.extend_to(other.context().iter().next().expect("the map has written"));
    let bytes = map.delta_since(&base).encode();
    let compressed = zstd::bulk::compress(&bytes, 3).expect("it fits in memory").len();
    Difference { since_ns: least.0, merge_ns: least.1, bytes: bytes.len(), compressed }
}

/// Both sides of a whole copy, through bytes. Answers the time of one entry.
fn take_all(entries: &Entries) -> f64 {
    let (map, floor, count) = (filled(entries), filled_floor(entries), entries.len());
    let copy_floor = |floor: &Floor| {
        let mut buffer: Vec<u8> = Vec::new();
        for (key, value) in floor {
            buffer.extend_from_slice(key);
            buffer.extend_from_slice(value);
        }
        let mut copy = Floor::new();
        for record in buffer.chunks_exact(80) {
            let (key, value) = record.split_at(16);
            copy.insert(key.try_into().expect("16 bytes"), value.try_into().expect("64 bytes"));
        }
        copy
    };
    let copy = |map: &OrMap| {
        let mut copy = empty();
        let bytes = map.delta_since(copy.context()).encode();
        let merged = copy.merge(Delta::decode(&bytes).expect("it was encoded"));
        assert_eq!(merged.changes.len(), count);
        copy
    };
    assert_eq!(copy(&map).audit(), map.audit());
    let pair = Pair::least_of(rounds(count), || cpu_ns_of(&floor, copy_floor), || cpu_ns_of(&map, copy)).per(count);
    speed(&format!("an empty replica takes all, {}: CPU of both", size(count)), pair, Target::AtLeast(0.30, 0.5));

    let parts = rounds(count) / 2;
    let per = |ns: f64| (ns / count as f64).round();
    let delta = || map.delta_since(&CausalContext::new());
    let bytes = delta().encode();
    let decoded = || Delta::decode(&bytes).expect("it was encoded");
    let part = |name: &str, ns: f64| figure(&format!("   of that: {name}"), "", per(ns), "ns", Target::None);
    part("delta_since", least_of(parts, || cpu_ns_of((), |()| delta())));
    part("encode", least_of(parts, || cpu_ns_of(delta(), |delta| delta.encode())));
    part("decode", least_of(parts, || cpu_ns_of((), |()| decoded())));
    let merge = |delta| (empty(), delta);
    part(
        "merge",
        least_of(parts, || {
            cpu_ns_of(merge(decoded()), |(mut map, delta)| {
                let merged = map.merge(delta);
                (map, merged)
            })
        }),
    );
    pair.ours_ns
}

/// Of the whole map as a delta, by how the entries came to be.
fn bytes_of_all(entries: &Entries) {
    let count = entries.len() as f64;
    let print = |what: &str, map: &OrMap, plain: Target, compressed: Target| {
        let bytes = map.delta_since(&CausalContext::new()).encode();
        let small = zstd::bulk::compress(&bytes, 3).expect("it fits in memory");
        figure(&format!("bytes for each entry, {what}"), "80 B", bytes.len() as f64 / count, "B", plain);
        let floor = if what.starts_with("text") { "60 B" } else { "80 B" };
        figure("the same, zstd -3", floor, small.len() as f64 / count, "B", compressed);
    };
    let (plain, compressed) = (Target::AtMost(83.0, 82.0), Target::AtMost(66.0, 64.0));
    print("text, 100 a millisecond", &filled(entries), plain, compressed);
    let (mut rng, mut now) = (StdRng::seed_from_u64(3), NOW);
    let mut map = OrMap::new(ReplicaId::from(1));
    for (key, value) in entries {
        now += rng.random_range(0..20);
        map.put(key, value, now);
    }
    print("text, 0 to 20 ms apart", &map, plain, compressed);
    print("random, 100 a millisecond", &filled(&random_entries(entries.len(), 1)), plain, Target::None);
}

/// What a replica costs for ever that has written: each key by a replica of its own, beside all of them by one; and once more
/// when another has overwritten all of that, so that only the ids are left.
fn replica_ids(entries: &Entries) {
    let count = entries.len();
    let (one, many) = (vec![ReplicaId::from(3); count], {
        let mut rng = StdRng::seed_from_u64(4);
        (0..count).map(|_| ReplicaId::random(&mut rng)).collect::<Vec<_>>()
    });
    for (what, overwritten) in [("whose write is live", false), ("whose writes are overwritten", true)] {
        let of = |ids: &[ReplicaId]| {
            let (map, bytes) = heap_of(|| written_by(entries, ids, overwritten));
            (bytes as f64, map.delta_since(&CausalContext::new()).encode().len() as f64)
        };
        let ((heap_one, encoded_one), (heap_many, encoded_many)) = (of(&one), of(&many));
        let each = |many: f64, one: f64| (many - one) / (count - 1) as f64;
        figure(&format!("heap for each replica {what}"), "", each(heap_many, heap_one), "B", Target::None);
        let work = "the same: bytes of it in a delta to a fresh replica";
        figure(work, "16 B", each(encoded_many, encoded_one), "B", Target::None);
    }
}

fn written_by(entries: &Entries, ids: &[ReplicaId], overwritten: bool) -> OrMap {
    let (mut map, mut writer) = (empty(), OrMap::new(ids[0]));
    for ((i, (key, value)), id) in (0..).zip(entries).zip(ids) {
        if i > 0 && *id != ids[i as usize - 1] {
            writer = OrMap::new(*id);
        }
        writer.put(key, value, moment(i));
        let _ = map.merge(writer.delta_since(map.context()));
    }
    if overwritten {
        (0..).zip(entries).for_each(|(i, (key, value))| _ = map.put(key, value, moment(1_000_000 + i)));
    }
    map
}

/// What is left of keys that are all deleted, and forgotten.
fn truncated(entries: &Entries) {
    let count = entries.len() as f64;
    let deleted = || {
        let mut map = filled(entries);
        entries.iter().for_each(|(key, _)| {
            let _ = map.delete(key, NOW);
        });
        map
    };
    let remembered = heap_of(deleted).1 as f64 / count;
    figure("heap for each delete that is remembered, 100k", "", remembered, "B", Target::None);
    let (map, bytes) = heap_of(|| {
        let mut map = deleted();
        let dropped = map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW + 1_000_000);
        assert_eq!(dropped, entries.len());
        map
    });
    let work = "100k put, all deleted, truncated: heap for each key";
    figure(work, "", bytes as f64 / count, "B", Target::AtMost(1.0, 1.0));
    let bytes = map.delta_since(&CausalContext::new()).encode().len();
    figure("the same: bytes of a delta to a fresh replica", "", bytes as f64, "B", Target::AtMost(64.0, 18.0));
}
