//! Tests of a chain's files, on a disk in memory that ends at every call and on a real one.

use super::records::{Records, Unsaved};
use super::worker::{Job, Worker};
use super::*;
use crate::daemon::disk::rounds_tests::Shared;
use crate::storage::{Crash, Limits, Moment, Point, When};
use crate::types::{AgreedTime, ClientId, SessionId};
use crate::wire::{ChainEntry, ChainPosition, Request};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

const CLUSTER: Digest = Digest([1; 32]);
/// Room for some dozens of records in one file.
const LIMITS: Limits = Limits { segment_bytes: 8192, record_bytes: 1024, reserve_bytes: 8192 };

fn me() -> ReplicaId {
    ReplicaId::from_index(0)
}

fn record(config: u64, number: u64) -> Bytes {
    let body = vec![config as u8; number as usize % 9];
    let request = Request { session: SessionId(7), number, low: 0, body: body.into() };
    let position = ChainPosition { config, number };
    let (time, client) = (AgreedTime(number), ClientId([1; 32]));
    ChainEntry { position, time, client, request }.to_record()
}

fn records(config: u64, numbers: RangeInclusive<u64>) -> Vec<Bytes> {
    numbers.map(|number| record(config, number)).collect()
}

fn open(disk: &Shared, must: bool) -> Result<(Records<Shared>, Found), DaemonError> {
    let keys = (chain_owner(CLUSTER, me(), 1), Digest([9; 32]));
    Records::open_on(disk.clone(), std::path::PathBuf::from("memory"), keys, LIMITS, must)
}

fn put(to: &mut Records<Shared>, records: &[Bytes]) {
    to.append(records, &mut 0).unwrap();
    to.sync().unwrap();
}

fn save(to: &mut Records<Shared>, number: u64, state: &Bytes) -> Option<()> {
    let mut unsaved: Option<Unsaved> = Some(to.begin_save(number, state).ok()?);
    while let Some(more) = unsaved {
        unsaved = to.save_slice(more).ok()?;
    }
    Some(())
}

fn refused<T>(result: Result<T, DaemonError>) -> String {
    result.err().expect("this is refused").to_string()
}

/// All that a replica has, as its disk should have it: the records by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct History(BTreeMap<u64, Bytes>);

impl History {
    fn take(&mut self, record: &Bytes) {
        let number = ChainEntry::number_in(record).unwrap();
        self.0.retain(|n, _| *n < number);
        self.0.insert(number, record.clone());
    }

    /// The state after a number: all records up to it, and some more bytes.
    fn state(&self, number: u64, more: usize) -> Bytes {
        let mut state = Vec::new();
        for (_, record) in self.0.range(..=number) {
            state.extend((record.len() as u32).to_le_bytes());
            state.extend_from_slice(record);
        }
        state.extend([0; 4]);
        state.resize(state.len() + more, 1);
        state.into()
    }

    /// What was found stands for. Only `Chain::new` drops what is under a state, so this does not.
    fn of(found: &Found) -> Self {
        let mut history = Self::default();
        let mut rest = found.state.as_deref().unwrap_or(&[0; 4]);
        loop {
            let length = u32::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
            if length == 0 {
                break;
            }
            history.take(&Bytes::copy_from_slice(&rest[4..4 + length]));
            rest = &rest[4 + length..];
        }
        found.log.iter().for_each(|record| history.take(record));
        history
    }
}

/// What one life asks for, the histories that were asked for one after the other, and which of
/// them was the last that was durable.
struct Life<'a> {
    disk: &'a Shared,
    asked: Vec<History>,
    durable: usize,
}

impl<'a> Life<'a> {
    fn new(disk: &'a Shared) -> Self {
        Self { disk, asked: vec![History::default()], durable: 0 }
    }

    fn next(&mut self, history: History) {
        self.asked.push(history);
    }

    fn append(&mut self, to: &mut Records<Shared>, entries: &[Bytes]) -> Option<()> {
        for entry in entries {
            let mut history = self.asked.last().unwrap().clone();
            history.take(entry);
            self.next(history);
        }
        to.append(entries, &mut 0).ok()?;
        to.sync().ok()?;
        self.durable = self.asked.len() - 1;
        Some(())
    }

