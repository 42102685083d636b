//! Attempts to reach an address that go on beside each other, and which of them are worth making. Not responsible for when the
//! node wants one.

use super::net::{Endpoint, LinkError, Peer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Addresses of which something is remembered, but what is under way.
const REMEMBERED_MAX: usize = 256;
/// An answer to the first datagram takes so many round trips, as those datagrams are large and links thin;
const ANSWER_ROUND_TRIPS: u32 = 3;
/// no longer than this, as the round trip may have been one beside bulk;
const ANSWER_MAX: Duration = Duration::from_millis(1_200);
/// and where it takes no longer than this, attempts need not wait for each other.
const ANSWER_FAR: Duration = Duration::from_millis(300);

/// What is known of addresses.
#[derive(Debug, Default)]
pub(super) struct Dials {
    under_way: BTreeMap<String, Arc<Dialing>>,
    /// Of those far away, how long an answer takes, and when the last attempt began.
    far: BTreeMap<String, (Duration, Option<Instant>)>,
    /// Where connections are kept whose links are lost, each as long as the token lives.
    kept: BTreeMap<String, Weak<()>>,
}

impl Dials {
    /// Where to enter an attempt, if one is worth while now.
    pub(super) fn begin(&mut self, address: &str, now: Instant) -> Option<Arc<Dialing>> {
        self.under_way.retain(|_, dialing| Arc::strong_count(dialing) > 1);
        if self.under_way.get(address).is_some_and(|dialing| dialing.is_answered())
            || self.may_revive(address)
            || self.may_be_answered(address, now)
        {
            return None;
        }
        Some(self.under_way.entry(address.to_owned()).or_default().clone())
    }

    /// An attempt has failed. Where it was the one that was answered, the next one may be another.
    pub(super) fn on_failed(&mut self, address: &str) {
        if self.under_way.get(address).is_some_and(|dialing| dialing.is_answered()) {
            self.under_way.remove(address);
        }
    }

    /// A connection stands: there is no need of the attempts any more.
    pub(super) fn on_connected(&mut self, address: &str) {
        if let Some(dialing) = self.under_way.remove(address) {
            dialing.give_up();
        }
    }

    /// A link is lost. An address that was far away will be so again: an attempt to reach it has some time before the next is
    /// made.
    pub(super) fn note_distance(&mut self, address: &str, rtt: Duration) {
        let answer = (rtt * ANSWER_ROUND_TRIPS).min(ANSWER_MAX);
        if self.far.len() >= REMEMBERED_MAX {
            self.far.clear();
        }
        if answer >= ANSWER_FAR {
            self.far.insert(address.to_owned(), (answer, None));
        } else {
            self.far.remove(address);
        }
    }

    /// A connection is kept there, as long as the token.
    pub(super) fn keep(&mut self, address: &str) -> Arc<()> {
        let token = Arc::new(());
        self.kept.insert(address.to_owned(), Arc::downgrade(&token));
        token
    }

    /// Whether a connection there may come back to life: it does so before an attempt is answered. A peer that has restarted
    /// ends it at once.
    fn may_revive(&mut self, address: &str) -> bool {
        self.kept.retain(|_, token| token.strong_count() > 0);
        self.kept.contains_key(address)
    }

    /// Whether an attempt has begun that may yet be answered.
    fn may_be_answered(&mut self, address: &str, now: Instant) -> bool {
        let Some((answer, begun)) = self.far.get_mut(address) else { return false };
        if begun.is_some_and(|begun| now < begun + *answer) {
            return true;
        }
        *begun = Some(now);
        false
    }
}

/// The attempts under way to one address. They overlap, as nobody knows when a network heals; but the first that is answered
/// goes on alone, or a thin link would carry the handshakes of them all.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    begun: AtomicU64,
    answered: AtomicU64,
    answer: CancellationToken,
}

impl Dialing {
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn answer(&self, number: u64) {
        if self.answered.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.answer.cancel();
        }
    }

    /// There is no need of them any more.
    pub(super) fn give_up(&self) {
        self.answer(u64::MAX);
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_cancelled()
    }

    /// Waits until another attempt than this is answered.
    pub(super) async fn other_answered(&self, number: u64) {
        self.answer.cancelled().await;
        if self.answered.load(Ordering::Acquire) == number {
            std::future::pending().await
        }
    }
}

/// Tries every address behind a name, and takes the first that answers.
pub(super) async fn dial_any(
    endpoint: &Endpoint,
    address: &str,
    answered: impl Fn(),
) -> Result<(quinn::Connection, Peer), String> {
    let resolved: Vec<SocketAddr> = match address.parse() {
        Ok(address) => vec![address],
        Err(_) => tokio::net::lookup_host(address).await.map_err(|e| format!("cannot resolve it: {e}"))?.collect(),
    };
    let mut failure = "no address is behind that name".to_owned();
    for address in resolved {
        match endpoint.dial_and_tell(address, &answered).await {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = LinkError::to_string(&error),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "10.0.0.1:1";

    #[test]
    fn where_a_connection_is_kept_there_is_no_attempt() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        assert!(dials.begin(ADDRESS, now).is_some());
        let token = dials.keep(ADDRESS);
        assert!(dials.begin(ADDRESS, now).is_none());
        assert!(dials.begin("10.0.0.2:1", now).is_some());
        drop(token);
        assert!(dials.begin(ADDRESS, now).is_some(), "it was given up");
    }

    #[test]
    fn a_far_address_has_time_to_answer() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        dials.note_distance(ADDRESS, Duration::from_millis(300));
        assert!(dials.begin(ADDRESS, now).is_some());
        assert!(dials.begin(ADDRESS, now).is_none());
        assert!(dials.begin(ADDRESS, now + Duration::from_millis(900)).is_some());
    }

    #[tokio::test]
    async fn a_connection_ends_the_attempts_that_are_under_way() {
        let mut dials = Dials::default();
        let dialing = dials.begin(ADDRESS, Instant::now()).expect("the first");
        let number = dialing.begin();
        dials.on_connected(ADDRESS);
        dialing.other_answered(number).await;
        assert!(dials.begin(ADDRESS, Instant::now()).is_some_and(|next| !next.is_answered()));
    }

    #[tokio::test]
    async fn the_first_attempt_that_is_answered_goes_on_alone() {
        let dialing = Dialing::default();
        let (early, late) = (dialing.begin(), dialing.begin());
        assert!(!dialing.is_answered());
        dialing.answer(late);
        dialing.answer(early);
        assert!(dialing.is_answered());
        tokio::select! {
            biased;
            () = dialing.other_answered(late) => panic!("it was the first"),
            () = dialing.other_answered(early) => {}
        }
    }
}
