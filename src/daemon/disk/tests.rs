use super::log::FILE;
use super::worker::MAX_EVIDENCE;
use super::*;

mod crash;

/// How the first replica of a cluster opens its disk, without a log of rounds.
fn opening(known: bool) -> Opening {
    let (cluster, replica) = (Digest([1; 32]), ReplicaId::from_index(0));
    let disk = known.then_some(crate::types::DiskState::Known);
    Opening { disk, cluster, replica, members: 3, durable: false, snapshots: 2 }
}

fn record(n: u8, length: usize) -> Bytes {
    Bytes::from(vec![n; length])
}

/// Three appends: of one, of two and of one record.
fn appends() -> [Vec<Bytes>; 3] {
    [vec![record(1, 40)], vec![record(2, 0), record(3, 7)], vec![record(4, 40)]]
}

/// A log with these appends in a new directory, and where each of them ends.
fn written(appends: &[Vec<Bytes>]) -> (tempfile::TempDir, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, records) = Log::open(dir.path(), false).unwrap();
    assert!(records.is_empty());
    let ends = appends.iter().map(|records| {
        log.append(records).unwrap();
        std::fs::read(dir.path().join(FILE)).unwrap().len()
    });
    let ends = ends.collect();
    (dir, ends)
}

#[test]
fn what_was_appended_is_read_again_in_order() {
    let (dir, _) = written(&appends());
    for _ in 0..2 {
        let (_, records) = Log::open(dir.path(), true).unwrap();
        assert_eq!(records, appends().concat());
    }
}

/// D6: a write that was cut short anywhere was never acknowledged.
#[test]
fn an_unfinished_last_append_is_cut_off_and_appending_goes_on() {
    let (dir, ends) = written(&appends());
    let path = dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for length in ends[0]..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let kept = if length < ends[1] { 1 } else { 2 };
        let (mut log, records) = Log::open(dir.path(), true).unwrap();
        assert_eq!(records, appends()[..kept].concat(), "{length} bytes");
        assert_eq!(std::fs::read(&path).unwrap().len(), ends[kept - 1]);
        log.append(&[record(9, 5)]).unwrap();
        let (_, records) = Log::open(dir.path(), true).unwrap();
        assert_eq!(records, [appends()[..kept].concat(), vec![record(9, 5)]].concat());
    }
    // A file that was made longer before its content came.
    std::fs::write(&path, [&whole[..ends[1]], &[0; 100]].concat()).unwrap();
    assert_eq!(Log::open(dir.path(), true).unwrap().1, appends()[..2].concat());
}

/// D7: what was synced once and is broken now is no unfinished write.
#[test]
fn damage_before_the_last_append_is_refused_with_its_place() {
    let (dir, ends) = written(&appends());
    let path = dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = whole.clone();
            bad[at] ^= flip;
            std::fs::write(&path, &bad).unwrap();
            let opened = Log::open(dir.path(), true);
            if at >= ends[1] {
                assert_eq!(opened.unwrap().1, appends()[..2].concat(), "byte {at}");
                continue;
            }
            let told = opened.unwrap_err().to_string();
            let begin = [0, 8, ends[0]].into_iter().rev().find(|b| *b <= at).unwrap();
            let place = format!("at byte {begin} of {}", whole.len());
            assert!(told.contains(FILE) && told.contains(&place), "byte {at}: {told}");
            assert!(told.contains("--replace-disk"), "{told}");
            assert_eq!(std::fs::read(&path).unwrap(), bad, "left as it is");
        }
    }
}

/// D9: a frame that is whole, at a wrong place.
#[test]
fn a_frame_that_is_elsewhere_than_it_was_written_is_damage() {
    let (dir, ends) = written(&[vec![record(1, 9)], vec![record(2, 9)], vec![record(3, 9)]]);
    let path = dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let (first, second) = (&whole[8..ends[0]], &whole[ends[0]..ends[1]]);
    let swapped = [&whole[..8], second, first, &whole[ends[1]..]].concat();
    std::fs::write(&path, swapped).unwrap();
    assert!(Log::open(dir.path(), true).is_err());
    // A stale copy at the end is cut off.
    std::fs::write(&path, [&whole[..], first].concat()).unwrap();
    assert_eq!(Log::open(dir.path(), true).unwrap().1.len(), 3);
}

#[test]
fn a_log_that_is_missing_or_not_expected_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Log::open(dir.path(), true).unwrap_err().to_string();
    assert!(missing.contains("is missing"), "{missing}");
    assert!(!dir.path().join(FILE).exists());
    let (dir, _) = written(&appends());
    let Err(odd) = Claim::take(dir.path()).unwrap().open(opening(false)) else {
        panic!("whose is it?")
    };
    assert!(odd.to_string().contains("no cluster.mark"), "{odd}");
    std::fs::write(dir.path().join(FILE), b"").unwrap();
    assert!(Log::open(dir.path(), true).is_err(), "an empty file was never ours");
}

