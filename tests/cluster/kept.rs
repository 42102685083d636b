//! Stores that keep their state on a disk: what they know again, and what a copy of it may not do. Kills, full disks and
//! damage are `tests/storage.rs`.

use crate::stores::{PATIENCE, address, agree, capture_log, eventually, linked, logged, open, secret};
use std::path::Path;
use tidings::{Config, PeerState, Secret, Store};

async fn kept(secret: &Secret, name: &str, directory: &Path, join: &[&Store]) -> Store {
    capture_log();
    let join = join.iter().map(|store| address(store));
    let config = Config::builder().data_dir(directory).name(name).listen("127.0.0.1:0").join(join);
    Store::open(config.secret(secret.clone()).build().expect("settings")).await.expect("opened")
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_and_who_is_barred_are_known_again_after_a_restart() {
    let (secret, directory) = (secret(), tempfile::tempdir().expect("a directory"));
    let (friend, barred) = (open(&secret, "friend", &[]).await, open(&secret, "barred", &[]).await);
    let store = kept(&secret, "one", directory.path(), &[]).await;
    for peer in [&friend, &barred] {
        assert!(store.add_peer(&address(peer)).await.expect("open"));
        eventually("linked", || linked(&store, peer)).await;
    }
    assert!(store.remove_peer(&barred.id().to_string()).await.expect("open"));
    let id = store.id();
    store.close().await;

    let store = kept(&secret, "one", directory.path(), &[]).await;
    assert_eq!(store.id(), id);
    eventually("linked again, and nobody has said where", || linked(&store, &friend)).await;
    // Whoever is barred stays out, and dials in vain.
    assert!(barred.add_peer(&address(&store)).await.is_ok());
    store.put("kettle", "on").await.expect("written");
    eventually("the friend has it", || friend.get("kettle").is_some()).await;
    assert!(!linked(&store, &barred));
    assert!(store.peers().iter().all(|peer| peer.id != Some(barred.id()) || peer.state != PeerState::Connected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_again_and_what_was_deleted_is_not() {
    let (secret, directory) = (secret(), tempfile::tempdir().expect("a directory"));
    let store = kept(&secret, "one", directory.path(), &[]).await;
    let other = open(&secret, "other", &[&store]).await;
    for number in 0..300 {
        store.put(format!("k{number}"), format!("v{number}")).await.expect("written");
    }
    for number in 0..100 {
        assert!(store.delete(format!("k{number}")).await.expect("written").is_some());
    }
    other.put("theirs", "too").await.expect("written");
    agree(&[&store, &other]).await;
    let (id, shown, session) = (store.id(), store.scan(""), store.session());
    store.close().await;
    other.put("meanwhile", "written").await.expect("written");

    let store = kept(&secret, "one", directory.path(), &[&other]).await;
    assert_eq!(store.id(), id);
    assert_eq!(store.scan("").into_iter().filter(|(key, _)| key != "meanwhile").collect::<Vec<_>>(), shown);
    assert!(store.get_after("theirs", &session, PATIENCE).await.expect("it has seen that").is_some());
    eventually("it has what it missed", || store.get("meanwhile").is_some()).await;
    agree(&[&store, &other]).await;
}

/// cloned_disk, with real nodes: the two meet only at a third.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_directory_that_runs_twice_is_refused_on_all_sides() {
    let (secret, directory) = (secret(), tempfile::tempdir().expect("a directory"));
    let (original, copy) = (directory.path().join("original"), directory.path().join("copy"));
    let store = kept(&secret, "original", &original, &[]).await;
    store.put("kettle", "on").await.expect("written");
    let id = store.id();
    store.close().await;
    let copied = std::process::Command::new("cp").arg("-r").arg(&original).arg(&copy).status();
    assert!(copied.expect("cp").success());

    let third = open(&secret, "third", &[]).await;
    let first = kept(&secret, "first", &original, &[&third]).await;
    eventually("linked", || linked(&third, &first)).await;
    let second = kept(&secret, "second", &copy, &[&third]).await;
    assert_eq!((first.id(), second.id()), (id, id));
    let said = || logged(&[&id.to_string(), "copied data directory"]).len();
    eventually("it is said aloud", || said() > 0).await;
    eventually("neither is linked", || !linked(&third, &first)).await;
    second.close().await;
    // With the copy gone, the original may come back.
    eventually("linked again", || linked(&third, &first)).await;
}
