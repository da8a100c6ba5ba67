use super::*;
use crate::crypto::{Domain, Leaf, MerkleTree, Scheme, Unverified, Verified, hash, running_root};
use crate::files::init::{InitOptions, NewCluster, write_cluster};
use crate::files::read_secret_key;
use crate::proof::receipt::roster_hash as roster_of;
use crate::service::counter::Counter;
use crate::service::kv;
use crate::types::{ClientId, Epoch, GroupId, ReplicaId, Round, SessionId};
use crate::wire::{
    Attestation, CandidateSummary, Command, CommandKind, Header, Outcome, Receipt, ReceiptProof,
    Refusal, Request, RequestBody, StepPosition,
};
use bytes::Bytes;
use std::fs;

/// A cluster on disk, whose replicas attest what the tests say.
struct World {
    directory: tempfile::TempDir,
    new: NewCluster,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let new = write_cluster(&InitOptions::new(directory.path())).unwrap();
        Self { directory, new }
    }

    /// A receipt of this, alone in its step, attested by these replicas; the last one had given up
    /// something and did not see Δ hold.
    fn receipt(
        &self,
        number: u64,
        commands: Vec<Command>,
        outcome: Outcome,
        by: &[usize],
    ) -> Receipt {
        let cluster = &self.new.cluster;
        let keyring = cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap();
        let client = ClientId(cluster.clients[0].public_key.0);
        let body = match commands.is_empty() {
            true => Bytes::new(),
            false => RequestBody { commands }.to_bytes(),
        };
        let request = Request { session: SessionId(0x3f), number, low: 0, body };
        let outcome = outcome.to_bytes();
        let digest = request.digest(&keyring.context(), &client);
        let leaf = Leaf { request: digest, index: 0, output: hash(Domain::Output, &outcome) };
        let tree = MerkleTree::new(&[leaf]);
        let position = StepPosition { round: Round(12), vector: Digest([7; 32]) };
        let before = Digest([8; 32]);
        let running = running_root(&before, &position.vector, &tree.root());
        let sign = |place: &usize| {
            let is_last = by.len() > 1 && by.last() == Some(place);
            let attestation = Attestation {
                position,
                running,
                rolled: is_last,
                delta_held: !is_last,
                ..Attestation::default()
            };
            let header = Header {
                epoch: Epoch::GENESIS,
                members: cluster.ensemble.all(),
                round: Round(14),
                replica: ReplicaId::from_index(*place),
                choice: vec![],
                candidates: CandidateSummary::default(),
                changes: Digest::ZERO,
                now: 1,
                attestation,
            };
            let key = read_secret_key(&self.new.replica_keys[*place]).unwrap();
            Unverified::from(Verified::sign(header, &keyring, &Ed25519::signer(&key)))
        };
        let signed = by.iter().map(sign).collect();
        let path = tree.path(0).unwrap();
        let proof = ReceiptProof { position, index: 0, before, path, later: vec![], signed };
        Receipt { client, request, outcome, proof }
    }

    fn put(&self, by: &[usize]) -> Receipt {
        let put = kv(CommandKind::Execute, kv::Command::put("colour", "blue"));
        let get = kv(CommandKind::Query, kv::Command::get("colour"));
        let outputs = vec![out(kv::Output::Done), out(kv::Output::Value("blue".into()))];
        self.receipt(7, vec![put, get], Outcome::Executed(outputs), by)
    }

    fn keep(&self, receipt: Receipt, name: &str) -> PathBuf {
        let keyring = self.new.cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap();
        let path = self.directory.path().join(name);
        fs::write(&path, ReceiptFile::new(receipt, &keyring).to_bytes()).unwrap();
        path
    }

    fn by_config(&self) -> Anchor {
        Anchor::load(&self.new.config_file).unwrap()
    }

    fn by_hash(&self) -> Anchor {
        let keyring = self.new.cluster.keyring::<Ed25519>(GroupId::MAIN).unwrap();
        Anchor::Roster(roster_of(&keyring))
    }
}

fn kv(kind: CommandKind, command: kv::Command<'_>) -> Command {
    Command { kind, bytes: command.encode().into() }
}

fn out(output: kv::Output) -> Bytes {
    output.encode().into()
}

fn one(anchor: &Anchor, path: &Path) -> Opened {
    open(anchor, Assurance::Majority, path).unwrap()
}

