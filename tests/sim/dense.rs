//! Nodes whose frames are handed over one by one, in the order that a run asks for. Not responsible for time: it stands
//! still unless a run moves it.
//!
//! What holds of QUIC streams holds here: frames of one channel arrive in order and whole, those of different channels in
//! any order, and a link that breaks takes with it all that was on its way, at whatever point.

use crate::dice::Dice;
use crate::world::{World, address, id};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tidings::proto::codec;
use tidings::proto::link::{CONTROL, LinkId};
use tidings::proto::node::{Input, Node, Output};
use tidings::proto::time::Now;

/// What is on its way on a channel, in one direction.
#[derive(Clone, Debug)]
enum Item {
    Frame(Bytes),
    /// Written by the test, not by the node: nobody waits for it to be taken.
    Forged(Bytes),
    Ended,
}

/// One connection. Side 0 has dialled.
#[derive(Debug)]
struct Wire {
    ends: [usize; 2],
    /// Frames still arrive.
    alive: bool,
    /// Sides that have not been told that it is gone.
    told: [bool; 2],
    /// By the side that sends.
    queues: [BTreeMap<u64, VecDeque<Item>>; 2],
    /// Channels that a side wants nothing more from.
    reset: [BTreeSet<u64>; 2],
}

/// Nodes and what is between them.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) world: World,
    wires: BTreeMap<u64, Wire>,
    next: u64,
    /// A frame counts as taken only when it has arrived, so that the sender makes the rest of a pull one by one.
    pub(crate) slow: bool,
    /// Frames that had come before a node reset their channel are handed to it all the same.
    pub(crate) late: bool,
    /// The run is being replayed: each frame is told.
    pub(crate) telling: bool,
    pub(crate) catch_ups: usize,
}

/// A channel of a link, from one side: what can be handed over next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) link: u64,
    pub(crate) side: usize,
    pub(crate) channel: u64,
}

impl Dense {
    pub(crate) fn new(world: World) -> Self {
        Self { world, wires: BTreeMap::new(), next: 1, slow: false, late: false, telling: false, catch_ups: 0 }
    }

    /// Something happens to a node, and what it then wants is done.
    pub(crate) fn act<R>(&mut self, who: usize, act: impl FnOnce(&mut Node, Now) -> R) -> R {
        let result = self.world.act(who, act);
        self.drain(who);
        result
    }

    /// The same for what cannot change the map.
    fn tell(&mut self, who: usize, input: Input) {
        let member = &mut self.world.members[who];
        member.node.handle(member.now, input);
        self.drain(who);
    }

    pub(crate) fn drain(&mut self, who: usize) {
        self.world.keep_up(who);
        let mut taken = Vec::new();
        while let Some(output) = self.world.members[who].node.poll_output() {
            match output {
                Output::Send { link, channel, frame } => {
                    if self.send(who, link, channel, frame) {
                        taken.push((link, channel));
                    }
                }
                Output::Finish { link, channel } => self.push(who, link, channel, Item::Ended),
                Output::Reset { link, channel } => self.reset(who, link, channel),
                Output::Close { link, reason } => {
                    if self.telling {
                        eprintln!("  {who} closes link {}: {reason}", link.0);
                    }
                    self.cut(link.0);
                }
                Output::Dial { .. } => {}
            }
        }
        for (link, channel) in taken {
            self.tell(who, Input::Sent { link, channel });
        }
    }

    /// Whether it counts as taken already.
    fn send(&mut self, who: usize, link: LinkId, channel: u64, frame: Bytes) -> bool {
        if let Some(storage) = self.world.storage(who) {
            storage.check_frame(&frame);
        }
        // The kind of the message that says whether a pull is a catch-up, and that it is one.
        self.catch_ups += usize::from(channel != CONTROL && frame.starts_with(&[6, 1]));
        self.push(who, link, channel, Item::Frame(frame));
        !self.slow
    }

    fn push(&mut self, who: usize, link: LinkId, channel: u64, item: Item) {
        let Some(wire) = self.wires.get_mut(&link.0).filter(|wire| wire.alive) else { return };
        let side = wire.side_of(who);
        if !wire.reset[1 - side].contains(&channel) && !wire.reset[side].contains(&channel) {
            wire.queues[side].entry(channel).or_default().push_back(item);
        }
    }

