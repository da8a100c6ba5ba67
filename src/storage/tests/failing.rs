//! A disk that is full, that fails, or that does something else than it says.

use super::world::{ENDS, end};
use super::*;

fn refused(point: Point) -> Faults {
    Faults { refused: [(point, 1)].into(), ..Faults::default() }
}

#[test]
fn a_log_is_dead_after_a_sync_that_failed_though_the_next_would_succeed() {
    for point in [Point::LogSync, Point::RollSync] {
        let (mut disk, mut log) = filled(5);
        disk.faults = refused(point);
        let mut failed = None;
        while failed.is_none() {
            failed = append(&mut log, &mut disk, 1, 0).err();
            failed = failed.or(log.sync(&mut disk).err().filter(|_| point == Point::LogSync));
        }
        assert!(matches!(failed, Some(LogError::Dead(_))), "{failed:?}");
        let calls = disk.calls();
        let dead = |result: Result<(), LogError>| matches!(result, Err(LogError::Dead(_)));
        assert!(dead(log.sync(&mut disk).map(|_| ())));
        assert!(dead(append(&mut log, &mut disk, 1, 0)));
        assert!(dead(log.mark(&mut disk)));
        assert!(dead(log.drop_before(&mut disk, Position(3)).map(|_| ())));
        assert!(dead(log.start_over(&mut disk, Position(3))));
        assert!(dead(log.read(&mut disk, &mut Cursor::new(Position(0))).map(|_| ())));
        assert!(dead(log.repair(&mut disk, Position(0)..Position(0), [(1, [])])));
        assert_eq!(disk.calls(), calls, "nothing is tried again");
    }
}

#[test]
fn any_other_failure_of_going_on_or_dropping_kills_it_too() {
    let points = [
        Point::SegmentHeaderSync,
        Point::SegmentRename,
        Point::SegmentNamesSync,
        Point::DropRemove,
        Point::DropNamesSync,
    ];
    for point in points {
        let (mut disk, mut log) = filled(12);
        disk.faults = refused(point);
        let mut failed = log.drop_before(&mut disk, Position(8)).err();
        for _ in 0..30 {
            failed = failed.or_else(|| append(&mut log, &mut disk, 1, 0).err());
        }
        assert!(matches!(failed, Some(LogError::Dead(_))), "{point}: {failed:?}");
        assert!(matches!(log.sync(&mut disk), Err(LogError::Dead(_))));
        let mut disk = disk.without_power(&mut |_| 0);
        let (_, found) = opened(&mut disk);
        assert!(found.next >= Position(12) && found.damages.is_empty());
    }
}

#[test]
fn a_full_disk_leaves_the_log_usable_at_every_byte() {
    for room in 0..500 {
        let (mut disk, mut log) = filled(8);
        disk.faults.capacity = Some(disk.used() + room);
        let entry = Entry { kind: 1, payload: &[1; 100] };
        let mut full = None;
        // `Reserve`, so that the disk is asked and not only its free space.
        while full.is_none() {
            disk.faults.refused.clear();
            full = log.append(&mut disk, &[entry], Space::Reserve).err();
        }
        assert_eq!(full, Some(LogError::NoSpace));
        disk.faults.capacity = None;
        let next = log.next();
        log.append(&mut disk, &[entry], Space::Ordinary).expect("there is space again");
        assert_eq!(log.sync(&mut disk), Ok(next.next()));
        let mut disk = disk.without_power(&mut |_| 0);
        let (_, found) = opened(&mut disk);
        assert_eq!((found.next, found.cut, found.damages), (next.next(), None, vec![]));
    }
}

/// Fills the disk within an append: the free space is asked for before it shrinks.
struct Shrinking {
    disk: MemoryDisk,
    room: u64,
}

