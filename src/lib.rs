//! Tidings: a replicated state store for machines that come and go.

pub mod crdt;
#[cfg(feature = "net")]
pub mod runtime;

pub use crdt::{Dot, ReplicaId, Timestamp};
