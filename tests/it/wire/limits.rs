//! What is exactly at a limit fits a frame and decodes; one more is refused.

use super::{epochs, samples};
use bytes::Bytes;
use proptest::prelude::*;
use quorate::crypto::{Signature, Unverified};
use quorate::types::{Digest, GroupId, ReplicaId, Round, SessionId};
use quorate::wire::{
    Candidate, Command, CommandKind, Digests, Frame, MAX_CANDIDATES, MAX_CHANGES, MAX_FIELDS,
    MAX_FRAME, Message, Outcome, Piece, Proposal, Replies, Reply, ReplyDigest, RequestBody,
    SnapshotOffer, SnapshotPart, SnapshotShape, StepPosition, WantBody, WantSnapshot, Writer,
};

#[test]
fn the_largest_proposal_fits_a_frame_and_no_larger_one_decodes() {
    let largest = proposal(31, MAX_CANDIDATES);
    let mut changed = largest.peek().clone();
    changed.changes = vec![epochs::changes()[0]; MAX_CHANGES];
    let largest = Unverified::new(changed, *largest.signature());
    let frame = largest.to_frame(GroupId::MAIN);
    assert!(frame.len() <= MAX_FRAME + 4);
    assert_eq!(decoded::<Unverified<Proposal>>(&frame), Ok(largest));
    for (choice, candidates) in [(32, 0), (31, MAX_CANDIDATES + 1)] {
        let frame = proposal(choice, candidates).to_frame(GroupId::MAIN);
        assert!(decoded::<Unverified<Proposal>>(&frame).is_err());
    }
}

#[test]
fn wanted_bodies_are_counted() {
    let want = |n| WantBody { digests: vec![Digest::ZERO; n] };
    let frame = want(WantBody::MAX).to_frame(GroupId::MAIN);
    assert_eq!(decoded::<WantBody>(&frame), Ok(want(WantBody::MAX)));
    assert!(decoded::<WantBody>(&want(WantBody::MAX + 1).to_frame(GroupId::MAIN)).is_err());
}

/// The largest offer is that of 1 TiB with a statement of everybody.
#[test]
fn the_largest_offer_and_part_of_a_snapshot_fit_a_frame_and_no_larger_ones_decode() {
    let offer = |total: u64, pages: usize, headers: usize| SnapshotOffer {
        round: Round(9),
        total,
        pages: vec![Digest::ZERO; pages],
        proof: vec![proposal(31, 9).header(); headers],
    };
    let part =
        |piece, bytes: usize| SnapshotPart { round: Round(9), piece, bytes: vec![1; bytes].into() };
    let (chunk, most) = (Piece::Chunk(u32::MAX), SnapshotShape::LARGEST);
    let largest = offer(most, 512, 31);
    let frame = largest.to_frame(GroupId::MAIN);
    assert!(frame.len() <= MAX_FRAME + 4);
    assert_eq!(decoded(&frame), Ok(largest));
    let largest = part(chunk, SnapshotPart::MAX);
    assert_eq!(decoded(&largest.to_frame(GroupId::MAIN)), Ok(largest));
    let larger = part(chunk, SnapshotPart::MAX + 1);
    assert!(decoded::<SnapshotPart>(&larger.to_frame(GroupId::MAIN)).is_err());
    for (total, pages, headers) in
        [(most, 512, 32), (most, 511, 1), (most + 1, 512, 1), (most + 1, 513, 1), (5, 2, 1)]
    {
        let frame = offer(total, pages, headers).to_frame(GroupId::MAIN);
        assert!(decoded::<SnapshotOffer>(&frame).is_err(), "{total} {pages} {headers}");
    }
}

#[test]
fn whoever_has_no_snapshot_sends_nothing_of_one() {
    let (none, not_yet) = (SnapshotOffer::none(), SnapshotOffer::not_yet(Round(9)));
    let with_pages =
        |offer: &SnapshotOffer| SnapshotOffer { pages: vec![Digest::ZERO], ..offer.clone() };
    let with_proof = |offer: &SnapshotOffer| SnapshotOffer {
        proof: vec![proposal(1, 9).header()],
        ..offer.clone()
    };
    let wrong = [
        SnapshotOffer { total: 1, ..none.clone() },
        with_pages(&none),
        with_proof(&none),
        with_pages(&not_yet),
        with_proof(&not_yet),
    ];
    for offer in wrong {
        assert!(decoded::<SnapshotOffer>(&offer.to_frame(GroupId::MAIN)).is_err(), "{offer:?}");
    }
    for right in [none, not_yet] {
        assert_eq!(decoded(&right.to_frame(GroupId::MAIN)), Ok(right));
    }
    let bytes = Bytes::from_static(b"x");
    let part = |round, piece| SnapshotPart { round: Round(round), piece, bytes: bytes.clone() };
    for part in [part(0, Piece::Chunk(0)), part(9, Piece::Offer)] {
        assert!(decoded::<SnapshotPart>(&part.to_frame(GroupId::MAIN)).is_err(), "{part:?}");
    }
    let want = WantSnapshot { round: Round(0), piece: Piece::Page(0) };
    assert!(decoded::<WantSnapshot>(&want.to_frame(GroupId::MAIN)).is_err());
}

