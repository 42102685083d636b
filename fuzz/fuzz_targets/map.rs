//! Three replicas to which anything may happen: writes with and without deadlines, deletes, truncations, deltas since any
//! context that was ever had, delivered late, twice, in any order or never, syncs that break off. After each step the
//! oracle of `tests/oracle`, which has never seen the map, says what each key must show: nothing lost, nothing back, equal
//! contexts equal states, equal sums equal states. At the end all sync, and are equal.

#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;
#[path = "../../tests/replicas/mod.rs"]
mod replicas;

use oracle::{History, Left, Shown};
use replicas::{End, Pull, Replica, START, Step, key, look, name};
use tidings::{CausalContext, Delta};
use tidings_fuzz::Draw;

const REPLICAS: usize = 3;
const KEYS: usize = 2;
/// Longer stories add little.
const STEPS_MAX: usize = 60;

tidings_fuzz::target!(seeds, run);

fn run(input: &[u8]) {
    let mut draw = Draw::new(input);
    let mut world = World::new(u64::from(draw.byte() % 8));
    for _ in 0..STEPS_MAX {
        if draw.is_over() {
            break;
        }
        world.step(&mut draw);
    }
    world.converge();
}

struct World {
    replicas: Vec<Replica>,
    shown: Vec<Shown>,
    history: History,
    /// On their way, or lost, or come already: nobody knows.
    deltas: Vec<Delta>,
    /// Contexts that somebody has had.
    contexts: Vec<CausalContext>,
    syncs: Vec<(Pull, usize, usize)>,
    writes: u64,
    skew_ms: u64,
}

impl World {
    fn new(skew_ms: u64) -> Self {
        let replicas: Vec<Replica> = (0..REPLICAS).map(Replica::new).collect();
        let shown = replicas.iter().map(|replica| look(&replica.map, KEYS, START)).collect();
        let contexts = vec![CausalContext::new()];
        let (deltas, syncs) = (Vec::new(), Vec::new());
        let mut world =
            Self { replicas, shown, history: History::default(), deltas, contexts, syncs, writes: 0, skew_ms };
        world.pass(0);
        world
    }

