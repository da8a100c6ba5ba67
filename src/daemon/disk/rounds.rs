//! The log of rounds and the snapshots of the state, in `rounds/` below the data directory.
//!
//! The first chunk of a snapshot has the position in the log from which to go on, 8 bytes with the
//! lowest first, and then the head. The other chunks are the state, in slices.

use super::directory::Directory;
use super::secret::{GO_ON_WITHOUT, SECRET, owner, secret};
use super::{DaemonError, WRITABLE};
use crate::files;
use crate::replica::Stored;
use crate::storage::{
    Cursor, Disk, DiskError, Entry, Found, Limits, Log, LogError, Options, Position, SnapshotError,
    Snapshots, Space, Step,
};
use crate::types::plant::planted;
use crate::types::{Digest, ReplicaId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The directory of the log and the snapshots.
pub(in crate::daemon) const DIRECTORY: &str = "rounds";
const MIB: usize = 1 << 20;
/// Bytes of the state in one chunk of a snapshot.
pub(in crate::daemon) const SLICE: usize = MIB / 4;
/// Bytes before the head in the first chunk.
const POSITION: usize = 8;
/// At least as many bytes as stand before the payload of a record.
const RECORD_HEAD: u64 = 64;
/// At least as many bytes as a file of the log has beside records, a mark included.
const FILE_REST: u64 = 256;
/// Snapshots that are kept if nothing else is said: the second is for when the newest is damaged.
const KEPT: usize = 2;
const PROGRESS: Duration = Duration::from_secs(1);

/// The open log with its snapshots.
#[derive(Debug)]
pub(in crate::daemon) struct Rounds<D = Directory> {
    pub(in crate::daemon) place: Place,
    pub(in crate::daemon) disk: D,
    pub(in crate::daemon) log: Log,
    pub(in crate::daemon) snapshots: Snapshots,
    /// For each snapshot, the position in the log from which it goes on.
    pub(in crate::daemon) firsts: BTreeMap<u64, u64>,
    /// The position from which the newest one goes on. The log must reach it.
    pub(in crate::daemon) needed: u64,
    limits: Limits,
    /// How many snapshots are kept.
    pub(in crate::daemon) kept: usize,
    /// What all records are, if their first byte does not say it.
    kind: Option<u8>,
    is_new: bool,
}

/// What the log and the snapshots hold when a replica starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct FoundRounds {
    /// Head and state of the newest snapshot that is whole, if there is one.
    pub(in crate::daemon) snapshot: Option<(Bytes, Bytes)>,
    /// The position from which to go on: that of the first of `entries`, if there are any.
    pub(in crate::daemon) first: u64,
    /// All that was logged from there on, up to the first damage.
    pub(in crate::daemon) entries: Vec<Bytes>,
    /// The position that the next entry gets. It is behind `entries` if some are lost.
    pub(in crate::daemon) next: u64,
    /// What is lost, in words for people. As long as the lost entries are at the end of the log,
    /// nothing can be appended: a state of `next` or later must be saved first.
    pub(in crate::daemon) damage: Option<String>,
}

impl From<FoundRounds> for Stored {
    fn from(found: FoundRounds) -> Self {
        let FoundRounds { snapshot, first, entries: log, next, damage } = found;
        Self { snapshot, first, log, next, damage }
    }
}

/// Where the files are, for errors.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Place(PathBuf);

impl Place {
    pub(in crate::daemon) fn failed(&self, reason: impl std::fmt::Display) -> DaemonError {
        DaemonError::Data { path: self.0.clone(), reason: reason.to_string() }
    }

    // An error of the log. Most name their file and remedy.
    pub(in crate::daemon) fn log(&self, error: LogError) -> DaemonError {
        match error {
            LogError::NoSpace => self.failed(format!("no space left; {WRITABLE}")),
            LogError::Dead(_) | LogError::Disk { .. } => {
                self.failed(format!("{error}; {WRITABLE}"))
            }
            LogError::DamagedEnd(_) => self.failed(format!(
                "{error}; a replica whose log is damaged takes the state of the others first"
            )),
            error => self.failed(error),
        }
    }

