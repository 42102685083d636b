//! The routes of `/v1`, at the real binary. Not responsible for what nodes tell each other.
#![cfg(feature = "cli")]

mod common;

use common::{Node, eventually, stdout};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

#[test]
fn a_key_is_written_read_replaced_and_deleted() {
    let node = Node::start();
    assert_eq!(node.get("/v1/kv/a").status, 404);
    assert_eq!(node.put("/v1/kv/a", "one").status, 201);
    assert_eq!(node.put("/v1/kv/a", "two").status, 204);
    let read = node.get("/v1/kv/a");
    assert_eq!((read.status, read.text()), (200, "two"));
    let (replica, counter) = read.header("Tidings-Dot").expect("a dot").split_once(':').expect("id and counter");
    assert_eq!(replica.len(), 32);
    assert!(counter.parse::<u64>().is_ok_and(|n| n > 0));
    assert!(read.header("Tidings-Timestamp").is_some());
    assert_eq!(read.header("Tidings-Siblings"), Some("0"));
    assert_eq!(read.header("Tidings-Expires"), None);
    assert_eq!(node.delete("/v1/kv/a").status, 204);
    assert_eq!(node.get("/v1/kv/a").error(), "not_found");
    assert_eq!(node.delete("/v1/kv/a").status, 404);
}

#[test]
fn values_are_bytes_whatever_their_type_is_said_to_be() {
    let node = Node::start();
    let bytes: Vec<u8> = (0..=255).collect();
    let headers = [("Content-Type", "application/json")];
    assert_eq!(node.send("PUT", "/v1/kv/bytes", &headers, &bytes[..]).status, 201);
    assert_eq!(node.get("/v1/kv/bytes").body, bytes);
    assert_eq!(node.put("/v1/kv/empty", "").status, 201);
    assert_eq!(node.get("/v1/kv/empty").status, 200);
}

#[test]
fn keys_are_bytes_and_slashes_may_stand_raw() {
    let node = Node::start();
    assert_eq!(node.put("/v1/kv/a/b/c", "1").status, 201);
    assert_eq!(node.get("/v1/kv/a%2Fb%2fc").text(), "1");
    assert_eq!(node.put("/v1/kv/%ff%00", "2").status, 201);
    assert_eq!(node.get("/v1/kv/%FF%00").text(), "2");
    assert_eq!(node.put("/v1/kv//lead+plus", "3").status, 201);
    let keys = node.get("/v1/kv?prefix=/").json();
    assert_eq!(keys["items"][0]["key"], "/lead+plus");
}

#[test]
fn limits_are_refused_as_such_and_change_nothing() {
    let node = Node::start();
    let key = |len| format!("/v1/kv/{}", "k".repeat(len));
    assert_eq!(node.put(&key(1_024), "v").status, 201);
    let refused = node.put(&key(1_025), "v");
    assert_eq!((refused.status, refused.error().as_str()), (413, "key_too_long"));
    assert_eq!(node.get(&key(1_025)).status, 413);
    assert_eq!(node.put("/v1/kv/", "v").status, 400);
    assert_eq!(node.put("/v1/kv/large", vec![0; 1_048_576]).status, 201);
    let refused = node.put("/v1/kv/large", vec![1; 1_048_577]);
    assert_eq!((refused.status, refused.error().as_str()), (413, "value_too_large"));
    assert_eq!(node.get("/v1/kv/large").body, vec![0; 1_048_576]);
    assert_eq!(node.put("/v1/kv/larger", vec![1; 20_000_000]).status, 413);
}

#[test]
fn a_ttl_ends_a_value_and_a_write_without_one_ends_the_ttl() {
    let node = Node::start();
    assert_eq!(node.put("/v1/kv/a?ttl=1h", "v").status, 201);
    let expires: u64 = node.get("/v1/kv/a").header("Tidings-Expires").expect("a deadline").parse().expect("a number");
    assert!(expires.abs_diff(now_ms() + 3_600_000) < 60_000);
    assert_eq!(node.put("/v1/kv/a", "v").status, 204);
    assert_eq!(node.get("/v1/kv/a").header("Tidings-Expires"), None);
    assert_eq!(node.put("/v1/kv/short?ttl=50ms&durability=eventual", "v").status, 201);
    eventually("the value expires", || node.get("/v1/kv/short").status == 404);
}

