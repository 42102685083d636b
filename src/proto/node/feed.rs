//! What the node notes for watchers. Not responsible for telling them: `proto::feed` is.

use super::Node;
use crate::crdt::{Dot, Key};
use crate::proto::feed::{Feed, Seen, Watcher};
use crate::proto::time::{Instant, Now};
use std::time::Duration;

impl Node {
    /// Whoever holds the answer can be told of all changes below `prefix` from now on, or of those since it was shown
    /// `after`, here or at another node. Linear in the replicas.
    pub fn watch(&mut self, now: Now, prefix: &[u8], after: Option<Seen>) -> Watcher {
        self.set_now(now);
        let watching = self.feed.subscribe(&self.map, now.wall_ms);
        Watcher::new(prefix, after, &self.feed, &self.map, watching)
    }

    /// The recent changes. Costs nothing.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The number of the commit with which all that the map shows now is durable. O(1).
    pub fn commit_of_now(&self) -> u64 {
        match (self.durable_commit(), self.next_commit()) {
            (durable, _) if !self.is_writable() => durable,
            (_, next) if self.map.has_changed() => next,
            (_, next) if self.is_committing() => next - 1,
            (durable, _) => durable,
        }
    }

    pub(super) fn note_time(&mut self) {
        if self.feed.is_on() {
            let commit = self.commit_of_now();
            self.feed.pass_time(&self.map, commit, self.now.wall_ms);
        }
    }

    pub(super) fn note_write(&mut self, key: Key<'_>) {
        if self.feed.is_on() {
            let own = self.map.id();
            self.feed.note(key, Some(Dot::new(own, self.map.context().get(own))));
            self.flush_feed();
        }
    }

    pub(super) fn flush_feed(&mut self) {
        self.feed.flush(&self.map, self.next_commit(), self.now.wall_ms);
    }

    /// When the next deadline passes that somebody waits for.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let deadline = self.map.next_deadline(self.feed.looked_ms()).filter(|_| self.feed.is_on())?;
        Some(self.now.instant + Duration::from_millis(deadline.saturating_sub(self.now.wall_ms).max(1)))
    }
}
