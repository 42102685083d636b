//! Stories of clusters in which not everybody is linked to everybody, and of long times, in the simulator. Not responsible for
//! few nodes at each step: `sim` is; nor for random faults: `simulate` is.
#![cfg(feature = "cli")]

use std::collections::BTreeSet;
use std::time::Duration;
use tidings::ReplicaId;
use tidings::proto::KeyId;
use tidings::proto::codec::{Spoken, decode_control};
use tidings::proto::config::NodeConfig;
use tidings::proto::link::{LinkId, LinkMode};
use tidings::proto::membership::{ActiveLinks, MemberState};
use tidings::proto::message::{Ask, Message};
use tidings::proto::node::{Input, LinkInfo, Node, Output};
use tidings::proto::time::{Instant, Now};
use tidings::simulate::{Cluster, Joins, Network, Settings};

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;

fn local() -> Network {
    Network { latency_us: (200, 2_000), jitter_us: 100, ..Network::default() }
}

/// All join through the first.
fn cluster(nodes: usize, seed: u64) -> Cluster {
    Cluster::new(Settings { nodes, seed, network: local(), joins: Joins::First, ..Settings::default() })
}

fn node(cluster: &Cluster, who: usize) -> &Node {
    cluster.node(who).expect("it runs")
}

fn id(cluster: &Cluster, who: usize) -> ReplicaId {
    node(cluster, who).map().id()
}

fn active(node: &Node) -> Vec<ReplicaId> {
    node.links().iter().filter(|link| link.active).map(|link| link.id).collect()
}

/// How many nodes are reached from the first of those that are up, over active links.
fn connected(cluster: &Cluster) -> usize {
    let up = cluster.up();
    let number = |id: ReplicaId| up.iter().copied().find(|&who| node(cluster, who).map().id() == id);
    let (mut reached, mut next) = (BTreeSet::new(), vec![up[0]]);
    while let Some(who) = next.pop() {
        if reached.insert(who) {
            next.extend(active(node(cluster, who)).into_iter().filter_map(number));
        }
    }
    reached.len()
}

fn state(cluster: &Cluster, at: usize, of: ReplicaId) -> Option<MemberState> {
    node(cluster, at).members().into_iter().find(|member| member.id == of).map(|member| member.record.state)
}

fn demand_agreement(cluster: &mut Cluster, seconds: u64) {
    let took = cluster.run_until_converged(seconds * SECOND);
    assert!(took.is_some(), "{:?}", cluster.check());
    cluster.check().unwrap_or_else(|what| panic!("{what}"));
}

#[test]
fn forty_nodes_join_through_one_and_keep_few_links() {
    let mut cluster = cluster(40, 1);
    cluster.run_for(30 * SECOND);
    demand_agreement(&mut cluster, 10);
    for who in cluster.up() {
        let links = active(node(&cluster, who)).len();
        assert!((4..=6).contains(&links), "node {who} has {links} active links");
        assert_eq!(node(&cluster, who).members().len(), 40);
        assert!(node(&cluster, who).view().len() >= 20, "a view of {}", node(&cluster, who).view().len());
    }
    // Both ends count the same links.
    for who in cluster.up() {
        for peer in active(node(&cluster, who)) {
            let other = cluster.up().into_iter().find(|&other| id(&cluster, other) == peer).expect("it runs");
            assert!(
                active(node(&cluster, other)).contains(&id(&cluster, who)),
                "{who} counts {other}, and not the other way"
            );
        }
    }
    assert_eq!(connected(&cluster), 40);
    let before = cluster.figures();
    (0..20).for_each(|key| {
        cluster.put(key, key, 64).expect("it runs");
        cluster.run_for(SECOND);
    });
    demand_agreement(&mut cluster, 10);
    let copies = cluster.figures().since(&before).total().copies();
    assert!(copies < 1.0, "{copies} copies beyond the first");
    // However the tree was pruned, somebody pushes to each.
    let is_fed = |who: usize| {
        let feeds = |link: &LinkInfo| link.id == id(&cluster, who) && link.active && link.mode == LinkMode::Eager;
        cluster.up().into_iter().any(|other| node(&cluster, other).links().iter().any(feeds))
    };
    (0..40).for_each(|who| assert!(is_fed(who), "nobody pushes to node {who}"));
}

