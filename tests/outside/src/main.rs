//! What the crate's page promises, used from outside. Ends with 0 if it is all there and does what it says.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidings::crdt::Causality;
use tidings::{
    Config, CutSwitch, Delta, Dot, Durability, Error, LinkMode, Member, MemberState, OrMap, Peer, PeerState,
    PutOptions, Reading, Record, ReplicaId, Secret, Session, Status, Store, Written,
};

const WAIT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    the_map();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { tokio::time::timeout(4 * WAIT, the_store()).await })??;
    println!("all there");
    Ok(())
}

/// The pure map: no network, no clock, no runtime.
fn the_map() {
    let now: u64 = 1_700_000_000_000;
    let mut a = OrMap::new(ReplicaId::from(1));
    let mut b = OrMap::new(ReplicaId::random(&mut rand::rng()));
    let dot: Dot = a.put(b"key", b"value", now);
    assert_eq!(dot, Dot::new(a.id(), 1));
    a.put_until(b"short", b"lived", now + 10, now);
    assert_eq!(a.get(b"key", now), Some(&b"value"[..]));
    assert_eq!((a.get(b"short", now), a.get(b"short", now + 10)), (Some(&b"lived"[..]), None));
    assert!(a.siblings(b"key", now).is_empty());
    assert_eq!(a.scan(b"k", now).map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), [b"key"]);

    let delta = a.delta_since(b.context());
    let encoded: bytes::Bytes = delta.encode();
    let delta = Delta::decode(&encoded).expect("what was encoded");
    assert!(Delta::decode(b"anything else").is_err());
    let changed = b.merge(delta);
    let keys: Vec<_> = changed.into_iter().map(|change| (change.key, change.old, change.new)).collect();
    assert!(
        keys.contains(&("key".into(), None, Some("value".into()))),
        "keys with the old and the new value: {keys:?}"
    );
    assert_eq!(a.context().compare(b.context()), Causality::Equal);

    let gone: Option<Dot> = b.delete(b"key", now);
    assert!(gone.is_some());
    assert_eq!(b.delete(b"key", now), None);
    a.put(b"key", b"concurrent", now);
    let _ = a.merge(b.delta_since(a.context()));
    assert_eq!(a.get(b"key", now), Some(&b"concurrent"[..]));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kettle {
    litres: f32,
    on: bool,
}

async fn open(secret: &Secret, name: &str, join: &[String]) -> Result<Store, Error> {
    let config = Config::builder().in_memory().name(name).listen("127.0.0.1:0").join(join.to_vec());
    Store::open(config.secret(secret.clone()).build()?).await
}

/// A replicated store.
async fn the_store() -> Result<(), Error> {
    let digits = Secret::random(&mut rand::rng()).to_hex();
    let secret: Secret = digits.parse().expect("64 digits");
    let store = open(&secret, "one", &[]).await?;
    let address = store.listen_addr().to_string();
    let other = open(&secret, "two", &[address]).await?;

    writing_and_reading(&store, &other).await?;
    the_cluster(&store, &other).await?;

    other.leave().await?;
    while state_of(&store, other.id()) != Some(MemberState::Left) {
        tokio::task::yield_now().await;
    }
    store.close().await;
    let error = store.put("too", "late").await.expect_err("closed");
    assert!(matches!(error, Error::Closed) && !error.state_changed());
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]), "reads go on");
    Ok(())
}

async fn writing_and_reading(store: &Store, other: &Store) -> Result<(), Error> {
    let written: Written = store.put("key", "value").await?;
    let Written { dot, session, replaced, .. } = written;
    let _: (Dot, Session) = (dot, session.clone());
    assert!(!replaced);
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
    assert_eq!(other.get_after("key", &session, WAIT).await?.as_deref(), Some(&b"value"[..]));

    let options = PutOptions::default().ttl(Duration::from_secs(3_600)).durability(Durability::Eventual);
    let written = store.put_with("short", vec![0, 255], options).await?;
    assert!(other.get_after("short", &written.session, WAIT).await?.is_some());
    let reading: Reading = other.read("short").expect("it is there");
    assert!(reading.expires.is_some() && reading.siblings == 0 && reading.dot == written.dot);

    let deleted = store.delete("short").await?.expect("it was there");
    assert_eq!(other.get_after("short", &deleted.session, WAIT).await?, None);
    assert!(store.delete("short").await?.is_none());

    let kettle = Kettle { litres: 1.5, on: true };
    let written = store.put_as("typed", &kettle).await?;
    other.get_after("typed", &written.session, WAIT).await?;
    assert_eq!(other.get_as::<Kettle>("typed")?, Some(kettle));
    assert!(matches!(other.get_as::<Vec<u8>>("typed"), Err(Error::Value { .. })));

    let record = |i: u8| Record { key: vec![b'r', i].into(), value: vec![i].into(), expires: None };
    assert_eq!(store.put_many((0..10).map(record).collect()).await?, 10);
    assert_eq!(store.scan("r").len(), 10);
    assert_eq!(store.page(b"r", None, 4).items.len(), 4);
    assert_eq!(store.values("key").len(), 1);
    assert!(matches!(store.put("", "").await, Err(Error::KeyEmpty)));
    Ok(())
}

async fn the_cluster(store: &Store, other: &Store) -> Result<(), Error> {
    let members: Vec<Member> = store.members();
    assert!(members.iter().any(|member| member.is_self && member.id == store.id() && member.name == "one"));
    assert_eq!(state_of(store, other.id()), Some(MemberState::Alive));
    let record = store.sys().get(format!("members/{}", store.id())).expect("its own record");
    assert!(record.starts_with(b"{"));
    assert_eq!(store.sys().scan("members/").len(), 2);

    let peers: Vec<Peer> = store.peers();
    assert!(peers.iter().any(|peer| peer.state == PeerState::Connected && peer.link != LinkMode::None));
    let address = other.listen_addr().to_string();
    assert!(store.remove_peer(&address).await?);
    assert!(store.peers().is_empty());
    store.add_peer(&address).await?;
    assert!(matches!(store.add_peer("nowhere").await, Err(Error::InvalidAddress { .. })));
    while !(linked(store) && linked(other)) {
        tokio::task::yield_now().await;
    }

    let status: Status = store.status();
    assert!(status.id == store.id().to_string() && status.name == "one" && status.keys >= 12 && status.pending == 0);
    assert!(store.ready().is_ok());
    let cut: CutSwitch = store.cut_switch();
    assert!(!cut.is_cut());
    Ok(())
}

fn linked(store: &Store) -> bool {
    !store.status().links.is_empty()
}

fn state_of(store: &Store, id: ReplicaId) -> Option<MemberState> {
    store.members().into_iter().find(|member| member.id == id).map(|member| member.state)
}
