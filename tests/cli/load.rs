//! `load` at real nodes. Not responsible for how fast they are.

use crate::common::{Node, Process, announced, code, eventually, run, stderr, stdout, tidings};
use crate::{NOBODY, parsed};
use std::process::Stdio;

fn demo() -> (Process, Vec<String>) {
    let mut demo = Process::start(tidings().args(["demo", "--nodes", "3"]));
    let nodes = (0..3).map(|_| announced(&demo.line()).1).collect();
    (demo, nodes)
}

#[test]
fn it_measures_writes_reads_and_lag_and_counts_no_errors() {
    let (_demo, nodes) = demo();
    let at = nodes.join(",");
    let output = run(["load", "--http", &at, "--clients", "4", "--rate", "100", "--seconds", "3", "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = parsed(&output);
    assert_eq!(report["errors"]["count"], 0, "{report}");
    // Half of 300 each, less what a slow machine leaves undone.
    for kind in ["writes", "reads"] {
        assert!((10..=160).contains(&report[kind]["count"].as_u64().expect("a count")), "{report}");
        let [p50, p90, p99, max] =
            ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(|name| report[kind][name].as_f64().expect("ms"));
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99 && p99 <= max, "{report}");
    }
    let lag = report["lag"].as_array().expect("a list");
    assert_eq!(lag.iter().map(|lag| lag["at"].as_str().expect("a node").to_owned()).collect::<Vec<_>>(), nodes);
    assert!(lag.iter().all(|lag| lag["count"].as_u64().is_some_and(|count| count > 0)), "{report}");
    // What it has written ends by itself.
    let items = stdout(&run(["list", "load/", "--json", "--http", &nodes[0]]));
    assert!(items.lines().count() > 0 && items.lines().all(|line| line.contains("\"expires\":")), "{items}");
}

#[test]
fn a_table_for_people_and_no_lag_with_one_node() {
    let node = Node::start();
    let output = node.run(&["load", "--seconds", "1", "--rate", "0", "--clients", "2"]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let table = stdout(&output);
    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|head| head.contains("PER SECOND") && head.contains("P99 MS")), "{table}");
    assert!(lines.next().is_some_and(|line| line.starts_with("writes")), "{table}");
    assert!(lines.next().is_some_and(|line| line.starts_with("reads")) && lines.next().is_none(), "{table}");
}

#[test]
fn an_interrupted_load_shows_what_it_has_measured() {
    let node = Node::start();
    let mut command = tidings();
    command.args(["load", "--seconds", "3600", "--json", "--http", &node.http]).stderr(Stdio::null());
    let mut load = Process::start(&mut command);
    eventually("it has begun", || !node.get("/v1/kv?prefix=load/").text().starts_with("{\"items\":[]"));
    load.signal("INT");
    assert_eq!(load.wait().code(), Some(0));
    let report: serde_json::Value = serde_json::from_str(&load.rest()).expect("JSON");
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds < 3_600.0), "{report}");
}

#[test]
fn requests_that_fail_are_counted_and_end_it_with_1() {
    let node = Node::start();
    let mut command = tidings();
    command.args(["load", "--seconds", "3600", "--json", "--http", &node.http]).stderr(Stdio::piped());
    let mut load = Process::start(&mut command);
    eventually("it has begun", || !node.get("/v1/kv?prefix=load/").text().starts_with("{\"items\":[]"));
    let http = node.http.clone();
    drop(node);
    eventually("nobody answers there any more", || code(&run(["status", "--http", &http])) == 1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    load.signal("INT");
    assert_eq!(load.wait().code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&load.rest()).expect("JSON");
    assert!(report["errors"]["count"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert!(report["errors"]["messages"].to_string().contains(&format!("no node at {http}")), "{report}");
}

#[test]
fn a_node_that_is_not_there_is_told_before_anything_is_measured() {
    let node = Node::start();
    let output = run(["load", "--seconds", "1", "--http", &format!("{},{NOBODY}", node.http)]);
    assert_eq!((code(&output), stdout(&output)), (1, String::new()));
    assert!(stderr(&output).starts_with("no node at http://127.0.0.1:1;"), "{}", stderr(&output));
    assert_eq!(node.get("/v1/kv?prefix=load/").json()["items"].as_array().map(Vec::len), Some(0));
}
