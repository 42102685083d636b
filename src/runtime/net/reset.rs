//! How a node that was restarted tells its peers so: by stateless resets (RFC 9000, section 10.3), whose keys outlive it. Not
//! responsible for what they do then.
//!
//! A peer goes on asking on a connection of the process that is no more; the answer ends that at once, and it dials anew.

use super::Secret;
use crate::ReplicaId;
use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The key of one replica. Whoever holds the secret can end its connections, as it could by other means.
#[derive(Clone)]
pub(super) struct ResetKey(Zeroizing<[u8; 32]>);

impl ResetKey {
    pub(super) fn new(secret: &Secret, replica: ReplicaId) -> Self {
        let key = secret.derive("tidings v1 stateless reset");
        Self(Zeroizing::new(blake3::keyed_hash(&key, replica.to_string().as_bytes()).into()))
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
    fn a_key_is_the_same_after_a_restart_and_another_for_each_replica_and_cluster() {
        let (secret, other) = (Secret::random(&mut rand::rng()), Secret::random(&mut rand::rng()));
        let (a, b) = (ReplicaId::from(1), ReplicaId::from(2));
        let signed = |key: &ResetKey| {
            let mut signature = vec![0; key.signature_len()];
            key.sign(b"an id", &mut signature);
            signature
        };
        let key = ResetKey::new(&secret, a);
        let signature = signed(&key);
        assert_eq!(signature, signed(&ResetKey::new(&secret, a)));
        assert_ne!(signature, signed(&ResetKey::new(&secret, b)));
        assert_ne!(signature, signed(&ResetKey::new(&other, a)));
        assert!(key.verify(b"an id", &signature).is_ok());
        assert!(key.verify(b"another", &signature).is_err() && key.verify(b"an id", &signature[1..]).is_err());
    }
}
