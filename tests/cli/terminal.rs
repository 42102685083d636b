//! What is different on a terminal: colours, width, a history, completion, bars. Not responsible for the same without one.

use crate::common::{Node, eventually};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The binary on a terminal of its own, which `script` makes.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn start(node: &Node, home: &Path, command: &str, variables: &[(&str, &str)]) -> Self {
        let mut script = Command::new("script");
        let command = format!("stty cols 120 rows 30; {}", command.replace("tidings", env!("CARGO_BIN_EXE_tidings")));
        script.args(["-q", "-f", "-e", "-c", &command, "/dev/null"]).env_clear();
        script.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").env("HOME", home).env("TIDINGS_HTTP", &node.http);
        script.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("script, of util-linux, is on every Linux");
        let (keys, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut block = [0; 4_096];
            while let Ok(count @ 1..) = output.read(&mut block) {
                shown.lock().expect("no panic").extend_from_slice(&block[..count]);
            }
        });
        Self { child, keys, screen, reader: Some(reader) }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it reads");
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic")).into_owned()
    }

    /// Waits for some text and for the prompt that follows it: keys that are pressed before it are for nobody.
    fn shows(&self, expected: &str) {
        let is_there = || {
            let text = self.text();
            text.find(expected).is_some_and(|at| text[at + expected.len()..].contains("tidings> "))
        };
        eventually(expected, is_there);
    }

    /// Everything, once it has ended by itself.
    fn end(mut self) -> String {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{}", self.text());
        let reader = self.reader.take().expect("not yet ended");
        reader.join().expect("no panic");
        self.text()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(node: &Node, command: &str, variables: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().expect("a directory");
    Terminal::start(node, home.path(), command, variables).end()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let node = Node::start();
    let bold = "\u{1b}[1m";
    let coloured = shown(&node, "tidings members", &[]);
    assert!(coloured.contains(bold) && coloured.contains("alive"), "{coloured:?}");
    let plain = shown(&node, "tidings members", &[("NO_COLOR", "1")]);
    assert!(!plain.contains('\u{1b}') && plain.contains("alive"), "{plain:?}");
    let piped = shown(&node, "tidings members | cat", &[]);
    assert!(!piped.contains('\u{1b}') && piped.contains("alive"), "{piped:?}");
}

#[test]
fn tables_are_no_wider_than_the_terminal() {
    let node = Node::start();
    let wide = "x".repeat(50);
    node.put(&format!("/v1/kv/{wide}"), format!("{wide} {wide}"));
    let variables = [("NO_COLOR", "1")];
    for command in ["tidings members", "tidings list", "tidings status"] {
        let table = shown(&node, &format!("stty cols 60; {command}"), &variables);
        let longest = table.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
        assert!((20..=60).contains(&longest), "{command}: {longest}\n{table}");
        let piped = shown(&node, &format!("stty cols 60; {command} | cat"), &variables);
        assert!(
            command.ends_with("status") || piped.lines().any(|line| line.chars().count() > 60),
            "{command}: {piped}"
        );
    }
}

#[test]
fn a_value_ends_with_a_line_on_a_terminal_only() {
    let node = Node::start();
    node.put("/v1/kv/a", "value");
    assert_eq!(shown(&node, "tidings get a", &[]), "value\r\n");
    assert_eq!(shown(&node, "tidings get a | cat", &[]), "value");
}

#[test]
fn long_work_has_a_bar() {
    let node = Node::start();
    assert!(shown(&node, "tidings load --seconds 1 --rate 10", &[]).contains("of 1 s"));
    let records = node.path("records.jsonl");
    let lines: String =
        (0..60_000).map(|i| format!("{{\"key\":\"k{i:05}\",\"text\":\"{}\"}}\n", "v".repeat(200))).collect();
    std::fs::write(&records, lines).expect("written");
    let import = shown(&node, &format!("tidings import {records}"), &[]);
    assert!(import.contains("MiB/s") && import.contains("imported 60000 records"), "{import:?}");
}

#[cfg(unix)]
#[test]
fn the_shell_remembers_its_lines_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start();
    let home = tempfile::tempdir().expect("a directory");
    let mut first = Terminal::start(&node, home.path(), "tidings shell", &[]);
    first.shows("exit to end");
    first.press("put kettle on\r");
    first.shows("created");
    first.press("exit\r");
    first.end();
    let history = home.path().join(".local/state/tidings/history");
    assert!(std::fs::read_to_string(&history).expect("kept").contains("put kettle on\nexit\n"));
    assert_eq!(std::fs::metadata(&history).expect("kept").permissions().mode() & 0o777, 0o600);
    let mut second = Terminal::start(&node, home.path(), "tidings shell", &[]);
    second.shows("exit to end");
    second.press("\u{1b}[A\u{1b}[A\r");
    second.shows("replaced");
    second.press("\u{3}exit\r");
    second.end();
    let elsewhere = home.path().join("state");
    let variables = [("XDG_STATE_HOME", elsewhere.to_str().expect("UTF-8"))];
    let mut third = Terminal::start(&node, home.path(), "tidings shell", &variables);
    third.shows("exit to end");
    third.press("status\r");
    third.shows("no links");
    third.press("\u{4}");
    third.end();
    assert!(elsewhere.join("tidings/history").exists());
}

#[test]
fn the_shell_completes_commands_and_keys() {
    let node = Node::start();
    node.put("/v1/kv/kettle/kitchen", "boiling");
    let home = tempfile::tempdir().expect("a directory");
    let mut shell = Terminal::start(&node, home.path(), "tidings shell", &[]);
    shell.shows("exit to end");
    shell.press("sta\t\r");
    shell.shows("no links");
    shell.press("get ket\t\r");
    shell.shows("boiling");
    shell.press("exit\r");
    shell.end();
}
