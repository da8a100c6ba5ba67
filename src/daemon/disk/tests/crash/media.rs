//! Both directories of a replica as disks in memory, which end together, at any of their calls.

use crate::storage::{Crash, Disk, DiskError, MemoryDisk, Moment, Point, When};
use std::cell::RefCell;
use std::rc::Rc;

/// The data directory, with the mark and the records of epochs.
pub const DATA: usize = 0;
/// The directory of the log of rounds and the snapshots.
pub const ROUNDS: usize = 1;

/// A crash at one call: what is on the disks then.
#[derive(Clone)]
pub struct Left {
    pub point: Point,
    pub phase: &'static str,
    /// Which call it was, over both disks.
    pub call: u64,
    pub moment: Moment,
    pub disks: [MemoryDisk; 2],
}

/// What becomes of the disks after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The process is killed: all that was written stays, and is no more durable than before.
    Kill,
    /// The power is gone: of each write that was not synced a prefix, some sectors, all or nothing
    /// stays; so do some changes of names.
    Torn,
    /// The power is gone, and everything that was not synced with it.
    Lost,
}

impl End {
    pub const ALL: [End; 3] = [End::Kill, End::Torn, End::Lost];

    /// The disks that the next life finds. The seed is for what is torn.
    pub fn of(self, disks: &[MemoryDisk; 2], seed: u64) -> [MemoryDisk; 2] {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        disks.clone().map(|disk| match self {
            End::Kill => disk.killed(),
            End::Torn => disk.without_power(&mut dice),
            End::Lost => disk.without_power(&mut |_| 0),
        })
    }
}

/// The disks, and when they end.
#[derive(Default)]
pub struct Media {
    pub disks: [MemoryDisk; 2],
    pub calls: u64,
    /// The call at which the process ends.
    pub crash: Option<(u64, Moment)>,
    pub is_over: bool,
    /// Where it ended.
    pub point: Option<Point>,
    /// Every crash that could have been, if somebody wants to know.
    pub left: Option<Vec<Left>>,
}

impl Media {
    pub fn new(disks: [MemoryDisk; 2]) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { disks, ..Self::default() }))
    }

    fn change(
        &mut self,
        (which, point): (usize, Point),
        is_append: bool,
        act: &dyn Fn(&mut MemoryDisk) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        if self.is_over {
            return Err(DiskError::Crashed);
        }
        // An end that is counted on the disk that the call is made on.
        let end_at = |disks: &mut [MemoryDisk; 2], moment| {
            let when = When::Call(disks[which].calls() + 1);
            disks[which].faults.crash = Some(Crash { when, moment });
            act(&mut disks[which])
        };
        self.calls += 1;
        let call = self.calls;
        if let Some(left) = &mut self.left {
            let inside = [("inside", Moment::Inside(1)), ("inside", Moment::Inside(301))];
            let inside = inside.into_iter().filter(|_| is_append);
            let moments = [("before", Moment::Before), ("after", Moment::After)];
            for (phase, moment) in moments.into_iter().chain(inside) {
                let mut disks = self.disks.clone();
                let ended = end_at(&mut disks, moment);
                if ended == Err(DiskError::Crashed) {
                    left.push(Left { point, phase, call, moment, disks });
                }
            }
        }
        match self.crash.filter(|(at, _)| *at == call) {
            Some((_, moment)) => {
                (self.is_over, self.point) = (true, Some(point));
                end_at(&mut self.disks, moment)
            }
            None => act(&mut self.disks[which]),
        }
    }
}

/// One of the two disks.
#[derive(Clone)]
pub struct Tap(pub Rc<RefCell<Media>>, pub usize);

impl Tap {
    fn look<T>(
        &self,
        f: impl FnOnce(&mut MemoryDisk) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut media = self.0.borrow_mut();
        if media.is_over {
            return Err(DiskError::Crashed);
        }
        f(&mut media.disks[self.1])
    }

    fn change(
        &self,
        point: Point,
        is_append: bool,
        act: &dyn Fn(&mut MemoryDisk) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.0.borrow_mut().change((self.1, point), is_append, act)
    }
}

impl Disk for Tap {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.look(|disk| disk.list())
    }

    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        self.look(|disk| disk.length(file))
    }

    fn read_at(&mut self, file: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.look(|disk| disk.read_at(file, offset, into))
    }

    fn create(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.create(point, file))
    }

    fn append(&mut self, point: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.change(point, true, &|disk| disk.append(point, file, bytes))
    }

    fn truncate(&mut self, point: Point, file: &str, length: u64) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.truncate(point, file, length))
    }

    fn sync(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.sync(point, file))
    }

    fn rename(&mut self, point: Point, from: &str, to: &str) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.rename(point, from, to))
    }

    fn link(&mut self, point: Point, file: &str, second: &str) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.link(point, file, second))
    }

    fn remove(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.remove(point, file))
    }

    fn sync_names(&mut self, point: Point) -> Result<(), DiskError> {
        self.change(point, false, &|disk| disk.sync_names(point))
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        self.look(|disk| disk.free_space())
    }
}
