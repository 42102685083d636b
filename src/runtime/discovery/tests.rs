//! Names and what is behind them: first alone, then of a node.

use super::*;
use crate::{Config, Secret, Store};
use std::sync::Mutex as Lock;

/// Answers that a test changes.
#[derive(Clone, Debug, Default)]
struct Zone(Arc<Lock<BTreeMap<String, Vec<SocketAddr>>>>);

impl Zone {
    fn set(&self, name: &str, addresses: &[SocketAddr]) {
        self.0.lock().expect("whole").insert(name.to_owned(), addresses.to_vec());
    }

    fn forget(&self, name: &str) {
        self.0.lock().expect("whole").remove(name);
    }
}

impl Resolver for Zone {
    fn look_up(&self, name: String) -> Answer {
        let found = self.0.lock().expect("whole").get(&name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name")) })
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7400))
}

fn texts(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| address(*number).to_string()).collect()
}

fn found(numbers: &[u8]) -> io::Result<Vec<SocketAddr>> {
    Ok(numbers.iter().map(|number| address(*number)).collect())
}

fn changed(added: &[u8], dropped: &[u8]) -> Changed {
    Changed { added: texts(added), dropped: texts(dropped) }
}

#[test]
fn what_comes_and_goes_behind_a_name_does_so_for_the_node() {
    let mut seeds = Seeds::default();
    let begun = seeds.give(vec!["a.test:7400".into(), "b.test:7400".into(), address(1).to_string()], &[]);
    assert_eq!(begun, changed(&[1], &[]));
    assert_eq!(seeds.find("a.test:7400", found(&[1, 2, 3])), changed(&[2, 3], &[]));
    assert_eq!(seeds.find("b.test:7400", found(&[3, 4])), changed(&[4], &[]));
    // The static address stays, and so does what the other name has.
    assert_eq!(seeds.find("a.test:7400", found(&[5])), changed(&[5], &[2]));
    assert_eq!(seeds.give(Vec::new(), &["b.test:7400".into()]), changed(&[], &[3, 4]));
    assert_eq!(seeds.find("b.test:7400", found(&[9])), changed(&[], &[]), "nobody wants it any more");
    assert_eq!(seeds.give(Vec::new(), &texts(&[1])), changed(&[], &[1]));
}

#[test]
fn a_lookup_that_fails_keeps_what_there_was_and_says_so_once() {
    let mut seeds = Seeds::default();
    assert_eq!(seeds.wait(Duration::from_secs(30)), None);
    seeds.give(vec!["a.test:7400".into()], &[]);
    assert_eq!(seeds.wait(Duration::from_secs(30)), Some(FIRST_EVERY));
    seeds.find("a.test:7400", found(&[1, 2]));
    for _ in 0..3 {
        let failed = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        assert_eq!(seeds.find("a.test:7400", Err(failed())), Changed::default());
        assert_eq!(seeds.failures.len(), 1);
    }
    assert_eq!(seeds.find("a.test:7400", Ok(Vec::new())), Changed::default(), "an empty answer is none");
    assert_eq!(seeds.wanted().len(), 2);
    assert_eq!(seeds.wait(Duration::from_secs(30)), Some(Duration::from_secs(30)));
    seeds.find("a.test:7400", found(&[2]));
    assert!(seeds.failures.is_empty(), "the next failure is news again");
}

const NAME: &str = "seeds.test:7400";

struct Cluster {
    secret: Secret,
    zone: Zone,
}

impl Cluster {
    fn new() -> Self {
        Self { secret: Secret::random(&mut rand::rng()), zone: Zone::default() }
    }

    async fn open(&self, join: &[&str], directory: Option<&std::path::Path>) -> Store {
        let config = Config::builder().listen("127.0.0.1:0").join(join.iter().copied()).secret(self.secret.clone());
        let config = directory.map_or(config.clone().in_memory(), |directory| config.data_dir(directory));
        let mut config = config.lookup_every(Config::LOOKUP_EVERY_FLOOR).build().expect("settings");
        config.resolver = Arc::new(self.zone.clone());
        Store::open(config).await.expect("opened")
    }
}

