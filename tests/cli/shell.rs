//! The shell, and the demo. Not responsible for what the commands in it do.

use crate::common::{Node, Process, announced, code, eventually, run, run_with_input, stderr, stdout, tidings};

#[test]
fn the_shell_takes_the_same_commands_from_any_input() {
    let node = Node::start();
    let lines = "\nput 'a key' \"a value\"\nget 'a key'\nfrobnicate\nput x\nget none\nhelp put\nlist\nshow\nadd 127.0.0.1:9\n\
                 remove 127.0.0.1:9\nmembers\nview\nstatus\ndelete 'a key'\nput 'open\nuse 2\nexit\nput after 1\n";
    let output = node.run_with_input(&["shell"], lines.as_bytes());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.starts_with("created\na value\nunknown command \"frobnicate\"\nCommands; "), "{said}");
    for part in
        ["Usage: put", "--ttl", "a key  a value", "added\n", "removed\n", "this node", "tombstones", "deleted\n"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("the quote ' is not closed") && said.contains("unknown command \"use\""), "{said}");
    assert!(stderr(&output).contains("there is no such key"));
    assert_eq!(node.get("/v1/kv/after").status, 404);
}

#[test]
fn a_node_with_a_shell_ends_with_it() {
    let args = ["node", "--in-memory", "--shell", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--name", "n"];
    let output = run_with_input(args, b"put a 1\nget a\n");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).ends_with("created\n1\n"), "{}", stdout(&output));
}

#[test]
fn a_demo_is_one_map_on_several_nodes() {
    let mut demo = Process::start(tidings().args(["demo", "--nodes", "3"]));
    let nodes = [1, 2, 3].map(|number| {
        let (name, http, quic) = announced(&demo.line());
        assert_eq!(name, format!("node{number}"));
        assert!(quic.starts_with("127.0.0.1:"));
        http
    });
    assert_eq!(demo.line(), format!("dashboard  {}/ui/", nodes[0]));
    let at = |index: usize, args: &[&str]| run(args.iter().chain(&["--http", nodes[index].as_str()]));
    assert_eq!(code(&at(0, &["put", "greeting", "hello"])), 0);
    eventually("the write is everywhere", || (0..3).all(|index| at(index, &["get", "greeting"]).stdout == b"hello"));
    assert_eq!(code(&at(2, &["delete", "greeting"])), 0);
    eventually("the delete is everywhere", || (0..3).all(|index| code(&at(index, &["get", "greeting"])) == 3));
    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(0));
    assert_eq!(demo.rest(), "");
}
