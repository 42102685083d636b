//! The thread that waits for the disk, so that nobody else does. Not responsible for what is committed when.

use super::{Snapshot, Storage, StorageError};
use crate::Error;
use crate::proto::durable::Batch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc as done, oneshot};

/// What the disk is asked for, in order.
pub(crate) enum Job {
    /// Make it durable.
    Commit(Batch),
    /// The same after a failure: begin anew first.
    Mend(Batch),
    /// All records as of now.
    Snapshot(oneshot::Sender<Result<Box<dyn Snapshot>, Error>>),
}

/// What became of a commit.
pub(crate) type Done = Result<(), StorageError>;

/// A storage in its own thread, which ends with this handle.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    bytes: Arc<AtomicU64>,
}

impl Keeper {
    /// Starts the thread. What becomes of each commit comes out of the receiver, in order.
    pub(crate) fn spawn(storage: Box<dyn Storage>) -> std::io::Result<(Self, done::UnboundedReceiver<Done>)> {
        let (jobs, asked) = mpsc::channel();
        // One commit is under way at a time, so that there is never more than one answer.
        let (tell, done) = done::unbounded_channel();
        let bytes = Arc::new(AtomicU64::new(storage.bytes()));
        let shared = bytes.clone();
        let run = move || serve(storage, &asked, &tell, &shared);
        let thread = std::thread::Builder::new().name("tidings-disk".to_owned()).spawn(run)?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread), bytes }, done))
    }

    /// Asks for something. A thread that has ended has told why, and is not waited for.
    pub(crate) fn ask(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// How many bytes the storage took at the last look.
    pub(crate) fn bytes(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }

    /// Waits until the storage is closed. Blocks.
    pub(crate) fn close(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It only panics by a bug, which has told its story.
            let _ = thread.join();
        }
    }
}

/// Looking at the directory costs more than a commit: it is done once in so many,
const LOOK_EVERY: u32 = 4096;
/// and when nothing has been committed for so long.
const IDLE: Duration = Duration::from_secs(2);

fn serve(
    mut storage: Box<dyn Storage>,
    jobs: &mpsc::Receiver<Job>,
    done: &done::UnboundedSender<Done>,
    bytes: &AtomicU64,
) {
    let mut commits = 0_u32;
    loop {
        let job = match jobs.recv_timeout(IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) if commits > 0 => {
                commits = look(storage.as_mut(), bytes);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => match jobs.recv() {
                Ok(job) => job,
                Err(_) => return,
            },
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let outcome = match job {
            Job::Commit(batch) => storage.commit(&batch),
            Job::Mend(batch) => storage.reopen().and_then(|()| storage.commit(&batch)),
            Job::Snapshot(reply) => {
                // Between two commits: all that it holds is durable.
                let _ = reply.send(storage.snapshot().map_err(|source| Error::Storage { source }));
                continue;
            }
        };
        let failed = outcome.is_err();
        if done.send(outcome).is_err() {
            return;
        }
        commits += 1;
        if commits >= LOOK_EVERY && !failed {
            commits = look(storage.as_mut(), bytes);
        }
    }
}

/// Answers how many commits that looks like: one that could not give room back is to be tried again.
fn look(storage: &mut dyn Storage, bytes: &AtomicU64) -> u32 {
    let given = storage.give_back();
    bytes.store(storage.bytes(), Ordering::Relaxed);
    match given {
        Ok(()) => 0,
        Err(error) => {
            tracing::info!(%error, "no room is given back for now");
            1
        }
    }
}
