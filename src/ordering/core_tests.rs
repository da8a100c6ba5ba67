//! Step tables on the core: the R rules, with proposals handed over by hand.

use super::*;
use crate::crypto::VerifyError;
use crate::crypto::{Context, KeyChange, Keyed, PublicKey, SecretKey, Unverified, Verified};
use crate::types::{ClockKind, DiskState, Ensemble, GroupId, Wall};

use crate::types::{AgreedTime, Call, Cuid, Root, Uid};
use crate::wire::StepPosition;
use crate::wire::{Author, Blame, BlameStep, Change, Proposal, SignedChange, Stalled};
use std::sync::Arc;
use std::time::Duration;

const DELTA: Duration = Duration::from_millis(100);

fn secret(i: usize) -> SecretKey {
    SecretKey::from_seed([i as u8 + 1; 32])
}

fn keyring(t: u8) -> Keyring<Keyed> {
    let ensemble = Ensemble::new(t).unwrap();
    let keys = (0..ensemble.n()).map(|i| Keyed::public(&Keyed::signer(&secret(i))));
    let keys: Vec<PublicKey> = keys.collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    Keyring::new(context, ensemble, keys).unwrap()
}

fn at(ms: u64) -> Now {
    Now { monotonic: Instant(ms * 1_000_000), wall: Wall(1_000_000 + ms * 1000) }
}

fn core_of(i: usize, t: u8, restarted: bool) -> Core<Keyed> {
    core_on(i, t, if restarted { DiskState::Known } else { DiskState::New })
}

fn core_on(i: usize, t: u8, disk: DiskState) -> Core<Keyed> {
    let setup = Setup {
        id: ReplicaId::from_index(i),
        keyring: keyring(t),
        signer: Keyed::signer(&secret(i)),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(DELTA),
        clock: ClockKind::Hybrid,
        limits: OrderLimits::default(),
        seed: 5,
        incarnation: 1 + u64::from(disk == DiskState::Known),
        recovered: Vec::new(),
        strict: false,
        replays: false,
        disk,
    };
    Core::new(setup, at(0))
}

/// A core that has heard of everybody.
fn ready(i: usize) -> Core<Keyed> {
    let mut core = core_of(i, 1, false);
    for other in (0..3).filter(|o| *o != i) {
        let up = Input::PeerUp { peer: ReplicaId::from_index(other), complete: Round(0) };
        assert!(act(&mut core, 0, up).is_empty());
    }
    core
}

fn act(core: &mut Core<Keyed>, ms: u64, input: Input) -> Vec<Action> {
    let mut out = Vec::new();
    core.handle(at(ms), input, &mut out);
    out
}

fn drain(core: &mut Core<Keyed>, ms: u64) -> Vec<Held> {
    let sent = |a| match a {
        Action::Broadcast(p) => Some(p),
        _ => None,
    };
    act(core, ms, Input::Drained).into_iter().filter_map(sent).collect()
}

fn see(core: &mut Core<Keyed>, ms: u64, n: u8) {
    assert!(act(core, ms, Input::Seen { request: Digest([n; 32]) }).is_empty());
}

fn give(core: &mut Core<Keyed>, ms: u64, p: &Held) -> Vec<Action> {
    act(core, ms, Input::Proposal(p.clone()))
}

/// Changes a proposal and signs it again with the sender's key: what a liar can do.
fn resign(p: &Held, change: impl FnOnce(&mut Proposal)) -> Held {
    let mut forged = p.message().clone();
    change(&mut forged);
    let signer = Keyed::signer(&secret(forged.replica.index()));
    Arc::new(Verified::sign(forged, &keyring(1), &signer))
}

fn steps(actions: &[Action]) -> Vec<Vec<u8>> {
    let step = |a: &Action| match a {
        Action::Committed(s) => Some(s.requests.iter().map(|o| o.digest.0[0]).collect()),
        _ => None,
    };
    actions.iter().filter_map(step).collect()
}

/// Runs one round over three cores that all have work; gives each core's actions on completion.
fn round(cores: &mut [Core<Keyed>], ms: u64) -> Vec<Vec<Action>> {
    let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, ms)).collect();
    assert_eq!(sent.len(), cores.len(), "everybody has work");
    let give_all = |(i, core): (usize, &mut Core<Keyed>)| {
        let others = sent.iter().enumerate().filter(|(j, _)| *j != i);
        others.flat_map(|(_, p)| give(core, ms, p)).collect()
    };
    cores.iter_mut().enumerate().map(give_all).collect()
}

