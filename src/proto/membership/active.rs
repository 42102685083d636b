//! Which peers a node of a large cluster keeps links to, and whom it asks next: what is under way, and when to go on. Not
//! responsible for links: `node/overlay.rs` has them.
//!
//! After HyParView (Leitao, Pereira, Rodrigues, DSN 2007): few links, the same at both ends, repaired at once from a larger
//! sample of the cluster; who has none at all is not refused.

use super::{Contact, MemberState};
use crate::crdt::ReplicaId;
use crate::proto::message::Ask;
use crate::proto::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// With up to so many members, this node among them, all are linked to all.
pub(crate) const MESH_MAX: usize = 9;
/// A large cluster counts as small again when it has shrunk to this: one that comes and goes must not turn it over each time.
const MESH_AGAIN: usize = 8;

/// How many links a node keeps in a cluster where not all are linked to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveLinks {
    /// With fewer it looks for others,
    pub min: usize,
    /// until it has so many.
    pub fill: usize,
    /// With so many it takes no more, but from those that have none.
    pub max: usize,
}

impl ActiveLinks {
    /// From so many to so many: it is content in the middle.
    pub const fn between(min: usize, max: usize) -> Self {
        Self { min, fill: min.midpoint(max), max }
    }
}

impl ActiveLinks {
    /// Of a leaf: one may be lost, and the other still brings everything.
    pub const LEAF: Self = Self::between(2, 3);
}

impl Default for ActiveLinks {
    fn default() -> Self {
        Self { min: 4, fill: 5, max: 6 }
    }
}

/// Contacts under way, and when the next are due.
#[derive(Debug)]
pub(crate) struct Overlay {
    large: bool,
    /// For a leaf every cluster is, and for who writes no record: it knows others by its view alone.
    always: bool,
    /// By address: who was dialled for what, and has not answered.
    contacts: BTreeMap<String, Contacting>,
    /// Who is to be linked in the place of another.
    pub(crate) swap: Option<ReplicaId>,
    /// It has fewer links than it should, and looks for others until it is filled.
    filling: bool,
    /// How many were asked for a link in vain since the last that took one.
    in_vain: u32,
    /// How many links there were at the last round of asking.
    had: usize,
    pub(crate) fill_at: Instant,
    pub(crate) shuffle_at: Instant,
    shuffle_wait: Duration,
    pub(crate) anchor_at: Instant,
}

#[derive(Debug)]
struct Contacting {
    id: Option<ReplicaId>,
    ask: Ask,
    until: Instant,
    tries: u32,
}

/// Nobody has answered somewhere.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) address: String,
    pub(crate) id: Option<ReplicaId>,
    /// It was asked for a link.
    pub(crate) asked: bool,
    /// It is to be tried again.
    pub(crate) again: bool,
}

impl Overlay {
    /// So many contacts are under way at most.
    const CONTACTS_MAX: usize = 16;
    /// A contact is tried so often before it is taken for gone.
    const TRIES: u32 = 3;
    /// Who has none and was refused so often is not refused any more.
    const PATIENCE: u32 = 3;
    /// Nor is who has too few and was refused so often; who has enough, and would have liked another, asks no more. Else, when all
    /// others are full, it would ask for ever.
    const IN_VAIN_MAX: u32 = 8;
    /// While nothing changes, shuffles become rarer by up to this.
    const QUIET_FACTOR: u32 = 32;
    /// The shortest pause between two rounds of asking for links.
    const PAUSE: Duration = Duration::from_millis(100);

    pub(crate) fn new(now: Instant, always_large: bool) -> Self {
        Self {
            large: always_large,
            always: always_large,
            contacts: BTreeMap::new(),
            swap: None,
            filling: true,
            in_vain: 0,
            had: 0,
            fill_at: now,
            shuffle_at: now,
            shuffle_wait: Duration::ZERO,
            anchor_at: now,
        }
    }

    /// Whether there are too many members for a link to each, or this one should not have so many.
    pub(crate) fn is_large(&self) -> bool {
        self.large
    }

    /// How many addresses are dialled at once by a node that has no links: in a small cluster all that there can be.
    pub(crate) fn dials_at_once(&self, links: ActiveLinks) -> usize {
        if self.large { links.min } else { MESH_MAX }
    }

    /// So many members are present. Whether the cluster has become large by that.
    pub(crate) fn count(&mut self, present: usize) -> bool {
        let was = self.large;
        self.large = self.always || present > MESH_MAX || (was && present > MESH_AGAIN);
        self.large && !was
    }

    /// Who is there has changed, or is about to: shuffles are as frequent as they are set.
    pub(crate) fn stir(&mut self, now: Instant, period: Duration) {
        self.shuffle_wait = period;
        self.shuffle_at = self.shuffle_at.min(now + period);
    }

    /// The next shuffle is due later than this one was.
    pub(crate) fn shuffled(&mut self, now: Instant, period: Duration) {
        self.shuffle_at = now + self.shuffle_wait.max(period);
        self.shuffle_wait = (self.shuffle_wait.max(period) * 2).min(period.saturating_mul(Self::QUIET_FACTOR));
    }

