//! What is said again on every reconnection and every patience until it is overtaken (E8, §11),
//! and how a call is shown with all that it rests on (E4).

use super::store::{Charge, charge_of};
use super::{Checked, Stage};
use crate::crypto::{Scheme, Verified};
use crate::ordering::{Action, Core, Statement};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Call, Instant, Members, Now, ReplicaId, Root};
use crate::wire::{Blame, Evidence, MAX_EVIDENCE_BLAMES, Restarted};
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    /// What a call rests on, as far as it is signed by others than members' Reports.
    pub(in crate::ordering) fn evidence_of(&self, call: &Call) -> Vec<Evidence> {
        let (mut blames, restarted) = self.change.store.evidence(call.root);
        blames.retain(|b| call.accused.contains(b.accused));
        if blames.len() > MAX_EVIDENCE_BLAMES && !planted("e4-evidence-unbounded") {
            blames = self.blames_that_count(call);
        }
        let blames = blames.iter().map(|b| Evidence::Blame(Verified::clone(b).into()));
        let restarted = restarted.iter().map(|r| Evidence::Restarted(Verified::clone(r).into()));
        let before = call.root.resets.checked_sub(1);
        let before = before.map_or(call.root, |resets| Root { resets, ..call.root });
        let stalled = self.change.store.stalled_from(before);
        let stalled = stalled.map(|s| Evidence::Stalled(Verified::clone(s).into()));
        let proven = self.proven(call.root);
        let proofs = self.change.store.proofs.iter().filter(|(x, _)| proven.contains(**x));
        let proofs = proofs.map(|(_, c)| Evidence::Proof(Box::new(c.proof.as_ref().clone())));
        blames.chain(restarted).chain(stalled).chain(proofs).collect()
    }

    /// Of all that replicas have blamed on whom a call accuses, what the call may rest on: liars
    /// can say more beside it than fits into a message.
    fn blames_that_count(&self, call: &Call) -> Vec<Arc<Verified<Blame>>> {
        let quorum = self.keyring.ensemble().majority();
        let charges = self.change.store.quorum_charges(call.root, quorum);
        // One for each of the accused first: without it the call would accuse somebody else.
        let mut seen = Members::NONE;
        let mut is_first = |charge: &&Charge| {
            let known = seen.contains(charge.3) && !planted("e4-evidence-cut");
            seen.insert(charge.3);
            !known
        };
        let counted = charges.iter().filter(|charge| call.accused.contains(charge.3));
        let (first, more): (Vec<_>, Vec<_>) = counted.partition(|charge| is_first(charge));
        let makers = |charge| self.change.store.makers(charge).take(quorum);
        let blames = first.into_iter().chain(more).flat_map(makers);
        blames.take(MAX_EVIDENCE_BLAMES).cloned().collect()
    }

    /// Shows the promised call to one or to all: its evidence, the Reports that make Blames count,
    /// and the vector that asks for a status call.
    pub(in crate::ordering) fn show_call(&self, to: Option<ReplicaId>, out: &mut Vec<Action>) {
        let call = self.change.promise;
        let mut tell = |what: Statement| {
            out.push(match to {
                Some(to) => Action::Tell { to, what },
                None => Action::TellAll(what),
            });
        };
        tell(Statement::Call(call, self.evidence_of(&call)));
        let quorum = self.keyring.ensemble().majority();
        let charges = self.change.store.quorum_charges(call.root, quorum);
        let counted = charges.iter().rev().filter(|c| call.accused.contains(c.3));
        let mut shown: Vec<&Arc<Checked>> = Vec::new();
        for report in counted.filter_map(|c| self.supporting_report(c)) {
            // A liar's two Reports may each make another charge count.
            let is_it = |other: &Arc<Checked>| match planted("e4-one-report-each") {
                true => other.header.replica == report.header.replica,
                false => Arc::ptr_eq(other, report),
            };
            let known = shown.iter().any(|other| is_it(other));
            if !known && report.header.replica != self.id {
                shown.push(report);
                tell(Statement::Report(report.clone()));
            }
        }
        if call.root.resets == 0 && call.root.generation > self.order.epoch().0.generation {
            for proposal in self.cut_proposals() {
                tell(Statement::Proposal(proposal));
            }
        }
    }

    /// The complete vector whose existence commits the cut (E3).
    fn cut_proposals(&self) -> Vec<crate::ordering::rounds::Held> {
        let complete = self.rounds.complete();
        self.rounds.vector(complete).map(|(_, held)| held.to_vec()).unwrap_or_default()
    }

    /// On a new link: everything of one's own that is not overtaken.
    pub(in crate::ordering) fn say_again(&self, to: ReplicaId, out: &mut Vec<Action>) {
        if let Some(restarted) = self.own_restarted() {
            out.push(Action::Tell { to, what: Statement::Restarted(restarted) });
        }
        let root = self.change.promise.root;
        for stalled in self.change.store.stalled_from(root).filter(|s| s.replica == self.id) {
            out.push(Action::Tell { to, what: Statement::Stalled(stalled.clone()) });
        }
        let own = |b: &Arc<Verified<Blame>>| b.by == self.id && !self.is_overtaken(&charge_of(b));
        for blame in self.change.store.evidence(root).0.into_iter().filter(own) {
            out.push(Action::Tell { to, what: Statement::Blame(blame) });
        }
        if self.change.promise.number() == crate::types::Epoch::GENESIS {
            return;
        }
        if matches!(self.change.stage, Stage::Counting | Stage::Writing { .. }) {
            return;
        }
        self.show_call(Some(to), out);
        let report = self.change.store.report_of(self.id, &self.change.promise);
        out.extend(report.map(|r| Action::Tell { to, what: Statement::Report(r.clone()) }));
    }

    /// Every patience while a change is under way.
    pub(in crate::ordering) fn resend_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(due) = self.resend_due() else { return };
        if now.monotonic < due {
            return;
        }
        mark("E8 all was said again after patience");
        self.change.resent_at = now.monotonic;
        for peer in self.keyring.ensemble().replicas().filter(|r| *r != self.id) {
            self.say_again(peer, out);
        }
    }

    pub(in crate::ordering) fn resend_due(&self) -> Option<Instant> {
        let under_way = self.change.is_frozen()
            || self.change.stalled == Some(self.change.promise.root)
            || self.change.restarted.is_some()
            || !self.change.blamed.is_empty();
        under_way.then(|| self.change.resent_at + self.timing.patience)
    }

    /// The own word that this replica restarted, while that is so (E2, §7).
    pub(in crate::ordering) fn own_restarted(&self) -> Option<Arc<Verified<Restarted>>> {
        let epoch = self.change.restarted.filter(|epoch| self.may_sign(epoch.generation))?;
        let one = Restarted {
            epoch,
            members: self.change.entered.members,
            replica: self.id,
            incarnation: self.incarnation,
        };
        Some(Arc::new(Verified::sign(one, &self.keyring, &self.signer)))
    }
}
