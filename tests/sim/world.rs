//! Nodes under the eyes of the oracle: after each step that may have changed a map, it is looked at. Not responsible for
//! what comes over links: `dense` and `timed` are; nor for disks: `kept` is.

use crate::clients::StandIn;
use crate::kept::Storage;
use crate::oracle::{History, Left, Name, Names, Shown, ShownKey};

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use tidings::crdt::{Clock, EntriesBuilder};
use tidings::proto::config::NodeConfig;
use tidings::proto::node::Node;
use tidings::proto::time::Now;
use tidings::{CausalContext, Dot, Key, OrMap, ReplicaId, Section};

/// When the stories begin, in milliseconds since 1970.
pub(crate) const START: u64 = Clock::VALID_FROM_MS + 1_000_000;

/// The replica of that number.
pub(crate) fn id(number: usize) -> ReplicaId {
    ReplicaId::from(number as u128 + 1)
}

/// The number of a replica.
pub(crate) fn number_of(id: ReplicaId) -> usize {
    usize::from(id.as_bytes()[15]) - 1
}

pub(crate) fn name(dot: Dot) -> Name {
    (number_of(dot.replica), dot.counter)
}

pub(crate) fn names(context: &CausalContext) -> Names {
    let mut names = Names::default();
    context.iter().map(name).for_each(|(replica, counter)| names.0[replica] = counter);
    names
}

/// `T` with the key's pending bound: what an entry is sent with.
fn bound_of(map: &OrMap, key: Key<'_>) -> CausalContext {
    if map.pending() == 0 {
        return map.truncated().clone();
    }
    let mut builder = EntriesBuilder::default();
    builder.push(map, key);
    builder.finish().contexts()[0].bound.clone()
}

/// The bytes of a user's key of that number.
pub(crate) fn usr(number: usize) -> Vec<u8> {
    format!("key{number}").into_bytes()
}

/// Where the node of that number listens.
pub(crate) fn address(number: usize) -> String {
    format!("n{number}")
}

/// A node, its clocks, and what it was last seen to show.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) now: Now,
    /// Contexts it has had, as peers may remember them.
    pub(crate) past: Vec<CausalContext>,
    /// Gone for good; its replica id is never used again.
    pub(crate) gone: bool,
    /// Where its state is kept, if it is.
    pub(crate) storage: Option<Storage>,
    shown: Shown,
}

/// All nodes there were, by the number of their replica.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) members: Vec<Member>,
    pub(crate) history: History,
    /// What somebody will know who is made of a backup.
    pub(crate) backed_up: Names,
    /// What clients have read.
    pub(crate) read: BTreeSet<Name>,
    /// Dots that stand for contexts.
    pub(crate) stand_ins: Vec<StandIn>,
    /// Users' keys, then the members' records.
    keys: Vec<(Section, Vec<u8>)>,
    usr_keys: usize,
    values: u64,
    /// Ran out of looking: for phases whose steps were looked at in other runs.
    pub(crate) blind: bool,
    /// Nobody looks at any time: for runs of more nodes than the oracle has room for.
    pub(crate) unwatched: bool,
}

impl World {
    pub(crate) fn new(usr_keys: usize) -> Self {
        let keys = (0..usr_keys).map(|number| (Section::Usr, usr(number))).collect();
        Self { keys, usr_keys, ..Self::default() }
    }

    /// A node with the next replica id; `config` is given that and its address.
    pub(crate) fn add(&mut self, now: Now, config: impl FnOnce(&mut NodeConfig)) -> usize {
        self.add_with(now, None, config, Node::new)
    }

    /// The same of a node that is made in some other way.
    pub(crate) fn add_with(
        &mut self,
        now: Now,
        storage: Option<Storage>,
        config: impl FnOnce(&mut NodeConfig),
        make: impl FnOnce(NodeConfig, Now) -> Node,
    ) -> usize {
        let number = self.members.len();
        let mut own = NodeConfig::new(id(number));
        own.name = format!("node {number}");
        own.address = address(number);
        own.boot = number as u64 + 1;
        config(&mut own);
        self.keys.push((Section::Sys, format!("members/{}", id(number)).into_bytes()));
        for member in &mut self.members {
            let context = member.shown.context;
            member.shown.keys.push(ShownKey { context, now: member.now.wall_ms, ..ShownKey::default() });
        }
        let node = make(own, now);
        self.members.push(Member { node, now, past: Vec::new(), gone: false, storage, shown: Shown::default() });
        self.look_after(number, 0);
        number
    }

    pub(crate) fn map(&self, who: usize) -> &OrMap {
        self.members[who].node.map()
    }

    pub(crate) fn config(&self, who: usize) -> &NodeConfig {
        self.members[who].node.config()
    }

