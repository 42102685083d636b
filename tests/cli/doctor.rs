//! Why two nodes differ, and what a sync will cost.

use crate::common::{Node, code, eventually, run, stderr, stdout};
use crate::parsed;
use serde_json::Value;

const SECRET: &str = "abababababababababababababababababababababababababababababababab";

/// Two nodes that have met, and the link between which is closed.
fn parted() -> (Node, Node) {
    let secret = [("TIDINGS_SECRET", SECRET)];
    let one = Node::start_with(&["--in-memory", "--name", "one"], &secret);
    let other = Node::start_with(&["--in-memory", "--name", "other", "--join", &one.quic], &secret);
    assert_eq!(code(&one.run(&["put", "seed", "1"])), 0);
    eventually("they have met", || code(&other.run(&["get", "seed"])) == 0);
    let id = other.get("/v1/status").json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(code(&one.run(&["peers", "remove", &id])), 0);
    let no_links = |node: &Node| node.get("/v1/status").json()["links"].as_array().is_some_and(Vec::is_empty);
    eventually("the link is closed", || no_links(&one) && no_links(&other));
    (one, other)
}

fn doctor(one: &Node, other: &Node, flags: &[&str]) -> std::process::Output {
    run(["doctor", "--http", &one.http, "--http", &other.http].iter().chain(flags))
}

/// The keys of users that a node lacks.
fn keys(lacks: &Value) -> Vec<&str> {
    let keys = lacks["keys"].as_array().expect("keys").iter();
    keys.filter(|key| key["section"] == "usr").filter_map(|key| key["key"].as_str()).collect()
}

#[test]
fn the_one_key_that_differs_is_named() {
    let (one, other) = parted();
    assert_eq!(code(&one.run(&["put", "kettle", "on"])), 0);
    let told = doctor(&one, &other, &[]);
    assert_eq!(code(&told), 0, "{}", stderr(&told));
    let text = stdout(&told);
    assert!(text.contains("keys: kettle"), "{text}");
    assert!(!text.contains("seed"), "{text}");
    let told = parsed(&doctor(&one, &other, &["--json"]));
    assert_eq!(told["nodes"][1]["name"], "other");
    assert_eq!(keys(&told["lacks"][1]), ["kettle"], "{told}");
    assert!(keys(&told["lacks"][0]).is_empty(), "{told}");
    assert_eq!(told["lacks"][1]["catch_up"], false);
}

#[test]
fn what_a_sync_takes_is_foretold_within_a_fifth() {
    let (one, other) = parted();
    let lines: String = (0..400).map(|i| format!("{{\"key\":\"key-{i:04}\",\"text\":\"{}\"}}\n", value(i))).collect();
    assert_eq!(code(&one.run_with_input(&["import", "-"], lines.as_bytes())), 0);
    let told = parsed(&doctor(&one, &other, &["--json"]));
    let foretold = [0, 1].map(|side| told["lacks"][side]["bytes"].as_u64().expect("bytes")).iter().sum::<u64>();
    let frames = |node: &Node| {
        let bytes = node.get("/v1/status").json()["bytes"].clone();
        let of_frames = ["values", "metadata", "contexts", "symbols", "membership"];
        let of = |way: &str| of_frames.iter().filter_map(|purpose| bytes[way][*purpose].as_u64()).sum::<u64>();
        of("sent") + of("received")
    };
    let before = frames(&other);
    assert_eq!(code(&one.run(&["peers", "add", &other.quic])), 0);
    eventually("they agree", || stdout(&doctor(&one, &other, &[])).contains("hold the same"));
    let took = frames(&other) - before;
    assert!(took.abs_diff(foretold) * 5 <= took, "{foretold} bytes were foretold, and it took {took}");
}

/// Nothing in it repeats.
fn value(i: u64) -> String {
    let mut bits = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let digit = |_| {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        char::from(b'!' + ((bits >> 33) % 90) as u8)
    };
    (0..90).map(digit).filter(|digit| !"\"\\".contains(*digit)).collect()
}

#[test]
fn nodes_that_hold_the_same_are_well() {
    let secret = [("TIDINGS_SECRET", SECRET)];
    let one = Node::start_with(&["--in-memory", "--name", "one"], &secret);
    let other = Node::start_with(&["--in-memory", "--name", "other", "--join", &one.quic], &secret);
    eventually("they agree", || stdout(&doctor(&one, &other, &[])) == "one and other hold the same\n");
}

#[test]
fn it_takes_two_nodes() {
    let node = Node::start();
    let alone = run(["doctor", "--http", &node.http]);
    assert_eq!(code(&alone), 2);
    assert!(stderr(&alone).contains("give --http twice"), "{}", stderr(&alone));
    let twice = doctor(&node, &node, &[]);
    assert_eq!(code(&twice), 2);
    assert!(stderr(&twice).contains("the same node"), "{}", stderr(&twice));
    let nowhere = run(["doctor", "--http", &node.http, "--http", crate::NOBODY]);
    assert!(code(&nowhere) == 1 && stderr(&nowhere).contains("no node at"), "{}", stderr(&nowhere));
    let odd = node.post("/v1/diff", "{}");
    assert!(odd.status == 400 && odd.error().contains("bad_request"), "{:?}", odd.text());
}
