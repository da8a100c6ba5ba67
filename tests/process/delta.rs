//! Δ as measured by real processes: what `status`, `doctor` and the metrics show, and that one who
//! was stopped for longer than Δ is named.

use crate::cluster::{Cluster, Ran, get};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Long enough for any machine that builds and tests several things at once.
const DELTA: Duration = Duration::from_secs(2);

fn start() -> Cluster {
    Cluster::start_with(|options| options.delta = DELTA, |_| Vec::new())
}

fn put(cluster: &Cluster) -> Ran {
    let ran = cluster.run("client", &["--timeout", "60s", "put", "colour", "blue"]);
    assert_eq!((ran.code, &*ran.out), (0, "done\n"), "{}", ran.err);
    ran
}

/// What a replica measured, by what it is about.
fn row(status: &Value, of: &str) -> Option<Value> {
    let rows = status["delta"]["rows"].as_array()?;
    rows.iter().find(|row| row["of"] == of).cloned()
}

/// By what Δ was exceeded most, as a replica says, and how long that took, microseconds.
fn worst(cluster: &Cluster, number: u8) -> (String, u64) {
    let Some(status) = cluster.status(number) else { return Default::default() };
    let alarms = status["delta"]["alarms"].as_array().unwrap().iter();
    let answered = alarms.filter(|alarm| alarm["answered"] == true);
    let all = answered.map(|a| (a["worst_us"].as_u64().unwrap(), a["of"].as_str().unwrap()));
    all.max().map(|(us, of)| (of.to_owned(), us)).unwrap_or_default()
}

#[test]
fn everybody_measures_everybody_and_the_doctor_says_which_delta_would_do() {
    let cluster = start();
    for number in 1..=3 {
        cluster.wait_until("enough to be measured", |c| {
            put(c);
            let Some(status) = c.status(number) else { return false };
            let all = ["R1", "R2", "R3"].iter().filter(|of| **of != format!("R{number}"));
            let mut counts = all.map(|of| row(&status, of).unwrap()["count"].as_u64().unwrap());
            counts.all(|count| count >= 200) && !status["delta"]["would_do_us"].is_null()
        });
        let status = cluster.status(number).unwrap();
        assert_eq!(status["delta"]["delta_us"], 2_000_000);
        for of in (1..=3).filter(|of| *of != number).map(|of| format!("R{of}")) {
            let row = row(&status, &of).unwrap();
            let us = |name: &str| row[name].as_u64().unwrap();
            let spread = [0, us("p50_us"), us("p99_us"), us("p999_us"), us("max_us"), 2_000_000];
            assert!(spread.is_sorted() && us("p50_us") > 0, "{row}");
            assert!(us("unsure_us") < us("max_us"), "{row}");
        }
        let (own, disk) = (row(&status, "loop").unwrap(), row(&status, "disk").unwrap());
        assert!(own["count"].as_u64() > Some(100) && disk["count"].as_u64() > Some(10), "{disk}");
    }

    let doctor = cluster.run("doctor", &[]);
    assert!(doctor.code == 0 && doctor.out.ends_with("all is well\n"), "{}", doctor.out);
    let advice = ["delta is 2s", "R1       R2 ", "loop ", "would do, by what R", "you have 2s."];
    assert!(advice.iter().all(|text| doctor.out.contains(text)), "{}", doctor.out);
    let json: Value = serde_json::from_str(&cluster.run("doctor", &["--json"]).out).unwrap();
    assert_eq!(json["delta"]["replicas"].as_array().unwrap().len(), 3, "{json:#}");
    let (_, text, _) = cluster.quorate(&["status", "--config", "cluster/quorate.toml"]);
    assert!(text.contains("delays with handling") && text.contains("R3       R1 "), "{text}");
    let metrics = get(cluster.cluster().replicas[0].admin, "/metrics").unwrap();
    let line = "quorate_delay_microseconds{of=\"R3\",quantile=\"0.999\"} ";
    assert!(metrics.contains(line) && metrics.contains("quorate_delta_held 1"), "{metrics}");
}

/// It is stopped for less than the four seconds after which a link is given up.
#[test]
fn one_that_is_stopped_for_longer_than_delta_is_named_by_the_others() {
    let delta = Duration::from_secs(1);
    let cluster = Cluster::start_with(|options| options.delta = delta, |_| Vec::new());
    put(&cluster);
    cluster.tell(3, "-STOP");
    std::thread::scope(|threads| {
        // A round that begins now waits for R3.
        let waits = threads.spawn(|| put(&cluster));
        cluster.wait_until("a request that waits", |c| {
            [1, 2].iter().all(|n| c.status(*n).is_some_and(|s| s["outstanding"] == 1))
        });
        let since = Instant::now();
        cluster.wait_until("delta to be over", |_| since.elapsed() > delta * 7 / 5);
        cluster.tell(3, "-CONT");
        waits.join().unwrap();
    });
    // A busy machine may hold up others as well, but not for as long.
    for number in [1, 2] {
        cluster.wait_until("an alarm that names R3", |c| worst(c, number).0 == "R3");
        assert!(worst(&cluster, number).1 > 1_000_000);
    }
    cluster.wait_until("R3 to know", |c| worst(c, 3).0 == "loop");
    let own = cluster.status(3).unwrap();
    assert_eq!(own["members"].as_array().unwrap().len(), 3, "it was not left out");

    let doctor = cluster.run("doctor", &[]);
    let named = "R1 measured ";
    assert!(doctor.code == 1 && doctor.out.contains(named), "{}", doctor.out);
    assert!(doctor.out.contains("for its messages with R3, "), "{}", doctor.out);
    assert!(doctor.out.contains("in the cluster file: stop all replicas"), "{}", doctor.out);
    assert!(cluster.log(1).contains("delta was exceeded"), "{}", cluster.log(1));
    let (_, text, _) = cluster.quorate(&["status", "--config", "cluster/quorate.toml"]);
    assert!(text.contains("what came to it while its process was busy or stopped"), "{text}");
}
