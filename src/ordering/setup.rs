//! What a core is made from.

use crate::crypto::{Keyring, Scheme};
use crate::types::{ClockKind, Digest, DiskState, OrderLimits, ReplicaId, Timing};
use crate::wire::Record;

/// What a core is made from.
pub struct Setup<S: Scheme> {
    /// Whose core it is.
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
    /// A secret number for hash tables whose keys clients choose.
    pub seed: u64,
    /// What this replica's disk holds of what it has signed (§7).
    pub disk: DiskState,
    /// What its disk holds, in the order in which it was written.
    pub recovered: Vec<Record>,
    /// Whether its log of rounds is whole: then [`super::Core::replay`] is given all that is in it,
    /// and [`super::Core::recovered`] follows. Else it starts without its state.
    pub replays: bool,
    /// Whether own proposals leave only when they are durable
    /// ([`crate::types::Durability::Strict`]): then [`super::Input::OwnDurable`] says when.
    pub strict: bool,
    /// Starts of this replica on its disk, from 1.
    pub incarnation: u64,
}
