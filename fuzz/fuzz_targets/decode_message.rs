//! Any frame is refused, or is the one form of what it says: with the `Begin` of a pull, and without.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidings::ReplicaId;
use tidings::proto::codec::{decode, encode};
use tidings::proto::message::Begin;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    let snapshot = [(ReplicaId::from(1), 9), (ReplicaId::from(2), 9)].into_iter().collect();
    let begin = Begin { snapshot, ..Begin::default() };
    for begun in [None, Some(&begin)] {
        if let Ok(message) = decode(&frame, begun) {
            assert_eq!(encode(&message, begun), frame);
        }
    }
});
