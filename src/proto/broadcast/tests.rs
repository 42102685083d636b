//! Stories of messages. Ann, Ben and Cas are nodes; what one says the others hear by deltas, which the stories hand over in
//! the order that they want.

use super::*;
use crate::crdt::{Causality, Dot, Key, OrMap};
use crate::proto::config::NodeConfig;
use crate::proto::node::Node;
use crate::proto::time::{Instant, Now};
use message::dot_in;

const START: u64 = crate::crdt::Clock::VALID_FROM_MS;
const TTL_MS: u64 = 1_000;

/// A map with its messages, and whoever is told of them.
struct Teller {
    map: OrMap,
    delivery: Delivery,
    now_ms: u64,
    told: Told,
}

impl Teller {
    fn new(name: u128) -> Self {
        let (map, delivery) = (OrMap::new(ReplicaId::from(name)), Delivery::new(START));
        Self { map, delivery, now_ms: START + 1, told: Told::new() }
    }

    /// Writes a message as a node does; its dot.
    fn say(&mut self, text: &str) -> Dot {
        let own = self.map.id();
        let dot = Dot::new(own, self.map.context().get(own) + 1);
        let known = self.map.get(Key::sys(&count_key(own)), self.now_ms).and_then(Count::from_json);
        let count = known.map_or(Count { since: self.now_ms, sent: 1 }, |c| Count { sent: c.sent + 1, ..c });
        let value = encode(count, self.delivery.causes(self.now_ms), text.as_bytes());
        for (key, value, ttl) in
            [(message_key(dot), value, TTL_MS), (count_key(own), count.to_json(), TTL_MS + 86_400_000)]
        {
            self.map.put_until(Key::sys(&key), value, self.now_ms + ttl, self.now_ms);
            self.delivery.note(&key);
        }
        self.deliver();
        dot
    }

    /// Hears the entry of one message, ahead of all else, as from a sync that is cut off there.
    fn hear_only(&mut self, from: &Self, dot: Dot) {
        let mut entries = crate::crdt::EntriesBuilder::default();
        entries.push(&from.map, Key::sys(&message_key(dot)));
        self.map.join_entries(&entries.finish(), |change| self.delivery.note(&change.key));
        self.deliver();
    }

    fn hear(&mut self, from: &Self) {
        let changes = self.map.merge(from.map.delta_since(self.map.context())).changes;
        changes.iter().for_each(|change| self.delivery.note(&change.key));
        self.deliver();
    }

    fn deliver(&mut self) {
        if self.delivery.is_due(self.map.context()) {
            let moment = Moment { now_ms: self.now_ms, ..Moment::default() };
            self.delivery.deliver(&mut self.map, moment);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.map.set_time(self.now_ms);
    }

    /// What has been delivered, and missed, since the last time.
    fn heard(&mut self) -> Vec<String> {
        let mut listener = Listener::new(&self.delivery, Some(std::mem::take(&mut self.told)));
        let heard = listener.ask_of(&self.map, &self.delivery, 0, self.now_ms);
        self.told = Told::clone(listener.told());
        let text = |heard: &Heard| match heard {
            Heard::Message(message, _) => String::from_utf8_lossy(&message.payload).into_owned(),
            Heard::Missed(count, _) => format!("missed {count}"),
        };
        heard.iter().map(text).collect()
    }

    fn message(&self, dot: Dot) -> Message {
        listener::message(&self.map, dot, self.now_ms).expect("it lives")
    }
}

fn ann_ben_cas() -> [Teller; 3] {
    [1, 2, 3].map(Teller::new)
}

#[test]
fn the_sender_hears_itself_once_and_so_do_the_others() {
    let [mut ann, mut ben, _] = ann_ben_cas();
    ann.say("hello");
    ben.hear(&ann);
    ben.hear(&ann);
    ann.hear(&ben);
    let key = message_key(ben.delivery.log.get(0).expect("one").dot);
    ben.delivery.note(&key);
    ben.deliver();
    assert_eq!(ben.delivery.log.next(), 1, "though it is shown again");
    assert_eq!((ann.heard(), ben.heard()), (vec!["hello".to_owned()], vec!["hello".to_owned()]));
    assert!(ann.heard().is_empty() && ben.heard().is_empty());
}

#[test]
fn a_message_that_comes_before_its_causes_waits_for_them() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    let question = ann.say("question");
    ben.hear(&ann);
    let answer = ben.say("answer");
    ben.say("and more");
    let more = ben.delivery.log.get(2).expect("the third").dot;
    cas.hear_only(&ben, more);
    cas.hear_only(&ben, answer);
    assert!(cas.heard().is_empty());
    assert_eq!(cas.delivery.waiting(), 2);
    cas.hear_only(&ben, answer);
    cas.hear_only(&ann, question);
    assert_eq!(cas.heard(), ["question", "answer", "and more"]);
    cas.hear(&ben);
    assert!(cas.heard().is_empty() && cas.delivery.waiting() == 0);
}

