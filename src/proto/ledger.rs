//! What bytes were for: how much of what travelled was the users' own. Not responsible for links: each keeps one of these.

use super::message::Message;
use crate::crdt::{Entries, Section};

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Keys and values of users.
    Values,
    /// What goes with them: dots, timestamps, lengths; sums, and whatever a message takes beside.
    Metadata,
    /// Who knows what.
    Contexts,
    /// Finding out which dots differ.
    Symbols,
    /// The cluster's records, and hellos.
    Membership,
}

/// Bytes of one direction by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// In the order of [`Purpose`].
    bytes: [u64; Purpose::COUNT],
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// What it says.
    pub message: &'a Message,
    /// Its bytes as they go, compressed if they are,
    pub frame_bytes: usize,
    /// and as they would go plain.
    pub plain_bytes: usize,
    /// How many of the plain ones say contexts, where that is known: `Spoken::contexts_bytes`.
    pub contexts_bytes: usize,
}

impl Purpose {
    const COUNT: usize = 5;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Values, Self::Metadata, Self::Contexts, Self::Symbols, Self::Membership];

    /// Its name, for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Metadata => "metadata",
            Self::Contexts => "contexts",
            Self::Symbols => "symbols",
            Self::Membership => "membership",
        }
    }
}

impl Ledger {
    /// Counts a message. What is counted adds up to the bytes of its frame, exactly. Costs a look at each entry.
    pub fn add(&mut self, carried: Carried<'_>) {
        let plain = split(carried);
        let (total, mut left) = (carried.plain_bytes.max(1) as u128, carried.frame_bytes as u64);
        for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Metadata) {
            let share = plain[purpose as usize] as u128 * carried.frame_bytes as u128 / total;
            let share = u64::try_from(share).unwrap_or(u64::MAX).min(left);
            self.bytes[purpose as usize] += share;
            left -= share;
        }
        self.bytes[Purpose::Metadata as usize] += left;
    }

    /// What was counted for a purpose.
    pub fn get(&self, purpose: Purpose) -> u64 {
        self.bytes[purpose as usize]
    }

    /// The frames' bytes, all together.
    pub fn frames(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// Takes in another's counts, as of a link that is gone.
    pub fn join(&mut self, other: &Self) {
        self.bytes.iter_mut().zip(other.bytes).for_each(|(sum, bytes)| *sum += bytes);
    }
}

/// Bytes of the plain frame by purpose, but for metadata, which is the rest.
fn split(carried: Carried<'_>) -> [usize; Purpose::COUNT] {
    let mut bytes = [0; Purpose::COUNT];
    let body = carried.plain_bytes.saturating_sub(1);
    let mut set = |purpose: Purpose, count| bytes[purpose as usize] = count;
    match carried.message {
        Message::Hello(_) | Message::Shuffle(_) | Message::Surplus => set(Purpose::Membership, body),
        Message::Prune | Message::Graft | Message::Digest(_) | Message::Goodbye { .. } | Message::Decoded => {}
        Message::Context { .. }
        | Message::Contexts { .. }
        | Message::Pull(_)
        | Message::Begin(_)
        | Message::Done { .. } => {
            set(Purpose::Contexts, body);
        }
        Message::Live(_) | Message::Symbols(_) | Message::More { .. } => set(Purpose::Symbols, body),
        Message::Piece(piece) => set(Purpose::Values, piece.bytes.len()),
        Message::Push(delta) => set_entries(delta.entries(), &mut set),
        Message::Chunk(entries) => set_entries(entries, &mut set),
    }
    if matches!(carried.message, Message::Push(_) | Message::Chunk(_)) {
        bytes[Purpose::Contexts as usize] = carried.contexts_bytes;
    }
    bytes
}

fn set_entries(entries: &Entries, set: &mut impl FnMut(Purpose, usize)) {
    set(Purpose::Values, entries.bytes_of(Section::Usr));
    set(Purpose::Membership, entries.bytes_of(Section::Sys));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Audit, CausalContext, Key, OrMap, ReplicaId};
    use crate::proto::codec::{Spoken, encode_control};
    use crate::proto::message::Digest;

    const NOW: u64 = 1_700_000_000_000;

    fn add(ledger: &mut Ledger, message: &Message, spoken: &mut Spoken, compressed: Option<usize>) -> usize {
        let plain_bytes = encode_control(message, spoken).len();
        let frame_bytes = compressed.unwrap_or(plain_bytes);
        ledger.add(Carried { message, frame_bytes, plain_bytes, contexts_bytes: spoken.contexts_bytes() });
        frame_bytes
    }

    #[test]
    fn what_is_counted_adds_up_to_the_frames() {
        let mut map = OrMap::new(ReplicaId::from(1));
        map.put(b"kettle", b"on", NOW);
        map.put(Key::sys(b"members/01"), b"{\"state\":\"alive\"}", NOW);
        let (mut ledger, mut spoken) = (Ledger::default(), Spoken::default());
        let push = Message::Push(map.delta_since(&CausalContext::new()));
        let digest = Message::Digest(Digest { audit: Audit::default(), reply: false });
        let context = Message::Context { context: map.context().clone(), replace: false };
        let total: usize =
            [push, digest, context].iter().map(|message| add(&mut ledger, message, &mut spoken, None)).sum();
        assert_eq!(ledger.get(Purpose::Values), 8);
        assert_eq!(ledger.get(Purpose::Membership), 27);
        assert!(ledger.get(Purpose::Contexts) > 16, "one replica by its id: {ledger:?}");
        assert_eq!(ledger.frames(), total as u64);
    }

    #[test]
    fn a_compressed_frame_is_counted_in_proportion() {
        let mut map = OrMap::new(ReplicaId::from(1));
        map.put(b"kettle", [b'v'; 994], NOW);
        let push = Message::Push(map.delta_since(&CausalContext::new()));
        let (mut plain, mut compressed) = (Ledger::default(), Ledger::default());
        let bytes = add(&mut plain, &push, &mut Spoken::default(), None);
        add(&mut compressed, &push, &mut Spoken::default(), Some(bytes / 10));
        assert_eq!(plain.get(Purpose::Values), 1_000);
        assert_eq!(compressed.frames(), bytes as u64 / 10);
        assert!((95..=100).contains(&compressed.get(Purpose::Values)), "{compressed:?}");
        let mut both = plain;
        both.join(&compressed);
        assert_eq!(both.frames(), plain.frames() + compressed.frames());
    }

    #[test]
    fn a_frame_that_is_shorter_than_it_can_be_is_no_matter() {
        let mut ledger = Ledger::default();
        let message = Message::Context { context: CausalContext::new(), replace: false };
        ledger.add(Carried { message: &message, frame_bytes: 7, plain_bytes: 0, contexts_bytes: 1_000_000 });
        assert_eq!(ledger.frames(), 7);
    }
}
