//! The thread that writes.
//!
//! It takes all jobs that wait, appends their entries to the log of rounds, syncs that once, then
//! writes their records, and only then says that they are done. A snapshot is begun where it
//! stands among the jobs, when all before it is durable. If the log goes on behind it, it is
//! written in slices, and what comes meanwhile is written and synced between them.
//!
//! While the disk is full it tries again and again, and says nothing.

use super::directory::Directory;
use super::inbox::{End, GROUP_BYTES, IDLE, Inbox, Patience};
use super::log::Log;
use super::rounds::Rounds;
use super::saving::{SaveError, Saving};
use super::{DaemonError, Done, Job, is_plain};
use crate::files;
use crate::storage::{Disk, LogError};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc;
use tracing::{error, warn};

/// Files of evidence that are kept; a replica is convicted once, so that these are far too many.
pub(super) const MAX_EVIDENCE: usize = 1000;

/// What the thread has.
pub(super) struct Worker<D = Directory, L = Directory> {
    log: Log<L>,
    rounds: Option<Rounds<D>>,
    evidence: PathBuf,
    done: mpsc::UnboundedSender<Done>,
    /// The snapshot that is being saved, by its sequence.
    pub(super) saving: Option<(u64, Saving)>,
    /// Whether entries were appended since the log was last told how far it is durable.
    is_unmarked: bool,
    /// Sequences of writes that are not synced yet, since nobody waits for them.
    unsynced: Vec<u64>,
}

/// Jobs that are done together.
#[derive(Default)]
struct Group {
    entries: Vec<Bytes>,
    records: Vec<Bytes>,
    sequences: Vec<u64>,
    /// Whether any of them is waited for.
    urgent: bool,
    bytes: usize,
    /// What comes behind them.
    save: Option<Save>,
}

struct Save {
    sequence: u64,
    round: u64,
    first: u64,
    head: Bytes,
    state: Bytes,
}

impl<D: Disk, L: Disk> Worker<D, L> {
    /// A thread's work; `done` hears of each sequence.
    pub(super) fn new(
        log: Log<L>,
        rounds: Option<Rounds<D>>,
        evidence: PathBuf,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        Self { log, rounds, evidence, done, saving: None, is_unmarked: false, unsynced: Vec::new() }
    }

    /// Does all jobs until nobody can ask for more, or something fails.
    pub(super) fn run(mut self, jobs: Receiver<Job>) {
        let mut inbox = Inbox::new(jobs);
        loop {
            let why = match self.step(&mut inbox) {
                Ok(()) => continue,
                Err(End::Closed) => match self.idle() {
                    Ok(()) | Err(End::Closed) => return,
                    Err(End::Failed(why)) => why,
                },
                Err(End::Failed(why)) => why,
            };
            error!(%why, "the replica stops: it must not forget what it says");
            // A loop that has ended does not need to hear it.
            let _ = self.done.send(Err(why));
            return;
        }
    }

    fn step(&mut self, inbox: &mut Inbox<Job>) -> Result<(), End> {
        let first = match self.is_unmarked {
            _ if self.saving.is_some() => inbox.try_next(),
            false => Some(inbox.next()?),
            true => match inbox.next_within(IDLE)? {
                Some(job) => Some(job),
                None => return self.idle(),
            },
        };
        if let Some(first) = first {
            self.write(first, inbox)?;
        }
        self.save_slice()
    }

    /// Does this job and those that wait; of a snapshot only the beginning.
    pub(super) fn write(&mut self, first: Job, inbox: &mut Inbox<Job>) -> Result<(), End> {
        let group = self.gather(first, inbox);
        if !group.entries.is_empty() {
            self.append(&group.entries, inbox)?;
        }
        if !group.urgent && group.records.is_empty() && group.save.is_none() {
            self.unsynced.extend(group.sequences);
            return Ok(());
        }
        self.sync()?;
        if !group.records.is_empty() {
            self.log.append(&group.records)?;
        }
        self.say(group.sequences);
        match group.save {
            Some(save) => self.begin_save(&save, inbox),
            None => Ok(()),
        }
    }

