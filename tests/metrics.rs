//! `/metrics` of real nodes: its form, what it says after a load, and that whatever is made of it names what exists. Not
//! responsible for each count: the machines' own tests see those.
#![cfg(feature = "cli")]

mod common;

use common::{Node, Process, agent, announced, ask, eventually, run, stderr, tidings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Metrics as one node tells them.
struct Told {
    kinds: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Told {
    fn at(http: &str) -> Self {
        let answer = ask(&agent(), http, "GET", "/metrics", &[], ()).expect("an answer");
        assert_eq!(answer.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Self::of(answer.text())
    }

    /// Reads the text format, and asserts what Prometheus asks of it.
    fn of(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has its end too");
        let mut told = Self { kinds: BTreeMap::new(), samples: Vec::new() };
        let (mut helped, mut family) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help");
                assert!(help.len() > 5 && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind) && helped.contains(name), "{line}");
                assert!(told.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                family = name.to_owned();
            } else {
                let sample = Sample::of(line);
                assert_eq!(told.family(&sample.name), family, "a family stands together: {line}");
                told.samples.push(sample);
            }
        }
        told
    }

    /// The metric that a sample is of.
    fn family(&self, sample: &str) -> String {
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| sample.strip_suffix(part));
        let histogram = parts.into_iter().find(|base| self.kinds.get(*base).is_some_and(|kind| kind == "histogram"));
        histogram.unwrap_or(sample).to_owned()
    }

    /// The sum of all samples with that name and these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(l, v)| sample.labels.get(*l).is_some_and(|is| is == v))
        };
        let found: Vec<f64> = self.samples.iter().filter(has).map(|sample| sample.value).collect();
        assert!(!found.is_empty(), "there is no {name} {labels:?}");
        found.iter().sum()
    }
}

impl Sample {
    fn of(line: &str) -> Self {
        let (told, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = told
            .split_once('{')
            .map_or((told, ""), |(name, rest)| (name, rest.strip_suffix('}').expect("an end of labels")));
        assert!(is_name(name), "{line}");
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once("=\"").expect("a quoted value");
            assert!(is_name(name), "{line}");
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let value = value.parse().expect("a number");
        Self { name: name.to_owned(), labels: pairs.collect(), value }
    }
}

fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.chars().all(fine) && !name.starts_with(|c: char| c.is_ascii_digit())
}

struct Demo {
    _process: Process,
    nodes: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let mut process = Process::start(tidings().args(["demo", "--nodes", "3"]));
        let nodes = (0..3).map(|_| announced(&process.line()).1).collect();
        Self { _process: process, nodes }
    }

    fn told(&self) -> Vec<Told> {
        self.nodes.iter().map(|http| Told::at(http)).collect()
    }
}

/// The labels that there are, and that each has few values: none of them is a key, an address or a replica.
const LABELS: [&str; 10] =
    ["direction", "kind", "le", "method", "purpose", "result", "route", "state", "status", "version"];

