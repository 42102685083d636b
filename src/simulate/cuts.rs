//! Which paths are cut. Not responsible for what that does to links.

/// Names a cut, to mend it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutId(u64);

/// Paths from nodes of one set to nodes of another.
#[derive(Clone, Debug)]
struct Cut {
    id: CutId,
    from: Set,
    to: Set,
    both_ways: bool,
}

/// Nodes, a bit for each.
#[derive(Clone, Debug)]
struct Set(Vec<u64>);

impl Set {
    fn new(members: &[usize]) -> Self {
        let mut words = vec![0; members.iter().max().map_or(0, |most| most / 64 + 1)];
        members.iter().for_each(|member| words[member / 64] |= 1 << (member % 64));
        Self(words)
    }

    fn contains(&self, who: usize) -> bool {
        self.0.get(who / 64).is_some_and(|word| word >> (who % 64) & 1 == 1)
    }
}

/// All cuts in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    all: Vec<Cut>,
    made: u64,
}

impl Cuts {
    pub(super) fn add(&mut self, from: &[usize], to: &[usize], both_ways: bool) -> CutId {
        self.made += 1;
        let id = CutId(self.made);
        self.all.push(Cut { id, from: Set::new(from), to: Set::new(to), both_ways });
        id
    }

    pub(super) fn remove(&mut self, id: CutId) {
        self.all.retain(|cut| cut.id != id);
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether nothing gets from one node to the other.
    pub(super) fn cuts(&self, from: usize, to: usize) -> bool {
        let matches = |cut: &Cut, from, to| cut.from.contains(from) && cut.to.contains(to);
        self.all.iter().any(|cut| matches(cut, from, to) || (cut.both_ways && matches(cut, to, from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_may_be_one_way() {
        let mut cuts = Cuts::default();
        cuts.add(&[0, 70], &[1], false);
        assert!(cuts.cuts(70, 1) && !cuts.cuts(1, 70) && !cuts.cuts(2, 1));
        let both = cuts.add(&[0], &[1], true);
        assert!(cuts.cuts(1, 0));
        cuts.remove(both);
        assert!(cuts.cuts(0, 1) && !cuts.cuts(1, 0), "the other cut is still there");
        cuts.clear();
        assert!(cuts.is_empty() && !cuts.cuts(70, 1));
    }
}
