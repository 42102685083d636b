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
pub(crate) const PIECE: u8 = 15;
pub(crate) const COMPRESSED: u8 = 16;
/// No kind from here on.
pub(crate) const KINDS_END: u8 = 17;

/// The context that chunks below are decoded with.
pub(crate) fn begin() -> Begin {
    let snapshot: CausalContext = [(ReplicaId::from(1), 9), (ReplicaId::from(2), 9)].into_iter().collect();
    Begin { snapshot, ..Begin::default() }
}

/// What columns of entries there are, beside those that there always are.
pub(crate) const BY_DOT: u64 = 1;
pub(crate) const KINDS: u64 = 2;
const LOGICAL: u64 = 4;
const REPLICAS: u64 = 8;
const SECTIONS: u64 = 16;
pub(crate) const SIZES: u64 = 32;
const CONTEXTS: u64 = 64;
const MIXED: u64 = 128;
const NAMES: u64 = 256;
const BEYOND: u64 = 512;

/// Differences as they are written: 0, −1, 1, −2 … as 0, 1, 2, 3 …
pub(crate) fn signed(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The beginning of a chunk of so many entries.
fn chunk(entries: u64, mask: u64) -> Raw {
    Raw::kind(CHUNK).numbers(&[entries, mask])
}

/// A chunk of one entry, with a key of one byte and a plain value, up to the end of its dot: whose, and by how much its
/// counter is beyond the last known, 9.
fn dot(place: u64, beyond: i64) -> Raw {
    chunk(1, 0).numbers(&[1, place, signed(beyond)])
}

/// The whole of it.
fn register(beyond: i64, length: u64) -> Raw {
    dot(0, beyond).numbers(&[signed(7), length]).bytes(b"kv")
}

pub(crate) fn hostile() -> Vec<Hostile> {
    let mut all = Vec::new();
    let mut add = |name, raw: Raw, says| all.push(Hostile { name, bytes: raw.0, says });
    numbers_and_sets(&mut add);
    contexts(&mut add);
    columns(&mut add);
    entries(&mut add);
    named_entries(&mut add);
    deltas_and_pieces(&mut add);
    all
}

fn numbers_and_sets(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    let context = || Raw::kind(CONTEXT).bytes(&[0]);
    add("nothing at all", Raw::default(), "ends in the middle");
    add("an unknown kind", Raw::kind(200).bytes(&[0; 40]), "unknown kind");
    add("a flag of 2", Raw::kind(GOODBYE).bytes(&[2]), "small message");
    add("a context's flag of 2", Raw::kind(CONTEXT).bytes(&[2, 0]), "neither 0 nor 1");
    add("bytes after the end", context().number(0).bytes(&[0, 0, 0]), "1 bytes follow");
    add("a number in two bytes where one is enough", context().bytes(&[0x80, 0]), "more bytes than it needs");
    add("a number of 65 bits", context().bytes(&[0xff; 9]).bytes(&[2]), "more bytes than it needs");
    add("a number without end", context().bytes(&[0xff; 40]), "beyond 64 bits");
    let fresh = || context().number(1);
    add("2^60 replicas in a context", fresh().number(1 << 60).bytes(&[0; 40]), "replicas of a context: 1152921");
    add("one replica more than there is", fresh().number(3).bytes(&[1; 50]), "replicas of a context: 3");
    add("a counter of 2^63", fresh().clocks(&[(1, 1 << 63)]), "no replica can have reached");
    add("a counter of 2^56", fresh().clocks(&[(1, 1 << 56)]), "no replica can have reached");
    add("a counter of 0", fresh().clocks(&[(1, 0)]), "no replica can have reached");
    add("replicas out of order", fresh().clocks(&[(2, 1), (1, 1)]), "not in order");
    add("a replica twice", fresh().clocks(&[(1, 1), (1, 2)]), "not in order");
    add("new replicas, but none", fresh().number(0).bytes(&[0; 20]), "changes nothing");
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
    let hello = Raw::kind(0).bytes(&[7; 32]).bytes(&[0, 1, b'a', 1, b'b', 251, 5, 0, 0, 0, 0, 0, 0]);
    add("a hello with a number in three bytes where one is enough", hello, "another form");
    add("a digest without its end", Raw::kind(1).bytes(&[0; 16]), "ends in the middle");
    add("a digest with a byte too many", Raw::kind(1).bytes(&[0; 18]), "1 bytes follow");
    add("a goodbye of 5,000 bytes", Raw::kind(GOODBYE).bytes(&[0; 5000]), "bytes of a small message: 5000");
}

fn contexts(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    let control = || Raw::kind(CONTEXT).bytes(&[0]);
    add("a change where nothing was said before", control().numbers(&[2, 0, 2]), "changes of a context: 1 ");
    add("2^60 changes", control().number(1 << 60).bytes(&[0; 40]), "changes of a context: 5764607");
    let first = control().number(1).clocks(&[(1, 9)]);
    add("a sum of something else", first.clone().bytes(&[0, 0]), "another context than was said");
    add("a context without a sum", first, "ends in the middle");
    // The contexts of entries are told as changes of 9 of 1 and 9 of 2.
    let one = |numbers: &[u64]| chunk(1, CONTEXTS).number(1).numbers(numbers);
    add("a change to what it is already", one(&[2, 0, 0]).bytes(&[0; 20]), "changes nothing");
    add("a change of a third replica of two", one(&[2, 2, 2]).bytes(&[0; 20]), "not there");
    add("a change of a replica beyond all", one(&[2, u64::MAX, 2]).bytes(&[0; 20]), "not there");
    add("more changes than replicas", one(&[6, 0, 2, 0, 2]).bytes(&[0; 20]), "changes of a context: 3");
    add("a change below 0", one(&[2, 0, signed(-10)]).bytes(&[0; 20]), "no replica can have reached");
    add("a change to 2^56", one(&[2, 0, signed((1 << 56) - 9)]).bytes(&[0; 20]), "no replica can have reached");
    let known = one(&[1]).clocks(&[(2, 10)]).bytes(&[0; 20]);
    add("a replica by its id that has a place", known, "where its place would do");
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
    let sections = |entries: u64, numbers: &[u64]| chunk(entries, SECTIONS).numbers(numbers).bytes(&[0; 20]);
    add("a run of a column that is too long", sections(4, &[10, 0, 0, 0, 0, 1]), "does not fit");
    add("a run of 2^62", sections(4, &[1 << 63 | 1, 0]), "does not fit");
    add("a run of none", sections(4, &[0]), "does not fit");
    add("a short run of equal numbers", sections(4, &[3 << 1 | 1, 0]), "not all of them");
    add("a run of equal numbers cut in two", sections(9, &[5 << 1 | 1, 0, 4 << 1 | 1, 0]), "not all of them");
    add("equal numbers without their run", sections(4, &[8, 0, 0, 0, 0]), "not in a run");
    add("one of a run before it", sections(6, &[2 << 1, 0, 1, 4 << 1 | 1, 1]), "not all of them");
    add("one of a run after it", sections(6, &[5 << 1 | 1, 0, 2, 0]), "not in a run");
    add("two mixed runs beside each other", sections(4, &[4, 0, 1, 4, 0, 1]), "that are one");
    add("a column that is not there", chunk(1, SECTIONS), "ends in the middle");
    add("a column of nothing but the usual", sections(2, &[0, 0]), "could be left out");
    add("a column of 2^10", chunk(1, 1 << 10).bytes(&[0; 20]), "does not exist");
    add("sizes that are all 1", chunk(2, SIZES).numbers(&[1, 1]).bytes(&[0; 20]), "could be left out");
    add("kinds that are all values", chunk(1, KINDS).numbers(&[1, 0, 0, 0, 1]).bytes(&[0; 20]), "could be left out");
    add("logical times of 0", chunk(1, LOGICAL).numbers(&[1, 0, 0, 0, 0]).bytes(&[0; 20]), "could be left out");
    add(
        "several replicas that are one",
        chunk(2, REPLICAS).numbers(&[1, 1, 0, 0]).bytes(&[0; 20]),
        "could be left out",
    );
    add("further replicas, but none", chunk(1, BEYOND).numbers(&[1, 0]).bytes(&[0; 20]), "could be left out");
    add("a context that is the usual one", chunk(1, CONTEXTS).numbers(&[1, 0, 0]).bytes(&[0; 20]), "could be left out");
}

fn entries(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    add("2^60 entries in 20 bytes", chunk(1 << 60, 0).bytes(&[0; 7]), "entries: 1152921");
    add("more entries than a frame may have", chunk((1 << 16) + 1, 0).bytes(&[0; 70_000]), "entries: 65537");
    add("no entries, and then something", chunk(0, 0), "1 bytes follow");
    let contexts = |entries, count| chunk(entries, CONTEXTS).number(count);
    add("2^60 contexts", contexts(1, 1 << 60).bytes(&[0; 20]), "contexts: 1152921");
    add("more contexts than entries can be", contexts(1, (1 << 16) + 1).bytes(&[0; 140_000]), "contexts: 65537");
    add("no context, and an entry", contexts(1, 0).bytes(&[0; 20]), "entries without one");
    let two = |numbers: &[u64]| contexts(2, 2).numbers(&[0, 0, 2, 0, 2, 0]).numbers(numbers).bytes(&[0; 20]);
    add("a context without entries", two(&[0, 0]), "without entries");
    add("the second context first", two(&[1, 0]), "not next");
    add("a third section", chunk(1, SECTIONS).number(2).bytes(&[0; 9]), "section that does not exist");
    let key = |length| chunk(1, 0).number(length).bytes(&[0; 20]);
    add("a key of no bytes", key(0), "an empty key");
    add("a key of 2^62 bytes", key(1 << 62), "bytes of a key");
    let sizes = |numbers: &[u64]| chunk(numbers.len() as u64, SIZES).numbers(numbers).numbers(&[1; 2]).bytes(&[0; 20]);
    add("2^60 registers", sizes(&[1 << 60]), "registers: 1152921");
    add("registers whose sum overflows", sizes(&[1 << 63, 1 << 63]), "registers: 18446744073709551615");
    let beyond = || chunk(1, BEYOND).number(1);
    add("2^60 replicas of dots", beyond().number(1 << 60).bytes(&[0; 20]), "replicas: 1152921");
    add("replicas of dots out of order", beyond().number(2).replica(4).replica(3).bytes(&[0; 20]), "not in order");
    add("a replica of a dot that has a place", beyond().number(1).replica(2).bytes(&[0; 20]), "its place would do");
    let unused = beyond().number(2).replica(3).replica(4).numbers(&[2, 2]).bytes(&[0; 20]);
    add("a replica without a dot", unused, "a replica without a dot");
    add("a dot of a replica that is not listed", dot(2, 0).bytes(&[0; 20]), "not listed");
    let sibling = chunk(1, SIZES).numbers(&[2, 1, 1 << 40]).bytes(&[0; 20]);
    add("a sibling of a replica that is not listed", sibling, "not listed");
    add("a dot with the counter 0", register(-9, 1), "no replica can have reached");
    add("a dot with the counter 2^62", register(1 << 62, 1), "no replica can have reached");
    add("a dot outside its context", register(1, 1), "contradict");
    add("a value longer than the frame", register(0, 2), "ends in the middle");
    add("a value as long as memory", register(0, u64::MAX), "ends in the middle");
    add("a value shorter than the frame", register(0, 0), "1 bytes follow");
    let kind = chunk(1, KINDS).numbers(&[1, 0, 0, 0, 5]).bytes(&[0; 20]);
    add("a register of a sixth kind", kind, "unknown kind");
    let dots = |numbers: &[u64]| chunk(1, SIZES | KINDS).numbers(&[2, 1, 0, 0]).numbers(numbers);
    let two = |raw: Raw| raw.numbers(&[0, 0, 0, 0]).bytes(b"k");
    add("a dot twice in one entry", two(dots(&[signed(-6), 0])), "contradict");
    add("the dots of an entry out of order", two(dots(&[signed(-6), signed(-1)])), "contradict");
    add("a time of 49 bits", dot(0, 0).numbers(&[1 << 49]).bytes(&[0; 20]), "beyond 48 bits");
    let logical = chunk(1, LOGICAL).numbers(&[1, 0, 0, 0, 1 << 17]).bytes(&[0; 20]);
    add("a logical time of 17 bits", logical, "beyond 16 bits");
}

/// Entries without a key, by a dot that lived under it.
fn named_entries(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    let named = |numbers: &[u64]| chunk(1, BY_DOT).numbers(numbers).bytes(&[0; 20]);
    add("a name of a replica that is not listed", named(&[2, 0]), "not listed");
    add("a name with the counter 0", named(&[0, signed(-9)]), "no replica can have reached");
    let beyond = chunk(1, BY_DOT).numbers(&[0, signed(1), 0, 0, 0, 1]).bytes(b"v");
    add("a name outside the context of its entry", beyond, "contradict");
    let mixed = |mask, numbers: &[u64]| chunk(2, mask).numbers(numbers).bytes(&[0; 20]);
    add("mixed names that are all dots", mixed(BY_DOT | MIXED, &[1, 1]), "could be left out");
    add("mixed names that are all keys", mixed(BY_DOT | MIXED, &[0, 0]), "could be left out");
    add("mixed names without any dot", mixed(MIXED, &[0, 1]), "could be left out");
    add("a third way of naming", mixed(BY_DOT | MIXED, &[0, 2]), "neither key nor dot");
    add("names of several replicas that are one", mixed(BY_DOT | NAMES, &[0, 0]), "could be left out");
    add(
        "names of several replicas without names",
        chunk(2, NAMES).numbers(&[1, 1]).bytes(&[0; 9]),
        "could be left out",
    );
    let many = chunk(60_000, BY_DOT).bytes(&[0; 60_000]);
    add("more names than bytes are left", many, "ends in the middle");
}

fn deltas_and_pieces(add: &mut impl FnMut(&'static str, Raw, &'static str)) {
    // The snapshot, and the sum of nothing.
    let push = |flags: u8| Raw::kind(PUSH).bytes(&[flags]);
    let delta = || push(0).numbers(&[0]).bytes(&[0, 0]);
    add("a delta with 2^60 contexts", delta().numbers(&[1, CONTEXTS, 1 << 60]).bytes(&[0; 20]), "contexts: 1152921");
    add("a delta with a fourth flag", push(8).bytes(&[0; 20]), "a flag of a delta");
    add("a delta whose base is what was said", push(1).bytes(&[0; 20]), "changes nothing");
    add("a delta whose bound is what was said", push(2).bytes(&[0; 20]), "changes nothing");
    add("a delta after another context", push(0).number(0).bytes(&[1, 0, 0]), "another context than was said");
    let piece = |total, offset, bytes: &[u8]| Raw::kind(PIECE).replica(1).numbers(&[1, total, offset]).bytes(bytes);
    add("a piece of nothing", piece(10, 5, b""), "none of its value");
    add("a piece beyond its value", piece(10, 8, b"abc"), "none of its value");
    add("a piece beyond all numbers", piece(10, u64::MAX, b"abc"), "none of its value");
    add("a piece that is too long", piece(1 << 20, 0, &[7; (32 << 10) + 1]), "none of its value");
    add("a piece of a value as long as memory", piece(u64::MAX, 0, b"abc"), "bytes of a value: 1844674");
    let compressed = |claimed| Raw::kind(COMPRESSED).number(claimed);
    add(
        "a compressed frame of 2^60 bytes",
        compressed(1 << 60).bytes(&[0; 20]),
        "bytes of a compressed frame: 1152921",
    );
    add("a compressed frame beyond its data", compressed(30_000).bytes(&[0; 20]), "bytes of a compressed frame: 30000");
    add("a compressed frame of few bytes", compressed(199).bytes(&[0; 20]), "too short to be one");
    add("a compressed frame of no data", compressed(200), "bytes of a compressed frame: 200 ");
    add(
        "a compressed frame of anything",
        compressed(300).bytes(b"this is not what it says it is"),
        "a compressed frame",
    );
}

/// The same large context, again and again, for two bytes each. Also the `Begin` that it is decoded with.
pub(crate) fn amplified(replicas: u128, times: u64) -> (Begin, Vec<u8>) {
    let snapshot: CausalContext = (0..replicas).map(|id| (ReplicaId::from(id), 1)).collect();
    let raw = chunk(times, SIZES | CONTEXTS).number(times).bytes(&vec![0; 2 * times as usize]);
    let places = (0..times).fold(Raw::default(), |raw, place| raw.number(place));
    // One entry under each, with a key of one byte and no registers.
    let raw = match times {
        0..4 => raw.bytes(&places.0).numbers(&vec![0; times as usize]).numbers(&vec![1; times as usize]),
        _ => raw.number(times << 1).bytes(&places.0).numbers(&[times << 1 | 1, 0]).numbers(&[times << 1 | 1, 1]),
    };
    (Begin { snapshot, ..Begin::default() }, raw.bytes(&vec![b'k'; times as usize]).0)
}
