//! Random numbers that a seed determines.

/// SplitMix64: small, and good enough to draw faults.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of `from..to`, or `from` when there is none.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % to.saturating_sub(from).max(1)
    }

    /// One of a slice, unless it is empty.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let index = self.between(0, u64::try_from(from.len()).ok()?);
        from.get(usize::try_from(index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