#[test]
fn a_cause_that_is_gone_is_waited_for_no_longer_than_it_might_come() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    ann.say("question");
    ben.hear(&ann);
    ben.pass(TTL_MS - 1);
    let answer = ben.say("answer");
    cas.pass(TTL_MS);
    cas.hear_only(&ben, answer);
    assert!(cas.heard().is_empty(), "it might still come");
    ben.pass(1);
    cas.hear(&ben);
    assert_eq!(cas.heard(), ["answer", "missed 1"]);
}

#[test]
fn who_is_away_for_too_long_learns_how_much_it_has_missed() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    ann.say("first");
    ben.hear(&ann);
    cas.hear(&ann);
    assert_eq!([ben.heard(), cas.heard()], [["first"], ["first"]]);
    for text in ["second", "third"] {
        ann.say(text);
    }
    ann.pass(TTL_MS);
    ann.say("fourth");
    ben.pass(TTL_MS);
    cas.pass(TTL_MS);
    ben.hear(&ann);
    assert_eq!(ben.heard(), ["missed 2", "fourth"]);
    ann.pass(TTL_MS);
    cas.pass(TTL_MS);
    cas.hear(&ann);
    assert_eq!(cas.heard(), ["missed 3"], "nobody sends any more, and all the same it is told");
    cas.hear(&ann);
    assert!(cas.heard().is_empty());
}

#[test]
fn what_was_sent_before_there_was_a_node_is_not_missed() {
    let [mut ann, ..] = ann_ben_cas();
    for text in ["first", "second"] {
        ann.say(text);
    }
    ann.pass(TTL_MS);
    let mut dan = Teller::new(4);
    dan.delivery = Delivery::new(START + 10);
    dan.pass(TTL_MS);
    dan.hear(&ann);
    assert!(dan.heard().is_empty());
    ann.say("third");
    dan.hear(&ann);
    assert_eq!(dan.heard(), ["third"]);
}

#[test]
fn comparing_follows_what_senders_had_heard() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    let one = ann.say("one");
    ben.hear(&ann);
    let two = ben.say("two");
    let three = cas.say("three");
    let four = ann.say("four");
    cas.hear(&ben);
    ann.hear(&cas);
    let compare = |a: Dot, b: Dot| ann.message(a).compare(&ann.message(b));
    assert_eq!([compare(one, two), compare(two, one)], [Causality::Before, Causality::After]);
    assert_eq!([compare(three, one), compare(two, three), compare(two, four)], [Causality::Concurrent; 3]);
    assert_eq!([compare(one, four), compare(one, one)], [Causality::Before, Causality::Equal]);
}

#[test]
fn nothing_in_a_message_grows_with_replicas_that_do_not_send() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    ben.map.put(b"key", b"value", START);
    cas.say("hello");
    ben.hear(&cas);
    ann.hear(&ben);
    let dot = ann.say("only of Cas");
    assert_eq!(ann.message(dot).context.iter().map(|cause| cause.replica).collect::<Vec<_>>(), [cas.map.id()]);
    ann.pass(TTL_MS);
    let dot = ann.say("of nobody");
    assert!(ann.message(dot).context.is_empty());
}

