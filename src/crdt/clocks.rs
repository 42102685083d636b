//! The clocks of a causal context, sorted by replica: a list that contexts share, and the few that are not as in it. Not
//! responsible for what a clock means: `context` is.
//!
//! A context is mostly another one and a little more: a snapshot, what a peer is known to have, what was said last on a
//! link. Among a thousand replicas each push would cost a dozen passes over all of them. So copies share one list, which is
//! never changed, and each has its changes beside it: two with one list are compared by these alone, and so is each with the
//! list that the next one was made from. A tree that copies share does less: where many write, what is under way to a peer
//! is in each part of it.
//!
//! The context of a map takes its changes in after a while ([`fold`](Clocks::fold)), and those of links follow it
//! ([`share`](Clocks::share)): so changes stay few. Few replicas are a list without changes.

mod differing;
mod find;

use super::ReplicaId;
use differing::{Beside, Lists, Pair, Pairs, counters, first_differing};
use find::find;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::iter::FusedIterator;
use std::sync::{Arc, Weak};

pub(super) use differing::Differences;
pub(crate) use differing::Differing;

/// A replica and its counter, which is not 0.
pub(super) type Clock = (ReplicaId, u64);

/// So few are one list: copying it costs no more than changes beside it would.
const LIST_MAX: usize = 48;
/// More changes than this become part of a list of one's own.
const CHANGES_MAX: usize = 512;
/// Who lacks more than this of another's list does not share it.
const SHARED_MAX: usize = 256;
/// The list that others share is made anew after so many changes.
const FOLD_AT: usize = 32;