#[test]
fn parameters_that_make_no_sense_are_refused_by_name() {
    let node = Node::start();
    for (path, name) in [
        ("/v1/kv/a?ttl=5", "ttl"),
        ("/v1/kv/a?ttl=0s", "ttl"),
        ("/v1/kv/a?durability=maybe", "durability"),
        ("/v1/kv/a?tll=5s", "tll"),
        ("/v1/kv/a?ttl=1s&ttl=2s", "ttl"),
    ] {
        let refused = node.put(path, "v");
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().contains(name), "{path}: {}", refused.text());
    }
    assert_eq!(node.get("/v1/kv/a").status, 404);
    assert_eq!(node.get("/v1/kv?limit=0").status, 400);
    assert_eq!(node.get("/v1/kv?limit=many").status, 400);
}

#[test]
fn all_live_values_of_a_key_are_a_list() {
    let node = Node::start();
    node.put("/v1/kv/a?ttl=1h", "{\"n\":1.50}");
    let list = node.get("/v1/kv/a?siblings=true");
    assert!(list.text().contains("\"value\":{\"n\":1.50}"), "{}", list.text());
    let list = list.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["dot"].as_str(), node.get("/v1/kv/a").header("Tidings-Dot"));
    assert_eq!(list[0]["timestamp"].as_str(), node.get("/v1/kv/a").header("Tidings-Timestamp"));
    assert!(list[0]["expires"].is_u64());
    assert_eq!(node.get("/v1/kv/none?siblings=true").status, 404);
}

#[test]
fn lists_go_on_from_next() {
    let node = Node::start();
    for key in ["b", "a/1", "a/2", "a/3", "%ff"] {
        node.put(&format!("/v1/kv/{key}"), "v");
    }
    let first = node.get("/v1/kv?prefix=a/&limit=2").json();
    assert_eq!(
        first,
        json!({ "items": [{ "key": "a/1", "text": "v" }, { "key": "a/2", "text": "v" }], "next": "a/3" })
    );
    let second = node.get("/v1/kv?prefix=a/&limit=2&start=a/3").json();
    assert_eq!(second, json!({ "items": [{ "key": "a/3", "text": "v" }], "next": null }));
    let binary = node.get("/v1/kv?start=b&limit=1").json();
    assert_eq!(binary["next_base64"], "/w==");
    let last = node.get("/v1/kv?start=%ff").json();
    assert_eq!(last, json!({ "items": [{ "key_base64": "/w==", "text": "v" }], "next": null }));
}

#[test]
fn a_list_of_large_values_ends_early_and_goes_on() {
    let node = Node::start();
    for index in 0..12 {
        node.put(&format!("/v1/kv/large/{index:02}"), vec![b'x'; 1_000_000]);
    }
    let first = node.get("/v1/kv?prefix=large/").json();
    let count = first["items"].as_array().map(Vec::len).expect("items");
    assert!((1..12).contains(&count), "{count}");
    let rest = node.get(&format!("/v1/kv?prefix=large/&start={}", first["next"].as_str().expect("more"))).json();
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(12 - count));
}

#[test]
fn sys_is_for_reading_only() {
    let node = Node::start();
    let mut items = json!([]);
    eventually("the node has written its own record", || {
        items = node.get("/v1/sys?prefix=members/").json()["items"].clone();
        items.as_array().is_some_and(|items| !items.is_empty())
    });
    let key = items[0]["key"].as_str().expect("a key").to_owned();
    assert_eq!(node.get(&format!("/v1/sys/{key}")).status, 200);
    assert_eq!(node.get("/v1/sys/nothing").status, 404);
    for method in ["PUT", "POST"] {
        let refused = node.send(method, &format!("/v1/sys/{key}"), &[], &b"x"[..]);
        assert_eq!((refused.status, refused.error().as_str()), (405, "method_not_allowed"));
    }
    assert_eq!(node.delete(&format!("/v1/sys/{key}")).status, 405);
    assert_eq!(node.get(&format!("/v1/kv/{key}")).status, 404);
}

