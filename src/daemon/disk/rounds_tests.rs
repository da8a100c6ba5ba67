//! Tests of the log of rounds and of what it lies on.

use super::directory::Directory;
use super::rounds::{self, limits};
use super::secret::{SECRET, owner};
use super::*;
use crate::storage::{
    Crash, Disk as _, DiskError, Faults, Limits, LogError, MemoryDisk, Moment, Point, When,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const CLUSTER: Digest = Digest([1; 32]);
const POINT: Point = Point::LogAppend;
pub(super) const SMALL: Limits =
    Limits { segment_bytes: 4096, record_bytes: 1024, reserve_bytes: 4096 };

fn me() -> ReplicaId {
    ReplicaId::from_index(0)
}

pub(super) fn opening(known: bool, durable: bool) -> Opening {
    let disk = known.then_some(crate::types::DiskState::Known);
    Opening { disk, cluster: CLUSTER, replica: me(), members: 3, durable, snapshots: 2 }
}

fn open(directory: &Path) -> Result<(Rounds, FoundRounds), DaemonError> {
    Rounds::open(directory, CLUSTER, me(), 3)
}

fn refused<T>(result: Result<T, DaemonError>) -> String {
    result.err().expect("this is refused").to_string()
}

/// The entry of a round: its kind and more.
pub(super) fn entry(n: u64) -> Bytes {
    let mut bytes = vec![n as u8 % 5 + 1];
    bytes.extend(format!("round {n}").into_bytes());
    bytes.resize(bytes.len() + n as usize % 7, b'.');
    Bytes::from(bytes)
}

pub(super) fn entries(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(entry).collect()
}

pub(super) fn put<D: crate::storage::Disk>(rounds: &mut Rounds<D>, range: std::ops::Range<u64>) {
    for n in range {
        rounds.append(&[entry(n)], &mut 0).unwrap();
    }
    rounds.sync().unwrap();
}

pub(super) fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Turns a bit over in a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let read = std::fs::read_dir(directory.join(rounds::DIRECTORY)).unwrap();
    let mut paths: Vec<PathBuf> = read.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(suffix));
    paths.sort();
    paths
}

/// A disk in memory that a test has a hand in.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Shared(Arc<Mutex<MemoryDisk>>, Arc<AtomicU64>);

