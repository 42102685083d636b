//! Truncation: dropping tombstones and expired registers. Not responsible for correctness: what is deleted stays so
//! however early this happens; only the next sync with a replica that missed it costs more.

use super::stored::{LocalDot, Stored};
use super::{Dot, Key, OrMap};

/// How long dead registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// From the arrival of a tombstone, or from the deadline of a register if that is later, in milliseconds.
    pub keep_ms: u64,
    /// At most so many, the oldest dropped first,
    pub count_max: usize,
    /// but none that has been dead for less than this, in milliseconds: a few anti-entropy intervals.
    pub spare_ms: u64,
}

impl Default for Retention {
    /// One hour, at most 100,000, none before a minute.
    fn default() -> Self {
        Self { keep_ms: 3_600_000, count_max: 100_000, spare_ms: 60_000 }
    }
}

impl OrMap {
    /// Drops what has been dead for long enough, and answers how many registers that was. Cost: their number, times the
    /// logarithm of how many are kept.
    pub fn truncate(&mut self, retention: Retention, now: u64) -> usize {
        self.set_time(now);
        let mut over = self.dated.len().saturating_sub(retention.count_max);
        let mut drop = Vec::new();
        for &(dead_from, dot) in &self.dated {
            let dead_for = now.checked_sub(dead_from);
            let by_time = dead_for.is_some_and(|ms| ms >= retention.keep_ms);
            let by_count = over > 0 && dead_for.is_some_and(|ms| ms >= retention.spare_ms);
            if !by_time && !by_count {
                break;
            }
            over = over.saturating_sub(1);
            if !self.is_pending(dot) {
                drop.push(dot);
            }
        }
        drop.iter().for_each(|&dot| self.drop_register(dot));
        self.give_back_memory();
        drop.len()
    }

    /// RULE 3: a key whose context `R` does not cover keeps all that it has. Its bound could not say what was dropped.
    fn is_pending(&self, dot: LocalDot) -> bool {
        let slot = self.index.slot_of(dot);
        !self.pending.is_empty() && slot.is_some_and(|slot| self.pending.get(self.table.key(slot)).is_some())
    }

    fn drop_register(&mut self, dot: LocalDot) {
        let Some(slot) = self.index.slot_of(dot) else { return };
        if self.journals.is_some() {
            let Key { section, bytes } = self.table.key(slot);
            let key = bytes.to_vec();
            let key = Key { section, bytes: &key };
            self.touch(self.table.place(key), key);
        }
        let named: Dot = self.index.dot(dot);
        self.truncated.extend_to(named);
        let of_dot = self.table.registers(slot).find(|stored| stored.dot() == dot);
        let deadline = of_dot.and_then(|stored| stored.register().deadline);
        self.forgotten_ms = self.forgotten_ms.max(deadline.unwrap_or_default());
        self.detach(slot);
        let mut kept: Vec<Stored> = self.table.registers(slot).filter(|r| r.dot() != dot).cloned().collect();
        if kept.is_empty() {
            self.table.remove(slot);
            return;
        }
        if self.table.first(slot).dot() == dot {
            let first = kept.remove(0);
            let arrival = first.dead_from().unwrap_or(0);
            self.table.first_mut(slot).replace(first.dot(), first.register(), arrival);
        } else {
            kept.remove(0);
        }
        self.table.set_siblings(slot, kept);
        self.attach(slot);
    }

    fn give_back_memory(&mut self) {
        if let Some(moved) = self.table.compact() {
            self.index.logs.iter_mut().for_each(|(_, log)| log.renumber(|slot| moved[slot as usize]));
        }
    }
}
