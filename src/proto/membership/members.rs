//! The members as the map has them, kept current: who reads of one, or of all, need not read records. Not responsible for
//! what follows from a change: `node` is.

use super::record::{Member, MemberState, PREFIX, Record, key_of, read};
use crate::crdt::{Key, OrMap, ReplicaId};
use std::collections::BTreeMap;

/// All members of which there is a record.
#[derive(Debug, Default)]
pub(crate) struct Members {
    records: BTreeMap<ReplicaId, Listed>,
    /// The earliest deadline of a record, in milliseconds since 1970.
    next_expiry: Option<u64>,
    /// How many are neither down nor left, without leaves.
    present: usize,
}

#[derive(Debug)]
struct Listed {
    record: Record,
    expires: Option<u64>,
}

/// What is said of a member has changed.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) id: ReplicaId,
    /// What was said before; `None` if it was not known.
    pub(crate) before: Option<Record>,
}

impl Members {
    /// Reads all records of a map.
    pub(crate) fn load(map: &mut OrMap, now_ms: u64) -> Self {
        let keys: Vec<Vec<u8>> = map.scan(Key::sys(PREFIX), now_ms).map(|(key, _)| key.to_vec()).collect();
        let mut members = Self::default();
        keys.iter().for_each(|key| drop(members.refresh(map, key, now_ms)));
        members
    }

    /// Reads a record again, if the key is that of one. What has changed, if anything has.
    pub(crate) fn refresh(&mut self, map: &OrMap, key: &[u8], now_ms: u64) -> Option<Changed> {
        let id = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?.parse().ok()?;
        let listed = read(map, key, now_ms).map(|(record, expires)| Listed { record, expires });
        if let Some(expires) = listed.as_ref().and_then(|listed| listed.expires) {
            self.next_expiry = Some(self.next_expiry.map_or(expires, |next| next.min(expires)));
        }
        let now = listed.as_ref().map(|listed| listed.record.clone());
        let before = match listed {
            Some(listed) => self.records.insert(id, listed),
            None => self.records.remove(&id),
        };
        let before = before.map(|listed| listed.record);
        let is_counted = |record: &Record| record.is_present() && !record.leaf;
        let counts = |record: &Option<Record>| usize::from(record.as_ref().is_some_and(is_counted));
        self.present = self.present + counts(&now) - counts(&before);
        (before != now).then_some(Changed { id, before })
    }

    /// Forgets those whose record has expired.
    pub(crate) fn expire(&mut self, map: &OrMap, now_ms: u64) -> Vec<Changed> {
        if self.next_expiry.is_none_or(|next| next > now_ms) {
            return Vec::new();
        }
        let is_over = |listed: &&Listed| listed.expires.is_some_and(|expires| expires <= now_ms);
        let over: Vec<ReplicaId> =
            self.records.iter().filter(|(_, listed)| is_over(listed)).map(|(id, _)| *id).collect();
        let changed = over.into_iter().filter_map(|id| self.refresh(map, &key_of(id), now_ms)).collect();
        self.next_expiry = self.records.values().filter_map(|listed| listed.expires).min();
        changed
    }

    pub(crate) fn get(&self, id: ReplicaId) -> Option<&Record> {
        self.records.get(&id).map(|listed| &listed.record)
    }

    pub(crate) fn state(&self, id: ReplicaId) -> Option<MemberState> {
        self.get(id).map(|record| record.state)
    }

    /// Whether its record is forgotten after a while.
    pub(crate) fn expires(&self, id: ReplicaId) -> bool {
        self.records.get(&id).is_some_and(|listed| listed.expires.is_some())
    }

    /// Whether it is known to be a leaf.
    pub(crate) fn is_leaf(&self, id: ReplicaId) -> bool {
        self.get(id).is_some_and(|record| record.leaf)
    }

    /// In the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReplicaId, &Record)> {
        self.records.iter().map(|(id, listed)| (*id, &listed.record))
    }

    /// The first whose id is not below this one, or the first of all.
    pub(crate) fn from(&self, id: ReplicaId) -> Option<(ReplicaId, &Record)> {
        let next = self.records.range(id..).next().or_else(|| self.records.iter().next())?;
        Some((*next.0, &next.1.record))
    }

    /// How many are neither down nor left, without leaves: these may be linked to each other.
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    pub(crate) fn to_vec(&self) -> Vec<Member> {
        self.iter().map(|(id, record)| Member { id, record: record.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn record(incarnation: u64, state: MemberState) -> Record {
        Record {
            name: "a".to_owned(),
            addresses: vec!["10.0.0.1:7400".to_owned()],
            http: None,
            leaf: false,
            protocol: 1,
            incarnation,
            boot: 1,
            keys: Vec::new(),
            state,
        }
    }

    fn write(map: &mut OrMap, id: ReplicaId, record: &Record, deadline: Option<u64>) {
        let key = key_of(id);
        match deadline {
            Some(deadline) => map.put_until(Key::sys(&key), record.to_json(), deadline, NOW),
            None => map.put(Key::sys(&key), record.to_json(), NOW),
        };
    }

    fn refresh(members: &mut Members, map: &mut OrMap) -> Vec<ReplicaId> {
        let touched = map.take_touched_sys();
        touched.iter().filter_map(|key| members.refresh(map, key, NOW)).map(|changed| changed.id).collect()
    }

    #[test]
    fn of_concurrent_records_the_higher_incarnation_counts_though_the_other_is_shown() {
        let (x, other) = (ReplicaId::from(1), ReplicaId::from(2));
        let (mut a, mut b) = (OrMap::new(x), OrMap::new(other));
        a.follow_sys();
        let mut members = Members::default();
        write(&mut b, x, &record(3, MemberState::Suspect), None);
        write(&mut a, x, &record(4, MemberState::Alive), None);
        assert_eq!(refresh(&mut members, &mut a), [x]);
        let _ = a.merge(b.delta_since(a.context()));
        refresh(&mut members, &mut a);
        assert_eq!(members.get(x), Some(&record(4, MemberState::Alive)));

        // The other way round: what is shown stays, and what counts changes.
        b.follow_sys();
        let mut members = Members::load(&mut b, NOW);
        assert_eq!(members.state(x), Some(MemberState::Suspect));
        let _ = b.merge(a.delta_since(b.context()));
        refresh(&mut members, &mut b);
        assert_eq!(members.state(x), Some(MemberState::Alive));
    }

    #[test]
    fn who_is_down_is_forgotten_at_the_deadline() {
        let x = ReplicaId::from(1);
        let mut map = OrMap::new(ReplicaId::from(2));
        write(&mut map, x, &record(1, MemberState::Down), Some(NOW + 1000));
        let mut members = Members::load(&mut map, NOW);
        assert_eq!((members.state(x), members.present()), (Some(MemberState::Down), 0));
        assert!(members.expire(&map, NOW + 999).is_empty());
        map.set_time(NOW + 1000);
        assert_eq!(members.expire(&map, NOW + 1000).len(), 1);
        assert_eq!((members.state(x), members.next_expiry), (None, None));
    }

    #[test]
    fn keys_that_name_nobody_and_records_that_say_nothing_are_passed_over() {
        let mut map = OrMap::new(ReplicaId::from(2));
        for (key, value) in [(&b"members/"[..], &b"{}"[..]), (b"members/zz", b"{}"), (b"other", b"{}")] {
            map.put(Key::sys(key), value, NOW);
        }
        map.put(Key::sys(&key_of(ReplicaId::from(3))), b"no record", NOW);
        assert!(Members::load(&mut map, NOW).to_vec().is_empty());
    }
}
