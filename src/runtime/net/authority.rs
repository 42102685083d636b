//! The authority that every node derives from a secret, and the certificates that it issues. Not responsible for TLS.
//!
//! Each node derives the same authority and issues itself a certificate at each start, so there is nothing to hand out, to
//! store or to renew.

use super::{Secret, TlsError};
use crate::ReplicaId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// A name in every certificate of a cluster; a node asks for it, as it need not know whom it will find at an address.
pub const CLUSTER_NAME: &str = "node.cluster.internal";

/// The authority of a secret. Every node derives the same key and the same name; only these two are compared.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub(super) fn from_secret(secret: &Secret) -> Result<Self, TlsError> {
        // The name tells secrets apart before any signature is checked: by it a node presents what its peer knows, and a
        // wrong secret is reported as an unknown issuer and not as a bad signature.
        let fingerprint = u128::from_be_bytes(secret.cluster_id());
        let mut params = long_lived(CertificateParams::default(), &format!("tidings cluster {fingerprint:032x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let seed = secret.derive("tidings v1 cluster authority key");
        Ok(Self { params, key: ed25519(&seed)? })
    }

    /// What its certificates are checked against.
    pub(super) fn anchor(&self) -> Result<TrustAnchor<'static>, TlsError> {
        let certificate = self.params.self_signed(&self.key)?;
        let anchor = webpki::anchor_from_trusted_cert(certificate.der());
        Ok(anchor.map_err(|error| rustls::Error::General(error.to_string()))?.to_owned())
    }
}

/// A node's own certificate.
pub(super) struct Leaf {
    pub(super) certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Leaf {
    /// Under the names by which peers know a replica.
    pub(super) fn of_replica(authority: &Authority, replica: ReplicaId) -> Result<Self, TlsError> {
        Self::issue(authority, &[CLUSTER_NAME.to_owned(), format!("{replica}.{CLUSTER_NAME}")])
    }

    pub(super) fn issue(authority: &Authority, names: &[String]) -> Result<Self, TlsError> {
        let mut params = long_lived(CertificateParams::new(names)?, "tidings node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        Ok(Self { certificate: params.signed_by(&key, &issuer)?.der().clone(), key })
    }

    /// As TLS presents it.
    pub(super) fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Ok(CertifiedKey::new(vec![self.certificate.clone()], any_supported_type(&key)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_derives_the_same_authority() {
        let secret = Secret::random(&mut rand::rng());
        let anchor = || Authority::from_secret(&secret).and_then(|a| a.anchor()).expect("an anchor");
        assert_eq!(anchor(), anchor());
    }
}
