//! The words of the protocol as types: ids, epochs, rounds, times, and all arithmetic on `n` and
//! `t`.
//!
//! Nothing here does anything; these types exist so that a round cannot be passed where an epoch
//! is meant and so that a threshold is computed in one place. Every id hides its number: none has
//! `From<u64>`, a number becomes an id only where it is decoded or configured.

mod assurance;
mod call_id;
mod digest_map;
mod digest_queue;
mod disk_state;
mod durability;
mod ensemble;
mod epoch;
mod ids;
mod limits;
pub mod marks;
pub mod plant;
mod time;
mod timing;

pub use assurance::Assurance;
pub use call_id::{CallId, CallIdError, CallPart, ID_SEPARATOR};
pub use digest_map::DigestMap;
pub use digest_queue::DigestQueue;
pub use disk_state::DiskState;
pub use durability::Durability;
pub use ensemble::{Ensemble, MAX_ROSTER, MAX_T, Members};
pub use epoch::{Call, Root};
pub use ids::{
    ClientId, Cuid, Digest, Epoch, GroupId, LinkId, ReplicaId, RequestId, Round, SessionId, Uid,
};
pub use limits::{MTU, MembershipLimits, OrderLimits, Quotas};
pub use time::{AgreedTime, Instant, Now, Wall};
pub use timing::{Lag, Timing};

/// What a client key may do. Enforced by every good replica before it gives a candidate (rule O8).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May send queries only; they run read-only at their position in the order.
    Read,
    /// May send commands and queries.
    Write,
    /// What `Write` may, and operator commands.
    Admin,
}

/// The source of candidate ids (docs/protocol.md §4, "The clock for candidates").
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockKind {
    /// The wall clock in microseconds, held when it would go backwards.
    RealTime,
    /// As `RealTime`, and at least the agreed clock + 1.
    Hybrid,
    /// Lamport's clock: `max(own, agreed) + 1` for each candidate. Agreed time counts ticks.
    Logical,
}
