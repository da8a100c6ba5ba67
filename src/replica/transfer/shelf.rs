//! The snapshots that a replica keeps for others.

use super::proof::{Proof, Statements, attested};
use crate::crypto::Verified;
use crate::types::plant::planted;
use crate::types::{Digest, Instant, ReplicaId, Round};
use crate::wire::{Proposal, SnapshotPart, WantSnapshot};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The older one of two that are not attested yet gives way after so many rounds: what a replica
/// attests of it stands in its proposal two rounds later, and is committed in the next.
const WAIT: u64 = 8;

/// An attested snapshot.
#[derive(Debug)]
struct Stable {
    round: Round,
    bytes: Bytes,
    proof: Proof,
}

/// One that is not attested yet.
#[derive(Debug)]
struct Pending {
    round: Round,
    state: Digest,
    bytes: Bytes,
    statements: Statements,
}

/// A snapshot that somebody is fetching.
#[derive(Debug)]
struct Hold {
    snapshot: Arc<Stable>,
    /// The last offset asked for: whoever does not get on loses its hold.
    offset: u64,
    until: Instant,
}

/// Three snapshots at most: the newest that `t + 1` replicas attest, and two newer ones that they
/// do not yet. Of these the newer is always the last that was taken: members that leave one
/// checkpoint behind quickly attest the next, which in an idle group is the last for long. The
/// older has its time, since where checkpoints are close together the last one never would.
/// Besides those, one that was replaced stays for each replica that is fetching it: for a large
/// state that takes longer than from one checkpoint to the next.
#[derive(Debug, Default)]
pub(in crate::replica) struct Shelf {
    stable: Option<Arc<Stable>>,
    /// The round of the attested one before it.
    before: Option<Round>,
    /// Ascending by round, two at most.
    pending: Vec<Pending>,
    holds: BTreeMap<ReplicaId, Hold>,
    /// Whether snapshots are taken although all are members.
    pub(in crate::replica) always: bool,
}

impl Shelf {
    /// Takes a snapshot of this replica's own state.
    pub(in crate::replica) fn take(&mut self, round: Round, state: Digest, bytes: Bytes) {
        let statements = Statements::default();
        let waits = |p: &Pending| round.0 <= p.round.0.saturating_add(WAIT);
        if planted("s7-last-not-kept") && self.pending.first().is_some_and(waits) {
            return;
        }
        if let [older, _] = &self.pending[..] {
            self.pending.remove(usize::from(waits(older)));
        }
        self.pending.push(Pending { round, state, bytes, statements });
    }

    /// A proposal was committed; it may attest what is kept.
    pub(in crate::replica) fn attest(&mut self, proposal: &Verified<Proposal>, majority: usize) {
        let what = attested(&proposal.attestation);
        let Some(pending) = self.pending.iter_mut().find(|p| (p.round, p.state) == what) else {
            return;
        };
        pending.statements.add(proposal);
        let Some(proof) = pending.statements.proof(majority) else { return };
        let (round, bytes) = (pending.round, pending.bytes.clone());
        self.adopt(round, bytes, proof);
    }

    /// Keeps a snapshot whose attestation is known: it is the newest.
    pub(in crate::replica) fn adopt(&mut self, round: Round, bytes: Bytes, proof: Proof) {
        self.before = self.newest().filter(|newest| *newest < round);
        self.stable = Some(Arc::new(Stable { round, bytes, proof }));
        self.pending.retain(|p| p.round > round);
    }

    /// Nobody will need a snapshot: those that nobody is fetching go.
    pub(in crate::replica) fn clear(&mut self) {
        (self.stable, self.before) = (None, None);
        self.pending.clear();
    }

    /// The link to a replica is gone, and with it what it was fetching.
    pub(in crate::replica) fn release(&mut self, peer: ReplicaId) {
        self.holds.remove(&peer);
    }

    /// Ends the holds of those that do not get on.
    pub(in crate::replica) fn expire(&mut self, now: Instant) {
        self.holds.retain(|_, hold| now < hold.until);
    }

    /// The round of the oldest snapshot that somebody may still go on from. Whoever went on from
    /// the one before the newest has as long as from one to the next to get past the newest: what
    /// came after it must not go just when the newest is attested.
    pub(in crate::replica) fn oldest(&self) -> Option<Round> {
        let held = self.holds.values().map(|h| h.snapshot.round).min();
        let before = self.before.filter(|_| !planted("r7-newest-only"));
        held.into_iter().chain(before).chain(self.newest()).min()
    }

    /// The round of the newest attested snapshot.
    pub(in crate::replica) fn newest(&self) -> Option<Round> {
        self.stable.as_ref().map(|s| s.round)
    }

    /// The newest attested snapshot: its round, its bytes and what attests it.
    pub(in crate::replica) fn attested(&self) -> Option<(Round, Bytes, Proof)> {
        self.stable.as_ref().map(|s| (s.round, s.bytes.clone(), s.proof.clone()))
    }

    /// What to answer. With `patience` the snapshot stays for so long at least, or until the next
    /// part is asked for.
    pub(in crate::replica) fn part(
        &mut self,
        peer: ReplicaId,
        want: &WantSnapshot,
        (now, patience): (Instant, Option<Duration>),
    ) -> SnapshotPart {
        let Some(snapshot) = self.find(peer, want.round) else { return SnapshotPart::none() };
        let length = snapshot.bytes.len();
        let Some(start) = usize::try_from(want.offset).ok().filter(|start| *start < length) else {
            return SnapshotPart::none();
        };
        let before = self.holds.get(&peer).filter(|h| h.snapshot.round == snapshot.round);
        let gets_on = before.is_none_or(|h| want.offset > h.offset);
        if let Some(patience) = patience.filter(|_| gets_on) {
            let (snapshot, offset) = (snapshot.clone(), want.offset);
            self.holds.insert(peer, Hold { snapshot, offset, until: now + patience });
        }
        SnapshotPart {
            round: snapshot.round,
            total: length as u64,
            offset: want.offset,
            manifest: (start == 0).then(|| snapshot.proof.clone()),
            bytes: snapshot.bytes.slice(start..length.min(start + SnapshotPart::MAX)),
        }
    }

    fn find(&self, peer: ReplicaId, round: Round) -> Option<Arc<Stable>> {
        let held = self.holds.get(&peer).map(|h| &h.snapshot).filter(|s| s.round == round);
        let newest = self.stable.as_ref().filter(|s| round == Round(0) || s.round == round);
        held.or(newest).cloned()
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
