//! Small file systems that are mounted for a test. Not responsible for what happens on them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A file system of its own; it goes with this value, whoever still has files open there.
pub(crate) struct Mount {
    directory: TempDir,
}

impl Mount {
    /// In memory, of so many bytes. `None`, and a line that says so, where that cannot be had.
    pub(crate) fn tmpfs(bytes: u64) -> Option<Self> {
        Self::of(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tidings"])
    }

    /// The ext4 in a file.
    pub(crate) fn image(image: &Path) -> Option<Self> {
        Self::of(&["-o", "loop", image.to_str().expect("UTF-8")])
    }

    fn of(what: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        done("mount", &[what, &[text(directory.path())]].concat())?;
        Some(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// With other options.
    pub(crate) fn remount(&self, options: &str) {
        let output = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.path()).output();
        let output = output.expect("mount runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Another image in its place, under the feet of who works there.
    pub(crate) fn replace(&self, image: &Path) {
        for (program, args) in
            [("umount", vec!["-l", text(self.path())]), ("mount", vec!["-o", "loop", text(image), text(self.path())])]
        {
            assert!(Command::new(program).args(args).status().expect("it runs").success());
        }
    }

    /// A file that takes all the room that is left, down to the last byte but `left`.
    pub(crate) fn fill(&self, name: &str, left: u64) -> PathBuf {
        let path = self.path().join(name);
        let file = File::create(&path).expect("a file");
        let (mut at, mut length) = (0, 1 << 20);
        while length > 0 {
            match file.write_all_at(&vec![0xff; length], at) {
                Ok(()) => at += length as u64,
                Err(_) => length /= 2,
            }
        }
        file.set_len(at.saturating_sub(left)).expect("shorter");
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// An empty ext4 in a file.
pub(crate) fn image(path: &Path) -> Option<()> {
    File::create(path).and_then(|file| file.set_len(64 << 20)).expect("a file");
    done("mkfs.ext4", &["-q", "-F", text(path)])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Whether a command that needs root, or may not be there, has done it. If not, says what is missing, to whoever reads
/// the log: the harness captures what macros print.
fn done(program: &str, args: &[&str]) -> Option<()> {
    let failure = match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no reason").to_owned(),
        Err(error) => error.to_string(),
    };
    let _ = writeln!(std::io::stderr(), "SKIPPED: {} needs {program}, as root: {failure}", test());
    None
}

fn test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}
