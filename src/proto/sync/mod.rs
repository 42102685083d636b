//! One pull, as its sender and as its receiver. Not responsible for when to pull, nor from whom: `node` is.
//!
//! The receiver states its context `base` and the live dots `have` that it holds beyond it; the sender answers with a
//! snapshot of its own context, the entries that differ, each under the context it is read under when it is sent, and
//! `Done`. Only with `Done` the receiver's context takes in the snapshot; in a catch-up, with the end of the comparison of
//! live dots that follows. Whatever arrives before an interruption stays, pending, and the next attempt, with whomever,
//! asks for the rest only. See `proto-docs/sync.md`.

mod receiver;
mod sender;

pub use receiver::{Receiver, Step};
pub use sender::Sender;

use super::message::Message;

/// A message that its receiver cannot take at this point. The link is closed; the message has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// Something else was to be said.
    #[error("{message} where {expected} was expected")]
    Turn {
        /// What came.
        message: &'static str,
        /// Instead of what.
        expected: &'static str,
    },
    /// It does not fit to what was said before.
    #[error("{message} with {what}")]
    Content {
        /// What came.
        message: &'static str,
        /// What is in it.
        what: &'static str,
    },
}

impl OutOfTurn {
    pub(crate) fn new(message: &Message, expected: &'static str) -> Self {
        Self::Turn { message: message.name(), expected }
    }

    pub(crate) fn content(message: &Message, what: &'static str) -> Self {
        Self::Content { message: message.name(), what }
    }
}
