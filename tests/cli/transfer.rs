//! Import and export. Not responsible for what a line looks like: the routes have tests of that.

use crate::common::{Node, code, stderr, stdout};
use crate::parsed;

#[test]
fn import_and_export_say_how_many_and_give_back_the_same() {
    let node = Node::start();
    let lines = "{\"key\":\"a\",\"value\":1.0}\n{\"key\":\"b\",\"text\":\"x y\"}\n";
    let file = node.path("records.jsonl");
    std::fs::write(&file, lines).expect("written");
    let import = node.run(&["import", &file]);
    assert_eq!((code(&import), stdout(&import)), (0, String::new()));
    assert!(stderr(&import).starts_with("imported 2 records in "), "{}", stderr(&import));
    let export = node.run(&["export"]);
    assert_eq!((code(&export), stdout(&export).as_str()), (0, lines));
    assert!(stderr(&export).starts_with("exported 2 records in "));
    assert_eq!(parsed(&node.run(&["import", &file, "--json"]))["imported"], 2);
    let missing = node.run(&["import", "no-such-file"]);
    assert_eq!(code(&missing), 1);
    assert!(stderr(&missing).contains("no-such-file: "));
}

#[test]
fn a_bad_line_is_named_by_its_number_in_the_file() {
    let node = Node::start();
    let bad = node.run_with_input(
        &["import", "-"],
        b"{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\"\n{\"key\":\"c\",\"value\":1}\n",
    );
    assert_eq!(code(&bad), 1);
    assert!(stderr(&bad).lines().any(|line| line.starts_with("line 2: ")), "{}", stderr(&bad));
    assert_eq!(node.get("/v1/kv/a").status, 200);
    assert_eq!(node.get("/v1/kv/c").status, 404);
    // beyond the first request, too
    let value = "v".repeat(10_000);
    let mut lines: String = (0..1_500).map(|i| format!("{{\"key\":\"k{i}\",\"text\":\"{value}\"}}\n")).collect();
    lines.push_str("bad\n{\"key\":\"c\",\"value\":1}\n");
    let bad = node.run_with_input(&["import", "-"], lines.as_bytes());
    assert!(stderr(&bad).contains("imported 1500 records"), "{}", stderr(&bad));
    assert!(stderr(&bad).contains("\nline 1501: "), "{}", stderr(&bad));
    assert_eq!(node.get("/v1/kv/k1499").status, 200);
}
