//! `openapi.json` against the real binary: its routes are there, and answers are as it says. Not responsible for the
//! table of routes, which is held equal to it where it stands.
#![cfg(feature = "cli")]

mod common;

use common::{Answer, Node, eventually};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is documented, of a node's own copy of it.
struct Documented(Value);

impl Documented {
    fn at(node: &Node) -> Self {
        let answer = node.get("/openapi.json");
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
        Self(answer.json())
    }

    fn resolve<'a>(&'a self, part: &'a Value) -> &'a Value {
        match part["$ref"].as_str() {
            Some(at) => {
                self.resolve(self.0.pointer(at.trim_start_matches('#')).expect("a reference that leads somewhere"))
            }
            None => part,
        }
    }

    /// Asserts that an answer is one of those documented: its status, its headers, its body.
    fn holds(&self, method: &str, path: &str, answer: &Answer) {
        let told = format!("{method} {path}: {answer:?}");
        let operation = &self.0["paths"][path][method];
        let response = self.resolve(&operation["responses"][answer.status.to_string()]);
        assert!(response.is_object(), "no such status: {told}");
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = self.resolve(header);
            match answer.header(name) {
                Some(text) => {
                    self.check_header(text, &header["schema"]).unwrap_or_else(|e| panic!("{name}: {e}; {told}"))
                }
                // A node that is alone can always say what it has shown.
                None => assert!(header["required"] != true && name != "Tidings-Session", "{name} is missing: {told}"),
            }
        }
        let Some(content) = response["content"].as_object() else {
            return assert!(answer.body.is_empty(), "no body is documented: {told}");
        };
        let media = answer.header("Content-Type").expect("a type");
        let schema = &content.get(media).unwrap_or_else(|| panic!("no such type: {told}"))["schema"];
        if media == "application/json" {
            self.check(&answer.json(), schema).unwrap_or_else(|e| panic!("{e}; {told}"));
        }
    }

    fn check_header(&self, text: &str, schema: &Value) -> Result<(), String> {
        let value = match schema["type"].as_str() {
            Some("integer") => serde_json::from_str(text).map_err(|_| "no number".to_owned())?,
            _ => Value::from(text),
        };
        self.check(&value, schema)
    }

    /// As far as `openapi.json` needs it of JSON Schema.
    fn check(&self, value: &Value, schema: &Value) -> Result<(), String> {
        let schema = self.resolve(schema);
        let refuse = |what: &str| Err(format!("{value} {what} {schema}"));
        let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        if !schema["type"].is_null() && !types.iter().any(|name| is_of_type(value, name.as_str().expect("a type"))) {
            return refuse("has not the type of");
        }
        if schema.get("const").is_some_and(|only| only != value) {
            return refuse("is not the one of");
        }
        if !schema["enum"].is_null() && !list("enum").contains(value) {
            return refuse("is none of");
        }
        if list("required").iter().any(|name| value.get(name.as_str().expect("a name")).is_none()) {
            return refuse("lacks something of");
        }
        list("allOf").iter().try_for_each(|all| self.check(value, all))?;
        if !schema["oneOf"].is_null() && list("oneOf").iter().filter(|one| self.check(value, one).is_ok()).count() != 1
        {
            return refuse("is not exactly one of");
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => return refuse(&format!("has {name}, which is not in")),
                (Value::Null, Value::Null | Value::Bool(true)) => {}
                (Value::Null, more) => self.check(field, more)?,
                (known, _) => self.check(field, known)?,
            }
        }
        let items = value.as_array().into_iter().flatten();
        items.into_iter().try_for_each(|item| self.check(item, &schema["items"]))
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn every_documented_route_is_there_and_no_other_method_of_it() {
    let node = Node::start();
    let documented = Documented::at(&node);
    for (path, item) in documented.0["paths"].as_object().expect("paths") {
        let at = path.replace("{key}", "a").replace("{peer}", "127.0.0.1:9");
        let methods: BTreeSet<&str> = item.as_object().expect("methods").keys().map(String::as_str).collect();
        for method in ["get", "put", "post", "delete", "patch"] {
            // These would end the node, or not end themselves.
            if methods.contains(method) && ["/v1/leave", "/v1/watch", "/v1/events"].contains(&path.as_str()) {
                continue;
            }
            let answer = node.send(&method.to_uppercase(), &at, &[], &b""[..]);
            if methods.contains(method) {
                assert_ne!(answer.status, 405, "{method} {path}");
                assert!(
                    !answer.body.starts_with(b"{\"error\":{\"code\":\"not_found\",\"message\":\"there is nothing at")
                );
            } else {
                assert_eq!((answer.status, answer.error().as_str()), (405, "method_not_allowed"), "{method} {path}");
                let allowed: BTreeSet<String> =
                    answer.header("Allow").expect("Allow").split(',').map(|m| m.trim().to_lowercase()).collect();
                assert!(allowed.iter().all(|m| methods.contains(m.as_str()) || m == "head"), "{path}: {allowed:?}");
                assert!(methods.iter().all(|m| *m == "parameters" || allowed.contains(*m)), "{path}: {allowed:?}");
            }
        }
    }
}

