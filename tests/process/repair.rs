//! `quorate log repair`: damaged logs of stopped replicas, from those of the others (D7).

use crate::cluster::Cluster;
use crate::faults::{agree, is_whole, start};
use crate::load::Load;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const TOLD: &str = "is damaged or missing";
/// Bytes of a record before its payload, and of the header of a file (`src/storage/mod.rs`).
const HEAD: usize = 61;
const HEADER: usize = 96;

fn data(cluster: &Cluster, number: u8) -> PathBuf {
    cluster.config().with_file_name(format!("data/replica-{number}"))
}

/// The files of a log, and what is in them.
fn content(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(data.join("rounds")).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The one file of a log that has not been damaged.
fn segment(cluster: &Cluster, number: u8) -> (PathBuf, Vec<u8>) {
    let files = content(&data(cluster, number)).into_iter();
    let mut logs = files.filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"));
    let found = logs.next().expect("it has logged something");
    assert!(logs.next().is_none(), "so little fits into one file");
    found
}

/// Where the payloads of a file's entries are; marks have none.
fn entries(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut out) = (HEADER, Vec::new());
    while let Some(length) = bytes.get(at + 4..at + 8) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let payload = at + HEAD..at + HEAD + length;
        at = payload.end;
        out.extend((length > 0 && at <= bytes.len()).then_some(payload));
    }
    out
}

fn spoil(file: &Path, place: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[place] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

/// Spoils the entry after so many fifths of a log.
fn spoil_at(cluster: &Cluster, number: u8, fifths: usize) {
    let (file, bytes) = segment(cluster, number);
    let entries = entries(&bytes);
    spoil(&file, entries[entries.len() * fifths / 5].start);
}

/// Runs the repair of a replica's log from those of others.
fn repair(cluster: &Cluster, number: u8, from: &[u8], more: &[&str]) -> (i32, String, String) {
    let word = |path: PathBuf| path.to_str().unwrap().to_owned();
    let own = word(data(cluster, number));
    let config = word(cluster.config().to_owned());
    let others: Vec<String> = from.iter().map(|n| word(data(cluster, *n))).collect();
    let mut arguments = vec!["log", "repair", "--config", &config, "--data", &own];
    others.iter().for_each(|other| arguments.extend(["--from", other]));
    arguments.extend(more);
    cluster.quorate(&arguments)
}

fn stands_still(cluster: &Cluster, damaged: &[u8]) {
    cluster.wait_until("the damage and the remedy to be told", |c| {
        damaged.iter().all(|n| {
            let log = c.log(*n);
            let mut lines = log.lines();
            let told = lines.rfind(|line| line.contains(TOLD));
            told.is_some_and(|line| {
                line.contains(".seg, byte ") && line.contains("quorate log repair")
            })
        })
    });
    cluster.wait_until("all to be linked", |c| (1..=3).all(|n| c.is_linked(n)));
    let asked = cluster.run("client", &["--timeout", "3s", "get", "anything"]);
    assert_eq!(asked.code, 3, "{}", asked.err);
}

/// All three at different places: together they have everything.
#[test]
fn a_group_whose_logs_are_all_damaged_goes_on_when_they_have_repaired_each_other() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on_by(60, &cluster, "answers of all three");
    (1..=3).for_each(|number| cluster.kill(number));
    for (number, fifths) in [(1, 1), (2, 2), (3, 3)] {
        spoil_at(&cluster, number, fifths);
    }
    (1..=3).for_each(|number| cluster.launch(number, &[]));
    stands_still(&cluster, &[1, 2, 3]);
    let (code, out, err) = repair(&cluster, 1, &[2, 3], &[]);
    assert!(code == 2 && out.is_empty() && err.contains("is in use"), "{code} {out}{err}");
    (1..=3).for_each(|number| cluster.kill(number));

    let before = content(&data(&cluster, 1));
    let (code, out, err) = repair(&cluster, 1, &[2, 3], &["--dry-run"]);
    assert!(code == 0 && out.contains("can be repaired    1 entry from"), "{code} {out}{err}");
    assert_eq!(content(&data(&cluster, 1)), before, "nothing is changed");
    for number in 1..=3 {
        let (file, broken) = segment(&cluster, number);
        let others: Vec<u8> = (1..=3).filter(|n| *n != number).collect();
        let (code, out, err) = repair(&cluster, number, &others, &["--json"]);
        let said: Value = serde_json::from_str(&out).unwrap();
        assert!(code == 0 && said["after"]["sound"] == true, "{code} {out}{err}");
        assert!(said["repaired"] == 1 && said["left"] == 0, "{out}");
        assert_ne!(fs::read(&file).unwrap(), broken);
        let kept = file.with_file_name(said["kept"][0].as_str().unwrap());
        assert_eq!(fs::read(kept).unwrap(), broken);
    }
    let (code, out, err) = repair(&cluster, 1, &[2, 3], &[]);
    assert!(code == 0 && out.contains("there is nothing to repair"), "{code} {out}{err}");

    (1..=3).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
    for number in 1..=3 {
        let log = cluster.log(number);
        assert_eq!(log.matches(TOLD).count(), 1, "only before the repair: {log}");
        // While they stood still they blamed each other, and may have promised a call that leaves
        // one out before they were killed.
        let is_out = log.contains(&format!("that agreed time on replica=R{number} "));
        let took = log.contains("took in a snapshot");
        assert!(!took || is_out, "it had everything itself: {log}");
    }
}

