//! The commands and their flags. Not responsible for what they do, nor for the settings of a node.

use super::settings::Settings;
use super::simulate::SimulateArgs;
use crate::http::duration::{parse as parse_duration, parse_ttl};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A replicated state store for machines that come and go.
///
/// Every node holds the whole map and takes reads and writes on its own; nodes that reach each other agree.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, after_help = EXAMPLES, max_term_width = 110, arg_required_else_help = true)]
pub(super) struct Cli {
    /// Write results and failures as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidings demo                        three nodes on this machine, to play with
  tidings node                        one node; prints how to start a second
  tidings put greeting hello          write at the node on 127.0.0.1:7480
  tidings get greeting --http 127.0.0.1:7481
  tidings export | gzip > all.jsonl.gz

Exit codes: 0 done, 1 failed, 2 bad usage, 3 key absent.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a cluster on loopback, in one process and in memory
    Demo(DemoArgs),
    /// Run one node
    Node(Box<Settings>),
    /// Type commands to a node
    #[command(
        after_help = "`help` lists the commands. On a terminal, arrows go through earlier lines and Tab completes commands and keys; \
earlier lines are kept in ~/.local/state/tidings/history, but for those that begin with a space. Lines may also come from a pipe.

Examples:
  tidings shell --http 10.0.0.1:7480
  printf 'put a 1\\nget a\\n' | tidings shell"
    )]
    Shell(ClientArgs),
    /// Write a value
    Put(At<PutArgs>),
    /// Read a value, as the bytes it is
    Get(At<GetArgs>),
    /// Delete a key
    Delete(At<KeyArgs>),
    /// List keys and their values
    List(At<ListArgs>),
    /// Show changes as they come
    Watch(At<WatchArgs>),
    /// Send a message to all nodes
    Broadcast(At<BroadcastArgs>),
    /// Show the messages of all nodes as they come
    Events(At<EventsArgs>),
    /// Write the records of a file of JSON lines
    Import(At<ImportArgs>),
    /// Write all records to stdout, as JSON lines in the order of key bytes
    #[command(after_help = "Examples:\n  tidings export > all.jsonl\n  tidings import all.jsonl --http 10.0.0.2:7480")]
    Export(ClientArgs),
    /// Copy the state of a running node to a new directory
    Checkpoint(At<CheckpointArgs>),
    /// Make a data directory of a checkpoint, for a new replica
    Restore(RestoreArgs),
    /// Look whether a checkpoint or a data directory is whole
    Verify(VerifyArgs),
    /// Show the nodes of the cluster
    #[command(after_help = "All that have a record: alive, suspect (its link is lost), down, or left for good.

Example:
  tidings members --http 10.0.0.1:7480")]
    Members(ClientArgs),
    /// Show a node's view: the random few of the others that it picks its links from
    #[command(after_help = "The age of each is how many shuffles ago it said itself that it is there.

Example:
  tidings view --http 10.0.0.1:7480")]
    View(ClientArgs),
    /// Show, add and remove the peers that a node dials
    Peers(PeersArgs),
    /// Show a node's counters and links
    #[command(
        after_help = "Lag is what the node has and the peer is not known to have. Nodes whose two audit sums are equal hold \
the same state.

Example:
  tidings status --http 10.0.0.1:7480 --json"
    )]
    Status(ClientArgs),
    /// Say whether a node may serve: 0 if it does, 1 and why if not
    Ready(ReadyArgs),
    /// Say why two nodes differ, and what a sync between them would cost
    Doctor(DoctorArgs),
    /// Take a node out of its cluster, and end it
    #[command(
        after_help = "The others are told that it is gone for good; its writes stay with them. To stop a node for a while, \
end its process: SIGTERM says goodbye.

Example:
  tidings leave --http 10.0.0.3:7480"
    )]
    Leave(ClientArgs),
    /// Write and read at several nodes, and measure: latencies, lag between nodes, errors
    Load(LoadArgs),
    /// Run a cluster that does not exist yet, on a network like yours, in virtual time
    Simulate(Box<SimulateArgs>),
    /// Make, replace and follow the secret of a cluster
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Make and show certificates, for clusters with an authority of their own instead of a secret
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Check and show the settings of a node without starting it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a script that completes commands and flags in a shell
    Completions(CompletionsArgs),
}

