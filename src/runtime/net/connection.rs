//! A link: the task that owns one connection and its channels. Not responsible for the meaning of a frame or channel,
//! nor for a limit on what is outstanding: the layer above keeps that, and a link that overflows is broken.
//!
//! One task for the link and one for each channel. All end with the connection, and `Closed` is the last of them all.

use super::channel::{self, CONTROL, Channel, Streams, Violation};
use super::session::{Kept, Session};
use super::window::SendWindow;
use super::{CloseCode, Ledger, LinkFault, Volume, endpoint, traffic};
use crate::proto::link::LinkId;
use bytes::Bytes;
use quinn::{ConnectionError, RecvStream, SendStream};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many channels each side may have open that it opened. More than these wait.
pub const CHANNELS_MAX: usize = 64;

/// How many commands may wait for the link's task.
pub const COMMANDS_MAX: usize = 256;

/// How many frames of one channel may wait to be written.
pub const QUEUE_FRAMES_MAX: usize = 256;

/// Room for the channels of both sides, and for as many that are over but have not yet been able to say so.
const TASKS_MAX: usize = 4 * CHANNELS_MAX;

/// A silence is so many looks without a datagram. Looks are counted, time is not read: while this process itself does not
/// run, no peer is silent.
const SILENT_LOOKS: u32 = 8;

/// What a link can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkCommand {
    /// Sends a frame. Opens the channel if it is ours to number and not open. Answered by exactly one
    /// [`LinkEvent::Sent`], unless the link closes.
    Send {
        /// On which channel.
        channel: u64,
        /// Its payload.
        frame: Bytes,
    },
    /// Says that nothing more will be sent on the channel. Once the peer has said so too, the channel is forgotten.
    Finish {
        /// Which channel; not the control channel.
        channel: u64,
    },
    /// Drops what is not yet sent on the channel, reads nothing more from it, and forgets it.
    Reset {
        /// Which channel; not the control channel.
        channel: u64,
    },
    /// Closes the link at once. What was sent just before may not arrive.
    Close {
        /// Why; the peer is told.
        reason: String,
    },
}

/// What a link reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A frame came.
    Frame {
        /// From which link.
        link: LinkId,
        /// On which channel.
        channel: u64,
        /// Its payload.
        frame: Bytes,
    },
    /// The link no longer holds a frame that it was told to send: QUIC has it, or its channel is gone. It says nothing
    /// about its arrival.
    Sent {
        /// Which link.
        link: LinkId,
        /// The channel of the frame.
        channel: u64,
    },
    /// The peer will send nothing more on this channel. Has to be met with `Finish` or `Reset`, unless one of them was
    /// given before: only then the channel is forgotten.
    Ended {
        /// Which link.
        link: LinkId,
        /// Which channel; never the control channel.
        channel: u64,
    },
    /// The link is no more. Comes once, after all else.
    Closed {
        /// Which link.
        link: LinkId,
        /// Why, in words for a log.
        reason: String,
    },
}

/// More commands than a link can take: its peer is too slow, or it was given too much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link is not keeping up with its commands")]
pub struct Full;

/// What is known about a link, counted since it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// The round trip time, as estimated now.
    pub rtt: Duration,
    /// How much may be on its way and not acknowledged, in bytes.
    pub congestion_window: u64,
    /// What was sent.
    pub sent: Volume,
    /// What was received; of a connection that was accepted, without its first datagram.
    pub received: Volume,
}

/// The way to talk to a link. When the last clone is dropped, the link closes.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    link: LinkId,
    commands: mpsc::Sender<LinkCommand>,
    connection: quinn::Connection,
    /// What the connection had sent and received before.
    before: (quinn::UdpStats, quinn::UdpStats),
    ledger: Ledger,
}

