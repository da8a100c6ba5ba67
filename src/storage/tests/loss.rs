//! What is lost, found in another replica's log and put back: for every kind of damage.

use super::*;

/// A log of so many records that another replica keeps, which begins elsewhere: with another
/// owner, another secret and other positions, and the same payloads.
fn other(payloads: &[Vec<u8>], first: u64) -> (MemoryDisk, Log) {
    let (owner, secret) = (Digest([77; 32]), Digest([78; 32]));
    let options = Options { owner, secret, first: Position(first), ..options() };
    let mut disk = MemoryDisk::new();
    let (mut log, _) = Log::open(&mut disk, options, &mut |_| {}).expect("a new log");
    for payload in payloads {
        log.append(&mut disk, &[Entry { kind: 1, payload }], Space::Ordinary).expect("room");
        log.sync(&mut disk).expect("the disk is good");
    }
    log.mark(&mut disk).expect("there is room");
    (disk, log)
}

fn same(n: u64) -> Vec<Vec<u8>> {
    (0..n).map(|p| payload(p, 0)).collect()
}

/// Mends what can be mended from this log, and gives what is left.
fn mend_all(log: &mut Log, disk: &mut MemoryDisk, donor: &mut (MemoryDisk, Log)) -> Vec<Loss> {
    let losses = log.losses();
    let marks = log.landmarks(disk, &losses).expect("the disk is good");
    let seen = donor.1.sightings(&mut donor.0, &marks).expect("the disk is good");
    losses.into_iter().filter(|loss| !is_mended(log, disk, donor, (&seen, loss))).collect()
}

fn is_mended(
    log: &mut Log,
    disk: &mut MemoryDisk,
    donor: &mut (MemoryDisk, Log),
    (seen, loss): (&Sightings, &Loss),
) -> bool {
    seen.shifts(loss).into_iter().any(|shift| {
        let row = donor.1.row(&mut donor.0, loss, (shift, 1 << 20)).expect("the disk is good");
        let row = row.expect("it is not too much");
        let Some(entries) = row.find(loss, SLACK) else { return false };
        log.mend(disk, loss, &entries).expect("what fits is taken");
        true
    })
}

/// That the log is as if nothing had happened, also for whoever opens it, and goes on.
fn is_whole(mut log: Log, mut disk: MemoryDisk, n: u64, place: &str) {
    assert_eq!(log.losses(), vec![], "{place}");
    let (_, good) = filled(n);
    assert_eq!(log.chain(), good.chain(), "{place}");
    append(&mut log, &mut disk, 1, 0).expect(place);
    log.sync(&mut disk).expect(place);
    let (_, found) = open(&mut disk.without_power(&mut |_| 0)).expect(place);
    assert_eq!(
        (&found.damages, found.next, found.cut),
        (&vec![], Position(n + 1), None),
        "{place}"
    );
}

/// Damages a full log, and gives it with what it has lost.
fn damaged(n: u64, how: impl FnOnce(&mut MemoryDisk, &[String])) -> (MemoryDisk, Log, Vec<Loss>) {
    let (mut disk, _) = filled(n);
    let files = segment_files(&mut disk);
    how(&mut disk, &files);
    let (log, _) = opened(&mut disk);
    let losses = log.losses();
    assert!(!losses.is_empty());
    (disk, log, losses)
}

/// Where each record of a file begins, with its position and length, marks too.
fn records_in(disk: &MemoryDisk, file: &str) -> Vec<(u64, u64, usize)> {
    let (bytes, mut at, mut out) = (disk.bytes(file).expect("it is there"), 96, Vec::new());
    while at < bytes.len() {
        let number = |from: usize, to: usize| {
            let digits = bytes[at + from..at + to].iter().rev();
            digits.fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
        };
        let size = 61 + number(4, 8) as usize;
        out.push((at as u64, number(8, 16), size));
        at += size;
    }
    out
}

/// Replaces bytes of a file.
fn write(disk: &mut MemoryDisk, file: &str, at: u64, new: &[u8]) {
    let mut bytes = disk.bytes(file).expect("it is there").to_vec();
    bytes[at as usize..at as usize + new.len()].copy_from_slice(new);
    disk.put(file, &bytes);
}

