//! Where two sets of clocks differ: by their changes, if they have these beside one list; else from the first to the last. Not
//! responsible for how they come to share one: `clocks` is.

use super::{Change, Clock, Iter};
use crate::crdt::ReplicaId;
use std::cmp::Ordering;

/// So many counters are compared at once.
const STRIDE: usize = 8;

/// A replica whose counter is not the same in two contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differing {
    pub(crate) replica: ReplicaId,
    /// Where it stands in the first, if it does.
    pub(crate) place: Option<usize>,
    /// Its counter in the first, 0 if it has none,
    pub(crate) ours: u64,
    /// and in the second.
    pub(crate) theirs: u64,
}

/// Where two differ.
pub(in crate::crdt) enum Differences<'a> {
    /// They share a list.
    Changes(Beside<'a>),
    Lists(Lists<'a>),
}

impl Differences<'_> {
    pub(super) fn none() -> Self {
        Self::Changes(Beside::new(&[], &[]))
    }

    /// Only where there are clocks of ours, and perhaps others.
    pub(in crate::crdt) fn where_ours_are(self) -> Self {
        match self {
            Self::Lists(lists) => Self::Lists(Lists { only_ours: true, ..lists }),
            changes @ Self::Changes(_) => changes,
        }
    }
}

impl Iterator for Differences<'_> {
    type Item = Differing;

    fn next(&mut self) -> Option<Differing> {
        match self {
            Self::Changes(beside) => beside.next(),
            Self::Lists(lists) => lists.next(),
        }
    }
}

/// What two that share a list have changed of one replica; one of them at least has.
pub(super) type Pair<'a> = (Option<&'a Change>, Option<&'a Change>);

/// The change of one of them, and the counters of both.
pub(super) fn counters((ours, theirs): Pair<'_>) -> (Change, u64, u64) {
    let change = *ours.or(theirs).expect("one of them has changed it");
    let counter = |side: Option<&Change>| side.map_or(change.listed, |change| change.counter);
    (change, counter(ours), counter(theirs))
}

/// What is left to look at of the changes of two that share a list.
pub(super) struct Pairs<'a> {
    pub(super) ours: &'a [Change],
    pub(super) theirs: &'a [Change],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let order = match (self.ours.first(), self.theirs.first()) {
            (Some(ours), Some(theirs)) => ours.order(theirs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let first = |side: &mut &'a [Change]| side.split_off_first();
        let ours = if order.is_le() { first(&mut self.ours) } else { None };
        let theirs = if order.is_ge() { first(&mut self.theirs) } else { None };
        Some((ours, theirs))
    }
}

/// Where they differ.
pub(in crate::crdt) struct Beside<'a> {
    pairs: Pairs<'a>,
    /// Of ours that were looked at.
    fresh: usize,
    gone: usize,
}

impl<'a> Beside<'a> {
    pub(super) fn new(ours: &'a [Change], theirs: &'a [Change]) -> Self {
        Self { pairs: Pairs { ours, theirs }, fresh: 0, gone: 0 }
    }

    fn next(&mut self) -> Option<Differing> {
        for pair in self.pairs.by_ref() {
            let (change, ours, theirs) = counters(pair);
            let place = change.place + self.fresh - self.gone;
            if let (Some(ours), _) = pair {
                self.fresh += usize::from(ours.is_fresh());
                self.gone += usize::from(ours.is_gone());
            }
            if ours != theirs {
                return Some(Differing { replica: change.replica, place: (ours > 0).then_some(place), ours, theirs });
            }
        }
        None
    }
}

/// What is left to look at of two that share nothing.
pub(in crate::crdt) struct Lists<'a> {
    /// The next of each, and what is to come after it.
    ours: (Option<Clock>, Iter<'a>),
    theirs: (Option<Clock>, Iter<'a>),
    /// Of the next of ours.
    place: usize,
    /// What is theirs alone is passed over.
    only_ours: bool,
}

impl<'a> Lists<'a> {
    pub(super) fn new(mut ours: Iter<'a>, mut theirs: Iter<'a>, place: usize) -> Self {
        Self { ours: (ours.next(), ours), theirs: (theirs.next(), theirs), place, only_ours: false }
    }

    fn next(&mut self) -> Option<Differing> {
        loop {
            if self.only_ours {
                let replica = self.ours.0?.0;
                if self.theirs.0.is_some_and(|theirs| theirs.0 < replica) {
                    self.theirs.1.skip_to(replica);
                    self.theirs.0 = self.theirs.1.next();
                }
            }
            let (replica, ours, theirs) = match (self.ours.0, self.theirs.0) {
                (Some(ours), Some(theirs)) => match ours.0.cmp(&theirs.0) {
                    Ordering::Less => (ours.0, ours.1, 0),
                    Ordering::Equal => (ours.0, ours.1, theirs.1),
                    Ordering::Greater => (theirs.0, 0, theirs.1),
                },
                (Some(ours), None) => (ours.0, ours.1, 0),
                (None, Some(theirs)) => (theirs.0, 0, theirs.1),
                (None, None) => return None,
            };
            let place = (ours > 0).then_some(self.place);
            if ours > 0 {
                self.ours.0 = self.ours.1.next();
                self.place += 1;
            }
            if theirs > 0 {
                self.theirs.0 = self.theirs.1.next();
            }
            if ours != theirs {
                return Some(Differing { replica, place, ours, theirs });
            }
        }
    }
}

/// Where two lists of counters of the same replicas first differ; their length if they do not.
pub(super) fn first_differing(ours: &[u64], theirs: &[u64]) -> usize {
    let strides = ours.as_chunks::<STRIDE>().0.iter().zip(theirs.as_chunks::<STRIDE>().0);
    let same = STRIDE * strides.take_while(|(ours, theirs)| ours == theirs).count();
    same + ours[same..].iter().zip(&theirs[same..]).take_while(|(ours, theirs)| ours == theirs).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_differs_is_found_wherever_it_stands() {
        for len in 0..30_usize {
            let ours: Vec<u64> = (0..len as u64).collect();
            assert_eq!(first_differing(&ours, &ours), len);
            for at in 0..len {
                let mut theirs = ours.clone();
                theirs[at..].fill(99);
                assert_eq!(first_differing(&ours, &theirs), at, "of {len}");
            }
        }
    }
}
