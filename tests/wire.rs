//! The bytes of messages and deltas: what was said is what arrives, equal things have equal bytes, and whatever else
//! arrives is refused or is a message; never a panic. The bytes themselves are held by `proto-docs/vectors`.

#[path = "wire/compressed.rs"]
mod compressed;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/names.rs"]
mod names;
#[path = "wire/said.rs"]
mod said;
#[path = "wire/vectors.rs"]
mod vectors;
#[path = "wire/worlds.rs"]
mod worlds;

use bytes::Bytes;
use hostile::{Raw, hostile};
use proptest::prelude::*;
use tidings::crdt::{Audit, CausalContext, DotSet, Key, KeyList, OrMap, ReplicaId, Symbol};
use tidings::proto::DecodeError;
use tidings::proto::codec::{FRAME_BYTES_MAX, decode, encode};
use tidings::proto::membership::{Contact, Descriptor};
use tidings::proto::message::{
    Ask, Begin, Beginning, Changes, Digest, Hello, Message, Part, Piece, Pull, Shuffle, Symbols, Told,
};
use tidings::{Delta, Dot};
use worlds::{NOW, after_merge, events, pull, world};

// ---- what was said is what arrives --------------------------------------------------------------------------------

/// There and back, and the bytes of what came back are the same again.
fn carried(message: &Message, begun: Option<&Begin>) -> Message {
    let frame = encode(message, begun);
    let back = decode(&frame, begun).unwrap_or_else(|error| panic!("{error}: {message:?}"));
    assert_eq!(encode(&back, begun), frame);
    back
}

fn carried_delta(delta: &Delta) -> Delta {
    let bytes = delta.encode();
    let back = Delta::decode(&bytes).unwrap_or_else(|error| panic!("{error}: {delta:?}"));
    assert_eq!(back.encode(), bytes);
    assert_eq!((back.base(), back.snapshot()), (delta.base(), delta.snapshot()));
    let (one, other): (Vec<_>, Vec<_>) = (back.entries().contexts().to_vec(), delta.entries().contexts().to_vec());
    assert_eq!(one, other);
    assert!(back.entries().keys().eq(delta.entries().keys()));
    back
}

/// The messages that say all of themselves when printed.
#[track_caller]
fn assert_carried(message: &Message) {
    assert_eq!(format!("{:?}", carried(message, None)), format!("{message:?}"));
}

fn id() -> impl Strategy<Value = ReplicaId> {
    prop_oneof![any::<u128>(), 0..3_u128].prop_map(ReplicaId::from)
}

fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![1..1_u64 << 56, 1..300_u64, (0..56_u32).prop_map(|bit| 1 << bit)]
}

fn context() -> impl Strategy<Value = CausalContext> {
    prop::collection::vec((id(), counter()), 0..6).prop_map(|clocks| clocks.into_iter().collect())
}

fn dot_set() -> impl Strategy<Value = DotSet> {
    prop::collection::vec((id(), counter(), prop_oneof![0..3_u64, 0..1000_u64]), 0..12).prop_map(|intervals| {
        let mut set = DotSet::new();
        for (replica, first, more) in intervals {
            set.insert_range(replica, first, (first + more).min((1 << 56) - 1));
        }
        set
    })
}

fn audit() -> impl Strategy<Value = Audit> {
    (any::<u64>(), 0..600_u64, any::<u64>()).prop_map(|(context, state, pending)| Audit { context, state, pending })
}

fn symbols() -> impl Strategy<Value = Symbols> {
    let symbol = any::<(u64, u32, u8)>().prop_map(|(sum, check, count)| Symbol { sum, check, count });
    (any::<u64>(), prop::collection::vec(symbol, 1..20)).prop_map(|(total, symbols)| Symbols { total, symbols })
}

/// Elements in their order, some of them near each other.
fn elements() -> impl Strategy<Value = Vec<u64>> {
    let element = prop_oneof![any::<u64>(), 0..50_u64, (0..4_u64).prop_map(|i| u64::MAX - i)];
    prop::collection::btree_set(element, 0..10).prop_map(|set| set.into_iter().collect())
}