impl Shared {
    pub(in crate::daemon) fn with<T>(&self, f: impl FnOnce(&mut MemoryDisk) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// How often it was asked for its free space.
    pub(in crate::daemon) fn asked(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    /// From now on all files can have so many bytes more than they have.
    pub(in crate::daemon) fn leave(&self, bytes: u64) {
        self.with(|disk| disk.faults.capacity = Some(disk.used() + bytes));
    }

    pub(in crate::daemon) fn heal(&self) {
        self.with(|disk| disk.faults = Faults::default());
    }

    pub(super) fn open(
        &self,
        limits: Limits,
    ) -> Result<(Rounds<Shared>, FoundRounds), DaemonError> {
        let keys = (owner(CLUSTER, me()), Digest([9; 32]));
        Rounds::open_on(self.clone(), PathBuf::from("memory"), keys, limits)
    }
}

macro_rules! delegate {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        impl crate::storage::Disk for Shared {
            $(fn $name(&mut self, $($arg: $ty),*) -> Result<$out, DiskError> {
                self.with(|disk| disk.$name($($arg),*))
            })*

            fn free_space(&mut self) -> Result<u64, DiskError> {
                self.1.fetch_add(1, Ordering::Relaxed);
                self.with(|disk| disk.free_space())
            }
        }
    };
}

delegate! {
    list() -> Vec<String>;
    length(file: &str) -> u64;
    read_at(file: &str, offset: u64, into: &mut [u8]) -> usize;
    create(point: Point, file: &str) -> ();
    append(point: Point, file: &str, bytes: &[u8]) -> ();
    truncate(point: Point, file: &str, length: u64) -> ();
    sync(point: Point, file: &str) -> ();
    rename(point: Point, from: &str, to: &str) -> ();
    link(point: Point, file: &str, second: &str) -> ();
    remove(point: Point, file: &str) -> ();
    sync_names(point: Point) -> ();
}

fn content(disk: &mut Directory, file: &str) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 5]);
    loop {
        match disk.read_at(file, bytes.len() as u64, &mut piece).unwrap() {
            0 => return bytes,
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

#[test]
fn a_directory_does_what_a_disk_promises() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Directory::open(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    std::fs::write(dir.path().join(".hidden"), b"").unwrap();
    disk.create(POINT, "a").unwrap();
    assert!(matches!(disk.create(POINT, "a"), Err(DiskError::Failed(_))), "it is there");
    disk.append(POINT, "a", b"hello ").unwrap();
    disk.append(POINT, "a", b"world").unwrap();
    disk.sync(POINT, "a").unwrap();
    disk.sync_names(POINT).unwrap();
    assert_eq!(content(&mut disk, "a"), b"hello world");
    assert_eq!(disk.length("a"), Ok(11));
    assert_eq!(disk.list(), Ok(vec!["a".to_owned()]));
    let mut into = [7; 4];
    assert_eq!(disk.read_at("a", 9, &mut into), Ok(2), "up to the end");
    for behind in [11, 12, 1 << 40] {
        assert_eq!(disk.read_at("a", behind, &mut into), Ok(0));
    }
    disk.truncate(POINT, "a", 20).unwrap();
    assert_eq!(disk.length("a"), Ok(11), "nothing becomes longer");
    disk.truncate(POINT, "a", 3).unwrap();
    disk.append(POINT, "a", b"p").unwrap();
    assert_eq!(content(&mut disk, "a"), b"help");
    assert!(disk.free_space().unwrap() > 0);
    let mode = std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Under a second name it stays when another takes the first.
    disk.link(POINT, "a", "second").unwrap();
    assert!(matches!(disk.link(POINT, "a", "second"), Err(DiskError::Failed(_))), "it is there");
    assert_eq!(disk.link(POINT, "none", "third"), Err(DiskError::NotFound));
    disk.create(POINT, "b").unwrap();
    disk.rename(POINT, "b", "second").unwrap();
    assert_eq!((content(&mut disk, "a"), content(&mut disk, "second")), (b"help".to_vec(), vec![]));
    // Another life sees the same, and appends at the end.
    let mut disk = Directory::open(dir.path()).unwrap();
    disk.append(POINT, "a", b"!").unwrap();
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"help!");
}

#[test]
fn open_files_follow_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Directory::open(dir.path()).unwrap();
    for (file, bytes) in [("old", b"old"), ("new", b"new")] {
        disk.create(POINT, file).unwrap();
        disk.append(POINT, file, bytes).unwrap();
    }
    disk.rename(POINT, "new", "old").unwrap();
    assert_eq!(content(&mut disk, "old"), b"new");
    disk.append(POINT, "old", b"er").unwrap();
    disk.sync(POINT, "old").unwrap();
    assert_eq!(std::fs::read(dir.path().join("old")).unwrap(), b"newer");
    assert_eq!(disk.length("new"), Err(DiskError::NotFound));
    assert_eq!(disk.append(POINT, "new", b"x"), Err(DiskError::NotFound));
    disk.create(POINT, "new").unwrap();
    assert_eq!(content(&mut disk, "new"), b"", "a file of an old name is a new one");
    disk.rename(POINT, "old", "old").unwrap();
    assert_eq!(content(&mut disk, "old"), b"newer");
    disk.remove(POINT, "old").unwrap();
    assert_eq!(disk.read_at("old", 0, &mut [0]), Err(DiskError::NotFound));
    disk.create(POINT, "old").unwrap();
    assert_eq!(content(&mut disk, "old"), b"");
}

