//! Backups: checkpoints of a store, verified and restored. Not responsible for their format: `runtime::storage` is.

use crate::crdt::ReplicaId;
use crate::runtime::clock::SystemClock;
use crate::runtime::storage::checkpoint::{self, Checkpoint, Intake, Restored, Verified, each_block};
use crate::{Error, Store};
use std::ops::ControlFlow;
use std::path::Path;
use tokio_util::sync::CancellationToken;

impl Store {
    /// Copies the state, as it is durable at one moment, to a new directory, while reads and writes go on.
    ///
    /// `directory` must not be there, or be empty; it appears when the copy is whole and on disk, and until then is called
    /// `directory.partial`. It does not hold the cluster's secret. If the future is dropped, nothing is left.
    ///
    /// Reads the state off the disk, so linear in it, on a thread for blocking work and in blocks of bounded size:
    /// memory does not grow with it. Writes go on; while it lasts, the engine keeps what they replace.
    ///
    /// # Errors
    ///
    /// [`Error::InMemory`]; [`Error::WrongDirectory`] if it is not empty; [`Error::Io`] if it cannot be written;
    /// [`Error::Storage`] if the state cannot be read; [`Error::Closed`] if the store is closed meanwhile. Nothing is left.
    ///
    /// ```
    /// use tidings::{Config, Secret, Store};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = |name: &str| directory.path().join(name);
    /// let secret = Secret::random(&mut rand::rng());
    /// let config = || Config::builder().listen("127.0.0.1:0").secret(secret.clone());
    /// let store = Store::open(config().data_dir(path("data")).build()?).await?;
    /// store.put("kettle", "on").await?;
    /// let checkpoint = store.checkpoint(path("monday")).await?;
    /// store.close().await;
    ///
    /// assert!(tidings::verify(path("monday"))?.is_whole());
    /// let restored = tidings::restore(path("monday"), path("data-2"))?;
    /// assert_ne!(restored.replica, checkpoint.replica);
    /// let store = Store::open(config().data_dir(path("data-2")).build()?).await?;
    /// assert_eq!(store.get("kettle").as_deref(), Some(&b"on"[..]));
    /// store.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn checkpoint(&self, directory: impl AsRef<Path>) -> Result<Checkpoint, Error> {
        let mut intake = Intake::new(directory.as_ref())?;
        let (snapshot, taken_ms, store) = (self.snapshot().await?, now_ms(), self.clone());
        let cancel = CancellationToken::new();
        let _guard = cancel.clone().drop_guard();
        let copy = move || {
            let mut taken = Ok(None);
            each_block(&*snapshot, taken_ms, &mut |block| {
                if cancel.is_cancelled() || store.is_closed() {
                    return ControlFlow::Break(());
                }
                taken = intake.take(&block);
                if matches!(taken, Ok(None)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            taken?.ok_or(Error::Closed)
        };
        tokio::task::spawn_blocking(copy).await.map_err(|_| Error::Interrupted)?
    }
}

fn now_ms() -> u64 {
    SystemClock::start().now().wall_ms
}

/// Looks whether a checkpoint, or the data directory of a node that does not run, is as it was written: every byte of a
/// checkpoint, every record of a data directory. Blocks the thread.
///
/// A checkpoint is only read. Of a data directory no record is changed, but the engine puts its files in order as it does
/// at each start: what a crash has cut off at the end of its journal goes.
///
/// Linear in what is there. Of a data directory, and of a checkpoint that is whole, it builds the state in memory as a
/// node would.
///
/// # Errors
///
/// [`Error::WrongDirectory`] if it is neither; [`Error::NewerFormat`]; [`Error::InUse`] if a node runs on it;
/// [`Error::Io`]. What is damaged is no error of verifying: [`Verified::damaged`] lists it.
///
/// ```no_run
/// let verified = tidings::verify("monday")?;
/// for part in &verified.damaged {
///     eprintln!("{part}");
/// }
/// # Ok::<_, tidings::Error>(())
/// ```
pub fn verify(directory: impl AsRef<Path>) -> Result<Verified, Error> {
    verify_with_progress(directory, |_, _| {})
}

/// As [`verify`], and tells how it goes on: how much has been looked at, and how much there is.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_with_progress(
    directory: impl AsRef<Path>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, Error> {
    checkpoint::verify(directory.as_ref(), &mut progress)
}

/// Makes a data directory of a checkpoint, for a new replica: it may run beside the one that was copied, and beside others
/// restored from the same checkpoint. Blocks the thread.
///
/// The whole checkpoint is checked first. `data_dir` must not be there, or be empty; it cannot be opened until all is in
/// it, and a restore that was interrupted is begun anew by another one. The secret and the remembered peers of the copied
/// node do not come along: open it with the cluster's secret and with an address to join. Its member record says that the
/// copied replica is down, which that takes back if it runs.
///
/// Linear in the checkpoint, read once and written once; its state is in memory meanwhile.
///
/// # Errors
///
/// [`Error::Damaged`] or [`Error::NewerFormat`] of the checkpoint; [`Error::WrongDirectory`]; [`Error::Io`] or
/// [`Error::Storage`] if `data_dir` cannot be written. There is no state in it then.
///
/// See [`Store::checkpoint`] for an example.
pub fn restore(checkpoint: impl AsRef<Path>, data_dir: impl AsRef<Path>) -> Result<Restored, Error> {
    restore_with_progress(checkpoint, data_dir, |_, _| {})
}

/// As [`restore`], and tells how it goes on: how much has been done, and how much there is about.
///
/// # Errors
///
/// As [`restore`].
pub fn restore_with_progress(
    checkpoint: impl AsRef<Path>,
    data_dir: impl AsRef<Path>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Restored, Error> {
    let replica = ReplicaId::random(&mut rand::rng());
    checkpoint::restore(checkpoint.as_ref(), data_dir.as_ref(), replica, now_ms(), &mut progress)
}
