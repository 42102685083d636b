//! Pulls that end with a comparison of live dots, and begin with one of clocks: they find what differs, whatever it is, at the
//! cost of what differs. Not responsible for what else a sync has to keep to: `sim` and `runs` are.

#[path = "replicas/dice.rs"]
mod dice;

use bytes::Bytes;
use dice::{Dice, for_each_seed};
use std::collections::BTreeSet;
use tidings::crdt::{Retention, Symbol};
use tidings::proto::codec::{decode, encode};
use tidings::proto::message::{Begin, Message, Symbols};
use tidings::proto::reconcile::{Batches, Reconciled};
use tidings::proto::sync::{Receiver, Sender, Step};
use tidings::{OrMap, ReplicaId};

const NOW: u64 = 1_700_000_000_000;
const CODED: Batches = Batches { first: 16, never_list: true };

/// What one pull took.
#[derive(Debug, Default)]
struct Took {
    sender: Reconciled,
    receiver: Reconciled,
    pull_bytes: usize,
    begin_bytes: usize,
    chunk_bytes: usize,
    /// Of symbols, lists, and what was said to them.
    compare_bytes: usize,
    questions: usize,
    frames: usize,
}

/// The message through its bytes, and how many they are.
fn carry(message: &Message, begin: Option<&Begin>) -> (Message, usize) {
    let frame: Bytes = encode(message, begin);
    (decode(&frame, begin).expect("it was encoded so"), frame.len())
}

/// `to` pulls from `from`; the link breaks after so many frames of either side. `None` if it did.
fn pull(from: &mut OrMap, to: &mut OrMap, batches: Batches, listed_max: usize, frames_max: usize) -> (Took, bool) {
    let mut took = Took::default();
    let (mut asks, pull) = Receiver::start_telling(to, false, listed_max);
    let (request, bytes) = carry(&Message::Pull(pull), None);
    took.pull_bytes = bytes;
    let Message::Pull(request) = request else { panic!("a pull became something else") };
    let mut answers = Sender::new(from, &request).with_batches(batches).with_chunk_entries(8);
    let mut done = false;
    while let Some(message) = answers.next(from) {
        if took.frames == frames_max {
            return (took, false);
        }
        took.frames += 1;
        let (message, bytes) = carry(&message, Some(answers.begin()));
        match &message {
            Message::Begin(_) => took.begin_bytes += bytes,
            Message::Chunk(_) => took.chunk_bytes += bytes,
            Message::Live(_) | Message::Symbols(_) => took.compare_bytes += bytes,
            _ => {}
        }
        let reply = match asks.on_message(to, message, |_| {}).expect("in turn") {
            Step::Reply(reply) => reply,
            Step::Done { reply } => {
                done = true;
                let Some(reply) = reply else { break };
                reply
            }
            _ => continue,
        };
        let (reply, bytes) = carry(&reply, None);
        took.compare_bytes += bytes;
        took.questions += usize::from(matches!(reply, Message::More { .. }));
        answers.on_message(from, &reply).expect("in turn");
    }
    assert!(done && answers.is_finished(), "it stopped in the middle");
    (took.sender, took.receiver) = (answers.take_counts(), asks.take_counts());
    (took, true)
}

fn truncate(map: &mut OrMap) {
    map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW);
}

fn key(number: usize) -> [u8; 8] {
    (number as u64).to_be_bytes()
}

/// Two maps of the same keys, of which `from` has then deleted and truncated some, and `to` overwritten others.
fn differing(dice: &mut Dice, keys: usize, gone: usize, written: usize) -> (OrMap, OrMap, BTreeSet<usize>) {
    let (mut from, mut to) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    (0..keys).for_each(|n| _ = from.put(&key(n), b"v", NOW));
    let _ = to.merge(from.delta_since(to.context()));
    let mut chosen = BTreeSet::new();
    while chosen.len() < gone {
        chosen.insert(dice.below(keys));
    }
    chosen.iter().for_each(|&n| _ = from.delete(&key(n), NOW));
    truncate(&mut from);
    let mut overwritten = BTreeSet::new();
    while overwritten.len() < written {
        let n = dice.below(keys);
        if !chosen.contains(&n) && overwritten.insert(n) {
            to.put(&key(n), b"w", NOW);
        }
    }
    (from, to, chosen)
}

