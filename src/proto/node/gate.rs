//! The gate: what the node says leaves only when all that was seen in making it is durable. Not responsible for making it
//! so: whoever drives the node writes the batches that it is given, in their order.
//!
//! ```text
//!  inputs ──▶ map, outputs ──begin_commit──▶ batch, outputs of it ──end_commit──▶ outputs may leave
//!                  ▲                                   │
//!                  └────────── rolled back ◀───fail_commit
//! ```
//!
//! One commit is under way at a time; what happens meanwhile is the next one, so that under load commits grow. If one
//! fails, the map is taken back to what was durable, all links are closed (what was to be said on them is lost), and the
//! node is read-only: it serves what it has, and takes in nothing. A commit that then succeeds, of all that the failed
//! ones had touched, ends that.

use super::{Node, Output};
use crate::crdt::{Dot, Key, Uncommitted};
use crate::proto::durable::{Also, Batch, Kept, Recorder};
use crate::proto::link::{CONTROL, LinkId};
use crate::proto::message::Message;
use crate::proto::time::Now;
use std::collections::VecDeque;

/// What stands between the node and its peers.
#[derive(Debug)]
pub(super) struct Gate {
    recorder: Recorder,
    /// May leave.
    open: VecDeque<Output>,
    /// Waits for the commit under way.
    sealed: Option<VecDeque<Output>>,
    /// The number of the commit that will take what happens now.
    next: u64,
    /// The last one that is durable.
    durable: u64,
    /// The counters up to here are reserved.
    reserved: u64,
    /// How many commits have failed.
    failed: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writable,
    /// A commit has failed; dots up to `void_to` have been issued for what was taken back.
    ReadOnly {
        void_to: u64,
    },
    /// The commit that may end that is under way.
    Mending {
        void_to: u64,
    },
    /// No more writes will come; the last commit has yet to begin,
    Closing,
    /// or has.
    Closed,
}

impl Gate {
    pub(super) fn new(recorder: Recorder) -> Self {
        let reserved = recorder.reserved();
        let (open, sealed) = (VecDeque::new(), None);
        Self { recorder, open, sealed, next: 1, durable: 0, reserved, failed: 0, state: State::Writable }
    }

    /// Whether the map may change.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.state, State::Writable | State::Closing)
    }
}

/// For whoever drives a node whose state is kept. Of one in memory, everything is durable at once.
impl Node {
    /// Whether writes are taken. A node whose last commit failed takes none. O(1).
    pub fn is_writable(&self) -> bool {
        self.gate.as_ref().is_none_or(Gate::is_writable)
    }

    /// The number of the commit that makes durable what has happened until now. O(1).
    pub fn next_commit(&self) -> u64 {
        self.gate.as_ref().map_or(0, |gate| gate.next)
    }

    /// The number of the last commit that is durable. O(1).
    pub fn durable_commit(&self) -> u64 {
        self.gate.as_ref().map_or(0, |gate| gate.durable)
    }

    /// The number of the commit that makes durable what the key shows now; 0 if that is durable. A crash before takes back
    /// what it shows. A lookup.
    pub fn commit_of(&self, key: Key<'_>) -> u64 {
        // A read-only node shows what is durable; its journal has the keys that are to be written again.
        let gate = self.gate.as_ref().filter(|gate| gate.is_writable());
        match (gate, self.map.change_of(key)) {
            (Some(gate), Some(Uncommitted::Next)) => gate.next,
            (Some(gate), Some(Uncommitted::UnderWay)) => gate.next - 1,
            (None, _) | (_, None) => 0,
        }
    }

    /// How many commits have failed: each took back what was not durable. O(1).
    pub fn failed_commits(&self) -> u64 {
        self.gate.as_ref().map_or(0, |gate| gate.failed)
    }

    /// Whether the dot, which is not durable yet, may be told to a client all the same: it is reserved, so that no crash
    /// can let another write have it. O(1).
    pub fn is_reserved(&self, dot: Dot) -> bool {
        self.gate.as_ref().is_none_or(|gate| dot.counter <= gate.reserved)
    }

    /// How many keys have changed since the last commit began. O(1).
    pub fn uncommitted(&self) -> usize {
        self.map.changed_keys()
    }

