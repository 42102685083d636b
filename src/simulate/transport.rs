//! Connections as nodes meet them: dialled, used, closed, lost. Not responsible for why one is lost.

use super::cluster::Cluster;
use super::machine::{address_of, number_at};
use super::network::Travel;
use super::queue::{Event, Item};
use super::wires::{WireId, end_of, link_of};
use crate::proto::KeyId;
use crate::proto::link::{CONTROL, LinkId};
use crate::proto::node::{Input, Output};
use rand::RngExt;
use std::time::Duration;

/// Closing takes the closer so long.
const CLOSE_US: u64 = 10;
/// How much later than the idle time a loss may be noticed: that is counted from the last packet, and those are apart.
const KEEP_ALIVE_US: u64 = 250_000;

impl Cluster {
    pub(super) fn carry_out(&mut self, who: usize, output: Output, taken: &mut Vec<(LinkId, u64)>) {
        match output {
            Output::Dial { address } => self.dial(who, address),
            Output::Send { link, channel, frame } => {
                let left_us = self.send(link, channel, Item::Frame(frame));
                let (wire, side) = end_of(link);
                match left_us {
                    Some(left_us) if left_us > self.now_us => {
                        self.queue.push(left_us, Event::Sent { wire, side, channel })
                    }
                    _ => taken.push((link, channel)),
                }
            }
            Output::Finish { link, channel } => _ = self.send(link, channel, Item::Ended),
            Output::Reset { link, channel } => self.reset(link, channel),
            Output::Close { link, .. } => {
                self.send(link, CONTROL, Item::Closed);
                let (wire, side) = end_of(link);
                self.queue.push(self.now_us + CLOSE_US, Event::Lost { wire, side });
            }
        }
    }

    // --- Dialling

    pub(super) fn latency_us(&self, one: usize, other: usize) -> u64 {
        self.settings.network.latency_us(self.settings.seed, one, other)
    }

    fn dial(&mut self, who: usize, address: String) {
        self.machines[who].tally.dials += 1;
        let Some(to) = number_at(&address).filter(|to| *to < self.machines.len()) else { return };
        let latency_us = self.latency_us(who, to);
        let Some(took_us) = self.settings.network.handshake_us(&mut self.rng, latency_us) else { return };
        // Who dials is through one flight before the other.
        let dialed_us = self.now_us + took_us - latency_us;
        if let Some(again_us) = self.settings.network.again_us(&mut self.rng) {
            self.queue.push(dialed_us + again_us, Event::Dialed { who, address: address.clone() });
        }
        self.queue.push(dialed_us, Event::Dialed { who, address });
    }

    pub(super) fn on_dialed(&mut self, who: usize, address: &str) {
        let Some(to) = number_at(address) else { return };
        let cut = self.cuts.cuts(who, to) || self.cuts.cuts(to, who);
        if cut || to == who || self.machines[who].node.is_none() || self.machines[to].node.is_none() {
            return;
        }
        let wire = self.wires.open([who, to]);
        let there_us = self.now_us + self.latency_us(who, to);
        self.wires.get_mut(wire).expect("it was just opened").held_us[1] = there_us;
        for end in [who, to] {
            let machine = &mut self.machines[end];
            machine.wires.push(wire);
            machine.tally.connections += 1;
            machine.tally.links_max = machine.tally.links_max.max(machine.wires.len());
        }
        self.queue.push(there_us, Event::Connected { wire, side: 1 });
        self.on_connected(wire, 0);
    }

    pub(super) fn on_connected(&mut self, wire: WireId, side: usize) {
        let Some(state) = self.wires.get_mut(wire).filter(|state| !state.gone[side]) else { return };
        state.up[side] = true;
        let (who, other, link) = (state.end(side), state.end(1 - side), link_of(wire, side));
        let (identity, dialed) = (self.machines[other].replica, side == 0);
        let address = if dialed { address_of(other) } else { format!("from node{other}") };
        self.tell(who, Input::Connected { link, address, dialed, identity: Some(identity), key: KeyId::default() });
        let round_trip = Duration::from_micros(2 * self.latency_us(who, other) + self.settings.network.jitter_us);
        self.machines[who].node.iter_mut().for_each(|node| node.note_round_trip(link, round_trip));
    }

    // --- Sending

    /// When the sender's upload has taken it, if there is still somebody to send it to.
    fn send(&mut self, link: LinkId, channel: u64, item: Item) -> Option<u64> {
        let (wire, side) = end_of(link);
        let state = self.wires.get(wire).filter(|state| !state.gone[side])?;
        let (from, to) = (state.end(side), state.end(1 - side));
        let travel = self.travel(from, to, &item);
        let state = self.wires.get_mut(wire)?;
        let at_us = state.in_turn(1 - side, channel, travel.there_us, self.now_us);
        self.in_flight.0 += 1;
        self.in_flight.1 = self.in_flight.1.max(self.in_flight.0);
        self.queue.push(at_us, Event::Arrival { wire, side: 1 - side, channel, item });
        Some(travel.left_us)
    }

