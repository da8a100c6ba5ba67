//! Snapshots: whole states, one file each, named by the position or round that they are of.

use super::disk::{Disk, DiskError, Point};
use super::place::{Placing, SNAPSHOT};
use super::segment::{intended, with_checksum};
use super::window::Window;
use crate::crypto::{Domain, Hasher};
use crate::types::Digest;
use crate::wire::{Reader, Writer};
use std::collections::{BTreeMap, BTreeSet};

const FORMAT: &[u8; 8] = b"QUORSNAP";
const VERSION: u32 = 1;
/// Bytes before the first chunk.
const HEADER: usize = 56;
/// Bytes of a chunk before its content.
const HEAD: usize = 8;
/// Bytes behind the last chunk.
const FOOTER: usize = 56;
/// So many bytes are made durable at a time.
const SYNC_EVERY: usize = 4 << 20;

/// What was saved, or read to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of all chunks.
    pub length: u64,
    /// The digest of all chunks' bytes, one after the other.
    pub digest: Digest,
}

/// What there is to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The newest snapshot that is whole, if there is one.
    pub whole: Option<(u64, Saved)>,
    /// What is wrong with the newer ones, newest first.
    pub damaged: Vec<SnapshotError>,
}

/// One that is being written, in steps.
pub struct Unfinished {
    placing: Placing,
    at: u64,
    /// Chunks so far, and their bytes.
    number: u64,
    length: u64,
    /// Bytes of the file since its last sync.
    unsynced: usize,
    hasher: Hasher,
}

impl std::fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Unfinished");
        f.field("at", &self.at).field("length", &self.length).finish_non_exhaustive()
    }
}

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The disk is full. What was written is removed.
    #[error("no space left for a snapshot")]
    NoSpace,
    /// It is not there.
    #[error("there is no snapshot of {0}")]
    NotFound(u64),
    /// A chunk is empty or longer than the limit.
    #[error("a chunk of {0} bytes, from 1 to the limit are allowed")]
    Chunk(usize),
    /// It is damaged: an older one must do.
    #[error("{file}, byte {offset}: {what}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It belongs to another cluster or replica.
    #[error("{file} belongs to another replica ({owner}): give this one its own directory")]
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        owner: Digest,
    },
    /// It is of a version that this program does not know.
    #[error("{file} has version {version} of its format: use the program that wrote it")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The disk failed.
    #[error("{file}: {error}")]
    Disk {
        /// The file, or what was done.
        file: String,
        /// Why.
        error: DiskError,
    },
}

/// The snapshots of one replica. They may share the directory with its log.
#[derive(Debug)]
pub struct Snapshots {
    owner: Digest,
    chunk_bytes: usize,
    /// Whether each is known to be damaged.
    all: BTreeMap<u64, bool>,
}

