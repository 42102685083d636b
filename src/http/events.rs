//! Messages to all nodes, and those of all nodes as server-sent events. Not responsible for their order: the store's
//! listener is.

use super::App;
use super::error::ApiError;
use super::request::{Query, body};
use super::session;
use super::sse::{self, Source};
use super::values::Shown;
use crate::store::EventReader;
use crate::{Cursor, Event, Heard, Missed};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

/// `POST /v1/broadcast`: the body is the message, whatever its type is said to be.
pub(super) async fn broadcast(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, ApiError> {
    let query = Query::parse(&uri, &["wait"])?;
    let max = app.limits.value_bytes_max;
    let Some(payload) = body(sent, max).await? else {
        return Err(ApiError::too_large("value_too_large", format!("a message has at most {max} bytes")));
    };
    session::reached(&app, &headers, &query).await?;
    let written = app.store.broadcast(payload).await?;
    let answer = (StatusCode::ACCEPTED, Json(json!({ "dot": written.dot.to_string() })));
    Ok(session::with_token(&app, &written.session, answer).await)
}

/// `GET /v1/events`
pub(super) async fn events(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let query = Query::parse(&uri, &["after"])?;
    let reader = app.store.listener(sse::after(&query, &headers)?.as_ref())?;
    Ok(sse::answer(app, reader))
}

impl Source for EventReader {
    type Item = Heard;

    fn batch(&mut self) -> impl Future<Output = Option<Vec<Heard>>> + Send {
        self.batch()
    }

    fn cursor(&self) -> Cursor {
        self.cursor()
    }
}

impl sse::Shown for Heard {
    fn name(&self) -> &'static str {
        match self {
            Self::Event(_) => "message",
            Self::Missed(_) => "missed",
        }
    }

    fn cursor(&self) -> &Cursor {
        self.cursor()
    }

    fn data(&self) -> impl Serialize {
        ShownHeard(self)
    }
}

/// The data of an event.
struct ShownHeard<'a>(&'a Heard);

impl Serialize for ShownHeard<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Heard::Event(Event { dot, context, payload, .. }) => {
                map.serialize_entry("dot", &dot.to_string())?;
                let causes = context.iter().map(|cause| (cause.replica.to_string(), cause.counter.into()));
                map.serialize_entry("context", &causes.collect::<serde_json::Map<_, serde_json::Value>>())?;
                Shown::of(payload).field(&mut map)?;
            }
            Heard::Missed(Missed { count, .. }) => map.serialize_entry("count", count)?,
        }
        map.end()
    }
}
