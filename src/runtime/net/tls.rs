//! How a node shows that it is of its cluster, and checks that others are. Not responsible for keys, nor for connections.
//!
//! TLS 1.3 with certificates on both sides; no resumption and no early data, which could be replayed. Each side tells which
//! authorities it knows, and is shown the first certificate of the other that comes from one of them: while a secret is
//! being replaced, who was away and has only the old one is understood by all who still accept that.

use super::authority::{Authority, Leaf};
use super::reset::ResetKey;
use super::trust::{Peer, Trust};
use super::{Keys, LinkFault, Secrets};
use crate::ReplicaId;
use crate::proto::KeyId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The protocol and its version, as TLS negotiates it: another version fails the handshake.
pub const ALPN: &[u8] = b"tidings/1";

/// What makes a node one of its cluster: trust in the cluster's authorities, and a certificate of one of them.
#[derive(Clone)]
pub struct Identity {
    replica: ReplicaId,
    keys: Vec<KeyId>,
    expires: Option<SystemTime>,
    reset: ResetKey,
    trust: Arc<Trust>,
    client: Arc<QuicClientConfig>,
    server: Arc<QuicServerConfig>,
}

/// TLS could not be set up. None of these depends on the network.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A setting was refused.
    #[error("cannot set up TLS: {0}")]
    Config(#[from] rustls::Error),
    /// The cluster's authorities were refused as those to check certificates against.
    #[error("cannot set up the check of certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The cipher suite that QUIC starts with is missing.
    #[error("cannot set up QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

impl Identity {
    /// The identity of a replica with these keys.
    pub fn new(keys: &Keys, replica: ReplicaId) -> Result<Self, TlsError> {
        let (trust, presented) = match keys {
            Keys::Secrets(secrets) => of_secrets(secrets, replica)?,
            Keys::Certificates(certificates) => certificates.credentials(),
        };
        let (roots, presented) = (trust.roots(), Arc::new(presented));
        Ok(Self {
            replica,
            keys: keys.key_ids(),
            expires: keys.expires(),
            reset: ResetKey::random(&mut rand::rng()),
            trust: Arc::new(trust),
            client: Arc::new(client_config(Arc::clone(&roots), Some(&presented), ALPN)?.try_into()?),
            server: Arc::new(server_config(roots, presented)?.try_into()?),
        })
    }

    /// With a key that outlives the process, for an endpoint that is bound.
    #[must_use]
    pub fn with_reset(self, reset: ResetKey) -> Self {
        Self { reset, ..self }
    }

    /// Whose it is.
    pub const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The names of its keys: what it presents first, then what it accepts too.
    pub fn key_ids(&self) -> &[KeyId] {
        &self.keys
    }

    /// When it ends, if it does.
    pub const fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whom a connection leads to.
    pub(super) fn peer(&self, connection: &quinn::Connection) -> Result<Peer, LinkFault> {
        self.trust.peer(connection)
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
        f.debug_struct("Identity").field("replica", &self.replica).field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Trust in the authorities of all secrets, and a certificate of each.
fn of_secrets(secrets: &Secrets, replica: ReplicaId) -> Result<(Trust, Presented), TlsError> {
    let (mut anchors, mut presented) = (Vec::new(), Vec::new());
    for secret in secrets.iter() {
        let authority = Authority::from_secret(secret)?;
        let anchor = authority.anchor()?;
        let issuer = DistinguishedName::in_sequence(&anchor.subject);
        presented.push((issuer, Arc::new(Leaf::of_replica(&authority, replica)?.certified()?)));
        anchors.push((anchor, secret.key_id()));
    }
    Ok((Trust::in_secrets(anchors), Presented(presented)))
}

/// Own certificates, each with the name of its authority.
#[derive(Debug)]
pub(super) struct Presented(pub(super) Vec<(DistinguishedName, Arc<CertifiedKey>)>);

impl Presented {
    /// The first whose authority the peer knows; else the first: its refusal says more than silence.
    fn choose<'a>(&self, known: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Arc<CertifiedKey>> {
        let is_known = |issuer: &DistinguishedName| known.clone().any(|name| name == issuer.as_ref());
        let chosen = self.0.iter().find(|(issuer, _)| is_known(issuer)).or_else(|| self.0.first());
        chosen.map(|(_, certified)| Arc::clone(certified))
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, known: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.choose(known.iter().copied())
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = hello.certificate_authorities().unwrap_or_default();
        self.choose(known.iter().map(AsRef::as_ref))
    }
}

/// The usual check of the dialled side, which also tells it which authorities are known here.
#[derive(Debug)]
struct TellingVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    known: Vec<DistinguishedName>,
}

impl ServerCertVerifier for TellingVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(leaf, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.known)
    }
}

/// Explicit, so that no other part of a process can change what we use by setting its default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Without anything to present it is the client of a stranger, for tests.
pub(super) fn client_config(
    roots: Arc<RootCertStore>,
    presented: Option<&Arc<Presented>>,
    alpn: &[u8],
) -> Result<rustls::ClientConfig, TlsError> {
    let known = roots.subjects();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build()?;
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TellingVerifier { verifier, known }));
    let mut config = match presented {
        Some(presented) => builder.with_client_cert_resolver(Arc::clone(presented) as _),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn server_config(roots: Arc<RootCertStore>, presented: Arc<Presented>) -> Result<rustls::ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(presented);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    Ok(config)
}
