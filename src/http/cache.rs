//! Cache routes. Not responsible for expiry, nor for what a node without links can do: the store is.
//!
//! Every answer is `{"data":…,"message":"…","success":bool}`; refusals get that form on their way out.

use super::App;
use super::compat::{Plain, fields, string, whole_body};
use super::error::ApiError;
use super::request::key;
use super::ui;
use super::values::compact;
use crate::store::Latest;
use crate::{PutOptions, Reading};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// The shortest life, a millisecond, and the longest, 3,000 years: in seconds.
const TTL_RANGE: (f64, f64) = (0.001, 1e11);

const NANOS_PER_MILLI: u128 = 1_000_000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(connect))
        .route("/get", get(read))
        .route("/get/", get(read))
        .route("/get/{*key}", get(read))
        .route("/set", post(write))
        .route("/disconnect", get(disconnect))
        .route("/localcache", get(local))
        .route("/delete", get(remove))
        .route("/delete/", get(remove))
        .route("/delete/{*key}", get(remove))
}

#[derive(Serialize)]
struct Envelope<'a> {
    data: Option<Item<'a>>,
    message: &'a str,
    success: bool,
}

#[derive(Serialize)]
struct Item<'a> {
    key: Cow<'a, str>,
    value: Plain<'a>,
    /// The moment of expiry, in nanoseconds since 1970.
    ttl: Option<u128>,
}

impl<'a> Item<'a> {
    fn of(key: &'a [u8], value: &'a [u8], expires_ms: Option<u64>) -> Self {
        let ttl = expires_ms.map(|ms| u128::from(ms) * NANOS_PER_MILLI);
        Self { key: String::from_utf8_lossy(key), value: Plain::of(value), ttl }
    }
}

fn success(message: &str, data: Option<Item<'_>>) -> Response {
    Json(Envelope { data, message, success: true }).into_response()
}

async fn connect(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    if ui::prefers_page(&headers) {
        return Ok(ui::lead().await.into_response());
    }
    app.store.reconnect().await?;
    Ok(success("Successfully connected to server.", None))
}

async fn disconnect(State(app): State<App>) -> Result<Response, ApiError> {
    match app.store.disconnect().await? {
        true => Ok(success("Disconnected from the network.", None)),
        false => Err(ApiError::not_found("Node not found")),
    }
}

async fn local(State(app): State<App>) -> ApiError {
    ApiError::bad_request(match app.store.is_disconnected() {
        true => "Node already working as a local cache",
        false => "Already an active node in the network",
    })
}

async fn read(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let key = key_in(&uri, "/get")?;
    let reading = latest(&app, &key)?;
    Ok(retrieved(&key, &reading))
}

async fn remove(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    if !app.store.is_disconnected() {
        return Err(ApiError::bad_request("In-memory Feature: Available only for disconnected nodes."));
    }
    let key = key_in(&uri, "/delete")?;
    let reading = latest(&app, &key)?;
    app.store.delete(&key).await?;
    Ok(retrieved(&key, &reading))
}

fn key_in<'a>(uri: &'a Uri, route: &str) -> Result<Cow<'a, [u8]>, ApiError> {
    let key = if uri.path() == route { Cow::default() } else { key(uri, &format!("{route}/")) };
    if key.is_empty() {
        return Err(ApiError::bad_request(format!("Key is required i.e. {route}/key")));
    }
    Ok(key)
}

/// The value of the latest write, whatever its ttl: where that has expired, an earlier one does not show again.
fn latest(app: &App, key: &[u8]) -> Result<Reading, ApiError> {
    match app.store.latest(key) {
        Latest::Value(reading) => Ok(reading),
        Latest::Expired => Err(ApiError::not_found("error: Key expired. TTL crossed")),
        Latest::Absent => Err(ApiError::not_found("error: Key does not exist")),
    }
}

fn retrieved(key: &[u8], reading: &Reading) -> Response {
    success("Successfully data retrieved", Some(Item::of(key, &reading.value, reading.expires)))
}

/// A write as a body asks for it.
#[derive(Debug, PartialEq)]
struct Asked {
    key: String,
    value: String,
    ttl: Option<Duration>,
}

async fn write(State(app): State<App>, sent: Body) -> Result<Response, ApiError> {
    let text = whole_body(&app, sent).await.map_err(invalid)?;
    let asked = Asked::of(&text).map_err(|problem| invalid(ApiError::bad_request(problem)))?;
    let (key, value) = (asked.key.as_bytes(), asked.value.as_bytes());
    let within = app.limits.check_key(key).and_then(|()| app.limits.check_value(value));
    within.map_err(|error| invalid(error.into()))?;
    let options = asked.ttl.map_or_else(PutOptions::default, |ttl| PutOptions::default().ttl(ttl));
    let had_expired = matches!(app.store.latest(key), Latest::Expired);
    let written = app.store.put_with(key, asked.value.clone(), options).await?;
    let new = had_expired || !written.replaced;
    let message = if new { "New value successfully added" } else { "Updated the value!!" };
    Ok(success(message, Some(Item::of(key, value, options.expires))))
}

fn invalid(error: ApiError) -> ApiError {
    let message = format!("Invalid request payload: {}", error.message());
    ApiError::new(error.status(), error.code(), message)
}

impl Asked {
    fn of(text: &[u8]) -> Result<Self, String> {
        let fields = fields(text)?;
        let key = string(&fields, "key")?.filter(|key| !key.is_empty()).ok_or("key is missing")?;
        let value = compact(fields.get("value").ok_or("value is missing")?.get());
        let ttl = fields.get("ttl").map(|raw| raw.get()).filter(|text| *text != "null").map(ttl).transpose()?;
        Ok(Self { key, value, ttl })
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let seconds = serde_json::from_str::<f64>(text).ok().filter(|seconds| *seconds > 0.0);
    let seconds = seconds.ok_or_else(|| format!("ttl: {text} is not a number of seconds above 0"))?;
    Ok(Duration::from_secs_f64(seconds.clamp(TTL_RANGE.0, TTL_RANGE.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl_of(text: &str) -> Result<Option<Duration>, String> {
        Asked::of(format!(r#"{{"key":"k","value":1,"ttl":{text}}}"#).as_bytes()).map(|asked| asked.ttl)
    }

    #[test]
    fn a_ttl_is_a_number_of_seconds_above_0_or_null() {
        assert_eq!(ttl_of("5"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(ttl_of("0.25"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(ttl_of("1e-9"), Ok(Some(Duration::from_millis(1))));
        assert_eq!(ttl_of("1e300"), Ok(Some(Duration::from_secs_f64(TTL_RANGE.1))));
        assert_eq!(ttl_of("null"), Ok(None));
        for wrong in ["0", "-1", "-0.0", "\"5\"", "true", "[]", "{}", "1e400"] {
            assert!(ttl_of(wrong).is_err_and(|e| e.starts_with("ttl: ")), "{wrong}");
        }
    }

    #[test]
    fn what_a_body_lacks_is_said() {
        let refusal = |text: &str| Asked::of(text.as_bytes()).expect_err("bad");
        assert_eq!(refusal(r#"{"value":1}"#), "key is missing");
        assert_eq!(refusal(r#"{"key":"","value":1}"#), "key is missing");
        assert_eq!(refusal(r#"{"key":1,"value":1}"#), "key is no string");
        assert_eq!(refusal(r#"{"key":"k"}"#), "value is missing");
        assert!(refusal("7").starts_with("the body is no JSON object: "));
        let null = Asked::of(br#"{"key":"k","value":null}"#).expect("a value");
        assert_eq!(null.value, "null");
    }
}