#[test]
fn what_died_elsewhere_is_found_whatever_else_differs() {
    for_each_seed(300, |dice| {
        let keys = 1 + dice.below(600);
        let gone = dice.below(keys + 1);
        let written = dice.below(keys - gone + 1);
        let (mut from, mut to, dead) = differing(dice, keys, gone, written);
        let first = *dice.pick(&[1, 2, 16, 100]);
        let batches = Batches { first: first.min(64), never_list: dice.percent(70) };
        let listed_max = *dice.pick(&[0, 20]);
        pull(&mut from, &mut to, batches, listed_max, usize::MAX);
        for n in 0..keys {
            assert_eq!(to.get(&key(n), NOW).is_none(), dead.contains(&n), "key {n} of {keys}");
        }
        pull(&mut to, &mut from, batches, listed_max, usize::MAX);
        assert_eq!(from.audit(), to.audit());
    });
}

/// Per difference, so many symbols in the mean.
#[test]
fn a_comparison_takes_symbols_by_what_differs() {
    let per_difference = |gone: usize, written: usize, runs: u64| {
        let (mut symbols, mut questions) = (0, 0);
        for seed in 0..runs {
            let (mut from, mut to, _) = differing(&mut Dice::new(seed), 4_000, gone, written);
            let (took, _) = pull(&mut from, &mut to, CODED, 20, usize::MAX);
            symbols += took.receiver.symbols_received;
            questions += took.questions as u64;
            assert_eq!((took.receiver.coded, took.sender.fallbacks), (1, 0), "seed {seed}");
        }
        let each = symbols as f64 / ((gone + written) as u64 * runs).max(1) as f64;
        eprintln!("{gone} and {written}: {each:.2} symbols each, {:.1} questions", questions as f64 / runs as f64);
        each
    };
    for (gone, written) in [(20, 0), (25, 25), (90, 0)] {
        assert!(per_difference(gone, written, 30) <= 1.9);
    }
    for (gone, written) in [(1_000, 0), (700, 500)] {
        assert!(per_difference(gone, written, 4) <= 1.5);
    }
}

/// A receiver that has nothing to lose ends with the first batch.
#[test]
fn a_fresh_replica_is_done_with_the_first_symbols() {
    let (mut from, _, _) = differing(&mut Dice::new(1), 500, 100, 0);
    let mut fresh = OrMap::new(ReplicaId::from(3));
    let (took, _) = pull(&mut from, &mut fresh, CODED, 20, usize::MAX);
    assert_eq!((took.receiver.symbols_received, took.questions), (16, 0));
    assert_eq!(from.audit(), fresh.audit());
}

/// A few intervals are told as they are.
#[test]
fn a_short_list_is_sent_as_it_is() {
    let (mut from, mut to, _) = differing(&mut Dice::new(1), 1_000, 5, 0);
    let (took, _) = pull(&mut from, &mut to, Batches::default(), 20, usize::MAX);
    assert_eq!((took.sender.lists, took.sender.symbols_sent, took.sender.coded), (1, 0, 0));
    assert!(took.compare_bytes < 60, "{took:?}");
    assert_eq!(to.counts().keys, 995);
}

