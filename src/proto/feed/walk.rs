//! Catching up: a walk over the index from dot to key, for who has fallen off the ring or was told by another node. Not
//! responsible for whether this node has what the watcher has seen.
//!
//! For each replica in `R` the live dots after `C`, in the order of counters: at each the key is told as it is now, and
//! then `C` takes in the dot, for all below it have been looked at. Nothing is listed; what is written meanwhile is found
//! by the same walk. While it lasts, all of `R` is ahead: a write that is passed over, because another has replaced it, is
//! accounted for only with that other one.

use super::{Gap, Seen, Told};
use crate::crdt::{CausalContext, Cause, Dot, Dying, Key, OrMap, ReplicaId, Section, Showing};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many dots are looked at in one batch, whether they are of interest or not.
const LOOKS_MAX: usize = 4096;

/// How much one batch tells, at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// A batch ends with what no longer fits; that itself is still told, however large.
    pub(super) const BATCH: Self = Self { events: 64, bytes: 256 << 10 };

    pub(super) const fn is_left(&self) -> bool {
        self.events > 0 && self.bytes > 0
    }

    pub(super) fn take(&mut self, key: &[u8], showing: &Showing) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(key.len() + showing.value.as_ref().map_or(0, Bytes::len));
    }
}

/// How far a walk has come, beside what the watcher has been shown.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// Keys with several live dots, or with some that `R` does not cover, as they were told: by each of those dots they
    /// are met again.
    told: BTreeMap<Bytes, (Cause, Option<Dot>)>,
    /// The last that was looked at of what has expired, by deadline.
    expired: Option<(u64, Dot)>,
    /// From when on deadlines are of interest.
    since_ms: u64,
}

/// One batch of a walk.
pub(super) struct Step<'m> {
    pub(super) map: &'m OrMap,
    pub(super) now_ms: u64,
    pub(super) prefix: &'m [u8],
    pub(super) seen: Seen,
    pub(super) events: Vec<Told>,
    pub(super) room: Room,
}

impl Walk {
    pub(super) fn from(seen: &Seen) -> Self {
        Self { told: BTreeMap::new(), expired: None, since_ms: seen.through_ms }
    }

    /// Whether it is over: the watcher has been shown all that there is.
    pub(super) fn go_on(&mut self, step: &mut Step<'_>) -> Result<bool, Gap> {
        let map = step.map;
        if map.needs_catch_up(&step.seen.context) {
            return Err(Gap::Truncated);
        }
        if step.seen.through_ms < map.forgotten_ms() {
            return Err(Gap::Forgotten);
        }
        step.seen.ahead.join(map.context());
        let all = self.tell_expired(step)
            && map.replicas_met().all(|replica| self.tell_fresh(step, replica))
            && self.tell_pending(step);
        step.seen.tidy();
        Ok(all)
    }

    /// What the watcher knew, and has expired since, by this node's clock.
    fn tell_expired(&mut self, step: &mut Step<'_>) -> bool {
        let (map, now_ms) = (step.map, step.now_ms);
        let seen = &step.seen.context;
        let wanted = |dying: &Dying<'_>| {
            let position = (dying.deadline, dying.dot);
            dying.deadline > self.since_ms && Some(position) > self.expired && seen.contains(dying.dot)
        };
        let mut due: Vec<_> = map.dying_between(self.since_ms, now_ms).filter(wanted).collect();
        due.sort_unstable_by_key(|dying| (dying.deadline, dying.dot));
        for (i, dying) in due.iter().enumerate() {
            if !step.room.is_left() {
                return false;
            }
            self.expired = Some((dying.deadline, dying.dot));
            let again = due.get(i + 1).is_some_and(|next| next.deadline == dying.deadline);
            step.seen.through_ms = step.seen.through_ms.max(dying.deadline - u64::from(again));
            if let Some(showing) = map.showing_after(dying).filter(|_| step.is_wanted(dying.key)) {
                step.tell(dying.key, showing);
            }
        }
        step.seen.through_ms = step.seen.through_ms.max(now_ms);
        (self.since_ms, self.expired) = (self.since_ms.max(now_ms), None);
        true
    }

    /// What has fresh dots of that replica.
    fn tell_fresh(&mut self, step: &mut Step<'_>, replica: ReplicaId) -> bool {
        let known = step.map.context().get(replica);
        let after = step.seen.context.get(replica);
        if known <= after {
            return true;
        }
        for (looks, (dot, key)) in step.map.dots_after(replica, after).enumerate() {
            if dot.counter > known {
                break;
            }
            if looks == LOOKS_MAX || !step.room.is_left() {
                return false;
            }
            step.seen.context.extend_to(dot);
            if step.is_wanted(key) {
                self.tell_once(step, key);
            }
        }
        step.seen.context.extend_to(Dot::new(replica, known));
        true
    }

    /// What was brought by syncs that were cut off, and `R` does not cover: by live dots, or by nothing but a bound (RULE
    /// 7). When there is nothing of it that has not been told, all has.
    fn tell_pending(&mut self, step: &mut Step<'_>) -> bool {
        let context = step.map.context();
        for (key, pending) in step.map.pending_keys(Section::Usr).filter(|(key, _)| key.bytes.starts_with(step.prefix))
        {
            let beyond: Vec<Dot> = step.map.dots_of(key).filter(|&dot| !context.contains(dot)).collect();
            if beyond.is_empty() && context.includes(&pending.bound) {
                continue;
            }
            if !step.room.is_left() {
                return false;
            }
            beyond.into_iter().for_each(|dot| step.seen.ahead.extend_to(dot));
            self.tell_once(step, key);
        }
        true
    }

    fn tell_once(&mut self, step: &mut Step<'_>, key: Key<'_>) {
        let showing = step.map.showing(key, step.now_ms);
        let dots = step.map.dots_of(key);
        let is_met_again = dots.take(2).count() != 1 || step.map.pending_of(key).is_some();
        let as_told = (showing.cause, showing.dot);
        if is_met_again && self.told.insert(Bytes::copy_from_slice(key.bytes), as_told) == Some(as_told) {
            return;
        }
        step.seen.look_back(&showing);
        self.since_ms = self.since_ms.min(step.seen.through_ms);
        step.tell(key, showing);
    }
}

impl Step<'_> {
    fn is_wanted(&self, key: Key<'_>) -> bool {
        key.section == Section::Usr && key.bytes.starts_with(self.prefix)
    }

    fn tell(&mut self, key: Key<'_>, showing: Showing) {
        self.room.take(key.bytes, &showing);
        let seen = Arc::new(self.seen.clone());
        self.events.push(seen.told(Bytes::copy_from_slice(key.bytes), showing));
    }
}

/// All dots that are live beyond the context: somebody who reads the map as it is may see something of them.
pub(super) fn beyond(map: &OrMap) -> CausalContext {
    let mut beyond = CausalContext::new();
    if map.pending() > 0 {
        map.have().iter().for_each(|(replica, _, last)| beyond.extend_to(Dot::new(replica, last)));
    }
    beyond
}
