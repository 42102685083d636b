//! Messages to all nodes at the real binary: what an event looks like, who is told when and where, and who has missed what.
//! Not responsible for every order of messages: the simulator tries those.
#![cfg(feature = "cli")]

mod common;

use common::{Node, PATIENCE, Process, eventually, tidings};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;

/// A client of `GET /v1/events`.
struct Ear {
    lines: BufReader<TcpStream>,
    /// The last `id`.
    cursor: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    name: String,
    data: Value,
}

impl Event {
    fn text(&self) -> &str {
        self.data["text"].as_str().unwrap_or_else(|| panic!("a text: {self:?}"))
    }

    fn dot(&self) -> &str {
        self.data["dot"].as_str().expect("a dot")
    }

    /// Whether its sender had been told of the other one.
    fn is_after(&self, other: &Self) -> bool {
        let (replica, counter) = other.dot().split_once(':').expect("a dot");
        self.data["context"][replica].as_u64() >= counter.parse().ok()
    }
}

impl Ear {
    /// Once the node has said where it begins.
    fn at(node: &Node, after: Option<&str>) -> Self {
        let address = node.http.strip_prefix("http://").expect("an address");
        let mut socket = TcpStream::connect(address).expect("a node");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let header = after.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(socket, "GET /v1/events HTTP/1.1\r\nHost: {address}\r\n{header}\r\n").expect("sent");
        let mut ear = Self { lines: BufReader::new(socket), cursor: String::new() };
        assert!(ear.raw().starts_with("HTTP/1.1 200"));
        while after.is_none() && ear.cursor.is_empty() {
            assert_ne!(
                ear.line(),
                ": still here",
                "it is said at once, and not when nothing else has come for a while"
            );
        }
        ear
    }

    fn raw(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line in time");
        assert!(!line.is_empty(), "the answer has ended");
        line
    }

    /// The next line, without the head and what frames the chunks of the answer: those end in \r\n.
    fn line(&mut self) -> String {
        loop {
            let line = self.raw();
            if line.ends_with("\r\n") {
                continue;
            }
            if let Some(id) = line.strip_prefix("id: ") {
                self.cursor = id.trim_end().to_owned();
            }
            return line.trim_end().to_owned();
        }
    }

    fn next(&mut self) -> Event {
        let mut event = Event { name: String::new(), data: Value::Null };
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                _ if line.is_empty() && event.data != Value::Null => return event,
                _ => {}
            }
        }
    }
}

fn secret() -> String {
    "7".repeat(64)
}

/// Nodes of one cluster, each of which dials those before it.
fn cluster(flags: &[&[&str]]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for flags in flags {
        let join = nodes.iter().map(|node| node.quic.clone()).collect::<Vec<_>>().join(",");
        let mut all = flags.to_vec();
        if !join.is_empty() {
            all.extend(["--join", &join]);
        }
        nodes.push(Node::start_with(&all, &[("TIDINGS_SECRET", &secret())]));
    }
    are_linked(&nodes);
    nodes
}

fn are_linked(nodes: &[Node]) {
    let linked = |node: &Node| node.get("/v1/status").json()["links"].as_array().expect("a list").len();
    eventually("the nodes are linked", || nodes.iter().all(|node| linked(node) == nodes.len() - 1));
}

fn say(node: &Node, text: &str) -> String {
    let answer = node.post("/v1/broadcast", text);
    assert_eq!((answer.status, answer.header("Content-Type")), (202, Some("application/json")));
    assert!(answer.header("Tidings-Session").is_some());
    answer.json()["dot"].as_str().expect("a dot").to_owned()
}

const IN_MEMORY: &[&str] = &["--in-memory"];

#[test]
fn a_message_reaches_every_node_once_and_answers_come_after_it() {
    let nodes = cluster(&[IN_MEMORY; 3]);
    let mut ears: Vec<Ear> = nodes.iter().map(|node| Ear::at(node, None)).collect();
    let dot = say(&nodes[0], "question");
    let question = ears[1].next();
    assert_eq!((question.name.as_str(), question.text(), question.dot()), ("message", "question", dot.as_str()));
    say(&nodes[1], "answer");
    let told: Vec<Vec<Event>> =
        (0..3)
            .map(|who| {
                if who == 1 { vec![question.clone(), ears[1].next()] } else { vec![ears[who].next(), ears[who].next()] }
            })
            .collect();
    for told in &told {
        assert_eq!(told.iter().map(Event::text).collect::<Vec<_>>(), ["question", "answer"]);
        assert!(told[1].is_after(&told[0]) && !told[0].is_after(&told[1]));
    }
    // Nothing of it comes again: what comes next is the next message.
    nodes[2].post("/v1/broadcast", "[1, 2]");
    nodes[2].post("/v1/broadcast", "[1,2]");
    nodes[2].post("/v1/broadcast", [0xff]);
    for ear in &mut ears {
        assert_eq!(ear.next().text(), "[1, 2]");
        assert_eq!(ear.next().data["value"], json!([1, 2]));
        assert_eq!(ear.next().data["value_base64"], "/w==");
    }
}

