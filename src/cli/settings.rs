//! The settings of a node, and what flags and environment say of them. Not responsible for what they mean: `plan` makes a
//! node of them.
//!
//! One struct is the flags, the file and (through the flags' own parser) the environment: a name cannot be known in one
//! and unknown in another.

use super::links::Links;
use super::nearest::nearest;
use super::output::Output;
use super::rate::Rate;
use super::view::ViewSettings;
use crate::config::machine_name;
use crate::{Config, Profile, ViewConfig};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command, FromArgMatches, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Where clients find a node unless told otherwise.
pub(super) const HTTP_DEFAULT: &str = "127.0.0.1:7480";
/// Where a node keeps its state unless told otherwise.
pub(super) const DATA_DIR_DEFAULT: &str = "./tidings-data";

/// The table of the file that holds settings of its own: `size` below `[view]` is `view_size` elsewhere.
pub(super) const TABLE: &str = "view";

/// Variables beside those of the file's settings.
const OTHER_VARIABLES: [&str; 3] = ["TIDINGS_CONFIG", "TIDINGS_SECRET", "TIDINGS_NODES"];

/// What one source says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[command(
    after_help = "Each setting is a flag, a variable and a key of the file: --data-dir, TIDINGS_DATA_DIR, data_dir. \
Flags win over variables, variables over the file. TIDINGS_SECRET holds what a secret file does. SOCKET_ADDRESS=IP:PORT \
stands for --http and --listen on that address, VIEW=IP:PORT,… for --join. `tidings config show` tells what is in force.

SIGTERM and SIGINT end it in order, with 0; a second one ends it at once. The `join` of the file, the secret, the \
certificates and the token are read again when their files change, and on SIGHUP; what cannot be used changes nothing, and \
the log says so.

Examples:
  tidings node
  tidings node --listen 10.0.0.1:7400 --join 10.0.0.2:7400 --secret-file cluster.secret
  tidings node --listen 10.0.0.1:7400 --tls-ca ca.pem --tls-cert node.pem --tls-key node.key
  tidings node --in-memory --listen 127.0.0.1:0 --http 127.0.0.1:0

