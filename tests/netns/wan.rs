//! Nodes on thin links: namespaces whose packets a switch in user space (`wan.py`) delays, loses, cuts and counts, and real
//! processes in them. Not responsible for what is asserted or measured.
//!
//! What goes from one node to another passes the links of both. This process reaches each of them as if nothing were in
//! between, and that is not counted.
#![allow(dead_code)]

use crate::common::{Answer, Process, agent, ask};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::Agent;

const SWITCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/wan.py");
const QUIC_PORT: u16 = 7400;
const HTTP_PORT: u16 = 7480;

/// Labs of this process; they may run beside each other.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A thin link: 64 kbit/s, and 300 ms there and back for what passes two of them.
pub(crate) const THIN: Shape = Shape { bits_per_s: 64_000, delay_ms: 75, loss: 0.0, queue_ms: 2_000 };

/// One that hides nothing.
pub(crate) const OPEN: Shape = Shape { bits_per_s: 0, delay_ms: 0, loss: 0.0, queue_ms: 2_000 };

/// What a node's link is like, each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Zero: no limit.
    pub(crate) bits_per_s: u64,
    /// One way.
    pub(crate) delay_ms: u64,
    pub(crate) loss: f64,
    /// What may wait before more is lost.
    pub(crate) queue_ms: u64,
}

/// What the switch has counted at a node's link, in IP packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// What the node gave to its link, lost or not.
    pub(crate) sent_bytes: u64,
    pub(crate) sent_packets: u64,
    pub(crate) received_bytes: u64,
    pub(crate) received_packets: u64,
    pub(crate) lost_packets: u64,
    /// QUIC connections that it has begun.
    pub(crate) dials: u64,
}

impl Counters {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            sent_packets: self.sent_packets - earlier.sent_packets,
            received_bytes: self.received_bytes - earlier.received_bytes,
            received_packets: self.received_packets - earlier.received_packets,
            lost_packets: self.lost_packets - earlier.lost_packets,
            dials: self.dials - earlier.dials,
        }
    }
}

/// What all of them have sent.
pub(crate) fn sent(counters: &[Counters]) -> u64 {
    counters.iter().map(|node| node.sent_bytes).sum()
}

/// A packet that a node gave to its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// By the switch's clock, in seconds.
    pub(crate) at: f64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: u64,
}

/// Namespaces `1..=nodes` and the switch; they go with this value, or with this process.
pub(crate) struct Wan {
    switch: Mutex<Switch>,
    prefix: String,
    subnet: String,
    nodes: usize,
}