#[test]
fn a_long_log_is_written_anew_with_what_is_needed() {
    let (dir, ends) = written(&appends());
    let (mut log, records) = Log::open(dir.path(), true).unwrap();
    let last = |records: &[Bytes]| records[records.len() - 1..].to_vec();
    let above = ends[2] as u64;
    let same = log.shorten(records.clone(), above, last).unwrap();
    assert_eq!(same, records, "not longer than that");
    assert_eq!(log.shorten(records.clone(), above - 1, <[Bytes]>::to_vec).unwrap(), records);
    assert_eq!(log.shorten(records, above - 1, last).unwrap(), [record(4, 40)]);
    log.append(&[record(5, 1)]).unwrap();
    let (_, records) = Log::open(dir.path(), true).unwrap();
    assert_eq!(records, [record(4, 40), record(5, 1)]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn the_last_record_of_each_kind_is_needed() {
    let records = [(1, 4), (2, 4), (1, 5), (3, 1), (1, 6), (3, 2)].map(|(n, l)| record(n, l));
    assert_eq!(needed(&records), [record(2, 4), record(1, 6), record(3, 2)]);
    assert_eq!(needed(&[]), Vec::<Bytes>::new());
}

#[test]
fn a_directory_is_used_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let claim = Claim::take(dir.path()).unwrap();
    let refused = Claim::take(dir.path()).unwrap_err();
    assert!(matches!(refused, DaemonError::InUse { .. }), "{refused}");
    let disk = claim.open(opening(false)).unwrap().disk;
    assert!(Claim::take(dir.path()).is_err());
    drop(disk);
    Claim::take(dir.path()).unwrap();
}

#[test]
fn writes_come_back_in_order_once_they_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Claim::take(dir.path()).unwrap().open(opening(false)).unwrap();
    let (disk, mut done) = (opened.disk, opened.done);
    (1..=50).for_each(|n| disk.persist(n, vec![record(n as u8, 10)]));
    disk.persist(51, Vec::new());
    for n in 1..=51 {
        assert_eq!(done.blocking_recv().unwrap().unwrap(), n);
    }
    // What was asked for before the end is done before it.
    disk.persist(52, vec![record(52, 10)]);
    drop(disk);
    let opened = Claim::take(dir.path()).unwrap().open(opening(true)).unwrap();
    assert_eq!(opened.records, (1..=50).chain([52]).map(|n| record(n, 10)).collect::<Vec<_>>());
}

/// D11: after an error nothing is written or acknowledged any more.
#[test]
fn a_disk_that_is_full_ends_it_and_says_so() {
    let (done, mut said) = mpsc::unbounded_channel();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join(FILE)).unwrap();
    let log = Log::to(dir.path());
    let (jobs, inbox) = std_mpsc::channel();
    for sequence in 1..=2 {
        jobs.send(Job::Persist { sequence, records: vec![record(1, 9)] }).unwrap();
    }
    Worker::<Directory>::new(log, None, PathBuf::new(), done).run(inbox);
    let why = said.blocking_recv().unwrap().unwrap_err().to_string();
    assert!(why.contains(FILE) && why.contains("no space left"), "{why}");
    assert!(said.blocking_recv().is_none());
}

#[test]
fn evidence_becomes_a_file_once_and_stays_in_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Claim::take(dir.path()).unwrap().open(opening(false)).unwrap().disk;
    let good = "0.0.1-R2-equivocation-12ab.proof";
    disk.keep(good.to_owned(), Bytes::from_static(b"first"));
    disk.keep(good.to_owned(), Bytes::from_static(b"second"));
    let long = "x".repeat(129);
    for bad in ["", "../x", "a/b", ".hidden", "nul\0", &long] {
        disk.keep(bad.to_owned(), Bytes::from_static(b"bad"));
    }
    drop(disk);
    assert_eq!(std::fs::read(dir.path().join("evidence").join(good)).unwrap(), b"first");
    assert_eq!(std::fs::read_dir(dir.path().join("evidence")).unwrap().count(), 1);
    assert!(!dir.path().join("x").exists());
}

#[test]
fn evidence_does_not_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = dir.path().join("evidence");
    std::fs::create_dir(&evidence).unwrap();
    (1..MAX_EVIDENCE).for_each(|n| std::fs::write(evidence.join(n.to_string()), b"").unwrap());
    let disk = Claim::take(dir.path()).unwrap().open(opening(false)).unwrap().disk;
    disk.keep("last".to_owned(), Bytes::new());
    disk.keep("one-more".to_owned(), Bytes::new());
    drop(disk);
    assert!(evidence.join("last").exists() && !evidence.join("one-more").exists());
}
