//! Links on one connection, one after the other. Not responsible for what a link does.
//!
//! A silent link is lost, and soon: its peer may be gone, and others are asked. But the connection is kept for a while, and asks
//! on. Where it was the network that failed, an answer comes as soon as it is healed; then the dialer begins the next session
//! on it, which takes a fraction of the time and bytes of a handshake.

use super::{CloseCode, channel};
use quinn::{Connection, RecvStream, SendStream};
use std::time::Duration;

/// How often a kept connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a link is made of: a connection, and which of its links it will be. The dialer begins each, by opening its control
/// channel.
#[derive(Debug)]
pub struct Session {
    pub(super) connection: Connection,
    pub(super) number: u64,
    /// The stream that it began with, and its channel.
    pub(super) first: Option<(u64, SendStream, RecvStream)>,
}

impl Session {
    /// The first on a new connection. Which side dialed is known to the connection.
    pub fn first(connection: Connection) -> Self {
        Self { connection, number: 0, first: None }
    }

    /// Closes the connection instead.
    pub fn refuse(self, code: CloseCode, reason: &str) {
        self.connection.close(code.into(), reason.as_bytes());
    }
}

/// A connection whose link is lost.
#[derive(Debug)]
pub struct Kept {
    pub(super) connection: Connection,
    /// Of the link that is lost.
    pub(super) session: u64,
    /// The peer is there: it was the one that had heard nothing.
    pub(super) heard: bool,
    /// The peer has begun it.
    pub(super) next: Option<Session>,
}

impl Kept {
    /// Waits for a sign of life, and tells the next session; none if the connection is lost for good. Takes a moment in any
    /// case: a peer cannot have one session after the other as fast as it can name them.
    pub async fn revived(mut self) -> Option<Session> {
        tokio::time::sleep(LOOK_EVERY).await;
        match self.next.take() {
            Some(next) => Some(next),
            None if self.connection.side().is_client() => self.begin().await,
            None => self.accept().await,
        }
    }

    async fn begin(&self) -> Option<Session> {
        let datagrams = || self.connection.stats().udp_rx.datagrams;
        let heard = datagrams();
        while !self.heard && datagrams() == heard {
            tokio::select! {
                _ = self.connection.closed() => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        Some(Session { connection: self.connection.clone(), number: self.session + 1, first: None })
    }

    async fn accept(&self) -> Option<Session> {
        loop {
            let (mut send, mut recv) = self.connection.accept_bi().await.ok()?;
            match channel::read_name(&mut recv).await {
                Ok(Some((number, channel))) if number > self.session => {
                    let first = Some((channel, send, recv));
                    return Some(Session { connection: self.connection.clone(), number, first });
                }
                // Left from before.
                _ => channel::abandon(&mut send, &mut recv),
            }
        }
    }
}
