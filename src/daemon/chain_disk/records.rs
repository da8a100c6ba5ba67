//! The log of a chain and its states, as files.
//!
//! A record stands in place of all before it that have its number or a higher one. So the place
//! from which a state goes on is that behind the record of its number: what was cut off is before
//! that, and never comes back. A snapshot is named by that place, so that the newest is the one
//! that was asked for last, whatever its number.
//!
//! A state that begins the log *anew* goes on from a place that the log never reaches: it is begun
//! there when the state is durable. So what was logged before it is not there any more, and if the
//! state itself is lost or damaged, nothing else is taken for it. The first chunk of a snapshot
//! says whether it is such a one, so that what a crash left undone is done at the next start.

use super::REMEDY;
use crate::chain::Found;
use crate::daemon::DaemonError;
use crate::daemon::disk::Directory;
use crate::daemon::disk::rounds::Rounds;
use crate::daemon::disk::saving::{SaveError, Saving};
use crate::storage::{Disk, Limits, LogError};
use crate::types::Digest;
use crate::wire::{ChainEntry, MAX_FRAME};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A request is shorter than a frame, and so is the entry that it is in.
pub(super) const LIMITS: Limits =
    Limits { segment_bytes: 32 << 20, record_bytes: 2 * MAX_FRAME, reserve_bytes: 32 << 20 };
/// The kind of a record.
const ENTRY: u8 = 1;
/// States that are kept: the second is for when the newest is damaged.
const KEPT: usize = 2;

/// The open log with its states.
#[derive(Debug)]
pub(super) struct Records<D = Directory> {
    rounds: Rounds<D>,
    /// Where in the log the record of each number stands that is above that of the newest state.
    places: BTreeMap<u64, u64>,
}

/// A state that is being saved.
#[derive(Debug)]
pub(super) struct Unsaved {
    number: u64,
    saving: Saving,
}

/// Whether a file of this name is a part of a log.
pub(super) fn is_log(name: &str) -> bool {
    name.starts_with("log-") && name.ends_with(".seg")
}

/// Whether a file of this name is a state.
pub(super) fn is_state(name: &str) -> bool {
    name.starts_with("snap-") && name.ends_with(".snap")
}

impl<D: Disk> Records<D> {
    /// Opens the log and the states in a directory, or begins them unless they `must` be there.
    /// `path` is for people. What a crash left undone is done.
    ///
    /// # Errors
    /// If something that is needed is damaged or missing; if it is another's; if the disk fails or
    /// is full.
    pub(super) fn open_on(
        mut disk: D,
        path: PathBuf,
        keys: (Digest, Digest),
        limits: Limits,
        must: bool,
    ) -> Result<(Self, Found), DaemonError> {
        let refused = |what: &str| {
            let reason = format!("{what}; put it back from a copy, or {REMEDY}");
            DaemonError::Data { path: path.clone(), reason }
        };
        let names = disk.list().map_err(|e| refused(&format!("cannot be read: {e}")))?;
        let has_log = names.iter().any(|name| is_log(name));
        let has_state = names.iter().any(|name| is_state(name));
        if must && !has_log && !has_state {
            return Err(refused("holds no log, though this replica has started here before"));
        }
        let (mut rounds, mut found) = Rounds::open_on(disk, path.clone(), keys, limits)?;
        rounds.all_of_kind(ENTRY);
        rounds.keep(KEPT);
        match &found.snapshot {
            // The log alone does not say what was before it.
            None if has_state => return Err(refused("holds no state that is whole")),
            None => {}
            Some((head, _)) if is_anew(head) => rounds.finish_save(&mut found)?,
            Some(_) if !has_log => return Err(refused("holds a state, and no log behind it")),
            Some(_) => {}
        }
        if let Some(damage) = found.damage {
            let reason = format!("the log is damaged ({damage}); {REMEDY}");
            return Err(DaemonError::Data { path, reason });
        }
        let mut records = Self { rounds, places: BTreeMap::new() };
        let numbers = records.numbers(&found.entries)?;
        for (place, number) in (found.first..).zip(numbers) {
            records.note(number, place);
        }
        let state = found.snapshot.map(|(_, state)| state);
        let log = records.places.values();
        // Places are those of entries, which are in memory.
        let log = log.map(|place| found.entries[(place - found.first) as usize].clone()).collect();
        Ok((records, Found { state, log }))
    }

