//! The sender's side of a pull. Not responsible for pacing: it makes a message whenever it is asked for one.

use super::OutOfTurn;
use crate::crdt::{EntriesBuilder, Key, KeyList, OrMap};
use crate::proto::message::{Begin, Message, Pull};
use crate::proto::reconcile::Offer;

/// A chunk is closed when it holds so many bytes, so that what is fresh never waits long behind it.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers one pull. Ask it for [`next`](Self::next) messages as the stream takes them.
#[derive(Debug)]
pub struct Sender {
    begin: Begin,
    stage: Stage,
    /// Keys with a live dot outside `base ∪ have` at the instant of the snapshot: a list of keys, not of entries, so
    /// that a truncation while it is worked off does not shorten it.
    keys: KeyList,
    /// Keys written meanwhile: they go before the rest.
    fresh: KeyList,
    chunk_entries: usize,
}

#[derive(Debug)]
enum Stage {
    Begin(Option<Offer>),
    Offer(Offer),
    AwaitDead,
    Entries,
    Finished,
}

impl Sender {
    /// Or so many entries, unless set otherwise.
    pub const CHUNK_ENTRIES: usize = 4096;

    /// Takes the snapshot. Cost: the entries that differ; in a catch-up, the live dots.
    pub fn new(map: &OrMap, pull: &Pull) -> Self {
        let catch_up = pull.catch_up || map.needs_catch_up(&pull.base);
        let offer = catch_up.then(|| Offer::new(map, &pull.base, &pull.have));
        Self {
            begin: Begin { snapshot: map.context().clone(), bound: map.truncated().clone(), catch_up },
            stage: Stage::Begin(offer),
            keys: map.keys_since(&pull.base, &pull.have),
            fresh: KeyList::new(),
            chunk_entries: Self::CHUNK_ENTRIES,
        }
    }

    /// The same with at most so many entries in a chunk.
    #[must_use]
    pub fn with_chunk_entries(mut self, entries: usize) -> Self {
        self.chunk_entries = entries.max(1);
        self
    }

    /// What the receiver's context takes in at the end.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// A key was written here after the snapshot: it goes before the rest.
    pub fn on_write(&mut self, key: Key<'_>) {
        if !self.is_finished() {
            self.fresh.push(key);
        }
    }

    /// The receiver has found dots that died here: their keys join the list.
    pub fn on_message(&mut self, message: &Message) -> Result<(), OutOfTurn> {
        let (Message::Dead(dead), Stage::AwaitDead | Stage::Offer(_)) = (message, &self.stage) else {
            return Err(OutOfTurn::new(message, "the keys of dead dots, after our live dots"));
        };
        let mut part = dead.part.clone();
        while let Some(key) = part.pop() {
            self.keys.push(key);
        }
        if dead.last {
            self.stage = Stage::Entries;
        }
        Ok(())
    }

    /// The next message; `None` while the receiver has to speak, and after `Done`.
    pub fn next(&mut self, map: &OrMap) -> Option<Message> {
        match std::mem::replace(&mut self.stage, Stage::Finished) {
            Stage::Begin(offer) => {
                self.stage = offer.map_or(Stage::Entries, Stage::Offer);
                Some(Message::Begin(self.begin.clone()))
            }
            Stage::Offer(mut offer) => {
                let part = offer.next_part();
                self.stage = if part.as_ref().is_none_or(|p| p.last) { Stage::AwaitDead } else { Stage::Offer(offer) };
                part.map(Message::Live)
            }
            Stage::AwaitDead => {
                self.stage = Stage::AwaitDead;
                None
            }
            Stage::Entries if self.keys.is_empty() && self.fresh.is_empty() => {
                // RULE 5: the bound as it is at the end, for what was truncated while the list was worked off.
                Some(Message::Done { bound: map.truncated().clone() })
            }
            Stage::Entries => {
                self.stage = Stage::Entries;
                Some(Message::Chunk(self.chunk(map)))
            }
            Stage::Finished => None,
        }
    }

    fn chunk(&mut self, map: &OrMap) -> crate::crdt::Entries {
        let mut builder = EntriesBuilder::default();
        // Fresh keys have half of each chunk, so that the rest goes on while many are written.
        let entries = self.chunk_entries;
        fill(&mut builder, map, &mut self.fresh, (CHUNK_BYTES / 2, entries.div_ceil(2)));
        fill(&mut builder, map, &mut self.keys, (CHUNK_BYTES, entries));
        fill(&mut builder, map, &mut self.fresh, (CHUNK_BYTES, entries));
        builder.finish()
    }

    /// Whether `Done` has been given.
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }
}

fn fill(builder: &mut EntriesBuilder, map: &OrMap, keys: &mut KeyList, (bytes_max, entries_max): (usize, usize)) {
    while builder.bytes() < bytes_max && builder.len() < entries_max {
        let Some(key) = keys.pop() else { break };
        builder.push(map, key);
    }
}
