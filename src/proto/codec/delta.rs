//! Deltas: what a push carries, and what a library passes on by hand. Not responsible for their entries: `entries` is.

use super::entries::{Allowed, Reference, read_entries, write_entries};
use super::spoken::Spoken;
use super::{FRAME_ENTRIES_MAX, Result};
use crate::crdt::{CausalContext, Delta, Entries};
use crate::proto::wire::{DecodeError, Reader, Writer};
use bytes::Bytes;

/// The version of an encoded [`Delta`], its first byte.
const DELTA_VERSION: u8 = 1;

/// The flags of a delta: what it says beyond its snapshot.
mod flag {
    /// The base is not what was said last.
    pub(super) const BASE: u8 = 1;
    /// The bound is not what was said last.
    pub(super) const BOUND: u8 = 1 << 1;
    /// It lists live dots.
    pub(super) const LIVE: u8 = 1 << 2;
    /// All that there are.
    pub(super) const ALL: u8 = (1 << 3) - 1;
}

impl Delta {
    /// The delta as bytes. Cost: linear; about three bytes for each entry beside its key and value.
    pub fn encode(&self) -> Bytes {
        debug_assert!(self.entries.is_whole(), "a delta of a library stands alone");
        let mut writer = Writer::default();
        writer.bytes.push(DELTA_VERSION);
        let nothing = Spoken::default();
        write_contexts(&mut writer, self, &nothing);
        write_rest(&mut writer, self, 0);
        writer.bytes.into()
    }

    /// The delta from its bytes. Linear in them. Never panics; takes at most some 110 times their memory, whoever made them, and 32 MiB
    /// for the contexts of entries from syncs that were cut off: a delta with more of them is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let frame = Bytes::copy_from_slice(bytes);
        let mut reader = Reader::new(&frame);
        if reader.byte()? != DELTA_VERSION {
            return Err(DecodeError::Invalid("a delta of another version"));
        }
        let contexts = read_contexts(&mut reader, &Spoken::default())?;
        let allowed = Allowed { entries_max: usize::MAX, parts: false };
        let delta = read_rest(&mut reader, &frame, contexts, allowed, 0)?;
        reader.end()?;
        Ok(delta)
    }
}

/// A push, told as changes of what was said before on its channel.
pub(super) fn write_push(writer: &mut Writer, delta: &Delta, spoken: &mut Spoken) {
    let before = writer.bytes.len();
    write_contexts(writer, delta, spoken);
    let saying = spoken.say(writer, &delta.snapshot, Some(&delta.bound));
    let contexts_bytes = writer.bytes.len() - before;
    write_rest(writer, delta, spoken.millis());
    spoken.take(saying, contexts_bytes);
    spoken.take_millis(last_millis(&delta.entries));
}

pub(super) fn read_push(mut reader: Reader<'_>, frame: &Bytes, spoken: &mut Spoken) -> Result<Delta> {
    let before = reader.left();
    let contexts = read_contexts(&mut reader, spoken)?;
    let saying = spoken.hear(&mut reader, &contexts.snapshot, Some(&contexts.bound))?;
    let contexts_bytes = before - reader.left();
    let allowed = Allowed { entries_max: FRAME_ENTRIES_MAX, parts: true };
    let delta = read_rest(&mut reader, frame, contexts, allowed, spoken.millis())?;
    reader.end()?;
    spoken.take(saying, contexts_bytes);
    spoken.take_millis(last_millis(&delta.entries));
    Ok(delta)
}

fn last_millis(entries: &Entries) -> Option<u64> {
    entries.registers.last().map(|register| register.timestamp.millis())
}

struct Contexts {
    base: CausalContext,
    snapshot: CausalContext,
    bound: CausalContext,
    has_live: bool,
}

fn write_contexts(writer: &mut Writer, delta: &Delta, spoken: &Spoken) {
    let (base, bound) = (delta.base != *spoken.context(), delta.bound != *spoken.bound());
    let flags = [(flag::BASE, base), (flag::BOUND, bound), (flag::LIVE, delta.live.is_some())];
    writer.bytes.push(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(bit, _)| bit).sum());
    if base {
        writer.context_from(spoken.context(), &delta.base);
    }
    writer.context_from(&delta.base, &delta.snapshot);
    if bound {
        writer.context_from(spoken.bound(), &delta.bound);
    }
}

fn read_contexts(reader: &mut Reader<'_>, spoken: &Spoken) -> Result<Contexts> {
    const NO_CHANGE: DecodeError = DecodeError::Invalid("a change of a context that changes nothing");
    let flags = reader.byte()?;
    if flags & !flag::ALL != 0 {
        return Err(DecodeError::Invalid("a flag of a delta that does not exist"));
    }
    let has = |bit| flags & bit != 0;
    let changed = |reader: &mut Reader<'_>, is_there: bool, said: &CausalContext| {
        let context = if is_there { reader.context_from(said)? } else { said.clone() };
        if is_there && context == *said { Err(NO_CHANGE) } else { Ok(context) }
    };
    let base = changed(reader, has(flag::BASE), spoken.context())?;
    let snapshot = reader.context_from(&base)?;
    let bound = changed(reader, has(flag::BOUND), spoken.bound())?;
    Ok(Contexts { base, snapshot, bound, has_live: has(flag::LIVE) })
}

/// What follows the contexts.
fn write_rest(writer: &mut Writer, delta: &Delta, millis: u64) {
    if let Some(live) = &delta.live {
        writer.dot_set(live);
    }
    write_entries(writer, &delta.entries, Reference { context: &delta.snapshot, bound: &delta.bound, millis });
}

fn read_rest(
    reader: &mut Reader<'_>,
    frame: &Bytes,
    contexts: Contexts,
    allowed: Allowed,
    millis: u64,
) -> Result<Delta> {
    let Contexts { base, snapshot, bound, has_live } = contexts;
    let live = if has_live { Some(reader.dot_set()?) } else { None };
    let entries = read_entries(reader, frame, allowed, Reference { context: &snapshot, bound: &bound, millis })?;
    Ok(Delta { base, snapshot, bound, live, entries })
}
