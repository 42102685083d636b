//! Broadcast: messages that every node delivers once, and never before what they depend on. Not responsible for carrying
//! them: a message is an entry of the map, and spreads, is repaired, resumed and forgotten as any entry is.
//!
//! A message lives at `sys/events/<dot>` until its deadline. With its bytes it carries its causal context: for each sender
//! of a message that was live there, the last one that had been delivered where it was sent. Its sender also keeps a count
//! of what it has sent, at `sys/senders/<replica>`, so that who was away learns how much it has missed ([`Count`]).
//!
//! [`Delivery`] takes the messages of one node as they become visible, lets those wait whose causes are not there yet, and
//! puts them into an order (`log.rs`); a [`Listener`] is a position in that, owned by whoever listens, as a watcher is.
//!
//! Why not let the map's own context decide? `R` is causally closed, so a message could be delivered as soon as `R` has its
//! dot, in the order of the dots' causes. But `R` waits for the end of a sync, which may be long, and its message need not.

mod delivery;
mod listener;
mod log;
mod message;

pub use delivery::{Delivery, Moment};
pub use listener::{Heard, Listener};
pub use message::{Count, Message, compare, count_key, message_key};
use message::{EVENTS, Header, SENDERS};

use crate::crdt::{CausalContext, ReplicaId};
use std::collections::BTreeMap;

/// The last message of each sender that somebody has been told of: the counter of its dot, and its number.
pub type Told = BTreeMap<ReplicaId, (u64, u64)>;

/// The value of a message.
pub(crate) fn encode(count: Count, context: CausalContext, payload: &[u8]) -> Vec<u8> {
    Header { count, context }.encode(payload)
}

#[cfg(test)]
mod tests;
