//! From settings to a node that runs. Not responsible for it after that.

use super::{Inner, Store, millis};
use crate::crdt::{AuditKey, ReplicaId};
use crate::proto::config::NodeConfig;
use crate::proto::durable;
use crate::proto::node::Node;
use crate::proto::time::Now;
use crate::runtime::clock::SystemClock;
use crate::runtime::discovery::{Discovery, is_address};
use crate::runtime::disk::Disk;
use crate::runtime::driver;
use crate::runtime::net::Keys;
use crate::runtime::net::{CutSwitch, Endpoint, Identity, ResetKey, Transport};
use crate::runtime::storage::{Directory, Keeper, Opened, Storage as _};
use crate::{Config, Error, Profile, Storage};
use rand::RngExt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How many commands may wait for the driver; further callers wait for room.
const COMMANDS_MAX: usize = 1024;

pub(super) async fn open(config: Config, progress: impl FnMut(u64, u64) + Send + 'static) -> Result<Store, Error> {
    let state = State::open(&config, progress).await?;
    let (replica, cluster) = (state.identity.replica, state.identity.cluster);
    let transport = transport(&config);
    let identity = identity(&config.keys, replica)?.with_reset(reset_key(&config.storage)?);
    let cut = CutSwitch::default();
    let cannot_listen = |source| Error::Listen { address: config.listen.to_string(), source };
    let endpoint = Endpoint::bind(config.listen, &identity, &transport, cut.clone()).map_err(cannot_listen)?;
    let listen = endpoint.local_addr().map_err(cannot_listen)?;
    let address = config.advertise.clone().unwrap_or_else(|| advertised(listen, &config.join).to_string());
    let mut node_config = node_config(&config, replica, cluster, address, listen);
    node_config.keys = identity.key_ids().to_vec();
    let clock = SystemClock::start();
    let (node, kept) = state.start(node_config, clock.now())?;
    let (commands, asked) = mpsc::channel(COMMANDS_MAX);
    let (version_sender, version) = watch::channel(0);
    let tracker = TaskTracker::new();
    let shared = driver::spawn(node, clock, kept, endpoint, asked, version_sender, &tracker);
    tracker.close();
    let every = config.lookup_every.unwrap_or(config.profile.lookup_every());
    let discovery = Arc::new(Discovery::new(&config.join, config.resolver.clone(), every, listen.is_ipv4()));
    let looking = AbortOnDropHandle::new(tokio::spawn(discovery.clone().follow(commands.downgrade())));
    Ok(Store(Arc::new(Inner {
        shared,
        discovery,
        looking,
        commands,
        version,
        tracker,
        cut,
        listen,
        key: AuditKey::new(cluster),
        stand_in: Mutex::default(),
        key_bytes_max: config.key_bytes_max,
        value_bytes_max: config.value_bytes_max,
    })))
}

/// What a store begins with: what its directory had kept, or nothing.
struct State {
    identity: durable::Identity,
    opened: Option<Opened>,
}

impl State {
    async fn open(config: &Config, mut progress: impl FnMut(u64, u64) + Send + 'static) -> Result<Self, Error> {
        let cluster = config.keys.cluster_id();
        let fresh = durable::Identity { replica: ReplicaId::random(&mut rand::rng()), cluster };
        let Storage::Directory(path) = &config.storage else { return Ok(Self { identity: fresh, opened: None }) };
        let (path, drift_ms) = (path.clone(), millis(config.clock_drift));
        let open = move || Directory::open(&path, fresh, drift_ms, &mut progress);
        let opened = tokio::task::spawn_blocking(open).await.map_err(|_| Error::Interrupted)??;
        let identity = opened.kept.identity();
        check_cluster(&config.keys, identity.cluster, "the data directory is")?;
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

/// What a replica shows and accepts.
pub(super) fn identity(keys: &Keys, replica: ReplicaId) -> Result<Identity, Error> {
    if let Keys::Certificates(certificates) = keys
        && let Some(named) = certificates.replica().filter(|named| *named != replica)
    {
        let problem =
            format!("it is for replica {named}, and this is {replica}; give one without the name of a replica");
        return Err(Error::config("tls_cert", problem));
    }
    Identity::new(keys, replica).map_err(|error| Error::config(keys.setting(), error.to_string()))
}

/// Keys of another cluster would be of no use: no peer would take what comes from here. `what` is of the cluster `id`.
pub(super) fn check_cluster(keys: &Keys, id: [u8; 16], what: &str) -> Result<(), Error> {
    if keys.cluster_id() == id {
        return Ok(());
    }
    let (id, theirs) = (u128::from_be_bytes(id), u128::from_be_bytes(keys.cluster_id()));
    let way_out = match keys {
        Keys::Secrets(_) => "give the secret that it was made with, or another directory",
        Keys::Certificates(_) => "give its authority, or another directory",
    };
    let problem = format!(
        "{what} of cluster {id:032x}, and this is of another cluster ({theirs:032x}); {way_out}. If it has replaced the first \
         one, the line \"cluster {id:032x}\" has to stand beside it"
    );
    Err(Error::config(keys.setting(), problem))
}

/// Peers that ask on a connection of the process before are told at once that it is no more. Without a disk nobody is known
/// again anyway.
fn reset_key(storage: &Storage) -> Result<ResetKey, Error> {
    let Storage::Directory(directory) = storage else { return Ok(ResetKey::random(&mut rand::rng())) };
    let path = directory.join("reset");
    let kept = std::fs::read(&path).ok().and_then(|bytes| bytes.try_into().ok()).map(ResetKey::from_bytes);
    match kept {
        Some(kept) => Ok(kept),
        None => {
            let key = ResetKey::random(&mut rand::rng());
            write_private(&path, key.as_bytes())
                .map_err(|source| Error::Io { path: path.display().to_string(), source })?;
            Ok(key)
        }
    }
}

/// One that is written in part only is replaced at the next start.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

fn transport(config: &Config) -> Transport {
    let mut transport = config.profile.transport().with_upload(config.upload);
    transport.keep_alive = config.keep_alive.unwrap_or(transport.keep_alive);
    transport.idle_timeout = config.idle_timeout.unwrap_or(transport.idle_timeout);
    transport
}

fn node_config(
    config: &Config,
    replica: ReplicaId,
    cluster: [u8; 16],
    address: String,
    listen: SocketAddr,
) -> NodeConfig {
    let mut node = match config.profile {
        Profile::Lan => NodeConfig::new(replica),
        Profile::Metered => NodeConfig::metered(replica),
    };
    let own = |join: &&String| **join != address && **join != listen.to_string();
    node.join = config.join.iter().filter(own).filter(|text| is_address(text)).cloned().collect();
    node.joins_names = !config.join.iter().all(|text| is_address(text));
    node.boot = rand::rng().random();
    node.cluster = cluster;
    node.name = config.name.clone();
    node.address = address;
    node.http = config.http.clone();
    node.retention.keep_ms = millis(config.tombstone_age);
    node.retention.count_max = config.tombstone_count;
    node.link_settle = config.link_settle;
    node.view = config.view;
    node.event_ttl_ms = millis(config.event_ttl);
    node.drift_ms = millis(config.clock_drift);
    config.overlay.apply(&mut node);
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
