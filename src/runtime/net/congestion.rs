//! How much of a connection may be on its way: CUBIC, but no more than fits on the path and a short queue before it. Not
//! responsible for what QUIC holds beyond that.
//!
//! On a thin link CUBIC alone grows until the queue before the link overflows, seconds later, and all that is said after
//! stands behind that queue. So the window is also bounded by the rate at which the path delivers: by what is on its way in the
//! shortest round trip there was, and a little more. On a fast path that bound is far above what CUBIC allows.
//!
//! What was on its way when a network failed fills the window until something is heard, and QUIC would ask ever more rarely
//! whether it is healed. So a window that has had no answer for long is a little larger: what lets a link ask often.

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DATAGRAM_BYTES: u64 = 1_200;
/// It is never bound to less, or a link of a high latency stands still between two acknowledgements.
pub(super) const BYTES_MIN: u64 = 4 * DATAGRAM_BYTES;
/// So much may stand in the queue before a link; or so long, where that is more.
const QUEUE_BYTES: u64 = 2 * DATAGRAM_BYTES;
const QUEUE_TIME: Duration = Duration::from_millis(100);

/// No answer takes as long as this,
const UNANSWERED_MIN: Duration = Duration::from_secs(1);
/// or as so many round trips;
const UNANSWERED_ROUND_TRIPS: u32 = 4;
/// after which so much more may be sent: more than a hundred questions.
const UNANSWERED_BYTES: u64 = 4 * DATAGRAM_BYTES;

/// Makes a controller for each connection.
#[derive(Debug)]
pub(super) struct ShortQueue;

impl ControllerFactory for ShortQueue {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let mut config = CubicConfig::default();
        // They come at once, and what is more than a thin link takes stands in its queue.
        config.initial_window(BYTES_MIN);
        let cubic = Cubic::new(Arc::new(config), now, current_mtu);
        let answer = Answer { asked: None, patience: UNANSWERED_MIN, overdue: false };
        Box::new(Bounded { cubic, bound: BYTES_MIN, look_at: now, answer, rtt_min: Duration::MAX })
    }
}

#[derive(Clone)]
struct Bounded {
    cubic: Cubic,
    bound: u64,
    /// Once for each round trip: before, what was changed has not shown.
    look_at: Instant,
    answer: Answer,
    /// The shortest there was since the path was silent: after that it may be another path.
    rtt_min: Duration,
}

/// Whether it is long since something was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// When the first was sent since.
    asked: Option<Instant>,
    patience: Duration,
    overdue: bool,
}

impl Answer {
    fn on_sent(&mut self, now: Instant) {
        let asked = *self.asked.get_or_insert(now);
        self.overdue = now > asked + self.patience;
    }

    fn on_ack(&mut self, rtt: Duration) {
        *self = Self { asked: None, patience: UNANSWERED_MIN.max(rtt * UNANSWERED_ROUND_TRIPS), overdue: false };
    }
}

impl Controller for Bounded {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
        self.answer.on_sent(now);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
        if self.answer.overdue {
            self.rtt_min = Duration::MAX;
        }
        self.rtt_min = self.rtt_min.min(now.saturating_duration_since(sent));
        self.answer.on_ack(rtt.get());
        // With little to send nothing is learned about what fits.
        if !app_limited && self.look_at <= now {
            self.look_at = now + rtt.get();
            self.bound = next(self.window(), rtt.get(), self.rtt_min);
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.cubic.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        let window = self.cubic.window().max(BYTES_MIN).min(self.bound);
        if self.answer.overdue { window + UNANSWERED_BYTES } else { window }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.cubic.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The next bound, when the window was full for a round trip: what fits on the way, and a short queue.
fn next(window: u64, rtt: Duration, rtt_min: Duration) -> u64 {
    let bytes_per_second = window as f64 / rtt.as_secs_f64().max(1e-6);
    let queue = (QUEUE_BYTES as f64).max(bytes_per_second * QUEUE_TIME.as_secs_f64());
    let fits = bytes_per_second * rtt_min.as_secs_f64() + queue;
    // No faster than a slow start: more would be a guess.
    fits.min(2.0 * window as f64).max(BYTES_MIN as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the window comes to on a path of this rate and latency, with a queue without end, and CUBIC at that.
    fn settled(bytes_per_second: f64, rtt_min: Duration, cubic: u64) -> u64 {
        let mut window = 12_000;
        for _ in 0..40 {
            let rtt = Duration::from_secs_f64((window as f64 / bytes_per_second).max(rtt_min.as_secs_f64()));
            window = next(window, rtt, rtt_min).min(cubic);
        }
        window
    }

    #[test]
    fn on_a_thin_link_a_few_datagrams_stand_before_it_whatever_cubic_says() {
        let window = settled(8_000.0, Duration::from_millis(300), 1 << 20);
        let fits = 2_400;
        assert!((fits + QUEUE_BYTES - 10..=fits + QUEUE_BYTES).contains(&window), "{window}");
    }

    #[test]
    fn on_a_fast_path_it_is_as_large_as_cubic_says() {
        assert_eq!(settled(1e9, Duration::from_micros(100), 4 << 20), 4 << 20);
        assert_eq!(settled(1.25e6, Duration::from_millis(50), 100_000), 100_000);
    }

    #[test]
    fn a_window_that_had_no_answer_for_long_lets_a_few_bytes_pass_until_there_is_one() {
        let start = Instant::now();
        let controller = Arc::new(ShortQueue).build(start, 1_200);
        let mut bounded = controller.into_any().downcast::<Bounded>().expect("ours");
        bounded.on_sent(start, 1_200, 1);
        let full = bounded.window();
        bounded.on_sent(start + Duration::from_millis(900), 1_200, 2);
        assert_eq!(bounded.window(), full);
        bounded.on_sent(start + Duration::from_millis(1_100), 1_200, 3);
        assert_eq!(bounded.window(), full + UNANSWERED_BYTES);
        bounded.on_congestion_event(start, start, true, 12_000);
        assert_eq!(bounded.window(), BYTES_MIN + UNANSWERED_BYTES);
    }

    #[test]
    fn an_answer_may_take_a_few_round_trips_from_the_question_on() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut answer = Answer { asked: None, patience: UNANSWERED_MIN, overdue: true };
        answer.on_ack(ms(500));
        assert!(!answer.overdue);
        // Nothing was asked meanwhile.
        for (at, overdue) in [(60_000, false), (61_900, false), (62_100, true)] {
            answer.on_sent(start + ms(at));
            assert_eq!(answer.overdue, overdue, "{at}");
        }
    }

    #[test]
    fn it_is_never_bound_to_nothing() {
        assert_eq!(settled(10.0, Duration::from_millis(1), 1 << 20), BYTES_MIN);
    }
}
