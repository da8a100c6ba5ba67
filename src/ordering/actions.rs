//! Everything that the ordering core asks for.

use crate::crypto::Verified;
use crate::types::{AgreedTime, Digest, Members, ReplicaId, Round, Uid};
use crate::wire::{Attestation, Proposal, StepPosition, Want};
use std::sync::Arc;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send one's own proposal to all n replicas (R2).
    Broadcast(Arc<Verified<Proposal>>),
    /// Send a proposal to one replica: on reconnection, or because it asked (R5).
    Send {
        /// To whom.
        to: ReplicaId,
        /// What.
        proposal: Arc<Verified<Proposal>>,
    },
    /// Ask all replicas (R5).
    Ask(Want),
    /// A vector is committed (R3): execute this step.
    Committed(Box<Step>),
    /// Something that people should know.
    Event(Event),
}

/// What the core reports besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A round does not complete: these members' proposals have been missing for `patience`.
    Waiting {
        /// The round.
        round: Round,
        /// Who is missing.
        missing: Members,
    },
    /// A round that was waited for has completed.
    Resumed {
        /// The round.
        round: Round,
    },
    /// Two different proposals of one replica for one round (R5).
    Equivocation {
        /// One of them.
        first: Arc<Verified<Proposal>>,
        /// The other.
        second: Arc<Verified<Proposal>>,
    },
    /// A signed proposal that is invalid by R4.
    Invalid {
        /// The proposal.
        proposal: Arc<Verified<Proposal>>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A peer holds rounds that this replica must have signed: its state is lost (§7).
    Restarted,
}

/// What the commit of one vector executes (O3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The committed vector.
    pub position: StepPosition,
    /// C of that vector: the time of all its requests (O5).
    pub time: AgreedTime,
    /// What to execute, in order.
    pub requests: Vec<Ordered>,
    /// Requests that were never accepted and are forgotten (O4), with those who had given them a
    /// candidate. Whoever gave one since, in a proposal that is not committed yet, keeps its body.
    pub forgotten: Vec<(Digest, Members)>,
    /// Candidates that a member's quota did not admit (O4): they are as if never given.
    pub over_quota: Vec<(ReplicaId, Digest)>,
    /// What the members attest in the committed vector.
    pub attestations: Vec<(ReplicaId, Attestation)>,
    /// At checkpoints: the digest of the ordering state after this vector.
    pub checkpoint: Option<Digest>,
}

/// A request that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Which.
    pub digest: Digest,
    /// Its unique id (O2).
    pub uid: Uid,
    /// The round in which it was accepted.
    pub accepted: Round,
    /// Who has given it a candidate, and so holds its body (O7).
    pub holders: Members,
}