#[test]
fn when_half_of_them_crash_the_rest_is_whole_again_and_knows_it() {
    let mut cluster = cluster(40, 2);
    cluster.run_for(40 * SECOND);
    let gone: Vec<ReplicaId> = (20..40).map(|who| id(&cluster, who)).collect();
    (0..20).for_each(|who| {
        cluster.put(who, who, 64).expect("it runs");
    });
    cluster.run_for(SECOND);
    (20..40).for_each(|who| cluster.crash(who));
    cluster.run_for(60 * SECOND);
    demand_agreement(&mut cluster, 10);
    assert_eq!(connected(&cluster), 20);
    for who in cluster.up() {
        gone.iter().for_each(|gone| assert_eq!(state(&cluster, who, *gone), Some(MemberState::Down), "at {who}"));
        let view = node(&cluster, who).view();
        let dead = view.iter().filter(|descriptor| gone.contains(&descriptor.peer.id)).count();
        assert_eq!(dead, 0, "of {} that node {who} would ask", view.len());
        let links = active(node(&cluster, who)).len();
        assert!((3..=7).contains(&links), "node {who} has {links} active links");
    }
}

/// Everybody has as many links as may be, and one comes back who has none: it asks, is refused, and then is urgent.
#[test]
fn who_has_no_link_is_not_refused_by_those_that_are_full() {
    let (nodes, max) = (13, 4);
    let mut settings = Settings { nodes, network: local(), joins: Joins::First, ..Settings::default() };
    settings.template.links = ActiveLinks { min: max, fill: max, max };
    let full = |cluster: &Cluster| cluster.up().iter().all(|&who| active(node(cluster, who)).len() == max);
    // Not each time do the last two that have room find each other.
    let begun = (0..50).find_map(|seed| {
        let mut cluster = Cluster::new(Settings { seed, ..settings.clone() });
        cluster.run_for(2 * SECOND);
        cluster.crash(nodes - 1);
        cluster.run_for(60 * SECOND);
        full(&cluster).then_some(cluster)
    });
    let mut cluster = begun.expect("of some seed all are full");
    cluster.restart(nodes - 1);
    cluster.run_for(20 * SECOND);
    assert_ne!(active(node(&cluster, nodes - 1)).len(), 0, "all are full, and none has taken it in");
    assert_eq!(connected(&cluster), nodes);
    cluster.put(0, 0, 64).expect("it runs");
    demand_agreement(&mut cluster, 5);
    cluster.up().iter().for_each(|&who| {
        let links = active(node(&cluster, who)).len();
        assert!(links <= max + 1, "node {who} has {links} active links");
    });
}

/// The links that bring a node everything are cut, and nobody has noticed yet: what others have announced is asked of them.
#[test]
fn what_the_tree_does_not_bring_is_asked_of_who_has_announced_it() {
    let mut cluster = cluster(40, 9);
    cluster.run_for(30 * SECOND);
    for key in 0..40 {
        cluster.put(key, key, 64).expect("it runs");
        cluster.run_for(SECOND / 5);
    }
    let ids: Vec<ReplicaId> = (0..40).map(|who| id(&cluster, who)).collect();
    let of_mode = |cluster: &Cluster, who, mode| -> Vec<usize> {
        let links = node(cluster, who).links().into_iter().filter(|link| link.active && link.mode == mode);
        links.filter_map(|link| ids.iter().position(|id| *id == link.id)).collect()
    };
    let mut tried = 0;
    for who in 0..40 {
        let [eager, lazy] = [LinkMode::Eager, LinkMode::Lazy].map(|mode| of_mode(&cluster, who, mode));
        let Some(writer) = (0..40).find(|other| *other != who && !eager.contains(other) && !lazy.contains(other))
        else {
            continue;
        };
        if eager.is_empty() || lazy.is_empty() || tried == 5 {
            continue;
        }
        tried += 1;
        cluster.cut(&eager, &[who], true);
        let dot = cluster.put(writer, 100 + who, 64).expect("it runs");
        // A silent link is lost after two seconds.
        cluster.run_for(SECOND);
        assert!(node(&cluster, who).map().context().contains(dot), "node {who} has not got {dot}");
        cluster.heal();
        cluster.run_for(20 * SECOND);
    }
    assert_eq!(tried, 5);
}

