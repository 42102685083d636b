//! One link as the node sees it: who is at the other end, what it is known to have, what is under way on it.
//! Not responsible for connections: the runtime is.

use super::KeyId;
use super::codec::{self, Compressing, FEATURE_ZSTD, Spoken};
use super::ledger::{Carried, Ledger};
use super::message::{Hello, Message};
use super::node::Retiring;
use super::pace::Pace;
use super::sync::{Receiver, Sender};
use super::time::Instant;
use crate::crdt::{CausalContext, Delta, ReplicaId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Names a link for as long as it lives; never used again. The runtime draws them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The control channel of every link.
pub const CONTROL: u64 = 0;

/// Why one of two links between the same nodes is closed: no fault, and nothing to be reported.
pub const DUPLICATE: &str = "there is another link between the two";

/// Why a link is closed that was only to meet: no fault either.
pub const PASSED: &str = "nothing is left to say, and the link was not to stay";

/// Why a link is closed whose other end is at this node too: no fault either.
pub const ITSELF: &str = "that is this node itself";

/// Why a link is closed whose peer has not proved itself anew.
pub const RETIRED: &str = "the secret or authority that it was made with is not accepted any more";

/// Why links are closed to all who say that they are the same replica. Whoever is told this has to say it aloud.
pub const CLONED: &str =
    "several processes run with this replica id: a copied data directory must not be started twice";

/// A link that takes so many pushes
const BUSY_PUSHES: usize = 4;
/// within this time is busy: the next push waits for more to go with it.
const BUSY_TIME: Duration = Duration::from_millis(200);

/// So many dots that are announced and lacking are much: of fewer a way may be broken for each.
const MUCH: u64 = 8;

/// How a link is used, for people to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// Fresh writes are pushed on it.
    Eager,
    /// It is announced on it what there is; or it has not said hello yet, or it is not known what the peer has.
    Lazy,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It stays: writes are told on it.
    Active,
    /// Two meet, compare and part.
    Passing,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) role: Role,
    /// When it came up, or became what it is.
    pub(crate) up_at: Instant,
    /// Of an active link in a large cluster: what others wrote is forwarded on it, not only announced,
    pub(crate) eager: bool,
    /// and by the peer. Each end decides what it wants to be told: a way that is late in one direction may be first in the other.
    pub(crate) fed: bool,
    /// How many pushes in a row brought mostly what others had brought before.
    pub(crate) late: u32,
    /// The peer has announced what this node lacks.
    pub(crate) awaited: Option<Awaited>,
    /// In a small cluster: what others had brought here that the peer was not known to have, and when it gets that from here.
    pub(crate) withheld: Option<(Instant, CausalContext)>,
    /// How long a frame and an answer take, as far as the transport has told.
    pub(crate) round_trip: Duration,
    /// What was dialled, or whence it came.
    pub(crate) address: String,
    pub(crate) dialed: bool,
    /// Who the certificate says it is, or else the hello.
    pub(crate) identity: Option<ReplicaId>,
    /// With which key the peer has proved itself.
    pub(crate) key: KeyId,
    /// That is not accepted any more.
    pub(crate) retiring: Option<Retiring>,
    pub(crate) hello: Option<Hello>,
    /// What this side has said in its own hello, until the other's is there.
    pub(crate) introduced: Option<Introduced>,
    /// What was said of contexts on the control channel, by this side and by the other.
    pub(crate) said: Spoken,
    pub(crate) heard: Spoken,
    /// What the bytes were for, sent and received.
    pub(crate) sent: Ledger,
    pub(crate) received: Ledger,
    /// If the peer reads compressed frames.
    pub(crate) compressing: Option<Compressing>,
    /// Until then pushes tell keys: the peer could not find a write that one was named by, and others are likely to follow.
    pub(crate) keys_until: Instant,
    /// The next pull asks for keys: an entry was named by a write that is not live here.
    pub(crate) by_key: bool,
    /// What the peer is known to have: its context only grows, so this stays true, unless it lost its tail in a crash;
    /// then it answers a push with what it has.
    pub(crate) known: Option<CausalContext>,
    /// The node's version up to which nothing is left to push or announce.
    pub(crate) pushed: u64,
    pub(crate) announced: u64,
    /// Control frames that the transport has not taken yet, and how large a push may be.
    pub(crate) control: Pace,
    pub(crate) push_not_before: Instant,
    /// Until then only what was written here is pushed.
    pub(crate) forward_not_before: Instant,
    /// When the last pushes went, the oldest first.
    pushes: [Instant; BUSY_PUSHES],
    pub(crate) pull: Option<Pulling>,
    /// Pull again when the one under way, or the catch-up from another peer, is over.
    pub(crate) pull_wanted: bool,
    /// A push was refused because of a catch-up: the peer has to be told what this node has.
    pub(crate) refused: bool,
    pub(crate) sending: BTreeMap<u64, Sending>,
    /// What the peer will have once a pull of its own is over: pushes build on it already.
    pub(crate) expected: Option<Expected>,
    /// Pushes that build on what a pull is bringing here: they are joined, and count once it is over.
    pub(crate) deferred: Option<Deferred>,
    next_channel: u64,
    pub(crate) last_heard: Instant,
    /// Frames of other channels that have overtaken the hello: streams are ordered in themselves only.
    pub(crate) early: Vec<(u64, Bytes)>,
    /// Pushes of a peer that was heard again after a silence, to be joined later.
    pub(crate) held: Vec<Delta>,
    /// How long the frames of those were.
    pub(crate) held_bytes: usize,
    /// The peer has said that it is stopping.
    pub(crate) goodbye: bool,
    /// Closed from this side for a reason that says nothing about the peer's health.
    pub(crate) closing: bool,
}

