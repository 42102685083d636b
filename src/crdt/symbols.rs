//! Coded symbols of a set of numbers: the rateless IBLT of Yang et al., "Practical Rateless Set Reconciliation" (SIGCOMM
//! 2024). Not responsible for decoding them, nor for what the numbers stand for: `proto::reconcile` and `elements.rs` are.
//!
//! A set has an endless sequence of symbols, and the symbols of two sets, taken apart one by one, are those of what the
//! sets do not share. An element is in symbol `i` with probability 1 / (1 + i / 2), by integers alone, so that every
//! implementation finds the same: `proto-docs/wire.md`, "Symbols".

/// One symbol of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    /// The elements in it, xor'ed.
    pub sum: u64,
    /// The lower halves of their hashes, xor'ed.
    pub check: u32,
    /// How many they are, modulo 256.
    pub count: u8,
}

/// The indices of the symbols that an element is in, in ascending order, without end.
#[derive(Clone, Debug)]
pub(crate) struct Indices {
    next: u64,
    state: u64,
}

/// No index is greater.
const INDEX_MAX: u64 = 1 << 31;
/// Of the generator: L'Ecuyer and Steele, "Computationally easy, spectrally good multipliers" (2021).
const MULTIPLIER: u64 = 0xda94_2042_e4dd_58b5;
/// 2^30 / sqrt(k / 256), k = 64 .. 256, rounded down.
const INVERSE_ROOTS: [u32; 193] = inverse_roots();

const fn inverse_roots() -> [u32; 193] {
    let mut roots = [0; 193];
    let mut i = 0;
    while i < roots.len() {
        roots[i] = ((1_u128 << 68) / (64 + i as u128)).isqrt() as u32;
        i += 1;
    }
    roots
}

/// 2^32 / sqrt(u), u at least 1: the logarithm's whole part by shifting, the rest by a table with linear interpolation.
fn inverse_root(u: u32) -> u64 {
    let shift = u.leading_zeros() & !1;
    let mantissa = u << shift;
    let i = (mantissa >> 24) as usize - 64;
    let (above, below) = (u64::from(INVERSE_ROOTS[i]), u64::from(INVERSE_ROOTS[i + 1]));
    let fraction = u64::from(mantissa & 0x00ff_ffff);
    let root = above - (((above - below) * fraction) >> 24);
    root << (shift / 2) >> 14
}

impl Indices {
    /// Of the element with that hash.
    pub(crate) fn of(hash: u64) -> Self {
        Self { next: 0, state: hash | 1 }
    }
}

impl Iterator for Indices {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let i = self.next;
        self.state = self.state.wrapping_mul(MULTIPLIER);
        let uniform = (self.state >> 32) as u32 | 1;
        // ceil((i + 1.5) * (1 / sqrt(uniform / 2^32) - 1))
        let stretch = inverse_root(uniform) - (1 << 16);
        let gap = (2 * i + 3).saturating_mul(stretch).div_ceil(1 << 17);
        self.next = (i + gap.max(1)).min(INDEX_MAX);
        Some(i)
    }
}

impl Symbol {
    /// Puts an element in, `count` being 1, or takes it out, `count` being 255.
    #[inline]
    pub(crate) fn toggle(&mut self, element: u64, hash: u64, count: u8) {
        self.sum ^= element;
        self.check ^= hash as u32;
        self.count = self.count.wrapping_add(count);
    }

    /// The symbol of what this one has and `other` has not, and the other way round.
    #[must_use]
    pub(crate) fn less(self, other: Self) -> Self {
        let count = self.count.wrapping_sub(other.count);
        Self { sum: self.sum ^ other.sum, check: self.check ^ other.check, count }
    }
}

/// The symbols from `first` to before `end` of the elements with these hashes. Cost: for each a step for each symbol
/// that it is in, and for the symbols before.
pub(crate) fn symbols_between(elements: impl Iterator<Item = (u64, u64)>, first: u64, end: u64) -> Vec<Symbol> {
    let mut symbols = vec![Symbol::default(); end.saturating_sub(first) as usize];
    for (element, hash) in elements {
        for i in Indices::of(hash).take_while(|&i| i < end).skip_while(|&i| i < first) {
            symbols[(i - first) as usize].toggle(element, hash, 1);
        }
    }
    symbols
}

