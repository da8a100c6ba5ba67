//! Chains whose master is a group of its own (docs/chain.md): R1 to R3 vote, and R4 to R6 are the
//! chain's. Each kind dies under load, a disk is lost, and what users see of it.

use crate::chains::{
    is_blue, is_whole, kill_in_turn, members, operator, put_blue, says, strike_out,
};
use crate::cluster::Cluster;
use crate::faults::{had_doubts, started};
use crate::load::{CLIENTS, Load};
use quorate::config::FaultModel;
use std::time::Duration;

/// A lease is twenty of these: busy machines keep it, and stops are not too long.
const DELTA: Duration = Duration::from_millis(150);

fn start() -> Cluster {
    let make = || {
        Cluster::make(|options| {
            (options.t, options.fault_model) = (1, FaultModel::FailStop);
            (options.chain_replicas, options.delta, options.clients) = (3, DELTA, CLIENTS);
        })
    };
    let launch = |cluster: &mut Cluster| (1..=6).for_each(|n| cluster.launch(n, &[]));
    let cluster = started(make, launch);
    cluster.wait_until("the chain to begin", |c| is_whole(c, None));
    cluster
}

#[test]
fn one_of_the_master_and_each_of_the_chain_are_killed_under_load_and_nothing_is_lost() {
    let mut cluster = start();
    assert_eq!(members(&cluster), Some(vec![4, 5]));
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    cluster.kill(2);
    load.gets_on(&cluster, "the clients to go on while one of the master is gone");
    cluster.launch(2, &[]);
    cluster.wait_until("it to be a member of the master again", |c| {
        c.status(2).is_some_and(|s| s["standing"] == "member")
    });
    kill_in_turn(&mut cluster, &load, &[0, 1]);
    had_doubts(load.finish(&cluster));
    for number in 1..=3 {
        let status = cluster.status(number).unwrap();
        assert_eq!(status["chain"].as_object(), None, "it has no part in the chain");
        assert!(
            !cluster.config().with_file_name(format!("data/replica-{number}/chain-0")).exists()
        );
    }
}

/// CH-F6: nobody says --replace-disk here, and the chain waits for what was lost all the same.
#[test]
fn an_empty_disk_of_a_member_is_noticed_and_an_outage_of_all_is_none() {
    let mut cluster = start();
    put_blue(&cluster);
    (1..=6).for_each(|number| cluster.kill(number));
    (1..=6).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("the chain to be whole again", |c| is_whole(c, None));
    is_blue(&cluster);

    let lost = members(&cluster).unwrap()[1];
    (4..=6).for_each(|number| cluster.kill(number));
    let data = cluster.config().with_file_name(format!("data/replica-{lost}"));
    std::fs::remove_dir_all(data).unwrap();
    (4..=6).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("the replica to say so", |c| {
        c.log(lost).contains("THE DISK IS ANOTHER ONE")
            && says(c, lost).is_some_and(|s| s["lost"] == true)
    });
    strike_out(&cluster, lost);
}

#[test]
fn users_are_told_who_is_the_master_and_who_is_the_chain() {
    let cluster = start();
    let config = cluster.config().to_str().unwrap();
    let ran = cluster.run("client", &["--timeout", "60s", "--explain", "put", "a", "b"]);
    assert!(ran.code == 0 && ran.err.contains("R4") && ran.err.contains("R5"), "{}", ran.err);
    let (code, out, _) = cluster.quorate(&["status", "--config", config]);
    assert_eq!(code, 0, "{out}");
    for part in ["R1       member", "R6       host", "R4       head", "R5       tail"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let (code, out, _) = cluster.quorate(&["check", "--config", config]);
    assert_eq!(code, 0, "{out}");
    for part in ["R1, R2, R3", "R4, R5, R6, which have no vote", "2 members, 1 spares"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let ran = cluster.run("doctor", &[]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    let ran = cluster.run("bench", &["--seconds", "1", "--warmup", "0", "--keys", "50"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    // R1 may be in no chain, and R4 has no vote.
    let (code, _, err) = operator(&cluster, &["add", "--replica", "1"]);
    assert!(code == 2 && err.contains("those that may: R4, R5, R6"), "{err}");
    let key = cluster.operator_key();
    let key = key.to_str().unwrap();
    let (code, _, err) =
        cluster.quorate(&["admin", "leave", "--replica", "4", "--config", config, "--key", key]);
    assert!(code == 2 && err.contains("no replica 4 that votes"), "{err}");
    let data = cluster.config().with_file_name("data/replica-4");
    let data = data.to_str().unwrap();
    let convert = ["convert", "--to", "byzantine", "--config", config, "--data", data];
    let (code, _, err) = cluster.quorate(&convert);
    assert!(code == 1 && err.contains("a group of its own"), "{err}");
}
