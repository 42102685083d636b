//! Changes as server-sent events. Not responsible for which there are: the store's watcher is.

use super::App;
use super::error::ApiError;
use super::request::Query;
use super::values::{Shown, key_field};
use crate::store::Reader;
use crate::{Cause, Change, Cursor, Error};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::convert::Infallible;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So often at least something is sent, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /v1/watch`: goes on after `Last-Event-ID`, or after the parameter `after` for who cannot set headers.
pub(super) async fn watch(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let query = Query::parse(&uri, &["prefix", "after"])?;
    let last_event = headers.get("last-event-id").map(|value| value.as_bytes());
    let after = last_event.or(query.bytes("after")).filter(|text| !text.is_empty());
    let after = after.map(cursor).transpose()?;
    let reader = app.store.reader(query.bytes("prefix").unwrap_or_default(), after.as_ref())?;
    let events = Events { reader, ending: app.ending, begun: false, id: None };
    let chunks = stream::unfold(events, |mut events| async move {
        let chunk = events.chunk().await?;
        Some((Ok::<_, Infallible>(chunk), events))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

fn cursor(text: &[u8]) -> Result<Cursor, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadCursor)?;
    Cursor::decode(&bytes)
}

/// The text of a cursor.
pub(super) fn id(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(cursor.encode())
}

/// One answer, as long as it lasts.
struct Events {
    reader: Reader,
    ending: CancellationToken,
    begun: bool,
    /// The last that was sent.
    id: Option<Cursor>,
}

impl Events {
    /// The next that is sent. The transport asks for it when it has taken the last one: who does not read is not read for.
    async fn chunk(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        loop {
            let next = tokio::select! {
                batch = self.reader.batch() => Some(batch?),
                () = tokio::time::sleep(HEARTBEAT) => None,
                () = self.ending.cancelled() => return None,
            };
            match &next {
                Some(changes) => changes.iter().for_each(|change| self.event(&mut out, change)),
                None => out.extend_from_slice(b": still here\n"),
            }
            // At the beginning, for who sees nothing before it is cut off; later with a heartbeat, if there is news.
            if !self.begun || next.is_none() {
                self.begun = true;
                self.mark(&mut out, &self.reader.cursor());
                out.push(b'\n');
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, change: &Change) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(change.cause.name().as_bytes());
        out.push(b'\n');
        self.mark(out, &change.cursor);
        out.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut *out, &ShownChange(change)).expect("strings and numbers, into memory");
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

/// The data of an event. JSON has no raw ends of lines, so it is one line.
struct ShownChange<'a>(&'a Change);

impl Serialize for ShownChange<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Change { key, value, cause, dot, timestamp, expires, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Cause::Resync(gap) = cause {
            map.serialize_entry("reason", gap.name())?;
            return map.end();
        }
        key_field(&mut map, "key", key)?;
        if let Some(value) = value {
            Shown::of(value).field(&mut map)?;
        }
        if let Some(dot) = dot {
            map.serialize_entry("dot", &dot.to_string())?;
        }
        if let Some(timestamp) = timestamp {
            map.serialize_entry("timestamp", &timestamp.to_string())?;
        }
        if let Some(expires) = expires {
            map.serialize_entry("expires", expires)?;
        }
        map.end()
    }
}
