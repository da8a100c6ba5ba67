//! A disk whose changes stay in memory, for looking at what a real one holds.

use super::disk::{Disk, DiskError, Point};
use std::collections::BTreeMap;

/// What reading gives is what the disk below holds and what was changed since; what is changed is
/// kept in memory and never reaches that disk. So [`super::Log::open`], which cuts off and writes
/// anew, can be asked what it *would* find and do.
///
/// A file that is changed is copied into memory whole; opening a log does that with its last file,
/// or with none.
#[derive(Debug)]
pub struct Overlay<D> {
    below: D,
    /// Files that were changed; `None` for one that was removed.
    changed: BTreeMap<String, Option<Vec<u8>>>,
}

impl<D: Disk> Overlay<D> {
    /// Nothing is changed yet.
    pub fn new(below: D) -> Self {
        Self { below, changed: BTreeMap::new() }
    }

    // The content of a file that is to be changed.
    fn lift(&mut self, file: &str) -> Result<&mut Vec<u8>, DiskError> {
        if !self.changed.contains_key(file) {
            let content = self.copy(file)?;
            self.changed.insert(file.to_owned(), Some(content));
        }
        self.changed.get_mut(file).and_then(Option::as_mut).ok_or(DiskError::NotFound)
    }

    fn copy(&mut self, file: &str) -> Result<Vec<u8>, DiskError> {
        let length = usize::try_from(self.below.length(file)?).unwrap_or(usize::MAX);
        let mut content = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.below.read_at(file, filled as u64, &mut content[filled..])? {
                0 => break,
                got => filled += got,
            }
        }
        content.truncate(filled);
        Ok(content)
    }
}

impl<D: Disk> Disk for Overlay<D> {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let mut names = self.below.list()?;
        names.retain(|name| !self.changed.contains_key(name));
        names.extend(self.changed.iter().filter(|(_, c)| c.is_some()).map(|(n, _)| n.clone()));
        Ok(names)
    }

    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        match self.changed.get(file) {
            Some(Some(content)) => Ok(content.len() as u64),
            Some(None) => Err(DiskError::NotFound),
            None => self.below.length(file),
        }
    }

    fn read_at(&mut self, file: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let content = match self.changed.get(file) {
            Some(Some(content)) => content,
            Some(None) => return Err(DiskError::NotFound),
            None => return self.below.read_at(file, offset, into),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let rest = &content[start..];
        let got = rest.len().min(into.len());
        into[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }

    fn create(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        if self.length(file).is_ok() {
            return Err(DiskError::Failed("there is such a file".to_owned()));
        }
        self.changed.insert(file.to_owned(), Some(Vec::new()));
        Ok(())
    }

    fn append(&mut self, _: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.lift(file)?.extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, _: Point, file: &str, length: u64) -> Result<(), DiskError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.lift(file)?.truncate(length);
        Ok(())
    }

    fn sync(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        self.length(file).map(drop)
    }

    fn rename(&mut self, _: Point, from: &str, to: &str) -> Result<(), DiskError> {
        self.lift(from)?;
        let content = self.changed.insert(from.to_owned(), None).flatten();
        self.changed.insert(to.to_owned(), content);
        Ok(())
    }

    fn link(&mut self, _: Point, file: &str, second: &str) -> Result<(), DiskError> {
        if self.length(second).is_ok() {
            return Err(DiskError::Failed("there is such a file".to_owned()));
        }
        let content = self.lift(file)?.clone();
        self.changed.insert(second.to_owned(), Some(content));
        Ok(())
    }

    fn remove(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        self.changed.insert(file.to_owned(), None);
        Ok(())
    }

    fn sync_names(&mut self, _: Point) -> Result<(), DiskError> {
        Ok(())
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Limits, Log, MemoryDisk, Options, Position, Space};
    use super::*;
    use crate::types::Digest;

    fn options() -> Options {
        let limits = Limits { segment_bytes: 4096, record_bytes: 512, reserve_bytes: 4096 };
        let (owner, secret) = (Digest([1; 32]), Digest([2; 32]));
        Options { owner, secret, first: Position(0), known: Position(0), limits }
    }

    fn content(disk: &mut MemoryDisk) -> Vec<(String, Vec<u8>)> {
        let mut names = disk.list().unwrap();
        names.sort();
        let mut all = Vec::new();
        for name in names {
            let mut bytes = vec![0; usize::try_from(disk.length(&name).unwrap()).unwrap()];
            let mut at = 0;
            while at < bytes.len() {
                at += disk.read_at(&name, at as u64, &mut bytes[at..]).unwrap();
            }
            all.push((name, bytes));
        }
        all
    }

    /// What opening finds is the same as on the disk itself, and that is left as it was.
    #[test]
    fn a_log_is_opened_without_a_change_to_its_disk() {
        let mut disk = MemoryDisk::new();
        let (mut log, _) = Log::open(&mut disk, options(), &mut |_| {}).unwrap();
        for n in 0..40u8 {
            let payload = [n; 300];
            let entry = Entry { kind: 1, payload: &payload };
            log.append(&mut disk, &[entry], Space::Ordinary).unwrap();
            log.sync(&mut disk).unwrap();
        }
        // An unfinished write, which opening cuts off, and a file that never got its name.
        let last = disk.list().unwrap().into_iter().max().unwrap();
        disk.append(Point::LogAppend, &last, &[7; 100]).unwrap();
        disk.create(Point::SegmentCreate, "log-00000000000000009999.seg.new").unwrap();
        let before = content(&mut disk);

        let mut overlay = Overlay::new(disk);
        let (_, seen) = Log::open(&mut overlay, options(), &mut |_| {}).unwrap();
        assert_eq!((seen.records, seen.leftovers, seen.damages.len()), (40, 1, 0));
        assert_eq!(seen.cut.as_ref().unwrap().bytes, 100);
        assert!(overlay.list().unwrap().iter().all(|name| !name.ends_with(".new")));
        let mut disk = overlay.below;
        assert_eq!(content(&mut disk), before);

        let mut overlay = Overlay::new(disk);
        overlay.link(Point::KeepLink, &last, "second").unwrap();
        assert!(overlay.link(Point::KeepLink, &last, "second").is_err(), "it is there");
        assert_eq!(overlay.link(Point::KeepLink, "none", "third"), Err(DiskError::NotFound));
        overlay.append(Point::LogAppend, &last, &[7]).unwrap();
        let length = overlay.below.length(&last).unwrap();
        assert_eq!((overlay.length("second"), overlay.length(&last)), (Ok(length), Ok(length + 1)));
        let mut disk = overlay.below;
        assert_eq!(content(&mut disk), before);

        let (_, really) = Log::open(&mut disk, options(), &mut |_| {}).unwrap();
        assert_eq!(really, seen);
        assert_ne!(content(&mut disk), before, "opening does change a disk");
    }
}