#[cfg(test)]
thread_local! {
    /// How often two of many replicas were compared from the first to the last.
    pub(super) static COMPARED_WHOLE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Equal sets are equal values, however they are kept.
#[derive(Clone)]
pub(super) struct Clocks {
    /// `None` if there are none, and no changes.
    list: Option<Arc<List>>,
    /// `None` if there are none.
    changes: Option<Arc<Changes>>,
}

/// Is not changed while it is shared.
#[derive(Clone)]
struct List {
    ids: Arc<[ReplicaId]>,
    /// Of the replica in the same place.
    counters: Vec<u64>,
    /// What it was made from: a list with the same replicas, and what was changed.
    before: Option<(Weak<List>, Arc<Changes>)>,
}

/// What is not as in a list, in the order of the replicas.
#[derive(Default)]
struct Changes {
    all: Vec<Change>,
    /// Of them those that the list does not have,
    fresh: usize,
    /// and those that it has alone.
    gone: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Change {
    replica: ReplicaId,
    /// Where it stands in the list; of one that does not, where the first after it does.
    place: usize,
    /// Its counter there; 0 if it has none.
    listed: u64,
    /// Its counter; 0 if it is gone.
    counter: u64,
}

impl Clocks {
    pub(super) const fn new() -> Self {
        Self { list: None, changes: None }
    }

    /// From clocks in the order of the replicas, each of which stands once. Linear.
    pub(super) fn from_sorted(clocks: impl IntoIterator<Item = Clock>) -> Self {
        let (ids, counters): (Vec<_>, Vec<_>) = clocks.into_iter().unzip();
        let list = (!ids.is_empty()).then(|| Arc::new(List { ids: ids.into(), counters, before: None }));
        Self { list, changes: None }
    }

    pub(super) fn len(&self) -> usize {
        let (fresh, gone) = self.changes.as_ref().map_or((0, 0), |changes| (changes.fresh, changes.gone));
        self.ids().len() + fresh - gone
    }

    fn ids(&self) -> &[ReplicaId] {
        self.list.as_ref().map_or(&[], |list| &list.ids)
    }

    fn counters(&self) -> &[u64] {
        self.list.as_ref().map_or(&[], |list| &list.counters)
    }

    pub(super) fn changes(&self) -> &[Change] {
        self.changes.as_ref().map_or(&[], |changes| &changes.all)
    }

    /// Whether places are those of the list.
    fn is_regular(&self) -> bool {
        self.changes.as_ref().is_none_or(|changes| changes.is_regular())
    }

    fn is(&self, other: &Self) -> bool {
        let changes = match (&self.changes, &other.changes) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        changes && self.shares(other)
    }

    /// Whether both have their changes beside one list.
    fn shares(&self, other: &Self) -> bool {
        match (&self.list, &other.list) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        }
    }

    pub(super) fn get(&self, replica: ReplicaId) -> u64 {
        if let Some(change) = self.changes.as_ref().and_then(|changes| Some(&changes.all[changes.find(replica).ok()?]))
        {
            return change.counter;
        }
        find(self.ids(), replica, |id| *id).map_or(0, |at| self.counters()[at])
    }

    /// Where `replica` stands in the order of the replicas.
    pub(super) fn place(&self, replica: ReplicaId) -> Option<usize> {
        let listed = find(self.ids(), replica, |id| *id);
        let Some(changes) = self.changes.as_ref().filter(|changes| !changes.is_regular()) else { return listed.ok() };
        let found = changes.find(replica);
        let is_there = found.map_or(listed.is_ok(), |at| changes.all[at].counter > 0);
        let before = &changes.all[..found.unwrap_or_else(|at| at)];
        let (fresh, gone) =
            (before.iter().filter(|c| c.is_fresh()).count(), before.iter().filter(|c| c.is_gone()).count());
        is_there.then(|| listed.unwrap_or_else(|at| at) + fresh - gone)
    }

    /// The clock in that place. Of changes by which replicas come or go, it looks at each.
    pub(super) fn at(&self, place: usize) -> Option<Clock> {
        let (mut fresh, mut gone) = (0, 0);
        if self.is_regular() {
            let found = self.changes().binary_search_by_key(&place, |change| change.place);
            if let Ok(at) = found {
                return Some(self.changes()[at].clock());
            }
        } else {
            for change in self.changes() {
                let here = change.place + fresh - gone;
                if here > place {
                    break;
                }
                if here == place && !change.is_gone() {
                    return Some(change.clock());
                }
                fresh += usize::from(change.is_fresh());
                gone += usize::from(change.is_gone());
            }
        }
        let listed = place + gone - fresh;
        Some((*self.ids().get(listed)?, *self.counters().get(listed)?))
    }

    /// Sets the replica's counter, which is not 0. Costs the changes at most; of few replicas, these.
    pub(super) fn set(&mut self, replica: ReplicaId, counter: u64) {
        let Some(list) = &mut self.list else {
            *self = Self::from_sorted([(replica, counter)]);
            return;
        };
        if self.changes.is_none() && list.ids.len() <= LIST_MAX {
            let list = Arc::make_mut(list);
            debug_assert!(list.before.is_none(), "only longer ones are made from others");
            match find(&list.ids, replica, |id| *id) {
                Ok(at) => list.counters[at] = counter,
                Err(at) => {
                    list.ids = [&list.ids[..at], &[replica], &list.ids[at..]].concat().into();
                    list.counters.insert(at, counter);
                }
            }
            return;
        }
        let found = self.changes.as_ref().and_then(|changes| Some(changes.all[changes.find(replica).ok()?]));
        let change = found.map_or_else(|| list.change(replica, counter), |change| Change { counter, ..change });
        Changes::to_change(&mut self.changes).set(change);
        self.tidy();
    }

    /// Sets counters, which are not 0, of replicas that are there: each by its place and with its id, in their order. Costs the
    /// changes.
    pub(super) fn set_at(&mut self, placed: &[(usize, Clock)]) {
        let Some(list) = self.list.as_ref().filter(|list| list.ids.len() > LIST_MAX && self.is_regular()) else {
            return placed.iter().for_each(|(_, (replica, counter))| self.set(*replica, *counter));
        };
        let change = |&(place, (replica, counter)): &(usize, Clock)| Change {
            replica,
            place,
            listed: list.counters[place],
            counter,
        };
        let new: SmallVec<[Change; 8]> = placed.iter().map(change).collect();
        let pairs = Pairs { ours: self.changes(), theirs: &new };
        let all = pairs.filter_map(|(ours, theirs)| theirs.or(ours)).copied();
        let changes = Changes::from_sorted(self.changes().len() + new.len(), all);
        self.changes = Some(Arc::new(changes));
        self.tidy();
    }

    /// Takes in the greater counters, if the other has its changes beside the same list: whether that is so. Costs the changes.
    pub(super) fn join_beside(&mut self, other: &Self) -> bool {
        if !self.shares(other) {
            return false;
        }
        let pairs = || Pairs { ours: self.changes(), theirs: other.changes() };
        let greater = |pair: Pair<'_>| {
            let (change, ours, theirs) = counters(pair);
            (Change { counter: ours.max(theirs), ..change }, ours, theirs)
        };
        let (mut as_ours, mut as_theirs) = (true, true);
        for (change, ours, theirs) in pairs().map(greater) {
            as_ours &= change.counter == ours;
            as_theirs &= change.counter == theirs;
        }
        if as_ours {
            return true;
        }
        self.changes = if as_theirs {
            other.changes.clone()
        } else {
            let room = self.changes().len() + other.changes().len();
            Some(Arc::new(Changes::from_sorted(room, pairs().map(|pair| greater(pair).0))))
        };
        self.tidy();
        true
    }

    /// What holds of changes at any time.
    fn tidy(&mut self) {
        match self.changes().len() {
            0 => self.changes = None,
            len if len > CHANGES_MAX => self.take_in(),
            _ => {}
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        let (ids, counters, changes) = (self.ids(), self.counters(), self.changes());
        Iter { ids, counters, changes, at: 0, left: self.len() }
    }

    /// Where the two differ, in the order of the replicas.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> Differences<'a> {
        if self.is(other) {
            return Differences::none();
        }
        if self.shares(other) {
            return Differences::Changes(Beside::new(self.changes(), other.changes()));
        }
        #[cfg(test)]
        if self.len().min(other.len()) > LIST_MAX {
            COMPARED_WHOLE.set(COMPARED_WHOLE.get() + 1);
        }
        let same_ids = self.changes.is_none() && other.changes.is_none() && self.ids() == other.ids();
        let same = if same_ids { first_differing(self.counters(), other.counters()) } else { 0 };
        Differences::Lists(Lists::new(self.after(same), other.after(same), same))
    }

    /// Without the first ones of the list, before which there is no change.
    fn after(&self, at: usize) -> Iter<'_> {
        Iter { at, left: self.len() - at, ..self.iter() }
    }

    /// Shares with `other` what is the same in both. Linear in the changes, if the list of this one is the other's or the one
    /// that was made from; else in the replicas.
    pub(super) fn share(&mut self, other: &Self) {
        let (Some(ours), Some(theirs)) = (&mut self.list, &other.list) else { return };
        if Arc::ptr_eq(ours, theirs) {
            return;
        }
        if theirs.ids.len() <= LIST_MAX {
            let same_ids = Arc::ptr_eq(&ours.ids, &theirs.ids) || ours.ids == theirs.ids;
            match same_ids && self.changes.is_none() {
                true if ours.counters == theirs.counters => *ours = theirs.clone(),
                true if !Arc::ptr_eq(&ours.ids, &theirs.ids) => Arc::make_mut(ours).ids = theirs.ids.clone(),
                _ => {}
            }
            return;
        }
        let listed = Self { list: Some(theirs.clone()), changes: None };
        let made_from = theirs.before.as_ref().filter(|(before, _)| Weak::as_ptr(before) == Arc::as_ptr(ours));
        let differences = match made_from {
            Some((_, made)) => Differences::Changes(Beside::new(&made.all, self.changes())),
            None => listed.differing(self),
        };
        let mut changes = Changes::default();
        for Differing { replica, place, ours, theirs: counter } in differences {
            if changes.all.len() == SHARED_MAX {
                return;
            }
            let place = place.unwrap_or_else(|| find(&theirs.ids, replica, |id| *id).unwrap_or_else(|at| at));
            changes.push(Change { replica, place, listed: ours, counter });
        }
        *self = Self { changes: (!changes.all.is_empty()).then(|| Arc::new(changes)), ..listed };
    }

    /// Makes a list of its own, which others may share, once there are many changes.
    pub(super) fn fold(&mut self) {
        if self.changes().len() >= FOLD_AT {
            self.take_in();
        }
    }

    fn take_in(&mut self) {
        let (Some(list), Some(changes)) = (&self.list, &self.changes) else { return };
        if !changes.is_regular() {
            *self = Self::from_sorted(self.iter());
            return;
        }
        let mut counters = list.counters.clone();
        changes.all.iter().for_each(|change| counters[change.place] = change.counter);
        let before = Some((Arc::downgrade(list), changes.clone()));
        *self = Self { list: Some(Arc::new(List { ids: list.ids.clone(), counters, before })), changes: None };
    }
}

