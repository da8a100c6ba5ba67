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
    /// What messages take usually, and how much more a member may take (E1); `None`: only Δ counts.
    pub lag: Option<Lag>,
}

/// A smaller bound than Δ that good replicas keep to but for a budget (rule E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The usual bound on one message's delay plus its handling between two good replicas.
    pub delta: Duration,
    /// How long a member may be waited for beyond what that allows in any [`Lag::WINDOW`]; of
    /// that half a share for each of `t` at most.
    pub budget: Duration,
}

impl Lag {
    /// A budget that was spent is whole again after so long.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// How long a member is waited for before its budget counts: what `patience` is for Δ.
    pub fn patience(&self, join_delay: Duration) -> Duration {
        5 * self.delta + join_delay
    }

    /// What of the budget comes back in a time, and goes on coming back while more is spent.
    pub fn freed_in(&self, time: Duration) -> Duration {
        let product = time.as_nanos().saturating_mul(self.budget.as_nanos());
        Duration::from_nanos((product / Self::WINDOW.as_nanos()).try_into().unwrap_or(u64::MAX))
    }
}

impl Timing {
    /// What timers may be late by; part of the bound on patience (§1).
    pub const TIMER_GRAIN: Duration = Duration::from_millis(1);

    /// The default timers for a Δ: `join_delay = Δ/10`, `gather = min(Δ/50, 500 µs)`,
    /// `patience = 5Δ + join_delay`, `heartbeat = max(10Δ, 1 s)`, `ping_every = max(5Δ, 500 ms)`,
    /// and no smaller bound.
    pub fn from_delta(delta: Duration) -> Self {
        let join_delay = delta / 10;
        Self {
            delta,
            patience: 5 * delta + join_delay,
            join_delay,
            gather: (delta / 50).min(Duration::from_micros(500)),
            heartbeat: (10 * delta).max(Duration::from_secs(1)),
            ping_every: (5 * delta).max(Duration::from_millis(500)),
            lag: None,
        }
    }
}
