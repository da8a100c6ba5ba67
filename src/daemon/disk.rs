//! The replica's disk: records that must outlive it, and evidence for people (docs/protocol.md
//! §7).
//!
//! Writing and syncing take their time, so a thread of their own does them; the loop goes on and
//! hears of each write once it is durable. What cannot be written ends the replica: it must not
//! say anything that it might forget, and a sync that failed once says nothing by succeeding
//! later.

mod log;

use super::DaemonError;
use crate::files;
use bytes::Bytes;
use log::Log;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// Files of evidence that are kept; a replica is convicted once, so that these are far too many.
const MAX_EVIDENCE: usize = 1000;
/// Writes that wait are written and synced together, up to about so many bytes.
const GROUP_BYTES: usize = 16 << 20;
/// A log that is longer than this when the replica starts is written anew without what is not
/// needed any more.
const REWRITE_ABOVE: u64 = 8 << 20;

const WRITABLE: &str = "free some space, let this user write there, or give another directory \
                        with --data";

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
    Evidence { name: String, bytes: Bytes },
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

    /// Reads all records. `known` says whether this replica has started on this disk before: then
    /// they must be there.
    ///
    /// # Errors
    /// If they are damaged, missing or there and should not be, or cannot be read.
    pub(super) fn open(
        self,
        known: bool,
    ) -> Result<(Disk, Vec<Bytes>, mpsc::UnboundedReceiver<Done>), DaemonError> {
        let (mut log, records) = Log::open(&self.directory, known)?;
        if !known && !records.is_empty() {
            let why = "holds records, but there is no cluster.mark beside it, so whose they are is \
                       not known; put the mark back, or give an empty directory with --data";
            return Err(log.failed(why.to_owned()));
        }
        let records = log.shorten(records, REWRITE_ABOVE, needed)?;
        if !records.is_empty() {
            info!(records = records.len(), "read what this replica has written down before");
        }
        let (jobs, inbox) = std_mpsc::channel();
        let (done, said) = mpsc::unbounded_channel();
        let evidence = self.directory.join("evidence");
        let worker = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || Worker { log, evidence, done }.run(&inbox))
            .map_err(|e| DaemonError::Data {
                path: self.directory.clone(),
                reason: format!("no thread can be started for it: {e}"),
            })?;
        let disk = Disk { jobs: Some(jobs), worker: Some(worker), _claim: self };
        Ok((disk, records, said))
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

struct Worker {
    log: Log,
    evidence: PathBuf,
    done: mpsc::UnboundedSender<Done>,
}

impl Worker {
    fn run(mut self, inbox: &std_mpsc::Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            let (mut sequences, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Persist { sequence, records } => {
                        bytes += records.iter().map(Bytes::len).sum::<usize>();
                        sequences.push(sequence);
                        group.extend(records);
                    }
                    Job::Evidence { name, bytes } => self.keep(&name, &bytes),
                }
                if bytes < GROUP_BYTES {
                    next = inbox.try_recv().ok();
                }
            }
            if !group.is_empty()
                && let Err(why) = self.log.append(&group)
            {
                error!(%why, "the replica stops: it must not forget what it says");
                // A loop that has ended does not need to hear it.
                let _ = self.done.send(Err(why));
                return;
            }
            for sequence in sequences {
                let _ = self.done.send(Ok(sequence));
            }
        }
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

// A name that stays in its directory whatever it comes from.
fn is_plain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(good)
}

#[cfg(test)]
mod tests;
