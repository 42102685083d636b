//! What may be delivered when. Not responsible for the map, which it is shown, nor for who is told: the log's readers are.
//!
//! A message is ready when all its causes are delivered, or gone: the node has incorporated them (`R` has their dots), and
//! they are not live, so that they can not come any more. Else it waits for the first cause that is not, by that alone.
//! Only headers wait, and no more than [`WAITING_MAX`]: what is beyond stays in the map, and is looked for there when the
//! node has learned something. `R` grows to cover it, and then of what is visible and not delivered there is always a
//! message without causes among the others, so delivery cannot get stuck for want of room.

use super::log::{Item, Log, Mark};
use super::message::{Count, Header, count_key, dot_in, message_key, sender_in};
use crate::crdt::{CausalContext, Dot, Key, OrMap, Reading, ReplicaId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most that waits, counting each message and each of its causes as one.
const WAITING_MAX: usize = 1 << 16;
/// Who listens slowly is told for so long that messages were missed.
const KEEP_MISSED_MS: u64 = 3_600_000;

/// When something happens to a node: by its clock, in milliseconds since 1970, and by its commits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Now.
    pub now_ms: u64,
    /// The commit that makes it durable,
    pub commit: u64,
    /// and the last one that is.
    pub durable: u64,
}

/// The messages of one node: what it has delivered, and what waits for its causes.
#[derive(Debug)]
pub struct Delivery {
    marks: BTreeMap<ReplicaId, Mark>,
    waiting: BTreeMap<Dot, Header>,
    /// How much that is,
    weight: usize,
    /// and may be.
    pub(super) waiting_max: usize,
    /// By the message that must come first, those that wait for it.
    parked: BTreeMap<Dot, BTreeSet<Dot>>,
    /// Visible, and not looked at yet.
    fresh: Vec<Dot>,
    /// Their counts have changed, and may say that something was missed.
    recounted: BTreeSet<ReplicaId>,
    /// Something visible did not find room.
    left_out: bool,
    /// `R`, at the last look.
    context: CausalContext,
    /// Who began to count after this, in milliseconds since 1970, has sent nothing that was not for this node too.
    born_ms: u64,
    pub(super) log: Log,
}

impl Delivery {
    /// Of a replica that there has been since then, in milliseconds since 1970.
    pub fn new(born_ms: u64) -> Self {
        Self {
            marks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            weight: 0,
            waiting_max: WAITING_MAX,
            parked: BTreeMap::new(),
            fresh: Vec::new(),
            recounted: BTreeSet::new(),
            left_out: false,
            context: CausalContext::new(),
            born_ms,
            log: Log::default(),
        }
    }

    /// What of the map's messages is deliverable now counts as delivered by the process before this one, and what has been
    /// counted by then as counted.
    pub fn resume(&mut self, map: &mut OrMap, now_ms: u64) {
        self.left_out = true;
        self.go_through(map, Moment { now_ms, ..Moment::default() });
        let counts = map.scan(Key::sys(super::SENDERS), now_ms);
        let counts: Vec<_> = counts.filter_map(|(key, reading)| counted(sender_in(key)?, &reading)).collect();
        for (dot, count) in counts {
            let mark = self.marks.entry(dot.replica).or_insert(Mark { since: count.since, ..Mark::default() });
            mark.number = mark.number.max(count.sent);
            if map.context().contains(dot) {
                // All of that sender that is live is within R too, and was delivered.
                mark.counter = mark.counter.max(dot.counter - 1);
            }
        }
        self.recounted.clear();
        self.log.settle();
    }

    // --- What becomes visible

    /// A key of `sys` shows something else.
    pub fn note(&mut self, key: &[u8]) {
        self.fresh.extend(dot_in(key));
        self.recounted.extend(sender_in(key));
    }

    /// Whether there is something to look at.
    pub fn is_due(&self, context: &CausalContext) -> bool {
        let waits = self.left_out || !self.waiting.is_empty() || !self.recounted.is_empty();
        !self.fresh.is_empty() || (waits && self.context != *context)
    }

    /// How many messages were delivered since this process began; those that were missed count as one each time.
    pub fn delivered(&self) -> u64 {
        self.log.next()
    }

    /// Delivers what is ready. See [`is_due`](Self::is_due).
    pub fn deliver(&mut self, map: &mut OrMap, moment: Moment) {
        self.log.trim(moment.durable, moment.now_ms);
        self.go_through(map, moment);
        self.recount(map, moment);
    }

