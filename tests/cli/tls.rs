//! Clusters with an authority of their own, from making it to renewing it, at the real binary. Not responsible for what nodes
//! tell each other.

use crate::common::{Node, Process, code, command, eventually, run, stderr, stdout};
use crate::{parsed, refused};
use std::fs::{self, File};
use std::path::PathBuf;
use tempfile::TempDir;

/// An authority, and what it makes.
struct Authority {
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a directory") };
        assert_eq!(code(&run(["tls", "ca", &made.path("ca")])), 0);
        made
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn issue(&self, name: &str) {
        let issued = run(["tls", "node", "--ca", &self.path("ca"), "--name", name, &self.path(name)]);
        assert_eq!((code(&issued), stderr(&issued)), (0, String::new()));
    }

    /// The flags of a node that has what was made under that name.
    fn flags(&self, name: &str) -> [String; 6] {
        let file = |file: &str| self.path(&format!("{name}/{file}"));
        ["--tls-ca".into(), file("ca.pem"), "--tls-cert".into(), file("node.pem"), "--tls-key".into(), file("node.key")]
    }

    fn node(&self, name: &str, join: &[&Node]) -> Node {
        self.issue(name);
        self.start(name, join)
    }

    fn start(&self, name: &str, join: &[&Node]) -> Node {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = command(directory.path());
        command.args(["--in-memory", "--name", name]).args(self.flags(name));
        let join: Vec<&str> = join.iter().map(|node| node.quic.as_str()).collect();
        if !join.is_empty() {
            command.args(["--join", &join.join(",")]);
        }
        let log = File::create(directory.path().join("stderr")).expect("a file");
        Node::of(Process::start(command.stderr(log)), directory)
    }

    fn tls(&self, args: &[&str]) {
        let done = run(["tls"].iter().chain(args));
        assert_eq!((code(&done), stderr(&done)), (0, String::new()));
    }
}

fn log_of(node: &Node) -> String {
    fs::read_to_string(node.path("stderr")).expect("UTF-8")
}

fn links(node: &Node) -> usize {
    node.get("/v1/status").json()["links"].as_array().map_or(0, Vec::len)
}

fn first_key(node: &Node) -> String {
    parsed(&node.run(&["secret", "status", "--json"]))["presents"].as_str().expect("a name").to_owned()
}

