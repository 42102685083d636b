//! Peer sampling among 10,000 nodes: what Jelasity et al. 2007 found of their policies holds for this implementation of
//! them, and its defaults forget the dead fast. Prints the table that `proto-docs/membership.md` shows; with
//! `TIDINGS_POLICIES=all` all of it.
//!
//! An experiment is a loop over cycles without messages or time. Not responsible for shuffles on links: the simulator is.

#[path = "replicas/dice.rs"]
mod dice;
#[path = "sampling/measures.rs"]
mod measures;
#[path = "sampling/overlay.rs"]
mod overlay;

use dice::{Dice, for_each_seed};
use overlay::{OnFailure, Overlay};
use tidings::proto::membership::{Keep, Propagate, Select, ViewConfig};

const NODES: usize = 10_000;
/// After so many cycles nothing changes any more that is measured.
const SETTLED: usize = 30;
/// So long after the crash it is looked at.
const AFTER: usize = 20;

/// What comes of a contact that fails, in the order of the table: the paper's assumption first, then this project's rule with
/// one contact in a cycle and with up to three.
const ON_FAILURE: [OnFailure; 3] =
    [OnFailure::PassOver, OnFailure::Evict { contacts: 1 }, OnFailure::Evict { contacts: 3 }];

/// What was measured of a policy.
struct Row {
    name: &'static str,
    deviation: f64,
    clustering: f64,
    /// After half of the nodes have crashed, before each cycle; for each of `ON_FAILURE`.
    dead: Vec<Vec<f64>>,
    /// After 60 of a hundred have crashed: at once, and after some cycles of evictions.
    cut_off: [f64; 2],
}

impl Row {
    fn of(name: &'static str, config: ViewConfig, dice: &mut Dice) -> Self {
        let settled = settled(Overlay::random(NODES, config, dice), dice);
        Self {
            name,
            deviation: measures::in_degree_deviation(&settled),
            clustering: measures::clustering(&settled, dice),
            dead: ON_FAILURE.iter().map(|on_failure| dead(&settled, *on_failure, dice)).collect(),
            cut_off: cut_off(settled, dice),
        }
    }

    /// The first cycle before which less than 1 % was dead.
    fn healed(&self, on_failure: usize) -> usize {
        self.dead[on_failure].iter().position(|percent| *percent < 1.0).unwrap_or(usize::MAX)
    }

    fn print(&self) {
        let healing = (0..ON_FAILURE.len()).map(|on_failure| {
            let healed = self.healed(on_failure);
            let healed = if healed > AFTER { format!("> {AFTER}") } else { healed.to_string() };
            let [ten, fifteen] = [10, 15].map(|cycle| self.dead[on_failure][cycle]);
            format!("{ten:.1}, {fifteen:.1}; {healed}")
        });
        let healing = healing.collect::<Vec<_>>().join(" | ");
        let Self { name, deviation, clustering, cut_off: [at_once, later], .. } = self;
        println!("| {name} | {deviation:.1} | {clustering:.3} | {healing} | {at_once:.2}, {later:.2} |");
    }
}

fn settled(mut overlay: Overlay, dice: &mut Dice) -> Overlay {
    (0..SETTLED).for_each(|_| overlay.cycle(OnFailure::PassOver, dice));
    overlay
}

/// Half of the nodes crash at once.
fn dead(settled: &Overlay, on_failure: OnFailure, dice: &mut Dice) -> Vec<f64> {
    let mut overlay = settled.clone();
    overlay.crash(50, dice);
    let mut percents = vec![measures::dead_percent(&overlay)];
    for _ in 0..AFTER {
        overlay.cycle(on_failure, dice);
        percents.push(measures::dead_percent(&overlay));
    }
    percents
}

fn cut_off(mut overlay: Overlay, dice: &mut Dice) -> [f64; 2] {
    overlay.crash(60, dice);
    let at_once = measures::cut_off_percent(&overlay);
    (0..AFTER / 2).for_each(|_| overlay.cycle(OnFailure::Evict { contacts: 1 }, dice));
    [at_once, measures::cut_off_percent(&overlay)]
}

