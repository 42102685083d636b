//! What the shell counts: attempts to reach somebody, commits, and who is watching. Not responsible for what the machine
//! counts itself, nor for how any of it is told.

use super::driver::Attempt;
use crate::proto::meters::Histogram;
use std::sync::Arc;
use std::time::Duration;

/// Records of a commit.
const RECORDS: &[u64; 9] = &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// Counts since the start.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    /// Attempts to reach an address,
    pub(crate) dials: u64,
    /// those that failed,
    pub(crate) dials_failed: u64,
    /// and connections of others that were let in,
    pub(crate) accepted: u64,
    /// or were not: strangers, and handshakes that broke off.
    pub(crate) refused: u64,
    /// Links closed because they did not take what was to be sent.
    pub(crate) slow_links: u64,
    /// From a write that the driver has taken to its being durable.
    pub(crate) write_micros: Histogram<12>,
    /// Of the disk alone.
    pub(crate) commit_micros: Histogram<12>,
    pub(crate) commit_records: Histogram<9>,
    pub(crate) commits_failed: u64,
    /// Changes and messages told to watchers and listeners,
    pub(crate) told: u64,
    /// and how often one was told that it has missed something.
    pub(crate) resyncs: u64,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            dials: 0,
            dials_failed: 0,
            accepted: 0,
            refused: 0,
            slow_links: 0,
            write_micros: Histogram::default(),
            commit_micros: Histogram::default(),
            commit_records: Histogram::new(RECORDS),
            commits_failed: 0,
            told: 0,
            resyncs: 0,
        }
    }
}

impl Meters {
    pub(super) fn on_commit(&mut self, took: Duration, failed: bool) {
        self.commit_micros.add_micros(took);
        self.commits_failed += u64::from(failed);
    }

    pub(super) fn on_attempt(&mut self, attempt: &Attempt) {
        match attempt {
            Attempt::Failed { .. } => self.dials_failed += 1,
            Attempt::Connected { way, .. } => self.accepted += u64::from(!way.dialed),
        }
    }
}

/// Who is told of things now: as many as hold a clone of the token, beside this one.
#[derive(Debug, Default)]
pub(crate) struct Open {
    pub(crate) watchers: Token,
    pub(crate) listeners: Token,
}

/// Counts its clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token(Arc<()>);

impl Token {
    /// How many others there are.
    pub(crate) fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}
