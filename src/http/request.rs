//! What a request says: its key, its query, its body. Not responsible for what is done with them.

use super::error::ApiError;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, Uri};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use std::time::Duration;

/// How long a body may take to arrive. Streams of import are exempt.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How much of a body that is refused is still read, so that the client, which is busy sending, gets to the answer.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The key behind a route's prefix, percent-decoded to bytes; slashes may stand raw.
pub(crate) fn key<'a>(uri: &'a Uri, route: &str) -> std::borrow::Cow<'a, [u8]> {
    let path = uri.path();
    percent_decode_str(path.strip_prefix(route).unwrap_or(path)).into()
}

/// The parameters behind the question mark, as bytes.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Reads them. One that the route does not know, or that is given twice, is refused: a misspelt `ttl` must not
    /// make a value that never expires.
    pub(crate) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8_lossy(&decode(name)).into_owned();
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(ApiError::bad_request(format!("unknown parameter {name:?}; known here: {known}")));
            }
            if query.bytes(&name).is_some() {
                return Err(ApiError::bad_request(format!("the parameter {name:?} is given twice")));
            }
            query.0.push((name, decode(value)));
        }
        Ok(query)
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// A parameter read by `parse`; what it cannot read is refused with the parameter's name.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ApiError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let parsed = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned()).and_then(parse);
        parsed.map(Some).map_err(|problem| ApiError::bad_request(format!("{name}: {problem}")))
    }

    /// `true` or `false`; absent is `false`, present without a value is `true`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let parse = |text: &str| match text {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        };
        Ok(self.parsed(name, parse)?.unwrap_or(false))
    }
}

/// As forms write them: `+` is a space.
fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

/// A whole body of at most `bytes_max`; `None` if it is larger. It arrives in time or not at all.
pub(crate) async fn body(body: Body, bytes_max: usize) -> Result<Option<Bytes>, ApiError> {
    let late = || ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long to arrive");
    tokio::time::timeout(BODY_TIME_MAX, collect(body, bytes_max)).await.map_err(|_| late())?
}

async fn collect(body: Body, bytes_max: usize) -> Result<Option<Bytes>, ApiError> {
    let mut stream = body.into_data_stream();
    let mut whole = bytes::BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if whole.len() + chunk.len() > bytes_max {
            drain(&mut stream).await;
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole.freeze()))
}

/// The client went away, or sent no HTTP.
pub(crate) fn broken(error: &axum::Error) -> ApiError {
    ApiError::bad_request(format!("the body broke off: {error}"))
}

/// Reads what still comes, within bounds, and drops it.
pub(crate) async fn drain(stream: &mut axum::body::BodyDataStream) {
    let drain = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(chunk)) = stream.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(BODY_TIME_MAX, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a URI")
    }

    #[test]
    fn a_key_is_bytes_and_its_slashes_may_stand_raw() {
        assert_eq!(*key(&uri("/v1/kv/a/b%2Fc%ff+"), "/v1/kv/"), *b"a/b/c\xff+");
        assert_eq!(*key(&uri("/v1/kv//a"), "/v1/kv/"), *b"/a");
    }

    #[test]
    fn parameters_are_bytes_too_and_unknown_or_doubled_ones_are_refused() {
        let query = Query::parse(&uri("/x?prefix=a+b%ff&siblings"), &["prefix", "siblings"]).expect("known");
        assert_eq!(query.bytes("prefix"), Some(&b"a b\xff"[..]));
        assert!(query.flag("siblings").expect("a flag"));
        let error = Query::parse(&uri("/x?tll=3s"), &["ttl", "durability"]).expect_err("unknown");
        assert_eq!(error.message(), "unknown parameter \"tll\"; known here: ttl, durability");
        assert!(Query::parse(&uri("/x?ttl=1s&ttl=2s"), &["ttl"]).is_err());
    }
}
