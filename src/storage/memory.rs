//! A disk in memory that fails as it is told to: for tests and for the simulator.
//!
//! It keeps what is durable apart from what was only written. When the process is killed the next
//! life sees everything that was written, but it is no more durable than before. When the power
//! is lost it sees what was durable, and of the rest whatever the dice choose: writes may be
//! missing, torn, or there without earlier ones, and each change of a name may have happened or
//! not.

mod faults;
mod file;

pub use faults::{Crash, Faults, Moment, When};

use super::disk::{Disk, DiskError, Point};
use file::{Change, File};
use std::collections::BTreeMap;

/// Gives a number below the one that it is asked with, which is never 0.
pub type Dice<'a> = &'a mut dyn FnMut(u64) -> u64;

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    /// What will go wrong.
    pub faults: Faults,
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since they were last made durable, in order.
    renamings: Vec<Renaming>,
    next_file: u64,
    counts: BTreeMap<Point, u64>,
    calls: u64,
    last_point: Option<Point>,
    is_over: bool,
}

#[derive(Clone, Debug)]
enum Renaming {
    Link(String, u64),
    Unlink(String),
    /// A file and not a name is moved: which one it is was known when it was asked for.
    Move(String, String, u64),
}

impl MemoryDisk {
    /// An empty disk on which nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changes were asked for so far, those that failed included.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The point of the last of them.
    pub fn last_point(&self) -> Option<Point> {
        self.last_point
    }

    /// How often each point was reached.
    pub fn counts(&self) -> &BTreeMap<Point, u64> {
        &self.counts
    }

    /// Whether the process has ended, as [`Faults::crash`] says.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The disk that the next life sees after the process was killed.
    #[must_use]
    pub fn killed(mut self) -> Self {
        (self.is_over, self.faults) = (false, Faults::default());
        self
    }

    /// The disk that the next life sees after the power was lost. The dice are asked about each
    /// change that was not durable: a 0 always means that it is lost.
    #[must_use]
    pub fn without_power(mut self, dice: Dice<'_>) -> Self {
        let mut names = self.durable_names.clone();
        for renaming in &self.renamings {
            if dice(2) == 1 {
                renaming.apply(&mut names);
            }
        }
        self.files.retain(|number, _| names.values().any(|n| n == number));
        self.files.values_mut().for_each(|file| file.lose_power(dice));
        (self.durable_names, self.names) = (names.clone(), names);
        self.renamings.clear();
        self.killed()
    }

    /// The bytes of a file as the process sees them; `None` if there is none.
    pub fn bytes(&self, file: &str) -> Option<&[u8]> {
        self.find(file).ok().map(File::bytes)
    }

    /// Whether nothing of what was written to a file waits for a sync.
    pub fn is_synced(&self, file: &str) -> bool {
        self.find(file).is_ok_and(File::is_synced)
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.files.values().map(|file| file.bytes().len() as u64).sum()
    }

    /// Turns a bit over, durably. Says whether there is such a bit.
    pub fn flip(&mut self, file: &str, offset: u64, bit: u8) -> bool {
        self.find_mut(file).is_ok_and(|file| file.flip(offset, bit))
    }

    /// Puts a file with these bytes on the disk, durably, in the place of any of that name.
    pub fn put(&mut self, file: &str, bytes: &[u8]) {
        self.next_file += 1;
        self.files.insert(self.next_file, File::durable(bytes));
        for names in [&mut self.names, &mut self.durable_names] {
            names.insert(file.to_owned(), self.next_file);
        }
    }

    /// Loses a file, durably, as if its name had never been.
    pub fn lose(&mut self, file: &str) {
        self.names.remove(file);
        self.durable_names.remove(file);
    }

    /// From now on, so many reads of this file give what is in it now.
    pub fn serve_stale(&mut self, file: &str, times: u64) {
        if let Ok(file) = self.find_mut(file) {
            file.serve_stale(times);
        }
    }

    fn find(&self, file: &str) -> Result<&File, DiskError> {
        self.names.get(file).and_then(|n| self.files.get(n)).ok_or(DiskError::NotFound)
    }

    fn find_mut(&mut self, file: &str) -> Result<&mut File, DiskError> {
        let number = self.names.get(file).ok_or(DiskError::NotFound)?;
        self.files.get_mut(number).ok_or(DiskError::NotFound)
    }

    // Counts the call and makes it, or ends the process before, within or after it.
    fn change<R>(
        &mut self,
        point: Point,
        act: impl FnOnce(&mut Self, Option<u64>) -> Result<R, DiskError>,
    ) -> Result<R, DiskError> {
        self.alive()?;
        let count = self.counts.entry(point).or_default();
        *count += 1;
        self.calls += 1;
        self.last_point = Some(point);
        let moment = self.faults.crash_at(self.calls, point, *count);
        self.is_over = moment.is_some();
        match moment {
            None => act(self, None),
            Some(Moment::Before) => Err(DiskError::Crashed),
            Some(Moment::Inside(cut)) => act(self, Some(cut)).and(Err(DiskError::Crashed)),
            Some(Moment::After) => act(self, None).and(Err(DiskError::Crashed)),
        }
    }