    /// The files.
    pub(super) fn rounds(&self) -> &Rounds<D> {
        &self.rounds
    }

    /// Appends records, as [`Rounds::append`] does.
    ///
    /// # Errors
    /// As there, and if one is no record.
    pub(super) fn append(&mut self, entries: &[Bytes], done: &mut usize) -> Result<(), LogError> {
        let (before, place) = (*done, self.rounds.next());
        let appended = self.rounds.append(entries, done);
        for (place, entry) in (place..).zip(&entries[before..*done]) {
            if let Some(number) = ChainEntry::number_in(entry) {
                self.note(number, place);
            }
        }
        appended
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// If the disk fails.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.rounds.sync()
    }

    /// Writes down up to where the log is durable.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub(super) fn mark(&mut self) -> Result<(), LogError> {
        self.rounds.mark()
    }

    /// Begins to save the state after this number, behind whose record the log goes on.
    ///
    /// # Errors
    /// If the disk fails or is full; if there is no such record.
    pub(super) fn begin_save(&mut self, number: u64, state: &Bytes) -> Result<Unsaved, SaveError> {
        let Some(place) = self.places.get(&number) else {
            let what = format!("a state after entry {number} is to be saved, which is not in the");
            let failed = self.rounds.about(format!("{what} log; this is a defect: report it"));
            return Err(failed.into());
        };
        let first = place + 1;
        let saving = self.rounds.begin_save(first, first, &head(number, false), state)?;
        Ok(Unsaved { number, saving })
    }

    /// Writes the next slice and gives what is left; with the last one the state is durable.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub(super) fn save_slice(&mut self, unsaved: Unsaved) -> Result<Option<Unsaved>, SaveError> {
        let Unsaved { number, saving } = unsaved;
        if let Some(saving) = self.rounds.save_slice(saving)? {
            return Ok(Some(Unsaved { number, saving }));
        }
        self.places = self.places.split_off(&number.saturating_add(1));
        Ok(None)
    }

    /// Saves the state after this number in place of all that was written.
    ///
    /// # Errors
    /// If the disk fails. If it is full: all is as before then.
    pub(super) fn save_anew(&mut self, number: u64, state: &Bytes) -> Result<(), SaveError> {
        let first = self.rounds.next() + 1;
        self.rounds.keep(1);
        let saved = self.rounds.save(first, first, &head(number, true), state);
        self.rounds.keep(KEPT);
        saved?;
        self.places.clear();
        Ok(())
    }

    /// The numbers of these records.
    ///
    /// # Errors
    /// If one is none.
    pub(super) fn numbers(&self, entries: &[Bytes]) -> Result<Vec<u64>, DaemonError> {
        let numbers = entries.iter().map(|entry| ChainEntry::number_in(entry));
        numbers.collect::<Option<Vec<u64>>>().ok_or_else(|| {
            let what = "a record of the chain's log is too short to be one";
            self.rounds.about(format!("{what}: use the program that wrote it"))
        })
    }

    // A record stands in place of all before it with this number or a higher one.
    fn note(&mut self, number: u64, place: u64) {
        while self.places.last_key_value().is_some_and(|(last, _)| *last >= number) {
            self.places.pop_last();
        }
        self.places.insert(number, place);
    }
}

// The first chunk of a state, behind its place: whether it begins the log anew, and its number.
fn head(number: u64, anew: bool) -> Bytes {
    [&[u8::from(anew)][..], &number.to_le_bytes()].concat().into()
}

fn is_anew(head: &Bytes) -> bool {
    head.first() == Some(&1)
}
