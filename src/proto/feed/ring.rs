//! The ring of recent changes. Not responsible for who has been told of them: each watcher knows that of itself.

use super::Seen;
use crate::crdt::{CausalContext, Dot, Key, OrMap, Section, Showing};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// So many changes are kept for watchers that are slow,
const ITEMS_MAX: usize = 10_000;
/// as long as their keys and values take no more bytes than this.
const BYTES_MAX: usize = 8 << 20;
/// What an item takes beside them, about.
const ITEM_BYTES: usize = 200;

/// Recent changes of what the users' keys show, in their order. Empty while nobody watches.
#[derive(Debug, Default)]
pub struct Feed {
    /// One more than there are watchers.
    watchers: Arc<()>,
    is_on: bool,
    items: VecDeque<Item>,
    /// The number of the first item that is kept.
    first: u64,
    bytes: usize,
    /// `R`, as of the last item.
    context: CausalContext,
    /// What had expired by then has been noted.
    looked_ms: u64,
    /// Keys that have changed since the last item, with the first dot that they did so by.
    changed: BTreeMap<Box<[u8]>, Option<Dot>>,
    /// How often the map was taken back to what is durable,
    pub(super) rollbacks: u64,
    /// and the clock set back over a deadline.
    pub(super) clock_breaks: u64,
}

/// Part of what one input has changed. The parts are in the order of their dots, so that each moves the mark exactly.
#[derive(Debug)]
pub(super) struct Item {
    /// The commit that makes it durable.
    pub(super) commit: u64,
    pub(super) event: Option<(Bytes, Showing)>,
    /// The deadline, of what has expired.
    pub(super) deadline: Option<u64>,
    /// What `R` grew by with that input,
    growth: Arc<[Dot]>,
    /// and how much of it this item and those before it account for: all of it, or what comes no later than this dot.
    upto: Upto,
    /// Live dots of the key that `R` does not cover.
    beyond: SmallVec<[Dot; 1]>,
    through_ms: u64,
}

#[derive(Clone, Copy, Debug)]
enum Upto {
    Nothing,
    Dot(Dot),
    All,
}

impl Item {
    /// The watcher is shown this.
    pub(super) fn show(&self, seen: &mut Seen) {
        for &dot in &*self.growth {
            seen.ahead.extend_to(dot);
            match self.upto {
                Upto::All => seen.context.extend_to(dot),
                Upto::Dot(upto) if dot.replica < upto.replica => seen.context.extend_to(dot),
                Upto::Dot(upto) if dot.replica == upto.replica => seen.context.extend_to(upto),
                Upto::Dot(_) | Upto::Nothing => {}
            }
        }
        self.beyond.iter().for_each(|&dot| seen.ahead.extend_to(dot));
        seen.through_ms = seen.through_ms.max(self.through_ms);
        if let Some((_, showing)) = &self.event {
            seen.look_back(showing);
        }
        seen.tidy();
    }

    fn bytes(&self) -> usize {
        let of = |(key, showing): &(Bytes, Showing)| key.len() + showing.value.as_ref().map_or(0, Bytes::len);
        ITEM_BYTES + self.event.as_ref().map_or(0, of)
    }
}

impl Feed {
    /// Somebody watches, from now on, for as long as what this answers is kept.
    pub(crate) fn subscribe(&mut self, map: &OrMap, now_ms: u64) -> Arc<()> {
        if !self.is_on {
            self.is_on = true;
            self.context = map.context().clone();
            self.looked_ms = now_ms;
        }
        self.watchers.clone()
    }

    /// Whether changes are noted.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// What had expired by then, in milliseconds since 1970, has been noted.
    pub(crate) fn looked_ms(&self) -> u64 {
        self.looked_ms
    }

    /// The number of the next item.
    pub(super) fn next(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// Nothing to be told is older than this number.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn get(&self, number: u64) -> Option<&Item> {
        usize::try_from(number.checked_sub(self.first)?).ok().and_then(|i| self.items.get(i))
    }

    /// A key shows something else, by a write that has this dot, or because something was taken away.
    pub(crate) fn note(&mut self, key: Key<'_>, dot: Option<Dot>) {
        if !self.is_on || key.section != Section::Usr {
            return;
        }
        // What was only taken away comes first, for nothing covers it.
        self.changed.entry(key.bytes.into()).and_modify(|first| *first = dot.min(*first)).or_insert(dot);
    }