/// Damages a log, mends it from one with other positions, and demands that nothing is missing.
fn comes_back(n: u64, how: impl FnOnce(&mut MemoryDisk, &[String])) -> Vec<Loss> {
    let (mut disk, mut log, losses) = damaged(n, how);
    let left = mend_all(&mut log, &mut disk, &mut other(&same(n), 1000));
    assert_eq!(left, vec![]);
    is_whole(log, disk, n, "after mending");
    losses
}

#[test]
fn every_single_bit_that_turns_over_is_put_back_from_a_log_with_other_positions() {
    let n = 14;
    let (disk, _) = filled(n);
    let mut donor = other(&same(n), 1000);
    for file in &segment_files(&mut disk.clone()) {
        let length = disk.bytes(file).expect("it is there").len() as u64;
        for offset in 0..length {
            let mut disk = disk.clone();
            assert!(disk.flip(file, offset, (offset % 8) as u8));
            let place = format!("{file} {offset}");
            let (mut log, found) = open(&mut disk).expect(&place);
            if found.cut.is_some() {
                // The mark at the end, behind which nothing was ever promised.
                assert_eq!(found.damages, vec![], "{place}");
                continue;
            }
            let losses = log.losses();
            let mended: Vec<What> = found.damages.iter().map(|damage| damage.what).collect();
            if losses.is_empty() {
                // Opening writes the last file anew, with a header.
                assert_eq!(mended, [What::Header], "{place}");
                is_whole(log, disk, n, &place);
                continue;
            }
            assert_eq!(losses.len(), 1, "{place}");
            let first = &losses[0];
            assert_eq!(first.damages, found.damages, "{place}");
            assert!(first.before.is_some() && first.after.is_some(), "{place}");
            assert!(first.count().is_some_and(|count| count <= 1), "{place}");
            assert_eq!(mend_all(&mut log, &mut disk, &mut donor), vec![], "{place}");
            is_whole(log, disk, n, &place);
        }
    }
}

#[test]
fn the_chains_values_beside_a_loss_are_those_of_the_log_before_it_was_damaged() {
    let (_, mut log, losses) = damaged(20, |disk, files| {
        disk.flip(&files[1], 96 + 70, 1);
    });
    let (mut good, _) = filled(20);
    let (mut whole, _) = opened(&mut good);
    let steps = read_all(&mut whole, &mut good, Position(0));
    let chain = |position: Position| {
        steps.iter().find_map(|step| match step {
            Step::Record(stored) if stored.position == position => Some(stored.chain),
            _ => None,
        })
    };
    let loss = &losses[0];
    assert_eq!(loss.count(), Some(1));
    assert_eq!((loss.before, loss.after), (chain(loss.first), loss.next.and_then(chain)));
    assert_eq!(loss.damages, log.damages());
    assert_eq!(log.files_of(loss), vec![loss.damages[0].file.clone()]);
    let right = payload(loss.first.0, 0);
    assert!(loss.fits(&[Entry { kind: 1, payload: &right }]));
    log.mend(&mut MemoryDisk::new(), loss, &[]).expect_err("none is not what was lost");
}

#[test]
fn a_file_that_is_missing_comes_back() {
    let losses = comes_back(30, |disk, files| disk.lose(&files[1]));
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].damages[0].what, What::Missing);
    // Also two beside each other.
    comes_back(30, |disk, files| files[1..3].iter().for_each(|file| disk.lose(file)));
}

