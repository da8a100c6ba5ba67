//! Files with any bytes: nothing panics, nothing is believed that was not written.

use super::*;

#[test]
fn any_bytes_in_place_of_a_log_are_survived() {
    let mut dice = seeded(11);
    for _ in 0..400 {
        let (mut disk, _) = filled(14);
        let files = segment_files(&mut disk);
        for _ in 0..1 + dice(3) {
            let file = &files[dice(files.len() as u64) as usize];
            let mut bytes = disk.bytes(file).expect("it is there").to_vec();
            let at = dice(bytes.len() as u64 + 1) as usize;
            let from = dice(bytes.len() as u64 + 1) as usize;
            match dice(5) {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                2 => bytes[at..].iter_mut().for_each(|b| *b = dice(256) as u8),
                3 => bytes.extend_from_within(from..),
                _ => {
                    let other = &files[dice(files.len() as u64) as usize];
                    bytes = disk.bytes(other).expect("it is there").to_vec();
                }
            }
            disk.put(file, &bytes);
        }
        let (mut log, _) = opened(&mut disk);
        let read = records(&read_all(&mut log, &mut disk, Position(0)));
        assert!(read.iter().all(|(p, bytes)| *bytes == payload(p.0, 0)));
    }
}

#[test]
fn a_record_that_claims_too_much_is_not_followed() {
    let (mut disk, _) = filled(2);
    let file = segment_files(&mut disk)[0].clone();
    let mut bytes = disk.bytes(&file).expect("it is there")[..96].to_vec();
    let seed = record::Seed::new(&Digest([9; 32]));
    let start = record::chain_start(&Digest([7; 32]), Position(0));
    let long = vec![1; 4000];
    record::encode(seed, (Position(0), Position(0)), &start, (1, &long), &mut bytes);
    disk.put(&file, &bytes);
    let (_, found) = opened(&mut disk);
    assert_eq!(found.records, 0);
}

#[test]
fn a_payload_that_looks_like_records_is_not_taken_for_some() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    // Somebody who knows everything but the secret.
    let seed = record::Seed::new(&Digest([1; 32]));
    let mut fake = Vec::new();
    let chain = Digest([0; 32]);
    record::encode(seed, (Position(1), Position(0)), &chain, (1, b"false"), &mut fake);
    let entries = [Entry { kind: 1, payload: &fake }, Entry { kind: 1, payload: b"true" }];
    log.append(&mut disk, &entries, Space::Ordinary).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    append(&mut log, &mut disk, 1, 0).expect("there is room");
    let file = segment_files(&mut disk)[0].clone();
    // The length of the record that holds it is not known any more.
    disk.flip(&file, 96 + 4, 1);
    let (mut log, _) = opened(&mut disk);
    let read = records(&read_all(&mut log, &mut disk, Position(0)));
    assert_eq!(read[0], (Position(1), b"true".to_vec()));
}