#[test]
fn what_is_not_there_is_not_found_and_other_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(dir.path().join("above"), b"x").unwrap();
    let mut disk = Directory::open(&below).unwrap();
    let all = |disk: &mut Directory, file: &str| {
        [
            disk.length(file).map(|_| ()),
            disk.read_at(file, 0, &mut [0]).map(|_| ()),
            disk.append(POINT, file, b"x"),
            disk.truncate(POINT, file, 0),
            disk.sync(POINT, file),
            disk.rename(POINT, file, "b"),
            disk.remove(POINT, file),
        ]
    };
    assert!(all(&mut disk, "a").iter().all(|told| *told == Err(DiskError::NotFound)));
    for bad in ["", ".", "..", "../above", "a/b", ".a", "/etc/hostname"] {
        assert!(
            all(&mut disk, bad).iter().all(|told| matches!(told, Err(DiskError::Failed(_)))),
            "{bad}"
        );
        assert!(matches!(disk.create(POINT, bad), Err(DiskError::Failed(_))), "{bad}");
    }
    disk.create(POINT, "a").unwrap();
    assert!(matches!(disk.rename(POINT, "a", "../b"), Err(DiskError::Failed(_))));
    assert_eq!(std::fs::read(dir.path().join("above")).unwrap(), b"x");
}

#[test]
fn a_full_device_is_told_from_one_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("full")).unwrap();
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    let mut disk = Directory::open(dir.path()).unwrap();
    assert_eq!(disk.append(POINT, "full", b"x"), Err(DiskError::NoSpace));
    let Err(DiskError::Failed(what)) = disk.append(POINT, "directory", b"x") else {
        panic!("this is no file")
    };
    assert!(what.contains("directory"), "{what}");
}

#[test]
fn only_what_was_not_synced_stays_open_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Directory::open(dir.path()).unwrap();
    let name = |n: usize| format!("f{n}");
    for n in 0..40 {
        disk.create(POINT, &name(n)).unwrap();
        disk.append(POINT, &name(n), name(n).as_bytes()).unwrap();
    }
    assert_eq!(disk.open_files(), 40, "errors of these must reach somebody");
    (0..40).for_each(|n| disk.sync(POINT, &name(n)).unwrap());
    for n in 0..40 {
        disk.remove(POINT, &name(n)).unwrap();
        disk.create(POINT, &name(n)).unwrap();
        disk.append(POINT, &name(n), b"again").unwrap();
        disk.sync(POINT, &name(n)).unwrap();
    }
    (0..40).for_each(|n| assert_eq!(content(&mut disk, &name(n)), b"again"));
    let mut disk = Directory::open(dir.path()).unwrap();
    (0..40).for_each(|n| assert_eq!(content(&mut disk, &name(n)), b"again"));
    assert!(disk.open_files() <= 16, "{}", disk.open_files());
}

#[test]
fn entries_and_snapshots_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, found) = open(dir.path()).unwrap();
    assert!(rounds.is_new());
    let nothing = FoundRounds { snapshot: None, first: 0, entries: vec![], next: 0, damage: None };
    assert_eq!(found, nothing);
    put(&mut rounds, 0..5);
    rounds.mark().unwrap();
    drop(rounds);
    let (mut rounds, found) = open(dir.path()).unwrap();
    assert!(!rounds.is_new());
    assert_eq!(found, FoundRounds { entries: entries(0..5), next: 5, ..nothing.clone() });
    // A state of several chunks, the last of them not whole.
    let state = Bytes::from((0..5 << 19).map(|n: u32| (n % 251) as u8).collect::<Vec<_>>());
    rounds.save(30, 4, &text("head"), &state).unwrap();
    put(&mut rounds, 5..7);
    drop(rounds);
    let (mut rounds, found) = open(dir.path()).unwrap();
    let snapshot = Some((text("head"), state));
    let rest = entries(4..7);
    assert_eq!(found, FoundRounds { snapshot, first: 4, entries: rest, next: 7, damage: None });
    rounds.save(31, 7, &Bytes::new(), &Bytes::new()).unwrap();
    drop(rounds);
    let (_, found) = open(dir.path()).unwrap();
    let snapshot = Some((Bytes::new(), Bytes::new()));
    assert_eq!(found, FoundRounds { snapshot, first: 7, next: 7, ..nothing });
}

