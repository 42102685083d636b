//! Twenty processes in two network namespaces, from their command lines: what the manual promises of clusters in which not
//! everybody is linked to everybody, seen from outside. Not responsible for larger ones, nor for single steps: the
//! simulator's stories (`many`, `sim`) are.
//!
//! Needs root and `ip`; without, each story says so and is left out. Times are printed, and held against bounds that a
//! machine at its limit keeps too.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod common;
mod netns;

use netns::{Lab, Place, Server};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const NODES: usize = 20;
/// So many start without waiting for each other.
const TOGETHER: usize = 4;
/// Namespaces: the first half of the nodes is in one, the rest in the other.
const SIDES: usize = 2;
/// Of the first node; the others' follow.
const FIRST_PORT: u16 = 8101;
/// No step takes so long, even beside other work.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the manual promises in five seconds.
const GENEROUS: Duration = Duration::from_secs(20);
/// Few enough to leave the machine to the nodes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node of a large cluster has no fewer and no more active links, once it has settled.
const ACTIVE: std::ops::RangeInclusive<usize> = 4..=6;
/// With those on which two only meet.
const LINKS_MAX: usize = 12;

/// So many processes are enough at once.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Figures for whoever reads the log: the harness captures what macros print.
fn figure(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Looks until it holds, and says how long that took. `holds` says what it misses.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> Result<(), String>) -> Duration {
    let start = Instant::now();
    while let Err(missing) = holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}: {missing}");
        std::thread::sleep(LOOK_EVERY);
    }
    start.elapsed()
}

/// All nodes, by their numbers from 0; those that are killed stay in their place.
struct Crowd {
    /// They go before their namespaces do.
    nodes: Vec<Node>,
    lab: Lab,
    flags: Vec<String>,
}

struct Node {
    name: String,
    place: Place,
    server: Server,
    /// It keeps its data across restarts.
    kept: bool,
    up: bool,
}

impl Crowd {
    /// All of them join the first one, which knows nobody. `kept`: those with a data directory.
    fn new(flags: &[&str], kept: &[usize]) -> Option<Self> {
        let lab = Lab::new(SIDES)?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut crowd = Self { nodes: Vec::new(), lab, flags };
        for number in 0..NODES {
            crowd.start(number, kept.contains(&number));
            // On a machine at its limit the handshakes of all at once are none in time.
            if number % TOGETHER == TOGETHER - 1 {
                until("those that were started have joined", || crowd.all_are_ready());
            }
        }
        Some(crowd)
    }

    fn all_are_ready(&self) -> Result<(), String> {
        let waits = self.up().find(|node| node.server.ask("GET", "/readyz", "").status != 200);
        waits.map_or(Ok(()), |node| Err(format!("{} has not", node.name)))
    }

    fn start(&mut self, number: usize, kept: bool) {
        let at = |number: usize| self.lab.address_on(side(number), FIRST_PORT + number as u16);
        let place = Place { namespace: side(number), address: at(number), join: at(0) };
        let name = format!("n{number}");
        let server = self.lab.start_at(&place, &self.all_flags(&name, kept));
        self.nodes.push(Node { name, place, server, kept, up: true });
    }

    fn all_flags<'a>(&'a self, name: &'a str, kept: bool) -> Vec<&'a str> {
        let storage: &[&str] = if kept { &[] } else { &["--in-memory"] };
        let of_all = self.flags.iter().map(String::as_str);
        ["--name", name].into_iter().chain(storage.iter().copied()).chain(of_all).collect()
    }

    fn kill(&mut self, number: usize) {
        self.nodes[number].server.kill();
        self.nodes[number].up = false;
    }

    fn restart(&mut self, number: usize) {
        let Node { name, place, kept, .. } = &self.nodes[number];
        let (name, place, kept) = (name.clone(), place.clone(), *kept);
        let flags: Vec<String> = self.all_flags(&name, kept).into_iter().map(str::to_owned).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let Self { lab, nodes, .. } = self;
        lab.restart_at(&place, &flags, &mut nodes[number].server);
        nodes[number].up = true;
    }

    fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.up)
    }

    fn names(&self, which: impl Fn(usize) -> bool) -> BTreeSet<String> {
        let chosen = self.nodes.iter().enumerate().filter(|(number, node)| node.up && which(*number));
        chosen.map(|(_, node)| node.name.clone()).collect()
    }

    fn put(&self, number: usize, key: &str) {
        let node = &self.nodes[number];
        let answer = node.server.ask("PUT", &format!("/v1/kv/{key}"), &node.name);
        assert!((200..300).contains(&answer.status), "{} at {}: {}", key, node.name, answer.text());
    }

    /// Everybody who is up has all these keys.
    fn all_have(&self, keys: &BTreeSet<String>) -> Result<(), String> {
        self.up().try_for_each(|node| {
            let missing: Vec<_> = keys.difference(&node.keys()).cloned().collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{} lacks {missing:?}", node.name)) }
        })
    }

    /// Everybody who is up takes those for alive who are up, and nobody else.
    fn all_know_who_is_up(&self) -> Result<(), String> {
        let up = self.names(|_| true);
        self.up().try_for_each(|node| node.takes_for_alive(&up))
    }

    /// Few links, and over them everybody who is up is reached from everybody.
    fn is_one_overlay(&self) -> Result<(), String> {
        let mut links = BTreeMap::new();
        for node in self.up() {
            let (id, all, active) = node.links();
            let (few, bounded) = (ACTIVE.contains(&active.len()), all <= LINKS_MAX);
            if !few || !bounded {
                return Err(format!("{} has {} active links of {all}", node.name, active.len()));
            }
            links.insert(id, active);
        }
        let (mut reached, mut next) = (BTreeSet::new(), links.keys().next().cloned().into_iter().collect::<Vec<_>>());
        while let Some(id) = next.pop() {
            let peers = links.get(&id).ok_or(format!("a link to {id}, who is gone"))?;
            if reached.insert(id) {
                next.extend(peers.iter().cloned());
            }
        }
        if reached.len() == links.len() { Ok(()) } else { Err(format!("{} of {} reached", reached.len(), links.len())) }
    }

    /// The most links that anybody has, and the most active ones.
    fn most_links(&self) -> (usize, usize) {
        let counts = self.up().map(|node| node.links()).map(|(_, all, active)| (all, active.len()));
        counts.fold((0, 0), |most, each| (most.0.max(each.0), most.1.max(each.1)))
    }

    fn signal(&self, number: usize, name: &str) {
        self.nodes[number].server.process.signal(name);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.nodes.iter().for_each(|node| println!("--- {}\n{}", node.name, node.server.log()));
        }
    }
}

impl Node {
    fn json(&self, path: &str) -> Value {
        self.server.ask("GET", path, "").json()
    }

    fn keys(&self) -> BTreeSet<String> {
        let listed = self.json("/v1/kv?limit=1000");
        let items = listed["items"].as_array().expect("a list").iter();
        items.map(|item| item["key"].as_str().expect("a key").to_owned()).collect()
    }

    /// What it takes each member for, by name.
    fn members(&self) -> BTreeMap<String, String> {
        let listed = self.json("/v1/members");
        let text = |member: &Value, field: &str| member[field].as_str().expect("text").to_owned();
        let members = listed["members"].as_array().expect("a list").iter();
        members.map(|member| (text(member, "name"), text(member, "state"))).collect()
    }

    fn takes_for_alive(&self, expected: &BTreeSet<String>) -> Result<(), String> {
        let members = self.members();
        let alive = members.iter().filter(|(_, state)| *state == "alive");
        let alive: BTreeSet<String> = alive.map(|(name, _)| name.clone()).collect();
        let differing = alive.symmetric_difference(expected).map(|name| (name, members.get(name)));
        let differing: Vec<_> = differing.collect();
        if differing.is_empty() { Ok(()) } else { Err(format!("{} is wrong of {differing:?}", self.name)) }
    }

