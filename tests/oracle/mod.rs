//! The oracle: which writes were made, and what each had seen. Nothing else is needed to say what a replica has to show.
//!
//! Not responsible for how replicas learn of writes. It is held to plain data on purpose: it never calls the code it
//! tests, it joins nothing and it keeps no state of any replica. A replica is judged by its own word: if it says that a
//! key has incorporated these dots, it must show those of them that none of them has overwritten, and no others.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

/// Replicas are numbered from 0; there are never more than this.
pub(crate) const REPLICAS_MAX: usize = 8;

/// The name of a write: the number of its replica, and its how-many-th write it is.
pub(crate) type Name = (usize, u64);

/// A set of names without gaps: for each replica, all up to a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) [u64; REPLICAS_MAX]);

/// What a write left: a value or (`None`) a tombstone, and a deadline. Values are numbers, each used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) value: Option<u64>,
    pub(crate) deadline: Option<u64>,
}

/// What a replica says of itself at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) context: Names,
    /// Key by key, in the order of their numbers.
    pub(crate) keys: Vec<ShownKey>,
    /// How many keys have a pending context, and whether any of them has something beyond the replica's context.
    pub(crate) pending_keys: usize,
    pub(crate) beyond: bool,
    /// Its audit: the sums of its context, of its state, and of what is pending.
    pub(crate) audit: [u64; 3],
}

/// What a replica says of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownKey {
    /// What the entry has incorporated, and the bound that it is sent with.
    pub(crate) context: Names,
    pub(crate) bound: Names,
    pub(crate) live: Vec<(Name, Left)>,
    /// What it answers to a read at its own time, and how many siblings it counts.
    pub(crate) read: Option<(Name, u64, usize)>,
    pub(crate) now: u64,
}

#[derive(Clone, Debug)]
struct Write {
    key: usize,
    left: Left,
    /// What its replica had incorporated as a whole, and key by key, when it was made.
    context: Names,
    of_keys: Vec<Names>,
    overwritten_by: Vec<Name>,
}

/// All writes that were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    writes: BTreeMap<Name, Write>,
    by_key: Vec<Vec<Name>>,
    /// Names up to here that no write has now will never be those of one.
    void: Names,
    /// The latest time that any replica's clock has shown.
    clock_max: u64,
}

impl Names {
    pub(crate) fn contains(&self, name: Name) -> bool {
        name.1 <= self.0[name.0]
    }

    pub(crate) fn includes(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(&mine, theirs)| theirs <= mine)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = theirs.max(*mine));
    }
}

impl Shown {
    /// What it has incorporated as a whole, or of any key.
    pub(crate) fn known(&self) -> Names {
        let mut known = self.context;
        self.keys.iter().for_each(|key| known.join(&key.context));
        known
    }
}

