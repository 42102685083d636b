//! The secret that makes machines one cluster. Not responsible for where it is kept, nor for what is derived from it
//! besides its name.

use crate::proto::KeyId;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// 32 random bytes that every node of a cluster holds; whoever holds them is of the cluster, under any replica id.
///
/// It is drawn, never thought up: anyone who connects sees a signature on which a passphrase could be guessed offline.
/// Written as 64 hexadecimal digits. Wiped from memory when dropped, and never shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; Self::BYTES]>);

/// Text that is not a secret. It does not repeat the text, which may be most of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is 64 hexadecimal digits (32 random bytes); `tidings secret new` makes one")]
pub struct ParseSecretError;

impl Secret {
    const BYTES: usize = 32;

    /// A new one. The generator must be a cryptographic one, such as `rand::rng()`.
    pub fn random(rng: &mut impl rand::Rng) -> Self {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        rng.fill_bytes(&mut *bytes);
        Self(bytes)
    }

    /// The 64 digits, to be stored where only the node can read them.
    pub fn to_hex(&self) -> Zeroizing<String> {
        // Written in one allocation of the final size: a growing string would leave copies behind.
        let mut hex = Zeroizing::new(String::with_capacity(2 * Self::BYTES));
        for byte in self.0.iter() {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        hex
    }

    /// The id of the cluster of which it is the first secret: the same on each of its nodes, and public, since the secret cannot
    /// be told from it.
    pub fn cluster_id(&self) -> [u8; 16] {
        let derived = self.derive("tidings v1 cluster id");
        let mut id = [0; 16];
        id.copy_from_slice(&derived[..16]);
        id
    }

    /// Its name, by which people tell it from others.
    pub fn key_id(&self) -> KeyId {
        KeyId::of_hash(&self.cluster_id())
    }

    /// A key of its own for each purpose, so that none tells anything about another, or about the secret.
    pub(super) fn derive(&self, context: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, &*self.0))
    }
}

impl FromStr for Secret {
    type Err = ParseSecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * Self::BYTES {
            return Err(ParseSecretError);
        }
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(ascii: u8) -> Result<u8, ParseSecretError> {
    let value = char::from(ascii).to_digit(16).ok_or(ParseSecretError)?;
    Ok(value as u8)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_read_from_its_file_is_the_same() {
        let secret = Secret::random(&mut rand::rng());
        let file = format!("{}\n", secret.to_hex().as_str());
        let read: Secret = file.parse().expect("what we wrote");
        assert_eq!(read.to_hex(), secret.to_hex());
        assert_eq!(read.cluster_id(), secret.cluster_id());
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        let hex = Secret::random(&mut rand::rng()).to_hex().to_string();
        for text in ["", "correct horse battery staple", &hex[1..], &format!("{hex}0"), &hex.replace(&hex[..1], "g")] {
            let error = text.parse::<Secret>().expect_err(text).to_string();
            assert!(error.contains("tidings secret new") && (text.is_empty() || !error.contains(text)));
        }
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let secret = Secret::random(&mut rand::rng());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn clusters_have_different_names() {
        let (ours, theirs) = (Secret::random(&mut rand::rng()), Secret::random(&mut rand::rng()));
        assert_ne!(ours.cluster_id(), theirs.cluster_id());
    }
}
