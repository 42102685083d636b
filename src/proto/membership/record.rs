//! A member's record, at `sys/members/<replica id>`: JSON, so that people can read it. Not responsible for writing it.

use crate::crdt::{Key, OrMap, ReplicaId};
use crate::proto::KeyId;
use serde::{Deserialize, Serialize};

pub(crate) const PREFIX: &[u8] = b"members/";

/// What a node says of itself, or others of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What people call it.
    pub name: String,
    /// Where it listens for links.
    pub addresses: Vec<String>,
    /// Where it serves its clients, if it does.
    #[serde(default)]
    pub http: Option<String>,
    /// It does not pass on what others write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaf: bool,
    /// The protocol version that it speaks.
    pub protocol: u16,
    /// Grows whenever the node takes back what others said of it.
    pub incarnation: u64,
    /// Drawn at each start of its process.
    #[serde(default)]
    pub boot: u64,
    /// The keys of the cluster that it accepts, the one that it presents first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyId>,
    /// What is believed of it.
    pub state: MemberState,
}

/// What is believed of a member. Of concurrent records the higher incarnation counts, then the later of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It says so itself.
    Alive,
    /// Somebody lost the link to it, and waits for its answer.
    Suspect,
    /// Somebody lost the link to it.
    Down,
    /// It said that it leaves for good.
    Left,
}

/// A member, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its replica.
    pub id: ReplicaId,
    /// The record that counts.
    pub record: Record,
}

impl Record {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is plain data")
    }

    /// Whether it is taken for running, however doubtfully.
    pub(crate) fn is_present(&self) -> bool {
        self.state < MemberState::Down
    }

    fn rank(&self) -> (u64, MemberState) {
        (self.incarnation, self.state)
    }
}

/// The key of a member's record.
pub(crate) fn key_of(id: ReplicaId) -> Vec<u8> {
    [PREFIX, id.to_string().as_bytes()].concat()
}

/// The record that counts of those that are live at a key, and when it expires.
pub(super) fn read(map: &OrMap, key: &[u8], now_ms: u64) -> Option<(Record, Option<u64>)> {
    let live = map.registers(Key::sys(key));
    let live = live.iter().map(|(_, register)| register).filter(|register| !register.is_dead(now_ms));
    let records = live.filter_map(|register| {
        Some((serde_json::from_slice::<Record>(register.value.as_ref()?).ok()?, register.deadline))
    });
    records.max_by_key(|(record, _)| record.rank())
}

/// Writes of a member that it is down, unless there is no record of it, or that is what it says. The incarnation stays, so
/// that the member itself can take it back.
pub(crate) fn write_down(map: &mut OrMap, id: ReplicaId, now_ms: u64, forget_ms: u64) {
    let key = key_of(id);
    let Some((record, _)) = read(map, &key, now_ms).filter(|(record, _)| record.state < MemberState::Down) else {
        return;
    };
    let record = Record { state: MemberState::Down, ..record };
    map.put_until(Key::sys(&key), record.to_json(), now_ms.saturating_add(forget_ms), now_ms);
}
