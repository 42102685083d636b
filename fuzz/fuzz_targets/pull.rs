//! One pull between a map that has much and one that has little, whose frames are delivered as they are, changed, doubled,
//! lost or replaced by anything, while both maps go on being written. A frame that is refused has changed nothing; the
//! sender's map never changes by a pull; nobody talks without end; what is told takes memory in proportion. A pull that
//! nothing has happened to ends with equal maps, and after any other one a whole one still brings all.

#![no_main]

use bytes::Bytes;
use std::collections::VecDeque;
use tidings::crdt::{Audit, EntriesBuilder, Key, Retention};
use tidings::proto::assembly::{Assembly, PIECE_BYTES};
use tidings::proto::codec::{decode, encode};
use tidings::proto::message::{Message, Pull};
use tidings::proto::reconcile::Batches;
use tidings::proto::sync::{Receiver, Sender, Step};
use tidings::{CausalContext, OrMap, ReplicaId};
use tidings_fuzz::{Draw, vectors, with_length, within};

const NOW: u64 = 1_700_000_000_000;
/// No pull of maps of this size has more frames, whatever is asked for.
const FRAMES_MAX: usize = 5_000;
const MEMORY: usize = 160 << 20;

tidings_fuzz::target!(seeds, run);

fn run(input: &[u8]) {
    within(MEMORY, || {
        let mut draw = Draw::new(input);
        let mut exchange = Exchange::new(&mut draw);
        while !draw.is_over() && !exchange.is_over {
            exchange.step(&mut draw);
        }
        exchange.end();
    });
}

/// All by which a frame that is refused, or a question, can be seen to have changed a map.
fn told(map: &OrMap) -> (Audit, CausalContext, CausalContext, usize) {
    (map.audit(), map.context().clone(), map.truncated().clone(), map.pending())
}

struct Exchange {
    little: OrMap,
    much: OrMap,
    receiver: Receiver,
    sender: Option<Sender>,
    batches: Batches,
    assembly: Assembly,
    to_sender: VecDeque<Bytes>,
    to_receiver: VecDeque<Bytes>,
    frames: usize,
    /// Nothing but the two has had a hand in it.
    is_whole: bool,
    is_written: bool,
    is_over: bool,
}

impl Exchange {
    fn new(draw: &mut Draw<'_>) -> Self {
        let (shape, how) = (draw.byte(), draw.byte());
        let (much, little) = maps(shape);
        let listed_max = if how & 1 == 0 { 0 } else { 20 };
        let (receiver, mut pull) = Receiver::start_telling(&little, how & 2 != 0, listed_max);
        pull.by_key = how & 4 != 0;
        let batches = if how & 8 == 0 { Batches::default() } else { Batches { first: 1, never_list: true } };
        let to_sender = [encode(&Message::Pull(pull), None)].into();
        Self {
            little,
            much,
            receiver,
            sender: None,
            batches,
            assembly: Assembly::default(),
            to_sender,
            to_receiver: VecDeque::new(),
            frames: 0,
            is_whole: true,
            is_written: false,
            is_over: false,
        }
    }

    fn step(&mut self, draw: &mut Draw<'_>) {
        match draw.below(10) {
            0 | 1 => _ = self.let_through(),
            2 => {
                self.ask_sender();
                self.is_whole &= !spoil(&mut self.to_receiver, draw);
            }
            3 => self.is_whole &= !spoil(&mut self.to_sender, draw),
            4 => self.insert(draw, false),
            5 => self.insert(draw, true),
            6 => {
                self.ask_sender();
                let again = self.to_receiver.front().cloned();
                self.is_whole &= again.is_none();
                self.to_receiver.extend(again);
            }
            7 => {
                self.ask_sender();
                let lost = if draw.byte() % 2 == 0 { &mut self.to_sender } else { &mut self.to_receiver };
                self.is_whole &= lost.pop_front().is_none();
            }
            8 => self.write(draw),
            _ => (0..draw.byte()).for_each(|_| _ = self.let_through()),
        }
    }

    fn insert(&mut self, draw: &mut Draw<'_>, for_sender: bool) {
        let frame = Bytes::copy_from_slice(draw.bytes());
        if for_sender {
            self.to_sender.push_front(frame)
        } else {
            self.to_receiver.push_front(frame)
        }
        self.is_whole = false;
    }

