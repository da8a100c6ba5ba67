//! The real replica over the real log, snapshots and records, on disks that end at every call
//! that changes something: D1, D2, D3 and D6 of `docs/testing.md`.
//!
//! Three replicas run some hundred rounds with a change of the epoch and back. At every call that
//! the first one makes of its disks, before it, inside of it and after it, the disks are taken as a
//! crash would leave them, and a start is tried on them in which everything must be that was said
//! to be durable, and everything that replies which have left rest upon. Then starts are crashed,
//! at every call of theirs, up to five times one after the other. And for each kind of call the
//! whole run is made again with the crash in it, and the group has to be as before.
//!
//! Not in here: a full disk, repairs, and files that the replica reads only.

mod bed;
mod media;
mod start;

use crate::crypto::{Domain, Hasher};
use crate::storage::{MemoryDisk, Moment, Point};
use crate::types::plant::plant;
use crate::types::{Digest, Durability, ReplicaId};
use bed::{Bed, OUTAGE, VICTIM};
use media::{End, Left, Media};
use start::Book;
use std::collections::{BTreeMap, BTreeSet};

/// How long the run takes, microseconds.
const LONG: u64 = 2_400_000;
/// How long a group may need to be well again.
const PATIENCE: u64 = 6_000_000;
/// A start makes fewer calls than that.
const FIRST_CALLS: u64 = 30;
/// Set, to look at what a start leaves after each crash, not only after one of each kind, and at
/// the group after ten of each kind.
const EVERY: &str = "QUORATE_EVERY_CRASH";

/// Points that only a full disk or a repair reaches.
const ELSEWHERE: [Point; 12] = [
    Point::FailedAppendTruncate,
    Point::FailedAppendSync,
    Point::FailedPlaceRemove,
    Point::KeepLink,
    Point::KeepNamesSync,
    Point::RepairCreate,
    Point::RepairWrite,
    Point::RepairSync,
    Point::RepairRename,
    Point::RepairNamesSync,
    Point::RepairGiveUp,
    Point::SnapshotGiveUp,
];

/// The kind of file and what is done to it.
fn label(point: Point) -> &'static str {
    match point {
        Point::RollSync => "rounds/roll-sync",
        Point::SegmentCreate => "segment/create",
        Point::SegmentHeaderWrite => "segment/write",
        Point::SegmentHeaderSync => "segment/sync",
        Point::SegmentRename => "segment/rename",
        Point::SegmentNamesSync => "segment/sync-names",
        Point::LogAppend => "rounds/append",
        Point::LogSync => "rounds/sync",
        Point::MarkAppend => "rounds/append-mark",
        Point::DropRemove => "rounds/cut-remove",
        Point::DropNamesSync => "rounds/cut-sync-names",
        Point::LeftoverRemove => "segment/leftover-remove",
        Point::RenewCreate => "renewal/create",
        Point::RenewWrite => "renewal/write",
        Point::RenewSync => "renewal/sync",
        Point::RenewRename => "renewal/rename",
        Point::RenewNamesSync => "renewal/sync-names",
        Point::SnapshotCreate => "snapshot/create",
        Point::SnapshotWrite => "snapshot/write",
        Point::SnapshotSync => "snapshot/sync",
        Point::SnapshotRename => "snapshot/rename",
        Point::SnapshotNamesSync => "snapshot/sync-names",
        Point::SnapshotLeftoverRemove => "snapshot/leftover-remove",
        Point::SnapshotFoundNamesSync => "snapshot/found-sync-names",
        Point::SnapshotRetainRemove => "snapshot/retention-remove",
        Point::SnapshotRetainNamesSync => "snapshot/retention-sync-names",
        Point::EpochsLeftoverRemove => "epochs/leftover-remove",
        Point::EpochsCreate => "epochs/create",
        Point::EpochsWrite => "epochs/write",
        Point::EpochsSync => "epochs/sync-new",
        Point::EpochsRename => "epochs/rename",
        Point::EpochsNamesSync => "epochs/sync-names",
        Point::EpochsAppend => "epochs/append",
        Point::EpochsAppendSync => "epochs/sync",
        Point::StartLeftoverRemove => "mark/leftover-remove",
        Point::StartCreate => "mark/create",
        Point::StartWrite => "mark/write",
        Point::StartSync => "mark/sync",
        Point::StartRename => "mark/rename",
        Point::StartNamesSync => "mark/sync-names",
        other => other.name(),
    }
}

