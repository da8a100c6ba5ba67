//! The replica's disk: records that must outlive it, the log of rounds with the snapshots where
//! the cluster is durable, and evidence for people (docs/protocol.md §7).
//!
//! Writing and syncing take their time, so a thread of their own does them; the loop goes on and
//! hears of each write once it is durable. What cannot be written ends the replica: it must not
//! say anything that it might forget, and a sync that failed once says nothing by succeeding
//! later.

mod directory;
mod frozen;
mod inbox;
mod log;
pub(super) mod rounds;
pub(super) mod saving;
pub(super) mod secret;
mod worker;

pub use directory::Directory;
pub use frozen::Frozen as RoundsDisk;
pub(super) use inbox::{End, GROUP_BYTES, IDLE, Inbox, Patience};
pub(super) use rounds::FoundRounds;

use super::DaemonError;
use super::data::RoundsFiles;
use crate::files;
use crate::replica::Stored;
use crate::storage::Limits;
use crate::types::{Digest, DiskState, MAX_T, ReplicaId};
use bytes::Bytes;
use log::Log;
use rounds::Rounds;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use worker::Worker;

/// A log that is longer than this when the replica starts is written anew without what is not
/// needed any more.
const REWRITE_ABOVE: u64 = 8 << 20;

const NO_LOG: &str = "there was no log, though this replica has started here before; if the \
                      cluster had no durability until now, start all replicas on empty directories";

pub(super) const WRITABLE: &str = "free some space, let this user write there, or give another \
                                   directory with --data";

/// A data directory that no other process uses.
#[derive(Debug)]
pub(super) struct Claim {
    directory: PathBuf,
    // Its lock is gone with it.
    _lock: File,
}

/// What the thread tells the loop.
pub(super) type Done = Result<u64, DaemonError>;

/// The disk of a running replica. Dropping it waits for what was asked before.
pub(super) struct Disk {
    jobs: Option<std_mpsc::Sender<Job>>,
    worker: Option<JoinHandle<()>>,
    _claim: Claim,
}

enum Job {
    Persist { sequence: u64, records: Vec<Bytes> },
    Append { sequence: u64, entries: Vec<Bytes>, urgent: bool },
    Save { sequence: u64, round: u64, first: u64, head: Bytes, state: Bytes },
    Evidence { name: String, bytes: Bytes },
}

/// Who opens a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    /// What its mark says, if this replica has started on this disk before.
    pub(super) disk: Option<DiskState>,
    /// Its cluster.
    pub(super) cluster: Digest,
    /// Which one it is.
    pub(super) replica: ReplicaId,
    /// How many there are.
    pub(super) members: usize,
    /// Whether it logs rounds and saves states.
    pub(super) durable: bool,
    /// How many snapshots it keeps.
    pub(super) snapshots: u32,
}

/// A disk that is open.
pub(super) struct Opened {
    /// The disk.
    pub(super) disk: Disk,
    /// All records.
    pub(super) records: Vec<Bytes>,
    /// What the log of rounds and the snapshots hold, if the replica has them.
    pub(super) rounds: Option<FoundRounds>,
    /// What is durable, as it becomes so.
    pub(super) done: mpsc::UnboundedReceiver<Done>,
}

