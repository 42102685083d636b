//! Where entries are kept: found by key, numbered by slot, read in order. Not responsible for what joining does.
//!
//! A hash table of slot numbers over a slab of registers: four bytes and a control byte for each entry beside the slab.
//! The order of keys is only worked out when somebody scans, and kept up to date from then on at each scan.

use super::dot_log::Slot;
use super::stored::{LocalDot, Stored};
use super::{Key, Section};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

#[derive(Clone, Debug)]
pub(super) struct Table {
    slots: Vec<Stored>,
    by_key: HashTable<Slot>,
    hasher: FixedState,
    /// The other live registers of an entry that has several.
    siblings: BTreeMap<Slot, Vec<Stored>>,
    free: Vec<Slot>,
    order: [Order; 2],
}

/// Where a key's entry is, or would be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) hash: u64,
    pub(super) slot: Option<Slot>,
}

/// The entries of a section in the order of their keys, as far as a scan has asked for it.
#[derive(Clone, Debug, Default)]
struct Order {
    built: bool,
    sorted: Vec<Slot>,
    /// Entries made since `sorted` was; in order up to `fresh_sorted`.
    fresh: Vec<Slot>,
    fresh_sorted: usize,
    /// Freed slots that `sorted` or `fresh` still name: not to be used again before they are taken out.
    limbo: Vec<Slot>,
}

/// Entries looked at to estimate what all of them take.
const SAMPLE: usize = 256;

fn key_of(slots: &[Stored], slot: Slot) -> Key<'_> {
    let stored = &slots[slot as usize];
    Key { section: if stored.is_sys() { Section::Sys } else { Section::Usr }, bytes: stored.key() }
}

fn hash_of(hasher: &FixedState, key: Key<'_>) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(key.bytes);
    state.write_u8(key.section as u8);
    state.finish()
}

impl Table {
    const NONE: &'static [Stored] = &[];

    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            by_key: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            siblings: BTreeMap::new(),
            free: Vec::new(),
            order: Default::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// About how many bytes it takes. Looks at a few entries only.
    pub(super) fn bytes_estimate(&self) -> usize {
        let step = (self.slots.len() / SAMPLE).max(1);
        let (mut sampled, mut bytes) = (0, 0);
        for stored in self.slots.iter().step_by(step) {
            (sampled, bytes) = (sampled + 1, bytes + stored.heap_bytes());
        }
        let heap = bytes as u128 * self.slots.len() as u128 / u128::from(sampled.max(1_u64));
        let lists = self.order.iter().map(|order| order.sorted.capacity() + order.fresh.capacity()).sum::<usize>();
        let slots = self.slots.capacity() * size_of::<Stored>();
        slots + self.by_key.allocation_size() + lists * size_of::<Slot>() + usize::try_from(heap).unwrap_or(usize::MAX)
    }

    pub(super) fn hash(&self, key: Key<'_>) -> u64 {
        hash_of(&self.hasher, key)
    }

    pub(super) fn place(&self, key: Key<'_>) -> Place {
        self.place_hashed(key, self.hash(key))
    }

    fn place_hashed(&self, key: Key<'_>, hash: u64) -> Place {
        Place { hash, slot: self.by_key.find(hash, |&slot| key_of(&self.slots, slot) == key).copied() }
    }

    /// The place of the key now, from that of a moment ago: other entries may have been changed since.
    pub(super) fn place_again(&self, key: Key<'_>, before: Place) -> Place {
        let is_there = before.slot.is_some_and(|slot| !self.first(slot).is_free() && self.key(slot) == key);
        if is_there { before } else { self.place_hashed(key, before.hash) }
    }

    pub(super) fn find(&self, key: Key<'_>) -> Option<Slot> {
        self.place(key).slot
    }

