//! The text exposition format, version 0.0.4. Not responsible for what is told in it.

use crate::proto::meters::Histogram;
use std::fmt::{Display, Write};

/// Names and values of labels.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// What is told, family by family.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

/// One metric, with as many samples as it has combinations of labels.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// What only grows.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name} is no name of a counter");
        self.family(name, "counter", help)
    }

    /// What goes up and down.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// How often a measure was how large.
    pub(crate) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        write(&mut self.0, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", escaped(help)));
        Family { text: &mut self.0, name }
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Its only sample.
    pub(crate) fn is(self, value: impl Display) {
        self.with(&[], value);
    }

    /// One of several.
    pub(crate) fn with(mut self, labels: Labels<'_>, value: impl Display) -> Self {
        self.sample("", labels, value);
        self
    }

    /// A histogram in the unit of its name, of which there are so many in one of what was measured.
    pub(crate) fn spread<const N: usize>(mut self, labels: Labels<'_>, histogram: &Histogram<N>, unit: f64) -> Self {
        for (bound, count) in histogram.cumulative() {
            self.bucket(labels, &(bound as f64 / unit).to_string(), count);
        }
        self.bucket(labels, "+Inf", histogram.count());
        self.sample("_sum", labels, histogram.sum() as f64 / unit);
        self.sample("_count", labels, histogram.count());
        self
    }

    fn bucket(&mut self, labels: Labels<'_>, bound: &str, count: u64) {
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        self.sample("_bucket", &labels, count);
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        write(self.text, format_args!("{}{suffix}{labels} {value}\n", self.name));
    }
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn escaped(help: &str) -> String {
    help.replace('\\', r"\\").replace('\n', r"\n")
}

fn quoted(value: &str) -> String {
    escaped(value).replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_as_prometheus_reads_them() {
        let mut histogram = Histogram::new(&[500_000, 2_000_000]);
        [250_000, 1_000_000, 3_000_000].into_iter().for_each(|micros| histogram.add(micros));
        let mut text = Text::default();
        text.gauge("keys", "How \\ many.").is(3);
        text.counter("bytes_total", "Bytes.").with(&[("to", "a\"b\n")], 1).with(&[("to", "c"), ("by", "d")], 2);
        text.histogram("wait_seconds", "Waits.").spread(&[("of", "x")], &histogram, 1e6);
        let expected = r#"# HELP keys How \\ many.
# TYPE keys gauge
keys 3
# HELP bytes_total Bytes.
# TYPE bytes_total counter
bytes_total{to="a\"b\n"} 1
bytes_total{to="c",by="d"} 2
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{of="x",le="0.5"} 1
wait_seconds_bucket{of="x",le="2"} 2
wait_seconds_bucket{of="x",le="+Inf"} 3
wait_seconds_sum{of="x"} 4.25
wait_seconds_count{of="x"} 3
"#;
        assert_eq!(text.into_string(), expected);
    }
}
