//! Causal sessions: waiting for what a client has seen, and the token that it carries. Not responsible for getting what
//! lacks: the node pulls it.

use super::Store;
use super::reading::{page, read, values};
use crate::Error;
use crate::crdt::{Key, OrMap, Session};
use crate::proto::node::{Node, StandIn};
use crate::runtime::command::Command;
use crate::types::{Page, Reading};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::sync::PoisonError;
use std::time::Duration;

/// Tokens are carried in headers.
pub(crate) const TOKEN_CHARS_MAX: usize = 4096;

/// What was seen in one look at the node, which commit makes that durable, and how many had failed.
struct Look<T> {
    shown: T,
    commit: u64,
    failed: u64,
}

impl<T> Look<T> {
    fn of(node: &Node, look: impl FnOnce(&Node) -> (u64, T)) -> Self {
        let (commit, shown) = look(node);
        Self { shown, commit, failed: node.failed_commits() }
    }
}

impl Store {
    /// What this node has seen. Copies 16 bytes for each replica that has ever written.
    pub fn session(&self) -> Session {
        Session::from(self.0.shared.node().map().context())
    }

    /// Whether this node has all that the session has seen: what it shows now includes that.
    /// Linear in the replicas; waits for nothing.
    pub fn has_reached(&self, session: &Session) -> bool {
        session.is_within(self.0.shared.node().map().context())
    }

