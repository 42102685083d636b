//! A disk that does not exist: a log of commits, and what a power cut, a full disk or a failed sync leave of it. Not
//! responsible for what is in a commit.
//!
//! It promises what a storage engine has to promise, and nothing beyond: a commit that was synced is there for ever; of
//! those that were written and not synced a prefix is there after a crash, each as a whole. A commit whose end is torn
//! off is recovered as if it had not been there, which is what an engine's checksums are for.

use crate::dice::Dice;
use crate::oracle::Shown;
use std::collections::BTreeMap;
use tidings::ReplicaId;
use tidings::crdt::Clock;
use tidings::proto::durable::{Batch, Damage, Kept, Loader};

/// The kinds of records, by the first byte of their keys.
const REPLICA: u8 = 0x10;
const CONTEXT: u8 = 0x11;
const ENTRIES: [u8; 2] = [0x20, 0x21];

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a node showed when a commit of it began: what is there again, when that commit is the last that was kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) shown: Shown,
    /// Its last write. The context may go beyond it, over dots that are void.
    pub(crate) last_write: u64,
}

/// How a disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Nothing can be written: it is full, or was mounted read-only.
    Full,
    /// The next sync fails, and nobody knows what of the commit is on the disk: perhaps the system has dropped the pages
    /// that it could not write, perhaps it will write them some day.
    Sync { stays: bool },
}

/// Engines that break their promise: what of a commit is there after a crash that should have taken all of it or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    /// Only what comes of other replicas' contexts.
    OnlyReplicas,
    /// All but that.
    NoReplicas,
    /// All but the pending contexts that its entries name.
    NoContexts,
}

impl Tear {
    fn leaves(self, key: &[u8]) -> bool {
        let (of_replica, of_context) = (key[0] == REPLICA, key[0] == CONTEXT);
        match self {
            Self::OnlyReplicas => of_replica,
            Self::NoReplicas => !of_replica,
            Self::NoContexts => !of_context,
        }
    }
}

/// A commit was not made durable. It may be on the disk all the same, and will be if a later one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// The disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    records: Records,
    mark: Mark,
    /// In the log, and not known to be synced.
    unsynced: Vec<(Batch, Mark)>,
    pub(crate) fault: Fault,
    pub(crate) tear: Option<Tear>,
}

impl Disk {
    /// The first half of a commit: it stands at the end of the log.
    pub(crate) fn write(&mut self, batch: Batch, mark: Mark) -> Result<(), Failed> {
        if self.fault == Fault::Full {
            return Err(Failed);
        }
        self.unsynced.push((batch, mark));
        Ok(())
    }

    /// The second half: all that stands in the log is durable.
    pub(crate) fn sync(&mut self) -> Result<(), Failed> {
        if let Fault::Sync { stays } = self.fault {
            self.fault = Fault::None;
            if !stays {
                self.unsynced.pop();
            }
            return Err(Failed);
        }
        let log = std::mem::take(&mut self.unsynced);
        log.into_iter().for_each(|(batch, mark)| self.keep(&batch, mark));
        Ok(())
    }

    /// The power fails.
    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        let kept = dice.below(self.unsynced.len() + 1);
        let mut log = std::mem::take(&mut self.unsynced).into_iter();
        log.by_ref().take(kept).for_each(|(batch, mark)| self.keep(&batch, mark));
        if let (Some(tear), Some((batch, _))) = (self.tear, log.next()) {
            apply(&mut self.records, &batch, |key| tear.leaves(key));
        }
    }

    fn keep(&mut self, batch: &Batch, mark: Mark) {
        apply(&mut self.records, batch, |_| true);
        self.mark = mark;
    }

    /// What is read from it.
    pub(crate) fn load(&self, mut loader: Loader) -> Result<Kept, Damage> {
        self.records.iter().try_for_each(|(key, value)| loader.record(key, value))?;
        loader.finish()
    }

    /// What the node showed when the last commit began that is durable.
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Of all that a crash may yet bring back.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.unsynced.iter().map(|(_, mark)| mark).chain([&self.mark])
    }

    /// How many pending contexts, and how many entries are kept on it.
    pub(crate) fn contexts_and_entries(&self) -> (usize, usize) {
        let count = |kinds: &[u8]| self.records.keys().filter(|key| kinds.contains(&key[0])).count();
        (count(&[CONTEXT]), count(&ENTRIES))
    }

    /// What is durable as the state of another replica, on another disk: all of it, in small batches, before the other has
    /// written anything.
    pub(crate) fn restored(&self, replica: ReplicaId) -> Self {
        let loaded = self.load(Loader::new(Clock::DRIFT_MS).renamed(replica));
        let mut kept = loaded.unwrap_or_else(|damage| panic!("a backup is damaged: {damage}"));
        let mut restored = Self { mark: Mark { last_write: 0, ..self.mark.clone() }, ..Self::default() };
        let wrote = kept.whole(64, |batch| {
            apply(&mut restored.records, batch, |_| true);
            Ok::<(), Failed>(())
        });
        wrote.expect("it takes all");
        restored
    }

    /// What is durable, on another disk.
    pub(crate) fn copy(&self) -> Self {
        Self { records: self.records.clone(), mark: self.mark.clone(), ..Self::default() }
    }
}

fn apply(records: &mut Records, batch: &Batch, wanted: impl Fn(&[u8]) -> bool) {
    for (key, value) in batch.iter().filter(|(key, _)| wanted(key)) {
        match value {
            Some(value) => drop(records.insert(key.to_vec(), value.to_vec())),
            None => drop(records.remove(key)),
        }
    }
}
