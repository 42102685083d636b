//! Which addresses to dial, and when. Not responsible for connections: `node` knows which peers are linked.

use super::config::NodeConfig;
use super::durable::{RememberedPeer, RememberedPeers};
use super::time::Instant;
use crate::crdt::ReplicaId;
use rand::Rng;
use rand::seq::SliceRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many times rarer dials who was dialled before, for the case that the peer cannot reach it any more.
const CALLED_PATIENCE: u32 = 16;

/// Who does not answer so many attempts is taken for gone.
const UNREACHABLE_TRIES: u32 = 20;

/// So many addresses are remembered across restarts.
const REMEMBERED_MAX: usize = 32;

/// Addresses, and who is barred.
#[derive(Debug, Default)]
pub(crate) struct DialTable {
    pub(crate) targets: BTreeMap<String, Target>,
    barred_addresses: BTreeSet<String>,
    barred_ids: BTreeSet<ReplicaId>,
    /// Grows with each change of what is to be remembered.
    version: u64,
}

/// An address to dial.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Given by hand or configuration, or remembered, or else learned from a member's record.
    pub(crate) given: bool,
    /// Linked for long, once: it is probed for ever.
    pub(crate) anchor: bool,
    /// Given by hand, to be remembered.
    pub(crate) by_hand: bool,
    /// Given since somebody was barred: whoever answers there is let in.
    pub(crate) lets_in: bool,
    /// Who answered there last.
    pub(crate) id: Option<ReplicaId>,
    /// It is this node's own address.
    pub(crate) own: bool,
    /// The peer has dialled the link that was lost.
    called: bool,
    next: Instant,
    /// When it was dialled last.
    dialed: Option<Instant>,
    lost: Instant,
    wait: Duration,
    /// How often it was dialled since somebody answered.
    tries: u32,
}

impl Target {
    /// Between two attempts. Whoever has dialled the link that was lost does so again, and the other seldom: where both dial at
    /// once, one handshake of two is for nothing, and on a thin link it holds up the other.
    fn redial(&self, config: &NodeConfig) -> Duration {
        if self.called { (config.redial * CALLED_PATIENCE).min(config.redial_max) } else { config.redial }
    }

    /// It was dialled, not long ago: until when that counts.
    fn under_way(&self, now: Instant, config: &NodeConfig) -> Option<Instant> {
        self.dialed.map(|dialed| dialed + config.redial).filter(|end| *end > now)
    }

    fn dial(&mut self, now: Instant, config: &NodeConfig) {
        let fast = now.since(self.lost) < config.redial_fast_for;
        self.wait = match (self.own, fast) {
            (true, _) => config.anchor_every,
            (false, true) => self.redial(config),
            (false, false) => (self.wait * 2).max(config.redial).min(config.redial_max),
        };
        (self.next, self.dialed) = (now + self.wait, Some(now));
        self.tries = self.tries.saturating_add(1);
    }
}

impl DialTable {
    /// Adds an address, which is no longer barred if it was. Whether it is new.
    pub(crate) fn add(&mut self, address: &str, given: bool, id: Option<ReplicaId>, first: Instant) -> bool {
        if given && self.barred_addresses.remove(address) {
            self.version += 1;
        }
        if let Some(target) = self.targets.get_mut(address) {
            let new = given && !target.given;
            target.given |= given;
            return new;
        }
        self.version += 1;
        let target = Target {
            given,
            anchor: false,
            by_hand: false,
            lets_in: false,
            id,
            own: false,
            called: false,
            next: first,
            dialed: None,
            lost: first,
            wait: Duration::ZERO,
            tries: 0,
        };
        self.targets.insert(address.to_owned(), target);
        true
    }

    /// Bars addresses and an id until the address is added again.
    pub(crate) fn bar(&mut self, addresses: impl IntoIterator<Item = String>, id: Option<ReplicaId>) {
        for address in addresses {
            self.targets.remove(&address);
            self.barred_addresses.insert(address);
        }
        self.barred_ids.extend(id);
        self.version += 1;
    }

    pub(crate) fn unbar(&mut self, id: ReplicaId) {
        if self.barred_ids.remove(&id) {
            self.version += 1;
        }
    }

    /// Somebody has asked for the address at run time: a settled bar does not count there.
    pub(crate) fn let_in(&mut self, address: &str) {
        if let Some(target) = self.targets.get_mut(address) {
            target.lets_in = true;
        }
    }

    /// The address was added by hand: it is remembered as such.
    pub(crate) fn keep(&mut self, address: &str) {
        if let Some(target) = self.targets.get_mut(address).filter(|target| !target.by_hand) {
            target.by_hand = true;
            self.version += 1;
        }
    }