#[test]
fn after_a_load_the_figures_say_what_it_has_done() {
    let demo = Demo::start();
    eventually("all are linked", || demo.told().iter().all(|told| told.sum("tidings_links", &[]) == 2.0));
    let at = demo.nodes.join(",");
    let load = run(["load", "--http", &at, "--clients", "4", "--rate", "100", "--seconds", "2", "--json"]);
    assert!(load.status.success(), "{}", stderr(&load));
    let report: Value = serde_json::from_slice(&load.stdout).expect("JSON");
    let (writes, reads) = (&report["writes"]["count"], &report["reads"]["count"]);
    let (writes, reads) = (writes.as_f64().expect("writes"), reads.as_f64().expect("reads"));
    eventually("all have the same keys", || {
        let keys: BTreeSet<u64> = demo.told().iter().map(|told| told.sum("tidings_keys", &[]) as u64).collect();
        keys.len() == 1 && !keys.contains(&0)
    });
    let told = demo.told();
    let all = |name: &str, labels: &[(&str, &str)]| told.iter().map(|told| told.sum(name, labels)).sum::<f64>();
    assert_eq!(all("tidings_writes_total", &[("kind", "put")]), writes);
    let put = [("route", "/v1/kv/{key}"), ("method", "PUT")];
    assert_eq!(all("tidings_http_requests_total", &put), writes);
    // Those who measure the lag read too.
    assert!(all("tidings_http_requests_total", &[("route", "/v1/kv/{key}"), ("method", "GET")]) >= reads);
    assert!(all("tidings_write_seconds_count", &[]) >= writes);
    assert_eq!(all("tidings_members", &[("state", "alive")]), 9.0);
    assert_eq!(all("tidings_lag_dots", &[]), 0.0);
    assert_eq!(all("tidings_defects_total", &[]), 0.0);
    // Each write reaches both others, and is new there; what was overwritten before it went out is not sent.
    let new = all("tidings_dots_received_total", &[("result", "new")]);
    assert!(new > 0.0 && new <= 2.0 * writes + 100.0, "{new} of {writes}");
    assert!(all("tidings_push_delay_seconds_count", &[]) > 0.0);
    for told in &told {
        for direction in ["sent", "received"] {
            for purpose in ["values", "metadata", "contexts", "membership", "transport"] {
                let labels = [("direction", direction), ("purpose", purpose)];
                assert!(told.sum("tidings_link_bytes_total", &labels) > 0.0, "{labels:?}");
            }
            assert!(told.sum("tidings_datagrams_total", &[("direction", direction)]) > 0.0);
        }
        assert!(told.sum("tidings_map_bytes", &[]) > 100.0 * told.sum("tidings_keys", &[]));
        assert!(told.sum("tidings_uptime_seconds", &[]) > 1.0);
        assert_eq!(told.sum("tidings_ready", &[]), 1.0);
    }
    let started = all("tidings_syncs_started_total", &[("kind", "receiver")]);
    assert!(started > 0.0 && all("tidings_syncs_total", &[("kind", "receiver"), ("result", "finished")]) <= started);
}

