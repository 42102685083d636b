//! Checkpoints: all records of one moment in a directory that no engine is needed to read. Not responsible for what the
//! records mean, nor for taking the moment: the keeper of the storage gives a snapshot between two commits.
//!
//! ```text
//! snapshot ──stream──▶ Start, Records…, End ──(here, or over HTTP)──▶ intake ──▶ writer ──▶ DIR
//!                                                                 check ◀── DIR ──▶ restore ──▶ data directory
//! ```
//!
//! `block` is the unit of both the stream and the files, with a checksum of its own; `manifest` says which files there
//! are. The secret of a cluster is in none of it.

mod block;
mod check;
mod intake;
mod manifest;
mod restore;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(feature = "cli")]
pub(crate) use block::Block;
pub(crate) use check::verify;
pub(crate) use intake::Intake;
pub(crate) use restore::restore;
pub(crate) use stream::each_block;

use crate::crdt::ReplicaId;
use std::fmt;
use std::path::PathBuf;

/// The format of checkpoints. A newer one is refused.
pub(crate) const CHECKPOINT_FORMAT: u64 = 1;

/// A checkpoint that was taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Where it is.
    pub directory: PathBuf,
    /// Whose state it holds.
    pub replica: ReplicaId,
    /// When it was taken, in milliseconds since 1970.
    pub taken_ms: u64,
    /// How many entries it has: keys of users and of the cluster, remembered deletes among them.
    pub entries: u64,
    /// How many bytes its files have.
    pub bytes: u64,
}

/// What was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifiedKind {
    /// A checkpoint.
    Checkpoint,
    /// The data directory of a node that does not run.
    DataDirectory,
}

/// What verifying has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// What the directory is.
    pub kind: VerifiedKind,
    /// Whose state it holds, as far as that can be read.
    pub replica: Option<ReplicaId>,
    /// When it was taken, in milliseconds since 1970; of a checkpoint.
    pub taken_ms: Option<u64>,
    /// How many entries were read and are whole.
    pub entries: u64,
    /// How many bytes were looked at.
    pub bytes: u64,
    /// All that is damaged. The state is whole if this is empty.
    pub damaged: Vec<DamagedPart>,
}

impl Verified {
    /// Whether all of it is as it was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// A part of a checkpoint or data directory that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedPart {
    /// The file, as it is called in the directory.
    pub file: String,
    /// Where in it the damaged block begins, if that can be said.
    pub offset: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}, at byte {offset}: {}", self.file, self.problem),
            None => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

/// A state that was restored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The new replica that it is the state of.
    pub replica: ReplicaId,
    /// The replica that the checkpoint was taken of.
    pub copied: ReplicaId,
    /// When that was, in milliseconds since 1970.
    pub taken_ms: u64,
    /// How many entries the new state has.
    pub entries: u64,
}
