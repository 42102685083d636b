//! Every message: who sends it, to whom, and what comes back. Not responsible for bytes: `codec` is.
//!
//! The control channel (0) of a link carries, both ways and in order, `Hello` first, then `Push`, `Digest`, `Context` and
//! `Goodbye`. A pull has a channel of its own, opened by the receiver:
//!
//! ```text
//! receiver                                   sender
//!    Pull(base, have)           ─────────▶
//!                               ◀─────────   Begin(snapshot, bound, catch_up)
//!                               ◀─────────   Live*          catch-up only: its live dots within base ∪ have
//!    Dead*                      ─────────▶                  the keys whose dots died there
//!                               ◀─────────   (Piece* Chunk)*        pieces of large values before their entries
//!                               ◀─────────   Done(bound)
//! ```

use crate::crdt::{Audit, CausalContext, Delta, Dot, DotSet, Entries, KeyList, ReplicaId};
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
    /// Receiver to sender: send me what I lack. Answered by `Begin`.
    Pull(Pull),
    /// Sender to receiver: what this pull will bring it to.
    Begin(Begin),
    /// Sender to receiver, in a catch-up, in parts: its live dots within `base ∪ have`. Answered by `Dead`.
    Live(Part<DotSet>),
    /// Receiver to sender, in a catch-up, in parts: the keys of its dots that are not among those.
    Dead(Part<KeyList>),
    /// Sender to receiver: some entries, each with the context it was read under.
    Chunk(Entries),
    /// Sender to receiver: part of a large value, before the entry that has it.
    Piece(Piece),
    /// Sender to receiver: that was all. Only now the receiver's context takes in the snapshot.
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
    /// What it can read beyond what all can: bit 0, frames compressed with zstd. Others count for nothing.
    pub features: u64,
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
#[derive(Clone, Debug, Default)]
pub struct Pull {
    /// Its context.
    pub base: CausalContext,
    /// The live dots that it holds beyond it.
    pub have: DotSet,
    /// Make a catch-up of it, needed or not: the sums show a defect.
    pub catch_up: bool,
}

/// What a pull brings. See [`Message::Begin`].
#[derive(Clone, Debug, Default)]
pub struct Begin {
    /// The sender's context at this instant.
    pub snapshot: CausalContext,
    /// Its truncation bound.
    pub bound: CausalContext,
    /// A tombstone that the receiver may lack is gone: the sets of live dots are compared first.
    pub catch_up: bool,
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
            Self::Pull(_) => "Pull",
            Self::Begin(_) => "Begin",
            Self::Live(_) => "Live",
            Self::Dead(_) => "Dead",
            Self::Chunk(_) => "Chunk",
            Self::Piece(_) => "Piece",
            Self::Done { .. } => "Done",
        }
    }
}
