//! A service registry: instances register under a ttl and renew it, others look them up by prefix or watch them come and
//! go. Who ends in order deregisters; who crashes is gone when its ttl has passed. `cargo run --example service_registry`
//!
//! Every machine runs a node and asks that: a lookup is a read of local memory, and works while the network does not.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tidings::{Cause, Config, Error, PutOptions, Secret, Store};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

/// How long a crashed instance is still found. In earnest 30 s or so: renewing is traffic.
const TTL: Duration = Duration::from_millis(1500);
/// A few renewals may come late before an instance that lives is taken for gone.
const RENEW_EVERY: Duration = Duration::from_millis(400);
const WAIT: Duration = Duration::from_secs(20);

/// What is known of an instance. As JSON, so that other programs can read it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Instance {
    address: String,
    version: u32,
}

/// One machine's access to the registry.
#[derive(Clone)]
struct Registry {
    store: Store,
}

impl Registry {
    fn key(service: &str, name: &str) -> String {
        format!("services/{service}/{name}")
    }

    /// Registers an instance, and renews it for as long as the registration is held.
    async fn register(&self, service: &str, name: &str, instance: Instance) -> Result<Registration, Error> {
        let (store, key) = (self.store.clone(), Self::key(service, name));
        let value = serde_json::to_vec(&instance).map_err(|source| Error::Value { source })?;
        renew(&store, &key, &value).await?;
        let renewing = tokio::spawn({
            let (store, key) = (store.clone(), key.clone());
            async move {
                let mut ticks = interval(RENEW_EVERY);
                ticks.tick().await;
                loop {
                    ticks.tick().await;
                    match renew(&store, &key, &value).await {
                        Ok(()) => {}
                        Err(Error::Closed | Error::Interrupted) => break,
                        // Of a full disk, say: the next tick tries again, and until the ttl has passed nobody notices.
                        Err(error) => eprintln!("{key} was not renewed: {error}"),
                    }
                }
            }
        });
        Ok(Registration { store, key, renewing })
    }

    /// The instances of a service that are registered now, by name.
    fn lookup(&self, service: &str) -> BTreeMap<String, Instance> {
        let prefix = Self::key(service, "");
        let found = self.store.scan(&prefix).into_iter();
        found.filter_map(|(key, value)| Some((name_of(&prefix, &key)?, serde_json::from_slice(&value).ok()?))).collect()
    }

    /// Instances of a service as they come and go; first those that are there.
    fn follow(&self, service: &str) -> Followed {
        // Watched before it is read: what changes in between comes twice rather than never.
        let changes = self.store.watch(Self::key(service, ""));
        let pending = self.lookup(service).into_iter().map(|(name, instance)| News::Came(name, instance)).collect();
        Followed { registry: self.clone(), service: service.to_owned(), changes, known: BTreeMap::new(), pending }
    }
}

async fn renew(store: &Store, key: &str, value: &[u8]) -> Result<(), Error> {
    store.put_with(key, value.to_vec(), PutOptions::default().ttl(TTL)).await.map(drop)
}

fn name_of(prefix: &str, key: &[u8]) -> Option<String> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix).map(str::to_owned)
}

/// An instance that is registered. Dropped without [`deregister`](Self::deregister), it is no longer renewed, as after a
/// crash.
struct Registration {
    store: Store,
    key: String,
    renewing: JoinHandle<()>,
}

