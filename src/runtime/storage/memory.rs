//! No storage: the state ends with the process, and lives on in the other nodes only. Not responsible for surviving
//! anything; a node without storage takes a new replica id at each start, so it can forget without harm.

use super::Storage;
use crate::crdt::OrMap;
use std::io;

/// Everything is as durable as it will get.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryStorage;

impl Storage for MemoryStorage {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn commit(&mut self, _map: &OrMap) -> io::Result<()> {
        Ok(())
    }
}
