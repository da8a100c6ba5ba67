use super::*;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey};
use crate::types::GroupId;

fn id(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

fn digest(of: u8) -> Digest {
    Digest([of; 32])
}

fn position(round: u64) -> StepPosition {
    StepPosition { round: Round(round), vector: digest((round % 251) as u8) }
}

/// A proposal of round `round` that attests `running` two rounds before; 0 attests nothing.
fn says(t: u8, replica: usize, round: u64, running: u8) -> Arc<Verified<Proposal>> {
    let attestation = match running {
        0 => Attestation::default(),
        _ => {
            let (position, running) = (position(round - 2), digest(running));
            Attestation { position, running, ..Attestation::default() }
        }
    };
    signed(t, replica, (Epoch::GENESIS, round), attestation)
}

fn signed(
    t: u8,
    replica: usize,
    (epoch, round): (Epoch, u64),
    attestation: Attestation,
) -> Arc<Verified<Proposal>> {
    let ensemble = Ensemble::new(t).unwrap();
    let signer = |i: usize| Keyed::signer(&SecretKey::from_seed([i as u8 + 1; 32]));
    let keys: Vec<PublicKey> = (0..ensemble.n()).map(|i| Keyed::public(&signer(i))).collect();
    let context = Context { cluster: digest(9), group: GroupId::MAIN };
    let keyring = Keyring::<Keyed>::new(context, ensemble, keys).unwrap();
    let proposal = Proposal {
        epoch,
        members: ensemble.all(),
        round: Round(round),
        replica: id(replica),
        choice: vec![],
        candidates: vec![],
        changes: vec![],
        now: 5,
        attestation,
    };
    Arc::new(Verified::sign(proposal, &keyring, &signer(replica)))
}

fn judge(t: u8) -> Judge {
    let mut judge = Judge::new(Ensemble::new(t).unwrap());
    // The epoch begins with this round.
    assert!(judge.hear(&[says(t, 0, 1, 0)]).is_empty());
    judge
}

/// Hears the vector of a round in which replicas attest these values; gives the verdicts in short:
/// who is in the minority, or nobody for a split.
fn hear(judge: &mut Judge, t: u8, round: u64, values: &[u8]) -> Vec<Option<usize>> {
    let of = |(replica, value): (usize, &u8)| says(t, replica, round, *value);
    let vector: Vec<_> = values.iter().enumerate().map(of).collect();
    let short = |verdict: Verdict| match verdict {
        Verdict::Minority { replica, statements, .. } => {
            assert_eq!(statements[0].replica, replica, "its own statement is the first");
            assert_eq!(statements.len(), usize::from(t) + 2, "and t + 1 others");
            let value = statements[1].attestation.running;
            assert!(statements[1..].iter().all(|h| h.attestation.running == value));
            assert_ne!(statements[0].attestation.running, value);
            Some(replica.index())
        }
        Verdict::Split { said, statements, .. } => {
            assert_eq!(said.len(), statements.len());
            None
        }
    };
    judge.hear(&vector).into_iter().map(short).collect()
}

#[test]
fn s6_whom_t_plus_1_others_contradict_is_in_the_minority_once_for_each_place() {
    let mut three = judge(1);
    assert_eq!(hear(&mut three, 1, 5, &[1, 1, 1]), []);
    assert_eq!(hear(&mut three, 1, 6, &[1, 1, 2]), [Some(2)]);
    assert_eq!(hear(&mut three, 1, 6, &[1, 1, 2]), [], "that was said");
    assert_eq!(hear(&mut three, 1, 7, &[2, 1, 1]), [Some(0)]);
    let mut five = judge(2);
    assert_eq!(hear(&mut five, 2, 5, &[1, 2, 1, 3, 1]), [Some(1), Some(3)]);
    assert_eq!(hear(&mut five, 2, 6, &[1, 2, 1, 2, 0]), [], "two and two, and one is silent");
}

#[test]
fn s6_nothing_can_have_a_majority_only_if_the_silent_cannot_help_it() {
    let mut three = judge(1);
    assert_eq!(hear(&mut three, 1, 5, &[1, 2, 0]), [], "the third may agree with one");
    assert_eq!(hear(&mut three, 1, 6, &[1, 2, 3]), [None]);
    let mut five = judge(2);
    assert_eq!(hear(&mut five, 2, 5, &[1, 1, 2, 2, 0]), []);
    assert_eq!(hear(&mut five, 2, 6, &[1, 1, 2, 2, 3]), [None]);
    assert_eq!(hear(&mut five, 2, 7, &[1, 2, 3, 4, 0]), [None], "two is not enough of five");
}

/// A liar alone brings about nothing, whatever it attests, and says again.
#[test]
fn s6_t_liars_put_nobody_in_the_minority() {
    let mut five = judge(2);
    for round in 5..100 {
        let lie = (round % 3) as u8 + 2;
        let verdicts = hear(&mut five, 2, round, &[lie, 1, 1, 1, 2]);
        assert!(verdicts.iter().all(|v| matches!(v, Some(0 | 4))), "{verdicts:?}");
    }
    let mut three = judge(1);
    for round in 5..100 {
        // One is late: its attestations are of earlier steps.
        assert_eq!(hear(&mut three, 1, round, &[7, 1, 0]), []);
    }
}

#[test]
fn s6_checkpoints_are_compared_and_what_is_of_another_epoch_is_not() {
    let at = |state: u8| Attestation {
        checkpoint: Round(4),
        state: digest(state),
        ..Attestation::default()
    };
    let later = Epoch { resets: 1, ..Epoch::GENESIS };
    let vector = |epoch, round, states: [u8; 3]| {
        let of = |(i, state): (usize, u8)| signed(1, i, (epoch, round), at(state));
        states.into_iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let mut three = judge(1);
    let verdicts = three.hear(&vector(Epoch::GENESIS, 9, [1, 2, 1]));
    let [Verdict::Minority { replica, place, .. }] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!((*replica, *place), (id(1), Place::Checkpoint(Round(4))));
    assert!(three.hear(&vector(later, 9, [1, 2, 1])).is_empty(), "it is of before the epoch");
    assert!(three.hear(&vector(later, 9, [1, 2, 3])).is_empty(), "so is that");
    let future = [0, 1, 2].map(|i| signed(1, i, (Epoch::GENESIS, 4), at(i as u8)));
    assert!(judge(1).hear(&future).is_empty(), "nobody has executed that yet");
}

/// What was signed before the state was given up is still on its way.
#[test]
fn s6_what_a_replica_said_before_its_state_was_rebuilt_does_not_count() {
    let mut three = judge(1);
    assert_eq!(hear(&mut three, 1, 5, &[1, 1, 2]), [Some(2)]);
    three.rebuilt(id(2), Round(6));
    assert_eq!(hear(&mut three, 1, 7, &[1, 1, 2]), [], "of round 5");
    assert_eq!(hear(&mut three, 1, 8, &[1, 1, 1]), []);
    assert_eq!(hear(&mut three, 1, 9, &[1, 1, 2]), [Some(2)], "that is new");
}

/// §10: what one replica says takes no place of what others say.
#[test]
fn s6_so_much_is_kept_of_each_replica() {
    let mut three = judge(1);
    for round in 5..500u64 {
        let odd = Attestation {
            position: StepPosition { round: Round(3), vector: digest((round % 256) as u8) },
            running: digest(round as u8),
            checkpoint: Round(1 + round % 4),
            state: digest(round as u8),
            ..Attestation::default()
        };
        let lies = signed(1, 0, (Epoch::GENESIS, round), odd);
        three.hear(&[lies, says(1, 1, round, 1), says(1, 2, round, 1)]);
    }
    assert!(three.steps.iter().all(|list| list.len() <= STEPS));
    assert!(three.checkpoints.iter().all(|list| list.len() <= CHECKPOINTS));
    assert_eq!(hear(&mut three, 1, 500, &[2, 1, 1]), [Some(0)]);
}

#[test]
fn how_far_others_agree_is_known_until_the_state_is_another() {
    let mut compared = Compared::new(3);
    let at = |round: u64, running: u8| Attestation {
        position: position(round),
        running: digest(running),
        ..Attestation::default()
    };
    compared.add(id(1), &at(5, 1), &digest(1));
    assert_eq!(compared.differs(id(1)), None);
    compared.add(id(1), &at(7, 2), &digest(1));
    compared.add(id(1), &at(8, 3), &digest(1));
    assert_eq!(compared.differs(id(1)), Some((Round(5), position(7), digest(2))));
    compared.add(id(1), &at(9, 1), &digest(1));
    assert_eq!(compared.differs(id(1)), None, "it has the others' state again");
    compared.add(id(1), &at(10, 2), &digest(1));
    compared.clear();
    assert_eq!(compared.differs(id(1)), None);
}

/// The tests above hold for what is right, and fail where `t` are enough.
#[cfg(feature = "plant")]
#[test]
fn planted_comparing_with_t_is_found() {
    crate::types::plant::plant(Some("s6-compares-with-t"));
    let mut three = judge(1);
    let verdicts = three.hear(&[says(1, 0, 5, 1), says(1, 1, 5, 2)]);
    crate::types::plant::plant(None);
    assert!(matches!(verdicts[..], [Verdict::Minority { .. }, ..]), "one is enough then");
    assert!(judge(1).hear(&[says(1, 0, 5, 1), says(1, 1, 5, 2)]).is_empty());
}