#[test]
fn a_request_alone_runs_after_two_exchanges() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    assert!(round(&mut cores, 1).iter().all(|a| steps(a).is_empty()));
    for actions in round(&mut cores, 2) {
        assert_eq!(steps(&actions), [vec![7]]);
    }
    assert!(cores.iter_mut().all(|c| drain(c, 3).is_empty()), "R6: no work, no round");
    assert!(cores.iter().all(|c| c.committed() == Round(1) && c.complete() == Round(2)));
}

#[test]
fn r1_no_proposal_of_the_next_round_before_the_vector_is_complete() {
    let (mut one, mut two) = (ready(0), ready(1));
    see(&mut one, 1, 7);
    see(&mut two, 1, 7);
    drain(&mut one, 1);
    let from_two = drain(&mut two, 1).remove(0);
    give(&mut one, 2, &from_two);
    see(&mut one, 3, 8);
    assert!(drain(&mut one, 3).is_empty(), "R3's proposal is missing");
    assert!(act(&mut one, 5000, Input::Tick).iter().all(|a| !matches!(a, Action::Broadcast(_))));
}

#[test]
fn r1_a_vector_needs_one_choice() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    let second: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, 2)).collect();
    let other = resign(&second[2], |p| p.choice[0] = Digest([0xee; 32]));
    give(&mut cores[0], 2, &second[1]);
    let out = give(&mut cores[0], 2, &other);
    assert!(steps(&out).is_empty());
    assert_eq!(cores[0].complete(), Round(1));
    assert!(!out.iter().any(|a| matches!(a, Action::Event(Event::Invalid { .. }))), "not judged");
    // The one that chooses as everybody does completes it, whatever came before.
    let out = give(&mut cores[0], 2, &second[2]);
    assert!(matches!(out[0], Action::Event(Event::Equivocation { .. })));
    assert_eq!(steps(&out), [vec![7]]);
}

#[test]
fn r4_invalid_proposals_are_reported_and_count_as_missing() {
    type Change = fn(&mut Proposal);
    let changes: [(&str, Change); 5] = [
        ("candidates not increasing", |p| p.candidates[1].clock = p.candidates[0].clock),
        ("a candidate above now", |p| p.candidates[1].clock = p.now + 1),
        ("a clock that goes back", |p| p.now = 1),
        ("a candidate below the last round's", |p| p.candidates[0].clock = 1),
        ("too many", |p| {
            p.candidates = (0..5000)
                .map(|i| Candidate { clock: p.now - 5000 + i, request: Digest([i as u8; 32]) })
                .collect();
        }),
    ];
    for (what, change) in changes {
        let mut cores: Vec<_> = (0..3).map(ready).collect();
        cores.iter_mut().for_each(|c| see(c, 100, 7));
        round(&mut cores, 100);
        for n in [8, 9] {
            cores.iter_mut().for_each(|c| see(c, 200, n));
        }
        let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, 200)).collect();
        give(&mut cores[0], 200, &sent[1]);
        let out = give(&mut cores[0], 200, &resign(&sent[2], change));
        let invalid = out.iter().any(|a| matches!(a, Action::Event(Event::Invalid { .. })));
        assert!(invalid, "{what}");
        assert_eq!((cores[0].complete(), cores[0].stats().invalid), (Round(1), 1), "{what}");
    }
}

/// A round ahead is not judged and not lost: links overtake each other.
#[test]
fn r4_a_proposal_of_a_round_ahead_waits() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    let first: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, 1)).collect();
    for i in [1, 2] {
        (0..3).filter(|j| *j != i).for_each(|j| drop(give(&mut cores[i], 1, &first[j])));
    }
    let ahead: Vec<Held> = cores[1..].iter_mut().flat_map(|c| drain(c, 2)).collect();
    assert!(ahead.iter().all(|p| p.round == Round(2)));
    for p in ahead.iter().chain(&first[1..]) {
        give(&mut cores[0], 3, p);
    }
    assert_eq!(cores[0].complete(), Round(1));
    let own = drain(&mut cores[0], 3);
    assert_eq!((own.len(), cores[0].complete(), cores[0].committed()), (1, Round(2), Round(1)));
}