    fn travel(&mut self, from: usize, to: usize, item: &Item) -> Travel {
        let (latency_us, free_us) = (self.latency_us(from, to), self.machines[from].upload_free_us);
        let frame_bytes = if let Item::Frame(frame) = item { frame.len() } else { 0 };
        let times = (self.now_us, free_us);
        let network = self.settings.network_of(from);
        let upload = network.upload.unwrap_or_default();
        let travel = network.travel(&mut self.rng, latency_us, frame_bytes, times);
        let queued_bytes = (travel.left_us - self.now_us).saturating_mul(upload) / 1_000_000;
        let machine = &mut self.machines[from];
        machine.upload_free_us = travel.left_us;
        machine.tally.sent_bytes += travel.bytes;
        machine.tally.frames += u64::from(frame_bytes > 0);
        machine.tally.queued_bytes_max = machine.tally.queued_bytes_max.max(queued_bytes);
        travel
    }

    /// Nothing more is wanted of the channel, and nothing more will come on it: what was sent before may be overtaken.
    fn reset(&mut self, link: LinkId, channel: u64) {
        let (wire, side) = end_of(link);
        let Some(state) = self.wires.get_mut(wire).filter(|state| !state.gone[side]) else { return };
        if !state.bury(side, channel) {
            return;
        }
        let (from, to) = (state.end(side), state.end(1 - side));
        let travel = self.travel(from, to, &Item::Reset);
        self.in_flight.0 += 1;
        self.queue.push(travel.there_us, Event::Arrival { wire, side: 1 - side, channel, item: Item::Reset });
    }

    pub(super) fn on_sent(&mut self, wire: WireId, side: usize, channel: u64) {
        let Some(state) = self.wires.get(wire).filter(|state| !state.gone[side]) else { return };
        let who = state.end(side);
        self.tell(who, Input::Sent { link: link_of(wire, side), channel });
    }

    // --- Arriving

    pub(super) fn on_arrival(&mut self, wire: WireId, side: usize, channel: u64, item: Item) {
        self.in_flight.0 -= 1;
        let Some(state) = self.wires.get_mut(wire).filter(|state| !state.gone[side]) else { return };
        let (from, who, held_us) = (state.end(1 - side), state.end(side), state.held_us[side]);
        if (1..self.now_us).contains(&state.until_us[1 - side]) {
            return;
        }
        if self.cuts.cuts(from, who) {
            state.held_us[side] = u64::MAX;
            self.in_flight.0 += 1;
            return self.held.push((wire, side, channel, item));
        }
        if held_us > self.now_us {
            self.in_flight.0 += 1;
            return self.queue.push(held_us, Event::Arrival { wire, side, channel, item });
        }
        if state.is_dead(side, channel) && !matches!(item, Item::Closed) {
            return;
        }
        let link = link_of(wire, side);
        match item {
            Item::Frame(frame) => self.tell(who, Input::Frame { link, channel, frame }),
            Item::Ended => self.tell(who, Input::Ended { link, channel }),
            Item::Reset => {
                state.bury(side, channel);
                self.tell(who, Input::Ended { link, channel });
            }
            Item::Closed => self.lose(wire, side),
        }
    }

    // --- Losing

    /// A side learns that its link is gone.
    pub(super) fn lose(&mut self, wire: WireId, side: usize) {
        let Some(state) = self.wires.get_mut(wire).filter(|state| !state.gone[side]) else { return };
        state.gone[side] = true;
        let (who, up, both) = (state.end(side), state.up[side], state.gone == [true; 2]);
        self.machines[who].wires.retain(|other| *other != wire);
        if both {
            self.wires.close(wire);
        }
        if up {
            self.tell(who, Input::Disconnected { link: link_of(wire, side) });
        }
    }

    /// A side may have heard nothing for so long that it gives its link up; then the other hears nothing more either.
    pub(super) fn on_silence(&mut self, wire: WireId, side: usize, since_us: u64) {
        if self.wires.get(wire).is_none_or(|state| state.gone[side] || state.silent_us[side] != since_us) {
            return;
        }
        self.lose(wire, side);
        self.fall_silent(wire, 1 - side);
    }

    /// From now on this side hears nothing, whatever becomes of the path.
    pub(super) fn fall_silent(&mut self, wire: WireId, side: usize) {
        let after_us = self.settings.network.idle_us + self.rng.random_range(0..=KEEP_ALIVE_US);
        self.queue.push(self.now_us + after_us, Event::Lost { wire, side });
    }

    /// The path to this side has been cut.
    pub(super) fn begin_silence(&mut self, wire: WireId, side: usize) {
        let since_us = self.now_us;
        let Some(state) = self.wires.get_mut(wire).filter(|state| state.silent_us[side] == 0) else { return };
        state.silent_us[side] = since_us;
        let after_us = self.settings.network.idle_us + self.rng.random_range(0..=KEEP_ALIVE_US);
        self.queue.push(since_us + after_us, Event::Silence { wire, side, since_us });
    }

    /// A machine that has restarted says so to whoever still talks to who ran there before.
    pub(super) fn disown(&mut self, who: usize) {
        for wire in std::mem::take(&mut self.machines[who].orphans) {
            let Some(state) = self.wires.get(wire) else { continue };
            let side = 1 - state.side_of(who);
            let other = state.end(side);
            if !self.cuts.cuts(who, other) {
                let at_us = self.now_us + 2 * self.latency_us(who, other);
                self.queue.push(at_us, Event::Lost { wire, side });
            }
        }
    }
}
