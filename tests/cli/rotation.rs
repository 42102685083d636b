//! The cluster's secret replaced by files and signals, at the real binary. Not responsible for links: `tests/cluster` is.

use crate::common::{Node, Process, code, command, eventually, run, stderr, stdout};
use crate::parsed;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// A secret file of the operator, and one of each node.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().expect("a directory") };
        private(&files.path("operator"), &stdout(&run(["secret", "new"])));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Brings the operator's file to a node.
    fn bring(&self, name: &str) {
        fs::copy(self.path("operator"), self.path(name)).expect("copied");
    }

    fn rotate(&self, flags: &[&str]) -> Output {
        run(["secret", "rotate", "--secret-file", self.path("operator").to_str().expect("UTF-8")].iter().chain(flags))
    }

    fn node(&self, name: &str, join: Option<&Node>) -> Node {
        self.bring(name);
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = command(directory.path());
        command.args(["--in-memory", "--name", name, "--secret-file"]).arg(self.path(name));
        if let Some(node) = join {
            command.args(["--join", &node.quic]);
        }
        let log = File::create(directory.path().join("stderr")).expect("a file");
        Node::of(Process::start(command.env("RUST_LOG", "info").stderr(log)), directory)
    }
}

#[cfg(unix)]
fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

fn log_of(node: &Node) -> String {
    fs::read_to_string(node.path("stderr")).expect("UTF-8")
}

fn status(node: &Node) -> Value {
    parsed(&node.run(&["secret", "status", "--json"]))
}

fn is_linked(node: &Node) -> bool {
    node.get("/v1/status").json()["links"].as_array().is_some_and(|links| links.len() == 1)
}

fn figure(node: &Node, name: &str) -> String {
    let metrics = String::from_utf8(node.get("/metrics").body).expect("UTF-8");
    metrics.lines().find(|line| line.starts_with(name)).expect(name).to_owned()
}

