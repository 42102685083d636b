//! Those who work: clients that write and read, and watchers that wait for writes to arrive. Not responsible for summing
//! up.

use super::histogram::Histogram;
use super::report::{Errors, Measured};
use super::{PATIENCE, Plan, Sample, TICK};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};
use ureq::http::StatusCode;

/// Each client writes so many keys, again and again.
const KEYS: u64 = 100;
/// The keys live so much longer than the load.
const TTL_MORE: u32 = 60;
/// How often a watcher asks, at first and at most.
const ASK_FIRST: Duration = Duration::from_millis(1);
const ASK_LAST: Duration = Duration::from_millis(20);

/// One client: a request at a time, half of them writes.
#[derive(Debug)]
pub(super) struct Writer {
    plan: Plan,
    number: u16,
    /// One for each node.
    clients: Vec<Client>,
    samples: Vec<SyncSender<Sample>>,
    measured: Measured,
}

impl Writer {
    pub(super) fn new(plan: &Plan, number: u16, samples: &[SyncSender<Sample>]) -> Result<Self, Failure> {
        let clients = plan.nodes.iter().map(|node| Client::lasting(node, plan.token.clone(), PATIENCE));
        let clients = clients.collect::<Result<_, _>>()?;
        Ok(Self { plan: plan.clone(), number, clients, samples: samples.to_vec(), measured: Measured::default() })
    }

    pub(super) fn run(mut self) -> Measured {
        for request in 0.. {
            let due = self.plan.due(self.number, request);
            if !self.wait_until(due) {
                break;
            }
            let due = due.unwrap_or_else(Instant::now);
            // Writes and reads take turns, and both go round the nodes.
            let (turn, node) = (request / 2, (request / 2 + u64::from(self.number)) as usize % self.clients.len());
            if request.is_multiple_of(2) { self.write(turn, node, due) } else { self.read(turn, node, due) }
        }
        self.measured
    }

    /// Whether there is something to do then: not when the load is over before.
    fn wait_until(&self, due: Option<Instant>) -> bool {
        let left = || due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
        while !self.plan.is_over() {
            match left() {
                Duration::ZERO => return true,
                left => thread::sleep(left.min(TICK)),
            }
        }
        false
    }

    fn key(&self, turn: u64) -> String {
        format!("{}/{}/{}", self.plan.prefix, self.number, turn % KEYS)
    }

    fn write(&mut self, turn: u64, node: usize, due: Instant) {
        let (key, mut value) = (self.key(turn), format!("{turn:016}").into_bytes());
        value.resize(self.plan.args.value_bytes as usize, b'.');
        let ttl = self.plan.args.seconds + TTL_MORE;
        let client = &self.clients[node];
        let answer = client.put(&format!("/v1/kv/{key}?ttl={ttl}s"), &value);
        let answered = Instant::now();
        match answer.and_then(|answer| client.expect(answer)).and_then(|answer| client.bytes(answer)) {
            Ok(_) => {
                self.measured.writes.add(answered - due.min(answered));
                self.offer(&Sample { key, value, node, answered });
            }
            Err(failure) => self.measured.errors.add(&failure.to_string()),
        }
    }

    /// To the watchers of the other nodes; one who is busy passes.
    fn offer(&self, sample: &Sample) {
        let others = self.samples.iter().enumerate().filter(|(node, _)| *node != sample.node);
        others.for_each(|(_, watcher)| _ = watcher.try_send(sample.clone()));
    }

    /// What was written last, which may not have arrived here yet.
    fn read(&mut self, turn: u64, node: usize, due: Instant) {
        let (key, client) = (self.key(turn), &self.clients[(node + 1) % self.clients.len()]);
        let answer = client.get(&format!("/v1/kv/{key}")).and_then(|answer| match answer.status() {
            StatusCode::NOT_FOUND => client.bytes(answer),
            _ => client.expect(answer).and_then(|answer| client.bytes(answer)),
        });
        match answer {
            Ok(_) => self.measured.reads.add(due.elapsed()),
            Err(failure) => self.measured.errors.add(&failure.to_string()),
        }
    }
}

/// One who waits at a node for what was written elsewhere.
#[derive(Debug)]
pub(super) struct Arrivals {
    client: Client,
    samples: Receiver<Sample>,
    lag: Histogram,
    errors: Errors,
}

impl Arrivals {
    pub(super) fn new(client: Client, samples: Receiver<Sample>) -> Self {
        Self { client, samples, lag: Histogram::default(), errors: Errors::default() }
    }

    /// Until no client is left who could offer something.
    pub(super) fn run(mut self) -> (Histogram, Errors) {
        while let Ok(mut sample) = self.samples.recv() {
            // Those that have waited in line would count from a moment when nobody looked.
            while let Ok(later) = self.samples.try_recv() {
                sample = later;
            }
            self.wait_for(&sample);
        }
        (self.lag, self.errors)
    }

    fn wait_for(&mut self, sample: &Sample) {
        let mut pause = ASK_FIRST;
        while sample.answered.elapsed() < PATIENCE {
            match self.has(sample) {
                Ok(true) => return self.lag.add(sample.answered.elapsed()),
                Ok(false) => {}
                Err(failure) => return self.errors.add(&failure.to_string()),
            }
            thread::sleep(pause);
            pause = (pause * 2).min(ASK_LAST);
        }
        let seconds = PATIENCE.as_secs();
        self.errors.add(&format!("{}: a write has not arrived within {seconds} s", self.client.base()));
    }

    /// This write, or a later one of the same client, who counts upwards.
    fn has(&self, sample: &Sample) -> Result<bool, Failure> {
        let answer = self.client.get(&format!("/v1/kv/{}", sample.key))?;
        if answer.status() == StatusCode::NOT_FOUND {
            return self.client.bytes(answer).map(|_| false);
        }
        let value = self.client.bytes(self.client.expect(answer)?)?;
        Ok(value >= sample.value)
    }
}
