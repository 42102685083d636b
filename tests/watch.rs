//! Watching at the real binary: what an event looks like, what is told once, who goes on where, and what a reader that does
//! not read costs. Not responsible for every order of events: the simulator tries those.
#![cfg(feature = "cli")]

mod common;

use common::{Node, PATIENCE, Process, eventually, tidings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A client of `GET /v1/watch`, which has read a socket as far as it was asked to.
struct Watch {
    lines: BufReader<TcpStream>,
    /// The last `id`.
    cursor: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    name: String,
    data: Value,
    id: Option<String>,
}

impl Event {
    fn key(&self) -> &str {
        self.data["key"].as_str().expect("a key")
    }

    /// Name, key and value of the event.
    fn told(&self) -> (&str, &str, String) {
        let value = ["value", "text", "value_base64"].iter().find_map(|name| self.data.get(name));
        (&self.name, self.key(), value.map_or_else(String::new, |v| v.as_str().map_or(v.to_string(), str::to_owned)))
    }
}

impl Watch {
    fn at(http: &str, query: &str, after: Option<&str>) -> Self {
        let (status, lines) = request(http, query, after);
        assert_eq!(status, 200);
        Self { lines, cursor: after.unwrap_or_default().to_owned() }
    }

    /// As [`at`](Self::at), once the node has said where it begins.
    fn begun(http: &str, query: &str) -> Self {
        let mut watch = Self::at(http, query, None);
        while watch.cursor.is_empty() {
            watch.block().expect("it begins with an id");
        }
        watch
    }

    /// The next line, without what frames the chunks of the answer. One that is cut off is none.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = Vec::new();
            let read = self.lines.read_until(b'\n', &mut line);
            if read.is_err() || !line.ends_with(b"\n") {
                return None;
            }
            let line = String::from_utf8(line).expect("UTF-8");
            // Lines of events end in \n, those of the framing in \r\n.
            if !line.ends_with("\r\n") {
                return Some(line.trim_end_matches('\n').to_owned());
            }
        }
    }

    /// What stands before the next empty line. Only then its id counts: an event that is cut off is to be told again.
    fn block(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), data: Value::Null, id: None };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                _ if line.is_empty() => {
                    self.cursor = event.id.clone().unwrap_or_else(|| std::mem::take(&mut self.cursor));
                    return Some(event);
                }
                _ => assert!(line.starts_with(':'), "{line:?}"),
            }
        }
    }

    /// The next event; `None` when the connection has ended.
    fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.block()?;
            if event.data != Value::Null {
                return Some(event);
            }
        }
    }

    fn event(&mut self) -> Event {
        self.next().expect("an event")
    }
}

fn request(http: &str, query: &str, after: Option<&str>) -> (u16, BufReader<TcpStream>) {
    let address = http.strip_prefix("http://").expect("an address");
    let mut socket = TcpStream::connect(address).expect("a node");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let after = after.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    write!(socket, "GET /v1/watch{query} HTTP/1.1\r\nHost: {address}\r\n{after}\r\n").expect("sent");
    let mut lines = BufReader::new(socket);
    let mut head = String::new();
    lines.read_line(&mut head).expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).expect("headers");
        if line == "\r\n" {
            return (status, lines);
        }
    }
}

/// Nodes of one cluster, each of which dials those before it, in memory or not.
fn cluster(flags: &[&[&str]]) -> Vec<Node> {
    let secret = "7".repeat(64);
    let mut nodes: Vec<Node> = Vec::new();
    for flags in flags {
        let join = nodes.iter().map(|node| node.quic.clone()).collect::<Vec<_>>().join(",");
        let mut all = flags.to_vec();
        if !join.is_empty() {
            all.extend(["--join", &join]);
        }
        nodes.push(Node::start_with(&all, &[("TIDINGS_SECRET", &secret)]));
    }
    let linked = |node: &Node| node.get("/v1/status").json()["links"].as_array().expect("a list").len();
    eventually("the nodes are linked", || nodes.iter().all(|node| linked(node) == nodes.len() - 1));
    nodes
}

