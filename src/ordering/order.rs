//! From committed vectors to a total order: rules O1 to O4.
//!
//! A pure function of the committed vectors: two replicas that committed the same vectors hold
//! the same [`Order`] and executed the same steps. Its state has deterministic limits and a
//! digest.

mod open;
mod state;

use super::roster::Roster;
use super::rounds::Tip;
use super::{ChangeOutcome, Checkpoint, Ordered, Step};
use crate::types::plant::planted;
use crate::types::{
    AgreedTime, Cuid, Digest, DigestMap, DigestQueue, Ensemble, Epoch, Members, OrderLimits,
    ReplicaId, Round, Uid,
};
use crate::wire::{Change, Proposal, StepPosition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The state of the order after the vectors committed so far.
#[derive(Clone, Debug)]
pub(super) struct Order {
    ensemble: Ensemble,
    limits: OrderLimits,
    /// C of the last committed vector (O2).
    agreed: u64,
    /// Every request with a committed candidate that is not executed, until it is forgotten.
    known: DigestMap<Known>,
    /// Accepted and not executed, in no particular order; normally those of two rounds.
    accepted: Vec<Digest>,
    /// Unexecuted requests that lack a candidate of some member, by their smallest candidate.
    partial: BTreeSet<(Cuid, Digest)>,
    /// Requests never accepted so far whose first candidate is this replica's (O4), by roster
    /// place. Charging the first keeps liars from sharing the blame for what they made up.
    charged: Vec<u32>,
    /// Never accepted so far, by the round of their first candidate.
    half_seen: BTreeSet<(Round, Digest)>,
    /// Executed requests in the order of their execution, for `forget_after` rounds, so that
    /// candidates still on their way change nothing. They are many more than those that are not
    /// executed: each takes little here.
    executed: DigestQueue<Done>,
    /// Status changes with a committed candidate that are not accepted yet (M1 to M3).
    changes: BTreeMap<Digest, Change>,
    /// Members, who is out and why, accepted changes.
    pub(super) roster: Roster,
    /// Each replica's clocks in the committed chain, by roster place (R4).
    pub(super) tips: Vec<Tip>,
    /// The hash of the opening of the present epoch, and its first round.
    pub(super) opening: (Digest, Round),
    /// The same of the epochs before, the last few of them, the earliest first.
    past: VecDeque<(Epoch, Digest, Round)>,
    /// The last committed vector: its place, and the hashes that its successors must choose. Right
    /// after an opening: the hashes of its Reports.
    pub(super) last: (StepPosition, Vec<Digest>),
}

/// What is known of a request that is not executed.
#[derive(Clone, Debug)]
struct Known {
    /// The first committed candidate of each replica (O1), in the order of commitment.
    candidates: Vec<Cuid>,
    holders: Members,
    /// The round of its first candidate, and C there (O4).
    first: (Round, u64),
    state: State,
    /// Its entry in `partial`, if it has one.
    partial: Option<Cuid>,
    /// Its body is lost (O7): it keeps its place in the order and has no effect.
    void: bool,
    /// The last round in which it was touched: no part of the state, and only to do things once.
    touched: Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    HalfSeen,
    /// In which round, and C of the round after that once it is committed (O2's cap).
    Accepted(Round, Option<u64>),
}

/// What is remembered of an executed request.
#[derive(Clone, Copy, Debug)]
struct Done {
    /// In which round it was executed.
    round: Round,
    holders: Members,
}

/// A committed vector: one proposal a member, in member order.
pub(super) struct Vector<'a> {
    pub(super) position: StepPosition,
    pub(super) members: Members,
    pub(super) proposals: Vec<&'a Proposal>,
    /// Their hashes in member order.
    pub(super) hashes: Vec<Digest>,
    /// The status changes that they carry, by digest.
    pub(super) changes: Vec<(Digest, Change)>,
}

impl Order {
    /// The order of a new cluster, whose first epoch has this opening.
    pub(super) fn new(ensemble: Ensemble, limits: OrderLimits, seed: u64, genesis: Digest) -> Self {
        Self {
            ensemble,
            limits,
            agreed: 0,
            known: DigestMap::new(seed),
            accepted: Vec::new(),
            partial: BTreeSet::new(),
            charged: vec![0; ensemble.n()],
            half_seen: BTreeSet::new(),
            executed: DigestQueue::new(seed),
            changes: BTreeMap::new(),
            roster: Roster::new(ensemble, limits.membership),
            tips: vec![Tip::default(); ensemble.n()],
            opening: (genesis, Round(1)),
            past: VecDeque::new(),
            last: (StepPosition::default(), vec![genesis]),
        }
    }

