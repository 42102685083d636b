//! The flags of `simulate`, and the plan that they stand for. Not responsible for carrying it out.

use crate::cli::rate::Rate;
use crate::cli::settings::ProfileName;
use crate::crdt::ReplicaId;
use crate::proto::config::NodeConfig;
use crate::simulate::{Crash, Joins, Network, Partition, Plan, Random, Settings, Writers};
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;

/// A node that has lost power is back within so many seconds.
const RESTART_S_MAX: f64 = 10.0;

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The nodes are the ones of `tidings node`: the same code, on a network, on disks and by clocks that do not exist. They \
start and come together; then some of them write while things go wrong; then all is healed, and they must agree. The \
same command gives the same figures, whatever the machine. A share is a number from 0 to 1, or as 5%.

Examples:
  tidings simulate --nodes 200
  tidings simulate --nodes 50 --loss 5% --latency 300 --upload 8k --profile metered
  tidings simulate --nodes 30 --partition 50%@2..8 --crash 10%@5+3 --disks --plot curve.svg
  tidings simulate --nodes 6 --disks --seconds 28800 --writes-per-second 0.1 --restarts-per-second 0.05 --quiet 86400

Exit codes: 0 they agree, 1 they do not, 2 bad usage."
)]
pub(in crate::cli) struct SimulateArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(super) nodes: u32,
    /// Whom they join: the `first`, all that were started before (`all`), or so many at random
    #[arg(long, value_name = "first|all|K", default_value = "3")]
    join: JoinArg,
    /// How eager they are to talk
    #[arg(long, value_name = "NAME", value_enum, default_value_t = ProfileName::Lan)]
    profile: ProfileName,
    /// They have disks: a node that crashes comes back with what it had
    #[arg(long)]
    disks: bool,
    /// One way between two nodes, in milliseconds: each pair has its own
    #[arg(long, value_name = "MS[..MS]", default_value = "10..50")]
    latency: Latency,
    /// A frame may be so much later, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1)]
    jitter: u32,
    /// The share of packets that are lost
    #[arg(long, value_name = "SHARE", default_value = "0")]
    loss: Share,
    /// What each node can send, as 8000, 8k or 1M; 0 is no limit
    #[arg(long, value_name = "BYTES/s", default_value = "0")]
    upload: Rate,
    /// How far clocks may be wrong, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    skew: u32,
    /// Who writes: `one` node, `any`, or so many
    #[arg(long, value_name = "one|any|K", default_value = "any")]
    writers: WritersArg,
    /// Writes a second, of all together
    #[arg(long, value_name = "R", default_value_t = 10.0, value_parser = rate)]
    writes_per_second: f64,
    /// How long they write
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    pub(super) seconds: f64,
    /// To how many keys
    #[arg(long, value_name = "K", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// The size of a value, in bytes
    #[arg(long, value_name = "B", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    value_bytes: u32,
    /// The share of writes that are deletes
    #[arg(long, value_name = "SHARE", default_value = "0")]
    deletes: Share,
    /// Cut off a share of the nodes, from then to then in seconds of writing
    #[arg(long, value_name = "SHARE@FROM..TO")]
    partition: Option<PartitionArg>,
    /// What those say who are cut off still arrives
    #[arg(long, requires = "partition")]
    one_way: bool,
    /// A share of the nodes crashes at once, then, and comes back after so many seconds
    #[arg(long, value_name = "SHARE[@AT[+BACK]]")]
    crash: Option<CrashArg>,
    /// So many connections are lost each second
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    resets_per_second: f64,
    /// So many nodes lose power each second, and start again within ten seconds
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    restarts_per_second: f64,
    /// How long they may take to come together before the writes
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = seconds)]
    gather: f64,
    /// How long they may take to agree at the end
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = seconds)]
    patience: f64,
    /// When they agree nothing happens for so long, and what they say meanwhile is counted
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = seconds)]
    quiet: f64,
    /// Decides everything that is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// Draw how writes spread, to this file
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
}

impl SimulateArgs {
    pub(super) fn plan(&self) -> Plan {
        let id = ReplicaId::from(0);
        let template = match self.profile {
            ProfileName::Lan => NodeConfig::new(id),
            ProfileName::Metered => NodeConfig::metered(id),
        };
        let settings = Settings {
            nodes: self.nodes as usize,
            seed: self.seed,
            network: self.network(),
            joins: self.join.0,
            kept: self.disks,
            skew_ms: self.skew.into(),
            template,
            ..Settings::default()
        };
        Plan {
            settings,
            gather_s: self.gather,
            seconds: self.seconds,
            writes_per_second: self.writes_per_second,
            writers: self.writers.0,
            keys: self.keys as usize,
            value_bytes: self.value_bytes as usize,
            deletes: self.deletes.0,
            partition: self.partition.map(|partition| Partition { one_way: self.one_way, ..partition.0 }),
            crash: self.crash.map(|crash| crash.0),
            resets_per_second: self.resets_per_second,
            random: Random { crashes: self.restarts_per_second, back_after_s: RESTART_S_MAX, ..Random::default() },
            patience_s: self.patience,
            quiet_s: self.quiet,
            ..Plan::default()
        }
    }

