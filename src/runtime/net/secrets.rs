//! The secrets of a cluster that a node holds: one, and while that is being replaced, several. Not responsible for the file
//! that they are in.
//!
//! The cluster's id is the hash of its first secret, and outlives it: the sums that nodes compare are keyed with it. So it
//! stands beside the secrets once the first one is not among them any more.

use super::secret::{ParseSecretError, Secret};
use crate::proto::KeyId;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The word before the id of the cluster.
const CLUSTER: &str = "cluster";

/// One secret or several of one cluster. The first is presented to whoever knows it; all are accepted, and presented to who
/// knows nothing newer.
///
/// As text, each is 64 hexadecimal digits, and `cluster` with 32 digits says which cluster they are of; with one secret that
/// is the first of its cluster this may be left out. White space stands between them, by custom a new line.
///
/// ```
/// use tidings::{Secret, Secrets};
/// let old = Secrets::from(Secret::random(&mut rand::rng()));
/// let both = old.rotated(Secret::random(&mut rand::rng()));   // for all nodes, one after the other,
/// let new = both.presented_only();                            // and this, once all have the former
/// assert_eq!((both.len(), new.len()), (2, 1));
/// assert_eq!(new.cluster_id(), old.cluster_id());
/// let read: Secrets = both.to_text().parse()?;
/// assert_eq!(read.key_ids(), both.key_ids());
/// # Ok::<(), tidings::ParseSecretsError>(())
/// ```
#[derive(Clone)]
pub struct Secrets {
    cluster: [u8; 16],
    /// Never empty.
    list: Vec<Secret>,
}

/// Text that does not hold the secrets of a cluster. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSecretsError {
    /// One of them is no secret.
    #[error(transparent)]
    Secret(#[from] ParseSecretError),
    /// What follows the word is no id.
    #[error(
        "after the word \"cluster\" stands the cluster's id, 32 hexadecimal digits; \"tidings secret status\" shows it"
    )]
    Cluster,
    /// It would be a guess which of them was the first.
    #[error(
        "several secrets need a line \"cluster …\" with the cluster's id, which outlives the first of them; \
         \"tidings secret rotate\" writes it, and \"tidings secret status\" shows it"
    )]
    WhichCluster,
    /// One is there twice.
    #[error("a secret is there twice")]
    Twice,
    /// More than a rotation needs.
    #[error("more than {max} secrets; end the rotation with \"tidings secret rotate --finish\"", max = Secrets::MAX)]
    TooMany,
}

impl Secrets {
    /// So many at most: each costs a certificate at the start.
    pub const MAX: usize = 4;

    /// With a new one, which is presented from then on where it is known.
    ///
    /// With [`MAX`](Self::MAX) of them, the oldest is dropped.
    #[must_use]
    pub fn rotated(&self, new: Secret) -> Self {
        let mut list = vec![new];
        list.extend(self.list.iter().cloned());
        list.truncate(Self::MAX);
        Self { cluster: self.cluster, list }
    }

    /// Without all but the first.
    #[must_use]
    pub fn presented_only(&self) -> Self {
        Self { cluster: self.cluster, list: self.list[..1].to_vec() }
    }

    /// The id of the cluster that they are of: the same on each of its nodes, for ever, and public.
    pub const fn cluster_id(&self) -> [u8; 16] {
        self.cluster
    }

    /// Their names, in order.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.list.iter().map(Secret::key_id).collect()
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// The text, to be stored where only the node can read it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64 + 65 * self.list.len()));
        if self.list.len() > 1 || self.list[0].cluster_id() != self.cluster {
            text.push_str(&format!("{CLUSTER} {:032x}\n", u128::from_be_bytes(self.cluster)));
        }
        for secret in &self.list {
            text.push_str(&secret.to_hex());
            text.push('\n');
        }
        text
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.list.iter()
    }
}

impl From<Secret> for Secrets {
    fn from(first: Secret) -> Self {
        Self { cluster: first.cluster_id(), list: vec![first] }
    }
}

impl FromStr for Secrets {
    type Err = ParseSecretsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut cluster, mut list) = (None, Vec::<Secret>::new());
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            if word == CLUSTER {
                let id = words.next().and_then(parse_cluster_id).ok_or(ParseSecretsError::Cluster)?;
                cluster = Some(id).filter(|_| cluster.is_none_or(|known| known == id));
                cluster.ok_or(ParseSecretsError::Cluster)?;
                continue;
            }
            let secret: Secret = word.parse()?;
            if list.iter().any(|known| known.cluster_id() == secret.cluster_id()) {
                return Err(ParseSecretsError::Twice);
            }
            list.push(secret);
        }
        let cluster = match (cluster, &list[..]) {
            (_, []) => return Err(ParseSecretError.into()),
            (_, all) if all.len() > Self::MAX => return Err(ParseSecretsError::TooMany),
            (Some(id), _) => id,
            (None, [one]) => one.cluster_id(),
            (None, _) => return Err(ParseSecretsError::WhichCluster),
        };
        Ok(Self { cluster, list })
    }
}

/// The id of a cluster, as people write it.
pub(super) fn parse_cluster_id(digits: &str) -> Option<[u8; 16]> {
    let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(digits, 16).ok().filter(|_| is_hex).map(u128::to_be_bytes)
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::random(&mut rand::rng())
    }

    #[test]
    fn the_id_of_the_cluster_outlives_its_first_secret() {
        let first = secret();
        let old = Secrets::from(first.clone());
        let (both, third) = (old.rotated(secret()), secret());
        let new = both.presented_only().rotated(third.clone()).presented_only();
        assert_eq!(old.to_text().as_str(), format!("{}\n", first.to_hex().as_str()), "as it always was");
        for secrets in [&old, &both, &new] {
            let read: Secrets = secrets.to_text().parse().expect("what we wrote");
            assert_eq!((read.cluster_id(), read.key_ids()), (first.cluster_id(), secrets.key_ids()));
        }
        assert_eq!(new.key_ids(), [third.key_id()]);
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        let (a, b) = (secret().to_hex().to_string(), secret().to_hex().to_string());
        let id = "0123456789abcdef0123456789abcdef";
        let refused = |text: &str| text.parse::<Secrets>().expect_err(text);
        assert_eq!(refused(""), ParseSecretError.into());
        assert_eq!(refused(&format!("cluster {id}")), ParseSecretError.into());
        assert_eq!(refused(&format!("{a}\ncorrect horse")), ParseSecretError.into());
        assert_eq!(refused(&format!("{a}\n{b}\n")), ParseSecretsError::WhichCluster);
        assert_eq!(refused(&format!("cluster {id}\n{a}\n{b}\n{a}\n")), ParseSecretsError::Twice);
        for wrong in ["cluster", "cluster 12", &format!("cluster {id} cluster {}", id.replace('0', "1"))] {
            assert_eq!(refused(&format!("{a} {wrong}")), ParseSecretsError::Cluster);
        }
        let many: String = (0..5).map(|_| format!("{}\n", secret().to_hex().as_str())).collect();
        assert_eq!(refused(&format!("cluster {id}\n{many}")), ParseSecretsError::TooMany);
        assert!(!refused(&format!("{a}\n{b}\n")).to_string().contains(&a));
    }

    #[test]
    fn debug_shows_names_only() {
        let one = secret();
        assert_eq!(format!("{:?}", Secrets::from(one.clone())), format!("[{:?}]", one.key_id()));
    }
}
