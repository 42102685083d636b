//! From settings to a node that can be started. Not responsible for starting it.

use super::failure::Failure;
use super::links::Links;
use super::secrets::{self, CertificateFiles, Origin, SECRET_FILE};
use super::settings::{CompatName, DATA_DIR_DEFAULT, HTTP_DEFAULT, Settings};
use crate::http::{Access, Compat, duration};
use crate::runtime::storage::make_directory;
use crate::{Config, ConfigBuilder, Keys, Secret};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that was decided before the first socket is opened.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: ConfigBuilder,
    pub(super) http: SocketAddr,
    pub(super) access: Access,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) compat: Compat,
    pub(super) shell: bool,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) origin: Origin,
}

impl Plan {
    pub(super) fn of(settings: Settings) -> Result<Self, Failure> {
        let Decided { http, token, access, join, data_dir, keys } = Decided::of(&settings)?;
        let (keys, origin) = keys.map_or_else(|| fresh(data_dir.as_deref()), Ok)?;
        let shell = settings.shell == Some(true);
        let has = |name| settings.compat.contains(&name);
        let compat = Compat { kvs: has(CompatName::Kvs), cache: has(CompatName::Cache) };
        let token_file = settings.http_token_file.clone();
        let config = config(settings, join, data_dir.as_deref(), keys)?;
        Ok(Self { config, http, access, token, token_file, compat, shell, data_dir, origin })
    }

    /// Whether a node could be made of them, and where its keys are if there are any. Nothing is made.
    pub(super) fn check(settings: &Settings) -> Result<Option<Origin>, Failure> {
        Ok(Decided::of(settings)?.keys.map(|(_, origin)| origin))
    }
}

/// What settings come to, before anything is made.
struct Decided {
    http: SocketAddr,
    token: Option<String>,
    access: Access,
    join: Vec<String>,
    data_dir: Option<PathBuf>,
    /// None where a new secret is to be made.
    keys: Option<(Keys, Origin)>,
}

impl Decided {
    fn of(settings: &Settings) -> Result<Self, Failure> {
        let http = http_address(settings.http.as_deref().unwrap_or(HTTP_DEFAULT))?;
        let token = settings.http_token_file.as_deref().map(secrets::read_token).transpose()?;
        settings.http_token_file.as_deref().into_iter().for_each(secrets::warn_of_public_token);
        let access = access(http, token.as_deref(), settings.http_allow_anonymous == Some(true))?;
        let join = others(settings);
        let data_dir = data_dir(settings);
        check(settings, &join)?;
        let keys = match certificates(settings)? {
            Some(files) => Some((files.read()?.into(), Origin::Certificates(files))),
            None => known_secret(settings.secret_file.as_deref(), data_dir.as_deref(), !join.is_empty())?,
        };
        Ok(Self { http, token, access, join, data_dir, keys })
    }
}

/// A wrong setting is told before anything is written to disk; the secret does not matter for that.
pub(super) fn check(settings: &Settings, join: &[String]) -> Result<(), Failure> {
    config(settings.clone(), join.to_vec(), None, Secret::random(&mut rand::rng()).into())?.build()?;
    Ok(())
}

fn config(
    settings: Settings,
    join: Vec<String>,
    data_dir: Option<&Path>,
    keys: Keys,
) -> Result<ConfigBuilder, Failure> {
    let profile = settings.profile();
    let view = settings.view.config(profile)?;
    let mut config = Config::builder().keys(keys).join(join);
    config = match settings.tombstone_age.as_deref().map(duration::parse).transpose() {
        Ok(age) => config.tombstone_retention(
            age.unwrap_or(Config::TOMBSTONE_AGE_DEFAULT),
            settings.tombstone_count.unwrap_or(Config::TOMBSTONE_COUNT_DEFAULT),
        ),
        Err(problem) => return Err(Failure::setting("tombstone_age", problem)),
    };
    config = match data_dir {
        Some(directory) => config.data_dir(directory),
        None => config.in_memory(),
    };
    config = with_durations(config, &settings)?;
    if let Some(settle) = &settings.link_settle {
        let settle = duration::parse(settle);
        config = config.link_settle(settle.map_err(|problem| Failure::usage(format!("link_settle: {problem}")))?);
    }
    if let Some(name) = settings.name {
        config = config.name(name);
    }
    if let Some(listen) = settings.listen {
        config = config.listen(listen);
    }
    if let Some(advertise) = settings.advertise {
        config = config.advertise(advertise);
    }
    if let Some(Links { min, max }) = settings.links {
        config = config.links(min, max);
    }
    config = config.leaf(settings.leaf == Some(true));
    config = config.upload_limit(settings.upload_limit.unwrap_or_default().0);
    config = config.link_upload_limit(settings.link_upload_limit.unwrap_or_default().0);
    Ok(config.profile(profile).view(view))
}

