//! Tests of the log and the snapshots on the disk that fails.

mod crash;
mod damage;
mod failing;
mod hostile;
mod loss;
mod power;
mod snapshots;
mod world;

use super::*;
use crate::types::Digest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const LIMITS: Limits = Limits { segment_bytes: 700, record_bytes: 150, reserve_bytes: 700 };

fn options() -> Options {
    let (owner, secret) = (Digest([7; 32]), Digest([9; 32]));
    let (first, known) = (Position(0), Position(0));
    Options { owner, secret, first, known, limits: LIMITS }
}

fn open(disk: &mut MemoryDisk) -> Result<(Log, Found), LogError> {
    Log::open(disk, options(), &mut |_| {})
}

fn opened(disk: &mut MemoryDisk) -> (Log, Found) {
    open(disk).expect("this log opens")
}

/// What a record holds in a test: its position and more, of a length that varies.
fn payload(position: u64, life: u64) -> Vec<u8> {
    let mut bytes = format!("{position}/{life}:").into_bytes();
    bytes.resize(bytes.len() + (position * 37 % 71) as usize, b'.');
    bytes
}

/// Appends this many records as one group.
fn append(log: &mut Log, disk: &mut MemoryDisk, n: u64, life: u64) -> Result<(), LogError> {
    let first = log.next().0;
    let payloads: Vec<Vec<u8>> = (first..first + n).map(|p| payload(p, life)).collect();
    let entries: Vec<Entry<'_>> =
        payloads.iter().map(|payload| Entry { kind: 1, payload }).collect();
    let range = log.append(disk, &entries, Space::Ordinary)?;
    assert_eq!(range, Position(first)..Position(first + n));
    Ok(())
}

/// All steps from a position to the end.
fn read_all(log: &mut Log, disk: &mut MemoryDisk, from: Position) -> Vec<Step> {
    let (mut cursor, mut steps) = (Cursor::new(from), Vec::new());
    loop {
        match log.read(disk, &mut cursor).expect("reading works") {
            Step::End => return steps,
            step => steps.push(step),
        }
    }
}

/// The records among them.
fn records(steps: &[Step]) -> Vec<(Position, Vec<u8>)> {
    let record = |step: &Step| match step {
        Step::Record(stored) => Some((stored.position, stored.payload.clone())),
        _ => None,
    };
    steps.iter().filter_map(record).collect()
}

/// A log of so many records in groups of one to three, all synced and marked.
fn filled(n: u64) -> (MemoryDisk, Log) {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    while log.next().0 < n {
        let group = (log.next().0 % 3 + 1).min(n - log.next().0);
        append(&mut log, &mut disk, group, 0).expect("there is room");
        log.sync(&mut disk).expect("the disk is good");
    }
    log.mark(&mut disk).expect("there is room");
    (disk, log)
}

fn seeded(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |n| rng.next_u64() % n
}

fn segment_files(disk: &mut MemoryDisk) -> Vec<String> {
    let mut files = disk.list().expect("the directory can be read");
    files.retain(|file| file.ends_with(".seg"));
    files.sort();
    files
}

#[test]
fn records_come_back_as_they_were_appended() {
    let (mut disk, mut log) = filled(40);
    let before = read_all(&mut log, &mut disk, Position(0));
    let expected: Vec<_> = (0..40).map(|p| (Position(p), payload(p, 0))).collect();
    assert_eq!(records(&before), expected);
    assert!(segment_files(&mut disk).len() > 3, "it went on to further files");
    let (mut log, found) = opened(&mut disk);
    assert_eq!((found.first, found.next, found.records), (Position(0), Position(40), 40));
    assert_eq!((found.cut, found.damages), (None, vec![]));
    assert_eq!(read_all(&mut log, &mut disk, Position(0)), before);
    assert_eq!(records(&read_all(&mut log, &mut disk, Position(17))), expected[17..]);
    assert_eq!(log.durable(), Position(40));
}

#[test]
fn one_sync_makes_several_groups_durable() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    for _ in 0..3 {
        append(&mut log, &mut disk, 1, 0).expect("there is room");
    }
    assert_eq!(log.durable(), Position(0));
    assert_eq!(log.sync(&mut disk), Ok(Position(3)));
    assert_eq!(disk.counts()[&Point::LogAppend], 3);
    assert_eq!(disk.counts()[&Point::LogSync], 1);
    assert_eq!(log.sync(&mut disk), Ok(Position(3)));
    assert_eq!(disk.counts()[&Point::LogSync], 1, "nothing is left to sync");
    log.mark(&mut disk).expect("there is room");
    log.mark(&mut disk).expect("there is room");
    assert_eq!(disk.counts()[&Point::MarkAppend], 1, "it is written down already");
}

