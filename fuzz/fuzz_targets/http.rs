//! All routes of a node, those of other programs too, with any method, path, query, headers and body. Each request is
//! answered: what is refused in JSON, nothing by a bug; what was put can be got; tokens and cursors that were given are
//! taken. The node is cut off from the network, and its clock for waiting runs ahead by itself.

#![no_main]

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, Uri, header};
use futures_util::StreamExt;
use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;
use tidings::cli::fuzzing;
use tidings::{Config, Secret, Store};
use tidings_fuzz::{Draw, with_length, within};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// A store of its own for each input would take nearly all of the time.
const INPUTS_MAX: u32 = 500;
const REQUESTS_MAX: usize = 12;
const MEMORY: usize = 128 << 20;
const KEY_BYTES_MAX: usize = 300;
const VALUE_BYTES_MAX: usize = 2_000;
/// Of an answer that goes on.
const CHUNKS_MAX: usize = 4;

const METHODS: [Method; 6] = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD, Method::PATCH];
const PATHS: [&str; 31] = [
    "/v1/kv/",
    "/v1/kv",
    "/v1/sys/",
    "/v1/sys",
    "/v1/members",
    "/v1/view",
    "/v1/peers",
    "/v1/peers/",
    "/v1/status",
    "/v1/diff",
    "/v1/import",
    "/v1/export",
    "/v1/watch",
    "/v1/events",
    "/v1/broadcast",
    "/v1/checkpoint",
    "/v1/leave",
    "/metrics",
    "/readyz",
    "/version",
    "/openapi.json",
    "/ui/",
    "/kvs/",
    "/kvs",
    "/view",
    "/get/",
    "/set",
    "/delete/",
    "/localcache",
    "/disconnect",
    "",
];
const QUERIES: [&str; 10] =
    ["ttl", "durability", "wait", "siblings", "prefix", "start", "limit", "after", "unknown", "key"];

tidings_fuzz::target!(seeds, run);

struct Node {
    runtime: Runtime,
    store: Store,
    routes: Router,
    inputs: u32,
    is_over: bool,
}

/// What an answer gave that later requests can carry.
#[derive(Default)]
struct Given {
    tokens: Vec<Vec<u8>>,
    cursors: Vec<Vec<u8>>,
}

fn run(input: &[u8]) {
    thread_local! {
        static NODE: RefCell<Option<Node>> = const { RefCell::new(None) };
    }
    NODE.with_borrow_mut(|kept| {
        let node = kept.get_or_insert_with(Node::start);
        node.inputs += 1;
        within(MEMORY, || node.requests(&mut Draw::new(input)));
        if node.is_over || node.inputs == INPUTS_MAX {
            kept.take().into_iter().for_each(Node::end);
        }
    });
}

impl Node {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let secret: Secret = "07".repeat(32).parse().expect("64 digits");
        let config = Config::builder().in_memory().name("one").listen("127.0.0.1:0").secret(secret);
        let config = config.key_bytes_max(KEY_BYTES_MAX).value_bytes_max(VALUE_BYTES_MAX);
        let (store, routes) = runtime.block_on(async {
            let (store, routes, _) = fuzzing::open(config.build().expect("settings")).await.expect("a store");
            // No address that an input has is dialled, and nothing leaves this machine.
            store.cut_switch().cut();
            store.disconnect().await.expect("an open store");
            (store, routes)
        });
        Self { runtime, store, routes, inputs: 0, is_over: false }
    }

    fn end(self) {
        self.runtime.block_on(self.store.close());
    }

    fn requests(&mut self, draw: &mut Draw<'_>) {
        let mut given = Given::default();
        for _ in 0..REQUESTS_MAX {
            if draw.is_over() {
                break;
            }
            let Some(request) = drawn(draw, &given) else { continue };
            self.is_over |= request.uri().path().starts_with("/v1/leave");
            self.request(request, &mut given);
            let key = [draw.byte()];
            if !self.is_over && key[0] < 32 {
                self.put_and_get(&key, draw.bytes());
            }
        }
    }

    fn request(&self, request: Request<Body>, given: &mut Given) {
        let asked = format!("{} {}", request.method(), request.uri());
        let is_head = request.method() == Method::HEAD;
        self.runtime.block_on(async {
            let answer = self.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            let status = answer.status();
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{asked}");
            given.tokens.extend(answer.headers().get("tidings-session").map(|token| token.as_bytes().to_vec()));
            let is_json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
            let (body, is_whole) = taken(answer.into_body()).await;
            if is_json && is_whole && !is_head {
                let json = serde_json::from_slice::<serde_json::Value>(&body);
                assert!(json.is_ok(), "{asked}: {status}, {}", String::from_utf8_lossy(&body));
            }
            if (status.is_client_error() || status.is_server_error()) && !is_head {
                assert!(is_json || status == StatusCode::PAYLOAD_TOO_LARGE, "{asked}: {status} in other words");
            }
            let ids = body.split(|&b| b == b'\n').filter_map(|line| line.strip_prefix(b"id: "));
            given.cursors.extend(ids.map(<[u8]>::to_vec));
        });
    }

    fn put_and_get(&self, key: &[u8], value: &[u8]) {
        let Ok(written) = self.runtime.block_on(self.store.put(key, value.to_vec())) else {
            return assert!(value.len() > VALUE_BYTES_MAX, "a value that is not too long");
        };
        let uri = format!("/v1/kv/%{:02x}", key[0]);
        self.runtime.block_on(async {
            let request = Request::get(&uri).body(Body::empty()).expect("a request");
            let answer = self.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            assert_eq!(answer.status(), StatusCode::OK);
            let dot = answer.headers()["tidings-dot"].to_str().expect("text").to_owned();
            assert_eq!(dot, written.dot.to_string());
            assert_eq!(taken(answer.into_body()).await.0, value);
        });
    }
}

