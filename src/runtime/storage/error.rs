//! Why the disk does not do what it should. Not responsible for what follows from it: the driver is.

use std::io;
use std::path::Path;

/// What is wrong with the disk, as far as its owner can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageProblem {
    /// There is no room.
    Full,
    /// Nothing may be written there.
    ReadOnly,
    /// What is there is not what was written.
    Damaged,
    /// Another error of the device or the system.
    Failed,
}

/// The disk has failed: how, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}; {}", self.what(), self.remedy())]
pub struct StorageError {
    problem: StorageProblem,
    detail: String,
}

impl StorageError {
    pub(crate) fn new(problem: StorageProblem, detail: impl Into<String>) -> Self {
        Self { problem, detail: detail.into() }
    }

    pub(crate) fn from_io(error: &io::Error) -> Self {
        Self::new(StorageProblem::of(error), error.to_string())
    }

    /// The same, with the directory where it is.
    pub(crate) fn at(self, directory: &Path) -> Self {
        Self { detail: format!("{}: {}", directory.display(), self.detail), ..self }
    }

    /// For those who have not started anything yet: what is said of writing that goes on does not concern them.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match self.problem {
            StorageProblem::Full => io::ErrorKind::StorageFull,
            StorageProblem::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            StorageProblem::Damaged => io::ErrorKind::InvalidData,
            StorageProblem::Failed => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("{}: {}", self.what(), self.detail))
    }

    /// What kind of problem it is.
    pub const fn problem(&self) -> StorageProblem {
        self.problem
    }

    const fn what(&self) -> &'static str {
        match self.problem {
            StorageProblem::Full => "the disk is full",
            StorageProblem::ReadOnly => "the disk is read-only",
            StorageProblem::Damaged => "what is on the disk is damaged",
            StorageProblem::Failed => "the disk has failed",
        }
    }

    const fn remedy(&self) -> &'static str {
        match self.problem {
            StorageProblem::Full => "make room on it: writing goes on by itself",
            StorageProblem::ReadOnly => "make it writable: writing goes on by itself",
            StorageProblem::Damaged => "stop the node and run \"tidings verify\" on its data directory",
            StorageProblem::Failed => "look after it: writing is tried again every second",
        }
    }
}

impl StorageProblem {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            // A file that is missing, is too short, or is where none should be: the engine made them all itself.
            io::ErrorKind::InvalidData
            | io::ErrorKind::NotFound
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidInput => Self::Damaged,
            _ => Self::Failed,
        }
    }
}