impl Snapshots {
    /// Looks which there are and removes unfinished ones. Chunks are at most `chunk_bytes` long.
    /// What the files hold is not looked at yet.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn open(
        disk: &mut impl Disk,
        owner: Digest,
        chunk_bytes: usize,
    ) -> Result<Self, SnapshotError> {
        let names = disk.list().map_err(|e| failed("the directory", e))?;
        let is_ours = |file: &str| place_of(file).is_some();
        for file in names.iter().filter(|file| intended(file).is_some_and(is_ours)) {
            disk.remove(Point::SnapshotLeftoverRemove, file).map_err(|e| failed(file, e))?;
        }
        // A crash may have come between a name and its being durable; what is found here is
        // relied on from now on.
        let synced = disk.sync_names(Point::SnapshotFoundNamesSync);
        synced.map_err(|e| failed("the directory", e))?;
        let all = names.iter().filter_map(|file| Some((place_of(file)?, false))).collect();
        Ok(Self { owner, chunk_bytes, all })
    }

    /// Those that there are, newest first, without those that are known to be damaged.
    pub fn list(&self) -> Vec<u64> {
        self.all.iter().rev().filter(|(_, is_damaged)| !**is_damaged).map(|(at, _)| *at).collect()
    }

    /// Writes one, in the place of any that there is of `at`. When this has returned it is durable.
    ///
    /// # Errors
    /// As [`Snapshots::add`] and [`Snapshots::finish`]. There is no new one then, or a whole one.
    pub fn save<C: AsRef<[u8]>>(
        &mut self,
        disk: &mut impl Disk,
        at: u64,
        chunks: impl IntoIterator<Item = C>,
    ) -> Result<Saved, SnapshotError> {
        let mut unfinished = self.begin(disk, at)?;
        for chunk in chunks {
            unfinished = self.add(disk, unfinished, chunk.as_ref())?;
        }
        self.finish(disk, unfinished)
    }

    /// Begins to write one. What was begun and is not finished is removed at the next start.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn begin(&mut self, disk: &mut impl Disk, at: u64) -> Result<Unfinished, SnapshotError> {
        let file = name(at);
        let placing = match Placing::begin(disk, &SNAPSHOT, file.clone()) {
            Ok(placing) => placing,
            Err(DiskError::NoSpace) => return Err(SnapshotError::NoSpace),
            Err(e) => return Err(failed(&file, e)),
        };
        let hasher = Hasher::new(Domain::Snapshot);
        let new = Unfinished { placing, at, number: 0, length: 0, unsynced: 0, hasher };
        self.write(disk, new, &header(&self.owner, at))
    }

    /// Writes its next chunk, and now and then makes what there is durable: so that no sync takes
    /// long, not even the last one.
    ///
    /// # Errors
    /// If the chunk is empty or too long, if the disk is full or fails; then what was written is
    /// removed. A disk on which a sync failed should not be trusted further.
    pub fn add(
        &mut self,
        disk: &mut impl Disk,
        mut to: Unfinished,
        chunk: &[u8],
    ) -> Result<Unfinished, SnapshotError> {
        if chunk.is_empty() || chunk.len() > self.chunk_bytes {
            return Err(self.give_up(disk, to, SnapshotError::Chunk(chunk.len())));
        }
        to.hasher.put(chunk);
        let mut w = Writer::with_capacity(HEAD + chunk.len());
        w.count(chunk.len()).u32(checksum((to.at, to.number), chunk)).raw(chunk);
        to.length += chunk.len() as u64;
        to.number += 1;
        to = self.write(disk, to, &w.into_bytes())?;
        if to.unsynced >= SYNC_EVERY {
            let file = name(to.at);
            to.placing.sync(disk).map_err(|e| failed(&file, e))?;
            to.unsynced = 0;
        }
        Ok(to)
    }

    /// Ends it and gives it its name. When this has returned it is durable, in the place of any
    /// that there was of the same position.
    ///
    /// # Errors
    /// If the disk is full or fails. There is no new one then, or a whole one.
    pub fn finish(&mut self, disk: &mut impl Disk, to: Unfinished) -> Result<Saved, SnapshotError> {
        let saved = Saved { length: to.length, digest: to.hasher.clone().finish() };
        let (at, end) = (to.at, footer(to.at, to.number, &saved));
        let to = self.write(disk, to, &end)?;
        to.placing.finish(disk).map_err(|e| failed(&name(at), e))?;
        self.all.insert(at, false);
        Ok(saved)
    }

    fn write(
        &self,
        disk: &mut impl Disk,
        mut to: Unfinished,
        bytes: &[u8],
    ) -> Result<Unfinished, SnapshotError> {
        match to.placing.write(disk, bytes) {
            Ok(()) => {
                to.unsynced += bytes.len();
                Ok(to)
            }
            Err(DiskError::NoSpace) => Err(self.give_up(disk, to, SnapshotError::NoSpace)),
            Err(e) => {
                let error = failed(&name(to.at), e);
                Err(self.give_up(disk, to, error))
            }
        }
    }

    // Removes what was written; that this fails is the worse error.
    fn give_up(&self, disk: &mut impl Disk, to: Unfinished, error: SnapshotError) -> SnapshotError {
        let removed = to.placing.give_up(disk, Point::SnapshotGiveUp);
        removed.map_or_else(|e| failed(&name(to.at), e), |()| error)
    }

    /// Begins to read one.
    ///
    /// # Errors
    /// If there is none, if its header is damaged or of somebody else, if the disk fails.
    pub fn read(&mut self, disk: &mut impl Disk, at: u64) -> Result<SnapshotReader, SnapshotError> {
        let reader = SnapshotReader::open(disk, self.owner, self.chunk_bytes, at);
        self.note(at, reader)
    }

    /// Reads the newest that is whole to its end, to be sure, and tells which newer ones are not.
    ///
    /// # Errors
    /// If one belongs to somebody else or is of an unknown version; if the disk fails.
    pub fn newest(&mut self, disk: &mut impl Disk) -> Result<Newest, SnapshotError> {
        let mut damaged = Vec::new();
        for at in self.list() {
            match self.check(disk, at) {
                Ok(saved) => return Ok(Newest { whole: Some((at, saved)), damaged }),
                Err(e @ SnapshotError::Damaged { .. }) => damaged.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok(Newest { whole: None, damaged })
    }

    /// Reads one to its end.
    ///
    /// # Errors
    /// If it is damaged: it is not among [`Snapshots::list`] any more then. As [`Snapshots::read`].
    pub fn check(&mut self, disk: &mut impl Disk, at: u64) -> Result<Saved, SnapshotError> {
        let mut reader = self.read(disk, at)?;
        loop {
            let next = reader.next(disk);
            if self.note(at, next)?.is_none()
                && let Some(saved) = reader.saved
            {
                return Ok(saved);
            }
        }
    }

    /// Keeps the newest `n` that are not known to be damaged, and removes all others.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&mut self, disk: &mut impl Disk, n: usize) -> Result<(), SnapshotError> {
        let kept: BTreeSet<u64> = self.list().into_iter().take(n).collect();
        self.remove(disk, |at| !kept.contains(&at))
    }

    /// Removes those of later positions, whatever state they are in.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn drop_after(&mut self, disk: &mut impl Disk, last: u64) -> Result<(), SnapshotError> {
        self.remove(disk, |at| at > last)
    }

    fn remove(
        &mut self,
        disk: &mut impl Disk,
        which: impl Fn(u64) -> bool,
    ) -> Result<(), SnapshotError> {
        let gone: Vec<u64> = self.all.keys().copied().filter(|at| which(*at)).collect();
        for at in &gone {
            let file = name(*at);
            let removed = disk.remove(Point::SnapshotRetainRemove, &file);
            removed.map_err(|e| failed(&file, e))?;
            self.all.remove(at);
        }
        if gone.is_empty() {
            return Ok(());
        }
        let synced = disk.sync_names(Point::SnapshotRetainNamesSync);
        synced.map_err(|e| failed("the directory", e))
    }

    // Remembers which are damaged.
    fn note<R>(&mut self, at: u64, result: Result<R, SnapshotError>) -> Result<R, SnapshotError> {
        if matches!(result, Err(SnapshotError::Damaged { .. })) {
            self.all.insert(at, true);
        }
        result
    }
}

