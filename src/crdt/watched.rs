//! What a watcher reads of the map: which keys have fresh writes, what they show and why, what expires when. Not
//! responsible for who has been told what: `proto::feed` is.

use super::pending::EntryContext;
use super::stored::LocalDot;
use super::{Dot, Key, OrMap, ReplicaId, Section, Timestamp};
use bytes::Bytes;
use std::ops::Bound;

/// Why a key shows what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A value was written.
    Put,
    /// It was deleted.
    Delete,
    /// A deadline has passed.
    Expired,
}

/// What a key shows, for whoever watches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// Why.
    pub cause: Cause,
    /// The value, if there is one.
    pub value: Option<Bytes>,
    /// The write of that value; without one the tombstone, or the write that has expired, if it is still kept.
    pub dot: Option<Dot>,
    /// When that was.
    pub timestamp: Option<Timestamp>,
    /// Its deadline, in milliseconds since 1970.
    pub expires: Option<u64>,
}

/// A register that counts as dead from some moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dying<'m> {
    /// Its deadline, in milliseconds since 1970.
    pub deadline: u64,
    /// Its write.
    pub dot: Dot,
    /// Its key.
    pub key: Key<'m>,
}

impl OrMap {
    /// From now on notes which keys under `sys` are touched: records of which several may be live, so that what the key shows
    /// need not change when they do.
    pub(crate) fn follow_sys(&mut self) {
        self.touched_sys.get_or_insert_default();
    }

    /// The keys noted since this was asked last, some of them twice.
    pub(crate) fn take_touched_sys(&mut self) -> Vec<Box<[u8]>> {
        self.touched_sys.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note_touched(&mut self, key: Key<'_>) {
        if key.section == Section::Sys
            && let Some(touched) = &mut self.touched_sys
        {
            touched.push(key.bytes.into());
        }
    }

    /// What the key shows at that time, and why. A lookup and a copy of the value.
    pub fn showing<'k>(&self, key: impl Into<Key<'k>>, now: u64) -> Showing {
        let slot = self.table.find(key.into());
        if let Some(reading) = slot.and_then(|slot| self.reading(slot, now)) {
            return Showing {
                cause: Cause::Put,
                value: Some(Bytes::copy_from_slice(reading.value)),
                dot: Some(reading.dot),
                timestamp: Some(reading.timestamp),
                expires: reading.deadline,
            };
        }
        let registers = slot.into_iter().flat_map(|slot| self.table.registers(slot));
        let named = registers.map(|stored| (stored.register().timestamp, self.index.dot(stored.dot()), stored));
        let Some((timestamp, dot, stored)) = named.max_by_key(|named| (named.0, named.1)) else {
            return Showing { cause: Cause::Delete, value: None, dot: None, timestamp: None, expires: None };
        };
        let cause = if stored.is_tombstone() { Cause::Delete } else { Cause::Expired };
        let expires = stored.register().deadline;
        Showing { cause, value: None, dot: Some(dot), timestamp: Some(timestamp), expires }
    }

    /// The live dots of a key, tombstones included. None if it is not kept. A lookup.
    pub fn dots_of<'m>(&'m self, key: Key<'_>) -> impl Iterator<Item = Dot> + 'm {
        let registers = self.table.find(key).into_iter().flat_map(|slot| self.table.registers(slot));
        registers.map(|stored| self.index.dot(stored.dot()))
    }

    /// The replicas that have been met, in the order of their ids. A step for each.
    pub fn replicas_met(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.index.numbers.keys().copied()
    }

    /// The live dots of a replica after a counter, in their order, with the keys they live under. Costs a search and
    /// their number.
    pub fn dots_after(&self, replica: ReplicaId, counter: u64) -> impl Iterator<Item = (Dot, Key<'_>)> {
        let log = self.index.find(replica).map(|number| &self.index.logs[number as usize].1);
        let dots = log.into_iter().flat_map(move |log| log.after(counter));
        dots.map(move |(counter, slot)| (Dot::new(replica, counter), self.table.key(slot)))
    }

    /// The keys of a section with a pending context, in their order. A step for each pending key.
    pub fn pending_keys(&self, section: Section) -> impl Iterator<Item = (Key<'_>, &EntryContext)> {
        let all = self.pending.iter().filter(move |(key, _)| key.section == section);
        all.map(|(key, pending)| (key, &**pending))
    }

