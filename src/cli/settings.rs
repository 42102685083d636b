//! Settings of a node from flags, environment and file. Not responsible for what they mean: `plan` makes a node of them.
//!
//! One struct is the flags, the file and (through the flags' own parser) the environment: a name cannot be known in one
//! and unknown in another.

use super::failure::Failure;
use clap::{Args, Command, FromArgMatches, ValueEnum};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Read when nothing else is named, if it is there.
const FILE_DEFAULT: &str = "/etc/tidings/config.toml";

/// Variables beside those that have a flag of the same name.
const OTHER_VARIABLES: [&str; 2] = ["TIDINGS_SECRET", "TIDINGS_NODES"];

/// What one source says; `None` where it says nothing.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(
    after_help = "Each setting is a flag, a variable and a key of the file: --data-dir, TIDINGS_DATA_DIR, data_dir. \
Flags win over variables, variables over the file. TIDINGS_SECRET holds the secret itself. SOCKET_ADDRESS=IP:PORT \
stands for --http and --listen on that address, VIEW=IP:PORT,… for --join.

Examples:
  tidings node
  tidings node --listen 10.0.0.1:7400 --join 10.0.0.2:7400 --secret-file cluster.secret
  tidings node --in-memory --listen 127.0.0.1:0 --http 127.0.0.1:0"
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
    /// Nodes to dial; every address behind a host name
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) join: Vec<String>,
    /// Where it keeps what outlives the process [default: ./tidings-data]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Keep nothing on disk
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, conflicts_with = "data_dir")]
    pub(super) in_memory: Option<bool>,
    /// The cluster's secret, 64 hexadecimal digits [default: TIDINGS_SECRET, or the data directory's]
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// How long a delete is remembered: a node away for longer costs more when it returns [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub(super) tombstone_age: Option<String>,
    /// How many deletes are remembered at most [default: 100000]
    #[arg(long, value_name = "N")]
    pub(super) tombstone_count: Option<usize>,
    /// How it trades traffic for speed [default: lan]
    #[arg(long)]
    pub(super) profile: Option<ProfileName>,
    /// Serve routes of other programs beside /v1
    #[arg(long, value_delimiter = ',')]
    pub(super) compat: Vec<CompatName>,
    /// Hold what a peer sends that is heard again after 0.7s for so long, for links that flap [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub(super) link_settle: Option<String>,
    /// Open a shell on this node
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub(super) shell: Option<bool>,
    /// Read settings from this file (TOML) [default: /etc/tidings/config.toml, if it is there]
    #[arg(long, short, value_name = "FILE")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
}

/// The profiles that have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProfileName {
    /// A network that costs nothing
    Lan,
}

/// Routes of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CompatName {
    /// A cache: /get, /set
    Cache,
    /// A causal key-value store: /kvs, /view
    Kvs,
}

impl Settings {
    /// Flags over the environment over the file.
    pub(super) fn load(flags: Self) -> Result<Self, Failure> {
        let variables = Self::from_environment(&|name| std::env::var(name).ok())?;
        let above = flags.over(variables);
        let file = above.config.as_deref().map_or_else(default_file, read_file)?;
        Ok(above.over(file))
    }

    /// `self` where it says something, else `below`. What excludes each other is one setting here.
    fn over(self, below: Self) -> Self {
        let storage = self.data_dir.is_some() || self.in_memory.is_some();
        let access = self.http_token_file.is_some() || self.http_allow_anonymous.is_some();
        Self {
            name: self.name.or(below.name),
            listen: self.listen.or(below.listen),
            advertise: self.advertise.or(below.advertise),
            http: self.http.or(below.http),
            http_token_file: if access { self.http_token_file } else { below.http_token_file },
            http_allow_anonymous: if access { self.http_allow_anonymous } else { below.http_allow_anonymous },
            join: if self.join.is_empty() { below.join } else { self.join },
            data_dir: if storage { self.data_dir } else { below.data_dir },
            in_memory: if storage { self.in_memory } else { below.in_memory },
            secret_file: self.secret_file.or(below.secret_file),
            tombstone_age: self.tombstone_age.or(below.tombstone_age),
            tombstone_count: self.tombstone_count.or(below.tombstone_count),
            profile: self.profile.or(below.profile),
            compat: if self.compat.is_empty() { below.compat } else { self.compat },
            link_settle: self.link_settle.or(below.link_settle),
            shell: self.shell.or(below.shell),
            config: self.config.or(below.config),
        }
    }

    /// The variables, read by the parser of the flags. An empty one says nothing.
    fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        let flag = |arg: &clap::Arg| Some(format!("--{}={}", arg.get_long()?, said(&variable_of(arg)?)?));
        let words: Vec<_> = command().get_arguments().filter_map(flag).collect();
        let matches = command()
            .try_get_matches_from(words)
            .map_err(|e| Failure::usage(format!("in the environment (TIDINGS_*): {}", plain(&e))))?;
        let settings = Self::from_arg_matches(&matches).map_err(|e| Failure::usage(plain(&e)))?;
        Ok(settings.over(Self::from_orchestrators(&said)))
    }

    /// The two variables that container set-ups of this kind of store have in common.
    fn from_orchestrators(said: &dyn Fn(&str) -> Option<String>) -> Self {
        let address = said("SOCKET_ADDRESS");
        let view = said("VIEW").unwrap_or_default();
        let join = view.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect();
        Self { http: address.clone(), listen: address, join, ..Self::default() }
    }
}

fn command() -> Command {
    Settings::augment_args(Command::new("settings").no_binary_name(true).disable_help_flag(true))
}

/// `TIDINGS_DATA_DIR` for `--data-dir`.
fn variable_of(arg: &clap::Arg) -> Option<String> {
    Some(format!("TIDINGS_{}", arg.get_long()?.replace('-', "_").to_uppercase()))
}

/// Of a parser's error what it says, without its colours and its advice on usage.
fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

fn default_file() -> Result<Settings, Failure> {
    let path = Path::new(FILE_DEFAULT);
    if path.exists() { read_file(path) } else { Ok(Settings::default()) }
}

fn read_file(path: &Path) -> Result<Settings, Failure> {
    let refuse = |problem: &dyn std::fmt::Display| Failure::usage(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error))?;
    let settings: Settings = toml::from_str(&text).map_err(|error| refuse(&error))?;
    match (&settings.data_dir, settings.in_memory) {
        (Some(_), Some(true)) => Err(refuse(&"data_dir and in_memory exclude each other")),
        _ => Ok(settings),
    }
}

/// A misspelt variable would be a setting that silently has no effect.
pub(super) fn warn_of_unknown_variables() {
    let command = command();
    let mut known: Vec<_> = command.get_arguments().filter_map(variable_of).collect();
    known.extend(OTHER_VARIABLES.map(str::to_owned));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("TIDINGS_") && !known.iter().any(|k| *k == name) {
            anstream::eprintln!("warning: {name} is no setting of tidings; `tidings node --help` shows them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Settings, Failure> {
        let get = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::from_environment(&get)
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
    fn bad_values_and_unknown_keys_are_errors() {
        assert!(environment(&[("TIDINGS_PROFILE", "slow")]).is_err());
        assert!(toml::from_str::<Settings>("data_dri = 'a'").is_err_and(|e| e.to_string().contains("unknown field")));
        assert!(toml::from_str::<Settings>("config = 'a'").is_err());
    }
}
