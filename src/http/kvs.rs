//! Causal key-value routes: `/kvs` and `/view`. Not responsible for causality: the store is, and the metadata that clients
//! carry is its session token.

use super::App;
use super::compat::{Plain, fields, string, whole_body};
use super::error::ApiError;
use super::request::key;
use super::values::compact;
use crate::{Error, Session};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// What these routes own.
pub(super) const PATHS: [&str; 2] = ["/kvs", "/view"];

/// Longer keys are not written here. They can be elsewhere, and are read and deleted here as any other.
const KEY_CHARS_MAX: usize = 50;

/// What is half here is waited for; that is at once, to a client.
const ARRIVING_TIME_MAX: Duration = Duration::from_millis(250);

const METADATA: &str = "causal-metadata";
const ADDRESS: &str = "socket-address";

type Fields<'a> = BTreeMap<String, &'a RawValue>;

pub(super) fn routes() -> Router<App> {
    let of_key = get(read).put(write).delete(remove);
    Router::new()
        .route("/kvs", of_key.clone())
        .route("/kvs/", of_key.clone())
        .route("/kvs/{*key}", of_key)
        .route("/view", get(view).put(put_view).delete(delete_view))
}

/// What a request says, as far as all routes of keys want to know.
struct Asked<'a> {
    fields: Fields<'a>,
    key: Cow<'a, [u8]>,
}

impl<'a> Asked<'a> {
    /// The body is looked at first, then the key.
    fn of(text: &'a Bytes, uri: &'a Uri) -> Result<Self, ApiError> {
        let fields = fields(text).map_err(ApiError::bad_request)?;
        let key = if uri.path() == "/kvs" { Cow::default() } else { key(uri, "/kvs/") };
        if key.is_empty() {
            return Err(ApiError::bad_request("Key is missing, as in /kvs/key"));
        }
        Ok(Self { fields, key })
    }

    /// Refuses a request whose dependencies this node does not have, and has them pulled, so that a later one succeeds. A client
    /// may have read of them here, from a sync that is not over: it is waited for.
    async fn dependencies(&self, app: &App) -> Result<(), ApiError> {
        let Some(raw) = self.fields.get(METADATA).filter(|raw| !matches!(&*compact(raw.get()), "null" | "{}")) else {
            return Ok(());
        };
        let token: Option<String> = serde_json::from_str(raw.get()).ok();
        let token =
            token.ok_or_else(|| ApiError::bad_request(format!("{METADATA} is no string that a node has given")))?;
        let refuse = |error: Error| ApiError::bad_request(format!("{METADATA}: {error}"));
        let session = app.store.session_of(&token).map_err(refuse)?;
        match app.store.wait_while_arriving(&session, ARRIVING_TIME_MAX).await {
            Err(Error::NotYetHere) => {
                Err(ApiError::unavailable("not_yet_here", "Causal dependencies not satisfied; try again later"))
            }
            other => Ok(other?),
        }
    }
}

#[derive(Serialize)]
struct Found<'a> {
    result: &'static str,
    value: Plain<'a>,
    #[serde(rename = "causal-metadata")]
    metadata: String,
}

async fn read(State(app): State<App>, uri: Uri, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await?;
    let asked = Asked::of(&text, &uri)?;
    asked.dependencies(&app).await?;
    let (reading, seen) = app.store.read_with_session(&*asked.key).await;
    let metadata = app.store.token_of(&seen).await?;
    Ok(match reading {
        Some(reading) => Json(Found { result: "found", value: Plain::of(&reading.value), metadata }).into_response(),
        None => absent(&metadata),
    })
}

async fn write(State(app): State<App>, uri: Uri, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await?;
    let asked = Asked::of(&text, &uri)?;
    if String::from_utf8_lossy(&asked.key).chars().count() > KEY_CHARS_MAX {
        return Err(ApiError::bad_request("Key is too long"));
    }
    let missing = || ApiError::bad_request("PUT request does not specify a value");
    let value = compact(asked.fields.get("value").ok_or_else(missing)?.get());
    app.limits.check_key(&asked.key)?;
    app.limits.check_value(value.as_bytes())?;
    asked.dependencies(&app).await?;
    let written = app.store.put(&asked.key, value).await?;
    let (status, result) =
        if written.replaced { (StatusCode::OK, "replaced") } else { (StatusCode::CREATED, "created") };
    Ok(done(&app, status, result, &written.session).await)
}

async fn remove(State(app): State<App>, uri: Uri, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await?;
    let asked = Asked::of(&text, &uri)?;
    asked.dependencies(&app).await?;
    let gone = match app.limits.check_key(&asked.key) {
        Ok(()) => app.store.delete(&asked.key).await?,
        Err(_) => None,
    };
    match gone {
        Some(written) => Ok(done(&app, StatusCode::OK, "deleted", &written.session).await),
        None => {
            let (_, seen) = app.store.read_with_session(&*asked.key).await;
            Ok(absent(&app.store.token_of(&seen).await?))
        }
    }
}

/// The write is done, and that is said even if there is no token to be had: null is no dependency.
async fn done(app: &App, status: StatusCode, result: &str, seen: &Session) -> Response {
    let metadata = app.store.token_of(seen).await.ok();
    (status, Json(json!({ "result": result, METADATA: metadata }))).into_response()
}

fn absent(metadata: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "Key does not exist", METADATA: metadata }))).into_response()
}

async fn view(State(app): State<App>, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await?;
    fields(&text).map_err(ApiError::bad_request)?;
    Ok(Json(json!({ "view": app.store.http_view() })).into_response())
}

async fn put_view(State(app): State<App>, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await?;
    let listed = app.store.put_in_http_view(&address(&text)?).await?;
    let (status, result) = if listed { (StatusCode::OK, "already present") } else { (StatusCode::CREATED, "added") };
    Ok((status, Json(json!({ "result": result }))).into_response())
}

async fn delete_view(State(app): State<App>, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await?;
    match app.store.delete_from_http_view(&address(&text)?).await? {
        true => Ok(Json(json!({ "result": "deleted" })).into_response()),
        false => Err(ApiError::not_found("View has no such replica")),
    }
}

fn address(text: &[u8]) -> Result<String, ApiError> {
    let given = string(&fields(text).map_err(ApiError::bad_request)?, ADDRESS).map_err(ApiError::bad_request)?;
    given.ok_or_else(|| ApiError::bad_request(format!("{ADDRESS} is missing: give {{\"{ADDRESS}\":\"IP:PORT\"}}")))
}
