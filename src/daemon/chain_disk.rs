//! The disk of a chain's replica (docs/chain.md): its log and its states, in `chain-N/` below the
//! data directory, and the number of its life.
//!
//! The files are those of the log of rounds (`disk/rounds.rs`), with another owner, so that the
//! ones are never taken for the others: a record is one entry, a snapshot one state. What is
//! durable is found at the next start, exactly. Damage is never passed over: what a member has
//! synced others have told clients, and the chain counts on it (CH-U4).

mod life;
mod records;
mod worker;

use super::DaemonError;
use super::disk::secret::{chain_owner, secret};
use super::disk::{Directory, Done, End, Inbox, RoundsDisk, WRITABLE};
use crate::chain::Found;
use crate::files;
use crate::storage::{Disk as _, Overlay};
use crate::types::{Digest, DiskState, ReplicaId};
use bytes::Bytes;
use records::Records;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use tracing::error;
use worker::{Job, Worker};

/// The file with the secret of the log's checksums.
const SECRET: &str = "chain.secret";

/// What is left to do with a directory that cannot be used any more.
const REMEDY: &str = "move the replica's data directory away, and start it once with \
                      --replace-disk on an empty one: the chain fills a spare's disk again";

/// The chain's files of a replica, written by a thread of their own. Dropping waits for what was
/// asked.
pub(super) struct ChainDisk {
    jobs: Jobs,
    worker: Option<JoinHandle<()>>,
    path: PathBuf,
    owner: Digest,
}

enum Jobs {
    /// To the thread; `None` when it has to end.
    Thread(Option<std_mpsc::Sender<Job>>),
    /// Nothing is durable: all is done at once.
    Nobody(mpsc::UnboundedSender<Done>),
}

/// Who opens a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChainOpening {
    /// Its cluster.
    pub(super) cluster: Digest,
    /// Which replica it is.
    pub(super) replica: ReplicaId,
    /// Of which chain.
    pub(super) chain: u32,
    /// What its mark says: `None` if it has never started on this directory, and
    /// [`DiskState::Replaced`] if the operator said that this disk stands in for a lost one.
    pub(super) disk: Option<DiskState>,
    /// Whether entries and states are written.
    pub(super) durable: bool,
    /// Whether nobody else would notice that the disk is another one: the replica does not vote.
    pub(super) alone: bool,
}

/// A disk that is open.
pub(super) struct ChainOpened {
    /// The disk.
    pub(super) disk: ChainDisk,
    /// What is on it.
    pub(super) found: Found,
    /// Higher at every start of this directory, also against an earlier directory of the same
    /// replica: one more than the last, or the wall clock in milliseconds if that is higher.
    /// Durable.
    pub(super) life: u64,
    /// Whether the disk stands in for a lost one and no state or log has been written since.
    pub(super) blank: bool,
    /// Whether that may be so without anybody having said it ([`crate::chain::Setup::unsure`]).
    pub(super) unsure: bool,
    /// What is durable, as it becomes so, by its sequence.
    pub(super) done: mpsc::UnboundedReceiver<Done>,
}

impl ChainDisk {
    /// Opens the chain's files below a data directory that the caller has locked, or begins them.
    ///
    /// # Errors
    /// If the log is damaged, missing where the replica has started before, or another's; if it is
    /// there and nothing is to be durable; if the disk fails or is full. Each says the remedy.
    pub(super) fn open(data: &Path, opening: ChainOpening) -> Result<ChainOpened, DaemonError> {
        let ChainOpening { cluster, replica, chain, disk, durable, alone } = opening;
        let path = data.join(format!("chain-{chain}"));
        let must = matches!(disk, Some(DiskState::New | DiskState::Known));
        if must && !path.is_dir() {
            let what = "is not there, though this replica has started here before";
            return Err(failed(&path, format!("{what}; put it back, or {REMEDY}")));
        }
        let owner = chain_owner(cluster, replica, chain);
        let (said, done) = mpsc::unbounded_channel();
        if !durable {
            refuse_log(&path)?;
            let life = life::next(&path, owner, must)?;
            let unsure = alone && !life::has_begun(&path, owner);
            let disk = ChainDisk { jobs: Jobs::Nobody(said), worker: None, path, owner };
            let blank = opening.disk == Some(DiskState::Replaced);
            return Ok(ChainOpened { disk, found: Found::default(), life, blank, unsure, done });
        }
        let (records, found) = open_records(&path, owner, must)?;
        let is_empty = found.state.is_none() && found.log.is_empty();
        if disk.is_none() && !is_empty {
            let what = "holds a chain's log, but there is no cluster.mark beside it, so whether \
                        all of it is there is not known; put the mark back, or give an empty \
                        directory with --data";
            return Err(failed(&path, what.to_owned()));
        }
        let life = life::next(&path, owner, must)?;
        let (jobs, inbox) = std_mpsc::channel();
        let worker = Worker::new(records, said);
        let worker = std::thread::Builder::new()
            .name(format!("chain-disk-{chain}"))
            .spawn(move || worker.run(inbox))
            .map_err(|e| failed(&path, format!("no thread can be started for it: {e}")))?;
        let blank = opening.disk == Some(DiskState::Replaced) && is_empty;
        let unsure = alone && is_empty && !life::has_begun(&path, owner);
        let (jobs, worker) = (Jobs::Thread(Some(jobs)), Some(worker));
        let disk = ChainDisk { jobs, worker, path, owner };
        Ok(ChainOpened { disk, found, life, blank, unsure, done })
    }

