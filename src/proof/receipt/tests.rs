//! What is a receipt and what is none, part by part.

use super::world::*;
use super::*;
use crate::crypto::{Keyed, MerklePath, Signature, Unverified};
use crate::types::plant::plant;
use crate::types::{ClientId, GroupId};
use crate::wire::{Attestation, LaterStep, ReceiptProof, Refusal};
use bytes::Bytes;

type Ring = Keyring<Keyed>;

/// A receipt of a middle leaf of a middle step, attested two steps later by all of five.
fn whole() -> (Receipt, Ring, Past) {
    let keyring = keyring(2);
    let past = past(&keyring);
    (past.receipt((2, 3), 4, &[0, 1, 2, 3, 4], &keyring), keyring, past)
}

fn refused(change: impl FnOnce(&mut Receipt)) -> ReceiptError {
    let (mut receipt, keyring, _) = whole();
    change(&mut receipt);
    judge(&receipt, &keyring).unwrap_err()
}

#[test]
fn every_reply_has_a_receipt_at_every_later_step() {
    let keyring = keyring(1);
    let past = past(&keyring);
    for (at, index) in past.given() {
        for last in at..past.steps.len() {
            let receipt = past.receipt((at, index), last, &[0, 2], &keyring);
            let judged = judge(&receipt, &keyring).unwrap();
            let ran = &past.steps[at].ran[index];
            assert_eq!(judged.position, past.steps[at].position);
            assert_eq!((judged.index, judged.steps.len()), (index as u32, last - at + 1));
            assert_eq!(Some(judged.outcome.to_bytes()), ran.outcome);
            assert_eq!(judged.request.number, ran.request.number);
            assert_eq!(judged.assurance, Assurance::Majority);
            assert_eq!(judged.signers, [replica(0), replica(2)].into_iter().collect());
            assert_eq!(judged.delta_held, judged.signers);
            assert!(judged.rolled.is_empty() && judged.unknown.is_empty());
        }
    }
}

#[test]
fn headers_may_attest_different_steps_of_one_receipt() {
    let (mut receipt, keyring, past) = whole();
    let sign = |(place, at)| signed(replica(place), past.attest(at), &keyring);
    receipt.proof.signed = [(0, 2), (3, 3), (4, 4)].map(sign).to_vec();
    assert_eq!(judge(&receipt, &keyring).unwrap().assurance, Assurance::Majority);
}

/// C4 for receipts: how many must have signed, and who does not count for `strong`.
#[test]
fn assurance_is_counted_in_replicas_that_gave_up_nothing() {
    let judged = |by: &[usize], rolled: &[usize]| {
        let (mut receipt, keyring, past) = whole();
        let sign = |place: &usize| {
            let rolled = rolled.contains(place);
            signed(replica(*place), Attestation { rolled, ..past.attest(4) }, &keyring)
        };
        receipt.proof.signed = by.iter().map(sign).collect();
        judge(&receipt, &keyring)
    };
    let reached = |by: &[usize], rolled: &[usize]| judged(by, rolled).map(|j| j.assurance);
    let few = |have| ReceiptError::TooFew { have, n: 5, need: 3, unknown: Members::NONE };
    assert_eq!(reached(&[], &[]), Err(few(0)));
    assert_eq!(reached(&[1, 4], &[]), Err(few(2)));
    assert_eq!(reached(&[1, 2, 4], &[]), Ok(Assurance::Majority));
    assert_eq!(reached(&[1, 2, 4], &[1, 2, 4]), Ok(Assurance::Majority));
    assert_eq!(reached(&[1, 2, 3, 4], &[]), Ok(Assurance::Strong));
    assert_eq!(reached(&[1, 2, 3, 4], &[3]), Ok(Assurance::Majority));
    assert_eq!(reached(&[0, 1, 2, 3, 4], &[3]), Ok(Assurance::Strong));
    let weak = judged(&[1, 2, 3, 4], &[3]).unwrap();
    assert_eq!(weak.at_least(Assurance::Majority, Ensemble::new(2).unwrap()), Ok(()));
    let why = weak.at_least(Assurance::Strong, Ensemble::new(2).unwrap()).unwrap_err();
    let said = why.to_string();
    assert!(said.contains("strong takes 4 replicas of 5") && said.contains("it has 3"), "{said}");
    assert!(said.contains("{R4} had given up something"), "{said}");
}

