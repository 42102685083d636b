//! The messages at the beginning and the end of a pull, which tell contexts and sets of dots by what differs. Not
//! responsible for what is in them: `reconcile` is.

use super::Result;
use crate::crdt::{Dot, ReplicaId, Symbol};
use crate::proto::message::{Beginning, Changes, Pull, Symbols, Told};
use crate::proto::wire::{COUNTER_END, DecodeError, Reader, Writer};

const SYMBOL_BYTES: usize = 13;

/// Bits of the first byte of a pull.
const CATCH_UP: u8 = 1;
const BY_KEY: u8 = 2;
const HAVE: u8 = 4;
const PARTIAL: u8 = 8;
/// And, from here on, how the contexts are told.
const TOLD: u8 = 4;

pub(super) fn write_pull(writer: &mut Writer, pull: &Pull) {
    let told: u8 = match pull.told {
        Told::Clocks { .. } => 0,
        Told::Coded { .. } => 1,
        Told::Whole { .. } => 2,
    };
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let parts = bit(!pull.have.is_empty(), HAVE) | bit(!pull.partial.is_empty(), PARTIAL);
    writer.bytes.push(told << TOLD | bit(pull.catch_up, CATCH_UP) | bit(pull.by_key, BY_KEY) | parts);
    if !pull.have.is_empty() {
        writer.dot_set(&pull.have);
    }
    if !pull.partial.is_empty() {
        writer.count(pull.partial.len());
        for (dot, bytes) in &pull.partial {
            writer.replica(dot.replica);
            writer.number(dot.counter);
            writer.number(*bytes);
        }
    }
    match &pull.told {
        Told::Clocks { context, bound } => write_clocks(writer, context, bound),
        Told::Coded { check, symbols } => {
            writer.bytes.extend_from_slice(&check.to_be_bytes());
            write_symbols(writer, symbols);
        }
        Told::Whole { context, bound } => {
            writer.context(context);
            writer.context(bound);
        }
    }
}

pub(super) fn read_pull(reader: &mut Reader<'_>) -> Result<Pull> {
    let bits = reader.byte()?;
    let mut pull = Pull { catch_up: bits & CATCH_UP != 0, by_key: bits & BY_KEY != 0, ..Pull::default() };
    if bits & HAVE != 0 {
        pull.have = reader.dot_set()?;
        not_empty(pull.have.is_empty())?;
    }
    if bits & PARTIAL != 0 {
        for _ in 0..reader.count("values that are known in part", 18)? {
            let dot = Dot::new(reader.replica()?, counter(reader.number()?)?);
            if pull.partial.last().is_some_and(|last| last.0 >= dot) {
                return Err(DecodeError::Invalid("values known in part that are not in order"));
            }
            pull.partial.push((dot, reader.number()?));
        }
        not_empty(pull.partial.is_empty())?;
    }
    pull.told = match bits >> TOLD {
        0 => read_clocks(reader)?,
        1 => Told::Coded { check: eight(reader)?, symbols: read_symbols(reader)? },
        2 => Told::Whole { context: reader.context()?, bound: reader.context()? },
        _ => return Err(DecodeError::Invalid("a pull that tells its contexts in an unknown way")),
    };
    Ok(pull)
}

fn not_empty(empty: bool) -> Result<()> {
    if empty { Err(DecodeError::Invalid("an empty part that is said to be there")) } else { Ok(()) }
}

fn counter(counter: u64) -> Result<u64> {
    if (1..COUNTER_END).contains(&counter) { Ok(counter) } else { Err(DecodeError::Invalid("a counter out of range")) }
}

fn eight(reader: &mut Reader<'_>) -> Result<u64> {
    let mut number = 0;
    for _ in 0..8 {
        number = number << 8 | u64::from(reader.byte()?);
    }
    Ok(number)
}

// --- Clocks: those of a bound mostly follow from those of the context

fn write_clocks(writer: &mut Writer, context: &[u64], bound: &[u64]) {
    writer.count(context.len());
    context.iter().for_each(|element| writer.bytes.extend_from_slice(&element.to_be_bytes()));
    let mut others = Vec::new();
    let mut bound = bound.iter().copied().peekable();
    for &element in context {
        // The greatest of the bound that is not above it, and above the one before.
        let mut below = None;
        while let Some(clock) = bound.next_if(|clock| *clock <= element) {
            others.extend(below.replace(clock));
        }
        match below.map(|below| (below, element - below)) {
            Some((_, distance)) if distance < COUNTER_END => writer.number(distance + 1),
            far => {
                others.extend(far.map(|far| far.0));
                writer.number(0);
            }
        }
    }
    others.extend(bound);
    writer.count(others.len());
    others.iter().for_each(|element| writer.bytes.extend_from_slice(&element.to_be_bytes()));
}

