//! Watchers of nodes around the dangerous events: they are cut off at any event and go on at any node with what they were
//! told last, while writes, deletes, deadlines, truncations, half syncs, crashes and failing disks go on as in `crashes`.
//! Not responsible for what the nodes do: `world` and `kept` look at that.
//!
//! Each keeps a mirror of what the keys show. What is demanded:
//!
//! - in the end each mirror is what the node shows (no gap), whichever node it goes on at;
//! - nothing is told that is not durable where it is told;
//! - nothing is told twice, but for the four cases of [`Again`].
//!
//! A client that starts, or is told to read everything again, reads the map as it is then, which may be ahead of its mark:
//! if it is cut off before its mark has come that far, it reads again.

use crate::crashes::Crashes;
use crate::dense::Dense;
use crate::dice::{Dice, for_each_seed};
use crate::world::{START, World, names, usr};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidings::crdt::Cause;
use tidings::proto::feed::{Asked, Gap, Seen, Told, Watcher};
use tidings::proto::time::{Instant, Now};
use tidings::{CausalContext, Dot, ReplicaId, Session};

/// Why the same may be told of a key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// The entry has several live dots: one of them is new, though it does not show.
    Siblings,
    /// It was told ahead of the mark: from a sync that was cut off, or between two changes of one input.
    Ahead,
    /// A deadline, by the clocks of two nodes; or two deadlines of one millisecond.
    Clocks,
    /// A sync that was cut off has brought something of the key that `R` does not cover.
    Pending,
}

/// A client.
struct Client {
    prefix: Vec<u8>,
    /// Where it watches, and since which start of that node.
    at: Option<(usize, u64, Watcher)>,
    /// What it was told last with an event.
    mark: Option<Arc<Seen>>,
    /// What the mark was when it went on.
    begun: Seen,
    mirror: BTreeMap<Vec<u8>, Dot>,
    /// What it was told last of each key, since it read everything.
    told: BTreeMap<Vec<u8>, (Cause, Option<Dot>)>,
    /// What it may have read, until the mark covers it.
    read: Option<CausalContext>,
    /// Keys that may be told again, as they were when it asked: an answer may be held until it is durable.
    odd: BTreeMap<Vec<u8>, Again>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    told: usize,
    again: [usize; 4],
    resumed: usize,
    elsewhere: usize,
    gaps: [usize; 5],
    lacking: usize,
}

struct Run<'d> {
    crashes: Crashes<'d>,
    clients: Vec<Client>,
    count: Count,
    /// Nobody gives up for being cut off from what it has seen.
    patient: bool,
}

/// What a session has seen that no peer is known to have: it is asked of all.
fn unheard_of() -> Session {
    let nobody: CausalContext = [(ReplicaId::from(u128::MAX), 1)].into_iter().collect();
    Session::from(&nobody)
}

impl<'d> Run<'d> {
    fn new(dice: &'d mut Dice) -> Self {
        // Where tombstones go at once, nearly everything is a gap.
        let mut crashes = Crashes::with(dice, |run| {
            run.config.drift_ms = 200;
            if run.dice.percent(75) {
                run.config.retention.keep_ms = *run.dice.pick(&[10, 30, 1_000_000]);
            }
        });
        crashes.warm_up();
        let clients = 1 + crashes.run.dice.below(3);
        let mut client = || Client {
            prefix: if crashes.run.dice.percent(70) { b"key".to_vec() } else { b"key0".to_vec() },
            at: None,
            mark: None,
            begun: Seen::default(),
            mirror: BTreeMap::new(),
            told: BTreeMap::new(),
            read: None,
            odd: BTreeMap::new(),
        };
        let clients = (0..clients).map(|_| client()).collect();
        Self { crashes, clients, count: Count::default(), patient: false }
    }

    fn dice(&mut self) -> &mut Dice {
        self.crashes.run.dice
    }

    fn step(&mut self) {
        self.crashes.step();
        for number in 0..self.clients.len() {
            self.notice_crash(number);
            match self.dice().below(100) {
                0..70 => self.ask(number),
                70..78 => self.cut(number),
                _ => {}
            }
        }
    }

