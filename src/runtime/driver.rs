//! The task that owns the node: the only one that changes it. Not responsible for what the node decides.
//!
//! Inputs come from three places: commands of the [`Store`](crate::Store), events of the links, new connections. Each
//! round takes what has gathered, gives it to the machine, commits the outcome, and only then lets outputs leave and
//! commands be answered. Readers take the lock for as long as one lookup; nobody holds it across an await.

use super::clock::SystemClock;
use super::net::{CloseCode, Endpoint, FRAME_BYTES_MAX, LinkCommand, LinkError, LinkEvent, LinkHandle, spawn_link};
use super::storage::Storage;
use crate::crdt::{Dot, Key, ReplicaId};
use crate::proto::link::{DUPLICATE, LinkId};
use crate::proto::node::{Input, Node, Output};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How many inputs one round takes: what many writers have gathered shares one commit.
const ROUND_INPUTS_MAX: usize = 256;
/// How many events of links may wait; when they do, the links stop reading.
const EVENTS_MAX: usize = 1024;
/// How long a closing node waits for its peers to take what they lack.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// What the driver and the store's handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    node: RwLock<Node>,
    links: Mutex<BTreeMap<LinkId, LinkHandle>>,
    pub(crate) clock: SystemClock,
    pub(crate) storage_kind: &'static str,
}

impl Shared {
    /// For reading. A panic elsewhere leaves the map whole: each change of it is one call.
    pub(crate) fn node(&self) -> RwLockReadGuard<'_, Node> {
        self.node.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the driver, and for scans, which may have to bring the map's order up to date.
    pub(crate) fn node_mut(&self) -> RwLockWriteGuard<'_, Node> {
        self.node.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, BTreeMap<LinkId, LinkHandle>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) expires: Option<u64>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) dot: Dot,
    pub(crate) replaced: bool,
}

/// What a store's handle asks for. A reply is sent when the outcome is durable.
#[derive(Debug)]
pub(crate) enum Command {
    Put { write: Write, reply: Reply<Outcome> },
    PutMany { writes: Vec<Write>, reply: Reply<()> },
    Delete { key: Bytes, reply: Reply<Option<Outcome>> },
    AddPeer { address: String, reply: Reply<bool> },
    RemovePeer { address_or_id: String, reply: Reply<bool> },
    PullAll,
    Leave { reply: Reply<()> },
    Close,
}

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A connection that stands, or an attempt that failed.
enum Attempt {
    Connected { connection: quinn::Connection, identity: ReplicaId, address: String, dialed: bool },
    Failed { address: String, error: String },
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    storage: Box<dyn Storage>,
    endpoint: Arc<Endpoint>,
    attempts: mpsc::Sender<Attempt>,
    events: mpsc::Sender<LinkEvent>,
    version: watch::Sender<u64>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    next_link: u64,
    /// The last error of each address, so that a peer that stays away is reported once.
    failures: BTreeMap<String, String>,
    /// Where each link leads, and whether this node dialled it.
    addresses: BTreeMap<LinkId, (String, bool)>,
}

