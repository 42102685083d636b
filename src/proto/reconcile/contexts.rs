//! What a pull says of the receiver's context and bound, and its `Begin` of the sender's: only what differs is named, so
//! that it does not grow with the replicas that did not change. Not responsible for when either is said.
//!
//! A clock (a replica and its counter) is told by its element, as a dot is (`crdt::elements`). The receiver tells those of
//! its two contexts, all of them if they are few, else coded as one set. Whoever knows the replica of an element can name
//! it again; of a replica that the sender has never met it cannot, and then need not: it has nothing of it.

use super::SYMBOL_BYTES;
use super::decoder::{Difference, Item, Side, decode};
use super::estimate::{estimate, symbols_for};
use crate::crdt::{AuditKey, CausalContext, Dot, OrMap, ReplicaId, Symbol, symbols_between};
use crate::proto::message::{Begin, Beginning, Changes, Message, Symbols, Told};

/// With so many clocks at most, all are told.
pub(crate) const LISTED_MAX: usize = 20;
/// So many symbols are sent at first.
const FIRST: u64 = 16;
/// More than this are not asked for.
const SYMBOLS_MAX: u64 = 1 << 14;
/// A receiver that has so many writes more of a replica than the sender counts as one with a replica that the sender has
/// not met. Without a limit another replica's element could be taken for one of these.
const AHEAD_MAX: u64 = 1 << 28;

/// The two contexts: `R` and `T`.
const KINDS: [usize; 2] = [0, 1];

/// The clocks of one context, in the order of their elements.
type Clocks<D> = Vec<(u64, D)>;

/// The receiver's side: what it told.
#[derive(Debug)]
pub(crate) struct Telling {
    contexts: [CausalContext; 2],
    clocks: [Clocks<Dot>; 2],
}

/// The sender's side, while it finds out what was told.
#[derive(Debug)]
pub(crate) struct Differ {
    symbols: Vec<Symbol>,
    check: u64,
    asked: u64,
}

/// What finding out has come to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is not kept")]
pub(crate) enum Differed {
    /// This was told.
    Base(Box<Base>),
    /// Say this, to be told more.
    Ask(Message),
}

/// What was told: what the receiver has, as far as it concerns the sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Base {
    /// Its context, without replicas that are not known here.
    pub(crate) context: CausalContext,
    /// All its clocks, `None` where the replica is not known here.
    clocks: [Clocks<Option<Dot>>; 2],
}

fn hash_of(key: AuditKey, kind: usize, element: u64) -> u64 {
    if kind == 0 { key.of_clock(element) } else { key.of_bound_clock(element) }
}

fn clocks_of(key: AuditKey, context: &CausalContext) -> Clocks<Dot> {
    let mut clocks: Vec<_> = context.iter().map(|dot| (key.element(dot), dot)).collect();
    clocks.sort_unstable_by_key(|clock| clock.0);
    clocks
}

fn items<D>(key: AuditKey, clocks: &[Clocks<D>; 2]) -> impl Iterator<Item = (u64, u64)> {
    KINDS
        .into_iter()
        .flat_map(move |kind| clocks[kind].iter().map(move |&(element, _)| (element, hash_of(key, kind, element))))
}

impl Telling {
    /// What to tell of the map's contexts; all clocks if each has at most `listed_max`.
    pub(crate) fn new(map: &OrMap, listed_max: usize) -> (Self, Told) {
        Self::of(map.elements().key(), [map.context().clone(), map.truncated().clone()], listed_max)
    }

    /// The same of any two contexts.
    pub(super) fn of(key: AuditKey, contexts: [CausalContext; 2], listed_max: usize) -> (Self, Told) {
        let clocks = contexts.each_ref().map(|context| clocks_of(key, context));
        let telling = Self { contexts, clocks };
        let told = if telling.clocks.iter().any(|clocks| clocks.windows(2).any(|pair| pair[0].0 == pair[1].0)) {
            telling.whole()
        } else if telling.clocks.iter().all(|clocks| clocks.len() <= listed_max) {
            let [context, bound] = telling.clocks.each_ref().map(|clocks| clocks.iter().map(|c| c.0).collect());
            Told::Clocks { context, bound }
        } else {
            let check = items(key, &telling.clocks).map(|item| item.1).fold(0, u64::wrapping_add);
            Told::Coded { check, symbols: telling.symbols(key, 0, FIRST) }
        };
        (telling, told)
    }

    fn whole(&self) -> Told {
        let [context, bound] = self.contexts.clone();
        Told::Whole { context, bound }
    }

    fn symbols(&self, key: AuditKey, first: u64, end: u64) -> Symbols {
        let total = self.clocks.iter().map(Vec::len).sum::<usize>() as u64;
        Symbols { total, symbols: symbols_between(items(key, &self.clocks), first, end) }
    }

