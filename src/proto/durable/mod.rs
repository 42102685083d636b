//! The state as records in a log of commits, and back. Not responsible for where the log is: storage is.
//! `proto-docs/storage.md` says the same in words.
//!
//! Records are keys and values of bytes. A commit is one [`Batch`] of them, which takes effect as a whole or not at all;
//! what storage gives back after a crash is the outcome of a prefix of the commits. [`Recorder`] makes batches of what
//! has changed in the map, [`Loader`] makes a map of all records.

mod batch;
mod loader;
mod outline;
mod record;
mod recorder;
mod restored;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use loader::{Damage, Kept, Loader};
pub use outline::Outline;
pub(crate) use recorder::Also;
pub use recorder::Recorder;

use crate::crdt::ReplicaId;
use serde::{Deserialize, Serialize};

/// The format of the records, on disk and in checkpoints. A newer one is refused.
pub const FORMAT: u64 = 1;

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The replica: one source of dots.
    pub replica: ReplicaId,
    /// Its cluster: the key of the sums.
    pub cluster: [u8; 16],
}

/// Peers that a node knows again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedPeers {
    /// Where somebody answered, or was told to be.
    pub addresses: Vec<RememberedPeer>,
    /// Addresses that were removed by hand,
    pub barred_addresses: Vec<String>,
    /// and replicas.
    pub barred_ids: Vec<ReplicaId>,
}

/// An address that was dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedPeer {
    /// Host and port.
    pub address: String,
    /// Whether it was added by hand.
    pub by_hand: bool,
    /// Who answered there last.
    pub id: Option<ReplicaId>,
}
