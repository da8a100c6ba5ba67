//! What a replica is made from.

use crate::crypto::{Keyring, Scheme};
use crate::service::Inherited;
use crate::types::{ClockKind, Digest, DiskState, Durability, OrderLimits, Quotas};
use crate::types::{ReplicaId, Timing};
use bytes::Bytes;

/// What a replica is made from.
pub struct Setup<S: Scheme> {
    /// Whose it is.
    pub id: ReplicaId,
    /// The roster's keys and the context.
    pub keyring: Keyring<S>,
    /// The own signing key.
    pub signer: S::Signer,
    /// Hash of the opening of epoch (0,0,0).
    pub genesis: Digest,
    /// Δ and the timers.
    pub timing: Timing,
    /// Where candidate ids come from.
    pub clock: ClockKind,
    /// Limits that all replicas share.
    pub limits: OrderLimits,
    /// Limits of this process.
    pub quotas: Quotas,
    /// A secret number for hash tables whose keys clients choose.
    pub seed: u64,
    /// Starts of this replica on its disk, from 1.
    pub incarnation: u64,
    /// What its disk holds of what it has signed.
    pub disk: DiskState,
    /// All records found on its disk, in the order in which they were written; none on a new one.
    pub recovered: Vec<Bytes>,
    /// What is on the disk before something is said.
    pub durability: Durability,
    /// What the cluster has taken over from the one before it; the same at all replicas.
    pub inherited: Option<Inherited>,
    /// What was found of the log of rounds and the snapshots; nothing on a new disk, and without
    /// a log.
    pub stored: Stored,
    /// The configuration digest field by field, for the hello.
    pub fields: Vec<(String, Digest)>,
    /// Snapshots of up to about so many bytes are made into bytes at once, larger ones by the
    /// driver: see [`super::Action::Encode`].
    pub encode_at_once: usize,
    /// Whether to report every executed step in full, for checkers.
    pub trace: bool,
}

/// A usual value of [`Setup::encode_at_once`]: takes a tenth of a millisecond.
pub const ENCODE_AT_ONCE: usize = 128 << 10;

/// What was found of the log of rounds and the snapshots (§7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest whole snapshot: head and state, as [`super::Action::Save`] had them.
    pub snapshot: Option<(Bytes, Bytes)>,
    /// The place of the first entry in `log`; 0 if there is no snapshot.
    pub first: u64,
    /// The entries that follow the snapshot, up to the first damage.
    pub log: Vec<Bytes>,
    /// The place that the next entry will get.
    pub next: u64,
    /// What is damaged or missing, for people; then the entries do not reach to `next`.
    pub damage: Option<String>,
}
