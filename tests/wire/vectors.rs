//! `proto-docs/vectors`: messages in words, and their bytes. Written by this file, read by it, and by whoever writes
//! another implementation.

use crate::hostile::hostile;
use crate::worlds::NOW;
use bytes::Bytes;
use serde_json::{Value, json};
use std::path::PathBuf;
use tidings::crdt::{
    Audit, CausalContext, DotSet, Entries, EntriesBuilder, Key, OrMap, ReplicaId, Retention, Section, Symbol,
};
use tidings::proto::assembly::{Assembly, Pieces};
use tidings::proto::codec::{decode, encode};
use tidings::proto::membership::{Contact, Descriptor};
use tidings::proto::message::{
    Ask, Begin, Beginning, Changes, Digest, Hello, Message, Part, Piece, Pull, Shuffle, Symbols, Told,
};
use tidings::{Delta, Dot};

struct Vector {
    name: &'static str,
    about: &'static str,
    /// What chunks and `Done` are decoded with.
    begin: Option<Begin>,
    said: Said,
}

enum Said {
    Message(Message),
    Delta(Delta),
}

const ANNA: u128 = 0x0a0a_0a0a_0a0a_0a0a_0a0a_0a0a_0a0a_0a0a;
const BORIS: u128 = 0x0b0b_0b0b_0b0b_0b0b_0b0b_0b0b_0b0b_0b0b;

/// Compares all vectors with the code, or writes them if the environment asks for that.
pub(crate) fn check() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto-docs/vectors");
    let files = files();
    if std::env::var_os("TIDINGS_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder for the vectors");
        files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).expect("a vector is written"));
    }
    for (name, text) in &files {
        let golden = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(golden, *text, "{name} differs: a change of the wire format needs a new version");
    }
    let there = std::fs::read_dir(&folder).expect("the vectors").count();
    assert_eq!(there, files.len(), "a file among the vectors that is none of them");
    for vector in vectors() {
        read_back(&folder, &vector);
    }
}

/// From the file alone: its bytes decode to what it says in words, and encode to themselves.
fn read_back(folder: &std::path::Path, vector: &Vector) {
    let text = std::fs::read_to_string(folder.join(format!("{}.json", vector.name))).expect("a vector");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let bytes = bytes_of(&golden["bytes"]);
    let begin = golden.get("begin").map(|begin| match decode(&bytes_of(&begin["bytes"]), None) {
        Ok(Message::Begin(said)) => begin_of(&said),
        other => panic!("{}: {other:?} is no Begin", vector.name),
    });
    let said = match &vector.said {
        Said::Message(_) => Said::Message(decode(&bytes, begin.as_ref()).expect(vector.name)),
        Said::Delta(_) => Said::Delta(Delta::decode(&bytes).expect(vector.name)),
    };
    assert_eq!(said.in_words(), golden["says"], "{}", vector.name);
    assert_eq!(said.encoded(begin.as_ref()), bytes, "{}", vector.name);
}

fn files() -> Vec<(String, String)> {
    let mut files: Vec<_> = vectors().iter().map(|vector| (format!("{}.json", vector.name), vector.text())).collect();
    let begin = crate::hostile::begin();
    let refused: Vec<Value> = hostile()
        .into_iter()
        .filter(|case| case.bytes.len() <= 200)
        .map(|case| json!({ "name": case.name, "bytes": hex(&case.bytes) }))
        .collect();
    let about = "Each must be refused. Chunks among them belong to the pull that began with this.";
    files.push((
        "refused.json".to_owned(),
        pretty(&json!({ "about": about, "begin": begin_in_words(&begin), "refused": refused })),
    ));
    files
}

impl Vector {
    fn text(&self) -> String {
        let mut vector = json!({
            "name": self.name,
            "about": self.about,
            "says": self.said.in_words(),
            "bytes": hex(&self.said.encoded(self.begin.as_ref())),
        });
        if let Some(begin) = &self.begin {
            vector["begin"] = begin_in_words(begin);
        }
        pretty(&vector)
    }
}

