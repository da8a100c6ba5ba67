//! Putting records from elsewhere in the place of damaged ones.

use super::disk::{Disk, DiskError, Point};
use super::error::LogError;
use super::log::{Entry, Log};
use super::place::{Placing, REPAIR};
use super::record;
use super::recover::copy_range;
use super::segment::{HEADER, Header, Run, Segment, VERSION};
use super::window::Window;
use super::{Position, disk_error};
use crate::types::Digest;
use std::ops::Range;

/// What stays of a file, and what must fit between.
struct Plan {
    index: usize,
    /// Bytes of the file that are replaced.
    bytes: Range<u64>,
    /// The chain's value before the first record of the file.
    chain: Digest,
    /// The chain's value before the range.
    before: Digest,
    /// The chain's value behind it; `None` if nothing is there.
    after: Option<Digest>,
}

impl Log {
    /// Replaces the records of a range by ones from elsewhere, as many as the range has positions.
    /// It must cover whole every damaged place that it touches and lie in one file, as each
    /// [`super::Damage`] does. It may be larger, since a stale record before the damage can be
    /// why the right ones do not fit. A range without positions mends what takes none: a header,
    /// a mark.
    ///
    /// The records must chain to what stands before and behind them: the record behind them says
    /// what the chain's value must be. If the damage reaches the end of the log there is none, and
    /// any are taken that reach as far as the log is known to have been durable.
    ///
    /// The file is written anew and put in the place of the damaged one when it is durable.
    ///
    /// # Errors
    /// If the range or the records do not fit, if what is beside the range is damaged too, if
    /// there is no space, if the file cannot be read: the log is as before then. If writing fails:
    /// it is dead.
    pub fn repair<P: AsRef<[u8]>>(
        &mut self,
        disk: &mut impl Disk,
        range: Range<Position>,
        records: impl IntoIterator<Item = (u8, P)>,
    ) -> Result<(), LogError> {
        if range.start < self.first() {
            return Err(LogError::Range);
        }
        // The first segment begins at `first()`, so there is one before it.
        let index = self.segments.partition_point(|s| s.first <= range.start).saturating_sub(1);
        self.repair_file(disk, (index, &range, None), records)
    }

    /// The same for a range of the file with this index. `before` is the chain's value before the
    /// range, for when the range begins where the file does and the log does not say it.
    pub(super) fn repair_file<P: AsRef<[u8]>>(
        &mut self,
        disk: &mut impl Disk,
        (index, range, before): (usize, &Range<Position>, Option<Digest>),
        records: impl IntoIterator<Item = (u8, P)>,
    ) -> Result<(), LogError> {
        self.alive()?;
        let plan = self.plan(disk, (index, range, before))?;
        let segment = &self.segments[plan.index];
        let (file, length) = (segment.file(), segment.length.max(HEADER));
        let is_last = plan.index + 1 == self.segments.len();
        let (first, owner, chain) = (segment.first, self.options.owner, plan.chain);
        let end = self.segments.get(plan.index + 1).map(|next| next.first);
        // What was known durable must stay known: damage behind it would look unfinished.
        let durable = end.unwrap_or(self.next().max(range.end).max(self.durable));
        let header = Header { version: VERSION, owner, first, durable, chain };
        let opened = Window::open(disk, &file);
        let mut window = opened.map_err(|e| disk_error(&file, e))?;
        let placing = match Placing::begin(disk, &REPAIR, file.clone()) {
            Ok(placing) => placing,
            Err(DiskError::NoSpace) => return Err(LogError::NoSpace),
            Err(e) => return Err(self.die(&file, e)),
        };
        let written = placing.write(disk, &header.encode()).and_then(|()| {
            copy_range(disk, &mut window, &placing, HEADER..plan.bytes.start)?;
            let fits = self.write_records(disk, &placing, (range, &plan), records)?;
            copy_range(disk, &mut window, &placing, plan.bytes.end..length)?;
            Ok(fits)
        });
        match written {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => {
                let removed = placing.give_up(disk, Point::RepairGiveUp);
                return Err(removed.map_or_else(|e| self.die(&file, e), |()| refused));
            }
            Err(e) => return Err(self.give_up(disk, placing, Point::RepairGiveUp, &file, e)),
        }
        placing.finish(disk).map_err(|e| self.die(&file, e))?;
        self.examine(disk, plan.index)?;
        if is_last {
            self.durable = self.durable.max(durable);
        }
        Ok(())
    }

