//! Checkpoints: taken at a node, verified and restored without one. Not responsible for what is in them.

use super::args::{CheckpointArgs, RestoreArgs, VerifyArgs};
use super::client::{Client, reader};
use super::failure::Failure;
use super::node::quoted;
use super::output::{Output, ago, grouped, size};
use crate::runtime::storage::checkpoint::{Block, Checkpoint, Intake};
use crate::{Restored, Verified, VerifiedKind};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::BufReader;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Said wherever somebody could rely on a checkpoint alone.
const NO_SECRET: &str = "the cluster's secret is not in a checkpoint";

pub(super) fn checkpoint(client: &Client, args: &CheckpointArgs, output: Output) -> Result<(), Failure> {
    // A directory that cannot be used is told before a node is asked for anything.
    let mut intake = Intake::new(&args.dir)?;
    let response = client.expect(client.get("/v1/checkpoint")?)?;
    let progress = progress("{wide_bar} {human_pos} of {human_len} records, {eta} to go");
    let taken = receive(client, &mut BufReader::with_capacity(1 << 17, reader(response)), &mut intake, &progress);
    progress.finish_and_clear();
    let Checkpoint { directory, replica, taken_ms, entries, bytes, .. } = taken?;
    if output.json {
        let (replica, directory) = (replica.to_string(), directory.display().to_string());
        let taken = json!({ "directory": directory, "replica": replica, "taken": taken_ms, "entries": entries, "bytes": bytes });
        return output.line(&taken.to_string());
    }
    anstream::eprintln!("{NO_SECRET}: keep it apart");
    output.line(&format!("checkpoint of {} ({}) in {}", counted(entries), size(bytes), directory.display()))
}

fn receive(
    client: &Client,
    source: &mut impl std::io::Read,
    intake: &mut Intake,
    progress: &ProgressBar,
) -> Result<Checkpoint, Failure> {
    loop {
        let block = Block::read(source, Some(intake.number())).map_err(|error| client.broken(&error))?;
        let block = block.ok_or_else(|| client.broken(&"it ended too early"))?;
        if let Some(checkpoint) = intake.take(&block)? {
            return Ok(checkpoint);
        }
        show(progress, intake.progress());
    }
}

pub(super) fn verify(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let progress = progress("{wide_bar} {percent} %, {eta} to go");
    let verified = crate::verify_with_progress(&args.dir, |done, of| show(&progress, (done, of)));
    progress.finish_and_clear();
    let verified = verified?;
    if output.json {
        output.line(&as_json(&verified))?;
    } else if verified.is_whole() {
        output.line(&whole(&verified))?;
    } else {
        verified.damaged.iter().try_for_each(|part| output.line(&part.to_string()))?;
    }
    if verified.is_whole() { Ok(()) } else { Err(Failure::failed(damaged(&args.dir, &verified))) }
}

fn as_json(verified: &Verified) -> String {
    let damaged = verified.damaged.iter();
    let damaged: Vec<_> =
        damaged.map(|part| json!({ "file": part.file, "offset": part.offset, "problem": part.problem })).collect();
    let text = json!({
        "kind": kind(verified.kind),
        "whole": verified.is_whole(),
        "replica": verified.replica.map(|replica| replica.to_string()),
        "taken": verified.taken_ms,
        "entries": verified.entries,
        "bytes": verified.bytes,
        "damaged": damaged,
    });
    text.to_string()
}

fn kind(kind: VerifiedKind) -> &'static str {
    match kind {
        VerifiedKind::Checkpoint => "checkpoint",
        VerifiedKind::DataDirectory => "data directory",
    }
}

fn whole(verified: &Verified) -> String {
    let replica = verified.replica.map(|replica| format!(" of replica {replica}")).unwrap_or_default();
    let taken = verified.taken_ms.map(|ms| format!(", taken {}", ago(Some(since(ms))))).unwrap_or_default();
    let (kind, entries, bytes) = (kind(verified.kind), counted(verified.entries), size(verified.bytes));
    format!("whole: {kind}{replica}{taken}, {entries} ({bytes})")
}

fn damaged(dir: &Path, verified: &Verified) -> String {
    let dir = dir.display();
    match verified.kind {
        VerifiedKind::Checkpoint => format!("{dir} is damaged: restore another checkpoint, or take a new one"),
        VerifiedKind::DataDirectory => format!("{dir} is damaged"),
    }
}

pub(super) fn restore(args: &RestoreArgs, output: Output) -> Result<(), Failure> {
    let progress = progress("{wide_bar} {percent} %, {eta} to go");
    let restored = crate::restore_with_progress(&args.dir, &args.data_dir, |done, of| show(&progress, (done, of)));
    progress.finish_and_clear();
    let Restored { replica, copied, taken_ms, entries, .. } = restored?;
    let data_dir = args.data_dir.display().to_string();
    if output.json {
        let (replica, copied) = (replica.to_string(), copied.to_string());
        let restored = json!({ "data_dir": data_dir, "replica": replica, "copied": copied, "taken": taken_ms, "entries": entries });
        return output.line(&restored.to_string());
    }
    let taken = ago(Some(since(taken_ms)));
    output.line(&format!("restored {} of replica {copied}, taken {taken}, as replica {replica}", counted(entries)))?;
    output.line(&format!("{NO_SECRET}; give it, and any node to join, if there is one:"))?;
    let program = quoted(&std::env::args().next().unwrap_or_else(|| "tidings".to_owned()));
    output.line(&format!("  {program} node --data-dir {} --secret-file FILE --join HOST:PORT", quoted(&data_dir)))
}

fn counted(entries: u64) -> String {
    format!("{} {}", grouped(entries), if entries == 1 { "entry" } else { "entries" })
}

fn since(unix_ms: u64) -> u64 {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    now_ms.saturating_sub(unix_ms)
}

/// Shown where stderr is a terminal, and nowhere else.
fn progress(template: &str) -> ProgressBar {
    ProgressBar::new(0).with_style(ProgressStyle::with_template(template).expect("a template"))
}

fn show(progress: &ProgressBar, (done, of): (u64, u64)) {
    progress.set_length(of);
    progress.set_position(done);
}
