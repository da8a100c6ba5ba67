//! Looking in another log for what one has lost.
//!
//! Logs of replicas of one cluster hold nearly the same entries in the same order, at positions
//! that differ by as much as their beginnings do. So what stands beside a loss is looked for in
//! the other log, and what was lost is thought to stand beside it there. Some entries come a few
//! places earlier or later with one replica than with the other, so rows that begin up to
//! [`SLACK`] places beside are tried, too. Nothing found this way is believed: the chain decides
//! ([`Loss::fits`]).

use super::Position;
use super::cursor::{Cursor, Step};
use super::disk::Disk;
use super::error::LogError;
use super::log::{Entry, Log};
use super::loss::Loss;
use super::record::chain_after;
use crate::types::Digest;
use std::collections::BTreeMap;
use std::ops::Range;

/// How many places beside the likely one are tried, on both sides; and so many entries on both
/// sides of a loss say which the likely one is.
pub const SLACK: u64 = 16;
/// Places of one entry that are remembered: the same bytes can stand in a log more than once.
const SIGHTINGS: usize = 8;
/// Differences between the positions of two logs that are tried for one loss.
const SHIFTS: usize = 5;
/// Fewest bytes that a lost record took in its file.
const RECORD_BYTES: u64 = 61;

/// Entries beside the losses of a log, by a digest of what is in them.
#[derive(Clone, Debug, Default)]
pub struct Landmarks(BTreeMap<Digest, Vec<Position>>);

/// Where another log has such entries: its position behind that of the damaged log.
#[derive(Clone, Debug, Default)]
pub struct Sightings(Vec<(Position, Position)>);

/// One place in a row of entries of another log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Entry(u8, Vec<u8>),
    /// The other log is damaged here.
    Damaged,
    /// The other log does not reach to here.
    Absent,
}

/// What another log holds where it may have what is lost, with [`SLACK`] entries on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Vec<Slot>);

/// Why a row does not have what is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The other log holds entries there, and they are others.
    Others,
    /// The other log is damaged there, too.
    Damaged,
    /// The other log does not reach to there.
    Absent,
}

fn name(kind: u8, payload: &[u8]) -> Digest {
    chain_after(&Digest::ZERO, Position(0), kind, payload)
}

fn beside(loss: &Loss) -> [Range<u64>; 2] {
    let (first, next) = (loss.first.0, loss.next.unwrap_or(loss.first).0);
    [first.saturating_sub(SLACK)..first, next..next.saturating_add(SLACK)]
}

impl Log {
    /// The entries beside these losses of this log.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn landmarks(
        &mut self,
        disk: &mut impl Disk,
        losses: &[Loss],
    ) -> Result<Landmarks, LogError> {
        let mut marks: BTreeMap<Digest, Vec<Position>> = BTreeMap::new();
        for range in losses.iter().flat_map(beside) {
            self.read_range(disk, range, &mut |position, kind, payload| {
                let places = marks.entry(name(kind, &payload)).or_default();
                if !places.contains(&position) && places.len() < SIGHTINGS {
                    places.push(position);
                }
            })?;
        }
        Ok(Landmarks(marks))
    }

    /// Where this log, which is another, has these entries. It is read from end to end.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn sightings(
        &mut self,
        disk: &mut impl Disk,
        marks: &Landmarks,
    ) -> Result<Sightings, LogError> {
        let mut seen: BTreeMap<Digest, Vec<Position>> = BTreeMap::new();
        self.read_range(disk, 0..u64::MAX, &mut |position, kind, payload| {
            let name = name(kind, &payload);
            if marks.0.contains_key(&name) {
                let places = seen.entry(name).or_default();
                if places.len() < SIGHTINGS {
                    places.push(position);
                }
            }
        })?;
        let mut pairs = Vec::new();
        for (name, theirs) in &seen {
            let mine = marks.0.get(name).into_iter().flatten();
            pairs.extend(mine.flat_map(|mine| theirs.iter().map(|theirs| (*mine, *theirs))));
        }
        Ok(Sightings(pairs))
    }

    /// What this log, which is another, holds where it may have what is lost, if its positions
    /// are ahead by `shift`. `None` if that is more than `most` bytes.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn row(
        &mut self,
        disk: &mut impl Disk,
        loss: &Loss,
        (shift, most): (i128, u64),
    ) -> Result<Option<Row>, LogError> {
        let count = loss.count().unwrap_or(0).saturating_add(2 * SLACK);
        let Some(room) = most.checked_sub(count.saturating_mul(RECORD_BYTES)) else {
            return Ok(None);
        };
        let from = i128::from(loss.first.0) + shift - i128::from(SLACK);
        let place = |position: u64| usize::try_from(i128::from(position) - from).ok();
        let mut slots = vec![Slot::Absent; usize::try_from(count).unwrap_or(0)];
        let at = |n: i128| u64::try_from(n).unwrap_or(0);
        let range = at(from)..at(from + i128::from(count));
        for damage in self.damages() {
            let end = damage.next.map_or(range.end, |next| next.0).min(range.end);
            for position in damage.first.0.max(range.start)..end {
                if let Some(slot) = place(position).and_then(|n| slots.get_mut(n)) {
                    *slot = Slot::Damaged;
                }
            }
        }
        let mut bytes = 0_u64;
        self.read_range(disk, range, &mut |position, kind, payload| {
            bytes = bytes.saturating_add(payload.len() as u64);
            let slot = place(position.0).and_then(|n| slots.get_mut(n));
            if let Some(slot) = slot.filter(|_| bytes <= room) {
                *slot = Slot::Entry(kind, payload);
            }
        })?;
        Ok((bytes <= room).then_some(Row(slots)))
    }

    // Gives the good records of a range in their order.
    fn read_range(
        &mut self,
        disk: &mut impl Disk,
        range: Range<u64>,
        visit: &mut dyn FnMut(Position, u8, Vec<u8>),
    ) -> Result<(), LogError> {
        let mut cursor = Cursor::new(Position(range.start));
        while cursor.position().0 < range.end {
            match self.read(disk, &mut cursor)? {
                Step::Record(stored) if range.contains(&stored.position.0) => {
                    visit(stored.position, stored.kind, stored.payload);
                }
                Step::Damaged(_) | Step::Dropped(_) => {}
                Step::Record(_) | Step::End => break,
            }
        }
        Ok(())
    }
}

