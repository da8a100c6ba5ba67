//! Putting a new file in its place whole, or not at all.

use super::disk::{Disk, DiskError, Point};
use super::segment::temporary;

/// The names of the steps.
#[derive(Debug)]
pub(super) struct Points {
    create: Point,
    write: Point,
    sync: Point,
    rename: Point,
    names: Point,
}

pub(super) const SEGMENT: Points = Points {
    create: Point::SegmentCreate,
    write: Point::SegmentHeaderWrite,
    sync: Point::SegmentHeaderSync,
    rename: Point::SegmentRename,
    names: Point::SegmentNamesSync,
};

pub(super) const RENEW: Points = Points {
    create: Point::RenewCreate,
    write: Point::RenewWrite,
    sync: Point::RenewSync,
    rename: Point::RenewRename,
    names: Point::RenewNamesSync,
};

pub(super) const REPAIR: Points = Points {
    create: Point::RepairCreate,
    write: Point::RepairWrite,
    sync: Point::RepairSync,
    rename: Point::RepairRename,
    names: Point::RepairNamesSync,
};

pub(super) const SNAPSHOT: Points = Points {
    create: Point::SnapshotCreate,
    write: Point::SnapshotWrite,
    sync: Point::SnapshotSync,
    rename: Point::SnapshotRename,
    names: Point::SnapshotNamesSync,
};

/// A file that is being written under a temporary name.
#[derive(Debug)]
pub(super) struct Placing {
    points: &'static Points,
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
        points: &'static Points,
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
