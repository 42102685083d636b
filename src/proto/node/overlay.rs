//! Links of a node in a large cluster: few that it keeps, and short ones to others, on which two shuffle their views and
//! compare what they have. Not responsible for what is told on them: `spread` and `pulls` are.
//!
//! In a small cluster everybody is linked to everybody, and nothing here happens. In a large one each node keeps a few active
//! links, which both ends count; the rest of the cluster it knows by its view. A link that is dialled says in its hello what it
//! is for. What is not active is passing: who has dialled it closes it when nothing is under way, and nobody is suspected
//! because of it.

use super::Node;
use super::Output;
use crate::crdt::ReplicaId;
use crate::proto::link::{CONTROL, Link, LinkId, PASSED, Role};
use crate::proto::membership::active::{Failed, may_be_asked};
use crate::proto::membership::{ActiveLinks, Contact, Descriptor, MemberState, Propagate};
use crate::proto::message::{Ask, Hello, Message, Shuffle};
use crate::proto::time::Instant;
use rand::RngExt;
use rand::seq::IteratorRandom;
use std::time::Duration;
use tracing::debug;

/// Of shuffles, one in so many is with a member that the view may not know, so that who has gone unseen is found out; and the link
/// is to stay, in the place of others. Where all have enough links nobody asks for one, and two halves that meet again, or were
/// linked badly by chance, would stay two.
const SWAP_EVERY: u32 = 4;
/// Descriptors of a shuffle take so many bytes at most; see `codec`.
const SHUFFLE_BYTES_MAX: usize = 3500;
/// What a descriptor takes beside its address.
const DESCRIPTOR_BYTES: usize = 24;
/// Who was dialled for a passing link closes it after so long, if who has dialled does not.
const PASSING_PATIENCE: Duration = Duration::from_secs(60);
/// So many peers are remembered beside those that were given.
const ANCHORS_MAX: usize = 8;

impl Node {
    /// How many links are active, or will be if the peer has room: of those that count.
    pub(super) fn active_links(&self) -> usize {
        let active = self.links.values().filter(|state| !state.closing && state.role == Role::Active);
        active.filter(|state| self.counts(state)).count()
    }

    /// Whether a link is one of the few that a node keeps. One to a leaf brings little, and is beside them; but not for
    /// another leaf, which has to be content with it where there is nobody else.
    fn counts(&self, state: &Link) -> bool {
        self.config.leaf || !state.is_leaf()
    }

    /// Who is a member has changed: whether the cluster is large now.
    pub(super) fn count_members(&mut self) {
        let period = self.config.view.period;
        self.overlay.stir(self.now.instant, period);
        if self.overlay.count(self.members.present()) {
            debug!(members = self.members.present(), "too many members for a link to each");
            self.overlay.fill_at = self.now.instant;
            self.overlay.anchor_at = self.now.instant + self.config.anchor_every;
        }
    }

    /// What is due now.
    pub(super) fn tend_overlay(&mut self) {
        self.on_failed_contacts();
        self.close_passed();
        if !self.overlay.is_large() || self.offline {
            return;
        }
        let now = self.now.instant;
        if self.overlay.fill_at <= now {
            self.fill();
        }
        if self.overlay.shuffle_at <= now {
            self.begin_shuffle();
        }
        if self.overlay.anchor_at <= now {
            self.overlay.anchor_at = now + self.config.anchor_every;
            self.probe_anchor();
        }
    }

    pub(super) fn next_overlay(&self) -> Option<Instant> {
        let passing = self.links.values().filter_map(|state| self.passed_at(state));
        let failure = self.overlay.next_failure();
        let timers = [self.overlay.shuffle_at, self.overlay.anchor_at, self.overlay.fill_at];
        let of_large = timers.into_iter().filter(|_| self.overlay.is_large() && !self.offline);
        passing.chain(failure).chain(of_large).min()
    }

    // --- Active links