    pub(in crate::daemon) fn snapshot(&self, error: SnapshotError) -> DaemonError {
        match error {
            SnapshotError::Disk { .. } => self.failed(format!("{error}; {WRITABLE}")),
            error => self.failed(error),
        }
    }
}

/// A snapshot that was read.
struct Read {
    round: u64,
    first: u64,
    head: Bytes,
    state: Bytes,
}

impl Rounds {
    /// Opens the log and the snapshots below this data directory, or begins them. `members` is how
    /// many replicas the cluster has.
    ///
    /// # Errors
    /// If they belong to another replica, if the secret is missing, if the disk fails or is full.
    pub(in crate::daemon) fn open(
        directory: &Path,
        cluster: Digest,
        replica: ReplicaId,
        members: usize,
    ) -> Result<(Rounds, FoundRounds), DaemonError> {
        let path = directory.join(DIRECTORY);
        let place = Place(path.clone());
        let made = files::create_directories(&path);
        made.map_err(|e| place.failed(format!("{e}; {WRITABLE}")))?;
        let cannot = |e: String| place.failed(format!("cannot be read: {e}; {WRITABLE}"));
        let mut disk = Directory::open(&path).map_err(|e| cannot(e.to_string()))?;
        let names = disk.list().map_err(|e| cannot(e.to_string()))?;
        let is_log = |name: &String| name.starts_with("log-") && name.ends_with(".seg");
        let owner = owner(cluster, replica);
        let has_log = names.iter().any(is_log);
        let secret = secret(&path.join(SECRET), owner, (has_log, GO_ON_WITHOUT))?;
        Self::open_on(disk, path, (owner, secret), limits(members))
    }
}

impl<D: Disk> Rounds<D> {
    /// As [`Rounds::open`], on any disk; `path` is for people.
    pub(in crate::daemon) fn open_on(
        mut disk: D,
        path: PathBuf,
        (owner, secret): (Digest, Digest),
        limits: Limits,
    ) -> Result<(Self, FoundRounds), DaemonError> {
        let place = Place(path);
        let mut pace = Pace::new();
        // A head can be as long as an entry.
        let chunk = POSITION + limits.record_bytes.max(SLICE);
        let snapshots = Snapshots::open(&mut disk, owner, chunk);
        let mut snapshots = snapshots.map_err(|e| place.snapshot(e))?;
        let newest = newest(&mut disk, &mut snapshots, &place)?;
        let firsts = firsts(&mut disk, &mut snapshots, newest.as_ref(), &place)?;
        let needed = newest.as_ref().map_or(0, |newest| newest.first);
        let (first, known) = (Position(needed), Position(0));
        let options = Options { owner, secret, first, known, limits };
        let names = disk.list().map_err(|e| place.failed(format!("{e}; {WRITABLE}")))?;
        let is_new = newest.is_none() && !names.iter().any(|name| name.starts_with("log-"));
        let opened = Log::open(&mut disk, options, &mut |progress| {
            let (files, of, bytes) = (progress.files, progress.of, progress.bytes);
            pace.say(|| info!(files, of, bytes, "checking the log of rounds"));
        });
        let (log, found) = opened.map_err(|e| place.log(e))?;
        let kind = None;
        let mut rounds =
            Self { place, disk, log, snapshots, firsts, needed, limits, kept: KEPT, kind, is_new };
        let (entries, damage) = rounds.read(&found, newest.is_some(), &mut pace)?;
        rounds.tell(newest.as_ref().map(|n| n.round), entries.len(), &found, damage.as_deref());
        let (first, next) = (needed, found.next.0.max(needed));
        let snapshot = newest.map(|newest| (newest.head, newest.state));
        Ok((rounds, FoundRounds { snapshot, first, entries, next, damage }))
    }

