//! A data directory: whose it is, what is in it, and whether all of it is there. Not responsible for records.
//!
//! ```text
//! DIR/lock      held by the one process that has the directory, by the system's own means: a kill leaves none behind
//! DIR/format    one line: the format, the engine, and the directory of the state
//! DIR/commits   how many commits were durable, so that a log that ends too early is told from one that ends there
//! DIR/state-N   the engine's
//! DIR/restoring there while a restore is under way: such a directory does not open
//! ```

use super::engine::{Engine, KIND, bytes_on_disk};
use super::{Snapshot, Storage, StorageError, StorageProblem};
use crate::Error;
use crate::proto::durable::{Batch, Damage, FORMAT, Identity, Kept, Loader};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";
const COMMITS_FILE: &str = "commits";
const STATE_PREFIX: &str = "state-";
const RESTORING_FILE: &str = "restoring";
/// How often the number of commits is forced to the disk: without power it may lag behind, and then says less.
const COMMITS_SYNC_EVERY: u64 = 1 << 16;
/// A state is copied when it takes more than this, and so many times its records:
const SLACK_BYTES: u64 = 6 << 20;
const SLACK_FACTOR: u64 = 3;
/// but only if they are so few that nobody waits for long.
const COPY_BYTES_MAX: u64 = 32 << 20;

/// A locked directory with an open engine.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    engine: Engine,
    commits: File,
    /// How many entries there are, and how many bytes each takes as far as is known.
    entries: u64,
    entry_bytes: u64,
    /// Held for as long as this is.
    _lock: File,
}

/// How far reading has come: entries read, and how many there are.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What was asked for, and what was found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) kept: Kept,
}

impl Directory {
    /// Opens a directory and reads its state; begins a new one, of this identity, if there is none.
    pub(crate) fn open(path: &Path, fresh: Identity, drift_ms: u64, progress: Progress<'_>) -> Result<Opened, Error> {
        make(path).map_err(|source| io_error(path, source))?;
        let lock = lock(path)?;
        let engine = match read_format(path)? {
            Some(state) => {
                let state = path.join(state);
                remove_others(path, &state);
                Engine::open(&state).map_err(|error| damaged(path, &error))?
            }
            None => begin(path)?,
        };
        let commits_path = path.join(COMMITS_FILE);
        let commits = File::options().read(true).write(true).create(true).truncate(false).open(&commits_path);
        let commits = commits.map_err(|source| io_error(&commits_path, source))?;
        let durable = read_commits(&commits).map_err(|source| io_error(&commits_path, source))?;
        let (kept, size) = load(&engine, path, durable, drift_ms, progress)?;
        let kept = kept.unwrap_or_else(|| Kept::nothing(fresh, drift_ms));
        let (path, entry_bytes) = (path.to_owned(), size.entry_bytes());
        let directory = Self { path, engine, commits, entries: size.entries, entry_bytes, _lock: lock };
        Ok(Opened { directory, kept })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on in a new state directory, which the format names from one moment to the next.
    fn copy(&mut self) -> Result<(), StorageError> {
        let old = self.engine.directory().to_owned();
        let name = next_state(&old);
        let new = self.path.join(&name);
        let copied = (|| {
            let engine = Engine::open(&new)?;
            engine.copy(self.engine.snapshot()?.as_ref())?;
            sync_directory(&new).map_err(|error| StorageError::from_io(&error))?;
            Ok(engine)
        })();
        let named = copied.and_then(|engine| {
            let written = write_format(&self.path, &name).map_err(|error| StorageError::from_io(&error));
            // What counts is what the next start will read, also if it is not certain to stay.
            if matches!(read_format(&self.path), Ok(Some(named)) if named == name) {
                self.engine = engine;
            }
            written
        });
        if named.is_ok() || self.engine.directory() == old {
            remove_others(&self.path, self.engine.directory());
        }
        named
    }

    fn note(&mut self, commits: u64) -> io::Result<()> {
        write_commits(&self.commits, commits)?;
        if commits.is_multiple_of(COMMITS_SYNC_EVERY) { self.commits.sync_data() } else { Ok(()) }
    }
}

/// What verifying and restoring need.
impl Directory {
    /// Whether it is a data directory, whatever its state.
    pub(crate) fn is_one(path: &Path) -> bool {
        [FORMAT_FILE, COMMITS_FILE, RESTORING_FILE].iter().any(|name| path.join(name).is_file())
    }

