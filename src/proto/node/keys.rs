//! The keys of the cluster while they are replaced: what this node says of its own, and links that were made with one that
//! is not accepted any more. Not responsible for keys, nor for proving anything with them: the runtime is.
//!
//! A link that was made with a key goes on while that is accepted. When it no longer is, the peer has to prove itself anew:
//! it is dialled, and the link that is made then takes the place of the old one, so that nothing is lost in between. If none
//! is made in time, the old one is closed all the same.

use super::{Node, Output};
use crate::crdt::ReplicaId;
use crate::proto::KeyId;
use crate::proto::link::{Link, LinkId, RETIRED};
use crate::proto::membership::{self, MemberState};
use crate::proto::time::{Instant, Now};
use tracing::info;

/// A peer has the time of so many redials to prove itself anew. In a quarter of it, it is dialled again: an attempt may be
/// lost.
const REDIALS: u32 = 8;

/// A link that is to be replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retiring {
    /// When the peer is dialled next,
    next: Instant,
    /// and when the link is closed.
    end: Instant,
}

impl Retiring {
    fn due(self) -> Instant {
        self.next.min(self.end)
    }
}

impl Node {
    /// The keys that are accepted from now on, the one that is presented first. Whoever drives the node lets no new connection
    /// in by any other.
    pub fn rekey(&mut self, now: Now, keys: Vec<KeyId>) {
        self.set_now(now);
        if keys != self.config.keys {
            self.config.keys = keys;
            self.own_record_changed = true;
            self.retire_links();
            self.remember_while_rotating();
        }
        self.on_time();
        self.settle();
    }

    /// How far the key of a link is from the one that this node presents: of two links the lower is the better one.
    pub(super) fn rank(&self, state: &Link) -> usize {
        self.config.keys.iter().position(|key| *key == state.key).unwrap_or(usize::MAX)
    }

    fn retire_links(&mut self) {
        let now = self.now.instant;
        let accepted = |state: &Link| self.config.keys.contains(&state.key);
        let old: Vec<LinkId> = self.links.iter().filter(|(_, state)| !accepted(state)).map(|(link, _)| *link).collect();
        for link in old {
            let Some(state) = self.links.get_mut(&link) else { continue };
            match state.is_up() {
                true => state.retiring = Some(Retiring { next: now, end: now + self.config.redial * REDIALS }),
                false => self.close_link(link, RETIRED.to_owned()),
            }
        }
        // Those that were to go stay, if their key is accepted again.
        let again = self.links.values_mut().filter(|state| self.config.keys.contains(&state.key));
        again.for_each(|state| state.retiring = None);
    }

    /// Dials the peers of links that are to go, and closes those that nothing has replaced.
    pub(super) fn replace_retiring(&mut self) {
        let now = self.now.instant;
        let due = |state: &Link| !state.closing && state.retiring.is_some_and(|retiring| retiring.due() <= now);
        let due: Vec<LinkId> = self.links.iter().filter(|(_, state)| due(state)).map(|(link, _)| *link).collect();
        for link in due {
            let Some(state) = self.links.get_mut(&link) else { continue };
            let Some(Retiring { end, .. }) = state.retiring.filter(|retiring| retiring.end > now) else {
                info!(address = state.address, "link closed: {RETIRED}");
                self.close_link(link, RETIRED.to_owned());
                self.drop_syncs(link);
                continue;
            };
            state.retiring = Some(Retiring { next: now + self.config.redial * (REDIALS / 4), end });
            let address = if state.dialed { Some(state.address.clone()) } else { None };
            let address = address.or_else(|| state.hello.as_ref().map(|hello| hello.address.clone()));
            self.outputs.extend(address.map(|address| Output::Dial { address }));
        }
    }

    pub(super) fn next_retirement(&self) -> Option<Instant> {
        let retiring = self.links.values().filter(|state| !state.closing).filter_map(|state| state.retiring);
        retiring.map(Retiring::due).min()
    }

