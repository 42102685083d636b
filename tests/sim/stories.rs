//! Stories of named nodes. Not responsible for random runs: `runs` and `clusters` are.

use tidings::{Delta, OrMap, ReplicaId};

/// A receiver's context that the sender lacks some of used to come out of the bytes as the sender's own: the receiver then
/// took what the sender had not heard of for deleted.
#[test]
fn a_delta_on_a_base_that_its_sender_lacks_survives_the_bytes() {
    let now = crate::world::START;
    let (mut a, mut b) = (OrMap::new(ReplicaId::from(1)), OrMap::new(ReplicaId::from(2)));
    a.put(b"kettle", b"on", now);
    b.put(b"kettle", b"off", now);
    let delta = b.delta_since(a.context());
    let read = Delta::decode(&delta.encode()).expect("it was encoded so");
    assert_eq!((read.base(), read.snapshot()), (delta.base(), delta.snapshot()));
    let merged = a.merge(read);
    assert!(merged.missing.is_empty());
    assert_eq!(a.registers(b"kettle").len(), 2, "both writes live: neither had seen the other");
}
