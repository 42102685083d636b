//! How a command ends when it cannot do what it was asked. Not responsible for finding out why.

use crate::Error;
use std::io;
use std::process::ExitCode;

/// A message for people, and a code for scripts.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    message: String,
}

/// The exit codes: 0 done, and these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody reads our output any more: no news for anybody.
    Unread = 0,
    Failed = 1,
    Usage = 2,
    Absent = 3,
}

impl Failure {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The command or a setting is wrong; trying again is no use.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    /// The same, where it is known that trying again is no use.
    pub(super) fn into_usage(self) -> Self {
        Self { kind: Kind::Usage, ..self }
    }

    pub(super) fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }

    pub(super) fn absent() -> Self {
        Self { kind: Kind::Absent, message: "there is no such key".to_owned() }
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// Says it on stderr, so that stdout holds results only.
    pub(super) fn report(&self, json: bool) {
        let code = match self.kind {
            Kind::Unread => return,
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::Absent => "absent",
        };
        if json {
            anstream::eprintln!("{}", serde_json::json!({ "error": { "code": code, "message": self.message } }));
        } else {
            anstream::eprintln!("{}", self.message);
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::Unread } else { Kind::Failed };
        Self { kind, message: error.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = if matches!(error, Error::InvalidConfig { .. }) { Kind::Usage } else { Kind::Failed };
        let hint = match &error {
            Error::Listen { .. } => "; give another address with --listen",
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "; make room on it, or give another directory with --data-dir"
                }
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    "; make it writable, or give another directory with --data-dir"
                }
                _ => "",
            },
            _ => "",
        };
        Self { kind, message: format!("{error}{hint}") }
    }
}
