//! What nodes write to their logs, and what they never do. Not responsible for what is worth a line.

use crate::common::{Node, eventually, stderr};
use serde_json::Value;
use std::fs::File;
use std::process::Command;

/// A node whose log can be read.
struct Logged {
    node: Node,
    log: std::path::PathBuf,
}

impl Logged {
    fn start(flags: &[&str], level: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let mut command: Command = crate::common::command(directory.path());
        command.args(flags).env("RUST_LOG", level).env("TIDINGS_SECRET", "ab".repeat(32));
        command.stderr(File::create(&log).expect("a file"));
        Self { node: Node::of(crate::common::Process::start(&mut command), directory), log }
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.log).expect("UTF-8")
    }
}

#[test]
fn no_value_and_no_key_of_a_user_is_in_a_log_whatever_its_level() {
    let first = Logged::start(&["--data-dir", "data"], "trace");
    let second = Logged::start(&["--in-memory", "--join", &first.node.quic], "trace");
    let (key, value, message) = ("kettle-in-the-kitchen", "boils-over", "tea-is-ready");
    let path = format!("/v1/kv/{key}");
    first.node.put(&path, value);
    // Refused ones too, and what goes with requests.
    first.node.put(&format!("{path}?ttl=never"), value);
    first.node.post("/v1/import", format!("{{\"key\":\"{key}2\",\"text\":\"{value}\"}}\n{value}\n"));
    first.node.post("/v1/broadcast", message);
    eventually("it is there", || second.node.get(&path).body == value.as_bytes());
    second.node.delete(&path);
    eventually("it is gone", || first.node.get(&path).status == 404);
    for (name, logged) in [("first", &first), ("second", &second)] {
        let log = logged.read();
        assert!(log.lines().count() > 20 && log.contains("TRACE"), "{name} has not logged at that level:\n{log}");
        for secret in [key, value, message] {
            let found: Vec<_> = log.lines().filter(|line| line.contains(secret)).collect();
            assert!(found.is_empty(), "{name} has logged {secret}: {found:?}");
        }
    }
}

#[test]
fn a_log_for_programs_is_an_object_on_each_line_with_its_link_and_its_sync() {
    let first = Logged::start(&["--in-memory"], "warn");
    first.node.put("/v1/kv/kettle", "on");
    let flags = ["--in-memory", "--join", &first.node.quic, "--log-format", "json"];
    let second = Logged::start(&flags, "tidings=debug");
    eventually("it is there", || second.node.get("/v1/kv/kettle").status == 200);
    eventually("a pull is over", || second.read().contains("pull over"));
    let log = second.read();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{log}");
    let over = lines.iter().find(|line| line["message"] == "pull over").expect("it was found");
    let spans = over["spans"].as_array().expect("spans");
    let named =
        |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name}: {over}"));
    assert!(named("link")["peer"].is_string() && named("sync")["channel"].is_u64(), "{over}");
    assert!(over["took_ms"].is_u64());
    let wrong = second.node.run(&["node", "--log-format", "xml"]);
    assert!(stderr(&wrong).contains("text") && stderr(&wrong).contains("json"), "{}", stderr(&wrong));
}
