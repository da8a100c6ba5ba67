//! `epochs.log`: a file that only grows, of records that are durable together or not at all.
//!
//! It begins with 8 bytes that name the format. Then come frames, one for each append: the bytes
//! `QREC`, the length of the content and its CRC-32, both as 4 bytes with the lowest first, and
//! the content: for each record its length in 4 bytes and its bytes. The checksum also covers the
//! frame's place in the file, so that a frame at a wrong place is damage like any other.
//!
//! Each append is synced before the next begins. So a crash can leave one broken frame, and only
//! at the end; it was never acknowledged and is cut off. Anything else that is broken is damage.
//!
//! What is found at a start is written anew, durably, before anything of it is used: after a kill
//! it may only be in memory, and a power cut must not take from the next life what this one has
//! acted upon. The file is small: its length is bounded when the replica starts.

use super::DaemonError;
use super::directory::Directory;
use crate::storage::{Disk, DiskError, EPOCHS, Point, read_whole, replace};
use crate::types::plant::planted;
use bytes::{Buf, Bytes};
use std::path::{Path, PathBuf};
use tracing::{info, warn};

pub(super) const FILE: &str = "epochs.log";
const FORMAT: &[u8; 8] = b"QEPOCHS1";
const FRAME: &[u8; 4] = b"QREC";
/// Bytes of a frame before its content.
const HEADER: usize = 12;

const REMEDY: &str = crate::daemon::mark::GIVE_UP;

/// The open file; only appending is left to do.
#[derive(Debug)]
pub(super) struct Log<D = Directory> {
    path: PathBuf,
    disk: D,
    length: u64,
}

impl Log {
    /// Opens the log in a directory, or makes it where this must be its first start, and reads
    /// all records in order. A broken last frame is cut off.
    ///
    /// # Errors
    /// If it is damaged or cannot be read or written; if it is missing where it must be there.
    pub(super) fn open(directory: &Path, known: bool) -> Result<(Self, Vec<Bytes>), DaemonError> {
        let disk = Directory::open(directory).map_err(|e| DaemonError::Data {
            path: directory.to_owned(),
            reason: format!("cannot be read: {e}; {}", super::WRITABLE),
        })?;
        Self::open_on(disk.readable(), directory, known)
    }

    /// Reads all records in order, and changes nothing. A broken last frame is left out.
    ///
    /// # Errors
    /// If it is damaged, missing or cannot be read.
    pub(super) fn read(directory: &Path) -> Result<Vec<Bytes>, DaemonError> {
        let path = directory.join(FILE);
        let fail = |reason| DaemonError::Data { path: path.clone(), reason };
        let bytes = std::fs::read(&path);
        let bytes = bytes.map_err(|e| fail(format!("cannot be read: {e}; run it as who can")))?;
        let length = bytes.len();
        let parsed = parse(Bytes::from(bytes));
        let (records, _) = parsed.map_err(|at| {
            let what = "is damaged, so what this replica has promised is not known";
            fail(format!("{what} (at byte {at} of {length}); {REMEDY}"))
        })?;
        Ok(records)
    }

    /// A log that writes to the file of its name in this directory, whatever that is.
    #[cfg(test)]
    pub(super) fn to(directory: &Path) -> Self {
        let disk = Directory::open(directory).expect("a test's directory");
        Self { path: directory.join(FILE), disk, length: FORMAT.len() as u64 }
    }
}

impl<D: Disk> Log<D> {
    /// As [`Log::open`], on any disk; `directory` is for people.
    pub(super) fn open_on(
        mut disk: D,
        directory: &Path,
        known: bool,
    ) -> Result<(Self, Vec<Bytes>), DaemonError> {
        let path = directory.join(FILE);
        let fail = |reason| DaemonError::Data { path: path.clone(), reason };
        let bytes = match read_whole(&mut disk, FILE) {
            Ok(bytes) => bytes,
            Err(DiskError::NotFound) if known => {
                let what = "is missing, so what this replica has promised is not known";
                return Err(fail(format!("{what}; {REMEDY}")));
            }
            Err(DiskError::NotFound) => FORMAT.to_vec(),
            Err(e) => return Err(fail(format!("cannot be read: {e}; {}", super::WRITABLE))),
        };
        let length = bytes.len();
        let (records, good) = parse(Bytes::from(bytes.clone())).map_err(|at| {
            let what = "is damaged, so what this replica has promised is not known";
            fail(format!("{what} (at byte {at} of {length}); {REMEDY}"))
        })?;
        if good < length {
            let cut = length - good;
            warn!(path = %path.display(), bytes = cut, at = good, "cut off an unfinished write");
        }
        let mut log = Self { path, disk, length: 0 };
        if !planted("s7-epochs-not-renewed") || length == FORMAT.len() {
            log.renew(&bytes[..good])?;
        }
        log.length = good as u64;
        Ok((log, records))
    }

