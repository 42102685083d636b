//! Stories of nodes that were away for longer than anybody remembers what was deleted.

use crate::dice::for_each_seed;
use crate::timed::Timed;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

const HOUR_MS: u64 = 3_600_000;

/// How many tombstones a node still has of users' keys.
fn tombstones(timed: &Timed<'_>, who: usize) -> usize {
    timed.world.map(who).counts().tombstones
}

/// C is away while keys are deleted, overwritten and deleted again elsewhere, and for longer than any retention. It comes
/// back with all of them, and with writes of its own; nothing that was deleted returns, anywhere, and what C wrote stays.
#[test]
fn long_away() {
    for_each_seed(2, |dice| {
        let keys = 60;
        let mut timed = Timed::cluster(dice, keys, 3);
        timed.demand_agreement(3_000);
        (0..keys - 1).for_each(|key| {
            timed.put([A, B, C][key % 3], key);
        });
        timed.demand_agreement(5_000);
        timed.isolate(C);
        timed.run_for(5_000);
        (0..10).for_each(|key| assert!(timed.delete([A, B][key % 2], key)));
        let overwritten: Vec<u64> = (10..20).map(|key| timed.put([A, B][key % 2], key)).collect();
        (20..30).for_each(|key| {
            timed.put(A, key);
            timed.run_for(50);
            assert!(timed.delete(B, key));
        });
        // C overwrites one that is deleted elsewhere: concurrent, so that it stays.
        let (of_c, beside) = (timed.put(C, 0), timed.put(C, keys - 1));
        timed.run_for(3 * HOUR_MS);
        let left = [tombstones(&timed, A), tombstones(&timed, B)];
        assert_eq!(left, [0, 0], "the others have forgotten what was deleted");
        let before = timed.catch_ups;
        timed.mend_all();
        timed.demand_agreement(60_000);
        assert!(timed.catch_ups > before, "an ordinary sync could not know of it");
        timed.run_for(60_000);
        for who in [A, B, C] {
            let shown = |key| timed.get(who, key);
            assert_eq!((shown(0), shown(keys - 1)), (Some(of_c), Some(beside)), "at {who}");
            (1..10).chain(20..30).for_each(|key| assert_eq!(shown(key), None, "{key} is back at {who}"));
            (10..20).for_each(|key| assert_eq!(shown(key), Some(overwritten[key - 10]), "{key} at {who}"));
            (30..keys - 1).for_each(|key| assert!(shown(key).is_some(), "{key} is lost at {who}"));
        }
    });
}
