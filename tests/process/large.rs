//! Large results of replica processes: one sends the whole, the others a digest (C3).

use crate::cluster::Cluster;
use serde_json::Value;
use std::time::Duration;

/// Bytes of the value: nearly as many as there may be.
const LARGE: usize = 190_000;

/// A cluster that waits long for a whole result, so that a busy machine makes nobody ask again.
fn cluster(lies: &[&str]) -> (Cluster, String) {
    let first = 3 - lies.len();
    let cluster = Cluster::start_with(
        |options| {
            options.allow_liars = !lies.is_empty();
            options.delta = Duration::from_secs(1);
        },
        |number| match (usize::from(number) - 1).checked_sub(first) {
            Some(place) => vec!["--lie".to_owned(), lies[place].to_owned()],
            None => Vec::new(),
        },
    );
    let value: String = ('a'..='z').cycle().take(LARGE).collect();
    let file = cluster.directory().join("value");
    std::fs::write(&file, &value).unwrap();
    let put = cluster.run("client", &["put", "large", &format!("@{}", file.display())]);
    assert_eq!((put.code, put.out.as_str()), (0, "done\n"), "{}", put.err);
    (cluster, value)
}

/// Reads it; the votes.
fn get(cluster: &Cluster, value: &str, more: &[&str]) -> Value {
    let get = [&["--timeout", "60s", "get", "large", "--json", "--explain"], more].concat();
    let ran = cluster.run("client", &get);
    let json: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.err));
    assert!(json["output"]["value"]["text"] == *value, "{}", ran.err);
    json["votes"].clone()
}

fn sum(cluster: &Cluster, counter: &str) -> u64 {
    let counters = |n| cluster.status(n).map(|s| s["counters"][counter].as_u64().unwrap());
    (1..=cluster.n()).filter_map(counters).sum()
}

#[test]
fn a_large_value_is_sent_whole_by_one_replica_in_turn() {
    let (cluster, value) = cluster(&[]);
    let (whole, digested) = (sum(&cluster, "replies_whole"), sum(&cluster, "replies_digested"));
    assert_eq!(digested, 0, "that a value was put is little");
    // In one client, which is there until all three have answered most of them.
    let gets = "get large\n".repeat(12);
    let (config, key) = (cluster.config(), &cluster.client_key(1));
    let args = ["--timeout", "60s", "batch", "-"];
    let ran = cluster.run_with("client", config, key, &args, gets.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, format!("\"{value}\"\n").repeat(12));
    let sent =
        |c: &Cluster| (sum(c, "replies_whole") - whole, sum(c, "replies_digested") - digested);
    cluster.wait_until("two of three to have answered", |c| {
        let (whole, digested) = sent(c);
        whole + digested >= 24
    });
    let (whole, digested) = sent(&cluster);
    // Besides, each of the three may have told that the client's session is open.
    assert!(digested >= 12 && whole <= 12 + 3, "{whole} whole, {digested} digests of 12 answers");
    for replica in 1..=3 {
        let counters = &cluster.status(replica).unwrap()["counters"];
        assert!(counters["replies_digested"].as_u64() > Some(0), "{replica}: {counters}");
    }
    // Who reads the explanation learns who sent what.
    let votes = get(&cluster, &value, &[]);
    let replicas = votes["replicas"].as_array().unwrap();
    assert!(replicas.iter().any(|r| r["digest_has_whole"] == true), "{votes}");
    assert!(replicas.iter().any(|r| r["outcome"]["outputs"].is_array()), "{votes}");
}

/// Whose turn it is lies: the others give the whole when they are asked again.
#[test]
fn a_large_value_comes_when_the_one_whose_turn_it_is_lies() {
    for lie in ["unfitting-whole", "no-whole"] {
        let (cluster, value) = cluster(&[lie]);
        for how in [&[][..], &["--ordered"]] {
            // Each client begins at a turn of its own.
            let asked_again = (0..60).find(|_| {
                let votes = get(&cluster, &value, how);
                votes["sends"].as_u64() > Some(1)
            });
            assert!(asked_again.is_some(), "{lie}: the third never had its turn");
        }
    }
}

/// The same where it is dead. When the group has left it out it has no turn any more, and which
/// comes first depends on whether something is ordered.
#[test]
fn a_large_value_comes_when_the_one_whose_turn_it_is_is_dead() {
    let (mut cluster, value) = cluster(&[]);
    cluster.kill(3);
    for how in [&[][..], &[], &[], &["--ordered"], &["--ordered"], &["--ordered"]] {
        get(&cluster, &value, how);
    }
}
