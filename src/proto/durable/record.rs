//! Records to bytes and back. Not responsible for which are written when: `recorder` is.
//!
//! The first byte of a key says what the record is, and orders them as a loader needs them: what comes first explains
//! what comes after.

use super::{FORMAT, Identity, RememberedPeers};
use crate::crdt::{EntryContext, Key, RegisterRef, RegisterState, ReplicaState, Section, Timestamp};
use crate::proto::wire::{COUNTER_END, DecodeError, Reader, Writer, checked_counter};

pub(super) const IDENTITY: u8 = 0x00;
pub(super) const STATE: u8 = 0x01;
pub(super) const PEERS: u8 = 0x02;
pub(super) const REPLICA: u8 = 0x10;
pub(super) const CONTEXT: u8 = 0x11;
const USR: u8 = 0x20;
const SYS: u8 = 0x21;

const TOMBSTONE: u8 = 1;
const DEADLINE: u8 = 2;

/// No entry has more concurrent values than this: each is of another replica.
const REGISTERS_MAX: usize = 1 << 20;

type Result<T> = std::result::Result<T, DecodeError>;

/// A record, read.
#[derive(Debug)]
pub(super) enum Record<'a> {
    Identity(Identity),
    State(State),
    Peers(RememberedPeers),
    Replica(ReplicaState),
    Context { number: u64, context: EntryContext },
    Entry { key: Key<'a>, pending: Option<u64>, registers: Vec<RegisterState<'a>> },
}

/// What every commit writes anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The counters up to here may have been told to clients, or will be.
    pub(super) reserved: u64,
    pub(super) clock: Timestamp,
    /// How many entries there are: for progress, and for room.
    pub(super) entries: u64,
    /// How many commits there were, this one included.
    pub(super) commits: u64,
}

// --- Keys