    fn save(&mut self, to: &mut Records<Shared>, number: u64) -> Option<()> {
        save(to, number, &self.asked.last().unwrap().state(number, 0))
    }

    /// A state of another history, in place of all.
    fn anew(&mut self, to: &mut Records<Shared>, config: u64, number: u64) -> Option<()> {
        let mut other = History::default();
        records(config, number.saturating_sub(8)..=number).iter().for_each(|r| other.take(r));
        let state = other.state(number, 0);
        self.next(other);
        to.save_anew(number, &state).ok()?;
        self.durable = self.asked.len() - 1;
        Some(())
    }

    /// Everything that a replica does.
    fn live(&mut self) -> Option<()> {
        let (mut to, _) = open(self.disk, false).ok()?;
        let to = &mut to;
        self.append(to, &records(1, 1..=9))?;
        self.save(to, 4)?;
        // A cut, and a state from just behind it: what was cut off must not come back.
        self.append(to, &records(2, 7..=7))?;
        self.save(to, 7)?;
        self.append(to, &records(2, 8..=60))?;
        to.mark().ok()?;
        // Between the slices of a state others write.
        let state = self.asked.last().unwrap().state(30, 300 << 10);
        let saving = to.begin_save(30, &state).ok()?;
        self.append(to, &records(3, 50..=70))?;
        let saving = to.save_slice(saving).ok()?.expect("it is long");
        self.append(to, &records(3, 71..=72))?;
        assert!(to.save_slice(saving).ok()?.is_none());
        self.append(to, &records(3, 73..=80))?;
        self.anew(to, 4, 100)?;
        self.append(to, &records(4, 101..=140))?;
        self.save(to, 120)?;
        // Twice with nothing between, and to a lower number than ever.
        self.anew(to, 5, 200)?;
        self.anew(to, 6, 90)?;
        self.append(to, &records(6, 91..=95))?;
        self.save(to, 91)?;
        self.append(to, &records(7, 93..=99))
    }
}

fn dice(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |n| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % n
    }
}

/// CH-U4: wherever it ends, killed or without power, a start finds what was durable, or more of
/// what was asked for, and nothing else; also if that start ends, too.
#[test]
fn what_was_durable_is_found_wherever_it_ends() {
    let whole = Shared::default();
    Life::new(&whole).live().unwrap();
    let calls = whole.with(|disk| disk.calls());
    assert!(calls > 120, "{calls}");
    let mut dice = dice(7);
    for call in 1..=calls {
        for moment in [Moment::Before, Moment::Inside(dice(5000)), Moment::After] {
            let disk = Shared::default();
            let crash = Crash { when: When::Call(call), moment };
            disk.with(|disk| disk.faults.crash = Some(crash));
            let mut life = Life::new(&disk);
            assert!(life.live().is_none(), "call {call}");
            let (asked, durable) = (life.asked, life.durable);
            let ended = disk.with(|disk| disk.clone());
            for mut after in [ended.clone().killed(), ended.without_power(&mut dice)] {
                // A start that ends, and one that does not.
                let again = Shared::default();
                let when = When::Call(after.calls() + 1 + dice(12));
                after.faults.crash = Some(Crash { when, moment: Moment::Inside(dice(500)) });
                again.with(|disk| *disk = after);
                let _ = open(&again, false);
                let ended = again.with(|disk| disk.clone());
                again.with(|disk| *disk = ended.without_power(&mut dice));
                let told = |found: &Found| format!("call {call}, {moment:?}: {found:?}");
                let (mut to, found) = open(&again, false).unwrap();
                let history = History::of(&found);
                let possible = &asked[durable..];
                assert!(possible.contains(&history), "{}", told(&found));
                // It goes on from there, and that is found in turn.
                let next = history.0.last_key_value().map_or(1, |(last, _)| last + 1);
                put(&mut to, &records(9, next..=next + 1));
                save(&mut to, next, &Bytes::from_static(&[0; 4])).unwrap();
                let (_, found) = open(&again, true).unwrap();
                assert_eq!(found.log, records(9, next + 1..=next + 1), "{}", told(&found));
            }
        }
    }
}

