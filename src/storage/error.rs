//! Why a log does not do what it was asked.

use super::{DiskError, Position};
use crate::types::Digest;

/// Why a log does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk is full, or so full that only records may be written that may use the reserve.
    /// The log is as it was before and can be used.
    #[error("no space left: free some; the log goes on then")]
    NoSpace,
    /// A write or sync failed, so that nothing can be said about what is durable. The log refuses
    /// everything from then on: it must be opened anew.
    #[error("the log failed and must be opened anew: {0}")]
    Dead(String),
    /// The disk failed while the log was opened or read.
    #[error("{file}: {error}")]
    Disk {
        /// The file, or what was done.
        file: String,
        /// Why.
        error: DiskError,
    },
    /// Limits that cannot be kept.
    #[error("{0}")]
    Limits(&'static str),
    /// The file belongs to another cluster or replica.
    #[error("{file} belongs to another replica ({owner}): give this one its own")]
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        owner: Digest,
    },
    /// The file is of a version that this program does not know.
    #[error("{file} has version {version} of its format: use the program that wrote it")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The log should hold records, but there is no file of it.
    #[error("the log is missing: it is known to have reached record {}", .0.0)]
    Missing(Position),
    /// A record is longer than the limit, or the records of one group fill more than a segment.
    #[error("{bytes} bytes are too many, {limit} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Kind 0 is the log's own.
    #[error("a record cannot have kind 0")]
    Kind,
    /// The end of the log is damaged: it must be repaired before anything can be appended.
    #[error("the end of the log is damaged from record {} on: repair it first", .0.0)]
    DamagedEnd(Position),
    /// Records for a repair that do not chain to what is behind them, or too many or too few.
    #[error("these records do not fit between those before and behind them")]
    DoesNotFit,
    /// A repair of a range that does not begin or end at a record that is known, that lies in
    /// several files, or that leaves a part of a damaged place.
    #[error("this range cannot be repaired alone: cover each damaged place in one file wholly")]
    Range,
    /// A repair where the chain's value before or behind the range is not known: the damage beside
    /// it must be repaired first.
    #[error("what is beside this range is damaged, too: repair that first")]
    Unanchored,
}
