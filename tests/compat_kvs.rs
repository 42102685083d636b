//! The causal key-value routes of `--compat kvs`, at the real binary. Not responsible for cut networks: `namespaces` is.
#![cfg(feature = "cli")]

mod common;

use common::{Answer, Node, eventually, run, stdout};
use serde_json::{Value, json};

const KVS: [&str; 3] = ["--in-memory", "--compat", "kvs"];
const UNMET: &str = "Causal dependencies not satisfied; try again later";

fn node() -> Node {
    Node::start_with(&KVS, &[])
}

fn ask(node: &Node, method: &str, path: &str, body: &str) -> Answer {
    let answer = node.send(method, path, &[], body);
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{method} {path}");
    answer
}

#[track_caller]
fn assert_says(answer: &Answer, status: u16, expected: &Value) {
    let mut said = answer.json();
    if let Some(metadata) = said.as_object_mut().expect("an object").remove("causal-metadata") {
        assert!(metadata.as_str().is_some_and(|token| !token.is_empty()), "{metadata}");
    }
    assert_eq!((answer.status, &said), (status, expected));
}

fn metadata(answer: &Answer) -> String {
    answer.json()["causal-metadata"].as_str().expect("metadata").to_owned()
}

fn with(metadata: &str) -> String {
    json!({ "causal-metadata": metadata }).to_string()
}

fn cluster(count: usize) -> Vec<Node> {
    let secret = stdout(&run(["secret", "new"])).trim().to_owned();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..count {
        let join: Vec<String> = nodes.iter().map(|node| node.quic.clone()).collect();
        let variables = [("TIDINGS_SECRET", secret.as_str()), ("TIDINGS_JOIN", &join.join(","))];
        nodes.push(Node::start_with(&KVS, &variables));
    }
    nodes
}

fn address(node: &Node) -> String {
    node.http.strip_prefix("http://").expect("a URL").to_owned()
}

fn view(node: &Node) -> Vec<String> {
    let answer = ask(node, "GET", "/view", "");
    assert_eq!(answer.status, 200);
    serde_json::from_value(answer.json()["view"].clone()).expect("a list of strings")
}

fn sorted(nodes: &[&Node]) -> Vec<String> {
    let mut addresses: Vec<String> = nodes.iter().map(|node| address(node)).collect();
    addresses.sort();
    addresses
}