Exit codes: 0 ended in order, 1 failed, 2 bad settings."
)]
pub(super) struct Settings {
    /// A name for people to read [default: the machine's]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The UDP address for other nodes [default: 127.0.0.1:7400]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) listen: Option<String>,
    /// The address that other nodes are told to dial [default: the one it listens on]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) advertise: Option<String>,
    /// The TCP address for clients; beyond loopback it needs one of the next two [default: 127.0.0.1:7480]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) http: Option<String>,
    /// Clients must show the token in this file
    #[arg(long, value_name = "FILE")]
    pub(super) http_token_file: Option<PathBuf>,
    /// Let everybody who reaches it read and write
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) http_allow_anonymous: Option<bool>,
    /// Nodes to dial, with commas between them; every address behind a host name
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(super) join: Vec<String>,
    /// How often host names to join are looked up again [default: the profile's, 30s or 5m]
    #[arg(long, value_name = "DURATION")]
    pub(super) lookup_every: Option<String>,
    /// Where it keeps what outlives the process [default: ./tidings-data]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Keep nothing on disk
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, conflicts_with = "data_dir")]
    pub(super) in_memory: Option<bool>,
    /// The cluster's secret, 64 hexadecimal digits; several while it is rotated [default: TIDINGS_SECRET, or the data directory's]
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// Instead of a secret: the authorities whose certificates are accepted (PEM), the newest first
    #[arg(long, value_name = "FILE")]
    pub(super) tls_ca: Option<PathBuf>,
    /// With it: this node's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// With it: the key of the certificate (PEM), which only its owner may read
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// How long a delete is remembered: a node away for longer costs more when it returns [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub(super) tombstone_age: Option<String>,
    /// How many deletes are remembered at most [default: 100000]
    #[arg(long, value_name = "N")]
    pub(super) tombstone_count: Option<usize>,
    /// How it trades traffic for speed [default: lan]
    #[arg(long)]
    pub(super) profile: Option<ProfileName>,
    /// How many bytes leave in a second at most, on all links together and with all headers: 8000, 8k, 1M [default: 0, no limit]
    #[arg(long, value_name = "BYTES/S")]
    pub(super) upload_limit: Option<Rate>,
    /// The same for each link by itself [default: 0, no limit]
    #[arg(long, value_name = "BYTES/S")]
    pub(super) link_upload_limit: Option<Rate>,
    /// How often a silent link says that it lives [default: the profile's, 250ms or 20s]
    #[arg(long, value_name = "DURATION")]
    pub(super) keep_alive: Option<String>,
    /// After which silence a link is lost; should be the same on all nodes [default: the profile's, 2s or 90s]
    #[arg(long, value_name = "DURATION")]
    pub(super) idle_timeout: Option<String>,
    /// Serve routes of other programs beside /v1
    #[arg(long, value_delimiter = ',')]
    pub(super) compat: Vec<CompatName>,
    /// Hold what a peer sends that is heard again after 0.7s for so long, for links that flap [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub(super) link_settle: Option<String>,
    #[command(flatten)]
    pub(super) view: ViewSettings,
    /// How many links it keeps in a large cluster [default: the profile's, 4..6 or 2..3; a leaf's 2..3]
    #[arg(long, value_name = "MIN..MAX")]
    pub(super) links: Option<Links>,
    /// Take part without carrying what others write, on few links: for a thin or dear upload
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) leaf: Option<bool>,
    /// How often a large cluster looks for nodes it may have lost, after a split [default: the profile's, 30s or 30m]
    #[arg(long, value_name = "DURATION")]
    pub(super) anchor_every: Option<String>,
    /// How long a member whose link was lost has to say that it lives [default: the profile's, 2s or 30s]
    #[arg(long, value_name = "DURATION")]
    pub(super) suspect_for: Option<String>,
    /// How long members that are down, or have left, are remembered [default: 1d]
    #[arg(long, value_name = "DURATION")]
    pub(super) forget_members: Option<String>,
    /// How long it waits for what one peer has announced to come from another [default: the profile's, 200ms or 5s]
    #[arg(long, value_name = "DURATION")]
    pub(super) graft_after: Option<String>,
    /// How long a message that this node broadcasts can be had: a node away for longer misses it [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub(super) event_ttl: Option<String>,
    /// How it writes its log, to stderr; RUST_LOG says what of it [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<LogFormat>,
    /// Open a shell on this node
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) shell: Option<bool>,
    /// Read settings from this file (TOML) [default: /etc/tidings/config.toml, if it is there]
    #[arg(long, short, value_name = "FILE")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
}

/// The profiles that have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProfileName {
    /// A network that costs nothing
    Lan,
    /// Each byte counts: silent links cost little, and are found lost late
    Metered,
}

/// Routes of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CompatName {
    /// A cache: /get, /set
    Cache,
    /// A causal key-value store: /kvs, /view
    Kvs,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object on each line
    Json,
}

