//! `client` and `doctor` as a user runs them, against replica processes.

use crate::cluster::{Cluster, Ran};
use serde_json::Value;

/// Generous: only there to turn a hang into a failure.
const LONG: &str = "60s";

fn client(cluster: &Cluster, args: &[&str]) -> Ran {
    cluster.run("client", &[&["--timeout", LONG], args].concat())
}

#[track_caller]
fn says(ran: &Ran, code: i32, out: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (code, out), "{}", ran.err);
}

#[test]
fn every_command_answers_and_ends_with_its_code() {
    let cluster = Cluster::start_lying(&[]);
    let c = |args: &[&str]| client(&cluster, args);
    says(&c(&["put", "name", "Ada"]), 0, "done\n");
    says(&c(&["get", "name"]), 0, "Ada");
    let missing = c(&["get", "nobody"]);
    says(&missing, 1, "");
    assert_eq!(missing.err, "no such key\n");
    says(&c(&["cas", "name", "Ada", "Bob"]), 0, "done\n");
    let mismatch = c(&["cas", "name", "Ada", "Eve"]);
    says(&mismatch, 1, "");
    assert_eq!(mismatch.err, "mismatch, the value is \"Bob\"\n");
    says(&c(&["cas", "new", "--absent", "1"]), 0, "done\n");
    says(&c(&["cas", "--absent", "new", "1"]), 1, "");
    says(&c(&["cas", "new", "1"]), 2, "");
    says(&c(&["incr", "n"]), 0, "1\n");
    says(&c(&["incr", "n", "-5"]), 0, "-4\n");
    let error = c(&["incr", "name"]);
    assert!(error.code == 1 && error.err.contains("not a whole number"), "{}", error.err);
    says(&c(&["scan", "n"]), 0, "n\t-4\nname\tBob\nnew\t1\n");
    let some = c(&["scan", "n", "--limit", "2"]);
    says(&some, 0, "n\t-4\nname\tBob\n");
    assert!(some.err.contains("there are more"));
    says(&c(&["delete", "new"]), 0, "done\n");
    says(&c(&["delete", "new"]), 1, "");
    let ping = c(&["ping"]);
    assert!(ping.code == 0 && ping.out.starts_with("agreed time 1"), "{}", ping.out);

    let file = cluster.directory().join("value");
    std::fs::write(&file, b"\0\xff").unwrap();
    says(&c(&["put", "bytes", &format!("@{}", file.display())]), 0, "done\n");
    let json: Value = serde_json::from_str(&c(&["get", "bytes", "--json"]).out).unwrap();
    assert_eq!(json["output"]["value"]["hex"], "00ff");
    assert_eq!((&json["negative"], &json["votes"]["needed"]), (&false.into(), &2.into()));
    assert_eq!(json["votes"]["replicas"].as_array().unwrap().len(), 3);
    let (config, key) = (cluster.config(), &cluster.client_key(2));
    let stdin = |args: &[&str], input: &[u8]| cluster.run_with("client", config, key, args, input);
    says(&stdin(&["put", "text", "-"], b"from stdin"), 0, "done\n");
    says(&c(&["get", "text"]), 0, "from stdin");

    let lines = b"put a 1 # a comment\n\nget a\nincr a 41\nget 'no such'\nscan a\nget a\n";
    let batch = stdin(&["batch", "-"], lines);
    let results = "done\n\"1\"\n42\nno such key\n1 entries: \"a\"=\"42\"\n\"42\"\n";
    says(&batch, 1, results);
    assert!(batch.err.contains("6 accepted in") && batch.err.contains("of which 1 negative"));
    let bad = stdin(&["batch", "-"], b"put a 2\ndance\nput a 3\n");
    says(&bad, 2, "done\n");
    assert!(bad.err.contains("error: line 2: unrecognized subcommand 'dance'"), "{}", bad.err);
    let many: String = (0..3000).map(|i| format!("put k{i} v{i}\n")).collect();
    std::fs::write(&file, many).unwrap();
    let many = stdin(&["batch", file.to_str().unwrap(), "--json"], b"");
    let json: Value = serde_json::from_str(&many.out).unwrap();
    assert_eq!((many.code, &json["summary"]["accepted"]), (0, &3000.into()), "{}", many.err);
    assert_eq!(json["results"][2999]["line"], 3000);
}