    fn alive(&self) -> Result<(), DiskError> {
        if self.is_over { Err(DiskError::Crashed) } else { Ok(()) }
    }

    fn rename_now(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    fn free(&self) -> u64 {
        self.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    // Forgets files that can have no name any more.
    fn forget(&mut self) {
        let names = [&self.names, &self.durable_names];
        let named: Vec<u64> = names.iter().flat_map(|n| n.values().copied()).collect();
        let pending = self.renamings.iter().filter_map(|r| match r {
            Renaming::Link(_, number) | Renaming::Move(_, _, number) => Some(*number),
            Renaming::Unlink(_) => None,
        });
        let named: Vec<u64> = named.into_iter().chain(pending).collect();
        self.files.retain(|number, _| named.contains(number));
    }
}

impl Disk for MemoryDisk {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.alive()?;
        Ok(self.names.keys().cloned().collect())
    }

    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        self.alive()?;
        Ok(self.find(file)?.bytes().len() as u64)
    }

    fn read_at(&mut self, file: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.alive()?;
        let size = self.faults.read_size(file, offset, into.len())?;
        // The slice is not longer than `into`.
        let into = &mut into[..size];
        Ok(self.find_mut(file)?.read(offset, into))
    }

    fn create(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            if disk.names.contains_key(file) {
                return Err(DiskError::Failed("the file exists".to_owned()));
            }
            if disk.faults.capacity.is_some() && disk.free() == 0 {
                return Err(DiskError::NoSpace);
            }
            disk.next_file += 1;
            disk.files.insert(disk.next_file, File::default());
            disk.rename_now(Renaming::Link(file.to_owned(), disk.next_file));
            Ok(())
        })
    }

    fn append(&mut self, point: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.change(point, |disk, cut| {
            let room = usize::try_from(disk.free()).unwrap_or(usize::MAX);
            let cut = cut.map(|cut| (cut % (bytes.len() as u64 + 1)) as usize);
            let taken = cut.unwrap_or(bytes.len()).min(room);
            let fault = disk.faults.append_fault(&disk.counts);
            let offset = disk.find(file)?.bytes().len() as u64;
            match fault {
                None => disk.find_mut(file)?.change(Change::write(offset, &bytes[..taken])),
                Some(faults::BadAppend::Lost) => {}
                Some(faults::BadAppend::Zeros) => {
                    disk.find_mut(file)?.change(Change::write(offset, &vec![0; taken]));
                }
                Some(faults::BadAppend::Elsewhere(other, place)) => {
                    disk.find_mut(file)?.change(Change::write(offset, &vec![0; taken]));
                    disk.find_mut(&other)?.overwrite(place, &bytes[..taken]);
                }
            }
            if taken < bytes.len() && cut.is_none() { Err(DiskError::NoSpace) } else { Ok(()) }
        })
    }

    fn truncate(&mut self, point: Point, file: &str, length: u64) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            if let Some(error) = disk.faults.refuses(point) {
                return Err(error);
            }
            disk.find_mut(file)?.change(Change::Truncate(length));
            Ok(())
        })
    }

    fn sync(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            if let Some(error) = disk.faults.refuses(point) {
                // The system drops what it could not write, and thinks that it is clean.
                disk.find_mut(file)?.forget_changes();
                return Err(error);
            }
            disk.find_mut(file)?.sync();
            Ok(())
        })
    }

    fn rename(&mut self, point: Point, from: &str, to: &str) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            let number = *disk.names.get(from).ok_or(DiskError::NotFound)?;
            if let Some(error) = disk.faults.refuses(point) {
                return Err(error);
            }
            disk.rename_now(Renaming::Move(from.to_owned(), to.to_owned(), number));
            Ok(())
        })
    }

    fn link(&mut self, point: Point, file: &str, second: &str) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            let number = *disk.names.get(file).ok_or(DiskError::NotFound)?;
            if disk.names.contains_key(second) {
                return Err(DiskError::Failed("the file exists".to_owned()));
            }
            if let Some(error) = disk.faults.refuses(point) {
                return Err(error);
            }
            disk.rename_now(Renaming::Link(second.to_owned(), number));
            Ok(())
        })
    }

    fn remove(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            disk.find(file)?;
            if let Some(error) = disk.faults.refuses(point) {
                return Err(error);
            }
            disk.rename_now(Renaming::Unlink(file.to_owned()));
            Ok(())
        })
    }

    fn sync_names(&mut self, point: Point) -> Result<(), DiskError> {
        self.change(point, |disk, _| {
            if let Some(error) = disk.faults.refuses(point) {
                return Err(error);
            }
            disk.durable_names = disk.names.clone();
            disk.renamings.clear();
            disk.forget();
            Ok(())
        })
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        self.alive()?;
        Ok(self.free())
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Renaming::Link(file, number) => drop(names.insert(file.clone(), *number)),
            Renaming::Unlink(file) => drop(names.remove(file)),
            Renaming::Move(from, to, number) => {
                if names.get(from) == Some(number) {
                    names.remove(from);
                }
                names.insert(to.clone(), *number);
            }
        }
    }
}