impl Settings {
    /// `self` where it says something, else `below`. What excludes each other is one setting here.
    pub(super) fn over(self, below: Self) -> Self {
        let storage = self.data_dir.is_some() || self.in_memory.is_some();
        let access = self.http_token_file.is_some() || self.http_allow_anonymous.is_some();
        let keys = self.says_keys();
        Self {
            name: self.name.or(below.name),
            listen: self.listen.or(below.listen),
            advertise: self.advertise.or(below.advertise),
            http: self.http.or(below.http),
            http_token_file: if access { self.http_token_file } else { below.http_token_file },
            http_allow_anonymous: if access { self.http_allow_anonymous } else { below.http_allow_anonymous },
            join: if self.join.is_empty() { below.join } else { self.join },
            lookup_every: self.lookup_every.or(below.lookup_every),
            data_dir: if storage { self.data_dir } else { below.data_dir },
            in_memory: if storage { self.in_memory } else { below.in_memory },
            secret_file: if keys { self.secret_file } else { below.secret_file },
            tls_ca: if keys { self.tls_ca } else { below.tls_ca },
            tls_cert: if keys { self.tls_cert } else { below.tls_cert },
            tls_key: if keys { self.tls_key } else { below.tls_key },
            tombstone_age: self.tombstone_age.or(below.tombstone_age),
            tombstone_count: self.tombstone_count.or(below.tombstone_count),
            profile: self.profile.or(below.profile),
            upload_limit: self.upload_limit.or(below.upload_limit),
            link_upload_limit: self.link_upload_limit.or(below.link_upload_limit),
            keep_alive: self.keep_alive.or(below.keep_alive),
            idle_timeout: self.idle_timeout.or(below.idle_timeout),
            compat: if self.compat.is_empty() { below.compat } else { self.compat },
            link_settle: self.link_settle.or(below.link_settle),
            view: self.view.over(below.view),
            links: self.links.or(below.links),
            leaf: self.leaf.or(below.leaf),
            anchor_every: self.anchor_every.or(below.anchor_every),
            suspect_for: self.suspect_for.or(below.suspect_for),
            forget_members: self.forget_members.or(below.forget_members),
            graft_after: self.graft_after.or(below.graft_after),
            event_ttl: self.event_ttl.or(below.event_ttl),
            log_format: self.log_format.or(below.log_format),
            shell: self.shell.or(below.shell),
            config: self.config.or(below.config),
        }
    }

    /// Whether it says where keys are: one source says all of it.
    fn says_keys(&self) -> bool {
        [&self.secret_file, &self.tls_ca, &self.tls_cert, &self.tls_key].into_iter().any(Option::is_some)
    }

    /// What is in force where nothing is said.
    pub(super) fn defaults() -> Self {
        Self {
            name: Some(machine_name()),
            listen: Some(Config::LISTEN_DEFAULT.to_owned()),
            http: Some(HTTP_DEFAULT.to_owned()),
            http_allow_anonymous: Some(false),
            data_dir: Some(DATA_DIR_DEFAULT.into()),
            in_memory: Some(false),
            tombstone_age: Some(format!("{}h", Config::TOMBSTONE_AGE_DEFAULT.as_secs() / 3_600)),
            tombstone_count: Some(Config::TOMBSTONE_COUNT_DEFAULT),
            profile: Some(ProfileName::Lan),
            upload_limit: Some(Rate(0)),
            link_upload_limit: Some(Rate(0)),
            link_settle: Some("0s".to_owned()),
            view: ViewSettings::of(&ViewConfig::default()),
            leaf: Some(false),
            forget_members: Some("1d".to_owned()),
            event_ttl: Some(format!("{}h", Config::EVENT_TTL_DEFAULT.as_secs() / 3_600)),
            log_format: Some(LogFormat::Text),
            shell: Some(false),
            ..Self::default()
        }
    }

    /// How it trades traffic for speed.
    pub(super) fn profile(&self) -> Profile {
        match self.profile {
            None | Some(ProfileName::Lan) => Profile::Lan,
            Some(ProfileName::Metered) => Profile::Metered,
        }
    }

    /// Those that are said, by the names they have in the file; those of its table with the table's before it.
    pub(super) fn said(&self) -> Map<String, Value> {
        let Ok(Value::Object(mut all)) = serde_json::to_value(self) else { return Map::new() };
        if let Some(Value::Object(inner)) = all.remove(TABLE) {
            all.extend(inner.into_iter().map(|(name, value)| (in_table(&name), value)));
        }
        let is_said = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
        all.into_iter().filter(|(_, value)| is_said(value)).collect()
    }

