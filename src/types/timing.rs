//! The bound on delays and everything derived from it.

use std::time::Duration;

/// Every duration that the protocol uses. Configuration computes it from Δ and checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Δ: a bound on one message's delay plus its handling between two good replicas (§1).
    pub delta: Duration,
    /// How long a member is waited for before it is blamed (E1); asks are repeated so often (R5).
    pub patience: Duration,
    /// A member without work joins a round that another started after at most this (R6).
    pub join_delay: Duration,
    /// How long a proposal waits for requests that another's proposal names and that have not
    /// come yet (R6); inside `join_delay`, far below Δ.
    pub gather: Duration,
    /// A round runs at least so often, however idle the group is (R6).
    pub heartbeat: Duration,
    /// Links are measured so often.
    pub ping_every: Duration,
}

impl Timing {
    /// What timers may be late by; part of the bound on patience (§1).
    pub const TIMER_GRAIN: Duration = Duration::from_millis(1);

    /// The default timers for a Δ: `join_delay = Δ/10`, `gather = min(Δ/50, 500 µs)`,
    /// `patience = 5Δ + join_delay`, `heartbeat = max(10Δ, 1 s)`, `ping_every = max(5Δ, 500 ms)`.
    pub fn from_delta(delta: Duration) -> Self {
        let join_delay = delta / 10;
        Self {
            delta,
            patience: 5 * delta + join_delay,
            join_delay,
            gather: (delta / 50).min(Duration::from_micros(500)),
            heartbeat: (10 * delta).max(Duration::from_secs(1)),
            ping_every: (5 * delta).max(Duration::from_millis(500)),
        }
    }
}
