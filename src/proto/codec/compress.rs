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
/// Frames from this on are always tried.
const SHORT_BYTES_MAX: usize = 4 << 10;
/// Of short ones at most so many are not tried before one is.
const PAUSE_MAX: u32 = 63;
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
fn compress(frame: Bytes) -> Bytes {
    thread_local! {
        static COMPRESSOR: RefCell<Compressor> = RefCell::default();
    }
    COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(frame))
}

/// Compresses what goes on one link, if that pays there. Values of one map are mostly alike: where short frames do not get
/// shorter, as with what is encrypted or has been compressed before, ever fewer of them are tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compressing {
    /// So many frames are not tried after one that was tried in vain,
    pause: u32,
    /// and so many of these are yet to come.
    left_out: u32,
}

impl Compressing {
    /// The frame, perhaps within another. See [`Compressor::compress`].
    pub(crate) fn compress(&mut self, frame: Bytes) -> Bytes {
        self.compress_by(compress, frame)
    }

    fn compress_by(&mut self, compress: impl Fn(Bytes) -> Bytes, frame: Bytes) -> Bytes {
        let bytes = frame.len();
        // A long one is worth the try, and says little about short ones.
        if !(PLAIN_BYTES_MIN..SHORT_BYTES_MAX).contains(&bytes) {
            return compress(frame);
        }
        if self.left_out > 0 {
            self.left_out -= 1;
            return frame;
        }
        let compressed = compress(frame);
        self.pause = if compressed.len() < bytes { 0 } else { (2 * self.pause + 1).min(PAUSE_MAX) };
        self.left_out = self.pause;
        compressed
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the frames are tried, where trying takes off so much.
    fn tried(compressing: &mut Compressing, frames: usize, bytes: usize, takes_off: usize) -> usize {
        let tries = std::cell::Cell::new(0);
        for _ in 0..frames {
            let compress = |frame: Bytes| {
                tries.set(tries.get() + 1);
                frame.slice(takes_off..)
            };
            compressing.compress_by(compress, Bytes::from(vec![0; bytes]));
        }
        tries.get()
    }

    #[test]
    fn what_does_not_get_shorter_is_tried_ever_less_often() {
        let mut link = Compressing::default();
        assert_eq!(tried(&mut link, 100, 500, 100), 100, "it pays");
        assert_eq!(tried(&mut link, 7, 500, 0), 3, "the first, the third, the seventh");
        assert!((15..25).contains(&tried(&mut link, 1_000, 500, 0)), "in the end one in 64");
        assert_eq!(tried(&mut link, 10, SHORT_BYTES_MAX, 0), 10, "long ones always");
        assert!(tried(&mut link, 100, 500, 100) > 35, "and all again once it pays");
    }
}
