//! A certificate of the users' own authority, with all that can be wrong with it said before a node starts. Not responsible
//! for issuing any, nor for files.
//!
//! Such an authority cannot know replica ids, so a certificate is for any replica, unless it has the name of one; what it
//! must have is the DNS name [`CLUSTER_NAME`], as the authority may issue others for other purposes.

use super::authority::CLUSTER_NAME;
use super::secrets::parse_cluster_id;
use super::tls::Presented;
use super::trust::{Trust, names_in};
use crate::proto::KeyId;
use crate::{Error, ReplicaId};
use rustls::DistinguishedName;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use webpki::KeyUsage;

const CA: &str = "tls_ca";
const CERT: &str = "tls_cert";
const KEY: &str = "tls_key";

/// Authorities, and a certificate that one of them has issued.
///
/// The id of the cluster is a hash of the authorities' name (X.509 subject), so it outlives an authority that is renewed
/// under its name. Where they have different names, and where clusters share an authority, a line `cluster` with 32
/// hexadecimal digits, before or after the certificates of the authorities, says which one it is.
#[derive(Clone)]
pub struct Certificates {
    cluster: [u8; 16],
    /// That of the own certificate first.
    anchors: Vec<(TrustAnchor<'static>, KeyId)>,
    certified: Arc<CertifiedKey>,
    /// The only one that it is for, if it says so.
    replica: Option<ReplicaId>,
    expires: Option<SystemTime>,
}

impl Certificates {
    /// Of three texts in PEM: the authorities, the newest first; the own certificate, with those between it and an authority
    /// after it; and its key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] with `tls_ca`, `tls_cert` or `tls_key`: what is wrong with it. Checked are that the key
    /// belongs to the certificate, that one of the authorities has issued it, that it is valid now, for both ends of a
    /// connection, and has the name [`CLUSTER_NAME`].
    pub fn from_pem(authorities: &str, certificate: &str, key: &str) -> Result<Self, Error> {
        let mut anchors = read_certificates(CA, authorities)?.iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
        let chain = read_certificates(CERT, certificate)?;
        let certified = Arc::new(certified(chain, key)?);
        let (own, replica) = check(&certified.cert, &anchors)?;
        let expires = end_of(&certified.cert, &anchors);
        let cluster = cluster_id(authorities, &anchors)?;
        let position = anchors.iter().position(|(_, key)| *key == own).unwrap_or_default();
        let first = anchors.remove(position);
        anchors.insert(0, first);
        Ok(Self { cluster, anchors, certified, replica, expires })
    }

    /// The id of the cluster that they are of.
    pub const fn cluster_id(&self) -> [u8; 16] {
        self.cluster
    }

    /// The names of the authorities: the one that has issued the own certificate first.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.anchors.iter().map(|(_, key)| *key).collect()
    }

    /// The only replica that the certificate is for, if it has such a name.
    pub const fn replica(&self) -> Option<ReplicaId> {
        self.replica
    }

    /// When the own certificate ends; links that stand then go on, and there are no new ones.
    pub const fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    pub(super) fn credentials(&self) -> (Trust, Presented) {
        let issuer = DistinguishedName::in_sequence(&self.anchors[0].0.subject);
        (Trust::in_authorities(self.anchors.clone()), Presented(vec![(issuer, Arc::clone(&self.certified))]))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("authorities", &self.key_ids()).finish_non_exhaustive()
    }
}

