//! The task that owns the node: the only one that changes it. Not responsible for what the node decides.
//!
//! Inputs come from three places: commands of the [`Store`](crate::Store), events of the links, new connections. Each
//! round takes what has gathered, gives it to the machine, and hands what has changed to the keeper of the storage; outputs
//! leave and commands are answered when that is durable, while further rounds gather what is committed next. Readers
//! take the lock for as long as one lookup; nobody holds it across an await.

use super::clock::SystemClock;
use super::command::{Answer, Answered, Command, execute};
use super::dialing::{Dials, dial_any};
use super::disk::Disk;
use super::hearing::{Hearing, LOOK_EVERY};
use super::meters::{Meters, Open};
use super::net::{
    CloseCode, Endpoint, Kept as KeptConnection, LinkCommand, LinkEvent, LinkHandle, Meter, Peer, Session, spawn_link,
};
use super::storage::{Done, Job, Keeper, StorageError, StorageProblem};
use crate::Error;
use crate::proto::KeyId;
use crate::proto::link::{CLONED, DUPLICATE, ITSELF, LinkId, PASSED, RETIRED};
use crate::proto::node::{Input, Node, Output};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

/// How many inputs one round takes: what many writers have gathered shares one commit.
const ROUND_INPUTS_MAX: usize = 256;
/// How many events of links may wait; when they do, the links stop reading.
const EVENTS_MAX: usize = 1024;
/// While so many keys wait for the commit after the one under way, nothing more is taken in.
const UNCOMMITTED_MAX: usize = 1 << 16;
/// How often writing is tried while the disk does not take it.
const MEND_EVERY: Duration = Duration::from_secs(1);
/// How long a closing node waits for its disk: it has promised what it acknowledged only.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(3);
/// How long a closing node waits for its peers to take what they lack.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// What the driver and the store's handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    node: RwLock<Node>,
    links: Mutex<BTreeMap<LinkId, LinkHandle>>,
    pub(crate) meter: Meter,
    pub(crate) clock: SystemClock,
    pub(crate) disk: Option<Disk>,
    meters: Mutex<Meters>,
    /// When what the node presents ends, if it does.
    expires: Mutex<Option<SystemTime>>,
    pub(crate) open: Open,
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

    /// What the shell counts. Nobody holds it for longer than a count or a copy.
    pub(crate) fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn expires(&self) -> Option<SystemTime> {
        *self.expires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that stands, or an attempt that failed.
pub(super) enum Attempt {
    Connected { session: Session, way: Way },
    Failed { address: String, error: String },
}

/// Where a link leads, and whether this node dialled it.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) peer: Peer,
    pub(super) address: String,
    pub(super) dialed: bool,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    keeper: Option<Keeper>,
    /// Who waits for which commit, and since when.
    waiting: VecDeque<(u64, tokio::time::Instant, Answer)>,
    commit_begun: Option<tokio::time::Instant>,
    /// Why nothing can be written, and when that is tried again.
    fault: Option<(StorageError, tokio::time::Instant)>,
    endpoint: Arc<Endpoint>,
    attempts: mpsc::Sender<Attempt>,
    events: mpsc::Sender<LinkEvent>,
    version: watch::Sender<u64>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    next_link: u64,
    /// The last error of each address, so that a peer that stays away is reported once.
    failures: BTreeMap<String, String>,
    /// Signs of life, where they matter, and when the next look is due.
    hearing: Option<(Hearing, tokio::time::Instant)>,
    /// Each link's; and where its connection will be found when it is lost.
    ways: BTreeMap<LinkId, (Way, oneshot::Receiver<KeptConnection>)>,
    dials: Dials,
}

/// A node's storage and what becomes of its commits; none in memory.
pub(crate) struct Kept {
    pub(crate) keeper: Keeper,
    pub(crate) done: mpsc::UnboundedReceiver<Done>,
    pub(crate) disk: Disk,
}

