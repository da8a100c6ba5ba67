//! Repairs of whole logs: what is there afterwards, whatever happens meanwhile.

use super::*;
use crate::storage::{
    Crash, Cursor, Faults, MemoryDisk, Moment, Overlay, Position, Space, Step, When,
};
use crate::types::Digest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const LIMITS: Limits = Limits { segment_bytes: 700, record_bytes: 150, reserve_bytes: 700 };

fn options(owner: u8) -> Options {
    let (first, known) = (Position(0), Position(0));
    let (owner, secret) = (Digest([owner; 32]), Digest([owner + 100; 32]));
    Options { owner, secret, first, known, limits: LIMITS }
}

fn payload(n: u64) -> Vec<u8> {
    let mut bytes = format!("entry {n}:").into_bytes();
    bytes.resize(bytes.len() + (n * 37 % 71) as usize, b'.');
    bytes
}

fn opened(disk: &mut MemoryDisk, owner: u8) -> Log {
    Log::open(disk, options(owner), &mut |_| {}).expect("it opens").0
}

/// The log of a replica with so many entries, which are the same with all.
fn filled(owner: u8, n: u64) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let mut log = opened(&mut disk, owner);
    for payload in (0..n).map(payload) {
        let entry = Entry { kind: 1, payload: &payload };
        log.append(&mut disk, &[entry], Space::Ordinary).expect("there is room");
        log.sync(&mut disk).expect("the disk is good");
    }
    log.mark(&mut disk).expect("there is room");
    disk
}

fn donor(disk: &MemoryDisk, owner: u8) -> Donor<Overlay<MemoryDisk>> {
    let disk = Overlay::new(disk.clone());
    Donor::open(format!("R{owner}"), disk, options(owner)).expect("it opens")
}

fn files(disk: &mut MemoryDisk) -> Vec<String> {
    let mut files = disk.list().expect("it can be read");
    files.retain(|file| file.starts_with("log-") && file.ends_with(".seg"));
    files.sort();
    files
}

fn content(disk: &mut MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().expect("it can be read");
    names.into_iter().map(|n| (n.clone(), disk.bytes(&n).unwrap_or_default().to_vec())).collect()
}

/// All entries that can be read, and whether any place is damaged.
fn entries(disk: &mut MemoryDisk, owner: u8) -> (Vec<(u64, Vec<u8>)>, bool) {
    let mut log = opened(disk, owner);
    let (mut cursor, mut entries) = (Cursor::new(log.first()), Vec::new());
    loop {
        match log.read(disk, &mut cursor).expect("it is read") {
            Step::Record(stored) => entries.push((stored.position.0, stored.payload)),
            Step::Damaged(_) | Step::Dropped(_) => {}
            Step::End => return (entries, !log.damages().is_empty()),
        }
    }
}

/// Spoils the entry at a position, wherever the log has it.
fn spoil(disk: &mut MemoryDisk, position: u64) {
    let wanted = payload(position);
    let found = files(disk).into_iter().find_map(|file| {
        let bytes = disk.bytes(&file)?;
        let at = bytes.windows(wanted.len()).position(|bytes| bytes == wanted)?;
        Some((file, at as u64))
    });
    let (file, at) = found.expect("it is there");
    assert!(disk.flip(&file, at + 3, 5));
}

fn keep_all(plan: &Repaired) -> Keep {
    Keep::All(plan.files.clone())
}