    fn write(&mut self, draw: &mut Draw<'_>) {
        let (what, key) = (draw.byte(), [draw.byte() % 12]);
        let map = if what & 1 == 0 { &mut self.much } else { &mut self.little };
        match what >> 1 & 3 {
            0 => _ = map.put(&key, b"meanwhile", NOW + 50),
            1 => _ = map.delete(&key, NOW + 50),
            2 => _ = map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW + 60),
            _ => _ = map.put_until(&key, b"for now", NOW + 55, NOW + 50),
        }
        self.is_written = true;
    }

    /// One frame to each. Whether there was any.
    fn let_through(&mut self) -> bool {
        let to_sender = self.to_sender.pop_front().filter(|_| !self.is_over);
        to_sender.iter().for_each(|frame| self.on_sender(frame));
        self.ask_sender();
        let to_receiver = self.to_receiver.pop_front().filter(|_| !self.is_over);
        to_receiver.iter().for_each(|frame| self.on_receiver(frame));
        to_sender.is_some() || to_receiver.is_some()
    }

    fn ask_sender(&mut self) {
        if !self.to_receiver.is_empty() {
            return;
        }
        let Some(sender) = &mut self.sender else { return };
        let before = told(&self.much);
        if let Some(message) = sender.next(&self.much) {
            self.frames += 1;
            assert!(self.frames <= FRAMES_MAX, "the sender talks without end");
            self.to_receiver.push_back(encode(&message, Some(sender.begin())));
        }
        assert_eq!(told(&self.much), before, "telling changes nothing");
        self.is_over |= sender.is_given_up();
    }

    fn on_sender(&mut self, frame: &Bytes) {
        let before = told(&self.much);
        let Ok(message) = decode(frame, None) else { return self.refuse() };
        match (&mut self.sender, message) {
            (None, Message::Pull(pull)) => self.answer(&pull),
            (Some(sender), message) => {
                if sender.on_message(&mut self.much, &message).is_err() {
                    self.refuse();
                }
            }
            (None, _) => self.refuse(),
        }
        assert_eq!(told(&self.much), before, "a question changes nothing");
    }

    fn answer(&mut self, pull: &Pull) {
        let sender = Sender::new(&mut self.much, pull).with_chunk_entries(3).with_batches(self.batches);
        self.sender = Some(sender);
    }

    fn on_receiver(&mut self, frame: &Bytes) {
        let before = told(&self.little);
        let taken = decode(frame, Some(self.receiver.begin())).ok().and_then(|message| self.take(message));
        match taken {
            Some(Some(Step::Reply(reply))) => self.to_sender.push_back(encode(&reply, None)),
            Some(Some(Step::Done { reply })) => {
                self.to_sender.extend(reply.map(|reply| encode(&reply, None)));
                self.is_over |= self.to_sender.is_empty();
            }
            Some(Some(Step::Unresolved)) => self.is_over = true,
            Some(_) => {}
            None => {
                assert_eq!(told(&self.little), before, "what is refused changes nothing");
                self.refuse();
            }
        }
    }

    /// As a node does it. `None` if it is refused.
    fn take(&mut self, message: Message) -> Option<Option<Step>> {
        let message = match message {
            Message::Piece(piece) => return self.assembly.take(&piece).ok().map(|()| None),
            Message::Chunk(entries) => Message::Chunk(self.assembly.complete(entries).ok()?),
            message => message,
        };
        if let Message::Chunk(entries) = &message
            && !entries.contexts().iter().all(|pair| claims_known(&self.little, &pair.context))
        {
            return None;
        }
        let step = self.receiver.on_message(&mut self.little, message, |_| ()).ok()?;
        claims_known(&self.little, &self.receiver.begin().snapshot).then_some(Some(step))
    }

    /// The link is closed.
    fn refuse(&mut self) {
        assert!(!self.is_whole, "what honest nodes say is taken");
        self.is_over = true;
    }

    /// Without further disturbance.
    fn end(&mut self) {
        for _ in 0..FRAMES_MAX {
            let none_is_left = self.to_sender.is_empty() && self.to_receiver.is_empty();
            if self.is_over || (none_is_left && self.sender.as_ref().is_some_and(Sender::is_finished)) {
                break;
            }
            if !self.let_through() {
                assert!(!self.is_whole, "both wait for each other");
                break;
            }
        }
        if self.is_whole && !self.is_written {
            assert!(self.little.context().includes(self.much.context()), "all has come");
        } else {
            whole(&mut self.much, &mut self.little);
        }
        whole(&mut self.little, &mut self.much);
        assert!(!self.is_whole || self.little.audit() == self.much.audit(), "the same contexts, and not the same");
    }
}

