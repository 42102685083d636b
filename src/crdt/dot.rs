//! Names of writes. Not responsible for issuing them: `OrMap` does, once each.

use super::ReplicaId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of one write: the replica that made it, and its number there, from 1 without gaps. Never reused.
///
/// The order (replica, then counter) is arbitrary but total: it decides between equal timestamps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who wrote.
    pub replica: ReplicaId,
    /// Its how-many-th write; never 0.
    pub counter: u64,
}

/// Text that is not a dot: `<32 hexadecimal digits>:<counter>` was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dot is a replica id, a colon and a counter from 1, not {0:?}")]
pub struct ParseDotError(String);

impl Dot {
    /// The `counter`-th write of `replica`.
    pub const fn new(replica: ReplicaId, counter: u64) -> Self {
        Self { replica, counter }
    }
}

impl From<Dot> for crdts::Dot<ReplicaId> {
    fn from(dot: Dot) -> Self {
        Self::new(dot.replica, dot.counter)
    }
}

impl From<crdts::Dot<ReplicaId>> for Dot {
    fn from(dot: crdts::Dot<ReplicaId>) -> Self {
        Self::new(dot.actor, dot.counter)
    }
}

impl FromStr for Dot {
    type Err = ParseDotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (replica, counter) = text.split_once(':')?;
            let counter = counter.parse().ok().filter(|&c| c > 0)?;
            Some(Self::new(replica.parse().ok()?, counter))
        };
        parse().ok_or_else(|| ParseDotError(text.to_owned()))
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.replica, self.counter)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
