//! A cluster on a network that does not exist, in virtual time. Not responsible for what goes wrong on it: runs and
//! stories say so.
//!
//! A path between two nodes has a delay, jitter and a rate. What is sent on one channel arrives in order, or not at all;
//! different channels overtake each other. A path that is cut holds everything up: if it is mended in time, all of it
//! arrives late, as with retransmission; if not, both ends of the link time out, each in its own time. A link can also be
//! reset at once. What was on its way is then lost, and never a single frame of it alone.

use crate::dice::Dice;
use crate::disk::Fault;
use crate::world::{START, World, id};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tidings::proto::config::NodeConfig;
use tidings::proto::link::{CONTROL, LinkId};
use tidings::proto::node::{Input, Node, Output};
use tidings::proto::time::{Instant, Now};

/// After so long without a packet an end of a link takes it for lost.
pub(crate) const IDLE_MS: u64 = 2_000;
/// What a frame costs on the network beside its own bytes.
const FRAME_OVERHEAD_BYTES: usize = 40;
const INSTANT_STEPS_MAX: usize = 20_000;

#[derive(Debug)]
enum Event {
    /// The next thing on this channel, from this side, is there.
    Arrival {
        link: u64,
        side: usize,
        channel: u64,
    },
    Sent {
        link: u64,
        side: usize,
        channel: u64,
    },
    Timeout {
        who: usize,
    },
    Dialed {
        who: usize,
        address: String,
    },
    /// The path was cut at that moment, and may be so still.
    Idle {
        link: u64,
        since: u64,
    },
    /// A side learns that its link is gone.
    Notice {
        link: u64,
        side: usize,
    },
    /// The commit under way at a node gets one step further.
    Disk {
        who: usize,
    },
}

#[derive(Debug)]
enum Item {
    Frame(Bytes),
    Ended,
    Closed,
}

/// One connection. Side 0 has dialled.
#[derive(Debug)]
struct Wire {
    ends: [usize; 2],
    alive: bool,
    told: [bool; 2],
    /// By the side that sends.
    queues: [BTreeMap<u64, VecDeque<Item>>; 2],
    reset: [BTreeSet<u64>; 2],
    /// When the last frame of a side will have left.
    free_at: [u64; 2],
    /// Arrivals that wait for the path to be mended.
    held: Vec<Event>,
}

/// How a path is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
    pub(crate) bytes_per_ms: u64,
}

impl Default for Path {
    /// A local network.
    fn default() -> Self {
        Self { delay_us: 1_000, jitter_us: 500, bytes_per_ms: 10_000 }
    }
}

