//! Bytes to entries. Takes only what the writer makes, and makes room for nothing that has no bytes.

use super::{Allowed, Reference, Trail, kind, mask, sizes};
use crate::crdt::{
    CausalContext, Dot, Entries, EntryContext, RegisterRow, ReplicaId, Row, RowValue, Section, Timestamp,
};
use crate::proto::codec::{Result, bounded};
use crate::proto::wire::{DecodeError, Reader, checked_counter, checked_key_length, section_of, unzigzag};
use bytes::Bytes;
use std::sync::Arc;

/// The most that the contexts of entries may hold together: each is told as a change of a context that may be large, so
/// that the length of a frame does not bound them.
const CONTEXT_CLOCKS_MAX: usize = 1 << 19;

const LEFT_OUT: DecodeError = DecodeError::Invalid("a column that could be left out");

pub(in super::super) fn read_entries(
    reader: &mut Reader<'_>,
    frame: &Bytes,
    allowed: Allowed,
    reference: Reference<'_>,
) -> Result<Entries> {
    // Each has a byte of its key, or of its name.
    let count = reader.count("entries", 1)?;
    bounded("entries", count, allowed.entries_max)?;
    if count == 0 {
        return Ok(Entries::default());
    }
    let mask = reader.number()?;
    if mask & !mask::ALL != 0 {
        return Err(DecodeError::Invalid("a column that does not exist"));
    }
    let has = |bit| mask & bit != 0;
    let contexts = read_contexts(reader, allowed.entries_max, reference, has(mask::CONTEXTS))?;
    let mut rows = read_rows(reader, count, mask, contexts.len())?;
    let beyond = read_beyond(reader, reference.context, has(mask::BEYOND))?;
    let mut replicas = Replicas { context: reference.context, met: vec![false; beyond.len()], beyond };
    let named = read_names(reader, &rows, mask, &mut replicas)?;
    // The first of an entry has a byte of its key, or of its name, which is read; every other one a byte that says whose it
    // is.
    let registers_max = (reader.left() + named.len()).min(allowed.entries_max.saturating_mul(2));
    let mut registers = read_dots(reader, &rows, registers_max, has(mask::REPLICAS), &mut replicas)?;
    if replicas.met.contains(&false) {
        return Err(DecodeError::Invalid("a replica without a dot"));
    }
    read_times(reader, &mut registers, reference.millis, has(mask::LOGICAL))?;
    let given = read_values(reader, &mut registers, has(mask::KINDS))?;
    if !allowed.parts && (given > 0 || !named.is_empty()) {
        return Err(DecodeError::Invalid("an entry without its key or value where it stands alone"));
    }
    for row in &mut rows {
        row.key = reader.range(row.key.len())?;
    }
    for register in &mut registers {
        if let RowValue::At(range) = &mut register.value {
            *range = reader.range(range.len())?;
        }
    }
    check_dots(&rows, &registers, &named, &contexts)?;
    Ok(Entries { contexts, rows, registers, buffer: frame.clone(), named, given })
}

/// A column that stands only where not all of it is `usual`.
fn column_or(
    reader: &mut Reader<'_>,
    stands: bool,
    count: usize,
    usual: u64,
    mut each: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    if !stands {
        return (0..count).try_for_each(|_| each(usual));
    }
    let mut is_needed = false;
    reader.values(count, |value| {
        is_needed |= value != usual;
        each(value)
    })?;
    if is_needed { Ok(()) } else { Err(LEFT_OUT) }
}

