//! Thousands of views that shuffle with each other, cycle by cycle. Not responsible for messages, links and time: an exchange
//! happens at once, or fails.

use super::Dice;
use rand::TryRng;
use std::convert::Infallible;
use tidings::proto::membership::{Peer, Propagate, Select, View, ViewConfig};

/// A node of an experiment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) u32);

impl Peer for Number {
    type Id = u32;

    fn id(&self) -> u32 {
        self.0
    }
}

/// The dice, for the machine.
struct Generator<'a>(&'a mut Dice);

impl TryRng for Generator<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.below(1 << 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok((self.0.below(1 << 32) as u64) << 32 | self.0.below(1 << 32) as u64)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().for_each(|byte| *byte = self.0.below(256) as u8);
        Ok(())
    }
}

/// What comes of a contact with a node that has crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// The peer is evicted, and another is asked, up to so many in a cycle: what the product does.
    Evict {
        /// At most.
        contacts: usize,
    },
    /// Another one is asked at once, and the dead one stays: what the paper assumes.
    PassOver,
}

/// All nodes, those that have crashed too.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    pub(crate) views: Vec<View<Number>>,
    pub(crate) alive: Vec<bool>,
    config: ViewConfig,
}

impl Overlay {
    /// Each node knows as many others as it can, drawn by chance.
    pub(crate) fn random(nodes: usize, config: ViewConfig, dice: &mut Dice) -> Self {
        let mut all = Self { views: Vec::new(), alive: Vec::new(), config };
        (0..nodes).for_each(|_| all.join(None));
        for (number, view) in all.views.iter_mut().enumerate() {
            while view.len() < config.size.min(nodes - 1) {
                let other = dice.below(nodes);
                if other != number {
                    view.insert(Number(other as u32));
                }
            }
        }
        all
    }

    /// Nodes come one in a hundred each cycle, and all know the first of them only.
    pub(crate) fn growing(nodes: usize, config: ViewConfig, dice: &mut Dice) -> Self {
        let mut all = Self { views: Vec::new(), alive: Vec::new(), config };
        all.join(None);
        while all.views.len() < nodes {
            let more = (nodes / 100).max(1).min(nodes - all.views.len());
            (0..more).for_each(|_| all.join(Some(0)));
            all.cycle(OnFailure::PassOver, dice);
        }
        all
    }

    fn join(&mut self, known: Option<u32>) {
        let mut view = View::new(self.config);
        known.into_iter().for_each(|known| view.insert(Number(known)));
        self.views.push(view);
        self.alive.push(true);
    }

    /// So many of a hundred nodes crash at once.
    pub(crate) fn crash(&mut self, percent: usize, dice: &mut Dice) {
        let mut all: Vec<usize> = (0..self.alive.len()).collect();
        dice.shuffle(&mut all);
        all[..all.len() * percent / 100].iter().for_each(|number| self.alive[*number] = false);
    }

    /// Every living node begins one shuffle, in random order.
    pub(crate) fn cycle(&mut self, on_failure: OnFailure, dice: &mut Dice) {
        let mut order: Vec<usize> = self.living().collect();
        dice.shuffle(&mut order);
        for number in order {
            self.shuffle_once(number, on_failure, dice);
            self.views[number].next_cycle();
        }
    }

    fn shuffle_once(&mut self, asking: usize, on_failure: OnFailure, dice: &mut Dice) {
        let answering = match on_failure {
            OnFailure::PassOver => self.select_alive(asking, dice),
            OnFailure::Evict { contacts } => (0..contacts).find_map(|_| self.contact(asking, dice)),
        };
        if let Some(answering) = answering {
            self.exchange(asking, answering as usize, dice);
        }
    }

    /// Who answers; whoever does not is evicted.
    fn contact(&mut self, asking: usize, dice: &mut Dice) -> Option<u32> {
        let asked = self.views[asking].select(&mut Generator(dice))?.id();
        let answers = self.alive[asked as usize];
        if !answers {
            self.views[asking].evict(asked);
        }
        answers.then_some(asked)
    }

    fn exchange(&mut self, asking: usize, asked: usize, dice: &mut Dice) {
        let rng = &mut Generator(dice);
        let question = self.views[asking].offer(Number(asking as u32), rng);
        if self.config.propagate == Propagate::PushPull {
            let answer = self.views[asked].offer(Number(asked as u32), rng);
            self.views[asked].merge(question, asked as u32, rng);
            self.views[asking].merge(answer, asking as u32, rng);
        } else {
            self.views[asked].merge(question, asked as u32, rng);
        }
    }

    /// As the view would choose, among the living.
    fn select_alive(&self, asking: usize, dice: &mut Dice) -> Option<u32> {
        let held = self.views[asking].descriptors();
        let living: Vec<_> = held.iter().filter(|d| self.alive[d.peer.0 as usize]).collect();
        let chosen = match self.config.select {
            _ if living.is_empty() => None,
            Select::Random => Some(*dice.pick(&living)),
            Select::Oldest => living.into_iter().max_by_key(|descriptor| descriptor.age),
        };
        chosen.map(|descriptor| descriptor.peer.0)
    }

    /// Those that have not crashed.
    pub(crate) fn living(&self) -> impl Iterator<Item = usize> {
        (0..self.alive.len()).filter(|number| self.alive[*number])
    }

    /// Whom a node knows.
    pub(crate) fn known_to(&self, number: usize) -> impl Iterator<Item = usize> {
        self.views[number].descriptors().iter().map(|descriptor| descriptor.peer.0 as usize)
    }
}