#[test]
fn an_event_says_what_happened_as_the_rest_of_the_interface_says_it() {
    let node = Node::start();
    let mut watch = Watch::begun(&node.http, "?prefix=a/");
    node.put("/v1/kv/a/json", "{\"x\":1}");
    node.put("/v1/kv/b", "of no interest");
    node.put("/v1/kv/a/text?ttl=1h", "some words");
    node.put("/v1/kv/a/%ff", [0xfe]);
    node.put("/v1/kv/a/json", "2");
    node.delete("/v1/kv/a/json");
    let events: Vec<Event> = (0..5).map(|_| watch.event()).collect();
    assert_eq!(events[0].told(), ("put", "a/json", "{\"x\":1}".to_owned()));
    assert_eq!(events[1].told(), ("put", "a/text", "some words".to_owned()));
    assert_eq!(events[1].data["text"], "some words");
    assert_eq!((&events[2].data["key_base64"], &events[2].data["value_base64"]), (&"YS//".into(), &"/g==".into()));
    assert_eq!(events[3].told(), ("put", "a/json", "2".to_owned()));
    assert_eq!(events[4].told(), ("delete", "a/json", String::new()));
    let answer = node.get("/v1/kv/a/text");
    assert_eq!(events[1].data["dot"], answer.header("tidings-dot").expect("a dot"));
    assert_eq!(events[1].data["timestamp"], answer.header("tidings-timestamp").expect("a timestamp"));
    assert_eq!(events[1].data["expires"].to_string(), answer.header("tidings-expires").expect("a deadline"));
    assert!(events[0].data.get("expires").is_none() && events[4].data["dot"].is_string());
    assert!(events.iter().all(|event| event.id.is_some()), "each has an id of its own");
}

#[test]
fn the_answer_is_an_event_stream_and_bad_requests_are_refused() {
    let node = Node::start();
    let (status, mut lines) = request(&node.http, "", None);
    assert_eq!(status, 200);
    // It begins with an id alone, for who is cut off before the first event.
    let mut begin = String::new();
    while !begin.contains("\n\n") {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        begin.push_str(if line.ends_with("\r\n") { "" } else { &line });
    }
    assert!(begin.starts_with("id: ") && begin.lines().count() == 2, "{begin:?}");
    let other = Node::start();
    let foreign = Watch::begun(&other.http, "").cursor;
    let own = Watch::begun(&node.http, "").cursor;
    for id in ["x", "====", "AQ", &own[1..], &foreign] {
        let answer = node.send("GET", "/v1/watch", &[("Last-Event-ID", id)], ());
        assert_eq!((answer.status, answer.error().as_str()), (400, "bad_cursor"), "{id:?}");
        assert_eq!(node.get(&format!("/v1/watch?after={id}")).status, 400);
    }
    assert_eq!(node.get("/v1/watch?prefx=a").status, 400);
    assert_eq!(node.post("/v1/watch", "").status, 405);
    assert_eq!(node.delete("/v1/kv/nothing").status, 404);
}

#[test]
fn after_a_cursor_only_what_came_later_is_told_each_once() {
    let node = Node::start();
    let mut first = Watch::begun(&node.http, "");
    let begin = first.cursor.clone();
    for n in 0..300 {
        node.put(&format!("/v1/kv/k{n:03}"), n.to_string());
    }
    let ids: Vec<String> = (0..300).map(|_| first.event().id.expect("an id")).collect();
    for after in [0, 1, 150, 299] {
        let id = if after == 0 { &begin } else { &ids[after - 1] };
        let mut again = Watch::at(&node.http, "?prefix=k", Some(id));
        for n in after..300 {
            assert_eq!(again.event().key(), format!("k{n:03}"), "after {after}");
        }
        let mut by_query = Watch::at(&node.http, &format!("?prefix=live{after}-&after={}", again.cursor), None);
        node.put(&format!("/v1/kv/live{after}-"), "1");
        assert_eq!(by_query.event().key(), format!("live{after}-"));
    }
    // What has changed several times meanwhile is told once, as it is now.
    let before = Watch::begun(&node.http, "").cursor;
    for value in ["1", "2"] {
        node.put("/v1/kv/live", value);
        node.put("/v1/kv/gone", value);
    }
    node.delete("/v1/kv/gone");
    node.put("/v1/kv/end", "3");
    let mut rest = Watch::at(&node.http, "", Some(&before));
    let told: Vec<_> = (0..3).map(|_| rest.event()).collect();
    let told: Vec<_> = told.iter().map(Event::told).collect();
    assert_eq!(
        told,
        [("put", "live", "2".to_owned()), ("delete", "gone", String::new()), ("put", "end", "3".to_owned())]
    );
}

