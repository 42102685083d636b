//! The cluster's records: the own one kept right, others written down when a link is lost. Not responsible for who is
//! dialled.

use super::Node;
use crate::crdt::{Key, ReplicaId};
use crate::proto::membership::{self, Member, MemberState, Record};
use crate::proto::message::PROTOCOL_VERSION;

impl Node {
    /// All members of which there is a record, this node among them.
    pub fn members(&mut self) -> Vec<Member> {
        membership::members(&mut self.map, self.now.wall_ms)
    }

    pub(super) fn member_at(&mut self, address: &str) -> Option<ReplicaId> {
        let listens = |member: &Member| member.record.addresses.iter().any(|known| known == address);
        self.members().into_iter().find(listens).map(|member| member.id)
    }

    fn record_of(&mut self, id: ReplicaId) -> Option<Record> {
        self.members().into_iter().find(|member| member.id == id).map(|member| member.record)
    }

    /// Writes what this node says of itself, above all that was said of it.
    pub(super) fn write_own_record(&mut self) {
        let id = self.map.id();
        let incarnation = self.record_of(id).map_or(1, |record| record.incarnation + 1);
        let record = Record {
            name: self.config.name.clone(),
            addresses: vec![self.config.address.clone()],
            http: self.config.http.clone(),
            protocol: PROTOCOL_VERSION,
            incarnation,
            boot: self.config.boot,
            state: if self.left { MemberState::Left } else { MemberState::Alive },
        };
        self.write_record(id, &record);
    }

    /// Somebody wrote over the own record: takes it back, with a higher incarnation.
    pub(super) fn refute(&mut self) {
        let said = self.record_of(self.map.id()).map(|record| record.state);
        let is = if self.left { MemberState::Left } else { MemberState::Alive };
        if said != Some(is) {
            self.write_own_record();
        }
    }

    /// The link to a member is lost, and there is no other: written down, unless it already is. The incarnation stays,
    /// so that the member itself can take it back.
    pub(super) fn write_down(&mut self, id: ReplicaId) {
        if let Some(record) = self.record_of(id).filter(|record| record.state < MemberState::Down) {
            self.write_record(id, &Record { state: MemberState::Down, ..record });
        }
    }

    fn write_record(&mut self, id: ReplicaId, record: &Record) {
        // Of this node's own it is made up for as soon as there is room; of another's, others write the same.
        if !self.is_writable() {
            return;
        }
        let (key, value, now) = (membership::key_of(id), record.to_json(), self.now.wall_ms);
        let key = Key::sys(&key);
        if record.state >= MemberState::Down {
            let deadline = now.saturating_add(self.config.forget_member_ms);
            self.map.put_until(key, value, deadline, now);
        } else {
            self.map.put(key, value, now);
        }
        self.on_local_write(key);
    }
}
