//! Messages to bytes and back: versioned, bounded, never panics. `proto-docs/wire.md` says the same in words.
//! Not responsible for frames' lengths on a stream: the runtime is.
//!
//! Small messages are `bincode`; whatever holds contexts or entries has a layout of its own: entries in columns, dots and
//! clocks as differences, so that a bulk sync costs little beside the keys and values themselves.

use super::message::{Begin, Message, Part, Pull};
use super::wire::{DecodeError, Reader, Writer, checked_counter, checked_key_length, section_of};
use crate::crdt::{CausalContext, Delta, Dot, Entries, EntryContext, RegisterRow, ReplicaId, Row, Timestamp};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest frame: a message that a peer sends beyond it breaks the protocol.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// The most entries in one frame, so that a short frame cannot cost much memory. A library [`Delta`] may have more.
pub const FRAME_ENTRIES_MAX: usize = 1 << 16;

/// Texts of a hello are no longer than this.
const SMALL_BYTES_MAX: usize = 4096;

type Result<T> = std::result::Result<T, DecodeError>;

const HELLO: u8 = 0;
const DIGEST: u8 = 1;
const CONTEXT: u8 = 2;
const PUSH: u8 = 3;
const GOODBYE: u8 = 4;
const PULL: u8 = 5;
const BEGIN: u8 = 6;
const LIVE: u8 = 7;
const DEAD: u8 = 8;
const CHUNK: u8 = 9;
const DONE: u8 = 10;

/// The message as bytes. `begun` is the `Begin` of the pull that a chunk belongs to: its contexts are told as what has
/// changed since.
pub fn encode(message: &Message, begun: Option<&Begin>) -> Bytes {
    let mut writer = Writer::default();
    let nothing = Begin::default();
    match message {
        Message::Hello(hello) => small(&mut writer, HELLO, hello),
        Message::Digest(digest) => small(&mut writer, DIGEST, digest),
        Message::Goodbye { left } => small(&mut writer, GOODBYE, left),
        Message::Context { context, replace } => {
            writer.bytes.push(CONTEXT);
            writer.flag(*replace);
            writer.context(context);
        }
        Message::Push(delta) => {
            writer.bytes.push(PUSH);
            write_delta(&mut writer, delta);
        }
        Message::Pull(pull) => {
            writer.bytes.push(PULL);
            writer.flag(pull.catch_up);
            writer.context(&pull.base);
            writer.dot_set(&pull.have);
        }
        Message::Begin(begin) => {
            writer.bytes.push(BEGIN);
            writer.flag(begin.catch_up);
            writer.context(&begin.snapshot);
            writer.context(&begin.bound);
        }
        Message::Live(Part { part, last }) => {
            writer.bytes.push(LIVE);
            writer.flag(*last);
            writer.dot_set(part);
        }
        Message::Dead(Part { part, last }) => {
            writer.bytes.push(DEAD);
            writer.flag(*last);
            writer.keys(part.clone());
        }
        Message::Chunk(entries) => {
            writer.bytes.push(CHUNK);
            let begun = begun.unwrap_or(&nothing);
            write_entries(&mut writer, entries, &begun.snapshot, &begun.bound);
        }
        Message::Done { bound } => {
            writer.bytes.push(DONE);
            writer.context_since(&begun.unwrap_or(&nothing).bound, bound);
        }
    }
    writer.bytes.into()
}

