//! What came of a load. Not responsible for measuring it.

use super::histogram::Histogram;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, grouped};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PERCENTILES: [(&str, f64); 3] = [("p50_ms", 50.0), ("p90_ms", 90.0), ("p99_ms", 99.0)];
/// So many kinds of errors are told apart; a message that differs each time must not fill the memory.
const MESSAGES_MAX: usize = 20;

/// What clients have seen.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) writes: Histogram,
    pub(super) reads: Histogram,
    pub(super) errors: Errors,
}

impl Measured {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            writes: self.writes.plus(other.writes),
            reads: self.reads.plus(other.reads),
            errors: self.errors.plus(other.errors),
        }
    }
}

/// How often what went wrong.
#[derive(Debug, Default)]
pub(super) struct Errors(BTreeMap<String, u64>);

impl Errors {
    pub(super) fn add(&mut self, message: &str) {
        self.add_many(message, 1);
    }

    fn add_many(&mut self, message: &str, count: u64) {
        let known = self.0.contains_key(message) || self.0.len() < MESSAGES_MAX;
        *self.0.entry(if known { message } else { "others" }.to_owned()).or_default() += count;
    }

    fn plus(mut self, other: Self) -> Self {
        other.0.iter().for_each(|(message, count)| self.add_many(message, *count));
        self
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) seconds: f64,
    pub(super) all: Measured,
    /// At each node, of what was written elsewhere; none where there is only one.
    pub(super) lags: Vec<(String, Histogram)>,
}

impl Report {
    pub(super) fn errors(&self) -> u64 {
        self.all.errors.0.values().sum()
    }

    pub(super) fn show(&self, output: Output) -> Result<(), Failure> {
        if output.json {
            return output.line(&self.json().to_string());
        }
        let lags = self.lags.iter().map(|(node, lag)| self.row(&format!("lag at {node}"), lag));
        let rows = [self.row("writes", &self.all.writes), self.row("reads", &self.all.reads)].into_iter().chain(lags);
        output.table(&["", "count", "per second", "p50 ms", "p90 ms", "p99 ms", "max ms"], rows.collect::<Vec<_>>())?;
        let errors = &self.all.errors.0;
        errors.iter().try_for_each(|(message, count)| output.line(&format!("{} × {message}", grouped(*count))))
    }

    fn row(&self, name: &str, histogram: &Histogram) -> Vec<String> {
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let rate = format!("{:.0}", histogram.count as f64 / self.seconds);
        let percentiles = PERCENTILES.iter().map(|(_, percent)| ms(histogram.percentile_ms(*percent)));
        [name.to_owned(), grouped(histogram.count), rate]
            .into_iter()
            .chain(percentiles)
            .chain([ms(histogram.max_ms())])
            .collect()
    }

    fn json(&self) -> Value {
        let lags = self.lags.iter().map(|(node, lag)| {
            let mut value = self.histogram(lag);
            value["at"] = json!(node);
            value
        });
        json!({
            "seconds": self.seconds,
            "writes": self.histogram(&self.all.writes),
            "reads": self.histogram(&self.all.reads),
            "lag": lags.collect::<Vec<_>>(),
            "errors": { "count": self.errors(), "messages": self.all.errors.0 },
        })
    }

    fn histogram(&self, histogram: &Histogram) -> Value {
        let mut value = json!({
            "count": histogram.count,
            "per_second": histogram.count as f64 / self.seconds,
            "max_ms": histogram.max_ms(),
        });
        PERCENTILES.iter().for_each(|(name, percent)| value[*name] = json!(histogram.percentile_ms(*percent)));
        value
    }
}