/// A command at a node.
#[derive(Debug, Args)]
pub(super) struct At<T: Args> {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) what: T,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ClientArgs {
    /// The node to talk to, IP:PORT or http://IP:PORT [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR", env = "TIDINGS_HTTP", global = true)]
    pub(super) http: Option<String>,
    /// A file that holds the node's token
    #[arg(long, value_name = "FILE", env = "TIDINGS_HTTP_TOKEN_FILE", global = true)]
    pub(super) http_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal it opens a shell: put, get and list at one node; `use 2` goes to another, `cut 2` \
drops that node's datagrams both ways and tells nobody, `heal 2` lets them through again.

Example:
  tidings demo --nodes 5"
)]
pub(super) struct DemoArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, env = "TIDINGS_NODES", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) nodes: u16,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings put greeting hello
  tidings put sessions/7 '{\"user\":1}' --ttl 30s
  tidings put picture - < picture.png")]
pub(super) struct PutArgs {
    /// The key, 1 to 1,024 bytes
    pub(super) key: OsString,
    /// The value; `-` reads it from stdin
    #[arg(allow_negative_numbers = true)]
    pub(super) value: OsString,
    /// How long it lives: a number and ms, s, m, h or d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = check_ttl)]
    pub(super) ttl: Option<String>,
}

/// The node reads it again: it goes there as it was written.
fn check_ttl(text: &str) -> Result<String, String> {
    parse_ttl(text).map(|_| text.to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = "Ends with 3 when there is no such key.

Examples:
  tidings get greeting
  tidings get picture > picture.png
  tidings get contested --siblings")]
pub(super) struct GetArgs {
    /// The key
    pub(super) key: OsString,
    /// Show all concurrent values; the first is the one that reading chooses
    #[arg(long)]
    pub(super) siblings: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Ends with 3 when there is no such key.

Example:
  tidings delete greeting")]
pub(super) struct KeyArgs {
    /// The key
    pub(super) key: OsString,
}

#[derive(Debug, Args)]
#[command(after_help = "With --json it writes lines as `tidings import` takes them.

Examples:
  tidings list
  tidings list sessions/ --json > sessions.jsonl")]
pub(super) struct ListArgs {
    /// Only keys that start with this
    #[arg(default_value = "")]
    pub(super) prefix: OsString,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A line for each change: `put KEY VALUE`, `delete KEY`, `expired KEY`, until it is interrupted. When \
the node goes away it is tried again, and what was missed is told; of a key that has changed several times the latest. \
`resync` says that this cannot be known. With --json a line has the cursor, which --after takes, at any node.

Examples:
  tidings watch
  tidings watch sessions/ --json"
)]
pub(super) struct WatchArgs {
    /// Only keys that start with this
    #[arg(default_value = "")]
    pub(super) prefix: OsString,
    /// Begin with what has changed after this
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every node delivers it once, after all that had been delivered at the node that sends it. A node that is \
away gets it later, for an hour (--event-ttl of the node that sends it).

Examples:
  tidings broadcast 'doors open'
  tidings broadcast - < picture.png"
)]
pub(super) struct BroadcastArgs {
    /// The message; `-` reads it from stdin
    #[arg(allow_negative_numbers = true)]
    pub(super) text: OsString,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A line for each message: `message DOT TEXT`, until it is interrupted, in an order in which causes come first. \
When the node goes away it is tried again, and what was missed is told as far as it can be had; `missed N` says how many \
cannot. With --json a line has what the sender had heard (`context`), and the cursor, which --after takes, at any node.

Examples:
  tidings events
  tidings events --json --http 10.0.0.2:7480"
)]
pub(super) struct EventsArgs {
    /// Begin with what came after this
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A line is {\"key\":…,\"value\":…}: `value` keeps its JSON text, `text` a string without its quotes, \
`value_base64` any bytes; `key_base64` stands for a key that is not UTF-8; `ttl` (seconds) or `expires` (Unix ms) may \
follow. A bad line ends the import with 1 and is named; what stood before it stays.

Examples:
  tidings import records.jsonl
  zcat all.jsonl.gz | tidings import -"
)]
pub(super) struct ImportArgs {
    /// The file; `-` is stdin
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The node goes on taking reads and writes; what it copies is what was on its disk at one moment. The \
directory is made on this machine, and appears under its name when it is whole; until then it is called DIR.partial. The \
cluster's secret is not in it: keep that apart.

Examples:
  tidings checkpoint backups/monday
  tidings checkpoint /mnt/backups/gateway-7 --http 10.0.0.7:7480"
)]
pub(super) struct CheckpointArgs {
    /// The directory to be made; it may be there if it is empty
    pub(super) dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The whole checkpoint is checked first, and nothing is written if any of it is damaged. What is restored \
is a new replica of the same cluster: it may join the node that was copied, which may have gone on, and others restored \
from the same checkpoint. The cluster's secret is not in a checkpoint: start the node with --secret-file.

Example:
  tidings restore backups/monday --data-dir data-2
  tidings node --data-dir data-2 --secret-file cluster.secret --join 10.0.0.1:7400"
)]
pub(super) struct RestoreArgs {
    /// The checkpoint
    pub(super) dir: PathBuf,
    /// The data directory to be made; it may be there if it is empty
    #[arg(long, value_name = "NEW")]
    pub(super) data_dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every byte of a checkpoint is compared with its checksums, and every record is read; of a data directory \
every record is read, while no node runs on it. A checkpoint is not changed; of a data directory no record is, but the \
engine puts its files in order as it does at each start. What is damaged is named, and ends it with 1.

Examples:
  tidings verify backups/monday
  tidings verify ./tidings-data"
)]
pub(super) struct VerifyArgs {
    /// A checkpoint, or the data directory of a node that does not run
    pub(super) dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings peers
  tidings peers add 192.168.1.20:7400
  tidings peers remove 192.168.1.20:7400")]
pub(super) struct PeersArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(subcommand)]
    pub(super) command: Option<PeersCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PeersCommand {
    /// Dial an address from now on
    Add(AddArgs),
    /// Close the link to a peer, and bar its address and id here until `peers add`
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidings peers add 192.168.1.20:7400")]
pub(super) struct AddArgs {
    /// HOST:PORT, as the other node listens on UDP
    #[arg(value_name = "ADDR")]
    pub(super) address: String,
}

#[derive(Debug, Args)]
#[command(after_help = "It removes neither data nor membership: `tidings leave`, at that node, does the latter.

Example:
  tidings peers remove 192.168.1.20:7400")]
pub(super) struct RemoveArgs {
    /// Its address or replica id, as `tidings peers` shows them
    #[arg(value_name = "ADDR|ID")]
    pub(super) peer: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Ready is a node whose storage is open and that has met one of those it is to join, if there are any. It needs no \
token. For health checks of containers, and for scripts that have just started a node.

Examples:
  tidings ready
  tidings ready --wait 30s --http 127.0.0.1:7481 && tidings get greeting --http 127.0.0.1:7481

Exit codes: 0 ready, 1 not."
)]
pub(super) struct ReadyArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Ask again for so long, until it is [default: ask once]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s", hide_default_value = true)]
    pub(super) wait: Duration,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Each node is asked what the other lacks of what it has: whose writes, how many, under which keys, and how many \