    /// Whether a commit is under way, or has yet to begin although no more writes will come. O(1).
    pub fn is_committing(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.sealed.is_some() || gate.state == State::Closing)
    }

    /// The next batch to be made durable: all that has changed since the last one began. `None` while that is under way,
    /// when nothing has changed, and while the node is read-only. Linear in what has changed.
    pub fn begin_commit(&mut self) -> Option<Batch> {
        let gate = self.gate.as_mut()?;
        match gate.state {
            State::Writable | State::Closing | State::Closed if gate.sealed.is_some() => return None,
            State::Writable if self.map.has_changed() || gate.recorder.lacks_peers(self.dials.version()) => {}
            State::Closing => gate.state = State::Closed,
            // Nothing has changed that was not durable.
            State::Writable | State::Closed | State::ReadOnly { .. } | State::Mending { .. } => {
                gate.open.append(&mut self.outputs);
                if gate.state == State::Writable {
                    gate.durable = gate.next;
                    gate.next += 1;
                }
                return None;
            }
        }
        gate.sealed = Some(std::mem::take(&mut self.outputs));
        gate.next += 1;
        let last = gate.state == State::Closed;
        Some(self.batch(0, last))
    }

    /// The batch that makes a read-only node writable again, if storage takes it. Linear in what was not written.
    pub fn begin_mend(&mut self) -> Option<Batch> {
        let gate = self.gate.as_mut()?;
        let State::ReadOnly { void_to } = gate.state else { return None };
        gate.state = State::Mending { void_to };
        Some(self.batch(void_to, false))
    }

    fn batch(&mut self, void_to: u64, last: bool) -> Batch {
        self.map.begin_commit();
        let gate = self.gate.as_mut().expect("it is kept");
        let also = Also { dials: &self.dials, void_to, last };
        gate.recorder.batch(&self.map, &also)
    }

    /// The batch is durable. Linear in what it lets leave.
    pub fn end_commit(&mut self, now: Now) {
        let Some(gate) = &mut self.gate else { return };
        self.map.end_commit();
        gate.reserved = gate.recorder.reserved();
        match gate.state {
            State::Mending { void_to } => {
                gate.state = State::Writable;
                self.map.skip_to(Dot::new(self.map.id(), void_to));
                self.on_writable(now);
            }
            _ => {
                gate.open.extend(gate.sealed.take().into_iter().flatten());
                gate.durable = gate.next - 1;
            }
        }
    }

    /// The batch is not durable, or nobody knows. What it held, and all that has happened since, is taken back here.
    /// Linear in that.
    pub fn fail_commit(&mut self, now: Now) {
        let Some(gate) = &mut self.gate else { return };
        let issued = self.map.context().get(self.map.id());
        gate.state = match gate.state {
            State::Mending { void_to } => State::ReadOnly { void_to },
            _ => State::ReadOnly { void_to: issued },
        };
        gate.failed += 1;
        gate.recorder.distrust();
        gate.sealed = None;
        self.map.roll_back();
        let durable = gate.durable;
        self.feed.roll_back(&self.map);
        self.broadcasts.roll_back(&mut self.map, durable, now.wall_ms);
        self.outputs.clear();
        self.set_now(now);
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.drop_syncs(link);
            self.close_link(link, "the node cannot write to its disk, and starts anew from what that holds".to_owned());
        }
    }

    /// From now on nothing stays reserved, and the next commit is the last one. O(1).
    pub fn begin_closing(&mut self) {
        if let Some(gate) = self.gate.as_mut().filter(|gate| gate.state == State::Writable) {
            gate.state = State::Closing;
        }
    }

    fn on_writable(&mut self, now: Now) {
        self.set_now(now);
        self.own_record_changed = true;
        self.members_changed = true;
        self.any_version += 1;
        self.tell_refused();
        self.settle();
    }

    /// Peers whose pushes were not taken are told what this node has, which replaces what they believed of it.
    pub(super) fn tell_refused(&mut self) {
        let refused = self.links.iter_mut().filter(|(_, state)| state.refused);
        let refused: Vec<LinkId> = refused
            .map(|(link, state)| {
                state.refused = false;
                *link
            })
            .collect();
        for link in refused {
            let context = self.map.context().clone();
            self.send(link, CONTROL, &Message::Context { context, replace: true }, None);
        }
    }

    pub(super) fn may_leave(&mut self) -> Option<Output> {
        match &mut self.gate {
            Some(gate) => gate.open.pop_front(),
            None => self.outputs.pop_front(),
        }
    }

    /// A node whose state is kept, with what was kept of it.
    pub(super) fn take_up(&mut self, kept: Kept, now: Now) {
        self.map = kept.map;
        self.map.set_time(now.wall_ms);
        self.map.forget_until_now();
        self.void = (kept.void_from, self.map.context().get(self.map.id()));
        self.dials.recall(kept.peers, now.instant);
        self.gate = Some(Gate::new(kept.recorder));
    }
}
