//! A whole run: the cluster comes together, is written to while things go wrong, is healed, and has to agree. Not
//! responsible for what is then said of it.

use super::cluster::Cluster;
use super::cuts::CutId;
use super::figures::Figures;
use super::plan::{Plan, Writers};
use rand::RngExt;
use rand::seq::SliceRandom;

const SECOND_US: f64 = 1e6;
/// How often sums are compared, and somebody may want to know how far it is.
const LOOK_EVERY_US: u64 = 100_000;
/// A process takes longer to start than a packet of the one before can be on its way.
const START_S: f64 = 0.5;
/// To see that it is converged takes a look at all nodes.
const CONVERGED_EVERY_US: u64 = 10_000;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// In microseconds of virtual time.
    pub now_us: u64,
    /// How many nodes hold what most hold.
    pub agreeing: usize,
    /// How many writes have been made,
    pub writes: usize,
    /// and are not everywhere.
    pub open: usize,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// After how many microseconds all nodes agreed for the first time, if they did within the time for that.
    pub gathered_us: Option<u64>,
    /// How many microseconds after the last write, and after all was healed, all agreed.
    pub converged_us: Option<u64>,
    /// What is wrong.
    pub wrong: Option<String>,
    /// It was ended before its end.
    pub interrupted: bool,
    /// How many writes were made.
    pub writes: usize,
    /// What was counted until the cluster had come together,
    pub gathering: Figures,
    /// since, until all agreed,
    pub figures: Figures,
    /// and while nothing happened after that.
    pub quiet: Figures,
}

impl Outcome {
    /// Whether all is as it must be.
    pub fn is_well(&self) -> bool {
        self.wrong.is_none() && !self.interrupted
    }
}

/// What happens next, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Look,
    Cut,
    Heal,
    Crash,
    Reset,
    CutOne,
    CrashOne,
    Stop,
    Step,
    Write,
}

/// A run on its way.
#[derive(Debug)]
pub struct Run {
    /// The cluster, to be looked at.
    pub cluster: Cluster,
    plan: Plan,
    writers: Vec<usize>,
    /// Each with its next moment; those that are over have none.
    acts: Vec<(u64, Act)>,
    /// Cuts to be mended, and when.
    mends: Vec<(u64, CutId)>,
    /// Nodes that are down and will be back.
    coming: Vec<usize>,
    wrong: Option<String>,
    looked_us: u64,
}

impl Run {
    /// A run that has not begun.
    pub fn new(plan: Plan) -> Self {
        let mut cluster = Cluster::new(plan.settings.clone());
        let nodes = plan.settings.nodes;
        let writers = match plan.writers {
            Writers::One => vec![cluster.rng().random_range(0..nodes)],
            Writers::Any => Vec::new(),
            Writers::Some(count) => some_of(&mut cluster, count),
        };
        let (acts, mends, coming) = Default::default();
        Self { cluster, plan, writers, acts, mends, coming, wrong: None, looked_us: 0 }
    }

    /// Goes to its end, or until somebody who is told how far it is has had enough.
    pub fn go(&mut self, mut go_on: impl FnMut(Progress) -> bool) -> Outcome {
        let begin_us = self.cluster.now_us();
        let mut interrupted = !self.settle(us(self.plan.gather_s), &mut go_on);
        let gathered_us = self.cluster.is_converged().then(|| self.cluster.now_us() - begin_us);
        let gathering = self.cluster.figures();
        interrupted = interrupted || !self.write(&mut go_on);
        let end_us = self.cluster.now_us();
        interrupted = interrupted || !self.settle(us(self.plan.patience_s), &mut go_on);
        let converged_us = self.cluster.is_converged().then(|| self.cluster.now_us() - end_us);
        let checked = if interrupted { Ok(()) } else { self.cluster.check() };
        let figures = self.cluster.figures();
        if converged_us.is_some() {
            self.cluster.run_for(us(self.plan.quiet_s));
        }
        Outcome {
            gathered_us,
            converged_us: converged_us.filter(|_| !interrupted),
            wrong: self.wrong.take().or(checked.err()),
            interrupted,
            writes: self.cluster.log.len(),
            quiet: self.cluster.figures().since(&figures),
            figures: figures.since(&gathering),
            gathering,
        }
    }

