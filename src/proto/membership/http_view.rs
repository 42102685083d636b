//! The HTTP addresses of a cluster, as its clients see them: those of alive members, and what people put or deleted by
//! hand, at `sys/view/<address>`: JSON, so that people can read it. Not responsible for dialling, nor for who writes when.

use super::{Member, MemberState};
use crate::crdt::{Key, OrMap, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const PREFIX: &[u8] = b"view/";

/// What people said of an address, by address. What cannot be read is passed over.
pub(crate) type ByHand = BTreeMap<String, Said>;

/// What somebody said of an address, at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    /// It is to be listed.
    Put {
        /// The replica of the node where that was said.
        by: String,
        /// Who has answered there; `None` while that is not known.
        answered: Option<String>,
    },
    /// It is not to be listed, for as long as these processes run.
    Deleted {
        /// As above.
        by: String,
        /// Whose address it was.
        members: Vec<Process>,
    },
}

/// A run of a member: a restart is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    replica: String,
    boot: u64,
}

impl Said {
    pub(crate) fn put(by: ReplicaId, answered: Option<ReplicaId>) -> Self {
        Self::Put { by: by.to_string(), answered: answered.map(|id| id.to_string()) }
    }

    pub(crate) fn deleted(by: ReplicaId, members: Vec<Process>) -> Self {
        Self::Deleted { by: by.to_string(), members }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it is plain data")
    }

    pub(crate) fn is_by(&self, id: ReplicaId) -> bool {
        let (Self::Put { by, .. } | Self::Deleted { by, .. }) = self;
        *by == id.to_string()
    }

    /// Whether it says nothing any more: whom it names is gone, or runs anew.
    pub(crate) fn is_spent(&self, members: &[Member]) -> bool {
        match self {
            Self::Put { answered: None, .. } => false,
            Self::Put { answered: Some(id), .. } => !members.iter().any(|member| member.id.to_string() == *id),
            Self::Deleted { members: processes, .. } => !members.iter().any(|member| runs(processes, member)),
        }
    }
}

fn runs(processes: &[Process], member: &Member) -> bool {
    processes.contains(&Process { replica: member.id.to_string(), boot: member.record.boot })
}

/// The key of what is said of an address.
pub(crate) fn key_of(address: &str) -> Vec<u8> {
    [PREFIX, address.as_bytes()].concat()
}

/// All that is said by hand.
pub(crate) fn by_hand(map: &mut OrMap, now_ms: u64) -> ByHand {
    let said = map.scan(Key::sys(PREFIX), now_ms).filter_map(|(key, reading)| {
        let address = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?;
        Some((address.to_owned(), serde_json::from_slice(reading.value).ok()?))
    });
    said.collect()
}

/// The processes that an address belongs to, whatever is believed of them now: none of them is to come back under it.
pub(crate) fn processes_at(address: &str, members: &[Member]) -> Vec<Process> {
    let at = members.iter().filter(|member| member.record.http.as_deref() == Some(address));
    at.map(|member| Process { replica: member.id.to_string(), boot: member.record.boot }).collect()
}

/// What is listed.
pub(crate) fn listed(members: &[Member], by_hand: &ByHand) -> BTreeSet<String> {
    let is_out = |member: &Member, address: &str| matches!(by_hand.get(address), Some(Said::Deleted { members, .. }) if runs(members, member));
    let alive = members.iter().filter(|member| member.record.state == MemberState::Alive);
    let own = alive.filter_map(|member| Some((member, member.record.http.clone()?)));
    let own = own.filter(|(member, address)| !is_out(member, address)).map(|(_, address)| address);
    let put = by_hand.iter().filter(|(_, said)| is_put(said, members)).map(|(address, _)| address.clone());
    own.chain(put).collect()
}

/// Whether an address that was put is listed: until it is known who answers there, then while that one is alive.
fn is_put(said: &Said, members: &[Member]) -> bool {
    let Said::Put { answered, .. } = said else { return false };
    let Some(answered) = answered else { return true };
    let known = members.iter().find(|member| member.id.to_string() == *answered);
    known.is_none_or(|member| member.record.state == MemberState::Alive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::membership::Record;

    fn member(number: u128, http: &str, boot: u64, state: MemberState) -> Member {
        let record = Record {
            name: "a".to_owned(),
            addresses: vec!["10.0.0.1:7400".to_owned()],
            http: Some(http.to_owned()),
            leaf: false,
            protocol: 1,
            incarnation: 1,
            boot,
            keys: Vec::new(),
            state,
        };
        Member { id: ReplicaId::from(number), record }
    }

    fn shown(members: &[Member], said: &[(&str, Said)]) -> Vec<String> {
        let by_hand = said.iter().map(|(address, said)| ((*address).to_owned(), said.clone())).collect();
        listed(members, &by_hand).into_iter().collect()
    }

    const ME: u128 = 9;

    #[test]
    fn alive_members_are_listed_once_and_no_others() {
        let members = [
            member(1, "b:1", 1, MemberState::Alive),
            member(2, "a:1", 1, MemberState::Alive),
            member(3, "a:1", 1, MemberState::Alive),
            member(4, "c:1", 1, MemberState::Suspect),
            member(5, "d:1", 1, MemberState::Down),
            member(6, "e:1", 1, MemberState::Left),
        ];
        assert_eq!(shown(&members, &[]), ["a:1", "b:1"]);
    }

    #[test]
    fn a_deleted_one_stays_out_until_it_is_restarted_whatever_else_is_said_of_it() {
        let deleted =
            Said::deleted(ReplicaId::from(ME), processes_at("a:1", &[member(1, "a:1", 1, MemberState::Alive)]));
        let said = [("a:1", deleted.clone())];
        let mut refuted = member(1, "a:1", 1, MemberState::Alive);
        refuted.record.incarnation = 7;
        assert!(shown(std::slice::from_ref(&refuted), &said).is_empty());
        assert!(!deleted.is_spent(&[refuted]));
        let restarted = [member(1, "a:1", 2, MemberState::Alive)];
        assert_eq!(shown(&restarted, &said), ["a:1"]);
        assert!(deleted.is_spent(&restarted));
        let another = [member(2, "a:1", 1, MemberState::Alive)];
        assert_eq!(shown(&another, &said), ["a:1"], "a process without a disk has another replica after a restart");
    }

    #[test]
    fn what_was_put_is_listed_until_who_answers_there_is_not_alive() {
        let put = |answered: Option<u128>| [("a:1", Said::put(ReplicaId::from(ME), answered.map(ReplicaId::from)))];
        assert_eq!(shown(&[], &put(None)), ["a:1"]);
        assert_eq!(shown(&[], &put(Some(1))), ["a:1"], "its record is yet to come");
        assert_eq!(shown(&[member(1, "b:1", 1, MemberState::Alive)], &put(Some(1))), ["a:1", "b:1"]);
        assert!(shown(&[member(1, "b:1", 1, MemberState::Down)], &put(Some(1))).is_empty());
    }

    #[test]
    fn a_record_of_a_release_that_told_no_boot_can_be_read() {
        let text = br#"{"name":"a","addresses":[],"protocol":1,"incarnation":1,"state":"alive"}"#;
        assert_eq!(serde_json::from_slice::<Record>(text).expect("a record").boot, 0);
    }
}
