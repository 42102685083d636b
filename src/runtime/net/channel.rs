//! One channel: a stream in each direction, cut into frames. Not responsible for which channels there are.
//!
//! A frame to be sent is always answered with one `Sent`, whether it was written or the channel was gone: whoever counts
//! what is outstanding must be able to rely on it. Nothing here trusts a length before the bytes have come; and the frames
//! of a link that are being read, or have been and are still in use, are together no longer than one may be, and one more on
//! the control channel.

use super::varint::{self, Read};
use super::window::SendWindow;
use super::{Ledger, LinkEvent};
use crate::proto::link::LinkId;
use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The longest frame a node is meant to send.
pub use crate::proto::codec::FRAME_BYTES_MAX;

/// The channel that both sides always have.
pub(super) const CONTROL: u64 = 0;

/// How much of a frame is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// How long bulk waits for a control frame: the peer may be unable to read that before it has read more of the bulk.
const URGENT_MAX: Duration = Duration::from_secs(5);

/// How a peer broke the rules of channels and frames. The connection is closed for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("a stream ended before it named its channel")]
    NoChannel,
    #[error("a stream for channel {0}, which is not the opener's to number")]
    NotYours(u64),
    #[error("a stream of session {0}, which is the dialer's to begin")]
    NotYourSession(u64),
    #[error("a second stream for channel {0}")]
    Reused(u64),
    #[error("a frame of {bytes} bytes on channel {channel}, more than {limit}")]
    FrameTooLong { channel: u64, bytes: u64, limit: usize },
    #[error("channel {0} ended in the middle of a frame")]
    FrameCut(u64),
    #[error("the control channel ended")]
    ControlEnded,
}

/// Where the streams of a channel come from.
pub(super) enum Streams {
    /// We open them.
    Open(quinn::Connection),
    /// The peer will open them: the control channel, at the side that accepted.
    Expect(oneshot::Receiver<(SendStream, RecvStream)>),
    /// The peer has opened them, and named the channel.
    Given(SendStream, RecvStream),
}

impl Streams {
    /// The streams, and whether we have to name the channel; none if the connection is lost.
    async fn get(self) -> Option<(SendStream, RecvStream, bool)> {
        let opener = matches!(self, Self::Open(_));
        let (send, recv) = match self {
            Self::Open(connection) => connection.open_bi().await.ok()?,
            Self::Expect(streams) => streams.await.ok()?,
            Self::Given(send, recv) => (send, recv),
        };
        Some((send, recv, opener))
    }
}

/// The session and the channel that the opener of a stream has named; none if the stream was abandoned before that, or is
/// lost.
pub(super) async fn read_name(recv: &mut RecvStream) -> Result<Option<(u64, u64)>, Violation> {
    let mut name = [0; 2];
    for number in &mut name {
        match varint::read(recv).await {
            Read::Number(read) => *number = read,
            Read::End | Read::Cut => return Err(Violation::NoChannel),
            Read::Lost(_) => return Ok(None),
        }
    }
    Ok(Some((name[0], name[1])))
}

/// What is still to be sent. Knows of the frame that was taken but not yet reported, as a reset may come between.
struct Outbox {
    queue: mpsc::Receiver<Bytes>,
    unreported: bool,
}

impl Outbox {
    async fn next(&mut self) -> Option<Bytes> {
        let frame = self.queue.recv().await;
        self.unreported = frame.is_some();
        frame
    }
}

/// What came from the peer.
enum Received {
    Frame(Bytes),
    /// The peer finished its side.
    End,
    /// The peer reset its side.
    Reset,
    /// The connection is lost.
    Lost,
}

/// The task of one channel: reads and writes beside each other, so that neither waits for the other.
pub(super) struct Channel {
    pub(super) link: LinkId,
    pub(super) session: u64,
    pub(super) number: u64,
    pub(super) frame_bytes_max: usize,
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// The bytes that frames may still take. All channels but the control channel share it: a peer with many would otherwise
    /// fill each of them.
    pub(super) room: Arc<Semaphore>,
    /// The bytes of the link that QUIC holds.
    pub(super) window: Arc<SendWindow>,
    pub(super) ledger: Ledger,
    /// Cancelled when the peer has ended the session.
    pub(super) over: CancellationToken,
}