fn read_contexts(
    reader: &mut Reader<'_>,
    contexts_max: usize,
    reference: Reference<'_>,
    stands: bool,
) -> Result<Vec<Arc<EntryContext>>> {
    if !stands {
        let pair = EntryContext { context: reference.context.clone(), bound: reference.bound.clone() };
        return Ok(vec![Arc::new(pair)]);
    }
    let count = reader.count("contexts", 2)?;
    bounded("contexts", count, contexts_max)?;
    let mut contexts = Vec::with_capacity(count);
    let mut clocks = 0;
    for _ in 0..count {
        let context = reader.context_from(reference.context)?;
        let bound = reader.context_from(reference.bound)?;
        // Each is a copy of the reference, whose size this frame does not bound.
        clocks += context.len() + bound.len();
        bounded("clocks of contexts", clocks, CONTEXT_CLOCKS_MAX)?;
        if count == 1 && context == *reference.context && bound == *reference.bound {
            return Err(LEFT_OUT);
        }
        contexts.push(Arc::new(EntryContext { context, bound }));
    }
    Ok(contexts)
}

/// The rows, with keys that have their lengths, but not their places yet.
fn read_rows(reader: &mut Reader<'_>, count: usize, mask: u64, contexts: usize) -> Result<Vec<Row>> {
    let has = |bit| mask & bit != 0;
    let mut rows = Vec::with_capacity(count);
    column_or(reader, has(mask::SECTIONS), count, Section::Usr as u64, |section| {
        rows.push(Row { section: section_of(section)?, context: 0, key: 0..0, registers_end: 0 });
        Ok(())
    })?;
    let mut met = 1.min(contexts as u64);
    if contexts > 1 {
        met = 0;
        let mut each = rows.iter_mut();
        reader.values(count, |context| {
            if context > met || context >= contexts as u64 {
                return Err(DecodeError::Invalid("an entry under a context that is not there, or not next"));
            }
            met = met.max(context + 1);
            set(each.next(), |row| row.context = context as u32);
            Ok(())
        })?;
    }
    if contexts == 0 || met < contexts as u64 {
        return Err(DecodeError::Invalid("a context without entries, or entries without one"));
    }
    let (mut each, mut end) = (rows.iter_mut(), 0_u64);
    column_or(reader, has(mask::SIZES), count, 1, |size| {
        end = end.saturating_add(size);
        set(each.next(), |row| row.registers_end = usize::try_from(end).unwrap_or(usize::MAX));
        Ok(())
    })?;
    let keys = read_naming(reader, &mut rows, has(mask::BY_DOT), has(mask::MIXED))?;
    let mut each = rows.iter_mut().filter(|row| !row.is_named());
    reader.values(keys, |length| {
        let length = checked_key_length(length)?;
        set(each.next(), |row| row.key = 0..length);
        Ok(())
    })?;
    Ok(rows)
}

/// Which rows have a key: those get one of a byte for now. How many.
fn read_naming(reader: &mut Reader<'_>, rows: &mut [Row], by_dot: bool, mixed: bool) -> Result<usize> {
    if mixed && !by_dot {
        return Err(LEFT_OUT);
    }
    let (count, mut named) = (rows.len(), if by_dot { rows.len() } else { 0 });
    if mixed {
        named = 0;
        let mut each = rows.iter_mut();
        reader.values(count, |is_named| {
            let length = match is_named {
                0 => 1,
                1 => 0,
                _ => return Err(DecodeError::Invalid("an entry named by neither key nor dot")),
            };
            named += 1 - length;
            set(each.next(), |row| row.key = 0..length);
            Ok(())
        })?;
        if named == 0 || named == count {
            return Err(LEFT_OUT);
        }
    } else if !by_dot {
        rows.iter_mut().for_each(|row| row.key = 0..1);
    }
    Ok(count - named)
}

fn set<T>(place: Option<&mut T>, change: impl FnOnce(&mut T)) {
    if let Some(place) = place {
        change(place);
    }
}

/// Replicas that the reference has not, in order.
fn read_beyond(reader: &mut Reader<'_>, context: &CausalContext, stands: bool) -> Result<Vec<ReplicaId>> {
    if !stands {
        return Ok(Vec::new());
    }
    let beyond = reader.replicas()?;
    if beyond.is_empty() {
        return Err(LEFT_OUT);
    }
    if beyond.iter().any(|replica| context.place(*replica).is_some()) {
        return Err(DecodeError::Invalid("a replica by its id where its place would do"));
    }
    Ok(beyond)
}

