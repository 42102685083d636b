//! Tidings: a replicated state store for machines that come and go.
//!
//! Every replica accepts reads and writes on its own, at any time, with no leader and no quorum. Replicas gossip what
//! they learn, and all that have learned the same things hold the same state, in whatever order, however often and over
//! however broken links it came. The state is a map of last-writer-wins registers with dotted version vectors.
//!
//! # Two replicas converge
//!
//! ```
//! use tidings::{OrMap, ReplicaId};
//!
//! let now = 1_700_000_000_000; // milliseconds since 1970; the map has no clock of its own
//! let mut a = OrMap::new(ReplicaId::from(1));
//! let mut b = OrMap::new(ReplicaId::from(2));
//! a.put(b"kettle", b"on", now);
//! b.put(b"kettle", b"off", now + 1); // concurrent: neither has seen the other
//!
//! // Each sends what the other lacks, in any order, any number of times.
//! b.merge(a.delta_since(b.context()));
//! a.merge(b.delta_since(a.context()));
//! assert_eq!(a.get(b"kettle", now), b.get(b"kettle", now));
//! assert_eq!(a.get(b"kettle", now), Some(&b"off"[..])); // the later clock is read,
//! assert_eq!(a.siblings(b"kettle", now)[0].value, b"on"); // the other is not lost,
//!
//! a.put(b"kettle", b"boiling", now + 2); // until a write that has seen both.
//! b.merge(a.delta_since(b.context()));
//! assert!(b.siblings(b"kettle", now).is_empty());
//! assert_eq!(a.audit(), b.audit()); // equal contexts, equal states
//! ```
//!
//! # A replicated store
//!
//! With the feature `net` (on by default), a `Store` keeps such a map in step with the other nodes of its cluster over
//! QUIC; see there for an example. The feature `cli` adds the `tidings` binary.
//!
//! # What is guaranteed
//!
//! - A delete removes exactly the writes that its replica had seen; they never come back, however long another replica was
//!   away and however early the others have forgotten the delete. A concurrent put stays.
//! - A write that has seen another wins over it, whatever the clocks say. Clocks only order concurrent writes.
//! - A replica's context never runs ahead of its data: a sync may break off at any point, and what has arrived counts.
//! - Equal contexts mean equal states; three sums of 8 bytes tell.
//!
//! # What is not
//!
//! - There is no quorum, so nothing says when a write has reached everybody.
//! - A concurrent sibling can come up again when what hid it is deleted, and may be older by the clock; one's own write
//!   can be hidden by a concurrent one that arrives later.
//! - Deadlines are kept by each replica's own clock: a key may be expired here and present there within the clocks'
//!   difference.
//!
//! # Layers
//!
//! Dependencies point downwards only. The two lower layers have no IO, no clock and no randomness of their own, and are
//! public, so that simulators, tests and other runtimes can drive them.
//!
//! | layer | what |
//! | --- | --- |
//! | `Store`, the binary | what people use |
//! | `runtime` | the node on a network: tokio, QUIC, TLS, storage, timers |
//! | [`proto`] | the machines: one pull, the node that owns map and links; messages and their bytes |
//! | [`crdt`] | the map: contexts, registers, entries, deltas |

#![forbid(unsafe_code)]

#[cfg(feature = "net")]
mod backup;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
mod config;
pub mod crdt;
#[cfg(feature = "net")]
mod error;
#[cfg(feature = "net")]
mod event_types;
#[cfg(feature = "cli")]
mod http;
#[cfg(feature = "net")]
mod metrics;
pub mod proto;
#[cfg(feature = "net")]
pub mod runtime;
#[cfg(feature = "cli")]
pub mod simulate;
#[cfg(feature = "net")]
mod status;
#[cfg(feature = "net")]
mod store;
#[cfg(feature = "net")]
mod types;
#[cfg(feature = "net")]
mod watch_types;

#[cfg(feature = "net")]
pub use backup::{restore, restore_with_progress, verify, verify_with_progress};
#[cfg(feature = "net")]
pub use config::{Config, ConfigBuilder, Profile, Storage};
pub use crdt::{CausalContext, Causality, Delta, Dot, Key, Merged, OrMap, ReplicaId, Section, Session, Timestamp};
#[cfg(feature = "net")]
pub use error::Error;
#[cfg(feature = "net")]
pub use event_types::{Event, Heard, Missed};
#[cfg(feature = "net")]
pub use proto::KeyId;
#[cfg(feature = "net")]
pub use proto::membership::{Keep, MemberState, Propagate, Select, ViewConfig};
#[cfg(feature = "net")]
pub use runtime::net::{Certificates, CutSwitch, Keys, ParseSecretError, ParseSecretsError, Secret, Secrets};
#[cfg(feature = "net")]
pub use runtime::storage::checkpoint::{Checkpoint, DamagedPart, Restored, Verified, VerifiedKind};
#[cfg(feature = "net")]
pub use status::{AuditStatus, BytesStatus, ContextStatus, DotsStatus, LinkStatus, Status, StorageStatus};
#[cfg(feature = "net")]
pub use store::{Changes, Cursor, Events, Latest, Store, Sys};
#[cfg(feature = "net")]
pub use types::{
    Durability, Item, LinkMode, Member, Page, Peer, PeerState, PutOptions, Reading, Record, ViewedPeer, Written,
};
#[cfg(feature = "net")]
pub use watch_types::{Cause, Change, Gap};
