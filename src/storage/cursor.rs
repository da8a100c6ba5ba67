//! Reading a log record by record, with a buffer of bounded size.

use super::damage::Damage;
use super::disk::Disk;
use super::error::LogError;
use super::log::Log;
use super::record::{self, HEAD, Head, MARK};
use super::scan::whole_record;
use super::segment::{Gap, Run, Segment};
use super::window::Window;
use super::{DiskError, Position, disk_error};
use crate::types::Digest;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the log.
    pub position: Position,
    /// What it is, for the caller.
    pub kind: u8,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// The chain's value before it.
    pub chain: Digest,
}

/// What a cursor comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A good record.
    Record(Stored),
    /// A damaged place; the next step is behind it.
    Damaged(Damage),
    /// Records that are no longer there: the log begins at this position, where the next step is.
    Dropped(Position),
    /// The end of the log. More can come later.
    End,
}

/// A place in a log. It stays good while the log changes.
#[derive(Debug)]
pub struct Cursor {
    position: Position,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    segment: Position,
    window: Window,
    at: u64,
    chain: Digest,
    edition: u64,
}

impl Cursor {
    /// The place before the record at `position`.
    pub fn new(position: Position) -> Self {
        Self { position, place: None }
    }

    /// The position of what comes next.
    pub fn position(&self) -> Position {
        self.position
    }
}

impl Log {
    /// Reads what comes next. A record that was good when the log was opened and is not any more is
    /// damage like any other, and is from then on among [`Log::damages`].
    ///
    /// # Errors
    /// If the log is dead or a file cannot be read at all.
    pub fn read(&mut self, disk: &mut impl Disk, cursor: &mut Cursor) -> Result<Step, LogError> {
        self.alive()?;
        // The second time with a fresh buffer, the third after examining the file anew.
        for attempt in 0..4 {
            let (index, run) = match self.step(cursor) {
                Ok(found) => found,
                Err(step) => return Ok(step),
            };
            let segment = &self.segments[index];
            match self.record(disk, segment, &run, cursor) {
                Ok(Some(stored)) => {
                    cursor.position = stored.position.next();
                    return Ok(Step::Record(stored));
                }
                Ok(None) => {}
                Err(DiskError::Failed(_)) => {}
                Err(e) => return Err(disk_error(&segment.file(), e)),
            }
            cursor.place = None;
            if attempt > 0 {
                self.examine(disk, index)?;
            }
        }
        let error = DiskError::Failed("it reads differently each time".to_owned());
        Err(disk_error(&format!("record {}", cursor.position.0), error))
    }

    // The run that holds the cursor's record, or what there is instead.
    fn step(&self, cursor: &mut Cursor) -> Result<(usize, Run), Step> {
        let position = cursor.position;
        if position < self.first() {
            cursor.position = self.first();
            return Err(Step::Dropped(self.first()));
        }
        // The first segment begins at `first()`, so there is one before it.
        let index = self.segments.partition_point(|s| s.first <= position).saturating_sub(1);
        let Some(segment) = self.segments.get(index) else { return Err(Step::End) };
        if let Some(run) = segment.run_of(position) {
            return Ok((index, *run));
        }
        let is_in =
            |gap: &&Gap| gap.first <= position && gap.next.is_none_or(|next| position < next);
        let Some(gap) = segment.gaps.iter().find(is_in) else { return Err(Step::End) };
        let Some(next) = gap.next else {
            // Told once: there is nothing behind it.
            let is_told = position > gap.first;
            cursor.position = gap.first.next();
            return Err(if is_told { Step::End } else { Step::Damaged(damage(segment, gap)) });
        };
        cursor.position = next;
        Err(Step::Damaged(damage(segment, gap)))
    }

    // The cursor's record; `None` if it is not what it was.
    fn record(
        &self,
        disk: &mut impl Disk,
        segment: &Segment,
        run: &Run,
        cursor: &mut Cursor,
    ) -> Result<Option<Stored>, DiskError> {
        let (seed, limit) = self.reading();
        let is_here =
            |p: &Place| p.edition == self.edition && p.segment == segment.first && p.at < run.to;
        let mut place = match cursor.place.take().filter(is_here) {
            Some(place) => place,
            None => {
                let window = Window::open(disk, &segment.file())?;
                let mut place = Place {
                    segment: segment.first,
                    window,
                    at: run.from,
                    chain: run.before,
                    edition: self.edition,
                };
                if !self.seek(disk, &mut place, run, cursor.position)? {
                    return Ok(None);
                }
                place
            }
        };
        place.window.set_length(run.to);
        loop {
            let bytes = whole_record(disk, &mut place.window, (seed, limit), place.at)?;
            let Ok((head, payload)) = record::decode(seed, bytes, cursor.position, limit) else {
                return Ok(None);
            };
            if head.chain != place.chain {
                return Ok(None);
            }
            place.chain = head.chain_after(payload);
            let payload = payload.to_vec();
            place.at += head.size();
            if head.kind != MARK {
                let Head { kind, chain, position, .. } = head;
                cursor.place = Some(place);
                return Ok(Some(Stored { position, kind, payload, chain }));
            }
        }
    }

    // Goes on to the record at `position`, by the heads alone.
    fn seek(
        &self,
        disk: &mut impl Disk,
        place: &mut Place,
        run: &Run,
        position: Position,
    ) -> Result<bool, DiskError> {
        let mut at = run.first;
        place.window.set_length(run.to);
        loop {
            let Some(head) = Head::decode(self.seed, place.window.view(disk, place.at, HEAD)?)
            else {
                return Ok(false);
            };
            place.chain = head.chain;
            if at == position || head.position != at {
                return Ok(head.position == at);
            }
            place.at += head.size();
            at = head.next();
        }
    }

    /// Where in the file the record at `position` of a run begins, and the chain's value before it.
    pub(super) fn locate(
        &self,
        disk: &mut impl Disk,
        segment: &Segment,
        run: &Run,
        position: Position,
    ) -> Result<Option<(u64, Digest)>, DiskError> {
        let window = Window::open(disk, &segment.file())?;
        let (chain, edition) = (run.before, self.edition);
        let mut place = Place { segment: segment.first, window, at: run.from, chain, edition };
        let found = self.seek(disk, &mut place, run, position)?;
        Ok(found.then_some((place.at, place.chain)))
    }
}

fn damage(segment: &Segment, gap: &Gap) -> Damage {
    let Gap { from, first, next, what, .. } = *gap;
    Damage { file: segment.file(), offset: from, first, next, what }
}
