//! Broadcasting, and the messages of all nodes as a stream. Not responsible for their order: `proto::broadcast` is. A stream
//! that nobody reads costs the node nothing, and holds up nobody.

use super::{Cursor, Store};
use crate::Error;
use crate::event_types::{Event, Heard, Missed};
use crate::proto::broadcast::{self, Listener, Told};
use crate::runtime::command::Command;
use crate::runtime::driver::Shared;
use crate::runtime::meters::Token;
use crate::types::Written;
use bytes::Bytes;
use futures_core::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;

impl Store {
    /// Sends a message to all nodes of the cluster, this one too. Each delivers it once, and never before what had been
    /// delivered here by now. Who is away gets it later, for as long as the settings say
    /// ([`event_ttl`](crate::ConfigBuilder::event_ttl)). Returns when it is durable here.
    ///
    /// A write as [`put`](Self::put) is one, and as safe to drop: it takes the payload, and 24 bytes or so for each
    /// node that has a message which is still to be had. All nodes keep it in memory until then.
    ///
    /// ```
    /// use tidings::crdt::Causality;
    /// use tidings::{Config, Secret, Store};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidings::Error> {
    /// let secret = Secret::random(&mut rand::rng());
    /// let config = Config::builder().in_memory().listen("127.0.0.1:0").secret(secret).build()?;
    /// let store = Store::open(config).await?;
    /// let mut events = store.events();
    /// store.broadcast("doors open").await?;
    /// store.broadcast("doors closed").await?;
    ///
    /// let open = events.next().await.and_then(|heard| heard.event()).expect("the store is open");
    /// let closed = events.next().await.and_then(|heard| heard.event()).expect("the store is open");
    /// assert_eq!(&open.payload[..], b"doors open");
    /// assert_eq!(open.compare(&closed), Causality::Before);
    /// store.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The message is larger than a value may be, or the store is closed. [`Error::state_changed`] tells.
    pub async fn broadcast(&self, payload: impl Into<Bytes>) -> Result<Written, Error> {
        let payload = payload.into();
        let (len, max) = (payload.len(), self.0.value_bytes_max);
        if len > max {
            return Err(Error::ValueTooLarge { len, max });
        }
        let outcome = self.ask(|reply| Command::Broadcast { payload, reply }).await?;
        Ok(self.written(outcome))
    }

    /// All messages that this node delivers from now on, each once it is durable here: its own too, each once, and none
    /// before what it depends on. [`Heard::Missed`] says how many it should have delivered and cannot.
    ///
    /// A reader that is slow costs nothing, and misses what expires before it comes to it. What was delivered before this
    /// process began is not delivered again; to go on across a restart, or at another node, keep the cursor of what was
    /// heard last, for [`events_after`](Self::events_after). The stream ends when the store is closed.
    ///
    /// Linear in the nodes that have sent messages. The node keeps the last 100,000 names of messages for listeners,
    /// whether or not there are any.
    pub fn events(&self) -> Events {
        Events::of(self.listener(None).expect("without a cursor there is nothing to refuse"))
    }

    /// As [`events`](Self::events), and before that what is still to be had of the messages that a listener had not heard
    /// when it was given `cursor`, here or at another node of the cluster. Linear in the messages that are to be had.
    ///
    /// # Errors
    ///
    /// [`Error::BadCursor`] if it is of another cluster, or one of [`watch`](Self::watch).
    pub fn events_after(&self, cursor: &Cursor) -> Result<Events, Error> {
        self.listener(Some(cursor)).map(Events::of)
    }

    pub(crate) fn listener(&self, after: Option<&Cursor>) -> Result<EventReader, Error> {
        let shared = &self.0.shared;
        let mut node = shared.node_mut();
        let told = after.map(|cursor| cursor.told(&node.config().cluster)).transpose()?;
        let listener = node.listen(shared.clock.now(), told);
        let (version, _counted) = (self.0.version.clone(), shared.open.listeners.clone());
        Ok(EventReader { shared: shared.clone(), version, listener, is_over: false, _counted })
    }
}

/// Messages as they are delivered. Made by [`Store::events`]; dropping it ends it.
pub struct Events {
    ready: VecDeque<Heard>,
    reading: Reading,
}

/// Reading owns the reader, and gives it back.
type Reading = Pin<Box<dyn Future<Output = (EventReader, Option<Vec<Heard>>)> + Send>>;

async fn read(mut reader: EventReader) -> (EventReader, Option<Vec<Heard>>) {
    let batch = reader.batch().await;
    (reader, batch)
}

impl Events {
    fn of(reader: EventReader) -> Self {
        Self { ready: VecDeque::new(), reading: Box::pin(read(reader)) }
    }

    /// The next one; `None` when the store was closed. May be dropped at any time: nothing is lost.
    /// Waits for a message to be on this node's disk.
    pub async fn next(&mut self) -> Option<Heard> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Heard;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        loop {
            if let Some(heard) = self.ready.pop_front() {
                return Poll::Ready(Some(heard));
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

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

/// One listener at a running node. It does not keep the node running.
#[derive(Debug)]
pub(crate) struct EventReader {
    shared: Arc<Shared>,
    version: watch::Receiver<u64>,
    listener: Listener,
    is_over: bool,
    _counted: Token,
}

impl EventReader {
    /// What there is to hear, as soon as there is something. `None` at the end. The future may be dropped at any time.
    pub(crate) async fn batch(&mut self) -> Option<Vec<Heard>> {
        loop {
            self.version.borrow_and_update();
            let (before, heard) = (self.listener.told().clone(), self.ask());
            if !heard.is_empty() {
                return Some(self.shown(heard));
            }
            // What has been told already may fill a batch.
            if !Arc::ptr_eq(self.listener.told(), &before) {
                continue;
            }
            // What was durable at the end is told before the end.
            if std::mem::replace(&mut self.is_over, self.version.changed().await.is_err()) {
                return None;
            }
        }
    }

    /// After what was told last: for who sends it apart from events.
    #[cfg(feature = "cli")]
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor_of(self.listener.told())
    }

    fn ask(&mut self) -> Vec<broadcast::Heard> {
        let node = self.shared.node();
        self.listener.ask(&node, self.shared.clock.now().wall_ms)
    }

    fn cursor_of(&self, told: &Told) -> Cursor {
        let cluster = self.shared.node().config().cluster;
        Cursor::of_told(told, &cluster)
    }

    fn shown(&self, heard: Vec<broadcast::Heard>) -> Vec<Heard> {
        self.shared.meters().told += heard.len() as u64;
        let shown = |heard| match heard {
            broadcast::Heard::Message(broadcast::Message { dot, context, payload }, told) => {
                Heard::Event(Event { dot, context, payload, cursor: self.cursor_of(&told) })
            }
            broadcast::Heard::Missed(count, told) => Heard::Missed(Missed { count, cursor: self.cursor_of(&told) }),
        };
        heard.into_iter().map(shown).collect()
    }
}
