//! What clients' sessions rely on: what they have read is not taken back by a crash, and whoever has a dot that stands for
//! a context has that. Not responsible for tokens.

use crate::oracle::{Name, Names};
use crate::world::{World, name, names, number_of, usr};
use tidings::Key;

/// A dot that some node has taken for nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StandIn {
    dot: Name,
    context: Names,
    /// Until then it is in no token.
    durable: bool,
}

impl World {
    /// A client reads a key, and is answered if that is durable. Whether it is.
    pub(crate) fn read(&mut self, who: usize, key: usize) -> bool {
        let (bytes, node) = (usr(key), &self.members[who].node);
        let durable = node.commit_of(Key::usr(&bytes)) <= node.durable_commit();
        assert!(durable || node.is_writable(), "a read waits for a disk that takes nothing");
        if durable {
            self.read.extend(node.map().registers(Key::usr(&bytes)).iter().map(|(dot, _)| name(*dot)));
        }
        durable
    }

    /// All writes of a node after this one are lost.
    pub(crate) fn check_read(&self, who: usize, last: u64) {
        let lost = self.read.iter().find(|name| name.0 == who && name.1 > last);
        assert!(lost.is_none(), "a client has read {lost:?} at node {who}, which has lost all after {last}");
    }

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
