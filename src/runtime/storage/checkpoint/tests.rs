//! Blocks, manifests and whole checkpoints, damaged in every way that comes to mind. No node takes part.

use super::block::{Block, BlockError, Filler, HEAD_BYTES, Kind};
use super::manifest::{About, DataFile, MANIFEST_FILE, Manifest, ManifestError, file_name};
use super::{Checkpoint, Intake, Verified, each_block, restore, verify};
use crate::Error;
use crate::crdt::{Clock, Key, ReplicaId};
use crate::proto::durable::{Identity, Kept};
use crate::runtime::storage::{Directory, EachRecord, Snapshot, Storage, StorageError};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const NOW: u64 = Clock::VALID_FROM_MS + 1_000_000;

/// Records in memory, as a snapshot gives them.
#[derive(Clone, Debug, Default)]
struct Disk(BTreeMap<Vec<u8>, Vec<u8>>);

impl Snapshot for Disk {
    fn for_each(&self, each: EachRecord<'_>) -> Result<(), StorageError> {
        let _ = self.0.iter().try_for_each(|(key, value)| each(key, value));
        Ok(())
    }
}

fn identity() -> Identity {
    Identity { replica: ReplicaId::from(1), cluster: [7; 16] }
}

/// Some 400 kB, so that it takes a few files.
fn state() -> Disk {
    let mut kept = Kept::nothing(identity(), 60_000);
    for i in 0..2_000_u32 {
        kept.map.put(format!("key/{i:05}").as_bytes(), vec![b'v'; 210 + i as usize % 50], NOW);
    }
    kept.map.delete(b"key/00007", NOW);
    let mut disk = Disk::default();
    let wrote: Result<(), ()> = kept.whole(1 << 20, |batch| {
        disk.0.extend(batch.iter().map(|(key, value)| (key.to_vec(), value.expect("nothing to delete").to_vec())));
        Ok(())
    });
    assert_eq!(wrote, Ok(()));
    disk
}

fn blocks(disk: &Disk) -> Vec<Block> {
    let mut all = Vec::new();
    let given = each_block(disk, NOW, &mut |block| {
        all.push(block);
        ControlFlow::Continue(())
    });
    given.expect("it is a state");
    all
}

fn take(directory: &Path, blocks: &[Block]) -> Result<Option<Checkpoint>, Error> {
    let mut intake = Intake::new(directory)?;
    blocks.iter().try_fold(None, |_, block| intake.take(block))
}

/// A checkpoint of several files, in a directory that ends with the test.
struct Taken {
    _home: tempfile::TempDir,
    directory: PathBuf,
    data_dir: PathBuf,
}

