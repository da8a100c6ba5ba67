//! Rot: what is damaged is told and never given out, and what others have can be put in its place.

use super::*;

/// Puts right records in the place of all that is damaged.
fn repair_all(
    log: &mut Log,
    disk: &mut MemoryDisk,
    found: &Found,
    right: impl Fn(u64) -> Option<Vec<u8>>,
) -> Result<(), LogError> {
    for damage in log.damages() {
        let range = damage.first..damage.next.unwrap_or(found.next);
        let records = (range.start.0..range.end.0).filter_map(|p| Some((1, right(p)?)));
        log.repair(disk, range, records.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Whether each position below `n` was either read or told to be lost.
fn all_told(read: &[(Position, Vec<u8>)], damages: &[Damage], n: u64) -> bool {
    (0..n).all(|p| {
        let is_in = |d: &Damage| d.first.0 <= p && d.next.is_none_or(|next| p < next.0);
        read.iter().any(|(q, _)| q.0 == p) || damages.iter().any(is_in)
    })
}

#[test]
fn every_single_bit_that_turns_over_is_told_and_can_be_repaired() {
    let n = 14;
    let (disk, _) = filled(n);
    let files = segment_files(&mut disk.clone());
    assert!(files.len() >= 2, "{files:?}");
    let mut bits = 0;
    for file in &files {
        let length = disk.bytes(file).expect("it is there").len() as u64;
        for (offset, bit) in (0..length).flat_map(|o| (0..8).map(move |b| (o, b))) {
            let mut disk = disk.clone();
            assert!(disk.flip(file, offset, bit));
            let place = format!("{file} {offset} {bit}");
            let (mut log, found) = open(&mut disk).expect(&place);
            let is_told = !found.damages.is_empty() || found.cut.is_some();
            assert!(is_told, "{place}");
            assert!(found.cut.as_ref().is_none_or(|cut| cut.first >= Position(n)), "{place}");
            let read = records(&read_all(&mut log, &mut disk, Position(0)));
            assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)), "{place}");
            assert!(all_told(&read, &log.damages(), n), "{place}: {found:?}");
            let right = |p| Some(payload(p, 0));
            repair_all(&mut log, &mut disk, &found, right).expect(&place);
            let read = records(&read_all(&mut log, &mut disk, Position(0)));
            assert_eq!(read.len() as u64, n, "{place}");
            assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)), "{place}");
            append(&mut log, &mut disk, 1, 0).expect(&place);
            log.sync(&mut disk).expect(&place);
            let (_, found) = open(&mut disk.without_power(&mut |_| 0)).expect(&place);
            assert_eq!((found.damages, found.next), (vec![], Position(n + 1)), "{place}");
            bits += 1;
        }
    }
    println!("{bits} bits");
}

