//! What a damaged log has lost, place by place, and putting it back.

use super::cursor::{Cursor, Step};
use super::damage::{Damage, What};
use super::disk::Disk;
use super::error::LogError;
use super::log::{Entry, Log};
use super::record::chain_after;
use super::{DiskError, Point, Position};
use crate::types::Digest;
use std::collections::BTreeMap;
use std::ops::Range;

/// What stands before the name of a file that is kept.
const KEPT: &str = "damaged-";

/// Records in a row that a log has lost, with what the rest of the log says about them.
///
/// The chain's values on both sides decide whether records from elsewhere are the lost ones: to
/// find others that lead from one to the other takes a second preimage of SHA-256. So nothing
/// else about them needs to be checked, and whoever gives them may be a liar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The damaged places, in order. They are several where nothing between them says what the
    /// chain's value is: the end of a file and the beginning of the next, or a header and the
    /// records behind it.
    pub damages: Vec<Damage>,
    /// The first position that is lost.
    pub first: Position,
    /// The first behind it that is not; `first` if no record is lost. `None` if the damage reaches
    /// the end of the log: nothing says then how many were there.
    pub next: Option<Position>,
    /// The chain's value before `first`; `None` if nothing says it.
    pub before: Option<Digest>,
    /// The chain's value before `next`; `None` if nothing says it.
    pub after: Option<Digest>,
    parts: Vec<Part>,
}

/// The part of a loss that lies in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Which of the log's files.
    index: usize,
    range: Range<Position>,
}

impl Loss {
    /// How many records are lost; `None` if nothing says it.
    pub fn count(&self) -> Option<u64> {
        self.next.map(|next| next.0.saturating_sub(self.first.0))
    }

    /// Whether these records, in this order, are the lost ones: as many as are lost, and the
    /// chain's value behind them is the one that the log names. Never if the log does not say
    /// what stands before and behind them.
    pub fn fits(&self, records: &[Entry<'_>]) -> bool {
        let (Some(before), Some(after)) = (self.before, self.after) else { return false };
        if self.count() != Some(records.len() as u64) {
            return false;
        }
        let mut chain = before;
        for (entry, position) in records.iter().zip(self.first.0..) {
            chain = chain_after(&chain, Position(position), entry.kind, entry.payload);
        }
        chain == after
    }

    // Whether this damage is a part of it: nothing says what must stand between them, or they can
    // only be mended together.
    fn goes_on_with(&self, damage: &Damage) -> bool {
        let is_one_place = |last: &Damage| last.what == What::Header && last.file == damage.file;
        self.next == Some(damage.first)
            && (self.after.is_none() || self.damages.last().is_some_and(is_one_place))
    }

    fn add(&mut self, index: usize, damage: Damage) {
        let range = damage.first..damage.next.unwrap_or(damage.first);
        // A header is written anew with what stands behind it.
        self.parts.retain(|part| part.index != index || !part.range.is_empty());
        self.parts.push(Part { index, range });
        self.next = damage.next;
        self.damages.push(damage);
    }
}

impl Log {
    /// All that the log has lost, in order. Each damaged place is in one of them.
    pub fn losses(&self) -> Vec<Loss> {
        let values = self.chain_values();
        let mut losses: Vec<Loss> = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            for damage in segment.damages() {
                let mut loss = match losses.pop_if(|loss| loss.goes_on_with(&damage)) {
                    Some(loss) => loss,
                    None => Loss {
                        damages: Vec::new(),
                        first: damage.first,
                        next: None,
                        before: values.get(&damage.first).copied(),
                        after: None,
                        parts: Vec::new(),
                    },
                };
                loss.add(index, damage);
                loss.after = loss.next.and_then(|next| values.get(&next)).copied();
                losses.push(loss);
            }
        }
        losses
    }

    // What the chain's value is before each position of which something good says it.
    fn chain_values(&self) -> BTreeMap<Position, Digest> {
        let mut values = BTreeMap::new();
        for segment in &self.segments {
            values.extend(segment.chain().map(|chain| (segment.first, chain)));
            for run in &segment.runs {
                values.extend([(run.first, run.before), (run.next, run.after)]);
            }
        }
        values
    }

    /// Puts back what is lost: these records, which must fit. Each file with a part of it is
    /// written anew and put in the place of the damaged one when it is durable, the last one
    /// first; a crash between two of them leaves the rest to be mended. To have the damaged files
    /// later, [`keep`] them before.
    ///
    /// # Errors
    /// If the records do not fit; if the loss is not one of this log as it is now; if there is no
    /// space, or a file cannot be read: the log is as before then, but for files that are mended.
    /// If writing fails: it is dead.
    pub fn mend(
        &mut self,
        disk: &mut impl Disk,
        loss: &Loss,
        records: &[Entry<'_>],
    ) -> Result<(), LogError> {
        if !loss.fits(records) {
            return Err(LogError::DoesNotFit);
        }
        for part in loss.parts.iter().rev() {
            let place = |position: Position| {
                let place = usize::try_from(position.0 - loss.first.0);
                place.unwrap_or(usize::MAX).min(records.len())
            };
            let (from, to) = (place(part.range.start), place(part.range.end));
            let mut before = loss.before;
            for (entry, position) in records[..from].iter().zip(loss.first.0..) {
                let position = Position(position);
                before = before.map(|b| chain_after(&b, position, entry.kind, entry.payload));
            }
            let records = records[from..to].iter().map(|entry| (entry.kind, entry.payload));
            self.repair_file(disk, (part.index, &part.range, before), records)?;
        }
        Ok(())
    }

    /// The same loss with so many good records more before it; `None` if there are not so many in
    /// its first file. One of these can be stale: a record of an earlier life that chains to what
    /// is before it, where the one that would contradict it is lost. The right ones do not fit
    /// behind it then.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn widened(
        &mut self,
        disk: &mut impl Disk,
        loss: &Loss,
        by: u64,
    ) -> Result<Option<Loss>, LogError> {
        let first = Position(loss.first.0.saturating_sub(by));
        let segment = loss.parts.first().and_then(|part| self.segments.get(part.index));
        let run = segment.and_then(|segment| segment.run_of(first));
        if first >= loss.first || run.is_none_or(|run| run.next != loss.first) {
            return Ok(None);
        }
        let Step::Record(stored) = self.read(disk, &mut Cursor::new(first))? else {
            return Ok(None);
        };
        let mut wide = Loss { first, before: Some(stored.chain), ..loss.clone() };
        if let Some(part) = wide.parts.first_mut() {
            part.range.start = first;
        }
        Ok(Some(wide))
    }

    /// The files that mending this writes anew.
    pub fn files_of(&self, loss: &Loss) -> Vec<String> {
        let segments = loss.parts.iter().filter_map(|part| self.segments.get(part.index));
        segments.map(super::segment::Segment::file).collect()
    }
}

/// Gives a file of a log a second name, durably, so that it stays when it is repaired: logs do not
/// see files of such names. Gives that name.
///
/// # Errors
/// If there is no such file, or the disk fails or has no second names.
pub fn keep(disk: &mut impl Disk, file: &str) -> Result<String, DiskError> {
    let names = disk.list()?;
    let mut number = 1_u64;
    let second = loop {
        let second = format!("{KEPT}{file}.{number}");
        if !names.contains(&second) {
            break second;
        }
        number += 1;
    };
    disk.link(Point::KeepLink, file, &second)?;
    disk.sync_names(Point::KeepNamesSync)?;
    Ok(second)
}