#[test]
fn what_is_lost_around_the_border_of_two_files_is_one_loss_if_the_header_is_lost_too() {
    let losses = comes_back(30, |disk, files| {
        let (last, _, size) = *records_in(disk, &files[1]).last().expect("it has some");
        disk.flip(&files[1], last + size as u64 - 1, 2);
        disk.flip(&files[2], 50, 2);
        disk.flip(&files[2], 96 + 5, 2);
    });
    assert_eq!((losses.len(), losses[0].damages.len()), (1, 3));
    assert_eq!(losses[0].count(), Some(2));
    // With the header there are two, each with its own values.
    let losses = comes_back(30, |disk, files| {
        let (last, _, size) = *records_in(disk, &files[1]).last().expect("it has some");
        disk.flip(&files[1], last + size as u64 - 1, 2);
        disk.flip(&files[2], 96 + 5, 2);
    });
    assert_eq!(losses.len(), 2);
    // And a whole file of zeros between two broken ones.
    let losses = comes_back(40, |disk, files| {
        let (last, _, _) = *records_in(disk, &files[1]).last().expect("it has some");
        disk.flip(&files[1], last, 2);
        let length = disk.bytes(&files[2]).expect("it is there").len();
        disk.put(&files[2], &vec![0; length]);
        disk.flip(&files[3], 10, 2);
        disk.flip(&files[3], 96, 2);
    });
    assert_eq!(losses.len(), 1);
    assert!(losses[0].count().is_some_and(|count| count > 3));
}

#[test]
fn several_losses_in_one_file_and_in_all_files_come_back() {
    let losses = comes_back(60, |disk, files| {
        for file in files {
            let records = records_in(disk, file);
            for (at, position, size) in records.iter().skip(1).step_by(2).take(2) {
                // The last mark is for another test.
                if *position < 59 {
                    disk.flip(file, at + *size as u64 - 1, 7);
                }
            }
        }
    });
    assert!(losses.len() > 10, "{}", losses.len());
}

/// Two losses between which only a mark says what the chain's value is.
#[test]
fn losses_on_both_sides_of_a_mark_come_back() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    for _ in 0..4 {
        append(&mut log, &mut disk, 1, 0).expect("there is room");
        log.sync(&mut disk).expect("the disk is good");
        log.mark(&mut disk).expect("there is room");
    }
    let file = segment_files(&mut disk)[0].clone();
    let records = records_in(&disk, &file);
    // Records and marks take turns.
    for (at, _, size) in [records[2], records[4]] {
        disk.flip(&file, at + size as u64 - 1, 0);
    }
    let (mut log, _) = opened(&mut disk);
    assert_eq!(log.losses().len(), 2);
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&same(4), 7)), vec![]);
    is_whole(log, disk, 4, "beside marks");
}

/// Also where another file follows: a mark, or other bytes, behind the last record of a file.
#[test]
fn bytes_that_belong_to_no_record_are_removed_from_the_file_that_has_them() {
    let losses = comes_back(30, |disk, files| {
        let bytes = disk.bytes(&files[1]).expect("it is there").to_vec();
        disk.put(&files[1], &[&bytes[..], &[5; 30]].concat());
    });
    assert_eq!((losses.len(), losses[0].count()), (1, Some(0)));
    assert_eq!(losses[0].damages[0].what, What::Trailing);
}

#[test]
fn a_write_that_went_elsewhere_is_put_back_where_it_was_missing_and_where_it_came_to() {
    comes_back(30, |disk, files| {
        let (from, _, size) = records_in(disk, &files[3])[1];
        let record = disk.bytes(&files[3]).expect("it is there")[from as usize..][..size].to_vec();
        let (to, _, _) = records_in(disk, &files[1])[1];
        write(disk, &files[1], to, &record);
        write(disk, &files[3], from, &vec![0; size]);
    });
}

/// A record of an earlier life stands where a later one was written.
#[test]
fn a_stale_record_is_put_back() {
    let stale = {
        let mut disk = MemoryDisk::new();
        let (mut log, _) = opened(&mut disk);
        for life in [0, 0, 1] {
            append(&mut log, &mut disk, 1, life).expect("there is room");
        }
        let file = segment_files(&mut disk)[0].clone();
        let (at, _, size) = records_in(&disk, &file)[2];
        disk.bytes(&file).expect("it is there")[at as usize..][..size].to_vec()
    };
    comes_back(12, |disk, files| {
        let (at, position, size) = records_in(disk, &files[0])[2];
        assert_eq!((position, size), (2, stale.len()));
        write(disk, &files[0], at, &stale);
    });
}

