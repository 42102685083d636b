//! Files that are written whole or not at all, several of them together. Not responsible for what is in them.

use super::failure::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What a file is to hold, and who may read it.
pub(super) struct NewFile<'a> {
    path: PathBuf,
    text: &'a str,
    private: bool,
}

impl<'a> NewFile<'a> {
    /// For its owner, and, where there is one already, for the group that may read that.
    pub(super) const fn private(path: PathBuf, text: &'a str) -> Self {
        Self { path, text, private: true }
    }

    /// For everybody.
    pub(super) const fn public(path: PathBuf, text: &'a str) -> Self {
        Self { path, text, private: false }
    }

    /// Written beside it first: half a secret would be taken for a wrong one.
    fn beside(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn stage(&self) -> io::Result<()> {
        let beside = self.beside();
        // One that is left from before might be open to others.
        drop(fs::remove_file(&beside));
        let mut file = create(&beside, self.private)?;
        if let Ok(old) = fs::metadata(&self.path) {
            keep_owner(&file, &old, self.private)?;
        }
        file.write_all(self.text.as_bytes())?;
        file.sync_all()
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::failed(format!("{}: {error}", self.path.display()))
    }
}

/// Writes them all, or none if one cannot be written. They take their places in this order.
pub(super) fn write_files(files: &[NewFile<'_>]) -> Result<(), Failure> {
    let written = files.iter().try_for_each(|file| file.stage().map_err(|error| file.failed(&error)));
    if let Err(failure) = written {
        files.iter().for_each(|file| drop(fs::remove_file(file.beside())));
        return Err(failure);
    }
    for file in files {
        fs::rename(file.beside(), &file.path).map_err(|error| file.failed(&error))?;
    }
    let folders = files.iter().filter_map(|file| file.path.parent());
    folders.for_each(sync_folder);
    Ok(())
}

/// So that a power cut does not bring back what was replaced. Not every file system can.
fn sync_folder(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
}

#[cfg(unix)]
fn create(path: &Path, private: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = if private { 0o600 } else { 0o666 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// A node may run as another user than who rotates its secret: it would not find its own file readable any more.
#[cfg(unix)]
fn keep_owner(file: &File, old: &fs::Metadata, private: bool) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    let all = if private { 0o770 } else { 0o777 };
    file.set_permissions(fs::Permissions::from_mode(old.mode() & all))
}

#[cfg(not(unix))]
fn create(path: &Path, _: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &fs::Metadata, _: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_files_all_are_written_or_none() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = |name: &str| folder.path().join(name);
        write_files(&[NewFile::public(path("a"), "1"), NewFile::private(path("b"), "1")]).expect("written");
        let refused = [NewFile::public(path("a"), "2"), NewFile::private(path("none/b"), "2")];
        let said = write_files(&refused).expect_err("there is no such folder").to_string();
        assert!(said.contains("none"), "{said}");
        let text = |name: &str| fs::read_to_string(path(name)).expect("it is there");
        assert_eq!([text("a"), text("b")], ["1", "1"]);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "nothing is left beside them");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_keeps_owner_and_group_and_is_nobody_elses() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("secret");
        let write = |text| write_files(&[NewFile::private(path.clone(), text)]).expect("written");
        let told = || fs::metadata(&path).map(|m| (m.uid(), m.gid(), m.mode() & 0o777)).expect("it is there");
        write("old");
        assert_eq!(told().2, 0o600);
        // Only root can give a file away; anybody else keeps the mode at least.
        drop(chown(&path, Some(65_532), Some(65_532)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let (user, group, _) = told();
        write("new");
        assert_eq!(told(), (user, group, 0o640));
    }
}
