//! What a caller is told at its start.

use super::receipts::ReceiptKeys;
use crate::crypto::Context;
use crate::types::{Assurance, ClientId, Ensemble, OrderLimits, ReplicaId, SessionId};
use crate::voter::Voter;
use crate::wire::{MAX_FRAME, RequestBody};
use std::time::Duration;

/// Who is asked, and whose answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All replicas are asked, and `t + 1` equal replies are believed (rule C1).
    Vote,
    /// Queries of a group that votes: all replicas are asked, nothing is ordered, and `t + 1` equal
    /// answers under one opening are believed (rule Q1).
    Reads,
    /// Updates of a fail-stop chain: the head is asked, and the first reply is believed (CH-U1).
    Updates,
    /// Queries of a fail-stop chain: no session, one replica is asked, and its answer is believed.
    Queries {
        /// Whether every member of the chain may be asked (CH-Q2), or the tail only (CH-Q1).
        any: bool,
    },
}

impl Mode {
    /// Whether requests go into a session, which is opened first (rule O6).
    pub(super) fn has_sessions(self) -> bool {
        matches!(self, Mode::Vote | Mode::Updates)
    }

    /// Whether all replicas are asked and `t + 1` have to say the same.
    pub(super) fn votes(self) -> bool {
        matches!(self, Mode::Vote | Mode::Reads)
    }
}

/// How the first session of a caller begins, if not as one that nobody has ever used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Start {
    /// The number of its first request; 0 is taken as 1.
    pub first: u64,
    /// Whether it may have been used before: then it is opened only if it is open already, or
    /// certain never to have been (rule O6). Otherwise its calls fail with
    /// [`Refusal::UnknownSession`](crate::wire::Refusal::UnknownSession), unsent ...
    pub cautious: bool,
    /// ... unless the caller is to go on in another session then.
    pub goes_on: bool,
    /// Whether the driver wants to know the ids of requests before they are sent
    /// ([`super::Action::Numbered`]).
    pub numbers: bool,
    /// Whether it writes down which of them are open ([`super::Action::Over`]). Replies to requests
    /// that were given up are asked to be kept then, as long as they are among the last half of the
    /// window.
    pub remembers: bool,
}

/// Everything that a caller needs to know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who is asked, and whose answer counts. [`super::ChainCaller`] and [`super::VotingCaller`]
    /// set it themselves.
    pub mode: Mode,
    /// The size and thresholds of the group that votes.
    pub ensemble: Ensemble,
    /// How many replicas there are links to: those that vote, and behind them those of chains whose
    /// master is a group of its own (docs/chain.md).
    pub roster: usize,
    /// Cluster and group.
    pub context: Context,
    /// Who calls.
    pub client: ClientId,
    /// The nonce of the first session: random, never used before by this client. The nonces of
    /// sessions that replace an evicted one are derived from it.
    pub session: SessionId,
    /// The cluster's limits.
    pub limits: OrderLimits,
    /// A request is repeated so long after it was first sent, then after twice that, and so on.
    /// At least 1 ms.
    pub repeat_after: Duration,
    /// The time between two repeats at most.
    pub repeat_cap: Duration,
    /// How long a call may take, counted from [`super::Input::Call`].
    pub timeout: Duration,
    /// How many replicas have to say the same, where they vote (rule C4).
    pub assurance: Assurance,
    /// Whether queries are ordered like everything else, instead of being answered from the state
    /// (rule Q1).
    pub ordered: bool,
    /// Judges receipts, by the keys that this client knows; `None` where no call wants one.
    pub receipts: Option<ReceiptKeys>,
    /// Requests outstanding at most; taken as 1 if 0, and as `limits.window` if above it.
    pub pipeline: usize,
    /// While eight requests or more are outstanding, new ones leave at least so far apart: what
    /// comes meanwhile leaves together. Zero: each leaves at once.
    pub gather: Duration,
}

/// Requests outstanding from which on others may be waited for ([`Setup::gather`]). Who has fewer
/// waits for answers more than for processors.
pub(super) const BUSY: usize = 8;

// What a request's frame holds besides its body: header, session, number, low-water mark, length.
const REQUEST_OVERHEAD: usize = 64;
// The count in front of the commands.
const BODY_OVERHEAD: usize = 4;

impl Setup {
    // Equal replies that a request needs.
    pub(super) fn needed(&self) -> usize {
        match self.mode {
            Mode::Vote | Mode::Reads => self.assurance.needs(self.ensemble),
            Mode::Updates | Mode::Queries { .. } => 1,
        }
    }

    // Replicas whose word that a request cannot be done ends it: one of them is good.
    pub(super) fn refusing(&self) -> usize {
        match self.mode.votes() {
            true => self.ensemble.majority(),
            false => 1,
        }
    }

    // A vote that nobody has voted in yet, on a request of this number. The opening of a session
    // tells nobody anything.
    pub(super) fn voter(&self, number: u64) -> Voter {
        if self.mode.votes() && self.assurance == Assurance::Strong && number > 0 {
            return Voter::strong(self.ensemble);
        }
        let needed = if number > 0 { self.needed() } else { self.refusing() };
        Voter::needing(self.roster, needed)
    }

    // Replicas that may be in a chain: those that do not vote, if there are such.
    pub(super) fn hosts(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        let n = self.ensemble.n();
        let first = if self.roster > n { n } else { 0 };
        (first..self.roster.max(n)).map(ReplicaId::from_index)
    }

    // The setup with every number inside its bounds, so that nothing else needs to check.
    pub(super) fn normalized(mut self) -> Self {
        // That nonce stands for queries.
        if self.session == SessionId::QUERIES {
            self.session = SessionId(1);
        }
        self.roster = match self.mode.votes() {
            true => self.ensemble.n(),
            false => self.roster.max(self.ensemble.n()),
        };
        self.repeat_after = self.repeat_after.max(Duration::from_millis(1));
        self.repeat_cap = self.repeat_cap.max(self.repeat_after);
        self.limits.window = self.limits.window.max(1);
        self.pipeline = self.pipeline.clamp(1, self.limits.window as usize);
        self
    }

    // Bytes that the commands of one request may have together, their overheads included.
    pub(super) fn max_commands_bytes(&self) -> usize {
        let body = (self.limits.max_request as usize).min(MAX_FRAME - REQUEST_OVERHEAD);
        body.saturating_sub(BODY_OVERHEAD)
    }

    // Bytes of the outcome of a request of so many commands at most. A good replica never sends
    // more; what is longer is not worth keeping.
    pub(super) fn max_outcome(&self, commands: usize) -> usize {
        let overheads = commands.saturating_add(2).saturating_mul(RequestBody::COMMAND_OVERHEAD);
        (self.limits.max_output as usize).saturating_add(overheads)
    }
}
