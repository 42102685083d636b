//! How much of a link QUIC holds, sent and not yet acknowledged or not yet sent. Not responsible for how much of that is on
//! its way: `congestion` is.
//!
//! What QUIC has taken cannot be taken back, so it takes little more than it may send: bulk waits in the queues of the
//! channels. Looked at by whoever writes, while there is something to write: an idle link has no timer.

use super::congestion::BYTES_MIN;
use quinn::Connection;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// How much of a long frame is written between two looks at the least: fewer, larger writes are cheaper on a fast path.
const PIECE_BYTES_MIN: u64 = 16 << 10;

/// The send window of one link.
#[derive(Debug)]
pub(super) struct SendWindow {
    connection: Connection,
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: u64,
    /// How much is being written of frames that must not wait. Meanwhile bulk does: QUIC wakes writers in no fair order, and
    /// one that always comes first would take all room.
    urgent: u64,
    paused: Vec<Waker>,
}

impl State {
    /// What is bulk's to fill; or any room, while it is not bulk's.
    fn window(&self, bytes_max: u64) -> u64 {
        if self.urgent == 0 { self.bytes } else { bytes_max + self.urgent }
    }
}

impl SendWindow {
    pub(super) fn new(connection: Connection, bytes_max: u64) -> Self {
        let bytes = fitting(connection.stats().path.cwnd, bytes_max);
        connection.set_send_window(bytes);
        Self { connection, bytes_max, state: Mutex::new(State { bytes, urgent: 0, paused: Vec::new() }) }
    }

    /// How much of a long frame is to be written before the next look.
    pub(super) fn piece(&self) -> usize {
        let bytes = fitting(self.connection.stats().path.cwnd, self.bytes_max);
        let mut state = self.lock();
        if bytes != state.bytes {
            state.bytes = bytes;
            self.connection.set_send_window(state.window(self.bytes_max));
        }
        usize::try_from(bytes.max(PIECE_BYTES_MIN)).unwrap_or(usize::MAX)
    }

    /// Makes room for so many bytes that must not wait behind others, until they are [written](Self::close).
    pub(super) fn open(&self, bytes: u64) {
        let mut state = self.lock();
        state.urgent += bytes;
        self.connection.set_send_window(state.window(self.bytes_max));
    }

    /// After [`open`](Self::open), with the same number.
    pub(super) fn close(&self, bytes: u64) {
        let mut state = self.lock();
        state.urgent -= bytes;
        self.connection.set_send_window(state.window(self.bytes_max));
        if state.urgent == 0 {
            state.paused.drain(..).for_each(Waker::wake);
        }
    }

    /// Writes bulk, but not while there is something urgent.
    pub(super) async fn in_turn<T>(&self, write: impl Future<Output = T>) -> T {
        let mut write = std::pin::pin!(write);
        std::future::poll_fn(|cx| {
            {
                let mut state = self.lock();
                if state.urgent > 0 {
                    state.paused.push(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            write.as_mut().poll(cx)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Half as much again as may be on its way, so that there is always a full datagram to follow.
fn fitting(congestion_window: u64, bytes_max: u64) -> u64 {
    (congestion_window.saturating_mul(3) / 2).max(BYTES_MIN).min(bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_congestion_window_within_bounds() {
        assert_eq!(fitting(8_000, 2 << 20), 12_000);
        assert_eq!(fitting(0, 2 << 20), BYTES_MIN);
        assert_eq!(fitting(u64::MAX, 2 << 20), 2 << 20);
    }
}