impl Said {
    fn encoded(&self, begun: Option<&Begin>) -> Bytes {
        match self {
            Self::Message(message) => encode(message, begun),
            Self::Delta(delta) => delta.encode(),
        }
    }

    fn in_words(&self) -> Value {
        match self {
            Self::Message(message) => message_in_words(message),
            Self::Delta(delta) => delta_in_words(delta),
        }
    }
}

// ---- what is said -------------------------------------------------------------------------------------------------

fn vectors() -> Vec<Vector> {
    let plain = |name, about, message| Vector { name, about, begin: None, said: Said::Message(message) };
    let begun = |name, about, message| Vector { name, about, begin: Some(begin()), said: Said::Message(message) };
    let audit = Audit { context: 0x0123_4567_89ab_cdef, state: 300, pending: 0 };
    vec![
        plain("hello", "The first message on the control channel.", Message::Hello(hello(audit))),
        plain("digest", "Sums, to be answered by the peer's own.", Message::Digest(Digest { audit, reply: true })),
        plain("surplus", "The link is not kept.", Message::Surplus),
        plain("shuffle", "Descriptors, the sender's own first; as many are wanted back.", Message::Shuffle(shuffle())),
        plain("prune", "Do not forward to me.", Message::Prune),
        plain("graft", "Forward to me.", Message::Graft),
        plain("goodbye", "The node leaves for good.", Message::Goodbye { left: true }),
        plain(
            "context",
            "A context as the first on its channel: between the first two bytes and the last two, which are a sum of it.",
            Message::Context { context: context(&[(ANNA, 1), (BORIS, 300)]), replace: false },
        ),
        plain(
            "context_empty",
            "The empty context, and replacing.",
            Message::Context { context: context(&[]), replace: true },
        ),
        plain("pull", "What the receiver has.", Message::Pull(pull())),
        plain("pull_coded", "The same of many replicas.", Message::Pull(coded_pull())),
        plain(
            "pull_whole",
            "The contexts themselves; to be named by key; a value known in part.",
            Message::Pull(whole_pull()),
        ),
        plain("begin", "What the pull will bring, to who told nothing.", Message::Begin(Beginning::whole(&begin()))),
        plain("begin_changes", "By what differs from what was told.", Message::Begin(beginning())),
        plain("symbols", "Two symbols of a set of 300.", Message::Symbols(symbols())),
        plain("more", "20 symbols in all; some 13 seem to differ.", Message::More { symbols: 20, differences: 13 }),
        plain(
            "contexts",
            "What was told coded, as it is.",
            Message::Contexts { context: context(&[(ANNA, 5)]), bound: context(&[(BORIS, 300)]) },
        ),
        plain("decoded", "The catch-up is complete.", Message::Decoded),
        plain(
            "live",
            "A set of dots: everything after the first two bytes.",
            Message::Live(Part { part: dots(), last: false }),
        ),
        begun("chunk", "Plain entries, one context: that of the snapshot.", Message::Chunk(plain_entries())),
        begun("chunk_runs", "Ten writes in one millisecond: columns that are runs.", Message::Chunk(run_entries())),
        Vector {
            name: "chunk_mixed",
            about: "Siblings, a tombstone, deadlines, both sections; a write since the snapshot; a pending context.",
            begin: Some(Begin { snapshot: context(&[(ANNA, 2), (BORIS, 4)]), ..Begin::default() }),
            said: Said::Message(Message::Chunk(mixed_entries())),
        },
        Vector {
            name: "chunk_named",
            about: "A kettle overwritten and a lamp deleted, each named by the write that it replaces: 1 and 2 of 0a…0a.",
            begin: Some(Begin { snapshot: context(&[(ANNA, 4), (BORIS, 1)]), ..Begin::default() }),
            said: Said::Message(Message::Chunk(named_entries())),
        },
        plain("piece", "A piece of a large value; the entry that has it comes later.", Message::Piece(piece())),
        begun("chunk_given", "The entry of a value that was given in pieces.", Message::Chunk(given_entries())),
        begun(
            "done",
            "The bound has grown since the beginning.",
            Message::Done { bound: context(&[(ANNA, 2), (BORIS, 4)]) },
        ),
        plain("push", "One fresh write, and a base that knows more than the sender.", Message::Push(fresh_delta())),
        Vector { name: "delta", about: "The same as a library delta.", begin: None, said: Said::Delta(fresh_delta()) },
        Vector {
            name: "delta_catch_up",
            about: "After a truncation: the bound is 3 of 0a…0a, and of the base the dot 1 is alive.",
            begin: None,
            said: Said::Delta(late_delta()),
        },
        Vector {
            name: "delta_empty",
            about: "Nothing, to somebody who knows nothing.",
            begin: None,
            said: Said::Delta(Delta::default()),
        },
    ]
}

