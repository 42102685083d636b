//! Answers to reads, the same for both sections. Not responsible for which section a route reads.

use super::App;
use super::error::ApiError;
use super::request::{Query, key};
use super::session;
use super::values::{Shown, ShownItem, key_field};
use crate::{Item, Key, Page, Reading, Section};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Items of a list, unless the client says how many.
const LIMIT_DEFAULT: usize = 100;
/// No list has more items; the client goes on from `next`.
const LIMIT_MAX: usize = 1_000;
/// A list ends early rather than growing much beyond this.
const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// `GET /v1/kv/{key}`
pub(super) async fn get_usr(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    get(&app, &uri, &headers, Section::Usr, "/v1/kv/").await
}

/// `GET /v1/sys/{key}`
pub(super) async fn get_sys(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    get(&app, &uri, &headers, Section::Sys, "/v1/sys/").await
}

/// `GET /v1/kv`
pub(super) async fn list_usr(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    list(&app, &uri, &headers, Section::Usr).await
}

/// `GET /v1/sys`
pub(super) async fn list_sys(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    list(&app, &uri, &headers, Section::Sys).await
}

async fn get(app: &App, uri: &Uri, headers: &HeaderMap, section: Section, route: &str) -> Result<Response, ApiError> {
    let query = Query::parse(uri, &["siblings", "wait"])?;
    let key = key(uri, route);
    app.limits.check_key(&key)?;
    let siblings = query.flag("siblings")?;
    session::reached(app, headers, &query).await?;
    let key = Key { section, bytes: &key };
    if siblings {
        let (values, seen) = app.store.values_with_session(key).await;
        let list: Vec<_> = values.iter().map(ShownReading).collect();
        let shown = if list.is_empty() { Err(absent()) } else { Ok(Json(list)) };
        return session::answer(app, headers, &seen, shown).await;
    }
    let (reading, seen) = app.store.read_with_session(key).await;
    session::answer(app, headers, &seen, reading.map(answer).ok_or_else(absent)).await
}

pub(super) fn absent() -> ApiError {
    ApiError::not_found("there is no such key")
}

fn answer(reading: Reading) -> Response {
    let headers = headers(&reading);
    (headers, Body::from(reading.value)).into_response()
}

fn headers(reading: &Reading) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut insert = |name: &'static str, text: String| {
        let value = HeaderValue::from_str(&text).expect("digits and punctuation");
        headers.insert(HeaderName::from_static(name), value);
    };
    insert("tidings-dot", reading.dot.to_string());
    insert("tidings-timestamp", reading.timestamp.to_string());
    insert("tidings-siblings", reading.siblings.to_string());
    if let Some(expires) = reading.expires {
        insert("tidings-expires", expires.to_string());
    }
    headers
}

/// One of several live values of a key.
struct ShownReading<'a>(&'a Reading);

impl Serialize for ShownReading<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        Shown::of(&self.0.value).field(&mut map)?;
        map.serialize_entry("dot", &self.0.dot.to_string())?;
        map.serialize_entry("timestamp", &self.0.timestamp.to_string())?;
        if let Some(expires) = self.0.expires {
            map.serialize_entry("expires", &expires)?;
        }
        map.end()
    }
}

async fn list(app: &App, uri: &Uri, headers: &HeaderMap, section: Section) -> Result<Response, ApiError> {
    let query = Query::parse(uri, &["prefix", "start", "limit", "siblings", "wait"])?;
    let limit = query.parsed("limit", parse_limit)?.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let siblings = query.flag("siblings")?;
    session::reached(app, headers, &query).await?;
    let prefix = Key { section, bytes: query.bytes("prefix").unwrap_or_default() };
    let (page, seen) = app.store.page_with_session(prefix, query.bytes("start"), limit).await;
    session::answer(app, headers, &seen, Json(Listing { page: bounded(page), siblings })).await
}

fn parse_limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&limit| limit > 0).ok_or_else(|| format!("{text:?} is no number from 1"))
}

/// Values may be large: the page ends where the answer would grow beyond its bound, though never before its first item.
fn bounded(mut page: Page) -> Page {
    let mut bytes = 0;
    let fits = page.items.iter().take_while(|item| {
        let fits = bytes <= LIST_BYTES_MAX;
        bytes += item.key.len() + item.value.len();
        fits
    });
    let count = fits.count();
    if let Some(first) = page.items.get(count) {
        page.next = Some(first.key.clone());
        page.items.truncate(count);
    }
    page
}

/// A page; with how many siblings each key has, where that was asked for.
struct Listing {
    page: Page,
    siblings: bool,
}

struct ListedItem<'a> {
    item: &'a Item,
    siblings: bool,
}

impl Serialize for ListedItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Item { key, value, expires, siblings } = self.item;
        let mut map = serializer.serialize_map(None)?;
        ShownItem { key, value: Shown::of(value), expires: *expires }.fields(&mut map)?;
        if self.siblings {
            map.serialize_entry("siblings", siblings)?;
        }
        map.end()
    }
}

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let siblings = self.siblings;
        let items: Vec<_> = self.page.items.iter().map(|item| ListedItem { item, siblings }).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("items", &items)?;
        next_field(&mut map, self.page.next.as_ref())?;
        map.end()
    }
}

/// `next`, or `next_base64` as keys have it; `null` at the end.
fn next_field<M: SerializeMap>(map: &mut M, next: Option<&Bytes>) -> Result<(), M::Error> {
    match next {
        Some(key) => key_field(map, "next", key),
        None => map.serialize_entry("next", &()),
    }
}
