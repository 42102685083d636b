//! LWW registers: what one write left. Not responsible for which of several is read: `OrMap` chooses when reading.

use super::{Dot, Timestamp};
use bytes::Bytes;

/// What one write left: a value or a tombstone, when it was made, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The value; `None` is a tombstone, the write that a delete is.
    pub value: Option<Bytes>,
    /// Orders it among concurrent ones, before the dot.
    pub timestamp: Timestamp,
    /// From this moment (milliseconds since 1970, by each replica's own clock) it counts as a tombstone.
    pub deadline: Option<u64>,
}

impl Register {
    /// Whether it shows nothing: a tombstone, or past its deadline.
    pub fn is_dead(&self, now_ms: u64) -> bool {
        self.value.is_none() || self.deadline.is_some_and(|deadline| deadline <= now_ms)
    }

    /// The same as the `crdts` crate's register, whose marker decides between concurrent ones.
    pub fn to_lww(&self, dot: Dot) -> crdts::LWWReg<Option<Bytes>, (Timestamp, Dot)> {
        crdts::LWWReg { val: self.value.clone(), marker: (self.timestamp, dot) }
    }
}

/// A value as it is read: the register that reading chose, borrowed from the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The value.
    pub value: &'a [u8],
    /// The write that left it.
    pub dot: Dot,
    /// When that was.
    pub timestamp: Timestamp,
    /// When it expires, in milliseconds since 1970.
    pub deadline: Option<u64>,
    /// How many other live values the key has: writes concurrent with this one.
    pub siblings: usize,
}
