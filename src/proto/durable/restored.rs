//! The state of a replica that was made from a copy of another's. Not responsible for reading the copy: the loader is, and
//! gives it the new name.

use super::{Batch, Kept};
use crate::crdt::ReplicaId;
use crate::proto::config::NodeConfig;
use crate::proto::membership;

impl Kept {
    /// Writes of the replica that was copied that it is down: it may be gone for good, and nobody else would ever say so.
    /// If it runs, it takes that back by itself.
    pub fn write_down(&mut self, copied: ReplicaId, now_ms: u64) {
        let forget_ms = NodeConfig::new(self.identity().replica).forget_member_ms;
        membership::write_down(&mut self.map, copied, now_ms, forget_ms);
    }

    /// All of the state, in batches of about so many bytes, for a storage that has nothing yet. Until it has the last of
    /// them it must not be taken for one that holds a state.
    ///
    /// # Errors
    ///
    /// Those of `write`, after which nothing more is given.
    pub fn whole<E>(&mut self, bytes_max: usize, write: impl FnMut(&Batch) -> Result<(), E>) -> Result<(), E> {
        self.recorder.whole(&self.map, bytes_max, write)
    }
}
