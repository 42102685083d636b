//! The engine: events become inputs, outputs become events. Not responsible for how long anything is on its way, nor for
//! what goes wrong: `transport` and `faults` are.

use super::causality::Causality;
use super::cuts::Cuts;
use super::machine::Machine;
use super::network::Network;
use super::queue::{Event, Item, Queue};
use super::spreading::Spread;
use super::wires::{WireId, Wires};
use super::writes::{Write, WriteLog, key_of};
use crate::crdt::{Dot, Key, ReplicaId};
use crate::proto::config::NodeConfig;
use crate::proto::link::LinkId;
use crate::proto::node::{Input, Node};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A timer that comes so often at one moment never lets time go on: a defect of the node.
const STUCK_MAX: u32 = 10_000;

/// Whom a node is told to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    /// The first node, as one seed that all were told of.
    First,
    /// So many others, each drawn by itself.
    Random(usize),
    /// Each node that was numbered before it. For few nodes.
    All,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes.
    pub nodes: usize,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// The paths between them.
    pub network: Network,
    /// Whom they join.
    pub joins: Joins,
    /// They start at moments drawn within so many microseconds: a storm.
    pub start_within_us: u64,
    /// Whether they have disks: one that crashes without comes back with nothing, as another replica.
    pub kept: bool,
    /// Clocks are wrong by up to so much, forward or back.
    pub skew_ms: u64,
    /// So many, the last ones, are leaves,
    pub leaves: usize,
    /// and can send so much, in bytes a second; `None` is what all can.
    pub leaf_upload: Option<u64>,
    /// How nodes behave; replica, boot, name, address and join are set for each.
    pub template: NodeConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 3,
            seed: 0,
            network: Network::default(),
            joins: Joins::Random(3),
            start_within_us: 1_000_000,
            kept: false,
            skew_ms: 0,
            leaves: 0,
            leaf_upload: None,
            template: NodeConfig::new(ReplicaId::from(0)),
        }
    }
}

impl Settings {
    fn is_leaf(&self, who: usize) -> bool {
        who + self.leaves >= self.nodes
    }

    /// How a node behaves.
    fn template_of(&self, who: usize) -> NodeConfig {
        let template = self.template.clone();
        if self.is_leaf(who) { template.into_leaf() } else { template }
    }

    /// The paths from a node to others.
    pub(super) fn network_of(&self, who: usize) -> Network {
        let upload = self.leaf_upload.filter(|_| self.is_leaf(who)).or(self.network.upload);
        Network { upload, ..self.network.clone() }
    }
}

/// A cluster in virtual time. Nodes are called by their numbers.
#[derive(Debug)]
pub struct Cluster {
    pub(super) settings: Settings,
    pub(super) rng: StdRng,
    pub(super) now_us: u64,
    pub(super) queue: Queue,
    pub(super) machines: Vec<Machine>,
    pub(super) wires: Wires,
    pub(super) cuts: Cuts,
    /// What arrived where a path is cut.
    pub(super) held: Vec<(WireId, usize, u64, Item)>,
    pub(super) in_flight: (usize, usize),
    pub(super) log: WriteLog,
    pub(super) spread: Spread,
    pub(super) causality: Causality,
    /// No clock was ever further ahead.
    pub(super) skew_max_ms: i64,
    /// Frames that the transport has taken at once.
    taken: Vec<(LinkId, u64)>,
    value: Vec<u8>,
}

impl Cluster {
    /// Its nodes start as time passes.
    pub fn new(settings: Settings) -> Self {
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let mut queue = Queue::default();
        let mut machines = Vec::with_capacity(settings.nodes);
        for who in 0..settings.nodes {
            let join = joins(&settings, &mut rng, who);
            let mut machine = Machine::new(ReplicaId::random(&mut rng), settings.kept, join);
            machine.skew_ms = skew(&mut rng, settings.skew_ms);
            machines.push(machine);
            queue.push(rng.random_range(0..=settings.start_within_us), Event::Start { who });
        }
        Self {
            rng,
            now_us: 0,
            queue,
            wires: Wires::default(),
            cuts: Cuts::default(),
            held: Vec::new(),
            in_flight: (0, 0),
            log: WriteLog::default(),
            spread: Spread::new(settings.nodes),
            causality: Causality::new(settings.nodes),
            skew_max_ms: machines.iter().map(|machine| machine.skew_ms).max().unwrap_or(0),
            machines,
            taken: Vec::new(),
            value: Vec::new(),
            settings,
        }
    }

