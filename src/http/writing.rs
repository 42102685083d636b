//! `PUT` and `DELETE` of one key. Not responsible for the many of an import.

use super::App;
use super::duration::parse_ttl;
use super::error::ApiError;
use super::reading::absent;
use super::request::{Query, body, key};
use super::session;
use crate::Error;
use crate::{Durability, PutOptions, Written};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

/// `PUT /v1/kv/{key}`: the body is the value, whatever its type is said to be.
pub(super) async fn put(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, ApiError> {
    let query = Query::parse(&uri, &["ttl", "durability", "wait"])?;
    let key = key(&uri, "/v1/kv/");
    app.limits.check_key(&key)?;
    // before the body is read, which may take long
    put_options(&query)?;
    let max = app.limits.value_bytes_max;
    let Some(value) = body(sent, max).await? else {
        return Err(ApiError::too_large("value_too_large", format!("a value has at most {max} bytes")));
    };
    session::reached(&app, &headers, &query).await?;
    let written = app.store.put_with(&key, value, put_options(&query)?).await?;
    let status = if written.replaced { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
    Ok(answer(&app, status, &written).await)
}

/// `DELETE /v1/kv/{key}`
pub(super) async fn delete(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let query = Query::parse(&uri, &["wait"])?;
    let key = key(&uri, "/v1/kv/");
    app.limits.check_key(&key)?;
    session::reached(&app, &headers, &query).await?;
    match app.store.delete(&key).await? {
        Some(written) => Ok(answer(&app, StatusCode::NO_CONTENT, &written).await),
        None => session::answer(&app, &headers, &app.store.read_with_session(&*key).await.1, absent()).await,
    }
}

fn put_options(query: &Query) -> Result<PutOptions, ApiError> {
    let mut options = PutOptions::default();
    if let Some(ttl) = query.parsed("ttl", parse_ttl)? {
        options = options.ttl(ttl);
    }
    if let Some(durability) = query.parsed("durability", parse_durability)? {
        options = options.durability(durability);
    }
    Ok(options)
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    match text {
        "immediate" => Ok(Durability::Immediate),
        "eventual" => Ok(Durability::Eventual),
        other => Err(format!("{other:?} is neither immediate nor eventual")),
    }
}

/// The write is done: that is said even if there is no token to be had.
async fn answer(app: &App, status: StatusCode, written: &Written) -> Response {
    let dot = [("tidings-dot", written.dot.to_string())];
    session::with_token(app, &written.session, (status, dot)).await
}

/// What keys and values may be at most, for refusals before anything is read or written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) key_bytes_max: usize,
    pub(crate) value_bytes_max: usize,
}

impl Limits {
    pub(crate) const fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        match key.len() {
            0 => Err(Error::KeyEmpty),
            len if len > self.key_bytes_max => Err(Error::KeyTooLong { len, max: self.key_bytes_max }),
            _ => Ok(()),
        }
    }

    pub(crate) const fn check_value(&self, value: &[u8]) -> Result<(), Error> {
        match value.len() {
            len if len > self.value_bytes_max => Err(Error::ValueTooLarge { len, max: self.value_bytes_max }),
            _ => Ok(()),
        }
    }
}
