//! Causal sessions over HTTP, at the real binary: what a client has seen it sees at every node. Not responsible for what
//! tokens look like inside.
#![cfg(feature = "cli")]

mod common;

use common::{Answer, Node};
use serde_json::json;

const SECRET: (&str, &str) = ("TIDINGS_SECRET", "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e");

/// Three nodes, the second and third of which join the first.
fn trio() -> [Node; 3] {
    let a = Node::start_with(&["--in-memory"], &[SECRET]);
    let join = |name| Node::start_with(&["--in-memory", "--name", name, "--join", &a.quic], &[SECRET]);
    let (b, c) = (join("b"), join("c"));
    [a, b, c]
}

/// What a client carries from node to node.
fn token(answer: &Answer) -> String {
    answer.header("Tidings-Session").expect("a token").to_owned()
}

#[test]
fn a_session_sees_what_it_has_written_and_read_at_any_node() {
    let [a, b, c] = trio();
    let mut session = token(&a.put("/v1/kv/counter", "0"));
    let nodes = [&a, &b, &c];
    for round in 1..60_usize {
        let (reader, writer) = (nodes[round % 3], nodes[(round * 2) % 3]);
        let read = reader.send("GET", "/v1/kv/counter?wait=10s", &[("Tidings-Session", &session)], "");
        assert_eq!((read.status, read.text()), (200, (round - 1).to_string().as_str()));
        session = token(&read);
        assert!(session.len() <= 4_096);
        let path = "/v1/kv/counter?wait=10s";
        let written = writer.send("PUT", path, &[("Tidings-Session", &session)], round.to_string());
        assert_eq!(written.status, 204);
        session = token(&written);
    }
    let headers = [("Tidings-Session", session.as_str())];
    let gone = c.send("DELETE", "/v1/kv/counter?wait=10s", &headers, "");
    assert_eq!(gone.status, 204);
    let (read, list) = (token(&gone), "/v1/kv?prefix=counter&wait=10s");
    let headers = [("Tidings-Session", read.as_str())];
    assert_eq!(a.send("GET", "/v1/kv/counter?wait=10s", &headers, "").error(), "not_found");
    assert_eq!(b.send("GET", list, &headers, "").json()["items"], json!([]));
    assert_eq!(a.get("/v1/kv/counter").header("Tidings-Siblings"), None);
}

#[test]
fn every_answer_to_a_read_or_a_write_carries_the_token() {
    let node = Node::start();
    let written = node.put("/v1/kv/a", "1");
    let answers = [
        node.put("/v1/kv/a", "2"),
        node.get("/v1/kv/a"),
        node.get("/v1/kv/a?siblings=true"),
        node.get("/v1/kv/absent"),
        node.get("/v1/kv?prefix=a"),
        node.get("/v1/sys?prefix=members/"),
        node.get("/v1/sys/absent"),
        node.delete("/v1/kv/absent"),
        node.send("POST", "/v1/import", &[], "{\"key\":\"b\",\"value\":1}\n"),
        node.delete("/v1/kv/a"),
    ];
    let tokens: Vec<String> = [&written].into_iter().chain(&answers).map(token).collect();
    // The reads between the writes have seen the same.
    let mut seen = tokens.clone();
    seen.dedup();
    assert_eq!(seen.len(), 4, "{tokens:?}");
    for token in &tokens {
        assert_eq!(node.send("GET", "/v1/kv/b", &[("Tidings-Session", token)], "").status, 200);
    }
    assert_eq!(node.get("/v1/export").header("Tidings-Session"), None);
}

#[test]
fn what_a_node_lacks_is_not_shown_to_a_session_that_has_seen_it() {
    let [a, b] = [(); 2].map(|()| Node::start_with(&["--in-memory"], &[SECRET]));
    b.put("/v1/kv/k", "old");
    let session = token(&a.put("/v1/kv/k", "new"));
    let headers = [("Tidings-Session", session.as_str())];
    let writes = ["PUT", "DELETE", "GET"].map(|method| b.send(method, "/v1/kv/k", &headers, ""));
    let reads = ["/v1/kv?prefix=k", "/v1/sys/x", "/v1/kv/k?siblings=true", "/v1/export"];
    for refused in writes.into_iter().chain(reads.map(|path| b.send("GET", path, &headers, ""))) {
        assert_eq!((refused.status, refused.error().as_str()), (503, "not_yet_here"));
        assert_eq!(refused.header("Retry-After"), Some("1"));
    }
    assert_eq!(b.get("/v1/kv/k").text(), "old", "a refused write changes nothing");
    // Waiting for it: they meet meanwhile.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| b.send("GET", "/v1/kv/k?wait=20s&siblings=true", &headers, "").json());
        let peer = format!("{{\"address\":\"{}\"}}", a.quic);
        assert_eq!(b.send("POST", "/v1/peers", &[], peer).status, 201);
        let shown = waiting.join().expect("an answer");
        assert_eq!((&shown[0]["text"], &shown[1]["text"]), (&json!("new"), &json!("old")));
    });
    // A write after that supersedes both.
    assert_eq!(b.send("PUT", "/v1/kv/k", &headers, "newest").status, 204);
    assert_eq!(b.get("/v1/kv/k").header("Tidings-Siblings"), Some("0"));
}

#[test]
fn a_text_that_is_no_token_of_this_cluster_is_refused() {
    let (node, other) = (Node::start(), Node::start());
    let own = token(&node.put("/v1/kv/a", "1"));
    let theirs = token(&other.put("/v1/kv/a", "1"));
    let cut = &own[..own.len() - 4];
    for wrong in ["", "null", "!", "AAAA", cut, &theirs, &"A".repeat(5_000)] {
        let refused = node.send("GET", "/v1/kv/a", &[("Tidings-Session", wrong)], "");
        assert_eq!((refused.status, refused.error().as_str()), (400, "bad_session"), "{wrong:?}");
    }
    assert_eq!(node.send("GET", "/v1/kv/a?wait=soon", &[("Tidings-Session", &own)], "").status, 400);
}
