//! What is kept for whom, and for how long.

use super::*;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey};
use crate::replica::transfer::Head;
use crate::service::sessions::{SessionLimits, SessionTable};
use crate::types::{AgreedTime, Ensemble, Epoch, GroupId, OrderLimits};
use crate::wire::{Attestation, StepPosition};

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

/// A state of this round whose service has so many bytes.
fn frozen(round: u64, bytes: usize) -> FrozenState {
    let position = StepPosition { round: Round(round), ..StepPosition::default() };
    let head = Head { position, running: Digest::ZERO, time: AgreedTime(0), executed: 0 };
    let sessions = SessionTable::new(SessionLimits::of(&OrderLimits::default())).freeze();
    FrozenState::new(head, Bytes::new(), sessions, Box::new(vec![round as u8; bytes]))
}

/// Takes a snapshot of this round; the members 1 and 2 attest it.
fn stable(shelf: &mut Shelf, round: u64, bytes: usize) {
    shelf.take(frozen(round, bytes), state(round));
    for member in [1, 2] {
        shelf.attest(&proposal(member, round, state(round)), MAJORITY);
    }
    assert_eq!(shelf.newest(), Some(Round(round)));
}

fn ask(shelf: &mut Shelf, (round, offset): (u64, u64), at: u64) -> SnapshotPart {
    asked_by(PEER, shelf, (round, offset), (at, Some(PATIENCE)))
}

/// As a replica does where bytes are made at once.
fn asked_by(
    peer: u8,
    shelf: &mut Shelf,
    (round, offset): (u64, u64),
    (at, patience): (u64, Option<Duration>),
) -> SnapshotPart {
    let (want, now) = (WantSnapshot { round: Round(round), offset }, Instant(at));
    shelf.choose(id(peer), &want, (now, PATIENCE));
    if let Some(state) = shelf.unmade() {
        let bytes = state.to_bytes();
        shelf.set_bytes(bytes, now + PATIENCE);
    }
    shelf.part(id(peer), &want, (now, patience))
}

#[test]
fn a_snapshot_is_given_once_t_plus_one_replicas_attest_its_state() {
    let mut shelf = Shelf::default();
    shelf.take(frozen(8, 5), state(8));
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
    let bytes = frozen(8, 5).to_bytes();
    assert_eq!((part.round, part.total, signers), (Round(8), bytes.len() as u64, vec![1, 2]));
    assert_eq!(part.bytes, bytes);
}

#[test]
fn the_newest_attested_snapshot_and_one_that_is_newer_are_kept() {
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 5);
    shelf.take(frozen(9, 0), state(9));
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
    shelf.pending.iter().map(|p| p.state.round().0).collect()
}

/// In an idle group the last one taken is the last for long: the members' next proposals attest
/// it, also when they had left the one before behind.
fn of_three_taken_the_last_is_attested() -> Option<Round> {
    let mut shelf = Shelf::default();
    for round in [8, 9, 10] {
        shelf.take(frozen(round, 1), state(round));
    }
    for member in [1, 2] {
        shelf.attest(&proposal(member, 10, state(10)), MAJORITY);
    }
    assert!(shelf.newest().is_none() || rounds(&shelf).is_empty());
    shelf.newest()
}

#[test]
fn the_last_snapshot_is_kept_whatever_was_taken_before() {
    assert_eq!(of_three_taken_the_last_is_attested(), Some(Round(10)));
}

#[cfg(feature = "plant")]
#[test]
fn a_planted_shelf_that_keeps_the_first_is_noticed() {
    crate::types::plant::plant(Some("s7-last-not-kept"));
    let newest = of_three_taken_the_last_is_attested();
    crate::types::plant::plant(None);
    assert_eq!(newest, None);
}

/// With a checkpoint each round the last one taken is never attested before the next.
#[test]
fn the_older_one_of_two_waits_for_its_statements_some_rounds_before_it_gives_way() {
    let mut shelf = Shelf::default();
    for round in 9..=9 + WAIT {
        shelf.take(frozen(round, 1), state(round));
    }
    assert_eq!(rounds(&shelf), vec![9, 9 + WAIT]);
    shelf.take(frozen(10 + WAIT, 1), state(10 + WAIT));
    assert_eq!(rounds(&shelf), vec![9 + WAIT, 10 + WAIT]);
}

#[test]
fn parts_follow_each_other_and_end_where_the_snapshot_does() {
    let mut shelf = Shelf::default();
    let (first, rest) = (SnapshotPart::MAX as u64, 7);
    let more = frozen(8, 0).to_bytes().len();
    stable(&mut shelf, 8, SnapshotPart::MAX + 7 - more);
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
    assert_eq!(asked_by(PEER, &mut shelf, (0, 0), (0, None)).round, Round(24));
    stable(&mut shelf, 32, 5);
    assert_eq!(ask(&mut shelf, (24, 0), 0), SnapshotPart::none());
}

/// Whoever waits for bytes gets them, however many checkpoints there were meanwhile; and all that
/// ask get the same ones.
#[test]
fn bytes_that_were_made_for_somebody_are_given_to_it_though_there_is_a_newer_snapshot() {
    let patience = PATIENCE.as_nanos() as u64;
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 5);
    let want = WantSnapshot { round: Round(0), offset: 0 };
    let ask = |shelf: &mut Shelf, peer, at| {
        shelf.choose(id(peer), &want, (Instant(at), PATIENCE));
        shelf.part(id(peer), &want, (Instant(at), Some(PATIENCE)))
    };
    assert_eq!(ask(&mut shelf, PEER, 0), SnapshotPart::none(), "nothing yet");
    assert_eq!(shelf.unmade().map(FrozenState::round), Some(Round(8)));
    shelf.await_bytes(1);
    assert!(shelf.awaits(1) && !shelf.awaits(2) && shelf.unmade().is_none());
    for round in [16, 24] {
        stable(&mut shelf, round, 5);
        assert_eq!(ask(&mut shelf, PEER, round), SnapshotPart::none(), "nothing yet");
    }
    assert_eq!(shelf.oldest(), Some(Round(8)), "what comes after it is needed");
    assert!(shelf.attested().is_some_and(|(_, _, bytes)| bytes.is_none()));
    shelf.set_bytes(frozen(8, 5).to_bytes(), Instant(100));
    for peer in [PEER, 2] {
        let part = ask(&mut shelf, peer, 30);
        assert_eq!((part.round, part.bytes), (Round(8), frozen(8, 5).to_bytes()));
    }
    // The first one begins again while the other fetches: there are bytes of one state only.
    assert_eq!(ask(&mut shelf, PEER, 40).round, Round(8));
    shelf.release(id(2));
    assert_eq!(ask(&mut shelf, PEER, 50), SnapshotPart::none(), "of a newer one");
    assert_eq!(shelf.unmade().map(FrozenState::round), Some(Round(24)));
    // Nobody waits for it any longer.
    shelf.await_bytes(2);
    stable(&mut shelf, 32, 5);
    shelf.expire(Instant(60 + patience));
    assert!(!shelf.awaits(2));
}
