//! What goes wrong: crashes, cuts, clocks. Not responsible for when: plans and tests say so.

use super::cluster::Cluster;
use super::machine::Machine;
use super::queue::Event;
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
        let rng = &mut self.rng;
        self.machines[who].stop(|| ReplicaId::random(rng));
        let wires = std::mem::take(&mut self.machines[who].wires);
        for &wire in &wires {
            let Some(state) = self.wires.get_mut(wire) else { continue };
            let side = state.side_of(who);
            state.gone[side] = true;
            if state.gone == [true; 2] {
                self.wires.close(wire);
            } else {
                self.fall_silent(wire, 1 - side);
            }
        }
        self.machines[who].orphans.extend(wires);
        self.spread.forget(who, self.machines[who].disk.is_some());
        self.count_up();
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
    pub fn cut(&mut self, from: &[usize], to: &[usize], both_ways: bool) {
        self.cuts.add(from, to, both_ways);
        for wire in self.wires.ids() {
            let Some(state) = self.wires.get(wire) else { continue };
            let ends = [state.end(0), state.end(1)];
            for side in [0, 1] {
                if self.cuts.cuts(ends[1 - side], ends[side]) {
                    self.begin_silence(wire, side);
                }
            }
        }
    }

    /// All paths are whole again. What was held up on links that are still there arrives late.
    pub fn heal(&mut self) {
        self.cuts.clear();
        for wire in self.wires.ids() {
            let late_us = self.now_us + self.rng.random_range(0..=PROBE_US);
            let Some(state) = self.wires.get_mut(wire) else { continue };
            state.silent_us = [0; 2];
            state.held_us.iter_mut().filter(|held_us| **held_us == u64::MAX).for_each(|held_us| *held_us = late_us);
        }
        for (wire, side, channel, item) in std::mem::take(&mut self.held) {
            let at_us = self.wires.get(wire).map_or(self.now_us, |state| state.held_us[side]);
            self.queue.push(at_us.max(self.now_us), Event::Arrival { wire, side, channel, item });
        }
    }

    /// Whether any path is cut.
    pub fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// A machine's clock is wrong by so much from now on.
    pub fn set_skew(&mut self, who: usize, skew_ms: i64) {
        self.machines[who].skew_ms = skew_ms;
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
