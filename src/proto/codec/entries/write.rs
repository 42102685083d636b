//! Entries to bytes.

use super::{Reference, Trail, kind, mask, sizes};
use crate::crdt::{CausalContext, Dot, Entries, RegisterRow, ReplicaId, RowValue, Section};
use crate::proto::wire::{Writer, zigzag};

/// Replicas by their place in the reference; those beyond it follow, in order.
struct Places<'a> {
    context: &'a CausalContext,
    beyond: Vec<ReplicaId>,
}

impl<'a> Places<'a> {
    fn new(context: &'a CausalContext, entries: &Entries) -> Self {
        let of_registers = entries.registers.iter().map(|register| register.dot.replica);
        let all = of_registers.chain(entries.named.iter().map(|dot| dot.replica));
        let (mut beyond, mut last) = (Vec::new(), None);
        for replica in all {
            if last.replace(replica) != Some(replica) && context.place(replica).is_none() {
                beyond.push(replica);
            }
        }
        beyond.sort_unstable();
        beyond.dedup();
        Self { context, beyond }
    }

    fn of(&self, replica: ReplicaId) -> u64 {
        let beyond = || self.context.len() + self.beyond.binary_search(&replica).unwrap_or_default();
        self.context.place(replica).unwrap_or_else(beyond) as u64
    }

    /// The places of many, neighbours being mostly the same.
    fn of_all(&self, replicas: impl Iterator<Item = ReplicaId>) -> Vec<u64> {
        let mut last: Option<(ReplicaId, u64)> = None;
        let place = |replica| match last {
            Some((known, place)) if known == replica => place,
            _ => last.insert((replica, self.of(replica))).1,
        };
        replicas.map(place).collect()
    }
}

/// The replicas' places of what is written, and the mask that follows.
struct Layout<'a> {
    places: Places<'a>,
    names: Vec<u64>,
    /// Of the first register of each entry that has any,
    first: Vec<u64>,
    /// and of the others.
    siblings: Vec<u64>,
    mask: u64,
}

fn several(numbers: &[u64]) -> bool {
    numbers.windows(2).any(|pair| pair[0] != pair[1])
}

impl<'a> Layout<'a> {
    fn new(entries: &Entries, reference: Reference<'a>) -> Self {
        let places = Places::new(reference.context, entries);
        let names = places.of_all(entries.named.iter().map(|dot| dot.replica));
        let (mut start, mut first, mut siblings) = (0, Vec::with_capacity(entries.rows.len()), Vec::new());
        for row in &entries.rows {
            let of_row = &entries.registers[std::mem::replace(&mut start, row.registers_end)..row.registers_end];
            first.extend(of_row.first().map(|register| register.dot.replica));
            siblings.extend(of_row.iter().skip(1).map(|register| register.dot.replica));
        }
        let (first, siblings) = (places.of_all(first.into_iter()), places.of_all(siblings.into_iter()));
        let mut layout = Self { places, names, first, siblings, mask: 0 };
        layout.mask = layout.mask_of(entries, reference);
        layout
    }

    fn mask_of(&self, entries: &Entries, reference: Reference<'_>) -> u64 {
        let (rows, registers) = (&entries.rows, &entries.registers);
        let is_reference =
            |pair: &crate::crdt::EntryContext| pair.context == *reference.context && pair.bound == *reference.bound;
        let bits = [
            (mask::BY_DOT, !entries.named.is_empty()),
            (mask::KINDS, registers.iter().any(|register| kind_of(register) != kind::VALUE)),
            (mask::LOGICAL, registers.iter().any(|register| register.timestamp.logical() != 0)),
            (mask::REPLICAS, several(&self.first)),
            (mask::SECTIONS, rows.iter().any(|row| row.section != Section::Usr)),
            (mask::SIZES, sizes(rows).any(|size| size != 1)),
            (mask::CONTEXTS, !matches!(entries.contexts.as_slice(), [pair] if is_reference(pair))),
            (mask::MIXED, !entries.named.is_empty() && entries.named.len() < rows.len()),
            (mask::NAMES, several(&self.names)),
            (mask::BEYOND, !self.places.beyond.is_empty()),
        ];
        bits.into_iter().filter(|(_, is_set)| *is_set).map(|(bit, _)| bit).sum()
    }

    fn has(&self, bit: u64) -> bool {
        self.mask & bit != 0
    }
}

