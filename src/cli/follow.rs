//! Files that are looked at again while a node runs: when they change, and on SIGHUP. Not responsible for what is in them.

use std::path::PathBuf;
use std::time::Duration;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// So long files that have changed must stay as they are.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// Some files that belong together.
#[derive(Debug)]
pub(super) struct Followed {
    paths: Vec<PathBuf>,
    /// What was in them at the last look: a hash, as it may be a secret.
    seen: Option<blake3::Hash>,
    hangups: Hangups,
}

impl Followed {
    /// The first look is always news: they may have changed since they were read at the start.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: None, hangups: Hangups::new() }
    }

    /// Waits until they are to be read again.
    pub(super) async fn changed(&mut self) {
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = self.hangups.next() => true,
            };
            let now = self.settled().await;
            let news = now.is_some() && now != self.seen;
            self.seen = now.or(self.seen);
            if asked || news {
                return;
            }
        }
    }

    /// What is in them, once it has stayed the same for a while, if that is news: a file that is being written may be gone or
    /// empty for a moment. None if one cannot be read.
    async fn settled(&self) -> Option<blake3::Hash> {
        let mut now = self.look().await;
        while now.is_some() && now != self.seen {
            tokio::time::sleep(SETTLED_AFTER).await;
            let again = self.look().await;
            if again == now {
                return now;
            }
            now = again;
        }
        now
    }

    async fn look(&self) -> Option<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for path in &self.paths {
            let bytes = tokio::fs::read(path).await.ok()?;
            hasher.update(&bytes.len().to_le_bytes()).update(&bytes);
        }
        Some(hasher.finalize())
    }
}

/// Hangups of the terminal, or who has sent that signal by hand.
#[cfg(unix)]
#[derive(Debug)]
struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    fn new() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => _ = signal.recv().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