    /// What its node does not say to it any more.
    fn notice_crash(&mut self, number: usize) {
        let members = &self.crashes.run.dense.world.members;
        let is_there = |who: &usize, boot: &u64| !members[*who].gone && members[*who].node.config().boot == *boot;
        if self.clients[number].at.as_ref().is_some_and(|(who, boot, _)| !is_there(who, boot)) {
            self.cut(number);
        }
    }

    fn cut(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.at.take().is_some() {
            self.crashes.run.dice.tell(|| format!("client {number} is cut off"));
        }
        if client.read.take().is_some() {
            client.mark = None;
        }
    }

    fn connect(&mut self, number: usize, who: usize) {
        let client = &mut self.clients[number];
        let member = &mut self.crashes.run.dense.world.members[who];
        let after = client.mark.as_ref().map(|seen| Seen::clone(seen));
        self.crashes.run.dice.tell(|| format!("client {number} goes on at node {who} after {after:?}"));
        self.count.resumed += usize::from(after.is_some());
        client.begun = after.clone().unwrap_or_default();
        let watcher = member.node.watch(member.now, &client.prefix, after);
        client.at = Some((who, member.node.config().boot, watcher));
    }

    /// One answer, of which it may get a part.
    fn ask(&mut self, number: usize) {
        if self.clients[number].at.is_none() {
            let alive = self.crashes.run.dense.world.alive();
            let who = *self.dice().pick(&alive);
            self.connect(number, who);
        }
        self.answer(number, true);
    }

    /// Whether there was an answer.
    fn answer(&mut self, number: usize, may_be_cut: bool) -> bool {
        let Some(who) = self.clients[number].at.as_ref().map(|at| at.0) else { return false };
        self.note_odd(number, who);
        let client = &mut self.clients[number];
        let Some((_, _, watcher)) = &mut client.at else { return false };
        let member = &self.crashes.run.dense.world.members[who];
        match watcher.ask(&member.node, member.now.wall_ms) {
            Asked::Told(events) => {
                let seen = watcher.seen().clone();
                let dice = &mut self.crashes.run.dice;
                let cut = may_be_cut && !events.is_empty() && dice.percent(30);
                let taken = if cut { dice.below(events.len()) } else { events.len() };
                events.into_iter().take(taken).for_each(|told| self.take(number, who, told));
                self.clients[number].odd.clear();
                if cut {
                    self.cut(number);
                } else {
                    self.move_mark(number, who, seen);
                }
                true
            }
            Asked::Gap(gap) => {
                let seen = watcher.seen().clone();
                self.resync(number, who, gap, seen);
                true
            }
            Asked::Nothing => {
                let seen = watcher.seen().clone();
                if client.mark.as_ref().is_some_and(|mark| *mark != seen) {
                    self.move_mark(number, who, seen);
                }
                false
            }
            Asked::Lacking => {
                self.lack(number, who);
                false
            }
        }
    }

    fn lack(&mut self, number: usize, who: usize) {
        self.count.lacking += 1;
        match self.dice().below(100) {
            0..40 => self.crashes.run.dense.act(who, |node, now| node.pull_for(now, &unheard_of())),
            40..50 if !self.patient => {
                let Some((_, _, watcher)) = &mut self.clients[number].at else { return };
                let member = &self.crashes.run.dense.world.members[who];
                if let Asked::Gap(gap) = watcher.give_up(&member.node, member.now.wall_ms, Gap::Unreached) {
                    let seen = watcher.seen().clone();
                    self.resync(number, who, gap, seen);
                }
            }
            50..70 => self.cut(number),
            _ => {}
        }
    }

    /// It reads everything.
    fn read_all(&mut self, number: usize, who: usize) {
        let world = &self.crashes.run.dense.world;
        let (map, now) = (world.map(who), world.members[who].now.wall_ms);
        let client = &mut self.clients[number];
        let all = (0..world.usr_keys()).map(usr).filter(|key| key.starts_with(&client.prefix));
        client.mirror = all.filter_map(|key| map.read(&key, now).map(|r| r.dot).map(|dot| (key, dot))).collect();
        client.told.clear();
        let mut read = map.context().clone();
        map.have().iter().for_each(|(replica, _, last)| read.extend_to(Dot::new(replica, last)));
        client.read = Some(read);
    }

