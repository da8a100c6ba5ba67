//! A crash at every call that changes something on the disk, in work and in recovery.

use super::world::{ENDS, World, end};
use super::*;
use std::collections::BTreeSet;

const MOMENTS: [(&str, Moment); 6] = [
    ("before", Moment::Before),
    ("inside, nothing", Moment::Inside(0)),
    ("inside, 1", Moment::Inside(1)),
    ("inside, 60", Moment::Inside(60)),
    ("inside, 97", Moment::Inside(97)),
    ("after", Moment::After),
];

fn crash_at(call: u64, moment: Moment) -> Faults {
    Faults { crash: Some(Crash { when: When::Call(call), moment }), ..Faults::default() }
}

/// Which points were reached at a crash, with its moment and end.
type Cases = BTreeSet<(Point, &'static str, &'static str)>;

fn point_of(disk: &MemoryDisk) -> Point {
    disk.last_point().expect("the crash was at a point")
}

/// The life that crashes at this call, or `None` if it has fewer.
fn crashed(call: u64, moment: Moment) -> Option<(MemoryDisk, World, Point)> {
    let (mut disk, mut world) = (MemoryDisk::new(), World::default());
    disk.faults = crash_at(call, moment);
    let result = world.work(&mut disk);
    if !disk.is_over() {
        assert_eq!(result, Ok(()));
        return None;
    }
    let point = point_of(&disk);
    Some((disk, world, point))
}

#[test]
fn every_crash_in_work_is_recovered_from() {
    let mut cases = Cases::new();
    let (mut cuts, mut lives) = (0, 0);
    for call in 1.. {
        let mut is_reached = false;
        for (moment_name, moment) in MOMENTS {
            let Some((disk, world, point)) = crashed(call, moment) else { continue };
            is_reached = true;
            for how in ENDS {
                let (mut disk, mut world) = (end(disk.clone(), how, call), world.clone());
                let mut log = world.check(&mut disk).expect("it recovers");
                world.check_snapshots(&mut disk).expect("they are good");
                world.append(&mut disk, &mut log, 2).expect("it goes on");
                world.sync(&mut disk, &mut log).expect("it goes on");
                let mut disk = disk.without_power(&mut |_| 0);
                world.check(&mut disk).expect("it recovers");
                world.check_snapshots(&mut disk).expect("they are good");
                cuts += world.cuts;
                lives += 1;
                cases.insert((point, moment_name, how));
            }
        }
        if !is_reached {
            break;
        }
    }
    let points: BTreeSet<Point> = cases.iter().map(|(point, ..)| *point).collect();
    println!("{} cases at {} points, {lives} lives, {cuts} cuts", cases.len(), points.len());
    assert!(cases.len() >= 60 * 7, "{} cases", cases.len());
    assert!(cuts > 50, "{cuts}");
    let in_work = [
        Point::RollSync,
        Point::SegmentCreate,
        Point::SegmentHeaderWrite,
        Point::SegmentHeaderSync,
        Point::SegmentRename,
        Point::SegmentNamesSync,
        Point::LogAppend,
        Point::LogSync,
        Point::MarkAppend,
        Point::DropRemove,
        Point::DropNamesSync,
        Point::SnapshotCreate,
        Point::SnapshotWrite,
        Point::SnapshotSync,
        Point::SnapshotRename,
        Point::SnapshotNamesSync,
        Point::SnapshotFoundNamesSync,
        Point::SnapshotRetainRemove,
        Point::SnapshotRetainNamesSync,
    ];
    let missed: Vec<&Point> = in_work.iter().filter(|point| !points.contains(point)).collect();
    assert!(missed.is_empty(), "never crashed at {missed:?}");
}

/// Recovers with a crash at each of its calls in turn, so many times one within the other.
fn recover(disk: &MemoryDisk, world: &World, depth: u32, seed: u64, cases: &mut Cases) {
    for call in 1.. {
        let mut is_reached = false;
        for (moment_name, moment) in [MOMENTS[0], MOMENTS[3], MOMENTS[5]] {
            let mut torn = disk.clone();
            torn.faults = crash_at(disk.calls() + call, moment);
            let opened = open(&mut torn).map(|_| ());
            let _ = Snapshots::open(&mut torn, Digest([7; 32]), 64);
            if !torn.is_over() {
                assert_eq!(opened, Ok(()));
                continue;
            }
            is_reached = true;
            let point = point_of(&torn);
            for how in ["kill", "all lost", "reordered", "seeded"] {
                let (mut torn, mut world) = (end(torn.clone(), how, seed + call), world.clone());
                cases.insert((point, moment_name, how));
                if depth > 1 && how == "seeded" {
                    recover_once(&torn, &world, depth - 1, seed + call);
                }
                world.check(&mut torn).expect("it recovers");
                world.check_snapshots(&mut torn).expect("they are good");
            }
        }
        if !is_reached {
            return;
        }
    }
}

