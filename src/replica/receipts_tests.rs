//! Proofs of replies (§6), at three replicas whose messages are handed over by hand.

use super::*;
use crate::proof::receipt::{Judged, ReceiptError, assemble};
use crate::types::Assurance;
use crate::wire::{NoReceipt, ReceiptProof, WantReceipt};

const STRANGER: ClientId = ClientId([8; 32]);
const OTHER_LINK: LinkId = LinkId(2);

fn request(session: u64, number: u64, body: Bytes) -> Request {
    Request { session: SessionId(session), number, low: number.min(1), body }
}

fn want(number: u64, position: StepPosition, assurance: Assurance) -> WantReceipt {
    WantReceipt { session: SessionId(1), number, position, index: 0, assurance }
}

fn ask(trio: &mut Trio, to: usize, link: LinkId, want: &WantReceipt) {
    let frame = Frame::parse(want.to_frame(GroupId::MAIN).into()).unwrap();
    trio.input(to, Input::ClientFrames { link, frames: vec![frame] });
    trio.input(to, Input::Drained);
}

/// As a client does: otherwise those that were not asked join each round a little later.
fn ask_all(trio: &mut Trio, want: &WantReceipt) {
    (0..3).for_each(|i| ask(trio, i, LINK, want));
}

/// What the first has shown since the last look.
fn first(trio: &mut Trio) -> Vec<Result<ReceiptProof, NoReceipt>> {
    shown(trio).into_iter().filter(|(i, _)| *i == 0).map(|(_, said)| said).collect()
}

/// What the replicas have shown since the last look.
fn shown(trio: &mut Trio) -> Vec<(usize, Result<ReceiptProof, NoReceipt>)> {
    std::mem::take(&mut trio.shown).into_iter().map(|(i, answer)| (i, answer.result)).collect()
}

fn judged(
    trio: &Trio,
    request: &Request,
    outcome: &Outcome,
    proof: ReceiptProof,
) -> Result<Judged, ReceiptError> {
    let keyring = trio.replicas[0].keyring();
    assemble(CLIENT, request, &outcome.to_bytes(), &[proof], keyring).map(|(_, judged)| judged)
}

/// A group that has executed an opening and one request.
fn counted(durability: Durability) -> (Trio, StepPosition, Outcome) {
    let mut trio = Trio::on_disks(OrderLimits::default(), durability);
    trio.send(1, 0, Bytes::new()).unwrap();
    let (position, outcome) = trio.send(1, 1, add_one()).unwrap();
    (trio, position, outcome)
}

/// R6: an idle group runs rounds until what members attest is enough, and no more.
#[test]
fn a_receipt_is_had_in_an_idle_group_without_waiting_for_its_heartbeat() {
    for durability in [Durability::None, Durability::Reply, Durability::Strict] {
        for assurance in [Assurance::Majority, Assurance::Strong] {
            let (mut trio, position, outcome) = counted(durability);
            let before = trio.replicas[0].core.complete();
            ask_all(&mut trio, &want(1, position, assurance));
            trio.run(50);
            let said = first(&mut trio);
            let [Ok(proof)] = &said[..] else { panic!("{durability:?}, {assurance:?}: {said:?}") };
            let judged = judged(&trio, &request(1, 1, add_one()), &outcome, proof.clone());
            let judged = judged.expect("it is right");
            assert!(judged.assurance >= assurance, "{judged:?}");
            assert_eq!((judged.position, judged.index), (position, 0));
            assert_eq!(proof.signed.len(), assurance.needs(Ensemble::new(1).unwrap()));
            let after = trio.replicas[0].core.complete();
            let margin = if durability == Durability::Reply { 4 } else { 2 };
            let first = proof.signed[0].peek().round.0;
            assert!(first >= position.round.0 + margin, "signed in {first}");
            assert!(after.0 <= before.0 + 6, "{before:?} to {after:?}");
            trio.run(100);
            assert_eq!(trio.replicas[0].core.complete(), after, "that was enough");
            // Again it costs no round.
            ask(&mut trio, 0, LINK, &want(1, position, assurance));
            assert_eq!(shown(&mut trio), [(0, Ok(proof.clone()))]);
            assert_eq!(trio.replicas[0].core.complete(), after);
        }
    }
}

#[cfg(feature = "plant")]
#[test]
fn rounds_that_are_not_run_for_a_receipt_are_noticed() {
    assert!(caught(
        "r6-receipts-wait",
        a_receipt_is_had_in_an_idle_group_without_waiting_for_its_heartbeat
    ));
}

#[cfg(feature = "plant")]
fn caught(plant: &'static str, test: fn()) -> bool {
    crate::types::plant::plant(Some(plant));
    let caught = std::panic::catch_unwind(test).is_err();
    crate::types::plant::plant(None);
    caught
}

/// A proof is the affair of the client whose request it is.
#[test]
fn a_client_is_shown_nothing_of_others() {
    let (mut trio, position, _) = counted(Durability::None);
    let (link, client) = (OTHER_LINK, STRANGER);
    trio.input(0, Input::ClientUp { link, client, role: Role::Write });
    ask(&mut trio, 0, OTHER_LINK, &want(1, position, Assurance::Majority));
    trio.run(50);
    assert_eq!(shown(&mut trio), [(0, Err(NoReceipt::NoSuchReply))]);
}

#[cfg(feature = "plant")]
#[test]
fn a_proof_that_is_shown_to_others_is_noticed() {
    assert!(caught("s6-receipt-of-others", a_client_is_shown_nothing_of_others));
}

