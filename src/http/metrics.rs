//! `GET /metrics`, and the counting of requests. Not responsible for the store's figures: the store tells those.

use super::App;
use super::error::ApiError;
use super::request::Query;
use crate::metrics::Text;
use crate::proto::meters::Histogram;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The route of what is nowhere.
const NO_ROUTE: &str = "none";
const MICROS: f64 = 1e6;

/// Requests that were answered.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<String, Route>>);

/// Those of one route.
#[derive(Debug, Default)]
struct Route {
    answered: BTreeMap<(&'static str, u16), u64>,
    micros: Histogram<12>,
}

impl Requests {
    fn count(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        let Some(route) = routes.get_mut(route) else { return };
        *route.answered.entry((name(method), status.as_u16())).or_default() += 1;
        route.micros.add_micros(took);
    }

    fn tell(&self, text: &mut Text) {
        let routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = text.counter("tidings_http_requests_total", "Requests that were answered.");
        for (path, route) in &*routes {
            for ((method, status), count) in &route.answered {
                let labels = [("route", path.as_str()), ("method", *method), ("status", &status.to_string())];
                family = family.with(&labels, count);
            }
        }
        let help = "Until the answer began: streams go on after that.";
        let mut family = text.histogram("tidings_http_request_seconds", help);
        for (path, route) in &*routes {
            family = family.spread(&[("route", path)], &route.micros, MICROS);
        }
    }
}

/// One of few, whatever a client sends.
fn name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
    known.into_iter().find(|name| method == name).unwrap_or("other")
}

/// Counts a request by the route that it matched, refused ones too.
pub(super) async fn measure(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().replace("{*", "{"));
    let (method, begun) = (request.method().clone(), Instant::now());
    let response = next.run(request).await;
    requests.count(path.as_deref().unwrap_or(NO_ROUTE), &method, response.status(), begun.elapsed());
    response
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let mut text = Text::default();
    app.store.tell(&mut text);
    app.requests.tell(&mut text);
    tell_process(&mut text);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text.into_string()).into_response())
}

/// Under the names that all programs have for it, where the system tells.
fn tell_process(text: &mut Text) {
    if let Some(bytes) = resident_bytes() {
        text.gauge("process_resident_memory_bytes", "Memory of the process, all that is in it.").is(bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Files and sockets that the process has open.").is(open.count());
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_route_method_and_status() {
        let requests = Requests::default();
        let took = Duration::from_millis(3);
        requests.count("/v1/kv/{key}", &Method::PUT, StatusCode::CREATED, took);
        requests.count("/v1/kv/{key}", &Method::PUT, StatusCode::CREATED, took);
        requests.count(NO_ROUTE, &Method::from_bytes(b"BREW").expect("a method"), StatusCode::NOT_FOUND, took);
        let mut text = Text::default();
        requests.tell(&mut text);
        let text = text.into_string();
        for line in [
            r#"tidings_http_requests_total{route="/v1/kv/{key}",method="PUT",status="201"} 2"#,
            r#"tidings_http_requests_total{route="none",method="other",status="404"} 1"#,
            r#"tidings_http_request_seconds_bucket{route="/v1/kv/{key}",le="0.0025"} 0"#,
            r#"tidings_http_request_seconds_bucket{route="/v1/kv/{key}",le="0.005"} 2"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
