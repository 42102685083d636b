//! What probes and tools ask. Not responsible for details: `/v1/status` has them, for those who may see them.

use super::App;
use super::error::ApiError;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// All routes of `/v1`, for programs; a test holds it equal to the router.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// `GET /livez`, and `/healthz` for those who know it by that name: the process answers.
pub(super) async fn livez() -> Response {
    Json(json!({ "live": true })).into_response()
}

/// `GET /readyz`: storage open, and first sync done or nobody to sync with.
pub(super) async fn readyz(State(app): State<App>) -> Result<Response, ApiError> {
    app.store.ready().map_err(|reason| ApiError::unavailable("not_ready", reason))?;
    Ok(Json(json!({ "ready": true })).into_response())
}

/// `GET /version`
pub(super) async fn version() -> Response {
    Json(json!({ "name": "tidings", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
