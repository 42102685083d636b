//! From the symbols of a difference to its elements: peeling, as in Eppstein et al., "What's the Difference?" (SIGCOMM
//! 2011). Not responsible for what the elements stand for, nor for how many symbols it takes.

use crate::crdt::{Indices, Symbol};
use std::collections::BTreeSet;

/// Which of the two sets has an element, and the other has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Theirs,
    Ours,
}

/// An element of the difference, with the hash by which it is in its symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) element: u64,
    pub(super) hash: u64,
}

/// What one set has and the other has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) theirs: Vec<Item>,
    pub(super) ours: Vec<Item>,
}

/// Takes the symbols of a difference (theirs less ours) apart. `hash_of` answers with the hash of a number that may be an
/// element on that side and whose hash has this lower half; it is asked about whatever stands alone, which may be rubbish.
///
/// `None` if these symbols are too few for the difference, or are none of one. Cost: their number, and for each element
/// the symbols that it is in.
pub(super) fn decode(mut symbols: Vec<Symbol>, hash_of: impl Fn(u64, u32, Side) -> Option<u64>) -> Option<Difference> {
    let mut difference = Difference::default();
    let mut alone: Vec<usize> = (0..symbols.len()).rev().filter(|&i| side_of(&symbols[i]).is_some()).collect();
    let mut found = 0;
    while let Some(i) = alone.pop() {
        let symbol = symbols[i];
        let Some(side) = side_of(&symbol) else { continue };
        let Some(hash) = hash_of(symbol.sum, symbol.check, side) else { continue };
        found += 1;
        // Each takes a symbol: rubbish could otherwise come and go for ever.
        if found > symbols.len() {
            return None;
        }
        let (list, count) = match side {
            Side::Theirs => (&mut difference.theirs, u8::MAX),
            Side::Ours => (&mut difference.ours, 1),
        };
        list.push(Item { element: symbol.sum, hash });
        for j in Indices::of(hash).map(|j| j as usize) {
            let Some(of_both) = symbols.get_mut(j) else { break };
            of_both.toggle(symbol.sum, hash, count);
            if side_of(of_both).is_some() {
                alone.push(j);
            }
        }
    }
    let nothing_left = symbols.iter().all(|symbol| *symbol == Symbol::default());
    (nothing_left && difference.is_of_sets()).then_some(difference)
}

fn side_of(symbol: &Symbol) -> Option<Side> {
    match symbol.count {
        1 => Some(Side::Theirs),
        u8::MAX => Some(Side::Ours),
        _ => None,
    }
}

impl Difference {
    /// Nothing twice, and nothing on both sides.
    fn is_of_sets(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.theirs.iter().chain(&self.ours).all(|item| seen.insert(*item))
    }
}