/// The message from its bytes, which it goes on to share. `begun` as in [`encode`].
pub fn decode(frame: &Bytes, begun: Option<&Begin>) -> Result<Message> {
    let mut reader = Reader::new(frame);
    let nothing = Begin::default();
    let begun = begun.unwrap_or(&nothing);
    let message = match reader.byte()? {
        HELLO => Message::Hello(read_small(&mut reader)?),
        DIGEST => Message::Digest(read_small(&mut reader)?),
        CONTEXT => Message::Context { replace: reader.flag()?, context: reader.context()? },
        PUSH => Message::Push(read_delta(&mut reader, frame, FRAME_ENTRIES_MAX)?),
        GOODBYE => Message::Goodbye { left: read_small(&mut reader)? },
        PULL => Message::Pull(Pull { catch_up: reader.flag()?, base: reader.context()?, have: reader.dot_set()? }),
        BEGIN => {
            Message::Begin(Begin { catch_up: reader.flag()?, snapshot: reader.context()?, bound: reader.context()? })
        }
        LIVE => Message::Live(Part { last: reader.flag()?, part: reader.dot_set()? }),
        DEAD => Message::Dead(Part { last: reader.flag()?, part: reader.keys()? }),
        CHUNK => Message::Chunk(read_entries(&mut reader, frame, FRAME_ENTRIES_MAX, &begun.snapshot, &begun.bound)?),
        DONE => Message::Done { bound: reader.context_since(&begun.bound)? },
        _ => return Err(DecodeError::Invalid("a message of an unknown kind")),
    };
    reader.end()?;
    Ok(message)
}

/// The version of an encoded [`Delta`], its first byte.
const DELTA_VERSION: u8 = 1;

impl Delta {
    /// The delta as bytes. Cost: linear; about three bytes for each entry beside its key and value.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.bytes.push(DELTA_VERSION);
        write_delta(&mut writer, self);
        writer.bytes.into()
    }

    /// The delta from its bytes. Never panics; takes at most some 100 times their memory, whoever made them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let frame = Bytes::copy_from_slice(bytes);
        let mut reader = Reader::new(&frame);
        if reader.byte()? != DELTA_VERSION {
            return Err(DecodeError::Invalid("a delta of another version"));
        }
        let delta = read_delta(&mut reader, &frame, usize::MAX)?;
        reader.end()?;
        Ok(delta)
    }
}

fn bincode_config() -> impl bincode::config::Config {
    // Counts sizes in memory, not on the wire, hence the factor.
    bincode::config::standard().with_limit::<{ 8 * SMALL_BYTES_MAX }>()
}

fn small(writer: &mut Writer, kind: u8, message: &impl Serialize) {
    writer.bytes.push(kind);
    let bytes = bincode::serde::encode_to_vec(message, bincode_config()).expect("plain structs encode");
    writer.bytes.extend_from_slice(&bytes);
}

fn read_small<T: DeserializeOwned>(reader: &mut Reader<'_>) -> Result<T> {
    let rest = reader.rest();
    if rest.len() > SMALL_BYTES_MAX {
        let (got, max) = (rest.len() as u64, SMALL_BYTES_MAX as u64);
        return Err(DecodeError::TooLarge { what: "bytes of a small message", got, max });
    }
    let (message, read) = bincode::serde::decode_from_slice(rest, bincode_config())
        .map_err(|_| DecodeError::Invalid("a small message that does not decode"))?;
    reader.skip(read);
    Ok(message)
}

fn write_delta(writer: &mut Writer, delta: &Delta) {
    // The sender need not have all that it builds on: the base is the receiver's.
    let common = delta.base.meet(&delta.snapshot);
    writer.context(&common);
    writer.context_since(&common, &delta.base);
    writer.context_since(&common, &delta.snapshot);
    writer.context(&delta.bound);
    writer.flag(delta.live.is_some());
    if let Some(live) = &delta.live {
        writer.dot_set(live);
    }
    write_entries(writer, &delta.entries, &delta.snapshot, &delta.bound);
}

fn read_delta(reader: &mut Reader<'_>, frame: &Bytes, entries_max: usize) -> Result<Delta> {
    let common = reader.context()?;
    let base = reader.context_since(&common)?;
    let snapshot = reader.context_since(&common)?;
    let bound = reader.context()?;
    let live = if reader.flag()? { Some(reader.dot_set()?) } else { None };
    let entries = read_entries(reader, frame, entries_max, &snapshot, &bound)?;
    Ok(Delta { base, snapshot, bound, live, entries })
}