    fn takes_for(&self, name: &str, state: &str) -> bool {
        self.members().get(name).is_some_and(|taken| taken == state)
    }

    /// Its id, how many links it has, and to whom the active ones are.
    fn links(&self) -> (String, usize, Vec<String>) {
        let status = self.json("/v1/status");
        let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
        let links = status["links"].as_array().expect("a list");
        (id(&status), links.len(), links.iter().filter(|link| link["active"] == true).map(id).collect())
    }
}

/// The namespace of a node.
fn side(number: usize) -> usize {
    1 + number * SIDES / NODES
}

fn keys(prefix: &str, numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| format!("{prefix}-{number}")).collect()
}

/// They have found each other, and each has what each has written.
fn settle(crowd: &Crowd) -> BTreeSet<String> {
    let joined = until("everybody knows everybody", || crowd.all_know_who_is_up());
    (0..NODES).for_each(|number| crowd.put(number, &format!("first-{number}")));
    let written = keys("first", 0..NODES);
    let spread = until("everybody has every key", || crowd.all_have(&written));
    let linked = until("few links, one overlay", || crowd.is_one_overlay());
    figure(&format!(
        "{NODES} processes: joined {joined:.1?} after the last start, {NODES} writes spread in {spread:.1?}, links settled in \
         {linked:.1?}"
    ));
    written
}

#[test]
fn twenty_join_through_one_and_half_of_them_die_with_it() {
    let _alone = alone();
    let Some(mut crowd) = Crowd::new(&[], &[]) else { return };
    let mut written = settle(&crowd);
    let (most, active) = crowd.most_links();
    // With the first one, through which all have come; some of both sides.
    let killed = Instant::now();
    (0..NODES).filter(|number| number % 2 == 0).for_each(|number| crowd.kill(number));
    let survivors: Vec<usize> = (0..NODES).filter(|number| number % 2 == 1).collect();
    survivors.iter().for_each(|number| crowd.put(*number, &format!("second-{number}")));
    written.extend(keys("second", survivors.iter().copied()));
    until("the dead are out, and nobody else is", || crowd.all_know_who_is_up());
    let out = killed.elapsed();
    until("all that the survivors wrote is with all of them", || crowd.all_have(&written));
    let spread = killed.elapsed();
    until("the survivors are one overlay", || crowd.is_one_overlay());
    figure(&format!(
        "at most {most} links, {active} of them active; ten killed at once: out of all members {out:.1?} after, writes of \
         the rest everywhere {spread:.1?} after, one overlay {:.1?} after",
        killed.elapsed()
    ));
    assert!(out < GENEROUS, "{out:?}");
    survivors.iter().for_each(|number| crowd.put(*number, &format!("third-{number}")));
    written.extend(keys("third", survivors));
    until("what is written then, too", || crowd.all_have(&written));
}

