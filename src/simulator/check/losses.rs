//! What replicas lose with a crash, take up from their disks or from others, execute before they
//! may tell it, and have to give up: what of their histories others need not have (§7).

use super::{Checked, Checks, Reached, broken, had_effect};
use crate::replica::StepTrace;
use crate::types::{ReplicaId, Round};
use crate::wire::Outcome;
use std::collections::{BTreeMap, BTreeSet};

impl Checks {
    /// A replica has lost its state and will execute from the beginning. What no good replica has
    /// any more by that, and no client has accepted, may come out otherwise than it did (§7).
    pub fn on_restarted(&mut self, replica: ReplicaId) {
        let steps = self.steps_of(replica).min(self.order.len());
        self.forgotten
            .extend(self.order[self.accepted.min(steps)..steps].iter().map(|s| s.position));
        // It is not heard before it has told what it took up.
        self.reached.insert(replica, Reached { unsure: true, ..Reached::default() });
        let good = self.good;
        let alive = || self.reached.iter().filter(|(r, _)| good.contains(**r)).map(|(_, r)| r);
        let kept = alive().map(|r| r.steps).max().unwrap_or(0).max(self.accepted);
        let sure = alive().filter(|r| !r.unsure);
        let round = sure.map(|r| r.last_round).max().unwrap_or_default();
        self.roots.retain(|r, _| *r <= round);
        self.lose_from(kept);
    }

    /// The steps from this one on are in no history any more.
    fn lose_from(&mut self, kept: usize) {
        if kept >= self.order.len() {
            return;
        }
        let lost = self.order.split_off(kept);
        for step in &lost {
            self.places.remove(&step.position);
        }
        self.lost.extend(lost);
        (self.executed, self.seen) = (BTreeMap::new(), BTreeSet::new());
        let entries = self.order.iter().flat_map(|s| &s.entries).filter(|e| e.fresh);
        for entry in entries {
            self.seen.insert(entry.request);
            if Outcome::parse(&entry.outcome).is_ok_and(|o| had_effect(&o)) {
                self.executed.insert(entry.request, entry.digest);
            }
        }
    }

    /// A replica has the state that is after this round.
    fn on_installed(&mut self, replica: ReplicaId, round: Round) {
        let steps = self.order.iter().take_while(|s| s.position.round <= round).count();
        self.reached.insert(replica, Reached { steps, last_round: round, ..Reached::default() });
    }

    /// A replica has taken up a state, from its disk or from others. What is in that is attested,
    /// and comes back with it if nobody had it any more.
    pub fn on_taken_up(&mut self, replica: ReplicaId, round: Round) {
        let last = self.order.last().map_or(Round(0), |s| s.position.round);
        let back = |s: &&StepTrace| last < s.position.round && s.position.round <= round;
        let mut back: Vec<StepTrace> = self.lost.iter().filter(back).cloned().collect();
        back.sort_by_key(|s| s.position.round);
        for step in back {
            if self.order.last().is_none_or(|s| s.position.round < step.position.round) {
                // It was examined when it was executed first.
                let _ = self.append(replica, &step);
            }
        }
        self.on_installed(replica, round);
    }

    /// A replica has executed again, up to this round, what was on its disk behind a state that it
    /// has installed. As long as it does not go on from there nobody has to have done the same.
    pub fn on_recovered(&mut self, replica: ReplicaId, steps: &[StepTrace], round: Round) {
        let reached = self.reached.entry(replica).or_default();
        reached.last_round = reached.last_round.max(round);
        reached.unsure = true;
        for step in steps {
            self.keep_own(replica, step);
        }
    }

    fn keep_own(&mut self, replica: ReplicaId, step: &StepTrace) {
        if step.entries.is_empty() {
            return;
        }
        let reached = self.reached.entry(replica).or_default();
        // Those that all have need not wait, and those that clients know must be there.
        let known = self.order.get(reached.steps).is_some_and(|known| known == step);
        if known && reached.own.is_empty() {
            reached.steps += 1;
        } else {
            reached.own.push(step.clone());
        }
    }

    /// A replica that knows of a later epoch than its order has come to has executed a step. As
    /// long as it does not go on from there, and tell it, nobody has to have done the same.
    ///
    /// # Errors
    /// If it is not a step after its last.
    pub fn on_untold(&mut self, replica: ReplicaId, step: &StepTrace) -> Checked {
        if self.good.contains(replica) {
            self.next_round(replica, step)?;
            self.keep_own(replica, step);
            self.reached.entry(replica).or_default().unsure = true;
        }
        Ok(())
    }

    pub(super) fn next_round(&mut self, replica: ReplicaId, step: &StepTrace) -> Checked {
        let reached = self.reached.entry(replica).or_default();
        let (last, now) = (reached.last_round, step.position.round);
        reached.last_round = now;
        match now > last {
            true => Ok(()),
            false => broken("one order", format!("{replica} executed {now:?} after {last:?}")),
        }
    }

    /// Whether a step can be one that the history has gone on without (§7): somebody who had
    /// executed it has lost it, no client has accepted anything of it, and only a minority has it.
    /// That has to give it up.
    pub(super) fn pass_by(&mut self, by: ReplicaId, at: usize) -> bool {
        let good = self.good;
        let has = |(r, reached): (&ReplicaId, &Reached)| {
            (*r != by && good.contains(*r) && reached.steps > at).then_some(*r)
        };
        let behind: Vec<ReplicaId> = self.reached.iter().filter_map(has).collect();
        let lost = self.forgotten.contains(&self.order[at].position);
        if !lost || at < self.accepted || 2 * behind.len() > good.len() {
            return false;
        }
        for replica in behind {
            let last_round = self.reached.get(&replica).map_or(Round(0), |r| r.last_round);
            let reached = Reached { steps: at, last_round, passed_by: true, ..Reached::default() };
            self.reached.insert(replica, reached);
        }
        let round = self.order[at].position.round;
        self.roots.retain(|r, _| *r < round);
        self.lose_from(at);
        true
    }
}
