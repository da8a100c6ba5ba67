//! Replicas whose whole disks are lost, and what is said and done about it (D18).

use crate::cluster::Cluster;
use crate::faults::{agree, had_doubts, is_whole, start};
use crate::load::Load;
use std::fs;
use std::path::PathBuf;

fn data(cluster: &Cluster, number: u8) -> PathBuf {
    cluster.config().with_file_name(format!("data/replica-{number}"))
}

fn lose(cluster: &mut Cluster, number: u8) {
    cluster.kill(number);
    fs::remove_dir_all(data(cluster, number)).unwrap();
}

fn replace_disk() -> Vec<String> {
    vec!["--replace-disk".to_owned()]
}

/// Starts a replica that ends by itself, and gives what it says.
fn refused(cluster: &mut Cluster, number: u8, arguments: &[String]) -> String {
    let before = cluster.log(number).len();
    cluster.launch(number, arguments);
    let code = cluster.ends(number);
    let said = cluster.log(number).split_off(before);
    assert!(code == Some(1) || code == Some(2), "{code:?} {said}");
    said
}

#[test]
fn an_empty_disk_is_refused_until_the_operator_says_that_it_replaces_one() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers of all three");

    // One that has signed on its disk has not lost it; nothing there is changed.
    cluster.kill(3);
    let mark = data(&cluster, 3).join("cluster.mark");
    let before = fs::read(&mark).unwrap();
    let said = refused(&mut cluster, 3, &replace_disk());
    assert!(said.contains("has signed on this disk") && said.contains("without"), "{said}");
    assert_eq!(fs::read(&mark).unwrap(), before);

    fs::remove_dir_all(data(&cluster, 3)).unwrap();
    for _ in 0..2 {
        let said = refused(&mut cluster, 3, &[]);
        assert!(said.contains("start the replica once with --replace-disk"), "{said}");
    }
    load.gets_on(&cluster, "the others to go on");

    // What stops it before it is a member again changes nothing, and the flag is said once.
    cluster.launch(3, &replace_disk());
    cluster.wait_until("the mark to say so", |c| {
        c.log(3).contains("this disk stands in for one that is lost")
    });
    cluster.kill(3);
    let last = cluster.log(3).len();
    cluster.launch(3, &[]);
    cluster.wait_until("all to be members again", is_whole);
    let log = cluster.log(3).split_off(last);
    assert!(log.contains("this disk stands in for one that is lost"), "{log}");
    load.gets_on(&cluster, "all three to go on");
    cluster.wait_until("its disk to be known", |c| {
        c.status(3).is_some_and(|s| s["disk_replaced"] == false)
    });
    let said = {
        cluster.kill(3);
        refused(&mut cluster, 3, &replace_disk())
    };
    assert!(said.contains("has signed on this disk"), "{said}");
    cluster.launch(3, &[]);
    cluster.wait_until("all to be members once more", is_whole);
    had_doubts(load.finish(&cluster));
    agree(&cluster, &[1, 2, 3]);
}

/// Two of three: what is left makes no new history.
#[test]
fn more_lost_disks_than_t_stand_still_and_say_so() {
    let mut cluster = start();
    let config = cluster.config().to_str().unwrap().to_owned();
    let key = cluster.client_key(1);
    let client = |cluster: &Cluster, timeout: &str, args: &[&str]| {
        let key = key.to_str().unwrap();
        let head = ["client", "--config", &config, "--key", key, "--timeout", timeout];
        cluster.quorate(&[&head[..], args].concat())
    };
    let (code, _, err) = client(&cluster, "60s", &["put", "colour", "blue"]);
    assert_eq!(code, 0, "{err}");
    lose(&mut cluster, 2);
    lose(&mut cluster, 3);
    cluster.launch(2, &[]);
    cluster.launch(3, &[]);
    for number in [2, 3] {
        let code = cluster.ends(number);
        assert!(code == Some(1), "{code:?} {}", cluster.log(number));
        assert!(cluster.log(number).contains("--replace-disk"), "{}", cluster.log(number));
    }
    cluster.launch(2, &replace_disk());
    cluster.launch(3, &replace_disk());
    cluster.wait_until("the status to say so", |c| {
        let (code, text, _) = c.quorate(&["status", "--config", &config]);
        code == 1 && text.contains("R2, R3 say that their disks were lost, which is more than t")
    });
    let (code, out, err) = client(&cluster, "5s", &["get", "colour"]);
    assert_eq!((code, &*out), (3, ""), "{err}");
    let executed = |n| cluster.status(n).map(|s| s["executed"].as_u64());
    assert_eq!(executed(2), Some(Some(0)));
    assert_eq!(executed(3), Some(Some(0)));
}
