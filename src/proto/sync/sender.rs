//! The sender's side of a pull. Not responsible for pacing: it makes a message whenever it is asked for one.

use super::OutOfTurn;
use crate::crdt::{CausalContext, Dot, DotSet, Entries, EntriesBuilder, KeyList, OrMap};
use crate::proto::assembly::{PIECE_BYTES, Pieces};
use crate::proto::message::{Begin, Message, Pull};
use crate::proto::reconcile::{Base, Batches, Differ, Differed, Offer, Outdated, Reconciled};
use std::collections::VecDeque;

/// A chunk is closed when it holds so many bytes, unless set otherwise.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers one pull. Ask it for [`next`](Self::next) messages as the stream takes them.
#[derive(Debug)]
pub struct Sender {
    begin: Begin,
    base: Base,
    stage: Stage,
    have: DotSet,
    forced: bool,
    /// Keys with a live dot outside `base ∪ have` at the instant of the snapshot: a list of keys, not of entries, so
    /// that a truncation while it is worked off does not shorten it.
    keys: KeyList,
    /// Keys of large values: they go last, and those in pieces.
    large: KeyList,
    /// What of such values the receiver has already.
    partial: Vec<(Dot, u64)>,
    /// The pieces that go before a chunk, and that chunk.
    pieces: VecDeque<Pieces>,
    after_pieces: Option<Entries>,
    by_key: bool,
    chunk_bytes: usize,
    /// Its live dots at the instant of the snapshot, in a catch-up.
    offer: Option<Offer>,
    chunk_entries: usize,
    batches: Batches,
    counts: Reconciled,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a pull has one, and there are few pulls")]
enum Stage {
    /// What the receiver has is not clear yet; the question that is to be asked next.
    Differ(Differ, Option<Message>),
    Begin,
    Entries,
    Compare,
    Finished,
    GivenUp,
}

impl Sender {
    /// Or so many entries, unless set otherwise.
    pub const CHUNK_ENTRIES: usize = 4096;

    /// Takes the snapshot, unless it has to ask first what the receiver has. Cost: the entries that differ.
    pub fn new(map: &mut OrMap, pull: &Pull) -> Self {
        let (differ, differed) = Differ::start(map, &pull.told);
        let mut sender = Self {
            begin: Begin::default(),
            base: Base::default(),
            stage: Stage::Begin,
            have: pull.have.clone(),
            forced: pull.catch_up,
            keys: KeyList::new(),
            large: KeyList::new(),
            partial: pull.partial.clone(),
            pieces: VecDeque::new(),
            after_pieces: None,
            by_key: pull.by_key,
            chunk_bytes: CHUNK_BYTES,
            offer: None,
            chunk_entries: Self::CHUNK_ENTRIES,
            batches: Batches::default(),
            counts: Reconciled::default(),
        };
        sender.on_differed(map, differ, differed);
        sender
    }

    /// The same with at most so many entries in a chunk.
    #[must_use]
    pub fn with_chunk_entries(mut self, entries: usize) -> Self {
        self.chunk_entries = entries.max(1);
        self
    }

    /// The same with another way to offer its live dots.
    #[must_use]
    pub fn with_batches(mut self, batches: Batches) -> Self {
        self.batches = batches;
        self
    }

    /// What the receiver's context takes in at the end. Empty as long as it is not clear what the receiver has.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// What the receiver has, as far as it is known here. `None` as long as that is not clear.
    pub fn base(&self) -> Option<&CausalContext> {
        (!matches!(self.stage, Stage::Differ(..))).then_some(&self.base.context)
    }

    /// From now on a chunk is closed when it holds so many bytes.
    pub fn set_chunk_bytes(&mut self, bytes: usize) {
        self.chunk_bytes = bytes;
    }

    fn on_differed(&mut self, map: &mut OrMap, differ: Differ, differed: Differed) {
        match differed {
            Differed::Base(base) => self.take_snapshot(map, *base),
            Differed::Ask(question) => self.stage = Stage::Differ(differ, Some(question)),
        }
    }

    fn take_snapshot(&mut self, map: &mut OrMap, base: Base) {
        let catch_up = self.forced || map.needs_catch_up(&base.context);
        self.begin = Begin { snapshot: map.context().clone(), bound: map.truncated().clone(), catch_up };
        self.keys = map.keys_since(&base.context, &self.have);
        self.offer = catch_up.then(|| Offer::new(map));
        self.base = base;
        self.stage = Stage::Begin;
    }

    /// Takes what the receiver says. A message that is out of turn has changed nothing.
    pub fn on_message(&mut self, map: &mut OrMap, message: &Message) -> Result<(), OutOfTurn> {
        match std::mem::replace(&mut self.stage, Stage::GivenUp) {
            Stage::Differ(differ, question) => self.on_told(map, differ, question, message),
            Stage::Compare => self.on_compared(map, message),
            stage => {
                self.stage = stage;
                Err(OutOfTurn::new(message, "nothing"))
            }
        }
    }

