//! What people are told of a node's doings. Not responsible for any of them.

use super::Node;
use crate::crdt::{Change, Received};
use crate::proto::ledger::Ledger;
use crate::proto::link::Role;
use crate::proto::meters::Meters;
use crate::proto::reconcile::Reconciled;
use std::time::Duration;

/// What is under way on the links, at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Links that stay,
    pub active: u64,
    /// and those on which two only meet.
    pub passing: u64,
    /// Pulls that this node has asked for,
    pub pulls: u64,
    /// among them catch-ups.
    pub catch_ups: u64,
    /// Pulls of peers.
    pub served: u64,
    /// What a peer is known to lack of what is here, at most, in dots.
    pub lag_max: u64,
}

impl Node {
    /// What it has done since its start. Costs nothing.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// How comparisons in pulls have ended, and what they took. Costs nothing.
    pub fn reconciled(&self) -> Reconciled {
        self.reconciled
    }

    /// What became of the dots received. Costs nothing.
    pub fn received(&self) -> Received {
        self.received
    }

    /// What the bytes of all frames were for since the start: of those sent, and of those received.
    /// Linear in the links.
    pub fn ledgers(&self) -> [Ledger; 2] {
        let mut ledgers = self.past;
        for link in self.links.values() {
            ledgers[0].join(&link.sent);
            ledgers[1].join(&link.received);
        }
        ledgers
    }

    /// What is under way now. Linear in the links, and in the replicas at most for each.
    pub fn under_way(&self) -> UnderWay {
        let mut all = UnderWay { catch_ups: u64::from(self.catching_up.is_some()), ..UnderWay::default() };
        for link in self.links.values() {
            all.pulls += u64::from(link.pull.is_some());
            all.served += link.sending.len() as u64;
            if !link.is_up() {
                continue;
            }
            match link.role {
                Role::Active => all.active += 1,
                Role::Passing => all.passing += 1,
            }
            let lag = link.known.as_ref().map_or(0, |known| self.map.context().count_missing_from(known));
            all.lag_max = all.lag_max.max(lag);
        }
        all
    }