#[test]
fn r5_what_is_missing_is_asked_for_after_two_delta_and_then_every_patience() {
    let mut one = ready(0);
    see(&mut one, 10, 7);
    drain(&mut one, 10);
    let asks = |out: Vec<Action>| {
        let who = |a: &Action| match a {
            Action::Ask(w) => Some((w.round.0, w.replica.number())),
            _ => None,
        };
        out.iter().filter_map(who).collect::<Vec<_>>()
    };
    assert_eq!(one.next_wake(), Some(at(210).monotonic));
    assert!(asks(act(&mut one, 209, Input::Tick)).is_empty());
    assert_eq!(asks(act(&mut one, 210, Input::Tick)), [(1, 2), (1, 3)]);
    assert!(asks(act(&mut one, 211, Input::Tick)).is_empty());
    assert_eq!(asks(act(&mut one, 210 + 510, Input::Tick)), [(1, 2), (1, 3)]);
}

#[cfg(feature = "plant")]
#[test]
fn r5_what_is_planted_is_not_asked_for() {
    let mut one = ready(0);
    see(&mut one, 10, 7);
    drain(&mut one, 10);
    crate::types::plant::plant(Some("r5-never-ask"));
    let said = act(&mut one, 210, Input::Tick);
    crate::types::plant::plant(None);
    assert!(!said.iter().any(|a| matches!(a, Action::Ask(_))), "{said:?}");
}

#[test]
fn r5_a_want_is_answered_now_or_when_the_proposal_comes() {
    let (mut one, mut two) = (ready(0), ready(1));
    see(&mut two, 1, 7);
    let p = drain(&mut two, 1).remove(0);
    let (epoch, digest) = (Epoch::GENESIS, Digest::ZERO);
    let want = Want { epoch, round: Round(1), replica: ReplicaId::from_index(1), digest };
    let from = ReplicaId::from_index(2);
    assert!(act(&mut one, 2, Input::Want { from, want }).is_empty());
    let out = give(&mut one, 3, &p);
    assert!(matches!(&out[..], [Action::Send { to, proposal }] if *to == from && *proposal == p));
    let out = act(&mut one, 4, Input::Want { from, want });
    assert!(matches!(&out[..], [Action::Send { to, .. }] if *to == from));
    // Nobody is remembered for what cannot come: no memory for nonsense.
    for round in [Round(0), Round(6), Round(u64::MAX)] {
        assert!(act(&mut one, 5, Input::Want { from, want: Want { round, ..want } }).is_empty());
    }
}

#[test]
fn r5_two_proposals_of_one_replica_are_reported_once_and_a_third_is_not_kept() {
    let (mut one, mut two) = (ready(0), ready(1));
    see(&mut two, 1, 7);
    let first = drain(&mut two, 1).remove(0);
    let second = resign(&first, |p| p.candidates.clear());
    let third = resign(&first, |p| p.now += 1);
    assert!(give(&mut one, 1, &first).is_empty());
    assert!(give(&mut one, 1, &first).is_empty(), "the same again is no lie");
    assert!(matches!(give(&mut one, 1, &second)[0], Action::Event(Event::Equivocation { .. })));
    assert!(give(&mut one, 1, &third).is_empty());
    assert!(!one.is_news(third.message()));
}

#[test]
fn r6_a_member_without_work_joins_after_join_delay_and_with_work_at_once() {
    let (mut one, mut two) = (ready(0), ready(1));
    see(&mut two, 1, 7);
    let p = drain(&mut two, 1).remove(0);
    give(&mut one, 2, &p);
    assert!(drain(&mut one, 2).is_empty());
    assert!(act(&mut one, 11, Input::Tick).is_empty());
    assert_eq!(one.next_wake(), Some(at(12).monotonic), "Δ/10 after it heard of the round");
    let out = act(&mut one, 12, Input::Tick);
    assert!(matches!(&out[..], [Action::Broadcast(p)] if p.candidates.is_empty()));

    let mut one = ready(0);
    give(&mut one, 2, &p);
    see(&mut one, 3, 7);
    assert_eq!(drain(&mut one, 3).len(), 1, "the request has come: nothing to wait for");
}

