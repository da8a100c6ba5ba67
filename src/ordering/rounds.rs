//! The proposals held, and which vectors are complete (R1, R3, R4, R5).

use crate::crypto::{Context, Verified};
use crate::types::plant::planted;
use crate::types::{Digest, Epoch, Members, ReplicaId, Round};
use crate::wire::{Proposal, vector_hash};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A proposal as it is shared between the store, the wire and reports.
pub(super) type Held = Arc<Verified<Proposal>>;

/// How many rounds ahead of the last complete one proposals are kept (§10).
pub(super) const AHEAD: u64 = 4;
/// The same for a follower: rounds go on without it while history is on its way to it (R7). Under
/// load they are some hundreds a second, and an answer has 64.
const FOLLOWERS_AHEAD: u64 = 256;
/// So many rounds ahead proposals of any size are kept, and beyond only those with no more than
/// [`LIGHT`] candidates: a liar's are some megabytes then.
const NEAR: u64 = 16;
const LIGHT: usize = 1024;
/// How many complete rounds are kept to answer Wants.
const BEHIND: u64 = 8;

/// The proposals of the rounds around the present one.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    epoch: Epoch,
    members: Members,
    slots: BTreeMap<Round, Slot>,
    /// The last complete round.
    complete: Round,
    /// What the next round's proposals must choose: hashes of V(complete), or the opening.
    choice: Vec<Digest>,
    /// For each replica (roster place) its highest candidate clock and last `now` in the chain
    /// up to V(complete) (R4).
    tips: Vec<Tip>,
    /// The last round before this epoch's first.
    base: Round,
    ahead: u64,
}

/// A replica's clocks in the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) candidate: u64,
    pub(super) now: u64,
}

/// Where a chain of rounds starts: after a base, with what its first proposals must choose.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) epoch: Epoch,
    pub(super) members: Members,
    /// The last round before the first.
    pub(super) base: Round,
    /// What the next round's proposals must choose.
    pub(super) choice: Vec<Digest>,
    /// By roster place.
    pub(super) tips: Vec<Tip>,
}

/// The proposals of one round, at most two a replica (by roster place).
#[derive(Clone, Debug, Default)]
struct Slot {
    proposals: Vec<Vec<Entry>>,
    /// Of a complete round: which proposal of each member is in its vector.
    vector: Vec<Held>,
    digest: Digest,
}

#[derive(Clone, Debug)]
struct Entry {
    proposal: Held,
    /// Found invalid by R4.
    invalid: bool,
}

/// What came of storing a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    New,
    /// The replica has signed another one for this round (R5).
    Second {
        first: Held,
    },
    /// Held already, of another epoch, too old, too far ahead, or a third.
    Ignored,
}

impl Rounds {
    pub(super) fn new(start: Start) -> Self {
        let Start { epoch, members, base, choice, tips } = start;
        let (slots, complete, ahead) = (BTreeMap::new(), base, AHEAD);
        Self { epoch, members, slots, complete, choice, tips, base, ahead }
    }

    /// The same rounds as this replica sees them: a follower looks further ahead.
    pub(super) fn seen_by(mut self, replica: ReplicaId) -> Self {
        self.ahead = match self.members.contains(replica) {
            true => AHEAD,
            false if planted("r7-short-sight") => NEAR,
            false => FOLLOWERS_AHEAD,
        };
        self
    }

    /// The last round of which proposals are kept now.
    pub(super) fn horizon(&self) -> Round {
        Round(self.complete.0.saturating_add(self.ahead))
    }

    /// The chain of the first epoch.
    pub(super) fn genesis(members: Members, n: usize, opening: Digest) -> Self {
        let (epoch, tips) = (Epoch::GENESIS, vec![Tip::default(); n]);
        Self::new(Start { epoch, members, base: Round(0), choice: vec![opening], tips })
    }

    pub(super) fn epoch(&self) -> (Epoch, Members) {
        (self.epoch, self.members)
    }

    /// The last round before this epoch's first.
    pub(super) fn base(&self) -> Round {
        self.base
    }

    /// Whether the first vector of the epoch is complete.
    pub(super) fn is_open(&self) -> bool {
        self.complete > self.base
    }

    pub(super) fn complete(&self) -> Round {
        self.complete
    }

    pub(super) fn choice(&self) -> &[Digest] {
        &self.choice
    }

    /// Stores a proposal whose signature has been checked.
    pub(super) fn store(&mut self, proposal: Held) -> Stored {
        let (round, place) = (proposal.round, proposal.replica.index());
        if !self.has_room(&proposal) {
            return Stored::Ignored;
        }
        let n = self.tips.len();
        let slot = self.slots.entry(round).or_default();
        slot.proposals.resize_with(n, Vec::new);
        let held = &mut slot.proposals[place];
        if held.len() == 2 || held.iter().any(|e| e.proposal.digest() == proposal.digest()) {
            return Stored::Ignored;
        }
        let first = held.first().map(|e| e.proposal.clone());
        held.push(Entry { proposal, invalid: false });
        first.map_or(Stored::New, |first| Stored::Second { first })
    }

    /// Whether a proposal like this one would be stored, unless it is held already.
    pub(super) fn has_room(&self, p: &Proposal) -> bool {
        let held = self.slots.get(&p.round).and_then(|s| s.proposals.get(p.replica.index()));
        p.epoch == self.epoch
            && p.members == self.members
            && self.members.contains(p.replica)
            && p.round > self.base
            && p.round <= self.horizon()
            && (p.round.0 <= self.complete.0.saturating_add(NEAR) || p.candidates.len() <= LIGHT)
            && p.round.0.saturating_add(BEHIND) > self.complete.0
            && held.is_none_or(|held| held.len() < 2 && held.iter().all(|e| **e.proposal != *p))
    }

