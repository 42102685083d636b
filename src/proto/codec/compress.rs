//! Frames within frames: zstd (RFC 8878) around one that gets shorter by it. Not responsible for whether the peer can read
//! it: the hellos say so.
//!
//! What a peer claims is bounded before room is made for it: by the longest frame, and by a multiple of what it sent.

use super::{COMPRESSED, FRAME_BYTES_MAX, Result, bounded};
use crate::proto::wire::{DecodeError, Reader};
use bytes::Bytes;
use std::cell::RefCell;

/// Shorter frames are not worth it.
const PLAIN_BYTES_MIN: usize = 200;
/// Nothing that is worth sending gets shorter than one part in so many.
const TIMES_MAX: usize = 1024;

/// What a hello offers: compressed frames can be read here. Bit 0.
pub const FEATURE_ZSTD: u64 = 1;

/// What this build's hellos offer.
pub const FEATURES: u64 = if cfg!(feature = "zstd") { FEATURE_ZSTD } else { 0 };

/// Compresses frames, one after the other. Keeps its memory, some hundred KiB, for the next.
#[derive(Default)]
pub struct Compressor {
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// The frame within another, if that is shorter by a twentieth at least; else the frame itself. To be sent to whom has
    /// offered to read it alone.
    #[cfg(feature = "zstd")]
    pub fn compress(&mut self, frame: Bytes) -> Bytes {
        use crate::proto::wire::Writer;
        /// More costs twice the time for a hundredth of the bytes.
        const LEVEL: i32 = 3;
        if frame.len() < PLAIN_BYTES_MIN || frame.len() > FRAME_BYTES_MAX {
            return frame;
        }
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => match zstd::bulk::Compressor::new(LEVEL) {
                Ok(fresh) => none.insert(fresh),
                Err(_) => return frame,
            },
        };
        let Ok(data) = zstd.compress(&frame) else { return frame };
        let mut writer = Writer::default();
        writer.bytes.reserve(data.len() + 5);
        writer.bytes.push(COMPRESSED);
        writer.count(frame.len());
        writer.bytes.extend_from_slice(&data);
        let pays = writer.bytes.len() * 20 <= frame.len() * 19;
        if pays && frame.len() <= data.len() * TIMES_MAX { writer.bytes.into() } else { frame }
    }

    /// This build compresses nothing.
    #[cfg(not(feature = "zstd"))]
    pub fn compress(&mut self, frame: Bytes) -> Bytes {
        frame
    }
}

/// The frame by the compressor of this thread: a thousand nodes in one process need no thousand of them. See
/// [`Compressor::compress`].
pub(crate) fn compress(frame: Bytes) -> Bytes {
    thread_local! {
        static COMPRESSOR: RefCell<Compressor> = RefCell::default();
    }
    COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(frame))
}

/// How long the frame is without compression.
pub fn plain_bytes(frame: &Bytes) -> usize {
    let claimed = || Claim::read(frame).ok().flatten().map(|claim| claim.bytes);
    claimed().unwrap_or(frame.len())
}

/// What a compressed frame says of itself.
#[derive(Debug)]
struct Claim<'a> {
    bytes: usize,
    data: &'a [u8],
}

impl<'a> Claim<'a> {
    /// `None` if the frame is not compressed.
    fn read(frame: &'a Bytes) -> Result<Option<Self>> {
        let mut reader = Reader::new(frame);
        if frame.first() != Some(&COMPRESSED) {
            return Ok(None);
        }
        reader.skip(1);
        let (claimed, data) = (reader.number()?, reader.rest());
        let bytes = usize::try_from(claimed).unwrap_or(usize::MAX);
        bounded("bytes of a compressed frame", bytes, FRAME_BYTES_MAX.min(data.len().saturating_mul(TIMES_MAX)))?;
        if bytes < PLAIN_BYTES_MIN {
            return Err(DecodeError::Invalid("a compressed frame that is too short to be one"));
        }
        Ok(Some(Self { bytes, data }))
    }

    #[cfg(feature = "zstd")]
    fn expand(&self) -> Result<Bytes> {
        const BROKEN: DecodeError = DecodeError::Invalid("a compressed frame that does not expand to what it claims");
        // The data says its length too; it would be the measure of what zstd takes.
        let said = zstd::zstd_safe::get_frame_content_size(self.data).map_err(|_| BROKEN)?;
        if said != Some(self.bytes as u64) {
            return Err(BROKEN);
        }
        thread_local! {
            static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
        }
        let expanded = ZSTD.with_borrow_mut(|zstd| {
            let zstd = match zstd {
                Some(zstd) => zstd,
                none => none.insert(zstd::bulk::Decompressor::new()?),
            };
            zstd.decompress(self.data, self.bytes)
        });
        let frame = expanded.map_err(|_| BROKEN)?;
        if frame.len() == self.bytes { Ok(frame.into()) } else { Err(BROKEN) }
    }

    #[cfg(not(feature = "zstd"))]
    fn expand(&self) -> Result<Bytes> {
        let _ = self.data;
        Err(DecodeError::Invalid("a compressed frame, which was not offered"))
    }
}

/// The frame as it was before it was compressed, if it was.
pub(super) fn expand(frame: &Bytes) -> Result<Bytes> {
    bounded("bytes of a frame", frame.len(), FRAME_BYTES_MAX)?;
    let Some(claim) = Claim::read(frame)? else { return Ok(frame.clone()) };
    let plain = claim.expand()?;
    if plain.first() == Some(&COMPRESSED) {
        return Err(DecodeError::Invalid("a compressed frame within another"));
    }
    Ok(plain)
}