    /// An input has been taken in: what it has changed is numbered.
    pub(crate) fn flush(&mut self, map: &OrMap, commit: u64, now_ms: u64) {
        if !self.is_on {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        let growth: Arc<[Dot]> = map.context().missing_from(&self.context).collect();
        if changed.is_empty() && growth.is_empty() {
            self.rest();
            return;
        }
        self.context.join(map.context());
        let within = |dot: &Dot| map.context().contains(*dot);
        let mut changed: Vec<_> = changed.into_iter().map(|(key, dot)| (dot.filter(within), key)).collect();
        changed.sort();
        let last = changed.len().saturating_sub(1);
        for (i, (dot, key)) in changed.iter().enumerate() {
            let showing = map.showing(Key::usr(key), now_ms);
            let upto = if i == last { Upto::All } else { dot.map_or(Upto::Nothing, Upto::Dot) };
            let beyond = map.dots_of(Key::usr(key)).filter(|dot| !within(dot)).collect();
            let event = Some((Bytes::copy_from_slice(key), showing));
            let growth = growth.clone();
            self.push(Item { commit, event, deadline: None, growth, upto, beyond, through_ms: self.looked_ms });
        }
        if changed.is_empty() {
            let (beyond, upto) = (SmallVec::new(), Upto::All);
            self.push(Item { commit, event: None, deadline: None, growth, upto, beyond, through_ms: self.looked_ms });
        }
        self.rest();
    }

    /// Time has passed: what has expired is numbered, before anything else that happens now.
    pub(crate) fn pass_time(&mut self, map: &OrMap, commit: u64, now_ms: u64) {
        if !self.is_on {
            return;
        }
        if now_ms < self.looked_ms && map.dying_between(now_ms, self.looked_ms).next().is_some() {
            // What has been told as expired shows again.
            self.clock_breaks += 1;
        }
        let dying: Vec<_> = map.dying_between(self.looked_ms, now_ms).collect();
        for (i, one) in dying.iter().enumerate() {
            let Some(showing) = map.showing_after(one).filter(|_| one.key.section == Section::Usr) else { continue };
            let again = dying.get(i + 1).is_some_and(|next| next.deadline <= one.deadline);
            self.push(Item {
                commit,
                event: Some((Bytes::copy_from_slice(one.key.bytes), showing)),
                deadline: Some(one.deadline),
                growth: Arc::default(),
                upto: Upto::Nothing,
                beyond: SmallVec::new(),
                // Whoever goes on from between two of one moment is told both again.
                through_ms: one.deadline - u64::from(again),
            });
        }
        self.looked_ms = now_ms;
    }

    /// The map was taken back to what is durable. What was noted of the rest has not been told to anybody, but may have been
    /// read by who was about to be told.
    pub(crate) fn roll_back(&mut self, map: &OrMap) {
        self.rollbacks += 1;
        self.changed.clear();
        self.clear();
        self.context = map.context().clone();
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.items.push_back(item);
        while self.items.len() > ITEMS_MAX || self.bytes > BYTES_MAX {
            let Some(gone) = self.items.pop_front() else { break };
            self.bytes -= gone.bytes();
            self.first += 1;
        }
    }

    /// Nobody watches any more.
    fn rest(&mut self) {
        if Arc::strong_count(&self.watchers) == 1 {
            self.is_on = false;
            self.clear();
        }
    }

    /// Whoever was about to be told something here is off the ring from now on.
    fn clear(&mut self) {
        self.first = self.next() + 1;
        self.items = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    fn on(map: &OrMap) -> (Feed, Arc<()>) {
        let mut feed = Feed::default();
        let watching = feed.subscribe(map, 1);
        (feed, watching)
    }

    fn put(feed: &mut Feed, map: &mut OrMap, value: &[u8]) {
        let dot = map.put(b"key", value, 1);
        feed.note(Key::usr(b"key"), Some(dot));
        feed.flush(map, 0, 1);
    }

    #[test]
    fn the_ring_is_bounded_by_count_and_by_bytes() {
        let mut map = OrMap::new(ReplicaId::from(1));
        let (mut feed, _watching) = on(&map);
        (0..ITEMS_MAX + 10).for_each(|_| put(&mut feed, &mut map, b"value"));
        assert_eq!((feed.items.len(), feed.first()), (ITEMS_MAX, 10));
        (0..20).for_each(|_| put(&mut feed, &mut map, &vec![0; 1 << 20]));
        assert!(feed.bytes <= BYTES_MAX && feed.items.len() == 7, "{} items, {} bytes", feed.items.len(), feed.bytes);
        assert_eq!(feed.bytes, feed.items.iter().map(Item::bytes).sum::<usize>());
    }

    #[test]
    fn nothing_is_kept_while_nobody_watches() {
        let mut map = OrMap::new(ReplicaId::from(1));
        let (mut feed, watching) = on(&map);
        put(&mut feed, &mut map, b"1");
        assert_eq!(feed.items.len(), 1);
        drop(watching);
        put(&mut feed, &mut map, b"2");
        assert!(!feed.is_on() && feed.items.is_empty() && feed.get(0).is_none());
        let before = feed.next();
        put(&mut feed, &mut map, b"3");
        assert_eq!(feed.next(), before);
    }

    #[test]
    fn the_changes_of_one_merge_move_the_mark_dot_by_dot() {
        let (mut a, mut b) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
        let (mut feed, _watching) = on(&b);
        for key in [b"z", b"y", b"x"] {
            a.put(key, b"1", 1);
        }
        let changes = b.merge(a.delta_since(b.context())).changes;
        changes.iter().for_each(|change| feed.note(Key::usr(&change.key), change.dot));
        feed.flush(&b, 0, 1);
        let mut seen = Seen::default();
        for (number, key) in [b"z", b"y", b"x"].into_iter().enumerate() {
            let item = feed.get(number as u64).expect("three items");
            assert_eq!(item.event.as_ref().map(|e| &e.0[..]), Some(&key[..]));
            item.show(&mut seen);
            assert_eq!(seen.context.get(a.id()), number as u64 + 1);
            assert_eq!(seen.ahead.get(a.id()), if number == 2 { 0 } else { 3 });
        }
    }
}
