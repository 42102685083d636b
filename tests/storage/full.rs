//! A disk without room. Not responsible for one that may not be written.

use super::mount::Mount;
use super::place::{Client, Place, secret};
use super::writers::{name, value};
use crate::common::{Answer, eventually};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const DISK_BYTES: u64 = 8 << 20;
const LENGTH: usize = 20_000;

/// What became of writes, each to a key of its own.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<String, String>,
    refused: BTreeMap<String, String>,
}

impl Told {
    /// Writes one, and says whether it was taken. A refusal says what is wrong and what to do.
    fn put(&mut self, client: &Client, key: &str) -> bool {
        let name = format!("{key}-{LENGTH}");
        let answer = client.put(key, value(&name));
        let taken = matches!(answer.status, 201 | 204);
        if taken { &mut self.acknowledged } else { &mut self.refused }.insert(key.to_owned(), name);
        if !taken {
            assert_says_that_it_is_full(&answer);
        }
        taken
    }

    /// All that was acknowledged is there; what was refused is absent or whole.
    fn check(&self, client: &Client) {
        for (key, name) in &self.acknowledged {
            let shown = client.value(key).unwrap_or_else(|| panic!("{key} was acknowledged, and is gone"));
            assert!(shown == value(name), "{key} is another");
        }
        for (key, write) in &self.refused {
            assert!(client.value(key).is_none_or(|shown| name(&shown) == *write), "{key} is another");
        }
    }

    fn is_at(&self, client: &Client) -> bool {
        self.acknowledged.iter().all(|(key, name)| client.value(key).is_some_and(|shown| shown == value(name)))
    }
}

fn assert_says_that_it_is_full(answer: &Answer) {
    let code = answer.error();
    assert_eq!(answer.status, 503);
    assert!(matches!(code.as_str(), "read_only" | "not_durable"), "{code}");
    let said = answer.text();
    assert!(said.contains("the disk is full") && said.contains("make room on it"), "{said}");
}

fn fill(client: &Client, told: &mut Told) {
    let mut keys = (0..).map(|number| format!("f{number}"));
    while told.put(client, &keys.next().expect("endless")) {}
}

fn in_memory(secret: &str, join: &[String]) -> Place {
    let mut place = Place::in_memory(secret);
    place.start(join);
    place
}

#[test]
fn disk_full_refuses_writes_goes_on_with_the_rest_and_recovers_by_itself() {
    let Some(disk) = Mount::tmpfs(DISK_BYTES) else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0xff; 3 << 20]).expect("written");
    let secret = secret();
    let mut place = Place::at(&secret, disk.path().join("data"));
    place.start(&[]);
    let mut told = Told::default();
    fill(place.client(), &mut told);
    told.check(place.client());
    assert!(
        place.client().status()["storage"]["problem"].as_str().is_some_and(|said| said.contains("the disk is full"))
    );

    let mut other = in_memory(&secret, &[place.quic()]);
    eventually("all that was acknowledged is at the one that has joined", || told.is_at(other.client()));
    assert_eq!(other.client().put("elsewhere", "1").status, 201);
    assert!(!told.put(place.client(), "again"), "there is still no room");
    told.check(place.client());

    std::fs::remove_file(ballast).expect("there");
    eventually("writing goes on", || told.put(place.client(), "after"));
    assert!(place.client().status()["storage"]["problem"].is_null());
    eventually("what the other wrote meanwhile comes", || place.client().value("elsewhere").is_some());
    eventually("what was written after that goes out", || told.is_at(other.client()));
    other.end();
    place.kill();
    place.start(&[]);
    told.check(place.client());
    assert_eq!(place.client().value("elsewhere").as_deref(), Some(&b"1"[..]));
}

#[test]
fn disk_full_at_the_start_is_told_and_what_is_there_can_be_read() {
    let Some(disk) = Mount::tmpfs(DISK_BYTES) else { return };
    let secret = secret();
    let mut place = Place::at(&secret, disk.path().join("data"));
    place.start(&[]);
    let mut told = Told::default();
    (0..20).for_each(|number| assert!(told.put(place.client(), &format!("k{number}"))));
    place.kill();
    let ballast = disk.fill("ballast", 0);
    match place.try_start(&[]) {
        Ok(()) => {
            told.check(place.client());
            std::fs::remove_file(ballast).expect("there");
            eventually("writing goes on", || told.put(place.client(), "after"));
        }
        Err(code) => {
            assert_eq!(code, Some(1), "{}", place.stderr());
            assert_says_where_and_what(&place.stderr(), place.data());
            std::fs::remove_file(ballast).expect("there");
            place.start(&[]);
        }
    }
    told.check(place.client());

    let ballast = disk.fill("ballast", 0);
    let mut fresh = Place::at(&secret, disk.path().join("fresh"));
    assert_eq!(fresh.try_start(&[]), Err(Some(1)));
    assert_says_where_and_what(&fresh.stderr(), fresh.data());
    std::fs::remove_file(ballast).expect("there");
    fresh.start(&[]);
}

fn assert_says_where_and_what(said: &str, data: &Path) {
    assert!(said.contains(data.to_str().expect("UTF-8")), "{said}");
    assert!(said.contains("make room on it") && !said.contains("panicked"), "{said}");
}

#[test]
fn disk_full_under_many_writers_is_told_to_each() {
    let Some(disk) = Mount::tmpfs(DISK_BYTES) else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0xff; 3 << 20]).expect("written");
    let mut place = Place::at(&secret(), disk.path().join("data"));
    place.start(&[]);
    let (client, full) = (place.client().clone(), AtomicBool::new(false));
    let write = |writer: usize| {
        let (mut told, mut after) = (Told::default(), 0);
        // Each goes on a little after the first refusal, while the node tries to write again.
        for number in 0.. {
            if !told.put(&client, &format!("w{writer}k{number}")) {
                full.store(true, Ordering::Relaxed);
            }
            after += usize::from(full.load(Ordering::Relaxed));
            if after > 30 {
                break;
            }
        }
        told
    };
    let mut all: Vec<Told> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                scope.spawn({
                    let write = &write;
                    move || write(writer)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
    });
    all.iter().for_each(|told| told.check(&client));
    std::fs::remove_file(ballast).expect("there");
    let last = all.last_mut().expect("some");
    eventually("writing goes on", || last.put(&client, "after"));
    place.kill();
    place.start(&[]);
    all.iter().for_each(|told| told.check(place.client()));
}
