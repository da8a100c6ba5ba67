//! What is signed when the epoch changes, and what decoders refuse of it.

use super::epochs::{self, first_report, r, report, signed};
use super::samples::{self, digest, keyring, unsigned_proposal};
use bytes::Bytes;
use proptest::prelude::*;
use quorate::crypto::{Ed25519, PublicKey, Scheme, Signable, Signature, Unverified, VerifyError};
use quorate::types::{Call, Digest, Epoch, GroupId, Members, ReplicaId, Root, Round};
use quorate::wire::{
    Attestation, Author, Blame, BlameStep, CallMessage, Candidate, CandidateSummary, Change,
    DecodeError, Evidence, Frame, Header, Lacks, MAX_CHANGES, MAX_EVIDENCE, MAX_FRAME, MAX_LACKS,
    MAX_RECORD, Message, Proof, Proposal, Record, Report, ReportHeader, SignedChange, StepPosition,
};

fn decoded<M: Message>(frame: &[u8]) -> Result<M, DecodeError> {
    M::from_body(&Frame::parse(Bytes::copy_from_slice(frame))?.body)
}

/// Why an encoding of this report is refused, if it is.
fn refusal(report: Report) -> Option<&'static str> {
    let frame = signed(report).to_frame(GroupId::MAIN);
    decoded::<Unverified<Report>>(&frame).err().map(|e| e.what)
}

// --- proposals and headers --------------------------------------------------------------------

#[test]
fn a_proposal_and_its_header_are_one_statement() {
    let proposal = signed(epochs::proposal_with_changes());
    let header = proposal.header();
    assert_eq!((header.digest(), header.signature()), (proposal.digest(), proposal.signature()));
    let sent: Unverified<Header> = header.clone().into();
    assert_eq!(sent.verify_ref(&keyring()), Ok(header.clone()));
    assert_eq!(Unverified::from(proposal).header().verify(&keyring()), Ok(header.clone()));
    let c = header.candidates;
    assert_eq!((c.count, c.first, c.last), (2, 1_700_000_000_000_000, 1_700_000_000_000_001));
    let empty = Proposal { candidates: vec![], ..unsigned_proposal() }.header();
    assert_eq!((empty.candidates, empty.changes), (CandidateSummary::default(), Digest::ZERO));
}

/// Everything that a proposal says is under its signature, its lists too.
#[test]
fn every_part_of_a_proposal_changes_what_is_signed() {
    let base = epochs::proposal_with_changes();
    type Edit = fn(&mut Proposal);
    let edits: [Edit; 14] = [
        |p| p.epoch.accused += 1,
        |p| p.members.remove(r(0)),
        |p| p.round.0 += 1,
        |p| p.replica = r(2),
        |p| p.choice[2].0[31] ^= 1,
        |p| p.choice.truncate(2),
        |p| p.candidates[0].clock += 1,
        |p| p.candidates[1].request.0[0] ^= 1,
        |p| p.candidates.truncate(1),
        |p| p.changes[3].serial += 1,
        |p| p.changes[0].signature.0[63] ^= 1,
        |p| p.changes.swap(0, 1),
        |p| p.now += 1,
        |p| p.attestation.state.0[0] ^= 1,
    ];
    let statement =
        |p: &Proposal| keyring().statement(Proposal::DOMAIN, p.epoch, p.members, &p.body());
    for (i, edit) in edits.into_iter().enumerate() {
        let mut edited = base.clone();
        edit(&mut edited);
        assert_ne!(statement(&edited), statement(&base), "edit {i}");
    }
}

#[test]
#[should_panic(expected = "only be narrowed to the same statement")]
fn nothing_else_is_narrowed_to() {
    let proposal = signed(unsigned_proposal());
    let other = Proposal { now: 7, ..unsigned_proposal() };
    let _ = proposal.narrow(other.header());
}

