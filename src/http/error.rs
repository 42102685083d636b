//! Errors as HTTP answers: `{"error":{"code","message"}}`. Not responsible for what went wrong, only for how it is told.

use crate::Error;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What a request is refused with.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// The part of a refusal that programs read.
#[derive(Serialize)]
struct Body<'a> {
    error: Described<'a>,
}

#[derive(Serialize)]
struct Described<'a> {
    code: &'a str,
    message: &'a str,
}

/// Goes with a refusal, for routes that tell it in a form of their own.
#[derive(Clone, Debug)]
pub(super) struct Told(pub(super) String);

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn too_large(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
    }

    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::KeyTooLong { .. } => Self::too_large("key_too_long", message),
            Error::ValueTooLarge { .. } => Self::too_large("value_too_large", message),
            Error::KeyEmpty | Error::InvalidAddress { .. } | Error::InvalidConfig { .. } => Self::bad_request(message),
            Error::Value { .. } => Self::bad_request(message),
            Error::BadSession { .. } => Self::new(StatusCode::BAD_REQUEST, "bad_session", message),
            Error::SessionTooLong => Self::unavailable("syncing", message),
            Error::BadCursor => Self::new(StatusCode::BAD_REQUEST, "bad_cursor", message),
            Error::NotYetHere => Self::unavailable("not_yet_here", message),
            Error::Closed | Error::Interrupted => Self::unavailable("closed", message),
            Error::ReadOnly { .. } => Self::unavailable("read_only", message),
            Error::Storage { .. } => Self::unavailable("storage", message),
            Error::NotDurable { .. } => Self::unavailable("not_durable", message),
            Error::InMemory => Self::new(StatusCode::CONFLICT, "in_memory", message),
            Error::InUse { .. }
            | Error::NewerFormat { .. }
            | Error::WrongDirectory { .. }
            | Error::Damaged { .. }
            | Error::Listen { .. }
            | Error::Io { .. } => Self::unavailable("unavailable", message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(Body { error: Described { code: self.code, message: &self.message } });
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(Told(self.message));
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
