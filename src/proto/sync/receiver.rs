//! The receiver's side of a pull. Not responsible for when to give it up: `node` is.

use super::OutOfTurn;
use crate::crdt::{CausalContext, Change, DotSet, EntryContext, OrMap, Received};
use crate::proto::message::{Begin, Message, Pull};
use crate::proto::reconcile::{Comparison, LISTED_MAX, Outcome, Reconciled, Telling};

/// Asks for one pull, and takes what comes.
#[derive(Debug)]
pub struct Receiver {
    base: CausalContext,
    stage: Stage,
    begin: Begin,
    telling: Telling,
    /// How many symbols of its contexts it has sent.
    told: u64,
    counts: Reconciled,
}

#[derive(Debug)]
enum Stage {
    AwaitBegin,
    AwaitEntries,
    /// All entries have come, and the sender's bound was this.
    Compare(Box<Comparison>, CausalContext),
    Finished,
}

/// What a message to the receiver has led to.
#[derive(Debug)]
pub enum Step {
    /// The pull has begun.
    Begun {
        /// Whether it is a catch-up.
        catch_up: bool,
    },
    /// More of the sender's live dots are to come.
    Waiting,
    /// Send this.
    Reply(Message),
    /// Entries were joined.
    Joined(Received),
    /// Entries are named by writes that are not live here any more, or lack their values: none was joined, the pull must
    /// be given up, and the next one ask for keys.
    Unresolved,
    /// The context has taken in the snapshot.
    Done {
        /// Send this, and nothing after it.
        reply: Option<Message>,
    },
}

impl Receiver {
    /// Starts a pull: the message that asks for it.
    ///
    /// `catch_up` asks for one even if the sender sees no need: the sums show a defect.
    pub fn start(map: &OrMap, catch_up: bool) -> (Self, Pull) {
        Self::start_telling(map, catch_up, LISTED_MAX)
    }

    /// The same, with contexts of more than so many replicas coded.
    pub fn start_telling(map: &OrMap, catch_up: bool, listed_max: usize) -> (Self, Pull) {
        let (telling, told) = Telling::new(map, listed_max);
        let pull = Pull { told, have: map.have(), catch_up, by_key: false, partial: Vec::new() };
        let sent = pull.symbols();
        let receiver = Self {
            base: map.context().clone(),
            stage: Stage::AwaitBegin,
            begin: Begin::default(),
            telling,
            told: sent,
            counts: Reconciled { symbols_sent: sent, ..Reconciled::default() },
        };
        (receiver, pull)
    }

    /// The sender's `Begin`, once it has come: chunks are decoded with it.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// What was sent and received to compare, since this was asked last.
    pub fn take_counts(&mut self) -> Reconciled {
        let mut counts = std::mem::take(&mut self.counts);
        if let Stage::Compare(comparison, _) = &mut self.stage {
            counts.add(comparison.take_counts());
        }
        counts
    }

    /// Takes what the sender says. `report` is told what changed to the eye.
    pub fn on_message(
        &mut self,
        map: &mut OrMap,
        message: Message,
        report: impl FnMut(Change),
    ) -> Result<Step, OutOfTurn> {
        match (&mut self.stage, &message) {
            (Stage::AwaitBegin, Message::More { symbols, .. }) => Ok(self.on_more(map, *symbols)),
            (Stage::AwaitBegin, Message::Begin(beginning)) => {
                self.begin = self.telling.resolve(beginning).map_err(|what| OutOfTurn::content(&message, what))?;
                self.stage = Stage::AwaitEntries;
                Ok(Step::Begun { catch_up: self.begin.catch_up })
            }
            (Stage::AwaitEntries, Message::Chunk(entries)) => Ok(match map.resolve(entries.clone()) {
                Ok(entries) => Step::Joined(map.join_entries(&entries, report)),
                Err(_) => Step::Unresolved,
            }),
            (Stage::AwaitEntries, Message::Done { bound }) => Ok(self.on_done(map, bound)),
            (Stage::Compare(comparison, _), Message::Live(part)) => {
                let outcome = comparison.on_part(map, part);
                Ok(self.on_outcome(map, outcome, report))
            }
            (Stage::Compare(comparison, _), Message::Symbols(symbols)) => {
                let outcome = comparison.on_symbols(map, symbols).map_err(|what| OutOfTurn::content(&message, what))?;
                Ok(self.on_outcome(map, outcome, report))
            }
            (Stage::AwaitBegin, _) => Err(OutOfTurn::new(&message, "the beginning of a pull")),
            (Stage::AwaitEntries, _) => Err(OutOfTurn::new(&message, "entries")),
            (Stage::Compare(..), _) => Err(OutOfTurn::new(&message, "the sender's live dots")),
            (Stage::Finished, _) => Err(OutOfTurn::new(&message, "nothing")),
        }
    }

    fn on_more(&mut self, map: &OrMap, wanted: u64) -> Step {
        let reply = self.telling.on_more(map, self.told, wanted);
        if let Message::Symbols(symbols) = &reply {
            self.told += symbols.symbols.len() as u64;
            self.counts.symbols_sent += symbols.symbols.len() as u64;
        }
        Step::Reply(reply)
    }

    /// Every entry that differs has arrived: only now the context may take in the snapshot, and the bound with it.
    fn on_done(&mut self, map: &mut OrMap, bound: &CausalContext) -> Step {
        let snapshot = &self.begin.snapshot;
        debug_assert!(map.context().includes(&self.base), "a context only grows");
        if self.begin.catch_up {
            self.stage = Stage::Compare(Box::new(Comparison::new(map, snapshot)), bound.clone());
            return Step::Waiting;
        }
        self.stage = Stage::Finished;
        // RULE 5: also where the sender truncated after the snapshot, and this was no catch-up.
        if !self.base.includes(&bound.meet(snapshot)) {
            map.adopt_bound(bound, snapshot);
        }
        map.incorporate(snapshot);
        Step::Done { reply: None }
    }

    fn on_outcome(&mut self, map: &mut OrMap, outcome: Outcome, report: impl FnMut(Change)) -> Step {
        match outcome {
            Outcome::Waiting => Step::Waiting,
            Outcome::Ask(message) => Step::Reply(message),
            Outcome::Dead(dead) => self.conclude(map, &dead, report),
        }
    }

    /// RULE 4: the comparison is of this moment, and what follows from it is done in this moment.
    fn conclude(&mut self, map: &mut OrMap, dead: &DotSet, report: impl FnMut(Change)) -> Step {
        self.counts = self.take_counts();
        if let Stage::Compare(_, last_bound) = std::mem::replace(&mut self.stage, Stage::Finished) {
            let Begin { snapshot, bound, .. } = &self.begin;
            let theirs = EntryContext { context: snapshot.clone(), bound: bound.clone() };
            map.conclude(dead, theirs, &last_bound, report);
        }
        Step::Done { reply: Some(Message::Decoded) }
    }
}

impl Pull {
    /// How many symbols are in it.
    fn symbols(&self) -> u64 {
        match &self.told {
            crate::proto::message::Told::Coded { symbols, .. } => symbols.symbols.len() as u64,
            _ => 0,
        }
    }
}
