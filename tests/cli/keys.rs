//! One-shot commands about keys. Not responsible for many at a time.

use crate::common::{Node, code, stderr, stdout, tidings};
use crate::parsed;
use serde_json::{Value, json};

#[test]
fn put_is_quiet_get_writes_the_raw_value_and_absent_keys_end_with_3() {
    let node = Node::start();
    let put = node.run(&["put", "greeting", "hello"]);
    assert_eq!((code(&put), stdout(&put), stderr(&put)), (0, String::new(), String::new()));
    assert_eq!(node.run(&["get", "greeting"]).stdout, b"hello");
    assert_eq!(code(&node.run(&["delete", "greeting"])), 0);
    let get = node.run(&["get", "greeting"]);
    assert_eq!((code(&get), stdout(&get)), (3, String::new()));
    assert_eq!(code(&node.run(&["delete", "greeting"])), 3);
}

#[test]
fn a_value_may_come_from_stdin_and_be_any_bytes() {
    let node = Node::start();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(code(&node.run_with_input(&["put", "picture", "-"], &bytes)), 0);
    assert_eq!(node.run(&["get", "picture"]).stdout, bytes);
    let large = node.run_with_input(&["put", "large", "-"], &vec![0; 3_000_000]);
    assert_eq!(code(&large), 1);
    assert!(stderr(&large).contains("a value has at most 1048576 bytes"), "{}", stderr(&large));
}

#[cfg(unix)]
#[test]
fn a_key_may_be_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let node = Node::start();
    let key = OsStr::from_bytes(b"a b?\xff/#");
    let at = |words: &[&str]| {
        let mut command = tidings();
        command.args(&words[..1]).arg(key).args(&words[1..]).args(["--http", &node.http]);
        command.output().expect("the binary runs")
    };
    assert_eq!(code(&at(&["put", "v"])), 0);
    assert_eq!(at(&["get"]).stdout, b"v");
    assert_eq!(node.get("/v1/kv/a%20b%3f%ff%2f%23").text(), "v");
    assert_eq!(parsed(&at(&["get", "--json"]))["key_base64"], "YSBiP/8vIw==");
    assert_eq!(code(&at(&["delete"])), 0);
}

#[test]
fn json_says_the_same_to_programs() {
    let node = Node::start();
    let put = parsed(&node.run(&["--json", "put", "a", "{\"n\":1}", "--ttl", "1h"]));
    assert_eq!(put["created"], true);
    assert_eq!(parsed(&node.run(&["put", "b", "-1", "--json"]))["created"], true);
    let get = parsed(&node.run(&["get", "a", "--json"]));
    assert_eq!((&get["key"], &get["value"], &get["dot"]), (&json!("a"), &json!({ "n": 1 }), &put["dot"]));
    assert_eq!((&get["siblings"], get["expires"].is_u64()), (&json!(0), true));
    assert_eq!(parsed(&node.run(&["get", "b", "--siblings", "--json"]))[0]["value"], -1);
    assert_eq!(stdout(&node.run(&["list", "b", "--json"])), "{\"key\":\"b\",\"value\":-1}\n");
    assert_eq!(parsed(&node.run(&["members", "--json"]))["members"][0]["self"], true);
    assert_eq!(parsed(&node.run(&["peers", "--json"])), json!({ "peers": [] }));
    assert!(parsed(&node.run(&["status", "--json"]))["context"].is_object());
    assert_eq!(parsed(&node.run(&["delete", "b", "--json"]))["deleted"], true);
    let absent = node.run(&["get", "b", "--json"]);
    let error: Value = serde_json::from_slice(&absent.stderr).expect("JSON on stderr");
    assert_eq!((code(&absent), &error["error"]["code"]), (3, &json!("absent")));
}

#[test]
fn lists_go_over_many_pages_and_show_nothing_that_moves_the_cursor() {
    let node = Node::start();
    let lines: String = (0..2_500).map(|i| format!("{{\"key\":\"k{i:04}\",\"value\":{i}}}\n")).collect();
    assert_eq!(code(&node.run_with_input(&["import", "-"], lines.as_bytes())), 0);
    assert_eq!(stdout(&node.run(&["list", "--json"])), lines);
    node.run(&["put", "x", "a\u{1b}[2Jb"]);
    let table = stdout(&node.run(&["list", "x"]));
    assert!(table.starts_with("KEY") && table.contains("a\\u{1b}[2Jb") && !table.contains('\u{1b}'), "{table}");
    assert_eq!(stdout(&node.run(&["list"])).lines().count(), 2_502);
}