    /// Returns when this node has all that the session has seen, which it pulls if it lacks it. Reads and writes after
    /// that are the session's next: they see, and supersede, what it has seen.
    ///
    /// May be dropped at any time. Costs nothing but a look if the node has it all.
    ///
    /// # Errors
    ///
    /// [`Error::NotYetHere`] if that takes longer than `wait`.
    pub async fn wait_for(&self, session: &Session, wait: Duration) -> Result<(), Error> {
        if self.has_reached(session) {
            return Ok(());
        }
        let mut version = self.0.version.clone();
        let pull = Command::PullFor { session: session.clone() };
        self.0.commands.send(pull).await.map_err(|_| Error::Closed)?;
        match tokio::time::timeout(wait, version.wait_for(|_| self.has_reached(session))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::NotYetHere),
        }
    }

    /// As [`wait_for`](Self::wait_for), but waits only if a sync that will bring it is under way: what is half here is as
    /// good as here, and elsewhere nobody waits in vain.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    pub async fn wait_while_arriving(&self, session: &Session, wait: Duration) -> Result<(), Error> {
        if self.has_reached(session) {
            return Ok(());
        }
        let arriving = self.0.shared.node().is_arriving(session);
        self.wait_for(session, if arriving { wait } else { Duration::ZERO }).await
    }

    /// The value that the key shows, once this node has all that the session has seen.
    /// Costs that, and a [`get`](Self::get); may be dropped at any time.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    pub async fn get_after(
        &self,
        key: impl AsRef<[u8]>,
        session: &Session,
        wait: Duration,
    ) -> Result<Option<Bytes>, Error> {
        self.wait_for(session, wait).await?;
        Ok(self.get(key))
    }

    /// The value that the key shows and its write, and what has been seen by reading it: all that this node has.
    ///
    /// Of the section that the key names, `usr` unless it says `sys`: see [`Key`]. A session must not see what a crash can
    /// take back: where a write of the key is not on disk yet, this waits for that, and then shows it. May be dropped at
    /// any time.
    pub async fn read_with_session<'k>(&self, key: impl Into<Key<'k>>) -> (Option<Reading>, Session) {
        let key = key.into();
        let look = |node: &Node| (read(node.map(), key, self.now_ms()), seen(node.map(), key));
        self.durably(|| Look::of(&self.0.shared.node(), |node| (node.commit_of(key), look(node)))).await
    }

    /// All live values of the key, and what has been seen by reading them. As [`read_with_session`](Self::read_with_session).
    /// May be dropped at any time.
    pub async fn values_with_session<'k>(&self, key: impl Into<Key<'k>>) -> (Vec<Reading>, Session) {
        let key = key.into();
        let look = |node: &Node| (values(node.map(), key, self.now_ms()), seen(node.map(), key));
        self.durably(|| Look::of(&self.0.shared.node(), |node| (node.commit_of(key), look(node)))).await
    }

    /// As [`page`](Self::page), with what has been seen by reading it, once all that was written until then is on disk.
    /// Costs what that does, and may be dropped at any time.
    pub async fn page_with_session<'k>(
        &self,
        prefix: impl Into<Key<'k>>,
        start: Option<&[u8]>,
        limit: usize,
    ) -> (Page, Session) {
        let prefix = prefix.into();
        self.durably(|| {
            let mut node = self.0.shared.node_mut();
            let page = page(node.map_for_scan(), prefix, start, limit, self.now_ms());
            Look::of(&node, |node| (node.commit_of_now(), (page, Session::from(&node.map().context_of_all()))))
        })
        .await
    }

    /// What a look at the node shows, once that is durable. If a commit fails meanwhile, it may have been taken back, and is
    /// looked for again.
    async fn durably<T>(&self, look: impl Fn() -> Look<T>) -> T {
        let mut version = self.0.version.clone();
        loop {
            let Look { shown, commit, failed } = look();
            if self.0.shared.node().durable_commit() >= commit {
                return shown;
            }
            let settled = |_: &u64| {
                let node = self.0.shared.node();
                node.durable_commit() >= commit || node.failed_commits() != failed
            };
            // An error says that the node has ended, and what it shows is all that there will be.
            let ended = version.wait_for(settled).await.is_err();
            if ended || self.0.shared.node().failed_commits() == failed {
                return shown;
            }
        }
    }

    /// The session as a text of at most 4,096 characters that fits a header, for a client to carry to any node of this
    /// cluster.
    ///
    /// Where more than about 300 replicas have written, it says what was seen since a dot of this node's that stands for
    /// the rest; if that is too much as well, the node takes a new such dot, and this returns when that is durable.
    ///
    /// Linear in the replicas; may be dropped at any time.
    ///
    /// # Errors
    ///
    /// [`Error::SessionTooLong`] if the session has seen so much more than this node has (a sync is under way that brings
    /// it); those of a write, where a dot is to be taken. Nothing changed.
    pub async fn token_of(&self, session: &Session) -> Result<String, Error> {
        if let Some(token) = self.short_token(session) {
            return Ok(token);
        }
        let known = self.stand_in();
        if let Some(token) = known.and_then(|stand_in| self.token_with(session, &stand_in)) {
            return Ok(token);
        }
        let fresh = self.ask(|reply| Command::StandIn { reply }).await?;
        *self.0.stand_in.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        self.token_with(session, &fresh).ok_or(Error::SessionTooLong)
    }

    /// The session that a token stands for. Linear in the token; waits for nothing.
    ///
    /// # Errors
    ///
    /// [`Error::BadSession`] if it is no token of this cluster.
    pub fn session_of(&self, token: &str) -> Result<Session, Error> {
        let bad = |problem: String| Error::BadSession { problem };
        let none = |_| bad("it is not in the form of one".to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(none)?;
        Session::decode(&bytes, self.0.key).map_err(|error| bad(error.to_string()))
    }

    fn short_token(&self, session: &Session) -> Option<String> {
        let token = URL_SAFE_NO_PAD.encode(session.encode(self.0.key));
        (token.len() <= TOKEN_CHARS_MAX).then_some(token)
    }

    fn token_with(&self, session: &Session, stand_in: &StandIn) -> Option<String> {
        self.short_token(&session.beyond(&stand_in.context, stand_in.dot.replica))
    }

    fn stand_in(&self) -> Option<StandIn> {
        self.0.stand_in.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All that the replica has, and what an unfinished sync has brought of the key.
fn seen(map: &OrMap, key: Key<'_>) -> Session {
    if map.pending() == 0 { Session::from(map.context()) } else { Session::from(&map.context_of(key)) }
}
