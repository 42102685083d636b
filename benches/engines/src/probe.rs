//! What the system says that a process has done: bytes written, CPU, memory, room on the disk.

use std::fs::read_to_string;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

pub(crate) struct Probe {
    at: Instant,
    written: u64,
    sectors: u64,
    cpu: f64,
}

fn field(file: &str, name: &str) -> u64 {
    let text = read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Sectors (of 512 bytes) written by the device that holds `dir`. All who use the disk are in it: a noisy figure.
fn sectors(dir: &Path) -> u64 {
    let device = std::fs::metadata(dir).map_or(0, |m| m.dev());
    let (major, minor) = (device >> 8 & 0xfff, (device & 0xff) | (device >> 12 & 0xfff00));
    let stat = read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap_or_default();
    stat.split_whitespace().nth(6).and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl Probe {
    pub(crate) fn new(dir: &Path) -> Self {
        let stat = read_to_string("/proc/self/stat").unwrap();
        let ticks: Vec<i64> = stat[stat.rfind(')').unwrap()..].split(' ').filter_map(|n| n.parse().ok()).collect();
        // after the state letter: utime and stime are the 11th and 12th numbers, in ticks of 1/100 s
        let cpu = (ticks[10] + ticks[11]) as f64 / 100.0;
        Self { at: Instant::now(), written: field("/proc/self/io", "write_bytes:"), sectors: sectors(dir), cpu }
    }

    /// Seconds, bytes written by us, bytes written by the device, CPU seconds: since `before`.
    pub(crate) fn since(&self, before: &Self) -> (f64, u64, u64, f64) {
        let seconds = (self.at - before.at).as_secs_f64();
        (seconds, self.written - before.written, (self.sectors - before.sectors) * 512, self.cpu - before.cpu)
    }
}

/// The peak of this process's resident memory, in MiB.
pub(crate) fn peak() -> u64 {
    field("/proc/self/status", "VmHWM:") / 1024
}

/// Resident memory of this process now, in MiB.
pub(crate) fn resident() -> u64 {
    field("/proc/self/status", "VmRSS:") / 1024
}

/// The length of all files below `dir`, and the room that they take on the disk (a hole takes none), in bytes.
pub(crate) fn size(dir: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (0, 0) };
    entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).fold(
        (0, 0),
        |sum, (path, meta)| {
            let (length, room) = if meta.is_dir() { size(&path) } else { (meta.len(), meta.blocks() * 512) };
            (sum.0 + length, sum.1 + room)
        },
    )
}
