//! Every message: who sends it, to whom, and what comes back. Not responsible for bytes: `codec` is.
//!
//! The control channel (0) of a link carries, both ways and in order, `Hello` first, then `Push`, `Digest`, `Context`,
//! `Prune`, `Graft`, `Shuffle`, `Surplus` and `Goodbye`. A pull has a channel of its own, opened by the receiver:
//!
//! ```text
//! receiver                                   sender
//!    Pull(told, have)           ─────────▶
//!                               ◀─────────   More*          if the contexts are not clear yet; answered by
//!    Symbols | Contexts         ─────────▶                  these
//!                               ◀─────────   Begin(snapshot, bound, catch_up)
//!                               ◀─────────   (Piece* Chunk)*        pieces of large values before their entries
//!                               ◀─────────   Done(bound)
//!                               ◀─────────   Symbols* | Live*        catch-up only: of its live dots
//!    More*                      ─────────▶                           until it is clear which of our own died there
//!    Decoded                    ─────────▶
//! ```

use super::membership::{Contact, Descriptor};
use crate::crdt::{Audit, CausalContext, Delta, Dot, DotSet, Entries, ReplicaId, Symbol};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version of everything below. It stands in the name of the protocol that a link agrees on (ALPN), too.
pub const PROTOCOL_VERSION: u16 = 1;

/// What travels between two nodes.
#[derive(Clone, Debug)]
pub enum Message {
    /// Both, once, first: who I am, and what I know. A link counts as up when this has arrived.
    Hello(Hello),
    /// Anti-entropy: my sums. Whoever finds its own to differ pulls, and answers with its own if asked to.
    Digest(Digest),
    /// What I have, so that it need not be sent to me.
    Context {
        /// The sender's context.
        context: CausalContext,
        /// It replaces what was believed of it: a push built on something that the sender does not have.
        replace: bool,
    },
    /// Fresh writes, unasked: a delta on a context that you are known to have had. Answered by `Context` if not.
    Push(Delta),
    /// This end is about to close the link. `left`: and the node will not return.
    Goodbye {
        /// Whether the node leaves the cluster for good.
        left: bool,
    },
    /// The sender does not count this link among its active ones (any more): neither end forwards on it, and who has dialled
    /// closes it when nothing is under way.
    Surplus,
    /// Peer sampling: descriptors from the sender's view, its own first.
    Shuffle(Shuffle),
    /// What you have pushed to me came from others before: do not forward to me, only announce.
    Prune,
    /// What you have announced did not come from others: forward to me.
    Graft,
    /// Receiver to sender: send me what I lack. Answered by `Begin`.
    Pull(Pull),
    /// Sender to receiver: what this pull will bring it to.
    Begin(Beginning),
    /// Sender to receiver, at the end of a catch-up, in parts: the live dots within its snapshot.
    Live(Part<DotSet>),
    /// The same as coded symbols, or receiver to sender the clocks of its contexts: the next ones each time.
    Symbols(Symbols),
    /// Whoever was sent symbols: they do not suffice.
    More {
        /// So many are wanted in all; none, if what they stand for is wanted itself.
        symbols: u64,
        /// About so much seems to differ.
        differences: u64,
    },
    /// Receiver to sender: the contexts that it told in its `Pull`, in full.
    Contexts {
        /// Its context.
        context: CausalContext,
        /// Its truncation bound.
        bound: CausalContext,
    },
    /// Receiver to sender: the catch-up is complete. Only now the sender may count on its snapshot being known.
    Decoded,
    /// Sender to receiver: some entries, each with the context it was read under.
    Chunk(Entries),
    /// Sender to receiver: part of a large value, before the entry that has it.
    Piece(Piece),
    /// Sender to receiver: these were all entries. Only now the receiver's context takes in the snapshot; in a catch-up,
    /// not before it knows which of its live dots are dead.
    Done {
        /// The sender's truncation bound at the end of the sync.
        bound: CausalContext,
    },
}

/// Who is there. See [`Message::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster's id: the same at both ends, or the link is refused.
    pub cluster: [u8; 16],
    /// The sender's replica.
    pub replica: ReplicaId,
    /// Drawn at each start: tells a process from another one with the same replica id.
    pub boot: u64,
    /// What people call it.
    pub name: String,
    /// Where it listens, for whoever was dialled by it.
    pub address: String,
    /// Its sums.
    pub audit: Audit,
    /// The sum of its truncation bound: see [`OrMap::bound_sum`](crate::crdt::OrMap::bound_sum).
    pub bound: u64,
    /// What the sender wants the link for. The one who has dialled says what it is.
    pub ask: Ask,
    /// What it can do that not all can: bit 0, read frames compressed with zstd. And what it does not: bit 1, pass on what
    /// others write. Other bits count for nothing.
    pub features: u64,
}

/// A bit of [`Hello::features`].
pub const FEATURE_LEAF: u64 = 2;

