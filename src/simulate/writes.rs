//! Who wrote what, in place of what: enough to know what a converged map must show. Not responsible for values.

use crate::crdt::{Dot, Key, OrMap};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// Users' keys are numbers.
pub(super) fn key_of(number: usize) -> Vec<u8> {
    format!("key/{number:08}").into_bytes()
}

#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) who: u32,
    pub(super) key: u32,
    pub(super) dot: Dot,
    pub(super) is_put: bool,
    /// From then on it is to be gone, by any clock.
    pub(super) deadline: Option<u64>,
    /// What was live at its key, where it was made.
    pub(super) replaced: SmallVec<[Dot; 1]>,
}

/// All writes of users, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteLog {
    all: Vec<Write>,
    values: u64,
}

impl WriteLog {
    /// A value that nobody has written.
    pub(super) fn next_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    pub(super) fn note(&mut self, write: Write) {
        self.all.push(write);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A map that all agree on shows exactly what it must: every write of those who `survive`, unless a later one was made
    /// in its place, and nothing that one was.
    ///
    /// What has a deadline that has passed by some clock, of which the one furthest ahead has shown `latest_ms`, may be gone
    /// or not.
    pub(super) fn check(
        &self,
        map: &OrMap,
        latest_ms: u64,
        survives: impl Fn(usize, Dot) -> bool,
    ) -> Result<(), String> {
        let replaced: BTreeMap<Dot, &[Dot]> = self.all.iter().map(|write| (write.dot, &*write.replaced)).collect();
        let (mut covered, mut expected): (BTreeSet<Dot>, BTreeSet<Dot>) = Default::default();
        for write in &self.all {
            if map.context_of(Key::usr(&key_of(write.key as usize))).contains(write.dot) {
                cover(&replaced, &mut covered, &write.replaced);
            } else if survives(write.who as usize, write.dot) {
                return Err(format!("{} of node {} is lost", write.dot, write.who));
            }
        }
        let mut keys = BTreeSet::new();
        for write in &self.all {
            keys.insert(write.key);
            let key = key_of(write.key as usize);
            let known = map.context_of(Key::usr(&key)).contains(write.dot);
            if write.is_put && known && !covered.contains(&write.dot) {
                expected.insert(write.dot);
                let lasts = write.deadline.is_none_or(|deadline| deadline > latest_ms);
                if lasts && !map.is_live(write.dot) {
                    return Err(format!("{} of node {} is lost: nobody wrote in its place", write.dot, write.who));
                }
            }
        }
        keys.into_iter().try_for_each(|key| nothing_else(map, key as usize, &expected))
    }
}

/// What was replaced, and all that had been by that: the writes between may be known to nobody any more.
fn cover(replaced: &BTreeMap<Dot, &[Dot]>, covered: &mut BTreeSet<Dot>, dots: &[Dot]) {
    let mut next = dots.to_vec();
    while let Some(dot) = next.pop() {
        if covered.insert(dot) {
            next.extend(replaced.get(&dot).into_iter().flat_map(|before| before.iter().copied()));
        }
    }
}

fn nothing_else(map: &OrMap, key: usize, expected: &BTreeSet<Dot>) -> Result<(), String> {
    let registers = map.registers(Key::usr(&key_of(key)));
    let back = registers.iter().find(|(dot, register)| register.value.is_some() && !expected.contains(dot));
    back.map_or(Ok(()), |(dot, _)| {
        Err(format!("{dot} is back at key {key}, where another write was made in its place"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    const NOW: u64 = 1_700_000_000_000;

    fn a_map() -> (OrMap, WriteLog) {
        (OrMap::new(ReplicaId::from(1)), WriteLog::default())
    }

    fn put(map: &mut OrMap, log: &mut WriteLog, key: usize) -> Dot {
        let replaced = map.registers(&*key_of(key)).into_iter().map(|(dot, _)| dot).collect();
        let dot = map.put(&*key_of(key), b"v", NOW);
        log.note(write(0, key, dot, replaced));
        dot
    }

    fn write(who: u32, key: usize, dot: Dot, replaced: SmallVec<[Dot; 1]>) -> Write {
        Write { who, key: key as u32, dot, is_put: true, deadline: None, replaced }
    }

    #[test]
    fn a_map_that_shows_the_last_writes_is_in_order() {
        let (mut map, mut log) = a_map();
        (0..3).for_each(|key| _ = put(&mut map, &mut log, key % 2));
        assert_eq!(log.check(&map, NOW, |_, _| true), Ok(()));
    }

    #[test]
    fn a_write_that_is_known_nowhere_is_lost_if_its_writer_survives() {
        let (mut map, mut log) = a_map();
        put(&mut map, &mut log, 0);
        let other = Dot::new(ReplicaId::from(2), 1);
        log.note(write(1, 0, other, SmallVec::new()));
        assert_eq!(log.check(&map, NOW, |_, dot| dot != other), Ok(()));
        assert!(log.check(&map, NOW, |_, _| true).is_err_and(|what| what.ends_with("of node 1 is lost")));
    }

    #[test]
    fn a_write_that_is_gone_though_nobody_replaced_it_is_lost() {
        let (mut map, mut log) = a_map();
        put(&mut map, &mut log, 0);
        map.delete(&*key_of(0), NOW).expect("it was there");
        assert!(log.check(&map, NOW, |_, _| true).is_err_and(|what| what.ends_with("in its place")));
    }

    #[test]
    fn what_has_expired_may_be_gone_and_what_has_not_may_not() {
        let (map, mut log) = a_map();
        let mut other = OrMap::new(ReplicaId::from(2));
        let dot = other.put_until(&*key_of(0), b"v", NOW + 10, NOW);
        log.note(Write { deadline: Some(NOW + 10), ..write(1, 0, dot, SmallVec::new()) });
        other.truncate_expired(0, NOW + 11);
        assert_eq!(log.check(&other, NOW + 11, |_, _| true), Ok(()));
        assert!(log.check(&other, NOW + 9, |_, _| true).is_err_and(|what| what.ends_with("in its place")));
        assert!(log.check(&map, NOW + 11, |_, _| true).is_err(), "its dot is to be known all the same");
    }

    #[test]
    fn a_value_that_was_replaced_and_is_shown_is_back() {
        let (mut map, mut log) = a_map();
        let dot = put(&mut map, &mut log, 0);
        log.note(write(0, 1, map.put(&*key_of(1), b"v", NOW), SmallVec::from_slice(&[dot])));
        assert!(log.check(&map, NOW, |_, _| true).is_err_and(|what| what.contains("is back at key 0")));
    }
}