/// Three nodes, each path as long.
fn three(latency_us: u64) -> Cluster {
    quiet_mesh(3, Network { latency_us: (latency_us, latency_us), ..local() })
}

/// They have come together, and no comparison of sums hides what is not told.
fn quiet_mesh(nodes: usize, network: Network) -> Cluster {
    let mut settings = Settings { nodes, seed: 4, network, joins: Joins::All, ..Settings::default() };
    settings.template.anti_entropy = Duration::from_secs(600);
    let mut cluster = Cluster::new(settings);
    cluster.run_for(30 * SECOND);
    demand_agreement(&mut cluster, 1);
    cluster
}

fn write_a_stream(cluster: &mut Cluster, who: usize) {
    for key in 0..100 {
        cluster.put(who, key, 64).expect("it runs");
        cluster.run_for(SECOND / 40);
    }
    demand_agreement(cluster, 1);
}

/// However long the ways are, who is linked to the writer has it from there: of a steady stream some is always on its way.
#[test]
fn in_a_small_cluster_what_the_writer_sends_is_not_sent_again_by_others() {
    for latency_us in [500, 5_000, 30_000, 100_000, 300_000] {
        let mut cluster = three(latency_us);
        let before = cluster.figures();
        write_a_stream(&mut cluster, 1);
        let total = cluster.figures().since(&before).total();
        assert!(total.new >= 200, "{total:?}");
        assert!(total.known * 20 <= total.new, "ways of {latency_us} µs: {} new, {} known", total.new, total.known);
    }
}

/// Who has it from the writer later than others says so to these too, though it knows that they have it: they do not know that of it.
#[test]
fn in_a_small_cluster_with_ways_of_all_lengths_little_is_sent_again() {
    for writer in 0..7 {
        let mut cluster = quiet_mesh(7, Network { latency_us: (5_000, 45_000), ..local() });
        let before = cluster.figures();
        write_a_stream(&mut cluster, writer);
        let total = cluster.figures().since(&before).total();
        assert!(total.new >= 600, "{total:?}");
        assert!(total.known * 20 <= total.new, "of node {writer}: {} new, {} known", total.new, total.known);
    }
}

/// Nobody else can bring it.
#[test]
fn in_a_small_cluster_who_has_lost_its_link_to_the_writer_has_it_from_others() {
    for latency_us in [500, 30_000, 300_000] {
        let mut cluster = three(latency_us);
        cluster.cut(&[0], &[2], true);
        cluster.run_for(5 * SECOND);
        assert_eq!([0, 1, 2].map(|who| cluster.links(who)), [1, 2, 1]);
        let dot = cluster.put(0, 1_000, 64).expect("it runs");
        cluster.run_for(4 * latency_us + SECOND / 10);
        assert!(node(&cluster, 2).map().context().contains(dot), "soon, with ways of {latency_us} µs");
        let before = cluster.figures();
        write_a_stream(&mut cluster, 0);
        let total = cluster.figures().since(&before).total();
        assert_eq!(total.known, 0, "{} new", total.new);
    }
}

/// For longer than every timeout, both halves written to, then healed without a command.
#[test]
fn cut_and_heal_of_many() {
    let mut cluster = cluster(40, 3);
    cluster.run_for(60 * SECOND);
    let halves: [Vec<usize>; 2] = [(0..20).collect(), (20..40).collect()];
    cluster.cut(&halves[0], &halves[1], true);
    cluster.run_for(100 * SECOND);
    let other = id(&cluster, 30);
    assert_eq!(state(&cluster, 3, other), Some(MemberState::Down));
    for key in 0..100 {
        cluster.put(key % 40, key, 64).expect("it runs");
        cluster.run_for(2 * SECOND);
    }
    cluster.heal();
    let anchor_period = 30;
    cluster.run_for(2 * anchor_period * SECOND);
    assert_eq!(connected(&cluster), 40, "one overlay after two periods");
    demand_agreement(&mut cluster, 30);
    for at in cluster.up() {
        for of in cluster.up() {
            assert_eq!(state(&cluster, at, id(&cluster, of)), Some(MemberState::Alive), "of {of} at {at}");
        }
    }
}

