//! `manifest.json`: what a checkpoint is, and which files belong to it. Not responsible for what is in those.
//!
//! It is written last, so a directory that has one had all the rest. Its last line is the BLAKE3 of all before that line,
//! in every format, so that a newer one is told from a damaged one.

use super::CHECKPOINT_FORMAT;
use crate::crdt::ReplicaId;
use crate::proto::durable::Identity;
use serde::{Deserialize, Serialize};

pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// More than any has.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const KIND: &str = "tidings checkpoint";
const SUM_BEFORE: &str = ",\n  \"blake3\": \"";
const SUM_AFTER: &str = "\"\n}\n";

/// What is known of a checkpoint before its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) identity: Identity,
    pub(super) taken_ms: u64,
    pub(super) entries: u64,
}

impl About {
    /// Replica and cluster, in hexadecimal digits.
    pub(super) fn identity_text(&self) -> (String, String) {
        (self.identity.replica.to_string(), ReplicaId::from_bytes(self.identity.cluster).to_string())
    }

    pub(super) fn read(replica: &str, cluster: &str, taken_ms: u64, entries: u64) -> Option<Self> {
        let cluster = *cluster.parse::<ReplicaId>().ok()?.as_bytes();
        Some(Self { identity: Identity { replica: replica.parse().ok()?, cluster }, taken_ms, entries })
    }
}

/// A checkpoint, as its last file tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    kind: String,
    format: u64,
    replica: String,
    cluster: String,
    pub(super) taken_ms: u64,
    pub(super) entries: u64,
    pub(super) records: u64,
    pub(super) files: Vec<DataFile>,
}

/// One of its data files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// What every format has.
#[derive(Deserialize)]
struct Head {
    kind: String,
    format: u64,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ManifestError {
    Newer(u64),
    Damaged(&'static str),
}

/// The name of a data file, counted from 0.
pub(super) fn file_name(index: usize) -> String {
    format!("records-{:06}", index + 1)
}

impl Manifest {
    pub(super) fn new(about: &About, records: u64, files: Vec<DataFile>) -> Self {
        let (replica, cluster) = about.identity_text();
        Self {
            kind: KIND.to_owned(),
            format: CHECKPOINT_FORMAT,
            replica,
            cluster,
            taken_ms: about.taken_ms,
            entries: about.entries,
            records,
            files,
        }
    }

    pub(super) fn about(&self) -> Option<About> {
        About::read(&self.replica, &self.cluster, self.taken_ms, self.entries)
    }

    /// How many bytes its data files have.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    pub(super) fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("plain data");
        let before = text.trim_end_matches("\n}");
        format!("{before}{SUM_BEFORE}{}{SUM_AFTER}", blake3::hash(before.as_bytes()).to_hex())
    }

    pub(super) fn read(text: &[u8]) -> Result<Self, ManifestError> {
        let damaged = ManifestError::Damaged;
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is no text"))?;
        let before = text.len().checked_sub(SUM_BEFORE.len() + 2 * blake3::OUT_LEN + SUM_AFTER.len());
        let (before, sum) = before.and_then(|at| text.split_at_checked(at)).ok_or(damaged("it is too short"))?;
        let expected = format!("{SUM_BEFORE}{}{SUM_AFTER}", blake3::hash(before.as_bytes()).to_hex());
        if sum != expected {
            return Err(damaged("its checksum is wrong"));
        }
        let json = format!("{before}\n}}");
        let head: Head = serde_json::from_str(&json).map_err(|_| damaged("it is no manifest"))?;
        if head.kind != KIND {
            return Err(damaged("it is not that of a checkpoint"));
        }
        if head.format > CHECKPOINT_FORMAT {
            return Err(ManifestError::Newer(head.format));
        }
        let manifest: Self = serde_json::from_str(&json).map_err(|_| damaged("it lacks what a manifest has"))?;
        let in_order = manifest.files.iter().enumerate().all(|(index, file)| file.name == file_name(index));
        if manifest.about().is_none() || !in_order {
            Err(damaged("it cannot be what was written"))
        } else {
            Ok(manifest)
        }
    }
}
