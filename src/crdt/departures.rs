//! Which live dots have gone since an instant, for as long as somebody wants to know. Not responsible for which were
//! live then: whoever asks adds those that still are.

use super::stored::LocalDot;
use std::sync::{Arc, Weak};

/// More than so many are not kept: whoever waits for them has to begin again.
const DEPARTURES_MAX: usize = 1 << 20;

/// The dots that have gone, in order, while there is a [`Handle`].
#[derive(Debug, Default)]
pub(super) struct Departures {
    dots: Vec<LocalDot>,
    holders: Vec<Weak<()>>,
}

/// An instant of one map. What goes after it is noted until this is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    token: Arc<()>,
    from: usize,
}

/// A copy of a map has no instants of its own yet: the handles are of the original.
impl Clone for Departures {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Departures {
    /// From now on departures are noted.
    pub(super) fn hold(&mut self) -> Handle {
        self.forget_the_dropped();
        let token = Arc::new(());
        self.holders.push(Arc::downgrade(&token));
        Handle { token, from: self.dots.len() }
    }

    #[inline]
    pub(super) fn note(&mut self, dot: LocalDot) {
        if !self.holders.is_empty() {
            self.note_held(dot);
        }
    }

    fn note_held(&mut self, dot: LocalDot) {
        self.forget_the_dropped();
        if self.dots.len() >= DEPARTURES_MAX {
            self.give_up();
        }
        if !self.holders.is_empty() {
            self.dots.push(dot);
        }
    }

    fn forget_the_dropped(&mut self) {
        self.holders.retain(|holder| holder.strong_count() > 0);
        if self.holders.is_empty() {
            self.dots = Vec::new();
        }
    }

    /// Nobody can rely on it any more: too much has gone, or what has gone came back.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }

    /// What has gone since; `None` if that is no longer known. A dot may stand twice, and may be live again: an entry
    /// that is rewritten loses all that it has for a moment.
    pub(super) fn since(&self, handle: &Handle) -> Option<&[LocalDot]> {
        let held = self.holders.iter().any(|holder| holder.as_ptr() == Arc::as_ptr(&handle.token));
        held.then(|| self.dots.get(handle.from..)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(counter: u64) -> LocalDot {
        LocalDot { replica: 0, counter }
    }

    #[test]
    fn what_goes_is_noted_for_those_who_hold_on() {
        let mut departures = Departures::default();
        departures.note(dot(1));
        let first = departures.hold();
        departures.note(dot(2));
        let second = departures.hold();
        departures.note(dot(3));
        let counters = |of: &Departures, handle| of.since(handle).map(|dots| dots.iter().map(|d| d.counter).collect());
        assert_eq!(counters(&departures, &first), Some(vec![2, 3]));
        assert_eq!(counters(&departures, &second), Some(vec![3]));
        assert_eq!(counters(&departures.clone(), &first), None, "a copy knows nothing of it");
        drop(first);
        drop(second);
        departures.note(dot(4));
        assert!(departures.dots.is_empty() && departures.holders.is_empty());
    }

    #[test]
    fn more_than_can_be_kept_is_given_up() {
        let mut departures = Departures::default();
        let handle = departures.hold();
        (0..DEPARTURES_MAX as u64).for_each(|n| departures.note(dot(n + 1)));
        assert_eq!(departures.since(&handle).map(<[_]>::len), Some(DEPARTURES_MAX));
        departures.note(dot(0));
        assert_eq!(departures.since(&handle), None);
        assert!(departures.dots.is_empty());
    }
}