#[test]
fn fields_of_a_hello_are_counted() {
    let with = |n: usize| {
        let frame = Frame::parse(samples::named("hello").bytes.into()).expect("a frame");
        let mut hello = quorate::wire::Hello::from_body(&frame.body).expect("a hello");
        hello.fields = (0..n).map(|i| (format!("field {i}"), Digest::ZERO)).collect();
        hello
    };
    let frame = with(MAX_FIELDS).to_frame(GroupId::MAIN);
    assert_eq!(decoded(&frame), Ok(with(MAX_FIELDS)));
    let frame = with(MAX_FIELDS + 1).to_frame(GroupId::MAIN);
    assert!(decoded::<quorate::wire::Hello>(&frame).is_err());
}

/// What a replica may put into one message by [`Replies::MAX_BYTES`] fits a frame.
#[test]
fn replies_up_to_their_bound_fit_a_frame() {
    let outcome = Bytes::from(vec![1; Replies::MAX_BYTES - Reply::OVERHEAD]);
    let reply = Reply { session: SessionId(1), number: 1, index: 0, outcome };
    let position = StepPosition { round: Round(1), vector: Digest::ZERO };
    let replies = Replies { position, rolled: false, replies: vec![reply] };
    let frame = replies.to_frame(GroupId::MAIN);
    assert!(frame.len() <= MAX_FRAME + 4);
    assert_eq!(decoded(&frame), Ok(replies));
}

/// As many digests as a replica puts into one message fit a frame, and no outcome is said to be
/// larger than one.
#[test]
fn digests_up_to_their_bound_fit_a_frame() {
    let reply = Reply { session: SessionId(1), number: 1, index: 0, outcome: Bytes::new() };
    let digest = ReplyDigest::of(&reply, ReplicaId::from_index(1));
    let position = StepPosition { round: Round(1), vector: Digest::ZERO };
    let with = |digest: &ReplyDigest, n| {
        let digests = vec![digest.clone(); n];
        Digests { position, rolled: false, digests }.to_frame(GroupId::MAIN)
    };
    let frame = with(&digest, Digests::MOST);
    assert!(frame.len() <= MAX_FRAME + 4);
    assert_eq!(decoded::<Digests>(&frame).map(|m| m.digests.len()), Ok(Digests::MOST));
    assert_eq!(with(&digest, 2).len() - with(&digest, 1).len(), ReplyDigest::SIZE);
    assert!(decoded::<Digests>(&with(&digest, 0)).is_err());
    let sized = |bytes: usize| {
        let mut digest = digest.clone();
        digest.outcome.bytes = u32::try_from(bytes).unwrap();
        decoded::<Digests>(&with(&digest, 1)).is_ok()
    };
    assert!(sized(MAX_FRAME) && !sized(MAX_FRAME + 1));
}

/// The bytes that a reply adds are what [`Reply::OVERHEAD`] says, and likewise for commands and
/// outputs: whoever fills a message up to its limit counts with these.
#[test]
fn overheads_are_as_declared() {
    let empty = Reply { session: SessionId(1), number: 1, index: 0, outcome: Bytes::new() };
    let size = |n: usize| {
        let replies = vec![empty.clone(); n];
        let mut out = Writer::new();
        Replies { position: StepPosition::default(), rolled: false, replies }.encode(&mut out);
        out.len()
    };
    assert_eq!(size(2) - size(1), Reply::OVERHEAD);
    let commands = |n| RequestBody { commands: vec![command(vec![]); n] }.to_bytes().len();
    assert_eq!(commands(2) - commands(1), RequestBody::COMMAND_OVERHEAD);
    let outputs = |n| Outcome::Executed(vec![Bytes::new(); n]).to_bytes().len();
    assert_eq!(outputs(2) - outputs(1), Outcome::OUTPUT_OVERHEAD);
}

#[test]
fn a_request_without_commands_and_replies_without_a_reply_are_refused() {
    assert!(samples::reencode_request_body(&[0; 4]).is_err());
    let replies = Replies { position: StepPosition::default(), rolled: false, replies: Vec::new() };
    assert!(decoded::<Replies>(&replies.to_frame(GroupId::MAIN)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_survive_a_round_trip(
        commands in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..20),
    ) {
        let body = RequestBody { commands: commands.into_iter().map(command).collect() };
        prop_assert_eq!(RequestBody::parse(&body.to_bytes()), Ok(body));
    }

    #[test]
    fn any_outputs_survive_a_round_trip(
        outputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
    ) {
        let outcome = Outcome::Executed(outputs.into_iter().map(Bytes::from).collect());
        prop_assert_eq!(Outcome::parse(&outcome.to_bytes()), Ok(outcome));
    }

    #[test]
    fn proposals_of_any_size_survive_a_round_trip(
        choice in 0..=31usize,
        candidates in 0..200usize,
    ) {
        let proposal = proposal(choice, candidates);
        let frame = proposal.to_frame(GroupId::MAIN);
        prop_assert_eq!(decoded(&frame), Ok(proposal));
    }
}

fn decoded<M: Message>(frame: &[u8]) -> Result<M, quorate::wire::DecodeError> {
    let frame = Frame::parse(Bytes::copy_from_slice(frame))?;
    M::from_body(&frame.body)
}

fn proposal(choice: usize, candidates: usize) -> Unverified<Proposal> {
    let mut proposal = samples::unsigned_proposal();
    proposal.choice = (0..choice).map(|i| Digest([i as u8; 32])).collect();
    let candidate = |i: usize| Candidate { clock: i as u64, request: Digest([i as u8; 32]) };
    proposal.candidates = (0..candidates).map(candidate).collect();
    Unverified::new(proposal, Signature([7; 64]))
}

fn command(bytes: Vec<u8>) -> Command {
    let kind =
        if bytes.len().is_multiple_of(2) { CommandKind::Execute } else { CommandKind::Query };
    Command { kind, bytes: bytes.into() }
}
