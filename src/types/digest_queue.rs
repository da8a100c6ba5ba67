//! A queue of digests that can be asked what is in it, for the hot path.

use super::Digest;
use super::digest_map::place;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::fmt;

/// Digests with values, each once, in the order in which they came: what came first goes first.
///
/// Where there are many of which few are asked for, this takes less than a
/// [`DigestMap`](super::DigestMap) beside a queue: what is looked through for a digest that is not
/// there, for the last and for the first, is small or was just touched. As there, places depend on
/// a seed, which should not be guessable.
#[derive(Clone)]
pub struct DigestQueue<V> {
    seed: u64,
    entries: VecDeque<(Digest, V)>,
    /// The number of the first entry; the next have the next ones, and after the last comes 0.
    first: u32,
    /// The numbers of all entries.
    numbers: HashTable<u32>,
}

impl<V> DigestQueue<V> {
    /// An empty queue.
    pub fn new(seed: u64) -> Self {
        Self { seed, entries: VecDeque::new(), first: 0, numbers: HashTable::new() }
    }

    /// How many digests there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether this digest is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.get(digest).is_some()
    }

    /// The value of this digest.
    pub fn get(&self, digest: &Digest) -> Option<&V> {
        let of = |number: u32| &self.entries[number.wrapping_sub(self.first) as usize];
        let found = self.numbers.find(place(self.seed, digest), |n| of(*n).0 == *digest)?;
        Some(&of(*found).1)
    }

    /// Puts a digest behind all others. False, and nothing changes, if it is there already.
    ///
    /// # Panics
    /// If there are 2^32 already.
    pub fn push_back(&mut self, digest: Digest, value: V) -> bool {
        if self.contains(&digest) {
            return false;
        }
        let number = u32::try_from(self.entries.len()).expect("so many fit into no memory");
        self.entries.push_back((digest, value));
        let (seed, first, entries) = (self.seed, self.first, &self.entries);
        let hasher = |n: &u32| place(seed, &entries[n.wrapping_sub(first) as usize].0);
        let number = first.wrapping_add(number);
        self.numbers.insert_unique(place(seed, &digest), number, hasher);
        true
    }

    /// The first digest, if there is one, with its value.
    pub fn front(&self) -> Option<&(Digest, V)> {
        self.entries.front()
    }

    /// Takes out the first digest.
    pub fn pop_front(&mut self) -> Option<(Digest, V)> {
        let entry = self.entries.pop_front()?;
        if let Ok(found) = self.numbers.find_entry(place(self.seed, &entry.0), |n| *n == self.first)
        {
            found.remove();
        }
        self.first = self.first.wrapping_add(1);
        Some(entry)
    }

    /// Takes out a digest, wherever it is; in O(n).
    pub fn remove(&mut self, digest: &Digest) -> Option<V> {
        let at = self.entries.iter().position(|(d, _)| d == digest)?;
        let (_, value) = self.entries.remove(at)?;
        let rest = std::mem::take(&mut self.entries);
        self.numbers.clear();
        for (digest, value) in rest {
            self.push_back(digest, value);
        }
        Some(value)
    }

    /// All of them, the first first.
    pub fn iter(&self) -> impl Iterator<Item = &(Digest, V)> {
        self.entries.iter()
    }
}

impl<V: fmt::Debug> fmt::Debug for DigestQueue<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.entries).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_a_plain_queue_does() {
        let mut queue = DigestQueue { first: u32::MAX - 5000, ..DigestQueue::new(7) };
        let mut model: VecDeque<(Digest, u64)> = VecDeque::new();
        let mut n = 1u64;
        for step in 0..20_000u64 {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut digest = Digest::ZERO;
            digest.0[..8].copy_from_slice(&((n >> 40) % 60).to_le_bytes());
            let found = model.iter().position(|(d, _)| *d == digest);
            assert_eq!(queue.get(&digest).copied(), found.map(|at| model[at].1));
            match (n >> 33) % 16 {
                0..9 => {
                    assert_eq!(queue.push_back(digest, step), found.is_none());
                    if found.is_none() {
                        model.push_back((digest, step));
                    }
                }
                9..15 => assert_eq!(queue.pop_front(), model.pop_front()),
                _ => {
                    let gone = found.and_then(|at| model.remove(at)).map(|(_, value)| value);
                    assert_eq!(queue.remove(&digest), gone);
                }
            }
            assert_eq!((queue.len(), queue.front()), (model.len(), model.front()));
            assert_eq!(queue.numbers.len(), model.len());
        }
        assert!(queue.first < 20_000, "the numbers have begun again");
        assert!(queue.iter().eq(&model));
    }
}
