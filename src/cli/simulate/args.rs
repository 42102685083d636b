//! The flags of `simulate`, and the plan that they stand for. Not responsible for carrying it out.

use super::values::{CrashArg, JoinArg, Latency, PartitionArg, Share, WritersArg, rate, seconds};
use crate::cli::rate::Rate;
use crate::cli::settings::ProfileName;
use crate::crdt::ReplicaId;
use crate::proto::config::NodeConfig;
use crate::simulate::{Network, Partition, Plan, Random, Settings};
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The nodes are the ones of `tidings node`: the same code, on a network, on disks and by clocks that do not exist. They \
start and come together; then some of them write while things go wrong; then all is healed, and they must agree. The \
same command gives the same figures, whatever the machine. A share is a number from 0 to 1, or as 5%.

Examples:
  tidings simulate --nodes 200
  tidings simulate --nodes 50 --loss 5% --latency 300 --upload 8k --profile metered
  tidings simulate --nodes 30 --partition 50%@2..8 --crash 10%@5+3 --disks --plot curve.svg
  tidings simulate --nodes 9 --seconds 60 --disks --deadlines 30% --cuts-per-second 1 --crashes-per-second 0.2 --clock-jumps-per-second 0.5
  tidings simulate --nodes 6 --disks --seconds 28800 --writes-per-second 0.1 --crashes-per-second 0.05 --quiet 86400

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
    /// The share of values that have a deadline
    #[arg(long, value_name = "SHARE", default_value = "0")]
    deadlines: Share,
    /// So long after they are written, in milliseconds, by the clock of who writes
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    ttl: u32,
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
    /// So many paths between two nodes are cut each second, one way or both, at random moments
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    cuts_per_second: f64,
    /// Each for up to so long
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    cut_for: f64,
    /// So many nodes lose power each second, at random moments, and come back
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    crashes_per_second: f64,
    /// So many are stopped in order: half of them say goodbye, half that they leave for good; and come back
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    goodbyes_per_second: f64,
    /// Who was down at a random moment is back after up to so long
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    back_after: f64,
    /// So many clocks jump each second, at random moments
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    clock_jumps_per_second: f64,
    /// And are then wrong by up to so much, in milliseconds, forward or back
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    clock_jump: u32,
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
            deadlines: self.deadlines.0,
            ttl_ms: self.ttl.into(),
            partition: self.partition.map(|partition| Partition { one_way: self.one_way, ..partition.0 }),
            crash: self.crash.map(|crash| crash.0),
            resets_per_second: self.resets_per_second,
            random: self.random(),
            patience_s: self.patience,
            quiet_s: self.quiet,
        }
    }

    fn random(&self) -> Random {
        Random {
            cuts: self.cuts_per_second,
            cut_s: self.cut_for,
            crashes: self.crashes_per_second,
            stops: self.goodbyes_per_second,
            back_after_s: self.back_after,
            clock_steps: self.clock_jumps_per_second,
            clock_step_ms: self.clock_jump.into(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn plan(flags: &str) -> Plan {
        Line::parse_from(std::iter::once("simulate").chain(flags.split_whitespace())).args.plan()
    }

    #[test]
    fn what_goes_wrong_at_random_moments_is_in_the_plan() {
        assert_eq!(
            plan("").random,
            Random { cut_s: 5.0, back_after_s: 3.0, clock_step_ms: 60_000, ..Random::default() }
        );
        let rates = "--cuts-per-second 1 --crashes-per-second 2 --goodbyes-per-second 3 --clock-jumps-per-second 4";
        let sizes = "--cut-for 5 --back-after 6 --clock-jump 7 --deadlines 80% --ttl 9";
        let plan = plan(&format!("{rates} {sizes}"));
        let expected = Random {
            cuts: 1.0,
            crashes: 2.0,
            stops: 3.0,
            clock_steps: 4.0,
            cut_s: 5.0,
            back_after_s: 6.0,
            clock_step_ms: 7,
        };
        assert_eq!((plan.random, plan.deadlines, plan.ttl_ms), (expected, 0.8, 9));
    }
}
