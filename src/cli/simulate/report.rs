//! What came of a simulation, as a table or JSON. Not responsible for counting.

use crate::cli::failure::Failure;
use crate::cli::output::{Output, grouped, size};
use crate::proto::ledger::Purpose;
use crate::simulate::{Cluster, Counts, Curve, Figures, Outcome, Plan};
use serde_json::{Map, Value, json};
use std::time::Duration;

const PERCENTILES: [(&str, usize); 3] = [("p50", 50), ("p99", 99), ("max", 100)];

/// Everything that is told.
#[derive(Debug)]
pub(super) struct Report {
    nodes: usize,
    seed: u64,
    outcome: Outcome,
    curves: Vec<Curve>,
    /// The most members that a node has a record of, and the most replicas that a context names.
    known: (usize, usize),
    quiet_s: f64,
    simulated_us: u64,
    events: u64,
    took: Duration,
}

impl Report {
    pub(super) fn new(plan: &Plan, outcome: Outcome, cluster: &Cluster, took: Duration) -> Self {
        Self {
            nodes: plan.settings.nodes,
            seed: plan.settings.seed,
            known: known(cluster),
            quiet_s: plan.quiet_s,
            curves: cluster.spread().curves().to_vec(),
            simulated_us: cluster.now_us(),
            events: cluster.events(),
            outcome,
            took,
        }
    }

    pub(super) fn curves(&self) -> &[Curve] {
        &self.curves
    }

    pub(super) fn show(&self, output: Output) -> Result<(), Failure> {
        if output.json { output.line(&self.json().to_string()) } else { output.table(&[], self.rows()) }
    }

    /// Exit code and last words.
    pub(super) fn verdict(&self, replay: &str) -> Result<(), Failure> {
        match &self.outcome.wrong {
            Some(wrong) => Err(Failure::failed(format!("{wrong}; {}; the same run again: {replay}", self.advice()))),
            None => Ok(()),
        }
    }

