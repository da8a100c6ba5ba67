//! Everything that a caller asks of its driver.

use super::Token;
use crate::types::{ReplicaId, RequestId};
use crate::voter::Explanation;
use crate::wire::{NoteKind, Refusal, StepPosition};
use bytes::Bytes;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a whole frame to a replica; dropped if its link is down.
    Send {
        /// To which.
        replica: ReplicaId,
        /// The frame with its header.
        frame: Bytes,
    },
    /// Close the link to a replica that sends what is no message.
    Close {
        /// Which.
        replica: ReplicaId,
        /// Why.
        why: &'static str,
    },
    /// A call has its answer.
    Done {
        /// Which.
        token: Token,
        /// What `t + 1` replicas said.
        result: Result<Answer, CallError>,
    },
}

/// A list of actions in the order in which to do them.
pub type Actions = Vec<Action>;

/// An accepted answer (rule C1).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request that carried the call.
    pub request: RequestId,
    /// One output a command of the call.
    pub outputs: Vec<Bytes>,
    /// The step that executed it.
    pub position: StepPosition,
    /// Its index in the step.
    pub index: u32,
    /// Who said what and when, as far as it was known on acceptance.
    pub explanation: Explanation,
}

/// Why a call has no output.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// `t + 1` replicas say that the order refused it.
    #[error("refused: {why}")]
    Refused {
        /// Why.
        why: Refusal,
        /// Who said what.
        explanation: Explanation,
    },
    /// So many replicas refuse to take it that it cannot be accepted; it was not executed as far
    /// as they say.
    #[error("not taken: {why}")]
    NotTaken {
        /// What they say.
        why: NoteKind,
        /// Who said what.
        explanation: Explanation,
    },
    /// No `t + 1` equal replies in time. The request may still be executed.
    #[error("no majority in time; the request may still be executed")]
    NoMajority {
        /// Who said what, and who is silent since when.
        explanation: Explanation,
    },
    /// The call can never be sent: it is empty or larger than the cluster's limits.
    #[error("{0}")]
    Unacceptable(String),
}