#[test]
fn a_cluster_of_ones_own_authority_and_its_renewal_with_a_node_away() {
    let ours = Authority::new();
    let a = ours.node("a", &[]);
    let b = ours.node("b", &[&a]);
    eventually("the two are linked", || links(&a) == 1 && links(&b) == 1);
    a.put("/v1/kv/kettle", "on");
    eventually("it is there", || b.get("/v1/kv/kettle").status == 200);
    let shown = parsed(&run(["tls", "show", &ours.path("a/ca.pem"), "--json"]));
    assert_eq!(shown["cluster"], a.get("/v1/status").json()["cluster"]);
    let shown = stdout(&run(["tls", "show", &ours.path("a/node.pem")]));
    assert!(
        shown.contains("CN=a\n") && shown.contains("node.cluster.internal") && shown.contains("days left"),
        "{shown}"
    );

    // c gets its files now, and starts when the others have a new authority; a is restarted in no step.
    ours.issue("c");
    let old = first_key(&a);
    ours.tls(&["rotate", &ours.path("ca")]);
    for (name, node) in [("a", &a), ("b", &b)] {
        ours.issue(name);
        node.process.signal("HUP");
        eventually("it presents the new authority", || first_key(node) != old);
    }
    assert_eq!((links(&a), links(&b)), (1, 1));
    let c = ours.start("c", &[&a]);
    eventually("who knows the old one only gets in", || links(&c) == 2 && c.get("/v1/kv/kettle").status == 200);
    assert_eq!(first_key(&c), old);
    let told = stdout(&a.run(&["secret", "status"]));
    assert!(told.contains(": c; bring the new files there"), "{told}");
    ours.issue("c");
    c.process.signal("HUP");
    eventually("it presents the new authority too", || first_key(&c) == first_key(&a));

    ours.tls(&["rotate", &ours.path("ca"), "--finish"]);
    for (name, node) in [("a", &a), ("b", &b), ("c", &c)] {
        fs::copy(ours.path("ca/ca.pem"), ours.path(&format!("{name}/ca.pem"))).expect("copied");
        node.process.signal("HUP");
    }
    let done = "and accept nothing else";
    eventually("the old one is dropped", || stdout(&a.run(&["secret", "status"])).contains(done));
    eventually("all are linked", || [&a, &b, &c].iter().all(|node| links(node) == 2));
    c.put("/v1/kv/kettle", "off");
    eventually("writes go on", || a.get("/v1/kv/kettle").body == b"off");
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of_until_it_is_renewed() {
    let ours = Authority::new();
    let issue = |days: &str| {
        ours.tls(&["node", "--ca", &ours.path("ca"), "--name", "a", "--days", days, &ours.path("a")]);
    };
    issue("10");
    let a = ours.start("a", &[]);
    let b = ours.node("b", &[&a]);
    let soon = "its certificate ends in 9 days, on ";
    eventually("the log says so", || log_of(&a).contains(soon));
    let shown = stdout(&run(["tls", "show", &ours.path("a/node.pem")]));
    assert!(shown.contains("(9 days left: RENEW IT)"), "{shown}");
    let shown = parsed(&run(["tls", "show", &ours.path("a/node.pem"), "--json"]));
    assert_eq!((&shown["valid"], &shown["days_left"]), (&true.into(), &9.into()));
    let moment = shown["valid_until"].as_str().expect("text");
    assert!(moment.ends_with('Z') && moment.as_bytes().get(10) == Some(&b'T'), "{moment}");
    let doctor = || stdout(&run(["doctor", "--http", &a.http, "--http", &b.http]));
    assert!(doctor().contains(&format!("a: {soon}")) && !doctor().contains("b: "), "{}", doctor());
    let end = |node: &Node| node.get("/v1/status").json()["certificate_expires"].as_u64().expect("a moment");
    let first = end(&a);
    assert!(end(&b) > first);
    issue("365");
    a.process.signal("HUP");
    eventually("it is renewed", || end(&a) > first);
    assert!(!doctor().contains("its certificate"), "{}", doctor());
    assert!(!log_of(&b).contains("its certificate"), "it is told only where there is something to do");
}

/// wrong_cluster, with authorities: staging's at production's address, and a secret's.
#[test]
fn wrong_cluster_of_another_authority() {
    let (production, staging) = (Authority::new(), Authority::new());
    let here = production.node("here", &[]);
    here.put("/v1/kv/ours", "1");
    let there = staging.node("there", &[&here]);
    there.put("/v1/kv/theirs", "2");
    let of_secret = Node::start_with(
        &["--in-memory", "--name", "of a secret", "--join", &here.quic],
        &[("TIDINGS_SECRET", &"ab".repeat(32))],
    );
    eventually("both say why", || {
        log_of(&here).contains("it refused us as not of its cluster")
            && log_of(&there).contains("comes from another authority")
    });
    eventually("and of whom", || [&there, &of_secret].iter().all(|node| log_of(&here).contains(&node.quic)));
    for node in [&here, &there, &of_secret] {
        assert_eq!(links(node), 0);
        assert_eq!(node.get("/v1/members").json()["members"].as_array().map(Vec::len), Some(1));
    }
    assert_eq!((here.get("/v1/kv/theirs").status, there.get("/v1/kv/ours").status), (404, 404));
}

#[test]
fn what_is_wrong_with_certificates_is_said_before_a_node_starts() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    ours.issue("a");
    ours.issue("b");
    theirs.issue("t");
    let says = |change: &dyn Fn(&mut [String; 6]), words: &[&str]| {
        let mut flags = ours.flags("a");
        change(&mut flags);
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--in-memory"]).collect();
        let said = refused(&flags, &[]);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} not in: {said}");
    };
    let (a_cert, b_key) = (ours.path("a/node.pem"), ours.path("b/node.key"));
    says(&|flags| flags[5] = b_key.clone(), &[&b_key, "does not belong to the certificate of", &a_cert]);
    says(&|flags| flags[1] = theirs.path("t/ca.pem"), &[&a_cert, "no authority of", "has issued it"]);
    says(&|flags| flags[3] = ours.path("a/ca.pem"), &["it does not belong to the certificate of"]);
    fs::copy(&b_key, ours.path("no key")).expect("copied");
    fs::write(ours.path("no key"), "open sesame").expect("written");
    says(&|flags| flags[5] = ours.path("no key"), &["no key: there is no private key in it"]);
    says(&|flags| flags[3] = ours.path("a/node.key"), &["there is no certificate in it"]);
    says(&|flags| flags[1] = "none.pem".into(), &["none.pem: No such file", "tidings tls ca"]);
    let said = refused(&["--in-memory", "--tls-ca", "a", "--tls-cert", "b"], &[]);
    assert!(said.contains("tls_key") && said.contains("belong together"), "{said}");
    let both = [ours.flags("a").to_vec(), vec!["--in-memory".into(), "--secret-file".into(), "s".into()]].concat();
    let said = refused(&both.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert!(said.contains("not both"), "{said}");
    let flags = [ours.flags("a").to_vec(), vec!["--in-memory".into()]].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = refused(&flags, &[("TIDINGS_SECRET", &"ab".repeat(32))]);
    assert!(said.contains("TIDINGS_SECRET is set beside --tls-ca"), "{said}");
    let mixed =
        [fs::read(ours.path("ca/ca.pem")).expect("read"), fs::read(theirs.path("ca/ca.pem")).expect("read")].concat();
    fs::write(ours.path("mixed.pem"), &mixed).expect("written");
    says(&|flags| flags[1] = ours.path("mixed.pem"), &["authorities of different names need a line \"cluster …\""]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(ours.path("a/node.key"), fs::Permissions::from_mode(0o644)).expect("chmod");
        says(&|_| {}, &["node.key: everybody on this machine may read it"]);
    }
}