/// Waits as long as it takes; the harness ends what never comes.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within a minute: {what}");
}

fn is_linked(one: &Store, other: &Store) -> bool {
    one.status().links.iter().any(|link| link.id == other.id().to_string())
}

fn dials(store: &Store, address: SocketAddr) -> bool {
    store.peers().iter().any(|peer| peer.address == address.to_string())
}

/// An address where nobody is.
fn dead() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.local_addr().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_three_addresses_one_of_them_dead_which_then_change() {
    let cluster = Cluster::new();
    let [a, b, c] = [cluster.open(&[], None).await, cluster.open(&[], None).await, cluster.open(&[], None).await];
    let (dead, later) = (dead(), dead());
    cluster.zone.set(NAME, &[dead, a.listen_addr(), b.listen_addr()]);
    let node = cluster.open(&[NAME], None).await;
    eventually("both that live are linked", || is_linked(&node, &a) && is_linked(&node, &b)).await;
    assert!(dials(&node, dead), "it is tried");
    eventually("it has synced", || node.ready().is_ok()).await;
    cluster.zone.set(NAME, &[b.listen_addr(), c.listen_addr(), later]);
    eventually("the new one is linked", || is_linked(&node, &c)).await;
    eventually("the dead one is released", || !dials(&node, dead) && dials(&node, later)).await;
    assert!(is_linked(&node, &a) && is_linked(&node, &b), "links that stand, stay");
    cluster.zone.forget(NAME);
    tokio::time::sleep(Config::LOOKUP_EVERY_FLOOR * 3).await;
    assert!(dials(&node, later), "a lookup that fails takes nothing away");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_and_go_as_addresses_do() {
    let cluster = Cluster::new();
    let (a, gone, other) = (cluster.open(&[], None).await, dead(), dead());
    cluster.zone.set("later.test:1", &[a.listen_addr(), gone]);
    let node = cluster.open(&[&other.to_string()], None).await;
    node.rejoin(vec!["later.test:1".into(), gone.to_string()], Vec::new()).await.expect("open");
    eventually("the name is looked up at once", || is_linked(&node, &a)).await;
    node.rejoin(Vec::new(), vec![gone.to_string()]).await.expect("open");
    assert!(dials(&node, gone), "it is behind the name, too");
    node.rejoin(Vec::new(), vec!["later.test:1".into()]).await.expect("open");
    assert!(!dials(&node, gone) && dials(&node, other) && is_linked(&node, &a));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_finds_nobody_but_itself_is_ready() {
    let cluster = Cluster::new();
    let node = cluster.open(&[NAME], None).await;
    assert!(node.ready().is_err(), "nobody knows yet");
    cluster.zone.set(NAME, &[node.listen_addr()]);
    eventually("it is alone", || node.ready().is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_stays_out_though_a_name_leads_there() {
    let (cluster, directory) = (Cluster::new(), tempfile::tempdir().expect("a directory"));
    let (a, b) = (cluster.open(&[], None).await, cluster.open(&[], None).await);
    cluster.zone.set(NAME, &[a.listen_addr(), b.listen_addr()]);
    let by_address = a.listen_addr().to_string();
    for join in [NAME, by_address.as_str()] {
        let node = cluster.open(&[join, &b.listen_addr().to_string()], Some(directory.path())).await;
        if join == NAME {
            eventually("both are linked", || is_linked(&node, &a) && is_linked(&node, &b)).await;
            assert!(node.remove_peer(&a.id().to_string()).await.expect("open"));
            cluster.zone.set(NAME, &[b.listen_addr()]);
            tokio::time::sleep(Config::LOOKUP_EVERY_FLOOR * 3).await;
            cluster.zone.set(NAME, &[a.listen_addr(), b.listen_addr()]);
        }
        eventually("the other one is linked", || is_linked(&node, &b)).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!is_linked(&node, &a) && !dials(&node, a.listen_addr()));
        node.close().await;
    }
    let node = cluster.open(&[NAME], Some(directory.path())).await;
    assert!(node.add_peer(&by_address).await.expect("open"));
    eventually("it was added again", || is_linked(&node, &a)).await;
}