    /// The address is no longer given: it stays as long as it is of use, as a learned one does.
    pub(crate) fn release(&mut self, address: &str) {
        if let Some(target) = self.targets.get_mut(address).filter(|target| target.given && !target.by_hand) {
            target.given = false;
            self.version += 1;
        }
    }

    pub(crate) fn is_barred(&self, address: &str, id: Option<ReplicaId>) -> bool {
        self.barred_addresses.contains(address) || id.is_some_and(|id| self.barred_ids.contains(&id))
    }

    /// Somebody answered at an address that was dialled.
    pub(crate) fn on_answer(&mut self, address: &str, id: ReplicaId) {
        self.answered(address, id, false);
    }

    /// This node itself answered there. It is not dialled before `again`; but then, as an address may come to lead elsewhere:
    /// behind that of a balancer there is somebody else each time. Whether it is news.
    pub(crate) fn on_own_answer(&mut self, address: &str, id: ReplicaId, again: Instant) -> bool {
        let news = self.answered(address, id, true);
        if let Some(target) = self.targets.get_mut(address) {
            target.next = again;
        }
        news
    }

    fn answered(&mut self, address: &str, id: ReplicaId, own: bool) -> bool {
        let Some(target) = self.targets.get_mut(address) else { return false };
        target.tries = 0;
        let news = (target.id, target.own) != (Some(id), own);
        (target.id, target.own) = (Some(id), own);
        self.version += u64::from(news);
        news
    }

    /// The link to a peer is lost, which it or we had `dialed`: its addresses are tried anew, soon.
    pub(crate) fn on_lost(&mut self, id: ReplicaId, dialed: bool, now: Instant, config: &NodeConfig) {
        for target in self.targets.values_mut().filter(|target| target.id == Some(id)) {
            (target.called, target.lost, target.wait) = (!dialed, now, config.redial);
            target.next = target.next.max(now + target.redial(config));
        }
    }