/// From others that run meanwhile; without it the replica would take their state.
#[test]
fn a_log_is_repaired_from_those_of_replicas_that_run() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on_by(40, &cluster, "answers of all three");
    cluster.kill(3);
    spoil_at(&cluster, 3, 2);
    let (code, out, err) = repair(&cluster, 3, &[1, 2], &[]);
    assert!(code == 0 && out.contains("repaired           1 entry from"), "{code} {out}{err}");
    assert!(out.contains("verdict            sound"), "{out}");
    cluster.launch(3, &[]);
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
    assert!(!cluster.log(3).contains(TOLD), "{}", cluster.log(3));
}

/// D7: the same entry everywhere. Nothing can be put back, and nothing is.
#[test]
fn an_entry_that_is_damaged_in_all_logs_is_told_and_the_group_stands_still() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on_by(40, &cluster, "answers of all three");
    (1..=3).for_each(|number| cluster.kill(number));
    let logs: Vec<(PathBuf, Vec<u8>)> = (1..=3).map(|n| segment(&cluster, n)).collect();
    let all = entries(&logs[0].1);
    // The same bytes in all three.
    let places = all[all.len() / 3..].iter().find_map(|range| {
        let wanted = &logs[0].1[range.clone()];
        let place = |bytes: &[u8]| bytes.windows(wanted.len()).position(|b| b == wanted);
        logs.iter().map(|(_, bytes)| place(bytes)).collect::<Option<Vec<usize>>>()
    });
    let places = places.expect("logs are nearly the same");
    logs.iter().zip(places).for_each(|((file, _), place)| spoil(file, place));

    for number in 1..=3 {
        let before = content(&data(&cluster, number));
        let others: Vec<u8> = (1..=3).filter(|n| *n != number).collect();
        let (code, out, err) = repair(&cluster, number, &others, &[]);
        assert!(code == 1 && out.contains("NOT REPAIRED"), "{code} {out}{err}");
        assert_eq!(out.matches("is damaged there, too").count(), 2, "{out}");
        assert!(out.contains(".seg, byte ") && out.contains("NOT SOUND"), "{out}");
        assert_eq!(content(&data(&cluster, number)), before, "nothing is changed");
    }
    (1..=3).for_each(|number| cluster.launch(number, &[]));
    stands_still(&cluster, &[1, 2, 3]);
    // Put right, nothing is missing: what patient clients wait for comes.
    (1..=3).for_each(|number| cluster.kill(number));
    logs.iter().for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    (1..=3).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("all to be members again", is_whole);
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
}

#[test]
fn a_wrong_directory_to_repair_from_is_named() {
    let mut cluster = start();
    let other = Cluster::make(|_| {});
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers of all three");
    cluster.kill(3);
    let refused = |from: &Path, more: &[&str]| {
        let own = data(&cluster, 3);
        let (own, from) = (own.to_str().unwrap(), from.to_str().unwrap());
        let arguments = [&["log", "repair", "--data", own, "--from", from][..], more].concat();
        let (code, out, err) = cluster.quorate(&arguments);
        assert!(code == 2 && out.is_empty(), "{code} {out}{err}");
        err
    };
    let own = data(&cluster, 3);
    assert!(refused(&own, &[]).contains("the very directory"));
    assert!(refused(cluster.directory(), &[]).contains("holds no cluster.mark"));
    let foreign = other.directory().join("data");
    fs::create_dir(&foreign).unwrap();
    let mark = quorate::wire::Mark {
        cluster: other.cluster().id(),
        replica: quorate::types::ReplicaId::new(1).unwrap(),
        incarnation: 1,
        disk: quorate::types::DiskState::Known,
    };
    fs::write(foreign.join("cluster.mark"), mark.to_bytes()).unwrap();
    assert!(refused(&foreign, &["--dry-run"]).contains("is of cluster"));
    let (code, _, err) = cluster.quorate(&["log", "repair", "--data", own.to_str().unwrap()]);
    assert!(code == 2 && err.contains("--from"), "{err}");
    cluster.launch(3, &[]);
    cluster.wait_until("all to be members again", is_whole);
    load.finish(&cluster);
}
