//! Follows the file of settings while a node runs: the nodes to join are read again when it changes, and on SIGHUP. Not
//! responsible for other settings: those hold from the start.

use super::file::SettingsFile;
use super::plan::others;
use super::settings::Settings;
use crate::Store;
use std::path::PathBuf;
use std::time::Duration;
use tracing::{info, warn};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// So long a file that has changed must stay as it is.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// A file that says whom to join.
#[derive(Debug)]
pub(super) struct JoinFile {
    path: PathBuf,
    /// Whose own addresses are no others.
    settings: Settings,
    /// Those of the last look.
    join: Vec<String>,
    text: Option<String>,
}

impl JoinFile {
    pub(super) fn new(path: PathBuf, settings: Settings) -> Self {
        let (join, text) = (others(&settings), std::fs::read_to_string(&path).ok());
        Self { path, settings, join, text }
    }

    /// For as long as the node runs.
    pub(super) async fn follow(mut self, store: Store) {
        let mut hangups = Hangups::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = hangups.next() => self.text = None,
            }
            if let Some(text) = self.changed().await {
                self.take(&text, &store).await;
                self.text = Some(text);
            }
        }
    }

    /// Its text, if that is another than at the last look. A file that is being written may be gone or empty for a
    /// moment: it counts once it has stayed the same for a while.
    async fn changed(&self) -> Option<String> {
        let read = async || tokio::fs::read_to_string(&self.path).await.ok();
        let mut text = read().await;
        while text.is_some() && text != self.text {
            tokio::time::sleep(SETTLED_AFTER).await;
            let again = read().await;
            if again == text {
                return text;
            }
            text = again;
        }
        None
    }

    async fn take(&mut self, text: &str, store: &Store) {
        let file = match SettingsFile::parse(&self.path, text) {
            Ok(file) => file,
            Err(problems) => return warn!("{}; the nodes to join stay as they were", problems.join("; ")),
        };
        let join = others(&Settings { join: file.settings.join, ..self.settings.clone() });
        let without = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|address| !those.contains(address)).cloned().collect()
        };
        let (added, dropped) = (without(&join, &self.join), without(&self.join, &join));
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        info!(?added, ?dropped, "{} has other nodes to join", self.path.display());
        match store.rejoin(added, dropped).await {
            Ok(()) => self.join = join,
            Err(error) => warn!("{}: {error}; the nodes to join stay as they were", self.path.display()),
        }
    }
}

/// Hangups of the terminal, or who has sent that signal by hand.
#[cfg(unix)]
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
