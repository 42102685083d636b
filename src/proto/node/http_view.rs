//! What people put into the cluster's HTTP view and delete from it, at this node. Not responsible for what is listed in
//! the end: `membership` is.
//!
//! An address that was put is a claim that somebody answers there. The node where it was put finds out: it dials, and
//! after [`ANSWER_TIME`] either writes down who answered, or takes the claim back everywhere.

use super::Node;
use crate::crdt::{Key, ReplicaId};
use crate::proto::membership::http_view::{self, Said};
use crate::proto::membership::{Member, MemberState};
use crate::proto::time::{Instant, Now};
use std::time::Duration;

/// Where nothing has answered for so long is dropped.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// While storage takes nothing, the decision has to wait.
const AGAIN: Duration = Duration::from_secs(1);
/// So many addresses may be waiting for an answer: more are put by mistake or by malice.
const UNANSWERED_MAX: usize = 1024;

/// An address of which it is not known whether somebody answers there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    until: Instant,
    /// Nobody had asked for it to be dialled before.
    new: bool,
}

/// What became of an address that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It is listed now, at this node, and soon at the others.
    Added,
    /// It was.
    Already,
    /// Too many others wait for an answer; nothing has changed.
    TooMany,
}

impl Node {
    /// The HTTP addresses of alive members, and those put by hand, in the order of their text.
    /// Linear in the members and in those put by hand.
    pub fn http_view(&mut self) -> Vec<String> {
        let now_ms = self.now.wall_ms;
        let by_hand = http_view::by_hand(&mut self.map, now_ms);
        http_view::listed(&self.members(), &by_hand).into_iter().collect()
    }

    /// Lists an address and dials it. A write.
    pub fn put_in_http_view(&mut self, now: Now, address: &str) -> Listing {
        self.set_now(now);
        if self.http_view().iter().any(|listed| listed == address) {
            return Listing::Already;
        }
        if self.unanswered.len() >= UNANSWERED_MAX {
            return Listing::TooMany;
        }
        let new = !self.dials.targets.contains_key(address);
        self.unanswered.insert(address.to_owned(), Unanswered { until: now.instant + ANSWER_TIME, new });
        self.add_given_peer(address);
        // Should this node not live to decide, the claim ends by itself, at no node earlier than here.
        let claim_ms = ANSWER_TIME.as_millis() as u64 + self.config.drift_ms;
        self.say(address, &Said::put(self.map.id(), None), Some(now.wall_ms.saturating_add(claim_ms)));
        self.on_time();
        self.settle();
        Listing::Added
    }

    /// Takes an address off the list, at all nodes, until it is put again or whoever has it is restarted. Neither its links
    /// nor its membership are touched. Whether it was listed. A write.
    pub fn delete_from_http_view(&mut self, now: Now, address: &str) -> bool {
        self.set_now(now);
        if !self.http_view().iter().any(|listed| listed == address) {
            return false;
        }
        self.forget_unanswered(address);
        let processes = http_view::processes_at(address, &self.members());
        if processes.is_empty() {
            self.unsay(address);
        } else {
            self.say(address, &Said::deleted(self.map.id(), processes), None);
        }
        self.settle();
        true
    }

    /// Decides about the addresses whose time is over.
    pub(super) fn decide_unanswered(&mut self) {
        let now = self.now.instant;
        let over = self.unanswered.iter().filter(|(_, wait)| wait.until <= now);
        let over: Vec<String> = over.map(|(address, _)| address.clone()).collect();
        for address in over {
            if self.is_writable() {
                self.decide(&address);
            } else if let Some(wait) = self.unanswered.get_mut(&address) {
                wait.until = now + AGAIN;
            }
        }
    }

    fn decide(&mut self, address: &str) {
        let answered = self.who_answers_at(address);
        match answered {
            Some(id) => {
                self.unanswered.remove(address);
                let is_member = |member: &Member| member.id == id && member.record.http.as_deref() == Some(address);
                if self.members().iter().any(is_member) {
                    self.unsay(address);
                } else {
                    self.say(address, &Said::put(self.map.id(), Some(id)), None);
                }
            }
            None => {
                self.forget_unanswered(address);
                self.unsay(address);
            }
        }
    }

    fn forget_unanswered(&mut self, address: &str) {
        if self.unanswered.remove(address).is_some_and(|wait| wait.new) {
            self.dials.give_up(address);
        }
    }

    fn who_answers_at(&self, address: &str) -> Option<ReplicaId> {
        if address == self.config.address {
            return Some(self.map.id());
        }
        let target = self.dials.targets.get(address)?;
        target.id.filter(|&id| target.own || self.links.values().any(|state| state.is_up() && state.is_with(id)))
    }

    pub(super) fn next_unanswered(&self) -> Option<Instant> {
        self.unanswered.values().map(|wait| wait.until).min()
    }

    /// Takes away what says nothing any more: whoever said it does, or, if that one is gone, the first of the others.
    pub(super) fn tidy_http_view(&mut self) {
        let now_ms = self.now.wall_ms;
        let by_hand = http_view::by_hand(&mut self.map, now_ms);
        if by_hand.is_empty() {
            return;
        }
        let members = self.members();
        let own = self.map.id();
        let alive: Vec<&Member> = members.iter().filter(|member| member.record.state == MemberState::Alive).collect();
        let is_mine = |said: &Said| {
            let author = alive.iter().find(|member| said.is_by(member.id));
            author.or(alive.first()).is_none_or(|member| member.id == own)
        };
        let spent = by_hand.iter().filter(|(_, said)| said.is_spent(&members) && is_mine(said));
        spent.for_each(|(address, _)| self.unsay(address));
    }

    fn say(&mut self, address: &str, said: &Said, deadline: Option<u64>) {
        if !self.is_writable() {
            return;
        }
        let (key, now_ms) = (http_view::key_of(address), self.now.wall_ms);
        let key = Key::sys(&key);
        match deadline {
            Some(deadline) => self.map.put_until(key, said.to_json(), deadline, now_ms),
            None => self.map.put(key, said.to_json(), now_ms),
        };
        self.on_local_write(key);
    }

    fn unsay(&mut self, address: &str) {
        let key = http_view::key_of(address);
        let key = Key::sys(&key);
        if self.is_writable() && self.map.delete(key, self.now.wall_ms).is_some() {
            self.on_local_write(key);
        }
    }
}
