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
    let ensemble = Ensemble::new(1).unwrap();
    let context = Context { cluster: sha256(b"store"), group: GroupId::MAIN };
    let secret = |n: u8| Keyed::signer(&SecretKey::from_seed([n; 32]));
    let keys = (1..=3).map(|n| Keyed::public(&secret(n))).collect();
    let keyring = Keyring::<Keyed>::new(context, ensemble, keys).unwrap();
    let one = |(id, n)| Signer { id, keyring: keyring.clone(), signer: secret(n) };
    ensemble.replicas().zip(1..=3).map(one).collect()
}

impl Signer {
    fn blame(&self, root: Root, round: u64) -> Arc<Verified<Blame>> {
        let members = Ensemble::new(1).unwrap().all();
        let epoch = Epoch { generation: root.generation, resets: root.resets, accused: 0 };
        let step = BlameStep::Round(Round(round));
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

#[test]
fn blames_of_one_signer_in_one_root_are_bounded_and_counted_once() {
    let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
    assert!(store.blame(all[1].blame(here, 1), here, 2));
    assert!(!store.blame(all[1].blame(here, 1), here, 2), "the same again");
    for round in 2..10_000 {
        store.blame(all[1].blame(here, round), here, 2);
    }
    assert_eq!(store.len(), MAX_BLAMES);
    // Another signer's room is its own.
    assert!(store.blame(all[2].blame(here, 1), here, 2));
    // A blame of oneself accuses nobody.
    assert!(store.blame(all[0].blame(here, 1), here, 2));
    let (charge, by) = store.charges(here).into_iter().next().unwrap();
    assert_eq!((charge.2, by.len()), (BlameStep::Round(Round(1)), 1));
}

/// E1: a good replica may blame in vain in round after round. What it says next counts all the
/// same, and what a call may rest on stays.
#[test]
fn the_lowest_blames_make_room_but_for_those_of_a_quorum() {
    let rounds_of = |store: &Store, by: ReplicaId| -> Vec<u64> {
        let charges = store.charges(root(0, 0)).into_iter().filter(|(_, all)| all.contains(by));
        let round = |step| match step {
            BlameStep::Round(Round(round)) => round,
            BlameStep::Report => 0,
        };
        charges.map(|(charge, _)| round(charge.2)).collect()
    };
    let kept = || {
        let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
        for round in 1..=100 {
            store.blame(all[1].blame(here, round), here, 2);
            if round == 40 {
                assert!(store.blame(all[2].blame(here, 30), here, 2));
            }
        }
        // Lower than all that may go: not taken.
        assert!(!store.blame(all[1].blame(here, 7), here, 2));
        rounds_of(&store, all[1].id)
    };
    let expected: Vec<u64> = std::iter::once(30).chain(38..=100).collect();
    assert_eq!(kept(), expected);
    crate::types::plant::plant(Some("e1-blames-stay"));
    let stay = kept();
    crate::types::plant::plant(None);
    assert_eq!(stay, (1..=64).collect::<Vec<u64>>());
}

/// With all of it in charges of a quorum there is no room, and nothing is lost of these.
#[test]
fn blames_of_a_quorum_do_not_make_room() {
    let (all, mut store, here) = (signers(), Store::default(), root(0, 0));
    for round in 1..=MAX_BLAMES as u64 {
        assert!(store.blame(all[1].blame(here, round), here, 2));
        assert!(store.blame(all[2].blame(here, round), here, 2));
    }
    assert!(!store.blame(all[1].blame(here, 1000), here, 2));
    assert_eq!(store.len(), 2 * MAX_BLAMES);
}

#[test]
fn of_roots_that_a_signer_speaks_of_only_the_present_and_its_highest_are_kept() {
    let (all, mut store, here) = (signers(), Store::default(), root(1, 0));
    assert!(store.blame(all[1].blame(here, 1), here, 2));
    assert!(!store.blame(all[1].blame(root(0, 7), 1), here, 2), "lower ones are over");
    for resets in 1..1000 {
        assert!(store.blame(all[1].blame(root(1, resets), 1), here, 2));
    }
    assert!(!store.blame(all[1].blame(root(1, 5), 1), here, 2), "it spoke of a higher one");
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
