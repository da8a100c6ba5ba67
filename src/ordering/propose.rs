//! When to propose, and what (R1, R2, R6).

use super::rounds::{AHEAD, Held, Stored};
use super::{Action, Core};
use crate::crypto::{Scheme, Verified};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, Epoch, Instant, Members, Now, ReplicaId, Round};
use crate::wire::{Candidate, MAX_CHANGES, Proposal, SignedChange, Want};
use std::sync::Arc;

/// Requests that a gather waits for at most.
const MAX_GATHER: usize = 512;

/// Complete rounds that may wait for the disk when the next proposal is signed (§7); one less than
/// what is fetched of rounds that must not be committed.
const FLIGHT: u64 = AHEAD - 2;

/// Rounds that are run for a receipt at most, at one time.
const MAX_WANTED: u64 = 8;

/// Rounds of an epoch after which the state after its first vector is attested and shown.
const ATTESTED_AFTER: u64 = 4;

impl<S: Scheme> Core<S> {
    /// §2: gives the request a candidate, unless it has one or was executed.
    pub(super) fn seen(&mut self, now: Now, request: Digest) {
        if self.blank || self.order.is_executed(&request) || self.mine.contains(&request) {
            return;
        }
        let clock = self.clock.candidate(now.wall, self.order.agreed());
        self.mine.insert(request, clock);
        self.unsent.push_back(Candidate { clock, request });
        self.stats.candidates += 1;
        if let Some((missing, _)) = &mut self.gather {
            missing.retain(|d| *d != request);
            if missing.is_empty() {
                self.gather = None;
            }
        }
    }

    /// Proposals of the round that has just become the next one may be here already.
    pub(super) fn look_at_next_round(&mut self, now: Instant) {
        (self.started_at, self.passed_on, self.gather) = (None, None, None);
        self.forget_blames();
        let next = self.rounds.complete().next();
        let since = match self.ahead.take() {
            Some((epoch, round, at))
                if (epoch, round) == (self.epoch, next) && !planted("r6-late-twice") =>
            {
                at
            }
            _ => now,
        };
        let mut others = self.rounds.senders(next);
        others.remove(self.id);
        for member in others.iter() {
            self.started_at.get_or_insert(since);
            if let Some(held) = self.rounds.find(next, member, &Digest::ZERO).cloned() {
                self.note_unseen(now, &held);
            }
        }
    }

    /// R6: another one has started the round after the one under way. A member joins that
    /// `join_delay` later, or once it has what it lacks of the one under way if that is later, and
    /// not after both: whoever waits for it has waited for the first already.
    pub(super) fn note_ahead(&mut self, now: Instant, proposal: &Proposal) {
        let round = proposal.round;
        let is_first = self.ahead.is_none_or(|(epoch, r, _)| (epoch, r) != (self.epoch, round));
        if round == self.rounds.complete().next().next() && is_first && self.takes_part() {
            self.ahead = Some((self.epoch, round, now));
        }
    }

    /// R6, gather: which requests named by another have not come to us yet.
    pub(super) fn note_unseen(&mut self, now: Instant, proposal: &Proposal) {
        let unseen = |d: &Digest| !self.mine.contains(d) && !self.order.is_executed(d);
        let named = proposal.candidates.iter().map(|c| c.request).filter(unseen);
        let named: Vec<Digest> = named.take(MAX_GATHER + 1).collect();
        // So many are not on their way from clients that we are just about to hear.
        if named.is_empty() || named.len() > MAX_GATHER {
            return;
        }
        let until = now + self.timing.gather;
        let (missing, _) = self.gather.get_or_insert_with(|| (Vec::new(), until));
        missing.extend(named);
    }