#[test]
fn entries_that_cannot_be_are_refused_before_any_is_appended() {
    let (mut rounds, _) = Shared::default().open(SMALL).unwrap();
    let long = Bytes::from(vec![1; SMALL.record_bytes + 1]);
    for bad in [Bytes::new(), Bytes::from_static(&[0, 1]), long.clone()] {
        let mut done = 0;
        assert!(rounds.append(&[entry(1), bad], &mut done).is_err());
        assert_eq!(done, 0);
    }
    put(&mut rounds, 0..1);
    rounds.append(&[long.slice(1..)], &mut 0).unwrap();
}

#[test]
fn entries_are_split_into_groups_that_fit() {
    let disk = Shared::default();
    let (mut rounds, _) = disk.open(SMALL).unwrap();
    let large: Vec<Bytes> = (1..=40).map(|n| Bytes::from(vec![n; 1000])).collect();
    let mut done = 0;
    rounds.append(&large, &mut done).unwrap();
    rounds.sync().unwrap();
    let groups = disk.with(|disk| disk.counts()[&Point::LogAppend]);
    assert_eq!((done, groups), (40, 14), "three in each");
    let (_, found) = disk.open(SMALL).unwrap();
    assert_eq!((found.entries, found.next, found.damage), (large, 40, None));
}

#[test]
fn two_snapshots_and_what_they_need_are_kept() {
    let disk = Shared::default();
    let (mut rounds, _) = disk.open(SMALL).unwrap();
    let names = |suffix: &str| {
        let mut names = disk.with(|disk| disk.list().unwrap());
        names.retain(|name| name.ends_with(suffix));
        names.sort();
        names
    };
    for n in 0..4 {
        put(&mut rounds, n * 100..n * 100 + 100);
        rounds.save(n, n * 100 + 50, &text("head"), &text("state")).unwrap();
    }
    assert_eq!(names(".snap"), [2, 3].map(|n| format!("snap-{n:020}.snap")));
    let first = |name: &String| name[4..24].parse::<u64>().unwrap();
    let firsts: Vec<u64> = names(".seg").iter().map(first).collect();
    assert!(firsts[0] > 150 && firsts[0] <= 250 && firsts[1] > 250, "{firsts:?}");
    // Also after it was opened anew, it knows what the older one needs.
    let (mut rounds, found) = disk.open(SMALL).unwrap();
    assert_eq!((found.first, found.entries), (350, entries(350..400)));
    rounds.save(3, 360, &text("head"), &text("state")).unwrap();
    let firsts: Vec<u64> = names(".seg").iter().map(first).collect();
    assert!(firsts[0] > 150 && firsts[0] <= 250 && firsts[1] > 250, "{firsts:?}");
    rounds.save(9, 400, &text("head"), &text("state")).unwrap();
    let firsts: Vec<u64> = names(".seg").iter().map(first).collect();
    assert!(firsts[0] > 250 && firsts[0] <= 360, "{firsts:?}");
    let later = rounds.save(8, 400, &text("head"), &text("state")).unwrap_err();
    assert!(later.to_string().contains("one of round 9"), "{later}");
    // Later in the log an earlier round is of another history: what was after it is given up.
    put(&mut rounds, 400..450);
    rounds.save(8, 450, &text("head"), &text("another")).unwrap();
    assert_eq!(names(".snap"), [3, 8].map(|n| format!("snap-{n:020}.snap")));
    put(&mut rounds, 450..460);
    let (_, found) = disk.open(SMALL).unwrap();
    assert_eq!((found.first, found.entries), (450, entries(450..460)));
    assert_eq!(found.snapshot, Some((text("head"), text("another"))));
}

