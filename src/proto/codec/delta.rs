//! Deltas: what a push carries, and what a library passes on by hand. Not responsible for their entries: `entries` is.

use super::Result;
use super::entries::{read_entries, write_entries};
use crate::crdt::Delta;
use crate::proto::wire::{DecodeError, Reader, Writer};
use bytes::Bytes;

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

    /// The delta from its bytes. Never panics; takes at most some 110 times their memory, whoever made them, and 32 MiB
    /// for the contexts of entries from syncs that were cut off: a delta with more of them is refused.
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

pub(super) fn write_delta(writer: &mut Writer, delta: &Delta) {
    writer.context(&delta.base);
    writer.context_from(&delta.base, &delta.snapshot);
    writer.context(&delta.bound);
    writer.flag(delta.live.is_some());
    if let Some(live) = &delta.live {
        writer.dot_set(live);
    }
    write_entries(writer, &delta.entries, &delta.snapshot, &delta.bound);
}

pub(super) fn read_delta(reader: &mut Reader<'_>, frame: &Bytes, entries_max: usize) -> Result<Delta> {
    let base = reader.context()?;
    let snapshot = reader.context_from(&base)?;
    let bound = reader.context()?;
    let live = if reader.flag()? { Some(reader.dot_set()?) } else { None };
    let entries = read_entries(reader, frame, entries_max, &snapshot, &bound)?;
    Ok(Delta { base, snapshot, bound, live, entries })
}