    /// R5: a choice names proposals of the round before that we lack. Most are only overtaken on
    /// another link, so they are asked for after `join_delay`.
    pub(super) fn note_overtaken(&mut self, now: Instant, proposal: &Proposal) {
        let (round, complete) = (proposal.round.previous(), self.rounds.complete());
        if round == self.rounds.base() && complete == round && self.epoch > Epoch::GENESIS {
            self.note_other_reports(now, proposal);
        }
        // Of the round under way, or of the one completed last: then somebody equivocated.
        let of_interest = round == complete.next() || round == complete;
        if !of_interest || round <= self.rounds.base() {
            return;
        }
        let (n, at) = (self.keyring.ensemble().n(), now + self.timing.join_delay);
        for (member, digest) in self.members.iter().zip(&proposal.choice) {
            if self.rounds.find(round, member, digest).is_none() {
                self.wants.overtaken(n, (round, member, *digest), at);
            }
        }
    }

    /// R5 for an epoch's first round: a choice names another Report of a replica than ours does. So
    /// that one signed two, and who sees both can prove it.
    fn note_other_reports(&mut self, now: Instant, proposal: &Proposal) {
        let ours = self.rounds.choice().iter();
        let (n, at) = (self.keyring.ensemble().n(), now + self.timing.join_delay);
        for ((member, named), own) in self.members.iter().zip(&proposal.choice).zip(ours) {
            if named != own {
                mark("E6 a first choice named another Report");
                self.wants.overtaken(n, (Round(0), member, *named), at);
            }
        }
    }

    /// R6: whether there is a reason of our own to run a round.
    pub(super) fn has_work(&self) -> bool {
        // An epoch's first vector commits its opening: nobody waits with that.
        !self.unsent.is_empty()
            || self.order.has_unexecuted()
            || self.vector_is_work
            || self.change.prepared.is_some()
            || self.must_attest()
            || self.rounds.complete() < self.wanted && self.may_propose()
    }

    /// R6: somebody waits for a receipt, which takes what members attest in the next rounds. They
    /// are a few, whatever is asked for.
    pub(super) fn want_rounds(&mut self, round: Round) {
        let most = self.rounds.complete().0 + MAX_WANTED;
        if self.takes_part() {
            self.wanted = self.wanted.max(Round(round.0.min(most)));
        }
    }

    /// The state after an epoch's first vector is what a replica that is out takes up (§7). It is
    /// attested two rounds later, and that is shown in the one after: an idle group does not leave
    /// that to its heartbeats.
    fn must_attest(&self) -> bool {
        let somebody_is_out = self.members != self.keyring.ensemble().all();
        somebody_is_out && self.rounds.complete().0 < self.rounds.base().0 + ATTESTED_AFTER
    }

    /// Whether committing V(complete) is our business: it names a request that we have seen, or
    /// one that t+1 vouch for by it. A liar's inventions are not: for these we join, later.
    pub(super) fn is_work(&self, vector: &[Held]) -> bool {
        // What was executed is vouched for by many and no work for anybody.
        let waits = |request: &Digest| !self.order.is_executed(request);
        let named = vector.iter().flat_map(|p| p.candidates.iter().map(|c| (c.request, p.replica)));
        if named.clone().any(|(request, _)| self.mine.contains(&request) && waits(&request)) {
            return true;
        }
        let mut all: Vec<(Digest, ReplicaId)> =
            named.filter(|(request, _)| waits(request)).collect();
        all.sort_unstable();
        let quorum = self.keyring.ensemble().majority();
        let vouched = |same: &[(Digest, ReplicaId)]| {
            let before = self.order.holders(&same[0].0);
            same.iter().map(|(_, who)| *who).chain(before.iter()).collect::<Members>().len()
                >= quorum
        };
        all.chunk_by(|a, b| a.0 == b.0).any(vouched)
    }

    /// The first proposal waits until t+1 others have told how far they are: at least one of
    /// them is honest and would know us.
    pub(super) fn may_start(&self) -> bool {
        self.sent > Round(0)
            || self.epoch > crate::types::Epoch::GENESIS
            || self.heard.len() >= self.keyring.ensemble().majority()
    }