#[test]
fn import_keeps_values_as_the_rule_has_it() {
    let node = Node::start();
    let lines = concat!(
        "{\"key\":\"json\",\"value\":{ \"a b\" : [ 1.50, 1e400, \"c\\u0041\" ] }}\n",
        "\n",
        "{\"key\":\"null\",\"value\":null}\r\n",
        "{\"key\":\"string\",\"value\":\"s\"}\n",
        "{\"key\":\"text\",\"text\":\"s\"}\n",
        "{\"key_base64\":\"/w==\",\"value_base64\":\"/gA=\"}\n",
        "{\"key\":\"ttl\",\"value\":1,\"ttl\":3600}\n",
        "{\"key\":\"expires\",\"value\":1,\"expires\":32503680000000}",
    );
    let answer = node.post("/v1/import", lines);
    assert_eq!((answer.status, answer.text()), (200, "{\"imported\":7}"));
    assert_eq!(node.get("/v1/kv/json").text(), "{\"a b\":[1.50,1e400,\"c\\u0041\"]}");
    assert_eq!(node.get("/v1/kv/null").text(), "null");
    assert_eq!(node.get("/v1/kv/string").text(), "\"s\"");
    assert_eq!(node.get("/v1/kv/text").text(), "s");
    assert_eq!(node.get("/v1/kv/%ff").body, b"\xfe\0");
    assert!(node.get("/v1/kv/ttl").header("Tidings-Expires").is_some());
    assert_eq!(node.get("/v1/kv/expires").header("Tidings-Expires"), Some("32503680000000"));
}

#[test]
fn a_bad_record_is_named_and_what_stood_before_it_stays() {
    let node = Node::start();
    let long_key = format!("{{\"key\":\"{}\",\"value\":1}}", "k".repeat(1_025));
    let large_value = format!("{{\"key\":\"k\",\"text\":\"{}\"}}", "v".repeat(1_048_577));
    let long_line = format!("{{\"key\":\"k\",\"text\":\"{}\"}}", "v".repeat(3 * 1_024 * 1_024));
    let bad = ["{\"key\":\"b\"", "{\"key\":\"b\"}", "{\"key\":\"\",\"value\":1}", "[]", "\u{1}"];
    for bad in bad.into_iter().chain([long_key.as_str(), &large_value, &long_line]) {
        node.delete("/v1/kv/before");
        let lines = format!("{{\"key\":\"before\",\"value\":1}}\n\n{bad}\n{{\"key\":\"after\",\"value\":1}}\n");
        let answer = node.post("/v1/import", lines);
        assert_eq!((answer.status, answer.error().as_str()), (400, "bad_record"), "{bad:.40}");
        let json = answer.json();
        assert_eq!((&json["error"]["line"], &json["imported"]), (&json!(3), &json!(1)), "{bad:.40}");
        assert_eq!(node.get("/v1/kv/before").status, 200);
        assert_eq!(node.get("/v1/kv/after").status, 404);
    }
}

#[test]
fn export_is_in_the_order_of_key_bytes_and_comes_back_by_import() {
    let node = Node::start();
    for (key, value) in [("%c3%a4", "1"), ("b", "[1, 2]"), ("a%ff", "\"x\""), ("a", "%"), ("B", "")] {
        node.put(&format!("/v1/kv/{key}"), value);
    }
    let export = node.get("/v1/export");
    let expected = concat!(
        "{\"key\":\"B\",\"text\":\"\"}\n",
        "{\"key\":\"a\",\"text\":\"%\"}\n",
        "{\"key_base64\":\"Yf8=\",\"value\":\"x\"}\n",
        "{\"key\":\"b\",\"text\":\"[1, 2]\"}\n",
        "{\"key\":\"ä\",\"value\":1}\n",
    );
    assert_eq!(export.text(), expected);
    let other = Node::start();
    assert_eq!(other.post("/v1/import", &export.body).json(), json!({ "imported": 5 }));
    assert_eq!(other.get("/v1/export").body, export.body);
    assert_eq!(Node::start().get("/v1/export").body, b"");
}

