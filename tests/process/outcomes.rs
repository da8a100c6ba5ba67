//! What became of a request, as a user asks for it: after its client was killed, by its name, by
//! its id, in both fault models (rule C2).

use crate::chains::is_whole;
use crate::cluster::{Cluster, Ran};
use quorate::config::FaultModel;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Generous: only there to turn a hang into a failure.
const LONG: &str = "60s";

fn client(cluster: &Cluster, args: &[&str]) -> Ran {
    cluster.run("client", &[&["--timeout", LONG], args].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {} {}", ran.out, ran.err))
}

#[track_caller]
fn ends(ran: &Ran, code: i32, part: &str) {
    let all = format!("{}{}", ran.out, ran.err);
    assert!(ran.code == code && all.contains(part), "code {}, not {code}: {all}", ran.code);
}

fn chain_of_two() -> Cluster {
    let cluster = Cluster::start_with(
        |options| {
            (options.t, options.fault_model) = (1, FaultModel::FailStop);
            options.delta = Duration::from_millis(150);
        },
        |_| Vec::new(),
    );
    cluster.wait_until("the chain to begin", |c| is_whole(c, None));
    cluster
}

/// A batch that reads its lines from a pipe.
struct Batch {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Batch {
    fn start(cluster: &Cluster, state: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(["client", "--timeout", LONG, "--state", state]);
        command.arg("--config").arg(cluster.config()).arg("--key").arg(cluster.client_key(1));
        command.args(["batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn requests(cluster: &Cluster, number: u8) -> u64 {
    let counter = |s: Value| s["counters"]["requests"].as_u64();
    cluster.status(number).and_then(counter).unwrap_or(0)
}

/// The client dies when its request has left and no majority can have answered. Afterwards it can
/// be said whether it ran, and it stays so.
#[test]
fn a_client_that_is_killed_between_request_and_reply_finds_out() {
    let cluster = Cluster::start(1);
    let state = cluster.directory().join("state");
    let state = state.to_str().unwrap();
    let mut batch = Batch::start(&cluster, state);
    batch.line("incr n");
    assert_eq!(batch.answer(), "1\n");
    let before = requests(&cluster, 1);
    [2, 3].iter().for_each(|n| cluster.tell(*n, "-STOP"));
    batch.line("incr n");
    cluster.wait_until("one replica to have it", |c| requests(c, 1) > before);
    batch.kill();
    [2, 3].iter().for_each(|n| cluster.tell(*n, "-CONT"));

    let first = client(&cluster, &["--state", state, "outcome", "--json"]);
    let found = json(&first)["outcomes"].as_array().unwrap().clone();
    let [found] = &found[..] else { panic!("one is open: {found:?}") };
    let ran = match found["outcome"].as_str() {
        Some("executed") => true,
        Some("never") => false,
        other => panic!("{other:?}"),
    };
    let value = if ran { "2" } else { "1" };
    ends(&first, if ran { 0 } else { 4 }, found["outcome"].as_str().unwrap());
    assert_eq!(client(&cluster, &["get", "n"]).out, value);
    // It is known now, so it is not open any more; and by its id it is told again, alike.
    ends(&client(&cluster, &["--state", state, "outcome"]), 0, "no request is open");
    let again = client(&cluster, &["outcome", found["request"].as_str().unwrap(), "--json"]);
    assert_eq!((&json(&again)["outcome"], again.code), (&found["outcome"], first.code));
    assert_eq!(client(&cluster, &["get", "n"]).out, value);
    let put = client(&cluster, &["--state", state, "incr", "n"]);
    ends(&put, 0, if ran { "3\n" } else { "2\n" });
}

fn names(cluster: &Cluster) {
    let c = |args: &[&str]| client(cluster, args);
    for _ in 0..3 {
        let ran = c(&["--request-id", "order-1", "incr", "n"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "1\n"), "{}", ran.err);
    }
    ends(&c(&["--request-id", "order-1", "incr", "m"]), 2, "names another request");
    ends(&c(&["outcome", "order-1"]), 0, "executed");
    ends(&c(&["outcome", "order-2", "--peek"]), 5, "not executed so far");
    ends(&c(&["outcome", "order-2"]), 4, "never will be");
    ends(&c(&["outcome", "order-2", "--peek"]), 4, "never will be");
    ends(&c(&["--request-id", "order-2", "incr", "n"]), 4, "take another name");
    assert_eq!(c(&["get", "n"]).out, "1");

    let put = c(&["put", "colour", "blue", "--json"]);
    let id = json(&put)["id"].as_str().expect("what is ordered has an id").to_owned();
    let told = c(&["outcome", &id, "--json"]);
    let told = (told.code, json(&told));
    assert_eq!(
        (told.0, &told.1["outcome"], &told.1["request"]),
        (0, &"executed".into(), &id.into())
    );
    assert!(c(&["put", "colour", "red", "--explain"]).err.contains("id: "));
}

#[test]
fn a_request_with_a_name_runs_once_and_its_outcome_is_told_by_name_or_id() {
    let cluster = Cluster::start(1);
    names(&cluster);
    let c = |args: &[&str]| client(&cluster, args);
    // An id with a slip of the pen, or of another key, is not answered.
    let put = c(&["put", "a", "1", "--json"]);
    let id = json(&put)["id"].as_str().unwrap().to_owned();
    let number = id.split('~').nth(1).unwrap();
    let wrong = id.replacen(&format!("~{number}~"), "~77~", 1);
    ends(&c(&["outcome", &wrong]), 2, "copied wrongly");
    let (config, key) = (cluster.config(), cluster.client_key(2));
    let other = cluster.run_with("client", config, &key, &["outcome", &id], b"");
    ends(&other, 2, "another key");
    // Reads that are not ordered have none; with a name they are ordered.
    assert!(json(&c(&["get", "a", "--json"]))["id"].is_null());
    assert!(c(&["get", "a", "--explain"]).err.contains("no id"));
    assert!(!json(&c(&["get", "a", "--json", "--request-id", "look"]))["id"].is_null());
    ends(&c(&["outcome", "look"]), 0, "\"1\"");
    for (args, part) in [
        (&["--request-id", "x", "scan", "a"][..], "several"),
        (&["--request-id", "x y", "get", "a"], "has no ' '"),
        (&["--request-id", "x", "--state", "f", "get", "a"], "cannot be used with"),
        (&["outcome"], "give an id"),
        (&["--first", "get", "a"], "--request-id"),
    ] {
        ends(&c(args), 2, part);
    }
}

/// The same of a chain, whose reads have no place in the order at all.
#[test]
fn a_chain_tells_what_became_of_a_request() {
    let cluster = chain_of_two();
    names(&cluster);
    let c = |args: &[&str]| client(&cluster, args);
    ends(&c(&["--request-id", "look", "get", "n"]), 2, "not ordered");
    let state = cluster.directory().join("state");
    let state = state.to_str().unwrap();
    let mut batch = Batch::start(&cluster, state);
    batch.line("incr s");
    assert_eq!(batch.answer(), "1\n");
    batch.kill();
    let found = c(&["--state", state, "outcome", "--json"]);
    let found = json(&found)["outcomes"].as_array().unwrap().clone();
    // That its answer came may have been written down, or not.
    assert!(found.iter().all(|f| f["outcome"] == "executed") && found.len() < 2, "{found:?}");
    let next = c(&["--state", state, "incr", "s"]);
    assert_eq!((next.code, next.out.as_str()), (0, "2\n"), "{}", next.err);
}
