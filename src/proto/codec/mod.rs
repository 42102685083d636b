//! Messages to bytes and back: versioned, bounded, never panics. `proto-docs/wire.md` says the same in words.
//! Not responsible for frames' lengths on a stream: the runtime is.
//!
//! Small messages are `bincode`; whatever holds contexts or entries has a layout of its own: entries in columns, dots and
//! clocks as differences, so that a sync costs little beside the keys and values themselves.
//!
//! What a frame means rests on what was said before: on the control channel on all of it ([`Spoken`]: use
//! [`encode_control`] and [`decode_control`], each frame once and in order), in a pull on its `Begin` ([`encode`] and
//! [`decode`]).

mod columns;
mod compress;
mod delta;
mod entries;
mod pieces;
mod pull;
mod small;
mod spoken;

pub(crate) use compress::Compressing;
pub use compress::{Compressor, FEATURE_ZSTD, FEATURES, plain_bytes};
pub use spoken::Spoken;

use super::message::{Begin, Digest, Message, Part};
use super::wire::{DecodeError, Reader, Writer};
use crate::crdt::{Audit, Entries};
use bytes::Bytes;
use delta::{read_push, write_push};
use entries::{Allowed, Reference, read_entries, write_entries};
use pieces::{read_piece, write_piece};
use pull::{read_beginning, read_pull, read_symbols, write_beginning, write_pull, write_symbols};
use small::{read_small, small};

/// The longest frame: a message that a peer sends beyond it breaks the protocol.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// The most entries in one frame, so that a short frame cannot cost much memory. A library [`Delta`](crate::Delta) may have
/// more.
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
/// A digest that is to be answered.
const DIGEST_ASKING: u8 = 14;
const PIECE: u8 = 15;
const COMPRESSED: u8 = 16;
const SURPLUS: u8 = 17;
const SHUFFLE: u8 = 18;
const PRUNE: u8 = 19;
const GRAFT: u8 = 20;

/// The message of a pull as bytes. `begun` is the `Begin` of the pull that it belongs to: contexts are told as what has
/// changed since. Of a message of the control channel: as if it were the first there.
pub fn encode(message: &Message, begun: Option<&Begin>) -> Bytes {
    encode_after(message, begun, &mut Spoken::default())
}

/// The message of a pull from its bytes, which it goes on to share. `begun` as in [`encode`].
pub fn decode(frame: &Bytes, begun: Option<&Begin>) -> Result<Message> {
    decode_after(frame, begun, &mut Spoken::default())
}

/// The next message on the control channel as bytes. It must be sent, and before any that is encoded after it.
pub fn encode_control(message: &Message, spoken: &mut Spoken) -> Bytes {
    encode_after(message, None, spoken)
}

/// The next message on the control channel from its bytes: each once, in the order in which they came. After an error
/// nothing has changed; the link is to be closed.
pub fn decode_control(frame: &Bytes, spoken: &mut Spoken) -> Result<Message> {
    decode_after(frame, None, spoken)
}

fn encode_after(message: &Message, begun: Option<&Begin>, spoken: &mut Spoken) -> Bytes {
    let mut writer = Writer::default();
    spoken.say_nothing();
    match message {
        Message::Hello(hello) => small(&mut writer, HELLO, hello),
        Message::Digest(digest) => write_digest(&mut writer, digest),
        Message::Goodbye { left } => small(&mut writer, GOODBYE, left),
        Message::Surplus => writer.bytes.push(SURPLUS),
        Message::Shuffle(shuffle) => small(&mut writer, SHUFFLE, shuffle),
        Message::Prune => writer.bytes.push(PRUNE),
        Message::Graft => writer.bytes.push(GRAFT),
        Message::Context { context, replace } => {
            writer.bytes.push(CONTEXT);
            writer.flag(*replace);
            writer.context_from(spoken.context(), context);
            let saying = spoken.say(&mut writer, context, None);
            spoken.take(saying, writer.bytes.len() - 2);
        }
        Message::Push(delta) => {
            writer.bytes.push(PUSH);
            write_push(&mut writer, delta, spoken);
        }
        Message::Piece(piece) => {
            writer.bytes.push(PIECE);
            write_piece(&mut writer, piece);
        }
        message => write_of_pull(&mut writer, message, begun.unwrap_or(&Begin::default())),
    }
    writer.bytes.into()
}