/// Starts the driver's task, which ends after [`Command::Close`].
pub(crate) fn spawn(
    node: Node,
    clock: SystemClock,
    kept: Option<Kept>,
    endpoint: Endpoint,
    commands: mpsc::Receiver<Command>,
    version: watch::Sender<u64>,
    tracker: &TaskTracker,
) -> Arc<Shared> {
    let (keeper, done, disk) = match kept {
        Some(Kept { keeper, done, disk }) => (Some(keeper), Some(done), Some(disk)),
        None => (None, None, None),
    };
    let hearing = (!node.config().link_settle.is_zero()).then(|| (Hearing::default(), tokio::time::Instant::now()));
    let (meter, expires) = (endpoint.meter(), Mutex::new(endpoint.expires()));
    let (node, links, meters, open) = (RwLock::new(node), Mutex::default(), Mutex::default(), Open::default());
    let shared = Arc::new(Shared { node, links, meter, clock, disk, meters, expires, open });
    let (attempt_sender, attempts) = mpsc::channel(EVENTS_MAX);
    let (event_sender, events) = mpsc::channel(EVENTS_MAX);
    let driver = Driver {
        shared: shared.clone(),
        keeper,
        waiting: VecDeque::new(),
        commit_begun: None,
        fault: None,
        endpoint: Arc::new(endpoint),
        attempts: attempt_sender,
        events: event_sender,
        version,
        tracker: TaskTracker::new(),
        cancel: CancellationToken::new(),
        next_link: 0,
        failures: BTreeMap::new(),
        hearing,
        ways: BTreeMap::new(),
        dials: Dials::default(),
    };
    tracker.spawn(driver.run(Inputs { commands, attempts, events, done }));
    shared
}

/// All that the driver waits for, beside time.
struct Inputs {
    commands: mpsc::Receiver<Command>,
    attempts: mpsc::Receiver<Attempt>,
    events: mpsc::Receiver<LinkEvent>,
    done: Option<mpsc::UnboundedReceiver<Done>>,
}

impl Inputs {
    /// What becomes of the commit under way. For ever, where nothing is committed.
    async fn done(done: &mut Option<mpsc::UnboundedReceiver<Done>>) -> Done {
        let Some(receiver) = done else { return std::future::pending().await };
        match receiver.recv().await {
            Some(outcome) => outcome,
            None => {
                *done = None;
                Err(StorageError::new(StorageProblem::Failed, "the storage has ended by a bug; restart the node"))
            }
        }
    }
}

impl Driver {
    async fn run(mut self, mut inputs: Inputs) {
        self.tracker.spawn(accept(self.endpoint.clone(), self.shared.clone(), self.attempts.clone()));
        self.round(|_, _| {});
        let (mut asked, mut heard) = (Vec::new(), Vec::new());
        loop {
            let (wait, mend) = (self.wait(), self.fault.as_ref().map(|fault| fault.1));
            let look = self.hearing.as_ref().map(|hearing| hearing.1);
            let room = self.shared.node().uncommitted() < UNCOMMITTED_MAX;
            let Inputs { commands, attempts, events, done } = &mut inputs;
            tokio::select! {
                done = Inputs::done(done) => self.on_done(done),
                taken = commands.recv_many(&mut asked, ROUND_INPUTS_MAX), if room => {
                    // No handle is left, or one has asked for the end.
                    let closing = taken == 0 || asked.iter().any(|command| matches!(command, Command::Close));
                    self.on_commands(&mut asked);
                    if closing {
                        break;
                    }
                }
                _ = events.recv_many(&mut heard, ROUND_INPUTS_MAX), if room => self.on_events(&mut heard),
                Some(attempt) = attempts.recv() => self.on_attempt(attempt),
                () = tokio::time::sleep_until(mend.unwrap_or_else(tokio::time::Instant::now)), if mend.is_some() => self.mend(),
                () = tokio::time::sleep_until(look.unwrap_or_else(tokio::time::Instant::now)), if look.is_some() => self.look(),
                () = tokio::time::sleep(wait) => self.round(|node, now| node.handle(now, Input::Timeout)),
            }
        }
        self.close(&mut inputs).await;
    }

    /// Until the machine wants to be asked at the latest.
    fn wait(&self) -> Duration {
        let timeout = self.shared.node().next_timeout();
        timeout.map_or(Duration::MAX, |moment| self.shared.clock.until(moment))
    }

    /// One round: the machine takes inputs, what has changed goes to the keeper, what may leave leaves.
    fn round<T>(&mut self, inputs: impl FnOnce(&mut Node, crate::proto::time::Now) -> T) -> T {
        let shared = self.shared.clone();
        let mut outputs = Vec::new();
        let result = {
            let mut node = shared.node_mut();
            let result = inputs(&mut node, shared.clock.now());
            if let (Some(batch), Some(keeper)) = (node.begin_commit(), &self.keeper) {
                self.commit_begun = Some(tokio::time::Instant::now());
                shared.meters().commit_records.add(batch.len() as u64);
                keeper.ask(Job::Commit(batch));
            }
            while let Some(output) = node.poll_output() {
                outputs.push(output);
            }
            result
        };
        outputs.into_iter().for_each(|output| self.perform(output));
        self.version.send_modify(|version| *version += 1);
        self.answer_durable();
        result
    }

