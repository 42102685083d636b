//! What is behind the names among the addresses to join: looked up, and looked up again at intervals. Not responsible for
//! dialling: the node is told which addresses have come and gone.
//!
//! An address is wanted as long as it was given itself, or is behind a name that was given. A name that cannot be looked up
//! keeps what it had. One that has never been found is tried more often.

use super::command::Command;
use crate::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// A name is looked up no longer than this.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// How often, as long as nothing was ever found behind one of them.
const FIRST_EVERY: Duration = Duration::from_secs(1);
/// Of one name no more addresses are taken.
const ADDRESSES_MAX: usize = 256;

/// An answer that will come.
type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Who knows what is behind a name.
pub(crate) trait Resolver: std::fmt::Debug + Send + Sync + 'static {
    /// All addresses behind `HOST:PORT`.
    fn look_up(&self, name: String) -> Answer;
}

/// The system's resolver.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn look_up(&self, name: String) -> Answer {
        Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) })
    }
}

/// Whether it is an address, and no name.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

/// What was given, and what is behind the names in it.
#[derive(Debug, Default)]
struct Seeds {
    given: BTreeSet<String>,
    found: BTreeMap<String, BTreeSet<String>>,
    /// Why names could not be looked up, as it was said.
    failures: BTreeMap<String, String>,
}

/// What has changed for the node.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changed {
    added: Vec<String>,
    dropped: Vec<String>,
}

impl Changed {
    fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty()
    }
}

impl Seeds {
    fn names(&self) -> Vec<String> {
        self.given.iter().filter(|text| !is_address(text)).cloned().collect()
    }

    /// How long until the next lookup; `None` where there is no name.
    fn wait(&self, every: Duration) -> Option<Duration> {
        let names = self.names();
        let are_found = names.iter().all(|name| self.found.contains_key(name));
        let wait = if are_found { every } else { every.min(FIRST_EVERY) };
        (!names.is_empty()).then_some(wait)
    }

    fn wanted(&self) -> BTreeSet<String> {
        let given = self.given.iter().filter(|text| is_address(text));
        given.chain(self.found.values().flatten()).cloned().collect()
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Changed {
        let before = self.wanted();
        change(self);
        let after = self.wanted();
        let without = |these: &BTreeSet<String>, those| these.difference(those).cloned().collect();
        Changed { added: without(&after, &before), dropped: without(&before, &after) }
    }

    fn give(&mut self, added: Vec<String>, dropped: &[String]) -> Changed {
        self.change(|seeds| {
            dropped.iter().for_each(|text| _ = seeds.given.remove(text));
            seeds.given.extend(added);
            let given = &seeds.given;
            seeds.found.retain(|name, _| given.contains(name));
            seeds.failures.retain(|name, _| given.contains(name));
        })
    }

    /// A name was looked up, or could not be: then what it had stays.
    fn find(&mut self, name: &str, found: io::Result<Vec<SocketAddr>>) -> Changed {
        let found = found.and_then(|found| match found.is_empty() {
            true => {
                Err(io::Error::new(io::ErrorKind::NotFound, "no address is behind it that the node's own could reach"))
            }
            false => Ok(found),
        });
        match found {
            Ok(found) if self.given.contains(name) => {
                self.failures.remove(name);
                let found = found.iter().take(ADDRESSES_MAX).map(SocketAddr::to_string).collect();
                self.change(|seeds| _ = seeds.found.insert(name.to_owned(), found))
            }
            Ok(_) => Changed::default(),
            Err(error) => {
                self.report(name, error.to_string());
                Changed::default()
            }
        }
    }

    /// Once for each name and reason.
    fn report(&mut self, name: &str, error: String) {
        if self.failures.get(name) != Some(&error) {
            let kept = self.found.get(name).map_or(0, BTreeSet::len);
            warn!(name, error, kept, "cannot look up a name to join; what was behind it stays");
            self.failures.insert(name.to_owned(), error);
        }
    }
}

/// The addresses to join of one node, kept right.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Held while the node is told, so that it hears of changes in their order.
    seeds: Mutex<Seeds>,
    resolver: Arc<dyn Resolver>,
    every: Duration,
    /// The node's socket reaches these alone.
    ipv4_only: bool,
    renamed: Notify,
}

impl Discovery {
    /// The node knows the addresses among those given already.
    pub(crate) fn new(given: &[String], resolver: Arc<dyn Resolver>, every: Duration, ipv4_only: bool) -> Self {
        let seeds = Seeds { given: given.iter().cloned().collect(), ..Seeds::default() };
        Self { seeds: Mutex::new(seeds), resolver, every, ipv4_only, renamed: Notify::new() }
    }

    /// Other addresses and names are given.
    pub(crate) async fn give(
        &self,
        added: Vec<String>,
        dropped: &[String],
        commands: &mpsc::Sender<Command>,
    ) -> Result<(), Error> {
        let mut seeds = self.seeds.lock().await;
        let changed = seeds.give(added, dropped);
        tell(changed, commands).await?;
        self.renamed.notify_one();
        Ok(())
    }

    /// Looks up all names, again and again, as long as the node runs.
    pub(crate) async fn follow(self: Arc<Self>, commands: mpsc::WeakSender<Command>) {
        loop {
            if self.look_up_all(&commands).await.is_none() {
                return;
            }
            let wait = self.seeds.lock().await.wait(self.every);
            tokio::select! {
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                () = self.renamed.notified() => {}
            }
        }
    }

    /// `None` if the node has ended.
    async fn look_up_all(&self, commands: &mpsc::WeakSender<Command>) -> Option<()> {
        commands.upgrade().filter(|commands| !commands.is_closed())?;
        let names = self.seeds.lock().await.names();
        let mut lookups = JoinSet::new();
        for name in names {
            let answer = tokio::time::timeout(LOOKUP_MAX, self.resolver.look_up(name.clone()));
            let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            lookups.spawn(async move { (name, answer.await.unwrap_or_else(late)) });
        }
        while let Some(looked_up) = lookups.join_next().await {
            // A resolver that panics has found nothing.
            let Ok((name, found)) = looked_up else { continue };
            let found = found.map(|mut found| {
                found.retain(|address| address.is_ipv4() || !self.ipv4_only);
                found
            });
            let mut seeds = self.seeds.lock().await;
            let was_found = seeds.found.contains_key(&name);
            let changed = seeds.find(&name, found);
            // Of the first answer the node hears in any case: it may be that there is nobody else.
            if was_found != seeds.found.contains_key(&name) || !changed.is_nothing() {
                info!(name, added = ?changed.added, dropped = ?changed.dropped, "looked up a name to join");
                tell(changed, &commands.upgrade()?).await.ok()?;
            }
        }
        Some(())
    }
}

async fn tell(changed: Changed, commands: &mpsc::Sender<Command>) -> Result<(), Error> {
    let Changed { added, dropped } = changed;
    let (reply, answer) = oneshot::channel();
    commands.send(Command::Rejoin { added, dropped, reply }).await.map_err(|_| Error::Closed)?;
    answer.await.map_err(|_| Error::Interrupted)?
}

#[cfg(test)]
mod tests;
