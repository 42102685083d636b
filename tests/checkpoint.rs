//! Checkpoints of nodes that run: taken under load, verified, restored beside the node that was copied. Real disks, real
//! links. Not responsible for what damage of every byte does: the unit tests are.
#![cfg(feature = "cli")]

#[path = "checkpoint/binary.rs"]
mod binary;
mod common;
#[path = "cluster/stores.rs"]
mod stores;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use stores::{address, agree, eventually, secret, state_of};
use tempfile::TempDir;
use tidings::{Config, Error, MemberState, Record, Restored, Secret, Store, VerifiedKind};

/// A cluster's secret, and a place for all its directories.
struct Home {
    directory: TempDir,
    secret: Secret,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), secret: secret() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A store that keeps its state under this name.
    async fn open(&self, name: &str, join: &[&Store]) -> Store {
        let join = join.iter().map(|store| address(store));
        let config = Config::builder().data_dir(self.path(name)).name(name).listen("127.0.0.1:0").join(join);
        Store::open(config.secret(self.secret.clone()).build().expect("settings")).await.expect("it opens")
    }

    async fn checkpoint(&self, store: &Store, name: &str) {
        let taken = store.checkpoint(self.path(name)).await.expect("it is taken");
        assert_eq!(taken.replica, store.id());
        let verified = tidings::verify(self.path(name)).expect("it can be looked at");
        assert!(verified.is_whole(), "{:?}", verified.damaged);
        assert_eq!(
            (verified.kind, verified.entries, verified.bytes),
            (VerifiedKind::Checkpoint, taken.entries, taken.bytes)
        );
    }

    fn restore(&self, checkpoint: &str, name: &str) -> Restored {
        tidings::restore(self.path(checkpoint), self.path(name)).expect("it is whole")
    }
}

fn text(store: &Store, key: &str) -> Option<String> {
    store.get(key).map(|value| String::from_utf8(value.to_vec()).expect("UTF-8"))
}

fn number(store: &Store, key: &str) -> u64 {
    text(store, key).map_or(0, |text| text.parse().expect("a number"))
}

