//! Writers that own their keys, and what each was told. Not responsible for the nodes they write at.
//!
//! A value names its write, and its length; so a torn one, and one of another write, can be seen by itself.

use super::place::Client;
use crate::common::Answer;
use crate::dice::Dice;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const KEYS: usize = 12;
const LARGE_BYTES: usize = 100_000;

/// The bytes of the value that has this name: `WRITER-NUMBER-LENGTH`.
pub(crate) fn value(name: &str) -> Vec<u8> {
    let length = name.rsplit('-').next().and_then(|length| length.parse().ok()).expect("a name ends in a length");
    let mut bytes = format!("{name} ").into_bytes();
    bytes.resize(length, b'x');
    bytes
}

/// The name of a value that is whole.
pub(crate) fn name(bytes: &[u8]) -> String {
    let name = bytes.split(|&b| b == b' ').next().unwrap_or_default();
    let name = String::from_utf8(name.to_vec()).expect("a name");
    assert!(value(&name) == bytes, "the value {name} is torn: {} bytes", bytes.len());
    name
}

/// Which write each dot names, as clients were told, for ever and over all nodes.
#[derive(Default)]
pub(crate) struct Dots(Mutex<HashMap<String, (String, Option<String>)>>);

impl Dots {
    fn told(&self, answer: &Answer, key: &str, value: Option<&str>) {
        let dot = answer.header("tidings-dot").expect("a dot").to_owned();
        let write = (key.to_owned(), value.map(str::to_owned));
        let mut dots = self.0.lock().expect("no panic");
        let before = dots.entry(dot.clone()).or_insert_with(|| write.clone());
        assert_eq!(*before, write, "{dot} names two writes");
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// What a key shows at a node.
    pub(crate) fn read(&self, client: &Client, key: &str) -> Option<String> {
        let answer = client.get(&format!("/v1/kv/{key}"));
        self.seen(&answer, key)
    }

    /// Writes a value by its name.
    pub(crate) fn put(&self, client: &Client, key: &str, durability: &str, name: &str) -> Result<(), ureq::Error> {
        let path = format!("/v1/kv/{key}?durability={durability}");
        let answer = client.ask("PUT", &path, &value(name))?;
        assert!(matches!(answer.status, 201 | 204), "{key}: {} {}", answer.status, answer.text());
        self.told(&answer, key, Some(name));
        Ok(())
    }

    /// The cluster's own records have dots of the same replicas.
    pub(crate) fn read_sys(&self, client: &Client) {
        let list = client.get("/v1/sys").json();
        for item in list["items"].as_array().expect("a list") {
            let key = item["key"].as_str().expect("a key");
            let answer = client.get(&format!("/v1/sys/{key}"));
            if answer.status == 200 {
                self.told(&answer, &format!("sys: {key}"), Some(&String::from_utf8_lossy(&answer.body)));
            }
        }
    }

    fn seen(&self, answer: &Answer, key: &str) -> Option<String> {
        match answer.status {
            200 => {
                let name = name(&answer.body);
                self.told(answer, key, Some(&name));
                Some(name)
            }
            404 => None,
            status => panic!("{key}: {status} {}", answer.text()),
        }
    }
}

/// Writes at one node, and knows what each of its keys may show there after a kill: the last write that was acknowledged
/// as durable, or one after that.
pub(crate) struct Writer {
    name: String,
    writes: u64,
    dice: Dice,
    keys: BTreeMap<String, Vec<Option<String>>>,
    /// How many writes were acknowledged as durable.
    pub(crate) acknowledged: u64,
}

impl Writer {
    pub(crate) fn new(name: String, seed: u64) -> Self {
        let keys = (0..KEYS).map(|key| (format!("{name}/{key}"), vec![None])).collect();
        Self { name, writes: 0, dice: Dice::new(seed), keys, acknowledged: 0 }
    }

    /// Writes until it is told to stop, or the node does not answer any more: that is `false`.
    pub(crate) fn run(&mut self, client: &Client, dots: &Dots, stop: &AtomicBool) -> bool {
        while !stop.load(Ordering::Relaxed) {
            if self.step(client, dots).is_err() {
                return false;
            }
        }
        true
    }

    fn step(&mut self, client: &Client, dots: &Dots) -> Result<(), ureq::Error> {
        let key = format!("{}/{}", self.name, self.dice.below(KEYS));
        match self.dice.below(100) {
            0..15 => self.delete(&key, client, dots),
            15..25 => {
                let answer = client.ask("GET", &format!("/v1/kv/{key}"), b"")?;
                let shown = dots.seen(&answer, &key);
                assert_eq!(
                    Some(&shown),
                    self.keys[&key].last(),
                    "{key} shows what its only writer has not written last"
                );
                Ok(())
            }
            25..50 => self.put(&key, "eventual", client, dots),
            _ => self.put(&key, "immediate", client, dots),
        }
    }

    fn put(&mut self, key: &str, durability: &str, client: &Client, dots: &Dots) -> Result<(), ureq::Error> {
        self.writes += 1;
        let length = if self.dice.percent(8) { LARGE_BYTES } else { 40 + self.dice.below(200) };
        let name = format!("{}-{}-{length}", self.name, self.writes);
        let may = self.keys.get_mut(key).expect("its own");
        // From now on it may be there, whatever the answer is.
        may.push(Some(name.clone()));
        dots.put(client, key, durability, &name)?;
        if durability == "immediate" {
            *may = vec![Some(name)];
            self.acknowledged += 1;
        }
        Ok(())
    }

    fn delete(&mut self, key: &str, client: &Client, dots: &Dots) -> Result<(), ureq::Error> {
        let may = self.keys.get_mut(key).expect("its own");
        if may.last() == Some(&None) {
            return Ok(());
        }
        may.push(None);
        let answer = client.ask("DELETE", &format!("/v1/kv/{key}"), b"")?;
        assert_eq!(answer.status, 204, "{key}: {}", answer.text());
        dots.told(&answer, key, None);
        *may = vec![None];
        self.acknowledged += 1;
        Ok(())
    }

    /// What is there is what may be there, and is what counts from now on.
    pub(crate) fn check(&mut self, client: &Client, dots: &Dots) {
        dots.read_sys(client);
        for (key, may) in &mut self.keys {
            let shown = dots.read(client, key);
            assert!(may.contains(&shown), "{key} shows {shown:?} and not one of {may:?}");
            *may = vec![shown];
        }
    }
}
