//! The history: what this replica has of the chain's updates.
//!
//! ```text
//!     before   first ... executed   executed + 1 ... last
//!     (gone)   (kept)               (Sent, in the paper's words, and what is not sent yet)
//! ```
//!
//! Update Propagation Invariant (CH-U2): of two replicas of one configuration, the history of the
//! one nearer to the tail is a prefix of the other's.

use crate::types::AgreedTime;
use crate::wire::{ChainEntry, ChainMessage, ChainPosition};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(super) struct History {
    entries: VecDeque<ChainEntry>,
    /// Where the entry before the first stands.
    before: ChainPosition,
    executed: u64,
    /// Bytes of the requests that are not executed ...
    pending_bytes: usize,
    /// ... and of those that are.
    kept_bytes: usize,
    /// By how many bytes what is executed has made the log grow since the last state was taken.
    grown: u64,
}

impl History {
    /// An empty one that goes on behind a state.
    pub(super) fn new(at: ChainPosition) -> Self {
        let (entries, executed) = (VecDeque::new(), at.number);
        Self { entries, before: at, executed, pending_bytes: 0, kept_bytes: 0, grown: 0 }
    }

    pub(super) fn last(&self) -> ChainPosition {
        self.entries.back().map_or(self.before, |e| e.position)
    }

    /// The time of the last entry, if it is still here.
    pub(super) fn last_time(&self) -> Option<AgreedTime> {
        self.entries.back().map(|e| e.time)
    }

    pub(super) fn executed(&self) -> u64 {
        self.executed
    }

