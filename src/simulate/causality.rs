//! Whether what a node has incorporated is causally closed: with a write all that its writer had incorporated when it made
//! it. Not responsible for what the map shows of it.

use crate::crdt::{CausalContext, ReplicaId};
use std::collections::BTreeMap;

/// With more nodes than this it is not looked at: each write keeps a context.
const NODES_MAX: usize = 64;

/// What was incorporated where each write was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Causality {
    /// By writer: the counters of its writes and the contexts that they were made on, in order. Each includes those before.
    made: BTreeMap<ReplicaId, Vec<(u64, CausalContext)>>,
    is_on: bool,
    wrong: Option<String>,
}

impl Causality {
    pub(super) fn new(nodes: usize) -> Self {
        Self { is_on: nodes <= NODES_MAX, ..Self::default() }
    }

    /// The writer's context, the write included.
    pub(super) fn note(&mut self, replica: ReplicaId, counter: u64, context: &CausalContext) {
        if self.is_on {
            self.made.entry(replica).or_default().push((counter, context.clone()));
        }
    }

    /// A node has incorporated this, and had what was `before` when this was asked last. Of each writer that something has come
    /// of its last write there says it for those before.
    pub(super) fn look(&mut self, who: usize, before: &CausalContext, context: &CausalContext) {
        if !self.is_on || self.wrong.is_some() {
            return;
        }
        for dot in context.missing_from(before) {
            let Some(made) = self.made.get(&dot.replica) else { continue };
            let last = made.partition_point(|(number, _)| *number <= dot.counter).checked_sub(1).map(|at| &made[at]);
            if let Some((number, needed)) = last.filter(|(_, needed)| !context.includes(needed)) {
                let missing = needed.missing_from(context).next();
                let missing = missing.map_or_else(String::new, |dot| dot.to_string());
                self.wrong =
                    Some(format!("node {who} has {}:{number} and not {missing}, which its writer had", dot.replica));
                return;
            }
        }
    }

    /// The first thing that was wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        self.wrong.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Cluster, Settings};

    fn context(counters: &[(u128, u64)]) -> CausalContext {
        counters.iter().map(|&(id, counter)| (ReplicaId::from(id), counter)).collect()
    }

    #[test]
    fn a_write_without_what_its_writer_had_is_told() {
        let mut causality = Causality::new(3);
        causality.note(ReplicaId::from(2), 1, &context(&[(2, 1)]));
        causality.note(ReplicaId::from(2), 2, &context(&[(1, 5), (2, 2)]));
        let one = context(&[(1, 4), (2, 1)]);
        causality.look(0, &context(&[]), &one);
        causality.look(0, &one, &context(&[(1, 5), (2, 2)]));
        assert_eq!(causality.check(), Ok(()));
        causality.look(0, &one, &context(&[(1, 4), (2, 2)]));
        assert!(causality.check().is_err_and(|what| what.starts_with("node 0 has")));
    }

    #[test]
    fn what_comes_to_the_nodes_of_a_cluster_is_looked_at() {
        let mut cluster = Cluster::new(Settings { nodes: 2, ..Settings::default() });
        cluster.run_until_converged(60_000_000).expect("they come together");
        let dot = cluster.put(0, 1, 8).expect("it runs");
        // As if its writer had had what nobody has.
        cluster.causality.note(dot.replica, dot.counter, &context(&[(99, 1)]));
        assert_eq!(cluster.causality.check(), Ok(()));
        cluster.run_until_converged(60_000_000).expect("the write comes to the other");
        assert!(cluster.causality.check().is_err_and(|what| what.starts_with("node 1 has")));
    }
}
