//! How a command ends when it cannot do what it was asked. Not responsible for finding out why.

use crate::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// A message for people, and a code for scripts.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    /// Which setting is wrong, if it is one.
    setting: Option<&'static str>,
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
        Self { kind: Kind::Failed, setting: None, message: message.into() }
    }

    /// The command or a setting is wrong; trying again is no use.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, setting: None, message: message.into() }
    }

    /// A setting that cannot work; whoever knows where it was said adds that.
    pub(super) fn setting(name: &'static str, problem: impl Into<String>) -> Self {
        Self { setting: Some(name), ..Self::usage(problem) }
    }

    /// Says where the setting was said, in place of its name alone.
    pub(super) fn located(self, place: impl FnOnce(&str) -> String) -> Self {
        match self.setting {
            Some(name) => Self { setting: None, message: format!("{}: {}", place(name), self.message), ..self },
            None => self,
        }
    }

    /// The same, where it is known that trying again is no use.
    pub(super) fn into_usage(self) -> Self {
        Self { kind: Kind::Usage, ..self }
    }

    pub(super) fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }

    pub(super) fn absent() -> Self {
        Self { kind: Kind::Absent, setting: None, message: "there is no such key".to_owned() }
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
        let message = self.to_string();
        if json {
            anstream::eprintln!("{}", serde_json::json!({ "error": { "code": code, "message": message } }));
        } else {
            anstream::eprintln!("{message}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.setting {
            Some(name) => write!(f, "{name}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::Unread } else { Kind::Failed };
        Self { kind, setting: None, message: error.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::InvalidConfig { setting, problem } = error {
            return Self::setting(setting, problem);
        }
        let hint = match &error {
            Error::Listen { .. } => "; give another address with --listen",
            Error::InUse { .. } => "; end that, or give another with --data-dir",
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
        Self::failed(format!("{error}{hint}"))
    }
}
