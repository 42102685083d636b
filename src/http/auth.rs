//! Who may use the routes. Not responsible for peers: links authenticate themselves.
//!
//! Without a token there is still one stranger to keep out: a web page that the user of this machine looks at. Its
//! requests carry its own origin, or (when its name was pointed at this machine) its own host name.

use super::error::ApiError;
use super::ui;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

/// Open to all, so that probes need no token, and tools can see what there is to ask.
pub(super) const OPEN: [&str; 5] = ["/livez", "/healthz", "/readyz", "/version", "/openapi.json"];

/// What a request must show.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// This bearer token, known by its hash only. Clones share it.
    Token(Arc<RwLock<blake3::Hash>>),
    /// Nothing; `loopback` when only this machine can reach the routes.
    Anonymous {
        /// Requests must then be addressed to this machine, too.
        loopback: bool,
    },
}

impl Access {
    pub(crate) fn token(token: &str) -> Self {
        Self::Token(Arc::new(RwLock::new(blake3::hash(token.as_bytes()))))
    }

    /// Another token from now on, where one is needed.
    pub(crate) fn set_token(&self, token: &str) {
        if let Self::Token(expected) = self {
            *expected.write().unwrap_or_else(PoisonError::into_inner) = blake3::hash(token.as_bytes());
        }
    }

    pub(crate) fn anonymous(http: SocketAddr) -> Self {
        Self::Anonymous { loopback: http.ip().is_loopback() }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match self {
            Self::Token(expected) => check_token(*expected.read().unwrap_or_else(PoisonError::into_inner), headers),
            Self::Anonymous { loopback } => check_browser(*loopback, headers),
        }
    }
}

/// Lets a request through, or answers it.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) || ui::is_open(path) {
        return next.run(request).await;
    }
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Hashes are compared in constant time, whatever was sent.
fn check_token(expected: blake3::Hash, headers: &HeaderMap) -> Result<(), ApiError> {
    let scheme_and_token = text(headers, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let token = scheme_and_token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    match token {
        Some(token) if blake3::hash(token.trim().as_bytes()) == expected => Ok(()),
        Some(_) => Err(unauthorized("the token is not the one of this node")),
        None => Err(unauthorized("send \"Authorization: Bearer TOKEN\", with the token of --http-token-file")),
    }
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn check_browser(loopback: bool, headers: &HeaderMap) -> Result<(), ApiError> {
    let host = text(headers, &header::HOST).unwrap_or_default();
    if loopback && !is_this_machine(host) {
        return Err(forbidden(format!("{host:?} is no address of this machine")));
    }
    match text(headers, &header::ORIGIN) {
        Some(origin) if origin.split_once("://").is_none_or(|(_, name)| name != host) => {
            Err(forbidden(format!("web pages of {origin} may not use this node")))
        }
        _ => Ok(()),
    }
}

fn forbidden(message: String) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
}

/// A name that a stranger could have pointed here is none; requests without a name come from no browser.
fn is_this_machine(host: &str) -> bool {
    let name = host.parse::<SocketAddr>().map(|a| a.ip().to_string());
    let name = name.as_deref().unwrap_or_else(|_| host.rsplit_once(':').map_or(host, |(name, _)| name));
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_the_right_token_opens() {
        let access = Access::token("open sesame");
        assert!(access.check(&headers(&[("authorization", "Bearer open sesame")])).is_ok());
        for wrong in ["Bearer open", "Basic open sesame", "Bearer", "open sesame"] {
            assert!(access.check(&headers(&[("authorization", wrong)])).is_err(), "{wrong}");
        }
        assert!(access.check(&headers(&[])).is_err());
    }

    #[test]
    fn another_token_opens_once_it_is_set() {
        let access = Access::token("old");
        access.clone().set_token("new");
        assert!(access.check(&headers(&[("authorization", "Bearer new")])).is_ok());
        assert!(access.check(&headers(&[("authorization", "Bearer old")])).is_err());
    }

    #[test]
    fn a_web_page_from_elsewhere_is_kept_out_and_the_own_one_is_not() {
        let access = Access::Anonymous { loopback: true };
        let check = |pairs: &[_]| access.check(&headers(pairs)).is_ok();
        assert!(check(&[("host", "127.0.0.1:7480")]));
        assert!(check(&[("host", "localhost:7480"), ("origin", "http://localhost:7480")]));
        assert!(check(&[("host", "[::1]:7480")]));
        assert!(!check(&[("host", "127.0.0.1:7480"), ("origin", "http://evil.example")]));
        assert!(!check(&[("host", "127.0.0.1:7480"), ("origin", "null")]));
        assert!(!check(&[("host", "evil.example:7480")]));
    }

    #[test]
    fn beyond_loopback_any_host_name_is_fine() {
        let access = Access::Anonymous { loopback: false };
        assert!(access.check(&headers(&[("host", "node1.example:7480")])).is_ok());
    }
}