#[test]
fn answers_are_as_documented() {
    let node = Node::start();
    let peer = Node::start();
    let documented = Documented::at(&node);
    let long = "k".repeat(1_025);
    let holds = |method: &str, path: &str, at: &str, body: &str| {
        let answer = node.send(&method.to_uppercase(), at, &[], body.as_bytes());
        documented.holds(method, path, &answer);
        answer.status
    };
    let key = "/v1/kv/{key}";
    assert_eq!(holds("get", key, "/v1/kv/a", ""), 404);
    assert_eq!(holds("put", key, "/v1/kv/a", "1"), 201);
    assert_eq!(holds("put", key, "/v1/kv/a?ttl=1h", "[1, 2]"), 204);
    assert_eq!(holds("put", key, "/v1/kv/a?ttl=1", ""), 400);
    assert_eq!(holds("put", key, &format!("/v1/kv/{long}"), ""), 413);
    assert_eq!(holds("put", key, "/v1/kv/%ff", "\u{1}"), 201);
    assert_eq!(holds("put", key, "/v1/kv/json", "null"), 201);
    assert_eq!(holds("get", key, "/v1/kv/a", ""), 200);
    assert_eq!(holds("get", key, "/v1/kv/a?siblings=true", ""), 200);
    assert_eq!(holds("get", key, "/v1/kv/a?siblings=maybe", ""), 400);
    assert_eq!(holds("get", key, &format!("/v1/kv/{long}"), ""), 413);
    assert_eq!(holds("get", "/v1/kv", "/v1/kv", ""), 200);
    assert_eq!(holds("get", "/v1/kv", "/v1/kv?start=b&limit=1", ""), 200);
    assert_eq!(holds("get", "/v1/kv", "/v1/kv?siblings=true", ""), 200);
    assert_eq!(holds("get", "/v1/kv", "/v1/kv?limit=0", ""), 400);
    assert_eq!(holds("delete", key, "/v1/kv/a", ""), 204);
    assert_eq!(holds("delete", key, "/v1/kv/a", ""), 404);
    assert_eq!(holds("get", "/v1/sys", "/v1/sys?prefix=members/", ""), 200);
    assert_eq!(holds("get", "/v1/sys/{key}", "/v1/sys/none", ""), 404);
    assert_eq!(holds("post", "/v1/import", "/v1/import", "{\"key\":\"i\",\"value\":1}"), 200);
    assert_eq!(holds("post", "/v1/import", "/v1/import", "{\"key\":\"i\"}"), 400);
    assert_eq!(holds("post", "/v1/import", "/v1/import?x=1", ""), 400);
    assert_eq!(holds("get", "/v1/export", "/v1/export", ""), 200);
    for (method, path, at) in [
        ("get", key, "/v1/kv/a"),
        ("put", key, "/v1/kv/a"),
        ("delete", key, "/v1/kv/a"),
        ("get", "/v1/kv", "/v1/kv"),
        ("get", "/v1/sys", "/v1/sys"),
        ("get", "/v1/sys/{key}", "/v1/sys/a"),
        ("get", "/v1/export", "/v1/export"),
        ("post", "/v1/import", "/v1/import"),
    ] {
        let answer = node.send(&method.to_uppercase(), at, &[("Tidings-Session", "none")], &b""[..]);
        assert_eq!((answer.status, answer.error().as_str()), (400, "bad_session"), "{method} {path}");
        documented.holds(method, path, &answer);
        assert_eq!(holds(method, path, &format!("{at}?wait=5"), ""), 400, "{method} {path}");
    }
    assert_eq!(holds("get", "/v1/checkpoint", "/v1/checkpoint", ""), 409);
    let address = format!("{{\"address\":\"{}\"}}", peer.quic);
    assert_eq!(holds("post", "/v1/peers", "/v1/peers", &address), 201);
    assert_eq!(holds("post", "/v1/peers", "/v1/peers", &address), 200);
    assert_eq!(holds("post", "/v1/peers", "/v1/peers", "{}"), 400);
    assert_eq!(holds("post", "/v1/peers", "/v1/peers", &" ".repeat(20_000)), 413);
    for path in
        ["/v1/members", "/v1/view", "/v1/peers", "/v1/status", "/metrics", "/livez", "/healthz", "/readyz", "/version"]
    {
        assert!([200, 503].contains(&holds("get", path, path, "")), "{path}");
    }
    assert_eq!(holds("delete", "/v1/peers/{peer}", &format!("/v1/peers/{}", peer.quic), ""), 204);
    assert_eq!(holds("delete", "/v1/peers/{peer}", "/v1/peers/127.0.0.1:9", ""), 404);
    assert_eq!(holds("delete", "/v1/peers/{peer}", "/v1/peers/%ff", ""), 400);
    assert_eq!(holds("post", "/v1/leave", "/v1/leave?x=1", ""), 400);
    assert_eq!(holds("post", "/v1/leave", "/v1/leave", ""), 200);
}

