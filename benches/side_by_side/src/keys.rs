//! What is put: keys and values as `quorate bench --mix put=1` makes them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Bytes of a key: a letter and eight digits.
pub const KEY_BYTES: usize = 9;

/// Keys and values without end, the same for the same seed. Keys are drawn evenly.
pub struct Load {
    random: ChaCha8Rng,
    keys: u64,
    value: Vec<u8>,
}

impl Load {
    /// Puts over `keys` keys, which is at least 1, of values of `size` bytes.
    pub fn new(keys: u64, size: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut value = vec![0; size];
        random.fill_bytes(&mut value);
        Self { random, keys, value }
    }

    /// The next key and value. The first bytes of values differ, the others do not.
    pub fn next_put(&mut self) -> ([u8; KEY_BYTES], &[u8]) {
        let scaled = u128::from(self.random.next_u64()) * u128::from(self.keys);
        let mut number = (scaled >> 64) as u64;
        let mut key = [b'k'; KEY_BYTES];
        for digit in key[1..].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        let fresh = self.random.next_u64().to_le_bytes();
        let n = self.value.len().min(fresh.len());
        self.value[..n].copy_from_slice(&fresh[..n]);
        (key, &self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn puts_are_over_all_keys_and_values_differ() {
        let mut load = Load::new(3, 20, 7);
        let (mut keys, mut values) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..100 {
            let (key, value) = load.next_put();
            keys.insert(String::from_utf8(key.to_vec()).unwrap());
            assert_eq!(value.len(), 20);
            values.insert(value.to_vec());
        }
        assert!(keys.iter().eq(["k00000000", "k00000001", "k00000002"]), "{keys:?}");
        assert_eq!(values.len(), 100);
    }

    #[test]
    fn a_seed_gives_the_same_again_and_another_seed_another() {
        let some = |seed| {
            let mut load = Load::new(1000, 0, seed);
            (0..20).map(|_| load.next_put().0).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }
}