#[test]
fn three_logs_damaged_at_different_places_repair_each_other() {
    let mut logs: Vec<(MemoryDisk, Options)> = Vec::new();
    for replica in 0..3_u8 {
        let options = Options { owner: Digest([replica; 32]), ..options() };
        let mut disk = MemoryDisk::new();
        let opened = Log::open(&mut disk, options.clone(), &mut |_| {});
        let (mut log, _) = opened.expect("a new log");
        for _ in 0..30 {
            append(&mut log, &mut disk, 1, 0).expect("there is room");
            log.sync(&mut disk).expect("the disk is good");
        }
        log.mark(&mut disk).expect("there is room");
        let files = segment_files(&mut disk);
        for file in files.iter().skip(usize::from(replica)).step_by(3) {
            for offset in [170, 171, 400, 401] {
                disk.flip(file, offset, replica);
            }
        }
        logs.push((disk, options));
    }
    // What each can still give the others.
    let good: Vec<Vec<(Position, Vec<u8>)>> = logs
        .iter_mut()
        .map(|(disk, options)| {
            let opened = Log::open(disk, options.clone(), &mut |_| {});
            let (mut log, found) = opened.expect("it opens");
            assert!(!found.damages.is_empty());
            records(&read_all(&mut log, disk, Position(0)))
        })
        .collect();
    for (i, (disk, options)) in logs.iter_mut().enumerate() {
        let (mut log, found) = Log::open(disk, options.clone(), &mut |_| {}).expect("it opens");
        let right = |p: u64| {
            let others = good.iter().enumerate().filter(|(j, _)| *j != i);
            let all = others.flat_map(|(_, records)| records);
            all.filter(|(q, _)| q.0 == p).map(|(_, bytes)| bytes.clone()).next()
        };
        repair_all(&mut log, disk, &found, right).expect("the others have it");
        let read = records(&read_all(&mut log, disk, Position(0)));
        assert!(log.damages().is_empty() && read.len() == 30);
        assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
    }
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let (mut disk, _) = filled(12);
    let file = segment_files(&mut disk)[1].clone();
    disk.flip(&file, 96 + 61, 0);
    let (mut log, found) = opened(&mut disk);
    let damage = found.damages[0].clone();
    let (first, next) = (damage.first, damage.next.expect("others follow"));
    assert_eq!((next, damage.what), (first.next(), What::Payload));
    let (wrong, right) = ([(1, payload(first.0, 5))], [(1, payload(first.0, 0))]);
    assert_eq!(log.repair(&mut disk, first..next, wrong), Err(LogError::DoesNotFit));
    let other_kind = [(2, payload(first.0, 0))];
    assert_eq!(log.repair(&mut disk, first..next, other_kind), Err(LogError::DoesNotFit));
    let none: [(u8, Vec<u8>); 0] = [];
    assert_eq!(log.repair(&mut disk, first..next, none.clone()), Err(LogError::DoesNotFit));
    assert_eq!(log.repair(&mut disk, first..first, none), Err(LogError::Range));
    let two = [right[0].clone(), right[0].clone()];
    assert_eq!(log.repair(&mut disk, first..next, two), Err(LogError::DoesNotFit));
    assert!(disk.list().expect("it can be read").iter().all(|file| !file.ends_with(".new")));
    assert_eq!(log.repair(&mut disk, first..next, right), Ok(()));
    assert!(log.damages().is_empty());
}

#[test]
fn a_crash_anywhere_in_a_repair_leaves_the_damage_or_none() {
    let (mut disk, _) = filled(12);
    let file = segment_files(&mut disk)[1].clone();
    disk.flip(&file, 96 + 61, 0);
    let (log, found) = opened(&mut disk);
    let damage = found.damages[0].clone();
    let range = damage.first..damage.next.expect("others follow");
    let (mut crashes, mut repaired) = (0, 0);
    drop(log);
    for call in 1.. {
        let mut reached = false;
        for moment in [Moment::Before, Moment::Inside(40), Moment::After] {
            for seed in 0..6 {
                let mut disk = disk.clone();
                let (mut log, _) = opened(&mut disk);
                let when = When::Call(disk.calls() + call);
                disk.faults.crash = Some(Crash { when, moment });
                let right = [(1, payload(damage.first.0, 0))];
                let _ = log.repair(&mut disk, range.clone(), right);
                if !disk.is_over() {
                    continue;
                }
                reached = true;
                let mut dice = seeded(seed);
                let mut disk = disk.without_power(&mut dice);
                let (mut log, found) = opened(&mut disk);
                assert!(found.damages.is_empty() || found.damages == [damage.clone()]);
                let read = records(&read_all(&mut log, &mut disk, Position(0)));
                assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
                assert_eq!(read.len(), 12 - found.damages.len());
                repaired += usize::from(found.damages.is_empty());
                crashes += 1;
            }
        }
        if !reached {
            break;
        }
    }
    assert!(crashes > 60 && repaired > 0 && repaired < crashes);
}

#[test]
fn a_missing_file_is_damage_up_to_the_next_one() {
    let (mut disk, _) = filled(20);
    let files = segment_files(&mut disk);
    disk.lose(&files[1]);
    let (mut log, found) = opened(&mut disk);
    assert_eq!(found.damages.len(), 1);
    assert_eq!(found.damages[0].what, What::Missing);
    let right = |p| Some(payload(p, 0));
    repair_all(&mut log, &mut disk, &found, right).expect("all fit");
    let read = records(&read_all(&mut log, &mut disk, Position(0)));
    assert_eq!(read.len(), 20);
}

