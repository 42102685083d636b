//! What decodes can be merged, into an empty map and into one with entries, without a panic; and a second time it
//! changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::{CausalContext, Delta, OrMap, ReplicaId};

const NOW: u64 = 1_700_000_000_000;

fuzz_target!(|data: &[u8]| {
    let Ok(delta) = Delta::decode(data) else { return };
    let mut filled = OrMap::new(ReplicaId::from(1));
    filled.put(b"k", b"v", NOW);
    filled.put(b"kettle", b"on", NOW);
    filled.delete(b"kettle", NOW);
    for mut map in [OrMap::new(ReplicaId::from(2)), filled] {
        let _ = map.merge(delta.clone());
        let all = map.delta_since(&CausalContext::new());
        let audit = map.audit();
        let again = map.merge(delta.clone());
        assert!(again.changes.is_empty());
        assert_eq!(map.audit(), audit);
        // And it can be passed on.
        let all = Delta::decode(&all.encode()).expect("what a map says decodes");
        let _ = OrMap::new(ReplicaId::from(3)).merge(all);
    }
});
