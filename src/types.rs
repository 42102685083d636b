//! What goes into a store's calls and comes out of them. Not responsible for doing anything with it.

use crate::crdt::{Dot, ReplicaId, Session, Timestamp};
use crate::proto::KeyId;
use crate::proto::membership::MemberState;
use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A write that was done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Written {
    /// Its name.
    pub dot: Dot,
    /// What its client has seen now.
    pub session: Session,
    /// Whether the key showed a value before.
    pub replaced: bool,
}

/// A value as it was read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reading {
    /// The value.
    pub value: Bytes,
    /// The write that left it.
    pub dot: Dot,
    /// When that was.
    pub timestamp: Timestamp,
    /// When it expires, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// How many other live values the key has, by writes concurrent with this one.
    pub siblings: usize,
}

/// When a write returns. Either way no peer hears of it before it is durable here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on disk.
    #[default]
    Immediate,
    /// As soon as it can be read here.
    Eventual,
}

/// How to write: by default without a deadline, and durable when the call returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions {
    pub(crate) expires: Option<u64>,
    pub(crate) durability: Durability,
}

impl PutOptions {
    /// The value counts as deleted after this time.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.expires(u64::try_from((now + ttl).as_millis()).unwrap_or(u64::MAX))
    }

    /// The value counts as deleted from this moment on, in milliseconds since 1970.
    #[must_use]
    pub fn expires(mut self, unix_ms: u64) -> Self {
        self.expires = Some(unix_ms);
        self
    }

    /// When the write returns.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

/// A key with its value, to be written with others in one go.
#[derive(Clone, Debug)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// When it expires, in milliseconds since 1970.
    pub expires: Option<u64>,
}

/// A key with the value that it shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Item {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// When it expires, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// How many other live values the key has, by concurrent writes.
    pub siblings: usize,
}

/// Some items in the order of their keys' bytes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<Bytes>,
}

/// A member of the cluster, as this node sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Member {
    /// Its replica.
    pub id: ReplicaId,
    /// What people call it.
    pub name: String,
    /// Where it listens for links.
    pub addresses: Vec<String>,
    /// Where it serves its clients, if it does.
    pub http: Option<String>,
    /// The protocol version that it speaks.
    pub protocol: u16,
    /// Grows whenever it takes back what others said of it.
    pub incarnation: u64,
    /// The names of the cluster's keys that it holds: the one that it presents first, then those that it accepts too.
    pub keys: Vec<KeyId>,
    /// What is believed of it.
    pub state: MemberState,
    /// Whether it is this node.
    pub is_self: bool,
    /// How long ago something was heard on the link to it; `None` without a link.
    pub last_contact_ms: Option<u64>,
}

/// A node that is in the view: one of a random few, of which links are picked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ViewedPeer {
    /// Its replica.
    pub id: ReplicaId,
    /// Where it said that it listens for links.
    pub address: String,
    /// How many shuffles ago it said so.
    pub age: u32,
}

/// Whether there is a link to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerState {
    /// There is.
    Connected,
    /// It is being tried.
    Connecting,
}

/// How the link to a peer is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkMode {
    /// Fresh writes are pushed on it.
    Eager,
    /// Changes are only announced on it.
    Lazy,
    /// There is no link.
    None,
}

/// An address that is dialled, or a node that has dialled this one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Where it is dialled, or where it says it listens.
    pub address: String,
    /// Its replica, once it was met.
    pub id: Option<ReplicaId>,
    /// Whether there is a link.
    pub state: PeerState,
    /// How that is used.
    pub link: LinkMode,
    /// How long ago something was heard on it.
    pub last_contact_ms: Option<u64>,
}
