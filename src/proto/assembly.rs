//! Large values on their way, in pieces. Not responsible for bytes on the wire: `codec` is, nor for asking: `sync` is.
//!
//! A value of more than [`PIECE_BYTES`] goes before the entry that has it, in frames of so much, so that what is fresh
//! passes between them, and so that a cut costs a piece and not the value. The value of a dot never changes: pieces from
//! whomever fit together, and what has arrived before a cut stays for the next pull, from anybody.

use super::message::Piece;
use crate::crdt::{Dot, Entries, RowValue};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The longest piece; longer values go in several.
pub const PIECE_BYTES: usize = 32 << 10;
/// The longest value that goes in pieces.
pub const VALUE_BYTES_MAX: u64 = 1 << 32;

/// The sender's side: the pieces of one value.
#[derive(Clone, Debug)]
pub struct Pieces {
    dot: Dot,
    value: Bytes,
    offset: usize,
}

impl Pieces {
    /// Of the value that `dot` wrote, from `offset` on: as much of it the receiver has.
    pub fn new(dot: Dot, value: Bytes, offset: u64) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(value.len());
        Self { dot, value, offset }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let end = self.value.len().min(self.offset.saturating_add(PIECE_BYTES));
        if self.offset == end {
            return None;
        }
        let bytes = self.value.slice(self.offset..end);
        let offset = std::mem::replace(&mut self.offset, end);
        Some(Piece { dot: self.dot, total: self.value.len() as u64, offset: offset as u64, bytes })
    }
}

/// A piece that does not go on where the value ends so far, or is of another length than the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a piece of a value that does not fit those before it")]
pub struct Misfit;

/// Entries have a value that was to be given before in pieces, and is not here, or not whole. Nothing of them was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of {0} was to come before its entry, and is not whole")]
pub struct Incomplete(pub Dot);

/// The receiver's side: values as far as they have arrived, whoever sent them. In memory, and bounded: if there is more, what
/// nothing has been heard of for longest is dropped, and sent again some day.
#[derive(Debug)]
pub struct Assembly {
    values: BTreeMap<Dot, Partial>,
    bytes: usize,
    bytes_max: usize,
    count_max: usize,
    clock: u64,
}

#[derive(Debug)]
struct Partial {
    total: u64,
    bytes: Vec<u8>,
    /// Grows with every piece of any value.
    touched: u64,
}

impl Default for Assembly {
    fn default() -> Self {
        Self::new(Self::BYTES_MAX, Self::COUNT_MAX)
    }
}

impl Assembly {
    /// What is kept at most, unless said otherwise.
    pub const BYTES_MAX: usize = 64 << 20;
    /// And of how many values.
    pub const COUNT_MAX: usize = 64;

    /// Keeps at most so many bytes, of so many values. A value that is longer alone never becomes whole.
    pub fn new(bytes_max: usize, count_max: usize) -> Self {
        Self { values: BTreeMap::new(), bytes: 0, bytes_max, count_max: count_max.max(1), clock: 0 }
    }

    /// Takes in a piece. What is known of it already is passed over.
    pub fn take(&mut self, piece: &Piece) -> Result<(), Misfit> {
        self.clock += 1;
        let fresh = || Partial { total: piece.total, bytes: Vec::new(), touched: 0 };
        let known = self.values.get(&piece.dot).map_or(0, |partial| partial.bytes.len() as u64);
        let same_total = self.values.get(&piece.dot).is_none_or(|partial| partial.total == piece.total);
        if piece.offset > known || !same_total {
            return Err(Misfit);
        }
        let partial = self.values.entry(piece.dot).or_insert_with(fresh);
        partial.touched = self.clock;
        let new = piece.bytes.get((known - piece.offset) as usize..).unwrap_or_default();
        partial.bytes.extend_from_slice(new);
        self.bytes += new.len();
        self.drop_oldest();
        Ok(())
    }

    fn drop_oldest(&mut self) {
        while self.values.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.values.iter().min_by_key(|(_, partial)| partial.touched).map(|(dot, _)| *dot)
            else {
                return;
            };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, dot: Dot) {
        if let Some(partial) = self.values.remove(&dot) {
            self.bytes -= partial.bytes.len();
        }
    }

