//! The commands, at the real binary. Not responsible for what nodes tell each other.
#![cfg(feature = "cli")]

mod common;

use common::{Node, Process, announced, code, command, eventually, run, run_with_input, stderr, stdout, tidings};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

const NOBODY: &str = "127.0.0.1:1";

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

/// A node that was refused its settings: what it said.
fn refused(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = command(directory.path());
    let output = command.args(flags).envs(variables.iter().copied()).output().expect("the binary runs");
    assert_eq!(code(&output), 2, "{flags:?} {variables:?}: {}", stderr(&output));
    assert!(!directory.path().join("tidings-data").exists(), "a refused node leaves nothing behind");
    stderr(&output)
}

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
    assert!(stdout(&node.run(&["status"])).contains("tombstones"));
}

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

#[test]
fn where_no_node_is_the_next_step_is_told() {
    for command in [&["get", "a"][..], &["list"], &["export"], &["members"], &["leave"], &["peers", "add", "a:1"]] {
        let output = run(command.iter().chain(&["--http", NOBODY]));
        let expected = "no node at http://127.0.0.1:1; start one with \"tidings node\", or give --http\n";
        assert_eq!((code(&output), stderr(&output).as_str()), (1, expected), "{command:?}");
    }
}

#[test]
fn bad_usage_ends_with_2() {
    for command in [
        &["frobnicate"][..],
        &[],
        &["put", "a"],
        &["put", "a", "b", "--ttl", "5"],
        &["get", "a", "--frob"],
        &["get", "a", "--http", "https://127.0.0.1:7480"],
        &["node", "--frob"],
        &["node", "--profile", "fast"],
        &["node", "--in-memory", "--data-dir", "d"],
        &["node", "--in-memory", "--listen", "here"],
        &["node", "--in-memory", "--http", "here"],
        &["node", "--in-memory", "--tombstone-age", "5"],
        &["demo", "--nodes", "0"],
        &["watch"],
    ] {
        assert_eq!(code(&run(command)), 2, "{command:?}");
    }
}

#[test]
fn every_help_text_is_there_with_its_examples() {
    for command in [&[][..], &["node"], &["demo"], &["put"], &["get"], &["list"], &["import"], &["secret", "new"]] {
        let help = run(command.iter().chain(&["--help"]));
        assert_eq!(code(&help), 0);
        assert!(stdout(&help).contains("Example"), "{command:?}: {}", stdout(&help));
    }
}

#[test]
fn a_secret_is_64_hexadecimal_digits() {
    let secret = stdout(&run(["secret", "new"]));
    assert!(secret.trim_end().len() == 64 && secret.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{secret}");
    assert_ne!(secret, stdout(&run(["secret", "new"])));
    let node = Node::start_with(&["--in-memory"], &[("TIDINGS_SECRET", &secret)]);
    assert_eq!(node.get("/livez").status, 200);
    assert!(refused(&["--in-memory"], &[("TIDINGS_SECRET", "abc")]).starts_with("TIDINGS_SECRET: "));
}

#[cfg(unix)]
#[test]
fn secret_files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut node = Node::start_with(&["--data-dir", "data"], &[]);
    let file = node.directory.path().join("data/secret");
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(node.process.line().starts_with("state is kept in "));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let said = refused(&["--in-memory", "--secret-file", file.to_str().expect("UTF-8")], &[]);
    assert!(said.contains("chmod 600"), "{said}");
    assert!(refused(&["--in-memory", "--secret-file", "no-such-file"], &[]).contains("no-such-file: "));
}

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
fn flags_win_over_variables_and_variables_over_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "name = \"of-the-file\"\nin_memory = true\njoin = [\"127.0.0.1:9\"]\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let secret = stdout(&run(["secret", "new"]));
    let name = |flags: &[&str], variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.iter().copied().chain([("TIDINGS_SECRET", secret.as_str())]).collect();
        Node::start_with(flags, &variables).name.clone()
    };
    let config = ["--config", file];
    assert_eq!(name(&config, &[]), "of-the-file");
    assert_eq!(name(&["-c", file], &[("TIDINGS_NAME", "of-the-environment")]), "of-the-environment");
    assert_eq!(name(&["-c", file, "--name", "of-the-flag"], &[("TIDINGS_NAME", "x")]), "of-the-flag");
    assert_eq!(name(&[], &[("TIDINGS_CONFIG", file)]), "of-the-file");
}

