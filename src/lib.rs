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
//! # A tour of the store
//!
//! With the feature `net` (on by default) a [`Store`] keeps such a map in step with the other nodes of its cluster, over
//! QUIC. Opening one starts a node on the caller's tokio runtime; the handle is cheap to clone. It waits for no other node.
//!
//! ```no_run
//! # #[cfg(feature = "net")]
//! # async fn tour() -> Result<(), Box<dyn std::error::Error>> {
//! use tidings::{Config, Store};
//!
//! // 32 random bytes in hexadecimal, the same on all nodes: who has them is of the cluster.
//! let secret = std::fs::read_to_string("cluster.secret")?.trim().parse()?;
//! let config = Config::builder()
//!     .data_dir("data") // or .in_memory()
//!     .listen("0.0.0.0:7400")
//!     .join(["gateway.example:7400"]) // some of the others, by address or by name
//!     .secret(secret);
//! let store = Store::open(config.build()?).await?;
//!
//! // Write: returns when it is on this node's disk. The others are told at once, and if they are away, when they are back.
//! store.put("lamps/hall", "on").await?;
//! // Read: from local memory, also while nobody else is in reach.
//! assert_eq!(store.get("lamps/hall").as_deref(), Some(&b"on"[..]));
//! for (key, value) in store.scan("lamps/") {
//!     println!("{key:?} = {value:?}");
//! }
//! store.delete("lamps/hall").await?;
//! store.close().await; // the others take what they lack, and hear goodbye
//! # Ok(())
//! # }
//! ```
//!
//! **A deadline** makes a value count as deleted by itself, on every node by its own clock, with nothing sent. Values may be
//! anything that serde writes as JSON ([`put_as`](Store::put_as), [`get_as`](Store::get_as)), beside bytes; many are written
//! in one go with [`put_many`](Store::put_many).
//!
//! ```no_run
//! # #[cfg(feature = "net")]
//! # async fn tour(store: tidings::Store) -> Result<(), tidings::Error> {
//! use std::time::Duration;
//! use tidings::{Durability, PutOptions};
//!
//! let options = PutOptions::default().ttl(Duration::from_secs(30)).durability(Durability::Eventual);
//! store.put_with("presence/ann", "here", options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Watching** tells the changes below a prefix as they come, wherever they were written, each once and once it is durable
//! here. A change has a cursor, with which a watcher goes on later, here or at any other node.
//!
//! ```no_run
//! # #[cfg(feature = "net")]
//! # async fn tour(store: tidings::Store) -> Result<(), tidings::Error> {
//! use tidings::Cause;
//!
//! let mut changes = store.watch("lamps/"); // begun before what is there is read, it misses nothing
//! let lamps = store.scan("lamps/");
//! while let Some(change) = changes.next().await {
//!     match change.cause {
//!         Cause::Put => println!("{:?} is now {:?}", change.key, change.value),
//!         Cause::Delete | Cause::Expired => println!("{:?} is gone", change.key),
//!         _ => println!("too much was missed: read everything again"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Siblings.** Of values that were written concurrently all are kept, until a write that has seen them; reading shows the one
//! with the latest clock, [`values`](Store::values) all of them, and [`Reading::siblings`] says how many others there are.
//!
//! **Sessions** are for clients that go from node to node. What a write answers, and
//! [`read_with_session`](Store::read_with_session), says what has been seen; a node that has not got that pulls it.
//! [`token_of`](Store::token_of) makes a text of it that fits a header.
//!
//! ```no_run
//! # #[cfg(feature = "net")]
//! # async fn tour(here: tidings::Store, there: tidings::Store) -> Result<(), tidings::Error> {
//! let written = here.put("order/7", "paid").await?;
//! let seen = there.get_after("order/7", &written.session, std::time::Duration::from_secs(2)).await?;
//! assert!(seen.is_some()); // or Error::NotYetHere before that
//! # Ok(())
//! # }
//! ```
//!
//! **Broadcast** sends a message to all nodes, which deliver it once, and never before what its sender had been told of. Who is
//! away gets it later, for an hour unless told otherwise ([`ConfigBuilder::event_ttl`]), and else learns how many it missed.
//!
//! ```no_run
//! # #[cfg(feature = "net")]
//! # async fn tour(store: tidings::Store) -> Result<(), tidings::Error> {
//! let mut events = store.events();
//! store.broadcast("doors open").await?;
//! while let Some(event) = events.next().await.and_then(|heard| heard.event()) {
//!     println!("{:?} from {}", event.payload, event.dot.replica);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **The cluster.** [`members`](Store::members) is who there is and what is believed of each, [`peers`](Store::peers) who is
//! dialled, [`view`](Store::view) the sample that links are picked from, [`status`](Store::status) and
//! [`metrics`](Store::metrics) how the node is doing, [`ready`](Store::ready) whether it has met anybody yet.
//! [`add_peer`](Store::add_peer) and [`remove_peer`](Store::remove_peer) work while it runs, and [`rekey`](Store::rekey) replaces
//! the secret or the certificate; [`leave`](Store::leave) is for good.
//!
//! **Two sections.** What users write is in one, `usr`; the other, [`sys`](Store::sys), holds the cluster's own facts, as entries
//! that spread like any other. All may read it, nobody can write it.
//!
//! **Backups.** [`checkpoint`](Store::checkpoint) copies the state while the node goes on, [`verify`] compares every byte of a copy
//! with its checksums, [`restore`] makes a new replica of it. A data directory must not be copied and run twice.
//!
//! **The pure map** of the example above is all there is with `default-features = false`: no network, no clock, no runtime.
//! [`Delta::encode`] and [`Delta::decode`] carry what [`OrMap::delta_since`] says over whatever you have, files included.
//!
//! **A transport of your own**, or another runtime: [`proto::node::Node`] is the whole node without sockets, clocks and threads.
//! It is told what happened ([`Input`](proto::node::Input)) and says what is to be done ([`Output`](proto::node::Output)).
//! `examples/custom_transport.rs` runs three of them over plain TCP and threads, [`simulate`] thousands in virtual time.
//!
//! The other examples: `embed`, `two_nodes`, `watch`, `service_registry` (instances with a ttl, looked up and followed by prefix),
//! `simulate`; each is `cargo run --example NAME`.
//!
//! # What it costs
//!
//! Each method says what it costs; one that does not is a look at a field, or notes what it is given. In short, with n keys,
//! d entries that differ, r replicas that have ever written, and siblings being few:
//!
//! | | time | waits for |
//! | --- | --- | --- |
//! | [`get`](Store::get), [`read`](Store::read) | O(1) expected, and a copy of the value | nothing |
//! | [`scan`](Store::scan), [`page`](Store::page) of k keys | a search and k copies; once, to sort what is new | nothing; writes wait meanwhile |
//! | [`put`](Store::put), [`delete`](Store::delete) | O(1) expected | this node's disk, in common with other writers |
//! | the same with [`Durability::Eventual`] | O(1) expected | nothing, as a rule |
//! | [`watch`](Store::watch) | O(r) to begin; a look at each change | the next change |
//! | [`get_after`](Store::get_after), [`wait_for`](Store::wait_for) | O(r) | other nodes, if this one lacks something |
//! | [`open`](Store::open) | linear in what is on disk: two seconds a million entries | the disk |
//! | [`checkpoint`](Store::checkpoint) | linear in n, in bounded memory | the disk; writes go on |
//! | a comparison with a peer that has the same | 18 bytes | |
//! | a sync | O(d), and what says which replicas differ | the peer; never stops reads or writes |
//! | a sync with a peer that missed truncated deletes | 240 bytes to find one difference, 18 to 20 for each of many, beside O(d); of more than a hundred, a pass over all n | the peer |
//! | an entry in memory | about 60 bytes beside key and value | |
//!
//! No method holds a lock across an await. Futures may be dropped at any time: what a stream had to tell is not lost, and a
//! write is then done or not, as after [`Error::Interrupted`]; where more is to be said, the method says it.
//!
//! # Errors
//!
//! One enum, [`Error`]: each message says what is wrong and what would be right, and [`Error::state_changed`] whether the
//! operation may have had an effect all the same. While the disk is full or fails, writes end with [`Error::ReadOnly`], and
//! reads and syncs to others go on. Nothing that a peer, a client or a damaged disk says makes it panic.
//!
//! # Features
//!
//! | feature | brings | default |
//! | --- | --- | --- |
//! | `net` | [`Store`]: tokio, QUIC, TLS, the storage engine | yes |
//! | `cli` | the binary `tidings`, and [`simulate`]; a library that embeds the store does without | yes |
//! | `zstd` | compressed frames between nodes that both have it; builds a library in C | yes |
//!
//! They only add, and none changes what goes over the wire to nodes without it. To embed the store:
//! `tidings = { version = "0.1", default-features = false, features = ["net"] }`.
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
//! - There is no quorum, so nothing says when a write has reached everybody, and no operation is one of a whole cluster:
//!   counters and unique names are not to be had by reading and writing one key.
//! - A concurrent sibling can come up again when what hid it is deleted, and may be older by the clock; one's own write
//!   can be hidden by a concurrent one that arrives later.
//! - Deadlines are kept by each replica's own clock: a key may be expired here and present there within the clocks'
//!   difference.
//! - Who holds the cluster's secret is trusted: a member can write whatever it likes, also under later clocks than its own.
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
#![cfg_attr(docsrs, feature(doc_cfg))]
// The manual is of the whole crate.
#![cfg_attr(not(all(feature = "net", feature = "cli")), allow(rustdoc::broken_intra_doc_links))]

/// The code of README.md, compiled and run.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;

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
