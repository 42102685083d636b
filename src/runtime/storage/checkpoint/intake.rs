//! The end of a stream where it becomes a directory. Not responsible for how the blocks came here.

use super::block::{Block, Kind};
use super::manifest::About;
use super::stream::{End, Start, StartError, Tally};
use super::writer::Writer;
use super::{CHECKPOINT_FORMAT, Checkpoint};
use crate::Error;
use std::path::{Path, PathBuf};

/// Takes the blocks of a stream in order, and keeps nothing unless it has had all of them.
#[derive(Debug)]
pub(crate) struct Intake {
    directory: PathBuf,
    tally: Tally,
    writer: Option<(Writer, About)>,
}

impl Intake {
    /// For a checkpoint in `directory`, which must not be there, or be empty. Nothing is made before the stream begins.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDirectory`].
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        Writer::check(directory)?;
        Ok(Self { directory: directory.to_owned(), tally: Tally::default(), writer: None })
    }

    /// The number that the next block has.
    #[cfg(feature = "cli")]
    pub(crate) fn number(&self) -> u64 {
        self.tally.blocks()
    }

    /// How many records have come, and how many there are about: each entry is one, and few are none.
    #[cfg(feature = "cli")]
    pub(crate) fn progress(&self) -> (u64, u64) {
        let records = self.tally.records();
        (records, self.writer.as_ref().map_or(0, |(_, about)| about.entries.max(records)))
    }

    /// The next block; the checkpoint, if it was the last.
    ///
    /// # Errors
    ///
    /// It is not what follows, or the directory cannot be written. Nothing is left of it then.
    pub(crate) fn take(&mut self, block: &Block) -> Result<Option<Checkpoint>, Error> {
        match (block.kind, &mut self.writer) {
            (Kind::Start, writer @ None) => {
                let about = about(block)?;
                *writer = Some((Writer::begin(&self.directory)?, about));
            }
            (Kind::Records, Some((writer, _))) => writer.append(block)?,
            (Kind::End, Some(_)) => return self.end(block).map(Some),
            _ => return Err(wrong("its blocks are not in the order of a checkpoint")),
        }
        self.tally.add(block);
        Ok(None)
    }

    fn end(&mut self, block: &Block) -> Result<Checkpoint, Error> {
        let end = serde_json::from_slice::<End>(block.body()).ok();
        let told = end.ok_or_else(|| wrong("its end cannot be read"))?;
        let Some((writer, about)) = self.writer.take().filter(|_| told == self.tally.end()) else {
            return Err(wrong("what came is not all that was sent"));
        };
        let bytes = writer.end(&about, self.tally.records())?;
        let About { identity, taken_ms, entries } = about;
        let directory = self.directory.clone();
        Ok(Checkpoint { directory, replica: identity.replica, taken_ms, entries, bytes })
    }
}

fn about(block: &Block) -> Result<About, Error> {
    Start::read(block).map_err(|error| match error {
        StartError::Newer(found) => Error::NewerFormat { path: STREAM.to_owned(), found, known: CHECKPOINT_FORMAT },
        StartError::Damaged => wrong("its beginning cannot be read"),
    })
}

const STREAM: &str = "the stream of the checkpoint";

fn wrong(problem: &str) -> Error {
    let problem = format!("{problem}; take it again, and look after the network if that does not help");
    Error::Damaged { path: STREAM.to_owned(), problem }
}
