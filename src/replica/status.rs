//! What a replica says of itself to people and their tools.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A snapshot of a replica's condition; served as JSON on the admin address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the software; filled in by the daemon.
    pub version: String,
    /// Process id; filled in by the daemon.
    pub pid: u32,
    /// Milliseconds since the process started; filled in by the daemon.
    pub uptime_ms: u64,
    /// Cluster id, 64 hexadecimal digits.
    pub cluster: String,
    /// The replica's number.
    pub replica: u8,
    /// Starts of this replica on its disk.
    pub incarnation: u64,
    /// Whether it takes part.
    pub standing: Standing,
    /// The service's name.
    pub service: String,
    /// The epoch, as `(generation,resets,accused)`.
    pub epoch: String,
    /// The epoch's members by number.
    pub members: Vec<u8>,
    /// The last round in which it sent a proposal.
    pub round: u64,
    /// The last committed round.
    pub committed: u64,
    /// The last executed round.
    pub executed_round: u64,
    /// Requests executed so far.
    pub executed: u64,
    /// Chain over all outputs up to `executed_round`, hexadecimal: equal at replicas that have
    /// executed the same rounds and never differ.
    pub running: String,
    /// Round of the last checkpoint.
    pub checkpoint: u64,
    /// State digest at that checkpoint, hexadecimal.
    pub state: String,
    /// Round of the last checkpoint that `t + 1` replicas attest.
    pub stable: u64,
    /// Agreed time.
    pub agreed_time: u64,
    /// Links to the other replicas.
    pub links: Vec<LinkStatus>,
    /// Client links that are up.
    pub client_links: u64,
    /// Requests seen and not yet executed.
    pub outstanding: u64,
    /// What it has been waiting for longer than it should, if anything.
    pub waiting: Option<Waiting>,
    /// All counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// Whether a replica takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is a member and signs proposals.
    #[default]
    Member,
    /// It restarted without its state: it follows and signs nothing.
    Restarted,
    /// It has stopped itself.
    Halted,
}

/// One link to another replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The other replica's number.
    pub replica: u8,
    /// Whether the link is up.
    pub up: bool,
    /// Milliseconds since it came up or went down; since the start if it never was up.
    pub since_ms: u64,
    /// Last round-trip time in microseconds, handling at the other side included.
    pub rtt_us: Option<u64>,
    /// The other's wall clock minus ours, microseconds, as far as the round trip tells.
    pub offset_us: Option<i64>,
}

/// A round that does not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The round.
    pub round: u64,
    /// Whose proposals are missing.
    pub missing: Vec<u8>,
    /// For how long, milliseconds.
    pub since_ms: u64,
}