#[test]
fn what_was_asked_and_answered_is_bound() {
    let is_other = |e: ReceiptError| matches!(e, ReceiptError::Running { .. });
    assert!(is_other(refused(|r| r.client = ClientId([2; 32]))));
    assert!(is_other(refused(|r| r.request.session.0 += 1)));
    assert!(is_other(refused(|r| r.request.number += 1)));
    assert!(is_other(refused(|r| r.request.low += 1)));
    assert!(is_other(refused(|r| r.request.body = request(7, 5, "get").body)));
    assert!(is_other(refused(|r| r.outcome = executed("other"))));
    let refusal = Outcome::Refused(Refusal::Malformed);
    assert!(is_other(refused(|r| r.outcome = refusal.to_bytes())));
    assert!(is_other(refused(|r| r.outcome = Outcome::Opened.to_bytes())));
    let why = refused(|r| r.outcome = Bytes::from_static(b"\x07"));
    assert!(matches!(why, ReceiptError::Outcome(_)), "{why}");
    let said = refused(|r| r.outcome = executed("other")).to_string();
    assert!(said.contains("R1 attests running root") && said.contains("is not what R1"), "{said}");
}

#[test]
fn where_it_was_answered_is_bound() {
    let place = refused(|r| r.proof.index = 4);
    assert_eq!(place, ReceiptError::Place { place: 3, index: 4 });
    assert_eq!(refused(|r| r.proof.path.place = 2), ReceiptError::Place { place: 2, index: 3 });
    let both = refused(|r| (r.proof.index, r.proof.path.place) = (2, 2));
    assert!(matches!(both, ReceiptError::Running { .. }), "{both}");
    // Of seven leaves: a path of three hashes, and none of two or four.
    for siblings in [2, 4] {
        let why = refused(|r| r.proof.path.siblings.resize(siblings, Digest::ZERO));
        assert_eq!(why, ReceiptError::Path { place: 3, leaves: 7, siblings });
    }
    let none = MerklePath { place: 3, leaves: 3, siblings: vec![] };
    assert!(matches!(refused(|r| r.proof.path = none), ReceiptError::Path { .. }));
    let is_other = |e: ReceiptError| matches!(e, ReceiptError::Running { .. });
    assert!(is_other(refused(|r| r.proof.path.siblings.swap(0, 1))));
    assert!(is_other(refused(|r| r.proof.before = Digest::ZERO)));
    assert!(is_other(refused(|r| r.proof.position.vector = digest("another"))));
    let rounds =
        |before, after| ReceiptError::Rounds { before: Round(before), after: Round(after) };
    assert_eq!(refused(|r| r.proof.position.round = Round(2)), rounds(2, 4));
    assert_eq!(refused(|r| r.proof.position.round = Round(4)), rounds(4, 4));
    assert_eq!(refused(|r| r.proof.position.round = Round(u64::MAX)), rounds(u64::MAX, 4));
}

