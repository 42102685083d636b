//! Certificates for clusters that have an authority of their own: making, renewing and showing them. Not responsible for
//! their use, nor for authorities that others run: those need nothing from here.
//!
//! ```text
//! DIR/ca.pem      the authority's certificate; while its key is being replaced, the new one and then the old one
//! DIR/ca.key      its key, the new one
//! DIR/bridge.pem  while its key is being replaced: the new key as the old one vouches for it, under the same name
//! ```
//!
//! The bridge goes along with the certificates of nodes, so that who was away, and knows the old key only, can check them.

use super::args::{CaArgs, NodeArgs, RotateCaArgs, ShowArgs};
use super::failure::Failure;
use super::node::quoted;
use super::output::{Output, printable};
use super::replace::{NewFile, write_files};
use crate::runtime::net::{CLUSTER_NAME, cluster_of_authority};
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::fs;
use std::path::Path;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const BRIDGE: &str = "bridge.pem";

/// Whoever has a certificate that ends sooner is told so.
const SOON: Duration = Duration::days(30);

/// Makes an authority in a directory that has none.
pub(super) fn ca(args: &CaArgs, output: Output) -> Result<(), Failure> {
    let dir = &args.dir;
    if [CA, CA_KEY].iter().any(|name| dir.join(name).exists()) {
        let problem = "there is an authority already; \"tidings tls rotate\" replaces its key";
        return Err(Failure::failed(format!("{}: {problem}", dir.display())));
    }
    fs::create_dir_all(dir).map_err(|error| at(dir, error))?;
    // a name of its own, as the cluster's id is a hash of it
    let name = format!("tidings authority {:016x}", rand::rng().random::<u64>());
    let key = new_key()?;
    let certificate = authority(&name, args.days).self_signed(&key).map_err(cannot)?;
    let (key, certificate) = (Zeroizing::new(key.serialize_pem()), certificate.pem());
    write_files(&[NewFile::private(dir.join(CA_KEY), &key), NewFile::public(dir.join(CA), &certificate)])?;
    told(&[dir.join(CA), dir.join(CA_KEY)], output)
}

/// Makes a certificate for a node, or renews it.
pub(super) fn node(args: &NodeArgs, output: Output) -> Result<(), Failure> {
    let (ca_path, out) = (args.ca.join(CA), &args.out);
    let known = read_authority(&ca_path)?;
    let issuer = issuer(&args.ca, &certificates(&ca_path, &known)?)?;
    let mut params = CertificateParams::new([CLUSTER_NAME.to_owned()]).map_err(cannot)?;
    params.distinguished_name = common_name(&args.name);
    (params.not_before, params.not_after) = validity(args.days);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = new_key()?;
    let certificate = params.signed_by(&key, &issuer).map_err(cannot)?;
    let bridge = fs::read_to_string(args.ca.join(BRIDGE)).unwrap_or_default();
    fs::create_dir_all(out).map_err(|error| at(out, error))?;
    // the key first: a node that follows the files takes both or, as they do not belong together in between, neither
    let (key, chain) = (Zeroizing::new(key.serialize_pem()), format!("{}{bridge}", certificate.pem()));
    write_files(&[
        NewFile::private(out.join("node.key"), &key),
        NewFile::public(out.join("node.pem"), &chain),
        NewFile::public(out.join(CA), &known),
    ])?;
    told(&[out.join(CA), out.join("node.pem"), out.join("node.key")], output)
}

