//! What a replica of a chain counts since its start.

/// Counters; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Updates that this replica, as the head, has given numbers.
    pub taken: u64,
    /// Repeats of updates that were on their way (CH-U1).
    pub waiting_repeats: u64,
    /// Repeats that got a stored reply (CH-U1).
    pub answered_repeats: u64,
    /// Updates and queries refused because a limit was reached.
    pub busy: u64,
    /// Updates and queries refused for other reasons.
    pub refused: u64,
    /// Updates passed on, those passed on again among them.
    pub forwarded: u64,
    /// Messages that carried updates.
    pub batches: u64,
    /// Updates executed.
    pub executed: u64,
    /// Queries answered at once.
    pub answered: u64,
    /// Queries that had to ask the tail (CH-Q2).
    pub asked: u64,
    /// Messages of another configuration.
    pub other_config: u64,
    /// Messages that fit nothing.
    pub unfit: u64,
    /// Times that a link or configuration was taken up again (CH-F3).
    pub resumed: u64,
    /// States that were begun to be given to others (CH-F4).
    pub states_given: u64,
    /// States that were taken from others.
    pub states_taken: u64,
    /// Updates dropped because they are not part of the history.
    pub dropped: u64,
    /// Times that a lease ran out (CH-L1).
    pub leases_lost: u64,
    /// Renewals sent.
    pub renewals: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.taken += other.taken;
        self.waiting_repeats += other.waiting_repeats;
        self.answered_repeats += other.answered_repeats;
        self.busy += other.busy;
        self.refused += other.refused;
        self.forwarded += other.forwarded;
        self.batches += other.batches;
        self.executed += other.executed;
        self.answered += other.answered;
        self.asked += other.asked;
        self.other_config += other.other_config;
        self.unfit += other.unfit;
        self.resumed += other.resumed;
        self.states_given += other.states_given;
        self.states_taken += other.states_taken;
        self.dropped += other.dropped;
        self.leases_lost += other.leases_lost;
        self.renewals += other.renewals;
    }
}
