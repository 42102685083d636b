//! How much of a link QUIC holds, sent and not yet acknowledged or not yet sent. Not responsible for the congestion window:
//! it never sends more than that.
//!
//! What QUIC has taken cannot be taken back, and all of it that is on its way stands before what comes next. On a thin link
//! the congestion window alone grows until the queue before the link overflows, seconds later; so this grows with
//! it only as long as the round trip is not much longer than it was at its shortest. Looked at by whoever writes, while
//! there is something to write: an idle link has no timer.

use quinn::Connection;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// At least so much, or a link of a high latency stands still between two acknowledgements.
const BYTES_MIN: u64 = 4 * DATAGRAM_BYTES;
const DATAGRAM_BYTES: u64 = 1_200;
/// Of bulk, so much may stand in a queue before the link; or so long, where that is more.
const QUEUE_BYTES: u64 = 4 * DATAGRAM_BYTES;
const QUEUE_TIME: Duration = Duration::from_millis(100);
/// It is looked at once for each round trip: before, what was changed has not shown. And at least this often.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

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
    /// What was added for frames that must not wait.
    urgent: u64,
    look_at: Instant,
}

/// What a path does, as QUIC sees it.
#[derive(Clone, Copy, Debug)]
struct Path {
    rtt: Duration,
    rtt_min: Duration,
    congestion_window: u64,
}

impl SendWindow {
    pub(super) fn new(connection: Connection, bytes_max: u64) -> Self {
        let now = Instant::now();
        let bytes = connection.stats().path.cwnd.clamp(BYTES_MIN.min(bytes_max), bytes_max);
        connection.set_send_window(bytes);
        Self { connection, bytes_max, state: Mutex::new(State { bytes, urgent: 0, look_at: now }) }
    }

    /// How much of a long frame is to be written before the next look: a part of what fits.
    pub(super) fn piece(&self) -> usize {
        let now = Instant::now();
        let mut state = self.lock();
        if state.look_at <= now {
            let path = self.connection.stats().path;
            let path = Path { rtt: path.rtt, rtt_min: path.min_rtt, congestion_window: path.cwnd };
            state.look_at = now + path.rtt.min(LOOK_EVERY_MAX);
            let bytes = next(state.bytes, path, self.bytes_max);
            if bytes != state.bytes {
                state.bytes = bytes;
                self.connection.set_send_window(bytes + state.urgent);
            }
        }
        usize::try_from(state.bytes / 2).unwrap_or(usize::MAX)
    }

    /// Makes room for so many bytes that must not wait behind others, until they are [written](Self::close).
    pub(super) fn open(&self, bytes: u64) {
        let mut state = self.lock();
        state.urgent += bytes;
        self.connection.set_send_window(state.bytes + state.urgent);
    }

    /// After [`open`](Self::open), with the same number.
    pub(super) fn close(&self, bytes: u64) {
        let mut state = self.lock();
        state.urgent -= bytes;
        self.connection.set_send_window(state.bytes + state.urgent);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next window: what fits on the way, and a short queue before it; a little more than QUIC may send.
fn next(bytes: u64, path: Path, bytes_max: u64) -> u64 {
    let (rtt, rtt_min) = (path.rtt.as_secs_f64().max(1e-6), path.rtt_min.as_secs_f64());
    // What is on its way has arrived after a round trip.
    let bytes_per_second = bytes.min(path.congestion_window) as f64 / rtt;
    let queue = (QUEUE_BYTES as f64).max(bytes_per_second * QUEUE_TIME.as_secs_f64());
    let fits = bytes_per_second * rtt_min + queue;
    // Growing beyond twice of it would be a guess.
    let fits = fits.min(2.0 * bytes as f64) as u64;
    fits.min(path.congestion_window.saturating_mul(3) / 2).clamp(BYTES_MIN.min(bytes_max), bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the window comes to on a path of this rate and latency, which holds what is sent in a queue without end.
    fn settled(bytes_per_second: f64, rtt_min: Duration, congestion_window: u64) -> u64 {
        let mut bytes = 12_000;
        for _ in 0..40 {
            let on_the_way = bytes.min(congestion_window) as f64;
            let rtt = Duration::from_secs_f64((on_the_way / bytes_per_second).max(rtt_min.as_secs_f64()));
            bytes = next(bytes, Path { rtt, rtt_min, congestion_window }, 2 << 20);
        }
        bytes
    }

    #[test]
    fn on_a_thin_link_a_few_datagrams_stand_before_it_however_large_the_congestion_window() {
        let window = settled(8_000.0, Duration::from_millis(300), 1 << 20);
        let fits = 2_400;
        assert!((fits + 3_600..=fits + 6_000).contains(&window), "{window}");
    }

    #[test]
    fn on_a_fast_link_it_is_as_large_as_it_may_be() {
        assert_eq!(settled(1e9, Duration::from_micros(100), 1 << 30), 2 << 20);
        assert_eq!(settled(1.25e7, Duration::from_millis(50), 1 << 30), 12_500_000 / 20 + 12_500_000 / 10);
    }

    #[test]
    fn it_follows_the_congestion_window_and_is_never_nothing() {
        assert_eq!(settled(1e9, Duration::from_micros(100), 20_000), 30_000);
        assert_eq!(settled(10.0, Duration::from_secs(3), 2_400), BYTES_MIN);
    }
}
