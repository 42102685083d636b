//! What can be told of records as they go by, without making a map of them. Not responsible for whether they are a state:
//! the loader is.

use super::record::{self, Record};
use super::{Damage, FORMAT, Identity};

/// Takes records in the order of their keys, of which the first two say what follows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outline {
    identity: Option<Identity>,
    entries: Option<u64>,
}

impl Outline {
    /// Whose records they are, and how many entries are among them; `None` until that is known.
    pub fn told(&self) -> Option<(Identity, u64)> {
        self.identity.zip(self.entries)
    }

    /// The next record.
    ///
    /// # Errors
    ///
    /// It is not what a state begins with.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        if self.told().is_some() {
            return Ok(());
        }
        let not_first = || Damage::Missing("they do not begin as those of a state do");
        let newer = |format: &u64| *format > FORMAT;
        if let Some(format) = record::read_format(value).ok().filter(newer).filter(|_| key == [record::IDENTITY]) {
            return Err(Damage::Newer(format));
        }
        match record::read(key, value) {
            Ok(Record::Identity(identity)) => self.identity = Some(identity),
            Ok(Record::State(state)) => self.entries = Some(state.entries),
            Ok(_) | Err(_) => return Err(not_first()),
        }
        Ok(())
    }
}
