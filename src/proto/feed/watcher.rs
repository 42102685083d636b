//! One watcher: what it has been shown, and where it stands. Not responsible for when to ask it: whoever reads does so
//! when the node has changed, and as soon as it has dealt with the last answer.

use super::walk::{Room, Step, Walk, beyond};
use super::{Feed, Gap, Seen, Told};
use crate::crdt::OrMap;
use crate::proto::node::Node;
use bytes::Bytes;
use std::sync::Arc;

/// With more replicas than this a mark is made once a batch, not once an event: it takes 16 bytes for each.
const EXACT_REPLICAS_MAX: usize = 24;

/// Whoever is told of the changes below a prefix. It lives outside the node, and costs it nothing while it is not asked.
#[derive(Debug)]
pub struct Watcher {
    prefix: Bytes,
    seen: Arc<Seen>,
    stand: Stand,
    /// What was read and is not durable yet.
    held: Option<Held>,
    rollbacks: u64,
    clock_breaks: u64,
    _watching: Arc<()>,
}

/// Where a watcher stands.
#[derive(Clone, Debug)]
enum Stand {
    /// It is new, and has not been told where it begins.
    New { number: u64 },
    /// The next item of the ring is this one.
    OnRing { number: u64 },
    /// It walks over the index.
    Walking(Walk),
}

/// A batch that has been read of the map, which may be ahead of the disk. If it is taken back, so is this.
#[derive(Debug)]
struct Held {
    commit: u64,
    rollbacks: u64,
    answer: Asked,
    seen: Arc<Seen>,
    stand: Stand,
}

/// What a watcher is told.
#[derive(Debug)]
#[must_use]
pub enum Asked {
    /// These, and perhaps more: ask again. Without any, the mark has moved, or has been confirmed.
    Told(Vec<Told>),
    /// It is not known what was missed. All that the node shows now counts as told.
    Gap(Gap),
    /// Nothing until the node changes.
    Nothing,
    /// Nothing until the node has what the watcher has seen: it has to pull.
    Lacking,
}

impl Watcher {
    pub(crate) fn new(prefix: &[u8], after: Option<Seen>, feed: &Feed, map: &OrMap, watching: Arc<()>) -> Self {
        let (seen, stand) = match after {
            Some(seen) => {
                let walk = Walk::from(&seen);
                (seen, Stand::Walking(walk))
            }
            None => (all_of(map, feed.looked_ms()), Stand::New { number: feed.next() }),
        };
        Self {
            prefix: Bytes::copy_from_slice(prefix),
            seen: Arc::new(seen),
            stand,
            held: None,
            rollbacks: feed.rollbacks,
            clock_breaks: feed.clock_breaks,
            _watching: watching,
        }
    }

    /// What it has been shown by all answers until now.
    pub fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// What there is to tell, of what is durable.
    pub fn ask(&mut self, node: &Node, now_ms: u64) -> Asked {
        if let Some(held) = self.held.take().filter(|held| held.rollbacks == node.feed().rollbacks) {
            return self.hold(node, held);
        }
        if self.rollbacks != node.feed().rollbacks {
            return self.give_up(node, now_ms, Gap::TakenBack);
        }
        if self.clock_breaks != node.feed().clock_breaks {
            return self.give_up(node, now_ms, Gap::Clock);
        }
        match self.stand.clone() {
            Stand::New { number } | Stand::OnRing { number } if number < node.feed().first() => {
                self.stand = Stand::Walking(Walk::from(&self.seen));
                self.ask(node, now_ms)
            }
            Stand::New { number } => {
                let (commit, rollbacks) = (node.commit_of_now(), node.feed().rollbacks);
                let (seen, stand) = (self.seen.clone(), Stand::OnRing { number });
                self.hold(node, Held { commit, rollbacks, answer: Asked::Told(Vec::new()), seen, stand })
            }
            Stand::OnRing { number } => self.read_ring(node, number),
            Stand::Walking(walk) => self.walk(node, now_ms, walk),
        }
    }

    /// Begins again with what it was shown elsewhere.
    pub fn restart(&mut self, seen: Seen) {
        self.stand = Stand::Walking(Walk::from(&seen));
        (self.seen, self.held) = (Arc::new(seen), None);
    }

