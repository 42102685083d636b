//! The commands `config check`, `show` and `example`. Not responsible for reading settings: the node does it the same way.

use super::failure::Failure;
use super::layers::Layers;
use super::output::{Output, printable};
use super::plan::Plan;
use super::secrets::Origin;
use super::settings::{self, Settings};
use super::view::ViewSettings;
use serde_json::{Map, Value, json};

/// Every setting with its default, as a file that could be filled in.
const EXAMPLE: &str = include_str!("example.toml");

pub(super) fn example(output: Output) -> Result<(), Failure> {
    if output.json { output.line(&json!({ "toml": EXAMPLE }).to_string()) } else { output.raw(EXAMPLE.as_bytes()) }
}

/// What would end a node at its start ends this; nothing is started or made.
pub(super) fn check(flags: Settings, output: Output) -> Result<(), Failure> {
    let layers = Layers::of(flags)?;
    Plan::check(&layers.effective()).map_err(|failure| failure.located(|name| layers.place(name)))?;
    let file = layers.file().map(|path| path.display().to_string());
    if output.json {
        return output.line(&json!({ "ok": true, "file": file }).to_string());
    }
    output.line(&match file {
        Some(path) => format!("the settings are in order; file: {path}"),
        None => "the settings are in order; there is no file".to_owned(),
    })
}

/// What is in force, and who has said it. Secrets are not shown, only where they are.
pub(super) fn show(flags: Settings, output: Output) -> Result<(), Failure> {
    let layers = Layers::of(flags)?;
    let effective = layers.effective();
    let values = in_force(&effective);
    let secret = secret(&effective);
    if output.json {
        let setting = |name: &String| json!({ "value": values.get(name), "from": origin(&layers, &values, name) });
        let mut all: Map<String, Value> = settings::names().iter().map(|name| (name.clone(), setting(name))).collect();
        all.insert("secret".to_owned(), json!({ "value": null, "from": secret }));
        return output.line(&Value::Object(all).to_string());
    }
    let row = |name: &String| {
        vec![name.clone(), values.get(name).map_or_else(|| "-".to_owned(), word), origin(&layers, &values, name)]
    };
    let rows = settings::names()
        .iter()
        .map(row)
        .chain([vec!["secret".to_owned(), "(hidden)".to_owned(), secret]])
        .collect::<Vec<_>>();
    output.table(&["setting", "value", "from"], rows)
}

/// What is said, and the defaults of the rest. A data directory is no setting of a node in memory.
fn in_force(effective: &Settings) -> Map<String, Value> {
    let in_memory = effective.in_memory == Some(true);
    let defaults = Settings::defaults().said();
    let mut values: Map<String, Value> =
        defaults.into_iter().filter(|(name, _)| !(in_memory && name == "data_dir")).collect();
    values.extend(effective.said());
    // Of the view some settings follow from others.
    if let Ok(view) = effective.view.config(effective.profile()) {
        values.extend(Settings { view: ViewSettings::of(&view), ..Settings::default() }.said());
    }
    values
}

fn origin(layers: &Layers, values: &Map<String, Value>, name: &str) -> String {
    if values.contains_key(name) { layers.origin(name) } else { String::new() }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text.as_bytes()),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

/// Where the cluster's secret is.
fn secret(effective: &Settings) -> String {
    match Plan::check(effective) {
        Ok(Some(Origin::File(path))) => path.display().to_string(),
        Ok(Some(Origin::Certificates(files))) => files.key.display().to_string(),
        Ok(Some(_)) => "TIDINGS_SECRET".to_owned(),
        Ok(None) => "made at the first start".to_owned(),
        Err(_) => "see \"tidings config check\"".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The example with its settings in force.
    fn uncommented() -> String {
        let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
        EXAMPLE.lines().filter(is_setting).map(|line| format!("{}\n", &line[1..])).collect()
    }

    #[test]
    fn the_example_has_every_setting_and_no_other() {
        let shown: Settings = toml::from_str(&uncommented()).expect("settings that there are");
        let there: BTreeSet<_> = shown.said().into_iter().map(|(name, _)| name).collect();
        assert_eq!(there, settings::names().into_iter().collect());
        assert!(toml::from_str::<toml::Table>(EXAMPLE).expect("TOML").is_empty(), "as it is, it sets nothing");
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let shown: Settings = toml::from_str(&uncommented()).expect("settings");
        let (shown, defaults) = (shown.said(), Settings::defaults().said());
        for (name, default) in defaults.iter().filter(|(name, _)| *name != "name") {
            assert_eq!(shown.get(name), Some(default), "{name}");
        }
    }
}