/// `Chain::new` drops records under a state without looking at what they stood in place of.
#[test]
fn what_was_cut_off_does_not_come_back_behind_a_state() {
    let disk = Shared::default();
    let (mut to, _) = open(&disk, false).unwrap();
    put(&mut to, &records(1, 1..=9));
    put(&mut to, &records(2, 6..=6));
    save(&mut to, 6, &Bytes::from_static(b"six")).unwrap();
    let (_, found) = open(&disk, true).unwrap();
    assert_eq!((found.state.as_deref(), found.log), (Some(&b"six"[..]), Vec::new()));
    put(&mut to, &records(2, 7..=8));
    let (_, found) = open(&disk, true).unwrap();
    assert_eq!(found.log, records(2, 7..=8));
}

#[test]
fn only_what_two_states_need_is_kept() {
    let disk = Shared::default();
    let (mut to, _) = open(&disk, false).unwrap();
    for n in 0..10 {
        put(&mut to, &records(1, n * 100 + 1..=n * 100 + 100));
        save(&mut to, n * 100 + 50, &Bytes::from_static(b"state")).unwrap();
    }
    let names = disk.with(|disk| disk.list().unwrap());
    assert_eq!(names.iter().filter(|name| records::is_state(name)).count(), 2);
    let first = |name: &String| name[4..24].parse::<u64>().unwrap();
    let firsts: Vec<u64> = names.iter().filter(|n| records::is_log(n)).map(first).collect();
    assert!(firsts[0] > 600 && firsts[0] <= 850, "{firsts:?}");
    assert_eq!(open(&disk, true).unwrap().1.log, records(1, 951..=1000));
    // Who begins anew keeps nothing of before.
    to.save_anew(2000, &Bytes::from_static(b"anew")).unwrap();
    let names = disk.with(|disk| disk.list().unwrap());
    assert_eq!(names.len(), 2, "{names:?}");
    // A state after a number that is not in the log is refused: what follows it is not known.
    assert!(to.begin_save(1000, &Bytes::new()).is_err());
}

#[test]
fn a_damaged_state_makes_way_for_an_older_one_but_not_for_what_was_before_anew() {
    let disk = Shared::default();
    let (mut to, _) = open(&disk, false).unwrap();
    put(&mut to, &records(1, 1..=20));
    save(&mut to, 5, &Bytes::from_static(b"five")).unwrap();
    save(&mut to, 9, &Bytes::from_static(b"nine")).unwrap();
    disk.with(|disk| assert!(disk.flip(&format!("snap-{:020}.snap", 9), 60, 1)));
    let (_, found) = open(&disk, true).unwrap();
    assert_eq!((found.state.as_deref(), found.log), (Some(&b"five"[..]), records(1, 6..=20)));
    let (mut to, _) = open(&disk, true).unwrap();
    to.save_anew(30, &Bytes::from_static(b"thirty")).unwrap();
    let place = to.rounds().next();
    put(&mut to, &records(2, 31..=32));
    let file = format!("snap-{place:020}.snap");
    let whole = disk.with(|disk| disk.clone());
    disk.with(|disk| assert!(disk.flip(&file, 60, 1)));
    let told = refused(open(&disk, true));
    assert!(told.contains("no state that is whole") && told.contains("--replace-disk"), "{told}");
    // The same if it is not there at all.
    disk.with(|disk| *disk = whole);
    disk.with(|disk| disk.lose(&file));
    let told = refused(open(&disk, true));
    assert!(told.contains("is damaged") && told.contains("needed from 0"), "{told}");
}