/// The first of an answer, and whether that is all.
async fn taken(body: Body) -> (Vec<u8>, bool) {
    let (mut stream, mut bytes) = (body.into_data_stream(), Vec::new());
    for _ in 0..CHUNKS_MAX {
        match tokio::time::timeout(Duration::from_secs(40), stream.next()).await {
            Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
            Ok(Some(Err(_)) | None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, false)
}

/// A request, if what was drawn can be one at all.
fn drawn(draw: &mut Draw<'_>, given: &Given) -> Option<Request<Body>> {
    let (method, path, about) = (draw.pick(&METHODS).clone(), *draw.pick(&PATHS), draw.byte());
    let has = |bit: u8| about >> bit & 1 == 1;
    let mut uri = path.as_bytes().to_vec();
    uri.extend(if has(0) { encoded(draw.bytes()) } else { draw.bytes().to_vec() });
    for number in 0..draw.below(4) {
        uri.push(if number == 0 { b'?' } else { b'&' });
        uri.extend_from_slice(draw.pick(&QUERIES).as_bytes());
        uri.push(b'=');
        uri.extend(if has(1) { encoded(draw.bytes()) } else { draw.bytes().to_vec() });
    }
    if has(2)
        && let Some(cursor) = given.cursors.last()
    {
        uri.extend_from_slice(b"?after=");
        uri.extend_from_slice(cursor);
    }
    let uri = Uri::try_from(uri).ok()?;
    // It links the node again, which then would dial.
    if uri.path() == "/" {
        return None;
    }
    let mut request = Request::builder().method(method).uri(uri);
    if has(3) {
        request = request.header("tidings-session", spoilt(given.tokens.last(), draw));
    }
    if has(4) {
        request = request.header("last-event-id", spoilt(given.cursors.last(), draw));
    }
    if has(5) {
        request = request.header(header::CONTENT_TYPE, draw.bytes());
    }
    request.body(if has(6) { in_chunks(draw.bytes()) } else { Body::from(draw.bytes().to_vec()) }).ok()
}

/// What was given; or with another byte; or something else.
fn spoilt(given: Option<&Vec<u8>>, draw: &mut Draw<'_>) -> Vec<u8> {
    match (draw.byte() % 3, given) {
        (0, Some(given)) => given.clone(),
        (1, Some(given)) if !given.is_empty() => {
            let mut other = given.clone();
            let at = usize::from(draw.byte()) % other.len();
            other[at] = draw.byte();
            other
        }
        _ => draw.bytes().to_vec(),
    }
}

fn encoded(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect()
}

fn in_chunks(bytes: &[u8]) -> Body {
    let chunks: Vec<_> = bytes.chunks(7).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
    Body::from_stream(futures_util::stream::iter(chunks))
}

fn seeds() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 8] = [
        b"",
        b"a value",
        br#"{"address":"10.0.0.1:7400"}"#,
        b"{\"key\":\"k\",\"value\":{\"a\": 1}}\n{\"key_base64\":\"/w==\",\"text\":\"t\",\"ttl\":3}\n",
        br#"{"value":[1,2],"causal-metadata":null}"#,
        br#"{"value":"v","causal-metadata":"AQ"}"#,
        br#"{"socket-address":"10.0.0.1:80"}"#,
        br#"{"id":"00000000000000000000000000000001","name":"a","context":{"00000000000000000000000000000001":3},"truncated":{},"audit":{"context":"0","state":"0"},"pending":0,"symbols_base64":"CwEB"}"#,
    ];
    // A token or a cursor as it was given, with another byte, and something else.
    let carried = [vec![0], vec![1, 3, b'!'], [&[2][..], &with_length(b"AQ-_!")].concat()];
    let wait = [&[1, 2][..], &with_length(b"10ms")].concat();
    let mut seeds = Vec::new();
    for path in 0..PATHS.len() as u8 {
        for method in 0..4 {
            let seed = |about, query: &[u8], carried: &[u8], body| request((method, path, about), query, carried, body);
            seeds.push(bodies.iter().flat_map(|body| seed(0, &[0], &[], body)).collect());
            let first = seed(0, &[0], &[], b"v");
            seeds.extend(carried.iter().map(|carried| {
                let (token, cursor) = (seed(0b1000, &wait, carried, b"v"), seed(0b1_0000, &[0], carried, b"v"));
                [&first[..], &token, &cursor].concat()
            }));
        }
    }
    let ttl = [&[2, 0][..], &with_length(b"1m"), &[1], &with_length(b"eventual")].concat();
    seeds.push(request((1, 0, 0), &ttl, &[], b"for now"));
    seeds
}

/// Of a key, where the route has one; after it a value is put beside.
fn request((method, path, about): (u8, u8, u8), query: &[u8], carried: &[u8], body: &[u8]) -> Vec<u8> {
    let key: &[u8] = if PATHS[usize::from(path)].ends_with('/') { b"k" } else { b"" };
    let beside = with_length(b"beside");
    [&[method, path, about][..], &with_length(key), query, carried, &with_length(body), &[9], &beside].concat()
}
