//! What is kept for whom, and for how long.

use super::*;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey};
use crate::types::{Ensemble, Epoch, GroupId};
use crate::wire::Attestation;

const MAJORITY: usize = 2;
const PATIENCE: Duration = Duration::from_secs(1);
const PEER: u8 = 3;

fn id(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn state(round: u64) -> Digest {
    Digest([round as u8; 32])
}

fn proposal(number: u8, round: u64, state: Digest) -> Verified<Proposal> {
    let ensemble = Ensemble::new(1).unwrap();
    let signer = |i: u8| Keyed::signer(&SecretKey::from_seed([i; 32]));
    let keys: Vec<PublicKey> = (1..=3).map(|i| Keyed::public(&signer(i))).collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    let keyring = Keyring::<Keyed>::new(context, ensemble, keys).unwrap();
    let attestation = Attestation { checkpoint: Round(round), state, ..Attestation::default() };
    let proposal = Proposal {
        epoch: Epoch::GENESIS,
        members: ensemble.all(),
        round: Round(round + 2),
        replica: id(number),
        choice: vec![],
        candidates: vec![],
        changes: vec![],
        now: 5,
        attestation,
    };
    Verified::sign(proposal, &keyring, &signer(number))
}

/// Takes a snapshot of this round; the members 1 and 2 attest it.
fn stable(shelf: &mut Shelf, round: u64, bytes: usize) {
    shelf.take(Round(round), state(round), vec![round as u8; bytes].into());
    for member in [1, 2] {
        shelf.attest(&proposal(member, round, state(round)), MAJORITY);
    }
    assert_eq!(shelf.newest(), Some(Round(round)));
}

fn ask(shelf: &mut Shelf, (round, offset): (u64, u64), at: u64) -> SnapshotPart {
    let want = WantSnapshot { round: Round(round), offset };
    shelf.part(id(PEER), &want, (Instant(at), Some(PATIENCE)))
}

#[test]
fn a_snapshot_is_given_once_t_plus_one_replicas_attest_its_state() {
    let mut shelf = Shelf::default();
    shelf.take(Round(8), state(8), vec![1; 5].into());
    assert_eq!(ask(&mut shelf, (0, 0), 0), SnapshotPart::none(), "nobody attests it");
    shelf.attest(&proposal(1, 8, state(8)), MAJORITY);
    shelf.attest(&proposal(1, 8, state(8)), MAJORITY);
    assert_eq!(shelf.newest(), None, "one does");
    shelf.attest(&proposal(2, 8, state(7)), MAJORITY);
    shelf.attest(&proposal(3, 7, state(8)), MAJORITY);
    assert_eq!(shelf.newest(), None, "others attest another state and another round");
    shelf.attest(&proposal(2, 8, state(8)), MAJORITY);
    let part = ask(&mut shelf, (0, 0), 0);
    let signers: Vec<u8> =
        part.manifest.iter().flatten().map(|h| h.peek().replica.number()).collect();
    assert_eq!((part.round, part.total, signers), (Round(8), 5, vec![1, 2]));
    assert_eq!(part.bytes, vec![1; 5]);
}

#[test]
fn the_newest_attested_snapshot_and_one_that_is_newer_are_kept() {
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 5);
    shelf.take(Round(9), state(9), Bytes::new());
    assert_eq!(ask(&mut shelf, (0, 0), 0).round, Round(8));
    stable(&mut shelf, 18, 5);
    assert_eq!((ask(&mut shelf, (0, 0), 0).round, shelf.oldest()), (Round(18), Some(Round(8))));
    // Whoever went on from the one before gets past the newest meanwhile.
    stable(&mut shelf, 28, 5);
    shelf.expire(Instant(u64::MAX));
    assert_eq!(shelf.oldest(), Some(Round(18)));
    shelf.clear();
    assert_eq!((ask(&mut shelf, (0, 0), 0), shelf.oldest()), (SnapshotPart::none(), None));
}