impl Left {
    fn is_dead(&self, now: u64) -> bool {
        self.value.is_none() || self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl History {
    /// A write was made by a replica that showed this just before.
    pub(crate) fn record(&mut self, name: Name, key: usize, left: Left, before: &Shown) {
        let of_keys: Vec<Names> = before.keys.iter().map(|shown| shown.context).collect();
        for (earlier, write) in &mut self.writes {
            if write.key == key && of_keys[key].contains(*earlier) {
                write.overwritten_by.push(name);
            }
        }
        let write = Write { key, left, context: before.context, of_keys, overwritten_by: Vec::new() };
        assert!(!self.void.contains(name), "{name:?} is void, and names a write");
        assert!(self.writes.insert(name, write).is_none(), "{name:?} was used twice");
        self.by_key.resize(self.by_key.len().max(key + 1), Vec::new());
        self.by_key[key].push(name);
    }

    /// The replica will use no name up to this for a write, though it has used some for what it has lost. It may use
    /// those after it again: nobody was told of them.
    pub(crate) fn make_void(&mut self, replica: usize, last: u64) {
        self.void.0[replica] = last;
    }

    pub(crate) fn void_of(&self, replica: usize) -> u64 {
        self.void.0[replica]
    }

    /// All writes of a replica after this one were lost in a crash, before anybody else knew of them.
    pub(crate) fn forget_after(&mut self, replica: usize, last: u64) {
        let lost: Vec<Name> = self.writes.range((replica, last + 1)..(replica + 1, 0)).map(|(name, _)| *name).collect();
        lost.into_iter().for_each(|name| self.forget(name));
    }

    /// Nobody knows of any other write.
    pub(crate) fn forget_beyond(&mut self, known: &Names) {
        let lost: Vec<Name> = self.writes.keys().filter(|name| !known.contains(**name)).copied().collect();
        lost.into_iter().for_each(|name| self.forget(name));
    }

    /// A write was lost before anybody else knew of it.
    pub(crate) fn forget(&mut self, name: Name) {
        if let Some(write) = self.writes.remove(&name) {
            self.by_key[write.key].retain(|&other| other != name);
            self.writes.values_mut().for_each(|other| other.overwritten_by.retain(|&by| by != name));
        }
    }

    /// The last write of a replica.
    pub(crate) fn last_of(&self, replica: usize) -> u64 {
        self.last_within(replica, u64::MAX)
    }

    /// The last write of a replica up to that counter.
    pub(crate) fn last_within(&self, replica: usize, end: u64) -> u64 {
        self.writes.range((replica, 0)..=(replica, end)).next_back().map_or(0, |(name, _)| name.1)
    }

    /// The names of all writes.
    pub(crate) fn all(&self) -> Names {
        let mut all = Names::default();
        (0..REPLICAS_MAX).for_each(|replica| all.0[replica] = self.last_of(replica));
        all
    }

    /// These are the names of all writes of a replica, and otherwise of none: void ones.
    pub(crate) fn all_within(&self, replica: usize, names: &Names) -> Result<(), String> {
        let (known, last, void) = (names.0[replica], self.last_of(replica), self.void.0[replica]);
        if known == last || (last..=void).contains(&known) {
            return Ok(());
        }
        Err(format!("knows {known} writes of {replica}, which has made {last}; up to {void} are void"))
    }

    /// A clock has shown this time.
    pub(crate) fn see_clock(&mut self, now: u64) {
        self.clock_max = self.clock_max.max(now);
    }

    /// All that must hold of one replica at any moment.
    pub(crate) fn check(&self, shown: &Shown) -> Result<(), String> {
        self.exact(shown)?;
        self.reads(shown)?;
        self.causally_closed(shown)?;
        if shown.beyond != (shown.audit[2] != 0) {
            return Err(format!("something beyond the context: {}, pending sum {}", shown.beyond, shown.audit[2]));
        }
        Ok(())
    }

    /// Every entry shows exactly what its own context says. Only tombstones, and what is past its deadline by somebody's
    /// clock, may be missing, and then the bound says so. Tombstones may be left over.
    fn exact(&self, shown: &Shown) -> Result<(), String> {
        for (key, entry) in shown.keys.iter().enumerate() {
            for &name in self.by_key.get(key).into_iter().flatten() {
                let write = &self.writes[&name];
                let overwritten = write.overwritten_by.iter().any(|&by| entry.context.contains(by));
                let wanted = entry.context.contains(name) && !overwritten;
                let there = entry.live.iter().any(|(live, _)| *live == name);
                if there && !wanted && write.left.value.is_some() {
                    return Err(format!("key {key}: {name:?} has come back"));
                }
                if wanted && !there && !write.left.is_dead(self.clock_max) {
                    return Err(format!("key {key}: {name:?} is lost"));
                }
                if wanted && !there && !entry.bound.contains(name) {
                    return Err(format!("key {key}: {name:?} was truncated, and the bound does not say so"));
                }
            }
            for (name, left) in &entry.live {
                let write = self.writes.get(name).filter(|write| write.key == key && write.left == *left);
                if write.is_none() || !entry.context.contains(*name) {
                    return Err(format!("key {key}: {name:?} {left:?} was never written so, or is not in the context"));
                }
            }
        }
        Ok(())
    }

    /// A read answers one of the live values, and counts the others.
    fn reads(&self, shown: &Shown) -> Result<(), String> {
        for (key, entry) in shown.keys.iter().enumerate() {
            let values: Vec<_> = entry.live.iter().filter(|(_, left)| !left.is_dead(entry.now)).collect();
            let right = match entry.read {
                None => values.is_empty(),
                Some((name, value, siblings)) => {
                    let of_name = values.iter().find(|(live, _)| *live == name);
                    of_name.is_some_and(|(_, left)| left.value == Some(value)) && siblings + 1 == values.len()
                }
            };
            if !right {
                return Err(format!("key {key}: reads {:?} of {values:?}", entry.read));
            }
        }
        Ok(())
    }

    /// Who has a write has all that its writer could have read before.
    fn causally_closed(&self, shown: &Shown) -> Result<(), String> {
        for (name, write) in &self.writes {
            if !shown.context.contains(*name) {
                continue;
            }
            if !shown.context.includes(&write.context) {
                return Err(format!("has {name:?}, and not all that its replica had"));
            }
            for (key, seen) in write.of_keys.iter().enumerate() {
                let lacks = |name: &&Name| seen.contains(**name) && !shown.keys[key].context.contains(**name);
                let lacking = self.by_key.get(key).into_iter().flatten().find(lacks);
                if let Some(lacking) = lacking {
                    return Err(format!("has {name:?}, whose writer had seen {lacking:?} of key {key}"));
                }
            }
        }
        Ok(())
    }

    /// Equal contexts mean equal states, and equal sums; key by key where something is pending.
    ///
    /// And where all three sums are equal no sync will start: so there must be nothing to say.
    pub(crate) fn check_pair(&self, left: &Shown, right: &Shown) -> Result<(), String> {
        let different = |(l, r): (&ShownKey, &ShownKey)| self.lasting(l) != self.lasting(r);
        if left.audit == right.audit && left.keys.iter().zip(&right.keys).any(different) {
            return Err("equal sums, and different values".into());
        }
        if left.context != right.context {
            return if left.audit[0] == right.audit[0] { Err("sums of contexts collide".into()) } else { Ok(()) };
        }
        if left.audit[0] != right.audit[0] {
            return Err("equal contexts, unequal sums of them".into());
        }
        if left.pending_keys == 0 && right.pending_keys == 0 && left.audit[1] != right.audit[1] {
            return Err("equal contexts, nothing pending, unequal sums of the states".into());
        }
        for (key, (l, r)) in left.keys.iter().zip(&right.keys).enumerate() {
            if l.context == r.context && self.lasting(l) != self.lasting(r) {
                return Err(format!("key {key}: equal contexts, and {:?} against {:?}", l.live, r.live));
            }
        }
        Ok(())
    }

    /// The values that no replica may have dropped for its clock.
    fn lasting(&self, entry: &ShownKey) -> Vec<Name> {
        let lasting = entry.live.iter().filter(|(_, left)| !left.is_dead(self.clock_max)).map(|(name, _)| *name);
        let mut lasting: Vec<Name> = lasting.collect();
        lasting.sort_unstable();
        lasting
    }
}
