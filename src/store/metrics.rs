//! Figures of the store for monitoring. Not responsible for counting, nor for requests: routes count those themselves.

use super::Store;
use crate::metrics::Text;
use crate::proto::membership::MemberState;
use crate::proto::meters::{Course, Meters};
use crate::proto::node::{Node, UnderWay};
use crate::runtime::meters::Meters as ShellMeters;
use crate::status::BytesStatus;
use std::time::{Duration, SystemTime};

/// Microseconds in a second.
const MICROS: f64 = 1e6;

impl Store {
    /// How the node is doing, for monitoring: in the text format of Prometheus, version 0.0.4. What `GET /metrics` answers,
    /// but for requests and the process. A few kilobytes; linear in the links and members, not in the keys.
    pub fn metrics(&self) -> String {
        let mut text = Text::default();
        self.tell(&mut text);
        text.into_string()
    }

    pub(crate) fn tell(&self, text: &mut Text) {
        let shared = &self.0.shared;
        let shell = shared.meters().clone();
        let rtt = shared.links().values().map(|link| link.stats().rtt).max().unwrap_or_default();
        let (sent, received) = (shared.meter.sent(), shared.meter.received());
        let uptime = Duration::from_micros(shared.clock.now().instant.as_micros());
        text.gauge("tidings_build_info", "The release, as a label.").with(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.gauge("tidings_uptime_seconds", "Since the node began.").is(uptime.as_secs_f64());
        if let Some(end) = shared.expires() {
            let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            text.gauge(
                "tidings_certificate_expiry_timestamp_seconds",
                "When the node's certificate ends, in Unix time. None with a secret.",
            )
            .is(since.as_secs());
        }
        {
            let node = shared.node();
            tell_state(text, &node);
            tell_links(text, &node, &shell, rtt);
            tell_syncs(text, &node);
            tell_members(text, &node);
            tell_bytes(text, &super::cluster::bytes_status(node.ledgers(), sent, received));
            tell_told(text, &node, &shell);
        }
        text.counter("tidings_datagrams_total", "UDP datagrams between nodes.")
            .with(&[("direction", "sent")], sent.datagrams)
            .with(&[("direction", "received")], received.datagrams);
        tell_writes(text, &shell);
        text.gauge("tidings_watchers", "Streams of changes that are open.").is(shared.open.watchers.others());
        text.gauge("tidings_listeners", "Streams of messages that are open.").is(shared.open.listeners.others());
        self.tell_disk(text);
    }

    fn tell_disk(&self, text: &mut Text) {
        let Some(disk) = &self.0.shared.disk else { return };
        text.gauge("tidings_store_bytes", "What the state takes on disk, at the last look. None in memory.")
            .is(disk.bytes());
        text.gauge("tidings_store_writable", "1 while the disk takes writes, else 0. None in memory.")
            .is(u8::from(disk.fault().is_none()));
    }
}

fn tell_state(text: &mut Text, node: &Node) {
    let (map, counts, meters) = (node.map(), node.map().counts(), node.meters());
    text.gauge("tidings_ready", "1 once the node has synced with a peer, or has none; else 0.")
        .is(u8::from(node.is_synced_once()));
    text.gauge("tidings_keys", "Keys with a value, of users and of the cluster.").is(counts.keys);
    text.gauge("tidings_tombstones", "Deletes still remembered.").is(counts.tombstones);
    text.gauge("tidings_siblings", "Live values that reading does not choose.").is(counts.siblings);
    text.gauge("tidings_pending_entries", "Keys that are ahead of the node's context: a sync of them is unfinished.")
        .is(map.pending());
    text.gauge("tidings_context_replicas", "Replicas that the node's context names.").is(map.context().len());
    text.gauge("tidings_map_bytes", "Memory of the entries, estimated.").is(map.bytes_estimate());
    text.gauge(
        "tidings_clock_lead_seconds",
        "How far the logical clock is ahead of this machine's: it follows others'.",
    )
    .is(map.clock_lead_ms() as f64 / 1e3);
    text.counter("tidings_clock_ahead_total", "Received timestamps beyond the drift allowed, which moved no clock.")
        .is(map.clocks_ahead());
    text.counter("tidings_writes_total", "Writes made at this node.")
        .with(&[("kind", "put")], meters.puts)
        .with(&[("kind", "delete")], meters.deletes)
        .with(&[("kind", "broadcast")], meters.broadcasts);
    text.counter("tidings_defects_total", "Equal contexts with unequal states: a bug, repaired by catch-ups.")
        .is(meters.defects);
}

fn tell_links(text: &mut Text, node: &Node, shell: &ShellMeters, rtt: Duration) {
    let (UnderWay { active, passing, lag_max, .. }, meters) = (node.under_way(), node.meters());
    text.gauge("tidings_links", "Links that are up: those that stay, and those on which two only meet.")
        .with(&[("kind", "active")], active)
        .with(&[("kind", "passing")], passing);
    text.gauge(
        "tidings_lag_dots",
        "Writes that are here and that a peer is not known to have: of the one that lacks most.",
    )
    .is(lag_max);
    text.gauge("tidings_link_rtt_seconds", "The longest round trip of a link.").is(rtt.as_secs_f64());
    text.counter("tidings_links_up_total", "Links that came up.").is(meters.links_up);
    text.counter("tidings_links_lost_total", "Links that came up and are gone.").is(meters.links_lost);
    text.counter("tidings_links_broken_total", "Links closed because the peer broke the protocol.").is(meters.broken);
    text.counter("tidings_links_slow_total", "Links closed because they took nothing more.").is(shell.slow_links);
    text.counter("tidings_dials_total", "Attempts to reach an address.").is(shell.dials);
    text.counter("tidings_dials_failed_total", "Attempts that failed.").is(shell.dials_failed);
    text.counter("tidings_connections_accepted_total", "Connections of peers that were let in.").is(shell.accepted);
    text.counter("tidings_connections_refused_total", "Connections of strangers, and handshakes that broke off.")
        .is(shell.refused);
}

fn tell_syncs(text: &mut Text, node: &Node) {
    let (now, received, reconciled) = (node.under_way(), node.received(), node.reconciled());
    let Meters { pulls, catch_ups, served, pull_micros, push_micros, .. } = node.meters();
    text.counter("tidings_dots_received_total", "Writes received: new, known already, or replaced already.")
        .with(&[("result", "new")], received.new)
        .with(&[("result", "known")], received.known)
        .with(&[("result", "void")], received.void);
    text.histogram("tidings_push_delay_seconds", "From a write elsewhere to its push here, by the clocks of both.")
        .spread(&[], push_micros, MICROS);
    let all = [("receiver", pulls, now.pulls), ("sender", served, now.served), ("catch_up", catch_ups, now.catch_ups)];
    let mut started = text.counter("tidings_syncs_started_total", "Pulls of this node, those of peers, and catch-ups.");
    for (kind, course, _) in all {
        started = started.with(&[("kind", kind)], course.started);
    }
    let mut ended = text.counter("tidings_syncs_total", "Those that came to an end, or were cut off.");
    for (kind, course, under_way) in all {
        let Course { finished, .. } = *course;
        ended = ended.with(&[("kind", kind), ("result", "finished")], finished);
        ended = ended.with(&[("kind", kind), ("result", "interrupted")], course.interrupted(under_way));
    }
    text.histogram("tidings_sync_seconds", "How long finished pulls took.").spread(&[], pull_micros, MICROS);
    text.counter("tidings_symbols_total", "Coded symbols by which replicas found what differs.")
        .with(&[("direction", "sent")], reconciled.symbols_sent)
        .with(&[("direction", "received")], reconciled.symbols_received);
}

fn tell_members(text: &mut Text, node: &Node) {
    let (members, meters) = (node.members(), node.meters());
    let mut family = text.gauge("tidings_members", "Members of which there is a record, this node among them.");
    let states = [
        ("alive", MemberState::Alive),
        ("suspect", MemberState::Suspect),
        ("down", MemberState::Down),
        ("left", MemberState::Left),
    ];
    for (name, state) in states {
        let count = members.iter().filter(|member| member.record.state == state).count();
        family = family.with(&[("state", name)], count);
    }
    text.gauge("tidings_view_peers", "Nodes in the sample that links are picked from.").is(node.view().len());
    text.counter("tidings_suspicions_total", "Members that this node has suspected.").is(meters.suspected);
    text.counter("tidings_downs_total", "Members that this node has written down.").is(meters.written_down);
    text.counter("tidings_refutations_total", "How often this node took back what was said of it.").is(meters.refuted);
}

fn tell_bytes(text: &mut Text, bytes: &BytesStatus) {
    let mut family = text.counter("tidings_link_bytes_total", "Bytes between nodes, all headers included.");
    for (direction, purposes) in [("sent", &bytes.sent), ("received", &bytes.received)] {
        for (purpose, bytes) in purposes {
            family = family.with(&[("direction", direction), ("purpose", purpose)], bytes);
        }
    }
}

fn tell_writes(text: &mut Text, shell: &ShellMeters) {
    text.histogram("tidings_write_seconds", "From a write that the node has taken to its being durable.").spread(
        &[],
        &shell.write_micros,
        MICROS,
    );
    text.histogram("tidings_commit_seconds", "How long the disk took for a commit.").spread(
        &[],
        &shell.commit_micros,
        MICROS,
    );
    text.histogram("tidings_commit_records", "Records of a commit.").spread(&[], &shell.commit_records, 1.0);
    text.counter("tidings_commits_failed_total", "Commits that the disk did not take.").is(shell.commits_failed);
}

fn tell_told(text: &mut Text, node: &Node, shell: &ShellMeters) {
    text.counter("tidings_messages_total", "Messages of all nodes that were delivered here.")
        .is(node.broadcasts().delivered());
    text.counter("tidings_told_total", "Changes and messages told to watchers and listeners.").is(shell.told);
    text.counter("tidings_resyncs_total", "Watchers told that they have missed something.").is(shell.resyncs);
}
