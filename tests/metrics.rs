//! `/metrics` of real nodes: its form, what each figure says after a load, and that whatever is made of it names what exists.
//! Not responsible for each count: the machines' own tests see those.
#![cfg(feature = "cli")]

mod common;

use common::{Node, Process, agent, announced, ask, eventually, run, stderr, tidings};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Metrics as one node tells them.
struct Told {
    kinds: BTreeMap<String, String>,
    samples: Vec<Sample>,
    /// Those that somebody has asked for.
    looked_at: RefCell<BTreeSet<String>>,
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
        let mut told = Self { kinds: BTreeMap::new(), samples: Vec::new(), looked_at: RefCell::default() };
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
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name} {labels:?}"))
    }

    /// As [`Self::sum`], if there is any.
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(l, v)| sample.labels.get(*l).is_some_and(|is| is == v))
        };
        let found: Vec<f64> = self.samples.iter().filter(has).map(|sample| sample.value).collect();
        self.looked_at.borrow_mut().insert(self.family(name));
        (!found.is_empty()).then(|| found.iter().sum())
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

/// Three nodes after a load, with what is known of it from outside.
struct Loaded {
    told: Vec<Told>,
    writes: f64,
    reads: f64,
    /// Keys of users at the end,
    keys: f64,
    /// and of the cluster.
    records: f64,
    lasted: Duration,
}

const SECONDS: f64 = 2.0;
const NODES: f64 = 3.0;
/// Beside its writes a node has its own record to tell, and takes back what others say of it if it stalls.
const RECORDS_MAX: f64 = 30.0;
const PUT: [(&str, &str); 2] = [("route", "/v1/kv/{key}"), ("method", "PUT")];

impl Loaded {
    /// Of each node.
    fn each(&self, name: &str, labels: &[(&str, &str)], range: RangeInclusive<f64>) {
        for (number, told) in self.told.iter().enumerate() {
            let value = told.sum(name, labels);
            assert!(range.contains(&value), "node {number}: {name} {labels:?} is {value}, not in {range:?}");
        }
    }

    fn is(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.each(name, labels, value..=value);
    }

    /// Of those that have it: labels of requests come with the first one.
    fn all(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<f64> = self.told.iter().filter_map(|told| told.find(name, labels)).collect();
        assert!(!found.is_empty(), "there is no {name} {labels:?}");
        found.iter().sum()
    }

    /// Of all nodes together.
    fn sum(&self, name: &str, labels: &[(&str, &str)], range: RangeInclusive<f64>) {
        let value = self.all(name, labels);
        assert!(range.contains(&value), "{name} {labels:?} is {value} in all, not in {range:?}");
    }

