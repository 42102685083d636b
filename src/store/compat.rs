//! What the compatibility routes need beside keys and values: the HTTP view, working alone, and what has expired. Not
//! responsible for their forms.

use super::Store;
use crate::Error;
use crate::crdt::Key;
use crate::proto::node::Listing;
use crate::runtime::command::Command;
use crate::types::Reading;

/// What the latest write of a key has left, whatever its deadline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Latest {
    /// A value, as it is read.
    Value(Reading),
    /// A value that has expired, as far as that is still remembered.
    Expired,
    /// Nothing.
    Absent,
}

impl Store {
    /// The HTTP addresses of alive members, and those put by hand, in the order of their text.
    /// Linear in the members and in those put by hand.
    pub fn http_view(&self) -> Vec<String> {
        self.0.shared.node_mut().http_view()
    }

    /// Lists an HTTP address (`HOST:PORT`) at all nodes, and dials it. If nothing answers there within 5 seconds it is
    /// dropped again, at all nodes. Whether it was listed before.
    /// A write as [`put`](Self::put) is one, and as safe to drop; does not wait for the answer.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`], also where too many others wait for an answer; those of a write.
    pub async fn put_in_http_view(&self, address: &str) -> Result<bool, Error> {
        let invalid = |problem: String| Error::InvalidAddress { address: address.to_owned(), problem };
        crate::config::check_address("address", address).map_err(|e| invalid(e.to_string()))?;
        let wanted = address.to_owned();
        match self.ask(|reply| Command::PutInHttpView { address: wanted, reply }).await? {
            Listing::Added => Ok(false),
            Listing::Already => Ok(true),
            Listing::TooMany => Err(invalid("too many others wait for an answer; try again in 5 seconds".to_owned())),
        }
    }

    /// Takes an address off the list at all nodes, until it is put again or whoever has it is restarted. Neither links nor
    /// membership are touched. Whether it was listed. A write as [`put`](Self::put) is one, and as safe to drop.
    ///
    /// # Errors
    ///
    /// Those of a write.
    pub async fn delete_from_http_view(&self, address: &str) -> Result<bool, Error> {
        let address = address.to_owned();
        self.ask(|reply| Command::DeleteFromHttpView { address, reply }).await
    }

    /// Closes all links, and has no others until [`reconnect`](Self::reconnect) or the end of the process. Reads and writes
    /// go on, and are shared when the links are back. Whether that is news.
    /// Waits for the disk, where that works, and for no peer. If the future is dropped, it is done or not.
    ///
    /// # Errors
    ///
    /// The store is closed.
    pub async fn disconnect(&self) -> Result<bool, Error> {
        self.ask(|reply| Command::Disconnect { reply }).await
    }

    /// Takes up the links again after [`disconnect`](Self::disconnect). Whether they had been closed so.
    /// Waits as [`disconnect`](Self::disconnect) does, and not for a link.
    ///
    /// # Errors
    ///
    /// The store is closed.
    pub async fn reconnect(&self) -> Result<bool, Error> {
        self.ask(|reply| Command::Reconnect { reply }).await
    }

    /// Whether it works without links because somebody said so. A look.
    pub fn is_disconnected(&self) -> bool {
        self.0.shared.node().is_offline()
    }

    /// What the latest write of the key has left. Where that has expired, a plain read may show an earlier one that was
    /// concurrent with it: this does not. As [`get`](Self::get) in costs.
    pub fn latest(&self, key: impl AsRef<[u8]>) -> Latest {
        let (node, now_ms) = (self.0.shared.node(), self.0.shared.clock.now().wall_ms);
        let (map, key) = (node.map(), Key::usr(key.as_ref()));
        let shown = map.read(key, now_ms);
        let later = |timestamp, dot| shown.as_ref().is_none_or(|shown| (shown.timestamp, shown.dot) < (timestamp, dot));
        let has_expired = |register: &crate::crdt::Register| register.value.is_some() && register.is_dead(now_ms);
        let registers = map.registers(key);
        match shown {
            _ if registers.iter().any(|(dot, register)| has_expired(register) && later(register.timestamp, *dot)) => {
                Latest::Expired
            }
            Some(reading) => Latest::Value(Reading::from(reading)),
            None => Latest::Absent,
        }
    }
}
