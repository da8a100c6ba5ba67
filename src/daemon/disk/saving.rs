//! Saving a snapshot, in slices: what is to be durable soon is written in between.

use super::DaemonError;
use super::rounds::{Rounds, SLICE};
use crate::storage::{Disk, Position, SnapshotError, Unfinished};
use crate::types::plant::planted;
use bytes::Bytes;
use tracing::warn;

/// A snapshot that is being saved.
#[derive(Debug)]
pub(in crate::daemon) struct Saving {
    round: u64,
    /// The position in the log from which it goes on.
    first: u64,
    file: Unfinished,
    state: Bytes,
    /// How much of the state is in the file.
    done: usize,
}

/// Why a snapshot was not saved.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum SaveError {
    /// The disk is full. All is as it was before.
    #[error("no space left for a snapshot")]
    NoSpace,
    /// Anything else: nothing may be written there any more.
    #[error(transparent)]
    Failed(#[from] DaemonError),
}

impl<D: Disk> Rounds<D> {
    /// Saves the state after `round`, from which the log goes on with the entry at `first`. What
    /// only older states need is dropped then. If the log does not reach `first` or its end is
    /// damaged it is begun anew there; what it holds from `first` on is dropped, too. States of
    /// later rounds that the log goes on from earlier are of a history that was given up: they go
    /// once this one is durable.
    ///
    /// # Errors
    /// If the disk is full or fails; if there is a snapshot of a later round from which the log
    /// goes on there or later.
    pub(in crate::daemon) fn save(
        &mut self,
        round: u64,
        first: u64,
        head: &Bytes,
        state: &Bytes,
    ) -> Result<(), SaveError> {
        let mut saving = self.begin_save(round, first, head, state)?;
        while let Some(more) = self.save_slice(saving)? {
            saving = more;
        }
        Ok(())
    }

    /// Begins what [`Rounds::save`] does; entries may be appended and synced between its slices.
    ///
    /// # Errors
    /// As [`Rounds::save`].
    pub(in crate::daemon) fn begin_save(
        &mut self,
        round: u64,
        first: u64,
        head: &Bytes,
        state: &Bytes,
    ) -> Result<Saving, SaveError> {
        let newer = |later: &&u64| {
            **later > round && self.firsts.get(*later).is_none_or(|theirs| first <= *theirs)
        };
        if let Some(later) = self.snapshots.list().iter().find(newer) {
            let what = format!("cannot take a snapshot of round {round}");
            let why = format!("it has one of round {later}; this is a defect: report it");
            return Err(self.place.failed(format!("{what}, since {why}")).into());
        }
        let mut lead = first.to_le_bytes().to_vec();
        lead.extend_from_slice(head);
        let begun = self.snapshots.begin(&mut self.disk, round);
        let begun = begun.and_then(|file| self.snapshots.add(&mut self.disk, file, &lead));
        let file = begun.map_err(|e| self.not_saved(e))?;
        if planted("s7-log-cut-early") {
            let dropped = self.log.drop_before(&mut self.disk, Position(first));
            dropped.map_err(|e| self.place.log(e))?;
        }
        Ok(Saving { round, first, file, state: state.clone(), done: 0 })
    }

    /// Writes the next slice and gives what is left. With the last one the snapshot is durable, and
    /// what only older ones needed is gone.
    ///
    /// # Errors
    /// As [`Rounds::save`]. It is given up then.
    pub(in crate::daemon) fn save_slice(
        &mut self,
        saving: Saving,
    ) -> Result<Option<Saving>, SaveError> {
        let Saving { round, first, file, state, done } = saving;
        let end = state.len().min(done + SLICE);
        let file = match done < end {
            true => self.snapshots.add(&mut self.disk, file, &state[done..end]),
            false => Ok(file),
        };
        let file = file.map_err(|e| self.not_saved(e))?;
        if end < state.len() {
            return Ok(Some(Saving { round, first, file, state, done: end }));
        }
        let finished = self.snapshots.finish(&mut self.disk, file);
        finished.map_err(|e| self.not_saved(e))?;
        self.go_on_from(round, first)?;
        Ok(None)
    }

    // The log is needed from the oldest snapshot on that is kept.
    fn go_on_from(&mut self, round: u64, first: u64) -> Result<(), SaveError> {
        self.firsts.insert(round, first);
        self.needed = first;
        let dropped = self.snapshots.drop_after(&mut self.disk, round);
        dropped.map_err(|e| self.place.snapshot(e))?;
        let retained = self.snapshots.retain(&mut self.disk, self.kept);
        retained.map_err(|e| self.place.snapshot(e))?;
        let kept = self.snapshots.list();
        self.firsts.retain(|round, _| kept.contains(round));
        if self.must_start_over(first) {
            warn!(
                path = %self.path().display(), first,
                "the log of rounds begins anew: what was behind its end came with the state"
            );
            let begun = self.log.start_over(&mut self.disk, Position(first));
            begun.map_err(|e| self.place.log(e))?;
        }
        let oldest = self.firsts.values().copied().min().unwrap_or(first);
        let dropped = self.log.drop_before(&mut self.disk, Position(oldest));
        dropped.map_err(|e| self.place.log(e))?;
        Ok(())
    }

    fn not_saved(&self, error: SnapshotError) -> SaveError {
        match error {
            SnapshotError::NoSpace => SaveError::NoSpace,
            e => self.place.snapshot(e).into(),
        }
    }
}
