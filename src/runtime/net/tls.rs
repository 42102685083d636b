//! Who is of the cluster: certificates and TLS settings, all derived from the secret. Not responsible for connections.
//!
//! Each node derives the same authority from the secret and issues itself a certificate at each start, so there is
//! nothing to hand out, to store or to renew. TLS 1.3 with certificates on both sides; no resumption and no early data,
//! which could be replayed.

use super::Secret;
use super::reset::ResetKey;
use crate::ReplicaId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The protocol and its version, as TLS negotiates it: another version fails the handshake.
pub const ALPN: &[u8] = b"tidings/1";

/// A name in every certificate of a cluster; a node asks for it, as it need not know whom it will find at an address.
pub(super) const CLUSTER_NAME: &str = "node.cluster.internal";

/// What makes a node one of its cluster: trust in the cluster's authority, and a certificate that it issued.
#[derive(Clone)]
pub struct Identity {
    replica: ReplicaId,
    reset: ResetKey,
    client: Arc<QuicClientConfig>,
    server: Arc<QuicServerConfig>,
}

/// TLS could not be set up. None of these depends on the secret or on the network: they are faults of this build.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A setting was refused.
    #[error("cannot set up TLS: {0}")]
    Config(#[from] rustls::Error),
    /// The cluster's authority was refused as one to check clients against.
    #[error("cannot set up the check of client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The cipher suite that QUIC starts with is missing.
    #[error("cannot set up QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

impl Identity {
    /// The identity of a replica in the cluster of that secret, with a fresh key.
    pub fn from_secret(secret: &Secret, replica: ReplicaId) -> Result<Self, TlsError> {
        let authority = Authority::from_secret(secret)?;
        let leaf = Leaf::issue(&authority, &[CLUSTER_NAME.to_owned(), format!("{replica}.{CLUSTER_NAME}")])?;
        let roots = authority.roots()?;
        Ok(Self {
            replica,
            reset: ResetKey::new(secret, replica),
            client: Arc::new(client_config(Arc::clone(&roots), Some(&leaf), ALPN)?.try_into()?),
            server: Arc::new(server_config(roots, &leaf)?.try_into()?),
        })
    }

    /// Whose it is.
    pub const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// For the endpoint of its node.
    pub(super) fn endpoint(&self) -> quinn::EndpointConfig {
        self.reset.endpoint_config()
    }

    /// For links that we dial.
    pub(super) fn client(&self) -> quinn::ClientConfig {
        quinn::ClientConfig::new(Arc::clone(&self.client) as _)
    }

    /// For links that we accept.
    pub(super) fn server(&self) -> quinn::ServerConfig {
        quinn::ServerConfig::with_crypto(Arc::clone(&self.server) as _)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// The cluster's authority. Every node derives the same key and the same name; only these two are compared.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub(super) fn from_secret(secret: &Secret) -> Result<Self, TlsError> {
        // The name tells clusters apart before any signature is checked, so a wrong secret is reported as an unknown
        // issuer and not as a bad signature.
        let fingerprint = u128::from_be_bytes(secret.cluster_id());
        let mut params = long_lived(CertificateParams::default(), &format!("tidings cluster {fingerprint:032x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let seed = secret.derive("tidings v1 cluster authority key");
        Ok(Self { params, key: ed25519(&seed)? })
    }

    /// The authority as the only one that is trusted.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.params.self_signed(&self.key)?.der().clone())?;
        Ok(Arc::new(roots))
    }
}

/// A node's own certificate.
pub(super) struct Leaf {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Leaf {
    pub(super) fn issue(authority: &Authority, names: &[String]) -> Result<Self, TlsError> {
        let mut params = long_lived(CertificateParams::new(names)?, "tidings node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        Ok(Self { certificate: params.signed_by(&key, &issuer)?.der().clone(), key })
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// Valid at any time a machine may believe in: one without a battery for its clock starts in 1970.
fn long_lived(mut params: CertificateParams, common_name: &str) -> CertificateParams {
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The key pair of that seed, by way of PKCS #8 (RFC 8410), the only form in which rcgen takes one.
fn ed25519(seed: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    const PREFIX: [u8; 16] = [0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34, 4, 32];
    let mut pkcs8 = Zeroizing::new([0; 48]);
    pkcs8[..16].copy_from_slice(&PREFIX);
    pkcs8[16..].copy_from_slice(seed);
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(&pkcs8[..]), &PKCS_ED25519)
}

/// Explicit, so that no other part of a process can change what we use by setting its default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Without a leaf it is the client of a stranger, for tests.
pub(super) fn client_config(
    roots: Arc<RootCertStore>,
    leaf: Option<&Leaf>,
    alpn: &[u8],
) -> Result<rustls::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    let mut config = match leaf {
        Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.private_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn server_config(roots: Arc<RootCertStore>, leaf: &Leaf) -> Result<rustls::ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(leaf.chain(), leaf.private_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The replica id in the certificate that the peer has proved to hold; none if it names no replica, or several.
pub(super) fn peer_replica(connection: &quinn::Connection) -> Option<ReplicaId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    replica_named_in(chain.first()?)
}

fn replica_named_in(certificate: &CertificateDer<'_>) -> Option<ReplicaId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut replicas = certificate.valid_dns_names().filter_map(replica_in_name);
    let replica = replicas.next()?;
    replicas.next().is_none().then_some(replica)
}

fn replica_in_name(name: &str) -> Option<ReplicaId> {
    name.strip_suffix(CLUSTER_NAME)?.strip_suffix('.')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(names: &[&str]) -> Leaf {
        let authority = Authority::from_secret(&Secret::random(&mut rand::rng())).expect("an authority");
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        Leaf::issue(&authority, &names).expect("a certificate")
    }

    #[test]
    fn every_node_derives_the_same_authority() {
        let secret = Secret::random(&mut rand::rng());
        let anchor = || Authority::from_secret(&secret).and_then(|a| a.roots()).expect("roots").roots[0].clone();
        assert_eq!(anchor(), anchor());
    }

    #[test]
    fn a_certificate_names_exactly_one_replica() {
        let (a, b) = (ReplicaId::from(0xa), ReplicaId::from(0xb));
        let (a_name, b_name) = (format!("{a}.{CLUSTER_NAME}"), format!("{b}.{CLUSTER_NAME}"));
        let read = |names: &[&str]| replica_named_in(&leaf(names).certificate);
        assert_eq!(read(&[CLUSTER_NAME, &a_name]), Some(a));
        assert_eq!(read(&[CLUSTER_NAME]), None);
        assert_eq!(read(&[&a_name, &b_name]), None);
        assert_eq!(read(&[&format!("{a}.elsewhere.internal")]), None);
    }
}
