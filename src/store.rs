//! The store: a replicated map on a network, behind a cheap handle. Not responsible for the protocol: the driver's task
//! runs it.

use crate::crdt::{Key, ReplicaId, Section};
use crate::proto::config::NodeConfig;
use crate::proto::durable;
use crate::proto::link::{LinkId, LinkMode as NodeLinkMode};
use crate::proto::node::Node;
use crate::proto::time::Now;
use crate::runtime::clock::SystemClock;
use crate::runtime::command::{Command, Outcome, Reply, Write};
use crate::runtime::driver::{self, Disk, Shared};
use crate::runtime::net::{CutSwitch, Endpoint, Identity, LinkStats, Transport};
use crate::runtime::storage::{Directory, Keeper, Opened, Storage as _};
use crate::status::{AuditStatus, BytesStatus, ContextStatus, DotsStatus, LinkStatus, Status, StorageStatus};
use crate::types::{Item, LinkMode, Member, Page, Peer, PeerState, PutOptions, Reading, Record, Session, Written};
use crate::{Config, Error, Profile, Storage};
use bytes::Bytes;
use rand::RngExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

/// How many commands may wait for the driver; further callers wait for room.
const COMMANDS_MAX: usize = 1024;

/// A replicated store: reads and writes here, at any time, are shared with every other node of the cluster.
///
/// A handle is cheap to clone, and may be used from any thread of the runtime that it was opened on. The node runs until
/// [`close`](Self::close), [`leave`](Self::leave), or until the last handle is dropped.
///
/// Reads take the map's lock for one lookup. Futures of writes may be dropped at any time; the write is then done or
/// not, as after [`Error::Interrupted`].
///
/// ```
/// use tidings::{Config, Secret, Store};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tidings::Error> {
/// let secret = Secret::random(&mut rand::rng());
/// let config = Config::builder().in_memory().listen("127.0.0.1:0").secret(secret.clone()).build()?;
/// let one = Store::open(config).await?;
/// let join = [one.listen_addr().to_string()];
/// let config = Config::builder().in_memory().listen("127.0.0.1:0").join(join).secret(secret).build()?;
/// let two = Store::open(config).await?;
///
/// let written = one.put("kettle", "on").await?;
/// let seen = two.get_after("kettle", &written.session, std::time::Duration::from_secs(10)).await?;
/// assert_eq!(seen.as_deref(), Some(&b"on"[..]));
/// two.close().await;
/// one.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    version: watch::Receiver<u64>,
    tracker: TaskTracker,
    cut: CutSwitch,
    listen: SocketAddr,
    key_bytes_max: usize,
    value_bytes_max: usize,
}

/// The `sys` section of a store: facts of the cluster, to be read and not to be written.
#[derive(Clone, Copy, Debug)]
pub struct Sys<'a>(&'a Store);

impl Store {
    /// Starts a node: opens its socket and takes up its links. Needs a tokio runtime, and uses that alone.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the address cannot be had; [`Error::InvalidConfig`] if the secret cannot be used, or is not
    /// that of the data directory; [`Error::InUse`], [`Error::Damaged`], [`Error::NewerFormat`] and [`Error::Io`] of
    /// the data directory. Nothing was started then, and nothing changed.
    pub async fn open(config: Config) -> Result<Self, Error> {
        Self::open_with_progress(config, |_, _| {}).await
    }

    /// As [`open`](Self::open), and tells how reading the state goes on: entries read, and how many there are.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_progress(
        config: Config,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<Self, Error> {
        let state = State::open(&config, progress).await?;
        let (replica, cluster) = (state.identity.replica, state.identity.cluster);
        let transport = match config.profile {
            Profile::Lan => Transport::lan(),
        };
        let identity = Identity::from_secret(&config.secret, replica);
        let identity = identity.map_err(|e| Error::config("secret", e.to_string()))?;
        let cut = CutSwitch::default();
        let cannot_listen = |source| Error::Listen { address: config.listen.to_string(), source };
        let endpoint = Endpoint::bind(config.listen, &identity, &transport, cut.clone()).map_err(cannot_listen)?;
        let listen = endpoint.local_addr().map_err(cannot_listen)?;
        let address = config.advertise.clone().unwrap_or_else(|| advertised(listen, &config.join).to_string());
        let node_config = node_config(&config, replica, cluster, address, listen);
        let clock = SystemClock::start();
        let (node, kept) = state.start(node_config, clock.now())?;
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let (version_sender, version) = watch::channel(0);
        let tracker = TaskTracker::new();
        let shared = driver::spawn(node, clock, kept, endpoint, asked, version_sender, &tracker);
        tracker.close();
        let (key_bytes_max, value_bytes_max) = (config.key_bytes_max, config.value_bytes_max);
        Ok(Self(Arc::new(Inner { shared, commands, version, tracker, cut, listen, key_bytes_max, value_bytes_max })))
    }

