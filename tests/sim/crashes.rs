//! Random runs of nodes whose state is kept: power cuts, disks that fail, backups, in between all that `runs` does. Not
//! responsible for what must hold: `world` and `kept` look at every step.

use crate::dice::{Dice, for_each_seed};
use crate::disk::{Fault, Tear};
use crate::kept::Backup;
use crate::oracle::REPLICAS_MAX;
use crate::runs::Run;

/// Three or four nodes around the dangerous events, most of them with a disk.
pub(crate) struct Crashes<'d> {
    pub(crate) run: Run<'d>,
    backups: Vec<Backup>,
    /// What can happen in this run, beside crashes.
    failing: bool,
    losing: bool,
    seen: Seen,
}

/// How often the dangerous events met: a run that never sees them shows nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    crashes: usize,
    with_pending: usize,
    failures: usize,
    failures_with_pending: usize,
    mends: usize,
    restored: usize,
    catch_ups: usize,
    reads: usize,
    reads_that_wait: usize,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.with_pending += other.with_pending;
        self.failures += other.failures;
        self.failures_with_pending += other.failures_with_pending;
        self.mends += other.mends;
        self.restored += other.restored;
        self.catch_ups += other.catch_ups;
        self.reads += other.reads;
        self.reads_that_wait += other.reads_that_wait;
    }
}

impl<'d> Crashes<'d> {
    fn new(dice: &'d mut Dice) -> Self {
        Self::with(dice, |_| {})
    }

    /// Nodes whose settings are changed by `prepare`.
    pub(crate) fn with(dice: &'d mut Dice, prepare: impl FnOnce(&mut Run<'_>)) -> Self {
        let nodes = *dice.pick(&[2, 3, 3, 4]);
        let (failing, losing) = (dice.percent(50), dice.percent(40));
        let mut run = Run::empty(dice);
        prepare(&mut run);
        for _ in 0..nodes {
            if run.dice.percent(85) {
                run.add(|world, now, config| world.add_kept(now, config));
            } else {
                run.add(|world, now, config| world.add(now, config));
            }
        }
        Self { run, backups: Vec::new(), failing, losing, seen: Seen::default() }
    }

    pub(crate) fn warm_up(&mut self) {
        self.run.warm_up();
        for who in self.kept() {
            let prompt = self.run.dice.percent(20);
            self.run.dense.world.set_prompt(who, prompt);
        }
    }

    fn kept(&self) -> Vec<usize> {
        let world = &self.run.dense.world;
        world.alive().into_iter().filter(|&who| world.is_kept(who)).collect()
    }

    pub(crate) fn step(&mut self) {
        let kept = self.kept();
        if kept.is_empty() {
            return self.run.step();
        }
        // Half a sync that is on the disk, or should be: there it is that things go wrong.
        let pending: Vec<usize> = kept.iter().copied().filter(|&who| self.has_pending(who)).collect();
        if !pending.is_empty() && self.run.dice.percent(30) {
            let who = *self.run.dice.pick(&pending);
            return match self.run.dice.below(100) {
                0..40 => self.crash(who),
                40..60 if self.failing => self.fail(who),
                _ => self.go_on(who),
            };
        }
        let who = *self.run.dice.pick(&kept);
        match self.run.dice.below(100) {
            0..35 => self.run.step(),
            35..41 => self.read(who),
            41..45 => self.stand_in(who),
            45..75 => self.go_on(who),
            75..83 => self.crash(who),
            83..85 => self.close(who),
            85..95 if self.failing => self.fail(who),
            95..97 if self.losing => self.back_up(who),
            97..100 if self.losing => self.lose(),
            _ => self.run.step(),
        }
    }

    fn is_writable(&self, who: usize) -> bool {
        self.run.dense.world.members[who].node.is_writable()
    }

    fn has_pending(&self, who: usize) -> bool {
        self.run.dense.world.map(who).pending() > 0
    }

    /// A client reads whatever key.
    fn read(&mut self, who: usize) {
        let key = self.run.dice.below(self.run.dense.world.usr_keys());
        let (read, waits) = (&mut self.seen.reads, &mut self.seen.reads_that_wait);
        *if self.run.dense.world.read(who, key) { read } else { waits } += 1;
    }

    /// A client's session has seen too much to be told.
    fn stand_in(&mut self, who: usize) {
        self.run.dice.tell(|| format!("a dot of node {who} stands for what it has"));
        self.run.dense.stand_in(who);
    }

    /// Its commit gets some steps further.
    fn go_on(&mut self, who: usize) {
        self.run.dice.tell(|| format!("the commit of node {who} goes on"));
        for _ in 0..1 + self.run.dice.below(4) {
            let (writable, pending) = (self.is_writable(who), self.has_pending(who));
            self.run.dense.go_on_with_commit(who);
            if writable && !self.is_writable(who) {
                self.seen.failures += 1;
                self.seen.failures_with_pending += usize::from(pending || self.has_pending(who));
                self.run.dice.tell(|| format!("and has failed: node {who} is read-only"));
                return;
            }
        }
    }

    fn crash(&mut self, who: usize) {
        self.run.dice.tell(|| format!("node {who} crashes"));
        self.seen.crashes += 1;
        self.seen.with_pending += usize::from(self.has_pending(who));
        self.run.dense.crash(who, self.run.dice);
    }

    /// It is stopped in good order, or killed on the way there, and started again.
    fn close(&mut self, who: usize) {
        self.run.dice.tell(|| format!("node {who} is closing"));
        self.run.dense.world.set_prompt(who, false);
        self.run.dense.world.members[who].node.begin_closing();
        for _ in 0..self.run.dice.below(10) {
            self.run.dense.go_on_with_commit(who);
        }
        self.crash(who);
    }

    /// Its disk fails, or is well again; a node that is read-only tries it.
    fn fail(&mut self, who: usize) {
        let faults = [Fault::Full, Fault::Sync { stays: false }, Fault::Sync { stays: true }];
        let well = !self.is_writable(who) && self.run.dice.percent(60);
        let fault = if well { Fault::None } else { *self.run.dice.pick(&faults) };
        self.run.dice.tell(|| format!("the disk of node {who} has the fault {fault:?}"));
        self.run.dense.world.disk(who).fault = fault;
        if !self.is_writable(who) && !self.run.dense.world.is_committing(who) {
            self.run.dense.mend_disk(who);
            self.seen.mends += 1;
        }
    }

    fn back_up(&mut self, who: usize) {
        self.run.dice.tell(|| format!("node {who} is backed up"));
        self.backups.push(self.run.dense.world.back_up(who));
    }

    /// A node is gone; in its place comes one with an old backup, or with nothing. Or the old one goes on all the same.
    fn lose(&mut self) {
        let alive = self.run.dense.world.alive();
        if self.run.dense.world.members.len() == REPLICAS_MAX {
            return;
        }
        let who = *self.run.dice.pick(&alive);
        if self.run.dice.percent(75) {
            self.run.dice.tell(|| format!("node {who} is gone"));
            self.run.dense.lose(who);
            self.run.sources_may_be_gone = true;
        }
        let new = if !self.backups.is_empty() && self.run.dice.percent(70) {
            let backup = self.run.dice.pick(&self.backups).clone();
            self.seen.restored += 1;
            self.run.add(|world, now, config| world.restore(&backup, now, config))
        } else if self.run.dice.percent(50) {
            self.run.add(|world, now, config| world.add_kept(now, config))
        } else {
            self.run.add(|world, now, config| world.add(now, config))
        };
        self.run.dice.tell(|| format!("node {new} comes"));
        if self.run.dense.world.is_kept(new) {
            self.run.dense.world.set_prompt(new, false);
        }
    }

    /// All disks are well, and all come to agree.
    pub(crate) fn heal(&mut self) {
        for who in self.kept() {
            self.run.dense.world.disk(who).fault = Fault::None;
            self.run.dense.world.set_prompt(who, true);
            self.run.dense.finish_commits(who);
            if !self.run.dense.world.members[who].node.is_writable() {
                self.run.dense.mend_disk(who);
            }
        }
        self.run.mend();
    }

    /// And what is on the disks is all that they need.
    fn mend(&mut self) {
        self.heal();
        for who in self.kept() {
            if !self.has_pending(who) {
                let needed = self.run.dense.world.look(who).keys.iter().filter(|key| !key.live.is_empty()).count();
                let kept = self.run.dense.world.disk(who).contexts_and_entries();
                assert_eq!(kept, (0, needed), "node {who} keeps what it does not need");
            }
            self.crash(who);
        }
    }
}