impl Claim {
    /// Makes the directory if need be and locks it.
    ///
    /// # Errors
    /// If it cannot be made or used, or if another process has it.
    pub(super) fn take(directory: &Path) -> Result<Self, DaemonError> {
        let failed = |reason| DaemonError::Data { path: directory.to_owned(), reason };
        files::create_directories(directory).map_err(|e| failed(format!("{e}; {WRITABLE}")))?;
        let opened = File::open(directory);
        let lock = opened.map_err(|e| failed(format!("cannot be opened: {e}; {WRITABLE}")))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DaemonError::InUse { path: directory.to_owned() }),
            Err(TryLockError::Error(e)) => {
                Err(failed(format!("cannot be locked: {e}; {WRITABLE}")))
            }
        }
    }

    /// Whose data it claims.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads all records, and the log of rounds. What was known before must be there.
    ///
    /// # Errors
    /// If records are damaged, missing or there and should not be, or cannot be read. If there is
    /// a log of rounds and the replica is not durable.
    pub(super) fn open(self, opening: Opening) -> Result<Opened, DaemonError> {
        // One that stands in for a lost disk may be made still: its mark is the first thing on it.
        let must = matches!(opening.disk, Some(DiskState::New | DiskState::Known));
        let (mut log, records) = Log::open(&self.directory, must)?;
        let why = "holds records, but there is no cluster.mark beside it, so whose they are is \
                   not known; put the mark back, or give an empty directory with --data";
        if opening.disk.is_none() && !records.is_empty() {
            return Err(log.failed(why.to_owned()));
        }
        let records = log.shorten(records, REWRITE_ABOVE, needed)?;
        if !records.is_empty() {
            info!(records = records.len(), "read what this replica has written down before");
        }
        let (rounds, found) = self.open_rounds(opening)?.unzip();
        let holds = |found: &FoundRounds| found.next > 0 || found.snapshot.is_some();
        if opening.disk.is_none() && found.as_ref().is_some_and(holds) {
            let path = self.directory.join(rounds::DIRECTORY);
            return Err(DaemonError::Data { path, reason: why.to_owned() });
        }
        let (jobs, inbox) = std_mpsc::channel();
        let (said, done) = mpsc::unbounded_channel();
        let worker = Worker::new(log, rounds, self.directory.join("evidence"), said);
        let worker = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || worker.run(inbox))
            .map_err(|e| DaemonError::Data {
                path: self.directory.clone(),
                reason: format!("no thread can be started for it: {e}"),
            })?;
        let disk = Disk { jobs: Some(jobs), worker: Some(worker), _claim: self };
        Ok(Opened { disk, records, rounds: found, done })
    }

    fn open_rounds(&self, o: Opening) -> Result<Option<(Rounds, FoundRounds)>, DaemonError> {
        let path = self.directory.join(rounds::DIRECTORY);
        if !o.durable {
            // Also a link that leads nowhere: a disk may be missing there.
            return match std::fs::symlink_metadata(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => {
                    let reason = format!("cannot be looked at: {e}; {WRITABLE}");
                    Err(DaemonError::Data { path, reason })
                }
                Ok(_) => {
                    let what = "holds a log of rounds, which would become outdated, since the \
                                cluster file asks for no durability";
                    let remedy = "set durability = \"reply\", or move this directory away";
                    Err(DaemonError::Data { path, reason: format!("{what}; {remedy}") })
                }
            };
        }
        let mut opened = Rounds::open(&self.directory, o.cluster, o.replica, o.members)?;
        opened.0.keep(o.snapshots as usize);
        let is_empty = opened.1.next == 0 && opened.1.snapshot.is_none();
        if o.disk == Some(DiskState::Replaced) && is_empty {
            info!(path = %path.display(), "the log of rounds stands in for one that is lost");
            opened.0.lose(&mut opened.1, "this disk stands in for one that is lost")?;
        }
        if o.disk == Some(DiskState::Known) && opened.0.is_new() {
            warn!(
                path = %path.display(),
                "there was no log of rounds, though this replica has started here before: it \
                 starts without its state"
            );
            opened.0.lose(&mut opened.1, NO_LOG)?;
        }
        Ok(Some(opened))
    }
}

/// Which of these records a later start still needs: the last of each kind, which is its first
/// byte, in their order. A kind of which it needs more has to be excepted here.
fn needed(records: &[Bytes]) -> Vec<Bytes> {
    let (mut seen, mut kept) = (BTreeSet::new(), Vec::new());
    for record in records.iter().rev() {
        if seen.insert(record.first().copied()) {
            kept.push(record.clone());
        }
    }
    kept.reverse();
    kept
}

impl Disk {
    /// Appends records; the sequence comes back once they are durable, sequences in order.
    pub(super) fn persist(&self, sequence: u64, records: Vec<Bytes>) {
        self.give(Job::Persist { sequence, records });
    }

