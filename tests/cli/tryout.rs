//! The scripts of `examples/tryout`, as a reader runs them: what the manual promises is seen. Not responsible for what they
//! look at: each ends with 0 only if it was there.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a script says if something that it needs is missing.
const SKIPPED: i32 = 77;

fn run(script: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new("bash");
    command.arg(format!("examples/tryout/{script}.sh")).arg(env!("CARGO_BIN_EXE_tidings")).stdin(Stdio::null());
    command.envs(variables.iter().copied()).output().expect("bash runs")
}

/// Runs it to its end, which must be as the manual says, with these lines on the way.
fn tryout(script: &str, variables: &[(&str, &str)], seen: &[&str]) {
    let output = run(script, variables);
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // To whoever reads the log: the harness captures what macros print.
    for line in errors.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    if output.status.code() == Some(SKIPPED) {
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{script}\n{told}\n{errors}");
    let skips = errors.contains("SKIPPED: ");
    for line in seen {
        assert!(skips || told.contains(&format!("   seen: {line}")), "{script}: {line:?} is not in\n{told}");
    }
}

#[test]
fn delete_while_away() {
    tryout("delete-while-away", &[], &["the key is gone at node3 too", "it stays gone, everywhere"]);
}

#[test]
fn power_pulled() {
    let seen = [
        "every acknowledged write is at all three nodes: ",
        "what was written last and never synced is gone, so the cut was one",
        "no number was used twice",
    ];
    tryout("power-pulled", &[], &seen);
}

#[test]
fn clock_ahead() {
    tryout(
        "clock-ahead",
        &[],
        &["the write that has seen the other wins, at node2 too", "only here the clock decides"],
    );
}

#[test]
fn day_apart() {
    tryout("day-apart", &[], &["nobody is down any more", "a day apart, and all agree after"]);
}

#[test]
fn restarts_all_night() {
    let seen = ["and three replicas: each is still the one it was", "six members, and six replicas"];
    tryout("restarts-all-night", &[("NIGHT", "3600")], &seen);
}

#[test]
fn yesterdays_backup() {
    tryout("yesterdays-backup", &[], &["the others refuse it", "what was deleted since stays deleted"]);
}

#[test]
fn idle_day_bytes() {
    let short = [("SETTLE", "3"), ("IDLE", "6"), ("KEYS", "2000")];
    tryout("idle-day-bytes", &short, &["what is idle costs the same with keys and without"]);
}

#[test]
fn thin_join_drops() {
    let short = [("UP", "4"), ("DOWN", "3"), ("KEYS", "1500")];
    tryout("thin-join-drops", &short, &["it has all after"]);
}

#[test]
fn rotation_while_away() {
    let seen = ["it is let in, and has what was written meanwhile", "it is not let in (tidings_ready 0)"];
    tryout("rotate-while-away", &[], &seen);
}

#[test]
fn expires_while_watched() {
    tryout("expires-while-watched", &[], &["both watchers are told", "nobody has sent anything for it"]);
}
