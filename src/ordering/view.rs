//! What others may know of a core.

use super::order::Order;
use super::rounds::AHEAD;
use super::{Core, Standing, Stats};
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{Call, Digest, Epoch, Instant, Members, Round};
use crate::wire::Proposal;
use std::cmp::Ordering;

impl<S: Scheme> Core<S> {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The round of the first vector of the epoch that was committed last.
    pub fn first_round(&self) -> Round {
        self.order.opening.1
    }

    /// The epoch's members.
    pub fn members(&self) -> Members {
        self.members
    }

    /// The last round in which it signed a proposal.
    pub fn sent(&self) -> Round {
        self.sent
    }

    /// The last round of which it holds a complete vector.
    pub fn complete(&self) -> Round {
        self.rounds.complete()
    }

    /// The last committed round.
    pub fn committed(&self) -> Round {
        self.committed
    }

    /// C, the agreed clock.
    pub fn agreed(&self) -> u64 {
        self.order.agreed()
    }

    /// Whether it signs nothing because its state is lost.
    pub fn is_restarted(&self) -> bool {
        self.change.restarted.is_some() || self.blank
    }

    /// What the order says of each replica, by roster place.
    pub fn standings(&self) -> &[Standing] {
        &self.order.roster.standings
    }

    /// M2: whether an operator keeps this replica out, so that it does not ask to join. That is
    /// over with a start of its process: one that has restarted asks until it is a member again.
    pub fn is_kept_out(&self) -> bool {
        let kept_out = self.order.roster.standings[self.id.index()].kept_out;
        kept_out && self.change.restarted.is_none()
    }

    /// The highest call taken, if its epoch is not entered yet (E4).
    pub fn promised(&self) -> Option<Call> {
        self.change.is_frozen().then_some(self.change.promise)
    }

    /// Whether it only follows, with no call taken: then what it does not take in now it asks for
    /// later (R7).
    pub fn only_follows(&self) -> bool {
        !self.takes_part() && !self.change.is_frozen()
    }

    /// The number of the highest call taken.
    pub fn promise(&self) -> Epoch {
        self.change.promise.number()
    }

    /// Whether what is executed may be answered: E4 forbids it below a promise.
    pub fn may_answer(&self) -> bool {
        !self.blank
            && self.change.prepared.is_none()
            && self.order.epoch().0 >= self.change.promise.number()
    }

    /// Whether what is committed may be executed. Not between a Report and its epoch: the Report
    /// says which bodies are lacking, and what ran now could be made void by just that. Nor before
    /// an opening that waits here is committed, which may make it void (E4, O7). A call that does
    /// not get on is no reason: others may have gone on without it, and this replica follows them.
    pub fn may_execute(&self) -> bool {
        !self.has_reported() && self.change.prepared.is_none() || planted("o7-runs-too-early")
    }

    /// Whether an opening may come that follows from this replica's Report: it is to be a member of
    /// an epoch that it has not entered, or of which it has no first vector.
    pub fn awaits_opening(&self) -> bool {
        let entered = self.change.prepared.is_some() && !self.change.is_frozen();
        self.has_reported() || entered && self.members.contains(self.id)
    }

    /// Whether this ordering state shows that others have gone on without the promised call: it is
    /// of that number or above, so it may be taken up (E4). Whoever has no state can build no
    /// opening, and says of no root that it is stalled: nothing else would end its wait.
    pub fn is_left_behind_by(&self, state: &[u8]) -> bool {
        let ensemble = self.keyring.ensemble();
        let order = Order::decode(state, ensemble, self.limits, self.seed);
        let past = order.is_ok_and(|order| order.epoch().0 >= self.promise());
        past && self.blank && !planted("o7-waits-without-a-state")
    }

    fn has_reported(&self) -> bool {
        let call = self.change.promise;
        self.change.is_frozen()
            && call.members().contains(self.id)
            && self.change.stalled != Some(call.root)
    }

    /// Things of §5 that are kept, of all signers.
    pub fn kept(&self) -> usize {
        self.change.store.len()
    }

    /// A round that has been waited for longer than `patience`: which, for whom, since when.
    pub fn waiting(&self) -> Option<(Round, Members, Instant)> {
        let round = self.rounds.complete().next();
        let missing = if self.may_start() { self.rounds.missing(round) } else { self.unheard() };
        self.waiting.map(|since| (round, missing, since))
    }

    /// Whether the order has executed this request, as far as it remembers.
    pub fn is_executed(&self, request: &Digest) -> bool {
        self.order.is_executed(request)
    }

    /// Whether a proposal with these contents could be of use: what is not is dropped before its
    /// signature is checked (§10).
    pub fn is_news(&self, p: &Proposal) -> bool {
        if p.replica == self.id && self.is_unknown_own(p) {
            return true;
        }
        let named = self.change.following.awaits(p.epoch, p.round, p.replica);
        if (p.epoch, p.members) == (self.epoch, self.members) {
            return named || self.rounds.has_room(p);
        }
        let old = self.change.old.iter().any(|c| c.is(p.epoch, p.members) && c.rounds.has_room(p));
        let next = p.epoch > self.epoch && p.round.0 <= self.rounds.complete().0 + 2 * AHEAD;
        named || old || next
    }

    /// Whether a proposal is of a place that cannot be reached from what is held here.
    pub fn is_ahead(&self, p: &Proposal) -> bool {
        self.blank
            || p.epoch > self.epoch && p.epoch > self.change.promise.number()
            || p.epoch >= self.epoch && p.round > self.rounds.horizon()
            || self.leaves_a_gap(p) && !planted("r7-gap-not-asked")
    }

    /// R7: whether a follower has missed whole rounds before a proposal, or an epoch that it took
    /// the call of in an earlier life: nobody sends it these again.
    fn leaves_a_gap(&self, p: &Proposal) -> bool {
        if self.takes_part() {
            return false;
        }
        let next = self.rounds.complete().next();
        match p.epoch.cmp(&self.epoch) {
            Ordering::Less => false,
            // One of two rounds on has left the next behind; of the next one some may be slow.
            Ordering::Equal if p.round > next.next() && !planted("r7-near-gap") => true,
            Ordering::Equal => p.round > next && self.rounds.senders(next).is_empty(),
            Ordering::Greater => !self.change.is_frozen(),
        }
    }

    /// Whether this request has a candidate, a committed one or one of this replica.
    pub fn has_candidates(&self, request: &Digest) -> bool {
        !self.order.holders(request).is_empty() || self.mine.contains(request)
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Requests with a committed candidate that are not executed.
    pub fn unexecuted(&self) -> usize {
        self.order.unexecuted()
    }
}