#[test]
fn what_two_logs_have_lost_at_different_places_each_gets_from_the_other() {
    let n = 40;
    let mut disks: Vec<MemoryDisk> = (1..=3).map(|owner| filled(owner, n)).collect();
    for (disk, places) in disks.iter_mut().zip([[3, 4, 20], [5, 21, 30], [6, 31, 12]]) {
        places.into_iter().for_each(|place| spoil(disk, place));
    }
    let spoilt = disks.clone();
    for (i, owner) in (0..3).zip(1..) {
        let others = (0..3).zip(1..).filter(|(j, _)| *j != i);
        let mut donors: Vec<_> = others.map(|(j, owner)| donor(&spoilt[j], owner)).collect();
        let mut memory = Overlay::new(disks[i].clone());
        let plan = repair(&mut memory, options(owner), &mut donors, &Keep::Nothing);
        let plan = plan.expect("all can be read");
        assert!(plan.is_whole() && plan.kept.is_empty(), "{plan:?}");
        assert!(plan.mended() >= 2);
        let disk = &mut disks[i];
        let done = repair(disk, options(owner), &mut donors, &keep_all(&plan));
        let done = done.expect("the disk is good");
        assert_eq!(done.places, plan.places);
        assert_eq!(done.kept.len(), plan.files.len());
        for (kept, file) in done.kept.iter().zip(&plan.files) {
            assert_eq!(disk.bytes(kept), spoilt[i].bytes(file), "as it was");
        }
        let (read, is_damaged) = entries(disk, owner);
        let expected: Vec<_> = (0..n).map(|p| (p, payload(p))).collect();
        assert_eq!((read, is_damaged), (expected, false));
    }
}

#[test]
fn an_entry_that_is_lost_everywhere_is_left_with_the_reasons_and_nothing_is_changed() {
    let mut disks: Vec<MemoryDisk> = (1..=3).map(|owner| filled(owner, 30)).collect();
    disks.iter_mut().for_each(|disk| spoil(disk, 12));
    let before = content(&mut disks[0]);
    let mut donors = [donor(&disks[1], 2), donor(&disks[2], 3)];
    let mut memory = Overlay::new(disks[0].clone());
    let done = repair(&mut memory, options(1), &mut donors, &Keep::Nothing);
    let done = done.expect("all can be read");
    assert_eq!((done.mended(), done.places.len()), (0, 1));
    let why = [("R2".to_owned(), Lack::Damaged), ("R3".to_owned(), Lack::Damaged)];
    assert_eq!(done.places[0].result, Err(Left::Nowhere(why.to_vec())));
    // Nor by a repair on the disk itself, but for what any start writes.
    let done = repair(&mut disks[0], options(1), &mut donors, &Keep::All(BTreeSet::new()));
    let done = done.expect("all can be read");
    assert_eq!((done.files.len(), done.kept.len()), (0, 0));
    let after = content(&mut disks[0]);
    assert!(before.iter().zip(&after).filter(|(a, b)| a != b).count() <= 1);
}

#[test]
fn each_reason_is_told() {
    let mut disk = filled(1, 30);
    spoil(&mut disk, 12);
    let reason = |donors: &mut [Donor<Overlay<MemoryDisk>>]| {
        let mut memory = Overlay::new(disk.clone());
        let done = repair(&mut memory, options(1), donors, &Keep::Nothing);
        let mut done = done.expect("all can be read");
        assert_eq!((done.places.len(), done.is_whole()), (1, false));
        done.places.remove(0).result.expect_err("it is left")
    };
    let nowhere = |lack| Left::Nowhere(vec![("R2".to_owned(), lack)]);
    assert_eq!(reason(&mut [donor(&filled(2, 8), 2)]), nowhere(Lack::Absent));
    assert_eq!(reason(&mut []), Left::Nowhere(Vec::new()));
    let mut liar = MemoryDisk::new();
    let mut log = opened(&mut liar, 2);
    for p in 0..30 {
        let payload = payload(if p == 12 { 99 } else { p });
        let entry = Entry { kind: 1, payload: &payload };
        log.append(&mut liar, &[entry], Space::Ordinary).expect("there is room");
    }
    assert_eq!(reason(&mut [donor(&liar, 2)]), nowhere(Lack::Others));
    // The first header and the first record: nothing says where the chain begins.
    let mut disk = filled(1, 30);
    let file = files(&mut disk)[1].clone();
    let first = files(&mut disk)[0].clone();
    disk.lose(&first);
    for offset in [60, 100, 101] {
        disk.flip(&file, offset, 1);
    }
    let mut memory = Overlay::new(disk);
    let done = repair(&mut memory, options(1), &mut [donor(&filled(2, 30), 2)], &Keep::Nothing);
    let done = done.expect("all can be read");
    assert_eq!(done.places[0].result, Err(Left::Unanchored));
}

