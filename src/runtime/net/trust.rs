//! Whom a node lets in: who shows a certificate of one of its authorities. Not responsible for the handshake, which has
//! checked that already and does not say which authority it was.

use super::{CLUSTER_NAME, LinkFault};
use crate::ReplicaId;
use crate::proto::KeyId;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, DnsName, ServerName, TrustAnchor, UnixTime};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// Who is at the other end, as far as a certificate says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its replica. Certificates of the users' own authority need not say it: then the hello does.
    pub replica: Option<ReplicaId>,
    /// The secret or authority that it has proved itself with.
    pub key: KeyId,
}

/// The authorities of a node.
#[derive(Debug)]
pub(super) struct Trust {
    anchors: Vec<(TrustAnchor<'static>, KeyId)>,
    /// Every certificate says which replica it is for.
    names_replicas: bool,
}

impl Trust {
    /// In the certificates that nodes issue themselves stands which replica they are.
    pub(super) const fn in_secrets(anchors: Vec<(TrustAnchor<'static>, KeyId)>) -> Self {
        Self { anchors, names_replicas: true }
    }

    /// The users' own authorities cannot know.
    pub(super) const fn in_authorities(anchors: Vec<(TrustAnchor<'static>, KeyId)>) -> Self {
        Self { anchors, names_replicas: false }
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::new(RootCertStore { roots: self.anchors.iter().map(|(anchor, _)| anchor.clone()).collect() })
    }

    /// Whom a connection leads to, whose handshake may have been checked against other authorities than these.
    pub(super) fn peer(&self, connection: &quinn::Connection) -> Result<Peer, LinkFault> {
        let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.ok_or(LinkFault::NoCertificate)?;
        let role = if connection.side().is_client() { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let key = self.key_of(&chain, role).map_err(|_| LinkFault::OtherCluster)?;
        Ok(Peer { replica: self.replica_of(&chain)?, key })
    }

    /// The name of the authority that a chain of certificates ends at.
    pub(super) fn key_of(&self, chain: &[CertificateDer<'_>], role: KeyUsage) -> Result<KeyId, webpki::Error> {
        self.key_of_at(chain, role, UnixTime::now())
    }

    /// As it would be said then.
    pub(super) fn key_of_at(
        &self,
        chain: &[CertificateDer<'_>],
        role: KeyUsage,
        now: UnixTime,
    ) -> Result<KeyId, webpki::Error> {
        let [leaf, between @ ..] = chain else { return Err(webpki::Error::UnknownIssuer) };
        let leaf = EndEntityCert::try_from(leaf)?;
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let mut refused = webpki::Error::UnknownIssuer;
        for (anchor, key) in &self.anchors {
            let anchor = std::slice::from_ref(anchor);
            match leaf.verify_for_usage(algorithms, anchor, between, now, role, None, None) {
                Ok(_) => return Ok(*key),
                Err(webpki::Error::UnknownIssuer) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn replica_of(&self, chain: &[CertificateDer<'_>]) -> Result<Option<ReplicaId>, LinkFault> {
        let leaf = chain.first().ok_or(LinkFault::NoCertificate)?;
        match names_in(leaf) {
            Some(Names { of_cluster: true, replicas }) => match replicas[..] {
                [replica] => Ok(Some(replica)),
                [] if !self.names_replicas => Ok(None),
                _ => Err(LinkFault::NoReplica),
            },
            _ => Err(LinkFault::NotMeant),
        }
    }
}

/// What the names in a certificate say.
pub(super) struct Names {
    /// It is meant for nodes of a cluster.
    pub(super) of_cluster: bool,
    /// It is for these replicas only.
    pub(super) replicas: Vec<ReplicaId>,
}

/// None if it is no certificate.
pub(super) fn names_in(certificate: &CertificateDer<'_>) -> Option<Names> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let name = ServerName::DnsName(DnsName::try_from(CLUSTER_NAME).ok()?);
    let of_cluster = certificate.verify_is_valid_for_subject_name(&name).is_ok();
    let replicas = certificate.valid_dns_names().filter_map(replica_in_name).collect();
    Some(Names { of_cluster, replicas })
}

fn replica_in_name(name: &str) -> Option<ReplicaId> {
    name.strip_suffix(CLUSTER_NAME)?.strip_suffix('.')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::super::authority::{Authority, Leaf};
    use super::*;

    const A: u128 = 0xa;

    fn authority() -> Authority {
        Authority::from_secret(&Secret::random(&mut rand::rng())).expect("an authority")
    }

    fn chain(authority: &Authority, names: &[&str]) -> Vec<CertificateDer<'static>> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        vec![Leaf::issue(authority, &names).expect("a certificate").certificate]
    }

    #[test]
    fn a_certificate_names_exactly_one_replica_or_none_where_none_can_be_known() {
        let (a, b) = (ReplicaId::from(A), ReplicaId::from(0xb));
        let (a_name, b_name) = (format!("{a}.{CLUSTER_NAME}"), format!("{b}.{CLUSTER_NAME}"));
        let ours = authority();
        let read = |names: &[&str]| {
            let chain = chain(&ours, names);
            [Trust::in_secrets(Vec::new()), Trust::in_authorities(Vec::new())].map(|trust| trust.replica_of(&chain))
        };
        assert_eq!(read(&[CLUSTER_NAME, &a_name]), [Ok(Some(a)), Ok(Some(a))]);
        assert_eq!(read(&[CLUSTER_NAME]), [Err(LinkFault::NoReplica), Ok(None)]);
        assert_eq!(read(&[CLUSTER_NAME, &a_name, &b_name]), [Err(LinkFault::NoReplica), Err(LinkFault::NoReplica)]);
        let elsewhere = format!("{a}.elsewhere.internal");
        assert_eq!(read(&[&elsewhere]), [Err(LinkFault::NotMeant), Err(LinkFault::NotMeant)], "for something else");
    }

    #[test]
    fn the_authority_is_told_of_several() {
        let (new, old, other) = (authority(), authority(), authority());
        let [new_id, old_id] = [1, 2].map(|byte| KeyId::of_hash(&[byte; 16]));
        let anchor = |authority: &Authority| authority.anchor().expect("an anchor");
        let trust = Trust::in_secrets(vec![(anchor(&new), new_id), (anchor(&old), old_id)]);
        for role in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
            let key_of = |authority| trust.key_of(&chain(authority, &[CLUSTER_NAME]), role);
            assert_eq!((key_of(&new), key_of(&old)), (Ok(new_id), Ok(old_id)));
            assert_eq!(key_of(&other), Err(webpki::Error::UnknownIssuer));
        }
    }
}
