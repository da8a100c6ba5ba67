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
    /// Blames heard, one's own included (E1).
    pub blames: u64,
    /// Calls taken (E4).
    pub calls: u64,
    /// Reports heard (E5).
    pub reports: u64,
    /// Epochs entered (E6).
    pub epochs: u64,
    /// Roots called stalled (E8).
    pub stalled: u64,
    /// Proofs of lying that are known (§6).
    pub proofs: u64,
    /// Things that were sent as proofs and prove nothing.
    pub bad_proofs: u64,
    /// Status changes that got no candidate because they would have no effect (M1 to M3).
    pub changes_refused: u64,
    /// States that were attested and are none; never, unless more than t lie.
    pub bad_states: u64,
}
