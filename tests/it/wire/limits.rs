//! What is exactly at a limit fits a frame and decodes; one more is refused.

use super::{epochs, samples};
use bytes::Bytes;
use proptest::prelude::*;
use quorate::crypto::{Signature, Unverified};
use quorate::types::{Digest, GroupId, Round, SessionId};
use quorate::wire::{
    Candidate, Command, CommandKind, Frame, MAX_CANDIDATES, MAX_CHANGES, MAX_FIELDS, MAX_FRAME,
    Message, Outcome, Proposal, Replies, Reply, RequestBody, SnapshotPart, StepPosition, WantBody,
    Writer,
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

/// The largest part fits a frame with the largest manifest.
#[test]
fn the_largest_part_of_a_snapshot_fits_a_frame_and_no_larger_one_decodes() {
    let part = |headers: usize, bytes: usize| SnapshotPart {
        round: Round(9),
        total: 1 << 40,
        offset: 0,
        manifest: Some(vec![proposal(31, 9).header(); headers]),
        bytes: vec![1; bytes].into(),
    };
    let largest = part(31, SnapshotPart::MAX);
    let frame = largest.to_frame(GroupId::MAIN);
    assert!(frame.len() <= MAX_FRAME + 4);
    assert_eq!(decoded(&frame), Ok(largest));
    for larger in [part(32, 9), part(0, SnapshotPart::MAX + 1)] {
        assert!(decoded::<SnapshotPart>(&larger.to_frame(GroupId::MAIN)).is_err());
    }
}

#[test]
fn whoever_has_no_snapshot_sends_nothing_of_one() {
    let none = SnapshotPart::none();
    let wrong = [
        SnapshotPart { total: 1, ..none.clone() },
        SnapshotPart { offset: 1, ..none.clone() },
        SnapshotPart { manifest: Some(vec![]), ..none.clone() },
        SnapshotPart { bytes: Bytes::from_static(b"x"), ..none.clone() },
    ];
    for part in wrong {
        assert!(decoded::<SnapshotPart>(&part.to_frame(GroupId::MAIN)).is_err(), "{part:?}");
    }
    assert_eq!(decoded(&none.to_frame(GroupId::MAIN)), Ok(none));
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
