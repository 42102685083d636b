//! What a node proves with that it is of its cluster. Not responsible for TLS.

use super::{Certificates, Secret, Secrets};
use crate::proto::KeyId;
use std::time::SystemTime;

/// The keys of a node: secrets that its cluster shares, or a certificate of the users' own authority.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Secrets, of which each node makes its own certificates.
    Secrets(Secrets),
    /// A certificate, and the authorities whose certificates are accepted.
    Certificates(Certificates),
}

impl Keys {
    /// The id of the cluster that they are of.
    pub fn cluster_id(&self) -> [u8; 16] {
        match self {
            Self::Secrets(secrets) => secrets.cluster_id(),
            Self::Certificates(certificates) => certificates.cluster_id(),
        }
    }

    /// Their names: what is presented first, then what is accepted too.
    pub fn key_ids(&self) -> Vec<KeyId> {
        match self {
            Self::Secrets(secrets) => secrets.key_ids(),
            Self::Certificates(certificates) => certificates.key_ids(),
        }
    }

    /// When they end, if they do: a certificate does.
    pub fn expires(&self) -> Option<SystemTime> {
        match self {
            Self::Secrets(_) => None,
            Self::Certificates(certificates) => certificates.expires(),
        }
    }

    /// The setting that they come from, for errors.
    pub(crate) const fn setting(&self) -> &'static str {
        match self {
            Self::Secrets(_) => "secret",
            Self::Certificates(_) => "tls_ca",
        }
    }
}

impl From<Secret> for Keys {
    fn from(secret: Secret) -> Self {
        Self::Secrets(secret.into())
    }
}

impl From<Secrets> for Keys {
    fn from(secrets: Secrets) -> Self {
        Self::Secrets(secrets)
    }
}

impl From<Certificates> for Keys {
    fn from(certificates: Certificates) -> Self {
        Self::Certificates(certificates)
    }
}