#[test]
fn r6_gather_waits_for_a_named_request_but_not_long() {
    let (mut one, mut two) = (ready(0), ready(1));
    see(&mut two, 1, 7);
    let p = drain(&mut two, 1).remove(0);
    see(&mut one, 1, 8);
    give(&mut one, 2, &p);
    assert!(drain(&mut one, 2).is_empty(), "7 is on its way");
    let wake = one.next_wake().unwrap();
    assert_eq!(wake, at(2).monotonic + Duration::from_micros(500));
    let late = Now { monotonic: wake, wall: Wall(1_002_500) };
    let mut out = Vec::new();
    one.handle(late, Input::Tick, &mut out);
    assert!(matches!(&out[..], [Action::Broadcast(p)] if p.candidates.len() == 1));
}

#[test]
fn r6_the_heartbeat_runs_a_round_in_an_idle_group() {
    let mut one = ready(0);
    assert_eq!(one.next_wake(), Some(at(1000).monotonic));
    assert!(act(&mut one, 999, Input::Tick).is_empty());
    assert!(matches!(act(&mut one, 1000, Input::Tick)[0], Action::Broadcast(_)));
}

#[test]
fn a_stalled_round_is_reported_once_with_who_is_missing() {
    let mut one = ready(0);
    see(&mut one, 10, 7);
    drain(&mut one, 10);
    act(&mut one, 300, Input::Tick);
    let out = act(&mut one, 10 + 510, Input::Tick);
    let missing: Members = [1, 2].map(ReplicaId::from_index).into_iter().collect();
    let waits =
        |a: &Action| matches!(a, Action::Event(Event::Waiting { missing: m, .. }) if *m == missing);
    assert_eq!(out.iter().filter(|a| waits(a)).count(), 1);
    assert_eq!(one.waiting(), Some((Round(1), missing, at(10).monotonic)));
    assert!(!act(&mut one, 900, Input::Tick).iter().any(waits));
}

#[test]
fn a_link_that_comes_up_gets_the_last_two_own_proposals() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    drain(&mut cores[0], 2);
    let resent = |a: &Action| match a {
        Action::Send { proposal, .. } if proposal.replica.number() == 1 => Some(proposal.round.0),
        _ => None,
    };
    let rounds: Vec<u64> = act(&mut cores[0], 3, up(1, 1)).iter().filter_map(resent).collect();
    assert_eq!(rounds, [1, 2]);
}

#[test]
fn a_restarted_replica_signs_nothing() {
    let mut core = core_of(0, 1, true);
    let said = act(&mut core, 1, Input::Seen { request: Digest([7; 32]) });
    let restarted = |a: &Action| matches!(a, Action::TellAll(Statement::Restarted(_)));
    assert!(said.iter().any(restarted), "it says that it restarted: {said:?}");
    for ms in [2, 5000, 9000] {
        assert!(drain(&mut core, ms).is_empty());
    }
}

fn up(n: usize, complete: u64) -> Input {
    Input::PeerUp { peer: ReplicaId::from_index(n), complete: Round(complete) }
}

#[test]
fn a_replica_that_lost_its_disk_finds_out_from_its_peers_before_it_signs() {
    let mut core = core_of(0, 1, false);
    see(&mut core, 1, 7);
    act(&mut core, 1, up(1, 4));
    assert!(drain(&mut core, 1).is_empty(), "one of two others may lie or know nothing");
    let out = act(&mut core, 2, up(2, 4));
    assert!(matches!(out[..], [Action::Event(Event::DiskLost)]), "{out:?}");
    assert!(drain(&mut core, 3).is_empty() && core.next_wake().is_none());
}

/// R4 is blamed for its first proposal, in a group of five.
fn blamed(from: usize) -> Input {
    let blame = Blame {
        epoch: Epoch::GENESIS,
        members: keyring(2).ensemble().all(),
        step: BlameStep::Round(Round(1)),
        accused: ReplicaId::from_index(3),
        by: ReplicaId::from_index(from),
    };
    Input::Blame(Arc::new(Verified::sign(blame, &keyring(2), &Keyed::signer(&secret(from)))))
}

fn counts(out: &[Action]) -> bool {
    out.iter().any(|a| matches!(a, Action::Count { .. }))
}

