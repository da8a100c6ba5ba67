//! Step tables of what a member does from which liars withhold something (R5, R6).

use super::*;
use crate::types::plant::plant;

/// When a member without work joins a round that another one started while it lacked the one
/// before, in milliseconds: it heard of the round at 20, and has what it lacked at `whole`.
fn joins(whole: u64) -> Option<u64> {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    let joined = |core: &mut Core<Keyed>, ms| {
        act(core, ms, Input::Tick).into_iter().find_map(|a| match a {
            Action::Broadcast(p) => Some(p),
            _ => None,
        })
    };
    see(&mut cores[1], 1, 7);
    let second = drain(&mut cores[1], 1).remove(0);
    let [first, third] = [0, 2].map(|i| {
        give(&mut cores[i], 2, &second);
        joined(&mut cores[i], 12).unwrap()
    });
    [&first, &third].into_iter().for_each(|p| drop(give(&mut cores[1], 13, p)));
    let ahead = drain(&mut cores[1], 13).remove(0);
    give(&mut cores[0], 20, &ahead);
    give(&mut cores[0], 21, &ahead);
    give(&mut cores[0], whole, &third);
    assert_eq!((ahead.round, cores[0].complete()), (Round(2), Round(1)));
    (whole..100).find(|ms| joined(&mut cores[0], *ms).is_some())
}

/// R6, E1: who waits for a member has patience for one `join_delay`, and not for a second one after
/// the member was shown what a liar had withheld from it.
#[test]
fn r6_a_round_that_others_started_is_joined_in_time() {
    assert_eq!((joins(22), joins(35)), (Some(30), Some(35)));
    plant(Some("r6-late-twice"));
    let late = (joins(22), joins(35));
    plant(None);
    assert_eq!(late, (Some(32), Some(45)));
}

/// R5: what liars name does not keep a member from asking for what good ones name.
#[test]
fn r5_lies_about_a_choice_do_not_hide_the_truth() {
    // In a group of five R4 and R5 lie, and R2's first proposal is withheld from R1.
    let asked = || {
        let mut cores: Vec<_> = [0, 2].map(|i| core_of(i, 2, false)).into();
        for other in 1..5 {
            let up = |peer| Input::PeerUp { peer, complete: Round(0) };
            cores.iter_mut().for_each(|c| drop(act(c, 0, up(ReplicaId::from_index(other)))));
        }
        see(&mut cores[1], 1, 7);
        let first = drain(&mut cores[1], 1).remove(0);
        for by in [3, 4, 2] {
            let mut ahead = first.message().clone();
            (ahead.replica, ahead.round) = (ReplicaId::from_index(by), Round(2));
            ahead.choice = vec![Digest([by as u8; 32]); 5];
            let signer = Keyed::signer(&secret(by));
            give(&mut cores[0], 2, &Arc::new(Verified::sign(ahead, &keyring(2), &signer)));
        }
        let of_two = |a: Action| match a {
            Action::Ask(want) if want.replica.number() == 2 => Some(want.digest.0[0]),
            _ => None,
        };
        let said = act(&mut cores[0], 12, Input::Tick);
        said.into_iter().filter_map(of_two).collect::<Vec<_>>()
    };
    assert_eq!(asked(), [2, 3, 4]);
    plant(Some("r5-lies-hide"));
    let hidden = asked();
    plant(None);
    assert_eq!(hidden, [3, 4]);
}