    /// The epoch of the last committed vector or opening, with its members.
    pub(super) fn epoch(&self) -> (Epoch, Members) {
        (self.roster.call.number(), self.roster.members())
    }

    /// The last committed round; that of the base right after an opening.
    pub(super) fn round(&self) -> Round {
        self.last.0.round
    }

    /// C, the agreed clock, after the last committed vector.
    pub(super) fn agreed(&self) -> u64 {
        self.agreed
    }

    /// The same as agreed time.
    pub(super) fn agreed_time(&self) -> AgreedTime {
        AgreedTime(self.agreed)
    }

    /// Whether accepted requests wait for their execution.
    pub(super) fn has_unexecuted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Whether the request was executed, as far as that is remembered.
    pub(super) fn is_executed(&self, request: &Digest) -> bool {
        self.executed.contains(request)
    }

    /// Who has a committed candidate for this request.
    pub(super) fn holders(&self, request: &Digest) -> Members {
        let known = self.known.get(request).map(|k| k.holders);
        known.or_else(|| self.executed.get(request).map(|d| d.holders)).unwrap_or(Members::NONE)
    }

    /// Requests that have a committed candidate of this replica and are not executed, with the
    /// clock value of that.
    pub(super) fn candidates_of(&self, replica: ReplicaId) -> Vec<(Digest, u64)> {
        let own = |k: &Known| k.candidates.iter().find(|c| c.replica == replica).map(|c| c.clock);
        let known = self.known.sorted().into_iter();
        known.filter_map(|(digest, k)| own(k).map(|clock| (*digest, clock))).collect()
    }

    /// How many requests are known and not executed.
    pub(super) fn unexecuted(&self) -> usize {
        self.known.len()
    }

    /// Commits the next vector and gives what is executed by that.
    pub(super) fn commit(&mut self, vector: &Vector<'_>) -> Step {
        let round = vector.position.round;
        self.advance_clock(&vector.proposals);
        self.cap_the_round_before(round);
        let over_quota = self.take_candidates(vector);
        let changes = self.take_changes(round);
        let requests = self.execute_due(round, vector.members);
        let forgotten = self.forget(round);
        for p in &vector.proposals {
            self.tips[p.replica.index()].take(p);
        }
        self.last = (vector.position, vector.hashes.clone());
        // The first vector of an epoch is one too: who was away can take up the state there.
        let first = round == self.opening.1 && self.roster.call.number() != Epoch::GENESIS;
        let at_checkpoint = first || round.0.is_multiple_of(self.limits.checkpoint_every);
        Step {
            position: vector.position,
            time: AgreedTime(self.agreed),
            requests,
            forgotten,
            over_quota,
            changes,
            proposals: Vec::new(),
            checkpoint: at_checkpoint.then(|| Checkpoint::of(self.encode().into())),
        }
    }

    /// O2: C(h) is the (t+1)-th smallest `now` in V(h), or C(h-1) if that is larger.
    fn advance_clock(&mut self, proposals: &[&Proposal]) {
        let mut clocks: Vec<u64> = proposals.iter().map(|p| p.now).collect();
        if !planted("o5-clock-of-first-member") {
            clocks.sort_unstable();
        }
        let place = if planted("o5-clock-of-first-member") { 0 } else { self.ensemble.t() };
        let before = self.agreed;
        self.agreed = before.max(clocks[place]);
        if before == 0 {
            self.roster.time_begins(AgreedTime(self.agreed));
        }
    }

    /// O2: from the commit of V(h+1) on, the id of a request accepted in V(h) is at most C(h+1).
    fn cap_the_round_before(&mut self, round: Round) {
        for digest in &self.accepted {
            let known = self.known.get_mut(digest).expect("accepted requests are known");
            if let State::Accepted(accepted, cap @ None) = &mut known.state
                && accepted.next() == round
            {
                *cap = Some(self.agreed);
            }
        }
    }

    /// O1 and the quota of O4. Gives the candidates that were over it.
    fn take_candidates(&mut self, vector: &Vector<'_>) -> Vec<(ReplicaId, Digest)> {
        let mut touched = Vec::new();
        let mut new = Vec::new();
        for (digest, change) in &vector.changes {
            let known = self.known.get(digest);
            if !self.is_executed(digest) && known.is_none_or(|k| k.state == State::HalfSeen) {
                self.changes.entry(*digest).or_insert(*change);
            }
        }
        for proposal in &vector.proposals {
            for c in &proposal.candidates {
                let cuid = Cuid { clock: c.clock, replica: proposal.replica };
                self.take_candidate(cuid, c.request, vector, &mut touched, &mut new);
            }
        }
        let over_quota = self.charge(vector.position.round, new);
        for digest in touched {
            self.index_partial(&digest, vector.members);
        }
        over_quota
    }

