//! Pieces of large values, and what of them a receiver has already. Not responsible for putting them together:
//! `proto::assembly` is.

use super::Result;
use crate::crdt::Dot;
use crate::proto::assembly::{PIECE_BYTES, VALUE_BYTES_MAX};
use crate::proto::message::Piece;
use crate::proto::wire::{DecodeError, Reader, Writer, checked_counter};
use bytes::Bytes;

impl Writer {
    fn dot(&mut self, dot: Dot) {
        self.replica(dot.replica);
        self.number(dot.counter);
    }

    /// Dots in ascending order, and up to where their values are known.
    #[allow(dead_code)] // a pull says it
    pub(crate) fn partial(&mut self, partial: &[(Dot, u64)]) {
        self.count(partial.len());
        for (dot, offset) in partial {
            self.dot(*dot);
            self.number(*offset);
        }
    }
}

impl Reader<'_> {
    fn dot(&mut self) -> Result<Dot> {
        Ok(Dot::new(self.replica()?, checked_counter(self.number()?)?))
    }

    /// The same, read.
    #[allow(dead_code)] // a pull says it
    pub(crate) fn partial(&mut self) -> Result<Vec<(Dot, u64)>> {
        let count = self.count("values in part", 18)?;
        let mut partial: Vec<(Dot, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (dot, offset) = (self.dot()?, self.number()?);
            if partial.last().is_some_and(|last| last.0 >= dot) {
                return Err(DecodeError::Invalid("values in part that are not in order"));
            }
            if !(1..=VALUE_BYTES_MAX).contains(&offset) {
                return Err(DecodeError::Invalid("a value in part of which there is nothing, or too much"));
            }
            partial.push((dot, offset));
        }
        Ok(partial)
    }
}

pub(super) fn write_piece(writer: &mut Writer, piece: &Piece) {
    writer.dot(piece.dot);
    writer.number(piece.total);
    writer.number(piece.offset);
    writer.bytes.extend_from_slice(&piece.bytes);
}

/// The rest of the frame is the piece.
pub(super) fn read_piece(reader: &mut Reader<'_>, frame: &Bytes) -> Result<Piece> {
    let (dot, total, offset) = (reader.dot()?, reader.number()?, reader.number()?);
    let range = reader.range(reader.left())?;
    let end = offset.saturating_add(range.len() as u64);
    if range.is_empty() || range.len() > PIECE_BYTES || end > total {
        return Err(DecodeError::Invalid("a piece that is none of its value"));
    }
    if total > VALUE_BYTES_MAX {
        return Err(DecodeError::TooLarge { what: "bytes of a value", got: total, max: VALUE_BYTES_MAX });
    }
    Ok(Piece { dot, total, offset, bytes: frame.slice(range) })
}