    /// How much has arrived of values whose entries have not, in the order of the dots: for the next pull to say.
    pub fn partial(&self) -> Vec<(Dot, u64)> {
        let in_part = self.values.iter().map(|(dot, partial)| (*dot, partial.bytes.len() as u64));
        in_part.filter(|(_, known)| *known > 0).collect()
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same entries, with the values that were given before put in, which are then no longer kept here.
    pub fn complete(&mut self, mut entries: Entries) -> Result<Entries, Incomplete> {
        if entries.given == 0 {
            return Ok(entries);
        }
        let is_given = |value: &RowValue| if let RowValue::Given(total) = value { Some(*total) } else { None };
        let given = entries.registers.iter().filter_map(|register| Some((register.dot, is_given(&register.value)?)));
        let given: Vec<(Dot, usize)> = given.collect();
        let whole = |partial: &Partial, total: usize| partial.bytes.len() == total && partial.total == total as u64;
        for (dot, total) in &given {
            self.values.get(dot).filter(|partial| whole(partial, *total)).ok_or(Incomplete(*dot))?;
        }
        let mut buffer = Vec::from(&entries.buffer[..]);
        for register in entries.registers.iter_mut().filter(|register| is_given(&register.value).is_some()) {
            let value = self.values.get(&register.dot).ok_or(Incomplete(register.dot))?;
            let start = buffer.len();
            buffer.extend_from_slice(&value.bytes);
            register.value = RowValue::At(start..buffer.len());
        }
        given.iter().for_each(|(dot, _)| self.forget(*dot));
        (entries.buffer, entries.given) = (Bytes::from(buffer), 0);
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{EntriesBuilder, Key, OrMap, ReplicaId};

    const NOW: u64 = 1_700_000_000_000;

    fn dot(counter: u64) -> Dot {
        Dot::new(ReplicaId::from(1), counter)
    }

    fn value(bytes: usize) -> Bytes {
        (0..bytes).map(|i| (i % 251) as u8).collect()
    }

    /// A map with a large value and a small one, its entries without the large one, and that one apart.
    fn parted(bytes: usize) -> (OrMap, Entries, Vec<(Dot, Bytes)>) {
        let mut map = OrMap::new(ReplicaId::from(1));
        map.put(b"film", value(bytes), NOW);
        map.put(b"note", b"short", NOW);
        let mut builder = EntriesBuilder::default().without_values_beyond(PIECE_BYTES);
        [b"film", b"note"].into_iter().for_each(|key| builder.push(&map, Key::usr(key)));
        let large = builder.large();
        (map, builder.finish(), large)
    }

    #[test]
    fn a_value_goes_in_pieces_and_its_entry_after_them() {
        for bytes in [PIECE_BYTES + 1, 2 * PIECE_BYTES, 5 * PIECE_BYTES - 3] {
            let (map, entries, large) = parted(bytes);
            let (name, film) = large[0].clone();
            assert_eq!((large.len(), film.len(), entries.given), (1, bytes, 1));
            let mut assembly = Assembly::default();
            assert_eq!(assembly.complete(entries.clone()), Err(Incomplete(name)));
            let pieces: Vec<Piece> = Pieces::new(name, film, 0).collect();
            assert_eq!(pieces.len(), bytes.div_ceil(PIECE_BYTES));
            pieces.iter().for_each(|piece| assembly.take(piece).expect("it fits"));
            assert_eq!((assembly.partial(), assembly.bytes()), (vec![(name, bytes as u64)], bytes));
            let whole = assembly.complete(entries).expect("all is there");
            assert_eq!(assembly.bytes(), 0);
            let mut other = OrMap::new(ReplicaId::from(2));
            let _ = other.join_entries(&other.resolve(whole).expect("keys are there"), |_| ());
            assert_eq!(other.registers(b"film"), map.registers(b"film"));
            assert_eq!(other.registers(b"note"), map.registers(b"note"));
        }
    }

    #[test]
    fn after_a_cut_it_goes_on_from_there_with_whomever() {
        let bytes = value(3 * PIECE_BYTES + 5);
        let mut assembly = Assembly::default();
        Pieces::new(dot(7), bytes.clone(), 0).take(2).for_each(|piece| assembly.take(&piece).expect("it fits"));
        assert_eq!(assembly.partial(), [(dot(7), 2 * PIECE_BYTES as u64)]);
        let (name, known) = assembly.partial()[0];
        // Another sender may not know how far the first one came: what is known is passed over.
        for from in [known, known - 10, 0] {
            Pieces::new(name, bytes.clone(), from).for_each(|piece| assembly.take(&piece).expect("it fits"));
            assert_eq!(assembly.values[&name].bytes, bytes);
        }
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused_and_change_nothing() {
        let mut assembly = Assembly::default();
        let piece = |offset, total| Piece { dot: dot(1), total, offset, bytes: value(10) };
        assert_eq!(assembly.take(&piece(10, 100)), Err(Misfit), "the beginning lacks");
        assembly.take(&piece(0, 100)).expect("it fits");
        assert_eq!(assembly.take(&piece(11, 100)), Err(Misfit), "a byte lacks between them");
        assert_eq!(assembly.take(&piece(10, 99)), Err(Misfit), "it is of another length");
        assert_eq!(assembly.partial(), [(dot(1), 10)]);
    }

    #[test]
    fn it_is_bounded_and_drops_what_was_heard_of_longest_ago() {
        let mut assembly = Assembly::new(100, 3);
        let mut take = |counter, offset, bytes| {
            assembly.take(&Piece { dot: dot(counter), total: 1_000, offset, bytes: value(bytes) }).expect("it fits");
            assert!(assembly.bytes() <= 100);
            assembly.partial().iter().map(|(dot, known)| (dot.counter, *known)).collect::<Vec<_>>()
        };
        take(1, 0, 30);
        take(2, 0, 30);
        assert_eq!(take(3, 0, 30), [(1, 30), (2, 30), (3, 30)]);
        assert_eq!(take(1, 30, 5), [(1, 35), (2, 30), (3, 30)]);
        assert_eq!(take(4, 0, 1), [(1, 35), (3, 30), (4, 1)], "a fourth value");
        assert_eq!(take(4, 1, 60), [(1, 35), (4, 61)], "too many bytes");
        assert_eq!(take(5, 0, 101), [], "more than there is room for");
        assert_eq!(assembly.bytes(), 0);
    }
}