#[test]
fn what_was_delivered_before_a_restart_is_not_delivered_again() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    ann.say("first");
    ben.hear(&ann);
    let second = ben.say("second");
    cas.hear_only(&ben, second);
    cas.hear(&ann);
    assert_eq!(cas.heard(), ["first", "second"]);
    cas.delivery = Delivery::new(START);
    cas.delivery.resume(&mut cas.map, cas.now_ms);
    let live = Listener::new(&cas.delivery, None);
    assert_eq!(live.told().len(), 2);
    assert!(cas.heard().is_empty());
    // A listener that has heard only the first goes on there.
    cas.told.remove(&ben.map.id());
    ann.say("third");
    cas.hear(&ann);
    cas.hear(&ben);
    assert_eq!(cas.heard(), ["second", "third"]);
}

#[test]
fn more_than_may_wait_is_found_when_its_causes_come() {
    let [mut ann, mut ben, mut cas] = ann_ben_cas();
    let first = ann.say("first");
    ben.hear(&ann);
    let all: Vec<Dot> = (0..20).map(|n| ben.say(&n.to_string())).collect();
    cas.delivery.waiting_max = 10;
    all.iter().rev().for_each(|dot| cas.hear_only(&ben, *dot));
    assert!(cas.delivery.waiting() <= 10 && cas.heard().is_empty());
    cas.hear_only(&ann, first);
    cas.hear(&ben);
    let expected: Vec<String> = ["first".to_owned()].into_iter().chain((0..20).map(|n| n.to_string())).collect();
    assert_eq!(cas.heard(), expected);
}

#[test]
fn who_has_heard_more_elsewhere_hears_nothing_twice() {
    let [mut ann, mut ben, _] = ann_ben_cas();
    ann.say("first");
    ben.hear(&ann);
    ann.say("second");
    assert_eq!(ann.heard(), ["first", "second"]);
    ben.told = ann.told.clone();
    assert!(ben.heard().is_empty());
    let told = ben.told.clone();
    ben.hear(&ann);
    ben.told = told;
    ann.say("third");
    ben.hear(&ann);
    assert_eq!(ben.heard(), ["third"]);
}

#[test]
fn what_is_no_message_is_passed_over() {
    let [mut ann, mut ben, _] = ann_ben_cas();
    let own = ann.map.id();
    let key = message_key(Dot::new(own, 1));
    ann.map.put(Key::sys(&key), b"", START);
    ann.map.put(Key::sys(b"events/what"), b"?", START);
    let on_itself = encode(Count { since: 1, sent: 1 }, [(own, 9)].into_iter().collect(), b"");
    ann.map.put(Key::sys(&message_key(Dot::new(own, 3))), on_itself, START);
    ann.map.put(Key::sys(&message_key(Dot::new(own, 3))), b"over it", START);
    ben.hear(&ann);
    assert!(ben.heard().is_empty() && ben.delivery.waiting() == 0);
    assert_eq!(dot_in(&[&key[..], b"0"].concat()).map(|dot| dot.counter), Some(10));
    assert_eq!(dot_in(b"events/00000000000000000000000000000001:01"), None);
    for bytes in [&[][..], &[1], &[2, 0, 1, 0], &[1, 0, 0, 0], &[1, 0, 1, 255, 255, 255, 255, 15]] {
        assert!(Header::decode(Dot::new(own, 1), bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_node_hears_its_own_message() {
    let now = Now { instant: Instant::from_micros(0), wall_ms: START };
    let mut node = Node::new(NodeConfig::new(ReplicaId::from(1)), now);
    let mut listener = node.listen(now, None);
    let large = vec![7; 1 << 20];
    let dot = node.broadcast(now, &large);
    let heard = listener.ask(&node, START);
    let [Heard::Message(message, _)] = &heard[..] else { panic!("{} heard", heard.len()) };
    assert_eq!((message.dot, &message.payload[..]), (dot, &large[..]));
    assert!(listener.ask(&node, START).is_empty());
}