    /// Until all agree, or the time is over. Whether to go on.
    fn settle(&mut self, within_us: u64, go_on: &mut impl FnMut(Progress) -> bool) -> bool {
        let end_us = self.cluster.now_us() + within_us;
        while !self.cluster.is_converged() && self.cluster.now_us() < end_us {
            self.cluster.run_until(end_us.min(self.cluster.now_us() + CONVERGED_EVERY_US));
            if self.cluster.now_us() >= self.looked_us + LOOK_EVERY_US && !self.look(go_on) {
                return false;
            }
        }
        true
    }

    /// Writes, and what goes wrong meanwhile. Whether to go on.
    fn write(&mut self, go_on: &mut impl FnMut(Progress) -> bool) -> bool {
        let begin_us = self.cluster.now_us();
        let end_us = begin_us + us(self.plan.seconds);
        self.acts = self.first_acts(begin_us);
        while let Some(&(at_us, act)) = self.acts.iter().min().filter(|(at_us, _)| *at_us <= end_us) {
            self.mend(at_us);
            self.cluster.run_until(at_us);
            self.acts.retain(|planned| *planned != (at_us, act));
            if act == Act::Look && !self.look(go_on) {
                return false;
            }
            let next_us = self.act(act);
            self.acts.extend(next_us.map(|after_us| (at_us + after_us, act)));
        }
        self.cluster.run_until(end_us);
        self.cluster.heal();
        std::mem::take(&mut self.coming).into_iter().for_each(|who| self.cluster.restart(who));
        true
    }

    /// Lets happen what is due by then, and mends what is to be mended meanwhile.
    fn mend(&mut self, until_us: u64) {
        while let Some(&(at_us, cut)) =
            self.mends.iter().min_by_key(|(at_us, _)| *at_us).filter(|(at_us, _)| *at_us <= until_us)
        {
            self.cluster.run_until(at_us);
            self.mends.retain(|(_, other)| *other != cut);
            self.cluster.mend(cut);
        }
    }

    fn first_acts(&mut self, begin_us: u64) -> Vec<(u64, Act)> {
        let partition = self.plan.partition.into_iter();
        let partition = partition.flat_map(|cut| [(cut.from_s, Act::Cut), (cut.to_s, Act::Heal)]);
        let crash = self.plan.crash.map(|crash| (crash.at_s, Act::Crash));
        let fixed: Vec<_> = partition.chain(crash).map(|(s, act)| (begin_us + us(s), act)).collect();
        let often = [Act::Write, Act::Reset, Act::CutOne, Act::CrashOne, Act::Stop, Act::Step];
        let drawn = often.into_iter().filter(|act| self.rate(*act) > 0.0).collect::<Vec<_>>();
        let drawn: Vec<_> = drawn.into_iter().map(|act| (begin_us + self.pause(self.rate(act)), act)).collect();
        fixed.into_iter().chain(drawn).chain([(begin_us + LOOK_EVERY_US, Act::Look)]).collect()
    }

    /// How often a second it happens, of what happens again and again.
    fn rate(&self, act: Act) -> f64 {
        match act {
            Act::Write => self.plan.writes_per_second,
            Act::Reset => self.plan.resets_per_second,
            Act::CutOne => self.plan.random.cuts,
            Act::CrashOne => self.plan.random.crashes,
            Act::Stop => self.plan.random.stops,
            Act::Step => self.plan.random.clock_steps,
            Act::Look | Act::Cut | Act::Heal | Act::Crash => 0.0,
        }
    }

    /// The time until the next of so many a second, none of which knows of the others.
    fn pause(&mut self, rate: f64) -> u64 {
        let uniform: f64 = self.cluster.rng().random();
        us(-(1.0 - uniform).ln() / rate).max(1)
    }

    /// Does it; after how long it is to be done again.
    fn act(&mut self, act: Act) -> Option<u64> {
        match act {
            Act::Look => return Some(LOOK_EVERY_US),
            Act::Write => self.write_one(),
            Act::Reset => self.cluster.break_a_link(),
            Act::CutOne => self.cut_one(),
            Act::CrashOne | Act::Stop => self.stop_one(act == Act::CrashOne),
            Act::Step => self.step_a_clock(),
            Act::Cut => self.cut(),
            Act::Heal => self.cluster.heal(),
            Act::Crash => self.crash(),
        }
        Some(self.rate(act)).filter(|rate| *rate > 0.0).map(|rate| self.pause(rate))
    }