/// What a peer has announced, and may yet come from another.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// Until then.
    pub(crate) until: Instant,
    pub(crate) context: CausalContext,
    /// How many dots of it were lacking; 0 if most have come meanwhile, and the rest has been given more time.
    pub(crate) lacking: u64,
}

impl Awaited {
    /// Whether so many dots that have not come show that the way is broken, and not only longer for some: where much is under
    /// way, some of it always comes late.
    pub(crate) fn is_cut_off(&self, left: u64) -> bool {
        left > 0 && (self.lacking < MUCH || left * 2 >= self.lacking)
    }
}

/// A pull that this node has asked for.
#[derive(Debug)]
pub(crate) struct Pulling {
    pub(crate) channel: u64,
    pub(crate) receiver: Receiver,
    pub(crate) begun: Instant,
    pub(crate) last_progress: Instant,
}

/// A pull that the peer has asked for.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) sender: Sender,
    /// Frames that the transport has not taken yet, and how large the next should be.
    pub(crate) pace: Pace,
}

/// See [`Link::introduced`].
#[derive(Debug)]
pub(crate) struct Introduced {
    pub(crate) hello: Hello,
    /// Its context and bound at that moment.
    pub(crate) context: CausalContext,
    pub(crate) bound: CausalContext,
}

/// See [`Link::expected`].
#[derive(Debug)]
pub(crate) struct Expected {
    /// Of the pull.
    pub(crate) channel: u64,
    /// Its snapshot, and those of the pushes since.
    pub(crate) context: CausalContext,
}

/// See [`Link::deferred`]: a chain of pushes, each of which builds on the one before.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// What the first builds on.
    pub(crate) base: CausalContext,
    /// What the last brings.
    pub(crate) snapshot: CausalContext,
}

impl Deferred {
    /// The next push of the chain, if it is one.
    pub(crate) fn extend(&mut self, base: &CausalContext, snapshot: &CausalContext) {
        if self.snapshot.includes(base) || self.base.includes(base) {
            self.snapshot.join(snapshot);
        }
    }
}

impl Link {
    pub(crate) fn new(address: String, dialed: bool, identity: Option<ReplicaId>, key: KeyId, now: Instant) -> Self {
        Self {
            role: Role::Active,
            up_at: now,
            eager: true,
            fed: true,
            late: 0,
            awaited: None,
            withheld: None,
            round_trip: Duration::ZERO,
            address,
            dialed,
            identity,
            key,
            retiring: None,
            hello: None,
            introduced: None,
            said: Spoken::default(),
            heard: Spoken::default(),
            sent: Ledger::default(),
            received: Ledger::default(),
            compressing: None,
            keys_until: now,
            by_key: false,
            known: None,
            pushed: 0,
            announced: 0,
            control: Pace::of_pushes(),
            push_not_before: now,
            forward_not_before: now,
            pushes: [now; BUSY_PUSHES],
            pull: None,
            pull_wanted: false,
            refused: false,
            sending: BTreeMap::new(),
            expected: None,
            deferred: None,
            next_channel: if dialed { 1 } else { 2 },
            last_heard: now,
            early: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            goodbye: false,
            closing: false,
        }
    }

    /// The peer's hello is there: from now on both speak from where the two hellos agree.
    pub(crate) fn greet(&mut self, hello: Hello) {
        if let Some(own) = self.introduced.take() {
            self.said = Spoken::after_hellos(&own.hello, &hello, &own.context, &own.bound);
            self.heard = self.said.clone();
            self.compressing = (own.hello.features & hello.features & FEATURE_ZSTD != 0).then(Compressing::default);
        }
        self.identity = Some(hello.replica);
        self.hello = Some(hello);
    }