impl Sightings {
    /// By how much the positions of the other log may be ahead around a loss, the likeliest first.
    pub fn shifts(&self, loss: &Loss) -> Vec<i128> {
        let near = beside(loss);
        let mut counts: BTreeMap<i128, u64> = BTreeMap::new();
        for (mine, theirs) in &self.0 {
            if near.iter().any(|range| range.contains(&mine.0)) {
                *counts.entry(i128::from(theirs.0) - i128::from(mine.0)).or_default() += 1;
            }
        }
        // The same positions, if nothing at all was found: a log without an entry beside the loss.
        counts.entry(0).or_default();
        let mut shifts: Vec<(u64, i128)> = counts.into_iter().map(|(s, n)| (n, s)).collect();
        shifts.sort_by_key(|(count, shift)| (u64::MAX - count, shift.unsigned_abs()));
        shifts.into_iter().take(SHIFTS).map(|(_, shift)| shift).collect()
    }
}

impl Row {
    /// The entries in it that were lost, if it has them, at most `slack` places beside the likely
    /// one; the nearest first.
    pub fn find(&self, loss: &Loss, slack: u64) -> Option<Vec<Entry<'_>>> {
        let count = usize::try_from(loss.count()?).ok()?;
        let likely = usize::try_from(SLACK).ok()?;
        let slack = usize::try_from(slack.min(SLACK)).ok()?;
        let beside = (0..=slack).flat_map(|n| [likely + n, likely - n]);
        // Twice the likely one, which does no harm but cost.
        beside.skip(1).find_map(|from| {
            let entries = self.entries(from..from + count)?;
            loss.fits(&entries).then_some(entries)
        })
    }

    // The entries of this range, if all are there.
    fn entries(&self, range: Range<usize>) -> Option<Vec<Entry<'_>>> {
        let slots = self.0.get(range)?.iter();
        slots
            .map(|slot| match slot {
                Slot::Entry(kind, payload) => Some(Entry { kind: *kind, payload }),
                Slot::Damaged | Slot::Absent => None,
            })
            .collect()
    }

    /// This row, and where it has nothing, what another row has: of two logs that are damaged at
    /// different places beside each other, each has a part of what is lost.
    #[must_use]
    pub fn filled_from(&self, other: &Row) -> Row {
        let both = self.0.iter().zip(&other.0);
        let slots = both.map(|(mine, theirs)| match mine {
            Slot::Entry(..) => mine.clone(),
            Slot::Damaged | Slot::Absent => theirs.clone(),
        });
        Row(slots.collect())
    }

    /// Whether it has no entry at some likely place of what is lost.
    pub fn has_holes(&self) -> bool {
        self.lack() != Lack::Others
    }

    /// Why it does not have what is lost.
    pub fn lack(&self) -> Lack {
        let slack = usize::try_from(SLACK).unwrap_or(0);
        let likely = self.0.get(slack..self.0.len().saturating_sub(slack)).unwrap_or_default();
        match likely {
            slots if slots.contains(&Slot::Damaged) => Lack::Damaged,
            slots if slots.contains(&Slot::Absent) => Lack::Absent,
            _ => Lack::Others,
        }
    }
}