struct Switch {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Wan {
    /// `None`, and a line that says what is missing, where it cannot be had.
    pub(crate) fn new(nodes: usize) -> Option<Self> {
        let (process, lab) = (std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let number = process.wrapping_mul(8).wrapping_add(lab);
        let subnet = format!("10.{}.{}", 192 + number / 256 % 64, number % 256);
        let prefix = format!("tidingswan-{process}-{lab}");
        match Switch::start(&prefix, &subnet, nodes) {
            Ok(switch) => Some(Self { switch: Mutex::new(switch), prefix, subnet, nodes }),
            Err(reason) => {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                let needs = "python3, ip and /dev/net/tun, as root";
                let _ = writeln!(std::io::stderr(), "SKIPPED: {test} needs {needs}: {reason}");
                None
            }
        }
    }

    pub(crate) fn address(&self, node: usize) -> String {
        format!("{}.{node}:{QUIC_PORT}", self.subnet)
    }

    /// Shapes the link of one node.
    pub(crate) fn shape(&self, node: usize, shape: Shape) {
        let Shape { bits_per_s, delay_ms, loss, queue_ms } = shape;
        self.tell(&format!("shape {node} rate={bits_per_s} delay_ms={delay_ms} loss={loss} queue_ms={queue_ms}"));
    }

    pub(crate) fn shape_all(&self, shape: Shape) {
        (1..=self.nodes).for_each(|node| self.shape(node, shape));
    }

    /// The node loses all others, and is told nothing.
    pub(crate) fn cut(&self, node: usize) {
        self.tell(&format!("cut {node}"));
    }

    pub(crate) fn heal(&self, node: usize) {
        self.tell(&format!("heal {node}"));
    }

    /// From now on cut for `down` after each `up`; two zeros end that, healed.
    pub(crate) fn flap(&self, node: usize, up: Duration, down: Duration) {
        self.tell(&format!("flap {node} {} {}", up.as_millis(), down.as_millis()));
    }

    pub(crate) fn steady(&self, node: usize) {
        self.flap(node, Duration::ZERO, Duration::ZERO);
    }

    /// Of the nodes in their order, the first one's at 0.
    pub(crate) fn counters(&self) -> Vec<Counters> {
        let answer = self.tell("counters");
        let of = |node: &Value| {
            let number = |name: &str| node[name].as_u64().expect("a number");
            Counters {
                sent_bytes: number("sent_bytes"),
                sent_packets: number("sent_packets"),
                received_bytes: number("received_bytes"),
                received_packets: number("received_packets"),
                lost_packets: number("lost_packets"),
                dials: number("dials"),
            }
        };
        answer["nodes"].as_array().expect("a list").iter().map(of).collect()
    }

    /// What has changed since, node by node.
    pub(crate) fn counted_since(&self, earlier: &[Counters]) -> Vec<Counters> {
        self.counters().into_iter().zip(earlier).map(|(now, earlier)| now.since(*earlier)).collect()
    }

    /// Notes each packet from now on.
    pub(crate) fn record(&self) {
        self.tell("record on");
    }

    /// What was noted; no more is.
    pub(crate) fn recorded(&self) -> Vec<Packet> {
        let answer = self.tell("record off");
        let of = |packet: &Value| {
            let number = |place: usize| packet[place].as_u64().expect("a number");
            let (from, to) = (number(1) as usize, number(2) as usize);
            Packet { at: packet[0].as_f64().expect("a time"), from, to, bytes: number(3) }
        };
        answer["packets"].as_array().expect("a list").iter().map(of).collect()
    }

    fn tell(&self, command: &str) -> Value {
        let answer = self.switch().ask(command).unwrap_or_else(|reason| panic!("{command}: {reason}"));
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    fn switch(&self) -> MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a node that joins those, or says in one line why it refused.
    pub(crate) fn try_start(&self, node: usize, join: &[usize], flags: &[&str]) -> Result<WanNode, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let errors = directory.path().join("stderr");
        let (quic, http) = (self.address(node), format!("{}.{node}:{HTTP_PORT}", self.subnet));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{node}", self.prefix), env!("CARGO_BIN_EXE_tidings"), "node"]);
        command.args(["--name", &format!("node{node}"), "--listen", &quic, "--http", &http, "--http-allow-anonymous"]);
        if !join.is_empty() {
            let join: Vec<_> = join.iter().map(|node| self.address(*node)).collect();
            command.args(["--join", &join.join(",")]);
        }
        command.args(flags).current_dir(directory.path()).stdin(Stdio::null());
        command.stderr(std::fs::File::create(&errors).expect("a file"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TIDINGS_SECRET", "ab".repeat(32));
        let mut process = Process::start(&mut command);
        if process.line().is_empty() {
            process.wait();
            return Err(refusal(&std::fs::read_to_string(&errors).unwrap_or_default()));
        }
        Ok(WanNode { process, http: format!("http://{http}"), directory, agent: agent() })
    }

    pub(crate) fn start(&self, node: usize, join: &[usize], flags: &[&str]) -> WanNode {
        self.try_start(node, join, flags).unwrap_or_else(|reason| panic!("node {node}: {reason}"))
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        let switch = self.switch.get_mut().unwrap_or_else(PoisonError::into_inner);
        switch.commands = None;
        let _ = switch.process.wait();
    }
}

impl Switch {
    fn start(prefix: &str, subnet: &str, nodes: usize) -> Result<Self, String> {
        let mut command = Command::new("python3");
        command.args(["-u", SWITCH, prefix, subnet, &nodes.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("python3: {error}"))?;
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut switch = Self { process, commands, answers };
        let ready = switch.answer()?;
        match ready.get("error") {
            Some(reason) => Err(reason.as_str().unwrap_or_default().to_owned()),
            None => Ok(switch),
        }
    }

    fn ask(&mut self, command: &str) -> Result<Value, String> {
        let commands = self.commands.as_mut().ok_or("it is closed")?;
        writeln!(commands, "{command}").map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|_| format!("the switch has ended: {line:?}"))
    }
}

/// Of what a command says when it is called wrongly.
fn refusal(errors: &str) -> String {
    let said: Vec<_> = errors.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    said.first().map_or("it ended and said nothing", |line| line.trim_start_matches("error: ")).to_owned()
}

/// A process in a namespace.
pub(crate) struct WanNode {
    pub(crate) process: Process,
    /// `http://IP:PORT`
    pub(crate) http: String,
    pub(crate) directory: TempDir,
    agent: Agent,
}

impl WanNode {
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        ask(&self.agent, &self.http, method, path, &[], body).expect("an answer")
    }

    pub(crate) fn put(&self, key: &str, value: &[u8]) {
        let answer = self.ask("PUT", &format!("/v1/kv/{key}"), value);
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.ask("GET", &format!("/v1/kv/{key}"), b"").status == 200
    }

    /// Writes all of them, in a few commits.
    pub(crate) fn import(&self, entries: &[(Vec<u8>, Vec<u8>)]) {
        let answer = self.ask("POST", "/v1/import", lines(entries).as_bytes());
        assert_eq!(answer.json()["imported"], entries.len(), "{}", answer.text());
    }

    pub(crate) fn status(&self) -> Value {
        self.ask("GET", "/v1/status", b"").json()
    }

    pub(crate) fn keys(&self) -> u64 {
        self.status()["keys"].as_u64().expect("a number")
    }

    /// Bytes of all purposes, sent and received, by its own account.
    pub(crate) fn ledger(&self) -> (u64, u64) {
        let bytes = &self.status()["bytes"];
        let sum = |way: &str| bytes[way].as_object().expect("purposes").values().filter_map(Value::as_u64).sum();
        (sum("sent"), sum("received"))
    }

    /// What it holds in memory, in bytes, by the system's account.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// Changes of its users' keys below a prefix, from now on, each with the moment it was heard; until the node ends.
    pub(crate) fn watch(&self, prefix: &str) -> std::sync::mpsc::Receiver<(String, Instant)> {
        let (tell, heard) = std::sync::mpsc::channel();
        let address = self.http.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).expect("a connection");
        write!(socket, "GET /v1/watch?prefix={prefix} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sent");
        let mut lines = BufReader::new(socket);
        // The first thing that it says is where it begins.
        let mut line = String::new();
        while !line.starts_with("id: ") {
            line.clear();
            assert!(lines.read_line(&mut line).expect("UTF-8") > 0, "no watch");
        }
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let data: Value = serde_json::from_str(data).unwrap_or_default();
                let Some(key) = data["key"].as_str() else { continue };
                if tell.send((key.to_owned(), Instant::now())).is_err() {
                    return;
                }
            }
        });
        heard
    }
}

/// As `import` takes them.
fn lines(entries: &[(Vec<u8>, Vec<u8>)]) -> String {
    let field = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if name == "key" => (name.to_owned(), json!(text)),
        Ok(text) => ("text".to_owned(), json!(text)),
        Err(_) => (format!("{name}_base64"), json!(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes))),
    };
    let mut lines = String::new();
    for (key, value) in entries {
        let record: Value = Value::Object([field("key", key), field("value", value)].into_iter().collect());
        let _ = writeln!(lines, "{record}");
    }
    lines
}

/// Whether all have the same, members included, and nothing is under way.
pub(crate) fn agree(nodes: &[&WanNode]) -> bool {
    let of = |node: &&WanNode| {
        let status = node.status();
        (status["audit"].clone(), status["pending"].clone())
    };
    let states: Vec<_> = nodes.iter().map(of).collect();
    states.iter().all(|state| *state == states[0] && state.1 == 0)
}

/// Waits, and says for how long, or that it was given up.
pub(crate) fn wait_for(at_most: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > at_most {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(start.elapsed())
}