    fn resync(&mut self, number: usize, who: usize, gap: Gap, seen: Arc<Seen>) {
        self.crashes.run.dice.tell(|| format!("client {number} at node {who}: {gap:?}"));
        self.count.gaps[gap as usize] += 1;
        self.read_all(number, who);
        self.move_mark(number, who, seen);
    }

    fn move_mark(&mut self, number: usize, who: usize, seen: Arc<Seen>) {
        if self.clients[number].mark.is_none() {
            self.read_all(number, who);
        }
        self.check_durable(who, &seen, None);
        let client = &mut self.clients[number];
        client.read.take_if(|read| seen.context.includes(read));
        client.mark = Some(seen);
    }

    fn take(&mut self, number: usize, who: usize, told: Told) {
        self.crashes.run.dice.tell(|| format!("client {number} at node {who} is told {told:?}"));
        self.check_durable(who, &told.seen, told.dot);
        let client = &self.clients[number];
        assert!(told.key.starts_with(&client.prefix), "client {number} is told of {:?}", told.key);
        let as_told = (told.cause, told.dot);
        if client.told.get(&told.key[..]) == Some(&as_told) {
            let again = self.why_again(number, &told);
            let again = again.unwrap_or_else(|| panic!("client {number} is told again at node {who}: {told:?}"));
            self.count.again[again as usize] += 1;
        }
        self.count.told += 1;
        let client = &mut self.clients[number];
        client.told.insert(told.key.to_vec(), as_told);
        match told.dot.filter(|_| told.value.is_some()) {
            Some(dot) => client.mirror.insert(told.key.to_vec(), dot),
            None => client.mirror.remove(&told.key[..]),
        };
        client.read.take_if(|read| told.seen.context.includes(read));
        client.mark = Some(told.seen);
    }

    fn why_again(&self, number: usize, told: &Told) -> Option<Again> {
        let client = &self.clients[number];
        if told.cause == Cause::Expired {
            return Some(Again::Clocks);
        }
        let odd = client.odd.get(&told.key[..]).copied();
        odd.or_else(|| told.dot.is_none_or(|dot| !client.begun.context.contains(dot)).then_some(Again::Ahead))
    }

    fn note_odd(&mut self, number: usize, who: usize) {
        let world = &self.crashes.run.dense.world;
        let map = world.map(who);
        for key in (0..world.usr_keys()).map(usr) {
            if map.registers(&key).len() > 1 {
                self.clients[number].odd.insert(key, Again::Siblings);
            } else if map.context_of(&key) != *map.context() {
                self.clients[number].odd.insert(key, Again::Pending);
            }
        }
    }

    fn check_durable(&self, who: usize, seen: &Seen, dot: Option<Dot>) {
        let Some(storage) = self.crashes.run.dense.world.storage(who) else { return };
        let durable = &storage.disk.mark().shown;
        let mut said = names(&seen.context);
        if said.0[who] <= self.crashes.run.dense.world.history.void_of(who) {
            // Its own writes up to there are void, or were durable before it started.
            said.0[who] = 0;
        }
        assert!(durable.context.includes(&said), "node {who} tells {seen:?}, which is not durable");
        let dot = dot.map(|dot| names(&[(dot.replica, dot.counter)].into_iter().collect()));
        assert!(dot.is_none_or(|dot| durable.known().includes(&dot)), "node {who} tells {dot:?}, which is not durable");
    }

    /// All is mended, all deadlines have passed everywhere, and each client goes on at each node in turn.
    fn end(&mut self) {
        self.crashes.heal();
        let world = &mut self.crashes.run.dense.world;
        let all = world.alive();
        let latest = all.iter().map(|&who| world.members[who].now.wall_ms).max().expect("a node") + 1_000;
        for &who in &all {
            self.crashes.run.dense.world.members[who].now.wall_ms = latest;
            self.crashes.run.dense.pass(who, std::time::Duration::ZERO);
            self.crashes.run.dense.settle(None);
        }
        self.patient = true;
        for number in 0..self.clients.len() {
            self.notice_crash(number);
            let mut nodes = all.clone();
            self.dice().shuffle(&mut nodes);
            for who in nodes {
                self.follow_to_the_end(number, who);
            }
        }
    }

