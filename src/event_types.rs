//! What a listener is told. Not responsible for telling it.

use crate::crdt::{CausalContext, Causality, Dot};
use crate::proto::broadcast;
use crate::store::Cursor;
use bytes::Bytes;

/// What a listener hears: see [`Store::events`](crate::Store::events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// A message that was broadcast.
    Event(Event),
    /// Messages that this node was away for, or the listener too slow: they cannot be had any more.
    Missed(Missed),
}

/// A message that was broadcast, delivered once and after all that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its name.
    pub dot: Dot,
    /// What its sender had delivered before: of each sender of a message that was live then, all up to that dot.
    pub context: CausalContext,
    /// Its bytes.
    pub payload: Bytes,
    /// To go on from after this event, here or at any other node: see [`Store::events_after`](crate::Store::events_after).
    pub cursor: Cursor,
}

/// Messages that cannot be had any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// How many, as far as can be known.
    pub count: u64,
    /// To go on from after this.
    pub cursor: Cursor,
}

impl Event {
    /// How this event and another one are related: [`Before`](Causality::Before) if the other's sender had been told of this
    /// one. Exact for events that were live at the same time. Logarithmic in the nodes that had messages.
    pub fn compare(&self, other: &Self) -> Causality {
        broadcast::compare((self.dot, &self.context), (other.dot, &other.context))
    }
}

impl Heard {
    /// The event, if it is one.
    pub fn event(self) -> Option<Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Missed(_) => None,
        }
    }

    /// To go on from after this.
    pub const fn cursor(&self) -> &Cursor {
        match self {
            Self::Event(event) => &event.cursor,
            Self::Missed(missed) => &missed.cursor,
        }
    }
}