/// The first symbols of a set that changes: kept, so that to compare it costs nothing that grows with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    symbols: Box<[Symbol; Self::KEPT]>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { symbols: Box::new([Symbol::default(); Self::KEPT]) }
    }
}

impl Sketch {
    /// How many symbols are kept. An element is in about nine of so many.
    pub(crate) const KEPT: usize = 128;

    /// An element has come.
    pub(crate) fn insert(&mut self, element: u64, hash: u64) {
        self.toggle(element, hash, 1);
    }

    /// An element that was there is gone.
    pub(crate) fn remove(&mut self, element: u64, hash: u64) {
        self.toggle(element, hash, u8::MAX);
    }

    fn toggle(&mut self, element: u64, hash: u64, count: u8) {
        for i in Indices::of(hash) {
            let Some(symbol) = self.symbols.get_mut(i as usize) else { return };
            symbol.toggle(element, hash, count);
        }
    }

    /// The symbols.
    pub(crate) fn symbols(&self) -> &[Symbol] {
        &self.symbols[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any change of these is a change of the wire format.
    #[test]
    fn the_mapping_is_what_the_wire_says() {
        let first = |hash| Indices::of(hash).take(10).collect::<Vec<_>>();
        assert_eq!(first(0), GOLDEN[0]);
        assert_eq!(first(1), GOLDEN[0]);
        assert_eq!(first(0x0123_4567_89ab_cdef), GOLDEN[1]);
        assert_eq!(first(u64::MAX), GOLDEN[2]);
        assert_eq!([1, 2, 3, 1 << 16, 1 << 31, u32::MAX].map(inverse_root), ROOTS);
    }

    const GOLDEN: [[u64; 10]; 3] = [
        [0, 1, 2, 3, 6, 11, 19, 44, 116, 122],
        [0, 1, 2, 4, 6, 8, 20, 24, 34, 36],
        [0, 3, 29, 59, 80, 101, 128, 145, 158, 520],
    ];
    const ROOTS: [u64; 6] = [4_294_967_296, 3_037_000_498, 2_479_700_524, 16_777_216, 92_681, 65_536];

    #[test]
    fn inverse_roots_are_near_the_true_ones() {
        for k in 0..200_000_u32 {
            let u = (k.wrapping_mul(2_654_435_761) >> (k % 32)).max(1);
            let exact = (2_f64.powi(32) / f64::from(u).sqrt(), inverse_root(u) as f64);
            assert!((exact.0 - exact.1).abs() <= exact.0 * 1e-4 + 1.0, "{u}: {exact:?}");
        }
    }

    #[test]
    fn an_element_is_in_symbol_i_once_in_one_plus_half_i_times() {
        let (elements, symbols) = (40_000_u64, 300);
        let mut counts = vec![0_u64; symbols];
        for n in 0..elements {
            let hash = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            Indices::of(hash).take_while(|&i| i < symbols as u64).for_each(|i| counts[i as usize] += 1);
        }
        for (i, &count) in counts.iter().enumerate() {
            let expected = elements as f64 / (1.0 + i as f64 / 2.0);
            let off = (count as f64 - expected).abs();
            // The mapping is an approximation: in symbol 1 it is 0.64 and not 0.67.
            assert!(off <= 0.04 * expected + 6.0 * expected.sqrt(), "symbol {i}: {count} instead of {expected}");
        }
    }

    #[test]
    fn indices_end_at_their_greatest_and_do_not_overflow() {
        for hash in [0, 1, u64::MAX, 77] {
            assert!(Indices::of(hash).take(2_000).all(|i| i <= INDEX_MAX));
        }
    }

    #[test]
    fn a_sketch_is_what_the_symbols_of_its_elements_are() {
        let pairs = (1..500_u64).map(|e| (e, e.wrapping_mul(0xd6e8_feb8_6659_fd93)));
        let mut sketch = Sketch::default();
        pairs.clone().for_each(|(element, hash)| sketch.insert(element, hash));
        pairs.clone().filter(|p| p.0 % 3 == 0).for_each(|(element, hash)| sketch.remove(element, hash));
        let kept = || pairs.clone().filter(|p| p.0 % 3 != 0);
        assert_eq!(sketch.symbols(), symbols_between(kept(), 0, Sketch::KEPT as u64));
        let (low, high) = (symbols_between(kept(), 0, 50), symbols_between(kept(), 50, Sketch::KEPT as u64));
        assert_eq!(sketch.symbols(), [low, high].concat());
    }
}
