//! What a caller is told at its start.

use crate::crypto::Context;
use crate::types::{ClientId, Ensemble, OrderLimits, SessionId};
use crate::wire::{MAX_FRAME, RequestBody};
use std::time::Duration;

/// Everything that a caller needs to know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The group's size and thresholds.
    pub ensemble: Ensemble,
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
    /// Requests outstanding at most; taken as 1 if 0, and as `limits.window` if above it.
    pub pipeline: usize,
}

// What a request's frame holds besides its body: header, session, number, low-water mark, length.
const REQUEST_OVERHEAD: usize = 64;
// The count in front of the commands.
const BODY_OVERHEAD: usize = 4;

impl Setup {
    // The setup with every number inside its bounds, so that nothing else needs to check.
    pub(super) fn normalized(mut self) -> Self {
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
