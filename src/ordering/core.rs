//! The ordering core: one event in, actions out.

use super::clock::CandidateClock;
use super::order::{Order, Vector};
use super::rounds::{AHEAD, Held, Rounds, Stored};
use super::wants::Wants;
use super::{Action, Event, Input, Setup, Stats};
use crate::crypto::{Keyring, Scheme, Verified};
use crate::types::plant::planted;
use crate::types::{Digest, DigestMap, Epoch, Instant, Members, Now, OrderLimits, ReplicaId};
use crate::types::{Round, Timing};
use crate::wire::{Attestation, Candidate, Proposal, StepPosition, Want};
use std::collections::VecDeque;
use std::sync::Arc;

/// The state of one replica in the ordering protocol of one group.
pub struct Core<S: Scheme> {
    pub(super) id: ReplicaId,
    pub(super) keyring: Keyring<S>,
    pub(super) signer: S::Signer,
    pub(super) timing: Timing,
    pub(super) limits: OrderLimits,
    pub(super) epoch: Epoch,
    pub(super) members: Members,
    pub(super) rounds: Rounds,
    pub(super) order: Order,
    pub(super) clock: CandidateClock,
    pub(super) wants: Wants,
    /// Requests that have a candidate of ours and are neither executed nor forgotten.
    pub(super) mine: DigestMap<()>,
    /// Candidates that are not in a proposal yet, in the order of their ids.
    pub(super) unsent: VecDeque<Candidate>,
    /// Whether some of these may be of requests that were executed meanwhile.
    pub(super) unsent_is_stale: bool,
    /// The last round in which we signed a proposal (R2: one each).
    pub(super) sent: Round,
    pub(super) sent_at: Instant,
    pub(super) committed: Round,
    pub(super) attestation: Attestation,
    /// When the first proposal of another came for the round that we have not joined yet.
    pub(super) started_at: Option<Instant>,
    /// Requests named by others in that round that have not come yet, and until when to wait.
    pub(super) gather: Option<(Vec<Digest>, Instant)>,
    /// Since when the round that we sent in has been incomplete, once that is too long.
    pub(super) waiting: Option<Instant>,
    /// Since when there has been work and too few others have been heard of to start.
    pub(super) blocked: Option<Instant>,
    /// Peers that have told us how far they are; the first proposal waits for t+1 of them.
    pub(super) heard: Members,
    /// Those of them that hold a complete vector although we have signed nothing: so we did and
    /// lost it, or they lie. Until `doubt` we wait for their proof, a proposal of ours.
    pub(super) doubters: Members,
    pub(super) doubt: Instant,
    /// Whether V(complete) must be committed soon (R6).
    pub(super) vector_is_work: bool,
    pub(super) restarted: bool,
    pub(super) stats: Stats,
}

/// Requests that a gather waits for at most.
const MAX_GATHER: usize = 512;

impl<S: Scheme> Core<S> {
    /// A core in epoch (0,0,0).
    pub fn new(setup: Setup<S>, now: Now) -> Self {
        let ensemble = setup.keyring.ensemble();
        let members = ensemble.all();
        Self {
            id: setup.id,
            timing: setup.timing,
            limits: setup.limits,
            epoch: Epoch::GENESIS,
            members,
            rounds: Rounds::new(Epoch::GENESIS, members, ensemble.n(), setup.genesis),
            order: Order::new(ensemble, setup.limits, setup.seed),
            clock: CandidateClock::new(setup.clock),
            wants: Wants::default(),
            mine: DigestMap::new(setup.seed),
            unsent: VecDeque::new(),
            unsent_is_stale: false,
            sent: Round(0),
            sent_at: now.monotonic,
            committed: Round(0),
            attestation: Attestation::default(),
            started_at: None,
            gather: None,
            waiting: None,
            blocked: None,
            heard: Members::NONE,
            doubters: Members::NONE,
            doubt: Instant(0),
            vector_is_work: false,
            restarted: setup.restarted,
            stats: Stats::default(),
            keyring: setup.keyring,
            signer: setup.signer,
        }
    }

