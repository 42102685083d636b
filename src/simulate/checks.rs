//! What is demanded of a cluster. Not responsible for when: during faults, after them, or whenever somebody asks.

use super::cluster::Cluster;
use crate::crdt::{Audit, OrMap};
use std::collections::BTreeMap;

/// How often a cluster that is to converge is looked at.
const LOOK_EVERY_US: u64 = 10_000;

impl Cluster {
    fn maps(&self) -> impl Iterator<Item = (usize, &OrMap)> {
        self.machines.iter().enumerate().filter_map(|(who, machine)| Some((who, machine.node.as_ref()?.map())))
    }

    /// All nodes that run hold the same, and every write that is left is everywhere.
    pub fn is_converged(&self) -> bool {
        if self.machines.iter().any(|machine| machine.boots == 0) {
            return false;
        }
        let mut audits = self.maps().map(|(_, map)| map.audit());
        let Some(first) = audits.next() else { return true };
        self.spread.open() == 0 && audits.all(|audit| audit == first)
    }

    /// Lets happen what is due until all agree; after how many microseconds that was, to a hundredth of a second.
    pub fn run_until_converged(&mut self, within_us: u64) -> Option<u64> {
        let start_us = self.now_us;
        while !self.is_converged() {
            if self.now_us >= start_us + within_us {
                return None;
            }
            self.run_for(LOOK_EVERY_US.min(start_us + within_us - self.now_us));
        }
        Some(self.now_us - start_us)
    }

    /// How many nodes hold what most hold.
    pub fn agreeing(&self) -> usize {
        let mut groups = BTreeMap::<_, usize>::new();
        self.maps().for_each(|(_, map)| *groups.entry(key(map.audit())).or_default() += 1);
        groups.into_values().max().unwrap_or(0)
    }

    /// Equal contexts mean equal states, at any moment.
    ///
    /// # Errors
    ///
    /// Two nodes for which that is not so.
    pub fn check_sums(&self) -> Result<(), String> {
        let mut states = BTreeMap::new();
        for (who, map) in self.maps() {
            let audit = map.audit();
            if audit.pending != 0 {
                continue;
            }
            let (other, state) = *states.entry(audit.context).or_insert((who, audit.state));
            if state != audit.state {
                return Err(format!("nodes {other} and {who} have equal contexts and unequal states"));
            }
        }
        Ok(())
    }

    /// Of a cluster that has converged: no write of a survivor is lost, nothing that was replaced or deleted is back.
    ///
    /// # Errors
    ///
    /// What is not so.
    pub fn check(&self) -> Result<(), String> {
        self.check_sums()?;
        if !self.is_converged() {
            let (agreeing, up) = (self.agreeing(), self.maps().count());
            return Err(format!("{agreeing} of {up} nodes agree, {} writes are not everywhere", self.spread.open()));
        }
        let Some((_, map)) = self.maps().next() else { return Ok(()) };
        self.causality.check()?;
        self.log.check(map, self.latest_ms(), |who, dot| {
            self.machines[who].replica == dot.replica && self.machines[who].node.is_some()
        })
    }
}

fn key(audit: Audit) -> (u64, u64, u64) {
    (audit.context, audit.state, audit.pending)
}