    /// Asks for as many links as are missing.
    fn fill(&mut self) {
        let active = self.active_links();
        let wanted = self.overlay.wanted(active, self.config.links);
        let ask = self.overlay.ask(active, self.config.links);
        let surplus = active > self.config.links.max;
        let busy = wanted > 0 || surplus;
        if busy {
            self.overlay.fill_again(self.now.instant);
        } else {
            self.overlay.fill_at = self.now.instant + self.config.view.period;
        }
        if surplus {
            // Those of a small cluster that has grown go one by one.
            self.drop_surplus(self.config.links.max, None);
        }
        for _ in 0..wanted {
            let Some(contact) = self.candidate() else { return };
            self.contact(&contact.address, Some(contact.id), ask);
        }
    }

    /// Somebody to ask for a link: of the view, or else any member.
    fn candidate(&mut self) -> Option<Contact> {
        let of_view = self.view.descriptors().iter().map(|descriptor| &descriptor.peer);
        let fresh: Vec<&Contact> = of_view.filter(|contact| self.is_fresh(contact.id, &contact.address)).collect();
        let chosen = fresh.into_iter().choose(&mut self.rng).cloned();
        // Others first: one that is just being asked may take it.
        let leaves_too = self.config.leaf && self.active_links() == 0 && self.overlay.contacts() == 0;
        let is_wanted = |node: &Self, contact: &Contact| leaves_too || !node.members.is_leaf(contact.id);
        chosen.or_else(|| self.any_member().filter(|contact| is_wanted(self, contact)))
    }

    /// A member that is neither linked nor asked: the next one after a random id.
    fn any_member(&mut self) -> Option<Contact> {
        let from = ReplicaId::random(&mut self.rng);
        let (id, record) = self.members.from(from)?;
        let address = record.addresses.first().filter(|_| record.is_present())?.clone();
        self.is_fresh(id, &address).then_some(Contact { id, address })
    }

    fn is_fresh(&self, id: ReplicaId, address: &str) -> bool {
        id != self.map.id()
            && address != self.config.address
            && may_be_asked(self.members.state(id))
            && !self.is_linked(id)
            && !self.overlay.is_contacting(id)
            && !self.dials.is_barred(address, Some(id))
    }

    fn contact(&mut self, address: &str, id: Option<ReplicaId>, ask: Ask) {
        if self.overlay.contact(address, id, ask, self.now.instant + self.config.contact_timeout) {
            self.outputs.push_back(Output::Dial { address: address.to_owned() });
        }
    }

    fn on_failed_contacts(&mut self) {
        for Failed { address, id, asked, again } in self.overlay.take_failed(self.now.instant) {
            // Who asks the dead asks somebody else at once: a period for each of them would be long.
            if id.is_some_and(|id| self.view.evict(id)) {
                self.overlay.shuffle_at = self.now.instant;
            }
            if again && !self.offline {
                self.contact(&address, id, Ask::Passing);
                continue;
            }
            if asked {
                self.overlay.on_refused(self.now.instant);
            }
            id.into_iter().for_each(|id| self.suspect_unreachable(id));
        }
    }

    /// What a link that was dialled is for.
    pub(super) fn ask_of(&mut self, address: &str, id: Option<ReplicaId>) -> Ask {
        let active = self.active_links();
        let contacted = self.overlay.take(address);
        if !self.overlay.is_large() {
            return Ask::Active;
        }
        // It was taken for gone, and so, probably, are we by it: two halves meet again.
        if id.is_some_and(|id| !may_be_asked(self.members.state(id))) {
            return Ask::Urgent;
        }
        // It takes the place of one that is kept: made with a newer key, or because an earlier attempt has succeeded, too.
        let is_kept = |state: &Link| !state.closing && state.role == Role::Active;
        if id.is_some_and(|id| self.links.values().any(|state| is_kept(state) && state.is_with(id))) {
            return Ask::Urgent;
        }
        match contacted {
            Some(ask) => ask,
            None if active < self.config.links.fill => self.overlay.ask(active, self.config.links),
            None => Ask::Passing,
        }
    }

