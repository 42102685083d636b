//! Which failed handshakes are worth a warning: a peer that is refused tries again twice a second, for as long as nobody looks.
//! Not responsible for refusing.

use super::{LinkError, LinkFault};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The same of the same peer is told again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// So many are remembered: strangers must not fill memory.
const TOLD_MAX: usize = 64;

/// What was warned of lately, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<(Instant, LinkError)>);

impl Refusals {
    /// Logs it: as a warning, if that is news.
    pub(super) fn tell(&mut self, error: &LinkError) {
        let LinkError { peer, fault } = error;
        match fault {
            LinkFault::GivenUp => tracing::debug!(%peer, reason = %fault, "no connection"),
            _ if self.is_news(error, Instant::now()) => {
                tracing::warn!(%peer, reason = %fault, "refused a connection; the same again is told once a minute");
            }
            _ => tracing::debug!(%peer, reason = %fault, "refused a connection again"),
        }
    }

    fn is_news(&mut self, error: &LinkError, now: Instant) -> bool {
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) >= AGAIN_AFTER) {
            self.0.pop_front();
        }
        if self.0.iter().any(|(_, told)| told == error) {
            return false;
        }
        if self.0.len() >= TOLD_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, error.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(port: u16, fault: LinkFault) -> LinkError {
        LinkError { peer: ([192, 0, 2, 1], port).into(), fault }
    }

    #[test]
    fn the_same_of_the_same_peer_is_news_once_a_minute() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut is_news = |error: &LinkError, s| refusals.is_news(error, start + Duration::from_secs(s));
        let (stranger, other) = (error(1, LinkFault::OtherCluster), error(2, LinkFault::OtherCluster));
        assert_eq!([0, 1, 59].map(|s| is_news(&stranger, s)), [true, false, false]);
        assert!(is_news(&other, 59) && is_news(&error(1, LinkFault::Expired), 59));
        assert_eq!([60, 61].map(|s| is_news(&stranger, s)), [true, false]);
        assert_eq!([118, 119].map(|s| is_news(&other, s)), [false, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for port in 0..1_000 {
            assert!(refusals.is_news(&error(port, LinkFault::NoCertificate), now));
        }
        assert_eq!(refusals.0.len(), TOLD_MAX);
    }
}