    /// Time passes; the clocks of the replicas are apart.
    fn pass(&mut self, ms: u64) {
        let first = self.replicas[0].now;
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            replica.now = first + ms + self.skew_ms * number as u64;
            self.history.see_clock(replica.now);
        }
    }

    fn step(&mut self, draw: &mut Draw<'_>) {
        let (what, who, number) = (draw.below(16), draw.below(REPLICAS), draw.below(KEYS));
        self.pass(1);
        match what {
            0 | 1 => self.write(who, number, Some(None)),
            2 => {
                let deadline = self.replicas[who].now + u64::from(draw.byte() % 32);
                self.write(who, number, Some(Some(deadline)));
            }
            3..=5 => self.write(who, number, None),
            6 => self.truncate(who, draw.below(3)),
            7 | 8 => {
                let base = draw.pick(&self.contexts).clone();
                self.deltas.push(self.replicas[who].delta_since(&base));
            }
            9 | 10 if !self.deltas.is_empty() => {
                let delta = draw.pick(&self.deltas).clone();
                self.merge(who, delta);
            }
            11 | 12 => self.start(who, (who + 1 + number) % REPLICAS, draw),
            13 | 14 if !self.syncs.is_empty() => self.go_on(draw),
            15 => self.pass(u64::from(draw.byte())),
            _ => self.sync(who, (who + 1 + number) % REPLICAS),
        }
    }

    /// A tombstone (`None`), or a value with a deadline or without.
    fn write(&mut self, who: usize, number: usize, left: Option<Option<u64>>) {
        self.look_at(who);
        let before = self.shown[who].clone();
        let replica = &mut self.replicas[who];
        self.writes += 1;
        let value = self.writes.to_le_bytes();
        let dot = match left {
            None => replica.map.delete(key(number), replica.now),
            Some(None) => Some(replica.map.put(key(number), value, replica.now)),
            Some(Some(deadline)) => Some(replica.map.put_until(key(number), value, deadline, replica.now)),
        };
        let deletes_nothing = left.is_none() && before.keys[number].read.is_none();
        assert_eq!(dot.is_none(), deletes_nothing, "who deletes nothing writes nothing, and nobody else");
        if let Some(dot) = dot {
            let left = Left { value: left.map(|_| self.writes), deadline: left.flatten() };
            self.history.record(name(dot), number, left, &before);
        }
        self.judge(who);
    }

    fn truncate(&mut self, who: usize, keeps: usize) {
        match keeps {
            0 => self.replicas[who].truncate(),
            count => self.replicas[who].truncate_to(count),
        };
        self.judge(who);
    }

    fn merge(&mut self, who: usize, delta: Delta) {
        // As others get it.
        let delta = Delta::decode(&delta.encode()).expect("what a map says decodes");
        let _ = self.replicas[who].merge(delta.clone());
        self.judge(who);
        let audit = self.replicas[who].map.audit();
        let again = self.replicas[who].merge(delta);
        assert!(again.changes.is_empty(), "the same once more changes {:?}", again.changes);
        assert_eq!(self.replicas[who].map.audit(), audit, "the same once more");
    }

    fn start(&mut self, from: usize, to: usize, draw: &mut Draw<'_>) {
        let base = draw.byte();
        let [sender, receiver] = self.replicas.get_disjoint_mut([from, to]).expect("two different replicas");
        // Pulled for the most part; pushed on a context that the receiver is believed to have, rightly or not.
        let pull = match base % 4 {
            3 => Pull::push(sender, receiver, self.contexts[usize::from(base / 4) % self.contexts.len()].clone()),
            _ => Pull::start(sender, receiver),
        };
        self.syncs.push((pull, from, to));
    }

    /// One step of a sync, or its end by a broken link.
    fn go_on(&mut self, draw: &mut Draw<'_>) {
        let chosen = draw.below(self.syncs.len());
        let (mut pull, from, to) = self.syncs.swap_remove(chosen);
        match draw.below(8) {
            0 => pull.close(&mut self.replicas[to]),
            _ if self.advance(&mut pull, from, to) == Step::More => self.syncs.push((pull, from, to)),
            _ => {}
        }
    }

    fn advance(&mut self, pull: &mut Pull, from: usize, to: usize) -> Step {
        let [sender, receiver] = self.replicas.get_disjoint_mut([from, to]).expect("two different replicas");
        let step = pull.step(sender, receiver);
        self.judge(to);
        step
    }

    fn sync(&mut self, from: usize, to: usize) {
        let [sender, receiver] = self.replicas.get_disjoint_mut([from, to]).expect("two different replicas");
        let mut pull = Pull::start(sender, receiver);
        loop {
            if let Step::End(end) = self.advance(&mut pull, from, to) {
                return assert_eq!(end, End::Done, "nothing has broken it");
            }
        }
    }

    fn look_at(&mut self, who: usize) {
        let Replica { map, now, .. } = &self.replicas[who];
        self.shown[who] = look(map, KEYS, *now);
    }

    /// The oracle looks at the replica that has changed, and at each beside it.
    fn judge(&mut self, who: usize) {
        self.look_at(who);
        let context = self.replicas[who].map.context();
        if self.contexts.last() != Some(context) {
            self.contexts.push(context.clone());
        }
        let shown = &self.shown[who];
        let mut judged = self.history.check(shown);
        for other in (0..REPLICAS).filter(|other| *other != who) {
            judged = judged.and_then(|()| self.history.check_pair(shown, &self.shown[other]));
        }
        judged.unwrap_or_else(|fault| panic!("replica {who}: {fault}"));
    }

    /// What is under way breaks off; then all sync, and have all, show the same, and have nothing more to say.
    fn converge(&mut self) {
        self.syncs.clear();
        self.replicas.iter_mut().for_each(Replica::drop_links);
        for _ in 0..3 {
            for from in 0..REPLICAS {
                for other in 1..REPLICAS {
                    self.sync(from, (from + other) % REPLICAS);
                }
            }
        }
        let all = self.history.all();
        for shown in &self.shown {
            assert_eq!((shown.context, shown.pending_keys), (all, 0), "each has all");
            assert_eq!(shown.audit, self.shown[0].audit, "equal contexts, equal states");
        }
    }
}

/// Stories of each thing that can happen, in two orders.
fn seeds() -> Vec<Vec<u8>> {
    let written = [0, 0, 0, 12, 0, 0, 0, 13, 0, 1, 13, 0, 1, 1, 1, 0, 3, 2, 0, 3, 0, 1];
    let deltas = [0, 0, 0, 7, 0, 0, 0, 9, 1, 0, 0, 3, 1, 0, 6, 1, 0, 0, 7, 1, 0, 1, 9, 2, 0, 1, 9, 0, 0, 1];
    let cut = [0, 0, 0, 0, 0, 1, 11, 0, 0, 0, 13, 1, 0, 0, 1, 13, 1, 0, 0, 1, 13, 1, 0, 0, 0, 16, 1, 0];
    let late = [2, 0, 0, 9, 15, 0, 0, 40, 6, 0, 0, 0, 15, 1, 0, 9, 11, 0, 0, 0, 13, 0, 0, 0, 1];
    let stories = [&written[..], &deltas[..], &cut[..], &late[..]];
    let backwards = stories.iter().map(|story| story.iter().rev().copied().collect());
    stories.iter().map(|story| [&[3], *story].concat()).chain(backwards).collect()
}
