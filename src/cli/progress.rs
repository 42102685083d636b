//! How far a node has come with reading its state, for people who wait for it. Not responsible for the reading.

use super::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Nobody asks what takes less than this; later lines come as often.
const QUIET: Duration = Duration::from_secs(2);
/// Looking at the clock for each entry would take longer than reading it.
const LOOK_EVERY: u64 = 1_024;

/// Shows it on stderr: a bar on a terminal, else a line now and then; nothing if it is quick, and nothing to programs.
#[derive(Debug)]
pub(super) struct Reading {
    style: Style,
    calls: u64,
    said: Instant,
}

#[derive(Debug)]
enum Style {
    Nothing,
    Lines,
    Bar(Option<ProgressBar>),
}

impl Reading {
    pub(super) fn new(output: Output) -> Self {
        let style = match output.json {
            true => Style::Nothing,
            false if std::io::stderr().is_terminal() => Style::Bar(None),
            false => Style::Lines,
        };
        Self { style, calls: 0, said: Instant::now() }
    }

    /// So many entries have been read, of so many.
    pub(super) fn show(&mut self, read: u64, of: u64) {
        self.calls += 1;
        if !self.calls.is_multiple_of(LOOK_EVERY) {
            return;
        }
        match &mut self.style {
            Style::Bar(Some(bar)) => bar.set_position(read),
            _ if self.said.elapsed() < QUIET => {}
            Style::Nothing => {}
            Style::Bar(none) => *none = Some(bar(of)),
            Style::Lines => {
                self.said = Instant::now();
                anstream::eprintln!("{}", line(read, of));
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Style::Bar(Some(bar)) = &self.style {
            bar.finish_and_clear();
        }
    }
}

fn bar(of: u64) -> ProgressBar {
    let template = "reading the state {wide_bar} {human_pos} of {human_len} entries, {eta} to go";
    ProgressBar::new(of).with_style(ProgressStyle::with_template(template).expect("a template"))
}

fn line(read: u64, of: u64) -> String {
    format!("reading the state: {} of {} entries", grouped(read), grouped(of))
}

/// With a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits.char_indices().flat_map(|(at, digit)| comma(at).then_some(',').into_iter().chain([digit])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        assert_eq!(line(450_000, 1_000_000), "reading the state: 450,000 of 1,000,000 entries");
        assert_eq!([7, 999, 1_000].map(grouped), ["7", "999", "1,000"]);
    }
}
