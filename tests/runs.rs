//! Random runs of a few replicas: writes, deletes, truncations, whole and cut syncs, pushes on wrong contexts, library
//! deltas, crashes, deadlines by clocks that disagree. After each step the oracle judges every entry that changed.
//!
//! Checks at the end of a run are blind to most defects of a sync: what came back is hidden again by the next one. So
//! few replicas and few keys, much deletion, and a look at each step. A run that fails names its seed.

mod oracle;
mod replicas;

use oracle::{History, Left, Names, REPLICAS_MAX, Shown};
use replicas::{Dice, End, Pull, Replica, START, Step, for_each_seed, id, key, look, name};
use tidings::{CausalContext, Delta, Dot};

/// Everybody has the keys; then deletes, truncations, whole and cut syncs.
#[test]
fn around_the_dangerous_events() {
    for_each_seed(40_000, |dice| Run::hunt(dice).play());
}

/// Longer runs with more writes, and new replicas in the place of lost ones.
#[test]
fn with_more_writes_and_lost_replicas() {
    for_each_seed(25_000, |dice| Run::broad(dice).play());
}

/// All syncs are interleaved, step by step, with each other and with everything else.
#[test]
fn with_all_syncs_interleaved() {
    for_each_seed(30_000, |dice| Run::interleaved(dice).play());
}

/// How often things happen, in per cent; what is left is syncs.
struct Odds {
    write: usize,
    delete: usize,
    truncate: usize,
    crash: usize,
    replace: usize,
    delta: usize,
    resume: usize,
    /// Of syncs:
    push: usize,
    wrong_base: usize,
    whole: usize,
    hold: usize,
    /// Of writes:
    deadline: usize,
}

struct Run<'d> {
    dice: &'d mut Dice,
    odds: Odds,
    steps: usize,
    keys: usize,
    /// How far apart the clocks are.
    skew_ms: u64,
    deadline_within_ms: usize,
    chunk: usize,
    heal: bool,
    vanish: bool,

    replicas: Vec<Replica>,
    alive: Vec<usize>,
    shown: Vec<Shown>,
    history: History,
    held: Vec<(Pull, usize, usize)>,
    bag: Vec<Delta>,
    values: u64,
    lossy: bool,
}

impl<'d> Run<'d> {
    fn hunt(dice: &'d mut Dice) -> Self {
        let [crashes, deltas, wrong, deadlines, heal] = [50, 50, 50, 20, 35].map(|chance| dice.percent(chance));
        let odds = Odds {
            write: 17,
            delete: 70,
            truncate: 15,
            crash: if crashes { 4 } else { 0 },
            replace: 0,
            delta: if deltas { 6 } else { 0 },
            resume: 8,
            push: 15,
            wrong_base: if wrong { 30 } else { 0 },
            whole: 55,
            hold: 40,
            deadline: if deadlines { 60 } else { 0 },
        };
        let steps = if heal { 6 + dice.below(12) } else { 12 + dice.below(28) };
        let (replicas, keys) = (*dice.pick(&[3, 4, 4, 5]), *dice.pick(&[1, 2, 2]));
        let mut run = Self::new(dice, odds, replicas, keys, steps);
        (run.heal, run.vanish) = (heal, heal && run.dice.percent(70));
        for key in 0..keys {
            run.write(0, key, Some(None));
        }
        for to in 1..replicas {
            run.sync_whole(0, to);
        }
        if crashes {
            run.replicas.iter_mut().for_each(Replica::keep_on_disk);
        }
        run
    }

    fn broad(dice: &'d mut Dice) -> Self {
        let [crashes, lost, deltas, wrong, deadlines] = [50, 30, 50, 50, 30].map(|chance| dice.percent(chance));
        let odds = Odds {
            write: 25,
            delete: 50,
            truncate: 12,
            crash: if crashes { 5 } else { 0 },
            replace: if lost { 1 } else { 0 },
            delta: if deltas { 5 } else { 0 },
            resume: 5,
            push: 20,
            wrong_base: if wrong { 70 } else { 0 },
            whole: 60,
            hold: 30,
            deadline: if deadlines { 50 } else { 0 },
        };
        let (replicas, keys, steps) = (*dice.pick(&[3, 4, 5]), *dice.pick(&[1, 2, 2, 3]), *dice.pick(&[22, 44]));
        let mut run = Self::new(dice, odds, replicas, keys, steps);
        (run.heal, run.vanish) = (true, run.dice.percent(30));
        if crashes {
            run.replicas.iter_mut().for_each(Replica::keep_on_disk);
        }
        run
    }

