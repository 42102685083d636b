//! Stories of real nodes on real QUIC over the loopback: what a cluster is for, and what must not happen to it. Not
//! responsible for the protocol under every loss and order: `tests/sim` is.
#![cfg(feature = "cli")]

mod common;
#[path = "replicas/dice.rs"]
mod dice;
#[path = "cluster/kept.rs"]
mod kept;
#[path = "cluster/keys.rs"]
mod keys;
#[path = "cluster/mallory.rs"]
mod mallory;
#[path = "cluster/poison.rs"]
mod poison;
#[path = "cluster/records.rs"]
mod records;
#[path = "cluster/sessions.rs"]
mod sessions;
#[path = "cluster/stores.rs"]
mod stores;

use common::{Node, code, command, run, stderr, stdout, tidings};
use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};
use stores::{PATIENCE, Picture, address, agree, eventually, linked, logged, mesh, open, open_at, secret, state_of};
use tidings::{MemberState, PeerState, Secret, Store};

/// What "within a second" may take on a machine that is busy with other things. The measured time is printed.
const A_SECOND: Duration = Duration::from_secs(5);

// --- Processes

/// `node`s in memory of one cluster, each of which joins those before it. What they say on stderr is in a file.
fn processes(secret: &str, count: usize) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for number in 1..=count {
        let join: Vec<&str> = nodes.iter().map(|node| node.quic.as_str()).collect();
        nodes.push(process(secret, &format!("n{number}"), &join));
    }
    for node in &nodes {
        common::eventually("all are linked", || links(node) == count - 1);
    }
    nodes
}

fn process(secret: &str, name: &str, join: &[&str]) -> Node {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = command(directory.path());
    command.args(["--in-memory", "--name", name]).env("TIDINGS_SECRET", secret);
    if !join.is_empty() {
        command.args(["--join", &join.join(",")]);
    }
    let log = File::create(directory.path().join("stderr")).expect("a file");
    Node::of(common::Process::start(command.stderr(log)), directory)
}

fn log_of(node: &Node) -> String {
    std::fs::read_to_string(node.directory.path().join("stderr")).expect("UTF-8")
}

fn new_secret() -> String {
    stdout(&run(["secret", "new"])).trim().to_owned()
}

fn links(node: &Node) -> usize {
    node.get("/v1/status").json()["links"].as_array().expect("a list").len()
}

fn sums(node: &Node) -> (serde_json::Value, u64) {
    let status = node.get("/v1/status").json();
    (status["audit"].clone(), status["pending"].as_u64().expect("a number"))
}

