//! What a run is to do. Not responsible for doing it.

use super::cluster::Settings;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One node, drawn once.
    One,
    /// Each write at a node drawn anew.
    Any,
    /// So many nodes, drawn once.
    Some(usize),
}

/// Part of the cluster is cut off for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partition {
    /// The share of the nodes that is.
    pub share: f64,
    /// From then on, in seconds after the writes begin,
    pub from_s: f64,
    /// until then.
    pub to_s: f64,
    /// What they say still arrives; what is said to them does not.
    pub one_way: bool,
}

/// Some nodes crash at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crash {
    /// The share of the nodes that do.
    pub share: f64,
    /// When, in seconds after the writes begin.
    pub at_s: f64,
    /// They come back after so many seconds, if they do.
    pub back_after_s: Option<f64>,
}

/// What goes wrong at moments that are drawn, each so often a second on average.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Random {
    /// A path between two nodes is cut, one way or both,
    pub cuts: f64,
    /// for up to so many seconds.
    pub cut_s: f64,
    /// A node loses power,
    pub crashes: f64,
    /// or is stopped in order, and says goodbye or that it leaves for good;
    pub stops: f64,
    /// and starts again after up to so many seconds.
    pub back_after_s: f64,
    /// A node's clock jumps,
    pub clock_steps: f64,
    /// and is then wrong by up to so much, forward or back.
    pub clock_step_ms: u64,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster.
    pub settings: Settings,
    /// Before anything is written it has so many seconds to come together.
    pub gather_s: f64,
    /// Then writes come for so many seconds,
    pub seconds: f64,
    /// at this rate,
    pub writes_per_second: f64,
    /// here,
    pub writers: Writers,
    /// to one of so many keys, drawn each time,
    pub keys: usize,
    /// of this length.
    pub value_bytes: usize,
    /// The share of them that are deletes.
    pub deletes: f64,
    /// The share of values that have a deadline,
    pub deadlines: f64,
    /// so many milliseconds after they are written.
    pub ttl_ms: u64,
    /// What goes wrong meanwhile.
    pub partition: Option<Partition>,
    /// The same.
    pub crash: Option<Crash>,
    /// So many single links are lost each second.
    pub resets_per_second: f64,
    /// And more.
    pub random: Random,
    /// When all that is over, the cluster has so many seconds to converge.
    pub patience_s: f64,
    /// Then nothing happens for so many, and what that costs is counted.
    pub quiet_s: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            gather_s: 60.0,
            seconds: 10.0,
            writes_per_second: 10.0,
            writers: Writers::Any,
            keys: 1_000,
            value_bytes: 64,
            deletes: 0.0,
            deadlines: 0.0,
            ttl_ms: 1_000,
            partition: None,
            crash: None,
            resets_per_second: 0.0,
            random: Random::default(),
            patience_s: 60.0,
            quiet_s: 0.0,
        }
    }
}

impl Plan {
    /// How long it takes at most, in seconds.
    pub fn seconds_max(&self) -> f64 {
        self.gather_s + self.seconds + self.patience_s + self.quiet_s
    }
}
