//! Entries column by column, against a context and a bound of which most entries' own are no change. Not responsible for
//! where that context comes from.

use super::{Result, bounded};
use crate::crdt::{CausalContext, Dot, Entries, EntryContext, RegisterRow, ReplicaId, Row, Timestamp};
use crate::proto::wire::{DecodeError, Reader, Writer, checked_counter, checked_key_length, section_of};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most that the contexts of entries may hold together: each is told as a change of a context that may be large, so
/// that the length of a frame does not bound them.
const CONTEXT_CLOCKS_MAX: usize = 1 << 19;
/// `context` and `bound` are what the contexts of the entries are told as changes of.
pub(super) fn write_entries(writer: &mut Writer, entries: &Entries, context: &CausalContext, bound: &CausalContext) {
    writer.bytes.reserve(entries.buffer.len() + 8 * entries.rows.len());
    writer.count(entries.contexts.len());
    for pair in &entries.contexts {
        writer.context_from(context, &pair.context);
        writer.context_from(bound, &pair.bound);
    }
    let (rows, registers) = (&entries.rows, &entries.registers);
    writer.count(rows.len());
    writer.column(rows.iter().map(|row| row.section as u64));
    writer.column(rows.iter().map(|row| u64::from(row.context)));
    writer.column(rows.iter().map(|row| row.key.len() as u64));
    writer.column(sizes(rows).map(|size| size as u64));
    write_replicas(writer, entries);
    writer.column(registers.iter().map(|register| register.dot.counter));
    writer.column(registers.iter().map(|register| register.timestamp.millis()));
    writer.column(registers.iter().map(|register| u64::from(register.timestamp.logical())));
    writer.column(registers.iter().map(kind_of));
    writer.column(registers.iter().filter_map(|register| register.deadline));
    let values = || registers.iter().filter_map(|register| register.value.clone());
    writer.column(values().map(|value| value.len() as u64));
    rows.iter().for_each(|row| writer.bytes.extend_from_slice(&entries.buffer[row.key.clone()]));
    values().for_each(|value| writer.bytes.extend_from_slice(&entries.buffer[value]));
}

/// How many registers each entry has.
fn sizes(rows: &[Row]) -> impl Iterator<Item = usize> {
    let mut start = 0;
    rows.iter().map(move |row| row.registers_end - std::mem::replace(&mut start, row.registers_end))
}

const TOMBSTONE: u64 = 0;
const VALUE: u64 = 1;
const VALUE_WITH_DEADLINE: u64 = 2;

fn kind_of(register: &RegisterRow) -> u64 {
    match (&register.value, register.deadline) {
        (None, _) => TOMBSTONE,
        (Some(_), None) => VALUE,
        (Some(_), Some(_)) => VALUE_WITH_DEADLINE,
    }
}

/// The replicas of the dots, each once; then each dot's replica as a place in that list: first those of siblings beyond
/// the first of their entry, one by one, so that no register of a frame costs less than a byte; then a column of the rest.
fn write_replicas(writer: &mut Writer, entries: &Entries) {
    let mut places: BTreeMap<ReplicaId, u64> = BTreeMap::new();
    let changes = entries.registers.chunk_by(|a, b| a.dot.replica == b.dot.replica);
    places.extend(changes.map(|same| (same[0].dot.replica, 0)));
    places.values_mut().zip(0..).for_each(|(place, i)| *place = i);
    writer.count(places.len());
    places.keys().for_each(|replica| writer.replica(*replica));

    let mut known: Option<(ReplicaId, u64)> = None;
    let mut place_of = |register: &RegisterRow| match known {
        Some((replica, place)) if replica == register.dot.replica => place,
        _ => known.insert((register.dot.replica, places[&register.dot.replica])).1,
    };
    let (mut start, mut first) = (0, Vec::with_capacity(entries.rows.len()));
    for row in &entries.rows {
        let of_row = &entries.registers[std::mem::replace(&mut start, row.registers_end)..row.registers_end];
        first.extend(of_row.first().map(&mut place_of));
        of_row.iter().skip(1).for_each(|sibling| writer.number(place_of(sibling)));
    }
    writer.column(first.into_iter());
}

pub(super) fn read_entries(
    reader: &mut Reader<'_>,
    frame: &Bytes,
    entries_max: usize,
    context: &CausalContext,
    bound: &CausalContext,
) -> Result<Entries> {
    let contexts = read_contexts(reader, entries_max, context, bound)?;
    let mut rows = read_rows(reader, entries_max, contexts.len())?;
    let mut registers = read_registers(reader, &rows, entries_max)?;
    for row in &mut rows {
        row.key = reader.range(row.key.len())?;
    }
    for value in registers.iter_mut().filter_map(|register| register.value.as_mut()) {
        *value = reader.range(value.len())?;
    }
    check_dots(&rows, &registers, &contexts)?;
    Ok(Entries { contexts, rows, registers, buffer: frame.clone() })
}

