//! What is kept for whom, and for how long.

use super::*;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey};
use crate::replica::transfer::{Encoding, Head};
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

fn ask(shelf: &mut Shelf, round: u64, at: u64) -> SnapshotOffer {
    asked_by(PEER, shelf, round, (at, Some(PATIENCE)))
}

fn ask_chunk(shelf: &mut Shelf, (round, chunk): (u64, u32), at: u64) -> SnapshotPart {
    let want = WantSnapshot { round: Round(round), piece: Piece::Chunk(chunk) };
    shelf.part(id(PEER), want, (Instant(at), Some(PATIENCE)))
}

/// As a replica does where bytes are made at once.
fn asked_by(
    peer: u8,
    shelf: &mut Shelf,
    round: u64,
    (at, patience): (u64, Option<Duration>),
) -> SnapshotOffer {
    let (round, now) = (Round(round), Instant(at));
    shelf.choose(id(peer), round, (now, PATIENCE));
    if let Some(state) = shelf.unmade() {
        let made = Encoding::new(state.clone(), true).run();
        shelf.set_bytes(made, now + PATIENCE);
    }
    shelf.offer(id(peer), round, (now, patience))
}

#[test]
fn a_snapshot_is_given_once_t_plus_one_replicas_attest_its_state() {
    let mut shelf = Shelf::default();
    shelf.take(frozen(8, 5), state(8));
    assert_eq!(ask(&mut shelf, 0, 0), SnapshotOffer::none(), "nobody attests it");
    shelf.attest(&proposal(1, 8, state(8)), MAJORITY);
    shelf.attest(&proposal(1, 8, state(8)), MAJORITY);
    assert_eq!(shelf.newest(), None, "one does");
    shelf.attest(&proposal(2, 8, state(7)), MAJORITY);
    shelf.attest(&proposal(3, 7, state(8)), MAJORITY);
    assert_eq!(shelf.newest(), None, "others attest another state and another round");
    shelf.attest(&proposal(2, 8, state(8)), MAJORITY);
    let offer = ask(&mut shelf, 0, 0);
    let signers: Vec<u8> = offer.proof.iter().map(|h| h.peek().replica.number()).collect();
    let bytes = frozen(8, 5).to_bytes();
    assert_eq!((offer.round, offer.total, signers), (Round(8), bytes.len() as u64, vec![1, 2]));
    assert_eq!(offer.pages, ChunkList::of(&bytes).unwrap().digests());
    assert_eq!(ask_chunk(&mut shelf, (8, 0), 0).bytes, bytes);
}

#[test]
fn the_newest_attested_snapshot_and_one_that_is_newer_are_kept() {
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 5);
    shelf.take(frozen(9, 0), state(9));
    assert_eq!(ask(&mut shelf, 0, 0).round, Round(8));
    stable(&mut shelf, 18, 5);
    assert_eq!((ask(&mut shelf, 0, 0).round, shelf.oldest()), (Round(18), Some(Round(8))));
    // Whoever went on from the one before gets past the newest meanwhile.
    stable(&mut shelf, 28, 5);
    shelf.expire(Instant(u64::MAX));
    assert_eq!(shelf.oldest(), Some(Round(18)));
    shelf.clear();
    assert_eq!((ask(&mut shelf, 0, 0), shelf.oldest()), (SnapshotOffer::none(), None));
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
fn pages_and_chunks_are_given_of_what_was_offered_and_nothing_else() {
    let mut shelf = Shelf::default();
    let more = frozen(8, 0).to_bytes().len();
    stable(&mut shelf, 8, SnapshotPart::MAX + 7 - more);
    assert_eq!(ask_chunk(&mut shelf, (8, 0), 0).bytes, "", "nobody has asked for an offer");
    let offer = ask(&mut shelf, 8, 0);
    let bytes = frozen(8, SnapshotPart::MAX + 7 - more).to_bytes();
    assert_eq!(ask_chunk(&mut shelf, (8, 0), 0).bytes, bytes.slice(..SnapshotPart::MAX));
    assert_eq!(ask_chunk(&mut shelf, (8, 1), 0).bytes, bytes.slice(SnapshotPart::MAX..));
    let mut piece = |round, piece| {
        let want = WantSnapshot { round: Round(round), piece };
        shelf.part(id(PEER), want, (Instant(0), Some(PATIENCE))).bytes
    };
    assert_eq!(SnapshotShape::page_digest(&piece(8, Piece::Page(0))), offer.pages[0]);
    for (round, nothing) in [
        (8, Piece::Chunk(2)),
        (8, Piece::Chunk(u32::MAX)),
        (8, Piece::Page(1)),
        (8, Piece::Page(u32::MAX)),
        (9, Piece::Chunk(0)),
        (7, Piece::Page(0)),
    ] {
        assert_eq!(piece(round, nothing), "", "{round} {nothing:?}");
    }
    assert_eq!(ask(&mut shelf, 9, 0), SnapshotOffer::none());
}