/// Replicas by their places: first those of the reference.
struct Replicas<'a> {
    context: &'a CausalContext,
    beyond: Vec<ReplicaId>,
    met: Vec<bool>,
}

impl Replicas<'_> {
    fn at(&mut self, place: u64) -> Result<ReplicaId> {
        const UNLISTED: DecodeError = DecodeError::Invalid("a dot of a replica that is not listed");
        let place = usize::try_from(place).map_err(|_| UNLISTED)?;
        if let Some(dot) = self.context.at(place) {
            return Ok(dot.replica);
        }
        let place = place - self.context.len();
        let replica = *self.beyond.get(place).ok_or(UNLISTED)?;
        self.met[place] = true;
        Ok(replica)
    }

    /// The replicas of so many dots: one number where all are the same.
    fn of(
        &mut self,
        reader: &mut Reader<'_>,
        count: usize,
        several: bool,
        mut each: impl FnMut(&mut Self, ReplicaId) -> Result<()>,
    ) -> Result<()> {
        if !several {
            if count > 0 {
                let replica = self.at(reader.number()?)?;
                (0..count).try_for_each(|_| each(self, replica))?;
            }
            return Ok(());
        }
        let (mut first, mut is_needed) = (None, false);
        reader.values(count, |place| {
            is_needed |= *first.get_or_insert(place) != place;
            let replica = self.at(place)?;
            each(self, replica)
        })?;
        if is_needed { Ok(()) } else { Err(LEFT_OUT) }
    }
}

/// A counter from its distance to the last one of its replica.
fn counter(trail: &mut Trail<'_>, replica: ReplicaId, distance: u64) -> Result<u64> {
    let last = trail.last(replica);
    *last = checked_counter(last.wrapping_add(unzigzag(distance)))?;
    Ok(*last)
}

fn read_names(reader: &mut Reader<'_>, rows: &[Row], mask: u64, replicas: &mut Replicas<'_>) -> Result<Vec<Dot>> {
    let count = rows.iter().filter(|row| row.is_named()).count();
    // None is in a run.
    bounded("names", count, reader.left())?;
    let mut named = Vec::with_capacity(count);
    replicas.of(reader, count, mask & mask::NAMES != 0, |_, replica| {
        named.push(Dot::new(replica, 0));
        Ok(())
    })?;
    let mut trail = Trail::new(replicas.context);
    for dot in &mut named {
        dot.counter = counter(&mut trail, dot.replica, reader.number()?)?;
    }
    Ok(named)
}

/// The registers, of which only the dots are known yet.
fn read_dots(
    reader: &mut Reader<'_>,
    rows: &[Row],
    registers_max: usize,
    several: bool,
    replicas: &mut Replicas<'_>,
) -> Result<Vec<RegisterRow>> {
    let count = rows.last().map_or(0, |row| row.registers_end);
    bounded("registers", count, registers_max)?;
    let with_any = || sizes(rows).filter(|size| *size > 0);
    let beyond_first = count - with_any().count();
    let mut siblings = Vec::with_capacity(beyond_first);
    for _ in 0..beyond_first {
        siblings.push(replicas.at(reader.number()?)?);
    }
    let register_of = |replica| {
        let dot = Dot::new(replica, 0);
        RegisterRow { dot, timestamp: Timestamp::default(), deadline: None, value: RowValue::Tombstone }
    };
    let (mut siblings, mut sizes) = (siblings.into_iter(), with_any());
    let mut registers = Vec::with_capacity(count);
    replicas.of(reader, count - beyond_first, several, |_, replica| {
        registers.push(register_of(replica));
        registers.extend(siblings.by_ref().take(sizes.next().map_or(0, |size| size - 1)).map(register_of));
        Ok(())
    })?;
    let (mut each, mut trail) = (registers.iter_mut(), Trail::new(replicas.context));
    reader.values(count, |distance| {
        let Some(register) = each.next() else { return Ok(()) };
        register.dot.counter = counter(&mut trail, register.dot.replica, distance)?;
        Ok(())
    })?;
    Ok(registers)
}

