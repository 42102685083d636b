//! A checkpoint on its way to the disk: under another name until it is whole. Not responsible for whether it is: `intake`
//! counts.

use super::block::Block;
use super::manifest::{About, DataFile, MANIFEST_FILE, Manifest, file_name};
use crate::Error;
use crate::runtime::storage::directory::{io_error, sync_directory};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A data file is closed when it has so much: small enough to be copied again when it breaks. Tests want several.
const FILE_BYTES: u64 = if cfg!(test) { 160 << 10 } else { 64 << 20 };

/// Writes `DIR.partial`, which becomes `DIR` at the end, and is removed if there is none.
#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    partial: PathBuf,
    files: Vec<DataFile>,
    open: Option<OpenFile>,
    ended: bool,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Writer {
    /// Whether a checkpoint can be written to a directory.
    pub(super) fn check(directory: &Path) -> Result<(), Error> {
        let partial = partial_of(directory)?;
        if !is_vacant(directory).map_err(|source| io_error(directory, source))? {
            return Err(refuse(directory, "it is not empty; give a directory that is not there yet"));
        }
        if partial.exists() {
            return Err(refuse(&partial, "it is left of a checkpoint that was interrupted; remove it, and try again"));
        }
        Ok(())
    }

    pub(super) fn begin(directory: &Path) -> Result<Self, Error> {
        Self::check(directory)?;
        let partial = partial_of(directory)?;
        if let Some(parent) = partial.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|source| io_error(parent, source))?;
        }
        fs::create_dir(&partial).map_err(|source| io_error(&partial, source))?;
        Ok(Self { directory: directory.to_owned(), partial, files: Vec::new(), open: None, ended: false })
    }

    pub(super) fn append(&mut self, block: &Block) -> Result<(), Error> {
        let bytes = block.bytes();
        if self.open.as_ref().is_some_and(|open| open.bytes + bytes.len() as u64 > FILE_BYTES) {
            self.close_file()?;
        }
        if self.open.is_none() {
            self.open = Some(OpenFile::create(self.partial.join(file_name(self.files.len())))?);
        }
        self.open.as_mut().map_or(Ok(()), |open| open.append(bytes))
    }

    fn close_file(&mut self) -> Result<(), Error> {
        let Some(OpenFile { path, file, bytes, hasher }) = self.open.take() else { return Ok(()) };
        file.sync_all().map_err(|source| io_error(&path, source))?;
        let (name, blake3) = (file_name(self.files.len()), hasher.finalize().to_hex().to_string());
        self.files.push(DataFile { name, bytes, blake3 });
        Ok(())
    }

    /// All blocks were appended. How many bytes the checkpoint has.
    pub(super) fn end(mut self, about: &About, records: u64) -> Result<u64, Error> {
        self.close_file()?;
        let manifest = Manifest::new(about, records, std::mem::take(&mut self.files));
        let text = manifest.to_text();
        self.publish(text.as_bytes()).map_err(|source| io_error(&self.directory, source))?;
        self.ended = true;
        Ok(manifest.bytes() + text.len() as u64)
    }

    /// The manifest comes last, and the name after it: each is on the disk before the next.
    fn publish(&self, manifest: &[u8]) -> io::Result<()> {
        let mut file = File::create(self.partial.join(MANIFEST_FILE))?;
        file.write_all(manifest)?;
        file.sync_all()?;
        sync_directory(&self.partial)?;
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::rename(&self.partial, &self.directory)?,
        }
        match self.directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
            _ => sync_directory(Path::new(".")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = fs::remove_dir_all(&self.partial)
        {
            tracing::debug!(path = %self.partial.display(), %error, "what is left of a checkpoint stays");
        }
    }
}

impl OpenFile {
    fn create(path: PathBuf) -> Result<Self, Error> {
        let file = File::create(&path).map_err(|source| io_error(&path, source))?;
        Ok(Self { path, file, bytes: 0, hasher: blake3::Hasher::new() })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| io_error(&self.path, source))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn is_vacant(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// `DIR.partial`.
fn partial_of(directory: &Path) -> Result<PathBuf, Error> {
    let name =
        directory.file_name().ok_or_else(|| refuse(directory, "it has no name of its own; give one that has"))?;
    let mut partial = name.to_owned();
    partial.push(".partial");
    Ok(directory.with_file_name(partial))
}

fn refuse(path: &Path, problem: &str) -> Error {
    Error::WrongDirectory { path: path.display().to_string(), problem: problem.to_owned() }
}
