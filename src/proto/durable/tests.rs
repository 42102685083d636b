//! A map and its records, over random runs: what is loaded is what was committed, and what is rolled back too.

use super::{Also, Batch, Damage, Identity, Kept, Loader, record};
use crate::crdt::{Delta, Key, OrMap, ReplicaId, ReplicaState, Retention};
use crate::proto::dial::DialTable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

const NOW: u64 = crate::crdt::Clock::VALID_FROM_MS + 1_000_000;
const CLUSTER: [u8; 16] = [7; 16];
const DRIFT_MS: u64 = 60_000;

type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(disk: &mut Disk, batch: &Batch) {
    for (key, value) in batch.iter() {
        match value {
            Some(value) => drop(disk.insert(key.to_vec(), value.to_vec())),
            None => drop(disk.remove(key)),
        }
    }
}

fn load(disk: &Disk) -> Kept {
    let mut loader = Loader::new(DRIFT_MS);
    disk.iter().for_each(|(key, value)| loader.record(key, value).expect("it was written so"));
    loader.finish().expect("it was written so")
}

/// All that a map is, but for its own context, which a crash extends.
fn told(map: &OrMap) -> String {
    let mut keys: Vec<Key<'_>> = map.kept_keys().collect();
    keys.sort_unstable();
    let others: Vec<_> = map.context().iter().filter(|dot| dot.replica != map.id()).collect();
    let mut text = format!("{others:?} {:?} {:?} {} {:?}\n", map.truncated(), map.counts(), map.pending(), map.have());
    for key in keys {
        let states: Vec<_> = map.entry_state(key).map(|state| (state.counter, state.dead_from)).collect();
        text += &format!("{key:?} {:?} {states:?} {:?}\n", map.registers(key), map.pending_of(key));
    }
    text
}

struct Replica {
    kept: Kept,
    now: u64,
    disk: Disk,
    /// What the map said at the last commit.
    durable: String,
    /// What a commit under way makes of it.
    under_way: Option<(Batch, String)>,
}

impl Replica {
    fn new(number: u128) -> Self {
        let kept = Kept::nothing(Identity { replica: ReplicaId::from(number), cluster: CLUSTER }, DRIFT_MS);
        let mut replica = Self { kept, now: NOW, disk: Disk::new(), durable: String::new(), under_way: None };
        replica.begin();
        replica.end();
        replica
    }

    fn begin(&mut self) {
        let Kept { map, recorder, .. } = &mut self.kept;
        map.begin_commit();
        let batch = recorder.batch(map, &Also { dials: &DialTable::default(), void_to: 0, last: false });
        self.under_way = Some((batch, told(&self.kept.map)));
    }

    fn end(&mut self) {
        if let Some((batch, told)) = self.under_way.take() {
            write(&mut self.disk, &batch);
            self.durable = told;
            self.kept.map.end_commit();
        }
    }

    fn check(&self) {
        let loaded = load(&self.disk);
        assert_eq!(told(&loaded.map), self.durable);
    }