fn processes_agree(nodes: &[Node]) -> Duration {
    let start = Instant::now();
    let same = || {
        let all: Vec<_> = nodes.iter().map(sums).collect();
        all.iter().all(|one| *one == all[0] && one.1 == 0)
    };
    while !same() {
        assert!(start.elapsed() < PATIENCE, "they do not agree: {:?}", nodes.iter().map(sums).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// What the member list of a node says of another by name.
fn state_by_name(at: &Node, name: &str) -> String {
    let members = at.get("/v1/members").json();
    let members = members["members"].as_array().expect("a list").clone();
    let of_name = members.iter().find(|member| member["name"] == name);
    of_name.map_or("absent", |member| member["state"].as_str().expect("a state")).to_owned()
}

#[test]
fn an_archive_imported_at_one_node_is_the_same_at_all_byte_by_byte() {
    const RECORDS: usize = 50_000;
    let mut nodes = processes(&new_secret(), 3);
    let lines = records::lines(RECORDS, 1);
    let (shuffled, sorted) = (shuffled(&lines), lines.values().map(String::as_str).collect::<String>());
    let file = nodes[0].path("archive.jsonl");
    std::fs::write(&file, &shuffled).expect("written");

    let start = Instant::now();
    let import = nodes[0].run(&["import", &file]);
    let imported = start.elapsed();
    assert_eq!((code(&import), stdout(&import)), (0, String::new()), "{}", stderr(&import));
    let said = stderr(&import);
    assert!(said.starts_with(&format!("imported {RECORDS} records in ")) && said.trim_end().ends_with("/s)"), "{said}");
    let agreed = processes_agree(&nodes);
    eprintln!(
        "{RECORDS} records, {} MB: imported in {imported:.1?}, at the others {agreed:.1?} later",
        sorted.len() >> 20
    );

    for (key, line) in lines.iter().step_by(997) {
        let list = nodes[1].run(&["list", key, "--json"]);
        assert!(stdout(&list).starts_with(line.trim_end()), "{key}: {}", stdout(&list));
    }
    let export = nodes[2].run(&["export"]);
    assert!(stderr(&export).starts_with(&format!("exported {RECORDS} records in ")), "{}", stderr(&export));
    assert!(export.stdout == sorted.as_bytes(), "the export is the import, in the order of keys");
    for node in &nodes[..2] {
        assert!(node.run(&["export"]).stdout == export.stdout, "all exports are the same bytes");
    }
    for node in &mut nodes[..2] {
        node.process.signal("TERM");
        assert_eq!(node.process.wait().code(), Some(0));
    }
    assert!(nodes[2].run(&["export"]).stdout == export.stdout, "also with the others stopped");
    let (said, warned) = (log_of(&nodes[2]), "equal contexts with unequal states");
    assert!(!said.contains(warned), "{said}");
}

fn shuffled(lines: &std::collections::BTreeMap<String, String>) -> String {
    let mut lines: Vec<&String> = lines.values().collect();
    dice::Dice::new(2).shuffle(&mut lines);
    lines.into_iter().map(String::as_str).collect()
}

#[test]
fn a_bad_line_is_named_and_what_stood_before_it_is_everywhere() {
    let nodes = processes(&new_secret(), 2);
    let lines = records::lines(3_000, 3);
    let mut text: String = lines.values().map(String::as_str).collect();
    text.push_str("{\"key\":\"bad\",\"value\":}\n{\"key\":\"after\",\"value\":1}\n");
    let import = nodes[0].run_with_input(&["import", "-"], text.as_bytes());
    assert_eq!(code(&import), 1);
    assert!(stderr(&import).lines().any(|line| line.starts_with("line 3001: ")), "{}", stderr(&import));
    processes_agree(&nodes);
    let good: String = lines.values().map(String::as_str).collect();
    for node in &nodes {
        assert!(node.run(&["export"]).stdout == good.as_bytes(), "all before the bad line, and nothing after");
    }
}

#[test]
fn a_node_that_is_told_to_end_has_given_its_last_writes_away() {
    let mut nodes = processes(&new_secret(), 3);
    for round in 0..50 {
        assert_eq!(nodes[0].put(&format!("/v1/kv/last/{round}"), "words").status, 201);
    }
    let told = Instant::now();
    nodes[0].process.signal("TERM");
    assert_eq!(nodes[0].process.wait().code(), Some(0));
    for node in &nodes[1..] {
        common::eventually("the others see it go", || state_by_name(node, "n1") == "down" && links(node) == 1);
    }
    eprintln!("a node told to end is down at the others after {:.1?}", told.elapsed());
    processes_agree(&nodes[1..]);
    for node in &nodes[1..] {
        assert_eq!(stdout(&node.run(&["list", "last/"])).lines().count(), 51, "with the head of the table");
    }
}

#[test]
fn a_killed_node_is_down_and_its_successor_gets_everything_back() {
    let secret = new_secret();
    let mut nodes = processes(&secret, 3);
    let lines: String = records::lines(2_000, 4).into_values().collect();
    assert_eq!(code(&nodes[1].run_with_input(&["import", "-"], lines.as_bytes())), 0);
    processes_agree(&nodes);
    nodes[2].process.signal("KILL");
    for node in &nodes[..2] {
        common::eventually("it is seen to be down", || state_by_name(node, "n3") == "down");
    }
    // The successor is told of nobody: the others try its address.
    let directory = tempfile::tempdir().expect("a directory");
    let mut successor = tidings();
    let (http, quic) = (nodes[2].http.clone(), nodes[2].quic.clone());
    successor.args(["node", "--in-memory", "--name", "n3b", "--listen", &quic, "--http", &http]);
    successor.env("TIDINGS_SECRET", &secret).stderr(Stdio::null());
    let start = Instant::now();
    nodes[2] = Node::of(common::Process::start(&mut successor), directory);
    common::eventually("the others found it", || links(&nodes[2]) == 2);
    let linked = start.elapsed();
    processes_agree(&nodes);
    eprintln!("a restarted node is linked after {linked:.1?}, has all after {:.1?}", start.elapsed());
    assert!(nodes[2].run(&["export"]).stdout == nodes[0].run(&["export"]).stdout);
    assert_eq!(state_by_name(&nodes[0], "n3b"), "alive");
}

/// wrong_cluster
#[test]
fn wrong_cluster_is_said_by_both_processes() {
    let (here, there) = (process(&new_secret(), "here", &[]), new_secret());
    here.put("/v1/kv/ours", "1");
    let other = process(&there, "there", &[here.quic.as_str()]);
    other.put("/v1/kv/theirs", "2");
    common::eventually("both say why", || {
        log_of(&here).contains("it refused us as not of its cluster")
            && log_of(&other).contains("its certificate was made with another secret than ours")
    });
    assert!(log_of(&here).contains(&other.quic) && log_of(&other).contains(&here.quic), "and of whom");
    for (node, theirs) in [(&here, "theirs"), (&other, "ours")] {
        assert_eq!(links(node), 0);
        assert_eq!(node.get("/v1/members").json()["members"].as_array().map(Vec::len), Some(1));
        assert_eq!(node.get(&format!("/v1/kv/{theirs}")).status, 404);
    }
}

// --- Stores

async fn three(secret: &Secret) -> [Store; 3] {
    let a = open(secret, "a", &[]).await;
    let b = open(secret, "b", &[&a]).await;
    let c = open(secret, "c", &[&a, &b]).await;
    mesh(&[&a, &b, &c]).await;
    agree(&[&a, &b, &c]).await;
    [a, b, c]
}

async fn close(stores: impl IntoIterator<Item = Store>) {
    for store in stores {
        store.close().await;
    }
}

/// All live values of a key, the one that is shown first, each with its write.
fn values(at: &Store, key: &str) -> Vec<(bytes::Bytes, tidings::Dot, tidings::Timestamp)> {
    at.values(key).into_iter().map(|reading| (reading.value, reading.dot, reading.timestamp)).collect()
}

/// No defect was noticed by the node itself. Others' tests share the log, but none provokes this.
fn no_defect_logged() {
    let lines = logged(&["equal contexts with unequal states"]);
    assert!(lines.is_empty(), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_filled_apart_and_then_joined_agree() {
    const RECORDS: usize = 100_000;
    let secret = secret();
    let (a, b) = (open(&secret, "a", &[]).await, open(&secret, "b", &[]).await);
    let start = Instant::now();
    for (store, seed, prefix) in [(&a, 5, "from-a"), (&b, 6, "from-b")] {
        store.put_many(records::records(RECORDS - 1_000, seed, prefix)).await.expect("written");
        // Both have written these, apart.
        store.put_many(records::records(1_000, seed, "from-both")).await.expect("written");
    }
    eprintln!("2 x {RECORDS} records written in {:.1?}", start.elapsed());
    assert!(a.add_peer(&address(&b)).await.expect("an address"));
    let took = agree(&[&a, &b]).await;
    eprintln!("2 x {RECORDS} records agreed on {took:.1?} after the join");
    assert_eq!(a.scan("from-").len(), 2 * (RECORDS - 1_000) + 1_000);
    assert_eq!(values(&a, "from-both/000007"), values(&b, "from-both/000007"));
    assert_eq!(values(&a, "from-both/000007").len(), 2, "one is shown, the other is its sibling");
    no_defect_logged();
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_and_heal() {
    let [a, b, c] = three(&secret()).await;
    for key in ["kept", "deleted here", "deleted there", "deleted and written", "written by both"] {
        a.put(key, "before").await.expect("written");
    }
    agree(&[&a, &b, &c]).await;

    c.cut_switch().cut();
    a.put("from a", "1").await.expect("written");
    b.put("from b", "2").await.expect("written");
    c.put("from c", "3").await.expect("written");
    a.delete("deleted here").await.expect("done").expect("it was there");
    c.delete("deleted there").await.expect("done").expect("it was there");
    a.delete("deleted and written").await.expect("done").expect("it was there");
    c.put("deleted and written", "stays").await.expect("written");
    b.put("written by both", "b").await.expect("written");
    c.put("written by both", "c").await.expect("written");
    let down = |at: &Store, of: &Store| state_of(at, of.id()) == Some(MemberState::Down);
    let took =
        eventually("each side sees the other as down", || down(&a, &c) && down(&b, &c) && down(&c, &a) && down(&c, &b))
            .await;
    eprintln!("a cut node is down at the others after {took:.1?}");
    assert!(linked(&a, &b) && !down(&a, &b) && !down(&b, &a));
    assert_eq!((c.get("from a"), a.get("from c")), (None, None), "it was cut");

    c.cut_switch().heal();
    let healed = Instant::now();
    mesh(&[&a, &b, &c]).await;
    let linked = healed.elapsed();
    let took = agree(&[&a, &b, &c]).await;
    eprintln!("linked {linked:.1?} after the heal, agreed {took:.1?} later");
    assert!(took < A_SECOND, "{took:?}");

    for store in [&a, &b, &c] {
        let got = |key| store.get(key).map(|value| String::from_utf8_lossy(&value).into_owned());
        assert_eq!([got("from a"), got("from b"), got("from c")], ["1", "2", "3"].map(|v| Some(v.to_owned())));
        assert_eq!((got("deleted here"), got("deleted there")), (None, None));
        assert_eq!(got("deleted and written").as_deref(), Some("stays"), "a concurrent put beats a delete");
        assert_eq!(got("kept").as_deref(), Some("before"));
        assert_eq!(store.values("written by both").len(), 2);
        assert_eq!(store.values("written by both")[0].siblings, 1);
    }
    eventually("all take it back", || {
        let alive = |at: &Store| at.members().iter().all(|member| member.state == MemberState::Alive);
        [&a, &b, &c].into_iter().all(alive)
    })
    .await;
    no_defect_logged();
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_writers_apart_one_winner_everywhere_until_the_next_write() {
    let [a, b, c] = three(&secret()).await;
    for store in [&b, &c] {
        store.cut_switch().cut();
    }
    for (store, value) in [(&a, "a"), (&b, "b"), (&c, "c")] {
        store.put("key", "first").await.expect("written");
        store.put("key", value).await.expect("written");
    }
    eventually("they are apart", || [&a, &b, &c].into_iter().all(|store| store.status().links.is_empty())).await;
    for store in [&b, &c] {
        store.cut_switch().heal();
    }
    mesh(&[&a, &b, &c]).await;
    agree(&[&a, &b, &c]).await;
    let seen = values(&a, "key");
    assert_eq!((&seen, &seen), (&values(&b, "key"), &values(&c, "key")));
    let mut all: Vec<_> = seen.iter().map(|(value, _, _)| value.clone()).collect();
    assert_eq!(a.get("key"), Some(all[0].clone()), "the first is the one that is shown");
    assert!(seen.windows(2).all(|pair| (pair[0].2, pair[0].1) > (pair[1].2, pair[1].1)), "by (timestamp, dot)");
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c"], "the last write of each");

    c.put("key", "after").await.expect("written");
    agree(&[&a, &b, &c]).await;
    for store in [&a, &b, &c] {
        assert_eq!(store.values("key").len(), 1);
        assert_eq!(store.get("key").as_deref(), Some(&b"after"[..]));
    }
    no_defect_logged();
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_shorter_than_the_silence_allowed_loses_no_link_and_no_write() {
    let [a, b, c] = three(&secret()).await;
    let records: Vec<_> = [&a, &b].map(|store| store.sys().scan("")).into();
    for round in 0..3 {
        c.cut_switch().cut();
        a.put(format!("round {round}"), "a").await.expect("written");
        c.put(format!("{round} round"), "c").await.expect("written");
        tokio::time::sleep(Duration::from_millis(300)).await;
        c.cut_switch().heal();
        agree(&[&a, &b, &c]).await;
    }
    // A node that had lost the link would have written that down.
    assert_eq!(records, [a.sys().scan(""), b.sys().scan("")]);
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarted_at_its_address_gets_all_back_also_from_nobody_it_was_told_of() {
    let secret = secret();
    let [a, b, c] = three(&secret).await;
    a.put_many(records::records(3_000, 7, "old")).await.expect("written");
    c.put("by the old one", "1").await.expect("written");
    agree(&[&a, &b, &c]).await;
    let (listen, old_id) = (address(&c), c.id());
    c.close().await;
    let took = eventually("its end is seen at once", || {
        [&a, &b].into_iter().all(|store| state_of(store, old_id) == Some(MemberState::Down))
    })
    .await;
    eprintln!("a closed node is down at the others after {took:.1?}");
    drop(c);

    let c = open_at(&secret, "c", &listen, &[]).await;
    assert_ne!(c.id(), old_id, "what it knew is forgotten, so it is another replica");
    let start = Instant::now();
    mesh(&[&a, &b, &c]).await;
    agree(&[&a, &b, &c]).await;
    eprintln!("restarted at its address, it has all after {:.1?}", start.elapsed());
    assert_eq!(c.scan("old/").len(), 3_000);
    assert_eq!(c.get("by the old one").as_deref(), Some(&b"1"[..]));
    assert_eq!(state_of(&a, c.id()), Some(MemberState::Alive));
    assert_eq!(state_of(&a, old_id), Some(MemberState::Down), "the old one stays what it is");
    no_defect_logged();
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_made_just_before_the_end_are_at_the_peers() {
    let secret = secret();
    let a = open(&secret, "a", &[]).await;
    for round in 0..10 {
        let b = open(&secret, "b", &[&a]).await;
        mesh(&[&a, &b]).await;
        for key in 0..20 {
            b.put(format!("{round}/{key}"), "the last").await.expect("written");
        }
        b.close().await;
        assert!(b.put("too late", "").await.is_err());
        // What was on its way when the link ended is being taken in.
        eventually("all of them are there", || a.scan(format!("{round}/")).len() == 20).await;
    }
    a.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_peer_stays_out_until_it_is_added_and_its_data_stay() {
    let [a, b, c] = three(&secret()).await;
    b.put("of b", "1").await.expect("written");
    agree(&[&a, &b, &c]).await;
    assert!(a.remove_peer(&address(&b)).await.expect("done"));
    assert!(!a.remove_peer("127.0.0.1:9").await.expect("done"), "there is no such peer");
    eventually("the link is closed on both sides", || !linked(&a, &b) && !linked(&b, &a)).await;
    assert_eq!(a.get("of b").as_deref(), Some(&b"1"[..]));
    assert!(state_of(&a, b.id()).is_some(), "it is still a member");

    // It goes on trying, and is refused each time; by way of the third node writes go on.
    let barred = || !linked(&a, &b) && a.peers().iter().all(|peer| peer.id != Some(b.id()));
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert!(barred());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    b.put("around", "2").await.expect("written");
    eventually("it comes by the third", || a.get("around").is_some()).await;

    a.add_peer(&address(&b)).await.expect("an address");
    mesh(&[&a, &b, &c]).await;
    agree(&[&a, &b, &c]).await;
    no_defect_logged();
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_peer_is_not_the_cause_of_endless_writing() {
    let [a, b, c] = three(&secret()).await;
    assert!(a.remove_peer(&b.id().to_string()).await.expect("done"));
    eventually("the link is closed on both sides", || !linked(&a, &b) && !linked(&b, &a)).await;
    agree(&[&a, &b, &c]).await;
    let before = incarnations(&c);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = incarnations(&c);
    let grown: u64 = after - before;
    assert!(grown <= 1, "the record of a member was rewritten {grown} times in 3 s");
    assert_eq!(state_of(&c, a.id()), Some(MemberState::Alive));
    assert_eq!(state_of(&c, b.id()), Some(MemberState::Alive));
    close([a, b, c]).await;
}

/// How often members have taken back what was said of them.
fn incarnations(at: &Store) -> u64 {
    at.members().iter().map(|member| member.incarnation).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_has_left_for_good() {
    let [a, b, c] = three(&secret()).await;
    let (id, listen) = (c.id(), address(&c));
    c.put("legacy", "1").await.expect("written");
    c.leave().await.expect("it says so");
    eventually("the others know", || [&a, &b].into_iter().all(|store| state_of(store, id) == Some(MemberState::Left)))
        .await;
    assert_eq!(a.get("legacy").as_deref(), Some(&b"1"[..]));
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for store in [&a, &b] {
            assert_eq!(state_of(store, id), Some(MemberState::Left), "and is not said to be down");
            assert!(store.peers().iter().all(|peer| peer.address != listen), "it is not dialled");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agree(&[&a, &b]).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_only_know_a_third_go_on_without_it() {
    let secret = secret();
    let hub = open(&secret, "hub", &[]).await;
    let (left, right) = (open(&secret, "left", &[&hub]).await, open(&secret, "right", &[&hub]).await);
    left.put("to the right", "1").await.expect("written");
    right.put("to the left", "2").await.expect("written");
    agree(&[&hub, &left, &right]).await;
    assert_eq!(left.get("to the left").as_deref(), Some(&b"2"[..]));
    // It dies without a word.
    hub.cut_switch().cut();
    eventually("its end is noticed", || {
        [&left, &right].into_iter().all(|store| state_of(store, hub.id()) == Some(MemberState::Down))
    })
    .await;
    mesh(&[&left, &right]).await;
    left.put("on", "1").await.expect("written");
    right.put("and on", "2").await.expect("written");
    agree(&[&left, &right]).await;
    assert_eq!(right.get("on").as_deref(), Some(&b"1"[..]));
    let dead = |peer: &tidings::Peer| peer.address == address(&hub) && peer.state == PeerState::Connecting;
    eventually("it is tried for ever", || left.peers().iter().any(dead)).await;
    close([left, right, hub]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_seen_after_its_session_at_any_node() {
    let [a, b, c] = three(&secret()).await;
    for round in 0..50 {
        let written = a.put("counter", round.to_string()).await.expect("written");
        for store in [&b, &c] {
            let seen = store.get_after("counter", &written.session, PATIENCE).await.expect("in time");
            assert_eq!(seen.as_deref(), Some(round.to_string().as_bytes()));
        }
    }
    c.cut_switch().cut();
    let written = a.put("counter", "unseen").await.expect("written");
    let early = c.get_after("counter", &written.session, Duration::from_millis(50)).await;
    assert!(matches!(early, Err(tidings::Error::NotYetHere)), "{early:?}");
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_is_of_others_that_were_met_and_are_there() {
    let [a, b, c] = three(&secret()).await;
    let viewed = |at: &Store| at.view().into_iter().map(|peer| (peer.id, peer.address)).collect::<Vec<_>>();
    let of = |stores: [&Store; 2]| {
        let mut all = stores.map(|store| (store.id(), address(store)));
        all.sort();
        all.to_vec()
    };
    assert_eq!((viewed(&a), viewed(&b), viewed(&c)), (of([&b, &c]), of([&a, &c]), of([&a, &b])));
    assert!(a.remove_peer(&b.id().to_string()).await.expect("it is open"));
    assert_eq!(viewed(&a), [(c.id(), address(&c))], "who is barred is not sampled");
    let gone = c.id();
    c.close().await;
    eventually("who is gone is in no view", || [&a, &b].iter().all(|at| at.view().iter().all(|p| p.id != gone))).await;
    close([a, b]).await;
}

/// wrong_cluster
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_cluster() {
    let ours = secret();
    let (a, b) = (open(&ours, "a", &[]).await, open(&ours, "b", &[]).await);
    a.put("ours", "1").await.expect("written");
    let eve = open(&secret(), "eve", &[&a]).await;
    eve.put("theirs", "2").await.expect("written");
    let (at_a, at_eve) = (address(&a), address(&eve));
    eventually("both sides log which", || {
        let here = logged(&["refused a connection", &at_eve, "it refused us as not of its cluster"]);
        let there = logged(&["no link", &at_a, "not of this cluster", "another secret than ours"]);
        !here.is_empty() && !there.is_empty()
    })
    .await;
    // And the other way round: who is dialled cannot tell more than who dials.
    a.add_peer(&at_eve).await.expect("an address");
    eventually("both sides log which", || !logged(&["no link", &at_eve, "another secret than ours"]).is_empty()).await;
    b.add_peer(&at_a).await.expect("an address");
    mesh(&[&a, &b]).await;
    agree(&[&a, &b]).await;
    assert_eq!((a.get("theirs"), eve.get("ours")), (None, None));
    assert_eq!((a.members().len(), eve.members().len()), (2, 1));
    assert!(eve.status().links.is_empty());
    assert!(Picture::of(&a) == Picture::of(&b));
    close([a, b, eve]).await;
}
