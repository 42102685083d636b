//! Tidings: a replicated state store for machines that come and go.

#![forbid(unsafe_code)]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
mod config;
pub mod crdt;
#[cfg(feature = "net")]
mod error;
#[cfg(feature = "cli")]
mod http;
pub mod proto;
#[cfg(feature = "net")]
pub mod runtime;
#[cfg(feature = "net")]
mod status;
#[cfg(feature = "net")]
mod store;
#[cfg(feature = "net")]
mod types;

#[cfg(feature = "net")]
pub use config::{Config, ConfigBuilder, Profile, Storage};
pub use crdt::{CausalContext, Delta, Dot, Key, Merged, OrMap, ReplicaId, Section, Timestamp};
#[cfg(feature = "net")]
pub use error::Error;
#[cfg(feature = "net")]
pub use proto::membership::MemberState;
#[cfg(feature = "net")]
pub use runtime::net::{CutSwitch, ParseSecretError, Secret};
#[cfg(feature = "net")]
pub use status::{AuditStatus, BytesStatus, ContextStatus, DotsStatus, LinkStatus, Status, StorageStatus};
#[cfg(feature = "net")]
pub use store::{Store, Sys};
#[cfg(feature = "net")]
pub use types::{
    Durability, Item, LinkMode, Member, Page, Peer, PeerState, PutOptions, Reading, Record, Session, Written,
};