/// Q1: a read is answered from the replicas' states, unless it is to be ordered, by whatever key.
#[test]
fn reads_are_not_ordered_unless_that_is_asked_for() {
    let cluster = Cluster::start(1);
    says(&client(&cluster, &["put", "colour", "blue"]), 0, "done\n");
    let requests = |c: &Cluster, what: &str| {
        let counters = |n| c.status(n).map(|s| s["counters"][what].as_u64().unwrap());
        (1..=3).filter_map(counters).sum::<u64>()
    };
    let before = requests(&cluster, "requests");
    let read = client(&cluster, &["get", "colour", "--json", "--explain"]);
    let json: Value = serde_json::from_str(&read.out).unwrap();
    assert_eq!(
        (&json["ordered"], &json["output"]["value"]["text"]),
        (&false.into(), &"blue".into())
    );
    assert!(read.err.contains("not ordered, opening"), "{}", read.err);
    cluster.wait_until("a majority to have been asked", |c| requests(c, "queries") >= 2);
    assert_eq!(requests(&cluster, "requests"), before, "no session, no request");
    let read = client(&cluster, &["get", "colour", "--json", "--ordered"]);
    let json: Value = serde_json::from_str(&read.out).unwrap();
    assert_eq!(
        (&json["ordered"], &json["output"]["value"]["text"]),
        (&true.into(), &"blue".into())
    );
    assert!(requests(&cluster, "requests") > before);
}

/// C4: three of three agree, or there is no strong answer.
#[test]
fn strong_answers_take_all_three_and_say_so() {
    let mut cluster = Cluster::start(1);
    let strong = ["--assurance", "strong"];
    let put = client(&cluster, &[&strong[..], &["put", "colour", "blue", "--json"]].concat());
    let json: Value = serde_json::from_str(&put.out).unwrap();
    assert_eq!((put.code, &json["votes"]["assurance"]), (0, &"strong".into()), "{}", put.err);
    let get = client(&cluster, &["get", "colour", "--json"]);
    let json: Value = serde_json::from_str(&get.out).unwrap();
    assert_eq!(json["votes"]["assurance"], "majority", "two of three had said it then");
    cluster.kill(3);
    let c = |args: &[&str]| cluster.run("client", args);
    let none = c(&["--timeout", "3s", "--assurance", "strong", "get", "colour"]);
    assert_eq!(none.code, 3, "{}", none.out);
    assert!(none.err.contains("3 equal answers of 3 replicas are needed"), "{}", none.err);
    says(&client(&cluster, &["get", "colour"]), 0, "blue");
    // The cluster file says what is usual.
    let text = std::fs::read_to_string(cluster.config()).unwrap();
    let text = text.replace("# assurance = \"majority\"", "assurance = \"strong\"");
    let file = cluster.config().with_file_name("strong.toml");
    std::fs::write(&file, text).unwrap();
    let key = cluster.client_key(1);
    let none = cluster.run_with("client", &file, &key, &["--timeout", "3s", "get", "colour"], b"");
    assert_eq!(none.code, 3, "{}", none.out);
    let wrong = c(&["--assurance", "most", "get", "colour"]);
    assert!(wrong.code == 2 && wrong.err.contains("write majority or strong"), "{}", wrong.err);
}

#[test]
fn c2_a_liar_is_named_and_silent_replicas_are_told_with_a_remedy() {
    let mut cluster = Cluster::start_lying(&["wrong-output"]);
    says(&client(&cluster, &["put", "name", "Ada"]), 0, "done\n");
    // The liar's answer may come too late to be shown; sooner or later it does not.
    let named = std::iter::repeat_with(|| client(&cluster, &["get", "name", "--explain"]))
        .take(200)
        .find(|ran| {
            says(ran, 0, "Ada");
            ran.err.contains("R3       differs")
        });
    assert!(named.is_some());

    cluster.kill(1);
    let ran = cluster.run("client", &["--timeout", "500ms", "get", "name"]);
    says(&ran, 3, "");
    assert!(ran.err.contains("2 equal answers of 3 replicas are needed"), "{}", ran.err);
    assert!(ran.err.contains("R1       silent"), "{}", ran.err);
    assert!(ran.err.contains("quorate doctor --config"), "{}", ran.err);
    let ran = cluster.run("client", &["--timeout", "500ms", "get", "name", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["votes"]["replicas"][0]["verdict"]), (3, &"silent".into()));
}

