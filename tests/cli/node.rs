//! The life of a node as a process. Not responsible for its settings.

use crate::common::{Node, Process, announced, code, run, stderr, stdout};
use std::process::{Command, Stdio};

#[test]
fn the_printed_command_starts_a_second_node() {
    let mut node = Node::start_with(&["--data-dir", "the data"], &[]);
    assert!(node.process.line().starts_with("state is kept in "));
    assert_eq!(node.process.line(), "a second node on this machine:");
    let printed = node.process.line();
    let shell_command = format!("exec {}", printed.trim());
    let mut shell = Command::new("sh");
    shell.args(["-c", &shell_command]).current_dir(node.directory.path()).stdin(Stdio::null());
    let mut second = Process::start(&mut shell);
    let (name, http, _) = announced(&second.line());
    assert_eq!(name, "node2");
    let peers = stdout(&run(["peers", "--json", "--http", &http]));
    assert!(peers.contains(&node.quic), "{peers}");
}

#[test]
fn a_taken_port_is_named() {
    let node = Node::start();
    let http = node.http.strip_prefix("http://").expect("a scheme");
    let second = run(["node", "--in-memory", "--listen", "127.0.0.1:0", "--http", http]);
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains(http) && stderr(&second).contains("--http"), "{}", stderr(&second));
    let second = run(["node", "--in-memory", "--listen", &node.quic, "--http", "127.0.0.1:0"]);
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains(&node.quic) && stderr(&second).contains("--listen"), "{}", stderr(&second));
}

#[test]
fn signals_end_a_node_in_order() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut node = Node::start();
        node.process.signal(signal);
        assert_eq!(node.process.wait().code(), Some(0), "{signal}");
    }
}
