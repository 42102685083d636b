//! Tidings: a replicated state store for machines that come and go.

#![forbid(unsafe_code)]

pub mod crdt;
pub mod proto;
#[cfg(feature = "net")]
pub mod runtime;

pub use crdt::{CausalContext, Delta, Dot, Key, Merged, OrMap, ReplicaId, Section, Timestamp};
