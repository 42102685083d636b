//! The store: a replicated map on a network, behind a cheap handle. Not responsible for the protocol: the driver's task
//! runs it.
//!
//! | file | |
//! | --- | --- |
//! | `opening` | from settings to a node that runs |
//! | `writing`, `reading` | keys and values, in both sections |
//! | `sessions` | what a client has seen, and waiting for it |
//! | `watching`, `cursor` | changes as they come, and where to go on from |
//! | `events` | messages to all nodes, and those of all nodes as they come |
//! | `compat` | what the compatibility routes need beside keys and values |
//! | `cluster` | members, view, peers, status |
//! | `metrics` | figures for monitoring |

mod cluster;
mod compat;
mod cursor;
mod events;
mod metrics;
mod opening;
mod reading;
mod sessions;
mod watching;
mod writing;

pub use compat::Latest;

use crate::crdt::AuditKey;
use crate::proto::node::StandIn;
use crate::runtime::command::{Command, Reply};
use crate::runtime::discovery::Discovery;
use crate::runtime::driver::Shared;
use crate::runtime::net::CutSwitch;
use crate::{Config, Error};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use cursor::Cursor;
#[cfg(feature = "cli")]
pub(crate) use events::EventReader;
pub use events::Events;
pub use watching::Changes;
#[cfg(feature = "cli")]
pub(crate) use watching::Reader;

/// A replicated store: reads and writes here, at any time, are shared with every other node of the cluster.
///
/// A handle is cheap to clone, and may be used from any thread of the runtime that it was opened on. The node runs until
/// [`close`](Self::close), [`leave`](Self::leave), or until the last handle is dropped.
///
/// Reads take the map's lock for one lookup: they wait for neither disk nor network, but for the node while it takes in what
/// has come, which is longest for a large [`put_many`](Self::put_many) or a chunk of a sync. Futures of writes may be
/// dropped at any time; the write is then done or not, as after [`Error::Interrupted`].
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
    /// What is behind the names to join,
    discovery: Arc<Discovery>,
    /// and the task that looks it up.
    looking: AbortOnDropHandle<()>,
    commands: mpsc::Sender<Command>,
    version: watch::Receiver<u64>,
    tracker: TaskTracker,
    cut: CutSwitch,
    listen: SocketAddr,
    /// What tokens are checked with.
    key: AuditKey,
    /// The last dot that stands for a context in tokens.
    stand_in: Mutex<Option<StandIn>>,
    key_bytes_max: usize,
    value_bytes_max: usize,
}

/// The `sys` section of a store: facts of the cluster, to be read and not to be written.
#[derive(Clone, Copy, Debug)]
pub struct Sys<'a>(&'a Store);

impl Store {
    /// Starts a node: opens its socket and takes up its links. Needs a tokio runtime, and uses that alone.
    /// Time and memory grow with what the directory holds, about two seconds a million entries; in memory it is done at
    /// once. Waits for no peer. If the future is dropped, nothing is started; a directory that is being read is let go
    /// of when it has been.
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
    /// `progress` is called on a thread for blocking work, and holds up the reading for as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_progress(
        config: Config,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<Self, Error> {
        opening::open(config, progress).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Interrupted)?
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
    /// Waits for the disk, then as `close` does. If the future is dropped, it may have said so and go on all the same:
    /// call it again, or `close`.
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
    /// Three seconds at most go to a disk that hangs. If the future is dropped, the end may not have been asked for
    /// yet: call it again.
    pub async fn close(&self) {
        self.0.looking.abort();
        // An error says that the driver has ended already.
        let _ = self.0.commands.send(Command::Close).await;
        self.0.tracker.wait().await;
    }

    /// Drops all datagrams of this node, both ways, and tells nobody: to try what a cut link does. Costs nothing.
    pub fn cut_switch(&self) -> CutSwitch {
        self.0.cut.clone()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