    /// Appends records ([`crate::chain::Action::Append`]); the sequence comes back once they are
    /// durable. While the disk is full nothing comes back.
    pub(super) fn append(&self, sequence: u64, entries: Vec<Bytes>) {
        self.give(sequence, Job::Append { sequence, entries });
    }

    /// Saves a state ([`crate::chain::Action::Save`]) when all that was asked before is durable;
    /// the sequence comes back once it is durable. If the disk is full one that begins the log
    /// `anew` is waited for; any other is left out, since an older one with a longer log does as
    /// well, and its sequence comes back.
    pub(super) fn save(&self, sequence: u64, number: u64, state: Bytes, anew: bool) {
        self.give(sequence, Job::Save { sequence, number, state, anew });
    }

    /// Notes, durably and at once, that the directory has all that the replica ever had
    /// ([`crate::chain::Action::Begun`]).
    ///
    /// # Errors
    /// What is wrong with the disk.
    pub(super) fn begun(&self) -> Result<(), DaemonError> {
        life::begun(&self.path, self.owner)
    }

    // A thread or loop that has ended has said why; nothing is asked of it then.
    fn give(&self, sequence: u64, job: Job) {
        match &self.jobs {
            Jobs::Thread(jobs) => {
                let _ = jobs.as_ref().map(|jobs| jobs.send(job));
            }
            Jobs::Nobody(said) => {
                let _ = said.send(Ok(sequence));
            }
        }
    }
}

impl Drop for ChainDisk {
    fn drop(&mut self) {
        if let Jobs::Thread(jobs) = &mut self.jobs {
            *jobs = None;
        }
        if let Some(Err(_)) = self.worker.take().map(JoinHandle::join) {
            error!("the thread that writes to the chain's disk has panicked");
        }
    }
}

/// What is on the disk of a replica that does not run, and the number of its last life. Nothing is
/// changed.
///
/// # Errors
/// As [`ChainDisk::open`].
pub(super) fn look(
    data: &Path,
    (cluster, replica, chain): (Digest, ReplicaId, u32),
) -> Result<(Found, u64), DaemonError> {
    let path = data.join(format!("chain-{chain}"));
    if !path.is_dir() {
        let what = "is not there, though this replica has started here before";
        return Err(failed(&path, format!("{what}; put it back from a copy")));
    }
    let owner = chain_owner(cluster, replica, chain);
    let life = life::last(&path, owner)?;
    let remedy = "put it back from a copy";
    let secret = secret(&path.join(SECRET), owner, (true, remedy))?;
    let disk = RoundsDisk::open(&path);
    let disk = disk.map_err(|e| failed(&path, format!("cannot be read: {e}")))?;
    let keys = (owner, secret);
    let opened = Records::open_on(Overlay::new(disk), path, keys, records::LIMITS, true)?;
    Ok((opened.1, life))
}

fn open_records(path: &Path, owner: Digest, must: bool) -> Result<(Records, Found), DaemonError> {
    let made = files::create_directories(path);
    made.map_err(|e| failed(path, format!("{e}; {WRITABLE}")))?;
    let cannot = |e: String| failed(path, format!("cannot be read: {e}; {WRITABLE}"));
    let mut disk = Directory::open(path).map_err(|e| cannot(e.to_string()))?;
    let names = disk.list().map_err(|e| cannot(e.to_string()))?;
    let has_log = names.iter().any(|name| records::is_log(name));
    let remedy = format!("put it back from a copy, or {REMEDY}");
    let secret = secret(&path.join(SECRET), owner, (has_log, &remedy))?;
    Records::open_on(disk, path.to_owned(), (owner, secret), records::LIMITS, must)
}

// What is not continued would be believed later.
fn refuse_log(path: &Path) -> Result<(), DaemonError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(path, format!("cannot be read: {e}; {WRITABLE}"))),
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed(path, format!("cannot be read: {e}; {WRITABLE}")))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| records::is_log(n) || records::is_state(n)) {
            let what = "holds a chain's log, which would become outdated, since the cluster file \
                        asks for no durability; set durability = \"reply\", or move this \
                        directory away";
            return Err(failed(path, what.to_owned()));
        }
    }
    Ok(())
}

fn failed(path: &Path, reason: String) -> DaemonError {
    DaemonError::Data { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests;