    /// What a link that the peer has dialled is to be. Who is not refused may take the place of another.
    pub(super) fn role_of(&mut self, hello: &Hello) -> Role {
        let active = self.active_links();
        match hello.ask {
            Ask::Passing => Role::Passing,
            // Somebody has to: they spread by chance.
            Ask::Active if hello.is_leaf() && !self.config.leaf => Role::Active,
            Ask::Active if self.overlay.is_large() && active >= self.config.links.max => Role::Passing,
            Ask::Active | Ask::Urgent => Role::Active,
        }
    }

    /// A link is up, and its role clear.
    pub(super) fn on_linked(&mut self, link: LinkId) {
        let Some(state) = self.links.get(&link) else { return };
        let (dialed, role, peer) = (state.dialed, state.role, state.identity);
        let asked = state.hello.as_ref().map(|hello| hello.ask);
        let counts = self.counts(state);
        if !dialed && role == Role::Passing && asked != Some(Ask::Passing) {
            self.send(link, CONTROL, &Message::Surplus, None);
        }
        if !self.overlay.is_large() {
            return;
        }
        if role == Role::Active && counts {
            let ActiveLinks { fill, max, .. } = self.config.links;
            let swapped = self.overlay.swap.take_if(|swap| dialed && peer == Some(*swap)).is_some();
            self.overlay.fill_soon(self.now.instant);
            self.drop_surplus(if swapped { fill } else { max }, Some(link));
        }
        if dialed {
            self.send_shuffle(link, self.config.view.propagate == Propagate::PushPull);
        }
    }

    /// With more links than so many, one of the others goes.
    fn drop_surplus(&mut self, most: usize, new: Option<LinkId>) {
        if self.active_links() <= most {
            return;
        }
        let others = self
            .links
            .iter()
            .filter(|(link, state)| Some(**link) != new && state.is_up() && state.role == Role::Active)
            .filter(|(_, state)| self.counts(state));
        let others: Vec<LinkId> = others.map(|(link, _)| *link).collect();
        if let Some(link) = others.into_iter().choose(&mut self.rng) {
            self.send(link, CONTROL, &Message::Surplus, None);
            self.set_passing(link);
        }
    }

    /// The peer does not keep the link.
    pub(super) fn on_surplus(&mut self, link: LinkId) {
        self.set_passing(link);
        if self.overlay.is_large() {
            self.overlay.on_refused(self.now.instant);
        }
    }

    fn set_passing(&mut self, link: LinkId) {
        if let Some(state) = self.links.get_mut(&link) {
            (state.role, state.up_at) = (Role::Passing, self.now.instant);
        }
    }

    /// An active link is gone: others are looked for at once.
    pub(super) fn on_active_lost(&mut self) {
        self.overlay.fill_at = self.overlay.fill_at.min(self.now.instant);
        self.overlay.stir(self.now.instant, self.config.view.period);
    }

    // --- Passing links

    /// When a passing link is to be closed, if nothing happens on it.
    fn passed_at(&self, state: &Link) -> Option<Instant> {
        let idle = state.pull.is_none() && state.sending.is_empty() && !state.pull_wanted;
        let passing = state.is_up() && state.role == Role::Passing && idle;
        let patience = if state.dialed { self.config.contact_linger } else { PASSING_PATIENCE };
        passing.then(|| state.last_heard.max(state.up_at) + patience)
    }

    fn close_passed(&mut self) {
        let now = self.now.instant;
        let over = self.links.iter().filter(|(_, state)| self.passed_at(state).is_some_and(|at| at <= now));
        let over: Vec<LinkId> = over.map(|(link, _)| *link).collect();
        over.into_iter().for_each(|link| self.close_link(link, PASSED.to_owned()));
    }

    // --- Shuffles

