//! Records of a disk, and checkpoints. Any records are refused, or are a state: one that a node goes on with, that is
//! written and read again as it was, and copied under another name. A stream of blocks, whose checksums are right whatever
//! is in them, becomes a checkpoint or nothing; one byte of the stream, or of the directory, that is another is found.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tidings::cli::fuzzing::take_checkpoint;
use tidings::crdt::{Audit, CausalContext, Clock, Key, OrMap, ReplicaId, Retention};
use tidings::proto::config::NodeConfig;
use tidings::proto::durable::{Batch, Identity, Kept, Loader, Outline};
use tidings::proto::node::Node;
use tidings::proto::time::{Instant, Now};
use tidings_fuzz::{Draw, with_length, within};

const START_MS: u64 = 1_700_000_000_000;
const MEMORY: usize = 128 << 20;
const TAGS: [&[u8; 4]; 3] = [b"TdSt", b"TdRe", b"TdEn"];

tidings_fuzz::target!(seeds, run);

type Records = Vec<(Vec<u8>, Vec<u8>)>;
type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

/// The first byte says what is tried; records follow, or blocks.
fn run(input: &[u8]) {
    within(MEMORY, || {
        let mut draw = Draw::new(input);
        match draw.byte() % 8 {
            0 => stream(&mut draw),
            1 => checkpoint(&mut draw),
            2 => state(&records(&mut draw)),
            _ => state(&records(&mut draw).into_iter().collect::<Disk>().into_iter().collect()),
        }
    });
}

fn records(draw: &mut Draw<'_>) -> Records {
    let mut records = Vec::new();
    while !draw.is_over() {
        let length = usize::from(draw.byte());
        let mut key = draw.bytes();
        key = &key[..key.len().min(length)];
        records.push((key.to_vec(), draw.bytes().to_vec()));
    }
    records
}

// --- States

fn load<'a>(records: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>, renamed: Option<ReplicaId>) -> Option<Kept> {
    let mut loader = Loader::new(Clock::DRIFT_MS);
    if let Some(replica) = renamed {
        loader = loader.renamed(replica);
    }
    records.into_iter().try_for_each(|(key, value)| loader.record(key, value)).ok()?;
    loader.finish().ok()
}

fn both(records: &Records) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    records.iter().map(|(key, value)| (key, value))
}

fn state(records: &Records) {
    let Some(kept) = load(both(records), None) else { return };
    let Identity { replica, cluster } = kept.identity();
    let now = Now { instant: Instant::default(), wall_ms: START_MS };
    let config = NodeConfig { cluster, ..NodeConfig::new(replica) };
    let mut disk: Disk = records.iter().cloned().collect();
    let mut node = Node::kept(config, kept, now);
    commit(&mut node, &mut disk, now);
    node.put(now, Key::usr(b"after"), b"all", None);
    commit(&mut node, &mut disk, now);
    let again = load(&disk, None).expect("what a node has written can be read");
    assert_eq!(told_but_own(again.map()), told_but_own(node.map()));
    copied(&disk);
}

fn commit(node: &mut Node, disk: &mut Disk, now: Now) {
    let batch = node.begin_commit().expect("there is something to write");
    write(disk, &batch);
    node.end_commit(now);
}

fn write(disk: &mut Disk, batch: &Batch) {
    for (key, value) in batch.iter() {
        match value {
            Some(value) => _ = disk.insert(key.to_vec(), value.to_vec()),
            None => _ = disk.remove(key),
        }
    }
}

/// As a restore does it.
fn copied(disk: &Disk) {
    let replica = ReplicaId::from(u128::MAX - 1);
    let mut kept = load(disk, Some(replica)).expect("the same under another name");
    let mut copy = Disk::new();
    let wrote = kept.whole(64, |batch| {
        write(&mut copy, batch);
        Ok::<_, ()>(())
    });
    assert_eq!(wrote, Ok(()));
    let read = load(&copy, None).expect("a copy can be read");
    assert_eq!(told(read.map()), told(kept.map()), "a copy is what was copied");
}

