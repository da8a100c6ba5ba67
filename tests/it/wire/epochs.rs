//! Samples of what travels and what lies on disk when the epoch changes.

use super::samples::{GROUP, Sample, digest, ensemble, keyring, secret, unsigned_proposal};
use quorate::crypto::{
    Ed25519, KeyChange, Keyring, PublicKey, Scheme, Signable, Unverified, Verified,
};
use quorate::types::{Call, Digest, Epoch, Members, ReplicaId, Root, Round};
use quorate::wire::{
    Author, Blame, BlameStep, CallMessage, Change, DecodeError, Evidence, Header, Lacks, Message,
    OperatorChange, Proof, Proposal, Record, Report, ReportHeader, Restarted, SignedChange,
    Stalled, StepPosition, vector_hash,
};

/// The replica at this place of the roster.
pub fn r(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

/// Signs with the key of whoever the message names.
pub fn signed<T: Signable>(message: T) -> Verified<T> {
    let index = u8::try_from(message.signer().index()).expect("three replicas");
    Verified::sign(message, &keyring(), &Ed25519::signer(&secret(index)))
}

/// The operator's name.
pub fn operator() -> Author {
    Author::Operator(operator_key())
}

fn operator_key() -> PublicKey {
    secret(8).public()
}

/// A status change, signed by its author.
pub fn change(change: Change, author: Author) -> SignedChange {
    let index = match author {
        Author::Replica(replica) => u8::try_from(replica.index()).expect("three replicas"),
        Author::Operator(_) => 8,
    };
    let (context, signer) = (keyring().context(), Ed25519::signer(&secret(index)));
    SignedChange::sign::<Ed25519>(change, author, 1_700_000_000_000_003, &context, &signer)
}

/// One of each kind, by one who may say it.
pub fn changes() -> [SignedChange; 6] {
    let position = StepPosition { round: Round(41), vector: digest("V41") };
    let join = Change::Join { replica: r(1), incarnation: 5, position };
    [
        change(join, Author::Replica(r(1))),
        change(Change::Leave { replica: r(2), stays: false }, Author::Replica(r(2))),
        change(Change::Readmit { replica: r(0) }, operator()),
        change(Change::ReplaceKey { replica: r(2), key: secret(7).public() }, operator()),
        change(Change::Leave { replica: r(1), stays: true }, operator()),
        change(Change::Recall { replica: r(1) }, operator()),
    ]
}

/// A proposal with status changes.
pub fn proposal_with_changes() -> Proposal {
    Proposal { changes: changes().to_vec(), ..unsigned_proposal() }
}

/// The call that the reports entered by: nobody is accused in it.
pub fn first_call() -> Call {
    let root = Root { generation: 0, resets: 1 };
    Call { root, list: ensemble().all(), accused: Members::NONE }
}

/// The call that the report is for.
pub fn second_call() -> Call {
    Call { accused: [r(2)].into_iter().collect(), ..first_call() }
}

/// The header of a first report: nothing is known yet but the first epoch.
pub fn first_header(replica: ReplicaId) -> ReportHeader {
    let of = (Epoch::GENESIS, ensemble().all(), digest("genesis"));
    ReportHeader { restarted: true, ..ReportHeader::bare(first_call(), replica, of) }
}

/// A report of one that has nothing but the first epoch.
pub fn first_report(replica: ReplicaId) -> Report {
    Report::new(first_header(replica), vec![], vec![], vec![], vec![], Lacks::All)
}

/// The proposals of a vector of the epoch that was entered.
pub fn vector() -> Vec<Verified<Proposal>> {
    let by = |i| Proposal { replica: r(i), ..unsigned_proposal() };
    (0..3).map(|i| signed(by(i))).collect()
}

/// A report with every part filled in.
pub fn report() -> Report {
    let certificate = (0..3).map(|i| signed(first_report(r(i))).header().into()).collect();
    let vector = vector();
    let hashes: Vec<Digest> = vector.iter().map(|p| p.digest()).collect();
    let entered = first_call().number();
    let header = ReportHeader {
        call: second_call(),
        entered,
        opening: digest("opening"),
        round: Round(42),
        vector: vector_hash(&keyring().context(), entered, Round(42), &hashes),
        checkpoint: Round(32),
        state: digest("state"),
        restarted: false,
        ..first_header(r(1))
    };
    let headers: Vec<Unverified<Header>> = vector.iter().map(|p| p.header().into()).collect();
    let lacks = Lacks::of(vec![digest("a body"), digest("another body")]);
    Report::new(header, certificate, headers.clone(), proofs(), headers[..2].to_vec(), lacks)
}

/// One proof of each kind, as it looks.
pub fn proofs() -> Vec<Proof> {
    let header = |now| signed(Proposal { now, ..unsigned_proposal() }.header()).into();
    let report = |opening| signed(ReportHeader { opening, ..first_header(r(1)) }).into();
    vec![
        Proof::Equivocation(header(1_800_000_000_000_000), header(1_800_000_000_000_001)),
        Proof::Backwards(header(1_800_000_000_000_002), header(1_800_000_000_000_000)),
        Proof::Invalid(header(1)),
        Proof::TwoReports(report(digest("one")), report(digest("two"))),
        Proof::FalseReport(report(digest("three")), header(1_800_000_000_000_000)),
        Proof::EmptyReport(
            report(digest("four")),
            header(1_800_000_000_000_000),
            Box::new(header(2)),
        ),
    ]
}

fn blame(step: BlameStep) -> Verified<Blame> {
    let (epoch, members) = (first_call().number(), ensemble().all());
    signed(Blame { epoch, members, step, accused: r(2), by: r(0) })
}

fn restarted() -> Verified<Restarted> {
    let (epoch, members) = (first_call().number(), ensemble().all());
    signed(Restarted { epoch, members, replica: r(1), incarnation: 6 })
}

fn stalled() -> Verified<Stalled> {
    signed(Stalled { root: Root { generation: 0, resets: 2 }, replica: r(2) })
}

/// Evidence of each kind, proofs of each kind.
pub fn evidence() -> Vec<Evidence> {
    let mut evidence = vec![
        Evidence::Blame(blame(BlameStep::Round(Round(43))).into()),
        Evidence::Blame(blame(BlameStep::Report).into()),
        Evidence::Restarted(restarted().into()),
        Evidence::Stalled(stalled().into()),
    ];
    evidence.extend(proofs().into_iter().map(|p| Evidence::Proof(Box::new(p))));
    evidence
}

/// Whether everything in the parts of a report is signed by whom it says, as it travels: each
/// proposal and report by itself, the vector as the one that the header names.
pub fn parts_verify(report: &Unverified<Report>, keyring: &Keyring<Ed25519>) -> bool {
    let report = report.peek();
    let headers = report.vector.iter().chain(&report.attested);
    report.names_its_vector(keyring)
        && headers.into_iter().all(|h| h.verify_ref(keyring).is_ok())
        && report.certificate.iter().all(|h| h.verify_ref(keyring).is_ok())
}

/// All of them.
pub fn samples() -> Vec<Sample> {
    let call = CallMessage { call: second_call(), evidence: evidence() };
    let changes = changes();
    // Behind the header and the count of the certificate come three headers of reports with their
    // signatures, the count of the vector, three headers of proposals, the count of proofs.
    let header = 16 + 1 + 12 + 4 + 7 * 32 + 2 * 8 + 1;
    let counts = [header, header + 4 + 3 * (header + 64)];
    vec![
        Sample::frame("proposal-changes", signed(proposal_with_changes()).to_frame(GROUP), &[]),
        Sample::frame("blame", blame(BlameStep::Round(Round(43))).to_frame(GROUP), &[]),
        Sample::frame("blame-report", blame(BlameStep::Report).to_frame(GROUP), &[]),
        Sample::frame("restarted", restarted().to_frame(GROUP), &[]),
        Sample::frame("stalled", stalled().to_frame(GROUP), &[]),
        Sample::frame("call", call.to_frame(GROUP), &[16]),
        Sample::frame("report", signed(report()).to_frame(GROUP), &counts),
        Sample::frame("report-first", signed(first_report(r(0))).to_frame(GROUP), &[header]),
        Sample::frame("change-join", changes[0].to_frame(GROUP), &[]),
        Sample::frame("change-leave", changes[1].to_frame(GROUP), &[]),
        Sample::frame("change-leave-for-good", OperatorChange(changes[4]).to_frame(GROUP), &[]),
        Sample::frame("change-recall", OperatorChange(changes[5]).to_frame(GROUP), &[]),
        Sample::frame("change-readmit", OperatorChange(changes[2]).to_frame(GROUP), &[]),
        Sample::frame("change-replace-key", OperatorChange(changes[3]).to_frame(GROUP), &[]),
        record("record-promise", &promise(), &[1 + 16]),
        record("record-report", &stored_report(), &[1 + header]),
        record("record-entered", &entered(), &[1 + 12 + 4 + 32 + 8]),
        record("record-keys", &keys(), &[1]),
        record("record-rolled", &Record::Rolled { on: true, epoch: first_call().number() }, &[]),
    ]
}

fn record(name: &'static str, record: &Record, counts: &[usize]) -> Sample {
    Sample::part(name, record.to_bytes(), counts, reencode_record)
}

/// Decodes a record and encodes it again.
pub fn reencode_record(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Record::parse(bytes).map(|record| record.to_bytes())
}

fn promise() -> Record {
    Record::Promise { call: second_call(), evidence: evidence() }
}

fn stored_report() -> Record {
    let vector = vector().into_iter().map(Unverified::from).collect();
    Record::Report { report: Box::new(signed(report()).into()), vector }
}

fn keys() -> Record {
    let change = |out, replica, n| KeyChange { out, replica, key: secret(n).public() };
    Record::Keys(vec![change(3, r(2), 6), change(0x0102_0304, r(0), 7)])
}

fn entered() -> Record {
    Record::Entered {
        epoch: first_call().number(),
        members: ensemble().all(),
        opening: digest("opening"),
        first: Round(43),
        reports: (0..3).map(|i| signed(first_report(r(i))).into()).collect(),
        base: vector().into_iter().map(Unverified::from).collect(),
    }
}
