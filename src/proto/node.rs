//! The machine that owns the map and everything above it. Not responsible for sockets, files or clocks.
//!
//! The contract: call [`handle`](Node::handle) with what happened, or a command's method; then take
//! [`poll_output`](Node::poll_output) until it is empty; then wait until [`next_timeout`](Node::next_timeout) at the
//! latest, and call `handle` with [`Input::Timeout`]. Of a node whose state is kept, `node/gate.rs` has the rest of it.
//!
//! This file has the contract, commands and timers; `node/links.rs` what links say, `node/boots.rs` who is a clone,
//! `node/spread.rs` what is told to whom unasked, `node/rounds.rs` when sums are compared, `node/pulls.rs` syncs,
//! `node/members.rs` the cluster's records, `node/view.rs` a sample of it, `node/overlay.rs` the links of a large one,
//! `node/feed.rs` what is noted for watchers, `node/broadcast.rs` messages, `node/gate.rs` what may leave when,
//! `node/sessions.rs` what clients' sessions ask for, `node/http_view.rs` what they see of the cluster,
//! `node/diagnosis.rs` how it differs from another node, `node/meters.rs` what is counted for people, `node/keys.rs` the
//! replacement of the cluster's keys, `node/offline.rs` and `node/hold.rs` when links are not wanted or not trusted yet.

mod boots;
mod broadcast;
mod diagnosis;
mod feed;
mod gate;
mod hold;
mod http_view;
mod keys;
mod links;
mod members;
mod meters;
mod offline;
mod overlay;
mod pulls;
mod rounds;
mod sessions;
mod spread;
mod view;

use super::KeyId;
use super::assembly::Assembly;
use super::broadcast::Delivery;
use super::codec;
use super::config::NodeConfig;
use super::dial::DialTable;
use super::durable::Kept;
use super::feed::Feed;
use super::ledger::{Carried, Ledger};
use super::link::{CLONED, CONTROL, Link, LinkId, LinkMode};
use super::membership::active::Overlay;
use super::membership::suspicion::Suspicions;
use super::membership::{Contact, Members, View};
use super::message::{Begin, Message};
use super::meters::Meters;
use super::reconcile::Reconciled;
use super::time::{Instant, Now};
use crate::crdt::{AuditKey, CausalContext, Change, Dot, Key, OrMap, Received, ReplicaId, Section};
use boots::Boots;
use bytes::Bytes;
use gate::Gate;
use hold::Holding;
use http_view::Unanswered;
use rand::rngs::StdRng;
use rounds::Rounds;
use std::collections::{BTreeMap, VecDeque};
use tracing::error;

pub use diagnosis::{Difference, Side};
pub use http_view::Listing;
pub(crate) use keys::Retiring;
pub use meters::UnderWay;
pub use sessions::StandIn;

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection stands, and its certificate says that it is of the cluster.
    Connected {
        /// Its name from now on.
        link: LinkId,
        /// What was dialled, or whence it came.
        address: String,
        /// Whether this node dialled.
        dialed: bool,
        /// Who the certificate says it is, if it does: else its hello says it.
        identity: Option<ReplicaId>,
        /// With which key it has proved itself.
        key: KeyId,
    },
    /// A frame arrived.
    Frame {
        /// On this link,
        link: LinkId,
        /// and channel.
        channel: u64,
        /// Its bytes.
        frame: Bytes,
    },
    /// The transport has taken a frame that was output, and can take another one.
    Sent {
        /// On this link,
        link: LinkId,
        /// and channel.
        channel: u64,
    },
    /// The peer has ended or reset a channel.
    Ended {
        /// On this link,
        link: LinkId,
        /// this one.
        channel: u64,
    },
    /// The transport has had a sign of life on a link, though perhaps no frame. Needed only where
    /// [`NodeConfig::link_settle`] is set, and then before the frame that came with it.
    Heard {
        /// On this link,
        link: LinkId,
        /// after so long without one.
        silence: std::time::Duration,
    },
    /// A connection is gone. Of a link, the last input.
    Disconnected {
        /// Which.
        link: LinkId,
    },
    /// Time has passed.
    Timeout,
}

