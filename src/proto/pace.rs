//! How large the chunks of a pull are: what the path takes in a moment. Not responsible for what is in them.
//!
//! A chunk counts when it has arrived whole, so on a thin link a large one is much to lose, and the first entry of it waits
//! for the last. On a fast link small ones cost more than they are worth. The transport says when it has taken a frame.

use super::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// The least: below it the columns' heads begin to show.
const BYTES_MIN: usize = 4 << 10;
/// The most, so that what is fresh never waits long behind it, and memory is bounded.
const BYTES_MAX: usize = 64 << 10;
/// Where what is pushed begins: a fresh value of this length need not be asked for.
const PUSH_BYTES_FIRST: usize = 16 << 10;
/// A frame that was taken sooner than this could have been larger,
const SOON: Duration = Duration::from_millis(50);
/// and one that took longer than this smaller.
const LATE: Duration = Duration::from_millis(500);

/// Of one channel, at its sender.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: usize,
    /// When the frames that the transport has not taken were given to it, and how long they were.
    given: VecDeque<(Instant, usize)>,
}

impl Pace {
    /// For a pull: nobody knows the path yet, and what is lost with a link is less than a chunk.
    pub(crate) fn of_pull() -> Self {
        Self { bytes: BYTES_MIN, given: VecDeque::new() }
    }

    /// For what is pushed.
    pub(crate) fn of_pushes() -> Self {
        Self { bytes: PUSH_BYTES_FIRST, given: VecDeque::new() }
    }

    /// How many bytes the next chunk may have.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many frames the transport has not taken.
    pub(crate) fn in_flight(&self) -> usize {
        self.given.len()
    }

    /// A frame of so many bytes is given to the transport.
    pub(crate) fn on_given(&mut self, now: Instant, bytes: usize) {
        self.given.push_back((now, bytes));
    }

    /// The transport has taken the oldest.
    pub(crate) fn on_taken(&mut self, now: Instant) {
        let Some((given, bytes)) = self.given.pop_front() else { return };
        let took = now.since(given);
        // That a short one was taken soon says nothing about a long one.
        if took < SOON && bytes >= self.bytes / 2 {
            self.bytes = (self.bytes * 2).min(BYTES_MAX);
        } else if took > LATE {
            self.bytes = (self.bytes / 2).max(BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn a_fast_path_gets_large_chunks_and_a_thin_one_small_ones() {
        let mut pace = Pace::of_pull();
        for ms in 0..10 {
            pace.on_given(at(ms), pace.bytes());
            pace.on_taken(at(ms));
        }
        assert_eq!(pace.bytes(), BYTES_MAX);
        // 8 bytes a millisecond, and one frame always waits behind another.
        let (mut now, mut free) = (0, 0);
        for _ in 0..20 {
            pace.on_given(at(now), pace.bytes());
            free = now.max(free) + pace.bytes() as u64 / 8;
            pace.on_taken(at(free));
            now = free;
        }
        assert!((BYTES_MIN..=8 << 10).contains(&pace.bytes()), "{}", pace.bytes());
    }

    #[test]
    fn short_frames_say_nothing_about_long_ones() {
        let mut pace = Pace::of_pull();
        for ms in 0..10 {
            pace.on_given(at(ms), 20);
            pace.on_taken(at(ms));
        }
        assert_eq!(pace.bytes(), BYTES_MIN);
    }

    #[test]
    fn what_was_never_given_is_not_taken() {
        let mut pace = Pace::of_pushes();
        pace.on_taken(at(1));
        assert_eq!((pace.bytes(), pace.in_flight()), (PUSH_BYTES_FIRST, 0));
    }
}
