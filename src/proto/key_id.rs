//! Names of keys: what a node proves with that it is of the cluster, told apart without telling anything of them. Not
//! responsible for keys: the runtime has those.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a secret or of an authority: 8 bytes of a hash of it, written as 16 hexadecimal digits. Anybody may know it.
///
/// The machines compare them, and nothing else; where links are not authenticated, as in the simulator, all are zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 8]);

/// Text that is no name of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a key is 16 hexadecimal digits")]
pub struct ParseKeyIdError;

impl KeyId {
    /// Of a hash, the first bytes.
    pub fn of_hash(hash: &[u8; 16]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(ParseKeyIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = ParseKeyIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_anything_else_refused() {
        let id = KeyId::of_hash(&[0x0a; 16]);
        assert_eq!(id.to_string(), "0a0a0a0a0a0a0a0a");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0a", "+a0a0a0a0a0a0a0a", "0a0a0a0a0a0a0a0a0a", "g".repeat(16).as_str()] {
            assert_eq!(wrong.parse::<KeyId>(), Err(ParseKeyIdError), "{wrong}");
        }
    }
}
