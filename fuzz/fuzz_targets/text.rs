//! What people and programs write as text, and tokens that clients carry: files of settings and variables, durations,
//! addresses, secrets, ids, lines of an import, sessions, cursors. Each is refused, or gives back itself.

#![no_main]

use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::str::FromStr;
use tidings::cli::fuzzing;
use tidings::crdt::AuditKey;
use tidings::{Config, Cursor, Dot, Record, ReplicaId, Secret, Session};
use tidings_fuzz::{Draw, with_length, within};

const NOW_MS: u64 = 1_700_000_000_000;
const CLUSTER: [u8; 16] = [7; 16];
const MEMORY: usize = 64 << 20;

tidings_fuzz::target!(seeds, run);

/// The first byte says what the rest is.
fn run(input: &[u8]) {
    within(MEMORY, || {
        let mut draw = Draw::new(input);
        match draw.byte() % 8 {
            0 => drop(fuzzing::settings(&text(draw.rest()))),
            1 => variable(&mut draw),
            2 => line(draw.rest()),
            3 => record(&mut draw),
            4 => session(draw.rest()),
            5 => cursor(draw.rest()),
            6 => duration(&text(draw.rest())),
            _ => words(&text(draw.rest())),
        }
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn variable(draw: &mut Draw<'_>) {
    let (name, value) = (text(draw.bytes()), text(draw.rest()));
    let _ = fuzzing::variable(&name, &value);
}

/// What is imported is exported, and imported as the same.
fn line(line: &[u8]) {
    if let Ok(record) = fuzzing::import(line, NOW_MS) {
        there_and_back(&record);
    }
}

fn record(draw: &mut Draw<'_>) {
    let expires = (draw.byte() % 2 == 0).then(|| u64::from(draw.number()));
    there_and_back(&Record { key: draw.bytes().to_vec().into(), value: draw.rest().to_vec().into(), expires });
}

fn there_and_back(record: &Record) {
    for line_bytes_max in [0, usize::MAX] {
        let line = fuzzing::export(record, line_bytes_max);
        let (end, line) = line.split_last().expect("a line");
        assert!(*end == b'\n' && !line.contains(&b'\n'), "one line");
        let back = fuzzing::import(line, NOW_MS).expect("what was exported");
        assert_eq!((&back.key, &back.value, back.expires), (&record.key, &record.value, record.expires));
    }
}

/// With the check that it should have, which nobody finds by chance; and as it is.
fn session(body: &[u8]) {
    let key = AuditKey::new(CLUSTER);
    let mut hasher = SipHasher13::new_with_key(&CLUSTER);
    hasher.write(body);
    hasher.write(&[5]);
    let token = [&[1], &(hasher.finish() as u32).to_be_bytes()[..], body].concat();
    let _ = Session::decode(body, key);
    if let Ok(session) = Session::decode(&token, key) {
        assert_eq!(session.encode(key), token, "it has one form");
    }
}

fn cursor(bytes: &[u8]) {
    if let Ok(cursor) = Cursor::decode(bytes) {
        assert_eq!(cursor.encode(), bytes);
    }
}

fn duration(text: &str) {
    if let Ok((read, written)) = fuzzing::duration(text) {
        let (again, same) = fuzzing::duration(&written).expect("what was written");
        assert_eq!(same, written);
        assert_eq!(again.as_millis(), read.as_millis(), "{text}: {written}");
    }
}

fn words(text: &str) {
    assert_same::<ReplicaId>(text);
    assert_same::<Dot>(text);
    if let Ok(secret) = Secret::from_str(text) {
        assert_eq!(*secret.to_hex(), text.trim().to_lowercase());
        let config = Config::builder().in_memory().secret(secret);
        let _ = config.listen(text).build();
    }
    let secret: Secret = "00".repeat(32).parse().expect("64 digits");
    let config = || Config::builder().in_memory().secret(secret.clone());
    let _ = (config().listen(text).build(), config().advertise(text).build(), config().join([text]).build());
    let _ = (config().name(text).build(), config().http(text).build());
}

fn assert_same<T: FromStr + PartialEq + ToString + std::fmt::Debug>(text: &str) {
    if let Ok(read) = T::from_str(text) {
        assert_eq!(T::from_str(&read.to_string()).ok().as_ref(), Some(&read));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let of = |kind: u8, rest: &[u8]| [&[kind], rest].concat();
    let example = include_str!("../../src/cli/example.toml");
    let in_force: String = example
        .lines()
        .filter(|l| l.starts_with('#') && !l.starts_with("# "))
        .map(|l| format!("{}\n", &l[1..]))
        .collect();
    let mut seeds = vec![of(0, example.as_bytes()), of(0, in_force.as_bytes())];
    let settings = in_force.lines().filter_map(|line| line.split_once('='));
    seeds.extend(settings.map(|(name, value)| {
        let name = format!("TIDINGS_{}", name.trim().to_uppercase());
        [&[1][..], &with_length(name.as_bytes()), value.trim().trim_matches('"').as_bytes()].concat()
    }));
    seeds.push([&[1][..], &with_length(b"VIEW"), b"10.0.0.1:1,10.0.0.2:2"].concat());
    let lines = [
        r#"{"key":"k","value":{"a":[1.5,null,"x y"]},"ttl":2.5}"#,
        r#"{"key_base64":"/w==","value_base64":"/g==","expires":77}"#,
        r#" { "key" : "k" , "text" : "\ud83d\ude00" } "#,
    ];
    seeds.extend(lines.map(|line| of(2, line.as_bytes())));
    seeds.push([&[3, 0, 9, 0][..], &with_length(b"key"), b"{\"a\": 1}"].concat());
    seeds.push(of(4, &[0, 0, 0, 0, 0, 0, 0, 1, 0xac, 2, 0, 0, 0, 0, 0, 0, 0, 2, 1]));
    // Counters that none is: longer than need be, none at all, too large, without an end.
    let counters: [&[u8]; 4] = [&[0x81, 0], &[0], &[0xff; 9], &[0x80]];
    seeds.extend(counters.map(|counter| [&[4, 0, 0, 0, 0, 0, 0, 0, 1], counter].concat()));
    seeds.push(of(5, &[1, 0, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0]));
    seeds.push(of(5, &[[2, 0, 0, 0, 0, 1].as_slice(), &[3; 16], &[1, 1]].concat()));
    seeds.extend(["250ms", "0.7s", "1.5m", "2h", "400d", "266666666665ms"].map(|text| of(6, text.as_bytes())));
    let id = ReplicaId::from(1 << 100);
    let words =
        [id.to_string(), Dot::new(id, 7).to_string(), "ab".repeat(32), "[::1]:7400".into(), "a.example:7400".into()];
    seeds.extend(words.map(|word| of(7, word.as_bytes())));
    seeds
}