    /// There was neither a log nor a snapshot though there must have been, as `what` says: the log
    /// begins behind its first place, so that this is known at every start until a snapshot is
    /// saved.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub(in crate::daemon) fn lose(
        &mut self,
        found: &mut FoundRounds,
        what: &str,
    ) -> Result<(), DaemonError> {
        let begun = self.log.start_over(&mut self.disk, Position(1));
        begun.map_err(|e| self.place.log(e))?;
        found.next = 1;
        found.damage = Some(format!("{}: {what}", self.place.0.display()));
        Ok(())
    }

    /// The position that the next entry gets.
    pub(in crate::daemon) fn next(&self) -> u64 {
        self.log.next().0
    }

    /// Whether there was neither a log nor a snapshot.
    pub(in crate::daemon) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where its files are.
    pub(in crate::daemon) fn path(&self) -> &Path {
        &self.place.0
    }

    /// An error about this directory.
    pub(in crate::daemon) fn failed(&self, error: LogError) -> DaemonError {
        self.place.log(error)
    }

    /// An error about it, with these words.
    pub(in crate::daemon) fn about(&self, reason: String) -> DaemonError {
        self.place.failed(reason)
    }

    /// Appends entries, in as many groups as it takes, and counts in `done` how many are in the
    /// log: after [`LogError::NoSpace`] call it again with the same entries and `done` as it is.
    /// They are durable when [`Rounds::sync`] has returned.
    ///
    /// # Errors
    /// If one is empty, has 0 as its first byte (unless all are of one kind) or is too long: then
    /// none is appended. If the end
    /// of the log is damaged, if the disk is full or fails.
    pub(in crate::daemon) fn append(
        &mut self,
        entries: &[Bytes],
        done: &mut usize,
    ) -> Result<(), LogError> {
        if self.must_start_over(self.needed) {
            return Err(LogError::DamagedEnd(self.log.next()));
        }
        let limit = self.limits.record_bytes;
        let entry = |bytes: &'_ Bytes| match self.kind.or(bytes.first().copied()) {
            None | Some(0) => Err(LogError::Kind),
            Some(_) if bytes.len() > limit => Err(LogError::TooLong { bytes: bytes.len(), limit }),
            Some(kind) => Ok(kind),
        };
        let kinds = entries.iter().map(entry).collect::<Result<Vec<u8>, LogError>>()?;
        let room = self.limits.segment_bytes.saturating_sub(FILE_REST);
        while *done < entries.len() {
            let (mut group, mut bytes) = (Vec::new(), 0);
            for (payload, kind) in entries.iter().zip(&kinds).skip(*done) {
                bytes += payload.len() as u64 + RECORD_HEAD;
                if bytes > room && !group.is_empty() {
                    break;
                }
                group.push(Entry { kind: *kind, payload });
            }
            self.log.append(&mut self.disk, &group, Space::Ordinary)?;
            *done += group.len();
        }
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// If the disk fails: nothing may be written there any more.
    pub(in crate::daemon) fn sync(&mut self) -> Result<(), LogError> {
        if planted("s7-rounds-unsynced") {
            return Ok(());
        }
        self.log.sync(&mut self.disk).map(|_| ())
    }

    /// Writes down up to where the log is durable: for when nothing is to be appended for a while.
    ///
    /// # Errors
    /// As [`Rounds::append`].
    pub(in crate::daemon) fn mark(&mut self) -> Result<(), LogError> {
        self.log.mark(&mut self.disk)
    }

    /// Keeps so many snapshots from now on, at least one.
    pub(in crate::daemon) fn keep(&mut self, snapshots: usize) {
        self.kept = snapshots.max(1);
    }

    /// From now on all entries are of this kind, which is not 0, whatever their first bytes are.
    pub(in crate::daemon) fn all_of_kind(&mut self, kind: u8) {
        self.kind = Some(kind);
    }

    /// The state that was found was to stand in place of all that was logged before it, and the log
    /// was not begun anew behind it when the process ended: does that now.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub(in crate::daemon) fn finish_save(
        &mut self,
        found: &mut FoundRounds,
    ) -> Result<(), DaemonError> {
        let retained = self.snapshots.retain(&mut self.disk, 1);
        retained.map_err(|e| self.place.snapshot(e))?;
        self.firsts.retain(|_, first| *first == self.needed);
        if self.log.next().0 < self.needed {
            let begun = self.log.start_over(&mut self.disk, Position(self.needed));
            begun.map_err(|e| self.place.log(e))?;
            *found = FoundRounds { next: self.needed, damage: None, ..found.clone() };
        }
        Ok(())
    }

    /// Whether nothing can be appended behind `first` before the log is begun anew there.
    pub(in crate::daemon) fn must_start_over(&self, first: u64) -> bool {
        self.log.chain().is_none() || self.log.next().0 < first
    }

    // The entries from the needed position up to the first damage, and what is damaged.
    fn read(
        &mut self,
        found: &Found,
        has_state: bool,
        pace: &mut Pace,
    ) -> Result<(Vec<Bytes>, Option<String>), DaemonError> {
        let (needed, begins, ends) = (self.needed, self.log.first().0, self.log.next().0);
        let place = self.place.clone();
        let told = |what: String| Some(format!("{}: {what}", place.0.display()));
        if begins > needed {
            let state =
                if has_state { "the snapshot goes on from" } else { "no snapshot, so from" };
            let what = format!("the log begins at entry {begins}, but is needed from {needed} on");
            return Ok((Vec::new(), told(format!("{what} ({state} entry {needed})"))));
        }
        let (mut cursor, mut entries) = (Cursor::new(Position(needed)), Vec::new());
        loop {
            match self.log.read(&mut self.disk, &mut cursor) {
                Ok(Step::Record(stored)) => entries.push(Bytes::from(stored.payload)),
                Ok(Step::Damaged(damage)) => return Ok((entries, told(damage.to_string()))),
                Ok(Step::Dropped(_) | Step::End) => break,
                Err(e) => return Err(place.log(e)),
            }
            let read = entries.len();
            pace.say(|| info!(entries = read, of = found.records, "reading the log of rounds"));
        }
        // The cursor tells nothing of damage that began before the place where it did.
        if self.log.chain().is_none() {
            let last = self.log.damages().pop().map(|damage| damage.to_string());
            return Ok((entries, told(last.unwrap_or("the end is damaged".to_owned()))));
        }
        if ends < needed {
            let what = format!("the log ends at entry {ends}, before entry {needed}");
            return Ok((entries, told(format!("{what}, from which the snapshot goes on"))));
        }
        Ok((entries, None))
    }

    // One line about what was found.
    fn tell(&self, round: Option<u64>, entries: usize, found: &Found, damage: Option<&str>) {
        let path = self.place.0.display();
        let cut = found.cut.as_ref();
        info!(
            %path, snapshot = round, entries, records = found.records, bytes = found.bytes,
            cut_file = cut.map(|cut| &*cut.file), cut_at = cut.map(|cut| cut.offset),
            cut_bytes = cut.map_or(0, |cut| cut.bytes), "read the log of rounds"
        );
        if let Some(damage) = damage {
            warn!(damage, "entries of the log of rounds are lost");
        } else if !found.damages.is_empty() {
            let damages = found.damages.len();
            warn!(%path, damages, "the log of rounds is damaged where it is not needed any more");
        }
    }
}