    /// A push has brought these: how long the last of them was on its way, if the clocks agree.
    pub(super) fn measure_push(&mut self, changes: &[Change]) {
        let Some(change) = changes.iter().rev().find(|change| change.dot.is_some()) else { return };
        let key = crate::crdt::Key { section: change.section, bytes: &change.key };
        if let Some(reading) = self.map.read(key, self.now.wall_ms) {
            let late_ms = self.now.wall_ms.saturating_sub(reading.timestamp.millis());
            self.meters.push_micros.add_micros(Duration::from_millis(late_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Key, ReplicaId};
    use crate::proto::config::NodeConfig;
    use crate::proto::link::LinkId;
    use crate::proto::meters::Course;
    use crate::proto::node::{Input, Output};
    use crate::proto::time::{Instant, Now};
    use std::collections::BTreeSet;

    const WALL_MS: u64 = 1_700_000_000_000;

    /// A and B, between whom everything arrives at once, as long as frames are left to be carried.
    struct Pair {
        nodes: [Node; 2],
        ms: u64,
        frames_left: usize,
        ended: BTreeSet<(usize, LinkId, u64)>,
    }

    impl Pair {
        fn new() -> Self {
            let node = |number: u128| {
                let config = NodeConfig { boot: 1, chunk_entries: 10, ..NodeConfig::new(ReplicaId::from(number)) };
                Node::new(config, at(0))
            };
            Self { nodes: [node(1), node(2)], ms: 0, frames_left: usize::MAX, ended: BTreeSet::new() }
        }

        fn connect(&mut self, link: LinkId) {
            for who in [0, 1] {
                let identity = ReplicaId::from(2 - who as u128);
                let address = format!("{}", 1 - who);
                self.nodes[who].handle(
                    at(self.ms),
                    Input::Connected {
                        link,
                        address,
                        dialed: who == 0,
                        identity: Some(identity),
                        key: crate::proto::KeyId::default(),
                    },
                );
            }
            self.run();
        }

        fn disconnect(&mut self, link: LinkId) {
            self.nodes.iter_mut().for_each(|node| node.handle(at(self.ms), Input::Disconnected { link }));
            self.deliver();
        }

        fn run(&mut self) {
            for _ in 0..300 {
                self.ms += 10;
                self.nodes.iter_mut().for_each(|node| node.handle(at(self.ms), Input::Timeout));
                self.deliver();
            }
        }

        fn deliver(&mut self) {
            let next = |nodes: &mut [Node; 2]| (0..2).find_map(|who| Some((who, nodes[who].poll_output()?)));
            while let Some((who, output)) = next(&mut self.nodes) {
                let (other, now) = (1 - who, at(self.ms));
                match output {
                    Output::Send { link, channel, frame } if self.frames_left > 0 => {
                        self.frames_left -= 1;
                        self.nodes[who].handle(now, Input::Sent { link, channel });
                        self.nodes[other].handle(now, Input::Frame { link, channel, frame });
                    }
                    Output::Reset { link, channel } | Output::Finish { link, channel } => {
                        if self.ended.insert((other, link, channel)) {
                            self.nodes[other].handle(now, Input::Ended { link, channel });
                        }
                    }
                    Output::Send { .. } | Output::Dial { .. } | Output::Close { .. } => {}
                }
            }
        }
    }

    fn at(ms: u64) -> Now {
        Now { instant: Instant::from_micros(ms * 1_000), wall_ms: WALL_MS + ms }
    }

    #[test]
    fn a_pull_that_is_cut_off_counts_as_interrupted_and_the_next_as_finished() {
        let mut pair = Pair::new();
        for number in 0..5_000_u32 {
            pair.nodes[0].put(at(0), Key::usr(&number.to_be_bytes()), b"on", None);
        }
        pair.frames_left = 40;
        pair.connect(LinkId(1));
        assert_eq!(pair.nodes[1].under_way().pulls, 1);
        assert_eq!(pair.nodes[0].under_way().served, 1);
        assert_eq!(pair.nodes[1].meters().pulls, Course { started: 1, finished: 0 });
        pair.disconnect(LinkId(1));
        let interrupted = |node: &Node| node.meters().pulls.interrupted(node.under_way().pulls);
        assert_eq!(interrupted(&pair.nodes[1]), 1);
        let served = pair.nodes[0].meters().served;
        assert_eq!(served.interrupted(pair.nodes[0].under_way().served), 1);

        pair.frames_left = usize::MAX;
        pair.connect(LinkId(2));
        let [a, b] = &pair.nodes;
        assert_eq!((b.map().counts().keys, b.under_way().pulls), (a.map().counts().keys, 0));
        assert!(b.meters().pulls.finished >= 1);
        assert_eq!((interrupted(b), b.meters().pull_micros.count()), (1, b.meters().pulls.finished));
        assert_eq!(a.meters().served.finished, b.meters().pulls.finished);
        assert_eq!((b.meters().links_up, b.meters().links_lost), (2, 1));
        assert_eq!((a.meters().puts, b.meters().catch_ups), (5_000, Course::default()));
    }

    #[test]
    fn suspicions_and_what_takes_them_back_are_counted() {
        let mut pair = Pair::new();
        pair.connect(LinkId(1));
        pair.disconnect(LinkId(1));
        pair.run();
        let of = |pair: &Pair| pair.nodes.each_ref().map(|node| *node.meters());
        assert_eq!(of(&pair).map(|meters| (meters.suspected, meters.written_down, meters.refuted)), [(1, 1, 0); 2]);
        pair.connect(LinkId(2));
        assert!(of(&pair).iter().all(|meters| meters.refuted >= 1 && meters.suspected == 1));
    }

    #[test]
    fn a_catch_up_and_a_late_push_are_counted() {
        let mut pair = Pair::new();
        pair.connect(LinkId(1));
        pair.disconnect(LinkId(1));
        pair.nodes[0].put(at(pair.ms), Key::usr(b"kettle"), b"on", None);
        pair.nodes[0].delete(at(pair.ms), Key::usr(b"kettle"));
        // Its tombstone is forgotten before B has heard of it.
        let hours = pair.nodes[0].config().retention.keep_ms * 2;
        pair.ms += hours;
        pair.run();
        pair.connect(LinkId(2));
        assert_eq!(pair.nodes[1].meters().catch_ups, Course { started: 1, finished: 1 });
        assert_eq!(pair.nodes[0].meters().deletes, 1);

        let before = pair.nodes[1].meters().push_micros;
        let written = pair.ms;
        pair.nodes[0].put(at(written), Key::usr(b"lamp"), b"on", None);
        pair.ms += 700;
        pair.run();
        let after = pair.nodes[1].meters().push_micros;
        assert_eq!(after.count(), before.count() + 1);
        assert!((500_000..=1_000_000).contains(&(after.sum() - before.sum())), "{after:?}");
    }
}
