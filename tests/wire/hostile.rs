//! Frames that no node sends, made by hand, each with what is wrong with it. They share no code with the codec.

use tidings::crdt::{CausalContext, ReplicaId};
use tidings::proto::message::Begin;

pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Part of what the decoder must say.
    pub(crate) says: &'static str,
}

/// Bytes, one part after the other.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    pub(crate) fn kind(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        let mut rest = number;
        loop {
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                self.0.push(low);
                return self;
            }
            self.0.push(low | 0x80);
        }
    }

    pub(crate) fn numbers(self, numbers: &[u64]) -> Self {
        numbers.iter().fold(self, |raw, number| raw.number(*number))
    }

    pub(crate) fn replica(self, id: u128) -> Self {
        self.bytes(&id.to_be_bytes())
    }

    pub(crate) fn clocks(self, clocks: &[(u128, u64)]) -> Self {
        let raw = self.number(clocks.len() as u64);
        clocks.iter().fold(raw, |raw, (id, counter)| raw.replica(*id).number(*counter))
    }
}

pub(crate) const CONTEXT: u8 = 2;
pub(crate) const PUSH: u8 = 3;
pub(crate) const GOODBYE: u8 = 4;
pub(crate) const PULL: u8 = 5;
pub(crate) const LIVE: u8 = 7;
pub(crate) const BEGIN: u8 = 6;
pub(crate) const SYMBOLS: u8 = 11;
pub(crate) const CHUNK: u8 = 9;

/// The context that chunks below are decoded with.
pub(crate) fn begin() -> Begin {
    let snapshot: CausalContext = [(ReplicaId::from(1), 9), (ReplicaId::from(2), 9)].into_iter().collect();
    Begin { snapshot, ..Begin::default() }
}

/// The beginning of a chunk: one context, the snapshot itself.
fn chunk() -> Raw {
    Raw::kind(CHUNK).numbers(&[1, 0, 0])
}

/// A column of one value.
fn one(value: u64) -> [u64; 2] {
    [2, value << 1]
}

/// A chunk up to its key lengths, for one entry in `usr` with a key of `key` bytes and `registers` registers.
fn entry(key: u64, registers: u64) -> Raw {
    chunk().number(1).numbers(&one(0)).numbers(&one(0)).numbers(&one(key)).numbers(&one(registers))
}

/// A chunk of one entry with one register, whose key and value are one byte each.
fn register(counter: u64, kind: u64, length: u64) -> Raw {
    let raw =
        entry(1, 1).number(1).replica(1).numbers(&one(0)).numbers(&one(counter)).numbers(&one(7)).numbers(&one(0));
    raw.numbers(&one(kind)).numbers(&one(length)).bytes(b"kv")
}

pub(crate) fn hostile() -> Vec<Hostile> {
    let mut all = Vec::new();
    let mut add = |name, raw: Raw, says| all.push(Hostile { name, bytes: raw.0, says });
    numbers_and_sets(&mut add);
    columns(&mut add);
    entries(&mut add);
    all
}

fn numbers_and_sets(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    let context = || Raw::kind(CONTEXT).bytes(&[0]);
    add("nothing at all", Raw::default(), "ends in the middle");
    add("an unknown kind", Raw::kind(200).bytes(&[0; 40]), "unknown kind");
    add("a flag of 2", Raw::kind(GOODBYE).bytes(&[2]), "small message");
    add("a context's flag of 2", Raw::kind(CONTEXT).bytes(&[2, 0]), "neither 0 nor 1");
    add("bytes after the end", context().number(0).bytes(&[0]), "1 bytes follow");
    add("a number in two bytes where one is enough", context().bytes(&[0x80, 0]), "more bytes than it needs");
    add("a number of 65 bits", context().bytes(&[0xff; 9]).bytes(&[2]), "more bytes than it needs");
    add("a number without end", context().bytes(&[0xff; 40]), "beyond 64 bits");
    add("2^60 replicas in a context", context().number(1 << 60).bytes(&[0; 40]), "replicas of a context: 1152921");
    add("one replica more than there is", context().number(3).bytes(&[1; 50]), "replicas of a context: 3");
    add("a counter of 2^63", context().clocks(&[(1, 1 << 63)]), "no replica can have reached");
    add("a counter of 2^56", context().clocks(&[(1, 1 << 56)]), "no replica can have reached");
    add("a counter of 0", context().clocks(&[(1, 0)]), "changes nothing");
    add("replicas out of order", context().clocks(&[(2, 1), (1, 1)]), "not in order");
    add("a replica twice", context().clocks(&[(1, 1), (1, 2)]), "not in order");
    let live = || Raw::kind(LIVE).bytes(&[1]);
    add("2^60 replicas in a set of dots", live().number(1 << 60).bytes(&[0; 40]), "replicas of a set of dots: 1152921");
    let of_one = |numbers: &[u64]| live().number(1).replica(1).numbers(numbers);
    add("2^60 intervals", of_one(&[1 << 60, 0, 0, 0]), "intervals of a set of dots: 1152921");
    add("no interval", of_one(&[0]).bytes(&[0; 20]), "without any");
    add("intervals that touch", of_one(&[2, 0, 4, 0, 2]), "intervals that touch");
    add("an interval that ends beyond 2^56", of_one(&[1, 0, 1 << 56]), "no replica can have reached");
    add("an interval whose end overflows", of_one(&[1, 1 << 55, u64::MAX]), "no replica can have reached");
    add("an interval whose start overflows", of_one(&[1, u64::MAX, 0]), "no replica can have reached");
    let unsorted = live().number(2).replica(2).numbers(&[1, 0, 0]).replica(1).numbers(&[1, 0, 0]);
    add("replicas of a set out of order", unsorted, "not in order");
    pull(add);
    let hello = Raw::kind(0).bytes(&[7; 32]).bytes(&[0, 253]).bytes(&u64::MAX.to_le_bytes()).bytes(&[0; 20]);
    add("a hello with a name as long as memory", hello, "small message");
    let digest = Raw::kind(1).bytes(&[0, 0, 251, 5, 0, 0]);
    add("a digest with a number in three bytes where one is enough", digest, "another form");
    add("a goodbye of 5,000 bytes", Raw::kind(GOODBYE).bytes(&[0; 5000]), "bytes of a small message: 5000");
}

