//! Answering what others ask for (R5).

use super::{Action, Checked, Core, Statement};
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{Digest, ReplicaId, Round};
use crate::wire::Want;
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    /// R5: answers, or remembers who asked. Round 0 asks for a Report.
    pub(super) fn want(&mut self, from: ReplicaId, want: Want, out: &mut Vec<Action>) {
        if want.round == Round(0) {
            let what = self.report_wanted(&want).map(Statement::Report);
            out.extend(what.map(|what| Action::Tell { to: from, what }));
            return;
        }
        let in_history = self.history.find(want.round, want.replica, &want.digest);
        if let Some(held) = in_history.filter(|p| p.epoch == want.epoch) {
            out.push(Action::Send { to: from, proposal: held.clone() });
            return;
        }
        let mut chains = self.change.old.iter().map(|c| &c.rounds).chain([&self.rounds]);
        let found = chains.find_map(|rounds| {
            let fits = rounds.epoch().0 == want.epoch && rounds.epoch().1.contains(want.replica);
            rounds.find(want.round, want.replica, &want.digest).filter(|_| fits)
        });
        if let Some(held) = found {
            out.push(Action::Send { to: from, proposal: held.clone() });
        } else if want.digest != Digest::ZERO
            && let Some(report) = self.report_wanted(&want)
        {
            // A first round chooses Reports, and whoever has another base takes it for a later one.
            out.push(Action::Tell { to: from, what: Statement::Report(report) });
        } else if want.epoch == self.epoch
            && self.members.contains(want.replica)
            && want.round > self.rounds.complete()
            && want.round <= self.rounds.horizon()
        {
            self.wants.remember(want.round, want.replica, from);
        }
    }

    fn report_wanted(&self, want: &Want) -> Option<Arc<Checked>> {
        let old = self.change.old.iter().filter_map(|c| c.opening.as_ref());
        let past = self.history.openings().filter(|_| !planted("r5-past-openings-gone"));
        let openings = old.chain(&self.change.opening).chain(past).flat_map(|o| &o.sources);
        let kept = self.change.following.kept_reports();
        let mut all = self.change.store.all_reports().chain(openings).chain(kept);
        let fits = |r: &&Arc<Checked>| {
            r.header.replica == want.replica
                && r.header.call.number() == want.epoch
                && (want.digest == Digest::ZERO || r.digest() == want.digest)
        };
        all.find(fits).cloned()
    }
}
