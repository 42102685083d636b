//! Network namespaces with a switch between them, and real processes in them. Not responsible for what is asserted.
//!
//! ```text
//!  this process ── 10.a.b.253 ── switch ── 10.a.b.1, .2, .3: a namespace for each process
//! ```
//!
//! The switch routes. A cut is a rule of it that drops what goes between nodes, silently and both ways; this process
//! reaches all of them all the time. In one namespace there may be several processes, each on a port of its own: a cut
//! then parts them together from the others.
#![allow(dead_code)]

use crate::common::{Answer, PATIENCE, Process, ask};
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::Agent;

/// The port of every process, TCP and UDP.
const PORT: u16 = 8090;

/// What a process has logged, in its directory.
const LOG: &str = "log";

/// Namespaces `1..=count` and the switch; they go with this value.
pub(crate) struct Lab {
    prefix: String,
    subnet: String,
    count: usize,
}

impl Lab {
    /// `None`, and a line that says what is missing, where namespaces cannot be had.
    pub(crate) fn new(count: usize) -> Option<Self> {
        let number = std::process::id();
        let (a, b) = (64 + number % 128, number / 128 % 256);
        let lab = Self { prefix: format!("tidings{number}"), subnet: format!("10.{a}.{b}"), count };
        match lab.build() {
            Ok(()) => Some(lab),
            Err(reason) => {
                let _ = writeln!(std::io::stderr(), "SKIPPED: {} needs ip, as root: {reason}", test());
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let (switch, host, subnet) = (self.namespace(0), self.device(), &self.subnet);
        let (router, here) = (format!("{subnet}.254"), format!("{subnet}.253"));
        ip(&format!("netns add {switch}"))?;
        ip(&format!("netns exec {switch} sh -c echo\u{a0}1\u{a0}>/proc/sys/net/ipv4/ip_forward"))?;
        ip(&format!("link add {host} type veth peer name host netns {switch}"))?;
        for command in [
            format!("link set {host} up"),
            format!("addr add {here}/32 dev {host}"),
            format!("route add {router}/32 dev {host}"),
            format!("route add {subnet}.0/24 via {router} src {here}"),
            format!("-n {switch} link set host up"),
            format!("-n {switch} addr add {router}/32 dev host"),
            format!("-n {switch} route add {here}/32 dev host"),
        ] {
            ip(&command)?;
        }
        (1..=self.count).try_for_each(|node| self.attach(node, &router))
    }

    fn attach(&self, node: usize, router: &str) -> Result<(), String> {
        let (switch, namespace, address) = (self.namespace(0), self.namespace(node), self.ip(node));
        for command in [
            format!("netns add {namespace}"),
            format!("-n {switch} link add n{node} type veth peer name eth0 netns {namespace}"),
            format!("-n {namespace} link set lo up"),
            format!("-n {namespace} link set eth0 up"),
            format!("-n {namespace} addr add {address}/32 dev eth0"),
            format!("-n {namespace} route add {router} dev eth0"),
            format!("-n {namespace} route add default via {router}"),
            format!("-n {switch} link set n{node} up"),
            format!("-n {switch} addr add {router}/32 dev n{node}"),
            format!("-n {switch} route add {address}/32 dev n{node}"),
        ] {
            ip(&command)?;
        }
        Ok(())
    }

    fn namespace(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    fn device(&self) -> String {
        self.prefix.clone()
    }

    fn ip(&self, node: usize) -> String {
        format!("{}.{node}", self.subnet)
    }

    pub(crate) fn address(&self, node: usize) -> String {
        format!("{}:{PORT}", self.ip(node))
    }

    /// All addresses, in their order.
    pub(crate) fn addresses(&self) -> Vec<String> {
        (1..=self.count).map(|node| self.address(node)).collect()
    }

    /// The node loses all others, and is told nothing.
    pub(crate) fn cut(&self, node: usize) {
        self.rules(node, "add");
    }

    pub(crate) fn heal(&self, node: usize) {
        self.rules(node, "del");
    }

    fn rules(&self, node: usize, change: &str) {
        let (switch, one, all) = (self.namespace(0), self.ip(node), format!("{}.0/28", self.subnet));
        for rule in [format!("from {one} to {all}"), format!("from {all} to {one}")] {
            ip(&format!("-n {switch} rule {change} {rule} blackhole")).expect("a rule");
        }
    }

    /// Starts a process in its namespace, from its environment alone; `flags` beside `--compat`.
    pub(crate) fn start(&self, node: usize, flags: &[&str]) -> Server {
        self.start_at(&self.place(node), flags)
    }

    /// Starts it again, over the same files.
    pub(crate) fn restart(&self, node: usize, flags: &[&str], server: &mut Server) {
        self.restart_at(&self.place(node), flags, server);
    }

    fn place(&self, node: usize) -> Place {
        Place { namespace: node, address: self.address(node), join: self.addresses().join(",") }
    }

    /// Where one of several processes of a namespace listens.
    pub(crate) fn address_on(&self, namespace: usize, port: u16) -> String {
        format!("{}:{port}", self.ip(namespace))
    }

    pub(crate) fn start_at(&self, place: &Place, flags: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a directory");
        let process = self.spawn(place, flags, &directory);
        Server { process, http: format!("http://{}", place.address), directory, agent: crate::common::agent() }
    }

    pub(crate) fn restart_at(&self, place: &Place, flags: &[&str], server: &mut Server) {
        server.process = self.spawn(place, flags, &server.directory);
    }

    /// What it logs is appended to `LOG` in its directory.
    fn spawn(&self, place: &Place, flags: &[&str], directory: &TempDir) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(place.namespace), env!("CARGO_BIN_EXE_tidings"), "node"]);
        command.args(["--compat", "kvs,cache"]).args(flags).current_dir(directory.path());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("SOCKET_ADDRESS", &place.address).env("VIEW", &place.join);
        command.env("RUST_LOG", "tidings=info");
        command.env("TIDINGS_SECRET", "ab".repeat(32)).env("TIDINGS_HTTP_ALLOW_ANONYMOUS", "true");
        let log = OpenOptions::new().create(true).append(true).open(directory.path().join(LOG)).expect("a log");
        let mut process = Process::start(command.stderr(log));
        let line = process.line();
        let expected = format!("http://{0}  quic {0}", place.address);
        assert!(line.ends_with(&expected), "the line of a node: {line:?}");
        process
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.device()));
        for number in 0..=self.count {
            let _ = ip(&format!("netns del {}", self.namespace(number)));
        }
    }
}