fn record(key: String, value: impl Into<Vec<u8>>) -> Record {
    Record { key: key.into(), value: value.into().into(), expires: None }
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Writes its number to one key, then to the next; and to a pair of keys at once. Says what was acknowledged.
async fn writer(store: Store, name: usize, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    for i in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let value = i.to_string();
        store.put(format!("{name}/first"), value.clone()).await.expect("written");
        store.put(format!("{name}/second"), value.clone()).await.expect("written");
        let pair = ["left", "right"].map(|side| record(format!("{name}/{side}"), value.clone()));
        store.put_many(pair.into()).await.expect("written");
        store.put(format!("{name}/{i}"), vec![b'x'; 500]).await.expect("written");
        acknowledged.store(i, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_under_writers_is_what_was_there_at_one_moment() {
    const WRITERS: usize = 4;
    let home = Home::new();
    let store = home.open("a", &[]).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), [(); WRITERS].map(|()| Arc::new(AtomicU64::new(0))));
    let tasks = acknowledged
        .iter()
        .enumerate()
        .map(|(name, acknowledged)| tokio::spawn(writer(store.clone(), name, acknowledged.clone(), stop.clone())));
    let tasks: Vec<_> = tasks.collect();
    let now = || acknowledged.clone().map(|count| count.load(Ordering::SeqCst));
    let mut taken = Vec::new();
    for i in 0..5 {
        eventually("something is written", || now().iter().all(|count| *count > i * 20)).await;
        let before = now();
        home.checkpoint(&store, &format!("c{i}")).await;
        taken.push((before, now()));
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("it ends");
    }
    store.close().await;
    for (i, (before, after)) in taken.into_iter().enumerate() {
        home.restore(&format!("c{i}"), &format!("r{i}"));
        let restored = home.open(&format!("r{i}"), &[]).await;
        for name in 0..WRITERS {
            let at = |key: &str| number(&restored, &format!("{name}/{key}"));
            let (first, second, left, right) = (at("first"), at("second"), at("left"), at("right"));
            let told = format!("checkpoint {i}, writer {name}: {first}, {second}, {left}, {right}");
            assert!(first == second || first == second + 1, "in the order they were written. {told}");
            assert!(second == left || second == left + 1, "in the order they were written. {told}");
            assert_eq!(left, right, "written together. {told}");
            assert!((before[name]..=after[name] + 1).contains(&left), "acknowledged before it, not after. {told}");
            let whole = (1..left).all(|number| restored.get(format!("{name}/{number}")).is_some());
            assert!(whole, "nothing before it is missing. {told}");
        }
        restored.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_replica_joins_the_one_that_has_gone_on() {
    let home = Home::new();
    let old = home.open("a", &[]).await;
    for key in ["kept", "deleted before", "deleted after", "replaced after"] {
        old.put(key, "before").await.expect("written");
    }
    old.delete("deleted before").await.expect("deleted");
    home.checkpoint(&old, "c").await;
    old.delete("deleted after").await.expect("deleted");
    old.put("replaced after", "after").await.expect("written");
    old.put("new after", "after").await.expect("written");

    let restored = home.restore("c", "b");
    assert_eq!(restored.copied, old.id());
    let alone = home.open("b", &[]).await;
    assert_eq!(alone.id(), restored.replica);
    assert_ne!(alone.id(), old.id());
    assert_eq!(state_of(&alone, old.id()), Some(MemberState::Down), "for all that it knows");
    assert_eq!(text(&alone, "deleted after").as_deref(), Some("before"));
    assert_eq!(text(&alone, "deleted before"), None);
    let written = alone.put("new there", "there").await.expect("written");
    assert_eq!(written.dot.replica, restored.replica, "never a dot of the old one");
    alone.close().await;

    let new = home.open("b", &[&old]).await;
    assert_ne!(new.status().id, old.status().id);
    agree(&[&old, &new]).await;
    let all = [("kept", Some("before")), ("deleted before", None), ("deleted after", None)];
    let later = [("replaced after", Some("after")), ("new after", Some("after")), ("new there", Some("there"))];
    for store in [&old, &new] {
        for (key, value) in all.iter().chain(&later) {
            assert_eq!(text(store, key).as_deref(), *value, "{key} at {}", store.status().name);
        }
    }
    eventually("the old one takes back that it is down", || {
        [&old, &new].iter().all(|at| state_of(at, old.id()) == Some(MemberState::Alive))
    })
    .await;
    let more = old.put("still", "its own").await.expect("written");
    assert_eq!(more.dot.replica, old.id());
    agree(&[&old, &new]).await;
    assert_eq!(text(&new, "still").as_deref(), Some("its own"));
    new.close().await;
    old.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_restores_of_one_checkpoint_and_the_node_itself_are_three_replicas() {
    let home = Home::new();
    let old = home.open("a", &[]).await;
    for i in 0..200 {
        old.put(format!("key/{i}"), "before").await.expect("written");
    }
    home.checkpoint(&old, "c").await;
    let ids = [home.restore("c", "b").replica, home.restore("c", "d").replica, old.id()];
    assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2], "{ids:?}");
    let (one, two) = (home.open("b", &[]).await, home.open("d", &[]).await);
    for (store, name) in [(&old, "a"), (&one, "b"), (&two, "d")] {
        store.put("key/0", name).await.expect("written");
        store.put(format!("of/{name}"), name).await.expect("written");
        store.delete(format!("key/{}", name.len())).await.expect("deleted");
    }
    one.add_peer(&address(&old)).await.expect("added");
    two.add_peer(&address(&old)).await.expect("added");
    agree(&[&old, &one, &two]).await;
    assert_eq!(two.scan("of/").len(), 3);
    assert_eq!(old.values("key/0").len(), 3, "three writes that have not seen each other");
    assert_eq!(old.get("key/1"), None);
    for store in [one, two, old] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_down_at_the_one_restored_from_it() {
    let home = Home::new();
    let old = home.open("a", &[]).await;
    home.checkpoint(&old, "c").await;
    let id = old.id();
    old.close().await;
    home.restore("c", "b");
    let new = home.open("b", &[]).await;
    assert_eq!(state_of(&new, id), Some(MemberState::Down));
    assert!(new.peers().is_empty(), "its peers are not taken over: {:?}", new.peers());
    let read = new.sys().read(format!("members/{id}")).expect("its record");
    assert!(read.expires.is_some(), "it is forgotten some day");
    new.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_or_written_to_is_refused_and_left_alone() {
    let home = Home::new();
    let store = home.open("a", &[]).await;
    assert!(matches!(tidings::verify(home.path("a")), Err(Error::InUse { .. })), "a node runs on it");
    assert!(matches!(store.checkpoint(home.path("a")).await, Err(Error::WrongDirectory { .. })), "it is not empty");
    assert!(matches!(tidings::verify(home.path("nothing")), Err(Error::Io { .. })));
    home.checkpoint(&store, "c").await;
    assert!(matches!(tidings::restore(home.path("c"), home.path("a")), Err(Error::WrongDirectory { .. })));
    assert!(matches!(tidings::restore(home.path("a"), home.path("b")), Err(Error::WrongDirectory { .. })));
    assert!(!home.path("b").exists());
    let config = Config::builder().in_memory().listen("127.0.0.1:0").secret(home.secret.clone()).build();
    let memory = Store::open(config.expect("settings")).await.expect("it opens");
    assert!(matches!(memory.checkpoint(home.path("m")).await, Err(Error::InMemory)));
    assert!(!home.path("m").exists() && !home.path("m.partial").exists());
    memory.close().await;
    store.close().await;
    assert!(matches!(store.checkpoint(home.path("m")).await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_nobody_waits_for_any_more_leaves_nothing() {
    let home = Home::new();
    let store = home.open("a", &[]).await;
    for _ in 0..40 {
        let records = (0..500).map(|i| record(format!("key/{i}"), vec![0; 2_000]));
        store.put_many(records.collect()).await.expect("written");
    }
    for wait_ms in [0, 1, 2, 5] {
        let checkpoint = store.checkpoint(home.path("c"));
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), checkpoint).await;
        let settled = || !home.path("c.partial").exists();
        eventually("what was begun is removed", settled).await;
        if home.path("c").exists() {
            assert!(tidings::verify(home.path("c")).expect("it can be looked at").is_whole());
            std::fs::remove_dir_all(home.path("c")).expect("it is there");
        }
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_is_verified_while_no_node_runs_on_it() {
    let home = Home::new();
    let store = home.open("a", &[]).await;
    for i in 0..100 {
        store.put(format!("key/{i}"), "value").await.expect("written");
    }
    let (id, entries) = (store.id(), store.status().keys);
    store.close().await;
    let verified = tidings::verify(home.path("a")).expect("it can be looked at");
    assert!(verified.is_whole(), "{:?}", verified.damaged);
    assert_eq!((verified.kind, verified.replica), (VerifiedKind::DataDirectory, Some(id)));
    assert!(verified.entries >= entries && verified.bytes > 0);
    let store = home.open("a", &[]).await;
    assert_eq!((store.id(), store.scan("key/").len()), (id, 100), "it is as it was");
    store.close().await;

    let format = home.path("a").join("format");
    let said = std::fs::read_to_string(&format).expect("it is there");
    std::fs::write(&format, said.replacen('1', "2", 1)).expect("it is written");
    let newer = tidings::verify(home.path("a")).expect_err("it is newer");
    assert!(matches!(newer, Error::NewerFormat { found: 2, .. }), "{newer}");
    std::fs::write(&format, said).expect("it is written");
    // As a file system does that had not written the last of it.
    std::fs::write(home.path("a").join("commits"), 1_000_000_u64.to_le_bytes()).expect("it is written");
    let verified = tidings::verify(home.path("a")).expect("it can be looked at");
    assert!(!verified.is_whole());
    assert!(verified.damaged[0].problem.contains("cut it off"), "{}", verified.damaged[0]);
    assert!(files(&home.path("a")) > 3, "nothing was taken away");
}