fn me() -> ReplicaId {
    ReplicaId::from_index(VICTIM)
}

fn name(left: &Left) -> String {
    format!("{}/{}", label(left.point), left.phase)
}

/// How often each point was crashed at, by how the disks ended: in the run, and in starts.
#[derive(Default)]
struct Counters {
    run: BTreeMap<String, BTreeMap<End, u64>>,
    starts: BTreeMap<String, BTreeMap<End, u64>>,
    points: BTreeSet<Point>,
    /// What was looked at already: the same bytes on the disks, with the same said of them.
    seen: BTreeSet<Digest>,
    examined: u64,
}

impl Counters {
    fn count(&mut self, left: &Left, end: End, in_start: bool) {
        let counters = if in_start { &mut self.starts } else { &mut self.run };
        *counters.entry(name(left)).or_default().entry(end).or_default() += 1;
        self.points.insert(left.point);
    }

    /// Looks at what a start makes of these disks, if they are others than all before.
    fn examine(&mut self, book: &Book, disks: [MemoryDisk; 2]) -> Result<(), String> {
        if !self.seen.insert(fingerprint(book, &disks)) {
            return Ok(());
        }
        self.examined += 1;
        book.examine(&Media::new(disks), me()).map(|_| ())
    }

    fn print(&self) {
        let names: BTreeSet<&String> = self.run.keys().chain(self.starts.keys()).collect();
        println!("{:36} {:>21} {:>21}", "crash", "in the run", "in a start");
        for name in names {
            let row = |counters: &BTreeMap<String, BTreeMap<End, u64>>| {
                let of = |end: &End| counters.get(name).and_then(|c| c.get(end)).unwrap_or(&0);
                End::ALL.iter().map(|end| format!("{:>6}", of(end))).collect::<String>()
            };
            println!("{name:36} {:>21} {:>21}", row(&self.run), row(&self.starts));
        }
        println!("each: killed, torn, unsynced lost; {} states looked at", self.examined);
    }
}

// Durable and volatile content both count: what is lost depends on it.
fn fingerprint(book: &Book, disks: &[MemoryDisk; 2]) -> Digest {
    let mut hasher = Hasher::new(Domain::State);
    let durable = book.durable;
    for number in [durable.records, durable.entries, book.replies.len()] {
        hasher.put_u64(number as u64);
    }
    hasher.put_u64(durable.saved);
    for disk in disks {
        let mut disk = disk.clone();
        for file in crate::storage::Disk::list(&mut disk).expect("it runs") {
            let bytes = disk.bytes(&file).expect("it is listed");
            hasher.put(file.as_bytes()).put_u64(bytes.len() as u64).put(bytes);
            hasher.put_u64(u64::from(disk.is_synced(&file)));
        }
    }
    hasher.finish()
}

/// A crash with what was known when it came.
struct Chosen {
    left: Left,
    book: Book,
}

/// Makes the run and looks at every crash in it. Gives the last of each kind.
fn run(counters: &mut Counters) -> Result<(Vec<Chosen>, u64), String> {
    let mut bed = Bed::new(Durability::Reply, (End::Kill, 0));
    bed.media.borrow_mut().left = Some(Vec::new());
    let (mut chosen, mut all) = (BTreeMap::new(), Vec::new());
    let every = std::env::var_os(EVERY).is_some();
    while bed.time < LONG && bed.wrong.is_none() {
        let before = bed.book.durable;
        bed.step();
        let left = bed.media.borrow_mut().left.replace(Vec::new()).unwrap_or_default();
        // Nothing that the calls of this step have made durable was told when they came.
        let now = std::mem::replace(&mut bed.book.durable, before);
        for left in left {
            for end in End::ALL {
                counters.count(&left, end, false);
                let disks = end.of(&left.disks, left.call);
                let told = |why| format!("{} {end:?}, call {}: {why}", name(&left), left.call);
                counters.examine(&bed.book, disks).map_err(told)?;
            }
            let book = bed.book.clone();
            if every {
                all.push(Chosen { left, book });
            } else {
                chosen.insert(name(&left), Chosen { left, book });
            }
        }
        bed.book.durable = now;
    }
    let rounds = bed.rounds();
    match bed.wrong {
        Some(why) => Err(why),
        None => Ok((chosen.into_values().chain(all).collect(), rounds)),
    }
}

