//! The shell: commands typed to a node. Not responsible for what they do: they are those of the command line.

mod command;
mod editor;
mod words;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::{cluster, keys, watch};
use crate::runtime::net::CutSwitch;
use command::ShellCommand;
use editor::{Lines, Typed};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A node of a demo, and its switch.
#[derive(Debug)]
pub(super) struct DemoNode {
    name: String,
    client: Client,
    switch: CutSwitch,
}

impl DemoNode {
    pub(super) fn new(name: String, http: SocketAddr, switch: CutSwitch) -> Result<Self, Failure> {
        Ok(Self { name, client: Client::at(&http.to_string(), None)?, switch })
    }
}

/// Whom the commands go to.
#[derive(Debug)]
pub(super) struct Shell {
    client: Client,
    /// All nodes, in a demo; else none.
    demo: Vec<DemoNode>,
    /// The node in use, in a demo.
    current: usize,
    output: Output,
    /// Ends what `watch` has begun; it ends with the next line.
    watching: Option<DropGuard>,
}

/// Runs a shell on a thread of its own, for it blocks; when it ends, so does the node.
pub(super) fn spawn(mut shell: Shell, ending: CancellationToken) {
    std::thread::spawn(move || {
        if let Err(failure) = shell.run() {
            failure.report(shell.output.json);
        }
        ending.cancel();
    });
}

impl Shell {
    pub(super) fn on_node(client: Client, output: Output) -> Self {
        Self { client, demo: Vec::new(), current: 0, output: Output { shell: true, ..output }, watching: None }
    }

    /// At the first node, to begin with; a demo has at least one.
    pub(super) fn on_demo(demo: Vec<DemoNode>, output: Output) -> Self {
        let shell = Self::on_node(demo[0].client.clone(), output);
        Self { demo, ..shell }
    }

    /// Until `exit`, or the end of the input.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        if io::stdin().is_terminal() { self.run_on_terminal() } else { self.run_on_lines() }
    }

    fn run_on_terminal(&mut self) -> Result<(), Failure> {
        let mut lines = Lines::new(self.client.clone(), self.demo.len())?;
        self.output.line("type help for the commands, exit to end")?;
        loop {
            match lines.next(&self.prompt())? {
                Typed::Line(line) if self.take(&line)?.is_break() => return Ok(()),
                Typed::Line(_) => lines.at(&self.client),
                Typed::Nothing => {}
                Typed::End => return Ok(()),
            }
        }
    }

    fn run_on_lines(&mut self) -> Result<(), Failure> {
        for line in io::stdin().lines() {
            if self.take(&line?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn prompt(&self) -> String {
        match self.demo.get(self.current) {
            Some(node) if node.switch.is_cut() => format!("{} (cut)> ", node.name),
            Some(node) => format!("{}> ", node.name),
            None => "tidings> ".to_owned(),
        }
    }

    /// One line. What a command fails with is told, and the shell goes on.
    fn take(&mut self, line: &str) -> Result<ControlFlow<()>, Failure> {
        self.watching = None;
        let words = match words::split(line) {
            Ok(words) if words.is_empty() => return Ok(ControlFlow::Continue(())),
            Ok(words) => words,
            Err(problem) => return self.say(&problem),
        };
        let command = match ShellCommand::parse(&words, !self.demo.is_empty()) {
            Ok(ShellCommand::Exit) => return Ok(ControlFlow::Break(())),
            Ok(command) => command,
            Err(shown) => return self.say(&shown),
        };
        if let Err(failure) = self.execute(&command) {
            failure.report(self.output.json);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn say(&self, text: &str) -> Result<ControlFlow<()>, Failure> {
        self.output.line(text).map(ControlFlow::Continue)
    }

    fn execute(&mut self, command: &ShellCommand) -> Result<(), Failure> {
        let (client, output) = (&self.client, self.output);
        match command {
            ShellCommand::Help { command } => self.help(command.as_deref()),
            ShellCommand::Put(args) => keys::put(client, args, output),
            ShellCommand::Get(args) => keys::get(client, args, output),
            ShellCommand::Delete(args) => keys::delete(client, args, output),
            ShellCommand::List(args) => keys::list(client, args, output),
            ShellCommand::Watch(args) => {
                self.watching = Some(watch::spawn(client, args, output).drop_guard());
                Ok(())
            }
            ShellCommand::Broadcast(args) => keys::broadcast(client, args, output),
            ShellCommand::Events(args) => {
                self.watching = Some(watch::spawn(client, args, output).drop_guard());
                Ok(())
            }
            ShellCommand::Show => cluster::peers(client, output),
            ShellCommand::Add(args) => cluster::add_peer(client, &args.address, output),
            ShellCommand::Remove(args) => cluster::remove_peer(client, &args.peer, output),
            ShellCommand::Members => cluster::members(client, output),
            ShellCommand::View => cluster::view(client, output),
            ShellCommand::Status => cluster::status(client, output),
            ShellCommand::Leave => cluster::leave(client, output),
            ShellCommand::Use { node } => self.go_to(*node),
            ShellCommand::Cut { node } => self.switch(*node, CutSwitch::cut, "is cut"),
            ShellCommand::Heal { node } => self.switch(*node, CutSwitch::heal, "is healed"),
            ShellCommand::Exit => Ok(()),
        }
    }

    fn help(&self, command: Option<&str>) -> Result<(), Failure> {
        let demo = !self.demo.is_empty();
        self.output.line(&command.map_or_else(|| command::help(demo), |name| command::help_on(name, demo)))
    }

    fn go_to(&mut self, number: usize) -> Result<(), Failure> {
        self.client = self.node(number)?.client.clone();
        self.current = number - 1;
        self.output.confirm(&format!("using node{number} at {}", self.client.base()))
    }

    fn switch(&self, number: usize, switch: fn(&CutSwitch), word: &str) -> Result<(), Failure> {
        let node = self.node(number)?;
        switch(&node.switch);
        self.output.confirm(&format!("{} {word}", node.name))
    }

    fn node(&self, number: usize) -> Result<&DemoNode, Failure> {
        let node = number.checked_sub(1).and_then(|index| self.demo.get(index));
        node.ok_or_else(|| Failure::usage(format!("there is no node {number}: give 1 to {}", self.demo.len())))
    }
}