#[test]
fn one_is_killed_and_returns_with_its_data_and_one_is_paused_and_refutes() {
    const KILLED: usize = 4;
    const PAUSED: usize = 15;
    let _alone = alone();
    let Some(mut crowd) = Crowd::new(&[], &[KILLED]) else { return };
    let mut written = settle(&crowd);
    let gone = Instant::now();
    crowd.kill(KILLED);
    until("the killed one is out", || crowd.all_know_who_is_up());
    let out = gone.elapsed();
    assert!(out < GENEROUS, "{out:?}");
    (0..NODES).filter(|number| *number != KILLED).for_each(|number| crowd.put(number, &format!("away-{number}")));
    written.extend(keys("away", (0..NODES).filter(|number| *number != KILLED)));
    let again = Instant::now();
    crowd.restart(KILLED);
    until("it is back", || crowd.all_know_who_is_up());
    let back = again.elapsed();
    until("it has what was written meanwhile", || crowd.all_have(&written));
    figure(&format!(
        "killed: out {out:.1?} after; back {back:.1?} after its start, with all data {:.1?}",
        again.elapsed()
    ));
    assert!(back < GENEROUS, "{back:?}");

    crowd.put(PAUSED, &format!("before-{PAUSED}"));
    crowd.signal(PAUSED, "STOP");
    crowd.nodes[PAUSED].up = false;
    let paused = crowd.nodes[PAUSED].name.clone();
    until("the paused one is down", || {
        let wrong = crowd.up().find(|node| !node.takes_for(&paused, "down"));
        wrong.map_or(Ok(()), |node| Err(format!("{} does not say so", node.name)))
    });
    (0..NODES).filter(|number| *number != PAUSED).for_each(|number| crowd.put(number, &format!("paused-{number}")));
    written.extend(keys("paused", (0..NODES).filter(|number| *number != PAUSED)));
    crowd.signal(PAUSED, "CONT");
    crowd.nodes[PAUSED].up = true;
    crowd.put(PAUSED, &format!("after-{PAUSED}"));
    written.extend(keys("before", [PAUSED]).into_iter().chain(keys("after", [PAUSED])));
    let refuted = until("it has refuted", || crowd.all_know_who_is_up());
    until("nothing is lost", || crowd.all_have(&written));
    figure(&format!("paused until it was down everywhere: alive everywhere {refuted:.1?} after it went on"));
    until("one overlay", || crowd.is_one_overlay());
}

#[test]
fn a_split_that_lasted_heals_by_itself() {
    // Who is lost is looked for more often than the profile has it, so that the test is short.
    let flags = ["--anchor-every", "2s"];
    let _alone = alone();
    let Some(crowd) = Crowd::new(&flags, &[]) else { return };
    let mut written = settle(&crowd);
    let halves = [1, 2].map(|half| crowd.names(|number| side(number) == half));
    let cut = Instant::now();
    crowd.lab.cut(SIDES);
    // Of whom nobody was linked to, the other half finds out later.
    until("each half takes most of the other for gone", || {
        crowd.nodes.iter().enumerate().try_for_each(|(number, node)| {
            let (own, other) = (&halves[side(number) - 1], &halves[2 - side(number)]);
            let members = node.members();
            let count = |names: &BTreeSet<String>, state: &str| {
                names.iter().filter(|name| members.get(*name).is_some_and(|taken| taken == state)).count()
            };
            let (here, gone) = (count(own, "alive"), count(other, "down"));
            let is_parted = here == own.len() && gone * 2 > other.len();
            if is_parted { Ok(()) } else { Err(format!("at {} {here} are alive and {gone} down", node.name)) }
        })
    });
    let parted = cut.elapsed();
    (0..NODES).for_each(|number| crowd.put(number, &format!("parted-{number}")));
    until("each half is whole in itself", || {
        crowd.nodes.iter().enumerate().try_for_each(|(number, node)| {
            let expected = keys("parted", (0..NODES).filter(|other| side(*other) == side(number)));
            let (_, other): (Vec<_>, Vec<_>) =
                node.keys().into_iter().filter(|key| key.starts_with("parted")).partition(|key| expected.contains(key));
            assert!(other.is_empty(), "{other:?} came through the cut");
            if expected.is_subset(&node.keys()) { Ok(()) } else { Err(format!("{} lacks some", node.name)) }
        })
    });
    // Beyond whatever else may still wait: the connections themselves are given up after 16 s.
    std::thread::sleep(Duration::from_secs(18).saturating_sub(cut.elapsed()));
    let lasted = cut.elapsed();
    let healed = Instant::now();
    crowd.lab.heal(SIDES);
    written.extend(keys("parted", 0..NODES));
    until("what both halves wrote meets", || crowd.all_have(&written));
    let met = healed.elapsed();
    until("everybody knows everybody again", || crowd.all_know_who_is_up());
    let known = healed.elapsed();
    until("they are one overlay", || crowd.is_one_overlay());
    figure(&format!(
        "split: parted {parted:.1?} after the cut, which lasted {lasted:.1?}; after it was healed their writes met in \
         {met:.1?}, all were alive everywhere in {known:.1?}, and one overlay in {:.1?}",
        healed.elapsed()
    ));
}