    // --- Writing

    /// Writes a value without a deadline, whatever the old one had. Returns when it is durable here.
    ///
    /// # Errors
    ///
    /// The key or the value is beyond its limit, or the store is closed. [`Error::state_changed`] tells.
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<Written, Error> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// As [`put`](Self::put), with a deadline or another durability.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Written, Error> {
        let write = self.checked(key.as_ref(), value.into(), options.expires)?;
        let durability = options.durability;
        let outcome = self.ask(|reply| Command::Put { write, durability, reply }).await?;
        Ok(self.written(outcome))
    }

    /// Writes a value as its JSON text. See [`get_as`](Self::get_as).
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and [`Error::Value`] if the value has no JSON form.
    pub async fn put_as<T: Serialize>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Written, Error> {
        let text = serde_json::to_vec(value).map_err(|source| Error::Value { source })?;
        self.put(key, text).await
    }

    /// Writes many values, made durable together. How many that were.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); if one of them is beyond a limit, none is written.
    pub async fn put_many(&self, records: Vec<Record>) -> Result<usize, Error> {
        let writes = records.into_iter().map(|record| self.checked(&record.key, record.value, record.expires));
        let writes = writes.collect::<Result<Vec<_>, _>>()?;
        let count = writes.len();
        self.ask(|reply| Command::PutMany { writes, reply }).await?;
        Ok(count)
    }

    /// Deletes what the key shows here; `None`, and nothing is written, if that is nothing.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Option<Written>, Error> {
        let key = self.checked(key.as_ref(), Bytes::new(), None)?.key;
        let outcome = self.ask(|reply| Command::Delete { key, reply }).await?;
        Ok(outcome.map(|outcome| self.written(outcome)))
    }

    fn checked(&self, key: &[u8], value: Bytes, expires: Option<u64>) -> Result<Write, Error> {
        let (key_max, value_max) = (self.0.key_bytes_max, self.0.value_bytes_max);
        match (key.len(), value.len()) {
            (0, _) => Err(Error::KeyEmpty),
            (len, _) if len > key_max => Err(Error::KeyTooLong { len, max: key_max }),
            (_, len) if len > value_max => Err(Error::ValueTooLarge { len, max: value_max }),
            _ => Ok(Write { key: Bytes::copy_from_slice(key), value, expires }),
        }
    }

    fn written(&self, outcome: Outcome) -> Written {
        Written { dot: outcome.dot, session: self.session(), replaced: outcome.replaced }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Interrupted)?
    }

    // --- Reading

    /// The value that the key shows here.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.read(key).map(|reading| reading.value)
    }

    /// The value that the key shows, from its JSON text; `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if the value is no such thing.
    pub fn get_as<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let value = self.get(key);
        value.map(|value| serde_json::from_slice(&value)).transpose().map_err(|source| Error::Value { source })
    }

    /// The value that the key shows, once this node has all that the session has seen.
    ///
    /// # Errors
    ///
    /// [`Error::NotYetHere`] if that takes longer than `wait`.
    pub async fn get_after(
        &self,
        key: impl AsRef<[u8]>,
        session: &Session,
        wait: Duration,
    ) -> Result<Option<Bytes>, Error> {
        let mut version = self.0.version.clone();
        let here = || self.0.shared.node().map().context().includes(&session.context);
        if !here() {
            self.0.commands.send(Command::PullAll).await.map_err(|_| Error::Closed)?;
            match tokio::time::timeout(wait, version.wait_for(|_| here())).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Error::Closed),
                Err(_) => return Err(Error::NotYetHere),
            }
        }
        Ok(self.get(key))
    }

    /// The value that the key shows, and its write.
    pub fn read(&self, key: impl AsRef<[u8]>) -> Option<Reading> {
        self.read_key(Key::usr(key.as_ref()))
    }

    /// All live values of the key: the one that it shows, then those of concurrent writes.
    pub fn values(&self, key: impl AsRef<[u8]>) -> Vec<Reading> {
        self.values_of(Key::usr(key.as_ref()))
    }

    /// All keys that begin with `prefix`, with their values, in the order of their bytes, as of one moment.
    ///
    /// Copies them all: for many, take [`page`](Self::page)s.
    pub fn scan(&self, prefix: impl AsRef<[u8]>) -> Vec<(Bytes, Bytes)> {
        let page = self.page(prefix.as_ref(), None, usize::MAX);
        page.items.into_iter().map(|item| (item.key, item.value)).collect()
    }

    /// At most `limit` keys that begin with `prefix`, from `start` on, in the order of their bytes.
    pub fn page(&self, prefix: &[u8], start: Option<&[u8]>, limit: usize) -> Page {
        self.page_of(Key::usr(prefix), start, limit)
    }

    /// The section of the cluster's own facts.
    pub fn sys(&self) -> Sys<'_> {
        Sys(self)
    }

    /// What this node has seen.
    pub fn session(&self) -> Session {
        Session { context: self.0.shared.node().map().context().clone() }
    }

    fn now_ms(&self) -> u64 {
        self.0.shared.clock.now().wall_ms
    }

    fn read_key(&self, key: Key<'_>) -> Option<Reading> {
        self.0.shared.node().map().read(key, self.now_ms()).map(Reading::from)
    }

    fn values_of(&self, key: Key<'_>) -> Vec<Reading> {
        let (node, now) = (self.0.shared.node(), self.now_ms());
        let shown = node.map().read(key, now).into_iter();
        shown.chain(node.map().siblings(key, now)).map(Reading::from).collect()
    }

    fn page_of(&self, prefix: Key<'_>, start: Option<&[u8]>, limit: usize) -> Page {
        let now = self.now_ms();
        let mut node = self.0.shared.node_mut();
        let mut shown = node.map_for_scan().scan_from(prefix, start.unwrap_or_default(), now);
        let item = |(key, reading): (&[u8], crate::crdt::Reading<'_>)| Item {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(reading.value),
            expires: reading.deadline,
        };
        let items = shown.by_ref().take(limit).map(item).collect();
        Page { items, next: shown.next().map(|(key, _)| Bytes::copy_from_slice(key)) }
    }

    // --- The cluster

    /// This node's replica.
    pub fn id(&self) -> ReplicaId {
        self.0.shared.node().map().id()
    }

    /// The address that it listens on for links.
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.listen
    }

    /// All members of which there is a record, this node among them, in the order of their ids.
    pub fn members(&self) -> Vec<Member> {
        let now = self.0.shared.clock.now().instant;
        let mut node = self.0.shared.node_mut();
        let (own, links) = (node.map().id(), node.links());
        let heard = |id| links.iter().find(|link| link.id == id).map(|link| millis(now.since(link.last_heard)));
        let of = |member: crate::proto::membership::Member| Member {
            id: member.id,
            name: member.record.name,
            addresses: member.record.addresses,
            http: member.record.http,
            protocol: member.record.protocol,
            incarnation: member.record.incarnation,
            state: member.record.state,
            is_self: member.id == own,
            last_contact_ms: heard(member.id),
        };
        node.members().into_iter().map(of).collect()
    }

    /// The addresses that are dialled, and who has dialled this node.
    pub fn peers(&self) -> Vec<Peer> {
        let now = self.0.shared.clock.now().instant;
        let of = |peer: crate::proto::node::PeerInfo| Peer {
            address: peer.address,
            id: peer.id,
            state: if peer.link.is_some() { PeerState::Connected } else { PeerState::Connecting },
            link: link_mode(peer.mode),
            last_contact_ms: peer.last_heard.map(|heard| millis(now.since(heard))),
        };
        self.0.shared.node().peers().into_iter().map(of).collect()
    }

    /// Dials an address (`HOST:PORT`) from now on, and lets it in again if it was removed. Whether it is new.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`], or the store is closed.
    pub async fn add_peer(&self, address: &str) -> Result<bool, Error> {
        let invalid = |e: Error| Error::InvalidAddress { address: address.to_owned(), problem: e.to_string() };
        crate::config::check_address("address", address).map_err(invalid)?;
        let address = address.to_owned();
        self.ask(|reply| Command::AddPeer { address, reply }).await
    }

    /// Closes the link to a peer, given by address or replica id, and bars both here until the address is added again.
    /// Removes neither data nor membership. Whether there was such a peer.
    ///
    /// # Errors
    ///
    /// The store is closed.
    pub async fn remove_peer(&self, address_or_id: &str) -> Result<bool, Error> {
        let address_or_id = address_or_id.to_owned();
        self.ask(|reply| Command::RemovePeer { address_or_id, reply }).await
    }

    /// How the node is doing.
    pub fn status(&self) -> Status {
        let node = self.0.shared.node();
        let (map, counts, audit, received) = (node.map(), node.map().counts(), node.map().audit(), node.received());
        let links: Vec<LinkStatus> = node.links().into_iter().filter_map(|link| self.link_status(link)).collect();
        let replicas = map.context().len() as u64;
        Status {
            id: map.id().to_string(),
            name: node.config().name.clone(),
            keys: counts.keys as u64,
            tombstones: counts.tombstones as u64,
            siblings: counts.siblings as u64,
            context: ContextStatus { replicas, intervals: replicas },
            audit: AuditStatus { context: format!("{:016x}", audit.context), state: format!("{:016x}", audit.state) },
            pending: map.pending() as u64,
            bytes: links.iter().fold(BytesStatus::default(), |sum, link| sum.plus(&link.bytes)),
            links,
            dots: DotsStatus { new: received.new, known: received.known, void: received.void },
            storage: self.storage_status(),
        }
    }

    fn storage_status(&self) -> StorageStatus {
        let Some(disk) = &self.0.shared.disk else {
            return StorageStatus { kind: "memory".to_owned(), ..StorageStatus::default() };
        };
        StorageStatus {
            kind: disk.kind.to_owned(),
            directory: Some(disk.directory.display().to_string()),
            bytes: Some(disk.bytes()),
            problem: disk.fault().map(|fault| fault.to_string()),
        }
    }

    fn link_status(&self, link: crate::proto::node::LinkInfo) -> Option<LinkStatus> {
        let LinkStats { rtt, bytes_sent, bytes_received } = self.link_stats(link.link)?;
        let all = |bytes| [("all".to_owned(), bytes)].into_iter().collect();
        Some(LinkStatus {
            id: link.id.to_string(),
            address: link.address,
            mode: link_mode(Some(link.mode)).name().to_owned(),
            rtt_ms: rtt.as_secs_f64() * 1000.0,
            lag: link.lag,
            bytes: BytesStatus { sent: all(bytes_sent), received: all(bytes_received) },
        })
    }

    fn link_stats(&self, link: LinkId) -> Option<LinkStats> {
        self.0.shared.links().get(&link).map(crate::runtime::net::LinkHandle::stats)
    }

    /// Whether it may serve: it has synced with a peer, or has nobody to sync with. If not, why.
    ///
    /// # Errors
    ///
    /// The reason, in words.
    pub fn ready(&self) -> Result<(), String> {
        let node = self.0.shared.node();
        if node.is_synced_once() { Ok(()) } else { Err("no sync with any of the addresses to join yet".to_owned()) }
    }

    /// All records of the state, as they are durable now.
    pub(crate) async fn snapshot(&self) -> Result<Box<dyn crate::runtime::storage::Snapshot>, Error> {
        self.ask(|reply| Command::Snapshot { reply }).await
    }

    /// Whether the node has ended: nothing more will come of what was asked of it.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.commands.is_closed()
    }

    // --- The end

    /// Leaves the cluster for good: says so in this node's record, then closes as [`close`](Self::close) does.
    ///
    /// # Errors
    ///
    /// The store is closed.
    pub async fn leave(&self) -> Result<(), Error> {
        self.ask(|reply| Command::Leave { reply }).await?;
        self.close().await;
        Ok(())
    }

    /// Ends the node in order: peers take what they lack, as far as half a second allows, and hear goodbye. Reads go on
    /// to show what was there. Closing again waits for the same end.
    pub async fn close(&self) {
        // An error says that the driver has ended already.
        let _ = self.0.commands.send(Command::Close).await;
        self.0.tracker.wait().await;
    }

    /// Drops all datagrams of this node, both ways, and tells nobody: to try what a cut link does.
    pub fn cut_switch(&self) -> CutSwitch {
        self.0.cut.clone()
    }
}