#[test]
fn what_expires_is_told_once_live_and_after_a_cursor() {
    let node = Node::start();
    let mut live = Watch::begun(&node.http, "");
    node.put("/v1/kv/brief?ttl=300ms", "1");
    node.put("/v1/kv/brief2?ttl=300ms", "1");
    node.put("/v1/kv/lasting", "1");
    let told: Vec<_> = (0..5).map(|_| live.event()).collect();
    let names: Vec<_> = told.iter().map(|event| (event.name.as_str(), event.key())).collect();
    assert_eq!(
        names,
        [("put", "brief"), ("put", "brief2"), ("put", "lasting"), ("expired", "brief"), ("expired", "brief2")]
    );
    assert_eq!(told[3].data["dot"], told[0].data["dot"]);
    let mut after_put = Watch::at(&node.http, "", told[2].id.as_deref());
    assert_eq!(after_put.event().key(), "brief");
    assert_eq!(after_put.event().key(), "brief2");
    let mut after_all = Watch::at(&node.http, "", Some(&live.cursor));
    node.put("/v1/kv/next", "1");
    for watch in [&mut after_put, &mut after_all, &mut live] {
        assert_eq!(watch.event().key(), "next");
    }
}

#[test]
fn a_watcher_of_a_killed_node_goes_on_at_another_and_misses_nothing() {
    let mut nodes = cluster(&[&["--in-memory"], &["--in-memory"], &["--in-memory"]]);
    let (writer, other) = (nodes.pop().expect("three"), nodes.pop().expect("two"));
    let mut watched = nodes.pop().expect("one");
    let mut watch = Watch::begun(&watched.http, "?prefix=k");
    let writing = std::thread::spawn(move || {
        for n in 0..400 {
            assert_eq!(writer.put(&format!("/v1/kv/k{n:04}"), n.to_string()).status, 201);
            if n % 4 == 3 {
                assert_eq!(writer.delete(&format!("/v1/kv/k{:04}", n - 2)).status, 204);
            }
        }
        writer
    });
    let mut told: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut note = |event: Event| *told.entry((event.key().to_owned(), event.name.clone())).or_default() += 1;
    (0..60).for_each(|_| note(watch.event()));
    watched.process.signal("KILL");
    while let Some(event) = watch.next() {
        note(event);
    }
    let so_far = told.len();
    let mut note = |event: Event| *told.entry((event.key().to_owned(), event.name.clone())).or_default() += 1;
    let mut watch = Watch::at(&other.http, "?prefix=k", Some(&watch.cursor));
    let writer = writing.join().expect("it has written");
    writer.put("/v1/kv/k-end", "end");
    loop {
        let event = watch.event();
        assert_ne!(event.name, "resync");
        if event.key() == "k-end" {
            break;
        }
        note(event);
    }
    assert!(told.values().all(|times| *times == 1), "{told:?}");
    for n in 0..400 {
        let key = format!("k{n:04}");
        // What was put and deleted while nobody was told may be known by its delete alone.
        let put = told.contains_key(&(key.clone(), "put".to_owned()));
        let deleted = told.contains_key(&(key.clone(), "delete".to_owned()));
        assert_eq!(deleted, n % 4 == 1, "{key}; {so_far} were told before the kill");
        assert!(put || deleted, "{key}");
    }
    watched.process.wait();
}

#[test]
fn nothing_is_told_that_a_crash_takes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data").to_str().expect("UTF-8").to_owned();
    let flags = ["--data-dir", data.as_str()];
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut cursor: Option<String> = None;
    for round in 0..4 {
        let mut node = Node::start_with(&flags, &[]);
        for (key, dot) in &told {
            let answer = node.get(&format!("/v1/kv/{key}"));
            assert_eq!(answer.header("tidings-dot"), Some(dot.as_str()), "{key} was told in a round before {round}");
        }
        let mut watch = match &cursor {
            Some(cursor) => Watch::at(&node.http, "", Some(cursor)),
            None => Watch::begun(&node.http, ""),
        };
        let http = node.http.clone();
        let writing = std::thread::spawn(move || {
            let agent = common::agent();
            for n in 0.. {
                let path = format!("/v1/kv/r{round}k{n}?durability=eventual");
                if common::ask(&agent, &http, "PUT", &path, &[], &b"v"[..]).is_err() {
                    return;
                }
            }
        });
        let mut note = |event: Event| {
            let dot = event.data["dot"].as_str().expect("a dot").to_owned();
            assert_eq!(told.insert(event.key().to_owned(), dot), None, "told twice: {event:?}");
        };
        (0..100).for_each(|_| note(watch.event()));
        node.process.signal("KILL");
        while let Some(event) = watch.next() {
            note(event);
        }
        node.process.wait();
        writing.join().expect("it has written");
        cursor = Some(watch.cursor);
    }
}

