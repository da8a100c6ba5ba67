//! Fetching a snapshot from several sources at once.
//!
//! A source is believed in nothing. It first says what it has: a length, the digests of a list of
//! chunks, and what shows that `t + 1` replicas attest the checkpoint's state. Sources that say
//! the same make a group, and are asked for different pieces of the same whole. Each piece is
//! checked when it comes against what its source has claimed: whoever gives another one lied, and
//! is asked nothing more for long. When all are there the whole must give the attested state; if
//! it does not, everybody who claimed this list lied, and what came of it is worth nothing.
//!
//! What a source can do besides is waste time, and that is bounded. Something must come within
//! `patience`, or its pieces are asked of others, and it is asked again later. What came stays:
//! whoever is left goes on with it. A group must deliver within a time that grows with what came,
//! and with every group that was too slow.

use super::avoided::{Avoided, Lied};
use super::blame::Fault;
use super::partial::{Claim, Partial};
use super::proof::{self, Proof};
use super::source::{Ask, Source};
use crate::crypto::{Keyring, Scheme};
use crate::types::plant::planted;
use crate::types::{Digest, Instant, Members, Quotas, ReplicaId, Round};
use crate::wire::{Piece, SnapshotOffer, SnapshotPart, SnapshotShape, WantSnapshot};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many times `patience` a group has before anything came.
const TIMES: u32 = 64;
/// Bytes a second that a group delivers at least.
const FLOOR: u64 = 1 << 20;
/// How often the time of a group doubles at most.
const DOUBLINGS: u32 = 12;
/// What everybody hears who claimed a list that was found wrong before.
const AGAIN: &str = "it offers again what gave another state than the attested one";

/// What is being fetched, if anything.
#[derive(Debug)]
pub(in crate::replica) struct Download {
    /// Bytes of a snapshot at most.
    limit: u64,
    /// Pieces in flight at most, over all sources.
    slots: usize,
    /// Replicas of which one at least is good.
    pub(super) majority: usize,
    wanted: bool,
    /// Those whose links are up, but for those that are avoided.
    pub(super) sources: BTreeMap<ReplicaId, Source>,
    /// What was begun.
    pub(super) partial: Option<Partial>,
    /// Whether that is being fetched now, and since when.
    active: Option<Active>,
    /// When somebody is chosen at the latest, while nothing is being fetched.
    choose_at: Option<Instant>,
    /// Claims that did not give the attested state.
    pub(super) wrong: Vec<Claim>,
    pub(super) avoided: Avoided,
    /// How many groups were too slow.
    slow: u32,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    since: Instant,
    /// Bytes that were there then.
    had: u64,
}

/// A snapshot whose bytes are all there, and are not checked against the attested state yet.
#[derive(Debug)]
pub(in crate::replica) struct Whole {
    pub(super) claim: Claim,
    pub(super) claimants: Members,
    /// Who gave pieces of it.
    pub(in crate::replica) givers: Members,
    pub(in crate::replica) proof: Proof,
    pub(in crate::replica) bytes: Bytes,
}

impl Whole {
    /// The round of its checkpoint.
    pub(in crate::replica) fn round(&self) -> Round {
        self.claim.round
    }

    /// The state digest that its proof attests.
    pub(in crate::replica) fn state(&self) -> Digest {
        self.claim.state
    }
}

/// What something that came leads to.
#[derive(Debug)]
pub(in crate::replica) enum Verdict {
    /// Nobody asked for it (any more).
    Unasked,
    /// It was of use, or is no fault of its sender.
    Taken,
    /// The sender lied, and is avoided.
    Refused(Fault),
    /// That was the last piece.
    Whole(Box<Whole>),
}

impl Download {
    /// Nothing is wanted yet; one of `majority` replicas is good.
    pub(in crate::replica) fn new(quotas: &Quotas, majority: usize) -> Self {
        let slots = usize::try_from(quotas.transfer_bytes).unwrap_or(usize::MAX);
        Self {
            limit: quotas.snapshot_bytes,
            slots: (slots / SnapshotPart::MAX).max(1),
            majority,
            wanted: false,
            sources: BTreeMap::new(),
            partial: None,
            active: None,
            choose_at: None,
            wrong: Vec::new(),
            avoided: Avoided::default(),
            slow: 0,
        }
    }

