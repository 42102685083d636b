//! What decodes bytes from outside and cannot be reached otherwise, for the targets in `fuzz/`: only there `cfg(fuzzing)` is
//! set, no other build has this. Not responsible for what the targets make of it.

use super::file::SettingsFile;
use super::plan::{self, others};
use super::settings::Settings;
use crate::http::values::{parse_line, write_line};
use crate::http::{self, Access, App, Compat, Limits, duration};
use crate::runtime::storage::checkpoint::{Block, Checkpoint, Intake};
use crate::{Config, Error, Record, Store};
use axum::Router;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A store with all its routes, those of other programs too, for anybody; and what ends it when somebody asks for that.
pub async fn open(config: Config) -> Result<(Store, Router, CancellationToken), Error> {
    let limits = Limits { key_bytes_max: config.key_bytes_max, value_bytes_max: config.value_bytes_max };
    let (store, ending) = (Store::open(config).await?, CancellationToken::new());
    let app = App { store: store.clone(), limits, ending: ending.clone(), requests: Arc::default() };
    let access = Access::Anonymous { loopback: false };
    Ok((store, http::router(app, access, Compat { kvs: true, cache: true }, None), ending))
}

/// A file of settings as a node reads it, up to where files and sockets would be opened.
pub fn settings(text: &str) -> Result<(), Vec<String>> {
    let file = SettingsFile::parse(Path::new("file"), text)?;
    check(&file.settings)
}

/// The same of what stands in one of its variables.
pub fn variable(name: &str, value: &str) -> Result<(), Vec<String>> {
    let said = |asked: &str| (asked == name).then(|| value.to_owned());
    let settings = Settings::from_variables(&said)?;
    check(&settings.over(Settings::from_orchestrators(&said)))
}

fn check(settings: &Settings) -> Result<(), Vec<String>> {
    plan::check(settings, &others(settings)).map_err(|_| Vec::new())
}

/// A line of an import.
pub fn import(line: &[u8], now_ms: u64) -> Result<Record, String> {
    parse_line(line, now_ms)
}

/// The line of an export.
pub fn export(record: &Record, line_bytes_max: usize) -> Vec<u8> {
    let mut line = Vec::new();
    write_line(&mut line, &record.key, &record.value, record.expires, line_bytes_max);
    line
}

/// A duration as people write it, and as it is written for them.
pub fn duration(text: &str) -> Result<(Duration, String), String> {
    duration::parse(text).map(|read| (read, duration::written(read)))
}

/// The stream of a checkpoint, to where it becomes a directory.
pub fn take_checkpoint(mut stream: &[u8], directory: &Path) -> Result<Option<Checkpoint>, String> {
    let mut intake = Intake::new(directory).map_err(|error| error.to_string())?;
    while let Some(block) = Block::read(&mut stream, Some(intake.number())).map_err(|error| error.to_string())? {
        if let Some(checkpoint) = intake.take(&block).map_err(|error| error.to_string())? {
            return Ok(Some(checkpoint));
        }
    }
    Ok(None)
}
