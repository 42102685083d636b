//! What holds in every run, however the frames of whole nodes are cut, reordered and overlapped.

use crate::dense::Dense;
use crate::dice::{Dice, for_each_seed};
use crate::world::{START, World, id};
use std::time::Duration;
use tidings::crdt::Retention;
use tidings::proto::codec;
use tidings::proto::config::NodeConfig;
use tidings::proto::link::CONTROL;
use tidings::proto::message::Message;
use tidings::proto::time::{Instant, Now};

const TICK: Duration = Duration::from_millis(1);
const ROUND: Duration = Duration::from_millis(20);

/// A small cluster around the dangerous events: everybody has the keys, and then come deletes, truncations, syncs that
/// are whole, cut or held up, and pushes on what the peer had long ago.
pub(crate) struct Run<'d> {
    pub(crate) dice: &'d mut Dice,
    pub(crate) dense: Dense,
    expiring: bool,
    noisy: usize,
    /// A node is gone for good, and what is pending on it stays so.
    pub(crate) sources_may_be_gone: bool,
    pub(crate) config: NodeConfig,
}

impl<'d> Run<'d> {
    pub(crate) fn new(dice: &'d mut Dice) -> Self {
        let nodes = *dice.pick(&[2, 3, 3, 4, 4, 5]);
        let mut run = Self::empty(dice);
        for _ in 0..nodes {
            run.add(|world, now, config| world.add(now, config));
        }
        run
    }

    /// Without any node as yet.
    pub(crate) fn empty(dice: &'d mut Dice) -> Self {
        let keys = *dice.pick(&[2, 2, 3]);
        let mut config = NodeConfig::new(id(0));
        let keep_ms = *dice.pick(&[0, 0, 0, 4]);
        config.retention = Retention { keep_ms, count_max: usize::MAX, spare_ms: 0 };
        config.truncate_every = TICK;
        config.coalesce = Duration::ZERO;
        config.announce_after = TICK;
        config.forward_after = TICK * 2;
        (config.anti_entropy, config.anti_entropy_max) = (ROUND, ROUND);
        config.chunk_entries = *dice.pick(&[1, 1, 2]);
        let mut dense = Dense::new(World::new(keys));
        let (expiring, noisy) = (dice.percent(40), *dice.pick(&[0, 0, 10, 50]));
        dense.telling = dice.is_telling();
        dense.slow = dice.percent(50);
        dense.late = dice.percent(50);
        Self { dice, dense, expiring, noisy, sources_may_be_gone: false, config }
    }

    /// A node that is made in some way, with a clock of its own.
    pub(crate) fn add(
        &mut self,
        make: impl FnOnce(&mut World, Now, Box<dyn FnOnce(&mut NodeConfig)>) -> usize,
    ) -> usize {
        let now = Now { instant: Instant::from_micros(0), wall_ms: START + self.dice.below(20) as u64 };
        let (common, number) = (self.config.clone(), self.dense.world.members.len());
        let configure = move |config: &mut NodeConfig| {
            let own = config.clone();
            *config =
                NodeConfig { replica: own.replica, boot: own.boot, name: own.name, address: own.address, ..common };
            config.forget_member_ms = if number % 2 == 0 { 30 } else { 1_000_000 };
        };
        let who = make(&mut self.dense.world, now, Box::new(configure));
        self.dense.drain(who);
        who
    }

    fn any(&mut self) -> usize {
        *self.dice.pick(&self.dense.world.alive())
    }

    fn two(&mut self) -> (usize, usize) {
        let alive = self.dense.world.alive();
        let (one, other) = self.dice.two_below(alive.len());
        (alive[one], alive[other])
    }

    /// Everybody has everything.
    pub(crate) fn warm_up(&mut self) {
        let nodes = self.dense.world.members.len();
        self.dense.world.blind = true;
        for key in 0..self.dense.world.usr_keys() {
            self.dense.world.put(0, key, None);
        }
        // Now and then there are siblings from the start.
        if self.dice.percent(50) {
            let who = 1 + self.dice.below(nodes - 1);
            self.dense.world.put(who, 0, None);
        }
        for who in 1..nodes {
            let link = self.dense.reconnect(0, who);
            self.dense.settle(Some(link));
            if self.dice.percent(20) {
                self.dense.part(link);
            }
        }
        self.dense.world.blind = false;
        self.dense.world.check_all();
    }

    pub(crate) fn step(&mut self) {
        let who = self.any();
        self.remember(who);
        match self.dice.below(100) {
            0..17 => self.write(who),
            17..32 => self.tick(who),
            32..36 => self.push_on_past(),
            36..38 => self.dense.pass(who, ROUND),
            38..39 => self.dense.pass(who, Duration::from_secs(11)),
            39..55 => self.go_on(),
            55..60 => self.lose_a_link(),
            _ => self.sync(),
        }
    }

    fn remember(&mut self, who: usize) {
        let member = &mut self.dense.world.members[who];
        member.now.wall_ms += self.dice.below(3) as u64;
        if self.dice.percent(30) {
            let context = member.node.map().context().clone();
            member.past.push(context);
        }
    }