#[test]
fn as_many_snapshots_are_kept_as_are_asked_for() {
    for kept in [1, 3] {
        let disk = Shared::default();
        let (mut rounds, _) = disk.open(SMALL).unwrap();
        rounds.keep(kept);
        for n in 0..5 {
            put(&mut rounds, n * 100..n * 100 + 100);
            rounds.save(n, n * 100 + 50, &text("head"), &text("state")).unwrap();
        }
        let names = disk.with(|disk| disk.list().unwrap());
        let count = names.iter().filter(|name| name.ends_with(".snap")).count();
        let oldest = names.iter().filter(|name| name.ends_with(".seg")).min().unwrap();
        let (oldest, needed) =
            (oldest[4..24].parse::<u64>().unwrap(), 450 - (kept as u64 - 1) * 100);
        assert_eq!(count, kept);
        assert!(oldest <= needed && oldest + 100 > needed, "from {oldest}, needed from {needed}");
    }
}

#[test]
fn a_damaged_snapshot_makes_way_for_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, _) = open(dir.path()).unwrap();
    put(&mut rounds, 0..10);
    rounds.save(1, 3, &text("head 1"), &text("state 1")).unwrap();
    rounds.save(2, 6, &text("head 2"), &text("state 2")).unwrap();
    drop(rounds);
    let snapshots = files(dir.path(), ".snap");
    let whole = std::fs::read(&snapshots[1]).unwrap();
    for at in 0..whole.len() {
        flip(&snapshots[1], at);
        // Another version or owner is no damage, but their checksum does not fit either.
        let (_, found) = open(dir.path()).unwrap();
        assert_eq!(found.snapshot, Some((text("head 1"), text("state 1"))), "byte {at}");
        assert_eq!((found.first, found.entries, found.damage), (3, entries(3..10), None));
        std::fs::write(&snapshots[1], &whole).unwrap();
    }
    flip(&snapshots[1], whole.len() - 1);
    let (mut rounds, _) = open(dir.path()).unwrap();
    rounds.save(2, 7, &text("head 3"), &text("state 3")).unwrap();
    drop(rounds);
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!((found.snapshot, found.first), (Some((text("head 3"), text("state 3"))), 7));
    // If none is whole, nothing says what was before the log.
    files(dir.path(), ".snap").iter().for_each(|path| flip(path, 60));
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!((found.snapshot, found.first, found.entries), (None, 0, entries(0..10)));
}

#[test]
fn entries_that_are_missing_at_the_beginning_are_told() {
    let disk = Shared::default();
    let (mut rounds, _) = disk.open(SMALL).unwrap();
    put(&mut rounds, 0..200);
    rounds.save(1, 100, &text("head"), &text("state")).unwrap();
    disk.with(|disk| disk.lose("snap-00000000000000000001.snap"));
    let (_, found) = disk.open(SMALL).unwrap();
    assert_eq!((found.snapshot, found.first, found.entries.len(), found.next), (None, 0, 0, 200));
    let damage = found.damage.unwrap();
    assert!(damage.contains("no snapshot") && damage.contains("memory"), "{damage}");
}

#[test]
fn damage_in_the_middle_ends_the_entries_and_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, _) = open(dir.path()).unwrap();
    put(&mut rounds, 0..10);
    rounds.mark().unwrap();
    drop(rounds);
    let log = &files(dir.path(), ".seg")[0];
    let bytes = std::fs::read(log).unwrap();
    let at = bytes.windows(7).position(|w| w == b"round 4").unwrap();
    flip(log, at);
    let (mut rounds, found) = open(dir.path()).unwrap();
    assert_eq!((found.entries, found.next), (entries(0..4), 10));
    let damage = found.damage.unwrap();
    let name = log.to_str().unwrap().rsplit('/').next().unwrap();
    assert!(damage.contains(name) && damage.contains("lost from record 4 "), "{damage}");
    assert!(damage.contains(&format!("byte {}", at - 62)), "{damage}");
    put(&mut rounds, 10..11);
    // A state from behind it makes it good.
    rounds.save(9, 5, &text("head"), &text("state")).unwrap();
    drop(rounds);
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!((found.first, found.entries, found.damage), (5, entries(5..11), None));
}

