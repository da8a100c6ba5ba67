//! Replicas that stop, die and come back: what is still true then, and what is said about it.

use crate::cluster::Cluster;

/// Runs a subcommand with the cluster file.
fn run(cluster: &Cluster, subcommand: &str, args: &[&str]) -> (i32, String, String) {
    let config = cluster.config().to_str().unwrap();
    cluster.quorate(&[&[subcommand, "--config", config], args].concat())
}

fn client(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let key = cluster.client_key(1);
    run(cluster, "client", &[&["--key", key.to_str().unwrap()], args].concat())
}

#[test]
fn sigterm_and_sigint_stop_a_replica_cleanly() {
    let mut cluster = Cluster::start(1);
    for (number, signal) in [(1, "-TERM"), (2, "-INT")] {
        assert_eq!(cluster.signal(number, signal), Some(0), "{}", cluster.log(number));
        assert!(cluster.log(number).contains("stopping"));
        let link = format!("R{number}");
        cluster.wait_until("R3 to be told", |c| {
            c.log(3).lines().any(|l| l.contains("link down") && l.contains(&link))
        });
    }
    assert!(cluster.log(3).contains("the replica was stopped"), "{}", cluster.log(3));
}

/// The walk through the worst of this version: one dies, the group stalls and says so; it comes
/// back without its state, and says that too.
#[test]
fn one_that_dies_stalls_the_group_and_everybody_says_so() {
    let mut cluster = Cluster::start(1);
    let (code, out, err) = client(&cluster, &["--timeout", "60s", "put", "colour", "blue"]);
    assert_eq!((code, &*out), (0, "done\n"), "{err}");
    // A round may have been slow on a slow machine.
    cluster.wait_until("all to be well", |c| {
        let (code, text, _) = run(c, "status", &[]);
        code == 0 && !text.contains("has waited")
    });

    cluster.kill(3);
    let (code, out, err) = client(&cluster, &["--timeout", "2s", "put", "colour", "red"]);
    assert_eq!((code, &*out), (3, ""), "{err}");
    assert!(err.contains("R3       silent"), "{err}");
    let waits = |c: &Cluster, number: u8| {
        c.status(number).is_some_and(|s| s["waiting"]["missing"] == serde_json::json!([3]))
    };
    cluster.wait_until("R1 and R2 to wait for R3", |c| waits(c, 1) && waits(c, 2));
    cluster.wait_until("the status to say so", |c| {
        let (code, text, _) = run(c, "status", &[]);
        let told = |who: &str| {
            let mut lines = text.lines();
            lines.any(|l| l.starts_with(&format!("{who} has waited")) && l.contains("for R3"))
        };
        code == 1 && text.contains("R3       not reached") && told("R1") && told("R2")
    });
    cluster.wait_until("the log to say so", |c| c.log(1).contains("the group waits for proposals"));

    cluster.launch(3, &[]);
    cluster.wait_until("R3 to be back", |c| c.is_linked(3));
    cluster.wait_until("R3 to say that it was restarted", |c| {
        c.status(3).is_some_and(|s| s["standing"] == "restarted" && s["incarnation"] == 2)
    });
    cluster.wait_until("the status to say that", |c| {
        let (code, text, _) = run(c, "status", &[]);
        let says = |part| text.contains(part);
        code == 1
            && says("R3 restarted without its state")
            && says("Start over with a new cluster: quorate init.")
    });
    // It signs nothing: the others go on waiting, and no client gets a majority.
    let (code, _, err) = client(&cluster, &["--timeout", "2s", "get", "colour"]);
    assert!(code == 3 && err.contains("restarted without its state"), "{err}");
    assert!(waits(&cluster, 1) && waits(&cluster, 2));
    assert_eq!(cluster.status(3).unwrap()["round"], 0);
    assert!(cluster.log(3).contains("it signs nothing and answers nobody"));
}

/// A clean stop is no better than a crash while nothing of the order is on disk.
#[test]
fn a_clean_restart_is_a_restart_without_state_too() {
    let mut cluster = Cluster::start(1);
    assert!(cluster.stop(2), "{}", cluster.log(2));
    cluster.launch(2, &[]);
    cluster
        .wait_until("R2 to say so", |c| c.status(2).is_some_and(|s| s["standing"] == "restarted"));
}

#[test]
fn a_log_for_programs_is_json_a_line() {
    let mut cluster = Cluster::make(|_| {});
    cluster.launch(1, &["--log".to_owned(), "json".to_owned()]);
    cluster.wait_until("R1 to answer", |c| c.status(1).is_some());
    assert_eq!(cluster.signal(1, "-TERM"), Some(0));
    let log = cluster.log(1);
    let lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines: Vec<_> = lines.collect::<Result<_, _>>().unwrap();
    assert!(lines.iter().any(|l| l["fields"]["message"] == "started"), "{log}");
    assert!(cluster.quorate(&["status", "--config", "none.toml"]).0 == 2);
}