/// Two clusters that have never met, each of which was given some addresses of the other. They meet by links that are not to stay,
/// which bring everything to everybody; and then nobody wants another link, for all have enough.
#[test]
fn two_halves_that_have_never_met_become_one_overlay() {
    for (nodes, seeds) in [(20, 30), (100, 4)] {
        for seed in 0..seeds {
            let mut settings =
                Settings { nodes, seed, network: local(), joins: Joins::Random(4), ..Settings::default() };
            settings.template.anchor_every = Duration::from_secs(2);
            let mut cluster = Cluster::new(settings);
            let halves: [Vec<usize>; 2] = [(0..nodes / 2).collect(), (nodes / 2..nodes).collect()];
            cluster.cut(&halves[0], &halves[1], true);
            cluster.run_for(100 * SECOND);
            cluster.heal();
            // Shuffles begin 10, 20 and 40 s after they have met.
            cluster.run_for(60 * SECOND);
            for _ in 0..30 {
                assert_eq!(connected(&cluster), nodes, "of {nodes} nodes, seed {seed}");
                cluster.run_for(SECOND);
            }
            demand_agreement(&mut cluster, 10);
        }
    }
}

/// Of links between two nodes: which of the two counts one as active that the other does not.
fn one_sided(cluster: &Cluster) -> BTreeSet<(ReplicaId, ReplicaId)> {
    let actives = |who: usize| active(node(cluster, who)).into_iter().map(move |peer| (id(cluster, who), peer));
    let counted: BTreeSet<_> = cluster.up().into_iter().flat_map(actives).collect();
    counted.iter().filter(|(one, other)| !counted.contains(&(*other, *one))).copied().collect()
}

/// Two may dial each other at the same moment, one to keep the link and the other only to meet; or one may be through twice.
#[test]
fn both_ends_of_a_link_count_it_or_neither() {
    for (seed, twice) in (0..40).map(|seed| (seed, if seed % 2 == 0 { 0.0 } else { 0.2 })) {
        let network = Network { twice, ..local() };
        let mut settings = Settings { nodes: 30, seed, network, joins: Joins::First, ..Settings::default() };
        // So often that many meet at once.
        settings.template.view.period = Duration::from_millis(200);
        let mut cluster = Cluster::new(settings);
        let mut lasting = BTreeSet::new();
        for _ in 0..200 {
            // A link is refused or given up within a round trip of 4 ms.
            cluster.run_for(SECOND / 10);
            let now = one_sided(&cluster);
            let again: Vec<_> = now.intersection(&lasting).collect();
            assert_eq!(again, Vec::<&(ReplicaId, ReplicaId)>::new(), "seed {seed}, after {} µs", cluster.now_us());
            lasting = now;
        }
        for member in node(&cluster, 0).members() {
            assert_eq!(member.record.incarnation, 1, "{} was suspected, seed {seed}", member.record.name);
        }
    }
}

/// It is made with another key, or by an attempt that had seemed lost; and the node has no need of a further link.
#[test]
fn a_link_that_takes_the_place_of_one_that_is_kept_is_to_be_kept_too() {
    let now = Now { instant: Instant::from_micros(0), wall_ms: 1_700_000_000_000 };
    let mut node = Node::new(NodeConfig { writes_record: false, ..NodeConfig::new(ReplicaId::from(100)) }, now);
    let asks = [1, 2, 3, 4, 5, 6, 1].into_iter().zip(0..).map(|(peer, link)| {
        let (identity, address) = (Some(ReplicaId::from(peer)), format!("a:{peer}"));
        node.handle(
            now,
            Input::Connected { link: LinkId(link), address, dialed: true, identity, key: KeyId::default() },
        );
        let hello = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
            Output::Send { frame, .. } => Some(decode_control(&frame, &mut Spoken::default())),
            _ => None,
        });
        match hello {
            Some(Ok(Message::Hello(hello))) => hello.ask,
            other => panic!("{other:?}"),
        }
    });
    let asks: Vec<Ask> = asks.collect();
    assert_eq!(asks[4..], [Ask::Active, Ask::Passing, Ask::Urgent], "the fifth, a sixth, and the first again");
}

