//! Watching: every visible change of the users' keys, told to whoever reads, each with a mark to go on from at any node.
//! Not responsible for waking anybody: a watcher is asked when the node has changed.
//!
//! The node keeps no queue for anybody. It numbers its recent changes in a ring of bounded size ([`Feed`]), as long as
//! somebody watches; a [`Watcher`] is a position in it, owned by whoever reads, and is told only what is durable. Who has
//! fallen off the ring, or comes from elsewhere, is told what a walk over the index from dot to key finds (`walk`).
//!
//! What a watcher has been shown is a causal context `C`: of each dot in it, it knows what became of the dot's key. A
//! node whose `R` covers all that the watcher may have been shown can go on from there: what it has done to a key since
//! has a live dot outside `C`, or is within its `T`, and then nobody can say.

mod ring;
mod walk;
mod watcher;

use crate::crdt::{CausalContext, Cause, Showing, Timestamp};
use bytes::Bytes;
use std::sync::Arc;

pub use ring::Feed;
pub use watcher::{Asked, Watcher};

/// A change of what a key shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The key.
    pub key: Bytes,
    /// Why.
    pub cause: Cause,
    /// What it shows now.
    pub value: Option<Bytes>,
    /// The write of that; without a value the tombstone, or the write that has expired.
    pub dot: Option<crate::crdt::Dot>,
    /// When that was.
    pub timestamp: Option<Timestamp>,
    /// Its deadline, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// What the watcher has been shown with it.
    pub seen: Arc<Seen>,
}

/// What a watcher has been shown: enough to go on from, at any node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of the keys of these writes it knows what became.
    pub context: CausalContext,
    /// Writes beyond the context that it may have been shown something of: whoever goes on must have them.
    pub ahead: CausalContext,
    /// What has expired until then, in milliseconds since 1970, it has been told, as far as it knew of it.
    pub through_ms: u64,
}

/// Why a watcher cannot be told what it has missed. It reads everything again, and goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// Deletes that it has not seen are forgotten here.
    Truncated,
    /// Values that have expired since are forgotten here.
    Forgotten,
    /// Nobody in reach has what it has seen.
    Unreached,
    /// The disk has failed, and what the watcher may have read of the node meanwhile was taken back.
    TakenBack,
    /// The clock of the node was set back, over a deadline.
    Clock,
}

impl Seen {
    /// Whether a node with that context has all that the watcher may have been shown.
    pub fn is_within(&self, context: &CausalContext) -> bool {
        context.includes(&self.context) && context.includes(&self.ahead)
    }

    fn told(self: &Arc<Self>, key: Bytes, showing: Showing) -> Told {
        let Showing { cause, value, dot, timestamp, expires } = showing;
        Told { key, cause, value, dot, timestamp, expires, seen: self.clone() }
    }

    /// A value is told that expires earlier than this node has been told of: by the clock of another one.
    fn look_back(&mut self, showing: &Showing) {
        if let Some(expires) = showing.expires.filter(|_| showing.value.is_some()) {
            self.through_ms = self.through_ms.min(expires.saturating_sub(1));
        }
    }

    fn tidy(&mut self) {
        if !self.ahead.is_empty() && self.context.includes(&self.ahead) {
            self.ahead = CausalContext::new();
        }
    }
}