/// What a node wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Connect to this address, and say so if it succeeds; nothing if not.
    Dial {
        /// Host and port.
        address: String,
    },
    /// Send a frame. On a new channel, open it.
    Send {
        /// On this link,
        link: LinkId,
        /// and channel.
        channel: u64,
        /// Its bytes.
        frame: Bytes,
    },
    /// Nothing more will be sent on the channel.
    Finish {
        /// On this link,
        link: LinkId,
        /// this one.
        channel: u64,
    },
    /// Nothing more is wanted from the channel either.
    Reset {
        /// On this link,
        link: LinkId,
        /// this one.
        channel: u64,
    },
    /// Close the connection, after what was sent on the control channel.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for both logs.
        reason: String,
    },
}

/// A peer, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Where it is dialled, or where it says it listens.
    pub address: String,
    /// Its replica, once it was met.
    pub id: Option<ReplicaId>,
    /// The link to it, if there is one.
    pub link: Option<LinkId>,
    /// How that is used.
    pub mode: Option<LinkMode>,
    /// When something was last heard on it.
    pub last_heard: Option<Instant>,
}

/// A link that is up, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its name.
    pub link: LinkId,
    /// Who is there.
    pub id: ReplicaId,
    /// Where it listens.
    pub address: String,
    /// How it is used.
    pub mode: LinkMode,
    /// Whether it is to stay: in a large cluster others are only made to meet.
    pub active: bool,
    /// How many dots the peer is not known to have.
    pub lag: u64,
    /// When something was last heard on it.
    pub last_heard: Instant,
    /// What the bytes of its frames were for: of those sent, and of those received.
    pub ledgers: [Ledger; 2],
}

/// One node: the map, its links, and what is under way. No method waits for anything, or touches anything outside.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    map: OrMap,
    links: BTreeMap<LinkId, Link>,
    dials: DialTable,
    boots: Boots,
    holding: Holding,
    /// A sample of the other nodes.
    view: View<Contact>,
    overlay: Overlay,
    /// Seeded with the number that is drawn at each start.
    rng: StdRng,
    /// Addresses put into the HTTP view here, until it is known whether somebody answers there.
    unanswered: BTreeMap<String, Unanswered>,
    /// Disconnected by hand.
    offline: bool,
    feed: Feed,
    broadcasts: Delivery,
    outputs: VecDeque<Output>,
    /// Of a node whose state is kept.
    gate: Option<Gate>,
    /// Own dots after the first and up to the second number are void since a crash: nobody can have heard of those
    /// below the second alone.
    void: (u64, u64),
    now: Now,
    /// Grows with the map's context.
    any_version: u64,
    /// What it was at the last write here.
    own_version: u64,
    /// When others' dots first arrived that have not been announced.
    received_at: Option<Instant>,
    /// In a large cluster the links beside the tree are announced to together, and not sooner than this.
    announce_not_before: Instant,
    /// The link and channel of the catch-up under way, beside which no other one begins.
    catching_up: Option<(LinkId, u64)>,
    reconciled: Reconciled,
    received: Received,
    meters: Meters,
    /// Large values that have arrived in part.
    assembly: Assembly,
    /// What the bytes were for on links that are gone, sent and received.
    past: [Ledger; 2],
    members: Members,
    suspicions: Suspicions,
    own_record_changed: bool,
    members_changed: bool,
    left: bool,
    rounds: Rounds,
    truncate_at: Instant,
    /// A peer was heard, or there is none to hear.
    synced_once: bool,
}

impl Node {
    /// A node with an empty map, in memory, which writes its own record. O(1).
    pub fn new(config: NodeConfig, now: Now) -> Self {
        Self::empty(config, now).started(now)
    }