/// How large things get where so many replicas propose.
pub(in crate::daemon) fn limits(members: usize) -> Limits {
    let record_bytes = members.saturating_add(1).saturating_mul(MIB);
    let segment_bytes = (record_bytes as u64).saturating_mul(2).max(32 * MIB as u64);
    Limits { segment_bytes, record_bytes, reserve_bytes: segment_bytes }
}

// The newest snapshot that is whole. Of each that is not, the log of the process tells.
fn newest<D: Disk>(
    disk: &mut D,
    snapshots: &mut Snapshots,
    place: &Place,
) -> Result<Option<Read>, DaemonError> {
    for round in snapshots.list() {
        let damage = match read(disk, snapshots, round) {
            Ok(Some(read)) => return Ok(Some(read)),
            Ok(None) => return Err(place.failed(strange(round))),
            Err(e @ SnapshotError::Damaged { .. }) => e,
            Err(e) => return Err(place.snapshot(e)),
        };
        let path = place.0.display();
        warn!(%path, %damage, "a snapshot is damaged; an older one has to do, if there is one");
        // So that it is known to be.
        match snapshots.check(disk, round) {
            Err(SnapshotError::Damaged { .. }) => {}
            Err(e) => return Err(place.snapshot(e)),
            Ok(_) => {
                let error = DiskError::Failed("it reads differently each time".to_owned());
                let file = format!("the snapshot of {round}");
                return Err(place.snapshot(SnapshotError::Disk { file, error }));
            }
        }
    }
    Ok(None)
}

