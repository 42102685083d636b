//! The shortest program with a replicated store in it. `cargo run --example embed`

use tidings::{Config, Secret, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), tidings::Error> {
    let secret = Secret::random(&mut rand::rng()); // of the whole cluster; a real one is in a file
    let config = Config::builder().in_memory().listen("127.0.0.1:0").secret(secret).build()?;
    let store = Store::open(config).await?;
    let mut changes = store.watch("ket");
    store.put("kettle", "on").await?;
    println!("kettle: {:?}", store.get("kettle").expect("it was just written"));
    let change = changes.next().await.expect("the store is open");
    println!("told: {:?} {:?} {:?}", change.cause, change.key, change.value);
    store.delete("kettle").await?;
    assert_eq!(store.get("kettle"), None);
    store.close().await;
    Ok(())
}
