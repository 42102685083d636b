//! Watching: the changes below a prefix, as a stream. Not responsible for what they are: `proto::feed` is. A stream that
//! nobody reads costs the node nothing, and holds up nobody.

use super::{Cursor, Store};
use crate::Error;
use crate::crdt::{self, Session};
use crate::proto::feed::{Asked, Gap, Seen, Told, Watcher};
use crate::runtime::command::Command;
use crate::runtime::driver::Shared;
use crate::runtime::meters::Token;
use crate::watch_types::{Cause, Change};
use bytes::Bytes;
use futures_core::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a node tries to get what a watcher has seen elsewhere.
const REACH_MAX: Duration = Duration::from_secs(5);
/// How often it pulls for that.
const PULL_EVERY: Duration = Duration::from_secs(1);

impl Store {
    /// All changes from now on of what the keys that begin with `prefix` show here, each once it is durable.
    ///
    /// A reader that is slow misses nothing for good: of what has changed several times meanwhile it is told the latest,
    /// or [`Cause::Resync`]. The stream ends when the store is closed.
    ///
    /// Linear in the replicas to begin. While anybody watches, the node keeps its last 10,000 changes or 8 MiB, once
    /// for all watchers; each looks at all of them, also at those of other prefixes. Who comes later than that walks
    /// over what has changed since.
    ///
    /// ```
    /// use tidings::{Cause, Config, Secret, Store};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidings::Error> {
    /// let secret = Secret::random(&mut rand::rng());
    /// let config = Config::builder().in_memory().listen("127.0.0.1:0").secret(secret).build()?;
    /// let store = Store::open(config).await?;
    /// let mut changes = store.watch("lamps/");
    /// store.put("lamps/hall", "on").await?;
    /// store.put("heating", "off").await?;
    /// store.delete("lamps/hall").await?;
    ///
    /// let on = changes.next().await.expect("the store is open");
    /// assert_eq!((&on.key[..], on.value.as_deref(), on.cause), (&b"lamps/hall"[..], Some(&b"on"[..]), Cause::Put));
    /// let off = changes.next().await.expect("the store is open");
    /// assert_eq!((&off.key[..], off.value, off.cause), (&b"lamps/hall"[..], None, Cause::Delete));
    ///
    /// // Another watcher goes on where this one was after the first change, here or at any other node.
    /// let mut again = store.watch_after("lamps/", &on.cursor)?;
    /// assert_eq!(again.next().await.map(|change| change.dot), Some(off.dot));
    /// store.close().await;
    /// assert!(changes.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, prefix: impl AsRef<[u8]>) -> Changes {
        Changes::of(self.reader(prefix.as_ref(), None).expect("without a cursor there is nothing to refuse"))
    }

    /// All changes since a watcher with the same prefix was given `cursor`, here or at another node of the cluster: of a
    /// key that has changed several times the latest. [`Cause::Resync`] if that cannot be known.
    /// To begin costs the same; what it is told first takes a walk over all writes since, which it does 4,096 at a
    /// time.
    ///
    /// # Errors
    ///
    /// [`Error::BadCursor`] if it is of another cluster.
    pub fn watch_after(&self, prefix: impl AsRef<[u8]>, cursor: &Cursor) -> Result<Changes, Error> {
        self.reader(prefix.as_ref(), Some(cursor)).map(Changes::of)
    }

    pub(crate) fn reader(&self, prefix: &[u8], after: Option<&Cursor>) -> Result<Reader, Error> {
        let shared = &self.0.shared;
        let watcher = {
            let mut node = shared.node_mut();
            let seen = after.map(|cursor| cursor.seen(&node.config().cluster, node.map().context())).transpose()?;
            node.watch(shared.clock.now(), prefix, seen)
        };
        // The driver waits for the next deadline from now on. Where there is no room, it is about to look anyway.
        let _ = self.0.commands.try_send(Command::Look);
        Ok(Reader {
            shared: shared.clone(),
            commands: self.0.commands.downgrade(),
            version: self.0.version.clone(),
            watcher,
            after: after.cloned(),
            lacking: None,
            is_over: false,
            _counted: shared.open.watchers.clone(),
        })
    }
}

/// The changes below a prefix, as they come. Made by [`Store::watch`]; dropping it ends it.
pub struct Changes {
    ready: VecDeque<Change>,
    reading: Reading,
}

/// Reading owns the reader, and gives it back.
type Reading = Pin<Box<dyn Future<Output = (Reader, Option<Vec<Change>>)> + Send>>;

async fn read(mut reader: Reader) -> (Reader, Option<Vec<Change>>) {
    let batch = reader.batch().await;
    (reader, batch)
}

impl Changes {
    fn of(reader: Reader) -> Self {
        Self { ready: VecDeque::new(), reading: Box::pin(read(reader)) }
    }

