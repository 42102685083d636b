//! What was counted, by node and in sum. Not responsible for how it looks.

use super::cluster::Cluster;
use crate::proto::ledger::{Ledger, Purpose};

/// Of one node, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// On the network, headers and what was sent again included.
    pub sent_bytes: u64,
    /// Frames alone, by what they were for: in the order of [`Purpose::ALL`].
    pub purposes: [u64; Purpose::ALL.len()],
    /// How many frames.
    pub frames: u64,
    /// Dots received that were new,
    pub new: u64,
    /// known,
    pub known: u64,
    /// or of no use.
    pub void: u64,
    /// Attempts to reach somebody.
    pub dials: u64,
    /// Connections made, by either end.
    pub connections: u64,
}

impl Counts {
    /// Copies received beyond the first, for each dot.
    pub fn copies(&self) -> f64 {
        self.known as f64 / self.new.max(1) as f64
    }

    /// What was counted since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, |now, before| now - before)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, |one, other| one + other)
    }

    fn with(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sent_bytes: of(self.sent_bytes, other.sent_bytes),
            purposes: std::array::from_fn(|at| of(self.purposes[at], other.purposes[at])),
            frames: of(self.frames, other.frames),
            new: of(self.new, other.new),
            known: of(self.known, other.known),
            void: of(self.void, other.void),
            dials: of(self.dials, other.dials),
            connections: of(self.connections, other.connections),
        }
    }
}

/// Of a whole cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By node.
    pub nodes: Vec<Counts>,
    /// How many connections each has.
    pub links: Vec<usize>,
    /// The most that one ever had.
    pub links_max: usize,
    /// The most bytes that ever waited at one node for its upload.
    pub queued_bytes_max: u64,
    /// The most frames that were on their way at one moment.
    pub in_flight_max: usize,
}

impl Figures {
    /// Of all nodes together.
    pub fn total(&self) -> Counts {
        self.nodes.iter().fold(Counts::default(), |sum, counts| sum.plus(counts))
    }

    /// What was counted since; links are those of now.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let nodes = self.nodes.iter().zip(&before.nodes).map(|(now, before)| now.since(before)).collect();
        Self { nodes, ..self.clone() }
    }
}

impl Cluster {
    /// What was counted of a machine since the start, whoever ran on it.
    pub fn counts(&self, who: usize) -> Counts {
        let machine = &self.machines[who];
        let (tally, mut sent) = (&machine.tally, machine.tally.past[0]);
        let mut dots = tally.past_received;
        if let Some(node) = &machine.node {
            sent.join(&node.ledgers()[0]);
            let received = node.received();
            dots.iter_mut().zip([received.new, received.known, received.void]).for_each(|(sum, n)| *sum += n);
        }
        Counts {
            sent_bytes: tally.sent_bytes,
            purposes: by_purpose(&sent),
            frames: tally.frames,
            new: dots[0],
            known: dots[1],
            void: dots[2],
            dials: tally.dials,
            connections: tally.connections,
        }
    }

    /// What was counted of all.
    pub fn figures(&self) -> Figures {
        let all = 0..self.machines.len();
        Figures {
            nodes: all.clone().map(|who| self.counts(who)).collect(),
            links: all.map(|who| self.links(who)).collect(),
            links_max: self.machines.iter().map(|machine| machine.tally.links_max).max().unwrap_or(0),
            queued_bytes_max: self.machines.iter().map(|machine| machine.tally.queued_bytes_max).max().unwrap_or(0),
            in_flight_max: self.in_flight.1,
        }
    }
}

fn by_purpose(ledger: &Ledger) -> [u64; Purpose::ALL.len()] {
    Purpose::ALL.map(|purpose| ledger.get(purpose))
}
