//! Which chain has which keys, where one master serves several.

use super::cluster::ChainEntry;
use crate::crypto::{Domain, hash};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// Hash slots, into one of which every key falls.
pub const SLOTS: u16 = 1024;

/// Chains of one cluster at most.
pub const MAX_CHAINS: u32 = 32;

/// The slot of a key: the first two bytes, little-endian, of the SHA-256 of the tag
/// `quorate/1 slot`, a zero byte and the key, modulo [`SLOTS`]. Fixed for ever: it says on whose
/// disks a key is.
pub fn slot_of(key: &[u8]) -> u16 {
    let digest = hash(Domain::Slot, key);
    u16::from_le_bytes([digest.0[0], digest.0[1]]) % SLOTS
}

/// The part of the keys that a chain has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// All: it is the only chain.
    All,
    /// Those whose slots are in these ranges, both ends included, in order.
    Slots(Vec<(u16, u16)>),
    /// Those from this one on, in the order of their bytes, up to where the next chain begins.
    From(Vec<u8>),
}

impl fmt::Display for Share {
    /// For people; no two shares look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::All => write!(f, "all keys"),
            Share::Slots(ranges) => {
                let range = |(low, high): &(u16, u16)| match low == high {
                    true => low.to_string(),
                    false => format!("{low}-{high}"),
                };
                let ranges: Vec<String> = ranges.iter().map(range).collect();
                write!(f, "slots {}", ranges.join(", "))
            }
            Share::From(from) => write!(f, "keys from \"{}\" on", from.escape_ascii()),
        }
    }
}

/// Which chain has which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap {
    parts: Parts,
    chains: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    One(u32),
    /// The chain of each slot.
    Slots(Vec<u32>),
    /// Where chains begin, and who has what is before.
    Ranges(BTreeMap<Vec<u8>, u32>, u32),
}

impl KeyMap {
    /// The map of a list. All keys are in one that the parser has accepted, each once; in another
    /// the first chain has what nobody has.
    pub fn new(chains: &[ChainEntry]) -> Self {
        let first = chains.first().map_or(0, |c| c.number);
        let mut slots = vec![first; usize::from(SLOTS)];
        let mut ranges = BTreeMap::new();
        for chain in chains {
            match &chain.share {
                Share::All => {}
                Share::Slots(list) => list.iter().for_each(|(low, high)| {
                    slots[usize::from(*low)..=usize::from(*high)].fill(chain.number);
                }),
                Share::From(from) => drop(ranges.insert(from.clone(), chain.number)),
            }
        }
        let parts = match (chains.len(), ranges.is_empty()) {
            (0 | 1, _) => Parts::One(first),
            (_, true) => Parts::Slots(slots),
            (_, false) => Parts::Ranges(ranges, first),
        };
        Self { parts, chains: chains.len().max(1) }
    }

    /// How many chains there are; at least one.
    pub fn chains(&self) -> usize {
        self.chains
    }

    /// Which chain has a key.
    pub fn chain_of(&self, key: &[u8]) -> u32 {
        match &self.parts {
            Parts::One(chain) => *chain,
            Parts::Slots(slots) => slots[usize::from(slot_of(key))],
            Parts::Ranges(ranges, first) => {
                let up_to = (Bound::Unbounded, Bound::Included(key));
                ranges.range::<[u8], _>(up_to).next_back().map_or(*first, |(_, chain)| *chain)
            }
        }
    }

    /// Which chain has all keys that begin so; `None` if more than one has some.
    pub fn chain_of_prefix(&self, prefix: &[u8]) -> Option<u32> {
        match &self.parts {
            Parts::One(chain) => Some(*chain),
            Parts::Slots(_) => None,
            Parts::Ranges(ranges, _) => {
                let others = ranges.keys().filter(|from| from.as_slice() > prefix);
                let is_cut = others.into_iter().any(|from| from.starts_with(prefix));
                (!is_cut).then(|| self.chain_of(prefix))
            }
        }
    }

    /// Which chain has all keys; `None` if there are several.
    pub fn chain_of_all(&self) -> Option<u32> {
        match &self.parts {
            Parts::One(chain) => Some(*chain),
            Parts::Slots(_) | Parts::Ranges(..) => None,
        }
    }

    /// The chain that gets what touches no key at all.
    pub fn chain_of_none(&self) -> u32 {
        self.chain_of(b"")
    }

    /// The slot of a key, where slots say whose it is.
    pub fn slot(&self, key: &[u8]) -> Option<u16> {
        matches!(self.parts, Parts::Slots(_)).then(|| slot_of(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(shares: Vec<Share>) -> KeyMap {
        let entry = |(number, share)| ChainEntry { number, share, length: 1, members: Vec::new() };
        KeyMap::new(&(0..).zip(shares).map(entry).collect::<Vec<_>>())
    }

    /// Frozen: another slot for a key would look for it on disks where it is not. The numbers are
    /// those of `printf 'quorate/1 slot\0KEY' | sha256sum`.
    #[test]
    fn slots_of_keys_stay_what_they_are() {
        let rows: [(&[u8], u16); 5] =
            [(b"", 862), (b"a", 152), (b"colour", 976), (b"key-1", 242), (&[0, 255, 7], 358)];
        for (key, slot) in rows {
            assert_eq!(slot_of(key), slot, "{}", key.escape_ascii());
        }
        let mut hits = vec![0; usize::from(SLOTS)];
        (0..100_000u32).for_each(|n| hits[usize::from(slot_of(&n.to_le_bytes()))] += 1);
        assert!(hits.iter().all(|n| (40..200).contains(n)), "{hits:?}");
    }

    #[test]
    fn every_key_has_one_chain() {
        let slots = map(vec![
            Share::Slots(vec![(0, 99), (512, 1023)]),
            Share::Slots(vec![(100, 510)]),
            Share::Slots(vec![(511, 511)]),
        ]);
        let (mut seen, mut n) = ([0; 3], 0u32);
        while seen.contains(&0) {
            let key = n.to_le_bytes();
            let expected = match slot_of(&key) {
                100..=510 => 1,
                511 => 2,
                _ => 0,
            };
            assert_eq!(slots.chain_of(&key), expected);
            seen[expected as usize] += 1;
            n += 1;
        }
        assert_eq!((slots.chain_of_prefix(b"x"), slots.chain_of_all()), (None, None));
        assert_eq!((slots.chains(), slots.slot(b"")), (3, Some(slot_of(b""))));
        let one = map(vec![Share::All]);
        assert_eq!((one.chain_of(b"x"), one.chain_of_prefix(b""), one.chains()), (0, Some(0), 1));
        assert_eq!((one.chain_of_all(), one.slot(b"x")), (Some(0), None));
    }

    #[test]
    fn ranges_begin_where_they_say_and_prefixes_may_lie_in_one() {
        let from = |text: &str| Share::From(text.as_bytes().to_vec());
        let map = map(vec![from("m"), from(""), from("mo")]);
        let rows = [("", 1), ("a", 1), ("lzz", 1), ("m", 0), ("mn", 0), ("mo", 2), ("z", 2)];
        for (key, chain) in rows {
            assert_eq!(map.chain_of(key.as_bytes()), chain, "{key}");
        }
        let rows = [("", None), ("a", Some(1)), ("m", None), ("ma", Some(0)), ("mo", Some(2))];
        for (prefix, chain) in rows {
            assert_eq!(map.chain_of_prefix(prefix.as_bytes()), chain, "{prefix}");
        }
        assert_eq!((map.chain_of_all(), map.chain_of_none(), map.slot(b"a")), (None, 1, None));
    }
}
