//! What a watcher is told. Not responsible for telling it.

use crate::crdt::{Dot, Timestamp};
use crate::store::Cursor;
use bytes::Bytes;

pub use crate::proto::feed::Gap;

/// A change that a watcher is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The key; empty of a [`Resync`](Cause::Resync), for no key is.
    pub key: Bytes,
    /// What the key shows now; `None` if that is nothing.
    pub value: Option<Bytes>,
    /// Why.
    pub cause: Cause,
    /// The write of the value; without one the tombstone, or the write that has expired. `None` if it is not kept.
    pub dot: Option<Dot>,
    /// When that was written.
    pub timestamp: Option<Timestamp>,
    /// Its deadline, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// To go on from after this change, here or at any other node: see [`Store::watch_after`](crate::Store::watch_after).
    pub cursor: Cursor,
}

/// Why a watcher is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A value was written, or a concurrent one came up again.
    Put,
    /// The key was deleted.
    Delete,
    /// A deadline has passed. A concurrent value may have come up; as a rule there is none.
    Expired,
    /// What the watcher has missed is not known here. It reads everything again; the changes go on from now.
    Resync(Gap),
}

impl Gap {
    /// As interfaces write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Forgotten => "forgotten",
            Self::Unreached => "unreached",
            Self::TakenBack => "taken_back",
            Self::Clock => "clock",
        }
    }
}

impl Cause {
    /// As interfaces write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Expired => "expired",
            Self::Resync(_) => "resync",
        }
    }
}