#[test]
fn thousands_of_records_and_the_worst_of_values_survive_the_round() {
    let node = Node::start();
    let lines: String = (0..3_000).map(|i| format!("{{\"key\":\"k{i:04}\",\"value\":{i}}}\n")).collect();
    assert_eq!(node.post("/v1/import", &lines).json(), json!({ "imported": 3_000 }));
    assert_eq!(node.get("/v1/export").text(), lines);
    // in JSON six times as long: more than a line of import may hold
    let control = vec![1; 1_048_576];
    node.put("/v1/kv/control", &control);
    let other = Node::start();
    let export = node.get("/v1/export");
    assert_eq!(other.post("/v1/import", &export.body).json(), json!({ "imported": 3_001 }));
    assert_eq!(other.get("/v1/kv/control").body, control);
}

#[test]
fn members_and_status_have_the_fields_of_the_manual() {
    let node = Node::start_with(&["--in-memory", "--name", "north"], &[]);
    let members = node.get("/v1/members").json();
    let own = &members["members"][0];
    assert_eq!(own["name"], "north");
    assert_eq!((&own["self"], &own["state"]), (&json!(true), &json!("alive")));
    assert_eq!(own["addresses"], json!([node.quic]));
    assert_eq!(own["http"], json!(node.http.strip_prefix("http://")));
    for field in ["id", "protocol", "incarnation", "last_contact_ms"] {
        assert!(own.get(field).is_some(), "{field}");
    }
    let status = node.get("/v1/status").json();
    assert_eq!((&status["id"], &status["name"]), (&own["id"], &json!("north")));
    for field in ["keys", "tombstones", "siblings", "context", "audit", "pending", "links", "bytes", "dots", "storage"]
    {
        assert!(status.get(field).is_some(), "{field}");
    }
}

#[test]
fn the_view_tells_whom_the_node_has_met() {
    let secret = "ab".repeat(32);
    let secret = [("TIDINGS_SECRET", secret.as_str())];
    let node = Node::start_with(&["--in-memory"], &secret);
    assert_eq!(node.get("/v1/view").json(), json!({ "view": [] }));
    let other = Node::start_with(&["--in-memory", "--join", &node.quic], &secret);
    let id = other.get("/v1/status").json()["id"].clone();
    let expected = |view: &Value| {
        let one = &view["view"][0];
        (&one["id"], &one["address"]) == (&id, &json!(other.quic)) && one["age"].is_u64() && view["view"][1].is_null()
    };
    eventually("they have met", || expected(&node.get("/v1/view").json()));
    let table = stdout(&node.run(&["view"]));
    assert!(table.starts_with("ADDRESS") && table.contains(&other.quic), "{table}");
    assert_eq!(node.get("/v1/view?all=true").status, 400);
}

#[test]
fn peers_are_added_once_and_removed_once() {
    let node = Node::start();
    assert_eq!(node.get("/v1/peers").json(), json!({ "peers": [] }));
    // nobody listens on port 9, and nobody need
    let body = r#"{"address":"127.0.0.1:9"}"#;
    assert_eq!(node.post("/v1/peers", body).status, 201);
    assert_eq!(node.post("/v1/peers", body).status, 200);
    let peers = node.get("/v1/peers").json();
    assert_eq!(peers["peers"][0]["address"], "127.0.0.1:9");
    assert_eq!((&peers["peers"][0]["id"], &peers["peers"][0]["link"]), (&json!(null), &json!("none")));
    assert_eq!(node.delete("/v1/peers/127.0.0.1:9").status, 204);
    assert_eq!(node.delete("/v1/peers/127.0.0.1:9").status, 404);
    for bad in ["", "{}", "[]", r#"{"address":"nowhere"}"#, r#"{"address":1}"#, r#"{"address":"a:1","x":1}"#] {
        assert_eq!(node.post("/v1/peers", bad).status, 400, "{bad}");
    }
}

