//! Messages to bytes and back: versioned, bounded, never panics. `proto-docs/wire.md` says the same in words.
//! Not responsible for frames' lengths on a stream: the runtime is.
//!
//! Small messages are `bincode`; whatever holds contexts or entries has a layout of its own: entries in columns, dots and
//! clocks as differences, so that a bulk sync costs little beside the keys and values themselves.

mod delta;
mod entries;
mod pull;
mod small;

use super::message::{Begin, Message, Part};
use super::wire::{DecodeError, Reader, Writer};
use bytes::Bytes;
use delta::{read_delta, write_delta};
use entries::{read_entries, write_entries};
use pull::{read_beginning, read_pull, read_symbols, write_beginning, write_pull, write_symbols};
use small::{read_small, small};

/// The longest frame: a message that a peer sends beyond it breaks the protocol.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// The most entries in one frame, so that a short frame cannot cost much memory. A library [`Delta`] may have more.
pub const FRAME_ENTRIES_MAX: usize = 1 << 16;

type Result<T> = std::result::Result<T, DecodeError>;

const HELLO: u8 = 0;
const DIGEST: u8 = 1;
const CONTEXT: u8 = 2;
const PUSH: u8 = 3;
const GOODBYE: u8 = 4;
const PULL: u8 = 5;
const BEGIN: u8 = 6;
const LIVE: u8 = 7;
const MORE: u8 = 8;
const CHUNK: u8 = 9;
const DONE: u8 = 10;
const SYMBOLS: u8 = 11;
const CONTEXTS: u8 = 12;
const DECODED: u8 = 13;

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
            write_pull(&mut writer, pull);
        }
        Message::Begin(beginning) => {
            writer.bytes.push(BEGIN);
            write_beginning(&mut writer, beginning);
        }
        Message::Live(Part { part, last }) => {
            writer.bytes.push(LIVE);
            writer.flag(*last);
            writer.dot_set(part);
        }
        Message::Symbols(symbols) => {
            writer.bytes.push(SYMBOLS);
            write_symbols(&mut writer, symbols);
        }
        Message::More { symbols, differences } => {
            writer.bytes.push(MORE);
            writer.number(*symbols);
            writer.number(*differences);
        }
        Message::Contexts { context, bound } => {
            writer.bytes.push(CONTEXTS);
            writer.context(context);
            writer.context(bound);
        }
        Message::Decoded => writer.bytes.push(DECODED),
        Message::Chunk(entries) => {
            writer.bytes.push(CHUNK);
            let begun = begun.unwrap_or(&nothing);
            write_entries(&mut writer, entries, &begun.snapshot, &begun.bound);
        }
        Message::Done { bound } => {
            writer.bytes.push(DONE);
            writer.context_from(&begun.unwrap_or(&nothing).bound, bound);
        }
    }
    writer.bytes.into()
}

/// The message from its bytes, which it goes on to share. `begun` as in [`encode`].
pub fn decode(frame: &Bytes, begun: Option<&Begin>) -> Result<Message> {
    bounded("bytes of a frame", frame.len(), FRAME_BYTES_MAX)?;
    let mut reader = Reader::new(frame);
    let nothing = Begin::default();
    let begun = begun.unwrap_or(&nothing);
    let message = match reader.byte()? {
        HELLO => Message::Hello(read_small(&mut reader, HELLO)?),
        DIGEST => Message::Digest(read_small(&mut reader, DIGEST)?),
        CONTEXT => Message::Context { replace: reader.flag()?, context: reader.context()? },
        PUSH => Message::Push(read_delta(&mut reader, frame, FRAME_ENTRIES_MAX)?),
        GOODBYE => Message::Goodbye { left: read_small(&mut reader, GOODBYE)? },
        PULL => Message::Pull(read_pull(&mut reader)?),
        BEGIN => Message::Begin(read_beginning(&mut reader)?),
        LIVE => Message::Live(Part { last: reader.flag()?, part: reader.dot_set()? }),
        SYMBOLS => Message::Symbols(read_symbols(&mut reader)?),
        MORE => Message::More { symbols: reader.number()?, differences: reader.number()? },
        CONTEXTS => Message::Contexts { context: reader.context()?, bound: reader.context()? },
        DECODED => Message::Decoded,
        CHUNK => Message::Chunk(read_entries(&mut reader, frame, FRAME_ENTRIES_MAX, &begun.snapshot, &begun.bound)?),
        DONE => Message::Done { bound: reader.context_from(&begun.bound)? },
        _ => return Err(DecodeError::Invalid("a message of an unknown kind")),
    };
    reader.end()?;
    Ok(message)
}
fn bounded(what: &'static str, got: usize, max: usize) -> Result<()> {
    if got > max { Err(DecodeError::TooLarge { what, got: got as u64, max: max as u64 }) } else { Ok(()) }
}
