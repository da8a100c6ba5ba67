//! Putting back what a log has lost, from logs of other replicas.

use crate::storage::{
    Disk, DiskError, Entry, Lack, Limits, Log, LogError, Loss, Options, Row, SLACK, Sightings, keep,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of entries that are looked for at one place, in files of the log.
const MOST_FILES: u64 = 4;
/// At least as many bytes as stand before an entry.
const ENTRY_REST: u64 = 64;
/// How often all that is left is tried again because something was mended. Of a file of nothing but
/// damage each time some more places are told apart.
const PASSES: usize = 64;
/// Good records before a loss that are taken for stale if nothing fits behind them.
const STALE: u64 = 4;

/// The log of another replica, which is only read. It may be damaged elsewhere, and may lie.
#[derive(Debug)]
pub struct Donor<D> {
    name: String,
    disk: D,
    log: Log,
}

impl<D: Disk> Donor<D> {
    /// Opens the log, by its own secret. Give it an [`crate::storage::Overlay`]: opening a log
    /// writes.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open(name: String, mut disk: D, options: Options) -> Result<Self, RepairError> {
        match Log::open(&mut disk, options, &mut |_| {}) {
            Ok((log, _)) => Ok(Self { name, disk, log }),
            Err(error) => Err(RepairError::Donor { name, error }),
        }
    }

    fn failed(&self, error: LogError) -> RepairError {
        RepairError::Donor { name: self.name.clone(), error }
    }
}

/// What becomes of the files that are repaired.
#[derive(Clone, Debug)]
pub enum Keep {
    /// They are replaced: for a disk in memory.
    Nothing,
    /// Each gets a second name before anything is done, and these do at once.
    All(BTreeSet<String>),
}

/// Why a loss was not mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It reaches the end of the log: nothing says how much was there, nor what.
    End,
    /// Nothing says what the chain's value is before or behind it.
    Unanchored,
    /// It is longer than is looked for.
    TooMuch,
    /// No other log has what was lost: each with the reason, in the order of the donors.
    Nowhere(Vec<(String, Lack)>),
    /// What was lost was found and could not be put back.
    Refused(LogError),
}

/// A place of the log that was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What was lost.
    pub loss: Loss,
    /// Whose entries were put back, none if the damage took no entry; or why it is as it was.
    pub result: Result<Vec<String>, Left>,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The damaged places: those that were mended as they were, then those that are left.
    pub places: Vec<Place>,
    /// Files that were written anew.
    pub files: BTreeSet<String>,
    /// The names under which damaged files are kept.
    pub kept: Vec<String>,
}

impl Repaired {
    /// Whether nothing is damaged any more.
    pub fn is_whole(&self) -> bool {
        self.places.iter().all(|place| place.result.is_ok())
    }

    /// How many places were mended.
    pub fn mended(&self) -> usize {
        self.places.iter().filter(|place| place.result.is_ok()).count()
    }
}

/// Why nothing can be said about a repair, or it was not finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// The log itself cannot be opened or read, or cannot be written any more.
    #[error("{0}")]
    Log(#[from] LogError),
    /// Another log cannot be opened or read.
    #[error("{name}: {error}")]
    Donor {
        /// Whose.
        name: String,
        /// Why.
        error: LogError,
    },
    /// A damaged file cannot get a second name.
    #[error(
        "{file} cannot be kept under a second name ({error}), so it was not repaired; copy the \
         whole data directory to a file system that has hard links, and repair the copy"
    )]
    Keep {
        /// The file.
        file: String,
        /// Why.
        error: DiskError,
    },
}

/// Opens the log on this disk and puts back all that the donors have of what it has lost. Nothing
/// is believed of them: only what leads from the chain's value before a damaged place to that
/// behind it is taken. Each file is written anew and put in the place of the damaged one when it is
/// durable, so a crash at any moment leaves each file as it was, or mended.
///
/// # Errors
/// If a log cannot be opened or read, or this one cannot be written: what was mended by then stays.
pub fn repair<D: Disk, E: Disk>(
    disk: &mut D,
    options: Options,
    donors: &mut [Donor<E>],
    files: &Keep,
) -> Result<Repaired, RepairError> {
    let mut shelf = Shelf { keeps: matches!(files, Keep::All(_)), of: BTreeMap::new() };
    if let Keep::All(files) = files {
        // Before the log is opened, which writes its last file anew.
        files.iter().try_for_each(|file| shelf.put(disk, file))?;
    }
    let most = most(&options.limits);
    let (mut log, _) = Log::open(disk, options, &mut |_| {})?;
    let mut done = Repaired { places: Vec::new(), files: BTreeSet::new(), kept: Vec::new() };
    for _ in 0..PASSES {
        let (mended, left) = pass(disk, (&mut log, donors), (&mut shelf, &mut done.files), most)?;
        let is_over = mended.is_empty() || left.is_empty();
        done.places.extend(mended);
        if is_over {
            done.places.extend(left);
            break;
        }
    }
    done.kept = shelf.of.into_values().collect();
    Ok(done)
}

// Bytes of a row that are read at most: a loss of some files, and the largest entries beside it.
fn most(limits: &Limits) -> u64 {
    let beside = 2 * SLACK * (limits.record_bytes as u64).saturating_add(ENTRY_REST);
    limits.segment_bytes.saturating_mul(MOST_FILES).saturating_add(beside)
}

/// The second names of files.
struct Shelf {
    keeps: bool,
    of: BTreeMap<String, String>,
}

impl Shelf {
    fn put(&mut self, disk: &mut impl Disk, file: &str) -> Result<(), RepairError> {
        if !self.keeps || self.of.contains_key(file) {
            return Ok(());
        }
        let kept = keep(disk, file);
        let kept = kept.map_err(|error| RepairError::Keep { file: file.to_owned(), error })?;
        self.of.insert(file.to_owned(), kept);
        Ok(())
    }
}

