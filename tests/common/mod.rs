//! The real binary over real sockets, on ports that the system chooses. Not responsible for what is asserted.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::http::Response;
use ureq::{Agent, AsSendBody, Body};

/// Nothing here takes so long, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The binary, with none of this process's variables: they would be settings.
pub fn tidings() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Its output, of a command that ends by itself.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    tidings().args(args).output().expect("the binary runs")
}

/// As [`run`], with something on stdin.
pub fn run_with_input<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Output {
    let mut child = tidings();
    child.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    let _ = writer.join();
    output
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

/// Waits for something that others have to do first.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that prints lines and stays; it ends with the test.
pub struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("UTF-8");
        line.trim_end_matches('\n').to_owned()
    }

    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("UTF-8");
        rest
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One node, in a directory of its own.
pub struct Node {
    pub process: Process,
    pub name: String,
    /// `http://IP:PORT`
    pub http: String,
    pub quic: String,
    pub directory: TempDir,
}

impl Node {
    pub fn start() -> Self {
        Self::start_with(&["--in-memory"], &[])
    }

    /// With these flags and variables beside the ports.
    pub fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = command(directory.path());
        command.args(flags).envs(variables.iter().copied());
        Self::of(Process::start(&mut command), directory)
    }

    /// Reads the line that a node is known by: `NAME  http://IP:PORT  quic IP:PORT`.
    pub fn of(mut process: Process, directory: TempDir) -> Self {
        let (name, http, quic) = announced(&process.line());
        Self { process, name, http, quic, directory }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Runs a command at this node.
    pub fn run(&self, args: &[&str]) -> Output {
        tidings().args(args).env("TIDINGS_HTTP", &self.http).output().expect("the binary runs")
    }

    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let at = ["--http", self.http.as_str()];
        run_with_input(args.iter().chain(&at), input)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], ())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], ())
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("PUT", path, &[], body.as_ref())
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, &[], body.as_ref())
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsSendBody) -> Answer {
        ask(&agent(), &self.http, method, path, headers, body).expect("an answer")
    }
}

/// A client that takes every status for an answer, and goes on with its connections.
pub fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE * 3)).build().into()
}

/// Asks a node that may end meanwhile.
pub fn ask(
    agent: &Agent,
    http: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsSendBody,
) -> Result<Answer, ureq::Error> {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{http}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(agent.run(request.body(body).expect("a request"))?)
}

/// `node` in a directory, on ports that the system chooses.
pub fn command(directory: &Path) -> Command {
    let mut command = tidings();
    command.current_dir(directory).args(["node", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command
}

/// Name, HTTP address and QUIC address from the line of a node.
pub fn announced(line: &str) -> (String, String, String) {
    let parts: Vec<_> = line.split("  ").collect();
    let [name, http, quic] = parts[..] else { panic!("not the line of a node: {line:?}") };
    assert!(http.starts_with("http://127.0.0.1:"), "{line}");
    (name.to_owned(), http.to_owned(), quic.strip_prefix("quic ").expect("its address").to_owned())
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    fn of(response: Response<Body>) -> Result<Self, ureq::Error> {
        let (parts, body) = response.into_parts();
        let body = body.into_with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Self { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Its code, of a refusal, which has a message too.
    pub fn error(&self) -> String {
        let json = self.json();
        assert!(json["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{json}");
        json["error"]["code"].as_str().expect("a code").to_owned()
    }
}
