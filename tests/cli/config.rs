//! Settings looked at without a node, and the file that a running node looks at again. Not responsible for what settings do.

use crate::common::{Node, code, eventually, run, stderr, stdout, tidings};
use crate::parsed;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// A file of settings in a directory of its own.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.toml");
    std::fs::write(&path, text).expect("written");
    (directory, path)
}

fn config(command: &str, path: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut tidings = tidings();
    tidings.args(["config", command, "--config"]).arg(path).args(flags).envs(variables.iter().copied());
    tidings.output().expect("the binary runs")
}

#[test]
fn check_names_every_mistake_with_its_place() {
    let (_directory, path) = file("name = \"a\"\ndata_dri = \"d\"\n\njoin = \"b:1\"\n");
    let variables = [("TIDINGS_PROFILE", "slow"), ("TIDINGS_SHELL", "perhaps")];
    let output = config("check", &path, &[], &variables);
    assert_eq!((code(&output), stdout(&output)), (2, String::new()));
    let (said, path) = (stderr(&output), path.display());
    for expected in [
        "TIDINGS_PROFILE: \"slow\" is none of: lan, metered\n".to_owned(),
        "TIDINGS_SHELL: \"perhaps\" is none of: true, false\n".to_owned(),
        format!("{path}, line 2: unknown key \"data_dri\"; did you mean \"data_dir\"?\n"),
        format!("{path}, line 4: join: invalid type: string \"b:1\", expected a sequence\n"),
    ] {
        assert!(said.contains(&expected), "{expected} is not in: {said}");
    }
}

#[test]
fn check_and_node_say_the_same_of_a_setting_that_cannot_work() {
    let (directory, path) = file("# mine\nlisten = \"here\"\n");
    let expected = format!("{}, line 2: listen: \"here\" is no IP:PORT, as 127.0.0.1:7400 is\n", path.display());
    assert_eq!(stderr(&config("check", &path, &[], &[])), expected);
    let node = tidings().args(["node", "--in-memory", "--config"]).arg(&path).output().expect("the binary runs");
    assert_eq!((code(&node), stderr(&node)), (2, expected));
    let flag = config("check", &path, &["--listen", "there"], &[("TIDINGS_LISTEN", "x")]);
    assert_eq!(stderr(&flag), "--listen: \"there\" is no IP:PORT, as 127.0.0.1:7400 is\n");
    let variable = config("check", &path, &[], &[("TIDINGS_LISTEN", "x")]);
    assert_eq!(stderr(&variable), "TIDINGS_LISTEN: \"x\" is no IP:PORT, as 127.0.0.1:7400 is\n");
    assert!(!directory.path().join("tidings-data").exists());
}

#[test]
fn check_is_content_with_good_settings_and_makes_nothing() {
    let (directory, path) = file("name = \"a\"\n");
    let mut check = tidings();
    check.current_dir(directory.path()).args(["config", "check", "--config"]).arg(&path);
    let output = check.output().expect("the binary runs");
    assert_eq!((code(&output), stdout(&output)), (0, format!("the settings are in order; file: {}\n", path.display())));
    assert!(!directory.path().join("tidings-data").exists(), "no secret was made");
    let output = config("check", &path, &["--json", "--in-memory"], &[]);
    assert_eq!(parsed(&output), json!({ "ok": true, "file": path }));
    let joins_alone = config("check", &path, &["--in-memory", "--join", "a:1"], &[]);
    assert!(code(&joins_alone) == 2 && stderr(&joins_alone).contains("--secret-file"), "{}", stderr(&joins_alone));
}

