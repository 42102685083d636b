//! Keys in files: the cluster's secrets or certificates, and the token of clients. Not responsible for what they protect.

use super::failure::Failure;
use super::replace::{NewFile, write_files};
use crate::{Certificates, Error, Keys, Secret, Secrets};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Its name in a data directory.
pub(super) const SECRET_FILE: &str = "secret";

/// Where a node's keys came from: what a second node must be told, and where others may be found later.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The environment, where a second node finds them too.
    Environment,
    /// This file.
    File(PathBuf),
    /// A certificate of the users' own authority.
    Certificates(CertificateFiles),
    /// Just made, and kept nowhere but here.
    Fresh(Secret),
}

/// Where a certificate is, its key, and the authorities that are known.
#[derive(Clone, Debug)]
pub(super) struct CertificateFiles {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Origin {
    /// The files that they are in.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::File(path) => vec![path.clone()],
            Self::Certificates(CertificateFiles { ca, cert, key }) => vec![ca.clone(), cert.clone(), key.clone()],
            Self::Environment | Self::Fresh(_) => Vec::new(),
        }
    }

    /// What is in the files now; `None` if they are in none.
    pub(super) fn read(&self) -> Result<Option<Keys>, Failure> {
        match self {
            Self::File(path) => read_secrets(path).map(|secrets| Some(secrets.into())),
            Self::Certificates(files) => files.read().map(|certificates| Some(certificates.into())),
            Self::Environment | Self::Fresh(_) => Ok(None),
        }
    }
}

impl CertificateFiles {
    pub(super) fn read(&self) -> Result<Certificates, Failure> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| unreadable(path, &error, TLS_NEXT));
        let (ca, cert, key) = (read(&self.ca)?, read(&self.cert)?, Zeroizing::new(read_private(&self.key, TLS_NEXT)?));
        Certificates::from_pem(&ca, &cert, &key).map_err(|error| self.by_file(error))
    }

    /// People know the files better than the settings.
    fn by_file(&self, error: Error) -> Failure {
        let Error::InvalidConfig { setting, problem } = error else { return error.into() };
        let files = [("tls_ca", &self.ca), ("tls_cert", &self.cert), ("tls_key", &self.key)];
        let named = files.iter().fold(problem, |text, (name, path)| text.replace(name, &path.display().to_string()));
        match files.iter().find(|(name, _)| *name == setting) {
            Some((_, path)) => Failure::usage(format!("{}: {named}", path.display())),
            None => Failure::setting(setting, named),
        }
    }
}

/// The cluster's secrets from a file that is nobody else's business.
pub(super) fn read_secrets(path: &Path) -> Result<Secrets, Failure> {
    let text = Zeroizing::new(read_private(path, SECRET_NEXT)?);
    parse_secrets(&text, &path.display().to_string())
}

/// From text; `source` is named when it holds none.
pub(super) fn parse_secrets(text: &str, source: &str) -> Result<Secrets, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{source}: {error}")))
}

/// The token of clients.
pub(super) fn read_token(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error, SECRET_NEXT))?;
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
pub(super) fn make_secret(path: &Path) -> Result<Secret, Failure> {
    let secret = Secret::random(&mut rand::rng());
    write_files(&[NewFile::private(path.to_owned(), &Secrets::from(secret.clone()).to_text())])?;
    Ok(secret)
}

const SECRET_NEXT: &str = "\"tidings secret new\" makes what belongs there";
const TLS_NEXT: &str = "\"tidings tls ca\" and \"tidings tls node\" make what belongs there";

fn unreadable(path: &Path, error: &io::Error, next: &str) -> Failure {
    let next = if error.kind() == io::ErrorKind::NotFound { format!("; {next}") } else { String::new() };
    Failure::usage(format!("{}: {error}{next}", path.display()))
}

fn read_private(path: &Path, next: &str) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error, next))?;
    if is_public(path).map_err(|error| unreadable(path, &error, next))? {
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

#[cfg(not(unix))]
fn is_public(_: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_made_is_read_back_and_is_its_owners_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(SECRET_FILE);
        let made = make_secret(&path).expect("made");
        assert_eq!(read_secrets(&path).expect("read").key_ids(), [made.key_id()]);
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
        assert!(read_secrets(&path).is_err());
    }
}