/// A header names the first and the last candidate: of a list out of order that says nothing.
#[test]
fn candidates_out_of_order_are_no_proposal() {
    for clocks in [[5, 5], [6, 5]] {
        let candidate = |clock| Candidate { clock, request: digest("request") };
        let candidates = clocks.map(candidate).to_vec();
        let frame = signed(Proposal { candidates, ..unsigned_proposal() }).to_frame(GroupId::MAIN);
        let refused = decoded::<Unverified<Proposal>>(&frame).unwrap_err();
        assert_eq!(refused.what, "candidates in the order of their clocks");
    }
}

#[test]
fn status_changes_of_a_proposal_are_counted() {
    let with = |n: usize| {
        let changes = (0..n).map(|i| epochs::changes()[i % 6]).collect();
        signed(Proposal { changes, ..unsigned_proposal() }).to_frame(GroupId::MAIN)
    };
    assert!(decoded::<Unverified<Proposal>>(&with(MAX_CHANGES)).is_ok());
    let refused = decoded::<Unverified<Proposal>>(&with(MAX_CHANGES + 1)).unwrap_err();
    assert_eq!(refused.what, "status changes");
}

/// A header's summary of candidates is that of some list.
#[test]
fn summaries_of_no_list_are_refused() {
    let d = digest("list");
    let summary = |count, first, last, digest| CandidateSummary { count, first, last, digest };
    let rows = [
        (summary(0, 0, 0, Digest::ZERO), true),
        (summary(0, 1, 0, Digest::ZERO), false),
        (summary(0, 0, 1, Digest::ZERO), false),
        (summary(0, 0, 0, d), false),
        (summary(1, 4, 4, d), true),
        (summary(1, 4, 5, d), false),
        (summary(1, 4, 4, Digest::ZERO), false),
        (summary(2, 4, 5, d), true),
        (summary(2, 4, 4, d), false),
        (summary(2, 5, 4, d), false),
        (summary(2, 4, 5, Digest::ZERO), false),
        (summary(16_384, 1, 16_384, d), true),
        (summary(16_385, 1, 16_385, d), false),
    ];
    for (candidates, sound) in rows {
        let header = Header { candidates, ..unsigned_proposal().header() };
        let proof = Evidence::Proof(Box::new(Proof::Invalid(signed(header).into())));
        let call = CallMessage { call: epochs::second_call(), evidence: vec![proof] };
        let frame = call.to_frame(GroupId::MAIN);
        assert_eq!(decoded::<CallMessage>(&frame).is_ok(), sound, "{candidates:?}");
    }
}

// --- status changes ---------------------------------------------------------------------------

#[test]
fn who_may_ask_for_which_change() {
    let [join, leave, readmit, replace, dismiss, recall] = epochs::changes().map(|c| c.change);
    let (own, other, operator) =
        (|c: Change| Author::Replica(c.subject()), Author::Replica(r(0)), epochs::operator());
    let may = |change: Change, author: Author| {
        let verdict = epochs::change(change, author).verify(&keyring(), 0);
        assert!(
            matches!(verdict, Ok(()) | Err(VerifyError::NotEntitled(_))),
            "{change:?} {author:?}: {verdict:?}"
        );
        verdict.is_ok()
    };
    // (change, by itself, by another replica, by an operator)
    for (change, by) in [
        (join, [true, false, false]),
        (leave, [true, false, false]),
        (readmit, [false, false, true]),
        (replace, [false, false, true]),
        (dismiss, [false, false, true]),
        (recall, [false, false, true]),
    ] {
        let other = if change.subject() == r(0) { Author::Replica(r(1)) } else { other };
        assert_eq!([own(change), other, operator].map(|a| may(change, a)), by, "{change:?}");
    }
}

