//! `tidings simulate`: a cluster that does not exist yet, on a network like yours. Not responsible for the simulation:
//! the module of that name is.

mod args;
mod plot;
mod report;
mod values;

use super::failure::Failure;
use super::output::Output;
use super::process;
use crate::simulate::{Plan, Progress, Run};
pub(super) use args::SimulateArgs;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use report::Report;
use std::path::Path;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) fn run(args: &SimulateArgs, output: Output) -> Result<(), Failure> {
    let (plan, seed, plot) = (args.plan(), args.seed, args.plot.clone());
    let report = process::block_on(async move {
        let ending = CancellationToken::new();
        process::end_on_signals(ending.clone(), process::Hangup::Ends)?;
        // What cannot be written is told before it takes minutes to have it.
        plot.as_deref().map(|path| write(path, "")).transpose()?;
        let simulated = tokio::task::spawn_blocking(move || simulate(plan, output, &ending)).await;
        simulated.map_err(|error| Failure::failed(format!("{error}; to see it again: {}", replay(seed))))
    })?;
    if let Some(path) = &args.plot {
        write(path, &plot::svg(report.curves()))?;
    }
    report.show(output)?;
    report.verdict(&replay(seed))
}

fn simulate(plan: Plan, output: Output, ending: &CancellationToken) -> Report {
    let (start, bar) = (Instant::now(), bar(&plan, output));
    let mut run = Run::new(plan.clone());
    let outcome = run.go(|progress| {
        show(&bar, plan.settings.nodes, progress);
        !ending.is_cancelled()
    });
    bar.finish_and_clear();
    Report::new(&plan, outcome, &run.cluster, start.elapsed())
}

/// Virtual seconds, at most: a cluster that agrees early is ready early.
fn bar(plan: &Plan, output: Output) -> ProgressBar {
    let bar = ProgressBar::new(plan.seconds_max() as u64);
    let template = "{wide_bar} {pos} of {len} s at most, {msg}";
    let bar = bar.with_style(ProgressStyle::with_template(template).expect("a template"));
    if output.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

fn show(bar: &ProgressBar, nodes: usize, progress: Progress) {
    bar.set_position(progress.now_us / 1_000_000);
    let Progress { agreeing, writes, open, .. } = progress;
    bar.set_message(format!(
        "{agreeing} of {nodes} agree, {} of {writes} writes are everywhere",
        writes - open.min(writes)
    ));
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// The command that gives the same run.
fn replay(seed: u64) -> String {
    let words: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
    let has_seed = words.iter().any(|word| word == "--seed" || word.starts_with("--seed="));
    let seed = if has_seed { String::new() } else { format!(" --seed {seed}") };
    format!("tidings {}{seed}", words.join(" "))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./%@+=:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let words = ["--loss", "5%", "50%@2..8", "my curve.svg", "it's", ""].map(quoted);
        assert_eq!(words, ["--loss", "5%", "50%@2..8", "'my curve.svg'", "'it'\\''s'", "''"]);
    }
}
