//! Disks looked at offline, as an operator does it: log, replay, and the way of a state from one
//! cluster into another.

use crate::cluster::Cluster;
use quorate::files::init::InitOptions;
use std::fs;
use std::path::{Path, PathBuf};

/// A cluster with a checkpoint every few rounds, so that tests need not wait for one.
fn make(adjust: impl Fn(&mut InitOptions)) -> Cluster {
    let cluster = Cluster::make(adjust);
    let text = fs::read_to_string(cluster.config()).unwrap();
    let text = text.replace("\n[service]\n", "\n[limits]\ncheckpoint_every = 4\n\n[service]\n");
    fs::write(cluster.config(), text).unwrap();
    cluster
}

fn start() -> Cluster {
    // Whatever else runs may take a port between looking and binding: then once more.
    for _ in 0..10 {
        let mut cluster = make(|_| {});
        if cluster.launch_all(|_| Vec::new()) {
            return cluster;
        }
    }
    panic!("ten times in a row a replica ended at its start: see the logs above");
}

fn data(cluster: &Cluster, number: u8) -> PathBuf {
    cluster.config().with_file_name("data").join(format!("replica-{number}"))
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn put(cluster: &Cluster, key: &str, value: &str) {
    let ran = cluster.run("client", &["--timeout", "30s", "put", key, value]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

/// Waits until a checkpoint that is attested on the disk has all that was executed by now.
fn wait_for_checkpoint(cluster: &Cluster) {
    let executed = |c: &Cluster| c.status(1).map(|s| s["executed_round"].as_u64().unwrap());
    let by_now = executed(cluster).unwrap();
    cluster.wait_until("a checkpoint that all attest", |c| {
        let stable = c.status(1).map(|s| s["stable"].as_u64().unwrap());
        let later = executed(c).is_some_and(|round| round >= by_now + 8);
        later && stable.is_some_and(|stable| stable >= by_now)
    });
}

/// Save, inspect, restore: the new cluster has other keys, and begins with the state of the old.
#[test]
fn a_state_goes_into_a_new_cluster_with_other_keys() {
    let mut old = start();
    for (key, value) in [("colour", "blue"), ("shape", "round"), ("size", "7")] {
        put(&old, key, value);
    }
    wait_for_checkpoint(&old);
    (1..=3).for_each(|number| assert!(old.stop(number)));
    let file = old.directory().join("state.quorate");
    let (config, from) = (word(old.config()), data(&old, 2));
    let save = ["snapshot", "save", "--data", word(&from), "--config", config, "--out"];
    let (code, out, err) = old.quorate(&[&save[..], &[word(&file)]].concat());
    assert!(code == 0 && out.contains("attested by t + 1 replicas"), "{out}{err}");
    let (code, _, err) = old.quorate(&[&save[..], &[word(&file)]].concat());
    assert!(code == 2 && err.contains("exists already"), "{err}");

    let inspect = ["snapshot", "inspect", word(&file), "--json", "--config", config];
    let (code, out, err) = old.quorate(&inspect);
    assert_eq!(code, 0, "{out}{err}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["keys"], &said["good"]), (&3.into(), &true.into()));
    assert_eq!(said["state_is_attested"], true);
    let digest = said["initial_state"].as_str().unwrap();
    let digest = quorate::crypto::pem::from_hex(digest).map(quorate::types::Digest);

    // A copy with one byte changed proves nothing.
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let forged = old.directory().join("forged.quorate");
    fs::write(&forged, bytes).unwrap();
    let (code, _, err) = old.quorate(&["snapshot", "inspect", word(&forged)]);
    assert!(code == 1 && err.contains("it is damaged"), "{err}");

    for _ in 0..10 {
        let mut new = make(|options| options.initial = digest);
        refuses_to_start_without_it(&mut new);
        for number in 1..=3 {
            let data = data(&new, number);
            let (new, to) = (word(new.config()), word(&data));
            let restore = ["snapshot", "restore", word(&file), "--config", new, "--data", to];
            let (code, out, err) = old.quorate(&[&restore[..], &["--old-config", config]].concat());
            assert!(code == 0 && out.contains("prepared"), "{out}{err}");
        }
        if new.launch_all(|_| Vec::new()) {
            return goes_on_from_there(&mut new);
        }
    }
    panic!("ten times in a row a replica ended at its start: see the logs above");
}

fn refuses_to_start_without_it(new: &mut Cluster) {
    let arguments = ["replica", "--config", word(new.config()), "--id", "1", "--stop-with-stdin"];
    let (code, _, err) = new.quorate(&arguments);
    assert!(code == 2 && err.contains("initial.state: is missing"), "{err}");
    assert!(err.contains("quorate snapshot restore"), "{err}");
}

fn goes_on_from_there(new: &mut Cluster) {
    let get = |new: &Cluster, key: &str| new.run("client", &["--timeout", "30s", "get", key]);
    assert_eq!(get(new, "colour").out, "blue");
    assert_eq!(get(new, "size").out, "7");
    put(new, "colour", "red");
    // Also after everybody was killed: the log is executed on top of that state.
    (1..=3).for_each(|number| new.kill(number));
    assert!(new.launch_all(|_| Vec::new()), "they start again");
    new.wait_until("an answer after the restart", |c| get(c, "colour").out == "red");
    assert_eq!(get(new, "shape").out, "round");
    (1..=3).for_each(|number| assert!(new.stop(number)));
    let data = data(new, 3);
    let arguments = ["replay", "--config", word(new.config()), "--data", word(&data)];
    let (code, out, err) = new.quorate(&arguments);
    assert!(code == 0 && out.contains("verdict          good"), "{out}{err}");
}

#[test]
fn a_log_is_verified_dumped_and_executed_again_while_its_replica_runs() {
    let mut cluster = start();
    for i in 0..8 {
        put(&cluster, &format!("key{i}"), "value");
    }
    let (config, one, two) = (cluster.config().to_owned(), data(&cluster, 1), data(&cluster, 2));
    let (config, one, two) = (word(&config), word(&one), word(&two));
    let verify = ["log", "verify", "--config", config, "--json", "--data"];
    for _ in 0..5 {
        let (code, out, err) = cluster.quorate(&[&verify[..], &[one]].concat());
        assert_eq!(code, 0, "{out}{err}");
        let said: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(said["sound"] == true && said["signatures"].as_u64().unwrap() > 10, "{out}");
    }
    let (code, out, err) = cluster.quorate(&["log", "dump", "--data", one]);
    assert_eq!(code, 0, "{err}");
    assert!((0..8).all(|i| out.contains(&format!("put key{i} value"))), "{out}");
    let (code, out, err) = cluster.quorate(&["log", "dump", "--data", one, "--to", "1", "--json"]);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.iter().all(|l| l["round"] == 1), "{out}");
    let (code, out, err) = cluster.quorate(&["log", "stats", "--data", one]);
    assert!(code == 0 && out.contains("log per request"), "{out}{err}");

    let replay = ["replay", "--config", config, "--data", one];
    let (code, out, err) = cluster.quorate(&[&replay[..], &["--against", two]].concat());
    assert!(code == 0 && out.contains("difference       none"), "{out}{err}");
    let (code, out, err) = cluster.quorate(&[&replay[..], &["--check-determinism"]].concat());
    assert!(code == 0 && out.contains("difference       none"), "{out}{err}");
    let (code, out, err) = cluster.quorate(&[&replay[..], &["--to", "5", "--json"]].concat());
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && said["round"] == 5, "{out}{err}");

    // It was only looked at: the replica goes on, and so it does after a restart.
    cluster.kill(1);
    damaged_in_a_copy(&cluster, config, one);
    cluster.launch(1, &[]);
    cluster.wait_until("the first to be linked again", |c| c.is_linked(1));
    put(&cluster, "after", "all");
    assert!(!cluster.log(1).contains("is damaged or missing"), "{}", cluster.log(1));
}

fn damaged_in_a_copy(cluster: &Cluster, config: &str, data: &str) {
    let copy = cluster.directory().join("copy");
    let copied = std::process::Command::new("cp").args(["-r", data, word(&copy)]).status();
    assert!(copied.unwrap().success());
    let rounds = copy.join("rounds");
    let mut segments: Vec<PathBuf> = fs::read_dir(&rounds)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    let file = segments.pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, &bytes).unwrap();
    let verify = ["log", "verify", "--config", config, "--data", word(&copy)];
    let (code, out, err) = cluster.quorate(&verify);
    assert!(code == 1 && out.contains("NOT SOUND"), "{out}{err}");
    assert!(out.contains(file.file_name().unwrap().to_str().unwrap()), "{out}");
    assert!(out.contains(", byte "), "{out}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "nothing is repaired by looking");
    let replay = ["replay", "--config", config, "--data", word(&copy)];
    let (code, out, _) = cluster.quorate(&replay);
    assert!(code == 1 && out.contains("DAMAGED"), "{out}");
    // Without its secret no record can be told from an unfinished write.
    fs::remove_file(rounds.join("rounds.secret")).unwrap();
    let (code, _, err) = cluster.quorate(&verify);
    assert!(code == 2 && err.contains("rounds.secret: is missing"), "{err}");
    assert!(!rounds.join("rounds.secret").exists());
}

#[test]
fn what_is_no_data_directory_or_of_another_cluster_is_named() {
    let (mine, other) = (Cluster::make(|_| {}), Cluster::make(|_| {}));
    let nothing = mine.directory().join("nothing");
    let refused = |arguments: &[&str]| {
        let (code, out, err) = mine.quorate(arguments);
        assert!(code == 2 && out.is_empty(), "{arguments:?}: {code} {out}{err}");
        err
    };
    let verify = refused(&["log", "verify", "--data", word(&nothing)]);
    assert!(verify.contains("is no directory"), "{verify}");
    fs::create_dir(&nothing).unwrap();
    let stats = refused(&["log", "stats", "--data", word(&nothing)]);
    assert!(stats.contains("holds no cluster.mark"), "{stats}");
    let mark = quorate::wire::Mark {
        cluster: other.cluster().id(),
        replica: quorate::types::ReplicaId::new(1).unwrap(),
        incarnation: 1,
        disk: quorate::types::DiskState::Known,
    };
    fs::write(nothing.join("cluster.mark"), mark.to_bytes()).unwrap();
    let config = word(mine.config());
    let replay = refused(&["replay", "--config", config, "--data", word(&nothing)]);
    assert!(replay.contains("belongs to R1 of cluster"), "{replay}");
    let dump = refused(&["log", "dump", "--data", word(&nothing), "--from", "3", "--to", "2"]);
    assert!(dump.contains("exchange them"), "{dump}");
    let out = mine.directory().join("out");
    let save = ["snapshot", "save", "--data", word(&nothing), "--out", word(&out)];
    assert!(refused(&save).contains("rounds: is not there"));
    assert!(!out.exists());
}