#[test]
fn a_cursor_sees_what_comes_later_and_what_was_dropped() {
    let (mut disk, mut log) = filled(20);
    let mut cursor = Cursor::new(Position(19));
    assert!(matches!(log.read(&mut disk, &mut cursor), Ok(Step::Record(_))));
    assert_eq!(log.read(&mut disk, &mut cursor), Ok(Step::End));
    append(&mut log, &mut disk, 2, 0).expect("there is room");
    for p in 20..22 {
        let step = log.read(&mut disk, &mut cursor);
        assert!(matches!(step, Ok(Step::Record(s)) if s.payload == payload(p, 0)));
    }
    let mut old = Cursor::new(Position(0));
    assert!(matches!(log.read(&mut disk, &mut old), Ok(Step::Record(_))));
    let first = log.drop_before(&mut disk, Position(12)).expect("the disk is good");
    assert!(first > Position(0) && first <= Position(12), "whole files only: {first:?}");
    assert_eq!(log.read(&mut disk, &mut old), Ok(Step::Dropped(first)));
    let step = log.read(&mut disk, &mut old);
    assert!(matches!(step, Ok(Step::Record(s)) if s.position == first));
}

#[test]
fn the_last_file_is_never_dropped() {
    let (mut disk, mut log) = filled(20);
    let first = log.drop_before(&mut disk, Position(1000)).expect("the disk is good");
    assert_eq!(segment_files(&mut disk).len(), 1);
    let (log, found) = opened(&mut disk);
    assert_eq!((found.first, log.next()), (first, Position(20)));
}

#[test]
fn a_log_can_begin_anew_elsewhere() {
    let (mut disk, mut log) = filled(20);
    log.start_over(&mut disk, Position(500)).expect("the disk is good");
    append(&mut log, &mut disk, 2, 1).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    let (mut log, found) = opened(&mut disk);
    assert_eq!((found.first, found.next), (Position(500), Position(502)));
    assert_eq!(records(&read_all(&mut log, &mut disk, Position(500))).len(), 2);
}

#[test]
fn files_of_others_and_unknown_versions_are_refused() {
    let (mut disk, _) = filled(5);
    let other = Options { owner: Digest([8; 32]), ..options() };
    let refused = Log::open(&mut disk, other, &mut |_| {});
    let file = segment_files(&mut disk)[0].clone();
    let owner = Digest([7; 32]);
    assert_eq!(refused.err(), Some(LogError::Foreign { file: file.clone(), owner }));
    let mut bytes = disk.bytes(&file).expect("it is there")[..96].to_vec();
    bytes[8] = 2;
    let checksum = crc32c::crc32c(&bytes[..92]);
    bytes[92..].copy_from_slice(&checksum.to_le_bytes());
    disk.put(&file, &bytes);
    assert_eq!(open(&mut disk).err(), Some(LogError::Version { file, version: 2 }));
}

#[test]
fn limits_are_kept() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    let long = vec![1; 151];
    let entry = Entry { kind: 1, payload: &long };
    let refused = log.append(&mut disk, &[entry], Space::Ordinary);
    assert_eq!(refused, Err(LogError::TooLong { bytes: 151, limit: 150 }));
    let entry = Entry { kind: 1, payload: &long[..150] };
    let refused = log.append(&mut disk, &[entry; 3], Space::Ordinary);
    assert!(matches!(refused, Err(LogError::TooLong { .. })), "a group fits into a file");
    let mark = Entry { kind: 0, payload: &[] };
    assert_eq!(log.append(&mut disk, &[mark], Space::Ordinary), Err(LogError::Kind));
    assert!(log.append(&mut disk, &[entry; 2], Space::Ordinary).is_ok());
    let small = Limits { segment_bytes: 200, ..LIMITS };
    let refused = Log::open(&mut disk, Options { limits: small, ..options() }, &mut |_| {});
    assert!(matches!(refused, Err(LogError::Limits(_))));
    let small = Limits { reserve_bytes: 699, ..LIMITS };
    let refused = Log::open(&mut disk, Options { limits: small, ..options() }, &mut |_| {});
    assert!(matches!(refused, Err(LogError::Limits(_))));
}

#[test]
fn opening_tells_how_far_it_is() {
    let (mut disk, _) = filled(40);
    let mut told = Vec::new();
    Log::open(&mut disk, options(), &mut |progress| told.push(progress)).expect("it opens");
    let files = segment_files(&mut disk).len() as u64;
    assert_eq!(told.len() as u64, files);
    assert!(told.iter().zip(1..).all(|(p, i)| p.files == i && p.of == files));
    assert!(told.windows(2).all(|w| w[0].bytes < w[1].bytes));
}

#[test]
fn nothing_where_something_is_known_is_an_error() {
    let known = Options { known: Position(3), ..options() };
    let lost = Log::open(&mut MemoryDisk::new(), known, &mut |_| {});
    assert_eq!(lost.err(), Some(LogError::Missing(Position(3))));
}
