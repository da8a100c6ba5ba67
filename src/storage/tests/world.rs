//! A replica's doings on a disk, and what must be true of it after any crash.

use super::*;
use std::collections::BTreeMap;

/// What a replica did in all its lives, and what it was told.
#[derive(Clone, Default)]
pub(super) struct World {
    /// What each position of the log holds if it is there at all.
    pub(super) attempted: BTreeMap<u64, Vec<u8>>,
    /// All before this was acknowledged as durable.
    pub(super) acked: u64,
    /// Positions before this may be gone; before `dropped` they are.
    pub(super) may_drop: u64,
    pub(super) dropped: u64,
    pub(super) life: u64,
    /// Snapshots that may be there, and those that must.
    pub(super) saved: BTreeMap<u64, bool>,
    pub(super) cuts: u64,
}

impl World {
    /// Opens the log and the snapshots, and checks that all that was promised is there, nothing
    /// else, and that opening once more finds the same.
    pub(super) fn check(&mut self, disk: &mut MemoryDisk) -> Result<Log, LogError> {
        self.life += 1;
        let (mut log, found) = open(disk)?;
        self.verify(disk, &mut log, &found);
        let (mut log, again) = open(disk)?;
        assert_eq!((again.first, again.next), (found.first, found.next));
        assert_eq!((again.cut.as_ref(), again.leftovers), (None, 0));
        self.verify(disk, &mut log, &again);
        Ok(log)
    }

    fn verify(&mut self, disk: &mut MemoryDisk, log: &mut Log, found: &Found) {
        assert_eq!(found.damages, vec![], "a crash is no damage");
        let (first, next) = (found.first.0, found.next.0);
        assert!(next >= self.acked, "lost: {} acknowledged, {next} there", self.acked);
        assert!(first <= self.may_drop.max(self.dropped) && first >= self.dropped);
        assert_eq!((log.first(), log.next()), (found.first, found.next));
        assert_eq!(log.durable(), found.next);
        let read = records(&read_all(log, disk, found.first));
        assert_eq!(read.len() as u64, next - first, "contiguous");
        for ((position, bytes), expected) in read.iter().zip(first..) {
            assert_eq!(position.0, expected);
            assert_eq!(Some(bytes), self.attempted.get(&expected), "record {expected}");
        }
        self.cuts += u64::from(found.cut.is_some());
        // What was read counts from now on.
        self.attempted.retain(|position, _| *position < next);
        (self.acked, self.dropped) = (next, first);
    }

    pub(super) fn check_snapshots(&mut self, disk: &mut MemoryDisk) -> Result<(), SnapshotError> {
        let mut snapshots = Snapshots::open(disk, Digest([7; 32]), 64)?;
        let list = snapshots.list();
        for at in &list {
            snapshots.check(disk, *at)?;
            assert_eq!(read_snapshot(&mut snapshots, disk, *at), state(*at));
            assert!(self.saved.contains_key(at), "never written: {at}");
        }
        for (at, _) in self.saved.iter().filter(|(_, must)| **must) {
            assert!(list.contains(at), "lost: snapshot {at}");
        }
        self.saved = list.into_iter().map(|at| (at, true)).collect();
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        disk: &mut MemoryDisk,
        log: &mut Log,
        n: u64,
    ) -> Result<(), LogError> {
        for position in log.next().0..log.next().0 + n {
            self.attempted.insert(position, payload(position, self.life));
        }
        let done = append(log, disk, n, self.life);
        // Whatever it says is durable must be.
        self.acked = self.acked.max(log.durable().0);
        done
    }

    pub(super) fn sync(&mut self, disk: &mut MemoryDisk, log: &mut Log) -> Result<(), LogError> {
        let durable = log.sync(disk)?;
        assert_eq!(durable, log.next());
        self.acked = durable.0;
        Ok(())
    }