    fn follow_to_the_end(&mut self, number: usize, who: usize) {
        if self.clients[number].at.as_ref().is_none_or(|at| at.0 != who) {
            self.cut(number);
            self.count.elsewhere += usize::from(self.clients[number].mark.is_some());
            self.connect(number, who);
        }
        for _ in 0..1_000 {
            if !self.answer(number, false) {
                break;
            }
        }
        let world = &self.crashes.run.dense.world;
        let (map, now) = (world.map(who), world.members[who].now.wall_ms);
        let client = &self.clients[number];
        let Some((_, _, watcher)) = &client.at else { return };
        // Somebody who is gone for good has told it something that nobody else has.
        if !watcher.seen().is_within(map.context()) {
            assert!(self.crashes.run.sources_may_be_gone, "client {number} has seen what node {who} lacks for ever");
            return;
        }
        let all = (0..world.usr_keys()).map(usr).filter(|key| key.starts_with(&client.prefix));
        let shown: BTreeMap<_, _> = all.filter_map(|key| map.read(&key, now).map(|r| (key.clone(), r.dot))).collect();
        assert_eq!(client.mirror, shown, "client {number} at node {who}");
    }
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.told += other.told;
        self.resumed += other.resumed;
        self.elsewhere += other.elsewhere;
        self.lacking += other.lacking;
        self.again.iter_mut().zip(other.again).for_each(|(sum, n)| *sum += n);
        self.gaps.iter_mut().zip(other.gaps).for_each(|(sum, n)| *sum += n);
    }
}

/// The example of `watch.md`: `z` removed `x`, and `z2` replaced `z`. A walk has passed over `z`, and was cut before it came
/// to `z2`; a node that has only `z` cannot go on from there.
#[test]
fn what_a_walk_has_passed_over_is_ahead_of_its_cursor() {
    let (mut dense, now) = (Dense::new(World::new(2)), Now { instant: Instant::from_micros(0), wall_ms: START });
    for _ in 0..3 {
        let who = dense.world.add(now, |config| config.coalesce = std::time::Duration::ZERO);
        dense.drain(who);
    }
    let put = |dense: &mut Dense, who: usize, key: usize| {
        dense.world.put(who, key, None);
        dense.drain(who);
    };
    let ask = |dense: &mut Dense, who: usize, after: Option<Arc<Seen>>| {
        let node = &mut dense.world.members[who].node;
        let mut watcher = node.watch(now, b"", after.map(|seen| Seen::clone(&seen)));
        (watcher.ask(node, START), watcher)
    };
    let (to_one, to_two) = (dense.connect(0, 1), dense.connect(0, 2));
    put(&mut dense, 0, 0); // x
    dense.settle(None);
    let (_, begun) = ask(&mut dense, 2, None);
    put(&mut dense, 0, 0); // z
    put(&mut dense, 0, 1);
    dense.settle(Some(to_one));
    dense.settle(Some(to_two));
    put(&mut dense, 1, 0); // z2, which two does not hear of
    let (Asked::Told(told), _) = ask(&mut dense, 1, Some(begun.seen().clone())) else { panic!("it has it all") };
    assert_eq!(told.iter().map(|told| &told.key[..]).collect::<Vec<_>>(), [&usr(1)[..], &usr(0)[..]]);
    let (cut_off, _) = ask(&mut dense, 2, Some(told[0].seen.clone()));
    assert!(matches!(cut_off, Asked::Lacking), "it goes on without z2: {cut_off:?}");
    // Node 0 passes it on after a while.
    dense.settle(None);
    dense.pass(0, std::time::Duration::from_secs(1));
    dense.settle(None);
    let (Asked::Told(rest), _) = ask(&mut dense, 2, Some(told[0].seen.clone())) else { panic!("now it has z2") };
    assert_eq!(rest.iter().map(|told| (&told.key[..], told.dot)).collect::<Vec<_>>(), [(&usr(0)[..], told[1].dot)]);
}

#[test]
fn a_watcher_misses_nothing_wherever_it_goes_on() {
    let mut all = Count::default();
    for_each_seed(4_000, |dice| {
        let mut run = Run::new(dice);
        for _ in 0..20 + run.dice().below(40) {
            run.step();
        }
        run.end();
        all.add(&run.count);
    });
    eprintln!("{all:?}");
}
