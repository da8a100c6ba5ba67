//! Examining one file of the log: which records in it are good, and where it is damaged.

use super::Position;
use super::damage::What;
use super::disk::{Disk, DiskError};
use super::record::{self, HEAD, Head, Seed};
use super::segment::{Gap, HEADER, Header, Run, Segment, name};
use super::window::Window;
use crate::types::Digest;

/// Damaged places that are told apart in one file. What follows the last is one more, so that
/// a file of nothing but damage cannot fill the memory.
const GAPS: usize = 64;

/// Examines the file that begins at `first`; `end` is where the next one begins. Records from
/// there on do not belong into this file.
///
/// # Errors
/// If the file is gone or the process ends.
pub(super) fn examine(
    disk: &mut impl Disk,
    (seed, limit): (Seed, usize),
    first: Position,
    end: Option<Position>,
) -> Result<Segment, DiskError> {
    let mut window = Window::open(disk, &name(first))?;
    let header = Header::decode(window.view(disk, 0, HEADER as usize)?);
    // A header of another file was misdirected; one of another owner is for the caller to judge.
    let header = header.filter(|header| header.first == first);
    let mut segment = match header {
        Some(header) => Segment::empty(header),
        None => Segment {
            first,
            header,
            runs: Vec::new(),
            gaps: Vec::new(),
            length: 0,
            durable: first,
            marks: 0,
        },
    };
    let run = segment.runs.pop();
    let chain = header.map(|header| header.chain);
    let scan = Scan { seed, limit, end, window, segment, run, at: HEADER, position: first, chain };
    scan.run(disk)
}

struct Scan {
    seed: Seed,
    limit: usize,
    end: Option<Position>,
    window: Window,
    segment: Segment,
    /// The run that may go on at `at`.
    run: Option<Run>,
    at: u64,
    /// Which record should stand at `at`, and the chain's value there if it is known.
    position: Position,
    chain: Option<Digest>,
}

type Frame = Result<(Head, Digest), What>;

impl Scan {
    fn run(mut self, disk: &mut impl Disk) -> Result<Segment, DiskError> {
        while self.at < self.window.length() {
            let frame = self.frame(disk, self.at, self.position)?;
            let is_mark = frame.is_ok_and(|(head, _)| head.kind == record::MARK);
            if self.end == Some(self.position) && !is_mark {
                // Bytes behind the last record that belongs here.
                self.gap(self.window.length(), self.end, What::Trailing, false);
                break;
            }
            match frame {
                Ok((head, after)) if self.chain.is_none_or(|chain| chain == head.chain) => {
                    self.take(&head, after);
                }
                Ok((head, after)) => self.contradiction(disk, &head, after)?,
                Err(what) => self.damage(disk, what)?,
            }
        }
        self.segment.runs.extend(self.run);
        self.segment.length = self.window.length();
        Ok(self.segment)
    }

    // What stands at this place, with the chain's value after it.
    fn frame(
        &mut self,
        disk: &mut impl Disk,
        at: u64,
        position: Position,
    ) -> Result<Frame, DiskError> {
        let (seed, limit) = (self.seed, self.limit);
        let bytes = whole_record(disk, &mut self.window, (seed, limit), at)?;
        let frame = record::decode(seed, bytes, position, limit);
        Ok(frame.map(|(head, payload)| (head, head.chain_after(payload))))
    }

    // The record at `at` belongs to the run.
    fn take(&mut self, head: &Head, after: Digest) {
        let (at, first) = (self.at, self.position);
        let run = self.run.get_or_insert(Run {
            first,
            next: first,
            from: at,
            to: at,
            before: head.chain,
            after: head.chain,
        });
        self.at += head.size();
        self.position = head.next();
        (run.next, run.to, run.after) = (self.position, self.at, after);
        self.chain = Some(after);
        self.saw(head);
    }

    fn saw(&mut self, head: &Head) {
        self.segment.durable = self.segment.durable.max(head.durable);
        self.segment.marks += u64::from(head.kind == record::MARK);
    }