    /// Counts what a frame that came was for.
    pub(crate) fn count_received(&mut self, message: &Message, frame: &Bytes, contexts_bytes: usize) {
        let plain_bytes = codec::plain_bytes(frame);
        self.received.add(Carried { message, frame_bytes: frame.len(), plain_bytes, contexts_bytes });
    }

    /// Whether nothing comes from the peer but what it has written itself.
    pub(crate) fn is_leaf(&self) -> bool {
        self.hello.as_ref().is_some_and(Hello::is_leaf)
    }

    /// Whether it is known to lead to that replica.
    pub(crate) fn is_with(&self, id: ReplicaId) -> bool {
        self.identity == Some(id)
    }

    /// Whether both ends know each other.
    pub(crate) fn is_up(&self) -> bool {
        self.hello.is_some() && !self.closing
    }

    /// A channel for a pull of ours: odd for who dialled, even for the other, so that they never meet.
    pub(crate) fn allocate_channel(&mut self) -> u64 {
        let channel = self.next_channel;
        self.next_channel += 2;
        channel
    }

    /// Whether a channel is one that the peer allocates.
    pub(crate) fn is_theirs(&self, channel: u64) -> bool {
        channel != CONTROL && (channel % 2 == 1) != self.dialed
    }

    pub(crate) fn learn(&mut self, context: &CausalContext) {
        match &mut self.known {
            Some(known) => known.join(context),
            None => self.known = Some(context.clone()),
        }
    }

    /// What was said and heard of contexts, and what the peer has and announces, is mostly what is here: see `Spoken::share`. To be
    /// called before any of it is compared.
    pub(crate) fn share(&mut self, context: &CausalContext, bound: &CausalContext) {
        self.heard.share(context, bound);
        self.said.share(context, bound);
        self.known.iter_mut().for_each(|known| known.share(context));
        self.awaited.iter_mut().for_each(|awaited| awaited.context.share(context));
    }

    /// What a push may build on; `None` while that is not known, or the peer has asked for a pull that has not begun.
    pub(crate) fn push_base(&self) -> Option<CausalContext> {
        let mut base = self.known.clone()?;
        match &self.expected {
            Some(expected) => base.join(&expected.context),
            None if !self.sending.is_empty() => return None,
            None => {}
        }
        Some(base)
    }

    /// A push goes now: if the link is busy, the next one that only forwards waits for a while.
    pub(crate) fn pause_forwarding(&mut self, now: Instant, pause: Duration) {
        let busy = now.since(self.pushes[0]) < BUSY_TIME;
        self.pushes.rotate_left(1);
        self.pushes[BUSY_PUSHES - 1] = now;
        if busy {
            self.forward_not_before = now + pause;
        }
    }

    /// A push has brought the peer to this, if it has what the push builds on.
    pub(crate) fn on_pushed(&mut self, context: &CausalContext) {
        match &mut self.expected {
            Some(expected) => expected.context.join(context),
            None => self.learn(context),
        }
    }

    /// A pull of the peer is over, with its end or without.
    pub(crate) fn end_sending(&mut self, channel: u64, done: bool) {
        self.sending.remove(&channel);
        if let Some(expected) = self.expected.take_if(|expected| expected.channel == channel && done) {
            self.learn(&expected.context);
        }
        self.expected.take_if(|expected| expected.channel == channel);
    }

    pub(crate) fn mode(&self) -> LinkMode {
        let eager = self.is_up() && self.known.is_some() && self.role == Role::Active && self.eager;
        if eager { LinkMode::Eager } else { LinkMode::Lazy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn only_on_a_busy_link_what_is_forwarded_waits() {
        let mut link = Link::new(String::new(), true, None, KeyId::default(), at(0));
        let pause = Duration::from_millis(25);
        let mut waits = |ms: u64| {
            link.pause_forwarding(at(ms), pause);
            link.forward_not_before > at(ms)
        };
        assert_eq!([1_000, 1_100, 1_200, 1_300, 1_400].map(&mut waits), [false; 5], "ten a second");
        assert_eq!([1_405, 1_410, 1_415, 1_420].map(&mut waits), [false, false, true, true], "the fifth within 0.2 s");
        assert!(!waits(2_000), "and all is as before");
    }

    #[test]
    fn what_is_late_is_cut_off_only_if_most_of_it_is() {
        let awaited = |lacking| Awaited { until: at(0), context: CausalContext::new(), lacking };
        assert_eq!([0, 1].map(|left| awaited(7).is_cut_off(left)), [false, true], "few");
        assert_eq!([4, 5].map(|left| awaited(10).is_cut_off(left)), [false, true]);
        assert!(awaited(0).is_cut_off(1), "it has had its second time");
    }
}
