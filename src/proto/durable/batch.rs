//! One commit as bytes. Not responsible for what they mean.

use std::ops::Range;

/// What one commit writes: keys, each with its new value, or deleted. In one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    buffer: Vec<u8>,
    writes: Vec<(Range<usize>, Option<Range<usize>>)>,
    number: u64,
    entries: u64,
}

impl Batch {
    /// Keys and their new values; `None` deletes. No key stands twice.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| {
            let value = value.as_ref().map(|value| &self.buffer[value.clone()]);
            (&self.buffer[key.clone()], value)
        })
    }

    /// How many keys it writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many bytes its keys and values have.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How many commits the state has had with this one.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many entries the state has after it.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn describe(&mut self, number: u64, entries: u64) {
        (self.number, self.entries) = (number, entries);
    }

    /// Puts a record whose key and value are appended by `key` and `value`.
    pub(super) fn put(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        let key = self.append(key);
        let value = self.append(value);
        self.writes.push((key, Some(value)));
    }

    pub(super) fn delete(&mut self, key: impl FnOnce(&mut Vec<u8>)) {
        let key = self.append(key);
        self.writes.push((key, None));
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.buffer.len();
        write(&mut self.buffer);
        start..self.buffer.len()
    }
}