impl Sys<'_> {
    /// As [`Store::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.read(key).map(|reading| reading.value)
    }

    /// As [`Store::read`].
    pub fn read(&self, key: impl AsRef<[u8]>) -> Option<Reading> {
        self.0.read_key(Key::sys(key.as_ref()))
    }

    /// As [`Store::values`].
    pub fn values(&self, key: impl AsRef<[u8]>) -> Vec<Reading> {
        self.0.values_of(Key::sys(key.as_ref()))
    }

    /// As [`Store::scan`].
    pub fn scan(&self, prefix: impl AsRef<[u8]>) -> Vec<(Bytes, Bytes)> {
        let page = self.page(prefix.as_ref(), None, usize::MAX);
        page.items.into_iter().map(|item| (item.key, item.value)).collect()
    }

    /// As [`Store::page`].
    pub fn page(&self, prefix: &[u8], start: Option<&[u8]>, limit: usize) -> Page {
        self.0.page_of(Key { section: Section::Sys, bytes: prefix }, start, limit)
    }
}

impl From<crate::crdt::Reading<'_>> for Reading {
    fn from(reading: crate::crdt::Reading<'_>) -> Self {
        let crate::crdt::Reading { value, dot, timestamp, deadline, siblings } = reading;
        Self { value: Bytes::copy_from_slice(value), dot, timestamp, expires: deadline, siblings }
    }
}

