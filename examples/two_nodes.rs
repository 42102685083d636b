//! Two nodes in one process: they agree, keep what was written at once, and what is deleted stays deleted, though one
//! of them was away and the other has forgotten the delete. `cargo run --example two_nodes`

use std::time::Duration;
use tidings::{Config, Error, Secret, Store};
use tokio::time::{sleep, timeout};

const WAIT: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = Secret::random(&mut rand::rng());
    let attic = open("attic", &secret, &[]).await?;
    let cellar = open("cellar", &secret, &[attic.listen_addr().to_string()]).await?;

    // A session says what has been seen; any node serves it once it has that too, and pulls it if it lacks it.
    let written = attic.put("kettle", "on").await?;
    let seen = cellar.get_after("kettle", &written.session, WAIT).await?;
    println!("attic put kettle, cellar reads {:?}", seen.expect("it was written before"));

    // Cut off from each other, both write: neither has seen the other's.
    cellar.disconnect().await?;
    attic.put("lamp", "red").await?;
    cellar.put("lamp", "blue").await?;
    // The attic deletes, and after a while forgets even that it did; the cellar still shows the value.
    attic.delete("kettle").await?;
    assert!(cellar.get("kettle").is_some());
    timeout(WAIT, async {
        while attic.status().tombstones > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await?;
    println!("cut off: attic has forgotten its delete, cellar still shows the kettle");

    cellar.reconnect().await?;
    attic.wait_for(&cellar.session(), WAIT).await?;
    cellar.wait_for(&attic.session(), WAIT).await?;
    for (name, store) in [("attic", &attic), ("cellar", &cellar)] {
        assert_eq!(store.get("kettle"), None, "what is deleted stays deleted");
        let lamp = store.values("lamp");
        let shown: Vec<_> = lamp.iter().map(|reading| &reading.value[..]).collect();
        assert_eq!(shown, [b"blue".as_slice(), b"red"], "the later by the clock is read, the other is not lost");
        println!("{name}: no kettle; lamp {:?}, and beside it {:?}", lamp[0].value, lamp[1].value);
    }

    // A write that has seen both replaces both, whatever the clocks say.
    let settled = cellar.put("lamp", "violet").await?;
    attic.wait_for(&settled.session, WAIT).await?;
    assert_eq!(attic.values("lamp").len(), 1);
    println!("after a write that has seen both: {:?} everywhere", attic.get("lamp").expect("it was put"));

    cellar.close().await;
    attic.close().await;
    Ok(())
}

async fn open(name: &str, secret: &Secret, join: &[String]) -> Result<Store, Error> {
    let config = Config::builder()
        .in_memory()
        .name(name)
        .listen("127.0.0.1:0")
        .join(join)
        .secret(secret.clone())
        // An hour, as a rule. This short, and a node that was away needs a catch-up; the result is the same.
        .tombstone_retention(Duration::from_millis(100), 0);
    Store::open(config.build()?).await
}
