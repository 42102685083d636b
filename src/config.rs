//! Settings of a store, checked once when they are built. Not responsible for where they come from: flags, environment
//! and files belong to the binary.

mod overlay;

use crate::Error;
use crate::proto::membership::ViewConfig;
use crate::runtime::discovery::{Resolver, SystemResolver};
use crate::runtime::net::{Certificates, Keys, Secret, Secrets, Transport, UploadLimits};
pub(crate) use overlay::OverlayConfig;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a store keeps what must outlive its process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// In this directory, which belongs to one process at a time.
    Directory(PathBuf),
    /// Nowhere: the state ends with the process, and lives on in the other nodes only.
    Memory,
}

/// How a node trades traffic for speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// A network that costs nothing: lost links are noticed within 2 s, lost peers tried again every 0.5 s.
    #[default]
    Lan,
    /// A network where each byte counts: a silent link costs a few bytes a second, is found lost within 90 s, and lost
    /// peers are tried again every 5 s to 2 min. What is written goes out at once all the same.
    Metered,
}

impl Profile {
    /// How often names are looked up.
    pub(crate) const fn lookup_every(self) -> Duration {
        match self {
            Self::Lan => Duration::from_secs(30),
            Self::Metered => Duration::from_secs(300),
        }
    }

    /// How its links behave.
    pub(crate) const fn transport(self) -> Transport {
        match self {
            Self::Lan => Transport::lan(),
            Self::Metered => Transport::metered(),
        }
    }

    /// How its nodes sample their peers.
    pub(crate) fn view(self) -> ViewConfig {
        match self {
            Self::Lan => ViewConfig::default(),
            Self::Metered => ViewConfig::metered(),
        }
    }
}

/// Checked settings of a [`Store`](crate::Store); made by [`Config::builder`].
///
/// ```
/// use tidings::{Config, Secret};
/// let config = Config::builder().in_memory().listen("127.0.0.1:0").secret(Secret::random(&mut rand::rng())).build();
/// assert!(config.is_ok());
/// let error = Config::builder().in_memory().listen("here").secret(Secret::random(&mut rand::rng())).build().unwrap_err();
/// assert!(error.to_string().starts_with("listen: "));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    pub(crate) storage: Storage,
    pub(crate) name: String,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<String>,
    pub(crate) http: Option<String>,
    pub(crate) join: Vec<String>,
    pub(crate) lookup_every: Option<Duration>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) keys: Keys,
    pub(crate) key_bytes_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) clock_drift: Duration,
    pub(crate) tombstone_age: Duration,
    pub(crate) tombstone_count: usize,
    pub(crate) link_settle: Duration,
    pub(crate) event_ttl: Duration,
    pub(crate) profile: Profile,
    pub(crate) upload: UploadLimits,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) view: ViewConfig,
    pub(crate) overlay: OverlayConfig,
}

/// Settings on their way to a [`Config`]. What is not set has its default.
///
/// Each method only notes what it is given; what a setting costs the node that runs with it stands there.
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until they are built"]
pub struct ConfigBuilder {
    storage: Option<Storage>,
    name: Option<String>,
    listen: String,
    advertise: Option<String>,
    http: Option<String>,
    join: Vec<String>,
    lookup_every: Option<Duration>,
    keys: Option<Keys>,
    key_bytes_max: usize,
    value_bytes_max: usize,
    clock_drift: Duration,
    tombstone_age: Duration,
    tombstone_count: usize,
    link_settle: Duration,
    event_ttl: Duration,
    profile: Profile,
    upload_limit: u64,
    link_upload_limit: u64,
    keep_alive: Option<Duration>,
    idle_timeout: Option<Duration>,
    view: Option<ViewConfig>,
    overlay: OverlayConfig,
}

impl Config {
    /// Where a node listens unless told otherwise.
    pub const LISTEN_DEFAULT: &str = "127.0.0.1:7400";

    /// How long a delete is remembered unless told otherwise.
    pub const TOMBSTONE_AGE_DEFAULT: Duration = Duration::from_secs(3_600);

    /// How many deletes are remembered at most unless told otherwise.
    pub const TOMBSTONE_COUNT_DEFAULT: usize = 100_000;

    /// How long a message that was broadcast can be had unless told otherwise.
    pub const EVENT_TTL_DEFAULT: Duration = Duration::from_secs(3_600);