/// §7: too few have told how far they are. A Report now would say less than was signed on a disk
/// that is lost.
#[test]
fn an_empty_disk_takes_no_call_before_enough_have_told_how_far_they_are() {
    let mut core = core_of(0, 2, false);
    act(&mut core, 1, up(1, 0));
    act(&mut core, 1, up(2, 0));
    for from in [1, 2, 4] {
        assert!(!counts(&act(&mut core, 2, blamed(from))), "two of four others have told");
    }
    assert_eq!(core.promise(), Epoch::GENESIS);
    assert!(counts(&act(&mut core, 3, up(4, 0))), "three have: it goes on as a new replica");
    assert_eq!(core.promise().accused, 1);
}

/// How many records are written for a call by one with such a disk: its promise, and its Report.
fn written_for_a_call(disk: DiskState) -> usize {
    let mut core = core_on(0, 2, disk);
    for peer in [1, 2, 4] {
        act(&mut core, 1, up(peer, 0));
    }
    let stalled = |from: usize| {
        let one = Stalled { root: Root::GENESIS, replica: ReplicaId::from_index(from) };
        Input::Stalled(Arc::new(Verified::sign(one, &keyring(2), &Keyed::signer(&secret(from)))))
    };
    let called = [1, 2, 4].map(|from| counts(&act(&mut core, 2, stalled(from))));
    assert_eq!(called, [false, false, true]);
    let out = act(&mut core, 3, Input::Lacks(Vec::new()));
    let records = out.iter().find_map(|a| match a {
        Action::Persist { records, .. } => Some(records.len()),
        _ => None,
    });
    records.expect("a promise is written down")
}

/// §7: it may have reported already, on the disk that is lost.
#[test]
fn one_with_a_replaced_disk_reports_nothing_before_it_has_joined() {
    assert_eq!(written_for_a_call(DiskState::New), 2);
    assert_eq!(written_for_a_call(DiskState::Known), 2);
    assert_eq!(written_for_a_call(DiskState::Replaced), 1);
}

#[cfg(feature = "plant")]
#[test]
fn a_report_from_a_replaced_disk_is_noticed() {
    crate::types::plant::plant(Some("s7-replaced-disk-reports"));
    let written = written_for_a_call(DiskState::Replaced);
    crate::types::plant::plant(None);
    assert_eq!(written, 2);
}

/// The first generation in which one with a replaced disk signs again, when a Join of it is
/// accepted: one that was signed on this disk, or not; with a cut before it, or not.
fn signs_from(own: bool, cut_before: bool) -> Option<u32> {
    let mut core = core_on(2, 1, DiskState::Replaced);
    let context = core.keyring.context();
    let join = |serial| {
        let position = StepPosition::default();
        let change = Change::Join { replica: ReplicaId::from_index(2), incarnation: 1, position };
        let author = Author::Replica(ReplicaId::from_index(2));
        SignedChange::sign::<Keyed>(change, author, serial, &context, &core.signer)
    };
    let (here, before) = (join(1), join(2));
    core.change.following.join = Some((here, Instant(1)));
    let roster = &mut core.order.roster;
    roster.call.accused = [ReplicaId::from_index(2)].into_iter().collect();
    let mut accept = |number, digest, change| {
        let uid = Uid::of(Cuid { clock: number, replica: ReplicaId::from_index(0) });
        roster.accept((uid, digest), change, Round(1), AgreedTime(1)).unwrap();
        roster.note_cut();
    };
    if cut_before {
        accept(
            1,
            Digest([7; 32]),
            Change::Leave { replica: ReplicaId::from_index(1), stays: false },
        );
    }
    let accepted = if own { here } else { before };
    accept(2, accepted.digest(&context), accepted.change);
    act(&mut core, 2, Input::Tick);
    core.unsigned
}

/// §7: nothing was signed behind a cut that has a Join from this disk. A cut that was before it may
/// have been known to the former life.
#[test]
fn one_with_a_replaced_disk_signs_behind_the_cut_that_has_its_join() {
    assert_eq!(signs_from(true, false), Some(1));
    assert_eq!(signs_from(true, true), Some(2));
    assert_eq!(signs_from(false, false), None);
    let mut core = core_on(2, 1, DiskState::Replaced);
    assert!(!core.is_unsigned(0) && !core.is_unsigned(9));
    core.unsigned = Some(2);
    assert!(!core.is_unsigned(1) && core.is_unsigned(2) && core.is_unsigned(3));
}

