//! The codec: time for each entry and bytes for each entry, of a bulk sync as it is sent. `cargo bench --bench codec`.
//!
//! Entries have keys of 16 bytes and values of 64 over the base64 alphabet, and once of random bytes. Beside the code
//! stands its floor on the same machine: copying the bytes of keys and values once, and zstd on those bytes alone.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tidings::Delta;
use tidings::crdt::{CausalContext, OrMap, ReplicaId};
use tidings::proto::codec::{decode, encode};
use tidings::proto::message::{Begin, Message, Pull};
use tidings::proto::sync::Sender;

const ENTRIES: usize = 100_000;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 64;
const NOW: u64 = 1_700_000_000_000;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn main() {
    println!("{:<34} {:>9} {:>9} {:>9} {:>11} {:>11}", "entries", "encode", "decode", "copy", "bytes", "zstd -3");
    let plain = |writers| Shape { writers, random: false, apart_ms: 0 };
    measure("one writer, base64 values", &plain(1));
    measure("one writer, random values", &Shape { random: true, ..plain(1) });
    measure("one writer, 0 to 5 ms apart", &Shape { apart_ms: 5, ..plain(1) });
    measure("16 writers, 0 to 5 ms apart", &Shape { apart_ms: 5, ..plain(16) });
}

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