    fn begin_shuffle(&mut self) {
        self.overlay.shuffled(self.now.instant, self.config.view.period);
        self.view.next_cycle();
        self.remember_anchor();
        let swaps = self.rng.random_ratio(1, SWAP_EVERY);
        let member = if swaps { self.any_member() } else { None };
        let Some(contact) = member.or_else(|| self.view.select(&mut self.rng).cloned()) else { return };
        let linked = self.links.iter().find(|(_, state)| state.is_up() && state.is_with(contact.id));
        match linked.map(|(link, _)| *link) {
            Some(link) => self.send_shuffle(link, self.config.view.propagate == Propagate::PushPull),
            None if self.is_fresh(contact.id, &contact.address) => {
                self.overlay.swap = Some(contact.id).filter(|id| swaps && !self.members.is_leaf(*id));
                self.contact(&contact.address, Some(contact.id), Ask::Passing);
            }
            None => _ = self.view.evict(contact.id),
        }
    }

    fn send_shuffle(&mut self, link: LinkId, reply: bool) {
        let own = Contact { id: self.map.id(), address: self.config.address.clone() };
        let mut room = SHUFFLE_BYTES_MAX;
        let fits = |descriptor: &Descriptor<Contact>| {
            let bytes = descriptor.peer.address.len() + DESCRIPTOR_BYTES;
            room.checked_sub(bytes).inspect(|left| room = *left).is_some()
        };
        let offered = self.view.offer(own, &mut self.rng).into_iter();
        // A leaf offers others, not itself.
        let offered = offered.filter(|descriptor| !self.config.leaf || descriptor.peer.id != self.map.id());
        let descriptors = offered.take_while(fits).collect();
        self.send(link, CONTROL, &Message::Shuffle(Shuffle { descriptors, reply }), None);
    }

    pub(super) fn on_shuffle(&mut self, link: LinkId, shuffle: Shuffle) {
        if shuffle.reply {
            self.send_shuffle(link, false);
        }
        let believed = |descriptor: &Descriptor<Contact>| {
            let id = descriptor.peer.id;
            descriptor.peer.is_usable() && may_be_asked(self.members.state(id)) && !self.members.is_leaf(id)
        };
        let received = shuffle.descriptors.into_iter().filter(believed).collect();
        let own = self.map.id();
        self.view.merge(received, own, &mut self.rng);
    }

    // --- Anchors

    /// Some peers that were linked for long are remembered for ever, so that what is parted meets again.
    fn remember_anchor(&mut self) {
        let now = self.now.instant;
        let old = |state: &&Link| {
            let old = now.since(state.up_at) >= self.config.anchor_every;
            state.is_up() && state.role == Role::Active && old && !state.is_leaf()
        };
        let of = |state: &Link| state.hello.as_ref().map(|hello| (hello.address.clone(), hello.replica));
        let old = self.links.values().filter(old).filter_map(of);
        if let Some((address, id)) = old.choose(&mut self.rng) {
            let doomed = self.dials.anchors().filter(|(_, id)| !id.is_some_and(|id| self.is_linked(id)));
            let doomed: Vec<String> = doomed.map(|(address, _)| address.to_owned()).collect();
            let doomed = doomed.into_iter().choose(&mut self.rng);
            self.dials.add_anchor(&address, id, now, ANCHORS_MAX, doomed);
        }
    }

    /// One of the addresses that are never given up, if it is not known to be alive: who is, is found out by others.
    fn probe_anchor(&mut self) {
        let free = |(address, id): &(&str, Option<ReplicaId>)| {
            let found = [Some(MemberState::Alive), Some(MemberState::Left)];
            !id.is_some_and(|id| self.is_linked(id) || found.contains(&self.members.state(id)))
                && !self.dials.is_barred(address, *id)
        };
        let free: Vec<_> = self.dials.all().filter(free).map(|(address, id)| (address.to_owned(), id)).collect();
        if let Some((address, id)) = free.into_iter().choose(&mut self.rng) {
            self.contact(&address, id, Ask::Passing);
        }
    }
}