fn write_entries(writer: &mut Writer, entries: &Entries, context: &CausalContext, bound: &CausalContext) {
    writer.count(entries.contexts.len());
    for pair in &entries.contexts {
        writer.context_since(context, &pair.context);
        writer.context_since(bound, &pair.bound);
    }
    let (replicas, numbers) = number_replicas(entries);
    writer.count(replicas.len());
    replicas.iter().for_each(|replica| writer.bytes.extend_from_slice(replica.as_bytes()));

    writer.count(entries.rows.len());
    let rows = || entries.rows.iter();
    writer.column(rows().map(|row| row.section as u64));
    writer.column(rows().map(|row| u64::from(row.context)));
    writer.column(rows().map(|row| row.key.len() as u64));
    let mut start = 0;
    writer.column(rows().map(|row| (row.registers_end - std::mem::replace(&mut start, row.registers_end)) as u64));
    let registers = || entries.registers.iter();
    writer.column(numbers.into_iter());
    writer.column(registers().map(|register| register.dot.counter));
    writer.column(registers().map(|register| register.timestamp.to_bits()));
    writer.column(registers().map(|register| register.deadline.map_or(0, |deadline| deadline.wrapping_add(1))));
    writer.column(registers().map(|register| register.value.as_ref().map_or(0, |value| value.len() as u64 + 1)));
    rows().for_each(|row| writer.bytes.extend_from_slice(&entries.buffer[row.key.clone()]));
    registers().flat_map(|r| r.value.clone()).for_each(|value| writer.bytes.extend_from_slice(&entries.buffer[value]));
}

/// The replicas of the entries' dots in the order of their ids, and each dot's replica as a place in that list.
fn number_replicas(entries: &Entries) -> (Vec<ReplicaId>, Vec<u64>) {
    let mut numbers: BTreeMap<ReplicaId, u64> = BTreeMap::new();
    let mut last = None;
    for register in &entries.registers {
        if last.replace(register.dot.replica) != Some(register.dot.replica) {
            numbers.insert(register.dot.replica, 0);
        }
    }
    numbers.values_mut().zip(0..).for_each(|(number, i)| *number = i);
    let mut last = (None, 0);
    let number = |register: &RegisterRow| {
        if last.0 != Some(register.dot.replica) {
            last = (Some(register.dot.replica), numbers[&register.dot.replica]);
        }
        last.1
    };
    let column = entries.registers.iter().map(number).collect();
    (numbers.into_keys().collect(), column)
}

fn read_entries(
    reader: &mut Reader<'_>,
    frame: &Bytes,
    entries_max: usize,
    context: &CausalContext,
    bound: &CausalContext,
) -> Result<Entries> {
    let mut contexts = Vec::new();
    for _ in 0..reader.count("contexts", 2)? {
        // Each is a copy of the reference, whose size the frame does not bound by itself.
        if contexts.len() * (context.len() + bound.len()) > FRAME_BYTES_MAX / 24 {
            return Err(DecodeError::Invalid("more contexts than a frame may have"));
        }
        let pair = EntryContext { context: reader.context_since(context)?, bound: reader.context_since(bound)? };
        contexts.push(Arc::new(pair));
    }
    let replicas = (0..reader.count("replicas", 16)?).map(|_| reader.replica()).collect::<Result<Vec<_>>>()?;
    let mut rows = read_rows(reader, entries_max, contexts.len())?;
    let mut registers = read_registers(reader, &rows, entries_max, &replicas)?;
    for row in &mut rows {
        row.key = reader.range(row.key.len())?;
    }
    for register in &mut registers {
        if let Some(value) = &mut register.value {
            *value = reader.range(value.len())?;
        }
    }
    check_dots(&rows, &registers, &contexts)?;
    Ok(Entries { contexts, rows, registers, buffer: frame.clone() })
}

fn bounded(what: &'static str, got: usize, max: usize) -> Result<()> {
    if got > max { Err(DecodeError::TooLarge { what, got: got as u64, max: max as u64 }) } else { Ok(()) }
}

