//! How two replicas' live dots differ, judged by one look at the first symbols of the other's: for people who ask, not for
//! a sync. Not responsible for what is told of it.

use super::decoder::{Side, decode};
use super::estimate::{estimate, symbols_for};
use super::{LISTED_MAX, SYMBOL_BYTES, Telling};
use crate::crdt::{CausalContext, DotSet, OrMap};
use crate::proto::message::{Symbols, Told};

/// What one look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Which dots live here and are dead there, and how many are the other way; `None` if the symbols do not tell.
    pub(crate) dead: Option<(DotSet, u64)>,
    /// How many bytes of symbols a comparison would take, about.
    pub(crate) bytes: u64,
}

/// All live dots, to be looked at elsewhere. Costs nothing in their number.
pub(crate) fn symbols_to_show(map: &OrMap) -> Symbols {
    let within = map.context();
    Symbols { total: map.live_count_within(within), symbols: map.sketch_within(within).symbols().to_vec() }
}

/// Compares the live dots with those of a replica whose context is `theirs`, of which it has shown these symbols.
pub(crate) fn glance(map: &OrMap, theirs: &CausalContext, shown: &Symbols) -> Glance {
    let (key, own) = (map.elements().key(), map.sketch_within(theirs));
    let difference: Vec<_> = shown.symbols.iter().zip(own.symbols()).map(|(a, b)| a.less(*b)).collect();
    let surplus = (shown.total as i64).wrapping_sub(map.live_count_within(theirs) as i64);
    let found = decode(difference.clone(), |element, check, side| {
        let hash = key.of_live(element);
        let possible = side == Side::Theirs || map.live_dot_of(element, theirs).is_some();
        (hash as u32 == check && possible).then_some(hash)
    });
    let Some(found) = found else {
        return Glance { dead: None, bytes: SYMBOL_BYTES * symbols_for(estimate(&difference, surplus)) };
    };
    let ours = found.ours.iter().filter_map(|item| map.live_dot_of(item.element, theirs)).collect();
    // Theirs that this replica has not heard of are not dead here.
    let heard_of = |element| map.elements().dots_of(element).any(|dot| map.context().contains(dot));
    let dead_here = found.theirs.iter().filter(|item| heard_of(item.element)).count() as u64;
    Glance { dead: Some((ours, dead_here)), bytes: SYMBOL_BYTES * symbols_for(dead_here).max(16) }
}

/// What a pull says of contexts like these.
pub(crate) fn told(map: &OrMap, context: &CausalContext, bound: &CausalContext) -> Told {
    Telling::of(map.elements().key(), [context.clone(), bound.clone()], LISTED_MAX).1
}