    fn on_commands(&mut self, commands: &mut Vec<Command>) {
        let begun = tokio::time::Instant::now();
        for command in &*commands {
            if let Command::Rekey { identity, .. } = command {
                self.endpoint.set_identity(identity);
                *self.shared.expires.lock().unwrap_or_else(PoisonError::into_inner) = identity.expires();
            }
        }
        let (commands, fault) = (std::mem::take(commands), self.fault.as_ref().map(|fault| fault.0.clone()));
        let (mut later, mut at_once, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
        self.round(|node, now| {
            for command in commands {
                match execute(node, now, command, fault.as_ref()) {
                    Answered::Durable(answer) => later.push((node.next_commit(), begun, answer)),
                    Answered::Now(answer) => at_once.push(answer),
                    Answered::Snapshot(reply) => snapshots.push(reply),
                    Answered::Already => {}
                }
            }
        });
        at_once.into_iter().for_each(|answer| answer(Ok(())));
        self.waiting.extend(later);
        self.answer_durable();
        for reply in snapshots {
            match (&self.keeper, &fault) {
                (None, _) => drop(reply.send(Err(Error::InMemory))),
                (Some(_), Some(fault)) => drop(reply.send(Err(Error::Storage { source: fault.clone() }))),
                (Some(keeper), None) => keeper.ask(Job::Snapshot(reply)),
            }
        }
    }

    /// What needed no commit is durable too.
    fn answer_durable(&mut self) {
        let durable = self.shared.node().durable_commit();
        let ready = self.waiting.partition_point(|(commit, ..)| *commit <= durable);
        if ready > 0 {
            let (now, mut meters) = (tokio::time::Instant::now(), self.shared.meters());
            self.waiting.iter().take(ready).for_each(|(_, begun, _)| meters.write_micros.add_micros(now - *begun));
        }
        self.waiting.drain(..ready).for_each(|(.., answer)| answer(Ok(())));
    }

    /// The commit under way is durable, or has failed.
    fn on_done(&mut self, done: Done) {
        if let Some(begun) = self.commit_begun.take() {
            self.shared.meters().on_commit(begun.elapsed(), done.is_err());
        }
        match done {
            Ok(()) => {
                if self.fault.take().is_some() {
                    info!("the disk takes writes again");
                    self.show_fault();
                }
                self.round(|node, now| node.end_commit(now));
            }
            Err(error) => self.on_failed(error),
        }
    }

    /// What was to be durable was taken back; who waits for it is told.
    fn on_failed(&mut self, error: StorageError) {
        if self.fault.as_ref().is_none_or(|fault| fault.0 != error) {
            warn!(%error, "the node takes no writes, and serves what it has");
        }
        self.round(|node, now| node.fail_commit(now));
        std::mem::take(&mut self.waiting).into_iter().for_each(|(.., answer)| answer(Err(error.clone())));
        self.fault = Some((error, tokio::time::Instant::now() + MEND_EVERY));
        self.show_fault();
    }

    fn show_fault(&self) {
        if let Some(disk) = &self.shared.disk {
            disk.set_fault(self.fault.as_ref().map(|fault| fault.0.clone()));
        }
    }

    /// Tries to write what the failed commits have touched.
    fn mend(&mut self) {
        if let Some(fault) = &mut self.fault {
            fault.1 = tokio::time::Instant::now() + MEND_EVERY;
        }
        // None while the last attempt has not come back.
        let batch = self.shared.node_mut().begin_mend();
        if let (Some(batch), Some(keeper)) = (batch, &self.keeper) {
            keeper.ask(Job::Mend(batch));
        }
    }

    fn on_events(&mut self, events: &mut Vec<LinkEvent>) {
        let events = std::mem::take(events);
        for event in &events {
            if let LinkEvent::Closed { link, reason } = event {
                self.forget_link(*link, reason);
            }
        }
        let heard: Vec<_> = events.iter().map(|event| self.heard_before(event)).collect();
        let round_trips = self.round_trips(&events);
        self.round(|node, now| {
            round_trips.into_iter().for_each(|(link, round_trip)| node.note_round_trip(link, round_trip));
            for (event, heard) in events.into_iter().zip(heard) {
                heard.into_iter().for_each(|heard| node.handle(now, heard));
                node.handle(now, input(event));
            }
        });
    }

    /// A look at what the links have received, where silences matter.
    fn look(&mut self) {
        let Some((hearing, due)) = &mut self.hearing else { return };
        *due = tokio::time::Instant::now() + LOOK_EVERY;
        let received: Vec<_> =
            self.shared.links().iter().map(|(link, handle)| (*link, handle.stats().received.wire_bytes)).collect();
        let heard = hearing.look(&received);
        if !heard.is_empty() {
            let inputs = heard.into_iter().map(|(link, silence)| Input::Heard { link, silence });
            self.round(|node, now| inputs.for_each(|input| node.handle(now, input)));
        }
    }

    /// The sign of life that came with a frame: the machine has to know of it before.
    fn heard_before(&mut self, event: &LinkEvent) -> Option<Input> {
        let LinkEvent::Frame { link, .. } = *event else { return None };
        let (hearing, _) = self.hearing.as_mut()?;
        let bytes = self.shared.links().get(&link)?.stats().received.wire_bytes;
        hearing.hear(link, bytes).map(|silence| Input::Heard { link, silence })
    }

    /// Of the links that something was heard on.
    fn round_trips(&self, events: &[LinkEvent]) -> BTreeMap<LinkId, Duration> {
        let links = self.shared.links();
        let heard = events.iter().filter_map(|event| match event {
            LinkEvent::Frame { link, .. } => Some((*link, links.get(link)?.round_trip())),
            _ => None,
        });
        heard.collect()
    }

    fn forget_link(&mut self, link: LinkId, reason: &str) {
        let lost = self.shared.links().remove(&link);
        let Some((way, mut kept)) = self.ways.remove(&link) else { return };
        if let Some(lost) = lost {
            self.dials.note_distance(&way.address, lost.stats().rtt);
        }
        self.report_failure(way.address.clone(), reason.to_owned());
        if let Ok(kept) = kept.try_recv() {
            self.keep(kept, way);
        }
    }

    /// A connection without a link is waited for, and its address is not dialled meanwhile.
    fn keep(&mut self, kept: KeptConnection, way: Way) {
        let token = self.dials.keep(&way.address);
        let (attempts, cancel) = (self.attempts.clone(), self.cancel.clone());
        self.tracker.spawn(async move {
            let revived = async {
                if let Some(session) = kept.revived().await {
                    debug!(address = way.address, "the connection is heard again");
                    let _ = attempts.send(Attempt::Connected { session, way }).await;
                }
                // Only now: until then there is no need of an attempt.
                drop(token);
            };
            tokio::select! {
                () = revived => {}
                () = cancel.cancelled() => {}
            }
        });
    }

    fn on_attempt(&mut self, attempt: Attempt) {
        self.shared.meters().on_attempt(&attempt);
        match &attempt {
            Attempt::Failed { address, .. } => self.dials.on_failed(address),
            Attempt::Connected { way, .. } => self.dials.on_connected(&way.address),
        }
        match attempt {
            Attempt::Failed { address, error } => self.report_failure(address, error),
            // Of a handshake that went on while the key was dropped, or on a connection that has come back to life.
            Attempt::Connected { session, way } if !self.accepts(way.peer.key) => {
                self.report_failure(way.address, RETIRED.to_owned());
                session.refuse(CloseCode::Done, RETIRED);
            }
            // An attempt that overlapped with the one that led to a link. The dialler decides, so that the two ends
            // cannot each keep the link that the other closes.
            Attempt::Connected { session, way } if way.dialed && self.has_dialed(&way.address) => {
                session.refuse(CloseCode::Done, DUPLICATE);
            }
            Attempt::Connected { session, way } => {
                self.next_link += 1;
                let link = LinkId(self.next_link);
                let (events, cancel) = (self.events.clone(), self.cancel.child_token());
                let (limits, ledger) = (self.endpoint.link_limits(), self.shared.meter.ledger_of_link());
                let (handle, kept) = spawn_link(session, link, limits, ledger, events, &self.tracker, cancel);
                self.shared.links().insert(link, handle);
                self.ways.insert(link, (way.clone(), kept));
                let Way { peer: Peer { replica: identity, key }, address, dialed } = way;
                self.round(|node, now| node.handle(now, Input::Connected { link, address, dialed, identity, key }));
            }
        }
    }

    /// Another link to that address, which was dialled and is to stay.
    fn has_dialed(&self, address: &str) -> bool {
        let stays = |way: &Way| way.dialed && way.address == address && self.accepts(way.peer.key);
        self.ways.values().any(|(way, _)| stays(way))
    }

    fn accepts(&self, key: KeyId) -> bool {
        self.shared.node().config().keys.contains(&key)
    }

    /// Once for each address and reason: a peer that stays away is tried for ever.
    fn report_failure(&mut self, address: String, error: String) {
        let no_fault = [DUPLICATE, PASSED, ITSELF].iter().any(|reason| error.contains(reason));
        if no_fault || self.failures.get(&address) == Some(&error) {
            debug!(address, error, "no link");
            return;
        }
        if error.contains(CLONED) {
            error!(address, "a peer refuses this node: {CLONED}; to go on from a copy, use \"tidings restore\"");
        } else {
            warn!(address, error, "no link");
        }
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
            self.shared.meters().slow_links += 1;
        }
    }

