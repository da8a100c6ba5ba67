//! A real directory as the disk of the log of rounds and its snapshots.

use super::is_plain;
use crate::storage::{Disk, DiskError, Point};
use rustix::fs::statvfs;
use rustix::io::{Errno, retry_on_intr};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files that are kept open although nothing in them waits for a sync.
const OPEN_FILES: usize = 16;
/// What is logged is the clients' own business.
const PRIVATE: u32 = 0o600;
/// What says nothing of them.
const READABLE: u32 = 0o644;

/// A directory of files with plain names. Whatever else is in it is not seen.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The mode of new files.
    mode: u32,
    /// For syncing the names.
    names: File,
    open: BTreeMap<String, Handle>,
    uses: u64,
}

#[derive(Debug)]
struct Handle {
    file: File,
    /// Whether something was written with it that was not synced. It stays open until then: an
    /// error of the disk is told to those who had the file open when it came, and later perhaps
    /// to nobody.
    is_unsynced: bool,
    /// The number of its last use.
    used: u64,
}

impl Directory {
    /// A directory that is there. New files in it are for their owner only.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::daemon) fn open(path: &Path) -> io::Result<Self> {
        let (names, mode) = (File::open(path)?, PRIVATE);
        Ok(Self { path: path.to_owned(), mode, names, open: BTreeMap::new(), uses: 0 })
    }

    /// From now on new files can be read by everybody.
    #[must_use]
    pub(in crate::daemon) fn readable(self) -> Self {
        Self { mode: READABLE, ..self }
    }

    fn place(&self, file: &str) -> Result<PathBuf, DiskError> {
        if is_plain(file) {
            return Ok(self.path.join(file));
        }
        Err(DiskError::Failed(format!("`{file}` is no plain name for a file")))
    }

    // The open file of this name.
    fn handle(&mut self, file: &str) -> Result<&mut Handle, DiskError> {
        if !self.open.contains_key(file) {
            let path = self.place(file)?;
            let opened = OpenOptions::new().read(true).append(true).open(path);
            self.keep(file, opened.map_err(failed)?);
        }
        self.uses += 1;
        let handle = self.open.get_mut(file).ok_or(DiskError::NotFound)?;
        handle.used = self.uses;
        Ok(handle)
    }

    // Keeps a file open, and closes that which was not used for the longest time.
    fn keep(&mut self, file: &str, opened: File) {
        let idle = self.open.iter().filter(|(_, handle)| !handle.is_unsynced);
        if idle.clone().count() >= OPEN_FILES
            && let Some(oldest) = idle.min_by_key(|(_, handle)| handle.used)
        {
            let oldest = oldest.0.clone();
            self.open.remove(&oldest);
        }
        let handle = Handle { file: opened, is_unsynced: false, used: self.uses };
        self.open.insert(file.to_owned(), handle);
    }

    /// How many files are open.
    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        self.open.len()
    }
}

impl Disk for Directory {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_file = !entry.file_type().map_err(failed)?.is_dir();
            names.extend(entry.file_name().into_string().ok().filter(|n| is_file && is_plain(n)));
        }
        Ok(names)
    }

    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        Ok(fs::metadata(self.place(file)?).map_err(failed)?.len())
    }

    fn read_at(&mut self, file: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let handle = self.handle(file)?;
        loop {
            match handle.file.read_at(into, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(failed),
            }
        }
    }

    fn create(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        let path = self.place(file)?;
        let mut options = OpenOptions::new();
        let made = options.read(true).append(true).create_new(true).mode(self.mode).open(path);
        let made = made.map_err(failed)?;
        self.uses += 1;
        self.keep(file, made);
        Ok(())
    }

    fn append(&mut self, _: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let handle = self.handle(file)?;
        handle.is_unsynced = true;
        handle.file.write_all(bytes).map_err(failed)
    }

    fn truncate(&mut self, _: Point, file: &str, length: u64) -> Result<(), DiskError> {
        let handle = self.handle(file)?;
        // Nothing is made longer: what is not there must not look like zeros.
        if handle.file.metadata().map_err(failed)?.len() <= length {
            return Ok(());
        }
        handle.is_unsynced = true;
        handle.file.set_len(length).map_err(failed)
    }

    fn sync(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        let handle = self.handle(file)?;
        handle.file.sync_data().map_err(failed)?;
        handle.is_unsynced = false;
        Ok(())
    }

    fn rename(&mut self, _: Point, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.place(from)?, self.place(to)?).map_err(failed)?;
        // What is open under the new name is the file that is gone.
        let moved = self.open.remove(from);
        if from != to {
            self.open.remove(to);
        }
        if let Some(handle) = moved {
            self.open.insert(to.to_owned(), handle);
        }
        Ok(())
    }

    fn link(&mut self, _: Point, file: &str, second: &str) -> Result<(), DiskError> {
        fs::hard_link(self.place(file)?, self.place(second)?).map_err(failed)
    }

    fn remove(&mut self, _: Point, file: &str) -> Result<(), DiskError> {
        fs::remove_file(self.place(file)?).map_err(failed)?;
        self.open.remove(file);
        Ok(())
    }

    fn sync_names(&mut self, _: Point) -> Result<(), DiskError> {
        self.names.sync_all().map_err(failed)
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        let told = retry_on_intr(|| statvfs(&self.path)).map_err(|e| failed(e.into()))?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}

fn failed(error: io::Error) -> DiskError {
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    if full.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error())) {
        return DiskError::NoSpace;
    }
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::NotFound,
        _ => DiskError::Failed(error.to_string()),
    }
}