    /// Reads the state of a directory that nobody has open; `None` if it holds none yet. No record is changed, but the
    /// engine puts its files in order as it does at each start.
    pub(crate) fn inspect(path: &Path, drift_ms: u64, progress: Progress<'_>) -> Result<Option<(Kept, u64)>, Error> {
        let Some(state) = read_format(path)? else { return Ok(None) };
        let _lock = lock(path)?;
        let engine = Engine::open(&path.join(state)).map_err(|error| damaged(path, &error))?;
        let durable = match File::open(path.join(COMMITS_FILE)) {
            Ok(commits) => read_commits(&commits).map_err(|source| io_error(path, source))?,
            Err(_) => 0,
        };
        let (kept, _) = load(&engine, path, durable, drift_ms, progress)?;
        Ok(kept.map(|kept| (kept, bytes_on_disk(engine.directory()))))
    }

    /// A directory that does not open before [`end_restore`](Self::end_restore). It holds nothing, or what an interrupted
    /// restore has left, which is thrown away.
    pub(crate) fn begin_restore(path: &Path) -> Result<Self, Error> {
        check_vacant(path)?;
        let refuse = |source| io_error(path, source);
        make(path).map_err(refuse)?;
        let lock = lock(path)?;
        // Another restore may have come first.
        check_vacant(path)?;
        File::create(path.join(RESTORING_FILE)).and_then(|file| file.sync_all()).map_err(refuse)?;
        sync_directory(path).map_err(refuse)?;
        let state = path.join(format!("{STATE_PREFIX}1"));
        remove_others(path, path);
        fs::create_dir(&state).map_err(refuse)?;
        let engine = Engine::open(&state).map_err(|error| damaged(path, &error))?;
        let commits = File::create(path.join(COMMITS_FILE)).map_err(refuse)?;
        let path = path.to_owned();
        Ok(Self { path, engine, commits, entries: 0, entry_bytes: ENTRY_BYTES, _lock: lock })
    }

