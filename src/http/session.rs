//! Causal sessions over HTTP: the token that a request shows, and the one that its answer gives. Not responsible for
//! what a session has seen: the store is.

use super::App;
use super::duration;
use super::error::ApiError;
use super::request::Query;
use crate::Session;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

pub(super) const TOKEN: HeaderName = HeaderName::from_static("tidings-session");

/// No request waits longer for what its session has seen, whatever it says: an answer must come before the time of any.
const WAIT_MAX: Duration = Duration::from_secs(50);

/// Returns when this node has all that the request's session has seen; `?wait=` says how long that may take.
pub(super) async fn reached(app: &App, headers: &HeaderMap, query: &Query) -> Result<(), ApiError> {
    let wait = query.parsed("wait", duration::parse)?.unwrap_or_default();
    let Some(token) = headers.get(TOKEN) else { return Ok(()) };
    let session = app.store.session_of(token.to_str().unwrap_or("?"))?;
    Ok(app.store.wait_for(&session, wait.min(WAIT_MAX)).await?)
}

/// The answer to a read, with the token of what its client has seen now. Who does not use sessions is answered also where
/// there is no token to be had.
pub(super) async fn answer(
    app: &App,
    headers: &HeaderMap,
    seen: &Session,
    answer: impl IntoResponse,
) -> Result<Response, ApiError> {
    match app.store.token_of(seen).await {
        Ok(token) => Ok(insert(answer.into_response(), &token)),
        Err(error) if headers.contains_key(TOKEN) => Err(error.into()),
        Err(_) => Ok(answer.into_response()),
    }
}

/// The answer to a write, with its token if there is one.
pub(super) async fn with_token(app: &App, seen: &Session, answer: impl IntoResponse) -> Response {
    match app.store.token_of(seen).await {
        Ok(token) => insert(answer.into_response(), &token),
        Err(_) => answer.into_response(),
    }
}

fn insert(mut response: Response, token: &str) -> Response {
    let value = HeaderValue::from_str(token).expect("letters and digits");
    response.headers_mut().insert(TOKEN, value);
    response
}