    /// The sender needs so many symbols in all, of which it has `sent`; none, if it wants the contexts themselves.
    pub(crate) fn on_more(&self, map: &OrMap, sent: u64, wanted: u64) -> Message {
        if wanted > sent && wanted <= SYMBOLS_MAX {
            Message::Symbols(self.symbols(map.elements().key(), sent, wanted))
        } else {
            let [context, bound] = self.contexts.clone();
            Message::Contexts { context, bound }
        }
    }

    /// The sender's contexts, from what it says of them. An error if that cannot be.
    pub(crate) fn resolve(&self, said: &Beginning) -> Result<Begin, &'static str> {
        let snapshot = changed(&self.clocks[0], &said.snapshot)?;
        let mut bound = changed(&self.clocks[1], &said.bound)?;
        let replicas: Vec<Dot> = snapshot.iter().collect();
        for &(place, counter) in &said.bound_in_snapshot {
            let of = replicas.get(place as usize).ok_or("a bound of a replica that the snapshot has not")?;
            insert_new(&mut bound, of.replica, counter)?;
        }
        Ok(Begin { snapshot, bound, catch_up: said.catch_up })
    }
}

fn changed(clocks: &Clocks<Dot>, changes: &Changes) -> Result<CausalContext, &'static str> {
    let mut dots: Vec<Dot> = clocks.iter().map(|clock| clock.1).collect();
    for &(place, change) in &changes.clocks {
        let dot = dots.get_mut(place as usize).ok_or("a change of a clock that was not told")?;
        dot.counter = if change == 0 { 0 } else { dot.counter.checked_add_signed(change).unwrap_or_default() };
        if change != 0 && !(1..1 << 56).contains(&dot.counter) {
            return Err("a change of a clock beyond what clocks can be");
        }
    }
    let mut context: CausalContext = dots.into_iter().map(|dot| (dot.replica, dot.counter)).collect();
    changes.new.iter().try_for_each(|&(replica, counter)| insert_new(&mut context, replica, counter))?;
    Ok(context)
}

fn insert_new(context: &mut CausalContext, replica: ReplicaId, counter: u64) -> Result<(), &'static str> {
    if context.get(replica) != 0 {
        return Err("a clock that is told twice");
    }
    context.extend_to(Dot::new(replica, counter));
    Ok(())
}

impl Differ {
    /// From what a pull says.
    pub(crate) fn start(map: &OrMap, told: &Told) -> (Self, Differed) {
        let mut differ = Self { symbols: Vec::new(), check: 0, asked: FIRST };
        let differed = match told {
            Told::Clocks { context, bound } => Differed::Base(Base::resolve(map, [context.clone(), bound.clone()])),
            Told::Whole { context, bound } => Differed::Base(Base::whole(map, [context, bound])),
            Told::Coded { check, symbols } => {
                differ.check = *check;
                differ.attempt(map, symbols)
            }
        };
        (differ, differed)
    }

    /// From the contexts themselves.
    pub(crate) fn whole(map: &OrMap, context: &CausalContext, bound: &CausalContext) -> Box<Base> {
        Base::whole(map, [context, bound])
    }

    /// From what came when more was asked for.
    pub(crate) fn on_more(&mut self, map: &OrMap, symbols: &Symbols) -> Result<Differed, &'static str> {
        let count = self.symbols.len() + symbols.symbols.len();
        if symbols.symbols.is_empty() || count as u64 > self.asked {
            return Err("more symbols of contexts than were asked for");
        }
        Ok(self.attempt(map, symbols))
    }

    fn attempt(&mut self, map: &OrMap, more: &Symbols) -> Differed {
        self.symbols.extend_from_slice(&more.symbols);
        let key = map.elements().key();
        let own = [map.context(), map.truncated()].map(|context| clocks_of(key, context));
        let count = self.symbols.len() as u64;
        let ours = symbols_between(items(key, &own), 0, count);
        let difference: Vec<_> = self.symbols.iter().zip(ours).map(|(theirs, ours)| theirs.less(ours)).collect();
        let found = decode(difference.clone(), |element, check, side| {
            KINDS.into_iter().find_map(|kind| {
                let hash = hash_of(key, kind, element);
                let is_ours = || own[kind].binary_search_by_key(&element, |clock| clock.0).is_ok();
                (hash as u32 == check && (side == Side::Theirs) != is_ours()).then_some(hash)
            })
        });
        let told = found.map(|found| told_by(key, &own, &found));
        let is_checked = |told: &[Vec<u64>; 2]| self.check == check_of(key, told);
        if let Some(told) = told.filter(is_checked) {
            return Differed::Base(Base::resolve(map, told));
        }
        let surplus = (more.total as i64).wrapping_sub(own.iter().map(|clocks| clocks.len() as i64).sum());
        let differences = estimate(&difference, surplus);
        let wanted = symbols_for(differences).max(2 * count).max(1);
        // The whole of it is 17 bytes or more for each clock.
        let whole = 17_u64.saturating_mul(more.total);
        let pays = SYMBOL_BYTES.saturating_mul(wanted - count) < whole || count < 2 * FIRST;
        self.asked = if wanted <= SYMBOLS_MAX && pays { wanted } else { 0 };
        Differed::Ask(Message::More { symbols: self.asked, differences })
    }
}