    /// The state is whole: from now on the directory opens.
    pub(crate) fn end_restore(self) -> Result<(), Error> {
        let Self { path, engine, commits, _lock, .. } = self;
        drop(engine);
        let end = || {
            commits.sync_all()?;
            write_format(&path, &format!("{STATE_PREFIX}1"))?;
            fs::remove_file(path.join(RESTORING_FILE))?;
            sync_directory(&path)
        };
        end().map_err(|source| io_error(&path, source))
    }
}

impl Storage for Directory {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.engine.commit(batch).map_err(|error| error.at(&self.path))?;
        self.entries = batch.entries();
        // It is durable, whatever becomes of the note.
        if let Err(error) = self.note(batch.number()) {
            tracing::debug!(%error, "the number of commits is not noted");
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StorageError> {
        self.engine.reopen().map_err(|error| error.at(&self.path))
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.engine.snapshot().map_err(|error| error.at(&self.path))
    }

    fn bytes(&self) -> u64 {
        bytes_on_disk(&self.path)
    }

    /// The engine keeps journals that hold nothing any more, up to 64 MB of them, for as long as it is open and longer.
    /// So a state that has shrunk is copied into a new directory, as long as that takes no time to speak of.
    fn give_back(&mut self) -> Result<(), StorageError> {
        let too_much = |live: u64, used: u64| used > SLACK_BYTES + live.saturating_mul(SLACK_FACTOR);
        let used = bytes_on_disk(self.engine.directory());
        if self.engine.is_read() || !too_much(self.entries.saturating_mul(self.entry_bytes), used) {
            return Ok(());
        }
        let mut size = Size::default();
        self.engine.snapshot()?.for_each(&mut |key, value| {
            size.add(key, value);
            if size.bytes <= COPY_BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.entry_bytes = size.entry_bytes();
        if size.bytes <= COPY_BYTES_MAX && too_much(size.bytes, used) { self.copy() } else { Ok(()) }
    }
}

/// Reads the state of a directory that another process may not have, of which so many commits were durable; it is not
/// changed.
fn load(
    engine: &Engine,
    path: &Path,
    durable: u64,
    drift_ms: u64,
    progress: Progress<'_>,
) -> Result<(Option<Kept>, Size), Error> {
    let snapshot = engine.snapshot().map_err(|error| damaged(path, &error))?;
    let (mut loader, mut outcome, mut size) = (Loader::new(drift_ms), Ok(()), Size::default());
    let read = snapshot.for_each(&mut |key, value| {
        size.add(key, value);
        outcome = loader.record(key, value);
        let (entries, of) = loader.progress();
        progress(entries, of);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    read.map_err(|error| damaged(path, &error))?;
    let kept = match size.entries {
        0 => None,
        _ => Some(outcome.and_then(|()| loader.finish()).map_err(|damage| not_a_state(path, &damage))?),
    };
    match kept.as_ref().map_or(0, Kept::commits) {
        found if found < durable => Err(incomplete(path, durable, found)),
        _ => Ok((kept, size)),
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    entries: u64,
    bytes: u64,
}

impl Size {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }

    /// Of the records on average, and of those that will be made.
    fn entry_bytes(self) -> u64 {
        self.bytes.checked_div(self.entries).map_or(ENTRY_BYTES, |bytes| bytes + 1)
    }
}

/// What an entry takes as long as nothing is known of it.
const ENTRY_BYTES: u64 = 128;

fn lock(path: &Path) -> Result<File, Error> {
    let file = path.join(LOCK_FILE);
    let opened = File::options().write(true).create(true).truncate(false).open(&file);
    let opened = opened.map_err(|source| io_error(&file, source))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(source)) => Err(io_error(&file, source)),
    }
}

/// A directory for a state, if it is not there: whoever may read it may read all values, so it is its owner's.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The name of the state's directory; `None` in a directory that holds no state yet.
fn read_format(path: &Path) -> Result<Option<String>, Error> {
    let file = path.join(FORMAT_FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return missing_format(path),
        Err(source) => return Err(io_error(&file, source)),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let unreadable = || Error::Damaged {
        path: file.display().to_string(),
        problem: format!("it should say \"tidings {FORMAT} {KIND} {STATE_PREFIX}1\"; {WAY_OUT}"),
    };
    let ["tidings", format, rest @ ..] = &words[..] else { return Err(unreadable()) };
    let found: u64 = format.parse().map_err(|_| unreadable())?;
    if found > FORMAT {
        return Err(Error::NewerFormat { path: path.display().to_string(), found, known: FORMAT });
    }
    match rest {
        [engine, state] if *engine == KIND && state.starts_with(STATE_PREFIX) && !state.contains('/') => {
            if path.join(state).is_dir() { Ok(Some((*state).to_owned())) } else { Err(gone(path, state)) }
        }
        _ => Err(unreadable()),
    }
}

/// A directory without a format holds nothing, or what was left by a start that did not come so far as to write it; but a
/// state with commits in it is not passed over.
fn missing_format(path: &Path) -> Result<Option<String>, Error> {
    if path.join(RESTORING_FILE).exists() {
        let problem = "a restore into it did not come to its end; run that \"tidings restore\" again".to_owned();
        return Err(Error::Damaged { path: path.display().to_string(), problem });
    }
    let lost = fs::metadata(path.join(COMMITS_FILE)).is_ok_and(|metadata| metadata.len() > 0);
    if !lost {
        return Ok(None);
    }
    let problem = format!("the file \"{FORMAT_FILE}\" is missing, although a state was kept here; {WAY_OUT}");
    Err(Error::Damaged { path: path.display().to_string(), problem })
}

/// Nothing is lost by a restore into a directory that is not there, is empty, or holds an unfinished one.
pub(super) fn check_vacant(path: &Path) -> Result<(), Error> {
    let names = match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name().into_string().unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error(path, source)),
    };
    let names = names.collect::<io::Result<Vec<_>>>().map_err(|source| io_error(path, source))?;
    let unfinished = names.iter().any(|name| name == RESTORING_FILE) && !names.iter().any(|name| name == FORMAT_FILE);
    let left = |name: &String| {
        [RESTORING_FILE, COMMITS_FILE, "format.new"].contains(&&name[..]) || name.starts_with(STATE_PREFIX)
    };
    if names.iter().all(|name| name == LOCK_FILE || unfinished && left(name)) {
        return Ok(());
    }
    let problem = "it is not empty; give a directory that is, or one that is not there yet".to_owned();
    Err(Error::WrongDirectory { path: path.display().to_string(), problem })
}

/// A new state, which has no name before it is all there: what an interrupted beginning has left is thrown away.
fn begin(path: &Path) -> Result<Engine, Error> {
    let name = format!("{STATE_PREFIX}1");
    let state = path.join(&name);
    remove_others(path, path);
    fs::create_dir(&state).map_err(|source| io_error(&state, source))?;
    let engine = Engine::open(&state).map_err(|error| damaged(path, &error))?;
    let named = sync_directory(&state).and_then(|()| write_format(path, &name));
    named.map_err(|source| io_error(path, source))?;
    Ok(engine)
}

fn next_state(state: &Path) -> String {
    let number = state.file_name().and_then(|name| name.to_str()?.strip_prefix(STATE_PREFIX)?.parse::<u64>().ok());
    format!("{STATE_PREFIX}{}", number.unwrap_or(0).wrapping_add(1))
}

fn write_format(path: &Path, state: &str) -> io::Result<()> {
    let new = path.join("format.new");
    let mut file = File::create(&new)?;
    writeln!(file, "tidings {FORMAT} {KIND} {state}")?;
    file.sync_all()?;
    fs::rename(&new, path.join(FORMAT_FILE))?;
    sync_directory(path)
}

/// States that an interrupted rewriting has left.
fn remove_others(path: &Path, state: &Path) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_state = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(STATE_PREFIX)) && path != state
    };
    for left in entries.filter(is_state) {
        if let Err(error) = fs::remove_dir_all(&left) {
            tracing::debug!(path = %left.display(), %error, "what is left of an old state stays");
        }
    }
}