#[test]
fn probes_and_version_answer() {
    let node = Node::start();
    assert_eq!(node.get("/livez").status, 200);
    eventually("it is ready", || node.get("/readyz").status == 200);
    assert_eq!(node.get("/version").json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn what_there_is_not_is_told_as_json() {
    let node = Node::start();
    let missing = node.get("/v1/nothing");
    assert_eq!((missing.status, missing.error().as_str()), (404, "not_found"));
    // Found by fuzzing: a name that is no text was refused in other words.
    let unnamed = node.get("/ui/%95");
    assert_eq!((unnamed.status, unnamed.error().as_str()), (404, "not_found"));
    let wrong = node.post("/v1/kv/a", "x");
    assert_eq!((wrong.status, wrong.error().as_str()), (405, "method_not_allowed"));
    assert!(wrong.header("Allow").is_some_and(|allow| allow.contains("PUT")));
}

#[test]
fn a_token_is_demanded_of_all_but_probes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "open-sesame\n").expect("written");
    let node = Node::start_with(&["--in-memory", "--http-token-file", file.to_str().expect("UTF-8")], &[]);
    let refused = node.get("/v1/kv");
    assert_eq!((refused.status, refused.error().as_str()), (401, "unauthorized"));
    assert_eq!(refused.header("WWW-Authenticate"), Some("Bearer"));
    assert_eq!(node.send("GET", "/v1/kv", &[("Authorization", "Bearer wrong")], ()).status, 401);
    assert_eq!(node.send("GET", "/v1/kv", &[("Authorization", "Bearer open-sesame")], ()).status, 200);
    assert_eq!(node.get("/v1/nothing").status, 401);
    assert_eq!(node.get("/livez").status, 200);
}

#[test]
fn web_pages_from_elsewhere_are_kept_out() {
    let node = Node::start();
    let from = |name, value| node.send("POST", "/v1/import", &[(name, value)], &b"{\"key\":\"k\",\"value\":1}"[..]);
    assert_eq!(from("Origin", "http://evil.example").error(), "forbidden");
    assert_eq!(from("Host", "evil.example").status, 403);
    assert_eq!(node.get("/v1/kv/k").status, 404);
    let own = node.http.clone();
    assert_eq!(from("Origin", &own).status, 200);
}

#[test]
fn concurrent_values_are_counted_and_listed_the_one_that_is_read_first() {
    let secret = "ab".repeat(32);
    let secret = [("TIDINGS_SECRET", secret.as_str())];
    let (one, two) = (Node::start_with(&["--in-memory"], &secret), Node::start_with(&["--in-memory"], &secret));
    one.put("/v1/kv/a", "{\"of\":1}");
    two.put("/v1/kv/a?ttl=1h", "of two");
    assert_eq!(one.post("/v1/peers", format!("{{\"address\":\"{}\"}}", two.quic)).status, 201);
    for node in [&one, &two] {
        eventually("both values are here", || node.get("/v1/kv/a").header("Tidings-Siblings") == Some("1"));
        let (read, list) = (node.get("/v1/kv/a"), node.get("/v1/kv/a?siblings=true").json());
        assert_eq!((read.text(), list.as_array().map(Vec::len)), ("of two", Some(2)), "the later clock is read");
        assert_eq!((&list[0]["text"], &list[0]["dot"]), (&json!("of two"), &json!(read.header("Tidings-Dot"))));
        assert_eq!((&list[1]["value"], list[1].get("expires")), (&json!({ "of": 1 }), None));
        assert_eq!(list[0]["expires"], json!(read.header("Tidings-Expires").and_then(|ms| ms.parse::<u64>().ok())));
    }
    assert_eq!(one.put("/v1/kv/a", "of both").status, 204);
    eventually("a write that has seen both replaces both", || two.get("/v1/kv/a").text() == "of both");
    assert_eq!(two.get("/v1/kv/a?siblings=true").json().as_array().map(Vec::len), Some(1));
}

#[test]
fn what_has_expired_is_absent_everywhere() {
    let node = Node::start();
    assert_eq!(node.put("/v1/kv/short?ttl=1ms", "v").status, 201);
    eventually("it expires", || node.get("/v1/kv/short").status == 404);
    assert_eq!(node.get("/v1/kv/short?siblings=true").status, 404);
    assert_eq!(node.get("/v1/kv").json()["items"], json!([]));
    assert_eq!(node.get("/v1/export").body, b"");
    assert_eq!(node.delete("/v1/kv/short").status, 404);
    assert_eq!(node.put("/v1/kv/short", "v").status, 201, "there was nothing to replace");
}

