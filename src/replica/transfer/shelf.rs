//! The snapshots that a replica keeps for others.
//!
//! They are kept as frozen states, which share with the present one what has not changed since.
//! Bytes exist of one of them at most: the one that is being fetched, by however many.

use super::list::{ChunkList, Encoded};
use super::proof::{Proof, Statements, attested};
use super::snapshot::FrozenState;
use crate::crypto::Verified;
use crate::types::plant::planted;
use crate::types::{Digest, Instant, ReplicaId, Round};
use crate::wire::{Piece, Proposal, SnapshotOffer, SnapshotPart, SnapshotShape, WantSnapshot};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The older one of two that are not attested yet gives way after so many rounds: what a replica
/// attests of it stands in its proposal two rounds later, and is committed in the next.
const WAIT: u64 = 8;

/// Whoever has all of a snapshot takes up at least so many bytes of it in a second, and asks for
/// nothing meanwhile. What came after the snapshot must not go before it asks for that.
const TAKEN_UP: u64 = 8 << 20;

/// So many checkpoints in a row are left out at most while a snapshot is fetched.
const MOST_LEFT_OUT: u64 = 16;

/// An attested snapshot.
#[derive(Clone, Debug)]
struct Stable {
    state: FrozenState,
    proof: Proof,
}

/// One that is not attested yet.
#[derive(Debug)]
struct Pending {
    state: FrozenState,
    digest: Digest,
    statements: Statements,
}

/// The snapshot that is being given to others.
#[derive(Debug)]
struct Served {
    snapshot: Stable,
    bytes: Made,
}

/// What there is of a snapshot's bytes.
#[derive(Debug)]
enum Made {
    Not,
    /// Somebody makes them and will give them under this number.
    Soon(u64),
    Here(Bytes, ChunkList),
}

/// Somebody is fetching what is served.
#[derive(Debug)]
struct Hold {
    /// Answers that it was given: whoever got far more than there are pieces does not get on, and
    /// loses its hold. 0 as long as there were no bytes.
    given: u64,
    until: Instant,
}

impl Hold {
    fn new(until: Instant) -> Self {
        Self { given: 0, until }
    }
}

/// Three snapshots at most: the newest that `t + 1` replicas attest, and two newer ones that they
/// do not yet. Of these the newer is always the last that was taken: members that leave one
/// checkpoint behind quickly attest the next, which in an idle group is the last for long. The
/// older has its time, since where checkpoints are close together the last one never would.
/// Besides those, one that was replaced stays while somebody is fetching it: for a large state
/// that takes longer than from one checkpoint to the next. Who comes meanwhile gets that one, too.
#[derive(Debug, Default)]
pub(in crate::replica) struct Shelf {
    stable: Option<Stable>,
    /// The round of the attested one before it.
    before: Option<Round>,
    /// Ascending by round, two at most.
    pending: Vec<Pending>,
    served: Option<Served>,
    /// Of what is served.
    holds: BTreeMap<ReplicaId, Hold>,
    /// Up to so many bytes a state is small: nothing need wait while it is fetched.
    small: usize,
    /// Whether parts of what is served were given since the last checkpoint ...
    fetched: bool,
    /// ... and how many checkpoints in a row were left out for that.
    left_out: u64,
    /// Whether snapshots are taken although all are members.
    pub(in crate::replica) always: bool,
}

impl Stable {
    fn round(&self) -> Round {
        self.state.round()
    }
}

impl Shelf {
    /// An empty one, where states of up to so many bytes are small.
    pub(in crate::replica) fn new(small: usize) -> Self {
        Self { small, ..Self::default() }
    }

    /// Takes a snapshot of this replica's own state, which has this digest.
    pub(in crate::replica) fn take(&mut self, state: FrozenState, digest: Digest) {
        let (round, statements) = (state.round(), Statements::default());
        let waits = |p: &Pending| round.0 <= p.state.round().0.saturating_add(WAIT);
        if planted("s7-last-not-kept") && self.pending.first().is_some_and(waits) {
            return;
        }
        if let [older, _] = &self.pending[..] {
            self.pending.remove(usize::from(waits(older)));
        }
        self.pending.push(Pending { state, digest, statements });
    }

    /// A proposal was committed; it may attest what is kept.
    pub(in crate::replica) fn attest(&mut self, proposal: &Verified<Proposal>, majority: usize) {
        let what = attested(&proposal.attestation);
        let is_it = |p: &&mut Pending| (p.state.round(), p.digest) == what;
        let Some(pending) = self.pending.iter_mut().find(is_it) else { return };
        pending.statements.add(proposal);
        let Some(proof) = pending.statements.proof(majority) else { return };
        let state = pending.state.clone();
        self.adopt(state, proof);
    }