/// Of its own counters a disk keeps some in reserve, which after a crash are void.
fn told_but_own(map: &OrMap) -> (u64, u64, CausalContext, CausalContext, usize) {
    let others = map.context().iter().filter(|dot| dot.replica != map.id()).map(|dot| (dot.replica, dot.counter));
    (map.audit().state, map.audit().pending, others.collect(), map.truncated().clone(), map.pending())
}

fn told(map: &OrMap) -> (Audit, CausalContext, CausalContext, usize) {
    (map.audit(), map.context().clone(), map.truncated().clone(), map.pending())
}

// --- Checkpoints

/// Blocks of anything, with sums that are right.
fn stream(draw: &mut Draw<'_>) {
    let (mut bytes, mut number) = (Vec::new(), 0);
    while !draw.is_over() {
        let (kind, step, records) = (draw.below(TAGS.len()), draw.byte(), u32::from(draw.byte()));
        bytes.extend(seal(kind, if step == 255 { u64::MAX } else { number + u64::from(step) }, records, draw.bytes()));
        number += 1;
    }
    let place = TempDir::new().expect("a place");
    let _ = take_checkpoint(&bytes, &place.path().join("taken"));
    // The same as a file of a checkpoint that has lost its manifest.
    fs::write(place.path().join("records-000001"), &bytes).expect("a file");
    let verified = tidings::verify(place.path()).expect("a checkpoint, of a kind");
    assert!(!verified.is_whole());
}

/// A stream as a node sends it, which becomes a checkpoint if it is of a state; then one byte of it is another.
fn checkpoint(draw: &mut Draw<'_>) {
    let (at, change, on_disk) = (usize::from(draw.number()), draw.byte(), draw.byte() % 2 == 0);
    let records = records(draw);
    let Some(mut bytes) = stream_of(&records) else { return };
    let place = TempDir::new().expect("a place");
    let taken = place.path().join("taken");
    if change != 0 && !on_disk {
        let at = at % bytes.len();
        bytes[at] ^= change;
        assert!(!matches!(take_checkpoint(&bytes, &taken), Ok(Some(_))), "byte {at} of the stream");
        return;
    }
    take_checkpoint(&bytes, &taken).expect("a stream as it should be").expect("its end");
    let verified = tidings::verify(&taken).expect("a checkpoint");
    assert_eq!(verified.is_whole(), load(both(&records), None).is_some(), "{:?}", verified.damaged);
    if change != 0 && verified.is_whole() {
        damage(&taken, at, change);
        assert!(tidings::verify(&taken).is_ok_and(|verified| !verified.is_whole()), "byte {at} of the directory");
    }
}

fn stream_of(records: &Records) -> Option<Vec<u8>> {
    let mut outline = Outline::default();
    both(records).try_for_each(|(key, value)| outline.record(key, value)).ok()?;
    let (Identity { replica, cluster }, entries) = outline.told()?;
    let start = serde_json::json!({
        "format": 1, "replica": replica.to_string(), "cluster": ReplicaId::from_bytes(cluster).to_string(),
        "taken_ms": START_MS, "entries": entries,
    });
    let body = both(records).flat_map(|(key, value)| {
        let lengths = [key.len() as u32, value.len() as u32].map(u32::to_le_bytes).concat();
        [&lengths[..], key, value].concat()
    });
    let count = records.len() as u32;
    let mut bytes = seal(0, 0, 0, start.to_string().as_bytes());
    bytes.extend(seal(1, 1, count, &body.collect::<Vec<u8>>()));
    let sum = blake3::hash(&bytes).to_hex().to_string();
    let end = serde_json::json!({ "blocks": 2, "records": count, "bytes": bytes.len(), "blake3": sum });
    bytes.extend(seal(2, 2, 0, end.to_string().as_bytes()));
    Some(bytes)
}

/// As `proto-docs/storage.md` has it.
fn seal(kind: usize, number: u64, records: u32, body: &[u8]) -> Vec<u8> {
    let head =
        [&TAGS[kind][..], &(body.len() as u32).to_le_bytes(), &number.to_le_bytes(), &records.to_le_bytes()].concat();
    let sum = blake3::hash(&[&head[..], body].concat());
    [&head[..], &sum.as_bytes()[..16], body].concat()
}

