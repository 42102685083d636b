//! The cache routes of `--compat cache`, at the real binary. Not responsible for a load of them: `namespaces` is.
#![cfg(feature = "cli")]

mod common;

use common::{Answer, Node, eventually, run, stdout};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const CACHE: [&str; 3] = ["--in-memory", "--compat", "cache"];

const NEW: &str = "New value successfully added";
const UPDATED: &str = "Updated the value!!";
const RETRIEVED: &str = "Successfully data retrieved";
const ABSENT: &str = "error: Key does not exist";
const EXPIRED: &str = "error: Key expired. TTL crossed";

fn node() -> Node {
    Node::start_with(&CACHE, &[])
}

fn cluster(count: usize, flags: &[&str]) -> Vec<Node> {
    let secret = stdout(&run(["secret", "new"])).trim().to_owned();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..count {
        let join: Vec<String> = nodes.iter().map(|node| node.quic.clone()).collect();
        let variables = [("TIDINGS_SECRET", secret.as_str()), ("TIDINGS_JOIN", &join.join(","))];
        nodes.push(Node::start_with(flags, &variables));
    }
    eventually("all are linked", || {
        nodes.iter().all(|node| node.get("/v1/status").json()["links"].as_array().map(Vec::len) == Some(count - 1))
    });
    nodes
}

fn get(node: &Node, path: &str) -> Answer {
    let answer = node.get(path);
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{path}");
    answer
}

fn set(node: &Node, body: &Value) -> Answer {
    node.post("/set", body.to_string())
}

#[track_caller]
fn assert_says(answer: &Answer, status: u16, message: &str, data: &Value) {
    let expected = json!({"data": data, "message": message, "success": status == 200});
    assert_eq!((answer.status, answer.json()), (status, expected));
}

fn item(key: &str, value: &Value) -> Value {
    json!({"key": key, "value": value, "ttl": null})
}

fn now_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

#[test]
fn a_value_is_set_updated_and_retrieved() {
    let node = node();
    let (one, two) = (json!({"n": [1, "x y"]}), json!("two"));
    assert_says(&set(&node, &json!({"key":"a","value":one})), 200, NEW, &item("a", &one));
    assert_says(&set(&node, &json!({"key":"a","value":two,"ttl":null})), 200, UPDATED, &item("a", &two));
    assert_says(&get(&node, "/get/a"), 200, RETRIEVED, &item("a", &two));
    assert_says(&get(&node, "/get/b"), 404, ABSENT, &Value::Null);
    assert_eq!(node.get("/v1/kv/a").text(), "\"two\"");
    node.put("/v1/kv/raw", "no JSON");
    assert_says(&get(&node, "/get/raw"), 200, RETRIEVED, &item("raw", &json!("no JSON")));
    set(&node, &json!({"key":"a/b c","value":null}));
    assert_says(&get(&node, "/get/a/b%20c"), 200, RETRIEVED, &item("a/b c", &Value::Null));
}

