//! Commands about the cluster. Not responsible for keys.

use crate::NOBODY;
use crate::common::{Node, code, run, stderr, stdout};

#[test]
fn peers_are_shown_added_and_removed() {
    let node = Node::start();
    assert_eq!(stdout(&node.run(&["peers", "add", "127.0.0.1:9"])), "added\n");
    assert_eq!(stdout(&node.run(&["peers", "add", "127.0.0.1:9"])), "already there\n");
    assert!(stdout(&node.run(&["peers"])).contains("127.0.0.1:9"));
    assert_eq!(stdout(&node.run(&["peers", "remove", "127.0.0.1:9"])), "removed\n");
    let again = node.run(&["peers", "remove", "127.0.0.1:9"]);
    assert_eq!(code(&again), 1);
    assert!(stderr(&again).contains("there is no peer"), "{}", stderr(&again));
    assert_eq!(code(&node.run(&["peers", "add", "nowhere"])), 1);
    assert!(stdout(&node.run(&["members"])).contains("this node"));
    assert_eq!(stdout(&node.run(&["view", "--json"])), "{\"view\":[]}\n");
    assert!(stdout(&node.run(&["status"])).contains("tombstones"));
}

#[test]
fn where_no_node_is_the_next_step_is_told() {
    for command in
        [&["get", "a"][..], &["list"], &["export"], &["members"], &["view"], &["leave"], &["peers", "add", "a:1"]]
    {
        let output = run(command.iter().chain(&["--http", NOBODY]));
        let expected = "no node at http://127.0.0.1:1; start one with \"tidings node\", or give --http\n";
        assert_eq!((code(&output), stderr(&output).as_str()), (1, expected), "{command:?}");
    }
}

#[test]
fn the_token_is_for_clients_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "open-sesame\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let node = Node::start_with(&["--in-memory", "--http-token-file", file], &[]);
    let without = node.run(&["list"]);
    assert_eq!(code(&without), 1);
    assert!(stderr(&without).contains(&node.http) && stderr(&without).contains("give --http-token-file"));
    assert_eq!(code(&node.run(&["list", "--http-token-file", file])), 0);
}

#[test]
fn leave_says_so_and_ends_the_node() {
    let mut node = Node::start();
    assert_eq!(stdout(&node.run(&["leave"])), "left\n");
    assert_eq!(node.process.wait().code(), Some(0));
}
