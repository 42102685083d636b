//! The crate's page, called from outside: it compiles, runs, and does what it says.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidings::{Config, Delta, Dot, Durability, Error, OrMap, PutOptions, ReplicaId, Secret, Store, Written};

const NOW: u64 = 1_700_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    the_map()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(the_store())?;
    println!("1 passed, 0 failed");
    Ok(())
}

fn the_map() -> Result<(), Box<dyn std::error::Error>> {
    let mut a = OrMap::new(ReplicaId::from(1));
    let mut b = OrMap::new(ReplicaId::random(&mut rand::rng()));
    let dot: Dot = a.put(b"key", b"value", NOW);
    assert_eq!(dot, Dot::new(ReplicaId::from(1), 1));
    a.put_until(b"soon gone", b"value", NOW + 10, NOW);
    b.put(b"key", b"other", NOW + 1);
    let delta = Delta::decode(&a.delta_since(b.context()).encode())?;
    let changed = b.merge(delta);
    assert!(changed.missing.is_empty());
    for change in changed {
        assert_ne!(change.old, change.new);
    }
    assert_eq!(b.get(b"key", NOW), Some(&b"other"[..]));
    assert_eq!(b.siblings(b"key", NOW).len(), 1);
    assert_eq!(b.scan(b"", NOW + 20).count(), 1);
    let gone: Option<Dot> = b.delete(b"key", NOW);
    assert!(gone.is_some() && b.delete(b"key", NOW).is_none());
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kettle {
    on: bool,
}

async fn the_store() -> Result<(), Error> {
    let secret = Secret::random(&mut rand::rng());
    let builder = || Config::builder().in_memory().listen("127.0.0.1:0").secret(secret.clone());
    let one = Store::open(builder().build()?).await?;
    let two = Store::open(builder().join([one.listen_addr().to_string()]).build()?).await?;
    let wait = Duration::from_secs(30);

    let written: Written = one.put("key", "value").await?;
    assert_eq!(two.get_after("key", &written.session, wait).await?.as_deref(), Some(&b"value"[..]));
    let options = PutOptions::default().ttl(Duration::from_secs(60)).durability(Durability::Eventual);
    let written = two.put_with("short", "lived", options).await?;
    assert!(one.get_after("short", &written.session, wait).await?.is_some());
    one.put_as("kettle", &Kettle { on: true }).await?;
    assert_eq!(one.get_as::<Kettle>("kettle")?, Some(Kettle { on: true }));
    assert_eq!(one.scan("k").len(), 2);
    let deleted = one.delete("key").await?.expect("it was there");
    assert_eq!(two.get_after("key", &deleted.session, wait).await?, None);
    assert_eq!(one.get("key"), None);

    assert_eq!(two.members().len(), 2);
    assert!(two.sys().get(format!("members/{}", one.id())).is_some());
    assert_eq!(two.peers().len(), 1);
    assert!(two.remove_peer(&one.id().to_string()).await?);
    assert!(two.add_peer(&one.listen_addr().to_string()).await?);
    assert_eq!(two.status().id, two.id().to_string());
    two.leave().await?;
    assert!(matches!(two.put("late", "write").await, Err(Error::Closed)));
    one.close().await;
    Ok(())
}