#[test]
fn a_torn_end_is_cut_and_damage_before_it_is_refused() {
    let disk = Shared::default();
    let (mut to, _) = open(&disk, false).unwrap();
    put(&mut to, &records(1, 1..=5));
    to.mark().unwrap();
    put(&mut to, &records(1, 6..=9));
    let file = format!("log-{:020}.seg", 0);
    let bytes = disk.with(|disk| disk.bytes(&file).unwrap().to_vec());
    // Nothing says that the last group was durable.
    disk.with(|disk| disk.put(&file, &bytes[..bytes.len() - 3]));
    assert_eq!(open(&disk, true).unwrap().1.log, records(1, 1..=8));
    disk.with(|disk| disk.put(&file, &bytes));
    disk.with(|disk| assert!(disk.flip(&file, 200, 1)));
    for _ in 0..2 {
        let told = refused(open(&disk, true));
        assert!(told.contains(&file) && told.contains("--replace-disk"), "{told}");
    }
}

#[test]
fn what_must_be_there_is_not_begun_anew() {
    let disk = Shared::default();
    for _ in 0..2 {
        let told = refused(open(&disk, true));
        assert!(told.contains("holds no log") && told.contains("--replace-disk"), "{told}");
    }
    let (mut to, _) = open(&disk, false).unwrap();
    assert!(open(&disk, true).is_ok(), "a log without a record is one");
    put(&mut to, &records(1, 1..=3));
    save(&mut to, 2, &Bytes::from_static(b"two")).unwrap();
    disk.with(|disk| disk.lose(&format!("log-{:020}.seg", 0)));
    let told = refused(open(&disk, false));
    assert!(told.contains("no log behind it"), "{told}");
}

// --- the thread ----------------------------------------------------------------------------------

/// A thread whose jobs were given before it starts, or come from a test.
struct Running {
    jobs: Option<std_mpsc::Sender<Job>>,
    done: mpsc::UnboundedReceiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(records: Records<Shared>, jobs: Vec<Job>) -> Self {
        let (sender, inbox) = std_mpsc::channel();
        let (said, done) = mpsc::unbounded_channel();
        jobs.into_iter().for_each(|job| sender.send(job).unwrap());
        let worker = Worker::new(records, said);
        let thread = Some(std::thread::spawn(move || worker.run(inbox)));
        Self { jobs: Some(sender), done, thread }
    }

    fn give(&self, job: Job) {
        self.jobs.as_ref().unwrap().send(job).unwrap();
    }

    fn next(&mut self) -> u64 {
        self.done.blocking_recv().unwrap().unwrap()
    }