#[test]
fn a_change_is_verified_with_the_key_of_its_author() {
    let sign = |author, signer: u8| {
        let stays = matches!(author, Author::Operator(_));
        let leave = Change::Leave { replica: r(1), stays };
        let signer = Ed25519::signer(&samples::secret(signer));
        SignedChange::sign::<Ed25519>(leave, author, 1, &keyring().context(), &signer)
    };
    let verdict = |c: SignedChange| c.verify(&keyring(), 0);
    assert_eq!(verdict(sign(Author::Replica(r(1)), 1)), Ok(()));
    let forged = verdict(sign(Author::Replica(r(1)), 0));
    assert_eq!(forged, Err(VerifyError::BadSignature(r(1))));
    let key = samples::secret(8).public();
    assert_eq!(verdict(sign(Author::Operator(key), 8)), Ok(()));
    let forged = verdict(sign(Author::Operator(key), 7));
    assert_eq!(forged, Err(VerifyError::BadOperator(key)));
    // A key that is none, and one for which anybody can sign.
    let mut weak = [0; 32];
    weak[0] = 1;
    let weak = PublicKey(weak);
    assert_eq!(verdict(sign(Author::Operator(weak), 8)), Err(VerifyError::BadOperator(weak)));
    // Nobody leaves who is not in the roster, also not by an operator's word.
    let stranger = Change::Leave { replica: r(3), stays: true };
    let refused = epochs::change(stranger, epochs::operator()).verify(&keyring(), 0);
    assert_eq!(refused, Err(VerifyError::UnknownSigner(r(3))));
}

