//! What entries have incorporated beyond the replica's context, while the sync that brought it is unfinished.
//! Not responsible for when a context settles: `OrMap` asks.

use super::{CausalContext, Key, Section};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The context `C'` that an entry was read under, and the sender's bound `T'` at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryContext {
    /// What the entry has incorporated.
    pub context: CausalContext,
    /// The dots of tombstones that were no longer to be had there.
    pub bound: CausalContext,
}

/// Keys with a pending context. Those that came with one sync share one context, which is kept once.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    by_key: [ByKey; 2],
    count: usize,
}

type ByKey = BTreeMap<Box<[u8]>, Arc<EntryContext>>;

/// Keys that have settled, with what they had.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled([ByKey; 2]);

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, key: Key<'_>) -> Option<&Arc<EntryContext>> {
        if self.is_empty() { None } else { self.by_key[key.section as usize].get(key.bytes) }
    }

    /// RULES 2 and 6: the key keeps `context`, and of the sender's bound what lies within it and not within `base`
    /// (the replica's own context), until that covers it.
    pub(super) fn add(&mut self, key: Key<'_>, new: &Arc<EntryContext>) {
        let keys = &mut self.by_key[key.section as usize];
        match keys.get_mut(key.bytes) {
            Some(old) => join_shared(old, new),
            None => {
                keys.insert(key.bytes.into(), new.clone());
                self.count += 1;
            }
        }
    }

    /// Sets or takes back what a key has.
    pub(super) fn set(&mut self, key: Key<'_>, pending: Option<Arc<EntryContext>>) {
        let keys = &mut self.by_key[key.section as usize];
        match pending {
            Some(pending) => drop(keys.insert(key.bytes.into(), pending)),
            None => drop(keys.remove(key.bytes)),
        }
        self.count = self.by_key.iter().map(BTreeMap::len).sum();
    }

    /// Takes out the keys whose context `covered` now includes. Answers the join of their bounds, and the keys.
    pub(super) fn settle(&mut self, covered: &CausalContext) -> (CausalContext, Settled) {
        let mut bounds = CausalContext::new();
        // Those of one sync share one context, and those of several may stand among each other: each is looked at once.
        let mut known = BTreeMap::<*const EntryContext, bool>::new();
        let mut settles = |pending: &Arc<EntryContext>| {
            *known.entry(Arc::as_ptr(pending)).or_insert_with(|| {
                let settles = covered.includes(&pending.context);
                if settles {
                    bounds.join(&pending.bound);
                }
                settles
            })
        };
        let settled =
            self.by_key.each_mut().map(|keys| match keys.values().filter(|pending| settles(pending)).count() {
                0 => ByKey::new(),
                all if all == keys.len() => std::mem::take(keys),
                _ => {
                    let (settled, kept) = std::mem::take(keys).into_iter().partition(|(_, pending)| settles(pending));
                    *keys = kept;
                    settled
                }
            });
        self.count = self.by_key.iter().map(BTreeMap::len).sum();
        (bounds, Settled(settled))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key<'_>, &Arc<EntryContext>)> {
        entries(&self.by_key)
    }

    /// The contexts, one that neighbours share but once.
    pub(super) fn contexts(&self) -> impl Iterator<Item = &CausalContext> {
        let mut last: Option<&Arc<EntryContext>> = None;
        let fresh =
            self.iter().filter(move |(_, pending)| !last.replace(pending).is_some_and(|l| Arc::ptr_eq(l, pending)));
        fresh.map(|(_, pending)| &pending.context)
    }

    /// RULE 7: keys whose bound `base` does not include go with every sync: their removals have no dot to be found by.
    pub(super) fn unbounded(&self, base: &CausalContext) -> impl Iterator<Item = Key<'_>> {
        self.iter().filter(|(_, pending)| !base.includes(&pending.bound)).map(|(key, _)| key)
    }
}

impl Settled {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn for_each(&self, mut put_back: impl FnMut(Key<'_>, &Arc<EntryContext>)) {
        entries(&self.0).for_each(|(key, pending)| put_back(key, pending));
    }
}

fn entries(by_key: &[ByKey; 2]) -> impl Iterator<Item = (Key<'_>, &Arc<EntryContext>)> {
    [Section::Usr, Section::Sys].into_iter().flat_map(|section| {
        by_key[section as usize].iter().map(move |(bytes, pending)| (Key { section, bytes }, pending))
    })
}

fn join_shared(old: &mut Arc<EntryContext>, new: &Arc<EntryContext>) {
    let within = |a: &EntryContext, b: &EntryContext| b.context.includes(&a.context) && b.bound.includes(&a.bound);
    if Arc::ptr_eq(old, new) || within(new, old) {
        return;
    }
    if within(old, new) {
        *old = new.clone();
    } else {
        let joined = Arc::make_mut(old);
        joined.context.join(&new.context);
        joined.bound.join(&new.bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    /// Keys of two syncs stand among each other; of one of them all is here.
    #[test]
    fn only_what_is_covered_settles_whatever_stands_beside_it() {
        let context = |counter| [(ReplicaId::from(1), counter)].into_iter().collect::<CausalContext>();
        let of = |counter| Arc::new(EntryContext { context: context(counter), bound: context(counter - 1) });
        let (less, more) = (of(3), of(5));
        let mut pending = Pending::default();
        let keys: Vec<[u8; 1]> = (0..6).map(|n| [n]).collect();
        keys.iter().enumerate().for_each(|(n, key)| pending.add(Key::usr(key), [&less, &more][n % 2]));
        let (bounds, settled) = pending.settle(&context(4));
        assert_eq!(bounds, context(2));
        let mut gone = Vec::new();
        settled.for_each(|key, _| gone.extend_from_slice(key.bytes));
        assert_eq!((gone, pending.len()), (vec![0, 2, 4], 3));
        let (bounds, settled) = pending.settle(&context(5));
        assert_eq!((bounds, settled.is_empty(), pending.len()), (context(4), false, 0));
    }
}
