//! The state as a stream of blocks. Not responsible for where it becomes a directory: that is at the client's.

use super::App;
use super::error::ApiError;
use super::request::Query;
use crate::runtime::storage::Snapshot;
use crate::runtime::storage::checkpoint::{Block, each_block};
use crate::{Error, Store};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Blocks on their way: with the one being made, all that the node holds of a checkpoint.
const BLOCKS_MAX: usize = 4;
/// A client that takes nothing for so long has gone; until then the engine keeps for it what has been replaced since.
const STALLED_MAX: Duration = Duration::from_secs(60);

type Blocks = mpsc::Sender<Result<Bytes, Error>>;

/// `GET /v1/checkpoint`: all that is durable at one moment. What has no last block has broken off.
pub(super) async fn checkpoint(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let snapshot = app.store.snapshot().await?;
    let taken_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let (blocks, taken) = mpsc::channel(BLOCKS_MAX);
    let runtime = Handle::current();
    // A thread of its own: it waits for the disk, and for the client.
    tokio::task::spawn_blocking(move || send(&*snapshot, taken_ms, &app.store, &blocks, &runtime));
    let body = stream::unfold(taken, async |mut taken| Some((taken.recv().await?, taken)));
    let head = [(header::CONTENT_TYPE, "application/vnd.tidings.checkpoint")];
    Ok((head, Body::from_stream(body)).into_response())
}

fn send(snapshot: &dyn Snapshot, taken_ms: u64, store: &Store, blocks: &Blocks, runtime: &Handle) {
    let give = |block| {
        let sent = runtime.block_on(tokio::time::timeout(STALLED_MAX, blocks.send(block)));
        if matches!(sent, Ok(Ok(()))) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let mut each = |block: Block| match store.is_closed() {
        true => ControlFlow::Break(()),
        false => give(Ok(block.into_bytes().into())),
    };
    if let Err(error) = each_block(snapshot, taken_ms, &mut each) {
        tracing::warn!(%error, "a checkpoint has failed");
        // The connection breaks off by it.
        let _ = give(Err(error));
    }
}
