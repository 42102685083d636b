//! Three processes in three network namespaces, from `SOCKET_ADDRESS`, `VIEW` and `TIDINGS_SECRET`: what the manual
//! promises of time and cuts. Needs root and `ip`; without, it says so and leaves the rest out.
//!
//! The loads run for a few seconds, or for `TIDINGS_SECONDS`.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod common;
mod netns;

use common::{Answer, code, eventually, stderr, tidings};
use netns::{Lab, Server, until, within};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const NODES: usize = 3;
const UNMET: u16 = 503;

/// Times are measured here, and processes of another test would be in the way; their addresses, too.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds() -> u64 {
    std::env::var("TIDINGS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// Figures for whoever reads the log: the harness captures what macros print.
fn figure(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn start_all(lab: &Lab, flags: &[&str]) -> Vec<Server> {
    (1..=NODES).map(|node| lab.start(node, flags)).collect()
}

fn all_full(lab: &Lab, servers: &[Server]) -> bool {
    servers.iter().all(|server| server.view() == lab.addresses())
}

fn put(server: &Server, key: &str, value: &Value, metadata: &Value) -> Answer {
    let body = json!({"value": value, "causal-metadata": metadata}).to_string();
    server.ask("PUT", &format!("/kvs/{key}"), &body)
}

fn get(server: &Server, key: &str, metadata: &Value) -> Answer {
    server.ask("GET", &format!("/kvs/{key}"), &json!({ "causal-metadata": metadata }).to_string())
}

fn metadata(answer: &Answer) -> Value {
    let metadata = answer.json()["causal-metadata"].clone();
    assert!(metadata.is_string(), "{} {}", answer.status, answer.text());
    metadata
}

#[test]
fn views_are_full_in_time_and_a_killed_node_leaves_them_and_returns_with_its_data() {
    let _alone = alone();
    let Some(lab) = Lab::new(NODES) else { return };
    let started = Instant::now();
    let mut servers = start_all(&lab, &[]);
    until("all views are full", || all_full(&lab, &servers));
    let full = started.elapsed();
    assert!(full <= Duration::from_secs(3), "full views: {full:?} after the first start");
    let seen = metadata(&put(&servers[0], "kept", &json!(1), &Value::Null));
    eventually("the write is everywhere", || servers.iter().all(|server| get(server, "kept", &seen).status == 200));

    let killed = Instant::now();
    servers[2].kill();
    let rest = &lab.addresses()[..2];
    until("it is out of both views", || servers[..2].iter().all(|server| server.view() == rest));
    let out = killed.elapsed();
    assert!(out <= Duration::from_secs(5), "out of the views: {out:?} after the kill");
    // Written while it is away, and then nothing more.
    let begun = Instant::now();
    let seen = metadata(&put(&servers[1], "meanwhile", &json!(2), &seen));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "a write takes no longer with a peer down: {took:?}");

    let again = Instant::now();
    lab.restart(3, &[], &mut servers[2]);
    let back = |servers: &[Server]| {
        all_full(&lab, servers)
            && get(&servers[2], "meanwhile", &seen).json()["value"] == 2
            && get(&servers[2], "kept", &seen).json()["value"] == 1
    };
    until("it is back in all views, with all data", || back(&servers));
    let back = again.elapsed();
    assert!(back <= Duration::from_secs(5), "back: {back:?} after the restart");
    figure(&format!("full views {full:.1?}, out {out:.1?}, back {back:.1?}, a write with a peer down {took:.1?}"));
}

#[test]
fn what_was_written_before_a_cut_is_served_and_what_was_written_behind_it_is_not() {
    let _alone = alone();
    let Some(lab) = Lab::new(NODES) else { return };
    let servers = start_all(&lab, &[]);
    eventually("all views are full", || all_full(&lab, &servers));
    for round in 0..10 {
        let (key, writer, away) = (format!("round{round}"), round % NODES, (round + 1) % NODES);
        // Idle links, so that nothing else makes it travel.
        std::thread::sleep(Duration::from_millis(50));
        let old = metadata(&put(&servers[writer], &key, &json!("old"), &Value::Null));
        lab.cut(away + 1);
        let got = get(&servers[away], &key, &old);
        assert_eq!(
            (got.status, &got.json()["value"]),
            (200, &json!("old")),
            "round {round}: at its peer before the cut"
        );

        let new = metadata(&put(&servers[writer], &key, &json!("new"), &old));
        for method in ["GET", "DELETE"] {
            let unmet = servers[away].ask(method, &format!("/kvs/{key}"), &json!({"causal-metadata":new}).to_string());
            assert_eq!(unmet.status, UNMET, "round {round}: {method}");
        }
        assert_eq!(put(&servers[away], &key, &json!("wrong"), &new).status, UNMET);
        let own = get(&servers[away], &key, &old);
        assert_eq!((own.status, &own.json()["value"]), (200, &json!("old")), "round {round}: older metadata");
        for server in servers.iter().filter(|server| server.http != servers[away].http) {
            until("the other side serves it", || get(server, &key, &new).status == 200);
            assert_eq!(get(server, &key, &old).json()["value"], "new", "what is beyond the metadata is served, too");
        }
        lab.heal(away + 1);
        until("the news come over when the cut is healed", || get(&servers[away], &key, &new).status == 200);
    }
}

#[test]
fn two_hundred_dependent_writes_go_from_node_to_node() {
    let _alone = alone();
    let Some(lab) = Lab::new(NODES) else { return };
    let servers = start_all(&lab, &[]);
    eventually("all views are full", || all_full(&lab, &servers));
    let (mut seen, mut longest) = (Value::Null, Duration::ZERO);
    for number in 0..200 {
        let server = &servers[number % NODES];
        let took = within(Duration::from_millis(1_300), "a dependent write", || {
            let written = put(server, "handed", &json!(number), &seen);
            let done = written.status != UNMET;
            if done {
                seen = metadata(&written);
            }
            done
        });
        longest = longest.max(took);
    }
    for server in &servers {
        until("the last one is everywhere", || get(server, "handed", &seen).json()["value"] == 199);
    }
    figure(&format!("200 dependent writes: the longest took {longest:.1?}"));
}

#[test]
fn what_comes_over_a_link_that_flaps_is_held_for_as_long_as_was_said() {
    let _alone = alone();
    let Some(lab) = Lab::new(NODES) else { return };
    let servers = start_all(&lab, &["--link-settle", "3s"]);
    eventually("all views are full", || all_full(&lab, &servers));
    let old = metadata(&put(&servers[1], "a", &json!("old"), &Value::Null));
    eventually("all have it", || servers.iter().all(|server| get(server, "a", &old).status == 200));
    // Times of the scenario, not of a wait: the cut is as long as it says.
    lab.cut(1);
    let new = metadata(&put(&servers[1], "a", &json!("new"), &old));
    std::thread::sleep(Duration::from_secs(1));
    lab.heal(1);
    let healed = Instant::now();
    eventually("the other side has it at once", || get(&servers[2], "a", &new).status == 200);
    while healed.elapsed() < Duration::from_secs(1) {
        assert_eq!(get(&servers[0], "a", &new).status, UNMET, "{:?} after the cut", healed.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(get(&servers[0], "a", &new).status, UNMET);
    let own = get(&servers[0], "a", &old);
    assert_eq!((own.status, &own.json()["value"]), (200, &json!("old")));
    until("later it has it all", || get(&servers[0], "a", &new).json()["value"] == "new");
    let held = healed.elapsed();
    assert!(held >= Duration::from_secs(3), "held for {held:?}");
    figure(&format!("--link-settle 3s: joined {held:.1?} after the cut was healed"));
}

#[test]
fn three_clients_write_one_key_and_the_end_is_the_same_everywhere() {
    let _alone = alone();
    let Some(lab) = Lab::new(NODES) else { return };
    let servers = start_all(&lab, &[]);
    eventually("all views are full", || all_full(&lab, &servers));
    let end = Instant::now() + Duration::from_secs(seconds());
    let client = |number: usize| {
        let (mut seen, mut writes) = (Value::Null, 0_u64);
        while Instant::now() < end {
            let written = put(&servers[number], "contended", &json!([number, writes]), &seen);
            assert!([200, 201].contains(&written.status), "{} {}", written.status, written.text());
            let read = get(&servers[number], "contended", &metadata(&written));
            assert_eq!(read.status, 200, "{}", read.text());
            (seen, writes) = (metadata(&read), writes + 1);
        }
        (seen, writes)
    };
    let ends: Vec<(Value, u64)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..NODES).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().map(|client| client.join().expect("no error")).collect()
    });
    for (seen, _) in &ends {
        for server in &servers {
            until("every node has what every client has seen", || get(server, "contended", seen).status == 200);
        }
    }
    let values: Vec<Value> =
        servers.iter().map(|server| get(server, "contended", &Value::Null).json()["value"].clone()).collect();
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    let writes: u64 = ends.iter().map(|(_, writes)| writes).sum();
    figure(&format!("three clients, one key, {} s: {writes} writes and as many reads, one end", seconds()));
}

