//! Peers that are heard again after a silence: what they push is held for a while before it is joined, for links that
//! flap. Not responsible for finding out that a link is silent: whoever drives the node sees every sign of life.
//!
//! Only what changes the state is held: pushes, in their order; pulls from such a peer wait. What it asks for it gets, and
//! this node's own writes go out.

use super::{Node, Output};
use crate::crdt::{Delta, ReplicaId};
use crate::proto::link::{Link, LinkId};
use crate::proto::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::debug;

/// A peer that gave no sign of life for so long is heard again by the next one.
const SILENCE: Duration = Duration::from_millis(700);
/// So many pushes of a link are held,
const HELD_FRAMES_MAX: usize = 256;
/// of so many bytes. Beyond either they are dropped, and pulled afterwards.
const HELD_BYTES_MAX: usize = 4 << 20;
/// So many peers are remembered across their links.
const PEERS_MAX: usize = 1024;

/// When peers were heard.
#[derive(Debug, Default)]
pub(super) struct Holding(BTreeMap<ReplicaId, Peer>);

#[derive(Clone, Copy, Debug)]
struct Peer {
    heard: Instant,
    /// Until when what it sends is held.
    until: Option<Instant>,
}

impl Holding {
    fn peer(&mut self, id: ReplicaId, now: Instant) -> &mut Peer {
        if !self.0.contains_key(&id) && self.0.len() >= PEERS_MAX {
            let longest_silent = self.0.iter().min_by_key(|(_, peer)| peer.heard).map(|(id, _)| *id);
            longest_silent.map(|id| self.0.remove(&id));
        }
        self.0.entry(id).or_insert(Peer { heard: now, until: None })
    }

    fn silence(&self, id: ReplicaId, now: Instant) -> Duration {
        self.0.get(&id).map_or(Duration::ZERO, |peer| now.since(peer.heard))
    }
}

impl Node {
    /// A sign of life on a link, after so long without one.
    pub(super) fn on_heard(&mut self, link: LinkId, silence: Duration) {
        if let Some(id) = self.links.get(&link).filter(|state| state.is_up()).and_then(|state| state.identity) {
            self.hear(id, silence);
        }
    }

    /// A link has come up: of a peer that had one before, it may end a silence.
    pub(super) fn hear_anew(&mut self, id: ReplicaId) {
        self.hear(id, self.holding.silence(id, self.now.instant));
    }

    /// The peer was there until now, as far as is known.
    pub(super) fn hear(&mut self, id: ReplicaId, silence: Duration) {
        if self.config.link_settle.is_zero() {
            return;
        }
        let now = self.now.instant;
        let peer = self.holding.peer(id, now);
        peer.heard = now;
        if silence >= SILENCE {
            peer.until = Some(now + self.config.link_settle);
            debug!(peer = %id, ?silence, "heard again: what it sends is held");
            self.give_up_pulls_from(id);
        }
    }

    /// Whether what comes on the link has to wait.
    pub(super) fn is_held(&self, link: LinkId) -> bool {
        let Some(state) = self.links.get(&link) else { return false };
        let peer = state.identity.and_then(|id| self.holding.0.get(&id));
        peer.is_some_and(|peer| peer.until.is_some_and(|until| self.now.instant < until))
    }

