//! Wrong calls: each is told what is wrong, and what would be right. Not responsible for calls that are right.

use crate::NOBODY;
use crate::common::{Node, code, command, run, stderr, stdout, tidings};
use std::path::Path;
use std::process::Command;

/// Asserts the code and that the message has all these parts, and shows it where `--nocapture` does.
fn says(command: &mut Command, expected_code: i32, parts: &[&str]) {
    let output = command.output().expect("the binary runs");
    let said = stderr(&output);
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    println!("{} -> {}\n{said}", args.join(" "), code(&output));
    assert_eq!(code(&output), expected_code, "{args:?}: {said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{args:?} should say {parts:?}: {said}");
    assert!(stdout(&output).is_empty() || args.contains(&"shell".to_owned()), "{args:?}: {}", stdout(&output));
}

fn call(args: &[&str]) -> Command {
    let mut command = tidings();
    command.args(args);
    command
}

#[test]
fn words_that_are_none() {
    says(&mut call(&["frobnicate"]), 2, &["unrecognized subcommand 'frobnicate'", "--help"]);
    says(&mut call(&["pit", "a", "b"]), 2, &["unrecognized subcommand 'pit'", "'put'"]);
    says(&mut call(&["node", "--data-dri", "d"]), 2, &["unexpected argument '--data-dri'", "'--data-dir'"]);
    says(&mut call(&["put", "a"]), 2, &["<VALUE>", "Usage: tidings put"]);
    says(&mut call(&["put", "a", "b", "--ttl", "5"]), 2, &["\"5\" is no duration", "as 30s"]);
    says(&mut call(&["put", "a", "b", "--ttl", "0s"]), 2, &["too short", "1ms or more"]);
    says(&mut call(&["demo", "--nodes", "0"]), 2, &["0 is not in 1..=100"]);
    says(&mut call(&["completions", "tcsh"]), 2, &["invalid value 'tcsh'", "bash, elvish, fish, powershell, zsh"]);
    says(
        &mut call(&["node", "--in-memory", "--data-dir", "d"]),
        2,
        &["'--in-memory[=<BOOL>]' cannot be used with '--data-dir <DIR>'"],
    );
}

#[test]
fn addresses_that_are_none_or_where_nobody_is() {
    for address in ["https://127.0.0.1:7480", "127.0.0.1", "127.0.0.1:7480/v1", ":7480"] {
        says(
            &mut call(&["get", "a", "--http", address]),
            2,
            &["http: ", address, "is no IP:PORT, as 127.0.0.1:7480 is"],
        );
    }
    let next = "start one with \"tidings node\", or give --http";
    says(&mut call(&["get", "a", "--http", NOBODY]), 1, &["no node at http://127.0.0.1:1", next]);
    says(call(&["get", "a"]).env("TIDINGS_HTTP", NOBODY), 1, &["no node at http://127.0.0.1:1", next]);
    says(&mut call(&["get", "a", "--http", "no-such-host.invalid:7480"]), 1, &["that name is not known", "--http"]);
    let node = Node::start();
    says(&mut call(&["get", "none", "--http", &node.http]), 3, &["there is no such key"]);
    says(&mut call(&["delete", "none", "--http", &node.http]), 3, &["there is no such key"]);
    says(
        &mut call(&["peers", "add", "127.0.0.1", "--http", &node.http]),
        1,
        &["\"127.0.0.1\" is no HOST:PORT, as 127.0.0.1:7400 is"],
    );
    says(
        &mut call(&["peers", "remove", "127.0.0.1:9", "--http", &node.http]),
        1,
        &["there is no peer \"127.0.0.1:9\"", "tidings peers"],
    );
    says(&mut call(&["put", "", "v", "--http", &node.http]), 1, &["a key has at least one byte"]);
    says(
        &mut call(&["put", &"k".repeat(1_025), "v", "--http", &node.http]),
        1,
        &["1025 bytes is too long: at most 1024"],
    );
}

#[test]
fn something_that_answers_and_is_no_node() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(answer);
        }
    });
    says(&mut call(&["members", "--http", &address]), 1, &[&address, "is this a tidings node?"]);
    says(&mut call(&["list", "--http", &address]), 1, &[&address, "is this a tidings node?"]);
}

#[test]
fn nodes_that_cannot_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = |flags: &[&str]| {
        let mut node = command(directory.path());
        node.args(flags);
        node
    };
    let other = |flags: &[&str]| {
        let mut node = call(&["node"]);
        node.current_dir(directory.path()).args(flags);
        node
    };
    let taken = Node::start();
    let http = taken.http.strip_prefix("http://").expect("a scheme");
    says(
        &mut other(&["--in-memory", "--listen", "127.0.0.1:0", "--http", http]),
        1,
        &[&taken.http, "in use", "--http"],
    );
    says(
        &mut other(&["--in-memory", "--listen", &taken.quic, "--http", "127.0.0.1:0"]),
        1,
        &[&taken.quic, "in use", "--listen"],
    );
    says(
        &mut other(&["--in-memory", "--listen", "here"]),
        2,
        &["--listen: \"here\" is no IP:PORT, as 127.0.0.1:7400 is"],
    );
    says(
        &mut other(&["--in-memory", "--http", "0.0.0.0:0"]),
        2,
        &["--http: ", "--http-token-file FILE", "--http-allow-anonymous"],
    );
    says(
        &mut node(&["--in-memory", "--join", "there"]),
        2,
        &["--join: \"there\" is no HOST:PORT, as 127.0.0.1:7400 is"],
    );
    says(&mut node(&["--in-memory", "--join", "::1:7400"]), 2, &["--join: \"::1:7400\" is no HOST:PORT", "[::1]:7400"]);
    says(
        &mut node(&["--in-memory", "--join", "a:1"]),
        2,
        &["needs their secret", "--secret-file FILE", "TIDINGS_SECRET", "\"tidings secret new\""],
    );
    says(&mut node(&["--in-memory", "--tombstone-age", "5"]), 2, &["--tombstone-age: \"5\" is no duration", "as 30s"]);
    says(&mut node(&["--in-memory", "--name", ""]), 2, &["--name: ", "1 to 255 bytes"]);
    says(
        node(&["--in-memory"]).env("TIDINGS_SECRET", "abc"),
        2,
        &["TIDINGS_SECRET: ", "64 hexadecimal digits", "tidings secret new"],
    );
    says(&mut node(&["--config", "none.toml"]), 2, &["none.toml: No such file"]);
    assert!(!directory.path().join("tidings-data").exists(), "a refused node leaves nothing behind");
}

