//! Receipts and their files: golden bytes that are valid, so that what is kept today can be judged
//! by whatever comes later.

use super::samples::{self, GROUP, Sample, digest, keyring, secret};
use bytes::Bytes;
use quorate::crypto::{
    Domain, Ed25519, KeyChange, Keyring, Leaf, MerkleTree, Scheme, Unverified, Verified, hash,
    running_root,
};
use quorate::proof::receipt::{ReceiptFile, ReceiptFileError, judge, roster_hash};
use quorate::service::kv;
use quorate::types::{Assurance, ClientId, Digest, Epoch, GroupId, ReplicaId, Round, SessionId};
use quorate::wire::{
    Attestation, CandidateSummary, Command, CommandKind, DecodeError, Header, LaterStep, Outcome,
    Reader, Receipt, ReceiptProof, Request, RequestBody, StepPosition,
};

/// The generation in which R1 has no key.
const OUT: u32 = 3;

fn client() -> ClientId {
    ClientId(secret(9).public().0)
}

/// The roster, in which R1 got another key.
fn roster() -> Keyring<Ed25519> {
    let mut keyring = keyring();
    let (replica, key) = (ReplicaId::from_index(0), secret(7).public());
    keyring.replace(KeyChange { out: OUT, replica, key }).expect("seeds give usable keys");
    keyring
}

fn request() -> (Request, Bytes) {
    let command = |kind, command: kv::Command<'_>| Command { kind, bytes: command.encode().into() };
    let commands = vec![
        command(CommandKind::Execute, kv::Command::put("colour", "blue")),
        command(CommandKind::Query, kv::Command::get("colour")),
    ];
    let body = RequestBody { commands }.to_bytes();
    let session = SessionId(0x1122_3344_5566_7788);
    let outputs = [kv::Output::Done, kv::Output::Value(Bytes::from_static(b"blue"))];
    let outputs = outputs.iter().map(|o| o.encode().into()).collect();
    (Request { session, number: 9, low: 5, body }, Outcome::Executed(outputs).to_bytes())
}

/// A receipt over three steps: the second of three requests of round 41, attested at rounds 41 and
/// 43 by all three replicas, one of which had given up something and one with its second key.
pub fn receipt() -> Receipt {
    let (keyring, (request, outcome)) = (roster(), request());
    let leaf = |index, request| Leaf { request, index, output: hash(Domain::Output, &outcome) };
    let own = leaf(1, request.digest(&keyring.context(), &client()));
    let tree = MerkleTree::new(&[leaf(0, digest("before")), own, leaf(2, digest("after"))]);
    let at =
        |round: u64| StepPosition { round: Round(round), vector: digest(&format!("V{round}")) };
    let before = digest("running before");
    let first = running_root(&before, &at(41).vector, &tree.root());
    let later = [(42, Digest::ZERO), (43, digest("root of 43"))]
        .map(|(round, root)| LaterStep { position: at(round), root });
    let step = |running: &Digest, l: &LaterStep| running_root(running, &l.position.vector, &l.root);
    let last = later.iter().fold(first, |running, l| step(&running, l));
    let signed = [(0, 7, 43, last), (1, 1, 41, first), (2, 2, 43, last)];
    let signed = signed.map(|(replica, key, round, running)| {
        let attestation = Attestation {
            position: at(round),
            running,
            checkpoint: Round(32),
            state: digest("state"),
            rolled: replica == 2,
            delta_held: replica != 1,
        };
        let header = Header {
            epoch: Epoch { generation: OUT + 1, resets: 0, accused: 0 },
            members: samples::ensemble().all(),
            round: Round(round + 2),
            replica: ReplicaId::from_index(replica),
            choice: vec![digest("P1"), digest("P2"), digest("P3")],
            candidates: CandidateSummary::default(),
            changes: Digest::ZERO,
            now: 1_700_000_000_000_002,
            attestation,
        };
        let signer = Ed25519::signer(&secret(key));
        Unverified::from(Verified::sign(header, &keyring, &signer))
    });
    let path = tree.path(1).expect("there are three");
    let proof = ReceiptProof {
        position: at(41),
        index: 1,
        before,
        path,
        later: later.to_vec(),
        signed: signed.to_vec(),
    };
    Receipt { client: client(), request, outcome, proof }
}

pub fn file() -> ReceiptFile {
    ReceiptFile::new(receipt(), &roster())
}