impl Disk for Shrinking {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.disk.list()
    }
    fn length(&mut self, file: &str) -> Result<u64, DiskError> {
        self.disk.length(file)
    }
    fn read_at(&mut self, file: &str, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.read_at(file, at, into)
    }
    fn create(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.disk.create(point, file)
    }
    fn append(&mut self, point: Point, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.faults.capacity = Some(self.disk.used() + self.room);
        let done = self.disk.append(point, file, bytes);
        self.disk.faults.capacity = None;
        done
    }
    fn truncate(&mut self, point: Point, file: &str, length: u64) -> Result<(), DiskError> {
        self.disk.truncate(point, file, length)
    }
    fn sync(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.disk.sync(point, file)
    }
    fn rename(&mut self, point: Point, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(point, from, to)
    }
    fn link(&mut self, point: Point, file: &str, second: &str) -> Result<(), DiskError> {
        self.disk.link(point, file, second)
    }
    fn remove(&mut self, point: Point, file: &str) -> Result<(), DiskError> {
        self.disk.remove(point, file)
    }
    fn sync_names(&mut self, point: Point) -> Result<(), DiskError> {
        self.disk.sync_names(point)
    }
    fn free_space(&mut self) -> Result<u64, DiskError> {
        self.disk.free_space()
    }
}

#[test]
fn what_a_full_disk_left_of_a_group_is_removed_durably() {
    for room in 0..110 {
        let (disk, mut log) = filled(8);
        let mut disk = Shrinking { disk, room };
        let entry = Entry { kind: 1, payload: &[1; 50] };
        let before = segment_files(&mut disk.disk).len();
        let full = log.append(&mut disk, &[entry], Space::Ordinary);
        assert_eq!(full, Err(LogError::NoSpace), "{room}");
        assert_eq!(segment_files(&mut disk.disk).len(), before);
        assert!(disk.disk.counts()[&Point::FailedAppendTruncate] == 1);
        assert_eq!(log.durable(), Position(8));
        let mut disk = disk.disk;
        for _ in 0..3 {
            log.append(&mut disk, &[entry], Space::Ordinary).expect("there is space again");
        }
        log.sync(&mut disk).expect("the disk is good");
        let (_, found) = opened(&mut disk.without_power(&mut |_| 0));
        assert_eq!((found.next, found.cut, found.damages), (Position(11), None, vec![]));
    }
}

#[test]
fn the_log_is_dead_if_what_a_full_disk_left_cannot_be_removed() {
    for point in [Point::FailedAppendTruncate, Point::FailedAppendSync] {
        let (mut disk, mut log) = filled(8);
        disk.faults = refused(point);
        let mut disk = Shrinking { disk, room: 30 };
        let entry = Entry { kind: 1, payload: &[1; 50] };
        let failed = log.append(&mut disk, &[entry], Space::Ordinary);
        assert!(matches!(failed, Err(LogError::Dead(_))));
        let (_, found) = opened(&mut disk.disk.killed());
        assert_eq!((found.next, found.damages), (Position(8), vec![]));
    }
    // A new file that cannot be made whole, nor removed.
    let (mut disk, mut log) = filled(8);
    while log.segments.last().expect("there is one").length < 600 {
        append(&mut log, &mut disk, 1, 0).expect("there is room");
    }
    disk.faults = refused(Point::FailedPlaceRemove);
    let mut disk = Shrinking { disk, room: 30 };
    let entry = Entry { kind: 1, payload: &[1; 150] };
    let failed = log.append(&mut disk, &[entry], Space::Ordinary);
    assert!(matches!(failed, Err(LogError::Dead(_))));
}

#[test]
fn a_crash_while_what_a_full_disk_left_is_removed_loses_nothing() {
    let points = [Point::FailedAppendTruncate, Point::FailedAppendSync, Point::FailedPlaceRemove];
    for (point, how) in points.into_iter().flat_map(|p| ENDS.map(|how| (p, how))) {
        for moment in [Moment::Before, Moment::After] {
            let (mut disk, mut log) = filled(8);
            let is_new_file = point == Point::FailedPlaceRemove;
            while is_new_file && log.segments.last().expect("there is one").length < 600 {
                append(&mut log, &mut disk, 1, 0).expect("there is room");
            }
            log.sync(&mut disk).expect("the disk is good");
            disk.faults.crash = Some(Crash { when: When::Point(point, 1), moment });
            let mut disk = Shrinking { disk, room: 30 };
            let entry = Entry { kind: 1, payload: if is_new_file { &[1; 150] } else { &[1; 50] } };
            let crashed = log.append(&mut disk, &[entry], Space::Ordinary);
            assert!(matches!(crashed, Err(LogError::Dead(_))) && disk.disk.is_over());
            let (next, mut disk) = (log.next(), end(disk.disk, how, 5));
            let (mut log, found) = opened(&mut disk);
            assert_eq!((found.next, found.damages), (next, vec![]), "{point} {how}");
            let read = records(&read_all(&mut log, &mut disk, Position(0)));
            assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
        }
    }
}

