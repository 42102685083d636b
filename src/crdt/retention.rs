//! Truncation: dropping tombstones and expired registers. Not responsible for correctness: what is deleted stays so
//! however early this happens; only the next sync with a replica that missed it costs more.

use super::dot_log::Slot;
use super::stored::{LocalDot, Stored};
use super::{Dot, Key, OrMap, Section};
use std::collections::BTreeSet;

type Dated = BTreeSet<(u64, LocalDot)>;

/// How long dead registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// From the arrival of a tombstone, or from the deadline of a register if that is later, in milliseconds. What arrived
    /// while the clock was ahead counts from the first truncation after it was set back.
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
        self.begin_truncation(now);
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
        self.begin_truncation(now);
        let old = |dead_from: u64| now.checked_sub(dead_from).is_some_and(|ms| ms >= keep_ms);
        let drop = self.dated[1].iter().take_while(|(dead_from, _)| old(*dead_from)).map(|(_, dot)| *dot);
        let drop: Vec<LocalDot> = drop.filter(|&dot| !self.is_pending(dot)).collect();
        self.drop_all(&drop)
    }

    /// What arrived while the clock was ahead, and it is so no longer, counts as if it arrived now: its date may lie further
    /// ahead than anything is to be kept.
    fn begin_truncation(&mut self, now: u64) {
        self.set_time(now);
        if !self.clock.went_back() {
            return;
        }
        let later = (now.saturating_add(1), LocalDot { replica: 0, counter: 0 });
        let later: Vec<_> = self.dated.iter().flat_map(|dated| dated.range(later..)).copied().collect();
        later.into_iter().for_each(|dated| self.redate(dated, now));
    }

    fn redate(&mut self, (old_ms, dot): (u64, LocalDot), now: u64) {
        let Some(slot) = self.index.slot_of(dot) else { return };
        let stored = self.table.registers(slot).find(|stored| stored.dot() == dot);
        let new_ms = stored.and_then(|stored| stored.dead_from_arrival(now));
        // A deadline that has yet to come stays.
        let Some(new_ms) = new_ms.filter(|new_ms| *new_ms != old_ms) else { return };
        self.touch_slot(slot);
        if let Some(stored) = self.table.register_mut(slot, dot) {
            stored.set_dead_from(new_ms);
            let dated = &mut self.dated[stored.kind_of_dated()];
            dated.remove(&(old_ms, dot));
            dated.insert((new_ms, dot));
        }
    }

    fn touch_slot(&mut self, slot: Slot) {
        if self.journals.is_some() {
            let Key { section, bytes } = self.table.key(slot);
            let key = bytes.to_vec();
            let key = Key { section, bytes: &key };
            self.touch(self.table.place(key), key);
        }
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
        self.touch_slot(slot);
        let section = self.table.key(slot).section;
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

    /// A tombstone, one beside it, a value that was past its deadline by the wrong clock, and one that was not.
    #[test]
    fn what_arrived_while_the_clock_was_ahead_is_kept_no_longer_than_other_things() {
        const AHEAD: u64 = 3_600_000;
        let [mut map, mut other] = [1, 2].map(|id| OrMap::new(ReplicaId::from(id)));
        other.put(b"key", b"1", 0);
        other.delete(b"key", 0);
        other.put_until(b"brief", b"1", 1_000, 0);
        other.put_until(b"long", b"1", AHEAD + 9_000, 0);
        map.put(b"key", b"2", 0);
        map.delete(b"key", AHEAD);
        let _ = map.merge(other.delta_since(map.context()));
        let retention = Retention { keep_ms: 500, count_max: usize::MAX, spare_ms: 0 };
        assert_eq!(map.truncate(retention, AHEAD + 499), 0);
        assert_eq!(map.truncate(retention, 100), 0, "from now on");
        assert_eq!(map.truncate(retention, 599), 0);
        assert_eq!(map.truncate(retention, 600), 2, "both tombstones");
        assert_eq!(map.truncate_expired(500, 1_499), 0);
        assert_eq!(map.truncate_expired(500, 1_500), 1);
        assert_eq!(map.registers(b"long").len(), 1);
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
