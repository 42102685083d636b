//! How commands are called, and what they say when they are called wrongly. Not responsible for what they do.

use crate::NOBODY;
use crate::common::{Node, code, run, stderr, stdout, tidings};
use serde_json::Value;
use std::process::Stdio;

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
        &["watch", "a", "b"],
    ] {
        assert_eq!(code(&run(command)), 2, "{command:?}");
    }
}

/// Every command with its subcommands, as the help lists them.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut seen = 0;
    while seen < found.len() {
        let words = found[seen].clone();
        seen += 1;
        let help = stdout(&run(words.iter().map(String::as_str).chain(["--help"])));
        let listed = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let names = names.filter(|name| !name.is_empty() && *name != "help");
        found.extend(names.map(|name| words.iter().cloned().chain([name.to_owned()]).collect()));
    }
    found
}

#[test]
fn every_command_of_the_manual_is_there_and_explains_itself() {
    let commands = commands();
    let named: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
    for name in [
        "demo",
        "node",
        "shell",
        "put",
        "get",
        "delete",
        "list",
        "watch",
        "broadcast",
        "events",
        "import",
        "export",
        "members",
        "view",
        "peers",
        "peers add",
        "peers remove",
        "status",
        "leave",
        "load",
        "simulate",
        "checkpoint",
        "restore",
        "verify",
        "secret new",
        "secret rotate",
        "secret status",
        "tls ca",
        "tls node",
        "tls rotate",
        "tls show",
        "completions",
        "config check",
        "config show",
        "config example",
    ] {
        assert!(named.iter().any(|known| known == name), "{name} is not in {named:?}");
    }
    for words in &commands {
        let help = run(words.iter().map(String::as_str).chain(["--help"]));
        let text = stdout(&help);
        assert_eq!((code(&help), stderr(&help)), (0, String::new()), "{words:?}");
        assert!(text.contains("Usage: tidings") && text.contains("--json"), "{words:?}: {text}");
        let is_group = ["", "secret", "tls", "config"].contains(&words.join(" ").as_str());
        assert!(is_group || text.contains("Example"), "{words:?} has no example: {text}");
        // Wide text is for nobody; a line of help fits into a terminal.
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(longest <= 110, "{words:?} has a line of {longest} characters");
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    for (shell, sign) in [
        ("bash", "complete -F _tidings"),
        ("zsh", "#compdef tidings"),
        ("fish", "complete -c tidings"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = run(["completions", shell]);
        let script = stdout(&output);
        assert_eq!((code(&output), stderr(&output)), (0, String::new()), "{shell}");
        assert!(script.contains(sign) && script.contains("http-token-file") && script.contains("import"), "{shell}");
    }
    let wrong = run(["completions", "tcsh"]);
    assert_eq!(code(&wrong), 2);
    assert!(stderr(&wrong).contains("bash") && stderr(&wrong).contains("fish"), "{}", stderr(&wrong));
}

#[test]
fn failures_are_json_for_who_wants_json() {
    let error = |args: &[&str]| {
        let output = run(args);
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON on stderr");
        assert!(
            output.stdout.is_empty() && error["error"]["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{error}"
        );
        (code(&output), error["error"]["code"].as_str().expect("a code").to_owned())
    };
    assert_eq!(error(&["--json", "put", "a"]), (2, "usage".to_owned()));
    assert_eq!(error(&["frobnicate", "--json"]), (2, "usage".to_owned()));
    assert_eq!(error(&["get", "a", "--json", "--http", "nowhere"]), (2, "usage".to_owned()));
    assert_eq!(error(&["get", "a", "--json", "--http", NOBODY]), (1, "failed".to_owned()));
    assert_eq!(error(&["node", "--json", "--in-memory", "--listen", "x"]), (2, "usage".to_owned()));
    assert_eq!(error(&["verify", "--json", "no-such-directory"]), (1, "failed".to_owned()));
    let node = Node::start();
    assert_eq!(error(&["get", "a", "--json", "--http", &node.http]), (3, "absent".to_owned()));
    let warned =
        tidings().args(["secret", "new", "--json"]).env("TIDINGS_HTPP", "x").output().expect("the binary runs");
    let warning: Value = serde_json::from_slice(&warned.stderr).expect("JSON on stderr");
    assert_eq!(warning["warning"], "TIDINGS_HTPP is no setting of tidings; did you mean TIDINGS_HTTP?");
}

#[test]
fn a_reader_who_has_had_enough_is_no_failure() {
    let node = Node::start();
    let lines: String = (0..5_000).map(|i| format!("{{\"key\":\"k{i:05}\",\"value\":{i}}}\n")).collect();
    node.post("/v1/import", lines);
    for command in [&["export"][..], &["list", "--json"], &["completions", "bash"]] {
        let mut child = tidings();
        child.args(command).env("TIDINGS_HTTP", &node.http).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((code(&output), stderr(&output)), (0, String::new()), "{command:?}");
    }
}
