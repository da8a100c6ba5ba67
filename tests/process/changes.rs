//! Replicas that die, stop, lie or leave while clients work: the others go on, nothing that was
//! accepted is lost, and who may come back does.

use crate::cluster::Cluster;
use quorate::client::ClientOptions;
use quorate::files::read_secret_key;
use quorate::service::kv::Command;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Far above what a busy machine takes, so that nobody is left out who should not be.
const DELTA: Duration = Duration::from_millis(300);

pub fn start() -> Cluster {
    Cluster::start_with(|options| options.delta = DELTA, |_| Vec::new())
}

/// A client that counts up all the time; every increment must be accepted.
pub struct Load {
    over: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Load {
    pub fn on(cluster: &Cluster) -> Self {
        let (over, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (config, counted) = (cluster.cluster().clone(), accepted.clone());
        let (key, until) = (cluster.client_key(2), over.clone());
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let timeout = Duration::from_secs(120);
                let options = ClientOptions { timeout, ..ClientOptions::default() };
                let key = read_secret_key(&key).unwrap();
                let client = quorate::Client::connect(&config, key, options).unwrap();
                let mut workers = tokio::task::JoinSet::new();
                for _ in 0..4 {
                    let (client, over, counted) = (client.clone(), until.clone(), counted.clone());
                    workers.spawn(async move {
                        while !over.load(Ordering::Relaxed) {
                            client.execute(Command::incr("n", 1).encode()).await.unwrap();
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                while let Some(ended) = workers.join_next().await {
                    ended.unwrap();
                }
                client.close().await;
            });
        });
        Self { over, accepted, thread }
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until the clients have got on.
    pub fn gets_on(&self, cluster: &Cluster, what: &str) {
        let before = self.accepted();
        cluster.wait_until(what, |_| self.accepted() > before + 20);
    }

    /// Stops the clients; what they were told is what is there.
    pub fn end(self, cluster: &Cluster) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("every increment is accepted");
        let ran = cluster.run("client", &["--timeout", "60s", "get", "n"]);
        let accepted = self.accepted.load(Ordering::Relaxed);
        assert_eq!((ran.code, ran.out), (0, accepted.to_string()), "{}", ran.err);
    }
}

/// What the first of the others says of a replica.
fn place(cluster: &Cluster, of: u8) -> Option<Value> {
    let witness = if of == 1 { 2 } else { 1 };
    Some(cluster.status(witness)?["standings"][usize::from(of) - 1].clone())
}

fn is_out(cluster: &Cluster, number: u8, why: &str) -> bool {
    place(cluster, number).is_some_and(|p| p["member"] == false && p["why"] == why)
}

/// Its own word, and that of the others.
pub fn is_member(cluster: &Cluster, number: u8) -> bool {
    cluster.status(number).is_some_and(|s| s["standing"] == "member")
        && place(cluster, number).is_some_and(|p| p["member"] == true)
}

pub fn admin(cluster: &Cluster, what: &str, replica: u8, more: &[&str]) -> (i32, String, String) {
    let (config, key) = (cluster.config(), cluster.operator_key());
    let args = [what, "--config", config.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let replica = replica.to_string();
    let rest = ["--replica", &replica, "--wait", "60s"];
    cluster.quorate(&[&["admin"], &args[..], &rest[..], more].concat())
}

pub fn status(cluster: &Cluster) -> (i32, String) {
    let (code, text, _) =
        cluster.quorate(&["status", "--config", cluster.config().to_str().unwrap()]);
    (code, text)
}

#[test]
fn one_that_is_killed_under_load_is_left_out_and_joins_again_when_it_is_started() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the first answers");
    cluster.kill(3);
    cluster.wait_until("R3 to be left out", |c| is_out(c, 3, "silent"));
    load.gets_on(&cluster, "the others to go on without R3");
    let (code, text) = status(&cluster);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("R3       not reached") && text.contains("R3 has been out for"),
        "{text}"
    );
    assert!(text.contains("it did not answer in time"), "{text}");
    assert!(cluster.log(1).contains("excluded"), "{}", cluster.log(1));

    cluster.launch(3, &[]);
    cluster.wait_until("R3 to be a member again", |c| is_member(c, 3));
    load.gets_on(&cluster, "all three to go on");
    load.end(&cluster);
    cluster.wait_until("all to be well", |c| status(c).0 == 0);
    assert_eq!(cluster.status(3).unwrap()["incarnation"], 2);
    // It is as good as the others: one of these may go now.
    cluster.kill(1);
    let ran = cluster.run("client", &["--timeout", "60s", "incr", "n"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn one_that_is_stopped_for_long_joins_again_by_itself() {
    let cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the first answers");
    cluster.tell(2, "-STOP");
    cluster.wait_until("R2 to be left out", |c| is_out(c, 2, "silent"));
    load.gets_on(&cluster, "the others to go on without R2");
    cluster.tell(2, "-CONT");
    cluster.wait_until("R2 to be a member again", |c| is_member(c, 2));
    load.end(&cluster);
    assert_eq!(cluster.status(2).unwrap()["incarnation"], 1);
}

/// The proof convicts offline; only an operator lets the replica in again, and it must be mended.
#[test]
fn one_that_equivocates_is_expelled_with_a_proof_until_an_operator_forgives_it() {
    let mut cluster = Cluster::start_lying(&["equivocate"]);
    let ran = cluster.run("client", &["--timeout", "60s", "put", "name", "Ada"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    cluster.wait_until("R3 to be expelled", |c| is_out(c, 3, "lied"));
    let evidence = cluster.config().with_file_name("data/replica-1/evidence");
    cluster.wait_until("R1 to keep the proof", |_| {
        std::fs::read_dir(&evidence).is_ok_and(|mut files| files.next().is_some())
    });
    let config = cluster.config().to_str().unwrap().to_owned();
    let (code, out, err) = cluster.quorate(&["evidence", "verify", "--config", &config]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("proves that R3 signed two proposals for one round"), "{out}");
    let (_, text) = status(&cluster);
    assert!(text.contains("quorate admin readmit --replica 3"), "{text}");

    // Started again without the lie it stays out, and may not join.
    cluster.kill(3);
    cluster.launch(3, &[]);
    cluster.wait_until("R3 to be back", |c| c.is_linked(3));
    let (code, _, err) = admin(&cluster, "join", 3, &[]);
    assert!(code == 1 && err.contains("quorate admin readmit --replica 3"), "{err}");
    let (code, out, err) = admin(&cluster, "readmit", 3, &[]);
    assert_eq!(code, 0, "{out}{err}");
    cluster.wait_until("R3 to be a member again", |c| is_member(c, 3));
    let ran = cluster.run("client", &["--timeout", "60s", "get", "name"]);
    assert_eq!((ran.code, &*ran.out), (0, "Ada"), "{}", ran.err);
}

/// Signed statements without end: each costs the others the check of a signature. They drop what is
/// too much, and meanwhile everybody is answered: clients, and who asks how things are.
#[test]
fn a_flood_of_signed_statements_keeps_nobody_waiting() {
    let cluster = Cluster::start_with(
        |options| (options.delta, options.allow_liars) = (DELTA, true),
        |number| if number == 3 { vec!["--lie".into(), "flood".into()] } else { Vec::new() },
    );
    let load = Load::on(&cluster);
    for number in [1, 2] {
        cluster.wait_until("it to drop what is too much", |c| {
            let dropped = c.status(number).map(|s| s["counters"]["over_allowance"].as_u64());
            dropped.flatten().is_some_and(|n| n > 10_000)
        });
        load.gets_on(&cluster, "answers in the flood");
    }
    load.end(&cluster);
}

/// E1: one that is always just in time slows all down, until its budget is spent.
#[test]
fn one_that_is_always_just_in_time_is_out_once_its_budget_is_spent() {
    let mut cluster = Cluster::make(|options| {
        (options.delta, options.allow_liars) = (Duration::from_millis(400), true);
    })
    .with_lines("\n[timers]\nlag_delta = \"100ms\"\nlag_budget = \"2s\"\n");
    let lie = |number| if number == 3 { vec!["--lie".into(), "slow-drip".into()] } else { vec![] };
    assert!(cluster.launch_all(lie), "{}", cluster.log(1));
    let load = Load::on(&cluster);
    cluster.wait_until("R3 to be out", |c| is_out(c, 3, "silent"));
    assert!(cluster.log(1).contains("budget"), "{}", cluster.log(1));
    load.gets_on(&cluster, "answers without it");
    load.end(&cluster);
}

/// A new version on all hosts, one after the other, without anybody waiting.
#[test]
fn a_rolling_restart_loses_no_request() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    for number in 1..=3 {
        load.gets_on(&cluster, "answers");
        let (code, out, err) = admin(&cluster, "leave", number, &["--json"]);
        assert_eq!(code, 0, "{out}{err}");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&json["done"], &json["replica"]), (&true.into(), &number.into()));
        assert!(cluster.stop(number), "{}", cluster.log(number));
        load.gets_on(&cluster, "the others to go on");
        cluster.launch(number, &[]);
        cluster.wait_until("it to be a member again", |c| is_member(c, number));
    }
    load.end(&cluster);
    cluster.wait_until("all to be well", |c| status(c).0 == 0);
}

/// M2: it follows and answers meanwhile, and does not come back by itself.
#[test]
fn one_that_an_operator_took_out_stays_out_until_it_is_told_to_join() {
    let cluster = start();
    let (code, out, err) = admin(&cluster, "leave", 2, &[]);
    assert!(code == 0 && out.starts_with("R2 is a member no longer"), "{out}{err}");
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the others to go on without R2");
    let executed = |c: &Cluster| c.status(2).map_or(0, |s| s["executed"].as_u64().unwrap());
    let before = executed(&cluster);
    cluster.wait_until("R2 to follow", |c| executed(c) > before + 20);
    load.gets_on(&cluster, "more answers");
    let own = cluster.status(2).unwrap();
    assert_eq!((&own["standing"], &own["members"]), (&"follower".into(), &[1, 3].into()));
    let (code, text) = status(&cluster);
    assert!(code == 1 && text.contains("an operator took it out"), "{text}");
    assert!(text.contains("quorate admin join --replica 2"), "{text}");

    let (code, out, err) = admin(&cluster, "join", 2, &[]);
    assert!(code == 0 && out.starts_with("R2 is a member, "), "{out}{err}");
    cluster.wait_until("R2 to be a member again", |c| is_member(c, 2));
    load.end(&cluster);
    cluster.wait_until("all to be well", |c| status(c).0 == 0);
}

#[test]
fn what_an_operator_cannot_do_is_said_at_once() {
    let cluster = Cluster::start(1);
    let config = cluster.config().to_str().unwrap().to_owned();
    let client = cluster.client_key(1).to_str().unwrap().to_owned();
    let operator = cluster.operator_key().to_str().unwrap().to_owned();
    let run = |key: &str, what: &str, replica: &str| {
        let args = ["admin", what, "--config", &config, "--key", key, "--replica", replica];
        cluster.quorate(&args)
    };
    let (code, _, err) = run(&client, "leave", "3");
    assert!(code == 2 && err.contains("the client client-1, whose role"), "{err}");
    let (code, _, err) = run(&operator, "leave", "4");
    assert!(code == 2 && err.contains("has no replica 4; give --replica with"), "{err}");
    let (code, _, err) = run(&operator, "readmit", "3");
    assert!(code == 1 && err.contains("R3 was not expelled: it is a member"), "{err}");
    assert!(err.contains("quorate status --config"), "{err}");
    let (code, out, _) = run(&operator, "join", "3");
    assert!(code == 0 && out.contains("R3 is a member, already"), "{out}");
    let json = ["admin", "readmit", "--config", &config, "--key", &operator, "--replica", "3"];
    let (code, out, _) = cluster.quorate(&[&json[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && json["done"] == false && json["error"].is_string(), "{json:#}");

    // Replicas judge by their own files; whom none of them answers can do nothing.
    let lonely = Cluster::make(|_| {});
    let (code, _, err) = admin_of_nobody(&lonely);
    assert!(code == 1 && err.contains("fewer than 2 replicas say the same of R1"), "{err}");
}

fn admin_of_nobody(cluster: &Cluster) -> (i32, String, String) {
    let (config, key) = (cluster.config(), cluster.operator_key());
    let args = ["admin", "leave", "--config", config.to_str().unwrap()];
    let key = ["--key", key.to_str().unwrap(), "--replica", "1", "--wait", "0ms"];
    cluster.quorate(&[&args[..], &key[..]].concat())
}