    /// Keeps a snapshot whose attestation is known: it is the newest.
    pub(in crate::replica) fn adopt(&mut self, state: FrozenState, proof: Proof) {
        let round = state.round();
        self.before = self.newest().filter(|newest| *newest < round);
        self.stable = Some(Stable { state, proof });
        self.pending.retain(|p| p.state.round() > round);
        self.drop_unfetched();
    }

    /// Nobody will need a snapshot: those that nobody is fetching go.
    pub(in crate::replica) fn clear(&mut self) {
        (self.stable, self.before) = (None, None);
        (self.fetched, self.left_out) = (false, 0);
        self.pending.clear();
        self.drop_unfetched();
    }

    /// What this replica has executed is wrong: nothing of it is given to others.
    pub(in crate::replica) fn forget(&mut self) {
        *self = Self { always: self.always, ..Self::new(self.small) };
    }

    /// Ends the holds of those that do not get on.
    pub(in crate::replica) fn expire(&mut self, now: Instant) {
        self.holds.retain(|_, hold| now < hold.until);
        self.drop_unfetched();
    }

    /// What was replaced stays only for whoever is fetching it.
    fn drop_unfetched(&mut self) {
        let newest = self.stable.as_ref().map(|s| &s.state);
        let is_newest = |served: &Served| newest == Some(&served.snapshot.state);
        if self.holds.is_empty() && !self.served.as_ref().is_some_and(is_newest) {
            self.served = None;
        }
    }

    /// The round of the oldest snapshot that somebody may still go on from. Whoever went on from
    /// the one before the newest has as long as from one to the next to get past the newest: what
    /// came after it must not go just when the newest is attested.
    pub(in crate::replica) fn oldest(&self) -> Option<Round> {
        let served = self.served.as_ref().filter(|_| !self.holds.is_empty());
        let held = served.map(|served| served.snapshot.round());
        let before = self.before.filter(|_| !planted("r7-newest-only"));
        held.into_iter().chain(before).chain(self.newest()).min()
    }

    /// The round of the newest attested snapshot.
    pub(in crate::replica) fn newest(&self) -> Option<Round> {
        self.stable.as_ref().map(Stable::round)
    }

    /// The newest attested snapshot, what attests it, and its bytes if they are here.
    pub(in crate::replica) fn attested(&self) -> Option<(&FrozenState, &Proof, Option<Bytes>)> {
        let stable = self.stable.as_ref()?;
        let same = self.served.as_ref().filter(|s| s.snapshot.state == stable.state);
        let bytes = same.and_then(|served| match &served.bytes {
            Made::Here(bytes, _) => Some(bytes.clone()),
            Made::Not | Made::Soon(_) => None,
        });
        Some((&stable.state, &stable.proof, bytes))
    }

    /// Somebody wants an offer of this round, 0 for any: decides which snapshot is served from now
    /// on. Whoever waits for bytes gets those that were made for it, also when there is a newer
    /// snapshot by then: with a large state there always is.
    pub(in crate::replica) fn choose(
        &mut self,
        peer: ReplicaId,
        round: Round,
        (now, patience): (Instant, Duration),
    ) {
        let of_newest = round == Round(0) || Some(round) == self.newest();
        let waits = self.holds.get(&peer).is_some_and(|hold| hold.given == 0);
        let alone = self.holds.keys().all(|other| *other == peer);
        let newest = self.stable.as_ref().filter(|_| of_newest && alone && !waits);
        let served = self.served.as_ref().map(|s| &s.snapshot.state);
        if let Some(newest) = newest.filter(|newest| served != Some(&newest.state)) {
            self.holds.remove(&peer);
            self.served = Some(Served { snapshot: newest.clone(), bytes: Made::Not });
        }
        let Some(Served { snapshot, bytes: Made::Not | Made::Soon(_) }) = &self.served else {
            return;
        };
        if round == Round(0) || round == snapshot.round() {
            let until = now + patience;
            let hold = self.holds.entry(peer).or_insert(Hold::new(until));
            hold.until = hold.until.max(until);
        }
    }

    /// Whether somebody who needs it got parts of what is served, at this checkpoint or the last,
    /// and that is not small.
    pub(in crate::replica) fn is_being_fetched(&self) -> bool {
        self.fetched || self.left_out > 0
    }