    /// Goes on from what the node shows now, whatever was missed: after [`Asked::Lacking`], when that takes too long.
    pub fn give_up(&mut self, node: &Node, now_ms: u64, gap: Gap) -> Asked {
        (self.rollbacks, self.clock_breaks) = (node.feed().rollbacks, node.feed().clock_breaks);
        let seen = all_of(node.map(), node.feed().looked_ms().max(now_ms));
        let stand = Stand::OnRing { number: node.feed().next() };
        self.read(node, Asked::Gap(gap), seen, stand)
    }

    fn walk(&mut self, node: &Node, now_ms: u64, mut walk: Walk) -> Asked {
        if !self.seen.is_within(node.map().context()) {
            return Asked::Lacking;
        }
        let prefix = self.prefix.clone();
        let seen = Seen::clone(&self.seen);
        let mut step = Step { map: node.map(), now_ms, prefix: &prefix, seen, events: Vec::new(), room: Room::BATCH };
        match walk.go_on(&mut step) {
            Err(gap) => self.give_up(node, now_ms, gap),
            Ok(over) => {
                let stand = if over { Stand::OnRing { number: node.feed().next() } } else { Stand::Walking(walk) };
                let (events, seen) = (step.events, step.seen);
                self.read(node, Asked::Told(events), seen, stand)
            }
        }
    }

    fn read(&mut self, node: &Node, answer: Asked, seen: Seen, stand: Stand) -> Asked {
        let answer = self.marked(answer, &seen);
        let (commit, rollbacks) = (node.commit_of_now(), node.feed().rollbacks);
        self.hold(node, Held { commit, rollbacks, answer, seen: Arc::new(seen), stand })
    }

    /// Tells what is durable, and keeps what is not.
    fn hold(&mut self, node: &Node, held: Held) -> Asked {
        if held.commit > node.durable_commit() {
            self.held = Some(held);
            return Asked::Nothing;
        }
        (self.seen, self.stand) = (held.seen, held.stand);
        held.answer
    }

    fn read_ring(&mut self, node: &Node, mut number: u64) -> Asked {
        let (feed, durable) = (node.feed(), node.durable_commit());
        let (mut seen, mut events, mut room) = (Seen::clone(&self.seen), Vec::new(), Room::BATCH);
        while let Some(item) = feed.get(number).filter(|item| room.is_left() && item.commit <= durable) {
            number += 1;
            // It was told by another node, whose clock is ahead of this one's.
            let told = item.deadline.is_some_and(|deadline| deadline <= seen.through_ms);
            item.show(&mut seen);
            if let Some((key, showing)) = item.event.as_ref().filter(|(key, _)| !told && key.starts_with(&self.prefix))
            {
                room.take(key, showing);
                events.push(Arc::new(seen.clone()).told(key.clone(), showing.clone()));
            }
        }
        if number == feed.next() {
            seen.through_ms = seen.through_ms.max(feed.looked_ms());
        }
        let answer = if events.is_empty() { Asked::Nothing } else { self.marked(Asked::Told(events), &seen) };
        if seen != *self.seen {
            self.seen = Arc::new(seen);
        }
        self.stand = Stand::OnRing { number };
        answer
    }

    /// Large marks are made once a batch: all but the last event say what has been shown before the batch, and that all of
    /// the batch may have been.
    fn marked(&self, mut answer: Asked, last: &Seen) -> Asked {
        if let Asked::Told(events) = &mut answer
            && last.context.len() > EXACT_REPLICAS_MAX
            && let Some((end, before)) = events.split_last_mut()
        {
            let mut rough = Seen::clone(&self.seen);
            rough.ahead.join(&last.context);
            rough.ahead.join(&last.ahead);
            rough.through_ms = rough.through_ms.min(last.through_ms);
            let rough = Arc::new(rough);
            before.iter_mut().for_each(|told| told.seen = rough.clone());
            end.seen = Arc::new(last.clone());
        }
        answer
    }
}

/// Somebody who reads all that the map shows now has seen this.
fn all_of(map: &OrMap, through_ms: u64) -> Seen {
    Seen { context: map.context().clone(), ahead: beyond(map), through_ms }
}
