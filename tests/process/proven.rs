//! `client --receipt` as a user runs it, against replica processes. What it writes is judged here
//! with the cluster file alone.

use crate::cluster::{Cluster, Ran};
use quorate::config::FaultModel;
use quorate::crypto::Ed25519;
use quorate::proof::receipt::{Judged, ReceiptFile};
use quorate::service::kv;
use quorate::types::{Assurance, GroupId};
use quorate::wire::Outcome;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Generous: only there to turn a hang into a failure.
const LONG: &str = "60s";

fn client(cluster: &Cluster, args: &[&str]) -> Ran {
    cluster.run("client", &[&["--timeout", LONG], args].concat())
}

fn judged(cluster: &Cluster, file: &Path) -> Judged {
    let bytes = std::fs::read(file).expect("the receipt is there");
    let keyring = cluster.cluster().keyring::<Ed25519>(GroupId::MAIN).expect("usable keys");
    ReceiptFile::parse(&bytes).expect("a receipt").judge(&keyring).expect("it is right")
}

fn output(judged: &Judged) -> kv::Output {
    match &judged.outcome {
        Outcome::Executed(outputs) => kv::Output::parse(&outputs[0]).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn at(cluster: &Cluster, name: &str) -> (PathBuf, String) {
    let path = cluster.directory().join(name);
    let text = path.display().to_string();
    (path, text)
}

#[test]
fn a_receipt_is_written_for_writes_reads_and_each_line_of_a_batch() {
    let cluster = Cluster::start(1);
    let (put, put_name) = at(&cluster, "put.receipt");
    let ran = client(&cluster, &["--receipt", &put_name, "put", "colour", "blue", "--explain"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "done\n"), "{}", ran.err);
    assert!(ran.err.contains("put.receipt: ") && ran.err.contains("delta"), "{}", ran.err);
    assert_eq!(output(&judged(&cluster, &put)), kv::Output::Done);

    // Nothing is overwritten, and nothing is sent.
    let again = client(&cluster, &["--receipt", &put_name, "put", "colour", "red"]);
    assert!(again.code == 2 && again.err.contains("--force"), "{}", again.err);
    let forced = client(&cluster, &["--receipt", &put_name, "--force", "get", "colour", "--json"]);
    let json: Value = serde_json::from_str(&forced.out).unwrap();
    assert_eq!(json["output"]["value"]["text"], "blue");
    assert_eq!((&json["ordered"], &json["receipt"]["file"]), (&true.into(), &put_name.into()));
    let read = judged(&cluster, &put);
    assert_eq!(output(&read), kv::Output::Value("blue".into()));
    assert_eq!(json["round"], read.position.round.0);

    let (strong, strong_name) = at(&cluster, "strong.receipt");
    let args = ["--assurance", "strong", "--receipt", &strong_name, "get", "nothing"];
    let ran = client(&cluster, &args);
    assert_eq!(ran.code, 1, "a negative answer has its receipt: {}", ran.err);
    let strong = judged(&cluster, &strong);
    assert_eq!((strong.assurance, strong.signers.len()), (Assurance::Strong, 3));
    assert_eq!(output(&strong), kv::Output::Missing);

    let (lines, lines_name) = at(&cluster, "lines");
    std::fs::write(&lines, "put a 1\nincr a 41\n\nget a\n").unwrap();
    let (_, batch) = at(&cluster, "batch.receipt");
    let ran = client(&cluster, &["--receipt", &batch, "batch", &lines_name]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "done\n42\n\"42\"\n"), "{}", ran.err);
    for (line, expected) in
        [(1, kv::Output::Done), (2, kv::Output::Number(42)), (4, kv::Output::Value("42".into()))]
    {
        let (file, _) = at(&cluster, &format!("batch.receipt.{line}"));
        assert_eq!(output(&judged(&cluster, &file)), expected, "line {line}");
    }
}

/// One of three is killed: majority receipts are had from the others, over the change of the epoch.
#[test]
fn receipts_are_had_while_one_of_three_is_killed() {
    let mut cluster = Cluster::start(1);
    let get = |cluster: &Cluster, name: &str| {
        let (file, text) = at(cluster, name);
        let ran = client(cluster, &["--receipt", &text, "incr", "n"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        judged(cluster, &file)
    };
    let before = get(&cluster, "before.receipt");
    cluster.kill(2);
    let after = get(&cluster, "after.receipt");
    assert_eq!([output(&before), output(&after)], [1, 2].map(kv::Output::Number));
    assert!(after.position.round > before.position.round && before.contradicts(&after).is_none());
    assert!(after.signers.len() >= 2, "{after:?}");
}

/// Where nobody attests what was answered, nothing is sent for a receipt.
#[test]
fn a_fail_stop_cluster_has_no_receipts() {
    let cluster = Cluster::make(|options| options.fault_model = FaultModel::FailStop);
    let (file, name) = at(&cluster, "none.receipt");
    let ran = client(&cluster, &["--receipt", &name, "put", "a", "1"]);
    assert!(ran.code == 2 && ran.err.contains("no receipts in a fail-stop"), "{}", ran.err);
    assert!(ran.err.contains("nothing was sent") && !file.exists(), "{}", ran.err);
}