    /// Appends entries to the log of rounds; the sequence comes back as for [`Disk::persist`].
    /// While the disk is full nothing comes back. What is not `urgent` may come back with what is,
    /// or when there is nothing to do for a while.
    pub(super) fn append(&self, sequence: u64, entries: Vec<Bytes>, urgent: bool) {
        self.give(Job::Append { sequence, entries, urgent });
    }

    /// Saves the state after `round`, from which the log goes on with the entry at `first`, when
    /// all that was asked before is durable. The sequence comes back once it is saved, or if the
    /// disk is full and an older state does as well.
    pub(super) fn save(&self, sequence: u64, round: u64, first: u64, head: Bytes, state: Bytes) {
        self.give(Job::Save { sequence, round, first, head, state });
    }

    /// Keeps a file in `evidence/`. It is no harm to the replica if that fails: the log says so.
    pub(super) fn keep(&self, name: String, bytes: Bytes) {
        self.give(Job::Evidence { name, bytes });
    }

    // A thread that has ended has said why; nothing is asked of it then.
    fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(Err(_)) = self.worker.take().map(JoinHandle::join) {
            error!("the thread that writes to the disk has panicked");
        }
    }
}

/// The records of epochs in a data directory, which is only read.
///
/// # Errors
/// As a start of the replica would fail.
pub(super) fn read_records(directory: &Path) -> Result<Vec<Bytes>, DaemonError> {
    Log::read(directory)
}

/// The files of the log of rounds as they are now, whose they are, and the secret.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub(super) fn look_at_rounds(
    data: &Path,
    cluster: Digest,
    replica: ReplicaId,
) -> Result<(RoundsDisk, Digest, Digest), DaemonError> {
    let path = rounds_path(data);
    let failed = |reason| DaemonError::Data { path: path.clone(), reason };
    if !path.is_dir() {
        let what = "is not there: the cluster file asks for no durability, or the log is lost";
        return Err(failed(what.to_owned()));
    }
    let disk = RoundsDisk::open(&path);
    let disk = disk.map_err(|e| failed(format!("cannot be read: {e}; run it as who can")))?;
    let owner = secret::owner(cluster, replica);
    let secret = secret::secret(&path.join(secret::SECRET), owner, (true, secret::GO_ON_WITHOUT))?;
    Ok((disk, owner, secret))
}

/// The directory of the log of rounds, to be changed, with whose it is and the secret, while no
/// other process uses the data directory.
///
/// # Errors
/// If another process does, or as [`look_at_rounds`].
pub(super) fn claim_rounds(
    data: &Path,
    cluster: Digest,
    replica: ReplicaId,
) -> Result<(Claim, Directory, Digest, Digest), DaemonError> {
    let claim = Claim::take(data)?;
    let (_, owner, secret) = look_at_rounds(data, cluster, replica)?;
    let path = rounds_path(data);
    let disk = Directory::open(&path).map_err(|e| {
        let reason = format!("cannot be opened: {e}; {WRITABLE}");
        DaemonError::Data { path, reason }
    })?;
    Ok((claim, disk, owner, secret))
}

/// Where the log of rounds is.
pub(super) fn rounds_path(data: &Path) -> PathBuf {
    data.join(rounds::DIRECTORY)
}

/// The limits of the log in a group of so many, or in the largest.
pub(super) fn rounds_limits(members: Option<usize>) -> Limits {
    let largest = 2 * usize::from(MAX_T) + 1;
    rounds::limits(members.unwrap_or(largest))
}

/// What a start would find of the log and the snapshots.
///
/// # Errors
/// As the start would fail.
pub(super) fn stored(files: RoundsFiles) -> Result<Stored, DaemonError> {
    let RoundsFiles { disk, owner, secret, limits, path } = files;
    let (mut rounds, mut found) = Rounds::open_on(disk, path, (owner, secret), limits)?;
    if rounds.is_new() {
        rounds.lose(&mut found, NO_LOG)?;
    }
    Ok(found.into())
}

// A name that stays in its directory whatever it comes from.
fn is_plain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(good)
}

#[cfg(test)]
pub(super) mod rounds_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worker_tests;