    /// No name may be looked up more often.
    pub const LOOKUP_EVERY_FLOOR: Duration = Duration::from_millis(100);

    /// No key may be allowed to be longer than this: a key must fit into a frame with room to spare.
    pub const KEY_BYTES_CEILING: usize = crate::Key::BYTES_MAX;

    /// No value may be allowed to be larger than this: a frame holds an entry with a few concurrent ones.
    pub const VALUE_BYTES_CEILING: usize = 4 * 1024 * 1024;

    /// No upload may be limited to fewer bytes a second: one datagram of a handshake would take longer than a second.
    pub const UPLOAD_LIMIT_FLOOR: u64 = 1_000;

    /// Settings with their defaults; [`secret`](ConfigBuilder::secret) (or what stands for it) and one of [`data_dir`](ConfigBuilder::data_dir)
    /// and [`in_memory`](ConfigBuilder::in_memory) have none and must be given.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder {
            storage: None,
            name: None,
            listen: Self::LISTEN_DEFAULT.to_owned(),
            advertise: None,
            http: None,
            join: Vec::new(),
            lookup_every: None,
            keys: None,
            key_bytes_max: 1_024,
            value_bytes_max: 1024 * 1024,
            clock_drift: Duration::from_secs(60),
            tombstone_age: Self::TOMBSTONE_AGE_DEFAULT,
            tombstone_count: Self::TOMBSTONE_COUNT_DEFAULT,
            link_settle: Duration::ZERO,
            event_ttl: Self::EVENT_TTL_DEFAULT,
            profile: Profile::Lan,
            upload_limit: 0,
            link_upload_limit: 0,
            keep_alive: None,
            idle_timeout: None,
            view: None,
            overlay: OverlayConfig::default(),
        }
    }
}