fn read_contexts(
    reader: &mut Reader<'_>,
    entries_max: usize,
    context: &CausalContext,
    bound: &CausalContext,
) -> Result<Vec<Arc<EntryContext>>> {
    let count = reader.count("contexts", 2)?;
    bounded("contexts", count, entries_max)?;
    let mut contexts = Vec::with_capacity(count);
    let mut clocks = 0;
    for _ in 0..count {
        let pair = EntryContext { context: reader.context_from(context)?, bound: reader.context_from(bound)? };
        // Each is a copy of the reference, whose size this frame does not bound.
        clocks += pair.context.len() + pair.bound.len();
        bounded("clocks of contexts", clocks, CONTEXT_CLOCKS_MAX)?;
        contexts.push(Arc::new(pair));
    }
    Ok(contexts)
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
    let (mut each, mut met) = (rows.iter_mut(), 0);
    reader.column(count, |context| {
        if context > met || context >= contexts as u64 {
            return Err(DecodeError::Invalid("an entry under a context that is not there, or not next"));
        }
        met = met.max(context + 1);
        set(each.next(), |row| row.context = context as u32);
        Ok(())
    })?;
    if met < contexts as u64 {
        return Err(DecodeError::Invalid("a context without entries"));
    }
    let mut each = rows.iter_mut();
    reader.column(count, |length| {
        let length = checked_key_length(length)?;
        set(each.next(), |row| row.key = 0..length);
        Ok(())
    })?;
    let (mut each, mut end) = (rows.iter_mut(), 0_u64);
    reader.column(count, |size| {
        end = end.saturating_add(size);
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

fn read_registers(reader: &mut Reader<'_>, rows: &[Row], entries_max: usize) -> Result<Vec<RegisterRow>> {
    let count = rows.last().map_or(0, |row| row.registers_end);
    // The first of an entry has a byte of its key, and every other one a byte that says whose it is.
    bounded("registers", count, reader.left().min(entries_max.saturating_mul(2)))?;
    let mut registers = read_replicas(reader, rows, count)?;
    let mut each = registers.iter_mut();
    reader.column(count, |counter| {
        let counter = checked_counter(counter)?;
        set(each.next(), |register| register.dot.counter = counter);
        Ok(())
    })?;
    let mut each = registers.iter_mut();
    reader.column(count, |millis| {
        let timestamp = Timestamp::from_millis(millis);
        set(each.next(), |register| register.timestamp = timestamp);
        if timestamp.millis() == millis { Ok(()) } else { Err(DecodeError::Invalid("a time beyond 48 bits")) }
    })?;
    let mut each = registers.iter_mut();
    reader.column(count, |logical| {
        let logical = u16::try_from(logical).map_err(|_| DecodeError::Invalid("a logical time beyond 16 bits"))?;
        let with = |millis: Timestamp| Timestamp::from_bits(millis.to_bits() | u64::from(logical));
        set(each.next(), |register| register.timestamp = with(register.timestamp));
        Ok(())
    })?;
    let (mut each, mut values, mut deadlines) = (registers.iter_mut(), 0, 0);
    reader.column(count, |kind| {
        if kind > VALUE_WITH_DEADLINE {
            return Err(DecodeError::Invalid("a register of an unknown kind"));
        }
        let (value, deadline) = ((kind != TOMBSTONE).then_some(0..0), (kind == VALUE_WITH_DEADLINE).then_some(0));
        (values, deadlines) = (values + usize::from(kind != TOMBSTONE), deadlines + usize::from(deadline.is_some()));
        set(each.next(), |register| (register.value, register.deadline) = (value, deadline));
        Ok(())
    })?;
    let mut each = registers.iter_mut().filter_map(|register| register.deadline.as_mut());
    reader.column(deadlines, |deadline| {
        set(each.next(), |place| *place = deadline);
        Ok(())
    })?;
    let mut each = registers.iter_mut().filter_map(|register| register.value.as_mut());
    reader.column(values, |length| {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        set(each.next(), |place| *place = 0..length);
        Ok(())
    })?;
    Ok(registers)
}

/// The registers, of which only the replicas are known yet.
fn read_replicas(reader: &mut Reader<'_>, rows: &[Row], count: usize) -> Result<Vec<RegisterRow>> {
    let replicas = reader.replicas()?;
    let mut met = vec![false; replicas.len()];
    let mut register_of = |place: u64| {
        let place = usize::try_from(place).ok().filter(|place| *place < replicas.len());
        let place = place.ok_or(DecodeError::Invalid("a dot of a replica that is not listed"))?;
        met[place] = true;
        let dot = Dot::new(replicas[place], 0);
        Ok(RegisterRow { dot, timestamp: Timestamp::default(), deadline: None, value: None })
    };
    let beyond_first = count - sizes(rows).filter(|size| *size > 0).count();
    let mut siblings = Vec::with_capacity(beyond_first);
    for _ in 0..beyond_first {
        siblings.push(reader.number()?);
    }
    let mut siblings = siblings.into_iter();
    let mut sizes = sizes(rows).filter(|size| *size > 0);
    let mut registers = Vec::with_capacity(count);
    reader.column(count - beyond_first, |place| {
        registers.push(register_of(place)?);
        for place in siblings.by_ref().take(sizes.next().map_or(0, |size| size - 1)) {
            registers.push(register_of(place)?);
        }
        Ok(())
    })?;
    if met.contains(&false) {
        return Err(DecodeError::Invalid("a replica without a dot"));
    }
    Ok(registers)
}

/// A live dot is within the context that its entry was read under, and stands once in it.
fn check_dots(rows: &[Row], registers: &[RegisterRow], contexts: &[Arc<EntryContext>]) -> Result<()> {
    // Neighbours mostly have one replica and one context: its counter there is looked up once.
    let (mut start, mut last, mut known) = (0, None, 0);
    for row in rows {
        let of_row = &registers[std::mem::replace(&mut start, row.registers_end)..row.registers_end];
        let in_order = of_row.windows(2).all(|pair| pair[0].dot < pair[1].dot);
        let within = of_row.iter().all(|RegisterRow { dot, .. }| {
            if last.replace((row.context, dot.replica)) != Some((row.context, dot.replica)) {
                known = contexts[row.context as usize].context.get(dot.replica);
            }
            dot.counter <= known
        });
        if !within || !in_order {
            return Err(DecodeError::Invalid("an entry whose registers contradict each other or their context"));
        }
    }
    Ok(())
}
