//! The directory of the log of rounds as it is at one moment, only to be read.

use super::is_plain;
use crate::storage::{Disk, DiskError, Point};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How often the directory is looked at again because a running replica has changed it meanwhile.
const LOOKS: usize = 20;

/// All files of the log and the snapshots that were there at one moment, open. A replica that runs
/// on them goes on: it appends, which changes nothing that is there, and gives files other names or
/// removes them, which an open file does not notice. Files that are being made are listed, and
/// not opened.
#[derive(Debug)]
pub struct Frozen {
    files: BTreeMap<String, File>,
    unfinished: Vec<String>,
}

impl Frozen {
    /// Opens all of them.
    ///
    /// # Errors
    /// What the system says, or that they change too fast.
    pub(in crate::daemon) fn open(path: &Path) -> io::Result<Self> {
        let mut names = list(path)?;
        for _ in 0..LOOKS {
            let (mut files, mut is_same) = (BTreeMap::new(), true);
            for name in names.iter().filter(|name| is_whole(name)) {
                match File::open(path.join(name)) {
                    Ok(file) => drop(files.insert(name.clone(), file)),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => is_same = false,
                    Err(e) => return Err(e),
                }
            }
            // Only if nothing came or went meanwhile do they belong together.
            let again = list(path)?;
            let whole = |names: &[String]| -> Vec<String> {
                names.iter().filter(|name| is_whole(name)).cloned().collect()
            };
            is_same &= whole(&names) == whole(&again);
            names = again;
            if is_same {
                let unfinished = names.into_iter().filter(|name| !is_whole(name)).collect();
                return Ok(Self { files, unfinished });
            }
        }
        Err(io::Error::other("its files change faster than they can be opened: try again"))
    }

    fn file(&self, name: &str) -> Result<&File, DiskError> {
        self.files.get(name).ok_or(DiskError::NotFound)
    }
}

fn is_whole(name: &str) -> bool {
    name.ends_with(".seg") || name.ends_with(".snap")
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_ours = |n: &String| is_plain(n) && (is_whole(n) || n.ends_with(".new"));
        names.extend(entry.file_name().into_string().ok().filter(is_ours));
    }
    names.sort();
    Ok(names)
}

fn refused<T>() -> Result<T, DiskError> {
    Err(DiskError::Failed("it is only to be read".to_owned()))
}

impl Disk for Frozen {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        Ok(self.files.keys().chain(&self.unfinished).cloned().collect())
    }

    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        let told = self.file(file)?.metadata();
        told.map(|m| m.len()).map_err(|e| DiskError::Failed(e.to_string()))
    }

    fn read_at(&mut self, file: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let handle = self.file(file)?;
        loop {
            match handle.read_at(into, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|e| DiskError::Failed(e.to_string())),
            }
        }
    }

    fn create(&mut self, _: Point, _: &str) -> Result<(), DiskError> {
        refused()
    }

    fn append(&mut self, _: Point, _: &str, _: &[u8]) -> Result<(), DiskError> {
        refused()
    }

    fn truncate(&mut self, _: Point, _: &str, _: u64) -> Result<(), DiskError> {
        refused()
    }

    fn sync(&mut self, _: Point, _: &str) -> Result<(), DiskError> {
        refused()
    }

    fn rename(&mut self, _: Point, _: &str, _: &str) -> Result<(), DiskError> {
        refused()
    }

    fn link(&mut self, _: Point, _: &str, _: &str) -> Result<(), DiskError> {
        refused()
    }

    fn remove(&mut self, _: Point, _: &str) -> Result<(), DiskError> {
        refused()
    }

    fn sync_names(&mut self, _: Point) -> Result<(), DiskError> {
        refused()
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_can_be_read_though_it_is_removed_or_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("log-1.seg"), b"one").unwrap();
        fs::write(path("log-2.seg"), b"two").unwrap();
        fs::write(path("log-3.seg.new"), b"three").unwrap();
        fs::write(path("notes"), b"not ours").unwrap();
        let mut disk = Frozen::open(dir.path()).unwrap();
        fs::remove_file(path("log-1.seg")).unwrap();
        fs::write(path("log-3.seg"), b"later").unwrap();
        assert_eq!(disk.list().unwrap(), ["log-1.seg", "log-2.seg", "log-3.seg.new"]);
        let mut bytes = [0; 8];
        assert_eq!(disk.read_at("log-1.seg", 1, &mut bytes), Ok(2));
        assert_eq!(&bytes[..2], b"ne");
        assert_eq!(disk.length("log-3.seg"), Err(DiskError::NotFound));
        assert!(disk.remove(Point::DropRemove, "log-2.seg").is_err());
        assert!(path("log-2.seg").exists());
    }
}