    fn take_candidate(
        &mut self,
        cuid: Cuid,
        request: Digest,
        vector: &Vector<'_>,
        touched: &mut Vec<Digest>,
        new: &mut Vec<(Cuid, Digest)>,
    ) {
        let round = vector.position.round;
        let Some(known) = self.known.get_mut(&request) else {
            if self.executed.contains(&request) {
                return;
            }
            let holders = [cuid.replica].into_iter().collect();
            let mut candidates = Vec::with_capacity(vector.proposals.len());
            candidates.push(cuid);
            let (first, touched_in) = ((round, self.agreed), round);
            let (state, partial, void) = (State::HalfSeen, None, false);
            let known =
                Known { candidates, holders, first, state, partial, void, touched: touched_in };
            self.known.insert(request, known);
            touched.push(request);
            new.push((cuid, request));
            return;
        };
        if known.holders.contains(cuid.replica) {
            if planted("o1-late-candidate-counts") {
                known.candidates.retain(|c| c.replica != cuid.replica);
                known.candidates.push(cuid);
            }
            return;
        }
        known.candidates.push(cuid);
        known.holders.insert(cuid.replica);
        let quorum = self.ensemble.majority() - usize::from(planted("o1-t-candidates-accept"));
        if known.state == State::HalfSeen && known.candidates.len() >= quorum {
            known.state = State::Accepted(round, None);
            let (first, charged_to) = (known.first.0, known.candidates[0].replica);
            self.accepted.push(request);
            if first < round && self.half_seen.remove(&(first, request)) {
                self.charged[charged_to.index()] -= 1;
            }
        }
        if std::mem::replace(&mut known.touched, round) != round {
            touched.push(request);
        }
    }

    /// M1 to M3: status changes accepted in this round never run; they wait for the next generation
    /// or are void at once.
    fn take_changes(&mut self, round: Round) -> Vec<ChangeOutcome> {
        let (changes, known) = (&self.changes, &self.known);
        if changes.is_empty() {
            return Vec::new();
        }
        let uid = |d: &Digest| known.get(d).map(|k| self.uid(&k.candidates, None));
        let accepted = self.accepted.iter().filter(|d| changes.contains_key(*d));
        let mut accepted: Vec<(Uid, Digest)> =
            accepted.filter_map(|d| Some((uid(d)?, *d))).collect();
        accepted.sort_unstable();
        let mut outcomes = Vec::new();
        for (uid, digest) in accepted {
            let change = self.changes.remove(&digest).expect("it was there above");
            self.execute(round, (uid, round, digest));
            let now = AgreedTime(self.agreed);
            let void = self.roster.accept((uid, digest), change, round, now).err();
            outcomes.push(ChangeOutcome { digest, change, void });
        }
        let known = &self.known;
        self.accepted.retain(|d| known.get(d).is_some_and(|k| k.is_accepted()));
        self.roster.note_cut();
        outcomes
    }

    /// O4: charges requests that this round has named first and not accepted to whoever was the
    /// first to name them. Those beyond its quota, the latest first, are as if never given.
    fn charge(&mut self, round: Round, mut new: Vec<(Cuid, Digest)>) -> Vec<(ReplicaId, Digest)> {
        new.retain(|(_, d)| self.known.get(d).is_some_and(|k| k.state == State::HalfSeen));
        new.sort_unstable();
        let mut over_quota = Vec::new();
        for (cuid, digest) in new {
            let charged = &mut self.charged[cuid.replica.index()];
            if *charged < self.limits.sole_quota {
                *charged += 1;
                self.half_seen.insert((round, digest));
            } else if let Some(dropped) = self.known.remove(&digest) {
                self.changes.remove(&digest);
                over_quota.extend(dropped.holders.iter().map(|holder| (holder, digest)));
            }
        }
        over_quota
    }

    /// Keeps `partial` true for a request whose candidates changed.
    fn index_partial(&mut self, digest: &Digest, members: Members) {
        let Some(known) = self.known.get_mut(digest) else { return };
        let smallest = known.candidates.iter().min().copied();
        let entry = smallest.filter(|_| !known.holders.includes(members));
        if known.partial == entry {
            return;
        }
        if let Some(old) = std::mem::replace(&mut known.partial, entry) {
            self.partial.remove(&(old, *digest));
        }
        if let Some(new) = entry {
            self.partial.insert((new, *digest));
        }
    }

