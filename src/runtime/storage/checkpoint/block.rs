//! Blocks: some records, or a few words about all of them, under one checksum. Not responsible for what they mean.
//!
//! ```text
//! tag 4 │ length 4 │ number 8 │ records 4 │ checksum 16 │ body
//! body of records: (length of the key 4 │ length of the value 4 │ key │ value) for each
//! ```
//!
//! Numbers are little-endian. The checksum is the first 16 bytes of BLAKE3 over all else; with the number, a block that
//! is missing, doubled or moved is found as a changed one is.

use std::io::{self, Read};

pub(super) const HEAD_BYTES: usize = 36;
const SUM: std::ops::Range<usize> = 20..HEAD_BYTES;
/// A block is closed when it has so much.
const BODY_BYTES: usize = 64 * 1024;
/// No block has more: one record that is as large as can be.
const BODY_BYTES_MAX: u32 = 1 << 30;
const RECORD_HEAD_BYTES: usize = 8;

/// What a block is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a stream begins with.
    Start,
    /// Records, in the order of their keys.
    Records,
    /// What a stream ends with: without it, it has broken off.
    End,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    pub(crate) records: u32,
    bytes: Vec<u8>,
}

/// Why the next block cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ends before the block does.
    #[error("it ends too early")]
    Truncated,
    /// Where the block after it begins cannot be said either.
    #[error("{0}")]
    Head(&'static str),
    /// It may be that the next one can be read.
    #[error("{0}")]
    Body(&'static str),
}

impl Kind {
    const ALL: [(Self, [u8; 4]); 3] = [(Self::Start, *b"TdSt"), (Self::Records, *b"TdRe"), (Self::End, *b"TdEn")];

    fn tag(self) -> [u8; 4] {
        Self::ALL[self as usize].1
    }

    fn of(tag: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| known == tag).map(|(kind, _)| kind)
    }
}

impl Block {
    /// A block of a few words.
    pub(super) fn of_words(kind: Kind, number: u64, words: &[u8]) -> Self {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.extend_from_slice(words);
        Self::seal(kind, number, 0, bytes)
    }

    fn seal(kind: Kind, number: u64, records: u32, mut bytes: Vec<u8>) -> Self {
        let length = u32::try_from(bytes.len() - HEAD_BYTES).expect("whoever fills a block holds it to its size");
        bytes[..4].copy_from_slice(&kind.tag());
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..20].copy_from_slice(&records.to_le_bytes());
        let sum = sum(&bytes);
        bytes[SUM].copy_from_slice(&sum);
        Self { kind, number, records, bytes }
    }

    /// As it is stored and sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[cfg(feature = "cli")]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES..]
    }

    /// The next block, which must have this number if it is known; `None` at the end. Takes no more memory than there is
    /// to be read.
    pub(crate) fn read(from: &mut impl Read, number: Option<u64>) -> Result<Option<Self>, BlockError> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + BODY_BYTES);
        from.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or(BlockError::Truncated)?;
        let kind = Kind::of(&head[..4]).ok_or(BlockError::Head("no block begins here"))?;
        let (length, records) = (number_at(head, 4), number_at(head, 16));
        let found = u64::from(number_at(head, 8)) | u64::from(number_at(head, 12)) << 32;
        if length > BODY_BYTES_MAX {
            return Err(BlockError::Head("the length of a block is impossible"));
        }
        from.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() < HEAD_BYTES + length as usize {
            return Err(BlockError::Truncated);
        }
        if bytes[SUM] != sum(&bytes) {
            return Err(BlockError::Body("the checksum of a block is wrong"));
        }
        if number.is_some_and(|number| number != found) {
            return Err(BlockError::Body("blocks are missing, doubled or in another order"));
        }
        Ok(Some(Self { kind, number: found, records, bytes }))
    }

    /// Gives each record, and says whether they are what the head says.
    pub(super) fn each_record<E>(
        &self,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, BlockError> {
        const WRONG: BlockError = BlockError::Body("the records of a block do not fit into it");
        let (mut rest, mut count) = (self.body(), 0_u32);
        while let Some((head, after)) = rest.split_at_checked(RECORD_HEAD_BYTES) {
            let (key, value) = (number_at(head, 0) as usize, number_at(head, 4) as usize);
            let (key, after) = after.split_at_checked(key).ok_or(WRONG)?;
            let (value, after) = after.split_at_checked(value).ok_or(WRONG)?;
            if let Err(error) = each(key, value) {
                return Ok(Err(error));
            }
            (rest, count) = (after, count.saturating_add(1));
        }
        if rest.is_empty() && count == self.records { Ok(Ok(())) } else { Err(WRONG) }
    }
}

/// Of all but itself.
fn sum(bytes: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..SUM.start]).update(&bytes[SUM.end..]);
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    sum
}

/// Callers have seen to it that there are four bytes.
fn number_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Fills blocks with records.
#[derive(Debug)]
pub(super) struct Filler {
    number: u64,
    records: u32,
    bytes: Vec<u8>,
}

impl Filler {
    /// The first block has this number.
    pub(super) fn new(number: u64) -> Self {
        Self { number, records: 0, bytes: vec![0; HEAD_BYTES] }
    }

    /// Adds a record. `false`, and it is not added, if no block can hold it.
    #[must_use]
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let length = self.bytes.len() - HEAD_BYTES + RECORD_HEAD_BYTES + key.len() + value.len();
        let lengths = (u32::try_from(key.len()), u32::try_from(value.len()));
        let (Ok(key_length), Ok(value_length)) = lengths else { return false };
        if length > BODY_BYTES_MAX as usize {
            return false;
        }
        self.bytes.extend_from_slice(&key_length.to_le_bytes());
        self.bytes.extend_from_slice(&value_length.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.records += 1;
        true
    }

    /// The block, if it is full.
    pub(super) fn full(&mut self) -> Option<Block> {
        if self.bytes.len() >= HEAD_BYTES + BODY_BYTES { self.rest() } else { None }
    }

    /// The block, if there is anything in it.
    pub(super) fn rest(&mut self) -> Option<Block> {
        if self.records == 0 {
            return None;
        }
        let bytes = std::mem::replace(&mut self.bytes, vec![0; HEAD_BYTES]);
        let block = Block::seal(Kind::Records, self.number, std::mem::take(&mut self.records), bytes);
        self.number += 1;
        Some(block)
    }

    /// The number that the next block will have.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}
