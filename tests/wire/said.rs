//! The control channel, on which each message rests on those before it.

use crate::worlds::{NOW, events, world};
use proptest::prelude::*;
use tidings::crdt::{Audit, CausalContext, OrMap, ReplicaId, Retention};
use tidings::proto::codec::{Spoken, decode_control, encode_control};
use tidings::proto::message::{Digest, Hello, Message};

/// One direction of a link: what is said at one end is heard at the other.
#[derive(Default)]
struct Channel {
    said: Spoken,
    heard: Spoken,
}

impl Channel {
    fn carry(&mut self, message: &Message) -> (Message, usize) {
        let before = self.heard.clone();
        let frame = encode_control(message, &mut self.said);
        let back = decode_control(&frame, &mut self.heard).unwrap_or_else(|error| panic!("{error}: {message:?}"));
        assert_eq!(self.said, self.heard);
        let mut again = before;
        assert_eq!(encode_control(&back, &mut again), frame, "it has one form only");
        (back, frame.len())
    }
}

fn context(map: &OrMap) -> Message {
    Message::Context { context: map.context().clone(), replace: false }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Pushes and contexts of four replicas in any order, with bases that know more or less than was said.
    #[test]
    fn what_is_said_after_anything_else_arrives(events in events(), order in prop::collection::vec((0..4_usize, 0..4_usize, any::<bool>()), 0..20)) {
        let maps = world(&events);
        let mut channel = Channel::default();
        for (from, to, push) in order {
            if !push {
                let (back, _) = channel.carry(&context(&maps[from]));
                prop_assert_eq!(format!("{back:?}"), format!("{:?}", context(&maps[from])));
                continue;
            }
            let delta = maps[from].delta_since(maps[to].context());
            let (back, _) = channel.carry(&Message::Push(delta.clone()));
            let Message::Push(back) = back else { panic!("a push became something else") };
            prop_assert_eq!((back.base(), back.snapshot()), (delta.base(), delta.snapshot()));
            prop_assert_eq!(back.entries().contexts(), delta.entries().contexts());
            prop_assert!(back.entries().keys().eq(delta.entries().keys()));
        }
    }

    /// With two bytes of a sum one in 65,536 would be taken; these are the same in each run.
    #[test]
    fn a_channel_that_has_lost_a_message_is_found_out(events in events()) {
        let maps = world(&events);
        let mut channel = Channel::default();
        for map in &maps {
            let lost = encode_control(&context(map), &mut channel.said);
            let next = encode_control(&context(&maps[0]), &mut channel.said);
            let nothing_lost = channel.heard.context() == map.context();
            let before = channel.heard.clone();
            let heard = decode_control(&next, &mut channel.heard);
            if !nothing_lost {
                prop_assert!(heard.is_err(), "{:?} heard after {:?} was lost", heard, map.context());
                prop_assert_eq!(&channel.heard, &before, "and nothing has changed");
                decode_control(&lost, &mut channel.heard).expect("it is what was said first");
                decode_control(&next, &mut channel.heard).expect("and then this");
            }
        }
    }
}

fn map_of(writers: u128) -> OrMap {
    let mut map = OrMap::new(ReplicaId::from(1));
    let others: CausalContext = (2..=writers).map(|id| (ReplicaId::from(id << 64), 1_000)).collect();
    map.incorporate(&others);
    (0..100_u32).for_each(|i| {
        map.put(format!("a key of some {i:02}").as_bytes(), [b'v'; 64], NOW);
    });
    map
}

#[test]
fn what_did_not_change_costs_nothing_however_many_replicas_there_are() {
    let sizes = [1, 10, 1_000].map(|writers| {
        let mut map = map_of(writers);
        let mut channel = Channel::default();
        channel.carry(&context(&map));
        let (_, again) = channel.carry(&context(&map));
        let base = map.context().clone();
        map.put(b"a key of some 07", [b'n'; 64], NOW + 5);
        let (_, push) = channel.carry(&Message::Push(map.named_delta_within(&base, usize::MAX).expect("a push")));
        let (_, empty) = channel.carry(&Message::Push(map.named_delta_within(map.context(), 1_000).expect("a push")));
        (again, push, empty)
    });
    assert_eq!(sizes[0], sizes[1]);
    let (again, push, empty) = sizes[2];
    assert_eq!((again, empty), (5, 6));
    // Numbers of places have a byte more among a thousand.
    assert!(push <= sizes[0].1 + 4 && push <= 95, "{sizes:?}");
}

#[test]
fn digests_and_goodbyes_say_nothing_that_others_rest_on() {
    let mut channel = Channel::default();
    channel.carry(&context(&map_of(3)));
    let before = channel.said.clone();
    let audit = Audit { context: u64::MAX, state: 1, pending: 0 };
    let (_, digest) = channel.carry(&Message::Digest(Digest { audit, reply: true }));
    channel.carry(&Message::Goodbye { left: false });
    assert_eq!((channel.said.context(), digest), (before.context(), 18));
}

fn hello(map: &OrMap) -> Hello {
    Hello {
        cluster: [0; 16],
        replica: map.id(),
        boot: 0,
        name: String::new(),
        address: String::new(),
        audit: map.audit(),
        bound: map.bound_sum(),
        ask: tidings::proto::message::Ask::Active,
        features: 0,
    }
}

#[test]
fn after_equal_hellos_both_begin_with_what_both_have() {
    let mut anna = map_of(50);
    let mut boris = OrMap::new(ReplicaId::from(2));
    anna.delete(b"a key of some 11", NOW + 1);
    let _ = boris.merge(anna.delta_since(boris.context()));
    for map in [&mut anna, &mut boris] {
        map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW + 2);
        assert!(!map.truncated().is_empty());
    }
    let (from_anna, from_boris) = (hello(&anna), hello(&boris));
    let begin = |sent: &Hello, received: &Hello, map: &OrMap| {
        Spoken::after_hellos(sent, received, map.context(), map.truncated())
    };
    let said = begin(&from_anna, &from_boris, &anna);
    let heard = begin(&from_boris, &from_anna, &boris);
    assert_eq!(said, heard);
    let base = anna.context().clone();
    anna.put(b"a key of some 07", [b'n'; 64], NOW + 5);
    let push = Message::Push(anna.named_delta_within(&base, usize::MAX).expect("a push"));
    let (_, first) = Channel { said: said.clone(), heard }.carry(&push);
    assert!(first <= 95, "{first} bytes for the first push after both hellos");
    // Of unequal sums nothing is taken for known.
    let (_, anew) = Channel::default().carry(&push);
    assert!(anew > 50 * 17, "{anew}");
    let (written, sides) = (hello(&anna), (anna.context(), anna.truncated()));
    assert_eq!(Spoken::after_hellos(&written, &from_boris, sides.0, sides.1), Spoken::default());
    // The bounds may differ though the contexts do not: tombstones are dropped by each for itself.
    let mut other = from_boris.clone();
    other.bound = 77;
    assert_eq!(begin(&from_anna, &other, &boris).context(), said.context());
    assert_eq!(begin(&from_anna, &from_boris, &boris).bound(), boris.truncated());
    assert!(begin(&from_anna, &other, &boris).bound().is_empty());
}