/// A slow or paused node comes back, and takes back what was said of it.
#[test]
fn who_was_silent_refutes() {
    let mut cluster = cluster(12, 4);
    cluster.run_for(30 * SECOND);
    let silent = id(&cluster, 7);
    cluster.put(7, 0, 64).expect("it runs");
    let others: Vec<usize> = (0..12).filter(|who| *who != 7).collect();
    cluster.cut(&[7], &others, true);
    cluster.run_for(3 * SECOND);
    assert_ne!(state(&cluster, 0, silent), Some(MemberState::Alive), "nothing was heard of it for 3 s");
    cluster.run_for(10 * SECOND);
    assert_eq!(state(&cluster, 0, silent), Some(MemberState::Down));
    cluster.heal();
    cluster.run_for(35 * SECOND);
    assert_eq!(state(&cluster, 0, silent), Some(MemberState::Alive));
    demand_agreement(&mut cluster, 10);
}

/// A member dies and is forgotten; then one comes back that was away all the time, and still has its record.
#[test]
fn ghost_member() {
    let mut settings =
        Settings { nodes: 5, seed: 5, network: local(), joins: Joins::All, kept: true, ..Settings::default() };
    settings.template.forget_member_ms = 20_000;
    settings.template.keep_expired_ms = 10_000;
    let mut cluster = Cluster::new(settings);
    cluster.run_for(10 * SECOND);
    let ghost = id(&cluster, 3);
    cluster.crash(4);
    cluster.run_for(SECOND);
    cluster.crash(3);
    cluster.run_for(10 * SECOND);
    assert_eq!(state(&cluster, 0, ghost), Some(MemberState::Down));
    cluster.run_for(60 * SECOND);
    assert_eq!(state(&cluster, 0, ghost), None, "it is forgotten");
    cluster.restart(4);
    cluster.run_for(SECOND / 1000);
    assert_eq!(state(&cluster, 4, ghost), Some(MemberState::Alive), "the other has not heard of it yet");
    cluster.run_for(20 * SECOND);
    for at in [0, 1, 2, 4] {
        assert_eq!(state(&cluster, at, ghost), None, "it is back at {at}");
    }
    demand_agreement(&mut cluster, 10);
}

/// What went wrong elsewhere: 6,000 members for 400 nodes.
#[test]
fn restart_storm() {
    let mut settings =
        Settings { nodes: 6, seed: 6, network: local(), joins: Joins::All, kept: true, ..Settings::default() };
    settings.template.forget_member_ms = 120_000;
    let mut cluster = Cluster::new(settings);
    cluster.run_for(10 * SECOND);
    for round in 0..500 {
        let who = round % 6;
        cluster.crash(who);
        cluster.run_for((round as u64 % 5) * SECOND);
        cluster.restart(who);
        cluster.run_for(10 * SECOND);
    }
    cluster.run_for(30 * SECOND);
    demand_agreement(&mut cluster, 10);
    for who in cluster.up() {
        assert_eq!(node(&cluster, who).members().len(), 6);
        assert_eq!(node(&cluster, who).map().context().iter().count(), 6, "nobody became another replica");
        assert_eq!(active(node(&cluster, who)).len(), 5);
    }
    assert!(cluster.figures().links_max <= 20, "{} links at once", cluster.figures().links_max);
}

/// One node and nobody else, writing for a day.
#[test]
fn lone_node() {
    let mut cluster = cluster(1, 7);
    cluster.run_for(SECOND);
    for key in 0..24 * 60 {
        cluster.put(0, key % 100, 64).expect("it runs");
        cluster.run_for(60 * SECOND);
    }
    assert_eq!(node(&cluster, 0).map().counts().keys, 101, "its keys and its own record");
    let counts = cluster.figures().total();
    assert_eq!((counts.frames, counts.connections), (0, 0));
}

