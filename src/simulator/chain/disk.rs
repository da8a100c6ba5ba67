//! The disk of a replica: a log with a record for each entry, and the last two states.
//!
//! Writes are done in their order, but for a state that is saved beside: what is appended
//! meanwhile may be durable before it, as on the disk of a daemon. A crash keeps any first part of
//! what is on its way, records of one write apart. What is damaged is known by its checksum: a
//! start takes the newest state that is whole and the log behind it, and is refused if these are
//! not whole.

use crate::chain::Found;
use crate::simulator::Dice;
use crate::wire::ChainEntry;
use bytes::Bytes;
use std::collections::VecDeque;

/// States that are kept.
const KEPT: usize = 2;

/// A write that is on its way to the disk.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Append(Vec<Bytes>),
    Save { number: u64, state: Bytes, anew: bool },
}

#[derive(Clone, Debug)]
struct Saved {
    number: u64,
    state: Bytes,
    /// The place in the log from which it goes on.
    from: usize,
    is_damaged: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// The newest at the end.
    states: Vec<Saved>,
    /// Records, and whether each is damaged.
    log: Vec<(Bytes, bool)>,
    /// The place of the first of them: how many were dropped.
    first: usize,
    /// In the order in which they were asked for.
    writes: VecDeque<(u64, Write)>,
    /// The state that is saved beside.
    saving: Option<(u64, Saved)>,
}

impl Disk {
    pub(super) fn push(&mut self, sequence: u64, write: Write) {
        self.writes.push_back((sequence, write));
    }

    /// One step is done: the oldest write, or what was begun beside. Gives the sequence of what is
    /// durable now. A state that is saved beside takes two steps.
    pub(super) fn step(&mut self, dice: &mut Dice) -> Option<u64> {
        let is_state = matches!(self.writes.front(), Some((_, Write::Save { .. })));
        if self.saving.is_some() && (is_state || self.writes.is_empty() || dice.chance(300)) {
            return self.finish();
        }
        let (sequence, write) = self.writes.pop_front()?;
        match write {
            Write::Append(records) => self.append(records),
            Write::Save { number, state, anew: false } => {
                self.saving = Some((sequence, self.state(number, state)));
                return None;
            }
            Write::Save { number, state, anew: true } => self.begin_anew(number, state),
        }
        Some(sequence)
    }

    /// The oldest write is done; gives its sequence.
    pub(super) fn complete(&mut self) -> Option<u64> {
        if self.saving.is_some() {
            return self.finish();
        }
        let (sequence, write) = self.writes.pop_front()?;
        match write {
            Write::Append(records) => self.append(records),
            Write::Save { number, state, anew: false } => {
                self.saving = Some((sequence, self.state(number, state)));
                return self.finish();
            }
            Write::Save { number, state, anew: true } => self.begin_anew(number, state),
        }
        Some(sequence)
    }

    fn begin_anew(&mut self, number: u64, state: Bytes) {
        self.first += self.log.len();
        self.log.clear();
        self.states = vec![Saved { number, state, from: self.first, is_damaged: false }];
    }

    fn append(&mut self, records: Vec<Bytes>) {
        self.log.extend(records.into_iter().map(|record| (record, false)));
    }

    /// A state goes on behind the record of its number: what was cut off is before that.
    fn state(&self, number: u64, state: Bytes) -> Saved {
        let is_it = |(record, _): &(Bytes, bool)| ChainEntry::number_in(record) == Some(number);
        let behind = self.log.iter().rposition(is_it).map_or(0, |place| place + 1);
        Saved { number, state, from: self.first + behind, is_damaged: false }
    }

    fn finish(&mut self) -> Option<u64> {
        let (sequence, saved) = self.saving.take()?;
        self.states.push(saved);
        if self.states.len() > KEPT {
            self.states.remove(0);
            let from = self.states[0].from;
            self.log.drain(..from - self.first);
            self.first = from;
        }
        Some(sequence)
    }