#[test]
fn a_damaged_end_takes_no_entries_before_a_state_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, _) = open(dir.path()).unwrap();
    put(&mut rounds, 0..10);
    rounds.save(1, 9, &text("head"), &text("state")).unwrap();
    rounds.mark().unwrap();
    drop(rounds);
    let log = &files(dir.path(), ".seg")[0];
    let bytes = std::fs::read(log).unwrap();
    let at = bytes.windows(7).position(|w| w == b"round 8").unwrap();
    std::fs::write(log, &bytes[..at]).unwrap();
    // The last one that is whole is before the place from which the snapshot goes on.
    for _ in 0..2 {
        let (mut rounds, found) = open(dir.path()).unwrap();
        assert_eq!((found.first, found.entries.len(), found.next), (9, 0, 9));
        let damage = found.damage.unwrap();
        assert!(damage.contains("the log ends at entry 8"), "{damage}");
        assert!(matches!(rounds.append(&[entry(9)], &mut 0), Err(LogError::DamagedEnd(_))));
    }
    let (mut rounds, _) = open(dir.path()).unwrap();
    rounds.save(2, 20, &text("head"), &text("later")).unwrap();
    put(&mut rounds, 20..22);
    drop(rounds);
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!((found.first, found.entries, found.next), (20, entries(20..22), 22));
    assert_eq!((found.snapshot, found.damage), (Some((text("head"), text("later"))), None));
}

#[test]
fn a_log_whose_end_is_lost_says_so_also_behind_the_damage() {
    // A state from where the log still reaches to, and one from behind that.
    for (first, later) in [(3, 8), (9, 10)] {
        let dir = tempfile::tempdir().unwrap();
        let (mut rounds, _) = open(dir.path()).unwrap();
        put(&mut rounds, 0..10);
        rounds.save(1, first, &text("head"), &text("state")).unwrap();
        drop(rounds);
        // The header says now how far it was durable.
        open(dir.path()).unwrap();
        let log = &files(dir.path(), ".seg")[0];
        let bytes = std::fs::read(log).unwrap();
        let at = bytes.windows(7).position(|w| w == b"round 8").unwrap();
        std::fs::write(log, &bytes[..at]).unwrap();
        let (mut rounds, found) = open(dir.path()).unwrap();
        assert_eq!(
            (found.first, found.entries, found.next),
            (first, entries(first..8.max(first)), 10)
        );
        let damage = found.damage.unwrap();
        assert!(damage.contains("lost from record 8 to the end"), "{damage}");
        assert!(matches!(rounds.append(&[entry(10)], &mut 0), Err(LogError::DamagedEnd(_))));
        rounds.save(2, later, &text("head"), &text("later")).unwrap();
        put(&mut rounds, later..later + 1);
        let (_, found) = open(dir.path()).unwrap();
        assert_eq!(
            (found.first, found.entries, found.damage),
            (later, entries(later..later + 1), None)
        );
    }
}