    fn state(&self) {
        self.is("tidings_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        self.each("tidings_uptime_seconds", &[], SECONDS..=self.lasted.as_secs_f64());
        self.is("tidings_ready", &[], 1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        let end = |days: f64| now + days * 86_400.0;
        self.each(
            "tidings_certificate_expiry_timestamp_seconds",
            &[],
            end(CERTIFICATE_DAYS - 1.0)..=end(CERTIFICATE_DAYS),
        );
        self.is("tidings_keys", &[], self.keys + self.records);
        self.is("tidings_tombstones", &[], 1.0);
        let siblings = self.told[0].sum("tidings_siblings", &[]);
        self.each("tidings_siblings", &[], siblings..=siblings.min(self.records));
        self.is("tidings_pending_entries", &[], 0.0);
        self.is("tidings_context_replicas", &[], NODES);
        // A key of some 15 bytes and a value of 64, and what it takes to find them.
        self.each("tidings_map_bytes", &[], 79.0 * self.keys..=500.0 * (self.keys + self.records));
        self.each("tidings_clock_lead_seconds", &[], 0.0..=1.0);
        self.is("tidings_clock_ahead_total", &[], 0.0);
        self.is("tidings_defects_total", &[], 0.0);
    }

    fn writes_and_disk(&self) {
        for (kind, count) in [("put", self.writes), ("delete", 1.0), ("broadcast", 1.0)] {
            self.sum("tidings_writes_total", &[("kind", kind)], count..=count);
        }
        let own = self.writes + 2.0;
        self.sum("tidings_write_seconds_count", &[], own..=own + NODES * RECORDS_MAX);
        self.sum("tidings_write_seconds_sum", &[], 1e-6..=own * 10.0);
        // Whoever wrote a key, every node has committed it.
        self.each("tidings_commit_records_sum", &[], self.keys..=10.0 * (self.keys + RECORDS_MAX) + 1_000.0);
        for told in &self.told {
            let commits = told.sum("tidings_commit_seconds_count", &[]);
            assert_eq!(commits, told.sum("tidings_commit_records_count", &[]), "one sample of each for a commit");
            assert!((1.0..=told.sum("tidings_commit_records_sum", &[])).contains(&commits), "{commits} commits");
        }
        self.is("tidings_commits_failed_total", &[], 0.0);
        self.each("tidings_store_bytes", &[], 64.0 * self.keys..=16e6);
        self.is("tidings_store_writable", &[], 1.0);
    }

    fn links(&self) {
        self.is("tidings_links", &[("kind", "active")], NODES - 1.0);
        self.is("tidings_links", &[("kind", "passing")], 0.0);
        self.is("tidings_lag_dots", &[], 0.0);
        self.sum("tidings_push_delay_seconds_count", &[], 1.0..=2.0 * (self.writes + NODES * RECORDS_MAX));
        self.each("tidings_link_rtt_seconds", &[], 1e-6..=5.0);
        for told in &self.told {
            let [up, lost, links] =
                ["tidings_links_up_total", "tidings_links_lost_total", "tidings_links"].map(|name| told.sum(name, &[]));
            assert_eq!(up - lost, links, "what came up and is not lost is there");
        }
        for clean in ["tidings_links_broken_total", "tidings_links_slow_total"] {
            self.is(clean, &[], 0.0);
        }
        let (dials, failed) = (self.all("tidings_dials_total", &[]), self.all("tidings_dials_failed_total", &[]));
        assert!(dials - failed >= NODES, "three pairs, each linked by one that dialled: {dials}, {failed} in vain");
        self.sum("tidings_connections_accepted_total", &[], NODES..=dials);
        self.sum("tidings_connections_refused_total", &[], 0.0..=dials);
    }

    /// What one has sent another has received, but for what is on its way, and for keep-alives between two answers.
    fn traffic(&self) {
        let both = |name: &str, purpose: &[(&'static str, &'static str)]| {
            ["sent", "received"].map(|direction| self.all(name, &[&[("direction", direction)], purpose].concat()))
        };
        for purpose in ["values", "metadata", "contexts", "symbols", "membership", "transport"] {
            let [sent, received] = both("tidings_link_bytes_total", &[("purpose", purpose)]);
            assert!(received <= 1.02 * sent + 500.0, "{purpose}: {sent} sent, {received} received");
            assert!(received >= 0.9 * sent - 500.0, "{purpose}: {sent} sent, {received} received");
            assert!(sent > 0.0 || purpose == "symbols", "{purpose}");
        }
        // Each write goes to both others: a byte of it at least, compressed, and no more than twice all of it.
        let [values, _] = both("tidings_link_bytes_total", &[("purpose", "values")]);
        assert!((2.0 * self.writes..=2.0 * 2.0 * 90.0 * self.writes).contains(&values), "{values} of {}", self.writes);
        let [sent, received] = both("tidings_datagrams_total", &[]);
        assert!(
            (0.9 * sent - 20.0..=1.02 * sent + 20.0).contains(&received),
            "{sent} datagrams sent, {received} received"
        );
    }

    fn syncs(&self) {
        // Each write is new to both others.
        let both = 2.0 * (self.writes + 2.0);
        self.sum("tidings_dots_received_total", &[("result", "new")], both..=both + 2.0 * NODES * RECORDS_MAX);
        self.sum("tidings_dots_received_total", &[("result", "known")], 0.0..=both + 2.0 * NODES * RECORDS_MAX);
        self.sum("tidings_dots_received_total", &[("result", "void")], 0.0..=2.0 * NODES * RECORDS_MAX);
        for told in &self.told {
            for kind in ["receiver", "sender", "catch_up"] {
                let started = told.sum("tidings_syncs_started_total", &[("kind", kind)]);
                assert!(told.sum("tidings_syncs_total", &[("kind", kind)]) <= started, "{kind}");
            }
            let finished = told.sum("tidings_syncs_total", &[("kind", "receiver"), ("result", "finished")]);
            assert_eq!(told.sum("tidings_sync_seconds_count", &[]), finished, "one sample of each that finished");
        }
        let pulled = self.all("tidings_syncs_started_total", &[("kind", "receiver")]);
        self.sum("tidings_syncs_started_total", &[("kind", "sender")], 1.0..=pulled);
        let sent = self.all("tidings_symbols_total", &[("direction", "sent")]);
        self.sum("tidings_symbols_total", &[("direction", "received")], 0.0..=sent);
    }

    fn members(&self) {
        self.is("tidings_members", &[("state", "alive")], NODES);
        self.is("tidings_members", &[], NODES);
        self.each("tidings_view_peers", &[], 0.0..=NODES - 1.0);
        // On a machine at its limit somebody may stall for so long that it is suspected: then a link was lost before.
        let lost = self.all("tidings_links_lost_total", &[]);
        self.sum("tidings_suspicions_total", &[], 0.0..=lost);
        self.sum("tidings_downs_total", &[], 0.0..=lost);
        self.sum("tidings_refutations_total", &[], 0.0..=2.0 * lost);
    }

    fn clients(&self) {
        self.sum("tidings_http_requests_total", &PUT, self.writes..=self.writes);
        // Those who measure the lag read too.
        self.sum("tidings_http_requests_total", &[PUT[0], ("method", "GET")], self.reads..=f64::MAX);
        for other in [[PUT[0], ("method", "DELETE")], [("route", "/v1/broadcast"), ("method", "POST")]] {
            self.sum("tidings_http_requests_total", &other, 1.0..=1.0);
        }
        for told in &self.told {
            let requests = told.sum("tidings_http_requests_total", &PUT[..1]);
            assert_eq!(told.sum("tidings_http_request_seconds_count", &PUT[..1]), requests);
        }
        for (name, at_first) in [("tidings_watchers", 1.0), ("tidings_listeners", 1.0), ("tidings_resyncs_total", 0.0)]
        {
            self.sum(name, &[], at_first..=at_first);
        }
        // Each key was written once and one was deleted, and the message: told to the two who follow the first node.
        let told: Vec<f64> = self.told.iter().map(|told| told.sum("tidings_told_total", &[])).collect();
        assert_eq!(told, [self.writes + 2.0, 0.0, 0.0]);
        self.is("tidings_messages_total", &[], 1.0);
    }

    fn process(&self) {
        self.each("process_resident_memory_bytes", &[], 4e6..=500e6);
        self.each("process_open_fds", &[], 5.0..=500.0);
    }
}

/// So long is the certificate of the nodes valid.
const CERTIFICATE_DAYS: f64 = 90.0;

/// The keys of nodes with an authority of their own: only they can tell of everything.
struct Keys {
    directory: TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { directory: tempfile::tempdir().expect("a directory") };
        let (ca, node, days) = (keys.path("ca"), keys.path("node"), CERTIFICATE_DAYS.to_string());
        for args in [&["ca", &ca][..], &["node", "--ca", &ca, "--name", "n", "--days", &days, &node]] {
            let made = run(["tls"].iter().chain(args));
            assert!(made.status.success(), "{}", stderr(&made));
        }
        keys
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A node that has them.
    fn node(&self, flags: &[&str]) -> Node {
        let files = [("CA", "node/ca.pem"), ("CERT", "node/node.pem"), ("KEY", "node/node.key")];
        let variables = files.map(|(name, file)| (format!("TIDINGS_TLS_{name}"), self.path(file)));
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
        Node::start_with(flags, &variables)
    }
}

fn cluster() -> Vec<Node> {
    let keys = Keys::new();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..3 {
        let join = nodes.iter().map(|node| node.quic.as_str()).collect::<Vec<_>>().join(",");
        let mut flags = vec!["--data-dir", "data"];
        flags.extend(["--join", &join].iter().filter(|_| !join.is_empty()));
        nodes.push(keys.node(&flags));
    }
    nodes
}

fn told(nodes: &[Node]) -> Vec<Told> {
    nodes.iter().map(|node| Told::at(&node.http)).collect()
}

/// A load, a delete and a message, with two who follow the first node.
fn loaded(nodes: &[Node], started: Instant) -> Loaded {
    let follow = |what: &str| Process::start(tidings().args([what, "--http", &nodes[0].http]));
    let _following = [follow("watch"), follow("events")];
    eventually("both follow", || {
        ["tidings_watchers", "tidings_listeners"].iter().all(|name| Told::at(&nodes[0].http).sum(name, &[]) == 1.0)
    });
    let at = nodes.iter().map(|node| node.http.as_str()).collect::<Vec<_>>().join(",");
    let load = run(["load", "--http", &at, "--clients", "4", "--rate", "100", "--seconds", "2", "--json"]);
    assert!(load.status.success(), "{}", stderr(&load));
    let report: Value = serde_json::from_slice(&load.stdout).expect("JSON");
    let count = |what: &str| report[what]["count"].as_f64().expect("a count");
    let last = nodes[1].get("/v1/kv?limit=1").json()["items"][0]["key"].as_str().expect("a key").to_owned();
    assert_eq!(nodes[1].delete(&format!("/v1/kv/{last}")).status, 204);
    assert_eq!(nodes[2].post("/v1/broadcast", "tea").status, 202);
    let told_to_followers = count("writes") + 2.0;
    eventually("all is everywhere, and told", || {
        let told = told(nodes);
        let same = |name: &str| told.iter().map(|told| told.sum(name, &[]) as u64).collect::<BTreeSet<_>>().len() == 1;
        let is_told = told[0].sum("tidings_told_total", &[]) == told_to_followers;
        let lag = told.iter().map(|told| told.sum("tidings_lag_dots", &[])).sum::<f64>();
        is_told
            && lag == 0.0
            && same("tidings_keys")
            && told.iter().all(|told| told.sum("tidings_tombstones", &[]) == 1.0)
    });
    let items = |path: &str| nodes[0].get(path).json()["items"].as_array().expect("a list").len() as f64;
    let (keys, records) = (items("/v1/kv?limit=1000"), items("/v1/sys?limit=1000"));
    let (writes, reads) = (count("writes"), count("reads"));
    Loaded { told: told(nodes), writes, reads, keys, records, lasted: started.elapsed() }
}

#[test]
fn after_a_load_every_figure_of_the_manual_says_what_was_done() {
    let (started, nodes) = (Instant::now(), cluster());
    eventually("all are linked", || told(&nodes).iter().all(|told| told.sum("tidings_links", &[]) == 2.0));
    let loaded = loaded(&nodes, started);
    loaded.state();
    loaded.writes_and_disk();
    loaded.links();
    loaded.traffic();
    loaded.syncs();
    loaded.members();
    loaded.clients();
    loaded.process();
    let manual = metrics_in(&std::fs::read_to_string("proto-docs/operations.md").expect("the manual"));
    for told in &loaded.told {
        let looked_at = told.looked_at.borrow();
        let named: BTreeSet<String> = manual.iter().map(|name| told.family(name)).collect();
        let missing: Vec<_> = named.difference(&looked_at).collect();
        assert!(missing.is_empty(), "the manual names {missing:?}, of which nothing was checked");
    }
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
    let node = Keys::new().node(&["--data-dir", "data"]);
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