    /// A snapshot is wanted from now on. Gives whether that is new.
    pub(in crate::replica) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.wanted, true)
    }

    /// No snapshot is wanted any more. Who lied is not forgotten.
    pub(in crate::replica) fn end(&mut self) {
        self.give_up();
        (self.wanted, self.slow) = (false, 0);
        self.sources.clear();
        self.wrong.clear();
    }

    /// What was begun is of no use any more.
    pub(in crate::replica) fn give_up(&mut self) {
        (self.partial, self.active, self.choose_at) = (None, None, None);
        self.sources.values_mut().for_each(|source| drop(source.take_back()));
    }

    /// Whether one is wanted.
    pub(in crate::replica) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whom it is asking for pieces, the bytes that have come and those that there are to be.
    pub(in crate::replica) fn progress(&self) -> (Vec<ReplicaId>, u64, u64) {
        let Some(partial) = &self.partial else { return (Vec::new(), 0, 0) };
        (self.group(), partial.came(), partial.claim.shape.total())
    }

    /// Who lied, and is asked for nothing at this time.
    pub(in crate::replica) fn liars(&self) -> impl Iterator<Item = (ReplicaId, &Lied)> {
        self.avoided.all()
    }

    /// When to look again, because time has passed.
    pub(in crate::replica) fn next_wake(&self, patience: Duration) -> Option<Instant> {
        if !self.wanted {
            return None;
        }
        let asks = self.sources.values().filter_map(|s| self.next_ask(s)).map(|(time, _)| time);
        let late = self.sources.values().filter_map(Source::late_at);
        let end = self.active.map(|active| self.end_by(active, patience));
        asks.chain(late).chain(end).chain(self.choose_at).chain(self.avoided.next_wake()).min()
    }

    /// Those that offer what is being fetched.
    fn group(&self) -> Vec<ReplicaId> {
        let Some(partial) = self.partial.as_ref().filter(|_| self.active.is_some()) else {
            return Vec::new();
        };
        self.claimants(&partial.claim)
    }

    /// Those that offer this.
    pub(super) fn claimants(&self, claim: &Claim) -> Vec<ReplicaId> {
        let claims = |s: &Source| s.claim() == Some(claim);
        self.sources.iter().filter(|(_, s)| claims(s)).map(|(r, _)| *r).collect()
    }

    /// Until when the group has to have given all: what came earns it more time.
    fn end_by(&self, active: Active, patience: Duration) -> Instant {
        let came = self.partial.as_ref().map_or(0, |p| p.came().saturating_sub(active.had));
        let earned = Duration::from_nanos(came.saturating_mul(1_000_000_000 / FLOOR));
        let time = patience.saturating_mul(TIMES).saturating_add(earned);
        active.since + time.saturating_mul(1 << self.slow.min(DOUBLINGS))
    }

    /// When to ask a source for an offer, and of which round: whoever does not give pieces may come
    /// to have what is being fetched, or what was begun.
    fn next_ask(&self, source: &Source) -> Option<(Instant, Round)> {
        let Ask::At { time, any } = source.ask else { return None };
        let begun = self.partial.as_ref().map(|p| &p.claim);
        let round = begun.map_or(Round(0), |claim| claim.round);
        match (source.claim(), self.active) {
            (Some(claim), Some(_)) if Some(claim) == begun => None,
            (Some(_), None) => None,
            (_, Some(_)) => Some((time, round)),
            (None, None) => Some((time, if any { Round(0) } else { round })),
        }
    }

    // --- time and links -----------------------------------------------------------------------

    /// Finds sources that are silent, and a group that is too slow. Gives whom and why.
    pub(in crate::replica) fn expire(&mut self, now: Instant, patience: Duration) -> Vec<Fault> {
        let late = |s: &Source| s.late_at().is_some_and(|at| now >= at);
        let silent: Vec<_> =
            self.sources.iter().filter(|(_, s)| late(s)).map(|(r, _)| *r).collect();
        let mut slow = Vec::new();
        if self.active.is_some_and(|active| now >= self.end_by(active, patience)) {
            slow = self.group();
            slow.retain(|r| !silent.contains(r));
            self.slow = self.slow.saturating_add(1);
        }
        let mut faults = Vec::new();
        for (all, why) in [(silent, "it does not answer"), (slow, "it is too slow")] {
            for from in all {
                self.take_back(from);
                self.sources.entry(from).and_modify(|s| s.was_silent(now, patience));
                faults.push(Fault { from, why, lied: false });
            }
        }
        self.look_for_group(now, patience);
        faults
    }

    /// The link to a replica is gone. What it gave stays.
    pub(in crate::replica) fn link_down(&mut self, now: Instant, patience: Duration, r: ReplicaId) {
        if planted("s7-link-takes-all") && self.group().contains(&r) {
            self.give_up();
        }
        self.take_back(r);
        self.sources.remove(&r);
        self.look_for_group(now, patience);
    }

    /// Once nobody gives pieces any more there is some time to come back: what was begun is worth
    /// it. Then others are chosen.
    pub(super) fn look_for_group(&mut self, now: Instant, patience: Duration) {
        let Some(partial) = &self.partial else { return };
        if self.active.is_some() && !self.claimants(&partial.claim).is_empty() {
            return;
        }
        if self.active.take().is_some() {
            self.choose_at = Some(now + patience);
        }
        if partial.came() == 0 {
            self.give_up();
        }
    }

    /// What a source owes is to be asked of others.
    pub(super) fn take_back(&mut self, from: ReplicaId) {
        let (Some(source), Some(partial)) = (self.sources.get_mut(&from), &mut self.partial) else {
            return;
        };
        source.take_back().for_each(|piece| partial.put_back(piece));
    }

    // --- asking -------------------------------------------------------------------------------

    /// What to ask whom among those whose links are up. Only snapshots of rounds after `above` are
    /// of use.
    pub(in crate::replica) fn ask(
        &mut self,
        (now, patience): (Instant, Duration),
        above: Round,
        up: impl Iterator<Item = ReplicaId>,
    ) -> Vec<(ReplicaId, WantSnapshot)> {
        self.avoided.forgive(now);
        let mut wants = Vec::new();
        if !self.wanted {
            return wants;
        }
        self.drop_old(above, now + patience);
        for peer in up.filter(|r| !self.avoided.contains(*r)) {
            self.sources.entry(peer).or_insert_with(|| Source::new(now));
        }
        self.choose(now);
        self.ask_for_offers(now, patience, &mut wants);
        self.ask_for_pieces(now, patience, &mut wants);
        wants
    }

    /// What was begun, or offered, is of no use any more where execution got further by itself.
    fn drop_old(&mut self, above: Round, again: Instant) {
        if self.partial.as_ref().is_some_and(|p| p.claim.round <= above) {
            self.give_up();
        }
        for source in self.sources.values_mut() {
            if source.claim().is_some_and(|claim| claim.round <= above) {
                source.offer = None;
                source.later(again, false);
            }
        }
    }

    /// Who is to give pieces: whoever offers what was begun; else, when all have answered or had
    /// the time for it, the largest group, and of groups of one size that of the latest round.
    fn choose(&mut self, now: Instant) {
        if self.active.is_some() {
            return;
        }
        let begun = self.partial.as_ref().map(|p| p.claim.clone());
        if begun.is_some_and(|claim| !self.claimants(&claim).is_empty()) {
            return self.go_on(now);
        }
        let asked = |s: &Source| matches!(s.ask, Ask::Sent { .. });
        let all_answered = self.partial.is_none() && !self.sources.values().any(asked);
        if !all_answered && self.choose_at.is_none_or(|at| now < at) {
            return;
        }
        let offers = self.sources.values().filter_map(|s| s.offer.as_ref());
        let best = offers.max_by_key(|(claim, _)| (self.claimants(claim).len(), claim.round));
        let Some((claim, proof)) = best.cloned() else {
            self.choose_at = None;
            return;
        };
        self.give_up();
        self.partial = Some(Partial::new(claim, proof));
        self.go_on(now);
    }

    fn go_on(&mut self, now: Instant) {
        let Some(partial) = &mut self.partial else { return };
        self.active = Some(Active { since: now, had: partial.came() });
        self.choose_at = None;
        for claimant in self.group() {
            self.partial.iter_mut().for_each(|p| p.claimants.insert(claimant));
        }
    }

    fn ask_for_offers(
        &mut self,
        now: Instant,
        patience: Duration,
        wants: &mut Vec<(ReplicaId, WantSnapshot)>,
    ) {
        let due = |s: &Source| self.next_ask(s).filter(|(time, _)| now >= *time);
        let due: Vec<_> =
            self.sources.iter().filter_map(|(r, s)| due(s).map(|(_, round)| (*r, round))).collect();
        for (peer, round) in due {
            let Some(source) = self.sources.get_mut(&peer) else { continue };
            source.ask = Ask::Sent { by: now + source.time(patience), round };
            wants.push((peer, WantSnapshot { round, piece: Piece::Offer }));
        }
    }

    /// Gives everybody of the group something to do, as far as the bound on what is in flight
    /// allows.
    fn ask_for_pieces(
        &mut self,
        now: Instant,
        patience: Duration,
        wants: &mut Vec<(ReplicaId, WantSnapshot)>,
    ) {
        let group = self.group();
        let Some(partial) = &mut self.partial else { return };
        let mut flying: usize = self.sources.values().map(Source::owed).sum();
        while flying < self.slots {
            let idle = group.iter().filter(|r| self.sources[r].has_room());
            let Some(peer) = idle.min_by_key(|r| self.sources[r].owed()) else { break };
            let Some(piece) = partial.next() else { break };
            if let Some(source) = self.sources.get_mut(peer) {
                source.ask_piece(piece, now, patience);
            }
            wants.push((*peer, WantSnapshot { round: partial.claim.round, piece }));
            flying += 1;
        }
    }

    // --- what comes ---------------------------------------------------------------------------

    /// Takes an offer.
    pub(in crate::replica) fn offer<S: Scheme>(
        &mut self,
        (now, patience): (Instant, Duration),
        from: ReplicaId,
        offer: SnapshotOffer,
        above: Round,
        keyring: &Keyring<S>,
    ) -> Verdict {
        let Some(source) = self.sources.get_mut(&from) else { return Verdict::Unasked };
        let Ask::Sent { round: asked, .. } = source.ask else { return Verdict::Unasked };
        let any = asked == Round(0);
        if offer.round <= above {
            // It has not what was begun; perhaps something else.
            let at_once = !any && self.active.is_none();
            source.later(if at_once { now } else { now + patience }, at_once);
            return Verdict::Taken;
        }
        if offer.total == 0 {
            source.later(now + patience / 4, any);
            return Verdict::Taken;
        }
        source.later(now + patience, false);
        match self.check(offer, keyring) {
            Err(why) => Verdict::Refused(self.lied((now, patience), from, why)),
            Ok((claim, proof)) => {
                let begun = self.partial.as_mut().filter(|p| p.claim == claim);
                begun.into_iter().for_each(|p| p.claimants.insert(from));
                if let Some(source) = self.sources.get_mut(&from) {
                    source.offer = Some((claim, proof));
                }
                if self.active.is_none() {
                    self.choose_at.get_or_insert(now + patience / 4);
                }
                Verdict::Taken
            }
        }
    }

    fn check<S: Scheme>(
        &self,
        offer: SnapshotOffer,
        keyring: &Keyring<S>,
    ) -> Result<(Claim, Proof), &'static str> {
        let SnapshotOffer { round, total, pages, proof } = offer;
        let shape = SnapshotShape::new(total).filter(|shape| shape.total() <= self.limit);
        let shape = shape.ok_or("it is larger than the quota allows")?;
        let (attested, state) = proof::check(&proof, keyring)?;
        if attested != round {
            return Err("another checkpoint is attested");
        }
        let claim = Claim { round, state, shape, pages };
        if self.wrong.contains(&claim) {
            return Err(AGAIN);
        }
        Ok((claim, proof))
    }

    /// Takes a page or a chunk.
    pub(in crate::replica) fn part(
        &mut self,
        (now, patience): (Instant, Duration),
        from: ReplicaId,
        part: &SnapshotPart,
    ) -> Verdict {
        let Some(partial) = self.partial.as_mut().filter(|p| p.claim.round == part.round) else {
            return Verdict::Unasked;
        };
        let Some(source) = self.sources.get_mut(&from) else { return Verdict::Unasked };
        if !source.piece_came(part.piece, now, patience) {
            return Verdict::Unasked;
        }
        if part.bytes.is_empty() {
            // It has given the snapshot up; that is no fault of it.
            partial.put_back(part.piece);
            source.offer = None;
            source.later(now + patience / 4, true);
            self.take_back(from);
            self.look_for_group(now, patience);
            return Verdict::Taken;
        }
        if let Err(why) = partial.add(from, part.piece, &part.bytes) {
            partial.put_back(part.piece);
            return Verdict::Refused(self.lied((now, patience), from, why));
        }
        if !partial.is_whole() {
            return Verdict::Taken;
        }
        let Some(mut partial) = self.partial.take() else { return Verdict::Taken };
        self.give_up();
        Verdict::Whole(Box::new(Whole {
            bytes: partial.take_bytes(),
            claim: partial.claim,
            claimants: partial.claimants,
            givers: partial.givers,
            proof: partial.proof,
        }))
    }
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