#[test]
fn the_secret_is_made_first_and_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, _) = open(dir.path()).unwrap();
    put(&mut rounds, 0..3);
    drop(rounds);
    let path = dir.path().join(rounds::DIRECTORY).join(SECRET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let told = refused(open(dir.path()));
    assert!(told.contains(SECRET) && told.contains("is missing"), "{told}");
    assert!(!path.exists());
    for at in [0, 31, 32, 63] {
        std::fs::write(&path, &secret).unwrap();
        flip(&path, at);
        let told = refused(open(dir.path()));
        assert!(told.contains("is damaged"), "byte {at}: {told}");
    }
    std::fs::write(&path, &secret[..32]).unwrap();
    assert!(open(dir.path()).is_err());
    std::fs::write(&path, &secret).unwrap();
    assert_eq!(open(dir.path()).unwrap().1.entries, entries(0..3));
    let other = tempfile::tempdir().unwrap();
    open(other.path()).unwrap();
    let others = std::fs::read(other.path().join(rounds::DIRECTORY).join(SECRET)).unwrap();
    assert_ne!(others, secret);
}

#[test]
fn another_replicas_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, _) = open(dir.path()).unwrap();
    put(&mut rounds, 0..3);
    drop(rounds);
    let before = std::fs::read(&files(dir.path(), ".seg")[0]).unwrap();
    let you = ReplicaId::from_index(1);
    for (cluster, replica) in [(CLUSTER, you), (Digest([2; 32]), me())] {
        let told = refused(Rounds::open(dir.path(), cluster, replica, 3));
        assert!(told.contains("belongs to another replica"), "{told}");
    }
    assert_eq!(std::fs::read(&files(dir.path(), ".seg")[0]).unwrap(), before);
    // What the files themselves say, with and without a snapshot.
    let disk = Shared::default();
    let (mut rounds, _) = disk.open(SMALL).unwrap();
    for _ in 0..2 {
        let keys = (owner(CLUSTER, you), Digest([9; 32]));
        let told = refused(Rounds::open_on(disk.clone(), PathBuf::new(), keys, SMALL));
        assert!(told.contains("belongs to another replica"), "{told}");
        rounds.save(1, 0, &text("head"), &text("state")).unwrap();
    }
}

#[test]
fn limits_grow_with_the_cluster_and_can_be_kept() {
    for n in 1..=31 {
        let l = limits(n);
        assert_eq!(l.record_bytes, (n + 1) << 20);
        assert_eq!(l.segment_bytes, (32 << 20).max(2 * l.record_bytes as u64));
        assert_eq!(l.reserve_bytes, l.segment_bytes);
        Shared::default().open(l).unwrap();
    }
}

#[test]
fn what_is_not_durable_keeps_no_rounds_and_does_not_outdate_any() {
    let dir = tempfile::tempdir().unwrap();
    let take = || Claim::take(dir.path()).unwrap();
    let opened = take().open(opening(false, false)).unwrap();
    assert!(opened.rounds.is_none() && !dir.path().join(rounds::DIRECTORY).exists());
    let Opened { disk, mut done, .. } = opened;
    disk.append(1, vec![entry(1)], true);
    let told = done.blocking_recv().unwrap().unwrap_err().to_string();
    assert!(told.contains("no log of rounds"), "{told}");
    drop(disk);
    // It was known without: it starts without its state, as often as it starts before it has
    // another.
    for told in ["there was no log", "the log begins at entry 1"] {
        let Opened { disk, rounds, .. } = take().open(opening(true, true)).unwrap();
        let found = rounds.unwrap();
        assert_eq!((found.next, found.entries.len()), (1, 0));
        assert!(found.damage.as_ref().is_some_and(|d| d.contains(told)), "{:?}", found.damage);
        drop(disk);
    }
    let told = refused(take().open(opening(true, false)));
    assert!(told.contains("outdated") && told.contains("durability = \"reply\""), "{told}");
}

#[test]
fn rounds_without_a_mark_are_refused_unless_there_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let take = || Claim::take(dir.path()).unwrap();
    drop(take().open(opening(false, true)).unwrap());
    let Opened { disk, .. } = take().open(opening(false, true)).unwrap();
    disk.append(1, vec![entry(1)], true);
    drop(disk);
    let told = refused(take().open(opening(false, true)));
    assert!(told.contains("no cluster.mark"), "{told}");
    assert_eq!(take().open(opening(true, true)).unwrap().rounds.unwrap().next, 1);
}