fn policy(heal: usize, swap: usize) -> ViewConfig {
    ViewConfig { heal, swap, ..ViewConfig::default() }
}

/// Those that the paper compares, and the default.
fn compared() -> Vec<(&'static str, ViewConfig)> {
    let all =
        [("blind", policy(0, 0)), ("healer", policy(15, 0)), ("swapper", policy(0, 15)), ("default", policy(4, 11))];
    all.into()
}

/// What else can be set.
fn others() -> Vec<(&'static str, ViewConfig)> {
    let default = ViewConfig::default();
    if std::env::var("TIDINGS_POLICIES").is_err() {
        return Vec::new();
    }
    vec![
        ("heal 3, swap 12", policy(3, 12)),
        ("heal 8, swap 7", policy(8, 7)),
        ("default, oldest asked", ViewConfig { select: Select::Oldest, ..default }),
        ("healer, oldest asked", ViewConfig { select: Select::Oldest, ..policy(15, 0) }),
        ("default, push only", ViewConfig { propagate: Propagate::Push, ..default }),
        ("keep random", ViewConfig { keep: Keep::Random, ..default }),
        ("keep head", ViewConfig { keep: Keep::Head, ..default }),
        ("keep tail", ViewConfig { keep: Keep::Tail, ..default }),
    ]
}

#[test]
fn the_policies_differ_as_the_paper_found() {
    for_each_seed(1, |dice| {
        println!(
            "policy | in-degree deviation | clustering | dead of 100 after 10 and 15 cycles; cycles to less than 1:"
        );
        println!("| passed over | evicted, 1 contact | evicted, 3 contacts | cut off of 100 at once, later");
        let [blind, healer, swapper, default] = compared()
            .into_iter()
            .map(|(name, config)| Row::of(name, config, dice))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_else(|_| unreachable!("four are compared"));
        [&blind, &healer, &swapper, &default].iter().for_each(|row| row.print());
        others().into_iter().for_each(|(name, config)| Row::of(name, config, dice).print());

        let deviations = [&swapper, &default, &healer, &blind].map(|row| row.deviation);
        assert!(deviations.is_sorted() && deviations[0] < 5.5, "the swapper is more even than chance: {deviations:?}");
        let clusterings = [&swapper, &default, &blind, &healer].map(|row| row.clustering);
        assert!(clusterings.is_sorted(), "the healer's neighbours know one another: {clusterings:?}");
        for (on_failure, rule) in ON_FAILURE.iter().enumerate() {
            let after_ten = [&healer, &default, &swapper, &blind].map(|row| row.dead[on_failure][10]);
            assert!(after_ten.is_sorted(), "the healer forgets the dead first, and blind last: {after_ten:?}");
            let healed = [&healer, &default].map(|row| row.healed(on_failure));
            assert!(healed.iter().all(|cycles| *cycles <= 15), "{healed:?} cycles, with {rule:?}");
        }
        for row in [&healer, &swapper, &default, &blind] {
            assert_eq!(row.cut_off, [0.0, 0.0], "{}: the living are one network", row.name);
        }
    });
}

/// What went wrong elsewhere: the first nodes stay known to all, and the last to nobody.
#[test]
fn a_network_that_grew_from_one_node_is_as_even_as_one_that_began_at_random() {
    for_each_seed(1, |dice| {
        let config = ViewConfig::default();
        let grown = settled(Overlay::growing(NODES, config, dice), dice);
        let random = settled(Overlay::random(NODES, config, dice), dice);
        let [grown_deviation, random_deviation] = [&grown, &random].map(measures::in_degree_deviation);
        println!("in-degree deviation: grown {grown_deviation:.1}, random {random_deviation:.1}");
        assert!(grown_deviation < 1.1 * random_deviation, "{grown_deviation}, {random_deviation}");
        assert!(grown.living().all(|number| grown.views[number].len() == config.size));
        assert_eq!(measures::cut_off_percent(&grown), 0.0);
    });
}
