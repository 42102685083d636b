//! Reading, of both sections. Each read takes the map's lock for one look.

use super::{Store, Sys};
use crate::Error;
use crate::crdt::{Key, OrMap, Section};
use crate::types::{Item, Page, Reading};
use bytes::Bytes;
use serde::de::DeserializeOwned;

impl Store {
    /// The value that the key shows here.
    /// One lookup and a copy of the value; waits for nothing. What is not on disk yet is shown too, and a crash may
    /// take that back: see [`read_with_session`](Self::read_with_session).
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.read(key).map(|reading| reading.value)
    }

    /// The value that the key shows, from its JSON text; `None` if the key is absent.
    /// As [`get`](Self::get), and parses the text.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if the value is no such thing.
    pub fn get_as<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let value = self.get(key);
        value.map(|value| serde_json::from_slice(&value)).transpose().map_err(|source| Error::Value { source })
    }

    /// The value that the key shows, and its write. As [`get`](Self::get) in costs.
    pub fn read(&self, key: impl AsRef<[u8]>) -> Option<Reading> {
        self.read_key(Key::usr(key.as_ref()))
    }

    /// All live values of the key: the one that it shows, then those of concurrent writes.
    /// Copies them; as a rule there is one.
    pub fn values(&self, key: impl AsRef<[u8]>) -> Vec<Reading> {
        self.values_of(Key::usr(key.as_ref()))
    }

    /// All keys that begin with `prefix`, with their values, in the order of their bytes, as of one moment.
    ///
    /// Copies them all: for many, take [`page`](Self::page)s.
    ///
    /// The first scan of a section sorts all its keys, later ones what is new since. Writes wait meanwhile.
    pub fn scan(&self, prefix: impl AsRef<[u8]>) -> Vec<(Bytes, Bytes)> {
        let page = self.page(prefix.as_ref(), None, usize::MAX);
        page.items.into_iter().map(|item| (item.key, item.value)).collect()
    }

    /// At most `limit` keys that begin with `prefix`, from `start` on, in the order of their bytes.
    /// A search and `limit` copies, beside the sorting that [`scan`](Self::scan) has too. Writes wait meanwhile.
    pub fn page(&self, prefix: &[u8], start: Option<&[u8]>, limit: usize) -> Page {
        self.page_of(Key::usr(prefix), start, limit)
    }

    /// The section of the cluster's own facts. Costs nothing.
    pub fn sys(&self) -> Sys<'_> {
        Sys(self)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.0.shared.clock.now().wall_ms
    }

    fn read_key(&self, key: Key<'_>) -> Option<Reading> {
        read(self.0.shared.node().map(), key, self.now_ms())
    }

    fn values_of(&self, key: Key<'_>) -> Vec<Reading> {
        values(self.0.shared.node().map(), key, self.now_ms())
    }

    fn page_of(&self, prefix: Key<'_>, start: Option<&[u8]>, limit: usize) -> Page {
        page(self.0.shared.node_mut().map_for_scan(), prefix, start, limit, self.now_ms())
    }
}

pub(super) fn read(map: &OrMap, key: Key<'_>, now: u64) -> Option<Reading> {
    map.read(key, now).map(Reading::from)
}

pub(super) fn values(map: &OrMap, key: Key<'_>, now: u64) -> Vec<Reading> {
    map.read(key, now).into_iter().chain(map.siblings(key, now)).map(Reading::from).collect()
}

pub(super) fn page(map: &mut OrMap, prefix: Key<'_>, start: Option<&[u8]>, limit: usize, now: u64) -> Page {
    let mut shown = map.scan_from(prefix, start.unwrap_or_default(), now);
    let item = |(key, reading): (&[u8], crate::crdt::Reading<'_>)| Item {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(reading.value),
        expires: reading.deadline,
        siblings: reading.siblings,
    };
    let items = shown.by_ref().take(limit).map(item).collect();
    Page { items, next: shown.next().map(|(key, _)| Bytes::copy_from_slice(key)) }
}

impl Sys<'_> {
    /// As [`Store::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.read(key).map(|reading| reading.value)
    }

    /// As [`Store::read`].
    pub fn read(&self, key: impl AsRef<[u8]>) -> Option<Reading> {
        self.0.read_key(Key::sys(key.as_ref()))
    }

    /// As [`Store::values`].
    pub fn values(&self, key: impl AsRef<[u8]>) -> Vec<Reading> {
        self.0.values_of(Key::sys(key.as_ref()))
    }

    /// As [`Store::scan`].
    pub fn scan(&self, prefix: impl AsRef<[u8]>) -> Vec<(Bytes, Bytes)> {
        let page = self.page(prefix.as_ref(), None, usize::MAX);
        page.items.into_iter().map(|item| (item.key, item.value)).collect()
    }

    /// As [`Store::page`].
    pub fn page(&self, prefix: &[u8], start: Option<&[u8]>, limit: usize) -> Page {
        self.0.page_of(Key { section: Section::Sys, bytes: prefix }, start, limit)
    }
}

impl From<crate::crdt::Reading<'_>> for Reading {
    fn from(reading: crate::crdt::Reading<'_>) -> Self {
        let crate::crdt::Reading { value, dot, timestamp, deadline, siblings } = reading;
        Self { value: Bytes::copy_from_slice(value), dot, timestamp, expires: deadline, siblings }
    }
}
