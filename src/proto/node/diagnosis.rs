//! How this node differs from another, and what a sync would cost, found out without doing it. Not responsible for
//! carrying to the one what the other says: a tool does.

use super::Node;
use crate::crdt::{CausalContext, DotSet, KeyList, ReplicaId, Section};
use crate::proto::codec::{self, Compressing, FEATURE_ZSTD, FEATURES};
use crate::proto::message::{Message, Pull, Told};
use crate::proto::reconcile::{glance, symbols_to_show, told};
use crate::proto::sync::Sender;
use bytes::Bytes;

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
    /// Its sums: of the context, and of the live dots.
    pub audit: (u64, u64),
    /// Keys that are ahead of the context.
    pub pending: u64,
    /// The first coded symbols of its live dots, as a message.
    pub symbols: Bytes,
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
    /// The first of them.
    pub keys: Vec<(Section, Vec<u8>)>,
    /// How many dots are live there and dead here; `None` if they are too many to tell.
    pub gone: Option<u64>,
    /// The first keys of those that are live here and dead there.
    pub stale: Vec<(Section, Vec<u8>)>,
    /// Whether the sync would have to compare what both hold.
    pub catch_up: bool,
    /// What the sync would take in frames, both ways, about.
    pub bytes: u64,
}

impl Node {
    /// What another node needs to know of this one to say how the two differ. Linear in the replicas.
    pub fn side(&self) -> Side {
        let audit = self.map.audit();
        Side {
            id: self.map.id(),
            name: self.config.name.clone(),
            context: self.map.context().clone(),
            truncated: self.map.truncated().clone(),
            audit: (audit.context, audit.state),
            pending: self.map.pending() as u64,
            symbols: codec::encode(&Message::Symbols(symbols_to_show(&self.map)), None),
        }
    }

    /// What another node lacks of what this one has. An error if it has said of itself what no node says. Cost: what
    /// differs.
    pub fn difference(&mut self, theirs: &Side) -> Result<Difference, &'static str> {
        let Ok(Message::Symbols(shown)) = codec::decode(&theirs.symbols, None) else { return Err("no symbols") };
        let (base, ours) = (&theirs.context, self.map.context());
        let mut difference = Difference {
            replicas: ours.missing_from(base).map(|dot| (dot.replica, base.get(dot.replica), dot.counter)).collect(),
            dots: ours.count_missing_from(base),
            gone: Some(0),
            catch_up: self.map.needs_catch_up(base),
            ..Difference::default()
        };
        let mut keys = self.map.keys_since(base, &DotSet::new());
        difference.entries = keys.len() as u64;
        difference.keys = first_of(&mut keys);
        let audit = self.map.audit();
        let glance = glance(&self.map, base, &shown);
        if theirs.audit != (audit.context, audit.state) {
            difference.gone = glance.dead.as_ref().map(|(_, gone)| *gone);
            // What is deleted, and what has expired, is dropped at different times: it is no difference.
            let stale = glance.dead.map(|(dots, _)| self.map.keys_showing(&dots, self.now.wall_ms));
            difference.stale = stale.map(|mut keys| first_of(&mut keys)).unwrap_or_default();
        }
        difference.bytes = self.cost_of(theirs, difference.entries);
        difference.bytes += if difference.catch_up { glance.bytes } else { 0 };
        Ok(difference)
    }

    /// Makes the frames of a sync as far as that goes.
    fn cost_of(&mut self, theirs: &Side, entries: u64) -> u64 {
        let told = told(&self.map, &theirs.context, &theirs.truncated);
        let pull = Pull { told, ..Pull::default() };
        let mut bytes = codec::encode(&Message::Pull(pull), None).len() as u64;
        let told = Told::Whole { context: theirs.context.clone(), bound: theirs.truncated.clone() };
        let mut sender = Sender::new(&mut self.map, &Pull { told, ..Pull::default() });
        let (mut of_entries, mut made, mut compressing) = (0, 0, Compressing::default());
        while let Some(message) = sender.next(&self.map) {
            let frame = codec::encode(&message, Some(sender.begin()));
            // Nodes of one cluster are mostly of one build.
            let frame = if FEATURES & FEATURE_ZSTD == 0 { frame } else { compressing.compress(frame) };
            let frame = frame.len() as u64;
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

/// Those of users first.
fn first_of(keys: &mut KeyList) -> Vec<(Section, Vec<u8>)> {
    let (mut usr, mut sys) = (Vec::new(), Vec::new());
    while let Some(key) = keys.pop() {
        let list = if key.section == Section::Usr { &mut usr } else { &mut sys };
        if list.len() < KEYS_MAX {
            list.push((key.section, key.bytes.to_vec()));
        }
    }
    usr.extend(sys);
    usr.truncate(KEYS_MAX);
    usr
}
