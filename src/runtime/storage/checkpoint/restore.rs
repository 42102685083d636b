//! A checkpoint as the data directory of a new replica. Not responsible for what that makes of the old one's state: the
//! loader renames it.

use super::Restored;
use super::check::{Checked, check};
use crate::Error;
use crate::crdt::{Clock, ReplicaId};
use crate::proto::durable::Loader;
use crate::runtime::storage::directory::{Progress, check_vacant};
use crate::runtime::storage::{Directory, Storage as _};
use std::path::Path;

/// What one commit holds.
const BATCH_BYTES: usize = 4 << 20;

/// Checks all of a checkpoint, and makes of it the state of `replica`, which has not been one before. Blocks the thread.
pub(crate) fn restore(
    checkpoint: &Path,
    data_dir: &Path,
    replica: ReplicaId,
    now_ms: u64,
    progress: Progress<'_>,
) -> Result<Restored, Error> {
    check_vacant(data_dir)?;
    let loader = Loader::new(Clock::DRIFT_MS).renamed(replica);
    // As much is written as was read, about.
    let checked = check(checkpoint, loader, &mut |bytes, of| progress(bytes, of.saturating_mul(2)))?;
    let Checked { about: Some(about), kept: Some(mut kept), bytes, .. } = checked else {
        return Err(damaged(checkpoint, &checked));
    };
    kept.write_down(about.identity.replica, now_ms);
    let mut directory = Directory::begin_restore(data_dir)?;
    let mut written = 0;
    let wrote = kept.whole(BATCH_BYTES, |batch| {
        written += batch.bytes() as u64;
        progress(bytes + written.min(bytes), bytes.saturating_mul(2));
        directory.commit(batch)
    });
    wrote.map_err(|source| Error::Storage { source })?;
    directory.end_restore()?;
    let entries = kept.map().entry_count() as u64;
    Ok(Restored { replica, copied: about.identity.replica, taken_ms: about.taken_ms, entries })
}

fn damaged(checkpoint: &Path, checked: &Checked) -> Error {
    let path = checkpoint.display();
    let first = checked.damaged.first().map(ToString::to_string).unwrap_or_default();
    let more = match checked.damaged.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let problem = format!(
        "{first}{more}; nothing was restored: \"tidings verify {path}\" names all of it, take another checkpoint"
    );
    Error::Damaged { path: path.to_string(), problem }
}
