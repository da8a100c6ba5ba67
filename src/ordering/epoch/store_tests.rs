//! B17: whatever a signer says, only so much of it is kept (§10).

use super::*;
use crate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, sha256};
use crate::types::{Ensemble, GroupId, Round};

/// What a replica signs with.
struct Signer {
    id: ReplicaId,
    keyring: Keyring<Keyed>,
    signer: <Keyed as Scheme>::Signer,
}

fn signers() -> Vec<Signer> {
    signers_of(1)
}

fn signers_of(t: u8) -> Vec<Signer> {
    let ensemble = Ensemble::new(t).unwrap();
    let context = Context { cluster: sha256(b"store"), group: GroupId::MAIN };
    let secret = |n: u8| Keyed::signer(&SecretKey::from_seed([n; 32]));
    let numbers = 1..=2 * t + 1;
    let keys = numbers.clone().map(|n| Keyed::public(&secret(n))).collect();
    let keyring = Keyring::<Keyed>::new(context, ensemble, keys).unwrap();
    let one = |(id, n)| Signer { id, keyring: keyring.clone(), signer: secret(n) };
    ensemble.replicas().zip(numbers).map(one).collect()
}

impl Signer {
    fn blame(&self, root: Root, round: u64) -> Arc<Verified<Blame>> {
        self.blame_for(root, BlameStep::Round(Round(round)))
    }

    fn blame_for(&self, root: Root, step: BlameStep) -> Arc<Verified<Blame>> {
        let members = Ensemble::new(1).unwrap().all();
        let epoch = Epoch { generation: root.generation, resets: root.resets, accused: 0 };
        let accused = ReplicaId::from_index(0);
        let blame = Blame { epoch, members, step, accused, by: self.id };
        Arc::new(Verified::sign(blame, &self.keyring, &self.signer))
    }

    fn restarted(&self, root: Root) -> Arc<Verified<Restarted>> {
        let members = Ensemble::new(1).unwrap().all();
        let epoch = Epoch { generation: root.generation, resets: root.resets, accused: 0 };
        let one = Restarted { epoch, members, replica: self.id, incarnation: 2 };
        Arc::new(Verified::sign(one, &self.keyring, &self.signer))
    }

    fn stalled(&self, root: Root) -> Arc<Verified<Stalled>> {
        Arc::new(Verified::sign(Stalled { root, replica: self.id }, &self.keyring, &self.signer))
    }
}

fn root(generation: u32, resets: u32) -> Root {
    Root { generation, resets }
}

/// Whether a Blame that came alone is new, with `t + 1` of three.
fn keep(store: &mut Store, blame: Arc<Verified<Blame>>, here: Root) -> bool {
    !store.blames(&[blame], here, 2).is_empty()
}

#[test]
fn blames_of_one_signer_in_one_root_are_bounded_and_counted_once() {
    let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
    assert!(keep(&mut store, all[1].blame(here, 1), here));
    assert!(!keep(&mut store, all[1].blame(here, 1), here), "the same again");
    for round in (2..2_000).chain((2_000..4_000).rev()) {
        let blame = all[1].blame(here, round);
        // Once it has said much, a signer alone is not considered, and answered only for its
        // highest: whoever trimmed it would answer it again and again.
        let heard = store.blames(&[blame], here, 2);
        let expected = match round {
            ..=64 => Some(true),
            ..2_000 | 3_936.. => Some(false),
            _ => None,
        };
        assert_eq!(heard.first().map(|(_, makes)| *makes), expected, "{round}");
    }
    assert!((MAX_BLAMES..=MAX_BLAMES + MORE_BLAMES).contains(&store.len()), "{}", store.len());
    // Another signer's room is its own.
    assert!(keep(&mut store, all[2].blame(here, 1), here));
    // A blame of oneself accuses nobody.
    assert!(keep(&mut store, all[0].blame(here, 1), here));
    let (charge, by) = store.charges(here).into_iter().next().unwrap();
    assert_eq!((charge.2, by.len()), (BlameStep::Round(Round(1)), 1));
}

/// The rounds for which a signer's Blames are kept.
fn rounds_of(store: &Store, by: &Signer) -> Vec<u64> {
    let charges = store.charges(root(0, 0)).into_iter().filter(|(_, all)| all.contains(by.id));
    let round = |step| match step {
        BlameStep::Round(Round(round)) => round,
        BlameStep::Report => 0,
    };
    charges.map(|(charge, _)| round(charge.2)).collect()
}

/// E1: a good replica may blame in vain in round after round. What it says next counts all the
/// same, and what a call may rest on stays.
#[test]
fn the_lowest_blames_make_room_but_for_the_highest_of_a_quorum() {
    let kept = || {
        let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
        for round in 1..=200 {
            keep(&mut store, all[1].blame(here, round), here);
            if round == 40 {
                for low in [20, 30] {
                    assert!(keep(&mut store, all[2].blame(here, low), here));
                }
            }
        }
        rounds_of(&store, &all[1])
    };
    // At the 129th all but the highest 64 went, and but for the highest that two say.
    let expected: Vec<u64> = std::iter::once(30).chain(66..=200).collect();
    let seen: Vec<u64> = kept();
    assert!(expected.ends_with(&seen[1..]) && seen[0] == 30, "{seen:?}");
    assert!((MAX_BLAMES..=MAX_BLAMES + MORE_BLAMES).contains(&seen.len()), "{seen:?}");
    for (planted, lowest) in [("e1-blames-stay", 1), ("e2-charges-go", 131)] {
        crate::types::plant::plant(Some(planted));
        let seen = kept();
        crate::types::plant::plant(None);
        assert_eq!(seen[0], lowest, "{planted}: {seen:?}");
    }
}