/// A record of an earlier life stands where its successor, which would contradict it, is lost.
#[test]
fn a_stale_record_before_a_loss_is_replaced_with_it() {
    let mut disk = MemoryDisk::new();
    let mut log = opened(&mut disk, 1);
    let mut last = payload(13);
    last[0] ^= 1;
    for entry in (0..13).map(payload).chain([last.clone()]) {
        let entry = Entry { kind: 1, payload: &entry };
        log.append(&mut disk, &[entry], Space::Ordinary).expect("there is room");
    }
    let name = |disk: &mut MemoryDisk| files(disk).pop().expect("there is one");
    let place = |bytes: &[u8], of: &[u8]| bytes.windows(of.len()).position(|b| b == of);
    let file = name(&mut disk);
    let old = disk.bytes(&file).expect("it is there").to_vec();
    let at = place(&old, &last).expect("it is there");
    let stale = &old[at - 61..at + last.len()];
    let mut disk = filled(1, 30);
    let mut bytes = disk.bytes(&file).expect("both have it").to_vec();
    assert_eq!(place(&bytes, &payload(13)), Some(at), "the same place");
    bytes[at - 61..at + last.len()].copy_from_slice(stale);
    let behind = at + last.len();
    assert!(behind < bytes.len(), "the next one is in this file");
    disk.put(&file, &bytes);
    spoil(&mut disk, 14);
    let done = repair(&mut disk, options(1), &mut [donor(&filled(2, 30), 2)], &Keep::Nothing);
    let done = done.expect("both can be read");
    assert!(done.is_whole() && done.mended() == 1, "{done:?}");
    let (read, is_damaged) = entries(&mut disk, 1);
    let expected: Vec<_> = (0..30).map(|p| (p, payload(p))).collect();
    assert_eq!((read, is_damaged), (expected, false));
}

/// A crash at any call, whatever is left of what was not synced: each entry that could be read
/// before can be read, what is kept is as it was, and a second repair finishes.
#[test]
fn a_crash_anywhere_in_a_repair_leaves_all_that_was_there() {
    let n = 26;
    let mut disk = filled(1, n);
    let before = {
        [4, 5, 15].into_iter().for_each(|place| spoil(&mut disk, place));
        // The end of a file, the next one's header and its beginning.
        let all = files(&mut disk);
        let length = disk.bytes(&all[1]).expect("it is there").len() as u64;
        disk.flip(&all[1], length - 1, 1);
        assert!([70, 130].into_iter().all(|at| disk.flip(&all[2], at, 1)));
        // So that a start writes nothing any more.
        opened(&mut disk, 1);
        content(&mut disk)
    };
    let (good, _) = entries(&mut disk.clone(), 1);
    let other = filled(2, n);
    let mut memory = Overlay::new(disk.clone());
    let plan = repair(&mut memory, options(1), &mut [donor(&other, 2)], &Keep::Nothing);
    let plan = plan.expect("all can be read");
    assert!(plan.is_whole() && plan.files.len() >= 3, "{plan:?}");
    let (mut crashes, mut finished) = (0, 0);
    for call in 1.. {
        let mut is_reached = false;
        for moment in [Moment::Before, Moment::Inside(100), Moment::After] {
            let mut torn = disk.clone();
            let crash = Crash { when: When::Call(torn.calls() + call), moment };
            torn.faults = Faults { crash: Some(crash), ..Faults::default() };
            let done = repair(&mut torn, options(1), &mut [donor(&other, 2)], &keep_all(&plan));
            if !torn.is_over() {
                assert!(done.expect("it is not reached").is_whole());
                continue;
            }
            is_reached = true;
            for seed in 0..4 {
                let mut rng = ChaCha8Rng::seed_from_u64(call * 10 + seed);
                let mut left = match seed {
                    0 => torn.clone().killed(),
                    _ => torn.clone().without_power(&mut |n| rng.next_u64() % n),
                };
                let kept = left.list().expect("it can be read");
                for name in kept.iter().filter(|name| name.starts_with("damaged-")) {
                    let file = before.iter().find(|(file, _)| name.contains(file.as_str()));
                    let (file, bytes) = file.expect("it is of a file");
                    assert_eq!(left.bytes(name), Some(&bytes[..]), "{file}");
                }
                let (read, _) = entries(&mut left, 1);
                assert!(good.iter().all(|entry| read.contains(entry)), "call {call}");
                let again =
                    repair(&mut left, options(1), &mut [donor(&other, 2)], &keep_all(&plan));
                assert!(again.expect("the disk is good").is_whole(), "call {call}");
                let (read, is_damaged) = entries(&mut left, 1);
                assert!(!is_damaged && read.len() as u64 == n, "call {call}");
                assert!(read.iter().all(|(p, bytes)| *bytes == payload(*p)), "call {call}");
                finished += 1;
            }
            crashes += 1;
        }
        if !is_reached {
            break;
        }
    }
    println!("{crashes} crashes, {finished} repairs after them");
    assert!(crashes > 50, "{crashes}");
}

