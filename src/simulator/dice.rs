//! All randomness of a simulation, from one seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A seeded source of numbers. Each purpose gets a stream of its own, so that switching one kind
/// of fault off leaves the others as they were: that is how a failing seed is made small.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    rng: ChaCha8Rng,
}

impl Dice {
    /// The stream number `purpose` of a seed.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose);
        Self { seed, rng }
    }

    /// Another stream of the same seed.
    pub fn stream(&self, purpose: u64) -> Self {
        Self::new(self.seed, purpose)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The remainder's bias is below 2^-32 for every bound that a simulation uses.
        if bound == 0 { 0 } else { self.any() % bound }
    }

    /// A number in `low..=high`; `low` if there is none.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        // A kind of fault that is off draws nothing.
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let i = self.below(from.len() as u64);
        &from[usize::try_from(i).expect("below a length")]
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.rng.fill_bytes(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_repeat_and_differ() {
        let draw = |mut d: Dice| (0..8).map(|_| d.any()).collect::<Vec<_>>();
        assert_eq!(draw(Dice::new(7, 1)), draw(Dice::new(7, 1)));
        assert_eq!(draw(Dice::new(7, 2)), draw(Dice::new(7, 1).stream(2)));
        assert_ne!(draw(Dice::new(7, 1)), draw(Dice::new(7, 2)));
        assert_ne!(draw(Dice::new(7, 1)), draw(Dice::new(8, 1)));
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut d = Dice::new(1, 0);
        let seen: std::collections::BTreeSet<u64> = (0..200).map(|_| d.between(3, 5)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!((d.between(9, 2), d.below(0)), (9, 0));
        assert!(d.chance(1000) && !d.chance(0));
    }
}
