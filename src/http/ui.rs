//! The dashboard: one page and its parts, as they were when this was built. Not responsible for what it shows: it asks the
//! routes of `/v1`, as any client does.
//!
//! The page itself is open to all and says nothing about the node; where the routes demand a token, it asks for it.

use super::App;
use super::error::ApiError;
use super::request::key;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};

/// Where it is.
pub(super) const HOME: &str = "/ui/";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type and text of each part; the page is the one without a name.
const PARTS: [(&str, &str, &str); 10] = [
    ("", HTML, include_str!("ui/index.html")),
    ("style.css", CSS, include_str!("ui/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("ui/icon.svg")),
    ("main.js", SCRIPT, include_str!("ui/main.js")),
    ("api.js", SCRIPT, include_str!("ui/api.js")),
    ("dom.js", SCRIPT, include_str!("ui/dom.js")),
    ("picture.js", SCRIPT, include_str!("ui/picture.js")),
    ("traffic.js", SCRIPT, include_str!("ui/traffic.js")),
    ("keys.js", SCRIPT, include_str!("ui/keys.js")),
    ("changes.js", SCRIPT, include_str!("ui/changes.js")),
];

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its parts. `/` leads there, unless somebody else owns it. The page asks whether it is of a demo, for the
/// routes that only a demo has.
pub(super) fn routes(owns_root: bool, is_demo: bool) -> Router<App> {
    let routes = Router::new()
        .route("/ui", get(lead))
        .route(HOME, get(part))
        .route("/ui/demo.json", get(move || async move { Json(is_demo) }))
        .route("/ui/{part}", get(part));
    if owns_root { routes.route("/", get(lead)) } else { routes }
}

/// Whether a path may be asked for without a token.
pub(super) fn is_open(path: &str) -> bool {
    path == "/ui" || path.starts_with(HOME)
}

/// To the page.
pub(super) async fn lead() -> Redirect {
    Redirect::temporary(HOME)
}

async fn part(uri: Uri) -> Result<Response, ApiError> {
    let name = key(&uri, HOME);
    let found = PARTS.iter().find(|(part, ..)| part.as_bytes() == &*name);
    let missing = || ApiError::not_found(format!("the dashboard has no part {:?}", String::from_utf8_lossy(&name)));
    let (_, kind, text) = found.ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, *kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, *text).into_response())
}

/// Whether a client would rather have a page than JSON: browsers say so.
pub(super) fn prefers_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("*/*");
    let weight = |names: [&str; 3]| names.iter().find_map(|name| weight_of(accept, name)).unwrap_or(0.0);
    weight(["text/html", "text/*", "*/*"]) > weight(["application/json", "application/*", "*/*"])
}

/// How much a type is wanted, if it is named.
fn weight_of(accept: &str, name: &str) -> Option<f32> {
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let same = parts.next()?.eq_ignore_ascii_case(name);
        let weight = || parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
        same.then(weight)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_prefer_a_page_and_programs_do_not() {
        let prefers = |accept: Option<&'static str>| {
            let headers = accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept)));
            prefers_page(&headers.into_iter().collect())
        };
        assert!(prefers(Some("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8")));
        assert!(prefers(Some("text/html")));
        for program in
            [None, Some("*/*"), Some("application/json"), Some("application/json, text/html;q=0.5"), Some("?")]
        {
            assert!(!prefers(program), "{program:?}");
        }
    }

    #[test]
    fn the_parts_are_what_the_page_asks_for_and_name_no_other_host() {
        for (name, kind, text) in PARTS {
            let strangers = text.replace("http://www.w3.org/", "");
            assert!(!strangers.contains("http://") && !strangers.contains("https://"), "{name} names another host");
            assert!(kind == HTML || !text.contains("<script"), "{name}");
            assert!(text.lines().count() <= 300, "{name} is too long: split it");
            let asked = text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
            asked.for_each(|part| assert!(PARTS.iter().any(|(name, ..)| *name == part), "{name} asks for {part}"));
        }
        let page = PARTS[0].2;
        for inline in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!page.contains(inline), "the policy forbids {inline}");
        }
    }
}