#[test]
fn a_page_has_a_thousand_items_at_most_and_a_hundred_unless_told() {
    let node = Node::start();
    let lines: String = (0..1_200).map(|i| format!("{{\"key\":\"k{i:04}\",\"value\":{i}}}\n")).collect();
    assert_eq!(node.post("/v1/import", lines).status, 200);
    let page = |query: &str| {
        let page = node.get(&format!("/v1/kv{query}")).json();
        (page["items"].as_array().map_or(0, Vec::len), page["next"].clone())
    };
    assert_eq!(page(""), (100, json!("k0100")));
    assert_eq!(page("?limit=18446744073709551615"), (1_000, json!("k1000")));
    assert_eq!(page("?limit=1000&start=k1000"), (200, json!(null)));
    assert_eq!(page("?prefix=k119&limit=10"), (10, json!(null)), "no page is empty but the last");
    assert_eq!(page("?prefix=none"), (0, json!(null)));
}

#[test]
fn a_line_of_import_has_two_mebibytes_at_most() {
    let node = Node::start();
    let record = "{\"key\":\"k\",\"value\":1}";
    let line = |bytes: usize| format!("{record}{}\n", " ".repeat(bytes - record.len()));
    assert_eq!(node.post("/v1/import", line(2 * 1_024 * 1_024)).json(), json!({ "imported": 1 }));
    let refused = node.post("/v1/import", line(2 * 1_024 * 1_024 + 1));
    assert_eq!((refused.status, refused.error().as_str()), (400, "bad_record"));
    assert_eq!((&refused.json()["error"]["line"], &refused.json()["imported"]), (&json!(1), &json!(0)));
}

#[test]
fn parameters_that_a_route_does_not_have_are_refused_everywhere() {
    let node = Node::start();
    for path in ["kv", "kv/a", "sys", "sys/a", "members", "peers", "status", "export", "checkpoint"] {
        let refused = node.get(&format!("/v1/{path}?frob=1"));
        assert_eq!((refused.status, refused.error().as_str()), (400, "bad_request"), "{path}");
        assert!(refused.text().contains("unknown parameter \\\"frob\\\"; known here: "), "{}", refused.text());
    }
    assert_eq!(node.delete("/v1/kv/a?frob=1").status, 400);
    assert_eq!(node.delete("/v1/peers/a:1?frob=1").status, 400);
    assert_eq!(node.post("/v1/import?frob=1", "").status, 400);
    // A probe may have one to get past a cache.
    assert_eq!(node.get("/livez?frob=1").status, 200);
}

#[test]
fn addresses_that_could_never_be_dialled_are_refused() {
    let node = Node::start();
    for bad in ["a", "a:0", "a:65536", ":1", "::1:7400", "[::1", "http://a:1", "a b:1", "a/b:1", "[a]:1"] {
        let refused = node.post("/v1/peers", json!({ "address": bad }).to_string());
        assert_eq!((refused.status, refused.error().as_str()), (400, "bad_request"), "{bad}");
        assert!(refused.text().contains("no HOST:PORT, as 127.0.0.1:7400 is"), "{}", refused.text());
    }
    assert_eq!(node.get("/v1/peers").json(), json!({ "peers": [] }));
    for good in ["a.example:1", "[::1]:7400", "10.0.0.1:65535"] {
        assert_eq!(node.post("/v1/peers", json!({ "address": good }).to_string()).status, 201, "{good}");
    }
}

#[test]
fn a_node_that_has_nobody_to_sync_with_yet_is_alive_and_not_ready() {
    let secret = "ab".repeat(32);
    let node = Node::start_with(&["--in-memory", "--join", "127.0.0.1:9"], &[("TIDINGS_SECRET", &secret)]);
    assert_eq!((node.get("/livez").status, node.get("/healthz").status), (200, 200));
    let refused = node.get("/readyz");
    assert_eq!((refused.status, refused.error().as_str()), (503, "not_ready"));
    assert_eq!(refused.header("Retry-After"), Some("1"));
}

#[test]
fn beside_the_routes_is_nothing() {
    let node = Node::start();
    for path in ["/v1", "/v1/", "/v1/demo", "/v1/peers/a:1/b", "/get/a", "/kvs/a"] {
        let missing = node.get(path);
        assert!([404, 405].contains(&missing.status), "{path}: {}", missing.status);
        assert!(["not_found", "method_not_allowed"].contains(&missing.error().as_str()), "{path}");
    }
}
