//! The words of the shell: the commands of the command line, without the address. Not responsible for running them.

use crate::cli::args::{
    AddArgs, BroadcastArgs, EventsArgs, GetArgs, KeyArgs, ListArgs, PutArgs, RemoveArgs, WatchArgs,
};
use crate::cli::nearest::nearest;
use clap::{CommandFactory, Parser, Subcommand};

/// One line of the shell.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_subcommand = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    command: ShellCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ShellCommand {
    /// Show the commands, or how one is used
    Help {
        /// Which one
        command: Option<String>,
    },
    /// Write a value
    Put(PutArgs),
    /// Read a value
    Get(GetArgs),
    /// Delete a key
    Delete(KeyArgs),
    /// List keys and their values
    List(ListArgs),
    /// Show changes as they come, until the next line is entered
    #[command(
        long_about = "Show changes as they come, until the next line is entered: an empty one, or the next command"
    )]
    Watch(WatchArgs),
    /// Send a message to all nodes
    Broadcast(BroadcastArgs),
    /// Show the messages of all nodes as they come, until the next line is entered
    #[command(
        long_about = "Show the messages of all nodes as they come, until the next line is entered: an empty one, or the next command"
    )]
    Events(EventsArgs),
    /// Show the peers of this node
    Show,
    /// Dial a peer from now on
    #[command(visible_alias = "join")]
    Add(AddArgs),
    /// Close the link to a peer, and bar it here
    Remove(RemoveArgs),
    /// Show the nodes of the cluster
    Members,
    /// Show whom this node picks its links from
    View,
    /// Show this node's counters and links
    Status,
    /// Take this node out of its cluster, and end it
    Leave,
    /// Go to another node of the demo
    Use {
        /// Its number
        node: usize,
    },
    /// Drop a node's datagrams, both ways, and tell nobody
    Cut {
        /// Its number
        node: usize,
    },
    /// Let a node's datagrams through again
    Heal {
        /// Its number
        node: usize,
    },
    /// End the shell
    #[command(visible_alias = "quit")]
    Exit,
}

/// Commands that only a demo has.
const OF_DEMO: [&str; 3] = ["use", "cut", "heal"];
/// Other names of commands.
const ALIASES: [&str; 2] = ["join", "quit"];

impl ShellCommand {
    /// What the words say; else what to show instead: the mistake, or the help for a command that there is not.
    pub(super) fn parse(words: &[String], demo: bool) -> Result<Self, String> {
        let name = words.first().map_or("", String::as_str);
        if !names(demo).any(|known| known == name) && !ALIASES.contains(&name) {
            let known: Vec<String> = names(demo).collect();
            let meant = nearest(name, known.iter().map(String::as_str));
            let meant = meant.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
            return Err(format!("unknown command {name:?}{meant}\n{}", help(demo)));
        }
        Line::try_parse_from(words).map(|line| line.command).map_err(|error| mistake(&error))
    }
}

/// The commands, a line each.
pub(super) fn help(demo: bool) -> String {
    let command = Line::command();
    let line = |name: String| {
        let about = command.find_subcommand(&name).and_then(|c| c.get_about()).map(ToString::to_string);
        format!("  {name:<9} {}", about.unwrap_or_default())
    };
    let lines: Vec<_> = names(demo).map(line).collect();
    format!("Commands; words in quotes may hold spaces:\n{}", lines.join("\n"))
}

/// How one command is used.
pub(super) fn help_on(name: &str, demo: bool) -> String {
    let known = names(demo).any(|known| known == name);
    let mut command = Line::command();
    match command.find_subcommand_mut(name).filter(|_| known) {
        Some(command) => command.render_long_help().to_string().trim_end().to_owned(),
        None => help(demo),
    }
}

pub(super) fn names(demo: bool) -> impl Iterator<Item = String> {
    let names: Vec<_> = Line::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().filter(move |name| demo || !OF_DEMO.contains(&name.as_str()))
}

fn mistake(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    lines.join("\n").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], demo: bool) -> Result<ShellCommand, String> {
        ShellCommand::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), demo)
    }

    #[test]
    fn the_commands_of_the_manual_are_there_and_no_others() {
        let names: Vec<_> = names(false).collect();
        let manual = [
            "help",
            "put",
            "get",
            "delete",
            "list",
            "watch",
            "broadcast",
            "events",
            "show",
            "add",
            "remove",
            "members",
            "view",
            "status",
            "leave",
            "exit",
        ];
        assert_eq!(names, manual);
        assert!(parse(&["use", "2"], true).is_ok());
        assert!(parse(&["use", "2"], false).is_err());
    }

    #[test]
    fn an_unknown_command_shows_the_help() {
        let shown = parse(&["frobnicate"], false).expect_err("unknown");
        assert!(shown.starts_with("unknown command \"frobnicate\"") && shown.contains("\n  put       Write a value"));
    }

    #[test]
    fn a_known_command_used_wrongly_says_how() {
        let shown = parse(&["put", "k"], false).expect_err("no value");
        assert!(shown.contains("<VALUE>") && shown.contains("Usage:"), "{shown}");
        assert!(help_on("put", false).contains("--ttl"));
    }
}
