//! What a caller counts.

use super::setup::Mode;
use std::time::Duration;

/// Counters since the start, and how things stand now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests accepted, openings of sessions and refusals included.
    pub accepted: u64,
    /// Requests that the order refused.
    pub refused: u64,
    /// Requests that `t + 1` replicas would not take.
    pub not_taken: u64,
    /// Repeats of a request after its timeout.
    pub repeats: u64,
    /// Queries that had to be ordered, as no `t + 1` replicas answered them alike.
    pub ordered_queries: u64,
    /// Requests sent to another replica of a chain, or over another link, without a timeout.
    pub moved: u64,
    /// Calls whose time was over.
    pub timeouts: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Requests outstanding now.
    pub outstanding: usize,
    /// Calls not sent yet.
    pub queued: usize,
    /// One entry a replica, in the roster's order.
    pub replicas: Vec<ReplicaStats>,
}

impl Stats {
    /// Of two callers over the same links, counted together.
    pub(super) fn plus(self, other: Stats) -> Stats {
        let two = self.replicas.into_iter().zip(other.replicas);
        let replicas = two.map(|(a, b)| ReplicaStats {
            up: a.up,
            since: a.since,
            replies: a.replies + b.replies,
            dissent: a.dissent + b.dissent,
            differed: a.differed + b.differed,
            changed: a.changed + b.changed,
            notes: a.notes + b.notes,
            refusals: a.refusals + b.refusals,
            strays: a.strays + b.strays,
            closed: a.closed + b.closed,
        });
        Stats {
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            not_taken: self.not_taken + other.not_taken,
            repeats: self.repeats + other.repeats,
            ordered_queries: self.ordered_queries + other.ordered_queries,
            moved: self.moved + other.moved,
            timeouts: self.timeouts + other.timeouts,
            sessions: self.sessions + other.sessions,
            outstanding: self.outstanding + other.outstanding,
            queued: self.queued + other.queued,
            replicas: replicas.collect(),
        }
    }

    /// With what only a bad replica could have sent to the client of the chains' master.
    pub(super) fn with_master(mut self, master: Stats) -> Stats {
        for (replica, of_master) in self.replicas.iter_mut().zip(master.replicas) {
            replica.strays += of_master.strays;
            replica.closed += of_master.closed;
        }
        self
    }
}

/// The part of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Whether its link is up.
    pub up: bool,
    /// For how long it has been up or down.
    pub since: Duration,
    /// Replies received.
    pub replies: u64,
    /// Requests in which its vote differed from what was accepted, each counted once.
    pub dissent: u64,
    /// Answers to queries that differed from what was accepted: who is asked before or after a
    /// write has another state, and need not lie.
    pub differed: u64,
    /// Votes that took the place of a different one before.
    pub changed: u64,
    /// Notes received.
    pub notes: u64,
    /// Requests that it refused as a replica of a chain.
    pub refusals: u64,
    /// Replies and notes for requests that were never sent, that belong to no or an older
    /// session, or that no good replica could send.
    pub strays: u64,
    /// Times that its link was closed for what it sent.
    pub closed: u64,
}

impl ReplicaStats {
    /// Counts an answer that was not the accepted one.
    pub(super) fn differs(&mut self, mode: Mode) {
        match mode {
            Mode::Reads => self.differed += 1,
            Mode::Vote | Mode::Updates | Mode::Queries { .. } => self.dissent += 1,
        }
    }
}
