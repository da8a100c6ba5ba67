//! Answering what others ask for (R5).

use super::{Action, Checked, Core, Statement};
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{Digest, Members, Now, ReplicaId, Round};
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

    /// R7: a peer does not keep history that reaches back so far. Each keeps it as long as somebody
    /// may go on from a snapshot of its own, so another may have it still; when nobody that is
    /// further does, the state itself is needed. Who says it twice makes nobody send it again.
    pub(super) fn history_gone(&mut self, now: Now, from: ReplicaId, out: &mut Vec<Action>) {
        let after = self.committed;
        let following = &mut self.change.following;
        if following.gone.0 != after {
            following.gone = (after, Members::NONE);
        }
        let said = following.gone.1.contains(from);
        following.gone.1.insert(from);
        let gone = following.gone.1;
        let next = following.ahead.keys().find(|peer| !gone.contains(**peer)).copied();
        match next.filter(|_| !self.blank && !planted("r7-one-history-only")) {
            Some(_) if said => {}
            Some(from) => out.push(Action::AskHistory { from, after }),
            None => self.fall_behind(now, out),
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

    /// What was lost with the last connection: the two last own proposals go again (§11), and all
    /// that this replica says of §5. And the peer's own, in case it has lost them.
    pub(super) fn peer_up(
        &mut self,
        now: Now,
        peer: ReplicaId,
        complete: Round,
        out: &mut Vec<Action>,
    ) {
        self.heard.insert(peer);
        self.hear_of_rounds(now, peer, complete, out);
        if self.lost {
            return;
        }
        self.say_again(peer, out);
        for round in [self.rounds.complete(), self.rounds.complete().next()] {
            if let Some(theirs) = self.rounds.find(round, peer, &Digest::ZERO) {
                out.push(Action::Send { to: peer, proposal: theirs.clone() });
            }
        }
        for round in [self.sent.previous(), self.sent] {
            if let Some(own) = self.rounds.find(round, self.id, &Digest::ZERO) {
                out.push(Action::Send { to: peer, proposal: own.clone() });
            }
        }
        if planted("r2-sign-twice") && self.sent > self.rounds.complete() {
            self.sent = self.sent.previous();
        }
    }
}
