//! From an opening to the state that its epoch starts from: the vectors up to the base, committed
//! on a copy of the order, then the opening itself (O1, E7).

use super::{Chain, Checked, Opening};
use crate::crypto::Scheme;
use crate::ordering::commit::commit_vector;
use crate::ordering::order::Order;
use crate::ordering::rounds::{self, Held, Rounds, Start};
use crate::ordering::{Core, Opened, Step};
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Members, ReplicaId, Round};
use crate::wire::{StepPosition, Want};
use std::sync::Arc;

/// What an opening makes of the order, to be committed with it.
#[derive(Clone, Debug)]
pub(in crate::ordering) struct Prepared {
    pub(in crate::ordering) order: Order,
    /// Steps of vectors that the opening commits, and openings on the way, in order.
    pub(in crate::ordering) effects: Vec<Effect>,
}

impl Prepared {
    /// The requests that run with it or wait behind it, with those who gave them candidates; what
    /// its openings make void is still among them.
    pub(in crate::ordering) fn bodies(&self) -> Vec<(Digest, Members)> {
        let mut bodies = self.order.unexecuted_bodies();
        for effect in &self.effects {
            let Effect::Step(step) = effect else { continue };
            let runs = step.requests.iter().filter(|o| !o.void);
            bodies.extend(runs.map(|o| (o.digest, o.holders)));
        }
        bodies
    }
}

#[derive(Clone, Debug)]
pub(in crate::ordering) enum Effect {
    Step(Box<Step>),
    Opened(Box<Opened>, Arc<Opening>),
}

/// Why a state cannot be built yet.
#[derive(Clone, Debug)]
pub(in crate::ordering) enum Needs {
    /// These proposals, to be asked for.
    Wants(Vec<Want>),
    /// The same, with many rounds still to come before them: meanwhile the state is asked for.
    Far(Vec<Want>),
    /// The Reports of an epoch on the way, which whoever names it must show (E5).
    Opening(Vec<Want>),
    /// The vector named is not valid: those who name it count as not having reported.
    Invalid,
    /// What is here does not lead there: the state has to be fetched.
    Behind,
    /// The same, since what was committed here is not in the history of the opening: only a state
    /// of a later epoch helps, be its round lower than what was executed here (§7).
    Astray,
}

/// A way from the committed state to a base: the epochs on it, each with where it ends.
struct Leg {
    of: (Epoch, Members),
    /// The last vector of it that counts; `None`: nothing but its opening.
    end: Option<(Round, Vec<Digest>, Digest)>,
    /// The opening that follows.
    then: Arc<Opening>,
}

impl<S: Scheme> Core<S> {
    /// Builds the state after an opening.
    pub(in crate::ordering) fn build(&self, opening: &Arc<Opening>) -> Result<Prepared, Needs> {
        if self.is_blank() {
            return Err(Needs::Behind);
        }
        let legs = self.legs(opening)?;
        // First look whether everything is there: that is cheap and mostly tells.
        let mut found: Vec<Vec<Vec<Held>>> = Vec::new();
        let (mut at, mut choice) = (self.order.round(), self.order.last.1.clone());
        for leg in &legs {
            let vectors = self.walk(leg, at, &choice, &self.order.last.0)?;
            at = leg.end.as_ref().map_or(at, |(round, ..)| *round);
            choice = leg.then.reports.clone();
            found.push(vectors);
        }
        let mut order = self.order.clone();
        let mut effects = Vec::new();
        for (leg, vectors) in legs.iter().zip(found) {
            for held in vectors {
                self.commit_on(&mut order, &held, &mut effects)?;
            }
            let before = order.epoch().1;
            let void = order.open(&leg.then);
            if let Some(first) = void.1 {
                no_checkpoint_from(first, &mut effects);
            }
            let opened = Opened::of(&leg.then, before, &order, void);
            effects.push(Effect::Opened(Box::new(opened), leg.then.clone()));
        }
        Ok(Prepared { order, effects })
    }

    /// The epochs between the committed state and an opening, the earliest first.
    fn legs(&self, opening: &Arc<Opening>) -> Result<Vec<Leg>, Needs> {
        let start = self.order.epoch();
        let mut legs: Vec<Leg> = Vec::new();
        let mut then = opening.clone();
        loop {
            let end = then.base.as_ref().map(|v| (v.round, v.hashes.clone(), v.digest));
            let (of, origin) = (then.from, then.origin);
            let reports = then.origin_reports.clone();
            legs.push(Leg { of, end, then });
            if of == start {
                // Another opening of the same epoch is another history.
                return match origin == self.order.opening.0 {
                    true => Ok(legs.into_iter().rev().collect()),
                    false => Err(Needs::Astray),
                };
            }
            if of.0 < start.0 {
                return Err(Needs::Astray);
            }
            if legs.len() > 8 {
                return Err(Needs::Behind);
            }
            then = self.opening_of(of, origin, &reports).ok_or_else(|| {
                let named = of.1.iter().zip(&reports);
                let (epoch, round) = (of.0, Round(0));
                let wants = named.map(|(replica, d)| Want { epoch, round, replica, digest: *d });
                Needs::Opening(wants.collect())
            })?;
        }
    }

    /// The opening of an epoch, from the chain that was built with it or from its Reports.
    pub(super) fn opening_of(
        &self,
        of: (Epoch, Members),
        digest: Digest,
        reports: &[Digest],
    ) -> Option<Arc<Opening>> {
        let current = self.change.opening.iter().filter(|_| self.rounds.epoch() == of);
        let old = self.change.old.iter().filter(|c| c.is(of.0, of.1));
        let all = current.chain(old.filter_map(|c| c.opening.as_ref()));
        let built = all.filter(|o| o.digest == digest).last().cloned();
        built.or_else(|| {
            let reports = self.change.following.named(reports)?;
            let call = reports.first()?.header.call;
            Some(self.opening_from(&call, &reports))
        })
    }