bytes a sync would bring. Nothing is changed, and nothing of it goes over the link between the two.

Example:
  tidings doctor --http 10.0.0.1:7480 --http 10.0.0.2:7480"
)]
pub(super) struct DoctorArgs {
    /// A node, IP:PORT or http://IP:PORT; to be given twice
    #[arg(long, value_name = "ADDR", required = true)]
    pub(super) http: Vec<String>,
    /// A file that holds the token of both
    #[arg(long, value_name = "FILE")]
    pub(super) http_token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Print a new secret: 32 random bytes, as 64 hexadecimal digits
    #[command(after_help = "Every node of a cluster has the same one; no other reaches them.

Example:
  (umask 077; tidings secret new > cluster.secret)
  tidings node --secret-file cluster.secret")]
    New,
    /// Replace the secret, without downtime: a new one is accepted beside the old one, until that is dropped
    #[command(
        after_help = "It changes FILE alone. First it puts a new secret before the old one: who has the file then shows the \
new one to all who know it, the old one to who does not, and accepts both. Copy the file to every node; each takes it up within \
seconds, or on SIGHUP, and no link is lost. A node that is away meanwhile gets in with the old one, whenever it comes. `tidings \
secret status` shows who has not got the new one. When all have, --finish drops the old one; copy the file once more: who has only \
the old one is then kept out. There is no deadline for any of it.

Examples:
  tidings secret rotate --secret-file cluster.secret
  tidings secret status --http 10.0.0.1:7480
  tidings secret rotate --secret-file cluster.secret --finish --http 10.0.0.1:7480

Exit codes: 0 done, 1 refused (some members lack the new one: they are named), 2 bad usage."
    )]
    Rotate(At<RotateArgs>),
    /// Show which member holds which secrets, or certificates of which authorities
    #[command(after_help = "Keys are told by their names, 16 hexadecimal digits, which anybody may know.

Example:
  tidings secret status --http 10.0.0.1:7480")]
    Status(ClientArgs),
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The secret file [default: the one in ./tidings-data]
    #[arg(long, value_name = "FILE", env = "TIDINGS_SECRET_FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// Drop the old one, if the node at --http knows no member that lacks the new one
    #[arg(long)]
    pub(super) finish: bool,
    /// Drop it whoever lacks the new one: such a node is kept out until it has the file
    #[arg(long, requires = "finish")]
    pub(super) force: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Make an authority: DIR/ca.pem, and DIR/ca.key, which stays there
    #[command(after_help = "Who has ca.key can make nodes of the cluster: keep it off the nodes.

