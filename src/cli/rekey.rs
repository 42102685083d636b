//! Follows the files of keys while a node runs: the cluster's secret or certificates, and the token of clients. Not
//! responsible for what becomes of links.

use super::failure::Failure;
use super::follow::Followed;
use super::secrets::{Origin, read_token};
use super::tls;
use crate::Store;
use crate::http::Access;
use std::path::PathBuf;
use std::time::Duration;
use tracing::{info, warn};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Where the keys of the cluster are.
#[derive(Debug)]
pub(super) struct KeyFiles(Origin);

impl KeyFiles {
    /// None if they are in no files.
    pub(super) fn of(origin: &Origin) -> Option<Self> {
        (!origin.files().is_empty()).then(|| Self(origin.clone()))
    }

    /// For as long as the node runs.
    pub(super) async fn follow(self, store: Store) {
        tokio::join!(self.follow_changes(&store), warn_daily(&store));
    }

    async fn follow_changes(&self, store: &Store) {
        let mut followed = Followed::new(self.0.files());
        loop {
            followed.changed().await;
            if let Err(failure) = self.take(store).await {
                warn!("{failure}; the keys of the cluster stay as they were");
            }
        }
    }

    async fn take(&self, store: &Store) -> Result<(), Failure> {
        let Some(keys) = self.0.read()? else { return Ok(()) };
        let names = keys.key_ids();
        store.rekey(keys).await?;
        info!(?names, "the keys of the cluster were read: the first is presented, all are accepted");
        Ok(())
    }
}

/// Of a certificate that ends soon, from the start on.
async fn warn_daily(store: &Store) {
    let mut days = tokio::time::interval(DAY);
    loop {
        days.tick().await;
        // A node with a secret has none, and never will.
        let Some(end) = store.status().certificate_expires else { return };
        if let Some(warning) = tls::warning(end) {
            warn!("of this node: {warning}");
        }
    }
}

/// Where the token of clients is.
#[derive(Debug)]
pub(super) struct TokenFile {
    pub(super) path: PathBuf,
    pub(super) access: Access,
}

impl TokenFile {
    /// For as long as the node runs.
    pub(super) async fn follow(self) {
        let mut followed = Followed::new(vec![self.path.clone()]);
        loop {
            followed.changed().await;
            match read_token(&self.path) {
                Ok(token) => self.access.set_token(&token),
                Err(failure) => warn!("{failure}; the token stays as it was"),
            }
        }
    }
}