#[cfg(feature = "plant")]
#[test]
fn an_empty_disk_that_starts_anew_is_noticed() {
    crate::types::plant::plant(Some("s7-empty-disk-starts"));
    let mut core = core_of(0, 1, false);
    see(&mut core, 1, 7);
    act(&mut core, 1, up(1, 4));
    act(&mut core, 2, up(2, 4));
    let signed = drain(&mut core, 3).len();
    crate::types::plant::plant(None);
    assert_eq!(signed, 1, "it signs a second proposal for the first round");
}

/// One peer's word is not enough: a liar could stop every new replica. It must show our proposal.
#[test]
fn a_single_claim_that_we_took_part_must_be_proven() {
    let mut liar_says = core_of(0, 1, false);
    see(&mut liar_says, 1, 7);
    act(&mut liar_says, 1, up(1, 4));
    act(&mut liar_says, 1, up(2, 0));
    assert!(drain(&mut liar_says, 2).is_empty(), "it has 2Δ to show what we signed");
    assert_eq!(liar_says.next_wake(), Some(at(201).monotonic));
    act(&mut liar_says, 150, up(1, 4));
    assert_eq!(liar_says.next_wake(), Some(at(201).monotonic), "saying it again changes nothing");
    assert_eq!(drain(&mut liar_says, 201).len(), 1);

    let mut before = ready(0);
    see(&mut before, 1, 7);
    let signed = drain(&mut before, 1).remove(0);
    let mut after = ready(0);
    assert!(after.is_news(signed.message()));
    assert!(matches!(give(&mut after, 2, &signed)[..], [Action::Event(Event::DiskLost)]));
    see(&mut after, 3, 8);
    assert!(drain(&mut after, 3).is_empty());
}

#[test]
fn a_link_that_comes_up_shows_the_peer_its_own_proposals() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    let out = act(&mut cores[0], 2, up(1, 0));
    let shown = |a: &Action| match a {
        Action::Send { proposal, .. } => (proposal.replica.number(), proposal.round.0),
        other => panic!("unexpected {other:?}"),
    };
    assert_eq!(out.iter().map(shown).collect::<Vec<_>>(), [(2, 1), (1, 1)]);
}

/// Two peers start while a third cannot be reached: nothing may be due for ever.
#[test]
fn a_core_that_may_not_start_yet_wants_no_tick() {
    let (mut one, mut two) = (core_of(0, 1, false), ready(1));
    act(&mut one, 0, up(1, 0));
    see(&mut two, 1, 7);
    let p = drain(&mut two, 1).remove(0);
    give(&mut one, 2, &p);
    act(&mut one, 500, Input::Drained);
    assert_eq!(one.next_wake(), None);
}

/// R6: rounds that a liar's inventions alone would need are joined, not hurried.
#[test]
fn r6_fake_candidates_cost_a_round_per_join_delay() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    let fake = |p: &mut Proposal| {
        p.candidates.push(Candidate { clock: p.now, request: Digest([0xfa; 32]) });
    };
    act(&mut cores[2], 1000, Input::Tick);
    let first = resign(cores[2].rounds.find(Round(1), cores[2].id, &Digest::ZERO).unwrap(), fake);
    give(&mut cores[0], 1000, &first);
    give(&mut cores[1], 1000, &first);
    let joined: Vec<Held> = [0, 1]
        .into_iter()
        .map(|i| match &act(&mut cores[i], 1010, Input::Tick)[..] {
            [Action::Broadcast(p)] => p.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    give(&mut cores[0], 1010, &joined[1]);
    assert_eq!(cores[0].complete(), Round(1));
    assert!(drain(&mut cores[0], 1010).is_empty(), "nobody good has seen what V(1) names");
}

/// R5: a choice that differs from ours shows that somebody signed twice; we ask for the proof.
#[test]
fn r5_a_choice_that_differs_from_ours_is_asked_for() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    let next = drain(&mut cores[1], 2).remove(0);
    let other = Digest([0xcc; 32]);
    let differs = resign(&next, |p| p.choice[2] = other);
    assert!(give(&mut cores[0], 2, &differs).is_empty());
    let out = act(&mut cores[0], 12, Input::Tick);
    let asked =
        |a: &Action| matches!(a, Action::Ask(w) if w.round == Round(1) && w.digest == other);
    assert!(out.iter().any(asked), "{out:?}");
}

#[test]
fn a_forged_proposal_does_not_verify() {
    let mut one = ready(0);
    see(&mut one, 1, 7);
    let p = drain(&mut one, 1).remove(0);
    let mut forged = p.message().clone();
    forged.replica = ReplicaId::from_index(1);
    assert!(Unverified::new(forged, *p.signature()).verify(&keyring(1)).is_err());
}

