//! All replicas die at once, and what their disks do to them, while clients work whose whole
//! history is checked.

use crate::cluster::Cluster;
use crate::faults::{agree, had_doubts, is_whole, start, start_strict};
use crate::load::Load;
use std::path::{Path, PathBuf};

/// How often all are killed; `QUORATE_KILLS` says how often for a long run.
fn kills() -> u32 {
    let said = std::env::var("QUORATE_KILLS").ok();
    said.map_or(2, |text| text.parse().expect("QUORATE_KILLS is a number"))
}

fn rounds(cluster: &Cluster, number: u8) -> PathBuf {
    cluster.config().with_file_name(format!("data/replica-{number}/rounds"))
}

/// A file of its log.
fn segment(cluster: &Cluster, number: u8) -> PathBuf {
    let file = std::fs::read_dir(rounds(cluster, number)).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension().is_some_and(|e| e == "seg").then_some(path)
    });
    file.expect("it has logged something")
}

/// Which bit of a byte is turned over.
const TURNED: u8 = 0x40;

/// Turns a bit over and gives the byte that was there.
fn turn_over(file: &Path, place: usize) -> u8 {
    let mut bytes = std::fs::read(file).unwrap();
    let before = bytes[place];
    bytes[place] ^= TURNED;
    std::fs::write(file, &bytes).unwrap();
    before
}

/// D17: what was acknowledged is there, and the group goes on by itself.
#[test]
fn nothing_accepted_is_lost_when_all_replicas_are_killed_at_once() {
    let (mut cluster, began) = (start(), std::time::Instant::now());
    let load = Load::on(&cluster);
    for n in 0..kills() {
        // What happens to a group that is not whole again is known to be open.
        cluster.wait_until("all to be members after all were killed", is_whole);
        load.gets_on_by(5, &cluster, "the group to go on after all were killed");
        (1..=3).for_each(|number| cluster.kill(number));
        if n % 20 == 19 {
            println!("killed all {} times, after {:?}", n + 1, began.elapsed());
        }
        // Not always in one order.
        (0..3).for_each(|i| cluster.launch(1 + ((n + i) % 3) as u8, &[]));
    }
    load.gets_on(&cluster, "the group to go on");
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    had_doubts(load.finish(&cluster));
    agree(&cluster, &[1, 2, 3]);
    let log = cluster.log(1);
    assert!(log.contains("took its state up from the disk"), "{log}");
}

/// With own proposals on the disk before they leave, whoever is killed goes on where it was, one or
/// all: no epoch changes and nobody is left out.
#[test]
fn who_is_killed_with_a_strict_log_goes_on_where_it_was() {
    let mut cluster = start_strict();
    let load = Load::on(&cluster);
    for killed in [&[1][..], &[2], &[3], &[1, 2, 3], &[2, 3], &[1, 2, 3]] {
        load.gets_on_by(5, &cluster, "the group to go on after some were killed");
        killed.iter().for_each(|number| cluster.kill(*number));
        killed.iter().for_each(|number| cluster.launch(*number, &[]));
    }
    load.gets_on(&cluster, "the group to go on");
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
    assert!(is_whole(&cluster));
    for number in 1..=3 {
        let status = cluster.status(number).unwrap();
        assert_eq!(status["epoch"], "(0,0,0)", "{status}");
        assert!(cluster.log(number).contains("took its state up from the disk"));
    }
}

/// D7: what was durable once and is broken now is told, and nothing is answered from what is left;
/// the state comes from the others.
#[test]
fn a_log_that_is_damaged_in_the_middle_is_told_and_made_good_by_the_others() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers of all three");
    cluster.kill(3);
    let file = segment(&cluster, 3);
    let middle = std::fs::read(&file).unwrap().len() / 2;
    turn_over(&file, middle);
    cluster.launch(3, &[]);
    cluster.wait_until("the damage to be told", |c| {
        let log = c.log(3);
        log.contains("is damaged or missing") && log.contains(".seg")
    });
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    // What it has now is whole.
    cluster.kill(3);
    cluster.launch(3, &[]);
    cluster.wait_until("all to be members once more", is_whole);
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
    assert_eq!(cluster.log(3).matches("is damaged or missing").count(), 1, "{}", cluster.log(3));
}

/// D7: where more have lost something than may be bad, nobody knows what was accepted. They stand
/// still, say what is broken, and leave it as it is: once it is put right nothing is missing.
#[test]
fn a_group_whose_logs_are_damaged_at_two_stands_still_until_they_are_put_right() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers of all three");
    (1..=3).for_each(|number| cluster.kill(number));
    // At different places: together they have everything.
    let broken = [2, 3].map(|number: u8| {
        let log = segment(&cluster, number);
        let place = std::fs::read(&log).unwrap().len() * usize::from(number) / 5;
        (number, place, turn_over(&log, place))
    });
    (1..=3).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("the damage to be told", |c| {
        [2, 3].into_iter().all(|n| c.log(n).contains("is damaged or missing"))
    });
    cluster.wait_until("all to be linked", |c| (1..=3).all(|n| c.is_linked(n)));
    let asked = cluster.run("client", &["--timeout", "3s", "get", "anything"]);
    assert_eq!(asked.code, 3, "{}", asked.err);
    (1..=3).for_each(|number| cluster.kill(number));
    for (number, place, byte) in broken {
        let log = segment(&cluster, number);
        assert_eq!(turn_over(&log, place), byte ^ TURNED, "{} is another", log.display());
    }
    (1..=3).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
    for number in [2, 3] {
        let log = cluster.log(number);
        assert_eq!(log.matches("is damaged or missing").count(), 1, "{log}");
        assert!(!log.contains("took in a snapshot"), "it had everything itself: {log}");
    }
}

/// A log that is gone is not taken for an empty one, also not at the second start.
#[test]
fn a_log_that_is_gone_is_told_and_made_good_by_the_others() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers of all three");
    cluster.kill(2);
    std::fs::remove_dir_all(rounds(&cluster, 2)).unwrap();
    cluster.launch(2, &[]);
    cluster.wait_until("the loss to be told", |c| c.log(2).contains("there was no log"));
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    load.finish(&cluster);
    agree(&cluster, &[1, 2, 3]);
}