#[test]
fn a_cursor_from_before_a_truncation_is_answered_with_resync() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data").to_str().expect("UTF-8").to_owned();
    let flags = ["--data-dir", data.as_str(), "--tombstone-age", "1ms"];
    let node = Node::start_with(&flags, &[]);
    let mut watch = Watch::begun(&node.http, "");
    node.put("/v1/kv/a", "1");
    let before = watch.event().id.expect("an id");
    node.delete("/v1/kv/a");
    node.put("/v1/kv/b", "2");
    assert_eq!((watch.event().name, watch.event().name), ("delete".to_owned(), "put".to_owned()));
    eventually("the tombstone is dropped", || node.get("/v1/status").json()["tombstones"] == 0);
    let mut late = Watch::at(&node.http, "", Some(&before));
    let resync = late.event();
    assert_eq!((resync.name.as_str(), &resync.data), ("resync", &serde_json::json!({ "reason": "truncated" })));
    let mut in_time = Watch::at(&node.http, "", Some(&watch.cursor));
    node.put("/v1/kv/c", "3");
    for watch in [&mut late, &mut in_time, &mut watch] {
        assert_eq!(watch.event().told(), ("put", "c", "3".to_owned()));
    }
    // The id of a resync is one to go on from.
    let mut again = Watch::at(&node.http, "", resync.id.as_deref());
    assert_eq!(again.event().key(), "c");
}

#[test]
fn what_nobody_in_reach_has_seen_is_answered_with_resync() {
    let mut nodes = cluster(&[&["--in-memory"], &["--in-memory"]]);
    let other = nodes.pop().expect("two");
    let mut gone = nodes.pop().expect("one");
    let id = other.get("/v1/status").json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(gone.delete(&format!("/v1/peers/{id}")).status, 204);
    let mut watch = Watch::begun(&gone.http, "");
    gone.put("/v1/kv/nobody-else-has", "this");
    watch.event();
    gone.process.signal("KILL");
    gone.process.wait();
    let mut late = Watch::at(&other.http, "", Some(&watch.cursor));
    let resync = late.event();
    assert_eq!((resync.name.as_str(), &resync.data["reason"]), ("resync", &"unreached".into()));
    other.put("/v1/kv/next", "1");
    assert_eq!(late.event().key(), "next");
}

#[test]
fn a_reader_that_does_not_read_costs_nothing_and_is_told_the_latest() {
    let node = Node::start();
    let mut slow = Watch::begun(&node.http, "");
    let mut quick = Watch::begun(&node.http, "");
    let value = vec![b'x'; 1 << 20];
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.id())).expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") / 1024
    };
    // What every round of values takes, a slow reader or not.
    (0..10).for_each(|n| assert!(node.put(&format!("/v1/kv/k{n}"), &value).status < 300));
    (0..10).for_each(|_| drop(quick.event()));
    let before = rss();
    for round in 1..6 {
        for n in 0..10 {
            let mut value = value.clone();
            value[0] = b'0' + round;
            assert_eq!(node.put(&format!("/v1/kv/k{n}"), &value).status, 204);
            assert_eq!(quick.event().key(), format!("k{n}"), "another watcher is told meanwhile");
        }
    }
    let grown = rss().saturating_sub(before);
    assert!(grown < 32, "{grown} MiB for 50 MiB that nobody read");
    node.put("/v1/kv/end", "end");
    let mut latest = BTreeMap::new();
    loop {
        let event = slow.event();
        let (name, key, value) = event.told();
        assert_eq!(name, "put");
        if key == "end" {
            break;
        }
        latest.insert(key.to_owned(), value.as_bytes()[0]);
    }
    assert_eq!(latest, (0..10).map(|n| (format!("k{n}"), b'5')).collect());
}

#[test]
fn the_stream_ends_in_order_when_the_node_does() {
    let mut node = Node::start();
    let mut watch = Watch::begun(&node.http, "");
    let begin = Instant::now();
    node.process.signal("TERM");
    assert!(watch.next().is_none());
    assert!(node.process.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(5), "it does not wait for its watchers");
}

