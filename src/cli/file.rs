//! The file of settings, read with the lines that they stand on. Not responsible for where else settings come from.

use super::nearest::nearest;
use super::settings::{self, Settings, TABLE, in_table, of_table};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Read when nothing else is named, if it is there.
pub(super) const FILE_DEFAULT: &str = "/etc/tidings/config.toml";

/// What a file says, and on which line.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    /// Of each key, by its name here.
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
            offsets(keys.get_ref()).into_iter().map(|(name, offset)| (name, line(offset))).collect();
        let wrong = |(name, problem): (String, String)| at(lines.get(&name).copied().unwrap_or(1), &problem);
        let mut problems: Vec<String> = problems(&values).into_iter().map(wrong).collect();
        let settings = Settings::deserialize_from(values);
        if let Ok(Settings { data_dir: Some(_), in_memory: Some(true), .. }) = settings {
            problems.push(at(lines["in_memory"], "data_dir and in_memory exclude each other"));
        }
        match settings {
            Ok(settings) if problems.is_empty() => Ok(Self { path: path.to_owned(), settings, lines }),
            _ => Err(problems),
        }
    }

    /// Where a setting stands in it, and its name there.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}: {}", self.line(name), shown(name))
    }

    /// Where a setting stands in it.
    pub(super) fn line(&self, name: &str) -> String {
        format!("{}, line {}", self.path.display(), self.lines.get(&shown(name)).copied().unwrap_or(1))
    }
}

/// A setting's name in the file.
fn shown(name: &str) -> String {
    of_table(name).map_or_else(|| name.to_owned(), shown_in_table)
}

/// As TOML itself would write it in one line.
fn shown_in_table(key: &str) -> String {
    format!("{TABLE}.{key}")
}

/// Where each key begins.
fn offsets(keys: &DeTable<'_>) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (key, value) in keys {
        let name = key.get_ref().to_string();
        if let (TABLE, DeValue::Table(inner)) = (name.as_str(), value.get_ref()) {
            found.extend(inner.keys().map(|key| (shown_in_table(key.get_ref()), key.span().start)));
        }
        found.push((name, key.span().start));
    }
    found
}

/// All that is wrong with single keys, each with the key.
fn problems(values: &toml::Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, value) in values {
        match value {
            toml::Value::Table(inner) if key == TABLE => {
                let wrong =
                    |(key, value): (&String, &toml::Value)| Some((shown_in_table(key), problem_in_table(key, value)?));
                found.extend(inner.iter().filter_map(wrong));
            }
            value => found.extend(problem(key, value).map(|problem| (key.clone(), problem))),
        }
    }
    found
}

/// What is wrong with one key.
fn problem(key: &str, value: &toml::Value) -> Option<String> {
    let names = settings::names();
    let here: Vec<&str> = names.iter().map(String::as_str).filter(|name| of_table(name).is_none()).collect();
    let of_table = of_table(key).unwrap_or(key);
    match key {
        TABLE => Some(format!("{TABLE} is a table: write its settings below [{TABLE}]")),
        key if here.contains(&key) => refusal(key, toml::Table::from_iter([(key.to_owned(), value.clone())])),
        key if names.contains(&in_table(of_table)) => {
            Some(format!("unknown key {key:?}; write {of_table:?} below [{TABLE}]"))
        }
        key => Some(unknown(key, here.into_iter())),
    }
}

/// What is wrong with one key of the table.
fn problem_in_table(key: &str, value: &toml::Value) -> Option<String> {
    let names = settings::names();
    let here: Vec<&str> = names.iter().filter_map(|name| of_table(name)).collect();
    if !here.contains(&key) {
        return Some(unknown(key, here.into_iter()));
    }
    let inner = toml::Table::from_iter([(key.to_owned(), value.clone())]);
    let alone = toml::Table::from_iter([(TABLE.to_owned(), toml::Value::Table(inner))]);
    refusal(&shown_in_table(key), alone)
}

/// Why a setting is refused that is said alone.
fn refusal(shown: &str, alone: toml::Table) -> Option<String> {
    let error = Settings::deserialize_from(alone).err()?;
    Some(format!("{shown}: {}", error.message().lines().next().unwrap_or_default()))
}

fn unknown<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> String {
    let next = match nearest(key, names) {
        Some(name) => format!("did you mean {name:?}?"),
        None => "\"tidings config example\" shows all".to_owned(),
    };
    format!("unknown key {key:?}; {next}")
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
    fn mistakes_in_the_table_are_named_with_their_lines_too() {
        let text = "name = 'a'\nview_size = 3\nheal = 4\n[view]\nsize = 'a'\nhael = 2\nkeep = 'all'\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 5, "{problems:#?}");
        for expected in [
            "c.toml, line 2: unknown key \"view_size\"; write \"size\" below [view]",
            "c.toml, line 3: unknown key \"heal\"; write \"heal\" below [view]",
            "c.toml, line 5: view.size: invalid type: string \"a\", expected usize",
            "c.toml, line 6: unknown key \"hael\"; did you mean \"heal\"?",
            "c.toml, line 7: view.keep: unknown variant `all`, expected one of `policy`, `random`, `head`, `tail`",
        ] {
            assert!(problems.iter().any(|problem| problem == expected), "{expected}: {problems:#?}");
        }
    }

    #[test]
    fn what_should_be_a_table_and_is_none_is_named() {
        assert_eq!(problems("view = 30")[0], "c.toml, line 1: view is a table: write its settings below [view]");
        let file = SettingsFile::parse(Path::new("c.toml"), "[view]\n\nheal = 2\n").expect("settings");
        assert_eq!((file.place("view_heal"), file.settings.view.heal), ("c.toml, line 3: view.heal".into(), Some(2)));
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