    /// How many are not executed.
    pub(super) fn pending(&self) -> usize {
        usize::try_from(self.last().number - self.executed).expect("they are in memory")
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// By how many bytes what is executed has made the log grow since [`History::state_taken`].
    pub(super) fn grown(&self) -> u64 {
        self.grown
    }

    /// A state was taken of all that is executed.
    pub(super) fn state_taken(&mut self) {
        self.grown = 0;
    }

    /// Where the entry with this number stands; `None` if it is not here, or not any more.
    pub(super) fn position_at(&self, number: u64) -> Option<ChainPosition> {
        if number == self.before.number {
            return Some(self.before);
        }
        self.get(number).map(|e| e.position)
    }

    pub(super) fn get(&self, number: u64) -> Option<&ChainEntry> {
        let place = number.checked_sub(self.before.number + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// Those with numbers from this one on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &ChainEntry> {
        let place = number.saturating_sub(self.before.number + 1);
        self.entries.range(usize::try_from(place).unwrap_or(usize::MAX).min(self.entries.len())..)
    }

    /// What is not executed.
    pub(super) fn unexecuted(&self) -> impl Iterator<Item = &ChainEntry> {
        self.from(self.executed + 1)
    }

    /// The last entry of each configuration that gave some of what is not executed; the last entry
    /// if all is. Of too many those of the latest configurations.
    pub(super) fn runs(&self) -> Vec<ChainPosition> {
        let mut runs: Vec<ChainPosition> = Vec::new();
        for ChainEntry { position, .. } in self.unexecuted() {
            match runs.last_mut() {
                Some(run) if run.config == position.config => *run = *position,
                _ => runs.push(*position),
            }
        }
        if runs.is_empty() {
            runs.push(self.last());
        }
        let excess = runs.len().saturating_sub(ChainMessage::MAX_RUNS);
        runs.split_off(excess)
    }

    /// The last number that is in this history and in that of which these are the runs, as far as
    /// is known here. Two histories with an entry of one position are alike up to it; so of the
    /// latest configuration of which both have entries, it is the end of the shorter run.
    pub(super) fn common(&self, runs: &[ChainPosition]) -> Option<u64> {
        runs.iter().rev().find_map(|run| {
            let up_to = |e: &&ChainEntry| e.position <= *run && e.position.number <= run.number;
            let found = self.entries.iter().rev().find(up_to).map_or(self.before, |e| e.position);
            (found.config == run.config && found.number <= run.number).then_some(found.number)
        })
    }

    /// Adds the next entry.
    ///
    /// # Panics
    /// If its number is not the next one.
    pub(super) fn push(&mut self, entry: ChainEntry) {
        assert_eq!(entry.position.number, self.last().number + 1, "numbers have no gaps");
        self.pending_bytes += entry.request.body.len();
        self.entries.push_back(entry);
    }

    /// The next entry is executed.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn executed_next(&mut self) {
        let next = self.executed + 1;
        let bytes = self.get(next).expect("it was just executed").request.body.len();
        self.pending_bytes -= bytes;
        self.kept_bytes += bytes;
        self.grown += (ChainEntry::OVERHEAD + bytes) as u64;
        self.executed = next;
    }

    /// Drops what is above a number, never anything executed; gives how many.
    pub(super) fn cut(&mut self, number: u64) -> u64 {
        let keep = number.max(self.executed);
        let mut dropped = 0;
        while self.last().number > keep {
            let gone = self.entries.pop_back().expect("the last one is above what is kept");
            self.pending_bytes -= gone.request.body.len();
            dropped += 1;
        }
        dropped
    }

    /// Forgets executed entries but for so many, and none above `floor`; and those above so many
    /// bytes, wherever they are.
    pub(super) fn trim(&mut self, (kept, bytes): (usize, usize), floor: u64) {
        let limit = self.executed.saturating_sub(kept as u64).min(floor);
        let mut excess = self.kept_bytes.saturating_sub(bytes);
        while self.before.number < limit || excess > 0 {
            let gone = self.entries.pop_front().expect("executed entries are here until trimmed");
            let bytes = gone.request.body.len();
            self.kept_bytes -= bytes;
            excess = excess.saturating_sub(bytes);
            self.before = gone.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClientId, SessionId};
    use crate::wire::Request;
    use bytes::Bytes;

    fn at(config: u64, number: u64) -> ChainPosition {
        ChainPosition { config, number }
    }

    fn entry(config: u64, number: u64) -> ChainEntry {
        let request =
            Request { session: SessionId(1), number, low: 0, body: Bytes::from_static(b"body") };
        let client = ClientId([1; 32]);
        ChainEntry { position: at(config, number), time: AgreedTime(number), client, request }
    }

    fn filled() -> History {
        let mut history = History::new(at(1, 10));
        (11..=15).for_each(|n| history.push(entry(2, n)));
        (0..2).for_each(|_| history.executed_next());
        history
    }

    #[test]
    fn positions_are_known_from_the_one_before_the_first_to_the_last() {
        let history = filled();
        assert_eq!(history.position_at(9), None);
        assert_eq!(history.position_at(10), Some(at(1, 10)));
        assert_eq!(history.position_at(15), Some(at(2, 15)));
        assert_eq!(history.position_at(16), None);
        assert_eq!((history.executed(), history.pending(), history.pending_bytes()), (12, 3, 12));
        let numbers = |from| history.from(from).map(|e| e.position.number).collect::<Vec<_>>();
        assert_eq!(numbers(14), [14, 15]);
        assert_eq!(numbers(3), [11, 12, 13, 14, 15]);
        assert!(numbers(99).is_empty());
    }

    /// CH-F3: what two have in common is found by the ends of the runs of the one that is behind.
    #[test]
    fn histories_are_alike_up_to_the_end_of_the_shorter_last_common_run() {
        let of = |entries: &[(u64, u64)]| {
            let mut history = History::new(at(0, 0));
            entries.iter().for_each(|(config, number)| history.push(entry(*config, *number)));
            history
        };
        let head = of(&[(1, 1), (1, 2), (1, 3), (4, 4), (4, 5)]);
        assert_eq!(head.runs(), [at(1, 3), at(4, 5)]);
        for (other, expected) in [
            (of(&[(1, 1), (1, 2)]), 2),
            (of(&[(1, 1), (1, 2), (1, 3), (4, 4), (4, 5)]), 5),
            (of(&[(1, 1), (1, 2), (2, 3)]), 2),
            (of(&[(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (3, 6)]), 3),
            (of(&[(1, 1), (1, 2), (1, 3), (4, 4), (4, 5), (4, 6)]), 5),
            (of(&[]), 0),
        ] {
            assert_eq!(head.common(&other.runs()), Some(expected), "{other:?}");
        }
        assert_eq!(head.common(&[at(2, 1), at(3, 2)]), None);
    }

    #[test]
    fn a_cut_never_takes_what_is_executed() {
        let mut history = filled();
        assert_eq!(history.cut(14), 1);
        assert_eq!(history.cut(3), 2);
        assert_eq!((history.last(), history.pending_bytes()), (at(2, 12), 0));
        assert_eq!(history.cut(3), 0);
    }

    #[test]
    fn trimming_keeps_so_many_and_what_is_above_the_floor() {
        let mut history = filled();
        history.trim((1, 99), 10);
        assert_eq!(history.position_at(10), Some(at(1, 10)));
        history.trim((1, 99), u64::MAX);
        assert_eq!((history.position_at(10), history.position_at(11)), (None, Some(at(2, 11))));
        history.trim((0, 99), u64::MAX);
        assert_eq!(history.get(13).map(|e| e.position), Some(at(2, 13)));
    }

    #[test]
    fn trimming_keeps_so_many_bytes_whoever_lacks_the_rest_and_all_that_is_not_executed() {
        let mut history = filled();
        history.trim((9, 7), 10);
        let first = |h: &History| h.from(0).next().map(|e| e.position.number);
        assert_eq!((first(&history), history.kept_bytes), (Some(12), 4), "of four bytes each");
        history.trim((9, 4), 10);
        assert_eq!(first(&history), Some(12));
        history.trim((9, 0), 10);
        assert_eq!((first(&history), history.pending(), history.kept_bytes), (Some(13), 3, 0));
        history.executed_next();
        assert_eq!((history.kept_bytes, history.pending_bytes()), (4, 8));
    }
}
