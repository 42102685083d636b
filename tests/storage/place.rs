//! A node on a data directory that outlives its process. Not responsible for what it is asked.

use crate::common::{self, Answer, Process, announced, eventually, tidings};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use ureq::Agent;

/// Where a client asks; a clone shares the connections.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    http: String,
}

impl Client {
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        common::ask(&self.agent, &self.http, method, path, &[], body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, b"").expect("an answer")
    }

    pub(crate) fn put(&self, key: &str, value: impl AsRef<[u8]>) -> Answer {
        self.ask("PUT", &format!("/v1/kv/{key}"), value.as_ref()).expect("an answer")
    }

    /// What the key shows.
    pub(crate) fn value(&self, key: &str) -> Option<Vec<u8>> {
        let answer = self.get(&format!("/v1/kv/{key}"));
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            status => panic!("{key}: {status} {}", answer.text()),
        }
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        self.get("/v1/status").json()
    }
}

/// A process that has said where it listens.
struct Running {
    process: Process,
    client: Client,
    quic: String,
}

/// A data directory, and the node on it if there is one.
pub(crate) struct Place {
    /// What the node says on stderr is here, whatever becomes of the data's disk.
    directory: TempDir,
    /// Empty for a node that has none.
    data: PathBuf,
    secret: String,
    flags: Vec<String>,
    /// Kilobytes of address space, if it is to have no more.
    address_space: Option<u64>,
    running: Option<Running>,
}

impl Place {
    /// No node is there yet. All places of a cluster have one secret.
    pub(crate) fn new(secret: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let (secret, flags) = (secret.to_owned(), Vec::new());
        Self { directory, data, secret, flags, address_space: None, running: None }
    }

    pub(crate) fn at(secret: &str, data: PathBuf) -> Self {
        Self { data, ..Self::new(secret) }
    }

    pub(crate) fn in_memory(secret: &str) -> Self {
        Self { data: PathBuf::new(), ..Self::new(secret) }.with_flags(&["--in-memory"])
    }

    pub(crate) fn with_flags(self, flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), ..self }
    }

    pub(crate) fn with_address_space(self, kilobytes: u64) -> Self {
        Self { address_space: Some(kilobytes), ..self }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// `node` on this directory, with stderr in a file.
    pub(crate) fn command(&self, join: &[String]) -> Command {
        let mut command = tidings();
        if let Some(kilobytes) = self.address_space {
            let binary = command.get_program().to_owned();
            command = Command::new("sh");
            command.env_clear().stdin(Stdio::null());
            command.args(["-c", &format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\"")]).arg(binary);
        }
        command.args(["node", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--name", "n"]);
        if !self.data.as_os_str().is_empty() {
            command.arg("--data-dir").arg(&self.data);
        }
        command.args(&self.flags).env("TIDINGS_SECRET", &self.secret);
        if !join.is_empty() {
            command.args(["--join", &join.join(",")]);
        }
        let stderr = File::create(self.directory.path().join("stderr")).expect("a file");
        command.stderr(stderr);
        command
    }

    /// What the last node here has said on stderr.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    pub(crate) fn start(&mut self, join: &[String]) {
        let refusal = self.try_start(join).err();
        assert!(refusal.is_none(), "the node has not started: {refusal:?}: {}", self.stderr());
    }

    /// Its exit code, or nothing of one that a signal has ended, if it refuses.
    pub(crate) fn try_start(&mut self, join: &[String]) -> Result<(), Option<i32>> {
        assert!(self.running.is_none(), "one at a time");
        let mut process = Process::start(&mut self.command(join));
        let line = process.line();
        if line.is_empty() {
            return Err(process.wait().code());
        }
        let (_, http, quic) = announced(&line);
        self.running = Some(Running { process, client: Client { agent: common::agent(), http }, quic });
        Ok(())
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a node runs here")
    }

    pub(crate) fn client(&self) -> &Client {
        &self.running().client
    }

    pub(crate) fn quic(&self) -> String {
        self.running().quic.clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// `STOP` or `CONT`: for a while it does nothing, and neither hears nor says anything.
    pub(crate) fn signal(&self, name: &str) {
        self.running().process.signal(name);
    }

    pub(crate) fn kill(&mut self) {
        kill_at_once(&mut [self]);
    }

    /// Ends it in order.
    pub(crate) fn end(&mut self) {
        let mut running = self.running.take().expect("a node runs here");
        running.process.signal("TERM");
        assert_eq!(running.process.wait().code(), Some(0), "{}", self.stderr());
    }
}

/// SIGKILL to all of them with one command.
pub(crate) fn kill_at_once(places: &mut [&mut Place]) {
    let ids = places.iter().map(|place| place.running().process.id().to_string());
    let sent = Command::new("kill").args(["-s", "KILL"]).args(ids).status().expect("kill runs");
    assert!(sent.success());
    for place in places {
        place.running.take().expect("it ran").process.wait();
    }
}

/// All have the same, and nothing is under way.
pub(crate) fn converge(places: &[&Place]) {
    eventually("the nodes agree", || {
        let states: Vec<_> = places.iter().map(|place| place.client().status()).collect();
        states.iter().all(|state| state["pending"] == 0 && state["audit"] == states[0]["audit"])
    });
}

pub(crate) fn secret() -> String {
    common::stdout(&common::run(["secret", "new"])).trim().to_owned()
}
