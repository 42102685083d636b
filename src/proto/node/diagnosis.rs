//! How this node differs from another, and what a sync would cost, found out without doing it. Not responsible for
//! carrying to the one what the other says: a tool does.

use super::Node;
use crate::crdt::{CausalContext, DotSet, KeyList, ReplicaId, Section};
use crate::proto::codec;
use crate::proto::message::{Message, Pull};
use crate::proto::sync::Sender;

/// So many entries are made ready; what more would cost is in proportion.
const ENTRIES_MAX: usize = 10_000;
/// So many keys are named.
const KEYS_MAX: usize = 100;

/// What a node says of itself to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its replica.
    pub id: ReplicaId,
    /// What people call it.
    pub name: String,
    /// Its context.
    pub context: CausalContext,
    /// Its truncation bound.
    pub truncated: CausalContext,
    /// Keys that are ahead of the context.
    pub pending: u64,
    /// How many dots are live there.
    pub live: u64,
    /// The first coded symbols of those, as they go over the wire.
    pub symbols: Vec<u8>,
}

/// What another node lacks of what this one has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Whose writes: the replica, the other's counter of it, and ours.
    pub replicas: Vec<(ReplicaId, u64, u64)>,
    /// How many writes.
    pub dots: u64,
    /// How many keys a sync would bring.
    pub entries: u64,
    /// How many dots are live there and dead here; `None` if they are too many to tell.
    pub dead: Option<u64>,
    /// The first of the keys.
    pub keys: Vec<(Section, Vec<u8>)>,
    /// Whether the sync would have to compare what both hold.
    pub catch_up: bool,
    /// What the sync would take in frames, both ways, about.
    pub bytes: u64,
}

impl Node {
    /// What another node needs to know of this one to say how the two differ.
    pub fn side(&self) -> Side {
        Side {
            id: self.map.id(),
            name: self.config.name.clone(),
            context: self.map.context().clone(),
            truncated: self.map.truncated().clone(),
            pending: self.map.pending() as u64,
            live: self.map.live_dots().count() as u64,
            symbols: Vec::new(),
        }
    }

    /// What another node lacks of what this one has. Cost: what differs.
    pub fn difference(&self, theirs: &Side) -> Difference {
        let ours = self.map.context();
        let lacking = ours.missing_from(&theirs.context);
        let replicas = lacking.map(|dot| (dot.replica, theirs.context.get(dot.replica), dot.counter)).collect();
        let pull = Pull { base: theirs.context.clone(), have: DotSet::new(), catch_up: false };
        let mut keys = self.map.keys_since(&pull.base, &pull.have);
        let entries = keys.len() as u64;
        Difference {
            replicas,
            dots: ours.count_missing_from(&theirs.context),
            entries,
            dead: Some(0),
            keys: first_of(&mut keys),
            catch_up: self.map.needs_catch_up(&pull.base),
            bytes: self.cost_of(&pull, entries),
        }
    }

    /// Makes the frames of a sync as far as that goes.
    fn cost_of(&self, pull: &Pull, entries: u64) -> u64 {
        let mut sender = Sender::new(&self.map, pull).with_chunk_entries(self.config.chunk_entries);
        let asked = codec::encode(&Message::Pull(pull.clone()), None).len() as u64;
        let (mut bytes, mut of_entries, mut made) = (asked, 0, 0);
        while let Some(message) = sender.next(&self.map) {
            let frame = codec::encode(&message, Some(sender.begin())).len() as u64;
            match &message {
                Message::Chunk(chunk) => (of_entries, made) = (of_entries + frame, made + chunk.len()),
                _ => bytes += frame,
            }
            if made >= ENTRIES_MAX || matches!(message, Message::Done { .. }) {
                break;
            }
        }
        let all = if made == 0 { 0.0 } else { of_entries as f64 * (entries as f64 / made as f64).max(1.0) };
        bytes + all as u64
    }
}

fn first_of(keys: &mut KeyList) -> Vec<(Section, Vec<u8>)> {
    let keys = std::iter::from_fn(|| keys.pop().map(|key| (key.section, key.bytes.to_vec())));
    keys.take(KEYS_MAX).collect()
}
