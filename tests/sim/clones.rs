//! Several processes that run with one replica id, because a disk was copied. Not responsible for what the oracle looks
//! at: to it a replica is one. Frames arrive at once.

use crate::world::{START, address, id, usr};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tidings::proto::config::NodeConfig;
use tidings::proto::durable::{Batch, Identity, Kept, Loader};
use tidings::proto::link::{CLONED, LinkId};
use tidings::proto::node::{Input, Node, Output};
use tidings::proto::time::{Instant, Now};
use tidings::{Key, ReplicaId};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

struct Process {
    node: Node,
    disk: Records,
    /// Why others have closed links to it.
    told: Vec<String>,
}

/// Processes, and the links between them; a link has one name at both ends.
struct Processes {
    all: Vec<Process>,
    wires: BTreeMap<LinkId, [usize; 2]>,
    /// Channels, and who wants nothing more of them.
    ended: BTreeSet<(LinkId, u64, usize)>,
    next: u64,
    now: Now,
}

fn config(replica: ReplicaId, boot: u64) -> NodeConfig {
    let mut config = NodeConfig::new(replica);
    config.boot = boot;
    config.address = address(boot as usize);
    config
}

fn write(records: &mut Records, batch: &Batch) {
    for (key, value) in batch.iter() {
        match value {
            Some(value) => drop(records.insert(key.to_vec(), value.to_vec())),
            None => drop(records.remove(key)),
        }
    }
}

impl Processes {
    fn new() -> Self {
        let now = Now { instant: Instant::from_micros(0), wall_ms: START };
        Self { all: Vec::new(), wires: BTreeMap::new(), ended: BTreeSet::new(), next: 1, now }
    }

    /// A process starts with what is on a disk, or with nothing.
    fn start(&mut self, replica: ReplicaId, disk: Option<Records>) -> usize {
        let config = config(replica, 100 + self.all.len() as u64);
        let disk = disk.unwrap_or_default();
        let kept = if disk.is_empty() {
            Kept::nothing(Identity { replica, cluster: config.cluster }, config.drift_ms)
        } else {
            let mut loader = Loader::new(config.drift_ms);
            disk.iter().for_each(|(key, value)| loader.record(key, value).expect("it was written so"));
            loader.finish().expect("it was written so")
        };
        self.all.push(Process { node: Node::kept(config, kept, self.now), disk, told: Vec::new() });
        self.settle();
        self.all.len() - 1
    }

