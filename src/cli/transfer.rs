//! Import and export. Not responsible for reading records: the node does, and names the line it cannot.

use super::args::ImportArgs;
use super::client::{Client, Refusal, reader};
use super::failure::Failure;
use super::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::time::Instant;

/// A request carries about so much: a node that is asked for the rest of a long file can be watched, and a bad line
/// is answered before the file has been sent in vain.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
const BLOCK_BYTES: usize = 256 * 1024;

pub(super) fn import(client: &Client, args: &ImportArgs, output: Output) -> Result<(), Failure> {
    let (source, bytes) = open(&args.file)?;
    let mut import = Import { client, lines: 0, imported: 0, progress: progress(bytes), started: Instant::now() };
    let ended = import.run(source);
    import.progress.finish_and_clear();
    summary("imported", import.imported, import.started, output)?;
    ended
}

fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin().lock()), None));
    }
    let refuse = |error| Failure::failed(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(refuse)?;
    let bytes = file.metadata().map_err(refuse)?.len();
    Ok((Box::new(file), Some(bytes)))
}

/// An import under way, request by request.
struct Import<'a> {
    client: &'a Client,
    /// Lines in the requests answered so far.
    lines: u64,
    imported: u64,
    progress: ProgressBar,
    started: Instant,
}

#[derive(Deserialize)]
struct Imported {
    imported: u64,
}

impl Import<'_> {
    fn run(&mut self, mut source: impl Read) -> Result<(), Failure> {
        let mut pending = Vec::new();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = source.read(&mut block)?;
            if read == 0 {
                break;
            }
            pending.extend_from_slice(&block[..read]);
            if pending.len() >= REQUEST_BYTES
                && let Some(end) = block[..read].iter().rposition(|&b| b == b'\n')
            {
                let rest = pending.split_off(pending.len() - read + end + 1);
                self.send(&std::mem::replace(&mut pending, rest))?;
            }
        }
        if pending.is_empty() { Ok(()) } else { self.send(&pending) }
    }

    fn send(&mut self, lines: &[u8]) -> Result<(), Failure> {
        let response = self.client.post("/v1/import", lines)?;
        if response.status() != 400 {
            let response = self.client.expect(response)?;
            self.imported += self.client.json::<Imported>(response)?.imported;
            self.lines += lines.iter().filter(|&&b| b == b'\n').count() as u64;
            self.progress.inc(lines.len() as u64);
            return Ok(());
        }
        let refusal: Refusal = self.client.json(response)?;
        self.imported += refusal.imported.unwrap_or(0);
        let message = refusal.error.message;
        Err(Failure::failed(match refusal.error.line {
            Some(line) => format!("line {}: {message}", self.lines + line),
            None => format!("{}: {message}", self.client.base()),
        }))
    }
}

pub(super) fn export(client: &Client, output: Output) -> Result<(), Failure> {
    let started = Instant::now();
    let response = client.expect(client.get("/v1/export")?)?;
    let mut source = reader(response);
    let mut stdout = std::io::stdout().lock();
    // on one terminal the bar would run through the records
    let progress = if stdout.is_terminal() { ProgressBar::hidden() } else { progress(None) };
    let mut block = vec![0; BLOCK_BYTES];
    let mut records = 0;
    loop {
        let read = source.read(&mut block).map_err(|error| client.broken(&error))?;
        if read == 0 {
            break;
        }
        stdout.write_all(&block[..read])?;
        records += block[..read].iter().filter(|&&b| b == b'\n').count() as u64;
        progress.inc(read as u64);
    }
    stdout.flush()?;
    progress.finish_and_clear();
    let on_stderr = Output { json: false, ..output };
    summary("exported", records, started, on_stderr)
}

/// Shown where stderr is a terminal, and nowhere else.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {bytes_per_sec}, {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a template"))
}

/// How many, how fast: for people on stderr, as JSON on stdout.
fn summary(what: &str, records: u64, started: Instant, output: Output) -> Result<(), Failure> {
    let seconds = started.elapsed().as_secs_f64();
    if output.json {
        return output.line(&json!({ what: records, "seconds": seconds }).to_string());
    }
    let rate = records as f64 / seconds.max(0.001);
    let plural = if records == 1 { "" } else { "s" };
    anstream::eprintln!("{what} {records} record{plural} in {seconds:.1} s ({rate:.0}/s)");
    Ok(())
}