#[test]
fn unknown_settings_are_errors_in_the_file_and_warnings_in_the_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "data_dri = \"x\"\n").expect("written");
    let said = refused(&["--config", file.to_str().expect("UTF-8")], &[]);
    assert!(said.contains("config.toml") && said.contains("unknown field `data_dri`"), "{said}");
    assert!(refused(&["--config", "no-such-file"], &[]).contains("no-such-file: "));
    assert!(refused(&[], &[("TIDINGS_PROFILE", "fast")]).contains("profile"));
    let warned = tidings().args(["secret", "new"]).env("TIDINGS_DATA_DRI", "x").output().expect("the binary runs");
    assert_eq!(code(&warned), 0);
    assert!(stderr(&warned).starts_with("warning: TIDINGS_DATA_DRI is no setting"), "{}", stderr(&warned));
}

#[test]
fn beyond_loopback_somebody_must_have_decided_who_comes_in() {
    let far = ["--in-memory", "--http", "0.0.0.0:0"];
    let directory = tempfile::tempdir().expect("a directory");
    // a later --http wins nothing: it may be given once
    let start = |more: &[&str]| {
        let mut command = tidings();
        command.current_dir(directory.path()).args(["node", "--listen", "127.0.0.1:0"]).args(far).args(more);
        command.stderr(Stdio::piped());
        command
    };
    let output = start(&[]).output().expect("the binary runs");
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("--http-token-file") && said.contains("--http-allow-anonymous"), "{said}");
    let mut open = Process::start(&mut start(&["--http-allow-anonymous"]));
    assert!(open.line().contains("http://0.0.0.0:"));
}

#[test]
fn a_view_of_others_needs_their_secret_and_the_own_address_is_no_other() {
    let others = ("VIEW", "127.0.0.1:9,127.0.0.1:10");
    let said = refused(&[], &[others]);
    assert!(said.contains("--secret-file") && said.contains("TIDINGS_SECRET"), "{said}");
    assert!(refused(&["--join", "127.0.0.1:9"], &[]).contains("TIDINGS_SECRET"));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound").to_string();
    drop(socket);
    let directory = tempfile::tempdir().expect("a directory");
    let mut alone = tidings();
    alone.args(["node", "--in-memory"]).envs([("SOCKET_ADDRESS", address.as_str()), ("VIEW", address.as_str())]);
    let node = Node::of(Process::start(&mut alone), directory);
    assert_eq!((node.http.as_str(), node.quic.as_str()), (format!("http://{address}").as_str(), address.as_str()));
    assert_eq!(node.get("/v1/peers").json(), json!({ "peers": [] }));
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
fn signals_end_a_node_in_order() {
    for signal in ["TERM", "INT"] {
        let mut node = Node::start();
        node.process.signal(signal);
        assert_eq!(node.process.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn leave_says_so_and_ends_the_node() {
    let mut node = Node::start();
    assert_eq!(stdout(&node.run(&["leave"])), "left\n");
    assert_eq!(node.process.wait().code(), Some(0));
}

#[test]
fn the_shell_takes_the_same_commands_from_any_input() {
    let node = Node::start();
    let lines = "\nput 'a key' \"a value\"\nget 'a key'\nfrobnicate\nput x\nget none\nhelp put\nlist\nshow\nadd 127.0.0.1:9\n\
                 remove 127.0.0.1:9\nmembers\nstatus\ndelete 'a key'\nput 'open\nuse 2\nexit\nput after 1\n";
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
    let at = |index: usize, args: &[&str]| run(args.iter().chain(&["--http", nodes[index].as_str()]));
    assert_eq!(code(&at(0, &["put", "greeting", "hello"])), 0);
    eventually("the write is everywhere", || (0..3).all(|index| at(index, &["get", "greeting"]).stdout == b"hello"));
    assert_eq!(code(&at(2, &["delete", "greeting"])), 0);
    eventually("the delete is everywhere", || (0..3).all(|index| code(&at(index, &["get", "greeting"])) == 3));
    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(0));
    assert_eq!(demo.rest(), "");
}
