//! The one public error. Not responsible for how it is shown: HTTP statuses and exit codes belong to the interfaces.

use crate::runtime::storage::StorageError;
use std::io;

/// Why an operation of a [`Store`](crate::Store) or of its [`Config`](crate::Config) failed.
///
/// Each message says what is wrong and what would be right; [`state_changed`](Self::state_changed) says whether the
/// operation may have had an effect all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key is empty. Nothing changed; give a key of at least one byte.
    #[error("a key has at least one byte")]
    KeyEmpty,
    /// The key is longer than the store takes. Nothing changed; shorten it, or allow longer keys on every node.
    #[error("a key of {len} bytes is too long: at most {max} are allowed")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
        /// The greatest length allowed.
        max: usize,
    },
    /// The value is longer than the store takes. Nothing changed; split it, or allow larger values on every node.
    #[error("a value of {len} bytes is too large: at most {max} are allowed")]
    ValueTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The greatest length allowed.
        max: usize,
    },
    /// A setting has a value that cannot work. Nothing was started.
    #[error("{setting}: {problem}")]
    InvalidConfig {
        /// The setting, as [`ConfigBuilder`](crate::ConfigBuilder) names it.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// Not an address that could be dialled. Nothing changed; give `HOST:PORT`.
    #[error("{address:?} is no address of a peer: {problem}")]
    InvalidAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No cursor of this cluster. Nothing changed; watch without one, and read what there is.
    #[error("the cursor cannot be read, or is of another cluster; watch without one, and read everything again")]
    BadCursor,
    /// The listening socket could not be had. Nothing was started; choose another address, or end who has it.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory of the store could not be read or written before anything changed.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk takes no writes. Nothing changed; do what it says, or write to another node.
    #[error("not written: {source}")]
    ReadOnly {
        /// What is wrong with the disk, and what to do about it.
        source: StorageError,
    },
    /// The disk failed while the write was on its way there. It was taken back here, and nobody was told of it; but if
    /// this process ends before the disk works again, it may turn out to be there. Write it again.
    #[error("taken back, for it could not be made durable: {source}")]
    NotDurable {
        /// What is wrong with the disk, and what to do about it.
        source: StorageError,
    },
    /// Another process has the data directory. Nothing was started; end that one, or give another directory.
    #[error("{path} is in use by another process: a data directory belongs to one at a time")]
    InUse {
        /// Which directory.
        path: String,
    },
    /// A newer release has written the data directory or the checkpoint. Nothing was changed; use that release.
    #[error("{path} has format {found}, written by a newer release; this one reads up to {known}: use the newer one")]
    NewerFormat {
        /// Which directory.
        path: String,
        /// Its format.
        found: u64,
        /// The newest one that this release reads.
        known: u64,
    },
    /// What is in the data directory or the checkpoint cannot be what was written. Nothing was started.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// Which directory.
        path: String,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// A directory cannot be used for what was asked. Nothing changed; give another one.
    #[error("{path}: {problem}")]
    WrongDirectory {
        /// Which one.
        path: String,
        /// Why, and which would be right.
        problem: String,
    },
    /// The disk cannot be read, or not be relied on. Nothing changed.
    #[error("{source}")]
    Storage {
        /// What is wrong with the disk, and what to do about it.
        source: StorageError,
    },
    /// The store keeps its state in memory only, so there is nothing to be saved. Give it a data directory.
    #[error("this node keeps its state in memory only; start it with a data directory")]
    InMemory,
    /// A typed value has no JSON form, or what is stored is not one of that type. Nothing changed.
    #[error("not a JSON value of this type: {source}")]
    Value {
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// This node does not have all that the session has seen, and did not get it in time. Nothing changed; wait longer,
    /// or ask another node.
    #[error("this node does not have all that the session has seen yet; wait longer, or ask another node")]
    NotYetHere,
    /// A text is no token of a session of this cluster. Nothing changed; send one as it was given, or none.
    #[error("no session token: {problem}; send one as a node of this cluster gave it, or none")]
    BadSession {
        /// What is wrong with it.
        problem: String,
    },
    /// What was read is not to be said in a token: an unfinished sync has brought it from too many replicas. Nothing
    /// changed; ask again when that is over, or another node.
    #[error("a sync that is under way has brought more than a session token can say; ask again, or ask another node")]
    SessionTooLong,
    /// The store was closed, or has left its cluster, before the operation began. Nothing changed; open it again.
    #[error("the store is closed")]
    Closed,
    /// The store was closed while the operation was under way: it may have taken effect, or not. Read it back.
    #[error("the store was closed before the operation was confirmed")]
    Interrupted,
}

impl Error {
    /// Whether the operation may have changed the state although it failed. `false` is a promise; after `true`, look.
    #[must_use]
    pub const fn state_changed(&self) -> bool {
        matches!(self, Self::Interrupted | Self::NotDurable { .. })
    }

    pub(crate) fn config(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidConfig { setting, problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interrupted_operation_may_have_had_an_effect() {
        assert!(Error::Interrupted.state_changed());
        assert!(!Error::Closed.state_changed());
        assert!(!Error::KeyTooLong { len: 2_000, max: 1_024 }.state_changed());
    }

    #[test]
    fn a_message_names_the_setting_and_the_limit() {
        assert_eq!(Error::config("listen", "give IP:PORT").to_string(), "listen: give IP:PORT");
        let text = Error::ValueTooLarge { len: 9, max: 8 }.to_string();
        assert_eq!(text, "a value of 9 bytes is too large: at most 8 are allowed");
    }
}