/// The id of the cluster of an authority with that name, unless a line says another.
pub fn cluster_of_authority(subject: &[u8]) -> [u8; 16] {
    first_half(blake3::derive_key("tidings v1 cluster id of an authority", subject))
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

fn read_certificates(setting: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = read.map_err(|error| Error::config(setting, format!("it is no PEM: {error}")))?;
    if all.is_empty() {
        let problem = "there is no certificate in it: one begins with the line -----BEGIN CERTIFICATE-----";
        return Err(Error::config(setting, problem));
    }
    Ok(all)
}

fn anchor(certificate: &CertificateDer<'static>) -> Result<(TrustAnchor<'static>, KeyId), Error> {
    let read = webpki::anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned());
    let anchor = read.map_err(|error| Error::config(CA, format!("a certificate in it cannot be used: {error}")))?;
    let mut hasher = blake3::Hasher::new_derive_key("tidings v1 name of an authority");
    hasher.update(&anchor.subject).update(&anchor.subject_public_key_info);
    let key = KeyId::of_hash(&first_half(hasher.finalize().into()));
    Ok((anchor, key))
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &str) -> Result<CertifiedKey, Error> {
    let read = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let no_key = "there is no private key in it: one begins with the line -----BEGIN PRIVATE KEY-----";
    let key = read.map_err(|_| Error::config(KEY, no_key))?;
    let usable = any_supported_type(&key);
    let usable =
        usable.map_err(|_| Error::config(KEY, "its kind is not known here: give an Ed25519, ECDSA or RSA key"))?;
    let certified = CertifiedKey::new(chain, usable);
    let belongs = certified.keys_match();
    belongs.map_err(|_| Error::config(KEY, "it does not belong to the certificate of tls_cert"))?;
    Ok(certified)
}

/// Of the certificate the name of its authority, and the replica that it is for.
fn check(
    chain: &[CertificateDer<'_>],
    anchors: &[(TrustAnchor<'static>, KeyId)],
) -> Result<(KeyId, Option<ReplicaId>), Error> {
    let trust = Trust::in_authorities(anchors.to_vec());
    let refuse = |error| Error::config(CERT, in_words(&error));
    trust.key_of(chain, KeyUsage::client_auth()).map_err(refuse)?;
    let key = trust.key_of(chain, KeyUsage::server_auth()).map_err(refuse)?;
    let names = chain.first().and_then(names_in).filter(|names| names.of_cluster);
    let lacks = format!("it lacks the DNS name {CLUSTER_NAME}, which says that it is meant for nodes of a cluster");
    match names.ok_or_else(|| Error::config(CERT, lacks))?.replicas[..] {
        [] => Ok((key, None)),
        [replica] => Ok((key, Some(replica))),
        _ => Err(Error::config(CERT, "it has the names of several replicas; a node is one of them")),
    }
}

/// When a certificate ends: what is said of it at the end of time.
fn end_of(chain: &[CertificateDer<'_>], anchors: &[(TrustAnchor<'static>, KeyId)]) -> Option<SystemTime> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(i64::MAX.unsigned_abs()));
    match Trust::in_authorities(anchors.to_vec()).key_of_at(chain, KeyUsage::client_auth(), end_of_time) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    }
}

fn in_words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { not_after, .. } => format!("it expired on {}; get a new one", date(*not_after)),
        webpki::Error::CertNotValidYet { not_before, .. } => {
            format!("it is valid from {} on: is this machine's clock right?", date(*not_before))
        }
        webpki::Error::CaUsedAsEndEntity => "it is the certificate of an authority; give that of a node".to_owned(),
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            "no authority of tls_ca has issued it".to_owned()
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            "its extended key usage must allow both server and client authentication: a node is both".to_owned()
        }
        other => format!("it cannot be used: {other}"),
    }
}

fn date(moment: UnixTime) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    let Ok(date) = OffsetDateTime::from_unix_timestamp(seconds) else { return "a day that cannot be told".to_owned() };
    let (hour, minute, _) = date.to_hms();
    format!("{:04}-{:02}-{:02} {hour:02}:{minute:02} UTC", date.year(), u8::from(date.month()), date.day())
}

