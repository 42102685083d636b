//! What a node tells about itself. Not responsible for collecting it, nor for the text it becomes: only for its shape,
//! which is that of `GET /v1/status`.

use serde::Serialize;
use std::collections::BTreeMap;

/// One node at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The replica id, as text.
    pub id: String,
    /// The node's name.
    pub name: String,
    /// The id of its cluster, 32 hexadecimal digits: as public as the names of its keys.
    pub cluster: String,
    /// When the node's certificate ends, in milliseconds since 1970; none of a node with a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<u64>,
    /// Keys with a live value, of users and of the cluster.
    pub keys: u64,
    /// Deletes still remembered.
    pub tombstones: u64,
    /// Live values that reading does not choose.
    pub siblings: u64,
    /// How much it takes to say what the node has seen.
    pub context: ContextStatus,
    /// The sums that nodes compare: equal contexts with unequal states would be a bug.
    pub audit: AuditStatus,
    /// Entries that are ahead of the node's context, as an unfinished sync leaves them.
    pub pending: u64,
    /// The open connections, no others.
    pub links: Vec<LinkStatus>,
    /// All bytes since the start, by purpose, those of links that are gone too.
    pub bytes: BytesStatus,
    /// What arrived: writes not known before, known ones, and numbers that name no write.
    pub dots: DotsStatus,
    /// What keeps the state.
    pub storage: StorageStatus,
}

/// The size of a causal context.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ContextStatus {
    /// Replicas it names.
    pub replicas: u64,
    /// Ranges of counters it takes.
    pub intervals: u64,
}

/// Audit sums, in hexadecimal.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct AuditStatus {
    /// Over the context.
    pub context: String,
    /// Over the entries.
    pub state: String,
}

/// One open connection.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LinkStatus {
    /// The peer's replica id.
    pub id: String,
    /// The address it is reached at.
    pub address: String,
    /// `eager`, `lazy` or `none`.
    pub mode: String,
    /// Whether it is to stay, and writes are told on it. In a large cluster others are short: two meet on them.
    pub active: bool,
    /// The round trip, in milliseconds.
    pub rtt_ms: f64,
    /// Writes that this node has and the peer is not known to have.
    pub lag: u64,
    /// Bytes over this link, by purpose.
    pub bytes: BytesStatus,
}

/// Bytes on the wire by purpose, each way: `values` (users' keys and values), `metadata` (what goes with them), `contexts` (who
/// knows what), `symbols` (finding out what differs), `membership` (the cluster's records), and `transport`: all else, with
/// the headers of IP and UDP. Together they are all.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct BytesStatus {
    /// Sent.
    pub sent: BTreeMap<String, u64>,
    /// Received.
    pub received: BTreeMap<String, u64>,
}

/// Received writes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct DotsStatus {
    /// Not known before.
    pub new: u64,
    /// Known already: traffic that was not needed.
    pub known: u64,
    /// Names that no write bears, as a crash leaves them.
    pub void: u64,
}

/// What keeps the state.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct StorageStatus {
    /// `memory`, or the engine's name.
    pub kind: String,
    /// Where the state is kept; none in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// How many bytes it takes there, as of a while ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why no writes are taken, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