    fn interleaved(dice: &'d mut Dice) -> Self {
        let odds = Odds {
            write: 14,
            delete: 50,
            truncate: 12,
            crash: 0,
            replace: 0,
            delta: if dice.percent(50) { 6 } else { 0 },
            resume: 45,
            push: 20,
            wrong_base: 0,
            whole: 0,
            hold: 100,
            deadline: if dice.percent(20) { 40 } else { 0 },
        };
        let (replicas, keys) = (*dice.pick(&[3, 3, 4]), *dice.pick(&[1, 2, 2]));
        let steps = *dice.pick(&[40, 80]);
        let mut run = Self::new(dice, odds, replicas, keys, steps);
        run.heal = run.dice.percent(50);
        run
    }

    fn new(dice: &'d mut Dice, odds: Odds, replicas: usize, keys: usize, steps: usize) -> Self {
        Self {
            odds,
            steps,
            keys,
            skew_ms: *dice.pick(&[0, 3, 7]),
            deadline_within_ms: *dice.pick(&[8, 15, 40]),
            chunk: *dice.pick(&[1, 1, 1, 2]),
            heal: false,
            vanish: false,
            replicas: (0..replicas).map(Replica::new).collect(),
            alive: (0..replicas).collect(),
            shown: (0..replicas).map(|i| look(&Replica::new(i).map, keys, START)).collect(),
            history: History::default(),
            held: Vec::new(),
            bag: Vec::new(),
            values: 0,
            lossy: false,
            dice,
        }
    }

    fn play(mut self) {
        for step in 0..self.steps {
            for replica in 0..self.replicas.len() {
                let now = START + step as u64 + self.skew_ms * replica as u64;
                self.replicas[replica].now = now;
                self.history.see_clock(now);
            }
            self.one_step();
        }
        if self.heal {
            self.heal();
        }
    }

    fn one_step(&mut self) {
        let Odds { write, truncate, crash, replace, delta, resume, .. } = self.odds;
        let one = *self.dice.pick(&self.alive);
        let mut chance = self.dice.below(100);
        let mut is = |percent: usize| {
            let yes = chance < percent;
            chance = if yes { 100 } else { chance - percent };
            yes
        };
        if is(write) {
            let (key, left) = (self.dice.below(self.keys), self.draw_write(one));
            self.write(one, key, left);
        } else if is(truncate) {
            self.truncate(one);
        } else if is(crash) {
            self.crash_or_flush(one);
        } else if is(replace) {
            self.replace(one);
        } else if is(delta) {
            self.delta(one);
        } else if is(resume) {
            self.resume();
        } else {
            self.sync();
        }
    }

    /// A tombstone (`None`), or a value with a deadline or without.
    fn draw_write(&mut self, one: usize) -> Option<Option<u64>> {
        let value = !self.dice.percent(self.odds.delete);
        value.then(|| {
            let within = self.dice.below(self.deadline_within_ms) as u64;
            self.dice.percent(self.odds.deadline).then_some(self.replicas[one].now + within)
        })
    }

    fn write(&mut self, one: usize, number: usize, left: Option<Option<u64>>) {
        self.look_at(one);
        let before = self.shown[one].clone();
        let replica = &mut self.replicas[one];
        let replaced = replica.map.registers(key(number)).into_iter().map(|(_, r)| r.timestamp).max();
        self.values += 1;
        let value = self.values.to_le_bytes();
        let dot: Option<Dot> = match left {
            None => replica.map.delete(key(number), replica.now),
            Some(None) => Some(replica.map.put(key(number), value, replica.now)),
            Some(Some(deadline)) => Some(replica.map.put_until(key(number), value, deadline, replica.now)),
        };
        self.dice.tell(|| format!("{one} writes {left:?} to {number}: {dot:?}"));
        assert_eq!(
            dot.is_none(),
            left.is_none() && before.keys[number].read.is_none(),
            "who deletes nothing writes nothing"
        );
        if let Some(dot) = dot {
            let left = Left { value: left.map(|_| self.values), deadline: left.flatten() };
            self.history.record(name(dot), number, left, &before);
            let written = self.replicas[one].map.registers(key(number));
            assert!(written.len() == 1 && Some(written[0].1.timestamp) > replaced, "later than all that it replaces");
        }
        self.judge(one);
    }

    fn truncate(&mut self, one: usize) {
        let dropped = match self.dice.below(3) {
            0 => self.replicas[one].truncate_to(1),
            _ => self.replicas[one].truncate(),
        };
        self.dice.tell(|| format!("{one} truncates {dropped}"));
        self.judge(one);
    }

