//! Any bytes are refused, or are the one form of the delta that they say. What decodes can be merged, into an empty map
//! and into one with entries; a second time it changes nothing; and what the map then says can be read by others.

#![no_main]

use std::collections::BTreeSet;
use tidings::{CausalContext, Delta, Key, OrMap, ReplicaId};
use tidings_fuzz::{vectors, within};

const NOW: u64 = 1_700_000_000_000;

tidings_fuzz::target!(seeds, run);

fn run(input: &[u8]) {
    within((96 << 20) + 1000 * input.len(), || {
        let Ok(delta) = Delta::decode(input) else { return };
        assert_eq!(delta.encode(), input);
        for map in [OrMap::new(ReplicaId::from(2)), filled()] {
            merge_twice(map, &delta);
        }
    });
}

fn merge_twice(mut map: OrMap, delta: &Delta) {
    let _ = map.merge(delta.clone());
    let all = map.delta_since(&CausalContext::new()).encode();
    let audit = map.audit();
    let again = map.merge(delta.clone());
    // One that says two things of one key is none that a map makes: it may well change something the second time.
    let keys: BTreeSet<Key<'_>> = delta.entries().keys().collect();
    if keys.len() == delta.entries().len() {
        assert!(again.changes.is_empty(), "{:?}", again.changes);
        assert_eq!(map.audit(), audit);
    }
    let all = Delta::decode(&all).expect("what a map says decodes");
    let _ = OrMap::new(ReplicaId::from(3)).merge(all);
}

fn filled() -> OrMap {
    let mut map = OrMap::new(ReplicaId::from(1));
    map.put(b"k", b"v", NOW);
    map.put(b"kettle", b"on", NOW);
    map.delete(b"kettle", NOW);
    map
}

fn seeds() -> Vec<Vec<u8>> {
    let mut other = OrMap::new(ReplicaId::from(5));
    let _ = other.merge(filled().delta_since(&CausalContext::new()));
    other.put(b"kettle", b"off", NOW + 1);
    other.put_until(b"lamp", [7; 300], NOW + 9, NOW + 2);
    let made = [other.delta_since(&CausalContext::new()), other.delta_since(filled().context())];
    let made = made.iter().map(|delta| delta.encode().to_vec());
    vectors("delta").into_iter().map(Vec::from).chain(made).collect()
}
