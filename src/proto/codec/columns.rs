//! Columns: so many numbers, how many being known from before. Not responsible for what they say.
//!
//! Equal neighbours stand in runs. A run is a number, twice its length plus one if all of it is the same, which then stands
//! once; otherwise each stands for itself. Equal numbers are a run of their own from [`RUN_MIN`] on, and never less; all
//! that is between two such runs is one. Columns too short for a run of equal numbers have no runs at all.

use super::Result;
use crate::proto::wire::{DecodeError, Reader, Writer, unzigzag, zigzag};

/// A shorter run of equal numbers costs less among the others than on its own.
const RUN_MIN: usize = 4;

impl Writer {
    /// Numbers that are mostly the same, or have nothing to do with each other.
    pub(crate) fn values(&mut self, values: impl Iterator<Item = u64>) {
        let values: Vec<u64> = values.collect();
        self.runs(&values);
    }

    /// Numbers that grow, or stay close to the one before: the differences between neighbours, of the first to `start`.
    pub(crate) fn differences(&mut self, start: u64, values: impl Iterator<Item = u64>) {
        let mut last = start;
        self.values(values.map(|value| zigzag(value.wrapping_sub(std::mem::replace(&mut last, value)))));
    }

    fn runs(&mut self, numbers: &[u64]) {
        if numbers.len() < RUN_MIN {
            return numbers.iter().for_each(|number| self.number(*number));
        }
        let (mut mixed, mut at) = (0, 0);
        for run in numbers.chunk_by(|a, b| a == b) {
            let start = at;
            at += run.len();
            if run.len() >= RUN_MIN {
                self.mixed_run(&numbers[mixed..start]);
                self.number((run.len() as u64) << 1 | 1);
                self.number(run[0]);
                mixed = at;
            }
        }
        self.mixed_run(&numbers[mixed..]);
    }

    fn mixed_run(&mut self, numbers: &[u64]) {
        if !numbers.is_empty() {
            self.number((numbers.len() as u64) << 1);
            numbers.iter().for_each(|number| self.number(*number));
        }
    }
}

impl Reader<'_> {
    /// Reads a column of `count` values, one by one. Takes only the runs that a writer makes of them.
    pub(crate) fn values(&mut self, count: usize, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        if count < RUN_MIN {
            for _ in 0..count {
                each(self.number()?)?;
            }
            return Ok(());
        }
        let mut left = count as u64;
        let (mut last, mut times, mut after_mixed) = (None, 0, false);
        while left > 0 {
            let run = self.number()?;
            let (length, mixed) = (run >> 1, run & 1 == 0);
            if length == 0 || length > left {
                return Err(DecodeError::Invalid("a run of a column that does not fit"));
            }
            left -= length;
            if mixed && after_mixed {
                return Err(DecodeError::Invalid("two runs of a column that are one"));
            }
            if mixed {
                for _ in 0..length {
                    let number = self.number()?;
                    times = if last == Some(number) { times + 1 } else { 1 };
                    if times == RUN_MIN {
                        return Err(DecodeError::Invalid("equal numbers that are not in a run"));
                    }
                    last = Some(number);
                    each(number)?;
                }
            } else {
                let number = self.number()?;
                if length < RUN_MIN as u64 || last == Some(number) {
                    return Err(DecodeError::Invalid("a run of equal numbers that is not all of them"));
                }
                // One more of these would have to be in the run.
                (last, times) = (Some(number), RUN_MIN - 1);
                for _ in 0..length {
                    each(number)?;
                }
            }
            after_mixed = mixed;
        }
        Ok(())
    }

    /// The same of differences, of the first to `start`.
    pub(crate) fn differences(
        &mut self,
        start: u64,
        count: usize,
        mut each: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut value = start;
        self.values(count, |difference| {
            value = value.wrapping_add(unzigzag(difference));
            each(value)
        })
    }
}