#[test]
fn the_way_over_later_steps_is_bound() {
    let is_other = |e: ReceiptError| matches!(e, ReceiptError::Running { .. });
    let rounds =
        |before, after| ReceiptError::Rounds { before: Round(before), after: Round(after) };
    assert!(is_other(refused(|r| r.proof.later[0].root = Digest::ZERO)));
    assert!(is_other(refused(|r| r.proof.later[1].root = digest("a root"))));
    assert!(is_other(refused(|r| r.proof.later[0].position.vector = digest("another"))));
    let vector = refused(|r| r.proof.later[1].position.vector = digest("another"));
    assert!(matches!(vector, ReceiptError::Vector { round: Round(5), .. }), "{vector}");
    assert_eq!(refused(|r| r.proof.later[0].position.round = Round(5)), rounds(3, 5));
    assert_eq!(refused(|r| r.proof.later = r.proof.later[1..].to_vec()), rounds(3, 5));
    assert_eq!(refused(|r| r.proof.later.swap(0, 1)), rounds(3, 5));
    assert_eq!(refused(|r| r.proof.later.insert(1, r.proof.later[1])), rounds(5, 5));
    let short = refused(|r| r.proof.later.truncate(1));
    let (first, last) = (Round(3), Round(4));
    assert_eq!(
        short,
        ReceiptError::Elsewhere { replica: replica(0), round: Round(5), first, last }
    );
    let step = |round| LaterStep {
        position: StepPosition { round: Round(round), vector: digest("v") },
        root: Digest::ZERO,
    };
    let long = refused(|r| r.proof.later = (4..4101).map(step).collect());
    assert_eq!(long, ReceiptError::TooLong(4097));
}

#[test]
fn one_header_that_does_not_stand_and_all_is_refused() {
    let (_, keyring, past) = whole();
    let signature = Signature([7; 64]);
    let why = refused(|r| {
        r.proof.signed[4] = Unverified::new(r.proof.signed[4].peek().clone(), signature)
    });
    assert!(
        matches!(why, ReceiptError::Signature { replica, .. } if replica.number() == 5),
        "{why}"
    );
    let foreign = [keyring_of(2, "another", 0), keyring_of(2, "cluster", 1), self::keyring(3)];
    for other in &foreign {
        let why = refused(|r| r.proof.signed[1] = signed(replica(1), past.attest(4), other));
        assert!(matches!(why, ReceiptError::Signature { .. }), "{why}");
    }
    let stranger =
        refused(|r| r.proof.signed.push(signed(replica(5), past.attest(4), &foreign[2])));
    assert!(stranger.to_string().contains("R6 is not in the roster"), "{stranger}");
    let twice = refused(|r| r.proof.signed.insert(1, r.proof.signed[0].clone()));
    assert_eq!(twice, ReceiptError::Twice(replica(0)));
    let others = keyring.ensemble().all().minus([replica(3)].into_iter().collect());
    let outside = sign(header(replica(3), past.attest(4), others), &keyring, 0);
    let why = refused(|r| r.proof.signed[3] = outside);
    assert!(matches!(why, ReceiptError::NotMember { .. }), "{why}");
    let nothing =
        refused(|r| r.proof.signed[0] = signed(replica(0), Attestation::default(), &keyring));
    assert!(matches!(nothing, ReceiptError::Elsewhere { round: Round(0), .. }), "{nothing}");
}

/// O7 and O6: the leaf of what had no effect holds no outcome, and no outcome has the hash zero.
#[test]
fn what_is_void_has_no_receipt() {
    let keyring = keyring(1);
    let past = past(&keyring);
    for outcome in [Bytes::new(), Bytes::from_static(&[0; 32]), executed("some")] {
        let mut receipt = past.receipt((2, 2), 2, &[0, 1, 2], &keyring);
        receipt.outcome = outcome;
        assert!(judge(&receipt, &keyring).is_err());
    }
}

