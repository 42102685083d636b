//! The settings of the view: `[view]` in the file, `--view-…` and `TIDINGS_VIEW_…` elsewhere. Not responsible for what is wrong
//! with them together: `ViewConfig` is.

use super::failure::Failure;
use crate::http::duration;
use crate::{Keep, Profile, Propagate, Select, ViewConfig};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// What one source says of it; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ViewSettings {
    /// How many other nodes it keeps in its view, to pick links from and to tell others of [default: 30]
    #[arg(id = "view_size", long = "view-size", value_name = "N")]
    pub(super) size: Option<usize>,
    /// How many of the oldest make room first: with more, dead nodes are forgotten sooner [default: 4]
    #[arg(id = "view_heal", long = "view-heal", value_name = "N")]
    pub(super) heal: Option<usize>,
    /// How many of those just sent make room then: with more, all nodes are known evenly [default: half of the size without those]
    #[arg(id = "view_swap", long = "view-swap", value_name = "N")]
    pub(super) swap: Option<usize>,
    /// Whom of its view a node shuffles with [default: random]
    #[arg(id = "view_select", long = "view-select")]
    pub(super) select: Option<SelectName>,
    /// Which way a shuffle goes [default: push-pull]
    #[arg(id = "view_propagate", long = "view-propagate")]
    pub(super) propagate: Option<PropagateName>,
    /// What is kept when there is no room [default: policy]
    #[arg(id = "view_keep", long = "view-keep")]
    pub(super) keep: Option<KeepName>,
    /// How long between two shuffles [default: the profile's, 10s or 30m]
    #[arg(id = "view_period", long = "view-period", value_name = "DURATION")]
    pub(super) period: Option<String>,
}

/// See [`Select`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SelectName {
    /// Anybody
    Random,
    /// Whom was not heard of for longest
    Oldest,
}

/// See [`Propagate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PropagateName {
    /// Both ways
    PushPull,
    /// To whom is asked only
    Push,
}

/// See [`Keep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeepName {
    /// As heal and swap say
    Policy,
    /// Any
    Random,
    /// The youngest
    Head,
    /// The oldest
    Tail,
}

impl ViewSettings {
    /// `self` where it says something, else `below`.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            size: self.size.or(below.size),
            heal: self.heal.or(below.heal),
            swap: self.swap.or(below.swap),
            select: self.select.or(below.select),
            propagate: self.propagate.or(below.propagate),
            keep: self.keep.or(below.keep),
            period: self.period.or(below.period),
        }
    }

    /// What they come to. Who says one of size, heal and swap need not say the others.
    pub(super) fn config(&self, profile: Profile) -> Result<ViewConfig, Failure> {
        let usual = profile.view();
        let of_size = ViewConfig::of_size(self.size.unwrap_or(usual.size));
        let heal = self.heal.unwrap_or(of_size.heal.min((of_size.size / 2).saturating_sub(self.swap.unwrap_or(0))));
        let period = self.period.as_deref().map(duration::parse).transpose();
        Ok(ViewConfig {
            size: of_size.size,
            heal,
            swap: self.swap.unwrap_or((of_size.size / 2).saturating_sub(heal)),
            select: self.select.map_or(usual.select, SelectName::meant),
            propagate: self.propagate.map_or(usual.propagate, PropagateName::meant),
            keep: self.keep.map_or(usual.keep, KeepName::meant),
            period: period.map_err(|problem| Failure::setting("view_period", problem))?.unwrap_or(usual.period),
        })
    }

    /// All of them, as they would be said.
    pub(super) fn of(config: &ViewConfig) -> Self {
        Self {
            size: Some(config.size),
            heal: Some(config.heal),
            swap: Some(config.swap),
            select: Some(SelectName::of(config.select)),
            propagate: Some(PropagateName::of(config.propagate)),
            keep: Some(KeepName::of(config.keep)),
            period: Some(duration::written(config.period)),
        }
    }
}

impl SelectName {
    const fn meant(self) -> Select {
        match self {
            Self::Random => Select::Random,
            Self::Oldest => Select::Oldest,
        }
    }

    const fn of(select: Select) -> Self {
        match select {
            Select::Random => Self::Random,
            Select::Oldest => Self::Oldest,
        }
    }
}

impl PropagateName {
    const fn meant(self) -> Propagate {
        match self {
            Self::PushPull => Propagate::PushPull,
            Self::Push => Propagate::Push,
        }
    }

    const fn of(propagate: Propagate) -> Self {
        match propagate {
            Propagate::PushPull => Self::PushPull,
            Propagate::Push => Self::Push,
        }
    }
}

impl KeepName {
    const fn meant(self) -> Keep {
        match self {
            Self::Policy => Keep::Policy,
            Self::Random => Keep::Random,
            Self::Head => Keep::Head,
            Self::Tail => Keep::Tail,
        }
    }

    const fn of(keep: Keep) -> Self {
        match keep {
            Keep::Policy => Self::Policy,
            Keep::Random => Self::Random,
            Keep::Head => Self::Head,
            Keep::Tail => Self::Tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_profiles() {
        for profile in [Profile::Lan, Profile::Metered] {
            let config = ViewSettings::default().config(profile).expect("nothing is wrong");
            assert_eq!(config, profile.view());
            assert_eq!(ViewSettings::of(&config).config(Profile::Lan).expect("durations"), config, "it can be said");
        }
    }

    #[test]
    fn every_policy_can_be_said() {
        let said = "select = 'oldest'\npropagate = 'push'\nkeep = 'tail'\nperiod = '1m'\n";
        let settings: ViewSettings = toml::from_str(said).expect("settings");
        let config = settings.config(Profile::Metered).expect("durations");
        assert_eq!((config.select, config.propagate, config.keep), (Select::Oldest, Propagate::Push, Keep::Tail));
        assert_eq!(config.period.as_secs(), 60);
        for (name, keep) in [("policy", Keep::Policy), ("random", Keep::Random), ("head", Keep::Head)] {
            let settings: ViewSettings = toml::from_str(&format!("keep = '{name}'")).expect("settings");
            assert_eq!(settings.config(Profile::Lan).expect("durations").keep, keep);
        }
    }

    #[test]
    fn of_size_heal_and_swap_one_is_enough() {
        let config = |size, heal, swap| {
            let settings = ViewSettings { size, heal, swap, ..ViewSettings::default() };
            let config = settings.config(Profile::Lan).expect("no durations");
            config.check().map(|()| (config.size, config.heal, config.swap)).map_err(|wrong| wrong.setting)
        };
        assert_eq!(config(None, None, None), Ok((30, 4, 11)));
        assert_eq!(config(Some(12), None, None), Ok((12, 4, 2)));
        assert_eq!(config(Some(1), None, None), Ok((1, 0, 0)));
        assert_eq!(config(None, Some(15), None), Ok((30, 15, 0)));
        assert_eq!(config(None, None, Some(15)), Ok((30, 0, 15)));
        assert_eq!(config(None, Some(15), Some(1)), Err("view_swap"));
        assert_eq!(config(None, Some(16), None), Err("view_heal"));
        assert_eq!(config(Some(0), None, None), Err("view_size"));
    }
}