#[test]
fn what_reaches_the_end_of_the_log_is_never_taken_for_mended() {
    let (mut disk, _) = filled(12);
    let file = segment_files(&mut disk).pop().expect("there is one");
    let records = records_in(&disk, &file);
    let (last, position, _) = records[records.len() - 2];
    assert_eq!(position, 11);
    let cut = disk.bytes(&file).expect("it is there")[..last as usize + 70].to_vec();
    disk.put(&file, &cut);
    let options = Options { known: Position(12), ..options() };
    let (mut log, _) = Log::open(&mut disk, options, &mut |_| {}).expect("it opens");
    let losses = log.losses();
    assert_eq!((losses.len(), losses[0].next, losses[0].count()), (1, None, None));
    let before = disk.bytes(&file).map(<[u8]>::to_vec);
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&same(12), 3)), losses);
    let right = payload(11, 0);
    let entry = Entry { kind: 1, payload: &right };
    assert_eq!(log.mend(&mut disk, &losses[0], &[entry]), Err(LogError::DoesNotFit));
    assert_eq!(disk.bytes(&file).map(<[u8]>::to_vec), before);
}

/// Also of a last file of which nothing is left, where nothing says the chain's value before it.
#[test]
fn what_was_in_a_last_file_without_header_and_records_is_told() {
    let (mut disk, _) = filled(30);
    let files = segment_files(&mut disk);
    let (last, before) = (&files[files.len() - 1], &files[files.len() - 2]);
    let first = Position(last[4..24].parse().expect("a position"));
    disk.lose(before);
    disk.put(last, &[0; 60]);
    let options = Options { known: Position(30), ..options() };
    let (mut log, found) = Log::open(&mut disk, options, &mut |_| {}).expect("it opens");
    let told = |d: &Damage| d.first <= first && d.next.is_none();
    assert!(found.damages.iter().any(told), "{found:?}");
    let read = read_all(&mut log, &mut disk, first);
    assert!(matches!(&read[..], [Step::Damaged(d)] if d.first == first), "{read:?}");
    let losses = log.losses();
    assert_eq!((losses.len(), losses[0].next), (1, None));
}

/// What is known to have been durable is known still when the file is written anew.
#[test]
fn a_repair_before_a_damaged_end_does_not_make_it_look_unfinished() {
    let (mut disk, _) = filled(11);
    // Only the header knows up to where it was durable.
    let (log, found) = opened(&mut disk);
    assert_eq!(found.durable, Position(11));
    drop(log);
    let file = segment_files(&mut disk).pop().expect("there is one");
    let records: Vec<_> = records_in(&disk, &file).into_iter().filter(|r| r.1 < 11).collect();
    let ((early, _, size), (last, ..)) = (records[0], records[records.len() - 1]);
    let bytes = disk.bytes(&file).expect("it is there")[..last as usize + 65].to_vec();
    disk.put(&file, &bytes);
    disk.flip(&file, early + size as u64 - 1, 1);
    let (mut log, found) = opened(&mut disk);
    assert_eq!((found.cut, found.damages.len()), (None, 2));
    let left = mend_all(&mut log, &mut disk, &mut other(&same(11), 50));
    assert_eq!((left.len(), left[0].next), (1, None));
    let (_, found) = opened(&mut disk);
    assert_eq!((found.cut, found.damages.len()), (None, 1));
    assert_eq!(found.damages[0].next, None);
}

#[test]
fn entries_of_a_liar_are_refused_and_change_nothing() {
    let (mut disk, mut log, losses) = damaged(20, |disk, files| {
        disk.flip(&files[1], 96 + 70, 1);
    });
    let files = segment_files(&mut disk);
    let content = |disk: &MemoryDisk| -> Vec<Option<Vec<u8>>> {
        files.iter().map(|file| disk.bytes(file).map(<[u8]>::to_vec)).collect()
    };
    let before = content(&disk);
    // All as it was but for what was lost: another entry of the same length.
    let mut lies = same(20);
    let lost = usize::try_from(losses[0].first.0).expect("it is small");
    lies[lost][0] ^= 1;
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&lies, 0)), losses);
    // None at all there, or one more.
    lies.remove(lost);
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&lies, 0)), losses);
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&[], 0)), losses);
    assert_eq!(content(&disk), before);
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&same(20), 0)), vec![]);
}

