//! Whether a checkpoint or a data directory is as it was written, to the last byte. Not responsible for what is done about
//! it.
//!
//! All that is damaged is found, as far as it can be told: after a block whose checksum is wrong the next one is tried,
//! after a head that is none the next file.

use super::block::{Block, BlockError, Kind};
use super::manifest::{About, DataFile, MANIFEST_BYTES_MAX, MANIFEST_FILE, Manifest, ManifestError, file_name};
use super::{CHECKPOINT_FORMAT, DamagedPart, Verified, VerifiedKind};
use crate::Error;
use crate::crdt::Clock;
use crate::proto::durable::{Damage, Kept, Loader, Outline};
use crate::runtime::storage::Directory;
use crate::runtime::storage::directory::{Progress, io_error, not_a_state};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

const DATA_PREFIX: &str = "records-";

/// Looks at all of a checkpoint, or of the data directory of a node that does not run. Blocks the thread.
pub(crate) fn verify(path: &Path, progress: Progress<'_>) -> Result<Verified, Error> {
    if Directory::is_one(path) {
        return verify_directory(path, progress);
    }
    let checked = check(path, Loader::new(Clock::DRIFT_MS), progress)?;
    let about = checked.about;
    Ok(Verified {
        kind: VerifiedKind::Checkpoint,
        replica: about.map(|about| about.identity.replica),
        taken_ms: about.map(|about| about.taken_ms),
        entries: checked.entries,
        bytes: checked.bytes,
        damaged: checked.damaged,
    })
}

fn verify_directory(path: &Path, progress: Progress<'_>) -> Result<Verified, Error> {
    let kind = VerifiedKind::DataDirectory;
    match Directory::inspect(path, Clock::DRIFT_MS, progress) {
        Ok(Some((kept, bytes))) => {
            let (replica, entries) = (Some(kept.identity().replica), kept.map().entry_count() as u64);
            Ok(Verified { kind, replica, taken_ms: None, entries, bytes, damaged: Vec::new() })
        }
        Ok(None) => Err(wrong_directory(path, "it holds no state yet")),
        Err(Error::Damaged { path, problem }) => {
            let damaged = vec![DamagedPart { file: path, offset: None, problem }];
            Ok(Verified { kind, replica: None, taken_ms: None, entries: 0, bytes: 0, damaged })
        }
        Err(error) => Err(error),
    }
}

/// A checkpoint that was looked at.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) about: Option<About>,
    /// Its state; there is one if nothing is damaged.
    pub(super) kept: Option<Kept>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) damaged: Vec<DamagedPart>,
}

/// Looks at all of a checkpoint, and loads it on the way.
pub(super) fn check(path: &Path, loader: Loader, progress: Progress<'_>) -> Result<Checked, Error> {
    let names = names(path)?;
    let mut check = Check::new(path, loader);
    let manifest = check.manifest(&names)?;
    let known: Vec<String> = match &manifest {
        Some(manifest) => manifest.files.iter().map(|file| file.name.clone()).collect(),
        None => names.iter().filter(|name| name.starts_with(DATA_PREFIX)).cloned().collect(),
    };
    for name in names.iter().filter(|name| *name != MANIFEST_FILE && !known.contains(name)) {
        check.damage(name, None, "it is not part of the checkpoint; take it out of the directory");
    }
    let of = manifest.as_ref().map_or(0, Manifest::bytes);
    for (index, name) in known.iter().enumerate() {
        let told = manifest.as_ref().and_then(|manifest| manifest.files.get(index));
        check.file(name, told, &mut |bytes| progress(bytes, of.max(bytes)))?;
    }
    check.end(manifest.as_ref())
}

/// The names of what is in the directory, in order.
fn names(path: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| io_error(path, source))?;
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    if names.iter().any(|name| name == MANIFEST_FILE || name.starts_with(DATA_PREFIX)) {
        return Ok(names);
    }
    Err(wrong_directory(path, "it is neither a checkpoint nor the data directory of a node"))
}

struct Check<'a> {
    path: &'a Path,
    damaged: Vec<DamagedPart>,
    /// Until the first damage.
    loader: Option<Loader>,
    outline: Outline,
    /// The number that the next block has, unless that is lost.
    number: Option<u64>,
    records: u64,
    entries: u64,
    bytes: u64,
}

impl<'a> Check<'a> {
    fn new(path: &'a Path, loader: Loader) -> Self {
        let (outline, loader, number) = (Outline::default(), Some(loader), Some(1));
        Self { path, damaged: Vec::new(), loader, outline, number, records: 0, entries: 0, bytes: 0 }
    }

