//! The sender's side of a comparison of live dots: what it offers, as symbols or as a list. Not responsible for when.
//!
//! What is offered are the live dots within the snapshot as they were at its instant: a dot that has been overwritten since
//! then is gone, and what took its place may be beyond the snapshot.

use super::{Batches, Reconciled, SYMBOL_BYTES};
use crate::crdt::{DotSet, FrozenDots, OrMap, ReplicaId, Sketch, Symbol};
use crate::proto::message::{Message, Part, Symbols};

/// How many intervals of dots go into one part.
const PART_INTERVALS: usize = 4096;
/// In one frame there are so many symbols, or a part of those before if that is more: the receiver stops at the end of one,
const FRAME_SYMBOLS_MIN: u64 = 8;
const FRAME_PART: u64 = 24;
/// but no more than this.
const FRAME_SYMBOLS_MAX: u64 = 256;
/// More symbols than this are not sent.
pub(super) const SYMBOLS_MAX: u64 = 1 << 17;

/// Too much has changed since the instant: the pull has to be begun again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outdated;

/// A list of dots that is being sent.
#[derive(Debug)]
struct List {
    intervals: std::vec::IntoIter<(ReplicaId, u64, u64)>,
    ended: bool,
}

/// What is still to be offered.
#[derive(Debug)]
pub(crate) struct Offer {
    dots: FrozenDots,
    batches: Batches,
    sent: u64,
    granted: u64,
    /// Symbols made ahead, from the number `block_from` on: each block costs a pass over all dots.
    block: Vec<Symbol>,
    block_from: u64,
    list: Option<List>,
    begun: bool,
    counts: Reconciled,
}

impl Offer {
    /// Of the live dots as they are now.
    pub(crate) fn new(map: &mut OrMap) -> Self {
        Self {
            dots: map.freeze(),
            batches: Batches::default(),
            sent: 0,
            granted: 0,
            block: Vec::new(),
            block_from: 0,
            list: None,
            begun: false,
            counts: Reconciled::default(),
        }
    }

    pub(crate) fn set_batches(&mut self, batches: Batches) {
        self.batches = batches;
    }

    /// What was sent since this was asked last.
    pub(crate) fn take_counts(&mut self) -> Reconciled {
        std::mem::take(&mut self.counts)
    }

    /// The next message; `None` while the receiver has to speak.
    pub(crate) fn next(&mut self, map: &OrMap) -> Result<Option<Message>, Outdated> {
        if !std::mem::replace(&mut self.begun, true) {
            let first = self.batches.first.clamp(1, SYMBOLS_MAX);
            match self.is_list_within(map, SYMBOL_BYTES * first)? && !self.batches.never_list {
                true => self.begin_list(map)?,
                false => self.granted = first,
            }
        }
        if let Some(list) = &mut self.list {
            return Ok(list.next_part().map(Message::Live));
        }
        let next = self.granted.saturating_sub(self.sent);
        let frame = (self.sent / FRAME_PART).clamp(FRAME_SYMBOLS_MIN, FRAME_SYMBOLS_MAX);
        match next.min(if self.sent == 0 { self.granted } else { frame }) {
            0 => Ok(None),
            count => self.symbols(map, count).map(Some),
        }
    }

    /// The receiver has not found out yet, and asks for so many symbols in all; for none, if it wants the list.
    pub(crate) fn on_more(&mut self, map: &OrMap, symbols: u64, differences: u64) -> Result<(), Outdated> {
        if symbols == 0 || symbols > SYMBOLS_MAX {
            self.counts.fallbacks += 1;
            return self.begin_list(map);
        }
        // A list that is under way goes on: the receiver had not seen it when it asked.
        if self.list.is_some() {
            return Ok(());
        }
        let coded = SYMBOL_BYTES * differences.saturating_mul(14) / 10;
        if !self.batches.never_list && self.is_list_within(map, coded)? {
            self.counts.lists += 1;
            return self.begin_list(map);
        }
        self.granted = self.granted.max(symbols);
        Ok(())
    }

    fn begin_list(&mut self, map: &OrMap) -> Result<(), Outdated> {
        if self.sent == 0 {
            self.counts.lists += 1;
        }
        let intervals: Vec<_> = map.frozen_intervals(&self.dots).ok_or(Outdated)?.iter().collect();
        self.list = Some(List { intervals: intervals.into_iter(), ended: false });
        Ok(())
    }

    /// Whether listing the dots takes at most so many bytes. Cost: no more intervals than that, and the blocks of the
    /// index.
    fn is_list_within(&self, map: &OrMap, bytes_max: u64) -> Result<bool, Outdated> {
        // Each that has gone takes an interval, at most.
        let mut bytes = 2 + 21 * map.departed_count(&self.dots).ok_or(Outdated)? as u64;
        let mut before: Option<(ReplicaId, u64)> = None;
        for (replica, first, last) in map.live_intervals(self.dots.within()) {
            let end = before.filter(|before| before.0 == replica).map(|before| before.1);
            bytes += if end.is_none() { 17 } else { 0 };
            bytes += number_bytes(first - end.unwrap_or_default()) + number_bytes(last - first);
            if bytes > bytes_max {
                return Ok(false);
            }
            before = Some((replica, last));
        }
        Ok(bytes <= bytes_max)
    }

    fn symbols(&mut self, map: &OrMap, count: u64) -> Result<Message, Outdated> {
        let kept = self.dots.sketch();
        let (from, mut end) = (self.sent, self.sent + count);
        let symbols = if from < Sketch::KEPT as u64 {
            end = end.min(Sketch::KEPT as u64);
            kept[from as usize..end as usize].to_vec()
        } else {
            if from >= self.block_from + self.block.len() as u64 {
                // Four times as many as before; what is granted is likely to be asked for.
                let block_end = (4 * from).max(self.granted).min(SYMBOLS_MAX);
                self.block = map.frozen_symbols(&self.dots, from, block_end).ok_or(Outdated)?;
                self.block_from = from;
            }
            let ready = (from - self.block_from) as usize;
            let symbols: Vec<Symbol> = self.block[ready..].iter().take(count as usize).copied().collect();
            end = from + symbols.len() as u64;
            symbols
        };
        self.counts.symbols_sent += end - from;
        self.sent = end;
        Ok(Message::Symbols(Symbols { total: self.dots.count(), symbols }))
    }
}

impl List {
    /// `None` after the last.
    fn next_part(&mut self) -> Option<Part<DotSet>> {
        if self.ended {
            return None;
        }
        let mut part = DotSet::new();
        for (replica, first, last) in self.intervals.by_ref().take(PART_INTERVALS) {
            part.insert_range(replica, first, last);
        }
        self.ended = self.intervals.len() == 0;
        Some(Part { part, last: self.ended })
    }
}

fn number_bytes(number: u64) -> u64 {
    u64::from(64 - (number | 1).leading_zeros()).div_ceil(7)
}