#[test]
fn two_of_one_history_do_not_contradict_and_others_do() {
    let keyring = keyring(1);
    let (past, mut fork) = (past(&keyring), past(&keyring));
    let judged = |past: &Past, place, last| {
        judge(&past.receipt(place, last, &[0, 1], &keyring), &keyring).unwrap()
    };
    let all: Vec<Judged> = past
        .given()
        .into_iter()
        .flat_map(|p| [judged(&past, p, p.0), judged(&past, p, 7)])
        .collect();
    assert!(all.iter().all(|a| all.iter().all(|b| a.contradicts(b).is_none())));
    // Another vector from round 4 on, and the same vector with another output.
    fork.steps.truncate(3);
    let ran = past.steps[3].ran.clone();
    fork.add("fork", ran.clone());
    let other = judged(&fork, (3, 0), 3);
    let vectors = Some(Contradiction::Vectors(Round(4)));
    assert_eq!(other.contradicts(&judged(&past, (3, 1), 3)), vectors);
    assert_eq!(other.contradicts(&judged(&past, (0, 0), 7)), vectors);
    let twice = other.contradicts(&judged(&past, (3, 0), 3));
    assert_eq!(twice, vectors);
    fork.steps.truncate(3);
    let mut lie = ran;
    lie[1].outcome = Some(executed("a lie"));
    fork.add("main", lie.clone());
    let outputs = judged(&fork, (3, 0), 3).contradicts(&judged(&past, (3, 0), 3));
    assert_eq!(outputs, Some(Contradiction::Outputs(Round(4))));
    // The same number in another round.
    fork.steps.truncate(3);
    fork.add("main", vec![]);
    fork.add("main", vec![]);
    fork.add("main", lie);
    let again = judged(&fork, (5, 1), 5);
    let id = again.request;
    assert_eq!(again.contradicts(&judged(&past, (3, 1), 3)), Some(Contradiction::Twice(id)));
    assert_eq!(again.contradicts(&judged(&past, (0, 0), 0)), None);
}

// --- several proofs -----------------------------------------------------------------------------

#[test]
fn one_receipt_is_made_of_many_proofs() {
    let keyring = keyring(2);
    let past = past(&keyring);
    let ran = &past.steps[2].ran[3];
    let outcome = ran.outcome.clone().unwrap();
    let proof = |last: usize, by: &[(usize, usize)]| {
        let mut proof = past.proof((2, 3), last);
        proof.signed =
            by.iter().map(|(who, at)| signed(replica(*who), past.attest(*at), &keyring)).collect();
        proof
    };
    let make =
        |proofs: &[ReceiptProof]| assemble(ran.client, &ran.request, &outcome, proofs, &keyring);
    assert_eq!(make(&[]).unwrap_err(), ReceiptError::NoProof);
    // One is enough; steps that nobody attests are left out.
    let (receipt, judged) = make(&[proof(7, &[(0, 3), (1, 4), (2, 5)])]).unwrap();
    assert_eq!((receipt.proof.later.len(), judged.assurance), (3, Assurance::Majority));
    assert_eq!(judge(&receipt, &keyring), Ok(judged));
    // Together they are strong, whoever shows how far.
    let parts = [proof(3, &[(0, 3), (1, 2)]), proof(7, &[(0, 7), (2, 6)]), proof(5, &[(4, 4)])];
    let (receipt, judged) = make(&parts).unwrap();
    assert_eq!((receipt.proof.later.len(), judged.assurance), (4, Assurance::Strong));
    assert_eq!(judged.signers.len(), 4);
    let mut reversed = parts.to_vec();
    reversed.reverse();
    assert_eq!(make(&reversed).unwrap(), (receipt, judged));
    let few = make(&parts[..1]).unwrap_err();
    assert_eq!(few, ReceiptError::TooFew { have: 2, n: 5, need: 3, unknown: Members::NONE });
    // Of one replica the header that counts for more.
    let rolled = Attestation { rolled: true, ..past.attest(5) };
    let mut worse = proof(5, &[]);
    worse.signed = vec![signed(replica(0), rolled, &keyring)];
    let with = [worse, parts[0].clone(), parts[1].clone(), parts[2].clone()];
    assert_eq!(make(&with).unwrap().1.assurance, Assurance::Strong);
}

