//! Truncation: dropping tombstones and expired registers. Not responsible for correctness: what is deleted stays so
//! however early this happens; only the next sync with a replica that missed it costs more.

use super::stored::{LocalDot, Stored};
use super::{Dot, Key, OrMap, Section};
use std::collections::BTreeSet;

type Dated = BTreeSet<(u64, LocalDot)>;

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
        let [tombstones, with_deadline] = &self.dated;
        let mut over = (tombstones.len() + with_deadline.len()).saturating_sub(retention.count_max);
        let mut drop = Vec::new();
        for (dead_from, dot) in oldest_first(tombstones, with_deadline) {
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
        self.drop_all(&drop)
    }

    /// As [`truncate`](Self::truncate), of registers past their deadline only, for a retention of their own: where values
    /// live for seconds, those that are dead soon outnumber those that live.
    pub fn truncate_expired(&mut self, keep_ms: u64, now: u64) -> usize {
        self.set_time(now);
        let old = |dead_from: u64| now.checked_sub(dead_from).is_some_and(|ms| ms >= keep_ms);
        let drop = self.dated[1].iter().take_while(|(dead_from, _)| old(*dead_from)).map(|(_, dot)| *dot);
        let drop: Vec<LocalDot> = drop.filter(|&dot| !self.is_pending(dot)).collect();
        self.drop_all(&drop)
    }

    fn drop_all(&mut self, drop: &[LocalDot]) -> usize {
        drop.iter().for_each(|&dot| self.drop_register(dot));
        self.replaced.forget(drop.len(), |dot| self.index.slot_of(dot).is_some());
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
        let Key { section, bytes } = self.table.key(slot);
        if self.journals.is_some() {
            let key = bytes.to_vec();
            let key = Key { section, bytes: &key };
            self.touch(self.table.place(key), key);
        }
        let named: Dot = self.index.dot(dot);
        self.truncated.extend_to(named);
        let of_dot = self.table.registers(slot).find(|stored| stored.dot() == dot);
        let deadline = of_dot.and_then(|stored| stored.register().deadline);
        if section == Section::Usr {
            self.forgotten_ms = self.forgotten_ms.max(deadline.unwrap_or_default());
        }
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

/// Two ordered sets as one.
fn oldest_first<'d>(one: &'d Dated, other: &'d Dated) -> impl Iterator<Item = (u64, LocalDot)> + use<'d> {
    let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if b < a => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    #[test]
    fn what_expired_may_go_before_what_was_deleted() {
        let mut map = OrMap::new(ReplicaId::from(1));
        map.put(b"deleted", b"1", 0);
        map.delete(b"deleted", 0);
        map.put_until(b"expired", b"1", 1_000, 0);
        map.put_until(b"living", b"1", 9_000, 0);
        assert_eq!(map.truncate_expired(500, 1_499), 0);
        assert_eq!(map.truncate_expired(500, 1_500), 1);
        assert!(map.registers(b"expired").is_empty());
        assert_eq!((map.registers(b"deleted").len(), map.registers(b"living").len()), (1, 1));
        assert!(map.truncated().contains(Dot::new(map.id(), 3)), "the bound covers what is gone");
    }

    #[test]
    fn of_more_than_may_be_kept_the_oldest_go_first_whatever_they_are() {
        let mut map = OrMap::new(ReplicaId::from(1));
        for at in 0..4 {
            map.put_until(&[b'e', at], b"1", 100 * u64::from(at) + 1, 0);
            map.put(&[b'd', at], b"1", 0);
            map.delete(&[b'd', at], 100 * u64::from(at));
        }
        let retention = Retention { keep_ms: u64::MAX, count_max: 3, spare_ms: 0 };
        assert_eq!(map.truncate(retention, 1_000), 5);
        let left = |kind: u8| (0..4).filter(|&at| !map.registers(&[kind, at]).is_empty()).collect::<Vec<_>>();
        assert_eq!((left(b'd'), left(b'e')), (vec![3], vec![2, 3]));
    }
}