    fn reset(&mut self, who: usize, link: LinkId, channel: u64) {
        let Some(wire) = self.wires.get_mut(&link.0).filter(|wire| wire.alive) else { return };
        let side = wire.side_of(who);
        if !wire.reset[side].insert(channel) {
            return;
        }
        wire.queues[side].remove(&channel);
        if !self.late {
            wire.queues[1 - side].remove(&channel);
        }
        if !wire.reset[1 - side].contains(&channel) {
            wire.queues[side].entry(channel).or_default().push_back(Item::Ended);
        }
    }

    /// A dot of a node stands for what it has.
    pub(crate) fn stand_in(&mut self, who: usize) {
        self.world.stand_in(who);
        self.drain(who);
    }

    /// The commit of a node gets one step further.
    pub(crate) fn go_on_with_commit(&mut self, who: usize) {
        self.world.go_on(who);
        self.drain(who);
    }

    /// All that it has to keep is durable, unless its disk fails.
    pub(crate) fn finish_commits(&mut self, who: usize) {
        while self.world.is_committing(who) {
            self.go_on_with_commit(who);
        }
    }

    /// The disk may take something again, and the node tries.
    pub(crate) fn mend_disk(&mut self, who: usize) {
        self.world.begin_mend(who);
        self.drain(who);
    }

    /// The power fails, and the node starts anew with what is on its disk. Of its links, it knows nothing.
    pub(crate) fn crash(&mut self, who: usize, dice: &mut Dice) {
        self.break_links_of(who);
        self.world.crash(who, dice);
        self.drain(who);
    }

    /// A node is gone for good, and so is what it had.
    pub(crate) fn lose(&mut self, who: usize) {
        self.break_links_of(who);
        self.world.lose(who);
    }

    /// The other ends have not noticed.
    fn break_links_of(&mut self, who: usize) {
        for wire in self.wires.values_mut() {
            if wire.ends.contains(&who) {
                wire.alive = false;
                wire.queues.iter_mut().for_each(BTreeMap::clear);
                let side = wire.side_of(who);
                wire.told[side] = true;
            }
        }
    }

    // --- Links

    /// A new link. Of the links that there were between the two, nothing arrives any more.
    pub(crate) fn connect(&mut self, from: usize, to: usize) -> u64 {
        let link = self.next;
        self.next += 1;
        for old in self.links_between(from, to) {
            self.cut(old);
        }
        self.wires.insert(link, Wire::new([from, to]));
        let connected = |address: String, dialed, who| Input::Connected {
            link: LinkId(link),
            address,
            dialed,
            identity: Some(id(who)),
            key: tidings::proto::KeyId::default(),
        };
        self.tell(from, connected(address(to), true, to));
        self.tell(to, connected(format!("from {from}"), false, from));
        link
    }

    /// A new link in the place of what there was, and both have heard each other's hello on it. Only the side that dials
    /// had noticed that the old one was lost.
    pub(crate) fn reconnect(&mut self, one: usize, other: usize) -> u64 {
        let (dialer, acceptor) = (one.min(other), one.max(other));
        let old = self.links_between(one, other);
        if !old.is_empty() {
            old.iter().for_each(|old| self.cut(*old));
            self.forget(dialer, acceptor);
        }
        let link = self.connect(dialer, acceptor);
        self.deliver(Way { link, side: 0, channel: CONTROL });
        self.deliver(Way { link, side: 1, channel: CONTROL });
        old.into_iter().for_each(|old| self.disconnect(old));
        link
    }

    /// A node closes its link to another in good order, so that it does not write it down.
    fn forget(&mut self, who: usize, other: usize) {
        // One that has not come up is no loss.
        if !self.world.members[who].node.links().iter().any(|link| link.id == id(other)) {
            return;
        }
        self.act(who, |node, now| {
            node.remove_peer(now, &id(other).to_string());
            node.add_peer(now, &address(other));
        });
    }

    fn links_between(&self, one: usize, other: usize) -> Vec<u64> {
        let between = |wire: &&Wire| wire.ends == [one, other] || wire.ends == [other, one];
        self.wires.iter().filter(|(_, wire)| between(wire)).map(|(link, _)| *link).collect()
    }

    /// The link on which frames of these two arrive.
    pub(crate) fn link_between(&self, one: usize, other: usize) -> Option<u64> {
        self.links_between(one, other).into_iter().rfind(|link| self.wires[link].alive)
    }

