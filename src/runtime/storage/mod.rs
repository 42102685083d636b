//! Where the state outlives the process. Not responsible for what is in it: `proto::durable` makes records of the state.
//!
//! `directory` is what people see of it, `engine` the library that writes it, `keeper` the thread that waits for it;
//! `checkpoint` is a copy that needs neither.

pub(crate) mod checkpoint;
mod directory;
mod engine;
mod error;
mod keeper;
mod torn;

#[cfg(feature = "cli")]
pub(crate) use directory::make as make_directory;
pub(crate) use directory::{Directory, Opened};
pub use error::{StorageError, StorageProblem};
pub(crate) use keeper::{Done, Job, Keeper};

use crate::proto::durable::Batch;
use std::fmt::Debug;
use std::ops::ControlFlow;

/// The record of truth behind the map: one ordered log of commits.
///
/// After a crash at any moment it holds the outcome of a prefix of the commits, and of all that [`commit`](Self::commit)
/// has returned from: never a part of a batch, and never a later one without an earlier one.
pub trait Storage: Debug + Send + 'static {
    /// What it is, for people to read.
    fn kind(&self) -> &'static str;

    /// Makes a batch durable: it is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// It is not, or nobody knows. Nothing more may be committed before [`reopen`](Self::reopen).
    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError>;

    /// Begins anew from what is on the disk, after a failed commit. That commit may be there or not.
    ///
    /// # Errors
    ///
    /// It still does not work; it may be tried again.
    fn reopen(&mut self) -> Result<(), StorageError>;

    /// All records as of now: what was committed before, and nothing that will be.
    ///
    /// # Errors
    ///
    /// The disk cannot be read.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError>;

    /// How many bytes it takes on the disk.
    fn bytes(&self) -> u64;

    /// Gives back room that it takes for nothing, if there is much of it. Called when there is little to do.
    ///
    /// # Errors
    ///
    /// It could not, and goes on as it was.
    fn give_back(&mut self) -> Result<(), StorageError>;
}

/// Takes a key and its value, and says whether to go on.
pub type EachRecord<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// All records of one moment, whatever is committed meanwhile.
pub trait Snapshot: Send {
    /// Gives each record, in the order of the keys, until that says to stop.
    ///
    /// # Errors
    ///
    /// The disk cannot be read, or what it gives back is damaged.
    fn for_each(&self, each: EachRecord<'_>) -> Result<(), StorageError>;
}