// Tries all that is lost once: what was mended, and what is left.
fn pass<D: Disk, E: Disk>(
    disk: &mut D,
    (log, donors): (&mut Log, &mut [Donor<E>]),
    (shelf, files): (&mut Shelf, &mut BTreeSet<String>),
    most: u64,
) -> Result<(Vec<Place>, Vec<Place>), RepairError> {
    let (mut mended, mut left) = (Vec::new(), Vec::new());
    let losses = log.losses();
    let sought: Vec<Loss> = losses.iter().filter(|l| hopeless(l).is_none()).cloned().collect();
    let marks = log.landmarks(disk, &sought)?;
    let mut seen = Vec::new();
    for donor in donors.iter_mut().filter(|_| sought.iter().any(|l| l.count() != Some(0))) {
        let sightings = donor.log.sightings(&mut donor.disk, &marks);
        seen.push(sightings.map_err(|e| donor.failed(e))?);
    }
    for loss in losses {
        let result = match (hopeless(&loss), loss.count()) {
            (Some(why), _) => Err(why),
            (None, Some(0)) => {
                put_back(disk, log, (shelf, files), (&loss, &[]))?.map(|()| Vec::new())
            }
            _ => match look_for(disk, (log, donors), (&loss, &seen), most)? {
                Err(why) => Err(why),
                Ok((loss, hit)) => {
                    let entries = hit.row.find(&loss, hit.slack).unwrap_or_default();
                    put_back(disk, log, (shelf, files), (&loss, &entries))?.map(|()| hit.from)
                }
            },
        };
        match result.is_ok() {
            true => mended.push(Place { loss, result }),
            false => left.push(Place { loss, result }),
        }
    }
    Ok((mended, left))
}

// Mends a loss with what was found.
fn put_back<D: Disk>(
    disk: &mut D,
    log: &mut Log,
    (shelf, files): (&mut Shelf, &mut BTreeSet<String>),
    (loss, entries): (&Loss, &[Entry<'_>]),
) -> Result<Result<(), Left>, RepairError> {
    let of_loss = log.files_of(loss);
    of_loss.iter().try_for_each(|file| shelf.put(disk, file))?;
    match log.mend(disk, loss, entries) {
        Ok(()) => files.extend(of_loss),
        Err(e @ LogError::Dead(_)) => return Err(e.into()),
        Err(e) => return Ok(Err(Left::Refused(e))),
    }
    Ok(Ok(()))
}

// Looks for a loss, and if nobody has it, for one that begins earlier. Gives that which was found.
fn look_for<D: Disk, E: Disk>(
    disk: &mut D,
    (log, donors): (&mut Log, &mut [Donor<E>]),
    (loss, seen): (&Loss, &[Sightings]),
    most: u64,
) -> Result<Result<(Loss, Hit), Left>, RepairError> {
    let why = match search(loss, donors, seen, most)? {
        Ok(hit) => return Ok(Ok((loss.clone(), hit))),
        Err(why) => why,
    };
    for by in 1..=STALE {
        let Some(wide) = log.widened(disk, loss, by)? else { break };
        if let Ok(hit) = search(&wide, donors, seen, most)? {
            return Ok(Ok((wide, hit)));
        }
    }
    Ok(Err(why))
}

// Why nothing that is found could be known to be right.
fn hopeless(loss: &Loss) -> Option<Left> {
    match (loss.next, loss.before, loss.after) {
        (None, _, _) => Some(Left::End),
        (_, Some(_), Some(_)) => None,
        _ => Some(Left::Unanchored),
    }
}

/// Entries that fit.
struct Hit {
    /// Whose.
    from: Vec<String>,
    /// The row that has them, and how far beside the likely place they may stand in it.
    row: Row,
    slack: u64,
}

// Looks for a loss in all logs, where it should be and beside, and then for two logs that have a
// part of it each.
fn search<E: Disk>(
    loss: &Loss,
    donors: &mut [Donor<E>],
    seen: &[Sightings],
    most: u64,
) -> Result<Result<Hit, Left>, RepairError> {
    let mut partial: Vec<(String, Row)> = Vec::new();
    let (mut lacks, mut too_much) = (Vec::new(), false);
    for (donor, sightings) in donors.iter_mut().zip(seen) {
        let mut lack = Lack::Absent;
        for (shift, nth) in sightings.shifts(loss).into_iter().zip(0..) {
            let row = donor.log.row(&mut donor.disk, loss, (shift, most));
            let Some(row) = row.map_err(|e| donor.failed(e))? else {
                too_much = true;
                continue;
            };
            for slack in [0, SLACK] {
                if row.find(loss, slack).is_some() {
                    let from = vec![donor.name.clone()];
                    return Ok(Ok(Hit { from, row, slack }));
                }
            }
            // What the likeliest place lacks is the reason.
            lack = if nth == 0 { row.lack() } else { lack };
            if row.has_holes() {
                partial.push((donor.name.clone(), row));
            }
        }
        lacks.push((donor.name.clone(), lack));
    }
    for (name, row) in &partial {
        for (other, second) in partial.iter().filter(|(other, _)| other != name) {
            let both = row.filled_from(second);
            if both.find(loss, 0).is_some() {
                let from = vec![name.clone(), other.clone()];
                return Ok(Ok(Hit { from, row: both, slack: 0 }));
            }
        }
    }
    Ok(Err(if too_much { Left::TooMuch } else { Left::Nowhere(lacks) }))
}

#[cfg(test)]
mod tests;
