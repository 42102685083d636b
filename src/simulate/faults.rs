//! What goes wrong: crashes, cuts, clocks. Not responsible for when: plans and tests say so.

use super::cluster::Cluster;
use super::cuts::CutId;
use super::machine::{Machine, START_MS};
use super::queue::Event;
use super::wires::WireId;
use crate::crdt::ReplicaId;
use rand::RngExt;

/// What was held up comes within so long after the path is mended, beside the way: retransmissions are apart.
const PROBE_US: u64 = 1_000_000;

impl Cluster {
    /// The machine loses power. Its peers find out by silence. Without a disk all that it had is gone.
    pub fn crash(&mut self, who: usize) {
        if self.machines[who].node.is_none() {
            return;
        }
        let wires = self.switch_off(who, self.now_us);
        for &(wire, side) in &wires {
            self.fall_silent(wire, 1 - side);
        }
        self.machines[who].orphans.extend(wires.into_iter().map(|(wire, _)| wire));
    }

    /// The machine is stopped in order: its node says goodbye, or first that it leaves for good, and closes its links. What
    /// is on its way goes on.
    pub fn stop(&mut self, who: usize, leaves: bool) {
        let now = self.machines[who].now(self.now_us);
        let Some(node) = &mut self.machines[who].node else { return };
        if leaves {
            node.leave(now);
        }
        node.close(now);
        self.drain(who);
        // Whom the last words do not reach, silence tells.
        for (wire, side) in self.switch_off(who, self.machines[who].upload_free_us.max(self.now_us)) {
            self.fall_silent(wire, 1 - side);
        }
    }

    /// Nothing runs on the machine any more, and what it had sent by then is not sent again. Its connections that have another
    /// end still, and which end was its own.
    fn switch_off(&mut self, who: usize, sent_us: u64) -> Vec<(WireId, usize)> {
        let rng = &mut self.rng;
        self.machines[who].stop(|| ReplicaId::random(rng));
        let mut left = Vec::new();
        for wire in std::mem::take(&mut self.machines[who].wires) {
            let Some(state) = self.wires.get_mut(wire) else { continue };
            let side = state.side_of(who);
            let other = state.end(1 - side);
            state.gone[side] = true;
            if state.gone == [true; 2] {
                self.wires.close(wire);
                continue;
            }
            let until_us = sent_us + self.latency_us(who, other) + self.settings.network.jitter_us;
            self.wires.get_mut(wire).into_iter().for_each(|state| state.until_us[side] = until_us);
            left.push((wire, side));
        }
        self.spread.forget(who, self.machines[who].disk.is_some());
        self.count_up();
        left
    }

    /// Those that have yet to start count: they will.
    pub(super) fn count_up(&mut self) {
        let is_down = |machine: &&Machine| machine.boots > 0 && machine.node.is_none();
        self.spread.set_up(self.machines.len() - self.machines.iter().filter(is_down).count());
    }

    /// The machine starts again: with what is on its disk, or with nothing.
    pub fn restart(&mut self, who: usize) {
        self.start(who);
    }

    /// It starts again after a while, if nothing else has started it before.
    pub fn restart_after(&mut self, who: usize, after_us: u64) {
        self.queue.push(self.now_us + after_us, Event::Start { who });
    }

    /// Nothing passes from nodes of one set to those of the other from now on, nor back, if it is so said.
    pub fn cut(&mut self, from: &[usize], to: &[usize], both_ways: bool) -> CutId {
        let cut = self.cuts.add(from, to, both_ways);
        for wire in self.wires.ids() {
            let Some(state) = self.wires.get(wire) else { continue };
            let ends = [state.end(0), state.end(1)];
            for side in [0, 1] {
                if self.cuts.cuts(ends[1 - side], ends[side]) {
                    self.begin_silence(wire, side);
                }
            }
        }
        cut
    }

    /// All paths are whole again. What was held up on links that are still there arrives late.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.go_on();
    }

    /// One cut is mended; others stay.
    pub fn mend(&mut self, cut: CutId) {
        self.cuts.remove(cut);
        self.go_on();
    }

    /// What was held up where nothing is cut any more.
    fn go_on(&mut self) {
        for wire in self.wires.ids() {
            let late_us = self.now_us + self.rng.random_range(0..=PROBE_US);
            let Some(state) = self.wires.get_mut(wire) else { continue };
            for side in [0, 1] {
                if self.cuts.cuts(state.end(1 - side), state.end(side)) {
                    continue;
                }
                state.silent_us[side] = 0;
                if state.held_us[side] == u64::MAX {
                    state.held_us[side] = late_us;
                }
            }
        }
        for (wire, side, channel, item) in std::mem::take(&mut self.held) {
            match self.wires.get(wire).map(|state| state.held_us[side]) {
                Some(u64::MAX) => self.held.push((wire, side, channel, item)),
                Some(at_us) => {
                    self.queue.push(at_us.max(self.now_us), Event::Arrival { wire, side, channel, item });
                }
                None => self.in_flight.0 -= 1,
            }
        }
    }

    /// Whether any path is cut.
    pub fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// A machine's clock is wrong by so much from now on.
    pub fn set_skew(&mut self, who: usize, skew_ms: i64) {
        self.machines[who].skew_ms = skew_ms;
        self.skew_max_ms = self.skew_max_ms.max(skew_ms);
    }

    /// No clock has ever shown a later time than this, in milliseconds since 1970.
    pub(super) fn latest_ms(&self) -> u64 {
        (START_MS + self.now_us / 1_000).saturating_add_signed(self.skew_max_ms.max(0))
    }

    /// One connection, whichever, is lost at once at both ends, with all that is on its way.
    pub fn break_a_link(&mut self) {
        let ids = self.wires.ids();
        if ids.is_empty() {
            return;
        }
        let wire = ids[self.rng.random_range(0..ids.len())];
        for side in [0, 1] {
            self.lose(wire, side);
        }
    }
}
