//! Changes as server-sent events. Not responsible for which there are: the store's watcher is.

use super::App;
use super::error::ApiError;
use super::request::Query;
use super::sse::{self, Shown as Event, Source};
use super::values::{Shown, key_field};
use crate::store::Reader;
use crate::{Cause, Change, Cursor};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// `GET /v1/watch`
pub(super) async fn watch(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let query = Query::parse(&uri, &["prefix", "after"])?;
    let after = sse::after(&query, &headers)?;
    let reader = app.store.reader(query.bytes("prefix").unwrap_or_default(), after.as_ref())?;
    Ok(sse::answer(app, reader))
}

impl Source for Reader {
    type Item = Change;

    fn batch(&mut self) -> impl Future<Output = Option<Vec<Change>>> + Send {
        self.batch()
    }

    fn cursor(&self) -> Cursor {
        self.cursor()
    }
}

impl Event for Change {
    fn name(&self) -> &'static str {
        self.cause.name()
    }

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    fn data(&self) -> impl Serialize {
        ShownChange(self)
    }
}

/// The data of an event.
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
