//! Attempts to reach one address that go on beside each other. Not responsible for when one is made.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

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

#[cfg(test)]
mod tests {
    use super::*;

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
