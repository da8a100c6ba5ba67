//! The log, on disks in memory and in a directory.

use quorate::storage::{Disk, DiskError, Limits, Log, Options, Point, Position};
use quorate::types::Digest;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory whose files stay open, with the calls that the daemon's makes: `write`, and
/// `fdatasync` for content, `fsync` of the directory for names.
pub struct FileDisk {
    path: PathBuf,
    open: BTreeMap<String, File>,
}

impl FileDisk {
    /// A directory that is there.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: BTreeMap::new() }
    }

    fn file(&mut self, name: &str) -> Result<&mut File, DiskError> {
        if !self.open.contains_key(name) {
            let opened = OpenOptions::new().read(true).append(true).open(self.path.join(name));
            self.open.insert(name.to_owned(), opened.map_err(failed)?);
        }
        self.open.get_mut(name).ok_or(DiskError::NotFound)
    }
}

fn failed(error: std::io::Error) -> DiskError {
    match error.kind() {
        ErrorKind::NotFound => DiskError::NotFound,
        ErrorKind::StorageFull => DiskError::NoSpace,
        _ => DiskError::Failed(error.to_string()),
    }
}

impl Disk for FileDisk {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let entries = fs::read_dir(&self.path).map_err(failed)?;
        let name =
            |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        Ok(entries.filter_map(name).collect())
    }

    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        self.file(file)?.metadata().map(|m| m.len()).map_err(failed)
    }

    fn read_at(&mut self, file: &str, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.file(file)?.read_at(into, at).map_err(failed)
    }

    fn create(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        let path = self.path.join(file);
        let made = OpenOptions::new().read(true).append(true).create_new(true).open(path);
        self.open.insert(file.to_owned(), made.map_err(failed)?);
        Ok(())
    }

    fn append(&mut self, _: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.file(file)?.write_all(bytes).map_err(failed)
    }

    fn truncate(&mut self, _: Point, file: &str, length: u64) -> Result<(), DiskError> {
        self.file(file)?.set_len(length).map_err(failed)
    }

    fn sync(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        self.file(file)?.sync_data().map_err(failed)
    }

    fn rename(&mut self, _: Point, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.path.join(from), self.path.join(to)).map_err(failed)?;
        let moved = self.open.remove(from);
        self.open.remove(to);
        self.open.extend(moved.map(|file| (to.to_owned(), file)));
        Ok(())
    }

    fn link(&mut self, _: Point, file: &str, second: &str) -> Result<(), DiskError> {
        fs::hard_link(self.path.join(file), self.path.join(second)).map_err(failed)
    }

    fn remove(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        self.open.remove(file);
        fs::remove_file(self.path.join(file)).map_err(failed)
    }

    fn sync_names(&mut self, _: Point) -> Result<(), DiskError> {
        File::open(&self.path).and_then(|d| d.sync_all()).map_err(failed)
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        // Nothing here fills a disk: who measures with a full one gets an error of a write.
        Ok(1 << 40)
    }
}

/// A new log on an empty disk, with files of 64 MiB.
///
/// # Panics
/// If the disk fails.
pub fn open_log(disk: &mut impl Disk) -> Log {
    let segment_bytes = 64 << 20;
    let limits = Limits { segment_bytes, record_bytes: 8 << 20, reserve_bytes: segment_bytes };
    let options = Options {
        owner: Digest([1; 32]),
        secret: Digest([2; 32]),
        first: Position(0),
        known: Position(0),
        limits,
    };
    Log::open(disk, options, &mut |_| {}).expect("an empty disk takes a log").0
}
