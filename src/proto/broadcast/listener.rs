//! One listener: what it has been told, and where it stands. Not responsible for when to ask it: whoever reads does so when
//! the node has changed, and as soon as it has dealt with the last answer.
//!
//! It is a position in the node's order of delivery, and for each sender the last message that it was told of. With these
//! it goes on at any node: in another order perhaps, but what it has been told is not told again, and causes come first
//! there too.

use super::log::Item;
use super::message::{Header, Message, message_key};
use super::{Delivery, Told};
use crate::crdt::{Dot, Key, OrMap};
use crate::proto::node::Node;
use bytes::Bytes;
use std::sync::Arc;

/// With more senders than this what has been told is noted once a batch, not once a message: it takes 32 bytes for each.
const EXACT_SENDERS_MAX: usize = 24;
/// A batch has at most so many messages,
const BATCH_MAX: usize = 64;
/// and ends with the one that makes it larger than this.
const BATCH_BYTES: usize = 256 << 10;

/// Whoever is told of messages. It lives outside the node, and costs it nothing while it is not asked.
#[derive(Debug)]
pub struct Listener {
    /// The next item of the log is this one.
    position: u64,
    told: Arc<Told>,
    /// It comes from elsewhere, or was slow: what it has missed does not stand in the log.
    is_behind: bool,
}

/// What a listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, and all that has been told with it.
    Message(Message, Arc<Told>),
    /// So many cannot be had any more.
    Missed(u64, Arc<Told>),
}

/// One batch, as it grows.
struct Batch<'a> {
    map: &'a OrMap,
    now_ms: u64,
    /// What had been told before it,
    before: &'a Arc<Told>,
    /// and is now.
    told: Told,
    missed: u64,
    heard: Vec<Heard>,
    bytes: usize,
}

impl Listener {
    pub(crate) fn new(delivery: &Delivery, after: Option<Told>) -> Self {
        let (position, is_behind) = match &after {
            Some(_) => (delivery.log.first(), true),
            None => (delivery.log.next(), false),
        };
        let all = || delivery.marks().iter().map(|(sender, mark)| (*sender, (mark.counter, mark.number))).collect();
        Self { position, told: Arc::new(after.unwrap_or_else(all)), is_behind }
    }

    /// What it has been told by all answers until now.
    pub fn told(&self) -> &Arc<Told> {
        &self.told
    }

    /// What there is to hear, of what is durable.
    pub fn ask(&mut self, node: &Node, now_ms: u64) -> Vec<Heard> {
        self.ask_of(node.map(), node.broadcasts(), node.durable_commit(), now_ms)
    }

    pub(super) fn ask_of(&mut self, map: &OrMap, delivery: &Delivery, durable: u64, now_ms: u64) -> Vec<Heard> {
        let log = &delivery.log;
        if self.position < log.first() {
            (self.position, self.is_behind) = (log.first(), true);
        }
        let before = self.told.clone();
        let told = Told::clone(&before);
        let (missed, heard, bytes) = (0, Vec::new(), 0);
        let mut batch = Batch { map, now_ms, before: &before, told, missed, heard, bytes };
        while let Some(item) = log.get(self.position).filter(|item| batch.has_room() && item.commit <= durable) {
            batch.take(item);
            self.position += 1;
        }
        if self.is_behind && self.position == log.next() {
            self.is_behind = false;
            batch.catch_up(delivery);
        }
        batch.tell_missed();
        let (told, heard) = batch.finish();
        self.told = told;
        heard
    }
}

impl Batch<'_> {
    fn has_room(&self) -> bool {
        self.heard.len() < BATCH_MAX && self.bytes < BATCH_BYTES
    }

    fn take(&mut self, item: &Item) {
        let sender = item.dot.replica;
        let known = self.told.get(&sender).copied();
        if known.is_some_and(|(counter, _)| item.dot.counter <= counter) {
            return;
        }
        let upto = if item.is_missed { item.number } else { item.number - 1 };
        let counts_on = known.filter(|(_, number)| *number <= upto);
        self.missed += counts_on.map_or(item.missed, |(_, number)| upto - number);
        if !item.is_missed {
            match message(self.map, item.dot, self.now_ms) {
                Some(message) => self.tell(message, item.number),
                None => self.missed += 1,
            }
        }
        self.told.insert(sender, (item.dot.counter, item.number));
    }

    fn tell(&mut self, message: Message, number: u64) {
        self.tell_missed();
        self.bytes += message.payload.len();
        self.told.insert(message.dot.replica, (message.dot.counter, number));
        let told = self.mark();
        self.heard.push(Heard::Message(message, told));
    }

    fn tell_missed(&mut self) {
        if self.missed > 0 {
            let told = self.mark();
            self.heard.push(Heard::Missed(std::mem::take(&mut self.missed), told));
        }
    }

    fn mark(&self) -> Arc<Told> {
        let is_exact = self.told.len() <= EXACT_SENDERS_MAX;
        if is_exact { Arc::new(self.told.clone()) } else { self.before.clone() }
    }

    /// At the end of the log, whatever the node has been told of and the listener has not was missed.
    fn catch_up(&mut self, delivery: &Delivery) {
        for (sender, mark) in delivery.marks() {
            if let Some((counter, number)) = self.told.get(sender).copied().filter(|told| told.0 < mark.counter) {
                self.missed += mark.number.saturating_sub(number);
                self.told.insert(*sender, (mark.counter.max(counter), mark.number.max(number)));
            }
        }
    }

    fn finish(mut self) -> (Arc<Told>, Vec<Heard>) {
        if self.told == **self.before {
            return (self.before.clone(), self.heard);
        }
        let all = Arc::new(self.told);
        if let Some(Heard::Message(_, told) | Heard::Missed(_, told)) = self.heard.last_mut() {
            *told = all.clone();
        }
        (all, self.heard)
    }
}

pub(super) fn message(map: &OrMap, dot: Dot, now_ms: u64) -> Option<Message> {
    let reading = map.read(Key::sys(&message_key(dot)), now_ms).filter(|reading| reading.dot == dot)?;
    let (header, start) = Header::decode(dot, reading.value).ok()?;
    Some(Message { dot, context: header.context, payload: Bytes::copy_from_slice(&reading.value[start..]) })
}