#[test]
fn show_tells_what_is_in_force_and_who_has_said_it() {
    let secret = "ab".repeat(32);
    let (_directory, path) = file("tombstone_age = \"2h\"\njoin = [\"a:1\", \"b:2\"]\nname = \"of-the-file\"\n");
    let variables = [("TIDINGS_NAME", "of-the-environment"), ("TIDINGS_SECRET", secret.as_str())];
    let output = config("show", &path, &["--json", "--in-memory"], &variables);
    let shown = parsed(&output);
    let line = |number: u32| json!(format!("{}, line {number}", path.display()));
    assert_eq!(shown["name"], json!({ "value": "of-the-environment", "from": "TIDINGS_NAME" }));
    assert_eq!(shown["in_memory"], json!({ "value": true, "from": "--in-memory" }));
    assert_eq!(shown["tombstone_age"], json!({ "value": "2h", "from": line(1) }));
    assert_eq!(shown["join"], json!({ "value": ["a:1", "b:2"], "from": line(2) }));
    assert_eq!(shown["http"], json!({ "value": "127.0.0.1:7480", "from": "default" }));
    assert_eq!(shown["data_dir"], json!({ "value": null, "from": "" }));
    assert_eq!(shown["secret"], json!({ "value": null, "from": "TIDINGS_SECRET" }));
    let table = stdout(&config("show", &path, &[], &variables));
    assert!(table.starts_with("SETTING") && table.contains("a:1,b:2") && table.contains("(hidden)"), "{table}");
    assert!(!table.contains(&secret) && !stdout(&output).contains(&secret), "a secret is nobody's business");
    let orchestrated = config("show", &path, &["--json"], &[("SOCKET_ADDRESS", "127.0.0.1:80"), ("VIEW", "c:3")]);
    assert_eq!(parsed(&orchestrated)["http"], json!({ "value": "127.0.0.1:80", "from": "SOCKET_ADDRESS" }));
    assert_eq!(parsed(&orchestrated)["join"], json!({ "value": ["c:3"], "from": "VIEW" }));
}

#[test]
fn settings_of_the_view_have_a_table_in_the_file() {
    let (_directory, path) = file("profile = \"metered\"\n\n[view]\nsize = 20\nselect = \"oldest\"\n");
    let variables = [("TIDINGS_VIEW_KEEP", "head")];
    let shown = parsed(&config("show", &path, &["--json", "--view-heal", "6"], &variables));
    let line = |number: u32| json!(format!("{}, line {number}", path.display()));
    assert_eq!(shown["view_size"], json!({ "value": 20, "from": line(4) }));
    assert_eq!(shown["view_select"], json!({ "value": "oldest", "from": line(5) }));
    assert_eq!(shown["view_keep"], json!({ "value": "head", "from": "TIDINGS_VIEW_KEEP" }));
    assert_eq!(shown["view_heal"], json!({ "value": 6, "from": "--view-heal" }));
    assert_eq!(shown["view_swap"], json!({ "value": 4, "from": "default" }), "half of the size, without those");
    assert_eq!(shown["view_period"], json!({ "value": "30m", "from": "default" }), "the profile's");
    assert_eq!(shown["view_propagate"], json!({ "value": "push-pull", "from": "default" }));
}

#[test]
fn a_view_that_cannot_work_is_refused_where_it_was_said() {
    let (_directory, path) = file("[view]\nsize = 20\nheal = 11\n");
    let node = |path: &Path, flags: &[&str], variables: &[(&str, &str)]| {
        let mut tidings = tidings();
        tidings.args(["node", "--in-memory", "--config"]).arg(path).args(flags).envs(variables.iter().copied());
        let output = tidings.output().expect("the binary runs");
        (code(&output), stderr(&output))
    };
    let said =
        format!("{}, line 3: view.heal: heal may take at most 10, half of size 20, and not 11\n", path.display());
    assert_eq!(node(&path, &[], &[]), (2, said.clone()));
    assert_eq!(stderr(&config("check", &path, &[], &[])), said);
    let (_directory, empty) = file("");
    let swap = "--view-swap: heal and swap may take at most 15, half of size 30, and not 24\n";
    assert_eq!(node(&empty, &["--view-heal", "4", "--view-swap", "20"], &[]), (2, swap.to_owned()));
    let size = "TIDINGS_VIEW_SIZE: a view without peers is none; give 1 or more, as 30 is\n";
    assert_eq!(node(&empty, &[], &[("TIDINGS_VIEW_SIZE", "0")]), (2, size.to_owned()));
    let period = "--view-period: \"10\" is no duration: give a number and ms, s, m, h or d, as 30s\n";
    assert_eq!(node(&empty, &["--view-period", "10"], &[]), (2, period.to_owned()));
    let select = "TIDINGS_VIEW_SELECT: \"youngest\" is none of: random, oldest\n";
    assert_eq!(node(&empty, &[], &[("TIDINGS_VIEW_SELECT", "youngest")]), (2, select.to_owned()));
}

