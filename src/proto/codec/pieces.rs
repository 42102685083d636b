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
}

impl Reader<'_> {
    fn dot(&mut self) -> Result<Dot> {
        Ok(Dot::new(self.replica()?, checked_counter(self.number()?)?))
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
