//! Completing rounds and committing what they choose (R1, R3, R4).

use super::order::{Order, Vector};
use super::rounds::{AHEAD, Held};
use super::{Action, Core, Event, Logged, Step};
use crate::crypto::{Context, Scheme};
use crate::proof::find;
use crate::types::plant::planted;
use crate::types::{Digest, Now, Round};
use crate::wire::{StepPosition, vector_hash};

impl<S: Scheme> Core<S> {
    /// R1, R3: completes rounds and commits the ones before them.
    pub(super) fn advance(&mut self, now: Now, out: &mut Vec<Action>) {
        loop {
            self.judge_next(out);
            // What is complete and not committed must not run out of the store.
            let floor = self.committed.max(self.rounds.base());
            if self.rounds.complete().0 >= floor.0 + AHEAD && !self.may_commit() {
                return;
            }
            // A member completes no round without its own proposal, which `missing` sees to.
            if !self.rounds.try_complete(&self.keyring.context()) {
                return;
            }
            let complete = self.rounds.complete();
            self.change.progress = now.monotonic;
            self.wants.forget_until(complete);
            if self.waiting.take().is_some() {
                out.push(Action::Event(Event::Resumed { round: complete }));
            }
            self.look_at_next_round(now.monotonic);
            if self.is_first_of_waiting() {
                // E6: a follower writes the opening down before it commits anything of it.
                self.write_opening(out);
                return;
            }
            self.commit_complete(out);
        }
    }

    fn is_first_of_waiting(&self) -> bool {
        matches!(self.change.stage, super::epoch::Stage::Waiting)
            && self.epoch == self.change.promise.number()
    }

    /// Whether what is complete may be committed: E4 forbids it below a promise, but for a history
    /// that is gone through on the way there.
    fn may_commit(&self) -> bool {
        let blank = self.blank;
        let behind = self.epoch < self.change.entered.epoch;
        !blank && (!self.change.is_frozen() || behind || self.is_history())
    }

    /// Whether the present chain is one of the past: others have promised more long ago.
    pub(super) fn is_history(&self) -> bool {
        self.epoch < self.change.promise.number()
            && self.epoch != self.change.entered.epoch
            && !self.members.contains(self.id)
    }

    /// Commits all that the complete rounds allow.
    pub(super) fn commit_complete(&mut self, out: &mut Vec<Action>) {
        if !self.may_commit() && !planted("e4-no-freeze") {
            self.look_for_cut();
            return;
        }
        let complete = self.rounds.complete();
        if !self.rounds.is_open() {
            return;
        }
        // E7: an opening holds with the first vector.
        self.commit_opening(out);
        self.log_complete(out);
        let commit = if planted("r3-commit-early") { complete } else { complete.previous() };
        self.commit_to(commit, out);
        if self.order.roster.status_call().is_some() {
            self.change.dirty = true;
        }
        let vector = self.rounds.vector(complete).map_or(&[][..], |(_, vector)| vector);
        self.vector_is_work = self.is_work(vector);
    }

    /// §7: what is complete goes into the log before what it commits is executed.
    fn log_complete(&mut self, out: &mut Vec<Action>) {
        let (epoch, last) = self.logged;
        let last = if epoch == self.epoch { last } else { self.rounds.base() };
        let complete = self.rounds.complete();
        let new = (last.0 + 1..=complete.0).filter_map(|round| self.rounds.vector(Round(round)));
        out.extend(new.map(|(_, held)| Action::Log(Logged::Vector(held.to_vec()))));
        self.logged = (self.epoch, complete.max(last));
    }

    fn judge_next(&mut self, out: &mut Vec<Action>) {
        let limit = self.limits.max_candidates;
        for (proposal, why) in self.rounds.judge(limit, &self.keyring.context()) {
            self.stats.invalid += 1;
            if let Some(proof) = self.prove_invalid(&proposal) {
                self.on_proof(proof, out);
            }
            out.push(Action::Event(Event::Invalid { proposal, why }));
        }
    }

    /// What proves to others that a proposal is invalid, if signed bytes alone can (§6).
    fn prove_invalid(&self, proposal: &Held) -> Option<crate::wire::Proof> {
        let header = proposal.header();
        let alone = find::in_proposal(&header, self.limits.max_candidates);
        alone.or_else(|| {
            let before = (1..=8).filter_map(|back| {
                let round = Round(proposal.round.0.checked_sub(back)?);
                let held = self.rounds.find(round, proposal.replica, &Digest::ZERO);
                held.or_else(|| self.history.find(round, proposal.replica, &Digest::ZERO))
            });
            before.filter_map(|p| find::in_proposals(&p.header(), &header)).next()
        })
    }

    pub(super) fn commit_to(&mut self, round: Round, out: &mut Vec<Action>) {
        while self.committed < round {
            let next = self.committed.next();
            let (_, held) = self.rounds.vector(next).expect("a complete round's vector is kept");
            let step = commit_vector(&mut self.order, &self.keyring.context(), held);
            self.commit_step(step, out);
        }
    }

    /// What a committed step means for one's own candidates.
    pub(super) fn commit_step(&mut self, step: Step, out: &mut Vec<Action>) {
        for ordered in &step.requests {
            self.mine.remove(&ordered.digest);
            self.unsent_is_stale |= !ordered.holders.contains(self.id);
        }
        self.unsent_is_stale |= !step.changes.is_empty();
        let me = self.id;
        let accepted = step.changes.iter().map(|c| c.digest);
        let forgotten = step.forgotten.iter().filter(|(_, had)| had.contains(me)).map(|f| f.0);
        let refused = step.over_quota.iter().filter(|(who, _)| *who == me).map(|o| o.1);
        for digest in accepted.chain(forgotten).chain(refused) {
            self.mine.remove(&digest);
            self.changes.remove(&digest);
        }
        self.committed = step.position.round;
        self.history.vector(step.position.round, &step.proposals);
        // After a start from the log others may lack what they once had.
        if self.resumed && self.members == self.keyring.ensemble().all() {
            // Who restarts is out at once, and a snapshot is taken then: a few are enough.
            self.history.trim(None);
        }
        self.stats.executed += step.requests.len() as u64;
        out.push(Action::Committed(Box::new(step)));
    }
}

/// Commits the vector of these proposals, those of all members of one round in order.
pub(super) fn commit_vector(order: &mut Order, context: &Context, held: &[Held]) -> Step {
    let (epoch, members, round) = (held[0].epoch, held[0].members, held[0].round);
    let hashes: Vec<Digest> = held.iter().map(|p| p.digest()).collect();
    let position = StepPosition { round, vector: vector_hash(context, epoch, round, &hashes) };
    let changes = held.iter().flat_map(|p| &p.changes);
    let changes = changes.map(|c| (c.digest(context), c.change)).collect();
    let proposals = held.iter().map(|p| p.message()).collect();
    let step = order.commit(&Vector { position, members, proposals, hashes, changes });
    Step { proposals: held.to_vec(), ..step }
}