impl Hello {
    /// Whether the sender is a leaf: it passes on only what it has written itself, so nobody counts on a link to it.
    pub fn is_leaf(&self) -> bool {
        self.features & FEATURE_LEAF != 0
    }
}

/// What the sender of a hello wants the link for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// To meet, compare and part.
    Passing,
    /// To keep it among the active links, if the peer has room.
    Active,
    /// The same, and if the peer has no room it makes some: the sender has too few, or swaps one.
    Urgent,
}

/// See [`Message::Shuffle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffle {
    /// The descriptors.
    pub descriptors: Vec<Descriptor<Contact>>,
    /// Whether as many are wanted back.
    pub reply: bool,
}

/// The sums of the sender. See [`Message::Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The three sums.
    pub audit: Audit,
    /// Whether to answer with the own sums if they differ.
    pub reply: bool,
}

/// Part of the value that a dot wrote. See [`Message::Piece`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose value.
    pub dot: Dot,
    /// How long that is.
    pub total: u64,
    /// Where in it these bytes stand.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// What the receiver has. See [`Message::Pull`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// Its context and its bound, as far as has to be said.
    pub told: Told,
    /// The live dots that it holds beyond its context.
    pub have: DotSet,
    /// Make a catch-up of it, needed or not: the sums show a defect.
    pub catch_up: bool,
    /// Name entries by their keys: an entry that was named otherwise was not to be found.
    pub by_key: bool,
    /// Of which values it has how many bytes already.
    pub partial: Vec<(Dot, u64)>,
}

/// A receiver's context and bound, told as short as possible. A clock is a replica's highest counter, and told by its
/// element, which is in `proto-docs/wire.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All clocks, in ascending order of the elements.
    Clocks {
        /// Of its context.
        context: Vec<u64>,
        /// Of its bound.
        bound: Vec<u64>,
    },
    /// The set of both, coded.
    Coded {
        /// The sum of the hashes.
        check: u64,
        /// The first symbols.
        symbols: Symbols,
    },
    /// As they are.
    Whole {
        /// Its context.
        context: CausalContext,
        /// Its bound.
        bound: CausalContext,
    },
}

impl Default for Told {
    fn default() -> Self {
        Self::Clocks { context: Vec::new(), bound: Vec::new() }
    }
}

/// Symbols of a set, after those that were sent before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// How many elements the set has.
    pub total: u64,
    /// The symbols.
    pub symbols: Vec<Symbol>,
}

/// What a pull brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// The sender's context at this instant.
    pub snapshot: CausalContext,
    /// Its truncation bound.
    pub bound: CausalContext,
    /// A tombstone that the receiver may lack is gone: at the end, the sets of live dots are compared.
    pub catch_up: bool,
}

/// The same as it is told: by what differs from what the receiver has told. See [`Message::Begin`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// As in [`Begin`].
    pub catch_up: bool,
    /// The snapshot, by the receiver's context.
    pub snapshot: Changes,
    /// The bound, by the receiver's bound.
    pub bound: Changes,
    /// Further clocks of the bound: of which replica, by its place in the snapshot, and its counter.
    pub bound_in_snapshot: Vec<(u32, u64)>,
}

/// One context by another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Clocks that differ, by their places in the order of the elements: by how much, or 0 for one that is not there.
    pub clocks: Vec<(u32, i64)>,
    /// Clocks of other replicas.
    pub new: Vec<(ReplicaId, u64)>,
}

impl Beginning {
    /// Of a `Begin` to a receiver that has told nothing.
    pub fn whole(begin: &Begin) -> Self {
        let all = |context: &CausalContext| Changes {
            clocks: Vec::new(),
            new: context.iter().map(|dot| (dot.replica, dot.counter)).collect(),
        };
        let bound_in_snapshot = Vec::new();
        Self { catch_up: begin.catch_up, snapshot: all(&begin.snapshot), bound: all(&begin.bound), bound_in_snapshot }
    }
}

/// A piece of something that may be too long for one frame.
#[derive(Clone, Debug)]
pub struct Part<T> {
    /// The piece.
    pub part: T,
    /// Whether it is the last.
    pub last: bool,
}

impl Message {
    /// Its name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Digest(_) => "Digest",
            Self::Context { .. } => "Context",
            Self::Push(_) => "Push",
            Self::Goodbye { .. } => "Goodbye",
            Self::Surplus => "Surplus",
            Self::Shuffle(_) => "Shuffle",
            Self::Prune => "Prune",
            Self::Graft => "Graft",
            Self::Pull(_) => "Pull",
            Self::Begin(_) => "Begin",
            Self::Live(_) => "Live",
            Self::Symbols(_) => "Symbols",
            Self::More { .. } => "More",
            Self::Contexts { .. } => "Contexts",
            Self::Decoded => "Decoded",
            Self::Chunk(_) => "Chunk",
            Self::Piece(_) => "Piece",
            Self::Done { .. } => "Done",
        }
    }
}
