//! What members are waited for beyond what is usual: the budget of E1.
//!
//! A liar that is just in time for `patience` may not be blamed, and every round waits for it.
//! Where the cluster file says how long messages take usually ([`Lag`]), a member that is waited
//! for longer than that allows spends its budget, and is blamed once that is gone. Budgets come
//! back with time, also while they are spent, and whatever becomes of epochs: a liar that was out
//! finds what it left.
//!
//! Charged is what this replica has *seen*: it looks every `lag_delta` while somebody is late, and
//! what passes between two looks counts for two of them at most. One that did not run for a while
//! charges nobody for that, and blames nobody in the turn in which it sees that somebody is late:
//! what had come may still be waiting. And it charges only while at most `t` are missing: if more
//! are, what is slow is this replica, its network, or all.

use super::Core;
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{Epoch, Instant, Lag, Members, ReplicaId, Round};
use crate::wire::BlameStep;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a replica has waited for others beyond the usual.
#[derive(Clone, Debug, Default)]
pub(super) struct Lags {
    /// What each had spent of its budget, and when that was so.
    accounts: BTreeMap<ReplicaId, (Duration, Instant)>,
    late: Option<Late>,
}

/// A round in which somebody is late.
#[derive(Clone, Debug)]
struct Late {
    of: (Epoch, Round),
    /// Who is; all of them are charged up to `looked`.
    members: Members,
    looked: Instant,
    /// Those of them that had nothing left at the last look.
    broke: Members,
}

impl Lags {
    /// What a member has spent of its budget.
    fn spent(&self, lag: &Lag, member: ReplicaId, now: Instant) -> Duration {
        let Some((spent, at)) = self.accounts.get(&member) else { return Duration::ZERO };
        spent.saturating_sub(lag.freed_in(now.since(*at)))
    }

    /// Charges all who are late for the time since the last look.
    fn charge(&mut self, lag: &Lag, now: Instant) {
        let Some(late) = &mut self.late else { return };
        let (since, members) = (std::mem::replace(&mut late.looked, now), late.members);
        let passed = now.since(since);
        let seen = match planted("e1-lag-asleep") {
            true => passed,
            false => passed.min(2 * lag.delta),
        };
        if planted("e1-lag-uncounted") {
            return;
        }
        for member in members.iter() {
            let spent = self.spent(lag, member, since) + seen;
            let spent = spent.saturating_sub(lag.freed_in(passed)).min(lag.budget);
            self.accounts.insert(member, (spent, now));
        }
    }
}

impl<S: Scheme> Core<S> {
    /// Those who are not missed any more have their last charge. A round that is over has none left
    /// who are.
    pub(super) fn settle_lags(&mut self, now: Instant) {
        let (Some(lag), Some(late)) = (self.timing.lag, &self.lags.late) else { return };
        let round = self.rounds.complete().next();
        let missing = match late.of == (self.epoch, round) {
            true => self.rounds.missing(round).both(late.members),
            false => Members::NONE,
        };
        if missing != late.members {
            self.charge_late(&lag, now, missing);
        }
    }

    /// This replica leaves its epoch: nobody is waited for in it any more.
    pub(super) fn close_lags(&mut self, now: Instant) {
        if planted("e1-lag-unsettled") {
            self.lags.late = None;
        }
        if let Some(lag) = self.timing.lag {
            self.charge_late(&lag, now, Members::NONE);
        }
    }

    fn charge_late(&mut self, lag: &Lag, now: Instant, still: Members) {
        self.lags.charge(lag, now);
        self.lags.late = self.lags.late.take().filter(|_| !still.is_empty());
        if let Some(late) = &mut self.lags.late {
            late.members = still;
        }
    }

    /// Looks who is late in the round under way, for which this replica sent its own at `since`.
    pub(super) fn look_for_lags(&mut self, now: Instant, since: Instant, missing: Members) {
        let Some(lag) = self.timing.lag else { return };
        self.settle_lags(now);
        if self.lags.late.as_ref().is_some_and(|late| now >= late.looked + lag.delta) {
            self.lags.charge(&lag, now);
            self.note_broke(&lag, now);
        } else if self.lags.late.is_none()
            && self.late_at(since, missing).is_some_and(|at| now >= at)
        {
            let of = (self.epoch, self.rounds.complete().next());
            let (members, broke) = (self.others(missing), Members::NONE);
            self.lags.late = Some(Late { of, members, looked: now, broke });
            if planted("e1-lag-unbudgeted") {
                self.note_broke(&lag, now);
            }
        }
    }

    fn note_broke(&mut self, lag: &Lag, now: Instant) {
        let spent = |m: &ReplicaId| self.lags.spent(lag, *m, now) >= lag.budget;
        let late = self.lags.late.as_ref().map_or(Members::NONE, |late| late.members);
        let broke = late.iter().filter(|m| planted("e1-lag-unbudgeted") || spent(m)).collect();
        self.lags.late.iter_mut().for_each(|late| late.broke = broke);
    }

    /// When whoever is missing is late, if that counts.
    fn late_at(&self, since: Instant, missing: Members) -> Option<Instant> {
        let lag = self.timing.lag?;
        // Members enter an epoch at different times.
        let entered = self.rounds.is_open();
        let few = (1..=self.keyring.ensemble().t()).contains(&self.others(missing).len());
        (few && entered && self.takes_part()).then(|| since + lag.patience(self.timing.join_delay))
    }

    fn others(&self, mut members: Members) -> Members {
        members.remove(self.id);
        members
    }

    /// E1: whether a member that is missing in the step under way is blamed for its budget.
    pub(super) fn is_broke(&self, step: BlameStep, member: ReplicaId) -> bool {
        let BlameStep::Round(round) = step else { return false };
        let late = self.lags.late.as_ref().filter(|late| late.of == (self.epoch, round));
        late.is_some_and(|late| late.broke.contains(member))
    }

    /// How long this replica has waited for a member beyond what is usual, as far as that counts
    /// now: with `lag_budget` of it the member is blamed (E1). Zero without budgets.
    pub fn lag_of(&self, member: ReplicaId, now: Instant) -> Duration {
        self.timing.lag.map_or(Duration::ZERO, |lag| self.lags.spent(&lag, member, now))
    }

    /// When to look next who is late.
    pub(super) fn lags_due(&self) -> Option<Instant> {
        let lag = self.timing.lag?;
        let (since, epoch, members, step, missing) = self.stopped_step()?;
        let BlameStep::Round(round) = step else { return None };
        let Some(late) = self.lags.late.as_ref().filter(|late| late.of == (epoch, round)) else {
            return self.late_at(since, missing);
        };
        let mut waited = late.members.both(missing).iter();
        let unblamed = waited.any(|m| !self.change.blamed.contains(&(epoch, members, step, m)));
        unblamed.then(|| late.looked + lag.delta)
    }
}