/// Reads a snapshot chunk by chunk.
pub struct SnapshotReader {
    window: Window,
    chunk_bytes: usize,
    at: u64,
    offset: u64,
    number: u64,
    length: u64,
    hasher: Hasher,
    saved: Option<Saved>,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("SnapshotReader");
        f.field("at", &self.at).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl SnapshotReader {
    fn open(
        disk: &mut impl Disk,
        owner: Digest,
        chunk_bytes: usize,
        at: u64,
    ) -> Result<Self, SnapshotError> {
        let file = name(at);
        let mut window = Window::open(disk, &file).map_err(|e| match e {
            DiskError::NotFound => SnapshotError::NotFound(at),
            e => failed(&file, e),
        })?;
        let bytes = window.view(disk, 0, HEADER).map_err(|e| failed(&file, e))?;
        let Some((version, its_owner)) = read_header(bytes, at) else {
            let what = "the header is broken";
            return Err(SnapshotError::Damaged { file, offset: 0, what });
        };
        if version != VERSION {
            return Err(SnapshotError::Version { file, version });
        }
        if its_owner != owner {
            return Err(SnapshotError::Foreign { file, owner: its_owner });
        }
        let (offset, hasher) = (HEADER as u64, Hasher::new(Domain::Snapshot));
        Ok(Self { window, chunk_bytes, at, offset, number: 0, length: 0, hasher, saved: None })
    }

    /// The next chunk; `None` at the end. Only then is it known that the snapshot is whole, so
    /// nothing may be done with the chunks before that could not be undone.
    ///
    /// # Errors
    /// If it is damaged, also by missing its end, or if the disk fails.
    pub fn next(&mut self, disk: &mut impl Disk) -> Result<Option<Vec<u8>>, SnapshotError> {
        if self.saved.is_some() {
            return Ok(None);
        }
        let file = name(self.at);
        let offset = self.offset;
        // Of a chunk its head first: most are far shorter than the longest that is allowed.
        let head = self.window.view(disk, offset, FOOTER).map_err(|e| failed(&file, e))?;
        let length = Reader::new(head).u32("length").unwrap_or(0) as usize;
        let want = FOOTER.max(HEAD + length.min(self.chunk_bytes));
        let bytes = self.window.view(disk, offset, want).map_err(|e| failed(&file, e))?;
        let damaged = |what| SnapshotError::Damaged { file: file.clone(), offset, what };
        let mut r = Reader::new(bytes);
        let length = r.u32("length").map_err(|_| damaged("it ends too early"))? as usize;
        if length == 0 {
            let saved = Saved { length: self.length, digest: self.hasher.clone().finish() };
            let expected = footer(self.at, self.number, &saved);
            if bytes.get(..FOOTER) != Some(&expected[..]) {
                return Err(damaged("the end does not fit what is before it"));
            }
            if self.window.length() != offset + FOOTER as u64 {
                return Err(damaged("something is behind its end"));
            }
            self.saved = Some(saved);
            return Ok(None);
        }
        if length > self.chunk_bytes {
            return Err(damaged("a chunk is too long"));
        }
        let expected = r.u32("checksum").map_err(|_| damaged("it ends too early"))?;
        let Some(chunk) = bytes.get(HEAD..HEAD + length) else {
            return Err(damaged("it ends too early"));
        };
        if checksum((self.at, self.number), chunk) != expected {
            return Err(damaged("a chunk is broken"));
        }
        let chunk = chunk.to_vec();
        self.hasher.put(&chunk);
        self.offset += (HEAD + length) as u64;
        (self.number, self.length) = (self.number + 1, self.length + length as u64);
        Ok(Some(chunk))
    }

    /// Bytes of the whole file: a little more than its chunks have.
    pub fn file_bytes(&self) -> u64 {
        self.window.length()
    }

    /// How much there was and its digest; `None` before the end was reached.
    pub fn saved(&self) -> Option<Saved> {
        self.saved
    }
}

fn name(at: u64) -> String {
    format!("snap-{at:020}.snap")
}

fn place_of(file: &str) -> Option<u64> {
    let at = file.strip_prefix("snap-")?.strip_suffix(".snap")?.parse().ok()?;
    (name(at) == file).then_some(at)
}

fn header(owner: &Digest, at: u64) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(FORMAT).u32(VERSION).digest(owner).u64(at);
    with_checksum(w.into_bytes())
}

fn read_header(bytes: &[u8], at: u64) -> Option<(u32, Digest)> {
    let mut r = Reader::new(bytes.get(..HEADER)?);
    let is_ours = r.raw(FORMAT.len(), "format").ok()? == FORMAT;
    let (version, owner) = (r.u32("version").ok()?, r.digest("owner").ok()?);
    let is_its = r.u64("position").ok()? == at;
    let covered = crc32c::crc32c(r.since(0));
    let whole = r.u32("checksum").ok()? == covered;
    (is_ours && is_its && whole).then_some((version, owner))
}

fn footer(at: u64, chunks: u64, saved: &Saved) -> Vec<u8> {
    let mut w = Writer::new();
    w.u32(0).u64(chunks).u64(saved.length).digest(&saved.digest);
    let mut bytes = w.into_bytes();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&at.to_le_bytes()), &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

// The checksum of a chunk, which also covers its place.
fn checksum((at, number): (u64, u64), chunk: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&at.to_le_bytes()), &number.to_le_bytes());
    crc32c::crc32c_append(place, chunk)
}

fn failed(file: &str, error: DiskError) -> SnapshotError {
    SnapshotError::Disk { file: file.to_owned(), error }
}
