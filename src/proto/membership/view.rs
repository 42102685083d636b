//! Peer sampling: a few descriptors of other nodes, and how two nodes shuffle them so that what each holds is close to a random
//! sample of the living. Not responsible for links, for messages or for when a period is over: it is told.
//!
//! After Jelasity, Voulgaris, Guerraoui, Kermarrec, van Steen, "Gossip-based peer sampling", ACM TOCS 25(3), 2007,
//! section 2. Once in each period a node [selects](View::select) a peer, [offers](View::offer) it half of its view and its
//! own fresh descriptor, gets as much back, [merges](View::merge) it, and ages ([`View::next_cycle`]); who is asked offers,
//! then merges. What was sent stands at the head of the view until the answer comes, so that it can make room for it.
//!
//! Two things are not in the paper. A contact that fails is [evicted](View::evict), where the paper passes over it and keeps
//! it. And an age counts the periods of the nodes that held the descriptor, whoever asked them how often; the paper lets whoever is
//! asked age as well, so that the ages of much-asked nodes run ahead.

mod config;
#[cfg(test)]
mod tests;

pub use config::{Keep, Propagate, Select, ViewConfig, ViewConfigError};

use crate::crdt::ReplicaId;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// What a descriptor describes. Two of one id are the same peer, whatever else they say: the younger one counts.
pub trait Peer: Clone {
    /// What tells peers apart.
    type Id: Copy + Ord;

    /// Its own.
    fn id(&self) -> Self::Id;
}

/// A node, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its replica.
    pub id: ReplicaId,
    /// Host and port.
    pub address: String,
}

impl Peer for Contact {
    type Id = ReplicaId;

    fn id(&self) -> ReplicaId {
        self.id
    }
}

/// A peer, and how long ago it said so itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor<P> {
    /// Who.
    pub peer: P,
    /// In periods of the nodes that have held it; 0 comes from the peer itself.
    pub age: u32,
}

/// Descriptors of other peers: never two of one, never more than [`ViewConfig::size`].
#[derive(Clone, Debug)]
pub struct View<P> {
    config: ViewConfig,
    /// The order matters: what was sent last stands first.
    held: Vec<Descriptor<P>>,
}

impl<P: Peer> View<P> {
    /// No descriptor is older: a week at the default period. What somebody sends with a greater age has this one.
    pub const AGE_MAX: u32 = 60_000;

    /// A view of nobody. Its settings should have passed [`ViewConfig::check`]; if not, it does what it can with them.
    pub fn new(config: ViewConfig) -> Self {
        Self { config, held: Vec::new() }
    }

    /// How it is kept.
    pub fn config(&self) -> &ViewConfig {
        &self.config
    }

    /// What it holds, in no order that means anything outside.
    pub fn descriptors(&self) -> &[Descriptor<P>] {
        &self.held
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether it holds the peer.
    pub fn contains(&self, id: P::Id) -> bool {
        self.position(id).is_some()
    }

    // --- What is known by other means

    /// Takes in a peer that has said itself that it is there. Room is made by dropping the oldest.
    pub fn insert(&mut self, peer: P) {
        self.evict(peer.id());
        while self.held.len() >= self.capacity() {
            self.drop_oldest();
        }
        self.held.push(Descriptor { peer, age: 0 });
    }

    /// Drops a peer: a contact with it has failed, or it has left. It comes back when somebody tells of it. Whether it was held.
    pub fn evict(&mut self, id: P::Id) -> bool {
        let position = self.position(id);
        position.map(|at| self.held.remove(at)).is_some()
    }

    // --- A period

    /// Whom to shuffle with now; `None` if nobody is known.
    pub fn select(&self, rng: &mut impl Rng) -> Option<&P> {
        let chosen = match self.config.select {
            Select::Random if self.held.is_empty() => None,
            Select::Random => self.held.get(rng.random_range(0..self.held.len())),
            Select::Oldest => self.oldest().and_then(|at| self.held.get(at)),
        };
        chosen.map(|descriptor| &descriptor.peer)
    }

    /// What to send, whether asked or asking: `own`, and up to half of the view less one, at random but for the oldest. What
    /// is sent comes to the head of the view.
    pub fn offer(&mut self, own: P, rng: &mut impl Rng) -> Vec<Descriptor<P>> {
        self.held.shuffle(rng);
        let (heal, _) = self.config.heal_and_swap();
        self.oldest_to_the_end(heal);
        let sent = self.held.iter().take(self.config.buffer() - 1).cloned();
        [Descriptor { peer: own, age: 0 }].into_iter().chain(sent).collect()
    }

    /// Takes in what a peer has sent, and drops as many as there is no room for. `own` is never taken in, nor is more than
    /// half a view.
    pub fn merge(&mut self, received: Vec<Descriptor<P>>, own: P::Id, rng: &mut impl Rng) {
        for descriptor in received.into_iter().take(self.config.buffer()) {
            if descriptor.peer.id() != own {
                self.append(descriptor);
            }
        }
        self.make_room(rng);
    }

    /// A period is over: all are older.
    pub fn next_cycle(&mut self) {
        self.held.iter_mut().for_each(|descriptor| descriptor.age = (descriptor.age + 1).min(Self::AGE_MAX));
    }

    // --- Parts of them

    /// Of two of one peer the younger stays, in its own place: what has come back is no longer what was sent.
    fn append(&mut self, received: Descriptor<P>) {
        let received = Descriptor { age: received.age.min(Self::AGE_MAX), ..received };
        match self.position(received.peer.id()) {
            Some(at) if self.held[at].age <= received.age => return,
            Some(at) => drop(self.held.remove(at)),
            None => {}
        }
        self.held.push(received);
    }

    fn make_room(&mut self, rng: &mut impl Rng) {
        let (heal, swap) = self.config.heal_and_swap();
        (0..heal.min(self.excess())).for_each(|_| self.drop_oldest());
        self.held.drain(..swap.min(self.excess()));
        for _ in 0..self.excess() {
            match self.config.keep {
                Keep::Tail => self.drop_youngest(),
                Keep::Policy | Keep::Random | Keep::Head => {
                    drop(self.held.remove(rng.random_range(0..self.held.len())))
                }
            }
        }
    }

    /// The end is for those that are not sent: they are likeliest to be dead, and are dropped when the answer comes.
    fn oldest_to_the_end(&mut self, count: usize) {
        for end in (0..self.held.len()).rev().take(count) {
            let oldest = (0..=end).max_by_key(|at| self.held[*at].age);
            oldest.into_iter().for_each(|at| self.held.swap(at, end));
        }
    }

    fn drop_oldest(&mut self) {
        self.oldest().into_iter().for_each(|at| drop(self.held.remove(at)));
    }

    fn drop_youngest(&mut self) {
        let youngest = (0..self.held.len()).min_by_key(|at| self.held[*at].age);
        youngest.into_iter().for_each(|at| drop(self.held.remove(at)));
    }

    /// The first of the oldest: of equals those that were sent.
    fn oldest(&self) -> Option<usize> {
        (0..self.held.len()).min_by_key(|at| Reverse(self.held[*at].age))
    }

    fn position(&self, id: P::Id) -> Option<usize> {
        self.held.iter().position(|descriptor| descriptor.peer.id() == id)
    }

    fn excess(&self) -> usize {
        self.held.len().saturating_sub(self.capacity())
    }

    fn capacity(&self) -> usize {
        self.config.size.max(1)
    }
}
