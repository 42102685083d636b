//! SIGKILL at any moment, of one node or of all. Not responsible for what the disk forgets: the system survives here.

use super::place::{Client, Place, converge, kill_at_once, secret};
use super::room::du;
use super::writers::{Dots, Writer, name, value};
use crate::common::{Process, eventually};
use crate::dice::{Dice, for_each_seed};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NODES: usize = 3;
const WRITERS_EACH: usize = 2;

fn pause(milliseconds: usize) {
    std::thread::sleep(Duration::from_millis(milliseconds as u64));
}

struct Cluster {
    places: Vec<Place>,
    /// Those of each node.
    writers: Vec<Vec<Writer>>,
    dots: Dots,
}

impl Cluster {
    fn start() -> Self {
        let secret = secret();
        let writer = |number: usize| Writer::new(format!("w{number}"), number as u64);
        let writers = (0..NODES).map(|node| (0..WRITERS_EACH).map(|of| writer(node * WRITERS_EACH + of)).collect());
        let places = (0..NODES).map(|_| Place::new(&secret)).collect();
        let mut cluster = Self { places, writers: writers.collect(), dots: Dots::default() };
        (0..NODES).for_each(|node| cluster.start_node(node));
        cluster
    }

    fn start_node(&mut self, node: usize) {
        let join: Vec<String> = self.places.iter().filter(|place| place.is_running()).map(Place::quic).collect();
        self.places[node].start(&join);
    }

    /// All write; some nodes are killed after a while, and the others have a little longer.
    fn write_and_kill(&mut self, victims: &[usize], dice: &mut Dice) {
        let clients: Vec<Client> = self.places.iter().map(|place| place.client().clone()).collect();
        let (stop, dots) = (AtomicBool::new(false), &self.dots);
        std::thread::scope(|scope| {
            for (node, (writers, client)) in self.writers.iter_mut().zip(&clients).enumerate() {
                for writer in writers {
                    let (stop, may_fail) = (&stop, victims.contains(&node));
                    scope.spawn(move || assert!(writer.run(client, dots, stop) || may_fail, "node {node} is gone"));
                }
            }
            pause(5 + dice.below(495));
            let victims = self.places.iter_mut().enumerate().filter(|(node, _)| victims.contains(node));
            kill_at_once(&mut victims.map(|(_, place)| place).collect::<Vec<_>>());
            pause(dice.below(50));
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// Starts what was killed, and looks at what each of them has while no other can help it out.
    fn restart_alone(&mut self, victims: &[usize], dice: &mut Dice) {
        self.places.iter().filter(|place| place.is_running()).for_each(|place| place.signal("STOP"));
        for &node in victims {
            while dice.percent(30) {
                let opening = Process::start(&mut self.places[node].command(&[]));
                pause(dice.below(150));
                drop(opening);
            }
            self.start_node(node);
            let client = self.places[node].client().clone();
            self.writers[node].iter_mut().for_each(|writer| writer.check(&client, &self.dots));
            self.places[node].signal("STOP");
        }
        self.places.iter().for_each(|place| place.signal("CONT"));
    }

    fn check_everywhere(&mut self) {
        converge(&self.places.iter().collect::<Vec<_>>());
        for place in &self.places {
            for writer in self.writers.iter_mut().flatten() {
                writer.check(place.client(), &self.dots);
            }
        }
    }
}

#[test]
fn kills_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start();
    for_each_seed(20, |dice| {
        let all = dice.percent(25);
        let victims = if all { (0..NODES).collect() } else { vec![dice.below(NODES)] };
        cluster.write_and_kill(&victims, dice);
        cluster.restart_alone(&victims, dice);
        cluster.check_everywhere();
    });
    let acknowledged: u64 = cluster.writers.iter().flatten().map(|writer| writer.acknowledged).sum();
    println!("{acknowledged} durable writes and {} dots in all", cluster.dots.len());
    assert!(acknowledged > 0);
}

#[test]
fn a_node_that_is_killed_while_it_begins_begins_again() {
    for_each_seed(6, |dice| {
        let mut place = Place::new(&secret());
        for _ in 0..1 + dice.below(3) {
            let beginning = Process::start(&mut place.command(&[]));
            pause(dice.below(150));
            drop(beginning);
        }
        place.start(&[]);
        assert_eq!(place.client().put("kettle", "on").status, 201);
        place.kill();
        place.start(&[]);
        assert_eq!(place.client().value("kettle").as_deref(), Some(&b"on"[..]));
    });
}

/// Clients are told dots before the disk has them: a crash that loses the write must not give its dot to another.
#[test]
fn kills_between_an_answer_and_the_disk_use_no_dot_again() {
    const WRITERS: usize = 8;
    let (mut place, dots, mut lost) = (Place::new(&secret()), Dots::default(), 0);
    place.start(&[]);
    for_each_seed(10, |dice| {
        let (client, round) = (place.client().clone(), dots.len());
        let write = |writer: usize| {
            let mut last = None;
            for number in 0.. {
                let (key, name) = (format!("w{writer}"), format!("{round}.{writer}.{number}-60"));
                match dots.put(&client, &key, "eventual", &name) {
                    Ok(()) => last = Some((key, name)),
                    Err(_) => return last,
                }
            }
            last
        };
        let told: Vec<_> = std::thread::scope(|scope| {
            let write = &write;
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
            pause(30 + dice.below(100));
            place.kill();
            writers.into_iter().filter_map(|writer| writer.join().expect("no panic")).collect()
        });
        place.start(&[]);
        lost += told.iter().filter(|(key, name)| dots.read(place.client(), key).as_ref() != Some(name)).count();
        dots.read_sys(place.client());
        (0..WRITERS).for_each(|number| {
            let put = dots.put(place.client(), &format!("after{number}"), "immediate", &format!("{round}.{number}-60"));
            put.expect("an answer");
        });
    });
    println!("of {} dots, {lost} or more were of writes that were lost", dots.len());
}

/// When nothing has been written for two seconds, a state that takes too much room goes on in another directory.
#[test]
fn kills_while_the_state_is_copied_lose_nothing() {
    let mut place = Place::new(&secret());
    place.start(&[]);
    let mut states = BTreeSet::new();
    for_each_seed(5, |dice| {
        let before = format_of(&place);
        let written: Vec<String> = (0..160).map(|number| format!("{number}-100000")).collect();
        for (number, name) in written.iter().enumerate() {
            let answer = place.client().put(&format!("large/{}", number % 20), value(name));
            assert!(matches!(answer.status, 201 | 204), "{}", answer.text());
        }
        // After kills in the middle of the copying the engine may have come to give the room back by itself.
        let is_small = || du(place.data()) < 12 << 20;
        eventually("it is copied", || states_of(&place) > 1 || format_of(&place) != before || is_small());
        pause(dice.below(60));
        place.kill();
        place.start(&[]);
        for (number, expected) in written[140..].iter().enumerate() {
            let shown = place.client().value(&format!("large/{number}")).expect("it was acknowledged");
            assert_eq!(name(&shown), *expected);
        }
        states.insert(format_of(&place));
    });
    println!("{states:?}");
}

fn format_of(place: &Place) -> String {
    std::fs::read_to_string(place.data().join("format")).expect("there")
}

fn states_of(place: &Place) -> usize {
    let entries = std::fs::read_dir(place.data()).expect("a directory").flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("state-"))).count()
}