    /// The addresses to dial now: those with nobody linked who answered there. Each attempt is a new one: an
    /// old one may still run, but waits longer and longer between its own retransmissions. No more than `at_once` are
    /// under way, one after the other: a node that returns to many would else be busy with handshakes until none is done in time.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        config: &NodeConfig,
        at_once: usize,
        rng: &mut impl Rng,
        linked: impl Fn(ReplicaId) -> bool,
    ) -> Vec<String> {
        let wanted = |target: &Target| !target.id.is_some_and(&linked);
        let (mut due, others): (Vec<_>, Vec<_>) =
            self.targets.iter_mut().filter(|(_, target)| wanted(target)).partition(|(_, target)| target.next <= now);
        let mut ends: Vec<Instant> = others.iter().filter_map(|(_, target)| target.under_way(now, config)).collect();
        let room = at_once.saturating_sub(ends.len()).min(due.len());
        if due.len() > room {
            due.shuffle(rng);
            due.sort_by_key(|(_, target)| target.dialed);
        }
        due.iter_mut().take(room).for_each(|(_, target)| target.dial(now, config));
        ends.extend((room > 0).then_some(now + config.redial));
        // Whoever is passed over is due again with the first of those that were not, and then goes before it.
        let again = ends.into_iter().min().unwrap_or(now + config.redial);
        due.iter_mut().skip(room).for_each(|(_, target)| target.next = again);
        due.into_iter().take(room).map(|(address, _)| address.clone()).collect()
    }

    /// Those at addresses where nobody has answered the last so many attempts.
    pub(crate) fn unreachable(&self, addresses: &[String]) -> Vec<ReplicaId> {
        let targets = addresses.iter().filter_map(|address| self.targets.get(address));
        targets
            .filter(|target| !target.own && target.tries == UNREACHABLE_TRIES)
            .filter_map(|target| target.id)
            .collect()
    }

    /// All addresses but the own ones, and who has answered there.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, Option<ReplicaId>)> {
        let others = self.targets.iter().filter(|(_, target)| !target.own);
        others.map(|(address, target)| (address.as_str(), target.id))
    }

    /// Whether there is nobody to dial but this node itself, as far as is known.
    pub(crate) fn are_own(&self) -> bool {
        self.targets.values().all(|target| target.own)
    }

    /// Those that were not given.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = (&str, Option<ReplicaId>)> {
        let anchors = self.targets.iter().filter(|(_, target)| target.anchor && !target.given);
        anchors.map(|(address, target)| (address.as_str(), target.id))
    }

    /// Remembers an address for ever, as long as there are not more than so many; `doomed` makes room if there are.
    pub(crate) fn add_anchor(
        &mut self,
        address: &str,
        id: ReplicaId,
        now: Instant,
        max: usize,
        doomed: Option<String>,
    ) {
        if self.targets.contains_key(address) {
            return;
        }
        if self.anchors().count() >= max {
            let Some(doomed) = doomed else { return };
            self.targets.remove(&doomed);
        }
        self.add(address, false, Some(id), now);
        self.targets.get_mut(address).into_iter().for_each(|target| target.anchor = true);
    }

    /// All are due, as after the loss of a link.
    pub(crate) fn all_due(&mut self, now: Instant, config: &NodeConfig) {
        for target in self.targets.values_mut() {
            (target.next, target.lost, target.wait) = (now, now, config.redial);
        }
    }

    /// Gives up an address where nobody has ever answered.
    pub(crate) fn give_up(&mut self, address: &str) {
        if self.targets.get(address).is_some_and(|target| target.id.is_none() && !target.by_hand) {
            self.targets.remove(address);
            self.version += 1;
        }
    }

    /// When the next is due.
    pub(crate) fn next(&self, linked: impl Fn(ReplicaId) -> bool) -> Option<Instant> {
        let waiting = self.targets.values().filter(|target| !target.id.is_some_and(&linked));
        waiting.map(|target| target.next).min()
    }

    /// Forgets learned addresses that are no longer of use.
    pub(crate) fn retain_learned(&mut self, useful: impl Fn(&str) -> bool) {
        let before = self.targets.len();
        self.targets.retain(|address, target| target.given || target.anchor || target.own || useful(address));
        self.version += u64::from(before != self.targets.len());
    }

    /// What is to be known again after a restart, and a number that changes with it.
    pub(crate) fn remembered(&self) -> (RememberedPeers, u64) {
        let worth = self.targets.iter().filter(|(_, target)| !target.own && (target.by_hand || target.id.is_some()));
        let peer = |(address, target): (&String, &Target)| RememberedPeer {
            address: address.clone(),
            by_hand: target.by_hand,
            id: target.id,
        };
        let peers = RememberedPeers {
            addresses: worth.map(peer).take(REMEMBERED_MAX).collect(),
            barred_addresses: self.barred_addresses.iter().cloned().collect(),
            barred_ids: self.barred_ids.iter().copied().collect(),
        };
        (peers, self.version)
    }

    /// The number that changes with what is to be remembered.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What was remembered at the last run.
    pub(crate) fn recall(&mut self, peers: RememberedPeers, now: Instant) {
        self.barred_addresses = peers.barred_addresses.into_iter().collect();
        self.barred_ids = peers.barred_ids.into_iter().collect();
        // Of those to join, too: only who is added again is let in.
        self.targets.retain(|address, _| !self.barred_addresses.contains(address));
        for peer in peers.addresses {
            // No address is given up on by time alone.
            self.add(&peer.address, peer.by_hand, peer.id, now);
            if peer.by_hand {
                self.keep(&peer.address);
                self.let_in(&peer.address);
            } else if let Some(target) = self.targets.get_mut(&peer.address) {
                target.anchor = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// It would be due again at once, for as long as nobody answers.
    #[test]
    fn an_address_that_was_known_for_long_and_never_dialled_is_dialled_with_pauses() {
        let (config, mut rng) = (NodeConfig::new(ReplicaId::from(1)), StdRng::seed_from_u64(1));
        let (mut dials, mut now) = (DialTable::default(), Instant::from_micros(0));
        dials.add_anchor("a:1", ReplicaId::from(2), now, 1, None);
        now = now + config.redial_fast_for * 2;
        let mut dialed = 0;
        for _ in 0..600 {
            dialed += dials.due(now, &config, 4, &mut rng, |_| false).len();
            now = now + Duration::from_millis(100);
        }
        assert_eq!(dialed, 10, "after 0.5, 1, 2, 4, 8 s, and then every 10 s");
    }

    #[test]
    fn of_many_addresses_few_are_dialled_at_once_and_all_of_them_in_time() {
        let (config, mut rng) = (NodeConfig::new(ReplicaId::from(1)), StdRng::seed_from_u64(1));
        let (mut dials, mut dialed) = (DialTable::default(), BTreeSet::new());
        // Not all known at the same moment: their turns would else come together.
        (0..40).for_each(|port| _ = dials.add(&format!("a:{port}"), false, None, Instant::from_micros(port * 7_000)));
        let mut now = Instant::from_micros(0);
        for _ in 0..200 {
            let next = dials.next(|_| false).expect("some are not linked");
            now = now.max(next);
            let due = dials.due(now, &config, 4, &mut rng, |_| false);
            dialed.extend(due);
            let under_way = dials.targets.values().filter(|target| target.under_way(now, &config).is_some()).count();
            assert!(under_way <= 4, "{under_way} at {now:?}");
            assert!(dials.next(|_| false) > Some(now), "nothing is due now that was passed over");
        }
        assert_eq!(dialed.len(), 40);
    }
}
