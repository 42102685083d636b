//! Layer 1: the map as a pure value. Not responsible for time, randomness or IO: they come in as arguments.
//!
//! A state is a set of entries `E` with a causal context `R`; the bottom is the empty map with the empty context. A
//! mutator adds one dot to `R` and makes the key's entry that one dot. A delta is the part of a state that a context
//! lacks; joining it is joining its entries one by one (`join.rs` has the formula), and then the contexts. What this
//! layer promises: it cannot fail, and its result never depends on the order, loss or repetition of what is joined.

mod audit;
mod catch_up;
mod clocks;
mod context;
mod delta;
mod departures;
mod dot;
mod dot_log;
mod elements;
mod join;
mod journal;
mod key;
mod or_map;
mod pending;
mod rebuild;
mod register;
mod replaced;
mod replica_id;
mod retention;
mod session;
mod stored;
mod symbols;
mod table;
mod timestamp;
mod traits;
mod watched;

pub use audit::{Audit, AuditKey};
pub(crate) use catch_up::FrozenDots;
pub(crate) use clocks::Differing;
pub use context::{CausalContext, Causality, DotSet};
pub use delta::{Delta, Entries, EntriesBuilder, Merged};
pub(crate) use delta::{RegisterRow, Row, RowValue};
pub use dot::{Dot, ParseDotError};
pub(crate) use elements::Elements;
pub use join::{Change, Received};
pub(crate) use journal::{RegisterState, ReplicaState, Uncommitted};
pub use key::{Key, KeyList, Section};
pub use or_map::{Counts, OrMap, Scan};
pub use pending::EntryContext;
pub(crate) use rebuild::Rebuild;
pub use register::{Reading, Register};
pub use replaced::Unresolved;
pub use replica_id::{ParseReplicaIdError, ReplicaId};
pub use retention::Retention;
pub use session::{Session, SessionError};
pub(crate) use stored::RegisterRef;
pub use symbols::Symbol;
pub(crate) use symbols::{Indices, Sketch, symbols_between};
pub use timestamp::{Clock, Timestamp};
pub use watched::{Cause, Dying, Showing};
