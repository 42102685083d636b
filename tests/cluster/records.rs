//! Records that look like those of a package archive, from a seed. Not responsible for what is done with them.
#![allow(dead_code, missing_docs, unreachable_pub)]

use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;

/// SplitMix64: the same numbers everywhere and for ever.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const WORDS: &[&str] = &[
    "library",
    "for",
    "the",
    "development",
    "of",
    "Grüße",
    "émulateur",
    "données",
    "日本語",
    "шрифты",
    "ελληνικά",
    "🦀",
    "tools",
    "files",
    "\\\"quoted\\\"",
    "C:\\\\path",
    "tab\\there",
    "line\\nbreak",
    "\\u0001",
    "fast",
    "runtime",
    "transitional",
    "—",
    "ﬁn",
    "e\u{301}",
    "and",
    "common",
];

/// So many lines of import, no key twice. Each is written as export writes it, so the lines in order are the export.
pub fn lines(count: usize, seed: u64) -> BTreeMap<String, String> {
    let mut seeded = Seeded(seed);
    let mut lines = BTreeMap::new();
    while lines.len() < count {
        let name =
            format!("{}{}-{}", seeded.one_of(&["lib", "python3-", "golang-", "ü-"]), lines.len(), seeded.below(99));
        let value = value(&mut seeded, &name);
        let key = format!("pkg/{name}");
        let line = format!("{{\"key\":\"{key}\",{value}}}\n");
        lines.insert(key, line);
    }
    lines
}

/// The field with the value: as a rule an object, but any JSON, and text that is none.
fn value(seeded: &mut Seeded, name: &str) -> String {
    match seeded.below(20) {
        0 => "\"value\":null".to_owned(),
        1 => format!("\"value\":{}", seeded.one_of(&["1.50", "-0.0", "1E400", "18446744073709551616", "6.02e23"])),
        2 => "\"text\":\"no JSON: naïve, 'plain'\\n\"".to_owned(),
        3 => "\"value\":\"a string\\u0001 with ✓\"".to_owned(),
        _ => format!("\"value\":{}", object(seeded, name)),
    }
}

fn object(seeded: &mut Seeded, name: &str) -> String {
    let mut object = format!("{{\"Package\":\"{name}\"");
    let (major, minor, patch) = (seeded.below(9), seeded.below(40), seeded.below(9));
    let _ = write!(
        object,
        ",\"Version\":\"1:{major}.{minor}.{patch}-5+deb12u1\",\"Installed-Size\":{}",
        seeded.below(90_000)
    );
    let _ = write!(object, ",\"Score\":{}.{:02}0,\"Depends\":[", seeded.below(9), seeded.below(100));
    for i in 0..seeded.below(4) {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(object, "{comma}{{\"name\":\"libc{i}\",\"at\":[\">=\",[2,{}],null,true]}}", seeded.below(40));
    }
    object.push_str("],\"Description\":\"");
    for _ in 0..8 + seeded.below(20) {
        object.push_str(seeded.one_of(WORDS));
        object.push(' ');
    }
    object.push_str("\",\"Tag\":{\"role\":{\"program\":{},\"\":[]}}}");
    object
}

/// The same for `Store::put_many`, under a prefix.
pub fn records(count: usize, seed: u64, prefix: &str) -> Vec<tidings::Record> {
    let mut seeded = Seeded(seed);
    let record = |i| tidings::Record {
        key: Bytes::from(format!("{prefix}/{i:06}")),
        value: Bytes::from(object(&mut seeded, "package")),
        expires: None,
    };
    (0..count).map(record).collect()
}