/// Crashes a start on these disks at each of its calls, and then the next start at the same call,
/// five times in all.
fn crash_starts(counters: &mut Counters, chosen: &Chosen, end: End) -> Result<(), String> {
    let disks = end.of(&chosen.left.disks, chosen.left.call);
    let media = Media::new(disks.clone());
    media.borrow_mut().left = Some(Vec::new());
    start::start(&media, me())?;
    let first = media.borrow_mut().left.take().unwrap_or_default();
    for left in first {
        for end in End::ALL {
            counters.count(&left, end, true);
            let mut disks = end.of(&left.disks, left.call);
            for depth in 1..=5 {
                let told = |why| {
                    let (first, then) = (name(&chosen.left), name(&left));
                    format!("{first}, then {depth} times {then} {end:?}: {why}")
                };
                counters.examine(&chosen.book, disks.clone()).map_err(told)?;
                let media = Media::new(disks);
                media.borrow_mut().crash = Some((left.call, left.moment));
                let ended = start::start(&media, me()).map(|_| ());
                if !media.borrow().is_over {
                    ended.map_err(told)?;
                    break;
                }
                disks = end.of(&media.borrow().disks, left.call + depth);
            }
        }
    }
    Ok(())
}

fn all() -> Result<Counters, String> {
    let mut counters = Counters::default();
    let (chosen, rounds) = run(&mut counters)?;
    println!("{rounds} rounds, {} states looked at", counters.examined);
    if rounds < 200 {
        return Err(format!("the run has only {rounds} rounds"));
    }
    for chosen in &chosen {
        for end in End::ALL {
            crash_starts(&mut counters, chosen, end)?;
        }
    }
    Ok(counters)
}

#[test]
fn every_crash_of_replica_and_disk_is_recovered_from_again_and_again() {
    let counters = all().unwrap_or_else(|why| panic!("{why}"));
    counters.print();
    let names = counters.run.keys().chain(counters.starts.keys()).collect::<BTreeSet<_>>();
    assert!(names.len() >= 60, "{} kinds of crashes", names.len());
    let is_here = |point: &&Point| !ELSEWHERE.contains(point);
    let missed: Vec<_> = Point::ALL.iter().filter(is_here).collect();
    let missed: Vec<_> = missed.into_iter().filter(|p| !counters.points.contains(p)).collect();
    assert!(missed.is_empty(), "never crashed at {missed:?}");
    for name in names {
        let struck = [&counters.run, &counters.starts].into_iter().filter_map(|c| c.get(name));
        let ends: BTreeSet<_> = struck.flat_map(|ends| ends.keys()).collect();
        assert_eq!(ends.len(), 3, "{name} ended in {ends:?} only");
    }
}

/// The calls of the run, by kind.
fn calls(durability: Durability) -> BTreeMap<String, Vec<(u64, Moment)>> {
    let mut bed = Bed::new(durability, (End::Kill, 0));
    bed.media.borrow_mut().left = Some(Vec::new());
    let mut calls: BTreeMap<String, Vec<(u64, Moment)>> = BTreeMap::new();
    while bed.time < LONG {
        bed.step();
        let left = bed.media.borrow_mut().left.replace(Vec::new()).unwrap_or_default();
        for left in left {
            calls.entry(name(&left)).or_default().push((left.call, left.moment));
        }
    }
    assert_eq!(bed.wrong, None);
    assert!(bed.is_well() && bed.rounds() >= 200, "without crashes it runs well");
    calls
}

