//! Secrets of a cluster replaced while it runs, and clusters with an authority of their own. Not responsible for files and
//! commands: `tests/cli` is.

use crate::stores::{address, agree, capture_log, eventually, linked, logged, mesh, open, secret, state_of};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidings::{Config, ConfigBuilder, Error, KeyId, MemberState, Secret, Secrets, Store};

/// So soon members that are down are forgotten here.
const FORGET: Duration = Duration::from_secs(4);

fn config(name: &str, join: &[&Store]) -> ConfigBuilder {
    capture_log();
    let join = join.iter().map(|store| address(store));
    Config::builder().name(name).listen("127.0.0.1:0").join(join).forget_members(FORGET)
}

async fn with_secrets(secrets: &Secrets, name: &str, join: &[&Store]) -> Store {
    start(config(name, join).in_memory().secrets(secrets.clone())).await
}

async fn kept(secrets: &Secrets, name: &str, directory: &Path, join: &[&Store]) -> Store {
    start(config(name, join).data_dir(directory).secrets(secrets.clone())).await
}

async fn start(config: ConfigBuilder) -> Store {
    Store::open(config.build().expect("settings")).await.expect("opened")
}

/// What one is known to hold at another: what it presents first.
fn keys_of(at: &Store, of: &Store) -> Vec<KeyId> {
    at.members().into_iter().find(|member| member.id == of.id()).map(|member| member.keys).unwrap_or_default()
}

/// A figure of a store.
fn figure(of: &Store, name: &str) -> u64 {
    let metrics = of.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
    line.parse().expect("a number")
}

/// Two rotations' worth: the first secret, it with its successor, and that alone.
fn rotation() -> [Secrets; 3] {
    let old = Secrets::from(secret());
    let both = old.rotated(secret());
    let new = both.presented_only();
    [old, both, new]
}