    /// From now on nothing arrives. Neither side has noticed.
    pub(crate) fn cut(&mut self, link: u64) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.alive = false;
        wire.queues.iter_mut().for_each(BTreeMap::clear);
    }

    /// Both sides notice.
    pub(crate) fn disconnect(&mut self, link: u64) {
        self.cut(link);
        self.notice(link, 0);
        self.notice(link, 1);
        self.wires.remove(&link);
    }

    /// One side notices that the link is gone.
    pub(crate) fn notice(&mut self, link: u64, side: usize) {
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| !wire.told[side]) else { return };
        wire.told[side] = true;
        let who = wire.ends[side];
        self.act(who, |node, now| node.handle(now, Input::Disconnected { link: LinkId(link) }));
    }

    /// Both sides close it in good order: nobody writes the other down.
    pub(crate) fn part(&mut self, link: u64) {
        let Some(wire) = self.wires.get(&link) else { return };
        let [dialer, acceptor] = wire.ends;
        self.cut(link);
        self.forget(dialer, acceptor);
        self.forget(acceptor, dialer);
        self.disconnect(link);
    }

    pub(crate) fn disconnect_all(&mut self) {
        while let Some(link) = self.wires.keys().next().copied() {
            self.disconnect(link);
        }
    }

    // --- Frames

    /// All that can be handed over next, on all links or on one.
    pub(crate) fn ways(&self, only: Option<u64>) -> Vec<Way> {
        let mut ways = Vec::new();
        let wires = self.wires.iter().filter(|(link, _)| only.is_none_or(|only| only == **link));
        for (&link, wire) in wires {
            for side in [0, 1] {
                let filled = wire.queues[side].iter().filter(|(_, queue)| !queue.is_empty());
                ways.extend(filled.map(|(&channel, _)| Way { link, side, channel }));
            }
        }
        ways
    }

    pub(crate) fn deliver(&mut self, way: Way) {
        let Way { link, side, channel } = way;
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let Some(item) = wire.queues[side].get_mut(&channel).and_then(VecDeque::pop_front) else { return };
        let (sender, receiver, link) = (wire.ends[side], wire.ends[1 - side], LinkId(link));
        if self.telling {
            let frame = match &item {
                Item::Frame(frame) | Item::Forged(frame) => codec::decode(frame, None).map(|m| format!("{m:?}")),
                Item::Ended => Ok("ended".to_owned()),
            };
            eprintln!("  {sender} to {receiver}, link {} channel {channel}: {frame:?}", link.0);
        }
        match item {
            Item::Frame(frame) => {
                self.act(receiver, |node, now| node.handle(now, Input::Frame { link, channel, frame }));
                if self.slow {
                    self.tell(sender, Input::Sent { link, channel });
                }
            }
            Item::Forged(frame) => {
                self.act(receiver, |node, now| node.handle(now, Input::Frame { link, channel, frame }));
            }
            Item::Ended => self.tell(receiver, Input::Ended { link, channel }),
        }
    }

    /// Puts a frame on a link as if one side had sent it.
    pub(crate) fn forge(&mut self, link: u64, side: usize, channel: u64, frame: Bytes) {
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.alive) else { return };
        wire.queues[side].entry(channel).or_default().push_back(Item::Forged(frame));
    }

    /// The links that are up, with the nodes at both ends.
    pub(crate) fn live_links(&self) -> Vec<(u64, [usize; 2])> {
        self.wires.iter().filter(|(_, wire)| wire.alive).map(|(link, wire)| (*link, wire.ends)).collect()
    }

    /// Hands everything over, on one link or on all, until nothing is on its way.
    pub(crate) fn settle(&mut self, only: Option<u64>) {
        for _ in 0..100_000 {
            let ways = self.ways(only);
            if ways.is_empty() {
                return;
            }
            ways.into_iter().for_each(|way| self.deliver(way));
        }
        panic!("they never stop talking");
    }

    /// Time passes at one node, and its timers run.
    pub(crate) fn pass(&mut self, who: usize, time: std::time::Duration) {
        let member = &mut self.world.members[who];
        member.now.instant = member.now.instant + time;
        self.act(who, |node, now| node.handle(now, Input::Timeout));
    }
}

impl Wire {
    fn new(ends: [usize; 2]) -> Self {
        Self { ends, alive: true, told: [false; 2], queues: Default::default(), reset: Default::default() }
    }

    fn side_of(&self, who: usize) -> usize {
        usize::from(self.ends[1] == who)
    }
}