/// To who has told nothing.
fn begin_of(said: &Beginning) -> Begin {
    let all = |changes: &Changes| changes.new.iter().copied().collect();
    Begin { snapshot: all(&said.snapshot), bound: all(&said.bound), catch_up: said.catch_up }
}

fn context(clocks: &[(u128, u64)]) -> CausalContext {
    clocks.iter().map(|&(id, counter)| (ReplicaId::from(id), counter)).collect()
}

fn hello(audit: Audit) -> Hello {
    let (name, address) = ("anna".to_owned(), "192.0.2.1:7400".to_owned());
    Hello {
        cluster: [0xcc; 16],
        replica: ReplicaId::from(ANNA),
        boot: 1_000,
        name,
        address,
        audit,
        bound: 7,
        ask: Ask::Active,
        features: 1,
    }
}

fn shuffle() -> Shuffle {
    let descriptor = |id: u128, host: u8, age| Descriptor {
        peer: Contact { id: ReplicaId::from(id), address: format!("192.0.2.{host}:7400") },
        age,
    };
    Shuffle { descriptors: vec![descriptor(ANNA, 1, 0), descriptor(0xb0, 2, 3)], reply: true }
}

fn pull() -> Pull {
    let told = Told::Clocks { context: vec![5, 1 << 60], bound: vec![3, 1 << 50, 1 << 51] };
    Pull { told, have: dots(), catch_up: false, by_key: false, partial: Vec::new() }
}

fn coded_pull() -> Pull {
    Pull { told: Told::Coded { check: 0x0123_4567_89ab_cdef, symbols: symbols() }, catch_up: true, ..Pull::default() }
}

fn whole_pull() -> Pull {
    let told = Told::Whole { context: context(&[(ANNA, 5)]), bound: context(&[]) };
    let partial = vec![(Dot::new(ReplicaId::from(ANNA), 7), 32_768)];
    Pull { told, by_key: true, partial, ..Pull::default() }
}

fn symbols() -> Symbols {
    let symbol = |sum, check, count| Symbol { sum, check, count };
    Symbols { total: 300, symbols: vec![symbol(0x0102_0304_0506_0708, 0x0a0b_0c0d, 44), symbol(0, 1, 255)] }
}

fn beginning() -> Beginning {
    Beginning {
        catch_up: true,
        snapshot: Changes { clocks: vec![(0, 7), (3, -2), (4, 0)], new: vec![(ReplicaId::from(BORIS), 3)] },
        bound: Changes { clocks: vec![(1, 300)], new: vec![(ReplicaId::from(ANNA), 2)] },
        bound_in_snapshot: vec![(0, 2), (2, 9)],
    }
}

fn begin() -> Begin {
    Begin { snapshot: context(&[(ANNA, 12), (BORIS, 3)]), bound: context(&[(ANNA, 2)]), catch_up: false }
}

