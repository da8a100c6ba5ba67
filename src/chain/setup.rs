//! What a replica of a chain is told when it starts.

use crate::crypto::Context;
use crate::service::{Inherited, Service};
use crate::types::{OrderLimits, ReplicaId};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Makes a new, empty service: the one that runs, and another to take a state up into.
#[derive(Clone)]
pub struct MakeService(pub Arc<dyn Fn() -> Box<dyn Service> + Send + Sync>);

impl fmt::Debug for MakeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeService")
    }
}

/// Bounds of one replica. They may differ between replicas and change nothing in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLimits {
    /// Updates that a head has taken and not seen committed; above it the answer is `Busy`. What
    /// the others hold of the same is bounded by that.
    pub pending: usize,
    /// The same in bytes of requests.
    pub pending_bytes: usize,
    /// The same of one client, and queries of one client that wait; of bytes a client may have an
    /// eighth. So none takes the places of all others.
    pub per_client: usize,
    /// Updates sent to a successor and not acknowledged by it; what is more waits here.
    pub window: usize,
    /// The same in bytes: nothing is sent while it is reached. A link that has more to carry than
    /// it may hold is closed, and what was sent over it is sent again over the next.
    pub window_bytes: usize,
    /// Bytes of updates in one message.
    pub batch_bytes: usize,
    /// Committed updates that are kept for a successor which lacks them; who lacks more gets a
    /// state (CH-F4).
    pub kept: usize,
    /// The same in bytes: above it the oldest go, whoever may lack them.
    pub kept_bytes: usize,
    /// Who joins is close when it lacks no more updates than this (CH-F4).
    pub close: u64,
    /// A state is saved, and the log before it may go, when that has grown by so many bytes, or by
    /// as many as the state before has if these are more.
    pub log_bytes: u64,
    /// Queries that wait; above it the answer is `Busy`.
    pub queries: usize,
    /// Bytes of a state that is taken from another replica at most.
    pub snapshot_bytes: u64,
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self {
            pending: 16_384,
            pending_bytes: 64 << 20,
            per_client: 4096,
            window: 16_384,
            window_bytes: 8 << 20,
            batch_bytes: 512 * 1024,
            kept: 65_536,
            kept_bytes: 256 << 20,
            close: 4096,
            log_bytes: 64 << 20,
            queries: 16_384,
            snapshot_bytes: 4 << 30,
        }
    }
}

/// What a replica of a chain is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who it is.
    pub me: ReplicaId,
    /// Which of its lives: higher at every start, of the same directory or another.
    pub incarnation: u64,
    /// Which chain, for the master.
    pub chain: u32,
    /// What requests are hashed with.
    pub context: Context,
    /// How long a lease lasts; the same at the master (CH-L1).
    pub lease: Duration,
    /// How much earlier than that it stops, for clocks that do not run alike.
    pub margin: Duration,
    /// Whether an update is committed only when it is on every disk (CH-U4).
    pub durable: bool,
    /// Whether its disk stands in for one that is lost: until it is a member, what it has is not
    /// what it had (CH-F6).
    pub lost: bool,
    /// Whether nothing says yet that no earlier life of this replica was a member when its
    /// directory began (CH-F6): then it is as one whose disk is lost, until the master says so.
    pub unsure: bool,
    /// Whether every executed update becomes an event, for checkers.
    pub trace: bool,
    /// Whether queries are answered by every replica (CH-Q2), or by the tail alone (CH-Q1).
    pub reads_any: bool,
    /// Bounds that decide what becomes of a request; the same at all replicas.
    pub order: OrderLimits,
    /// Bounds of this replica.
    pub limits: ChainLimits,
    /// What the cluster has taken over from the one before it; the same at all replicas.
    pub inherited: Option<Inherited>,
    /// Makes its service.
    pub service: MakeService,
}

/// What a start found on the disk.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The newest state that was saved.
    pub state: Option<Bytes>,
    /// The records of the log in the order in which they were written. One with a number stands in
    /// place of all before it that have that number or a higher one.
    pub log: Vec<Bytes>,
}