    fn damage(&mut self, file: &str, offset: Option<u64>, problem: impl Into<String>) {
        self.loader = None;
        self.damaged.push(DamagedPart { file: file.to_owned(), offset, problem: problem.into() });
    }

    fn manifest(&mut self, names: &[String]) -> Result<Option<Manifest>, Error> {
        if !names.iter().any(|name| name == MANIFEST_FILE) {
            self.damage(MANIFEST_FILE, None, "it is missing: the checkpoint was interrupted, or has lost it");
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = File::open(self.path.join(MANIFEST_FILE));
        let read = file.and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text));
        let problem = match (read, Manifest::read(&text)) {
            (Err(error), _) => error.to_string(),
            (Ok(_), Ok(manifest)) => {
                self.bytes += text.len() as u64;
                return Ok(Some(manifest));
            }
            (Ok(_), Err(ManifestError::Damaged(problem))) => problem.to_owned(),
            (Ok(_), Err(ManifestError::Newer(found))) => {
                let path = self.path.display().to_string();
                return Err(Error::NewerFormat { path, found, known: CHECKPOINT_FORMAT });
            }
        };
        self.damage(MANIFEST_FILE, None, problem);
        Ok(None)
    }

    fn file(&mut self, name: &str, told: Option<&DataFile>, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let before = self.damaged.len();
        let file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                self.damage(name, None, if missing { "it is missing".to_owned() } else { error.to_string() });
                self.number = None;
                return Ok(());
            }
        };
        let mut source =
            Source { file: BufReader::with_capacity(1 << 18, file), bytes: 0, hasher: blake3::Hasher::new() };
        while self.block(name, &mut source)? {
            progress(self.bytes + source.bytes);
        }
        self.bytes += source.bytes;
        let whole =
            |told: &DataFile| told.bytes == source.bytes && told.blake3 == source.hasher.finalize().to_hex().as_str();
        if self.damaged.len() == before && told.is_some_and(|told| !whole(told)) {
            self.damage(name, None, "it is not the file that was written: its length or checksum is another");
            self.number = None;
        }
        Ok(())
    }

    /// The next block of a file. Whether one may follow.
    fn block(&mut self, name: &str, source: &mut Source) -> Result<bool, Error> {
        let offset = source.bytes;
        let read = Block::read(source, self.number);
        match read {
            Ok(None) => return Ok(false),
            Ok(Some(block)) => {
                self.number = block.number.checked_add(1);
                self.records += u64::from(block.records);
                if let Err(problem) = self.load(&block)? {
                    self.damage(name, Some(offset), problem);
                }
            }
            Err(BlockError::Body(problem)) => {
                self.damage(name, Some(offset), problem);
                self.number = None;
            }
            Err(error) => {
                self.damage(name, Some(offset), format!("{error}; what follows in this file cannot be read"));
                self.number = None;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn load(&mut self, block: &Block) -> Result<Result<(), String>, Error> {
        if block.kind != Kind::Records {
            return Ok(Err("it is no block of records".to_owned()));
        }
        let Self { loader: Some(loader), outline, .. } = self else { return Ok(Ok(())) };
        let loaded = block.each_record(|key, value| {
            outline.record(key, value)?;
            loader.record(key, value)
        });
        self.entries = loader.progress().0;
        match loaded {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(damage @ Damage::Newer(_))) => Err(not_a_state(self.path, &damage)),
            Ok(Err(damage)) => Ok(Err(damage.to_string())),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn end(mut self, manifest: Option<&Manifest>) -> Result<Checked, Error> {
        let about = manifest.and_then(Manifest::about);
        let mut kept = None;
        if let (Some(loader), Some(manifest)) = (self.loader.take(), manifest) {
            match loader.finish() {
                Ok(loaded) => kept = Some(loaded),
                Err(damage) => self.damage(&file_name(0), None, damage.to_string()),
            }
            let told = about.map(|about| (about.identity, about.entries));
            if self.outline.told() != told || self.records != manifest.records {
                self.damage(MANIFEST_FILE, None, "it tells of another state than the one that is here");
            }
        }
        let Self { damaged, entries, bytes, .. } = self;
        let kept = kept.filter(|_| damaged.is_empty());
        Ok(Checked { about, kept, entries, bytes, damaged })
    }
}

/// A file that is hashed as it is read.
struct Source {
    file: BufReader<File>,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn wrong_directory(path: &Path, problem: &str) -> Error {
    Error::WrongDirectory { path: path.display().to_string(), problem: problem.to_owned() }
}
