//! Seeded runs. Not responsible for what they do.

#![allow(dead_code, reason = "each test binary uses its own part")]

/// Random numbers that will be the same for a seed for ever: SplitMix64 (Steele et al. 2014).
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
    /// Only this run was asked for: it tells what happens.
    telling: bool,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d), telling: false }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    /// Whether something happens that does so in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Two different numbers below `end`.
    pub(crate) fn two_below(&mut self, end: usize) -> (usize, usize) {
        let (first, second) = (self.below(end), self.below(end - 1));
        (first, second + usize::from(second >= first))
    }

    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        (1..all.len()).rev().for_each(|i| all.swap(i, self.below(i + 1)));
    }

    /// Whether this run is being replayed.
    pub(crate) fn is_telling(&self) -> bool {
        self.telling
    }

    /// Says what happens, in a run that is being replayed.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.telling {
            eprintln!("{}", what());
        }
    }
}

/// Names the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with TIDINGS_SEED={} and the name of this test", self.0);
        }
    }
}

/// One run for each seed below `runs`, or below `TIDINGS_RUNS`; or `TIDINGS_SEED` alone, with its story told.
pub(crate) fn for_each_seed(runs: u64, mut run: impl FnMut(&mut Dice)) {
    let setting = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let only = setting("TIDINGS_SEED");
    let seeds = only.map_or(0..setting("TIDINGS_RUNS").unwrap_or(runs), |seed| seed..seed + 1);
    for seed in seeds {
        let named = Seed(seed);
        let mut dice = Dice::new(seed);
        dice.telling = only.is_some();
        run(&mut dice);
        drop(named);
    }
}