/// Gives an authority a new key under its name, or drops the certificate of the old one.
pub(super) fn rotate(args: &RotateCaArgs, output: Output) -> Result<(), Failure> {
    let (dir, path) = (&args.dir, args.dir.join(CA));
    let text = read_authority(&path)?;
    let known = certificates(&path, &text)?;
    match (&known[..], args.finish) {
        ([old], false) => {
            let name = only_common_name(old).ok_or_else(|| {
                Failure::failed(format!(
                    "{}: it was not made by \"tidings tls ca\"; renew it where it was",
                    path.display()
                ))
            })?;
            let issuer = issuer(dir, &known)?;
            let (key, params) = (new_key()?, authority(&name, args.days));
            let bridge = params.signed_by(&key, &issuer).map_err(cannot)?.pem();
            let new = params.self_signed(&key).map_err(cannot)?.pem();
            let (key, all) = (Zeroizing::new(key.serialize_pem()), format!("{new}{text}"));
            // The certificates before the key: what the old key issues is still accepted.
            write_files(&[
                NewFile::public(dir.join(BRIDGE), &bridge),
                NewFile::public(path.clone(), &all),
                NewFile::private(dir.join(CA_KEY), &key),
            ])?;
        }
        ([_, _, ..], true) => {
            issuer(dir, &known)?;
            write_files(&[NewFile::public(path.clone(), &first_of(&text))])?;
            let _ = fs::remove_file(dir.join(BRIDGE));
        }
        ([_], true) => return Err(Failure::failed(format!("{}: nothing is being replaced", path.display()))),
        _ => {
            let problem = "the key is being replaced already; end that with --finish";
            return Err(Failure::failed(format!("{}: {problem}", path.display())));
        }
    }
    let place = quoted(&dir.display().to_string());
    let copy = format!("copy {} to every node", path.display());
    let next = match args.finish {
        false => vec![
            format!("{copy}, with a new certificate for each: tidings tls node --ca {place} --name NAME OUT"),
            "see who lacks it: tidings secret status".to_owned(),
            format!("when nobody does: tidings tls rotate {place} --finish"),
        ],
        true => vec![format!("{copy} again: each drops the old one within seconds")],
    };
    told(&[path, dir.join(CA_KEY)], output)?;
    next.iter().filter(|_| !output.json).try_for_each(|line| output.line(&format!("- {line}")))
}

/// Says what is in certificates.
pub(super) fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    for path in &args.files {
        for certificate in certificates(path, &read_public(path)?)? {
            let (_, read) = X509Certificate::from_der(&certificate).map_err(|error| at(path, error))?;
            let facts = facts(&read);
            if output.json {
                let mut all = serde_json::Map::from_iter([("file".to_owned(), json!(path))]);
                all.extend(facts.into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
                all.extend(moments_for_programs(&read));
                output.line(&serde_json::Value::Object(all).to_string())?;
            } else {
                output.line(&path.display().to_string())?;
                let mut lines = facts.into_iter().chain(moments_for_people(&read));
                lines.try_for_each(|(name, value)| output.line(&format!("  {name:<12} {value}")))?;
            }
        }
    }
    Ok(())
}

fn facts(certificate: &X509Certificate<'_>) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("subject", printable(certificate.subject().to_string().as_bytes())),
        ("issuer", printable(certificate.issuer().to_string().as_bytes())),
    ];
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.clone());
    let dns = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(printable(name.as_bytes())),
        _ => None,
    });
    let dns: Vec<String> = dns.collect();
    if certificate.is_ca() {
        let inner = certificate.subject().as_raw();
        // webpki and the cluster's id leave the outermost header out
        if let Ok((_, any)) = x509_parser::asn1_rs::Any::from_der(inner) {
            facts.push(("cluster", format!("{:032x}", u128::from_be_bytes(cluster_of_authority(any.data)))));
        }
    } else {
        facts.push(("names", dns.join(" ")));
    }
    facts
}

fn moments_for_people(certificate: &X509Certificate<'_>) -> [(&'static str, String); 2] {
    let validity = certificate.validity();
    let end = validity.not_after.to_datetime();
    let left = match (validity.is_valid(), ends_soon(end)) {
        (false, _) => "NOT VALID NOW".to_owned(),
        (true, soon) => format!("{} days left{}", days_left(end), if soon { ": RENEW IT" } else { "" }),
    };
    let moment = |moment: x509_parser::time::ASN1Time| moment.to_rfc2822().unwrap_or_default();
    [("valid_from", moment(validity.not_before)), ("valid_until", format!("{} ({left})", moment(validity.not_after)))]
}

