//! Everything that a caller asks of its driver.

use super::Token;
use super::receipts::{Proven, ReceiptTrouble};
use crate::types::{CallId, ReplicaId, RequestId};
use crate::voter::Explanation;
use crate::wire::{NoteKind, Refusal, StepPosition};
use bytes::Bytes;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send whole frames to a replica; dropped if its link is down. What goes to one replica at
    /// one [`super::Input::Drained`] comes in one action.
    Send {
        /// To which.
        replica: ReplicaId,
        /// One frame or more, one after the other, each with its header.
        frame: Bytes,
    },
    /// Close the link to a replica that sends what is no message.
    Close {
        /// Which.
        replica: ReplicaId,
        /// Why.
        why: &'static str,
    },
    /// What became of the receipt of a call that is done with the next action.
    Receipt {
        /// Which call.
        token: Token,
        /// The receipt and what it shows, or why there is none.
        result: Result<Box<Proven>, ReceiptTrouble>,
    },
    /// Calls are in a request that is sent for the first time by what follows. Only if the driver
    /// wants to know ([`super::Start::numbers`]).
    Numbered {
        /// The whole request.
        id: CallId,
        /// The calls in it, each with how many outputs it gets.
        parts: Vec<(Token, u32)>,
    },
    /// A request that was numbered is over, and what came of it is known. Only from a caller that
    /// remembers ([`super::Start::remembers`]). One that is given up is not over: it may still be
    /// executed.
    Over {
        /// The whole request.
        id: CallId,
    },
    /// A call has its answer.
    Done {
        /// Which.
        token: Token,
        /// What `t + 1` replicas said; in a fail-stop chain, what one did.
        result: Result<Answer, CallError>,
    },
}

/// A list of actions in the order in which to do them.
pub type Actions = Vec<Action>;

/// An accepted answer (rule C1).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request that carried the call. Queries that are not ordered have no session; theirs is
    /// [`SessionId::QUERIES`](crate::types::SessionId::QUERIES).
    pub request: RequestId,
    /// One output a command of the call.
    pub outputs: Vec<Bytes>,
    /// The step that executed it. Where it was not ordered (rule Q1), round 0 and the opening of
    /// the epoch in which it was answered. In a fail-stop chain the round is the number of the
    /// update, or how many the state had executed that a query was asked of, and the vector is
    /// zero.
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
    /// as they say. In a fail-stop chain one replica's word is enough, and
    /// [`NoteKind::NumberTaken`] can mean that it was executed and its reply is no longer kept.
    #[error("not taken: {why}")]
    NotTaken {
        /// What they say.
        why: NoteKind,
        /// Who said what.
        explanation: Explanation,
    },
    /// No `t + 1` equal replies in time; in a fail-stop chain, no reply. The request may still be
    /// executed, unless it was never sent ([`Explanation::sends`] is 0): because requests before
    /// it, or the opening of the session, got no answer, or nobody was known or reached to ask.
    #[error("{}; {}", none_in_time(explanation), what_now(explanation))]
    NoMajority {
        /// Who said what, and who is silent since when.
        explanation: Explanation,
    },
    /// The session was evicted, as `t + 1` replicas say of another request of it, while this one
    /// was outstanding. It may have been executed before.
    #[error("the session was evicted; the request may have been executed before")]
    SessionLost {
        /// Who said what of this request.
        explanation: Explanation,
    },
    /// `t + 1` replicas agree on an outcome that is none for this request: more than `t` are
    /// faulty, or their software is of another version than the client's. In a fail-stop chain: the
    /// one that answered is faulty, or of another version.
    #[error("{} an outcome that does not fit the request; compare versions", who_said(explanation))]
    Unreadable {
        /// Who said what.
        explanation: Explanation,
    },
    /// The client was closed before an answer came. Made by the driver only.
    #[error("the client was closed; {}", what_now(explanation))]
    Closed {
        /// Who said what until then.
        explanation: Explanation,
    },
    /// The request's number was withdrawn, as somebody asked what had become of it: it has not run
    /// and never will (rule C2).
    #[error("withdrawn: the request has not run and never will")]
    Withdrawn {
        /// Who said what.
        explanation: Explanation,
    },
    /// The call can never be sent: it is empty or larger than the cluster's limits.
    #[error("{0}")]
    Unacceptable(String),
}

fn none_in_time(explanation: &Explanation) -> &'static str {
    match &explanation.chain {
        None => "no majority in time",
        Some(config) if config.number == 0 => {
            "no answer in time, since the master has not said who is in the chain: it takes links \
             to t + 1 replicas that run"
        }
        Some(_) => "no answer of the chain in time",
    }
}

fn who_said(explanation: &Explanation) -> &'static str {
    match explanation.chain {
        None => "replicas agree on",
        Some(_) => "the replica that answered gave",
    }
}

fn what_now(explanation: &Explanation) -> &'static str {
    match explanation.sends {
        0 => "the request was never sent",
        _ => "the request may still be executed",
    }
}

impl CallError {
    /// Who said what, if the call ever waited for replicas.
    pub fn explanation(&self) -> Option<&Explanation> {
        match self {
            CallError::Refused { explanation, .. }
            | CallError::NotTaken { explanation, .. }
            | CallError::NoMajority { explanation }
            | CallError::SessionLost { explanation }
            | CallError::Unreadable { explanation }
            | CallError::Withdrawn { explanation }
            | CallError::Closed { explanation } => Some(explanation),
            CallError::Unacceptable(_) => None,
        }
    }

    /// The same, for the driver to add what it knows of links.
    pub fn explanation_mut(&mut self) -> Option<&mut Explanation> {
        match self {
            CallError::Refused { explanation, .. }
            | CallError::NotTaken { explanation, .. }
            | CallError::NoMajority { explanation }
            | CallError::SessionLost { explanation }
            | CallError::Unreadable { explanation }
            | CallError::Withdrawn { explanation }
            | CallError::Closed { explanation } => Some(explanation),
            CallError::Unacceptable(_) => None,
        }
    }

    /// Whether the commands may have run, or may yet run: sending them again as a new call may
    /// run them twice.
    pub fn may_have_run(&self) -> bool {
        match self {
            CallError::Refused { why, .. } => match why {
                // An earlier copy may have been executed before the session was evicted.
                Refusal::UnknownSession | Refusal::OutputTooLarge => true,
                Refusal::BelowLowWater
                | Refusal::BeyondWindow
                | Refusal::Malformed
                | Refusal::ServicePanicked => false,
                // Only a withdrawal is told this, which runs nothing.
                Refusal::ReplyGone => false,
            },
            CallError::NoMajority { explanation } | CallError::Closed { explanation } => {
                explanation.sends > 0
            }
            CallError::SessionLost { .. } | CallError::Unreadable { .. } => true,
            // The head of a chain says so also of what it executed and has no reply to any more.
            CallError::NotTaken { why: NoteKind::NumberTaken, explanation } => {
                explanation.chain.is_some()
            }
            CallError::NotTaken { .. }
            | CallError::Withdrawn { .. }
            | CallError::Unacceptable(_) => false,
        }
    }
}