fn pull(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    add("a pull that ends early", Raw::kind(PULL).bytes(&[0, 1]).bytes(&[0; 9]), "ends in the middle");
    add(
        "2^60 clocks in a pull",
        Raw::kind(PULL).bytes(&[0]).number(1 << 60).bytes(&[0; 20]),
        "clocks of a pull: 1152921",
    );
    let twice = |element: &[u8]| Raw::kind(PULL).bytes(&[0, 2]).bytes(element).bytes(element).bytes(&[0; 3]);
    add("a clock that is told twice", twice(&[7; 8]), "clocks that are not in their form");
    let far = Raw::kind(PULL).bytes(&[0, 1, 7, 0, 0, 0, 0, 0, 0, 0]).numbers(&[0, 1]).bytes(&[7, 0, 0, 0, 0, 0, 0, 0]);
    add("a clock of a bound that follows from the context", far, "clocks that are not in their form");
    add("contexts told in a third way", Raw::kind(PULL).bytes(&[0x30, 0, 0]), "an unknown way");
    add("a pull that has nothing, and says what", Raw::kind(PULL).bytes(&[4, 0, 0, 0]), "an empty part");
    add("2^60 symbols", Raw::kind(SYMBOLS).numbers(&[1, 1 << 60]).bytes(&[0; 40]), "symbols: 1152921");
    add("no symbols", Raw::kind(SYMBOLS).numbers(&[1, 0]), "no symbols");
    add("a beginning of six parts", Raw::kind(BEGIN).bytes(&[0, 0x20]), "unknown parts");
    add(
        "2^60 changes",
        Raw::kind(BEGIN).bytes(&[0, 1]).number(1 << 60).bytes(&[0; 20]),
        "changes of a context: 1152921",
    );
    add(
        "a change of a clock that no list has",
        Raw::kind(BEGIN).bytes(&[0, 1]).numbers(&[1, 1 << 33, 0]),
        "a place that no clock",
    );
    add("a bound with a counter of 0", Raw::kind(BEGIN).bytes(&[0, 8]).numbers(&[1, 0, 0]), "a counter out of range");
}

fn columns(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    let sections = |entries: u64, numbers: &[u64]| chunk().number(entries).numbers(numbers).bytes(&[0; 20]);
    add("a run of a column that is too long", sections(3, &[8, 0, 0, 0, 0]), "does not fit");
    add("a run of 2^62", sections(3, &[1 << 63 | 1, 0]), "does not fit");
    add("a run of none", sections(3, &[0]), "does not fit");
    add("a short run of equal differences", sections(3, &[3 << 1 | 1, 0]), "not all of them");
    add("a run of equal differences cut in two", sections(9, &[5 << 1 | 1, 0, 4 << 1 | 1, 0]), "not all of them");
    add("equal differences without their run", sections(4, &[8, 0, 0, 0, 0]), "not in a run");
    add("one of a run before it", sections(6, &[2 << 1, 1, 2, 4 << 1 | 1, 2]), "section that does not exist");
    add("one of a run after it", sections(6, &[5 << 1 | 1, 0, 2, 0]), "not in a run");
    add("two mixed runs beside each other", sections(2, &[2, 0, 2, 2]), "that are one");
    add("a column that is not there", chunk().number(1).bytes(&[2]), "ends in the middle");
}