#[test]
fn numbers_come_back_as_they_went_in() {
    let node = node();
    let set = node.post("/set", r#"{ "key": "n", "value": [ 1.50, 1e400 ], "x": 1, "key": "m" }"#);
    assert_eq!(
        set.text(),
        format!(r#"{{"data":{{"key":"m","value":[1.50,1e400],"ttl":null}},"message":"{NEW}","success":true}}"#)
    );
    assert!(get(&node, "/get/m").text().contains(r#""value":[1.50,1e400]"#));
}

#[test]
fn a_key_is_required() {
    let node = node();
    for path in ["/get", "/get/"] {
        assert_says(&get(&node, path), 400, "Key is required i.e. /get/key", &Value::Null);
    }
}

#[test]
fn what_has_expired_says_so_and_may_be_added_anew() {
    let node = node();
    let before = now_nanos();
    let set_it = || set(&node, &json!({"key":"a","value":1,"ttl":0.4}));
    let added = set_it();
    let ttl = u128::from(added.json()["data"]["ttl"].as_u64().expect("nanoseconds"));
    assert!((before + 399_000_000..=now_nanos() + 401_000_000).contains(&ttl), "{ttl}");
    assert_says(&added, 200, NEW, &json!({"key":"a","value":1,"ttl":ttl as u64}));
    eventually("it expires", || node.get("/get/a").status == 404);
    assert!(now_nanos() >= ttl, "not before its time");
    assert_says(&get(&node, "/get/a"), 404, EXPIRED, &Value::Null);
    assert_eq!(node.get("/v1/kv/a").status, 404);
    let again = set_it();
    assert_eq!((again.status, &again.json()["message"]), (200, &json!(NEW)));
    assert_eq!(set(&node, &json!({"key":"a","value":2})).json()["message"], UPDATED);
    assert_eq!(get(&node, "/get/a").json()["data"]["ttl"], Value::Null, "the later write has no ttl");
    set_it();
    node.delete("/v1/kv/a");
    assert_says(&get(&node, "/get/a"), 404, ABSENT, &Value::Null);
}

#[test]
fn bad_payloads_are_refused_and_change_nothing() {
    let node = node();
    let bodies = [
        "",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"key":"a"}"#,
        r#"{"value":1}"#,
        r#"{"key":"","value":1}"#,
        r#"{"key":7,"value":1}"#,
        r#"{"key":"a","value":1,"ttl":0}"#,
        r#"{"key":"a","value":1,"ttl":-1}"#,
        r#"{"key":"a","value":1,"ttl":"5"}"#,
        r#"{"key":"a","value":1,"ttl":true}"#,
        r#"{"key":"a","value":1,"ttl":{}}"#,
    ];
    for body in bodies {
        let refused = node.post("/set", body);
        let said = refused.json();
        assert_eq!((refused.status, &said["data"], &said["success"]), (400, &Value::Null, &json!(false)), "{body}");
        let message = said["message"].as_str().expect("a message");
        assert!(message.strip_prefix("Invalid request payload: ").is_some_and(|rest| !rest.is_empty()), "{message}");
    }
    for large in [json!({"key":"k".repeat(1_025),"value":1}), json!({"key":"a","value":"x".repeat(2_000_000)})] {
        let refused = set(&node, &large);
        assert_eq!(refused.status, 413);
        assert!(refused.json()["message"].as_str().is_some_and(|m| m.starts_with("Invalid request payload: ")));
    }
    assert_says(&get(&node, "/get/a"), 404, ABSENT, &Value::Null);
}

#[test]
fn unknown_paths_have_the_envelope_and_the_own_routes_their_form() {
    let node = node();
    for path in ["/nothing", "/set/a/b", "/localcache/x", "/kvs/a", "/view"] {
        let unknown = get(&node, path);
        assert_eq!((unknown.status, unknown.json()["success"].clone()), (404, json!(false)), "{path}");
    }
    assert_eq!(node.post("/get/a", "").status, 405);
    assert_eq!(node.get("/v1/nothing").error(), "not_found");
    assert_eq!(node.get("/livez").json()["live"], true);
}

#[test]
fn routes_of_connected_nodes() {
    let node = node();
    assert_says(&get(&node, "/"), 200, "Successfully connected to server.", &Value::Null);
    assert_says(&get(&node, "/localcache"), 400, "Already an active node in the network", &Value::Null);
    set(&node, &json!({"key":"a","value":1}));
    let refused = get(&node, "/delete/a");
    assert_says(&refused, 400, "In-memory Feature: Available only for disconnected nodes.", &Value::Null);
    assert_eq!(node.get("/get/a").status, 200);
}

#[test]
fn a_disconnected_node_works_alone_and_merges_when_it_returns() {
    let nodes = cluster(3, &CACHE);
    let (away, other) = (&nodes[0], &nodes[1]);
    set(away, &json!({"key":"a","value":"old"}));
    set(away, &json!({"key":"gone","value":1}));
    eventually("all have it", || nodes.iter().all(|node| node.get("/get/gone").status == 200));
    assert_says(&get(away, "/disconnect"), 200, "Disconnected from the network.", &Value::Null);
    assert_says(&get(away, "/disconnect"), 404, "Node not found", &Value::Null);
    assert_says(&get(away, "/localcache"), 400, "Node already working as a local cache", &Value::Null);
    assert_eq!(away.get("/v1/status").json()["links"], json!([]));
    let down = |node: &Node| node.get("/v1/members").text().contains("\"down\"");
    eventually("the others see it down", || down(other));
    assert_says(&get(away, "/delete/gone"), 200, RETRIEVED, &item("gone", &json!(1)));
    assert_says(&get(away, "/delete/gone"), 404, ABSENT, &Value::Null);
    assert_says(&get(away, "/delete/"), 400, "Key is required i.e. /delete/key", &Value::Null);
    set(away, &json!({"key":"mine","value":1}));
    set(away, &json!({"key":"a","value":"early"}));
    set(other, &json!({"key":"a","value":"late"}));
    set(other, &json!({"key":"theirs","value":1}));
    // It dials nobody and lets nobody in, however long the others try.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(away.get("/v1/status").json()["links"], json!([]));
    assert_eq!((away.get("/get/theirs").status, other.get("/get/mine").status), (404, 404));
    let returned = std::time::Instant::now();
    assert_says(&get(away, "/"), 200, "Successfully connected to server.", &Value::Null);
    let merged = |node: &Node| {
        node.get("/get/mine").status == 200
            && node.get("/get/theirs").status == 200
            && node.get("/get/gone").status == 404
            && node.get("/get/a").json()["data"]["value"] == "late"
    };
    eventually("all is merged", || nodes.iter().all(merged));
    assert!(returned.elapsed().as_secs_f64() < 5.0, "within 5 s: {:?}", returned.elapsed());
    eventually("it is alive again", || !nodes.iter().any(down));
    assert_eq!(get(away, "/localcache").json()["message"], "Already an active node in the network");
}

#[test]
fn the_later_write_wins_whatever_its_ttl() {
    let nodes = cluster(2, &CACHE);
    let (away, other) = (&nodes[0], &nodes[1]);
    get(away, "/disconnect");
    set(other, &json!({"key":"a","value":"earlier, for ever"}));
    set(away, &json!({"key":"a","value":"later, for a while","ttl":3}));
    set(away, &json!({"key":"b","value":"earlier, for a while","ttl":3}));
    set(other, &json!({"key":"b","value":"later, for ever"}));
    get(away, "/");
    let shows = |node: &Node, key: &str| node.get(&format!("/get/{key}")).json()["data"]["value"].clone();
    let later = |node: &Node| shows(node, "a") == "later, for a while" && shows(node, "b") == "later, for ever";
    eventually("both show the later writes", || nodes.iter().all(later));
    eventually("the one with a ttl expires", || nodes.iter().all(|node| node.get("/get/a").status == 404));
    for node in &nodes {
        assert_says(&get(node, "/get/a"), 404, EXPIRED, &Value::Null);
        assert_eq!(shows(node, "b"), "later, for ever");
    }
    assert_eq!(set(away, &json!({"key":"a","value":1})).json()["message"], NEW);
}

#[test]
fn a_restart_ends_working_alone() {
    let secret = stdout(&run(["secret", "new"])).trim().to_owned();
    let one = Node::start_with(&CACHE, &[("TIDINGS_SECRET", &secret)]);
    let mut two = Node::start_with(&["--compat", "cache"], &[("TIDINGS_SECRET", &secret), ("TIDINGS_JOIN", &one.quic)]);
    set(&two, &json!({"key":"a","value":1}));
    eventually("it came over", || one.get("/get/a").status == 200);
    assert_eq!(get(&two, "/disconnect").status, 200);
    set(&two, &json!({"key":"b","value":1}));
    two.process.signal("TERM");
    assert!(two.process.wait().success());
    let mut command = common::command(two.directory.path());
    command.args(["--compat", "cache"]).env("TIDINGS_SECRET", &secret).env("TIDINGS_JOIN", &one.quic);
    let mut process = common::Process::start(&mut command);
    process.line();
    eventually("what it wrote alone is merged", || one.get("/get/b").status == 200);
}

#[test]
fn both_interfaces_are_over_one_map_and_neither_hides_the_other() {
    let node = Node::start_with(&["--in-memory"], &[("TIDINGS_COMPAT", "kvs,cache")]);
    assert_eq!(node.send("PUT", "/kvs/a", &[], r#"{"value":[1.50]}"#).status, 201);
    assert!(get(&node, "/get/a").text().contains(r#""value":[1.50]"#));
    assert_eq!(set(&node, &json!({"key":"a","value":2})).json()["message"], UPDATED);
    let found = node.send("GET", "/kvs/a", &[], "").json();
    assert_eq!((&found["result"], &found["value"]), (&json!("found"), &json!(2)));
    assert_eq!(node.get("/v1/kv/a").text(), "2");
    assert_eq!(node.get("/view").json()["view"].as_array().map(Vec::len), Some(1));
    assert_eq!(node.get("/view/x").json()["error"].as_str().map(str::is_empty), Some(false));
    assert_eq!(node.get("/nothing").json()["success"], false);
    assert_eq!(node.get("/v1/nothing").error(), "not_found");
}
