//! What others may know of a core.

use super::{Core, Stats};
use crate::crypto::Scheme;
use crate::types::{Digest, Epoch, Instant, Members, Round};
use crate::wire::Proposal;

impl<S: Scheme> Core<S> {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
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
        self.restarted
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
    pub fn is_news(&self, proposal: &Proposal) -> bool {
        let ours_and_unknown = proposal.replica == self.id && proposal.round > self.sent;
        !self.restarted && (ours_and_unknown || self.rounds.has_room(proposal))
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