fn dots() -> DotSet {
    [(ANNA, 7), (ANNA, 8), (ANNA, 9), (ANNA, 200), (BORIS, 1)]
        .into_iter()
        .map(|(id, counter)| Dot::new(ReplicaId::from(id), counter))
        .collect()
}

fn new_map(id: u128) -> OrMap {
    OrMap::new(ReplicaId::from(id))
}

/// All that the map has.
fn entries_of(map: &OrMap) -> Entries {
    let mut keys = map.keys_since(&CausalContext::new(), &DotSet::new());
    let mut builder = EntriesBuilder::default();
    while let Some(key) = keys.pop() {
        builder.push(map, key);
    }
    builder.finish()
}

/// A map that has seen the snapshot of [`begin`].
fn map_at_snapshot() -> OrMap {
    let mut map = new_map(ANNA);
    for _ in 0..12 {
        map.put(b"x", b"", NOW);
    }
    let mut boris = new_map(BORIS);
    for _ in 0..3 {
        boris.put(b"x", b"", NOW);
    }
    let _ = map.merge(boris.delta_since(&CausalContext::new()));
    map.put(b"x", b"", NOW);
    map
}

fn plain_entries() -> Entries {
    let mut map = map_at_snapshot();
    map.put(b"kettle", b"on", NOW + 1);
    map.put(b"lamp", b"off", NOW + 70_000);
    let mut builder = EntriesBuilder::default();
    for key in ["kettle", "lamp", "unheard of"] {
        builder.push(&map, Key::from(key));
    }
    builder.finish()
}

/// What a receiver of the named entries has.
fn map_at_base() -> OrMap {
    let mut map = new_map(ANNA);
    map.put(b"the kettle", b"on", NOW);
    map.put(b"the lamp in the hall", b"lit", NOW);
    map.incorporate(&context(&[(BORIS, 1)]));
    map
}

/// As a receiver knows them who has the base, and the pieces.
fn whole(entries: Entries) -> Entries {
    let mut assembly = Assembly::default();
    let bytes = Bytes::from_static(FILM);
    Pieces::new(Dot::new(ReplicaId::from(ANNA), 14), bytes, 0)
        .for_each(|piece| assembly.take(&piece).expect("it fits"));
    map_at_base().resolve(assembly.complete(entries).expect("its pieces are here")).expect("its names are here")
}

fn named_entries() -> Entries {
    let mut map = map_at_base();
    let base = map.context().clone();
    map.put(b"the kettle", b"off", NOW + 1);
    map.delete(b"the lamp in the hall", NOW + 2);
    let mut builder = EntriesBuilder::default().naming(base);
    ["the kettle", "the lamp in the hall"].into_iter().for_each(|key| builder.push(&map, Key::from(key)));
    builder.finish()
}

fn piece() -> Piece {
    Piece {
        dot: Dot::new(ReplicaId::from(ANNA), 7),
        total: 40_000,
        offset: 32_768,
        bytes: Bytes::from_static(b"and so on"),
    }
}

/// Short enough to be read here.
const FILM: &[u8] = b"as long as you like";

fn given_entries() -> Entries {
    let mut map = map_at_snapshot();
    map.put(b"film", FILM, NOW + 1);
    let mut builder = EntriesBuilder::default().without_values_beyond(9);
    builder.push(&map, Key::from("film"));
    builder.finish()
}

fn run_entries() -> Entries {
    let mut map = new_map(ANNA);
    for i in 0..10_u8 {
        map.put(&[b'k', i], [b'v', i], NOW);
    }
    entries_of(&map)
}

fn mixed_entries() -> Entries {
    let (mut anna, mut boris) = (new_map(ANNA), new_map(BORIS));
    anna.put(b"kettle", b"on", NOW);
    anna.put_until(b"lamp", b"lit", NOW + 60_000, NOW);
    boris.put(b"kettle", b"boiling", NOW + 1);
    boris.put(b"door", b"open", NOW + 2);
    boris.delete(b"door", NOW + 3);
    boris.put(Key::sys(b"members/0b"), b"{}", NOW + 4);
    let _ = anna.merge(boris.delta_since(anna.context()));
    // Of a third replica, one entry has arrived and the end of the sync has not.
    let mut third = new_map(ANNA ^ BORIS);
    third.put(b"window", b"shut", NOW + 5);
    let _ = anna.join_entries(&entries_of(&third), |_| ());
    anna.put_until(b"stove", b"hot", u64::MAX, NOW + 6);
    entries_of(&anna)
}