#[test]
fn nine_clients_fill_the_cache_and_memory_comes_back() {
    load_and_drain(&["--in-memory"], MEMORY_SLACK);
}

#[test]
fn nine_clients_fill_the_cache_on_disk_and_memory_and_disk_come_back() {
    load_and_drain(&[], MEMORY_SLACK + WRITE_BUFFER);
}

fn load_and_drain(storage: &[&str], memory_slack: u64) {
    let _alone = alone();
    let Some(lab) = Lab::new(NODES) else { return };
    // Nothing else is to be remembered for longer than the test lasts.
    let servers = start_all(&lab, &[storage, &["--tombstone-age", "2s"]].concat());
    eventually("all views are full", || all_full(&lab, &servers));
    fill(&servers, "warm", Duration::from_secs(2));
    let keys = |server: &Server| server.ask("GET", "/v1/status", "").json()["keys"].as_u64().expect("a number");
    let empty = |server: &Server| keys(server) <= NODES as u64;
    let patience = Duration::from_secs(60);
    let drained = |what: &str| {
        let begun = Instant::now();
        while !servers.iter().all(empty) {
            assert!(begun.elapsed() < patience, "never: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    drained("what expired before is dropped");
    let before: Vec<(u64, u64)> = servers.iter().map(|server| (server.resident(), server.on_disk())).collect();
    let sets = fill(&servers, "load", Duration::from_secs(seconds()));
    let most: Vec<(u64, u64)> = servers.iter().map(|server| (server.resident(), server.on_disk())).collect();
    drained("what expired is dropped");
    let is_back = |(server, before): (&Server, &(u64, u64))| {
        let (memory, disk) = (server.resident(), server.on_disk());
        memory <= before.0 + memory_slack && disk <= before.1 + DISK_SLACK
    };
    let begun = Instant::now();
    while !servers.iter().zip(&before).all(is_back) && begun.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(200));
    }
    let after: Vec<(u64, u64)> = servers.iter().map(|server| (server.resident(), server.on_disk())).collect();
    figure(&format!(
        "nine clients, {} s, {storage:?}: {sets} keys with a ttl of 5 s; memory and disk before {before:?}, with all of them {most:?}, after {after:?}",
        seconds()
    ));
    assert!(servers.iter().zip(&before).all(is_back), "not back: {before:?}, {after:?}");
}

/// What an allocator may keep for the next load: less than a tenth of what a minute of it takes.
const MEMORY_SLACK: u64 = 6 << 20;
/// What the engine holds of what is in its journal; two tables of 16 MiB, given back when they are full, not when the load is over.
const WRITE_BUFFER: u64 = 32 << 20;
const DISK_SLACK: u64 = 4 << 20;

/// Nine clients, three at each node, about a thousand keys a second together. How many keys that were.
fn fill(servers: &[Server], prefix: &str, time: Duration) -> u64 {
    const EACH: Duration = Duration::from_millis(9);
    let end = Instant::now() + time;
    let client = |number: usize| {
        let (server, mut sets, mut due) = (&servers[number % NODES], 0, Instant::now());
        while due < end {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let body = json!({"key": format!("{prefix}-{number}-{sets}"), "value": {"n": sets, "text": "x".repeat(64)}, "ttl": 5});
            let answer = server.ask("POST", "/set", &body.to_string());
            assert_eq!(answer.status, 200, "{}", answer.text());
            (sets, due) = (sets + 1, due + EACH);
        }
        sets
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..9).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().map(|client| client.join().expect("no error")).sum()
    })
}

