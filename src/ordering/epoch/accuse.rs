//! Blames and what accuses a replica (E1, E2).

use super::store::{Charge, Convicted};
use super::{Checked, Stage};
use crate::crypto::{Scheme, Verified};
use crate::ordering::{Action, Core, Event, Statement};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Instant, Members, Now, ReplicaId, Root, Round};
use crate::wire::{Blame, BlameStep, Evidence, Proof, Restarted, Stalled};
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    // --- what is heard --------------------------------------------------------------------------

    /// Blames came, one or those of a call. Whoever holds what is said to be missing shows it (E2).
    pub(in crate::ordering) fn on_blames(
        &mut self,
        blames: &[Arc<Verified<Blame>>],
        out: &mut Vec<Action>,
    ) {
        let (here, quorum) = (self.change.promise.root, self.keyring.ensemble().majority());
        for (blame, matters) in self.change.store.blames(blames, here, quorum) {
            self.stats.blames += 1;
            self.change.dirty |= matters;
            if blame.by != self.id {
                self.show_what_is_missed(&blame, out);
            }
        }
    }

    fn show_what_is_missed(&self, blame: &Blame, out: &mut Vec<Action>) {
        let held = match blame.step {
            BlameStep::Round(round) => self
                .chain_of(blame.epoch, blame.members)
                .and_then(|rounds| rounds.find(round, blame.accused, &Digest::ZERO))
                .map(|proposal| Action::Send { to: blame.by, proposal: proposal.clone() }),
            BlameStep::Report => {
                let report = self.report_for(blame.epoch, blame.members, blame.accused);
                let what = report.map(|r| Statement::Report(r.clone()));
                what.map(|what| Action::Tell { to: blame.by, what })
            }
        };
        if held.is_some() {
            mark("E2 what a Blame called missing was shown");
        }
        out.extend(held);
    }

    pub(in crate::ordering) fn on_restarted(&mut self, one: Arc<Verified<Restarted>>) {
        if self.change.store.restarted(one, self.change.promise.root) {
            self.change.dirty = true;
        }
    }

    pub(in crate::ordering) fn on_stalled(&mut self, one: Arc<Verified<Stalled>>) {
        if self.change.store.stalled(one) {
            self.change.dirty = true;
        }
    }

    /// A proof of lying came or was found.
    pub(in crate::ordering) fn on_proof(&mut self, proof: Proof, out: &mut Vec<Action>) {
        let limit = self.limits.max_candidates;
        let Ok(conviction) = crate::proof::convict(&proof, &self.keyring, limit) else {
            self.stats.bad_proofs += 1;
            return;
        };
        let (replica, generation) = (conviction.replica, conviction.epoch.generation);
        let proof = Arc::new(proof);
        if self.change.store.proof(replica, Convicted { proof: proof.clone(), generation }) {
            self.stats.proofs += 1;
            self.change.dirty = true;
            out.push(Action::Event(Event::Proven {
                replica,
                epoch: conviction.epoch,
                proof: proof.clone(),
            }));
            // What convinces one good replica must convince all.
            let evidence = Evidence::Proof(Box::new(proof.as_ref().clone()));
            out.push(Action::TellAll(Statement::Call(self.change.promise, vec![evidence])));
        }
    }

    /// A Report came; everything in it has been checked.
    pub(in crate::ordering) fn on_report(&mut self, report: Arc<Checked>, out: &mut Vec<Action>) {
        let first = report.header.entered == Epoch::GENESIS;
        if first && report.header.opening != self.change.genesis {
            return;
        }
        let here = self.change.promise.root;
        for proof in &report.message().proofs {
            self.on_proof(proof.clone(), out);
        }
        let (new, first) = self.change.store.report(report.clone(), here);
        if let Some(first) = first {
            mark("E5 two Reports of one number were seen");
            let (one, other) = (first.signed_header(), report.signed_header());
            self.on_proof(Proof::TwoReports(one.into(), other.into()), out);
        }
        if new {
            self.stats.reports += 1;
            self.change.dirty = true;
        }
        self.change.following.keep(report, self.order.epoch().0, here);
    }

    // --- E1 -------------------------------------------------------------------------------------

    /// E1: blames whoever keeps a step from completing for `patience`, or has no budget left.
    pub(in crate::ordering) fn blame_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some((since, epoch, members, step, missing)) = self.stopped_step() else { return };
        let patience = match planted("e1-blame-early") {
            true => self.timing.delta / 2,
            false => self.timing.patience,
        };
        if let BlameStep::Round(_) = step {
            self.look_for_lags(now.monotonic, since, missing);
        }
        let over = now.monotonic >= since + patience;
        let me = self.id;
        for accused in missing.iter().filter(|m| *m != me) {
            let charge: Charge = (epoch, members, step, accused);
            if !over && !self.is_broke(step, accused) {
                continue;
            }
            if !self.change.blamed.insert(charge) || !self.may_sign(epoch.generation) {
                continue;
            }
            let blame = Blame { epoch, members, step, accused, by: self.id };
            let blame = Arc::new(Verified::sign(blame, &self.keyring, &self.signer));
            mark(match step {
                BlameStep::Round(_) if !over => "E1 a member was blamed as its budget was spent",
                BlameStep::Round(_) if self.takes_part() => "E1 a member blamed for a round",
                BlameStep::Round(_) => "E1 a follower blamed for a round",
                BlameStep::Report => "E1 somebody was blamed for a Report",
            });
            out.push(Action::Event(Event::Blamed { accused, epoch, step, spent: !over }));
            out.push(Action::TellAll(Statement::Blame(blame.clone())));
            self.on_blames(&[blame], out);
        }
    }

    /// Whether a Blame is overtaken by a complete round, or an epoch that was entered since. With
    /// budgets a replica may have blamed somebody for many of these in vain; that is not said
    /// again: whoever lacks the round can be shown it, and what ended an epoch travels with calls.
    pub(in crate::ordering) fn is_overtaken(&self, (epoch, _, step, _): &Charge) -> bool {
        let complete = self.rounds.complete();
        let is_over = matches!(step, BlameStep::Round(r) if *r <= complete);
        let is_over = *epoch == self.epoch && is_over || *epoch < self.epoch;
        is_over && self.timing.lag.is_some() && !planted("e1-blames-again")
    }

    /// A round is complete.
    pub(in crate::ordering) fn forget_blames(&mut self) {
        let mut blamed = std::mem::take(&mut self.change.blamed);
        blamed.retain(|charge| !self.is_overtaken(charge));
        self.change.blamed = blamed;
    }

    /// When there is somebody to blame in the report step who has not been blamed yet.
    pub(in crate::ordering) fn report_blame_due(&self) -> Option<Instant> {
        self.change.reporting_since()?;
        let (since, epoch, members, step, missing) = self.stopped_step()?;
        let mut others = missing.iter().filter(|m| *m != self.id);
        let left = others.any(|m| !self.change.blamed.contains(&(epoch, members, step, m)));
        left.then_some(since + self.timing.patience)
    }

    /// The step that does not complete: since when this replica may say so, and who is missing.
    pub(in crate::ordering) fn stopped_step(
        &self,
    ) -> Option<(Instant, Epoch, Members, BlameStep, Members)> {
        if let Some(sent_at) = self.change.reporting_since() {
            let call = self.change.promise;
            let missing = self.missing_reports(&call);
            // Bodies are asked for when all else is there: an honest holder has 2Δ more for them.
            let fetching = matches!(self.change.stage, Stage::Fetching { .. });
            let since = if fetching { sent_at + 2 * self.timing.delta } else { sent_at };
            return Some((since, call.number(), call.members(), BlameStep::Report, missing));
        }
        if !matches!(self.change.stage, Stage::Running) || self.is_blank() {
            return None;
        }
        let round = self.rounds.complete().next();
        let since = match self.takes_part() {
            true => self.out_since()?,
            // A follower first passes on what has started the round.
            false => self.passed_on?,
        };
        let missing = self.rounds.missing(round);
        Some((since, self.epoch, self.members, BlameStep::Round(round), missing))
    }

    /// Members of a call whose Report, or something that it names, is missing.
    pub(in crate::ordering) fn missing_reports(&self, call: &Call) -> Members {
        let has = |m: &ReplicaId| self.change.store.report_of(*m, call).is_some();
        let missing = call.members().minus(call.members().iter().filter(has).collect());
        let fetching = matches!(self.change.stage, Stage::Fetching { .. });
        match missing.is_empty() {
            true if fetching => self.change.following.lacking,
            true => self.change.following.unshown,
            false => missing,
        }
    }

    fn report_for(&self, number: Epoch, members: Members, who: ReplicaId) -> Option<&Arc<Checked>> {
        let mut reports = self.change.store.reports(number.root());
        reports.find(|r| {
            let call = r.header.call;
            (call.number(), call.members()) == (number, members) && r.header.replica == who
        })
    }

    // --- E2 -------------------------------------------------------------------------------------

    /// E2: who of L is accused in this root, as far as it counts here.
    pub(in crate::ordering) fn accused_in(&self, root: Root, list: Members) -> Members {
        let mut accused = self.proven(root).union(self.change.store.who_restarted(root));
        if planted("e2-restarted-counts-nowhere") {
            accused = self.proven(root);
        }
        let quorum = self.keyring.ensemble().majority() - usize::from(planted("e2-t-blames"));
        for (charge, by) in self.change.store.charges(root) {
            if by.len() >= quorum && self.charge_counts(&charge) {
                accused.insert(charge.3);
            }
        }
        accused.both(list)
    }

    /// Replicas with a proof later than their last admission (E2, M4).
    pub(in crate::ordering) fn proven(&self, root: Root) -> Members {
        let standings = &self.order.roster.standings;
        let proofs = self.change.store.proofs.iter();
        let valid = proofs.filter(|(x, convicted)| {
            convicted.generation >= standings[x.index()].admitted
                && convicted.generation <= root.generation
        });
        valid.map(|(x, _)| *x).collect()
    }

    /// As [`Self::accused_in`], but counting every charge that t+1 make, as E6 does for calls that
    /// this replica does not take.
    pub(in crate::ordering) fn said_accused(&self, root: Root) -> Members {
        let quorum = self.keyring.ensemble().majority();
        let mut accused = self.proven(root).union(self.change.store.who_restarted(root));
        for (.., x) in self.change.store.quorum_charges(root, quorum) {
            accused.insert(x);
        }
        accused
    }

    /// Whether Blames suffice alone here, or come with a Report that makes them count.
    fn charge_counts(&self, charge: &Charge) -> bool {
        let (epoch, members, step, _) = *charge;
        let concerned = members.contains(self.id)
            && !self.change.store.restarted_in(self.id, epoch)
            && self.lacks(charge)
            && !self.holds_later_step(epoch, members, step);
        if concerned {
            return true;
        }
        let supported = self.supporting_report(charge).is_some();
        if supported {
            mark("E2 a Report made Blames count");
        }
        supported
    }

    /// A Report that makes a charge count for those who hold what is said to be missing.
    pub(in crate::ordering) fn supporting_report(&self, charge: &Charge) -> Option<&Arc<Checked>> {
        let (epoch, members, step, accused) = *charge;
        let mut reports = self.change.store.reports(epoch.root());
        reports.find(|r| {
            let claims = match step {
                BlameStep::Round(round) => r.claims(epoch, round),
                BlameStep::Report => r.header.entered >= epoch,
            };
            members.contains(r.header.replica)
                && !r.header.restarted
                && r.header.call.accused.contains(accused)
                && !claims
        })
    }

    fn lacks(&self, (epoch, members, step, accused): &Charge) -> bool {
        match step {
            BlameStep::Round(round) => {
                let Some(chain) = self.chain_of(*epoch, *members) else { return true };
                // One that chooses what nobody shows, or is invalid, counts as missing (R4, R5).
                match chain.complete().next() == *round {
                    true => chain.missing(*round).contains(*accused),
                    false => chain.find(*round, *accused, &Digest::ZERO).is_none(),
                }
            }
            BlameStep::Report => {
                // One that names what nobody shows counts as missing (E5).
                let call = self.change.promise;
                let here = (call.number(), call.members()) == (*epoch, *members)
                    && self.change.reporting_since().is_some()
                    && !planted("e2-held-is-shown");
                match here {
                    true => self.missing_reports(&call).contains(*accused),
                    false => self.report_for(*epoch, *members, *accused).is_none(),
                }
            }
        }
    }

    /// Whether this replica holds a complete step of that root which is later (E2): a vector of
    /// that round or above, or all Reports of a call above.
    fn holds_later_step(&self, epoch: Epoch, members: Members, step: BlameStep) -> bool {
        let root = epoch.root();
        let complete = |e: Epoch, m: Members| {
            let chain = self.chain_of(e, m)?;
            chain.is_open().then(|| chain.complete())
        };
        let vector = match step {
            BlameStep::Round(round) => complete(epoch, members).is_some_and(|c| c >= round),
            BlameStep::Report => complete(epoch, members).is_some_and(|c| c > Round(0)),
        };
        let calls: std::collections::BTreeSet<Call> =
            self.change.store.reports(root).map(|r| r.header.call).collect();
        // All Reports of the call itself are no later step: one may name what nobody shows.
        let reports =
            |call: &Call| call.number() > epoch && self.change.store.all_of(call).is_some();
        vector || calls.iter().any(reports)
    }
}
