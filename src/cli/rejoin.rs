//! Follows the file of settings while a node runs: the nodes to join are read again. Not responsible for other settings:
//! those hold from the start.

use super::file::SettingsFile;
use super::follow::Followed;
use super::plan::others;
use super::settings::Settings;
use crate::Store;
use std::path::PathBuf;
use tracing::{info, warn};

/// A file that says whom to join.
#[derive(Debug)]
pub(super) struct JoinFile {
    path: PathBuf,
    /// Whose own addresses are no others.
    settings: Settings,
    /// Those of the last look.
    join: Vec<String>,
}

impl JoinFile {
    pub(super) fn new(path: PathBuf, settings: Settings) -> Self {
        let join = others(&settings);
        Self { path, settings, join }
    }

    /// For as long as the node runs.
    pub(super) async fn follow(mut self, store: Store) {
        let mut followed = Followed::new(vec![self.path.clone()]);
        loop {
            followed.changed().await;
            match tokio::fs::read_to_string(&self.path).await {
                Ok(text) => self.take(&text, &store).await,
                Err(error) => warn!("{}: {error}; the nodes to join stay as they were", self.path.display()),
            }
        }
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