#[test]
fn a_node_that_others_can_reach_says_what_has_to_be_set() {
    let refused = |variables: &[(&str, &str)]| {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = tidings();
        command.args(["node", "--compat", "kvs"]).current_dir(directory.path()).envs(variables.iter().copied());
        let output = command.output().expect("it ends");
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        stderr(&output)
    };
    let (address, view) = (("SOCKET_ADDRESS", "192.0.2.1:8090"), ("VIEW", "192.0.2.1:8090,192.0.2.2:8090"));
    let access = refused(&[address, view]);
    assert!(access.contains("--http-token-file") && access.contains("TIDINGS_HTTP_ALLOW_ANONYMOUS=true"), "{access}");
    let secret = refused(&[address, view, ("TIDINGS_HTTP_ALLOW_ANONYMOUS", "true")]);
    assert!(secret.contains("--secret-file") && secret.contains("TIDINGS_SECRET"), "{secret}");
    let settle = refused(&[("TIDINGS_LINK_SETTLE", "soon")]);
    assert!(settle.contains("link_settle") && settle.contains("30s"), "{settle}");
    let compat = refused(&[("TIDINGS_COMPAT", "kvs,etcd")]);
    assert!(compat.contains("etcd") && compat.contains("TIDINGS_"), "{compat}");
}
