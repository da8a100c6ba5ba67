//! Asking for proposals that are missing, and remembering who asked us (R5).

use crate::types::plant::planted;
use crate::types::{Digest, Instant, Members, ReplicaId, Round, Timing};
use std::collections::BTreeMap;

/// What was asked and what is owed. Bounded: of rounds that are kept, four ahead or 256 for who
/// follows, one map holds an entry for each replica, and of two rounds the other as many for each
/// replica as there are replicas.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    /// Who waits for a proposal that we do not hold either.
    owed: BTreeMap<(Round, ReplicaId), Members>,
    /// Proposals named by a choice, and when to ask for them.
    overtaken: BTreeMap<(Round, ReplicaId, Digest), Instant>,
    /// When we last asked for what is missing of the round under way.
    asked_at: Option<Instant>,
}

impl Wants {
    pub(super) fn remember(&mut self, round: Round, replica: ReplicaId, who: ReplicaId) {
        self.owed.entry((round, replica)).or_default().insert(who);
    }

    /// Who waits for this proposal; they are owed nothing afterwards.
    pub(super) fn take_waiting(&mut self, round: Round, replica: ReplicaId) -> Vec<ReplicaId> {
        let who = self.owed.remove(&(round, replica)).unwrap_or_default();
        who.iter().collect()
    }

    pub(super) fn forget_until(&mut self, complete: Round) {
        self.owed.retain(|(round, _), _| *round > complete);
        // What differs from our choice of the last round is still asked for: it is evidence.
        self.overtaken.retain(|(round, ..), _| *round >= complete);
        self.asked_at = None;
    }

    /// A choice names a proposal that we lack, of a group of `n = 2t + 1`. Two proposals of each of
    /// `t` liars may name others, and what good ones name must find room beside these.
    pub(super) fn overtaken(
        &mut self,
        n: usize,
        (round, who, which): (Round, ReplicaId, Digest),
        at: Instant,
    ) {
        let first = (round, who, Digest::ZERO);
        let same =
            self.overtaken.range(first..).take_while(|((r, w, _), _)| (*r, *w) == (round, who));
        let most = if planted("r5-lies-hide") { 2 } else { n };
        if same.count() < most {
            self.overtaken.entry((round, who, which)).or_insert(at);
        }
    }

    pub(super) fn overtaken_wake(&self) -> Option<Instant> {
        self.overtaken.values().min().copied()
    }

    /// Named proposals whose time has come; each is asked for once this way, after that with the
    /// other missing ones.
    pub(super) fn overtaken_due(&mut self, now: Instant) -> Vec<(Round, ReplicaId, Digest)> {
        let due = self.overtaken.iter().filter(|(_, at)| **at <= now);
        let due: Vec<_> = due.map(|(named, _)| *named).collect();
        self.overtaken.retain(|_, at| *at > now);
        due
    }

    /// When to ask next for what is missing of a round in which we sent at `sent_at`.
    pub(super) fn next_ask(&self, sent_at: Instant, timing: &Timing) -> Instant {
        self.asked_at.map_or(sent_at + 2 * timing.delta, |at| at + timing.patience)
    }

    /// Whose proposals to ask for now: 2Δ after sending, then every `patience`.
    pub(super) fn due(
        &mut self,
        now: Instant,
        sent_at: Instant,
        timing: &Timing,
        missing: Members,
    ) -> Vec<ReplicaId> {
        if missing.is_empty() || now < self.next_ask(sent_at, timing) {
            return Vec::new();
        }
        self.asked_at = Some(now);
        missing.iter().collect()
    }
}
