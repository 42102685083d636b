//! The receiver's side of a comparison of live dots: which of its own the sender has not offered. Not responsible for what
//! becomes of them.
//!
//! RULE 4: its own dots are those that are live at the moment at which the comparison ends, never those of a moment before:
//! whatever other syncs brought in the meantime is in it. So its own symbols are made anew whenever the dots have changed.

use super::Reconciled;
use super::decoder::{Difference, Side, decode};
use super::estimate::{estimate, symbols_for};
use super::offer::SYMBOLS_MAX;
use crate::crdt::{CausalContext, DotSet, Elements, OrMap, Sketch, Symbol};
use crate::proto::message::{Message, Part, Symbols};

/// So many symbols may come unasked.
const UNASKED_MAX: u64 = 64;

/// What has been offered so far.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The sender's snapshot.
    within: CausalContext,
    /// Its replicas: of what the sender alone has, only the element is known.
    named: Elements,
    symbols: Vec<Symbol>,
    /// So many have come,
    received: u64,
    /// and so many were asked for.
    asked: u64,
    /// A list was asked for instead; symbols may still be on their way.
    given_up: bool,
    /// Our own symbols beyond those that are kept, and the kept ones as they were when these were made.
    own: Vec<Symbol>,
    own_with: Option<Sketch>,
    listed: Option<Listed>,
    counts: Reconciled,
}

/// Which of our live dots are on the sender's list.
#[derive(Debug)]
struct Listed {
    offered: DotSet,
    /// Our context and the live dots beyond it when the list began. Of what came later the parts before say nothing.
    context: CausalContext,
    have: DotSet,
}

/// What an offer has led to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// More is on its way.
    Waiting,
    /// Say this: more is needed.
    Ask(Message),
    /// These dots, live here, are dead there.
    Dead(DotSet),
}

impl Comparison {
    pub(crate) fn new(map: &OrMap, within: &CausalContext) -> Self {
        Self {
            within: within.clone(),
            named: Elements::of_context(map.elements().key(), within),
            symbols: Vec::new(),
            received: 0,
            asked: 0,
            given_up: false,
            own: Vec::new(),
            own_with: None,
            listed: None,
            counts: Reconciled::default(),
        }
    }

    pub(crate) fn take_counts(&mut self) -> Reconciled {
        std::mem::take(&mut self.counts)
    }

    /// Takes in a part of a list.
    pub(crate) fn on_part(&mut self, map: &OrMap, part: &Part<DotSet>) -> Outcome {
        let begin = || Listed { offered: DotSet::new(), context: map.context().clone(), have: map.have() };
        let listed = self.listed.get_or_insert_with(begin);
        for (replica, first, last) in part.part.iter() {
            // Others are not asked about at the end, and the peer may offer them without end.
            map.live_between(replica, first, last).for_each(|dot| listed.offered.insert(dot));
        }
        if !part.last {
            return Outcome::Waiting;
        }
        let dead = map.dots_dead_at(&self.within, &listed.offered);
        // What another sync brought while the list came was perhaps on a part that came before.
        let is_certain = |dot| listed.context.contains(dot) || listed.have.contains(dot);
        let all_certain = dead.dots().all(is_certain);
        self.listed = None;
        if all_certain { Outcome::Dead(dead) } else { self.ask_for_list() }
    }

    /// Takes in symbols. An error if they are more than was asked for.
    pub(crate) fn on_symbols(&mut self, map: &OrMap, more: &Symbols) -> Result<Outcome, &'static str> {
        let new = more.symbols.len() as u64;
        self.counts.symbols_received += new;
        self.received += new;
        if self.received > self.asked.max(UNASKED_MAX) {
            return Err("more symbols than were asked for");
        }
        if self.given_up {
            return Ok(Outcome::Waiting);
        }
        self.symbols.extend_from_slice(&more.symbols);
        let count = self.symbols.len() as u64;
        let sketch = map.sketch_within(&self.within);
        let difference = self.difference(map, sketch);
        let tried = difference.len() as u64 == count;
        if let Some(found) = tried.then(|| self.decode(map, difference.clone())).flatten() {
            self.counts.coded += 1;
            return Ok(Outcome::Dead(self.dots_of(map, &found)));
        }
        let surplus = (more.total as i64).wrapping_sub(map.live_count_within(&self.within) as i64);
        Ok(self.ask(count, estimate(&difference, surplus)))
    }

    /// As many symbols of the difference as can be had at a reasonable cost.
    fn difference(&mut self, map: &OrMap, kept: Sketch) -> Vec<Symbol> {
        let count = self.symbols.len();
        if count > Sketch::KEPT {
            let beyond = count - Sketch::KEPT;
            let unchanged = self.own_with.as_ref() == Some(&kept);
            let grown = beyond > self.own.len();
            // A pass over all dots: for what is granted at once, and again only if something has changed meanwhile.
            if grown || !unchanged && count as u64 >= self.asked {
                let end = self.asked.max(count as u64);
                self.own = map.symbols_within(&self.within, Sketch::KEPT as u64, end);
                self.own_with = Some(kept.clone());
            } else if !unchanged {
                return less(&self.symbols, kept.symbols());
            }
        }
        less(&self.symbols, kept.symbols().iter().chain(&self.own))
    }

    fn decode(&self, map: &OrMap, difference: Vec<Symbol>) -> Option<Difference> {
        let key = map.elements().key();
        decode(difference, |element, check, side| {
            let hash = key.of_live(element);
            let possible = || match side {
                Side::Ours => map.live_dot_of(element, &self.within).is_some(),
                Side::Theirs => self.named.dots_of(element).any(|dot| self.within.contains(dot) && !map.is_live(dot)),
            };
            (hash as u32 == check && possible()).then_some(hash)
        })
    }

    fn dots_of(&self, map: &OrMap, found: &Difference) -> DotSet {
        found.ours.iter().filter_map(|item| map.live_dot_of(item.element, &self.within)).collect()
    }

    fn ask(&mut self, count: u64, differences: u64) -> Outcome {
        let dry = count >= self.asked;
        let likely = symbols_for(differences);
        let wanted = if dry { likely.max(count + count / 4 + 2) } else { likely };
        if wanted > SYMBOLS_MAX {
            (self.given_up, self.symbols, self.own) = (true, Vec::new(), Vec::new());
            return self.ask_for_list();
        }
        // Before it has run dry, so that the sender need not wait.
        if dry || wanted > self.asked && 4 * (self.asked - count) <= self.asked {
            self.asked = wanted;
            return Outcome::Ask(Message::More { symbols: wanted, differences });
        }
        Outcome::Waiting
    }

    fn ask_for_list(&mut self) -> Outcome {
        Outcome::Ask(Message::More { symbols: 0, differences: 0 })
    }
}

fn less<'s>(theirs: &[Symbol], ours: impl IntoIterator<Item = &'s Symbol>) -> Vec<Symbol> {
    theirs.iter().zip(ours).map(|(theirs, ours)| theirs.less(*ours)).collect()
}
