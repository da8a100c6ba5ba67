//! What of the history is on the disk, and what is on its way there (CH-U4).

use super::{Action, Actions};
use crate::wire::ChainEntry;
use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(super) struct Log {
    /// The sequence of the last write.
    sequence: u64,
    /// The last number that was written, durable or not.
    written: u64,
    /// Appends on their way, with the last number that each makes durable.
    writes: VecDeque<(u64, u64)>,
    /// The last number that is durable.
    durable: u64,
    /// The write of a state that came from another: until it is durable nothing behind it is.
    base: Option<u64>,
}

impl Log {
    /// A log whose entries up to this one are durable.
    pub(super) fn new(durable: u64) -> Self {
        Self { sequence: 0, written: durable, writes: VecDeque::new(), durable, base: None }
    }

    /// The last number up to which all is durable.
    pub(super) fn durable(&self) -> u64 {
        if self.base.is_some() { 0 } else { self.durable }
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what follows.
    pub(super) fn append<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a ChainEntry>,
        out: &mut Actions,
    ) {
        let (mut records, mut last) = (Vec::new(), self.written);
        for entry in entries {
            records.push(entry.to_record());
            last = entry.position.number;
        }
        if records.is_empty() {
            return;
        }
        self.sequence += 1;
        self.written = last;
        self.writes.push_back((self.sequence, last));
        out.push(Action::Append { sequence: self.sequence, entries: records });
    }

    /// Saves a state of this replica itself.
    pub(super) fn save(&mut self, number: u64, state: Bytes, out: &mut Actions) {
        self.sequence += 1;
        out.push(Action::Save { sequence: self.sequence, number, state, anew: false });
    }

    /// Saves a state in place of all that was written.
    pub(super) fn begin_anew(&mut self, number: u64, state: Bytes, out: &mut Actions) {
        self.sequence += 1;
        self.writes.clear();
        (self.written, self.durable, self.base) = (number, number, Some(self.sequence));
        out.push(Action::Save { sequence: self.sequence, number, state, anew: true });
    }

    /// What is above this number is not part of the history any more. Its records stay until the
    /// next ones stand in their place.
    pub(super) fn cut(&mut self, number: u64) {
        self.written = self.written.min(number);
        self.durable = self.durable.min(number);
        self.writes.iter_mut().for_each(|(_, last)| *last = number.min(*last));
    }

    /// Whether a state that came from another is on its way to the disk: until it is there this
    /// replica has nothing that counts.
    pub(super) fn is_without_base(&self) -> bool {
        self.base.is_some()
    }

    /// A write is durable, and all appends before it. Gives whether it is the state that came from
    /// another.
    pub(super) fn synced(&mut self, sequence: u64) -> bool {
        let is_base = self.base == Some(sequence);
        if is_base {
            self.base = None;
        }
        while let Some((first, last)) = self.writes.front().copied() {
            if first > sequence {
                break;
            }
            self.writes.pop_front();
            self.durable = self.durable.max(last);
        }
        is_base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AgreedTime, ClientId, SessionId};
    use crate::wire::{ChainPosition, Request};

    fn entries(numbers: std::ops::RangeInclusive<u64>) -> Vec<ChainEntry> {
        let one = |number| ChainEntry {
            position: ChainPosition { config: 1, number },
            time: AgreedTime(1),
            client: ClientId([1; 32]),
            request: Request { session: SessionId(1), number, low: 0, body: Bytes::new() },
        };
        numbers.map(one).collect()
    }

    #[test]
    fn what_is_synced_is_durable_with_all_appends_before() {
        let (mut log, mut out) = (Log::new(4), Vec::new());
        log.append(entries(5..=6).iter(), &mut out);
        log.append(entries(7..=7).iter(), &mut out);
        log.append(entries(8..=8).iter(), &mut out);
        assert_eq!((log.durable(), log.written(), out.len()), (4, 8, 3));
        log.synced(2);
        assert_eq!(log.durable(), 7);
        log.synced(1);
        assert_eq!(log.durable(), 7);
    }

    #[test]
    fn a_write_of_what_was_cut_makes_nothing_durable() {
        let (mut log, mut out) = (Log::new(0), Vec::new());
        log.append(entries(1..=5).iter(), &mut out);
        log.cut(2);
        log.append(entries(3..=3).iter(), &mut out);
        log.synced(1);
        assert_eq!(log.durable(), 2);
        log.synced(2);
        assert_eq!(log.durable(), 3);
    }

    #[test]
    fn behind_a_state_nothing_is_durable_before_the_state_is() {
        let (mut log, mut out) = (Log::new(9), Vec::new());
        log.begin_anew(20, Bytes::new(), &mut out);
        log.append(entries(21..=22).iter(), &mut out);
        log.synced(2);
        assert_eq!(log.durable(), 0);
        log.synced(1);
        assert_eq!(log.durable(), 22);
    }
}