/// At how many looks the two were not linked, until it is over.
async fn gaps(a: Store, b: Store, over: Arc<AtomicBool>) -> u64 {
    let mut gaps = 0;
    while !over.load(Ordering::Relaxed) {
        gaps += u64::from(!linked(&a, &b));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gaps
}

/// rotation_while_away
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_while_away() {
    let [old, both, new] = rotation();
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (with_secrets(&old, "a", &[]).await, kept(&old, "b", directory.path().join("b").as_path(), &[]).await);
    b.add_peer(&address(&a)).await.expect("an address");
    let c = kept(&old, "c", &directory.path().join("c"), &[&a, &b]).await;
    mesh(&[&a, &b, &c]).await;
    c.put("by c", "before").await.expect("written");
    agree(&[&a, &b, &c]).await;
    let away = c.id();
    c.close().await;
    eventually("it is gone", || [&a, &b].iter().all(|at| state_of(at, away) == Some(MemberState::Down))).await;

    // The others go on to the new secret. Longer than anybody is remembered otherwise, one of them is still awaited.
    for store in [&a, &b] {
        store.rekey(both.clone()).await.expect("secrets of this cluster");
    }
    tokio::time::sleep(FORGET + Duration::from_secs(2)).await;
    let awaited = |at: &Store| at.members().into_iter().find(|member| member.id == away).expect("it is remembered");
    for at in [&a, &b] {
        assert_eq!((awaited(at).state, awaited(at).keys), (MemberState::Down, old.key_ids()));
        assert!([&a, &b].iter().all(|of| keys_of(at, of) == both.key_ids()));
    }
    a.put("by a", "meanwhile").await.expect("written");
    // A member that comes anew, with the new secret alone, is of the same cluster.
    let d = with_secrets(&new, "d", &[&a]).await;
    mesh(&[&a, &b, &d]).await;
    agree(&[&a, &b, &d]).await;
    assert_eq!(d.status().cluster, a.status().cluster);

    // It comes back with what it had, and gets in; but to who has the new one alone it is a stranger.
    let c = kept(&old, "c", &directory.path().join("c"), &[&a, &b]).await;
    assert_eq!(c.id(), away);
    mesh(&[&a, &b, &c]).await;
    c.put("by c", "after").await.expect("written");
    agree(&[&a, &b, &c, &d]).await;
    let got = |store: &Store, key: &str| store.get(key).map(|value| String::from_utf8_lossy(&value).into_owned());
    for store in [&a, &b, &c, &d] {
        assert_eq!([got(store, "by a"), got(store, "by c")], ["meanwhile", "after"].map(|v| Some(v.to_owned())));
        assert_eq!(keys_of(store, &c), old.key_ids(), "all see who has yet to be brought the new one");
    }
    assert!(!linked(&c, &d));

    // It is brought the new one, and the old one is dropped everywhere.
    c.rekey(both.clone()).await.expect("secrets of this cluster");
    mesh(&[&a, &b, &c, &d]).await;
    eventually("all present the new one", || {
        [&a, &b, &c, &d].iter().all(|of| keys_of(&a, of).first() == new.key_ids().first())
    })
    .await;
    let eve = with_secrets(&old, "eve", &[&a]).await;
    eventually("whoever has the old one is still let in", || linked(&a, &eve) && linked(&c, &eve)).await;
    for store in [&b, &a, &c] {
        store.rekey(new.clone()).await.expect("secrets of this cluster");
    }
    eventually("whoever has the old one alone is out", || eve.status().links.is_empty()).await;
    mesh(&[&a, &b, &c, &d]).await;
    a.put("after it all", "1").await.expect("written");
    agree(&[&a, &b, &c, &d]).await;
    let late = with_secrets(&old, "late", &[&a, &b, &c]).await;
    let [at_a, at_late] = [address(&a), address(&late)];
    eventually("it is told why", || {
        !logged(&["no link", &at_a, "another secret than ours"]).is_empty()
            && !logged(&["refused a connection", &at_late, "it refused us"]).is_empty()
    })
    .await;
    for outsider in [&eve, &late] {
        assert_eq!((outsider.status().links.len(), outsider.get("after it all")), (0, None));
        assert!([&a, &b, &c].iter().all(|at| !linked(at, outsider)));
    }
    for store in [a, b, c, d, eve, late] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_stays_up_through_a_rotation() {
    let [old, both, new] = rotation();
    let (a, b) = (with_secrets(&old, "a", &[]).await, with_secrets(&old, "b", &[]).await);
    a.add_peer(&address(&b)).await.expect("an address");
    mesh(&[&a, &b]).await;
    agree(&[&a, &b]).await;
    let up = |store: &Store| figure(store, "tidings_links_up_total");
    let (before, over) = ([up(&a), up(&b)], Arc::new(AtomicBool::new(false)));
    let watched = tokio::spawn(gaps(a.clone(), b.clone(), over.clone()));
    // One after the other, and writes go on between.
    for (round, store) in [&b, &a].into_iter().enumerate() {
        store.rekey(both.clone()).await.expect("secrets of this cluster");
        a.put(format!("{round}"), "a").await.expect("written");
        eventually("it comes through", || b.get(format!("{round}")).is_some()).await;
    }
    agree(&[&a, &b]).await;
    assert_eq!(before, [up(&a), up(&b)], "it is the same link");
    assert_eq!(figure(&a, "tidings_links_lost_total") + figure(&b, "tidings_links_lost_total"), 0);

    // With the old one dropped the two prove themselves anew: first a new link stands, then the old one goes.
    for store in [&b, &a] {
        store.rekey(new.clone()).await.expect("secrets of this cluster");
        eventually("a new link stands", || up(store) > before[0]).await;
        a.put("last", "1").await.expect("written");
    }
    agree(&[&a, &b]).await;
    // Beyond the time in which a link has to be replaced.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let links = [&a, &b].map(|store| (store.status().links.len(), up(store)));
    assert_eq!(links, [(1, before[0] + 1), (1, before[1] + 1)], "it was replaced once, and not again");
    for store in [&a, &b] {
        assert_eq!(
            figure(store, "tidings_suspicions_total") + figure(store, "tidings_downs_total"),
            0,
            "nobody missed it"
        );
    }
    over.store(true, Ordering::Relaxed);
    assert_eq!(watched.await.expect("it ends"), 0, "there was a link at every moment");
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_after_a_rotation_are_of_the_same_cluster_whomever_they_meet_first() {
    let [_, both, new] = rotation();
    let a = with_secrets(&both, "a", &[]).await;
    let (x, y) = (with_secrets(&new, "x", &[]).await, with_secrets(&new, "y", &[]).await);
    x.add_peer(&address(&y)).await.expect("an address");
    mesh(&[&x, &y]).await;
    x.put("by x", "1").await.expect("written");
    a.put("by a", "1").await.expect("written");
    agree(&[&x, &y]).await;
    y.add_peer(&address(&a)).await.expect("an address");
    mesh(&[&a, &x, &y]).await;
    agree(&[&a, &x, &y]).await;
    let token = a.token_of(&a.session()).await.expect("a token");
    assert!(x.session_of(&token).is_ok(), "sessions go from node to node");

    // Without the line that says of which cluster it is, the new one would found another: nothing is mixed, and both are told.
    let digits = new.to_text().lines().last().map(str::to_owned).expect("the secret");
    let alone = Secrets::from(digits.parse::<Secret>().expect("a secret"));
    let lost = with_secrets(&alone, "lost", &[&a]).await;
    lost.put("elsewhere", "1").await.expect("written");
    let line = format!("cluster {}", a.status().cluster);
    let told = || !logged(&["of another cluster, though it holds our secret", &line, &address(&lost)]).is_empty();
    eventually("who was not told to is told what is missing", || {
        told() || !logged(&[&line, "closed by the peer"]).is_empty()
    })
    .await;
    assert_eq!((a.get("elsewhere"), lost.get("by a")), (None, None));
    assert!(!linked(&lost, &a) && !linked(&a, &lost));
    for store in [a, x, y, lost] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_another_cluster_change_nothing() {
    let [old, both, _] = rotation();
    let directory = tempfile::tempdir().expect("a directory");
    let a = kept(&old, "a", directory.path(), &[]).await;
    let b = open(&secret_of(&old), "b", &[&a]).await;
    mesh(&[&a, &b]).await;
    let refused = a.rekey(secret()).await.expect_err("another cluster's").to_string();
    let line = format!("\"cluster {}\"", a.status().cluster);
    assert!(refused.starts_with("secret: the node is of cluster") && refused.contains(&line), "{refused}");
    assert_eq!(keys_of(&a, &a), old.key_ids());
    a.put("goes on", "1").await.expect("written");
    agree(&[&a, &b]).await;
    a.close().await;
    // Nor is its directory opened with them; with those that came after its own it is.
    let opened =
        Store::open(config("a", &[]).data_dir(directory.path()).secret(secret()).build().expect("settings")).await;
    assert!(matches!(opened, Err(Error::InvalidConfig { setting: "secret", .. })), "{opened:?}");
    let a = kept(&both.presented_only(), "a", directory.path(), &[]).await;
    assert_eq!(a.get("goes on").as_deref(), Some(&b"1"[..]));
    a.close().await;
    b.close().await;
}

fn secret_of(secrets: &Secrets) -> Secret {
    secrets.to_text().lines().last().expect("a line").parse().expect("a secret")
}