    fn gap(&mut self, to: u64, next: Option<Position>, what: What, unfinished: bool) {
        self.segment.runs.extend(self.run.take());
        let (from, first) = (self.at, self.position);
        self.segment.add_gap(Gap { from, to, first, next, what, unfinished });
        self.at = to;
    }

    // The record at `at` is whole and at its position, but does not chain to the run before it.
    // One of them is stale. If the record knows that what is before it was durable, or if the one
    // behind it chains to it, it was written later than what stands before it.
    fn contradiction(
        &mut self,
        disk: &mut impl Disk,
        head: &Head,
        after: Digest,
    ) -> Result<(), DiskError> {
        let has_records = self.run.is_some_and(|run| run.first < run.next);
        let behind = self.frame(disk, self.at + head.size(), head.next())?;
        let is_followed = behind.is_ok_and(|(behind, _)| behind.chain == after);
        if has_records && (is_followed || head.durable >= self.position) {
            self.segment.runs.extend(self.run.take());
            self.segment.disbelieve_last(Some(self.position));
            self.take(head, after);
        } else {
            let to = self.at + head.size();
            let next = (to < self.window.length()).then(|| head.next());
            self.gap(to, next, What::Chain, false);
            self.saw(head);
            (self.position, self.chain) = (head.next(), None);
        }
        Ok(())
    }

    // No good record stands at `at`: looks for the next that does.
    fn damage(&mut self, disk: &mut impl Disk, what: What) -> Result<(), DiskError> {
        let found = match self.segment.gaps.len() < GAPS {
            true => self.search(disk, what)?,
            false => None,
        };
        let to = found.map_or(self.window.length(), |(at, _)| at);
        let unreadable = self.window.is_unreadable(self.at..to);
        let what = if unreadable { What::Unreadable } else { what };
        let next = found.map(|(_, position)| position);
        self.gap(to, next, what, what.can_be_unfinished());
        if let Some(next) = next {
            // Where no position is lost (a mark was), the chain goes on over the damage.
            self.chain = self.chain.filter(|_| next == self.position);
            self.position = next;
        }
        Ok(())
    }

    // The place and position of the next good record behind `at`.
    fn search(
        &mut self,
        disk: &mut impl Disk,
        what: What,
    ) -> Result<Option<(u64, Position)>, DiskError> {
        let start = self.at;
        if what == What::Payload {
            // Its head is good, so its length is known.
            let head = Head::decode(self.seed, self.window.view(disk, start, HEAD)?);
            if let Some((at, next)) = head.map(|head| (start + head.size(), head.next()))
                && self.frame(disk, at, next)?.is_ok()
            {
                return Ok(Some((at, next)));
            }
        }
        let mut at = start + 1;
        while at + HEAD as u64 <= self.window.length() {
            let bytes = self.window.view(disk, at, HEAD)?;
            if let Some(position) = plausible(bytes, self.position, (at - start) / HEAD as u64)
                && self.end.is_none_or(|end| position <= end)
                && self.frame(disk, at, position)?.is_ok()
            {
                return Ok(Some((at, position)));
            }
            at += 1;
        }
        Ok(None)
    }
}

/// The bytes of the record at this place, as far as its head is good, its claim is within the limit
/// and the file has them.
///
/// # Errors
/// If the file is gone or the process ends.
pub(super) fn whole_record<'a>(
    disk: &mut impl Disk,
    window: &'a mut Window,
    (seed, limit): (Seed, usize),
    at: u64,
) -> Result<&'a [u8], DiskError> {
    let head = Head::decode(seed, window.view(disk, at, HEAD)?);
    let size = head.and_then(|head| usize::try_from(head.size()).ok());
    window.view(disk, at, size.unwrap_or(HEAD).min(HEAD + limit))
}

// The position that a record here would have, if so many lost records can be before it. Looked at
// before the checksum is computed, since this is asked at every byte.
fn plausible(bytes: &[u8], lost: Position, at_most: u64) -> Option<Position> {
    let position = bytes.get(8..16)?.try_into().map(u64::from_le_bytes).ok()?;
    let plausible = position >= lost.0 && position - lost.0 <= at_most;
    plausible.then_some(Position(position))
}