#[test]
fn a_key_is_created_replaced_found_and_deleted() {
    let node = node();
    let put = ask(&node, "PUT", "/kvs/a", r#"{"value":{"n": 1.50},"causal-metadata":null}"#);
    assert_says(&put, 201, &json!({"result":"created"}));
    let put = ask(&node, "PUT", "/kvs/a", &json!({"value":[1, null],"causal-metadata":metadata(&put)}).to_string());
    assert_says(&put, 200, &json!({"result":"replaced"}));
    let got = ask(&node, "GET", "/kvs/a", &with(&metadata(&put)));
    assert_says(&got, 200, &json!({"result":"found","value":[1, null]}));
    let deleted = ask(&node, "DELETE", "/kvs/a", &with(&metadata(&got)));
    assert_says(&deleted, 200, &json!({"result":"deleted"}));
    for method in ["GET", "DELETE"] {
        let absent = ask(&node, method, "/kvs/a", &with(&metadata(&deleted)));
        assert_says(&absent, 404, &json!({"error":"Key does not exist"}));
        metadata(&absent);
    }
}

#[test]
fn null_absent_and_empty_metadata_mean_no_dependency() {
    let node = node();
    for metadata in ["null", "{}", "{ }"] {
        let body = format!(r#"{{"value":1,"causal-metadata":{metadata}}}"#);
        assert!([200, 201].contains(&ask(&node, "PUT", "/kvs/a", &body).status), "{metadata}");
        assert_eq!(ask(&node, "GET", "/kvs/a", &format!(r#"{{"causal-metadata":{metadata}}}"#)).status, 200);
    }
    assert_eq!(ask(&node, "GET", "/kvs/a", "").status, 200);
    assert_eq!(ask(&node, "DELETE", "/kvs/a", "").status, 200);
}

#[test]
fn values_come_back_as_they_were_written() {
    let node = node();
    for value in
        ["1.50", "1e400", "12345678901234567890123", "-0.0", "null", "\"a b\"", r#"{"a":[1, 2 ]}"#, "\"\\ud800\""]
    {
        ask(&node, "PUT", "/kvs/n", &format!(r#"{{"value": {value} }}"#));
        let got = ask(&node, "GET", "/kvs/n", "");
        let kept = value.replace(", 2 ]", ",2]");
        assert!(got.text().contains(&format!(r#""value":{kept},"#)), "{}", got.text());
        assert_eq!(node.get("/v1/kv/n").text(), kept);
    }
    node.put("/v1/kv/n", "no JSON");
    assert_says(&ask(&node, "GET", "/kvs/n", ""), 200, &json!({"result":"found","value":"no JSON"}));
    node.put("/v1/kv/n", b"\xff!");
    assert_says(&ask(&node, "GET", "/kvs/n", ""), 200, &json!({"result":"found","value":"\u{fffd}!"}));
}

#[test]
fn fifty_characters_are_a_key_and_slashes_belong_to_it() {
    let node = node();
    let long = |count| format!("/kvs/{}", "%C3%A9".repeat(count));
    assert_eq!(ask(&node, "PUT", &long(50), r#"{"value":1}"#).status, 201);
    let refused = ask(&node, "PUT", &long(51), r#"{"value":1}"#);
    assert_says(&refused, 400, &json!({"error":"Key is too long"}));
    assert_says(&ask(&node, "GET", &long(51), ""), 404, &json!({"error":"Key does not exist"}));
    assert_says(&ask(&node, "DELETE", &long(2_000), ""), 404, &json!({"error":"Key does not exist"}));
    assert_eq!(ask(&node, "PUT", "/kvs/a/b//c", r#"{"value":1}"#).status, 201);
    assert_eq!(node.get("/v1/kv/a%2Fb%2F%2Fc").text(), "1");
    for path in ["/kvs", "/kvs/"] {
        assert_eq!(ask(&node, "GET", path, "").status, 400, "{path}");
    }
}

#[test]
fn bad_bodies_are_refused_in_order_of_body_key_value_and_dependencies() {
    let node = node();
    let long = format!("/kvs/{}", "k".repeat(51));
    let no_value = json!({"error":"PUT request does not specify a value"});
    for body in ["[]", "1", "{", "\"a\"", "null", " "] {
        for (method, path) in
            [("GET", "/kvs/a"), ("PUT", &*long), ("DELETE", "/kvs/a"), ("GET", "/view"), ("PUT", "/view")]
        {
            let refused = ask(&node, method, path, body);
            assert_eq!(refused.status, 400, "{method} {path} {body}");
            let text = refused.json()["error"].as_str().expect("a text").to_owned();
            assert!(text.starts_with("the body is no JSON object: "), "{text}");
        }
    }
    assert_says(&ask(&node, "PUT", &long, "{}"), 400, &json!({"error":"Key is too long"}));
    assert_says(&ask(&node, "PUT", "/kvs/a", ""), 400, &no_value);
    assert_says(&ask(&node, "PUT", "/kvs/a", r#"{"causal-metadata":7}"#), 400, &no_value);
    for metadata in ["7", "true", "[]", r#"{"a":1}"#, "\"\"", "\"AAAA\"", "\"?\""] {
        for (method, path) in [("GET", "/kvs/none"), ("PUT", "/kvs/a"), ("DELETE", "/kvs/none")] {
            let refused = ask(&node, method, path, &format!(r#"{{"value":1,"causal-metadata":{metadata}}}"#));
            assert_eq!(refused.status, 400, "{method} {metadata}");
            assert!(
                refused.json()["error"].as_str().is_some_and(|e| e.starts_with("causal-metadata")),
                "{}",
                refused.text()
            );
        }
    }
    let other = Node::start_with(&KVS, &[]);
    let foreign = metadata(&ask(&other, "PUT", "/kvs/a", r#"{"value":1}"#));
    assert_eq!(ask(&node, "GET", "/kvs/a", &with(&foreign)).status, 400, "a token of another cluster");
    assert_eq!(node.get("/v1/kv/a").status, 404, "nothing was written");
}

#[test]
fn of_fields_the_last_counts_and_unknown_ones_do_not() {
    let node = node();
    let put = ask(&node, "PUT", "/kvs/a", r#"{"value":1,"x":[{}],"value":2}"#);
    assert_eq!(put.status, 201);
    assert_says(&ask(&node, "GET", "/kvs/a", ""), 200, &json!({"result":"found","value":2}));
}

#[test]
fn a_large_value_is_taken_and_a_larger_one_is_refused_in_the_form_of_the_routes() {
    let node = node();
    let put = |bytes: usize| ask(&node, "PUT", "/kvs/a", &json!({"value":"x".repeat(bytes)}).to_string());
    assert_eq!(put(1_048_574).status, 201);
    for bytes in [1_048_575, 3_000_000] {
        let refused = put(bytes);
        assert_eq!(refused.status, 413);
        assert!(refused.json()["error"].is_string(), "{}", refused.text());
    }
    let found = ask(&node, "GET", "/kvs/a", "").json();
    assert_eq!(found["value"].as_str().map(str::len), Some(1_048_574));
}

#[test]
fn what_metadata_has_seen_is_served_or_refused_at_any_node() {
    let nodes = cluster(2);
    eventually("the two know each other", || nodes.iter().all(|node| view(node).len() == 2));
    let mut seen = "null".to_owned();
    for number in 0..50 {
        let node = &nodes[number % 2];
        let body = format!(r#"{{"value":{number},"causal-metadata":{seen}}}"#);
        let mut put = None;
        eventually("the write before has come", || {
            let answer = ask(node, "PUT", "/kvs/a", &body);
            if answer.status == 503 {
                assert_says(&answer, 503, &json!({"error": UNMET}));
            }
            put = Some(answer);
            put.as_ref().is_some_and(|answer| answer.status < 300)
        });
        let put = put.expect("answered");
        assert_eq!(put.status, if number == 0 { 201 } else { 200 });
        seen = json!(metadata(&put)).to_string();
    }
    for node in &nodes {
        eventually("both show the last write", || ask(node, "GET", "/kvs/a", "").json()["value"] == 49);
    }
}

#[test]
fn the_view_has_who_is_alive_and_who_was_put_by_hand() {
    let nodes = cluster(3);
    let all = sorted(&[&nodes[0], &nodes[1], &nodes[2]]);
    eventually("all views are full", || nodes.iter().all(|node| view(node) == all));
    let put = |address: &str| ask(&nodes[0], "PUT", "/view", &json!({"socket-address": address}).to_string());
    assert_says(&put(&all[1]), 200, &json!({"result":"already present"}));
    assert_says(&put("127.0.0.1:9"), 201, &json!({"result":"added"}));
    assert!(view(&nodes[0]).contains(&"127.0.0.1:9".to_owned()), "listed at once");
    assert_says(&put("127.0.0.1:9"), 200, &json!({"result":"already present"}));
    eventually("listed at the others", || nodes.iter().all(|node| view(node).len() == 4));
    eventually("nothing answers there", || nodes.iter().all(|node| view(node) == all));
    let peers = nodes[0].get("/v1/peers").text().to_owned();
    assert!(!peers.contains("127.0.0.1:9"), "and nobody dials it any more: {peers}");
}

#[test]
fn who_was_deleted_stays_out_until_put_back() {
    let nodes = cluster(3);
    let all = sorted(&[&nodes[0], &nodes[1], &nodes[2]]);
    eventually("all views are full", || nodes.iter().all(|node| view(node) == all));
    let gone = json!({"socket-address": address(&nodes[2])}).to_string();
    assert_says(&ask(&nodes[0], "DELETE", "/view", &gone), 200, &json!({"result":"deleted"}));
    let rest = sorted(&[&nodes[0], &nodes[1]]);
    eventually("it is out of all views, its own too", || nodes.iter().all(|node| view(node) == rest));
    assert_says(&ask(&nodes[1], "DELETE", "/view", &gone), 404, &json!({"error":"View has no such replica"}));
    let put = ask(&nodes[0], "PUT", "/kvs/a", r#"{"value":1}"#);
    assert_eq!(put.status, 201);
    eventually("it is a member all the same", || ask(&nodes[2], "GET", "/kvs/a", "").status == 200);
    assert_says(&ask(&nodes[1], "PUT", "/view", &gone), 201, &json!({"result":"added"}));
    eventually("it is back", || nodes.iter().all(|node| view(node) == all));
}

#[test]
fn who_was_deleted_and_starts_again_is_back() {
    let secret = stdout(&run(["secret", "new"])).trim().to_owned();
    let one = Node::start_with(&KVS, &[("TIDINGS_SECRET", &secret)]);
    let directory = tempfile::tempdir().expect("a directory");
    let start = |http: &str| {
        let mut command = common::tidings();
        command.current_dir(directory.path()).args([
            "node",
            "--listen",
            "127.0.0.1:0",
            "--http",
            http,
            "--compat",
            "kvs",
        ]);
        command.env("TIDINGS_SECRET", &secret).env("TIDINGS_JOIN", &one.quic);
        let mut process = common::Process::start(&mut command);
        let (_, http, _) = common::announced(&process.line());
        (process, http.strip_prefix("http://").expect("a URL").to_owned())
    };
    let (mut process, http) = start("127.0.0.1:0");
    eventually("the view is full", || view(&one).len() == 2);
    let gone = json!({"socket-address": http}).to_string();
    assert_eq!(ask(&one, "DELETE", "/view", &gone).status, 200);
    assert_eq!(view(&one), [address(&one)]);
    process.signal("KILL");
    process.wait();
    let (_process, again) = start(&http);
    assert_eq!(again, http);
    eventually("the same replica, started anew, is back", || view(&one).contains(&http));
    eventually("nothing is remembered of it", || one.get("/v1/sys?prefix=view/").json()["items"] == json!([]));
}

#[test]
fn addresses_that_are_none_are_refused() {
    let node = node();
    for body in ["", "{}", r#"{"socket-address":7}"#, r#"{"socket-address":"here"}"#, r#"{"socket-address":"a:0"}"#] {
        let refused = ask(&node, "PUT", "/view", body);
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.json()["error"].is_string());
    }
    for body in ["", r#"{"socket-address":7}"#] {
        assert_eq!(ask(&node, "DELETE", "/view", body).status, 400, "{body}");
    }
    let absent = ask(&node, "DELETE", "/view", r#"{"socket-address":"127.0.0.1:9"}"#);
    assert_says(&absent, 404, &json!({"error":"View has no such replica"}));
    let put = ask(&node, "PUT", "/view", r#"{"socket-address":"127.0.0.1:9"}"#);
    assert_says(&put, 201, &json!({"result":"added"}));
    let deleted = ask(&node, "DELETE", "/view", r#"{"socket-address":"127.0.0.1:9"}"#);
    assert_says(&deleted, 200, &json!({"result":"deleted"}));
    assert_eq!(view(&node), [address(&node)]);
}

#[test]
fn without_the_flag_there_are_no_such_routes_and_wrong_methods_have_their_form() {
    let plain = Node::start();
    for path in ["/kvs/a", "/view", "/get/a"] {
        assert_eq!(plain.get(path).error(), "not_found", "{path}");
    }
    let refused = ask(&node(), "POST", "/kvs/a", "{}");
    assert_eq!(refused.status, 405);
    assert!(refused.json()["error"].is_string());
}

#[test]
fn a_token_is_asked_for_in_the_form_of_the_routes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "sesame").expect("written");
    let flags = ["--in-memory", "--compat", "kvs,cache", "--http-token-file", file.to_str().expect("UTF-8")];
    let node = Node::start_with(&flags, &[]);
    let refused = ask(&node, "GET", "/kvs/a", "");
    assert_eq!(refused.status, 401);
    assert!(refused.json()["error"].is_string(), "{}", refused.text());
    let refused = ask(&node, "GET", "/get/a", "").json();
    assert_eq!((&refused["data"], &refused["success"]), (&Value::Null, &json!(false)));
    let token = [("Authorization", "Bearer sesame")];
    assert_eq!(node.send("PUT", "/kvs/a", &token, r#"{"value":1}"#).status, 201);
}