    fn say(&self, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            // A loop that has ended does not need to hear it.
            let _ = self.done.send(Ok(sequence));
        }
    }

    // This job and those that wait, up to a snapshot.
    fn gather(&self, first: Job, inbox: &mut Inbox<Job>) -> Group {
        let mut group = Group::default();
        let mut next = Some(first);
        let size = |parts: &[Bytes]| parts.iter().map(Bytes::len).sum::<usize>();
        while let Some(job) = next.take() {
            match job {
                Job::Persist { sequence, records } => {
                    group.bytes += size(&records);
                    group.sequences.push(sequence);
                    group.records.extend(records);
                }
                Job::Append { sequence, entries, urgent } => {
                    group.urgent |= urgent;
                    group.bytes += size(&entries);
                    group.sequences.push(sequence);
                    group.entries.extend(entries);
                }
                Job::Save { sequence, round, first, head, state } => {
                    group.save = Some(Save { sequence, round, first, head, state });
                    break;
                }
                Job::Evidence { name, bytes } => self.keep(&name, &bytes),
            }
            if group.bytes < GROUP_BYTES {
                next = inbox.try_next();
            }
        }
        group
    }

    // Makes all that was appended durable, and says what nobody has waited for.
    fn sync(&mut self) -> Result<(), End> {
        if let Some(rounds) = &mut self.rounds {
            rounds.sync().map_err(|e| rounds.failed(e))?;
        }
        let unsynced = std::mem::take(&mut self.unsynced);
        self.say(unsynced);
        Ok(())
    }

    // Returns when they are written.
    fn append(&mut self, entries: &[Bytes], inbox: &mut Inbox<Job>) -> Result<(), End> {
        let Some(rounds) = &mut self.rounds else { return Err(End::Failed(self.not_durable())) };
        let (mut done, mut patience) = (0, Patience::new());
        loop {
            match rounds.append(entries, &mut done) {
                Ok(()) => break,
                Err(LogError::NoSpace) => patience.wait(rounds, inbox)?,
                Err(e) => return Err(End::Failed(rounds.failed(e))),
            }
        }
        patience.end(rounds);
        self.is_unmarked = true;
        Ok(())
    }

    // Returns when it is begun; when it is durable, if nothing can be appended before that.
    fn begin_save(&mut self, save: &Save, inbox: &mut Inbox<Job>) -> Result<(), End> {
        while self.saving.is_some() {
            self.save_slice()?;
        }
        let Some(rounds) = &mut self.rounds else { return Err(End::Failed(self.not_durable())) };
        if rounds.must_start_over(save.first) {
            self.save_whole(save, inbox)?;
            self.say([save.sequence]);
            return Ok(());
        }
        match rounds.begin_save(save.round, save.first, &save.head, &save.state) {
            Ok(saving) => self.saving = Some((save.sequence, saving)),
            Err(why) => self.not_saved(save.sequence, why)?,
        }
        Ok(())
    }

    // Without it nothing could be appended at the right place.
    fn save_whole(&mut self, save: &Save, inbox: &mut Inbox<Job>) -> Result<(), End> {
        let Some(rounds) = &mut self.rounds else { return Err(End::Failed(self.not_durable())) };
        let mut patience = Patience::new();
        loop {
            match rounds.save(save.round, save.first, &save.head, &save.state) {
                Ok(()) => break patience.end(rounds),
                Err(SaveError::Failed(why)) => return Err(End::Failed(why)),
                Err(SaveError::NoSpace) => patience.wait(rounds, inbox)?,
            }
        }
        Ok(())
    }

    /// Writes a slice of the snapshot that is being saved, if one is.
    pub(super) fn save_slice(&mut self) -> Result<(), End> {
        let Some((sequence, saving)) = self.saving.take() else { return Ok(()) };
        let Some(rounds) = &mut self.rounds else { return Err(End::Failed(self.not_durable())) };
        match rounds.save_slice(saving) {
            Ok(Some(saving)) => self.saving = Some((sequence, saving)),
            Ok(None) => self.say([sequence]),
            Err(why) => self.not_saved(sequence, why)?,
        }
        Ok(())
    }

    // Where the disk is full an older one does as well.
    fn not_saved(&self, sequence: u64, why: SaveError) -> Result<(), End> {
        match why {
            SaveError::Failed(why) => return Err(End::Failed(why)),
            SaveError::NoSpace => warn!(
                path = %self.rounds.as_ref().map(|r| r.path().display().to_string())
                    .unwrap_or_default(),
                "no space left for a snapshot, so it is left out and the log grows; free some space"
            ),
        }
        self.say([sequence]);
        Ok(())
    }

    /// There has been nothing to do for a while: makes durable what nobody has waited for, and
    /// tells the log how far it is.
    pub(super) fn idle(&mut self) -> Result<(), End> {
        if !self.unsynced.is_empty() {
            self.sync()?;
        }
        Ok(self.mark()?)
    }

    // That there is no space for that is no harm.
    fn mark(&mut self) -> Result<(), DaemonError> {
        if !std::mem::take(&mut self.is_unmarked) {
            return Ok(());
        }
        let Some(rounds) = &mut self.rounds else { return Ok(()) };
        match rounds.mark() {
            Ok(()) | Err(LogError::NoSpace) => Ok(()),
            Err(e) => Err(rounds.failed(e)),
        }
    }

    fn not_durable(&self) -> DaemonError {
        let what = "there is no log of rounds to write to; this is a defect: report it";
        self.log.failed(what.to_owned())
    }

    fn keep(&self, name: &str, bytes: &[u8]) {
        match self.try_keep(name, bytes) {
            Ok(Some(path)) => warn!(path = %path.display(), "evidence of a lie is kept"),
            Ok(None) => {}
            Err(why) => error!(name, why, "evidence cannot be kept"),
        }
    }

    // Nothing if it is there already: evidence is named by its content.
    fn try_keep(&self, name: &str, bytes: &[u8]) -> Result<Option<PathBuf>, String> {
        if !is_plain(name) {
            return Err("this is no name for a file".to_owned());
        }
        let path = self.evidence.join(name);
        if path.exists() {
            return Ok(None);
        }
        files::create_directories(&self.evidence).map_err(|e| e.to_string())?;
        let entries = std::fs::read_dir(&self.evidence).map_err(|e| e.to_string())?;
        if entries.count() >= MAX_EVIDENCE {
            let directory = self.evidence.display();
            return Err(format!("{directory} holds {MAX_EVIDENCE} files; move them away"));
        }
        files::write_atomically(&path, bytes, 0o644).map_err(|e| e.to_string())?;
        Ok(Some(path))
    }
}