impl ConfigBuilder {
    /// Keeps the state in this directory, which belongs to one process at a time. It is made if it is not there.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.storage = Some(Storage::Directory(directory.into()));
        self
    }

    /// Keeps the state in memory only.
    pub fn in_memory(mut self) -> Self {
        self.storage = Some(Storage::Memory);
        self
    }

    /// A name for people to read; needs not be unique. By default the name of the machine.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The UDP address to listen on, `IP:PORT`; by default `127.0.0.1:7400`. Port 0 lets the system choose.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The address that others are told to dial, `HOST:PORT`: for a node behind a translated address, or one that
    /// listens on all of them.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// The HTTP address of this node, `HOST:PORT`, for others to see in its member record. The store serves no HTTP.
    pub fn http(mut self, address: impl Into<String>) -> Self {
        self.http = Some(address.into());
        self
    }

    /// Nodes to dial, `HOST:PORT` each; every address behind a host name, which is looked up again at intervals: those that
    /// have come are dialled, those that have gone no longer. Own addresses are skipped.
    pub fn join<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.join = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// How often host names to join are looked up again; by default every 30 s, with the `metered` profile every 5 min.
    pub fn lookup_every(mut self, interval: Duration) -> Self {
        self.lookup_every = Some(interval);
        self
    }

    /// The cluster's secret: only nodes with the same one talk to each other.
    pub fn secret(self, secret: Secret) -> Self {
        self.keys(secret)
    }

    /// The same while it is being replaced: nodes talk to each other that have one of them in common.
    pub fn secrets(self, secrets: Secrets) -> Self {
        self.keys(secrets)
    }

    /// Instead of a secret, a certificate of the users' own authority: nodes talk to each other whose certificates one of the
    /// other's authorities has issued.
    pub fn certificates(self, certificates: Certificates) -> Self {
        self.keys(certificates)
    }

    /// Whichever of these it is; [`Store::rekey`](crate::Store::rekey) changes them while the node runs.
    pub fn keys(mut self, keys: impl Into<Keys>) -> Self {
        self.keys = Some(keys.into());
        self
    }

    /// The longest key, in bytes (1,024). Must be the same on all nodes: what one refuses, it does not take from
    /// another either.
    pub fn key_bytes_max(mut self, bytes: usize) -> Self {
        self.key_bytes_max = bytes;
        self
    }

    /// The largest value, in bytes (1 MiB). Must be the same on all nodes.
    pub fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.value_bytes_max = bytes;
        self
    }

    /// How far ahead of the own clock another's may be and still move it (60 s). Larger, and one wrong clock wins all
    /// concurrent writes for as long; smaller, and honest clocks that differ are not followed.
    pub fn clock_drift(mut self, drift: Duration) -> Self {
        self.clock_drift = drift;
        self
    }

    /// How long a delete is remembered (1 hour), and how many (100,000). A node away for longer needs a catch-up when
    /// it returns, which costs more than a sync.
    pub fn tombstone_retention(mut self, age: Duration, count: usize) -> Self {
        self.tombstone_age = age;
        self.tombstone_count = count;
        self
    }

    /// For links that flap: what a peer sends that is heard again, after 0.7 s or more without a word from it, is held for so
    /// long before it is joined. Off by default (zero). Longer, and a link has to be steady for longer before its news
    /// count; what this node writes goes out at once all the same.
    pub fn link_settle(mut self, settle: Duration) -> Self {
        self.link_settle = settle;
        self
    }

    /// How long the messages that this node broadcasts can be had (1 hour). A node away for longer misses them, and says
    /// how many. Longer, and each takes memory on all nodes for longer.
    pub fn event_ttl(mut self, ttl: Duration) -> Self {
        self.event_ttl = ttl;
        self
    }

    /// How the node trades traffic for speed.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// How many bytes leave in a second, at most, on all links together; 0, the default, is without limit. All that
    /// leaves counts, handshakes and acknowledgements too, with the headers of IP and UDP. With the `lan` profile a link
    /// may be taken for lost below some 4,000 for each of them: there [`Profile::Metered`] is better.
    pub fn upload_limit(mut self, bytes_per_second: u64) -> Self {
        self.upload_limit = bytes_per_second;
        self
    }

    /// The same for each link by itself. Both may be given.
    pub fn link_upload_limit(mut self, bytes_per_second: u64) -> Self {
        self.link_upload_limit = bytes_per_second;
        self
    }

    /// How often a silent link says that it lives; by default as the profile has it.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = Some(interval);
        self
    }

    /// After which silence a link is lost; by default as the profile has it. Several times the keep-alive of the other end, or
    /// a few lost datagrams look like a lost link. The connection is kept eight times as long, and carries the next link if it
    /// is heard again.
    pub fn idle_timeout(mut self, silence: Duration) -> Self {
        self.idle_timeout = Some(silence);
        self
    }

    /// How the node samples its peers, from whom it picks its links in a large cluster; by default as the profile has it.
    pub fn view(mut self, view: ViewConfig) -> Self {
        self.view = Some(view);
        self
    }

    /// How many links the node keeps where not all are linked to all: it looks for others with fewer than `min`, and takes no
    /// more than `max`, which must be more; by default as the profile has it. With more, each write comes sooner and more
    /// often, and more nodes may crash at once before the rest is in parts for a moment.
    pub fn links(mut self, min: usize, max: usize) -> Self {
        self.overlay.links = Some((min, max));
        self
    }

    /// The node takes part without carrying what others write: for one whose upload is thin or dear. It keeps 2 to 3 links, also
    /// in a small cluster, on which it gets everything; it sends what it has written itself, and answers who asks it.
    /// Others keep their links among themselves, so that nothing depends on it. A cluster of leaves alone is a slow one.
    pub fn leaf(mut self, leaf: bool) -> Self {
        self.overlay.leaf = leaf;
        self
    }

    /// How often, in a large cluster, one of the addresses that are never given up is tried; by default as the profile has
    /// it. A split that had lasted is healed about so long after the network is.
    pub fn anchor_every(mut self, interval: Duration) -> Self {
        self.overlay.anchor_every = Some(interval);
        self
    }

    /// How long a member whose link was lost has to say that it lives before it counts as down; by default as the profile
    /// has it. Should be longer than a message takes to all nodes and back.
    pub fn suspect_for(mut self, patience: Duration) -> Self {
        self.overlay.suspect_for = Some(patience);
        self
    }

    /// How long members that are down, or have left, are remembered (1 day).
    pub fn forget_members(mut self, age: Duration) -> Self {
        self.overlay.forget_members = Some(age);
        self
    }

    /// What a peer has announced is asked of it after this, if it has not come from another; by default as the profile has it.
    /// Longer than the difference between two ways through the cluster, it is asked for seldom in vain; shorter, a broken
    /// way is mended sooner.
    pub fn graft_after(mut self, patience: Duration) -> Self {
        self.overlay.graft_after = Some(patience);
        self
    }

    /// Checks the settings. Touches neither disk nor network: names are not looked up, and no socket is opened.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] names the first setting that cannot work, and what would.
    pub fn build(self) -> Result<Config, Error> {
        let no_keys = "a store needs its cluster's secret, or a certificate of the cluster's authority";
        let keys = self.keys.ok_or_else(|| Error::config("secret", no_keys))?;
        let storage = self.storage.ok_or_else(|| {
            Error::config("data_dir", "say where the state is kept: in a directory, or in memory only")
        })?;
        check_range("key_bytes_max", self.key_bytes_max, Config::KEY_BYTES_CEILING)?;
        check_range("value_bytes_max", self.value_bytes_max, Config::VALUE_BYTES_CEILING)?;
        self.advertise.iter().try_for_each(|a| check_address("advertise", a))?;
        self.join.iter().try_for_each(|a| check_address("join", a))?;
        let upload = UploadLimits {
            all: check_upload("upload_limit", self.upload_limit)?,
            each: check_upload("link_upload_limit", self.link_upload_limit)?,
        };
        if self.lookup_every.is_some_and(|interval| interval < Config::LOOKUP_EVERY_FLOOR) {
            return Err(Error::config("lookup_every", "give 100ms or more"));
        }
        if self.event_ttl.is_zero() {
            return Err(Error::config("event_ttl", "nobody could ever have a message; give a second or more"));
        }
        check_silence(self.profile, self.keep_alive, self.idle_timeout)?;
        let view = self.view.unwrap_or(self.profile.view());
        view.check().map_err(|wrong| Error::config(wrong.setting, wrong.problem))?;
        self.overlay.check()?;
        Ok(Config {
            storage,
            name: check_name(self.name.unwrap_or_else(machine_name))?,
            listen: parse_listen(&self.listen)?,
            advertise: self.advertise,
            http: self.http,
            join: self.join,
            lookup_every: self.lookup_every,
            resolver: Arc::new(SystemResolver),
            keys,
            key_bytes_max: self.key_bytes_max,
            value_bytes_max: self.value_bytes_max,
            clock_drift: self.clock_drift,
            tombstone_age: self.tombstone_age,
            tombstone_count: self.tombstone_count,
            link_settle: self.link_settle,
            event_ttl: self.event_ttl,
            profile: self.profile,
            upload,
            keep_alive: self.keep_alive,
            idle_timeout: self.idle_timeout,
            view,
            overlay: self.overlay,
        })
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| Error::config("listen", format!("{text:?} is no IP:PORT, as 127.0.0.1:7400 is")))
}

