//! Step tables of Q1: who may answer a query, and what it has to have executed.

use super::*;
use crate::ordering::ReadPoint;

const GENESIS: Digest = Digest([1; 32]);

fn point(core: &Core<Keyed>) -> Option<u64> {
    core.read_point().map(|ReadPoint { round, opening }| {
        assert_eq!(opening, GENESIS);
        round.0
    })
}

/// A member that has sent nothing has chosen nothing: others may have committed what it has not
/// seen.
#[test]
fn q1_a_member_that_has_sent_nothing_in_its_epoch_answers_no_query() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    assert!(cores.iter().all(|c| point(c).is_none()));
    see(&mut cores[0], 1, 7);
    drain(&mut cores[0], 1);
    assert_eq!(cores.iter().map(point).collect::<Vec<_>>(), [Some(0), None, None]);
}

/// Whatever somebody was told is chosen by every member: so what is chosen here is waited for.
#[test]
fn q1_a_query_waits_for_what_was_chosen() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    assert!(cores.iter().all(|c| point(c) == Some(0)), "complete, and not chosen yet");
    let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, 2)).collect();
    // The first one commits, and its client is told. The others have not heard of it.
    (1..3).for_each(|j| drop(give(&mut cores[0], 2, &sent[j])));
    assert_eq!(cores[0].committed(), Round(1));
    assert_eq!(cores.iter().map(point).collect::<Vec<_>>(), [Some(1), Some(1), Some(1)]);
    assert_eq!(cores[1].committed(), Round(0), "it has to wait");
}

/// An idle group has chosen vectors without anything in them: nobody waits for their commit.
#[test]
fn q1_a_query_does_not_wait_for_a_vector_from_which_nothing_follows() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    round(&mut cores, 2);
    // The heartbeat chooses the empty vector of round 2.
    let heartbeat = 2 + u64::try_from(Timing::from_delta(DELTA).heartbeat.as_millis()).unwrap();
    let sent = act(&mut cores[0], heartbeat + 1, Input::Tick);
    assert!(sent.iter().any(|a| matches!(a, Action::Broadcast(p) if p.round == Round(3))));
    assert_eq!((cores[0].committed(), point(&cores[0])), (Round(1), Some(1)));
}

/// What is accepted and not executed is under way; an empty vector that is complete is not.
#[test]
fn a_replica_is_settled_once_all_that_is_complete_is_executed() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    assert!(cores[0].is_settled(), "nothing has happened");
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    round(&mut cores, 1);
    assert!(!cores[0].is_settled(), "the vector of round 1 carries a request");
    round(&mut cores, 2);
    assert_eq!((cores[0].committed(), cores[0].is_settled()), (Round(1), true));
}

/// E4, §7: who gives its epoch up, follows, or has lost its state, answers none.
#[test]
fn q1_who_is_frozen_or_restarted_answers_no_query() {
    let mut core = ready(0);
    see(&mut core, 1, 7);
    drain(&mut core, 1);
    assert!(point(&core).is_some());
    for from in [1, 2] {
        let blame = Blame {
            epoch: Epoch::GENESIS,
            members: keyring(1).ensemble().all(),
            step: BlameStep::Round(Round(1)),
            accused: ReplicaId::from_index(2),
            by: ReplicaId::from_index(from - 1),
        };
        let signer = Keyed::signer(&secret(from - 1));
        act(&mut core, 2, Input::Blame(Arc::new(Verified::sign(blame, &keyring(1), &signer))));
    }
    assert!(core.promised().is_some(), "it has taken a call");
    assert_eq!(point(&core), None);
    assert_eq!(point(&core_of(0, 1, true)), None);
}

/// R7: a follower has chosen nothing of what is committed.
#[test]
fn q1_a_follower_answers_no_query() {
    let mut core = ready(0);
    see(&mut core, 1, 7);
    drain(&mut core, 1);
    core.members.remove(ReplicaId::from_index(0));
    assert_eq!(point(&core), None);
}

#[cfg(feature = "plant")]
#[test]
fn the_planted_bugs_of_reads_are_caught() {
    use crate::types::plant::plant;
    let broken: [(&'static str, fn()); 4] = [
        ("q1-entering-answers", q1_a_member_that_has_sent_nothing_in_its_epoch_answers_no_query),
        ("q1-chosen-not-awaited", q1_a_query_waits_for_what_was_chosen),
        ("q1-frozen-answers", q1_who_is_frozen_or_restarted_answers_no_query),
        ("q1-follower-answers", q1_a_follower_answers_no_query),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}