fn kind_of(register: &RegisterRow) -> u64 {
    match (&register.value, register.deadline) {
        (RowValue::Tombstone, _) => kind::TOMBSTONE,
        (RowValue::At(_), None) => kind::VALUE,
        (RowValue::At(_), Some(_)) => kind::VALUE_WITH_DEADLINE,
        (RowValue::Given(_), None) => kind::GIVEN,
        (RowValue::Given(_), Some(_)) => kind::GIVEN_WITH_DEADLINE,
    }
}

pub(in super::super) fn write_entries(writer: &mut Writer, entries: &Entries, reference: Reference<'_>) {
    writer.count(entries.rows.len());
    if entries.rows.is_empty() {
        return;
    }
    writer.bytes.reserve(entries.buffer.len() + 8 * entries.rows.len());
    let layout = Layout::new(entries, reference);
    writer.number(layout.mask);
    write_rows(writer, entries, reference, &layout);
    write_dots(writer, entries, reference, &layout);
    write_registers(writer, entries, reference, &layout);
    let keys = entries.rows.iter().map(|row| row.key.clone());
    let values = entries.registers.iter().filter_map(|register| register.value.range());
    keys.chain(values).for_each(|range| writer.bytes.extend_from_slice(&entries.buffer[range]));
}

fn write_rows(writer: &mut Writer, entries: &Entries, reference: Reference<'_>, layout: &Layout<'_>) {
    let rows = &entries.rows;
    if layout.has(mask::CONTEXTS) {
        writer.count(entries.contexts.len());
        for pair in &entries.contexts {
            writer.context_from(reference.context, &pair.context);
            writer.context_from(reference.bound, &pair.bound);
        }
    }
    if layout.has(mask::SECTIONS) {
        writer.values(rows.iter().map(|row| row.section as u64));
    }
    if layout.has(mask::CONTEXTS) && entries.contexts.len() > 1 {
        writer.values(rows.iter().map(|row| u64::from(row.context)));
    }
    if layout.has(mask::SIZES) {
        writer.values(sizes(rows).map(|size| size as u64));
    }
    if layout.has(mask::MIXED) {
        writer.values(rows.iter().map(|row| u64::from(row.is_named())));
    }
    writer.values(rows.iter().filter(|row| !row.is_named()).map(|row| row.key.len() as u64));
}

/// Names, and the registers' dots. Every name, and every register beyond the first of its entry, takes a byte at least,
/// so that no frame says more than a stated multiple of its length.
fn write_dots(writer: &mut Writer, entries: &Entries, reference: Reference<'_>, layout: &Layout<'_>) {
    if layout.has(mask::BEYOND) {
        writer.count(layout.places.beyond.len());
        layout.places.beyond.iter().for_each(|replica| writer.replica(*replica));
    }
    write_places(writer, &layout.names, layout.has(mask::NAMES));
    distances(reference.context, entries.named.iter().copied()).for_each(|distance| writer.number(distance));
    layout.siblings.iter().for_each(|place| writer.number(*place));
    write_places(writer, &layout.first, layout.has(mask::REPLICAS));
    writer.values(distances(reference.context, entries.registers.iter().map(|register| register.dot)));
}

/// One number where all are the same.
fn write_places(writer: &mut Writer, places: &[u64], several: bool) {
    let written = if several { places } else { &places[..places.len().min(1)] };
    writer.values(written.iter().copied());
}

/// Of each counter, to the one of the same replica before it.
fn distances(reference: &CausalContext, dots: impl Iterator<Item = Dot>) -> impl Iterator<Item = u64> {
    let mut trail = Trail::new(reference);
    dots.map(move |dot| {
        let last = std::mem::replace(trail.last(dot.replica), dot.counter);
        zigzag(dot.counter.wrapping_sub(last))
    })
}

fn write_registers(writer: &mut Writer, entries: &Entries, reference: Reference<'_>, layout: &Layout<'_>) {
    let registers = &entries.registers;
    writer.differences(reference.millis, registers.iter().map(|register| register.timestamp.millis()));
    if layout.has(mask::LOGICAL) {
        writer.differences(0, registers.iter().map(|register| u64::from(register.timestamp.logical())));
    }
    if layout.has(mask::KINDS) {
        writer.values(registers.iter().map(kind_of));
    }
    let after = |register: &RegisterRow| Some(zigzag(register.deadline?.wrapping_sub(register.timestamp.millis())));
    writer.values(registers.iter().filter_map(after));
    writer.values(registers.iter().filter_map(|register| match &register.value {
        RowValue::Tombstone => None,
        RowValue::At(range) => Some(range.len() as u64),
        RowValue::Given(length) => Some(*length as u64),
    }));
}
