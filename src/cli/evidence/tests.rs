use super::*;
use crate::crypto::{Scheme, Unverified, Verified};
use crate::files::init::{InitOptions, NewCluster, write_cluster};
use crate::files::read_secret_key;
use crate::proof::{Attested, Kind};
use crate::types::{Call, Digest, Epoch, GroupId, Members, ReplicaId, Root, Round};
use crate::wire::{Header, Proof, Proposal, ReportHeader};

/// A cluster on disk, and what its second replica signs.
struct World {
    _directory: tempfile::TempDir,
    new: NewCluster,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let new = write_cluster(&InitOptions::new(directory.path())).unwrap();
        Self { _directory: directory, new }
    }

    fn sign<T: crate::crypto::Signable>(&self, message: T) -> Unverified<T> {
        let keyring = self.new.cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap();
        let key = read_secret_key(&self.new.replica_keys[message.signer().index()]).unwrap();
        Verified::sign(message, &keyring, &Ed25519::signer(&key)).into()
    }

    fn proposal(&self, round: u64, now: u64) -> Unverified<Header> {
        let proposal = Proposal {
            epoch: Epoch::GENESIS,
            members: self.new.cluster.ensemble.all(),
            round: Round(round),
            replica: ReplicaId::from_index(1),
            choice: vec![Digest([1; 32])],
            candidates: vec![],
            changes: vec![],
            now,
            attestation: Default::default(),
        };
        self.sign(proposal.header())
    }

    fn report(&self, opening: u8) -> Unverified<ReportHeader> {
        let list = self.new.cluster.ensemble.all();
        let root = Root { generation: 0, resets: 1 };
        let call = Call { root, list, accused: Members::NONE };
        let of = (Epoch::GENESIS, list, Digest([opening; 32]));
        self.sign(ReportHeader::bare(call, ReplicaId::from_index(1), of))
    }

    /// Keeps a proof as the replica of this number would.
    fn keep(&self, replica: u8, proof: Proof, name: &str) -> PathBuf {
        let keyring = self.new.cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap();
        let file = ProofFile::new(proof, &keyring);
        let data = self.new.config_file.with_file_name("data");
        let directory = data.join(format!("replica-{replica}")).join(DIRECTORY);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, file.to_bytes()).unwrap();
        path
    }

    fn which(&self) -> Which {
        let config = self.new.config_file.clone();
        Which { config, data: None, json: false, files: vec![] }
    }

    fn judged(&self, which: &Which) -> Vec<Judged> {
        let paths = proofs_in(&which.directories().unwrap()).unwrap();
        paths.into_iter().map(|p| judge(&self.new.cluster, p).unwrap()).collect()
    }
}

