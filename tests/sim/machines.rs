//! Random runs of the two machines of a pull by themselves, each message through its bytes: many more in a second than of
//! whole nodes. Nothing excludes anything: whatever comes in goes on beside a catch-up.

use crate::dice::{Dice, for_each_seed};
use crate::look::{AUDIT_KEY, id, key, look, name};
use crate::oracle::{History, Left, Shown};
use crate::world::START;
use bytes::Bytes;
use tidings::crdt::Retention;
use tidings::proto::codec;
use tidings::proto::message::Message;
use tidings::proto::reconcile::{Batches, Reconciled};
use tidings::proto::sync::{Receiver, Sender, Step};
use tidings::{CausalContext, Delta, OrMap};

struct Replica {
    map: OrMap,
    now: u64,
    /// Contexts it has had.
    past: Vec<CausalContext>,
    incoming: Vec<u64>,
    /// The next pull asks for keys.
    by_key: bool,
}

/// One pull, from its beginning to wherever it gets.
struct Pull {
    number: u64,
    from: usize,
    to: usize,
    sender: Sender,
    receiver: Receiver,
    on_the_way: Option<Bytes>,
    on_the_way_back: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    On,
    Over,
}

struct Run<'d> {
    dice: &'d mut Dice,
    keys: usize,
    expiring: usize,
    deleting: usize,
    skew_ms: u64,
    chunk: usize,
    replicas: Vec<Replica>,
    shown: Vec<Shown>,
    history: History,
    held: Vec<Pull>,
    bag: Vec<Delta>,
    values: u64,
    pulls: u64,
    catch_ups: u64,
    unresolved: u64,
    /// How live dots are offered, and how many clocks are listed.
    batches: Batches,
    listed_max: usize,
    reconciled: Reconciled,
}

impl<'d> Run<'d> {
    fn new(dice: &'d mut Dice) -> Self {
        let (count, keys) = (*dice.pick(&[2, 3, 4, 4, 5]), *dice.pick(&[1, 2, 2, 3]));
        let replica = |number| Replica {
            map: OrMap::with_audit_key(id(number), AUDIT_KEY),
            now: START,
            past: Vec::new(),
            incoming: Vec::new(),
            by_key: false,
        };
        let replicas: Vec<Replica> = (0..count).map(replica).collect();
        Self {
            keys,
            expiring: *dice.pick(&[0, 0, 60]),
            deleting: *dice.pick(&[50, 70]),
            skew_ms: *dice.pick(&[0, 3, 7]),
            chunk: *dice.pick(&[1, 1, 1, 2]),
            shown: replicas.iter().map(|replica| look(&replica.map, keys, START)).collect(),
            replicas,
            history: History::default(),
            held: Vec::new(),
            bag: Vec::new(),
            values: 0,
            pulls: 0,
            catch_ups: 0,
            unresolved: 0,
            batches: Batches { first: *dice.pick(&[1, 1, 2, 16]), never_list: dice.percent(60) },
            listed_max: *dice.pick(&[0, 20]),
            reconciled: Reconciled::default(),
            dice,
        }
    }

    /// Everybody has the keys; then come deletes, truncations, pulls that are whole, cut or held, and deltas.
    fn hunt(&mut self) {
        for key in 0..self.keys {
            self.put(0, key, None);
        }
        for to in 1..self.replicas.len() {
            self.whole(0, to);
        }
        for step in 0..12 + self.dice.below(28) {
            self.pass(step);
            self.step(17, 15, 6, 8, 55);
        }
    }

    /// One key that two have written at once, and of which each may have heard this and that: whole pulls only.
    fn siblings(&mut self) {
        self.keys = 1;
        if self.dice.percent(50) {
            (self.expiring, self.deleting) = (90, 20);
        }
        if self.dice.percent(80) {
            self.replicas.truncate(3);
            self.shown.truncate(3);
        }
        let count = self.replicas.len();
        self.put(0, 0, None);
        for to in 1..count - 1 {
            self.whole(0, to);
        }
        self.put(count - 1, 0, None);
        for step in 0..8 + self.dice.below(20) {
            self.pass(step);
            self.step(15, 17, 0, 2, 95);
        }
    }

