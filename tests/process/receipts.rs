//! `receipt` as a user runs it: everything offline, with the cluster file or a hash alone.

use crate::cluster::Cluster;
use quorate::crypto::{
    Domain, Ed25519, Leaf, MerkleTree, Scheme, Unverified, Verified, hash, running_root,
};
use quorate::files::read_secret_key;
use quorate::proof::receipt::ReceiptFile;
use quorate::service::kv;
use quorate::types::{ClientId, Digest, Epoch, GroupId, ReplicaId, Round, SessionId};
use quorate::wire::{
    Attestation, CandidateSummary, Command, CommandKind, Header, Outcome, Receipt, ReceiptProof,
    Request, RequestBody, StepPosition,
};
use std::fs;
use std::path::PathBuf;

/// A receipt of a `get` that these replicas attest, kept beside the cluster file.
fn keep(cluster: &Cluster, by: &[u8]) -> PathBuf {
    let config = cluster.cluster();
    let keyring = config.keyring::<Ed25519>(GroupId::MAIN).unwrap();
    let client = ClientId(config.clients[0].public_key.0);
    let command =
        Command { kind: CommandKind::Query, bytes: kv::Command::get("colour").encode().into() };
    let body = RequestBody { commands: vec![command] }.to_bytes();
    let request = Request { session: SessionId(5), number: 3, low: 0, body };
    let output = kv::Output::Value("blue".into()).encode().into();
    let outcome = Outcome::Executed(vec![output]).to_bytes();
    let digest = request.digest(&keyring.context(), &client);
    let leaf = Leaf { request: digest, index: 0, output: hash(Domain::Output, &outcome) };
    let tree = MerkleTree::new(&[leaf]);
    let position = StepPosition { round: Round(12), vector: Digest([7; 32]) };
    let before = Digest([8; 32]);
    let running = running_root(&before, &position.vector, &tree.root());
    let attestation = Attestation { position, running, delta_held: true, ..Attestation::default() };
    let sign = |number: &u8| {
        let header = Header {
            epoch: Epoch::GENESIS,
            members: config.ensemble.all(),
            round: Round(14),
            replica: ReplicaId::new(*number).unwrap(),
            choice: vec![],
            candidates: CandidateSummary::default(),
            changes: Digest::ZERO,
            now: 1,
            attestation,
        };
        let key = read_secret_key(&cluster.replica_key(*number)).unwrap();
        Unverified::from(Verified::sign(header, &keyring, &Ed25519::signer(&key)))
    };
    let (path, signed) = (tree.path(0).unwrap(), by.iter().map(sign).collect());
    let proof = ReceiptProof { position, index: 0, before, path, later: vec![], signed };
    let file = ReceiptFile::new(Receipt { client, request, outcome, proof }, &keyring);
    let path = cluster.config().with_file_name(format!("{by:?}.receipt"));
    fs::write(&path, file.to_bytes()).unwrap();
    path
}

#[test]
fn a_receipt_is_verified_with_nothing_but_the_cluster_file_or_a_hash() {
    let cluster = Cluster::make(|_| {});
    let config = cluster.config().to_str().unwrap().to_owned();
    let (code, out, err) = cluster.quorate(&["check", "--config", &config, "--json"]);
    assert_eq!(code, 0, "{err}");
    let checked: serde_json::Value = serde_json::from_str(&out).unwrap();
    let hash = checked["roster_hash"].as_str().unwrap();
    let (code, text, _) = cluster.quorate(&["check", "--config", &config]);
    assert!(code == 0 && text.contains(&format!("roster hash            {hash}\n")), "{text}");

    let (two, all, one) =
        (keep(&cluster, &[1, 3]), keep(&cluster, &[1, 2, 3]), keep(&cluster, &[2]));
    let [two, all, one] = [&two, &all, &one].map(|path| path.to_str().unwrap());
    for by in [["--config", &config], ["--roster-hash", hash]] {
        let run =
            |more: &[&str]| cluster.quorate(&[&["receipt", "verify"], &by[..], more].concat());
        let (code, out, err) = run(&[two, all]);
        assert!(code == 0 && out.ends_with("2 of 2 valid\n"), "{out}{err}");
        assert!(out.contains("valid, majority (2 of 3): {R1,R3}; all saw delta hold"), "{out}");
        assert!(out.contains("valid, strong (3 of 3): {R1,R2,R3}"), "{out}");
        let (code, out, _) = run(&["--assurance", "strong", all]);
        assert!(code == 0, "{out}");
        let (code, out, _) = run(&["--assurance", "strong", two]);
        assert!(code == 1 && out.contains("it has 2"), "{out}");
        let (code, out, _) = run(&["--json", one, all]);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(code == 1 && json["valid"] == false, "{out}");
        let said = json["receipts"][0]["error"].as_str().unwrap();
        assert_eq!(said, "1 of 3 replicas attest it, and it takes 2");
        assert_eq!(json["receipts"][1]["verdict"]["assurance"], "strong");
    }
    let (code, out, err) = cluster.quorate(&["receipt", "show", two]);
    assert!(code == 0 && out.contains("asked      get \"colour\" (as a query)"), "{out}{err}");
    assert!(out.contains("answered   \"blue\"") && out.contains("round 12, index 0"), "{out}");
    let (code, out, _) = cluster.quorate(&["receipt", "show", "--config", &config, one]);
    assert!(code == 1 && out.contains("NOT VALID") && out.contains("get \"colour\""), "{out}");
}

#[test]
fn receipts_that_cannot_be_read_are_a_mistake_and_no_verdict() {
    let cluster = Cluster::make(|_| {});
    let config = cluster.config().to_str().unwrap().to_owned();
    let file = keep(&cluster, &[1, 2]);
    let file = file.to_str().unwrap();
    let rows: [(&[&str], &str); 6] = [
        (&["receipt"], "Usage"),
        (&["receipt", "verify", file], "--config"),
        (&["receipt", "verify", "--config", &config], "FILES"),
        (&["receipt", "verify", "--config", &config, "none.receipt"], "cannot read none.receipt"),
        (&["receipt", "verify", "--roster-hash", "12", file], "64 hexadecimal digits"),
        (&["receipt", "verify", "--roster-hash", "12", "--config", "x", file], "64 hex"),
    ];
    for (args, part) in rows {
        let (code, out, err) = cluster.quorate(args);
        assert!(code == 2 && out.is_empty() && err.contains(part), "{args:?}: {out}{err}");
    }
}
