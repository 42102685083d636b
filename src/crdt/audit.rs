//! Keyed sums that tell at the cost of a few bytes whether two replicas agree. Not responsible for what to do if not.

use super::{CausalContext, Dot, Key, ReplicaId};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// What two replicas compare first: equal in all three means nothing to exchange.
///
/// Equal contexts with unequal states, nothing pending on either side, are a defect: see `proto-docs/data-model.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Over the replica's context.
    pub context: u64,
    /// Over its live dots, without tombstones and registers with a deadline: replicas drop those at different times.
    pub state: u64,
    /// Over what is pending beyond the context; 0 where nothing is.
    pub pending: u64,
}

/// The key of the sums: SipHash-1-3 (Aumasson and Bernstein 2012), so that nobody without it can make sums collide.
///
/// Within a cluster all must use the same one; for the pure map it is an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditKey([u8; 16]);

impl AuditKey {
    /// A key from 16 bytes.
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    fn hash(&self, purpose: u8, write: impl FnOnce(&mut SipHasher13)) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        write(&mut hasher);
        hasher.write(&[purpose]);
        hasher.finish()
    }

    /// Where the elements of a replica's dots begin.
    pub(super) fn of_replica(&self, replica: ReplicaId) -> u64 {
        self.hash(6, |hasher| hasher.write(replica.as_bytes()))
    }

    /// The element of a dot: a number that stands for it.
    pub(crate) fn element(&self, dot: Dot) -> u64 {
        self.of_replica(dot.replica).wrapping_add(dot.counter)
    }

    fn hash_element(&self, purpose: u8, element: u64) -> u64 {
        let mut bytes = [purpose; 9];
        bytes[..8].copy_from_slice(&element.to_le_bytes());
        SipHasher13::new_with_key(&self.0).hash(&bytes)
    }

    fn hash_dot(&self, purpose: u8, dot: Dot) -> u64 {
        let mut bytes = [0; 25];
        bytes[..16].copy_from_slice(dot.replica.as_bytes());
        bytes[16..24].copy_from_slice(&dot.counter.to_le_bytes());
        bytes[24] = purpose;
        SipHasher13::new_with_key(&self.0).hash(&bytes)
    }

    /// The term of a replica's highest counter in the sum of a context, by its element.
    pub(crate) fn of_clock(&self, element: u64) -> u64 {
        self.hash_element(0, element)
    }

    /// The same of a bound, where the two stand in one set.
    pub(crate) fn of_bound_clock(&self, element: u64) -> u64 {
        self.hash_element(7, element)
    }

    /// The term of a live dot, by its element; and its hash among coded symbols. No other hash is of eight bytes.
    pub(crate) fn of_live(&self, element: u64) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(&element.to_le_bytes())
    }

    /// The term of a live dot beyond the context.
    pub(super) fn of_pending(&self, dot: Dot) -> u64 {
        self.hash_dot(2, dot)
    }

    /// The term of a key that is pending with a bound: its removals have no dot.
    pub(super) fn of_bound(&self, key: Key<'_>, bound: &CausalContext) -> u64 {
        let clocks = bound.iter().map(|dot| self.of_clock(self.element(dot))).fold(0, u64::wrapping_add);
        self.hash(3, |hasher| {
            hasher.write(key.bytes);
            hasher.write(&[key.section as u8]);
            hasher.write(&clocks.to_le_bytes());
        })
    }

    /// Tells what this cluster has written into a client's token from what it has not.
    pub(crate) fn of_token(&self, bytes: &[u8]) -> u32 {
        self.hash(5, |hasher| hasher.write(bytes)) as u32
    }

    /// A seed for the map's own hash table, so that nobody without the key can make keys collide there.
    pub(super) fn seed(&self) -> u64 {
        self.hash(4, |_| {})
    }
}
