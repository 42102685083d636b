//! Maps with a past: writes, deletes, syncs whole and cut off, truncation. What they have to say is what the codec gets.

use proptest::prelude::*;
use tidings::crdt::{CausalContext, EntriesBuilder, Key, OrMap, Register, ReplicaId, Retention};
use tidings::proto::message::{Begin, Message};
use tidings::proto::reconcile::Batches;
use tidings::proto::sync::{Receiver, Sender, Step};
use tidings::{Delta, Dot};

/// After 2020, when clocks count as valid.
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) const KEYS: [Key<'static>; 5] =
    [Key::usr(b"kettle"), Key::usr(b"lamp"), Key::usr(&[0xff; 300]), Key::sys(b"members/1"), Key::sys(b"kettle")];

const DEADLINES: [u64; 4] = [NOW + 3, NOW + 1_000, 0, u64::MAX];

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Put {
        who: usize,
        key: usize,
        bytes: usize,
    },
    PutUntil {
        who: usize,
        key: usize,
        deadline: usize,
    },
    Delete {
        who: usize,
        key: usize,
    },
    /// A delta merged whole.
    Merge {
        from: usize,
        to: usize,
    },
    /// A sync that was cut off after so many entries.
    Cut {
        from: usize,
        to: usize,
        entries: usize,
    },
    Truncate {
        who: usize,
    },
}

pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    let (who, key) = (0..4_usize, 0..KEYS.len());
    let event = prop_oneof![
        4 => (who.clone(), key.clone(), prop_oneof![0..3_usize, 100..300_usize])
            .prop_map(|(who, key, bytes)| Event::Put { who, key, bytes }),
        1 => (who.clone(), key.clone(), 0..DEADLINES.len())
            .prop_map(|(who, key, deadline)| Event::PutUntil { who, key, deadline }),
        2 => (who.clone(), key).prop_map(|(who, key)| Event::Delete { who, key }),
        2 => (who.clone(), who.clone()).prop_map(|(from, to)| Event::Merge { from, to }),
        2 => (who.clone(), who.clone(), 1..3_usize).prop_map(|(from, to, entries)| Event::Cut { from, to, entries }),
        1 => who.prop_map(|who| Event::Truncate { who }),
    ];
    prop::collection::vec(event, 0..60)
}

/// Four replicas to which these things have happened.
pub(crate) fn world(events: &[Event]) -> Vec<OrMap> {
    let ids = [1_u128, 2, 0xabcd << 100, u128::MAX];
    let mut maps: Vec<OrMap> = ids.into_iter().map(|id| OrMap::new(ReplicaId::from(id))).collect();
    for (now, event) in (NOW..).zip(events) {
        match *event {
            Event::Put { who, key, bytes } => drop(maps[who].put(KEYS[key], vec![b'v'; bytes], now)),
            Event::PutUntil { who, key, deadline } => {
                maps[who].put_until(KEYS[key], b"for now", DEADLINES[deadline], now);
            }
            Event::Delete { who, key } => drop(maps[who].delete(KEYS[key], now)),
            Event::Merge { from, to } => {
                let delta = maps[from].delta_since(maps[to].context());
                let _ = maps[to].merge(delta);
            }
            Event::Cut { from, to, entries } => cut_off(&mut maps, from, to, entries),
            Event::Truncate { who } => {
                maps[who].truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, now);
            }
        }
    }
    maps
}

fn cut_off(maps: &mut [OrMap], from: usize, to: usize, entries: usize) {
    // A catch-up that is cut off has taken nothing away.
    let mut keys = maps[from].keys_since(maps[to].context(), &maps[to].have());
    let mut builder = EntriesBuilder::default();
    for _ in 0..entries {
        let Some(key) = keys.pop() else { break };
        builder.push(&maps[from], key);
    }
    let _ = maps[to].join_entries(&builder.finish(), |_| ());
}

/// All that there is to be seen of a map.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    context: CausalContext,
    truncated: CausalContext,
    have: String,
    audit: tidings::crdt::Audit,
    pending: usize,
    keys: Vec<(CausalContext, Vec<(Dot, Register)>)>,
}

pub(crate) fn seen(map: &OrMap) -> Seen {
    Seen {
        context: map.context().clone(),
        truncated: map.truncated().clone(),
        have: format!("{:?}", map.have()),
        audit: map.audit(),
        pending: map.pending(),
        keys: KEYS.iter().map(|key| (map.context_of(*key), map.registers(*key))).collect(),
    }
}

pub(crate) fn after_merge(map: &OrMap, delta: Delta) -> Seen {
    let mut map = map.clone();
    map.set_time(NOW + 100);
    let _ = map.merge(delta);
    seen(&map)
}

/// Everything that is said in a pull, with the `Begin` that stands when it is said, and what the receiver ends with if
/// each message goes through `carry` first.
pub(crate) fn pull(
    sender: &OrMap,
    receiver: &OrMap,
    catch_up: bool,
    mut carry: impl FnMut(Message, Option<&Begin>) -> Message,
) -> Seen {
    let mut map = receiver.clone();
    map.set_time(NOW + 100);
    let listed_max = if receiver.context().is_empty() { 0 } else { 20 };
    let (mut asks, request) = Receiver::start_telling(&map, catch_up, listed_max);
    let Message::Pull(request) = carry(Message::Pull(request), None) else { panic!("a pull became something else") };
    let mut sender = sender.clone();
    let mut answers = Sender::new(&mut sender, &request);
    if sender.context().len().is_multiple_of(2) {
        answers = answers.with_batches(Batches { first: 1, never_list: true });
    }
    while let Some(message) = answers.next(&sender) {
        let message = carry(message, Some(answers.begin()));
        let reply = match asks.on_message(&mut map, message, |_| ()).expect("in turn") {
            Step::Reply(reply) | Step::Done { reply: Some(reply) } => reply,
            _ => continue,
        };
        answers.on_message(&mut sender, &carry(reply, None)).expect("in turn");
    }
    assert!(answers.is_finished());
    seen(&map)
}
