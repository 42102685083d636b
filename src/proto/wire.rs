//! Numbers, contexts and columns of numbers as bytes, and back. Not responsible for messages: `codec` is.
//!
//! Reading trusts nothing: every length is checked against what is left before anything is made of it, and every set
//! must stand in its normal form, so that equal things have equal bytes.

use crate::crdt::Key;
use crate::crdt::{CausalContext, Dot, DotSet, ReplicaId, Section};
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

type Result<T> = std::result::Result<T, DecodeError>;

/// A shorter run of equal differences costs less among the others than on its own.
const RUN_MIN: usize = 4;

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

    pub(crate) fn context(&mut self, context: &CausalContext) {
        self.context_from(&CausalContext::new(), context);
    }

    /// Where `context` differs from `reference`, with its counter there, 0 for none. Neither has to include the other.
    pub(crate) fn context_from(&mut self, reference: &CausalContext, context: &CausalContext) {
        let less = reference.missing_from(context).map(|dot| Dot::new(dot.replica, context.get(dot.replica)));
        let mut changed: Vec<Dot> = context.missing_from(reference).chain(less).collect();
        changed.sort_unstable();
        self.count(changed.len());
        for dot in changed {
            self.replica(dot.replica);
            self.number(dot.counter);
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

    /// A column: the differences between neighbours, in runs. A run is a number, twice its length plus one if all its
    /// differences are the same, which then stands once; otherwise each stands for itself. Equal neighbours are a run
    /// of their own from [`RUN_MIN`] on, and never less; all that is between two such runs is one.
    pub(crate) fn column(&mut self, values: impl Iterator<Item = u64>) {
        let mut mixed = Vec::new();
        let (mut last, mut difference, mut times) = (0_u64, 0, 0_usize);
        for value in values {
            let next = value.wrapping_sub(last);
            last = value;
            if next != difference {
                self.end_run(&mut mixed, zigzag(difference), times);
                (difference, times) = (next, 0);
            }
            times += 1;
        }
        self.end_run(&mut mixed, zigzag(difference), times);
        self.mixed_run(&mut mixed);
    }

    fn end_run(&mut self, mixed: &mut Vec<u64>, difference: u64, times: usize) {
        if times < RUN_MIN {
            (0..times).for_each(|_| mixed.push(difference));
        } else {
            self.mixed_run(mixed);
            self.number((times as u64) << 1 | 1);
            self.number(difference);
        }
    }

    fn mixed_run(&mut self, mixed: &mut Vec<u64>) {
        if !mixed.is_empty() {
            self.number((mixed.len() as u64) << 1);
            mixed.drain(..).for_each(|difference| self.number(difference));
        }
    }
}

fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

fn unzigzag(number: u64) -> u64 {
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
        self.context_from(&CausalContext::new())
    }

    pub(crate) fn context_from(&mut self, reference: &CausalContext) -> Result<CausalContext> {
        let count = self.count("replicas of a context", 17)?;
        let mut changed: Vec<(ReplicaId, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (replica, counter) = (self.replica()?, self.number()?);
            if changed.last().is_some_and(|last| last.0 >= replica) {
                return Err(DecodeError::Invalid("a context whose replicas are not in order"));
            }
            if counter == reference.get(replica) {
                return Err(DecodeError::Invalid("a change of a context that changes nothing"));
            }
            if counter > 0 {
                checked_counter(counter)?;
            }
            changed.push((replica, counter));
        }
        let is_kept = |dot: &Dot| changed.binary_search_by_key(&dot.replica, |change| change.0).is_err();
        let kept = reference.iter().filter(is_kept).map(|dot| (dot.replica, dot.counter));
        Ok(kept.chain(changed.iter().copied()).collect())
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

    /// Reads a column of `count` values, one by one. Takes only the runs that a writer makes of them.
    pub(crate) fn column(&mut self, count: usize, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let (mut left, mut value) = (count as u64, 0_u64);
        let (mut last, mut times, mut after_mixed) = (None, 0, false);
        while left > 0 {
            let run = self.number()?;
            let (length, mixed) = (run >> 1, run & 1 == 0);
            if length == 0 || length > left {
                return Err(DecodeError::Invalid("a run of a column that does not fit"));
            }
            left -= length;
            if mixed {
                if after_mixed {
                    return Err(DecodeError::Invalid("two runs of a column that are one"));
                }
                for _ in 0..length {
                    let difference = self.number()?;
                    times = if last == Some(difference) { times + 1 } else { 1 };
                    if times == RUN_MIN {
                        return Err(DecodeError::Invalid("equal differences that are not in a run"));
                    }
                    last = Some(difference);
                    value = value.wrapping_add(unzigzag(difference));
                    each(value)?;
                }
            } else {
                let difference = self.number()?;
                if length < RUN_MIN as u64 || last == Some(difference) {
                    return Err(DecodeError::Invalid("a run of equal differences that is not all of them"));
                }
                // One more of these would have to be in the run.
                (last, times) = (Some(difference), RUN_MIN - 1);
                for _ in 0..length {
                    value = value.wrapping_add(unzigzag(difference));
                    each(value)?;
                }
            }
            after_mixed = mixed;
        }
        Ok(())
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
