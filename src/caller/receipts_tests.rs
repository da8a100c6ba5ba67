//! Step tables: receipts, gathered after the answer (§6).

use super::*;
use crate::crypto::{
    Domain, Keyed, Keyring, Leaf, MerkleTree, Scheme, SecretKey, Unverified, Verified, hash,
    running_root,
};
use crate::types::Assurance;
use crate::wire::{
    Attestation, CandidateSummary, Header, NoReceipt, ReceiptAnswer, ReceiptProof, WantReceipt,
};

fn secret(i: u8) -> SecretKey {
    SecretKey::from_seed([i; 32])
}

fn keyring() -> Keyring<Keyed> {
    let keys = (1..=3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    Keyring::new(setup(1).context, Ensemble::new(1).unwrap(), keys).unwrap()
}

fn with_keys(assurance: Assurance) -> Setup {
    Setup { receipts: Some(ReceiptKeys::new(keyring())), assurance, ..setup(1) }
}

/// The header of a proposal of one replica two rounds after a step.
fn signed(i: u8, running: Digest, position: StepPosition, rolled: bool) -> Unverified<Header> {
    let (ensemble, ring) = (Ensemble::new(1).unwrap(), keyring());
    let (checkpoint, state, delta_held) = (Round(0), Digest::ZERO, true);
    let header = Header {
        epoch: Epoch::GENESIS,
        members: ensemble.all(),
        round: Round(position.round.0 + 2),
        replica: r(i),
        choice: vec![],
        candidates: CandidateSummary::default(),
        changes: Digest::ZERO,
        now: 1,
        attestation: Attestation { position, running, checkpoint, state, rolled, delta_held },
    };
    Verified::sign::<Keyed>(header, &ring, &Keyed::signer(&secret(i))).into()
}

/// The proof that a request had this outcome in round 1, at index 0 of a step of three, signed by
/// these.
fn proof(request: &Request, outcome: &Outcome, signers: &[u8]) -> ReceiptProof {
    proof_rolled(request, outcome, signers, &[])
}

fn proof_rolled(
    request: &Request,
    outcome: &Outcome,
    signers: &[u8],
    rolled: &[u8],
) -> ReceiptProof {
    let Setup { context, client, .. } = setup(1);
    let leaf = |index: u32| Leaf {
        request: match index {
            0 => request.digest(&context, &client),
            _ => hash(Domain::Request, &[index as u8]),
        },
        index,
        output: hash(Domain::Output, &outcome.to_bytes()),
    };
    let tree = MerkleTree::new(&[leaf(0), leaf(1), leaf(2)]);
    let position = StepPosition { round: Round(1), vector: Digest([1; 32]) };
    let before = Digest([4; 32]);
    let running = running_root(&before, &position.vector, &tree.root());
    let signed = signers.iter().map(|i| signed(*i, running, position, rolled.contains(i)));
    let (path, later) = (tree.path(0).unwrap(), vec![]);
    ReceiptProof { position, index: 0, before, path, later, signed: signed.collect() }
}

impl World {
    fn call_for_receipt(&mut self, token: u64) -> Request {
        let commands = vec![command("put")];
        self.input(Input::CallForReceipt { token: Token(token), commands });
        self.drained();
        self.latest()
    }

    fn show(&mut self, i: u8, request: &Request, result: Result<ReceiptProof, NoReceipt>) {
        let (session, number) = (request.session, request.number);
        let answer = ReceiptAnswer { session, number, result };
        self.frame(i, Kind::Receipt, body_of(&answer));
    }

    /// Who was asked for a receipt since the last look, and for what.
    fn wants(&mut self) -> Vec<(u8, WantReceipt)> {
        let mut wants = vec![];
        for (to, bytes) in std::mem::take(&mut self.sends) {
            let mut decoder = FrameDecoder::default();
            decoder.push(bytes);
            while let Some(frame) = decoder.next_frame().unwrap() {
                if frame.kind == Kind::WantReceipt {
                    wants.push((to, WantReceipt::from_body(&frame.body).unwrap()));
                }
            }
        }
        wants
    }

    fn trouble(&self) -> String {
        let [(_, Err(why))] = &self.receipts[..] else { panic!("{:?}", self.receipts) };
        why.to_string()
    }
}

/// A request that two have answered; all were asked for its receipt.
fn accepted(assurance: Assurance) -> (World, Request, Outcome) {
    let mut w = World::open(with_keys(assurance));
    let request = w.call_for_receipt(1);
    let outcome = executed(&["done"]);
    (1..=assurance.needs(Ensemble::new(1).unwrap()) as u8).for_each(|i| {
        w.say(i, &request, &outcome);
    });
    w.drained();
    (w, request, outcome)
}

#[test]
fn an_answer_is_proven_by_the_first_proof_that_is_enough() {
    let (mut w, request, outcome) = accepted(Assurance::Majority);
    let wants = w.wants();
    assert_eq!(wants.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [1, 2, 3]);
    let position = StepPosition { round: Round(1), vector: Digest([1; 32]) };
    let (session, number, index, assurance) = (SESSION, request.number, 0, Assurance::Majority);
    let want = WantReceipt { session, number, position, index, assurance };
    assert!(wants.iter().all(|(_, asked)| *asked == want));
    assert!(w.done.is_empty(), "the receipt comes first");
    w.show(3, &request, Ok(proof(&request, &outcome, &[1, 3])));
    let [(1, Ok(proven))] = &w.receipts[..] else { panic!("{:?}", w.receipts) };
    assert_eq!(proven.judged.signers, [r(1), r(3)].into_iter().collect());
    assert_eq!(proven.receipt.outcome, outcome.to_bytes());
    assert_eq!(w.outputs(1), [b"done"]);
    // What comes then changes nothing.
    w.show(1, &request, Ok(proof(&request, &outcome, &[1, 2])));
    assert_eq!((w.receipts.len(), w.done.len(), w.closed.len()), (1, 1, 0));
}

#[test]
fn signatures_of_several_proofs_add_up() {
    let (mut w, request, outcome) = accepted(Assurance::Strong);
    w.show(1, &request, Ok(proof(&request, &outcome, &[1, 2])));
    assert!(w.receipts.is_empty(), "that is a majority and no more");
    w.show(2, &request, Ok(proof(&request, &outcome, &[3])));
    let [(1, Ok(proven))] = &w.receipts[..] else { panic!("{:?}", w.receipts) };
    assert_eq!(proven.judged.assurance, Assurance::Strong);
}

#[cfg(feature = "plant")]
#[test]
fn a_weak_receipt_for_a_strong_one_is_noticed() {
    crate::types::plant::plant(Some("s6-weak-receipt"));
    let caught = std::panic::catch_unwind(signatures_of_several_proofs_add_up).is_err();
    crate::types::plant::plant(None);
    assert!(caught);
}

/// Whoever once gave up what it had executed does not count for a strong receipt.
#[test]
fn who_rolled_back_counts_for_no_strong_receipt() {
    let (mut w, request, outcome) = accepted(Assurance::Strong);
    w.show(1, &request, Ok(proof_rolled(&request, &outcome, &[1, 2, 3], &[2])));
    assert!(w.receipts.is_empty());
    w.at(1000);
    assert!(w.trouble().contains("strong"), "{}", w.trouble());
    assert_eq!(w.outputs(1), [b"done"], "the answer is not lost");
}

/// A false proof costs its giver its say, and the others are still heard.
#[test]
fn lies_do_not_keep_the_truth_away() {
    let lies: [fn(&mut ReceiptProof); 5] = [
        |p| p.before = Digest([5; 32]),
        |p| p.path.siblings[0] = Digest::ZERO,
        |p| p.signed.truncate(1),
        |p| (p.path.place, p.path.siblings) = (1, vec![Digest::ZERO; 2]),
        |p| p.position.vector = Digest([2; 32]),
    ];
    for (place, lie) in lies.into_iter().enumerate() {
        let (mut w, request, outcome) = accepted(Assurance::Majority);
        let mut false_one = proof(&request, &outcome, &[1, 2]);
        lie(&mut false_one);
        w.show(1, &request, Ok(false_one));
        assert!(w.receipts.is_empty() && w.done.is_empty(), "lie {place}");
        let other = proof(&request, &executed(&["other"]), &[1, 2]);
        w.show(2, &request, Ok(other));
        assert!(w.receipts.is_empty(), "lie {place}");
        w.show(3, &request, Ok(proof(&request, &outcome, &[2, 3])));
        assert!(matches!(w.receipts[..], [(1, Ok(_))]), "lie {place}: {:?}", w.receipts);
    }
}

/// Each replica is heard once for each time that it was asked.
#[test]
fn who_was_not_asked_is_not_heard() {
    let (mut w, request, outcome) = accepted(Assurance::Majority);
    w.show(1, &request, Err(NoReceipt::TooOld));
    w.show(1, &request, Ok(proof(&request, &outcome, &[1, 2])));
    assert!(w.receipts.is_empty());
    w.down(2);
    w.wants();
    w.up(2);
    w.drained();
    assert_eq!(w.wants().len(), 1, "a new link is asked");
    w.show(2, &request, Ok(proof(&request, &outcome, &[1, 2])));
    assert!(matches!(w.receipts[..], [(1, Ok(_))]));
    // Before the request is accepted, and for what is not known, nobody is heard either.
    let request = w.call_for_receipt(2);
    w.show(1, &request, Ok(proof(&request, &outcome, &[1, 2])));
    let unknown = Request { number: 99, ..request };
    w.show(1, &unknown, Err(NoReceipt::Busy));
    assert_eq!(w.receipts.len(), 1);
    assert!(w.closed.is_empty());
}

#[test]
fn replicas_that_gave_nothing_are_asked_again_until_the_time_is_over() {
    let (mut w, request, outcome) = accepted(Assurance::Majority);
    w.wants();
    w.show(1, &request, Err(NoReceipt::TooOld));
    w.show(2, &request, Ok(proof(&request, &outcome, &[2])));
    w.at(100);
    let again: Vec<u8> = w.wants().into_iter().map(|(to, _)| to).collect();
    assert_eq!(again, [1, 2, 3]);
    w.at(200);
    assert!(w.wants().is_empty(), "the distance grows");
    w.at(310);
    assert_eq!(w.wants().len(), 3);
    w.at(999);
    assert!(w.receipts.is_empty() && w.done.is_empty());
    w.at(1000);
    let said = w.trouble();
    assert!(said.contains("1 of 3 replicas") && said.contains("it takes 2"), "{said}");
    assert!(said.contains("R1") && said.contains("any more"), "{said}");
    assert_eq!(w.outputs(1), [b"done"], "the answer is not lost");
    assert_eq!(w.caller.next_wake(), None);
}

/// O6: replicas keep a reply as long as its receipt may be asked for.
#[test]
fn the_low_water_mark_stays_below_a_request_whose_receipt_is_awaited() {
    let (mut w, first, outcome) = accepted(Assurance::Majority);
    w.sends.clear();
    let second = w.call(2, "get");
    assert_eq!((second.number, second.low), (first.number + 1, first.number));
    w.say(1, &second, &executed(&["x"]));
    w.say(2, &second, &executed(&["x"]));
    assert_eq!(w.outputs(2), [b"x"], "others go on meanwhile");
    w.show(1, &first, Ok(proof(&first, &outcome, &[1, 2])));
    w.sends.clear();
    let third = w.call(3, "get");
    assert_eq!(third.low, third.number);
}

/// A refusal by the order has a place in it like any other outcome.
#[test]
fn a_refusal_has_a_receipt_too() {
    let mut w = World::open(with_keys(Assurance::Majority));
    let request = w.call_for_receipt(1);
    let outcome = Outcome::Refused(Refusal::OutputTooLarge);
    (1..=2).for_each(|i| w.say(i, &request, &outcome));
    w.show(1, &request, Err(NoReceipt::NotExecuted));
    w.drained();
    w.show(2, &request, Ok(proof(&request, &outcome, &[1, 2])));
    assert!(matches!(w.receipts[..], [(1, Ok(_))]), "{:?}", w.receipts);
    assert!(matches!(w.error(1), CallError::Refused { why: Refusal::OutputTooLarge, .. }));
}

/// A request without an answer has no receipt, and says nothing of one.
#[test]
fn without_an_answer_there_is_no_word_of_a_receipt() {
    let mut w = World::open(with_keys(Assurance::Majority));
    let request = w.call_for_receipt(1);
    w.say(1, &request, &executed(&["done"]));
    w.at(1000);
    assert!(matches!(w.error(1), CallError::NoMajority { .. }) && w.receipts.is_empty());
}

/// What was answered is not lost with the session.
#[test]
fn a_lost_session_ends_what_waits_for_receipts_with_its_answer() {
    let (mut w, _, _) = accepted(Assurance::Majority);
    w.sends.clear();
    let second = w.call(2, "get");
    let lost = Outcome::Refused(Refusal::UnknownSession);
    (1..=2).for_each(|i| w.say(i, &second, &lost));
    assert_eq!(w.trouble(), ReceiptTrouble::SessionLost.to_string());
    assert_eq!(w.outputs(1), [b"done"]);
}

#[test]
fn who_cannot_judge_receipts_asks_for_none() {
    let mut w = World::open(setup(1));
    let commands = vec![command("put")];
    w.input(Input::CallForReceipt { token: Token(1), commands });
    w.drained();
    assert!(w.sends.is_empty() && w.trouble().contains("no keys"));
    assert!(matches!(w.error(1), CallError::Unacceptable(_)));
}
