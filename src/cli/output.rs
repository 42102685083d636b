//! How results look. Not responsible for which there are.

use super::failure::Failure;
use anstream::{AutoStream, ColorChoice};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Cells longer than this are cut: a table is for looking at, `--json` for the rest.
const CELL_CHARS_MAX: usize = 60;

/// A table is not made narrower than this.
const WIDTH_MIN: u16 = 30;

/// Where results go, and in which dress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// JSON instead of tables and words.
    pub(super) json: bool,
    /// In the shell commands confirm what they did; alone they are quiet.
    pub(super) shell: bool,
}

impl Output {
    /// One line of text or JSON.
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(anstream::stdout(), "{text}")?)
    }

    /// Something to know that is no failure.
    pub(super) fn warn(self, text: &str) {
        match self.json {
            true => anstream::eprintln!("{}", json!({ "warning": text })),
            false => anstream::eprintln!("warning: {text}"),
        }
    }

    /// Bytes as they are; people get an end of line after them.
    pub(super) fn raw(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        if self.shell || stdout.is_terminal() {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// A word of confirmation, where somebody waits for one.
    pub(super) fn confirm(self, word: &str) -> Result<(), Failure> {
        if self.shell { self.line(word) } else { Ok(()) }
    }

    /// On a terminal no wider than that, in as many lines as it takes; else a row is a line, for `grep` and its like.
    pub(super) fn table(self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
        let mut table = Table::new();
        // A terminal that does not know its width says 0.
        let width = table.width().filter(|width| *width >= WIDTH_MIN);
        let styled = AutoStream::choice(&std::io::stdout()) != ColorChoice::Never;
        table.load_style(presets::NOTHING).force_no_tty();
        if styled {
            table.enforce_styling();
        }
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|word| cell(&word)).collect::<Vec<_>>()));
        if !header.is_empty() {
            table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase()).add_attribute(Attribute::Bold)));
        }
        table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
        let text = table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
        self.line(&text)
    }
}

/// What needs a look has a colour, where there are any.
fn cell(word: &str) -> Cell {
    let colour = match word {
        "alive" | "connected" => Some(Color::Green),
        "suspect" | "connecting" => Some(Color::Yellow),
        "down" => Some(Color::Red),
        "left" => Some(Color::DarkGrey),
        _ => None,
    };
    colour.into_iter().fold(Cell::new(word), Cell::fg)
}

/// Bytes for people: control characters cannot move their cursor, and what is no text is shown as hexadecimal.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text: String = match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().flat_map(escaped).take(CELL_CHARS_MAX + 1).collect(),
        Err(_) => bytes.iter().take(CELL_CHARS_MAX).map(|b| format!("\\x{b:02x}")).collect(),
    };
    shortened(&text)
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let (plain, escape) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// How long until a deadline.
pub(super) fn remaining(expires: Option<u64>) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    expires.map_or_else(String::new, |expires| format!("in {}", span(expires.saturating_sub(now_ms))))
}

/// How long ago somebody was heard of.
pub(super) fn ago(last_contact_ms: Option<u64>) -> String {
    last_contact_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", span(ms)))
}

/// A number of things, in groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A number of bytes, in the unit that people would use.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", (bytes + 500) / 1_000),
        1_000_000..10_000_000_000 => format!("{} MB", grouped((bytes + 500_000) / 1_000_000)),
        _ => format!("{} GB", grouped((bytes + 500_000_000) / 1_000_000_000)),
    }
}

fn span(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        s @ 1..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printable_moves_the_cursor() {
        assert_eq!(printable(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable(b"\xff\0"), "\\xff\\x00");
        assert_eq!(printable("x".repeat(100).as_bytes()).chars().count(), CELL_CHARS_MAX + 1);
    }

    #[test]
    fn large_numbers_can_be_read() {
        assert_eq!([7, 1_000, 1_234_567].map(grouped), ["7", "1,000", "1,234,567"]);
        assert_eq!([999, 96_400, 96_400_000, 12_345_678_901].map(size), ["999 bytes", "96 kB", "96 MB", "12 GB"]);
    }

    #[test]
    fn spans_have_one_unit() {
        let spans = [250, 1_500, 200_000, 8_000_000, 200_000_000].map(span);
        assert_eq!(spans, ["250 ms", "1 s", "3 min", "2 h", "2 d"]);
    }
}