    /// A node that goes on with what was kept of it, or begins to be kept. See [`begin_commit`](Self::begin_commit).
    /// Linear in the members: the map was built when `kept` was read.
    pub fn kept(config: NodeConfig, kept: Kept, now: Now) -> Self {
        debug_assert_eq!((config.replica, config.cluster), (kept.identity().replica, kept.identity().cluster));
        let mut node = Self::empty(config, now);
        node.take_up(kept, now);
        node.started(now)
    }

    fn empty(config: NodeConfig, now: Now) -> Self {
        let map = OrMap::with_audit_key(config.replica, AuditKey::new(config.cluster)).with_drift_ms(config.drift_ms);
        let mut dials = DialTable::default();
        for address in config.join.iter().filter(|address| **address != config.address) {
            dials.add(address, true, None, now.instant);
        }
        Self {
            map,
            dials,
            links: BTreeMap::new(),
            boots: Boots::default(),
            holding: Holding::default(),
            view: View::new(config.view),
            overlay: Overlay::new(now.instant, config.leaf || !config.writes_record),
            rng: view::rng(&config),
            unanswered: BTreeMap::new(),
            offline: false,
            feed: Feed::default(),
            broadcasts: Delivery::new(now.wall_ms),
            outputs: VecDeque::new(),
            gate: None,
            void: (0, 0),
            now,
            own_version: 0,
            any_version: 0,
            received_at: None,
            announce_not_before: now.instant,
            catching_up: None,
            reconciled: Reconciled::default(),
            received: Received::default(),
            meters: Meters::default(),
            assembly: Assembly::default(),
            past: Default::default(),
            members: Members::default(),
            suspicions: Suspicions::default(),
            own_record_changed: false,
            members_changed: false,
            left: false,
            rounds: Rounds::new(now.instant, config.anti_entropy),
            truncate_at: now.instant + config.truncate_every,
            synced_once: config.join.is_empty() && !config.joins_names,
            config,
        }
    }

    fn started(mut self, now: Now) -> Self {
        self.map.set_time(now.wall_ms);
        self.load_members();
        self.take_up_broadcasts();
        self.write_own_record();
        self.remember_while_rotating();
        self.learn_addresses();
        self.settle();
        self
    }

    // --- The contract