#[test]
fn a_key_that_is_not_admitted_is_a_matter_of_configuration() {
    let cluster = Cluster::start_lying(&[]);
    let stranger = quorate::files::create_identity(cluster.directory(), "stranger").unwrap();
    let config = cluster.config();
    let run = |subcommand, args: &[&str]| {
        cluster.run_with(subcommand, config, &stranger.private_file, args, b"")
    };
    says(&client(&cluster, &["ping", "--json"]).code_only(), 0, "");
    let ran = run("client", &["--timeout", LONG, "get", "name"]);
    assert!(ran.code == 2 && ran.err.contains("does not admit our key as a client"), "{}", ran.err);
    let ran = run("client", &["--timeout", LONG, "batch", "-"]);
    assert!(ran.code == 2 && ran.err.contains("does not admit our key as a client"), "{}", ran.err);
    let ran = run("doctor", &[]);
    assert!(ran.code == 1 && ran.out.contains("refused"), "{}", ran.out);
    assert!(ran.out.contains("add a [[client]] section"), "{}", ran.out);
    let replica = cluster.run_with("doctor", config, &cluster.replica_key(2), &[], b"");
    assert!(replica.code == 1 && replica.out.contains("the key is that of R2"), "{}", replica.out);
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    // A delta that a busy machine keeps: that it was exceeded would be something wrong, too.
    let delta = std::time::Duration::from_secs(2);
    let mut cluster = Cluster::start_with(|options| options.delta = delta, |_| Vec::new());
    // Until an answer comes replicas may still be starting.
    says(&client(&cluster, &["put", "a", "b"]), 0, "done\n");
    let well = std::iter::repeat_with(|| cluster.run("doctor", &[])).take(60).find(|r| r.code == 0);
    let well = well.expect("all three come up");
    assert!(well.out.ends_with("all is well\n"), "{}", well.out);
    let json: Value = serde_json::from_str(&cluster.run("doctor", &["--json"]).out).unwrap();
    let first = &json["replicas"][0];
    assert_eq!((&json["well"], &first["incarnation"]), (&true.into(), &1.into()), "{json:#}");
    assert!(first["rtt_min_us"].as_u64().unwrap() <= first["rtt_median_us"].as_u64().unwrap());
    assert!(first["clock_offset_us"].as_i64().unwrap().abs() < 10_000_000, "{json:#}");

    let other = cluster.directory().join("other.toml");
    let text = std::fs::read_to_string(cluster.config()).unwrap();
    std::fs::write(&other, text.replace("delta = \"2s\"", "delta = \"3s\"")).unwrap();
    let ran = cluster.run_with("doctor", &other, &cluster.client_key(1), &[], b"");
    let fields = "R2: its configuration differs from this file in: delta, ";
    assert!(ran.code == 1 && ran.out.contains(fields), "{}", ran.out);

    let start = text.find("nonce = \"").unwrap() + 9;
    let digit = if text[start..].starts_with('0') { "1" } else { "0" };
    std::fs::write(&other, [&text[..start], digit, &text[start + 1..]].concat()).unwrap();
    let ran = cluster.run_with("doctor", &other, &cluster.client_key(1), &[], b"");
    assert!(ran.code == 1 && ran.out.contains("they differ in nonce"), "{}", ran.out);

    cluster.kill(2);
    let ran = cluster.run("doctor", &[]);
    assert!(ran.code == 1 && ran.out.contains("R2: no answer from 127.0.0.1"), "{}", ran.out);
    assert!(ran.out.contains("start it, and let UDP pass"), "{}", ran.out);
}

impl Ran {
    fn code_only(self) -> Ran {
        Ran { out: String::new(), ..self }
    }
}
