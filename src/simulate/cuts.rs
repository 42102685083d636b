//! Which paths are cut. Not responsible for what that does to links.

/// Paths from nodes of one set to nodes of another.
#[derive(Clone, Debug)]
struct Cut {
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
pub(super) struct Cuts(Vec<Cut>);

impl Cuts {
    pub(super) fn add(&mut self, from: &[usize], to: &[usize], both_ways: bool) {
        self.0.push(Cut { from: Set::new(from), to: Set::new(to), both_ways });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing gets from one node to the other.
    pub(super) fn cuts(&self, from: usize, to: usize) -> bool {
        let matches = |cut: &Cut, from, to| cut.from.contains(from) && cut.to.contains(to);
        self.0.iter().any(|cut| matches(cut, from, to) || (cut.both_ways && matches(cut, to, from)))
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
        cuts.add(&[0], &[1], true);
        assert!(cuts.cuts(1, 0));
        cuts.clear();
        assert!(cuts.is_empty() && !cuts.cuts(70, 1));
    }
}