impl List {
    /// What it takes for that counter.
    fn change(&self, replica: ReplicaId, counter: u64) -> Change {
        match find(&self.ids, replica, |id| *id) {
            Ok(place) => Change { replica, place, listed: self.counters[place], counter },
            Err(place) => Change { replica, place, listed: 0, counter },
        }
    }
}

impl PartialEq for Clocks {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.differing(other).next().is_none()
    }
}

impl Eq for Clocks {}

impl Hash for Clocks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|clock| clock.hash(state));
    }
}

impl Changes {
    /// To be changed, with room for more if it has to be copied for that.
    fn to_change(changes: &mut Option<Arc<Self>>) -> &mut Self {
        const ROOM: usize = 8;
        let changes = changes.get_or_insert_default();
        if Arc::get_mut(changes).is_none() {
            let mut all = Vec::with_capacity(changes.all.len() + ROOM);
            all.extend_from_slice(&changes.all);
            *changes = Arc::new(Self { all, ..**changes });
        }
        Arc::get_mut(changes).expect("it is a copy of its own")
    }

    fn is_regular(&self) -> bool {
        self.fresh + self.gone == 0
    }

    fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        find(&self.all, replica, |change| change.replica)
    }

    /// From changes in their order; those that change nothing are left out.
    fn from_sorted(room: usize, changes: impl Iterator<Item = Change>) -> Self {
        let mut all = Self { all: Vec::with_capacity(room), ..Self::default() };
        changes.filter(|change| change.counter != change.listed).for_each(|change| all.push(change));
        all
    }

    /// The next in the order.
    fn push(&mut self, change: Change) {
        self.fresh += usize::from(change.is_fresh());
        self.gone += usize::from(change.is_gone());
        self.all.push(change);
    }

    /// In place of what there was of its replica.
    fn set(&mut self, change: Change) {
        let found = self.find(change.replica);
        if let Ok(at) = found {
            self.gone -= usize::from(self.all[at].is_gone());
        }
        match found {
            Ok(at) if change.counter == change.listed => _ = self.all.remove(at),
            Ok(at) => self.all[at] = change,
            Err(_) if change.counter == change.listed => {}
            Err(at) => {
                self.fresh += usize::from(change.is_fresh());
                self.all.insert(at, change);
            }
        }
    }
}