    fn on_told(
        &mut self,
        map: &mut OrMap,
        mut differ: Differ,
        question: Option<Message>,
        message: &Message,
    ) -> Result<(), OutOfTurn> {
        match message {
            Message::Symbols(symbols) if question.is_none() => {
                self.counts.symbols_received += symbols.symbols.len() as u64;
                let differed = differ.on_more(map, symbols).map_err(|what| OutOfTurn::content(message, what))?;
                self.on_differed(map, differ, differed);
            }
            Message::Contexts { context, bound } if question.is_none() => {
                self.counts.fallbacks += 1;
                self.take_snapshot(map, *Differ::whole(map, context, bound));
            }
            _ => {
                self.stage = Stage::Differ(differ, question);
                return Err(OutOfTurn::new(message, "symbols of what it has, if they were asked for"));
            }
        }
        Ok(())
    }

    fn on_compared(&mut self, map: &OrMap, message: &Message) -> Result<(), OutOfTurn> {
        self.stage = Stage::Compare;
        match (message, &mut self.offer) {
            (Message::More { symbols, differences }, Some(offer)) => {
                if offer.on_more(map, *symbols, *differences) == Err(Outdated) {
                    self.stage = Stage::GivenUp;
                }
                Ok(())
            }
            (Message::Decoded, _) => {
                self.stage = Stage::Finished;
                Ok(())
            }
            _ => Err(OutOfTurn::new(message, "what the receiver makes of our live dots")),
        }
    }

    /// The next message; `None` while the receiver has to speak, and after the last.
    pub fn next(&mut self, map: &OrMap) -> Option<Message> {
        let all_sent = self.is_all_sent();
        match &mut self.stage {
            Stage::Differ(_, question) => question.take(),
            Stage::Begin => {
                self.stage = Stage::Entries;
                Some(Message::Begin(self.base.beginning(&self.begin)))
            }
            Stage::Entries if all_sent => {
                self.stage = if self.begin.catch_up { Stage::Compare } else { Stage::Finished };
                // RULE 5: the bound as it is at the end, for what was truncated while the list was worked off.
                Some(Message::Done { bound: map.truncated().clone() })
            }
            Stage::Entries => Some(self.next_entries(map)),
            Stage::Compare => self.next_of_offer(map),
            Stage::Finished | Stage::GivenUp => None,
        }
    }

    fn next_of_offer(&mut self, map: &OrMap) -> Option<Message> {
        let offer = self.offer.as_mut()?;
        offer.set_batches(self.batches);
        offer.next(map).unwrap_or_else(|Outdated| {
            self.stage = Stage::GivenUp;
            None
        })
    }

    fn is_all_sent(&self) -> bool {
        let nothing_left = self.keys.is_empty() && self.large.is_empty();
        nothing_left && self.pieces.is_empty() && self.after_pieces.is_none()
    }

    fn next_entries(&mut self, map: &OrMap) -> Message {
        while let Some(pieces) = self.pieces.front_mut() {
            match pieces.next() {
                Some(piece) => return Message::Piece(piece),
                None => drop(self.pieces.pop_front()),
            }
        }
        if let Some(entries) = self.after_pieces.take() {
            return Message::Chunk(entries);
        }
        let chunk = self.chunk(map);
        if !chunk.is_empty() || self.large.is_empty() {
            return Message::Chunk(chunk);
        }
        self.begin_large(map);
        self.next_entries(map)
    }

    fn builder(&self) -> EntriesBuilder {
        let builder = EntriesBuilder::default().without_values_beyond(PIECE_BYTES);
        if self.by_key { builder } else { builder.naming(self.base.context.clone()) }
    }

    /// Small entries, as many as fit.
    fn chunk(&mut self, map: &OrMap) -> Entries {
        let mut builder = self.builder();
        while builder.bytes() < self.chunk_bytes && builder.len() < self.chunk_entries {
            let Some(key) = self.keys.pop() else { break };
            match map.longest_value(key) > PIECE_BYTES {
                true => self.large.push(key),
                false => builder.push(map, key),
            }
        }
        builder.finish()
    }

    /// The next entry with a large value: first that, in pieces, then the entry.
    fn begin_large(&mut self, map: &OrMap) {
        let mut builder = self.builder();
        if let Some(key) = self.large.pop() {
            builder.push(map, key);
        }
        for (dot, value) in builder.large() {
            let known = self.partial.iter().find(|(known, _)| *known == dot).map_or(0, |(_, bytes)| *bytes);
            self.pieces.push_back(Pieces::new(dot, value, known));
        }
        self.after_pieces = Some(builder.finish());
    }

    /// Whether all is over: the last message was given, and in a catch-up the receiver has said that it has all. Only now
    /// it is known to have the snapshot.
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }

    /// Whether this pull cannot be answered to its end, because too much has changed meanwhile. It has to be reset.
    pub fn is_given_up(&self) -> bool {
        matches!(self.stage, Stage::GivenUp)
    }

    /// What was sent and received to compare, since this was asked last.
    pub fn take_counts(&mut self) -> Reconciled {
        let mut counts = std::mem::take(&mut self.counts);
        counts.add(self.offer.as_mut().map(Offer::take_counts).unwrap_or_default());
        counts
    }
}
