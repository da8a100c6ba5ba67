//! The log: appending, syncing, going on to the next file, dropping the old.

use super::damage::{Damage, Found, Progress, What};
use super::disk::{Disk, DiskError, Point};
use super::error::LogError;
use super::place::{Placing, SEGMENT};
use super::record::{self, HEAD, MARK, Seed, chain_start};
use super::segment::{Gap, HEADER, Header, Segment, VERSION};
use super::{Position, disk_error, recover, scan};
use crate::types::Digest;
use std::ops::Range;

/// The most that a log keeps, in bytes, to put its next group of records together in.
const KEPT_ROOM: usize = 1 << 20;

/// How large things get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file of the log. A group of records must fit into one file.
    pub segment_bytes: u64,
    /// Bytes of a record's payload.
    pub record_bytes: usize,
    /// Bytes of the disk that are left free but for what is marked as allowed to use them. At
    /// least `segment_bytes`, since opening writes the last file anew.
    pub reserve_bytes: u64,
}

impl Limits {
    fn check(&self) -> Result<(), LogError> {
        let whole = HEADER + (HEAD + HEAD) as u64;
        let largest = (self.record_bytes as u64).saturating_add(whole);
        if self.record_bytes > u32::MAX as usize / 2 || largest > self.segment_bytes {
            return Err(LogError::Limits("a record of the largest size must fit into one file"));
        }
        if self.reserve_bytes < self.segment_bytes {
            return Err(LogError::Limits("the reserve must hold a file, since opening copies one"));
        }
        Ok(())
    }
}

/// What a log must be told when it is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose log it is: the cluster and the replica. Files of another owner are refused.
    pub owner: Digest,
    /// Known to the owner alone, and always the same. The records' checksums depend on it, so that
    /// nobody can send a payload that looks like records when damage hides where it begins.
    pub secret: Digest,
    /// Where the log begins if there is none.
    pub first: Position,
    /// Before this position all is known, from elsewhere, to have been durable: damage there is
    /// never taken for an unfinished write. 0 if nothing is known.
    pub known: Position,
    /// How large things get.
    pub limits: Limits,
}

/// One record to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is, for the caller. Not 0.
    pub kind: u8,
    /// Its bytes, at most [`Limits::record_bytes`].
    pub payload: &'a [u8],
}

/// Whether records may use the space that is kept free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// They must leave the reserve.
    Ordinary,
    /// They may use it: without them no space could ever be freed.
    Reserve,
}

/// A log whose files are in the directory of a [`Disk`], which every call is given. It must be
/// the same disk each time, and nobody else may write to the log's files.
#[derive(Debug)]
pub struct Log {
    pub(super) options: Options,
    pub(super) seed: Seed,
    /// In order; never empty once the log is open. Records are appended to the last.
    pub(super) segments: Vec<Segment>,
    /// All before this position is durable.
    pub(super) durable: Position,
    /// Up to where this was also written into the log.
    marked: Position,
    /// Counts what makes places in files invalid.
    pub(super) edition: u64,
    dead: Option<String>,
    /// Empty between calls. It keeps its room: to ask the system for new pages for each group costs
    /// more than to write one.
    group: Vec<u8>,
}

impl Log {
    /// Opens the log in a directory, or begins one. Everything is read and checked, an unfinished
    /// write at the end is cut off, files that were being made are removed, and all that is left
    /// is durable. It can be interrupted at any time and done again.
    ///
    /// Damage is no error: it is told, and all that is not damaged can be read.
    ///
    /// # Errors
    /// If a file belongs to somebody else or is of an unknown version, if there is no log though
    /// one is known, if the limits cannot be kept, if the disk fails or has no space to write
    /// the last file anew.
    pub fn open<D: Disk>(
        disk: &mut D,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Log, Found), LogError> {
        options.limits.check()?;
        recover::open(disk, options, progress)
    }

    pub(super) fn closed(options: Options, seed: Seed) -> Self {
        let (durable, marked) = (Position(0), Position(0));
        let (segments, group) = (Vec::new(), Vec::new());
        Self { options, seed, segments, durable, marked, edition: 0, dead: None, group }
    }

