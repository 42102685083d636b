//! Tidings: a replicated state store for machines that come and go.

pub mod crdt;
pub mod proto;

pub use crdt::{CausalContext, Delta, Dot, Key, Merged, OrMap, ReplicaId, Section, Timestamp};