fn read_rows(reader: &mut Reader<'_>, entries_max: usize, contexts: usize) -> Result<Vec<Row>> {
    // A key has at least one byte.
    let count = reader.count("entries", 1)?;
    bounded("entries", count, entries_max)?;
    let mut rows = Vec::with_capacity(count);
    reader.column(count, |section| {
        rows.push(Row { section: section_of(section)?, context: 0, key: 0..0, registers_end: 0 });
        Ok(())
    })?;
    let mut each = rows.iter_mut();
    reader.column(count, |context| {
        let known = context < contexts as u64;
        set(each.next(), |row| row.context = context as u32);
        if known { Ok(()) } else { Err(DecodeError::Invalid("an entry under a context that is not there")) }
    })?;
    let mut each = rows.iter_mut();
    reader.column(count, |length| {
        let length = checked_key_length(length)?;
        set(each.next(), |row| row.key = 0..length);
        Ok(())
    })?;
    let mut each = rows.iter_mut();
    let mut end = 0_u64;
    reader.column(count, |registers| {
        end = end.saturating_add(registers);
        set(each.next(), |row| row.registers_end = usize::try_from(end).unwrap_or(usize::MAX));
        Ok(())
    })?;
    Ok(rows)
}

fn set<T>(place: Option<&mut T>, change: impl FnOnce(&mut T)) {
    if let Some(place) = place {
        change(place);
    }
}

fn read_registers(
    reader: &mut Reader<'_>,
    rows: &[Row],
    entries_max: usize,
    replicas: &[ReplicaId],
) -> Result<Vec<RegisterRow>> {
    let count = rows.last().map_or(0, |row| row.registers_end);
    // An entry with one register has a byte of key, and of one with several each takes a byte of the first column.
    bounded("registers", count, reader.left().min(entries_max.saturating_mul(2)))?;
    let mut registers = Vec::with_capacity(count);
    reader.column(count, |number| {
        let replica = usize::try_from(number).ok().and_then(|i| replicas.get(i));
        let replica = *replica.ok_or(DecodeError::Invalid("a dot of a replica that is not listed"))?;
        let dot = Dot::new(replica, 0);
        registers.push(RegisterRow { dot, timestamp: Timestamp::default(), deadline: None, value: None });
        Ok(())
    })?;
    let mut each = registers.iter_mut();
    reader.column(count, |counter| {
        let counter = checked_counter(counter)?;
        set(each.next(), |register| register.dot.counter = counter);
        Ok(())
    })?;
    let mut each = registers.iter_mut();
    reader.column(count, |bits| {
        set(each.next(), |register| register.timestamp = Timestamp::from_bits(bits));
        Ok(())
    })?;
    let mut each = registers.iter_mut();
    reader.column(count, |deadline| {
        set(each.next(), |register| register.deadline = deadline.checked_sub(1));
        Ok(())
    })?;
    let mut each = registers.iter_mut();
    reader.column(count, |length| {
        let length = length.checked_sub(1).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        set(each.next(), |register| register.value = length.map(|length| 0..length));
        Ok(())
    })?;
    Ok(registers)
}

/// A live dot is within the context that its entry was read under, and stands once in it; a tombstone has no deadline.
fn check_dots(rows: &[Row], registers: &[RegisterRow], contexts: &[Arc<EntryContext>]) -> Result<()> {
    let mut start = 0;
    for row in rows {
        let of_row = &registers[std::mem::replace(&mut start, row.registers_end)..row.registers_end];
        let context = &contexts[row.context as usize].context;
        let within = of_row.iter().all(|register| context.contains(register.dot));
        let in_order = of_row.windows(2).all(|pair| pair[0].dot < pair[1].dot);
        let plain = of_row.iter().all(|register| register.value.is_some() || register.deadline.is_none());
        if !within || !in_order || !plain {
            return Err(DecodeError::Invalid("an entry whose registers contradict each other or their context"));
        }
    }
    Ok(())
}