/// The settings that are a duration and nothing else.
fn with_durations(mut config: ConfigBuilder, settings: &Settings) -> Result<ConfigBuilder, Failure> {
    for (name, said, set) in [
        ("keep_alive", &settings.keep_alive, ConfigBuilder::keep_alive as fn(ConfigBuilder, Duration) -> ConfigBuilder),
        ("idle_timeout", &settings.idle_timeout, ConfigBuilder::idle_timeout),
        ("lookup_every", &settings.lookup_every, ConfigBuilder::lookup_every),
        ("event_ttl", &settings.event_ttl, ConfigBuilder::event_ttl),
        ("anchor_every", &settings.anchor_every, ConfigBuilder::anchor_every),
        ("suspect_for", &settings.suspect_for, ConfigBuilder::suspect_for),
        ("forget_members", &settings.forget_members, ConfigBuilder::forget_members),
        ("graft_after", &settings.graft_after, ConfigBuilder::graft_after),
    ] {
        if let Some(text) = said {
            config = set(config, duration::parse(text).map_err(|problem| Failure::setting(name, problem))?);
        }
    }
    Ok(config)
}

/// `IP:PORT` or `http://IP:PORT`, as for clients.
fn http_address(text: &str) -> Result<SocketAddr, Failure> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    address.parse().map_err(|_| Failure::setting("http", format!("{text:?} is no IP:PORT, as {HTTP_DEFAULT} is")))
}

/// Beyond loopback somebody must have decided who may come in.
fn access(http: SocketAddr, token: Option<&str>, anonymous: bool) -> Result<Access, Failure> {
    match token {
        Some(_) if anonymous => Err(Failure::usage("give --http-token-file or --http-allow-anonymous, not both")),
        Some(token) => Ok(Access::token(token)),
        None if anonymous || http.ip().is_loopback() => {
            if !http.ip().is_loopback() {
                anstream::eprintln!(
                    "warning: everybody who reaches {http} may read and write (--http-allow-anonymous)"
                );
            }
            Ok(Access::anonymous(http))
        }
        None => Err(Failure::setting(
            "http",
            format!(
                "{http} can be reached from other machines; set --http-token-file FILE (TIDINGS_HTTP_TOKEN_FILE) to \
             demand a token, or --http-allow-anonymous (TIDINGS_HTTP_ALLOW_ANONYMOUS=true) to let everybody in"
            ),
        )),
    }
}

/// The addresses to join that are not the node's own, as far as their text tells.
pub(super) fn others(settings: &Settings) -> Vec<String> {
    let listen = settings.listen.as_deref().unwrap_or(Config::LISTEN_DEFAULT);
    let own = [Some(listen), settings.advertise.as_deref()];
    let join = settings.join.iter().map(|a| a.trim());
    join.filter(|a| !a.is_empty() && !own.contains(&Some(*a))).map(str::to_owned).collect()
}

fn data_dir(settings: &Settings) -> Option<PathBuf> {
    let in_memory = settings.in_memory == Some(true);
    (!in_memory).then(|| settings.data_dir.clone().unwrap_or_else(|| DATA_DIR_DEFAULT.into()))
}

/// The users' own authority, if it is that instead of a secret: then all three files are needed.
fn certificates(settings: &Settings) -> Result<Option<CertificateFiles>, Failure> {
    let Settings { tls_ca, tls_cert, tls_key, secret_file, .. } = settings;
    match (tls_ca.clone(), tls_cert.clone(), tls_key.clone()) {
        (None, None, None) => Ok(None),
        (Some(_), Some(_), Some(_)) if secret_file.is_some() => {
            Err(Failure::usage("give --secret-file or --tls-ca, --tls-cert and --tls-key, not both"))
        }
        (Some(_), Some(_), Some(_)) if secret_of_environment().is_some() => Err(Failure::usage(
            "TIDINGS_SECRET is set beside --tls-ca, --tls-cert and --tls-key: unset it, or give no --tls-*",
        )),
        (Some(ca), Some(cert), Some(key)) => Ok(Some(CertificateFiles { ca, cert, key })),
        (ca, cert, _) => {
            let missing = if ca.is_none() {
                "tls_ca"
            } else if cert.is_none() {
                "tls_cert"
            } else {
                "tls_key"
            };
            let problem =
                "is missing: with an authority of your own, --tls-ca, --tls-cert and --tls-key belong together";
            Err(Failure::setting(missing, problem))
        }
    }
}

