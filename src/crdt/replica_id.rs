//! Names of replicas. Not responsible for who may use one: that is the runtime's business.

use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// 128 random bits that name one copy of the state: one source of dots.
///
/// A copy that lost its state, or was restored from a backup, takes a new one: a dot must never be issued twice.
/// Ordered by its bytes, which is also the order of its hexadecimal text.
///
/// ```
/// use tidings::ReplicaId;
/// let id = ReplicaId::from(1);
/// assert_eq!(id.to_string(), "00000000000000000000000000000001");
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaId([u8; 16]);

/// Text that does not name a replica: 32 hexadecimal digits were expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a replica id is 32 hexadecimal digits, not {0:?}")]
pub struct ParseReplicaIdError(String);

impl ReplicaId {
    /// A new name, from the given source of randomness (the map has none of its own).
    pub fn random(rng: &mut impl rand::Rng) -> Self {
        Self::from(rng.random::<u128>())
    }

    /// The name as bytes, as they go over the wire.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// How far it is along all names there are, as a part of 2⁶⁴.
    pub(super) fn position(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// The name from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// That of the bytes, as one number: compared by `memcmp`, a search among many spends its time in calls.
impl Ord for ReplicaId {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for ReplicaId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<u128> for ReplicaId {
    fn from(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

impl FromStr for ReplicaId {
    type Err = ParseReplicaIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self::from)
            .ok_or_else(|| ParseReplicaIdError(text.to_owned()))
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
