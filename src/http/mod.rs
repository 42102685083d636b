//! HTTP, version 1. Not responsible for any rule of the data: a route reads a request, asks the store, and writes down
//! the answer.
//!
//! | file | |
//! | --- | --- |
//! | `request`, `error`, `values`, `duration`, `lines` | what routes share: how things are read and told |
//! | `reading`, `writing`, `transfer`, `checkpoint`, `cluster`, `health`, `watch`, `events` | the routes |
//! | `sse` | answers that go on, event by event |
//! | `session` | what a client has seen, as a token |
//! | `ui` | the dashboard |
//! | `demo` | what only a demo has |
//! | `metrics` | figures for monitoring, and the counting of requests |
//! | `routes` | the table of them all, which `openapi.json` documents |
//! | `kvs`, `cache`, `compat` | routes for clients of other programs, where the settings ask for them |
//! | `auth` | who may use them |
//! | `server` | the listening socket and its end |

mod auth;
mod cache;
mod checkpoint;
mod cluster;
mod compat;
mod demo;
mod diff;
pub(crate) mod duration;
mod error;
mod events;
mod health;
mod kvs;
mod lines;
mod metrics;
mod reading;
mod request;
mod routes;
mod server;
mod session;
mod sse;
mod transfer;
mod ui;
pub(crate) mod values;
mod watch;
mod writing;

use crate::Store;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use error::ApiError;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

pub(crate) use auth::Access;
pub(crate) use compat::Compat;
pub(crate) use demo::Demo;
pub(crate) use metrics::Requests;
pub(crate) use server::serve;
pub(crate) use writing::Limits;

/// No answer takes longer, streams aside.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// What routes work with.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    /// Ends the node, once the requests under way are answered.
    pub(crate) ending: CancellationToken,
    pub(crate) requests: Arc<Requests>,
}

/// All routes, for those who have access.
pub(crate) fn router(app: App, access: Access, compat: Compat, demo: Option<&Demo>) -> Router {
    let nosniff = HeaderValue::from_static("nosniff");
    let requests = app.requests.clone();
    let (streams, at_once): (Vec<_>, Vec<_>) = routes::all().into_iter().partition(|route| route.streams);
    routes::router(at_once)
        .layer(middleware::from_fn(in_time))
        .merge(routes::router(streams))
        .merge(compat.routes())
        .merge(ui::routes(!compat.cache, demo.is_some()))
        .merge(demo.map(demo::routes).unwrap_or_default())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
        .layer(middleware::from_fn_with_state(Arc::new(access), auth::guard))
        .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, nosniff))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(compat, compat::reshape))
        .layer(middleware::from_fn_with_state(requests, metrics::measure))
}

async fn in_time(request: Request, next: Next) -> Response {
    let late = |_| ApiError::unavailable("timeout", "the store took too long").into_response();
    tokio::time::timeout(ANSWER_TIME_MAX, next.run(request)).await.unwrap_or_else(late)
}

async fn unknown_route(request: Request) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}", request.uri().path()))
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} has no {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", "this is a bug of the node; its log says more")
        .into_response()
}