    /// Holds a push, whose frame was so long.
    pub(super) fn hold(&mut self, link: LinkId, push: Delta, bytes: usize) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.held.len() < HELD_FRAMES_MAX && state.held_bytes + bytes <= HELD_BYTES_MAX {
            state.held.push(push);
            state.held_bytes += bytes;
        } else {
            // A push builds on those before it: without one of them the others are of little use.
            (state.held, state.held_bytes) = (Vec::new(), 0);
            state.pull_wanted = true;
        }
    }

    fn give_up_pulls_from(&mut self, id: ReplicaId) {
        let of_peer = self.links.iter_mut().filter(|(_, state)| state.is_with(id));
        let pulls: Vec<_> = of_peer.filter_map(|(link, state)| Some((*link, state.pull.take()?))).collect();
        for (link, pull) in pulls {
            self.outputs.push_back(Output::Reset { link, channel: pull.channel });
            self.end_catch_up(link, pull.channel);
            if let Some(state) = self.links.get_mut(&link) {
                state.pull_wanted = true;
            }
        }
    }

    /// Takes in what was held for long enough.
    pub(super) fn release_held(&mut self) {
        let now = self.now.instant;
        let due = |peer: &mut Peer| peer.until.take_if(|until| *until <= now).is_some();
        let due: Vec<ReplicaId> = self.holding.0.iter_mut().filter_map(|(id, peer)| due(peer).then_some(*id)).collect();
        for id in due {
            debug!(peer = %id, "what it sent is joined");
            let of_peer = self.links.iter_mut().filter(|(_, state)| state.is_with(id) && state.is_up());
            let held = of_peer.map(|(link, state)| {
                state.held_bytes = 0;
                (*link, std::mem::take(&mut state.held))
            });
            let held: Vec<_> = held.collect();
            held.into_iter().for_each(|(link, pushes)| self.take_in(link, pushes));
        }
    }

    fn take_in(&mut self, link: LinkId, pushes: Vec<Delta>) {
        for push in pushes {
            let open = |state: &&Link| !state.closing;
            if self.links.get(&link).filter(open).is_none() {
                return;
            }
            let result = self.on_push(link, push);
            self.close_if_broken(link, result);
        }
    }

    pub(super) fn next_release(&self) -> Option<Instant> {
        self.holding.0.values().filter_map(|peer| peer.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Key;
    use crate::proto::config::NodeConfig;
    use crate::proto::node::Input;
    use crate::proto::time::Now;
    use std::collections::BTreeSet;

    const LINK: LinkId = LinkId(1);
    const SETTLE: Duration = Duration::from_secs(3);

    /// A and B with one link, on which everything arrives at once; A holds what B sends after a silence.
    struct Pair {
        nodes: [Node; 2],
        ms: u64,
        /// The ends that have been told that a channel is over: they are told once.
        ended: BTreeSet<(usize, LinkId, u64)>,
    }

    impl Pair {
        fn new() -> Self {
            let config = |number: u128| NodeConfig { boot: 1, ..NodeConfig::new(ReplicaId::from(number)) };
            let a = Node::new(NodeConfig { link_settle: SETTLE, ..config(1) }, now(0));
            let mut pair = Self { nodes: [a, Node::new(config(2), now(0))], ms: 0, ended: BTreeSet::new() };
            pair.connect(LINK);
            pair
        }

        fn connect(&mut self, link: LinkId) {
            for who in [0, 1] {
                let (dialed, address) = (who == 0, format!("{}", 1 - who));
                let identity = ReplicaId::from(2 - who as u128);
                self.nodes[who].handle(
                    now(self.ms),
                    Input::Connected {
                        link,
                        address,
                        dialed,
                        identity: Some(identity),
                        key: crate::proto::KeyId::default(),
                    },
                );
            }
            self.deliver();
            self.run_for(2_000);
        }

        fn tell(&mut self, who: usize, input: Input) {
            self.nodes[who].handle(now(self.ms), input);
            self.deliver();
        }

        fn deliver(&mut self) {
            while let Some((who, output)) =
                (0..2).find_map(|who| self.nodes[who].poll_output().map(|output| (who, output)))
            {
                let (other, now) = (1 - who, now(self.ms));
                match output {
                    Output::Send { link, channel, frame } => {
                        self.nodes[who].handle(now, Input::Sent { link, channel });
                        self.nodes[other].handle(now, Input::Frame { link, channel, frame });
                    }
                    Output::Reset { link, channel } | Output::Finish { link, channel } => {
                        if !self.ended.insert((other, link, channel)) {
                            continue;
                        }
                        self.nodes[other].handle(now, Input::Ended { link, channel });
                    }
                    Output::Dial { .. } | Output::Close { .. } => {}
                }
            }
        }

        fn run_for(&mut self, ms: u64) {
            for _ in 0..ms / 10 {
                self.ms += 10;
                self.tell(0, Input::Timeout);
                self.tell(1, Input::Timeout);
            }
        }

        fn put(&mut self, who: usize, key: &[u8]) {
            self.nodes[who].put(now(self.ms), Key::usr(key), b"1", None);
            self.deliver();
            self.run_for(50);
        }

        fn has(&self, who: usize, key: &[u8]) -> bool {
            self.nodes[who].map().get(Key::usr(key), self.ms).is_some()
        }

        fn heard_after(&mut self, ms: u64) {
            self.tell(0, Input::Heard { link: LINK, silence: Duration::from_millis(ms) });
        }

        fn lose_link(&mut self, link: LinkId) {
            for who in [0, 1] {
                self.tell(who, Input::Disconnected { link });
            }
        }
    }

    fn now(ms: u64) -> Now {
        Now { instant: Instant::from_micros(ms * 1_000), wall_ms: ms }
    }

    #[test]
    fn what_a_peer_sends_after_a_silence_is_joined_later_and_in_order() {
        let mut pair = Pair::new();
        pair.put(1, b"before");
        assert!(pair.has(0, b"before"), "the first contact is no return");
        pair.heard_after(700);
        pair.put(1, b"one");
        pair.put(1, b"two");
        pair.put(0, b"own");
        pair.run_for(2_500);
        assert!(!pair.has(0, b"one") && !pair.has(0, b"two"));
        assert!(pair.has(0, b"before") && pair.has(1, b"own"), "what this node has it shows and sends");
        pair.run_for(1_000);
        assert!(pair.has(0, b"one") && pair.has(0, b"two"));
        pair.put(1, b"three");
        assert!(pair.has(0, b"three"), "and nothing is held any more");
    }

    #[test]
    fn a_shorter_silence_is_none() {
        let mut pair = Pair::new();
        pair.heard_after(699);
        pair.put(1, b"one");
        assert!(pair.has(0, b"one"));
    }

    #[test]
    fn another_silence_begins_the_time_anew() {
        let mut pair = Pair::new();
        pair.heard_after(1_000);
        pair.put(1, b"one");
        pair.run_for(2_000);
        pair.heard_after(1_000);
        pair.run_for(2_000);
        assert!(!pair.has(0, b"one"));
        pair.run_for(1_100);
        assert!(pair.has(0, b"one"));
    }

    #[test]
    fn a_new_link_after_a_lost_one_is_a_return_and_pulls_wait_too() {
        let mut pair = Pair::new();
        pair.lose_link(LINK);
        pair.put(1, b"alone");
        pair.run_for(700);
        pair.connect(LinkId(2));
        assert!(!pair.has(0, b"alone"), "after 2 s of 3");
        pair.run_for(1_500);
        assert!(pair.has(0, b"alone"));
    }

    #[test]
    fn more_than_can_be_held_is_pulled_afterwards() {
        let mut pair = Pair::new();
        pair.heard_after(1_000);
        for number in 0..HELD_FRAMES_MAX as u32 + 10 {
            pair.nodes[1].put(now(pair.ms), Key::usr(&number.to_be_bytes()), b"1", None);
            pair.deliver();
            pair.run_for(10);
        }
        let held = pair.nodes[0].links[&LINK].held.len();
        assert!(held < HELD_FRAMES_MAX, "{held}");
        assert!(!pair.has(0, &0_u32.to_be_bytes()));
        pair.run_for(3_000);
        assert!((0..HELD_FRAMES_MAX as u32 + 10).all(|number| pair.has(0, &number.to_be_bytes())));
    }

    #[test]
    fn without_the_setting_nothing_is_held() {
        let mut pair = Pair::new();
        pair.nodes[0].config.link_settle = Duration::ZERO;
        pair.heard_after(10_000);
        pair.put(1, b"one");
        assert!(pair.has(0, b"one"));
    }
}