fn damage(directory: &Path, at: usize, change: u8) {
    let mut files: Vec<_> = fs::read_dir(directory).expect("files").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let file = &files[at % files.len()];
    let mut bytes = fs::read(file).expect("a file");
    let at = at % bytes.len();
    bytes[at] ^= change;
    fs::write(file, bytes).expect("a file");
}

// --- Seeds

fn seeds() -> Vec<Vec<u8>> {
    let disks = [disk(0), disk(1), disk(2)];
    let told = disks.iter().map(|disk| disk.iter().flat_map(record).collect::<Vec<u8>>());
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for told in told {
        seeds.push([&[3], &told[..]].concat());
        seeds.push([&[1, 0, 0, 0, 0], &told[..]].concat());
        seeds.push([&[1, 99, 0, 1, 0], &told[..]].concat());
        seeds.push([&[1, 200, 1, 1, 1], &told[..]].concat());
    }
    let block = |kind, body: &[u8]| [&[kind, 0, 0][..], &with_length(body)].concat();
    let start =
        format!(r#"{{"format":1,"replica":"{0}","cluster":"{0}","taken_ms":1,"entries":0}}"#, ReplicaId::from(1));
    let end = format!(r#"{{"blocks":1,"records":0,"bytes":9,"blake3":"{}"}}"#, blake3::hash(b"").to_hex());
    seeds.push([&[0][..], &block(0, start.as_bytes()), &block(1, b""), &block(2, end.as_bytes())].concat());
    seeds
}

fn record((key, value): (&Vec<u8>, &Vec<u8>)) -> Vec<u8> {
    [&[255][..], &with_length(key), &with_length(value)].concat()
}

/// What a node has written: little, much, and things that are pending.
fn disk(kind: usize) -> Disk {
    let identity = Identity { replica: ReplicaId::from(1), cluster: [7; 16] };
    let now = |ms| Now { instant: Instant::from_micros(ms * 1_000), wall_ms: START_MS + ms };
    let retention = Retention { keep_ms: 0, count_max: 1, spare_ms: 0 };
    let config = NodeConfig { cluster: [7; 16], retention, ..NodeConfig::new(identity.replica) };
    let mut node = Node::kept(config.clone(), Kept::nothing(identity, Clock::DRIFT_MS), now(0));
    let mut disk = Disk::new();
    if kind > 0 {
        (0..6_u8).for_each(|key| _ = node.put(now(1), Key::usr(&[key]), &[key; 9], None));
        node.put(now(2), Key::usr(b"soon over"), b"v", Some(START_MS + 100));
        (0..3_u8).for_each(|key| _ = node.delete(now(3), Key::usr(&[key])));
        node.broadcast(now(4), b"to all");
    }
    commit(&mut node, &mut disk, now(5));
    if kind > 1 {
        let mut map = OrMap::new(ReplicaId::from(9));
        (0..4_u8).for_each(|key| _ = map.put(&[key], b"theirs", START_MS));
        pend(&mut node, &map, now(6));
        commit(&mut node, &mut disk, now(7));
    }
    disk
}

/// A push that builds on what the node has not got: its entries are pending.
fn pend(node: &mut Node, map: &OrMap, now: Now) {
    use tidings::proto::KeyId;
    use tidings::proto::codec::{Spoken, encode_control};
    use tidings::proto::link::{CONTROL, LinkId};
    use tidings::proto::message::{Ask, Hello, Message};
    use tidings::proto::node::Input;
    let (link, identity) = (LinkId(1), map.id());
    node.handle(
        now,
        Input::Connected {
            link,
            address: "10.0.0.9:7400".into(),
            dialed: false,
            identity: Some(identity),
            key: KeyId::default(),
        },
    );
    let hello = Hello {
        cluster: [7; 16],
        replica: identity,
        boot: 1,
        name: String::new(),
        address: "10.0.0.9:7400".into(),
        audit: map.audit(),
        bound: map.bound_sum(),
        ask: Ask::Active,
        features: 0,
    };
    let mut said = Spoken::default();
    let base: CausalContext = [(identity, 2)].into_iter().collect();
    for message in [Message::Hello(hello), Message::Push(map.delta_since(&base))] {
        let frame = encode_control(&message, &mut said);
        node.handle(now, Input::Frame { link, channel: CONTROL, frame });
    }
}
