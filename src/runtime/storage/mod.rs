//! Where the state outlives the process. Not responsible for what is in it.

mod memory;

pub use memory::MemoryStorage;

use crate::crdt::OrMap;
use std::io;

/// The record of truth behind the map.
///
/// The driver calls [`commit`](Self::commit) after the machine has taken in a batch of inputs, and lets what the machine
/// says leave only when it has returned: no peer hears of a write, nor of what a write has left out, before it is
/// durable here. Clients that wait for their write are answered after it, too.
pub trait Storage: std::fmt::Debug + Send + 'static {
    /// What it is, for people to read.
    fn kind(&self) -> &'static str;

    /// Makes durable all that the map now holds. On an error nothing of the batch may be told to anybody.
    fn commit(&mut self, map: &OrMap) -> io::Result<()>;
}