#[test]
fn files_that_are_missing_wrong_or_for_everybody() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let node = |flags: &[&str]| {
        let mut node = command(directory.path());
        node.arg("--in-memory").args(flags);
        node
    };
    says(&mut node(&["--secret-file", "none"]), 2, &["none: No such file", "tidings secret new"]);
    let public = write("public", &"ab".repeat(32));
    set_mode(&public, 0o644);
    says(&mut node(&["--secret-file", &public]), 2, &["everybody on this machine may read it", "chmod 600"]);
    let short = write("short", "abc\n");
    set_mode(&short, 0o600);
    says(&mut node(&["--secret-file", &short]), 2, &["short: ", "64 hexadecimal digits", "tidings secret new"]);
    let token = write("token", "two words\n");
    says(
        &mut node(&["--http-token-file", &token]),
        2,
        &["one line of printable ASCII without spaces", "tidings secret new"],
    );
    let file = write("node.toml", "name = \"a\"\nlisten = 7400\n");
    says(
        &mut node(&["--config", &file]),
        2,
        &["node.toml, line 2: listen: invalid type: integer `7400`, expected a string"],
    );
    says(&mut call(&["import", "none.jsonl"]), 1, &["none.jsonl: No such file"]);
    says(
        &mut call(&["verify", directory.path().to_str().expect("UTF-8")]),
        1,
        &["neither a checkpoint nor the data directory of a node"],
    );
    says(&mut call(&["restore", "none", "--data-dir", "new"]), 1, &["none"]);
}

#[cfg(unix)]
fn set_mode(path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(Path::new(path), std::fs::Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn a_directory_that_has_a_node_already() {
    let node = Node::start_with(&["--data-dir", "data"], &[]);
    let mut second = command(node.directory.path());
    says(second.args(["--data-dir", "data"]), 1, &["is in use by another process", "--data-dir"]);
}

#[test]
fn tokens_that_are_missing_or_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (right, wrong) = (file("right", "open-sesame\n"), file("wrong", "close-sesame\n"));
    let node = Node::start_with(&["--in-memory", "--http-token-file", &right], &[]);
    says(&mut call(&["list", "--http", &node.http]), 1, &[&node.http, "give --http-token-file FILE"]);
    let mut with_wrong = call(&["list", "--http", &node.http, "--http-token-file", &wrong]);
    says(&mut with_wrong, 1, &["the token is not the one of this node", "--http-token-file"]);
    let mut with_none = call(&["list", "--http", &node.http, "--http-token-file", "no-such-file"]);
    says(&mut with_none, 2, &["no-such-file: No such file"]);
    assert_eq!(code(&run(["list", "--http", &node.http, "--http-token-file", &right])), 0);
}

#[test]
fn records_that_cannot_be_read() {
    let node = Node::start();
    let path = node.path("records.jsonl");
    for (line, parts) in [
        ("{\"key\":\"b\"", &["line 2: EOF while parsing"][..]),
        ("{\"key\":\"b\"}", &["line 2: there is no value: give \"value\", \"text\" or \"value_base64\""]),
        ("{\"value\":1}", &["line 2: there is no key: give \"key\" or \"key_base64\""]),
        ("{\"key\":\"b\",\"vaule\":1}", &["line 2: unknown field `vaule`, expected one of", "`value`"]),
        ("{\"key\":\"b\",\"value\":1,\"ttl\":0}", &["line 2: ttl: 0 is not a number of seconds above 0"]),
    ] {
        std::fs::write(&path, format!("{{\"key\":\"a\",\"value\":1}}\n{line}\n")).expect("written");
        says(&mut call(&["import", &path, "--http", &node.http]), 1, parts);
    }
}

#[test]
fn lines_of_a_shell() {
    let node = Node::start();
    let said = |line: &str| {
        let output = node.run_with_input(&["shell"], format!("{line}\n").as_bytes());
        assert_eq!(code(&output), 0, "the shell goes on, and ends at the end");
        format!("{}{}", stdout(&output), stderr(&output))
    };
    assert!(
        said("pit a b").starts_with("unknown command \"pit\"; did you mean \"put\"?\nCommands"),
        "{}",
        said("pit a b")
    );
    assert!(said("put 'a b").contains("the quote ' is not closed"));
    assert!(said("put a").contains("<VALUE>") && said("put a").contains("Usage: put"));
    assert!(said("get none").contains("there is no such key"));
    assert!(said("add nowhere").contains("is no HOST:PORT"));
}
