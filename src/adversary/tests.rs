use super::*;
use crate::crypto::{Context, Ed25519, Keyed, Keyring, Scheme, SecretKey, Unverified, Verified};
use crate::replica::{Action, Actions, Input, Lane};
use crate::types::{ClockKind, Digest, Ensemble, Epoch, GroupId, Instant, LinkId, Members, Now};
use crate::types::{ReplicaId, Round, SessionId, Timing, Wall};
use crate::wire::{Attestation, CallMessage, Evidence, Frame, Kind, Message as _, Outcome};
use crate::wire::{Proof, Proposal, Replies, Reply, StepPosition};
use bytes::Bytes;
use std::str::FromStr;

#[test]
fn every_lie_has_a_name_of_its_own_and_is_found_by_it() {
    let names: std::collections::BTreeSet<&str> = Lie::all().map(Lie::name).collect();
    assert_eq!(names.len(), Lie::all().count());
    for lie in Lie::all() {
        assert_eq!(Lie::from_str(lie.name()), Ok(lie));
        assert_eq!(lie.attack::<Keyed>(1).name(), lie.name());
    }
    assert_eq!(ReplyLie::from_str("wrong-output"), Ok(ReplyLie::WrongOutput));
    let error = ReplyLie::from_str("white-lie").unwrap_err().to_string();
    assert!(error.contains("white-lie") && error.contains("corrupt-digest, silent-reply"));
}

fn replies(number: u64, output: &'static [u8]) -> Replies {
    let outcome = Outcome::Executed(vec![Bytes::from_static(output)]).to_bytes();
    let reply = Reply { session: SessionId(1), number, index: 0, outcome };
    let position = StepPosition { round: Round(4), vector: Digest([3; 32]) };
    Replies { position, rolled: false, replies: vec![reply] }
}

fn told(lie: ReplyLie, first: Replies, second: Replies) -> (Fate, Replies) {
    let mut attack = Lie::Reply(lie).attack::<Keyed>(7);
    let (mut first, mut second) = (first, second);
    attack.replies(Now::default(), LinkId(1), &mut first);
    (attack.replies(Now::default(), LinkId(1), &mut second), second)
}

#[test]
fn reply_lies_say_what_they_are_called() {
    let run = |lie| told(lie, replies(1, b"old"), replies(2, b"new"));
    let outcome = |r: &Replies| Outcome::parse(&r.replies[0].outcome).unwrap();

    let (fate, wrong) = run(ReplyLie::WrongOutput);
    assert_eq!(fate, Fate::Changed);
    assert_eq!(outcome(&wrong), Outcome::Executed(vec![Bytes::from_static(b"nev")]));
    assert_eq!(wrong, run(ReplyLie::WrongOutput).1, "liars agree on their lie");

    let (_, corrupt) = run(ReplyLie::CorruptDigest);
    assert_ne!(corrupt.position, replies(2, b"new").position);
    assert_eq!(corrupt.replies, replies(2, b"new").replies);

    assert_eq!(run(ReplyLie::SilentReply).0, Fate::Drop);

    let (_, stale) = run(ReplyLie::StaleReply);
    assert_eq!(outcome(&stale), Outcome::Executed(vec![Bytes::from_static(b"old")]));
    assert_eq!(stale.replies[0].number, 2);
}

fn proposal() -> Proposal {
    Proposal {
        epoch: Default::default(),
        members: Members::NONE,
        round: Round(3),
        replica: ReplicaId::from_index(2),
        choice: vec![Digest([1; 32]); 3],
        candidates: Vec::new(),
        changes: Vec::new(),
        now: 100,
        attestation: Attestation::default(),
    }
}

fn sent(lie: OrderingLie, to: usize) -> (Fate, Proposal) {
    let mut p = proposal();
    let mut attack = lie.attack::<Keyed>(1);
    let fate = attack.proposal(Now::default(), ReplicaId::from_index(to), &mut p);
    (fate, p)
}

