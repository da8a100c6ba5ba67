//! When a liar signs two Reports for one call, and shows them to different replicas (E6).
//!
//! A member that cannot enter with the one that it was shown, since that names what nobody shows,
//! learns of the other from those that have entered: their first proposals choose it. Whoever
//! holds both has a proof.
//!
//! A follower takes part in no first round, so nothing of its own depends on which Reports it went
//! on from first. What `t + 1` members choose in their first proposals a good one has entered
//! with; if the first vector is ever complete, all of them choose that.

use crate::crypto::{Scheme, Verified};
use crate::ordering::{Action, Core};
use crate::types::plant::planted;
use crate::types::{Digest, Members, Now, Round};
use crate::wire::{Proposal, Want};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Checked;
use super::build::Needs;

impl<S: Scheme> Core<S> {
    /// E6: asks for Reports of the promised call that others' first proposals choose, when those
    /// held here are other ones.
    pub(in crate::ordering) fn ask_for_other_reports(&mut self, out: &mut Vec<Action>) {
        if self.change.reporting_since().is_none() || planted("e6-other-reports-unasked") {
            return;
        }
        let call = self.change.promise;
        let (epoch, members) = (call.number(), call.members());
        let early: Vec<_> = self.change.following.early_of((epoch, members)).collect();
        for (replica, digest) in early.iter().flat_map(|p| members.iter().zip(&p.choice)) {
            let own = self.change.store.report_of(replica, &call);
            let other = own.is_some_and(|held| held.digest() != *digest);
            if other && self.change.following.asks_named(*digest) {
                self.stats.wants += 1;
                let round = Round(0);
                out.push(Action::Ask(Want { epoch, round, replica, digest: *digest }));
            }
        }
    }

    /// Whether the chain here was built from Reports, and its first vector is not complete.
    pub(in crate::ordering) fn awaits_first_vector(&self) -> bool {
        self.change.prepared.is_some() && !self.rounds.is_open()
    }

    /// E6: goes on from other Reports than at first, if that is what the members do.
    pub(in crate::ordering) fn follow_the_members(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.awaits_first_vector() || self.members.contains(self.id) {
            return;
        }
        let Some(hashes) = self.chosen_by_members() else { return };
        let (epoch, members) = self.rounds.epoch();
        let named = members.iter().zip(&hashes);
        let lacking = named.filter(|(_, d)| self.report_with(d).is_none());
        let wants: Vec<Want> = lacking
            .map(|(replica, d)| Want { epoch, round: Round(0), replica, digest: *d })
            .collect();
        if !wants.is_empty() {
            return self.ask_at_times(now, wants, out);
        }
        let reports: Vec<Arc<Checked>> =
            hashes.iter().filter_map(|d| self.report_with(d).cloned()).collect();
        let Some(call) = reports.first().map(|r| r.header.call) else { return };
        let whole = reports.iter().zip(members.iter());
        let fits = (call.number(), call.members()) == (epoch, members)
            && reports.len() == members.len()
            && whole.into_iter().all(|(r, m)| (r.header.replica, r.header.call) == (m, call));
        if !fits {
            return;
        }
        let opening = self.opening_from(&call, &reports);
        let prepared = match self.build(&opening) {
            Ok(prepared) => prepared,
            Err(Needs::Wants(wants) | Needs::Far(wants) | Needs::Opening(wants)) => {
                return self.ask_at_times(now, wants, out);
            }
            Err(Needs::Behind) => return self.fall_behind(now, out),
            Err(Needs::Astray) => return self.go_astray(now, &opening, out),
            Err(Needs::Invalid) => return,
        };
        let first = self.first_proposals();
        self.rounds = self.rounds_after(&opening, &prepared.order);
        self.change.opening = Some(opening);
        self.change.prepared = Some(Box::new(prepared));
        self.sent = self.rounds.base();
        self.ahead = None;
        self.wants = Default::default();
        for proposal in first {
            self.on_proposal(now, proposal, out);
        }
    }

    /// What `t + 1` members choose in their first proposals, if it is not what is waited for here.
    fn chosen_by_members(&self) -> Option<Vec<Digest>> {
        let mut choices: BTreeMap<Vec<Digest>, Members> = BTreeMap::new();
        let members = self.rounds.epoch().1;
        for p in self.first_proposals().iter().filter(|p| members.contains(p.replica)) {
            if p.choice != self.rounds.choice() && p.choice.len() == members.len() {
                choices.entry(p.choice.clone()).or_default().insert(p.replica);
            }
        }
        let quorum = self.keyring.ensemble().majority();
        let enough = choices.into_iter().filter(|(_, by)| by.len() >= quorum);
        // Those of the second round choose proposals, which nobody has as Reports.
        enough.map(|(choice, _)| choice).find(|c| c.iter().any(|d| self.report_with(d).is_some()))
    }

    /// Proposals of this epoch that are kept, the earliest first.
    fn first_proposals(&self) -> Vec<Arc<Verified<Proposal>>> {
        let mut all = self.rounds.held();
        all.extend(self.change.following.early_of(self.rounds.epoch()));
        all.sort_by_key(|p| p.round);
        all
    }

    fn report_with(&self, digest: &Digest) -> Option<&Arc<Checked>> {
        let stored = self.change.store.all_reports();
        let mut all = stored.chain(self.change.following.kept_reports());
        all.find(|r| r.digest() == *digest)
    }
}
