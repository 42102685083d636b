//! The node's storage, as people see it. Not responsible for writing to it: the keeper is.

use super::storage::{Keeper, StorageError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The node's storage, as people see it.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) kind: &'static str,
    pub(crate) directory: PathBuf,
    bytes: Arc<AtomicU64>,
    fault: Mutex<Option<StorageError>>,
}

impl Disk {
    pub(crate) fn new(kind: &'static str, directory: PathBuf, keeper: &Keeper) -> Self {
        Self { kind, directory, bytes: keeper.bytes(), fault: Mutex::default() }
    }

    /// How many bytes it takes, at the last look.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why nothing can be written, if so.
    pub(crate) fn fault(&self) -> Option<StorageError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_fault(&self, fault: Option<StorageError>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}