    // Writes the new records and says whether they fit.
    fn write_records<P: AsRef<[u8]>>(
        &self,
        disk: &mut impl Disk,
        placing: &Placing,
        (range, plan): (&Range<Position>, &Plan),
        records: impl IntoIterator<Item = (u8, P)>,
    ) -> Result<Result<(), LogError>, DiskError> {
        let (mut position, mut chain) = (range.start, plan.before);
        let mut bytes = Vec::new();
        for (kind, payload) in records {
            let payload = payload.as_ref();
            if let Err(refused) = self.check(&Entry { kind, payload }) {
                return Ok(Err(refused));
            }
            if position >= range.end {
                return Ok(Err(LogError::DoesNotFit));
            }
            bytes.clear();
            // The header of the new file says what is durable.
            let place = (position, Position(0));
            chain = record::encode(self.seed, place, &chain, (kind, payload), &mut bytes);
            placing.write(disk, &bytes)?;
            position = position.next();
        }
        let fits = position == range.end && plan.after.is_none_or(|after| after == chain);
        Ok(if fits { Ok(()) } else { Err(LogError::DoesNotFit) })
    }

    fn plan(
        &self,
        disk: &mut impl Disk,
        (index, range, before): (usize, &Range<Position>, Option<Digest>),
    ) -> Result<Plan, LogError> {
        let segment = self.segments.get(index).ok_or(LogError::Range)?;
        if range.start < segment.first || range.end < range.start {
            return Err(LogError::Range);
        }
        let at_first = before.filter(|_| range.start == segment.first);
        let chain = self.chain_before(index).or(at_first);
        let (from, before) = self.start(disk, (segment, chain), range.start)?;
        let (to, after) = self.stop(disk, index, segment, range.end)?;
        let is_split = |gap: &super::segment::Gap| {
            let (inside, outside) =
                (from <= gap.from && gap.to <= to, gap.to <= from || to <= gap.from);
            !inside && !outside
        };
        if from > to || segment.gaps.iter().any(is_split) {
            return Err(LogError::Range);
        }
        let chain = chain.ok_or(LogError::Unanchored)?;
        Ok(Plan { index, bytes: from..to, chain, before, after })
    }

    // Where in the file the range begins, and the chain's value there.
    fn start(
        &self,
        disk: &mut impl Disk,
        (segment, chain): (&Segment, Option<Digest>),
        at: Position,
    ) -> Result<(u64, Digest), LogError> {
        if at == segment.first {
            return Ok((HEADER, chain.ok_or(LogError::Unanchored)?));
        }
        let run = segment.runs.iter().find(|run| run.first <= at && at <= run.next);
        let run = run.ok_or(LogError::Range)?;
        if at == run.next {
            return Ok((run.to, run.after));
        }
        let found = self.locate(disk, segment, run, at);
        found.map_err(|e| disk_error(&segment.file(), e))?.ok_or(LogError::Range)
    }

    // Where in the file it ends, and the chain's value there if anything says what it must be.
    fn stop(
        &self,
        disk: &mut impl Disk,
        index: usize,
        segment: &Segment,
        at: Position,
    ) -> Result<(u64, Option<Digest>), LogError> {
        // A run of marks alone has no record, and yet says what the chain's value is.
        let is_there = |r: &&Run| r.first == at || (r.first <= at && at < r.next);
        if let Some(run) = segment.runs.iter().rev().find(is_there) {
            let found = self.locate(disk, segment, run, at);
            let found = found.map_err(|e| disk_error(&segment.file(), e))?;
            let (offset, chain) = found.ok_or(LogError::Range)?;
            return Ok((offset, Some(chain)));
        }
        let length = segment.length.max(HEADER);
        match self.segments.get(index + 1) {
            Some(next) if next.first == at => {
                Ok((length, Some(next.chain().ok_or(LogError::Unanchored)?)))
            }
            Some(_) => Err(LogError::Range),
            None => match segment.end() {
                Some((next, after)) if next == at => Ok((length, Some(after))),
                None if at >= self.durable && at >= self.next() => Ok((length, None)),
                _ => Err(LogError::Range),
            },
        }
    }

    // The chain's value before a segment's first record.
    fn chain_before(&self, index: usize) -> Option<Digest> {
        let before = index.checked_sub(1).and_then(|i| self.segments.get(i));
        let segment = self.segments.get(index)?;
        let reached = before.and_then(Segment::end).filter(|(next, _)| *next == segment.first);
        segment.chain().or(reached.map(|(_, chain)| chain))
    }
}
