//! One file of the log: its name, its header, and where in it what is good stands.

use super::Position;
use super::damage::{Damage, What};
use crate::types::Digest;
use crate::wire::{Reader, Writer};

/// Bytes of the header: the first record begins there.
pub(super) const HEADER: u64 = 96;
const FORMAT: &[u8; 8] = b"QUORLOG\0";
/// The version of the format. Files of others are refused.
pub(super) const VERSION: u32 = 1;
const SUFFIX: &str = ".new";

/// The name of the segment that begins at this position.
pub(super) fn name(first: Position) -> String {
    format!("log-{:020}.seg", first.0)
}

/// The position at which a segment of this name begins; `None` if it is no segment's name.
pub(super) fn first_of(file: &str) -> Option<Position> {
    let digits = file.strip_prefix("log-")?.strip_suffix(".seg")?;
    let first = Position(digits.parse().ok()?);
    // Positions that the arithmetic here could not follow were never written.
    (first.0 < u64::MAX / 4 && name(first) == file).then_some(first)
}

/// The name that a file has until it is whole.
pub(super) fn temporary(file: &str) -> String {
    format!("{file}{SUFFIX}")
}

/// The name that a file is to get when it is whole; `None` if it has it.
pub(super) fn intended(file: &str) -> Option<&str> {
    file.strip_suffix(SUFFIX)
}

/// These bytes with their checksum behind them, as headers of files end.
pub(super) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) owner: Digest,
    pub(super) first: Position,
    /// All records before this position were durable when the file got its name.
    pub(super) durable: Position,
    /// The chain's value before the first record.
    pub(super) chain: Digest,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(FORMAT).u32(self.version).digest(&self.owner);
        w.u64(self.first.0).u64(self.durable.0).digest(&self.chain);
        with_checksum(w.into_bytes())
    }

    /// The header in these bytes; `None` if they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Header> {
        let mut r = Reader::new(bytes.get(..HEADER as usize)?);
        if r.raw(FORMAT.len(), "format").ok()? != FORMAT {
            return None;
        }
        let version = r.u32("version").ok()?;
        let owner = r.digest("owner").ok()?;
        let first = Position(r.u64("first").ok()?);
        let durable = Position(r.u64("durable").ok()?);
        let chain = r.digest("chain").ok()?;
        let covered = crc32c::crc32c(r.since(0));
        let whole = r.u32("checksum").ok()? == covered && durable.0 < u64::MAX / 2;
        whole.then_some(Header { version, owner, first, durable, chain })
    }
}

/// Good records that follow each other in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Position,
    pub(super) next: Position,
    /// Where the first begins in the file, in bytes.
    pub(super) from: u64,
    /// Where the last ends.
    pub(super) to: u64,
    /// The chain's values before the first and after the last.
    pub(super) before: Digest,
    pub(super) after: Digest,
}

/// A damaged place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) first: Position,
    /// `None` if nothing follows it in the log.
    pub(super) next: Option<Position>,
    pub(super) what: What,
    /// Whether a write that was never finished can have left all of it.
    pub(super) unfinished: bool,
}

/// What is known about one file of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first: Position,
    /// `None` if it is damaged.
    pub(super) header: Option<Header>,
    pub(super) runs: Vec<Run>,
    pub(super) gaps: Vec<Gap>,
    /// The length of the file, in bytes.
    pub(super) length: u64,
    /// The largest position before which anything in this file says that all was durable.
    pub(super) durable: Position,
    /// Marks in it.
    pub(super) marks: u64,
}

impl Segment {
    /// A segment without records, as it is after it was made.
    pub(super) fn empty(header: Header) -> Self {
        let (first, at) = (header.first, HEADER);
        let run =
            Run { first, next: first, from: at, to: at, before: header.chain, after: header.chain };
        let (runs, gaps) = (vec![run], Vec::new());
        let durable = header.durable;
        Self { first, header: Some(header), runs, gaps, length: at, durable, marks: 0 }
    }

    pub(super) fn file(&self) -> String {
        name(self.first)
    }

    /// The position behind its last good record, and the chain's value there; `None` if its end is
    /// damaged.
    pub(super) fn end(&self) -> Option<(Position, Digest)> {
        let run = self.runs.last()?;
        let damaged = self.gaps.last().is_some_and(|gap| gap.to > run.to || gap.next.is_none());
        (!damaged || self.only_trailing()).then_some((run.next, run.after))
    }

    /// The position behind everything that is known of it.
    pub(super) fn reach(&self) -> Position {
        let run = self.runs.last().map_or(self.first, |run| run.next);
        let gap = self.gaps.last().map_or(self.first, |gap| gap.next.unwrap_or(gap.first));
        run.max(gap)
    }

    /// The chain's value before its first record, as far as the file itself tells.
    pub(super) fn chain(&self) -> Option<Digest> {
        let run = self.runs.first().filter(|run| run.first == self.first);
        self.header.map(|header| header.chain).or(run.map(|run| run.before))
    }

    pub(super) fn records(&self) -> u64 {
        self.runs.iter().map(|run| run.next.0 - run.first.0).sum()
    }

    /// The run that holds this position.
    pub(super) fn run_of(&self, position: Position) -> Option<&Run> {
        self.runs.iter().find(|run| run.first <= position && position < run.next)
    }

    pub(super) fn damages(&self) -> impl Iterator<Item = Damage> {
        let header = self.header.is_none().then(|| Damage {
            file: self.file(),
            offset: 0,
            first: self.first,
            next: Some(self.first),
            what: What::Header,
        });
        let gaps = self.gaps.iter().map(|gap| Damage {
            file: self.file(),
            offset: gap.from,
            first: gap.first,
            next: gap.next,
            what: gap.what,
        });
        header.into_iter().chain(gaps)
    }

    /// Adds a damaged place, which lies behind all that are known.
    pub(super) fn add_gap(&mut self, gap: Gap) {
        let continues = |last: &&mut Gap| last.to == gap.from && last.next == Some(gap.first);
        match self.gaps.last_mut().filter(continues) {
            // What was thought good between them was not.
            Some(last) => {
                last.unfinished &= gap.unfinished;
                (last.to, last.next) = (gap.to, gap.next);
            }
            None => self.gaps.push(gap),
        }
    }

    /// Stops believing its last run. `next` is the position of what follows in the log.
    pub(super) fn disbelieve_last(&mut self, next: Option<Position>) {
        if let Some(run) = self.runs.pop() {
            self.add_gap(Gap {
                from: run.from,
                to: run.to,
                first: run.first,
                next,
                what: What::Chain,
                unfinished: false,
            });
        }
    }

    fn only_trailing(&self) -> bool {
        let run_next = self.runs.last().map(|run| run.next);
        self.gaps.last().is_some_and(|gap| gap.what == What::Trailing && gap.next == run_next)
    }

    /// Says what the chain's value before its first record is, where the file itself does not.
    pub(super) fn begin_at(&mut self, chain: Digest) {
        let first = self.first;
        let (from, before) = (HEADER, chain);
        self.runs.insert(0, Run { first, next: first, from, to: from, before, after: before });
    }
}