fn strange(round: u64) -> String {
    format!("the snapshot of {round} holds no position: use the program that wrote it")
}

fn read<D: Disk>(
    disk: &mut D,
    snapshots: &mut Snapshots,
    round: u64,
) -> Result<Option<Read>, SnapshotError> {
    let mut reader = snapshots.read(disk, round)?;
    // The file is there: it is as long as it says.
    let length = usize::try_from(reader.file_bytes()).unwrap_or(0);
    let (mut lead, mut state) = (None, Vec::with_capacity(length));
    while let Some(chunk) = reader.next(disk)? {
        match lead {
            None => lead = Some(Bytes::from(chunk)),
            Some(_) => state.extend_from_slice(&chunk),
        }
    }
    let Some((first, head)) = lead.and_then(position) else { return Ok(None) };
    Ok(Some(Read { round, first, head, state: Bytes::from(state) }))
}

// From where the other snapshots go on. Those that are not even so far whole do not count.
fn firsts<D: Disk>(
    disk: &mut D,
    snapshots: &mut Snapshots,
    newest: Option<&Read>,
    place: &Place,
) -> Result<BTreeMap<u64, u64>, DaemonError> {
    let mut firsts: BTreeMap<u64, u64> = newest.map(|n| (n.round, n.first)).into_iter().collect();
    for round in snapshots.list() {
        if firsts.contains_key(&round) {
            continue;
        }
        let lead = snapshots.read(disk, round).and_then(|mut reader| reader.next(disk));
        match lead {
            Ok(lead) => {
                let lead = lead.and_then(|lead| position(Bytes::from(lead)));
                let (first, _) = lead.ok_or_else(|| place.failed(strange(round)))?;
                firsts.insert(round, first);
            }
            Err(damage @ SnapshotError::Damaged { .. }) => {
                let path = place.0.display();
                warn!(%path, %damage, "an older snapshot is damaged");
                // Whatever this says: it is among those that are whole, or not.
                match snapshots.check(disk, round) {
                    Err(SnapshotError::Damaged { .. }) | Ok(_) => {}
                    Err(e) => return Err(place.snapshot(e)),
                }
            }
            Err(e) => return Err(place.snapshot(e)),
        }
    }
    Ok(firsts)
}

// The position and the head in the first chunk.
fn position(mut lead: Bytes) -> Option<(u64, Bytes)> {
    let first = u64::from_le_bytes(*lead.first_chunk()?);
    let head = lead.split_off(POSITION);
    Some((first, head))
}

/// Lets something be said now and then.
struct Pace(Instant);

impl Pace {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn say(&mut self, what: impl FnOnce()) {
        if self.0.elapsed() >= PROGRESS {
            what();
            self.0 = Instant::now();
        }
    }
}