Example:
  tidings tls ca authority
  tidings tls node --ca authority --name gateway-7 gateway-7
  tidings node --tls-ca gateway-7/ca.pem --tls-cert gateway-7/node.pem --tls-key gateway-7/node.key")]
    Ca(CaArgs),
    /// Make a certificate for a node: OUT/node.pem, OUT/node.key and OUT/ca.pem
    #[command(
        after_help = "Made again into the same directory, it renews the certificate: a running node takes it up within \
seconds, or on SIGHUP.

Example:
  tidings tls node --ca authority --name gateway-7 gateway-7"
    )]
    Node(NodeArgs),
    /// Replace the authority's key: the new certificate stands in ca.pem before the old one
    #[command(
        after_help = "Then copy ca.pem to every node, make each a new certificate with `tidings tls node`, and when `tidings \
secret status` shows that all present the new authority, drop the old one with --finish and copy ca.pem again. A node that was \
away needs nothing before it may come back: what it does not know of the new authority, the old one vouches for.

Example:
  tidings tls rotate authority
  tidings tls rotate authority --finish"
    )]
    Rotate(RotateCaArgs),
    /// Say of certificates whose they are, who has issued them, and until when they are valid
    #[command(after_help = "Example:\n  tidings tls show gateway-7/ca.pem gateway-7/node.pem")]
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct CaArgs {
    /// The directory, to be made; it may be there if it holds no authority
    pub(super) dir: PathBuf,
    /// How long its certificate is valid
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(super) days: u32,
}

#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// Where `tidings tls ca` has made the authority
    #[arg(long, value_name = "DIR")]
    pub(super) ca: PathBuf,
    /// What people call the node; it stands in the certificate
    #[arg(long)]
    pub(super) name: String,
    /// How long it is valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(super) days: u32,
    /// The directory for the files, to be made if it is not there
    pub(super) out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RotateCaArgs {
    /// Where `tidings tls ca` has made the authority
    pub(super) dir: PathBuf,
    /// Drop the old one
    #[arg(long)]
    pub(super) finish: bool,
    /// How long the new one's certificate is valid
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(super) days: u32,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Files of certificates (PEM)
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with the settings that `tidings node` would have with the same flags, and where
    #[command(
        after_help = "Nothing is started and nothing is made. All mistakes of the environment and of the file are told \
together, with their lines.

Examples:
  tidings config check --config /etc/tidings/config.toml
  TIDINGS_HTTP=0.0.0.0:7480 tidings config check

Exit codes: 0 in order, 2 not."
    )]
    Check(Box<Settings>),
    /// Show what is in force, and whether a flag, a variable or the file has said it
    #[command(after_help = "Secrets are not shown, only where they are.

Examples:
  tidings config show
  tidings config show --config node.toml --json")]
    Show(Box<Settings>),
    /// Print a file of all settings with their defaults, to be filled in
    #[command(after_help = "Example:\n  tidings config example > config.toml")]
    Example,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(tidings completions bash)
  tidings completions zsh > ~/.zfunc/_tidings
  tidings completions fish > ~/.config/fish/completions/tidings.fish")]
pub(super) struct CompletionsArgs {
    /// Which shell
    pub(super) shell: clap_complete::Shell,
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Half of the requests write, each client at one node after the other; half read, anywhere. Latency counts from \
the moment when a request was due, so a node that stalls shows. Lag is the time from the answer to a write at one node until \
another one reads it back, of some writes, in steps of a few milliseconds. The keys, under load/, expire a minute after \
the end. Ctrl-C ends it early, and shows what was measured.

Examples:
  tidings load --http 127.0.0.1:7480,127.0.0.1:7481,127.0.0.1:7482
  tidings load --http 10.0.0.1:7480 --clients 64 --rate 0 --seconds 60 --json

Exit codes: 0 no request failed, 1 some did."
)]
pub(super) struct LoadArgs {
    /// The nodes, IP:PORT or http://IP:PORT each [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR", env = "TIDINGS_HTTP", value_delimiter = ',')]
    pub(super) http: Vec<String>,
    /// A file that holds the nodes' token
    #[arg(long, value_name = "FILE", env = "TIDINGS_HTTP_TOKEN_FILE")]
    pub(super) http_token_file: Option<PathBuf>,
    /// How many clients, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(super) clients: u16,
    /// Requests a second, of all clients together; 0 is as many as there can be
    #[arg(long, value_name = "R", default_value_t = 200)]
    pub(super) rate: u32,
    /// How long
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) seconds: u32,
    /// The size of a value, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(super) value_bytes: u32,
}
