//! The thread that waits for the disk, so that nobody else does. Not responsible for what is committed when.

use super::{Snapshot, Storage, StorageError};
use crate::Error;
use crate::proto::durable::Batch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
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

/// Looking at the directory costs more than a commit: it is done once in so many.
const LOOK_EVERY: u32 = 256;

fn serve(
    mut storage: Box<dyn Storage>,
    jobs: &mpsc::Receiver<Job>,
    done: &done::UnboundedSender<Done>,
    bytes: &AtomicU64,
) {
    let mut commits = 0_u32;
    while let Ok(job) = jobs.recv() {
        let outcome = match job {
            Job::Commit(batch) => storage.commit(&batch),
            Job::Mend(batch) => storage.reopen().and_then(|()| storage.commit(&batch)),
            Job::Snapshot(reply) => {
                // Between two commits: all that it holds is durable.
                let _ = reply.send(storage.snapshot().map_err(|source| Error::Storage { source }));
                continue;
            }
        };
        if done.send(outcome).is_err() {
            return;
        }
        commits = commits.wrapping_add(1);
        if commits % LOOK_EVERY == 1 {
            bytes.store(storage.bytes(), Ordering::Relaxed);
        }
    }
}
