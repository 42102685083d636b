//! One pull, as its sender and as its receiver. Not responsible for when to pull, nor from whom: `node` is.
//!
//! The receiver states its context `base` and the live dots `have` that it holds beyond it; the sender answers with a
//! snapshot of its own context, the entries that differ, each under the context it is read under when it is sent, and
//! `Done`. Only with `Done` the receiver's context takes in the snapshot: whatever arrives before an interruption stays,
//! pending, and the next attempt, with whomever, asks for the rest only. See `proto-docs/sync.md`.

mod receiver;
mod sender;

pub use receiver::{Receiver, Step};
pub use sender::Sender;

use super::message::Message;

/// A message that its receiver cannot take at this point. The link is closed; the message has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} where {expected} was expected")]
pub struct OutOfTurn {
    message: &'static str,
    expected: &'static str,
}

impl OutOfTurn {
    pub(crate) fn new(message: &Message, expected: &'static str) -> Self {
        Self { message: message.name(), expected }
    }
}