/// RULE 4. What another sync brings while a list comes may have been on a part that came before: nobody looked for it there, and the
/// list is asked for again. Taken for dead, a value that is live everywhere would go, and nobody would send it any more.
///
/// A sender of ours tells an entry before it lists its dots; the receiver does not rely on that.
#[test]
fn what_another_sync_brings_while_a_list_comes_is_not_taken_for_dead() {
    let (keys, kettle) = (10_000, b"kettle");
    let mut other = OrMap::new(ReplicaId::from(1));
    let dot = other.put(kettle, b"on", NOW);
    let (mut from, mut to) = (OrMap::new(ReplicaId::from(2)), OrMap::new(ReplicaId::from(3)));
    (0..keys).for_each(|n| _ = from.put(&key(n), b"v", NOW));
    let _ = to.merge(from.delta_since(to.context()));
    // So many holes that the list takes several parts.
    (0..keys).step_by(2).for_each(|n| _ = from.delete(&key(n), NOW));
    truncate(&mut from);
    let _ = from.merge(other.delta_since(from.context()));

    let (mut asks, request) = Receiver::start(&to, true);
    let mut answers = Sender::new(&mut from, &request);
    let (mut parts, mut lists) = (0, 0);
    loop {
        let message = answers.next(&from).expect("it goes on until all is compared");
        match &message {
            Message::Chunk(_) => continue,
            Message::Live(part) => (parts, lists) = (parts + 1, lists + usize::from(part.last)),
            _ => {}
        }
        match asks.on_message(&mut to, message, |_| {}).expect("in turn") {
            Step::Done { .. } => break,
            Step::Reply(reply) => answers.on_message(&mut from, &reply).expect("in turn"),
            _ => {}
        }
        if (parts, lists) == (1, 0) && !to.is_live(dot) {
            let _ = to.merge(other.delta_since(to.context()));
        }
    }
    assert!(to.is_live(dot), "a value that is live at all three was taken away");
    assert_eq!((to.get(kettle, NOW), lists), (Some(b"on".as_slice()), 2), "{parts} parts");
    assert_eq!(to.audit(), from.audit());
}

/// Who asks for more than a list would cost gets the list.
#[test]
fn a_list_is_sent_where_it_is_the_shorter_way() {
    let (mut from, mut to, _) = differing(&mut Dice::new(1), 2_000, 800, 0);
    let (took, _) = pull(&mut from, &mut to, Batches::default(), 20, usize::MAX);
    assert_eq!((took.sender.lists, took.sender.symbols_sent), (1, 16), "{took:?}");
    assert_eq!(to.counts().keys, 1_200);
}

/// Symbols that are none of any set: they end in a demand for the list, and nothing is taken away by them.
#[test]
fn rubbish_is_bounded_and_changes_nothing() {
    for_each_seed(5, |dice| {
        let (mut from, mut to, _) = differing(dice, 300, 10, 0);
        let (mut asks, request) = Receiver::start(&to, true);
        let mut answers = Sender::new(&mut from, &request).with_batches(CODED);
        loop {
            let message = answers.next(&from).expect("it goes on to the end of the entries");
            let last = matches!(message, Message::Done { .. });
            asks.on_message(&mut to, message, |_| {}).expect("in turn");
            if last {
                break;
            }
        }
        let mut received = 0;
        let mut granted = 16;
        while granted > 0 {
            let count = (granted - received).min(500);
            let mut symbol = || {
                let mut random = || dice.below(usize::MAX) as u64;
                Symbol { sum: random(), check: random() as u32, count: random() as u8 }
            };
            let symbols = (0..count).map(|_| symbol()).collect();
            received += count;
            let total = 290;
            match asks.on_message(&mut to, Message::Symbols(Symbols { total, symbols }), |_| {}).expect("as asked for")
            {
                Step::Reply(Message::More { symbols, .. }) => granted = symbols,
                Step::Waiting => {}
                other => panic!("{other:?}"),
            }
            assert!(received <= 1 << 17, "there is no end of it");
        }
        assert_eq!(to.counts().keys, 300, "nothing was taken away");
        let one = Symbol::default();
        let more = Message::Symbols(Symbols { total: 1, symbols: vec![one; 1 << 18] });
        assert!(asks.on_message(&mut to, more, |_| {}).is_err(), "more than was asked for");
    });
}

// --- Clocks

/// A replica that has heard of so many others, each of which wrote so often.
fn of_many(id: u128, replicas: u128, writes: u64) -> OrMap {
    let mut map = OrMap::new(ReplicaId::from(id));
    for replica in 0..replicas {
        let mut other = OrMap::new(ReplicaId::from(1_000_000 + replica * 0x9e37_79b9_7f4a_7c15));
        (0..writes).for_each(|_| _ = other.put(b"k", b"v", NOW));
        let _ = map.merge(other.delta_since(map.context()));
    }
    map
}