fn check_range(setting: &'static str, bytes: usize, ceiling: usize) -> Result<(), Error> {
    if (1..=ceiling).contains(&bytes) {
        return Ok(());
    }
    Err(Error::config(setting, format!("{bytes} is not between 1 and {ceiling} bytes")))
}

fn check_upload(setting: &'static str, bytes_per_second: u64) -> Result<Option<u64>, Error> {
    match bytes_per_second {
        0 => Ok(None),
        Config::UPLOAD_LIMIT_FLOOR.. => Ok(Some(bytes_per_second)),
        few => Err(Error::config(
            setting,
            format!("{few} bytes a second are too few for a handshake; give 1000 or more, or 0 for no limit"),
        )),
    }
}

/// A silence must have room for several signs of life, or one lost datagram looks like a lost link.
fn check_silence(profile: Profile, keep_alive: Option<Duration>, idle_timeout: Option<Duration>) -> Result<(), Error> {
    let (usual, wrong) = (profile.transport(), if idle_timeout.is_some() { "idle_timeout" } else { "keep_alive" });
    let (keep_alive, idle) = (keep_alive.unwrap_or(usual.keep_alive), idle_timeout.unwrap_or(usual.idle_timeout));
    if !keep_alive.is_zero() && keep_alive.checked_mul(2).is_some_and(|twice| twice <= idle) {
        return Ok(());
    }
    Err(Error::config(
        wrong,
        format!("a link is lost after {idle:?} of silence, so it must say that it lives every {:?} or less", idle / 2),
    ))
}

pub(crate) fn check_address(setting: &'static str, address: &str) -> Result<(), Error> {
    let host_and_port = address.rsplit_once(':').filter(|(host, _)| is_host(host));
    match host_and_port.and_then(|(_, port)| port.parse().ok()) {
        Some(1u16..) => Ok(()),
        _ => Err(Error::config(setting, format!("{address:?} is no HOST:PORT, as 127.0.0.1:7400 is, or [::1]:7400"))),
    }
}