#[test]
fn proofs_of_every_kind_are_judged_and_shown() {
    let w = World::new();
    let proofs = [
        Proof::Equivocation(w.proposal(5, 100), w.proposal(5, 101)),
        Proof::Backwards(w.proposal(5, 100), w.proposal(6, 99)),
        Proof::TwoReports(w.report(1), w.report(2)),
        Proof::FalseReport(w.report(1), w.proposal(2, 7)),
        Proof::Invalid(w.proposal(5, 100)),
        Proof::EmptyReport(w.report(1), w.proposal(2, 7), w.proposal(1, 7).into()),
    ];
    for (i, proof) in proofs.into_iter().enumerate() {
        w.keep(1 + (i as u8) % 2, proof, &format!("{i}.proof"));
    }
    // None of these is looked at.
    for name in [".3.proof.1-1.tmp", ".hidden.proof", "notes.txt"] {
        w.keep(1, Proof::Invalid(w.proposal(5, 100)), name);
    }
    let judged = w.judged(&w.which());
    let kind = |shown: &Shown| match shown {
        Shown::Lie(c) => c.kind,
        other => panic!("{other:?}"),
    };
    let kinds: Vec<_> = judged.iter().map(|j| j.verdict.as_ref().ok().map(kind)).collect();
    let expected = [
        Some(Kind::Equivocation),
        Some(Kind::TwoReports),
        None, // 4: invalid by no rule
        Some(Kind::Backwards),
        Some(Kind::FalseReport),
        None, // 5: it shows no vector that was chosen
    ];
    assert_eq!(kinds, expected);
    let list = show::list(&judged);
    assert!(list.contains("R2       (0,0,0)    equivocation  yes"), "{list}");
    assert_eq!(list.matches(" NO ").count(), 2, "{list}");
    let text = show::verdicts(&judged);
    assert!(text.contains("proves that R2 signed two proposals for one round, in epoch (0,0,0)"));
    assert!(text.contains("4.proof: NOT VALID: it proves nothing: there is a chain"), "{text}");
    assert!(text.ends_with("4 of 6 valid\n"), "{text}");
    let text = show::whole(&judged);
    for part in [
        "proposal  of R2 for round 5, epoch (0,0,0) of {R1,R2,R3}",
        "report    of R2 for (0,1,0) of {R1,R2,R3} without {}",
        "          clock 101, no candidates",
        "          chose 0101010101010101",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = show::as_json(false, &judged);
    assert_eq!(json["proofs"][0]["conviction"]["kind"], "equivocation");
    assert_eq!(json["proofs"][1]["contents"]["reports"][1]["number"]["resets"], 1);
    assert_eq!(json["proofs"][2]["valid"], false);
    assert_eq!(json["proofs"].as_array().unwrap().len(), 6);
}

/// Replicas that signed different results: nobody is convicted, and what it is can be seen.
#[test]
fn evidence_of_divergence_is_shown_as_what_it_is() {
    let w = World::new();
    let keyring = w.new.cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap();
    let header = |index: usize, state: u8| {
        let mut header = w.proposal(9, 100).peek().clone();
        header.replica = ReplicaId::from_index(index);
        (header.attestation.checkpoint, header.attestation.state) = (Round(8), Digest([state; 32]));
        w.sign(header)
    };
    let keep = |name: &str, states: [u8; 3]| {
        let statements = states.into_iter().enumerate().map(|(i, s)| header(i, s)).collect();
        let file = DivergenceFile::new(Attested::State(Round(8)), statements, &keyring);
        let place = w.keep(1, Proof::Invalid(w.proposal(5, 100)), name);
        fs::write(place, file.to_bytes()).unwrap();
    };
    keep("8-R3.divergence", [1, 1, 2]);
    keep("8-all.divergence", [1, 2, 3]);
    keep("9-none.divergence", [1, 1, 1]);
    let judged = w.judged(&w.which());
    let list = show::list(&judged);
    assert!(list.contains("R3       (0,0,0)    divergence    yes"), "{list}");
    assert!(list.contains("all      (0,0,0)    divergence    yes"), "{list}");
    assert_eq!(list.matches(" NO ").count(), 1, "{list}");
    let text = show::verdicts(&judged);
    let expected = "shows different states at the checkpoint of round 8: {R3} differ from {R1,R2}, \
                    who are t + 1 or more and agree; it convicts nobody of a lie";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("no t + 1 of {R1,R2,R3} and those who are silent can agree"), "{text}");
    assert!(show::whole(&judged).contains("attests state 0202020202020202"), "{text}");
    let json = show::as_json(false, &judged);
    assert_eq!(json["proofs"][0]["divergence"]["differ"][0], 3);
    assert_eq!(json["proofs"][0]["conviction"], serde_json::Value::Null);
    assert_eq!(json["proofs"][0]["contents"]["proposals"][2]["checkpoint"], 8);
}

#[test]
fn one_replica_can_be_asked_for() {
    let w = World::new();
    w.keep(1, Proof::Invalid(w.proposal(5, 100)), "a.proof");
    w.keep(2, Proof::Invalid(w.proposal(5, 100)), "b.proof");
    let data = |number: u8| {
        let data = w.new.config_file.with_file_name("data").join(format!("replica-{number}"));
        Which { data: Some(data), ..w.which() }
    };
    let judged = w.judged(&data(2));
    assert!(judged.len() == 1 && judged[0].path.ends_with("replica-2/evidence/b.proof"));
    let refused = data(3).directories().unwrap_err().to_string();
    assert!(refused.contains("replica-3 is no directory; give --data"), "{refused}");
    // A replica that found no liar has nothing to show, which is no mistake.
    fs::create_dir_all(data(3).data.unwrap()).unwrap();
    assert!(w.judged(&data(3)).is_empty());
    let places = data(3).directories().unwrap();
    assert!(show::nothing(&places).contains("no proof of a lie in"));
    assert!(show::nothing(&[]).contains("give --data"));
}

#[test]
fn files_that_prove_nothing_say_why_and_what_to_do() {
    let w = World::new();
    let proof = || Proof::Equivocation(w.proposal(5, 100), w.proposal(5, 101));
    let why = |path: PathBuf| judge(&w.new.cluster, path).unwrap().verdict.unwrap_err();
    let path = w.keep(1, proof(), "damaged.proof");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(why(path.clone()).contains("copy it again from where it was made"));
    fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    assert!(why(path).contains("larger than any proof"));
    let foreign = World::new().keep_elsewhere(&w, "foreign.proof");
    assert!(why(foreign).contains("give --config its cluster's file"));
    let mut other =
        ProofFile::new(proof(), &w.new.cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap());
    other.group = GroupId(1);
    let path = w.new.config_file.with_file_name("group.proof");
    fs::write(&path, other.to_bytes()).unwrap();
    assert!(why(path).contains("the signature is not R2's"));
    let missing = judge(&w.new.cluster, "no/such.proof".into()).err().unwrap().to_string();
    assert!(missing.contains("cannot read no/such.proof"), "{missing}");
}

impl World {
    /// A proof of this cluster where another keeps its own.
    fn keep_elsewhere(&self, other: &World, name: &str) -> PathBuf {
        let proof = Proof::Equivocation(self.proposal(5, 100), self.proposal(5, 101));
        let path = other.new.config_file.with_file_name(name);
        fs::copy(self.keep(1, proof, name), &path).unwrap();
        path
    }
}
