//! Which of its lives a replica of a chain is in: a member of a chain is one life of a replica,
//! and the master takes the higher number for the later one.
//!
//! The file `life` has the number, 8 bytes with the lowest first, and a digest of it and of whose
//! it is.

use super::{REMEDY, failed};
use crate::crypto::{Domain, Hasher};
use crate::daemon::DaemonError;
use crate::daemon::disk::WRITABLE;
use crate::files;
use crate::types::Digest;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const FILE: &str = "life";

/// The file that says that the directory has all that its replica ever had
/// ([`crate::chain::Action::Begun`]), with whose it is.
const BEGUN: &str = "begun";

/// Whether that is noted here. A note that is damaged or another's is none.
pub(super) fn has_begun(directory: &Path, owner: Digest) -> bool {
    std::fs::read(directory.join(BEGUN)).is_ok_and(|bytes| bytes == owner.0)
}

/// Notes it, durably.
///
/// # Errors
/// What the system says.
pub(super) fn begun(directory: &Path, owner: Digest) -> Result<(), DaemonError> {
    let path = directory.join(BEGUN);
    let written = files::write_atomically(&path, &owner.0, 0o644);
    written.map_err(|e| failed(&path, format!("{e}; {WRITABLE}")))
}

/// The number of a new life, durable in this directory, which is made if need be. It `must` be
/// higher than one that is there.
///
/// # Errors
/// If the last one is missing and must be there, is damaged or another's, or cannot be read; if
/// the new one cannot be written.
pub(super) fn next(directory: &Path, owner: Digest, must: bool) -> Result<u64, DaemonError> {
    // A clock before 1970 says nothing.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    let life = after(read(directory, owner, must)?, wall);
    write(directory, owner, life)?;
    Ok(life)
}

/// The number of the last life.
///
/// # Errors
/// If it is missing, damaged or another's, or cannot be read.
pub(super) fn last(directory: &Path, owner: Digest) -> Result<u64, DaemonError> {
    Ok(read(directory, owner, true)?.expect("it must be there"))
}

/// One more than the last, or the wall clock in milliseconds: an earlier directory, which may be
/// lost, has none that is higher than the clock was then, if it was not started more than a
/// thousand times a second.
pub(super) fn after(last: Option<u64>, wall: u64) -> u64 {
    last.map_or(0, |last| last.saturating_add(1)).max(wall)
}

fn read(directory: &Path, owner: Digest, must: bool) -> Result<Option<u64>, DaemonError> {
    let path = directory.join(FILE);
    let refused = |what: &str| {
        let why = "so which life this is, is not known";
        failed(&path, format!("{what}, {why}; put it back from a copy, or {REMEDY}"))
    };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let number = bytes.first_chunk().map(|n| u64::from_le_bytes(*n));
            let good = number.filter(|n| bytes == encode(owner, *n));
            good.map(Some).ok_or_else(|| refused("is damaged or belongs to another replica"))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && must => {
            Err(refused("is missing, though the replica has started here before"))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(&path, format!("cannot be read: {e}; {WRITABLE}"))),
    }
}

/// Writes it, durably.
///
/// # Errors
/// What the system says.
pub(super) fn write(directory: &Path, owner: Digest, life: u64) -> Result<(), DaemonError> {
    let path = directory.join(FILE);
    let written = files::create_directories(directory)
        .and_then(|()| files::write_atomically(&path, &encode(owner, life), 0o644));
    written.map_err(|e| failed(&path, format!("{e}; {WRITABLE}")))
}

fn encode(owner: Digest, life: u64) -> Vec<u8> {
    let mut hasher = Hasher::new(Domain::Owner);
    hasher.put(&owner.0).put_u64(life).put(FILE.as_bytes());
    [&life.to_le_bytes()[..], &hasher.finish().0].concat()
}
