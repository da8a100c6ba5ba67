//! `bench` against a real cluster.

use super::cluster::Cluster;
use serde_json::Value;

fn bench(cluster: &Cluster, arguments: &[&str]) -> (i32, String, String) {
    let (config, key) = (cluster.config().to_str().unwrap(), cluster.client_key(1));
    let mut all = vec!["bench", "--config", config, "--key", key.to_str().unwrap()];
    all.extend(arguments);
    cluster.quorate(&all)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_closed_loop_reports_speed_latency_and_the_cost_of_every_process() {
    let cluster = Cluster::start(1);
    let load = ["--clients", "2", "--outstanding", "8", "--size", "64", "--seconds", "1"];
    let mix = ["--mix", "put=5,get=3,incr=1,delete=1", "--keys", "50", "--json"];
    let (code, out, err) = bench(&cluster, &[&load[..], &mix[..]].concat());
    assert_eq!((code, &*err), (0, ""), "{out}");
    let report = json(&out);
    let ops = report["ops"].as_u64().unwrap();
    assert!(ops > 0, "{report:#}");
    assert_eq!(report["errors"]["total"], 0, "{report:#}");
    assert_eq!(report["not_sent"], Value::Null);
    let latency = |name: &str| report["latency_us"][name].as_f64().unwrap();
    let names = ["p50", "p90", "p99", "p99_9", "max"];
    let ranks: Vec<f64> = names.iter().map(|name| latency(name)).collect();
    assert!(ranks.is_sorted() && ranks[0] > 0.0, "{report:#}");
    assert!(report["client_cpu_us_per_op"].as_f64().unwrap() > 0.0, "{report:#}");
    for number in 1..=3 {
        let replica = &report["replicas"][number - 1];
        assert_eq!((&replica["replica"], &replica["up"]), (&number.into(), &true.into()));
        assert_eq!(replica["dissent"], 0);
        for name in ["cpu_us_per_op", "rounds_per_second", "requests_per_round"] {
            assert!(replica[name].as_f64().unwrap() > 0.0, "{name} in {report:#}");
        }
    }
    // Not more than what the replicas executed all in all, each op once.
    let executed = cluster.status(1).unwrap()["executed"].as_u64().unwrap();
    assert!(ops <= executed, "{ops} {executed}");
}

#[test]
fn an_open_loop_sends_what_is_due_and_requests_may_carry_more() {
    let cluster = Cluster::start(1);
    let load = ["--clients", "2", "--outstanding", "64", "--rate", "100", "--seconds", "1"];
    let more = ["--commands-per-request", "5", "--warmup", "0", "--json"];
    let (code, out, err) = bench(&cluster, &[&load[..], &more[..]].concat());
    assert_eq!((code, &*err), (0, ""), "{out}");
    let report = json(&out);
    let sent = report["latency_us"]["count"].as_u64().unwrap();
    let not_sent = report["not_sent"].as_u64().unwrap();
    assert_eq!(sent + not_sent, 100, "{report:#}");
    let (ops, commands) = (&report["ops_per_second"], &report["commands_per_second"]);
    let ratio = commands.as_f64().unwrap() / ops.as_f64().unwrap();
    assert!((ratio - 5.0).abs() < 1e-6, "{report:#}");

    // Without --json the same for people.
    let (code, out, err) = bench(&cluster, &["--seconds", "1", "--warmup", "0"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    for part in ["ops/s", "p99.9", "µs/op", "requests a round"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn what_cannot_work_is_said_at_once_and_a_dead_cluster_gives_code_three() {
    let mut cluster = Cluster::start(1);
    let (code, out, err) = bench(&cluster, &["--clients", "65"]);
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("links_per_client") && err.contains("64"), "{err}");
    let (code, out, err) = bench(&cluster, &["--mix", "put=1,dance=2"]);
    assert!(code == 2 && out.is_empty() && err.contains("dance"), "{err}");
    for number in 1..=3 {
        cluster.kill(number);
    }
    let (code, out, err) = bench(&cluster, &["--timeout", "1s", "--seconds", "1"]);
    assert_eq!((code, &*out), (3, ""), "{err}");
    assert!(err.contains("R1") && err.contains("needed"), "{err}");
}