    fn end(&mut self) {
        self.jobs = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

fn append(sequence: u64, numbers: RangeInclusive<u64>) -> Job {
    Job::Append { sequence, entries: records(1, numbers) }
}

fn keep(sequence: u64, number: u64, anew: bool) -> Job {
    Job::Save { sequence, number, state: Bytes::from_static(b"state"), anew }
}

fn count(disk: &Shared, point: Point) -> u64 {
    disk.with(|disk| disk.counts().get(&point).copied().unwrap_or(0))
}

/// Waits until something is so, within a generous limit.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} took too long");
}

#[test]
fn appends_that_wait_share_one_sync_and_a_state_waits_for_them() {
    let disk = Shared::default();
    let jobs = vec![append(1, 1..=2), append(2, 3..=3), keep(3, 2, false), append(4, 4..=4)];
    let mut running = Running::start(open(&disk, false).unwrap().0, jobs);
    assert_eq!((running.next(), running.next()), (1, 2));
    let mut rest = [running.next(), running.next()];
    rest.sort_unstable();
    assert_eq!(rest, [3, 4]);
    running.end();
    assert_eq!((count(&disk, Point::LogSync), count(&disk, Point::LogAppend)), (2, 2));
    assert_eq!(count(&disk, Point::MarkAppend), 1, "at the end");
    let (_, found) = open(&disk, true).unwrap();
    assert_eq!((found.state.as_deref(), found.log), (Some(&b"state"[..]), records(1, 3..=4)));
}

#[test]
fn a_sync_that_fails_ends_it_before_anything_is_said() {
    let disk = Shared::default();
    let (to, _) = open(&disk, false).unwrap();
    disk.with(|disk| disk.faults.refused.insert(Point::LogSync, 1));
    let mut running = Running::start(to, vec![append(1, 1..=1), append(2, 2..=2)]);
    let why = running.done.blocking_recv().unwrap().unwrap_err().to_string();
    assert!(why.contains("memory") && why.contains("log-"), "{why}");
    assert!(running.done.blocking_recv().is_none());
    running.end();
}

#[test]
fn a_full_disk_is_waited_for_by_records_and_by_a_state_that_begins_anew() {
    let disk = Shared::default();
    let (to, _) = open(&disk, false).unwrap();
    disk.leave(0);
    let mut running = Running::start(to, vec![append(1, 1..=3), append(2, 4..=4)]);
    let asked = disk.asked();
    until("two tries", || disk.asked() >= asked + 2);
    assert!(running.done.try_recv().is_err(), "nothing is said");
    disk.heal();
    assert_eq!((running.next(), running.next()), (1, 2));
    disk.leave(60);
    running.give(keep(3, 2, false));
    assert_eq!(running.next(), 3, "an older one does as well");
    running.give(keep(4, 9, true));
    running.give(append(5, 10..=10));
    let tries = count(&disk, Point::SnapshotCreate);
    until("two tries", || count(&disk, Point::SnapshotCreate) >= tries + 2);
    assert!(running.done.try_recv().is_err(), "nothing is said");
    disk.heal();
    assert_eq!((running.next(), running.next()), (4, 5));
    running.end();
    let (_, found) = open(&disk, true).unwrap();
    assert_eq!((found.state.as_deref(), found.log), (Some(&b"state"[..]), records(1, 10..=10)));
}

#[test]
fn it_ends_at_once_though_the_disk_is_full() {
    let disk = Shared::default();
    let (to, _) = open(&disk, false).unwrap();
    disk.leave(0);
    let mut running = Running::start(to, vec![append(1, 1..=1)]);
    running.end();
    assert!(running.done.blocking_recv().is_none(), "nothing was said");
    disk.heal();
    assert_eq!(open(&disk, true).unwrap().1.log, Vec::<Bytes>::new());
}

// --- a real directory ----------------------------------------------------------------------------

fn opening(disk: Option<DiskState>, durable: bool) -> ChainOpening {
    ChainOpening { cluster: CLUSTER, replica: me(), chain: 1, disk, durable, alone: false }
}

const KNOWN: Option<DiskState> = Some(DiskState::Known);

#[test]
fn a_directory_gives_back_what_was_said_to_be_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = ChainDisk::open(dir.path(), opening(None, true)).unwrap();
    assert!(!opened.blank && opened.found.state.is_none() && opened.found.log.is_empty());
    opened.disk.append(1, records(1, 1..=300));
    opened.disk.save(2, 200, Bytes::from(vec![5; 1 << 20]), false);
    opened.disk.append(3, records(2, 280..=290));
    let mut done: Vec<u64> =
        (0..3).map(|_| opened.done.blocking_recv().unwrap().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, [1, 2, 3]);
    drop(opened.disk);
    let again = ChainDisk::open(dir.path(), opening(KNOWN, true)).unwrap();
    assert!(again.life > opened.life && !again.blank);
    assert_eq!(again.found.state, Some(Bytes::from(vec![5; 1 << 20])));
    assert_eq!(again.found.log, [records(1, 201..=279), records(2, 280..=290)].concat());
    drop(again.disk);
    // Another's, or of another chain or cluster.
    for other in [
        ChainOpening { cluster: Digest([2; 32]), ..opening(KNOWN, true) },
        ChainOpening { replica: ReplicaId::from_index(1), ..opening(KNOWN, true) },
    ] {
        let told = refused(ChainDisk::open(dir.path(), other));
        assert!(told.contains("belongs to another replica"), "{told}");
    }
    let told = refused(ChainDisk::open(dir.path(), opening(None, true)));
    assert!(told.contains("no cluster.mark"), "{told}");
    let told = refused(ChainDisk::open(dir.path(), opening(KNOWN, false)));
    assert!(told.contains("outdated") && told.contains("durability = \"reply\""), "{told}");
    std::fs::remove_dir_all(dir.path().join("chain-1")).unwrap();
    let told = refused(ChainDisk::open(dir.path(), opening(KNOWN, true)));
    assert!(told.contains("--replace-disk"), "{told}");
    assert!(!dir.path().join("chain-1").exists());
}

