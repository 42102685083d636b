//! Stores in this process, on real QUIC over the loopback, and what they log. Not responsible for what is asserted.
#![allow(dead_code, missing_docs, unreachable_pub)]

use bytes::Bytes;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tidings::{Config, MemberState, Secret, Store};

/// Nothing here takes so long, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn secret() -> Secret {
    Secret::random(&mut rand::rng())
}

/// A store on a port that the system chooses, which dials these.
pub async fn open(secret: &Secret, name: &str, join: &[&Store]) -> Store {
    open_at(secret, name, "127.0.0.1:0", join).await
}

pub async fn open_at(secret: &Secret, name: &str, listen: &str, join: &[&Store]) -> Store {
    capture_log();
    let join = join.iter().map(|store| address(store));
    let config = Config::builder().in_memory().name(name).listen(listen).join(join).secret(secret.clone()).build();
    let config = config.expect("settings");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Store::open(config.clone()).await {
            Ok(store) => return store,
            // The port of a store that has just closed.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn address(store: &Store) -> String {
    store.listen_addr().to_string()
}

/// Waits for something that others have to do first, and says how long that took.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// What both nodes of a pair agree on when they have the same writes: two sums, and all they show.
#[derive(PartialEq, Eq)]
pub struct Picture {
    audit: (String, String),
    usr: Vec<(Bytes, Bytes)>,
    sys: Vec<(Bytes, Bytes)>,
}

impl Picture {
    pub fn of(store: &Store) -> Self {
        let (before, usr, sys) = (audit(store), store.scan(""), store.sys().scan(""));
        Self { audit: before, usr, sys }
    }

    /// How it differs, in few words.
    pub fn difference(&self, other: &Self) -> String {
        let keys = |all: &[(Bytes, Bytes)]| all.len();
        format!(
            "sums {:?} and {:?}, {} and {} keys, {} and {} of sys",
            self.audit,
            other.audit,
            keys(&self.usr),
            keys(&other.usr),
            keys(&self.sys),
            keys(&other.sys)
        )
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys, {} of sys, sums {:?}", self.usr.len(), self.sys.len(), self.audit)
    }
}

/// The sums of the context and of the state.
pub fn audit(store: &Store) -> (String, String) {
    let audit = store.status().audit;
    (audit.context, audit.state)
}

/// Waits until all have the same writes and nothing is pending, then holds them to the same values. How long it took.
pub async fn agree(stores: &[&Store]) -> Duration {
    let one = |store: &Store| (audit(store), store.status().pending);
    let start = Instant::now();
    loop {
        let same = stores.windows(2).all(|pair| one(pair[0]) == one(pair[1])) && stores[0].status().pending == 0;
        if same {
            let took = start.elapsed();
            let pictures: Vec<_> = stores.iter().map(|store| Picture::of(store)).collect();
            // A record of a member may have come between two pictures: then once more.
            if pictures.windows(2).all(|pair| pair[0] == pair[1]) {
                return took;
            }
            let late = start.elapsed() > PATIENCE;
            assert!(!late, "equal sums, unequal states: {}", pictures[0].difference(&pictures[1]));
        }
        let all: Vec<_> = stores.iter().map(|store| one(store)).collect();
        assert!(start.elapsed() < PATIENCE, "they do not agree: {all:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether there is a link from one to the other.
pub fn linked(from: &Store, to: &Store) -> bool {
    let id = to.id().to_string();
    from.status().links.iter().any(|link| link.id == id)
}

/// Waits until each of them has a link with each.
pub async fn mesh(stores: &[&Store]) -> Duration {
    let all = || stores.iter().all(|a| stores.iter().all(|b| a.id() == b.id() || linked(a, b)));
    eventually("all are linked", all).await
}

/// What one believes of another.
pub fn state_of(at: &Store, id: tidings::ReplicaId) -> Option<MemberState> {
    at.members().into_iter().find(|member| member.id == id).map(|member| member.state)
}

// --- What they log

static LOG: Mutex<String> = Mutex::new(String::new());

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on all that stores of this process log can be asked for.
pub fn capture_log() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::new("warn,tidings=info");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Sink).init();
    });
}

/// The lines logged so far with all of these words in them.
pub fn logged(words: &[&str]) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
}