    fn crash_or_flush(&mut self, one: usize) {
        if self.dice.percent(40) {
            self.replicas[one].flush();
            self.dice.tell(|| format!("{one} flushes"));
            return;
        }
        let before = self.replicas[one].map.context().get(id(one));
        self.replicas[one].crash();
        let after = self.replicas[one].map.context().get(id(one));
        self.dice.tell(|| format!("{one} crashes, and loses {:?}", after + 1..=before));
        for counter in after + 1..=before {
            let known = self.alive.iter().find(|&&other| self.replicas[other].map.context().get(id(one)) >= counter);
            assert_eq!(known, None, "a dot that was not durable is known elsewhere");
            self.history.forget((one, counter));
        }
        self.judge(one);
    }

    /// A replica is lost with its disk, and an empty one with a new name takes its place.
    fn replace(&mut self, one: usize) {
        let new = self.replicas.len();
        if new == REPLICAS_MAX {
            return;
        }
        self.dice.tell(|| format!("{one} is lost, {new} takes its place"));
        self.lossy = true;
        self.held.retain(|(_, from, to)| ![*from, *to].contains(&one));
        let mut replica = Replica::new(new);
        replica.now = self.replicas[one].now;
        self.shown.push(look(&replica.map, self.keys, replica.now));
        self.replicas.push(replica);
        self.alive.retain(|&other| other != one);
        self.alive.push(new);
    }

    fn delta(&mut self, one: usize) {
        if self.bag.is_empty() || self.dice.percent(50) {
            let base = self.draw_past();
            self.dice.tell(|| format!("{one} makes a delta {} since {base:?}", self.bag.len()));
            self.bag.push(self.replicas[one].delta_since(&base));
        } else {
            let chosen = self.dice.below(self.bag.len());
            let merged = self.replicas[one].merge(self.bag[chosen].clone());
            self.dice.tell(|| format!("{one} merges delta {chosen}: {merged:?}"));
            self.judge(one);
        }
    }

    /// A context that somebody has had.
    fn draw_past(&mut self) -> CausalContext {
        let past = &self.replicas[*self.dice.pick(&self.alive)].past;
        if past.is_empty() { CausalContext::new() } else { self.dice.pick(past).clone() }
    }

    fn sync(&mut self) {
        let (from, to) = self.dice.two_below(self.alive.len());
        let (from, to) = (self.alive[from], self.alive[to]);
        let mut pull = self.start(from, to);
        pull.chunk = self.chunk;
        pull.shuffle(self.dice);
        if self.dice.percent(self.odds.whole) {
            self.finish(pull, from, to);
            return;
        }
        let entries = self.dice.below(3);
        for _ in 0..=entries {
            if self.step(&mut pull, from, to) != Step::More {
                return;
            }
        }
        if self.dice.percent(self.odds.hold) {
            self.dice.tell(|| "  held".into());
            self.held.push((pull, from, to));
        } else {
            self.dice.tell(|| "  cut".into());
            pull.close(&mut self.replicas[to]);
        }
    }

    fn start(&mut self, from: usize, to: usize) -> Pull {
        let believed = self.dice.percent(self.odds.wrong_base).then(|| {
            let past = &self.replicas[from].past;
            let old = !past.is_empty() && self.dice.percent(50);
            if old { self.dice.pick(past).clone() } else { self.replicas[from].map.context().clone() }
        });
        let pushes = believed.is_some() || self.dice.percent(self.odds.push);
        let known = || self.replicas[to].map.context().clone();
        let base = pushes.then(|| {
            believed.unwrap_or_else(|| {
                let past = &self.replicas[to].past;
                if past.is_empty() { known() } else { self.dice.pick(past).clone() }
            })
        });
        let [sender, receiver] = self.replicas.get_disjoint_mut([from, to]).expect("two different replicas");
        let pull = match &base {
            Some(base) => Pull::push(sender, receiver, base.clone()),
            None => Pull::start(sender, receiver),
        };
        self.dice.tell(|| {
            let (catch_up, keys) = (pull.is_catch_up(), pull.len());
            format!("sync {from} → {to}, pushed on {base:?}, catch-up {catch_up}, keys {keys}")
        });
        pull
    }

    fn step(&mut self, pull: &mut Pull, from: usize, to: usize) -> Step {
        let [sender, receiver] = self.replicas.get_disjoint_mut([from, to]).expect("two different replicas");
        let step = pull.step(sender, receiver);
        self.dice.tell(|| format!("  {from} → {to}: {step:?}"));
        self.judge(to);
        step
    }

    fn finish(&mut self, mut pull: Pull, from: usize, to: usize) -> End {
        loop {
            if let Step::End(end) = self.step(&mut pull, from, to) {
                return end;
            }
        }
    }

