//! `evidence` as a user runs it: everything offline, with the cluster file alone.

use crate::cluster::Cluster;
use quorate::crypto::{Ed25519, Scheme, Unverified, Verified};
use quorate::files::read_secret_key;
use quorate::proof::{ProofFile, convict};
use quorate::types::{Digest, Epoch, GroupId, ReplicaId, Round};
use quorate::wire::{Attestation, Header, Proof, Proposal};
use std::fs;
use std::path::PathBuf;

/// What the third replica signed.
fn proposal(cluster: &Cluster, now: u64) -> Unverified<Header> {
    let config = cluster.cluster();
    let keyring = config.keyring::<Ed25519>(GroupId::MAIN).unwrap();
    let key = read_secret_key(&cluster.replica_key(3)).unwrap();
    let proposal = Proposal {
        epoch: Epoch::GENESIS,
        members: config.ensemble.all(),
        round: Round(12),
        replica: ReplicaId::new(3).unwrap(),
        choice: vec![Digest([1; 32]); 3],
        candidates: vec![],
        changes: vec![],
        now,
        attestation: Attestation::default(),
    };
    Verified::sign(proposal.header(), &keyring, &Ed25519::signer(&key)).into()
}

/// Keeps what the first replica caught the third at.
fn keep(cluster: &Cluster, proof: Proof) -> PathBuf {
    let keyring = cluster.cluster().keyring::<Ed25519>(GroupId::MAIN).unwrap();
    let verdict = convict(&proof, &keyring, 4096);
    let file = ProofFile::new(proof, &keyring);
    let name = verdict.map_or_else(|_| "worthless.proof".to_owned(), |c| file.name(&c));
    let directory = cluster.config().with_file_name("data").join("replica-1").join("evidence");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, file.to_bytes()).unwrap();
    path
}

#[test]
fn a_proof_convicts_with_nothing_but_the_cluster_file() {
    let cluster = Cluster::make(|_| {});
    let config = cluster.config().to_str().unwrap().to_owned();
    let run = |what: &str, more: &[&str]| {
        cluster.quorate(&[&["evidence", what, "--config", &config], more].concat())
    };
    let (code, out, _) = run("list", &[]);
    assert!(code == 0 && out.contains("no replica keeps files here"), "{out}");

    let (one, two) = (proposal(&cluster, 100), proposal(&cluster, 101));
    let path = keep(&cluster, Proof::Equivocation(one.clone(), two));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("0.0.0-R3-equivocation-"), "{name}");
    let (code, out, err) = run("list", &[]);
    assert!(code == 0 && out.contains("equivocation  yes") && out.contains(name), "{out}{err}");
    let (code, out, _) = run("verify", &[path.to_str().unwrap()]);
    let words = "proves that R3 signed two proposals for one round, in epoch (0,0,0)";
    assert!(code == 0 && out.contains(words) && out.ends_with("1 of 1 valid\n"), "{out}");
    let (code, out, _) = run("show", &[]);
    assert!(code == 0 && out.contains("proposal  of R3 for round 12"), "{out}");

    // The same proposal twice is no lie, and the exit code says so.
    keep(&cluster, Proof::Equivocation(one.clone(), one));
    for what in ["list", "show", "verify"] {
        let (code, out, err) = run(what, &[]);
        assert!(code == 1 && out.contains("it is one proposal twice"), "{what}: {out}{err}");
        let (code, out, _) = run(what, &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(code == 1 && json["valid"] == false, "{what}: {out}");
        assert_eq!(json["proofs"][0]["conviction"]["replica"], 3);
        assert_eq!(json["proofs"][1]["conviction"], serde_json::Value::Null);
    }
}

#[test]
fn evidence_that_cannot_be_read_is_a_mistake_and_no_verdict() {
    let cluster = Cluster::make(|_| {});
    let config = cluster.config().to_str().unwrap().to_owned();
    let rows: [(&[&str], &str); 5] = [
        (&["evidence"], "Usage"),
        (&["evidence", "list"], "--config"),
        (&["evidence", "verify", "--config", &config, "none.proof"], "cannot read none.proof"),
        (&["evidence", "list", "--config", &config, "--data", "none"], "none is no directory"),
        (&["evidence", "list", "--config", &config, "--data", "x", "y"], "cannot be used with"),
    ];
    for (args, part) in rows {
        let (code, out, err) = cluster.quorate(args);
        assert!(code == 2 && out.is_empty() && err.contains(part), "{args:?}: {out}{err}");
    }
}