/// The run with a crash in it, and perhaps crashed starts after it.
fn go_on(
    durability: Durability,
    crash: (u64, Moment),
    end: (End, u64),
    again: ((u64, Moment), u32),
) -> Result<u32, String> {
    let mut bed = Bed::new(durability, end);
    bed.again = again;
    bed.media.borrow_mut().crash = Some(crash);
    while bed.crashes == 0 && bed.wrong.is_none() && bed.time < LONG {
        bed.step();
    }
    let last = bed.time.max(OUTAGE.1) + PATIENCE;
    while !(bed.is_well() && bed.time > OUTAGE.1) && bed.wrong.is_none() && bed.time < last {
        bed.step();
    }
    match bed.wrong {
        Some(why) => Err(why),
        None if bed.crashes == 0 => Err("it did not crash".to_owned()),
        None if !bed.is_well() => Err(format!("the group is not well, after {} us", bed.time)),
        None => Ok(bed.crashes),
    }
}

#[test]
fn the_group_goes_on_after_a_crash_at_each_kind_of_call() {
    let often = if std::env::var_os(EVERY).is_some() { 10 } else { 1 };
    for durability in [Durability::Reply, Durability::Strict] {
        let (mut runs, mut kinds) = (0, 0);
        for (name, calls) in calls(durability) {
            kinds += 1;
            for (end, seed) in End::ALL.into_iter().zip(1..) {
                for i in 1..=often {
                    let (call, moment) = calls[calls.len() * i / (often + 1)];
                    let again = ((0, Moment::Before), 0);
                    let went = go_on(durability, (call, moment), (end, seed), again);
                    assert_eq!(went, Ok(1), "{durability:?}, {name} {end:?}, call {call}");
                    runs += 1;
                }
            }
        }
        println!("{durability:?}: {runs} runs with crashes at {kinds} kinds of calls");
        assert!(kinds >= 40, "{kinds} kinds of calls");
    }
}

/// D3: the life after a crash is crashed, too, at each of its first calls, which are those of its
/// start and some more; and so are those after it, up to five times.
#[test]
fn the_group_goes_on_after_starts_that_were_crashed() {
    for durability in [Durability::Reply, Durability::Strict] {
        let (calls, mut reached) = (calls(durability), 0);
        let syncs = &calls["rounds/sync/before"];
        let crash = syncs[syncs.len() / 2];
        for call in 1..=FIRST_CALLS {
            let times = call as u32 % 5 + 1;
            let moment = if call % 2 == 0 { Moment::After } else { Moment::Inside(40) };
            let end = End::ALL[call as usize % 3];
            match go_on(durability, crash, (end, call), ((call, moment), times)) {
                Ok(crashes) => reached += crashes - 1,
                Err(why) => panic!("{durability:?}, call {call}, {times} times, {end:?}: {why}"),
            }
        }
        println!("crashed {reached} times more within the first {FIRST_CALLS} calls of a life");
        assert!(reached >= 60, "{reached}");
    }
}

/// With `durability = "strict"` a proposal that left and is not on the disk is signed in another
/// way by the next life.
#[test]
fn a_planted_proposal_that_leaves_too_early_is_noticed() {
    let strict = Durability::Strict;
    for bug in ["s7-strict-sends-first", "s7-strict-forgets-own"] {
        plant(None);
        let calls = calls(strict);
        plant(Some(bug));
        let some = calls["rounds/sync/before"].iter().skip(20).step_by(5);
        let went =
            some.map(|crash| go_on(strict, *crash, (End::Lost, 1), ((0, Moment::Before), 0)));
        let noticed = went.filter_map(Result::err).next();
        plant(None);
        println!("{bug}: {}", noticed.expect(bug));
    }
}

/// What was planted is seen, so the checks above can fail.
#[test]
fn each_planted_mistake_is_noticed_by_a_crash_somewhere() {
    for bug in [
        "s7-rounds-unsynced",
        "s7-log-cut-early",
        "s7-epochs-unsynced",
        "s7-epochs-not-renewed",
        "s7-reply-before-sync",
    ] {
        plant(Some(bug));
        let noticed = all().map(|_| ());
        plant(None);
        let why = noticed.expect_err(bug);
        println!("{bug}: {why}");
    }
}