impl Change {
    fn is_fresh(&self) -> bool {
        self.listed == 0
    }

    fn is_gone(&self) -> bool {
        self.counter == 0
    }

    fn clock(&self) -> Clock {
        (self.replica, self.counter)
    }

    /// Of two beside one list: by their replicas.
    fn order(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place).then_with(|| self.replica.cmp(&other.replica))
    }
}

/// The clocks, in the order of the replicas.
pub(super) struct Iter<'a> {
    ids: &'a [ReplicaId],
    counters: &'a [u64],
    /// Those to come.
    changes: &'a [Change],
    /// The next of the list.
    at: usize,
    left: usize,
}

impl Iter<'_> {
    /// Passes over those before a replica. How many are left is not known after that.
    fn skip_to(&mut self, replica: ReplicaId) {
        self.at += self.ids[self.at..].partition_point(|id| *id < replica);
        self.changes = &self.changes[self.changes.partition_point(|change| change.replica < replica)..];
    }
}

impl Iterator for Iter<'_> {
    type Item = Clock;

    fn next(&mut self) -> Option<Clock> {
        while let Some(change) = self.changes.first().filter(|change| change.place == self.at) {
            self.changes = &self.changes[1..];
            self.at += usize::from(!change.is_fresh());
            if !change.is_gone() {
                self.left -= 1;
                return Some(change.clock());
            }
        }
        let clock = (*self.ids.get(self.at)?, *self.counters.get(self.at)?);
        (self.at, self.left) = (self.at + 1, self.left - 1);
        Some(clock)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::{BTreeMap, BTreeSet};

    fn sorted(plain: &BTreeMap<ReplicaId, u64>) -> Vec<Clock> {
        plain.iter().map(|(id, counter)| (*id, *counter)).collect()
    }

    /// Ids as they are, and ids that all begin alike.
    fn id(rng: &mut StdRng, alike: bool) -> ReplicaId {
        if alike { ReplicaId::from(rng.random_range(0..3_000_u128)) } else { ReplicaId::random(rng) }
    }

    #[test]
    fn however_it_came_about_it_is_the_list_in_order() {
        for seed in 0..40 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut clocks, mut plain) = (Clocks::new(), BTreeMap::new());
            for step in 0..rng.random_range(0..1_500) {
                let known = plain.keys().nth(step % 7).copied().filter(|_| rng.random_bool(0.3));
                let replica = known.unwrap_or_else(|| id(&mut rng, seed % 2 == 0));
                let counter = rng.random_range(1..9);
                clocks.set(replica, counter);
                plain.insert(replica, counter);
                if step % 50 == 0 {
                    clocks.fold();
                }
            }
            assert!(clocks.iter().eq(sorted(&plain)), "seed {seed}");
            assert!(clocks == Clocks::from_sorted(sorted(&plain)), "seed {seed}: equal sets are equal values");
            assert_eq!(clocks.iter().len(), plain.len());
            for (place, (replica, counter)) in plain.iter().enumerate().step_by(5) {
                assert_eq!((clocks.place(*replica), clocks.get(*replica)), (Some(place), *counter));
                assert_eq!(clocks.at(place), Some((*replica, *counter)));
            }
            let stranger = ReplicaId::from(u128::MAX);
            assert_eq!((clocks.place(stranger), clocks.get(stranger), clocks.at(plain.len())), (None, 0, None));
        }
    }

    #[test]
    fn what_two_do_not_share_is_all_in_which_they_differ() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let alike = seed % 2 == 0;
            let count = rng.random_range(0..1_000);
            let common: BTreeMap<_, _> = (0..count).map(|_| (id(&mut rng, alike), 1)).collect();
            // All of the replicas, or the half of them.
            let step = 1 + usize::from(seed % 5 == 4);
            let ours = Clocks::from_sorted(sorted(&common).into_iter().step_by(step));
            // The same replicas, shared or not; or as many of which one is another.
            let mut theirs = match seed % 3 {
                0 => ours.clone(),
                1 => Clocks::from_sorted(sorted(&common)),
                _ => {
                    let mut other = common.clone();
                    other.pop_first();
                    other.insert(id(&mut rng, alike), 1);
                    Clocks::from_sorted(sorted(&other))
                }
            };
            let mut ours = ours;
            let known: Vec<_> = common.keys().copied().collect();
            let change = |side: &mut Clocks, rng: &mut StdRng| {
                for _ in 0..rng.random_range(0..90) {
                    let replica = if rng.random_bool(0.2) || known.is_empty() {
                        id(rng, alike)
                    } else {
                        known[rng.random_range(0..known.len())]
                    };
                    side.set(replica, rng.random_range(1..4));
                }
            };
            for _ in 0..rng.random_range(0..4) {
                change(&mut theirs, &mut rng);
                change(&mut ours, &mut rng);
                if rng.random() {
                    ours.fold();
                }
                if rng.random() {
                    theirs.share(&ours);
                }
            }
            let before = theirs.clone();
            theirs.share(&ours);
            assert!(theirs == before, "seed {seed}: sharing changes nothing");
            let counters = |side: &Clocks| side.iter().collect::<BTreeMap<_, _>>();
            let (left, right) = (counters(&ours), counters(&theirs));
            let ids: BTreeSet<_> = left.keys().chain(right.keys()).copied().collect();
            let differing = |replica: ReplicaId| {
                let [ours, theirs] = [&left, &right].map(|side| side.get(&replica).copied().unwrap_or_default());
                let place = left.keys().position(|id| *id == replica);
                (ours != theirs).then_some(Differing { replica, place, ours, theirs })
            };
            let expected: Vec<_> = ids.into_iter().filter_map(differing).collect();
            assert_eq!(ours.differing(&theirs).collect::<Vec<_>>(), expected, "seed {seed}");
            let more: Vec<_> = expected.into_iter().filter(|differing| differing.ours > differing.theirs).collect();
            let found = ours.differing(&theirs).where_ours_are().filter(|differing| differing.ours > differing.theirs);
            assert_eq!(found.collect::<Vec<_>>(), more, "seed {seed}");
        }
    }

    /// This is what it is for: of two that came of one another only what was changed is looked at.
    #[test]
    fn of_a_copy_that_was_changed_only_the_changes_are_looked_at() {
        let mut rng = StdRng::seed_from_u64(1);
        let all: BTreeMap<_, _> = (0..1_000).map(|_| (ReplicaId::random(&mut rng), 1)).collect();
        let mut ours = Clocks::from_sorted(sorted(&all));
        let mut theirs = ours.clone();
        let lists = |one: &Clocks, other: &Clocks| matches!(one.differing(other), Differences::Lists(_));
        let ids: Vec<_> = all.keys().copied().collect();
        ids[..300].iter().for_each(|id| theirs.set(*id, 2));
        ours.set(ids[500], 2);
        assert!(!lists(&ours, &theirs));
        // One makes its list anew; the other follows it, and so does who has not changed at all.
        let before = ours.clone();
        ids[500..500 + FOLD_AT].iter().for_each(|id| ours.set(*id, 3));
        let (whole, mut same) = (ours.clone(), before.clone());
        ours.fold();
        assert!(ours.changes.is_none() && ours == whole);
        assert!(lists(&ours, &before) && lists(&ours, &theirs));
        same.share(&ours);
        assert!(!lists(&ours, &same) && same == before);
        assert_eq!(same.changes().len(), FOLD_AT);
        // Who differs in too much keeps a list of its own.
        let far = theirs.clone();
        theirs.share(&ours);
        assert!(lists(&ours, &theirs) && theirs == far);
        // Of two made apart, too, only what differs is left to look at.
        let mut apart = Clocks::from_sorted(whole.iter());
        apart.set(ids[0], 9);
        assert!(lists(&ours, &apart));
        apart.share(&ours);
        assert_eq!((lists(&ours, &apart), apart.changes().len(), apart.get(ids[0])), (false, 1, 9));
    }

    /// Changes are bounded, whoever makes them.
    #[test]
    fn too_many_changes_become_a_list() {
        let mut rng = StdRng::seed_from_u64(1);
        let all: BTreeMap<_, _> = (0..1_000).map(|_| (ReplicaId::random(&mut rng), 1)).collect();
        let mut clocks = Clocks::from_sorted(sorted(&all));
        for id in all.keys() {
            clocks.set(*id, 2);
            clocks.set(ReplicaId::random(&mut rng), 1);
            assert!(clocks.changes().len() <= CHANGES_MAX);
        }
        assert_eq!(clocks.len(), 2_000);
        // What is set back is no change.
        let mut same = Clocks::from_sorted(clocks.iter());
        all.keys().for_each(|id| same.set(*id, 3));
        let changed = same.changes().len();
        same.changes().to_vec().iter().for_each(|change| same.set(change.replica, change.listed));
        assert!(changed > 0 && same.changes.is_none());
    }
}