#[test]
fn an_entry_that_came_some_places_later_is_found_beside() {
    for (late, is_found) in [(1, true), (SLACK, true), (SLACK + 9, false)] {
        let (mut disk, mut log, losses) = damaged(60, |disk, files| {
            disk.flip(&files[1], 96 + 70, 1);
        });
        let mut theirs = same(60);
        let lost = usize::try_from(losses[0].first.0).expect("it is small");
        let entry = theirs.remove(lost);
        theirs.insert(lost + late as usize, entry);
        let left = mend_all(&mut log, &mut disk, &mut other(&theirs, 300));
        assert_eq!(left.is_empty(), is_found, "{late} places later");
    }
}

#[test]
fn two_logs_with_a_part_each_have_all_of_it() {
    let (mut disk, mut log, losses) = damaged(40, |disk, files| {
        let length = disk.bytes(&files[2]).expect("it is there").len();
        disk.put(&files[2], &vec![0; length]);
    });
    let loss = &losses[0];
    let count = loss.count().expect("others follow");
    assert!(count >= 3, "{count}");
    let rows: Vec<Row> = [0, count - 1]
        .into_iter()
        .map(|spoiled| {
            let (mut disk, log) = other(&same(40), 0);
            drop(log);
            let position = loss.first.0 + spoiled;
            for file in segment_files(&mut disk) {
                for (at, its, size) in records_in(&disk, &file) {
                    if its == position && size > 61 {
                        disk.flip(&file, at + size as u64 - 1, 0);
                    }
                }
            }
            let (owner, secret) = (Digest([77; 32]), Digest([78; 32]));
            let options = Options { owner, secret, ..options() };
            let (mut log, _) = Log::open(&mut disk, options, &mut |_| {}).expect("it opens");
            assert_eq!(log.damages().len(), 1);
            log.row(&mut disk, loss, (0, 1 << 20)).expect("it is read").expect("it is little")
        })
        .collect();
    for row in &rows {
        assert_eq!((row.find(loss, SLACK), row.lack()), (None, Lack::Damaged));
    }
    let both = rows[0].filled_from(&rows[1]);
    let entries = both.find(loss, 0).expect("together they have it");
    log.mend(&mut disk, loss, &entries).expect("it fits");
    is_whole(log, disk, 40, "from two");
}

#[test]
fn more_than_is_looked_for_is_not_read() {
    let (_, _, losses) = damaged(40, |disk, files| disk.lose(&files[1]));
    let (mut disk, mut log) = other(&same(40), 0);
    assert_eq!(log.row(&mut disk, &losses[0], (0, 2500)), Ok(None));
    assert!(log.row(&mut disk, &losses[0], (0, 1 << 20)).expect("it is read").is_some());
    // A name of a file can claim any number of records before it.
    let mut loss = losses[0].clone();
    loss.next = Some(Position(u64::MAX / 4 - 1));
    assert_eq!(log.row(&mut disk, &loss, (0, 1 << 40)), Ok(None));
}

#[test]
fn a_file_that_is_kept_stays_when_it_is_repaired_and_no_log_sees_it() {
    let (mut disk, mut log, losses) = damaged(20, |disk, files| {
        disk.flip(&files[1], 96 + 70, 1);
    });
    let file = log.files_of(&losses[0]).pop().expect("it is in one");
    let before = disk.bytes(&file).map(<[u8]>::to_vec);
    let kept = keep(&mut disk, &file).expect("the disk is good");
    assert_eq!(kept, format!("damaged-{file}.1"));
    assert_eq!(keep(&mut disk, &file), Ok(format!("damaged-{file}.2")));
    assert_eq!(mend_all(&mut log, &mut disk, &mut other(&same(20), 9)), vec![]);
    assert_eq!(disk.bytes(&kept).map(<[u8]>::to_vec), before);
    assert_ne!(disk.bytes(&file).map(<[u8]>::to_vec), before);
    let mut disk = disk.without_power(&mut |_| 0);
    assert_eq!(disk.bytes(&kept).map(<[u8]>::to_vec), before);
    let (_, found) = opened(&mut disk);
    assert_eq!((found.damages, found.leftovers), (vec![], 0));
    assert!(keep(&mut disk, "log-none").is_err());
}