#[test]
fn a_receipt_is_judged_by_the_cluster_file_and_by_a_hash() {
    let w = World::new();
    let path = w.keep(w.put(&[0, 1, 2]), "put.receipt");
    for anchor in [w.by_config(), w.by_hash(), Anchor::Itself] {
        let text = show::verdicts(&[one(&anchor, &path)]);
        let words = "valid, majority (3 of 3): {R1,R2,R3}; {R3} did not see delta hold; \
                     {R3} had given up something\n1 of 1 valid\n";
        assert!(text.ends_with(words), "{text}");
    }
    let strong = open(&w.by_config(), Assurance::Strong, &path).unwrap().verdict.unwrap_err();
    let words = "no more than majority: strong takes 3 replicas of 3";
    assert!(strong.to_string().contains(words), "{strong}");
    let few = w.keep(w.put(&[1]), "few.receipt");
    let why = one(&w.by_config(), &few).verdict.unwrap_err().to_string();
    assert_eq!(why, "1 of 3 replicas attest it, and it takes 2");
    let text = show::verdicts(&[one(&w.by_config(), &path), one(&w.by_config(), &few)]);
    assert!(text.contains("few.receipt: NOT VALID: 1 of 3") && text.ends_with("1 of 2 valid\n"));
}

#[test]
fn a_receipt_says_who_asked_what_and_what_came_of_it() {
    let w = World::new();
    let path = w.keep(w.put(&[0, 2]), "put.receipt");
    let text = show::whole(&[one(&w.by_config(), &path)], &w.by_config());
    let client = &w.new.cluster.clients[0];
    for part in [
        "  asked      put \"colour\" \"blue\"\n  answered   done\n",
        "  asked      get \"colour\" (as a query)\n  answered   \"blue\"\n",
        &format!(", {:?}, key {}", client.name, client.public_key.to_inline()),
        ".s3f#7\n",
        "  position   round 12, index 0\n             vector 0707",
        "by R1 at round 12, in epoch (0,0,0) of {R1,R2,R3}; saw delta hold\n",
        "by R3 at round 12, in epoch (0,0,0) of {R1,R2,R3}; did not see delta hold; had given up",
        "(3 replicas, no key replaced)",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // Without the cluster file it says what it does not know.
    let text = show::whole(&[one(&Anchor::Itself, &path)], &Anchor::Itself);
    assert!(text.contains("whether they are the right ones says `quorate receipt verify`"));
    assert!(text.contains("read as commands of kv; which service it was it does not say"));
    assert!(text.contains("put \"colour\" \"blue\""), "{text}");
    let json = show::as_json(true, &[one(&w.by_config(), &path)], &w.by_config());
    let receipt = &json["receipts"][0];
    assert_eq!(receipt["verdict"]["assurance"], "majority");
    assert_eq!(receipt["verdict"]["delta_held"], serde_json::json!([1]));
    assert_eq!(receipt["contents"]["commands"][0]["words"]["key"]["text"], "colour");
    assert_eq!(receipt["contents"]["outcome"]["outputs"][1]["words"]["value"]["text"], "blue");
    assert_eq!(receipt["contents"]["attested"][1]["rolled"], true);
    assert_eq!(
        (&receipt["contents"]["round"], &receipt["judged_by"]),
        (&12.into(), &"config".into())
    );
}

#[test]
fn other_requests_are_shown_too() {
    let w = World::new();
    let shown = |anchor: &Anchor, receipt: Receipt| {
        let path = w.keep(receipt, "some.receipt");
        show::whole(&[one(anchor, &path)], anchor)
    };
    let opening = w.receipt(0, vec![], Outcome::Opened, &[0, 1]);
    let text = shown(&w.by_config(), opening);
    assert!(text.contains("asked      open a session\n  answered   it is open"), "{text}");
    let put = || vec![kv(CommandKind::Execute, kv::Command::put("a", "b"))];
    let refused = Outcome::Refused(Refusal::BeyondWindow);
    let text = shown(&Anchor::Itself, w.receipt(9, put(), refused, &[0, 1]));
    assert!(text.contains("put \"a\" \"b\"\n  answered   refused: the request's number"), "{text}");
    let bytes = Bytes::from_static(&[0xff, 0x01]);
    let raw = Command { kind: CommandKind::Execute, bytes: bytes.clone() };
    let text =
        shown(&Anchor::Itself, w.receipt(9, vec![raw], Outcome::Executed(vec![bytes]), &[0, 1]));
    assert!(
        text.contains("asked      ff01\n  answered   ff01") && !text.contains("read as"),
        "{text}"
    );
    let commands = [
        (kv::Command::delete("k"), kv::Output::Missing, "delete \"k\"", "no such key"),
        (kv::Command::cas("k", None, "v"), kv::Output::Done, "cas \"k\" --absent \"v\"", "done"),
        (
            kv::Command::cas("k", Some(b"o"), "v"),
            kv::Output::Mismatch { current: None },
            "cas \"k\" \"o\" \"v\"",
            "mismatch, there is no such key",
        ),
        (kv::Command::incr("k", -2), kv::Output::Number(5), "incr \"k\" -2", "5"),
        (
            kv::Command::scan("p", 3),
            kv::Output::Entries { entries: vec![], more: false },
            "scan \"p\" --limit 3",
            "0 entries:",
        ),
        (kv::Command::ping(b""), kv::Output::Time(crate::types::AgreedTime(4)), "ping", "time 4"),
    ];
    for (command, output, asked, answered) in commands {
        let commands = vec![kv(CommandKind::Execute, command)];
        let outcome = Outcome::Executed(vec![out(output)]);
        let text = shown(&Anchor::Itself, w.receipt(3, commands, outcome, &[0, 1]));
        assert!(text.contains(&format!("asked      {asked}\n  answered   {answered}")), "{text}");
    }
    let add = Command { kind: CommandKind::Execute, bytes: Counter::add(5).into() };
    let sum = Outcome::Executed(vec![Bytes::copy_from_slice(&9u64.to_le_bytes())]);
    let receipt = w.receipt(3, vec![add], sum, &[0, 1]);
    let lines = Service::named("counter").lines(&receipt);
    assert_eq!(lines, [("add 5".to_owned(), "9".to_owned())]);
}

#[test]
fn what_is_long_is_cut_for_people_and_whole_for_programs() {
    let w = World::new();
    let value = "x".repeat(5000);
    let put = kv(CommandKind::Execute, kv::Command::put("k", &value));
    let receipt = w.receipt(3, vec![put], Outcome::Executed(vec![out(kv::Output::Done)]), &[0, 1]);
    let opened = [one(&Anchor::Itself, &w.keep(receipt, "long.receipt"))];
    let text = show::whole(&opened, &Anchor::Itself);
    assert!(text.contains("xxx... (cut; --json has all)") && text.len() < 3000, "{}", text.len());
    let json = show::as_json(true, &opened, &Anchor::Itself);
    let shown = &json["receipts"][0]["contents"]["commands"][0]["words"]["value"]["text"];
    assert_eq!(shown.as_str(), Some(value.as_str()));
}

#[test]
fn files_that_prove_nothing_say_why_and_what_to_do() {
    let w = World::new();
    let why = |anchor: &Anchor, path: &Path| one(anchor, path).verdict.unwrap_err().to_string();
    let path = w.keep(w.put(&[0, 1]), "damaged.receipt");
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(why(&w.by_config(), &path).contains("copy it again from where it was made"));
    let text = show::whole(&[one(&Anchor::Itself, &path)], &Anchor::Itself);
    assert!(text.contains("NOT VALID: it is no undamaged receipt (byte"), "{text}");
    let mut lie = w.put(&[0, 1]);
    lie.outcome =
        Outcome::Executed(vec![out(kv::Output::Done), out(kv::Output::Missing)]).to_bytes();
    let path = w.keep(lie, "lie.receipt");
    assert!(why(&w.by_config(), &path).contains("R1 attests running root"));
    let other = World::new();
    let path = w.keep(w.put(&[0, 1]), "put.receipt");
    let text = why(&other.by_config(), &path);
    assert!(text.contains("give --config its cluster's file, with all former_keys"), "{text}");
    let text = why(&other.by_hash(), &path);
    assert!(text.contains("give --roster-hash what `quorate check` says"), "{text}");
    let missing = open(&w.by_config(), Assurance::Majority, Path::new("no/such.receipt"));
    let missing = missing.err().unwrap().to_string();
    assert!(missing.contains("cannot read no/such.receipt"), "{missing}");
    let path = w.directory.path().join("fail-stop.toml");
    let text = fs::read_to_string(&w.new.config_file).unwrap();
    assert!(text.contains("fault_model = \"byzantine\""), "{text}");
    fs::write(&path, text.replace("\"byzantine\"", "\"fail-stop\"")).unwrap();
    let refused = Anchor::load(&path).err().unwrap().to_string();
    assert!(refused.contains("there are no receipts"), "{refused}");
}

#[test]
fn a_roster_hash_is_64_digits() {
    assert!(roster_hash(&"ab".repeat(32)).is_ok());
    for bad in ["", "ab", &"g".repeat(64), &"a".repeat(65)] {
        assert!(roster_hash(bad).unwrap_err().contains("64 hexadecimal digits"), "{bad}");
    }
}