impl Taken {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let (directory, data_dir) = (home.path().join("checkpoint"), home.path().join("data"));
        let taken = take(&directory, &blocks(&state())).expect("it is written").expect("it has an end");
        assert_eq!((taken.entries, taken.replica), (2_000, ReplicaId::from(1)));
        Self { _home: home, directory, data_dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn names(&self) -> Vec<String> {
        let names =
            fs::read_dir(&self.directory).expect("it is there").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    fn verify(&self) -> Verified {
        verify(&self.directory, &mut |_, _| {}).expect("it can be looked at")
    }

    fn restore(&self) -> Result<super::Restored, Error> {
        restore(&self.directory, &self.data_dir, ReplicaId::from(2), NOW + 1, &mut |_, _| {})
    }

    /// The files that are damaged, each once; a restore is refused, and leaves nothing.
    fn damaged(&self) -> Vec<String> {
        let mut files: Vec<String> = self.verify().damaged.into_iter().map(|part| part.file).collect();
        files.dedup();
        assert!(matches!(self.restore(), Err(Error::Damaged { .. })), "damaged: {files:?}");
        assert!(!self.data_dir.exists());
        files
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).expect("it is there");
        change(&mut bytes);
        fs::write(self.path(name), bytes).expect("it is written");
    }
}

// --- Blocks

fn read_all(mut bytes: &[u8]) -> (Vec<Block>, Option<BlockError>) {
    let mut blocks = Vec::new();
    loop {
        match Block::read(&mut bytes, Some(blocks.len() as u64)) {
            Ok(Some(block)) => blocks.push(block),
            Ok(None) => return (blocks, None),
            Err(error) => return (blocks, Some(error)),
        }
    }
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn filled(records: &Records) -> Vec<Block> {
    let (mut filler, mut blocks) = (Filler::new(0), Vec::new());
    for (key, value) in records {
        assert!(filler.push(key, value));
        blocks.extend(filler.full());
    }
    blocks.extend(filler.rest());
    blocks
}

fn records_of(block: &Block) -> Result<Records, BlockError> {
    let mut records = Records::new();
    let read = block.each_record(|key, value| {
        records.push((key.to_vec(), value.to_vec()));
        Ok::<_, ()>(())
    })?;
    assert_eq!(read, Ok(()));
    Ok(records)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_come_out_of_blocks_as_they_went_in(
        records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..9_000)), 0..60),
    ) {
        let blocks = filled(&records);
        let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.bytes().to_vec()).collect();
        let (read, error) = read_all(&bytes);
        prop_assert!(error.is_none());
        prop_assert_eq!(&read, &blocks);
        let out: Records = read.iter().flat_map(|block| records_of(block).expect("it was written so")).collect();
        prop_assert_eq!(out, records);
    }

    #[test]
    fn a_changed_byte_of_a_block_is_noticed(
        records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..99)), 1..9),
        at in any::<prop::sample::Index>(),
        with in 1..=255_u8,
    ) {
        let mut bytes = filled(&records)[0].bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let (read, error) = read_all(&bytes);
        prop_assert!(read.is_empty() && error.is_some());
    }

    #[test]
    fn arbitrary_bytes_are_an_error(
        head in prop::sample::select(vec![&b"TdRe"[..], b"TdSt", b"TdEn", b"", b"Td"]),
        tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [head, &tail].concat();
        let (read, error) = read_all(&bytes);
        prop_assert!(read.is_empty());
        prop_assert_eq!(error.is_none(), bytes.is_empty());
    }

    /// Under a right checksum too: a hostile node can make one.
    #[test]
    fn arbitrary_bodies_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
        let kind = [Kind::Start, Kind::Records, Kind::End][kind];
        let block = Block::of_words(kind, 0, &body);
        let _ = records_of(&block);
        let home = tempfile::tempdir().expect("a directory");
        let mut intake = Intake::new(&home.path().join("checkpoint")).expect("it is not there");
        prop_assert!(!matches!(intake.take(&block), Ok(Some(_))));
    }

    #[test]
    fn arbitrary_manifests_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::read(&bytes).is_err());
    }
}

#[test]
fn a_length_that_is_not_there_is_an_error() {
    let mut bytes = filled(&vec![(b"k".to_vec(), vec![0; 5_000])])[0].bytes().to_vec();
    bytes[4..8].copy_from_slice(&(1_u32 << 30).to_le_bytes());
    let (_, error) = read_all(&bytes);
    assert!(matches!(error, Some(BlockError::Truncated)));
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read_all(&bytes).1, Some(BlockError::Head(_))));
}

#[test]
fn a_block_out_of_its_place_is_noticed() {
    let records = (0..200_u8).map(|i| (vec![i], vec![i; 2_000])).collect();
    let blocks = filled(&records);
    assert!(blocks.len() > 3);
    for order in [&[0, 2][..], &[0, 0], &[1], &[0, 2, 1]] {
        let bytes: Vec<u8> = order.iter().flat_map(|&i| blocks[i].bytes().to_vec()).collect();
        assert!(matches!(read_all(&bytes).1, Some(BlockError::Body(_))), "{order:?}");
    }
    assert!(blocks[0].bytes().len() > HEAD_BYTES);
}

// --- Manifests

fn manifest() -> Manifest {
    let about = About { identity: identity(), taken_ms: NOW, entries: 3 };
    Manifest::new(&about, 5, vec![DataFile { name: file_name(0), bytes: 10, blake3: "0".repeat(64) }])
}

