//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014). Not responsible for reading a clock: the
//! time is an argument.

use serde::{Deserialize, Serialize};
use std::fmt;

/// When a write was made: milliseconds since 1970 in the upper 48 bits, a logical counter in the lower 16.
///
/// Timestamps only order writes that are concurrent; of a write and one that has seen it, causality decides. Equal
/// timestamps are told apart by their dots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    const LOGICAL_BITS: u32 = 16;
    const MILLIS_MAX: u64 = (1 << 48) - 1;

    /// The first timestamp of a millisecond; times beyond the year 10889 are taken for that year.
    pub const fn from_millis(millis: u64) -> Self {
        let millis = if millis > Self::MILLIS_MAX { Self::MILLIS_MAX } else { millis };
        Self(millis << Self::LOGICAL_BITS)
    }

    /// The timestamp as one number, as it goes over the wire.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The timestamp from that number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> Self::LOGICAL_BITS
    }

    /// The counter within that millisecond.
    pub const fn logical(self) -> u16 {
        self.0 as u16
    }

    /// The next one; a full logical counter carries into the milliseconds.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.logical())
    }
}

/// A hybrid logical clock: never behind what it has issued or (within the drift allowed) observed.
#[derive(Clone, Debug)]
pub struct Clock {
    last: Timestamp,
    now_ms: u64,
    /// The latest time it was told since somebody asked whether it went back.
    latest_ms: u64,
    drift_ms: u64,
    ahead: u64,
}

impl Clock {
    /// How far ahead of the own clock a received timestamp may be and still move it: 60 s, unless set otherwise.
    pub const DRIFT_MS: u64 = 60_000;

    /// A machine whose clock shows a time before this (2020-01-01) has no valid clock, and stamps just after what it
    /// has seen, whatever that is.
    pub const VALID_FROM_MS: u64 = 1_577_836_800_000;

    /// A clock that has seen nothing and has not been told the time.
    pub const fn new(drift_ms: u64) -> Self {
        Self { last: Timestamp(0), now_ms: 0, latest_ms: 0, drift_ms, ahead: 0 }
    }

    /// Tells it the time, in milliseconds since 1970. It may go back.
    pub const fn set(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if now_ms > self.latest_ms {
            self.latest_ms = now_ms;
        }
    }

    /// Whether it has gone back since this was last asked, or may have, as it goes on from before.
    pub(super) const fn went_back(&mut self) -> bool {
        std::mem::replace(&mut self.latest_ms, self.now_ms) > self.now_ms
    }

    /// The time it was last told.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How far ahead a received timestamp may be and still move it.
    pub const fn drift_ms(&self) -> u64 {
        self.drift_ms
    }

    /// How many received timestamps were further ahead than the drift allowed, and so did not move the clock.
    pub const fn ahead(&self) -> u64 {
        self.ahead
    }

    /// The greatest timestamp that it has issued or followed.
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    /// Goes on where a clock stood before.
    pub fn resume(&mut self, last: Timestamp) {
        self.last = self.last.max(last);
        self.latest_ms = u64::MAX;
    }

    /// A local event: greater than all that was issued or observed, and than `replaced`, which may be beyond the
    /// drift (a key that somebody wrote with a clock far ahead must stay writable, and the clock must not follow).
    pub fn tick(&mut self, replaced: Option<Timestamp>) -> Timestamp {
        self.last = self.last.next().max(Timestamp::from_millis(self.now_ms));
        replaced.map_or(self.last, |r| r.next().max(self.last))
    }

    /// A received event. Does not move the clock further than the drift allowed, but counts it.
    pub fn observe(&mut self, timestamp: Timestamp) {
        if timestamp <= self.last {
            return;
        }
        let valid = self.now_ms >= Self::VALID_FROM_MS;
        if valid && timestamp.millis() > self.now_ms.saturating_add(self.drift_ms) {
            self.ahead += 1;
        } else {
            self.last = timestamp;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = Clock::VALID_FROM_MS + 1_000;

    fn clock(now_ms: u64) -> Clock {
        let mut clock = Clock::new(Clock::DRIFT_MS);
        clock.set(now_ms);
        clock
    }

    #[test]
    fn a_later_event_is_greater_though_the_clock_goes_back() {
        let mut clock = clock(NOW);
        let first = clock.tick(None);
        clock.set(NOW - 500);
        assert!(clock.tick(None) > first);
    }

    #[test]
    fn equal_physical_times_and_a_larger_remote_counter() {
        let mut clock = clock(NOW);
        let remote = Timestamp::from_bits(Timestamp::from_millis(NOW).to_bits() + 77);
        clock.observe(remote);
        assert!(clock.tick(None) > remote);
    }

    #[test]
    fn a_clock_far_ahead_is_not_followed_but_its_key_can_be_overwritten() {
        let mut clock = clock(NOW);
        let far = Timestamp::from_millis(NOW + 3_600_000);
        clock.observe(far);
        assert_eq!(clock.ahead(), 1);
        assert!(clock.tick(Some(far)) > far);
        assert_eq!(clock.tick(None).millis(), NOW);
    }

    #[test]
    fn without_a_valid_clock_it_stamps_just_after_what_it_has_seen() {
        let mut clock = clock(5_000);
        let seen = Timestamp::from_millis(NOW);
        clock.observe(seen);
        assert_eq!(clock.tick(None), seen.next());
    }

    #[test]
    fn the_last_timestamp_of_all_is_not_passed() {
        let mut clock = clock(NOW);
        let last = Timestamp::from_bits(u64::MAX);
        assert_eq!(clock.tick(Some(last)), last);
    }
}
