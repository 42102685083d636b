//! What the compatibility routes share: whose form an answer has, how a body is read, how bytes are shown. Not responsible
//! for any of the routes: `kvs` and `cache` are.

use super::error::{ApiError, Told};
use super::request::body;
use super::{App, cache, kvs};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Paths that keep their own form beside routes that own everything else.
const OWN: [&str; 8] = ["/v1", "/livez", "/readyz", "/healthz", "/version", "/metrics", "/openapi.json", "/ui"];

/// What a body may have beside its value: names, a key, a token, white space.
const SLACK_BYTES: usize = 64 * 1024;

/// Which compatibility routes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compat {
    /// The causal key-value routes.
    pub(crate) kvs: bool,
    /// The cache routes.
    pub(crate) cache: bool,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Api,
    Kvs,
    Cache,
}

impl Compat {
    pub(super) fn routes(self) -> Router<App> {
        let mut routes = Router::new();
        if self.kvs {
            routes = routes.merge(kvs::routes());
        }
        if self.cache {
            routes = routes.merge(cache::routes());
        }
        routes.layer(middleware::from_fn(super::in_time))
    }

    /// Whose a path is: the cache routes own all that is nobody else's.
    fn form(self, path: &str) -> Form {
        let within =
            |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if self.kvs && kvs::PATHS.iter().any(within) {
            Form::Kvs
        } else if self.cache && !OWN.iter().any(within) {
            Form::Cache
        } else {
            Form::Api
        }
    }
}

/// Gives refusals the form of the routes that the path belongs to, whoever refused: access, limits and time included.
pub(super) async fn reshape(State(compat): State<Compat>, request: Request, next: Next) -> Response {
    let form = compat.form(request.uri().path());
    let mut response = next.run(request).await;
    let told = if form == Form::Api { None } else { response.extensions_mut().remove::<Told>() };
    let Some(Told(message)) = told else { return response };
    let text = match form {
        Form::Cache => json!({ "data": null, "message": message, "success": false }),
        Form::Kvs | Form::Api => json!({ "error": message }),
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(text.to_string()))
}

/// A body; refused in words that fit every route if it is too large.
pub(super) async fn whole_body(app: &App, sent: Body) -> Result<Bytes, ApiError> {
    let max = app.limits.value_bytes_max.saturating_add(SLACK_BYTES);
    let refuse = || ApiError::too_large("body_too_large", format!("a body has at most {max} bytes"));
    body(sent, max).await?.ok_or_else(refuse)
}

/// The fields of a JSON object, of equal names the last. An empty body has none.
pub(super) fn fields(text: &[u8]) -> Result<BTreeMap<String, &RawValue>, String> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_slice(text).map_err(|error| format!("the body is no JSON object: {error}"))
}

/// A field that has to be a string, if it is there.
pub(super) fn string(fields: &BTreeMap<String, &RawValue>, name: &str) -> Result<Option<String>, String> {
    let parse = |raw: &&RawValue| serde_json::from_str(raw.get()).map_err(|_| format!("{name} is no string"));
    fields.get(name).map(parse).transpose()
}

/// Bytes as these routes show them: the JSON text that they are, or else a string.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Plain<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

impl<'a> Plain<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let json = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str(text).ok());
        json.map_or_else(|| Self::Text(String::from_utf8_lossy(bytes)), Self::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_owner() {
        let both = Compat { kvs: true, cache: true };
        let cache = Compat { kvs: false, cache: true };
        for path in ["/kvs/a", "/kvs", "/view"] {
            assert_eq!(both.form(path), Form::Kvs, "{path}");
            assert_eq!(cache.form(path), Form::Cache, "{path}");
            assert_eq!(Compat::default().form(path), Form::Api, "{path}");
        }
        for path in ["/", "/get/a", "/viewer", "/kvsx", "/v1x", "/livezz"] {
            assert_eq!(both.form(path), Form::Cache, "{path}");
        }
        for path in ["/v1", "/v1/kv/a", "/livez", "/readyz", "/version", "/ui/"] {
            assert_eq!(both.form(path), Form::Api, "{path}");
        }
    }

    #[test]
    fn bytes_are_shown_as_the_json_they_are_or_as_a_string() {
        let shown = |bytes: &[u8]| serde_json::to_string(&Plain::of(bytes)).expect("JSON");
        assert_eq!(shown(b"1.50"), "1.50");
        assert_eq!(shown(b"1e400"), "1e400");
        assert_eq!(shown(b"\"a\""), "\"a\"");
        assert_eq!(shown(b" {\"a\": 1}\n"), "{\"a\": 1}");
        assert_eq!(shown(b"hello"), "\"hello\"");
        assert_eq!(shown(b""), "\"\"");
        assert_eq!(shown(b"a\xff"), "\"a\u{fffd}\"");
    }

    #[test]
    fn of_fields_with_one_name_the_last_counts() {
        let fields = fields(br#"{"a":1,"b":[],"a":"two"}"#).expect("an object");
        assert_eq!(string(&fields, "a"), Ok(Some("two".to_owned())));
        assert_eq!(string(&fields, "b"), Err("b is no string".to_owned()));
        assert_eq!(string(&fields, "c"), Ok(None));
        assert!(super::fields(b"[]").is_err_and(|e| e.starts_with("the body is no JSON object: ")));
        assert!(super::fields(b"").expect("nothing").is_empty());
    }
}
