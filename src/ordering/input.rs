//! Everything that can happen to the ordering core.

use crate::crypto::Verified;
use crate::types::{Digest, ReplicaId, Round};
use crate::wire::{Attestation, Proposal, Want};
use std::sync::Arc;

/// One event.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request came over its client's own authenticated connection and was let in: give it a
    /// candidate (§2, *seen*).
    Seen {
        /// Its digest.
        request: Digest,
    },
    /// A proposal came, from anybody; its signature has been checked.
    Proposal(Arc<Verified<Proposal>>),
    /// A replica asks for a proposal (R5).
    Want {
        /// Who asks.
        from: ReplicaId,
        /// For what.
        want: Want,
    },
    /// The link to a replica came up.
    PeerUp {
        /// Which.
        peer: ReplicaId,
        /// The highest round of which it holds a complete vector.
        complete: Round,
    },
    /// What this replica has executed by now, for its next proposal.
    Attest(Attestation),
    /// Time has passed.
    Tick,
    /// Nothing more is waiting: now is the time to propose.
    Drained,
}