/// The cluster.
pub(crate) struct Timed<'d> {
    pub(crate) world: World,
    pub(crate) dice: &'d mut Dice,
    /// Microseconds since the start.
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    next: u64,
    wires: BTreeMap<u64, Wire>,
    listening: BTreeMap<String, usize>,
    cuts: BTreeMap<(usize, usize), u64>,
    timers: BTreeMap<usize, u64>,
    skews_ms: BTreeMap<usize, i64>,
    /// Disks that are busy.
    busy: BTreeSet<usize>,
    pub(crate) path: Path,
    pub(crate) bytes: usize,
    pub(crate) catch_ups: usize,
    /// Every how-many-th arrival is followed by the loss of its link; 0 for never.
    pub(crate) lose_after: usize,
    pub(crate) arrivals: usize,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl<'d> Timed<'d> {
    pub(crate) fn new(dice: &'d mut Dice, usr_keys: usize) -> Self {
        Self {
            world: World::new(usr_keys),
            dice,
            now: 0,
            events: BTreeMap::new(),
            next: 1,
            wires: BTreeMap::new(),
            listening: BTreeMap::new(),
            cuts: BTreeMap::new(),
            timers: BTreeMap::new(),
            skews_ms: BTreeMap::new(),
            busy: BTreeSet::new(),
            path: Path::default(),
            bytes: 0,
            catch_ups: 0,
            lose_after: 0,
            arrivals: 0,
        }
    }

    /// So many nodes, each of which joins all others.
    pub(crate) fn cluster(dice: &'d mut Dice, usr_keys: usize, nodes: usize) -> Self {
        let mut timed = Self::new(dice, usr_keys);
        for _ in 0..nodes {
            timed.add(0, |config| config.join = (0..nodes).map(crate::world::address).collect());
        }
        timed
    }

    pub(crate) fn add(&mut self, skew_ms: i64, config: impl FnOnce(&mut NodeConfig)) -> usize {
        self.add_with(skew_ms, |world, now| world.add(now, config))
    }

    /// A node whose state is kept on a disk that takes its time.
    pub(crate) fn add_kept(&mut self, skew_ms: i64, config: impl FnOnce(&mut NodeConfig)) -> usize {
        let who = self.add_with(skew_ms, |world, now| world.add_kept(now, config));
        self.world.set_prompt(who, false);
        who
    }

    fn add_with(&mut self, skew_ms: i64, add: impl FnOnce(&mut World, Now) -> usize) -> usize {
        let who = self.world.members.len();
        self.skews_ms.insert(who, skew_ms);
        let now = self.now_of(who);
        add(&mut self.world, now);
        self.listening.insert(self.world.config(who).address.clone(), who);
        self.drain(who);
        who
    }

    /// The power fails, and the node starts anew with what is on its disk.
    pub(crate) fn crash(&mut self, who: usize) {
        self.break_links_of(who);
        self.timers.remove(&who);
        self.world.members[who].now = self.now_of(who);
        self.world.crash(who, self.dice);
        self.drain(who);
    }

    /// Its disk is well again, and the node tries it.
    pub(crate) fn mend_disk(&mut self, who: usize) {
        self.world.disk(who).fault = Fault::None;
        if !self.world.is_committing(who) {
            self.world.begin_mend(who);
        }
        self.drain(who);
    }

    fn break_links_of(&mut self, who: usize) {
        for link in self.wires_where(|wire| wire.ends.contains(&who)) {
            let wire = self.wires.get_mut(&link).expect("it was listed");
            wire.alive = false;
            let side = wire.side_of(who);
            wire.told[side] = true;
            let after = self.dice.below(IDLE_MS as usize) as u64;
            self.schedule(after * 1000, Event::Notice { link, side: 1 - side });
        }
    }

    /// A node crashes and starts anew with nothing, at the same address.
    pub(crate) fn restart(&mut self, who: usize, config: impl FnOnce(&mut NodeConfig)) -> usize {
        let old = self.world.config(who).clone();
        self.world.lose(who);
        self.break_links_of(who);
        let skew_ms = self.skews_ms[&who];
        self.add(skew_ms, |new| {
            (new.address, new.name, new.join) = (old.address, old.name, old.join);
            config(new);
        })
    }

    // --- Time

    fn now_of(&self, who: usize) -> Now {
        let wall_ms = (START + self.now / 1000).saturating_add_signed(self.skews_ms[&who]);
        Now { instant: Instant::from_micros(self.now), wall_ms }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now / 1000
    }

    pub(crate) fn set_skew(&mut self, who: usize, skew_ms: i64) {
        self.skews_ms.insert(who, skew_ms);
    }

    fn schedule(&mut self, after_us: u64, event: Event) {
        self.next += 1;
        self.events.insert((self.now + after_us, self.next), event);
    }

    /// Lets everything happen that is due within the time.
    pub(crate) fn run_for(&mut self, time_ms: u64) {
        self.run_until(time_ms, |_| false);
    }

    /// Lets things happen until the condition holds; how many milliseconds that took, if it was within the time.
    pub(crate) fn run_until(&mut self, time_ms: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let (start, end) = (self.now, self.now + time_ms * 1000);
        let (mut instant, mut steps) = (self.now, 0);
        while !done(self) {
            let Some((&(at, number), _)) = self.events.first_key_value().filter(|(key, _)| key.0 <= end) else {
                self.now = end;
                return None;
            };
            let event = self.events.remove(&(at, number)).expect("it is the first");
            steps = if at == instant { steps + 1 } else { 0 };
            assert!(steps < INSTANT_STEPS_MAX, "time does not get past {at} µs: {event:?}");
            (self.now, instant) = (at, at);
            self.happen(event);
        }
        Some((self.now - start) / 1000)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival { link, side, channel } => self.on_arrival(link, side, channel),
            Event::Sent { link, side, channel } => {
                let Some(wire) = self.wires.get(&link).filter(|wire| !wire.told[side]) else { return };
                let who = wire.ends[side];
                if self.world.members[who].gone {
                    return;
                }
                self.tell(who, Input::Sent { link: name(link, side), channel });
            }
            Event::Timeout { who } => {
                if self.timers.get(&who) == Some(&self.now) && !self.world.members[who].gone {
                    self.timers.remove(&who);
                    self.act(who, |node, now| node.handle(now, Input::Timeout));
                }
            }
            Event::Dialed { who, address } => self.on_dialed(who, &address),
            Event::Idle { link, since } => self.on_idle(link, since),
            Event::Notice { link, side } => self.notice(link, side),
            Event::Disk { who } => {
                self.busy.remove(&who);
                if !self.world.members[who].gone {
                    self.world.members[who].now = self.now_of(who);
                    self.world.go_on(who);
                    self.drain(who);
                }
            }
        }
    }

    // --- Nodes

    /// Something happens to a node, and what it then wants is done.
    pub(crate) fn act<R>(&mut self, who: usize, act: impl FnOnce(&mut Node, Now) -> R) -> R {
        self.world.members[who].now = self.now_of(who);
        let result = self.world.act(who, act);
        self.drain(who);
        result
    }

    fn tell(&mut self, who: usize, input: Input) {
        let now = self.now_of(who);
        let member = &mut self.world.members[who];
        member.now = now;
        member.node.handle(now, input);
        self.drain(who);
    }

    pub(crate) fn put(&mut self, who: usize, key: usize) -> u64 {
        self.put_until(who, key, None)
    }

    pub(crate) fn put_until(&mut self, who: usize, key: usize, deadline: Option<u64>) -> u64 {
        self.world.members[who].now = self.now_of(who);
        let value = self.world.put(who, key, deadline);
        self.drain(who);
        value
    }

    pub(crate) fn delete(&mut self, who: usize, key: usize) -> bool {
        self.world.members[who].now = self.now_of(who);
        let deleted = self.world.delete(who, key).is_some();
        self.drain(who);
        deleted
    }

    pub(crate) fn get(&self, who: usize, key: usize) -> Option<u64> {
        self.world.get(who, key)
    }

    pub(crate) fn node(&mut self, who: usize) -> &mut Node {
        &mut self.world.members[who].node
    }

    fn drain(&mut self, who: usize) {
        if self.world.members[who].gone {
            return;
        }
        self.world.keep_up(who);
        if self.world.is_committing(who) && self.busy.insert(who) {
            let after = self.dice.below(3_000) as u64;
            self.schedule(after, Event::Disk { who });
        }
        while let Some(output) = self.world.members[who].node.poll_output() {
            match output {
                Output::Dial { address } => {
                    let after = 3 * self.travel();
                    self.schedule(after, Event::Dialed { who, address });
                }
                Output::Send { link, channel, frame } => self.send(link, channel, Item::Frame(frame)),
                Output::Finish { link, channel } => self.send(link, channel, Item::Ended),
                Output::Reset { link, channel } => self.reset(link, channel),
                Output::Close { link, .. } => self.close(link),
            }
        }
        let due = self.world.members[who].node.next_timeout().map(|at| at.as_micros().max(self.now));
        if let Some(due) = due.filter(|due| self.timers.get(&who).is_none_or(|set| due < set || *set < self.now)) {
            self.timers.insert(who, due);
            self.schedule(due - self.now, Event::Timeout { who });
        }
    }

    // --- Links

    fn travel(&mut self) -> u64 {
        self.path.delay_us + self.dice.below(self.path.jitter_us as usize + 1) as u64
    }

    fn send(&mut self, link: LinkId, channel: u64, item: Item) {
        let (link, side) = end(link);
        let travel = self.travel();
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.alive) else { return };
        if wire.reset[0].contains(&channel) || wire.reset[1].contains(&channel) {
            if matches!(item, Item::Frame(_)) {
                self.schedule(0, Event::Sent { link, side, channel });
            }
            return;
        }
        let mut left = wire.free_at[side].max(self.now);
        if let Item::Frame(frame) = &item {
            let size = frame.len() + FRAME_OVERHEAD_BYTES;
            self.bytes += size;
            self.catch_ups += usize::from(channel != CONTROL && frame.starts_with(&[6, 1]));
            left += (size as u64 * 1000) / self.path.bytes_per_ms;
            wire.free_at[side] = left;
        }
        let taken = matches!(item, Item::Frame(_)).then_some(left - self.now);
        wire.queues[side].entry(channel).or_default().push_back(item);
        self.schedule(left + travel - self.now, Event::Arrival { link, side, channel });
        if let Some(after) = taken {
            self.schedule(after, Event::Sent { link, side, channel });
        }
    }

    /// What is on its way on the channel, both ways, is dropped.
    fn reset(&mut self, link: LinkId, channel: u64) {
        let (link, side) = end(link);
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.alive) else { return };
        if !wire.reset[side].insert(channel) {
            return;
        }
        let peer_knows = wire.reset[1 - side].contains(&channel);
        wire.queues[1 - side].remove(&channel);
        wire.queues[side].remove(&channel);
        if !peer_knows {
            wire.queues[side].entry(channel).or_default().push_back(Item::Ended);
            let travel = self.travel();
            self.schedule(travel, Event::Arrival { link, side, channel });
        }
    }

    fn close(&mut self, link: LinkId) {
        self.send(link, CONTROL, Item::Closed);
        let (link, side) = end(link);
        self.schedule(10, Event::Notice { link, side });
    }

    fn on_dialed(&mut self, from: usize, address: &str) {
        let Some(&to) = self.listening.get(address) else { return };
        if to == from || self.world.members[from].gone || self.cuts.contains_key(&pair(from, to)) {
            return;
        }
        let link = self.next;
        self.next += 1;
        self.wires.insert(link, Wire::new([from, to]));
        for (side, who, other, address) in [(0, from, to, address.to_owned()), (1, to, from, format!("from {from}"))] {
            let (link, identity) = (name(link, side), id(other));
            self.tell(
                who,
                Input::Connected {
                    link,
                    address,
                    dialed: side == 0,
                    identity: Some(identity),
                    key: tidings::proto::KeyId::default(),
                },
            );
        }
    }

    fn on_arrival(&mut self, link: u64, side: usize, channel: u64) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let (from, to) = (wire.ends[side], wire.ends[1 - side]);
        if self.cuts.contains_key(&pair(from, to)) {
            wire.held.push(Event::Arrival { link, side, channel });
            return;
        }
        // A side that has closed hears nothing more, but what it sent before may still arrive.
        if wire.told[1 - side] || !wire.alive {
            return;
        }
        let Some(item) = wire.queues[side].get_mut(&channel).and_then(VecDeque::pop_front) else { return };
        let own = name(link, 1 - side);
        match item {
            Item::Frame(frame) => {
                self.arrivals += 1;
                self.act(to, |node, now| node.handle(now, Input::Frame { link: own, channel, frame }));
                if self.lose_after > 0 && self.arrivals == self.lose_after {
                    self.lose(link);
                }
            }
            Item::Ended => self.tell(to, Input::Ended { link: own, channel }),
            Item::Closed => self.lose(link),
        }
    }

    fn on_idle(&mut self, link: u64, since: u64) {
        let Some(wire) = self.wires.get(&link) else { return };
        if self.cuts.get(&pair(wire.ends[0], wire.ends[1])) == Some(&since) {
            self.lose(link);
        }
    }

    /// What is on its way is lost, and both ends learn that the link is gone.
    fn lose(&mut self, link: u64) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.alive = false;
        for side in [0, 1] {
            let after = self.dice.below(50_000) as u64;
            self.schedule(after, Event::Notice { link, side });
        }
    }

    fn notice(&mut self, link: u64, side: usize) {
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| !wire.told[side]) else { return };
        wire.told[side] = true;
        let who = wire.ends[side];
        if wire.told == [true; 2] {
            self.wires.remove(&link);
        }
        if !self.world.members[who].gone {
            self.act(who, |node, now| node.handle(now, Input::Disconnected { link: name(link, side) }));
        }
    }

    fn wires_where(&self, wanted: impl Fn(&Wire) -> bool) -> Vec<u64> {
        self.wires.iter().filter(|(_, wire)| wanted(wire)).map(|(link, _)| *link).collect()
    }

    // --- Faults

    /// Nothing passes between the two from now on.
    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        let since = self.now;
        if self.cuts.contains_key(&pair(one, other)) {
            return;
        }
        self.cuts.insert(pair(one, other), since);
        for link in self.wires_where(|wire| pair(wire.ends[0], wire.ends[1]) == pair(one, other)) {
            let after = IDLE_MS * 1000 + self.dice.below(500_000) as u64;
            self.schedule(after, Event::Idle { link, since });
        }
    }

    pub(crate) fn mend(&mut self, one: usize, other: usize) {
        if self.cuts.remove(&pair(one, other)).is_none() {
            return;
        }
        for link in self.wires_where(|wire| pair(wire.ends[0], wire.ends[1]) == pair(one, other)) {
            let held = std::mem::take(&mut self.wires.get_mut(&link).expect("it was listed").held);
            for event in held {
                let travel = self.travel();
                self.schedule(travel, event);
            }
        }
    }

    /// Nothing passes between the node and any other.
    pub(crate) fn isolate(&mut self, who: usize) {
        for other in self.world.alive() {
            if other != who {
                self.cut(who, other);
            }
        }
    }

    pub(crate) fn mend_all(&mut self) {
        for (one, other) in self.cuts.keys().copied().collect::<Vec<_>>() {
            self.mend(one, other);
        }
    }

    /// One link, whichever, is reset.
    pub(crate) fn reset_a_link(&mut self) {
        let links = self.wires_where(|wire| wire.alive);
        if !links.is_empty() {
            let link = *self.dice.pick(&links);
            self.lose(link);
        }
    }

    // --- What is demanded

    /// All nodes agree, and know it of each other.
    pub(crate) fn agree(&self) -> Result<(), String> {
        let all = self.world.alive();
        let unflushed = all.iter().find(|&&who| !self.world.members[who].node.is_flushed());
        unflushed.map_or(Ok(()), |who| Err(format!("node {who} is not flushed")))?;
        self.world.agree(&all)
    }

    /// They come to agree within the time, and this is how long it took.
    pub(crate) fn demand_agreement(&mut self, within_ms: u64) -> u64 {
        let took = self.run_until(within_ms, |timed| timed.agree().is_ok());
        took.unwrap_or_else(|| panic!("no agreement within {within_ms} ms: {:?}", self.agree()))
    }
}

impl Wire {
    fn new(ends: [usize; 2]) -> Self {
        Self {
            ends,
            alive: true,
            told: [false; 2],
            queues: Default::default(),
            reset: Default::default(),
            free_at: [0; 2],
            held: Vec::new(),
        }
    }

    fn side_of(&self, who: usize) -> usize {
        usize::from(self.ends[1] == who)
    }
}

/// The two ends have names of their own for a link.
fn name(link: u64, side: usize) -> LinkId {
    LinkId(link * 2 + side as u64)
}

fn end(link: LinkId) -> (u64, usize) {
    (link.0 / 2, (link.0 % 2) as usize)
}

/// Something that a run drew between two durations.
pub(crate) fn between(dice: &mut Dice, from_ms: usize, to_ms: usize) -> Duration {
    Duration::from_millis((from_ms + dice.below(to_ms - from_ms + 1)) as u64)
}