#[test]
fn proofs_of_liars_do_not_spoil_a_receipt() {
    let keyring = keyring(2);
    let past = past(&keyring);
    let ran = &past.steps[2].ran[3];
    let outcome = ran.outcome.clone().unwrap();
    let mut good = past.proof((2, 3), 3);
    good.signed = (2..5).map(|who| signed(replica(who), past.attest(3), &keyring)).collect();
    let lies = [
        past.proof((2, 4), 4),
        past.proof((3, 0), 4),
        {
            // A history of their own after the step, attested by the two of them.
            let mut fork = past.clone();
            fork.steps.truncate(3);
            fork.add("fork", vec![]);
            let mut proof = fork.proof((2, 3), 3);
            proof.signed =
                (0..2).map(|who| signed(replica(who), fork.attest(3), &keyring)).collect();
            proof
        },
        {
            let mut proof = good.clone();
            let forged = Unverified::new(proof.signed[0].peek().clone(), Signature([1; 64]));
            proof.signed = vec![forged; 31];
            proof
        },
    ];
    let make =
        |proofs: &[ReceiptProof]| assemble(ran.client, &ran.request, &outcome, proofs, &keyring);
    let proofs = [&lies[..], &[good]].concat();
    let (receipt, judged) = make(&proofs).unwrap();
    assert_eq!(judged.signers, (2..5).map(replica).collect());
    assert_eq!(judge(&receipt, &keyring), Ok(judged));
    assert_eq!(
        make(&lies).unwrap_err(),
        ReceiptError::TooFew { have: 2, n: 5, need: 3, unknown: Members::NONE }
    );
    let path = MerklePath { place: 3, leaves: 7, siblings: vec![] };
    let broken = ReceiptProof { path, ..lies[0].clone() };
    assert!(matches!(make(&[broken]).unwrap_err(), ReceiptError::Place { .. }));
}

// --- planted bugs -------------------------------------------------------------------------------

/// Whether a receipt that proves nothing is refused, and is believed under a planted bug.
fn caught(name: &'static str, receipt: &Receipt, keyring: &Ring) {
    assert!(judge(receipt, keyring).is_err(), "{name}");
    plant(Some(name));
    let believed = judge(receipt, keyring);
    plant(None);
    assert!(believed.is_ok(), "{name}: {believed:?}");
}

#[test]
fn planted_bugs_in_the_judging_are_caught() {
    let (whole, keyring, past) = whole();
    let t = keyring.ensemble().t();
    let mut twice = past.receipt((2, 3), 4, &[0, 1], &keyring);
    twice.proof.signed.push(signed(replica(1), past.attest(3), &keyring));
    caught("s6-signer-counts-twice", &twice, &keyring);
    // An epoch that never was, of liars alone.
    let liars: Members = (0..t).map(replica).collect();
    let mut forged = past.receipt((2, 3), 2, &[], &keyring);
    forged.outcome = executed("a lie");
    let steps = way(&forged, &keyring.context()).unwrap();
    let position = steps[0].position;
    let says = Attestation { position, running: steps[0].running, ..Attestation::default() };
    let epoch = Epoch { generation: 9, resets: 9, accused: 3 };
    let lie = |who| sign(Header { epoch, ..header(who, says, liars) }, &keyring, 0);
    forged.proof.signed = liars.iter().map(lie).collect();
    caught("s6-list-believed", &forged, &keyring);
    let mut moved = whole.clone();
    moved.proof.index = 4;
    caught("s6-index-unbound", &moved, &keyring);
    let mut earlier = whole;
    earlier.proof.position.round = Round(1);
    caught("s6-rounds-apart", &earlier, &keyring);
}

#[test]
fn a_planted_bug_in_what_is_strong_is_caught() {
    let (mut receipt, keyring, past) = whole();
    let rolled = Attestation { rolled: true, ..past.attest(4) };
    receipt.proof.signed = (0..4).map(|who| signed(replica(who), rolled, &keyring)).collect();
    assert_eq!(judge(&receipt, &keyring).unwrap().assurance, Assurance::Majority);
    plant(Some("s6-rolled-is-strong"));
    let believed = judge(&receipt, &keyring).unwrap().assurance;
    plant(None);
    assert_eq!(believed, Assurance::Strong);
}

#[test]
fn the_context_of_a_receipt_is_that_of_the_keyring() {
    let (receipt, ..) = whole();
    let Context { group, .. } = keyring(2).context();
    assert_eq!(group, GroupId::MAIN);
    for other in [keyring_of(2, "another", 0), keyring_of(2, "cluster", 1)] {
        assert!(matches!(judge(&receipt, &other), Err(ReceiptError::Signature { .. })));
    }
}