#[test]
fn what_is_not_there_is_said() {
    let (mut trio, position, _) = counted(Durability::None);
    let right = want(1, position, Assurance::Majority);
    let elsewhere = StepPosition { vector: Digest([3; 32]), ..position };
    let before = StepPosition { round: Round(0), ..position };
    let rows = [
        (WantReceipt { index: 1, ..right }, NoReceipt::NoSuchReply),
        (WantReceipt { number: 2, ..right }, NoReceipt::NoSuchReply),
        (WantReceipt { session: SessionId(2), ..right }, NoReceipt::NoSuchReply),
        (WantReceipt { position: elsewhere, ..right }, NoReceipt::NoSuchReply),
        (WantReceipt { position: before, ..right }, NoReceipt::TooOld),
    ];
    for (wrong, why) in rows {
        ask(&mut trio, 0, LINK, &wrong);
        assert_eq!(shown(&mut trio), [(0, Err(why))], "{wrong:?}");
    }
    // What comes later is waited for, and not for ever.
    let later = StepPosition { round: Round(position.round.0 + 1000), ..position };
    ask(&mut trio, 0, LINK, &WantReceipt { position: later, ..right });
    assert!(shown(&mut trio).is_empty());
    let wake = trio.replicas[0].receipts.next_wake().expect("it waits");
    trio.ms = wake.0 / 1_000_000 + 1;
    trio.input(0, Input::Drained);
    assert_eq!(shown(&mut trio), [(0, Err(NoReceipt::NotExecuted))]);
    assert_eq!(trio.replicas[0].receipts.next_wake(), None);
}

/// §7: a receipt leaves no earlier than the reply of which it is.
#[test]
fn a_receipt_waits_for_the_disk_as_its_reply_does() {
    let (mut trio, _, _) = counted(Durability::Reply);
    trio.stuck = Some(0);
    assert!(trio.send(1, 2, add_one()).is_none(), "the first has not answered");
    let position = trio.told.iter().find(|(i, _)| *i == 1).expect("the second has").1.position;
    ask_all(&mut trio, &want(2, position, Assurance::Majority));
    trio.run(50);
    assert_eq!(first(&mut trio), []);
    trio.stuck = None;
    for sequence in std::mem::take(&mut trio.unwritten) {
        trio.input(0, Input::Synced { sequence });
    }
    trio.run(50);
    let said = first(&mut trio);
    assert!(matches!(said[..], [Ok(_)]), "{said:?}");
}

/// What a power cut of all may take back is signed all the same, and counts for nothing.
#[cfg(feature = "plant")]
#[test]
fn a_receipt_of_what_was_signed_before_it_was_on_the_disk_is_noticed() {
    assert!(caught(
        "s6-receipt-before-sync",
        a_receipt_is_had_in_an_idle_group_without_waiting_for_its_heartbeat
    ));
}

/// No session remembers a refusal, which has a place in the order all the same.
#[test]
fn a_refused_request_has_a_receipt() {
    let mut trio = Trio::new(OrderLimits::default());
    let (position, outcome) = trio.send(9, 3, add_one()).unwrap();
    assert_eq!(outcome, Outcome::Refused(Refusal::UnknownSession));
    let want = WantReceipt { session: SessionId(9), ..want(3, position, Assurance::Strong) };
    ask(&mut trio, 1, LINK, &want);
    trio.run(50);
    let [(1, Ok(proof))] = &shown(&mut trio)[..] else { panic!("it has shown it") };
    let judged = judged(&trio, &request(9, 3, add_one()), &outcome, proof.clone()).unwrap();
    assert_eq!(judged.outcome, outcome);
}

/// A proof does not get shorter of breath with time: what is attested first after it is used.
#[test]
fn a_receipt_of_some_steps_ago_goes_no_further_than_it_must() {
    let (mut trio, position, outcome) = counted(Durability::None);
    (2..12).for_each(|number| drop(trio.send(1, number, add_one()).unwrap()));
    ask(&mut trio, 2, LINK, &want(1, position, Assurance::Majority));
    trio.run(50);
    // With every request its client has told that it has the answers to those before.
    let all = shown(&mut trio);
    let [(2, Ok(proof))] = &all[..] else { panic!("{all:?}") };
    assert!(proof.later.len() <= 3, "{} later steps", proof.later.len());
    assert!(judged(&trio, &request(1, 1, add_one()), &outcome, proof.clone()).is_ok());
}

#[test]
fn no_client_has_more_than_so_many_questions_wait() {
    let (mut trio, position, _) = counted(Durability::None);
    let later = StepPosition { round: Round(position.round.0 + 1000), ..position };
    let most = crate::replica::receipts::MAX_OF_CLIENT as u64;
    for number in 1..=most {
        ask(&mut trio, 0, LINK, &want(number, later, Assurance::Majority));
    }
    // One that is asked again takes no second place.
    ask(&mut trio, 0, LINK, &want(1, later, Assurance::Majority));
    assert!(shown(&mut trio).is_empty());
    ask(&mut trio, 0, LINK, &want(most + 1, later, Assurance::Majority));
    assert_eq!(shown(&mut trio), [(0, Err(NoReceipt::Busy))]);
    trio.input(0, Input::ClientDown { link: LINK });
    assert_eq!(trio.replicas[0].receipts.next_wake(), None, "who has gone waits for nothing");
}