    pub(super) fn drop_before(
        &mut self,
        disk: &mut MemoryDisk,
        log: &mut Log,
        position: u64,
    ) -> Result<(), LogError> {
        self.may_drop = position;
        self.dropped = log.drop_before(disk, Position(position))?.0;
        Ok(())
    }

    pub(super) fn save(
        &mut self,
        disk: &mut MemoryDisk,
        snapshots: &mut Snapshots,
        at: u64,
    ) -> Result<(), SnapshotError> {
        self.saved.entry(at).or_insert(false);
        snapshots.save(disk, at, state(at).chunks(40))?;
        self.saved.insert(at, true);
        Ok(())
    }

    pub(super) fn retain(
        &mut self,
        disk: &mut MemoryDisk,
        snapshots: &mut Snapshots,
        n: usize,
    ) -> Result<(), SnapshotError> {
        let kept: Vec<u64> = snapshots.list().into_iter().take(n).collect();
        for (at, must) in &mut self.saved {
            *must &= kept.contains(at);
        }
        snapshots.retain(disk, n)?;
        self.saved.retain(|at, _| kept.contains(at));
        Ok(())
    }

    /// All that a replica does with its disk, in little.
    pub(super) fn work(&mut self, disk: &mut MemoryDisk) -> Result<(), String> {
        let text = |e: LogError| e.to_string();
        let snap = |e: SnapshotError| e.to_string();
        self.life += 1;
        let (mut log, _) = open(disk).map_err(text)?;
        let mut snapshots = Snapshots::open(disk, Digest([7; 32]), 64).map_err(snap)?;
        for round in 0..14 {
            self.append(disk, &mut log, round % 3 + 1).map_err(text)?;
            if round % 3 != 1 {
                self.append(disk, &mut log, 1).map_err(text)?;
            }
            if round % 2 == 0 {
                self.sync(disk, &mut log).map_err(text)?;
            }
            if round % 4 == 0 {
                log.mark(disk).map_err(text)?;
            }
            if round == 6 || round == 12 {
                let at = log.durable().0;
                self.save(disk, &mut snapshots, at).map_err(snap)?;
                self.retain(disk, &mut snapshots, 1).map_err(snap)?;
                self.drop_before(disk, &mut log, at - 4).map_err(text)?;
            }
        }
        self.sync(disk, &mut log).map_err(text)
    }
}

fn read_snapshot(snapshots: &mut Snapshots, disk: &mut MemoryDisk, at: u64) -> Vec<u8> {
    let mut reader = snapshots.read(disk, at).expect("it is there");
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next(disk).expect("it is whole") {
        bytes.extend(chunk);
    }
    bytes
}

/// A snapshot's content.
pub(super) fn state(at: u64) -> Vec<u8> {
    (0..at * 5 % 173).map(|i| (i * at) as u8).collect()
}

/// Ways in which a life ends, by name.
pub(super) const ENDS: [&str; 7] =
    ["kill", "all lost", "all kept", "torn at bytes", "torn at sectors", "reordered", "seeded"];

/// The disk after such an end.
pub(super) fn end(disk: MemoryDisk, how: &str, seed: u64) -> MemoryDisk {
    let mut asked = 0;
    let mut dice: Box<dyn FnMut(u64) -> u64> = match how {
        "kill" => return disk.killed(),
        "all lost" => Box::new(|_| 0),
        "all kept" => Box::new(|_| 1),
        "torn at bytes" => Box::new(|n| match n {
            2 => 1,
            4 => 2,
            n => (n - 1) / 2,
        }),
        "torn at sectors" => Box::new(move |n| {
            asked += 1;
            if n == 4 { 3 } else { asked % 2 }
        }),
        // What was written later is there, what was written first is not.
        "reordered" => Box::new(move |_| {
            asked += 1;
            (asked + 1) % 2
        }),
        _ => Box::new(seeded(seed)),
    };
    disk.without_power(&mut *dice)
}