/// What a line says, or else the name that all authorities share.
fn cluster_id(pem: &str, anchors: &[(TrustAnchor<'static>, KeyId)]) -> Result<[u8; 16], Error> {
    let mut said = pem.lines().filter_map(|line| line.trim().strip_prefix("cluster "));
    if let Some(digits) = said.next() {
        let id = parse_cluster_id(digits.trim()).filter(|_| said.next().is_none());
        let problem = "the line \"cluster …\" is there once, with 32 hexadecimal digits";
        return id.ok_or_else(|| Error::config(CA, problem));
    }
    let subject = &anchors[0].0.subject;
    if anchors.iter().any(|(anchor, _)| anchor.subject != *subject) {
        let problem = "authorities of different names need a line \"cluster …\" that says of which cluster they are; \
                       \"tidings secret status\" shows its id, \"tidings tls show\" that of each authority";
        return Err(Error::config(CA, problem));
    }
    Ok(cluster_of_authority(subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
    };

    /// An authority, and a certificate of it for a node, changed in some way: each as PEM, and the node's key.
    fn made(name: &str, change: impl FnOnce(&mut CertificateParams)) -> [String; 3] {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, name);
        let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let authority = ca.self_signed(&ca_key).expect("a certificate").pem();
        let mut params = CertificateParams::new([CLUSTER_NAME.to_owned()]).expect("a name");
        change(&mut params);
        let issued = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).expect("a certificate");
        [authority, issued.pem(), key.serialize_pem()]
    }

    fn read([ca, cert, key]: [String; 3]) -> Result<Certificates, Error> {
        Certificates::from_pem(&ca, &cert, &key)
    }

    fn refusal(change: impl FnOnce(&mut CertificateParams)) -> String {
        read(made("an authority", change)).expect_err("refused").to_string()
    }

    #[test]
    fn what_a_certificate_lacks_is_said() {
        assert_eq!(
            refusal(|c| c.not_after = date_time_ymd(2020, 2, 3)),
            "tls_cert: it expired on 2020-02-03 00:00 UTC; get a new one"
        );
        let early = refusal(|c| c.not_before = date_time_ymd(4000, 1, 1));
        assert_eq!(early, "tls_cert: it is valid from 4000-01-01 00:00 UTC on: is this machine's clock right?");
        let one_way = refusal(|c| c.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert!(one_way.contains("both server and client authentication"), "{one_way}");
        let names = |names: &[&str]| {
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("names")
        };
        let elsewhere = refusal(|c| *c = names(&["www.example.com"]));
        assert!(elsewhere.contains("lacks the DNS name node.cluster.internal"), "{elsewhere}");
        let replica = |number: u128| format!("{}.{CLUSTER_NAME}", ReplicaId::from(number));
        let several = refusal(|c| *c = names(&[CLUSTER_NAME, &replica(1), &replica(2)]));
        assert!(several.contains("several replicas"), "{several}");
        let one = read(made("an authority", |c| *c = names(&[CLUSTER_NAME, &replica(1)]))).expect("for one replica");
        assert_eq!(one.replica(), Some(ReplicaId::from(1)));
        let ca = refusal(|c| c.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert!(ca.contains("the certificate of an authority"), "{ca}");
    }

    #[test]
    fn its_end_is_known() {
        for renewed in [false, true] {
            let [ca, cert, key] = made("an authority", |c| c.not_after = date_time_ymd(2100, 1, 1));
            let before = if renewed { made("an authority", |_| {})[0].clone() } else { String::new() };
            let read = read([before + &ca, cert, key]).expect("in order");
            assert_eq!(read.expires(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)));
        }
    }

    #[test]
    fn the_cluster_is_that_of_the_authoritys_name_unless_a_line_says_another() {
        let ours = |name: &str| made(name, |_| {});
        let (one, renewed, other) = (ours("one"), ours("one"), ours("other"));
        let id = |made: &[String; 3]| read(made.clone()).map(|read| read.cluster_id());
        assert_eq!(id(&one).expect("ours"), id(&renewed).expect("of the same name"));
        assert_ne!(id(&one).expect("ours"), id(&other).expect("of another name"));
        let with = |ca: String| [ca, one[1].clone(), one[2].clone()];
        let both = read(with(format!("{}{}", renewed[0], one[0]))).expect("two of one name");
        assert_eq!((both.cluster_id(), both.key_ids().len()), (id(&one).expect("ours"), 2));
        assert_eq!(both.key_ids()[0], read(one.clone()).expect("ours").key_ids()[0], "its own first");
        let mixed = format!("{}{}", other[0], one[0]);
        assert!(id(&with(mixed.clone())).expect_err("a guess").to_string().contains("a line \"cluster …\""));
        let line = "cluster 000000000000000000000000000000ff\n";
        assert_eq!(id(&with(format!("{line}{mixed}"))).expect("it is said")[15], 0xff);
        for wrong in ["cluster ff\n", &line.repeat(2)] {
            assert!(id(&with(format!("{wrong}{mixed}"))).is_err(), "{wrong}");
        }
    }
}