fn entries(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    add("2^60 entries in 20 bytes", chunk().number(1 << 60).bytes(&[0; 7]), "entries: 1152921");
    let many = Raw::kind(CHUNK).numbers(&[1, 0, 0, (1 << 16) + 1]).bytes(&[0; 70_000]);
    add("more entries than a frame may have", many, "entries: 65537");
    add("2^60 contexts", Raw::kind(CHUNK).number(1 << 60).bytes(&[0; 20]), "contexts: 1152921");
    let many = Raw::kind(CHUNK).number((1 << 16) + 1).bytes(&[0; 140_000]);
    add("more contexts than entries can be", many, "contexts: 65537");
    add("a context without entries", chunk().number(0), "without entries");
    add("no context, and an entry", Raw::kind(CHUNK).numbers(&[0, 1]).numbers(&one(0)).numbers(&one(0)), "not there");
    let second_first = Raw::kind(CHUNK).numbers(&[2, 0, 0, 0, 0, 1]).numbers(&one(0)).numbers(&one(1));
    add("the second context first", second_first, "not next");
    let unchanged = Raw::kind(CHUNK).number(1).clocks(&[(1, 9)]);
    add("a change to what it is already", unchanged.bytes(&[0; 20]), "changes nothing");
    add("a key of no bytes", entry(0, 1).bytes(&[0; 20]), "an empty key");
    add("a key of 2^63 bytes", entry(1 << 62, 1).bytes(&[0; 20]), "bytes of a key");
    add("2^60 registers", entry(1, 1 << 60).bytes(&[0; 20]), "registers: 1152921");
    let overflow = chunk().number(2).numbers(&[4, 0, 0]).numbers(&[4, 0, 0]).numbers(&[4, 2, 0]);
    // Half of 2^64 and half of it again: a sum that would be 0.
    let overflow = overflow.numbers(&[4, u64::MAX, 0]).bytes(&[0; 20]);
    add("registers whose sum overflows", overflow, "registers: 18446744073709551615");
    add("2^60 replicas of dots", entry(1, 1).number(1 << 60).bytes(&[0; 20]), "replicas: 1152921");
    let two = entry(1, 1).number(2).replica(2).replica(1).bytes(&[0; 20]);
    add("replicas of dots out of order", two, "replicas that are not in order");
    let two = entry(1, 1).number(2).replica(1).replica(2).numbers(&one(0)).bytes(&[0; 20]);
    add("a replica without a dot", two, "a replica without a dot");
    let unlisted = entry(1, 1).number(1).replica(1).numbers(&one(1)).bytes(&[0; 20]);
    add("a dot of a replica that is not listed", unlisted, "not listed");
    let unlisted = entry(1, 2).number(1).replica(1).number(1 << 40).numbers(&one(0)).bytes(&[0; 20]);
    add("a sibling of a replica that is not listed", unlisted, "not listed");
    add("a dot with the counter 0", register(0, 1, 1), "no replica can have reached");
    add("a dot with the counter 2^62", register(1 << 62, 1, 1), "no replica can have reached");
    add("a dot outside its context", register(10, 1, 1), "contradict");
    add("a register of a third kind", register(3, 3, 1), "unknown kind");
    add("a value longer than the frame", register(3, 1, 2), "ends in the middle");
    add("a value as long as memory", register(3, 1, (u64::MAX >> 1) & !1), "ends in the middle");
    add("a value shorter than the frame", register(3, 1, 0), "1 bytes follow");
    let dots = |numbers: &[u64]| entry(1, 2).number(1).replica(1).number(0).numbers(&one(0)).numbers(numbers);
    let two = |raw: Raw| raw.numbers(&[4, 0, 0, 4, 0, 0, 4, 0, 0]).bytes(b"k");
    add("a dot twice in one entry", two(dots(&[4, 6, 0])), "contradict");
    add("the dots of an entry out of order", two(dots(&[4, 6, 1])), "contradict");
    let times = |numbers: &[u64]| dots(&[4, 6, 2]).numbers(numbers).bytes(&[0; 20]);
    add("a time of 49 bits", times(&[4, 1 << 49, 0]), "beyond 48 bits");
    add("a logical time of 17 bits", times(&[4, 0, 0, 4, 1 << 17, 0]), "beyond 16 bits");
    let delta = || Raw::kind(PUSH).clocks(&[]).clocks(&[]).clocks(&[]);
    add("a delta with 2^60 contexts", delta().bytes(&[0]).number(1 << 60).bytes(&[0; 20]), "contexts: 1152921");
    add("a delta whose flag is 7", delta().bytes(&[7, 0, 0]), "neither 0 nor 1");
}

/// The same large context, again and again, for two bytes each. Also the `Begin` that it is decoded with.
pub(crate) fn amplified(replicas: u128, times: u64) -> (Begin, Vec<u8>) {
    let snapshot: CausalContext = (0..replicas).map(|id| (ReplicaId::from(id), 1)).collect();
    let raw = Raw::kind(CHUNK).number(times).bytes(&vec![0; 2 * times as usize]).number(times);
    let raw = raw.numbers(&[times << 1 | 1, 0]).numbers(&[2, 0, (times - 1) << 1 | 1, 2]);
    let raw = raw.numbers(&[2, 2, (times - 1) << 1 | 1, 0]).numbers(&[times << 1 | 1, 0]).number(0);
    (Begin { snapshot, ..Begin::default() }, raw.bytes(&vec![b'k'; times as usize]).0)
}
