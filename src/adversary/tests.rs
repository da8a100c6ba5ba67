use super::*;
use crate::crypto::Keyed;
use crate::types::{ClockKind, Digest, LinkId, Members, Now, ReplicaId, Round, SessionId, Wall};
use crate::wire::{Attestation, Outcome, Proposal, Replies, Reply, StepPosition};
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