#[test]
fn all_jobs_come_back_in_order_and_are_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let take = || Claim::take(dir.path()).unwrap();
    let Opened { disk, mut done, .. } = take().open(opening(false, true)).unwrap();
    for n in 0..30 {
        disk.append(3 * n, entries(2 * n..2 * n + 2), true);
        disk.persist(3 * n + 1, vec![entry(n)]);
        let head = Bytes::from(vec![n as u8]);
        disk.save(3 * n + 2, n, 2 * n + 1, head, text("state"));
    }
    for n in 0..90 {
        assert_eq!(done.blocking_recv().unwrap().unwrap(), n);
    }
    drop(disk);
    let opened = take().open(opening(true, true)).unwrap();
    assert_eq!(opened.records, entries(0..30));
    let found = opened.rounds.unwrap();
    assert_eq!(found.snapshot, Some((Bytes::from_static(&[29]), text("state"))));
    assert_eq!((found.first, found.entries, found.next), (59, entries(59..60), 60));
}

/// What one life does: appends, syncs, saves, and a state that came from elsewhere. Gives up to
/// which entry all is durable, by what it was told.
fn live(disk: &Shared) -> u64 {
    let durable = std::cell::Cell::new(0);
    let work = || -> Option<()> {
        let (mut rounds, _) = disk.open(SMALL).ok()?;
        let state = |first: u64| Bytes::from(first.to_string());
        for n in 0..9 {
            rounds.append(&entries(n * 10..n * 10 + 10), &mut 0).ok()?;
            rounds.sync().ok()?;
            durable.set(n * 10 + 10);
            if n % 2 == 1 {
                rounds.save(n, n * 10, &text("head"), &state(n * 10)).ok()?;
            }
        }
        rounds.mark().ok()?;
        rounds.save(20, 300, &text("head"), &state(300)).ok()?;
        durable.set(300);
        rounds.append(&entries(300..310), &mut 0).ok()?;
        rounds.sync().ok()?;
        durable.set(310);
        rounds.save(19, 305, &text("head"), &state(305)).ok()?;
        rounds.append(&entries(310..320), &mut 0).ok()?;
        rounds.sync().ok()?;
        durable.set(320);
        Some(())
    };
    let _ = work();
    durable.get()
}

/// Whenever it ends, by being killed or without power, the next life has all that was durable.
#[test]
fn nothing_that_was_durable_is_lost_wherever_it_ends() {
    let whole = Shared::default();
    assert_eq!(live(&whole), 320);
    let calls = whole.with(|disk| disk.calls());
    assert!(calls > 60, "{calls}");
    let mut seed = 7_u64;
    let mut dice = |n: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    for call in 1..=calls {
        for moment in [Moment::Before, Moment::Inside(dice(5000)), Moment::After] {
            let disk = Shared::default();
            let crash = Crash { when: When::Call(call), moment };
            disk.with(|disk| disk.faults.crash = Some(crash));
            let durable = live(&disk);
            let ended = disk.with(|disk| disk.clone());
            for after in [ended.clone().killed(), ended.without_power(&mut dice)] {
                let next = Shared::default();
                next.with(|disk| *disk = after);
                let (mut rounds, found) = next.open(SMALL).unwrap();
                let told = format!("call {call}, {moment:?}: {found:?}");
                assert!(found.next >= durable, "{told}");
                let first = found.first;
                let state = found.snapshot.map(|(_, state)| state);
                assert_eq!(state, (first > 0).then(|| Bytes::from(first.to_string())), "{told}");
                let between = found.damage.is_some();
                assert!(!between || (first == 300 && durable < 300), "{told}");
                assert_eq!(found.entries, entries(first..found.next), "{told}");
                let appended = rounds.append(&[entry(found.next)], &mut 0);
                assert_eq!(appended.is_err(), between, "{told}");
            }
        }
    }
}