    /// The first position that it holds.
    pub fn first(&self) -> Position {
        self.segments.first().map_or(self.options.first, |segment| segment.first)
    }

    /// The position that the next record gets.
    pub fn next(&self) -> Position {
        self.segments.last().map_or(self.options.first, Segment::reach)
    }

    /// All records before this position are durable.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The chain's value behind the last record; `None` while the end is damaged.
    pub fn chain(&self) -> Option<Digest> {
        self.segments.last().and_then(Segment::end).map(|(_, chain)| chain)
    }

    /// The damaged places, in order.
    pub fn damages(&self) -> Vec<Damage> {
        self.segments.iter().flat_map(Segment::damages).collect()
    }

    /// Appends records, in one write, and gives their positions. They are durable when [`sync`]
    /// has returned; any number of groups can be appended before.
    ///
    /// [`sync`]: Log::sync
    ///
    /// # Errors
    /// If the disk is full or would be: the log is as before then. If the records are too long,
    /// if their kind is 0, if the end of the log is damaged. If the disk fails: the log is dead.
    pub fn append(
        &mut self,
        disk: &mut impl Disk,
        records: &[Entry<'_>],
        space: Space,
    ) -> Result<Range<Position>, LogError> {
        let mut group = std::mem::take(&mut self.group);
        let appended = self.append_group(disk, records, space, &mut group);
        if group.capacity() <= KEPT_ROOM {
            group.clear();
            self.group = group;
        }
        appended
    }

    fn append_group(
        &mut self,
        disk: &mut impl Disk,
        records: &[Entry<'_>],
        space: Space,
        group: &mut Vec<u8>,
    ) -> Result<Range<Position>, LogError> {
        self.alive()?;
        let (first, mut chain) = self.good_end()?;
        let mut next = first;
        group.reserve(records.iter().map(|entry| HEAD + entry.payload.len()).sum());
        for entry in records {
            self.check(entry)?;
            let place = (next, self.durable);
            chain = record::encode(self.seed, place, &chain, (entry.kind, entry.payload), group);
            next = next.next();
        }
        // A mark must find room behind it, or it could never be written.
        let room = self.options.limits.segment_bytes - HEADER - HEAD as u64;
        if group.len() as u64 > room {
            let limit = usize::try_from(room).unwrap_or(usize::MAX);
            return Err(LogError::TooLong { bytes: group.len(), limit });
        }
        if next == first {
            return Ok(first..first);
        }
        self.ask_for_space(disk, group.len() as u64, space)?;
        if self.must_roll(group.len() as u64) {
            self.roll(disk)?;
        }
        self.write(disk, Point::LogAppend, group)?;
        self.extend(group.len() as u64, next, chain);
        Ok(first..next)
    }

    /// Makes all that was appended durable and gives the position before which all is.
    ///
    /// # Errors
    /// If the disk fails: the log is dead.
    pub fn sync(&mut self, disk: &mut impl Disk) -> Result<Position, LogError> {
        self.alive()?;
        let next = self.next();
        if self.durable < next {
            let file = self.last_file();
            disk.sync(Point::LogSync, &file).map_err(|e| self.die(&file, e))?;
            self.durable = next;
        }
        Ok(self.durable)
    }

    /// Writes down, without a sync, up to where the log is durable. Every group of records does
    /// this too, for those before it. So it is worth a write when nothing is to be appended for a
    /// while: until then damage to the last group, though it was synced, looks like a write that
    /// was never finished, and is cut off.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn mark(&mut self, disk: &mut impl Disk) -> Result<(), LogError> {
        self.alive()?;
        let (next, chain) = self.good_end()?;
        if self.marked >= self.durable {
            return Ok(());
        }
        let mut bytes = Vec::new();
        record::encode(self.seed, (next, self.durable), &chain, (MARK, &[]), &mut bytes);
        self.ask_for_space(disk, bytes.len() as u64, Space::Ordinary)?;
        self.write(disk, Point::MarkAppend, &bytes)?;
        self.extend(bytes.len() as u64, next, chain);
        Ok(())
    }

    /// Removes the files of which all records are before `position`, but never the last file.
    /// Gives the first position that is still there.
    ///
    /// # Errors
    /// If the disk fails: the log is dead.
    pub fn drop_before(
        &mut self,
        disk: &mut impl Disk,
        position: Position,
    ) -> Result<Position, LogError> {
        self.alive()?;
        while self.segments.get(1).is_some_and(|second| second.first <= position) {
            self.remove_oldest(disk)?;
        }
        Ok(self.first())
    }

    /// Removes everything and begins anew at `first`: for a replica that got a snapshot of a later
    /// state. If it is interrupted, what is left is the end of the old log, or nothing.
    ///
    /// # Errors
    /// If there is no space. If the disk fails: the log is dead.
    pub fn start_over(&mut self, disk: &mut impl Disk, first: Position) -> Result<(), LogError> {
        self.alive()?;
        while !self.segments.is_empty() {
            self.remove_oldest(disk)?;
        }
        (self.durable, self.marked, self.options.first) = (first, first, first);
        let begun = self.place_segment(disk, first, chain_start(&self.options.owner, first));
        begun.map_err(|e| self.kill(format!("no log could be begun: {e}")))
    }

    // The oldest goes first and durably, so that no crash leaves an older one without a newer.
    fn remove_oldest(&mut self, disk: &mut impl Disk) -> Result<(), LogError> {
        let file = self.segments.first().map(Segment::file).unwrap_or_default();
        disk.remove(Point::DropRemove, &file).map_err(|e| self.die(&file, e))?;
        self.segments.remove(0);
        self.edition += 1;
        disk.sync_names(Point::DropNamesSync).map_err(|e| self.die(&file, e))
    }

    /// Puts an empty segment in its place, as the last.
    pub(super) fn place_segment(
        &mut self,
        disk: &mut impl Disk,
        first: Position,
        chain: Digest,
    ) -> Result<(), LogError> {
        let owner = self.options.owner;
        let header = Header { version: VERSION, owner, first, durable: first, chain };
        let segment = Segment::empty(header);
        let file = segment.file();
        let begun = Placing::begin(disk, &SEGMENT, file.clone());
        let placing = begun.map_err(|e| self.die_unless_full(&file, e))?;
        if let Err(e) = placing.write(disk, &header.encode()) {
            return Err(self.give_up(disk, placing, Point::FailedPlaceRemove, &file, e));
        }
        placing.finish(disk).map_err(|e| self.die(&file, e))?;
        self.segments.push(segment);
        Ok(())
    }

    /// A file could not be written: removes what there is of it. Then the log is as before if the
    /// disk was full, and dead otherwise.
    pub(super) fn give_up(
        &mut self,
        disk: &mut impl Disk,
        placing: Placing,
        point: Point,
        file: &str,
        error: DiskError,
    ) -> LogError {
        match (error, placing.give_up(disk, point)) {
            (DiskError::NoSpace, Ok(())) => LogError::NoSpace,
            (DiskError::NoSpace, Err(e)) | (e, _) => self.die(file, e),
        }
    }

    // Everything in a file is durable before there is a next one. So only the last file can end
    // in an unfinished write.
    fn roll(&mut self, disk: &mut impl Disk) -> Result<(), LogError> {
        let (next, chain) = self.good_end()?;
        let file = self.last_file();
        disk.sync(Point::RollSync, &file).map_err(|e| self.die(&file, e))?;
        self.durable = next;
        self.place_segment(disk, next, chain)
    }

    fn must_roll(&self, more: u64) -> bool {
        let limit = self.options.limits.segment_bytes;
        let is_full = |s: &Segment| s.length + more > limit && s.first < s.reach();
        self.segments.last().is_some_and(is_full)
    }

    fn write(&mut self, disk: &mut impl Disk, point: Point, bytes: &[u8]) -> Result<(), LogError> {
        let file = self.last_file();
        match disk.append(point, &file, bytes) {
            Ok(()) => Ok(()),
            Err(DiskError::NoSpace) => {
                // What is behind the last whole record must not stay, durably.
                let length = self.segments.last().map_or(HEADER, |segment| segment.length);
                let cut = disk.truncate(Point::FailedAppendTruncate, &file, length);
                let cut = cut.and_then(|()| disk.sync(Point::FailedAppendSync, &file));
                cut.map_err(|e| self.die(&file, e))?;
                self.durable = self.next();
                Err(LogError::NoSpace)
            }
            Err(e) => Err(self.die(&file, e)),
        }
    }

    // So many good bytes were written.
    fn extend(&mut self, bytes: u64, next: Position, chain: Digest) {
        if let Some(last) = self.segments.last_mut() {
            last.length += bytes;
            let length = last.length;
            if let Some(run) = last.runs.last_mut() {
                (run.next, run.to, run.after) = (next, length, chain);
            }
        }
        self.marked = self.durable;
    }

    fn ask_for_space(
        &self,
        disk: &mut impl Disk,
        bytes: u64,
        space: Space,
    ) -> Result<(), LogError> {
        let kept = match space {
            Space::Ordinary => self.options.limits.reserve_bytes,
            Space::Reserve => 0,
        };
        let free = disk.free_space().map_err(|e| disk_error("the free space", e))?;
        let needed = bytes.saturating_add(HEADER).saturating_add(kept);
        if free < needed { Err(LogError::NoSpace) } else { Ok(()) }
    }

    /// Whether a record is within the limits.
    pub(super) fn check(&self, entry: &Entry<'_>) -> Result<(), LogError> {
        let (bytes, limit) = (entry.payload.len(), self.options.limits.record_bytes);
        if entry.kind == MARK {
            return Err(LogError::Kind);
        }
        if bytes > limit { Err(LogError::TooLong { bytes, limit }) } else { Ok(()) }
    }

    fn good_end(&self) -> Result<(Position, Digest), LogError> {
        let end = self.segments.last().and_then(Segment::end);
        end.ok_or_else(|| LogError::DamagedEnd(self.next()))
    }

    fn last_file(&self) -> String {
        self.segments.last().map(Segment::file).unwrap_or_default()
    }

    /// What reading its files takes.
    pub(super) fn reading(&self) -> (Seed, usize) {
        (self.seed, self.options.limits.record_bytes)
    }

    /// Examines a file anew, since it is not what it was.
    pub(super) fn examine(&mut self, disk: &mut impl Disk, index: usize) -> Result<(), LogError> {
        let next = self.next();
        let end = self.segments.get(index + 1).map(|segment| segment.first);
        let Some(old) = self.segments.get(index) else { return Ok(()) };
        let (first, length, file) = (old.first, old.length, old.file());
        let examined = scan::examine(disk, self.reading(), first, end);
        let mut segment = examined.map_err(|e| disk_error(&file, e))?;
        if end.is_none() && segment.reach() < next && segment.end().is_some() {
            let (from, first, what) = (segment.length, segment.reach(), What::Missing);
            let to = length.max(from);
            segment.add_gap(Gap { from, to, first, next: None, what, unfinished: false });
        }
        self.segments[index] = segment;
        recover::link(&mut self.segments);
        self.edition += 1;
        Ok(())
    }

    /// # Errors
    /// If the log is dead.
    pub(super) fn alive(&self) -> Result<(), LogError> {
        self.dead.clone().map_or(Ok(()), |why| Err(LogError::Dead(why)))
    }

    fn die_unless_full(&mut self, file: &str, error: DiskError) -> LogError {
        if error == DiskError::NoSpace { LogError::NoSpace } else { self.die(file, error) }
    }

    /// Makes it dead. A sync is never tried again: after one that failed the system may have
    /// forgotten what it did not write, and say the next time that all is well.
    pub(super) fn die(&mut self, file: &str, error: DiskError) -> LogError {
        self.kill(format!("{file}: {error}"))
    }

    fn kill(&mut self, why: String) -> LogError {
        self.dead = Some(why.clone());
        LogError::Dead(why)
    }
}
