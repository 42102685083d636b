//! What will happen, in order, and a digest of all that has. Not responsible for what it means.

use super::network::mix;
use super::wires::WireId;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something on its way on a channel.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Frame(Bytes),
    /// The sender ends the channel, after what it sent before,
    Ended,
    /// or at once.
    Reset,
    /// The link is closed, after what was sent on this channel.
    Closed,
}

/// What happens at a moment. Sides are those to which it happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Start {
        who: usize,
    },
    Timer {
        who: usize,
    },
    Dialed {
        who: usize,
        address: String,
    },
    Connected {
        wire: WireId,
        side: usize,
    },
    Arrival {
        wire: WireId,
        side: usize,
        channel: u64,
        item: Item,
    },
    /// The transport has taken a frame of this side.
    Sent {
        wire: WireId,
        side: usize,
        channel: u64,
    },
    /// This side has heard nothing since then, perhaps.
    Silence {
        wire: WireId,
        side: usize,
        since_us: u64,
    },
    /// This side learns that the link is gone.
    Lost {
        wire: WireId,
        side: usize,
    },
}

#[derive(Debug)]
struct Due {
    at_us: u64,
    /// Of those at one moment the first that was planned comes first.
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The greatest is the next: the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.number).cmp(&(self.at_us, self.number))
    }
}

/// The events to come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Due>,
    next: u64,
    digest: u64,
    happened: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at_us: u64, event: Event) {
        self.heap.push(Due { at_us, number: self.next, event });
        self.next += 1;
    }

    /// The next event, if it is due by then.
    pub(super) fn pop(&mut self, until_us: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.at_us > until_us {
            return None;
        }
        let Due { at_us, event, .. } = self.heap.pop()?;
        self.note(at_us, &event);
        Some((at_us, event))
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// How many events there have been.
    pub(super) fn happened(&self) -> u64 {
        self.happened
    }

    /// A number that is the same only if the same events have happened at the same moments, to the last byte.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    fn note(&mut self, at_us: u64, event: &Event) {
        self.happened += 1;
        let (kind, one, other) = match event {
            Event::Start { who } => (1, *who as u64, 0),
            Event::Timer { who } => (2, *who as u64, 0),
            Event::Dialed { who, address } => (3, *who as u64, hash(address.as_bytes())),
            Event::Connected { wire, side } => (4, wire.0, *side as u64),
            Event::Arrival { wire, side, channel, item } => {
                (5 + (*channel << 8), wire.0 * 2 + *side as u64, of_item(item))
            }
            Event::Sent { wire, side, channel } => (6 + (*channel << 8), wire.0, *side as u64),
            Event::Silence { wire, side, since_us } => (7 + (*side as u64 * 256), wire.0, *since_us),
            Event::Lost { wire, side } => (8, wire.0, *side as u64),
        };
        self.digest = [at_us, kind, one, other].iter().fold(self.digest, |digest, word| mix(digest ^ word));
    }
}

fn of_item(item: &Item) -> u64 {
    match item {
        Item::Frame(frame) => hash(frame),
        Item::Ended => 1,
        Item::Reset => 2,
        Item::Closed => 3,
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(bytes.len() as u64, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_at_one_moment_in_the_order_of_planning() {
        let mut queue = Queue::default();
        for (at_us, who) in [(5, 1), (3, 2), (5, 3), (3, 4), (9, 5)] {
            queue.push(at_us, Event::Timer { who });
        }
        let mut order = Vec::new();
        while let Some((at_us, Event::Timer { who })) = queue.pop(5) {
            order.push((at_us, who));
        }
        assert_eq!(order, [(3, 2), (3, 4), (5, 1), (5, 3)]);
        assert_eq!((queue.len(), queue.happened()), (1, 4));
    }

    #[test]
    fn one_other_byte_is_another_digest() {
        let digest = |byte| {
            let mut queue = Queue::default();
            let item = Item::Frame(Bytes::copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, byte]));
            queue.push(1, Event::Arrival { wire: WireId(1), side: 0, channel: 0, item });
            queue.pop(1);
            queue.digest()
        };
        assert_eq!(digest(9), digest(9));
        assert_ne!(digest(9), digest(8));
    }
}