    /// The variables, each read by the parser of the flags. An empty one says nothing.
    pub(super) fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let command = command();
        let mut settings = Self::default();
        let mut problems = Vec::new();
        for arg in command.get_arguments() {
            let Some(name) = variable_of(arg) else { continue };
            let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
            match Self::from_flag(&format!("--{}={value}", arg.get_long().unwrap_or_default())) {
                Ok(one) => settings = settings.and(one),
                Err(error) => problems.push(format!("{name}: {}", plain(&error))),
            }
        }
        if settings.data_dir.is_some() && settings.in_memory == Some(true) {
            problems.push("TIDINGS_DATA_DIR and TIDINGS_IN_MEMORY exclude each other".to_owned());
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn from_flag(flag: &str) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command().try_get_matches_from([flag])?)
    }

    /// Both, of one source: there nothing takes anything else with it.
    fn and(self, other: Self) -> Self {
        let (data_dir, in_memory) =
            (other.data_dir.clone().or(self.data_dir.clone()), other.in_memory.or(self.in_memory));
        let token = other.http_token_file.clone().or(self.http_token_file.clone());
        let anonymous = other.http_allow_anonymous.or(self.http_allow_anonymous);
        let either = |of: fn(&Self) -> &Option<PathBuf>| of(&other).clone().or_else(|| of(&self).clone());
        let (secret_file, tls_ca) = (either(|s| &s.secret_file), either(|s| &s.tls_ca));
        let (tls_cert, tls_key) = (either(|s| &s.tls_cert), either(|s| &s.tls_key));
        let both = Self { secret_file, tls_ca, tls_cert, tls_key, ..other.over(self) };
        Self { data_dir, in_memory, http_token_file: token, http_allow_anonymous: anonymous, ..both }
    }

    /// The two variables that container set-ups of this kind of store have in common.
    pub(super) fn from_orchestrators(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let said = |name| variable(name).filter(|value: &String| !value.is_empty());
        let address = said("SOCKET_ADDRESS");
        let view = said("VIEW").unwrap_or_default();
        let join = view.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect();
        Self { http: address.clone(), listen: address, join, ..Self::default() }
    }
}

fn command() -> Command {
    Settings::augment_args(Command::new("settings").no_binary_name(true).disable_help_flag(true))
}

/// The names of all settings, as the file has them, in the order of the manual.
pub(super) fn names() -> Vec<String> {
    let command = command();
    let long = command.get_arguments().filter_map(clap::Arg::get_long);
    long.filter(|name| *name != "config").map(|name| name.replace('-', "_")).collect()
}

/// `view_size` for what is `size` in the table.
pub(super) fn in_table(name: &str) -> String {
    format!("{TABLE}_{name}")
}

/// `size` for `view_size`.
pub(super) fn of_table(name: &str) -> Option<&str> {
    name.strip_prefix(TABLE)?.strip_prefix('_')
}

/// `TIDINGS_DATA_DIR` for `data_dir`.
pub(super) fn variable(name: &str) -> String {
    format!("TIDINGS_{}", name.to_uppercase())
}

fn variable_of(arg: &clap::Arg) -> Option<String> {
    Some(variable(&arg.get_long()?.replace('-', "_")))
}

