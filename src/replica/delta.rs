//! What a replica tells people of Δ: what it measured, and what was late.

use crate::types::ReplicaId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What took time, or too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Late {
    /// Messages between this replica and another one.
    Replica(ReplicaId),
    /// This replica's own loop: it had too much to do, or its process was stopped.
    Driver,
    /// This replica's own disk.
    Disk,
}

impl Late {
    /// In one word, as in JSON: the replica's name, or `loop` or `disk`.
    pub fn name(self) -> String {
        self.to_string()
    }

    /// The other replica, if it is about one.
    pub fn replica(self) -> Option<ReplicaId> {
        match self {
            Late::Replica(replica) => Some(replica),
            Late::Driver | Late::Disk => None,
        }
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Late::Replica(replica) => write!(f, "{replica}"),
            Late::Driver => f.write_str("loop"),
            Late::Disk => f.write_str("disk"),
        }
    }
}

/// What a replica measured of Δ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaStatus {
    /// Δ, microseconds, as configured.
    pub delta_us: u64,
    /// Whether its last proposal says that it saw Δ hold since the one before.
    pub held: bool,
    /// A Δ that leaves room above all that is in `rows`, microseconds: three times what 999 of
    /// 1000 did not exceed, and twice the longest. None before enough was measured.
    pub would_do_us: Option<u64>,
    /// One for each other replica, then `loop` and `disk`.
    pub rows: Vec<DelayRow>,
    /// The latest times that Δ was exceeded, the last one last; 32 at most.
    pub alarms: Vec<DeltaAlarm>,
}

/// How long messages take between this replica and another, with their handling; or how long this
/// replica's own loop or disk keeps things waiting. Of the last 10 to 20 minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayRow {
    /// `R2`, `loop` or `disk`.
    pub of: String,
    /// The other replica's number, if it is about one.
    pub replica: Option<u8>,
    /// Measurements.
    pub count: u64,
    /// What half of them did not exceed, microseconds, rounded up by an eighth at most.
    pub p50_us: u64,
    /// What 99 of 100 did not exceed.
    pub p99_us: u64,
    /// What 999 of 1000 did not exceed.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// By how much the others may be wrong, microseconds: half of the quickest round trip. None
    /// without a link, and for `loop` and `disk`, which are exact.
    pub unsure_us: Option<u64>,
    /// How often Δ was exceeded since the process started.
    pub breaches: u64,
}

/// A time in which Δ was exceeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaAlarm {
    /// By what: `R2`, `loop` or `disk`.
    pub of: String,
    /// The other replica's number, if it is about one.
    pub replica: Option<u8>,
    /// When it was first seen, by this replica's wall clock: microseconds since 1970.
    pub wall_us: u64,
    /// How long ago it was last seen, milliseconds.
    pub ago_ms: u64,
    /// The longest that anything took, microseconds.
    pub worst_us: u64,
    /// How many measurements exceeded Δ.
    pub times: u64,
    /// False: nothing came, and `worst_us` is how long it was waited for. Such a replica has
    /// stopped, or is cut off.
    pub answered: bool,
}