/// What a store begins with: what its directory had kept, or nothing.
struct State {
    identity: durable::Identity,
    opened: Option<Opened>,
}

impl State {
    async fn open(config: &Config, mut progress: impl FnMut(u64, u64) + Send + 'static) -> Result<Self, Error> {
        let cluster = config.secret.cluster_id();
        let fresh = durable::Identity { replica: ReplicaId::random(&mut rand::rng()), cluster };
        let Storage::Directory(path) = &config.storage else { return Ok(Self { identity: fresh, opened: None }) };
        let (path, drift_ms) = (path.clone(), millis(config.clock_drift));
        let open = move || Directory::open(&path, fresh, drift_ms, &mut progress);
        let opened = tokio::task::spawn_blocking(open).await.map_err(|_| Error::Interrupted)??;
        let identity = opened.kept.identity();
        if identity.cluster != cluster {
            let problem = "the data directory is of another cluster; give the secret that it was made with, or another \
                directory";
            return Err(Error::config("secret", problem));
        }
        Ok(Self { identity, opened: Some(opened) })
    }

    /// The node, and what keeps it. The first commit is made by the driver.
    fn start(self, config: NodeConfig, now: Now) -> Result<(Node, Option<driver::Kept>), Error> {
        let Some(Opened { directory, kept }) = self.opened else { return Ok((Node::new(config, now), None)) };
        let (kind, path) = (directory.kind(), directory.path().to_owned());
        let spawned = Keeper::spawn(Box::new(directory));
        let (keeper, done) = spawned.map_err(|source| Error::Io { path: path.display().to_string(), source })?;
        let disk = Disk::new(kind, path, &keeper);
        Ok((Node::kept(config, kept, now), Some(driver::Kept { keeper, done, disk })))
    }
}

