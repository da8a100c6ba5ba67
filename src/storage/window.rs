//! Reading a file through a buffer of bounded size, with patience for a disk that errs.

use super::disk::{Disk, DiskError};
use std::ops::Range;

/// Bytes that are read at once when fewer are asked for.
const AHEAD: usize = 64 << 10;
/// Bytes of the smallest piece that is given up when the disk does not give it.
const BLOCK: u64 = 4096;
/// How often a read is tried. Errors of reading are often gone the second time.
const ATTEMPTS: usize = 3;
/// Pieces that were given up, of which the places are remembered one by one.
const PIECES: usize = 64;

/// A part of a file in memory.
#[derive(Debug)]
pub(super) struct Window {
    file: String,
    length: u64,
    /// Where in the file the buffer begins.
    at: u64,
    buffer: Vec<u8>,
    unreadable: Vec<Range<u64>>,
}

impl Window {
    /// A window over a file, at its beginning.
    ///
    /// # Errors
    /// If the length of the file cannot be learnt.
    pub(super) fn open(disk: &mut impl Disk, file: &str) -> Result<Self, DiskError> {
        let length = disk.length(file)?;
        let (file, buffer, unreadable) = (file.to_owned(), Vec::new(), Vec::new());
        Ok(Self { file, length, at: 0, buffer, unreadable })
    }

    /// Lets it see up to this length; what is behind that may still change.
    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
    }

    /// The length of the file, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `offset` on: as many as asked for, or fewer at the end of the file. Where
    /// the disk gave none, not even when asked again, there are zeros.
    ///
    /// # Errors
    /// If the file is gone.
    pub(super) fn view(
        &mut self,
        disk: &mut impl Disk,
        offset: u64,
        want: usize,
    ) -> Result<&[u8], DiskError> {
        let want =
            usize::try_from(self.length.saturating_sub(offset)).map_or(want, |l| l.min(want));
        if offset < self.at || self.at + (self.buffer.len() as u64) < offset + want as u64 {
            self.load(disk, offset, want)?;
        }
        // Now `at <= offset`, and the difference fits since it is within the buffer or at its end.
        let start = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let rest = self.buffer.get(start..).unwrap_or_default();
        Ok(&rest[..want.min(rest.len())])
    }

    /// Whether the disk did not give some of these bytes.
    pub(super) fn is_unreadable(&self, bytes: Range<u64>) -> bool {
        self.unreadable.iter().any(|piece| piece.start < bytes.end && bytes.start < piece.end)
    }

    // Makes the buffer begin at `offset` and hold so many bytes and some more, keeping what it has.
    fn load(&mut self, disk: &mut impl Disk, offset: u64, want: usize) -> Result<(), DiskError> {
        let behind = offset.checked_sub(self.at).and_then(|n| usize::try_from(n).ok());
        match behind.filter(|n| *n <= self.buffer.len()) {
            Some(passed) => drop(self.buffer.drain(..passed)),
            None => self.buffer.clear(),
        }
        self.at = offset;
        let left = self.length.saturating_sub(offset);
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(want.max(AHEAD));
        let mut filled = self.buffer.len().min(size);
        self.buffer.resize(size.max(filled), 0);
        while filled < size {
            let place = offset + filled as u64;
            let got = match read(disk, &self.file, place, &mut self.buffer[filled..size]) {
                Err(DiskError::Failed(_)) => self.load_block(disk, place, filled..size)?,
                other => other?,
            };
            if got == 0 {
                // It has become shorter than it said.
                self.length = place;
                break;
            }
            filled += got;
        }
        self.buffer.truncate(filled);
        Ok(())
    }

    // Reads up to the end of the disk's block, or gives that up.
    fn load_block(
        &mut self,
        disk: &mut impl Disk,
        place: u64,
        free: Range<usize>,
    ) -> Result<usize, DiskError> {
        let end = (place / BLOCK + 1) * BLOCK;
        let size = usize::try_from(end - place).unwrap_or(free.len()).min(free.len());
        let piece = &mut self.buffer[free.start..free.start + size];
        match read(disk, &self.file, place, piece) {
            Err(DiskError::Failed(_)) => {
                piece.fill(0);
                self.give_up(place..place + size as u64);
                Ok(size)
            }
            other => other,
        }
    }

    // Remembers a piece; of too many, only where they begin and end.
    fn give_up(&mut self, piece: Range<u64>) {
        let is_full = self.unreadable.len() >= PIECES;
        match self.unreadable.last_mut() {
            Some(last) if last.end == piece.start => last.end = piece.end,
            Some(last) if is_full => {
                *last = last.start.min(piece.start)..last.end.max(piece.end);
            }
            _ => self.unreadable.push(piece),
        }
    }
}

fn read(
    disk: &mut impl Disk,
    file: &str,
    offset: u64,
    into: &mut [u8],
) -> Result<usize, DiskError> {
    let mut last = disk.read_at(file, offset, into);
    for _ in 1..ATTEMPTS {
        match last {
            Err(DiskError::Failed(_)) => last = disk.read_at(file, offset, into),
            other => return other,
        }
    }
    last
}
