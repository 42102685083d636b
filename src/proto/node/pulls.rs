//! Syncs: when to pull, and the frames of both sides. Not responsible for what they do to the map: `sync` is.

use super::{Node, Output};
use crate::crdt::{Audit, CausalContext, Change};
use crate::proto::codec;
use crate::proto::link::{CONTROL, Deferred, Expected, LinkId, Pulling, Sending};
use crate::proto::message::Message;
use crate::proto::pace::Pace;
use crate::proto::sync::{Receiver, Sender, Step};
use crate::proto::time::Instant;
use bytes::Bytes;
use std::time::Duration;
use tracing::{debug, debug_span, error};

/// A peer may have so many pulls under way on one link: one, and what it has reset but we have not heard of.
const SENDING_MAX: usize = 4;
/// Frames of a pull that the transport has not taken: enough to keep it busy, few enough to let fresh entries pass.
const IN_FLIGHT_MAX: usize = 2;

/// A peer that could not find what a write replaced is told keys for so long.
const KEYS_FOR: Duration = Duration::from_secs(10);

/// What has become of a message of a pull.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is not kept")]
enum Assembled {
    Message(Message),
    /// It was part of a value, which is kept.
    Kept,
    /// Part of a value is not here any more: there were too many others.
    Lost,
}

impl Node {
    /// Compares the peer's sums with ours, and pulls if they differ. Whether they do.
    pub(super) fn compare(&mut self, link: LinkId, theirs: Audit) -> bool {
        let ours = self.map.audit();
        let Some(state) = self.links.get_mut(&link) else { return false };
        if theirs.context == ours.context {
            state.learn(self.map.context());
        }
        if theirs == ours {
            self.synced_once = true;
            return false;
        }
        let defect = theirs.context == ours.context && theirs.pending == 0 && self.map.pending() == 0;
        if defect {
            self.meters.defects += 1;
            error!(
                peer = state.identity.map(tracing::field::display),
                "equal contexts with unequal states: a defect; repairing by a catch-up both ways"
            );
        }
        if defect || self.may_pull(link) {
            self.want_pull(link, defect);
        }
        true
    }

    pub(super) fn want_pull(&mut self, link: LinkId, catch_up: bool) {
        let excluded = !self.is_writable() || self.is_held(link);
        let Some(state) = self.links.get_mut(&link).filter(|state| state.is_up()) else { return };
        if excluded || state.pull.is_some() {
            state.pull_wanted = true;
            return;
        }
        state.pull_wanted = false;
        let channel = state.allocate_channel();
        let (receiver, mut pull) = Receiver::start(&self.map, catch_up);
        (pull.by_key, pull.partial) = (std::mem::take(&mut state.by_key), self.assembly.partial());
        let (begun, last_progress) = (self.now.instant, self.now.instant);
        state.pull = Some(Pulling { channel, receiver, begun, last_progress });
        self.meters.pulls.started += 1;
        self.send(link, channel, &Message::Pull(pull), None);
    }

    /// Entries were named by writes that are not live here any more: the next pull asks for keys.
    pub(super) fn want_keys(&mut self, link: LinkId) {
        if let Some(state) = self.links.get_mut(&link) {
            state.by_key = true;
        }
        self.want_pull(link, false);
    }

    pub(super) fn start_wanted_pulls(&mut self) {
        if self.catching_up.is_none() && self.is_writable() {
            let wanted = self.links.iter().filter(|(_, state)| state.pull_wanted && state.pull.is_none());
            let wanted: Vec<LinkId> = wanted.map(|(link, _)| *link).collect();
            wanted.into_iter().for_each(|link| self.want_pull(link, false));
        }
    }

    // --- As receiver

