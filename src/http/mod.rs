//! HTTP, version 1. Not responsible for any rule of the data: a route reads a request, asks the store, and writes down
//! the answer.
//!
//! | file | |
//! | --- | --- |
//! | `request`, `error`, `values`, `duration`, `lines` | what routes share: how things are read and told |
//! | `reading`, `writing`, `transfer`, `checkpoint`, `cluster`, `health`, `watch` | the routes |
//! | `auth` | who may use them |
//! | `server` | the listening socket and its end |

mod auth;
mod checkpoint;
mod cluster;
pub(crate) mod duration;
mod error;
mod health;
mod lines;
mod reading;
mod request;
mod server;
mod transfer;
pub(crate) mod values;
mod watch;
mod writing;

use crate::Store;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use error::ApiError;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

pub(crate) use auth::Access;
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
}

/// All routes, for those who have access.
pub(crate) fn router(app: App, access: Access) -> Router {
    let nosniff = HeaderValue::from_static("nosniff");
    timed()
        .merge(streams())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
        .layer(middleware::from_fn_with_state(Arc::new(access), auth::guard))
        .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, nosniff))
        .layer(CatchPanicLayer::custom(panicked))
}

/// Routes that answer at once.
fn timed() -> Router<App> {
    let key = get(reading::get_usr).put(writing::put).delete(writing::delete);
    Router::new()
        .route("/v1/kv", get(reading::list_usr))
        .route("/v1/kv/", key.clone())
        .route("/v1/kv/{*key}", key)
        .route("/v1/sys", get(reading::list_sys))
        .route("/v1/sys/", get(reading::get_sys))
        .route("/v1/sys/{*key}", get(reading::get_sys))
        .route("/v1/members", get(cluster::members))
        .route("/v1/peers", get(cluster::peers).post(cluster::add_peer))
        .route("/v1/peers/{peer}", delete(cluster::remove_peer))
        .route("/v1/status", get(cluster::status))
        .route("/v1/leave", post(cluster::leave))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/version", get(health::version))
        .layer(middleware::from_fn(in_time))
}

/// Routes that take as long as there is data.
fn streams() -> Router<App> {
    Router::new()
        .route("/v1/import", post(transfer::import))
        .route("/v1/export", get(transfer::export))
        .route("/v1/watch", get(watch::watch))
        .route("/v1/checkpoint", get(checkpoint::checkpoint))
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
