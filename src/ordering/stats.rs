//! What the ordering core counts.

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Proposals signed.
    pub rounds: u64,
    /// Candidates given.
    pub candidates: u64,
    /// Requests ordered for execution.
    pub executed: u64,
    /// Proposals of others stored.
    pub proposals: u64,
    /// Proposals held already, too old, too far ahead or of another epoch.
    pub proposals_ignored: u64,
    /// Proposals found invalid (R4).
    pub invalid: u64,
    /// Second proposals for one round (R5).
    pub equivocations: u64,
    /// Proposals asked for (R5).
    pub wants: u64,
    /// Rounds that did not complete within `patience`.
    pub stalls: u64,
}