#[test]
fn ordering_lies_change_what_they_are_called_after() {
    assert_eq!(sent(OrderingLie::HalfSend, 0).0, Fate::Keep);
    assert_eq!(sent(OrderingLie::HalfSend, 1).0, Fate::Drop);
    assert_eq!(sent(OrderingLie::SilentProposals, 0).0, Fate::Drop);
    let (first, second) = (sent(OrderingLie::Equivocate, 0), sent(OrderingLie::Equivocate, 1));
    assert_eq!((first.0, second.0), (Fate::Changed, Fate::Keep));
    assert_ne!(first.1, second.1);
    assert!(sent(OrderingLie::InvalidCandidates, 0).1.candidates[0].clock > 100);
    assert_ne!(sent(OrderingLie::WrongChoice, 0).1.choice, proposal().choice);
}

#[test]
fn lying_clocks_show_other_times_and_leave_timers_alone() {
    let at = |s: u64| Now { monotonic: crate::types::Instant(s), wall: Wall(s * 1_000_000) };
    let shown = |lie: OrderingLie, s| {
        let mut attack = lie.attack::<Keyed>(1);
        let first = attack.now(at(s));
        assert_eq!(first.monotonic, at(s).monotonic);
        (first.wall, attack.now(at(s + 10)).wall)
    };
    assert_eq!(shown(OrderingLie::ClockEarly, 5), (at(4).wall, at(14).wall));
    assert_eq!(shown(OrderingLie::ClockLate, 5), (at(6).wall, at(16).wall));
    let (a, b) = shown(OrderingLie::AlwaysLowest, 50);
    assert!(a == b && a < at(50).wall);
    assert!(shown(OrderingLie::ClockHuge, 5).0.0 > 1 << 61);
    let lowest = OrderingLie::AlwaysLowest.attack::<Keyed>(1);
    assert_eq!(lowest.clock(), Some(ClockKind::RealTime));
}

/// A group of three whose last member lies, with real keys.
struct Hand {
    keyring: Keyring<Ed25519>,
    signers: Vec<<Ed25519 as Scheme>::Signer>,
}

impl Hand {
    fn new() -> Self {
        let secrets: Vec<SecretKey> = (1..=3).map(|i| SecretKey::from_seed([i; 32])).collect();
        let keys = secrets.iter().map(SecretKey::public).collect();
        let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
        let keyring = Keyring::new(context, Ensemble::new(1).unwrap(), keys).unwrap();
        Self { keyring, signers: secrets.iter().map(Ed25519::signer).collect() }
    }

    fn pen(&self) -> Pen<'_, Ed25519> {
        let timing = Timing::from_delta(std::time::Duration::from_millis(100));
        Pen::new(ReplicaId::from_index(2), timing, &self.keyring, &self.signers[2])
    }

    fn frame_of(&self, signer: usize, round: u64) -> Bytes {
        let replica = ReplicaId::from_index(signer);
        let members = self.keyring.ensemble().all();
        let proposal = Proposal { round: Round(round), replica, members, ..proposal() };
        Verified::sign::<Ed25519>(proposal, &self.keyring, &self.signers[signer])
            .to_frame(GroupId::MAIN)
            .into()
    }

    /// What it adds after a proposal of its own of this round.
    fn added(&self, attack: &mut dyn Attack<Ed25519>, round: u64) -> Vec<(ReplicaId, Frame)> {
        let members = self.keyring.ensemble().all();
        let mut own = Proposal { round: Round(round), members, ..proposal() };
        attack.proposal(Now::default(), ReplicaId::from_index(0), &mut own);
        let mut out = Actions::new();
        attack.add(Now::default(), &self.pen(), &mut out);
        out.into_iter().map(sent_to).collect()
    }
}