#[test]
fn messages_have_the_limit_of_values_and_nobody_writes_them_by_hand() {
    let nodes = cluster(&[IN_MEMORY; 2]);
    let mut ear = Ear::at(&nodes[1], None);
    let large = "x".repeat(1 << 20);
    say(&nodes[0], &large);
    assert_eq!(ear.next().text(), large);
    assert_eq!(nodes[0].post("/v1/broadcast", "x".repeat((1 << 20) + 1)).status, 413);
    assert_eq!(nodes[0].post("/v1/broadcast?ttl=1s", "x").status, 400);
    let dot = say(&nodes[0], "");
    assert_eq!(ear.next().text(), "");
    assert_eq!(nodes[1].get(&format!("/v1/sys/events/{dot}")).status, 200);
    assert_eq!(nodes[0].put(&format!("/v1/sys/events/{dot}"), "x").status, 405);
    assert_eq!(nodes[0].post("/v1/events", "").status, 405);
    assert_eq!(nodes[0].get("/v1/kv?prefix=").json()["items"], json!([]));
    let foreign = nodes[0].send("GET", "/v1/events", &[("Last-Event-ID", "AQ")], ());
    assert_eq!((foreign.status, foreign.error().as_str()), (400, "bad_cursor"));
}

#[test]
fn who_was_cut_off_goes_on_at_any_node() {
    let nodes = cluster(&[IN_MEMORY; 2]);
    let mut ear = Ear::at(&nodes[0], None);
    say(&nodes[0], "first");
    assert_eq!(ear.next().text(), "first");
    let cursor = ear.cursor.clone();
    drop(ear);
    say(&nodes[1], "second");
    say(&nodes[0], "third");
    for node in &nodes {
        let mut again = Ear::at(node, Some(&cursor));
        let mut told = [again.next().text().to_owned(), again.next().text().to_owned()];
        told.sort();
        assert_eq!(told, ["second", "third"]);
    }
    let mut again = Ear::at(&nodes[1], Some(&cursor));
    say(&nodes[0], "more");
    let told: Vec<String> = (0..3).map(|_| again.next().text().to_owned()).collect();
    assert_eq!(told[2], "more");
}

/// A node with a data directory is away while messages come and expire.
#[test]
fn a_restart_delivers_what_is_new_and_counts_what_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data").to_str().expect("UTF-8").to_owned();
    let one = Node::start_with(&["--in-memory", "--event-ttl", "2s"], &[("TIDINGS_SECRET", &secret())]);
    let quic = one.quic.clone();
    let flags = ["--data-dir", &data, "--join", &quic];
    let start = || Node::start_with(&flags, &[("TIDINGS_SECRET", &secret())]);
    let mut nodes = [one, start()];
    are_linked(&nodes);
    let mut ear = Ear::at(&nodes[1], None);
    say(&nodes[0], "before");
    assert_eq!(ear.next().text(), "before");
    let cursor = ear.cursor.clone();
    nodes[1].process.signal("TERM");
    assert!(nodes[1].process.wait().success());
    let gone: Vec<String> = (0..3).map(|n| say(&nodes[0], &format!("gone {n}"))).collect();
    let lives = |dot: &String| nodes[0].get(&format!("/v1/sys/events/{dot}")).status == 200;
    eventually("the messages have expired", || !gone.iter().any(lives));
    nodes[1] = start();
    are_linked(&nodes);
    let mut ear = Ear::at(&nodes[1], Some(&cursor));
    let missed = ear.next();
    assert_eq!((missed.name.as_str(), &missed.data), ("missed", &json!({ "count": 3 })));
    say(&nodes[0], "after");
    assert_eq!(ear.next().text(), "after");
}

#[test]
fn the_commands_do_what_the_routes_do() {
    let node = Node::start();
    let cursor = Ear::at(&node, None).cursor;
    let args = ["events", "--json", "--after", &cursor, "--http", &node.http];
    let mut events = Process::start(tidings().args(args).stdin(Stdio::null()));
    let output = node.run_with_input(&["broadcast", "-", "--json"], b"from stdin");
    let dot: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told: Value = serde_json::from_str(&events.line()).expect("JSON");
    assert_eq!((&told["event"], &told["text"], &told["dot"]), (&json!("message"), &json!("from stdin"), &dot["dot"]));
    assert!(told["cursor"].is_string() && told["context"].is_object());
    let shell = node.run_with_input(&["shell"], b"broadcast 'from the shell'\n");
    assert_eq!(String::from_utf8_lossy(&shell.stdout), "sent\n");
    let told: Value = serde_json::from_str(&events.line()).expect("JSON");
    assert_eq!(told["text"], "from the shell");
    let plain = Process::start(tidings().args(["events", "--after", &cursor, "--http", &node.http])).line();
    assert_eq!(plain, format!("message {} from stdin", dot["dot"].as_str().expect("a dot")));
    events.signal("INT");
    assert!(events.wait().success());
}
