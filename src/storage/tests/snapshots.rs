//! Snapshots: whole or told, and the older one where the newer is damaged.

use super::world::state;
use super::*;

const OWNER: Digest = Digest([7; 32]);

fn saved(disk: &mut MemoryDisk, all: &[u64]) -> Snapshots {
    let mut snapshots = Snapshots::open(disk, OWNER, 64).expect("the disk is good");
    for at in all {
        snapshots.save(disk, *at, state(*at).chunks(50)).expect("the disk is good");
    }
    snapshots
}

#[test]
fn every_single_bit_that_turns_over_is_told_and_the_older_one_is_used() {
    let mut disk = MemoryDisk::new();
    saved(&mut disk, &[23, 33]);
    let file = format!("snap-{:020}.snap", 33);
    let length = disk.bytes(&file).expect("it is there").len() as u64;
    for (offset, bit) in (0..length).flat_map(|o| (0..8).map(move |b| (o, b))) {
        let mut disk = disk.clone();
        disk.flip(&file, offset, bit);
        let mut snapshots = Snapshots::open(&mut disk, OWNER, 64).expect("the disk is good");
        let Newest { whole, damaged } = snapshots.newest(&mut disk).expect("the disk is good");
        assert_eq!(whole.map(|(at, _)| at), Some(23), "{offset} {bit}");
        assert_eq!((damaged.len(), snapshots.list()), (1, vec![23]));
        snapshots.retain(&mut disk, 1).expect("the disk is good");
        assert_eq!(snapshots.list(), vec![23], "the damaged one does not count");
    }
}

#[test]
fn empty_states_two_in_succession_and_the_same_again_are_fine() {
    let mut disk = MemoryDisk::new();
    let mut snapshots = saved(&mut disk, &[0, 1, 2, 2]);
    assert_eq!(snapshots.list(), vec![2, 1, 0]);
    assert_eq!(snapshots.check(&mut disk, 0).map(|saved| saved.length), Ok(0));
    assert_eq!(snapshots.check(&mut disk, 5), Err(SnapshotError::NotFound(5)));
    let refused = snapshots.save(&mut disk, 9, [&[0; 65]]);
    assert_eq!(refused, Err(SnapshotError::Chunk(65)));
    let refused = Snapshots::open(&mut disk, Digest([1; 32]), 64).expect("names tell no owner");
    let foreign = { refused }.newest(&mut disk);
    assert!(matches!(foreign, Err(SnapshotError::Foreign { .. })));
}

#[test]
fn a_full_disk_leaves_the_old_ones_and_no_rest() {
    let mut disk = MemoryDisk::new();
    let mut snapshots = saved(&mut disk, &[20]);
    disk.faults.capacity = Some(disk.used() + 70);
    let full = snapshots.save(&mut disk, 33, state(33).chunks(50));
    assert_eq!(full, Err(SnapshotError::NoSpace));
    assert_eq!(disk.list().expect("it can be read").len(), 1);
    disk.faults.capacity = None;
    assert!(snapshots.save(&mut disk, 33, state(33).chunks(50)).is_ok());
}