#[test]
fn a_new_file_that_finds_no_space_is_removed() {
    let (mut disk, mut log) = filled(8);
    while log.segments.last().expect("there is one").length < 600 {
        append(&mut log, &mut disk, 1, 0).expect("there is room");
    }
    let mut disk = Shrinking { disk, room: 30 };
    let entry = Entry { kind: 1, payload: &[1; 150] };
    assert_eq!(log.append(&mut disk, &[entry], Space::Ordinary), Err(LogError::NoSpace));
    let mut disk = disk.disk;
    assert_eq!(disk.counts()[&Point::FailedPlaceRemove], 1);
    assert!(disk.list().expect("it can be read").iter().all(|file| !file.ends_with(".new")));
    log.append(&mut disk, &[entry], Space::Ordinary).expect("there is space again");
}

#[test]
fn the_reserve_is_kept_for_those_who_may_use_it() {
    let (mut disk, mut log) = filled(4);
    let entry = Entry { kind: 1, payload: &[1; 100] };
    disk.faults.capacity = Some(disk.used() + LIMITS.reserve_bytes + 161 + 96);
    log.append(&mut disk, &[entry], Space::Ordinary).expect("the reserve stays free");
    let calls = disk.calls();
    assert_eq!(log.append(&mut disk, &[entry], Space::Ordinary), Err(LogError::NoSpace));
    assert_eq!(disk.calls(), calls, "refused before anything is written");
    log.append(&mut disk, &[entry], Space::Reserve).expect("it may use the reserve");
    log.sync(&mut disk).expect("the disk is good");
    let first = log.drop_before(&mut disk, log.next()).expect("the disk is good");
    assert!(first > Position(0), "something could be dropped");
}

#[test]
fn opening_without_space_says_so_and_can_be_done_again() {
    let (mut disk, _) = filled(8);
    disk.faults.capacity = Some(disk.used() + 100);
    assert_eq!(open(&mut disk).err(), Some(LogError::NoSpace));
    assert_eq!(open(&mut disk).err(), Some(LogError::NoSpace));
    disk.faults.capacity = None;
    assert_eq!(opened(&mut disk).1.next, Position(8));
}

#[test]
fn short_reads_and_passing_errors_change_nothing() {
    for size in [1, 7, 60, 61, 97] {
        let (mut disk, _) = filled(20);
        disk.faults.read_at_most = Some(size);
        let all = 0..u64::MAX;
        let files = segment_files(&mut disk);
        disk.faults.unreadable = files.iter().map(|f| (f.clone(), all.clone(), 2)).collect();
        let (mut log, found) = opened(&mut disk);
        assert_eq!((found.next, found.cut, found.damages), (Position(20), None, vec![]));
        disk.faults.unreadable = files.iter().map(|f| (f.clone(), all.clone(), 2)).collect();
        assert_eq!(records(&read_all(&mut log, &mut disk, Position(0))).len(), 20);
    }
}

#[test]
fn what_the_disk_does_not_give_is_damage_and_is_never_cut_off() {
    let (mut disk, _) = filled(20);
    let files = segment_files(&mut disk);
    for file in &files {
        let mut disk = disk.clone();
        disk.faults.unreadable = vec![(file.clone(), 300..301, u64::MAX)];
        let (mut log, found) = opened(&mut disk);
        assert_eq!(found.cut, None);
        let damaged = found.damages.iter().any(|d| d.what == What::Unreadable);
        assert!(damaged && found.damages.iter().all(|d| d.file == *file));
        let read = records(&read_all(&mut log, &mut disk, Position(0)));
        assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
        disk.faults = Faults::default();
        let (_, found) = opened(&mut disk);
        assert_eq!((found.next, found.damages), (Position(20), vec![]), "it is read again");
    }
}