    fn write(&mut self, who: usize) {
        if !self.dense.world.members[who].node.is_writable() {
            return;
        }
        let key = if self.dice.percent(50) { 0 } else { self.dice.below(self.dense.world.usr_keys()) };
        if self.dice.percent(60) {
            self.dice.tell(|| format!("node {who} deletes {key}"));
            self.dense.world.delete(who, key);
        } else {
            let now = self.dense.world.members[who].now.wall_ms;
            let deadline = (self.expiring && self.dice.percent(60)).then(|| now + self.dice.below(20) as u64);
            self.dice.tell(|| format!("node {who} puts {key} until {deadline:?}"));
            self.dense.world.put(who, key, deadline);
        }
        self.dense.drain(who);
    }

    /// Retention has run out, and fresh news go out.
    fn tick(&mut self, who: usize) {
        self.dice.tell(|| format!("node {who} truncates"));
        self.dense.pass(who, TICK);
    }

    /// A push builds on any context that the peer once had; now and then on one that it never had.
    fn push_on_past(&mut self) {
        let links = self.dense.live_links();
        if links.is_empty() {
            return;
        }
        let (link, ends) = *self.dice.pick(&links);
        let side = self.dice.below(2);
        let (from, to) = (ends[side], ends[1 - side]);
        let believed = if self.dice.percent(30) { from } else { to };
        // What is made by hand has not come through the gate.
        self.dense.finish_commits(from);
        let past = &self.dense.world.members[believed].past;
        if past.is_empty() {
            return;
        }
        let delta = self.dense.world.map(from).delta_since(self.dice.pick(past));
        self.dice.tell(|| format!("node {from} pushes to {to} on {:?}, which {believed} had", delta.base()));
        self.dense.forge(link, side, CONTROL, codec::encode(&Message::Push(delta), None));
    }

    /// Some frames arrive, whichever.
    fn go_on(&mut self) {
        for _ in 0..self.dice.below(12) {
            let ways = self.dense.ways(None);
            if ways.is_empty() {
                return;
            }
            let way = *self.dice.pick(&ways);
            self.dense.deliver(way);
        }
    }

    fn lose_a_link(&mut self) {
        let links = self.dense.live_links();
        if !links.is_empty() {
            let (link, ends) = *self.dice.pick(&links);
            self.dice.tell(|| format!("the link {link} of {ends:?} is lost"));
            self.lose(link);
        }
    }

    fn lose(&mut self, link: u64) {
        if !self.dice.percent(self.noisy) {
            self.dense.part(link);
        } else if self.dice.percent(50) {
            self.dense.disconnect(link);
        } else {
            self.dense.cut(link);
            self.dense.notice(link, self.dice.below(2));
        }
    }

    /// Two nodes meet, and their syncs get somewhere.
    fn sync(&mut self) {
        let (one, other) = self.two();
        let old = self.dense.link_between(one, other).filter(|_| self.dice.percent(30));
        let link = old.unwrap_or_else(|| self.dense.reconnect(one, other));
        // Often only one of them gets to pull: the other's pull and the pushes have to wait.
        let only = if self.dice.percent(60) { Some(1 + self.dice.below(2) as u64) } else { None };
        self.dice.tell(|| format!("nodes {one} and {other} sync on link {link}, channel {only:?}"));
        let whole = self.dice.percent(50);
        let frames = if whole { 1000 } else { self.dice.below(14) };
        for _ in 0..frames {
            let mut ways = self.dense.ways(Some(link));
            ways.retain(|way| only.is_none_or(|only| way.channel == only));
            if ways.is_empty() {
                return;
            }
            let way = *self.dice.pick(&ways);
            self.dense.deliver(way);
        }
        if self.dice.percent(50) {
            self.dice.tell(|| format!("and link {link} is lost"));
            self.lose(link);
        }
    }

    /// All is mended, nobody writes, and all come to agree.
    pub(crate) fn mend(&mut self) {
        self.dense.world.blind = true;
        (self.dense.slow, self.dense.late) = (false, false);
        self.dense.disconnect_all();
        let all = self.dense.world.alive();
        for (i, &one) in all.iter().enumerate() {
            for &other in &all[i + 1..] {
                self.dense.reconnect(one, other);
            }
        }
        self.dense.settle(None);
        for _ in 0..3 * all.len() {
            for &who in &all {
                self.dense.pass(who, ROUND);
                self.dense.settle(None);
            }
        }
        self.dense.world.blind = false;
        self.dense.world.check_all();
        self.dense.world.agree(&all).unwrap_or_else(|what| panic!("{what}"));
        for who in all {
            self.dense.world.knows_all(who).unwrap_or_else(|what| panic!("node {who}: {what}"));
            if !self.sources_may_be_gone {
                assert_eq!(self.dense.world.map(who).pending(), 0, "pending at node {who}");
            }
            assert!(self.dense.world.members[who].node.is_flushed(), "node {who} is not flushed");
        }
    }
}

#[test]
fn every_entry_shows_what_its_context_says() {
    let mut catch_ups = 0;
    for_each_seed(20_000, |dice| {
        let mut run = Run::new(dice);
        run.warm_up();
        for _ in 0..12 + run.dice.below(28) {
            run.step();
        }
        if run.dice.percent(20) {
            run.mend();
        }
        catch_ups += run.dense.catch_ups;
    });
    eprintln!("{catch_ups} catch-ups");
}