    /// The next change; `None` when the store was closed. May be dropped at any time: no change is lost.
    /// Waits for a change to be on this node's disk. After a cursor of another node it waits up to 5 s for what that
    /// has and this one lacks.
    pub async fn next(&mut self) -> Option<Change> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Poll::Ready(Some(change));
            }
            let (reader, batch) = std::task::ready!(self.reading.as_mut().poll(context));
            self.reading = Box::pin(read(reader));
            match batch {
                Some(batch) => self.ready.extend(batch),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

/// One watcher of a running node. It does not keep the node running.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    commands: mpsc::WeakSender<Command>,
    version: watch::Receiver<u64>,
    watcher: Watcher,
    /// What it was begun with, until the node has what that names.
    after: Option<Cursor>,
    lacking: Option<Lacking>,
    is_over: bool,
    _counted: Token,
}

/// Since when the node has lacked what the watcher has seen, so to speak.
#[derive(Debug)]
struct Lacking {
    give_up: Instant,
    pull: Instant,
}

impl Reader {
    /// What there is to tell, as soon as there is something: first, if need be, that the cursor stands. `None` at the end.
    /// The future may be dropped at any time.
    pub(crate) async fn batch(&mut self) -> Option<Vec<Change>> {
        loop {
            self.version.borrow_and_update();
            match self.ask() {
                Asked::Told(events) => {
                    (self.after, self.lacking) = (None, None);
                    return Some(self.changes(events));
                }
                Asked::Gap(gap) => return Some(vec![self.resync(gap)]),
                Asked::Nothing => {
                    // What was durable at the end is told before the end.
                    if std::mem::replace(&mut self.is_over, self.version.changed().await.is_err()) {
                        return None;
                    }
                }
                Asked::Lacking => {
                    if let Some(gap) = self.reach().await? {
                        return Some(vec![gap]);
                    }
                }
            }
        }
    }

    /// After what was told last: for who sends it apart from changes.
    #[cfg(feature = "cli")]
    pub(crate) fn cursor(&self) -> Cursor {
        // Until the node has it, it is what the client gave.
        self.after.clone().unwrap_or_else(|| self.cursor_of(self.watcher.seen()))
    }

    fn ask(&mut self) -> Asked {
        let node = self.shared.node();
        self.watcher.ask(&node, self.shared.clock.now().wall_ms)
    }

    /// Waits for what the watcher has seen, or gives up.
    async fn reach(&mut self) -> Option<Option<Change>> {
        let now = Instant::now();
        let lacking = self.lacking.get_or_insert(Lacking { give_up: now + REACH_MAX, pull: now });
        if now >= lacking.give_up {
            let asked = {
                let node = self.shared.node();
                self.watcher.give_up(&node, self.shared.clock.now().wall_ms, Gap::Unreached)
            };
            let Asked::Gap(gap) = asked else { return Some(None) };
            return Some(Some(self.resync(gap)));
        }
        if now >= lacking.pull {
            lacking.pull = now + PULL_EVERY;
            let mut seen = self.watcher.seen().context.clone();
            seen.join(&self.watcher.seen().ahead);
            let pull = Command::PullFor { session: Session::from(&seen) };
            let _ = self.commands.upgrade()?.try_send(pull);
        }
        let until = lacking.pull.min(lacking.give_up);
        if let Ok(Err(_)) = tokio::time::timeout_at(until, self.version.changed()).await {
            return None;
        }
        if let Some(cursor) = &self.after {
            let node = self.shared.node();
            // It was of this cluster a moment ago.
            let seen = cursor.seen(&node.config().cluster, node.map().context()).ok()?;
            self.watcher.restart(seen);
        }
        Some(None)
    }

    fn resync(&mut self, gap: Gap) -> Change {
        (self.after, self.lacking) = (None, None);
        self.shared.meters().resyncs += 1;
        let cursor = self.cursor_of(self.watcher.seen());
        let cause = Cause::Resync(gap);
        Change { key: Bytes::new(), value: None, cause, dot: None, timestamp: None, expires: None, cursor }
    }

    fn cursor_of(&self, seen: &Seen) -> Cursor {
        let cluster = self.shared.node().config().cluster;
        Cursor::of(seen, &cluster)
    }

    fn changes(&self, events: Vec<Told>) -> Vec<Change> {
        self.shared.meters().told += events.len() as u64;
        let mut last: Option<(Arc<Seen>, Cursor)> = None;
        let cluster = self.shared.node().config().cluster;
        let mut cursor_of = |seen: &Arc<Seen>| {
            let known = last.as_ref().filter(|(known, _)| Arc::ptr_eq(known, seen)).map(|known| known.1.clone());
            let cursor = known.unwrap_or_else(|| Cursor::of(seen, &cluster));
            last = Some((seen.clone(), cursor.clone()));
            cursor
        };
        let change = |told: Told| {
            let Told { key, value, dot, timestamp, expires, .. } = told;
            let cause = match told.cause {
                crdt::Cause::Put => Cause::Put,
                crdt::Cause::Delete => Cause::Delete,
                crdt::Cause::Expired => Cause::Expired,
            };
            Change { key, value, cause, dot, timestamp, expires, cursor: cursor_of(&told.seen) }
        };
        events.into_iter().map(change).collect()
    }
}
