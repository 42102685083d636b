//! Writing. Not responsible for when a write is durable: the driver answers then.

use super::Store;
use crate::Error;
use crate::runtime::command::{Command, Outcome, Write};
use crate::types::{PutOptions, Record, Written};
use bytes::Bytes;
use serde::Serialize;

impl Store {
    /// Writes a value without a deadline, whatever the old one had. Returns when it is durable here.
    /// Waits for this node's disk, as those who write at the same time do together, and for no peer. The map's part is
    /// O(1) expected; the answer's session takes 16 bytes for each replica that has ever written. If the future is
    /// dropped, the write is done or not.
    ///
    /// # Errors
    ///
    /// The key or the value is beyond its limit, or the store is closed. [`Error::state_changed`] tells.
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<Written, Error> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// As [`put`](Self::put), with a deadline or another durability.
    /// With [`Durability::Eventual`](crate::Durability::Eventual) it waits for the disk only
    /// until the first commit after the start, and once in a million writes.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Written, Error> {
        let write = self.checked(key.as_ref(), value.into(), options.expires)?;
        let durability = options.durability;
        let outcome = self.ask(|reply| Command::Put { write, durability, reply }).await?;
        Ok(self.written(outcome))
    }

    /// Writes a value as its JSON text. See [`get_as`](Self::get_as). Costs what that does, and the text.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and [`Error::Value`] if the value has no JSON form.
    pub async fn put_as<T: Serialize>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Written, Error> {
        let text = serde_json::to_vec(value).map_err(|source| Error::Value { source })?;
        self.put(key, text).await
    }

    /// Writes many values, made durable together. How many that were.
    /// Linear in them. They are put in one go, and nothing else happens at the node meanwhile: give it some thousands
    /// at a time. If the future is dropped, all are written or none is.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); if one of them is beyond a limit, none is written.
    pub async fn put_many(&self, records: Vec<Record>) -> Result<usize, Error> {
        let writes = records.into_iter().map(|record| self.checked(&record.key, record.value, record.expires));
        let writes = writes.collect::<Result<Vec<_>, _>>()?;
        let count = writes.len();
        self.ask(|reply| Command::PutMany { writes, reply }).await?;
        Ok(count)
    }

    /// Deletes what the key shows here; `None`, and nothing is written, if that is nothing.
    /// Costs what [`put`](Self::put) does, and is as safe to drop.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Option<Written>, Error> {
        let key = self.checked(key.as_ref(), Bytes::new(), None)?.key;
        let outcome = self.ask(|reply| Command::Delete { key, reply }).await?;
        Ok(outcome.map(|outcome| self.written(outcome)))
    }

    fn checked(&self, key: &[u8], value: Bytes, expires: Option<u64>) -> Result<Write, Error> {
        let (key_max, value_max) = (self.0.key_bytes_max, self.0.value_bytes_max);
        match (key.len(), value.len()) {
            (0, _) => Err(Error::KeyEmpty),
            (len, _) if len > key_max => Err(Error::KeyTooLong { len, max: key_max }),
            (_, len) if len > value_max => Err(Error::ValueTooLarge { len, max: value_max }),
            _ => Ok(Write { key: Bytes::copy_from_slice(key), value, expires }),
        }
    }

    pub(super) fn written(&self, outcome: Outcome) -> Written {
        Written { dot: outcome.dot, session: self.session(), replaced: outcome.replaced }
    }
}