pub(super) fn replica_key(number: u32) -> [u8; 5] {
    let mut key = [REPLICA; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn context_key(number: u64) -> [u8; 9] {
    let mut key = [CONTEXT; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn entry_key(key: Key<'_>, to: &mut Vec<u8>) {
    to.push(if key.section == Section::Usr { USR } else { SYS });
    to.extend_from_slice(key.bytes);
}

/// The entry's key, if it is an entry.
pub(super) fn read_key(key: &[u8]) -> Option<Key<'_>> {
    let (&kind, bytes) = key.split_first()?;
    let section = [(USR, Section::Usr), (SYS, Section::Sys)].into_iter().find(|(byte, _)| *byte == kind)?.1;
    Some(Key { section, bytes })
}

// --- Values

fn with_writer(to: &mut Vec<u8>, write: impl FnOnce(&mut Writer)) {
    let mut writer = Writer { bytes: std::mem::take(to) };
    write(&mut writer);
    *to = writer.bytes;
}

pub(super) fn write_identity(identity: Identity, to: &mut Vec<u8>) {
    with_writer(to, |writer| {
        writer.number(FORMAT);
        writer.replica(identity.replica);
        writer.bytes.extend_from_slice(&identity.cluster);
    });
}

pub(super) fn write_state(state: State, to: &mut Vec<u8>) {
    with_writer(to, |writer| {
        writer.number(state.reserved);
        writer.number(state.entries);
        writer.number(state.commits);
        writer.bytes.extend_from_slice(&state.clock.to_bits().to_le_bytes());
    });
}

pub(super) fn write_replica(state: &ReplicaState, to: &mut Vec<u8>) {
    with_writer(to, |writer| {
        writer.replica(state.id);
        writer.number(state.context);
        writer.number(state.truncated);
    });
}

pub(super) fn write_context(context: &EntryContext, to: &mut Vec<u8>) {
    with_writer(to, |writer| {
        writer.context(&context.context);
        writer.context(&context.bound);
    });
}

/// How many registers and whether a pending context follows, in one number; that context's number; the registers. The
/// last value has no length: it ends with the record.
pub(super) fn write_entry<'a>(
    registers: impl Iterator<Item = RegisterState<'a>> + Clone,
    pending: Option<u64>,
    to: &mut Vec<u8>,
) {
    let count = registers.clone().count();
    with_writer(to, |writer| {
        writer.number((count as u64) << 1 | u64::from(pending.is_some()));
        pending.iter().for_each(|number| writer.number(*number));
        for (i, state) in registers.enumerate() {
            write_register(writer, &state, i + 1 == count);
        }
    });
}

fn write_register(writer: &mut Writer, state: &RegisterState<'_>, last: bool) {
    let RegisterRef { value, timestamp, deadline } = state.register;
    let tombstone = if value.is_none() { TOMBSTONE } else { 0 };
    writer.bytes.push(tombstone | if deadline.is_some() { DEADLINE } else { 0 });
    writer.number(u64::from(state.replica));
    writer.number(state.counter);
    writer.bytes.extend_from_slice(&timestamp.to_bits().to_le_bytes());
    for date in state.dead_from.iter().chain(&deadline) {
        writer.bytes.extend_from_slice(&date.to_le_bytes());
    }
    if let Some(value) = value {
        if !last {
            writer.count(value.len());
        }
        writer.bytes.extend_from_slice(value);
    }
}

// --- Reading

pub(super) fn read<'a>(key: &'a [u8], value: &'a [u8]) -> Result<Record<'a>> {
    let (&kind, rest) = key.split_first().ok_or(DecodeError::Truncated)?;
    let mut reader = Reader::new(value);
    // There is one of each: a second one under a longer key would be read after that which a node writes, and count.
    if matches!(kind, IDENTITY | STATE | PEERS) && !rest.is_empty() {
        return Err(DecodeError::Invalid("a record that there is once, under a longer key"));
    }
    let record = match kind {
        IDENTITY => Record::Identity(read_identity(&mut reader)?),
        STATE => Record::State(read_state(&mut reader)?),
        PEERS => return read_peers(value).map(Record::Peers),
        REPLICA => Record::Replica(read_replica(rest, &mut reader)?),
        CONTEXT => {
            let number = u64::from_be_bytes(rest.try_into().map_err(|_| DecodeError::Truncated)?);
            let context = EntryContext { context: reader.context()?, bound: reader.context()? };
            Record::Context { number, context }
        }
        _ => {
            let unknown = DecodeError::Invalid("a kind of record that this format does not have");
            return read_entry(read_key(key).ok_or(unknown)?, value);
        }
    };
    reader.end()?;
    Ok(record)
}

/// The format stands first, so that a newer one can be told from damage.
pub(super) fn read_format(value: &[u8]) -> Result<u64> {
    Reader::new(value).number()
}

fn read_identity(reader: &mut Reader<'_>) -> Result<Identity> {
    if reader.number()? != FORMAT {
        return Err(DecodeError::Invalid("another format"));
    }
    let replica = reader.replica()?;
    let cluster = *reader.replica()?.as_bytes();
    Ok(Identity { replica, cluster })
}

fn read_state(reader: &mut Reader<'_>) -> Result<State> {
    let (reserved, entries, commits) = (reader.number()?, reader.number()?, reader.number()?);
    if reserved >= COUNTER_END {
        return Err(DecodeError::Invalid("a counter that no replica can have reached"));
    }
    Ok(State { reserved, entries, commits, clock: Timestamp::from_bits(read_u64(reader)?) })
}

fn read_replica(number: &[u8], reader: &mut Reader<'_>) -> Result<ReplicaState> {
    let number = u32::from_be_bytes(number.try_into().map_err(|_| DecodeError::Truncated)?);
    let (id, context, truncated) = (reader.replica()?, reader.number()?, reader.number()?);
    if context.max(truncated) >= COUNTER_END {
        return Err(DecodeError::Invalid("a counter that no replica can have reached"));
    }
    Ok(ReplicaState { number, id, context, truncated })
}

fn read_u64(reader: &mut Reader<'_>) -> Result<u64> {
    let bytes: [u8; 8] = reader.rest().get(..8).and_then(|b| b.try_into().ok()).ok_or(DecodeError::Truncated)?;
    reader.skip(8);
    Ok(u64::from_le_bytes(bytes))
}

fn read_entry<'a>(key: Key<'a>, value: &'a [u8]) -> Result<Record<'a>> {
    let mut reader = Reader::new(value);
    let head = reader.number()?;
    let pending = if head & 1 == 1 { Some(reader.number()?) } else { None };
    let count = usize::try_from(head >> 1).ok().filter(|count| *count <= REGISTERS_MAX.min(value.len()));
    let count = count.ok_or(DecodeError::Invalid("more registers than an entry can have"))?;
    let mut registers = Vec::with_capacity(count);
    for i in 0..count {
        registers.push(read_register(value, &mut reader, i + 1 == count)?);
    }
    reader.end()?;
    Ok(Record::Entry { key, pending, registers })
}

fn read_register<'a>(bytes: &'a [u8], reader: &mut Reader<'a>, last: bool) -> Result<RegisterState<'a>> {
    let flags = reader.byte()?;
    if flags & !(TOMBSTONE | DEADLINE) != 0 {
        return Err(DecodeError::Invalid("a kind of register that this format does not have"));
    }
    let replica = u32::try_from(reader.number()?).map_err(|_| DecodeError::Invalid("a replica's number"))?;
    let counter = checked_counter(reader.number()?)?;
    let timestamp = Timestamp::from_bits(read_u64(reader)?);
    let dead_from = if flags != 0 { Some(read_u64(reader)?) } else { None };
    let deadline = if flags & DEADLINE != 0 { Some(read_u64(reader)?) } else { None };
    let value = if flags & TOMBSTONE != 0 {
        None
    } else {
        let length = if last { reader.left() } else { usize::try_from(reader.number()?).unwrap_or(usize::MAX) };
        Some(&bytes[reader.range(length)?])
    };
    Ok(RegisterState { replica, counter, register: RegisterRef { value, timestamp, deadline }, dead_from })
}

pub(super) fn write_peers(peers: &RememberedPeers, to: &mut Vec<u8>) {
    to.extend_from_slice(&serde_json::to_vec(peers).expect("plain data"));
}

fn read_peers(value: &[u8]) -> Result<RememberedPeers> {
    serde_json::from_slice(value).map_err(|_| DecodeError::Invalid("a list of peers that cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: a node wrote its counters beside such a record, and could not be started again.
    #[test]
    fn what_there_is_once_has_a_key_of_one_byte() {
        for kind in [IDENTITY, STATE, PEERS] {
            let refused = read(&[kind, 0, 1], &[]).expect_err("a longer key");
            assert!(refused.to_string().contains("under a longer key"), "{refused}");
        }
    }
}