#[test]
fn names_and_labels_are_as_prometheus_expects_them_and_few() {
    let demo = Demo::start();
    let agent = agent();
    let send = |method: &str, path: &str| ask(&agent, &demo.nodes[0], method, path, &[], ()).expect("an answer");
    for number in 0..50 {
        send("GET", &format!("/v1/kv/secret-{number}"));
        send("GET", &format!("/nowhere/{number}"));
        send("TRACE", "/v1/kv");
    }
    let told = Told::at(&demo.nodes[0]);
    for (name, kind) in &told.kinds {
        assert!(name.starts_with("tidings_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(told.samples.iter().any(|sample| told.family(&sample.name) == *name), "{name} has no sample");
    }
    for Sample { name, labels, .. } in &told.samples {
        assert!(labels.keys().all(|label| LABELS.contains(&label.as_str())), "{name} {labels:?}");
        assert!(labels.values().all(|value| !value.contains("secret") && !value.contains("nowhere")), "{labels:?}");
    }
    assert!(told.samples.len() < 1_000, "{} samples", told.samples.len());
    let count = |labels: &[(&str, &str)]| told.sum("tidings_http_requests_total", labels);
    assert_eq!(count(&[("route", "/v1/kv/{key}"), ("method", "GET"), ("status", "404")]), 50.0);
    assert_eq!(count(&[("route", "none"), ("status", "404")]), 50.0);
    assert_eq!(count(&[("method", "other"), ("status", "405")]), 50.0);
    buckets_add_up(&told);
}

fn buckets_add_up(told: &Told) {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for Sample { name, labels, value } in told.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let bound = labels["le"].parse().expect("a bound");
        let others: Vec<_> = labels.iter().filter(|(name, _)| *name != "le").collect();
        series.entry(format!("{name} {others:?}")).or_default().push((bound, *value));
    }
    assert!(series.len() > 5);
    for (name, buckets) in series {
        assert!(buckets.is_sorted(), "{name} {buckets:?}");
        assert!(buckets.windows(2).all(|two| two[0].1 <= two[1].1), "{name} {buckets:?}");
        assert_eq!(buckets.last().map(|last| last.0), Some(f64::INFINITY), "{name}");
    }
}

#[test]
fn what_is_watched_and_what_is_on_disk_is_told() {
    let node = Node::start_with(&["--data-dir", "data"], &[]);
    let mut watch = Process::start(tidings().args(["watch", "--json", "--http", &node.http]));
    eventually("it watches", || Told::at(&node.http).sum("tidings_watchers", &[]) == 1.0);
    node.put("/v1/kv/kettle", "on");
    node.delete("/v1/kv/kettle");
    node.post("/v1/broadcast", "tea");
    watch.line();
    let told = Told::at(&node.http);
    for (kind, count) in [("put", 1.0), ("delete", 1.0), ("broadcast", 1.0)] {
        assert_eq!(told.sum("tidings_writes_total", &[("kind", kind)]), count, "{kind}");
    }
    assert_eq!((told.sum("tidings_tombstones", &[]), told.sum("tidings_messages_total", &[])), (1.0, 1.0));
    assert!(told.sum("tidings_told_total", &[]) >= 1.0);
    assert!(told.sum("tidings_commit_seconds_count", &[]) >= 3.0);
    assert!(told.sum("tidings_commit_records_sum", &[]) >= told.sum("tidings_commit_records_count", &[]));
    assert!(told.sum("tidings_store_bytes", &[]) > 0.0);
    assert_eq!(told.sum("tidings_store_writable", &[]), 1.0);
    drop(watch);
    eventually("it watches no more", || {
        node.put("/v1/kv/kettle", "on");
        Told::at(&node.http).sum("tidings_watchers", &[]) == 0.0
    });
}

#[test]
fn a_peer_that_goes_away_is_seen_in_the_figures() {
    let demo = Demo::start();
    eventually("all are linked", || demo.told().iter().all(|told| told.sum("tidings_links", &[]) == 2.0));
    let turn = |how: &str| {
        let path = format!("/v1/demo/{how}?node=2");
        assert_eq!(ask(&agent(), &demo.nodes[0], "POST", &path, &[], ()).expect("an answer").status, 200);
    };
    turn("cut");
    eventually("it is down", || Told::at(&demo.nodes[0]).sum("tidings_members", &[("state", "down")]) == 1.0);
    let told = demo.told();
    let all = |name: &str| told.iter().map(|told| told.sum(name, &[])).sum::<f64>();
    assert!(all("tidings_links_lost_total") >= 2.0);
    assert!(all("tidings_suspicions_total") >= 1.0 && all("tidings_downs_total") >= 1.0);
    turn("heal");
    eventually("it has taken that back", || demo.told()[1].sum("tidings_refutations_total", &[]) >= 1.0);
    eventually("all are linked", || demo.told().iter().all(|told| told.sum("tidings_links", &[]) == 2.0));
}

#[test]
fn attempts_to_reach_nobody_are_counted_as_failed() {
    let secret = "ab".repeat(32);
    let node = Node::start_with(&["--in-memory", "--join", "127.0.0.1:9"], &[("TIDINGS_SECRET", &secret)]);
    eventually("one has failed", || Told::at(&node.http).sum("tidings_dials_failed_total", &[]) >= 1.0);
    let told = Told::at(&node.http);
    assert!(told.sum("tidings_dials_failed_total", &[]) <= told.sum("tidings_dials_total", &[]));
    assert_eq!((told.sum("tidings_ready", &[]), told.sum("tidings_links", &[])), (0.0, 0.0));
}

#[test]
fn alerts_dashboard_and_manual_name_what_exists() {
    let node = Node::start_with(&["--data-dir", "data"], &[]);
    node.put("/v1/kv/kettle", "on");
    let told = Told::at(&node.http);
    let known: BTreeSet<&str> = told.kinds.keys().map(String::as_str).collect();
    for file in ["deploy/alerts.yml", "deploy/grafana-dashboard.json", "proto-docs/operations.md"] {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let named = metrics_in(&text);
        assert!(named.len() >= 8, "{file} names {named:?}");
        for name in named {
            assert!(known.contains(told.family(&name).as_str()), "{file} names {name}, which does not exist");
        }
    }
    let manual = metrics_in(&std::fs::read_to_string("proto-docs/operations.md").expect("the manual"));
    for name in known {
        assert!(manual.contains(name), "{name} is not in proto-docs/operations.md");
    }
    let dashboard = std::fs::read_to_string("deploy/grafana-dashboard.json").expect("the dashboard");
    assert!(serde_json::from_str::<Value>(&dashboard).expect("JSON")["panels"].as_array().is_some_and(|p| p.len() > 5));
}

/// Words that look like a metric.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_metric = |word: &&str| ["tidings_", "process_"].iter().any(|p| word.starts_with(p) && word != p);
    words.filter(is_metric).map(str::to_owned).collect()
}
