//! Everything that can happen to a replica.

use super::Encoded;
use crate::types::{ClientId, Instant, LinkId, ReplicaId, Role};
use crate::wire::{Frame, Hello};
use std::time::Duration;

/// One event. The driver hands over all that has come, then [`Input::Drained`].
#[derive(Clone, Debug)]
pub enum Input {
    /// A link to another replica is up: its hello was read and the driver found that version,
    /// cluster and configuration fit. Replaces an older link to the same replica.
    PeerUp {
        /// Who, as the link's key says.
        peer: ReplicaId,
        /// What it said of itself.
        hello: Hello,
    },
    /// The link to a replica is gone.
    PeerDown {
        /// Who.
        peer: ReplicaId,
    },
    /// A frame came from a replica.
    PeerFrame {
        /// From whom, as the link's key says.
        peer: ReplicaId,
        /// What.
        frame: Frame,
    },
    /// A client's link is up: its key is in the configuration and its greeting fits.
    ClientUp {
        /// The link.
        link: LinkId,
        /// Whose, as the link's key says.
        client: ClientId,
        /// What that key may do.
        role: Role,
    },
    /// A client's link is gone.
    ClientDown {
        /// The link.
        link: LinkId,
    },
    /// Frames came from a client, all that one read of its stream gave.
    ClientFrames {
        /// On which link.
        link: LinkId,
        /// What, in order.
        frames: Vec<Frame>,
    },
    /// What [`super::Action::Persist`] of this sequence asked for is durable, and all before it but
    /// for snapshots that are still being saved.
    Synced {
        /// Which.
        sequence: u64,
    },
    /// What [`super::Action::Encode`] of this number asked for.
    Encoded {
        /// Which.
        number: u64,
        /// What came of it.
        made: Encoded,
    },
    /// The driver was not there for what came, from `since` until now: it was busy, or the process
    /// was stopped. A driver says so after each turn of its loop, however short that was.
    Away {
        /// Since when.
        since: Instant,
        /// How much of that time was too much; what it slept by intent is not.
        late: Duration,
    },
    /// The operator wants this replica to leave the group for a while (M2).
    Leave,
    /// The instant of [`super::Replica::next_wake`] has come (or any other time).
    Tick,
    /// Nothing more is waiting: now is the time to propose.
    Drained,
}