#[test]
fn a_file_that_cannot_be_kept_is_not_repaired() {
    let mut disk = filled(1, 30);
    spoil(&mut disk, 12);
    let before = content(&mut disk);
    let mut memory = Overlay::new(disk.clone());
    let mut donors = [donor(&filled(2, 30), 2)];
    let plan = repair(&mut memory, options(1), &mut donors, &Keep::Nothing).expect("it is read");
    disk.faults.refused.insert(crate::storage::Point::KeepLink, 1);
    let refused = repair(&mut disk, options(1), &mut donors, &keep_all(&plan));
    assert!(matches!(refused, Err(RepairError::Keep { .. })), "{refused:?}");
    assert_eq!(content(&mut disk), before);
}

/// Whatever is in the other's files, nothing but what was lost is put back.
#[test]
fn any_bytes_as_the_log_of_another_are_survived_and_not_believed() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut dice = move |n: u64| rng.next_u64() % n;
    let mut disk = filled(1, 30);
    [3, 12, 13, 25].into_iter().for_each(|place| spoil(&mut disk, place));
    let (mut mended, mut rest) = (0, 0);
    for _ in 0..300 {
        let mut other = filled(2, 30);
        let names = files(&mut other);
        for _ in 0..1 + dice(4) {
            let file = &names[dice(names.len() as u64) as usize];
            let mut bytes = other.bytes(file).expect("it is there").to_vec();
            let at = dice(bytes.len() as u64 + 1) as usize;
            match dice(4) {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                2 => bytes[at..].iter_mut().for_each(|b| *b = dice(256) as u8),
                _ => {
                    let second = &names[dice(names.len() as u64) as usize];
                    bytes = other.bytes(second).expect("it is there").to_vec();
                }
            }
            other.put(file, &bytes);
        }
        let mut mine = disk.clone();
        let done = repair(&mut mine, options(1), &mut [donor(&other, 2)], &Keep::Nothing);
        let done = done.expect("both can be read");
        let (read, is_damaged) = entries(&mut mine, 1);
        assert!(read.iter().all(|(p, bytes)| *bytes == payload(*p)));
        assert_eq!(is_damaged, !done.is_whole());
        let lost: u64 = done
            .places
            .iter()
            .filter_map(|place| match place.result {
                Ok(_) => None,
                Err(_) => place.loss.count(),
            })
            .sum();
        assert_eq!(read.len() as u64 + lost, 30, "what is not there is told");
        mended += done.mended();
        rest += done.places.len() - done.mended();
    }
    println!("{mended} mended, {rest} left");
    assert!(mended > 100 && rest > 100, "{mended} mended, {rest} left");
}