    // --- Reads

    /// What it is made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The node of a machine, if that runs.
    pub fn node(&self, who: usize) -> Option<&Node> {
        self.machines[who].node.as_deref()
    }

    /// The nodes that run.
    pub fn up(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|&who| self.machines[who].node.is_some()).collect()
    }

    /// How many connections a node has.
    pub fn links(&self, who: usize) -> usize {
        self.machines[who].wires.len()
    }

    /// A number that is the same for the same run only.
    pub fn digest(&self) -> u64 {
        self.queue.digest()
    }

    /// How many events there have been.
    pub fn events(&self) -> u64 {
        self.queue.happened()
    }

    /// How many events are to come.
    pub fn planned(&self) -> usize {
        self.queue.len()
    }

    /// How far each write has got when.
    pub fn spread(&self) -> &Spread {
        &self.spread
    }

    /// Drawn from the cluster's one seed.
    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    // --- Time

    /// Lets happen what is due within the time.
    pub fn run_for(&mut self, time_us: u64) {
        self.run_until(self.now_us + time_us);
    }

    /// Lets happen what is due by that moment.
    pub fn run_until(&mut self, until_us: u64) {
        while let Some((at_us, event)) = self.queue.pop(until_us) {
            self.now_us = at_us;
            self.happen(event);
        }
        self.now_us = self.now_us.max(until_us);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { who } => self.start(who),
            Event::Timer { who } => self.on_timer(who),
            Event::Dialed { who, address } => self.on_dialed(who, &address),
            Event::Connected { wire, side } => self.on_connected(wire, side),
            Event::Arrival { wire, side, channel, item } => self.on_arrival(wire, side, channel, item),
            Event::Sent { wire, side, channel } => self.on_sent(wire, side, channel),
            Event::Silence { wire, side, since_us } => self.on_silence(wire, side, since_us),
            Event::Lost { wire, side } => self.lose(wire, side),
        }
    }

    fn on_timer(&mut self, who: usize) {
        let (machine, now_us) = (&mut self.machines[who], self.now_us);
        let Some(node) = machine.node.as_ref().filter(|_| machine.timer_us == now_us) else { return };
        machine.timer_us = u64::MAX;
        // What it was set for may have been settled by something else.
        if node.next_timeout().is_some_and(|at| at.as_micros() <= now_us) {
            machine.stuck = if machine.stuck.0 == now_us { (now_us, machine.stuck.1 + 1) } else { (now_us, 0) };
            assert!(machine.stuck.1 < STUCK_MAX, "node {who}: time does not get past {now_us} µs");
            self.tell(who, Input::Timeout);
        } else {
            self.arm(who);
        }
    }

    // --- Nodes

    pub(super) fn start(&mut self, who: usize) {
        if self.machines[who].node.is_some() {
            return;
        }
        let template = self.settings.template_of(who);
        self.machines[who].start(who, &template, self.now_us);
        if self.machines[who].boots > 1 {
            self.count_up();
            self.disown(who);
        }
        self.drain(who);
    }

    pub(super) fn tell(&mut self, who: usize, input: Input) {
        let machine = &mut self.machines[who];
        let now = machine.now(self.now_us);
        let Some(node) = &mut machine.node else { return };
        node.handle(now, input);
        self.drain(who);
    }

    /// Does what a node wants done, until it wants nothing more.
    pub(super) fn drain(&mut self, who: usize) {
        let mut taken = std::mem::take(&mut self.taken);
        loop {
            self.machines[who].commit(self.now_us);
            while let Some(output) = self.machines[who].node.as_mut().and_then(|node| node.poll_output()) {
                self.carry_out(who, output, &mut taken);
            }
            let now = self.machines[who].now(self.now_us);
            let Some(node) = self.machines[who].node.as_mut().filter(|_| !taken.is_empty()) else { break };
            taken.drain(..).for_each(|(link, channel)| node.handle(now, Input::Sent { link, channel }));
        }
        self.taken = taken;
        self.look(who);
        self.arm(who);
    }

    /// Notes what has arrived here.
    fn look(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        let Some(node) = &machine.node else { return };
        let context = node.map().context();
        if machine.looked != *context {
            self.spread.on_context(who, &machine.looked, context, self.now_us);
            self.causality.look(who, &machine.looked, context);
            machine.looked = context.clone();
        }
    }

    /// A node has one timer to come that counts, or an earlier one that will look again.
    fn arm(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        let Some(due) = machine.node.as_ref().and_then(|node| node.next_timeout()) else { return };
        let due_us = due.as_micros().max(self.now_us);
        if due_us < machine.timer_us {
            machine.timer_us = due_us;
            self.queue.push(due_us, Event::Timer { who });
        }
    }

    // --- Writes

    /// A node that runs puts a value of so many bytes that nobody has put before. Its name.
    pub fn put(&mut self, who: usize, key: usize, value_bytes: usize) -> Option<Dot> {
        self.put_for(who, key, value_bytes, None)
    }

    /// The same, for so many milliseconds by the node's clock.
    pub fn put_for(&mut self, who: usize, key: usize, value_bytes: usize, ttl_ms: Option<u64>) -> Option<Dot> {
        let deadline = ttl_ms.map(|ttl_ms| self.machines[who].now(self.now_us).wall_ms + ttl_ms);
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        value.extend_from_slice(&self.log.next_value().to_be_bytes());
        value.resize(value_bytes.max(8), 0);
        self.rng.fill(&mut value[8..]);
        let dot = self.write(who, key, deadline, |node, now, key| Some(node.put(now, key, &value, deadline)));
        self.value = value;
        dot
    }

    /// A node that runs deletes what a key shows. The name of that, if it shows something.
    pub fn delete(&mut self, who: usize, key: usize) -> Option<Dot> {
        self.write(who, key, None, |node, now, key| node.delete(now, key))
    }

    fn write(
        &mut self,
        who: usize,
        key: usize,
        deadline: Option<u64>,
        write: impl FnOnce(&mut Node, crate::proto::time::Now, Key<'_>) -> Option<Dot>,
    ) -> Option<Dot> {
        let machine = &mut self.machines[who];
        let (now, node) = (machine.now(self.now_us), machine.node.as_mut()?);
        let bytes = key_of(key);
        let replaced = node.map().registers(Key::usr(&bytes)).into_iter().map(|(dot, _)| dot).collect();
        let dot = write(node, now, Key::usr(&bytes))?;
        let is_put = node.map().get(Key::usr(&bytes), now.wall_ms).is_some();
        self.causality.note(dot.replica, dot.counter, node.map().context());
        self.log.note(Write { who: who as u32, key: key as u32, dot, is_put, deadline, replaced });
        self.spread.begin(dot, self.now_us);
        self.drain(who);
        Some(dot)
    }
}

fn joins(settings: &Settings, rng: &mut StdRng, who: usize) -> Vec<usize> {
    let nodes = settings.nodes;
    match settings.joins {
        Joins::First => {
            if who == 0 {
                Vec::new()
            } else {
                vec![0]
            }
        }
        Joins::All => (0..who).collect(),
        Joins::Random(count) if count + 1 >= nodes => (0..nodes).filter(|&other| other != who).collect(),
        Joins::Random(count) => {
            let mut chosen = Vec::with_capacity(count);
            while chosen.len() < count {
                let other = rng.random_range(0..nodes);
                if other != who && !chosen.contains(&other) {
                    chosen.push(other);
                }
            }
            chosen
        }
    }
}

fn skew(rng: &mut StdRng, most_ms: u64) -> i64 {
    let most_ms = i64::try_from(most_ms).unwrap_or(i64::MAX);
    if most_ms == 0 { 0 } else { rng.random_range(-most_ms..=most_ms) }
}
