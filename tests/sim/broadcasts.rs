//! Messages from many nodes at once, while links are slow and break, a node crashes and another is cut off. Not responsible
//! for the map: nobody looks at it here.
//!
//! The oracle notes of each message which ones its sender had been told of when it was sent. What is demanded: every node is
//! told of every message once, of none before those; and any two compare as that says.

use crate::dice::{Dice, for_each_seed};
use crate::disk::Fault;
use crate::timed::{Path, Timed};
use std::collections::BTreeMap;
use tidings::proto::broadcast::{Heard, Listener, Message, Told};
use tidings::proto::config::NodeConfig;
use tidings::{Causality, Dot};

/// What the oracle knows of a message.
struct Sent {
    message: Option<Message>,
    /// By the number of each message, whether the sender had been told of it.
    before: Vec<bool>,
}

/// Whoever listens at a node.
struct Ear {
    listener: Listener,
    /// By the number of the message.
    told: Vec<bool>,
    missed: u64,
}

struct Run<'d> {
    timed: Timed<'d>,
    ears: Vec<Ear>,
    sent: Vec<Sent>,
    numbers: BTreeMap<Dot, usize>,
}

impl<'d> Run<'d> {
    /// The first node's state is kept on a disk. Each joins some others.
    fn new(dice: &'d mut Dice, nodes: usize, config: impl Fn(&mut NodeConfig)) -> Self {
        let mut timed = Timed::new(dice, 0);
        timed.world.unwatched = true;
        for who in 0..nodes {
            let set = |own: &mut NodeConfig| {
                config(own);
                own.join = [1, 3, 7].map(|step| crate::world::address((who + step) % nodes)).to_vec();
            };
            if who == 0 {
                timed.add_kept(0, set)
            } else {
                timed.add(0, set)
            };
        }
        let listen =
            |who| Ear { listener: timed.act(who, |node, now| node.listen(now, None)), told: Vec::new(), missed: 0 };
        let ears = (0..nodes).map(listen).collect();
        Self { timed, ears, sent: Vec::new(), numbers: BTreeMap::new() }
    }

    fn dice(&mut self) -> &mut Dice {
        self.timed.dice
    }

    fn listen(&mut self, who: usize) {
        let now_ms = self.timed.world.members[who].now.wall_ms;
        self.ears[who].told.resize(self.sent.len(), false);
        loop {
            let heard = self.ears[who].listener.ask(self.timed.node(who), now_ms);
            if heard.is_empty() {
                return;
            }
            heard.into_iter().for_each(|heard| self.hear(who, heard));
        }
    }

    fn hear(&mut self, who: usize, heard: Heard) {
        let ear = &mut self.ears[who];
        let message = match heard {
            Heard::Missed(count, _) => return ear.missed += count,
            Heard::Message(message, _) => message,
        };
        let number = self.numbers[&message.dot];
        assert!(!ear.told[number], "node {who} is told of message {number} a second time");
        ear.told[number] = true;
        let before = &self.sent[number].before;
        let early = before.iter().zip(&ear.told).position(|(before, told)| *before && !told);
        let is_missed = ear.missed > 0;
        assert!(early.is_none() || is_missed, "node {who} is told of message {number} before its cause {early:?}");
        self.sent[number].message.get_or_insert(message);
    }

    fn listen_all(&mut self) {
        (0..self.ears.len()).for_each(|who| self.listen(who));
    }

    /// One of them sends, unless what it has delivered is not durable yet: its ear is then behind it.
    fn send_any(&mut self, bytes: usize) {
        let nodes = self.ears.len();
        let who = self.dice().below(nodes);
        if !self.timed.world.is_committing(who) {
            self.send(who, bytes);
        }
    }

    fn send(&mut self, who: usize, bytes: usize) -> Dot {
        self.listen(who);
        let before = self.ears[who].told.clone();
        let payload = vec![self.sent.len() as u8; bytes];
        let dot = self.timed.act(who, |node, now| node.broadcast(now, &payload));
        self.numbers.insert(dot, self.sent.len());
        self.sent.push(Sent { message: None, before });
        dot
    }

    fn step(&mut self, bytes: usize) {
        self.send_any(bytes);
        let slow = Path { delay_us: 50_000, jitter_us: 200_000, ..Path::default() };
        self.timed.path = if self.dice().percent(20) { slow } else { Path::default() };
        if self.dice().percent(20) {
            self.timed.reset_a_link();
        }
        let time = self.dice().below(20) as u64;
        self.timed.run_for(time);
        self.listen_all();
    }

