//! From the map's words to the oracle's plain data. Not responsible for what they ought to be.

use crate::oracle::{Left, Name, Names, Shown, ShownKey};
use tidings::crdt::{AuditKey, EntriesBuilder};
use tidings::{CausalContext, Dot, Key, OrMap, ReplicaId};

/// All maps of the tests compare their sums.
pub(crate) const AUDIT_KEY: AuditKey = AuditKey::new(*b"tests of the map");

const KEYS: [&[u8]; 4] = [b"kettle", b"lamp", b"mirror", b"nail"];

/// The key of that number.
pub(crate) fn key(number: usize) -> Key<'static> {
    Key::usr(KEYS[number])
}

/// The replica of that number.
pub(crate) fn id(number: usize) -> ReplicaId {
    ReplicaId::from(number as u128 + 1)
}

/// The number and counter of a dot.
pub(crate) fn name(dot: Dot) -> Name {
    (usize::from(dot.replica.as_bytes()[15]) - 1, dot.counter)
}

fn names(context: &CausalContext) -> Names {
    let mut names = Names::default();
    context.iter().map(name).for_each(|(replica, counter)| names.0[replica] = counter);
    names
}

/// What a replica says of itself and of its first `keys` keys, at the time `now`.
pub(crate) fn look(map: &OrMap, keys: usize, now: u64) -> Shown {
    let audit = map.audit();
    let have = map.have();
    Shown {
        context: names(map.context()),
        keys: (0..keys).map(|number| look_at(map, key(number), now)).collect(),
        pending_keys: map.pending(),
        beyond: map.pending() > 0 && (!have.is_empty() || !map.keys_since(map.context(), &have).is_empty()),
        audit: [audit.context, audit.state, audit.pending],
    }
}

fn look_at(map: &OrMap, key: Key<'_>, now: u64) -> ShownKey {
    let left = |value: Option<&[u8]>, deadline| Left { value: value.map(number_of), deadline };
    let registers = map.registers(key).into_iter();
    let context = if map.pending() == 0 { names(map.context()) } else { names(&map.context_of(key)) };
    ShownKey {
        context,
        bound: names(&bound_of(map, key)),
        live: registers.map(|(dot, r)| (name(dot), left(r.value.as_deref(), r.deadline))).collect(),
        read: map.read(key, now).map(|r| (name(r.dot), number_of(r.value), r.siblings)),
        now,
    }
}

fn number_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("values of the runs are numbers"))
}

/// `T` with the key's pending bound.
fn bound_of(map: &OrMap, key: Key<'_>) -> CausalContext {
    if map.pending() == 0 {
        return map.truncated().clone();
    }
    let mut builder = EntriesBuilder::default();
    builder.push(map, key);
    builder.finish().contexts()[0].bound.clone()
}
