//! Finding out what two replicas do not share: which live dots, at the end of a catch-up, and whose clocks, at the
//! beginning of any pull. Not responsible for what is done about it: `sync` is.
//!
//! Both are sets, told by coded symbols (`crdt::symbols`) as long as that is the cheaper way: what is sent grows with what
//! differs, and with nothing else. `offer.rs` and `comparison.rs` are the two sides for live dots, `contexts.rs` is for
//! clocks, `decoder.rs` and `estimate.rs` are what they share.

mod comparison;
mod contexts;
mod decoder;
mod estimate;
mod glance;
mod offer;

pub(crate) use comparison::{Comparison, Outcome};
pub(crate) use contexts::{Base, Differ, Differed, LISTED_MAX, Telling};
pub(crate) use glance::{glance, symbols_to_show, told};
pub(crate) use offer::{Offer, Outdated};

/// What a symbol takes on the wire.
pub(crate) const SYMBOL_BYTES: u64 = 13;

/// How live dots are offered, for tests to force ways that are rare otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// How many symbols are sent unasked; a list that is no longer than they are is sent instead.
    pub first: u64,
    /// Whether a list is sent only where there is no other way.
    pub never_list: bool,
}

impl Default for Batches {
    fn default() -> Self {
        Self { first: 16, never_list: false }
    }
}

/// How comparisons of live dots have ended, and what was sent for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Lists of dots that were sent, because they were cheaper.
    pub lists: u64,
    /// Comparisons that ended by symbols, at either side.
    pub coded: u64,
    /// Lists of dots, or whole contexts, that were sent because symbols did not lead to an end.
    pub fallbacks: u64,
    /// Symbols sent, of live dots and of clocks,
    pub symbols_sent: u64,
    /// and received.
    pub symbols_received: u64,
}

impl Reconciled {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.lists += other.lists;
        self.coded += other.coded;
        self.fallbacks += other.fallbacks;
        self.symbols_sent += other.symbols_sent;
        self.symbols_received += other.symbols_received;
    }
}