#[test]
fn links_and_patience_can_be_said_in_three_ways() {
    let (_directory, path) = file("links = 3\nanchor_every = \"2s\"\nforget_members = \"2h\"\n");
    let variables = [("TIDINGS_SUSPECT_FOR", "500ms"), ("TIDINGS_ANCHOR_EVERY", "3s")];
    let shown = parsed(&config("show", &path, &["--json", "--graft-after", "1s"], &variables));
    let line = |number: u32| json!(format!("{}, line {number}", path.display()));
    assert_eq!(shown["links"], json!({ "value": "3..4", "from": line(1) }));
    assert_eq!(shown["anchor_every"], json!({ "value": "3s", "from": "TIDINGS_ANCHOR_EVERY" }));
    assert_eq!(shown["forget_members"], json!({ "value": "2h", "from": line(3) }));
    assert_eq!(shown["suspect_for"], json!({ "value": "500ms", "from": "TIDINGS_SUSPECT_FOR" }));
    assert_eq!(shown["graft_after"], json!({ "value": "1s", "from": "--graft-after" }));
    let flag = parsed(&config("show", &path, &["--json", "--links", "5..9"], &variables));
    assert_eq!(flag["links"], json!({ "value": "5..9", "from": "--links" }));
    let variable = parsed(&config("show", &path, &["--json"], &[("TIDINGS_LINKS", "2")]));
    assert_eq!(variable["links"], json!({ "value": "2..3", "from": "TIDINGS_LINKS" }));
}

#[test]
fn links_and_patience_that_cannot_work_are_refused_where_they_were_said() {
    let (_directory, path) = file("\nsuspect_for = \"1ms\"\n");
    let node = |path: &Path, flags: &[&str], variables: &[(&str, &str)]| {
        let mut tidings = tidings();
        tidings.args(["node", "--in-memory", "--config"]).arg(path).args(flags).envs(variables.iter().copied());
        let output = tidings.output().expect("the binary runs");
        (code(&output), stderr(&output))
    };
    let said = format!("{}, line 2: suspect_for: give 100ms or more\n", path.display());
    assert_eq!(node(&path, &[], &[]), (2, said.clone()));
    assert_eq!(stderr(&config("check", &path, &[], &[])), said);
    let (_directory, empty) = file("");
    let room = "--links: who has 4 links must be able to take another: give 4..5\n";
    assert_eq!(node(&empty, &["--links", "4..4"], &[]), (2, room.to_owned()));
    let pairs = "TIDINGS_LINKS: with fewer than 2 links the nodes would fall apart in pairs\n";
    assert_eq!(node(&empty, &[], &[("TIDINGS_LINKS", "1")]), (2, pairs.to_owned()));
    let few = node(&empty, &[], &[("TIDINGS_LINKS", "few")]);
    assert!(few.0 == 2 && few.1.starts_with("TIDINGS_LINKS: \"few\": give how many links"), "{}", few.1);
    let anchors = "--anchor-every: \"10\" is no duration: give a number and ms, s, m, h or d, as 30s\n";
    assert_eq!(node(&empty, &["--anchor-every", "10"], &[]), (2, anchors.to_owned()));
    let (_directory, wrong) = file("links = \"many\"\n");
    let said = stderr(&config("check", &wrong, &[], &[]));
    assert!(said.contains("line 1: links: ") && said.contains("4..6"), "{said}");
}

#[test]
fn the_example_is_a_file_that_changes_nothing() {
    let example = run(["config", "example"]);
    assert_eq!((code(&example), stderr(&example)), (0, String::new()));
    let (_directory, path) = file(&stdout(&example));
    let with = parsed(&config("show", &path, &["--json"], &[]));
    let (_directory, empty) = file("");
    assert_eq!(with, parsed(&config("show", &empty, &["--json"], &[])));
    assert!(parsed(&run(["config", "example", "--json"]))["toml"].as_str().is_some_and(|text| text.contains("#join")));
}

