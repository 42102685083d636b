//! Numbers and contexts as bytes, and back. Not responsible for messages: `codec` is, nor for columns of numbers:
//! `codec::columns` is.
//!
//! Reading trusts nothing: every length is checked against what is left before anything is made of it, and every set
//! must stand in its normal form, so that equal things have equal bytes.

use crate::crdt::Key;
use crate::crdt::{CausalContext, Differing, DotSet, ReplicaId, Section};
use smallvec::SmallVec;
use std::ops::Range;

/// Counters from here on are refused: no replica can have written so much, and sums of them must not overflow.
pub(crate) const COUNTER_END: u64 = 1 << 56;

/// Bytes that are not a message. Nothing was changed by them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends before it is complete.
    #[error("it ends in the middle")]
    Truncated,
    /// There are bytes after its end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// Something in it cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// It would take more memory than allowed.
    #[error("{what}: {got} where at most {max} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        got: u64,
        /// How much there may be.
        max: u64,
    },
}

/// Reading a context with more replicas than this that the reference lacks is one pass over both.
const FRESH_MAX: usize = 16;

type Result<T> = std::result::Result<T, DecodeError>;
/// Most messages change few counters.
type Changed = SmallVec<[(usize, (ReplicaId, u64)); 4]>;

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    /// LEB128: seven bits a byte, lowest first.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    /// A context by itself: each replica's id and counter.
    pub(crate) fn context(&mut self, context: &CausalContext) {
        self.count(context.len());
        for dot in context.iter() {
            self.replica(dot.replica);
            self.number(dot.counter);
        }
    }

    /// Where `context` differs from `reference`: replicas that are there by their place, others by their ids. Neither has
    /// to include the other.
    pub(crate) fn context_from(&mut self, reference: &CausalContext, context: &CausalContext) {
        self.changes(&reference.differing(context).collect::<SmallVec<[_; 8]>>());
    }

    /// The same, once it is known what differs.
    pub(crate) fn changes(&mut self, changes: &[Differing]) {
        let known = || changes.iter().filter_map(|change| Some((change.place?, change)));
        let new = || changes.iter().filter(|change| change.place.is_none());
        let (known_count, new_count) = (known().count() as u64, new().count());
        self.number(known_count << 1 | u64::from(new_count > 0));
        let mut next = 0;
        for (place, change) in known() {
            self.count(place - next);
            self.number(zigzag(change.theirs.wrapping_sub(change.ours)));
            next = place + 1;
        }
        if new_count > 0 {
            self.count(new_count);
        }
        for change in new() {
            self.replica(change.replica);
            self.number(change.theirs);
        }
    }

    pub(crate) fn replica(&mut self, replica: ReplicaId) {
        self.bytes.extend_from_slice(replica.as_bytes());
    }

    /// Replica by replica: its id, how many intervals, then for each the gap before it and its length, less one.
    pub(crate) fn dot_set(&mut self, set: &DotSet) {
        let intervals: Vec<_> = set.iter().collect();
        let replicas: Vec<_> = intervals.chunk_by(|a, b| a.0 == b.0).collect();
        self.count(replicas.len());
        for of_replica in replicas {
            self.replica(of_replica[0].0);
            self.count(of_replica.len());
            let mut end = 0;
            for &(_, first, last) in of_replica {
                self.number(first - end - 1);
                self.number(last - first);
                end = last;
            }
        }
    }
}

/// Signed differences as numbers: 0, −1, 1, −2 … are 0, 1, 2, 3 …
pub(crate) fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

