//! Which addresses to dial, and when. Not responsible for connections: `node` knows which peers are linked.

use super::config::NodeConfig;
use super::time::Instant;
use crate::crdt::ReplicaId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In a cluster of up to so many others, every alive member is dialled, not only the addresses given.
pub(crate) const LEARNED_MAX: usize = 8;

/// Addresses, and who is barred.
#[derive(Debug, Default)]
pub(crate) struct DialTable {
    pub(crate) targets: BTreeMap<String, Target>,
    barred_addresses: BTreeSet<String>,
    barred_ids: BTreeSet<ReplicaId>,
}

/// An address to dial.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Given by hand or configuration, or else learned from a member's record.
    pub(crate) given: bool,
    /// Who answered there last.
    pub(crate) id: Option<ReplicaId>,
    /// It is this node's own address.
    pub(crate) own: bool,
    next: Instant,
    lost: Instant,
    wait: Duration,
}

impl DialTable {
    /// Adds an address, which is no longer barred if it was. Whether it is new.
    pub(crate) fn add(&mut self, address: &str, given: bool, id: Option<ReplicaId>, first: Instant) -> bool {
        if given {
            self.barred_addresses.remove(address);
        }
        if let Some(target) = self.targets.get_mut(address) {
            let new = given && !target.given;
            target.given |= given;
            return new;
        }
        let target = Target { given, id, own: false, next: first, lost: first, wait: Duration::ZERO };
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
    }

    pub(crate) fn unbar(&mut self, id: ReplicaId) {
        self.barred_ids.remove(&id);
    }

    pub(crate) fn is_barred(&self, address: &str, id: Option<ReplicaId>) -> bool {
        self.barred_addresses.contains(address) || id.is_some_and(|id| self.barred_ids.contains(&id))
    }

    /// Somebody answered at an address that was dialled.
    pub(crate) fn on_answer(&mut self, address: &str, id: ReplicaId, own: bool) {
        if let Some(target) = self.targets.get_mut(address) {
            (target.id, target.own) = (Some(id), own);
        }
    }

    /// The link to a peer is lost: its addresses are tried anew, soon.
    pub(crate) fn on_lost(&mut self, id: ReplicaId, now: Instant, config: &NodeConfig) {
        for target in self.targets.values_mut().filter(|target| target.id == Some(id)) {
            (target.lost, target.wait) = (now, config.redial);
            target.next = target.next.max(now + config.redial);
        }
    }

    /// The addresses to dial now: not our own, and with nobody linked who answered there. Each attempt is a new one: an
    /// old one may still run, but waits longer and longer between its own retransmissions.
    pub(crate) fn due(&mut self, now: Instant, config: &NodeConfig, linked: impl Fn(ReplicaId) -> bool) -> Vec<String> {
        let mut due = Vec::new();
        for (address, target) in &mut self.targets {
            if target.own || target.id.is_some_and(&linked) || target.next > now {
                continue;
            }
            let fast = now.since(target.lost) < config.redial_fast_for;
            target.wait = if fast { config.redial } else { (target.wait * 2).min(config.redial_max) };
            target.next = now + target.wait;
            due.push(address.clone());
        }
        due
    }

    /// When the next is due.
    pub(crate) fn next(&self, linked: impl Fn(ReplicaId) -> bool) -> Option<Instant> {
        let waiting = self.targets.values().filter(|target| !target.own && !target.id.is_some_and(&linked));
        waiting.map(|target| target.next).min()
    }

    /// Forgets learned addresses that are no longer of use.
    pub(crate) fn retain_learned(&mut self, useful: impl Fn(&str) -> bool) {
        self.targets.retain(|address, target| target.given || target.own || useful(address));
    }
}
