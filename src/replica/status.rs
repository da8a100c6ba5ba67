//! What a replica says of itself to people and their tools.

use super::DeltaStatus;
use crate::ordering::Reason;
use crate::types::{Digest, Round};
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
    /// The call for another epoch that it has promised and that is not entered yet (E4).
    pub promised: Option<Promised>,
    /// What the order says of each replica, by number from 1 on.
    pub standings: Vec<Place>,
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
    /// What it measured of Δ.
    #[serde(default)]
    pub delta: DeltaStatus,
    /// Client links that are up.
    pub client_links: u64,
    /// Requests seen and not yet executed.
    pub outstanding: u64,
    /// What it has been waiting for longer than it should, if anything.
    pub waiting: Option<Waiting>,
    /// Whether its disk stands in for one that was lost, and it has not joined anew: until then it
    /// reports nothing (§7).
    #[serde(default)]
    pub disk_replaced: bool,
    /// Why it has stopped itself, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// The round at which its results were not those of `t + 1` others (§6), as long as it has no
    /// other state since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// The snapshot that it is fetching, if it wants one.
    pub transfer: Option<TransferStatus>,
    /// Which replicas lied to it in the transfer of a snapshot, and are asked for none now.
    #[serde(default)]
    pub transfer_lies: Vec<TransferLie>,
    /// Whether its cluster file lacks a change of a key that is on its disk or came since (M3);
    /// filled in by the daemon.
    #[serde(default)]
    pub file_outdated: bool,
    /// Its part in the chain, in the fail-stop model; everything else is about the group that is
    /// the chain's master then, or empty if it is not of that. Filled in by the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainStatus>,
    /// Its part in each chain by their numbers, where there are several; there is no `chain` then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ChainStatus>,
    /// All counters by name.
    pub counters: BTreeMap<String, u64>,
}

impl Status {
    /// Its part in each chain, be it one or several; none where replicas vote.
    pub fn each_chain(&self) -> impl Iterator<Item = &ChainStatus> {
        self.chain.iter().chain(&self.chains)
    }
}

/// What a replica of a chain says of itself (docs/chain.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainStatus {
    /// The chain's number.
    #[serde(default)]
    pub number: u32,
    /// What it is in the configuration that it knows.
    pub role: ChainRole,
    /// The number of that configuration; 0: it knows none.
    pub config: u64,
    /// Its members from head to tail, by number.
    pub members: Vec<u8>,
    /// Who joins behind the tail.
    pub joining: Option<u8>,
    /// The last update that it has executed.
    pub executed: u64,
    /// The last update that it has.
    pub last: u64,
    /// Up to which its disk has all.
    pub durable: u64,
    /// Updates that it has and has not executed.
    pub pending: u64,
    /// Whether, as the tail, it answers.
    pub open: bool,
    /// For how many milliseconds it may serve yet (CH-L1).
    pub lease_ms: u64,
    /// Whether its disk stands in for a lost one, and it has not been a member since (CH-F6).
    pub lost: bool,
    /// Why it has stopped itself, if it has.
    pub halted: Option<String>,
}

/// What a replica is in a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainRole {
    /// Takes updates.
    Head,
    /// Passes updates on.
    Middle,
    /// Commits and answers.
    Tail,
    /// The only member: head and tail.
    Alone,
    /// Copies the state of the tail, to be a member.
    Joining,
    /// No member.
    #[default]
    Spare,
}

impl ChainRole {
    /// In one word, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ChainRole::Head => "head",
            ChainRole::Middle => "middle",
            ChainRole::Tail => "tail",
            ChainRole::Alone => "alone",
            ChainRole::Joining => "joining",
            ChainRole::Spare => "spare",
        }
    }
}

/// The little of a status that changes all the time, without any text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Whether it takes part.
    pub standing: Standing,
    /// The round that it executed last.
    pub executed_round: Round,
    /// The running root over everything that it answered so far.
    pub running: Digest,
}