    /// The process is gone: of what was not synced any first part may have come to the disk, of a
    /// write of several records some, and a state that was saved beside or not.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        if dice.chance(500) {
            self.finish();
        }
        self.saving = None;
        let kept = dice.below(self.writes.len() as u64 + 1);
        for _ in 0..kept {
            self.complete();
        }
        if let Some((_, Write::Append(mut records))) = self.writes.pop_front() {
            records.truncate(usize::try_from(dice.below(records.len() as u64)).expect("few"));
            self.append(records);
        }
        self.writes.clear();
    }

    /// The process is gone, and nothing of what was not synced has come to the disk.
    pub(super) fn lose(&mut self) {
        self.writes.clear();
        self.saving = None;
    }

    /// Something on it rots: a state, the newest rather than another, or a record. Gives whether
    /// there is anything.
    pub(super) fn rot(&mut self, dice: &mut Dice) -> bool {
        let pick = |dice: &mut Dice, of: usize| {
            usize::try_from(dice.below(of.max(1) as u64)).expect("few")
        };
        let (state, record) = (pick(dice, self.states.len()), pick(dice, self.log.len()));
        let newest = self.states.len().saturating_sub(1);
        let state = if dice.chance(700) { newest } else { state };
        if dice.chance(700)
            && let Some(state) = self.states.get_mut(state)
        {
            state.is_damaged = true;
            return true;
        }
        let found = self.log.get_mut(record);
        found.is_some_and(|(_, is_damaged)| {
            *is_damaged = true;
            true
        })
    }

    /// Bytes of the log's records.
    pub(super) fn log_bytes(&self) -> usize {
        self.log.iter().map(|(record, _)| record.len()).sum()
    }

    /// Whether a write is on its way.
    pub(super) fn is_writing(&self) -> bool {
        !self.writes.is_empty() || self.saving.is_some()
    }

    /// Whether it has this entry, or a state behind it.
    pub(super) fn has(&self, entry: &ChainEntry) -> bool {
        let (state, entries) = self.holds();
        entry.position.number.checked_sub(state + 1).is_none_or(|place| {
            entries.get(usize::try_from(place).expect("few")) == Some(&entry.to_record())
        })
    }

    /// What a start takes up, and whether it is an older state since the newest is damaged.
    ///
    /// # Errors
    /// If what is needed is damaged: then the disk is of no use any more.
    pub(super) fn recover(&mut self) -> Result<(Found, bool), String> {
        let states = self.states.len();
        while self.states.last().is_some_and(|s| s.is_damaged) {
            self.states.pop();
        }
        if self.states.is_empty() && states > 0 {
            return Err("no state is whole".to_owned());
        }
        if self.behind_the_state().iter().any(|(_, is_damaged)| *is_damaged) {
            return Err("the log is damaged".to_owned());
        }
        Ok((self.found(), self.states.len() < states))
    }

    /// The same of a disk on which nothing is damaged.
    pub(super) fn found(&self) -> Found {
        let log = self.behind_the_state().iter().map(|(record, _)| record.clone()).collect();
        Found { state: self.states.last().map(|s| s.state.clone()), log }
    }

    fn behind_the_state(&self) -> &[(Bytes, bool)] {
        let from = self.states.last().map_or(self.first, |s| s.from);
        &self.log[from - self.first..]
    }

    /// The entries that a start would find, and the number of the state before them.
    fn holds(&self) -> (u64, Vec<Bytes>) {
        let state = self.states.last().map_or(0, |s| s.number);
        let mut entries: Vec<Bytes> = Vec::new();
        for (record, _) in self.behind_the_state() {
            let entry = ChainEntry::parse_record(record).expect("a record that was written");
            let Some(place) = entry.position.number.checked_sub(state + 1) else { continue };
            entries.truncate(usize::try_from(place).expect("few"));
            entries.push(record.clone());
        }
        (state, entries)
    }
}