/// Whether what a call rests on is kept where its signers, some of them good, have blamed before
/// for the report step, in vain as the Report came, and the liars among them for much else.
fn is_kept(said: u64, in_vain: bool) -> bool {
    let (all, here, quorum) = (signers_of(3), root(0, 0), 4);
    let mut store = Store::default();
    for signer in all[1..5].iter().filter(|_| in_vain) {
        store.blames(&[signer.blame_for(here, BlameStep::Report)], here, quorum);
    }
    let junk = |store: &mut Store, rounds: std::ops::Range<u64>| {
        for (liar, round) in all[2..5].iter().flat_map(|l| rounds.clone().map(move |r| (l, r))) {
            store.blames(&[liar.blame(here, round)], here, quorum);
        }
    };
    junk(&mut store, 1000..1000 + said);
    // R2 is good; R3, R4 and R5 say with it what only all of them together make a charge.
    let call: Vec<_> = (1..5).map(|i| all[i].blame(here, 7)).collect();
    let charge = charge_of(&call[0]);
    let heard = store.blames(&call, here, quorum);
    assert!(heard.len() == 4 && heard.iter().all(|(_, makes)| *makes), "{said}");
    let counted = |store: &Store| store.quorum_charges(here, quorum).contains(&charge);
    let at_first = counted(&store);
    // And it stays, whatever they say now.
    junk(&mut store, 5000..5300);
    let makers = store.makers(&charge).map(|blame| blame.by);
    at_first && counted(&store) && makers.eq(all[1..5].iter().map(|signer| signer.id))
}

/// E2: what convinced one good replica convinces another one, however full the liars had made their
/// own room there before. Each of what came together may be too little without the others.
#[test]
fn what_a_call_rests_on_is_kept_however_much_its_signers_said_before() {
    for said in [60, 64, 127, 128, 129] {
        for in_vain in [false, true] {
            assert!(is_kept(said, in_vain), "{said} {in_vain}");
        }
    }
    crate::types::plant::plant(Some("e2-reports-hide-rounds"));
    let hidden = !is_kept(127, true);
    crate::types::plant::plant(None);
    assert!(hidden);
}

/// Of many charges that a quorum made in vain the highest stays, and what is said next is heard.
#[test]
fn charges_of_rounds_that_went_on_do_not_use_up_the_room() {
    let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
    for round in 1..=1000 {
        assert!(keep(&mut store, all[1].blame(here, round), here));
        assert!(keep(&mut store, all[2].blame(here, round), here));
    }
    assert!(store.len() <= 2 * (MAX_BLAMES + MORE_BLAMES + 1), "{}", store.len());
    let highest = store.quorum_charges(here, 2);
    assert_eq!(highest.len(), 1);
    assert_eq!(highest[0].2, BlameStep::Round(Round(1000)));
}

#[test]
fn of_roots_that_a_signer_speaks_of_only_the_present_and_its_highest_are_kept() {
    let (all, mut store, here) = (signers(), Store::default(), root(1, 0));
    assert!(keep(&mut store, all[1].blame(here, 1), here));
    assert!(!keep(&mut store, all[1].blame(root(0, 7), 1), here), "lower ones are over");
    for resets in 1..1000 {
        assert!(keep(&mut store, all[1].blame(root(1, resets), 1), here));
    }
    assert!(!keep(&mut store, all[1].blame(root(1, 5), 1), here), "it spoke of a higher one");
    assert_eq!(store.len(), 2);
    assert_eq!(store.charges(here).len(), 1, "the present root is not pushed out");
    store.forget_below(root(1, 999));
    assert_eq!(store.len(), 1);
}

#[test]
fn of_restarts_the_first_is_kept_and_of_stalled_the_highest() {
    let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
    assert!(store.restarted(all[1].restarted(here), here));
    assert!(!store.restarted(all[1].restarted(here), here));
    assert_eq!(store.who_restarted(here).len(), 1);
    assert!(store.stalled(all[1].stalled(root(0, 3))));
    assert!(!store.stalled(all[1].stalled(root(0, 2))), "lower than before");
    assert!(store.stalled(all[2].stalled(root(0, 2))));
    // Whoever speaks of a later reset has left this one behind; another generation tells nothing.
    assert_eq!(store.stalled_root(2), Some(root(0, 2)));
    assert!(store.stalled(all[0].stalled(root(1, 0))));
    assert_eq!(store.stalled_root(2), Some(root(0, 2)));
    assert_eq!(store.stalled_root(3), None);
    let from = |at| store.stalled_from(at).map(|s| s.root).collect::<Vec<_>>();
    assert_eq!(from(root(0, 2)), [root(0, 3), root(0, 2)]);
    assert_eq!((from(root(0, 3)), from(root(1, 0))), (vec![root(0, 3)], vec![root(1, 0)]));
    assert_eq!(store.len(), 4);
}