    fn write_one(&mut self) {
        let (nodes, keys, deletes) =
            (self.plan.settings.nodes, self.plan.keys.max(1), self.plan.deletes.clamp(0.0, 1.0));
        let drawn = self.cluster.rng().random_range(0..nodes);
        let who = if self.writers.is_empty() { drawn } else { self.writers[drawn % self.writers.len()] };
        let (key, is_delete) = (self.cluster.rng().random_range(0..keys), self.cluster.rng().random_bool(deletes));
        // Of a node that is down nobody expects anything.
        if is_delete {
            self.cluster.delete(who, key);
            return;
        }
        let expires = self.plan.deadlines > 0.0 && self.cluster.rng().random_bool(self.plan.deadlines.min(1.0));
        self.cluster.put_for(who, key, self.plan.value_bytes, expires.then_some(self.plan.ttl_ms));
    }

    fn cut(&mut self) {
        let Some(partition) = self.plan.partition else { return };
        let nodes = self.plan.settings.nodes;
        let inside = some_of(&mut self.cluster, share_of(partition.share, nodes));
        let outside: Vec<usize> = (0..nodes).filter(|who| !inside.contains(who)).collect();
        self.cluster.cut(&outside, &inside, !partition.one_way);
    }

    fn crash(&mut self) {
        let Some(crash) = self.plan.crash else { return };
        let nodes = self.plan.settings.nodes;
        for who in some_of(&mut self.cluster, share_of(crash.share, nodes)) {
            self.cluster.crash(who);
            if let Some(after_s) = crash.back_after_s {
                self.bring_back(who, after_s);
            }
        }
    }

    fn bring_back(&mut self, who: usize, after_s: f64) {
        self.cluster.restart_after(who, us(after_s));
        self.coming.push(who);
    }

    // --- At random moments

    fn drawn_node(&mut self) -> usize {
        let nodes = self.plan.settings.nodes;
        self.cluster.rng().random_range(0..nodes)
    }

    fn cut_one(&mut self) {
        let (from, to) = (self.drawn_node(), self.drawn_node());
        let (both_ways, share): (bool, f64) = (self.cluster.rng().random(), self.cluster.rng().random());
        if from != to {
            let cut = self.cluster.cut(&[from], &[to], both_ways);
            self.mends.push((self.cluster.now_us() + us(share * self.plan.random.cut_s), cut));
        }
    }

    fn stop_one(&mut self, at_once: bool) {
        let (who, leaves, share) = (self.drawn_node(), self.cluster.rng().random(), self.cluster.rng().random::<f64>());
        if self.cluster.node(who).is_none() {
            return;
        }
        if at_once {
            self.cluster.crash(who);
        } else {
            self.cluster.stop(who, leaves);
        }
        self.bring_back(who, START_S + share * self.plan.random.back_after_s);
    }

    fn step_a_clock(&mut self) {
        let most_ms = i64::try_from(self.plan.random.clock_step_ms).unwrap_or(i64::MAX);
        let (who, skew_ms) = (self.drawn_node(), self.cluster.rng().random_range(-most_ms..=most_ms));
        self.cluster.set_skew(who, skew_ms);
    }

    fn look(&mut self, go_on: &mut impl FnMut(Progress) -> bool) -> bool {
        self.looked_us = self.cluster.now_us();
        if let Err(wrong) = self.cluster.check_sums() {
            self.wrong.get_or_insert(wrong);
        }
        let (agreeing, open) = (self.cluster.agreeing(), self.cluster.spread().open());
        go_on(Progress { now_us: self.cluster.now_us(), agreeing, writes: self.cluster.log.len(), open })
    }
}

fn us(seconds: f64) -> u64 {
    (seconds * SECOND_US) as u64
}

fn share_of(share: f64, nodes: usize) -> usize {
    (share.clamp(0.0, 1.0) * nodes as f64).round() as usize
}

/// So many nodes, drawn, in the order of their numbers.
fn some_of(cluster: &mut Cluster, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..cluster.settings().nodes).collect();
    all.shuffle(cluster.rng());
    all.truncate(count.max(1));
    all.sort_unstable();
    all
}
