//! The life of a node as a process. Not responsible for its settings.

use crate::common::{Node, Process, announced, code, command, eventually, run, stderr, stdout};
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

/// Of a node that follows files it is the word to read them again, also before it has come to that: it ended the process.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_is_no_end_of_a_node_that_is_still_starting() {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    const O_NONBLOCK: i32 = 0o4000;
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    // It reads the format of its directory, and waits for it.
    fs::create_dir(path("data")).expect("made");
    assert!(Command::new("mkfifo").arg(path("data/format")).status().expect("mkfifo runs").success());
    let mut command = command(directory.path());
    command.args(["--data-dir", "data"]).env("TIDINGS_SECRET", "ab".repeat(32));
    command.args(["--http-token-file", "token"]).stderr(File::create(path("stderr")).expect("a file"));
    fs::write(path("token"), "t").expect("written");
    let mut node = Process::start(&mut command);
    let mut format = None;
    eventually("it reads the format", || {
        format = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path("data/format")).ok();
        format.is_some()
    });
    node.signal("HUP");
    drop(format.expect("it is open").write_all(b"tidings 999 fjall state-1"));
    let (status, said) = (node.wait(), fs::read_to_string(path("stderr")).expect("UTF-8"));
    assert!(status.code() == Some(1) && said.contains("999"), "{status}: {said}");
}

#[cfg(unix)]
#[test]
fn what_a_node_keeps_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start_with(&["--data-dir", "data"], &[]);
    let mode = std::fs::metadata(node.path("data")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