pub fn samples() -> Vec<Sample> {
    let (request, outcome) = request();
    // The body has its length after client, session, number and low-water mark; behind the outcome
    // stand position, index and running root, place and leaves; each later step has 72 bytes.
    let outcome_at = 56 + 4 + request.body.len();
    let siblings = outcome_at + 4 + outcome.len() + 40 + 4 + 32 + 8;
    let later = siblings + 4 + 2 * 32;
    let signed = later + 4 + 2 * 72;
    let counts = [56, outcome_at, siblings, later, signed, signed + 4 + 25];
    let start = 8 + 2 + 32 + 4;
    let changes = start + 4 + 3 * 32;
    let within = changes + 4 + 37;
    let file_counts: Vec<usize> =
        [start, changes].into_iter().chain(counts.iter().map(|at| within + at)).collect();
    vec![
        Sample::part("receipt", receipt().to_bytes(), &counts, reencode_receipt),
        Sample::part("receipt-file", file().to_bytes(), &file_counts, reencode_file).sealed(),
    ]
}

fn reencode_receipt(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut r = Reader::new(bytes);
    let receipt = Receipt::read(&mut r)?;
    r.finish()?;
    Ok(receipt.to_bytes())
}

fn reencode_file(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match ReceiptFile::parse(bytes) {
        Ok(file) => Ok(file.to_bytes()),
        Err(ReceiptFileError::Damaged(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

/// The bytes in the tree prove what they did when they were written.
#[test]
fn the_golden_receipt_is_valid() {
    let text = std::fs::read_to_string(samples::golden_path("receipt-file")).unwrap();
    let file = ReceiptFile::parse(&samples::from_text(&text).unwrap()).unwrap();
    let roster = roster();
    let judged = file.judge(&roster).unwrap();
    assert_eq!(judge(&file.receipt, &roster), Ok(judged.clone()));
    assert_eq!(file.judge_by_hash::<Ed25519>(&roster_hash(&roster)), Ok(judged.clone()));
    let numbers = |of: quorate::types::Members| of.iter().map(|r| r.number()).collect::<Vec<_>>();
    assert_eq!((judged.assurance, numbers(judged.signers)), (Assurance::Majority, vec![1, 2, 3]));
    assert_eq!((numbers(judged.rolled), numbers(judged.delta_held)), (vec![3], vec![1, 3]));
    assert_eq!((judged.position.round, judged.index), (Round(41), 1));
    // Who knows the first roster alone does not count the key that R1 got later.
    let judged = file.judge(&keyring()).unwrap();
    assert_eq!((numbers(judged.signers), numbers(judged.unknown)), (vec![2, 3], vec![1]));
    assert_eq!(file.judge_by_hash::<Ed25519>(&roster_hash(&keyring())), Ok(judged));
    assert_eq!(file.group, GROUP);
    let foreign = Keyring::<Ed25519>::clone(&samples::foreign_keyrings()[1]);
    assert!(matches!(file.judge(&foreign), Err(ReceiptFileError::Group { wanted, .. })
        if wanted == GroupId::MAIN));
}

/// What a receipt may hold at most fits its file.
#[test]
fn the_largest_receipt_fits_its_file() {
    let mut receipt = receipt();
    receipt.request.body = vec![1; quorate::wire::MAX_FRAME].into();
    receipt.outcome = vec![1; quorate::wire::MAX_FRAME].into();
    let step = receipt.proof.later[0];
    receipt.proof.later = vec![step; quorate::wire::MAX_LATER_STEPS];
    receipt.proof.path.siblings = vec![digest("sibling"); 32];
    let mut header = receipt.proof.signed[0].peek().clone();
    header.choice = vec![digest("a proposal"); 31];
    receipt.proof.signed = (0..31)
        .map(|replica| {
            let replica = ReplicaId::from_index(replica);
            let signature = *receipt.proof.signed[0].signature();
            Unverified::new(Header { replica, ..header.clone() }, signature)
        })
        .collect();
    let change =
        |out| KeyChange { out, replica: ReplicaId::from_index(0), key: secret(7).public() };
    let file = ReceiptFile {
        keys: vec![secret(1).public(); 31],
        changes: (1..=1024).map(change).collect(),
        ..ReceiptFile::new(receipt, &roster())
    };
    let bytes = file.to_bytes();
    assert!(bytes.len() < quorate::proof::receipt::MAX_RECEIPT_FILE * 9 / 10, "{}", bytes.len());
    assert_eq!(ReceiptFile::parse(&bytes), Ok(file));
}