/// A node closes the link of who names writes of its own that it has not made: they would be made again, as others.
fn claims_known(map: &OrMap, context: &CausalContext) -> bool {
    context.get(map.id()) <= map.context().get(map.id())
}

/// Nobody disturbs it.
fn whole(much: &mut OrMap, little: &mut OrMap) {
    let (mut receiver, mut pull) = Receiver::start(little, false);
    pull.by_key = true;
    let (mut sender, mut assembly) = (Sender::new(much, &pull), Assembly::default());
    while let Some(message) = sender.next(much) {
        let message = match message {
            Message::Piece(piece) => {
                assembly.take(&piece).expect("it fits");
                continue;
            }
            Message::Chunk(entries) => Message::Chunk(assembly.complete(entries).expect("whole values")),
            message => message,
        };
        match receiver.on_message(little, message, |_| ()).expect("in turn") {
            Step::Reply(reply) | Step::Done { reply: Some(reply) } => sender.on_message(much, &reply).expect("in turn"),
            Step::Unresolved => panic!("it asked for keys"),
            _ => {}
        }
    }
    assert!(sender.is_finished());
    assert!(little.context().includes(much.context()), "a whole pull brings all");
}

/// Changes a byte of the first frame. Whether there was one.
fn spoil(frames: &mut VecDeque<Bytes>, draw: &mut Draw<'_>) -> bool {
    let (at, change) = (usize::from(draw.number()), draw.byte().max(1));
    let Some(frame) = frames.front_mut().filter(|frame| !frame.is_empty()) else { return false };
    let mut changed = frame.to_vec();
    let at = at % changed.len();
    changed[at] ^= change;
    *frame = changed.into();
    true
}

/// One that has much and one that has a part of it, and something of its own.
fn maps(shape: u8) -> (OrMap, OrMap) {
    let mut much = OrMap::new(ReplicaId::from(1));
    let mut little = OrMap::new(ReplicaId::from(2));
    let has = |bit: u8| shape >> bit & 1 == 1;
    if has(0) {
        // Of many replicas.
        let others: CausalContext = (10..80).map(|id| (ReplicaId::from(id << 64), 7)).collect();
        much.incorporate(&others);
    }
    (0..12).for_each(|key| _ = much.put(&[key], [b'v'; 20], NOW + u64::from(key)));
    if has(1) {
        let _ = little.merge(much.delta_since(&CausalContext::new()));
        little.put(&[3], b"its own", NOW + 20);
    }
    (0..12).step_by(3).for_each(|key| _ = much.delete(&[key], NOW + 30));
    if has(2) {
        much.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW + 40);
    }
    if has(3) {
        much.put(b"film", vec![b'f'; 2 * PIECE_BYTES + 5], NOW + 41);
    }
    if has(4) {
        // A sync that broke off.
        let delta = much.delta_since(&CausalContext::new());
        let _ = little.join_entries(delta.entries(), |_| ());
    }
    if has(5) {
        (100..180).for_each(|key| _ = much.put(&[key], b"more", NOW + 42));
    }
    (much, little)
}

fn seeds() -> Vec<Vec<u8>> {
    let shapes = 0..64;
    let undisturbed = shapes.clone().map(|shape| vec![shape, shape % 16, 9, 200]);
    let spoilt = shapes.clone().map(|shape| vec![shape, shape / 4, 9, shape % 5, 2, shape, 0, 1, 0, 3, 1, 0, 2, 0]);
    let written = shapes.map(|shape| vec![shape, shape / 4, 0, 0, 8, shape % 8, shape % 12, 0, 0, 8, 4, 0, 9, 100]);
    // Questions for nothing, for a few, for as many as there may be, and for more than memory has.
    let more = |symbols| encode(&Message::More { symbols, differences: symbols / 2 }, None);
    let asked = [0, 1, 1 << 14, 1 << 17, 1 << 40].map(more);
    // Entries that are told against nothing: they can be read before anything has begun.
    let (much, mut entries) = (maps(0).0, EntriesBuilder::default());
    (0..4_u8).for_each(|key| entries.push(&much, Key::usr(&[key])));
    let early = encode(&Message::Chunk(entries.finish()), None);
    let told = vectors("").into_iter().chain(asked).chain([early]).filter(|frame| !frame.is_empty());
    let replaced = told.flat_map(|frame| {
        let to = |begun: &[u8], whom| [&[6, 0], begun, &[whom], &with_length(&frame), &[0, 0]].concat();
        [to(&[], 4), to(&[], 5), to(&[0], 4), to(&[0], 5)]
    });
    undisturbed.chain(spoilt).chain(written).chain(replaced).collect()
}
