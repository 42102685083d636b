//! The commands, at the real binary. Not responsible for what nodes tell each other.
#![cfg(feature = "cli")]

mod common;

mod cli {
    mod cluster;
    mod config;
    mod deploy;
    mod doctor;
    mod keys;
    mod load;
    mod logs;
    mod mistakes;
    mod node;
    #[cfg(unix)]
    mod rotation;
    mod settings;
    mod shell;
    mod simulate;
    #[cfg(target_os = "linux")]
    mod terminal;
    mod tls;
    mod transfer;
    #[cfg(target_os = "linux")]
    mod tryout;
    mod usage;
}

use common::{code, command, stderr};
use serde_json::Value;
use std::process::Output;

const NOBODY: &str = "127.0.0.1:1";

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

/// A node that was refused its settings: what it said.
fn refused(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = command(directory.path());
    let output = command.args(flags).envs(variables.iter().copied()).output().expect("the binary runs");
    assert_eq!(code(&output), 2, "{flags:?} {variables:?}: {}", stderr(&output));
    assert!(!directory.path().join("tidings-data").exists(), "a refused node leaves nothing behind");
    stderr(&output)
}