    /// How many links are to be asked for, of one that has so many.
    pub(crate) fn wanted(&mut self, active: usize, links: ActiveLinks) -> usize {
        // A link that is up is not taken yet: the refusal may follow its hello. What is there at the next round was.
        let begins = active < links.min && !self.filling;
        self.in_vain = if active > self.had || begins { 0 } else { self.in_vain };
        self.had = active;
        let enough = active >= links.fill || self.in_vain >= Self::IN_VAIN_MAX;
        self.filling = active < links.min || (self.filling && !enough);
        let asked = self.contacts.values().filter(|contact| contact.ask != Ask::Passing).count();
        // Who has none does not wait for all of those that may be dead.
        let asked = if active == 0 { asked / 2 } else { asked };
        if self.filling { links.fill.saturating_sub(active + asked) } else { 0 }
    }

    /// How a link is asked for, by one that has so many.
    pub(crate) fn ask(&self, active: usize, links: ActiveLinks) -> Ask {
        let patience = if active == 0 { Self::PATIENCE } else { Self::IN_VAIN_MAX };
        if active < links.min && self.in_vain >= patience { Ask::Urgent } else { Ask::Active }
    }

    /// A link that was asked for was refused, or nobody has answered.
    pub(crate) fn on_refused(&mut self, now: Instant) {
        self.in_vain = self.in_vain.saturating_add(1);
        self.fill_soon(now);
    }

    /// The next round of asking comes soon, the later the more were in vain; but no later than it would: who is refused again
    /// and again by the one that it was told of would never ask another.
    pub(crate) fn fill_soon(&mut self, now: Instant) {
        self.fill_at = self.fill_at.min(now + Self::PAUSE * (1 << self.in_vain.min(6)));
    }

    /// A round of asking is over, after which links are still to come or go.
    pub(crate) fn fill_again(&mut self, now: Instant) {
        self.fill_at = now + Self::PAUSE * 5;
    }

    // --- Contacts

    pub(crate) fn is_contacting(&self, id: ReplicaId) -> bool {
        self.contacts.values().any(|contact| contact.id == Some(id))
    }

    pub(crate) fn contacts(&self) -> usize {
        self.contacts.len()
    }

    /// Somebody is to be dialled for a purpose, if not too many are under way. Whether it is to be done.
    pub(crate) fn contact(&mut self, address: &str, id: Option<ReplicaId>, ask: Ask, until: Instant) -> bool {
        let known = self.contacts.get(address);
        // Who is tried again is under way already.
        let has_room = known.is_some() || self.contacts.len() < Self::CONTACTS_MAX;
        let tries = known.map_or(0, |contact| contact.tries) + 1;
        if has_room {
            self.contacts.insert(address.to_owned(), Contacting { id, ask, until, tries });
        }
        has_room
    }

    /// Somebody has answered: what it was for.
    pub(crate) fn take(&mut self, address: &str) -> Option<Ask> {
        let Contacting { id, ask, .. } = self.contacts.remove(address)?;
        Some(if id.is_some() && id == self.swap { Ask::Urgent } else { ask })
    }

    /// Those that have not answered in time. Who is to be tried again is still under way.
    pub(crate) fn take_failed(&mut self, now: Instant) -> Vec<Failed> {
        let over = self.contacts.iter().filter(|(_, contact)| contact.until <= now);
        let failed = over.map(|(address, contact)| {
            let asked = contact.ask != Ask::Passing;
            let again = !asked && contact.id.is_some() && contact.tries < Self::TRIES;
            Failed { address: address.clone(), id: contact.id, asked, again }
        });
        let failed: Vec<Failed> = failed.collect();
        failed.iter().filter(|failed| !failed.again).for_each(|failed| _ = self.contacts.remove(&failed.address));
        failed
    }

    pub(crate) fn next_failure(&self) -> Option<Instant> {
        self.contacts.values().map(|contact| contact.until).min()
    }
}

/// Whether a member that is so spoken of may be asked for a link.
pub(crate) fn may_be_asked(state: Option<MemberState>) -> bool {
    state.is_none_or(|state| state < MemberState::Down)
}

impl Contact {
    /// No address is longer: a name of 253 bytes and a port.
    pub const ADDRESS_BYTES_MAX: usize = 261;