fn fresh_delta() -> Delta {
    let mut anna = new_map(ANNA);
    anna.put(b"kettle", b"on", NOW);
    anna.put(b"kettle", b"off", NOW + 1);
    anna.delta_since(&context(&[(ANNA, 1), (BORIS, 4)]))
}

fn late_delta() -> Delta {
    let mut anna = new_map(ANNA);
    anna.put(b"lamp", b"lit", NOW);
    anna.put(b"kettle", b"on", NOW);
    anna.delete(b"kettle", NOW);
    anna.truncate(Retention { keep_ms: 0, count_max: 0, spare_ms: 0 }, NOW + 1);
    anna.delta_since(&context(&[(ANNA, 2)]))
}

// ---- in words -----------------------------------------------------------------------------------------------------

fn message_in_words(message: &Message) -> Value {
    let mut says = match message {
        Message::Hello(hello) => json!({
            "cluster": hex(&hello.cluster), "replica": hello.replica.to_string(), "boot": hello.boot,
            "name": hello.name, "address": hello.address, "audit": audit_in_words(&hello.audit), "bound": hello.bound,
            "ask": format!("{:?}", hello.ask), "features": hello.features,
        }),
        Message::Digest(digest) => json!({ "audit": audit_in_words(&digest.audit), "reply": digest.reply }),
        Message::Shuffle(Shuffle { descriptors, reply }) => json!({
            "reply": reply,
            "descriptors": descriptors.iter().map(|descriptor| json!({
                "id": descriptor.peer.id.to_string(), "address": descriptor.peer.address, "age": descriptor.age,
            })).collect::<Vec<_>>(),
        }),
        Message::Surplus | Message::Prune | Message::Graft => json!({}),
        Message::Goodbye { left } => json!({ "left": left }),
        Message::Context { context, replace } => json!({ "replace": replace, "context": clocks(context) }),
        Message::Push(delta) => delta_in_words(delta),
        Message::Pull(pull) => json!({
            "catch_up": pull.catch_up, "by_key": pull.by_key, "have": intervals(&pull.have),
            "partial": pull.partial.iter().map(|(dot, bytes)| json!([dot.to_string(), bytes])).collect::<Vec<_>>(),
            "told": told_in_words(&pull.told),
        }),
        Message::Begin(beginning) => json!({
            "catch_up": beginning.catch_up,
            "snapshot": changes_in_words(&beginning.snapshot), "bound": changes_in_words(&beginning.bound),
            "bound_in_snapshot": beginning.bound_in_snapshot,
        }),
        Message::Symbols(symbols) => symbols_in_words(symbols),
        Message::More { symbols, differences } => json!({ "symbols": symbols, "differences": differences }),
        Message::Contexts { context, bound } => json!({ "context": clocks(context), "bound": clocks(bound) }),
        Message::Decoded => json!({}),
        Message::Live(Part { part, last }) => json!({ "last": last, "dots": intervals(part) }),
        Message::Chunk(entries) => entries_in_words(entries),
        Message::Piece(piece) => json!({
            "dot": piece.dot.to_string(), "total": piece.total, "offset": piece.offset,
            "piece": piece.bytes.escape_ascii().to_string(),
        }),
        Message::Done { bound } => json!({ "bound": clocks(bound) }),
    };
    says["kind"] = json!(message.name());
    says
}

fn begin_in_words(begin: &Begin) -> Value {
    let said = Message::Begin(Beginning::whole(begin));
    json!({ "says": message_in_words(&said), "bytes": hex(&encode(&said, None)) })
}