    /// At a checkpoint: whether no snapshot need be taken, since somebody goes on from the one that
    /// it fetches. Who only asks for an offer may need a newer one; and nobody can put off the next
    /// for long.
    pub(in crate::replica) fn leaves_out(&mut self) -> bool {
        let fetched = std::mem::take(&mut self.fetched) && self.left_out < MOST_LEFT_OUT;
        self.left_out = if fetched { self.left_out + 1 } else { 0 };
        fetched
    }

    /// The served snapshot, if nobody has made its bytes or is making them.
    pub(in crate::replica) fn unmade(&self) -> Option<&FrozenState> {
        let served = self.served.as_ref().filter(|s| matches!(s.bytes, Made::Not));
        served.map(|s| &s.snapshot.state)
    }

    /// The bytes of what is served will come under this number.
    pub(in crate::replica) fn await_bytes(&mut self, number: u64) {
        if let Some(served) = &mut self.served {
            served.bytes = Made::Soon(number);
        }
    }

    /// These are the bytes of what is served. Whoever waits for them has from now on the time for
    /// asking again.
    pub(in crate::replica) fn set_bytes(&mut self, encoded: Encoded, until: Instant) {
        let Some(served) = &mut self.served else { return };
        let Some(list) = encoded.list else { return self.give_up() };
        served.bytes = Made::Here(encoded.bytes, list);
        for hold in self.holds.values_mut().filter(|h| h.given == 0) {
            hold.until = hold.until.max(until);
        }
    }

    /// Whether bytes that were made under this number are of what is served.
    pub(in crate::replica) fn awaits(&self, number: u64) -> bool {
        self.served.as_ref().is_some_and(|s| matches!(s.bytes, Made::Soon(n) if n == number))
    }

    /// What is served cannot be given: its bytes are too many.
    pub(in crate::replica) fn give_up(&mut self) {
        (self.served, self.stable) = (None, None);
        self.holds.clear();
    }

    /// What is served, if it is of this round, 0 for any.
    fn served(&self, round: Round) -> Option<&Served> {
        let fits = |s: &&Served| round == Round(0) || s.snapshot.round() == round;
        self.served.as_ref().filter(fits)
    }

    /// What to answer to somebody who wants an offer, after [`Shelf::choose`]. With `patience` the
    /// snapshot stays for so long at least, or until the next answer.
    pub(in crate::replica) fn offer(
        &mut self,
        peer: ReplicaId,
        round: Round,
        (now, patience): (Instant, Option<Duration>),
    ) -> SnapshotOffer {
        let Some(Served { snapshot, bytes }) = self.served(round) else {
            return SnapshotOffer::none();
        };
        let round = snapshot.round();
        let Made::Here(bytes, list) = bytes else { return SnapshotOffer::not_yet(round) };
        let (total, pages) = (bytes.len() as u64, list.digests().to_vec());
        let offer = SnapshotOffer { round, total, pages, proof: snapshot.proof.clone() };
        self.hold(peer, total, (now, patience));
        offer
    }

    /// What to answer to somebody who wants a page or a chunk.
    pub(in crate::replica) fn part(
        &mut self,
        peer: ReplicaId,
        WantSnapshot { round, piece }: WantSnapshot,
        (now, patience): (Instant, Option<Duration>),
    ) -> SnapshotPart {
        let none = SnapshotPart { round, piece, bytes: Bytes::new() };
        let Some(Served { bytes: Made::Here(bytes, list), .. }) = self.served(round) else {
            return none;
        };
        let total = bytes.len() as u64;
        let found = match piece {
            Piece::Offer => None,
            Piece::Page(number) => list.page(number).cloned(),
            Piece::Chunk(number) => SnapshotShape::new(total).map(|shape| {
                let range = shape.bytes_of(number);
                bytes.slice(range.start as usize..range.end as usize)
            }),
        };
        let Some(bytes) = found else { return none };
        self.hold(peer, total, (now, patience));
        self.fetched |= patience.is_some() && total > self.small as u64;
        SnapshotPart { bytes, ..none }
    }

    /// Holds what is served for somebody who was given something of its `total` bytes.
    fn hold(&mut self, peer: ReplicaId, total: u64, (now, patience): (Instant, Option<Duration>)) {
        let Some(patience) = patience else {
            self.holds.remove(&peer);
            return;
        };
        let until = now + patience + Duration::from_secs(total / TAKEN_UP);
        let hold = self.holds.entry(peer).or_insert(Hold::new(until));
        // Twice as much as there is: a link may break, and some of it is asked for again.
        let pieces = SnapshotShape::new(total).map_or(0, |s| s.chunks() + s.pages());
        if hold.given <= 2 * u64::from(pieces) {
            hold.given += 1;
            hold.until = hold.until.max(until);
        }
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