fn read_times(reader: &mut Reader<'_>, registers: &mut [RegisterRow], start: u64, has_logical: bool) -> Result<()> {
    let count = registers.len();
    let mut each = registers.iter_mut();
    reader.differences(start, count, |millis| {
        let timestamp = Timestamp::from_millis(millis);
        set(each.next(), |register| register.timestamp = timestamp);
        if timestamp.millis() == millis { Ok(()) } else { Err(DecodeError::Invalid("a time beyond 48 bits")) }
    })?;
    if !has_logical {
        return Ok(());
    }
    let (mut each, mut is_needed) = (registers.iter_mut(), false);
    reader.differences(0, count, |logical| {
        is_needed |= logical != 0;
        let logical = u16::try_from(logical).map_err(|_| DecodeError::Invalid("a logical time beyond 16 bits"))?;
        let with = |millis: Timestamp| Timestamp::from_bits(millis.to_bits() | u64::from(logical));
        set(each.next(), |register| register.timestamp = with(register.timestamp));
        Ok(())
    })?;
    if is_needed { Ok(()) } else { Err(LEFT_OUT) }
}

/// Kinds, deadlines and lengths. How many values were given before.
fn read_values(reader: &mut Reader<'_>, registers: &mut [RegisterRow], has_kinds: bool) -> Result<usize> {
    let (count, mut values, mut deadlines, mut given) = (registers.len(), 0, 0, 0);
    let mut each = registers.iter_mut();
    column_or(reader, has_kinds, count, kind::VALUE, |kind| {
        let (value, deadline) = match kind {
            kind::TOMBSTONE => (RowValue::Tombstone, None),
            kind::VALUE => (RowValue::At(0..0), None),
            kind::VALUE_WITH_DEADLINE => (RowValue::At(0..0), Some(0)),
            kind::GIVEN => (RowValue::Given(0), None),
            kind::GIVEN_WITH_DEADLINE => (RowValue::Given(0), Some(0)),
            _ => return Err(DecodeError::Invalid("a register of an unknown kind")),
        };
        values += usize::from(value != RowValue::Tombstone);
        given += usize::from(matches!(value, RowValue::Given(_)));
        deadlines += usize::from(deadline.is_some());
        set(each.next(), |register| (register.value, register.deadline) = (value, deadline));
        Ok(())
    })?;
    let mut each = registers.iter_mut().filter(|register| register.deadline.is_some());
    reader.values(deadlines, |after| {
        let deadline = |register: &RegisterRow| register.timestamp.millis().wrapping_add(unzigzag(after));
        set(each.next(), |register| register.deadline = Some(deadline(register)));
        Ok(())
    })?;
    let mut each = registers.iter_mut().filter(|register| register.value != RowValue::Tombstone);
    reader.values(values, |length| {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        set(each.next(), |register| match &mut register.value {
            RowValue::Given(given) => *given = length,
            value => *value = RowValue::At(0..length),
        });
        Ok(())
    })?;
    Ok(given)
}

/// A live dot is within the context that its entry was read under, and stands once in it; what names an entry too is
/// within it.
fn check_dots(rows: &[Row], registers: &[RegisterRow], named: &[Dot], contexts: &[Arc<EntryContext>]) -> Result<()> {
    // Neighbours mostly have one replica and one context: its counter there is looked up once.
    let (mut start, mut last, mut known, mut names) = (0, None, 0, named.iter());
    for row in rows {
        let of_row = &registers[std::mem::replace(&mut start, row.registers_end)..row.registers_end];
        let in_order = of_row.windows(2).all(|pair| pair[0].dot < pair[1].dot);
        let name = if row.is_named() { names.next().copied() } else { None };
        let within = of_row.iter().map(|register| register.dot).chain(name).all(|dot| {
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