impl LinkHandle {
    /// Which link it is.
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// Tells the link something. A link that has closed takes everything, and does nothing with it.
    pub fn try_send(&self, command: LinkCommand) -> Result<(), Full> {
        match self.commands.try_send(command) {
            Err(TrySendError::Full(_)) => Err(Full),
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// The round trip time, as estimated now. Costs a lock of the connection.
    pub fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    /// How the connection is doing.
    pub fn stats(&self) -> LinkStats {
        let stats = self.connection.stats();
        let header_bytes = traffic::header_bytes(self.connection.remote_address());
        let volume = |udp: quinn::UdpStats, before: quinn::UdpStats, frame_bytes| {
            let datagrams = udp.datagrams - before.datagrams;
            Volume { datagrams, wire_bytes: udp.bytes - before.bytes + datagrams * header_bytes, frame_bytes }
        };
        let (sent, received) = self.ledger.link();
        LinkStats {
            rtt: stats.path.rtt,
            congestion_window: stats.path.cwnd,
            sent: volume(stats.udp_tx, self.before.0, sent),
            received: volume(stats.udp_rx, self.before.1, received),
        }
    }

    /// Where the peer is now: it may move.
    pub fn remote_address(&self) -> SocketAddr {
        endpoint::canonical(self.connection.remote_address())
    }
}

/// What a link may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// The longest frame; and all received frames that are still in use, those of the control channel and all others.
    pub frame_bytes_max: usize,
    /// What QUIC takes to be sent, and holds until the peer has it.
    pub send_bytes_max: u64,
    /// After which silence the link is lost, though its connection may be kept.
    pub silence: Duration,
}

/// Makes a link.
///
/// A frame longer than that closes the link, at either side; and received frames together are never longer
/// than that, those of the control channel apart: the next is read when one has been dropped. All events go to `events`; while it is full the link reads
/// nothing. All tasks are tracked by `tracker`, and end when the connection does or `cancel` is cancelled. After a cancel,
/// events are delivered only as far as there is room for them.
///
/// The receiver has the connection once `Closed` has been reported, if the connection may yet carry another link.
pub fn spawn_link(
    session: Session,
    link: LinkId,
    limits: LinkLimits,
    ledger: Ledger,
    events: mpsc::Sender<LinkEvent>,
    tracker: &TaskTracker,
    cancel: CancellationToken,
) -> (LinkHandle, oneshot::Receiver<Kept>) {
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let (kept_sender, kept) = oneshot::channel();
    let LinkLimits { frame_bytes_max, send_bytes_max, silence } = limits;
    let Session { connection, number, first } = session;
    let stats = connection.stats();
    let task = Link {
        id: link,
        connection: connection.clone(),
        session: number,
        over: CancellationToken::new(),
        silence,
        frame_bytes_max,
        room: Arc::new(Semaphore::new(frame_bytes_max)),
        window: Arc::new(SendWindow::new(connection.clone(), send_bytes_max)),
        ledger: ledger.clone(),
        events,
        tracker: tracker.clone(),
        channels: HashMap::new(),
        channels_opened: 0,
        arrivals: JoinSet::new(),
        tasks: JoinSet::new(),
        control: None,
    };
    tracker.spawn(task.run(first, commands, kept_sender, cancel));
    (LinkHandle { link, commands: sender, connection, before: (stats.udp_tx, stats.udp_rx), ledger }, kept)
}

struct Link {
    id: LinkId,
    connection: quinn::Connection,
    session: u64,
    /// The peer has ended the session.
    over: CancellationToken,
    silence: Duration,
    frame_bytes_max: usize,
    room: Arc<Semaphore>,
    window: Arc<SendWindow>,
    ledger: Ledger,
    events: mpsc::Sender<LinkEvent>,
    tracker: TaskTracker,
    channels: HashMap<u64, Live>,
    channels_opened: u64,
    /// Streams that have not said yet which channel they are.
    arrivals: JoinSet<Outcome>,
    tasks: JoinSet<Outcome>,
    /// Where the control channel waits for the stream that the dialer opens.
    control: Option<oneshot::Sender<(SendStream, RecvStream)>>,
}

/// A channel that is not yet over.
struct Live {
    /// None once we have finished.
    queue: Option<mpsc::Sender<Bytes>>,
    reset: CancellationToken,
    /// Tells it from an earlier channel of the same number, whose task may end later.
    serial: u64,
}

/// What a task of the link came to.
enum Outcome {
    /// The peer opened a stream.
    Arrived { session: u64, channel: u64, send: SendStream, recv: RecvStream },
    /// A channel is over.
    Over { channel: u64, serial: u64 },
    /// The peer broke the rules.
    Broken(Violation),
    /// Nothing to be done.
    Nothing,
}

/// Why a link ends.
enum End {
    Lost(ConnectionError),
    /// Nothing was heard for long: the connection may come back to life.
    Silent,
    /// The peer has ended the session, as it heard nothing; and may have begun the next one.
    Over(Option<Session>),
    Broken(Violation),
    /// A fault of the layer above.
    Misused(String),
    Closed(String),
    /// The node is shutting down, or nobody is interested in the link.
    Cancelled,
}

impl Link {
    async fn run(
        mut self,
        first: Option<(u64, SendStream, RecvStream)>,
        mut commands: mpsc::Receiver<LinkCommand>,
        kept: oneshot::Sender<Kept>,
        cancel: CancellationToken,
    ) {
        if !self.is_dialer() {
            self.expect_control();
        }
        let mut end = match first.map(|(channel, send, recv)| self.on_arrival(channel, send, recv)) {
            Some(Err(violation)) => End::Broken(violation),
            _ => self.serve(&mut commands, &cancel).await,
        };
        drop(commands);
        let outlived = match &mut end {
            End::Silent => Some((false, None)),
            End::Over(next) => Some((true, next.take())),
            _ => None,
        };
        let reason = self.close(end);
        self.wind_up(&cancel).await;
        if let Some((heard, next)) = outlived {
            // Nobody may be interested.
            let _ = kept.send(Kept { connection: self.connection.clone(), session: self.session, heard, next });
        }
        tokio::select! {
            biased;
            _ = self.events.send(LinkEvent::Closed { link: self.id, reason }) => {}
            () = cancel.cancelled() => {}
        }
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<LinkCommand>, cancel: &CancellationToken) -> End {
        let mut looks = tokio::time::interval((self.silence / SILENT_LOOKS).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut silent_looks) = (0, 0);
        loop {
            let step = tokio::select! {
                _ = looks.tick() => {
                    let datagrams = self.connection.stats().udp_rx.datagrams;
                    silent_looks = if heard == datagrams { silent_looks + 1 } else { 0 };
                    heard = datagrams;
                    if silent_looks >= SILENT_LOOKS { Err(End::Silent) } else { Ok(()) }
                }
                () = self.over.cancelled() => Err(End::Over(None)),
                () = cancel.cancelled() => Err(End::Cancelled),
                () = self.events.closed() => Err(End::Cancelled),
                error = self.connection.closed() => Err(End::Lost(error)),
                command = commands.recv() => command.map_or(Err(End::Cancelled), |command| self.on_command(command)),
                stream = self.connection.accept_bi(), if self.tasks.len() + self.arrivals.len() < TASKS_MAX => self.on_stream(stream),
                Some(outcome) = self.arrivals.join_next() => self.on_outcome(outcome),
                Some(outcome) = self.tasks.join_next() => self.on_outcome(outcome),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn on_command(&mut self, command: LinkCommand) -> Result<(), End> {
        match command {
            LinkCommand::Send { channel, frame } => self.on_send(channel, frame),
            LinkCommand::Close { reason } => Err(End::Closed(reason)),
            LinkCommand::Finish { channel: CONTROL } | LinkCommand::Reset { channel: CONTROL } => {
                Err(End::Misused("the control channel cannot be ended".to_owned()))
            }
            LinkCommand::Finish { channel } => {
                self.on_finish(channel);
                Ok(())
            }
            LinkCommand::Reset { channel } => {
                self.on_reset(channel);
                Ok(())
            }
        }
    }

    fn on_send(&mut self, channel: u64, frame: Bytes) -> Result<(), End> {
        if frame.len() > self.frame_bytes_max {
            return Err(End::Misused(format!("a frame of {} bytes to send", frame.len())));
        }
        if !self.channels.contains_key(&channel) && self.is_ours(channel) {
            if self.tasks.len() >= TASKS_MAX {
                return Err(End::Misused("too many channels open".to_owned()));
            }
            self.start(channel, Streams::Open(self.connection.clone()));
        }
        let queue = self.channels.get(&channel).and_then(|live| live.queue.as_ref());
        match queue.map(|queue| queue.try_send(frame)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(End::Misused(format!("too many frames wait on channel {channel}"))),
            Some(Err(TrySendError::Closed(_))) | None => {
                self.report_dropped(channel);
                Ok(())
            }
        }
    }

    /// The queue ends; the channel's task finishes the stream when it gets there.
    fn on_finish(&mut self, channel: u64) {
        if let Some(live) = self.channels.get_mut(&channel) {
            live.queue = None;
        }
    }

    fn on_reset(&mut self, channel: u64) {
        if let Some(live) = self.channels.remove(&channel) {
            live.reset.cancel();
        }
    }

    /// The channel is not in the peer's stream but in its first bytes, for which the link must not wait.
    fn on_stream(&mut self, stream: Result<(SendStream, RecvStream), ConnectionError>) -> Result<(), End> {
        let (send, mut recv) = stream.map_err(End::Lost)?;
        let arrival = async move {
            match channel::read_name(&mut recv).await {
                Ok(Some((session, channel))) => Outcome::Arrived { session, channel, send, recv },
                Ok(None) => Outcome::Nothing,
                Err(violation) => Outcome::Broken(violation),
            }
        };
        self.arrivals.spawn(self.tracker.track_future(arrival));
        Ok(())
    }

    fn on_outcome(&mut self, outcome: Result<Outcome, JoinError>) -> Result<(), End> {
        match outcome.map_err(|panic| End::Misused(panic.to_string()))? {
            Outcome::Arrived { session, channel, mut send, mut recv } => match session.cmp(&self.session) {
                Ordering::Equal => self.on_arrival(channel, send, recv).map_err(End::Broken),
                // Left from a session that is over.
                Ordering::Less => {
                    channel::abandon(&mut send, &mut recv);
                    Ok(())
                }
                Ordering::Greater if self.is_dialer() => Err(End::Broken(Violation::NotYourSession(session))),
                Ordering::Greater => {
                    let (connection, first) = (self.connection.clone(), Some((channel, send, recv)));
                    Err(End::Over(Some(Session { connection, number: session, first })))
                }
            },
            Outcome::Over { channel, serial } => {
                self.on_over(channel, serial);
                Ok(())
            }
            Outcome::Broken(violation) => Err(End::Broken(violation)),
            Outcome::Nothing => Ok(()),
        }
    }

    fn on_arrival(&mut self, channel: u64, send: SendStream, recv: RecvStream) -> Result<(), Violation> {
        if self.is_ours(channel) {
            return Err(Violation::NotYours(channel));
        }
        if channel == CONTROL {
            let waiting = self.control.take().ok_or(Violation::Reused(channel))?;
            // Its task is gone only if the link is about to end.
            let _ = waiting.send((send, recv));
            return Ok(());
        }
        if self.channels.contains_key(&channel) {
            return Err(Violation::Reused(channel));
        }
        self.start(channel, Streams::Given(send, recv));
        Ok(())
    }

    fn on_over(&mut self, channel: u64, serial: u64) {
        if self.channels.get(&channel).is_some_and(|live| live.serial == serial) {
            self.channels.remove(&channel);
        }
    }

    fn expect_control(&mut self) {
        let (arrival, streams) = oneshot::channel();
        self.control = Some(arrival);
        self.start(CONTROL, Streams::Expect(streams));
    }

    fn start(&mut self, channel: u64, streams: Streams) {
        let (sender, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
        let reset = CancellationToken::new();
        self.channels_opened += 1;
        let serial = self.channels_opened;
        self.channels.insert(channel, Live { queue: Some(sender), reset: reset.clone(), serial });
        let task = self.channel(channel).run(streams, queue, reset);
        let task = async move { task.await.map_or_else(Outcome::Broken, |()| Outcome::Over { channel, serial }) };
        self.tasks.spawn(self.tracker.track_future(task));
    }

    fn channel(&self, number: u64) -> Channel {
        // Frames of other channels may be kept until one of the control channel has come: the hello.
        let room = match number {
            CONTROL => Arc::new(Semaphore::new(self.frame_bytes_max)),
            _ => Arc::clone(&self.room),
        };
        Channel {
            link: self.id,
            session: self.session,
            number,
            frame_bytes_max: self.frame_bytes_max,
            events: self.events.clone(),
            room,
            window: Arc::clone(&self.window),
            ledger: self.ledger.clone(),
            over: self.over.clone(),
        }
    }

    /// For a frame that has no channel any more. In a task of its own, as the link must not wait for room.
    fn report_dropped(&mut self, channel: u64) {
        let (link, events) = (self.id, self.events.clone());
        let report = async move {
            let _ = events.send(LinkEvent::Sent { link, channel }).await;
            Outcome::Nothing
        };
        self.tasks.spawn(self.tracker.track_future(report));
    }

    fn is_dialer(&self) -> bool {
        self.connection.side().is_client()
    }

    /// Whether it is for us to open this channel.
    fn is_ours(&self, channel: u64) -> bool {
        if channel == CONTROL { self.is_dialer() } else { (channel % 2 == 1) == self.is_dialer() }
    }

    /// Closes the connection, unless it is closed or kept, and says why in words.
    fn close(&mut self, end: End) -> String {
        self.arrivals.abort_all();
        let (code, told, reason) = match end {
            End::Lost(error) => return LinkFault::from(&error).to_string(),
            End::Silent | End::Over(_) => {
                // So the peer learns of it, if it has noticed nothing.
                self.channels.values().for_each(|live| live.reset.cancel());
                return LinkFault::Timeout.to_string();
            }
            End::Broken(violation) => {
                (CloseCode::Broken, violation.to_string(), format!("the peer broke the protocol: {violation}"))
            }
            End::Misused(fault) => {
                (CloseCode::Done, "an internal fault".to_owned(), format!("an internal fault: {fault}"))
            }
            End::Closed(reason) => (CloseCode::Done, reason.clone(), format!("closed on this side: {reason}")),
            End::Cancelled => (CloseCode::Shutdown, "shutting down".to_owned(), "shutting down".to_owned()),
        };
        self.connection.close(code.into(), told.as_bytes());
        self.tasks.abort_all();
        reason
    }

    /// Lets the channels hand over what came before the connection was lost; those that were aborted end at once.
    async fn wind_up(&mut self, cancel: &CancellationToken) {
        self.channels.clear();
        self.control = None;
        self.arrivals.shutdown().await;
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => {}
            () = cancel.cancelled() => {}
        }
        self.tasks.shutdown().await;
    }
}
