//! What people are told of a node's doings. Not responsible for any of them.

use super::Node;
use crate::crdt::{Change, Received};
use crate::proto::ledger::Ledger;
use crate::proto::link::Role;
use crate::proto::meters::Meters;
use crate::proto::reconcile::Reconciled;
use std::time::Duration;

/// What is under way on the links, at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Links that stay,
    pub active: u64,
    /// and those on which two only meet.
    pub passing: u64,
    /// Pulls that this node has asked for,
    pub pulls: u64,
    /// among them catch-ups.
    pub catch_ups: u64,
    /// Pulls of peers.
    pub served: u64,
    /// What a peer is known to lack of what is here, at most, in dots.
    pub lag_max: u64,
}

impl Node {
    /// What it has done since its start.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// How comparisons in pulls have ended, and what they took.
    pub fn reconciled(&self) -> Reconciled {
        self.reconciled
    }

    /// What became of the dots received.
    pub fn received(&self) -> Received {
        self.received
    }

    /// What the bytes of all frames were for since the start: of those sent, and of those received.
    pub fn ledgers(&self) -> [Ledger; 2] {
        let mut ledgers = self.past;
        for link in self.links.values() {
            ledgers[0].join(&link.sent);
            ledgers[1].join(&link.received);
        }
        ledgers
    }

    /// What is under way now.
    pub fn under_way(&self) -> UnderWay {
        let mut all = UnderWay { catch_ups: u64::from(self.catching_up.is_some()), ..UnderWay::default() };
        for link in self.links.values() {
            all.pulls += u64::from(link.pull.is_some());
            all.served += link.sending.len() as u64;
            if !link.is_up() {
                continue;
            }
            match link.role {
                Role::Active => all.active += 1,
                Role::Passing => all.passing += 1,
            }
            let lag = link.known.as_ref().map_or(0, |known| self.map.context().count_missing_from(known));
            all.lag_max = all.lag_max.max(lag);
        }
        all
    }

    /// A push has brought these: how long the last of them was on its way, if the clocks agree.
    pub(super) fn measure_push(&mut self, changes: &[Change]) {
        let Some(change) = changes.iter().rev().find(|change| change.dot.is_some()) else { return };
        let key = crate::crdt::Key { section: change.section, bytes: &change.key };
        if let Some(reading) = self.map.read(key, self.now.wall_ms) {
            let late_ms = self.now.wall_ms.saturating_sub(reading.timestamp.millis());
            self.meters.push_micros.add_micros(Duration::from_millis(late_ms));
        }
    }
}