    fn resume(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let chosen = self.dice.below(self.held.len());
        let (mut pull, from, to) = self.held.swap_remove(chosen);
        if self.odds.hold < 100 {
            self.finish(pull, from, to);
            return;
        }
        if self.dice.percent(10) {
            pull.first(key(self.dice.below(self.keys)));
        }
        match self.dice.below(20) {
            0 => pull.close(&mut self.replicas[to]),
            _ if self.step(&mut pull, from, to) == Step::More => self.held.push((pull, from, to)),
            _ => {}
        }
    }

    fn sync_whole(&mut self, from: usize, to: usize) -> End {
        let [sender, receiver] = self.replicas.get_disjoint_mut([from, to]).expect("two different replicas");
        let pull = Pull::start(sender, receiver);
        self.dice.tell(|| format!("sync {from} → {to}"));
        self.finish(pull, from, to)
    }

    fn look_at(&mut self, one: usize) {
        let Replica { map, now, .. } = &self.replicas[one];
        self.shown[one] = look(map, self.keys, *now);
    }

    /// The oracle looks at the replica that has changed, and at each beside it.
    fn judge(&mut self, one: usize) {
        self.look_at(one);
        let shown = &self.shown[one];
        let mut judged = self.history.check(shown);
        for &other in self.alive.iter().filter(|&&other| other != one) {
            judged = judged.and_then(|()| self.history.check_pair(shown, &self.shown[other]));
        }
        judged.unwrap_or_else(|fault| panic!("replica {one}: {fault}"));
    }

    /// Faults are over: a few rounds of syncs between all, and all must show the same and have nothing more to say.
    fn heal(&mut self) {
        while let Some((pull, from, to)) = self.held.pop() {
            if self.dice.percent(50) {
                self.finish(pull, from, to);
            }
        }
        if self.vanish && self.alive.len() > 2 {
            let gone = self.alive.swap_remove(self.dice.below(self.alive.len()));
            self.dice.tell(|| format!("{gone} vanishes"));
            self.lossy = true;
        }
        self.replicas.iter_mut().for_each(Replica::drop_links);
        for _ in 0..3 {
            for from in self.alive.clone() {
                for to in self.alive.clone() {
                    if from != to {
                        self.sync_whole(from, to);
                    }
                }
            }
        }
        self.assert_converged();
    }

    fn assert_converged(&self) {
        let first = self.alive[0];
        for &one in &self.alive {
            assert_eq!(self.shown[one].context, self.shown[first].context, "contexts of {one} and {first}");
            assert_eq!(self.shown[one].audit, self.shown[first].audit, "{one} and {first} would go on syncing");
            for (key, shown) in self.shown[one].keys.iter().enumerate() {
                let (mine, theirs) = (&shown.context, &self.shown[first].keys[key].context);
                assert_eq!(self.visible(one, key), self.visible(first, key), "key {key} at {one} and {first}");
                assert!(self.lossy || mine == theirs, "key {key} at {one} and {first}");
            }
            if !self.lossy {
                assert_eq!(self.shown[one].context, self.history.all(), "replica {one} has all");
                assert_eq!(self.shown[one].pending_keys, 0, "nothing is pending at {one}");
            }
        }
    }

    /// What a key shows when the last clock has caught up.
    fn visible(&self, one: usize, number: usize) -> Vec<(oracle::Name, Vec<u8>)> {
        let now = START + self.steps as u64 + self.skew_ms * REPLICAS_MAX as u64;
        let registers = self.replicas[one].map.registers(key(number)).into_iter();
        registers
            .filter(|(_, r)| !r.is_dead(now))
            .map(|(dot, r)| (name(dot), r.value.unwrap_or_default().to_vec()))
            .collect()
    }
}

#[test]
fn the_oracle_sees_what_is_wrong() {
    let left = |value| Left { value: Some(value), deadline: None };
    let entry = |context, live| oracle::ShownKey { context, live, ..Default::default() };
    let shown = |context, live| Shown { context, keys: vec![entry(context, live)], ..Default::default() };
    let names = |a, b| {
        let mut names = Names::default();
        names.0[..2].copy_from_slice(&[a, b]);
        names
    };
    let mut history = History::default();
    history.record((0, 1), 0, left(1), &shown(names(0, 0), vec![]));
    history.record((1, 1), 0, left(2), &shown(names(1, 0), vec![((0, 1), left(1))]));
    let says = |context, live| history.check(&shown(context, live)).err().unwrap_or_default();
    assert!(says(names(1, 1), vec![((0, 1), left(1)), ((1, 1), left(2))]).contains("come back"));
    assert!(says(names(1, 0), vec![]).contains("lost"));
    assert!(says(names(1, 1), vec![((1, 1), left(1))]).contains("never written so"));
    assert!(says(names(1, 1), vec![((1, 1), left(2))]).contains("reads None"));
    assert!(says(names(0, 1), vec![((1, 1), left(2))]).contains("reads None"));
}
