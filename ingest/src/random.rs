//! Seeded random numbers for generators of load and of faults: the same seed gives the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and good enough for messages and faults.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is small, so that the bias of the remainder does not matter; 0 below 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// A number of `from..to`, or `from` when there is none.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// An index below `length`.
    ///
    /// # Panics
    /// Never: a number below a `usize` is one.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("a number below a usize is one")
    }

    /// One of a slice, unless it is empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.index(from.len())).copied()
    }

    /// One of an array.
    pub fn one_of<T: Copy, const N: usize>(&mut self, from: &[T; N]) -> T {
        from[self.index(N)]
    }

    /// Puts `items` in any order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_all_and_follows_the_seed() {
        let shuffled = |seed: u64| {
            let mut items: Vec<u32> = (0..50).collect();
            Random::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(3);
        assert_eq!(sorted, shuffled(3));
        assert_ne!(sorted, shuffled(4));
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..50));
    }

    #[test]
    fn a_seed_draws_the_same_again_and_stays_within_bounds() {
        let (mut one, mut two, mut other) = (Random::new(7), Random::new(7), Random::new(8));
        let drawn: Vec<u64> = (0..100).map(|_| one.between(10, 20)).collect();
        assert!(drawn.iter().all(|number| (10..20).contains(number)));
        assert_eq!(drawn, (0..100).map(|_| two.between(10, 20)).collect::<Vec<_>>());
        assert_ne!(drawn, (0..100).map(|_| other.between(10, 20)).collect::<Vec<_>>());
        assert_eq!((one.pick::<u8>(&[]), one.pick(&[5])), (None, Some(5)));
    }
}