    /// The registers with a deadline that count as dead from a moment after `after_ms` and up to `through_ms`, in the
    /// order of these moments. That is the deadline, or the arrival here if it was over by then.
    /// A search, and a step for each.
    pub fn dying_between(&self, after_ms: u64, through_ms: u64) -> impl Iterator<Item = Dying<'_>> {
        let last = LocalDot { replica: u32::MAX, counter: u64::MAX };
        let range = (Bound::Excluded((after_ms, last)), Bound::Included((through_ms, last)));
        let some = after_ms < through_ms;
        let with_deadline = &self.dated[1];
        some.then(|| with_deadline.range(range)).into_iter().flatten().filter_map(|&(_, dot)| self.dying(dot))
    }

    fn dying(&self, dot: LocalDot) -> Option<Dying<'_>> {
        let slot = self.index.slot_of(dot)?;
        let stored = self.table.registers(slot).find(|stored| stored.dot() == dot)?;
        let deadline = stored.register().deadline?;
        Some(Dying { deadline, dot: self.index.dot(dot), key: self.table.key(slot) })
    }

    /// The next deadline after that time, in milliseconds since 1970. A search.
    pub fn next_deadline(&self, after_ms: u64) -> Option<u64> {
        self.dying_between(after_ms, u64::MAX).next().map(|dying| dying.deadline.max(after_ms + 1))
    }

    /// What the key shows when that register dies; `None` if it was not what it showed until then.
    /// A lookup and a copy of the value.
    pub fn showing_after(&self, dying: &Dying<'_>) -> Option<Showing> {
        let shown = self.read(dying.key, dying.deadline.saturating_sub(1))?;
        (shown.dot == dying.dot).then(|| Showing { cause: Cause::Expired, ..self.showing(dying.key, dying.deadline) })
    }

    /// The time, in milliseconds since 1970, through which registers of users' keys may have been forgotten whose deadline has passed:
    /// somebody who does not know of all that has expired until then cannot be told from here. Costs nothing.
    pub fn forgotten_ms(&self) -> u64 {
        self.forgotten_ms
    }

    /// What has been truncated until now may have had any deadline that has passed, by the clock of whoever did so: that may
    /// be ahead of this one, as far as clocks may differ.
    pub(crate) fn forget_until_now(&mut self) {
        if !self.truncated.is_empty() {
            let latest = self.clock.now_ms().saturating_add(self.clock.drift_ms());
            self.forgotten_ms = self.forgotten_ms.max(latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Retention;

    #[test]
    fn what_a_key_shows_and_why() {
        let mut map = OrMap::new(ReplicaId::from(1));
        let cause = |map: &OrMap, key: &str, now| map.showing(key, now).cause;
        map.put("put", "1", 10);
        let dot = map.put_until("brief", "2", 20, 10);
        map.put("gone", "3", 10);
        map.delete("gone", 11);
        assert_eq!([cause(&map, "put", 15), cause(&map, "brief", 15)], [Cause::Put; 2]);
        assert_eq!(cause(&map, "gone", 15), Cause::Delete);
        assert_eq!(cause(&map, "brief", 20), Cause::Expired);
        assert_eq!(map.showing("brief", 20).dot, Some(dot));
        assert_eq!(map.showing("unknown", 20).dot, None);
    }

    #[test]
    fn deadlines_come_in_their_order_and_what_is_dropped_is_remembered_by_time() {
        let mut map = OrMap::new(ReplicaId::from(1));
        map.put_until("b", "2", 30, 10);
        map.put_until("a", "1", 20, 10);
        map.delete("b", 11);
        map.put_until("c", "3", 40, 12);
        let keys = |map: &OrMap, after, through| {
            map.dying_between(after, through).map(|d| d.key.bytes.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&map, 0, 40), [b"a", b"c"]);
        assert_eq!(keys(&map, 20, 39), [[0; 0]; 0]);
        assert_eq!(map.next_deadline(20), Some(40));
        let dying = map.dying_between(0, 20).next().expect("one");
        assert_eq!(map.showing_after(&dying).map(|s| (s.cause, s.value)), Some((Cause::Expired, None)));
        map.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, 25);
        assert_eq!(map.forgotten_ms(), 20);
    }
}
