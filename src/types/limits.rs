//! Every bound of the protocol in one place.

use std::ops::RangeInclusive;

/// Bytes that a datagram may be said to have: no fewer than QUIC needs, no more than a jumbo frame
/// of 9000 bytes less the headers of IPv4.
pub const MTU: RangeInclusive<u16> = 1200..=8972;

/// Limits that are a function of the order: part of the genesis opening, equal at all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimits {
    /// Bytes of one request's body at most.
    pub max_request: u32,
    /// Bytes of one request's outputs together at most; above it the outcome is a refusal.
    pub max_output: u32,
    /// Commands in one request at most.
    pub max_commands: u32,
    /// Candidates in one proposal at most (R4).
    pub max_candidates: u32,
    /// Requests named first by one and the same member and not accepted, per member (O4). A good
    /// member stays below it if its [`Quotas::global`] does.
    pub sole_quota: u32,
    /// A request never accepted is forgotten after so many rounds (O4) ...
    pub forget_after: u64,
    /// ... and so much agreed time: microseconds, or ticks under the logical clock (O4).
    pub forget_time: u64,
    /// Sessions kept; the least recently used in the order is evicted above it (O6).
    pub max_sessions: u32,
    /// Requests a session may have outstanding, and replies stored for it (O6).
    pub window: u32,
    /// A state digest is attested every so many rounds (§3, attestation).
    pub checkpoint_every: u64,
    /// Accepted requests that may wait for execution before no more candidates are given (O7).
    pub max_unexecuted: u32,
    /// Who may join when (M1, M4).
    pub membership: MembershipLimits,
}

/// When a replica that was out may join again (M1, M4). Durations are agreed time: microseconds,
/// or ticks under the logical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipLimits {
    /// How long one that was silent waits the first time; each time more it is twice as long ...
    pub join_wait: u64,
    /// ... but no longer than this.
    pub join_wait_cap: u64,
    /// After so long as a member all is forgotten; one restart is forgiven in each such time.
    pub good_service: u64,
    /// A Join is void if the joiner was more rounds behind than this.
    pub join_lag: u64,
}

impl Default for MembershipLimits {
    fn default() -> Self {
        Self {
            join_wait: 1_000_000,
            join_wait_cap: 300_000_000,
            good_service: 600_000_000,
            join_lag: 1024,
        }
    }
}

impl Default for OrderLimits {
    fn default() -> Self {
        Self {
            max_request: 256 * 1024,
            max_output: 512 * 1024,
            max_commands: 1024,
            max_candidates: 4096,
            sole_quota: 65_536,
            forget_after: 64,
            forget_time: 10_000_000,
            max_sessions: 4096,
            window: 1024,
            checkpoint_every: 256,
            max_unexecuted: 65_536,
            membership: MembershipLimits::default(),
        }
    }
}

/// Limits of one process: they may differ between replicas and change nothing in the order (§10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Requests of one client seen and not yet executed; above it the answer is `Busy`.
    pub per_client: u32,
    /// The same over all clients.
    pub global: u32,
    /// Bytes of bodies held for requests not yet executed, over all clients; one client may have
    /// an eighth of it.
    pub body_bytes: u64,
    /// Bytes queued for one peer or client that does not read; above it the link is closed.
    pub link_bytes: u64,
    /// Connections of one client key.
    pub links_per_client: u32,
    /// Bodies kept after execution until every member attests that it has executed them, in bytes;
    /// above it the oldest go.
    pub kept_bytes: u64,
    /// Bytes of a snapshot: a larger one is neither kept for others nor fetched.
    pub snapshot_bytes: u64,
    /// Bytes of a snapshot asked for and not come yet, over all sources: at least one chunk.
    pub transfer_bytes: u64,
    /// Bytes a second of snapshots that are given to others, to all together.
    pub transfer_rate: u64,
    /// Bytes by which the log of rounds, or those of all chains, grow before a snapshot is saved,
    /// so that what lies before it can go; by the size of the last snapshot if that is more.
    pub log_bytes: u64,
    /// Signatures of Blames, calls, Reports and the like that are checked for one peer in a second;
    /// four times as many at once after a while without any. Each message counts for eight besides
    /// what is in it. What is more is dropped.
    pub peer_signatures: u32,
    /// Outcomes of up to so many bytes every replica sends whole. Of a larger one a single replica
    /// does, and the others send a digest (C3).
    pub whole_bytes: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            per_client: 4096,
            global: 65_536,
            body_bytes: 256 << 20,
            link_bytes: 32 << 20,
            links_per_client: 64,
            kept_bytes: 256 << 20,
            snapshot_bytes: 4 << 30,
            transfer_bytes: 8 << 20,
            transfer_rate: 32 << 20,
            log_bytes: 64 << 20,
            peer_signatures: 4096,
            whole_bytes: 4096,
        }
    }
}
