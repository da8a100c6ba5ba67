//! A map from digests, for the hot path.

use super::Digest;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::fmt;

/// A map from digests to values that can be asked but never walked in its own order, so that pure
/// code stays deterministic: [`DigestMap::sorted`] is the only way to see all of it.
///
/// Clients choose what is hashed and so can search for digests that share bits. The places of the
/// table depend on a seed that they do not know; give one that is not guessable.
#[derive(Clone)]
pub struct DigestMap<V> {
    seed: u64,
    table: HashTable<(Digest, V)>,
}

impl<V> DigestMap<V> {
    /// An empty map.
    pub fn new(seed: u64) -> Self {
        Self { seed, table: HashTable::new() }
    }

    /// How many digests there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether this digest is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.get(digest).is_some()
    }

    /// The value of this digest.
    pub fn get(&self, digest: &Digest) -> Option<&V> {
        self.table.find(place(self.seed, digest), |(d, _)| d == digest).map(|(_, v)| v)
    }

    /// The value of this digest, to change it.
    pub fn get_mut(&mut self, digest: &Digest) -> Option<&mut V> {
        self.table.find_mut(place(self.seed, digest), |(d, _)| d == digest).map(|(_, v)| v)
    }

    /// Puts in a value and gives the one that was there before.
    pub fn insert(&mut self, digest: Digest, value: V) -> Option<V> {
        let seed = self.seed;
        let is_it = |(d, _): &(Digest, V)| *d == digest;
        match self.table.entry(place(seed, &digest), is_it, |(d, _)| place(seed, d)) {
            Entry::Occupied(mut old) => Some(std::mem::replace(&mut old.get_mut().1, value)),
            Entry::Vacant(free) => {
                free.insert((digest, value));
                None
            }
        }
    }

    /// Takes out a digest and gives its value.
    pub fn remove(&mut self, digest: &Digest) -> Option<V> {
        let entry = self.table.find_entry(place(self.seed, digest), |(d, _)| d == digest).ok()?;
        Some(entry.remove().0.1)
    }

    /// Everything, in the order of the digests. Takes O(n log n).
    pub fn sorted(&self) -> Vec<(&Digest, &V)> {
        let mut all: Vec<(&Digest, &V)> = self.table.iter().map(|(d, v)| (d, v)).collect();
        all.sort_unstable_by_key(|(d, _)| **d);
        all
    }
}

impl<V: fmt::Debug> fmt::Debug for DigestMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.sorted()).finish()
    }
}

/// Folds half of the digest into 64 bits under the seed: a product of two keyed halves, so that
/// bits that a client has made equal do not stay together.
pub(super) fn place(seed: u64, digest: &Digest) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |at: usize| {
        let bytes = digest.0[at..at + 8].first_chunk::<8>().expect("a digest has 32 bytes");
        u64::from_le_bytes(*bytes)
    };
    let product = u128::from(word(0) ^ seed) * u128::from((word(8) ^ seed.rotate_left(32)) | 1);
    let [low, high] = [product as u64, (product >> 64) as u64];
    (low ^ high).wrapping_mul(ODD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn digest(n: u64) -> Digest {
        let mut d = [0; 32];
        d[..8].copy_from_slice(&(n % 50).to_le_bytes());
        Digest(d)
    }

    #[test]
    fn it_does_what_a_sorted_map_does() {
        let (mut map, mut model) = (DigestMap::new(7), BTreeMap::new());
        let mut n = 1u64;
        for step in 0..20_000u64 {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let d = digest(n >> 40);
            match (n >> 33) % 4 {
                0 => assert_eq!(map.remove(&d), model.remove(&d)),
                1 => assert_eq!(map.get(&d), model.get(&d)),
                _ => assert_eq!(map.insert(d, step), model.insert(d, step)),
            }
            assert_eq!(map.len(), model.len());
        }
        assert_eq!(map.sorted(), model.iter().collect::<Vec<_>>());
    }

    #[test]
    fn digests_that_share_a_half_do_not_share_places() {
        // Equal first words, as a client could search for: the places still spread over the
        // low bits, which choose the bucket, and the high ones, which tag it.
        let mut low = std::collections::BTreeSet::new();
        let mut high = std::collections::BTreeSet::new();
        for n in 0u64..256 {
            let mut d = [0x55; 32];
            d[8..16].copy_from_slice(&n.wrapping_mul(0x1234_5678_9abc_def1).to_le_bytes());
            let at = place(0xfeed_beef, &Digest(d));
            low.insert(at & 0xff);
            high.insert(at >> 57);
        }
        assert!(low.len() > 120 && high.len() > 90, "{} {}", low.len(), high.len());
    }
}