/// A large state takes longer than from one checkpoint to the next: whoever fetches one may end it.
#[test]
fn a_snapshot_that_is_being_fetched_stays_while_its_fetcher_gets_on() {
    let patience = PATIENCE.as_nanos() as u64;
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 4 * SnapshotPart::MAX);
    ask(&mut shelf, 0, 0);
    stable(&mut shelf, 15, 5);
    stable(&mut shelf, 16, 5);
    assert_eq!(shelf.oldest(), Some(Round(8)), "bodies since then are needed");
    // It asks for the same again and again: as often as there are pieces, twice.
    let mut at = 0;
    let given = (0..100).take_while(|_| {
        at += patience - 1;
        shelf.expire(Instant(at));
        !ask_chunk(&mut shelf, (8, 1), at).bytes.is_empty()
    });
    assert_eq!(given.count(), 2 * (5 + 1) + 1);
    assert_eq!(shelf.oldest(), Some(Round(15)));
    // Its link may break and come back; but nothing stays for whoever needs none.
    let at = at + patience;
    assert_eq!(ask(&mut shelf, 0, at).round, Round(16));
    stable(&mut shelf, 24, 5);
    assert_eq!(ask(&mut shelf, 16, at + patience - 1).round, Round(16));
    shelf.expire(Instant(at + 2 * patience));
    assert_eq!(ask(&mut shelf, 16, at + 2 * patience), SnapshotOffer::none());
    assert_eq!(asked_by(PEER, &mut shelf, 0, (at, None)).round, Round(24));
    stable(&mut shelf, 32, 5);
    assert_eq!(ask_chunk(&mut shelf, (24, 0), at).bytes, "");
}

/// Whoever has all of a large state is busy with it, and then asks for what came after it.
#[test]
fn a_large_snapshot_stays_for_as_long_as_it_takes_to_take_it_up() {
    let patience = PATIENCE.as_nanos() as u64;
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 2 * TAKEN_UP as usize);
    ask(&mut shelf, 0, 0);
    for round in [16, 24, 32] {
        stable(&mut shelf, round, 5);
    }
    let at = patience / 2;
    assert!(!ask_chunk(&mut shelf, (8, 1), at).bytes.is_empty());
    let long = at + patience + 2_000_000_000;
    for (now, oldest) in [(at + patience, 8), (long - 1, 8), (long, 24)] {
        shelf.expire(Instant(now));
        assert_eq!(shelf.oldest(), Some(Round(oldest)), "{now}");
    }
}