    /// All is durable at once, and arrives at once.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut quiet = true;
            for who in 0..self.all.len() {
                while let Some(batch) = self.all[who].node.begin_commit() {
                    write(&mut self.all[who].disk, &batch);
                    self.all[who].node.end_commit(self.now);
                }
                while let Some(output) = self.all[who].node.poll_output() {
                    quiet = false;
                    self.carry_out(who, output);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("they never stop talking");
    }

    fn carry_out(&mut self, who: usize, output: Output) {
        let (Output::Send { link, .. }
        | Output::Finish { link, .. }
        | Output::Reset { link, .. }
        | Output::Close { link, .. }) = &output
        else {
            return;
        };
        let link = *link;
        let Some(ends) = self.wires.get(&link) else { return };
        let other = ends[usize::from(ends[0] == who)];
        match output {
            Output::Send { channel, frame, .. } => {
                self.handle(who, Input::Sent { link, channel });
                self.handle(other, Input::Frame { link, channel, frame });
            }
            Output::Finish { channel, .. } | Output::Reset { channel, .. } => {
                // Told once, each way.
                if self.ended.insert((link, channel, who)) {
                    self.handle(other, Input::Ended { link, channel });
                }
            }
            Output::Close { reason, .. } => {
                self.all[other].told.push(reason);
                self.wires.remove(&link);
                self.handle(who, Input::Disconnected { link });
                self.handle(other, Input::Disconnected { link });
            }
            Output::Dial { .. } => {}
        }
    }

    fn handle(&mut self, who: usize, input: Input) {
        self.all[who].node.handle(self.now, input);
    }

    /// One of them dials the other, and both say what they have to say.
    fn meet(&mut self, from: usize, to: usize) {
        self.now.instant = self.now.instant + Duration::from_millis(500);
        let link = LinkId(self.next);
        self.next += 1;
        self.wires.insert(link, [from, to]);
        for (who, other, dialed) in [(from, to, true), (to, from, false)] {
            let identity = self.all[other].node.config().replica;
            let address = self.all[other].node.config().address.clone();
            self.handle(
                who,
                Input::Connected {
                    link,
                    address,
                    dialed,
                    identity: Some(identity),
                    key: tidings::proto::KeyId::default(),
                },
            );
        }
        self.settle();
    }

    fn put(&mut self, who: usize, key: usize, value: &str) {
        let now = self.now;
        self.all[who].node.put(now, Key::usr(&usr(key)), value.as_bytes(), None);
        self.settle();
    }

    fn get(&self, who: usize, key: usize) -> Option<&str> {
        let value = self.all[who].node.map().get(Key::usr(&usr(key)), START)?;
        Some(std::str::from_utf8(value).expect("stories are told in text"))
    }

    fn is_linked(&self, who: usize) -> bool {
        !self.all[who].node.links().is_empty()
    }

    /// Time passes, and who is not linked to `hub` dials it again and again.
    fn wait(&mut self, seconds: u64, hub: usize, dialing: &[usize]) {
        for _ in 0..seconds / 5 {
            self.now.instant = self.now.instant + Duration::from_secs(5);
            for &who in dialing {
                if !self.is_linked(who) {
                    self.meet(who, hub);
                }
            }
        }
    }
}

/// A runs, linked to C; its disk, as it was when A last stopped, is started a second time.
fn a_clone() -> (Processes, [usize; 3]) {
    let mut processes = Processes::new();
    let c = processes.start(id(2), None);
    let first = processes.start(id(0), None);
    processes.put(first, 0, "before");
    let disk = processes.all[first].disk.clone();
    let a = processes.start(id(0), Some(disk.clone()));
    processes.meet(a, c);
    processes.put(a, 1, "of A");
    assert_eq!(processes.get(c, 1), Some("of A"));
    let clone = processes.start(id(0), Some(disk));
    (processes, [a, clone, c])
}

/// What went wrong elsewhere: a data directory was copied, both were started, and wrote under the same names. What came
/// second was taken for known, everywhere and silently.
#[test]
fn cloned_disk() {
    let (mut processes, [a, clone, c]) = a_clone();
    processes.put(clone, 2, "of the clone");
    processes.meet(clone, a);
    assert!(processes.all[clone].told.iter().chain(&processes.all[a].told).any(|reason| reason.contains("replica id")));
    assert!(processes.wires.values().all(|ends| *ends == [a, c]), "no link between the two");
}

/// The two never meet, but have a peer in common: it tells the clone from a restarted node when the first comes back.
#[test]
fn cloned_disk_found_out_by_a_common_peer() {
    let (mut processes, [a, clone, c]) = a_clone();
    // It has made as many writes as A: by the names alone nobody can tell.
    processes.put(clone, 2, "of the clone");
    processes.meet(clone, c);
    assert!(!processes.is_linked(a), "for all that C can know it was restarted");
    processes.meet(a, c);
    assert!(!processes.is_linked(a) && !processes.is_linked(clone) && !processes.is_linked(c), "both are refused");
    for who in [a, clone] {
        assert_eq!(processes.all[who].told.last().map(String::as_str), Some(CLONED), "{who} is told so");
    }
    processes.put(a, 3, "kept by A");
    processes.put(clone, 3, "kept by the clone");
    processes.wait(300, c, &[a, clone]);
    assert!(!processes.is_linked(c), "as long as both run");
    assert_eq!(processes.get(c, 3), None, "nothing of either is taken for known");

    // The clone is stopped.
    processes.wait(60, c, &[a]);
    assert!(processes.is_linked(a), "who is left is let in again");
    assert_eq!(processes.get(c, 3), Some("kept by A"));
}

/// A node that is restarted before its peers have missed it is no clone, however often.
#[test]
fn a_restart_is_no_clone() {
    let mut processes = Processes::new();
    let c = processes.start(id(2), None);
    let mut disk = None;
    for round in 0..20 {
        let a = processes.start(id(0), disk.take());
        processes.meet(a, c);
        processes.put(a, 0, &round.to_string());
        assert_eq!(processes.get(c, 0), Some(round.to_string().as_str()));
        assert_eq!(processes.all[a].told, [""; 0], "in round {round}");
        disk = Some(processes.all[a].disk.clone());
    }
}
