//! Step tables of §7: openings and states that come to one that restarted.

use super::*;
use crate::ordering::epoch::Prepared;
use crate::ordering::rounds::{Rounds, Start};
use crate::types::plant::plant;

/// What a follower commits, that holds the complete vectors of an epoch and its opening and may not
/// commit them yet, when it takes up a state of that epoch.
fn committed_again() -> Vec<Vec<u8>> {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    let mut early = None;
    for n in 1..=5 {
        cores.iter_mut().for_each(|c| see(c, 1, n));
        round(&mut cores, 1);
        early = early.or_else(|| (n == 2).then(|| cores[0].order.clone()));
    }
    let (mut one, order) = (cores[0].clone(), early.unwrap());
    one.committed = order.round();
    one.order = order.clone();
    one.change.prepared = Some(Box::new(Prepared { order, effects: Vec::new() }));
    let state = cores[1].order.encode().into();
    let position = StepPosition::default();
    let said = act(&mut one, 2, Input::Install { state, position });
    assert_eq!(one.committed(), cores[1].committed());
    steps(&said)
}

/// §7: the opening of an epoch is committed in every state of that epoch.
#[test]
fn an_opening_is_committed_with_the_state_taken_up() {
    assert_eq!(committed_again(), Vec::<Vec<u8>>::new());
    plant(Some("s7-opening-stays"));
    let again = committed_again();
    plant(None);
    assert!(!again.is_empty());
}

/// Whether a member that restarted in this epoch signs a proposal once it has come to the opening
/// of the epoch (0,0,1).
fn signs_after_restart_in(before: Epoch) -> bool {
    let mut core = ready(0);
    let members = core.keyring.ensemble().all();
    let epoch = Epoch { accused: 1, ..Epoch::GENESIS };
    let (base, choice, tips) = (Round(0), vec![Digest([3; 32])], core.order.tips.clone());
    core.rounds = Rounds::new(Start { epoch, members, base, choice, tips });
    core.epoch = epoch;
    core.change.entered.epoch = epoch;
    core.change.restarted = Some(before);
    let mut out = Vec::new();
    core.opened(at(2), &mut out);
    see(&mut core, 3, 7);
    out.iter().any(|a| matches!(a, Action::Broadcast(_))) || !drain(&mut core, 3).is_empty()
}

/// §7: nobody who restarted knows what it has signed in the epoch that it had entered, also if it
/// comes to its opening again.
#[test]
fn one_that_restarted_signs_in_later_epochs_only() {
    let entered = Epoch { accused: 1, ..Epoch::GENESIS };
    assert!(signs_after_restart_in(Epoch::GENESIS));
    assert!(!signs_after_restart_in(entered));
    plant(Some("s7-signs-again"));
    let again = signs_after_restart_in(entered);
    plant(None);
    assert!(again);
}

/// Whether a state of this epoch is taken up at once by one that has promised the status call
/// (1,0,0) of all.
fn is_left_behind_by(generation: u32, list: &[usize], blank: bool) -> bool {
    let mut core = ready(0);
    let all = core.keyring.ensemble().all();
    let mut order = core.order.clone();
    let root = |generation| Root { generation, resets: 0 };
    let list = list.iter().map(|i| ReplicaId::from_index(*i)).collect();
    let accused = Members::NONE;
    order.roster.call = Call { root: root(generation), list, accused };
    core.change.promise = Call { root: root(1), list: all, accused };
    core.blank = blank;
    core.is_left_behind_by(&order.encode())
}

/// E4, O7: a state that is no part of what the promised call was taken for, but comes after it or
/// beside it, shows that its group has gone on.
#[test]
fn one_without_a_state_waits_for_no_call_that_others_have_left_behind() {
    assert!(is_left_behind_by(1, &[1, 2], true), "the same number of another list");
    assert!(is_left_behind_by(2, &[0, 1, 2], true));
    assert!(!is_left_behind_by(0, &[0, 1, 2], true), "its call may get on from there");
    assert!(!is_left_behind_by(1, &[1, 2], false), "one with a state says Stalled");
    plant(Some("o7-waits-without-a-state"));
    let planted = is_left_behind_by(1, &[1, 2], true);
    plant(None);
    assert!(!planted);
}

/// §7: whether the history of a state has what was executed here: as far as its rounds reach, if it
/// has the same opening of the same epoch.
#[test]
fn a_state_has_what_its_rounds_reach_under_the_same_opening() {
    let core = ready(0);
    let epoch = core.order.epoch().0;
    let same = core.order.encode();
    assert_eq!(core.not_followed_by(&same, Round(0)), None);
    assert_eq!(core.not_followed_by(&same, Round(1)), Some(epoch), "it ends before that");
    let mut other = core.order.clone();
    other.opening.0 = Digest([9; 32]);
    assert_eq!(core.not_followed_by(&other.encode(), Round(0)), Some(epoch), "another opening");
    assert_eq!(core.not_followed_by(b"no state", Round(0)), None, "that is refused elsewhere");
}