    pub(super) fn key(&self, slot: Slot) -> Key<'_> {
        key_of(&self.slots, slot)
    }

    pub(super) fn first(&self, slot: Slot) -> &Stored {
        &self.slots[slot as usize]
    }

    pub(super) fn first_mut(&mut self, slot: Slot) -> &mut Stored {
        &mut self.slots[slot as usize]
    }

    pub(super) fn siblings(&self, slot: Slot) -> &[Stored] {
        let some = self.first(slot).has_siblings();
        some.then(|| self.siblings.get(&slot)).flatten().map_or(Self::NONE, Vec::as_slice)
    }

    /// All live registers of an entry.
    pub(super) fn registers(&self, slot: Slot) -> impl Iterator<Item = &Stored> + Clone {
        std::iter::once(self.first(slot)).chain(self.siblings(slot))
    }

    /// One of them, to be dated anew.
    pub(super) fn register_mut(&mut self, slot: Slot, dot: LocalDot) -> Option<&mut Stored> {
        let (first, siblings) = (&mut self.slots[slot as usize], self.siblings.get_mut(&slot));
        let siblings = siblings.filter(|_| first.has_siblings());
        std::iter::once(first).chain(siblings.into_iter().flatten()).find(|stored| stored.dot() == dot)
    }

    /// A new entry; its key is not there yet, and `place` is what the table says of it.
    pub(super) fn insert(&mut self, place: Place, stored: Stored) -> Slot {
        debug_assert!(place.slot.is_none(), "a key has one entry");
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = stored;
                slot
            }
            None => {
                self.slots.push(stored);
                Slot::try_from(self.slots.len() - 1).expect("fewer than 2^32 entries fit in memory")
            }
        };
        let Self { slots, by_key, hasher, .. } = self;
        let rehash = |&slot: &Slot| hash_of(hasher, key_of(slots, slot));
        by_key.insert_unique(place.hash, slot, rehash);
        let order = &mut self.order[usize::from(self.slots[slot as usize].is_sys())];
        if order.built {
            order.fresh.push(slot);
        }
        slot
    }

    pub(super) fn set_siblings(&mut self, slot: Slot, siblings: Vec<Stored>) {
        let had = self.first(slot).has_siblings();
        self.first_mut(slot).set_siblings(!siblings.is_empty());
        if !siblings.is_empty() {
            self.siblings.insert(slot, siblings);
        } else if had {
            self.siblings.remove(&slot);
        }
    }

    /// Makes room for so many entries in all: growing step by step hashes every key anew at each step.
    pub(super) fn reserve(&mut self, entries: usize) {
        let Self { slots, by_key, hasher, .. } = self;
        by_key.reserve(entries.saturating_sub(by_key.len()), |&slot| hash_of(hasher, key_of(slots, slot)));
        slots.reserve(entries.saturating_sub(slots.len()));
    }

    /// How many entries there is room for.
    pub(super) fn room(&self) -> usize {
        self.slots.capacity()
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, slot: Slot) {
        let hash = hash_of(&self.hasher, self.key(slot));
        if let Ok(found) = self.by_key.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.set_siblings(slot, Vec::new());
        let order = &mut self.order[usize::from(self.first(slot).is_sys())];
        if order.built {
            order.limbo.push(slot)
        } else {
            self.free.push(slot)
        }
        if order.limbo.len() > 64 + order.sorted.len() / 2 {
            // Nobody has scanned for long: give up the order rather than hold on to its slots.
            self.free.append(&mut order.limbo);
            *order = Order::default();
        }
        *self.first_mut(slot) = Stored::free();
    }

    /// Gives memory back when most slots are empty. Answers where entries have moved, `None` if they have not.
    pub(super) fn compact(&mut self) -> Option<Vec<Slot>> {
        if self.slots.len() < 64 || self.len() > self.slots.len() / 4 {
            return None;
        }
        let mut moved = vec![0; self.slots.len()];
        let mut slots = Vec::with_capacity(self.len());
        for (old, stored) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            if !stored.is_free() {
                moved[old] = Slot::try_from(slots.len()).expect("it was a slot");
                slots.push(stored);
            }
        }
        self.siblings =
            std::mem::take(&mut self.siblings).into_iter().map(|(old, s)| (moved[old as usize], s)).collect();
        self.by_key = HashTable::with_capacity(slots.len());
        for slot in (0..).take(slots.len()) {
            let rehash = |&slot: &Slot| hash_of(&self.hasher, key_of(&slots, slot));
            self.by_key.insert_unique(rehash(&slot), slot, rehash);
        }
        (self.slots, self.free, self.order) = (slots, Vec::new(), Default::default());
        Some(moved)
    }

    /// All entries, in no order that may matter.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..).zip(&self.slots).filter(|(_, stored)| !stored.is_free()).map(|(slot, _)| slot)
    }

    /// The entries of a section from `start` on, in the order of their keys.
    ///
    /// As of the last [`update_order`](Self::update_order). Costs a search, and a step for each entry.
    pub(super) fn in_order<'a>(&'a self, section: Section, start: &[u8]) -> impl Iterator<Item = Slot> + use<'a> {
        let (order, slots) = (&self.order[section as usize], &self.slots);
        let from = |list: &[Slot]| list.partition_point(|&slot| slots[slot as usize].key() < start);
        let sorted = &order.sorted[from(&order.sorted)..];
        let fresh = &order.fresh[from(&order.fresh)..];
        merge(slots, sorted, fresh)
    }

    /// Costs a sort of the section the first time, afterwards of what is new since the last time.
    pub(super) fn update_order(&mut self, section: Section) {
        let order = &mut self.order[section as usize];
        let by_key = |slots: &[Stored], a: Slot, b: Slot| slots[a as usize].key().cmp(slots[b as usize].key());
        if !order.built {
            let of_section =
                |slot: &Slot| !self.slots[*slot as usize].is_free() && key_of(&self.slots, *slot).section == section;
            order.built = true;
            order.sorted = (0..).take(self.slots.len()).filter(of_section).collect();
            order.sorted.sort_unstable_by(|&a, &b| by_key(&self.slots, a, b));
            return;
        }
        if !order.limbo.is_empty() {
            let in_use = |slot: &Slot| !self.slots[*slot as usize].is_free();
            order.sorted.retain(in_use);
            order.fresh.retain(in_use);
            order.fresh_sorted = 0;
            self.free.append(&mut order.limbo);
        }
        if order.fresh_sorted < order.fresh.len() {
            order.fresh.sort_unstable_by(|&a, &b| by_key(&self.slots, a, b));
            order.fresh_sorted = order.fresh.len();
        }
        if order.fresh.len() > 1024.max(order.sorted.len() / 16) {
            let fresh = std::mem::take(&mut order.fresh);
            order.sorted = merge(&self.slots, &order.sorted, &fresh).collect();
            order.fresh_sorted = 0;
        }
    }
}

/// Two ordered lists as one.
fn merge<'a>(slots: &'a [Stored], left: &'a [Slot], right: &'a [Slot]) -> impl Iterator<Item = Slot> + 'a {
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(&l), Some(&r)) => match slots[l as usize].key().cmp(slots[r as usize].key()) {
            Ordering::Greater => right.next(),
            _ => left.next(),
        },
        (Some(_), None) => left.next(),
        (None, _) => right.next(),
    })
}