    /// Whether a member that is down is remembered until the old keys are dropped: while it is not known to have the new one,
    /// whoever drops them should be told of it.
    pub(super) fn is_awaited(&self, keys: &[KeyId]) -> bool {
        self.config.keys.len() > 1 && self.config.keys.first().is_some_and(|new| !keys.contains(new))
    }

    /// Members that are down are forgotten after a while, but not while a key is being replaced that they lack. A start may be a
    /// step of that as well: where the keys are in the environment it is the only one.
    pub(super) fn remember_while_rotating(&mut self) {
        let down = self.members.iter().filter(|(_, record)| record.state == MemberState::Down);
        let wrong = |(id, record): &(ReplicaId, &membership::Record)| {
            self.members.expires(*id) == self.is_awaited(&record.keys)
        };
        let wrong: Vec<_> = down.filter(wrong).map(|(id, record)| (id, record.clone())).collect();
        wrong.into_iter().for_each(|(id, record)| self.write_record(id, &record));
    }

    /// Until when a record is kept, if not for ever.
    pub(super) fn deadline_of(&self, record: &membership::Record) -> Option<u64> {
        let is_kept = match record.state {
            MemberState::Alive | MemberState::Suspect => true,
            MemberState::Down => self.is_awaited(&record.keys),
            MemberState::Left => false,
        };
        (!is_kept).then(|| self.now.wall_ms.saturating_add(self.config.forget_member_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Clock;
    use crate::proto::config::NodeConfig;
    use crate::proto::durable::{Identity, Kept, Loader};
    use std::collections::BTreeMap;

    const OWN: ReplicaId = ReplicaId::from_bytes([1; 16]);
    const AWAY: ReplicaId = ReplicaId::from_bytes([2; 16]);

    fn at(ms: u64) -> Now {
        Now { instant: Instant::from_micros(ms * 1_000), wall_ms: 1_700_000_000_000 + ms }
    }

    fn keys<const N: usize>(names: [u8; N]) -> Vec<KeyId> {
        names.map(|name| KeyId::of_hash(&[name; 16])).to_vec()
    }

    /// A node that starts with these keys, and with what is on its disk.
    fn started(kept: Kept, keys: Vec<KeyId>, ms: u64) -> Node {
        let config = NodeConfig { cluster: [7; 16], keys, ..NodeConfig::new(OWN) };
        Node::kept(config, kept, at(ms))
    }

    /// What the node has written since the last time goes to its disk, and is read from there.
    fn kept(node: &mut Node, disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, ms: u64) -> Kept {
        let batch = node.begin_commit().expect("there is something to write");
        for (key, value) in batch.iter() {
            match value {
                Some(value) => _ = disk.insert(key.to_vec(), value.to_vec()),
                None => _ = disk.remove(key),
            }
        }
        node.end_commit(at(ms));
        let mut loader = Loader::new(Clock::DRIFT_MS);
        disk.iter().try_for_each(|(key, value)| loader.record(key, value)).expect("what a node has written");
        loader.finish().expect("what a node has written")
    }

    /// Where the keys are in the environment, each step is a restart, and nobody was forgotten ever again.
    #[test]
    fn who_is_awaited_in_a_rotation_by_restarts_is_forgotten_after_it() {
        let (identity, mut disk) = (Identity { replica: OWN, cluster: [7; 16] }, BTreeMap::new());
        let mut node = started(Kept::nothing(identity, Clock::DRIFT_MS), keys([1]), 0);
        let own = node.members.get(OWN).expect("it has written it").clone();
        let record = membership::Record { state: MemberState::Down, ..own };
        node.write_record(AWAY, &record);
        assert!(node.members.expires(AWAY));
        let mut node = started(kept(&mut node, &mut disk, 1), keys([2, 1]), 2);
        assert!(!node.members.expires(AWAY), "it lacks the new one, and the old one is to be dropped");
        let node = started(kept(&mut node, &mut disk, 3), keys([2]), 4);
        assert!(node.members.expires(AWAY));
    }
}