#[test]
fn a_change_is_named_by_everything_but_its_signature() {
    let context = keyring().context();
    let base = epochs::changes()[0];
    let name = |c: SignedChange| c.digest(&context);
    assert_eq!(name(SignedChange { signature: Signature([0; 64]), ..base }), name(base));
    let mut names: Vec<Digest> = epochs::changes().map(name).to_vec();
    names.push(name(SignedChange { serial: 4, ..base }));
    names.push(name(SignedChange { author: Author::Replica(r(2)), ..base }));
    names.push(base.digest(&samples::foreign_keyrings()[0].context()));
    names.push(base.digest(&samples::foreign_keyrings()[1].context()));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

// --- reports ----------------------------------------------------------------------------------

#[test]
fn a_report_and_its_header_are_one_statement() {
    let report = signed(report());
    let header = report.header();
    assert_eq!((header.digest(), header.signature()), (report.digest(), report.signature()));
    let sent: Unverified<ReportHeader> = header.clone().into();
    assert_eq!(sent.verify(&keyring()), Ok(header));
    assert!(report.names_its_vector(&keyring()));
    assert!(!report.names_its_vector(&samples::foreign_keyrings()[0]));
    assert!(first_report(r(0)).names_its_vector(&keyring()));
}

#[test]
fn every_part_of_a_report_is_bound_by_its_header() {
    type Edit = fn(&mut Report);
    let edits: [Edit; 8] = [
        |x| x.certificate[0] = signed(first_report(r(1))).header().into(),
        |x| {
            x.certificate.pop();
        },
        |x| x.proofs.swap(0, 1),
        |x| {
            x.proofs.pop();
        },
        |x| x.attested[0] = Unverified::new(x.attested[0].peek().clone(), Signature([0; 64])),
        |x| x.attested.truncate(1),
        |x| x.lacks = Lacks::All,
        |x| x.lacks = Lacks::Some(vec![]),
    ];
    assert_eq!(refusal(report()), None);
    for (i, edit) in edits.into_iter().enumerate() {
        let mut edited = report();
        edit(&mut edited);
        let why = refusal(edited).unwrap_or_else(|| panic!("edit {i} is let through"));
        assert_eq!(why, "the parts of a report are not those that its header names", "edit {i}");
    }
    // The hash of a vector takes the roster, so a decoder cannot see that it is another one.
    let mut other = report();
    let header = signed(Proposal { now: 7, replica: r(0), ..unsigned_proposal() }).header();
    other.vector[0] = header.into();
    assert_eq!(refusal(other.clone()), None);
    assert!(!other.names_its_vector(&keyring()));
}

/// Whoever signs nonsense into the digests as well gets no further.
#[test]
fn parts_that_are_none_are_refused() {
    type Edit = fn(&mut Report);
    let certificate = "a certificate has a report of every member in order";
    let vector = "a vector has a proposal of every member in order";
    let attested = "attestations are of the checkpoint, one a replica in order";
    let round = "a round has a vector and no round has none";
    let edits: [(Edit, &str); 18] = [
        (|x| x.certificate.swap(0, 1), certificate),
        (|x| x.certificate.truncate(2), certificate),
        (|x| x.certificate.push(x.certificate[2].clone()), certificate),
        (|x| x.certificate[1] = x.certificate[0].clone(), certificate),
        (|x| x.header.entered.resets += 1, certificate),
        (|x| x.header.entered_members.remove(r(2)), certificate),
        (|x| x.vector.swap(0, 1), vector),
        (|x| x.vector.truncate(2), vector),
        (|x| x.vector.clear(), vector),
        (|x| x.header.round.0 += 1, vector),
        (|x| (x.header.round, x.header.vector) = (Round(0), Digest::ZERO), vector),
        (|x| x.header.round = Round(0), round),
        (|x| x.header.vector = Digest::ZERO, round),
        (|x| x.vector[1] = signed(other_epoch()).header().into(), vector),
        (|x| x.attested.swap(0, 1), attested),
        (|x| x.attested[1] = x.attested[0].clone(), attested),
        (|x| x.header.checkpoint.0 += 1, attested),
        (|x| x.header.state.0[0] ^= 1, attested),
    ];
    for (i, (edit, why)) in edits.into_iter().enumerate() {
        let mut x = report();
        edit(&mut x);
        let signed_anew =
            Report::new(x.header, x.certificate, x.vector, x.proofs, x.attested, x.lacks);
        assert_eq!(refusal(signed_anew), Some(why), "edit {i}");
    }
}

fn other_epoch() -> Proposal {
    Proposal { replica: r(1), epoch: Epoch::GENESIS, ..unsigned_proposal() }
}

#[test]
fn lacking_bodies_ascend_and_are_counted() {
    let numbered = |i: usize| {
        let mut d = Digest::ZERO;
        d.0[..8].copy_from_slice(&(i as u64).to_be_bytes());
        d
    };
    let with = |lacks| {
        let x = first_report(r(0));
        refusal(Report::new(x.header, vec![], vec![], vec![], vec![], lacks))
    };
    let many = |n: usize| (0..n).map(numbered).collect::<Vec<_>>();
    assert_eq!(with(Lacks::Some(many(MAX_LACKS))), None);
    assert_eq!(with(Lacks::Some(many(MAX_LACKS + 1))), Some("lacking bodies"));
    assert_eq!(with(Lacks::Some(vec![numbered(2), numbered(1)])), Some("order of bodies"));
    assert_eq!(with(Lacks::Some(vec![numbered(1), numbered(1)])), Some("order of bodies"));
    let lacks = Lacks::of(vec![numbered(3), numbered(1), numbered(3)]);
    assert_eq!(lacks, Lacks::Some(vec![numbered(1), numbered(3)]));
    assert!(lacks.contains(&numbered(3)) && !lacks.contains(&numbered(2)));
    assert_eq!(Lacks::of(many(MAX_LACKS + 1)), Lacks::All);
    assert!(Lacks::All.contains(&numbered(9)));
}

// --- calls, sizes, records --------------------------------------------------------------------

#[test]
fn a_call_accuses_members_of_its_list_only() {
    let call = Call { list: [r(0), r(1)].into_iter().collect(), ..epochs::second_call() };
    let frame = CallMessage { call, evidence: vec![] }.to_frame(GroupId::MAIN);
    let refused = decoded::<CallMessage>(&frame).unwrap_err();
    assert_eq!(refused.what, "a call accuses only members of its list");
}

/// The most that honest replicas put into one message, in the largest group.
#[test]
fn the_largest_reports_and_calls_fit_a_frame() {
    let all: Members = (0..31).map(ReplicaId::from_index).collect();
    let header = |i: usize| {
        let candidates = (1..=2).map(|clock| Candidate { clock, request: digest("x") }).collect();
        let replica = ReplicaId::from_index(i);
        let choice = vec![digest("chosen"); 31];
        let attestation = Attestation::default();
        let p = Proposal {
            members: all,
            epoch: Epoch::GENESIS,
            replica,
            choice,
            candidates,
            attestation,
            ..unsigned_proposal()
        };
        Unverified::new(p.header(), Signature([1; 64]))
    };
    let headers: Vec<_> = (0..31).map(header).collect();
    let reported = |i| Unverified::new(epochs::first_header(r(i % 3)), Signature([4; 64]));
    let proof = |i| Proof::EmptyReport(reported(i), header(i), Box::new(header(i)));
    let first = epochs::first_header(r(0));
    let x = ReportHeader {
        entered_members: all,
        round: unsigned_proposal().round,
        vector: digest("vector"),
        ..first
    };
    let call = Call { root: Root::GENESIS, list: all, accused: Members::NONE };
    let certified = |i| {
        let replica = ReplicaId::from_index(i);
        Unverified::new(ReportHeader { replica, call, ..first }, Signature([1; 64]))
    };
    let certificate = (0..31).map(certified).collect();
    let lacks = (0..MAX_LACKS).map(|i| quorate::crypto::sha256(&i.to_le_bytes())).collect();
    let proofs: Vec<Proof> = (0..31).map(proof).collect();
    let lacks = Lacks::of(lacks);
    let report = Report::new(x, certificate, headers.clone(), proofs.clone(), headers, lacks);
    let frame = Unverified::new(report.clone(), Signature([2; 64])).to_frame(GroupId::MAIN);
    assert!(frame.len() <= MAX_FRAME / 2, "{}", frame.len());
    assert_eq!(decoded(&frame), Ok(Unverified::new(report, Signature([2; 64]))));

    let blame = Blame {
        epoch: Epoch::GENESIS,
        members: all,
        step: BlameStep::Round(Round(1)),
        accused: r(1),
        by: r(0),
    };
    let blame = Evidence::Blame(Unverified::new(blame, Signature([3; 64])));
    let mut evidence: Vec<_> =
        proofs.into_iter().map(|proof| Evidence::Proof(Box::new(proof))).collect();
    evidence.resize(MAX_EVIDENCE, blame.clone());
    let mut message = CallMessage { call: epochs::second_call(), evidence };
    let frame = message.to_frame(GroupId::MAIN);
    assert!(frame.len() <= MAX_FRAME / 2, "{}", frame.len());
    assert_eq!(decoded(&frame), Ok(message.clone()));
    message.evidence.push(blame);
    let refused = decoded::<CallMessage>(&message.to_frame(GroupId::MAIN)).unwrap_err();
    assert_eq!(refused.what, "evidence");
}

#[test]
fn records_of_unknown_kind_and_endless_ones_are_refused() {
    for kind in [0, 6, 255] {
        assert_eq!(Record::parse(&[kind]).unwrap_err().what, "unknown kind of record");
    }
    let mut long = samples::named("record-promise").bytes;
    long.resize(MAX_RECORD + 1, 0);
    assert_eq!(Record::parse(&long).unwrap_err().what, "a record is at most 64 MiB");
}

// --- any of them ------------------------------------------------------------------------------

fn digests(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Digest>> {
    proptest::collection::vec(any::<[u8; 32]>().prop_map(Digest), n)
}

fn any_set() -> impl Strategy<Value = Members> {
    (0..1u32 << 31).prop_map(|bits| Members::from_bits(bits).expect("31 bits"))
}

fn any_replica() -> impl Strategy<Value = ReplicaId> {
    (0..31usize).prop_map(ReplicaId::from_index)
}

fn any_call() -> impl Strategy<Value = Call> {
    (any::<(u32, u32)>(), any_set(), any_set()).prop_map(|((generation, resets), list, out)| {
        let accused = list.minus(list.minus(out));
        Call { root: Root { generation, resets }, list, accused }
    })
}

fn any_change() -> impl Strategy<Value = SignedChange> {
    let change = (0..5, any_replica(), any::<u64>(), any::<[u8; 32]>());
    let author = (any::<bool>(), any_replica(), any::<[u8; 32]>());
    (change, author, any::<u64>(), any::<[u8; 32]>()).prop_map(
        |((kind, replica, n, bytes), (operator, by, key), serial, half)| {
            let position = StepPosition { round: Round(n), vector: Digest(bytes) };
            let change = match kind {
                0 => Change::Join { replica, incarnation: n, position },
                1 => Change::Leave { replica, stays: n % 2 == 1 },
                2 => Change::Readmit { replica },
                3 => Change::Recall { replica },
                _ => Change::ReplaceKey { replica, key: PublicKey(bytes) },
            };
            let author =
                if operator { Author::Operator(PublicKey(key)) } else { Author::Replica(by) };
            let signature = Signature([half, half].concat().try_into().expect("twice 32 bytes"));
            SignedChange { change, author, serial, signature }
        },
    )
}

fn any_report() -> impl Strategy<Value = Report> {
    let lacks = prop_oneof![Just(Lacks::All), digests(0..9).prop_map(Lacks::of)];
    let proofs = proptest::sample::subsequence(epochs::proofs(), 0..=6);
    (any_call(), any_replica(), proofs, any::<bool>(), lacks, any::<bool>()).prop_map(
        |(call, replica, proofs, whole, lacks, restarted)| {
            let x = if whole { report() } else { first_report(replica) };
            let header = ReportHeader { call, replica, restarted, ..x.header };
            Report::new(header, x.certificate, x.vector, proofs, x.attested, lacks)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_proposal_with_changes_survives_a_round_trip_and_verifies(
        changes in proptest::collection::vec(any_change(), 0..20),
        choice in digests(0..31),
        requests in digests(0..40),
        numbers in any::<(u32, u64, u64)>(),
    ) {
        let candidate = |(i, request)| Candidate { clock: 3 * i as u64, request };
        let candidates = requests.into_iter().enumerate().map(candidate).collect();
        let epoch = Epoch { accused: numbers.0, ..Epoch::GENESIS };
        let p = unsigned_proposal();
        let round = Round(numbers.1);
        let p = Proposal { epoch, round, choice, candidates, changes, now: numbers.2, ..p };
        let signed = signed(p);
        let sent: Unverified<Proposal> = decoded(&signed.to_frame(GroupId::MAIN)).unwrap();
        prop_assert_eq!(sent.verify(&keyring()), Ok(signed));
    }

    #[test]
    fn any_change_survives_a_round_trip(change in any_change()) {
        prop_assert_eq!(decoded(&change.to_frame(GroupId::MAIN)), Ok(change));
    }

    #[test]
    fn any_call_survives_a_round_trip(
        call in any_call(),
        evidence in proptest::sample::subsequence(epochs::evidence(), 0..=10),
    ) {
        let message = CallMessage { call, evidence: evidence.clone() };
        prop_assert_eq!(decoded(&message.to_frame(GroupId::MAIN)), Ok(message));
        let record = Record::Promise { call, evidence };
        prop_assert_eq!(Record::parse(&record.to_bytes()), Ok(record));
    }

    #[test]
    fn any_report_survives_a_round_trip(report in any_report()) {
        let report = Unverified::new(report, Signature([9; 64]));
        prop_assert_eq!(decoded(&report.to_frame(GroupId::MAIN)), Ok(report));
    }
}
