//! Members that somebody has lost the link to, and when they are written down if they do not answer. Not responsible for
//! losing links, nor for writing.
//!
//! A suspect that is alive refutes with a higher incarnation (SWIM, Das, Gupta, Motivala 2002, section 4.2). If it does not,
//! whoever has written the suspicion writes it down, soon; if that one has gone too, one of the others does, later, and each at
//! a moment of its own, so that they do not all write the same.

use super::record::{MemberState, Record};
use crate::crdt::ReplicaId;
use crate::proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many times longer others wait than who has suspected,
const OTHERS_PATIENCE: u32 = 5;
/// and up to so many times more.
const OTHERS_SPREAD: u32 = 10;

/// Who is suspected.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    suspects: BTreeMap<ReplicaId, Suspect>,
    /// Processes that did not answer when they were dialled: said once of each, for it may be the way that is broken.
    said_unreachable: BTreeSet<(ReplicaId, u64)>,
}

#[derive(Debug)]
struct Suspect {
    incarnation: u64,
    due: Instant,
}

impl Suspicions {
    /// What is said of a member has changed, or is known from before. `own`: this node has suspected it.
    pub(crate) fn note(&mut self, id: ReplicaId, record: Option<&Record>, patience: &Patience) {
        let suspected = record.filter(|record| record.state == MemberState::Suspect);
        let Some(record) = suspected else {
            self.suspects.remove(&id);
            return;
        };
        let suspect = Suspect { incarnation: record.incarnation, due: patience.until(id) };
        let known = self.suspects.get(&id);
        if known.is_none_or(|known| known.incarnation != suspect.incarnation || suspect.due < known.due) {
            self.suspects.insert(id, suspect);
        }
    }

    /// Whose time is over.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<ReplicaId> {
        let due: Vec<ReplicaId> =
            self.suspects.iter().filter(|(_, suspect)| suspect.due <= now).map(|(id, _)| *id).collect();
        due.iter().for_each(|id| _ = self.suspects.remove(id));
        due
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.suspects.values().map(|suspect| suspect.due).min()
    }

    /// A process does not answer. Whether that is news.
    pub(crate) fn unreachable(&mut self, id: ReplicaId, boot: u64) -> bool {
        self.said_unreachable.insert((id, boot))
    }

    /// Forgets of whom there is no record any more.
    pub(crate) fn forget(&mut self, id: ReplicaId) {
        self.suspects.remove(&id);
        self.said_unreachable.retain(|(known, _)| *known != id);
    }
}

/// How long a node waits for a refutation.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(crate) now: Instant,
    /// Of who has suspected.
    pub(crate) wait: Duration,
    /// Who waits.
    pub(crate) own: ReplicaId,
    /// Whether it has suspected.
    pub(crate) is_author: bool,
}

impl Patience {
    fn until(&self, suspect: ReplicaId) -> Instant {
        if self.is_author {
            return self.now + self.wait;
        }
        // No two nodes' ids differ in nothing, and neither do the moments.
        let [own, suspect] = [self.own, suspect].map(|id| u128::from_be_bytes(*id.as_bytes()));
        let share = ((own ^ suspect.rotate_left(64)).wrapping_mul(MIX) >> 112) as u32;
        let spread = self.wait.saturating_mul(OTHERS_SPREAD) / u32::from(u16::MAX);
        self.now + self.wait.saturating_mul(OTHERS_PATIENCE) + spread.saturating_mul(share)
    }
}

/// An odd number without a pattern.
const MIX: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(2);

    fn suspect(incarnation: u64) -> Record {
        let (name, addresses) = (String::new(), Vec::new());
        let (http, leaf, protocol, boot) = (None, false, 1, 7);
        Record {
            name,
            addresses,
            http,
            leaf,
            protocol,
            incarnation,
            boot,
            keys: Vec::new(),
            state: MemberState::Suspect,
        }
    }

    fn patience(own: u128, seconds: u64, is_author: bool) -> Patience {
        Patience { now: at(seconds), wait: WAIT, own: ReplicaId::from(own), is_author }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn who_has_suspected_writes_down_first_and_the_others_each_at_its_own_time() {
        let x = ReplicaId::from(1);
        let due = |own, is_author| {
            let mut suspicions = Suspicions::default();
            suspicions.note(x, Some(&suspect(3)), &patience(own, 0, is_author));
            suspicions.next().expect("it is suspected")
        };
        assert_eq!(due(2, true), at(2));
        let mut others: Vec<Instant> = (2..102).map(|own| due(own << 64, false)).collect();
        assert!(others.iter().all(|&due| due >= at(10) && due <= at(30)));
        others.sort();
        others.dedup();
        assert!(others.len() > 90, "{} moments", others.len());
    }

    #[test]
    fn a_refutation_ends_it_and_a_second_suspicion_begins_anew() {
        let (x, mut suspicions) = (ReplicaId::from(1), Suspicions::default());
        suspicions.note(x, Some(&suspect(3)), &patience(2, 0, true));
        let alive = Record { state: MemberState::Alive, incarnation: 4, ..suspect(3) };
        suspicions.note(x, Some(&alive), &patience(2, 1, false));
        assert!(suspicions.take_due(at(100)).is_empty());
        suspicions.note(x, Some(&suspect(4)), &patience(2, 50, true));
        suspicions.note(x, Some(&suspect(4)), &patience(2, 51, true));
        assert_eq!(suspicions.next(), Some(at(52)), "said again, it is no later");
        assert_eq!(suspicions.take_due(at(52)), [x]);
        assert_eq!(suspicions.next(), None);
    }

    #[test]
    fn that_a_process_does_not_answer_is_said_once() {
        let (x, mut suspicions) = (ReplicaId::from(1), Suspicions::default());
        assert_eq!([7, 7, 8].map(|boot| suspicions.unreachable(x, boot)), [true, false, true]);
    }
}
