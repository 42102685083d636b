//! The cluster's records: the own one kept right, others suspected when their link is lost, and written down if they do not
//! answer. Not responsible for who is dialled.

use super::Node;
use crate::crdt::{Key, ReplicaId};
use crate::proto::membership::suspicion::Patience;
use crate::proto::membership::{self, Changed, Member, MemberState, Members, Record};
use crate::proto::message::PROTOCOL_VERSION;
use tracing::info;

impl Node {
    /// All members of which there is a record, this node among them. Linear in them: each record is read.
    pub fn members(&self) -> Vec<Member> {
        self.members.to_vec()
    }

    pub(super) fn member_at(&self, address: &str) -> Option<ReplicaId> {
        let listens = |record: &Record| record.addresses.iter().any(|known| known == address);
        self.members.iter().find(|(_, record)| listens(record)).map(|(id, _)| id)
    }

    // --- What is said

    /// Reads all records, as at a start.
    pub(super) fn load_members(&mut self) {
        self.map.follow_sys();
        self.members = Members::load(&mut self.map, self.now.wall_ms);
        let all: Vec<ReplicaId> = self.members.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.note_suspicion(id, false));
    }

    /// Takes in what was written of members, here or elsewhere, and what has expired.
    pub(super) fn follow_members(&mut self) {
        let now_ms = self.now.wall_ms;
        let mut changed = self.members.expire(&self.map, now_ms);
        for key in self.map.take_touched_sys() {
            changed.extend(self.members.refresh(&self.map, &key, now_ms));
        }
        changed.into_iter().for_each(|changed| self.on_member(&changed));
    }

    fn on_member(&mut self, changed: &Changed) {
        let Changed { id, before } = changed;
        let now = self.members.get(*id);
        let place = |record: &Record| (record.state, record.addresses.clone());
        self.members_changed |= before.as_ref().map(place) != now.map(place);
        self.own_record_changed |= *id == self.map.id();
        if now.is_none() {
            self.suspicions.forget(*id);
        }
        if now.is_some_and(|record| !record.is_present()) {
            self.view.evict(*id);
        }
        self.note_suspicion(*id, false);
    }

    fn note_suspicion(&mut self, id: ReplicaId, is_author: bool) {
        let (now, wait, own) = (self.now.instant, self.config.suspect_for, self.map.id());
        if id != own {
            self.suspicions.note(id, self.members.get(id), &Patience { now, wait, own, is_author });
        }
    }

    // --- What this node says

    /// Writes what this node says of itself, above all that was said of it.
    pub(super) fn write_own_record(&mut self) {
        if !self.config.writes_record {
            return;
        }
        let id = self.map.id();
        let incarnation = self.members.get(id).map_or(1, |record| record.incarnation.saturating_add(1));
        let record = Record {
            name: self.config.name.clone(),
            addresses: vec![self.config.address.clone()],
            http: self.config.http.clone(),
            leaf: self.config.leaf,
            protocol: PROTOCOL_VERSION,
            incarnation,
            boot: self.config.boot,
            keys: self.config.keys.clone(),
            state: if self.left { MemberState::Left } else { MemberState::Alive },
        };
        self.write_record(id, &record);
    }

    /// Somebody wrote over the own record, or the own keys are others now: says what is, with a higher incarnation.
    pub(super) fn refute(&mut self) {
        let is = if self.left { MemberState::Left } else { MemberState::Alive };
        let said = self.members.get(self.map.id());
        let (state, keys) = (said.map(|record| record.state), said.map(|record| &record.keys));
        if state != Some(is) {
            self.meters.refuted += 1;
        }
        if state != Some(is) || keys != Some(&self.config.keys) {
            self.write_own_record();
        }
    }

    /// The link to a member is lost, and there is no other: it is suspected, unless something worse is known.
    pub(super) fn suspect(&mut self, id: ReplicaId) {
        let Some(record) = self.members.get(id).filter(|record| record.state < MemberState::Down).cloned() else {
            return;
        };
        if record.state == MemberState::Alive {
            info!(peer = %id, name = record.name, "suspected");
            self.meters.suspected += 1;
            self.write_record(id, &Record { state: MemberState::Suspect, ..record });
        }
        self.note_suspicion(id, true);
    }

    /// Nobody answers where a member listens, again and again: it is suspected, once in the life of its process. If the way
    /// is broken and not the member, it takes that back.
    pub(super) fn suspect_unreachable(&mut self, id: ReplicaId) {
        let alive = self.members.get(id).filter(|record| record.state == MemberState::Alive);
        if let Some(boot) = alive.map(|record| record.boot)
            && self.suspicions.unreachable(id, boot)
        {
            self.suspect(id);
        }
    }

    /// Those that were suspected, and have not answered, are down.
    pub(super) fn write_down_suspects(&mut self) {
        for id in self.suspicions.take_due(self.now.instant) {
            if self.is_linked(id) {
                // It will refute as soon as it has heard of it.
                self.note_suspicion(id, false);
            } else {
                self.write_down(id);
            }
        }
    }

    /// A member is gone. The incarnation stays, so that the member itself can take it back.
    pub(super) fn write_down(&mut self, id: ReplicaId) {
        if let Some(record) = self.members.get(id).filter(|record| record.state < MemberState::Down).cloned() {
            info!(peer = %id, name = record.name, "down");
            self.meters.written_down += 1;
            self.write_record(id, &Record { state: MemberState::Down, ..record });
        }
    }

    pub(super) fn write_record(&mut self, id: ReplicaId, record: &Record) {
        // Of this node's own it is made up for as soon as there is room; of another's, others write the same.
        if !self.is_writable() {
            return;
        }
        let (key, value, now) = (membership::key_of(id), record.to_json(), self.now.wall_ms);
        let key = Key::sys(&key);
        match self.deadline_of(record) {
            Some(deadline) => self.map.put_until(key, value, deadline, now),
            None => self.map.put(key, value, now),
        };
        self.on_local_write(key);
        self.follow_members();
    }
}
