//! Tests of the thread that writes, with a disk that fills up.

use super::log::{FILE, Log};
use super::rounds_tests::{SMALL, Shared, entries, entry, put, text};
use super::*;
use crate::storage::{Disk as _, Limits, Point};
use std::thread::JoinHandle;
use std::time::Duration;

/// A worker whose jobs were given before it starts, or come from a test.
struct Running {
    jobs: Option<std_mpsc::Sender<Job>>,
    done: mpsc::UnboundedReceiver<Done>,
    thread: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Running {
    fn start(rounds: Rounds<Shared>, jobs: Vec<Job>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(dir.path(), false).unwrap();
        let (sender, inbox) = std_mpsc::channel();
        let (said, done) = mpsc::unbounded_channel();
        jobs.into_iter().for_each(|job| sender.send(job).unwrap());
        let worker = Worker::new(log, Some(rounds), PathBuf::new(), said);
        let thread = Some(std::thread::spawn(move || worker.run(inbox)));
        Self { jobs: Some(sender), done, thread, dir }
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

    /// How long the file of the state records is.
    fn recorded(&self) -> u64 {
        std::fs::metadata(self.dir.path().join(FILE)).unwrap().len()
    }
}

fn append(sequence: u64, range: std::ops::Range<u64>) -> Job {
    Job::Append { sequence, entries: entries(range), urgent: true }
}

fn persist(sequence: u64) -> Job {
    Job::Persist { sequence, records: vec![entry(sequence)] }
}

fn save(sequence: u64, round: u64, first: u64) -> Job {
    Job::Save { sequence, round, first, head: text("head"), state: text("state") }
}

/// Waits until something is so, within a generous limit.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} took too long");
}

fn count(disk: &Shared, point: Point) -> u64 {
    disk.with(|disk| disk.counts().get(&point).copied().unwrap_or(0))
}

fn opened(disk: &Shared) -> Rounds<Shared> {
    disk.open(SMALL).unwrap().0
}

#[test]
fn jobs_that_wait_share_one_sync() {
    let disk = Shared::default();
    let jobs = vec![append(1, 0..1), persist(2), append(3, 1..3), persist(4), append(5, 3..4)];
    let mut running = Running::start(opened(&disk), jobs);
    (1..=5).for_each(|n| assert_eq!(running.next(), n));
    assert_eq!(count(&disk, Point::LogSync), 1);
    assert_eq!(count(&disk, Point::LogAppend), 1);
    running.end();
    let (_, records) = Log::open(running.dir.path(), true).unwrap();
    assert_eq!(records, [entry(2), entry(4)]);
    assert_eq!(disk.open(SMALL).unwrap().1.entries, entries(0..4));
}

/// What nobody waits for costs no sync of its own: a write that is waited for makes it durable,
/// or some time without any does.
#[test]
fn what_is_not_urgent_is_synced_with_what_is() {
    let disk = Shared::default();
    let later = |sequence, range| Job::Append { sequence, entries: entries(range), urgent: false };
    let mut running = Running::start(opened(&disk), vec![later(1, 0..1)]);
    until("the first write", || count(&disk, Point::LogAppend) == 1);
    running.give(append(2, 1..2));
    assert_eq!((running.next(), running.next()), (1, 2));
    assert_eq!(count(&disk, Point::LogSync), 1);
    running.give(later(3, 2..3));
    assert_eq!(running.next(), 3, "when nothing comes");
    running.give(later(4, 3..4));
    running.end();
    assert_eq!(running.next(), 4, "at the end");
    assert_eq!(disk.open(SMALL).unwrap().1.entries, entries(0..4));
}

/// Nothing is acknowledged, and no record is written, before the entries are durable.
#[test]
fn a_sync_that_fails_ends_it_before_anything_is_said() {
    let disk = Shared::default();
    let rounds = opened(&disk);
    disk.with(|disk| disk.faults.refused.insert(Point::LogSync, 1));
    let mut running = Running::start(rounds, vec![append(1, 0..1), persist(2)]);
    let before = running.recorded();
    let why = running.done.blocking_recv().unwrap().unwrap_err().to_string();
    assert!(why.contains("memory") && why.contains("log-"), "{why}");
    assert!(running.done.blocking_recv().is_none());
    running.end();
    assert_eq!(running.recorded(), before);
}

#[test]
fn a_snapshot_waits_for_what_is_before_it() {
    let disk = Shared::default();
    let rounds = opened(&disk);
    disk.with(|disk| disk.faults.refused.insert(Point::SnapshotSync, 1));
    let jobs = vec![append(1, 0..2), persist(2), save(3, 7, 2), append(4, 2..3)];
    let mut running = Running::start(rounds, jobs);
    assert_eq!((running.next(), running.next()), (1, 2));
    let why = running.done.blocking_recv().unwrap().unwrap_err().to_string();
    assert!(why.contains("snap-"), "{why}");
    running.end();
    assert_eq!(count(&disk, Point::LogSync), 1, "what is behind it was not begun");
    assert_eq!(disk.open(SMALL).unwrap().1.entries, entries(0..2));
}

/// A large snapshot keeps nobody waiting; when nothing more comes it is finished all the same.
#[test]
fn what_comes_while_a_snapshot_is_saved_is_durable_before_it() {
    let disk = Shared::default();
    let state = Bytes::from(vec![7; 9 << 18]);
    let job =
        Job::Save { sequence: 2, round: 7, first: 1, head: text("head"), state: state.clone() };
    let jobs = vec![append(1, 0..1), job, append(3, 1..2), persist(4)];
    let mut running = Running::start(opened(&disk), jobs);
    assert_eq!([running.next(), running.next(), running.next()], [1, 3, 4]);
    running.end();
    assert_eq!(running.next(), 2);
    let found = disk.open(SMALL).unwrap().1;
    assert_eq!((found.first, found.entries), (1, entries(1..2)));
    assert!(found.snapshot.is_some_and(|(_, saved)| saved == state));
}

#[test]
fn the_log_is_marked_when_nothing_comes_and_at_the_end() {
    let disk = Shared::default();
    let mut running = Running::start(opened(&disk), vec![append(1, 0..1)]);
    assert_eq!(running.next(), 1);
    until("a mark", || count(&disk, Point::MarkAppend) == 1);
    running.give(append(2, 1..2));
    assert_eq!(running.next(), 2);
    running.end();
    assert_eq!(count(&disk, Point::MarkAppend), 2);
    let mut running = Running::start(opened(&disk), vec![persist(3)]);
    assert_eq!(running.next(), 3);
    running.end();
    assert_eq!(count(&disk, Point::MarkAppend), 2, "nothing was appended");
}

#[test]
fn a_full_disk_is_waited_for() {
    let disk = Shared::default();
    let rounds = opened(&disk);
    // The reserve and room for one of the groups into which these are split.
    disk.leave(SMALL.reserve_bytes + 3500);
    let large: Vec<Bytes> = (1..=12).map(|n| Bytes::from(vec![n; 1000])).collect();
    let job = Job::Append { sequence: 1, entries: large.clone(), urgent: true };
    let mut running = Running::start(rounds, vec![job, persist(2)]);
    until("the first group", || count(&disk, Point::LogAppend) == 1);
    running.give(append(3, 0..1));
    running.give(append(4, 1..2));
    let asked = disk.asked();
    until("two tries", || disk.asked() >= asked + 2);
    assert!(running.done.try_recv().is_err(), "nothing is said");
    disk.heal();
    (1..=4).for_each(|n| assert_eq!(running.next(), n));
    running.end();
    let found = disk.open(SMALL).unwrap().1;
    assert_eq!(found.entries, [large, entries(0..2)].concat(), "each once, in order");
}

#[test]
fn it_ends_at_once_though_the_disk_is_full() {
    let disk = Shared::default();
    let rounds = opened(&disk);
    disk.leave(0);
    let mut running = Running::start(rounds, vec![append(1, 0..1), persist(2)]);
    let before = running.recorded();
    running.end();
    assert!(running.done.blocking_recv().is_none(), "nothing was said");
    assert_eq!(running.recorded(), before);
    disk.heal();
    assert_eq!(disk.open(SMALL).unwrap().1.entries, Vec::<Bytes>::new());
}

#[test]
fn a_snapshot_without_space_is_left_out() {
    let disk = Shared::default();
    let mut rounds = opened(&disk);
    put(&mut rounds, 0..4);
    rounds.save(1, 2, &text("head"), &text("state")).unwrap();
    disk.leave(60);
    let mut running = Running::start(rounds, vec![save(1, 2, 4)]);
    assert_eq!(running.next(), 1);
    disk.heal();
    running.give(append(2, 4..5));
    assert_eq!(running.next(), 2);
    running.end();
    let found = disk.open(SMALL).unwrap().1;
    assert_eq!((found.first, found.entries), (2, entries(2..5)));
    assert!(disk.with(|disk| disk.list().unwrap().iter().all(|name| !name.ends_with(".new"))));
}

/// Without the snapshot the entries behind it would get positions of others.
#[test]
fn a_snapshot_that_the_log_needs_is_waited_for() {
    let disk = Shared::default();
    let mut rounds = opened(&disk);
    put(&mut rounds, 0..4);
    disk.leave(60);
    let mut running = Running::start(rounds, vec![save(1, 2, 100), append(2, 100..101)]);
    until("two tries", || count(&disk, Point::SnapshotCreate) > 1);
    assert!(running.done.try_recv().is_err());
    disk.heal();
    assert_eq!((running.next(), running.next()), (1, 2));
    running.end();
    let found = disk.open(SMALL).unwrap().1;
    assert_eq!((found.first, found.entries, found.next), (100, entries(100..101), 101));
}

#[test]
fn a_group_has_an_end() {
    let disk = Shared::default();
    let record_bytes = 9 << 20;
    let limits = Limits { record_bytes, segment_bytes: 40 << 20, reserve_bytes: 40 << 20 };
    let (rounds, _) = disk.open(limits).unwrap();
    let large = Bytes::from(vec![1; record_bytes]);
    let job = |sequence| Job::Append { sequence, entries: vec![large.clone()], urgent: true };
    let mut running = Running::start(rounds, (1..=4).map(job).collect());
    (1..=4).for_each(|n| assert_eq!(running.next(), n));
    running.end();
    assert_eq!(count(&disk, Point::LogSync), 2, "16 MiB are enough for one");
}