#[test]
fn the_command_prints_a_line_for_each_change_and_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data").to_str().expect("UTF-8").to_owned();
    let mut node = Node::start_with(&["--data-dir", &data], &[]);
    let http = node.http.clone();
    let mut command = tidings();
    command.args(["watch", "a", "--http", &http]).stderr(Stdio::piped());
    let mut watching = Process::start(&mut command);
    let mut as_json = Process::start(tidings().args(["watch", "--json", "--http", &http]));
    // The commands may not be watching yet: what is put until they are is put again.
    let mut begun = [false; 2];
    let (line_sender, line) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let read = watching.line();
            if line_sender.send((read.clone(), None)).is_err() || read.is_empty() {
                return line_sender.send((String::new(), Some(watching))).is_ok();
            }
        }
    });
    eventually("the command watches", || {
        node.put("/v1/kv/a-begin", "0");
        begun[0] |= line.try_recv().is_ok();
        begun[0]
    });
    let next = || loop {
        let (text, _) = line.recv_timeout(PATIENCE).expect("a line");
        if text != "put a-begin 0" {
            return text;
        }
    };
    node.put("/v1/kv/a", "{\"n\":1}");
    node.put("/v1/kv/b", "x");
    node.put("/v1/kv/a?ttl=200ms", "two words");
    assert_eq!([next(), next(), next()], ["put a {\"n\":1}", "put a two words", "expired a"]);
    node.delete("/v1/kv/a-begin");
    assert_eq!(next(), "delete a-begin");
    begun[1] = serde_json::from_str::<Value>(&as_json.line()).expect("JSON")["cursor"].is_string();
    assert!(begun[1]);
    node.process.signal("KILL");
    node.process.wait();
    let quic = node.quic.clone();
    let flags = ["node", "--data-dir", &data, "--listen", &quic, "--http", &http];
    let mut again = Process::start(tidings().args(flags).current_dir(directory.path()));
    again.line();
    let put = |key: &str| tidings().args(["put", key, "v", "--http", &http]).status().expect("it runs").success();
    assert!(put("a-after"));
    assert_eq!(next(), "put a-after v");
    as_json.signal("INT");
    assert!(as_json.wait().success(), "an interrupted watch has done what it was asked");
}

/// A node that is killed may stop in the middle of one, behind its id.
#[test]
fn the_command_asks_again_for_a_change_that_was_cut_off() {
    let node = TcpListener::bind("127.0.0.1:0").expect("a port");
    let http = format!("http://{}", node.local_addr().expect("bound"));
    let mut watching = Process::start(tidings().args(["watch", "--http", &http]));
    // Answers with this, closes, and tells what was asked for.
    let serve = |events: &str| {
        let (mut socket, _) = node.accept().expect("the command");
        let mut request = BufReader::new(socket.try_clone().expect("a socket")).lines().map_while(Result::ok);
        let asked = request.next().expect("a request");
        request.find(String::is_empty).expect("the end of its head");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        write!(socket, "{head}{events}").expect("sent");
        asked
    };
    let put = |n: u32| format!("id: c{n}\nevent: put\ndata: {{\"key\":\"k{n}\",\"text\":\"v\"}}\n");
    assert!(!serve(&format!("{}\n{}", put(1), put(2))).contains("c1"), "it begins");
    let again = serve(&format!("{}\n", put(2)));
    assert!(again.contains("after=c1 "), "{again}");
    assert_eq!([watching.line(), watching.line()], ["put k1 v", "put k2 v"]);
}

#[test]
fn a_bad_cursor_is_bad_usage_and_an_absent_node_is_named() {
    let node = Node::start();
    let output = node.run(&["watch", "--after", "nonsense"]);
    assert_eq!(common::code(&output), 2, "{}", common::stderr(&output));
    assert!(common::stderr(&output).contains("cursor"));
    let output = common::run(["watch", "--http", "127.0.0.1:1"]);
    assert_eq!(common::code(&output), 1);
    assert!(common::stderr(&output).contains("no node at http://127.0.0.1:1"));
}

#[test]
fn the_shell_shows_changes_until_the_next_line() {
    let node = Node::start();
    let mut command = tidings();
    command.args(["shell", "--http", &node.http]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = move || {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("UTF-8");
        (line.trim_end().to_owned(), stdout.by_ref().buffer().len())
    };
    stdin.write_all(b"watch a\n").expect("sent");
    // It is watching when it shows something: until then it is written again.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let http = node.http.clone();
    let writing = std::thread::spawn(move || {
        let agent = common::agent();
        while stopped.recv_timeout(Duration::from_millis(50)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            common::ask(&agent, &http, "PUT", "/v1/kv/a", &[], &b"1"[..]).expect("an answer");
        }
    });
    assert_eq!(line().0, "put a 1");
    stop.send(()).expect("it is there");
    writing.join().expect("it ends");
    stdin.write_all(b"put b 2\nexit\n").expect("sent");
    let rest: Vec<_> = std::iter::from_fn(|| Some(line().0).filter(|line| !line.is_empty())).collect();
    assert_eq!(rest.iter().filter(|line| *line != "put a 1").collect::<Vec<_>>(), ["created"]);
    assert!(child.wait().expect("it ends").success());
}
