//! Putting a new file in its place whole, or not at all.

use super::disk::{Disk, DiskError, Point};
use super::segment::temporary;

/// The names of the steps in which a file is put in its place.
#[derive(Debug)]
pub struct Steps {
    create: Point,
    write: Point,
    sync: Point,
    rename: Point,
    names: Point,
}

pub(super) const SEGMENT: Steps = Steps {
    create: Point::SegmentCreate,
    write: Point::SegmentHeaderWrite,
    sync: Point::SegmentHeaderSync,
    rename: Point::SegmentRename,
    names: Point::SegmentNamesSync,
};

pub(super) const RENEW: Steps = Steps {
    create: Point::RenewCreate,
    write: Point::RenewWrite,
    sync: Point::RenewSync,
    rename: Point::RenewRename,
    names: Point::RenewNamesSync,
};

pub(super) const REPAIR: Steps = Steps {
    create: Point::RepairCreate,
    write: Point::RepairWrite,
    sync: Point::RepairSync,
    rename: Point::RepairRename,
    names: Point::RepairNamesSync,
};

pub(super) const SNAPSHOT: Steps = Steps {
    create: Point::SnapshotCreate,
    write: Point::SnapshotWrite,
    sync: Point::SnapshotSync,
    rename: Point::SnapshotRename,
    names: Point::SnapshotNamesSync,
};

/// Those of the file with records of epochs.
pub const EPOCHS: Steps = Steps {
    create: Point::EpochsCreate,
    write: Point::EpochsWrite,
    sync: Point::EpochsSync,
    rename: Point::EpochsRename,
    names: Point::EpochsNamesSync,
};

/// Those of the mark that counts a replica's starts.
pub const START: Steps = Steps {
    create: Point::StartCreate,
    write: Point::StartWrite,
    sync: Point::StartSync,
    rename: Point::StartRename,
    names: Point::StartNamesSync,
};

/// Puts a small file in the place of any that has its name, so that a reader finds the old one
/// or the new one, whole, also after a power cut. When this has returned the new one is durable.
/// What an earlier call left unfinished is removed at the point `leftover`.
///
/// # Errors
/// If the disk does not do it: if it is full, what was written is there under another name and
/// the old file is unchanged.
pub fn replace(
    disk: &mut impl Disk,
    (steps, leftover): (&'static Steps, Point),
    file: &str,
    bytes: &[u8],
) -> Result<(), DiskError> {
    match disk.remove(leftover, &temporary(file)) {
        Ok(()) | Err(DiskError::NotFound) => {}
        Err(e) => return Err(e),
    }
    let placing = Placing::begin(disk, steps, file.to_owned())?;
    placing.write(disk, bytes)?;
    placing.finish(disk)
}

/// All bytes of a file. It must fit into memory.
///
/// # Errors
/// If there is no such file or it cannot be read.
pub fn read_whole(disk: &mut impl Disk, file: &str) -> Result<Vec<u8>, DiskError> {
    let length = usize::try_from(disk.length(file)?).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let enough = bytes.try_reserve_exact(length);
    enough.map_err(|_| DiskError::Failed(format!("{length} bytes do not fit into memory")))?;
    bytes.resize(length, 0);
    let mut at = 0;
    while at < length {
        match disk.read_at(file, at as u64, &mut bytes[at..])? {
            0 => break,
            n => at += n,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// A file that is being written under a temporary name.
#[derive(Debug)]
pub(super) struct Placing {
    points: &'static Steps,
    file: String,
    temporary: String,
}

impl Placing {
    /// Makes the file, under a temporary name that no file has.
    ///
    /// # Errors
    /// If the disk does not do it.
    pub(super) fn begin(
        disk: &mut impl Disk,
        points: &'static Steps,
        file: String,
    ) -> Result<Self, DiskError> {
        let temporary = temporary(&file);
        disk.create(points.create, &temporary)?;
        Ok(Self { points, file, temporary })
    }

    /// Writes more of it.
    ///
    /// # Errors
    /// If the disk does not do it.
    pub(super) fn write(&self, disk: &mut impl Disk, bytes: &[u8]) -> Result<(), DiskError> {
        disk.append(self.points.write, &self.temporary, bytes)
    }

    /// Makes what was written so far durable.
    ///
    /// # Errors
    /// If the disk does not do it.
    pub(super) fn sync(&self, disk: &mut impl Disk) -> Result<(), DiskError> {
        disk.sync(self.points.sync, &self.temporary).map_err(failed)
    }

    /// Gives it its name, in the place of any file that has it, when its content is durable, and
    /// makes the name durable.
    ///
    /// # Errors
    /// If the disk does not do it. Whether it has its name is not known then. A disk that says
    /// only here that there is no space has lost what it had taken: that is no full disk but a
    /// failed one.
    pub(super) fn finish(self, disk: &mut impl Disk) -> Result<(), DiskError> {
        let sync = disk.sync(self.points.sync, &self.temporary);
        sync.map_err(failed)?;
        disk.rename(self.points.rename, &self.temporary, &self.file).map_err(failed)?;
        disk.sync_names(self.points.names).map_err(failed)
    }

    /// Removes what was written.
    ///
    /// # Errors
    /// If the disk does not do it.
    pub(super) fn give_up(self, disk: &mut impl Disk, point: Point) -> Result<(), DiskError> {
        disk.remove(point, &self.temporary)
    }
}

// Whatever it is, it is more than a lack of space.
fn failed(error: DiskError) -> DiskError {
    match error {
        DiskError::NoSpace => DiskError::Failed("no space left for what was written".to_owned()),
        other => other,
    }
}