    pub(super) fn on_receiver_frame(&mut self, link: LinkId, channel: u64, frame: &Bytes) -> Result<(), String> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        let _span = debug_span!("sync", channel).entered();
        // A pull that was given up, perhaps for a catch-up: nothing of it may count any more, least of all its end.
        let Some(mut pull) = state.pull.take_if(|pull| pull.channel == channel) else { return Ok(()) };
        let message = codec::decode(frame, Some(pull.receiver.begin())).map_err(|e| e.to_string())?;
        state.count_received(&message, frame, 0);
        self.check_message(&message)?;
        let begins_catch_up = matches!(&message, Message::Begin(begin) if begin.catch_up);
        // Other syncs do no harm beside a catch-up, but a second one would bring the same again.
        if begins_catch_up && self.catching_up.is_some() {
            self.outputs.push_back(Output::Reset { link, channel });
            self.links.get_mut(&link).expect("it is there").pull_wanted = true;
            return Ok(());
        }
        let message = match self.assemble(message) {
            Assembled::Message(message) => message,
            Assembled::Kept => {
                pull.last_progress = self.now.instant;
                self.links.get_mut(&link).expect("it is there").pull = Some(pull);
                return Ok(());
            }
            Assembled::Lost => {
                self.give_up_pull(link, channel);
                return Ok(());
            }
        };
        let before = self.map.context_sum();
        let mut changes = Vec::new();
        let step = pull.receiver.on_message(&mut self.map, message, |change: Change| changes.push(change));
        let step = step.map_err(|e| e.to_string())?;
        changes.into_iter().for_each(|change| self.on_change(&change));
        self.on_context_grown(before);
        pull.last_progress = self.now.instant;
        self.reconciled.add(pull.receiver.take_counts());
        let step = match step {
            Step::Begun { .. } => {
                self.check_claims(&pull.receiver.begin().snapshot)?;
                step
            }
            Step::Done { reply } => {
                self.on_pulled(link, channel, &pull, reply);
                return Ok(());
            }
            Step::Unresolved => {
                self.links.get_mut(&link).expect("it is there").by_key = true;
                self.give_up_pull(link, channel);
                return Ok(());
            }
            step => step,
        };
        if let Some(state) = self.links.get_mut(&link) {
            state.pull = Some(pull);
        }
        self.on_step(link, channel, step);
        Ok(())
    }

    /// Keeps pieces of large values, and puts those that are whole into their entries.
    fn assemble(&mut self, message: Message) -> Assembled {
        match message {
            Message::Piece(piece) => self.assembly.take(&piece).map_or(Assembled::Lost, |()| Assembled::Kept),
            Message::Chunk(entries) => self
                .assembly
                .complete(entries)
                .map_or(Assembled::Lost, |whole| Assembled::Message(Message::Chunk(whole))),
            message => Assembled::Message(message),
        }
    }

    /// Another pull says what is there.
    fn give_up_pull(&mut self, link: LinkId, channel: u64) {
        self.outputs.push_back(Output::Reset { link, channel });
        self.end_catch_up(link, channel);
        self.want_pull(link, false);
    }

    fn check_message(&self, message: &Message) -> Result<(), String> {
        match message {
            Message::Chunk(entries) => entries.contexts().iter().try_for_each(|pair| self.check_claims(&pair.context)),
            _ => Ok(()),
        }
    }

    fn on_step(&mut self, link: LinkId, channel: u64, step: Step) {
        match step {
            Step::Begun { catch_up: true } => {
                debug!(link = link.0, "catch-up begins");
                self.meters.catch_ups.started += 1;
                self.catching_up = Some((link, channel));
            }
            Step::Begun { catch_up: false } | Step::Waiting | Step::Done { .. } | Step::Unresolved => {}
            Step::Joined(received) => self.received.add(received),
            Step::Reply(message) => self.send(link, channel, &message, None),
        }
    }

    /// A push builds on what this node has not got. If it is pulling from that peer, that is probably what the pull brings:
    /// the entries are joined, pending, and the snapshot counts when the pull is over. Otherwise the peer believed too much.
    pub(super) fn defer(&mut self, link: LinkId, base: CausalContext, snapshot: CausalContext) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.pull.is_none() {
            return self.correct(link);
        }
        match &mut state.deferred {
            Some(deferred) => deferred.extend(&base, &snapshot),
            None => state.deferred = Some(Deferred { base, snapshot }),
        }
    }

    /// Pulls that pushes were deferred for are over, in whatever way.
    pub(super) fn take_in_deferred(&mut self) {
        let over = self.links.iter_mut().filter(|(_, state)| state.pull.is_none() && state.deferred.is_some());
        let over: Vec<_> = over.filter_map(|(link, state)| Some((*link, state.deferred.take()?))).collect();
        for (link, deferred) in over {
            if !self.map.context().includes(&deferred.base) {
                self.correct(link);
            } else if self.is_writable() {
                let before = self.map.context_sum();
                self.map.incorporate(&deferred.snapshot);
                self.on_context_grown(before);
            }
        }
    }

    /// Tells a peer what this node has, in place of what it believed.
    fn correct(&mut self, link: LinkId) {
        let context = self.map.context().clone();
        self.send(link, CONTROL, &Message::Context { context, replace: true }, None);
    }

    fn on_pulled(&mut self, link: LinkId, channel: u64, pull: &Pulling, reply: Option<Message>) {
        self.synced_once = true;
        debug!(took_ms = self.now.instant.since(pull.begun).as_millis() as u64, "pull over");
        self.meters.pulls.finished += 1;
        self.meters.catch_ups.finished += u64::from(self.catching_up == Some((link, channel)));
        self.meters.pull_micros.add_micros(self.now.instant.since(pull.begun));
        if let Some(state) = self.links.get_mut(&link) {
            state.learn(&pull.receiver.begin().snapshot);
        }
        match reply {
            // A reset could overtake it.
            Some(reply) => {
                self.send(link, channel, &reply, None);
                self.outputs.push_back(Output::Finish { link, channel });
            }
            None => self.outputs.push_back(Output::Reset { link, channel }),
        }
        self.end_catch_up(link, channel);
    }

    pub(super) fn end_catch_up(&mut self, link: LinkId, channel: u64) {
        if self.catching_up != Some((link, channel)) {
            return;
        }
        debug!(link = link.0, "catch-up over");
        self.catching_up = None;
    }

    pub(super) fn give_up_stuck_pulls(&mut self) {
        let (now, timeout) = (self.now.instant, self.config.pull_timeout);
        let stuck = |pull: &mut Pulling| now >= pull.last_progress + timeout;
        let stuck: Vec<_> =
            self.links.iter_mut().filter_map(|(link, state)| Some((*link, state.pull.take_if(stuck)?))).collect();
        for (link, pull) in stuck {
            debug!(link = link.0, "a pull made no progress and is given up");
            self.outputs.push_back(Output::Reset { link, channel: pull.channel });
            self.end_catch_up(link, pull.channel);
        }
    }

    pub(super) fn next_pull_timeout(&self) -> Option<Instant> {
        let pulls = self.links.values().filter_map(|state| state.pull.as_ref());
        pulls.map(|pull| pull.last_progress + self.config.pull_timeout).min()
    }

    // --- As sender

    pub(super) fn on_sender_frame(&mut self, link: LinkId, channel: u64, frame: &Bytes) -> Result<(), String> {
        let _span = debug_span!("sync", channel).entered();
        let message = codec::decode(frame, None).map_err(|e| e.to_string())?;
        let Some(state) = self.links.get_mut(&link).filter(|state| state.is_up()) else { return Ok(()) };
        state.count_received(&message, frame, 0);
        match message {
            Message::Pull(pull) if !state.sending.contains_key(&channel) => {
                if pull.by_key {
                    state.keys_until = self.now.instant + KEYS_FOR;
                }
                if state.sending.len() >= SENDING_MAX {
                    return Err("too many pulls at once".to_owned());
                }
                let sender = Sender::new(&mut self.map, &pull).with_chunk_entries(self.config.chunk_entries);
                state.sending.insert(channel, Sending { sender, pace: Pace::of_pull() });
                self.meters.served.started += 1;
                debug!("the peer pulls");
            }
            message => {
                // A pull that has been answered, or was reset: what is left of it on the way is nobody's fault.
                let Some(sending) = state.sending.get_mut(&channel) else { return Ok(()) };
                sending.sender.on_message(&mut self.map, &message).map_err(|e| e.to_string())?;
            }
        }
        let base = state.sending.get(&channel).and_then(|sending| sending.sender.base().cloned());
        if let Some(base) = base {
            state.learn(&base);
            self.check_claims(&base)?;
        }
        if !self.close_sending(link, channel) {
            self.pump(link, channel);
        }
        Ok(())
    }

    /// Gives the transport as many frames as it takes.
    pub(super) fn pump(&mut self, link: LinkId, channel: u64) {
        loop {
            let Some(state) = self.links.get_mut(&link) else { return };
            let Some(sending) = state.sending.get_mut(&channel) else { return };
            if sending.pace.in_flight() >= IN_FLIGHT_MAX {
                return;
            }
            sending.sender.set_chunk_bytes(sending.pace.bytes());
            let next = sending.sender.next(&self.map);
            let begun = sending.sender.begin().clone();
            if let Some(message) = &next {
                if matches!(message, Message::Begin(_)) {
                    // All of the snapshot goes with the pull: only what is written from now on is pushed.
                    state.expected = Some(Expected { channel, context: begun.snapshot.clone() });
                    state.pushed = self.any_version;
                }
                self.send(link, channel, message, Some(&begun));
            }
            if self.close_sending(link, channel) || next.is_none() {
                return;
            }
        }
    }

    /// Whether a pull that is answered was over, and now is gone.
    fn close_sending(&mut self, link: LinkId, channel: u64) -> bool {
        let Some(state) = self.links.get_mut(&link) else { return true };
        let Some(sending) = state.sending.get_mut(&channel) else { return true };
        self.reconciled.add(sending.sender.take_counts());
        let (finished, given_up) = (sending.sender.is_finished(), sending.sender.is_given_up());
        if !finished && !given_up {
            return false;
        }
        state.end_sending(channel, finished);
        self.meters.served.finished += u64::from(finished);
        if finished {
            self.outputs.push_back(Output::Finish { link, channel });
        } else {
            self.outputs.push_back(Output::Reset { link, channel });
        }
        true
    }

    // --- Both

    pub(super) fn on_ended(&mut self, link: LinkId, channel: u64) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.is_theirs(channel) {
            // The receiver wants nothing more, whether it has all or gave up. It never only ends its own side.
            state.end_sending(channel, false);
        } else if state.pull.take_if(|pull| pull.channel == channel).is_some() {
            state.pull_wanted = true;
            self.end_catch_up(link, channel);
        }
        self.outputs.push_back(Output::Reset { link, channel });
    }

    /// The link is gone, or will be: what was under way on it is over. What has arrived stays.
    pub(super) fn drop_syncs(&mut self, link: LinkId) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.sending.clear();
        (state.expected, state.deferred) = (None, None);
        state.pull_wanted = false;
        state.pull = None;
        // Also of a pull whose last frame broke the protocol, and which is no longer there.
        if let Some((_, channel)) = self.catching_up.filter(|(catching_up, _)| *catching_up == link) {
            self.end_catch_up(link, channel);
        }
    }
}