fn pull_message() -> impl Strategy<Value = Message> {
    let told = prop_oneof![
        (elements(), elements()).prop_map(|(context, bound)| Told::Clocks { context, bound }),
        (any::<u64>(), symbols()).prop_map(|(check, symbols)| Told::Coded { check, symbols }),
        (context(), context()).prop_map(|(context, bound)| Told::Whole { context, bound }),
    ];
    let partial = prop::collection::btree_map((id(), counter()), any::<u64>(), 0..4);
    (told, dot_set(), any::<(bool, bool)>(), partial).prop_map(|(told, have, (catch_up, by_key), partial)| {
        let partial = partial.into_iter().map(|((id, counter), bytes)| (Dot::new(id, counter), bytes)).collect();
        Message::Pull(Pull { told, have, catch_up, by_key, partial })
    })
}

fn changes() -> impl Strategy<Value = Changes> {
    let clocks = prop::collection::btree_map(0..1_u32 << 20, any::<i64>(), 0..6);
    (clocks, context()).prop_map(|(clocks, new)| Changes {
        clocks: clocks.into_iter().collect(),
        new: new.iter().map(|dot| (dot.replica, dot.counter)).collect(),
    })
}

fn beginning() -> impl Strategy<Value = Message> {
    let placed = prop::collection::btree_map(0..100_u32, counter(), 0..6);
    (any::<bool>(), changes(), changes(), placed).prop_map(|(catch_up, snapshot, bound, placed)| {
        let bound_in_snapshot = placed.into_iter().collect();
        Message::Begin(Beginning { catch_up, snapshot, bound, bound_in_snapshot })
    })
}

