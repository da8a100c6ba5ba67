//! The thread that writes a chain's files.
//!
//! It takes all jobs that wait, appends their records, syncs once, and only then says that they
//! are done. A state is begun where it stands among the jobs, when all before it is durable. Unless
//! it begins the log anew it is written in slices, and what comes meanwhile between them.
//!
//! While the disk is full it tries again and again, and says nothing.

use super::records::{Records, Unsaved};
use super::{End, Inbox};
use crate::daemon::DaemonError;
use crate::daemon::disk::saving::SaveError;
use crate::daemon::disk::{Directory, Done, GROUP_BYTES, IDLE, Patience};
use crate::storage::{Disk, LogError};
use bytes::Bytes;
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc;
use tracing::{error, warn};

pub(super) enum Job {
    Append { sequence: u64, entries: Vec<Bytes> },
    Save { sequence: u64, number: u64, state: Bytes, anew: bool },
}

/// What the thread has.
pub(super) struct Worker<D = Directory> {
    records: Records<D>,
    done: mpsc::UnboundedSender<Done>,
    /// The state that is being saved, by its sequence.
    saving: Option<(u64, Unsaved)>,
    /// Whether records were appended since the log was last told how far it is durable.
    is_unmarked: bool,
}

/// Appends that are done together, and the state behind them.
#[derive(Default)]
struct Group {
    entries: Vec<Bytes>,
    sequences: Vec<u64>,
    bytes: usize,
    save: Option<Save>,
}

struct Save {
    sequence: u64,
    number: u64,
    state: Bytes,
    anew: bool,
}

impl<D: Disk> Worker<D> {
    /// A thread's work; `done` hears of each sequence.
    pub(super) fn new(records: Records<D>, done: mpsc::UnboundedSender<Done>) -> Self {
        Self { records, done, saving: None, is_unmarked: false }
    }

    /// Does all jobs until nobody can ask for more, or something fails.
    pub(super) fn run(mut self, jobs: Receiver<Job>) {
        let mut inbox = Inbox::new(jobs);
        let why = loop {
            match self.step(&mut inbox) {
                Ok(()) => {}
                Err(End::Closed) => match self.mark() {
                    Ok(()) => return,
                    Err(why) => break why,
                },
                Err(End::Failed(why)) => break why,
            }
        };
        error!(%why, "the replica stops: it must not forget what it says");
        // A loop that has ended does not need to hear it.
        let _ = self.done.send(Err(why));
    }

    fn step(&mut self, inbox: &mut Inbox<Job>) -> Result<(), End> {
        let first = match self.is_unmarked {
            _ if self.saving.is_some() => inbox.try_next(),
            false => Some(inbox.next()?),
            true => match inbox.next_within(IDLE)? {
                Some(job) => Some(job),
                None => return Ok(self.mark()?),
            },
        };
        if let Some(first) = first {
            self.write(first, inbox)?;
        }
        self.save_slice()
    }

    // Does this job and those that wait; of a state only the beginning.
    fn write(&mut self, first: Job, inbox: &mut Inbox<Job>) -> Result<(), End> {
        let group = gather(first, inbox);
        if !group.entries.is_empty() {
            self.append(&group.entries, inbox)?;
            self.records.sync().map_err(|e| self.records.rounds().failed(e))?;
        }
        group.sequences.into_iter().for_each(|sequence| self.say(sequence));
        group.save.map_or(Ok(()), |save| self.begin_save(&save, inbox))
    }

    fn say(&self, sequence: u64) {
        // A loop that has ended does not need to hear it.
        let _ = self.done.send(Ok(sequence));
    }

    // Returns when they are written.
    fn append(&mut self, entries: &[Bytes], inbox: &mut Inbox<Job>) -> Result<(), End> {
        self.records.numbers(entries)?;
        let (mut done, mut patience) = (0, Patience::new());
        loop {
            match self.records.append(entries, &mut done) {
                Ok(()) => break,
                Err(LogError::NoSpace) => patience.wait(self.records.rounds(), inbox)?,
                Err(e) => return Err(End::Failed(self.records.rounds().failed(e))),
            }
        }
        patience.end(self.records.rounds());
        self.is_unmarked = true;
        Ok(())
    }

    // Returns when it is begun; when it is durable, if the log begins anew behind it.
    fn begin_save(&mut self, save: &Save, inbox: &mut Inbox<Job>) -> Result<(), End> {
        while self.saving.is_some() {
            self.save_slice()?;
        }
        if save.anew {
            self.save_anew(save, inbox)?;
            self.say(save.sequence);
            return Ok(());
        }
        match self.records.begin_save(save.number, &save.state) {
            Ok(unsaved) => self.saving = Some((save.sequence, unsaved)),
            Err(why) => self.not_saved(save.sequence, why)?,
        }
        Ok(())
    }

    // Nothing behind it counts before it is there.
    fn save_anew(&mut self, save: &Save, inbox: &mut Inbox<Job>) -> Result<(), End> {
        let mut patience = Patience::new();
        loop {
            match self.records.save_anew(save.number, &save.state) {
                Ok(()) => break patience.end(self.records.rounds()),
                Err(SaveError::Failed(why)) => return Err(End::Failed(why)),
                Err(SaveError::NoSpace) => patience.wait(self.records.rounds(), inbox)?,
            }
        }
        // The log is a new one, and says so.
        self.is_unmarked = false;
        Ok(())
    }

    // Writes a slice of the state that is being saved, if one is.
    fn save_slice(&mut self) -> Result<(), End> {
        let Some((sequence, unsaved)) = self.saving.take() else { return Ok(()) };
        match self.records.save_slice(unsaved) {
            Ok(Some(unsaved)) => self.saving = Some((sequence, unsaved)),
            Ok(None) => self.say(sequence),
            Err(why) => self.not_saved(sequence, why)?,
        }
        Ok(())
    }

    // Where the disk is full an older one does as well.
    fn not_saved(&self, sequence: u64, why: SaveError) -> Result<(), End> {
        match why {
            SaveError::Failed(why) => return Err(End::Failed(why)),
            SaveError::NoSpace => warn!(
                path = %self.records.rounds().path().display(),
                "no space left for a state, so it is left out and the log grows; free some space"
            ),
        }
        self.say(sequence);
        Ok(())
    }

    // That there is no space for that is no harm.
    fn mark(&mut self) -> Result<(), DaemonError> {
        if !std::mem::take(&mut self.is_unmarked) {
            return Ok(());
        }
        match self.records.mark() {
            Ok(()) | Err(LogError::NoSpace) => Ok(()),
            Err(e) => Err(self.records.rounds().failed(e)),
        }
    }
}

// This job and those that wait, up to a state.
fn gather(first: Job, inbox: &mut Inbox<Job>) -> Group {
    let mut group = Group::default();
    let mut next = Some(first);
    while let Some(job) = next.take() {
        match job {
            Job::Append { sequence, entries } => {
                group.bytes += entries.iter().map(Bytes::len).sum::<usize>();
                group.sequences.push(sequence);
                group.entries.extend(entries);
            }
            Job::Save { sequence, number, state, anew } => {
                group.save = Some(Save { sequence, number, state, anew });
                break;
            }
        }
        if group.bytes < GROUP_BYTES {
            next = inbox.try_next();
        }
    }
    group
}