#[test]
fn a_manifest_is_read_as_written_and_every_changed_byte_is_noticed() {
    let text = manifest().to_text();
    assert_eq!(Manifest::read(text.as_bytes()), Ok(manifest()));
    assert!(text.contains("\"kind\": \"tidings checkpoint\"") && text.ends_with("\"\n}\n"), "{text}");
    for at in 0..text.len() {
        for with in [1, 0x20, 0x80] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= with;
            assert!(matches!(Manifest::read(&changed), Err(ManifestError::Damaged(_))), "byte {at}");
        }
    }
}

/// A manifest of the next release: other fields, under a checksum that is right.
fn newer(text: &str) -> String {
    let changed = text.replace("\"format\": 1", "\"format\": 2").replace("\"files\"", "\"pieces\"");
    let before = &changed[..changed.rfind(",\n  \"blake3\"").expect("its last field")];
    format!("{before},\n  \"blake3\": \"{}\"\n}}\n", blake3::hash(before.as_bytes()).to_hex())
}

#[test]
fn a_newer_format_is_refused_as_such() {
    assert_eq!(Manifest::read(newer(&manifest().to_text()).as_bytes()), Err(ManifestError::Newer(2)));
    let taken = Taken::new();
    taken.change(MANIFEST_FILE, |bytes| *bytes = newer(&String::from_utf8_lossy(bytes)).into_bytes());
    for refused in [verify(&taken.directory, &mut |_, _| {}).map(drop), taken.restore().map(drop)] {
        let error = refused.expect_err("it is newer");
        assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("newer release"), "{error}");
    }
    let newer = Block::of_words(Kind::Start, 0, b"{\"format\":2,\"else\":true}");
    let mut intake = Intake::new(&taken.data_dir).expect("it is not there");
    assert!(matches!(intake.take(&newer), Err(Error::NewerFormat { found: 2, .. })));
}

// --- Whole checkpoints

#[test]
fn a_checkpoint_is_whole_and_what_is_restored_is_what_was_copied() {
    let taken = Taken::new();
    assert_eq!(
        taken.names(),
        ["manifest.json", "records-000001", "records-000002", "records-000003", "records-000004"]
    );
    let verified = taken.verify();
    assert!(verified.is_whole(), "{:?}", verified.damaged);
    let size: u64 = taken.names().iter().map(|name| fs::metadata(taken.path(name)).expect("it is there").len()).sum();
    assert_eq!((verified.entries, verified.bytes, verified.taken_ms), (2_000, size, Some(NOW)));
    let restored = taken.restore().expect("it is whole");
    assert_eq!((restored.replica, restored.copied), (ReplicaId::from(2), ReplicaId::from(1)));
    let opened = Directory::open(
        &taken.data_dir,
        Identity { replica: ReplicaId::from(9), ..identity() },
        60_000,
        &mut |_, _| {},
    );
    let kept = opened.expect("it opens").kept;
    assert_eq!(kept.identity(), Identity { replica: ReplicaId::from(2), ..identity() });
    let map = kept.map();
    assert_eq!(map.counts().keys, 1_999);
    assert_eq!(map.get(b"key/00008", NOW), Some(&[b'v'; 218][..]));
    assert_eq!(map.get(b"key/00007", NOW), None);
    assert!(map.registers(Key::usr(b"key/00008")).iter().all(|(dot, _)| dot.replica == ReplicaId::from(1)));
    assert!(matches!(taken.restore(), Err(Error::WrongDirectory { .. })), "it is not empty any more");
}

#[test]
fn a_changed_byte_of_any_file_is_found_and_named() {
    let taken = Taken::new();
    for name in taken.names() {
        let whole = fs::read(taken.path(&name)).expect("it is there");
        for seed in 0..12 {
            let mut rng = StdRng::seed_from_u64(seed);
            let at = rng.random_range(0..whole.len());
            taken.change(&name, |bytes| bytes[at] ^= rng.random_range(1..=255));
            assert_eq!(taken.damaged(), [&name[..]], "seed {seed}: byte {at} of {name}");
            let part = taken.verify().damaged.remove(0);
            let within = part.offset.is_none_or(|offset| (offset..offset + (70 << 10)).contains(&(at as u64)));
            assert!(within, "seed {seed}: byte {at} is not in the block at {part}");
            fs::write(taken.path(&name), &whole).expect("it is written");
        }
    }
    assert!(taken.verify().is_whole());
}