#[test]
fn answers_of_a_cluster_and_of_a_disk_are_as_documented() {
    let secret = "ab".repeat(32);
    let secret = [("TIDINGS_SECRET", secret.as_str())];
    let first = Node::start_with(&["--data-dir", "data"], &secret);
    let second = Node::start_with(&["--in-memory", "--join", &first.quic], &secret);
    let linked = |node: &Node| node.get("/v1/status").json()["links"].as_array().is_some_and(|links| links.len() == 1);
    eventually("the two are linked", || linked(&first) && linked(&second));
    let documented = Documented::at(&first);
    for node in [&first, &second] {
        for path in ["/v1/members", "/v1/view", "/v1/peers", "/v1/status", "/metrics", "/readyz"] {
            documented.holds("get", path, &node.get(path));
        }
    }
    documented.holds("get", "/v1/checkpoint", &first.get("/v1/checkpoint"));
}

#[test]
fn refusals_of_strangers_are_as_documented() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "open-sesame\n").expect("written");
    let node = Node::start_with(&["--in-memory", "--http-token-file", file.to_str().expect("UTF-8")], &[]);
    let open = Node::start();
    let documented = Documented::at(&node);
    let evil = [("Origin", "http://evil.example")];
    for (path, item) in documented.0["paths"].as_object().expect("paths") {
        let at = path.replace("{key}", "a").replace("{peer}", "127.0.0.1:9");
        for (method, operation) in item.as_object().expect("methods").iter().filter(|(name, _)| *name != "parameters") {
            let method_name = method.to_uppercase();
            if operation["security"].is_array() {
                assert!([200, 503].contains(&node.send(&method_name, &at, &[], ()).status), "{path} is open");
                continue;
            }
            let stranger = node.send(&method_name, &at, &[], &b""[..]);
            assert_eq!(stranger.status, 401, "{method} {path}");
            documented.holds(method, path, &stranger);
            let page = open.send(&method_name, &at, &evil, &b""[..]);
            assert_eq!(page.status, 403, "{method} {path}");
            documented.holds(method, path, &page);
        }
    }
}

#[test]
fn a_head_is_a_get_without_its_body() {
    let node = Node::start();
    node.put("/v1/kv/a", "value");
    for path in ["/v1/kv/a", "/v1/kv", "/livez", "/openapi.json", "/v1/kv/none"] {
        let (head, get) = (node.send("HEAD", path, &[], ()), node.get(path));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{path}");
        assert_eq!(head.header("Tidings-Dot"), get.header("Tidings-Dot"), "{path}");
    }
}
