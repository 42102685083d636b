//! The file of settings, read with the lines that they stand on. Not responsible for where else settings come from.

use super::nearest::nearest;
use super::settings::{self, Settings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Read when nothing else is named, if it is there.
pub(super) const FILE_DEFAULT: &str = "/etc/tidings/config.toml";

/// What a file says, and on which line.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    lines: BTreeMap<String, usize>,
}

impl SettingsFile {
    /// Everything that is wrong with it, if something is.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<String>> {
        let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
        Self::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Vec<String>> {
        let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let at = |line: usize, problem: &str| format!("{}, line {line}: {problem}", path.display());
        let syntax =
            |error: toml::de::Error| vec![at(line(error.span().map_or(0, |span| span.start)), error.message())];
        let keys = DeTable::parse(text).map_err(syntax)?;
        let values: toml::Table = toml::from_str(text).map_err(syntax)?;
        let lines: BTreeMap<String, usize> =
            keys.get_ref().keys().map(|key| (key.get_ref().to_string(), line(key.span().start))).collect();
        let wrong = |(key, value): (&String, &toml::Value)| Some(at(lines[key], &problem(key, value)?));
        let mut problems: Vec<String> = values.iter().filter_map(wrong).collect();
        let settings = Settings::deserialize_from(values);
        if let Ok(Settings { data_dir: Some(_), in_memory: Some(true), .. }) = settings {
            problems.push(at(lines["in_memory"], "data_dir and in_memory exclude each other"));
        }
        match settings {
            Ok(settings) if problems.is_empty() => Ok(Self { path: path.to_owned(), settings, lines }),
            _ => Err(problems),
        }
    }

    /// Where a setting stands in it.
    pub(super) fn place(&self, name: &str) -> String {
        let line = self.lines.get(name).copied().unwrap_or(1);
        format!("{}, line {line}: {name}", self.path.display())
    }
}

/// What is wrong with one key.
fn problem(key: &str, value: &toml::Value) -> Option<String> {
    let names = settings::names();
    if !names.iter().any(|name| name == key) {
        let next = match nearest(key, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {name:?}?"),
            None => "\"tidings config example\" shows all".to_owned(),
        };
        return Some(format!("unknown key {key:?}; {next}"));
    }
    let alone = toml::Table::from_iter([(key.to_owned(), value.clone())]);
    let error = Settings::deserialize_from(alone).err()?;
    Some(format!("{key}: {}", error.message().lines().next().unwrap_or_default()))
}

impl Settings {
    fn deserialize_from(table: toml::Table) -> Result<Self, toml::de::Error> {
        toml::Value::Table(table).try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        SettingsFile::parse(Path::new("c.toml"), text).expect_err("mistakes")
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "# mine\nname = \"a\"\n\ndata_dri = \"d\"\njoin = \"b:1\"\ncolour = 1\nprofile = \"slow\"\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 4, "{problems:#?}");
        for expected in [
            "c.toml, line 4: unknown key \"data_dri\"; did you mean \"data_dir\"?",
            "c.toml, line 6: unknown key \"colour\"; \"tidings config example\" shows all",
            "c.toml, line 5: join: invalid type: string \"b:1\", expected a sequence",
            "c.toml, line 7: profile: unknown variant `slow`, expected `lan` or `metered`",
        ] {
            assert!(problems.iter().any(|problem| problem == expected), "{expected}: {problems:#?}");
        }
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line_too() {
        assert!(problems("name = \"a\"\nlisten\n")[0].starts_with("c.toml, line 2: "));
        assert!(problems("name = 'a'\nname = 'b'\n")[0].starts_with("c.toml, line 2: "));
        assert_eq!(
            problems("data_dir = 'd'\nin_memory = true")[0],
            "c.toml, line 2: data_dir and in_memory exclude each other"
        );
    }
}