    /// Delivers what it can, and as long as something was left out and there is progress, looks for more.
    fn go_through(&mut self, map: &mut OrMap, moment: Moment) {
        loop {
            let before = self.log.next();
            if self.left_out {
                self.look_through(map, moment.now_ms);
            }
            self.go_on(map, moment);
            if !self.left_out || before == self.log.next() {
                break;
            }
        }
    }

    /// All messages that are live and not delivered are fresh: in the order of their timestamps, for then few have to wait.
    fn look_through(&mut self, map: &mut OrMap, now_ms: u64) {
        self.left_out = false;
        let all = map.scan(Key::sys(super::EVENTS), now_ms);
        let all = all.filter_map(|(key, reading)| Some((reading.timestamp, dot_in(key)?)));
        let new = |dot: &Dot| !self.waiting.contains_key(dot) && !self.is_delivered(*dot);
        let mut all: Vec<_> = all.filter(|(_, dot)| new(dot)).collect();
        all.sort_unstable();
        self.fresh = all.into_iter().map(|(_, dot)| dot).collect();
    }

    fn go_on(&mut self, map: &OrMap, moment: Moment) {
        let mut due: VecDeque<Dot> = std::mem::take(&mut self.fresh).into();
        due.extend(self.covered_since(map.context()));
        self.context = map.context().clone();
        while let Some(dot) = due.pop_front() {
            self.consider(map, dot, moment);
            due.extend(self.released(dot));
        }
    }

    /// What waits for messages that `R` has come to cover: they are gone if they are not here.
    fn covered_since(&mut self, context: &CausalContext) -> Vec<Dot> {
        let covered = self.parked.keys().filter(|cause| context.contains(**cause) && !self.context.contains(**cause));
        let covered: Vec<Dot> = covered.copied().collect();
        covered.into_iter().filter_map(|cause| self.parked.remove(&cause)).flatten().collect()
    }

    /// What waits for a message, or one before it, that has been looked at and does not wait itself.
    fn released(&mut self, dot: Dot) -> Vec<Dot> {
        if self.waiting.contains_key(&dot) {
            return Vec::new();
        }
        let causes: Vec<Dot> = self.parked.range(Dot::new(dot.replica, 0)..=dot).map(|(cause, _)| *cause).collect();
        causes.into_iter().filter_map(|cause| self.parked.remove(&cause)).flatten().collect()
    }

    // --- One message

    fn consider(&mut self, map: &OrMap, dot: Dot, moment: Moment) {
        let waited = self.take_out(dot);
        if self.is_delivered(dot) {
            return;
        }
        let Some((header, deadline)) = live(map, dot, waited, moment.now_ms) else { return };
        let blocker = header.context.iter().find_map(|cause| self.blocker(map, cause, moment.now_ms));
        match blocker {
            Some(cause) => self.park(dot, header, cause),
            None => self.put_down(dot, header.count, deadline, moment),
        }
    }

    fn is_delivered(&self, dot: Dot) -> bool {
        self.marks.get(&dot.replica).is_some_and(|mark| dot.counter <= mark.counter)
    }

    /// The message that has to come before whatever has this cause; `None` if the cause is delivered or gone.
    fn blocker(&self, map: &OrMap, cause: Dot, now_ms: u64) -> Option<Dot> {
        if self.is_delivered(cause) {
            return None;
        }
        let waits = self.waiting.range(Dot::new(cause.replica, 0)..=cause).next_back();
        if let Some((dot, _)) = waits {
            return Some(*dot);
        }
        let is_gone = map.context().contains(cause) && live(map, cause, None, now_ms).is_none();
        (!is_gone).then_some(cause)
    }

    fn park(&mut self, dot: Dot, header: Header, cause: Dot) {
        let weight = 1 + header.context.len();
        if self.weight + weight > self.waiting_max {
            self.left_out = true;
            return;
        }
        self.weight += weight;
        self.waiting.insert(dot, header);
        self.parked.entry(cause).or_default().insert(dot);
    }

    fn take_out(&mut self, dot: Dot) -> Option<Header> {
        let header = self.waiting.remove(&dot)?;
        self.weight -= 1 + header.context.len();
        Some(header)
    }

    fn put_down(&mut self, dot: Dot, count: Count, until_ms: u64, moment: Moment) {
        let (number, missed) = (count.sent, (count.sent - 1).saturating_sub(self.accounted(dot.replica, count)));
        let mark = Mark { counter: dot.counter, number, since: count.since, live_until_ms: until_ms };
        self.set_mark(dot.replica, mark, moment);
        self.log.push(Item { commit: moment.commit, dot, is_missed: false, number, missed, until_ms });
    }