/// And back.
pub(crate) fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Reads values one after the other, within a frame.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(frame: &'a [u8]) -> Self {
        Self { frame, at: 0 }
    }

    pub(crate) fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.frame[self.at..]
    }

    pub(crate) fn skip(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.frame.len());
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Trailing(self.left())) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        let byte = *self.frame.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// Eight bytes of a sum: as a number they would be ten.
    pub(crate) fn sum(&mut self) -> Result<u64> {
        let range = self.range(8)?;
        let bytes = self.frame[range].try_into().map_err(|_| DecodeError::Truncated)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        // Nearly all are this short.
        if let Some(&byte) = self.frame.get(self.at).filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_number()
    }

    fn long_number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                let shortest = byte != 0 || shift == 0;
                let fits = shift < 63 || bits <= 1;
                return if shortest && fits {
                    Ok(number)
                } else {
                    Err(DecodeError::Invalid("a number in more bytes than it needs"))
                };
            }
        }
        Err(DecodeError::Invalid("a number beyond 64 bits"))
    }

    /// How many things follow that take at least `bytes_each` bytes.
    pub(crate) fn count(&mut self, what: &'static str, bytes_each: usize) -> Result<usize> {
        let count = self.number()?;
        let max = (self.left() / bytes_each) as u64;
        if count > max { Err(DecodeError::TooLarge { what, got: count, max }) } else { Ok(count as usize) }
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("a flag that is neither 0 nor 1")),
        }
    }

    /// Where the next bytes are in the frame.
    pub(crate) fn range(&mut self, length: usize) -> Result<Range<usize>> {
        if length > self.left() {
            return Err(DecodeError::Truncated);
        }
        self.at += length;
        Ok(self.at - length..self.at)
    }

    pub(crate) fn replica(&mut self) -> Result<ReplicaId> {
        let range = self.range(16)?;
        let bytes = self.frame[range].try_into().map_err(|_| DecodeError::Truncated)?;
        Ok(ReplicaId::from_bytes(bytes))
    }

    pub(crate) fn replicas(&mut self) -> Result<Vec<ReplicaId>> {
        let count = self.count("replicas", 16)?;
        let mut replicas = Vec::with_capacity(count);
        for _ in 0..count {
            let replica = self.replica()?;
            if replicas.last().is_some_and(|last| *last >= replica) {
                return Err(DecodeError::Invalid("replicas that are not in order"));
            }
            replicas.push(replica);
        }
        Ok(replicas)
    }

    pub(crate) fn context(&mut self) -> Result<CausalContext> {
        let count = self.count("replicas of a context", 17)?;
        Ok(self.clocks(count)?.into_iter().collect())
    }

    fn clocks(&mut self, count: usize) -> Result<Vec<(ReplicaId, u64)>> {
        let mut clocks: Vec<(ReplicaId, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (replica, counter) = (self.replica()?, checked_counter(self.number()?)?);
            if clocks.last().is_some_and(|last| last.0 >= replica) {
                return Err(DecodeError::Invalid("a context whose replicas are not in order"));
            }
            clocks.push((replica, counter));
        }
        Ok(clocks)
    }

    pub(crate) fn context_from(&mut self, reference: &CausalContext) -> Result<CausalContext> {
        let head = self.number()?;
        let (known, max) = (head >> 1, (self.left() / 2).min(reference.len()) as u64);
        if known > max {
            return Err(DecodeError::TooLarge { what: "changes of a context", got: known, max });
        }
        let known = self.known_changes(reference, known as usize)?;
        let fresh = match head & 1 {
            0 => Vec::new(),
            _ => {
                let count = self.count("replicas of a context", 17)?;
                self.clocks(count)?
            }
        };
        if head & 1 == 1 && fresh.is_empty() {
            return Err(DecodeError::Invalid("a change of a context that changes nothing"));
        }
        if fresh.iter().any(|(replica, _)| reference.place(*replica).is_some()) {
            return Err(DecodeError::Invalid("a replica by its id where its place would do"));
        }
        // A counter that is 0 from now on, or many replicas that are new: that is another context.
        if known.iter().all(|(_, (_, counter))| *counter > 0) && fresh.len() <= FRESH_MAX {
            return Ok(reference.with(&known, &fresh));
        }
        let mut changed = known.into_iter().map(|(_, clock)| clock).peekable();
        let kept = reference.iter().map(|dot| {
            let counter = changed.next_if(|change| change.0 == dot.replica).map_or(dot.counter, |change| change.1);
            (dot.replica, counter)
        });
        Ok(kept.chain(fresh).collect())
    }

    /// Replicas of the reference by their places, and their counters from now on.
    fn known_changes(&mut self, reference: &CausalContext, count: usize) -> Result<Changed> {
        let mut changes = Changed::with_capacity(count);
        let mut next = 0_usize;
        for _ in 0..count {
            let gap = usize::try_from(self.number()?).unwrap_or(usize::MAX);
            let place = next.saturating_add(gap);
            let dot = reference.at(place).ok_or(DecodeError::Invalid("a change of a replica that is not there"))?;
            let counter = dot.counter.wrapping_add(unzigzag(self.number()?));
            if counter == dot.counter {
                return Err(DecodeError::Invalid("a change of a context that changes nothing"));
            }
            if counter > 0 {
                checked_counter(counter)?;
            }
            changes.push((place, (dot.replica, counter)));
            next = place + 1;
        }
        Ok(changes)
    }

    pub(crate) fn dot_set(&mut self) -> Result<DotSet> {
        let mut set = DotSet::new();
        let mut before = None;
        for _ in 0..self.count("replicas of a set of dots", 19)? {
            let replica = self.replica()?;
            if before.replace(replica).is_some_and(|before| before >= replica) {
                return Err(DecodeError::Invalid("a set of dots whose replicas are not in order"));
            }
            let intervals = self.count("intervals of a set of dots", 2)?;
            if intervals == 0 {
                return Err(DecodeError::Invalid("a replica of a set of dots without any"));
            }
            let (mut end, mut next) = (0_u64, 1);
            for _ in 0..intervals {
                let first = checked_counter(self.number()?.saturating_add(end).saturating_add(1))?;
                let last = checked_counter(self.number()?.saturating_add(first))?;
                if first < next {
                    return Err(DecodeError::Invalid("intervals that touch"));
                }
                set.insert_range(replica, first, last);
                (end, next) = (last, last + 2);
            }
        }
        Ok(set)
    }
}

pub(crate) fn checked_counter(counter: u64) -> Result<u64> {
    if (1..COUNTER_END).contains(&counter) {
        Ok(counter)
    } else {
        Err(DecodeError::Invalid("a counter that no replica can have reached"))
    }
}

pub(crate) fn checked_key_length(length: u64) -> Result<usize> {
    let max = Key::BYTES_MAX as u64;
    match length {
        0 => Err(DecodeError::Invalid("an empty key")),
        _ if length > max => Err(DecodeError::TooLarge { what: "bytes of a key", got: length, max }),
        _ => Ok(length as usize),
    }
}

pub(crate) fn section_of(number: u64) -> Result<Section> {
    match number {
        0 => Ok(Section::Usr),
        1 => Ok(Section::Sys),
        _ => Err(DecodeError::Invalid("a section that does not exist")),
    }
}