    fn advice(&self) -> &'static str {
        let never_gathered = self.outcome.gathered_us.is_none();
        match self.outcome.converged_us {
            Some(_) => "this is a defect of tidings, please report it",
            None if never_gathered => {
                "they had not come together before the writes: try a longer --gather, or a larger --upload"
            }
            None => "look whether --upload and --loss leave room for these writes, or give a longer --patience",
        }
    }

    // --- Figures

    /// Times to the last node at some of a hundred writes, in milliseconds.
    fn last_ms(&self) -> [Option<f64>; PERCENTILES.len()] {
        let mut all: Vec<u64> = self.curves.iter().map(Curve::last_us).collect();
        all.sort_unstable();
        PERCENTILES.map(|(_, percent)| {
            let rank = (all.len() * percent).div_ceil(100).saturating_sub(1);
            all.get(rank).map(|us| *us as f64 / 1_000.0)
        })
    }

    fn mean(&self, figures: &Figures, of: impl Fn(&Counts) -> u64) -> u64 {
        figures.nodes.iter().map(of).sum::<u64>() / self.nodes.max(1) as u64
    }

    fn mean_links(&self) -> f64 {
        self.outcome.figures.links.iter().sum::<usize>() as f64 / self.nodes.max(1) as f64
    }

    // --- As a table

    fn rows(&self) -> Vec<Vec<String>> {
        let figures = &self.outcome.figures;
        let total = figures.total();
        let seconds = |us: Option<u64>| {
            us.map_or_else(|| "not in time".to_owned(), |us| format!("after {:.2} s", us as f64 / 1e6))
        };
        let converged =
            if self.outcome.interrupted { "interrupted".to_owned() } else { seconds(self.outcome.converged_us) };
        let last = self.last_ms().map(|ms| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms")));
        let mut rows = vec![
            row("nodes, seed", format!("{}, {}", grouped(self.nodes as u64), self.seed)),
            row("came together", seconds(self.outcome.gathered_us)),
            row("all agree, counted from the end of writes and faults", converged),
            row(
                "writes",
                format!(
                    "{}, of which {} reached all",
                    grouped(self.outcome.writes as u64),
                    grouped(self.curves.len() as u64)
                ),
            ),
            row("a write is at the last node after: p50, p99, max", last.join(", ")),
            row("copies received beyond the first", format!("{:.2}", total.copies())),
            row("bytes sent by a node: mean, most", self.bytes(figures, |counts| counts.sent_bytes)),
        ];
        rows.extend(Purpose::ALL.iter().map(|purpose| {
            row(&format!("  {}", purpose.name()), self.bytes(figures, |counts| counts.purposes[*purpose as usize]))
        }));
        if self.quiet_s > 0.0 {
            let name = format!("bytes sent in {} s of quiet, beside keep-alives: mean, most", self.quiet_s);
            rows.push(row(&name, self.bytes(&self.outcome.quiet, |counts| counts.sent_bytes)));
        }
        rows.extend([
            row("links of a node: mean, most ever", format!("{:.1}, {}", self.mean_links(), figures.links_max)),
            row(
                "members known, replicas in a context: most",
                format!("{}, {}", grouped(self.known.0 as u64), grouped(self.known.1 as u64)),
            ),
            row(
                "connections made, addresses dialled",
                format!("{}, {}", grouped(total.connections / 2), grouped(total.dials)),
            ),
            row(
                "simulated",
                format!(
                    "{:.1} s in {:.1} s, {} events",
                    self.simulated_us as f64 / 1e6,
                    self.took.as_secs_f64(),
                    grouped(self.events)
                ),
            ),
        ]);
        rows
    }

    fn bytes(&self, figures: &Figures, of: impl Fn(&Counts) -> u64 + Copy) -> String {
        format!("{}, {}", size(self.mean(figures, of)), size(most(figures, of)))
    }

    // --- As JSON

    fn json(&self) -> Value {
        let figures = &self.outcome.figures;
        let total = figures.total();
        let ms = |us: Option<u64>| us.map(|us| us as f64 / 1_000.0);
        let last: Map<String, Value> =
            PERCENTILES.iter().zip(self.last_ms()).map(|((name, _), ms)| (format!("{name}_ms"), json!(ms))).collect();
        let sent = |figures: &Figures| {
            let of = |counts: &Counts| counts.sent_bytes;
            json!({ "mean": self.mean(figures, of), "most": most(figures, of) })
        };
        let purposes: Map<String, Value> = Purpose::ALL
            .iter()
            .map(|purpose| {
                let of = |counts: &Counts| counts.purposes[*purpose as usize];
                (purpose.name().to_owned(), json!({ "mean": self.mean(figures, of), "most": most(figures, of) }))
            })
            .collect();
        json!({
            "nodes": self.nodes,
            "seed": self.seed,
            "gathered_ms": ms(self.outcome.gathered_us),
            "converged": self.outcome.converged_us.is_some(),
            "converged_ms": ms(self.outcome.converged_us),
            "interrupted": self.outcome.interrupted,
            "wrong": self.outcome.wrong,
            "writes": { "made": self.outcome.writes, "everywhere": self.curves.len() },
            "last_node": last,
            "copies": total.copies(),
            "dots": { "new": total.new, "known": total.known, "void": total.void },
            "sent_bytes": sent(figures),
            "quiet": { "seconds": self.quiet_s, "sent_bytes": sent(&self.outcome.quiet) },
            "purposes": purposes,
            "links": { "mean": self.mean_links(), "most": figures.links_max },
            "members": self.known.0,
            "context_replicas": self.known.1,
            "connections": total.connections / 2,
            "dials": total.dials,
            "simulated_seconds": self.simulated_us as f64 / 1e6,
            "events": self.events,
            "real_seconds": self.took.as_secs_f64(),
        })
    }
}

fn most(figures: &Figures, of: impl Fn(&Counts) -> u64) -> u64 {
    figures.nodes.iter().map(of).max().unwrap_or(0)
}

fn known(cluster: &Cluster) -> (usize, usize) {
    let nodes = cluster.up().into_iter().filter_map(|who| cluster.node(who));
    nodes.fold((0, 0), |most, node| (most.0.max(node.members().len()), most.1.max(node.map().context().len())))
}

fn row(name: &str, figure: String) -> Vec<String> {
    vec![name.to_owned(), figure]
}