impl Registration {
    /// The others know at once.
    async fn deregister(mut self) -> Result<(), Error> {
        self.renewing.abort();
        // A renewal that is under way on another thread must not come after the delete.
        let _ = (&mut self.renewing).await;
        self.store.delete(&self.key).await.map(drop)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

enum News {
    Came(String, Instance),
    Changed(String, Instance),
    Went(String, &'static str),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came(name, instance) => write!(f, "{name} came: {} (version {})", instance.address, instance.version),
            Self::Changed(name, instance) => {
                write!(f, "{name} is now {} (version {})", instance.address, instance.version)
            }
            Self::Went(name, why) => write!(f, "{name} went: {why}"),
        }
    }
}

/// See [`Registry::follow`].
struct Followed {
    registry: Registry,
    service: String,
    changes: tidings::Changes,
    known: BTreeMap<String, Instance>,
    pending: Vec<News>,
}

impl Followed {
    /// `None` when the store was closed. A renewal is no news.
    async fn next(&mut self) -> Option<News> {
        loop {
            while let Some(news) = self.pending.pop() {
                if let Some(news) = self.note(news) {
                    return Some(news);
                }
            }
            let change = self.changes.next().await?;
            if let Cause::Resync(_) = change.cause {
                self.read_again();
                continue;
            }
            let Some(name) = name_of(&Registry::key(&self.service, ""), &change.key) else { continue };
            let instance = change.value.and_then(|value| serde_json::from_slice(&value).ok());
            let why = if change.cause == Cause::Expired { "its ttl has passed" } else { "it deregistered" };
            self.pending.push(instance.map_or(News::Went(name.clone(), why), |instance| News::Came(name, instance)));
        }
    }

    fn note(&mut self, news: News) -> Option<News> {
        match news {
            News::Came(name, instance) | News::Changed(name, instance) => {
                match self.known.insert(name.clone(), instance.clone()) {
                    None => Some(News::Came(name, instance)),
                    Some(before) => (before != instance).then_some(News::Changed(name, instance)),
                }
            }
            News::Went(name, why) => self.known.remove(&name).map(|_| News::Went(name, why)),
        }
    }

    /// What changed is not known any more: what is there now is compared with what was known.
    fn read_again(&mut self) {
        let now = self.registry.lookup(&self.service);
        let gone = self.known.keys().filter(|name| !now.contains_key(*name));
        self.pending = gone.map(|name| News::Went(name.clone(), "it is not there any more")).collect();
        self.pending.extend(now.into_iter().map(|(name, instance)| News::Came(name, instance)));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = Secret::random(&mut rand::rng());
    let first = open(&secret, &[]).await?;
    let second = open(&secret, &[first.store.listen_addr().to_string()]).await?;
    let mut followed = second.follow("billing");

    let a = first.register("billing", "a", Instance { address: "10.0.0.1:8080".into(), version: 1 }).await?;
    let b = first.register("billing", "b", Instance { address: "10.0.0.2:8080".into(), version: 1 }).await?;
    let other = first.register("search", "c", Instance { address: "10.0.0.3:8080".into(), version: 7 }).await?;
    expect(&mut followed, "a came").await?;
    expect(&mut followed, "b came").await?;
    println!("lookup of billing at the other node: {:?}", second.lookup("billing").keys().collect::<Vec<_>>());
    assert_eq!(second.lookup("billing").len(), 2);

    // A new version in the same place.
    drop(a);
    let a = first.register("billing", "a", Instance { address: "10.0.0.1:8080".into(), version: 2 }).await?;
    expect(&mut followed, "a is now").await?;

    a.deregister().await?;
    expect(&mut followed, "a went: it deregistered").await?;

    // As good as a crash: b is not renewed any more, and each node lets it expire by itself.
    drop(b);
    assert!(second.lookup("billing").contains_key("b"));
    expect(&mut followed, "b went: its ttl has passed").await?;
    assert!(second.lookup("billing").is_empty());
    assert_eq!(second.lookup("search").len(), 1, "who is renewed stays");

    // In order: what is registered here is taken out, then the node says goodbye.
    other.deregister().await?;
    first.store.close().await;
    second.store.close().await;
    Ok(())
}

async fn expect(followed: &mut Followed, what: &str) -> Result<(), Box<dyn std::error::Error>> {
    let news = timeout(WAIT, followed.next()).await?.ok_or("the store was closed")?;
    println!("{news}");
    assert!(news.to_string().starts_with(what), "expected {what:?}");
    Ok(())
}

async fn open(secret: &Secret, join: &[String]) -> Result<Registry, Error> {
    let config = Config::builder().in_memory().listen("127.0.0.1:0").join(join).secret(secret.clone());
    Ok(Registry { store: Store::open(config.build()?).await? })
}