fn message_without_entries() -> impl Strategy<Value = Message> {
    let ask = prop_oneof![Just(Ask::Passing), Just(Ask::Active), Just(Ask::Urgent)];
    let hello = (any::<[u8; 16]>(), id(), any::<u64>(), ".{0,40}", ".{0,40}", audit(), any::<u64>(), ask, 0..4_u64)
        .prop_map(|(cluster, replica, boot, name, address, audit, bound, ask, features)| {
            Message::Hello(Hello { cluster, replica, boot, name, address, audit, bound, ask, features })
        });
    let contact = (id(), ".{1,40}").prop_map(|(id, address)| Contact { id, address });
    let descriptor = (contact, any::<u32>()).prop_map(|(peer, age)| Descriptor { peer, age });
    let shuffle = (prop::collection::vec(descriptor, 0..16), any::<bool>())
        .prop_map(|(descriptors, reply)| Message::Shuffle(Shuffle { descriptors, reply }));
    let piece = (id(), counter(), 0..1_u64 << 31, prop::collection::vec(any::<u8>(), 1..100), 0..1_u64 << 30).prop_map(
        |(replica, counter, offset, bytes, more)| {
            let total = offset + bytes.len() as u64 + more;
            Message::Piece(Piece { dot: Dot::new(replica, counter), total, offset, bytes: bytes.into() })
        },
    );
    prop_oneof![
        hello,
        piece,
        shuffle,
        Just(Message::Surplus),
        Just(Message::Prune),
        Just(Message::Graft),
        (audit(), any::<bool>()).prop_map(|(audit, reply)| Message::Digest(Digest { audit, reply })),
        (context(), any::<bool>()).prop_map(|(context, replace)| Message::Context { context, replace }),
        any::<bool>().prop_map(|left| Message::Goodbye { left }),
        pull_message(),
        beginning(),
        symbols().prop_map(Message::Symbols),
        any::<(u64, u64)>().prop_map(|(symbols, differences)| Message::More { symbols, differences }),
        (context(), context()).prop_map(|(context, bound)| Message::Contexts { context, bound }),
        Just(Message::Decoded),
        (dot_set(), any::<bool>()).prop_map(|(part, last)| Message::Live(Part { part, last })),
        context().prop_map(|bound| Message::Done { bound }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn messages_without_entries_arrive_as_they_were_sent(message in message_without_entries()) {
        assert_carried(&message);
    }

    /// Whatever the two contexts are: the bound at the end is told as a change of the one at the beginning.
    #[test]
    fn a_bound_arrives_whatever_it_is_told_against(bound in context(), at_first in context()) {
        let begin = Begin { bound: at_first, ..Begin::default() };
        let Message::Done { bound: back } = carried(&Message::Done { bound: bound.clone() }, Some(&begin)) else {
            panic!("Done became something else")
        };
        prop_assert_eq!(back, bound);
    }

    #[test]
    fn a_delta_does_the_same_after_the_wire(events in events()) {
        let maps = world(&events);
        for (from, to) in pairs(&maps) {
            let delta = from.delta_since(to.context());
            let back = carried_delta(&delta);
            for third in &maps {
                prop_assert_eq!(after_merge(third, delta.clone()), after_merge(third, back.clone()));
            }
            let push = carried(&Message::Push(delta.clone()), None);
            let Message::Push(pushed) = push else { panic!("a push became something else") };
            prop_assert_eq!(after_merge(to, delta), after_merge(to, pushed));
        }
    }

    #[test]
    fn a_pull_does_the_same_over_the_wire(events in events(), catch_up in any::<bool>()) {
        let maps = world(&events);
        for (from, to) in pairs(&maps) {
            let over_the_wire = pull(from, to, catch_up, |message, begun| carried(&message, begun));
            prop_assert_eq!(over_the_wire, pull(from, to, catch_up, |message, _| message));
        }
    }
}

fn pairs(maps: &[OrMap]) -> impl Iterator<Item = (&OrMap, &OrMap)> {
    maps.iter().flat_map(move |from| maps.iter().map(move |to| (from, to)))
}

/// The base has writes that the sender lacks: they must not become part of what its entries claim to have seen.
#[test]
fn a_concurrent_value_survives_a_delta_that_went_over_the_wire() {
    let (mut anna, mut boris) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    anna.put(b"kettle", b"on", NOW);
    boris.put(b"kettle", b"off", NOW);
    let delta = carried_delta(&boris.delta_since(anna.context()));
    let _ = anna.merge(delta);
    assert_eq!(anna.registers(b"kettle").len(), 2);
}

#[test]
fn the_last_deadline_of_all_arrives() {
    let (mut anna, mut boris) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    anna.put_until(b"lamp", b"lit", u64::MAX, NOW);
    let _ = boris.merge(carried_delta(&anna.delta_since(boris.context())));
    assert_eq!(boris.registers(b"lamp"), anna.registers(b"lamp"));
    assert_eq!(boris.audit(), anna.audit());
}

/// All of it is in runs: the shortest frame that so many registers can have.
#[test]
fn a_hundred_deletes_of_one_key_at_one_moment_arrive() {
    let mut all = OrMap::new(ReplicaId::from(1));
    all.put(b"k", b"v", NOW);
    let start = all.delta_since(&CausalContext::new());
    for i in 0..100 {
        let mut other = OrMap::new(ReplicaId::from(100 + i));
        let _ = other.merge(start.clone());
        other.delete(b"k", NOW + 1);
        let _ = all.merge(other.delta_since(all.context()));
    }
    assert_eq!(all.registers(b"k").len(), 100);
    let known: CausalContext = all.context().clone();
    let mut keys = KeyList::new();
    keys.push(Key::usr(b"k"));
    let mut builder = tidings::crdt::EntriesBuilder::default();
    builder.push(&all, Key::usr(b"k"));
    let begin = Begin { snapshot: known, ..Begin::default() };
    let chunk = Message::Chunk(builder.finish());
    let Message::Chunk(back) = carried(&chunk, Some(&begin)) else { panic!("a chunk became something else") };
    let mut fresh = OrMap::new(ReplicaId::from(2));
    let _ = fresh.join_entries(&back, |_| ());
    assert_eq!(fresh.registers(b"k"), all.registers(b"k"));
    carried_delta(&all.delta_since(&CausalContext::new()));
}

#[test]
fn keys_and_values_of_any_length_arrive() {
    let mut anna = OrMap::new(ReplicaId::from(1));
    for (i, length) in [1, 127, 128, 1000, Key::BYTES_MAX].into_iter().enumerate() {
        anna.put(&vec![i as u8; length], vec![7; length * 3], NOW);
        anna.put(&vec![100 + i as u8; length], b"", NOW);
    }
    let mut boris = OrMap::new(ReplicaId::from(2));
    let _ = boris.merge(carried_delta(&anna.delta_since(boris.context())));
    assert_eq!(boris.audit(), anna.audit());
    assert_eq!(boris.get(&vec![4; Key::BYTES_MAX], NOW).map(<[u8]>::len), Some(3 * Key::BYTES_MAX));
}

#[test]
fn a_library_delta_may_have_more_entries_than_a_frame() {
    let mut anna = OrMap::new(ReplicaId::from(1));
    for i in 0..70_000_u32 {
        anna.put(&i.to_be_bytes(), b"v", NOW);
    }
    let delta = anna.delta_since(&CausalContext::new());
    assert_eq!(carried_delta(&delta).entries().len(), 70_000);
    let refused = decode(&encode(&Message::Push(delta), None), None).unwrap_err();
    assert!(matches!(refused, DecodeError::TooLarge { what: "entries", got: 70_000, max: 65_536 }), "{refused:?}");
}

// ---- what no node sends is refused --------------------------------------------------------------------------------

/// What is accepted at all is the one form of what it says.
fn refused_or_canonical(frame: &Bytes, begun: Option<&Begin>) -> Option<Message> {
    let message = decode(frame, begun).ok()?;
    assert_eq!(encode(&message, begun), frame, "{message:?}");
    Some(message)
}

fn delta_refused_or_canonical(bytes: &[u8]) -> Option<Delta> {
    let delta = Delta::decode(bytes).ok()?;
    assert_eq!(delta.encode(), bytes, "{delta:?}");
    Some(delta)
}

/// Whatever decodes can be merged; a second time it changes nothing; and what the map then says can be read by others.
///
/// Only a delta that says two things of one key under one context may well change something the second time: no map makes
/// it, and whoever does could as well send two deltas.
fn mergeable(map: &OrMap, delta: &Delta) {
    let mut map = map.clone();
    let _ = map.merge(delta.clone());
    let audit = map.audit();
    let again = map.merge(delta.clone());
    let keys: std::collections::BTreeSet<Key<'_>> = delta.entries().keys().collect();
    if keys.len() == delta.entries().len() {
        assert!(again.changes.is_empty(), "{delta:?}");
        assert_eq!(map.audit(), audit, "{delta:?}");
    }
    carried_delta(&map.delta_since(&CausalContext::new()));
}

#[test]
fn hostile_frames_are_refused_with_their_reason() {
    let begin = hostile::begin();
    for case in hostile() {
        let refused = decode(&case.bytes.into(), Some(&begin)).expect_err(case.name);
        assert!(refused.to_string().contains(case.says), "{}: {refused}", case.name);
    }
}

#[test]
fn a_frame_is_not_longer_than_the_longest() {
    let frame = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    assert!(matches!(decode(&frame, None), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn a_large_context_that_is_told_again_and_again_is_refused() {
    let (begin, few) = hostile::amplified(1000, 500);
    assert!(decode(&few.into(), Some(&begin)).is_ok());
    let (begin, many) = hostile::amplified(1000, 600);
    let refused = decode(&many.into(), Some(&begin)).unwrap_err();
    assert!(refused.to_string().contains("clocks of contexts"), "{refused}");
}

/// Every frame of a small world, with its `Begin`.
fn frames(events: &[worlds::Event]) -> Vec<(Bytes, Option<Begin>)> {
    let mut frames = Vec::new();
    let maps = world(events);
    for (from, to) in pairs(&maps) {
        pull(from, to, true, |message, begun| {
            frames.push((encode(&message, begun), begun.cloned()));
            message
        });
        frames.push((encode(&Message::Push(from.delta_since(to.context())), None), None));
    }
    frames
}

/// Other bytes that are worth trying in a place.
fn others(byte: u8) -> impl Iterator<Item = u8> {
    let set = [0, 1, 2, 0x7f, 0x80, 0xff, byte ^ 1, byte ^ 0x80, byte.wrapping_add(1), byte.wrapping_sub(1)];
    set.into_iter().filter(move |other| *other != byte)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_frame_with_any_byte_changed_is_refused_or_another_message(events in events(), pick in any::<prop::sample::Index>()) {
        let frames = frames(&events);
        let (frame, begun) = pick.get(&frames);
        for at in 0..frame.len() {
            for byte in others(frame[at]) {
                let mut changed = frame.to_vec();
                changed[at] = byte;
                refused_or_canonical(&changed.into(), begun.as_ref());
            }
        }
    }

    #[test]
    fn a_frame_cut_short_or_extended_is_refused(events in events(), pick in any::<prop::sample::Index>(), more in any::<u8>()) {
        let frames = frames(&events);
        let (frame, begun) = pick.get(&frames);
        for end in 0..frame.len() {
            prop_assert!(decode(&frame.slice(..end), begun.as_ref()).is_err(), "cut after {end} bytes of {frame:?}");
        }
        let mut extended = frame.to_vec();
        extended.push(more);
        prop_assert_eq!(decode(&extended.into(), begun.as_ref()).unwrap_err(), DecodeError::Trailing(1));
    }

    #[test]
    fn a_delta_with_any_byte_changed_can_be_merged_or_is_refused(events in events(), to in 0..4_usize) {
        let maps = world(&events);
        let bytes = maps[0].delta_since(maps[to].context()).encode();
        for at in 0..bytes.len() {
            for byte in others(bytes[at]) {
                let mut changed = bytes.to_vec();
                changed[at] = byte;
                if let Some(delta) = delta_refused_or_canonical(&changed) {
                    mergeable(&maps[to], &delta);
                }
            }
        }
    }
}

/// Few different bytes, so that counts and runs fit by chance.
fn plausible_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0..4_u8, 2 => 4..16_u8, 1 => any::<u8>()];
    prop::collection::vec(byte, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn arbitrary_bytes_are_refused_or_a_message(kind in 0..hostile::KINDS_END, bytes in plausible_bytes()) {
        refused_or_canonical(&Raw::kind(kind).bytes(&bytes).0.into(), None);
        refused_or_canonical(&Raw::kind(kind).bytes(&bytes).0.into(), Some(&hostile::begin()));
        refused_or_canonical(&bytes.clone().into(), None);
        if let Some(delta) = delta_refused_or_canonical(&Raw::kind(1).bytes(&bytes).0) {
            mergeable(&OrMap::new(ReplicaId::from(1)), &delta);
        }
    }
}

/// One write under two keys, which no replica can have made: with an index that holds it twice, a map would take one
/// entry for the other later on.
#[test]
fn a_dot_that_comes_again_under_another_key_is_not_taken() {
    let (mut anna, mut boris) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    anna.put(b"kettle", b"on", NOW);
    let delta = anna.delta_since(&CausalContext::new());
    let _ = boris.join_entries(delta.entries(), |_| ());
    let mut bytes = delta.encode().to_vec();
    let at = bytes.windows(6).position(|six| six == b"kettle").expect("the key is there");
    bytes[at] = b'm';
    let merged = boris.merge(Delta::decode(&bytes).expect("it is a delta"));
    assert_eq!((merged.received.new, merged.received.void), (0, 1));
    assert_eq!((boris.get(b"mettle", NOW), boris.get(b"kettle", NOW)), (None, Some(&b"on"[..])));
}

#[test]
fn a_delta_of_another_version_is_refused() {
    let mut anna = OrMap::new(ReplicaId::from(1));
    anna.put(b"kettle", b"on", NOW);
    let mut bytes = anna.delta_since(&CausalContext::new()).encode().to_vec();
    bytes[0] = 2;
    assert!(Delta::decode(&bytes).unwrap_err().to_string().contains("another version"));
}

// ---- the bytes themselves -----------------------------------------------------------------------------------------

/// `TIDINGS_WRITE_VECTORS=1 cargo test --test wire` writes them anew: to be done when the format gets a new version.
#[test]
fn the_vectors_hold() {
    vectors::check();
}

/// As most deltas by hand are: one replica id, and little more, beside key and value.
#[test]
fn a_delta_of_one_key_is_small() {
    let mut anna = OrMap::new(ReplicaId::from(1));
    let first = anna.put(b"kettle", b"on", NOW);
    anna.put(b"kettle", b"off", NOW + 1);
    let known: CausalContext = [(first.replica, first.counter)].into_iter().collect();
    let bytes = anna.delta_since(&known).encode();
    assert_eq!(bytes.len() - b"kettleoff".len(), 36);
}