fn sent_to(action: Action) -> (ReplicaId, Frame) {
    match action {
        Action::ToPeer { peer, frame, .. } => (peer, Frame::parse(frame).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_withholds_takes_part_in_each_epoch_for_a_while() {
    let mut attack = Withhold::default();
    let mut fate = |generation, round| {
        let epoch = Epoch { generation, ..Epoch::GENESIS };
        let mut p = Proposal { epoch, round: Round(round), ..proposal() };
        Attack::<Keyed>::proposal(&mut attack, Now::default(), ReplicaId::from_index(0), &mut p)
    };
    assert!((1..=20).all(|round| fate(0, round) == Fate::Keep));
    assert!((21..=30).all(|round| fate(0, round) == Fate::Drop));
    assert!((31..=50).all(|round| fate(2, round) == Fate::Keep));
    assert_eq!(fate(2, 51), Fate::Drop);
}

/// Somebody always gets it: otherwise it would be silence.
#[test]
fn one_that_is_selective_sends_each_proposal_to_one_of_two() {
    for own in 0..3 {
        let mut attack = Selective::default();
        for round in 1..9 {
            let replica = ReplicaId::from_index(own);
            let mut p = Proposal { replica, round: Round(round), ..proposal() };
            let others = (0..3).filter(|i| *i != own).map(ReplicaId::from_index);
            let mut send = |to| Attack::<Keyed>::proposal(&mut attack, Now::default(), to, &mut p);
            let kept = others.filter(|to| send(*to) == Fate::Keep).count();
            assert_eq!(kept, 1, "R{} in round {round}", own + 1);
        }
    }
}

#[test]
fn false_blames_are_well_signed_and_name_all_others() {
    let hand = Hand::new();
    let mut attack = FalseBlame::default();
    let added = hand.added(&mut attack, 5);
    let mut accused = std::collections::BTreeSet::new();
    for (_, frame) in added.iter().filter(|(_, f)| f.kind == Kind::Blame) {
        let blame = Unverified::<crate::wire::Blame>::from_body(&frame.body).unwrap();
        accused.insert(blame.verify(&hand.keyring).unwrap().accused.number());
    }
    assert_eq!(accused.into_iter().collect::<Vec<_>>(), [1, 2]);
    let count = |kind| added.iter().filter(|(_, f)| f.kind == kind).count();
    assert_eq!((count(Kind::Call), count(Kind::Stalled)), (4, 2));
    assert!(hand.added(&mut attack, 6).is_empty());
    let again = hand.added(&mut attack, 13);
    assert!(!again.is_empty() && again.iter().all(|(_, f)| f.kind != Kind::Stalled));
}

#[test]
fn forgeries_prove_nothing_and_are_not_signed_by_whom_they_name() {
    let hand = Hand::new();
    let mut attack = Forge::new(1);
    assert!(hand.added(&mut attack, 1).is_empty(), "it has heard of nobody yet");
    let frame = Frame::parse(hand.frame_of(0, 4)).unwrap();
    let input = Input::PeerFrame { peer: ReplicaId::from_index(0), frame };
    let mut heard = Vec::new();
    Attack::<Ed25519>::hear(&mut attack, Now::default(), input, &mut heard);
    assert_eq!(heard.len(), 1);
    let added = hand.added(&mut attack, 2);
    let (_, call) = added.iter().find(|(_, f)| f.kind == Kind::Call).unwrap();
    let call = CallMessage::from_body(&call.body).unwrap();
    assert_eq!(call.evidence.len(), 2);
    for evidence in call.evidence {
        let Evidence::Proof(proof) = evidence else { panic!("{evidence:?}") };
        assert!(matches!(*proof, Proof::Equivocation(..)));
        assert!(crate::proof::convict(&proof, &hand.keyring, 4096).is_err());
    }
    let (_, forged) = added.iter().find(|(_, f)| f.kind == Kind::Proposal).unwrap();
    let forged = Unverified::<Proposal>::from_body(&forged.body).unwrap();
    assert_eq!(forged.peek().replica.number(), 1);
    assert!(forged.verify(&hand.keyring).is_err());
}

#[test]
fn one_that_drips_holds_its_own_proposals_for_less_than_patience() {
    let hand = Hand::new();
    let at = |ms: u64| Now { monotonic: Instant(ms * 1_000_000), wall: Wall(0) };
    let mut out = Actions::new();
    let mut attack: Box<dyn Attack<Ed25519>> = Box::new(SlowDrip::new(EpochLie::SlowDrip));
    attack.add(at(0), &hand.pen(), &mut out);
    let to = |signer| Action::ToPeer {
        peer: ReplicaId::from_index(0),
        lane: Lane::Protocol,
        frame: hand.frame_of(signer, 4),
    };
    attack.act(at(10), to(2), &mut out);
    attack.act(at(11), to(1), &mut out);
    assert_eq!(out, [to(1)], "those of others pass");
    assert_eq!(attack.wake(), Some(at(10 + 357).monotonic));
    out.clear();
    attack.add(at(366), &hand.pen(), &mut out);
    assert!(out.is_empty());
    attack.add(at(367), &hand.pen(), &mut out);
    assert_eq!((out, attack.wake()), (vec![to(2)], None));
    // 0.7 of 5 x 4 ms + 10 ms, where there is a budget; of patience where there is none.
    let held = |lie, lag| {
        let mut attack: Box<dyn Attack<Ed25519>> = Box::new(SlowDrip::new(lie));
        let mut pen = hand.pen();
        pen.timing.lag = lag;
        attack.add(at(0), &pen, &mut Actions::new());
        attack.act(at(10), to(2), &mut Actions::new());
        attack.wake()
    };
    let ms = std::time::Duration::from_millis;
    let lag = Some(crate::types::Lag { delta: ms(4), budget: ms(50) });
    assert_eq!(held(EpochLie::SlowUsual, lag), Some(at(10 + 21).monotonic));
    assert_eq!(held(EpochLie::SlowUsual, None), Some(at(10 + 357).monotonic));
    assert_eq!(held(EpochLie::SlowDrip, lag), Some(at(10 + 357).monotonic));
}

/// C3: what a liar says of large results. Digests pass as they are.
#[test]
fn lies_about_large_results_keep_the_digests_and_not_the_wholes() {
    use crate::wire::{Digests, OutcomeDigest, ReplyDigest};
    let whole = replies(1, b"large");
    let digest = ReplyDigest::of(&whole.replies[0], ReplicaId::from_index(2));
    let digests = Digests { position: whole.position, rolled: false, digests: vec![digest] };
    let sent = |lie, frame: Vec<u8>| {
        let mut attack = Lie::Whole(lie).attack::<Keyed>(1);
        let mut out = Actions::new();
        let action = Action::ToClient { link: LinkId(1), frame: frame.into() };
        attack.act(Now::default(), action, &mut out);
        match &out[..] {
            [Action::ToClient { frame, .. }] => Frame::parse(frame.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    for lie in WholeLie::ALL {
        assert_eq!(Lie::from_str(lie.name()), Ok(Lie::Whole(lie)));
        let mut attack = Lie::Whole(lie).attack::<Keyed>(1);
        let fate = attack.digests(Now::default(), LinkId(1), &mut digests.clone());
        assert_eq!(fate, Fate::Keep);
        assert_eq!(sent(lie, digests.to_frame(GroupId::MAIN)).kind, Kind::Digests);
        let mut told = whole.clone();
        let fate = attack.replies(Now::default(), LinkId(1), &mut told);
        let kind = sent(lie, whole.to_frame(GroupId::MAIN)).kind;
        match lie {
            WholeLie::DigestOnly => assert_eq!((fate, kind), (Fate::Keep, Kind::Digests)),
            WholeLie::NoWhole => assert_eq!((fate, kind), (Fate::Drop, Kind::Replies)),
            WholeLie::UnfittingWhole => {
                assert_eq!((fate, kind), (Fate::Changed, Kind::Replies));
                let (right, said) = (&whole.replies[0].outcome, &told.replies[0].outcome);
                let (right, said) = (OutcomeDigest::of(right), OutcomeDigest::of(said));
                assert!(right.bytes == said.bytes && right.output != said.output);
            }
        }
    }
    let frame = sent(WholeLie::DigestOnly, whole.to_frame(GroupId::MAIN));
    let short = Digests::from_body(&frame.body).unwrap();
    assert_eq!(short.digests[0].outcome, digests.digests[0].outcome);
}
