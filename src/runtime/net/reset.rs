//! How a node that was restarted tells its peers so: by stateless resets (RFC 9000, section 10.3), whose keys outlive it. Not
//! responsible for what they do then.
//!
//! A peer goes on asking on a connection of the process that is no more; the answer ends that at once, and it dials anew.

use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The key of one replica, which nobody else has: not even a holder of the cluster's secret can end its connections. Where it
/// is not kept, peers find out by silence that a node was restarted.
#[derive(Clone)]
pub struct ResetKey(Zeroizing<[u8; 32]>);

impl ResetKey {
    /// How long it is.
    pub const BYTES: usize = 32;

    /// A new one. The generator must be a cryptographic one, such as `rand::rng()`.
    pub fn random(rng: &mut impl rand::Rng) -> Self {
        let mut key = Zeroizing::new([0; Self::BYTES]);
        rng.fill_bytes(&mut *key);
        Self(key)
    }

    /// One that was kept.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// To be kept.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The settings of an endpoint of this replica.
    pub(super) fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self.clone()));
        // An id that was given out before the restart must be known as one of ours.
        let mut key = [0; 8];
        self.sign(b"connection ids", &mut key);
        let key = u64::from_le_bytes(key);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey(..)")
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let expected = blake3::keyed_hash(&self.0, data);
        // Compares in constant time.
        <[u8; blake3::OUT_LEN]>::try_from(signature)
            .ok()
            .filter(|given| expected == *given)
            .map(drop)
            .ok_or(CryptoError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_kept_signs_the_same_and_no_other_does() {
        let signed = |key: &ResetKey| {
            let mut signature = vec![0; key.signature_len()];
            key.sign(b"an id", &mut signature);
            signature
        };
        let key = ResetKey::random(&mut rand::rng());
        let signature = signed(&key);
        assert_eq!(signature, signed(&ResetKey::from_bytes(*key.as_bytes())));
        assert_ne!(signature, signed(&ResetKey::random(&mut rand::rng())));
        assert!(key.verify(b"an id", &signature).is_ok());
        assert!(key.verify(b"another", &signature).is_err() && key.verify(b"an id", &signature[1..]).is_err());
    }
}
