//! How a view is kept: sizes and policies, and what is wrong with them. Not responsible for where they come from.
//!
//! The names are those of Jelasity et al. 2007, section 2: `size` is its c, `heal` its H, `swap` its S. Where it says "tail" of
//! whom to select, here it is `oldest`.

use std::time::Duration;

/// How a [`View`](super::View) is kept.
///
/// ```
/// use tidings::proto::membership::ViewConfig;
/// assert_eq!(ViewConfig::default().check(), Ok(()));
/// let wrong = ViewConfig { size: 20, ..ViewConfig::default() };
/// assert!(wrong.check().unwrap_err().to_string().contains("at most 10"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewConfig {
    /// The most descriptors (c). More cost bytes in each shuffle, and their age; fewer hold the nodes together less well
    /// when many crash at once: with 30 more than half may.
    pub size: usize,
    /// The oldest descriptors that go first when there is no room (H). With more of them the dead are forgotten sooner, and
    /// the living are known less evenly.
    pub heal: usize,
    /// The descriptors that go next, of those just sent (S). With more of them each node is known by nearly as many others
    /// as any, and the dead live longer. What `heal` and `swap` leave over goes at random.
    pub swap: usize,
    /// With whom to shuffle.
    pub select: Select,
    /// Which way descriptors go.
    pub propagate: Propagate,
    /// What is kept when there is no room.
    pub keep: Keep,
    /// Between two shuffles that a node begins. Dead peers and new ones are told of at this pace; so are the bytes.
    pub period: Duration,
}

/// With whom to shuffle: the paper's peer selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// With anybody of the view ("rand").
    Random,
    /// With whom was not heard of for longest ("tail"). It spreads nodes a little more evenly. After a crash of many it asks
    /// the dead first: where a failed contact costs the period, that costs more than their eviction gains.
    Oldest,
}

/// Which way descriptors go: the paper's view propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagate {
    /// Both.
    PushPull,
    /// From him who begins only. Half the bytes, but nothing comes to whom nobody knows: nodes are known unevenly, and the
    /// dead are forgotten half as fast.
    Push,
}

/// What is kept when there is no room: the paper's view selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As `heal` and `swap` say.
    Policy,
    /// Any ("blind", H = S = 0). The dead are forgotten by chance alone: the slowest.
    Random,
    /// The youngest ("head" of the paper of 2004, "healer", H = c/2, S = 0). The dead are forgotten soonest, at the price
    /// of nodes that are known by many others, and of neighbours who know one another.
    Head,
    /// The oldest ("tail" of the paper of 2004, which 2007 leaves out). For comparison only: news has no room, so
    /// who is new is known to few, and the dead are never forgotten.
    Tail,
}

/// A setting that cannot work, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ViewConfigError {
    /// The field of [`ViewConfig`], with the `view_` that it has among all settings.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl ViewConfig {
    /// No view may be larger: what half of it says must fit into a frame with room to spare.
    pub const SIZE_MAX: usize = 256;

    /// No period may be shorter: a shuffle should be over before the next one begins.
    pub const PERIOD_MIN: Duration = Duration::from_millis(100);

    /// The default for a view of another size: it heals by 4, and swaps the rest of its half.
    pub fn of_size(size: usize) -> Self {
        let half = size / 2;
        let heal = half.min(4);
        Self { size, heal, swap: half - heal, ..Self::default() }
    }

    /// The default of the `metered` profile, where each byte counts.
    pub fn metered() -> Self {
        Self { period: Duration::from_secs(30 * 60), ..Self::default() }
    }

    /// Whether it can work.
    ///
    /// # Errors
    ///
    /// The first setting that can not.
    pub fn check(&self) -> Result<(), ViewConfigError> {
        let half = self.half();
        let wrong = |setting, problem| Err(ViewConfigError { setting, problem });
        match self {
            Self { size: 0, .. } => {
                wrong("view_size", "a view without peers is none; give 1 or more, as 30 is".to_owned())
            }
            Self { size, .. } if *size > Self::SIZE_MAX => {
                wrong("view_size", format!("{size} is more than {}, and 30 are enough for any cluster", Self::SIZE_MAX))
            }
            Self { heal, .. } if *heal > half => wrong("view_heal", self.too_many("heal", *heal)),
            Self { heal, swap, .. } if *swap > half - heal => {
                wrong("view_swap", self.too_many("heal and swap", heal.saturating_add(*swap)))
            }
            Self { period, .. } if *period < Self::PERIOD_MIN => {
                wrong("view_period", format!("{period:?} is too short; give {:?} or more", Self::PERIOD_MIN))
            }
            _ => Ok(()),
        }
    }

    fn too_many(&self, which: &str, many: usize) -> String {
        format!("{which} may take at most {}, half of size {}, and not {many}", self.half(), self.size)
    }

    /// H and S, as `keep` has them.
    pub(super) fn heal_and_swap(&self) -> (usize, usize) {
        match self.keep {
            Keep::Policy => (self.heal, self.swap),
            Keep::Random | Keep::Tail => (0, 0),
            Keep::Head => (self.half(), 0),
        }
    }

    /// How many descriptors a shuffle brings at most.
    pub(super) fn buffer(&self) -> usize {
        self.half().max(1)
    }

    fn half(&self) -> usize {
        self.size / 2
    }
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            size: 30,
            heal: 4,
            swap: 11,
            select: Select::Random,
            propagate: Propagate::PushPull,
            keep: Keep::Policy,
            period: Duration::from_secs(10),
        }
    }
}