/// Of a parser's error what is wrong and what would be right, without the flag's name, which is not where it was said.
fn plain(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(all)) => Some(all.join(", ")),
        _ => None,
    };
    let why = std::error::Error::source(error).map(ToString::to_string);
    match (error.kind(), text(ContextKind::InvalidValue)) {
        (ErrorKind::InvalidValue, Some(value)) => {
            format!("{value:?} is none of: {}", text(ContextKind::ValidValue).unwrap_or_default())
        }
        (ErrorKind::ValueValidation, Some(value)) => format!("{value:?}: {}", why.unwrap_or_default()),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

/// A misspelt variable would be a setting that silently has no effect.
pub(super) fn warn_of_unknown_variables(output: Output) {
    let mut known: Vec<_> = names().iter().map(|name| variable(name)).collect();
    known.extend(OTHER_VARIABLES.map(str::to_owned));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("TIDINGS_") && !known.iter().any(|k| *k == name) {
            let next = match nearest(&name, known.iter().map(String::as_str)) {
                Some(known) => format!("did you mean {known}?"),
                None => "`tidings node --help` shows them".to_owned(),
            };
            output.warn(&format!("{name} is no setting of tidings; {next}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn environment(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let get = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Ok(Settings::from_variables(&get)?.over(Settings::from_orchestrators(&get)))
    }

    #[test]
    fn one_name_in_three_spellings() {
        let flags = command().get_matches_from(["--data-dir", "a", "--http-allow-anonymous"]);
        let flags = Settings::from_arg_matches(&flags).expect("flags");
        let variables =
            environment(&[("TIDINGS_DATA_DIR", "a"), ("TIDINGS_HTTP_ALLOW_ANONYMOUS", "true")]).expect("variables");
        let file: Settings = toml::from_str("data_dir = 'a'\nhttp_allow_anonymous = true").expect("a file");
        for settings in [flags, variables, file] {
            assert_eq!(settings.data_dir.as_deref(), Some(Path::new("a")));
            assert_eq!(settings.http_allow_anonymous, Some(true));
        }
    }

    #[test]
    fn those_of_the_view_have_a_table_in_the_file() {
        let flags = command().get_matches_from(["--view-size", "20", "--view-propagate", "push"]);
        let flags = Settings::from_arg_matches(&flags).expect("flags");
        let variables =
            environment(&[("TIDINGS_VIEW_SIZE", "20"), ("TIDINGS_VIEW_PROPAGATE", "push")]).expect("variables");
        let file: Settings = toml::from_str("[view]\nsize = 20\npropagate = 'push'").expect("a file");
        for settings in [flags, variables, file] {
            assert_eq!(settings.view.size, Some(20));
            assert_eq!(settings.said().keys().collect::<Vec<_>>(), ["view_propagate", "view_size"]);
        }
    }

    #[test]
    fn the_upper_source_wins_and_takes_what_it_excludes_with_it() {
        let above = Settings { in_memory: Some(true), name: Some("a".to_owned()), ..Settings::default() };
        let below = Settings { data_dir: Some("d".into()), name: Some("b".to_owned()), ..Settings::default() };
        let merged = above.over(below);
        assert_eq!((merged.name.as_deref(), merged.data_dir, merged.in_memory), (Some("a"), None, Some(true)));
    }

    #[test]
    fn socket_address_and_view_stand_behind_the_own_variables() {
        let pairs = [("SOCKET_ADDRESS", "10.0.0.2:8090"), ("VIEW", "10.0.0.2:8090, 10.0.0.3:8090,")];
        let settings = environment(&pairs).expect("variables");
        assert_eq!(settings.http, settings.listen);
        assert_eq!(settings.join, ["10.0.0.2:8090", "10.0.0.3:8090"]);
        let own = environment(&[pairs[0], ("TIDINGS_HTTP", "127.0.0.1:1")]).expect("variables");
        assert_eq!((own.http.as_deref(), own.listen.as_deref()), (Some("127.0.0.1:1"), Some("10.0.0.2:8090")));
    }

    #[test]
    fn bad_variables_are_named_with_what_would_be_right() {
        let pairs = [("TIDINGS_PROFILE", "slow"), ("TIDINGS_TOMBSTONE_COUNT", "many"), ("TIDINGS_SHELL", "maybe")];
        let problems = environment(&pairs).expect_err("three mistakes");
        assert_eq!(problems[0], "TIDINGS_TOMBSTONE_COUNT: \"many\": invalid digit found in string");
        assert_eq!(problems[1], "TIDINGS_PROFILE: \"slow\" is none of: lan, metered");
        assert_eq!(problems[2], "TIDINGS_SHELL: \"maybe\" is none of: true, false");
        assert!(environment(&[("TIDINGS_IN_MEMORY", "true"), ("TIDINGS_DATA_DIR", "d")]).is_err());
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<Settings>("data_dri = 'a'").is_err_and(|e| e.to_string().contains("unknown field")));
        assert!(toml::from_str::<Settings>("config = 'a'").is_err());
    }

    #[test]
    fn what_is_said_has_the_names_of_the_file() {
        let said: Vec<_> = Settings::defaults().said().into_iter().map(|(name, _)| name).collect();
        let names = names();
        assert!(said.len() > 5 && said.iter().all(|name| names.contains(name)), "{said:?}");
        assert!(Settings::default().said().is_empty());
    }
}