    pub(super) fn propose_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        self.drop_executed_unsent();
        let gathering = self.gather.as_ref().is_some_and(|(_, until)| now.monotonic < *until);
        if self.has_work() && !gathering {
            self.propose(now, out);
        }
    }

    pub(super) fn propose_if_due_by_timer(&mut self, now: Now, out: &mut Vec<Action>) {
        let join = self.started_at.is_some_and(|at| now.monotonic >= at + self.timing.join_delay);
        let heartbeat = now.monotonic >= self.sent_at + self.timing.heartbeat;
        let gathered = self.gather.as_ref().is_some_and(|(_, until)| now.monotonic >= *until);
        if join || heartbeat || (gathered && self.has_work()) {
            self.propose(now, out);
        }
        self.ask_overtaken(now, out);
    }

    /// R5: asks for what choices name, once it is time.
    pub(super) fn ask_overtaken(&mut self, now: Now, out: &mut Vec<Action>) {
        for want in self.wants.overtaken_due(now.monotonic) {
            if self.rounds.find(want.0, want.1, &want.2).is_none() {
                self.stats.wants += 1;
                let (round, replica, digest) = want;
                out.push(Action::Ask(Want { epoch: self.epoch, round, replica, digest }));
            }
        }
    }

    /// Whether this replica may sign proposals now (E4, R7, §7).
    fn may_propose(&self) -> bool {
        let frozen = self.change.is_frozen() && !planted("e4-no-freeze");
        self.takes_part() && !self.blank && !frozen && self.change.entered.epoch == self.epoch
    }

    /// §7: whether the log of rounds is too far behind to go on. A vector needs a proposal of every
    /// member, so none of their logs can be more than [`FLIGHT`] + 1 complete rounds behind
    /// another: after the power is gone everywhere, what one of them lacks can be fetched without
    /// its committing anything.
    pub(super) fn awaits_disk(&self) -> bool {
        let next = self.rounds.complete().next();
        self.durable.is_some_and(|durable| next.0 > durable.0 + 1 + FLIGHT)
    }

    /// R2: signs the one proposal of the next round and sends it to everybody.
    pub(super) fn propose(&mut self, now: Now, out: &mut Vec<Action>) {
        let round = self.rounds.complete().next();
        let doubt = now.monotonic < self.doubt;
        let waits = doubt || !self.may_start() || self.awaits_disk();
        if !self.may_propose() || self.sent >= round || waits {
            return;
        }
        self.drop_executed_unsent();
        let take = self.unsent.len().min(self.limits.max_candidates as usize);
        let candidates: Vec<Candidate> = self.unsent.drain(..take).collect();
        let proposal = Proposal {
            epoch: self.epoch,
            members: self.members,
            round,
            replica: self.id,
            choice: self.rounds.choice().to_vec(),
            changes: self.changes_among(&candidates),
            candidates,
            now: self.clock.now(now.wall, self.order.agreed()),
            attestation: self.own_attestation(),
        };
        let proposal = Arc::new(Verified::sign(proposal, &self.keyring, &self.signer));
        (self.sent, self.sent_at) = (round, now.monotonic);
        (self.started_at, self.gather) = (None, None);
        self.stats.rounds += 1;
        self.send_own(proposal.clone(), out);
        let stored = self.rounds.store(proposal);
        assert!(
            stored == Stored::New || planted("r2-sign-twice"),
            "R2: a second proposal of our own for one round must never be signed"
        );
        self.advance(now, out);
    }

    /// The status changes that some of these candidates name; a proposal carries them whole.
    fn changes_among(&self, candidates: &[Candidate]) -> Vec<SignedChange> {
        if self.changes.is_empty() {
            return Vec::new();
        }
        let named = candidates.iter().filter_map(|c| self.changes.get(&c.request).copied());
        named.take(MAX_CHANGES).collect()
    }

    /// Candidates of requests that were executed on others' candidates meanwhile go nowhere.
    pub(super) fn drop_executed_unsent(&mut self) {
        if std::mem::take(&mut self.unsent_is_stale) {
            let mine = &self.mine;
            self.unsent.retain(|c| mine.get(&c.request) == Some(&c.clock));
        }
    }
}