/// Where a process runs, and whom it knows.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: usize,
    /// Of both ports, TCP and UDP.
    pub(crate) address: String,
    /// With commas between them.
    pub(crate) join: String,
}

/// A process in a namespace.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) http: String,
    pub(crate) directory: TempDir,
    agent: Agent,
}

impl Server {
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(&self.agent, &self.http, method, path, &[], body.as_bytes()).expect("an answer")
    }

    pub(crate) fn view(&self) -> Vec<String> {
        serde_json::from_value(self.ask("GET", "/view", "").json()["view"].clone()).expect("a list")
    }

    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// What it has logged; the harness shows it if the test fails.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default()
    }

    /// What it holds in memory, in bytes, by the system's account.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// What its data directory takes, in bytes.
    pub(crate) fn on_disk(&self) -> u64 {
        size(&self.directory.path().join("tidings-data"))
    }
}

fn size(path: &std::path::Path) -> u64 {
    // A file may go while it is looked at.
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => metadata.len(),
    }
}

/// Polls until it holds, and says how long that took; fails after `within`, a bound that the manual gives.
#[track_caller]
pub(crate) fn within(within: Duration, what: &str, holds: impl FnMut() -> bool) -> Duration {
    let took = until(what, holds);
    assert!(took <= within, "{what}: {took:?}, of at most {within:?}");
    took
}

#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// Runs `ip`. Words are parted by spaces; a no-break space is a space within one.
fn ip(words: &str) -> Result<(), String> {
    let words: Vec<String> = words.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
    match Command::new("ip").args(&words).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            let first = String::from_utf8_lossy(&stderr).lines().next().unwrap_or("no reason").to_owned();
            Err(format!("ip {}: {first}", words.join(" ")))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}
