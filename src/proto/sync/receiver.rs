//! The receiver's side of a pull. Not responsible for RULE 4, that a catch-up excludes all others: `node` is, who is told
//! when one begins.

use super::OutOfTurn;
use crate::crdt::{CausalContext, Change, KeyList, OrMap, Received};
use crate::proto::message::{Begin, Message, Part, Pull};
use crate::proto::reconcile::Comparison;

/// Asks for one pull, and takes what comes.
#[derive(Debug)]
pub struct Receiver {
    base: CausalContext,
    stage: Stage,
    begin: Begin,
}

#[derive(Debug)]
enum Stage {
    AwaitBegin,
    AwaitLive(Comparison),
    AwaitEntries,
    Finished,
}

/// What a message to the receiver has led to.
#[derive(Debug)]
pub enum Step {
    /// The pull has begun; if it is a catch-up, every other incoming sync must be given up now.
    Begun {
        /// Whether it is one.
        catch_up: bool,
    },
    /// More of the sender's live dots are to come.
    Waiting,
    /// Send these, in `Dead` messages.
    Reply(Vec<Part<KeyList>>),
    /// Entries were joined.
    Joined(Received),
    /// Entries are named by writes that are not live here any more, or lack their values: none was joined, the pull must
    /// be given up, and the next one ask for keys.
    Unresolved,
    /// The context has taken in the snapshot.
    Done,
}

impl Receiver {
    /// Starts a pull: the message that asks for it.
    ///
    /// `catch_up` asks for one even if the sender sees no need: the sums show a defect.
    pub fn start(map: &OrMap, catch_up: bool) -> (Self, Pull) {
        let pull = Pull { base: map.context().clone(), have: map.have(), catch_up };
        let receiver = Self { base: pull.base.clone(), stage: Stage::AwaitBegin, begin: Begin::default() };
        (receiver, pull)
    }

    /// The sender's `Begin`, once it has come: chunks are decoded with it.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// Takes what the sender says. `report` is told what changed to the eye.
    pub fn on_message(
        &mut self,
        map: &mut OrMap,
        message: Message,
        report: impl FnMut(Change),
    ) -> Result<Step, OutOfTurn> {
        match (&mut self.stage, message) {
            (Stage::AwaitBegin, Message::Begin(begin)) => Ok(self.on_begin(begin)),
            (Stage::AwaitLive(comparison), Message::Live(part)) => {
                let Some(dead) = comparison.on_part(map, &self.begin.snapshot, &part) else { return Ok(Step::Waiting) };
                self.stage = Stage::AwaitEntries;
                Ok(Step::Reply(dead))
            }
            (Stage::AwaitEntries, Message::Chunk(entries)) => Ok(match map.resolve(entries) {
                Ok(entries) => Step::Joined(map.join_entries(&entries, report)),
                Err(_) => Step::Unresolved,
            }),
            (Stage::AwaitEntries, Message::Done { bound }) => Ok(self.on_done(map, &bound)),
            (Stage::AwaitBegin, message) => Err(OutOfTurn::new(&message, "the beginning of a pull")),
            (Stage::AwaitLive(_), message) => Err(OutOfTurn::new(&message, "the sender's live dots")),
            (Stage::AwaitEntries, message) => Err(OutOfTurn::new(&message, "entries")),
            (Stage::Finished, message) => Err(OutOfTurn::new(&message, "nothing")),
        }
    }

    fn on_begin(&mut self, begin: Begin) -> Step {
        let catch_up = begin.catch_up;
        self.stage = if catch_up { Stage::AwaitLive(Comparison::default()) } else { Stage::AwaitEntries };
        self.begin = begin;
        Step::Begun { catch_up }
    }

    /// Every entry that differs has arrived: only now the context may take in the snapshot, and the bound with it.
    fn on_done(&mut self, map: &mut OrMap, bound: &CausalContext) -> Step {
        self.stage = Stage::Finished;
        let snapshot = &self.begin.snapshot;
        debug_assert!(map.context().includes(&self.base), "a context only grows");
        // RULE 5: also where the sender truncated after the snapshot, and this was no catch-up.
        if !self.base.includes(&bound.meet(snapshot)) {
            map.adopt_bound(bound, snapshot);
        }
        map.incorporate(snapshot);
        Step::Done
    }
}
