//! Server-sent events: batches of a reader, as they come. Not responsible for what they are: `watch` and `events` are.

use super::App;
use super::error::ApiError;
use super::request::Query;
use crate::{Cursor, Error};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So often at least something is sent, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Whoever is told of something at a node.
pub(super) trait Source: Send + 'static {
    /// What it is told.
    type Item: Shown;

    /// What there is, as soon as there is something; `None` at the end. The future may be dropped at any time.
    fn batch(&mut self) -> impl Future<Output = Option<Vec<Self::Item>>> + Send;

    /// After what was told last.
    fn cursor(&self) -> Cursor;
}

/// One event.
pub(super) trait Shown: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// To go on from after it.
    fn cursor(&self) -> &Cursor;

    /// What it says. JSON has no raw ends of lines, so it is one line.
    fn data(&self) -> impl Serialize;
}

/// Where a request goes on: after `Last-Event-ID`, or after the parameter `after` for who cannot set headers.
pub(super) fn after(query: &Query, headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let last_event = headers.get("last-event-id").map(|value| value.as_bytes());
    let after = last_event.or(query.bytes("after")).filter(|text| !text.is_empty());
    Ok(after.map(cursor).transpose()?)
}

fn cursor(text: &[u8]) -> Result<Cursor, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadCursor)?;
    Cursor::decode(&bytes)
}

/// The text of a cursor.
fn id(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(cursor.encode())
}

/// An answer that lasts until the client or the node ends it.
pub(super) fn answer(app: App, source: impl Source) -> Response {
    let events = Events { source, ending: app.ending, begun: false, id: None };
    let chunks = stream::unfold(events, |mut events| async move {
        let chunk = events.chunk().await?;
        Some((Ok::<_, Infallible>(chunk), events))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(chunks)).into_response()
}

/// One answer, as long as it lasts.
struct Events<S> {
    source: S,
    ending: CancellationToken,
    begun: bool,
    /// The last that was sent.
    id: Option<Cursor>,
}

impl<S: Source> Events<S> {
    /// The next that is sent. The transport asks for it when it has taken the last one: who does not read is not read for.
    async fn chunk(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        loop {
            let next = tokio::select! {
                biased;
                batch = self.source.batch() => Some(batch?),
                () = self.ending.cancelled() => return None,
                // At the beginning, for who sees nothing before it is cut off, and for clients that wait for the head.
                () = std::future::ready(()), if !self.begun => Some(Vec::new()),
                () = tokio::time::sleep(HEARTBEAT) => None,
            };
            match &next {
                Some(items) => items.iter().for_each(|item| self.event(&mut out, item)),
                None => out.extend_from_slice(b": still here\n"),
            }
            // Later with a heartbeat, if there is news.
            if !self.begun || next.is_none() {
                self.begun = true;
                self.mark(&mut out, &self.source.cursor());
                out.push(b'\n');
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, item: &S::Item) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(item.name().as_bytes());
        out.push(b'\n');
        self.mark(out, item.cursor());
        out.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut *out, &item.data()).expect("strings and numbers, into memory");
        out.extend_from_slice(b"\n\n");
    }

    fn mark(&mut self, out: &mut Vec<u8>, cursor: &Cursor) {
        if self.id.as_ref() != Some(cursor) {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(id(cursor).as_bytes());
            out.push(b'\n');
            self.id = Some(cursor.clone());
        }
    }
}
