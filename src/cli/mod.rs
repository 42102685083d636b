//! The `tidings` binary: its commands, and what surrounds them. Not responsible for the data: commands at a node talk
//! HTTP to it, as any other client does.
//!
//! | file | |
//! | --- | --- |
//! | `args`, `failure`, `output` | what goes in, and how it comes out |
//! | `settings`, `view`, `file`, `layers`, `secrets`, `plan` | from flags, environment and file to a node that can be started |
//! | `config` | settings looked at without a node |
//! | `follow`, `rejoin`, `rekey` | files looked at again while a node runs |
//! | `rotation`, `tls`, `replace` | keys of a cluster, made and replaced; their files |
//! | `running`, `progress`, `process`, `manager` | a node's life, that of the process around it, and who waits for it |
//! | `node`, `demo`, `shell` | the commands that stay |
//! | `client`, `keys`, `transfer`, `watch`, `cluster` | the commands at a node |
//! | `load` | many clients at several nodes, measured |
//! | `simulate` | many nodes that do not exist |
//! | `backup` | checkpoints, at a node and without one |

mod args;
mod backup;
mod client;
mod cluster;
mod config;
mod demo;
mod doctor;
mod failure;
mod file;
mod follow;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod layers;
mod links;
mod load;
mod manager;
mod nearest;
mod node;
mod output;
mod plan;
mod process;
mod progress;
mod rate;
mod rejoin;
mod rekey;
mod replace;
mod rotation;
mod running;
mod secrets;
mod settings;
mod shell;
mod simulate;
mod tls;
mod transfer;
mod view;
mod watch;

use crate::Secret;
use args::{At, Cli, Command, ConfigCommand, PeersArgs, PeersCommand, SecretCommand, TlsCommand};
use clap::{CommandFactory, Parser};
use client::Client;
use failure::Failure;
use output::Output;
use std::process::ExitCode;

/// Runs the command that the arguments of this process name; 0 done, 1 failed, 2 bad usage, 3 key absent.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let output = Output { json: cli.json, shell: false };
    settings::warn_of_unknown_variables(output);
    match run(cli.command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(output.json);
            failure.code()
        }
    }
}

/// The help that was asked for, or what is wrong with the arguments: as JSON too, for programs that said so.
fn not_understood(error: &clap::Error) -> ExitCode {
    let said = |word: std::ffi::OsString| word == "--json";
    if error.use_stderr() && std::env::args_os().skip(1).any(said) {
        let text = error.to_string();
        let failure = Failure::usage(text.trim_start_matches("error: ").trim_end());
        failure.report(true);
        return failure.code();
    }
    // Nobody may be reading any more; then there is nobody to tell.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(&args, output),
        Command::Node(settings) => node::run(*settings, output),
        Command::Shell(args) => shell::Shell::on_node(Client::open(&args)?, output).run(),
        Command::Put(at) => at_node(at, |client, args| keys::put(client, args, output)),
        Command::Get(at) => at_node(at, |client, args| keys::get(client, args, output)),
        Command::Delete(at) => at_node(at, |client, args| keys::delete(client, args, output)),
        Command::List(at) => at_node(at, |client, args| keys::list(client, args, output)),
        Command::Watch(at) => at_node(at, |client, args| watch::run(client, args, output)),
        Command::Broadcast(at) => at_node(at, |client, args| keys::broadcast(client, args, output)),
        Command::Events(at) => at_node(at, |client, args| watch::run(client, args, output)),
        Command::Import(at) => at_node(at, |client, args| transfer::import(client, args, output)),
        Command::Export(args) => transfer::export(&Client::open(&args)?, output),
        Command::Checkpoint(at) => at_node(at, |client, args| backup::checkpoint(client, args, output)),
        Command::Restore(args) => backup::restore(&args, output),
        Command::Verify(args) => backup::verify(&args, output),
        Command::Members(args) => cluster::members(&Client::open(&args)?, output),
        Command::View(args) => cluster::view(&Client::open(&args)?, output),
        Command::Peers(args) => peers(&args, output),
        Command::Status(args) => cluster::status(&Client::open(&args)?, output),
        Command::Ready(args) => cluster::ready(&Client::open(&args.client)?, args.wait, output),
        Command::Doctor(args) => doctor::doctor(&args, output),
        Command::Leave(args) => cluster::leave(&Client::open(&args)?, output),
        Command::Load(args) => load::run(&args, output),
        Command::Simulate(args) => simulate::run(&args, output),
        Command::Secret(SecretCommand::New) => new_secret(output),
        Command::Secret(SecretCommand::Rotate(at)) => rotation::rotate(&at.what, &at.client, output),
        Command::Secret(SecretCommand::Status(args)) => rotation::status(&Client::open(&args)?, output),
        Command::Tls(TlsCommand::Ca(args)) => tls::ca(&args, output),
        Command::Tls(TlsCommand::Node(args)) => tls::node(&args, output),
        Command::Tls(TlsCommand::Rotate(args)) => tls::rotate(&args, output),
        Command::Tls(TlsCommand::Show(args)) => tls::show(&args, output),
        Command::Config(ConfigCommand::Check(settings)) => config::check(*settings, output),
        Command::Config(ConfigCommand::Show(settings)) => config::show(*settings, output),
        Command::Config(ConfigCommand::Example) => config::example(output),
        Command::Completions(args) => completions(args.shell, output),
    }
}

fn at_node<T: clap::Args>(at: At<T>, command: impl FnOnce(&Client, &T) -> Result<(), Failure>) -> Result<(), Failure> {
    command(&Client::open(&at.client)?, &at.what)
}

fn peers(args: &PeersArgs, output: Output) -> Result<(), Failure> {
    let client = Client::open(&args.client)?;
    match &args.command {
        None => cluster::peers(&client, output),
        Some(PeersCommand::Add(add)) => cluster::add_peer(&client, &add.address, output),
        Some(PeersCommand::Remove(remove)) => cluster::remove_peer(&client, &remove.peer, output),
    }
}

fn completions(shell: clap_complete::Shell, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidings", &mut script);
    output.raw(&script)
}

fn new_secret(output: Output) -> Result<(), Failure> {
    let secret = Secret::random(&mut rand::rng()).to_hex();
    if output.json { output.line(&serde_json::json!({ "secret": *secret }).to_string()) } else { output.line(&secret) }
}