/// Checkpoints are left out while somebody gets parts, but not for who only asks for an offer, and
/// not for ever.
#[test]
fn checkpoints_are_left_out_as_long_as_parts_are_given_and_not_for_ever() {
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 600 * 1024);
    let take = |shelf: &mut Shelf, patience| {
        let want = WantSnapshot { round: Round(8), piece: Piece::Chunk(0) };
        assert!(!shelf.part(id(PEER), want, (Instant(0), patience)).bytes.is_empty());
        shelf.is_being_fetched()
    };
    ask(&mut shelf, 0, 0);
    assert!(!shelf.is_being_fetched() && !shelf.leaves_out(), "an offer is no part");
    assert!(!take(&mut shelf, None) && !shelf.leaves_out(), "it has a state");
    assert!(take(&mut shelf, Some(PATIENCE)) && take(&mut shelf, Some(PATIENCE)));
    assert!(shelf.leaves_out() && shelf.is_being_fetched());
    ask(&mut shelf, 0, 0);
    assert!(!shelf.leaves_out() && !shelf.is_being_fetched(), "it got nothing since");
    let left_out = |shelf: &mut Shelf| {
        take(shelf, Some(PATIENCE));
        shelf.leaves_out()
    };
    let row: Vec<bool> = (0..2 * (MOST_LEFT_OUT + 1)).map(|_| left_out(&mut shelf)).collect();
    let taken: Vec<usize> = (0..row.len()).filter(|i| !row[*i]).collect();
    assert_eq!(taken, [16, 33]);
    assert!(take(&mut shelf, Some(PATIENCE)));
    shelf.clear();
    assert!(!shelf.is_being_fetched(), "all have a state");
    let mut shelf = Shelf::new(1 << 20);
    stable(&mut shelf, 8, 600 * 1024);
    ask(&mut shelf, 0, 0);
    assert!(!take(&mut shelf, Some(PATIENCE)), "a small state is copied in no time");
}

/// Whoever waits for bytes gets them, however many checkpoints there were meanwhile; and all that
/// ask get the same ones.
#[test]
fn bytes_that_were_made_for_somebody_are_given_to_it_though_there_is_a_newer_snapshot() {
    let patience = PATIENCE.as_nanos() as u64;
    let mut shelf = Shelf::default();
    stable(&mut shelf, 8, 5);
    let ask = |shelf: &mut Shelf, peer, round, at| {
        shelf.choose(id(peer), Round(round), (Instant(at), PATIENCE));
        shelf.offer(id(peer), Round(round), (Instant(at), Some(PATIENCE)))
    };
    let not_yet = SnapshotOffer::not_yet(Round(8));
    assert_eq!(ask(&mut shelf, PEER, 0, 0), not_yet);
    assert_eq!(shelf.unmade().map(FrozenState::round), Some(Round(8)));
    shelf.await_bytes(1);
    assert!(shelf.awaits(1) && !shelf.awaits(2) && shelf.unmade().is_none());
    for round in [16, 24] {
        stable(&mut shelf, round, 5);
        assert_eq!(ask(&mut shelf, PEER, 0, round), not_yet);
    }
    // It also waits if it asks for that one by its round.
    assert_eq!(ask(&mut shelf, PEER, 8, patience), not_yet);
    shelf.expire(Instant(patience + 30));
    assert_eq!(shelf.oldest(), Some(Round(8)), "what comes after it is needed");
    assert!(shelf.attested().is_some_and(|(_, _, bytes)| bytes.is_none()));
    let (bytes, at) = (frozen(8, 5).to_bytes(), patience + 40);
    shelf.set_bytes(Encoding::new(frozen(8, 5), true).run(), Instant(at));
    for peer in [PEER, 2] {
        let offer = ask(&mut shelf, peer, 0, at);
        assert_eq!((offer.round, offer.total), (Round(8), bytes.len() as u64));
    }
    // The first one begins again while the other fetches: there are bytes of one state only.
    assert_eq!(ask(&mut shelf, PEER, 0, at).round, Round(8));
    shelf.expire(Instant(at + 2 * patience));
    assert_eq!(ask(&mut shelf, PEER, 0, at + 2 * patience), SnapshotOffer::not_yet(Round(24)));
    assert_eq!(shelf.unmade().map(FrozenState::round), Some(Round(24)));
    // Nobody waits for it any longer.
    shelf.await_bytes(2);
    stable(&mut shelf, 32, 5);
    shelf.expire(Instant(at + 4 * patience));
    assert!(!shelf.awaits(2));
}