    /// Whether somebody could be reached so.
    pub(crate) fn is_usable(&self) -> bool {
        (1..=Self::ADDRESS_BYTES_MAX).contains(&self.address.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_cluster_at_the_edge_does_not_turn_over_each_time() {
        let mut overlay = Overlay::new(at(0), false);
        let large: Vec<bool> = [9, 10, 9, 10, 8, 9, 10]
            .map(|present| {
                overlay.count(present);
                overlay.is_large()
            })
            .to_vec();
        assert_eq!(large, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn links_are_asked_for_until_it_is_filled_and_not_again_before_it_has_too_few() {
        let mut overlay = Overlay::new(at(0), false);
        let links = ActiveLinks::default();
        let wanted = [0, 3, 4, 5, 4, 3, 4].map(|active| overlay.wanted(active, links));
        assert_eq!(wanted, [5, 2, 1, 0, 0, 2, 1]);
        overlay.contact("a:1", None, Ask::Active, at(1000));
        overlay.contact("b:1", None, Ask::Passing, at(1000));
        assert_eq!(overlay.wanted(3, links), 1, "one is under way");
        overlay.contact("c:1", None, Ask::Active, at(1000));
        assert_eq!([1, 0].map(|active| overlay.wanted(active, links)), [2, 4], "who has none waits for half of them");
    }

    #[test]
    fn who_has_none_is_urgent_after_some_refusals() {
        const LINKS: ActiveLinks = ActiveLinks { min: 4, fill: 5, max: 6 };
        let mut overlay = Overlay::new(at(0), false);
        assert_eq!(overlay.ask(0, LINKS), Ask::Active);
        (0..3).for_each(|_| overlay.on_refused(at(0)));
        assert_eq!((overlay.ask(0, LINKS), overlay.ask(1, LINKS)), (Ask::Urgent, Ask::Active));
        overlay.fill_again(at(0));
        assert_eq!(overlay.fill_at, at(500));
        overlay.fill_soon(at(100));
        assert_eq!(
            (overlay.ask(0, LINKS), overlay.fill_at),
            (Ask::Urgent, at(500)),
            "the refusal may follow the hello"
        );
        overlay.wanted(1, LINKS);
        overlay.fill_soon(at(200));
        assert_eq!((overlay.ask(0, LINKS), overlay.fill_at), (Ask::Active, at(300)));
    }

    /// In a cluster whose others are all full it would else ask them for ever.
    #[test]
    fn who_has_too_few_is_urgent_after_many_refusals_and_who_has_enough_is_content() {
        let links = ActiveLinks { min: 4, fill: 5, max: 6 };
        let refused = |active: usize| {
            let mut overlay = Overlay::new(at(0), false);
            overlay.wanted(active, links);
            (0..7).for_each(|_| overlay.on_refused(at(0)));
            assert_eq!((overlay.wanted(active, links), overlay.ask(active, links)), (5 - active, Ask::Active));
            overlay.on_refused(at(0));
            overlay
        };
        let mut few = refused(3);
        assert_eq!((few.wanted(3, links), few.ask(3, links)), (2, Ask::Urgent));
        assert_eq!((few.wanted(4, links), few.ask(4, links)), (1, Ask::Active), "one has taken it");
        let mut enough = refused(4);
        assert_eq!((enough.wanted(4, links), enough.ask(4, links)), (0, Ask::Active));
        assert_eq!((enough.wanted(3, links), enough.ask(3, links)), (2, Ask::Active), "it begins anew");
    }

    #[test]
    fn a_round_of_asking_is_not_put_off_by_refusals() {
        let mut overlay = Overlay::new(at(0), false);
        overlay.fill_again(at(0));
        for ms in (100..=400).step_by(100) {
            overlay.on_refused(at(ms));
            assert!(overlay.fill_at <= at(500), "after {ms} ms");
        }
    }

    /// It would be due again at once, for as long as the others are under way.
    #[test]
    fn of_as_many_contacts_as_may_be_under_way_those_that_have_failed_are_tried_again_later() {
        let mut overlay = Overlay::new(at(0), false);
        let begun = (0..20).filter(|n| {
            let known = Some(ReplicaId::from(*n));
            overlay.contact(&format!("a:{n}"), known, Ask::Passing, at(10))
        });
        assert_eq!(begun.count(), 16);
        for Failed { address, id, again, .. } in overlay.take_failed(at(10)) {
            assert!(again && overlay.contact(&address, id, Ask::Passing, at(20)), "{address}");
        }
        assert_eq!((overlay.contacts(), overlay.next_failure()), (16, Some(at(20))));
    }

    #[test]
    fn a_known_contact_is_tried_again_and_a_link_is_asked_of_another() {
        let mut overlay = Overlay::new(at(0), false);
        let known = Some(ReplicaId::from(1));
        let mut tries = 0;
        overlay.contact("a:1", known, Ask::Passing, at(10));
        while overlay.take_failed(at(10)).iter().any(|failed| failed.again) {
            tries += 1;
            overlay.contact("a:1", known, Ask::Passing, at(10));
        }
        assert_eq!((tries, overlay.contacts()), (2, 0));
        overlay.contact("a:1", known, Ask::Active, at(10));
        assert!(!overlay.take_failed(at(10))[0].again);
    }

    #[test]
    fn shuffles_become_rarer_until_something_stirs() {
        let (mut overlay, second) = (Overlay::new(at(0), false), Duration::from_secs(1));
        let mut waits = Vec::new();
        for _ in 0..8 {
            overlay.shuffled(at(0), second);
            waits.push(overlay.shuffle_at.as_micros() / 1_000_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
        overlay.stir(at(0), second);
        assert_eq!(overlay.shuffle_at, at(1000));
    }
}