#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn write_commits(file: &File, commits: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(&commits.to_le_bytes(), 0)
}

#[cfg(not(unix))]
fn write_commits(mut file: &File, commits: u64) -> io::Result<()> {
    use std::io::Seek;
    file.seek(io::SeekFrom::Start(0))?;
    file.write_all(&commits.to_le_bytes())
}

/// What cannot be read says nothing.
fn read_commits(file: &File) -> io::Result<u64> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.take(9).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().map_or(0, u64::from_le_bytes))
}

/// What to do about a directory that cannot be used.
const WAY_OUT: &str = "restore a checkpoint with \"tidings restore\", or move the directory away and start anew: \
    the node takes from its peers what they have";

pub(super) fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.display().to_string(), source }
}

fn damaged(path: &Path, error: &StorageError) -> Error {
    match error.problem() {
        StorageProblem::Damaged => {
            Error::Damaged { path: path.display().to_string(), problem: format!("{error}; {WAY_OUT}") }
        }
        _ => io_error(path, error.clone().into_io()),
    }
}

pub(super) fn not_a_state(path: &Path, damage: &Damage) -> Error {
    let path = path.display().to_string();
    match damage {
        Damage::Newer(found) => Error::NewerFormat { path, found: *found, known: FORMAT },
        damage => Error::Damaged { path, problem: format!("{damage}; {WAY_OUT}") },
    }
}

fn gone(path: &Path, state: &str) -> Error {
    let problem = format!("its directory \"{state}\" is missing; {WAY_OUT}");
    Error::Damaged { path: path.display().to_string(), problem }
}

fn incomplete(path: &Path, durable: u64, found: u64) -> Error {
    let problem =
        format!("{durable} commits were durable, and the log ends after {found}: something has cut it off; {WAY_OUT}");
    Error::Damaged { path: path.display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    /// A first start that was killed in the middle: the engine had made some of its files, and takes them for damage.
    #[test]
    fn what_an_interrupted_beginning_has_left_is_no_state() {
        let directory = tempfile::tempdir().expect("a directory");
        let left = directory.path().join("state-1");
        drop(Engine::open(&left).expect("new"));
        fs::remove_file(left.join("version")).expect("the engine's last file but one");
        let fresh = Identity { replica: ReplicaId::from(1), cluster: [1; 16] };
        let opened = Directory::open(directory.path(), fresh, 60_000, &mut |_, _| {}).expect("begun anew");
        assert_eq!(opened.kept.identity(), fresh);
    }
}