    fn dial(&mut self, address: String) {
        let Some(dialing) = self.dials.begin(&address, tokio::time::Instant::now()) else { return };
        self.shared.meters().dials += 1;
        let (endpoint, attempts) = (self.endpoint.clone(), self.attempts.clone());
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            let number = dialing.begin();
            let attempt = async {
                match dial_any(&endpoint, &address, || dialing.answer(number)).await {
                    Ok((connection, peer)) => {
                        let way = Way { peer, address, dialed: true };
                        Attempt::Connected { session: Session::first(connection), way }
                    }
                    Err(error) => Attempt::Failed { address, error },
                }
            };
            tokio::select! {
                attempt = attempt => drop(attempts.send(attempt).await),
                () = dialing.other_answered(number) => {}
                () = cancel.cancelled() => {}
            }
        });
    }

    /// The peers take what they lack, hear goodbye, the disk takes the last commit, and every task ends.
    async fn close(mut self, inputs: &mut Inputs) {
        let deadline = tokio::time::Instant::now() + FLUSH_MAX;
        let Inputs { events, done, .. } = inputs;
        let mut heard = Vec::new();
        while !self.shared.node().is_flushed() {
            // The last writes may still be waiting to be told together.
            let wait = self.wait();
            tokio::select! {
                done = Inputs::done(done) => self.on_done(done),
                taken = events.recv_many(&mut heard, ROUND_INPUTS_MAX) => if taken == 0 { break } else { self.on_events(&mut heard) },
                () = tokio::time::sleep(wait) => self.round(|node, now| node.handle(now, Input::Timeout)),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        // What QUIC has taken is still on its way for half a round trip.
        let rtt = self.shared.links().values().map(|link| link.stats().rtt).max().unwrap_or_default();
        tokio::time::sleep((rtt * 2).min(FLUSH_MAX)).await;
        self.round(|node, now| {
            node.close(now);
            node.begin_closing();
        });
        self.close_storage(done).await;
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

    /// Waits for the last commit, and until the directory is free for another process.
    async fn close_storage(&mut self, done: &mut Option<mpsc::UnboundedReceiver<Done>>) {
        let Some(keeper) = self.keeper.take() else { return };
        let last = async {
            while self.fault.is_none() && self.shared.node().is_committing() {
                let outcome = Inputs::done(done).await;
                self.on_done(outcome);
            }
        };
        if tokio::time::timeout(LAST_COMMIT_MAX, last).await.is_err() {
            warn!("the disk has not taken the last commit in time");
        }
        // A disk that hangs is not waited for by anybody but this thread.
        let _ = tokio::time::timeout(LAST_COMMIT_MAX, tokio::task::spawn_blocking(|| keeper.close())).await;
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

async fn accept(endpoint: Arc<Endpoint>, shared: Arc<Shared>, attempts: mpsc::Sender<Attempt>) {
    while let Some(accepted) = endpoint.accept().await {
        // A refused stranger has been logged by the endpoint.
        let Ok((connection, peer, address)) = accepted else {
            shared.meters().refused += 1;
            continue;
        };
        let way = Way { peer, address: address.to_string(), dialed: false };
        let attempt = Attempt::Connected { session: Session::first(connection), way };
        if attempts.send(attempt).await.is_err() {
            return;
        }
    }
}