#[test]
fn writes_that_never_came_to_the_disk_are_found() {
    // All appends of a log of 24 records; the last ones cannot be missed by anybody but a caller
    // who knows of them.
    let appends = 3 + 12 + 6;
    for nth in 1..appends {
        for zeros in [false, true] {
            let mut disk = MemoryDisk::new();
            let fault = Some(nth);
            let (lost, zeros) = if zeros { (None, fault) } else { (fault, None) };
            disk.faults = Faults { lost, zeros, ..Faults::default() };
            // A lost header is one of a file that was never good, and found as such.
            let (mut log, _) = opened(&mut disk);
            for _ in 0..12 {
                append(&mut log, &mut disk, 2, 0).expect("the disk says it is good");
                log.sync(&mut disk).expect("the disk says it is good");
            }
            log.mark(&mut disk).expect("the disk says it is good");
            let mut disk = disk.without_power(&mut |_| 0);
            let (mut log, found) = opened(&mut disk);
            let steps = read_all(&mut log, &mut disk, Position(0));
            let read = records(&steps);
            assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
            let is_whole = read.len() == 24 && found.damages.is_empty();
            let is_told = !found.damages.is_empty() && found.next == Position(24);
            // The last write of all has nothing behind it that could know of it.
            let is_last = found.next >= Position(22) && found.damages.is_empty();
            // What is known of the last file's records stands in it: only that something was.
            let is_open = found.damages.last().is_some_and(|d| d.next.is_none());
            assert!(is_whole || is_told || is_last || is_open, "append {nth}: {found:?}");
        }
    }
}

#[test]
fn a_lost_last_write_is_found_by_who_knows_of_it() {
    for zeros in [false, true] {
        let (mut disk, mut log) = filled(9);
        let nth = disk.counts().iter().filter(|(p, _)| {
            matches!(p, Point::SegmentHeaderWrite | Point::LogAppend | Point::MarkAppend)
        });
        let nth = Some(nth.map(|(_, n)| n).sum::<u64>() + 1);
        let (lost, zeros) = if zeros { (None, nth) } else { (nth, None) };
        disk.faults = Faults { lost, zeros, ..Faults::default() };
        append(&mut log, &mut disk, 1, 0).expect("the disk says it is good");
        log.sync(&mut disk).expect("the disk says it is good");
        let options = Options { known: Position(10), ..options() };
        let (log, found) = Log::open(&mut disk, options, &mut |_| {}).expect("it opens");
        assert_eq!(found.damages.len(), 1);
        assert_eq!((found.damages[0].first, found.damages[0].next), (Position(9), None));
        assert_eq!((found.cut, found.next, log.chain()), (None, Position(10), None));
    }
}

#[test]
fn misdirected_writes_are_found_at_both_places() {
    for offset in [0, 96, 150, 333, 500] {
        let (mut disk, mut log) = filled(20);
        let victim = segment_files(&mut disk)[1].clone();
        let nth = disk.counts().iter().filter(|(p, _)| {
            matches!(p, Point::SegmentHeaderWrite | Point::LogAppend | Point::MarkAppend)
        });
        let nth = nth.map(|(_, n)| n).sum::<u64>() + 1;
        disk.faults.misdirected = Some((nth, victim.clone(), offset));
        for _ in 0..4 {
            append(&mut log, &mut disk, 1, 0).expect("the disk says it is good");
            log.sync(&mut disk).expect("the disk says it is good");
        }
        log.mark(&mut disk).expect("the disk says it is good");
        let (mut log, found) = opened(&mut disk);
        assert_eq!(found.cut, None);
        let read = records(&read_all(&mut log, &mut disk, Position(0)));
        assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
        assert!(found.damages.iter().any(|d| d.file == victim), "{:?}", found.damages);
        let lost = |p: u64| {
            let is_in = |d: &Damage| d.first.0 <= p && d.next.is_none_or(|next| p < next.0);
            found.damages.iter().any(is_in)
        };
        let missing = (0..24).filter(|p| !read.iter().any(|(q, _)| q.0 == *p));
        assert!(missing.into_iter().all(lost), "{:?}", found.damages);
        let is_misplaced = |d: &Damage| matches!(d.what, What::Misplaced { .. });
        assert!(offset != 96 || found.damages.iter().any(is_misplaced));
    }
}