    /// Takes in what happened. A frame costs what it brings, and making the next ones of a sync what they carry; beside that each
    /// input costs a look at every link, and at every member where one of their records has changed.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.set_now(now);
        match input {
            Input::Connected { link, address, dialed, identity, key } => {
                self.on_connected(link, Link::new(address, dialed, identity, key, now.instant));
            }
            Input::Frame { link, channel, frame } => self.on_frame(link, channel, &frame),
            Input::Sent { link, channel } if !self.on_sent(link, channel) => return,
            Input::Sent { .. } => {}
            Input::Ended { link, channel } => self.on_ended(link, channel),
            Input::Heard { link, silence } => self.on_heard(link, silence),
            Input::Disconnected { link } => self.on_disconnected(link),
            Input::Timeout => {}
        }
        self.on_time();
        self.settle();
    }

    /// The next thing to be done; `None` when all has been given. O(1).
    pub fn poll_output(&mut self) -> Option<Output> {
        self.may_leave()
    }

    /// When to call [`handle`](Self::handle) at the latest. Linear in the links.
    pub fn next_timeout(&self) -> Option<Instant> {
        let timers = [Some(self.rounds.at), Some(self.truncate_at), self.next_spread(), self.next_pull_timeout()];
        let dials = if self.dials_all() { self.dials.next(|id| self.is_linked(id)) } else { None };
        timers
            .into_iter()
            .chain([
                dials,
                self.next_overlay(),
                self.next_graft(),
                self.suspicions.next(),
                self.next_release(),
                self.next_unanswered(),
                self.next_expiry(),
                self.next_retirement(),
            ])
            .flatten()
            .min()
    }

    // --- Commands

    /// Writes a value, with a deadline (milliseconds since 1970) or without. O(1) expected, and a look at every link.
    pub fn put(&mut self, now: Now, key: Key<'_>, value: &[u8], deadline: Option<u64>) -> Dot {
        self.put_batch(now, [(key, value, deadline)]).expect("one write has one dot")
    }

    /// Writes several values, and tells the peers of them together. The dot of the last. Linear in them.
    pub fn put_batch<'a>(
        &mut self,
        now: Now,
        writes: impl IntoIterator<Item = (Key<'a>, &'a [u8], Option<u64>)>,
    ) -> Option<Dot> {
        debug_assert!(self.is_writable(), "whoever drives the node refuses writes while it is read-only");
        self.set_now(now);
        let mut last = None;
        for (key, value, deadline) in writes {
            last = Some(match deadline {
                Some(deadline) => self.map.put_until(key, value, deadline, now.wall_ms),
                None => self.map.put(key, value, now.wall_ms),
            });
            self.meters.puts += 1;
            self.on_local_write(key);
        }
        self.settle();
        last
    }

    /// Deletes what the key shows; `None` if that is nothing. Costs what [`put`](Self::put) does.
    pub fn delete(&mut self, now: Now, key: Key<'_>) -> Option<Dot> {
        debug_assert!(self.is_writable(), "whoever drives the node refuses writes while it is read-only");
        self.set_now(now);
        let dot = self.map.delete(key, now.wall_ms)?;
        self.meters.deletes += 1;
        self.on_local_write(key);
        self.settle();
        Some(dot)
    }

    /// Dials an address from now on, and lets it in again if it was barred. Whether it is new. Linear in the links.
    pub fn add_peer(&mut self, now: Now, address: &str) -> bool {
        self.set_now(now);
        let new = self.add_given_peer(address);
        self.dials.keep(address);
        self.on_time();
        self.settle();
        new
    }

    /// Closes the link to a peer and bars its address and id, until it is added again. Whether there was one.
    /// Linear in the links and in the addresses known.
    pub fn remove_peer(&mut self, now: Now, address_or_id: &str) -> bool {
        self.set_now(now);
        let found = self.bar_peer(address_or_id);
        self.settle();
        found
    }

    /// Says in the own record that it leaves for good. A write.
    pub fn leave(&mut self, now: Now) {
        self.set_now(now);
        self.left = true;
        self.write_own_record();
        self.settle();
    }

    /// Says goodbye on all links and closes them. Linear in them.
    pub fn close(&mut self, now: Now) {
        self.set_now(now);
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, CONTROL, &Message::Goodbye { left: self.left }, None);
            self.close_link(link, "the node is closing".to_owned());
        }
    }

    // --- Reads

    /// The map. To write, use the commands: the peers must hear of it. Costs nothing.
    pub fn map(&self) -> &OrMap {
        &self.map
    }

    /// The map for a scan, which may have to bring its order up to date. Costs nothing itself.
    pub fn map_for_scan(&mut self) -> &mut OrMap {
        &mut self.map
    }

    /// How it behaves. Costs nothing.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Whether it has been in touch with a peer, or has none to be in touch with. Costs nothing.
    pub fn is_synced_once(&self) -> bool {
        self.synced_once
    }

    /// Whether every peer is known to have all that this node has. Linear in the links, and in the replicas at most.
    pub fn is_flushed(&self) -> bool {
        let has_all = |link: &Link| link.known.as_ref().is_some_and(|known| known.includes(self.map.context()));
        self.links.values().filter(|link| link.is_up()).all(|link| has_all(link) && link.control.in_flight() == 0)
    }

    // --- Common to all

    fn set_now(&mut self, now: Now) {
        self.now = now;
        self.map.set_time(now.wall_ms);
        self.note_time();
    }

    fn on_time(&mut self) {
        let now = self.now.instant;
        if self.dials_all() {
            let links = &self.links;
            let linked = |id| links.values().any(|link| !link.closing && link.is_with(id));
            let at_once = self.overlay.dials_at_once(self.config.links);
            let due = self.dials.due(now, &self.config, at_once, &mut self.rng, linked);
            self.dials.unreachable(&due).into_iter().for_each(|id| self.suspect_unreachable(id));
            self.outputs.extend(due.into_iter().map(|address| Output::Dial { address }));
        }
        self.tend_overlay();
        self.graft();
        self.decide_unanswered();
        if self.truncate_at <= now {
            self.truncate_at = now + self.config.truncate_every;
            if self.is_writable() {
                self.tidy_http_view();
                self.map.truncate(self.config.retention, self.now.wall_ms);
                let keep_ms = self.config.retention.keep_ms.min(self.config.keep_expired_ms);
                self.map.truncate_expired(keep_ms, self.now.wall_ms);
            }
            self.broadcasts.forget(&self.map, self.now.wall_ms);
        }
        self.replace_retiring();
        self.write_down_suspects();
        self.release_held();
        self.give_up_stuck_pulls();
        self.anti_entropy();
    }

    /// What follows from any change, once for each input: the own record put right, the peers told.
    fn settle(&mut self) {
        self.follow_members();
        if std::mem::take(&mut self.own_record_changed) {
            self.refute();
        }
        if std::mem::take(&mut self.members_changed) {
            self.count_members();
            self.learn_addresses();
        }
        self.flush_feed();
        self.deliver();
        self.take_in_deferred();
        self.start_wanted_pulls();
        self.spread();
    }

    /// Whether each known address is dialled: in a large cluster only by who has no links.
    fn dials_all(&self) -> bool {
        !self.offline && (!self.overlay.is_large() || self.active_links() == 0)
    }

    fn on_local_write(&mut self, key: Key<'_>) {
        self.any_version += 1;
        self.own_version = self.any_version;
        self.note_write(key);
    }

    fn on_change(&mut self, change: &Change) {
        self.feed.note(Key { section: change.section, bytes: &change.key }, change.dot);
        if change.section == Section::Sys {
            self.broadcasts.note(&change.key);
        }
    }

    /// Whether there is a link to the peer, or one is coming up.
    fn is_linked(&self, id: ReplicaId) -> bool {
        self.links.values().any(|link| !link.closing && link.is_with(id))
    }

    fn send(&mut self, link: LinkId, channel: u64, message: &Message, begun: Option<&Begin>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (plain, contexts_bytes) = match channel {
            CONTROL => (codec::encode_control(message, &mut state.said), state.said.contexts_bytes()),
            _ => (codec::encode(message, begun), 0),
        };
        let plain_bytes = plain.len();
        let pace = match channel {
            CONTROL => Some(&mut state.control),
            _ => state.sending.get_mut(&channel).map(|sending| &mut sending.pace),
        };
        pace.into_iter().for_each(|pace| pace.on_given(self.now.instant, plain_bytes));
        let frame = match &mut state.compressing {
            Some(compressing) => compressing.compress(plain),
            None => plain,
        };
        state.sent.add(Carried { message, frame_bytes: frame.len(), plain_bytes, contexts_bytes });
        self.outputs.push_back(Output::Send { link, channel, frame });
    }

    /// Closes a link for a reason that says nothing about the peer's health.
    fn close_link(&mut self, link: LinkId, reason: String) {
        if let Some(state) = self.links.get_mut(&link) {
            state.closing = true;
            self.outputs.push_back(Output::Close { link, reason });
        }
    }

    /// A context that somebody sent names writes of this replica that it has not made, or that its disk has lost.
    fn check_claims(&self, context: &CausalContext) -> Result<(), String> {
        let own = self.map.id();
        let claimed = context.get(own);
        let lost = self.void.0 < claimed && claimed < self.void.1;
        if lost || claimed > self.map.context().get(own) {
            error!(replica = %own, "a peer knows writes of this replica that are not here: {CLONED}");
            return Err(format!(
                "it knows writes of {own} that are not here: two nodes run with one replica id, or a copy of a data \
                 directory was started, or the disk has lost what it had promised; to go on from an old copy, use \
                 \"tidings restore\""
            ));
        }
        Ok(())
    }
}