    /// All that are not gone.
    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|&who| !self.members[who].gone).collect()
    }

    /// Something happens to a node that may change its map.
    pub(crate) fn act<R>(&mut self, who: usize, act: impl FnOnce(&mut Node, Now) -> R) -> R {
        let before = self.own_counter(who);
        let member = &mut self.members[who];
        self.history.see_clock(member.now.wall_ms);
        let result = act(&mut member.node, member.now);
        self.look_after(who, before);
        result
    }

    pub(crate) fn own_counter(&self, who: usize) -> u64 {
        self.map(who).context().get(id(who))
    }

    /// Puts the writes that the node has made since `before` on record, and checks what it shows.
    pub(crate) fn look_after(&mut self, who: usize, before: u64) {
        if self.unwatched {
            return;
        }
        let after = self.own_counter(who);
        if self.blind && after == before {
            return;
        }
        let shown = self.look(who);
        for counter in before.max(self.history.void_of(who)) + 1..=after {
            self.record((who, counter), &shown);
        }
        self.members[who].shown = shown;
        if !self.blind {
            self.check(who);
        }
    }

    /// A node writes nothing before it joins what has come with the same step: what a write had seen is what the node
    /// shows now, without its own writes from that one on.
    fn record(&mut self, name: Name, shown: &Shown) {
        let of_key = |entry: &ShownKey| entry.live.iter().find(|live| live.0 == name).map(|live| live.1);
        let found = shown.keys.iter().zip(0..).find_map(|(entry, key)| Some((key, of_key(entry)?)));
        let (key, left) = found.expect("a write is live in a known key right after it was made");
        let mut before = shown.clone();
        before.context.0[name.0] = name.1 - 1;
        before.keys.iter_mut().for_each(|entry| entry.context.0[name.0] = name.1 - 1);
        self.history.record(name, key, left, &before);
    }

    pub(crate) fn look(&self, who: usize) -> Shown {
        self.look_at(self.map(who), self.members[who].now.wall_ms)
    }

    pub(crate) fn look_at(&self, map: &OrMap, now: u64) -> Shown {
        if self.unwatched {
            return Shown::default();
        }
        let audit = map.audit();
        let context = names(map.context());
        let pending = map.pending() > 0;
        let have = pending.then(|| map.have());
        let look_at = |(section, bytes): &(Section, Vec<u8>)| {
            let key = Key { section: *section, bytes };
            let context = if pending { names(&map.context_of(key)) } else { context };
            let registers = map.registers(key).into_iter();
            let left = |value: Option<&[u8]>, deadline| Left { value: value.map(number_in), deadline };
            ShownKey {
                context,
                bound: names(&bound_of(map, key)),
                live: registers.map(|(dot, r)| (name(dot), left(r.value.as_deref(), r.deadline))).collect(),
                read: map.read(key, now).map(|r| (name(r.dot), number_in(r.value), r.siblings)),
                now,
            }
        };
        Shown {
            context,
            keys: self.keys.iter().map(look_at).collect(),
            pending_keys: map.pending(),
            beyond: have.is_some_and(|have| !have.is_empty() || !map.keys_since(map.context(), &have).is_empty()),
            audit: [audit.context, audit.state, audit.pending],
        }
    }

    fn check(&self, who: usize) {
        self.check_gate(who);
        let own = &self.members[who].shown;
        let judged = self.history.check(own).and_then(|()| self.check_stand_ins(&own.context));
        judged.unwrap_or_else(|what| panic!("node {who}: {what}"));
        for (other, member) in self.members.iter().enumerate().filter(|(other, m)| *other != who && !m.gone) {
            let judged = self.history.check_pair(own, &member.shown);
            judged.unwrap_or_else(|what| panic!("nodes {who} and {other}: {what}"));
        }
    }

    /// Looks at every node now.
    pub(crate) fn check_all(&mut self) {
        for who in self.alive() {
            self.members[who].shown = self.look(who);
            self.check(who);
        }
    }

    /// All of these show the same, have nothing pending, and know all writes that anybody of them knows.
    pub(crate) fn agree(&self, all: &[usize]) -> Result<(), String> {
        let first = self.look(all[0]);
        for &who in all {
            let shown = self.look(who);
            if shown.context != first.context {
                return Err(format!("nodes {} and {who}: {:?} {:?}", all[0], first.context, shown.context));
            }
            if self.map(who).audit() != self.map(all[0]).audit() {
                return Err(format!("nodes {} and {who}: sums differ", all[0]));
            }
            self.history.check_pair(&first, &shown)?;
        }
        Ok(())
    }

    /// A node knows every write of all that are not gone.
    pub(crate) fn knows_all(&self, who: usize) -> Result<(), String> {
        let context = &self.members[who].shown.context;
        self.alive().into_iter().try_for_each(|writer| self.history.all_within(writer, context))
    }

    /// What the node shows as a whole, or of any key, is within this.
    pub(crate) fn known_by(&self, who: usize) -> Names {
        self.members[who].shown.known()
    }

    // --- Writes of users

    pub(crate) fn usr_keys(&self) -> usize {
        self.usr_keys
    }

    /// Puts a value that nobody has put before.
    pub(crate) fn put(&mut self, who: usize, key: usize, deadline: Option<u64>) -> u64 {
        self.values += 1;
        let value = self.values;
        let bytes = usr(key);
        let dot = self.act(who, |node, now| node.put(now, Key::usr(&bytes), &value.to_le_bytes(), deadline));
        self.tell_client(who, dot);
        value
    }

    pub(crate) fn delete(&mut self, who: usize, key: usize) -> Option<Dot> {
        let bytes = usr(key);
        let dot = self.act(who, |node, now| node.delete(now, Key::usr(&bytes)))?;
        self.tell_client(who, dot);
        Some(dot)
    }

    /// The value that the key shows.
    pub(crate) fn get(&self, who: usize, key: usize) -> Option<u64> {
        self.map(who).get(Key::usr(&usr(key)), self.members[who].now.wall_ms).map(number_in)
    }

    /// A node loses all that it had. What nobody else has heard of was never written.
    pub(crate) fn lose(&mut self, who: usize) {
        self.members[who].gone = true;
        self.forget_unknown();
    }
}

/// Users' values are numbers, the nodes' own records are told apart by their hash.
fn number_in(value: &[u8]) -> u64 {
    value.try_into().map_or_else(
        |_| {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        },
        u64::from_le_bytes,
    )
}
