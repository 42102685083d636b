//! Layer 1: the map as a pure value. Not responsible for time, randomness or IO: they come in as arguments.

mod dot;
mod replica_id;
mod timestamp;

pub use dot::{Dot, ParseDotError};
pub use replica_id::{ParseReplicaIdError, ReplicaId};
pub use timestamp::{Clock, Timestamp};
