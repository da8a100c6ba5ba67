//! Who answered what and when (rule C2).

use crate::types::ReplicaId;
use crate::wire::{NoteKind, StepPosition};
use bytes::Bytes;
use std::time::Duration;

/// What one replica's answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal to what was accepted.
    Agrees,
    /// Not equal to what was accepted (or, while nothing is accepted, to the largest bucket).
    Differs,
    /// Nothing came; the link has been down for so long, if it is down.
    Silent {
        /// How long the link has been down.
        down_for: Option<Duration>,
    },
    /// A note outside of the order, which is no vote.
    Note(NoteKind),
}

/// One replica's part in an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Which replica.
    pub replica: ReplicaId,
    /// What its answer is worth.
    pub verdict: Verdict,
    /// When it came, counted from when the request was first sent.
    pub after: Option<Duration>,
    /// The position it named.
    pub position: Option<StepPosition>,
    /// The index in the step it named.
    pub index: Option<u32>,
    /// The outcome's bytes it gave ([`crate::wire::Outcome`]).
    pub outcome: Option<Bytes>,
}

/// Why an answer was accepted, or was not: one ballot a replica, in the roster's order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Equal replies needed.
    pub needed: usize,
    /// How long the caller waited.
    pub waited: Duration,
    /// How often the request was sent.
    pub sends: u32,
    /// The ballots.
    pub ballots: Vec<Ballot>,
}