    /// The node starts anew with what is on its disk, which has all that it was asked to send; who has listened goes on after
    /// what it was told.
    fn crash(&mut self, who: usize) {
        while self.timed.world.is_committing(who) {
            self.timed.run_for(1);
        }
        self.listen(who);
        let told = Told::clone(self.ears[who].listener.told());
        self.timed.crash(who);
        self.ears[who].listener = self.timed.act(who, |node, now| node.listen(now, Some(told)));
    }

    /// How any two messages are related, by what their senders had been told of.
    fn compare_all(&self) {
        for (one, first) in self.sent.iter().enumerate() {
            for (other, second) in self.sent.iter().enumerate() {
                let (Some(a), Some(b)) = (&first.message, &second.message) else { continue };
                let has = |sent: &Sent, number: usize| sent.before.get(number) == Some(&true);
                let expected = match (has(second, one), has(first, other)) {
                    _ if one == other => Causality::Equal,
                    (true, _) => Causality::Before,
                    (_, true) => Causality::After,
                    _ => Causality::Concurrent,
                };
                assert_eq!(a.compare(b), expected, "messages {one} and {other}");
            }
        }
    }

    fn all_are_told(&self) -> bool {
        let all = |ear: &Ear| ear.told.len() == self.sent.len() && ear.told.iter().all(|told| *told);
        self.ears.iter().all(all)
    }
}

/// A thousand messages of 1 byte to 1 MiB from twenty nodes.
#[test]
fn every_message_once_at_every_node_and_causes_first() {
    const MESSAGES: usize = 1_000;
    for_each_seed(1, |dice| {
        let mut run = Run::new(dice, 20, |_| {});
        run.timed.run_for(3_000);
        while run.sent.len() < MESSAGES {
            let bytes = match run.dice().below(1_000) {
                0..3 => 1 << 20,
                3..20 => 1 + run.dice().below(1 << 16),
                _ => 1 + run.dice().below(200),
            };
            let before = run.sent.len();
            run.step(bytes);
            match run.sent.len() {
                now if now == before => {}
                300 => run.timed.isolate(5),
                500 => run.crash(0),
                600 => run.timed.mend_all(),
                _ => {}
            }
        }
        let end = run.timed.now_ms() + 120_000;
        while !run.all_are_told() {
            assert!(run.timed.now_ms() < end, "not all messages are everywhere after two minutes");
            run.timed.run_for(200);
            run.listen_all();
        }
        assert!(run.ears.iter().all(|ear| ear.missed == 0), "nothing has expired");
        run.compare_all();
    });
}

/// Messages live for two seconds, and nodes are cut off for longer: what each is told of and what it is told that it has
/// missed is together all that was sent.
#[test]
fn what_is_not_told_is_counted() {
    for_each_seed(20, |dice| {
        let mut run = Run::new(dice, 4, |config| {
            (config.event_ttl_ms, config.keep_expired_ms, config.retention.spare_ms) = (2_000, 1_000, 1_000);
        });
        run.timed.run_for(3_000);
        while run.sent.len() < 200 {
            run.step(20);
            let who = run.dice().below(4);
            match run.dice().below(100) {
                0..2 => run.timed.isolate(who),
                2..3 => run.timed.mend_all(),
                3..6 => run.timed.run_for(1_000),
                _ => {}
            }
        }
        run.timed.mend_all();
        run.timed.run_for(30_000);
        run.listen_all();
        for (who, ear) in run.ears.iter().enumerate() {
            let told = ear.told.iter().filter(|told| **told).count() as u64;
            assert_eq!(told + ear.missed, 200, "node {who} was told of {told} and has missed {}", ear.missed);
        }
    });
}

/// A disk fails under a message of its node, and under one that has arrived. Nobody is told of either; the one that others know
/// comes again when the disk is well, and of the other nobody ever knows.
#[test]
fn what_the_disk_has_not_taken_is_not_told() {
    for_each_seed(20, |dice| {
        let mut run = Run::new(dice, 2, |_| {});
        run.timed.run_for(3_000);
        run.send(1, 5);
        run.timed.run_for(1_000);
        run.listen_all();
        assert!(run.all_are_told());
        run.timed.world.disk(0).fault = Fault::Full;
        let dot = run.send(1, 5);
        run.timed.run_until(1_000, |timed| timed.world.map(0).context().contains(dot)).expect("it arrives");
        assert!(run.timed.world.is_committing(0), "it is not durable yet");
        run.timed.act(0, |node, now| node.broadcast(now, b"taken back"));
        run.listen(0);
        run.timed.run_for(1_000);
        run.listen(0);
        assert_eq!(run.ears[0].told, [true, false]);
        run.timed.mend_disk(0);
        run.timed.run_for(5_000);
        run.send(0, 5);
        run.timed.run_for(5_000);
        run.listen_all();
        assert!(run.all_are_told() && run.ears.iter().all(|ear| ear.missed == 0));
    });
}