/// Starts the driver's task, which ends after [`Command::Close`].
pub(crate) fn spawn(
    node: Node,
    clock: SystemClock,
    storage: Box<dyn Storage>,
    endpoint: Endpoint,
    commands: mpsc::Receiver<Command>,
    version: watch::Sender<u64>,
    tracker: &TaskTracker,
) -> Arc<Shared> {
    let storage_kind = storage.kind();
    let shared = Arc::new(Shared { node: RwLock::new(node), links: Mutex::default(), clock, storage_kind });
    let (attempt_sender, attempts) = mpsc::channel(EVENTS_MAX);
    let (event_sender, events) = mpsc::channel(EVENTS_MAX);
    let driver = Driver {
        shared: shared.clone(),
        storage,
        endpoint: Arc::new(endpoint),
        attempts: attempt_sender,
        events: event_sender,
        version,
        tracker: TaskTracker::new(),
        cancel: CancellationToken::new(),
        next_link: 0,
        failures: BTreeMap::new(),
        addresses: BTreeMap::new(),
    };
    tracker.spawn(driver.run(commands, attempts, events));
    shared
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut attempts: mpsc::Receiver<Attempt>,
        mut events: mpsc::Receiver<LinkEvent>,
    ) {
        self.tracker.spawn(accept(self.endpoint.clone(), self.attempts.clone()));
        self.round(|_, _| {});
        let (mut asked, mut heard) = (Vec::new(), Vec::new());
        loop {
            let wait = self.wait();
            tokio::select! {
                taken = commands.recv_many(&mut asked, ROUND_INPUTS_MAX) => {
                    // No handle is left, or one has asked for the end.
                    let closing = taken == 0 || asked.iter().any(|command| matches!(command, Command::Close));
                    self.on_commands(&mut asked);
                    if closing {
                        break;
                    }
                }
                _ = events.recv_many(&mut heard, ROUND_INPUTS_MAX) => self.on_events(&mut heard),
                Some(attempt) = attempts.recv() => self.on_attempt(attempt),
                () = tokio::time::sleep(wait) => self.round(|node, now| node.handle(now, Input::Timeout)),
            }
        }
        self.close(&mut events).await;
    }

    /// Until the machine wants to be asked at the latest.
    fn wait(&self) -> Duration {
        let timeout = self.shared.node().next_timeout();
        timeout.map_or(Duration::MAX, |moment| self.shared.clock.until(moment))
    }

    /// One round: the machine takes inputs, the outcome is committed, outputs leave.
    fn round<T>(&mut self, inputs: impl FnOnce(&mut Node, crate::proto::time::Now) -> T) -> T {
        let shared = self.shared.clone();
        let mut outputs = Vec::new();
        let result = {
            let mut node = shared.node_mut();
            let result = inputs(&mut node, shared.clock.now());
            if let Err(error) = self.storage.commit(node.map()) {
                // Storage in memory cannot fail; what another does about it is its own matter, with the gate kept shut.
                warn!(%error, "nothing leaves this node: its state cannot be made durable");
                return result;
            }
            while let Some(output) = node.poll_output() {
                outputs.push(output);
            }
            result
        };
        outputs.into_iter().for_each(|output| self.perform(output));
        self.version.send_modify(|version| *version += 1);
        result
    }

    fn on_commands(&mut self, commands: &mut Vec<Command>) {
        let commands = std::mem::take(commands);
        let replies =
            self.round(|node, now| commands.into_iter().map(|command| execute(node, now, command)).collect::<Vec<_>>());
        replies.into_iter().flatten().for_each(|reply| reply());
    }

    fn on_events(&mut self, events: &mut Vec<LinkEvent>) {
        let events = std::mem::take(events);
        for event in &events {
            if let LinkEvent::Closed { link, reason } = event {
                self.forget_link(*link, reason);
            }
        }
        self.round(|node, now| events.into_iter().for_each(|event| node.handle(now, input(event))));
    }

    fn forget_link(&mut self, link: LinkId, reason: &str) {
        self.shared.links().remove(&link);
        if let Some((address, _)) = self.addresses.remove(&link) {
            self.report_failure(address, reason.to_owned());
        }
    }

    fn on_attempt(&mut self, attempt: Attempt) {
        match attempt {
            Attempt::Failed { address, error } => self.report_failure(address, error),
            // An attempt that overlapped with the one that led to a link. The dialler decides, so that the two ends
            // cannot each keep the link that the other closes.
            Attempt::Connected { connection, address, dialed: true, .. } if self.has_dialed(&address) => {
                connection.close(CloseCode::Done.into(), DUPLICATE.as_bytes());
            }
            Attempt::Connected { connection, identity, address, dialed } => {
                self.next_link += 1;
                let link = LinkId(self.next_link);
                let (events, cancel) = (self.events.clone(), self.cancel.child_token());
                let handle = spawn_link(connection, link, FRAME_BYTES_MAX, events, &self.tracker, cancel);
                self.shared.links().insert(link, handle);
                self.addresses.insert(link, (address.clone(), dialed));
                self.round(|node, now| node.handle(now, Input::Connected { link, address, dialed, identity }));
            }
        }
    }

    fn has_dialed(&self, address: &str) -> bool {
        self.addresses.values().any(|(known, dialed)| *dialed && known == address)
    }

    /// Once for each address and reason: a peer that stays away is tried for ever.
    fn report_failure(&mut self, address: String, error: String) {
        if self.failures.get(&address) == Some(&error) || error.contains(DUPLICATE) {
            debug!(address, error, "no link");
            return;
        }
        warn!(address, error, "no link");
        if self.failures.len() >= ROUND_INPUTS_MAX {
            self.failures.clear();
        }
        self.failures.insert(address, error);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial { address } => self.dial(address),
            Output::Send { link, channel, frame } => self.tell(link, LinkCommand::Send { channel, frame }),
            Output::Finish { link, channel } => self.tell(link, LinkCommand::Finish { channel }),
            Output::Reset { link, channel } => self.tell(link, LinkCommand::Reset { channel }),
            Output::Close { link, reason } => self.tell(link, LinkCommand::Close { reason }),
        }
    }

    fn tell(&self, link: LinkId, command: LinkCommand) {
        let mut links = self.shared.links();
        // The machine bounds what is under way, so a full queue is a link that does not move: dropping it closes it.
        if links.get(&link).is_some_and(|handle| handle.try_send(command).is_err()) {
            warn!(link = link.0, "link closed: it does not keep up");
            links.remove(&link);
        }
    }

    fn dial(&self, address: String) {
        let (endpoint, attempts) = (self.endpoint.clone(), self.attempts.clone());
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            let attempt = async {
                match dial_any(&endpoint, &address).await {
                    Ok((connection, identity)) => Attempt::Connected { connection, identity, address, dialed: true },
                    Err(error) => Attempt::Failed { address, error },
                }
            };
            tokio::select! {
                attempt = attempt => drop(attempts.send(attempt).await),
                () = cancel.cancelled() => {}
            }
        });
    }

    /// The peers take what they lack, hear goodbye, and every task ends.
    async fn close(mut self, events: &mut mpsc::Receiver<LinkEvent>) {
        let deadline = tokio::time::Instant::now() + FLUSH_MAX;
        let mut heard = Vec::new();
        while !self.shared.node().is_flushed() {
            // The last writes may still be waiting to be told together.
            let wait = self.wait();
            tokio::select! {
                taken = events.recv_many(&mut heard, ROUND_INPUTS_MAX) => if taken == 0 { break } else { self.on_events(&mut heard) },
                () = tokio::time::sleep(wait) => self.round(|node, now| node.handle(now, Input::Timeout)),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        // What QUIC has taken is still on its way for half a round trip.
        let rtt = self.shared.links().values().map(|link| link.stats().rtt).max().unwrap_or_default();
        tokio::time::sleep((rtt * 2).min(FLUSH_MAX)).await;
        self.round(|node, now| node.close(now));
        self.cancel.cancel();
        self.shared.links().clear();
        self.endpoint.close(CloseCode::Shutdown, "the node is closing");
        self.tracker.close();
        let ended = async {
            self.tracker.wait().await;
            self.endpoint.wait_idle().await;
        };
        let _ = tokio::time::timeout(FLUSH_MAX, ended).await;
    }
}

fn input(event: LinkEvent) -> Input {
    match event {
        LinkEvent::Frame { link, channel, frame } => Input::Frame { link, channel, frame },
        LinkEvent::Sent { link, channel } => Input::Sent { link, channel },
        LinkEvent::Ended { link, channel } => Input::Ended { link, channel },
        LinkEvent::Closed { link, .. } => Input::Disconnected { link },
    }
}

/// Gives a command to the machine, and answers what is to be called when the outcome is durable.
fn execute(node: &mut Node, now: crate::proto::time::Now, command: Command) -> Option<Box<dyn FnOnce() + Send>> {
    fn answer<T: Send + 'static>(reply: Reply<T>, value: T) -> Option<Box<dyn FnOnce() + Send>> {
        // Whoever asked may have given up; the outcome stands.
        Some(Box::new(move || drop(reply.send(value))))
    }
    match command {
        Command::Put { write, reply } => {
            let key = Key::usr(&write.key);
            let replaced = node.map().get(key, now.wall_ms).is_some();
            let dot = node.put(now, key, &write.value, write.expires);
            answer(reply, Outcome { dot, replaced })
        }
        Command::PutMany { writes, reply } => {
            node.put_batch(now, writes.iter().map(|write| (Key::usr(&write.key), &write.value[..], write.expires)));
            answer(reply, ())
        }
        Command::Delete { key, reply } => {
            let dot = node.delete(now, Key::usr(&key));
            answer(reply, dot.map(|dot| Outcome { dot, replaced: true }))
        }
        Command::AddPeer { address, reply } => answer(reply, node.add_peer(now, &address)),
        Command::RemovePeer { address_or_id, reply } => answer(reply, node.remove_peer(now, &address_or_id)),
        Command::PullAll => {
            node.pull_all(now);
            None
        }
        Command::Leave { reply } => {
            node.leave(now);
            answer(reply, ())
        }
        Command::Close => None,
    }
}

async fn accept(endpoint: Arc<Endpoint>, attempts: mpsc::Sender<Attempt>) {
    while let Some(accepted) = endpoint.accept().await {
        // A refused stranger has been logged by the endpoint.
        let Ok((connection, identity, address)) = accepted else { continue };
        let attempt = Attempt::Connected { connection, identity, address: address.to_string(), dialed: false };
        if attempts.send(attempt).await.is_err() {
            return;
        }
    }
}

/// Tries every address behind a name, and takes the first that answers.
async fn dial_any(endpoint: &Endpoint, address: &str) -> Result<(quinn::Connection, ReplicaId), String> {
    let resolved: Vec<SocketAddr> = match address.parse() {
        Ok(address) => vec![address],
        Err(_) => tokio::net::lookup_host(address).await.map_err(|e| format!("cannot resolve it: {e}"))?.collect(),
    };
    let mut failure = "no address is behind that name".to_owned();
    for address in resolved {
        match endpoint.dial(address).await {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = LinkError::to_string(&error),
        }
    }
    Err(failure)
}