/// A payload, and the room that it takes until nobody uses it any more.
struct Held {
    payload: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Channel {
    /// Lives until both sides have ended (ours when the queue closes), or until the channel is reset.
    pub(super) async fn run(
        self,
        streams: Streams,
        queue: mpsc::Receiver<Bytes>,
        reset: CancellationToken,
    ) -> Result<(), Violation> {
        let mut outbox = Outbox { queue, unreported: false };
        let streams = tokio::select! {
            streams = streams.get() => streams,
            () = reset.cancelled() => None,
        };
        let result = match streams {
            Some((send, recv, opener)) => self.carry(send, recv, opener, &mut outbox, &reset).await,
            None => Ok(()),
        };
        // A link that is about to be closed owes no reports.
        if result.is_ok() {
            self.report_dropped(outbox).await;
        }
        result
    }

    async fn carry(
        &self,
        mut send: SendStream,
        mut recv: RecvStream,
        opener: bool,
        outbox: &mut Outbox,
        reset: &CancellationToken,
    ) -> Result<(), Violation> {
        // Fails only if the stream is closed, which writing will find out.
        let _ = send.set_priority(i32::from(self.number == CONTROL));
        let both = async { tokio::try_join!(self.read(&mut recv), self.write(&mut send, opener, outbox)) };
        tokio::select! {
            result = both => return result.map(|_| ()),
            () = reset.cancelled() => {}
        }
        abandon(&mut send, &mut recv);
        Ok(())
    }

    async fn read(&self, recv: &mut RecvStream) -> Result<(), Violation> {
        loop {
            match self.read_frame(recv).await? {
                Received::Frame(frame) => {
                    self.tell(LinkEvent::Frame { link: self.link, channel: self.number, frame }).await;
                }
                Received::End if self.number == CONTROL => return Err(Violation::ControlEnded),
                Received::Reset if self.number == CONTROL => {
                    self.over.cancel();
                    return Ok(());
                }
                Received::End | Received::Reset => {
                    self.tell(LinkEvent::Ended { link: self.link, channel: self.number }).await;
                    return Ok(());
                }
                Received::Lost => return Ok(()),
            }
        }
    }

    async fn read_frame(&self, recv: &mut RecvStream) -> Result<Received, Violation> {
        let bytes = match varint::read(recv).await {
            Read::Number(bytes) => bytes,
            Read::End => return Ok(Received::End),
            Read::Cut => return Err(Violation::FrameCut(self.number)),
            Read::Lost(error) => return Ok(stopped(&error)),
        };
        let limit = self.frame_bytes_max;
        let Some((bytes, wanted)) = within(bytes, limit) else {
            return Err(Violation::FrameTooLong { channel: self.number, bytes, limit });
        };
        // All at once, so that two frames cannot each wait for what the other holds.
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(wanted).await else { return Ok(Received::Lost) };
        match read_payload(recv, bytes).await {
            Ok(Some(payload)) => {
                self.ledger.on_received(bytes);
                Ok(Received::Frame(Bytes::from_owner(Held { payload, _room: room })))
            }
            Ok(None) => Err(Violation::FrameCut(self.number)),
            Err(error) => Ok(stopped(&error)),
        }
    }

    async fn write(&self, send: &mut SendStream, opener: bool, outbox: &mut Outbox) -> Result<(), Violation> {
        let mut open = !opener || self.write_name(send).await.is_ok();
        while let Some(frame) = outbox.next().await {
            open = open && self.write_frame(send, frame).await.is_ok();
            self.tell(self.sent()).await;
            outbox.unreported = false;
        }
        // A stream that was stopped has nothing to finish.
        let _ = send.finish();
        Ok(())
    }

    async fn write_name(&self, send: &mut SendStream) -> Result<(), WriteError> {
        send.write_all_chunks(&mut [varint::encode(self.session), varint::encode(self.number)]).await
    }

    async fn write_frame(&self, send: &mut SendStream, frame: Bytes) -> Result<(), WriteError> {
        let payload = frame.len();
        let written = match self.number {
            CONTROL => self.write_urgent(send, frame).await,
            _ => self.write_bulk(send, frame).await,
        };
        match written {
            Ok(()) => self.ledger.on_sent(payload),
            // The peer will not read: so QUIC need not keep anything for it either.
            Err(WriteError::Stopped(code)) => drop(send.reset(code)),
            Err(_) => {}
        }
        written
    }

    /// Does not wait until QUIC has got rid of bulk: within QUIC it goes before that.
    async fn write_urgent(&self, send: &mut SendStream, frame: Bytes) -> Result<(), WriteError> {
        let head = varint::encode(frame.len() as u64);
        let bytes = (head.len() + frame.len()) as u64;
        let mut chunks = [head, frame];
        let mut write = std::pin::pin!(send.write_all_chunks(&mut chunks));
        self.window.open(bytes);
        let in_time = tokio::time::timeout(URGENT_MAX, write.as_mut()).await;
        self.window.close(bytes);
        match in_time {
            Ok(written) => written,
            Err(_) => write.await,
        }
    }

    /// Waits here rather than in QUIC.
    async fn write_bulk(&self, send: &mut SendStream, mut frame: Bytes) -> Result<(), WriteError> {
        let head = varint::encode(frame.len() as u64);
        let first = frame.split_to(self.window.piece().min(frame.len()));
        self.window.in_turn(send.write_all_chunks(&mut [head, first])).await?;
        while !frame.is_empty() {
            let piece = frame.split_to(self.window.piece().min(frame.len()));
            self.window.in_turn(send.write_all_chunks(&mut [piece])).await?;
        }
        Ok(())
    }

    async fn report_dropped(&self, mut outbox: Outbox) {
        outbox.queue.close();
        if outbox.unreported {
            self.tell(self.sent()).await;
        }
        while outbox.next().await.is_some() {
            self.tell(self.sent()).await;
        }
    }

    fn sent(&self) -> LinkEvent {
        LinkEvent::Sent { link: self.link, channel: self.number }
    }

    /// Waits for room: so a node that is slow to work makes its peers slow to send. That nobody listens any more is
    /// noticed by the link.
    async fn tell(&self, event: LinkEvent) {
        let _ = self.events.send(event).await;
    }
}

/// Tells the peer that we neither send nor read any more. Either may be over already.
pub(super) fn abandon(send: &mut SendStream, recv: &mut RecvStream) {
    let _ = send.reset(0_u32.into());
    let _ = recv.stop(0_u32.into());
}

/// A length that is allowed, as what memory and the room are counted in.
fn within(bytes: u64, limit: usize) -> Option<(usize, u32)> {
    let (bytes, wanted) = (usize::try_from(bytes).ok()?, u32::try_from(bytes).ok()?);
    (bytes <= limit).then_some((bytes, wanted))
}

fn stopped(error: &ReadError) -> Received {
    if matches!(error, ReadError::Reset(_)) { Received::Reset } else { Received::Lost }
}

/// The payload; none if the stream ends before. Each frame has memory of its own: one kept for long must not keep its
/// neighbours.
async fn read_payload(recv: &mut RecvStream, bytes: usize) -> Result<Option<Vec<u8>>, ReadError> {
    let mut payload = Vec::new();
    while payload.len() < bytes {
        let wanted = (bytes - payload.len()).min(PIECE_BYTES);
        let Some(piece) = recv.read_chunk(wanted, true).await? else { return Ok(None) };
        reserve(&mut payload, piece.bytes.len(), bytes);
        payload.extend_from_slice(&piece.bytes);
    }
    Ok(Some(payload))
}

/// Makes room for a piece: at most twice what has come, and never more than the frame.
fn reserve(payload: &mut Vec<u8>, piece: usize, bytes: usize) {
    let needed = payload.len() + piece;
    if needed > payload.capacity() {
        let capacity = needed.max(2 * payload.capacity()).min(bytes);
        payload.reserve_exact(capacity - payload.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_has_come_and_ends_exact() {
        let mut payload = Vec::new();
        reserve(&mut payload, 10, FRAME_BYTES_MAX);
        assert!(payload.capacity() < 1_000);
        while payload.len() < 5 * PIECE_BYTES + 1 {
            let piece = PIECE_BYTES.min(5 * PIECE_BYTES + 1 - payload.len());
            reserve(&mut payload, piece, 5 * PIECE_BYTES + 1);
            payload.resize(payload.len() + piece, 0);
        }
        assert_eq!(payload.capacity(), payload.len());
    }
}
