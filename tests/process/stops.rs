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

/// Two of three are too many: nothing is executed, everybody says so, and it goes on when they
/// are back.
#[test]
fn without_a_majority_everything_waits_and_everybody_says_so() {
    let cluster = Cluster::start(1);
    let (code, out, err) = client(&cluster, &["--timeout", "60s", "put", "colour", "blue"]);
    assert_eq!((code, &*out), (0, "done\n"), "{err}");
    cluster.tell(3, "-STOP");
    cluster.tell(2, "-STOP");
    let (code, out, err) = client(&cluster, &["--timeout", "2s", "put", "colour", "red"]);
    assert_eq!((code, &*out), (3, ""), "{err}");
    assert!(err.contains("R2       silent") && err.contains("R3       silent"), "{err}");
    cluster.wait_until("the status to say so", |c| {
        let (code, text, _) = run(c, "status", &[]);
        let waits = text.contains("R1 has waited") || text.contains("R1 goes over to epoch");
        code == 1 && text.contains("R2       not reached") && waits
    });
    cluster.tell(2, "-CONT");
    cluster.tell(3, "-CONT");
    let (code, out, err) = client(&cluster, &["--timeout", "60s", "get", "colour"]);
    assert_eq!((code, &*out), (0, "blue"), "{err}");
    cluster.wait_until("all to be well", |c| run(c, "status", &[]).0 == 0);
}

#[test]
fn who_is_stopped_cleanly_comes_back_by_itself() {
    let mut cluster = Cluster::start(1);
    assert!(cluster.stop(2), "{}", cluster.log(2));
    let (code, out, err) = client(&cluster, &["--timeout", "60s", "put", "colour", "blue"]);
    assert_eq!((code, &*out), (0, "done\n"), "{err}");
    cluster.launch(2, &[]);
    cluster.wait_until("R2 to be a member", |c| {
        c.status(2).is_some_and(|s| s["standing"] == "member" && s["incarnation"] == 2)
    });
    cluster.wait_until("all to be well", |c| run(c, "status", &[]).0 == 0);
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