fn read_clocks(reader: &mut Reader<'_>) -> Result<Told> {
    let start = reader.rest();
    let count = reader.count("clocks of a pull", 9)?;
    let mut context = Vec::with_capacity(count);
    for _ in 0..count {
        context.push(eight(reader)?);
    }
    let mut bound = Vec::new();
    for &element in &context {
        match reader.number()? {
            0 => {}
            distance => bound.push(element.wrapping_sub(distance - 1)),
        }
    }
    for _ in 0..reader.count("further clocks of a bound", 8)? {
        bound.push(eight(reader)?);
    }
    bound.sort_unstable();
    let in_order = |clocks: &[u64]| clocks.windows(2).all(|pair| pair[0] < pair[1]);
    let mut again = Writer::default();
    write_clocks(&mut again, &context, &bound);
    let read = &start[..start.len() - reader.left()];
    if in_order(&context) && in_order(&bound) && again.bytes == read {
        Ok(Told::Clocks { context, bound })
    } else {
        Err(DecodeError::Invalid("clocks that are not in their form"))
    }
}

// --- Symbols

pub(super) fn write_symbols(writer: &mut Writer, symbols: &Symbols) {
    writer.number(symbols.total);
    writer.count(symbols.symbols.len());
    for symbol in &symbols.symbols {
        writer.bytes.extend_from_slice(&symbol.sum.to_be_bytes());
        writer.bytes.extend_from_slice(&symbol.check.to_be_bytes());
        writer.bytes.push(symbol.count);
    }
}

pub(super) fn read_symbols(reader: &mut Reader<'_>) -> Result<Symbols> {
    let total = reader.number()?;
    let count = reader.count("symbols", SYMBOL_BYTES)?;
    let mut symbols = Vec::with_capacity(count);
    for _ in 0..count {
        let sum = eight(reader)?;
        let mut check = 0;
        for _ in 0..4 {
            check = check << 8 | u32::from(reader.byte()?);
        }
        symbols.push(Symbol { sum, check, count: reader.byte()? });
    }
    if symbols.is_empty() {
        return Err(DecodeError::Invalid("no symbols"));
    }
    Ok(Symbols { total, symbols })
}

// --- The beginning

pub(super) fn write_beginning(writer: &mut Writer, beginning: &Beginning) {
    writer.flag(beginning.catch_up);
    let Beginning { snapshot, bound, bound_in_snapshot, .. } = beginning;
    let there = [
        !snapshot.clocks.is_empty(),
        !snapshot.new.is_empty(),
        !bound.clocks.is_empty(),
        !bound_in_snapshot.is_empty(),
        !bound.new.is_empty(),
    ];
    writer.bytes.push(there.iter().rev().fold(0, |bits, &there| bits << 1 | u8::from(there)));
    write_changes(writer, snapshot.clocks.iter().map(|&(place, change)| (place, zigzag(change))));
    write_new(writer, &snapshot.new);
    write_changes(writer, bound.clocks.iter().map(|&(place, change)| (place, zigzag(change))));
    write_changes(writer, bound_in_snapshot.iter().copied());
    write_new(writer, &bound.new);
}

pub(super) fn read_beginning(reader: &mut Reader<'_>) -> Result<Beginning> {
    let catch_up = reader.flag()?;
    let there = reader.byte()?;
    if there >> 5 != 0 {
        return Err(DecodeError::Invalid("a beginning of unknown parts"));
    }
    let is_there = |part: u8| there >> part & 1 == 1;
    let change = |number: u64| Ok(unzigzag(number));
    let snapshot = Changes { clocks: read_changes(reader, is_there(0), change)?, new: read_new(reader, is_there(1))? };
    let clocks = read_changes(reader, is_there(2), change)?;
    let bound_in_snapshot = read_changes(reader, is_there(3), counter)?;
    let bound = Changes { clocks, new: read_new(reader, is_there(4))? };
    Ok(Beginning { catch_up, snapshot, bound, bound_in_snapshot })
}

fn write_changes(writer: &mut Writer, changes: impl ExactSizeIterator<Item = (u32, u64)>) {
    if changes.len() == 0 {
        return;
    }
    writer.count(changes.len());
    let mut next = 0;
    for (place, change) in changes {
        writer.number(u64::from(place - next));
        writer.number(change);
        next = place + 1;
    }
}

fn read_changes<T>(reader: &mut Reader<'_>, there: bool, checked: impl Fn(u64) -> Result<T>) -> Result<Vec<(u32, T)>> {
    let count = if there { reader.count("changes of a context", 2)? } else { 0 };
    not_empty(there && count == 0)?;
    let (mut changes, mut next) = (Vec::with_capacity(count), 0_u64);
    for _ in 0..count {
        let place = reader.number()?.saturating_add(next);
        // So that the next one is of that size too.
        let fits = u32::try_from(place).ok().filter(|&place| place < u32::MAX);
        let fits = fits.ok_or(DecodeError::Invalid("a place that no clock has"))?;
        changes.push((fits, checked(reader.number()?)?));
        next = place + 1;
    }
    Ok(changes)
}

fn write_new(writer: &mut Writer, new: &[(ReplicaId, u64)]) {
    if new.is_empty() {
        return;
    }
    writer.count(new.len());
    for (replica, counter) in new {
        writer.replica(*replica);
        writer.number(*counter);
    }
}

fn read_new(reader: &mut Reader<'_>, there: bool) -> Result<Vec<(ReplicaId, u64)>> {
    if !there {
        return Ok(Vec::new());
    }
    let context = reader.context()?;
    not_empty(context.is_empty())?;
    Ok(context.iter().map(|dot| (dot.replica, dot.counter)).collect())
}

fn zigzag(change: i64) -> u64 {
    (change << 1 ^ change >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