fn run(dice: &mut Dice, tear: Option<Tear>) -> Seen {
    let mut crashes = Crashes::new(dice);
    crashes.warm_up();
    for who in crashes.kept() {
        crashes.run.dense.world.disk(who).tear = tear;
    }
    for _ in 0..15 + crashes.run.dice.below(35) {
        crashes.step();
    }
    if tear.is_none() && crashes.run.dice.percent(25) {
        crashes.mend();
    }
    Seen { catch_ups: crashes.run.dense.catch_ups, ..crashes.seen }
}

/// Nobody knew what a crash has taken, and nobody takes what it has left for more than it is.
#[test]
fn crashes_at_every_point() {
    let mut all = Seen::default();
    for_each_seed(15_000, |dice| all.add(run(dice, None)));
    eprintln!("{all:?}");
}

/// An engine that tears commits apart is found out. So these runs would also find a node that tears them itself.
#[test]
#[should_panic(expected = "node ")]
fn entries_without_the_context_they_belong_to() {
    for_each_seed(1_000, |dice| _ = run(dice, Some(Tear::NoReplicas)));
}

#[test]
#[should_panic(expected = "node ")]
fn a_context_without_the_entries_it_belongs_to() {
    for_each_seed(1_000, |dice| _ = run(dice, Some(Tear::OnlyReplicas)));
}

#[test]
#[should_panic(expected = "node ")]
fn entries_without_their_pending_contexts() {
    for_each_seed(1_000, |dice| _ = run(dice, Some(Tear::NoContexts)));
}
