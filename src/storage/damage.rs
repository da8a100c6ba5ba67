//! What is found when a log is opened: damage, what was cut off, and how far it got.

use super::Position;
use std::fmt;

/// What is wrong with bytes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The file's header does not have its checksum, or is that of another file.
    Header,
    /// The file ends within a record.
    Short,
    /// The part of a record before its payload does not have its checksum.
    Head,
    /// A record's payload does not have its checksum.
    Payload,
    /// A whole record of another position stands there: its write was misdirected, or that of
    /// the record which belongs there was lost.
    Misplaced {
        /// The position that it has.
        is: Position,
    },
    /// Whole records at their positions that do not chain to those beside them: they are stale.
    Chain,
    /// Records that were there are not: a file is missing or too short.
    Missing,
    /// Bytes behind the last record that belongs into the file.
    Trailing,
    /// The disk does not give the bytes, not even when asked again.
    Unreadable,
}

impl What {
    // Whether a write that was never finished can look like this.
    pub(super) fn can_be_unfinished(self) -> bool {
        matches!(self, What::Short | What::Head | What::Payload)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            What::Header => "the header is broken",
            What::Short => "the file ends within a record",
            What::Head => "the head of a record is broken",
            What::Payload => "the payload of a record is broken",
            What::Misplaced { is } => return write!(f, "a record of another position: {}", is.0),
            What::Chain => "a stale record",
            What::Missing => "records are missing",
            What::Trailing => "bytes that belong to no record",
            What::Unreadable => "the disk does not give it",
        };
        f.write_str(text)
    }
}

/// A damaged place. Everything before and behind it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The first position that is lost.
    pub first: Position,
    /// The first position behind it that is not lost, `first` if none is lost (the file should be
    /// written anew nevertheless: [`super::Log::repair`] with no records). `None` if the damage
    /// reaches the end of the log: it is not known then how many records were there.
    pub next: Option<Position>,
    /// What is wrong where it begins.
    pub what: What,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, first, next, what } = self;
        write!(f, "{file}, byte {offset}: {what}; lost from record {} ", first.0)?;
        match next {
            Some(next) => write!(f, "up to, not including, {}", next.0),
            None => f.write_str("to the end"),
        }
    }
}

/// An unfinished write that was cut off. Nothing in it is known to have been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Where it was cut, in bytes: its length now.
    pub offset: u64,
    /// How much was cut off, in bytes.
    pub bytes: u64,
    /// The position of the first record that is gone.
    pub first: Position,
    /// How many whole records were behind the broken one. Of several writes that were not synced
    /// a disk may keep a later one without an earlier one.
    pub later: u64,
}

/// How far opening has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Files checked.
    pub files: u64,
    /// Files in all.
    pub of: u64,
    /// Bytes checked.
    pub bytes: u64,
}

/// What opening a log found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first position that the log holds.
    pub first: Position,
    /// The position that the next record gets. If the damage reaches the end this is the first
    /// position that is not known to have been durable.
    pub next: Position,
    /// Everything before this position was known durable by what was read.
    pub durable: Position,
    /// Whole records.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The unfinished write that was cut off, if there was one.
    pub cut: Option<Cut>,
    /// The damaged places, in order.
    pub damages: Vec<Damage>,
    /// Files under temporary names that were removed.
    pub leftovers: u64,
}