/// Whether a replica takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is a member and signs proposals.
    #[default]
    Member,
    /// It has promised a call for another epoch, of which it will be a member (E4): everything
    /// rests until that is entered.
    Changing,
    /// It is out, has followed the others, and may ask to be a member again (M1).
    Joining,
    /// It is out and follows: its wait is not over, or an operator keeps it out or must let it in
    /// (M2, M4).
    Follower,
    /// It restarted without its state, and the others have not gone on without it yet.
    Restarted,
    /// Its results were not those of `t + 1` others: it answers nobody until it has their state
    /// (§6).
    Quarantined,
    /// It has stopped itself.
    Halted,
    /// It has no vote: it is a replica of chains whose master is a group of its own.
    Host,
}

impl Standing {
    /// In one word, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Member => "member",
            Standing::Changing => "changing",
            Standing::Joining => "joining",
            Standing::Follower => "follower",
            Standing::Restarted => "restarted",
            Standing::Quarantined => "quarantined",
            Standing::Halted => "halted",
            Standing::Host => "host",
        }
    }
}

/// What the order says of one replica. Times are agreed time: microseconds since 1970, or ticks
/// under the logical clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its number.
    pub replica: u8,
    /// Whether it is a member.
    pub member: bool,
    /// Why it is out (F3, M2); none for members.
    pub why: Option<Why>,
    /// Agreed time of its last coming or going; 0 if it never went.
    pub since: u64,
    /// From which agreed time on it may join (M4); none for members, and for those that lied.
    pub may_join: Option<u64>,
    /// Whether an operator keeps it out: it asks to join once it is recalled, or started again
    /// (M2).
    #[serde(default)]
    pub kept_out: bool,
    /// Whether its key is being replaced: it has none (M3).
    #[serde(default)]
    pub replacing: bool,
    /// Whether it says that it gave up what it had executed, and may have answered (§7).
    #[serde(default)]
    pub rolled: bool,
    /// How long the asked one has waited for it beyond what is usual, as far as that counts now, in
    /// milliseconds (E1); 0 where members have no budget for being late.
    #[serde(default)]
    pub lag_ms: u64,
    /// Its key, as in the cluster file; none while it is being replaced.
    #[serde(default)]
    pub key: Option<String>,
    /// The keys that it had before, the earliest first.
    #[serde(default)]
    pub former_keys: Vec<FormerKey>,
}

/// A key that a replica had before (M3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKey {
    /// The key, as in the cluster file.
    pub key: String,
    /// The last generation in which it counts. The next one begins two generations later.
    pub until: u32,
}

/// Why a replica is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It or an operator asked for it (M2), or an operator has forgiven its lie (M3).
    Left,
    /// It said that it had restarted.
    Restarted,
    /// There is a proof that it lied.
    Lied,
    /// It did not answer in time.
    Silent,
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Left => Why::Left,
            Reason::Restarted => Why::Restarted,
            Reason::Lied => Why::Lied,
            Reason::Silent => Why::Silent,
        }
    }
}

/// A call for another epoch (E3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// The epoch's number, as `(generation,resets,accused)`.
    pub epoch: String,
    /// Who is to be a member.
    pub members: Vec<u8>,
    /// Who is accused.
    pub accused: Vec<u8>,
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

/// How far the fetching of a snapshot is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// Bytes that have come.
    pub bytes: u64,
    /// Bytes of the snapshot as its sources say; 0 if that is not known.
    pub total: u64,
    /// The replicas that it comes from; none while it waits for one to ask.
    pub from: Vec<u8>,
}

/// What a replica did in a transfer that no good one does. Nothing of it is signed: it convicts
/// nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferLie {
    /// The replica's number.
    pub replica: u8,
    /// What it did last.
    pub why: String,
    /// How often it lied since this process started.
    pub times: u32,
    /// How long ago the last time was, milliseconds.
    pub since_ms: u64,
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