fn rounds(shelf: &Shelf) -> Vec<u64> {
    shelf.pending.iter().map(|p| p.round.0).collect()
}

/// In an idle group the last one taken is the last for long: the members' next proposals attest
/// it, also when they had left the one before behind.
#[test]
fn the_last_snapshot_is_kept_whatever_was_taken_before() {
    let mut shelf = Shelf::default();
    for round in [8, 9, 10] {
        shelf.take(Round(round), state(round), Bytes::from_static(&[1]));
    }
    for member in [1, 2] {
        shelf.attest(&proposal(member, 10, state(10)), MAJORITY);
    }
    assert_eq!((shelf.newest(), rounds(&shelf)), (Some(Round(10)), vec![]));
}

/// With a checkpoint each round the last one taken is never attested before the next.
#[test]
fn the_older_one_of_two_waits_for_its_statements_some_rounds_before_it_gives_way() {
    let mut shelf = Shelf::default();
    for round in 9..=9 + WAIT {
        shelf.take(Round(round), state(round), Bytes::from_static(&[1]));
    }
    assert_eq!(rounds(&shelf), vec![9, 9 + WAIT]);
    shelf.take(Round(10 + WAIT), state(10 + WAIT), Bytes::from_static(&[1]));
    assert_eq!(rounds(&shelf), vec![9 + WAIT, 10 + WAIT]);
}

#[test]
fn parts_follow_each_other_and_end_where_the_snapshot_does() {
    let mut shelf = Shelf::default();
    let (first, rest) = (SnapshotPart::MAX as u64, 7);
    stable(&mut shelf, 8, SnapshotPart::MAX + 7);
    let part = ask(&mut shelf, (8, 0), 0);
    assert_eq!((part.bytes.len() as u64, part.manifest.is_some()), (first, true));
    let part = ask(&mut shelf, (8, first), 0);
    assert_eq!((part.bytes.len(), part.offset, part.manifest), (rest, first, None));
    for nothing in [(8, first + 7), (8, u64::MAX), (9, 0), (7, 0)] {
        assert_eq!(ask(&mut shelf, nothing, 0), SnapshotPart::none(), "{nothing:?}");
    }
}

/// A large state takes longer than from one checkpoint to the next: whoever fetches one may end it.
#[test]
fn a_snapshot_that_is_being_fetched_stays_while_its_fetcher_gets_on() {
    let patience = PATIENCE.as_nanos() as u64;
    let part = SnapshotPart::MAX as u64;
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 4 * SnapshotPart::MAX);
    ask(&mut shelf, (0, 0), 0);
    stable(&mut shelf, 15, 5);
    stable(&mut shelf, 16, 5);
    assert_eq!(shelf.oldest(), Some(Round(8)), "bodies since then are needed");
    shelf.expire(Instant(patience - 1));
    assert_eq!(ask(&mut shelf, (8, part), patience - 1).round, Round(8));
    // It asks for the same again and again: that does not count.
    shelf.expire(Instant(2 * patience - 2));
    assert_eq!(ask(&mut shelf, (8, part), 2 * patience - 2).round, Round(8));
    shelf.expire(Instant(2 * patience - 1));
    assert_eq!(ask(&mut shelf, (8, 2 * part), 2 * patience), SnapshotPart::none());
    assert_eq!(shelf.oldest(), Some(Round(15)));
    // The same when its link goes, and nothing stays for whoever needs none.
    ask(&mut shelf, (0, 0), 0);
    stable(&mut shelf, 24, 5);
    shelf.release(id(PEER));
    assert_eq!(ask(&mut shelf, (16, 0), 0), SnapshotPart::none());
    shelf.part(id(PEER), &WantSnapshot { round: Round(0), offset: 0 }, (Instant(0), None));
    stable(&mut shelf, 32, 5);
    assert_eq!(ask(&mut shelf, (24, 0), 0), SnapshotPart::none());
}