    /// Stores a proposal that a Report names although two others of its signer are held: one of
    /// these makes room. Gives whether it is held now.
    pub(super) fn store_named(&mut self, proposal: Held) -> bool {
        let (round, place) = (proposal.round, proposal.replica.index());
        if round <= self.base {
            return false;
        }
        if self.find(round, proposal.replica, &proposal.digest()).is_some() {
            return true;
        }
        let n = self.tips.len();
        let slot = self.slots.entry(round).or_default();
        slot.proposals.resize_with(n, Vec::new);
        slot.proposals[place].truncate(1);
        slot.proposals[place].push(Entry { proposal, invalid: false });
        true
    }

    /// A proposal of this replica for this round: with this digest, or any for zero.
    pub(super) fn find(&self, round: Round, replica: ReplicaId, digest: &Digest) -> Option<&Held> {
        let held = self.slots.get(&round)?.proposals.get(replica.index())?;
        let fits = |e: &&Entry| *digest == Digest::ZERO || e.proposal.digest() == *digest;
        held.iter().find(fits).map(|e| &e.proposal)
    }

    /// All proposals that are kept.
    pub(super) fn held(&self) -> Vec<Held> {
        let all = self.slots.values().flat_map(|slot| slot.proposals.iter().flatten());
        all.map(|entry| entry.proposal.clone()).collect()
    }

    /// Who has a proposal for this round.
    pub(super) fn senders(&self, round: Round) -> Members {
        let Some(slot) = self.slots.get(&round) else { return Members::NONE };
        let sent = slot.proposals.iter().enumerate().filter(|(_, held)| !held.is_empty());
        sent.map(|(place, _)| ReplicaId::from_index(place)).collect()
    }

    /// Members whose proposal of this round is missing, invalid, or chooses otherwise (R1).
    pub(super) fn missing(&self, round: Round) -> Members {
        let usable = |m: &ReplicaId| self.usable(round, *m).is_some();
        self.members.minus(self.members.iter().filter(usable).collect())
    }

    /// The complete vector of this round, if it is kept: its hash and its proposals in order.
    pub(super) fn vector(&self, round: Round) -> Option<(Digest, &[Held])> {
        let slot = self.slots.get(&round).filter(|slot| !slot.vector.is_empty())?;
        Some((slot.digest, &slot.vector))
    }

    /// Judges the proposals of the next round by R4 now that the chain they name is known. Gives
    /// those found invalid, each once.
    pub(super) fn judge(&mut self, limit: u32, context: &Context) -> Vec<(Held, &'static str)> {
        let next = self.complete.next();
        let Some(slot) = self.slots.get_mut(&next) else { return Vec::new() };
        let mut found = Vec::new();
        for entry in slot.proposals.iter_mut().flatten().filter(|e| !e.invalid) {
            // One that chooses otherwise is of a chain that is not known here: not judged.
            if entry.proposal.choice != self.choice {
                continue;
            }
            let tip = self.tips[entry.proposal.replica.index()];
            if let Err(why) = check(&entry.proposal, tip, limit, context) {
                entry.invalid = true;
                found.push((entry.proposal.clone(), why));
            }
        }
        found
    }

    /// Completes the next round if every member's proposal is there, valid, with the one choice
    /// (R1). Call [`Rounds::judge`] before.
    pub(super) fn try_complete(&mut self, context: &Context) -> bool {
        let next = self.complete.next();
        if !self.missing(next).is_empty() {
            return false;
        }
        let proposals = self.members.iter().map(|m| self.usable(next, m).cloned());
        let vector: Vec<Held> = proposals.collect::<Option<_>>().expect("none is missing");
        self.choice = vector.iter().map(|p| p.digest()).collect();
        let digest = vector_hash(context, self.epoch, next, &self.choice);
        for p in &vector {
            let tip = &mut self.tips[p.replica.index()];
            tip.candidate = p.candidates.last().map_or(tip.candidate, |c| c.clock);
            tip.now = p.now;
        }
        let slot = self.slots.get_mut(&next).expect("its proposals are in it");
        (slot.vector, slot.digest) = (vector, digest);
        self.complete = next;
        let oldest = Round(next.0.saturating_sub(BEHIND));
        self.slots.retain(|round, _| *round > oldest);
        true
    }

    fn usable(&self, round: Round, member: ReplicaId) -> Option<&Held> {
        let held = self.slots.get(&round)?.proposals.get(member.index())?;
        let agrees = |e: &Entry| e.proposal.choice == self.choice || planted("r1-any-choice");
        let fits = |e: &&Entry| !e.invalid && agrees(e);
        held.iter().find(fits).map(|e| &e.proposal)
    }
}

/// R4: what depends only on the signed bytes and the chain.
pub(super) fn check(
    p: &Proposal,
    tip: Tip,
    limit: u32,
    context: &Context,
) -> Result<(), &'static str> {
    if p.candidates.len() > limit as usize {
        return Err("more candidates than the opening's limit");
    }
    if p.now < tip.now {
        return Err("its clock went back");
    }
    let mut last = tip.candidate;
    for c in &p.candidates {
        if c.clock <= last && !planted("r4-accept-low-candidate") {
            return Err("a candidate id that is not above the sender's highest");
        }
        last = c.clock;
    }
    if !p.candidates.is_empty() && last > p.now {
        return Err("a candidate id above the sender's own clock");
    }
    for change in &p.changes {
        let digest = change.digest(context);
        if p.candidates.iter().all(|c| c.request != digest) {
            return Err("a status change that is none of its candidates");
        }
    }
    Ok(())
}