    // Puts these bytes in the file's place, durably.
    fn renew(&mut self, bytes: &[u8]) -> Result<(), DaemonError> {
        let steps = (&EPOCHS, Point::EpochsLeftoverRemove);
        let written = replace(&mut self.disk, steps, FILE, bytes);
        written.map_err(|e| self.unwritable(&e))?;
        self.length = bytes.len() as u64;
        Ok(())
    }

    fn unwritable(&self, error: &DiskError) -> DaemonError {
        self.failed(format!("cannot be written: {error}; {}", super::WRITABLE))
    }

    /// If the log is longer than `above`, keeps of these records, which are all that are in it,
    /// what `needed` says. Gives what is in it then.
    ///
    /// # Errors
    /// If it cannot be written; the old log is unchanged then.
    pub(super) fn shorten(
        &mut self,
        records: Vec<Bytes>,
        above: u64,
        needed: fn(&[Bytes]) -> Vec<Bytes>,
    ) -> Result<Vec<Bytes>, DaemonError> {
        if self.length <= above {
            return Ok(records);
        }
        let kept = needed(&records);
        if kept.len() == records.len() {
            return Ok(records);
        }
        let mut bytes = FORMAT.to_vec();
        for record in &kept {
            let frame = frame(bytes.len() as u64, std::slice::from_ref(record));
            bytes.extend(frame.map_err(|why| self.failed(why))?);
        }
        let from = self.length;
        self.renew(&bytes)?;
        info!(from, to = bytes.len(), "wrote the log anew without what is over");
        Ok(kept)
    }

    /// Appends records and syncs them.
    ///
    /// # Errors
    /// If that fails: nothing may be written with this log any more.
    pub(super) fn append(&mut self, records: &[Bytes]) -> Result<(), DaemonError> {
        let frame = frame(self.length, records).map_err(|why| self.failed(why))?;
        let written = self.disk.append(Point::EpochsAppend, FILE, &frame);
        let written = written.and_then(|()| match planted("s7-epochs-unsynced") {
            false => self.disk.sync(Point::EpochsAppendSync, FILE),
            true => Ok(()),
        });
        written.map_err(|e| self.unwritable(&e))?;
        self.length += frame.len() as u64;
        Ok(())
    }

    /// An error about this file.
    pub(super) fn failed(&self, reason: String) -> DaemonError {
        DaemonError::Data { path: self.path.clone(), reason }
    }
}

fn frame(place: u64, records: &[Bytes]) -> Result<Vec<u8>, String> {
    let too_long = |_| "cannot hold a record of 4 GiB".to_owned();
    let mut content = Vec::new();
    for record in records {
        let length = u32::try_from(record.len()).map_err(too_long)?;
        content.extend_from_slice(&length.to_le_bytes());
        content.extend_from_slice(record);
    }
    let length = u32::try_from(content.len()).map_err(too_long)?;
    let mut out = Vec::with_capacity(HEADER + content.len());
    out.extend_from_slice(FRAME);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(place, length, &content).to_le_bytes());
    out.extend_from_slice(&content);
    Ok(out)
}

fn checksum(place: u64, length: u32, content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&place.to_le_bytes());
    crc.update(&length.to_le_bytes());
    crc.update(content);
    crc.finalize()
}

/// All records and the length of what is whole; the place of the damage if there is any but a
/// broken last frame.
fn parse(bytes: Bytes) -> Result<(Vec<Bytes>, usize), usize> {
    if !bytes.starts_with(FORMAT) {
        return Err(0);
    }
    let (mut records, mut at) = (Vec::new(), FORMAT.len());
    while at < bytes.len() {
        let Some(content) = frame_at(&bytes, at) else {
            // The last append may be broken; one before the last was synced and is not.
            let later = (at + 1..bytes.len()).any(|place| frame_at(&bytes, place).is_some());
            return if later { Err(at) } else { Ok((records, at)) };
        };
        let mut rest = content.clone();
        while rest.has_remaining() {
            let length = rest.try_get_u32_le().ok().and_then(|l| usize::try_from(l).ok());
            let length = length.filter(|l| *l <= rest.len()).ok_or(at)?;
            records.push(rest.split_to(length));
        }
        at += HEADER + content.len();
    }
    Ok((records, at))
}

// The content of the whole and undamaged frame at this place.
fn frame_at(bytes: &Bytes, at: usize) -> Option<Bytes> {
    let (magic, rest) = bytes.get(at..)?.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    if magic != FRAME {
        return None;
    }
    let length = u32::from_le_bytes(*length);
    let content = rest.get(..usize::try_from(length).ok()?)?;
    let fits = checksum(at as u64, length, content) == u32::from_le_bytes(*crc);
    fits.then(|| bytes.slice_ref(content))
}