    fn set_mark(&mut self, sender: ReplicaId, mark: Mark, moment: Moment) {
        let was = self.marks.insert(sender, mark);
        self.log.note(moment.commit, moment.durable, sender, was);
    }

    // --- How many

    /// How many of the messages that are counted there have been told of here, or were not for this node.
    fn accounted(&self, sender: ReplicaId, count: Count) -> u64 {
        match self.marks.get(&sender).filter(|mark| mark.since == count.since) {
            Some(mark) => mark.number,
            None if count.since > self.born_ms => 0,
            // What was sent before there was this replica, or longer ago than anybody remembers.
            None => count.sent,
        }
    }

    /// Counts tell of messages that are gone, though nobody sends another one. They hold as soon as `R` has them, and
    /// nothing that they count still waits.
    fn recount(&mut self, map: &OrMap, moment: Moment) {
        if self.left_out {
            return;
        }
        for sender in std::mem::take(&mut self.recounted) {
            let key = count_key(sender);
            let reading = map.read(Key::sys(&key), moment.now_ms);
            let Some((dot, count)) = reading.and_then(|reading| counted(sender, &reading)) else { continue };
            let waits = self.waiting.range(Dot::new(sender, 0)..dot).next().is_some();
            if waits || !map.context().contains(dot) {
                self.recounted.insert(sender);
            } else {
                self.pass_over(Dot::new(sender, dot.counter - 1), count, moment);
            }
        }
    }

    fn pass_over(&mut self, last: Dot, count: Count, moment: Moment) {
        if self.is_delivered(last) {
            return;
        }
        let missed = count.sent.saturating_sub(self.accounted(last.replica, count));
        let live_until_ms = self.marks.get(&last.replica).map_or(0, |mark| mark.live_until_ms);
        let mark = Mark { counter: last.counter, number: count.sent, since: count.since, live_until_ms };
        self.set_mark(last.replica, mark, moment);
        if missed > 0 {
            let until_ms = moment.now_ms.saturating_add(KEEP_MISSED_MS);
            let (commit, number) = (moment.commit, count.sent);
            self.log.push(Item { commit, dot: last, is_missed: true, number, missed, until_ms });
        }
    }

    // --- What follows for others

    /// What a message sent now depends on: of each sender of a live message the last that was delivered.
    pub fn causes(&self, now_ms: u64) -> CausalContext {
        let live = self.marks.iter().filter(|(_, mark)| mark.live_until_ms > now_ms);
        live.map(|(sender, mark)| (*sender, mark.counter)).collect()
    }

    /// The last of each sender that was delivered, or passed over.
    pub(super) fn marks(&self) -> &BTreeMap<ReplicaId, Mark> {
        &self.marks
    }

    /// Forgets the senders whose counts are forgotten.
    pub fn forget(&mut self, map: &OrMap, now_ms: u64) {
        self.marks.retain(|sender, mark| {
            mark.live_until_ms > now_ms || map.get(Key::sys(&count_key(*sender)), now_ms).is_some()
        });
    }

    /// The map was taken back to what is durable: so is this.
    pub fn roll_back(&mut self, map: &mut OrMap, durable: u64, now_ms: u64) {
        for (sender, was) in self.log.roll_back(durable) {
            match was {
                Some(mark) => self.marks.insert(sender, mark),
                None => self.marks.remove(&sender),
            };
        }
        (self.weight, self.waiting, self.parked) = (0, BTreeMap::new(), BTreeMap::new());
        self.look_through(map, now_ms);
        let senders = map.scan(Key::sys(super::SENDERS), now_ms).filter_map(|(key, _)| sender_in(key));
        self.recounted = senders.collect();
    }

    /// How many messages wait for others.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The header and the deadline of a message, if it lives and is one.
fn live(map: &OrMap, dot: Dot, known: Option<Header>, now_ms: u64) -> Option<(Header, u64)> {
    let key = message_key(dot);
    let reading = map.read(Key::sys(&key), now_ms).filter(|reading| reading.dot == dot)?;
    let header = known.or_else(|| Header::decode(dot, reading.value).ok().map(|decoded| decoded.0))?;
    Some((header, reading.deadline.unwrap_or(u64::MAX)))
}

/// A sender's count, and the dot that it was written with: right after the last message that it counts.
fn counted(sender: ReplicaId, reading: &Reading<'_>) -> Option<(Dot, Count)> {
    let own = reading.dot.replica == sender && reading.dot.counter > 1;
    Some((reading.dot, Count::from_json(reading.value).filter(|_| own)?))
}