#[test]
fn contexts_cost_what_differs_in_them() {
    for replicas in [2, 20, 100, 400] {
        let mut from = of_many(1, replicas, 1);
        from.put(b"first", b"v", NOW);
        let mut to = OrMap::new(ReplicaId::from(2));
        let (first, _) = pull(&mut from, &mut to, Batches::default(), 20, usize::MAX);
        from.put(b"fresh", b"v", NOW);
        let (took, _) = pull(&mut from, &mut to, Batches::default(), 20, usize::MAX);
        eprintln!(
            "{replicas}: at first {}, {}; then {}, {}",
            first.pull_bytes, first.begin_bytes, took.pull_bytes, took.begin_bytes
        );
        assert_eq!(from.audit().context, to.audit().context);
        assert!(took.begin_bytes <= 12, "{took:?}");
        assert!(took.pull_bytes <= 250 && (replicas > 2 || took.pull_bytes <= 32), "{took:?}");
    }
}

/// Contexts of which each side has something alone, and replicas that the other has never met, arrive as they are.
#[test]
fn contexts_that_differ_both_ways_arrive() {
    for_each_seed(120, |dice| {
        let mut maps = [1, 2].map(|id| OrMap::new(ReplicaId::from(id)));
        let count = 1 + dice.below(60);
        for n in 0..count {
            let mut other = OrMap::new(ReplicaId::from(7 + 0x1_0001 * n as u128));
            for to in [dice.below(2), dice.below(2)] {
                (0..dice.below(4)).for_each(|i| _ = other.put(&key(n * 10 + i), b"v", NOW));
                let _ = maps[to].merge(other.delta_since(maps[to].context()));
                if dice.percent(20) {
                    maps[to].delete(&key(n * 10), NOW);
                    truncate(&mut maps[to]);
                }
            }
        }
        let listed_max = *dice.pick(&[0, 20, 1_000]);
        for _ in 0..2 {
            let [a, b] = &mut maps;
            pull(a, b, CODED, listed_max, usize::MAX);
            pull(b, a, Batches::default(), listed_max, usize::MAX);
        }
        assert_eq!(maps[0].audit(), maps[1].audit());
        assert_eq!(maps[0].context(), maps[1].context());
    });
}

// --- Cuts

/// The link breaks after each frame in turn, and the next attempt goes to another replica that has the same. What is sent
/// twice is less than a chunk.
#[test]
fn after_any_cut_another_goes_on() {
    let whole = {
        let (mut from, mut to, _) = differing(&mut Dice::new(3), 300, 40, 20);
        (0..50).for_each(|n| _ = from.put(&key(1_000 + n), b"v", NOW));
        pull(&mut from, &mut to, CODED, 0, usize::MAX).0
    };
    let chunk = whole.chunk_bytes.div_ceil(50_usize.div_ceil(8)) + 40;
    for cut in 0..whole.frames {
        let (mut from, mut to, _) = differing(&mut Dice::new(3), 300, 40, 20);
        (0..50).for_each(|n| _ = from.put(&key(1_000 + n), b"v", NOW));
        let mut other = OrMap::new(ReplicaId::from(9));
        let _ = other.merge(from.delta_since(other.context()));
        let (first, done) = pull(&mut from, &mut to, CODED, 0, cut);
        assert!(!done);
        let (second, _) = pull(&mut other, &mut to, CODED, 0, usize::MAX);
        let twice = (first.chunk_bytes + second.chunk_bytes).saturating_sub(whole.chunk_bytes);
        assert!(twice < chunk, "cut after {cut}: {twice} bytes of entries twice");
        pull(&mut to, &mut from, CODED, 0, usize::MAX);
        pull(&mut to, &mut other, CODED, 0, usize::MAX);
        assert_eq!((to.audit(), to.pending()), (from.audit(), 0), "cut after {cut}");
        assert_eq!(to.audit(), other.audit());
    }
}