#[test]
fn an_authority_is_not_made_over_another() {
    let ours = Authority::new();
    let key = fs::read(ours.path("ca/ca.key")).expect("read");
    let again = run(["tls", "ca", &ours.path("ca")]);
    assert!(code(&again) == 1 && stderr(&again).contains("tidings tls rotate"), "{}", stderr(&again));
    let early = run(["tls", "rotate", &ours.path("ca"), "--finish"]);
    assert!(code(&early) == 1 && stderr(&early).contains("nothing is being replaced"), "{}", stderr(&early));
    assert!(fs::read(ours.path("ca/ca.key")).expect("read") == key);
    let none = run(["tls", "node", "--ca", &ours.path("none"), "--name", "x", &ours.path("x")]);
    assert!(code(&none) == 2 && !PathBuf::from(ours.path("x")).exists(), "{}", stderr(&none));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        ours.issue("a");
        for key in ["ca/ca.key", "a/node.key"] {
            let mode = fs::metadata(ours.path(key)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}

/// The certificates of an authority's directory, as text.
fn ca_of(ours: &Authority) -> String {
    fs::read_to_string(ours.path("ca/ca.pem")).expect("UTF-8")
}

/// It was lost with the old certificate, and no node took the new file.
#[test]
fn the_line_that_says_which_cluster_it_is_outlives_the_old_certificate() {
    let line = format!("cluster {}\n", "0f".repeat(16));
    for before in [true, false] {
        let ours = Authority::new();
        let pem = ca_of(&ours);
        let said = if before { [line.as_str(), &pem] } else { [&pem, line.as_str()] };
        fs::write(ours.path("ca/ca.pem"), said.concat()).expect("written");
        ours.tls(&["rotate", &ours.path("ca")]);
        ours.tls(&["rotate", &ours.path("ca"), "--finish"]);
        let left = ca_of(&ours);
        assert_eq!((left.matches(&line).count(), left.matches("BEGIN").count()), (1, 1), "{left}");
        let node = ours.node("a", &[]);
        assert_eq!(node.get("/v1/status").json()["cluster"], "0f".repeat(16));
    }
}

/// The new certificate stood in the file already, and its key was nowhere.
#[test]
fn an_authority_whose_new_key_cannot_be_written_stays_as_it_was() {
    let ours = Authority::new();
    let before = ca_of(&ours);
    fs::create_dir(ours.path("ca/ca.key.new")).expect("made");
    let failed = run(["tls", "rotate", &ours.path("ca")]);
    assert!(code(&failed) == 1 && stderr(&failed).contains("ca.key"), "{}", stderr(&failed));
    assert_eq!(ca_of(&ours), before);
    fs::remove_dir(ours.path("ca/ca.key.new")).expect("it is there");
    ours.tls(&["rotate", &ours.path("ca")]);
}

/// It issued certificates that no node accepts.
#[test]
fn a_key_that_is_not_the_authoritys_issues_nothing_and_ends_no_rotation() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ca = ours.path("ca");
    ours.tls(&["rotate", &ca]);
    let before = ca_of(&ours);
    fs::copy(theirs.path("ca/ca.key"), ours.path("ca/ca.key")).expect("copied");
    for args in [&["node", "--ca", &ca, "--name", "a", &ours.path("a")][..], &["rotate", &ca, "--finish"]] {
        let refused = run(["tls"].iter().chain(args));
        let said = stderr(&refused);
        assert!(code(&refused) == 1 && said.contains("ca.key: it does not belong to the first certificate"), "{said}");
    }
    assert_eq!(ca_of(&ours), before);
    assert!(!PathBuf::from(ours.path("a")).exists());
}