#[test]
fn the_planted_bugs_of_the_rounds_are_caught() {
    use crate::types::plant::plant;
    let broken: [(&'static str, fn()); 3] = [
        ("r2-sign-twice", r2_one_proposal_a_round_even_when_links_come_and_go),
        ("r3-commit-early", a_request_alone_runs_after_two_exchanges),
        ("r4-accept-low-candidate", r4_invalid_proposals_are_reported_and_count_as_missing),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}

#[test]
fn r2_one_proposal_a_round_even_when_links_come_and_go() {
    let mut one = ready(0);
    see(&mut one, 1, 7);
    let first = drain(&mut one, 1);
    let up = Input::PeerUp { peer: ReplicaId::from_index(1), complete: Round(0) };
    act(&mut one, 2, up);
    see(&mut one, 3, 8);
    assert_eq!(first.len() + drain(&mut one, 3).len(), 1);
}

/// E1: patience counts from when the follower has passed on what started *this* round. Found by
/// running processes: one that nobody heard took up a state, and blamed all members at once.
#[test]
fn e1_a_follower_that_took_up_a_state_waits_before_it_blames() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    let mut first = Vec::new();
    for n in 1..=9 {
        cores.iter_mut().for_each(|c| see(c, 1, n));
        round(&mut cores, 1);
        let second = ReplicaId::from_index(1);
        first.extend(cores[1].rounds.find(Round(1), second, &Digest::ZERO).cloned());
    }
    // It hears one proposal of a round and no more, and passes it on.
    let mut follower = ready(0);
    follower.change.restarted = Some(Epoch::GENESIS);
    give(&mut follower, 2, &first[0]);
    act(&mut follower, 300, Input::Tick);
    assert!(follower.passed_on.is_some());
    // When it is heard again it gets a state, far beyond that, of rounds that nobody was late for.
    let state = cores[1].order.encode().into();
    let position = StepPosition::default();
    let mut said = act(&mut follower, 2000, Input::Install { state, position });
    assert!(follower.rounds.complete() > Round(2));
    said.extend(act(&mut follower, 2001, Input::Tick));
    let blames = said.iter().filter(|a| matches!(a, Action::Event(Event::Blamed { .. })));
    assert_eq!(blames.count(), 0, "{said:?}");
}

/// E3, M3: a reset in the generation in which a replica has no key is of all others; what it says
/// with the old key is nothing there.
#[test]
fn a_reset_leaves_out_who_has_no_key() {
    let mut core = ready(0);
    let r3 = ReplicaId::from_index(2);
    let new = Keyed::public(&Keyed::signer(&secret(9)));
    let root = Root { generation: 1, resets: 0 };
    // As an opening of generation 1 leaves it.
    let list: Members = [0, 1].map(ReplicaId::from_index).into_iter().collect();
    core.order.roster.call = Call { root, list, accused: Members::NONE };
    core.order.roster.standings[2].new_key = Some(new);
    core.order.roster.keys.push(KeyChange { out: 1, replica: r3, key: new });
    act(&mut core, 1, Input::Tick);
    assert_eq!(core.key_news(), 1);

    let by = |i: usize| {
        let stalled = Stalled { root, replica: ReplicaId::from_index(i) };
        Verified::sign(stalled, core.keyring(), &Keyed::signer(&secret(i)))
    };
    let old = Unverified::from(by(2)).verify(core.keyring());
    assert_eq!(old.err(), Some(VerifyError::NoKey(r3, 1)));
    let (one, two) = (by(0), by(1));
    act(&mut core, 2, Input::Stalled(Arc::new(one)));
    let called =
        act(&mut core, 3, Input::Stalled(Arc::new(two))).into_iter().find_map(|a| match a {
            Action::Event(Event::Called { call }) => Some(call),
            _ => None,
        });
    let root = Root { generation: 1, resets: 1 };
    assert_eq!(called, Some(Call { root, list, accused: Members::NONE }));
}

/// M3: a key that came later signs nothing in the first epoch: its replica begins without a state.
#[test]
fn a_replica_with_a_later_key_begins_without_a_state() {
    let mut ring = keyring(1);
    let (id, key) = (ReplicaId::from_index(2), Keyed::public(&Keyed::signer(&secret(9))));
    ring.replace(KeyChange { out: 3, replica: id, key }).unwrap();
    let setup = Setup {
        id,
        keyring: ring,
        signer: Keyed::signer(&secret(9)),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(DELTA),
        clock: ClockKind::Hybrid,
        limits: OrderLimits::default(),
        seed: 5,
        incarnation: 1,
        recovered: Vec::new(),
        strict: false,
        replays: false,
        disk: DiskState::New,
    };
    let mut core = Core::<Keyed>::new(setup, at(0));
    assert!(core.is_restarted());
    for other in [0, 1] {
        let up = Input::PeerUp { peer: ReplicaId::from_index(other), complete: Round(0) };
        let said = act(&mut core, 1, up);
        assert!(!said.iter().any(|a| matches!(a, Action::Tell { .. } | Action::TellAll(_))));
    }
    see(&mut core, 2, 1);
    assert!(drain(&mut core, 3).is_empty());
}

/// M3: a change that is void after all, since a smaller epoch came between, leaves no trace.
#[test]
fn a_key_change_that_turns_out_void_is_forgotten() {
    let mut core = ready(0);
    let (r3, new) = (ReplicaId::from_index(2), Keyed::public(&Keyed::signer(&secret(9))));
    let change = Change::ReplaceKey { replica: r3, key: new };
    let uid = Uid::of(Cuid { clock: 1, replica: r3 });
    let accepted = (uid, Digest([7; 32]));
    core.order.roster.accept(accepted, change, Round(1), AgreedTime(1)).unwrap();
    core.order.roster.note_cut();
    act(&mut core, 1, Input::Tick);
    assert_eq!((core.keyring().keyless(1), core.key_news()), ([r3].into_iter().collect(), 1));
    // R2 is out: without R3 too few would be left.
    let root = Root { generation: 0, resets: 1 };
    let (list, out) = (core.members(), ReplicaId::from_index(1));
    core.order.roster.call = Call { root, list, accused: [out].into_iter().collect() };
    act(&mut core, 2, Input::Tick);
    assert_eq!((core.keyring().keyless(1), core.key_news()), (Members::NONE, 2));
    assert_eq!(core.keyring().key(r3), keyring(1).key(r3));
}

/// R7. Each keeps history for the snapshots that it has taken itself, so one that has none so far
/// back says nothing of the others.
fn asked_when_history_is_gone() -> Vec<String> {
    let mut core = ready(0);
    let far = Round(500);
    let [one, two] = [1, 2].map(ReplicaId::from_index);
    let told = |actions: Vec<Action>| {
        let what = actions.into_iter().filter_map(|action| match action {
            Action::AskHistory { from, .. } => Some(format!("asks {from}")),
            Action::Behind => Some("wants a state".to_owned()),
            _ => None,
        });
        what.collect::<Vec<_>>().join(", ")
    };
    let inputs = [
        (1, Input::Ahead { peer: one, epoch: Epoch::GENESIS, round: far }),
        (2, Input::Ahead { peer: two, epoch: Epoch::GENESIS, round: far }),
        (3, Input::Gone { from: one }),
        (4, Input::Gone { from: one }),
        (5, Input::Gone { from: two }),
    ];
    inputs.map(|(ms, input)| told(act(&mut core, ms, input))).to_vec()
}

#[test]
fn r7_a_state_is_wanted_when_nobody_further_has_the_history() {
    assert_eq!(asked_when_history_is_gone(), ["asks R2", "", "asks R3", "", "wants a state"]);
}

#[cfg(feature = "plant")]
#[test]
fn r7_one_that_asks_nobody_else_for_history_is_noticed() {
    crate::types::plant::plant(Some("r7-one-history-only"));
    let asked = asked_when_history_is_gone();
    crate::types::plant::plant(None);
    assert_eq!(asked, ["asks R2", "", "wants a state", "", ""]);
}

#[cfg(feature = "plant")]
#[path = "lag_tests.rs"]
mod lag;

#[cfg(feature = "plant")]
#[path = "convinces_tests.rs"]
mod convinces;

#[cfg(feature = "plant")]
#[path = "restarts_tests.rs"]
mod restarts;

#[cfg(feature = "plant")]
#[path = "withheld_tests.rs"]
mod withheld;

#[path = "entering_tests.rs"]
mod entering;

#[path = "reads_tests.rs"]
mod reads;