fn write_of_pull(writer: &mut Writer, message: &Message, begun: &Begin) {
    match message {
        Message::Pull(pull) => {
            writer.bytes.push(PULL);
            write_pull(writer, pull);
        }
        Message::Begin(beginning) => {
            writer.bytes.push(BEGIN);
            write_beginning(writer, beginning);
        }
        Message::Live(Part { part, last }) => {
            writer.bytes.push(LIVE);
            writer.flag(*last);
            writer.dot_set(part);
        }
        Message::Symbols(symbols) => {
            writer.bytes.push(SYMBOLS);
            write_symbols(writer, symbols);
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
            write_entries(writer, entries, reference(begun));
        }
        Message::Done { bound } => {
            writer.bytes.push(DONE);
            writer.context_from(&begun.bound, bound);
        }
        // All that is said on the control channel, and pieces, which need no `Begin`.
        _ => {}
    }
}

fn reference(begun: &Begin) -> Reference<'_> {
    Reference { context: &begun.snapshot, bound: &begun.bound, millis: 0 }
}

fn decode_after(frame: &Bytes, begun: Option<&Begin>, spoken: &mut Spoken) -> Result<Message> {
    let frame = &compress::expand(frame)?;
    let mut reader = Reader::new(frame);
    let nothing = Begin::default();
    let begun = begun.unwrap_or(&nothing);
    let message = match reader.byte()? {
        HELLO => Message::Hello(read_small(&mut reader, HELLO)?),
        DIGEST => read_digest(&mut reader, false)?,
        DIGEST_ASKING => read_digest(&mut reader, true)?,
        CONTEXT => return read_context(reader, spoken),
        PUSH => return read_push(reader, frame, spoken).map(Message::Push),
        GOODBYE => Message::Goodbye { left: read_small(&mut reader, GOODBYE)? },
        SURPLUS => Message::Surplus,
        SHUFFLE => Message::Shuffle(read_small(&mut reader, SHUFFLE)?),
        PRUNE => Message::Prune,
        GRAFT => Message::Graft,
        PULL => Message::Pull(read_pull(&mut reader)?),
        BEGIN => Message::Begin(read_beginning(&mut reader)?),
        LIVE => Message::Live(Part { last: reader.flag()?, part: reader.dot_set()? }),
        SYMBOLS => Message::Symbols(read_symbols(&mut reader)?),
        MORE => Message::More { symbols: reader.number()?, differences: reader.number()? },
        CONTEXTS => Message::Contexts { context: reader.context()?, bound: reader.context()? },
        DECODED => Message::Decoded,
        CHUNK => Message::Chunk(read_chunk(&mut reader, frame, begun)?),
        DONE => Message::Done { bound: reader.context_from(&begun.bound)? },
        PIECE => Message::Piece(read_piece(&mut reader, frame)?),
        _ => return Err(DecodeError::Invalid("a message of an unknown kind")),
    };
    reader.end()?;
    spoken.say_nothing();
    Ok(message)
}

fn read_chunk(reader: &mut Reader<'_>, frame: &Bytes, begun: &Begin) -> Result<Entries> {
    let allowed = Allowed { entries_max: FRAME_ENTRIES_MAX, parts: true };
    read_entries(reader, frame, allowed, reference(begun))
}

fn write_digest(writer: &mut Writer, Digest { audit, reply }: &Digest) {
    writer.bytes.push(if *reply { DIGEST_ASKING } else { DIGEST });
    writer.bytes.extend_from_slice(&audit.context.to_le_bytes());
    writer.bytes.extend_from_slice(&audit.state.to_le_bytes());
    writer.number(audit.pending);
}

fn read_digest(reader: &mut Reader<'_>, reply: bool) -> Result<Message> {
    let (context, state) = (reader.sum()?, reader.sum()?);
    Ok(Message::Digest(Digest { audit: Audit { context, state, pending: reader.number()? }, reply }))
}

fn read_context(mut reader: Reader<'_>, spoken: &mut Spoken) -> Result<Message> {
    let replace = reader.flag()?;
    let before = reader.left();
    let context = reader.context_from(spoken.context())?;
    let saying = spoken.hear(&mut reader, &context, None)?;
    reader.end()?;
    spoken.take(saying, before);
    Ok(Message::Context { context, replace })
}

fn bounded(what: &'static str, got: usize, max: usize) -> Result<()> {
    if got > max { Err(DecodeError::TooLarge { what, got: got as u64, max: max as u64 }) } else { Ok(()) }
}