/// `--secret-file`, `TIDINGS_SECRET` or the data directory's; else none, unless there are others to join: theirs a new
/// one can not be.
fn known_secret(file: Option<&Path>, data_dir: Option<&Path>, joins: bool) -> Result<Option<(Keys, Origin)>, Failure> {
    if let Some(path) = file {
        return Ok(Some((secrets::read_secrets(path)?.into(), Origin::File(path.to_owned()))));
    }
    if let Some(text) = secret_of_environment() {
        return Ok(Some((secrets::parse_secrets(&text, "TIDINGS_SECRET")?.into(), Origin::Environment)));
    }
    let kept = data_dir.map(|directory| directory.join(SECRET_FILE));
    match kept {
        Some(path) if path.exists() => Ok(Some((secrets::read_secrets(&path)?.into(), Origin::File(path)))),
        _ if joins => Err(Failure::usage(
            "a node that joins others needs their secret; set --secret-file FILE (TIDINGS_SECRET_FILE), or TIDINGS_SECRET \
             to its 64 digits, or --tls-ca, --tls-cert and --tls-key. A node that made its own keeps it in its data directory; \"tidings secret new\" makes one",
        )),
        _ => Ok(None),
    }
}

fn secret_of_environment() -> Option<String> {
    std::env::var("TIDINGS_SECRET").ok().filter(|text| !text.is_empty())
}

fn fresh(data_dir: Option<&Path>) -> Result<(Keys, Origin), Failure> {
    if let Some(directory) = data_dir {
        let path = directory.join(SECRET_FILE);
        return Ok((make(&path)?.into(), Origin::File(path)));
    }
    let secret = Secret::random(&mut rand::rng());
    Ok((secret.clone().into(), Origin::Fresh(secret)))
}

fn make(path: &Path) -> Result<Secret, Failure> {
    if let Some(directory) = path.parent() {
        let refuse = |error| Failure::failed(format!("{}: {error}; give another --data-dir", directory.display()));
        make_directory(directory).map_err(refuse)?;
    }
    secrets::make_secret(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_no_others() {
        let settings = Settings {
            listen: Some("10.0.0.1:7400".to_owned()),
            advertise: Some("a.example:7400".to_owned()),
            join: ["10.0.0.1:7400", "a.example:7400", " ", "10.0.0.2:7400"].map(str::to_owned).into(),
            ..Settings::default()
        };
        assert_eq!(others(&settings), ["10.0.0.2:7400"]);
    }

    #[test]
    fn how_long_deletes_are_remembered_can_be_said() {
        let config = |age: Option<&str>, count| {
            let settings =
                Settings { tombstone_age: age.map(str::to_owned), tombstone_count: count, ..Settings::default() };
            config(settings, Vec::new(), None, Secret::random(&mut rand::rng()).into())
        };
        let built = |age, count| config(age, count).expect("durations").build().expect("settings");
        let said = built(Some("90s"), Some(7));
        assert_eq!((said.tombstone_age.as_secs(), said.tombstone_count), (90, 7));
        let default = built(None, None);
        assert_eq!((default.tombstone_age, default.tombstone_count), (Config::TOMBSTONE_AGE_DEFAULT, 100_000));
        assert!(config(Some("90"), None).is_err());
    }

    #[test]
    fn beyond_loopback_access_must_be_decided() {
        let far = http_address("http://0.0.0.0:7480").expect("an address");
        assert!(access(far, None, false).is_err());
        assert!(access(far, None, true).is_ok());
        assert!(access(far, Some("t"), false).is_ok());
        assert!(access(far, Some("t"), true).is_err());
        assert!(access(http_address(HTTP_DEFAULT).expect("an address"), None, false).is_ok());
    }
}