    fn step(&mut self, rng: &mut StdRng, bag: &mut Vec<Delta>) {
        self.now += rng.random_range(0..5);
        let (now, map) = (self.now, &mut self.kept.map);
        map.set_time(now);
        let key = [b'a' + rng.random_range(0..6)];
        match rng.random_range(0..12) {
            0..3 => drop(map.put(&key, now.to_le_bytes(), now)),
            3 => drop(map.put_until(&key, b"soon over", now + 10, now)),
            4 => drop(map.delete(&key, now)),
            5 => drop(map.truncate(Retention { keep_ms: u64::MAX, count_max: 0, spare_ms: 0 }, now)),
            6 => {
                let base = if rng.random_bool(0.3) || bag.is_empty() {
                    Default::default()
                } else {
                    bag[rng.random_range(0..bag.len())].snapshot().clone()
                };
                // Only what is durable is told.
                self.end();
                self.begin();
                self.end();
                bag.push(self.kept.map.delta_since(&base));
            }
            7..9 if !bag.is_empty() => drop(map.merge(bag[rng.random_range(0..bag.len())].clone())),
            9 if self.under_way.is_none() => self.begin(),
            10 => self.end(),
            11 if rng.random_bool(0.3) => {
                self.kept.map.roll_back();
                self.kept.recorder.distrust();
                self.under_way = None;
                assert_eq!(told(&self.kept.map), self.durable, "rolled back");
                // As a node does it: nothing else happens before the suspects are written.
                self.begin();
                self.end();
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_loaded_is_what_was_committed_and_so_is_what_is_rolled_back() {
    for seed in 0..600 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut replicas, mut bag) = (Vec::from([1, 2, 3].map(Replica::new)), Vec::new());
        for _ in 0..120 {
            let one = rng.random_range(0..3);
            let replica = &mut replicas[one];
            let step = std::panic::AssertUnwindSafe(|| {
                replica.step(&mut rng, &mut bag);
                replica.check();
            });
            if let Err(panic) = std::panic::catch_unwind(step) {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Found by fuzzing: it was taken, and what was written next went under the numbers of other replicas.
#[test]
fn a_state_whose_first_replica_is_not_its_own_is_refused() {
    let mut replica = Replica::new(1);
    replica.kept.map.put(b"kettle", b"on", NOW);
    replica.begin();
    replica.end();
    let mut other = Vec::new();
    let state = ReplicaState { number: 0, id: ReplicaId::from(2), context: 9, truncated: 0 };
    record::write_replica(&state, &mut other);
    assert!(replica.disk.insert(record::replica_key(0).to_vec(), other).is_some());
    let mut loader = Loader::new(DRIFT_MS);
    let loaded = replica.disk.iter().try_for_each(|(key, value)| loader.record(key, value));
    assert_eq!(loaded, Err(Damage::Missing("its own replica is not the first")));
}

/// What a restore does, with a storage that takes small batches.
fn restored(disk: &Disk, id: u128) -> (Kept, Disk) {
    let mut loader = Loader::new(DRIFT_MS).renamed(ReplicaId::from(id));
    disk.iter().for_each(|(key, value)| loader.record(key, value).expect("it was written so"));
    let mut kept = loader.finish().expect("it was written so");
    kept.write_down(ReplicaId::from(1), NOW + 10_000);
    let mut disk = Disk::new();
    let wrote = kept.whole(64, |batch| {
        write(&mut disk, batch);
        Ok::<_, ()>(())
    });
    assert_eq!(wrote, Ok(()));
    (kept, disk)
}

#[test]
fn a_restored_state_is_what_was_copied_under_another_name() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut replicas, mut bag) = (Vec::from([1, 2, 3].map(Replica::new)), Vec::new());
        for _ in 0..120 {
            replicas[rng.random_range(0..3)].step(&mut rng, &mut bag);
        }
        let copied = load(&replicas[0].disk);
        let (made, disk) = restored(&replicas[0].disk, 9);
        let mut read = load(&disk);
        assert_eq!(told(&read.map), told(&made.map), "seed {seed}");
        assert_eq!(read.map.context(), made.map.context(), "seed {seed}: nothing is void");
        let records = |map: &OrMap| -> Vec<_> {
            let mut keys: Vec<Key<'_>> = map.kept_keys().collect();
            keys.sort_unstable();
            keys.into_iter().map(|key| format!("{key:?} {:?} {:?}", map.registers(key), map.pending_of(key))).collect()
        };
        assert_eq!(records(&read.map), records(&copied.map), "seed {seed}");
        assert_eq!(read.map.truncated(), copied.map.truncated(), "seed {seed}");
        let dot = read.map.put(b"new", b"1", NOW + 20_000);
        assert_eq!(dot.replica, ReplicaId::from(9));
        assert!(!copied.map.context().contains(dot));
    }
}