/// The same for programs: RFC 3339, and whether now is between them.
fn moments_for_programs(certificate: &X509Certificate<'_>) -> [(String, serde_json::Value); 4] {
    let validity = certificate.validity();
    let moment = |moment: OffsetDateTime| json!(moment.format(&Rfc3339).unwrap_or_default());
    let (begin, end) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    [
        ("valid_from".to_owned(), moment(begin)),
        ("valid_until".to_owned(), moment(end)),
        ("valid".to_owned(), json!(validity.is_valid())),
        ("days_left".to_owned(), json!(days_left(end))),
    ]
}

/// What there is to say of a node's certificate that ends then (milliseconds since 1970), if that is soon.
pub(super) fn warning(end_ms: u64) -> Option<String> {
    let end = OffsetDateTime::UNIX_EPOCH.checked_add(Duration::milliseconds(i64::try_from(end_ms).ok()?))?;
    let next = "\"tidings tls node\" makes another; without, it keeps its links, and gets no new ones";
    match (ends_soon(end), end < OffsetDateTime::now_utc()) {
        (false, _) => None,
        (true, false) => Some(format!("its certificate ends in {} days, on {}: {next}", days_left(end), end.date())),
        (true, true) => Some(format!("its certificate has ended, on {}: {next}", end.date())),
    }
}

fn ends_soon(end: OffsetDateTime) -> bool {
    end - OffsetDateTime::now_utc() < SOON
}

fn days_left(end: OffsetDateTime) -> i64 {
    (end - OffsetDateTime::now_utc()).whole_days()
}

/// Of an authority that has nothing else in its name.
fn only_common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let mut parts = read.subject().iter_attributes();
    let name = parts.next().filter(|part| *part.attr_type() == x509_parser::oid_registry::OID_X509_COMMON_NAME)?;
    parts.next().is_none().then(|| name.as_str().ok().map(str::to_owned))?
}

fn authority(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(days);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// From a day ago, as clocks differ.
fn validity(days: u32) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - Duration::days(1), now + Duration::days(days.into()))
}

/// Of the kind that most tools take.
fn new_key() -> Result<KeyPair, Failure> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cannot)
}

/// The authority in a directory, by its newest certificate and the key that must belong to that.
fn issuer(dir: &Path, known: &[CertificateDer<'static>]) -> Result<Issuer<'static, KeyPair>, Failure> {
    let (ca, path) = (dir.join(CA), dir.join(CA_KEY));
    let newest = known.first().ok_or_else(|| at(&ca, "there is no certificate in it"))?;
    let text = Zeroizing::new(read_public(&path)?);
    let key = KeyPair::from_pem(&text).map_err(|error| at(&path, error))?;
    let (_, read) = X509Certificate::from_der(newest).map_err(|error| at(&ca, error))?;
    if read.public_key().raw != key.subject_public_key_info() {
        let left = dir.join(CA_KEY.to_owned() + ".new");
        let next = if left.exists() { format!("; put {} in its place", left.display()) } else { String::new() };
        return Err(at(&path, format!("it does not belong to the first certificate of {}{next}", ca.display())));
    }
    Issuer::from_ca_cert_der(newest, key).map_err(|error| at(&ca, error))
}

fn read_authority(path: &Path) -> Result<String, Failure> {
    let next = "give the directory that \"tidings tls ca\" has made";
    fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}; {next}", path.display())))
}

fn read_public(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn certificates(path: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(Failure::usage(format!("{}: there is no certificate in it (PEM)", path.display()))),
        Err(error) => Err(Failure::usage(format!("{}: it is no PEM: {error}", path.display()))),
    }
}

/// Up to the end of the first certificate; and the line that says which cluster it is, wherever that stands.
fn first_of(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let (first, rest) = pem.split_at(pem.find(END).map_or(pem.len(), |at| at + END.len()));
    let said = rest.lines().filter(|line| line.trim_start().starts_with("cluster "));
    [first].into_iter().chain(said).flat_map(|line| [line, "\n"]).collect()
}

fn told(files: &[std::path::PathBuf], output: Output) -> Result<(), Failure> {
    if output.json {
        return output.line(&json!({ "files": files }).to_string());
    }
    files.iter().try_for_each(|file| output.line(&file.display().to_string()))
}

fn cannot(error: rcgen::Error) -> Failure {
    Failure::failed(format!("cannot make a certificate: {error}"))
}

fn at(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