#[test]
fn a_file_that_is_cut_off_missing_or_too_many_is_found_and_named() {
    for name in Taken::new().names() {
        let taken = Taken::new();
        for keep in [0.0, 0.5, 0.999] {
            let whole = fs::read(taken.path(&name)).expect("it is there");
            taken.change(&name, |bytes| bytes.truncate((bytes.len() as f64 * keep) as usize));
            assert_eq!(taken.damaged(), [&name[..]], "{keep} of {name}");
            fs::write(taken.path(&name), whole).expect("it is written");
        }
        taken.change(&name, |bytes| bytes.push(0));
        assert_eq!(taken.damaged(), [&name[..]], "one byte more in {name}");
        fs::remove_file(taken.path(&name)).expect("it is there");
        assert_eq!(taken.damaged(), [&name[..]], "without {name}");
    }
    let taken = Taken::new();
    for name in ["records-000005", "records-000000", "something"] {
        fs::copy(taken.path("records-000001"), taken.path(name)).expect("it is written");
        assert_eq!(taken.damaged(), [name]);
        fs::remove_file(taken.path(name)).expect("it is there");
    }
    assert!(taken.verify().is_whole());
}

#[test]
fn all_that_is_damaged_is_named_and_not_only_the_first() {
    let taken = Taken::new();
    taken.change("records-000001", |bytes| [40, 70_000].into_iter().for_each(|at| bytes[at] ^= 1));
    taken.change("records-000003", |bytes| bytes.truncate(1_000));
    let damaged = taken.verify().damaged;
    let named: Vec<_> = damaged.iter().map(|part| (&part.file[..], part.offset)).collect();
    let [("records-000001", Some(0)), ("records-000001", Some(second)), ("records-000003", Some(0))] = named[..] else {
        panic!("{damaged:?}");
    };
    assert!((65_536..70_000).contains(&second), "{damaged:?}");
    assert!(damaged[0].to_string().starts_with("records-000001, at byte 0: "), "{}", damaged[0]);
}

#[test]
fn files_of_another_checkpoint_are_found_although_each_is_whole() {
    let taken = Taken::new();
    fs::rename(taken.path("records-000002"), taken.path("kept")).expect("it is there");
    fs::rename(taken.path("records-000003"), taken.path("records-000002")).expect("it is there");
    fs::rename(taken.path("kept"), taken.path("records-000003")).expect("it is there");
    assert_eq!(taken.damaged()[..2], ["records-000002", "records-000003"]);

    let (taken, mut other) = (Taken::new(), state());
    *other.0.values_mut().last().expect("records").last_mut().expect("a byte") ^= 1;
    let directory = taken.directory.with_file_name("other");
    take(&directory, &blocks(&other)).expect("it is written").expect("it has an end");
    fs::copy(directory.join("records-000004"), taken.path("records-000004")).expect("it is written");
    assert_eq!(taken.damaged(), ["records-000004"]);
}

/// Found by fuzzing: after damage a block of any number is taken, and after the greatest number there is none.
#[test]
fn a_block_with_the_greatest_number_there_is_does_no_harm() {
    let home = tempfile::tempdir().expect("a directory");
    let last = Block::of_words(Kind::Records, u64::MAX, b"");
    fs::write(home.path().join(file_name(0)), [last.bytes(), last.bytes()].concat()).expect("it is written");
    assert!(!verify(home.path(), &mut |_, _| {}).expect("it can be looked at").is_whole());
}

