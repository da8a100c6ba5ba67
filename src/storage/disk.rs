//! What the log and the snapshots need of a disk: named files in one flat directory.

use std::fmt;

/// A directory of files, called synchronously.
///
/// Nothing is durable before it was synced: content by [`Disk::sync`], and that a file has its
/// name (or has lost it) by [`Disk::sync_names`]. Every call that changes something says at which
/// [`Point`] it is made, so that a fake disk can fail or stop there.
pub trait Disk {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    fn list(&mut self) -> Result<Vec<String>, DiskError>;

    /// The length of a file, in bytes.
    ///
    /// # Errors
    /// If there is no such file or it cannot be looked at.
    fn length(&mut self, file: &str) -> Result<u64, DiskError>;

    /// Reads from `offset`, in bytes, and says how many bytes it gave. It may give fewer than
    /// `into` holds at any time; it gives none only at or behind the end of the file.
    ///
    /// # Errors
    /// If there is no such file or it cannot be read there.
    fn read_at(&mut self, file: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// If there is such a file, if there is no space, or if the disk fails.
    fn create(&mut self, point: Point, file: &str) -> Result<(), DiskError>;

    /// Writes bytes at the end of a file: all of them, or it fails. A part of them may be in the
    /// file if it fails.
    ///
    /// # Errors
    /// If there is no such file, if there is no space, or if the disk fails.
    fn append(&mut self, point: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts a file down to `length` bytes.
    ///
    /// # Errors
    /// If there is no such file or the disk fails.
    fn truncate(&mut self, point: Point, file: &str, length: u64) -> Result<(), DiskError>;

    /// Returns when the content and the length of a file are durable.
    ///
    /// # Errors
    /// If the disk fails. What was written since the last sync may be lost then although it can
    /// still be read, and a further sync would not bring it back.
    fn sync(&mut self, point: Point, file: &str) -> Result<(), DiskError>;

    /// Gives a file another name; a file that had that name is gone. At no moment is there none.
    ///
    /// # Errors
    /// If there is no such file or the disk fails.
    fn rename(&mut self, point: Point, from: &str, to: &str) -> Result<(), DiskError>;

    /// Gives a file a second name, under which it stays when another takes its first.
    ///
    /// # Errors
    /// If there is no such file, if there is one with the second name, or if the disk fails or has
    /// no second names.
    fn link(&mut self, point: Point, file: &str, second: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// If there is no such file or the disk fails.
    fn remove(&mut self, point: Point, file: &str) -> Result<(), DiskError>;

    /// Returns when the names of all files are durable.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_names(&mut self, point: Point) -> Result<(), DiskError>;

    /// How many bytes can still be written.
    ///
    /// # Errors
    /// If the disk does not say.
    fn free_space(&mut self) -> Result<u64, DiskError>;
}

/// Why a disk did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no file of that name.
    #[error("no such file")]
    NotFound,
    /// The disk is full, or a quota is used up.
    #[error("no space left")]
    NoSpace,
    /// It failed; nothing is known about what was written.
    #[error("{0}")]
    Failed(String),
    /// A simulated process ends here: it must not do anything further.
    #[error("the process ends here")]
    Crashed,
}

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Every place in the code that changes something on the disk, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point { $($(#[$doc])* $name,)* }

        impl Point {
            /// All of them.
            pub const ALL: &[Point] = &[$(Point::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Point::$name => stringify!($name),)* }
            }
        }
    };
}

points! {
    /// A segment's last content becomes durable before the next one is begun.
    RollSync,
    /// A new segment is made, under a temporary name.
    SegmentCreate,
    /// Its header is written.
    SegmentHeaderWrite,
    /// Its header becomes durable.
    SegmentHeaderSync,
    /// It gets its name.
    SegmentRename,
    /// Its name becomes durable.
    SegmentNamesSync,
    /// A group of records is written.
    LogAppend,
    /// What was appended becomes durable.
    LogSync,
    /// It is noted up to where the log is durable.
    MarkAppend,
    /// What a full disk left of a group or mark is cut off.
    FailedAppendTruncate,
    /// That cut becomes durable.
    FailedAppendSync,
    /// What a full disk left of a new file is removed.
    FailedPlaceRemove,
    /// A segment that nobody needs is removed.
    DropRemove,
    /// Its removal becomes durable, before the next one is removed.
    DropNamesSync,
    /// At the start, a file under a temporary name is removed.
    LeftoverRemove,
    /// At the start, what is good in the last segment is written anew: the file is made,
    RenewCreate,
    /// written,
    RenewWrite,
    /// made durable,
    RenewSync,
    /// put in the old one's place,
    RenewRename,
    /// durably.
    RenewNamesSync,
    /// Before a repair, a damaged segment gets a second name, under which it is kept,
    KeepLink,
    /// durably.
    KeepNamesSync,
    /// A repaired segment is made,
    RepairCreate,
    /// written,
    RepairWrite,
    /// made durable,
    RepairSync,
    /// put in the damaged one's place,
    RepairRename,
    /// durably.
    RepairNamesSync,
    /// What a repair wrote is removed, since it does not fit.
    RepairGiveUp,
    /// A snapshot is made, under a temporary name,
    SnapshotCreate,
    /// written,
    SnapshotWrite,
    /// made durable,
    SnapshotSync,
    /// given its name,
    SnapshotRename,
    /// durably.
    SnapshotNamesSync,
    /// An unfinished snapshot is removed, after a failure.
    SnapshotGiveUp,
    /// At the start, an unfinished snapshot is removed.
    SnapshotLeftoverRemove,
    /// At the start, the names of those that were found become durable.
    SnapshotFoundNamesSync,
    /// A snapshot that nobody needs is removed.
    SnapshotRetainRemove,
    /// Its removal becomes durable.
    SnapshotRetainNamesSync,
    /// What an unfinished replacement of the records of epochs left is removed,
    EpochsLeftoverRemove,
    /// their file is made anew,
    EpochsCreate,
    /// written,
    EpochsWrite,
    /// made durable,
    EpochsSync,
    /// put in the old one's place,
    EpochsRename,
    /// durably.
    EpochsNamesSync,
    /// Records of epochs are appended,
    EpochsAppend,
    /// durably.
    EpochsAppendSync,
    /// What an unfinished replacement of the replica's mark left is removed,
    StartLeftoverRemove,
    /// its file is made anew,
    StartCreate,
    /// written,
    StartWrite,
    /// made durable,
    StartSync,
    /// put in the old one's place,
    StartRename,
    /// durably.
    StartNamesSync,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
