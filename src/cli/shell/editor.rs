//! The line that somebody types on a terminal: its history, and what Tab completes. Not responsible for what it means.

use super::command;
use super::words::quoted_word;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::keys;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many lines are remembered.
const HISTORY_LINES_MAX: usize = 1_000;
/// Somebody is waiting for Tab: a node that is slower completes nothing.
const COMPLETION_TIME_MAX: Duration = Duration::from_millis(500);
/// More keys than these would not be read.
const KEYS_MAX: usize = 50;

/// What a terminal is read with.
pub(super) struct Lines {
    editor: Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("history", &self.history).finish_non_exhaustive()
    }
}

/// What came of asking for a line.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C gives up the line, not the shell.
    Nothing,
    End,
}

impl Lines {
    /// `nodes` is how many a demo has; 0 without one.
    pub(super) fn new(client: Client, nodes: usize) -> Result<Self, Failure> {
        let config = Config::builder().max_history_size(HISTORY_LINES_MAX).and_then(|c| c.history_ignore_dups(true));
        let config = config
            .map_err(failed)?
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .auto_add_history(false)
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Words { client: client.hasty(COMPLETION_TIME_MAX), nodes }));
        let history = history_file();
        // At the first time there is none.
        history.iter().for_each(|path| _ = editor.load_history(path));
        Ok(Self { editor, history })
    }

    /// Whose keys Tab completes.
    pub(super) fn at(&mut self, client: &Client) {
        if let Some(words) = self.editor.helper_mut() {
            words.client = client.hasty(COMPLETION_TIME_MAX);
        }
    }

    pub(super) fn next(&mut self, prompt: &str) -> Result<Typed, Failure> {
        match self.editor.readline(prompt) {
            Ok(line) => {
                self.remember(&line);
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Nothing),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(failed(error)),
        }
    }

    /// At once, since nobody knows how the shell will end. A history that cannot be kept is no reason to end it.
    fn remember(&mut self, line: &str) {
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = self.history.as_ref().filter(|_| is_new) {
            let kept =
                make_private(path).map_err(|_| ()).and_then(|()| self.editor.append_history(path).map_err(|_| ()));
            if kept.is_err() {
                self.history = None;
            }
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    Failure::failed(error.to_string())
}

/// Where programs keep what they would rather not lose, by the rules of the desktop.
fn history_file() -> Option<PathBuf> {
    let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))?;
    Some(state.join("tidings/history"))
}

/// An empty file that nobody else may read, unless it is there: values may be anything.
fn make_private(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// What could stand at the end of a line.
struct Words {
    client: Client,
    nodes: usize,
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, end: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = &line[..end];
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (before, begun) = line.split_at(start);
        let before: Vec<&str> = before.split_whitespace().collect();
        Ok((start, self.candidates(&before, begun).into_iter().map(|word| pair(&word)).collect()))
    }
}

impl Words {
    fn candidates(&self, before: &[&str], begun: &str) -> Vec<String> {
        let words: Vec<String> = match before {
            [] | ["help"] => command::names(self.nodes > 0).collect(),
            ["use" | "cut" | "heal"] => (1..=self.nodes).map(|number| number.to_string()).collect(),
            // The shell's rules for quotes are not those of completion: a word that begins with one is left alone.
            ["get" | "put" | "delete" | "list" | "watch"] if !begun.starts_with(['"', '\'']) => {
                keys::beginning_with(&self.client, begun, KEYS_MAX).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        words.into_iter().filter(|word| word.starts_with(begun)).collect()
    }
}

fn pair(word: &str) -> Pair {
    Pair { display: word.to_owned(), replacement: quoted_word(word) }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str, nodes: usize) -> (usize, Vec<String>) {
        let client = Client::at("127.0.0.1:1", None).expect("an address").hasty(COMPLETION_TIME_MAX);
        let history = FileHistory::new();
        let (start, pairs) =
            Words { client, nodes }.complete(line, line.len(), &Context::new(&history)).expect("words");
        (start, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn the_first_word_is_a_command_and_so_is_what_help_is_asked_about() {
        assert_eq!(complete("sta", 0), (0, vec!["status".to_owned()]));
        assert_eq!(complete("help de", 0), (5, vec!["delete".to_owned()]));
        assert_eq!(complete("us", 0).1, [""; 0]);
        assert_eq!(complete("us", 3).1, ["use"]);
    }

    #[test]
    fn nodes_have_numbers_and_a_node_that_is_not_there_has_no_keys() {
        assert_eq!(complete("cut ", 3), (4, vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]));
        assert_eq!(complete("get a", 3).1, [""; 0]);
        assert_eq!(complete("put k v", 3).1, [""; 0]);
    }
}
