//! Entries named by what they replace, and values given in pieces, over the wire.

use crate::worlds::{NOW, events, seen, world};
use crate::{carried, pairs};
use bytes::Bytes;
use proptest::prelude::*;
use tidings::crdt::{CausalContext, Entries, EntriesBuilder, Key, OrMap, ReplicaId, Retention, Unresolved};
use tidings::proto::assembly::{Assembly, PIECE_BYTES, Pieces};
use tidings::proto::codec::{decode, encode};
use tidings::proto::message::{Begin, Message};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever has happened before: it does the same as by key, or nothing at all, and the receiver knows which.
    #[test]
    fn a_named_push_does_what_one_by_key_does_or_nothing(events in events()) {
        let maps = world(&events);
        for (from, to) in pairs(&maps) {
            let (Some(named), Some(by_key)) = (
                from.named_delta_within(to.context(), usize::MAX),
                from.delta_within(to.context(), usize::MAX),
            ) else { continue };
            let Message::Push(named) = carried(&Message::Push(named), None) else { panic!("a push became another") };
            let (mut one, mut other) = (to.clone(), to.clone());
            one.set_time(NOW + 100);
            other.set_time(NOW + 100);
            if one.merge(named).unresolved {
                prop_assert_eq!(seen(&one), seen(to));
            } else {
                let _ = other.merge(by_key);
                prop_assert_eq!(seen(&one), seen(&other));
            }
        }
    }
}

const KEYS: [&[u8]; 4] =
    [b"the first of all keys", b"the second of them", b"a third one of these", b"and one more of them"];

fn two() -> (OrMap, OrMap) {
    let (mut anna, mut boris) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    for key in &KEYS[..3] {
        anna.put(*key, b"old", NOW);
    }
    let _ = boris.merge(anna.delta_since(boris.context()));
    (anna, boris)
}

/// A chunk of these keys as a pull tells it to one that has said it has `base`.
fn chunk(map: &OrMap, base: &CausalContext) -> (Entries, Begin) {
    let mut builder = EntriesBuilder::default().naming(base.clone());
    KEYS.iter().for_each(|key| builder.push(map, Key::usr(key)));
    (builder.finish(), Begin { snapshot: map.context().clone(), ..Begin::default() })
}

/// An overwrite, a delete, what has not changed, and a key that is new.
#[test]
fn a_chunk_has_names_and_keys_beside_each_other() {
    let (mut anna, mut boris) = two();
    anna.put(KEYS[0], b"new", NOW + 1);
    anna.delete(KEYS[1], NOW + 1);
    anna.put(KEYS[3], b"new", NOW + 1);
    let (entries, begin) = chunk(&anna, boris.context());
    assert_eq!((entries.named(), entries.len()), (3, 4));
    let Message::Chunk(entries) = carried(&Message::Chunk(entries), Some(&begin)) else { panic!("another message") };
    let entries = boris.resolve(entries).expect("all names are live here");
    let keys: Vec<_> = entries.keys().map(|key| key.bytes.to_vec()).collect();
    assert_eq!(keys, KEYS);
    let _ = boris.join_entries(&entries, |_| ());
    boris.incorporate(&begin.snapshot);
    assert_eq!(boris.audit(), anna.audit());
}

#[test]
fn a_chunk_with_a_name_that_is_gone_at_the_receiver_is_refused_whole() {
    let (mut anna, mut boris) = two();
    for key in &KEYS[..3] {
        anna.put(*key, b"new", NOW + 1);
    }
    boris.put(KEYS[1], b"at the same time", NOW + 1);
    boris.delete(KEYS[2], NOW + 1);
    boris.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW + 2);
    let (entries, _) = chunk(&anna, boris.context());
    assert_eq!(boris.resolve(entries), Err(Unresolved));
}

#[test]
fn a_library_delta_stands_alone() {
    let (mut anna, boris) = two();
    anna.put(KEYS[0], b"new", NOW + 1);
    let delta = anna.delta_within(boris.context(), usize::MAX).expect("no catch-up");
    assert_eq!(delta.entries().named(), 0);
    let named = anna.named_delta_within(boris.context(), usize::MAX).expect("no catch-up");
    // The bytes of a push, as those of a delta: its version for the kind, and without the two bytes of the sum. The base
    // is told by the id of its one replica, which takes 19 bytes with the flags.
    let push = encode(&Message::Push(named), None);
    let as_delta = [&[1], &push[1..24], &push[26..]].concat();
    let refused = tidings::Delta::decode(&as_delta).unwrap_err();
    assert!(refused.to_string().contains("where it stands alone"), "{refused}");
}

/// Two large values and a small one: pieces first, with a cut between them, and then the entries.
#[test]
fn large_values_arrive_in_pieces_over_a_cut() {
    let mut anna = OrMap::new(ReplicaId::from(1));
    let large = [vec![7; PIECE_BYTES * 3 + 1], vec![9; PIECE_BYTES + 1]];
    anna.put(b"film", &large[0], NOW);
    anna.put_until(b"song", &large[1], NOW + 1_000_000, NOW);
    anna.put(b"note", b"short", NOW);
    let mut builder = EntriesBuilder::default().without_values_beyond(PIECE_BYTES);
    [&b"film"[..], b"song", b"note"].into_iter().for_each(|key| builder.push(&anna, Key::usr(key)));
    let mut assembly = Assembly::default();
    let values = builder.large();
    let (entries, begin) = (builder.finish(), Begin { snapshot: anna.context().clone(), ..Begin::default() });
    let mut send = |at: usize, from: u64, count: usize| {
        let (dot, value) = values[at].clone();
        for piece in Pieces::new(dot, value, from).take(count) {
            let Message::Piece(piece) = carried(&Message::Piece(piece), None) else { panic!("another message") };
            assembly.take(&piece).expect("it fits");
        }
        assembly.partial()
    };
    let partial = send(0, 0, 2);
    assert_eq!(partial, [(values[0].0, 2 * PIECE_BYTES as u64)]);
    send(0, partial[0].1, 9);
    send(1, 0, 9);
    let Message::Chunk(entries) = carried(&Message::Chunk(entries), Some(&begin)) else { panic!("another message") };
    assert!(!entries.is_whole());
    let mut boris = OrMap::new(ReplicaId::from(2));
    assert_eq!(boris.resolve(entries.clone()), Err(Unresolved), "the values are elsewhere");
    let entries = boris.resolve(assembly.complete(entries).expect("all is there")).expect("it has its keys");
    let _ = boris.join_entries(&entries, |_| ());
    boris.incorporate(&begin.snapshot);
    assert_eq!((boris.audit(), boris.registers(b"song")), (anna.audit(), anna.registers(b"song")));
}

/// A hostile sender's, or one's that has lost count: no entry counts without its value.
#[test]
fn an_entry_that_comes_before_its_value_is_not_joined() {
    let mut anna = OrMap::new(ReplicaId::from(1));
    anna.put(b"film", [7; 100], NOW);
    let mut builder = EntriesBuilder::default().without_values_beyond(50);
    builder.push(&anna, Key::usr(b"film"));
    let begin = Begin { snapshot: anna.context().clone(), ..Begin::default() };
    let frame: Bytes = encode(&Message::Chunk(builder.finish()), Some(&begin));
    let Ok(Message::Chunk(entries)) = decode(&frame, Some(&begin)) else { panic!("it decodes") };
    assert!(Assembly::default().complete(entries.clone()).is_err());
    assert_eq!(OrMap::new(ReplicaId::from(2)).resolve(entries), Err(Unresolved));
}