#[test]
fn a_record_that_rots_while_the_log_is_open_is_damage_from_then_on() {
    let (mut disk, mut log) = filled(12);
    let file = segment_files(&mut disk)[0].clone();
    disk.flip(&file, 96 + 61, 3);
    let steps = read_all(&mut log, &mut disk, Position(0));
    assert!(matches!(&steps[0], Step::Damaged(d) if d.first == Position(0)));
    assert_eq!(records(&steps).len(), 11);
    assert_eq!(log.damages().len(), 1);
}

#[test]
fn a_damaged_end_must_be_repaired_before_the_log_goes_on() {
    let (mut disk, _) = filled(12);
    let file = segment_files(&mut disk).last().expect("there is one").clone();
    let bytes = disk.bytes(&file).expect("it is there");
    // The mark stays, but not what it speaks of.
    let (length, mark) = (bytes.len(), bytes.len() - 61);
    let mut torn = bytes.to_vec();
    torn[mark - 1] ^= 1;
    torn.truncate(length);
    disk.put(&file, &torn);
    let options = Options { known: Position(12), ..options() };
    let cut_off = &torn[..mark - 5];
    disk.put(&file, cut_off);
    let (mut log, found) = Log::open(&mut disk, options, &mut |_| {}).expect("it opens");
    assert_eq!((found.cut.as_ref(), found.damages.len()), (None, 1));
    assert_eq!(found.damages[0].next, None);
    let refused = append(&mut log, &mut disk, 1, 0);
    assert!(matches!(refused, Err(LogError::DamagedEnd(_))));
    let right = |p| Some(payload(p, 0));
    repair_all(&mut log, &mut disk, &found, right).expect("anything goes");
    append(&mut log, &mut disk, 1, 0).expect("the end is good");
    assert_eq!(records(&read_all(&mut log, &mut disk, Position(0))).len(), 13);
}

/// Whoever opens a log with another secret believes none of its records, and cuts off nothing that
/// was durable.
#[test]
fn with_another_secret_nothing_is_believed_and_nothing_durable_is_cut() {
    let (mut disk, _) = filled(40);
    let (_, found) = opened(&mut disk);
    assert_eq!(found.next, Position(40));
    let before: Vec<Vec<u8>> =
        segment_files(&mut disk).iter().map(|f| disk.bytes(f).expect("listed").to_vec()).collect();
    let wrong = Options { secret: Digest([10; 32]), ..options() };
    let (mut log, found) = Log::open(&mut disk, wrong, &mut |_| {}).expect("it opens");
    assert_eq!((found.records, found.cut), (0, None));
    assert!(!found.damages.is_empty());
    assert_eq!(records(&read_all(&mut log, &mut disk, found.first)), vec![]);
    let files = segment_files(&mut disk);
    let whole = |(file, old): (&String, &Vec<u8>)| disk.bytes(file) == Some(&old[..]);
    // The last file has no mark of its own, so it is the only one whose end may seem unfinished.
    assert!(files.iter().zip(&before).rev().skip(1).all(whole), "{files:?}");
}

/// A repair mends one file: a range over two of them is refused, and changes nothing.
#[test]
fn a_repair_over_a_file_boundary_is_refused() {
    let (mut disk, mut log) = filled(40);
    let files = segment_files(&mut disk);
    let second: u64 = files[1][4..24].parse().expect("a position");
    let bytes = disk.bytes(&files[0]).map(<[u8]>::to_vec);
    let range = Position(second - 1)..Position(second + 1);
    let payloads = [second - 1, second].map(|p| (1, payload(p, 0)));
    assert_eq!(log.repair(&mut disk, range, payloads), Err(LogError::Range));
    assert_eq!(disk.bytes(&files[0]).map(<[u8]>::to_vec), bytes);
    append(&mut log, &mut disk, 1, 0).expect("it goes on");
}