#[test]
fn stale_reads_are_tried_again_and_stale_records_found() {
    // A reader that gets old bytes for new ones asks again.
    let (mut disk, mut log) = filled(4);
    let file = segment_files(&mut disk).last().expect("there is one").clone();
    disk.serve_stale(&file, 1);
    append(&mut log, &mut disk, 1, 0).expect("there is room");
    assert_eq!(records(&read_all(&mut log, &mut disk, Position(4))).len(), 1);

    // Records of another life at the same places, whole and at their positions.
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    append(&mut log, &mut disk, 2, 0).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    let mut other = disk.clone();
    let (mut stale, _) = opened(&mut other);
    append(&mut stale, &mut other, 2, 8).expect("there is room");
    append(&mut log, &mut disk, 2, 9).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    append(&mut log, &mut disk, 1, 9).expect("there is room");
    let file = segment_files(&mut disk)[0].clone();
    let old = other.bytes(&file).expect("it is there").to_vec();
    let mut bytes = disk.bytes(&file).expect("it is there").to_vec();
    let length = old.len();
    bytes[96..length].copy_from_slice(&old[96..]);
    disk.put(&file, &bytes);
    let (mut log, found) = opened(&mut disk);
    assert_eq!(found.cut, None);
    assert_eq!(found.damages.len(), 1, "{:?}", found.damages);
    let damage = &found.damages[0];
    assert_eq!((damage.what, damage.next), (What::Chain, Some(Position(4))));
    // Which of the records before the last are stale cannot be told, so none is believed.
    let read = records(&read_all(&mut log, &mut disk, Position(0)));
    assert_eq!(read, vec![(Position(4), payload(4, 9))]);
    let right = (0..4).map(|p| (1, payload(p, if p < 2 { 0 } else { 9 })));
    log.repair(&mut disk, Position(0)..Position(4), right).expect("they fit");
    assert_eq!(records(&read_all(&mut log, &mut disk, Position(0))).len(), 5);
    let (_, found) = opened(&mut disk);
    assert_eq!((found.damages, found.next), (vec![], Position(5)));
}

#[test]
fn an_end_that_cannot_be_read_is_not_taken_for_an_unfinished_write() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    append(&mut log, &mut disk, 2, 0).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    let file = segment_files(&mut disk)[0].clone();
    disk.faults.unreadable = vec![(file, 200..201, u64::MAX)];
    let (log, found) = opened(&mut disk);
    assert_eq!((found.cut, log.chain()), (None, None));
    assert!(found.damages.iter().any(|d| d.what == What::Unreadable && d.next.is_none()));
}

#[test]
fn a_file_of_another_life_is_not_believed_though_it_fits_by_its_positions() {
    let filled_in = |life: u64| {
        let mut disk = MemoryDisk::new();
        let (mut log, _) = opened(&mut disk);
        for _ in 0..30 {
            append(&mut log, &mut disk, 1, life).expect("there is room");
        }
        disk
    };
    let (mut disk, mut other) = (filled_in(0), filled_in(5));
    let files = segment_files(&mut disk);
    assert_eq!(files, segment_files(&mut other));
    disk.put(&files[1], other.bytes(&files[1]).expect("it is there"));
    let (mut log, found) = opened(&mut disk);
    assert!(found.damages.iter().any(|d| d.file == files[1] && d.what == What::Chain));
    let read = records(&read_all(&mut log, &mut disk, Position(0)));
    assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
}
