//! What a replica keeps on its disk: a log that only grows, and snapshots. Both reach the disk
//! through the trait [`Disk`], so everything here is pure and is tested on [`MemoryDisk`], which
//! fails at every place and in every way that it is told to.
//!
//! # The log
//!
//! Records have positions without gaps. A log is a row of files, `log-%020d.seg`, each named by the
//! position of its first record. A file has a header of 96 bytes and then records, one behind the
//! other. Numbers have their lowest byte first.
//!
//! | header | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | `QUORLOG` and a zero |
//! | 8 | 4 | version of the format, 1 |
//! | 12 | 32 | owner: cluster and replica |
//! | 44 | 8 | position of the first record |
//! | 52 | 8 | all records before this position were durable when the file got its name |
//! | 60 | 32 | value of the chain before the first record |
//! | 92 | 4 | CRC-32C of all before |
//!
//! | record | bytes | |
//! | --- | --- | --- |
//! | 0 | 4 | CRC-32C of the secret and the next 57 bytes |
//! | 4 | 4 | length of the payload |
//! | 8 | 8 | position |
//! | 16 | 8 | the log was known durable before this position when the record was written |
//! | 24 | 1 | kind; 0 is a mark, which has no payload and takes no position |
//! | 25 | 32 | value of the chain before the record |
//! | 57 | 4 | CRC-32C of the secret and the payload |
//! | 61 | | payload |
//!
//! The chain begins with the SHA-256 of the owner and the first position; the value behind a
//! record is that of the value before it, its position, kind and payload ([`chain_after`]).
//!
//! What proves what:
//!
//! - A record's own bytes: its two checksums. The head has one of its own so that the place of
//!   the next record is known although the payload is broken.
//! - That it belongs where it stands: its position (a misdirected or lost write) and the chain (a
//!   stale one). A record whose successor contradicts it is not believed, nor are those before it
//!   back to the last damage or the header, since nothing says where the stale ones begin.
//! - That nobody made it up: the secret. When damage hides where a record begins, every byte is
//!   tried; without the secret a client could send payloads that look like records.
//! - That a file is whole: files get their names only when their first content is durable. And a
//!   file before another was durable before that one was made. So only the last one can end in an
//!   unfinished write.
//! - That something broken was once durable: the marks, in the header and in every record. What
//!   is broken before the largest mark is damage. Behind it, broken checksums at the end are an
//!   unfinished write and are cut off; anything that no unfinished write leaves is damage.
//!   The last group before a crash has no mark behind it unless [`Log::mark`] was called; whoever
//!   knows better says so in [`Options::known`].
//! - That what was read is durable: opening writes the last file anew, since after a kill it may
//!   only be in memory, and after a sync that failed no later one can be trusted.
//!
//! What is damaged can be put back from another replica's log: the chain's values on both sides
//! decide whether entries are the lost ones ([`Loss`]), and not who gives them.
//!
//! Nothing is ever overwritten in place: new, renewed and repaired files are written under another
//! name (`.new`), synced, renamed, and the names are synced. Only what a full disk left of an
//! append is truncated. Old files are removed oldest first, each durably before the next.
//!
//! Not found by the log alone: a last write that is wholly lost, or files that are missing at the
//! beginning ([`Found::first`] tells where it begins).
//!
//! # Snapshots
//!
//! A file `snap-%020d.snap` begins with `QUORSNAP`, the version (4 bytes), the owner (32), the
//! position (8) and the CRC-32C of these. Then come chunks: length (4), CRC-32C of position, number
//! and content, content. Then what is known only at the end: a zero (4), the number of chunks (8),
//! the bytes of all (8), their SHA-256 (32), and the CRC-32C of the position and these.

mod cursor;
mod damage;
mod disk;
mod donor;
mod error;
mod log;
mod loss;
mod memory;
mod overlay;
mod place;
mod record;
mod recover;
mod repair;
mod scan;
mod segment;
mod snapshots;
mod window;

pub use cursor::{Cursor, Step, Stored};
pub use damage::{Cut, Damage, Found, Progress, What};
pub use disk::{Disk, DiskError, Point};
pub use donor::{Lack, Landmarks, Row, SLACK, Sightings};
pub use error::LogError;
pub use log::{Entry, Limits, Log, Options, Space};
pub use loss::{Loss, keep};
pub use memory::{Crash, Dice, Faults, MemoryDisk, Moment, When};
pub use overlay::Overlay;
pub use place::{EPOCHS, START, Steps, read_whole, replace};
pub use record::chain_after;
pub use snapshots::{Newest, Saved, SnapshotError, SnapshotReader, Snapshots, Unfinished};

/// The place of a record in a log: the first has that at which the log was begun, and each the one
/// after that of the record before it. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Position {
        Position(self.0.saturating_add(1))
    }
}

fn disk_error(file: &str, error: DiskError) -> LogError {
    LogError::Disk { file: file.to_owned(), error }
}

#[cfg(test)]
mod tests;
