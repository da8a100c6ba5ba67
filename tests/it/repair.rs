//! Three logs of one run, damaged at random, repair each other: afterwards each entry is what it
//! was, or its place is named.

use bytes::Bytes;
use quorate::offline::{Donor, Keep, Repaired, repair};
use quorate::simulator::Dice;
use quorate::storage::{
    Cursor, Disk, Entry, Limits, Log, MemoryDisk, Options, Overlay, Position, Space, Step,
};
use quorate::types::Digest;

const LIMITS: Limits = Limits { segment_bytes: 16_000, record_bytes: 7_000, reserve_bytes: 16_000 };

/// `known` says how many entries there were, so that a lost end is told.
fn options(replica: usize, known: usize) -> Options {
    let number = u8::try_from(replica).unwrap();
    let (owner, secret) = (Digest([number; 32]), Digest([number + 100; 32]));
    let known = Position(known as u64);
    Options { owner, secret, first: Position(0), known, limits: LIMITS }
}

fn open(disk: &mut MemoryDisk, options: Options) -> Log {
    Log::open(disk, options, &mut |_| {}).unwrap().0
}

fn filled(replica: usize, entries: &[Bytes]) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let mut log = open(&mut disk, options(replica, 0));
    for payload in entries {
        let entry = Entry { kind: payload[0], payload };
        log.append(&mut disk, &[entry], Space::Ordinary).unwrap();
        log.sync(&mut disk).unwrap();
    }
    log.mark(&mut disk).unwrap();
    disk
}

fn segments(disk: &mut MemoryDisk) -> Vec<String> {
    let mut files = disk.list().unwrap();
    files.retain(|file| file.starts_with("log-") && file.ends_with(".seg"));
    files.sort();
    files
}

fn below(dice: &mut Dice, n: usize) -> usize {
    usize::try_from(dice.below(n as u64)).unwrap()
}

/// One thing that a disk does to a log. The first file is never lost: that looks like a log which
/// begins later.
fn damage(disk: &mut MemoryDisk, dice: &mut Dice) {
    let files = segments(disk);
    let nth = below(dice, files.len());
    let file = &files[nth];
    let mut bytes = disk.bytes(file).unwrap().to_vec();
    let from = below(dice, bytes.len());
    let to = bytes.len().min(from + 1 + below(dice, 600));
    match below(dice, 8) {
        0..3 => bytes[from] ^= 1 << below(dice, 8),
        3 => bytes[from..to].fill(0),
        4 => bytes[from..to].iter_mut().for_each(|b| *b = u8::try_from(dice.below(256)).unwrap()),
        5 => bytes.truncate(from),
        6 => {
            // A write that went elsewhere.
            let piece = bytes[from..to].to_vec();
            let place = below(dice, bytes.len() - piece.len() + 1);
            bytes[place..place + piece.len()].copy_from_slice(&piece);
        }
        _ if nth > 0 => return disk.lose(file),
        _ => bytes[from..].fill(0),
    }
    disk.put(file, &bytes);
}

/// What can be read, by place, and whether a place is told to be damaged.
fn read(disk: &mut MemoryDisk, options: Options) -> (Vec<(usize, Vec<u8>)>, Vec<Step>) {
    let mut log = open(disk, options);
    let (mut cursor, mut good) = (Cursor::new(Position(0)), Vec::new());
    let damages = log.damages().into_iter().map(Step::Damaged).collect();
    loop {
        match log.read(disk, &mut cursor).unwrap() {
            Step::Record(stored) => {
                good.push((usize::try_from(stored.position.0).unwrap(), stored.payload));
            }
            Step::Damaged(_) | Step::Dropped(_) => {}
            Step::End => return (good, damages),
        }
    }
}

fn is_told(damages: &[Step], place: usize) -> bool {
    damages.iter().any(|step| match step {
        Step::Damaged(d) => {
            let behind = d.next.is_some_and(|next| next.0 <= place as u64);
            d.first.0 <= place as u64 && !behind
        }
        _ => false,
    })
}

fn repair_one(disks: &mut [MemoryDisk], logs: &[Vec<Bytes>], replica: usize) -> Repaired {
    let mut donors: Vec<Donor<Overlay<MemoryDisk>>> = Vec::new();
    for (other, disk) in disks.iter().enumerate().filter(|(other, _)| *other != replica) {
        let options = options(other, logs[other].len());
        let disk = Overlay::new(disk.clone());
        donors.push(Donor::open(format!("R{}", other + 1), disk, options).unwrap());
    }
    let options = options(replica, logs[replica].len());
    let keep = Keep::All(Default::default());
    repair(&mut disks[replica], options, &mut donors, &keep).unwrap()
}

#[test]
fn after_repairs_each_entry_is_what_it_was_or_its_place_is_named() {
    let logs = crate::offline::logs();
    let whole: Vec<MemoryDisk> = logs.iter().enumerate().map(|(i, l)| filled(i, l)).collect();
    assert!(whole.iter().all(|disk| segments(&mut disk.clone()).len() > 4));
    let (mut mended, mut left, mut all_well) = (0, 0, 0);
    for seed in 0..seeds() {
        let mut dice = Dice::new(seed, 0);
        let mut disks = whole.clone();
        for disk in &mut disks {
            (0..1 + below(&mut dice, 4)).for_each(|_| damage(disk, &mut dice));
        }
        // Once around, and again: what the first could not get the last may have by now.
        let mut is_well = true;
        for replica in [0, 1, 2, 0, 1, 2] {
            let done = repair_one(&mut disks, &logs, replica);
            mended += done.mended();
            is_well = is_well && done.is_whole();
        }
        for (replica, disk) in disks.iter_mut().enumerate() {
            let place = format!("seed {seed}, R{}", replica + 1);
            let (good, damages) = read(disk, options(replica, logs[replica].len()));
            assert!(good.iter().all(|(p, bytes)| logs[replica][*p] == bytes[..]), "{place}");
            for lost in 0..logs[replica].len() {
                let is_there = good.iter().any(|(p, _)| *p == lost);
                assert!(is_there || is_told(&damages, lost), "{place}: entry {lost}");
            }
            left += damages.len();
            if damages.is_empty() {
                assert_eq!(good.len(), logs[replica].len(), "{place}");
                let ends = |disk: &mut MemoryDisk| open(disk, options(replica, 0)).chain();
                assert_eq!(ends(disk), ends(&mut whole[replica].clone()), "{place}");
                all_well += 1;
            }
        }
    }
    println!("{mended} places mended, {left} left, {all_well} logs whole of {}", 3 * seeds());
    assert!(mended as u64 > seeds() && left as u64 > seeds() / 20, "{mended}, {left}");
    assert!(all_well > seeds(), "{all_well}");
}

/// `QUORATE_REPAIRS` says how many for a long run.
fn seeds() -> u64 {
    let said = std::env::var("QUORATE_REPAIRS").ok();
    said.map_or(60, |text| text.parse().expect("QUORATE_REPAIRS is a number"))
}
