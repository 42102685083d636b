//! Keys and their sections. Not responsible for who may write which section: the interfaces are.

use std::fmt;

/// The two halves of the key space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// What users read and write.
    #[default]
    Usr,
    /// Facts of the cluster: readable by all, written by the nodes themselves.
    Sys,
}

/// A key, borrowed: bytes within a section. Bytes and text convert into a key of `usr`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a> {
    /// Which half of the key space.
    pub section: Section,
    /// The key proper.
    pub bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// The longest key the map holds, in bytes; longer ones are cut off by nobody: the interfaces refuse them.
    pub const BYTES_MAX: usize = u16::MAX as usize;

    /// A key of the users' section. Costs nothing.
    pub const fn usr(bytes: &'a [u8]) -> Self {
        Self { section: Section::Usr, bytes }
    }

    /// A key of the cluster's section. Costs nothing.
    pub const fn sys(bytes: &'a [u8]) -> Self {
        Self { section: Section::Sys, bytes }
    }
}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::usr(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Key<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::usr(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Key<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::usr(bytes)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self::usr(text.as_bytes())
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.section, self.bytes.escape_ascii())
    }
}

/// A list of keys in one buffer: what a sync still has to send. Costs the bytes of the keys and three more for each.
#[derive(Clone, Default)]
pub struct KeyList {
    buffer: Vec<u8>,
    read: usize,
    count: usize,
}

impl KeyList {
    const HEADER: usize = 3;

    /// An empty list.
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), read: 0, count: 0 }
    }

    /// Appends a key.
    pub fn push(&mut self, key: Key<'_>) {
        let length = u16::try_from(key.bytes.len()).expect("a key of the map is at most Key::BYTES_MAX long");
        self.buffer.push(key.section as u8);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(key.bytes);
        self.count += 1;
    }

    /// Takes the first key.
    pub fn pop(&mut self) -> Option<Key<'_>> {
        let header = self.buffer.get(self.read..self.read + Self::HEADER)?;
        let section = if header[0] == Section::Usr as u8 { Section::Usr } else { Section::Sys };
        let start = self.read + Self::HEADER;
        let end = start + usize::from(u16::from_le_bytes([header[1], header[2]]));
        self.read = end;
        self.count -= 1;
        Some(Key { section, bytes: &self.buffer[start..end] })
    }

    /// How many keys are left.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Debug for KeyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.clone();
        let mut list = f.debug_list();
        while let Some(key) = rest.pop() {
            list.entry(&key);
        }
        list.finish()
    }
}
