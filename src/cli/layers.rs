//! Where each setting comes from: flags over variables over the file over what is in force anyway. Not responsible for
//! reading any of them.

use super::failure::Failure;
use super::file::{FILE_DEFAULT, SettingsFile};
use super::settings::{self, Settings};
use std::path::Path;

/// All that was said, from above to below.
#[derive(Debug)]
pub(super) struct Layers {
    flags: Settings,
    variables: Settings,
    orchestrators: Settings,
    file: Option<SettingsFile>,
}

/// Who has said a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Flag,
    Variable,
    Orchestrator,
    File,
    Nobody,
}

impl Layers {
    /// Reads the environment and the file. All that cannot be read is told together.
    pub(super) fn of(flags: Settings) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut problems = Vec::new();
        let variables = Settings::from_variables(&variable).unwrap_or_else(|more| {
            problems.extend(more);
            Settings::default()
        });
        let config = flags.config.clone().or_else(|| variables.config.clone());
        let file = read_file(config.as_deref()).unwrap_or_else(|more| {
            problems.extend(more);
            None
        });
        let orchestrators = Settings::from_orchestrators(&variable);
        match problems.is_empty() {
            true => Ok(Self { flags, variables, orchestrators, file }),
            false => Err(Failure::usage(problems.join("\n"))),
        }
    }

    /// What they come to.
    pub(super) fn effective(&self) -> Settings {
        let from_file = self.file.as_ref().map(|file| file.settings.clone()).unwrap_or_default();
        let environment = self.variables.clone().over(self.orchestrators.clone());
        self.flags.clone().over(environment).over(from_file)
    }

    /// The file, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// Whether the nodes to join are those of the file.
    pub(super) fn joins_by_file(&self) -> bool {
        [&self.flags, &self.variables, &self.orchestrators].iter().all(|above| above.join.is_empty())
    }

    /// Where a setting was said, for people.
    pub(super) fn place(&self, name: &str) -> String {
        match self.said(name) {
            Said::Flag => format!("--{}", name.replace('_', "-")),
            Said::Variable => settings::variable(name),
            Said::Orchestrator if name == "join" => "VIEW".to_owned(),
            Said::Orchestrator => "SOCKET_ADDRESS".to_owned(),
            Said::File => self.file.as_ref().map_or_else(|| name.to_owned(), |file| file.place(name)),
            Said::Nobody => name.to_owned(),
        }
    }

    /// As [`place`](Self::place), without the name of the setting, which stands beside it.
    pub(super) fn origin(&self, name: &str) -> String {
        match (self.said(name), &self.file) {
            (Said::Nobody, _) => "default".to_owned(),
            (Said::File, Some(file)) => file.line(name),
            _ => self.place(name),
        }
    }

    fn said(&self, name: &str) -> Said {
        let file = self.file.as_ref().map(|file| &file.settings);
        let layers = [
            (Said::Flag, Some(&self.flags)),
            (Said::Variable, Some(&self.variables)),
            (Said::Orchestrator, Some(&self.orchestrators)),
            (Said::File, file),
        ];
        let says = |settings: &&Settings| settings.said().contains_key(name);
        layers.iter().find(|(_, layer)| layer.is_some_and(|layer| says(&layer))).map_or(Said::Nobody, |(said, _)| *said)
    }
}

fn read_file(named: Option<&Path>) -> Result<Option<SettingsFile>, Vec<String>> {
    match named {
        Some(path) => SettingsFile::read(path).map(Some),
        None if Path::new(FILE_DEFAULT).exists() => SettingsFile::read(Path::new(FILE_DEFAULT)).map(Some),
        None => Ok(None),
    }
}
