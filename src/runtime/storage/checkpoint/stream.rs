//! A snapshot as a stream of blocks: what it is, its records, and that this was all. Not responsible for where it goes.

use super::CHECKPOINT_FORMAT;
use super::block::{Block, Filler, Kind};
use super::manifest::About;
use crate::Error;
use crate::proto::durable::{Damage, Outline};
use crate::runtime::storage::{Snapshot, StorageError, StorageProblem};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The words of the first block.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    format: u64,
    replica: String,
    cluster: String,
    taken_ms: u64,
    entries: u64,
}

/// What the first block of every format says.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// Why a first block cannot be used.
#[derive(Debug)]
pub(super) enum StartError {
    Newer(u64),
    Damaged,
}

/// The words of the last one, about all before it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    blocks: u64,
    records: u64,
    bytes: u64,
    blake3: String,
}

/// What both ends of a stream count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    blocks: u64,
    records: u64,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Start {
    fn new(about: &About) -> Self {
        let (replica, cluster) = about.identity_text();
        Self { format: CHECKPOINT_FORMAT, replica, cluster, taken_ms: about.taken_ms, entries: about.entries }
    }

    pub(super) fn read(block: &Block) -> Result<About, StartError> {
        let head: Format = serde_json::from_slice(block.body()).map_err(|_| StartError::Damaged)?;
        if head.format > CHECKPOINT_FORMAT {
            return Err(StartError::Newer(head.format));
        }
        let Self { replica, cluster, taken_ms, entries, .. } =
            serde_json::from_slice(block.body()).map_err(|_| StartError::Damaged)?;
        About::read(&replica, &cluster, taken_ms, entries).ok_or(StartError::Damaged)
    }
}

impl Tally {
    pub(super) fn add(&mut self, block: &Block) {
        self.blocks += 1;
        self.records += u64::from(block.records);
        self.bytes += block.bytes().len() as u64;
        self.hasher.update(block.bytes());
    }

    #[cfg(feature = "cli")]
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn end(&self) -> End {
        let Self { blocks, records, bytes, hasher } = self;
        End { blocks: *blocks, records: *records, bytes: *bytes, blake3: hasher.finalize().to_hex().to_string() }
    }
}

fn words(kind: Kind, number: u64, words: &impl Serialize) -> Block {
    Block::of_words(kind, number, &serde_json::to_vec(words).expect("plain data"))
}

/// Gives all blocks of a snapshot, in order, until `each` breaks. Blocks the thread, for as long as `each` takes.
///
/// # Errors
///
/// [`Error::Storage`] if the disk cannot be read, or does not hold a state. No end was given then.
pub(crate) fn each_block(
    snapshot: &dyn Snapshot,
    taken_ms: u64,
    each: &mut dyn FnMut(Block) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut source = Source { outline: Outline::default(), filler: Filler::new(1), tally: Tally::default(), taken_ms };
    let mut outcome = Ok(ControlFlow::Continue(()));
    let read = snapshot.for_each(&mut |key, value| {
        outcome = source.record(key, value, each);
        if matches!(outcome, Ok(ControlFlow::Continue(()))) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    read.map_err(|source| Error::Storage { source })?;
    match outcome? {
        ControlFlow::Continue(()) => source.end(each),
        ControlFlow::Break(()) => Ok(()),
    }
}

struct Source {
    outline: Outline,
    filler: Filler,
    tally: Tally,
    taken_ms: u64,
}

impl Source {
    fn record(
        &mut self,
        key: &[u8],
        value: &[u8],
        each: &mut dyn FnMut(Block) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let started = self.outline.told().is_some();
        self.outline.record(key, value).map_err(|damage| not_a_state(&damage))?;
        if !self.filler.push(key, value) {
            return Err(failed("a record is too large for a checkpoint"));
        }
        let mut given = ControlFlow::Continue(());
        if let Some((identity, entries)) = self.outline.told().filter(|_| !started) {
            let about = About { identity, entries, taken_ms: self.taken_ms };
            given = self.give(words(Kind::Start, 0, &Start::new(&about)), each);
        }
        if let (ControlFlow::Continue(()), Some(block)) = (given, self.filler.full()) {
            given = self.give(block, each);
        }
        Ok(given)
    }

    fn end(mut self, each: &mut dyn FnMut(Block) -> ControlFlow<()>) -> Result<(), Error> {
        if self.outline.told().is_none() {
            return Err(failed("there is no state to be copied yet"));
        }
        if let Some(block) = self.filler.rest()
            && self.give(block, each).is_break()
        {
            return Ok(());
        }
        // Whoever does not take the end knows that by itself.
        let _ = each(words(Kind::End, self.filler.number(), &self.tally.end()));
        Ok(())
    }

    fn give(&mut self, block: Block, each: &mut dyn FnMut(Block) -> ControlFlow<()>) -> ControlFlow<()> {
        self.tally.add(&block);
        each(block)
    }
}

fn not_a_state(damage: &Damage) -> Error {
    Error::Storage { source: StorageError::new(StorageProblem::Damaged, damage.to_string()) }
}

fn failed(problem: &str) -> Error {
    Error::Storage { source: StorageError::new(StorageProblem::Failed, problem) }
}
