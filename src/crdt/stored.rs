//! A register as the map keeps it: 40 bytes and one allocation. Not responsible for where it is kept.
//!
//! The allocation holds the key (of an entry's first register), what dates a register that will be dropped some day
//! (from when it counts as dead; the deadline), and the value. So a plain value costs its own bytes and nothing more.

use super::{Register, Timestamp};
use bytes::Bytes;

const TOMBSTONE: u8 = 1;
const DEADLINE: u8 = 2;
const SYS: u8 = 4;
const SIBLINGS: u8 = 8;
const FREE: u8 = 16;

/// A register borrowed from wherever its bytes are: a stored one, a received one, or one about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegisterRef<'a> {
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp: Timestamp,
    pub(crate) deadline: Option<u64>,
}

impl RegisterRef<'_> {
    pub(crate) fn is_dead(&self, now_ms: u64) -> bool {
        self.value.is_none() || self.deadline.is_some_and(|deadline| deadline <= now_ms)
    }

    pub(crate) fn to_register(self) -> Register {
        let value = self.value.map(Bytes::copy_from_slice);
        Register { value, timestamp: self.timestamp, deadline: self.deadline }
    }
}

/// A dot with its replica by the map's own small number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LocalDot {
    pub(super) replica: u32,
    pub(super) counter: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    blob: Box<[u8]>,
    timestamp: u64,
    counter: u64,
    replica: u32,
    key_len: u16,
    flags: u8,
}

impl Stored {
    /// `key` is empty for a sibling. `arrival_ms` dates what will be dropped some day.
    pub(super) fn new(sys: bool, key: &[u8], dot: LocalDot, register: RegisterRef<'_>, arrival_ms: u64) -> Self {
        let mut stored = Self {
            blob: Box::default(),
            timestamp: register.timestamp.to_bits(),
            counter: dot.counter,
            replica: dot.replica,
            key_len: u16::try_from(key.len()).expect("callers hold keys to Key::BYTES_MAX"),
            flags: if sys { SYS } else { 0 },
        };
        stored.flags |= flags_of(register);
        stored.blob = stored.build_blob(key, register, arrival_ms);
        stored
    }

    fn build_blob(&self, key: &[u8], register: RegisterRef<'_>, arrival_ms: u64) -> Box<[u8]> {
        let value = register.value.unwrap_or_default();
        let mut blob = Vec::with_capacity(key.len() + self.dates_len() + value.len());
        blob.extend_from_slice(key);
        if self.flags & (TOMBSTONE | DEADLINE) != 0 {
            blob.extend_from_slice(&dead_from(register, arrival_ms).to_le_bytes());
        }
        if let Some(deadline) = register.deadline {
            blob.extend_from_slice(&deadline.to_le_bytes());
        }
        blob.extend_from_slice(value);
        blob.into_boxed_slice()
    }

    /// Replaces the register under the same key; in place where the new one is as long as the old.
    pub(super) fn replace(&mut self, dot: LocalDot, register: RegisterRef<'_>, arrival_ms: u64) {
        let kind = flags_of(register);
        let value_start = self.value_start();
        let plain = |flags: u8| flags & (TOMBSTONE | DEADLINE) == 0;
        let in_place = plain(kind)
            && plain(self.flags)
            && register.value.map(<[u8]>::len) == self.blob.len().checked_sub(value_start);
        self.flags = self.flags & !(TOMBSTONE | DEADLINE) | kind;
        if in_place {
            self.blob[value_start..].copy_from_slice(register.value.unwrap_or_default());
        } else {
            let key = self.blob[..usize::from(self.key_len)].to_vec();
            self.blob = self.build_blob(&key, register, arrival_ms);
        }
        (self.replica, self.counter) = (dot.replica, dot.counter);
        self.timestamp = register.timestamp.to_bits();
    }

    /// What stands in a slot that is not in use.
    pub(super) fn free() -> Self {
        Self { blob: Box::default(), timestamp: 0, counter: 0, replica: 0, key_len: 0, flags: FREE }
    }

    /// What its allocation takes, as allocators round it.
    pub(super) fn heap_bytes(&self) -> usize {
        if self.blob.is_empty() { 0 } else { (self.blob.len() + size_of::<usize>()).next_multiple_of(16) }
    }

    pub(super) fn is_free(&self) -> bool {
        self.flags & FREE != 0
    }

    pub(super) fn is_sys(&self) -> bool {
        self.flags & SYS != 0
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    /// Whether the audit leaves it out: replicas drop tombstones and expired registers at different times.
    pub(super) fn is_audited(&self) -> bool {
        self.flags & (TOMBSTONE | DEADLINE) == 0
    }

    /// Among those that will be dropped some day: 0 of a tombstone, 1 of a register with a deadline.
    pub(super) fn kind_of_dated(&self) -> usize {
        usize::from(!self.is_tombstone())
    }

    pub(super) fn has_siblings(&self) -> bool {
        self.flags & SIBLINGS != 0
    }

    pub(super) fn set_siblings(&mut self, siblings: bool) {
        self.flags = if siblings { self.flags | SIBLINGS } else { self.flags & !SIBLINGS };
    }

    pub(super) fn dot(&self) -> LocalDot {
        LocalDot { replica: self.replica, counter: self.counter }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.blob[..usize::from(self.key_len)]
    }

    pub(super) fn register(&self) -> RegisterRef<'_> {
        let value = (!self.is_tombstone()).then(|| &self.blob[self.value_start()..]);
        RegisterRef { value, timestamp: Timestamp::from_bits(self.timestamp), deadline: self.deadline() }
    }

    fn deadline(&self) -> Option<u64> {
        (self.flags & DEADLINE != 0).then(|| self.number_at(usize::from(self.key_len) + 8))
    }

    /// From when it counts as dead, and its retention runs: a tombstone from its arrival here, a register with a
    /// deadline from then or from its arrival, whichever is later.
    pub(super) fn dead_from(&self) -> Option<u64> {
        (!self.is_audited()).then(|| self.number_at(usize::from(self.key_len)))
    }

    /// The same, had it arrived at that time.
    pub(super) fn dead_from_arrival(&self, arrival_ms: u64) -> Option<u64> {
        (!self.is_audited()).then(|| dead_from(self.register(), arrival_ms))
    }

    /// It has a date already.
    pub(super) fn set_dead_from(&mut self, from_ms: u64) {
        debug_assert!(!self.is_audited(), "there is no room for a date");
        let at = usize::from(self.key_len);
        self.blob[at..at + 8].copy_from_slice(&from_ms.to_le_bytes());
    }

    fn number_at(&self, at: usize) -> u64 {
        let bytes = self.blob[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    }

    fn dates_len(&self) -> usize {
        match self.flags & (TOMBSTONE | DEADLINE) {
            0 => 0,
            TOMBSTONE => 8,
            _ => 16,
        }
    }

    fn value_start(&self) -> usize {
        usize::from(self.key_len) + self.dates_len()
    }
}

fn flags_of(register: RegisterRef<'_>) -> u8 {
    let tombstone = if register.value.is_none() { TOMBSTONE } else { 0 };
    let deadline = if register.deadline.is_some() { DEADLINE } else { 0 };
    tombstone | deadline
}

fn dead_from(register: RegisterRef<'_>, arrival_ms: u64) -> u64 {
    let dead_already = register.value.is_none();
    register.deadline.filter(|_| !dead_already).map_or(arrival_ms, |deadline| deadline.max(arrival_ms))
}
