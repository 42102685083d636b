//! Dots that stand for contexts, in tokens of sessions: whoever has the one has all of the other. Not responsible for
//! tokens.

use crate::oracle::{Name, Names};
use crate::world::{World, names, number_of};

/// A dot that some node has taken for nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StandIn {
    dot: Name,
    context: Names,
    /// Until then it is in no token.
    durable: bool,
}

impl World {
    /// The node takes a dot that stands for all that it has.
    pub(crate) fn stand_in(&mut self, who: usize) {
        let before = self.own_counter(who);
        let member = &mut self.members[who];
        let Some(taken) = member.node.stand_in(member.now) else { return };
        self.history.make_void(who, taken.dot.counter);
        self.look_after(who, before);
        let dot = (number_of(taken.dot.replica), taken.dot.counter);
        let durable = !self.is_kept(who);
        self.stand_ins.push(StandIn { dot, context: names(&taken.context), durable });
    }

    /// What was durable when the node's own counter was that is so now.
    pub(crate) fn stand_ins_are_durable(&mut self, who: usize, counter: u64) {
        let theirs = self.stand_ins.iter_mut().filter(|taken| taken.dot.0 == who && taken.dot.1 <= counter);
        theirs.for_each(|taken| taken.durable = true);
    }

    /// What was not durable is taken back.
    pub(crate) fn forget_stand_ins(&mut self, who: usize) {
        self.stand_ins.retain(|taken| taken.durable || taken.dot.0 != who);
    }

    pub(crate) fn check_stand_ins(&self, shown: &Names) -> Result<(), String> {
        let lies = |taken: &&StandIn| taken.durable && shown.contains(taken.dot) && !shown.includes(&taken.context);
        self.stand_ins
            .iter()
            .find(lies)
            .map_or(Ok(()), |taken| Err(format!("has the dot of {taken:?}, and only {shown:?}")))
    }
}
