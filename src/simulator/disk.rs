//! A disk as a node of the world sees it: what was synced stays, what was not may be lost.

use super::Dice;
use crate::replica::Stored;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// How disks behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// A write is durable after at least this ...
    pub min_delay: Duration,
    /// ... and at most this, but never before an earlier one.
    pub max_delay: Duration,
    /// How often, in a thousand crashes with unsynced records, some of these have reached the
    /// disk nevertheless: a prefix of any length. Otherwise none has.
    pub survive_per_mille: u32,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_micros(200),
            max_delay: Duration::from_millis(3),
            survive_per_mille: 500,
        }
    }
}

/// What is written.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A record of epochs.
    Record(Bytes),
    /// An entry of the log of rounds.
    Entry(Bytes),
    /// A snapshot: where the log goes on from it, what attests it, the state.
    Snapshot(u64, Bytes, Bytes),
}

#[derive(Debug)]
struct Write {
    sequence: u64,
    items: Vec<Item>,
}

/// The disk of one node. It outlives the node.
#[derive(Debug, Default)]
pub(super) struct Disk {
    durable: Vec<Bytes>,
    /// The log of rounds, with the place of its first entry.
    log: (u64, VecDeque<Bytes>),
    /// At most two, the newest last.
    snapshots: VecDeque<(u64, Bytes, Bytes)>,
    waiting: VecDeque<Write>,
    /// The last sequence that the node gave in its present life.
    last: u64,
    /// When the last write is durable.
    ready: u64,
    /// Extra delay and until when it lasts.
    slow: (u64, u64),
}

impl Disk {
    /// Another disk stands in for one that was lost: where the log begins, that is known from now
    /// on, until a snapshot closes the gap.
    pub(super) fn begin_with_gap(&mut self) {
        if self.log == (0, VecDeque::new()) && self.snapshots.is_empty() {
            self.log.0 = 1;
        }
    }

    /// Everything that is durable, in order.
    pub(super) fn durable(&self) -> &[Bytes] {
        &self.durable
    }

    /// Makes writes slower until a time.
    pub(super) fn slow(&mut self, extra: u64, until: u64) {
        self.slow = (extra, until);
    }

    /// Ends slowness; what waits is durable by this time.
    pub(super) fn heal(&mut self, soon: u64) {
        (self.slow, self.ready) = ((0, 0), self.ready.min(soon));
    }

    /// Takes a write that would take `delay` on an idle disk: when it is durable.
    ///
    /// # Panics
    /// If the sequence does not follow the one before.
    pub(super) fn write(&mut self, now: u64, delay: u64, sequence: u64, items: Vec<Item>) -> u64 {
        assert_eq!(sequence, self.last + 1, "sequences of writes have no gaps");
        self.last = sequence;
        self.waiting.push_back(Write { sequence, items });
        let extra = if now < self.slow.1 { self.slow.0 } else { 0 };
        self.ready = self.ready.max(now.saturating_add(delay).saturating_add(extra).max(now + 1));
        self.ready
    }

    /// The write of this sequence, and all before it, are durable now.
    pub(super) fn complete(&mut self, sequence: u64) {
        while let Some(write) = self.waiting.pop_front_if(|w| w.sequence <= sequence) {
            write.items.into_iter().for_each(|item| self.keep(item));
        }
    }

    fn keep(&mut self, item: Item) {
        match item {
            Item::Record(record) => self.durable.push(record),
            Item::Entry(entry) => self.log.1.push_back(entry),
            Item::Snapshot(first, head, state) => {
                self.snapshots.push_back((first, head, state));
                while self.snapshots.len() > 2 {
                    self.snapshots.pop_front();
                }
                // What was missing came with the state.
                if self.log.0 + (self.log.1.len() as u64) < first {
                    self.log = (first, VecDeque::new());
                }
                let needed = self.snapshots.iter().map(|(first, ..)| *first).min();
                while self.log.0 < needed.unwrap_or(0) && self.log.1.pop_front().is_some() {
                    self.log.0 += 1;
                }
            }
        }
    }

    /// What a start finds of the log and the snapshots.
    pub(super) fn stored(&self) -> Stored {
        let newest = self.snapshots.back();
        let (begin, entries) = (self.log.0, &self.log.1);
        let first = newest.map_or(begin, |(first, ..)| *first);
        let skipped = usize::try_from(first.saturating_sub(begin)).unwrap_or(usize::MAX);
        Stored {
            snapshot: newest.map(|(_, head, state)| (head.clone(), state.clone())),
            first,
            log: entries.iter().skip(skipped).cloned().collect(),
            next: begin + entries.len() as u64,
            damage: None,
        }
    }

    /// Another disk with nothing on it takes its place.
    pub(super) fn wipe(&mut self) {
        *self = Self::default();
    }

    /// The power is gone: gives how many records are lost and how many unsynced ones are not.
    pub(super) fn crash(&mut self, dice: &mut Dice, survive_per_mille: u32) -> (usize, usize) {
        let unsynced: Vec<Item> = self.waiting.drain(..).flat_map(|w| w.items).collect();
        let most = unsynced.len();
        let survive = match most > 0 && dice.chance(survive_per_mille) {
            true => usize::try_from(dice.between(0, most as u64)).unwrap_or(most),
            false => 0,
        };
        unsynced.into_iter().take(survive).for_each(|item| self.keep(item));
        (self.last, self.ready) = (0, 0);
        (most - survive, survive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Bytes {
        Bytes::from(vec![n; 3])
    }

    fn items(records: Vec<Bytes>) -> Vec<Item> {
        records.into_iter().map(Item::Record).collect()
    }

    #[test]
    fn writes_become_durable_in_their_order_even_if_a_later_one_would_be_faster() {
        let mut disk = Disk::default();
        assert_eq!(disk.write(100, 50, 1, items(vec![record(1), record(2)])), 150);
        assert_eq!(disk.write(110, 5, 2, items(vec![record(3)])), 150);
        assert!(disk.durable().is_empty(), "written is not durable");
        disk.complete(1);
        assert_eq!(disk.durable(), [record(1), record(2)]);
        disk.complete(2);
        assert_eq!(disk.durable(), [record(1), record(2), record(3)]);
        disk.slow(1000, 300);
        assert_eq!((disk.write(200, 5, 3, vec![]), disk.write(300, 5, 4, vec![])), (1205, 1205));
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_at_most_a_prefix_of_the_rest() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let (mut disk, mut dice) = (Disk::default(), Dice::new(seed, 0));
            disk.write(0, 1, 1, items(vec![record(1)]));
            disk.complete(1);
            disk.write(5, 1, 2, items(vec![record(2), record(3)]));
            disk.write(6, 1, 3, items(vec![record(4)]));
            let (lost, survived) = disk.crash(&mut dice, 500);
            let all: Vec<Bytes> = (1..=4).map(record).collect();
            assert_eq!(disk.durable(), &all[..=survived]);
            assert_eq!(lost + survived, 3);
            lengths.insert(survived);
            // The next life counts from one again, and nothing of the last one comes back.
            disk.write(10, 1, 1, items(vec![record(9)]));
            disk.complete(1);
            assert_eq!(disk.durable().len(), survived + 2);
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "no gaps")]
    fn a_write_that_skips_a_sequence_is_a_defect() {
        Disk::default().write(0, 1, 2, Vec::new());
    }
}