#[test]
fn a_checkpoint_that_breaks_off_leaves_nothing_and_never_its_name() {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().join("checkpoint");
    let all = blocks(&state());
    for count in [0, 1, 2, all.len() - 1] {
        assert!(matches!(take(&directory, &all[..count]), Ok(None)), "{count} blocks");
        assert_eq!(fs::read_dir(home.path()).expect("it is there").count(), 0, "{count} blocks");
    }
    let mut lost = all.clone();
    lost.remove(2);
    assert!(matches!(take(&directory, &lost), Err(Error::Damaged { .. })));
    for wrong in [&all[1..2], &all[all.len() - 1..], &[all[0].clone(), all[0].clone()]] {
        assert!(matches!(take(&directory, wrong), Err(Error::Damaged { .. })));
    }
    assert_eq!(fs::read_dir(home.path()).expect("it is there").count(), 0);
}

/// A process that was killed cannot clean up: what it leaves has all but the last file, or the last name.
#[test]
fn what_a_killed_checkpoint_leaves_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let (directory, partial) = (home.path().join("checkpoint"), home.path().join("checkpoint.partial"));
    let all = blocks(&state());
    let mut intake = Intake::new(&directory).expect("it is not there");
    all[..all.len() - 1].iter().for_each(|block| drop(intake.take(block).expect("it is written")));
    std::mem::forget(intake);
    assert!(!directory.exists() && !partial.join(MANIFEST_FILE).exists());
    let verified = verify(&partial, &mut |_, _| {}).expect("it can be looked at");
    assert_eq!(verified.damaged.iter().map(|part| &part.file[..]).collect::<Vec<_>>(), [MANIFEST_FILE]);
    let refused = restore(&partial, &home.path().join("data"), ReplicaId::from(2), NOW, &mut |_, _| {});
    assert!(matches!(refused, Err(Error::Damaged { .. })));
    assert!(matches!(take(&directory, &all), Err(Error::WrongDirectory { .. })), "it is told what to remove");
    fs::remove_dir_all(&partial).expect("it is there");
    assert!(matches!(take(&directory, &all), Ok(Some(_))));
}

#[test]
fn an_interrupted_restore_leaves_no_directory_that_opens_and_can_be_begun_anew() {
    let taken = Taken::new();
    let open = || Directory::open(&taken.data_dir, identity(), 60_000, &mut |_, _| {}).map(|opened| opened.kept);
    for batches in 0..3 {
        let mut directory = Directory::begin_restore(&taken.data_dir).expect("it is not there, or unfinished");
        let (mut kept, mut left) = (Kept::nothing(identity(), 60_000), batches);
        (0..100_u8).for_each(|i| _ = kept.map.put(&[b'a', i], b"value", NOW));
        let stopped = kept.whole(200, |batch| {
            left = if left == 0 { return Err(()) } else { left - 1 };
            directory.commit(batch).map_err(|error| panic!("{error}"))
        });
        assert_eq!(stopped, Err(()));
        drop(directory);
        let error = open().expect_err("it is not whole");
        assert!(error.to_string().contains("restore"), "{error}");
        assert!(verify(&taken.data_dir, &mut |_, _| {}).is_ok_and(|verified| !verified.is_whole()));
    }
    taken.restore().expect("it is begun anew");
    assert_eq!(open().expect("it opens").map().counts().keys, 1_999);
}

#[test]
fn a_directory_that_holds_something_is_not_written_to() {
    let taken = Taken::new();
    fs::create_dir(&taken.data_dir).expect("it is not there");
    fs::write(taken.data_dir.join("letter"), "dear").expect("it is written");
    assert!(matches!(taken.restore(), Err(Error::WrongDirectory { .. })));
    assert!(matches!(take(&taken.data_dir, &blocks(&state())), Err(Error::WrongDirectory { .. })));
    assert!(matches!(verify(&taken.data_dir, &mut |_, _| {}), Err(Error::WrongDirectory { .. })));
    assert_eq!(fs::read_dir(&taken.data_dir).expect("it is there").count(), 1);
    fs::remove_file(taken.data_dir.join("letter")).expect("it is there");
    taken.restore().expect("an empty one will do");
}