/// A name or an address. What is none would be looked up in vain, for ever; it goes into every hello, too.
fn is_host(host: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => (1..=255).contains(&host.len()) && host.chars().all(is_of_name),
    }
}

/// The name goes into every member record and every log line about it.
fn check_name(name: String) -> Result<String, Error> {
    const BYTES_MAX: usize = 255;
    if name.is_empty() || name.len() > BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::config("name", format!("1 to {BYTES_MAX} bytes without control characters")));
    }
    Ok(name)
}

pub(crate) fn machine_name() -> String {
    let read = |path| std::fs::read_to_string(path).ok();
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ConfigBuilder {
        Config::builder().in_memory().secret(Secret::random(&mut rand::rng()))
    }

    fn refusal(builder: ConfigBuilder) -> String {
        builder.build().expect_err("refused").to_string()
    }

    #[test]
    fn the_defaults_are_those_of_the_manual() {
        let config = builder().build().expect("defaults work");
        assert_eq!(config.listen.to_string(), "127.0.0.1:7400");
        assert_eq!((config.key_bytes_max, config.value_bytes_max), (1_024, 1_048_576));
        assert_eq!(config.clock_drift, Duration::from_secs(60));
        assert_eq!((config.tombstone_age, config.tombstone_count), (Duration::from_secs(3_600), 100_000));
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert!(refusal(Config::builder().in_memory()).starts_with("secret: "));
        assert!(refusal(Config::builder().secret(Secret::random(&mut rand::rng()))).starts_with("data_dir: "));
        assert!(refusal(builder().listen("localhost")).starts_with("listen: "));
        assert!(refusal(builder().join(["here:0"])).starts_with("join: "));
        assert!(refusal(builder().advertise(":7400")).starts_with("advertise: "));
        assert!(refusal(builder().name("")).starts_with("name: "));
        assert!(refusal(builder().value_bytes_max(0)).starts_with("value_bytes_max: "));
        let few = "upload_limit: 999 bytes a second are too few for a handshake; give 1000 or more, or 0 for no limit";
        assert_eq!(refusal(builder().upload_limit(999)), few);
        assert!(refusal(builder().link_upload_limit(1)).starts_with("link_upload_limit: "));
        assert!(refusal(builder().lookup_every(Duration::ZERO)).starts_with("lookup_every: "));
        assert!(refusal(builder().event_ttl(Duration::ZERO)).starts_with("event_ttl: "));
        assert!(refusal(builder().keep_alive(Duration::from_secs(2))).starts_with("keep_alive: "));
        assert!(refusal(builder().idle_timeout(Duration::from_millis(499))).starts_with("idle_timeout: "));
        let view = ViewConfig { heal: 16, ..ViewConfig::default() };
        assert!(refusal(builder().view(view)).starts_with("view_heal: "));
    }

    #[test]
    fn an_upload_is_limited_only_if_said_so() {
        let upload = |builder: ConfigBuilder| builder.build().expect("settings").upload;
        assert!(upload(builder()).is_none() && upload(builder().upload_limit(0)).is_none());
        let both = upload(builder().upload_limit(8_000).link_upload_limit(1_000));
        assert_eq!(both, UploadLimits { all: Some(8_000), each: Some(1_000) });
    }

    #[test]
    fn the_view_is_the_profiles_unless_said_otherwise() {
        let period = |builder: ConfigBuilder| builder.build().expect("settings").view.period.as_secs();
        assert_eq!((period(builder()), period(builder().profile(Profile::Metered))), (10, 1_800));
        let said = ViewConfig { period: Duration::from_secs(60), ..ViewConfig::default() };
        assert_eq!(period(builder().view(said).profile(Profile::Metered)), 60);
    }

    #[test]
    fn host_names_and_both_families_may_be_joined() {
        let config = builder().join(["seed.example:7400", "[::1]:7400", "10.0.0.1:7400"]).build().expect("addresses");
        assert_eq!(config.join.len(), 3);
        for wrong in ["::1:7400", "[::1:7400", "http://a:1", "a b:1", "a", "a:", ":1", "a:0", "a:65536", "[a]:1"] {
            assert!(refusal(builder().join([wrong])).contains("is no HOST:PORT"), "{wrong}");
        }
    }
}