/// Nothing is written for a day: bytes for each node in frames, beside what keeps connections alive.
#[test]
fn idle_day() {
    let quiet = |nodes: usize, hours: u64| idle(cluster(nodes, 8), 300, hours).0 * 24.0 * 3_600.0;
    let (few, many) = (quiet(9, 24), quiet(60, 6));
    assert!(few < 1_000_000.0, "{few} bytes");
    assert!(many < 3_000_000.0, "{many} bytes");
}

/// Thirty nodes, of which the last ten have a tenth of the upload, and are leaves.
#[test]
fn leaves_carry_nothing_for_others() {
    const RELAYS: usize = 20;
    const UPLOAD: u64 = 1_000_000;
    let mut settings = Settings { nodes: 30, seed: 10, network: local(), joins: Joins::First, ..Settings::default() };
    (settings.network.upload, settings.leaves, settings.leaf_upload) = (Some(UPLOAD), 10, Some(UPLOAD / 10));
    let mut cluster = Cluster::new(settings);
    cluster.run_for(60 * SECOND);
    demand_agreement(&mut cluster, 10);
    let ids: Vec<ReplicaId> = (0..30).map(|who| id(&cluster, who)).collect();
    let leaves: BTreeSet<ReplicaId> = ids[RELAYS..].iter().copied().collect();
    for (who, id) in ids.iter().enumerate() {
        let (to_leaves, to_relays): (Vec<_>, Vec<_>) =
            active(node(&cluster, who)).into_iter().partition(|peer| leaves.contains(peer));
        if leaves.contains(id) {
            assert!(
                (2..=3).contains(&to_relays.len()) && to_leaves.is_empty(),
                "leaf {who}: {to_relays:?} {to_leaves:?}"
            );
        } else {
            assert!(
                (4..=6).contains(&to_relays.len()),
                "node {who} has {} links to others that relay",
                to_relays.len()
            );
            let view = node(&cluster, who).view();
            assert!(view.iter().all(|seen| !leaves.contains(&seen.peer.id)), "a leaf is in the view of {who}");
        }
    }
    // Everybody writes as much; the leaves send their own, and little else.
    let before = cluster.figures();
    for key in 0..600 {
        cluster.put(key % 30, key, 400).expect("it runs");
        cluster.run_for(SECOND / 10);
    }
    demand_agreement(&mut cluster, 10);
    let sent = cluster.figures().since(&before).nodes;
    let mean = |of: std::ops::Range<usize>| {
        let count = of.len() as f64;
        sent[of].iter().map(|counts| counts.sent_bytes as f64).sum::<f64>() / count
    };
    let (leaf, relay, own) = (mean(RELAYS..30), mean(0..RELAYS), 20.0 * 400.0);
    eprintln!("each wrote {own:.0} B in 20 writes: a leaf sent {leaf:.0} B, another {relay:.0} B");
    assert!(leaf < 3.0 * own, "{leaf:.0} B sent by a leaf that wrote {own:.0} B");
    assert!(relay > 10.0 * leaf, "{relay:.0} B by who relays, {leaf:.0} B by a leaf");
    // All leaves die at once, just after a write: the others lose nothing, and go on without a pause.
    (0..RELAYS).for_each(|who| _ = cluster.put(who, 1_000 + who, 64).expect("it runs"));
    (RELAYS..30).for_each(|leaf| cluster.crash(leaf));
    cluster.run_for(SECOND);
    (0..RELAYS).for_each(|who| _ = cluster.put(who, 2_000 + who, 64).expect("it runs"));
    cluster.run_for(SECOND);
    cluster.check().unwrap_or_else(|what| panic!("a second after a write, with all leaves dead: {what}"));
    assert_eq!(connected(&cluster), RELAYS);
    cluster.run_for(20 * SECOND);
    for who in 0..RELAYS {
        leaves.iter().for_each(|leaf| assert_eq!(state(&cluster, who, *leaf), Some(MemberState::Down), "at {who}"));
    }
}