/// CH-F6, of a replica that does not vote: what a directory began with is noted in it.
#[test]
fn one_without_a_vote_is_unsure_of_an_empty_disk_until_that_is_noted() {
    for durable in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let open = |disk, alone| {
            ChainDisk::open(dir.path(), ChainOpening { alone, ..opening(disk, durable) }).unwrap()
        };
        assert!(open(None, true).unsure && !open(Some(DiskState::New), false).unsure);
        let opened = open(Some(DiskState::New), true);
        assert!(opened.unsure, "it may have been stopped before the master said something");
        opened.disk.begun().unwrap();
        drop(opened.disk);
        assert!(!open(KNOWN, true).unsure);
        let note = dir.path().join("chain-1/begun");
        std::fs::write(&note, [0; 32]).unwrap();
        assert!(open(KNOWN, true).unsure, "a damaged note is none");
        if durable {
            let opened = open(KNOWN, true);
            opened.disk.append(1, records(1, 1..=3));
            drop(opened.disk);
            assert!(!open(KNOWN, true).unsure, "what is there was a member's");
        }
    }
}

#[test]
fn a_disk_that_stands_in_is_blank_until_something_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let replaced = opening(Some(DiskState::Replaced), true);
    for _ in 0..2 {
        assert!(ChainDisk::open(dir.path(), replaced).unwrap().blank);
    }
    let opened = ChainDisk::open(dir.path(), replaced).unwrap();
    opened.disk.save(1, 9, Bytes::from_static(b"state"), true);
    drop(opened.disk);
    let opened = ChainDisk::open(dir.path(), replaced).unwrap();
    assert!(!opened.blank && opened.found.state.is_some());
}

#[test]
fn without_durability_only_lives_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = ChainDisk::open(dir.path(), opening(None, false)).unwrap();
    opened.disk.append(1, records(1, 1..=2));
    opened.disk.save(2, 1, Bytes::new(), true);
    assert_eq!([1, 2].map(|_| opened.done.blocking_recv().unwrap().unwrap()), [1, 2]);
    let names = std::fs::read_dir(dir.path().join("chain-1")).unwrap();
    assert_eq!(names.map(|n| n.unwrap().file_name()).collect::<Vec<_>>(), ["life"]);
    let again = ChainDisk::open(dir.path(), opening(KNOWN, false)).unwrap();
    assert!(again.life > opened.life && again.found.log.is_empty());
    // Nor does it pass for a log later.
    let told = refused(ChainDisk::open(dir.path(), opening(KNOWN, true)));
    assert!(told.contains("holds no log"), "{told}");
}

#[test]
fn lives_only_rise_and_a_damaged_one_is_refused() {
    assert_eq!(life::after(None, 1000), 1000);
    assert_eq!(life::after(Some(5), 1000), 1000);
    assert_eq!(life::after(Some(1000), 1000), 1001);
    assert_eq!(life::after(Some(2000), 1000), 2001, "a clock that went back");
    let dir = tempfile::tempdir().unwrap();
    let owner = chain_owner(CLUSTER, me(), 1);
    let mut last = 0;
    for start in 0..5 {
        let next = life::next(dir.path(), owner, start > 0).unwrap();
        assert!(next > last);
        last = next;
    }
    let path = dir.path().join(life::FILE);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(life::next(dir.path(), owner, true).is_err(), "byte {at}");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(life::next(dir.path(), chain_owner(CLUSTER, me(), 2), true).is_err());
    std::fs::remove_file(&path).unwrap();
    let told = refused(life::next(dir.path(), owner, true));
    assert!(told.contains("is missing") && told.contains("--replace-disk"), "{told}");
}