fn told_in_words(told: &Told) -> Value {
    let hex = |elements: &[u64]| elements.iter().map(|element| format!("{element:016x}")).collect::<Vec<_>>();
    match told {
        Told::Clocks { context, bound } => json!({ "context": hex(context), "bound": hex(bound) }),
        Told::Coded { check, symbols } => {
            json!({ "check": format!("{check:016x}"), "coded": symbols_in_words(symbols) })
        }
        Told::Whole { context, bound } => json!({ "context": clocks(context), "bound": clocks(bound), "whole": true }),
    }
}

fn symbols_in_words(symbols: &Symbols) -> Value {
    let in_words = |s: &Symbol| json!({ "sum": format!("{:016x}", s.sum), "check": s.check, "count": s.count });
    json!({ "total": symbols.total, "symbols": symbols.symbols.iter().map(in_words).collect::<Vec<_>>() })
}

fn changes_in_words(changes: &Changes) -> Value {
    let new: Value = changes.new.iter().map(|(id, counter)| (id.to_string(), json!(counter))).collect();
    json!({ "clocks": changes.clocks, "new": new })
}

fn delta_in_words(delta: &Delta) -> Value {
    let mut says = entries_in_words(delta.entries());
    says["base"] = clocks(delta.base());
    says["snapshot"] = clocks(delta.snapshot());
    says
}

fn audit_in_words(audit: &Audit) -> Value {
    json!({ "context": audit.context, "state": audit.state, "pending": audit.pending })
}

fn clocks(context: &CausalContext) -> Value {
    context.iter().map(|dot| (dot.replica.to_string(), json!(dot.counter))).collect()
}

/// `[first, last]` of each interval, under its replica.
fn intervals(dots: &DotSet) -> Value {
    let mut by_replica = serde_json::Map::new();
    for (replica, first, last) in dots.iter() {
        let intervals = by_replica.entry(replica.to_string()).or_insert_with(|| json!([]));
        intervals.as_array_mut().expect("a list").push(json!([first, last]));
    }
    by_replica.into()
}

fn key_in_words(key: Key<'_>) -> Value {
    let section = if key.section == Section::Usr { "usr" } else { "sys" };
    json!(format!("{section}:{}", key.bytes.escape_ascii()))
}

/// A fresh map that joins them shows what each entry is, and under which context it came.
fn entries_in_words(entries: &Entries) -> Value {
    let pair = |pair: &std::sync::Arc<tidings::crdt::EntryContext>| json!({ "context": clocks(&pair.context), "bound": clocks(&pair.bound) });
    let entries = &whole(entries.clone());
    let mut fresh = OrMap::new(ReplicaId::from(u128::MAX));
    let _ = fresh.join_entries(entries, |_| ());
    let entry = |key: Key<'_>| {
        let context = entries.contexts().iter().position(|pair| pair.context == fresh.context_of(key));
        let registers: Vec<Value> = fresh.registers(key).iter().map(register_in_words).collect();
        json!({ "key": key_in_words(key), "context": context, "registers": registers })
    };
    json!({
        "contexts": entries.contexts().iter().map(pair).collect::<Vec<_>>(),
        "entries": entries.keys().map(entry).collect::<Vec<_>>(),
    })
}

fn register_in_words((dot, register): &(Dot, tidings::crdt::Register)) -> Value {
    let timestamp = json!({ "millis": register.timestamp.millis(), "logical": register.timestamp.logical() });
    let mut says = json!({ "dot": dot.to_string(), "timestamp": timestamp });
    match &register.value {
        Some(value) => says["value"] = json!(value.escape_ascii().to_string()),
        None => says["tombstone"] = json!(true),
    }
    if let Some(deadline) = register.deadline {
        says["deadline"] = json!(deadline);
    }
    says
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &Value) -> Bytes {
    let hex = hex.as_str().expect("bytes in hex");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}