/// A node that joins whom its file names.
fn joining(text: &str) -> (Node, PathBuf, TempDir) {
    let (directory, path) = file(text);
    let node = Node::start_with(
        &["--in-memory", "--config", path.to_str().expect("UTF-8")],
        &[("TIDINGS_SECRET", &"ab".repeat(32))],
    );
    (node, path, directory)
}

fn addresses(node: &Node) -> Vec<String> {
    let peers = node.get("/v1/peers").json()["peers"].clone();
    let address = |peer: &Value| peer["address"].as_str().expect("an address").to_owned();
    peers.as_array().expect("peers").iter().map(address).collect()
}

#[test]
fn the_join_of_the_file_is_followed_while_the_node_runs() {
    let (node, path, _directory) = joining("join = [\"127.0.0.1:9\", \"127.0.0.1:10\"]\n");
    assert_eq!(addresses(&node), ["127.0.0.1:10", "127.0.0.1:9"]);
    assert_eq!(node.post("/v1/peers", r#"{"address":"127.0.0.1:12"}"#).status, 201);
    std::fs::write(&path, "join = [\"127.0.0.1:10\", \"127.0.0.1:11\"]\n").expect("written");
    let expected = ["127.0.0.1:10", "127.0.0.1:11", "127.0.0.1:12"];
    eventually("what was added is dialled, what has gone is not, and what was given by hand stays", || {
        addresses(&node) == expected
    });
    // A mistake changes nothing, and is no end of it.
    std::fs::write(&path, "join = [\"nowhere\"]\n").expect("written");
    node.process.signal("HUP");
    std::fs::write(&path, "join = [\"127.0.0.1:13\"\n").expect("written");
    node.process.signal("HUP");
    assert_eq!(addresses(&node), expected);
    std::fs::write(&path, "join = []\n").expect("written");
    node.process.signal("HUP");
    eventually("only what was given by hand is left", || addresses(&node) == ["127.0.0.1:12"]);
}

#[test]
fn a_join_by_flag_does_not_follow_the_file() {
    let (_directory, path) = file("join = [\"127.0.0.1:9\"]\n");
    let flags = ["--in-memory", "--join", "127.0.0.1:10", "--config", path.to_str().expect("UTF-8")];
    let by_flag = Node::start_with(&flags, &[("TIDINGS_SECRET", &"ab".repeat(32))]);
    let (by_file, _, _other) = joining("join = [\"127.0.0.1:9\"]\n");
    let files = [path, by_file.directory.path().join("none")];
    std::fs::write(&files[0], "join = [\"127.0.0.1:11\"]\n").expect("written");
    assert_eq!(addresses(&by_flag), ["127.0.0.1:10"]);
    // As long as the one that follows its file takes to see a change of it, so long the other has not.
    std::fs::write(_other.path().join("node.toml"), "join = [\"127.0.0.1:11\"]\n").expect("written");
    eventually("the other has followed its file", || addresses(&by_file) == ["127.0.0.1:11"]);
    assert_eq!(addresses(&by_flag), ["127.0.0.1:10"]);
}

#[test]
fn a_peer_from_the_file_is_linked_and_one_that_was_removed_stays_out() {
    let secret = "ab".repeat(32);
    let other = Node::start_with(&["--in-memory"], &[("TIDINGS_SECRET", &secret)]);
    let (node, path, _directory) = joining("join = []\n");
    std::fs::write(&path, format!("join = [\"{}\"]\n", other.quic)).expect("written");
    let linked = || node.get("/v1/status").json()["links"].as_array().is_some_and(|links| !links.is_empty());
    eventually("the two are linked", linked);
    assert_eq!(node.delete(&format!("/v1/peers/{}", other.quic)).status, 204);
    std::fs::write(&path, "join = [\"127.0.0.1:9\"]\n").expect("written");
    eventually("the file was read", || addresses(&node) == ["127.0.0.1:9"]);
    std::fs::write(&path, format!("join = [\"{}\", \"127.0.0.1:10\"]\n", other.quic)).expect("written");
    eventually("the file was read again", || addresses(&node).contains(&"127.0.0.1:10".to_owned()));
    assert!(!addresses(&node).contains(&other.quic), "only `peers add` lets it in again");
}