    /// The proposals of a leg's vectors after `at`, the earliest first.
    fn walk(
        &self,
        leg: &Leg,
        at: Round,
        choice: &[Digest],
        last: &StepPosition,
    ) -> Result<Vec<Vec<Held>>, Needs> {
        let rounds = self.chain_of(leg.of.0, leg.of.1);
        let Some((end, hashes, digest)) = &leg.end else {
            // Nothing of that epoch counts, so nothing of it may have been committed here.
            let begun = leg.of == self.order.epoch() && rounds.is_none_or(|r| at != r.base());
            return if begun { Err(Needs::Astray) } else { Ok(Vec::new()) };
        };
        let rounds = rounds.ok_or(Needs::Behind)?;
        if *end < at || *end == at && *digest != last.vector {
            return Err(Needs::Astray);
        }
        let mut vectors = Vec::new();
        let (mut round, mut hashes) = (*end, hashes.clone());
        while round > at {
            let held = self.vector_named(rounds, leg.of, round, &hashes);
            let held = held.map_err(|needs| match needs {
                Needs::Wants(wants) if round.0 > at.0 + NEAR => Needs::Far(wants),
                needs => needs,
            })?;
            hashes.clone_from(&held[0].choice);
            vectors.push(held);
            round = round.previous();
        }
        if *end > at && hashes != choice {
            return Err(Needs::Astray);
        }
        vectors.reverse();
        Ok(vectors)
    }

    /// The proposals with these hashes, or what to ask for.
    fn vector_named(
        &self,
        rounds: &Rounds,
        (epoch, members): (Epoch, Members),
        round: Round,
        hashes: &[Digest],
    ) -> Result<Vec<Held>, Needs> {
        let mut wants = Vec::new();
        let mut held = Vec::new();
        for (replica, digest) in members.iter().zip(hashes) {
            match rounds.find(round, replica, digest) {
                Some(p) => held.push(p.clone()),
                None => wants.push(Want { epoch, round, replica, digest: *digest }),
            }
        }
        match wants.is_empty() && held.len() == members.len() {
            true => Ok(held),
            false => Err(Needs::Wants(wants)),
        }
    }

    fn commit_on(
        &self,
        order: &mut Order,
        held: &[Held],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Needs> {
        for p in held {
            let tip = order.tips[p.replica.index()];
            let context = self.keyring.context();
            if rounds::check(p, tip, self.limits.max_candidates, &context).is_err() {
                return Err(Needs::Invalid);
            }
        }
        let step = commit_vector(order, &self.keyring.context(), held);
        effects.push(Effect::Step(Box::new(step)));
        Ok(())
    }

    /// The rounds that an opening starts.
    pub(in crate::ordering) fn rounds_after(&self, opening: &Opening, order: &Order) -> Rounds {
        Rounds::new(Start {
            epoch: opening.call.number(),
            members: opening.call.members(),
            base: order.round(),
            choice: opening.reports.clone(),
            tips: order.tips.clone(),
        })
        .seen_by(self.id)
    }

    /// What follows from the Reports of all members of a call.
    pub(in crate::ordering) fn opening_from(
        &self,
        call: &Call,
        reports: &[Arc<Checked>],
    ) -> Arc<Opening> {
        Arc::new(Opening::of(*call, reports, &self.keyring.context()))
    }

    /// Who named the base of an opening and so must show it (E5).
    pub(in crate::ordering) fn who_named_base(&self, opening: &Opening) -> Members {
        let named = |r: &&Arc<Checked>| match &opening.base {
            Some(base) => r.vector.as_ref().is_some_and(|v| v.digest == base.digest),
            None => r.entered() == opening.from && r.header.opening == opening.origin,
        };
        let who = opening.sources.iter().filter(named).map(|r| -> ReplicaId { r.header.replica });
        who.collect()
    }

    /// Keeps the present chain as an old one and goes on with another.
    pub(in crate::ordering) fn switch_chain(&mut self, rounds: Rounds, opening: Arc<Opening>) {
        let rounds = std::mem::replace(&mut self.rounds, rounds);
        let opening = self.change.opening.replace(opening);
        self.change.old.push(Chain { rounds, opening });
        (self.epoch, self.members) = self.rounds.epoch();
        self.ahead = None;
        let committed = self.order.epoch().0;
        let old = &mut self.change.old;
        let entered = (self.change.entered.epoch, self.change.entered.members);
        // Those that the committed state may still have to be built from stay, and two more; and
        // the one that the next Report has to be about.
        while let Some(first) = old.iter().position(|c| c.rounds.epoch() != entered)
            && (old.len() > 2 && old[first].rounds.epoch().0 < committed || old.len() > MAX_OLD)
        {
            old.remove(first);
        }
    }
}

/// O7: what has run at a step depends on an opening that comes after it, if that makes one of its
/// requests void: so no state between the two is a checkpoint. Whoever went on from it would take
/// that request for one that has run.
fn no_checkpoint_from(first: Round, effects: &mut [Effect]) {
    for effect in effects {
        if let Effect::Step(step) = effect
            && step.position.round >= first
            && !planted("o7-checkpoint-before-void")
        {
            step.checkpoint = None;
        }
    }
}

/// Rounds that are fetched one after the other, each by the hashes that the next one names.
const NEAR: u64 = 8;

/// Chains of earlier epochs kept at most.
const MAX_OLD: usize = 8;
