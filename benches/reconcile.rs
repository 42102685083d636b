//! What it takes to find out which dots died elsewhere: `cargo bench --bench reconcile`, or with `-- 100000` at another size.
//!
//! Two replicas of a million keys, one of which has deleted and truncated some at random places. The floor is what was sent
//! before: the live dots as intervals. Bytes and symbols are exact; times mean nothing on another machine.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tidings::crdt::Retention;
use tidings::proto::codec::encode;
use tidings::proto::message::{Message, Part};
use tidings::proto::reconcile::Batches;
use tidings::proto::sync::{Receiver, Sender, Step};
use tidings::{OrMap, ReplicaId};

const NOW: u64 = 1_700_000_000_000;

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_usize);
    let mut full = OrMap::new(ReplicaId::from(1));
    (0..count as u64).for_each(|n| _ = full.put(&n.to_be_bytes(), [7; 64], NOW));
    let mut behind = OrMap::new(ReplicaId::from(2));
    let _ = behind.merge(full.delta_since(behind.context()));
    println!("| differences | symbols | each | bytes of all | of the list | questions | CPU sender | CPU receiver |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for differences in [0, 1, 10, 100, 1_000, 10_000] {
        one(&full, &behind, count, differences);
    }
}

fn one(full: &OrMap, behind: &OrMap, count: usize, differences: usize) {
    let (mut from, mut to) = (full.clone(), behind.clone());
    let mut rng = StdRng::seed_from_u64(differences as u64);
    let mut chosen = BTreeSet::new();
    while chosen.len() < differences {
        chosen.insert(rng.random_range(0..count as u64));
    }
    chosen.iter().for_each(|n| _ = from.delete(&n.to_be_bytes(), NOW));
    from.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW);
    let list = encode(&Message::Live(Part { part: from.live_within(from.context()), last: true }), None).len();

    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    let (mut bytes, mut questions) = (0, 0);
    let (mut asks, request) = timed(&mut receiving, || Receiver::start(&to, true));
    bytes += encode(&Message::Pull(request.clone()), None).len();
    let mut answers = timed(&mut sending, || Sender::new(&mut from, &request));
    answers = answers.with_batches(Batches { never_list: differences > 0, ..Batches::default() });
    while let Some(message) = timed(&mut sending, || answers.next(&from)) {
        bytes += encode(&message, Some(answers.begin())).len();
        let step = timed(&mut receiving, || asks.on_message(&mut to, message, |_| {}).expect("in turn"));
        if let Step::Reply(reply) | Step::Done { reply: Some(reply) } = step {
            questions += usize::from(matches!(reply, Message::More { .. }));
            bytes += encode(&reply, None).len();
            timed(&mut sending, || answers.on_message(&mut from, &reply).expect("in turn"));
        }
    }
    assert_eq!(from.audit(), to.audit());
    let symbols = asks.take_counts().symbols_received;
    let each = symbols as f64 / differences.max(1) as f64;
    println!(
        "| {differences} | {symbols} | {each:.2} | {bytes} | {list} | {questions} | {sending:.1?} | {receiving:.1?} |"
    );
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}
