//! `simulate`, from its flags to its figures. Not responsible for what they are.

use crate::common::{Process, code, eventually, run, stderr, stdout, tidings};
use crate::parsed;
use std::process::Stdio;

const QUICK: [&str; 7] = ["simulate", "--nodes", "8", "--seconds", "2", "--loss", "2%"];

#[test]
fn a_table_for_people_json_for_programs_and_a_picture() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("curve.svg");
    let plot = ["--plot", file.to_str().expect("UTF-8")];
    let output = run(QUICK.iter().chain(&plot));
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let table = stdout(&output);
    for line in [
        "came together",
        "all agree",
        "a write is at the last node",
        "copies received",
        "  contexts",
        "links of a node",
    ] {
        assert!(table.lines().any(|found| found.starts_with(line.trim_end())), "{line}: {table}");
    }
    let svg = std::fs::read_to_string(&file).expect("it was drawn");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());

    let report = parsed(&run(QUICK.iter().chain(&["--json"])));
    assert_eq!(report["converged"], true, "{report}");
    let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|name| report["last_node"][name].as_f64().expect("ms"));
    assert!(10.0 < p50 && p50 <= p99 && p99 <= max, "{report}");
    assert_eq!(report["writes"]["made"], report["writes"]["everywhere"], "{report}");
    assert!(report["sent_bytes"]["mean"].as_u64() <= report["sent_bytes"]["most"].as_u64(), "{report}");
}

#[test]
fn the_same_command_gives_the_same_figures() {
    let figures = |seed| {
        let mut report = parsed(&run(QUICK.iter().chain(&["--json", "--crash", "25%@1+0.5", "--seed", seed])));
        report["real_seconds"].take();
        report
    };
    let first = figures("7");
    assert_eq!(first, figures("7"));
    assert_ne!(first["sent_bytes"], figures("8")["sent_bytes"]);
}

#[test]
fn restarts_pile_up_nothing_where_there_are_disks_and_quiet_is_counted() {
    let flags = ["--json", "--crashes-per-second", "2", "--quiet", "600"];
    let report = |disks: &[&str]| parsed(&run(QUICK.iter().chain(&flags).chain(disks)));
    let kept = report(&["--disks"]);
    assert_eq!((&kept["members"], &kept["context_replicas"]), (&8.into(), &8.into()), "{kept}");
    let said = kept["quiet"]["sent_bytes"]["mean"].as_u64().expect("bytes");
    assert!((1_000..100_000).contains(&said), "ten minutes of comparing sums: {kept}");
    // Without a disk each start is another replica.
    let lost = report(&[]);
    assert!(lost["context_replicas"].as_u64().is_some_and(|count| count > 8), "{lost}");
    assert_eq!(parsed(&run(QUICK.iter().chain(&["--json"])))["quiet"]["sent_bytes"]["mean"], 0);
}

#[test]
fn who_does_not_agree_ends_with_1_and_the_command_that_shows_it_again() {
    let output = run(QUICK.iter().chain(&["--upload", "100", "--patience", "1", "--gather", "1"]));
    assert_eq!(code(&output), 1);
    let told = stderr(&output);
    assert!(told.contains("of 8 nodes agree") && told.contains("--gather"), "{told}");
    let again = "tidings simulate --nodes 8 --seconds 2 --loss 2% --upload 100 --patience 1 --gather 1 --seed 1";
    assert!(told.trim_end().ends_with(again), "{told}");
    assert!(stdout(&output).contains("not in time"), "{}", stdout(&output));
}

/// One flag for each thing that may go wrong: each changes the run, and they agree all the same.
#[test]
fn whatever_goes_wrong_at_random_moments_they_agree() {
    let report = |flags: &[&str]| {
        let base = ["simulate", "--nodes", "5", "--seconds", "5", "--disks", "--json"];
        parsed(&run(base.iter().chain(flags)))
    };
    let smooth = report(&[]);
    for flags in [
        ["--cuts-per-second", "3", "--cut-for", "4"],
        ["--crashes-per-second", "2", "--back-after", "0.5"],
        ["--goodbyes-per-second", "2", "--back-after", "1"],
        ["--clock-jumps-per-second", "3", "--clock-jump", "3600000"],
        ["--deadlines", "50%", "--ttl", "200"],
    ] {
        let rough = report(&flags);
        assert_eq!(rough["converged"], true, "{flags:?}: {rough}");
        assert_ne!(rough["sent_bytes"], smooth["sent_bytes"], "{flags:?}");
    }
}

#[test]
fn the_command_that_shows_it_again_does_so_with_all_that_went_wrong() {
    let rough = "--cuts-per-second 2 --crashes-per-second 1 --clock-jumps-per-second 1 --deadlines 20%";
    let flags = format!("simulate --nodes 6 --seconds 4 --gather 5 {rough} --patience 0");
    let first = run(flags.split(' '));
    let told = stderr(&first);
    assert_eq!(code(&first), 1, "{told}");
    let again = told.trim_end().rsplit_once("tidings ").expect("a command").1;
    assert_eq!(again, format!("{flags} --seed 1"));
    let second = stderr(&run(again.split(' ')));
    assert_eq!(told.split("; the same run").next(), second.split("; the same run").next());
}

#[test]
fn wrong_flags_say_what_would_be_right() {
    for (flags, right) in [
        (["--loss", "2"], "5%"),
        (["--latency", "50..10"], "10..50"),
        (["--upload", "fast"], "8k"),
        (["--partition", "half"], "50%@2..8"),
        (["--crash", "10%@x"], "10%@5+3"),
        (["--cuts-per-second", "often"], "10 or 0.5"),
        (["--deadlines", "all"], "5%"),
        (["--writers", "none"], "one, any"),
        (["--join", "nobody"], "first, all"),
        (["--nodes", "1"], "2..=100000"),
        (["--writes-per-second", "many"], "10 or 0.5"),
    ] {
        let output = run(["simulate"].iter().chain(&flags));
        assert_eq!(code(&output), 2, "{flags:?}");
        assert!(stderr(&output).contains(right), "{flags:?}: {}", stderr(&output));
    }
}

#[test]
fn an_interrupted_run_shows_what_it_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("curve.svg");
    let mut command = tidings();
    command
        .args(["simulate", "--nodes", "20", "--seconds", "86400", "--json", "--plot"])
        .arg(&file)
        .stderr(Stdio::null());
    let mut simulation = Process::start(&mut command);
    eventually("it has begun", || file.exists());
    simulation.signal("INT");
    assert_eq!(simulation.wait().code(), Some(0));
    let report: serde_json::Value = serde_json::from_str(&simulation.rest()).expect("JSON");
    assert_eq!((&report["interrupted"], &report["converged"]), (&true.into(), &false.into()), "{report}");
}