// As `recover`, with one crash that the seed chooses instead of each: the depths would multiply.
fn recover_once(disk: &MemoryDisk, world: &World, depth: u32, seed: u64) {
    let mut dice = seeded(seed * 31 + u64::from(depth));
    let mut torn = disk.clone();
    let moment = MOMENTS[dice(6) as usize].1;
    torn.faults = crash_at(disk.calls() + 1 + dice(8), moment);
    let _ = open(&mut torn);
    let mut torn = end(torn, ENDS[dice(7) as usize], seed);
    let mut world = world.clone();
    if depth > 1 {
        recover_once(&torn, &world, depth - 1, seed + 1);
    }
    world.check(&mut torn).expect("it recovers");
}

#[test]
fn every_crash_in_recovery_is_recovered_from_again_and_again() {
    let mut cases = Cases::new();
    for call in 1.. {
        let mut is_reached = false;
        let (moment, how) = match call % 4 {
            0 => (Moment::Inside(30), "kill"),
            1 => (Moment::After, "torn at bytes"),
            2 => (Moment::Inside(90), "torn at sectors"),
            _ => (Moment::After, "kill"),
        };
        if let Some((disk, world, _)) = crashed(call, moment) {
            is_reached = true;
            recover(&end(disk, how, call), &world, 5, call * 1000, &mut cases);
        }
        if !is_reached {
            break;
        }
    }
    let points: BTreeSet<Point> = cases.iter().map(|(point, ..)| *point).collect();
    println!("{} cases at {points:?}", cases.len());
    let in_recovery = [
        Point::LeftoverRemove,
        Point::RenewCreate,
        Point::RenewWrite,
        Point::RenewSync,
        Point::RenewRename,
        Point::RenewNamesSync,
        Point::SnapshotLeftoverRemove,
        Point::SnapshotFoundNamesSync,
    ];
    let missed: Vec<&Point> = in_recovery.iter().filter(|p| !points.contains(p)).collect();
    assert!(missed.is_empty(), "never crashed at {missed:?}");
    assert!(cases.len() >= 60, "{} cases", cases.len());
}

#[test]
fn a_crash_can_be_asked_for_by_the_name_of_its_point() {
    let mut disk = MemoryDisk::new();
    let when = When::Point(Point::LogSync, 3);
    disk.faults.crash = Some(Crash { when, moment: Moment::Before });
    let mut world = World::default();
    assert!(world.work(&mut disk).is_err());
    assert!(disk.is_over());
    assert_eq!(disk.counts()[&Point::LogSync], 3);
}

/// What a crash leaves of a log that begins anew is the end of the old one, without a hole, or
/// nothing, or the new one.
#[test]
fn every_crash_while_a_log_begins_anew_leaves_an_end_of_the_old_one_or_the_new_one() {
    let mut kinds = BTreeSet::new();
    for call in 1.. {
        let mut is_reached = false;
        for (_, moment) in MOMENTS {
            let (mut disk, mut log) = filled(40);
            disk.faults = crash_at(disk.calls() + call, moment);
            let begun = log.start_over(&mut disk, Position(500));
            if !disk.is_over() {
                assert_eq!(begun, Ok(()));
                continue;
            }
            is_reached = true;
            for how in ENDS {
                let mut disk = end(disk.clone(), how, call);
                let (mut log, found) = opened(&mut disk);
                // The last mark was not synced.
                let cut = found.cut.is_none_or(|cut| cut.first == Position(40));
                assert!(cut && found.damages.is_empty(), "call {call}, {how}");
                let (first, next) = (found.first.0, found.next.0);
                let expected: Vec<_> = match (first, next) {
                    (0 | 500, next) if next == first => Vec::new(),
                    (_, 40) => (first..40).map(|p| (Position(p), payload(p, 0))).collect(),
                    other => panic!("call {call}, {how}: {other:?}"),
                };
                assert_eq!(records(&read_all(&mut log, &mut disk, found.first)), expected);
                kinds.insert(if next == 40 { "old" } else { "none or new" });
                log.start_over(&mut disk, Position(500)).expect("it can be done again");
                append(&mut log, &mut disk, 2, 1).expect("there is room");
                log.sync(&mut disk).expect("the disk is good");
                let (_, found) = opened(&mut disk.without_power(&mut |_| 0));
                assert_eq!((found.first, found.next), (Position(500), Position(502)));
            }
        }
        if !is_reached {
            break;
        }
    }
    assert_eq!(kinds.len(), 2);
}
