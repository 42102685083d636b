//! Changes as they come, with why; and going on from a cursor at another node. `cargo run --example watch`

use std::time::Duration;
use tidings::{Cause, Change, Config, Cursor, Error, PutOptions, Secret, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let secret = Secret::random(&mut rand::rng());
    let here = open(&secret, &[]).await?;
    let there = open(&secret, &[here.listen_addr().to_string()]).await?;

    // A watcher is told what changes below its prefix from now on, wherever it was written. What is there already, it reads:
    // begun before the read, it misses nothing.
    let mut changes = here.watch("lamps/");
    assert!(here.scan("lamps/").is_empty());

    there.put("lamps/hall", "on").await?;
    let on = next(&mut changes).await;
    assert_eq!((on.cause, on.value.as_deref()), (Cause::Put, Some(&b"on"[..])));

    here.put("heating", "off").await?; // not below the prefix
    here.put_with("lamps/stairs", "on", PutOptions::default().ttl(Duration::from_millis(300))).await?;
    assert_eq!(next(&mut changes).await.cause, Cause::Put);
    let expired = next(&mut changes).await;
    assert_eq!((expired.cause, &expired.key[..]), (Cause::Expired, &b"lamps/stairs"[..]));

    let off = here.delete("lamps/hall").await?.expect("it was on");
    assert_eq!(next(&mut changes).await.cause, Cause::Delete);

    // The cursor of any change is bytes to keep. Who comes back with it, here or at any other node, is told what has
    // changed since: of a key that changed several times the latest. `Cause::Resync` would say: read everything again.
    let kept = on.cursor.encode();
    there.wait_for(&off.session, Duration::from_secs(20)).await?;
    let mut resumed = there.watch_after("lamps/", &Cursor::decode(&kept)?)?;
    println!("-- going on at the other node, after lamps/hall was put:");
    let missed = [next(&mut resumed).await, next(&mut resumed).await];
    assert!(missed.iter().any(|change| &change.key[..] == b"lamps/hall" && change.cause == Cause::Delete));
    assert!(missed.iter().any(|change| &change.key[..] == b"lamps/stairs" && change.cause == Cause::Expired));

    // The stream ends with its store.
    here.close().await;
    assert!(changes.next().await.is_none());
    there.close().await;
    Ok(())
}

async fn next(changes: &mut tidings::Changes) -> Change {
    let change = changes.next().await.expect("the store is open");
    let key = String::from_utf8_lossy(&change.key);
    match &change.value {
        Some(value) => println!("{:8} {key} = {}", change.cause.name(), String::from_utf8_lossy(value)),
        None => println!("{:8} {key}", change.cause.name()),
    }
    change
}

async fn open(secret: &Secret, join: &[String]) -> Result<Store, Error> {
    let config = Config::builder().in_memory().listen("127.0.0.1:0").join(join).secret(secret.clone());
    Store::open(config.build()?).await
}
