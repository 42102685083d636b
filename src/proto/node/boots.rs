//! Which processes have said hello under a peer's id: what tells a restart from a clone. Not responsible for links.
//!
//! Each process draws a number at its start. Of one that is restarted a new number comes, perhaps before the old link has
//! timed out, and the old number never comes again. Of two that run from copies of one disk, the one that was put out of
//! its link by the other comes back with the number that it had. Both are then refused until only one of them still tries:
//! they write under the same names, so whatever is taken from the one is lost of the other.

use crate::crdt::ReplicaId;
use crate::proto::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many processes of a peer are remembered: more than are ever copies of one disk, but for a cluster of mistakes.
const BOOTS_MAX: usize = 8;
/// And so many peers.
const PEERS_MAX: usize = 1024;

/// What to make of a process that says hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    /// Nobody else runs with that id, as far as is known.
    Alone,
    /// It takes turns with another, which is news.
    Clone,
    /// That was known, and one of the others has tried lately.
    StillClone,
}

/// What was heard of whom.
#[derive(Debug, Default)]
pub(super) struct Boots {
    peers: BTreeMap<ReplicaId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// The last to say hello is the last here.
    heard: Vec<Heard>,
    cloned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    boot: u64,
    at: Instant,
}

impl Boots {
    /// A process says hello. Another that has not tried for `stopped` is taken for stopped.
    pub(super) fn on_hello(&mut self, id: ReplicaId, boot: u64, now: Instant, stopped: Duration) -> Boot {
        if !self.peers.contains_key(&id) && self.peers.len() >= PEERS_MAX {
            self.forget_one();
        }
        let peer = self.peers.entry(id).or_default();
        let known = peer.cloned;
        let position = peer.heard.iter().position(|heard| heard.boot == boot);
        if position.is_some_and(|position| position + 1 < peer.heard.len()) {
            peer.cloned = true;
            // Those that came after it may have been linked until now.
            peer.heard.iter_mut().for_each(|heard| heard.at = now);
        }
        peer.heard.retain(|heard| heard.boot != boot);
        if peer.cloned {
            peer.heard.retain(|heard| now < heard.at + stopped);
            peer.cloned = !peer.heard.is_empty();
        }
        if peer.heard.len() >= BOOTS_MAX {
            peer.heard.remove(0);
        }
        peer.heard.push(Heard { boot, at: now });
        match (known, peer.cloned) {
            (_, false) => Boot::Alone,
            (false, true) => Boot::Clone,
            (true, true) => Boot::StillClone,
        }
    }

    fn forget_one(&mut self) {
        let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.heard.last().map(|heard| heard.at));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.peers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: Duration = Duration::from_secs(30);

    /// Seconds, and who says hello; whether it is refused.
    fn hellos(hellos: &[(u64, u64)]) -> Vec<bool> {
        let (mut boots, id) = (Boots::default(), ReplicaId::from(1));
        let mut say = |&(second, boot)| boots.on_hello(id, boot, Instant::from_micros(second * 1_000_000), STOPPED);
        hellos.iter().map(|hello| say(hello) != Boot::Alone).collect()
    }

    #[test]
    fn a_restart_is_no_clone() {
        assert_eq!(hellos(&[(0, 1), (5, 1), (6, 2), (6, 3), (90_000, 3), (90_001, 4)]), [false; 6]);
    }

    #[test]
    fn who_comes_back_after_another_is_a_clone() {
        assert_eq!(hellos(&[(0, 1), (6, 2), (7, 1), (8, 2), (17, 1), (18, 2)]), [false, false, true, true, true, true]);
        assert_eq!(hellos(&[(0, 1), (6, 2), (90_000, 1), (90_001, 2)]), [false, false, true, true], "a day away");
    }

    #[test]
    fn who_is_left_when_the_others_are_stopped_may_stay() {
        let one_stops = [(0, 1), (6, 2), (7, 1), (17, 2), (27, 2), (37, 2), (47, 2)];
        assert_eq!(hellos(&one_stops), [false, false, true, true, true, false, false]);
    }
}
