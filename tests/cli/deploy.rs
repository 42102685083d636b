//! What stands in `deploy/` is there in the binary: commands, flags, variables, routes, settings. Whether the files are
//! well-formed, `deploy/check` looks at with the tools of their own.

use crate::NOBODY;
use crate::common::{Node, code, run, stderr, stdout, tidings};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text_of(file: &str) -> String {
    fs::read_to_string(deploy().join(file)).expect("it is there")
}

/// All that people copy from: name and text.
fn files() -> Vec<(String, String)> {
    let entries = [deploy(), deploy().join("kubernetes")].map(|folder| fs::read_dir(folder).expect("it is there"));
    let paths = entries.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let files = paths.filter(|path| path.is_file() && path.extension().is_none_or(|end| end != "json"));
    files.map(|path| (path.display().to_string(), fs::read_to_string(path).expect("text"))).collect()
}

/// What follows `tidings ` on its line, as words: a command, and what it is given.
fn calls(text: &str) -> Vec<Vec<String>> {
    let is_end = |c: char| "`|>&;)".contains(c);
    let words = |rest: &str| -> Vec<String> {
        let rest = rest.split(is_end).next().unwrap_or_default();
        rest.split([' ', '"', ',', ']']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let after = text.lines().flat_map(|line| line.match_indices("tidings").map(|(at, name)| &line[at + name.len()..]));
    let after = after.filter(|rest| rest.starts_with([' ', '"']));
    let calls = after.map(words);
    calls.filter(|call| call.first().is_some_and(|word| word.bytes().all(|b| b.is_ascii_lowercase()))).collect()
}

#[test]
fn the_commands_and_flags_of_the_files_are_there() {
    let mut seen = BTreeSet::new();
    for (file, text) in files() {
        for call in calls(&text) {
            let commands: Vec<&String> =
                call.iter().take(2).take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase())).collect();
            let help = run(commands.iter().map(|word| word.as_str()).chain(["--help"]));
            assert_eq!(code(&help), 0, "{file}: tidings {call:?}: {}", stderr(&help));
            for flag in call.iter().filter(|word| word.starts_with("--")) {
                let listed = stdout(&help).split_whitespace().any(|word| word == flag);
                assert!(listed, "{file}: tidings {commands:?} has no {flag}");
            }
            seen.insert(commands[0].clone());
        }
    }
    let expected = ["config", "node", "ready", "secret"].map(str::to_owned);
    assert!(expected.iter().all(|command| seen.contains(command)), "the test does not see what it is for: {seen:?}");
}

#[test]
fn the_variables_of_the_files_are_settings() {
    let help = stdout(&run(["node", "--help"]));
    let mut count = 0;
    for (file, text) in files() {
        for word in text.split(|c: char| !(c.is_ascii_uppercase() || c == '_')) {
            let Some(name) = word.strip_prefix("TIDINGS_").filter(|name| !name.is_empty()) else { continue };
            let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
            assert!(help.split_whitespace().any(|word| word == flag), "{file}: {word} is no setting");
            count += 1;
        }
    }
    assert!(count > 10, "the test does not see what it is for");
}

#[test]
fn the_probes_and_the_health_check_ask_what_a_node_answers() {
    let node = Node::start();
    let manifest = text_of("kubernetes/statefulset.yaml");
    let paths: Vec<&str> = manifest.split("path: ").skip(1).filter_map(|rest| rest.split([',', '}']).next()).collect();
    assert_eq!(paths, ["/livez", "/livez", "/readyz"]);
    paths.iter().for_each(|path| assert_eq!(node.get(path).status, 200, "{path}"));

    let image = text_of("Dockerfile");
    let check = image.lines().find(|line| line.starts_with("HEALTHCHECK")).and_then(|line| line.split_once("CMD "));
    let check: Vec<String> = serde_json::from_str(check.expect("a check").1).expect("a list of words");
    assert_eq!(check[0], "/tidings");
    let check: Vec<&str> = check[1..].iter().map(String::as_str).collect();
    assert_eq!(code(&node.run(&check)), 0);
    let absent = tidings().args(&check).env("TIDINGS_HTTP", NOBODY).output().expect("the binary runs");
    assert_eq!(code(&absent), 1);
}

/// It serves what it has, but nobody should be sent to it yet.
#[test]
fn a_node_that_has_met_nobody_is_not_ready() {
    let secret = "01".repeat(32);
    let node = Node::start_with(&["--in-memory", "--join", NOBODY], &[("TIDINGS_SECRET", &secret)]);
    let asked = node.run(&["ready", "--wait", "300ms"]);
    assert_eq!(code(&asked), 1);
    assert!(stderr(&asked).contains("no sync with any of the addresses to join yet"), "{}", stderr(&asked));
    let first = Node::start_with(&["--in-memory", "--join", &node.quic], &[("TIDINGS_SECRET", &secret)]);
    let asked = first.run(&["ready", "--wait", "20s", "--json"]);
    assert_eq!((code(&asked), stdout(&asked).as_str()), (0, "{\"ready\":true}\n"));
    assert_eq!(stdout(&node.run(&["ready", "--wait", "20s"])), "ready\n");
}

#[test]
fn one_user_owns_what_the_image_reads_and_writes() {
    let user = "65532";
    assert!(text_of("Dockerfile").contains(&format!("USER {user}:{user}")));
    assert!(text_of("Dockerfile").contains(&format!("--chown={user}:{user}")));
    assert!(text_of("compose.yml").contains(&format!("chown {user} ")));
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(text_of("kubernetes/statefulset.yaml").contains(&format!("{key}: {user}\n")), "{key}");
    }
}

#[test]
fn the_ports_are_those_of_a_node() {
    let example = stdout(&run(["config", "example"]));
    assert!(example.contains(":7400") && example.contains(":7480"), "{example}");
    for (file, published) in [
        ("Dockerfile", ""),
        ("compose.yml", "7481 7482"),
        ("kubernetes/statefulset.yaml", ""),
        ("kubernetes/services.yaml", ""),
    ] {
        let text = text_of(file);
        let numbers: BTreeSet<&str> =
            text.split(|c: char| !c.is_ascii_digit()).filter(|n| n.starts_with("74")).collect();
        let known: BTreeSet<&str> = "7400 7480".split(' ').chain(published.split_whitespace()).collect();
        assert_eq!(numbers, known, "{file}");
    }
}

#[test]
fn the_sample_settings_are_in_order() {
    let file = deploy().join("config.toml");
    let checked = run(["config", "check", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    assert!(text_of("config.toml").contains("data_dir = \"/var/lib/tidings\""));
    assert!(text_of("tidings.service").contains("StateDirectory=tidings\n"), "which systemd makes below /var/lib");
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_when_a_node_serves_and_when_it_ends() {
    use std::os::unix::net::UnixDatagram;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(crate::common::PATIENCE)).expect("a timeout");
    let told = || {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).expect("it is told in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    // It serves, though it has not met whom it is to join: it must work alone.
    let secret = "01".repeat(32);
    let variables = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("TIDINGS_SECRET", &secret)];
    let mut node = Node::start_with(&["--in-memory", "--join", NOBODY], &variables);
    assert_eq!(told(), format!("READY=1\nSTATUS=serves {}\n", node.http));
    node.process.signal("TERM");
    assert_eq!(told(), "STOPPING=1\n");
    assert_eq!(node.process.wait().code(), Some(0));
}
