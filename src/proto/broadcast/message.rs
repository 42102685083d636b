//! A message and a sender's count as values of the map, and their keys. Not responsible for when they are written.
//!
//! ```text
//! message    1 | since | number | n, n × (replica, counter) | payload
//! ```
//!
//! Numbers are LEB128, replicas 16 bytes, in their order. A sender numbers its messages from 1: the dots that it takes for
//! them have gaps, for it writes other things too, and say nothing of how many are missing. `since` is when it began to:
//! a sender that has been silent for so long that its count is forgotten begins anew. The causes are dots, not numbers, so
//! that a message is compared with nothing but its dot and its context; the one before of the same sender is among them.

use crate::crdt::{CausalContext, Causality, Dot, ReplicaId};
use crate::proto::wire::{DecodeError, Reader, Writer};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Messages, below `sys`,
pub(super) const EVENTS: &[u8] = b"events/";
/// and counts.
pub(super) const SENDERS: &[u8] = b"senders/";

const VERSION: u8 = 1;

/// A message, as it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub dot: Dot,
    /// What its sender had delivered of other messages: of each sender of one that was live there, all up to that dot.
    pub context: CausalContext,
    /// Its bytes.
    pub payload: Bytes,
}

/// What stands before the bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) count: Count,
    pub(super) context: CausalContext,
}

/// How many messages a sender has sent, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Since when it counts, in milliseconds since 1970.
    pub since: u64,
    /// How many there were.
    pub sent: u64,
}

impl Message {
    /// How this message and another one are related: [`Before`](Causality::Before) if the other's sender had delivered
    /// this one. Exact for messages that were live at the same time.
    pub fn compare(&self, other: &Self) -> Causality {
        compare((self.dot, &self.context), (other.dot, &other.context))
    }
}

/// How two messages are related, by their names and contexts. Of the same sender the earlier is before the later one,
/// whatever was live.
pub fn compare(one: (Dot, &CausalContext), other: (Dot, &CausalContext)) -> Causality {
    let precedes = |(dot, _): (Dot, &CausalContext), (later, context): (Dot, &CausalContext)| {
        context.contains(dot) || (dot.replica == later.replica && dot.counter < later.counter)
    };
    match (precedes(one, other), precedes(other, one)) {
        _ if one.0 == other.0 => Causality::Equal,
        (true, false) => Causality::Before,
        (false, true) => Causality::After,
        // Both ways it can only be where somebody has lied.
        (true, true) | (false, false) => Causality::Concurrent,
    }
}

impl Header {
    pub(super) fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes.push(VERSION);
        writer.number(self.count.since);
        writer.number(self.count.sent);
        writer.context(&self.context);
        writer.bytes.extend_from_slice(payload);
        writer.bytes
    }

    /// The header of the message of that name, and where its payload begins.
    pub(super) fn decode(dot: Dot, value: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(value);
        if reader.byte()? != VERSION {
            return Err(DecodeError::Invalid("a message of another version"));
        }
        let count = Count { since: reader.number()?, sent: reader.number()? };
        let context = reader.context()?;
        if count.sent == 0 || context.get(dot.replica) >= dot.counter {
            return Err(DecodeError::Invalid("a message that depends on itself"));
        }
        Ok((Self { count, context }, value.len() - reader.left()))
    }
}

impl Count {
    pub(crate) fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("it is plain data")
    }

    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

/// The key of a message, in `sys`.
pub fn message_key(dot: Dot) -> Vec<u8> {
    [EVENTS, dot.to_string().as_bytes()].concat()
}

/// The key of a sender's count, in `sys`.
pub fn count_key(sender: ReplicaId) -> Vec<u8> {
    [SENDERS, sender.to_string().as_bytes()].concat()
}

/// The message that a key is of.
pub(super) fn dot_in(key: &[u8]) -> Option<Dot> {
    let dot: Dot = std::str::from_utf8(key.strip_prefix(EVENTS)?).ok()?.parse().ok()?;
    // In one form only, or a message could be there twice.
    (message_key(dot) == key).then_some(dot)
}

/// The sender whose count a key is of.
pub(super) fn sender_in(key: &[u8]) -> Option<ReplicaId> {
    let sender = std::str::from_utf8(key.strip_prefix(SENDERS)?).ok()?.parse().ok()?;
    (count_key(sender) == key).then_some(sender)
}