/// The elements that were told: ours without those that only we have, and with those that only they have.
fn told_by(key: AuditKey, own: &[Clocks<Dot>; 2], found: &Difference) -> [Vec<u64>; 2] {
    KINDS.map(|kind| {
        let of_kind = |items: &[Item]| -> Vec<u64> {
            items.iter().filter(|item| item.hash == hash_of(key, kind, item.element)).map(|item| item.element).collect()
        };
        let mut gone = of_kind(&found.ours);
        gone.sort_unstable();
        let kept = own[kind].iter().map(|clock| clock.0).filter(|element| gone.binary_search(element).is_err());
        let mut told: Vec<u64> = kept.chain(of_kind(&found.theirs)).collect();
        told.sort_unstable();
        told
    })
}

fn check_of(key: AuditKey, told: &[Vec<u64>; 2]) -> u64 {
    let hashes = KINDS.into_iter().flat_map(|kind| told[kind].iter().map(move |&element| hash_of(key, kind, element)));
    hashes.fold(0, u64::wrapping_add)
}

impl Base {
    fn whole(map: &OrMap, contexts: [&CausalContext; 2]) -> Box<Self> {
        let key = map.elements().key();
        let named = |context| clocks_of(key, context).into_iter().map(|(element, dot)| (element, Some(dot))).collect();
        Box::new(Self { context: contexts[0].clone(), clocks: contexts.map(named) })
    }

    fn resolve(map: &OrMap, told: [Vec<u64>; 2]) -> Box<Self> {
        let clocks = told.map(|elements| {
            let plausible = |dot: &Dot| dot.counter <= map.context().get(dot.replica).saturating_add(AHEAD_MAX);
            let dot_of = |element| map.elements().dots_of(element).find(plausible);
            let mut clocks: Clocks<Option<Dot>> = elements.into_iter().map(|e| (e, dot_of(e))).collect();
            forget_ambiguous(&mut clocks);
            clocks
        });
        let context = clocks[0].iter().filter_map(|clock| clock.1).map(|dot| (dot.replica, dot.counter)).collect();
        Box::new(Self { context, clocks })
    }

    /// What to say of the sender's contexts to who told this.
    pub(crate) fn beginning(&self, begin: &Begin) -> Beginning {
        let snapshot = changes(&self.clocks[0], &begin.snapshot);
        let mut bound = changes(&self.clocks[1], &begin.bound);
        let replicas: Vec<Dot> = begin.snapshot.iter().collect();
        let mut bound_in_snapshot = Vec::new();
        bound.new.retain(|&(replica, counter)| {
            let place = replicas.binary_search_by_key(&replica, |dot| dot.replica);
            bound_in_snapshot.extend(place.ok().map(|place| (place as u32, counter)));
            place.is_err()
        });
        Beginning { catch_up: begin.catch_up, snapshot, bound, bound_in_snapshot }
    }
}

/// A replica has one clock: of two that seem to be its own at least one is not.
fn forget_ambiguous(clocks: &mut Clocks<Option<Dot>>) {
    let mut replicas: Vec<ReplicaId> = clocks.iter().filter_map(|clock| clock.1).map(|dot| dot.replica).collect();
    replicas.sort_unstable();
    let twice: Vec<ReplicaId> = replicas.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    if !twice.is_empty() {
        clocks.iter_mut().for_each(|clock| clock.1 = clock.1.filter(|dot| !twice.contains(&dot.replica)));
    }
}

fn changes(told: &Clocks<Option<Dot>>, context: &CausalContext) -> Changes {
    let mut clocks = Vec::new();
    let mut known = Vec::new();
    for (place, (_, dot)) in (0_u32..).zip(told) {
        let (was, is) = dot.map_or((1, 0), |dot| (dot.counter, context.get(dot.replica)));
        known.extend(dot.map(|dot| dot.replica));
        if was != is {
            // Never 0: that is for one that is gone.
            clocks.push((place, if is == 0 { 0 } else { is as i64 - was as i64 }));
        }
    }
    known.sort_unstable();
    let is_new = |dot: &Dot| known.binary_search(&dot.replica).is_err();
    let new = context.iter().filter(is_new).map(|dot| (dot.replica, dot.counter)).collect();
    Changes { clocks, new }
}