    fn network(&self) -> Network {
        Network {
            latency_us: self.latency.0,
            jitter_us: u64::from(self.jitter) * 1_000,
            loss: self.loss.0,
            upload: Some(self.upload.0).filter(|upload| *upload > 0),
            ..Network::default()
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|rate| *rate <= 1e6)
        .ok_or_else(|| "give how many a second, up to 1000000, as 10 or 0.5".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = number(text).filter(|seconds| *seconds <= 86_400.0);
    number.ok_or_else(|| "give seconds, up to 86400, as 10 or 0.5".to_owned())
}

/// `0.05` or `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| percent / 100.0),
            None => number(text),
        };
        share.filter(|share| *share <= 1.0).map(Self).ok_or_else(|| "give a share, as 0.05 or 5%".to_owned())
    }
}

/// `20` or `10..50`, in milliseconds; kept in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency((u64, u64));

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let us = |text: &str| number(text).filter(|ms| *ms <= 60_000.0).map(|ms| (ms * 1_000.0) as u64);
        let range = us(least).zip(us(most)).filter(|(least, most)| least <= most);
        range.map(Self).ok_or_else(|| "give milliseconds up to 60000, as 20 or 10..50".to_owned())
    }
}

/// `first`, `all`, or how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct JoinArg(Joins);

impl FromStr for JoinArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("first", _) => Ok(Self(Joins::First)),
            ("all", _) => Ok(Self(Joins::All)),
            (_, Ok(count @ 1..=100)) => Ok(Self(Joins::Random(count))),
            _ => Err("give first, all, or how many each joins, 1 to 100".to_owned()),
        }
    }
}

/// `one`, `any`, or how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WritersArg(Writers);

impl FromStr for WritersArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("one", _) => Ok(Self(Writers::One)),
            ("any", _) => Ok(Self(Writers::Any)),
            (_, Ok(count @ 1..)) => Ok(Self(Writers::Some(count))),
            _ => Err("give one, any, or how many nodes write".to_owned()),
        }
    }
}

/// `50%@2..8`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PartitionArg(Partition);

impl FromStr for PartitionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (share, times) = text.split_once('@')?;
            let (from, to) = times.split_once("..")?;
            let (from_s, to_s) = (number(from)?, number(to)?);
            let partition = Partition { share: share.parse::<Share>().ok()?.0, from_s, to_s, one_way: false };
            (from_s < to_s).then_some(Self(partition))
        };
        parse().ok_or_else(|| "give which share of the nodes and when, as 50%@2..8".to_owned())
    }
}

/// `10%`, `10%@5` or `10%@5+3`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CrashArg(Crash);

impl FromStr for CrashArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (share, times) = text.split_once('@').map_or((text, None), |(share, times)| (share, Some(times)));
            let (at, back) = match times {
                Some(times) => times.split_once('+').map_or((times, None), |(at, back)| (at, Some(back))),
                None => ("0", None),
            };
            let back_after_s = back.map(|back| number(back).ok_or(())).transpose().ok()?;
            Some(Self(Crash { share: share.parse::<Share>().ok()?.0, at_s: number(at)?, back_after_s }))
        };
        parse().ok_or_else(|| "give which share of the nodes, when, and back after how long, as 10%@5+3".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_times_and_latencies_are_read() {
        assert_eq!(("5%".parse(), "0.05".parse()), (Ok(Share(0.05)), Ok(Share(0.05))));
        assert_eq!("20".parse(), Ok(Latency((20_000, 20_000))));
        assert_eq!("0.5..50".parse(), Ok(Latency((500, 50_000))));
        let partition = Partition { share: 0.5, from_s: 2.0, to_s: 8.0, one_way: false };
        assert_eq!("50%@2..8".parse(), Ok(PartitionArg(partition)));
        let crash = Crash { share: 0.1, at_s: 5.0, back_after_s: Some(3.0) };
        assert_eq!("10%@5+3".parse(), Ok(CrashArg(crash)));
        assert_eq!("0.1".parse(), Ok(CrashArg(Crash { at_s: 0.0, back_after_s: None, ..crash })));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let of = |results: [Result<(), String>; 8]| results.map(|result| result.expect_err("it is wrong"));
        let wrong = of([
            "2".parse::<Share>().map(drop),
            "-1".parse::<Share>().map(drop),
            "50..10".parse::<Latency>().map(drop),
            "NaN".parse::<Latency>().map(drop),
            "some".parse::<JoinArg>().map(drop),
            "0".parse::<WritersArg>().map(drop),
            "50%@8..2".parse::<PartitionArg>().map(drop),
            "10%@5+x".parse::<CrashArg>().map(drop),
        ]);
        assert!(wrong.iter().all(|message| message.starts_with("give ")), "{wrong:?}");
    }
}