fn node_config(
    config: &Config,
    replica: ReplicaId,
    cluster: [u8; 16],
    address: String,
    listen: SocketAddr,
) -> NodeConfig {
    let mut node = NodeConfig::new(replica);
    let own = |join: &&String| **join != address && **join != listen.to_string();
    node.join = config.join.iter().filter(own).cloned().collect();
    node.boot = rand::rng().random();
    node.cluster = cluster;
    node.name = config.name.clone();
    node.address = address;
    node.http = config.http.clone();
    node.retention.keep_ms = millis(config.tombstone_age);
    node.retention.count_max = config.tombstone_count;
    node.drift_ms = millis(config.clock_drift);
    node
}

/// What others are told to dial. Listening on all addresses says nothing that could be dialled: then it is the one that
/// the system would reach the first peer from.
fn advertised(listen: SocketAddr, join: &[String]) -> SocketAddr {
    let towards_peer = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((listen.ip(), 0))?;
        // Of a datagram socket this only asks for the route.
        join.iter().find_map(|peer| socket.connect(peer).ok()).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(socket.local_addr()?.ip())
    };
    let ip = if listen.ip().is_unspecified() { towards_peer().ok() } else { None };
    SocketAddr::new(ip.unwrap_or(listen.ip()), listen.port())
}

fn link_mode(mode: Option<NodeLinkMode>) -> LinkMode {
    match mode {
        Some(NodeLinkMode::Eager) => LinkMode::Eager,
        Some(NodeLinkMode::Lazy) => LinkMode::Lazy,
        None => LinkMode::None,
    }
}

impl LinkMode {
    /// As interfaces write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Lazy => "lazy",
            Self::None => "none",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
