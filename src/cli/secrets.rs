//! Secrets in files: the cluster's, and the token of clients. Not responsible for what they protect.

use super::failure::Failure;
use crate::Secret;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Its name in a data directory.
pub(super) const SECRET_FILE: &str = "secret";

/// Where a node's secret came from: what a second node must be told.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The environment, where a second node finds it too.
    Environment,
    /// This file.
    File(PathBuf),
    /// Just made, and kept nowhere but here.
    Fresh(Secret),
}

/// The cluster's secret from a file that is nobody else's business.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = read_private(path)?;
    parse_secret(&text, &path.display().to_string())
}

/// From text that may end in white space; `source` is named when it is none.
pub(super) fn parse_secret(text: &str, source: &str) -> Result<Secret, Failure> {
    text.trim().parse().map_err(|error| Failure::usage(format!("{source}: {error}")))
}

/// The token of clients.
pub(super) fn read_token(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let problem = "a token is one line of printable ASCII without spaces; make one with \"tidings secret new\"";
        return Err(Failure::usage(format!("{}: {problem}", path.display())));
    }
    Ok(token.to_owned())
}

/// Whether a token is one for everybody on this machine: the node is none the weaker for that, unlike its links.
pub(super) fn warn_of_public_token(path: &Path) {
    if is_public(path).unwrap_or(false) {
        let path = path.display();
        anstream::eprintln!("warning: {path}: everybody on this machine may read the token; run: chmod 600 {path}");
    }
}

/// A new secret, in a new file that only its owner may read.
///
/// Written beside it first: a half-written secret would be taken for a wrong one at the next start.
pub(super) fn make_secret(path: &Path) -> Result<Secret, Failure> {
    let secret = Secret::random(&mut rand::rng());
    let beside = path.with_extension("new");
    let write = || {
        let mut file = create_private(&beside)?;
        writeln!(file, "{}", *secret.to_hex())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Ok(secret)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::NotFound => "; \"tidings secret new\" makes what belongs there",
        _ => "",
    };
    Failure::usage(format!("{}: {error}{next}", path.display()))
}

fn read_private(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    if is_public(path).map_err(|error| unreadable(path, &error))? {
        let path = path.display();
        return Err(Failure::usage(format!("{path}: everybody on this machine may read it; run: chmod 600 {path}")));
    }
    Ok(text)
}

#[cfg(unix)]
fn is_public(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o004 != 0)
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn is_public(_: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<fs::File> {
    fs::File::create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_made_is_read_back_and_is_its_owners_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(SECRET_FILE);
        let made = make_secret(&path).expect("made");
        assert_eq!(read_secret(&path).expect("read").to_hex(), made.to_hex());
        assert!(!directory.path().join("secret.new").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_all_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(SECRET_FILE);
        make_secret(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(read_secret(&path).is_err());
    }
}
