//! The machine's clocks, read together. Not responsible for whether they are right: the map's clock deals with that.

use crate::proto::time::{Instant, Now};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic side starts now.
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Both clocks now. A wall clock before 1970 counts as 1970.
    pub(crate) fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { instant: Instant::from_micros(micros), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// How long to wait until a moment; zero if it has passed.
    pub(crate) fn until(&self, moment: Instant) -> Duration {
        moment.since(self.now().instant)
    }
}