    /// Handles one event. Appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Seen { request } => self.seen(now, request),
            Input::Proposal(proposal) => self.proposal(now, proposal, out),
            Input::Want { from, want } => self.want(from, want, out),
            Input::PeerUp { peer, complete } => self.peer_up(now, peer, complete, out),
            Input::Attest(attestation) => self.attestation = attestation,
            Input::Tick => self.tick(now, out),
            Input::Drained => {
                self.propose_if_due(now, out);
                self.tick(now, out);
            }
        }
    }

    /// When [`Input::Tick`] is needed at the latest.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.restarted {
            return None;
        }
        let incomplete = (self.sent > self.rounds.complete()).then_some(self.sent_at);
        let propose = if incomplete.is_some() {
            None
        } else if self.has_work() && self.may_start() {
            Some(self.gather.as_ref().map_or(Instant(0), |(_, until)| *until))
        } else {
            let join = self.started_at.map(|at| at + self.timing.join_delay);
            let heartbeat = Some(self.sent_at + self.timing.heartbeat);
            join.into_iter().chain(heartbeat).min().filter(|_| self.may_start())
        };
        let propose = propose.map(|at| at.max(self.doubt));
        let ask = incomplete.map(|at| self.wants.next_ask(at, &self.timing));
        let report = match self.waiting {
            None => incomplete.or(self.blocked).map(|at| at + self.timing.patience),
            Some(_) => None,
        };
        [propose, ask, report, self.wants.overtaken_wake()].into_iter().flatten().min()
    }

    // --- what happens -------------------------------------------------------------------------

    /// §2: gives the request a candidate, unless it has one or was executed.
    fn seen(&mut self, now: Now, request: Digest) {
        if self.restarted || self.order.is_executed(&request) || self.mine.contains(&request) {
            return;
        }
        let clock = self.clock.candidate(now.wall, self.order.agreed());
        self.mine.insert(request, ());
        self.unsent.push_back(Candidate { clock, request });
        self.stats.candidates += 1;
        if let Some((missing, _)) = &mut self.gather {
            missing.retain(|d| *d != request);
            if missing.is_empty() {
                self.gather = None;
            }
        }
    }

    fn proposal(&mut self, now: Now, proposal: Held, out: &mut Vec<Action>) {
        if self.restarted {
            return;
        }
        let (round, from) = (proposal.round, proposal.replica);
        if from == self.id && round > self.sent {
            // Our signature, and we do not know of it: what we signed is lost (§7).
            self.restarted = true;
            out.push(Action::Event(Event::Restarted));
            return;
        }
        match self.rounds.store(proposal.clone()) {
            Stored::Ignored => {
                self.stats.proposals_ignored += 1;
                return;
            }
            Stored::Second { first } => {
                self.stats.equivocations += 1;
                out.push(Action::Event(Event::Equivocation { first, second: proposal.clone() }));
            }
            Stored::New => self.stats.proposals += 1,
        }
        for to in self.wants.take_waiting(round, from) {
            out.push(Action::Send { to, proposal: proposal.clone() });
        }
        if from != self.id && round == self.rounds.complete().next() && self.sent < round {
            self.started_at.get_or_insert(now.monotonic);
            self.note_unseen(now.monotonic, &proposal);
        }
        self.note_overtaken(now.monotonic, &proposal);
        self.advance(now, out);
    }

    /// R5: answers, or remembers who asked.
    fn want(&mut self, from: ReplicaId, want: Want, out: &mut Vec<Action>) {
        let sane = want.epoch == self.epoch
            && self.members.contains(want.replica)
            && want.round.0 <= self.rounds.complete().0 + AHEAD;
        if !sane {
            return;
        }
        match self.rounds.find(want.round, want.replica, &want.digest) {
            Some(held) => out.push(Action::Send { to: from, proposal: held.clone() }),
            None if want.round > self.rounds.complete() => {
                self.wants.remember(want.round, want.replica, from);
            }
            None => {}
        }
    }

    /// What was lost with the last connection: the two last own proposals go again (§11).
    /// And the peer's own, in case it has lost them.
    fn peer_up(&mut self, now: Now, peer: ReplicaId, complete: Round, out: &mut Vec<Action>) {
        self.heard.insert(peer);
        if self.sent == Round(0) && complete.0 >= 1 && !self.restarted {
            // Nobody completes a round without a proposal of every member: we signed before, or
            // this peer lies. One of t+1 does not, and one that does not can show what we signed.
            if !self.doubters.contains(peer) {
                // Once for each peer: a liar that reconnects must not keep us waiting.
                self.doubt = now.monotonic + 2 * self.timing.delta;
            }
            self.doubters.insert(peer);
            if self.doubters.len() >= self.keyring.ensemble().majority() {
                self.restarted = true;
                out.push(Action::Event(Event::Restarted));
            }
        }
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

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.restarted {
            return;
        }
        self.propose_if_due_by_timer(now, out);
        let round = self.rounds.complete().next();
        self.note_blocked(now.monotonic, out);
        if self.sent < round {
            return;
        }
        let missing = self.rounds.missing(round);
        for want in self.wants.due(now.monotonic, self.sent_at, &self.timing, missing) {
            self.stats.wants += 1;
            let (epoch, digest) = (self.epoch, Digest::ZERO);
            out.push(Action::Ask(Want { epoch, round, replica: want, digest }));
        }
        if self.waiting.is_none() && now.monotonic >= self.sent_at + self.timing.patience {
            self.waiting = Some(self.sent_at);
            self.stats.stalls += 1;
            out.push(Action::Event(Event::Waiting { round, missing }));
        }
    }

    /// Says whom the start of the group waits for.
    fn note_blocked(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.may_start() || !self.has_work() {
            if self.blocked.take().is_some() {
                self.waiting = None;
            }
            return;
        }
        let since = *self.blocked.get_or_insert(now);
        if self.waiting.is_none() && now >= since + self.timing.patience {
            self.waiting = Some(since);
            let missing = self.unheard();
            out.push(Action::Event(Event::Waiting { round: Round(1), missing }));
        }
    }

    pub(super) fn unheard(&self) -> Members {
        let mut missing = self.members.minus(self.heard);
        missing.remove(self.id);
        missing
    }

    // --- rounds -------------------------------------------------------------------------------

    /// R1, R3: completes rounds and commits the ones before them.
    fn advance(&mut self, now: Now, out: &mut Vec<Action>) {
        loop {
            for (proposal, why) in self.rounds.judge(self.limits.max_candidates) {
                self.stats.invalid += 1;
                out.push(Action::Event(Event::Invalid { proposal, why }));
            }
            // A member completes no round without its own proposal, which `missing` sees to.
            if !self.rounds.try_complete(&self.keyring.context()) {
                return;
            }
            let complete = self.rounds.complete();
            self.wants.forget_until(complete);
            if self.waiting.take().is_some() {
                out.push(Action::Event(Event::Resumed { round: complete }));
            }
            let commit = if planted("r3-commit-early") { complete } else { complete.previous() };
            self.commit_to(commit, out);
            let vector = self.rounds.vector(complete).map_or(&[][..], |(_, vector)| vector);
            self.vector_is_work = self.is_work(vector);
            self.look_at_next_round(now.monotonic);
        }
    }

    fn commit_to(&mut self, round: Round, out: &mut Vec<Action>) {
        while self.committed < round {
            let next = self.committed.next();
            let (digest, proposals) =
                self.rounds.vector(next).expect("a complete round's vector is kept");
            let vector = Vector {
                position: StepPosition { round: next, vector: digest },
                members: self.members,
                proposals: proposals.iter().map(|p| p.message()).collect(),
            };
            let step = self.order.commit(&vector);
            self.committed = next;
            for ordered in &step.requests {
                self.mine.remove(&ordered.digest);
                self.unsent_is_stale |= !ordered.holders.contains(self.id);
            }
            for (digest, _) in step.forgotten.iter().filter(|(_, had)| had.contains(self.id)) {
                self.mine.remove(digest);
            }
            for (replica, digest) in &step.over_quota {
                if *replica == self.id {
                    self.mine.remove(digest);
                }
            }
            self.stats.executed += step.requests.len() as u64;
            out.push(Action::Committed(Box::new(step)));
        }
    }

    /// Proposals of the round that has just become the next one may be here already.
    fn look_at_next_round(&mut self, now: Instant) {
        (self.started_at, self.gather) = (None, None);
        let next = self.rounds.complete().next();
        let mut others = self.rounds.senders(next);
        others.remove(self.id);
        for member in others.iter() {
            self.started_at.get_or_insert(now);
            if let Some(held) = self.rounds.find(next, member, &Digest::ZERO).cloned() {
                self.note_unseen(now, &held);
            }
        }
    }

    /// R6, gather: which requests named by another have not come to us yet.
    fn note_unseen(&mut self, now: Instant, proposal: &Proposal) {
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
    fn note_overtaken(&mut self, now: Instant, proposal: &Proposal) {
        let (round, complete) = (proposal.round.previous(), self.rounds.complete());
        // Of the round under way, or of the one completed last: then somebody equivocated.
        if round != complete.next() && (round != complete || round == Round(0)) {
            return;
        }
        for (member, digest) in self.members.iter().zip(&proposal.choice) {
            if self.rounds.find(round, member, digest).is_none() {
                self.wants.overtaken(round, member, *digest, now + self.timing.join_delay);
            }
        }
    }

    /// R6: whether there is a reason of our own to run a round.
    fn has_work(&self) -> bool {
        !self.unsent.is_empty() || self.order.has_unexecuted() || self.vector_is_work
    }

    /// Whether committing V(complete) is our business: it names a request that we have seen, or
    /// one that t+1 vouch for by it. A liar's inventions are not: for these we join, later.
    fn is_work(&self, vector: &[Held]) -> bool {
        let named = |p: &Held| p.candidates.iter().map(|c| (c.request, p.replica)).collect();
        let mut all: Vec<(Digest, ReplicaId)> =
            vector.iter().flat_map::<Vec<_>, _>(named).collect();
        if all.iter().any(|(request, _)| self.mine.contains(request)) {
            return true;
        }
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
        self.sent > Round(0) || self.heard.len() >= self.keyring.ensemble().majority()
    }

    fn propose_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        self.drop_executed_unsent();
        let gathering = self.gather.as_ref().is_some_and(|(_, until)| now.monotonic < *until);
        if self.has_work() && !gathering {
            self.propose(now, out);
        }
    }

    fn propose_if_due_by_timer(&mut self, now: Now, out: &mut Vec<Action>) {
        let join = self.started_at.is_some_and(|at| now.monotonic >= at + self.timing.join_delay);
        let heartbeat = now.monotonic >= self.sent_at + self.timing.heartbeat;
        let gathered = self.gather.as_ref().is_some_and(|(_, until)| now.monotonic >= *until);
        if join || heartbeat || (gathered && self.has_work()) {
            self.propose(now, out);
        }
        for want in self.wants.overtaken_due(now.monotonic) {
            if self.rounds.find(want.0, want.1, &want.2).is_none() {
                self.stats.wants += 1;
                let (round, replica, digest) = want;
                out.push(Action::Ask(Want { epoch: self.epoch, round, replica, digest }));
            }
        }
    }

    /// R2: signs the one proposal of the next round and sends it to everybody.
    fn propose(&mut self, now: Now, out: &mut Vec<Action>) {
        let round = self.rounds.complete().next();
        let doubt = now.monotonic < self.doubt;
        if self.restarted || self.sent >= round || doubt || !self.may_start() {
            return;
        }
        self.drop_executed_unsent();
        let take = self.unsent.len().min(self.limits.max_candidates as usize);
        let proposal = Proposal {
            epoch: self.epoch,
            members: self.members,
            round,
            replica: self.id,
            choice: self.rounds.choice().to_vec(),
            candidates: self.unsent.drain(..take).collect(),
            now: self.clock.now(now.wall, self.order.agreed()),
            attestation: self.attestation,
        };
        let proposal = Arc::new(Verified::sign(proposal, &self.keyring, &self.signer));
        (self.sent, self.sent_at) = (round, now.monotonic);
        (self.started_at, self.gather) = (None, None);
        self.stats.rounds += 1;
        out.push(Action::Broadcast(proposal.clone()));
        let stored = self.rounds.store(proposal);
        assert!(
            stored == Stored::New || planted("r2-sign-twice"),
            "R2: a second proposal of our own for one round must never be signed"
        );
        self.advance(now, out);
    }

    /// Candidates of requests that were executed on others' candidates meanwhile go nowhere.
    fn drop_executed_unsent(&mut self) {
        if std::mem::take(&mut self.unsent_is_stale) {
            let mine = &self.mine;
            self.unsent.retain(|c| mine.contains(&c.request));
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