#[test]
fn a_rotation_from_the_first_command_to_the_last() {
    let files = Files::new();
    let a = files.node("a", None);
    let b = files.node("b", Some(&a));
    eventually("the two are linked", || is_linked(&a) && is_linked(&b));
    let before = status(&a);
    assert_eq!(
        (before["waiting"].as_array().map(Vec::len), before["members"].as_array().map(Vec::len)),
        (Some(0), Some(2))
    );
    let up = figure(&a, "tidings_links_up_total");

    let begun = files.rotate(&["--json"]);
    let (begun, cluster) = (parsed(&begun), before["cluster"].as_str().expect("an id").to_owned());
    assert_eq!(begun["accepts"][1], before["presents"]);
    let text = fs::read_to_string(files.path("operator")).expect("UTF-8");
    assert!(
        text.starts_with(&format!("cluster {cluster}\n")) && text.lines().count() == 3,
        "it says which cluster it is"
    );
    let again = files.rotate(&[]);
    assert!(code(&again) == 1 && stderr(&again).contains("a rotation is under way"), "{}", stderr(&again));

    files.bring("a");
    a.process.signal("HUP");
    let new = begun["presents"].as_str().expect("a name").to_owned();
    eventually("it presents the new one", || status(&a)["presents"] == new.as_str());
    assert_eq!(status(&b)["newest"], new.as_str(), "who has yet to get it knows which one it is");
    let told = stdout(&a.run(&["secret", "status"]));
    assert!(told.contains(&format!("not yet with {new}: b; bring the new files there")), "{told}");
    let refused = files.rotate(&["--finish", "--http", &a.http]);
    let (text, said) = (fs::read_to_string(files.path("operator")).expect("UTF-8"), stderr(&refused));
    assert!(code(&refused) == 1 && said.contains("would be kept out: b;") && text.lines().count() == 3, "{said}");

    // A file that changes is read without being told to, too.
    files.bring("b");
    eventually("both present it", || status(&a)["waiting"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(figure(&a, "tidings_links_up_total"), up, "it is the same link");
    let members = stdout(&a.run(&["members"]));
    assert_eq!(members.matches(&new).count(), 2, "{members}");

    let finished = files.rotate(&["--finish", "--http", &a.http]);
    assert_eq!((code(&finished), stderr(&finished)), (0, String::new()));
    let again = files.rotate(&["--finish", "--http", &a.http]);
    assert!(code(&again) == 1 && stderr(&again).contains("no rotation is under way"), "{}", stderr(&again));
    for node in [&a, &b] {
        files.bring(&node.name);
        node.process.signal("HUP");
    }
    let done = format!("all present {new}, and accept nothing else");
    eventually("the old one is dropped", || stdout(&b.run(&["secret", "status"])).contains(&done));
    eventually("the two are linked", || is_linked(&a) && is_linked(&b));
    a.put("/v1/kv/after", "1");
    eventually("writes go on", || b.get("/v1/kv/after").status == 200);
    let c = files.node("c", Some(&b));
    eventually("a new node with the file as it is now takes part", || c.get("/v1/kv/after").status == 200);
}

/// What is said, and what is done to the file.
type Case<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_the_log_says_so() {
    let files = Files::new();
    let a = files.node("a", None);
    let b = files.node("b", Some(&a));
    eventually("the two are linked", || is_linked(&a) && is_linked(&b));
    let (before, stays) = (status(&a), "the keys of the cluster stay as they were");
    let path = files.path("a");
    let public = |_: &Path| {
        use std::os::unix::fs::PermissionsExt;
        files.bring("a");
        fs::set_permissions(files.path("a"), fs::Permissions::from_mode(0o644)).expect("chmod");
    };
    let another = |path: &Path| private(path, &stdout(&run(["secret", "new"])));
    let cases: [Case<'_>; 5] = [
        ("64 hexadecimal digits", &|path| private(path, "correct horse battery staple\n")),
        ("several secrets need a line", &|path| {
            private(path, &[stdout(&run(["secret", "new"])), stdout(&run(["secret", "new"]))].concat());
        }),
        ("the node is of cluster", &another),
        ("everybody on this machine may read it", &public),
        ("No such file", &|path| fs::remove_file(path).expect("it was there")),
    ];
    for (expected, spoil) in cases {
        spoil(&path);
        a.process.signal("HUP");
        eventually(expected, || log_of(&a).lines().any(|line| line.contains(expected) && line.contains(stays)));
    }
    assert_eq!(status(&a), before);
    assert!(is_linked(&a) && is_linked(&b));
    // And is no end of it.
    assert_eq!(code(&files.rotate(&[])), 0);
    files.bring("a");
    private(&path, &fs::read_to_string(&path).expect("UTF-8"));
    a.process.signal("HUP");
    eventually("it has the new one", || status(&a)["presents"] != before["presents"]);
}

#[test]
fn the_token_of_clients_is_read_again_too() {
    let files = Files::new();
    let token = files.path("token");
    private(&token, "old\n");
    let node = Node::start_with(&["--in-memory", "--http-token-file", token.to_str().expect("UTF-8")], &[]);
    let status =
        |token: &str| node.send("GET", "/v1/status", &[("authorization", &format!("Bearer {token}"))], ()).status;
    assert_eq!((status("old"), status("new")), (200, 401));
    private(&token, "new\n");
    node.process.signal("HUP");
    eventually("the new one opens", || status("new") == 200);
    assert_eq!(status("old"), 401);
}

/// A node may run as another user than the operator, and its group reads the file: as a new file of the operator's it was lost
/// to the node.
#[cfg(unix)]
#[test]
fn a_rotated_file_stays_readable_for_who_could_read_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let files = Files::new();
    let path = files.path("operator");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    // Only root can give a file away.
    drop(chown(&path, Some(65_532), Some(65_532)));
    let told = || fs::metadata(&path).map(|m| (m.uid(), m.gid(), m.mode() & 0o777)).expect("it is there");
    let before = told();
    assert_eq!(code(&files.rotate(&[])), 0);
    assert_eq!(told(), before);
}