    /// O3. A request is due when (i) it was accepted two rounds ago or earlier, or (ii) every
    /// unexecuted request with a candidate not above its id, itself included, has a candidate
    /// from every member. With a due one everything runs that has an id not above it.
    fn execute_due(&mut self, round: Round, members: Members) -> Vec<Ordered> {
        let mut queue: Vec<(Uid, Round, Digest)> = Vec::with_capacity(self.accepted.len());
        let first_partial = self.partial.first().map(|(cuid, _)| Uid::of(*cuid));
        let mut last_due = None;
        for digest in &self.accepted {
            let known = self.known.get(digest).expect("accepted requests are known");
            let State::Accepted(accepted, cap) = known.state else {
                unreachable!("the accepted list holds accepted requests only")
            };
            let uid = self.uid(&known.candidates, cap);
            let overdue = accepted.0 + 2 <= round.0 && !planted("o3-never-overdue");
            let stable = known.holders.includes(members) && first_partial.is_none_or(|p| uid < p);
            if overdue || stable || planted("o3-no-stability") {
                last_due = last_due.max(Some(uid));
            }
            queue.push((uid, accepted, *digest));
        }
        let Some(last_due) = last_due else { return Vec::new() };
        queue.retain(|(uid, ..)| *uid <= last_due);
        if planted("o3-order-by-digest") {
            queue.sort_unstable_by_key(|(_, _, digest)| *digest);
        } else {
            queue.sort_unstable();
        }
        let executed = queue.into_iter().map(|entry| self.execute(round, entry)).collect();
        let known = &self.known;
        self.accepted.retain(|d| known.get(d).is_some_and(Known::is_accepted));
        executed
    }

    /// O2: the (t+1)-th smallest candidate, at most the cap.
    fn uid(&self, candidates: &[Cuid], cap: Option<u64>) -> Uid {
        let last = candidates.len() - 1;
        let place = match () {
            () if planted("o2-smallest-candidate") => 0,
            () if planted("o2-largest-candidate") => last,
            () => self.ensemble.t().min(last),
        };
        // They are few and each is of another replica: no need to sort them.
        let below = |c: &Cuid| candidates.iter().filter(|other| *other < c).count();
        let at_place = candidates.iter().find(|c| below(c) == place);
        let uid = Uid::of(*at_place.expect("one of them has each place"));
        cap.map_or(uid, |c| uid.capped(c))
    }

    fn execute(&mut self, round: Round, (uid, accepted, digest): (Uid, Round, Digest)) -> Ordered {
        let known = self.known.remove(&digest).expect("accepted requests are known");
        let (holders, void) = (known.holders, known.void);
        if let Some(entry) = known.partial {
            self.partial.remove(&(entry, digest));
        }
        // Its client may send a void one again: then it is a new request.
        if !void {
            self.executed.push_back(digest, Done { round, holders });
        }
        Ordered { digest, uid, accepted, holders, void }
    }

    /// O4, and the end of the memory of executed requests. Gives what is forgotten with those who
    /// had given it a candidate.
    fn forget(&mut self, round: Round) -> Vec<(Digest, Members)> {
        let mut forgotten = Vec::new();
        while let Some(&(first, digest)) = self.half_seen.first() {
            let known = self.known.get(&digest).expect("half-seen requests are known");
            let old = first.0.saturating_add(self.limits.forget_after) <= round.0
                && known.first.1.saturating_add(self.limits.forget_time) <= self.agreed;
            if !old {
                break;
            }
            self.half_seen.pop_first();
            let known = self.known.remove(&digest).expect("it was there above");
            self.changes.remove(&digest);
            if let Some(entry) = known.partial {
                self.partial.remove(&(entry, digest));
            }
            self.charged[known.candidates[0].replica.index()] -= 1;
            forgotten.push((digest, known.holders));
        }
        let horizon = round.0.saturating_sub(self.limits.forget_after);
        while self.executed.front().is_some_and(|(_, done)| done.round.0 <= horizon) {
            self.executed.pop_front();
        }
        forgotten
    }
}

impl Known {
    fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted(..))
    }
}

impl Tip {
    fn take(&mut self, p: &Proposal) {
        self.candidate = p.candidates.last().map_or(self.candidate, |c| c.clock);
        self.now = p.now;
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
