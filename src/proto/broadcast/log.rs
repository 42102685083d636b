//! What a node has delivered, in its order. Not responsible for what comes next in it, nor for bytes: they stay in the map.

use crate::crdt::{Dot, ReplicaId};
use std::collections::VecDeque;

/// So many items are kept at most, and then the oldest are given up: who has not been told of them by then has missed them.
const ITEMS_MAX: usize = 100_000;

/// The order of delivery, as far back as messages live.
#[derive(Debug, Default)]
pub(super) struct Log {
    items: VecDeque<Item>,
    /// The number of the first item that is kept.
    first: u64,
    /// What to put back if a commit fails, oldest first.
    undo: VecDeque<(u64, ReplicaId, Option<Mark>)>,
}

/// A message was delivered, or messages were missed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The commit that makes it durable.
    pub(super) commit: u64,
    /// The message; or the last one of those that were missed.
    pub(super) dot: Dot,
    pub(super) is_missed: bool,
    /// Its number,
    pub(super) number: u64,
    /// and how many were missed before it, itself included if it was.
    pub(super) missed: u64,
    /// It is kept so long, in milliseconds since 1970.
    pub(super) until_ms: u64,
}

/// How far a sender's messages have been delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The counter of the last one's dot. Nothing up to there will be delivered any more.
    pub(super) counter: u64,
    /// Its number,
    pub(super) number: u64,
    /// and since when the sender counts.
    pub(super) since: u64,
    /// As long as its last message lives.
    pub(super) live_until_ms: u64,
}

impl Log {
    /// The number of the next item.
    pub(super) fn next(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn get(&self, number: u64) -> Option<&Item> {
        usize::try_from(number.checked_sub(self.first)?).ok().and_then(|i| self.items.get(i))
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push_back(item);
        if self.items.len() > ITEMS_MAX {
            self.drop_first();
        }
    }

    /// A mark has changed; what it was is kept until that is durable.
    pub(super) fn note(&mut self, commit: u64, durable: u64, sender: ReplicaId, was: Option<Mark>) {
        if commit > durable {
            self.undo.push_back((commit, sender, was));
        }
    }

    /// All up to that commit is durable, and what has lived until then is of no more use.
    pub(super) fn trim(&mut self, durable: u64, now_ms: u64) {
        while self.undo.front().is_some_and(|(commit, ..)| *commit <= durable) {
            self.undo.pop_front();
        }
        while self.items.front().is_some_and(|item| item.until_ms <= now_ms) {
            self.drop_first();
        }
    }

    /// What was missed until now is nobody's concern any more.
    pub(super) fn settle(&mut self) {
        self.items.iter_mut().for_each(|item| item.missed = 0);
    }

    /// Takes back what is not durable, and answers which marks were what before, in the order to put them back.
    pub(super) fn roll_back(&mut self, durable: u64) -> Vec<(ReplicaId, Option<Mark>)> {
        while self.items.back().is_some_and(|item| item.commit > durable) {
            self.items.pop_back();
        }
        let undone = std::mem::take(&mut self.undo).into_iter().filter(|(commit, ..)| *commit > durable);
        undone.rev().map(|(_, sender, was)| (sender, was)).collect()
    }

    fn drop_first(&mut self) {
        self.items.pop_front();
        self.first += 1;
    }
}