/// All others are linked to all; leaves keep their few links, meet whom they are not linked to, and nobody is suspected by that.
#[test]
fn leaves_of_a_small_cluster_keep_few_links_too() {
    const RELAYS: usize = 5;
    let settings =
        Settings { nodes: 8, leaves: 3, seed: 11, network: local(), joins: Joins::First, ..Settings::default() };
    let mut cluster = Cluster::new(settings);
    cluster.run_for(300 * SECOND);
    (0..8).for_each(|who| _ = cluster.put(who, who, 64).expect("it runs"));
    demand_agreement(&mut cluster, 10);
    let leaves: Vec<ReplicaId> = (RELAYS..8).map(|who| id(&cluster, who)).collect();
    for who in 0..8 {
        let links = active(node(&cluster, who));
        let to_relays = links.iter().filter(|peer| !leaves.contains(peer)).count();
        let expected = if who < RELAYS { 4..=4 } else { 2..=3 };
        assert!(expected.contains(&to_relays), "node {who} has {to_relays} links to others that relay");
        for member in node(&cluster, who).members() {
            let record = member.record;
            assert_eq!((record.state, record.incarnation), (MemberState::Alive, 1), "{} at {who}", record.name);
            assert_eq!(record.leaf, leaves.contains(&member.id));
        }
    }
    cluster.crash(7);
    cluster.run_for(20 * SECOND);
    assert_eq!(state(&cluster, 0, leaves[2]), Some(MemberState::Down));
    cluster.restart(7);
    demand_agreement(&mut cluster, 20);
    // With fewer others than it would have links a leaf is content with those, and asks leaves only when nobody else is left.
    (1..RELAYS).for_each(|who| cluster.crash(who));
    cluster.run_for(120 * SECOND);
    for leaf in RELAYS..8 {
        assert_eq!(active(node(&cluster, leaf)), [id(&cluster, 0)], "leaf {leaf} has asked leaves for links");
    }
    cluster.crash(0);
    cluster.run_for(120 * SECOND);
    for leaf in RELAYS..8 {
        assert_ne!(active(node(&cluster, leaf)), [], "leaf {leaf} is alone");
    }
}

/// The profile for links where each byte counts: all told, keep-alives and headers included.
#[test]
fn idle_day_on_metered_links() {
    for (nodes, hours) in [(3, 24), (60, 6)] {
        demand_little(nodes, hours);
    }
}

#[test]
#[ignore = "takes a minute of a core: a thousand nodes that come together; README.md has the command"]
fn idle_hour_of_a_thousand_on_metered_links() {
    demand_little(1_000, 1);
}

fn demand_little(nodes: usize, hours: u64) {
    /// Each end of a link asks for a sign of life so often, as the profile has it,
    const KEEP_ALIVE_S: f64 = 20.0;
    /// and answers the other's: a packet of QUIC of at most 40 bytes, in UDP and IP.
    const KEEP_ALIVE_BYTES: f64 = 2.0 * (40.0 + 28.0);
    let network = Network { idle_us: 90 * SECOND, ..local() };
    let template = NodeConfig::metered(ReplicaId::from(0));
    let settings = Settings { nodes, seed: 8, network, joins: Joins::First, template, ..Settings::default() };
    let (frames, links) = idle(Cluster::new(settings), 7_200, hours);
    let all = frames + links * KEEP_ALIVE_BYTES / KEEP_ALIVE_S;
    eprintln!("{nodes} nodes: {all:.1} B/s a node, {frames:.1} of it in frames, the rest keeps {links:.1} links");
    assert!(all <= 40.0, "{all} B/s with {nodes} nodes");
}

/// Bytes a second and node, headers included, and links of a node, while nothing is written for so many hours.
fn idle(mut cluster: Cluster, gather_s: u64, hours: u64) -> (f64, f64) {
    cluster.run_for(gather_s * SECOND);
    assert!(cluster.is_converged(), "{:?}", cluster.check());
    let before = cluster.figures();
    cluster.run_for(hours * HOUR);
    let after = cluster.figures().since(&before);
    let nodes = after.nodes.len() as f64;
    let frames = after.total().sent_bytes as f64 / nodes / (hours * 3_600) as f64;
    (frames, after.links.iter().sum::<usize>() as f64 / nodes)
}
