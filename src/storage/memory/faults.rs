//! What goes wrong on the disk in memory, and when.

use super::super::disk::{DiskError, Point};
use std::collections::BTreeMap;
use std::ops::Range;

/// What goes wrong. Nothing does by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The process ends there, once.
    pub crash: Option<Crash>,
    /// Bytes that all files together can hold; no limit if `None`.
    pub capacity: Option<u64>,
    /// Bytes that a read gives at most; no limit if `None`.
    pub read_at_most: Option<usize>,
    /// These places of these files cannot be read, so many times.
    pub unreadable: Vec<(String, Range<u64>, u64)>,
    /// Truncating, syncing, renaming, linking and removing at these points fails, so many times. A
    /// sync that fails loses what it should have synced, and the next one says that all is well.
    pub refused: BTreeMap<Point, u64>,
    /// The append with this number, counted over all points from 1, is said to be done but is not.
    pub lost: Option<u64>,
    /// So is this one, and the file is longer nevertheless, by zeros.
    pub zeros: Option<u64>,
    /// So is this one, and its bytes overwrite those at a place of another file.
    pub misdirected: Option<(u64, String, u64)>,
}

/// When a simulated process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// At which call.
    pub when: When,
    /// How much of the call is done.
    pub moment: Moment,
}

/// One of the calls that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The one with this number since the disk was made, from 1.
    Call(u64),
    /// The one with this number at a point, from 1.
    Point(Point, u64),
}

/// How much of the last call of a process is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing.
    Before,
    /// Of an append so many bytes, taken modulo one more than it has; of others everything.
    Inside(u64),
    /// Everything, but the process does not learn it.
    After,
}

/// How an append is not what it seems.
pub(super) enum BadAppend {
    Lost,
    Zeros,
    Elsewhere(String, u64),
}

const APPENDS: [Point; 9] = [
    Point::SegmentHeaderWrite,
    Point::LogAppend,
    Point::MarkAppend,
    Point::RenewWrite,
    Point::RepairWrite,
    Point::SnapshotWrite,
    Point::EpochsWrite,
    Point::EpochsAppend,
    Point::StartWrite,
];

impl Faults {
    pub(super) fn crash_at(&mut self, call: u64, point: Point, nth: u64) -> Option<Moment> {
        let hit = self.crash.filter(|crash| match crash.when {
            When::Call(n) => n == call,
            When::Point(at, n) => at == point && n == nth,
        });
        hit.map(|crash| {
            self.crash = None;
            crash.moment
        })
    }

    pub(super) fn refuses(&mut self, point: Point) -> Option<DiskError> {
        let left = self.refused.get_mut(&point).filter(|left| **left > 0)?;
        *left -= 1;
        Some(DiskError::Failed("input/output error".to_owned()))
    }

    /// How many bytes a read gives.
    pub(super) fn read_size(
        &mut self,
        file: &str,
        offset: u64,
        asked: usize,
    ) -> Result<usize, DiskError> {
        let size = self.read_at_most.map_or(asked, |most| asked.min(most.max(1)));
        let end = offset.saturating_add(size as u64);
        let bad = self.unreadable.iter_mut().find(|(name, place, times)| {
            name == file && *times > 0 && place.start < end && offset < place.end
        });
        match bad {
            Some((_, _, times)) => {
                *times -= 1;
                Err(DiskError::Failed("input/output error".to_owned()))
            }
            None => Ok(size),
        }
    }

    /// What becomes of the append that was counted last.
    pub(super) fn append_fault(&self, counts: &BTreeMap<Point, u64>) -> Option<BadAppend> {
        let nth = APPENDS.iter().filter_map(|point| counts.get(point)).sum::<u64>();
        if let Some((_, file, place)) = self.misdirected.as_ref().filter(|(n, _, _)| *n == nth) {
            return Some(BadAppend::Elsewhere(file.clone(), *place));
        }
        let lost = (self.lost == Some(nth)).then_some(BadAppend::Lost);
        lost.or((self.zeros == Some(nth)).then_some(BadAppend::Zeros))
    }
}