    /// Deltas in the place of most pulls; some have never heard of what is deleted.
    fn deltas(&mut self) {
        self.put(0, 0, None);
        for to in 1..self.replicas.len() {
            if self.dice.percent(60) {
                self.whole(0, to);
            }
        }
        for step in 0..12 + self.dice.below(28) {
            self.pass(step);
            self.step(17, 15, 40, 2, 90);
        }
    }

    /// Every pull goes on frame by frame, among all the others.
    fn interleaved(&mut self) {
        for step in 0..*self.dice.pick(&[40, 80]) {
            self.pass(step);
            self.step(22, 8, 6, 52, 0);
        }
    }

    fn pass(&mut self, step: usize) {
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            replica.now = START + step as u64 + self.skew_ms * number as u64;
            replica.map.set_time(replica.now);
            self.history.see_clock(replica.now);
        }
    }

    /// Chances in per cent: of a write, a truncation, a delta made or merged, going on with what is held; what is left is
    /// pulls, and of them so many are whole at once.
    fn step(&mut self, write: usize, truncate: usize, delta: usize, resume: usize, whole: usize) {
        let one = self.dice.below(self.replicas.len());
        let drawn = self.dice.below(100);
        if drawn < write {
            self.write(one);
        } else if drawn < write + truncate {
            self.truncate(one);
        } else if drawn < write + truncate + delta {
            self.delta(one);
        } else if drawn < write + truncate + delta + resume {
            self.resume(whole > 0);
        } else {
            self.pull(whole);
        }
    }

    // --- Steps

    fn write(&mut self, one: usize) {
        let key = self.dice.below(self.keys);
        if self.dice.percent(self.deleting) {
            self.delete(one, key);
        } else {
            let deadline = self.replicas[one].now + self.dice.below(15) as u64;
            let deadline = self.dice.percent(self.expiring).then_some(deadline);
            self.put(one, key, deadline);
        }
    }

    fn put(&mut self, one: usize, number: usize, deadline: Option<u64>) {
        let before = self.look(one);
        self.values += 1;
        let (value, replica) = (self.values.to_le_bytes(), &mut self.replicas[one]);
        let dot = match deadline {
            Some(deadline) => replica.map.put_until(key(number), value, deadline, replica.now),
            None => replica.map.put(key(number), value, replica.now),
        };
        self.dice.tell(|| format!("{one} puts {number} until {deadline:?}: {dot}"));
        self.history.record(name(dot), number, Left { value: Some(self.values), deadline }, &before);
        self.judge(one);
    }

    fn delete(&mut self, one: usize, number: usize) {
        let before = self.look(one);
        let replica = &mut self.replicas[one];
        let Some(dot) = replica.map.delete(key(number), replica.now) else { return };
        self.dice.tell(|| format!("{one} deletes {number}: {dot}"));
        self.history.record(name(dot), number, Left { value: None, deadline: None }, &before);
        self.judge(one);
    }

    fn truncate(&mut self, one: usize) {
        let count_max = *self.dice.pick(&[0, 0, 1]);
        let replica = &mut self.replicas[one];
        let dropped = replica.map.truncate(Retention { keep_ms: u64::MAX, count_max, spare_ms: 0 }, replica.now);
        self.dice.tell(|| format!("{one} truncates {dropped}"));
        self.judge(one);
    }

    /// A delta is made for what somebody once had, or merged, wherever and however late.
    fn delta(&mut self, one: usize) {
        if self.bag.is_empty() || self.dice.percent(50) {
            let of = self.dice.below(self.replicas.len());
            let past = &self.replicas[of].past;
            let base = if past.is_empty() { CausalContext::new() } else { self.dice.pick(past).clone() };
            let delta = self.replicas[one].map.delta_since(&base);
            self.dice.tell(|| format!("{one} makes a delta on {base:?}"));
            self.bag.push(Delta::decode(&delta.encode()).expect("it was encoded so"));
        } else {
            let recent = self.bag.len().min(4);
            let chosen = self.bag.len() - 1 - self.dice.below(recent);
            let merged = self.replicas[one].map.merge(self.bag[chosen].clone());
            self.dice.tell(|| format!("{one} merges delta {chosen}: {merged:?}"));
            self.judge(one);
        }
    }

    fn pull(&mut self, whole: usize) {
        let (from, to) = self.dice.two_below(self.replicas.len());
        let mut pull = self.start(from, to);
        let frames = if self.dice.percent(whole) { usize::MAX } else { self.dice.below(12) };
        for _ in 0..frames {
            if self.go_on(&mut pull) == Went::Over {
                return;
            }
        }
        if whole == 0 || self.dice.percent(40) {
            self.held.push(pull);
        } else {
            self.dice.tell(|| "  cut".to_owned());
            self.close(&pull);
        }
    }

    fn resume(&mut self, to_the_end: bool) {
        if self.held.is_empty() {
            return;
        }
        let chosen = self.dice.below(self.held.len());
        let mut pull = self.held.swap_remove(chosen);
        if !to_the_end && self.dice.percent(5) {
            self.close(&pull);
            return;
        }
        loop {
            if self.go_on(&mut pull) == Went::Over {
                return;
            }
            if !to_the_end {
                self.held.push(pull);
                return;
            }
        }
    }

    fn whole(&mut self, from: usize, to: usize) {
        loop {
            let mut pull = self.start(from, to);
            while self.go_on(&mut pull) == Went::On {}
            if !self.replicas[to].by_key {
                return;
            }
        }
    }

    // --- A pull

    fn start(&mut self, from: usize, to: usize) -> Pull {
        let forced = self.dice.percent(3);
        let replica = &mut self.replicas[to];
        let (receiver, mut pull) = Receiver::start_telling(&replica.map, forced, self.listed_max);
        pull.by_key = std::mem::take(&mut replica.by_key);
        let context = replica.map.context().clone();
        replica.past.push(context);
        self.pulls += 1;
        let number = self.pulls;
        replica.incoming.push(number);
        self.dice.tell(|| format!("pull {number}, {from} to {to}, forced {forced}"));
        let Ok(Message::Pull(pull)) = codec::decode(&codec::encode(&Message::Pull(pull), None), None) else {
            panic!("it was encoded so");
        };
        let sender = Sender::new(&mut self.replicas[from].map, &pull).with_chunk_entries(self.chunk);
        let sender = sender.with_batches(self.batches);
        Pull { number, from, to, sender, receiver, on_the_way: None, on_the_way_back: None }
    }

    /// What is on its way arrives, and the next message is made.
    fn go_on(&mut self, pull: &mut Pull) -> Went {
        if !self.replicas[pull.to].incoming.contains(&pull.number) {
            return Went::Over;
        }
        if let Some(frame) = pull.on_the_way_back.take() {
            let message = codec::decode(&frame, None).expect("it was encoded so");
            self.dice.tell(|| format!("  pull {}, back: {message:?}", pull.number));
            pull.sender.on_message(&mut self.replicas[pull.from].map, &message).expect("it is its turn");
        }
        let went = pull.on_the_way.take().map_or(Went::On, |frame| self.arrive(pull, &frame));
        if went == Went::On {
            let next = pull.sender.next(&self.replicas[pull.from].map);
            let begin = pull.sender.begin().clone();
            pull.on_the_way = next.map(|message| codec::encode(&message, Some(&begin)));
            let silent = pull.on_the_way.is_none() && pull.on_the_way_back.is_none();
            assert!(!silent || pull.sender.is_given_up(), "nobody has anything to say, and it is not over");
        }
        went
    }

    fn arrive(&mut self, pull: &mut Pull, frame: &Bytes) -> Went {
        let message = codec::decode(frame, Some(pull.receiver.begin())).expect("it was encoded so");
        self.dice.tell(|| format!("  pull {}: {message:?}", pull.number));
        let map = &mut self.replicas[pull.to].map;
        let step = pull.receiver.on_message(map, message, |_| {}).expect("it is its turn");
        self.judge(pull.to);
        match step {
            Step::Begun { catch_up } => {
                assert_eq!(pull.receiver.begin(), pull.sender.begin(), "contexts arrive as they are");
                self.catch_ups += u64::from(catch_up);
            }
            Step::Reply(message) => pull.on_the_way_back = Some(codec::encode(&message, None)),
            Step::Done { reply } => {
                if let Some(decoded) = reply {
                    pull.sender.on_message(&mut self.replicas[pull.from].map, &decoded).expect("it is its turn");
                }
                assert!(pull.sender.is_finished(), "only now the sender knows that all is there");
                self.reconciled.add(pull.receiver.take_counts());
                self.reconciled.add(pull.sender.take_counts());
                self.close(pull);
                return Went::Over;
            }
            Step::Waiting | Step::Joined(_) => {}
            Step::Unresolved => {
                self.replicas[pull.to].by_key = true;
                self.unresolved += 1;
                self.close(pull);
                return Went::Over;
            }
        }
        Went::On
    }

    fn close(&mut self, pull: &Pull) {
        let replica = &mut self.replicas[pull.to];
        replica.incoming.retain(|&number| number != pull.number);
    }

    // --- What must hold

    fn look(&self, one: usize) -> Shown {
        look(&self.replicas[one].map, self.keys, self.replicas[one].now)
    }

    fn judge(&mut self, one: usize) {
        self.shown[one] = self.look(one);
        self.history.check(&self.shown[one]).unwrap_or_else(|what| panic!("replica {one}: {what}"));
        for other in (0..self.shown.len()).filter(|&other| other != one) {
            let judged = self.history.check_pair(&self.shown[one], &self.shown[other]);
            judged.unwrap_or_else(|what| panic!("replicas {one} and {other}: {what}"));
        }
    }

    /// All are asked to pull from all, and nothing stands in the way.
    fn heal(&mut self) {
        self.held.clear();
        for replica in &mut self.replicas {
            replica.incoming.clear();
        }
        let count = self.replicas.len();
        for _ in 0..3 {
            for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
                if from != to {
                    self.whole(from, to);
                }
            }
        }
        for (one, shown) in self.shown.iter().enumerate() {
            assert_eq!(shown.context, self.history.all(), "replica {one} does not know every write");
            assert_eq!(self.replicas[one].map.pending(), 0, "pending at replica {one}");
        }
    }
}

#[test]
fn pulls_around_the_dangerous_events() {
    let (mut catch_ups, mut unresolved, mut reconciled) = (0, 0, Reconciled::default());
    for_each_seed(40_000, |dice| {
        let mut run = Run::new(dice);
        run.hunt();
        if run.dice.percent(15) {
            run.heal();
        }
        catch_ups += run.catch_ups;
        unresolved += run.unresolved;
        reconciled.add(run.reconciled);
    });
    eprintln!("{catch_ups} catch-ups, {unresolved} pulls begun again by key, {reconciled:?}");
}

#[test]
fn pulls_interleaved_frame_by_frame() {
    for_each_seed(20_000, |dice| {
        let mut run = Run::new(dice);
        run.interleaved();
        run.heal();
    });
}

#[test]
fn pulls_of_siblings_that_some_have_truncated() {
    for_each_seed(60_000, |dice| Run::new(dice).siblings());
}

#[test]
fn deltas_made_for_long_ago() {
    for_each_seed(25_000, |dice| Run::new(dice).deltas());
}
