//! The torn batches that the engine does not recover from by itself. Not responsible for any other damage.
//!
//! A batch whose last bytes came to the disk before a power cut, and some pages of one of its values did not, looks whole
//! and has a wrong checksum: the engine takes that for damage, and does not open. It can only be the last batch of the
//! last journal, and nobody was told that it is durable. So that batch is put aside and the engine tried again; if that
//! does not help, it is put back: then it is damage.
//!
//! A batch that has no end is cut off by the engine, if it is not a debug build: that one asserts that the two lengths of a
//! value are the same, and panics where a page ends between them. So there the batch is cut off before.
//!
//! The layout is that of the journals of fjall 3.1, without compression.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

const TRAILER: &[u8] = b"FJL\x03";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

/// A last batch that was put aside.
pub(super) struct PutAside {
    journal: PathBuf,
    at: u64,
    batch: Vec<u8>,
}

impl PutAside {
    /// Cuts the last batch off the last journal; `None` if there is none.
    pub(super) fn last_batch(directory: &Path) -> io::Result<Option<Self>> {
        let Some(journal) = last_journal(directory)? else { return Ok(None) };
        let bytes = fs::read(&journal)?;
        let Some(batch) = batches(&bytes).last else { return Ok(None) };
        let aside = Self { journal, at: batch.start as u64, batch: bytes[batch.start..].to_vec() };
        cut(&aside.journal, aside.at)?;
        Ok(Some(aside))
    }

    /// Puts it back: the engine is as it was.
    pub(super) fn put_back(self) -> io::Result<()> {
        let mut file = File::options().write(true).open(&self.journal)?;
        file.seek(SeekFrom::Start(self.at))?;
        file.write_all(&self.batch)?;
        file.sync_all()
    }
}

/// Cuts off the batch of the last journal that has no end, if there is one. Reads the journal whole.
pub(super) fn drop_unended(directory: &Path) -> io::Result<()> {
    let Some(journal) = last_journal(directory)? else { return Ok(()) };
    match batches(&fs::read(&journal)?).unended {
        Some(at) => cut(&journal, at as u64),
        None => Ok(()),
    }
}

fn cut(journal: &Path, at: u64) -> io::Result<()> {
    let file = File::options().write(true).open(journal)?;
    file.set_len(at)?;
    file.sync_all()
}

fn last_journal(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut last: Option<(u64, PathBuf)> = None;
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        if let Some(number) = name.filter(|number| last.as_ref().is_none_or(|last| last.0 < *number)) {
            last = Some((number, path));
        }
    }
    Ok(last.map(|last| last.1))
}

/// What a journal ends with.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// The last batch that has an end.
    pub(super) last: Option<Range<usize>>,
    /// Where one begins that has none.
    unended: Option<usize>,
}

pub(super) fn batches(bytes: &[u8]) -> Batches {
    let (mut at, mut batches) = (0, Batches::default());
    while let Some((tag, next)) = step(bytes, at) {
        match (tag, batches.unended) {
            (START, None) => batches.unended = Some(at),
            (ITEM | CLEAR, Some(_)) => {}
            (END, Some(start)) => batches = Batches { last: Some(start..next), unended: None },
            _ => break,
        }
        at = next;
    }
    batches
}

/// What begins at `at`, and where it ends.
fn step(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut rest = bytes.get(at..)?;
    let mut number = |length: usize| {
        let mut le = [0; 8];
        rest.read_exact(&mut le[..length]).ok()?;
        usize::try_from(u64::from_le_bytes(le)).ok()
    };
    let tag = number(1)? as u8;
    let length = match tag {
        START => 1 + 4 + 8,
        ITEM => {
            // kind, compression, keyspace, then the lengths of the key, of the value, and of that as it stands here
            let (_, _, _, key, _, value) = (number(1)?, number(1)?, number(8)?, number(2)?, number(4)?, number(4)?);
            1 + 1 + 1 + 8 + 2 + 4 + 4 + key + value
        }
        END => 1 + 8 + TRAILER.len(),
        CLEAR => 1 + 8,
        _ => return None,
    };
    let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
    if tag == END && &bytes[end - TRAILER.len()..end] != TRAILER {
        return None;
    }
    Some((tag, end))
}
