//! Intervals and limits of the machines. Not responsible for where they come from: the public `Config` is.

use super::KeyId;
use super::membership::{ActiveLinks, ViewConfig};
use super::sync::Sender;
use crate::crdt::{ReplicaId, Retention};
use std::time::Duration;

/// How a node behaves. The defaults are those of the `lan` profile.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The replica that this node keeps.
    pub replica: ReplicaId,
    /// Drawn at each start, so that another process with the same replica id is told apart.
    pub boot: u64,
    /// The cluster's id: the key of the sums, and what both ends of a link must agree on.
    pub cluster: [u8; 16],
    /// The keys that it accepts of peers; the first is the one that it presents. Its record says so.
    pub keys: Vec<KeyId>,
    /// What people call it.
    pub name: String,
    /// Where others reach it.
    pub address: String,
    /// Where it serves its clients, for others to see.
    pub http: Option<String>,
    /// Addresses that it dials for as long as it runs.
    pub join: Vec<String>,
    /// It will be told of more of them, see [`Node::rejoin`](super::node::Node::rejoin): those behind names.
    pub joins_names: bool,
    /// Fresh writes on a link that is not idle are collected for so long. Longer saves bytes and costs latency.
    pub coalesce: Duration,
    /// In a large cluster what others wrote is passed on at once; on a link on which pushes follow each other fast no sooner than
    /// this after the last one, so that one carries several writes. Longer saves frames and costs latency at each step.
    pub forward_pause: Duration,
    /// In a small one what others wrote is passed on after this and a round trip, unless the peer says meanwhile that it has it. Shorter than
    /// `announce_after`, it is sent for nothing.
    pub forward_after: Duration,
    /// What a node received it announces to its other peers after this, in a small cluster.
    pub announce_after: Duration,
    /// In a large one it announces on the links beside the tree what it has once in this time, if that has changed. Longer,
    /// a torn tree is found out later; shorter, all announce to each other what nearly always comes along the tree.
    pub announce_every: Duration,
    /// Between two comparisons of sums while something changes; it doubles up to `anti_entropy_max` while nothing does.
    pub anti_entropy: Duration,
    /// See there.
    pub anti_entropy_max: Duration,
    /// The most entries in one frame of a pull: with fewer an interruption loses less, with more a frame costs less.
    pub chunk_entries: usize,
    /// A pull in which nothing arrives for so long is given up.
    pub pull_timeout: Duration,
    /// Between two attempts to reach a peer, at first,
    pub redial: Duration,
    /// for so long; then it doubles,
    pub redial_fast_for: Duration,
    /// up to this, for ever.
    pub redial_max: Duration,
    /// How long what is dead is kept.
    pub retention: Retention,
    /// What has expired is kept for so long at most, in milliseconds: two anti-entropy intervals. A node away for longer
    /// needs a catch-up; kept for longer, what lives for seconds takes memory for an hour.
    pub keep_expired_ms: u64,
    /// How often it is looked through.
    pub truncate_every: Duration,
    /// How far ahead a received timestamp may be and still move the clock, in milliseconds.
    pub drift_ms: u64,
    /// What a peer sends that is heard again after a silence is held for so long before it is joined; zero: not at all.
    pub link_settle: Duration,
    /// How long a member whose link was lost has to refute before it counts as down.
    pub suspect_for: Duration,
    /// How long a record that says `down` or `left` is kept, in milliseconds.
    pub forget_member_ms: u64,
    /// How it samples its peers.
    pub view: ViewConfig,
    /// How many links it keeps in a large cluster.
    pub links: ActiveLinks,
    /// It takes part without carrying what others write: see [`Hello::is_leaf`](super::message::Hello::is_leaf). However small
    /// the cluster is, it keeps no more links than it should.
    pub leaf: bool,
    /// In a large cluster one of the addresses that are never given up is tried once in this time; in any, those that lead to
    /// the node itself.
    pub anchor_every: Duration,
    /// Who was dialled to be met and has not answered after this is not there.
    pub contact_timeout: Duration,
    /// A link that was only to meet is closed when nothing was heard on it for so long.
    pub contact_linger: Duration,
    /// What a peer has announced is asked for after this, if it has not come from another. Longer than the difference between
    /// two ways through the cluster, it is asked for seldom in vain; shorter, a broken way is mended sooner.
    pub graft_after: Duration,
    /// Whether it writes a record of itself: without one it is known to those only whom it meets, and takes every cluster for a
    /// large one. For clusters of so many nodes that a record of each at each is too much.
    pub writes_record: bool,
    /// How long a message that was broadcast can be had, in milliseconds.
    pub event_ttl_ms: u64,
}

impl NodeConfig {
    /// The `metered` profile: as little as can be where nothing is written, and what is written at once.
    pub fn metered(replica: ReplicaId) -> Self {
        let anti_entropy_max = Duration::from_secs(300);
        Self {
            coalesce: Duration::from_millis(100),
            forward_after: Duration::from_secs(2),
            announce_after: Duration::from_millis(500),
            announce_every: Duration::from_secs(2),
            anti_entropy: Duration::from_secs(10),
            anti_entropy_max,
            // A large value takes minutes; that the peer is gone is found out by its silence.
            pull_timeout: Duration::from_secs(180),
            suspect_for: Duration::from_secs(30),
            redial: Duration::from_secs(5),
            redial_fast_for: Duration::from_secs(60),
            redial_max: Duration::from_secs(120),
            keep_expired_ms: 2 * anti_entropy_max.as_millis() as u64,
            view: ViewConfig::metered(),
            links: ActiveLinks { min: 2, fill: 2, max: 3 },
            anchor_every: Duration::from_secs(1800),
            contact_timeout: Duration::from_secs(20),
            contact_linger: Duration::from_secs(5),
            graft_after: Duration::from_secs(5),
            ..Self::new(replica)
        }
    }

    /// The same for a leaf, with a leaf's few links.
    #[must_use]
    pub fn into_leaf(self) -> Self {
        Self { leaf: true, links: ActiveLinks::LEAF, ..self }
    }

    /// The defaults, for this replica.
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            boot: 0,
            cluster: [0; 16],
            keys: Vec::new(),
            name: String::new(),
            address: String::new(),
            http: None,
            join: Vec::new(),
            joins_names: false,
            coalesce: Duration::from_millis(3),
            forward_pause: Duration::from_millis(25),
            forward_after: Duration::from_millis(60),
            announce_after: Duration::from_millis(20),
            announce_every: Duration::from_millis(100),
            anti_entropy: Duration::from_secs(1),
            anti_entropy_max: Duration::from_secs(30),
            chunk_entries: Sender::CHUNK_ENTRIES,
            pull_timeout: Duration::from_secs(10),
            redial: Duration::from_millis(500),
            redial_fast_for: Duration::from_secs(300),
            redial_max: Duration::from_secs(10),
            retention: Retention::default(),
            keep_expired_ms: 60_000,
            truncate_every: Duration::from_secs(5),
            drift_ms: crate::crdt::Clock::DRIFT_MS,
            link_settle: Duration::ZERO,
            suspect_for: Duration::from_secs(2),
            forget_member_ms: 24 * 3_600_000,
            view: ViewConfig::default(),
            links: ActiveLinks::default(),
            leaf: false,
            anchor_every: Duration::from_secs(30),
            contact_timeout: Duration::from_secs(3),
            contact_linger: Duration::from_secs(1),
            graft_after: Duration::from_millis(200),
            writes_record: true,
            event_ttl_ms: 3_600_000,
        }
    }
}
