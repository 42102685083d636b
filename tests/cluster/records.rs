//! Records that look like those of a package archive, from a seed. Not responsible for what is done with them.
#![allow(dead_code, missing_docs, unreachable_pub)]

use crate::dice::Dice;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;

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
    let mut dice = Dice::new(seed);
    let mut lines = BTreeMap::new();
    while lines.len() < count {
        let name = format!("{}{}-{}", *dice.pick(&["lib", "python3-", "golang-", "ü-"]), lines.len(), dice.below(99));
        let value = value(&mut dice, &name);
        let key = format!("pkg/{name}");
        let line = format!("{{\"key\":\"{key}\",{value}}}\n");
        lines.insert(key, line);
    }
    lines
}

/// The field with the value: as a rule an object, but any JSON, and text that is none.
fn value(dice: &mut Dice, name: &str) -> String {
    match dice.below(20) {
        0 => "\"value\":null".to_owned(),
        1 => format!("\"value\":{}", *dice.pick(&["1.50", "-0.0", "1E400", "18446744073709551616", "6.02e23"])),
        2 => "\"text\":\"no JSON: naïve, 'plain'\\n\"".to_owned(),
        3 => "\"value\":\"a string\\u0001 with ✓\"".to_owned(),
        _ => format!("\"value\":{}", object(dice, name)),
    }
}

fn object(dice: &mut Dice, name: &str) -> String {
    let mut object = format!("{{\"Package\":\"{name}\"");
    let (major, minor, patch) = (dice.below(9), dice.below(40), dice.below(9));
    let _ = write!(
        object,
        ",\"Version\":\"1:{major}.{minor}.{patch}-5+deb12u1\",\"Installed-Size\":{}",
        dice.below(90_000)
    );
    let _ = write!(object, ",\"Score\":{}.{:02}0,\"Depends\":[", dice.below(9), dice.below(100));
    for i in 0..dice.below(4) {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(object, "{comma}{{\"name\":\"libc{i}\",\"at\":[\">=\",[2,{}],null,true]}}", dice.below(40));
    }
    object.push_str("],\"Description\":\"");
    for _ in 0..8 + dice.below(20) {
        object.push_str(*dice.pick::<&str>(WORDS));
        object.push(' ');
    }
    object.push_str("\",\"Tag\":{\"role\":{\"program\":{},\"\":[]}}}");
    object
}

/// The same for `Store::put_many`, under a prefix.
pub fn records(count: usize, seed: u64, prefix: &str) -> Vec<tidings::Record> {
    let mut dice = Dice::new(seed);
    let record = |i| tidings::Record {
        key: Bytes::from(format!("{prefix}/{i:06}")),
        value: Bytes::from(object(&mut dice, "package")),
        expires: None,
    };
    (0..count).map(record).collect()
}
